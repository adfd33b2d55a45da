"""An engine in memory or in a file, whose model does what a test tells it: for races, crashes and simulated days.

`StandInSpawner` keeps what a real engine promises: one dispatch id makes one turn, whoever asks how often; a turn goes
on after whoever asked has left; what became of it can be asked from anywhere.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome, Usage
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.systems.base import FailureKind, TransportError

AT_ONCE = timedelta()
SOME = Usage(input_tokens=1200, output_tokens=12)
STOPPED = Failure(Cause.NONE, "stopped by chat.abort", Outcome.ABORTED)


@dataclass(frozen=True, slots=True)
class Answer:
    """The model answers, and the turn completes."""

    usage: Usage = SOME
    takes: timedelta = AT_ONCE


@dataclass(frozen=True, slots=True)
class Hang:
    """The model never answers. The turn goes on until `finish`, an abort, or the end of its time by the clock."""

    stops: bool = True
    """Whether an abort ends it."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The turn begins and ends badly."""

    failure: Failure
    takes: timedelta = AT_ONCE


@dataclass(frozen=True, slots=True)
class Refuse:
    """The engine does not take it: no turn begins, and that is certain."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The turn begins, and whoever asked for it never hears of that."""

    then: Answer | Hang | Fail = Answer()


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """No turn begins, and whoever asked for it cannot know."""


Act = Answer | Hang | Fail | Refuse | LoseAnswer | LoseRequest


@dataclass(slots=True)
class Turn:
    """One turn that really began. `run_seconds` is what it was given; `after` names the dispatch ids of those turns of
    the same agent that were still going on at that moment."""

    order: Order
    model: str
    act: Answer | Hang | Fail
    began_at: datetime | None
    after: tuple[str, ...]
    ended: Sighting | None = None
    forgotten: bool = False
    aborts: int = 0

    @property
    def dispatch(self) -> str:
        return self.order.attempt.id


@dataclass(slots=True)
class _State:
    turns: dict[str, Turn] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)
    script: list[Act] = field(default_factory=list)
    of_provider: dict[str, list[Act]] = field(default_factory=dict)
    always: dict[str, Act] = field(default_factory=dict)
    down: bool = False


class StandInSpawner:
    """Fulfils `Spawner`. For any number of threads; with `path` for any number of processes, too, which share what the
    file holds.

    A turn does what was told for its provider (`script_for`), else what is next in the common script, else what its
    provider always does (`always`), else it answers. `clock` is only needed for acts that take time, and for turns
    that run out of theirs. `at` is called without any lock at "asked" (nothing has begun), "begun" (before the asker
    hears of it), "looked" and "aborted", with the dispatch id: the place to die, or to let somebody else go first.
    """

    def __init__(
        self,
        *script: Act,
        engine: Engine = Engine.OPENCLAW,
        path: Path | None = None,
        clock: Callable[[], datetime] | None = None,
        at: Callable[[str, str], object] | None = None,
    ) -> None:
        self._engine = engine
        self._path = path
        self._clock = clock
        self.at = at
        self._memory = _State()
        self._lock = threading.RLock()
        self.script(*script)

    # What a test tells it.

    def script(self, *acts: Act) -> None:
        """What the next turns do, one each, of any provider."""
        with self._changing() as state:
            state.script.extend(acts)

    def script_for(self, provider: str, *acts: Act) -> None:
        """What the next turns of one provider do, one each."""
        with self._changing() as state:
            state.of_provider.setdefault(provider, []).extend(acts)

    def always(self, provider: str, act: Act) -> None:
        """What a provider does whenever no script says anything."""
        with self._changing() as state:
            state.always[provider] = act

    def finish(self, dispatch: str, act: Answer | Fail | None = None) -> None:
        """A turn that goes on ends now: as told, else with an answer."""
        with self._changing() as state:
            turn = state.turns[dispatch]
            assert self._seen(turn).going is Going.RUNNING, f"{dispatch} has ended already"
            turn.ended = _ending(turn, act or Answer())

    def lose(self, dispatch: str) -> None:
        """The engine loses what it knew of a turn, and the turn with it."""
        with self._changing() as state:
            state.turns[dispatch].forgotten = True

    @property
    def down(self) -> bool:
        """While set, the engine cannot be asked. Turns go on."""
        with self._changing() as state:
            return state.down

    @down.setter
    def down(self, down: bool) -> None:
        with self._changing() as state:
            state.down = down

    # What came of it.

    @property
    def turns(self) -> list[Turn]:
        """Every turn that really began, in order, as it is now."""
        with self._changing() as state:
            return [replace(turn, ended=self._seen(turn, unforgotten=True)) for turn in state.turns.values()]

    @property
    def started(self) -> list[str]:
        """The dispatch ids of the turns that really began, in order, each once."""
        with self._changing() as state:
            return list(state.turns)

    @property
    def running(self) -> list[str]:
        return [each.dispatch for each in self.turns if each.ended is not None and each.ended.going is Going.RUNNING]

    @property
    def overlapping(self) -> list[tuple[str, str]]:
        """Pairs of turns of one agent that ran at the same time: what must never be (rule X5)."""
        return [(earlier, each.dispatch) for each in self.turns for earlier in each.after]

    @property
    def orders(self) -> list[Order]:
        """Everything that was asked for, repetitions and what was refused included."""
        with self._changing() as state:
            return list(state.orders)

    @property
    def looks(self) -> list[str]:
        with self._changing() as state:
            return list(state.looks)

    @property
    def aborts(self) -> list[str]:
        with self._changing() as state:
            return list(state.aborts)

    # Spawner

    @property
    def engine(self) -> Engine:
        return self._engine

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        dispatch = order.attempt.id
        self._pass("asked", dispatch)
        if deadline.left() <= 0:
            raise StartError(Failure(Cause.ENGINE, f"no time was left to ask the engine {self._engine}"))
        with self._changing() as state:
            self._check(state, starting=True)
            state.orders.append(order)
            act: Act | None = None
            if dispatch not in state.turns:
                act = self._next(state, order)
                self._begin(state, order, act)
        self._pass("begun", dispatch)
        if isinstance(act, Refuse):
            raise StartError(act.failure)
        if isinstance(act, LoseAnswer | LoseRequest):
            told = f"the connection to {self._engine} was lost before it answered"
            raise StartError(Failure(Cause.ENGINE, told), unknown=True)
        return Accepted(run=dispatch, session=f"agent:{order.attempt.agent}:{order.attempt.session}")

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        with self._changing() as state:
            self._check(state)
            state.looks.append(attempt.id)
            turn = state.turns.get(attempt.id)
            sighting = Sighting(Going.UNKNOWN) if turn is None else self._seen(turn)
        self._pass("looked", attempt.id)
        return sighting

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        with self._changing() as state:
            self._check(state)
            state.aborts.append(attempt.id)
            turn = state.turns.get(attempt.id)
            over = turn is None or self._seen(turn).going is not Going.RUNNING
            if turn is not None and not over:
                turn.aborts += 1
                over = not (isinstance(turn.act, Hang) and not turn.act.stops)
                turn.ended = Sighting(Going.ENDED, Outcome.ABORTED, STOPPED, turn.model) if over else None
        self._pass("aborted", attempt.id)
        return over

    def forget(self, attempt: Attempt) -> None:
        with self._changing() as state:
            state.collected.append(attempt.id)

    # Within

    def _next(self, state: _State, order: Order) -> Act:
        provider = order.attempt.provider
        for acts in (state.of_provider.get(provider), state.script):
            if acts:
                return acts.pop(0)
        return state.always.get(provider, Answer())

    def _begin(self, state: _State, order: Order, act: Act) -> None:
        if isinstance(act, Refuse | LoseRequest):
            return
        does = act.then if isinstance(act, LoseAnswer) else act
        agent = order.attempt.agent
        others = (turn for turn in state.turns.values() if turn.order.attempt.agent == agent and not turn.forgotten)
        after = tuple(turn.dispatch for turn in others if self._seen(turn).going is Going.RUNNING)
        model = order.model or f"{order.attempt.provider}/model"
        began_at = self._clock() if self._clock is not None else None
        state.turns[order.attempt.id] = turn = Turn(order, model, does, began_at, after)
        if not isinstance(does, Hang) and does.takes == AT_ONCE:
            turn.ended = _ending(turn, does)

    def _seen(self, turn: Turn, *, unforgotten: bool = False) -> Sighting:
        if turn.forgotten and not unforgotten:
            return Sighting(Going.UNKNOWN)
        if turn.ended is not None:
            return turn.ended
        if self._clock is None or turn.began_at is None:
            assert isinstance(turn.act, Hang), "an act that takes time needs a clock"
            return Sighting(Going.RUNNING)
        lasted, given = self._clock() - turn.began_at, timedelta(seconds=turn.order.run_seconds)
        takes = timedelta.max if isinstance(turn.act, Hang) else turn.act.takes
        if lasted < min(takes, given):
            return Sighting(Going.RUNNING)
        if takes <= given and not isinstance(turn.act, Hang):
            return _ending(turn, turn.act)
        told = f"the turn did not end within {turn.order.run_seconds:g} s"
        failure = Failure(Cause.COUNTS, told, Outcome.TIMED_OUT)
        return Sighting(Going.ENDED, Outcome.TIMED_OUT, failure, turn.model)

    def _check(self, state: _State, *, starting: bool = False) -> None:
        if not state.down:
            return
        told = f"nothing answers at the engine {self._engine}"
        if starting:
            raise StartError(Failure(Cause.ENGINE, told), advice="start it")
        raise TransportError(FailureKind.UNREACHABLE, told, advice="start it")

    def _pass(self, step: str, dispatch: str) -> None:
        if self.at is not None:
            self.at(step, dispatch)

    @contextmanager
    def _changing(self) -> Iterator[_State]:
        """The state, for one caller alone; kept even where the caller fails."""
        with self._lock:
            if self._path is None:
                yield self._memory
                return
            with self._path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                state = pickle.loads(self._path.read_bytes()) if self._path.exists() else _State()  # noqa: S301 - ours
                try:
                    yield state
                finally:
                    new = self._path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
                    new.write_bytes(pickle.dumps(state))
                    new.replace(self._path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()


def _ending(turn: Turn, act: Answer | Fail) -> Sighting:
    if isinstance(act, Answer):
        return Sighting(Going.ENDED, Outcome.COMPLETED, model=turn.model, usage=act.usage, exit_code=0)
    return Sighting(Going.ENDED, act.failure.outcome, act.failure, turn.model)
