"""Turns that nobody would collect: of agents that are gone, and those that no abort ends (rules X2, X5, F1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from heartbeat.attempt import Attempt, Life, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Sighting
from heartbeat.dispatch.context import opened
from heartbeat.dispatch.preparation import situation_of
from heartbeat.dispatch.round import follow
from heartbeat.rules.dispatching import Reason, Skip, decide
from heartbeat.store.locks import try_exclusive
from heartbeat.task import Presence, Status
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Hang, LoseAnswer, LoseRequest, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld


def team(folder: Path, engine: StandInSpawner, **extra: object) -> DispatchTeam:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a"), card("c2", "b")))
    return DispatchTeam(world, folder, (worker("a"), worker("b")), engine=engine, extra=extra)


def left_in_doubt(group: DispatchTeam) -> None:
    """The turn of `a` was asked for, nobody knows whether it began, and then the roster loses `a`."""

    def goes_down(step: str, dispatch: str) -> None:
        group.engine.down = group.engine.down or step == "begun"

    group.engine.at = goes_down
    group.dispatched("a")
    assert group.attempts[0].life is Life.SPAWNING
    group.engine.at, group.engine.down = None, False
    group.agents = (worker("b"),)


def test_X5_a_turn_in_doubt_of_an_agent_that_left_the_roster_is_cleared_up_and_its_card_given_back(
    tmp_path: Path,
) -> None:
    group = team(tmp_path, StandInSpawner(LoseRequest()), limits={"running": 1})
    left_in_doubt(group)
    group.dispatched("b")
    assert group.attempts[0].outcome is Outcome.SPAWN_FAILED
    assert group.status("c1") is Status.TODO
    assert [each.agent for each in group.attempts if each.life is Life.RUNNING] == ["b"], "its place is free again"


def test_X6_a_turn_in_doubt_of_an_agent_that_left_the_roster_and_did_begin_is_collected(tmp_path: Path) -> None:
    group = team(tmp_path, StandInSpawner(LoseAnswer(Hang())))
    left_in_doubt(group)
    group.dispatched("b")
    assert group.attempts[0].life is Life.RUNNING
    group.engine.finish(group.attempts[0].id)
    group.dispatched("b")
    assert group.attempts[0].outcome is Outcome.COMPLETED


def test_X2_somebody_who_still_has_that_agent_in_the_roster_and_is_starting_it_is_left_alone(tmp_path: Path) -> None:
    group = team(tmp_path, StandInSpawner(LoseRequest()))
    left_in_doubt(group)
    with try_exclusive(group.folder / "a.lock", purpose="tick") as lock:
        assert lock.held
        group.dispatched("b")
        assert group.attempts[0].life is Life.SPAWNING
    group.dispatched("b")
    assert group.attempts[0].life is Life.ENDED


def test_F1_a_turn_that_no_abort_ends_is_told_once_and_tried_again_at_every_look(tmp_path: Path) -> None:
    group = team(tmp_path, StandInSpawner())
    engine = StandInSpawner(Hang(stops=False))
    group.engine = engine
    group.dispatched("a")
    group.pass_time(timedelta(minutes=15))
    for _ in range(5):
        group.dispatched("a")
    assert len(engine.aborts) == 5
    assert [each.action for each in group.store.log()].count("dispatch-overdue") == 1
    told = [each for each in group.messages("ops") if each.key.startswith("overdue/")]
    assert len(told) == 1
    assert "could not be stopped" in group.attempts[0].error
    engine.finish(group.attempts[0].id)
    group.dispatched("a")
    assert group.attempts[0].outcome is Outcome.COMPLETED
    assert group.attempts[0].error == ""


def test_S4_an_engine_that_hangs_does_not_use_up_the_time_of_the_whole_beat(tmp_path: Path) -> None:
    group = team(tmp_path, StandInSpawner(Hang()))
    given: list[float] = []

    class Slow(StandInSpawner):
        def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
            given.append(deadline.left())
            return super().look(attempt, deadline)

    group.engine = Slow(Hang())
    group.dispatched("a")
    group.dispatched("a")
    assert [seconds <= 20 for seconds in given] == [True]


def test_T7_an_old_snapshot_of_another_source_does_not_hide_a_run_that_the_gateway_took_up_by_itself(
    tmp_path: Path,
) -> None:
    group = team(tmp_path, StandInSpawner(Hang()))
    group.dispatched("a")
    [attempt] = group.attempts
    group.engine.finish(attempt.id)
    group.pass_time(timedelta(minutes=5))
    context = opened(
        group.roster, {}, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means
    )
    follow(context)
    group.pass_time(timedelta(minutes=5))
    board = group.world["workboard"]
    board.presence = (Presence("a", True, group.now, f"agent:a:{attempt.session}"),)
    seen = group.observe()
    early = {**seen.judgement.scene.read_at, "todo": group.now - timedelta(minutes=20)}
    scene = replace(seen.judgement.scene, read_at=early)
    seen = replace(seen, judgement=replace(seen.judgement, scene=scene))
    decision = decide(situation_of(context, seen, group.roster.agents["a"]))
    assert isinstance(decision, Skip)
    assert decision.reason is Reason.BUSY
