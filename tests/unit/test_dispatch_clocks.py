"""Turns and the clocks of the machine: no step of the wall clock stops a healthy one, and one that hangs is ended in
time all the same (rules F1, B6)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Life, Outcome
from heartbeat.daemon.agenda import LOOK_AT_TURNS
from heartbeat.daemon.surroundings import Loaded
from heartbeat.daemon.turns import followed
from heartbeat.deadline import Deadline
from heartbeat.dispatch.collect import GRACE
from heartbeat.dispatch.uptime import uptime
from heartbeat.provider import RUN_DEADLINE
from heartbeat.roster.model import Operator
from heartbeat.store.opening import open_store
from heartbeat.task import Status
from tests.support.daemon_world import Machine, Stage
from tests.support.dispatching import MANAGED, DispatchTeam, card, worker
from tests.support.engines import Hang, StandInSpawner
from tests.support.items import NOW
from tests.support.rosters import make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
RUN = 45 * MINUTE
LONG = {**MANAGED, "providers": ({**MANAGED["providers"][0], "run_deadline": RUN},)}


def crontab(folder: Path) -> DispatchTeam:
    """Beats as a crontab has them, with a turn that runs: each opens the database, and nothing lives between two."""
    engine = StandInSpawner()
    engine.always("first", Hang())
    group = DispatchTeam(ScriptedWorld(ScriptedSystem(card("c1", "a"))), folder, (worker("a"),), engine=engine)
    group.extra, group.every = LONG, 10 * MINUTE
    group.store = open_store(folder / "state", group.now)
    beat(group)
    assert group.attempts[0].life is Life.RUNNING
    return group


def beat(group: DispatchTeam) -> None:
    group.store.close()
    group.store = open_store(group.folder / "state", group.now)
    group.dispatched("a")


def later(group: DispatchTeam, duration: timedelta) -> None:
    """Beats every ten minutes, for so long, until the turn has ended."""
    for _ in range(duration // group.every):
        beat(group)
        if group.attempts[0].is_finished:
            break


def forward(by: timedelta) -> Callable[[DispatchTeam], None]:
    return lambda group: group.set_clock(by)


def back_and_forth(group: DispatchTeam) -> None:
    group.set_clock(-HOUR)
    beat(group)
    group.set_clock(HOUR)


FAULTS = pytest.mark.parametrize(
    "fault",
    [
        pytest.param(forward(HOUR), id="an hour ahead"),
        pytest.param(forward(DAY), id="a day ahead"),
        pytest.param(forward(-HOUR), id="an hour back"),
        pytest.param(back_and_forth, id="an hour back, and right again"),
        pytest.param(forward(8 * HOUR), id="asleep for eight hours"),
        pytest.param(lambda group: group.start_anew(MINUTE), id="off for a minute"),
        pytest.param(lambda group: group.start_anew(MINUTE, DAY), id="off, and a day ahead"),
        pytest.param(lambda group: group.start_anew(MINUTE, -DAY), id="off, and a day back"),
    ],
)


@FAULTS
def test_B6_no_fault_of_a_clock_stops_a_turn_that_is_well(
    tmp_path: Path, fault: Callable[[DispatchTeam], None]
) -> None:
    group = crontab(tmp_path)
    fault(group)
    beat(group)
    [attempt] = group.attempts
    assert attempt.life is Life.RUNNING
    assert group.engine.aborts == []
    group.engine.finish(attempt.id)
    beat(group)
    assert group.attempts[0].outcome is Outcome.COMPLETED
    assert group.status("c1") is Status.IN_PROGRESS
    group.store.close()


@FAULTS
def test_F1_a_turn_that_hangs_is_ended_in_time_by_beats_of_a_crontab_whatever_the_clock_does(
    tmp_path: Path, fault: Callable[[DispatchTeam], None]
) -> None:
    group = crontab(tmp_path)
    before = group.uptime()
    beat(group)
    fault(group)
    later(group, 3 * HOUR)
    attempt = group.attempts[0]
    assert attempt.outcome is Outcome.TIMED_OUT
    assert "past its deadline" in attempt.error
    assert group.engine.aborts == [attempt.id]
    if group.boot == before.boot:
        lived = timedelta(seconds=group.uptime().seconds - before.seconds)
        assert RUN + GRACE <= lived <= RUN + GRACE + 2 * group.every
    else:
        lived = timedelta(seconds=group.uptime().seconds - 30)
        assert GRACE <= lived <= RUN + GRACE + 2 * group.every
    group.store.close()


def test_B6_a_request_that_nobody_answered_is_timed_from_when_it_was_made(tmp_path: Path) -> None:
    group = crontab(tmp_path)
    running = group.attempts[0]
    assert running.stopwatch is not None
    group.set_clock(DAY)
    group.pass_time(20 * MINUTE)
    beat(group)
    [attempt] = group.attempts
    assert attempt.stopwatch == running.stopwatch, "nothing is written where nothing has changed"
    group.store.close()


def test_B6_a_turn_that_is_not_listed_yet_is_not_lost_for_a_clock_that_jumps(tmp_path: Path) -> None:
    group = crontab(tmp_path)
    group.engine.lose(group.attempts[0].id)
    group.every = timedelta(seconds=5)
    group.set_clock(HOUR)
    beat(group)
    assert group.attempts[0].life is Life.RUNNING
    group.every = timedelta(seconds=20)
    beat(group)
    assert group.attempts[0].outcome is Outcome.LOST
    group.store.close()


def stage_of(folder: Path, machine: Machine, engine: StandInSpawner) -> Stage:
    agent = worker("a", every=HOUR)
    roster = make_roster(
        agent, timezone="UTC", operator=Operator(), sources={"workboard": {}}, extra=dict(LONG), path=folder / "r"
    )
    stage = Stage(machine, folder, roster, ScriptedWorld(ScriptedSystem(card("c1", "a"))))
    stage.peers = lambda peers: replace(peers, spawner=lambda *given: engine, chance=lambda: 0.0)
    return stage


def a_day_ahead(machine: Machine) -> None:
    machine.ahead += DAY


def an_hour_back(machine: Machine) -> None:
    machine.ahead -= HOUR


def sleeps(machine: Machine) -> None:
    machine.sleep(8 * HOUR)


@pytest.mark.parametrize("fault", [a_day_ahead, an_hour_back, sleeps])
def test_B6_a_daemon_ends_a_turn_that_hangs_within_seconds_and_none_for_a_fault_of_the_clock(
    tmp_path: Path, fault: Callable[[Machine], None]
) -> None:
    machine = Machine(NOW)
    engine = StandInSpawner()
    engine.always("first", Hang())
    stage = stage_of(tmp_path, machine, engine)
    machine.plan(machine.true + 5 * MINUTE, lambda: fault(machine))
    ended: list[float] = []
    engine.at = lambda step, dispatch: ended.append(machine.awake) if step == "aborted" else None
    began = machine.awake
    stage.run(2 * HOUR + (8 * HOUR if fault is sleeps else timedelta(0)))
    assert stage.store.attempts()[0].outcome is Outcome.TIMED_OUT
    least = (RUN + GRACE) / timedelta(seconds=1)
    assert least <= ended[0] - began <= least + 2 * LOOK_AT_TURNS


def test_B6_a_daemon_that_looks_after_a_new_start_stops_no_turn_at_its_first_look(tmp_path: Path) -> None:
    group = crontab(tmp_path)
    group.start_anew(MINUTE, DAY)

    def look() -> None:
        loaded = Loaded(group.roster, {})
        followed(loaded, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means)

    look()
    assert group.attempts[0].life is Life.RUNNING
    group.pass_time(GRACE - timedelta(seconds=5))
    look()
    assert group.attempts[0].life is Life.RUNNING
    group.pass_time(timedelta(seconds=10))
    look()
    assert group.attempts[0].outcome is Outcome.TIMED_OUT
    group.store.close()


def test_B6_the_clock_that_nobody_sets_is_one_for_all_processes() -> None:
    asked = "from heartbeat.dispatch.uptime import uptime; now = uptime(); print(now.boot, now.seconds)"
    before = uptime()
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    after = uptime()
    *boot, seconds = told.split()
    assert "".join(boot) == before.boot == after.boot
    assert before.seconds <= float(seconds) <= after.seconds


def test_the_usual_deadline_leaves_a_turn_longer_than_the_least_that_must_pass_after_a_new_start() -> None:
    assert RUN_DEADLINE > GRACE
