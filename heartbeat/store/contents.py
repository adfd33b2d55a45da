"""What a store in memory holds, how a record is kept there, and what retention drops from it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from heartbeat.attempt import Attempt, DeadLetter
from heartbeat.breaker import Breaker
from heartbeat.memory import Clock, Hold, Incident, Miss, Pause, Rounds, Window
from heartbeat.store.canonical import from_json, to_json, utc
from heartbeat.store.port import UNFINISHED, Belonging, Entry, Link, LogEntry, Receipt, Tombstone
from heartbeat.task import Ref

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Contents:
    """Everything that a store keeps. The records are frozen and in UTC; see `kept`."""

    receipts: dict[str, Receipt] = field(default_factory=dict)
    """By id, in the order in which they were recorded."""
    links: dict[tuple[Ref, Ref], Link] = field(default_factory=dict)
    sightings: dict[Ref, tuple[datetime, datetime]] = field(default_factory=dict)
    """First seen, last seen."""
    completions: dict[tuple[str, str], datetime] = field(default_factory=dict)
    clocks: dict[Ref, Clock] = field(default_factory=dict)
    windows: dict[str, tuple[Window, ...]] = field(default_factory=dict)
    """Earliest first; a source without any has no entry."""
    own: dict[tuple[Ref, str], datetime] = field(default_factory=dict)
    waiting: dict[tuple[Ref, str], datetime] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    rounds: dict[Ref, Rounds] = field(default_factory=dict)
    holds: dict[Ref, Hold] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    outbox: dict[str, Entry] = field(default_factory=dict)
    """By key, in the order in which they were recorded."""
    log: dict[int, LogEntry] = field(default_factory=dict)
    """By sequence, in order."""
    logged: int = 0
    """The newest sequence ever given."""
    misses: dict[tuple[str, datetime], Miss] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    """By id, in the order in which they were recorded; so are the letters."""
    breakers: dict[str, Breaker] = field(default_factory=dict)
    letters: dict[str, DeadLetter] = field(default_factory=dict)
    tombstone: Tombstone | None = None
    belonging: Belonging | None = None

    def copy(self) -> Contents:
        """Another one with the same records, which changes by itself."""
        copies: dict[str, Any] = {
            each.name: dict(records) for each in fields(self) if isinstance(records := getattr(self, each.name), dict)
        }
        return replace(self, **copies)

    def newest_receipts(self) -> dict[str, Receipt]:
        """What was recorded last for each agent."""
        return {receipt.agent: receipt for receipt in self.receipts.values()}

    def forget_before(self, limit: datetime) -> int:
        """Retention, as the port describes it; how many records went."""
        answering = {receipt.agent: receipt for receipt in self.receipts.values() if receipt.slot is not None}
        latest = {
            receipt.agent: receipt
            for receipt in sorted(self.receipts.values(), key=lambda receipt: receipt.slot or _NEVER)
            if receipt.slot is not None
        }
        newest = {each.id for kept in (self.newest_receipts(), answering, latest) for each in kept.values()}
        # The rounds come before the sightings and clocks, which tell how lately their item was there.
        return sum(
            (
                _drop(self.receipts, lambda receipt: receipt.started_at < limit and receipt.id not in newest),
                _drop(self.rounds, lambda rounds: max(self._times(rounds), default=limit) < limit),
                _drop(self.sightings, lambda seen: seen[1] < limit),
                _drop(self.clocks, lambda clock: clock.seen_at < limit),
                self._forget_windows(limit),
                self._forget_own(limit),
                _drop(self.incidents, lambda one: not one.open and (one.ended_at or one.opened_at) < limit),
                _drop(self.holds, lambda hold: hold.until < limit),
                _drop(self.pauses, lambda pause: pause.until is not None and pause.until < limit),
                _drop(
                    self.outbox,
                    lambda entry: entry.state not in UNFINISHED and (entry.finished_at or entry.created_at) < limit,
                ),
                _drop(self.log, lambda entry: entry.at < limit),
                _drop(self.misses, lambda miss: miss.last < limit),
                _drop(
                    self.letters, lambda letter: not letter.is_open and (letter.closed_at or letter.created_at) < limit
                ),
                self._forget_attempts(limit),
            )
        )

    def _times(self, rounds: Rounds) -> list[datetime]:
        """All that is known of when an item with rounds was worked on or there."""
        clock, (_, last_seen) = self.clocks.get(rounds.ref), self.sightings.get(rounds.ref, (None, None))
        times = (
            rounds.turn_at,
            rounds.slot,
            rounds.progress_at,
            rounds.warned_at,
            rounds.paused_at,
            last_seen,
            clock.seen_at if clock else None,
        )
        return [time for time in times if time is not None]

    def _forget_own(self, limit: datetime) -> int:
        """Comes after the clocks, which tell whose own writes are still needed."""
        followed = self.clocks.keys() | {
            ref for incident in self.incidents.values() if incident.open for ref in (incident.ref, *incident.refs)
        }
        gone = [own for own, at in self.own.items() if at < limit and own[0] not in followed]
        for own in gone:
            del self.own[own]
        return len(gone)

    def _forget_attempts(self, limit: datetime) -> int:
        """Those that an open letter names, or that replayed one, stay."""
        unsettled = [letter for letter in self.letters.values() if letter.is_open]
        letters, named = {letter.id for letter in unsettled}, {id_ for letter in unsettled for id_ in letter.attempts}
        return _drop(
            self.attempts,
            lambda attempt: (
                attempt.is_finished
                and newest_time(attempt) < limit
                and attempt.letter not in letters
                and attempt.id not in named
            ),
        )

    def _forget_windows(self, limit: datetime) -> int:
        before = sum(map(len, self.windows.values()))
        left = {
            source: tuple(window for window in windows if window.until >= limit)
            for source, windows in self.windows.items()
        }
        self.windows = {source: windows for source, windows in left.items() if windows}
        return before - sum(map(len, self.windows.values()))


def newest_time(attempt: Attempt) -> datetime:
    """The latest of the times by which an attempt is asked for and forgotten."""
    return max(each for each in (attempt.planned_at, attempt.accepted_at, attempt.ended_at) if each is not None)


def kept(value: _Value) -> _Value:
    """A record as every store gives it back: times in UTC, plain JSON in its mappings. Raises ValueError."""
    return _kept(value)  # type: ignore[no-any-return]


def _kept(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, tuple):
        return tuple(map(_kept, value))
    if isinstance(value, Mapping):
        return from_json(to_json(value))
    if is_dataclass(value) and not isinstance(value, type | Ref):
        return replace(value, **{each.name: _kept(getattr(value, each.name)) for each in fields(value)})
    return value


def _drop(records: dict[_Key, _Value], old: Callable[[_Value], bool]) -> int:
    """Drops the old ones, and says how many they were."""
    gone = [key for key, record in records.items() if old(record)]
    for key in gone:
        del records[key]
    return len(gone)
