"""What the file keeps on account: the rounds spent on each item, and the log of what was decided and done.

Both are written to be counted on: rounds never go down (rule C1, invariant I8), and a log entry's number is never
given twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from heartbeat.memory import Rounds
from heartbeat.store.canonical import to_json
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    instant,
    instant_if_any,
    json_object,
    number,
    ref_of,
    ref_values,
    stamp,
    stamp_if_any,
    text,
)
from heartbeat.store.database import Database, integer, where
from heartbeat.store.fencing import Fenced, fenced_entry
from heartbeat.store.port import LogEntry
from heartbeat.task import Ref

_ROUNDS_COLUMNS = "source, id, used, extra, idle, progress_at, turn_at, slot, warned_at, paused_at"
_LOG_COLUMNS = "at, action, message, agent, task, incident, details"


class LedgerTables(Database):
    """The tables `rounds` and `log`."""

    def rounds(self) -> Mapping[Ref, Rounds]:
        rows = self._execute(f"SELECT {_ROUNDS_COLUMNS} FROM rounds")  # noqa: S608
        with self._decoding("rounds"):
            return {rounds.ref: rounds for rounds in map(_rounds, rows)}

    def put_rounds(self, rounds: Iterable[Rounds]) -> None:
        rows = [_rounds_values(each) for each in rounds]
        # The larger one is found by SQLite at the moment of the write, so that nobody's older view can undo a count.
        self._write_all(
            f"""INSERT INTO rounds ({_ROUNDS_COLUMNS}) VALUES (?, ?, max(0, ?), max(0, ?), ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET used = max(used, excluded.used), extra = max(extra, excluded.extra),
            idle = excluded.idle, progress_at = excluded.progress_at, turn_at = excluded.turn_at,
            slot = excluded.slot, warned_at = excluded.warned_at, paused_at = excluded.paused_at""",  # noqa: S608
            rows,
        )

    def add_log(self, entries: Iterable[LogEntry]) -> None:
        rows = [_log_values(entry) for entry in entries]
        self._write_all(f"INSERT INTO log ({_LOG_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

    def _note_fenced(self, fenced: Fenced) -> None:
        self.add_log([fenced_entry(fenced)])

    def log(
        self, *, after: int = 0, limit: int | None = None, agent: str | None = None, task: str | None = None
    ) -> tuple[LogEntry, ...]:
        clause, values = where(
            ("sequence > ?", integer(after)), ("agent = ?", bound_if_any(agent)), ("task = ?", bound_if_any(task))
        )
        rows = self._execute(
            f"SELECT sequence, {_LOG_COLUMNS} FROM log {clause} ORDER BY sequence DESC LIMIT ?",  # noqa: S608
            (*values, -1 if limit is None else integer(limit)),
        )
        with self._decoding("log"):
            return tuple(_log_entry(row) for row in reversed(rows))


def _rounds_values(rounds: Rounds) -> tuple[Any, ...]:
    return (
        *ref_values(rounds.ref),
        rounds.used,
        rounds.extra,
        rounds.idle,
        stamp_if_any(rounds.progress_at),
        stamp_if_any(rounds.turn_at),
        stamp_if_any(rounds.slot),
        stamp_if_any(rounds.warned_at),
        stamp_if_any(rounds.paused_at),
    )


def _rounds(row: tuple[Any, ...]) -> Rounds:
    source, id_, used, extra, idle, progress_at, turn_at, slot, warned_at, paused_at = row
    return Rounds(
        ref=ref_of(source, id_),
        used=number(used),
        extra=number(extra),
        idle=number(idle),
        progress_at=instant_if_any(progress_at),
        turn_at=instant_if_any(turn_at),
        slot=instant_if_any(slot),
        warned_at=instant_if_any(warned_at),
        paused_at=instant_if_any(paused_at),
    )


def _log_values(entry: LogEntry) -> tuple[Any, ...]:
    return (
        stamp(entry.at),
        bound(entry.action),
        bound(entry.message),
        bound(entry.agent),
        bound(entry.task),
        bound(entry.incident),
        bound(to_json(entry.details)),
    )


def _log_entry(row: tuple[Any, ...]) -> LogEntry:
    sequence, at, action, message, agent, task, incident, details = row
    return LogEntry(
        at=instant(at),
        action=text(action),
        message=text(message),
        agent=text(agent),
        task=text(task),
        incident=text(incident),
        details=json_object(details),
        sequence=number(sequence),
    )
