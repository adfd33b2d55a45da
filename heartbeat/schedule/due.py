"""Who has to beat now, and which slots passed without a beat (rules B2, B6). Pure: the past is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from heartbeat.policy import Policy
from heartbeat.roster.model import Agent
from heartbeat.schedule.slots import Span, current_slot, next_slot, slots_between

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


def passed_over(policy: Policy, timezone: str, answered: datetime | None, slot: datetime) -> Span | None:
    """The slots between the last one that is on record and the one that is answered now.

    Before its first beat (`answered` is None) an agent has missed nothing.
    """
    return None if answered is None else slots_between(policy, timezone, answered, slot)
