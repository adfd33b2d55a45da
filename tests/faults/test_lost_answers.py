"""Real writers over real wires: whichever answer is lost in the middle of three recoveries, each is done once (L4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.memory import Step, StepOutcome
from heartbeat.store.opening import open_store_read_only
from tests.support.fake_multica_server import WRITES, resets
from tests.support.live_team import LiveTeam, live_team


@pytest.fixture
def team(tmp_path: Path) -> Iterator[LiveTeam]:
    """A team whose next beat recovers a card (a release and a reclaim), an issue (a note and a change) and a line."""
    with live_team(tmp_path) as team:
        team.command("tick", "--all", "--json", "--fresh")
        for _ in range(2):
            team.beat()
        yield team


def assert_all_recovered_once(team: LiveTeam) -> None:
    card, issue, line = team.statuses()
    assert (card, issue) == ("todo", "blocked")
    assert line.count("[hb:") == 1
    assert len(team.markers()) == len(set(team.markers())) == 2
    with open_store_read_only(team.folder / "state") as store:
        incidents = store.incidents()
    assert len(incidents) == 3
    for incident in incidents:
        taken = incident.taken(Step.RECOVER)
        assert taken is not None
        assert taken.outcome is StepOutcome.DONE, incident


@pytest.mark.parametrize("which", [1, 2])
def test_L4_a_lost_answer_of_the_board_is_looked_for_before_anything_is_repeated(team: LiveTeam, which: int) -> None:
    team.gateway.losing = which
    for _ in range(3):
        assert team.beat().code == 0
    assert_all_recovered_once(team)


@pytest.mark.parametrize("which", [1, 2])
def test_L4_a_lost_answer_of_multica_is_looked_for_before_anything_is_repeated(team: LiveTeam, which: int) -> None:
    if which == 2:
        seen = []

        def second(request: object) -> None:
            seen.extend([request] if getattr(request, "method", "GET") != "GET" else [])
            if len(seen) == 2:
                team.multica.before = None
                team.multica.break_with(resets, method=WRITES, times=1, after=True)

        team.multica.before = second
    else:
        team.multica.break_with(resets, method=WRITES, times=1, after=True)
    for _ in range(3):
        assert team.beat().code == 0
    assert_all_recovered_once(team)
