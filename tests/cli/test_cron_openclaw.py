"""`heartbeat cron … --target openclaw`, on the fake Gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.automation_suite import AGENTS
from tests.support.command import Result, heartbeat
from tests.support.fake_gateway import FakeGateway
from tests.support.openclaw_automation_cases import new_gateway

ROSTER = """\
version: 1
state: state
sources: {{workboard: {{transport: gateway}}}}
agents:
{agents}
"""


class Command:
    """`heartbeat cron` in a directory of its own, with nothing on the PATH."""

    def __init__(self, folder: Path, gateway: FakeGateway) -> None:
        self.folder = folder
        self.gateway = gateway
        self.write(*AGENTS)

    def write(self, *agents: str) -> None:
        lines = "\n".join(f"  {agent}: {{class: developer, notify: []}}" for agent in agents)
        (self.folder / "agents.yaml").write_text(ROSTER.format(agents=lines), encoding="utf-8")

    def __call__(self, *words: str) -> Result:
        environment = {**self.gateway.environment(), "PATH": str(self.folder)}
        return heartbeat("cron", *words, "--target", "openclaw", cwd=self.folder, **environment)


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[Command]:
    with new_gateway() as gateway:
        yield Command(tmp_path, gateway)


def test_what_is_installed_is_shown_compared_and_removed(cron: Command) -> None:
    installed = cron("install")
    assert installed.code == 0, installed.err
    assert installed.out.splitlines() == [f"openclaw: hb:{agent}: added" for agent in AGENTS]
    assert "--target crontab --watchdog-only" in installed.err
    assert cron("diff").code == 0
    (shown,) = cron("show", "--json").json["targets"]
    assert (shown["name"], shown["style"], shown["everybody"]) == ("openclaw", "each", True)
    assert [piece["agent"] for piece in shown["pieces"]] == sorted(AGENTS)
    assert cron("remove").code == 0
    assert cron.gateway.automations.jobs == {}


def test_a_dry_run_changes_nothing(cron: Command) -> None:
    planned = cron("install", "--dry-run")
    assert planned.code == 0, planned.err
    assert '+  "declarationKey": "hb:coo",' in planned.out
    assert cron.gateway.writes() == []


def test_what_is_not_carried_out_ends_with_exit_73_and_what_to_do(cron: Command) -> None:
    cron.write("nobody", *AGENTS)
    refused = cron("install")
    assert refused.code == 73
    assert "openclaw: hb:nobody: not added: " in refused.out
    assert "openclaw: hb:coo: added" in refused.out
    assert "openclaw agents add nobody" in refused.err


def test_turns_and_other_styles(cron: Command) -> None:
    assert cron("install").code == 0
    assert cron("install", "--turn").out.splitlines() == [f"openclaw: hb:{agent}: changed" for agent in AGENTS]
    assert {job["payload"]["kind"] for job in cron.gateway.automations.jobs.values()} == {"agentTurn"}
    refused = cron("install", "--daemon")
    assert refused.code == 2
    assert "one automation an agent" in refused.err


@pytest.mark.parametrize("words", [("install",), ("diff",), ("remove",)], ids=" ".join)
def test_without_a_gateway_nothing_is_done_and_it_is_said(cron: Command, words: tuple[str, ...]) -> None:
    cron.gateway.stop()
    refused = cron(*words)
    assert refused.code == 3
    assert "OpenClaw's automations cannot be used: nothing answers at ws://127.0.0.1:" in refused.err
    assert "start the Gateway" in refused.err


def test_a_gateway_that_is_away_is_shown_as_not_known(cron: Command) -> None:
    cron.gateway.stop()
    shown = cron("show")
    assert shown.code == 0
    assert "not known: OpenClaw's automations cannot be used" in shown.out
