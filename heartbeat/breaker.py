"""A circuit breaker for each provider, as a table of transitions (rules F2, F3). Pure: every instant is an argument.

The state stands in the store and is shared by all processes. Whoever wants to ask a provider calls `ask` within one
transaction and keeps the breaker that comes back: while it is half-open that is how one caller alone gets the probe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.attempt import Cause


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(StrEnum):
    """What a breaker hears of (rule F3)."""

    SUCCESS = "success"
    FAILURE = "failure"
    REFUSED = "refused"
    """401, 402: opens at once."""
    LIMITED = "limited"
    """429: cools down, and counts as neither."""
    ABANDONED = "abandoned"
    """A probe came to an end that says nothing of the provider: stopped, or the task's own fault."""


EVENT_OF: Mapping[Cause, Event] = {
    Cause.COUNTS: Event.FAILURE,
    Cause.COOLS: Event.LIMITED,
    Cause.REFUSES: Event.REFUSED,
    Cause.TASK: Event.ABANDONED,
    Cause.ENGINE: Event.ABANDONED,
    Cause.NONE: Event.ABANDONED,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of rule F2, and of rule F3 for rate limits."""

    open_after: int = 3
    open_for: timedelta = timedelta(minutes=5)
    open_for_at_most: timedelta = timedelta(hours=1)
    cool_for: timedelta = timedelta(seconds=30)
    cool_for_at_most: timedelta = timedelta(minutes=10)
    probe_for: timedelta = timedelta(minutes=15)
    """After so long a probe whose end nobody told counts as gone, and another may be sent."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one provider.

    `failures` are those in a row while closed. `until` is when an open one becomes half-open; `openings` says how often
    it has opened since it last closed, which doubles the time. `probe` is the dispatch id that probes, since
    `probe_at`. `cooled_until` and `coolings` are of rate limits alone. `why` is the last failure, in words.
    """

    provider: str
    state: State = State.CLOSED
    failures: int = 0
    openings: int = 0
    until: datetime | None = None
    probe: str = ""
    probe_at: datetime | None = None
    coolings: int = 0
    cooled_until: datetime | None = None
    why: str = ""
    changed_at: datetime | None = None
