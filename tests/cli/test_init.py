"""`heartbeat init` as a user sees it: with OpenClaw and Multica, with hand-written files, with nothing."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.roster.load import load_roster
from tests.support import fake_multica_cli
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard
from tests.support.fake_cards import SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_multica_records import TOKEN, WORKSPACE_ID
from tests.support.fake_multica_server import FakeMultica
from tests.support.hand_written import CREW, lay_out


def uuid(number: int) -> str:
    return f"0198f0a0-4444-7000-8000-{number:012d}"


class Office:
    """A Gateway with four agents and a Multica with their namesakes, and the environment that leads to them."""

    def __init__(self, home: Path, gateway: FakeGateway, multica: FakeMultica) -> None:
        self.home = home
        self.gateway = gateway
        self.multica = multica
        multica.state.agents.clear()
        for number, name in enumerate(("陆怀瑾", "architect", "小明", "Codex"), 1):
            multica.state.add_agent(uuid(number), name)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/nowhere",
            "MULTICA_SERVER_URL": self.multica.url,
            "MULTICA_TOKEN": TOKEN,
            "MULTICA_WORKSPACE_ID": WORKSPACE_ID,
            "XDG_STATE_HOME": str(self.home / "state"),
            "TZ": "Asia/Shanghai",
            **self.gateway.environment(),
        }

    def run(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.home, **self.environment)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.gateway.token, TOKEN


TOLD = {
    "coo": {"name": "陆怀瑾", "workspace": "/srv/agents/coo"},
    "architect": {"identity": {"name": "梁思筑"}, "workspace": "/srv/agents/architect"},
    "xiaoming": {"name": "小明", "workspace": "/srv/agents/xiaoming"},
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    board = FakeBoard(SteppingClock(1_795_226_000_000))
    agents = ("main", *TOLD)
    with FakeGateway(board, agents=agents, told=TOLD) as gateway, FakeMultica() as multica:
        yield Office(tmp_path, gateway, multica)


def agents_of(path: Path) -> dict[str, tuple[str, str, str | None, str]]:
    roster = load_roster(path, {"HOME": "/home/nobody"})
    return {
        agent.id: (agent.name, agent.class_id, agent.multica_id, str(agent.workspace))
        for agent in roster.agents.values()
    }


EXPECTED = {
    "coo": ("陆怀瑾", "high_frequency", uuid(1), "/srv/agents/coo"),
    "architect": ("梁思筑", "developer", uuid(2), "/srv/agents/architect"),
    "xiaoming": ("小明", "business", uuid(3), "/srv/agents/xiaoming"),
}


def test_a_roster_is_written_that_check_accepts_and_that_says_who_is_who(office: Office) -> None:
    done = office.run("init", "--yes")
    assert done.code == 0, done.err
    path = office.home / "agents.yaml"
    assert agents_of(path) == EXPECTED
    text = path.read_text("utf-8")
    assert "# main: {class: business" in text
    assert f"# codex: {{class: business, name: Codex, multica_id: {uuid(4)}}}  # only Multica has it" in text
    assert "timezone: Asia/Shanghai" in text
    assert not [secret for secret in office.secrets if secret in text + done.out + done.err]
    assert office.run("roster", "check").code == 0
    assert office.run("roster", "sync").code == 0
    assert done.out.splitlines()[1:] == [
        "Read it, mend what is wrong, and go on with:",
        "  heartbeat roster check",
        "  heartbeat doctor",
        "  heartbeat notify test ops",
        "  heartbeat render --all --diff",
        "  heartbeat render --all",
        "  heartbeat tick --all",
        "  heartbeat cron install",
        "  heartbeat doctor --cron",
        "  heartbeat verify --all",
    ]
    assert office.gateway.writes() == []
    assert all(request.startswith("GET ") for request in office.multica.requests)


def test_an_existing_roster_is_never_overwritten_and_nobody_is_asked(office: Office) -> None:
    (office.home / "agents.yaml").write_text("mine")
    for words in (
        ("init", "--yes"),
        ("init", "--yes", "--json"),
        ("init", "--empty"),
        ("init", "--yes", "--into", "."),
    ):
        done = office.run(*words)
        assert done.code == 2
        assert "exists already" in done.err
        assert "roster sync" in done.err
    assert (office.home / "agents.yaml").read_text() == "mine"
    assert office.gateway.calls == []


def test_a_dry_run_prints_the_roster_alone_and_writes_nothing(office: Office) -> None:
    before = tree(office.home)
    done = office.run("init", "--yes", "--dry-run")
    assert tree(office.home) == before
    assert office.run("init", "--yes", "--into", "x/agents.yaml").code == 0
    assert done.out == (office.home / "x" / "agents.yaml").read_text("utf-8")


def test_the_roster_goes_where_it_is_wanted_and_the_next_steps_name_it(office: Office) -> None:
    done = office.run("init", "--yes", "--into", "deep/er/team.yaml")
    assert done.code == 0
    assert f"  heartbeat --roster {office.home}/deep/er/team.yaml roster check" in done.out.splitlines()
    assert agents_of(office.home / "deep/er/team.yaml") == EXPECTED
    assert office.run("--roster", "other.yaml", "init", "--yes").code == 0
    assert (office.home / "other.yaml").exists()


def test_without_a_terminal_there_is_nobody_to_ask(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = office.run("init")
    assert done.code == 2
    assert "--yes" in done.err
    assert not (office.home / "agents.yaml").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_what_is_not_known_is_asked_and_the_end_is_confirmed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.multica.state.agents.pop(uuid(2))
    monkeypatch.setattr(sys, "stdin", Terminal("Vincent\n\ndeveloper\n1\ny\n"))
    done = office.run("init")
    assert done.code == 0, done.err
    made = agents_of(office.home / "agents.yaml")
    assert made["xiaoming"][1] == "developer"
    assert made["architect"][2] == uuid(4)
    assert "Which agent of Multica is architect (梁思筑)?" in done.err
    assert load_roster(office.home / "agents.yaml", {}).operator.name == "Vincent"


def test_at_a_terminal_no_is_an_answer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("\n\n\nn\n"))
    done = office.run("init")
    assert done.code == 0
    assert "nothing was written" in done.err
    assert not (office.home / "agents.yaml").exists()


def test_whoever_stops_answering_is_told_that_nothing_was_written(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("Vincent\n"))
    done = office.run("init")
    assert done.code == 130
    assert "the answers ended before the last question; nothing was written" in done.err
    assert "run `heartbeat init` again; --yes takes the safe answer" in done.err
    assert "Aborted" not in done.err
    assert not (office.home / "agents.yaml").exists()


def test_B5_ctrl_c_at_a_question_ends_as_an_interrupt_does_and_says_how_to_go_on(tmp_path: Path) -> None:
    lay_out(tmp_path / "old", CREW[:2])
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "heartbeat", "init", "--from", "old"]
    environment = {"HOME": str(tmp_path), "PATH": ""}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(terminal)
        assert process.stderr is not None
        said = ""
        while "in charge of the team" not in said:
            read = process.stderr.read(1)
            assert read, said
            said += read
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
        code = process.wait(60)
    os.close(master)
    assert code == 130
    assert "heartbeat: broken off; nothing was written\n  run `heartbeat init` again" in said
    assert "Traceback" not in said
    assert "Aborted" not in said
    assert not (tmp_path / "agents.yaml").exists()


def test_hand_written_files_and_what_there_is_are_put_together(office: Office) -> None:
    lay_out(office.home / "old", CREW[:3])
    done = office.run("init", "--yes", "--from", "old")
    assert done.code == 0, done.err
    made = agents_of(office.home / "agents.yaml")
    assert set(made) == {*EXPECTED, "pilot", "dock-engineer"}
    assert made["coo"] == ("秦望潮", "high_frequency", CREW[0].uuid, "/srv/agents/coo")
    assert made["architect"] == EXPECTED["architect"]
    assert "3 hand-written files were read" in done.err
    text = (office.home / "agents.yaml").read_text("utf-8")
    assert "# OpenClaw has no agent of this id." in text
    assert "# Multica has no agent of this UUID, or hides it." in text


def test_hand_written_files_alone_are_enough(tmp_path: Path) -> None:
    lay_out(tmp_path / "old")
    done = heartbeat("init", "--yes", "--from", "old", cwd=tmp_path, PATH="/nowhere")
    assert done.code == 0, done.err
    assert set(agents_of(tmp_path / "agents.yaml")) == {sheet.id for sheet in CREW}
    assert heartbeat("roster", "check", cwd=tmp_path).code == 0


def test_contradictions_in_the_files_are_told_with_file_and_line(tmp_path: Path) -> None:
    lay_out(tmp_path / "old", CREW[8:9])
    path = tmp_path / "old" / "broker" / "HEARTBEAT.md"
    text = path.read_text("utf-8").replace("if age > 1800", "if age > 600")
    path.write_text(text, "utf-8")
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "age > 600" in each)
    done = heartbeat("init", "--yes", "--from", "old", cwd=tmp_path, PATH="/nowhere")
    assert f"old/broker/HEARTBEAT.md:{line}: suspect_after 10m here, 30m on line " in done.err


def test_where_nobody_is_found_every_way_is_told_and_empty_is_the_way_out(tmp_path: Path) -> None:
    done = heartbeat("init", "--yes", cwd=tmp_path, PATH="/nowhere")
    assert done.code == 2
    assert tree(tmp_path) == {}
    for told in ("OpenClaw: gateway: no Gateway", "OpenClaw: cli: no program openclaw", "OpenClaw: file: no ",
                 "Multica: api: no server", "Multica: cli: no program", "--empty"):  # fmt: skip
        assert told in done.err
    assert heartbeat("init", "--empty", cwd=tmp_path, PATH="/nowhere").code == 0
    assert heartbeat("roster", "check", cwd=tmp_path).code == 0
    assert heartbeat("init", "--empty", "--from", "x", "--dry-run", cwd=tmp_path).code == 2


def test_a_gateway_that_is_down_is_told_with_the_advice(tmp_path: Path) -> None:
    environment = {"OPENCLAW_GATEWAY_PORT": "1", "OPENCLAW_GATEWAY_TOKEN": "hidden-token", "PATH": "/nowhere"}
    done = heartbeat("init", "--yes", cwd=tmp_path, **environment)
    assert done.code == 2
    assert "nothing answers at ws://127.0.0.1:1" in done.err
    assert "start the Gateway" in done.err
    assert "hidden-token" not in done.err


def test_by_command_the_same_roster_comes_out(office: Office) -> None:
    program = fake_multica_cli.install(office.home / "bin")
    environment = {**office.environment, "PATH": str(program.parent)}
    done = heartbeat("init", "--yes", "--json", cwd=office.home, **environment)
    assert done.code == 0, done.err
    document = done.json
    assert document["written"] is True
    assert {agent["id"]: agent["multica_id"] for agent in document["agents"]} == {
        name: expected[2] for name, expected in EXPECTED.items()
    }
    assert [system["transport"] for system in document["systems"]] == ["gateway", "api"]
    assert document["text"] == (office.home / "agents.yaml").read_text("utf-8")


def test_a_directory_that_is_not_there_yet_is_not_taken_for_the_name_of_a_file(tmp_path: Path) -> None:
    for words in (("--into", "team"), ("--into", "team/"), ("--into", "old.team")):
        done = heartbeat("init", "--empty", *words, cwd=tmp_path, PATH="/nowhere")
        assert done.code == 2
        assert "may be meant as a directory or as a file" in done.err
        assert f"`--into {words[1].rstrip('/')}/agents.yaml`" in done.err
    assert tree(tmp_path) == {}
    assert heartbeat("init", "--empty", "--into", "team/agents.yaml", cwd=tmp_path, PATH="/nowhere").code == 0
    assert heartbeat("init", "--empty", "--into", "other/x.YML", cwd=tmp_path, PATH="/nowhere").code == 0
    (tmp_path / "there").mkdir()
    assert heartbeat("init", "--empty", "--into", "there", cwd=tmp_path, PATH="/nowhere").code == 0
    assert (tmp_path / "there" / "agents.yaml").is_file()


def test_the_first_channel_lies_outside_of_the_state_and_says_that_it_tells_nobody(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": "/nowhere", "XDG_STATE_HOME": str(tmp_path / "states")}
    for name in ("one.yaml", "two.yaml"):
        done = heartbeat("init", "--empty", "--into", name, cwd=tmp_path, **environment)
        assert done.code == 0
        assert f"  heartbeat --roster {tmp_path}/{name} notify test ops" in done.out.splitlines()
        text = (tmp_path / name).read_text("utf-8")
        assert "no person hears of anything until a real channel is\n# named" in text
        roster = load_roster(tmp_path / name, environment)
        assert roster.state is not None
        roster.state.mkdir(parents=True, exist_ok=True)
        (roster.state / "state.db").touch()  # the next roster has a directory of its own
        assert not Path(roster.channels["ops"]["path"]).is_relative_to(roster.state)
    first, second = (load_roster(tmp_path / name, environment) for name in ("one.yaml", "two.yaml"))
    assert first.channels["ops"]["path"] != second.channels["ops"]["path"]


def test_directories_that_were_not_looked_into_are_told(tmp_path: Path) -> None:
    lay_out(tmp_path / "old" / "a" / "b" / "c", CREW[:2])
    (tmp_path / "old" / "a" / "b" / "c" / "pilot" / "deeper").mkdir()
    done = heartbeat("init", "--yes", "--from", "old", "--dry-run", cwd=tmp_path, PATH="/nowhere")
    told = "1 directory was not entered, more than 4 deep: old/a/b/c/pilot/deeper"
    assert told in done.err
    document = heartbeat("init", "--yes", "--json", "--from", "old", "--dry-run", cwd=tmp_path, PATH="/nowhere").json
    assert document["notes"] == [f"old: {told}"]
