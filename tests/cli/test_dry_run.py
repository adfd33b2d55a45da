"""`tick --dry-run` just before three recoveries: it says what it would do and changes nothing anywhere (rule B3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import tree
from tests.support.live_team import BEAT, LiveTeam, live_team

READS = ("connect", "list", "runs", "stats", "diagnostics", "health", "status", "get")


@pytest.fixture
def team(tmp_path: Path) -> Iterator[LiveTeam]:
    """A team whose next beat recovers a card, an issue and a line."""
    with live_team(tmp_path) as team:
        first = team.command("tick", "--all", "--json", "--fresh")
        assert first.code == 0, first.err
        for _ in range(2):
            assert team.beat().code == 0
        assert team.statuses()[:2] == ("running", "in_progress")
        yield team


def is_read(request: str) -> bool:
    return request.startswith("GET ") or request.rsplit(".", 1)[-1] in READS


@pytest.mark.parametrize("words", [(), ("--json",), ("--format", "md"), ("--fresh",), ("--at", "2027-01-01T00:00Z")])
def test_B3_a_dry_run_with_recoveries_due_changes_no_byte_and_calls_nothing_that_writes(
    team: LiveTeam, words: tuple[str, ...]
) -> None:
    team.pass_time(BEAT)
    before, asked, written = tree(team.folder), len(team.requests), team.gateway.writes()
    said = team.command("tick", "--all", "--dry-run", *words)
    assert said.code == 0, said.err
    assert tree(team.folder) == before
    assert team.gateway.writes() == written
    assert all(map(is_read, team.requests[asked:])), team.requests[asked:]


def test_B3_what_a_dry_run_would_do_is_what_the_next_beat_does(team: LiveTeam) -> None:
    team.pass_time(BEAT)
    would = team.command("tick", "--all", "--dry-run", "--json", "--fresh").json["actions"]
    assert [each for each in would if each.startswith("would recover")] == [
        f"would recover {name}" for name in ("9e3779b1 on workboard", "ACM-1 on multica", "TODO.md:3 on todo")
    ]
    written = len(team.gateway.writes())
    done = team.command("tick", "--all", "--json", "--fresh")
    assert done.code == 0, done.err
    assert {"workboard.cards.release", "workboard.cards.reclaim"} <= set(team.gateway.writes()[written:])
    card, issue, line = team.statuses()
    assert (card, issue) == ("todo", "blocked")
    assert "[hb:" in line
    assert len(team.markers()) == 2


def test_B3_a_dry_run_on_no_state_at_all_makes_none(tmp_path: Path) -> None:
    with live_team(tmp_path) as team:
        before = tree(tmp_path)
        said = team.command("tick", "--all", "--dry-run", "--json", "--fresh")
        assert said.code == 0, said.err
        assert said.json["actions"] == []
        assert tree(tmp_path) == before
        assert not (tmp_path / "state").exists()
        assert team.gateway.writes() == []


def test_B3_a_dry_run_for_one_agent_leaves_what_is_due_to_its_owner(team: LiveTeam) -> None:
    team.pass_time(BEAT)
    before = tree(team.folder)
    assert team.command("tick", "coo", "--dry-run", "--json").json["actions"] == []
    assert team.command("tick", "architect", "--dry-run", "--json").json["actions"]
    assert tree(team.folder) == before
