"""The engine that tests and simulations use instead of a real one keeps what real ones promise."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Failure, Outcome
from heartbeat.dispatch.base import Going, Order, StartError
from tests.contract.spawner_suite import SpawnerCase, SpawnerSuite, patience
from tests.support.engines import Answer, Fail, Hang, LoseAnswer, LoseRequest, Refuse, StandInSpawner
from tests.support.fake_models import Behaviour

REFUSED = Fail(Failure(Cause.REFUSES, "HTTP 401", code=401))
MALFORMED = Fail(Failure(Cause.TASK, "HTTP 400", code=400))


class StandInCase(SpawnerCase):
    """In memory, or in a file which each new spawner opens anew."""

    def __init__(self, path: Path | None) -> None:
        self.at = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
        self.path = path
        self.one = self.new()
        for provider, act in ((Behaviour.HELD, Hang()), (Behaviour.HANGS, Hang())):
            self.one.always(provider, act)
        self.one.always(Behaviour.DENIED, REFUSED)
        self.one.always(Behaviour.MALFORMED, MALFORMED)

    def new(self) -> StandInSpawner:
        return StandInSpawner(path=self.path, clock=lambda: self.at)

    def spawner(self) -> StandInSpawner:
        return self.one if self.path is None else self.new()

    def model(self, behaviour: Behaviour) -> str:
        return f"{behaviour}/m"

    def calls(self, order: Order) -> int:
        return self.one.started.count(order.attempt.id)

    def let_go(self) -> None:
        for dispatch in self.one.running:
            self.one.finish(dispatch)

    @contextmanager
    def _down(self) -> Iterator[None]:
        self.one.down = True
        yield
        self.one.down = False

    def gone(self) -> AbstractContextManager[None]:
        return self._down()

    def lose_next_answer(self) -> None:
        self.one.script(LoseAnswer(Hang()))

    def outlast(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class TestStandIn(SpawnerSuite):
    @pytest.fixture(params=["memory", "file"])
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> StandInCase:
        return StandInCase(None if request.param == "memory" else tmp_path / "engine")


def case() -> StandInCase:
    return StandInCase(None)


@pytest.mark.parametrize("shared", [False, True])
def test_however_many_ask_at_once_under_one_id_one_turn_begins(tmp_path: Path, shared: bool) -> None:
    case = StandInCase(tmp_path / "engine" if shared else None)
    order, barrier = case.order(), threading.Barrier(16)

    def ask() -> None:
        barrier.wait(timeout=30)
        case.start(order)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert case.one.started == [order.attempt.id]
    assert len(case.one.orders) == 16


def test_turns_do_what_their_provider_was_told_then_what_comes_next_then_what_it_always_does() -> None:
    spawner = StandInSpawner(MALFORMED)
    spawner.script_for("answers", REFUSED)
    spawner.always("answers", Hang())
    orders = [case().order() for _ in range(3)]
    for order in orders:
        spawner.start(order, patience())
    seen = [spawner.look(order.attempt, patience()) for order in orders]
    assert [each.failure and each.failure.cause for each in seen] == [Cause.REFUSES, Cause.TASK, None]
    assert seen[2].going is Going.RUNNING


@pytest.mark.parametrize("act", [Refuse(Failure(Cause.TASK, "no")), LoseRequest()])
def test_no_turn_begins_where_it_was_refused_or_the_request_was_lost(act: Refuse | LoseRequest) -> None:
    spawner, order = StandInSpawner(act), case().order()
    with pytest.raises(StartError) as refused:
        spawner.start(order, patience())
    assert refused.value.unknown is isinstance(act, LoseRequest)
    assert spawner.started == []
    assert spawner.look(order.attempt, patience()).going is Going.UNKNOWN
    spawner.start(order, patience())
    assert spawner.started == [order.attempt.id]


def test_two_turns_of_one_agent_at_once_are_told() -> None:
    spawner = StandInSpawner(Hang())
    first, second, third = (case().order() for _ in range(3))
    for order in (first, second):
        spawner.start(order, patience())
    spawner.finish(first.attempt.id)
    spawner.start(third, patience())
    assert spawner.overlapping == [(first.attempt.id, second.attempt.id)]


def test_a_turn_that_takes_its_time_ends_by_the_clock() -> None:
    timed = case()
    timed.one.script(Answer(takes=timedelta(minutes=2)), Answer(takes=timedelta(minutes=9)))
    short, long = timed.order(), timed.order(run_seconds=300.0)
    for order in (short, long):
        timed.start(order)
    timed.outlast(119.0)
    assert timed.one.running == [short.attempt.id, long.attempt.id]
    timed.outlast(1.0)
    assert timed.look(short).outcome is Outcome.COMPLETED
    timed.outlast(180.0)
    assert timed.look(long).outcome is Outcome.TIMED_OUT


def test_a_turn_that_cannot_be_stopped_goes_on_and_one_that_was_forgotten_is_unknown() -> None:
    spawner, order = StandInSpawner(Hang(stops=False)), case().order()
    spawner.start(order, patience())
    assert not spawner.abort(order.attempt, patience())
    assert spawner.running == [order.attempt.id]
    spawner.lose(order.attempt.id)
    assert spawner.look(order.attempt, patience()).going is Going.UNKNOWN
    assert (spawner.looks, spawner.aborts) == ([order.attempt.id], [order.attempt.id])


def test_who_dies_between_two_steps_leaves_what_has_happened() -> None:
    class Died(BaseException):
        pass

    def die(step: str, dispatch: str) -> None:
        if step == "begun":
            raise Died

    spawner, order = StandInSpawner(at=die), case().order()
    with pytest.raises(Died):
        spawner.start(order, patience())
    assert spawner.started == [order.attempt.id]


def test_it_can_be_kept_in_a_file_with_everything_else() -> None:
    spawner, order = StandInSpawner(Hang()), case().order()
    spawner.start(order, patience())
    copy = pickle.loads(pickle.dumps(spawner))  # noqa: S301 - our own
    copy.finish(order.attempt.id)
    assert (copy.running, spawner.running) == ([], [order.attempt.id])
