"""What an agent may show for its work: a file that its team can find, or an address (rule B8). Nothing is read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from heartbeat.action import Output
from heartbeat.errors import UsageError

LONGEST = 1000
"""Characters of a path or an address."""

_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")


def check_outputs(outputs: Iterable[Output], workspace: Path | None, cwd: Path) -> None:
    """Raises UsageError for an output that nobody would find. Paths are taken from `cwd` or from the workspace."""
    for output in outputs:
        path = output.path
        if not path.strip() or len(path) > LONGEST:
            raise UsageError(f"--output {path[:80]!r} is empty or longer than {LONGEST} characters")
        if any(unicodedata.category(character) in _INVISIBLE for character in path):
            raise UsageError(f"--output {path!r} holds control characters or is not UTF-8")
        if path.lower().startswith(("http://", "https://")):
            _check_address(path)
        else:
            _check_file(path, workspace, cwd)


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname) and not any(character.isspace() for character in address)
        secret = parts.password
    except ValueError:
        sound, secret = False, None
    if secret:
        raise UsageError("--output is an address with a password in it", advice="give it without: others will read it")
    if not sound:
        raise UsageError(f"--output {address!r} is no address")


def _check_file(path: str, workspace: Path | None, cwd: Path) -> None:
    """It must be there, and within what the agent's team can see: its workspace, or where the command runs."""
    bases = [base for base in (cwd, workspace) if base is not None]
    roots = [base.resolve() for base in bases]
    candidates = [(base / path).resolve() for base in bases]
    found = [each for each in candidates if each.is_file() or each.is_dir()]
    if not found:
        where = " or ".join(dict.fromkeys(str(root) for root in roots))
        raise UsageError(f"--output {path}: there is no such file in {where}", advice="give a path that exists")
    if not any(each.is_relative_to(root) for each in found for root in roots):
        where = " nor ".join(dict.fromkeys(str(root) for root in roots))
        raise UsageError(f"--output {path} lies neither in {where}", advice="put it where the team can find it")
