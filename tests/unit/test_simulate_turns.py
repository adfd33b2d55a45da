"""The virtual engine, and the checks that a simulation makes of itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt, Cause, Engine, Outcome
from heartbeat.breaker import Rules
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Going, Order, StartError
from heartbeat.simulate.jobs import Job, Truth
from heartbeat.simulate.neglect import Neglect, patience
from heartbeat.simulate.scenario import START, Condition, Outage, Scenario, TaskPlan
from heartbeat.simulate.store import SimulatedStore
from heartbeat.simulate.team import SimulatedTeam, simulated
from heartbeat.simulate.turns import VirtualTurns
from heartbeat.simulate.world import Clock, World
from heartbeat.systems.base import TransportError
from tests.support.rosters import CLASS_POLICIES
from tests.support.simulated import HOUR, MINUTE, dispatched

SOON = Deadline.after(60)
SECOND = timedelta(seconds=1)


def team_of(folder: Path, *outages: Outage) -> SimulatedTeam:
    """writer has two tasks, and second has one."""
    tasks = (TaskPlan("a", "A", "writer"), TaskPlan("b", "B", "writer"), TaskPlan("c", "C", "second"))
    scenario = Scenario("a test", tasks, outages=outages)
    roster = simulated(dispatched("writer", "second"), scenario)
    team = SimulatedTeam(roster, scenario, World(Clock(START), 0), folder, SimulatedStore())
    team.world.go_to(START)
    return team


def order(team: SimulatedTeam, name: str, number: int = 1, provider: str = "first", run: float = 600) -> Order:
    job = team.jobs[name]
    attempt = Attempt(
        f"hb-{name}{number}", str(job.refs[0]), tuple(job.refs), name, job.plan.owner, number, Engine.OPENCLAW,
        provider, START, session=f"hb-{name}",
    )  # fmt: skip
    return Order(attempt, "work", f"{provider}/m", run)


def active(team: SimulatedTeam) -> list[str]:
    listed = team.board.call("sessions.list", {"activeOnly": True})["sessions"]
    return [str(each["key"]) for each in listed]


def test_X2_a_turn_goes_on_for_its_time_shows_on_the_board_and_ends(tmp_path: Path) -> None:
    team = team_of(tmp_path)
    turns, asked = team.turns, order(team, "a")
    assert turns.look(asked.attempt, SOON).going is Going.UNKNOWN
    accepted = turns.start(asked, SOON)
    assert (accepted.run, accepted.session) == ("hb-a1", "agent:writer:hb-a")
    assert turns.look(asked.attempt, SOON).going is Going.RUNNING
    assert active(team) == ["agent:writer:hb-a"]
    assert team.jobs["a"].truth is Truth.WORKED
    team.world.go_to(START + 3 * MINUTE)
    seen = turns.look(asked.attempt, SOON)
    assert (seen.going, seen.outcome, seen.model) == (Going.ENDED, Outcome.COMPLETED, "first/m")
    assert active(team) == []
    assert team.world.turns == {"heartbeat": 1}


def test_X2_to_ask_twice_makes_one_turn(tmp_path: Path) -> None:
    team = team_of(tmp_path)
    asked = order(team, "a")
    assert team.turns.start(asked, SOON) == team.turns.start(asked, SOON)
    assert team.world.turns == {"heartbeat": 1}
    assert team.turns.overlaps == []


@pytest.mark.parametrize(
    ("condition", "cause", "outcome", "after"),
    [
        (Condition.DOWN, Cause.COUNTS, Outcome.FAILED, timedelta(seconds=83)),
        (Condition.UNAUTHORIZED, Cause.REFUSES, Outcome.FAILED, SECOND),
        (Condition.LIMITED, Cause.COOLS, Outcome.RATE_LIMITED, timedelta(seconds=143)),
        (Condition.HANGING, Cause.COUNTS, Outcome.TIMED_OUT, 10 * MINUTE),
    ],
)
def test_F3_a_provider_that_fails_ends_the_turn_in_its_own_way(
    tmp_path: Path, condition: Condition, cause: Cause, outcome: Outcome, after: timedelta
) -> None:
    team = team_of(tmp_path, Outage("first", condition, timedelta(0), HOUR))
    asked = order(team, "a")
    team.turns.start(asked, SOON)
    team.world.go_to(START + after - timedelta(milliseconds=1))
    assert team.turns.look(asked.attempt, SOON).going is Going.RUNNING
    team.world.go_to(START + after)
    seen = team.turns.look(asked.attempt, SOON)
    assert seen.failure is not None
    assert (seen.outcome, seen.failure.cause) == (outcome, cause)
    assert team.jobs["a"].truth is Truth.DEAD
    again = order(team, "a", 2, provider="second")
    team.turns.start(again, SOON)
    assert team.jobs["a"].truth is Truth.WORKED


def test_an_aborted_turn_does_no_work(tmp_path: Path) -> None:
    team = team_of(tmp_path)
    asked = order(team, "a")
    team.turns.start(asked, SOON)
    assert team.turns.abort(asked.attempt, SOON)
    assert team.turns.look(asked.attempt, SOON).outcome is Outcome.ABORTED
    assert active(team) == []
    team.world.go_to(START + 5 * MINUTE)
    assert team.agents["writer"].at_work is None


def test_a_gateway_that_is_away_takes_no_turn_and_tells_of_none(tmp_path: Path) -> None:
    team = team_of(tmp_path)
    asked = order(team, "a")
    team.turns.start(asked, SOON)
    team.world.down["workboard"] = "unreachable"
    with pytest.raises(StartError) as refused:
        team.turns.start(order(team, "c"), SOON)
    assert refused.value.failure.cause is Cause.ENGINE
    with pytest.raises(TransportError):
        team.turns.look(asked.attempt, SOON)
    with pytest.raises(TransportError):
        team.turns.abort(asked.attempt, SOON)
    assert not team.turns.somebody_answers


def test_X5_two_turns_of_one_agent_or_on_one_task_are_seen(tmp_path: Path) -> None:
    team = team_of(tmp_path)
    turns: VirtualTurns = team.turns
    turns.start(order(team, "a"), SOON)
    turns.start(order(team, "c"), SOON)
    assert turns.overlaps == []
    turns.start(order(team, "b"), SOON)
    assert turns.overlaps == ["writer"]
    turns.start(order(team, "c", 2), SOON)
    assert turns.overlaps == ["writer", "second", "c"]


def test_X1_a_task_is_left_lying_only_after_all_that_failover_itself_waits_for() -> None:
    policy = CLASS_POLICIES["high_frequency"]
    neglect = Neglect(Rules())
    job = Job(TaskPlan("a", "A", "writer"), ())
    limit = patience(policy, Rules())
    assert timedelta(hours=2) < limit < timedelta(hours=4)
    neglect.note(policy, [job], [], START)
    neglect.note(policy, [job], [], START + limit)
    assert neglect.found == {}
    neglect.note(policy, [job], [], START + limit + SECOND)
    assert neglect.found == {"a": limit + SECOND}


@pytest.mark.parametrize("how", ["worked on", "left for a person", "nobody to ask"])
def test_X1_what_is_not_lying_about_begins_its_wait_anew(how: str) -> None:
    policy = CLASS_POLICIES["high_frequency"]
    neglect = Neglect(Rules())
    job = Job(TaskPlan("a", "A", "writer"), ())
    late = START + patience(policy, Rules()) + SECOND
    neglect.note(policy, [job], [], START)
    if how == "worked on":
        job.truth = Truth.WORKED
        neglect.note(policy, [job], [], START + MINUTE)
        job.truth = Truth.OPEN
    elif how == "left for a person":
        neglect.note(policy, [job], [job], START + MINUTE)
    else:
        neglect.begin_anew([job])
    neglect.note(policy, [job], [], late)
    assert neglect.found == {}
