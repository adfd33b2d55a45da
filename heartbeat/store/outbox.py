"""The outbox in the file: every effect on the world is on record before it happens (rule L4, invariant I4)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from heartbeat.store.canonical import to_json
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    instant,
    instant_if_any,
    json_object,
    number,
    stamp,
    stamp_if_any,
    text,
)
from heartbeat.store.database import Database, integer, where
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState

_COLUMNS = (
    "key, kind, target, payload, created_at, due_at, task, incident, state, attempts, claimed_at, finished_at, error, "
    "result"
)


class OutboxTable(Database):
    """The table `outbox`."""

    def enqueue(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        rows = [(entry.key, _values(entry)) for entry in entries]
        statement = (
            f"INSERT INTO outbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )
        with self._writing():
            return tuple(key for key, values in rows if self._change(statement, values))

    def entry(self, key: str) -> Entry | None:
        return next(iter(self._entries("WHERE key = ?", (bound(key),))), None)

    def entries(
        self,
        *,
        kind: EntryKind | None = None,
        states: frozenset[EntryState] | None = None,
        target: str | None = None,
        incident: str | None = None,
        due_by: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Entry, ...]:
        clause, values = where(
            ("kind = ?", None if kind is None else kind.value),
            ("target = ?", bound_if_any(target)),
            ("incident = ?", bound_if_any(incident)),
            ("due_at <= ?", stamp_if_any(due_by)),
            (f"state IN ({', '.join('?' * len(states or ()))})", None if states is None else tuple(sorted(states))),
        )
        return self._entries(
            f"{clause} ORDER BY created_at, sequence LIMIT ?", (*values, -1 if limit is None else integer(limit))
        )

    def claim_entry(self, key: str, at: datetime) -> Entry | None:
        claimed_at = stamp(at)
        # Looking and claiming are one transaction, which nobody else writes in: two cannot both find it pending.
        with self._writing():
            found = self.entry(key)
            if found is None or found.state not in UNFINISHED:
                return None
            self._change(
                "UPDATE outbox SET state = ?, attempts = attempts + 1, claimed_at = ? WHERE key = ?",
                (EntryState.CLAIMED.value, claimed_at, bound(key)),
            )
        return found

    def settle_entry(
        self,
        key: str,
        state: EntryState,
        at: datetime,
        *,
        error: str = "",
        result: str = "",
        due_at: datetime | None = None,
    ) -> None:
        settled_at, again_at = stamp(at), stamp_if_any(due_at)
        if state is EntryState.CLAIMED:
            raise ValueError("an attempt begins as claimed and cannot end so")
        pending = state is EntryState.PENDING
        settled = self._change(
            """UPDATE outbox SET state = ?, claimed_at = CASE WHEN ? THEN NULL ELSE claimed_at END, finished_at = ?,
            due_at = coalesce(?, due_at), error = ?, result = ? WHERE key = ?""",
            (
                state.value,
                pending,
                None if pending else settled_at,
                again_at,
                bound(error),
                bound(result),
                bound(key),
            ),
        )
        if not settled:
            raise KeyError(key)

    def _entries(self, clauses: str, values: tuple[Any, ...]) -> tuple[Entry, ...]:
        rows = self._execute(f"SELECT {_COLUMNS} FROM outbox {clauses}", values)  # noqa: S608
        with self._decoding("outbox"):
            return tuple(_entry(row) for row in rows)


def _values(entry: Entry) -> tuple[Any, ...]:
    return (
        bound(entry.key),
        entry.kind.value,
        bound(entry.target),
        bound(to_json(entry.payload)),
        stamp(entry.created_at),
        stamp(entry.due_at),
        bound(entry.task),
        bound(entry.incident),
        entry.state.value,
        entry.attempts,
        stamp_if_any(entry.claimed_at),
        stamp_if_any(entry.finished_at),
        bound(entry.error),
        bound(entry.result),
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(
        key=text(row[0]),
        kind=EntryKind(row[1]),
        target=text(row[2]),
        payload=json_object(row[3]),
        created_at=instant(row[4]),
        due_at=instant(row[5]),
        task=text(row[6]),
        incident=text(row[7]),
        state=EntryState(row[8]),
        attempts=number(row[9]),
        claimed_at=instant_if_any(row[10]),
        finished_at=instant_if_any(row[11]),
        error=text(row[12]),
        result=text(row[13]),
    )
