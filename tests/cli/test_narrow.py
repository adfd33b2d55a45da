"""Screens that know what to leave out on a narrow terminal: a line stays a line (docs/dispatch.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from freezegun import freeze_time
from rich.console import Console

from heartbeat.attempt import Outcome, Usage
from heartbeat.cli.terminal import columns
from tests.support.command import Result, heartbeat
from tests.support.operations import AT, FAILED, HOSTILE, MINUTE, NOW, TURN, put_turns, remembering
from tests.support.receipts import attempt, over

LONG = "the provider said: " + "again and again, " * 40 + "END"
At = Callable[[int], None]


@pytest.fixture
def at_width(monkeypatch: pytest.MonkeyPatch) -> At:
    """Lets the commands that follow find a terminal of this width."""

    def set_width(width: int) -> None:
        def console(narrowest: int = 100) -> Console:
            assert narrowest <= 80
            return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)

        monkeypatch.setattr("heartbeat.cli.tables.console", console)

    return set_width


@pytest.fixture
def team_with_turns(team: Path) -> Path:
    with remembering(team) as store:
        put_turns(store)
        begun = attempt(7, agent="architect", planned_at=NOW - 9 * MINUTE, accepted_at=NOW - 9 * MINUTE)
        assert store.add_attempt(over(replace(begun, error=LONG), NOW - 8 * MINUTE, Outcome.FAILED))
    return team


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat(*words, cwd=team)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_each_turn_is_one_line_however_long_its_error_is(team_with_turns: Path, at_width: At, width: int) -> None:
    at_width(width)
    *rows, hint = at_four(team_with_turns, "attempts").out.splitlines()
    assert len(rows) == 3
    assert [columns(row.rstrip()) <= width for row in rows] == [True, True, True]
    assert [row.split()[0][:6] for row in rows] == [FAILED.id[:6], TURN.id[:6], "hb-7"]
    assert hint == "  heartbeat attempts hb-7 shows one with its whole error"
    assert ("CST" in rows[0], "second" in rows[1]) == (width >= 130, width >= 100)
    assert "500" in rows[0]


def test_a_turn_by_its_id_has_its_whole_error(team_with_turns: Path) -> None:
    done = at_four(team_with_turns, "attempts", "hb-7")
    assert " ".join(done.out.split()).endswith("again, END")
    assert "failed in 1m" in done.out
    failed = at_four(team_with_turns, "attempts", FAILED.id[:8])
    assert not set(failed.out) & {"\x1b", "\x07", "\u202e", "\x00"}
    assert "红[x](http://evil)" in failed.out, HOSTILE
    one = at_four(team_with_turns, "attempts", FAILED.id[:8], "--json").json
    assert [each["dispatch"] for each in one["attempts"]] == [FAILED.id]


def test_costs_fit_a_terminal_of_eighty_columns(team: Path, at_width: At) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "dispatch: openclaw\n")
    with remembering(team) as store:
        for number in range(1, 9):
            usage = Usage(123_456, 7_890, 12.5) if number % 2 else Usage()
            at = NOW - number * MINUTE
            begun = attempt(number, agent="architect", planned_at=at, accepted_at=at, usage=usage)
            assert store.add_attempt(over(begun, at + MINUTE, Outcome.FAILED if number % 3 else Outcome.COMPLETED))
    at_width(80)
    done = at_four(team, "cost", "--days", "1")
    assert max(columns(line.rstrip()) for line in done.out.splitlines() if not line.startswith("  0 of")) <= 80
    assert "at least 493.8k in, 31.6k out" in done.out
    assert "at least $50.0000" in done.out
    at_width(140)
    assert "493,824 tokens in, 31,560 out (4 not told)" in at_four(team, "cost", "--days", "1").out
