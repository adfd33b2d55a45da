"""What is told of two doctors, one here and one under cron, and how a line of a crontab is read (rule S1a)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.bare import Start, _started, compare
from heartbeat.doctor import Check, Level
from heartbeat.install.base import Order, Style
from heartbeat.install.crontab import CrontabTarget
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent, make_roster

HOME = {"HOME": "/home/coo"}
PROGRAM = Check("program", "heartbeat", Level.OK, "0.1.0 on Python 3.11.7")


def roster(**sources: dict[str, Any]) -> Roster:
    return make_roster(make_agent("coo"), sources=sources or {"workboard": {}, "todo": {}})


def board(transport: str = "gateway", level: Level = Level.OK, message: str = "10 items in 8 ms") -> Check:
    return Check("workboard", transport, level, message)


def told(
    here: list[Check],
    there: list[Check],
    team: Roster | None = None,
    environment: dict[str, str] | None = None,
    bare: dict[str, str] | None = None,
) -> list[tuple[str, Level, str]]:
    found = compare(here, there, team or roster(), {**HOME, **(environment or {})}, {**HOME, **(bare or {})})
    return [(check.subject, check.level, check.message) for check in found]


def test_what_is_the_same_there_is_not_told() -> None:
    same = [PROGRAM, board(), Check("coo", "HEARTBEAT.md", Level.WARNING, "missing"), board("cli", Level.NOTE, "-")]
    assert told(same, same) == []
    assert told(same, [PROGRAM, board()]) == []


def test_S1a_a_source_that_works_only_here_names_what_is_not_set_and_never_its_value() -> None:
    (found,) = compare(
        [board()],
        [board(level=Level.FAILED, message="auth: unauthorized")],
        roster(),
        {**HOME, "OPENCLAW_GATEWAY_TOKEN": "s3cret", "OPENCLAW_GATEWAY_PORT": "1", "MULTICA_TOKEN": "other"},
        {**HOME, "OPENCLAW_GATEWAY_PORT": "1"},
    )
    assert (found.area, found.level) == ("workboard", Level.FAILED)
    assert found.message == "works here by gateway, not under cron: OPENCLAW_GATEWAY_TOKEN is not set"
    assert found.advice.startswith("put it into the environment file")
    assert "s3cret" not in repr(found)


def test_S1a_a_variable_that_the_roster_names_is_looked_for_too() -> None:
    team = roster(workboard={"token_env": "BOARD"})
    (said,) = told([board()], [], team, {"BOARD": "s3cret"})
    assert said[2] == "works here by gateway, not under cron: BOARD is not set"
    assert told([board()], [], team, {"BOARD": "s"}, {"BOARD": "s"})[0][2].endswith("nothing of it was found")


def test_S1a_a_program_that_is_found_only_here_is_named_with_its_place(tmp_path: Path) -> None:
    program = tmp_path / "openclaw"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (said,) = told([board("cli")], [], environment={"PATH": str(tmp_path)}, bare={"PATH": "/usr/bin:/bin"})
    assert said == (
        "transport",
        Level.FAILED,
        f"works here by cli, not under cron: PATH lacks openclaw (here it is {program})",
    )
    here = {"PATH": str(tmp_path)}
    assert told([board("cli")], [], roster(workboard={"binary": str(program)}), here, {"PATH": "/bin"}) == [
        ("transport", Level.FAILED, "works here by cli, not under cron: nothing of it was found")
    ]


def test_without_a_reason_of_our_own_the_doctors_words_are_told() -> None:
    failing = board(level=Level.FAILED, message="unreachable: nothing answers")
    (said,) = told([board()], [failing, board("cli", Level.NOTE, "not set up")])
    assert said[2] == ("works here by gateway, not under cron: gateway: unreachable: nothing answers; cli: not set up")


def test_another_transport_under_cron_is_a_warning_and_the_other_way_round_a_note() -> None:
    slow = [board(level=Level.WARNING, message="auth"), board("cli", message="10 items in 12 s")]
    assert told([board(), board("cli")], slow) == [
        ("transport", Level.WARNING, "works here by gateway, under cron by cli: gateway: auth")
    ]
    assert told([board(level=Level.FAILED)], [board()]) == [
        ("transport", Level.NOTE, "works under cron by gateway, and not here")
    ]


def test_another_home_is_told() -> None:
    (said,) = told([board()], [], environment={"HOME": "/root"})
    assert "HOME is /home/coo there, and /root here" in said[2]


def test_whatever_is_worse_there_is_told_with_what_it_is_here() -> None:
    here = [Check("state", "store", Level.OK, "receipts of 14 agents"), Check("coo", "workspace", Level.NOTE, "none")]
    there = [
        Check("state", "store", Level.FAILED, "it is locked"),
        Check("state", "directory", Level.FAILED, "/state cannot be written"),
        Check("coo", "workspace", Level.NOTE, "another note"),
    ]
    assert told(here, there) == [
        ("store", Level.FAILED, "under cron: it is locked (here: receipts of 14 agents)"),
        ("directory", Level.FAILED, "under cron: /state cannot be written"),
    ]
    assert told(there, here) == []


def test_another_heartbeat_under_cron_is_a_warning() -> None:
    old = replace(PROGRAM, message="0.0.9 on Python 3.11.7")
    ((_, level, message),) = told([PROGRAM], [old])
    assert (level, message) == (
        Level.WARNING,
        "under cron it is 0.0.9 on Python 3.11.7, here 0.1.0 on Python 3.11.7",
    )


@pytest.mark.parametrize("file", [None, Path("/etc/heart beat/environment")])
@pytest.mark.parametrize("style", [Style.DUE, Style.EACH])
@pytest.mark.parametrize("place", ["/home/coo", "/home/c'o o/100%", "/home/tick --roster"])
def test_a_line_that_heartbeat_wrote_is_read_back_as_cron_starts_it(
    file: Path | None, style: Style, place: str
) -> None:
    launch = Launch(
        ("/opt/a b/python", "-m", "heartbeat"), Path(place) / "agents.yaml", Path(place) / "state", "/opt/x:/bin", file
    )
    team = replace(roster(), path=launch.roster)
    (piece,) = CrontabTarget(team, launch, {}).wanted(Order(team, launch, style), ())
    expected = ("/usr/bin/env", "PATH=/opt/x:/bin", f"HEARTBEAT_HOME={launch.state}", *launch.command())
    commands = list(_started(piece.text))
    assert len(commands) == 2, "the beats and the watchdog"
    assert set(commands) == {expected}
    start = Start(commands[0], True)
    assert dict(start.variables) == {"PATH": "/opt/x:/bin", "HEARTBEAT_HOME": str(launch.state)}
    assert start.environment_file == file


@pytest.mark.parametrize("line", ["# comment", "", "* * * * * backup", "* * * * * echo 'unclosed", "MAILTO=coo", "a b"])
def test_a_line_that_is_no_job_of_ours_starts_nothing(line: str) -> None:
    assert list(_started(line)) == []
