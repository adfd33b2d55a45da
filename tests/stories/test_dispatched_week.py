"""Teams that heartbeat starts, whole days and weeks long: the real beats and rounds over scripted providers (X, F)."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.dispatch import round as dispatch_round
from heartbeat.rules.dispatching import Reason, Skip
from heartbeat.simulate.run import Result
from heartbeat.simulate.scenario import Again, Behaviour, Condition, Deed, Happening, Outage, TaskPlan
from heartbeat.simulate.scheme import Scheme
from heartbeat.simulate.world import Kind
from tests.support.simulated import (
    HOUR,
    MINUTE,
    after_start,
    agents,
    dispatched,
    fifteen,
    outage,
    play,
    providers,
    roster,
    told,
)

DAY = 24 * HOUR
NAMES = ("writer", "second", "third")
TEAM = dispatched(*NAMES)


def task(name: str, owner: str = "writer", **changes: object) -> TaskPlan:
    plan = TaskPlan(name, f"Work on {name}", owner, takes=40 * MINUTE)
    return replace(plan, **changes)  # type: ignore[arg-type]


def work(days: int, apart: timedelta = 6 * HOUR) -> list[TaskPlan]:
    """A task for everybody, again and again."""
    return [
        task(f"{owner}-{number}", owner, appears=number * apart)
        for owner in ("coo", *NAMES)
        for number in range(int(days * DAY / apart) - 1)
    ]


def assert_sound(result: Result) -> None:
    """What must be so whatever happens (rules X1, X5, T7)."""
    turns = result.counts.turns
    assert turns.overlaps == ()
    assert turns.neglected == ()
    assert result.counts.wrong_recoveries == ()
    assert set(turns.started) <= {"heartbeat"}
    assert sum(turns.attempts.values()) >= turns.all


def test_X1_work_is_started_continued_and_finished_without_a_turn_for_nothing(tmp_path: Path) -> None:
    result = play(tmp_path, task("report"), team=TEAM, days=0.2)
    assert_sound(result)
    turns = result.counts.turns
    assert result.counts.tasks == {"done": 1}
    assert turns.started == {"heartbeat": turns.all}
    assert turns.attempts == {"completed": turns.all}
    assert (turns.idle, turns.replays, turns.letters) == (0, 0, {})
    assert 4 <= turns.all <= 6  # 40 minutes, a beat every 10
    assert set(turns.skipped) == {"no_work"}
    assert result.counts.beats == turns.all + sum(turns.skipped.values())


@pytest.mark.parametrize(
    ("seed", "days"), [(1, 4), *(pytest.param(seed, 7, marks=pytest.mark.slow) for seed in range(1, 12))]
)
def test_X5_a_week_of_bad_weather_ends_well(tmp_path: Path, seed: int, days: int) -> None:
    """Providers fail in every way, alone and together; the Gateway and heartbeat itself are away for a while. A week of
    four days has all of that, and less of the calm after it."""
    hours = {"first": (5, 9, 30, 31, 60, 66), "second": (8, 12, 33, 36, 62, 64)}
    ways = (Condition.DOWN, Condition.HANGING, Condition.LIMITED, Condition.UNAUTHORIZED, Condition.DOWN)
    outages = [
        Outage(name, ways[(seed + place) % 5], begin * HOUR, (begin + 3) * HOUR)
        for name, begins in hours.items()
        for place, begin in enumerate(begins)
    ]
    odd = [
        task("silent", "second", appears=20 * HOUR, behaviour=Behaviour.SILENT, falls_silent=15 * MINUTE),
        task("circles", "third", appears=45 * HOUR, behaviour=Behaviour.LOOPING),
        task("long", "writer", appears=55 * HOUR, behaviour=Behaviour.SLOW, takes=25 * MINUTE),
    ]
    events = [
        outage("workboard", 14 * HOUR, HOUR),
        outage("sessions", 50 * HOUR, 2 * HOUR),
        Happening(70 * HOUR, Deed.GAP, lasts=3 * HOUR),
        Happening(80 * HOUR, Deed.SUSPEND, lasts=2 * HOUR),
        Happening(90 * HOUR, Deed.REPLAY),
        Happening((days - 1.5) * DAY, Deed.REPLAY),
    ]
    tasks = [*work(days - 1), *odd]
    result = play(tmp_path, *tasks, events=events, outages=tuple(outages), days=days, team=TEAM, seed=seed)
    assert_sound(result)
    assert result.counts.tasks == {"done": len(tasks)}
    attempts = result.counts.turns.attempts
    assert attempts["failed"] > 0
    assert attempts["timed_out"] > 0
    assert attempts["completed"] > 4 * len(tasks) / 2


@pytest.mark.parametrize("condition", [each for each in Condition if each is not Condition.OK])
def test_F1_while_one_provider_fails_the_other_does_the_work(tmp_path: Path, condition: Condition) -> None:
    failing = Outage("first", condition, timedelta(0))
    tasks = [task(name, name) for name in NAMES]
    result = play(tmp_path, *tasks, outages=(failing,), team=TEAM, days=0.3)
    assert_sound(result)
    assert result.counts.tasks == {"done": 3}
    assert result.counts.turns.letters == {}


def test_F1_what_a_provider_answers_is_on_record_as_what_it_is(tmp_path: Path) -> None:
    found = {}
    for condition in Condition:
        result = play(
            tmp_path / condition.value,
            task("report"),
            outages=(Outage("first", condition, timedelta(0), 5 * MINUTE),),
            team=dispatched("writer", extra=providers("first")),
            days=0.1,
        )
        assert result.counts.tasks == {"done": 1}, condition
        found[condition] = set(result.counts.turns.attempts)
    assert found[Condition.OK] == {"completed"}
    assert found[Condition.DOWN] == found[Condition.UNAUTHORIZED] == {"completed", "failed"}
    assert found[Condition.LIMITED] == {"completed", "rate_limited"}
    assert found[Condition.HANGING] == {"completed", "timed_out"}


def test_F4_no_task_is_lost_when_every_provider_is_down_for_a_day(tmp_path: Path) -> None:
    """Each is done in the end, or is a dead letter that a person was told of; and once that person says so, done."""
    tasks = [task(f"{owner}-{number}", owner) for owner in NAMES for number in range(3)]
    down = Outage("all", Condition.DOWN, 30 * MINUTE, 30 * MINUTE + DAY)
    alone = play(tmp_path / "alone", *tasks, outages=(down,), team=TEAM, days=2)
    assert_sound(alone)
    assert sum(alone.counts.tasks.values()) == len(tasks)
    left = alone.counts.turns.letters.get("exhausted", 0)
    assert alone.counts.tasks.get("open", 0) == left
    assert set(alone.counts.tasks) <= {"open", "done"}
    assert left > 0
    critical = [each for each in told(alone, Kind.MESSAGE) if each.what.startswith("to ops, critical")]
    assert critical
    helped = play(
        tmp_path / "helped",
        *tasks,
        outages=(down,),
        events=[Happening(26 * HOUR, Deed.REPLAY)],
        team=TEAM,
        days=2,
    )
    assert_sound(helped)
    assert helped.counts.tasks == {"done": len(tasks)}
    assert set(helped.counts.turns.letters) == {"replayed"}


def test_F2_providers_that_are_down_for_a_day_are_asked_ever_more_rarely(tmp_path: Path) -> None:
    tasks = [task(f"{owner}-{number}", owner) for owner in NAMES for number in range(10)]
    down = Outage("all", Condition.DOWN, timedelta(0))
    result = play(tmp_path, *tasks, outages=(down,), team=TEAM, days=1)
    assert_sound(result)
    assert result.counts.tasks == {"open": 30}
    assert result.counts.turns.all < 100  # of 432 beats with work at hand


def test_G1_a_gateway_that_is_away_is_held_against_no_provider(tmp_path: Path) -> None:
    tasks = [task(name, name, takes=2 * HOUR) for name in NAMES]
    result = play(tmp_path, *tasks, events=[outage("workboard", 35 * MINUTE, 4 * HOUR)], team=TEAM, days=0.5)
    assert_sound(result)
    assert result.counts.tasks == {"done": 3}
    assert result.counts.turns.letters == {}
    assert set(result.counts.turns.attempts) <= {"completed", "spawn_failed"}
    skipped = result.counts.turns.skipped
    assert (skipped["busy"], skipped["degraded"]) == (72, 24)  # turns nobody can ask about; coo, who has no work
    assert not [each for each in told(result, Kind.MESSAGE) if "熔断" in each.what]


def test_L2_a_worker_whose_turns_lead_nowhere_is_recovered_and_finishes(tmp_path: Path) -> None:
    silent = task("stuck", behaviour=Behaviour.SILENT, falls_silent=MINUTE, again=Again.FINISH)
    result = play(tmp_path, silent, team=TEAM, days=0.5)
    assert_sound(result)
    assert result.counts.recoveries >= 1
    assert result.counts.tasks == {"done": 1}


def test_F1_a_turn_that_is_longer_than_it_may_be_is_cut_and_gone_on_with(tmp_path: Path) -> None:
    long = task("long", behaviour=Behaviour.SLOW, takes=25 * MINUTE)
    result = play(tmp_path, long, team=TEAM, days=0.3)
    assert_sound(result)
    assert result.counts.turns.attempts["timed_out"] >= 2
    assert result.counts.tasks == {"done": 1}


def test_the_same_seed_tells_the_same_story_dead_letters_and_all(tmp_path: Path) -> None:
    down = Outage("all", Condition.DOWN, 20 * MINUTE, 3 * HOUR)
    tasks = [task(name, name) for name in NAMES]
    first, again = (play(tmp_path / str(n), *tasks, outages=(down,), team=TEAM, days=0.4) for n in (1, 2))
    assert first == again
    assert any("heartbeat dlq show dl-" in each.why for each in first.timeline)
    assert first.counts.tasks == {"done": 3}


def test_a_roster_that_starts_nobody_counts_turns_of_others_and_tries_another_dispatch(tmp_path: Path) -> None:
    team = roster(*agents("writer"), sources=("workboard",))
    alone = play(tmp_path / "alone", task("report"), team=team, days=0.2)
    tried = play(tmp_path / "tried", task("report"), team=team, days=0.2, dispatch="openclaw")
    assert alone.counts.tasks == tried.counts.tasks == {"done": 1}
    assert set(alone.counts.turns.started) == {"others"}
    assert alone.counts.turns.attempts == {}
    assert set(tried.counts.turns.started) == {"heartbeat"}


def test_nothing_real_is_started_and_no_hook_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **fields: object) -> None:
        raise AssertionError("a simulation must not reach out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    mark = tmp_path / "mark"
    team = replace(TEAM, extra={**TEAM.extra, "on_complete": (("touch", str(mark)),)})
    result = play(tmp_path / "simulated", task("report"), team=team, days=0.1)
    assert result.counts.turns.all > 0
    assert not mark.exists()


# The checks themselves: what must never be is seen when it is.


def test_work_that_nobody_is_started_for_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_round, "decide", lambda situation: Skip(Reason.NO_WORK, "wrongly"))
    result = play(tmp_path, task("report"), team=TEAM, days=0.2)
    assert result.counts.turns.neglected == ("report",)
    monkeypatch.setattr(dispatch_round, "decide", lambda situation: Skip(Reason.BUDGET, "by somebody's will"))
    assert play(tmp_path / "willed", task("report"), team=TEAM, days=0.2).counts.turns.neglected == ()


# The usual scheme, counted by the same simulator.


@pytest.fixture(scope="module")
def idle_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, ...]:
    """A day without work for fifteen agents, by each scheme."""
    folder = tmp_path_factory.mktemp("idle")
    return tuple(play(folder / each.value, team=fifteen(), scheme=each) for each in Scheme)


def test_an_idle_day_costs_no_turn_and_by_the_usual_scheme_one_for_each_slot(idle_day: tuple[Result, ...]) -> None:
    ours, usual = idle_day
    assert_sound(ours)
    assert len(ours.agents) == 15
    assert (ours.counts.turns.all, ours.counts.beats) == (0, 1680)
    assert ours.counts.turns.skipped == {"no_work": 1680}
    assert (usual.counts.turns.all, usual.counts.turns.idle, usual.counts.beats) == (1680, 1680, 0)


def test_by_the_usual_scheme_nobody_notices_a_dead_task(tmp_path: Path) -> None:
    silent = task("stuck", behaviour=Behaviour.SILENT, falls_silent=MINUTE)
    usual = play(tmp_path, silent, team=TEAM, scheme=Scheme.TURNS)
    assert usual.counts.dead.missed == 1
    assert usual.counts.tasks == {"dead": 1}
    assert usual.counts.writes == {}


def test_by_the_usual_scheme_a_long_turn_is_waited_for_and_a_dead_provider_costs_turns(tmp_path: Path) -> None:
    long = task("long", behaviour=Behaviour.SLOW, takes=2 * HOUR)
    down = Outage("all", Condition.DOWN, 4 * HOUR, 5 * HOUR)
    later = task("later", "second", appears=3 * HOUR + 50 * MINUTE)
    usual = play(tmp_path, long, later, outages=(down,), team=TEAM, scheme=Scheme.TURNS, days=0.5)
    assert usual.counts.tasks == {"done": 2}
    assert usual.counts.turns.skipped["busy"] == 11
    assert usual.counts.turns.overlaps == ()
    (finished,) = [each for each in told(usual, Kind.WORK, task="later") if each.what == "finishes it"]
    assert after_start(usual, finished) > 5 * HOUR


def test_the_numbers_in_the_documentation_are_those_of_the_simulator(
    idle_day: tuple[Result, ...], tmp_path: Path
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text(encoding="utf-8")
    busy = [
        task(f"{owner}-{number}", owner, appears=number * 8 * HOUR, takes=90 * MINUTE)
        for owner in fifteen().agents
        for number in range(2)
    ]
    busy_day = tuple(play(tmp_path / each.value, *busy, team=fifteen(), scheme=each) for each in Scheme)
    plays = (("15 agents, no work", [], idle_day), ("15 agents, 2 tasks of 90 minutes each", busy, busy_day))
    for name, tasks, (ours, usual) in plays:
        assert ours.counts.tasks == usual.counts.tasks == ({"done": len(tasks)} if tasks else {})
        row = " | ".join((name, *map(_told, (ours, usual))))
        assert f"| {row} |" in document, row


def _told(result: Result) -> str:
    each = result.counts.turns_per_task
    return f"{result.counts.turns.all:,}" + (f", {each:.1f} a finished task" if each is not None else "")
