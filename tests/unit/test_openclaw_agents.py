"""Agents and workspaces as the Gateway, the command and the configuration tell them (contract 2.2, 5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.openclaw.agents import (
    InConfiguration,
    OpenClawAgent,
    agents_of_command,
    agents_of_configuration,
    agents_of_gateway,
    is_remote,
    ways,
)

PAYLOAD = {
    "defaultId": "main",
    "ownership": "explicit",
    "mainKey": "main",
    "agents": [
        {"id": "main", "workspace": "/s/workspace", "workspaceGit": True, "model": {"primary": "a/b", "fallbacks": []}},
        {"id": "coo", "name": "陆怀瑾", "identity": {"name": "Lu", "emoji": "🦉"}, "workspace": "/s/workspace-coo"},
    ],
}
PRINTED = [
    {"id": "main", "workspace": "/s/workspace", "agentDir": "/s/agents/main/agent", "bindings": 0, "isDefault": True},
    {"id": "coo", "name": "陆怀瑾", "identityName": "Lu", "identitySource": "config", "workspace": "/s/workspace-coo"},
]
MAIN, COO = OpenClawAgent("main", workspace="/s/workspace"), OpenClawAgent("coo", "陆怀瑾", "Lu", "/s/workspace-coo")


def test_gateway_and_command_tell_the_same() -> None:
    assert agents_of_gateway(PAYLOAD).agents == agents_of_command(PRINTED).agents == (MAIN, COO)


@pytest.mark.parametrize("payload", [None, [], {}, {"agents": None}, {"agents": {"coo": {}}}, "x"])
def test_what_is_no_list_is_bad_output_and_never_an_empty_team(payload: Any) -> None:
    for read in (agents_of_gateway, lambda came: agents_of_command(came if not isinstance(came, list) else {})):
        with pytest.raises(TransportError) as refused:
            read(payload)
        assert refused.value.kind is FailureKind.BAD_OUTPUT


def test_an_entry_that_cannot_be_read_is_told_and_the_others_count() -> None:
    told = agents_of_command([{"id": 7}, "x", {"id": " coo ", "name": None, "workspace": ["x"]}, {"id": "coo"}])
    assert told.agents == (OpenClawAgent("coo"),)
    assert [problem.split(":")[0] for problem in told.problems] == [
        "an agent without an id",
        "an agent without an id",
        "two agents have the id 'coo'; the first counts",
    ]


def configured(agents: Any, **environment: str) -> dict[str, str]:
    found = agents_of_configuration({"agents": agents}, {"HOME": "/home/v", **environment})
    return {agent.id: agent.workspace for agent in found.agents}


def test_a_workspace_is_the_agents_own_else_derived_as_openclaw_does() -> None:
    entries = {"coo": {"workspace": "~/ws/coo"}, "dev": {}, "QA": {"name": "甲"}}
    assert configured({"ownership": "explicit", "entries": entries}) == {
        "coo": "/home/v/ws/coo",
        "dev": "/home/v/.openclaw/workspace-dev",
        "qa": "/home/v/.openclaw/workspace-qa",
    }
    based = {"defaults": {"workspace": "/data"}, "entries": entries}
    assert configured(based) == {"coo": "/home/v/ws/coo", "dev": "/data/dev", "qa": "/data/qa"}
    assert configured({"entries": {"dev": {}}}, OPENCLAW_STATE_DIR="/s") == {"dev": "/s/workspace"}
    assert configured({"entries": {"dev": {}}, "defaults": {"workspace": "/data"}}) == {"dev": "/data"}
    assert configured({"entries": {"dev": {}}}, OPENCLAW_WORKSPACE_DIR="/own") == {"dev": "/own"}


def test_an_older_list_and_no_list_at_all_are_understood() -> None:
    listed = [{"id": "coo", "default": True}, {"id": "dev", "workspace": "/d"}, "odd", {"name": "no id"}]
    assert configured({"list": listed}) == {"coo": "/home/v/.openclaw/workspace", "dev": "/d"}
    assert configured({}) == {"main": "/home/v/.openclaw/workspace"}
    assert configured(None) == {"main": "/home/v/.openclaw/workspace"}
    assert configured({"entries": {}}) == {}


def test_a_path_that_depends_on_what_is_not_known_here_is_left_open_and_told() -> None:
    section = {
        "entries": {"a": {"workspace": "${DATA}/a"}, "b": {"workspace": "rel/b"}, "c": {"workspace": "${DATA}/c"}}
    }
    found = agents_of_configuration({"agents": section}, {"HOME": "/home/v"})
    assert [agent.workspace for agent in found.agents] == ["", "", ""]
    assert "DATA, which is not set here" in found.problems[0]
    assert "no absolute path" in found.problems[1]
    assert configured(section, DATA="/data")["a"] == "/data/a"


def test_parts_in_other_files_are_told() -> None:
    found = agents_of_configuration({"$include": "x.json5", "agents": {"entries": {"a": {}}}}, {})
    assert any("other files" in problem for problem in found.problems)


def test_the_configuration_file_is_json5_and_its_secrets_stay_in_it(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    way = InConfiguration(environment)
    assert way.absent() == f"no {tmp_path}/.openclaw/openclaw.json"
    path = tmp_path / ".openclaw" / "openclaw.json"
    path.parent.mkdir()
    path.write_text("{gateway: {auth: {token: 'hidden-token'}}, agents: {entries: {coo: {identity: {name: 'Lu'}}}}, }")
    assert way.absent() is None
    assert way.read(Deadline.after(1)).agents == (OpenClawAgent("coo", "", "Lu", f"{tmp_path}/.openclaw/workspace"),)
    path.write_text("{token: 'hidden-token' ]")
    with pytest.raises(TransportError) as refused:
        way.read(Deadline.after(1))
    assert "hidden-token" not in f"{refused.value}{refused.value!r}{way!r}"
    path.write_text(json.dumps([1]))
    with pytest.raises(TransportError, match="holds no settings"):
        way.read(Deadline.after(1))


@pytest.mark.parametrize(
    ("settings", "environment", "names"),
    [
        ({}, {}, ["gateway", "cli", "file"]),
        ({"transport": "gateway"}, {}, ["gateway"]),
        ({"transport": "cli"}, {}, ["cli", "file"]),
        ({"transport": "file", "path": "/x"}, {}, []),
        ({"url": "wss://far.example"}, {}, ["gateway", "cli"]),
        ({}, {"OPENCLAW_GATEWAY_URL": "ws://10.0.0.1:1"}, ["gateway", "cli"]),
        ({}, {"OPENCLAW_GATEWAY_URL": "ws://127.0.0.1:1"}, ["gateway", "cli", "file"]),
    ],
)
def test_what_is_asked_follows_the_rosters_transport_and_where_the_gateway_is(
    settings: dict[str, Any], environment: dict[str, str], names: list[str]
) -> None:
    assert [way.name for way in ways(settings, environment)] == names
    assert is_remote(settings, environment) is (len(names) == 2 and names[0] == "gateway")
