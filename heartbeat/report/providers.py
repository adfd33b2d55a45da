"""How each provider stands: its breaker in words, how its turns ended lately, and who is asked next (rules F1 to F3).

Pure: everything is an argument. Sentences hold names of the roster, numbers and times; why a breaker opened is foreign
text, and stands apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, Engine, Outcome
from heartbeat.breaker import Breaker, Rules, State, available_at, is_cooling, state_at
from heartbeat.instants import format_duration
from heartbeat.provider import MULTICA_NATIVE, OWN_CHOICE, Failover, Provider, breaker_of
from heartbeat.rules.failover import Exhausted, Use, Wait, choose

LATELY = timedelta(days=1)
"""Attempts that ended longer ago are not counted."""

Show = Callable[[datetime], str]
"""Writes an instant for whom the sentence is meant."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One provider, or an engine itself (`provider` None). `breaker` is as it is on record; `state` is what it comes to
    now. `available_at` is when it may be asked, None for now. `ended` counts the attempts of the last day by outcome,
    `running` those that go on."""

    name: str
    breaker: Breaker
    state: State
    cooling: bool
    available_at: datetime | None
    provider: Provider | None = None
    ended: Mapping[Outcome, int] = field(default_factory=dict)
    running: int = 0
    next: bool = False

    @property
    def enabled(self) -> bool:
        return self.provider is None or self.provider.enabled

    @property
    def is_well(self) -> bool:
        return self.state is State.CLOSED and not self.cooling


@dataclass(frozen=True, slots=True)
class Overview:
    """All of them. `next` says in words who would be asked for a task that was not tried yet; `left` are breakers on
    record under names that nothing in the roster has now."""

    providers: tuple[Standing, ...]
    engines: tuple[Standing, ...]
    left: tuple[Standing, ...]
    next: str


def overview(
    failover: Failover,
    engines: Collection[Engine],
    breakers: Mapping[str, Breaker],
    attempts: Iterable[Attempt],
    now: datetime,
) -> Overview:
    """`engines` are those that some agent of the roster is started at; `attempts` at least those that have not ended,
    or ended within a day."""
    counted = _Counted(attempts, now)
    choice = choose(failover, breakers, (), now)
    chosen = choice.provider.name if isinstance(choice, Use) else ""
    asked = [*failover.providers]
    if Engine.MULTICA in engines or MULTICA_NATIVE in breakers:
        first = next(iter(failover.enabled), Provider(MULTICA_NATIVE))
        own = Provider(
            MULTICA_NATIVE, max_retries=first.max_retries, timeout=first.timeout, run_deadline=first.run_deadline
        )
        asked.append(own)

    def standing(name: str, provider: Provider | None = None) -> Standing:
        breaker = breakers.get(name, Breaker(name))
        return Standing(
            name=name,
            breaker=breaker,
            state=state_at(breaker, now),
            cooling=is_cooling(breaker, now),
            available_at=available_at(breaker, now, failover.rules),
            provider=provider,
            ended=counted.ended(name),
            running=counted.running(name),
            next=provider is not None and name == chosen,
        )

    of_agents = [name for name in breakers if name.partition("/")[0] in OWN_CHOICE and "/" in name]
    named = {*of_agents, *(each.name for each in asked)}
    present = [engine for engine in Engine if engine in engines or engine.value in breakers]
    known = {*named, *(engine.value for engine in Engine)}
    return Overview(
        providers=(*(standing(each.name, each) for each in asked), *(standing(name) for name in of_agents)),
        engines=tuple(standing(engine.value) for engine in present),
        left=tuple(standing(name) for name in breakers if name not in known),
        next=_next(choice),
    )


class _Counted:
    """How the attempts of the last day ended, by provider and by engine."""

    def __init__(self, attempts: Iterable[Attempt], now: datetime) -> None:
        self._ended: dict[str, Counter[Outcome]] = {}
        self._running: Counter[str] = Counter()
        for attempt in attempts:
            for name in {attempt.provider, breaker_of(attempt.provider, attempt.agent), attempt.engine.value}:
                if not attempt.is_finished:
                    self._running[name] += 1
                elif attempt.outcome is not None and attempt.ended_at is not None and attempt.ended_at >= now - LATELY:
                    self._ended.setdefault(name, Counter())[attempt.outcome] += 1

    def ended(self, name: str) -> Mapping[Outcome, int]:
        counts = self._ended.get(name, Counter())
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    def running(self, name: str) -> int:
        return self._running[name]


def _next(choice: Use | Wait | Exhausted) -> str:
    match choice:
        case Use():
            return choice.provider.name
        case Wait():
            return f"nobody can be asked now: {'; '.join(choice.reasons)}"
        case Exhausted():
            return f"nobody can be asked: {'; '.join(choice.reasons)}"


def state_told(standing: Standing, now: datetime) -> str:
    """The state in two or three words: `ready`, `open for 4m`, `on trial`, `cools down for 20s`, `disabled`."""
    if not standing.enabled:
        return "disabled"
    left = "" if standing.available_at is None else format_duration(standing.available_at - now)
    match standing.state:
        case State.OPEN:
            return f"open for {left}" if left else "open"
        case State.HALF_OPEN if standing.breaker.probe and left and not standing.cooling:
            return "on trial"
        case State.HALF_OPEN if not standing.cooling:
            return "to be tried"
        case _ if standing.cooling:
            return f"cools down for {left}" if left else "cools down"
        case _:
            return "ready"


def explained(standing: Standing, rules: Rules, show: Show) -> tuple[str, ...]:
    """What stands behind the state, sentence by sentence; nothing where all is well."""
    breaker, told = standing.breaker, []
    times = "once" if breaker.openings == 1 else f"{breaker.openings} times in a row"
    if standing.state is State.OPEN:
        until = "" if breaker.until is None else f" until {show(breaker.until)}, then one turn tries it"
        told.append(f"nobody asks it{until}; it has opened {times}")
    elif standing.state is State.HALF_OPEN:
        who = (
            f"{breaker.probe} tries it"
            if standing.available_at is not None and breaker.probe
            else "the next turn tries it"
        )
        told.append(f"it was open ({times}), and {who}: that decides whether it is asked again")
    elif breaker.failures:
        noun = "failure" if breaker.failures == 1 else "failures"
        told.append(f"{breaker.failures} {noun} in a row; at {rules.open_after} it opens")
    if standing.cooling and breaker.cooled_until is not None:
        told.append(f"rate-limited: not asked until {show(breaker.cooled_until)}")
    return tuple(told)


def ended_told(standing: Standing) -> str:
    """How its attempts ended in the last day, in words."""
    counts = [f"{count} {outcome.value.replace('_', ' ')}" for outcome, count in standing.ended.items()]
    if standing.running:
        counts.append(f"{standing.running} running")
    return ", ".join(counts)


def limits_told(provider: Provider) -> str:
    """How often and how long it is asked."""
    retries = "no retry" if not provider.max_retries else f"{provider.max_retries} retries"
    retries = "1 retry" if provider.max_retries == 1 else retries
    accepted, lasting = format_duration(provider.timeout), format_duration(provider.run_deadline)
    return f"{retries}, {accepted} to accept a turn, {lasting} for a turn"
