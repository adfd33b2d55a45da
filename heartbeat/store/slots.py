"""What the file keeps of slots: which are answered by a receipt, and which passed without one (rule B2)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from heartbeat.memory import Miss, MissReason
from heartbeat.store.columns import bound, bound_if_any, instant, instant_if_any, number, stamp, stamp_if_any, text
from heartbeat.store.database import Database, integer, where

_COLUMNS = "agent, first, last, count, reason, noted_at"


class SlotTables(Database):
    """The table `misses`, and the slots of the table `receipts`."""

    def slot_taken(self, agent: str, slot: datetime) -> bool:
        rows = self._execute("SELECT 1 FROM receipts WHERE agent = ? AND slot = ? LIMIT 1", (bound(agent), stamp(slot)))
        return bool(rows)

    def last_slot(self, agent: str, until: datetime) -> datetime | None:
        # A miss that reaches beyond `until` is on record up to `until`.
        rows = self._execute(
            """SELECT max(slot) FROM (
                SELECT max(slot) AS slot FROM receipts WHERE agent = ?1 AND slot <= ?2
                UNION ALL SELECT max(min(last, ?2)) FROM misses WHERE agent = ?1 AND first <= ?2
            )""",
            (bound(agent), stamp(until)),
        )
        with self._decoding("receipts"):
            return instant_if_any(rows[0][0])

    def note_misses(self, misses: Iterable[Miss]) -> None:
        rows = [_values(miss) for miss in misses]
        self._write_all(f"INSERT OR REPLACE INTO misses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

    def misses(
        self, agent: str | None = None, *, since: datetime | None = None, limit: int | None = None
    ) -> tuple[Miss, ...]:
        clause, values = where(("agent = ?", bound_if_any(agent)), ("last >= ?", stamp_if_any(since)))
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM misses {clause} ORDER BY last DESC, agent, first LIMIT ?",  # noqa: S608
            (*values, -1 if limit is None else integer(max(0, limit))),
        )
        with self._decoding("misses"):
            return tuple(map(_miss, rows))


def _values(miss: Miss) -> tuple[Any, ...]:
    return (
        bound(miss.agent),
        stamp(miss.first),
        stamp(miss.last),
        integer(miss.count),
        miss.reason.value,
        stamp(miss.noted_at),
    )


def _miss(row: tuple[Any, ...]) -> Miss:
    agent, first, last, count, reason, noted_at = row
    return Miss(text(agent), instant(first), instant(last), number(count), MissReason(text(reason)), instant(noted_at))
