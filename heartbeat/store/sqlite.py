"""The store in one SQLite file: rollback journal, every commit on disk before it counts, one writer at a time.

SQLite checks each page as it loads it, so damage shows when the damaged part is used. What shows here as damage ends
this command with a StateError and leaves a note beside the database; the next opening examines it thoroughly and sets
it aside if it really is damaged (rule B7, see opening.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.store import schema
from heartbeat.store.locks import Lock
from heartbeat.store.port import (
    SIGHTING_REFRESH,
    Link,
    Receipt,
    Tombstone,
    from_json,
    refuse_write,
    settled,
    to_json,
)
from heartbeat.store.schema import bound, stamp, text
from heartbeat.task import Ref

_RECEIPT_COLUMNS = (
    "id, agent, slot, started_at, ended_at, outcome, degraded, sources, buckets, rejected, reasons, version, host, pid"
)

_LARGEST_INTEGER = 2**63 - 1
"""SQLite takes no larger one."""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH})
"""Primary result codes that mean damage. Our statements are fixed and tested, so that a plain SQLITE_ERROR (no such
table, no such column) says that the file's own description of its tables is not what we wrote."""

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


def trouble(path: Path, error: Exception, busy_timeout: float) -> StateError:
    """The error to raise for what SQLite said of the database `path`."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
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


class SqliteStore:
    """Fulfils `Store`. Made by opening.py, which has checked the file.

    `hold` is a lock that was entered already and keeps others from replacing the file; closing the store leaves it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        read_only: bool,
        busy_timeout: float,
        hold: contextlib.AbstractContextManager[Lock] | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._read_only = read_only
        self._busy_timeout = busy_timeout
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
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def add_receipt(self, receipt: Receipt) -> None:
        values = _receipt_values(settled(receipt))
        with self._writing():
            if self._execute("SELECT 1 FROM receipts WHERE id = ?", (values[0],)):
                raise ValueError(f"receipt {receipt.id!r} is recorded already")
            self._execute(
                f"INSERT INTO receipts ({_RECEIPT_COLUMNS}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
                values,
            )

    def receipts(self, agent: str | None = None, limit: int = 50, since: datetime | None = None) -> tuple[Receipt, ...]:
        conditions: list[str] = []
        values: list[Any] = []
        if agent is not None:
            conditions.append("agent = ?")
            values.append(bound(agent))
        if since is not None:
            conditions.append("started_at >= ?")
            values.append(stamp(since))
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._receipts(
            f"{where} ORDER BY sequence DESC LIMIT ?", (*values, min(max(0, limit), _LARGEST_INTEGER))
        )

    def last_receipt(self, agent: str) -> Receipt | None:
        return next(iter(self.receipts(agent, 1)), None)

    def last_receipts(self) -> Mapping[str, Receipt]:
        newest = self._receipts("WHERE sequence IN (SELECT max(sequence) FROM receipts GROUP BY agent)", ())
        return {receipt.agent: receipt for receipt in newest}

    def remember_links(self, links: Iterable[Link]) -> None:
        rows = [
            (*_ref_values(link.first), *_ref_values(link.second), bound(link.via), stamp(link.made_at))
            for link in links
        ]
        self._write_all("INSERT INTO links VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def links(self) -> tuple[Link, ...]:
        rows = self._execute("SELECT first_source, first_id, second_source, second_id, via, made_at FROM links")
        with self._decoding("links"):
            links = [
                Link(Ref(text(row[0]), text(row[1])), Ref(text(row[2]), text(row[3])), text(row[4]), _instant(row[5]))
                for row in rows
            ]
        return tuple(sorted(links, key=lambda link: (link.first, link.second)))

    def note_sightings(self, refs: Iterable[Ref], at: datetime) -> None:
        now, due = stamp(at), stamp(at - SIGHTING_REFRESH)
        rows = []
        for source, ids in _ids_by_source(refs).items():
            last_seen = self._sightings(source, "last_seen")
            rows += [
                (bound(source), bound(id_), now, now)
                for id_ in sorted(ids)
                if id_ not in last_seen or last_seen[id_] <= due
            ]
        self._write_all(
            "INSERT INTO sightings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen", rows
        )

    def first_seen(self, refs: Iterable[Ref]) -> Mapping[Ref, datetime]:
        found: dict[Ref, datetime] = {}
        for source, ids in _ids_by_source(refs).items():
            first_seen = self._sightings(source, "first_seen")
            with self._decoding("sightings"):
                found |= {Ref(source, id_): _instant(first_seen[id_]) for id_ in ids & first_seen.keys()}
        return found

    def note_complete(self, source: str, identity: str, at: datetime) -> None:
        self._write_all(
            "INSERT INTO completions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
            [(bound(source), bound(identity), stamp(at))],
        )

    def last_complete(self, source: str) -> datetime | None:
        ((latest,),) = self._execute("SELECT max(at) FROM completions WHERE source = ?", (bound(source),))
        with self._decoding("completions"):
            return None if latest is None else _instant(latest)

    def tombstone(self) -> Tombstone | None:
        rows = self._execute(
            "SELECT at, reason, quarantined FROM tombstones WHERE accepted_at IS NULL ORDER BY sequence DESC LIMIT 1"
        )
        with self._decoding("tombstones"):
            for at, reason, quarantined in rows:
                return Tombstone(_instant(at), text(reason), None if quarantined is None else text(quarantined))
        return None

    def accept_tombstone(self, by: str, at: datetime) -> Tombstone | None:
        accepted_at = stamp(at)
        with self._writing():
            standing = self.tombstone()
            if standing is not None:
                self._execute(
                    "UPDATE tombstones SET accepted_at = ?, accepted_by = ? WHERE accepted_at IS NULL",
                    (accepted_at, bound(by)),
                )
        return standing

    def forget_before(self, instant: datetime) -> int:
        limit = stamp(instant)
        with self._writing():
            before = self._connection.total_changes
            self._execute(
                "DELETE FROM receipts WHERE started_at < ? "
                "AND sequence NOT IN (SELECT max(sequence) FROM receipts GROUP BY agent)",
                (limit,),
            )
            self._execute("DELETE FROM sightings WHERE last_seen < ?", (limit,))
            return self._connection.total_changes - before

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decode_everything(self) -> None:
        """Reads and decodes every row: the part of a thorough examination that SQLite cannot do. Raises StateError."""
        self._receipts("", ())
        self.links()
        self.tombstone()
        seen = self._execute("SELECT source, id, first_seen, last_seen FROM sightings")
        with self._decoding("sightings"):
            for source, id_, first, last in seen:
                Ref(text(source), text(id_)), _instant(first), _instant(last)
        completions = self._execute("SELECT source, identity, at FROM completions")
        with self._decoding("completions"):
            for source, identity, at in completions:
                text(source), text(identity), _instant(at)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Inside the caller's transaction, or in one of its own."""
        if self._connection.in_transaction:
            yield
            return
        with self.transaction():
            yield

    def _write_all(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if self._read_only:
            raise refuse_write(str(self._path))
        if not rows:
            return
        with self._writing(), self._translating():
            self._connection.executemany(statement, rows)

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._translating():
            return self._connection.execute(statement, values).fetchall()

    def _undo(self) -> None:
        """SQLite has rolled back by itself after some errors, and a rollback that fails must not hide the cause."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _receipts(self, clauses: str, values: tuple[Any, ...]) -> tuple[Receipt, ...]:
        rows = self._execute(f"SELECT {_RECEIPT_COLUMNS} FROM receipts {clauses}", values)  # noqa: S608
        with self._decoding("receipts"):
            return tuple(_receipt(row) for row in rows)

    def _sightings(self, source: str, column: str) -> dict[str, str]:
        """Id to `column`, for every sighting of a source: one query however many refs are asked for."""
        rows = self._execute(f"SELECT id, {column} FROM sightings WHERE source = ?", (bound(source),))  # noqa: S608
        with self._decoding("sightings"):
            return {text(id_): text(value) for id_, value in rows}

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


def _receipt_values(receipt: Receipt) -> tuple[Any, ...]:
    return (
        bound(receipt.id),
        bound(receipt.agent),
        None if receipt.slot is None else stamp(receipt.slot),
        stamp(receipt.started_at),
        stamp(receipt.ended_at),
        receipt.outcome,
        int(receipt.degraded),
        bound(to_json(receipt.sources)),
        bound(to_json(receipt.buckets)),
        bound(to_json(receipt.rejected)),
        bound(to_json(receipt.reasons)),
        bound(receipt.version),
        bound(receipt.host),
        receipt.pid,
    )


def _receipt(row: tuple[Any, ...]) -> Receipt:
    return Receipt(
        id=text(row[0]),
        agent=text(row[1]),
        slot=None if row[2] is None else _instant(row[2]),
        started_at=_instant(row[3]),
        ended_at=_instant(row[4]),
        outcome=row[5],
        degraded=bool(row[6]),
        sources=tuple(from_json(text(row[7]))),
        buckets=from_json(text(row[8])),
        rejected=tuple(from_json(text(row[9]))),
        reasons=tuple(from_json(text(row[10]))),
        version=text(row[11]),
        host=text(row[12]),
        pid=row[13],
    )


def _instant(value: Any) -> datetime:
    return schema.instant(value)


def _ref_values(ref: Ref) -> tuple[str | bytes, str | bytes]:
    return bound(ref.source), bound(ref.id)


def _ids_by_source(refs: Iterable[Ref]) -> dict[str, set[str]]:
    by_source: defaultdict[str, set[str]] = defaultdict(set)
    for ref in refs:
        by_source[ref.source].add(ref.id)
    return by_source
