"""Kernel locks on open files: one tick per agent, one reader per source, one owner of the database's name (rule B1).

The kernel frees a lock when its process ends, however it ends, so nothing is ever cleaned up and no lock is stale.
Lock files are never deleted: a second process could lock the deleted file while a third makes a new one. What stands
in a lock file never decides who has the lock. It tells who that is, and by when it means to be done: a holder that is
over that time is ended by whoever needs the lock (fencing.py). A program that forks without exec shares its locks with
the child.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from heartbeat.deadline import Deadline
from heartbeat.errors import StateError
from heartbeat.store.fencing import Fenced as Fenced
from heartbeat.store.fencing import end
from heartbeat.store.holder import Holder as Holder
from heartbeat.store.holder import describe, read_holder

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.05
"""Seconds between two tries: flock itself cannot wait with a deadline, and 20 tries a second cost nothing."""

_MARGIN = (10.0, 60.0)
"""Seconds, at least and at most; see `lease`."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What came of trying. Where it was not got, `holder` is who has it, or None where the file does not tell, and
    `obstacle` says why a holder that is over its time could not be ended. `fenced` is who was ended so that it was got,
    and `left_by` who had it last and did not live to give it back, for whatever reason.
    """

    path: Path
    held: bool
    holder: Holder | None = None
    fenced: Fenced | None = None
    obstacle: str = ""
    left_by: Holder | None = None
    _record: _Record | None = field(default=None, repr=False, compare=False)

    @property
    def told_of_holder(self) -> str:
        """Who has it, and where that is too long already, why it was not ended."""
        who = str(self.holder or "another process")
        return f"{who}, and cannot be ended from here: {self.obstacle}" if self.obstacle else who

    def renew(self, until: Deadline) -> None:
        """Puts off the time by which the holder will be done. Raises ValueError where the lock is not held, or not any
        more."""
        if self._record is None or self._record.closed:
            raise ValueError(f"{self.path} is not held, so its time cannot be put off")
        self._record.write(until)


@dataclass(slots=True)
class _Record:
    """What the holder of a lock keeps in the file."""

    descriptor: int
    purpose: str
    since: datetime
    closed: bool = False
    """Whether the number of the descriptor may be another file's by now."""

    def write(self, until: Deadline | None) -> None:
        """A full disk costs the text and not the lock; a holder of whom nothing is known is never ended."""
        told = describe(self.purpose, self.since, until)
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, told, 0)

    def clear(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)


def lease(deadline: Deadline) -> Deadline:
    """By when somebody whose own deadline this is will be done for certain: as long again as it has left, at least ten
    seconds and at most a minute more. So a beat that hangs can be ended before the next slot of its agent (rule B2).
    """
    least, most = _MARGIN
    return Deadline(max(deadline.at, time.monotonic()) + min(most, max(least, deadline.left())))


@contextmanager
def try_exclusive(
    path: Path,
    deadline: Deadline | None = None,
    *,
    purpose: str = "heartbeat",
    until: Deadline | None = None,
    fence: bool = True,
) -> Iterator[Lock]:
    """Tries to be the only one, at once or until the deadline; the block runs in any case: look at `held`.

    `purpose` is shown to whoever waits, and must hold no secret. `until` is by when this process will be done, or will
    have put that off: after that, whoever needs the lock ends it. Without it nobody does. A holder that is over its
    time is ended here, or with `fence=False` not waited for. Makes the file (mode 0600) and its directory. Raises
    StateError where the file cannot be made.
    """
    with _opened(path, writable=True) as descriptor:
        tried = _acquire(descriptor, path, fcntl.LOCK_EX, deadline, fence=fence)
        if not tried.held:
            yield tried
            return
        record = _Record(descriptor, purpose, datetime.now(UTC))
        tried = replace(tried, left_by=read_holder(descriptor))
        record.write(until)
        try:
            yield replace(tried, _record=record)
        finally:
            record.clear()
            fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def exclusive(
    path: Path,
    deadline: Deadline | None = None,
    *,
    purpose: str = "heartbeat",
    until: Deadline | None = None,
    fence: bool = True,
) -> Iterator[Lock]:
    """Like `try_exclusive`, and raises StateError, naming the holder, where the lock cannot be had in time."""
    with try_exclusive(path, deadline, purpose=purpose, until=until, fence=fence) as lock:
        if not lock.held:
            raise _held_by_another(lock)
        yield lock


@contextmanager
def shared(path: Path, deadline: Deadline | None = None, *, make: bool = True) -> Iterator[Lock]:
    """Holds the lock together with others who share it, and keeps the exclusive ones out. Raises StateError.

    With `make=False` nothing is written, and nobody ended: a lock file that is not there is not made, and `held` is
    False then.
    """
    if not make and not path.exists():
        yield Lock(path, held=False)
        return
    with _opened(path, writable=make) as descriptor:
        tried = _acquire(descriptor, path, fcntl.LOCK_SH, deadline, fence=make, patient=not make)
        if not tried.held:
            raise _held_by_another(tried)
        try:
            yield tried
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def fence_overdue(paths: Iterable[Path]) -> tuple[Fenced, ...]:
    """Ends whoever is over its time with any of these locks; for somebody in whose way it may stand with what else it
    holds. Files that are not there are passed over."""
    ended = []
    for path in paths:
        with contextlib.suppress(StateError), _opened(path, writable=True, make=False) as descriptor:
            holder = read_holder(descriptor)
            if holder is not None and holder.overdue is not None:
                outcome = end(path, descriptor, holder, still=partial(_still, descriptor, holder, probe=True))
                ended += [outcome] if isinstance(outcome, Fenced) else []
    return tuple(ended)


@contextmanager
def _opened(path: Path, *, writable: bool, make: bool = True) -> Iterator[int]:
    flags = os.O_RDWR if writable else os.O_RDONLY
    flags |= os.O_CREAT if writable and make else 0
    try:
        if flags & os.O_CREAT:
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


def _acquire(
    descriptor: int, path: Path, kind: int, deadline: Deadline | None, *, fence: bool, patient: bool = False
) -> Lock:
    """Tries until the deadline. A holder that is over its time is ended, once; without `fence` it is not waited for
    either, unless with `patient`."""
    pause = _FIRST_PAUSE
    met: Holder | None = None
    fenced: Fenced | None = None
    obstacle = ""
    while not _flock(descriptor, path, kind):
        holder = read_holder(descriptor)
        if holder is not None and holder != met and holder.overdue is not None:
            if not fence and not patient:
                return Lock(path, held=False, holder=holder)
            met = holder
            outcome = end(path, descriptor, holder, still=partial(_still, descriptor, holder)) if fence else ""
            if isinstance(outcome, Fenced):
                fenced, obstacle = outcome, ""
                continue
            obstacle = outcome
        left = 0.0 if deadline is None else deadline.left()
        if left <= 0:
            return Lock(path, held=False, holder=holder, fenced=fenced, obstacle=obstacle if holder == met else "")
        time.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE)
    return Lock(path, held=True, fenced=fenced)


def _flock(descriptor: int, path: Path, kind: int) -> bool:
    """Whether the lock was free."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise StateError(
                f"the file system cannot lock {path}: {error.strerror or error}",
                advice="keep heartbeat's state on a local disk (`state:` in the roster, or HEARTBEAT_HOME)",
            ) from error
        return False
    return True


def _still(descriptor: int, holder: Holder, *, probe: bool = False) -> bool:
    """Whether this very record still stands there, and, with `probe`, whether anybody has the lock at all."""
    if read_holder(descriptor) != holder:
        return False
    if probe and _flock(descriptor, Path(), fcntl.LOCK_SH):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


def _held_by_another(lock: Lock) -> StateError:
    return StateError(
        f"{lock.path} is held by {lock.told_of_holder}",
        advice=f"wait for it to finish and run again; `fuser -v {lock.path}` shows who it is",
    )
