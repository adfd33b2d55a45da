"""Which schedules may stand beside each other: beats once, turns of the agents where they like (rule B1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Order, Piece, Style
from heartbeat.install.install import elsewhere, refuse_second, too_quick
from heartbeat.install.standing import Other, Standing
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent, make_roster
from tests.support.schedules import make_launch

ROSTER = make_roster(make_agent("coo", every=timedelta(seconds=20)), make_agent("writer"))


@dataclass
class Target:
    """A scheduler that has one job."""

    name: str
    keeps: Standing
    also: tuple[Other, ...] = ()

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        return (Piece("a job", "…"),)

    def standing(self, installed: Sequence[Piece]) -> Standing:
        return self.keeps

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        return ()

    def others(self) -> tuple[Other, ...]:
        return self.also


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


COPY = """\
sources: {{todo: {{}}}}
state: {state}
agents:
  boss: {{class: business, workspace: /srv/coo, notify: []}}
  stranger: {{class: business, workspace: /srv/stranger, notify: []}}
"""


def rival(folder: Path, *agents: str, style: Style | None = Style.DUE, state: str = "/srv/theirs") -> Target:
    """A crontab that has nothing of ours, and what it has for a roster in which our coo is called boss."""
    (folder / "other.yaml").write_text(COPY.format(state=state))
    also = Other(folder / "other.yaml", Standing(style, agents, watchdog=True))
    return Target("crontab", Standing(None), (also,))


def meant(*agents: str) -> Order:
    roster = make_roster(
        make_agent("coo", workspace=Path("/srv/coo")), make_agent("writer", workspace=Path("/srv/writer"))
    )
    return Order(roster, make_launch(), Style.DUE, agents)


def test_B1_one_agent_of_two_rosters_is_refused_by_its_workspace_whatever_it_is_called(tmp_path: Path) -> None:
    others = elsewhere(make_launch(), [rival(tmp_path)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=f"crontab has the beats of coo .* for another roster: {tmp_path}") as refused:
        refuse_second(meant(), others, {})
    assert f"`heartbeat cron remove boss --roster {tmp_path}/other.yaml`" in refused.value.advice


def test_who_is_not_on_the_other_rosters_schedule_is_nobodys_second(tmp_path: Path) -> None:
    for target in (rival(tmp_path, "stranger"), rival(tmp_path, style=None), rival(tmp_path, style=Style.TURN)):
        refuse_second(meant(), elsewhere(make_launch(), [target]), {})  # type: ignore[list-item]
    refuse_second(meant("writer"), elsewhere(make_launch(), [rival(tmp_path)]), {})  # type: ignore[list-item]


def test_another_roster_with_our_state_is_refused_though_its_agents_are_others(tmp_path: Path) -> None:
    target = rival(tmp_path, "stranger", state=str(make_launch().state))
    with pytest.raises(UsageError, match="keeps its state in /var/lib/heartbeat too"):
        refuse_second(meant(), elsewhere(make_launch(), [target]), {})  # type: ignore[list-item]


def test_what_stands_already_is_renewed_with_a_note_about_the_rival(tmp_path: Path) -> None:
    rivals = elsewhere(make_launch(), [rival(tmp_path, "boss")])  # type: ignore[list-item]
    (note,) = refuse_second(meant(), rivals, {}, Standing(Style.DUE, (), watchdog=False))
    assert "crontab has the beats of coo on schedule already, for another roster" in note
    assert "`heartbeat cron remove boss --roster" in note
    with pytest.raises(UsageError, match="for another roster"):
        refuse_second(meant(), rivals, {}, Standing(Style.DUE, ("writer",), watchdog=False))


def test_the_schedule_of_a_roster_that_is_gone_is_no_second_one(tmp_path: Path) -> None:
    target = rival(tmp_path)
    (tmp_path / "other.yaml").unlink()
    refuse_second(meant(), elsewhere(make_launch(), [target]), {})  # type: ignore[list-item]


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
