"""How far heartbeat can see and act at this moment: a level from L0 to L3, computed and never set (rule G1). Pure.

- L0: all is well.
- L1: a source is slow, or was read in part or by another way than the first; a provider cools down or is on trial.
  Everything goes on, on what is known.
- L2: a source is down, a breaker is open, memory was lost, or nobody can be started who is to be. Worklists and
  receipts go on; nothing is started through what is down.
- L3: nothing can be read, or the state cannot be used. A receipt of the failure where one can be written, and an alarm.

What is about one task alone (a dead letter), what was never there (a source that nobody uses, a transport that cannot
tell who is at work) is no outage, and lowers nothing, unless somebody is to be started by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.breaker import Breaker, State, is_cooling, state_at
from heartbeat.instants import format_duration, to_text
from heartbeat.rules.dispatching import TOLD_BY


class Level(StrEnum):
    """In words for people: see `MEANING`."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"


MEANING: Mapping[Level, str] = {
    Level.L0: "normal",
    Level.L1: "slow or partly stale",
    Level.L2: "something is down: nothing is started through it",
    Level.L3: "nothing can be read or kept",
}


@dataclass(frozen=True, slots=True)
class Degradation:
    """The level and why, the worst reason first; without reasons at L0."""

    level: Level = Level.L0
    reasons: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """One line: the level, what it means, and the reasons."""
        meaning = f"{self.level.value} {MEANING[self.level]}"
        return f"{meaning}: {'; '.join(self.reasons)}" if self.reasons else meaning


@dataclass(frozen=True, slots=True)
class SourceState:
    """How one source was read, in plain words: `status` and `kind` as in a SourceReport.

    `shown` is the age of the earlier read that is shown in its place. `instead_of` names the transports that failed
    before the one that worked.
    """

    name: str
    status: str
    kind: str = ""
    shown: timedelta | None = None
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine by which somebody is to be started. `source` tells which turns go on there; `tells` says whether it did
    where it was read."""

    name: str
    source: str
    tells: bool = True


def needed(dispatch: Iterable[str], silent: Collection[str] = ()) -> tuple[EngineState, ...]:
    """The engines that are needed by what the roster says of its agents' `dispatch`. `silent` are the sources that did
    not tell who is at work."""
    wanted = frozenset(dispatch)
    return tuple(
        EngineState(engine.value, source, source not in silent)
        for engine, source in TOLD_BY.items()
        if engine.value in wanted
    )


_UNREAD = "failed"
_UNUSED = "disabled"
_READ = frozenset({"complete", "partial"})
_LATE = frozenset({"timeout", "rate_limited"})
"""Kinds of failure of a source that is there, and does not answer in time."""


def level_of(
    sources: Sequence[SourceState],
    breakers: Iterable[Breaker] = (),
    now: datetime | None = None,
    *,
    state_problem: str = "",
    memory_lost: str = "",
    engines: Iterable[EngineState] = (),
) -> Degradation:
    """The level, and everything that is the matter. `now` is needed for the breakers, which are those of whom turns
    would be asked; `engines` are those that are needed. `state_problem` says why the state cannot be used,
    `memory_lost` what of it is gone (rule B7)."""
    found = [
        *_of_state(state_problem, memory_lost),
        *_of_all(sources),
        *(each for source in sources for each in _of_source(source)),
        *(each for engine in engines for each in _of_engine(engine, sources)),
        *(() if now is None else (each for breaker in breakers for each in _of_breaker(breaker, now))),
    ]
    worst = max((level for level, _ in found), default=Level.L0)
    return Degradation(worst, tuple(told for _, told in sorted(found, key=lambda each: each[0], reverse=True)))


def unusable(problem: str) -> Degradation:
    """Where the state cannot be used, nothing else is known."""
    return Degradation(Level.L3, (_unusable(problem),))


def _unusable(problem: str) -> str:
    return f"the state cannot be used: {problem}"


_Found = tuple[Level, str]


def _of_state(problem: str, lost: str) -> Iterator[_Found]:
    if problem:
        yield Level.L3, _unusable(problem)
    if lost:
        yield Level.L2, f"memory was lost ({lost}): heartbeat only observes until somebody accepts that"


def _of_all(sources: Sequence[SourceState]) -> Iterator[_Found]:
    if not any(source.status in _READ for source in sources):
        yield Level.L3, "no source was read: what there is to do is not known"


def _of_source(source: SourceState) -> Iterator[_Found]:
    shown = "" if source.shown is None else f"; what it said {format_duration(source.shown)} ago is shown"
    if source.status == _UNUSED:
        return
    if source.status == _UNREAD:
        late = source.kind in _LATE and source.shown is not None
        word = "is slow" if late else "is down"
        kind = f" ({source.kind})" if source.kind else ""
        yield Level.L1 if late else Level.L2, f"{source.name} {word}{kind}{shown}"
        return
    if source.status != "complete":
        yield Level.L1, f"{source.name} was read in part{shown}"
    if source.instead_of:
        yield Level.L1, f"{source.name} was read another way, since {' and '.join(source.instead_of)} failed"


def _of_engine(engine: EngineState, sources: Iterable[SourceState]) -> Iterator[_Found]:
    """Without knowing which turns run nobody is started (rule T7). A source that is down has been told already."""
    status = next((source.status for source in sources if source.name == engine.source), _UNUSED)
    if status == _UNUSED:
        yield Level.L2, f"nobody can be started by {engine.name}: {engine.source} is not in use, which tells who runs"
    elif status != _UNREAD and not engine.tells:
        yield Level.L2, f"nobody can be started by {engine.name}: {engine.source} does not tell who runs"


def _of_breaker(breaker: Breaker, now: datetime) -> Iterator[_Found]:
    name, state = breaker.provider, state_at(breaker, now)
    if state is State.OPEN:
        until = "" if breaker.until is None else f" until {to_text(breaker.until)}"
        yield Level.L2, f"the breaker of {name} is open{until}"
    elif state is State.HALF_OPEN:
        yield Level.L1, f"{name} is on trial after its breaker was open"
    if is_cooling(breaker, now) and breaker.cooled_until is not None:
        yield Level.L1, f"{name} cools down until {to_text(breaker.cooled_until)}"
