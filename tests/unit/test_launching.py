"""What is found out for schedulers: the program, PATH, and what a bare environment lacks (rule S1a)."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.launching import bare_environment, prepare, rehearse, unset_variables
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent
from tests.support.schedules import make_launch, team

TEAM = team()


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def path_of(*directories: Path | str, roster: Roster = TEAM) -> tuple[list[str], tuple[str, ...]]:
    """PATH and warnings as found with a PATH of these directories."""
    prepared = prepare(roster, Path("/state"), {"PATH": ":".join(map(str, directories))}, None)
    return prepared.launch.path.split(":"), prepared.warnings


def test_the_program_is_the_command_beside_the_interpreter(tmp_path: Path) -> None:
    python = executable(tmp_path / "venv" / "bin" / "python")
    prepared = prepare(TEAM, Path("/state"), {}, None, interpreter=str(python))
    assert prepared.launch.program == (str(python), "-m", "heartbeat")
    command = executable(python.with_name("heartbeat"))
    prepared = prepare(TEAM, Path("/state"), {}, None, interpreter=str(python))
    assert prepared.launch.program == (str(command),)


@pytest.mark.parametrize("interpreter", ["", "python", "./python", "/nowhere/python"])
def test_a_program_that_is_relative_or_gone_is_refused(interpreter: str) -> None:
    with pytest.raises(UsageError, match="is not to be found at"):
        prepare(TEAM, Path("/state"), {}, None, interpreter=interpreter)


def test_the_path_holds_where_the_tools_are_and_the_usual_places_in_our_own_order(tmp_path: Path) -> None:
    executable(tmp_path / "node" / "node")
    executable(tmp_path / "tools" / "openclaw")
    executable(tmp_path / "unused" / "something")
    path, warnings = path_of(tmp_path / "tools", "/bin", tmp_path / "unused", tmp_path / "node", tmp_path / "tools")
    assert path[:2] == [str(tmp_path / "tools"), "/bin"]
    assert path[-2:] == ["/usr/local/bin", "/usr/bin"]
    assert str(tmp_path / "unused") not in path
    assert len(path) == len(set(path))
    assert warnings == ()


def test_a_tool_that_the_roster_calls_otherwise_is_found_too(tmp_path: Path) -> None:
    executable(tmp_path / "other" / "openclaw-next")
    roster = team(sources={"workboard": {"binary": "openclaw-next"}, "multica": {"binary": "/opt/multica"}})
    path, _ = path_of(tmp_path / "other", roster=roster)
    assert path[0] == str(tmp_path / "other")


def test_a_relative_entry_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "bin" / "multica")
    monkeypatch.chdir(tmp_path)
    path, warnings = path_of("bin", "/usr/bin")
    assert path == ["/usr/bin", "/usr/local/bin", "/bin"]
    assert warnings == (
        "multica is found by a relative entry of PATH (bin), which means another directory to a scheduler: left out",
    )


def test_a_directory_that_everybody_can_write_to_is_a_warning(tmp_path: Path) -> None:
    executable(tmp_path / "open" / "openclaw")
    (tmp_path / "open").chmod(0o777)
    path, warnings = path_of(tmp_path / "open")
    assert path[0] == str(tmp_path / "open")
    assert warnings == (
        f"openclaw is found in {tmp_path}/open, which everybody can write to, and so decide what the beats run",
    )


def test_a_directory_in_an_agents_workspace_is_a_warning(tmp_path: Path) -> None:
    executable(tmp_path / "workspace" / "bin" / "multica")
    roster = team(make_agent("coo", workspace=tmp_path / "workspace"))
    _, warnings = path_of(tmp_path / "workspace" / "bin", roster=roster)
    assert warnings == (
        f"multica is found in {tmp_path}/workspace/bin, in the workspace of coo, who so decides what the beats run",
    )


@pytest.mark.parametrize("name", ["a\nb", "a\x1b", "a\udcff", "a\x85"])
def test_paths_that_no_schedule_can_hold_are_refused(name: str) -> None:
    for state, file in ((Path("/") / name, None), (Path("/state"), Path("/") / name)):
        with pytest.raises(UsageError, match="characters that a schedule cannot hold"):
            prepare(TEAM, state, {}, file)


def test_a_program_that_env_would_take_for_an_assignment_is_refused(tmp_path: Path) -> None:
    python = executable(tmp_path / "a=b" / "python")
    with pytest.raises(UsageError, match="has a = in its path"):
        prepare(TEAM, Path("/state"), {}, None, interpreter=str(python))


def test_the_bare_environment_is_crons_and_what_the_schedule_says() -> None:
    user = pwd.getpwuid(os.getuid())
    file = {"TOKEN": "x", "HOME": "/nowhere", "PATH": "/nowhere"}
    assert bare_environment(make_launch(), TEAM, file) == {
        "TOKEN": "x",
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "USER": user.pw_name,
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    assert bare_environment(make_launch(), team(state=None), {})["HEARTBEAT_HOME"] == "/var/lib/heartbeat"


ROSTER = """
state: /tmp/state
sources: {{todo: {{}}, multica: {{transport: api, server_url: "{server}", token_env: MY_TOKEN}}}}
agents: {{coo: {{class: high_frequency, notify: [self], workspace: {workspace}}}}}
"""


def rehearsal(
    folder: Path,
    environment: dict[str, str],
    file: str | None = None,
    *,
    server: str = "http://localhost:1",
    workspace: str = "/w",
) -> tuple[str, ...]:
    """What is said of a roster that was read with this environment, and is to be read by a scheduler."""
    path = folder / "agents.yaml"
    path.write_text(ROSTER.format(server=server, workspace=workspace))
    named = None
    if file is not None:
        named = folder / "environment"
        named.write_text(file)
        named.chmod(0o600)
    roster = load_roster(path, environment)
    launch = Launch((sys.executable, "-m", "heartbeat"), path, Path("/tmp/state"), "/usr/bin:/bin", named)
    return rehearse(launch, roster, environment)


HOME = pwd.getpwuid(os.getuid()).pw_dir


def test_nothing_is_said_where_nothing_is_different(tmp_path: Path) -> None:
    assert rehearsal(tmp_path, {"HOME": HOME}) == ()
    assert rehearsal(tmp_path, {"HOME": HOME, "MY_TOKEN": "s3cr3t"}, "MY_TOKEN=s3cr3t\n") == ()


def test_names_that_are_set_here_only_are_told_without_their_values(tmp_path: Path) -> None:
    environment = {
        "HOME": HOME,
        "MY_TOKEN": "s3cr3t",
        "OPENCLAW_GATEWAY_TOKEN": "s3cr3t",
        "OTHER": "x",
        "NO_PROXY": " ",
    }
    (told,) = rehearsal(tmp_path, environment)
    assert told == (
        "set here, and not for a scheduled beat: OPENCLAW_GATEWAY_TOKEN, MY_TOKEN; put what it needs into an "
        "environment file (--env-file)"
    )
    (told,) = rehearsal(tmp_path, environment, "OPENCLAW_GATEWAY_TOKEN=other\n")
    assert told.endswith(f"MY_TOKEN; put what it needs into {tmp_path / 'environment'}")
    assert "OPENCLAW" not in told


def test_a_variable_for_pings_or_messages_that_is_set_nowhere_is_told(tmp_path: Path) -> None:
    roster = team(
        extra={"watchdog": {"ping_url_env": "HC_WATCHDOG", "beats_ping_url_env": "HC_BEATS"}},
        channels={"ops": {"kind": "feishu", "url_env": "FEISHU"}},
    )
    assert unset_variables(roster, {"HC_BEATS": "https://hc/1", "FEISHU": " "}) == ("FEISHU", "HC_WATCHDOG")
    (tmp_path / "agents.yaml").write_text(
        "watchdog: {ping_url_env: HC_WATCHDOG}\nagents: {coo: {class: high_frequency, notify: [self]}}\n"
    )
    read = load_roster(tmp_path / "agents.yaml", {})
    launch = Launch((sys.executable, "-m", "heartbeat"), read.path, Path("/s"), "/usr/bin:/bin")
    (told,) = rehearse(launch, read, {"HOME": HOME})
    assert told == (
        "set nowhere, so that nothing is pinged or told by it: HC_WATCHDOG; put it into an environment file "
        "(--env-file)"
    )
    (told,) = rehearse(launch, read, {"HOME": HOME, "HC_WATCHDOG": "https://hc/1"})
    assert told.startswith("set here, and not for a scheduled beat: HC_WATCHDOG; ")


def test_a_roster_that_a_scheduler_could_not_read_is_refused(tmp_path: Path) -> None:
    environment = {"HOME": HOME, "SERVER": "http://localhost:2"}
    with pytest.raises(UsageError, match=r"(?s)the roster has mistakes.*SERVER is not set") as caught:
        rehearsal(tmp_path, environment, server="${SERVER}")
    assert "--env-file" in caught.value.advice
    assert rehearsal(tmp_path, environment, "SERVER=http://localhost:2\n", server="${SERVER}") == ()


def test_a_roster_that_means_something_else_to_a_scheduler_is_told(tmp_path: Path) -> None:
    (told,) = rehearsal(tmp_path, {"HOME": "/home/elsewhere"}, workspace="~/w")
    assert told.startswith(
        f"with the environment of a scheduler (HOME={HOME}) the roster means something else: agents;"
    )


def test_a_program_that_does_not_start_from_elsewhere_is_refused(tmp_path: Path) -> None:
    broken = executable(tmp_path / "heartbeat", "#!/bin/sh\necho no module named heartbeat >&2\nexit 1\n")
    roster = load_roster_of(tmp_path)
    with pytest.raises(UsageError, match=r"could not start `.*--version`: no module named heartbeat"):
        rehearse(Launch((str(broken),), roster.path, Path("/s"), "/bin"), roster, {})
    with pytest.raises(UsageError, match="could not start heartbeat"):
        rehearse(Launch(("/nowhere/heartbeat",), roster.path, Path("/s"), "/bin"), roster, {})


def load_roster_of(folder: Path) -> Roster:
    (folder / "agents.yaml").write_text("agents: {coo: {class: high_frequency, notify: [self]}}\n")
    return load_roster(folder / "agents.yaml", {})


@pytest.mark.parametrize(
    ("state", "apart"),
    [
        ("/srv/state", "heartbeat/watchdog"),
        ("STATE/heartbeat/state", "heartbeat/watchdog"),
        ("STATE/heartbeat", "heartbeat-watchdog"),
        ("STATE/heartbeat/watchdog", "heartbeat-watchdog"),
        ("STATE", "heartbeat-watchdog"),
    ],
)
def test_the_watchdogs_log_is_not_below_the_state_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, apart: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    launch = prepare(TEAM, Path(state.replace("STATE", str(tmp_path))), {"PATH": "/bin"}, None).launch
    assert launch.apart is not None
    assert launch.apart.parent == tmp_path / apart
