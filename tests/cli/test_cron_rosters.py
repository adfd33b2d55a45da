"""`heartbeat cron` and the rosters of schedules: moved, broken, gone, copied, and two teams of one user."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from heartbeat.schedule.crontab import find_blocks
from tests.support.command import Result, heartbeat
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.openclaw_automation_cases import new_gateway

ROSTER = """\
timezone: UTC
sources: {{todo: {{}}}}
state: {state}
workspaces: {workspaces}
agents:
  coo: {{class: high_frequency, notify: [self]}}
  writer: {{class: business, notify: []}}
"""


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


def write(folder: Path, name: str = "agents.yaml", state: str = "state", workspaces: str = "workspaces") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(ROSTER.format(state=state, workspaces=workspaces))
    return folder / name


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A directory with a roster, which is the home directory too."""
    return write(tmp_path / "house").parent


@pytest.fixture
def cron(house: Path, commands: FakeSchedulers):
    def run(*words: str, cwd: Path = house, **environment: str) -> Result:
        return heartbeat("cron", *words, cwd=cwd, **{"PATH": commands.path, **environment})

    return run


def blocks(commands: FakeSchedulers) -> list[str]:
    return [block.note.roster for block in find_blocks(commands.table or b"") if block.note is not None]


@pytest.mark.parametrize("where", [("--target", "crontab"), ("--user",)], ids=["crontab", "systemd"])
def test_what_is_on_schedule_for_a_broken_roster_is_shown_and_taken_off(
    where: tuple[str, ...], cron, commands: FakeSchedulers, house: Path
) -> None:
    assert cron("install", *where).code == 0
    (house / "agents.yaml").write_text("agents: [this is none]\n")
    shown = cron("show")
    assert shown.code == 0, shown.err
    assert "due; everybody; watchdog" in shown.out
    assert "there is no " not in shown.out  # nothing is known of its logs
    assert "this is by the roster's path alone: " in shown.err
    assert cron("show", "--json").json["agents"] == []
    refused = cron("remove", "coo")
    assert refused.code == 2
    assert "agents.yaml:1" in refused.err
    removed = cron("remove")
    assert (removed.code, removed.out.count(": removed\n") >= 1) == (0, True), removed.err
    assert not commands.table
    assert not list((house / ".config").rglob("heartbeat*"))
    assert cron("remove").code == 2  # nothing more to take off: the roster's mistake is what there is to say


def test_what_is_on_schedule_for_a_roster_that_is_gone_is_taken_off_by_its_path(
    cron, commands: FakeSchedulers, house: Path, tmp_path: Path
) -> None:
    assert cron("install").code == 0
    moved = house.rename(tmp_path / "new")
    old = house / "agents.yaml"
    shown = cron("show", cwd=moved)
    assert "crontab         nothing\n" in shown.out
    told = f"crontab has a schedule of {old}, which is not there any more: `heartbeat cron remove --roster {old}`"
    assert told in shown.err
    assert any(told in note for note in cron("show", "--json", cwd=moved).json["notes"])
    installed = cron("install", cwd=moved)
    assert installed.code == 0
    assert told in installed.err
    assert sorted(blocks(commands)) == sorted([str(old), str(moved / "agents.yaml")])
    removed = cron("remove", "--roster", str(old), cwd=moved)
    assert (removed.code, removed.out.endswith(": removed\n")) == (0, True)
    assert "this is by the roster's path alone: there is no roster" in removed.err
    assert blocks(commands) == [str(moved / "agents.yaml")]
    assert "not there any more" not in cron("show", cwd=moved).err


def test_units_of_a_roster_that_is_gone_are_told_of_and_taken_off(cron, house: Path, tmp_path: Path) -> None:
    assert cron("install", "--target", "systemd", "--user", XDG_CONFIG_HOME=str(tmp_path / "config")).code == 0
    moved = house.rename(tmp_path / "new")
    around = {"cwd": moved, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert (
        f"systemd-user has a schedule of {house}/agents.yaml, which is not there any more" in cron("show", **around).err
    )
    assert cron("remove", "--roster", str(house / "agents.yaml"), **around).code == 0
    assert not list((tmp_path / "config").rglob("heartbeat*"))


def test_automations_of_a_roster_that_is_gone_are_told_of_and_taken_off_by_its_path(
    commands: FakeSchedulers, tmp_path: Path
) -> None:
    with new_gateway() as gateway:
        lines = (
            "sources: {workboard: {transport: gateway}}\nstate: state\nagents:\n  coo: {class: developer, notify: []}\n"
        )
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "agents.yaml").write_text(lines)
        around = {**gateway.environment(), "PATH": commands.path}
        old = tmp_path / "old"
        assert heartbeat("cron", "install", "--target", "openclaw", cwd=old, **around).code == 0
        linked = tmp_path / "link.yaml"
        linked.symlink_to(old / "agents.yaml")
        again = heartbeat("cron", "install", "--target", "openclaw", "--roster", str(linked), cwd=old, **around)
        assert (again.code, again.out) == (0, "openclaw: hb:coo: changed\n")  # by another path it is the same roster
        linked.unlink()
        assert heartbeat("cron", "install", cwd=old, **around).code == 0
        shown = heartbeat("cron", "show", cwd=old, **around)
        assert f"openclaw has a schedule of {linked}, which is not on this machine: " in shown.err
        removed = heartbeat("cron", "remove", "--roster", str(linked), cwd=old, **around)
        assert (removed.code, removed.out) == (0, "openclaw: hb:coo: removed\n")
        assert gateway.automations.jobs == {}


def test_a_slip_of_the_pen_is_no_roster_that_is_gone(cron, house: Path) -> None:
    for words in (("remove",), ("show",)):
        done = cron(*words, "--roster", "agent.yaml")
        assert done.code == 2
        assert "there is no roster" in done.err


def test_an_environment_file_with_a_mistake_keeps_nothing_on_schedule(
    cron, commands: FakeSchedulers, house: Path
) -> None:
    (house / "environment").write_text("TOKEN=x\n")
    (house / "environment").chmod(0o600)
    assert cron("install", "--env-file", "environment").code == 0
    (house / "environment").write_text("no assignment\n")
    assert cron("remove", "--env-file", "environment").code == 0
    assert not commands.table


def test_a_copied_roster_for_the_same_agents_is_refused_with_what_to_do(
    cron, commands: FakeSchedulers, house: Path
) -> None:
    assert cron("install").code == 0
    copy = write(house, "other.yaml", state="elsewhere")
    refused = cron("install", "--roster", "other.yaml")
    assert refused.code == 2
    assert (
        f"crontab has the beats of coo, writer on schedule already, for another roster: {house}/agents.yaml"
        in refused.err
    )
    assert f"heartbeat cron remove --roster {house}/agents.yaml" in refused.err
    assert cron("install", "--roster", "other.yaml", "--target", "systemd", "--user").code == 2
    assert cron("install", "--roster", "other.yaml", "coo", "--dry-run").code == 2
    assert cron("install", "--roster", "other.yaml", "--watchdog-only").code == 0
    assert cron("install", "--roster", "other.yaml", "--beside").code == 0
    assert str(copy) in blocks(commands)


def test_the_advice_about_a_copied_roster_can_be_followed(cron, commands: FakeSchedulers, house: Path) -> None:
    assert cron("install").code == 0
    write(house, "other.yaml", state="elsewhere")
    refused = cron("install", "--roster", "other.yaml", "coo")
    assert f"on schedule already, for another roster: {house}/agents.yaml" in refused.err
    assert cron("remove", "--roster", f"{house}/agents.yaml", "coo").code == 0
    assert cron("install", "--roster", "other.yaml", "coo").code == 0


def test_two_teams_of_one_user_with_agents_of_the_same_names_are_two_teams(
    cron, commands: FakeSchedulers, house: Path, tmp_path: Path
) -> None:
    assert cron("install").code == 0
    other = write(tmp_path / "other").parent
    assert cron("install", "--roster", str(other / "agents.yaml")).code == 0
    assert len(blocks(commands)) == 2


def test_the_same_agents_on_one_gateway_are_the_same_wherever_their_roster_lies(
    cron, house: Path, tmp_path: Path
) -> None:
    gateway = {"OPENCLAW_GATEWAY_URL": "ws://127.0.0.1:9", "OPENCLAW_GATEWAY_TOKEN": "t"}
    other = write(tmp_path / "other").parent
    for folder in (house, other):
        text = (folder / "agents.yaml").read_text()
        (folder / "agents.yaml").write_text(text.replace("{todo: {}}", "{todo: {}, workboard: {}}"))
    assert cron("install", "--beside", **gateway).code == 0
    refused = cron("install", "--roster", str(other / "agents.yaml"), **gateway)
    assert refused.code == 2
    assert "for another roster" in refused.err


def test_another_roster_with_the_same_state_directory_is_refused(cron, house: Path, tmp_path: Path) -> None:
    assert cron("install").code == 0
    other = write(tmp_path / "other", state=str(house / "state")).parent
    refused = cron("install", "--roster", str(other / "agents.yaml"))
    assert refused.code == 2
    assert f"that keeps its state in {house}/state too" in refused.err


def test_what_stands_is_renewed_beside_another_rosters_and_that_is_told(cron, house: Path, tmp_path: Path) -> None:
    assert cron("install").code == 0
    other = str(write(tmp_path / "other", state=str(house / "state")))
    assert cron("install", "--roster", other, "coo", "--beside").code == 0
    for roster in (other, str(house / "agents.yaml")):
        renewed = cron("install", "--roster", roster)
        assert renewed.code == 0
        assert f"that keeps its state in {house}/state too" in renewed.err
    grown = cron("install", "--roster", other, "coo", "writer")
    assert grown.code == 2, "who comes to a schedule is no renewal"
    assert f"that keeps its state in {house}/state too" in grown.err


def test_another_roster_that_cannot_be_read_is_named_and_stops_nothing(cron, house: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other").parent
    assert cron("install", "--roster", str(other / "agents.yaml")).code == 0
    (other / "agents.yaml").write_text("agents: 7\n")
    done = cron("install")
    assert done.code == 0
    assert (
        f"whether what crontab has on schedule for {other}/agents.yaml is for the same agents is not known" in done.err
    )


def test_an_agent_that_has_left_the_roster_is_taken_off_by_name(cron, commands: FakeSchedulers, house: Path) -> None:
    assert cron("install", "coo", "writer").code == 0
    roster = house / "agents.yaml"
    roster.write_text(roster.read_text().replace("  writer: {class: business, notify: []}\n", ""))
    assert cron("remove", "writer").code == 0
    (block,) = find_blocks(commands.table or b"")
    assert block.note is not None
    assert block.note.agents == ("coo",)
    assert "no agent called 'writer'" in cron("remove", "writer").err


def test_a_timer_of_an_agent_that_has_left_the_roster_is_taken_off_by_name(cron, house: Path) -> None:
    assert cron("install", "--target", "systemd", "--user", "--each").code == 0
    roster = house / "agents.yaml"
    roster.write_text(roster.read_text().replace("  writer: {class: business, notify: []}\n", ""))
    removed = cron("remove", "writer")
    assert removed.code == 0
    assert "heartbeat@writer.timer: removed" in removed.out
    assert "nothing changed" not in removed.out


def test_the_roster_of_a_directory_that_is_removed_is_still_meant_in_it(
    cron, commands: FakeSchedulers, house: Path
) -> None:
    assert cron("install").code == 0
    (house / "agents.yaml").unlink()
    assert cron("remove").code == 0
    assert not commands.table
    shutil.rmtree(house / "state")
