"""Two rosters on one state: the second is refused where it would write, and told so where it looks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests.support.command import heartbeat, tree

OTHER = """\
version: 1
timezone: Asia/Shanghai
operator: {name: Vincent}
state: %s
workspaces: workspaces
sources: {todo: {files: [TODO.md]}}
agents:
  clerk: {name: X, class: high_frequency, notify: [self], patrol: true}
"""


OPERATOR = "operator: {name: Vincent, notify: [ops]}\nchannels: {ops: {kind: file, path: %s}}"


@pytest.fixture
def other(team: Path, tmp_path: Path) -> Path:
    """Another roster, which names the state of a team that has beaten."""
    assert heartbeat("tick", "--all", cwd=team).code == 0
    place = tmp_path / "other"
    place.mkdir()
    (place / "agents.yaml").write_text(OTHER % (team / "state"))
    return place


@pytest.mark.parametrize(
    "words", [("tick", "clerk"), ("tick", "--due", "--scheduled"), ("gc",), ("pause", "clerk", "--why", "x"), ("run",)]
)
def test_what_would_write_is_refused_and_touches_nothing(team: Path, other: Path, words: tuple[str, ...]) -> None:
    before = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    done = heartbeat(*words, cwd=other)
    assert done.code == 4
    assert f"this state is the memory of another roster, {team / 'agents.yaml'} (3 agents, its last beat" in done.err
    assert "`heartbeat doctor --adopt`" in done.err
    assert heartbeat("receipts", "--json", cwd=team).json["receipts"] == before


@pytest.mark.parametrize("words", [("receipts",), ("tick", "clerk", "--dry-run"), ("worklist", "clerk"), ("log",)])
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
    assert heartbeat("tick", "clerk", cwd=other).code == 0
    assert heartbeat("tick", "coo", cwd=team).code == 4
    assert heartbeat("doctor", "--adopt", cwd=team).code == 0
    assert heartbeat("tick", "coo", cwd=team).code == 0
    assert "no other roster" in heartbeat("doctor", "--adopt", cwd=team).out


def test_who_is_a_part_of_the_team_may_speak_for_it_from_a_roster_of_its_own(team: Path, other: Path) -> None:
    roster = other / "agents.yaml"
    roster.write_text(roster.read_text().replace("clerk:", "coo:"))
    done = heartbeat("pause", "coo", "--why", "a visit", cwd=other)
    assert (done.code, done.err) == (0, "")
    assert heartbeat("tick", "coo", cwd=other).code == 0
    assert heartbeat("tick", "--all", cwd=team).code == 0


@pytest.mark.parametrize("words", [(), ("clerk",)])
def test_health_fails_for_the_state_of_another_team_and_blames_no_scheduler(
    team: Path, other: Path, words: tuple[str, ...]
) -> None:
    done = heartbeat("health", *words, "--json", cwd=other)
    assert done.code == 1
    if not words:
        first = done.json["checks"][0]
        assert (first["name"], first["level"]) == ("state", "failed")
        assert f"the memory of another roster, {team / 'agents.yaml'}" in first["message"]
        assert "`heartbeat doctor --adopt`" in first["advice"]
    told = heartbeat("health", *words, cwd=other)
    assert "FOUND" in told.out
    assert "this state is the memory of another roster" in " ".join(told.out.split())
    assert "starts the beats" not in told.out


def test_the_watchdog_tells_of_the_state_of_another_team_and_blames_no_scheduler(team: Path, other: Path) -> None:
    roster = other / "agents.yaml"
    letters = other / "ops.log"
    roster.write_text(roster.read_text().replace("operator: {name: Vincent}", OPERATOR % letters))
    for hour in range(5, 8):
        for minute in range(0, 60, 10):
            with freeze_time(f"2026-11-21T{hour:02}:{minute:02}:00Z"):
                done = heartbeat("watchdog", cwd=other)
    assert done.code == 3
    assert "this state is the memory of another roster" in " ".join(done.out.split())
    assert "this state is the memory of another roster" in letters.read_text()
    assert "starts the beats" not in done.out + done.err + letters.read_text()


def test_a_state_of_two_teams_since_an_older_heartbeat_is_told_and_refused_to_nobody(team: Path, other: Path) -> None:
    with closing(sqlite3.connect(team / "state" / "state.db", isolation_level=None)) as database:
        database.execute("DELETE FROM belonging")
    looked = heartbeat("receipts", cwd=other)
    assert looked.err.count("beat in this state too, and are not in this roster") == 1
    document = heartbeat("doctor", "--json", cwd=other).json
    (check,) = (each for each in document["checks"] if (each["area"], each["subject"]) == ("state", "roster"))
    assert check["level"] == "warning"
    assert "`heartbeat doctor --adopt`" in check["advice"]
    assert heartbeat("tick", "--all", "--scheduled", cwd=other).err.count("beat in this state too") == 0
    for each in (other, team, other, team):
        assert heartbeat("tick", "--all", cwd=each).code == 0


def test_a_roster_that_was_moved_beats_on(team: Path, other: Path) -> None:
    (team / "agents.yaml").rename(team / "team.yaml")
    assert heartbeat("--roster", team / "team.yaml", "tick", "coo", cwd=team).code == 0
    assert heartbeat("tick", "clerk", cwd=other).code == 4


def test_with_a_state_in_the_environment_and_no_roster_at_all_a_look_is_a_look(team: Path, tmp_path: Path) -> None:
    assert heartbeat("tick", "coo", cwd=team).code == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    done = heartbeat("receipts", "--json", cwd=empty, HEARTBEAT_HOME=str(team / "state"))
    assert len(done.json["receipts"]) == 1
