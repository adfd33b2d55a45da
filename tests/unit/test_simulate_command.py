"""`heartbeat simulate` as people and scripts call it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.roster.model import Roster
from heartbeat.simulate.jobs import End, Job, Spell, Truth
from heartbeat.simulate.run import slots
from heartbeat.simulate.scenario import TaskPlan
from heartbeat.simulate.tally import dead_stretches, patience
from tests.support.command import heartbeat, tree
from tests.support.rosters import CLASS_POLICIES, make_agent, make_roster

SCENARIO = """\
version: 1
recovery: act
tasks:
  ledger: {title: 季度对账, owner: coo, behaviour: silent, falls_silent: 10m}
"""
START = datetime(2026, 11, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert heartbeat("demo", "--into", "sample", cwd=tmp_path).code == 0
    (tmp_path / "day.yaml").write_text(SCENARIO, encoding="utf-8")
    return tmp_path


def simulate(folder: Path, *words: str) -> tuple[int, str, str]:
    done = heartbeat("--roster", "sample/agents.yaml", "simulate", *words, cwd=folder)
    return done.code, done.out, done.err


def test_it_prints_a_timeline_and_a_summary_and_leaves_nothing_behind(folder: Path) -> None:
    before = tree(folder)
    code, out, err = simulate(folder, "--scenario", "day.yaml", "--days", "0.3")
    assert (code, err) == (0, "")
    assert "ledger  falls silent" in out
    assert "heartbeat: takes it from its worker (workboard)" in out
    assert "Summary: 7h12m, 3 agents, seed 0" in out
    assert "0 by heartbeat" in out
    assert tree(folder) == before


def test_the_same_seed_prints_the_same_and_summary_leaves_the_timeline_out(folder: Path) -> None:
    whole = simulate(folder, "--scenario", "day.yaml", "--days", "0.2", "--seed", "5")
    assert simulate(folder, "--scenario", "day.yaml", "--days", "0.2", "--seed", "5") == whole
    _, short, _ = simulate(folder, "--scenario", "day.yaml", "--days", "0.2", "--summary")
    assert "falls silent" not in short
    _, cut, _ = simulate(folder, "--scenario", "day.yaml", "--days", "0.2", "--limit", "2")
    assert "more lines: --limit 0 shows all" in cut


def test_recovery_on_the_command_line_goes_before_the_scenario_and_the_roster(folder: Path) -> None:
    for recovery, writes in (("observe", {}), ("notify", {}), ("act", {"recover": 1})):
        done = heartbeat(
            "--roster", "sample/agents.yaml", "simulate", "--scenario", "day.yaml", "--days", "0.2",
            "--recovery", recovery, "--json", cwd=folder,
        )  # fmt: skip
        counts = done.json["counts"]
        assert counts["writes"] == writes
        assert len(counts["dead"]["missed"]) == (recovery != "act")


def test_turns_are_told_by_who_started_them_and_both_schemes_can_be_compared(folder: Path) -> None:
    words = ("--scenario", "day.yaml", "--days", "0.2", "--summary")
    code, out, _ = simulate(folder, *words, "--dispatch", "openclaw")
    assert code == 0
    assert "by heartbeat; 0 with nothing to do" in out
    assert "no work" in out
    assert "two turns at once  0" in out
    assert "left lying         0" in out
    code, usual, _ = simulate(folder, *words, "--scheme", "turns")
    assert code == 0
    assert "by schedule" in usual
    assert "left lying" not in usual
    done = heartbeat(
        "--roster", "sample/agents.yaml", "simulate", *words, "--scheme", "turns", "--json", cwd=folder
    )  # fmt: skip
    turns = done.json["counts"]["turns"]
    assert list(turns) == [
        "all", "started", "idle", "for_each_task", "skipped", "attempts", "letters", "replays", "overlaps", "neglected",
    ]  # fmt: skip
    assert turns["started"] == {"schedule": turns["all"]}


def test_json_has_a_name_and_everything_that_the_screen_has(folder: Path) -> None:
    done = heartbeat(
        "--roster", "sample/agents.yaml", "simulate", "--scenario", "day.yaml", "--days", "0.2", "--json", cwd=folder
    )
    document = done.json
    head = ["schema", "scenario", "seed", "started_at", "ended_at", "scheme", "agents", "counts", "timeline"]
    assert list(document) == head
    assert document["scheme"] == "beats"
    assert document["schema"] == "heartbeat.simulate/1"
    assert document["started_at"] == "2026-11-23T00:00:00.000Z"
    assert document["counts"]["runs_by_us"] == 0
    assert document["counts"]["dead"]["recovered"] == 1
    assert set(document["timeline"][0]) == {"at", "kind", "what", "task", "agent", "why"}


def test_mistakes_in_the_scenario_end_with_2_and_their_lines(folder: Path) -> None:
    (folder / "day.yaml").write_text("version: 1\ntasks:\n  a: {owner: nobody}\n", encoding="utf-8")
    code, out, err = simulate(folder, "--scenario", "day.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("heartbeat: day.yaml:3:14: there is no agent `nobody` in the roster")


def test_the_example_can_be_played(folder: Path) -> None:
    code, example, _ = simulate(folder, "--example")
    assert code == 0
    (folder / "example.yaml").write_text(example, encoding="utf-8")
    code, out, err = simulate(folder, "--scenario", "example.yaml", "--summary")
    assert (code, err) == (0, "")
    assert "truly dead     2: 2 recovered" in out


def test_B2_slots_are_those_of_the_schedule_each_once_and_together() -> None:
    ten = make_agent("ten", every=timedelta(minutes=10))
    hourly = make_agent("hourly", cron="30 * * * *")
    team: Roster = make_roster(ten, hourly)
    found = list(slots(team, START, START + HOUR))
    assert [instant.minute for instant, _ in found] == [0, 10, 20, 30, 40, 50]
    assert [[agent.id for agent in agents] for _, agents in found][3] == ["ten", "hourly"]


def test_what_died_too_late_is_open_and_what_died_long_ago_is_missed() -> None:
    policy = CLASS_POLICIES["high_frequency"]
    plan = TaskPlan("a", "a", "writer")
    ended = START + 10 * HOUR
    limit = patience(Spell("writer", False, START), policy)

    def dead(*spells: Spell) -> Job:
        return Job(plan, (), Truth.DEAD, spells=list(spells))

    late = dead(Spell("writer", False, ended - limit + timedelta(seconds=1)))
    missed = dead(
        Spell("writer", False, START, START + HOUR, End.RECOVERED),
        Spell("writer", False, ended - limit),
    )
    found = dead_stretches([late, missed], {"writer": policy}, ["a"], ended)
    assert (found.open, found.missed, found.told, found.recovered) == (1, 1, 1, 1)
    assert (found.all, found.typical, found.longest) == (3, HOUR, HOUR)
    assert found.missed_tasks == ("a",)
