"""A state directory that is gone, whole, between two beats of a schedule (rule B7)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests.support.command import Result, heartbeat


def beat(time: str, team: Path, *words: str) -> Result:
    with freeze_time(f"2026-11-21T{time}Z"):
        return heartbeat("tick", "--due", *words, cwd=team)


@pytest.fixture
def state(team: Path) -> Path:
    return team / "state"


def notes(team: Path) -> list[str]:
    return [file.read_text("utf-8").splitlines()[0] for file in team.glob(".local/state/heartbeat-known/*")]


def test_B7_a_scheduled_beat_that_finds_everything_gone_says_so_and_only_observes(team: Path, state: Path) -> None:
    assert beat("04:06:00", team, "--scheduled").code == 0
    assert heartbeat("pause", "coo", "--for", "1h", "--why", "a visit", cwd=team).code == 0
    shutil.rmtree(state)

    doctor = heartbeat("doctor", cwd=team)
    assert doctor.code == 1
    assert "vanished" in doctor.out
    health = heartbeat("health", cwd=team)
    assert health.code == 1
    assert "no beat has ever run" not in health.out
    assert "vanished" in " ".join(health.out.split())
    assert not state.exists(), "looking makes nothing"

    after = beat("04:16:00", team, "--scheduled")
    assert after.code == 0
    assert "memory-lost" in after.err
    assert "all else that scheduled beats kept in that directory" in " ".join(after.err.split())
    assert "memory-lost" in beat("04:26:00", team, "--scheduled").err, "until somebody accepts it"

    assert heartbeat("doctor", "--accept-loss", "ops", cwd=team).code in {0, 1}
    assert "memory-lost" not in beat("04:36:00", team, "--scheduled").err


def test_B7_the_same_holds_where_the_loss_is_accepted_before_the_next_beat(team: Path, state: Path) -> None:
    beat("04:06:00", team, "--scheduled")
    shutil.rmtree(state)
    assert "accepted" in heartbeat("doctor", "--accept-loss", "ops", cwd=team).out
    assert "memory-lost" not in beat("04:16:00", team, "--scheduled").err


def test_what_was_only_tried_by_hand_may_be_thrown_away(team: Path, state: Path) -> None:
    beat("04:06:00", team)
    shutil.rmtree(state)
    assert "memory-lost" not in beat("04:16:00", team, "--scheduled").err
    assert "vanished" not in heartbeat("doctor", cwd=team).out


def test_a_minute_in_which_nobody_is_due_leaves_no_note(team: Path, state: Path) -> None:
    beat("04:06:00", team)
    assert beat("04:06:30", team, "--scheduled").out == ""
    assert notes(team) == []
    beat("04:16:00", team, "--scheduled")
    assert notes(team) == [str(state)]
