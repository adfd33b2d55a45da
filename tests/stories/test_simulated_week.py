"""Whole stories on a virtual clock, with the real beats over scripted systems (rules T, L, S2, C, O3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.policy import Recovery
from heartbeat.simulate.faults import KINDS
from heartbeat.simulate.ordinary import ordinary_week
from heartbeat.simulate.run import run
from heartbeat.simulate.scenario import Again, Behaviour, Deed, Happening, TaskPlan
from heartbeat.simulate.world import Kind
from tests.support.simulated import HOUR, MINUTE, after_start, agents, outage, play, roster, told

OURS = (Kind.INCIDENT, Kind.STEP, Kind.WRITE, Kind.MESSAGE)
FOREVER = 10_000 * HOUR


def stuck(name: str = "stuck", origin: str = "workboard", **changes: object) -> TaskPlan:
    """A task whose worker falls silent at once, and that nobody takes up again."""
    plan = TaskPlan(name, f"Reconcile {name}", "writer", origins=(origin,), behaviour=Behaviour.SILENT)
    return replace(replace(plan, falls_silent=MINUTE, again=Again.LEAVE), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("revisions", [True, False], ids=["with revisions", "an old server"])
def test_T2_a_stuck_issue_costs_one_comment_and_no_run_in_a_day(tmp_path: Path, revisions: bool) -> None:
    result = play(tmp_path, stuck(origin="multica"), revisions=revisions)
    assert result.counts.runs_by_us == 0
    assert result.counts.runs == {}
    assert result.counts.writes == {"recover": 1}
    assert result.counts.comments == 1
    assert result.counts.dead.recovered == 1
    assert result.counts.dead.longest is not None
    assert result.counts.dead.longest <= 50 * MINUTE


@pytest.mark.parametrize("revisions", [True, False], ids=["with revisions", "an old server"])
def test_L3_an_issue_that_gets_stuck_again_and_again_is_commented_on_once_a_step(
    tmp_path: Path, revisions: bool
) -> None:
    task = stuck(origin="multica", again=Again.REPEAT)
    unblocked = [Happening(n * 3 * HOUR, Deed.UNBLOCK, task="stuck") for n in (1, 2)]
    result = play(tmp_path, task, events=unblocked, revisions=revisions)
    assert result.counts.writes == {"block": 1, "recover": 2}
    assert result.counts.comments == 3
    assert result.counts.runs_by_us == 0


def test_a_person_who_comments_without_a_note_starts_a_run_and_the_run_is_not_ours(tmp_path: Path) -> None:
    task = stuck(origin="multica", falls_silent=10 * MINUTE, again=Again.FINISH)
    result = play(tmp_path, task, events=[Happening(25 * MINUTE, Deed.COMMENT, task="stuck")])
    assert result.counts.runs == {"a person": 1}
    assert result.counts.runs_by_us == 0
    assert result.counts.dead.woken == 1
    assert result.counts.tasks == {"done": 1}
    assert result.counts.writes == {}


def test_T2_our_own_words_on_a_task_never_reset_its_clock(tmp_path: Path) -> None:
    """Rounds are warned of by a comment while the worker goes round in circles: the limit still comes on time."""
    team = roster(*agents("writer", max_rounds=5))
    result = play(tmp_path, stuck(behaviour=Behaviour.LOOPING), team=team, days=0.2)
    warned, recovered = told(result, Kind.WRITE, task="stuck")
    assert warned.what == "heartbeat: comments (workboard)"
    assert after_start(result, warned) < HOUR
    assert recovered.what in ("heartbeat: takes it from its worker (workboard)", "heartbeat: blocks it (workboard)")


@pytest.mark.parametrize("origin", ["workboard", "multica"])
def test_T2_a_foreign_comment_resets_the_clock_and_delays_the_recovery(tmp_path: Path, origin: str) -> None:
    alone = play(tmp_path / "alone", stuck(origin=origin), days=0.3)
    said = Happening(20 * MINUTE + timedelta(seconds=30), Deed.COMMENT, task="stuck", text="/note I am looking into it")
    with_comment = play(tmp_path / "said", stuck(origin=origin), events=[said], days=0.3)
    (first,) = told(alone, Kind.WRITE, task="stuck")
    (second,) = told(with_comment, Kind.WRITE, task="stuck")
    assert after_start(with_comment, second) - after_start(alone, first) >= 10 * MINUTE
    assert with_comment.counts.writes == alone.counts.writes == {"recover": 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["workboard", "multica", "todo"])
def test_S2_an_outage_of_any_kind_sets_off_nothing(tmp_path: Path, source: str, kind: str) -> None:
    tasks = [stuck(f"stuck-{n}", source, status="in_progress", falls_silent=timedelta(0)) for n in range(1, 4)]
    events = [outage(source, 15 * MINUTE, 4 * HOUR, kind)]
    result = play(tmp_path, *tasks, events=events, days=0.17, team=roster(sources=(source,)))
    assert [moment.what for moment in told(result, *OURS)] == []
    assert result.counts.messages == {}
    assert result.counts.degraded_beats > 40


@pytest.mark.parametrize("source", ["workboard", "multica"])
def test_S2_an_outage_of_a_day_sets_off_nothing_and_the_work_goes_on_after_it(tmp_path: Path, source: str) -> None:
    tasks = [
        TaskPlan("good", "Minutes", "writer", origins=(source,), takes=26 * HOUR),
        TaskPlan("waits", "Next", "coo", origins=(source,), appears=30 * MINUTE),
    ]
    result = play(tmp_path, *tasks, events=[outage(source, 15 * MINUTE, 24 * HOUR)], days=1.3)
    assert [moment.what for moment in told(result, *OURS)] == []
    assert result.counts.tasks == {"done": 2}


def test_S2_a_source_that_comes_back_does_not_hide_what_died_meanwhile(tmp_path: Path) -> None:
    result = play(tmp_path, stuck(falls_silent=30 * MINUTE), events=[outage("workboard", HOUR, 6 * HOUR)])
    assert result.counts.dead.recovered == 1
    (write,) = told(result, Kind.WRITE)
    assert after_start(result, write) > 7 * HOUR


def test_T6_the_first_install_on_an_old_board_writes_nothing_and_gives_one_alarm(tmp_path: Path) -> None:
    names = [f"agent-{n}" for n in range(1, 15)]
    old = [
        stuck(f"old-{n}", owner=names[n % 14], status="in_progress", since=72 * HOUR, falls_silent=timedelta(0))
        for n in range(50)
    ]
    busy = [
        TaskPlan(f"busy-{n}", f"Busy {n}", "coo", status="in_progress", since=HOUR, takes=FOREVER, says=20 * MINUTE)
        for n in range(150)
    ]
    team = roster(*agents(*names), sources=("workboard",))
    result = play(tmp_path, *old, *busy, team=team, days=0.1)
    first_two = [moment for moment in told(result, *OURS) if after_start(result, moment) < 11 * MINUTE]
    assert first_two == []
    assert result.counts.writes == {}
    assert result.counts.storms == 1
    assert result.counts.messages["ops"] == 1
    assert result.counts.false_alarms == ()


def test_T7_a_worker_in_a_long_quiet_turn_is_never_recovered(tmp_path: Path) -> None:
    task = TaskPlan("long", "Research", "writer", behaviour=Behaviour.SLOW, takes=5 * HOUR)
    result = play(tmp_path, task, days=0.3)
    assert result.counts.writes == {}
    assert result.counts.wrong_recoveries == ()
    assert result.counts.tasks == {"done": 1}


def test_T7_nothing_is_taken_from_anybody_while_it_is_not_known_who_is_at_work(tmp_path: Path) -> None:
    result = play(tmp_path, stuck(), events=[outage("sessions", timedelta(0), 12 * HOUR)], days=0.4)
    assert result.counts.writes == {}
    assert [moment.what for moment in told(result, Kind.STEP)] == [
        "heartbeat: nudges its worker, on top of its next worklist",
        "heartbeat: tells of it, since it may not act",
    ]


def test_R3a_with_recovery_notify_a_dead_task_is_told_of_and_stays(tmp_path: Path) -> None:
    result = play(tmp_path, stuck(), recovery=Recovery.NOTIFY)
    assert result.counts.writes == {}
    assert (result.counts.dead.missed, result.counts.dead.told) == (1, 1)
    assert result.counts.messages == {"inbox of coo": 1}


def test_L1_a_nudge_that_is_heeded_spares_the_recovery(tmp_path: Path) -> None:
    result = play(tmp_path, stuck(heeds_nudge=True), days=0.5)
    assert result.counts.nudges == 1
    assert result.counts.writes == {}
    assert result.counts.dead.woken == 1
    assert result.counts.tasks == {"done": 1}


def test_B6_a_clock_that_jumps_forward_recovers_nobody_who_works(tmp_path: Path) -> None:
    task = TaskPlan("good", "Minutes", "writer", takes=5 * HOUR, says=10 * MINUTE)
    for number, by in enumerate((HOUR, 24 * HOUR, -HOUR)):
        jump = Happening(65 * MINUTE, Deed.CLOCK, by=by, lasts=2 * HOUR)
        result = play(tmp_path / str(number), task, events=[jump], days=0.3)
        assert result.counts.writes == {}, by
        assert result.counts.false_alarms == (), by


@pytest.mark.parametrize("deed", [Deed.GAP, Deed.SUSPEND])
def test_T6_a_pause_of_ours_is_held_against_nobody(tmp_path: Path, deed: Deed) -> None:
    tasks = [
        TaskPlan(f"good-{n}", f"Minutes {n}", name, takes=12 * HOUR)
        for n, name in enumerate(("coo", "writer", "second", "third", "fourth"))
    ]
    team = roster(*agents("writer", "second", "third", "fourth"))
    result = play(tmp_path, *tasks, events=[Happening(2 * HOUR, deed, lasts=8 * HOUR)], days=0.7, team=team)
    assert [moment.what for moment in told(result, *OURS)] == []
    assert result.counts.tasks == {"done": 5}


def test_L6_a_card_that_openclaw_itself_blocked_is_given_back(tmp_path: Path) -> None:
    team = roster(*agents("writer", recover_after=3 * HOUR, suspect_after=2 * HOUR))
    dispatch = Happening(80 * MINUTE, Deed.DISPATCH)
    result = play(tmp_path, stuck(again=Again.FINISH), events=[dispatch], days=0.5, team=team)
    assert result.counts.writes == {"recover": 1}
    assert result.counts.tasks == {"done": 1}


def test_O3_what_no_channel_took_is_delivered_when_it_is_back(tmp_path: Path) -> None:
    team = roster(*agents("writer", notify=("operator",)))
    down = Happening(timedelta(0), Deed.CHANNELS_DOWN, lasts=3 * HOUR)
    result = play(tmp_path, stuck(), events=[down], days=0.4, team=team)
    letters = [moment for moment in told(result, Kind.MESSAGE) if moment.what.startswith("to ops")]
    assert len(letters) == 1
    assert after_start(result, letters[0]) >= 3 * HOUR
    assert any("could not deliver" in moment.what for moment in told(result, Kind.MESSAGE))


def test_M1_a_task_with_three_origins_is_recovered_in_all_of_them(tmp_path: Path) -> None:
    task = stuck(origins=("workboard", "multica", "todo"), again=Again.FINISH)
    result = play(tmp_path, task, days=0.4)
    assert result.counts.writes == {"recover": 3}
    assert result.counts.incidents == {"progress": 1}  # it was taken up again within the same beat
    assert result.counts.tasks == {"done": 1}
    assert result.counts.runs == {}


def test_an_ordinary_week_goes_well_and_is_the_same_every_time(tmp_path: Path) -> None:
    team = roster(*agents("writer", "second"))
    scenario = ordinary_week(team, 1.5)
    first, again, other = (run(scenario, team, tmp_path / str(n), seed=seed) for n, seed in enumerate((7, 7, 8)))
    assert first == again
    assert other.counts == first.counts  # nothing in it is left to chance but names
    assert first.counts.runs_by_us == 0
    assert first.counts.wrong_recoveries == ()
    assert first.counts.dead.missed == 0
    assert first.counts.dead.recovered >= 9
    assert first.counts.tasks == {"done": len(scenario.tasks)}


def test_another_seed_is_another_story_where_there_is_chance(tmp_path: Path) -> None:
    from heartbeat.simulate.scenario import AgentPlan

    tasks = [TaskPlan(f"good-{n}", f"Minutes {n}", "writer", takes=30 * MINUTE) for n in range(4)]
    stories = {
        play(tmp_path / str(seed), *tasks, seed=seed, days=0.3, agents={"writer": AgentPlan(takes_up=0.4)}).timeline
        for seed in (1, 1, 2, 3)
    }
    assert 1 < len({tuple((each.at, each.what) for each in story) for story in stories}) <= 3


def test_nothing_outside_of_its_folder_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: object, **fields: object) -> None:
        raise AssertionError("a simulation must not open a connection")

    home, folder = tmp_path / "home", tmp_path / "simulated"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    team = roster(*agents("writer"), channels={"ops": {"kind": "file", "path": str(home / "ops.log")}})
    play(folder, stuck(), stuck("line", "todo"), team=team, days=0.2)
    assert list(home.rglob("*")) == []
