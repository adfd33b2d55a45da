"""What an agent may show for its work: a file that its team can find, or an address (rule B8). Nothing is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, unquote_plus, urlsplit

from heartbeat.action import Output
from heartbeat.errors import UsageError

LONGEST = 1000
"""Characters of a path or an address."""

SECRET_KEYS = frozenset({"token", "access_token", "key", "api_key", "apikey", "sig", "signature", "password", "secret"})
"""What a secret is called in an address, in small letters."""

_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
_NO_SECRETS = "give an address without secrets: others will read it"


def checked_outputs(outputs: Iterable[Output], workspace: Path | None, cwd: Path) -> tuple[Output, ...]:
    """The outputs as they are put on record: a file by its path within the workspace, or by its absolute one.

    Paths are taken from `cwd` or from the workspace. Raises UsageError for an output that nobody would find, or that
    others must not read.
    """
    checked = (replace(output, path=_checked(output.path, workspace, cwd)) for output in outputs)
    return tuple({output.path: output for output in checked}.values())


def _checked(path: str, workspace: Path | None, cwd: Path) -> str:
    _check_text(path)
    if path.lower().startswith(("http://", "https://")):
        _check_address(path)
        return path
    found = _located(path, workspace, cwd)
    _check_text(found)
    return found


def _check_text(path: str) -> None:
    """What was typed is not told back here: it may be an address with a secret in it."""
    if not path.strip() or len(path) > LONGEST:
        raise UsageError(f"an --output is empty or longer than {LONGEST} characters")
    if any(unicodedata.category(character) in _INVISIBLE for character in path):
        raise UsageError("an --output holds control characters or is not UTF-8")


def _check_address(address: str) -> None:
    """An address that is refused is not told back, since whatever is wrong with it may hide a secret."""
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname) and not any(character.isspace() for character in address)
    except ValueError:
        raise UsageError("an --output that begins like an address is no address") from None
    if "@" in parts.netloc:
        raise UsageError("an --output is an address with a user name or a password in it", advice=_NO_SECRETS)
    secret = next((name for name in _names(parts) if name.casefold() in SECRET_KEYS), "")
    if secret:
        raise UsageError(f"an --output is an address with a secret in it: `{secret}`", advice=_NO_SECRETS)
    if not sound:
        raise UsageError("an --output that begins like an address is no address")


def _names(parts: SplitResult) -> Iterator[str]:
    """The names in the query, and in a fragment that is written like one."""
    for pair in re.split("[&;?]", f"{parts.query}&{parts.fragment}"):
        yield unquote_plus(pair.partition("=")[0]).strip()


def _located(path: str, workspace: Path | None, cwd: Path) -> str:
    """It must be there, and within what the agent's team can see."""
    try:
        home, here = workspace and workspace.resolve(), cwd.resolve()
        roots = [*([home] if home else []), *([here] if _counts(here, home) else [])]
    except (OSError, RuntimeError) as error:
        raise _unseen(path, error) from error
    found, failed = [], None
    for base in dict.fromkeys((here, home)):
        if base is None:
            continue
        try:
            each = (base / path).resolve()
            if each.is_file() or each.is_dir():
                found.append(each)
        except (OSError, RuntimeError) as error:
            failed = error
    seen = next((each for each in found if any(each.is_relative_to(root) for root in roots)), None)
    if seen is not None:
        return str(seen.relative_to(home)) if home and seen.is_relative_to(home) else str(seen)
    if found:
        where = " nor ".join(str(root) for root in roots) or "a workspace nor a project"
        raise UsageError(f"--output {path} lies neither in {where}", advice="put it where the team can find it")
    if failed is not None:
        raise _unseen(path, failed) from failed
    where = " or ".join(dict.fromkeys(str(base) for base in (here, home) if base))
    raise UsageError(f"--output {path}: there is no such file in {where}", advice="give a path that exists")


def _counts(here: Path, workspace: Path | None) -> bool:
    """Whether what lies where the command runs may be shown: beside a workspace only a project's own files, and never
    a whole machine or everybody's home."""
    if here.parent == here or here == Path.home().parent:
        return False
    return workspace is None or any((each / ".git").exists() for each in (here, *here.parents))


def _unseen(path: str, error: OSError | RuntimeError) -> UsageError:
    why = getattr(error, "strerror", None) or "it leads in a circle"
    return UsageError(f"--output {path[:80]}: cannot be looked at: {why}", advice="give a path that can be opened")
