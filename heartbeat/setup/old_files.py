"""Hand-written HEARTBEAT.md files on the disk: found in whatever layout, read in whatever encoding. Only reads."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from heartbeat.errors import UsageError
from heartbeat.setup.legacy import NO_HEADING, HandWritten, Refused, parse

DEPTH = 4
"""How many directories deep files are looked for."""
MOST_FILES = 5000
MOST_DIRECTORIES = 50_000
MOST_BYTES = 8 * 1024 * 1024

_SUFFIXES = frozenset({".md", ".markdown"})
_PASSED_OVER = frozenset({"node_modules", "__pycache__", "venv"})
_OF_A_WORKSPACE = ("AGENTS.md", "SOUL.md", "IDENTITY.md")
"""One of these lies in every workspace that OpenClaw made (contract 5)."""

_UNWRITTEN = frozenset({"Cc", "Cn", "Co"})
"""Categories of characters that no text has many of: controls, unassigned ones, private use."""
_LAYOUT = frozenset("\t\n\r\f\v")
_RARELY = 50
"""One in so many characters may be of those: fonts of old editors have a few signs in the private use area."""
_MOSTLY = 0.8
"""The share of common letters: nearly all are, of what is written in Chinese, and up to two thirds by accident, of what
UTF-8 looks like in GB18030."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found below a place. `others` counts Markdown files without a heading of this kind; whatever else was
    left out is in `refused`, with the reason. `notes` are sentences about directories that were not looked into."""

    files: tuple[HandWritten, ...]
    refused: tuple[Refused, ...]
    others: int
    notes: tuple[str, ...] = ()


def gather(place: Path) -> Gathered:
    """Every hand-written file in a file, or in a directory and those below it.

    Raises UsageError where there is no such place, where it cannot be read, and where none is found.
    """
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{place} cannot be read: {reason}", advice="name the directory with the files") from error
    walk = _Walk(place)
    paths = sorted(walk.files()) if is_directory else [place]
    found: list[HandWritten] = []
    refused: list[Refused] = []
    others = 0
    for path in paths:
        files, not_these = _parts(path)
        is_one = not is_directory or path.stem.casefold() == "heartbeat"
        if not is_one and [each.why for each in not_these] == [NO_HEADING]:
            others += 1
            continue
        found += [replace(each, workspace=_workspace(path, each.id)) if len(files) == 1 else each for each in files]
        refused += not_these
    if not found:
        told = [f"{each.path}:{each.line}: {each.why}" for each in refused[:10]]
        if len(refused) > len(told):
            told.append(f"and {len(refused) - len(told)} more")
        if others:
            told.append(f"{others} other Markdown file{' has' if others == 1 else 's have'} no such heading")
        message = "\n".join((f"no hand-written HEARTBEAT.md was found in {place}", *told, *walk.notes()))
        raise UsageError(message, advice="files of this kind begin with `# HEARTBEAT.md - NAME(id)`")
    return Gathered(tuple(found), tuple(refused), others, tuple(walk.notes()))


class _Walk:
    """The way through the directories below a place. Links are followed, each directory and each file is met once."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._met: set[tuple[int, int]] = set()
        self._deep: list[Path] = []
        self._closed: list[str] = []

    def files(self) -> Iterator[Path]:
        """Markdown files; hidden directories and installed packages are passed over. What links lead to comes last, so
        that a file is found under its own path where that lies here, too."""
        number = directories = 0
        waiting = [(self._top, 0)]
        linked: list[tuple[Path, int]] = []
        linked_files: list[Path] = []
        while waiting or linked:
            folder, depth = waiting.pop() if waiting else linked.pop(0)
            if not self._is_new(folder):
                continue
            directories += 1
            for entry in self._entries(folder):
                path = Path(folder, entry.name)
                if self._is_directory(entry):
                    if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                        continue
                    if depth >= DEPTH:
                        self._deep.append(path)
                        continue
                    (linked if entry.is_symlink() else waiting).append((path, depth + 1))
                elif path.suffix.casefold() in _SUFFIXES:
                    number += 1
                    if entry.is_symlink():
                        linked_files.append(path)
                    elif self._is_new(path):
                        yield path
            if number > MOST_FILES:
                raise UsageError(
                    f"{self._top} holds more than {MOST_FILES} Markdown files", advice="name a smaller directory"
                )
            if directories > MOST_DIRECTORIES:
                told = f"{self._top} holds more than {MOST_DIRECTORIES} directories, what links lead to included"
                raise UsageError(told, advice="name a smaller directory")
        yield from filter(self._is_new, linked_files)

    def notes(self) -> Iterator[str]:
        """What was not looked into, and why."""
        deep = [path for path in self._deep if self._is_new(path)]
        if deep:
            told = "directory was" if len(deep) == 1 else "directories were"
            yield f"{self._top}: {len(deep)} {told} not entered, more than {DEPTH} deep: {deep[0]}" + (
                f" and {len(deep) - 1} more" if len(deep) > 1 else ""
            )
        yield from self._closed

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._closed.append(f"{folder}: was not entered: {error.strerror or error}")
            return []

    def _is_directory(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError as error:
            self._closed.append(f"{entry.path}: was not entered: {error.strerror or error}")
            return False

    def _is_new(self, path: Path) -> bool:
        """Whether nothing of the same identity was met before; what cannot be looked at is left to whoever reads it."""
        try:
            found = path.stat()
        except OSError:
            return True
        known = (found.st_dev, found.st_ino) in self._met
        self._met.add((found.st_dev, found.st_ino))
        return not known


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
    """The text. Without a mark it is UTF-8, or GB18030, as older editors in China write, where it then reads like what
    people write; nearly every file is some GB18030 text."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        try:
            text = content.decode("gb18030")
        except UnicodeDecodeError:
            return None
        if _is_damaged(content) or not _is_plausible(text):
            return None
    return None if "\0" in text else text


def _is_damaged(content: bytes) -> bool:
    """Whether bytes that are not quite UTF-8 were: their runs of three and four fit together more often than not, which
    those of Chinese in GB18030 hardly ever do."""
    beyond = [each for each in content.decode("utf-8", "replace") if each >= "\u0800"]
    return 2 * beyond.count("\ufffd") <= len(beyond)


def _is_plausible(text: str) -> bool:
    """Whether what was decoded as GB18030 was written so: few characters that nobody writes, and most of the letters
    beyond ASCII are common ones. Of bytes in another encoding most become rare ones."""
    unwritten = sum(unicodedata.category(each) in _UNWRITTEN and each not in _LAYOUT for each in text)
    letters = [each for each in text if not each.isascii() and each.isalpha()]
    return unwritten * _RARELY <= len(text) and sum(map(_is_common, letters)) >= _MOSTLY * len(letters)


def _is_common(letter: str) -> bool:
    """Whether it is of GB 2312, which has what is written in simplified Chinese, or of the first level of Big5, which
    has the same of traditional Chinese."""
    return bool(letter.encode("gb2312", "ignore")) or b"\xa4" <= letter.encode("big5", "ignore")[:1] <= b"\xc6"


def _workspace(path: Path, agent: str) -> str:
    """The file's directory, where that is the agent's workspace; else nothing."""
    if path.name.casefold() != "heartbeat.md":
        return ""
    folder = path.absolute().parent
    is_one = folder.name == f"workspace-{agent}" or any((folder / name).is_file() for name in _OF_A_WORKSPACE)
    return str(folder) if is_one else ""
