"""`heartbeat roster sync` as a user and a CI see it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.roster.load import load_roster
from tests.cli.test_init import TOLD, Office, uuid
from tests.support.command import heartbeat, tree
from tests.support.fake_board import FakeBoard
from tests.support.fake_cards import SteppingClock
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_multica_server import FakeMultica
from tests.support.fake_schedulers import fake_schedulers


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office whose roster was written by `init`."""
    board = FakeBoard(SteppingClock(1_795_226_000_000))
    told = {name: dict(each) for name, each in TOLD.items()}
    with FakeGateway(board, agents=("main", *told), told=told) as gateway, FakeMultica() as multica:
        office = Office(tmp_path, gateway, multica)
        assert office.run("init", "--yes").code == 0
        yield office


def hire(office: Office, name: str, display: str = "", multica: int = 0) -> None:
    office.gateway.agents = (*office.gateway.agents, name)
    office.gateway.told[name] = {"name": display or name, "workspace": f"/srv/agents/{name}"}
    if multica:
        office.multica.state.add_agent(uuid(multica), display or name)


def roster_text(office: Office) -> str:
    return (office.home / "agents.yaml").read_text("utf-8")


def test_a_roster_in_step_exits_0_and_changes_nothing(office: Office) -> None:
    before = tree(office.home)
    for words in (("roster", "sync"), ("roster", "sync", "--write"), ("roster", "sync", "--json")):
        done = office.run(*words)
        assert done.code == 0, done.err
    assert tree(office.home) == before
    assert office.gateway.writes() == []


def test_drift_exits_1_and_is_told_with_its_lines(office: Office) -> None:
    hire(office, "qa-tester", "质检", multica=9)
    office.gateway.told["coo"]["workspace"] = "/srv/moved/coo"
    office.gateway.agents = tuple(agent for agent in office.gateway.agents if agent != "xiaoming")
    office.multica.state.agents.pop(uuid(3))
    office.multica.state.add_agent(uuid(8), "Reviewer 2")
    done = office.run("roster", "sync")
    assert done.code == 1
    path, lines = office.home / "agents.yaml", roster_text(office).splitlines()
    at = {name: lines.index(f"  {name}:") + 1 for name in ("coo", "xiaoming")}
    shown = [line.strip() for line in done.out.splitlines()]
    assert f"qa-tester  质检  developer  /srv/agents/qa-tester  {uuid(9)}" in shown
    assert f"xiaoming  {path}:{at['xiaoming']}" in shown
    assert any(line.startswith("coo.workspace: /srv/agents/coo in the roster; /srv/moved/coo") for line in shown)
    assert any(line.startswith(f"xiaoming.multica_id: {uuid(3)} in the roster; none") for line in shown)
    assert any(line.startswith(f"Reviewer 2  {uuid(8)}") for line in shown)
    document = office.run("roster", "sync", "--json").json
    assert [agent["id"] for agent in document["missing"]] == ["qa-tester"]
    assert document["gone"] == ["xiaoming"]
    assert document["in_step"] is False


def test_write_adds_who_is_missing_and_keeps_every_other_byte(office: Office) -> None:
    before = roster_text(office)
    hire(office, "qa-tester", "质检", multica=9)
    office.multica.state.add_agent(uuid(8), "Reviewer 2")
    done = office.run("roster", "sync", "--write")
    assert done.code == 0, done.err
    after = roster_text(office)
    assert after.startswith(before)
    assert (office.home / "agents.yaml.bak").read_text("utf-8") == before
    agent = load_roster(office.home / "agents.yaml", {}).agents["qa-tester"]
    assert (agent.name, agent.class_id, agent.multica_id, str(agent.workspace)) == (
        "质检",
        "developer",
        uuid(9),
        "/srv/agents/qa-tester",
    )
    assert "nothing is on schedule here: `heartbeat cron install`" in done.out
    again = office.run("roster", "sync")
    assert again.code == 0
    assert "Reviewer 2" in again.out
    assert roster_text(office) == after


def test_what_cannot_be_added_still_differs_after_a_write(office: Office) -> None:
    hire(office, "qa-tester")
    office.gateway.told["coo"]["workspace"] = "/srv/moved/coo"
    assert office.run("roster", "sync", "--write").code == 1
    assert "qa-tester:" in roster_text(office)


def test_a_roster_of_another_form_is_not_touched_and_the_lines_are_there_to_paste(office: Office) -> None:
    path = office.home / "agents.yaml"
    flow = "version: 1\nagents: {coo: {class: high_frequency, notify: [self], workspace: /srv/agents/coo}}\n"
    path.write_text(flow)
    done = office.run("roster", "sync", "--write")
    assert done.code == 1
    assert path.read_text() == flow
    assert not (office.home / "agents.yaml.bak").exists()
    told, _, pasted = done.out.partition("paste these lines below `agents:` yourself, in the form that the file has:\n")
    assert f"{path}: nothing was added: `agents` is no block of lines of its own" in told
    assert "--write` adds them" not in told
    block = f"version: 1\nagents:\n  coo: {{class: high_frequency, notify: [self]}}\n{pasted}"
    path.write_text(block)
    assert set(load_roster(path, {}).agents) == {"coo", "architect", "xiaoming"}
    path.write_text(flow)
    document = office.run("roster", "sync", "--write", "--json").json
    assert document["paste"] == pasted.splitlines()
    assert (document["backup"], document["in_step"], document["schedule"]) == (None, False, [])


def test_S1a_a_multica_that_is_not_in_use_is_told_and_keeps_nobody_from_being_in_step(office: Office) -> None:
    without = {name: value for name, value in office.environment.items() if not name.startswith("MULTICA")}
    done = heartbeat("roster", "sync", cwd=office.home, **without)
    assert done.code == 0, done.err
    assert "Multica: not in use here, as nothing of it was found; 3 UUIDs not compared" in done.out.splitlines()
    assert "in step" in done.out
    text = roster_text(office)
    (office.home / "agents.yaml").write_text(text.replace("multica: {transport: auto}", "multica: {transport: api}"))
    explicit = heartbeat("roster", "sync", cwd=office.home, **without)
    assert explicit.code == 3
    assert "Multica could not be asked" in explicit.err


def test_S1a_a_multica_that_was_read_before_and_is_not_to_be_found_now_is_unknown(office: Office) -> None:
    assert office.run("tick", "--all").code == 0
    without = {name: value for name, value in office.environment.items() if not name.startswith("MULTICA")}
    done = heartbeat("roster", "sync", cwd=office.home, **without)
    assert done.code == 3
    assert "Multica could not be asked" in done.err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_the_advice_where_the_roster_cannot_be_written_names_no_option_that_there_is_not(
    number: int, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    hire(office, "qa-tester")
    monkeypatch.setattr("heartbeat.setup.sync.keep_backup", refuse)
    done = office.run("roster", "sync", "--write")
    assert done.code == 73
    assert "cannot be written" in done.err
    assert "--out" not in done.err
    assert "workspace" not in done.err


def test_a_roster_that_changes_meanwhile_is_not_touched(office: Office) -> None:
    hire(office, "qa-tester")
    path = office.home / "agents.yaml"
    edited = roster_text(office) + "# an editor was quicker\n"
    office.gateway.after_read = lambda: path.write_text(edited, "utf-8") and None
    done = office.run("roster", "sync", "--write")
    assert done.code == 2
    assert "changed while" in done.err
    assert path.read_text("utf-8") == edited


def test_a_link_is_followed_and_stays_a_link(office: Office) -> None:
    hire(office, "qa-tester")
    real = office.home / "real.yaml"
    (office.home / "agents.yaml").rename(real)
    (office.home / "agents.yaml").symlink_to("real.yaml")
    assert office.run("roster", "sync", "--write").code == 0
    assert (office.home / "agents.yaml").is_symlink()
    assert "qa-tester:" in real.read_text("utf-8")


def test_S2_what_cannot_be_asked_exits_3_and_adds_nobody(office: Office) -> None:
    office.gateway.trouble = Trouble.WEB_PAGE
    before = roster_text(office)
    for words in (("roster", "sync"), ("roster", "sync", "--write")):
        done = office.run(*words)
        assert done.code == 3
        assert "OpenClaw could not be asked" in done.err
        assert "gone" not in done.out
    assert roster_text(office) == before
    document = office.run("roster", "sync", "--json").json
    assert document["unknown"] == ["OpenClaw"]


def test_a_sample_of_saved_files_has_nobody_to_ask(office: Office) -> None:
    assert office.run("demo", "--into", "sample").code == 0
    done = office.run("--roster", "sample/agents.yaml", "roster", "sync")
    assert done.code == 3
    assert "reads it from a saved file" in done.out


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ((), "crontab beats for the new agents too: its schedule is for everybody"),
        (
            ("coo",),
            "crontab does not beat for the new agents yet: `heartbeat cron install qa-tester --target crontab`",
        ),
    ],
)
def test_after_a_write_the_schedule_is_looked_at(agents: tuple[str, ...], told: str, office: Office) -> None:
    schedulers = fake_schedulers(office.home / "commands")
    environment = {**office.environment, "PATH": schedulers.path}
    installed = heartbeat("cron", "install", *agents, "--target", "crontab", cwd=office.home, **environment)
    assert installed.code == 0, installed.err
    hire(office, "qa-tester")
    done = heartbeat("roster", "sync", "--write", cwd=office.home, **environment)
    assert done.code == 0, done.err
    assert told in done.out.splitlines()
