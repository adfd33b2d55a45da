"""Beside whom a daemon does not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heartbeat.daemon.beside import LOCK, beside, only_daemon, take_time
from heartbeat.daemon.supervisor import Supervisor
from heartbeat.errors import StateError, UsageError
from heartbeat.install.base import Piece, Style
from heartbeat.install.standing import NOTHING, AbsentError, Other, Standing
from heartbeat.schedule.launch import Launch
from heartbeat.store.locks import try_exclusive
from tests.support.schedules import make_launch, team

PIECE = (Piece("a job", "…"),)


@dataclass
class Target:
    """A scheduler that keeps what it is told to, or cannot be asked."""

    name: str
    keeps: Standing | Exception
    styles: tuple[Style, ...] = tuple(Style)
    theirs: tuple[Other, ...] = ()

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        if isinstance(self.keeps, Exception):
            raise self.keeps
        return PIECE

    def standing(self, installed: Sequence[Piece]) -> Standing:
        assert isinstance(self.keeps, Standing)
        return self.keeps

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        return ()

    def others(self) -> tuple[Other, ...]:
        return self.theirs

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody may call {name}")


def look(*targets: Target, names: Sequence[str] = ()) -> tuple[str, ...]:
    return beside(team(), make_launch(), targets, names, {})  # type: ignore[arg-type]


def standing(style: Style | None, *agents: str, watchdog: bool = False) -> Standing:
    return Standing(style, agents, watchdog)


@pytest.mark.parametrize("style", [Style.DUE, Style.EACH])
def test_B1_beats_that_are_on_schedule_elsewhere_are_refused_with_what_to_do(style: Style) -> None:
    with pytest.raises(UsageError, match="systemd-user has the beats of everybody on schedule already") as refused:
        look(Target("crontab", AbsentError("no crontab")), Target("systemd-user", standing(style)))
    assert "heartbeat cron remove --target systemd --user" in refused.value.advice
    assert "--beside" in refused.value.advice


@pytest.mark.parametrize(
    "keeps",
    [
        standing(None, watchdog=True),
        standing(Style.TURN),
        standing(Style.DAEMON),
        AbsentError("there is no crontab here"),
    ],
    ids=["a watchdog", "turns", "the daemon's own unit", "no such scheduler"],
)
def test_what_does_not_beat_beside_us_is_no_reason_to_stay_away(keeps: Standing | Exception) -> None:
    assert look(Target("openclaw", keeps)) == ()


def test_only_agents_that_both_would_beat_for_are_too_many() -> None:
    crontab = Target("crontab", standing(Style.EACH, "writer"))
    assert look(crontab, names=("coo",)) == ()
    with pytest.raises(UsageError, match="crontab has the beats of writer on schedule already"):
        look(crontab, names=("coo", "writer"))
    with pytest.raises(UsageError, match="beats of writer"):
        look(crontab)


@pytest.mark.parametrize("style", [Style.DUE, Style.DAEMON])
def test_B1_beats_of_the_same_agents_for_another_roster_are_refused_whatever_starts_them(
    style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heartbeat.install.install.shared", lambda order, other, environment: ({"coo": "boss"}, False))
    theirs = (Other(Path("/etc/heartbeat/other.yaml"), standing(style)),)
    with pytest.raises(UsageError, match="has the beats of coo on schedule already, for another roster") as refused:
        look(Target("systemd-user", NOTHING, theirs=theirs))
    assert "--beside" in refused.value.advice


def test_a_schedule_of_a_roster_that_is_gone_is_a_note() -> None:
    (note,) = look(Target("crontab", NOTHING, theirs=(Other(Path("/nowhere/agents.yaml"), standing(Style.DUE)),)))
    assert note.startswith("crontab has a schedule of /nowhere/agents.yaml, which is not there any more")


def test_before_each_scheduler_is_asked_more_time_is_asked_for() -> None:
    asked: list[str] = []

    @dataclass
    class Told(Target):
        def installed(self, launch: Launch) -> tuple[Piece, ...]:
            asked.append(self.name)
            return ()

    targets = (Told("crontab", NOTHING), Told("openclaw", NOTHING))
    beside(team(), make_launch(), targets, (), {}, lambda: asked.append("more time"))  # type: ignore[arg-type]
    assert asked == ["more time", "crontab", "more time", "openclaw"]


def test_a_scheduler_that_cannot_be_asked_is_a_note() -> None:
    (note,) = look(Target("openclaw", UsageError("the Gateway does not answer")))
    assert note == ("whether openclaw has beats of this roster on schedule is not known: the Gateway does not answer")


def test_B1_the_second_daemon_of_a_state_is_told_who_the_first_is(tmp_path: Path) -> None:
    with only_daemon(tmp_path, "daemon") as lock:
        assert lock.held
        with (
            pytest.raises(
                UsageError, match=r"another daemon beats on this state already: pid \d+ \(daemon\)"
            ) as refused,
            only_daemon(tmp_path, "daemon"),
        ):
            pass
        assert "systemctl stop" in refused.value.advice
    with only_daemon(tmp_path, "daemon") as lock:
        assert lock.held


def test_while_schedulers_are_asked_nobody_takes_the_place_of_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit() -> float:
        with try_exclusive(tmp_path / LOCK, fence=False) as seen:
            assert seen.holder is not None
            assert seen.holder.limit is not None
            return seen.holder.limit

    with only_daemon(tmp_path, "daemon") as lock:
        before = limit()
        monkeypatch.setattr("heartbeat.daemon.beside.LEASE", 10_000.0)
        take_time(Supervisor("", None, pytest.fail), lock)
        assert limit() > before + 9_000


def test_a_state_that_cannot_be_used_is_no_other_daemon(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where a directory belongs")
    with pytest.raises(StateError), only_daemon(tmp_path / "locks", "daemon"):
        pass
