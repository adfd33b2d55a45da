"""Which files of a workspace are read, and reading them without being led astray (rules S9, B8). Writes nothing.

A workspace belongs to an agent, so what stands in it is not trusted: no link leads out of it, nothing but a regular
file is opened, and no read waits for a peer that never comes. HEARTBEAT.md is never read: it is our own output.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Deadline, FailureKind, TransportError

DEFAULT_FILES = ("TODO.md", "AGENTS.md")

MAXIMUM_BYTES = 16 * 1024 * 1024
MAXIMUM_LINES = 200_000
"""A file beyond either is refused: a parsed line takes 2 KB, and no list for people is that long."""

_OWN_OUTPUT = "heartbeat.md"
_PASSED_OVER = frozenset({"node_modules"})
"""Folders that `**` does not enter, besides hidden ones: other people's Markdown in great numbers."""

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OPEN_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory and the agents whose workspace it is, in roster order."""

    root: Path
    agents: tuple[str, ...]

    @property
    def name(self) -> str:
        return ", ".join(self.agents)


def workspaces_of(roster: Roster) -> tuple[Workspace, ...]:
    """Each directory once, in roster order; agents that share one stand together."""
    by_root: dict[str, tuple[Path, list[str]]] = {}
    for agent in roster.agents.values():
        if agent.workspace is not None:
            _, agents = by_root.setdefault(os.path.realpath(agent.workspace), (agent.workspace, []))
            agents.append(agent.id)
    return tuple(Workspace(root, tuple(agents)) for root, agents in by_root.values())


def is_there(root: Path) -> bool:
    """Whether there is a directory. One that we may not look at is there: reading it tells what is wrong."""
    try:
        return stat.S_ISDIR(root.stat().st_mode)
    except OSError as error:
        return error.errno not in (*_ABSENT, errno.ELOOP)


def checked_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """The `todo.files` setting, each once; raises UsageError for what cannot stay inside a workspace."""
    checked: dict[str, None] = {}
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        parts = pattern.split("/")
        if not pattern.strip() or "\0" in pattern:
            reason = "names nothing"
        elif pattern.startswith(("/", "~")):
            reason = "is absolute"
        elif ".." in parts:
            reason = "leads out of the workspace"
        else:
            checked["/".join(part for part in parts if part not in ("", "."))] = None
            continue
        raise UsageError(
            f"todo.files: {pattern!r} {reason}",
            advice="write names or globs relative to each agent's workspace, such as TODO.md or notes/**/*.md",
        )
    return tuple(checked)


def find_files(root: Path, patterns: Sequence[str], deadline: Deadline, problems: list[str]) -> list[str]:
    """Relative paths of what stands in the workspace under these names and globs, sorted within each.

    What is not there is left out; what cannot be looked at is added to `problems`. Raises TransportError
    TIMEOUT at the deadline.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        for path in sorted(_matches(root, pattern, deadline, problems)):
            if path.rpartition("/")[2].casefold() != _OWN_OUTPUT:
                found[path] = None
    return list(found)


def _matches(root: Path, pattern: str, deadline: Deadline, problems: list[str]) -> Iterator[str]:
    """The paths that match one pattern: `*`, `?` and `[…]` within a name, `**` for any number of folders."""
    pending = [("", tuple(pattern.split("/")))]
    visited = set(pending)
    while pending:
        if deadline.left() <= 0:
            raise TransportError(FailureKind.TIMEOUT, f"{root}: still looking for {pattern} at the deadline")
        folder, (first, *rest) = pending.pop()
        steps: list[tuple[str, tuple[str, ...]]] = []
        if first == "**":
            steps.append((folder, tuple(rest) or ("*",)))
            for path, entry in _listing(root, folder, problems):
                passed_over = entry.name.startswith(".") or entry.name in _PASSED_OVER
                if not passed_over and entry.is_dir(follow_symlinks=False):
                    steps.append((f"{path}/", (first, *rest)))
        elif not _is_glob(first):
            if rest:
                steps.append((f"{folder}{first}/", tuple(rest)))
            elif _stands(root / folder / first, problems):
                yield f"{folder}{first}"
        else:
            for path, entry in _listing(root, folder, problems):
                hidden = entry.name.startswith(".") and not first.startswith(".")
                if hidden or not fnmatchcase(entry.name, first):
                    continue
                if _is_directory(entry, problems):
                    steps += [(f"{path}/", tuple(rest))] if rest else []
                elif not rest:
                    yield path
        for step in steps:
            if step not in visited:
                visited.add(step)
                pending.append(step)


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def _listing(root: Path, folder: str, problems: list[str]) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder, each with its path in the workspace."""
    try:
        with os.scandir(root / folder) as entries:
            return [(f"{folder}{entry.name}", entry) for entry in entries]
    except OSError as error:
        _note(root / folder, error, problems)
        return []


def _stands(path: Path, problems: list[str]) -> bool:
    try:
        path.lstat()
    except OSError as error:
        _note(path, error, problems)
        return False
    return True


def _is_directory(entry: os.DirEntry[str], problems: list[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        _note(Path(entry.path), error, problems)
        return False


def _note(path: Path, error: OSError, problems: list[str]) -> None:
    """What is not there is no problem; what may be there and cannot be looked at is one (rule S2)."""
    if error.errno not in (*_ABSENT, errno.ELOOP):
        problems.append(f"{path}: {error.strerror or error}")


@contextmanager
def opened_folder(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """An open descriptor of the directory that holds a workspace's file, and the file's name in it.

    Links within the workspace are followed; whatever is swapped for a link meanwhile is not. Raises TransportError
    REFUSED where the file lies outside or is our own output, and OSError as the system gives it.
    """
    real_root = os.path.realpath(root, strict=True)
    real = PurePosixPath(os.path.realpath(Path(root, path), strict=True))
    if not real.is_relative_to(real_root):
        raise TransportError(
            FailureKind.REFUSED,
            f"{root / path}: a link that leaves the workspace is not followed",
            advice="put the file into the workspace, or name the folder it lies in as the agent's workspace",
        )
    if real.name.casefold() == _OWN_OUTPUT:
        raise TransportError(FailureKind.REFUSED, f"{root / path}: leads to HEARTBEAT.md, which holds no tasks")
    descriptor = os.open(real_root, _OPEN_DIRECTORY)
    try:
        for part in real.relative_to(real_root).parts[:-1]:
            inner = _opened_inner(descriptor, part, root / path)
            os.close(descriptor)
            descriptor = inner
        yield descriptor, real.name
    finally:
        os.close(descriptor)


def _opened_inner(folder: int, name: str, told: Path) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise TransportError(
                FailureKind.REFUSED, f"{told}: the folder {name} became a link while it was opened"
            ) from error
        raise


def read_file(root: Path, path: str) -> tuple[bytes, os.stat_result] | None:
    """A file's bytes and its state when they were read; None where it is gone.

    Raises TransportError: REFUSED (a link that leaves the workspace, no regular file), AUTH (no permission), TOO_LARGE,
    BAD_OUTPUT (UTF-16), INCOMPLETE (written to all the while), UNREACHABLE (the system's own errors).
    """
    try:
        with opened_folder(root, path) as (folder, name):
            data, status = _read_steadily(folder, name, root / path)
    except OSError as error:
        if error.errno in _ABSENT and not os.path.islink(root / path):  # noqa: PTH114 - the method raises for EACCES
            return None
        raise _failure(root / path, error) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TransportError(FailureKind.BAD_OUTPUT, f"{root / path} is UTF-16", advice="save it as UTF-8")
    if max(data.count(b"\n"), data.count(b"\r")) > MAXIMUM_LINES:
        raise _too_large(root / path, f"more than {MAXIMUM_LINES} lines")
    return data, status


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file is the same and was not written to between two looks at it."""
    return all(
        getattr(before, name) == getattr(after, name)
        for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )


def _read_steadily(folder: int, name: str, told: Path) -> tuple[bytes, os.stat_result]:
    """Read a file that nobody writes to meanwhile; one that changes is read once more."""
    for _ in range(2):
        # Looked at before it is opened: to open a device may do something.
        _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False), told)
        descriptor = os.open(name, _OPEN, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            _check_regular(before, told)
            data = file.read(MAXIMUM_BYTES + 1)
            after = os.fstat(descriptor)
        if len(data) > MAXIMUM_BYTES:
            raise _too_large(told, f"larger than {MAXIMUM_BYTES // 1024**2} MiB")
        if unchanged(before, after) and len(data) == after.st_size:
            return data, after
    raise TransportError(FailureKind.INCOMPLETE, f"{told} is being written to; it will be read again next time")


def _check_regular(status: os.stat_result, told: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TransportError(
            FailureKind.REFUSED,
            f"{told} is not a regular file, and nothing else is read",
            advice="move it away, or take its name out of todo.files",
        )


def _failure(told: Path, error: OSError) -> TransportError:
    reason = error.strerror or str(error)
    if error.errno in _DENIED:
        return TransportError(FailureKind.AUTH, f"{told}: {reason}", advice="let heartbeat's user read it")
    if error.errno in (*_ABSENT, errno.ELOOP):
        return TransportError(
            FailureKind.REFUSED, f"{told}: a link that leads nowhere", advice="mend the link or remove it"
        )
    return TransportError(FailureKind.UNREACHABLE, f"{told}: {reason}", advice="check the file system it lies on")


def _too_large(told: Path, reason: str) -> TransportError:
    return TransportError(
        FailureKind.TOO_LARGE,
        f"{told} is {reason} and was not read",
        advice="move what is done into an archive file that todo.files does not name",
    )
