"""An agent whose rhythm is a cron expression is watched by that rhythm and not by its class's (rules B2, T6)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.action import Operation
from heartbeat.memory import Stage
from heartbeat.roster.model import Agent
from heartbeat.task import Owner, OwnerKind, Status
from tests.support.items import NOW, card
from tests.support.rosters import make_agent
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

HOUR = timedelta(hours=1)
ON_THE_HOUR = NOW.replace(minute=0, second=0, microsecond=0)
WRITER = Owner(OwnerKind.AGENT, "writer")


def team(folder: Path, *agents: Agent, every: timedelta = HOUR) -> Team:
    """A team with one card in progress that nobody works on."""
    cards = ScriptedSystem(
        card(1, "Reconcile the ledger", Status.IN_PROGRESS, owner=WRITER, started_at=ON_THE_HOUR),
        name="workboard",
    )
    for ref in cards.items:
        cards.claimants[ref] = "writer"
    return Team(ScriptedWorld(cards), folder, agents, now=ON_THE_HOUR, every=every)


def hourly(**changes: object) -> Agent:
    return make_agent("writer", "high_frequency", cron="0 * * * *", patrol=True, notify=("self",), **changes)


def test_T6_looks_an_hour_apart_are_one_window_for_a_team_that_beats_by_the_hour(tmp_path: Path) -> None:
    staff = team(tmp_path, hourly())
    staff.tick()
    staff.beats(3)
    (window,) = staff.store.windows()["workboard"]
    assert (window.began, window.until) == (ON_THE_HOUR, ON_THE_HOUR + 3 * HOUR)


def test_T6_a_team_that_beats_by_the_hour_finds_a_stall_and_recovers_it(tmp_path: Path) -> None:
    staff = team(tmp_path, hourly())
    staff.tick()
    assert list(staff.incidents) == []
    staff.beat()
    (incident,) = staff.incidents
    assert incident.stage is Stage.SUSPECTED
    assert incident.nudged_at == staff.now
    staff.beat()
    assert [write.operation for write in staff.world.effects] == [Operation.RECOVER]
    assert staff.incidents[0].stage is Stage.RECOVERED


def test_T6_more_than_three_missed_hours_are_a_gap_by_cron_too(tmp_path: Path) -> None:
    staff = team(tmp_path, hourly())
    staff.tick()
    staff.beat(every=3 * HOUR + timedelta(minutes=1))
    assert len(staff.store.windows()["workboard"]) == 2
    assert list(staff.incidents) == []


def test_T6_a_night_without_beats_is_time_that_nobody_watched(tmp_path: Path) -> None:
    staff = team(tmp_path, make_agent("writer", cron="0 9-17 * * *", patrol=True))
    staff.tick()
    staff.beat(every=16 * HOUR)
    assert len(staff.store.windows()["workboard"]) == 2
    assert list(staff.incidents) == []


@pytest.mark.parametrize(("every", "rhythm"), [(timedelta(minutes=10), timedelta(minutes=10)), (2 * HOUR, HOUR)])
def test_T6_the_beat_of_a_mixed_team_is_its_most_frequent_agents(
    tmp_path: Path, every: timedelta, rhythm: timedelta
) -> None:
    staff = team(tmp_path, hourly(every=timedelta(minutes=1)), make_agent("coo", every=every))
    assert staff.roster.charter().beat == rhythm
