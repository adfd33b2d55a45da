"""Which schedules may stand beside each other: beats once, turns of the agents where they like (rule B1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Order, Piece, Style
from heartbeat.install.install import elsewhere, refuse_second, too_quick
from heartbeat.install.standing import Standing
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent, make_roster
from tests.support.schedules import make_launch

ROSTER = make_roster(make_agent("coo", every=timedelta(seconds=20)), make_agent("writer"))


@dataclass
class Target:
    """A scheduler that has one job."""

    name: str
    keeps: Standing

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        return (Piece("a job", "…"),)

    def standing(self, installed: Sequence[Piece]) -> Standing:
        return self.keeps

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        return ()


def order(style: Style, *agents: str) -> Order:
    return Order(ROSTER, make_launch(), style, agents)


def others(style: Style, *agents: str) -> Sequence[object]:
    return elsewhere(make_launch(), [Target("openclaw", Standing(style, agents, False))])  # type: ignore[list-item]


@pytest.mark.parametrize("there", [Style.DUE, Style.EACH, Style.DAEMON])
def test_B1_beats_that_another_scheduler_has_are_refused(there: Style) -> None:
    with pytest.raises(UsageError, match="openclaw has the beats of everybody on schedule already"):
        refuse_second(order(Style.DUE), others(there))  # type: ignore[arg-type]


def test_turns_on_one_schedule_and_beats_on_another_go_together() -> None:
    assert not others(Style.TURN)
    refuse_second(order(Style.TURN), others(Style.EACH))  # type: ignore[arg-type]


def test_agents_may_be_shared_out_between_schedulers() -> None:
    refuse_second(order(Style.DUE, "writer"), others(Style.EACH, "coo"))  # type: ignore[arg-type]
    with pytest.raises(UsageError) as refused:
        refuse_second(order(Style.DUE), others(Style.EACH, "coo"))  # type: ignore[arg-type]
    assert "cron remove --target openclaw" in refused.value.advice


@pytest.mark.parametrize(
    ("target", "style", "told"),
    [
        ("crontab", Style.DUE, 1),
        ("crontab", Style.EACH, 1),
        ("systemd-user", Style.DUE, 1),
        ("systemd-user", Style.EACH, 0),
        ("systemd-user", Style.DAEMON, 0),
        ("openclaw", Style.EACH, 0),
        ("openclaw", Style.TURN, 0),
    ],
)
def test_who_is_due_more_often_than_the_scheduler_looks_is_named(target: str, style: Style, told: int) -> None:
    sentences = list(too_quick(order(style), target))
    assert len(sentences) == told
    assert all(sentence.startswith("coo is due every 20s") for sentence in sentences)
