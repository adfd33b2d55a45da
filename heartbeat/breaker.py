"""A circuit breaker for each provider, as a table of transitions (rules F2, F3). Pure: every instant is an argument.

The state stands in the store and is shared by all processes. Whoever wants to ask a provider calls `ask` within one
transaction and keeps the breaker that comes back: while it is half-open that is how one caller alone gets the probe.

A turn may end long after it was begun. Only a closed breaker counts what it hears, and only of turns that were begun
since it closed; an open one listens to nobody, and a half-open one to its probe alone. Whatever else comes is late: it
neither opens, closes nor doubles anything. A 429 is a wish of the provider, and is heard whenever it comes.
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


LONGEST_COOLING = timedelta(hours=1)
"""No rate limit keeps us away for longer, whatever it asks for: by then one more request is no burden to anybody."""


class Answer(StrEnum):
    """Whether a provider may be asked."""

    ALLOWED = "allowed"
    PROBE = "probe"
    """Yes, and the outcome decides whether the others may."""
    REFUSED = "refused"


def state_at(breaker: Breaker, now: datetime) -> State:
    """The state at an instant: an open breaker is half-open from `until` on.

    Where the clock was set back by more than the time for which it opened, that time counts as over: `until` is then
    an instant of a clock that nobody has any more.
    """
    if breaker.state is not State.OPEN or breaker.until is None:
        return State.HALF_OPEN if breaker.state is State.OPEN else breaker.state
    waits = now < breaker.until and not _is_set_back(breaker.changed_at, breaker.until, now)
    return State.OPEN if waits else State.HALF_OPEN


def is_cooling(breaker: Breaker, now: datetime) -> bool:
    """Whether a rate limit keeps everybody away. What lies further ahead than any rate limit does is no rate limit but
    a clock that was set back."""
    return breaker.cooled_until is not None and now < breaker.cooled_until <= now + LONGEST_COOLING


def may_ask(breaker: Breaker, now: datetime, rules: Rules) -> bool:
    """Whether a dispatch that is not the probe could ask now. Nothing is taken by this."""
    return available_at(breaker, now, rules) is None


def available_at(breaker: Breaker, now: datetime, rules: Rules) -> datetime | None:
    """When a new dispatch may ask at the earliest, None for now. Later, if a probe ends badly meanwhile."""
    waits: list[datetime] = []
    if breaker.cooled_until is not None and is_cooling(breaker, now):
        waits.append(breaker.cooled_until)
    state = state_at(breaker, now)
    if state is State.OPEN and breaker.until is not None:
        waits.append(breaker.until)
    if state is State.HALF_OPEN and breaker.probe_at is not None and _is_probing(breaker, now, rules):
        waits.append(breaker.probe_at + rules.probe_for)
    return max(waits, default=None)


def ask(breaker: Breaker, dispatch: str, now: datetime, rules: Rules) -> tuple[Answer, Breaker]:
    """Whether this dispatch may ask, and the breaker as it is from then on; to be kept before anybody else asks.

    A half-open breaker lets one dispatch through, which may ask again (a retry, or a process that goes on where another
    died). It has to tell the end with `hear`, whatever it is; where that never comes, the probe is anybody's again
    after `rules.probe_for`.
    """
    if not dispatch:
        raise ValueError("whoever asks a provider has a dispatch id")
    breaker = _settled(breaker, now)
    if is_cooling(breaker, now):
        return Answer.REFUSED, breaker
    state = state_at(breaker, now)
    if state is State.CLOSED:
        return Answer.ALLOWED, breaker
    if state is State.OPEN or (breaker.probe != dispatch and _is_probing(breaker, now, rules)):
        return Answer.REFUSED, breaker
    since = breaker.changed_at if breaker.state is State.HALF_OPEN else now
    probing = replace(breaker, state=State.HALF_OPEN, until=None, probe=dispatch, probe_at=now, changed_at=since)
    return Answer.PROBE, probing


def hear(
    breaker: Breaker,
    event: Event,
    now: datetime,
    rules: Rules,
    *,
    dispatch: str,
    why: str = "",
    retry_after: float | None = None,
    began: datetime | None = None,
) -> Breaker:
    """The breaker after it heard how a dispatch ended, or that it could not be asked.

    `retry_after` is in seconds. `began` is when the dispatch asked; where it is given, a turn from before the breaker
    closed is known to be late (see the module's head).
    """
    state = state_at(breaker, now)
    if _is_late(breaker, state, dispatch, now, began):
        state = State.OPEN
    return TRANSITIONS[state, event](breaker, _Heard(now, rules, why, retry_after))


@dataclass(frozen=True, slots=True)
class _Heard:
    now: datetime
    rules: Rules
    why: str
    retry_after: float | None


def _unmoved(breaker: Breaker, heard: _Heard) -> Breaker:
    return breaker


def _worked(breaker: Breaker, heard: _Heard) -> Breaker:
    """A row of failures is broken. While it cools down, the success is older than the 429 and ends nothing."""
    if is_cooling(breaker, heard.now):
        return replace(breaker, failures=0)
    return replace(breaker, failures=0, coolings=0, cooled_until=None, why="")


def _counted(breaker: Breaker, heard: _Heard) -> Breaker:
    counted = replace(breaker, failures=breaker.failures + 1, why=heard.why)
    return _opened(counted, heard) if counted.failures >= heard.rules.open_after else counted


def _opened(breaker: Breaker, heard: _Heard) -> Breaker:
    rules = heard.rules
    wait = _doubled(rules.open_for, breaker.openings, rules.open_for_at_most)
    return replace(
        breaker,
        state=State.OPEN,
        openings=breaker.openings + 1,
        until=heard.now + wait,
        probe="",
        probe_at=None,
        why=heard.why,
        changed_at=heard.now,
    )


def _closed(breaker: Breaker, heard: _Heard) -> Breaker:
    closed = Breaker(breaker.provider, changed_at=heard.now)
    if not is_cooling(breaker, heard.now):
        return closed
    return replace(closed, coolings=breaker.coolings, cooled_until=breaker.cooled_until, why=breaker.why)


def _freed(breaker: Breaker, heard: _Heard) -> Breaker:
    return replace(breaker, probe="", probe_at=None)


def _cooled(breaker: Breaker, heard: _Heard) -> Breaker:
    """Several 429s of one burst are one: only one that comes after the time is over doubles the next. Why a breaker is
    open stays said."""
    now, told = heard.now, heard.retry_after
    why = heard.why if breaker.state is State.CLOSED else breaker.why
    wanted = None if told is None or not told > 0 else timedelta(seconds=min(told, LONGEST_COOLING.total_seconds()))
    if breaker.cooled_until is not None and is_cooling(breaker, now):
        until = breaker.cooled_until if wanted is None else max(breaker.cooled_until, now + wanted)
        return replace(breaker, cooled_until=until, why=why)
    wait = wanted or _doubled(heard.rules.cool_for, breaker.coolings, heard.rules.cool_for_at_most)
    until = now + min(wait, LONGEST_COOLING)
    return replace(breaker, coolings=breaker.coolings + 1, cooled_until=until, why=why)


def _cooled_and_freed(breaker: Breaker, heard: _Heard) -> Breaker:
    return _freed(_cooled(breaker, heard), heard)


TRANSITIONS: Mapping[tuple[State, Event], Callable[[Breaker, _Heard], Breaker]] = {
    (State.CLOSED, Event.SUCCESS): _worked,
    (State.CLOSED, Event.FAILURE): _counted,
    (State.CLOSED, Event.REFUSED): _opened,
    (State.CLOSED, Event.LIMITED): _cooled,
    (State.CLOSED, Event.ABANDONED): _unmoved,
    # Open, or late: nothing that was begun before says how the provider is now.
    (State.OPEN, Event.SUCCESS): _unmoved,
    (State.OPEN, Event.FAILURE): _unmoved,
    (State.OPEN, Event.REFUSED): _unmoved,
    (State.OPEN, Event.LIMITED): _cooled,
    (State.OPEN, Event.ABANDONED): _unmoved,
    # Half-open: what the probe says.
    (State.HALF_OPEN, Event.SUCCESS): _closed,
    (State.HALF_OPEN, Event.FAILURE): _opened,
    (State.HALF_OPEN, Event.REFUSED): _opened,
    (State.HALF_OPEN, Event.LIMITED): _cooled_and_freed,
    (State.HALF_OPEN, Event.ABANDONED): _freed,
}
"""What becomes of a breaker, by its state and what it hears: every pair there is (rules F2, F3)."""


def _settled(breaker: Breaker, now: datetime) -> Breaker:
    """Without a rate limit of a clock that was set back, which would come true when that instant draws near."""
    until = breaker.cooled_until
    return replace(breaker, cooled_until=None) if until is not None and until > now + LONGEST_COOLING else breaker


def _is_late(breaker: Breaker, state: State, dispatch: str, now: datetime, began: datetime | None) -> bool:
    if state is State.HALF_OPEN:
        return not breaker.probe or breaker.probe != dispatch
    if state is State.OPEN or began is None or breaker.changed_at is None:
        return False
    return began < breaker.changed_at <= now


def _is_probing(breaker: Breaker, now: datetime, rules: Rules) -> bool:
    """Whether a probe is on its way; one of the future is of a clock that was set back, and waits as long at most."""
    if not breaker.probe or breaker.probe_at is None:
        return False
    return abs(now - breaker.probe_at) < rules.probe_for


def _is_set_back(since: datetime | None, until: datetime, now: datetime) -> bool:
    return since is not None and since - now > until - since


def _doubled(first: timedelta, times: int, at_most: timedelta) -> timedelta:
    """`first`, doubled so often, up to the limit; a `first` beyond the limit stays what it is."""
    length = first
    for _ in range(times):
        if length >= at_most:
            break
        length *= 2
    return min(length, max(first, at_most))
