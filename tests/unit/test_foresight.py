"""What a beat would decide about turns, without doing anything: the same as what it then does (rules B3, X1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.beat import rehearse
from heartbeat.cli.wording import turn_of
from heartbeat.rules.dispatching import Reason, Skip, Start
from heartbeat.task import Status
from tests.support.dispatching import MANAGED, DispatchTeam, card
from tests.support.engines import Hang, LoseRequest, Refuse, StandInSpawner
from tests.support.scripted_writer import Fault
from tests.unit.test_dispatch_single import REFUSED, team


def lines(group: DispatchTeam) -> dict[str, str]:
    """What a rehearsal of everybody says of each agent."""
    group.show_runs()
    roster = group.roster
    seen = rehearse(group.observe(), tuple(roster.agents.values()), group.store, {}, group.peers)
    return {beat.agent.id: turn_of(beat.turn, foreseen=True) for beat in seen.beats}


def done(group: DispatchTeam, agent: str) -> str:
    return turn_of(group.dispatched(agent), foreseen=False)


def test_a_rehearsal_tells_whom_a_beat_would_start_and_starts_nobody(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "c"), engine=StandInSpawner(Hang()), **MANAGED)
    assert lines(group) == {
        "a": "dispatch: would start c1 with first (first/m)",
        "b": "dispatch: nothing would be started: no_work, nothing is ready",
        "c": "",
    }
    assert (group.attempts, group.engine.orders, group.world.effects, group.store.log()) == ((), [], [], ())
    told = done(group, "a")
    assert told == f"dispatch: started c1 with first (first/m), {group.attempts[0].id}"


def test_X5_a_rehearsal_counts_those_whom_it_would_have_started_before(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "b"), limits={"running": 1})
    told = lines(group)
    assert told["a"] == "dispatch: would start c1 with native"
    assert told["b"].startswith("dispatch: nothing would be started: limit, 1 turn is running")


def test_what_cannot_be_claimed_would_not_be_started(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.world["workboard"].operations = frozenset()
    assert "cannot be claimed" in lines(group)["a"]


def test_without_an_environment_nothing_is_said_of_turns(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    assert all(beat.turn is None for beat in rehearse(group.observe(), tuple(group.agents), group.store).beats)


def test_providers_that_cannot_be_read_are_told_for_everybody(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), providers=tmp_path / "missing.yaml")
    assert "degraded" in lines(group)["a"]
    assert "missing.yaml" in lines(group)["a"]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (StandInSpawner(Refuse(REFUSED)), "was not started with native: dead letter: 401"),
        (StandInSpawner(*[LoseRequest()] * 4), "may have started c1 with native, hb-"),
    ],
)
def test_what_came_of_a_start_is_told_with_its_reason(tmp_path: Path, engine: StandInSpawner, said: str) -> None:
    assert said in done(team(tmp_path, card("c1", "a"), engine=engine), "a")


def test_a_task_that_somebody_else_took_is_told(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.world["workboard"].fail_writes(Fault.CONFLICT)
    assert "c1 was not started with native: conflict" in done(group, "a")
    assert group.status("c1") is Status.TODO


def test_the_decision_is_the_one_that_the_beat_then_makes(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))
    seen = rehearse(group.observe(), group.roster.chosen(["a"]), group.store, {}, group.peers)
    ((beat,),) = (seen.beats,)
    assert beat.turn is not None
    acted = group.dispatched("a").decision
    assert isinstance(beat.turn.decision, Start)
    assert isinstance(acted, Start)
    assert beat.turn.decision.told == acted.told
    busy = rehearse(group.observe(), group.roster.chosen(["a"]), group.store, {}, group.peers).beats[0].turn
    assert busy is not None
    assert isinstance(busy.decision, Skip)
    assert busy.decision.reason is Reason.BUSY
