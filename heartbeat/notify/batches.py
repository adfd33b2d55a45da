"""What is sent together, what waits, how long, and how often (rule O3). Pure: the present is an argument.

At once: a few messages one by one, a storm as one digest. Not on the full and the half hour, when every scheduler of
the world sends. Not faster than five a second and a hundred a minute. Again after a failure: 1 minute later, then 2, 4
… up to an hour, eight times in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from heartbeat.action import Level
from heartbeat.notify.letter import Letter, letter_for, urgency
from heartbeat.notify.roles import level_of
from heartbeat.store.port import Entry, EntryState

STORM = 5
"""More messages than this for one channel at once become one digest."""
ATTEMPTS = 8
LIMITS = ((5, timedelta(seconds=1)), (100, timedelta(minutes=1)))
"""How many sendings a channel takes in how long."""
ABANDONED = timedelta(minutes=3)
"""A claim this old has lost its process: no sending may take half as long."""

_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=1)
_CROWDED_MINUTES = frozenset({0, 30})
_PERHAPS = "perhaps delivered as "


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that go out as one letter."""

    entries: tuple[Entry, ...]
    letter: Letter

    def only(self, entries: Sequence[Entry]) -> Batch:
        """The batch without the entries that others have taken meanwhile."""
        if len(entries) == len(self.entries):
            return self
        key = self.letter.key if self.letter.repeat else ""
        return Batch(tuple(entries), letter_for(entries, repeat=self.letter.repeat, key=key))


@dataclass(frozen=True, slots=True)
class Sorted:
    """The due entries of one channel: what goes out now, in this order, and what waits for the next minute."""

    batches: tuple[Batch, ...]
    waiting: tuple[Entry, ...]


def sort_out(entries: Iterable[Entry], now: datetime) -> Sorted:
    """Divides unfinished entries of one channel that are due. What another process is sending is in neither part.

    What may have arrived already goes out again as the letter that it was, with its key, so that a receiver which
    compares keys shows it once (invariant I4).
    """
    again: dict[str, list[Entry]] = {}
    fresh: list[Entry] = []
    for entry in entries:
        letter_key = _letter_key(entry)
        if entry.state is EntryState.CLAIMED:
            if not _is_abandoned(entry, now):
                continue
            # What one digest took was claimed at one instant, and no process holds two letters at a time.
            again.setdefault(letter_key or f"claimed {entry.claimed_at}", []).append(entry)
        elif letter_key:
            again.setdefault(letter_key, []).append(entry)
        else:
            fresh.append(entry)
    waiting = [entry for entry in fresh if _avoids(now, (entry,))]
    going = [entry for entry in fresh if not _avoids(now, (entry,))]
    batches = [_batch(going)] if len(going) > STORM else [_batch([entry]) for entry in going]
    for group in again.values():
        if _avoids(now, group):
            waiting.extend(group)
        else:
            batches.append(_batch(group, repeat=True))
    return Sorted(tuple(sorted(batches, key=_turn)), tuple(waiting))


def next_minute(now: datetime) -> datetime:
    """When the current minute is over."""
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def wait_after(attempts: int) -> timedelta | None:
    """How long to wait after so many failed attempts; None where that was the last one."""
    if attempts >= ATTEMPTS:
        return None
    doublings = max(0, attempts - 1)
    return min(_FIRST_WAIT * (1 << doublings), _LONGEST_WAIT)


def wait_for_room(sent_at: Iterable[datetime], now: datetime) -> timedelta:
    """How long until one more sending keeps within the limits; zero for at once. Sendings ahead of now, from a clock
    that was put back, are not counted."""
    past = sorted(at for at in sent_at if at <= now)
    waits = [timedelta(0)]
    for count, span in LIMITS:
        recent = [at for at in past if now - at < span]
        if len(recent) >= count:
            waits.append(recent[-count] + span - now)
    return max(waits)


def perhaps(letter: Letter) -> str:
    """The `result` of an entry whose letter may have arrived; `sort_out` reads the key from it."""
    return f"{_PERHAPS}{letter.key}"


def _letter_key(entry: Entry) -> str:
    return entry.result.removeprefix(_PERHAPS) if entry.result.startswith(_PERHAPS) else ""


def _is_abandoned(entry: Entry, now: datetime) -> bool:
    """Also where the claim lies ahead of now: the clock was put back, and nobody knows how old it is."""
    return entry.claimed_at is None or abs(now - entry.claimed_at) >= ABANDONED


def _avoids(now: datetime, entries: Sequence[Entry]) -> bool:
    return now.minute in _CROWDED_MINUTES and all(level_of(entry) is not Level.CRITICAL for entry in entries)


def _batch(entries: Sequence[Entry], *, repeat: bool = False) -> Batch:
    ordered = tuple(sorted(entries, key=urgency))
    key = next(filter(None, map(_letter_key, ordered)), "")
    return Batch(ordered, letter_for(ordered, repeat=repeat, key=key))


def _turn(batch: Batch) -> tuple[int, int, datetime, str]:
    """The most urgent first; among equals those that failed least, so that one bad message holds up no other."""
    attempts = min(entry.attempts for entry in batch.entries)
    return (-batch.letter.level.rank, attempts, batch.entries[0].created_at, batch.letter.key)
