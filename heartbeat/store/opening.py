"""Opening the database: a first run, a normal one, and everything that may have happened to the file in between (B7).

The state directory holds
- `state.db`: the database. It comes into being whole, by a rename, so that an empty one was emptied by somebody else;
- `state.marker`: made after the first database. A marker without a database means lost memory, never a first run.
  Where the whole directory went, what is noted elsewhere says so (witness.py);
- `state.lock`: shared by everybody who has the database open, exclusive for whoever replaces the file. Without it a
  process that still had the old file open could leave its journal beside the new one and spoil it;
- `state.write`: held by whoever is writing (guard.py);
- `state.db.suspect`: damage showed while the database was in use;
- `state.db.corrupt-<UTC time>`: what was set aside. Never overwritten, never deleted.

How damage is found. Every opening makes SQLite read the header (which gives away a file that is no database) and
compares the size and the names of the tables. A file of up to `CHECKED_UP_TO` bytes has its whole structure checked as
well (SQLite's integrity check: about 1 ms a MiB; the quick one misses keys that are out of order, and with them rows).
Beyond that the cost would grow with the history at every beat, and SQLite checks each page as it loads it; so a larger
file is checked after damage showed in use, and then every row is decoded too. What no check can see is a changed letter
inside a text: nothing that SQLite keeps would tell.

Lost or damaged memory always leaves a tombstone in the new database, and heartbeat only observes until an operator
accepts it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from heartbeat.deadline import Deadline
from heartbeat.durable import sync_directory
from heartbeat.errors import StateError
from heartbeat.instants import to_text
from heartbeat.store import columns, schema, witness
from heartbeat.store.database import DatabaseTrouble, connect, is_busy, is_damage, suspect_note, trouble
from heartbeat.store.guard import Guard
from heartbeat.store.locks import Fenced, lease, shared, try_exclusive
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Store, Tombstone
from heartbeat.store.sqlite import SqliteStore

DATABASE = "state.db"
MARKER = "state.marker"
LOCK = "state.lock"

BUSY_TIMEOUT = 10.0
"""Seconds that an operation waits for another process's transaction before it gives up."""

CHECKED_UP_TO = 4 * 1024 * 1024
"""Bytes; see above."""

_TRIES = 3

_LOOK_AGAIN_AFTER = 0.1
"""Seconds of waiting to make the database, after which it is looked for again: whoever is in the way may have made it,
and then keeps it open for as long as a beat takes."""

_MARKER_TEXT = """heartbeat has kept its memory in {database} beside this file since {since}.
If {database} is missing while this file is here, heartbeat takes it for lost and only observes until told otherwise.
"""

_ADVICE = {
    errno.ENOSPC: "free some space on that disk and run again",
    errno.EDQUOT: "raise the disk quota or free some space, and run again",
    errno.EROFS: "mount it for writing, or use the commands that only look (worklist, timeouts, --dry-run)",
    errno.EACCES: "run as the user who owns the state directory, or name another one (`state:` in the roster)",
    errno.EPERM: "run as the user who owns the state directory, or name another one (`state:` in the roster)",
}


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Why there is no database to work with. `lost` is False on a first run, when there is nothing to mourn."""

    reason: str
    lost: bool = True
    damaged: bool = False
    """Whether a file that is no good stands where the database belongs."""


def _tell_nobody(fenced: Fenced) -> None:
    """The log has it."""


def open_store(
    directory: Path,
    now: datetime,
    *,
    busy_timeout: float = BUSY_TIMEOUT,
    on_fenced: Callable[[Fenced], None] = _tell_nobody,
) -> Store:
    """The store of a state directory, for reading and writing.

    Directory (0700) and database (0600) are made on the first run. A database that was emptied, damaged or deleted is
    replaced by a new one with a tombstone; the damaged file is kept under another name. Raises StateError where the
    state cannot be used: locked for longer than `busy_timeout` seconds, not writable, disk full, written by a newer
    heartbeat or by another program. What was in it stays as it was then.

    A process that keeps the database locked, and is over the time by which it meant to be done, is ended (guard.py):
    `on_fenced` is told, now or later, and the log has it.
    """
    path = directory / DATABASE
    lock_path = directory / LOCK
    guard = Guard(directory, on_fenced)
    with _explaining(path):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = Deadline.after(busy_timeout)
        tries = 0
        while tries < _TRIES:
            with contextlib.ExitStack() as stack:
                hold = shared(lock_path, Deadline.after(busy_timeout))
                guard.note(stack.enter_context(hold))
                found = _examine_guarded(path, busy_timeout, guard)
                if isinstance(found, sqlite3.Connection):
                    stack.callback(found.close)
                    _mark(path, now)
                    stack.pop_all()
                    store = SqliteStore(found, path, read_only=False, busy_timeout=busy_timeout, hold=hold, guard=guard)
                    return _recorded(store, guard)
            patience, until = deadline.at_most(_LOOK_AGAIN_AFTER), lease(Deadline.after(busy_timeout))
            with try_exclusive(lock_path, patience, purpose="replacing the state database", until=until) as lock:
                guard.note(lock)
                if not lock.held:
                    if deadline.left() > 0 or guard.clear():
                        continue
                    raise StateError(
                        f"{found.reason}; it cannot be made anew while {lock.holder or 'another process'} uses it",
                        advice=f"let that process finish or end it (`fuser -v {lock_path}`), and run again",
                    )
                tries += 1
                found = _examine(path, "rw", busy_timeout)
                if isinstance(found, sqlite3.Connection):
                    found.close()
                    continue
                _make(path, found, now, busy_timeout)
                _mark(path, now)
    raise StateError(
        f"{path} was unusable again each of {_TRIES} times after it had been made anew",
        advice="check that disk's health (dmesg) and that nothing else writes there, then run again",
    )


def open_store_read_only(directory: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Store:
    """The store of a state directory, for looking: makes and changes no file, and works on a read-only mount (B3).

    Without a database it is an empty one that refuses writes; where the database was lost or is damaged it has a
    tombstone besides, as the next opening for writing would give it. A database of an older heartbeat is copied into
    memory and brought up to date there. Raises StateError for one of a newer heartbeat, and for one that a killed
    heartbeat left in the middle of a write: undoing that means writing, and to ignore it would show half a beat.
    """
    path = directory / DATABASE
    with _explaining(path), contextlib.ExitStack() as stack:
        hold = shared(directory / LOCK, Deadline.after(busy_timeout), make=False)
        stack.enter_context(hold)
        found = _examine(path, "ro", busy_timeout)
        if isinstance(found, sqlite3.Connection):
            stack.pop_all()
            return SqliteStore(found, path, read_only=True, busy_timeout=busy_timeout, hold=hold)
        told = Tombstone(_last_change(path), f"{found.reason}; the next beat starts a new one") if found.lost else None
    return MemoryStore(read_only=True, tombstone=told, where=str(path))


def _recorded(store: SqliteStore, guard: Guard) -> Store:
    """The store, with the end of whoever was in the way on record before anything else."""
    if guard.unrecorded:
        with contextlib.ExitStack() as stack:
            stack.callback(store.close)
            with store.transaction():
                pass
            stack.pop_all()
    return store


def _examine_guarded(path: Path, busy_timeout: float, guard: Guard) -> sqlite3.Connection | _Unusable:
    """For writing; where somebody who is over their time is in the way, once more without them."""
    try:
        return _examine(path, "rw", busy_timeout)
    except StateError as error:
        if not is_busy(error) or not guard.clear():
            raise
        return _examine(path, "rw", busy_timeout)


def _examine(path: Path, mode: str, busy_timeout: float) -> sqlite3.Connection | _Unusable:
    """A connection to a sound database of this version, or why there is none. With `rw` an older one is migrated."""
    absent = _absent(path)
    if absent is not None:
        return absent
    if mode == "rw" and not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    suspect = suspect_note(path).exists()
    with contextlib.ExitStack() as stack:
        try:
            connection = connect(path, mode, busy_timeout)
            stack.callback(connection.close)
            connection.execute("BEGIN")  # one view of the file, which no writer extends meanwhile
            fault = _fault(connection, path, thorough=suspect)
            connection.execute("ROLLBACK")
            if fault is None:
                connection = _up_to_date(connection, path, mode, stack)
                fault = _undecodable(connection, path) if suspect else None
        except DatabaseTrouble as error:
            if not is_damage(error):
                raise trouble(path, error, busy_timeout) from error
            fault = str(error)
        if fault is not None:
            return _Unusable(f"{path} is damaged: {fault}", damaged=True)
        if suspect and mode == "rw":
            suspect_note(path).unlink(missing_ok=True)
        stack.pop_all()
        return connection


def never_used(directory: Path) -> bool:
    """Whether nothing was ever kept in a state directory, as far as can be seen: it may not exist at all."""
    try:
        found = _absent(directory / DATABASE)
    except (OSError, StateError):
        return False
    return found is not None and not found.lost


def _absent(path: Path) -> _Unusable | None:
    """What there is to say without opening anything."""
    try:
        status = path.stat()
    except FileNotFoundError:
        earlier = sorted(path.parent.glob(f"{path.name}.corrupt-*"))
        if not earlier and not (path.parent / MARKER).exists():
            if witness.is_known(path.parent):
                note = witness.place(path.parent)
                return _Unusable(
                    f"{path} vanished, and with it all else that scheduled beats kept in that directory, as {note} "
                    "tells (to begin anew on purpose, delete that file together with the directory)"
                )
            return _Unusable("there is no state yet", lost=False)
        aside = f" ({earlier[-1].name} is still there)" if earlier else ""
        return _Unusable(f"{path} vanished{aside}")
    if not stat.S_ISREG(status.st_mode):
        raise StateError(
            f"{path} is not a file", advice="move it away, or name another state directory (`state:` in the roster)"
        )
    return _Unusable(f"{path} is damaged: it is empty (0 bytes)", damaged=True) if status.st_size == 0 else None


def _last_change(path: Path) -> datetime:
    """When the damaged file was last written, or where there is none, when the directory above lost or got a file."""
    there = next(each for each in (path, *path.parents) if each.exists())
    return datetime.fromtimestamp(there.stat().st_mtime, UTC)


def _fault(connection: sqlite3.Connection, path: Path, *, thorough: bool) -> str | None:
    """What is wrong with the file. Raises StateError for a sound one that is not for us, and sqlite3.DatabaseError."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    version = schema.version_of(connection)
    present = schema.objects_of(connection)
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    ((page_size,),) = connection.execute("PRAGMA page_size").fetchall()
    size = path.stat().st_size
    if pages == 0:
        return f"its {size} bytes hold no database"
    if application != schema.APPLICATION_ID:
        raise StateError(
            f"{path} is a database of another program",
            advice="move it away, or name another state directory (`state:` in the roster)",
        )
    if version > len(schema.MIGRATIONS):
        raise StateError(
            f"{path} was written by a newer heartbeat (state version {version}, this one knows up to "
            f"{len(schema.MIGRATIONS)}); it was left as it is",
            advice="upgrade heartbeat here too (`pip install -U heartbeat-agents`)",
        )
    if version < 1:
        return f"its state version is {version}"
    if size < pages * page_size:
        return f"it was cut short ({size} of {pages * page_size} bytes)"
    missing = schema.objects_after(schema.MIGRATIONS[:version]) - present
    if missing:
        return f"it lacks {', '.join(f'{kind} {name}' for kind, name in sorted(missing))}"
    if not thorough and size > CHECKED_UP_TO:
        return None
    problems = [str(problem) for (problem,) in connection.execute("PRAGMA integrity_check(3)").fetchall()]
    return None if problems == ["ok"] else "; ".join(problems)


def _up_to_date(
    connection: sqlite3.Connection, path: Path, mode: str, stack: contextlib.ExitStack
) -> sqlite3.Connection:
    """The connection itself after the missing migrations; for looking only, one to a copy in memory that had them."""
    if schema.version_of(connection) == len(schema.MIGRATIONS):
        return connection
    if mode == "ro":
        copy = sqlite3.connect(":memory:", isolation_level=None)
        stack.callback(copy.close)
        connection.backup(copy)
        connection.close()
        connection = copy
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema.migrate(connection, schema.MIGRATIONS)
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}:
            # A step that does not fit the data is no damage: what is in the file must not be set aside for it.
            raise StateError(
                f"{path} could not be brought up to date ({error}); it was left as it is",
                advice="go back to the heartbeat that wrote it, and report this",
            ) from error
        raise
    return connection


def _undecodable(connection: sqlite3.Connection, path: Path) -> str | None:
    try:
        SqliteStore(connection, path, read_only=True, busy_timeout=0).decode_everything()
    except StateError as error:
        return str(error)
    return None


def _make(path: Path, unusable: _Unusable, now: datetime, busy_timeout: float) -> None:
    """Puts a new database in place, and aside what stood there. The caller holds the lock exclusively.

    The new one is complete before the old one is touched. A crash between the renames leaves no database and a
    marker: lost, and the next opening says so.
    """
    aside = _free_name(path, now)
    tombstone = Tombstone(now, unusable.reason, str(aside) if unusable.damaged else None) if unusable.lost else None
    new = path.with_name(path.name + ".new")
    journal = path.with_name(path.name + "-journal")
    for leftover in (new, new.with_name(new.name + "-journal")):
        leftover.unlink(missing_ok=True)
    try:
        _write_new(new, tombstone, busy_timeout)
        if unusable.damaged:
            path.rename(aside)
        if journal.exists():
            # It belongs to the old file; SQLite would play it back into the new one.
            journal.rename(aside.with_name(aside.name + "-journal"))
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    suspect_note(path).unlink(missing_ok=True)
    sync_directory(path.parent)


def _write_new(new: Path, tombstone: Tombstone | None, busy_timeout: float) -> None:
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        connection = connect(new, "rw", busy_timeout)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            schema.migrate(connection, schema.MIGRATIONS)
            if tombstone is not None:
                connection.execute(
                    "INSERT INTO tombstones (at, reason, quarantined) VALUES (?, ?, ?)",
                    (
                        columns.stamp(tombstone.at),
                        columns.bound(tombstone.reason),
                        None if tombstone.quarantined is None else columns.bound(tombstone.quarantined),
                    ),
                )
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise trouble(new, error, busy_timeout) from error


def _free_name(path: Path, now: datetime) -> Path:
    """`state.db.corrupt-20261121T040000Z`, with a number where that is taken."""
    base = f"{path.name}.corrupt-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(base if number == 1 else f"{base}-{number}") for number in count(1))
    return next(name for name in names if not os.path.lexists(name) and not os.path.lexists(f"{name}-journal"))


def _mark(path: Path, now: datetime) -> None:
    marker = path.parent / MARKER
    if marker.exists():
        return
    marker.write_text(_MARKER_TEXT.format(database=path.name, since=to_text(now)), encoding="utf-8")
    sync_directory(path.parent)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise StateError(
            f"the state in {path.parent} cannot be used: {where}: {error.strerror or error}",
            advice=_ADVICE.get(error.errno or 0, "check that directory and its disk, then run again"),
        ) from error
