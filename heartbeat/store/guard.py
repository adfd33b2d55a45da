"""One writer of the database at a time, and none for ever: what SQLite's own locks do not give (rule B1).

SQLite keeps two writers apart, and cannot tell who the other one is. A process that is stopped within a write would
keep everybody out until somebody ends it by hand. So every write also holds the lock `state.write`, which tells who is
writing and by when that must be over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from heartbeat.deadline import Deadline
from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.store.locks import Fenced, Lock, fence_overdue, try_exclusive

WRITING = "state.write"
LOCKS = "locks"
"""Where beats and daemons keep theirs, beside the database."""

_LONGEST_WRITE = 60.0
"""Seconds that a write may take besides waiting: thousands of times what it does take."""


class Guard:
    """Of one open database. `on_fenced` is told of everybody who had to be ended.

    `unrecorded` are those whose end is not in the log yet; whoever writes next puts them there.
    """

    def __init__(self, directory: Path, on_fenced: Callable[[Fenced], None]) -> None:
        self.unrecorded: list[Fenced] = []
        self._directory = directory
        self._on_fenced = on_fenced

    @contextmanager
    def writing(self, database: Path, busy_timeout: float) -> Iterator[None]:
        """Holds the lock of the one who writes; raises StateError, naming that one, where it is not free in time."""
        until = Deadline.after(2 * busy_timeout + _LONGEST_WRITE)
        patience = Deadline.after(busy_timeout)
        with try_exclusive(self._directory / WRITING, patience, purpose="writing its memory", until=until) as lock:
            if not lock.held:
                raise StateError(
                    f"{database} has been locked by another process for more than {format_duration(busy_timeout)}: "
                    f"{lock.told_of_holder}; nothing was written",
                    advice=f"see who holds it (`fuser -v {database}`), end it or let it finish, and run again",
                )
            self.note(lock)
            yield

    def clear(self) -> bool:
        """Ends whoever is over its time, of all who work on this state and may have the database; whether there was
        somebody."""
        ended = fence_overdue((self._directory / WRITING, *sorted((self._directory / LOCKS).glob("*.lock"))))
        for fenced in ended:
            self._tell(fenced)
        return bool(ended)

    def note(self, lock: Lock) -> None:
        """A lock of the state directory that was tried; whoever had to be ended for it is told."""
        if lock.fenced is not None:
            self._tell(lock.fenced)

    def _tell(self, fenced: Fenced) -> None:
        self.unrecorded.append(fenced)
        self._on_fenced(fenced)
