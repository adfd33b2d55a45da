"""Hand-written HEARTBEAT.md files on the disk: found in whatever layout, read in whatever encoding. Only reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from heartbeat.errors import UsageError
from heartbeat.setup.legacy import HandWritten, Refused, parse

DEPTH = 4
"""How many directories deep files are looked for."""
MOST_FILES = 5000
MOST_BYTES = 8 * 1024 * 1024

_SUFFIXES = frozenset({".md", ".markdown"})
_PASSED_OVER = frozenset({"node_modules", "__pycache__", "venv"})
_OF_A_WORKSPACE = ("AGENTS.md", "SOUL.md", "IDENTITY.md")
"""One of these lies in every workspace that OpenClaw made (contract 5)."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found below a place. `others` counts Markdown files that have nothing to do with heartbeats."""

    files: tuple[HandWritten, ...]
    refused: tuple[Refused, ...]
    others: int


def gather(place: Path) -> Gathered:
    """Every hand-written file in a file, or in a directory and those below it.

    Raises UsageError where there is no such place, where it cannot be read, and where none is found.
    """
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{place} cannot be read: {reason}", advice="name the directory with the files") from error
    paths = sorted(_markdown(place)) if is_directory else [place]
    found: list[HandWritten] = []
    refused: list[Refused] = []
    others = 0
    for path in paths:
        files, not_these = _parts(path)
        is_one = not is_directory or path.stem.casefold() == "heartbeat"
        if not files and not is_one and all(each.line == 1 for each in not_these):
            others += 1
            continue
        found += [replace(each, workspace=_workspace(path, each.id)) if len(files) == 1 else each for each in files]
        refused += not_these
    if not found:
        told = [f"{each.path}:{each.line}: {each.why}" for each in refused[:10]]
        message = "\n".join((f"no hand-written HEARTBEAT.md was found in {place}", *told))
        raise UsageError(message, advice="files of this kind begin with `# HEARTBEAT.md - NAME(id)`")
    return Gathered(tuple(found), tuple(refused), others)


def _markdown(top: Path) -> Iterator[Path]:
    """Markdown files below a directory; hidden directories and installed packages are passed over."""
    number = 0
    for folder, below, names in os.walk(top):
        depth = len(Path(folder).relative_to(top).parts)
        deeper = () if depth >= DEPTH else below
        below[:] = sorted(name for name in deeper if not name.startswith(".") and name not in _PASSED_OVER)
        for name in names:
            if Path(name).suffix.casefold() in _SUFFIXES:
                number += 1
                yield Path(folder, name)
        if number > MOST_FILES:
            raise UsageError(f"{top} holds more than {MOST_FILES} Markdown files", advice="name a smaller directory")


def _parts(path: Path) -> tuple[tuple[HandWritten, ...], tuple[Refused, ...]]:
    try:
        content = _content(path)
    except OSError as error:
        return (), (Refused(str(path), 1, f"cannot be read: {error.strerror or error}"),)
    if isinstance(content, str):
        return (), (Refused(str(path), 1, content),)
    text = _decoded(content)
    if text is None:
        return (), (Refused(str(path), 1, "neither UTF-8, UTF-16 nor GB18030 text; save it as UTF-8"),)
    return parse(str(path), text)


def _content(path: Path) -> bytes | str:
    """The bytes, or why they are not read. Never waits on a FIFO. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "no regular file"
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return content if len(content) <= MOST_BYTES else f"larger than {MOST_BYTES // 1024 // 1024} MiB"


def _decoded(content: bytes) -> str | None:
    """The text. Without a mark it is UTF-8, or GB18030, as older editors in China write, where it then reads like one
    of these files; nearly every file is some GB18030 text."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        try:
            text = content.decode("gb18030")
        except UnicodeDecodeError:
            return None
        if "HEARTBEAT" not in text or "心跳" not in text:
            return None
    return None if "\0" in text else text


def _workspace(path: Path, agent: str) -> str:
    """The file's directory, where that is the agent's workspace; else nothing."""
    if path.name.casefold() != "heartbeat.md":
        return ""
    folder = path.absolute().parent
    is_one = folder.name == f"workspace-{agent}" or any((folder / name).is_file() for name in _OF_A_WORKSPACE)
    return str(folder) if is_one else ""
