"""How each provider stands: its breaker in words, how its turns ended lately, and who is asked next (rules F1 to F3).

Pure: everything is an argument. Sentences hold names of the roster, numbers and times; why a breaker opened is foreign
text, and stands apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from heartbeat.attempt import Attempt, Engine, Outcome
from heartbeat.breaker import Breaker, Rules, State, available_at, is_cooling, state_at
from heartbeat.instants import exact_duration, format_duration
from heartbeat.plural import counted
from heartbeat.provider import MULTICA_NATIVE, OWN_CHOICE, Failover, Provider, Strategy, breaker_of, breakers_for
from heartbeat.rules.failover import Exhausted, Use, Wait, choose

LATELY = timedelta(days=1)
"""Attempts that ended longer ago are not counted."""

Show = Callable[[datetime], str]
"""Writes an instant for whom the sentence is meant."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One provider, or an engine itself (`provider` None). `breaker` is as it is on record; `state` is what it comes to
    now. `available_at` is when it may be asked, None for now. `ended` counts the attempts of the last day by outcome,
    `running` those that go on; `last` is the one that ended last. What an engine chooses by itself has a breaker for
    each agent: `agents` are those who go by it, `shut` those of them whose own breaker keeps them away now."""

    name: str
    breaker: Breaker
    state: State
    cooling: bool
    available_at: datetime | None
    provider: Provider | None = None
    ended: Mapping[Outcome, int] = field(default_factory=dict)
    running: int = 0
    last: Attempt | None = None
    agents: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()
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
    agents: Mapping[str, Engine] = MappingProxyType({}),
) -> Overview:
    """`engines` are those that some agent of the roster is started at, `agents` who is started at which; `attempts` at
    least those that have not ended, or ended within a day."""
    told = _Counted(attempts, now)
    asked = [*failover.providers]
    if Engine.MULTICA in engines or MULTICA_NATIVE in breakers:
        asked.extend(for_engine(failover, Engine.MULTICA).providers)
    at_openclaw = [agent for agent, engine in agents.items() if engine is Engine.OPENCLAW]
    choices = {agent: _choice(failover, engine, agent, breakers, now) for agent, engine in agents.items()}
    choice = _first([choices[agent] for agent in at_openclaw]) if at_openclaw else choose(failover, breakers, (), now)
    chosen = {each.provider.name for each in (choice, *choices.values()) if isinstance(each, Use)}

    def standing(name: str, provider: Provider | None = None) -> Standing:
        breaker = breakers.get(name, Breaker(name))
        own = tuple(agent for agent, engine in agents.items() if _goes_by(name, engine, failover))
        whose, _, agent = name.partition("/")
        return Standing(
            name=name,
            breaker=breaker,
            state=state_at(breaker, now),
            cooling=is_cooling(breaker, now),
            available_at=available_at(breaker, now, failover.rules),
            provider=provider,
            ended=told.ended(name),
            running=told.running(name),
            last=told.last(name),
            agents=own,
            shut=tuple(each for each in own if not isinstance(choices[each], Use)),
            next=name in chosen
            if provider is not None
            else whose in OWN_CHOICE and isinstance(choices.get(agent), Use) and whose in chosen,
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


def for_engine(failover: Failover, engine: Engine) -> Failover:
    """Who is asked at an engine: at Multica that is Multica itself, which has its own way with models."""
    if engine is Engine.OPENCLAW:
        return failover
    first = next(iter(failover.enabled), Provider(MULTICA_NATIVE))
    alone = replace(first, name=MULTICA_NATIVE, model="", priority=1, enabled=True)
    return Failover(Strategy.NATIVE, (alone,), failover.rules)


def _choice(
    failover: Failover, engine: Engine, agent: str, breakers: Mapping[str, Breaker], now: datetime
) -> Use | Wait | Exhausted:
    """Who would be asked for a task of this agent that nobody was asked for yet."""
    return choose(for_engine(failover, engine), breakers_for(agent, breakers), (), now)


def _goes_by(name: str, engine: Engine, failover: Failover) -> bool:
    """Whether agents at this engine go by a choice of the engine's own that is on record under this name."""
    return name in OWN_CHOICE and any(each.name == name for each in for_engine(failover, engine).providers)


def _first(choices: Sequence[Use | Wait | Exhausted]) -> Use | Wait | Exhausted:
    """What is told for all: who can be asked, else who can be asked first."""
    waits = sorted((each for each in choices if isinstance(each, Wait)), key=lambda each: each.until)
    uses = [each for each in choices if isinstance(each, Use)]
    return next(iter((*uses, *waits, *choices)))


@dataclass(frozen=True, slots=True)
class Shut:
    """Nobody can be asked for a turn of an agent: until when, None where nobody knows, and why."""

    until: datetime | None
    reasons: tuple[str, ...]


def shut_for(
    agent: str, engine: Engine, failover: Failover, breakers: Mapping[str, Breaker], now: datetime
) -> Shut | None:
    """Whether every way to a turn of this agent is shut now, the engine's own breaker included; None where one is not.

    At `until` the first of them lets a turn through, as the probe of its breaker.
    """
    choice = _choice(failover, engine, agent, breakers, now)
    if isinstance(choice, Exhausted):
        return Shut(None, choice.reasons)
    reasons = list(choice.reasons) if isinstance(choice, Wait) else []
    waits = [choice.until] if isinstance(choice, Wait) else []
    gate = available_at(breakers.get(engine.value, Breaker(engine.value)), now, failover.rules)
    if gate is not None:
        reasons.append(f"{engine.value} itself: its breaker is open for {format_duration(gate - now)}")
        waits.append(gate)
    return Shut(max(waits), tuple(reasons)) if waits else None


class _Counted:
    """How the attempts of the last day ended, by provider and by engine."""

    def __init__(self, attempts: Iterable[Attempt], now: datetime) -> None:
        self._ended: dict[str, Counter[Outcome]] = {}
        self._running: Counter[str] = Counter()
        self._last: dict[str, tuple[datetime, Attempt]] = {}
        for attempt in attempts:
            for name in {attempt.provider, breaker_of(attempt.provider, attempt.agent), attempt.engine.value}:
                if not attempt.is_finished:
                    self._running[name] += 1
                elif attempt.outcome is not None and attempt.ended_at is not None and attempt.ended_at >= now - LATELY:
                    self._ended.setdefault(name, Counter())[attempt.outcome] += 1
                    if name not in self._last or self._last[name][0] <= attempt.ended_at:
                        self._last[name] = (attempt.ended_at, attempt)

    def ended(self, name: str) -> Mapping[Outcome, int]:
        counts = self._ended.get(name, Counter())
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    def running(self, name: str) -> int:
        return self._running[name]

    def last(self, name: str) -> Attempt | None:
        return self._last[name][1] if name in self._last else None


def _next(choice: Use | Wait | Exhausted) -> str:
    match choice:
        case Use():
            return choice.provider.name
        case Wait():
            return f"nobody can be asked now: {'; '.join(choice.reasons)}"
        case Exhausted():
            return f"nobody can be asked: {'; '.join(choice.reasons)}"


def state_told(standing: Standing, now: datetime) -> str:
    """The present state in two or three words: `ready`, `open for 4m`, `on trial`, `cools down for 20s`, `disabled`; of
    what each agent has a breaker of its own for, `ready for 2 of 3 agents`."""
    if not standing.enabled:
        return "disabled"
    if standing.shut:
        free = len(standing.agents) - len(standing.shut)
        return f"ready for {free} of {counted(len(standing.agents), 'agent')}" if free else "shut for every agent"
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
        since = breaker.until if breaker.state is State.OPEN else breaker.changed_at
        half_open = "" if since is None else f"half-open since {show(since)}: "
        who = (
            f"{breaker.probe} tries it"
            if standing.available_at is not None and breaker.probe
            else "the next turn tries it"
        )
        told.append(f"{half_open}it was open ({times}), and {who}: that decides whether it is asked again")
    elif breaker.failures:
        told.append(f"closed; {counted(breaker.failures, 'failure')} in a row, at {rules.open_after} it opens")
    if standing.shut and len(standing.shut) < len(standing.agents):
        told.append(f"not for {', '.join(standing.shut)}: their own breakers stand below")
    if standing.cooling and breaker.cooled_until is not None:
        told.append(f"rate-limited: not asked until {show(breaker.cooled_until)}")
    return tuple(told)


def ended_told(standing: Standing) -> str:
    """How its attempts ended in the last day, in words."""
    counts = [f"{count} {outcome.value.replace('_', ' ')}" for outcome, count in standing.ended.items()]
    if standing.running:
        counts.append(f"{standing.running} running")
    return ", ".join(counts)


def last_told(standing: Standing, now: datetime, show: Show) -> str:
    """The last turn of the last day that ended, and when: it says how things were then, not how they are."""
    last = standing.last
    if last is None or last.outcome is None or last.ended_at is None:
        return ""
    ago = format_duration(max(now - last.ended_at, timedelta(0)))
    return f"last turn: {last.outcome.value.replace('_', ' ')} {ago} ago, {show(last.ended_at)}"


def limits_told(provider: Provider) -> str:
    """How often and how long it is asked."""
    retries = counted(provider.max_retries, "retry", "retries") if provider.max_retries else "no retry"
    accepted, lasting = exact_duration(provider.timeout), exact_duration(provider.run_deadline)
    return f"{retries}, {accepted} to accept a turn, {lasting} for a turn"
