"""Kernel locks on open files: one tick per agent, one reader per source, one owner of the database's name (rule B1).

The kernel frees a lock when its process ends, however it ends, so nothing is ever cleaned up and no lock is stale.
Lock files are never deleted: a second process could lock the deleted file while a third makes a new one. What stands
in a lock file is for messages only. A program that forks without exec shares its locks with the child.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from heartbeat.errors import StateError
from heartbeat.instants import to_text
from heartbeat.systems.base import Deadline

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.05
"""Seconds between two tries: flock itself cannot wait with a deadline, and 20 tries a second cost nothing."""

_HOLDER_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lock, as far as the lock file tells."""

    pid: int
    purpose: str
    since: datetime

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.purpose}) since {to_text(self.since)}"


@dataclass(frozen=True, slots=True)
class Lock:
    """What came of trying. Where it was not got, `holder` is who has it, or None where the file does not tell."""

    path: Path
    held: bool
    holder: Holder | None = None


@contextmanager
def try_exclusive(path: Path, deadline: Deadline | None = None, *, purpose: str = "heartbeat") -> Iterator[Lock]:
    """Tries to be the only one, at once or until the deadline; the block runs in any case: look at `held`.

    `purpose` is shown to whoever waits, and must hold no secret. Makes the file (mode 0600) and its directory. Raises
    StateError where the file cannot be made.
    """
    with _opened(path, writable=True) as descriptor:
        if not _acquire(descriptor, path, fcntl.LOCK_EX, deadline):
            yield Lock(path, held=False, holder=_read_holder(descriptor))
            return
        _write_holder(descriptor, purpose)
        try:
            yield Lock(path, held=True)
        finally:
            _clear_holder(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def exclusive(path: Path, deadline: Deadline | None = None, *, purpose: str = "heartbeat") -> Iterator[Lock]:
    """Like `try_exclusive`, and raises StateError, naming the holder, where the lock cannot be had in time."""
    with try_exclusive(path, deadline, purpose=purpose) as lock:
        if not lock.held:
            raise _held_by_another(path, lock.holder)
        yield lock


@contextmanager
def shared(path: Path, deadline: Deadline | None = None, *, make: bool = True) -> Iterator[Lock]:
    """Holds the lock together with others who share it, and keeps the exclusive ones out. Raises StateError.

    With `make=False` nothing is written: a lock file that is not there is not made, and `held` is False then.
    """
    if not make and not path.exists():
        yield Lock(path, held=False)
        return
    with _opened(path, writable=make) as descriptor:
        if not _acquire(descriptor, path, fcntl.LOCK_SH, deadline):
            raise _held_by_another(path, _read_holder(descriptor))
        try:
            yield Lock(path, held=True)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _opened(path: Path, *, writable: bool) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
    try:
        if writable:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(
            f"the lock file {path} cannot be opened: {error.strerror or error}",
            advice="the state directory must exist on a working disk, with space left, and be writable by this user",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, kind: int, deadline: Deadline | None) -> bool:
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StateError(
                    f"the file system cannot lock {path}: {error.strerror or error}",
                    advice="keep heartbeat's state on a local disk (`state:` in the roster, or HEARTBEAT_HOME)",
                ) from error
        else:
            return True
        left = 0.0 if deadline is None else deadline.left()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE)


def _held_by_another(path: Path, holder: Holder | None) -> StateError:
    return StateError(
        f"{path} is held by {holder or 'another process'}",
        advice=f"wait for it to finish and run again; `fuser -v {path}` shows who it is",
    )


def _write_holder(descriptor: int, purpose: str) -> None:
    """A full disk must not cost the lock: the text is information only."""
    told = json.dumps({"pid": os.getpid(), "purpose": purpose[: _HOLDER_SIZE // 8]}).encode()
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, told, 0)


def _clear_holder(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def _read_holder(descriptor: int) -> Holder | None:
    """Whatever stands there is data: read up to a limit, printable characters kept, anything odd means not known.

    The file's own time of writing is the holder's start.
    """
    try:
        told = json.loads(os.pread(descriptor, _HOLDER_SIZE, 0))
        since = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        pid, purpose = int(told["pid"]), str(told["purpose"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return Holder(pid, "".join(character for character in purpose if character.isprintable()), since)
