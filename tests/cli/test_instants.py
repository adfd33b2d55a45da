"""`--at`: which instant was judged is said, in the roster's zone, as everything else on a screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import heartbeat

JUDGED = "judged as of 2026-11-21 12:00:00 CST"


@pytest.mark.parametrize("words", [("timeouts", "--fail-on", "never"), ("tasks",), ("explain", "BIZ-28")], ids=" ".join)
@pytest.mark.parametrize("at", ["2026-11-21T04:00", "2026-11-21T12:00+08:00", "1795233600"])
def test_a_text_without_a_zone_is_utc_and_the_output_says_what_was_judged(
    team: Path, words: tuple[str, ...], at: str
) -> None:
    done = heartbeat(*words, "--at", at, cwd=team)
    assert done.out.splitlines()[0] == JUDGED


def test_without_it_the_present_is_judged_and_nothing_is_said(team: Path) -> None:
    assert "judged as of" not in heartbeat("timeouts", cwd=team).out
