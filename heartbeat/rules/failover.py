"""Who is asked next for one task, how long to wait before it, and when to give up (rules F1, F2, F4). Pure.

Every decision carries its reasons in words. They hold names of the roster, numbers and durations, and no foreign text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.attempt import Attempt, Cause, DeadLetter, LetterState, Outcome
from heartbeat.breaker import Breaker, State, available_at, is_cooling, state_at
from heartbeat.instants import format_duration
from heartbeat.plural import counted
from heartbeat.provider import Failover, Provider

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth try to start one turn (rule F1)."""

JITTER = 0.25
"""At most this part of a pause is added to it, so that agents that fail together do not come back together."""

MAX_TRIES = 1 + len(PAUSES)
"""How often a turn is asked for within one beat."""

LONGEST_PAUSE = 30.0
"""Seconds. Whoever asks for a longer pause is asked again by a later beat: a beat does not stand and wait."""

LETTER_FIRST = timedelta(minutes=5)
LETTER_AT_MOST = timedelta(hours=6)
LETTER_TRIES = 5
"""So many replays, and the dead letter is left for a person (rule F4)."""


@dataclass(frozen=True, slots=True)
class Use:
    """This provider is next, if its breaker lets the dispatch through."""

    provider: Provider
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nobody can be asked now, and somebody may be from `until` on; the task stays as it is."""

    until: datetime
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nobody is left to ask: a dead letter. `poison` says that the task itself is at fault."""

    reasons: tuple[str, ...] = ()
    poison: bool = False


def chain(attempts: Sequence[Attempt], letters: Sequence[DeadLetter] = ()) -> tuple[Attempt, ...]:
    """The attempts of one task, oldest first, that count for its next one: those after the last that completed, and
    after the last that a dead letter answers for.

    A letter answers for the attempts that it names; a closed one for those that replayed it, too. A replay that failed
    leaves a new chain behind once its letter names its attempts.
    """
    named = {each for letter in letters for each in letter.attempts}
    closed = {letter.id for letter in letters if not letter.is_open}
    begin = 0
    for place, attempt in enumerate(attempts, start=1):
        if attempt.outcome is Outcome.COMPLETED or attempt.id in named or attempt.letter in closed:
            begin = place
    return tuple(attempts[begin:])


def choose(
    failover: Failover, breakers: Mapping[str, Breaker], chain: Sequence[Attempt], now: datetime
) -> Use | Wait | Exhausted:
    """Who is next for a task whose chain of ended attempts this is.

    The provider of the last attempt goes on until its tries are used (`max_retries` after the first; 429s and what is
    nobody's failure use none), then the first by priority that has tries left. One whose breaker is open, or that
    cools down, is passed over. Where nobody can be asked, a chain without a failure waits, and one with a failure waits
    only for a provider that merely cools down and has not failed in it.
    """
    if any(attempt.cause is Cause.TASK for attempt in chain):
        return Exhausted(("the task itself was refused: nobody would take it",), poison=True)
    standings = [_standing(each, failover, breakers, chain, now) for each in _in_turn(failover, chain)]
    passed: list[str] = []
    for standing in standings:
        if standing.place is _Place.FREE:
            return Use(standing.provider, (*passed, standing.told))
        passed.append(standing.told)
    if not standings:
        return Exhausted(("no provider is enabled",))
    if any(map(_is_failure, chain)):
        hopeful = [each for each in standings if each.place is _Place.COOLING and not each.failures]
    else:
        hopeful = standings
    until = min((each.until for each in hopeful if each.until is not None), default=None)
    return Exhausted(tuple(passed)) if until is None else Wait(until, tuple(passed))


class _Place(StrEnum):
    FREE = "free"
    COOLING = "cooling"
    SHUT = "shut"
    """Its breaker is open, or somebody else's probe is on its way."""
    SPENT = "spent"
    """It had its tries in this chain."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How one provider stands to one chain; `until` is when it may be asked, where it is cooling or shut."""

    provider: Provider
    place: _Place
    failures: int
    told: str
    until: datetime | None = None


def _in_turn(failover: Failover, chain: Sequence[Attempt]) -> tuple[Provider, ...]:
    """By priority, but whoever had the last attempt first (rule F1)."""
    last = chain[-1].provider if chain else ""
    ordered = sorted(failover.enabled, key=lambda each: each.priority)
    return tuple(sorted(ordered, key=lambda each: each.name != last))


def _standing(
    provider: Provider,
    failover: Failover,
    breakers: Mapping[str, Breaker],
    chain: Sequence[Attempt],
    now: datetime,
) -> _Standing:
    name = provider.name
    mine = [attempt for attempt in chain if attempt.provider == name]
    failures = sum(map(_is_failure, mine))
    tries = 1 + provider.max_retries
    if any(attempt.cause is Cause.REFUSES for attempt in mine):
        return _Standing(provider, _Place.SPENT, failures, f"{name} refused us: a person has to look at it")
    if failures >= tries:
        return _Standing(provider, _Place.SPENT, failures, f"{name} failed {counted(failures, 'time')} of {tries}")
    breaker = breakers.get(name, Breaker(name))
    until = available_at(breaker, now, failover.rules)
    if until is None:
        return _Standing(provider, _Place.FREE, failures, _free(name, state_at(breaker, now), failures, tries))
    left = format_duration(until - now)
    match state_at(breaker, now):
        case State.CLOSED:
            return _Standing(provider, _Place.COOLING, failures, f"{name} cools down for {left}", until)
        case State.OPEN:
            return _Standing(provider, _Place.SHUT, failures, f"{name}: its breaker is open for {left}", until)
        case State.HALF_OPEN:
            cooling = is_cooling(breaker, now)
            told = f"{name} cools down for {left}" if cooling else f"{name} is being probed by another dispatch"
            return _Standing(provider, _Place.SHUT, failures, told, until)


def _free(name: str, state: State, failures: int, tries: int) -> str:
    probe = ", as the probe of its breaker" if state is State.HALF_OPEN else ""
    return f"{name} is asked for try {failures + 1} of {tries}{probe}"


def _is_failure(attempt: Attempt) -> bool:
    """Whether it uses up a try: what says something against its provider, and what ended badly without a known cause.

    A turn that the engine lost uses one, too, though nobody is blamed for it: else a task that ends its Gateway would
    be given out for ever.
    """
    if not attempt.is_finished or attempt.outcome in (Outcome.COMPLETED, Outcome.ABORTED):
        return False
    if attempt.cause is Cause.ENGINE:
        return attempt.was_turn
    return attempt.cause in (None, Cause.COUNTS, Cause.REFUSES)


def may_try_again(tries: int, retry_after: float | None = None) -> bool:
    """Whether a turn that was asked for so often may be asked for again within this beat (rule F1)."""
    return tries < MAX_TRIES and (retry_after is None or not retry_after > LONGEST_PAUSE)


def pause_before(tries: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds to wait after `tries` tries: 1, 2, 4 and some jitter, for which `chance` is from 0 to 1. What the answer
    asked for is the least, and never more than LONGEST_PAUSE is waited (`may_try_again` says whether that is enough).
    """
    pause = PAUSES[min(max(tries, 1), len(PAUSES)) - 1] * (1 + JITTER * min(max(chance, 0.0), 1.0))
    wanted = retry_after if retry_after is not None and retry_after > 0 else 0.0
    return min(max(pause, wanted), LONGEST_PAUSE)


def letter_due(tries: int, at: datetime) -> datetime:
    """When a dead letter is replayed, of which so many replays failed, the last (or the task itself) at `at`."""
    wait = LETTER_FIRST
    for _ in range(tries):
        if wait >= LETTER_AT_MOST:
            break
        wait *= 2
    return at + min(wait, LETTER_AT_MOST)


def is_due(letter: DeadLetter, now: datetime) -> bool:
    """Whether a letter is to be replayed now. One due further ahead than any can be is of a clock that was set back."""
    if letter.state is not LetterState.WAITING:
        return False
    return not now < letter.due_at <= now + LETTER_AT_MOST
