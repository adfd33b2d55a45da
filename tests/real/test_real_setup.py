"""Set-up on a real OpenClaw: its agents and workspaces, asked in every way, and a roster of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbeat.roster.load import load_roster
from heartbeat.setup.discover import discover
from heartbeat.systems.openclaw.agents import OpenClawAgent
from tests.real.gateway import AGENTS, RealGateway
from tests.real.install import install_openclaw
from tests.real.session import Shared
from tests.support.command import Result, heartbeat
from tests.support.fake_board import FakeBoard
from tests.support.fake_cards import SteppingClock
from tests.support.fake_gateway import FakeGateway

pytestmark = pytest.mark.openclaw

PATIENCE = 120.0
RELOAD_SECONDS = 30.0


def run(gateway: RealGateway, cwd: Path, *words: str) -> Result:
    return heartbeat(*words, cwd=cwd, **gateway.environment)


def test_a_roster_of_a_real_gateways_agents_loads_with_the_right_workspaces(common: Shared, tmp_path: Path) -> None:
    done = run(common.gateway, tmp_path, "init", "--yes")
    assert done.code == 0, done.err
    assert run(common.gateway, tmp_path, "roster", "check").code == 0
    roster = load_roster(tmp_path / "agents.yaml", common.gateway.environment)
    assert {agent.id: agent.workspace for agent in roster.agents.values()} == {
        agent: common.gateway.workspace(agent) for agent in AGENTS
    }
    assert {agent.id: agent.class_id for agent in roster.agents.values()} == {
        "coo": "high_frequency",
        "secretary": "high_frequency",
        "architect": "developer",
    }
    assert common.gateway.token not in (tmp_path / "agents.yaml").read_text("utf-8") + done.out + done.err
    assert run(common.gateway, tmp_path, "roster", "sync").code == 0


@pytest.fixture(scope="module")
def growing() -> Iterator[RealGateway]:
    """A Gateway of this module's own, whose configuration tests change."""
    with RealGateway(install_openclaw(), ("coo",)) as gateway:
        yield gateway


def hire(gateway: RealGateway, **entries: dict[str, Any]) -> None:
    """Adds agents to the configuration, and waits until the Gateway has read it."""
    path = gateway.state_directory / "openclaw.json"
    configuration = json.loads(path.read_text("utf-8"))
    configuration["agents"]["entries"].update(entries)
    path.write_text(json.dumps(configuration), "utf-8")
    until = time.monotonic() + RELOAD_SECONDS
    while not set(entries) <= {agent["id"] for agent in gateway.call("agents.list")["agents"]}:
        assert time.monotonic() < until, gateway.log_tail()
        time.sleep(0.2)


def asked(gateway: RealGateway, transport: str) -> tuple[OpenClawAgent, ...]:
    found = discover({"workboard": {"transport": transport}}, gateway.environment, lambda told: None, PATIENCE)
    return found.openclaw.agents


def test_new_agents_are_found_in_every_way_alike_and_synchronised(growing: RealGateway, tmp_path: Path) -> None:
    assert run(growing, tmp_path, "init", "--yes").code == 0
    before = (tmp_path / "agents.yaml").read_text("utf-8")
    named = {"name": "石砚", "identity": {"name": "Shi"}, "workspace": str(growing.home / "甲 乙")}
    hire(growing, **{"dock-engineer": named, "plain": {}})
    expected = {
        "coo": OpenClawAgent("coo", workspace=str(growing.workspace("coo"))),
        "dock-engineer": OpenClawAgent("dock-engineer", "石砚", "Shi", str(growing.home / "甲 乙")),
        "plain": OpenClawAgent("plain", workspace=str(growing.state_directory / "workspace-plain")),
    }
    assert {agent.id: agent for agent in asked(growing, "gateway")} == expected
    assert {agent.id: agent for agent in asked(growing, "cli")} == expected

    done = run(growing, tmp_path, "roster", "sync")
    assert done.code == 1
    assert "dock-engineer" in done.out
    done = run(growing, tmp_path, "roster", "sync", "--write")
    assert done.code == 0, done.err
    assert (tmp_path / "agents.yaml").read_text("utf-8").startswith(before)
    roster = load_roster(tmp_path / "agents.yaml", growing.environment)
    assert {agent.id: str(agent.workspace) for agent in roster.agents.values()} == {
        name: agent.workspace for name, agent in expected.items()
    }
    assert roster.agents["dock-engineer"].name == "石砚"


def test_the_configuration_alone_tells_the_same_while_the_gateway_is_down(growing: RealGateway) -> None:
    by_gateway = {agent.id: agent for agent in asked(growing, "gateway")}
    alone = {**growing.environment, "PATH": "/nowhere", "OPENCLAW_GATEWAY_PORT": "1"}
    found = discover({}, alone, lambda told: None, PATIENCE).openclaw
    assert found.transport == "file"
    assert {agent.id: agent for agent in found.agents} == by_gateway
    assert found.problems == ()


def test_the_fake_tells_what_the_real_one_tells(growing: RealGateway) -> None:
    real = growing.call("agents.list")
    board = FakeBoard(SteppingClock(1_795_226_000_000))
    error, fake, _ = FakeGateway(board, agents=("coo",)).answer("agents.list", {})
    assert error is None
    assert set(fake) == set(real)
    assert set(fake["agents"][0]) <= set(real["agents"][0])
    assert {name: type(value) for name, value in fake["agents"][0].items() if name != "model"} == {
        name: type(real["agents"][0][name]) for name in fake["agents"][0] if name != "model"
    }
