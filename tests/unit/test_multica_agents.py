"""Multica's agents: UUIDs and names, without those that were archived (contract 2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.multica.agents import MulticaAgent, agents_of, ways

UUID = "0198f0a0-3333-7000-8000-000000000001"


def test_an_agent_is_its_uuid_in_lower_case_and_its_name() -> None:
    rows = [
        {"id": UUID.upper(), "name": " Codex ", "archived_at": None, "status": "idle"},
        {"id": UUID, "name": "the same again"},
        {"id": UUID[:-1] + "2", "name": None},
        {"id": UUID[:-1] + "3", "name": "old", "archived_at": "2026-07-01T08:00:00Z"},
    ]
    told = agents_of(rows, "the server")
    assert told.agents == (MulticaAgent(UUID, "Codex"), MulticaAgent(UUID[:-1] + "2", ""))
    assert told.problems == ()


def test_rows_without_a_uuid_are_told_and_the_others_count() -> None:
    told = agents_of([{"id": "coo"}, {"name": "x"}, 7, None, {"id": UUID, "name": "Codex"}], "the server")
    assert told.agents == (MulticaAgent(UUID, "Codex"),)
    assert len(told.problems) == 4


@pytest.mark.parametrize("value", [None, {}, {"agents": []}, "x", 7])
def test_what_is_no_list_is_bad_output_and_never_an_empty_team(value: Any) -> None:
    with pytest.raises(TransportError, match="gave no list of agents") as refused:
        agents_of(value, "the server")
    assert refused.value.kind is FailureKind.BAD_OUTPUT


@pytest.mark.parametrize(
    ("transport", "names"), [("auto", ["api", "cli"]), ("api", ["api"]), ("cli", ["cli"]), ("file", [])]
)
def test_what_is_asked_follows_the_rosters_transport(transport: str, names: list[str]) -> None:
    assert [way.name for way in ways({"transport": transport}, {"HOME": "/nowhere"})] == names
