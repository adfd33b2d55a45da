"""Rounds as JSON: what tasks have used, a round that was reported, more that were granted (rules C1, C2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from heartbeat.cli.documents import Document, level
from heartbeat.instants import to_text

if TYPE_CHECKING:
    from heartbeat.actions import Carried
    from heartbeat.cli.operators import Named
    from heartbeat.cli.rounds import Spending
    from heartbeat.observation import Observation
    from heartbeat.store.port import Entry
    from heartbeat.verbs.grant import Grant


@dataclass(frozen=True, slots=True)
class Reported:
    """One round that was reported; not `counted` where its slot had one already."""

    counted: bool
    slot: datetime
    used: int
    limit: int
    by: str


def of_lines(seen: Observation, lines: Iterable[Spending]) -> Document:
    """`heartbeat.rounds/1`."""
    return {
        "schema": "heartbeat.rounds/1",
        "generated_at": to_text(seen.at),
        "degraded": seen.sweep.degraded,
        **level(seen.degradation),
        "tasks": [_of_line(line) for line in lines],
    }


def _of_line(line: Spending) -> Document:
    return {
        "key": line.key,
        "title": line.title,
        "owner": line.owner.id or None,
        "owner_kind": line.owner.kind.value,
        "open": line.open,
        "refs": [str(ref) for ref in line.refs],
        "used": line.rounds.used,
        "limit": line.limit,
        "granted": line.rounds.extra,
        "idle": line.rounds.idle,
        "last_round_at": _text(line.rounds.turn_at),
        "progress_at": _text(line.rounds.progress_at),
        "warned_at": _text(line.rounds.warned_at),
        "paused_at": _text(line.rounds.paused_at),
    }


def of_report(now: datetime, named: Named, reported: Reported) -> Document:
    """`heartbeat.round/1`."""
    return {
        "schema": "heartbeat.round/1",
        "generated_at": to_text(now),
        "key": named.keys[0],
        "title": named.title,
        "counted": reported.counted,
        "slot": to_text(reported.slot),
        "used": reported.used,
        "limit": reported.limit,
        "by": reported.by,
    }


def of_grant(now: datetime, named: Named, more: int, granted: Grant, carried: Carried | None) -> Document:
    """`heartbeat.extend/1`: what was granted, and what became of the writes that resume the task."""
    settled = {entry.key: entry for entry in _settled(carried)}
    busy = carried.busy if carried is not None else ""
    results = []
    for write in granted.writes:
        entry = settled.get(write.key)
        state, said = (entry.state.value, entry.error or entry.result) if entry is not None else ("pending", busy)
        results.append({"ref": str(write.ref), "state": state, "message": said})
    return {
        "schema": "heartbeat.extend/1",
        "generated_at": to_text(now),
        "key": named.keys[0],
        "title": named.title,
        "granted": more,
        "used": granted.rounds.used,
        "limit": granted.limit,
        "dropped": granted.dropped,
        "blocked": list(granted.blocked),
        "results": results,
    }


def _settled(carried: Carried | None) -> Iterator[Entry]:
    if carried is not None:
        yield from (*carried.done, *carried.conflicts, *carried.later, *carried.dead)


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else to_text(instant)
