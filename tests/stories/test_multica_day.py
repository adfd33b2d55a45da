"""A day of agents whose turns are runs of Multica: heartbeat's own way to begin them, over a virtual workspace (X1)."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.dispatch.folder import runs_directory
from heartbeat.roster.model import Roster
from heartbeat.rules.dispatching import Reason
from heartbeat.simulate.run import Result
from heartbeat.simulate.scenario import Behaviour, Condition, Deed, Happening, Outage, TaskPlan
from heartbeat.simulate.team import simulated
from heartbeat.simulate.world import Kind, Starter
from tests.support.simulated import HOUR, MINUTE, agents, outage, play, roster, told

ISSUE = ("multica",)
REPORT = TaskPlan("report", "Write the report", "writer", origins=ISSUE, takes=HOUR)


def team(*names: str, dispatch: str = "multica") -> Roster:
    """Agents that heartbeat starts by Multica, and a coo that it does not."""
    return roster(*agents(*(names or ("writer",)), dispatch=dispatch))


def ended(result: Result, name: str) -> str:
    return next(each.truth for each in result.counts.tasks if each.name == name)


def clean(result: Result) -> None:
    """What must never be, was not."""
    counts = result.counts
    assert counts.runs_by_us == 0, "no write of heartbeat's wakes anybody"
    assert counts.turns.overlaps == ()
    assert counts.turns.neglected == ()
    assert counts.wrong_recoveries == ()


def test_X1_an_issue_is_done_in_runs_that_heartbeat_begins_and_in_no_others(tmp_path: Path) -> None:
    result = play(tmp_path, REPORT, team=team(), days=0.2)
    clean(result)
    turns = result.counts.turns
    assert set(turns.started) == {Starter.HEARTBEAT.value}
    assert turns.attempts == {"completed": turns.started["heartbeat"]}
    assert turns.started["heartbeat"] >= 5
    assert turns.idle == 0
    assert result.counts.runs == {}
    assert any("finishes it" in each.what for each in told(result, Kind.WORK, task="report"))
    assert any("starts writer on it" in each.what for each in told(result, Kind.TURN, task="report"))
    assert turns.skipped[Reason.NO_WORK.value] > 0


def test_X1_with_none_the_same_agent_takes_it_up_by_itself(tmp_path: Path) -> None:
    result = play(tmp_path, REPORT, team=team(dispatch="none"), days=0.2)
    assert result.counts.turns.attempts == {}
    assert set(result.counts.turns.started) == {Starter.OTHERS.value}


def test_one_seed_and_one_scenario_give_one_day(tmp_path: Path) -> None:
    first, second = (play(tmp_path / name, REPORT, team=team(), days=0.2) for name in ("one", "two"))
    assert first.timeline == second.timeline
    assert first.counts == second.counts


def test_X5_an_agent_with_two_issues_has_one_run_at_a_time(tmp_path: Path) -> None:
    second = replace(REPORT, name="letter", title="Write the letter to the bank")
    result = play(tmp_path, REPORT, second, team=team(), days=0.4)
    clean(result)
    assert all(any("finishes it" in each.what for each in told(result, task=name)) for name in ("report", "letter"))


def test_X1_a_card_alone_is_nothing_that_multica_could_run_and_nobody_is_blamed_for_that(tmp_path: Path) -> None:
    card = TaskPlan("card", "Sort the post", "writer", origins=("workboard",))
    result = play(tmp_path, card, team=team(), days=0.5)
    clean(result)
    assert result.counts.turns.attempts == {}
    assert result.counts.turns.skipped[Reason.ENGINE.value] > 0


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        (Condition.DOWN, "failed"),
        (Condition.UNAUTHORIZED, "failed"),
        (Condition.LIMITED, "rate_limited"),
        (Condition.HANGING, "timed_out"),
    ],
)
def test_F3_what_multica_has_chosen_fails_in_its_own_way_and_the_issue_is_done_later(
    tmp_path: Path, condition: Condition, outcome: str
) -> None:
    gone = Outage("multica-native", condition, timedelta(0), HOUR)
    result = play(tmp_path, REPORT, team=team(), days=1.0, outages=(gone,))
    clean(result)
    assert result.counts.turns.attempts.get(outcome, 0) >= 1
    assert any("finishes it" in each.what for each in told(result, Kind.WORK, task="report"))
    letters = {"replayed": 1} if condition is Condition.UNAUTHORIZED else result.counts.turns.letters
    assert result.counts.turns.letters == letters


def test_S2_while_multica_is_away_nobody_is_started_and_then_it_goes_on(tmp_path: Path) -> None:
    result = play(tmp_path, REPORT, team=team(), days=0.5, events=(outage("multica", 30 * MINUTE, HOUR),))
    clean(result)
    started = [each.at - result.started for each in told(result, Kind.TURN) if "starts" in each.what]
    assert not any(30 * MINUTE < at < 90 * MINUTE for at in started)
    assert result.counts.turns.skipped[Reason.BUSY.value] >= 5, "how its last run ended cannot be known"
    assert any("finishes it" in each.what for each in told(result, Kind.WORK, task="report"))


def test_X1_a_slow_turn_is_not_cut_for_multica_has_no_limit(tmp_path: Path) -> None:
    slow = replace(REPORT, behaviour=Behaviour.SLOW, takes=3 * HOUR)
    result = play(tmp_path, slow, team=team(), days=0.5)
    clean(result)
    assert result.counts.turns.attempts == {"completed": 1}
    assert result.counts.turns.started == {"heartbeat": 1}


def test_a_run_that_a_person_begins_is_a_turn_of_somebody_else_and_waited_for(tmp_path: Path) -> None:
    comment = Happening(4 * HOUR, Deed.COMMENT, task="report")
    later = replace(REPORT, appears=5 * HOUR, name="later", title="Write the later report")
    result = play(tmp_path, replace(REPORT, takes=8 * HOUR), later, team=team(), days=0.6, events=(comment,))
    clean(result)
    assert result.counts.runs == {"a person": 1}
    assert result.counts.turns.started["others"] == 1


def test_X1_a_team_may_have_agents_of_every_kind(tmp_path: Path) -> None:
    members = (*agents("writer", dispatch="multica"), *agents("x", "painter", dispatch="openclaw")[2:])
    mixed = roster(*members, *agents("x", "y", "guide")[3:])
    tasks = (
        REPORT,
        TaskPlan("picture", "Paint the picture", "painter", takes=HOUR),
        TaskPlan("tour", "Give the tour", "guide", takes=HOUR),
    )
    result = play(tmp_path, *tasks, team=mixed, days=0.4)
    clean(result)
    for name in ("report", "picture", "tour"):
        assert any("finishes it" in each.what for each in told(result, Kind.WORK, task=name)), name
    assert set(result.counts.turns.started) == {"heartbeat", "others"}


def test_what_may_be_tried_is_tried_with_whom_multica_knows(tmp_path: Path) -> None:
    members = agents("writer", dispatch="none")
    team = roster(*members[:1], replace(members[1], multica_id=None))
    played = play(tmp_path, REPORT, team=roster(*members), days=0.2, dispatch="multica")
    assert played.counts.turns.attempts
    from heartbeat.simulate.scenario import Scenario

    found = simulated(team, Scenario("a test", (), dispatch="multica")).agents
    assert {name: agent.policy.dispatch for name, agent in found.items()} == {"coo": "multica", "writer": "none"}


def test_a_simulation_leaves_what_is_kept_of_real_turns_alone(tmp_path: Path) -> None:
    real = replace(team(), state=tmp_path / "real")
    kept = runs_directory(real, {}) / ("hb-" + "0" * 32)
    kept.mkdir(parents=True)
    (kept / "result.json").write_text("{}")
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(kept, (long_ago, long_ago))
    play(tmp_path / "played", REPORT, team=real, days=0.1)
    assert (kept / "result.json").exists()
