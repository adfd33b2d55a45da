"""Two rosters on one state: the second is refused where it would write, and told so where it looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import heartbeat, tree

OTHER = """\
version: 1
timezone: Asia/Shanghai
operator: {name: Vincent}
state: %s
workspaces: workspaces
sources: {todo: {files: [TODO.md]}}
agents:
  coo: {name: X, class: high_frequency, notify: [self], patrol: true}
"""


@pytest.fixture
def other(team: Path, tmp_path: Path) -> Path:
    """Another roster, which names the state of a team that has beaten."""
    assert heartbeat("tick", "--all", cwd=team).code == 0
    place = tmp_path / "other"
    place.mkdir()
    (place / "agents.yaml").write_text(OTHER % (team / "state"))
    return place


@pytest.mark.parametrize(
    "words", [("tick", "coo"), ("tick", "--due", "--scheduled"), ("gc",), ("pause", "coo", "--why", "x"), ("run",)]
)
def test_what_would_write_is_refused_and_touches_nothing(team: Path, other: Path, words: tuple[str, ...]) -> None:
    before = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    done = heartbeat(*words, cwd=other)
    assert done.code == 4
    assert f"this state is the memory of another roster, {team / 'agents.yaml'} (3 agents, its last beat" in done.err
    assert "`heartbeat doctor --adopt`" in done.err
    assert heartbeat("receipts", "--json", cwd=team).json["receipts"] == before


@pytest.mark.parametrize("words", [("receipts",), ("tick", "coo", "--dry-run"), ("worklist", "coo"), ("log",)])
def test_B3_what_only_looks_goes_on_and_says_so_once(team: Path, other: Path, words: tuple[str, ...]) -> None:
    before = tree(team / "state")
    done = heartbeat(*words, cwd=other)
    assert done.code == 0
    assert done.err.count("this state is the memory of another roster") == 1
    assert tree(team / "state") == before


def test_the_doctor_says_so_and_adopts_it(team: Path, other: Path) -> None:
    document = heartbeat("doctor", "--json", cwd=other).json
    (check,) = (each for each in document["checks"] if (each["area"], each["subject"]) == ("state", "roster"))
    assert check["level"] == "failed"
    done = heartbeat("doctor", "--adopt", cwd=other)
    assert done.out == (
        f"{team / 'state'} is the memory of {other / 'agents.yaml'} from now on; it was the memory of "
        f"{team / 'agents.yaml'}\n"
    )
    assert heartbeat("tick", "coo", cwd=other).code == 0
    assert heartbeat("tick", "coo", cwd=team).code == 4
    assert heartbeat("doctor", "--adopt", cwd=team).code == 0
    assert heartbeat("tick", "coo", cwd=team).code == 0
    assert "no other roster" in heartbeat("doctor", "--adopt", cwd=team).out


def test_a_roster_that_was_moved_beats_on(team: Path, other: Path) -> None:
    (team / "agents.yaml").rename(team / "team.yaml")
    assert heartbeat("--roster", team / "team.yaml", "tick", "coo", cwd=team).code == 0
    assert heartbeat("tick", "coo", cwd=other).code == 4


def test_with_a_state_in_the_environment_and_no_roster_at_all_a_look_is_a_look(team: Path, tmp_path: Path) -> None:
    assert heartbeat("tick", "coo", cwd=team).code == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    done = heartbeat("receipts", "--json", cwd=empty, HEARTBEAT_HOME=str(team / "state"))
    assert len(done.json["receipts"]) == 1
