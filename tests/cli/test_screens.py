"""What people and models see, whole: the screens of the sample team at a fixed time, kept as snapshots."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from freezegun import freeze_time
from syrupy.assertion import SnapshotAssertion

from heartbeat.cli import tables
from tests.support.command import heartbeat

AT = "2026-11-21T04:00:00Z"


def settled(text: str, team: Path) -> str:
    """The text without what differs from run to run: receipt ids and the directory."""
    return re.sub(r"\b[0-9a-f]{8}(?=$| {2}coo)|(?<=receipt )[0-9a-f]{8}", "<id>", text, flags=re.M).replace(
        str(team), "<team>"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["tick", "coo"],
        ["tick", "costcodev", "--format", "md"],
        ["worklist", "coo"],
        ["tasks"],
        ["tasks", "--status", "waiting", "--agent", "costcodev"],
        ["roster", "show"],
        ["roster", "show", "coo"],
        ["roster", "check"],
    ],
    ids=" ".join,
)
def test_a_screen_looks_as_it_did(team: Path, words: list[str], snapshot: SnapshotAssertion) -> None:
    with freeze_time(AT):
        done = heartbeat(*words, cwd=team)
    assert done.code == 0
    assert settled(done.out, team) == snapshot


def test_receipts_are_listed_newest_first(team: Path, snapshot: SnapshotAssertion) -> None:
    """The beats of 04:00, one more in the same slot, and one that comes in the place of two others."""
    for at in ("2026-11-21T04:00:00Z", "2026-11-21T04:05:00Z", "2026-11-21T04:26:30Z"):
        with freeze_time(at):
            heartbeat("tick", "coo", cwd=team)
    with freeze_time("2026-11-21T04:30:00Z"):
        done = heartbeat("receipts", cwd=team)
    assert settled(done.out, team) == snapshot


def test_B2_a_beat_answers_the_slot_that_it_is_late_for(team: Path) -> None:
    with freeze_time("2026-11-21T04:13:07Z"):
        document = heartbeat("tick", "coo", "--json", cwd=team).json
    assert document["receipt"]["slot"] == "2026-11-21T04:06:00.000Z"
    assert document["receipt"]["started_at"] == "2026-11-21T04:13:07.000Z"
    assert document["receipt"]["late_seconds"] == 427.0
    assert document["generated_at"] == "2026-11-21T04:13:07.000Z"


def test_a_screen_that_cannot_show_chinese_shows_something_else(team: Path) -> None:
    import os
    import subprocess
    import sys

    environment = {"PATH": os.environ["PATH"], "HOME": str(team), "PYTHONIOENCODING": "ascii"}
    for words in (["tick", "coo"], ["worklist", "coo"], ["tick", "coo", "--json"], ["render", "coo", "--stdout"]):
        command = [sys.executable, "-m", "heartbeat", "--roster", str(team / "agents.yaml"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def test_a_terminal_that_is_narrow_loses_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    for columns, width in (("40", 100), ("100", 100), ("180", 180)):
        monkeypatch.setenv("COLUMNS", columns)
        assert tables.console().width == width
