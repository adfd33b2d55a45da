"""Who has to beat now, and which slots passed without a beat (rules B2, B6). Pure: the past is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from heartbeat.policy import Policy
from heartbeat.roster.model import Agent
from heartbeat.schedule.slots import Span, by_rhythm, current_slot, next_slot, slots_between

_TICK = timedelta(microseconds=1)
_JITTER = timedelta(minutes=1)
"""A clock that is put right by less than this makes no beat; no scheduler asks more often."""


def is_due(policy: Policy, timezone: str, last: datetime | None, now: datetime) -> bool:
    """Whether a slot has come that no beat has answered yet; `last` is when the agent's newest beat began.

    It has, where that beat lies in another slot than the present. In a later one, too: then the clock was set back
    since, and the agent would rest until it has caught up. So after any step of the clock the next beat comes within
    the rhythm, and a minute at most (rule B6).
    """
    if last is None:
        return True
    if now < last <= now + _JITTER:
        return False
    return current_slot(policy, timezone, last) != current_slot(policy, timezone, now)


def due(agents: Iterable[Agent], timezone: str, last: Mapping[str, datetime], now: datetime) -> tuple[Agent, ...]:
    """Those who have to beat now, in the order given. `last` holds when each agent's newest beat began, by id."""
    return tuple(agent for agent in agents if is_due(agent.policy, timezone, last.get(agent.id), now))


def next_due(policy: Policy, timezone: str, last: datetime | None, now: datetime) -> datetime:
    """When the agent has to beat next: now where it is due already."""
    return now if is_due(policy, timezone, last, now) else next_slot(policy, timezone, max(now, last or now))


def passed_over(
    policy: Policy,
    timezone: str,
    last: datetime | None,
    slot: datetime,
    rhythm: str = "",
    on_record: Callable[[datetime], datetime | None] = lambda until: None,
) -> Span | None:
    """The slots between the beat before and the slot that is answered now, without those that are on record already.

    `last` is when the beat before began; before its first one (None) an agent has missed nothing. `on_record` tells the
    latest instant up to a given one that is on record, with a receipt or within a miss: where the clock once ran ahead,
    some of what passes now was answered then. Of the span that is returned these are not counted.

    `rhythm` is the one that the beat before came by (slots.rhythm_text). Where that was another one, nobody knows when
    it was changed: what passed counts from the first slot on that nobody answered by the earlier one, so that none is
    called missed that was not due yet.
    """
    if last is None:
        return None
    before = by_rhythm(rhythm, policy, timezone)
    if before != (policy, timezone):
        earlier = slots_between(*before, last, slot)
        if earlier is None:
            return None
        last = max(last, earlier.first - _TICK)
    spans = tuple(_unanswered(policy, timezone, last, slot, on_record))
    return Span(spans[-1].first, spans[0].last, sum(span.count for span in spans)) if spans else None


def _unanswered(
    policy: Policy,
    timezone: str,
    after: datetime,
    before: datetime,
    on_record: Callable[[datetime], datetime | None],
) -> Iterator[Span]:
    """The slots later than `after` and earlier than `before` that are not on record, the latest first.

    That one is on record later tells nothing of those before it: it may be from when the clock ran ahead, by another
    rhythm.
    """
    while (latest := current_slot(policy, timezone, before - _TICK)) > after:
        known = max(after, on_record(latest) or after)
        span = slots_between(policy, timezone, known, before)
        if span is not None:
            yield span
        before = known
