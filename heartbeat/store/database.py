"""One open database file: its safety settings, transactions, and what SQLite says in words for people.

SQLite checks each page as it loads it, so damage shows when the damaged part is used. What shows here as damage ends
this command with a StateError and leaves a note beside the database; the next opening examines it thoroughly and sets
it aside if it really is damaged (rule B7, see opening.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.store.guard import Guard
from heartbeat.store.locks import Fenced, Lock
from heartbeat.store.port import refuse_write

_LARGEST_INTEGER = 2**63 - 1
"""SQLite takes no larger one."""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH})
"""Primary result codes that mean damage. Our statements are fixed and tested, so that a plain SQLITE_ERROR (no such
table, no such column) says that the file's own description of its tables is not what we wrote."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_HOT_JOURNAL = "holds an unfinished write of a heartbeat that was killed, and looking may not repair it"
_HOT_JOURNAL_ADVICE = "let a command that may write run once (the next `heartbeat tick` does); it undoes the half write"

_TROUBLE: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_READONLY_ROLLBACK: (_HOT_JOURNAL, _HOT_JOURNAL_ADVICE),
    sqlite3.SQLITE_READONLY_DBMOVED: (
        "was moved or deleted while it was in use",
        "put it back, or accept the loss when the next tick reports it; run the command again",
    ),
    sqlite3.SQLITE_FULL: ("does not fit on its disk any more; this write was undone", "free some space and run again"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "check the owner and mode of the file and its directory, and whether the file system is mounted read-only",
    ),
    sqlite3.SQLITE_IOERR: (
        "could not be read or written: the operating system reported an input/output error",
        "check the disk's space, quota and health (df, dmesg) and run again",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "check the owner and mode of the file and its directory, and that the disk is there",
    ),
    sqlite3.SQLITE_PERM: ("may not be opened", "check the owner and mode of the file and its directory"),
}
"""Result code (an extended one, or a primary one) to what happened and what to do."""


def suspect_note(path: Path) -> Path:
    """The file whose presence says that damage showed in the database `path`."""
    return path.with_name(path.name + ".suspect")


def connect(path: Path, mode: str, busy_timeout: float) -> sqlite3.Connection:
    """A connection with every safety setting on; `mode` is `rw` or `ro`. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=busy_timeout, isolation_level=None
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if mode == "ro":
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        connection.close()
        raise
    return connection


DatabaseTrouble = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What using a file may raise; the second where SQLite's own message quotes bytes of a damaged file."""


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is not what we wrote. Text that is no UTF-8 comes without a code."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.OperationalError | UnicodeDecodeError)
    return code & 0xFF in _DAMAGE


def is_busy(error: StateError) -> bool:
    """Whether `trouble` made it of a lock that somebody else holds."""
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _BUSY


def trouble(path: Path, error: Exception, busy_timeout: float) -> StateError:
    """The error to raise for what SQLite said of the database `path`."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _BUSY:
        return StateError(
            f"{path} has been locked by another process for more than {format_duration(busy_timeout)}; "
            "nothing was written",
            advice=f"see who holds it (`fuser -v {path}`), end that program or let it finish, and run again",
        )
    if is_damage(error):
        return StateError(
            f"{path} is damaged ({error})",
            advice="run the command again: the file is then examined as a whole, kept aside if it is damaged, "
            "and heartbeat goes on in observe mode until you accept that",
        )
    what, advice = (
        _TROUBLE.get(code) or _TROUBLE.get(code & 0xFF) or ("cannot be used", "look at the file and run again")
    )
    return StateError(f"{path} {what} ({error})", advice=advice)


class Database:
    """A connection, and how the tables' modules use it. Made by opening.py, which has checked the file.

    `hold` is a lock that was entered already and keeps others from replacing the file; closing the store leaves it.
    `guard` is for the database of a state directory, which others write to as well.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        read_only: bool,
        busy_timeout: float,
        hold: contextlib.AbstractContextManager[Lock] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._read_only = read_only
        self._busy_timeout = busy_timeout
        self._guard = guard
        self._resources = contextlib.ExitStack()
        if hold is not None:
            self._resources.push(hold)
        self._resources.callback(connection.close)

    @property
    def read_only(self) -> bool:
        return self._read_only

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._read_only:
            raise refuse_write(str(self._path))
        if self._connection.in_transaction:
            raise RuntimeError("a transaction is open already; they do not nest")
        alone = contextlib.nullcontext() if self._guard is None else self._guard.writing(self._path, self._busy_timeout)
        with alone:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                recorded = self._put_on_record()
                self._execute("COMMIT")
                self._forget_recorded(recorded)
            except BaseException:
                self._undo()
                raise

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Inside the caller's transaction, or in one of its own."""
        if self._connection.in_transaction:
            yield
            return
        with self.transaction():
            yield

    def _put_on_record(self) -> int:
        """Whom we had to end to come to write, into the log; how many that are."""
        fenced = [] if self._guard is None else list(self._guard.unrecorded)
        for each in fenced:
            self._note_fenced(each)
        return len(fenced)

    def _forget_recorded(self, number: int) -> None:
        if self._guard is not None:
            del self._guard.unrecorded[:number]

    def _note_fenced(self, fenced: Fenced) -> None:
        """A database without a log keeps none."""

    def _write_all(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Carries out one statement for each; how many rows it made, changed or removed, those of triggers aside."""
        if self._read_only:
            raise refuse_write(str(self._path))
        if not rows:
            return 0
        with self._writing(), self._translating():
            return self._connection.executemany(statement, rows).rowcount

    def _change(self, statement: str, values: tuple[Any, ...]) -> int:
        """Carries out one statement; how many rows it made, changed or removed, those of triggers aside."""
        with self._writing(), self._translating():
            return self._connection.execute(statement, values).rowcount

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Its rows. Where it waits in vain for a process that is over its time: once more without that one."""
        try:
            return self._fetched(statement, values)
        except StateError as error:
            if self._guard is None or not is_busy(error) or not self._guard.clear():
                raise
            return self._fetched(statement, values)

    def _fetched(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._translating():
            return self._connection.execute(statement, values).fetchall()

    def _undo(self) -> None:
        """SQLite has rolled back by itself after some errors, and a rollback that fails must not hide the cause."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except DatabaseTrouble as error:
            if is_damage(error):
                self._note_damage(str(error))
            raise trouble(self._path, error, self._busy_timeout) from error

    @contextmanager
    def _decoding(self, table: str) -> Iterator[None]:
        """Rows that SQLite accepts and that hold what we never wrote: damage too."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._note_damage(f"table {table}: {error}")
            raise StateError(
                f"{self._path} is damaged: table {table} holds what heartbeat never wrote ({error})",
                advice="run the command again: the file is then examined as a whole, kept aside if it is damaged, "
                "and heartbeat goes on in observe mode until you accept that",
            ) from error

    def _note_damage(self, what: str) -> None:
        if self._read_only:
            return
        # Where even the note cannot be written, the next use meets the same damage and tries again.
        with contextlib.suppress(OSError):
            suspect_note(self._path).write_text(what + "\n", encoding="utf-8", errors="backslashreplace")


def where(*conditions: tuple[str, object]) -> tuple[str, tuple[object, ...]]:
    """A WHERE clause of those conditions that have something to compare with, and the values; empty where none has.

    Each is its text and its value: None leaves it out, a tuple holds several values.
    """
    asked = [(condition, value) for condition, value in conditions if value is not None]
    clause = f"WHERE {' AND '.join(condition for condition, _ in asked)}" if asked else ""
    values = ((value if isinstance(value, tuple) else (value,)) for _, value in asked)
    return clause, tuple(chain.from_iterable(values))


def integer(value: int) -> int:
    """The nearest limit or number of a row that SQLite can take; a limit below 0 would mean none."""
    return min(max(0, value), _LARGEST_INTEGER)
