"""A state directory in which nothing was ever recorded looks like a quiet team: that is said (rule B2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import heartbeat, tree

SHOWN = [
    ("incidents",),
    ("outbox",),
    ("log",),
    ("receipts",),
    ("rounds",),
    ("pause",),
    ("timeouts", "--fail-on", "never"),
    ("explain", "BIZ-31"),
    ("providers",),
    ("dlq",),
    ("cost",),
]


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
@pytest.mark.parametrize("json_output", [False, True])
def test_it_is_said_once_where_no_beat_ever_was_and_how_to_name_another_place(
    team: Path, words: tuple[str, ...], json_output: bool
) -> None:
    before = tree(team)
    done = heartbeat(*words, *(["--json"] if json_output else []), cwd=team)
    assert done.code == 0
    (line,) = (each for each in done.err.splitlines() if "no beat was ever recorded" in each)
    assert line.startswith(f"heartbeat: no beat was ever recorded in {team / 'state'}; ")
    assert "HEARTBEAT_HOME" in line
    assert "`state:`" in line
    assert tree(team) == before


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_after_a_beat_nothing_of_it_is_said(team: Path, words: tuple[str, ...]) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    assert "no beat" not in heartbeat(*words, cwd=team).err


def test_another_state_directory_is_the_one_that_is_named(team: Path, tmp_path: Path) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    done = heartbeat("receipts", cwd=team, HEARTBEAT_HOME=str(tmp_path / "elsewhere"))
    assert f"no beat was ever recorded in {tmp_path / 'elsewhere'}; " in done.err


def test_B7_memory_that_was_lost_is_no_first_time(team: Path) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    (team / "state" / "state.db").unlink()
    done = heartbeat("incidents", cwd=team)
    assert "memory-lost" in done.err
    assert "no beat was ever" not in done.err


@pytest.mark.parametrize("words", [("worklist", "coo"), ("tasks",), ("tick", "coo", "--dry-run")], ids=" ".join)
def test_what_needs_no_record_says_nothing_of_it(team: Path, words: tuple[str, ...]) -> None:
    assert heartbeat(*words, cwd=team).err == ""
