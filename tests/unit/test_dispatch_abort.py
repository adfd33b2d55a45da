"""Stopping a turn by hand: at the engine, on record, and with the task given back (rules X5, X6)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt, Cause, Engine, Life, Outcome
from heartbeat.dispatch.abort import Aborted, How, abort, meant
from heartbeat.errors import RefusedError, UsageError
from heartbeat.store.locks import exclusive
from heartbeat.task import Ref, Status
from tests.support.dispatching import DispatchTeam, card
from tests.support.engines import SOME, Fail, Hang, LoseRequest, StandInSpawner
from tests.support.items import NOW
from tests.support.scripted_writer import Died, Fault
from tests.unit.test_dispatch_single import BROKEN, ask, lose_answers, room, team


def stopped(group: DispatchTeam, attempt: Attempt) -> Aborted:
    return abort(room(group).context, attempt, "ops", "wrong task")


def unheard(folder: Path) -> tuple[DispatchTeam, Attempt]:
    """A turn that goes on, and of which whoever asked for it never heard."""
    group = team(folder, card("c1", "a"), engine=StandInSpawner(Hang(), at=lose_answers))
    asked = ask(group, "c1")
    assert asked.begun is not None
    assert asked.begun.attempt.life is Life.SPAWNING
    assert group.engine.running == [asked.begun.attempt.id]
    return group, asked.begun.attempt


def running(folder: Path, act: Hang | LoseRequest, times: int = 1) -> tuple[DispatchTeam, Attempt]:
    group = team(folder, card("c1", "a"), engine=StandInSpawner(*[act] * times))
    asked = ask(group, "c1")
    assert asked.begun is not None
    return group, asked.begun.attempt


def test_a_running_turn_is_stopped_and_its_task_given_back(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())
    done = stopped(group, attempt)
    assert done.how is How.STOPPED
    assert done.left == ()
    ((ended),) = group.attempts
    assert (ended.outcome, ended.cause, ended.error) == (Outcome.ABORTED, Cause.NONE, "stopped by ops: wrong task")
    assert group.engine.running == []
    assert (group.status("c1"), group.claimant("c1")) == (Status.TODO, "")
    assert group.letters == ()
    assert group.store.breakers() == {}


def test_the_next_beat_may_start_it_again(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())
    stopped(group, attempt)
    again = group.dispatched("a").started
    assert again is not None
    assert again.number == 2


def test_X6_what_had_completed_before_it_was_stopped_is_collected_as_completed(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())
    group.engine.finish(attempt.id)
    done = stopped(group, attempt)
    assert done.how is How.ENDED
    assert (group.attempts[0].outcome, group.attempts[0].usage) == (Outcome.COMPLETED, SOME)
    assert group.engine.aborts == []
    assert group.status("c1") is Status.IN_PROGRESS


def test_X6_a_turn_that_completes_between_the_look_and_the_abort_is_no_aborted_one(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())

    def just_then(where: str, dispatch: str) -> None:
        if where == "looked" and group.engine.running:
            group.engine.finish(dispatch)

    group.engine.at = just_then
    assert stopped(group, attempt).how is How.ENDED
    assert [each.outcome for each in group.attempts] == [Outcome.COMPLETED]


def test_X6_an_abort_that_a_beat_overtakes_tells_how_it_ended(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())

    def beaten(where: str, dispatch: str) -> None:
        if where == "aborted":
            group.engine.at = None
            group.dispatched("b")

    group.engine.at = beaten
    done = stopped(group, attempt)
    assert done.how is How.ENDED
    assert done.attempt.outcome is Outcome.ABORTED


def test_an_ended_turn_is_left_as_it_is(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())
    group.engine.finish(attempt.id, Fail(BROKEN))
    group.beat("b")
    before = group.attempts
    assert stopped(group, group.attempts[0]) == Aborted(How.ENDED, before[0])
    assert group.attempts == before


@pytest.mark.parametrize("engine", ["down", "stubborn"])
def test_what_cannot_be_stopped_for_certain_is_left_running(tmp_path: Path, engine: str) -> None:
    group, attempt = running(tmp_path, Hang(stops=engine == "down"))
    group.engine.down = engine == "down"
    done = stopped(group, attempt)
    assert done.how is How.UNSURE
    assert done.told
    assert [each.life for each in group.attempts] == [Life.RUNNING]
    assert group.status("c1") is Status.IN_PROGRESS


def test_a_turn_that_nobody_answered_for_is_stopped_where_it_runs(tmp_path: Path) -> None:
    group, attempt = unheard(tmp_path)
    assert stopped(group, attempt).how is How.STOPPED
    assert group.engine.running == []
    assert group.status("c1") is Status.TODO


def test_a_turn_whose_request_never_arrived_has_ended_and_its_task_is_given_back(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, LoseRequest(), times=9)
    assert attempt.life is Life.SPAWNING
    done = stopped(group, attempt)
    assert (done.how, done.attempt.outcome) == (How.ENDED, Outcome.SPAWN_FAILED)
    assert group.status("c1") is Status.TODO


def test_what_a_dead_process_had_not_asked_for_is_called_off(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.world["workboard"].fail_writes(Fault.DIES_AFTER)
    with pytest.raises(Died):
        ask(group, "c1")
    ((planned),) = group.attempts
    assert planned.life is Life.PLANNED
    done = stopped(group, planned)
    assert done.how is How.CALLED_OFF
    assert (group.attempts[0].outcome, group.status("c1")) == (Outcome.ABORTED, Status.TODO)
    assert group.engine.orders == []


def test_B1_what_somebody_is_just_starting_is_not_touched(tmp_path: Path) -> None:
    group, attempt = unheard(tmp_path)
    with exclusive(tmp_path / "a.lock", purpose="tick"), pytest.raises(RefusedError, match=r"\(tick\)"):
        stopped(group, attempt)
    assert [each.life for each in group.attempts] == [Life.SPAWNING]


def test_what_cannot_be_given_back_now_is_told(tmp_path: Path) -> None:
    group, attempt = running(tmp_path, Hang())
    group.world["workboard"].fail_writes(Fault.DOWN)
    done = stopped(group, attempt)
    assert done.how is How.STOPPED
    ((left),) = done.left
    assert left.target == "workboard"
    assert group.status("c1") is Status.IN_PROGRESS
    group.beat("a")
    assert group.status("c1") is not Status.IN_PROGRESS or len(group.attempts) == 2


def planned(name: str, **changes: object) -> Attempt:
    plain = Attempt(name, "workboard:c1", (Ref("workboard", "c1"),), "c1", "a", 1, Engine.OPENCLAW, "native", NOW)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_the_beginning_of_an_id_is_enough_where_it_names_one(tmp_path: Path) -> None:
    first, second = planned("hb-aaaa1111"), planned("hb-aaaa2222")
    assert meant((first, second), "hb-aaaa1") is first
    assert meant((first, second), "aaaa2") is second
    assert meant((first, second), " HB-AAAA2222 ") is second
    over = replace(first, life=Life.ENDED, outcome=Outcome.COMPLETED)
    assert meant((over, second), "hb-aa") is second
    for text, said in (("hb-aa", "begins 2 ids"), ("hb-b", "no dispatch"), ("", "no dispatch"), ("hb", "begins 2")):
        with pytest.raises(UsageError, match=said):
            meant((first, second), text)
