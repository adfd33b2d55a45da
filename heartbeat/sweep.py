"""One look at all sources: concurrently, each with its own deadline, through the shared snapshot (rules S1 to S5).

A source that hangs is left behind at its deadline and reported; the others go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from heartbeat.errors import HeartbeatError
from heartbeat.instants import format_duration
from heartbeat.roster.model import Roster
from heartbeat.systems.base import (
    Deadline,
    FailureKind,
    Reading,
    ReadStatus,
    Rejected,
    Source,
    SourceReport,
    TransportError,
    cut,
)
from heartbeat.systems.registry import build_source, source_order
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Item, Ref
from heartbeat.worklist import Sight

_GRACE = 0.5
"""Seconds that a source may take beyond its deadline to say itself that it ran out of time."""

SourceBuilder = Callable[[str, Roster, Mapping[str, str]], Source]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The readings of all sources, in source order, at one instant."""

    readings: Mapping[str, Reading]
    now: datetime
    identities: Mapping[str, str] = field(default_factory=dict)
    """What each source that could be set up reads (rule S1a)."""

    @property
    def reports(self) -> tuple[SourceReport, ...]:
        """One report a source, in source order."""
        return tuple(reading.report for reading in self.readings.values())

    @property
    def incomplete(self) -> frozenset[str]:
        """Sources of which not everything is known now, the disabled ones aside (rule S2)."""
        healthy = (ReadStatus.COMPLETE, ReadStatus.DISABLED)
        return frozenset(report.source for report in self.reports if report.status not in healthy)

    @property
    def blind(self) -> bool:
        """Whether nothing was read at all: then nothing is known of what there is to do, whatever the reasons."""
        read = (ReadStatus.COMPLETE, ReadStatus.PARTIAL)
        return not any(report.status in read for report in self.reports)

    @property
    def degraded(self) -> bool:
        """Whether any source in use was not read completely, or none was read at all."""
        return bool(self.incomplete) or self.blind

    def sight(self) -> Sight:
        """What the core works on."""
        readings = self.readings.values()
        return Sight(
            items=tuple(item for reading in readings for item in reading.items),
            sources=tuple(self.readings),
            stale=tuple(item for reading in readings for item in reading.stale),
            stale_since={
                name: f"{format_duration(max(0.0, (self.now - reading.stale_at).total_seconds()))} ago"
                for name, reading in self.readings.items()
                if reading.stale_at is not None
            },
            incomplete=self.incomplete,
            unknown_ids=frozenset(name for report in self.reports for name in report.unknown_ids),
            rejected=sum(len(reading.rejected) for reading in readings),
        )

    def age(self, source: str) -> float | None:
        """Seconds since the data shown for a source was read; None where there is none."""
        read_at = self.readings[source].report.read_at
        return None if read_at is None else max(0.0, (self.now - read_at).total_seconds())


def sweep(
    roster: Roster,
    environment: Mapping[str, str],
    cache: SnapshotCache,
    *,
    now: datetime,
    deadline: Deadline,
    ttl: timedelta,
    fresh: bool,
    last_complete: Mapping[str, datetime | None] | None = None,
    build: SourceBuilder = build_source,
) -> Sweep:
    """Read every source of the roster; `last_complete` is what the store knows of earlier reads (rule S1a).

    Raises UsageError where the roster names a source that is not installed.
    """
    names = source_order(roster)
    results: SimpleQueue[tuple[str, Reading | Exception]] = SimpleQueue()
    limits = {name: deadline.at_most(_timeout(roster, name)) for name in names}

    identities: dict[str, str] = {}
    known = last_complete or {}

    def read(name: str) -> None:
        try:
            source = build(name, roster, environment)
            identities[name] = source.identity
            reading = cache.read(
                source, deadline=limits[name], now=now, ttl=ttl, fresh=fresh, last_complete=known.get(name)
            )
            results.put((name, reading))
        except Exception as error:  # noqa: BLE001 - a source of somebody else may raise anything; it is reported below
            results.put((name, error))

    for name in names:
        threading.Thread(target=read, args=(name,), name=f"read-{name}", daemon=True).start()
    collected = _collect(results, limits)
    readings = {name: _reading(name, collected.get(name), cache, roster) for name in names}
    return Sweep(readings, now, identities)


def _timeout(roster: Roster, name: str) -> float:
    return float(roster.sources[name].get("timeout", 60.0))


def _collect(
    results: SimpleQueue[tuple[str, Reading | Exception]], limits: Mapping[str, Deadline]
) -> dict[str, Reading | Exception]:
    """What arrived in time. Threads of sources that did not answer are abandoned; they die with the process."""
    collected: dict[str, Reading | Exception] = {}
    while len(collected) < len(limits):
        waiting = [limit for name, limit in limits.items() if name not in collected]
        try:
            name, result = results.get(timeout=max(limit.left() for limit in waiting) + _GRACE)
        except Empty:
            break
        collected[name] = result
    return collected


def _sound(name: str, reading: Reading) -> Reading:
    """The reading with what no item may be taken out as rejected: a ref of another source, or one that came twice.

    The built-in sources never give such items; a plug-in that does must not stop the whole team (rule S10).
    """
    seen: set[Ref] = set()
    items: list[Item] = []
    rejected: list[Rejected] = []
    for item in reading.items:
        reason = f"its ref {item.ref} came twice" if item.ref in seen else _unsound(name, item)
        if reason:
            rejected.append(Rejected(name, item.ref.id, reason, cut(item)))
        else:
            seen.add(item.ref)
            items.append(item)
    if not rejected:
        return reading
    unknown = tuple(dict.fromkeys((*reading.report.unknown_ids, *(each.id for each in rejected if each.id))))
    report = replace(reading.report, unknown_ids=unknown)
    return replace(reading, report=report, items=tuple(items), rejected=(*reading.rejected, *rejected))


def _unsound(name: str, item: Item) -> str:
    if item.ref.source != name:
        return f"its ref {item.ref} is not of this source"
    times = (item.created_at, item.updated_at, item.started_at, item.not_before)
    return "one of its times has no zone" if any(time and time.tzinfo is None for time in times) else ""


def _reading(name: str, result: Reading | Exception | None, cache: SnapshotCache, roster: Roster) -> Reading:
    if isinstance(result, Reading):
        return _sound(name, result)
    if isinstance(result, HeartbeatError) and not isinstance(result, TransportError):
        raise result
    if isinstance(result, TransportError):
        message, advice = str(result), result.advice
        report = SourceReport(name, ReadStatus.FAILED, kind=result.kind, message=message, advice=advice)
    elif result is None:
        seconds = _timeout(roster, name)
        message = f"did not answer within its deadline (at most {seconds:g}s) and was left behind"
        report = SourceReport(name, ReadStatus.FAILED, kind=FailureKind.TIMEOUT, message=message)
    else:
        message = f"the source failed with {type(result).__name__}: {result}"
        advice = "a bug in this source: run with --debug and report it"
        report = SourceReport(name, ReadStatus.FAILED, kind=FailureKind.BUG, message=message, advice=advice)
    return cache.with_stale(Reading(report))
