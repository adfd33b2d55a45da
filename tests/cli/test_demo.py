"""`heartbeat demo`: what a newcomer sees first, whole, kept as snapshots; the same every time (rule G2)."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from heartbeat.simulate.cases import CASES, play_case
from tests.support.command import heartbeat, tree


@pytest.mark.parametrize("case", CASES)
def test_G2_a_case_looks_as_it_did(case: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    done = heartbeat("demo", case, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out == snapshot


@pytest.mark.parametrize("case", CASES)
def test_G2_a_case_looks_as_it_did_at_a_terminal(
    case: str, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    from heartbeat.cli.demo import demo

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("LINES", "50")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    demo(case=case, into=None)
    assert "\x1b[" in screen.getvalue()
    assert screen.getvalue() == snapshot


def test_G2_the_demo_shows_the_worklist_then_every_case_the_same_each_time(tmp_path: Path) -> None:
    first, again = (heartbeat("demo", cwd=tmp_path) for _ in range(2))
    assert first.out == again.out
    places = [first.out.index(words) for words in ("The worklist of coo", *(case.title for case in CASES.values()))]
    assert places == sorted(places)
    for case in CASES:
        assert heartbeat("demo", case, cwd=tmp_path).out.strip() in first.out
    assert list(tmp_path.iterdir()) == []


def test_G2_nothing_is_waited_for_and_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **fields: object) -> None:
        raise AssertionError("the demo must neither wait nor reach out")

    monkeypatch.setattr(time, "sleep", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert heartbeat("demo", cwd=tmp_path).code == 0


def test_G2_the_stalled_task_climbs_the_whole_ladder() -> None:
    counts = play_case(CASES["stall"]).counts
    assert (counts.nudges, counts.writes) == (3, {"block": 1, "recover": 2})
    assert counts.wrong_recoveries == ()


def test_G2_the_provider_fails_over_to_a_dead_letter_that_is_replayed() -> None:
    result = play_case(CASES["failover"])
    turns = result.counts.turns
    assert turns.letters == {"replayed": 1}
    assert turns.replays == 1
    assert result.counts.tasks == {"done": 1}
    said = [moment.what for moment in result.timeline]
    steps = (
        "heartbeat: its turn with first came to nothing",
        "heartbeat: its turn with second came to nothing",
        "heartbeat: nobody is left to ask: it is a dead letter now",
        "provider first answers as before",
        "heartbeat: starts writer on it again, out of its dead letter",
        "heartbeat: the dead letter is done with",
        "finishes it",
    )
    assert [said.index(step) for step in steps] == sorted(said.index(step) for step in steps)


def test_an_unknown_case_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    done = heartbeat("demo", "stal", cwd=tmp_path)
    assert done.code == 2
    assert "known cases: stall, failover" in done.err
    done = heartbeat("demo", "stall", "--into", "sample", cwd=tmp_path)
    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
def test_a_disk_that_is_full_keeps_nothing_of_the_sample_and_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    write, left = Path.write_bytes, iter(range(3))

    def limited(path: Path, content: bytes) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", limited)
    if there:
        (tmp_path / "sample").mkdir()
    done = heartbeat("demo", "--into", "sample", cwd=tmp_path)
    assert done.code == 73
    assert ": cannot be written: No space left on device; nothing was kept" in done.err
    assert "make room there" in done.err
    assert "[(" not in done.err
    assert tree(tmp_path) == ({"sample": None} if there else {})
