"""Every way to ask for agents, over the fakes: the same team, the same refusals, nothing written, no token told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbeat.setup.discover import Found, discover
from heartbeat.systems.base import FailureKind
from heartbeat.systems.multica.agents import MulticaAgent
from heartbeat.systems.openclaw.agents import OpenClawAgent
from tests.support import fake_multica_cli
from tests.support.fake_board import FakeBoard
from tests.support.fake_cards import SteppingClock
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_multica_records import CODEX, REVIEWER, TOKEN, WORKSPACE_ID
from tests.support.fake_multica_server import FakeMultica, answers
from tests.support.fake_openclaw import FakeOpenClaw, Manner, Reach

TOLD: dict[str, dict[str, Any]] = {
    "main": {},
    "coo": {"name": "陆怀瑾", "identity": {"name": "Lu"}},
    "architect": {"name": "architect"},
}
TEAM = (
    OpenClawAgent("main", workspace="/state/workspace-main"),
    OpenClawAgent("coo", "陆怀瑾", "Lu", "/state/workspace-coo"),
    OpenClawAgent("architect", "architect", "", "/state/workspace-architect"),
)
PRINTED = [
    {"id": "main", "workspace": "/state/workspace-main", "bindings": 0, "isDefault": True},
    {"id": "coo", "name": "陆怀瑾", "identityName": "Lu", "workspace": "/state/workspace-coo", "isDefault": False},
    {"id": "architect", "name": "architect", "workspace": "/state/workspace-architect", "isDefault": False},
]
CONFIGURED = {
    "gateway": {"port": 1, "auth": {"token": "hidden-0123456789"}},
    "agents": {
        "ownership": "explicit",
        "entries": {
            "main": {"workspace": "/state/workspace-main"},
            "coo": {"name": "陆怀瑾", "identity": {"name": "Lu"}, "workspace": "/state/workspace-coo"},
            "architect": {"name": "architect", "workspace": "/state/workspace-architect"},
        },
    },
}


def ask(environment: dict[str, str], **sources: dict[str, Any]) -> Found:
    return discover(sources, environment, lambda told: None, patience=20.0)


def kinds(found: Found) -> dict[str, FailureKind | None]:
    return {way.transport: way.kind for way in found.openclaw.tried}


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(FakeBoard(SteppingClock(1_795_226_000_000)), told=TOLD) as gateway:
        yield gateway


@pytest.fixture
def openclaw(tmp_path: Path) -> FakeOpenClaw:
    program = FakeOpenClaw(tmp_path)
    program.order(agents=PRINTED)
    return program


def alone(program: FakeOpenClaw, home: Path) -> dict[str, str]:
    """An environment with this program, whatever else the machine has."""
    return {**program.environment(home), "PATH": f"{program.directory}{os.pathsep}/nowhere"}


def test_the_gateway_tells_its_agents_with_the_scope_to_read(gateway: FakeGateway, tmp_path: Path) -> None:
    found = ask({**gateway.environment(), "HOME": str(tmp_path), "PATH": "/nowhere"})
    assert found.openclaw.agents == TEAM
    assert found.openclaw.transport == "gateway"
    assert [(call.method, call.params) for call in gateway.calls] == [("agents.list", {})]
    assert gateway.calls[0].scopes == {"operator.read"}
    assert gateway.writes() == []


def test_a_gateway_that_starts_is_asked_again(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.trouble, gateway.starting_times = Trouble.STARTING, 1
    assert ask({**gateway.environment(), "HOME": str(tmp_path), "PATH": "/nowhere"}).openclaw.agents == TEAM


def test_the_command_tells_the_same_agents_without_a_gateway(openclaw: FakeOpenClaw, tmp_path: Path) -> None:
    openclaw.order(reach=Reach.DOWN)
    found = ask({**alone(openclaw, tmp_path), "OPENCLAW_GATEWAY_PORT": "1"})
    assert found.openclaw.agents == TEAM
    assert kinds(found) == {"gateway": FailureKind.UNREACHABLE, "cli": None, "file": FailureKind.NOT_CONFIGURED}
    assert [run["argv"] for run in openclaw.runs()] == [["agents", "list", "--json"]]


def test_the_configuration_tells_the_same_agents_where_nothing_runs(tmp_path: Path) -> None:
    path = tmp_path / ".openclaw" / "openclaw.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONFIGURED))
    found = ask({"HOME": str(tmp_path), "PATH": "/nowhere"})
    assert found.openclaw.agents == TEAM
    assert kinds(found) == {
        "gateway": FailureKind.UNREACHABLE,
        "cli": FailureKind.NOT_CONFIGURED,
        "file": None,
    }
    assert "hidden-0123456789" not in repr(found)


@pytest.mark.parametrize(
    "trouble", [Trouble.WEB_PAGE, Trouble.NOT_JSON, Trouble.CUT, Trouble.WRONG_SHAPE, Trouble.DROPPED, Trouble.TELLTALE]
)
def test_a_gateway_in_trouble_is_passed_over_and_told(
    trouble: Trouble, gateway: FakeGateway, openclaw: FakeOpenClaw, tmp_path: Path
) -> None:
    gateway.trouble = trouble
    found = ask({**alone(openclaw, tmp_path), **gateway.environment()})
    assert found.openclaw.agents == TEAM
    assert found.openclaw.transport == "cli"
    assert kinds(found)["gateway"] is not None
    assert gateway.token not in repr(found)


@pytest.mark.parametrize(
    "manner", [Manner.NOTHING, Manner.GARBAGE, Manner.CUT, Manner.CRASH, Manner.EXIT_1, Manner.NO_NODE]
)
def test_a_command_in_trouble_is_a_failure_and_never_an_empty_team(
    manner: Manner, openclaw: FakeOpenClaw, tmp_path: Path
) -> None:
    openclaw.order(manner=manner)
    found = ask(alone(openclaw, tmp_path))
    assert found.openclaw.agents == ()
    assert found.openclaw.failed


def test_a_banner_around_the_list_does_no_harm(openclaw: FakeOpenClaw, tmp_path: Path) -> None:
    openclaw.order(manner=Manner.BANNER)
    assert ask(alone(openclaw, tmp_path)).openclaw.agents == TEAM


def test_a_gateway_elsewhere_is_asked_through_the_command_and_never_this_machines_configuration(
    gateway: FakeGateway, openclaw: FakeOpenClaw, tmp_path: Path
) -> None:
    far = {"workboard": {"url": "ws://192.0.2.1:1", "transport": "cli"}}
    with openclaw.connected(gateway):
        found = ask(alone(openclaw, tmp_path), **far)
    assert found.openclaw.agents == TEAM
    assert found.openclaw.remote
    assert openclaw.runs()[0]["argv"][:3] == ["gateway", "call", "agents.list"]
    assert openclaw.writes() == []


def test_where_there_is_nothing_nothing_fails(tmp_path: Path) -> None:
    found = ask({"HOME": str(tmp_path), "PATH": "/nowhere"})
    assert [(look.read, look.failed) for look in found.looks] == [(False, False), (False, False)]
    assert [len(look.tried) for look in found.looks] == [3, 2]


CREDENTIALS = {"MULTICA_TOKEN": TOKEN, "MULTICA_WORKSPACE_ID": WORKSPACE_ID}
THEIRS = (MulticaAgent(CODEX.lower(), "Codex"), MulticaAgent(REVIEWER.lower(), "Reviewer"))


def test_the_server_and_the_command_tell_the_same_agents_of_multica(tmp_path: Path) -> None:
    program = fake_multica_cli.install(tmp_path / "bin")
    with FakeMultica() as server:
        server.state.add_agent("0198f0a0-3333-7000-8000-00000000000f", "gone", archived_at="2026-07-01T08:00:00Z")
        environment = {"HOME": str(tmp_path), "MULTICA_SERVER_URL": server.url, **CREDENTIALS}
        by_api = ask({**environment, "PATH": "/nowhere"}).multica
        by_command = ask({**environment, "PATH": str(program.parent)}, multica={"transport": "cli"}).multica
        without_workspace = {name: value for name, value in environment.items() if name != "MULTICA_WORKSPACE_ID"}
        found_by_itself = ask({**without_workspace, "PATH": "/nowhere"}).multica
    assert by_api.agents == by_command.agents == found_by_itself.agents == THEIRS
    assert (by_api.transport, by_command.transport) == ("api", "cli")
    assert all(request.startswith("GET ") for request in server.requests)


def test_a_server_in_trouble_is_passed_over_for_the_command_and_told(tmp_path: Path) -> None:
    program = fake_multica_cli.install(tmp_path / "bin")
    environment = {"HOME": str(tmp_path), "PATH": str(program.parent), **CREDENTIALS}
    with FakeMultica() as server:
        server.break_with(answers(200, {"agents": []}), path="/api/agents", times=1)
        found = ask({**environment, "MULTICA_SERVER_URL": server.url}).multica
    assert (found.agents, found.transport) == (THEIRS, "cli")
    assert found.tried[0].kind is FailureKind.BAD_OUTPUT


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_refusal_of_multica_is_a_failure_with_its_kind_and_no_token(status: int, tmp_path: Path) -> None:
    with FakeMultica() as server:
        server.break_with(answers(status, {"error": f"no: {TOKEN}"}), path="/api/agents")
        environment = {"HOME": str(tmp_path), "PATH": "/nowhere", "MULTICA_SERVER_URL": server.url, **CREDENTIALS}
        found = ask(environment).multica
    assert found.failed
    assert found.agents == ()
    assert TOKEN not in repr(found)
