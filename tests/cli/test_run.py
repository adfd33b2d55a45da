"""`heartbeat run` as far as it ends by itself; the rest is in tests/faults/test_daemon.py."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from heartbeat.beat import Tick
from heartbeat.cli.run import _Kept, _Log, _Reporter, _Seldom
from heartbeat.cli.session import Session
from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.roster.load import load_roster
from heartbeat.schedule.slots import next_slot
from heartbeat.store.opening import open_store
from heartbeat.task import Finding
from tests.support.command import heartbeat, tree
from tests.support.fake_schedulers import fake_schedulers
from tests.support.items import NOW


def test_dry_run_tells_when_everybody_is_due_next_and_changes_nothing(team: Path) -> None:
    before = tree(team)
    fresh = heartbeat("run", "--dry-run", cwd=team)
    assert fresh.code == 0, fresh.err
    assert [line.split() for line in fresh.out.splitlines()] == [
        [name, "every", every, "last", "never", "next", "now"]
        for name, every in (("architect", "15m"), ("coo", "10m"), ("costcodev", "15m"))
    ]
    assert tree(team) == before


def test_dry_run_counts_from_the_last_beat(team: Path) -> None:
    at_noon = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
    with patch.object(Session, "now", lambda session: at_noon):
        assert heartbeat("tick", "coo", cwd=team).code == 0
        agent = load_roster(team / "agents.yaml", {}).agents["coo"]
        soon = next_slot(agent.policy, "Asia/Shanghai", at_noon) - at_noon
        (line,) = heartbeat("run", "--dry-run", "--agents", "coo", cwd=team).out.splitlines()
    assert line.split()[:3] == ["coo", "every", "10m"]
    assert line.endswith(f"in {format_duration(soon)}")
    assert "never" not in line


def test_dry_run_beside_a_schedule_tells_when_everybody_is_due_and_that_a_daemon_would_be_refused(
    team: Path, tmp_path: Path
) -> None:
    commands = fake_schedulers(tmp_path / "bin")
    around: dict[str, Any] = {"cwd": team, "PATH": commands.path}
    assert heartbeat("cron", "install", "--target", "crontab", **around).code == 0
    done = heartbeat("run", "--dry-run", **around)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["architect", "coo", "costcodev"]
    assert "without --dry-run it would be refused: crontab has the beats of everybody on schedule already" in done.err
    assert heartbeat("run", "--dry-run", "--beside", **around).err == ""


def test_another_roster_with_the_same_agents_is_another_schedule(team: Path, tmp_path: Path) -> None:
    commands = fake_schedulers(tmp_path / "bin")
    around: dict[str, Any] = {"cwd": team, "PATH": commands.path}
    assert heartbeat("cron", "install", "--target", "crontab", **around).code == 0
    other = (team / "agents.yaml").read_text().replace("state: state", "state: elsewhere")
    (team / "other.yaml").write_text(other)
    done = heartbeat("run", "--dry-run", "--roster", "other.yaml", **around)
    assert "without --dry-run it would be refused" in done.err
    assert f"on schedule already, for another roster: {team}/agents.yaml" in done.err


def test_the_agents_can_be_named_with_commas_or_one_by_one(team: Path) -> None:
    for words in (("--agents", "coo,architect"), ("--agents", "coo", "--agents", "architect")):
        done = heartbeat("run", "--dry-run", *words, cwd=team)
        assert [line.split()[0] for line in done.out.splitlines()] == ["architect", "coo"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--agents", "coo,nobody"), "no agent called 'nobody'"),
        (("--jitter", "soon"), "--jitter: 'soon' is not a duration"),
        (("--jitter", "-5s"), "--jitter: '-5s' is not a duration"),
    ],
)
def test_R1_a_wrong_call_is_refused_before_anything_is_done(team: Path, words: tuple[str, ...], complaint: str) -> None:
    before = tree(team)
    done = heartbeat("run", *words, cwd=team)
    assert done.code == 2
    assert complaint in done.err
    assert tree(team) == before


@pytest.mark.parametrize("text", ["0s", "0", "90s"])
def test_a_jitter_may_be_none_or_long(team: Path, text: str) -> None:
    assert heartbeat("run", "--dry-run", "--jitter", text, cwd=team).code == 0


def test_without_a_roster_there_is_no_daemon(tmp_path: Path) -> None:
    done = heartbeat("run", cwd=tmp_path)
    assert done.code == 2
    assert "no roster was found" in done.err


def test_a_log_that_could_not_be_written_says_how_many_lines_are_missing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file, Path("/dev/full").open("wb") as full:
        log = _Log(os.dup(file.fileno()))
        log.put("one")
        os.dup2(full.fileno(), log._descriptor)
        log.put("two")
        log.said("three")
        os.dup2(file.fileno(), log._descriptor)
        log.put("four \udcff")
        log.put("five")
        os.close(log._descriptor)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["one", "(2 lines before this one could not be written)", "four \\udcff", "five"]


def test_what_would_come_with_every_beat_is_said_once_an_hour() -> None:
    said: list[str] = []
    now = 0.0
    seldom = _Seldom(said.append, lambda: now)
    for minute in range(90):
        now = 60.0 * minute
        seldom("the variable is not set")
        if minute == 30:
            seldom("the ping was not counted")
    assert said == ["the variable is not set", "the ping was not counted", "the variable is not set"]


def test_an_alarm_is_said_when_it_begins_and_again_when_it_begins_again(capfd: pytest.CaptureFixture[str]) -> None:
    alarm = Finding("memory-lost", "state.db vanished")
    session = SimpleNamespace(now=lambda: datetime(2026, 11, 21, 4, 0, tzinfo=UTC))
    report = _Reporter(session, _Log(2))  # type: ignore[arg-type]
    for alarms in ((alarm,), (alarm,), (), (alarm,)):
        seen = SimpleNamespace(alarms=alarms, at=session.now())
        assert report(Tick(seen, ())) == []  # type: ignore[arg-type]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.endswith("daemon: memory-lost: state.db vanished; see `heartbeat doctor`") for line in lines)


def test_B7_a_state_directory_that_is_gone_is_no_first_run_for_a_daemon_that_has_used_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    known: list[bool] = []
    session = SimpleNamespace(
        state=state,
        store=lambda *, read_only: open_store(state, NOW),
        keep_known=lambda: known.append((state / "state.db").exists()),
    )
    kept = _Kept(session)  # type: ignore[arg-type]
    for _ in range(3):
        with kept():
            pass
    assert known == [True], "noted once, and not before there is anything to lose"
    shutil.rmtree(state)
    with pytest.raises(StateError, match="is gone, which this daemon has used until now"), kept():
        pass


def test_an_empty_name_is_nobody(team: Path) -> None:
    for names in ("", "coo,", ",coo"):
        done = heartbeat("run", "--dry-run", "--agents", names, cwd=team)
        assert (done.code, "--agents has an empty name" in done.err) == (2, True), names
