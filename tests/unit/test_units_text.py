"""Unit files: what they say, what they never let systemd read into a path, and that systemd itself finds them right."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.observation import patience
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.note import read_note
from heartbeat.schedule.units import (
    SYSTEM_HARDENING,
    Place,
    Unit,
    command_line,
    daemon_units,
    due_units,
    each_units,
    quoted,
    watchdog_units,
)
from heartbeat.store.locks import lease
from tests.support.rosters import make_agent
from tests.support.schedules import STATE, make_launch, team

TEAM = team()
LAUNCH = make_launch(environment_file=Path("/etc/heartbeat/environment"))
HOSTILE = "a b%i$HOME${X}'q\"r\\s;#é工[*?]"


def read(unit: Unit) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.text)
    return parser


def every_style(launch: Launch, place: Place) -> dict[str, tuple[Unit, ...]]:
    agents = tuple(TEAM.agents.values())
    watching = watchdog_units(launch, TEAM, place)
    return {
        "due": (*due_units(launch, TEAM, (), place), *watching),
        "each": (*each_units(launch, TEAM, agents, place, everybody=True), *watching),
        "daemon": (*daemon_units(launch, TEAM, ("coo",), place), *watching),
    }


def test_whoever_is_due_beats_each_minute() -> None:
    service, timer = due_units(LAUNCH, TEAM, (), Place())
    assert (service.name, timer.name) == ("heartbeat.service", "heartbeat.timer")
    assert read(service)["Service"]["ExecStart"] == (
        "/usr/local/bin/heartbeat --roster /etc/heartbeat/agents.yaml --env-file /etc/heartbeat/environment "
        "tick --due --scheduled"
    )
    assert read(service)["Service"]["Type"] == "oneshot"
    assert read(service)["Service"]["EnvironmentFile"] == "-/etc/heartbeat/environment"
    told = dict(read(timer)["Timer"])
    assert told == {"OnCalendar": "*-*-* *:*:00", "AccuracySec": "1s", "Persistent": "true"}
    assert read(timer)["Install"]["WantedBy"] == "timers.target"


def test_named_agents_stand_in_the_command_and_in_the_note() -> None:
    service, _ = due_units(LAUNCH, TEAM, ("writer", "coo"), Place())
    assert read(service)["Service"]["ExecStart"].endswith("tick --due --scheduled writer coo")
    note = read_note(service.text.splitlines()[0])
    assert note is not None
    assert (note.roster, note.style, note.agents) == ("/etc/heartbeat/agents.yaml", "due", ("writer", "coo"))


def test_each_agent_has_a_timer_at_its_own_slots_and_all_share_a_service() -> None:
    agents = (
        make_agent("coo", every=timedelta(minutes=15), anchor=timedelta(minutes=7)),
        make_agent("odd", every=timedelta(minutes=25)),
        make_agent("clock", cron="0 9 * * 1-5"),
    )
    service, *timers = each_units(LAUNCH, team(*agents), agents, Place(), everybody=False)
    assert service.name == "heartbeat@.service"
    assert read(service)["Service"]["ExecStart"].endswith(" tick --due --scheduled %i")
    told = {timer.name: (timer.agent, read(timer)["Timer"]["OnCalendar"]) for timer in timers}
    assert told == {
        "heartbeat@coo.timer": ("coo", "*-*-* *:07/15:00 UTC"),
        "heartbeat@odd.timer": ("odd", "*-*-* *:*:00"),
        "heartbeat@clock.timer": ("clock", "*-*-* *:*:00"),
    }


def test_the_daemon_is_watched_and_started_again() -> None:
    (service,) = daemon_units(LAUNCH, TEAM, ("coo", "writer"), Place())
    told = read(service)["Service"]
    assert told["ExecStart"].endswith(" run --agents coo,writer")
    assert (told["Type"], told["Restart"], told["WatchdogSec"]) == ("notify", "always", "600")
    assert told["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert read(service)["Install"]["WantedBy"] == "default.target"
    (of_system,) = daemon_units(LAUNCH, TEAM, (), Place(system=True))
    assert read(of_system)["Install"]["WantedBy"] == "multi-user.target"


def test_X2_what_watches_a_turn_outlives_the_beat_that_started_it() -> None:
    agents = {
        name: replace(each, policy=replace(each.policy, dispatch="openclaw")) for name, each in TEAM.agents.items()
    }
    starting = replace(TEAM, agents=agents)
    for roster, of_beat, of_daemon in ((TEAM, None, "mixed"), (starting, "process", "process")):
        service, _ = due_units(LAUNCH, roster, (), Place())
        assert read(service)["Service"].get("KillMode") == of_beat
        [daemon] = daemon_units(LAUNCH, roster, (), Place())
        assert read(daemon)["Service"]["KillMode"] == of_daemon
        look, _ = watchdog_units(LAUNCH, roster, Place())
        assert read(look)["Service"].get("KillMode") is None


def test_a_beat_has_longer_than_its_own_deadline() -> None:
    slow = team(make_agent("slow", every=timedelta(minutes=20)), make_agent("quick", every=timedelta(minutes=1)))
    service, _ = due_units(LAUNCH, slow, (), Place())
    assert read(service)["Service"]["TimeoutStartSec"] == str(600 + 120)
    service, _ = due_units(LAUNCH, slow, ("quick",), Place())
    assert read(service)["Service"]["TimeoutStartSec"] == str(30 + 120)


def test_B1_a_stopped_beat_silences_nobody_for_longer_than_a_beat_may_take() -> None:
    daily = make_agent("daily", every=timedelta(hours=24))
    mixed = team(daily, make_agent("quick", every=timedelta(minutes=1)))
    for service, *_ in (
        due_units(LAUNCH, mixed, (), Place()),
        each_units(LAUNCH, mixed, tuple(mixed.agents.values()), Place(), everybody=True),
    ):
        assert read(service)["Service"]["TimeoutStartSec"] == str(15 * 60 + 120)
    deadline = patience([daily.policy])
    assert 15 * 60 - 5 < deadline.left() <= 15 * 60
    kept = lease(deadline).left()
    assert kept < 15 * 60 + 120, "whoever needs its lock ends it before systemd does"


@pytest.mark.parametrize("style", ["due", "each", "daemon"])
def test_only_the_machines_systemd_is_asked_for_what_needs_privileges(style: str) -> None:
    place = Place(system=True, user="agents", writable=(STATE, Path("/home/agents/a b")))
    for unit in every_style(LAUNCH, place)[style]:
        if unit.name.endswith(".service"):
            lines = unit.text.splitlines()
            assert set(SYSTEM_HARDENING) <= set(lines)
            assert "User=agents" in lines
            assert 'ReadWritePaths=-/var/lib/heartbeat "-/home/agents/a b"' in lines
    for unit in every_style(LAUNCH, Place(user="agents", writable=(STATE,)))[style]:
        assert not any(
            line.startswith(("Protect", "User=", "ReadWrite", "PrivateTmp")) for line in unit.text.splitlines()
        )


def test_the_state_directory_is_set_where_the_roster_does_not_say_it() -> None:
    service, _ = due_units(LAUNCH, TEAM, (), Place())
    assert "HEARTBEAT_HOME" not in service.text
    service, _ = due_units(LAUNCH, replace(TEAM, state=None), (), Place())
    assert "\nEnvironment=HEARTBEAT_HOME=/var/lib/heartbeat\n" in service.text


def test_no_secret_and_nothing_of_the_environment_file_is_written_down(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text("TOKEN=s3cr3t\n")
    for units in every_style(replace(LAUNCH, environment_file=file), Place()).values():
        assert not any("s3cr3t" in unit.text for unit in units)


def unquoted(line: str) -> list[str]:
    """The words of a line as systemd reads them: quotes, backslashes, then specifiers and variables."""
    words: list[str] = []
    word, quote, index, inside = "", "", 0, False
    while index < len(line):
        character = line[index]
        if character == "\\":
            index += 1
            word += line[index]
            inside = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, inside = character, True
        elif not quote and character == " ":
            words += [word] if inside else []
            word, inside = "", False
        else:
            word += character
            inside = True
        index += 1
    return [*words, word] if inside else words


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=5))
def test_words_come_out_of_a_unit_as_they_went_in(words: list[str]) -> None:
    line = command_line(("/usr/local/bin/heartbeat", *words))
    read_back = [word.replace("%%", "%").replace("$$", "$") for word in unquoted(line)]
    assert read_back == ["/usr/local/bin/heartbeat", *words]
    assert "$" not in line.replace("$$", "")
    assert "%" not in line.replace("%%", "")


def test_a_program_that_systemd_would_not_start_by_its_path_is_started_by_env() -> None:
    assert command_line(("/opt/it's/heartbeat", "tick")) == '/usr/bin/env "/opt/it\'s/heartbeat" tick'
    assert command_line(("/opt/$HOME/heartbeat",)) == '/usr/bin/env "/opt/$$HOME/heartbeat"'
    assert command_line(("/opt/a b/heartbeat",)) == '/usr/bin/env "/opt/a b/heartbeat"'


def test_assignments_are_quoted_as_a_whole() -> None:
    assert quoted("PATH=/usr/bin:/bin") == "PATH=/usr/bin:/bin"
    assert quoted('PATH=/a b:/c"d%e\\f') == '"PATH=/a b:/c\\"d%%e\\\\f"'


def test_a_path_where_systemd_looks_for_a_pattern_names_only_itself() -> None:
    launch = replace(LAUNCH, environment_file=Path("/etc/a b/[x]*?%i\\e"))
    service, _ = due_units(launch, TEAM, (), Place())
    assert "\nEnvironmentFile=-/etc/a b/\\[x]\\*\\?%%i\\\\e\n" in service.text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
@pytest.mark.parametrize("style", ["due", "each", "daemon"])
@pytest.mark.parametrize("name", ["plain", HOSTILE], ids=["plain", "hostile"])
def test_systemd_finds_nothing_wrong_with_them(name: str, style: str, system: bool, tmp_path: Path) -> None:
    base = tmp_path / name
    base.mkdir()
    program = base / "heartbeat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    launch = Launch(
        (str(program),), base / "agents.yaml", base / "state", f"{base}:/usr/bin:/bin", base / "environment"
    )
    units = every_style(launch, Place(system=system, writable=(base, Path("/tmp"))))[style]
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in units:
        (folder / unit.name).write_text(unit.text)
    names = [str(folder / unit.name.replace("@.service", "@coo.service")) for unit in units]
    command = ["systemd-analyze", "--system" if system else "--user", "verify", *names]
    environment = {"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "heartbeat" in line] == []
