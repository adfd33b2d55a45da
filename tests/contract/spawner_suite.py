"""What every engine that can start a turn must do, fake or real (rules X2, X6, F3). A case says how one is reached,
what its model does, and how it is broken; a test file gives its cases to a class of its own:

    class TestTurnsOverTheGateway(SpawnerSuite):
        @pytest.fixture(params=CASES) ...
        def case(self, request, tmp_path): ...
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt, Cause, Engine, Life, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, Spawner, StartError
from heartbeat.systems.base import TransportError
from heartbeat.task import Ref
from tests.support.fake_models import Behaviour

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
PATIENCE = 60.0
"""Seconds for whatever must happen in the end; a quick engine needs a hundredth of one."""
AGENT = "coo"


def new_id() -> str:
    return f"hb-{uuid.uuid4().hex}"


def patience() -> Deadline:
    return Deadline.after(PATIENCE)


class SpawnerCase(ABC):
    """One engine over one way to it. Every order is a new task with a session of its own."""

    engine: Engine = Engine.OPENCLAW
    agent: str = AGENT
    secret: str = ""
    """A credential in use; it must never show."""
    short: float = 3.0
    """Seconds for a turn that is to run out of time, after it has asked its model."""

    @abstractmethod
    def spawner(self) -> Spawner:
        """A new one, as another process would have it."""

    @abstractmethod
    def model(self, behaviour: Behaviour) -> str:
        """Which model to ask for, for one that behaves so; empty where the engine's own does already."""

    @abstractmethod
    def calls(self, order: Order) -> int:
        """How often a model was asked because of this order."""

    @abstractmethod
    def let_go(self) -> None:
        """Every model that holds its answer back gives it."""

    @abstractmethod
    def gone(self) -> AbstractContextManager[None]:
        """While it lasts, nothing answers where the engine was: new spawners cannot reach it."""

    @abstractmethod
    def lose_next_answer(self) -> None:
        """The next turn begins, and whoever asked for it does not hear of it."""

    def outlast(self, seconds: float) -> None:  # noqa: B027 - a real one takes its time by itself
        """That much time passes, where a test can make it."""

    def order(self, behaviour: Behaviour = Behaviour.ANSWERS, *, run_seconds: float = 300.0) -> Order:
        dispatch = new_id()
        attempt = Attempt(
            id=dispatch,
            task=f"workboard:{dispatch}",
            refs=(Ref("workboard", dispatch),),
            title="对账",
            agent=self.agent,
            number=1,
            engine=self.engine,
            provider=behaviour.value,
            planned_at=NOW,
            model=self.model(behaviour),
            session=f"hb-{dispatch[-12:]}",
            life=Life.SPAWNING,
            tries=1,
        )
        return Order(attempt, f"继续对账（{dispatch}）", attempt.model, run_seconds)

    def start(self, order: Order) -> Accepted:
        return self.spawner().start(order, patience())

    def look(self, order: Order) -> Sighting:
        return self.spawner().look(order.attempt, patience())

    def ended(self, order: Order, seconds: float = PATIENCE) -> Sighting:
        """What became of a turn that has not to be waited for any longer."""
        until = time.monotonic() + seconds
        while (seen := self.look(order)).going is Going.RUNNING:
            assert time.monotonic() < until, "the turn goes on and on"
            time.sleep(0.02)
        return seen

    def asked(self, order: Order) -> None:
        """Waits until the model has been asked because of this order."""
        until = time.monotonic() + PATIENCE
        while self.calls(order) == 0:
            assert time.monotonic() < until, "no model was asked"
            time.sleep(0.02)


OpenSpawnerCase = Callable[[Path], AbstractContextManager[SpawnerCase]]
"""Sets one up in a directory of its own and takes it down again."""


def tried_again(order: Order) -> Order:
    """The same order, as it is asked for a second time."""
    return replace(order, attempt=replace(order.attempt, tries=order.attempt.tries + 1))


class SpawnerSuite:
    """The suite. Subclasses give the fixture `case`."""

    def test_X2_a_turn_is_accepted_while_its_model_is_silent_and_ends_when_that_answers(
        self, case: SpawnerCase
    ) -> None:
        order = case.order(Behaviour.HELD)
        accepted = case.start(order)
        assert accepted.run
        assert case.look(order).going is Going.RUNNING, "who has just been accepted is known"
        case.asked(order)
        assert case.look(order).going is Going.RUNNING
        case.let_go()
        seen = case.ended(order)
        assert (seen.going, seen.outcome, seen.failure) == (Going.ENDED, Outcome.COMPLETED, None)
        assert case.calls(order) == 1

    def test_X6_what_became_of_a_turn_is_told_as_often_as_it_is_asked(self, case: SpawnerCase) -> None:
        order = case.order()
        case.start(order)
        first = case.ended(order)
        assert first.outcome is Outcome.COMPLETED
        assert case.look(order) == first

    def test_X6_asking_twice_under_one_id_makes_one_turn_while_it_goes_on_and_after_it(self, case: SpawnerCase) -> None:
        order = case.order(Behaviour.HELD)
        first = case.start(order)
        case.asked(order)
        again = case.start(tried_again(order))
        assert again.run == first.run
        case.let_go()
        before = case.ended(order)
        assert case.start(tried_again(order)).run == first.run
        assert case.ended(order) == before, "and what is known of the turn is not spoilt"
        assert case.calls(order) == 1

    def test_X6_a_turn_that_was_never_asked_for_is_unknown_and_does_not_run(self, case: SpawnerCase) -> None:
        case.start(case.order())
        assert case.look(case.order()) == Sighting(Going.UNKNOWN)

    @pytest.mark.parametrize(
        ("behaviour", "cause", "code"),
        [(Behaviour.DENIED, Cause.REFUSES, 401), (Behaviour.MALFORMED, Cause.TASK, 400)],
        ids=["401", "400"],
    )
    def test_F3_a_model_that_refuses_is_told_with_what_that_means(
        self, case: SpawnerCase, behaviour: Behaviour, cause: Cause, code: int
    ) -> None:
        order = case.order(behaviour)
        case.start(order)
        seen = case.ended(order)
        assert (seen.going, seen.outcome) == (Going.ENDED, Outcome.FAILED)
        assert seen.failure is not None
        assert (seen.failure.cause, seen.failure.code) == (cause, code)
        assert seen.failure.message

    def test_F1_a_turn_that_outlasts_its_time_is_ended_by_the_engine(self, case: SpawnerCase) -> None:
        order = case.order(Behaviour.HANGS, run_seconds=case.short)
        case.start(order)
        case.asked(order)
        assert case.look(order).going is Going.RUNNING
        case.outlast(case.short + 2.0)
        seen = case.ended(order)
        assert seen.outcome is Outcome.TIMED_OUT
        assert seen.failure is not None
        assert (seen.failure.cause, seen.failure.outcome) == (Cause.COUNTS, Outcome.TIMED_OUT)

    def test_F1_a_turn_that_is_stopped_runs_no_more_and_is_nobodys_failure(self, case: SpawnerCase) -> None:
        order, other = case.order(Behaviour.HANGS), case.order(Behaviour.HANGS)
        case.start(order)
        case.start(other)
        case.asked(order)
        assert case.spawner().abort(order.attempt, patience())
        seen = case.look(order)
        assert (seen.going, seen.outcome) == (Going.ENDED, Outcome.ABORTED)
        assert seen.failure is not None
        assert seen.failure.cause is Cause.NONE
        assert case.look(other).going is Going.RUNNING, "no other turn is touched"
        assert case.spawner().abort(other.attempt, patience())

    def test_F1_what_has_ended_or_never_began_is_stopped_already(self, case: SpawnerCase) -> None:
        order = case.order()
        case.start(order)
        before = case.ended(order)
        assert case.spawner().abort(order.attempt, patience())
        assert case.look(order) == before
        assert case.spawner().abort(case.order().attempt, patience())

    def test_F3_an_engine_that_is_not_there_is_no_providers_failure_and_took_nothing(self, case: SpawnerCase) -> None:
        order = case.order()
        with case.gone():
            with pytest.raises(StartError) as refused:
                case.start(order)
            with pytest.raises(TransportError):
                case.look(order)
            with pytest.raises(TransportError):
                case.spawner().abort(order.attempt, patience())
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
        assert refused.value.advice
        assert case.look(order).going is Going.UNKNOWN
        assert case.calls(order) == 0

    def test_X6_an_answer_that_is_lost_leaves_the_turn_to_be_found_and_not_to_be_started_again(
        self, case: SpawnerCase
    ) -> None:
        order = case.order(Behaviour.HELD)
        case.lose_next_answer()
        with pytest.raises(StartError) as lost:
            case.start(order)
        assert lost.value.unknown
        assert lost.value.failure.cause is Cause.ENGINE
        assert case.secret not in str(lost.value) or not case.secret
        case.asked(order)
        assert case.look(order).going is Going.RUNNING
        case.start(tried_again(order))
        case.let_go()
        assert case.ended(order).outcome is Outcome.COMPLETED
        assert case.calls(order) == 1

    def test_S4_without_any_time_left_nothing_is_begun(self, case: SpawnerCase) -> None:
        order = case.order()
        with pytest.raises(StartError) as late:
            case.spawner().start(order, Deadline.after(0.0))
        assert not late.value.unknown
        assert case.look(order).going is Going.UNKNOWN
        assert case.calls(order) == 0
