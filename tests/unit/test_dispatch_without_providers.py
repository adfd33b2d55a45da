"""Turns that run while the roster's providers cannot be read, or are not in it any more: they are collected and settled
all the same, and only new ones wait (rules X6, F1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt, Cause, Failure, Life, Outcome
from heartbeat.beat import Beat
from heartbeat.breaker import State
from heartbeat.daemon.surroundings import Loaded
from heartbeat.daemon.turns import followed
from heartbeat.deadline import Deadline
from heartbeat.rules.degradation import Level
from heartbeat.rules.dispatching import Reason, Skip
from heartbeat.task import Status
from tests.support.dispatching import REFUSED, DispatchTeam, card, worker
from tests.support.engines import Answer, Fail, Hang, LoseRequest, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

GOOD = """providers:
  - {name: first, model: first/m, run_deadline: 10m, max_retries: 0}
  - {name: second, model: second/m, run_deadline: 10m}
"""


def group_of(folder: Path) -> DispatchTeam:
    """A turn of `a` runs with the first provider of a file of them."""
    engine = StandInSpawner()
    for name in ("first", "second"):
        engine.always(name, Hang())
    path = folder / "providers.yaml"
    path.write_text(GOOD)
    extra = {"failover": {"strategy": "managed", "open_after": 3}, "providers": path}
    world = ScriptedWorld(ScriptedSystem(card("c1", "a"), card("c2", "a"), card("c3", "b")))
    group = DispatchTeam(world, folder, (worker("a"), worker("b")), engine=engine, extra=extra)
    group.every = timedelta(minutes=2)
    assert group.dispatched("a").started is not None
    return group


def broken(group: DispatchTeam) -> None:
    (group.folder / "providers.yaml").write_text("providers: [{name: first, modle: x}]\n")


def gone(group: DispatchTeam) -> None:
    (group.folder / "providers.yaml").unlink()


def emptied(group: DispatchTeam) -> None:
    group.extra = {**group.extra, "providers": ()}


def mended(group: DispatchTeam) -> None:
    path = group.folder / "providers.yaml"
    path.write_text(GOOD)
    group.extra = {**group.extra, "providers": path}


TROUBLES = pytest.mark.parametrize("trouble", [broken, gone, emptied])
Trouble = Callable[[DispatchTeam], None]


def beat(group: DispatchTeam, agent: str = "a") -> Beat:
    group.show_runs()
    [done] = group.beat(agent).beats
    return done


def ends_of(group: DispatchTeam, attempt: Attempt) -> int:
    entries = group.store.log()
    return sum(each.action == "dispatch-ended" and each.details["dispatch"] == attempt.id for each in entries)


@TROUBLES
def test_X6_a_turn_that_completed_is_collected_once_and_nobody_is_started(tmp_path: Path, trouble: Trouble) -> None:
    group = group_of(tmp_path)
    [attempt] = group.attempts
    trouble(group)
    group.engine.finish(attempt.id, Answer())
    for _ in range(3):
        done = beat(group)
    [ended] = group.attempts
    assert ended.outcome is Outcome.COMPLETED
    assert ends_of(group, attempt) == 1
    assert group.engine.started == [attempt.id]
    assert done.turn is not None
    assert isinstance(done.turn.decision, Skip)
    assert done.turn.decision.reason is Reason.DEGRADED
    assert "provider" in done.turn.told
    assert done.receipt is not None
    assert done.receipt.dispatch["reason"] == Reason.DEGRADED.value
    assert done.receipt.level == Level.L2.value
    assert any("provider" in reason for reason in done.receipt.level_reasons)
    assert beat(group, "b").turn is not None
    assert group.engine.started == [attempt.id]
    mended(group)
    assert group.dispatched("a").started is not None, "and then they go on"


@TROUBLES
def test_F1_a_turn_that_failed_is_settled_and_its_task_goes_on_when_that_is_mended(
    tmp_path: Path, trouble: Trouble
) -> None:
    group = group_of(tmp_path)
    [attempt] = group.attempts
    trouble(group)
    group.engine.finish(attempt.id, Fail(REFUSED))
    beat(group)
    beat(group)
    [ended] = group.attempts
    assert ended.outcome is Outcome.FAILED
    assert ends_of(group, attempt) == 1
    assert group.letters == (), "whether it was the last that could be tried is not known"
    assert group.store.breakers()["first"].failures == 1
    mended(group)
    begun = group.dispatched("a").started
    assert begun is not None
    assert (begun.provider, begun.number, begun.continued) == ("second", 2, True)


@TROUBLES
def test_F4_a_task_that_is_itself_at_fault_is_a_dead_letter_whoever_could_be_asked(
    tmp_path: Path, trouble: Trouble
) -> None:
    group = group_of(tmp_path)
    trouble(group)
    group.engine.finish(group.attempts[0].id, Fail(Failure(Cause.TASK, "400")))
    beat(group)
    assert len(group.letters) == 1
    assert group.status("c1") is Status.TODO


@TROUBLES
def test_F2_the_breakers_of_providers_that_cannot_be_read_are_kept(tmp_path: Path, trouble: Trouble) -> None:
    group = group_of(tmp_path)
    group.engine.finish(group.attempts[0].id, Fail(Failure(Cause.REFUSES, "401")))
    trouble(group)
    for _ in range(2):
        beat(group)
    assert group.store.breakers()["first"].state is State.OPEN


@TROUBLES
def test_F1_a_turn_past_its_deadline_is_stopped(tmp_path: Path, trouble: Trouble) -> None:
    group = group_of(tmp_path)
    trouble(group)
    group.pass_time(timedelta(minutes=15))
    beat(group)
    assert group.attempts[0].outcome is Outcome.TIMED_OUT
    assert group.engine.running == []


@TROUBLES
def test_X5_what_never_began_is_given_back(tmp_path: Path, trouble: Trouble) -> None:
    group = group_of(tmp_path)
    engine = StandInSpawner(LoseRequest())
    group.engine.finish(group.attempts[0].id, Answer())
    group.engine = engine

    def goes_down(step: str, dispatch: str) -> None:
        engine.down = engine.down or step == "begun"

    engine.at = goes_down
    group.dispatched("b")
    assert [each.life for each in group.attempts if each.agent == "b"] == [Life.SPAWNING]
    engine.at, engine.down = None, False
    trouble(group)
    beat(group, "b")
    assert [each.outcome for each in group.attempts if each.agent == "b"] == [Outcome.SPAWN_FAILED]
    assert group.status("c3") is Status.TODO
    assert group.claimant("c3") == ""


@TROUBLES
def test_X6_a_daemon_collects_them_between_its_beats(tmp_path: Path, trouble: Trouble) -> None:
    group = group_of(tmp_path)
    [attempt] = group.attempts
    trouble(group)

    def look() -> bool:
        loaded, means = Loaded(group.roster, {}), group.peers.means
        return followed(loaded, group.store, group.folder, lambda: group.now, Deadline.after(60), means).runs

    assert look()
    group.engine.finish(attempt.id, Answer())
    assert not look()
    assert group.attempts[0].outcome is Outcome.COMPLETED


def test_F1_a_turn_with_a_provider_that_left_the_roster_is_settled_and_the_others_go_on(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    [attempt] = group.attempts
    (tmp_path / "providers.yaml").write_text("providers: [{name: second, model: second/m, run_deadline: 10m}]\n")
    group.pass_time(timedelta(minutes=4))
    beat(group)
    assert group.attempts[0].life is Life.RUNNING, "it keeps the time that it was given"
    group.engine.finish(attempt.id, Fail(REFUSED))
    begun = group.dispatched("a").started
    assert group.attempts[0].outcome is Outcome.FAILED
    assert ends_of(group, attempt) == 1
    assert begun is not None
    assert begun.provider == "second"
    assert "first" not in group.store.breakers()


def test_X1_each_agent_is_told_why_nobody_is_started(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    group.agents = (*group.agents, replace(worker("c"), policy=replace(worker("c").policy, dispatch="none")))
    gone(group)
    done = {each.agent.id: each for each in group.beat("b", "c").beats}
    assert done["b"].turn is not None
    assert done["c"].turn is not None
    assert "providers.yaml cannot be read" in done["b"].turn.told
    assert done["c"].turn.told == "dispatch: none in the roster"
