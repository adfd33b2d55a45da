"""`heartbeat cron install` beside somebody else who beats, or may: a scheduler that cannot be asked, a daemon; and what
is told of those for whom nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.daemon.beside import only_daemon
from heartbeat.schedule.crontab import find_blocks
from tests.contract.automation_suite import AGENTS
from tests.support.command import Result, heartbeat
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.openclaw_automation_cases import new_gateway

ROSTER = """\
timezone: Asia/Shanghai
state: state
sources: {{workboard: {{transport: gateway}}}}
agents:
{agents}
"""


class Command:
    """`heartbeat cron` with a crontab, a systemd and a Gateway that are nobody else's."""

    def __init__(self, folder: Path, gateway: FakeGateway, commands: FakeSchedulers) -> None:
        self.folder, self.gateway, self.commands = folder, gateway, commands
        folder.mkdir()
        lines = "\n".join(f"  {agent}: {{class: developer, notify: []}}" for agent in AGENTS)
        (folder / "agents.yaml").write_text(ROSTER.format(agents=lines), encoding="utf-8")

    def __call__(self, *words: str, openclaw: bool = True, **environment: str) -> Result:
        given = {**(self.gateway.environment() if openclaw else {}), "PATH": self.commands.path, **environment}
        return heartbeat("cron", *words, cwd=self.folder, **given)

    @property
    def beating(self) -> tuple[str, ...]:
        """The agents of the crontab's lines for beats."""
        lines = (self.commands.table or b"").decode().splitlines()
        return tuple(name for line in lines if " tick " in line for name in line.partition("--scheduled")[2].split())


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[Command]:
    with new_gateway() as gateway:
        yield Command(tmp_path / "team", gateway, fake_schedulers(tmp_path / "bin"))


def test_no_second_schedule_comes_while_a_gateway_that_may_have_one_is_away(cron: Command) -> None:
    assert cron("install", "--target", "openclaw").code == 0
    cron.gateway.stop()
    refused = cron("install")
    assert refused.code == 3
    assert refused.err.count("nothing answers at ws://127.0.0.1:") == 1
    assert "whether openclaw has these beats on schedule already is not known" in refused.err
    assert "start the Gateway" in refused.err
    assert "--beside" in refused.err
    assert cron.commands.table is None
    assert cron("install", "--target", "crontab", "--dry-run").code == 3
    accepted = cron("install", "--beside")
    assert accepted.code == 0
    assert accepted.err.count("what openclaw has on schedule is not known") == 1
    assert cron.commands.table is not None


def test_what_stands_already_is_renewed_while_a_gateway_is_away(cron: Command) -> None:
    assert cron("install", "--target", "crontab", "coo").code == 0
    cron.gateway.stop()
    renewed = cron("install")
    assert renewed.code == 0
    assert renewed.err.count("what openclaw has on schedule is not known") == 1
    assert cron("install", "--no-watchdog").code == 0
    assert cron("install", "coo").code == 0
    assert cron("install", "architect").code == 3
    assert cron("install", "--watchdog-only").code == 0


def test_where_no_openclaw_was_ever_set_up_nothing_is_asked(cron: Command) -> None:
    program = cron.commands.folder / "openclaw"
    program.write_text("#!/bin/sh\necho gateway connect failed >&2\nexit 1\n")
    program.chmod(0o755)
    text = (cron.folder / "agents.yaml").read_text()
    (cron.folder / "agents.yaml").write_text(text.replace("transport: gateway", "transport: auto"))
    done = cron("install", openclaw=False)
    assert done.code == 0, done.err
    assert "not known" not in done.err
    assert "openclaw        not found here\n" in cron("show", openclaw=False).out


def test_diff_says_with_its_exit_code_that_a_scheduler_could_not_be_asked(cron: Command) -> None:
    assert cron("install", "--target", "crontab").code == 0
    cron.gateway.stop()
    compared = cron("diff")
    assert (compared.code, compared.out) == (3, "")
    assert compared.err.count("not known") == 1
    assert cron("diff", "--each").code == 1


def test_B1_beside_a_living_daemon_no_schedule_is_installed(cron: Command) -> None:
    with only_daemon(cron.folder / "state" / "locks", "daemon"):
        refused = cron("install", "--target", "crontab")
        assert refused.code == 2
        assert "a daemon beats on this state already: pid " in refused.err
        assert "--beside" in refused.err
        assert cron.commands.table is None
        shown = cron("show")
        assert "heartbeat run   pid " in shown.out
        assert "on no schedule" not in shown.out
        assert cron("install", "--watchdog-only", "--target", "crontab").code == 0
        assert cron("install", "--daemon", "--user").code == 0
        assert cron("remove").code == 0
        assert cron("install", "--target", "crontab", "--beside").code == 0
        assert cron("install").code == 0
    assert cron("install", "--target", "crontab").code == 0


def test_who_is_left_out_is_said_and_has_no_next_slot(cron: Command) -> None:
    installed = cron("install", "--target", "crontab", "coo")
    told = "on no schedule: architect, secretary; `heartbeat cron install --all`"
    assert told in installed.err
    shown = cron("show")
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.split()[:1] and line.split()[0] in AGENTS}
    assert lines["architect"].endswith("  on no schedule")
    assert " CST  " in lines["coo"]
    agents = {each["id"]: each for each in cron("show", "--json").json["agents"]}
    assert (agents["architect"]["targets"], agents["architect"]["next"]) == ([], [])
    assert (agents["coo"]["targets"], len(agents["coo"]["next"])) == (["crontab"], 3)
    compared = cron("diff")
    assert (compared.code, compared.out) == (0, "")
    assert told in compared.err
    assert told in " ".join(cron("diff", "--json").json["notes"])
    assert "on no schedule" not in cron("install", "--target", "systemd", "--user", "architect", "secretary").err
    assert "on no schedule" not in cron("diff").err
    assert "not on this schedule" in cron("show", "--target", "crontab").out
    cron.gateway.stop()
    cron("remove", "--target", "systemd", "--user")
    assert "not known: on no schedule, unless on that of openclaw" in cron("show").out


def test_handing_an_agent_over_leaves_one_watchdog_and_no_difference(cron: Command) -> None:
    assert cron("install", "--target", "crontab").code == 0
    assert cron("remove", "coo").code == 0
    assert cron("install", "coo", "--target", "systemd", "--user").code == 0
    compared = cron("diff")
    assert (compared.code, compared.out) == (0, "")
    shown = cron("show").out
    assert shown.count("watchdog\n") == 1
    assert "systemd-user    due; coo\n" in shown
    assert cron("remove", "coo").code == 0
    assert cron("install", "coo", "--target", "crontab").code == 0
    assert cron.beating == AGENTS
    (block,) = find_blocks(cron.commands.table or b"")
    assert block.note is not None
    assert block.note.agents == AGENTS
    assert (cron("diff").code, cron("install", "--target", "crontab").out) == (0, "crontab: nothing changed\n")


def test_slots_are_told_with_their_day_and_zone(cron: Command) -> None:
    assert cron("install", "--target", "crontab", "--all").code == 0
    line = next(line for line in cron("show").out.splitlines() if line.startswith("coo "))
    day, time, zone, second, third = line.split("every 15m")[1].split()[:5]
    assert (len(day.split("-")), len(time.split(":")), zone) == (3, 3, "CST")
    assert second.count(":") == 2 or second.count("-") == 2
    assert third


def test_who_is_switched_off_in_openclaw_is_said_and_has_no_next_slot(cron: Command) -> None:
    assert cron("install", "--target", "openclaw").code == 0
    jobs = {job["agentId"]: job for job in cron.gateway.automations.jobs.values()}
    jobs["coo"]["enabled"] = False
    jobs["architect"] |= {"enabled": False}
    jobs["architect"]["state"] = {"autoDisabled": {"reason": "consecutive_failures", "consecutiveErrors": 10}}
    shown = cron("show")
    assert (
        f"coo is switched off in OpenClaw and stays so; to switch it on: `openclaw cron enable {jobs['coo']['id']}`"
        in (shown.out)
    )
    assert (
        "architect does not beat: switched off by OpenClaw after 10 consecutive_failures; `openclaw cron runs"
        in shown.out
    )
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.startswith(AGENTS)}
    assert lines["coo"].endswith("  switched off")
    assert lines["architect"].endswith("  switched off")
    assert " CST  " in lines["secretary"]
    agents = {each["id"]: each for each in cron("show", "--json").json["agents"]}
    assert (agents["coo"]["next"], agents["secretary"]["targets"]) == ([], ["openclaw"])
