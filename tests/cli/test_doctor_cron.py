"""`heartbeat doctor --cron`: the same doctor, started as cron starts it, in a process of its own (rule S1a)."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from heartbeat import bare
from heartbeat.cli import session
from heartbeat.schedule.note import id_of
from tests.support.command import Result, heartbeat
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway

ROSTER = """\
sources: {workboard: {transport: auto}, todo: {}}
workspaces: workspaces
state: state
agents:
  coo: {class: high_frequency, notify: [self]}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a roster, and a crontab of its own: `crontab -l` prints the file `table`."""
    (tmp_path / "workspaces" / "coo").mkdir(parents=True)
    (tmp_path / "workspaces" / "coo" / "TODO.md").write_text("- [ ] feed the cat\n")
    (tmp_path / "agents.yaml").write_text(ROSTER)
    program = tmp_path / "bin" / "crontab"
    program.parent.mkdir()
    table = shlex.quote(str(tmp_path / "table"))
    program.write_text(f'#!/bin/sh\n[ -f {table} ] && exec cat {table}\necho "no crontab for coo" >&2\nexit 1\n')
    program.chmod(0o755)
    user = SimpleNamespace(pw_dir=str(tmp_path), pw_name="coo")
    monkeypatch.setattr(bare.pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(session, "_added", {})  # what an environment file added belongs to one process, which is ours
    return tmp_path


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(FakeBoard(SteppingClock(1_795_000_000_000))) as gateway:
        yield gateway


def doctor(house: Path, *words: str, **environment: str) -> Result:
    path = f"{house / 'bin'}{os.pathsep}{os.defpath}"
    return heartbeat("doctor", "--cron", "--timeout", "20", *words, cwd=house, **{"PATH": path, **environment})


def differences(done: Result) -> dict[tuple[str, str], tuple[str, str, str]]:
    assert done.code in (0, 1), done.err
    return {
        (each["area"], each["subject"]): (each["level"], each["message"], each["advice"])
        for each in done.json["cron"]["differences"]
    }


def test_S1a_a_token_that_only_the_shell_has_is_missed_under_cron(house: Path, gateway: FakeGateway) -> None:
    done = doctor(house, "--json", **gateway.environment())
    level, message, advice = differences(done)["workboard", "transport"]
    assert (done.code, level) == (1, "failed")
    assert message == (
        "works here by gateway, not under cron: OPENCLAW_GATEWAY_PORT, OPENCLAW_GATEWAY_TOKEN are not set"
    )
    assert "--env-file" in advice
    assert gateway.token not in done.out + done.err
    assert done.json["cron"]["installed"] is False
    assert next(each["level"] for each in done.json["checks"] if each["area"] == "workboard") == "ok"


def test_S1a_with_an_environment_file_the_same_works_in_both(house: Path, gateway: FakeGateway) -> None:
    file = house / "environment"
    file.write_text("".join(f"{name}={value}\n" for name, value in gateway.environment().items()))
    file.chmod(0o600)
    done = doctor(house, "--env-file", str(file), "--json")
    assert (done.code, set(differences(done))) == (0, {("cron", "crontab")}), done.out
    command = done.json["cron"]["command"]
    assert command[-2:] == ["--env-file", str(file)]
    assert gateway.token not in done.out
    table = doctor(house, "--env-file", str(file))
    assert table.code == 0
    assert "what works here works there" in table.out


def installed(house: Path, path: str, program: str = "") -> str:
    """A table with the block of the roster, as it was written once."""
    start = program or f"{shlex.quote(sys.executable)} -m heartbeat"
    block = id_of(house / "agents.yaml")
    line = f"/usr/bin/env PATH={path} {start} --roster {house}/agents.yaml tick --due --scheduled"
    return (
        f"# >>> heartbeat {block} >>>\n"
        f'# heartbeat schedule of "{house}/agents.yaml"; style: due; agents: everybody\n'
        f"* * * * * {line} >>{house}/state/log/beats.log 2>&1\n"
        f"# <<< heartbeat {block} <<<\n"
    )


def test_what_stands_in_the_crontab_is_what_is_tried(house: Path, gateway: FakeGateway) -> None:
    (house / "table").write_text(installed(house, "/usr/bin:/bin"))
    done = doctor(house, "--json", **gateway.environment())
    assert done.json["cron"]["installed"] is True
    assert done.json["cron"]["command"][1] == "PATH=/usr/bin:/bin"
    assert ("cron", "crontab") not in differences(done)
    assert differences(done)["workboard", "transport"][0] == "failed", done.out


def test_a_program_that_is_not_there_any_more_is_told_with_the_mend(house: Path) -> None:
    (house / "table").write_text(installed(house, "/usr/bin:/bin", f"{house}/old/heartbeat"))
    done = doctor(house, "--json")
    level, message, advice = differences(done)["cron", "program"]
    assert (done.code, level) == (1, "failed")
    assert f"{house}/old/heartbeat" in message
    assert advice.startswith("`heartbeat cron install` writes the schedule anew")


def test_a_roster_that_means_nothing_there_is_told_in_its_own_words(house: Path) -> None:
    (house / "agents.yaml").write_text(ROSTER.replace("workspaces: workspaces", "workspaces: ${OFFICE}"))
    done = doctor(house, "--json", OFFICE=str(house / "workspaces"))
    assert "OFFICE" in differences(done)["cron", "program"][1]
    assert done.code == 1


def test_a_variable_for_pings_that_a_job_has_not_is_told(house: Path) -> None:
    (house / "agents.yaml").write_text(f"watchdog: {{ping_url_env: HC_WATCHDOG}}\n{ROSTER}")
    for here in ({}, {"HC_WATCHDOG": "https://hc.example/s3cr3t"}):
        done = doctor(house, "--json", **here)
        level, message, advice = differences(done)["cron", "variables"]
        assert level == "warning"
        assert message == "HC_WATCHDOG is not set there, so that nothing is pinged or told by it"
        assert "--env-file" in advice
        assert "s3cr3t" not in done.out
    file = house / "environment"
    file.write_text("HC_WATCHDOG=https://hc.example/s3cr3t\n")
    file.chmod(0o600)
    assert ("cron", "variables") not in differences(doctor(house, "--env-file", str(file), "--json"))


def test_a_doctor_that_does_not_come_to_its_end_is_ended(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = house / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    (house / "table").write_text(installed(house, "/usr/bin:/bin", str(sleeper)))
    monkeypatch.setattr(bare, "_START_SECONDS", -59.0)
    done = doctor(house, "--json")
    assert "did not end in time" in differences(done)["cron", "program"][1]


def test_a_crontab_that_cannot_be_read_is_told_and_the_rest_goes_on(house: Path) -> None:
    (house / "table").write_text("# >>> heartbeat 12345678 >>>\n* * * * * true\n")
    level, message, _ = differences(doctor(house, "--json"))["cron", "crontab"]
    assert level == "warning"
    assert "does not end" in message


def test_a_machine_without_cron_is_no_reason_not_to_try(house: Path) -> None:
    found = differences(doctor(house, "--json", PATH="/nowhere"))
    assert found["cron", "crontab"][0] == "note"
    assert "no command `crontab`" in found["cron", "crontab"][1]


def test_nothing_but_what_cron_gives_reaches_the_program(house: Path) -> None:
    spy = house / "spy"
    spy.write_text(f"#!/bin/sh\n{{ pwd; env; tty; }} >{house}/seen 2>&1\nexit 3\n")
    spy.chmod(0o755)
    (house / "table").write_text(installed(house, "/opt/x:/usr/bin:/bin", str(spy)))
    done = doctor(house, "--json", LANG="de_DE.UTF-8", OPENCLAW_GATEWAY_TOKEN="s3cret", LC_ALL="C")
    assert done.code == 1
    seen = (house / "seen").read_text().splitlines()
    assert seen[0] == str(house)
    assert seen[-1] == "not a tty"
    given = dict(line.split("=", 1) for line in seen[1:-1])
    shell = {"_", "OLDPWD", "PWD", "SHLVL"}
    assert {name: value for name, value in given.items() if name not in shell} == {
        "HOME": str(house),
        "LOGNAME": "coo",
        "USER": "coo",
        "SHELL": "/bin/sh",
        "PATH": "/opt/x:/usr/bin:/bin",
    }


def test_a_user_without_an_entry_is_told_so(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(bare.pwd, "getpwuid", nobody)
    done = doctor(house)
    assert done.code == 2
    assert "password file" in done.err


def test_another_state_directory_there_is_told_with_what_decides_it_here(house: Path) -> None:
    (house / "table").write_text(installed(house, "/usr/bin:/bin"))
    level, message, advice = differences(doctor(house, "--json", HEARTBEAT_HOME=str(house / "other")))["cron", "state"]
    assert (level, f"here {house / 'other'}" in message) == ("failed", True)
    assert advice == "HEARTBEAT_HOME decides it here, and not there: name that directory in the roster (`state:`)"
    (house / "agents.yaml").write_text(ROSTER.replace("state: state", "state: ~/kept"))
    (house / "elsewhere").mkdir()
    told = differences(doctor(house, "--json", HOME=str(house / "elsewhere")))["cron", "state"]
    assert told[2] == "the roster's `state:` means another directory there (`~` is another home): write the whole path"
