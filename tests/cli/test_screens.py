"""What people and models see, whole: the screens of the sample team at a fixed time, kept as snapshots."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from freezegun import freeze_time
from syrupy.assertion import SnapshotAssertion

from heartbeat.cli import screen, tables, terminal
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
    with freeze_time("2026-11-21T04:00:00Z"):
        heartbeat("tick", "coo", cwd=team)
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


class Terminal(io.StringIO):
    """A screen; its width is what COLUMNS says."""

    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From now on standard output."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    return terminal


def test_what_is_shown_is_as_wide_as_the_terminal_down_to_60_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    at_terminal(monkeypatch)
    for columns, width in (("40", 60), ("60", 60), ("80", 80), ("180", 180)):
        monkeypatch.setenv("COLUMNS", columns)
        assert tables.console().width == width
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert tables.console().width == screen.WIDTH_WITHOUT_TERMINAL, "a pipe has no width"


@pytest.mark.parametrize("columns", [60, 66, 72, 80, 100])
def test_a_narrow_terminal_loses_nothing_of_a_table_and_no_line_ends_in_blanks(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    shown_at = at_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [
        ("c0ffee13 = BIZ-31", "urgent-and-important", "登录页报错五百号错误页面不见了", "2026-11-22 00:43:28 CST"),
        ("TODO.md:6", "high", "x" * 90, "due"),
    ]
    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"}, {"no_wrap": True})
    for row in rows:
        table.add_row("", *(tables.cell(each, "dim") for each in row))
    tables.console().print(table)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown_at.getvalue())
    for row in rows:
        for each in row:
            assert not Counter(each.replace(" ", "")) - Counter(shown), f"{each!r} is not whole in\n{shown}"
    assert all(terminal.columns(line) <= columns for line in shown.splitlines())
    assert not [line for line in shown.splitlines() if line.endswith(" ")]


def test_where_there_is_room_nothing_is_folded_but_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_at = at_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "60")
    table = tables.grid({"no_wrap": True}, {"overflow": "fold"})
    table.add_row("", tables.cell("workboard and more"), tables.cell("words " * 12))
    tables.console().print(table)
    assert shown_at.getvalue().startswith("  workboard and more  words words words")
