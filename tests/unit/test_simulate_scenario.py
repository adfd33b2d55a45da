"""A scenario's file is checked as strictly as a roster: every mistake at once, with its line (rule R1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from heartbeat.errors import Exit, UsageError
from heartbeat.policy import Recovery
from heartbeat.simulate.faults import KINDS, failure, write_failure
from heartbeat.simulate.ordinary import ordinary_week
from heartbeat.simulate.scenario import Again, Behaviour, Deed, Scenario
from heartbeat.simulate.scenario_file import ScenarioError, load_scenario
from heartbeat.systems.base import FailureKind
from tests.support.rosters import make_agent
from tests.support.simulated import HOUR, MINUTE, agents, roster

TEAM = roster(*agents("writer"), make_agent("painter", "business"))

WHOLE = """\
version: 1
name: a day
start: 2026-11-23T08:00+08:00
days: 2
recovery: notify
dispatch: openclaw
multica: {revisions: false, run: 4m}
agents:
  writer: {takes_up: 0.5, turn: 2m, shows_turns: false}
providers:
  native: [{from: 2h, until: 5h, is: 401}, {from: 4h, is: hanging}]
  all: [{until: 30m, is: down}]
tasks:
  report:
    title: 季度报告
    owner: writer
    origins: [workboard, multica]
    priority: high
    appears: 2h
    behaviour: silent
    falls_silent: 0m
    again: leave
    heeds_nudge: true
    takes: 3h
    says: 10m
  old: {owner: coo, status: in_progress, since: 3d, count: 2}
events:
  - {at: 2h30m, do: comment, task: report, text: hello}
  - {at: 3h, do: outage, source: workboard, for: 1h, kind: auth}
  - {at: 4h, do: clock, by: -1h}
  - {at: 5h, do: assign, task: old-2, to: writer}
"""


def load(folder: Path, text: str) -> Scenario:
    path = folder / "day.yaml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path, TEAM)


def mistakes(folder: Path, text: str) -> list[str]:
    """The problems, without the folder."""
    with pytest.raises(ScenarioError) as caught:
        load(folder, text)
    assert caught.value.exit_code is Exit.USAGE
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_a_whole_scenario_is_read(tmp_path: Path) -> None:
    scenario = load(tmp_path, WHOLE)
    assert (scenario.name, scenario.days, scenario.recovery) == ("a day", 2.0, Recovery.NOTIFY)
    assert scenario.start == datetime(2026, 11, 23, tzinfo=UTC)
    assert (scenario.revisions, scenario.run) == (False, 4 * MINUTE)
    assert scenario.plan_of("writer").takes_up == 0.5
    assert scenario.plan_of("coo").takes_up == 1.0
    report, *old = scenario.tasks
    assert (report.title, report.origins, report.behaviour) == ("季度报告", ("workboard", "multica"), Behaviour.SILENT)
    assert (report.appears, report.falls_silent, report.again) == (2 * HOUR, timedelta(0), Again.LEAVE)
    assert [task.name for task in old] == ["old-1", "old-2"]
    assert [happening.do for happening in scenario.happenings] == [Deed.COMMENT, Deed.OUTAGE, Deed.CLOCK, Deed.ASSIGN]
    assert scenario.happenings[1].lasts == HOUR
    assert scenario.dispatch == "openclaw"
    conditions = [scenario.condition_of("native", hours * HOUR) for hours in range(7)]
    assert [each.value for each in conditions] == ["down", "ok", "401", "401", "401", "hanging", "hanging"]
    assert scenario.happenings[2].by == -HOUR


def test_every_mistake_is_told_at_once_with_its_line_and_its_mend(tmp_path: Path) -> None:
    text = """\
version: 1
dayz: 3
agents:
  writter: {turn: 3}
tasks:
  report:
    owner: writer
    behaviour: lazy
    takes: soon
    colour: blue
  Bad: {owner: nobody-here}
  picture: {owner: painter, origins: multica}
  bare: {title: no owner}
events:
  - {at: 1h, do: comment}
  - {at: 1h, do: gap, for: 2h, task: report}
  - {at: 1h, do: comment, task: reprot}
  - {do: outage, source: workboard, for: 1h}
  - {at: 1h, do: move, task: report, to: limbo}
  - {at: 1h, do: explode}
"""
    assert mistakes(tmp_path, text) == [
        "day.yaml:2:1: unknown key `dayz`; did you mean `days`?",
        "day.yaml:4:3: there is no agent `writter` in the roster; did you mean `writer`?",
        "day.yaml:4:19: turn: 3 has no unit; write 3m for minutes or 3s for seconds",
        "day.yaml:8:16: behaviour: must be one of diligent, silent, looping, slow, not `lazy`",
        "day.yaml:9:12: takes: `soon` is no duration; write 90s, 20m, 1h30m or 2d",
        "day.yaml:10:5: unknown key `colour`",
        "day.yaml:11:3: `Bad` is no name for a task; use small letters, digits, - and _",
        "day.yaml:11:16: there is no agent `nobody-here` in the roster; known here: coo, writer, painter",
        "day.yaml:12:38: painter has no multica_id in the roster, so no issue can be its",
        "day.yaml:13:3: `owner` is missing",
        "day.yaml:15:5: `do: comment` needs `task`",
        "day.yaml:16:32: `do: gap` has no `task`",
        "day.yaml:17:33: there is no task `reprot`; did you mean `report`?",
        "day.yaml:18:5: `at` is missing",
        "day.yaml:19:42: `limbo` is no status that report can have; known here: backlog, todo, in_progress, blocked, "
        "done",
        "day.yaml:20:18: do: must be one of comment, move, close, unblock, assign, silence, wake, outage, gap, "
        "suspend, clock, channels_down, dispatch, replay, not `explode`",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "day.yaml:1:1: a scenario is a mapping with `tasks:`, and this is something else"),
        ("version: 1\n", "day.yaml:1:1: a scenario needs tasks; write at least one under `tasks:`"),
        ("version: 2\ntasks: {a: {owner: coo}}", "day.yaml:1:10: version: this heartbeat reads version 1"),
        ("tasks: {a: {owner: coo}}", "day.yaml:1:1: `version` is missing"),
        ("version: 1\ntasks: [a]", "day.yaml:2:8: tasks must be a mapping of names, not a list"),
        ("version: 1\ntasks: {a: {owner: coo, since: 1h}}", "only a task that is in_progress was taken up"),
        ("version: 1\ntasks: {a: &x {owner: coo}}", "anchors are refused"),
        ("version: 1\ntasks: {a: {owner: coo, owner: coo}}", "`owner` is written twice"),
        ("version: 1\ntasks: {a: {owner: coo}}\nevents: {at: 1h}", "events must be a list, not a mapping"),
        (
            "version: 1\ntasks: {a: {owner: coo, appears: 2h}}\nevents: [{at: 1h, do: close, task: a}]",
            "a appears only 2h after the start",
        ),
        (
            "version: 1\ntasks: {a: {owner: coo, origins: multica}}\n"
            "events: [{at: 1h, do: assign, task: a, to: painter}]",
            "painter has no multica_id",
        ),
        ("version: 1\ntasks: {a: {owner: coo, origins: todo, status: backlog}}", "cannot be in the backlog"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in problem for problem in mistakes(tmp_path, text))


def test_a_source_that_the_roster_does_not_read_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "day.yaml"
    path.write_text("version: 1\ntasks: {a: {owner: coo, origins: [todo]}}", encoding="utf-8")
    with pytest.raises(ScenarioError, match="the roster does not read todo"):
        load_scenario(path, roster(sources=("workboard",)))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_scenario(tmp_path / "none.yaml", TEAM)
    with pytest.raises(UsageError, match="is not a file"):
        load_scenario(tmp_path, TEAM)


def test_the_packaged_example_is_right(tmp_path: Path) -> None:
    text = (files("heartbeat.sample") / "scenario.yaml").read_text(encoding="utf-8")
    scenario = load(tmp_path, text)
    assert {task.behaviour for task in scenario.tasks} == {Behaviour.DILIGENT, Behaviour.SILENT, Behaviour.LOOPING}


def test_the_documented_scenario_is_right(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text(encoding="utf-8")
    text = document.split("```yaml\n")[1].split("```")[0]
    assert load(tmp_path, text).tasks


def test_an_ordinary_week_gives_every_agent_of_the_roster_every_kind_of_task() -> None:
    scenario = ordinary_week(TEAM, 7)
    for agent in TEAM.agents:
        behaviours = {task.behaviour for task in scenario.tasks if task.owner == agent}
        assert behaviours == set(Behaviour)
    assert any(task.origins == ("multica",) for task in scenario.tasks)
    assert not any(task.origins == ("multica",) for task in scenario.tasks if task.owner == "painter")
    assert [happening.lasts for happening in scenario.happenings if happening.do is Deed.OUTAGE] == [HOUR]
    assert len({task.name for task in scenario.tasks}) == len(scenario.tasks)


def test_every_way_of_being_out_of_order_refuses_writes() -> None:
    for kind in KINDS:
        error = write_failure("workboard", kind)
        assert error.kind is not FailureKind.BUG
        assert not error.outcome_unknown
    assert failure("multica", "auth").kind is FailureKind.AUTH


def test_what_is_said_of_providers_is_checked_against_the_roster(tmp_path: Path) -> None:
    text = """\
version: 1
dispatch: multika
tasks: {}
providers:
  nativ: [{is: down}]
  native:
    - {from: 2h, until: 1h, is: down}
    - {from: 2h}
    - {is: 500, at: 1h}
  all: {is: down}
"""
    assert mistakes(tmp_path, text) == [
        "day.yaml:2:11: dispatch: must be one of none, openclaw, multica, not `multika`; did you mean `multica`?",
        "day.yaml:5:3: there is no provider `nativ` in the roster; did you mean `native`?",
        "day.yaml:7:25: must be later than `from`",
        "day.yaml:8:7: `is` is missing",
        "day.yaml:9:12: is: must be one of ok, down, 401, 429, hanging, not `500`",
        "day.yaml:9:17: unknown key `at`; known here: from, until, is",
        "day.yaml:10:8: all must be a list, not a mapping",
    ]


def test_a_team_without_work_is_a_scenario_when_it_is_said(tmp_path: Path) -> None:
    assert load(tmp_path, "version: 1\ntasks: {}\n").tasks == ()
    assert mistakes(tmp_path, "version: 1\n") == [
        "day.yaml:1:1: a scenario needs tasks; write at least one under `tasks:`, or `tasks: {}` where there is no work"
    ]
