"""Between two slots the daemon collects turns, and goes on at once where one ended badly (rule F1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from heartbeat.attempt import Cause, Failure, Life, Outcome
from heartbeat.daemon.agenda import LOOK_AT_TURNS, Beat, Follow, Jitter, Moment, Wait, next_step
from heartbeat.daemon.surroundings import Loaded
from heartbeat.daemon.turns import followed
from heartbeat.deadline import Deadline
from heartbeat.roster.model import Operator
from tests.support.daemon_world import Machine, Stage
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Fail, Hang, StandInSpawner
from tests.support.items import NOW
from tests.support.rosters import make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

AGENT = worker("a")
SPREAD = Jitter(timedelta(0), "")


def group_of(folder: Path) -> DispatchTeam:
    engine = StandInSpawner()
    for name in ("first", "second", "third"):
        engine.always(name, Hang())
    return DispatchTeam(
        ScriptedWorld(ScriptedSystem(card("c1", "a"))), folder, (AGENT,), engine=engine, extra=dict(MANAGED)
    )


def look(group: DispatchTeam) -> tuple[tuple[str, ...], bool]:
    loaded = Loaded(group.roster, {})
    seen = followed(loaded, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means)
    return seen.again, seen.runs


def test_a_turn_that_goes_on_is_looked_at_again_and_one_that_ended_badly_is_followed(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    assert look(group) == ((), False)
    group.dispatched("a")
    assert look(group) == ((), True)
    [dispatch] = group.engine.running
    group.engine.finish(dispatch, Fail(REFUSED))
    assert look(group) == (("a",), False)
    assert group.attempts[0].outcome is Outcome.FAILED


def test_a_turn_that_completed_is_collected_and_waits_for_the_next_slot(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    group.dispatched("a")
    [dispatch] = group.engine.running
    group.engine.finish(dispatch)
    assert look(group) == ((), False)
    assert group.attempts[0].life is Life.ENDED


def test_turns_are_looked_at_while_nobody_is_due_and_never_instead_of_a_beat() -> None:
    later = {"a": NOW + timedelta(minutes=5)}
    assert next_step(Moment(NOW, turns=0.0), (AGENT,), later, SPREAD) == Follow()
    assert next_step(Moment(NOW, turns=7.0), (AGENT,), later, SPREAD) == Wait(7.0)
    assert next_step(Moment(NOW, turns=None), (AGENT,), later, SPREAD) == Wait(30.0)
    assert next_step(Moment(NOW, turns=0.0), (AGENT,), {"a": NOW}, SPREAD) == Beat((AGENT,))
    assert next_step(Moment(NOW, turns=0.0, held=3.0), (AGENT,), later, SPREAD) == Wait(3.0)
    assert LOOK_AT_TURNS < 30


def test_F1_a_daemon_starts_the_next_attempt_within_seconds_of_a_turn_that_ended_badly(tmp_path: Path) -> None:
    system = ScriptedSystem(card("c1", "a"))
    machine = Machine(NOW)
    engine = StandInSpawner(clock=lambda: machine.true)
    engine.always("first", Fail(Failure(Cause.REFUSES, "401"), takes=timedelta(minutes=2)))
    engine.always("second", Hang())
    agent = worker("a", every=timedelta(hours=1))
    roster = make_roster(
        agent, timezone="UTC", operator=Operator(), sources={"workboard": {}}, extra=dict(MANAGED), path=tmp_path / "r"
    )
    stage = Stage(machine, tmp_path, roster, ScriptedWorld(system))
    stage.peers = lambda peers: replace(peers, spawner=lambda *given: engine, chance=lambda: 0.0)
    stage.run(timedelta(minutes=5))
    first, second = stage.store.attempts()
    assert (first.provider, first.outcome) == ("first", Outcome.FAILED)
    assert (second.provider, second.life) == ("second", Life.RUNNING)
    assert first.accepted_at is not None
    assert second.accepted_at is not None
    assert second.accepted_at - first.accepted_at <= timedelta(minutes=2, seconds=2 * LOOK_AT_TURNS)
    assert len(stage.slots("a")) == 2, "one beat at its slot, and one more on account of the turn"
    assert stage.complained == []


def test_F1_whose_bad_end_a_beat_of_somebody_else_collects_beats_at_once_too(tmp_path: Path) -> None:
    system = ScriptedSystem(card("c1", "a"))
    machine = Machine(NOW)
    engine = StandInSpawner(clock=lambda: machine.true)
    engine.always("first", Fail(Failure(Cause.REFUSES, "401"), takes=timedelta(seconds=599)))
    engine.always("second", Hang())
    a, b = worker("a", every=timedelta(hours=1)), worker("b", every=timedelta(minutes=10))
    roster = make_roster(
        a, b, timezone="UTC", operator=Operator(), sources={"workboard": {}}, extra=dict(MANAGED), path=tmp_path / "r"
    )
    stage = Stage(machine, tmp_path, roster, ScriptedWorld(system))
    stage.peers = lambda peers: replace(peers, spawner=lambda *given: engine, chance=lambda: 0.0)
    stage.run(timedelta(minutes=12))
    first, second = stage.store.attempts()
    assert (second.provider, second.life) == ("second", Life.RUNNING)
    assert first.ended_at is not None
    assert second.planned_at - first.ended_at <= timedelta(seconds=1)


def test_what_keeps_the_daemon_from_looking_at_turns_is_said_once(tmp_path: Path) -> None:
    machine = Machine(NOW)
    engine = StandInSpawner(clock=lambda: machine.true)
    engine.always("first", Hang())
    agent = worker("a", every=timedelta(hours=1))
    roster = make_roster(
        agent, timezone="UTC", operator=Operator(), sources={"workboard": {}}, extra=dict(MANAGED), path=tmp_path / "r"
    )
    stage = Stage(machine, tmp_path, roster, ScriptedWorld(ScriptedSystem(card("c1", "a"))))
    stage.peers = lambda peers: replace(peers, spawner=lambda *given: engine, chance=lambda: 0.0)

    def bug(step: str, dispatch: str) -> None:
        if step == "looked":
            raise RuntimeError("a bug of the engine")

    engine.at = bug
    stage.run(timedelta(minutes=5))
    assert len(engine.looks) > 5
    assert len([each for each in stage.complained if "could not be looked at" in each]) == 1
