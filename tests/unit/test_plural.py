"""Counts in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heartbeat.plural import counted

HOUSE = Path(__file__).parents[2] / "heartbeat"
NOUNS = (
    "agents|beats|turns|tasks|tries|items|slots|messages|letters|entries|receipts|rounds|steps|tokens|retries|nudges"
)
BARE = re.compile(rf"\{{(?:len|sum)\([^{{}}]*\}} (?:more |other |earlier |open )?(?:{NOUNS})\b")
ALWAYS_SEVERAL = {
    "unfinished.py",
    "dependencies.py",
    "planner.py",
    "lookup.py",
    "happenings.py",
    "journal.py",
    "outbox.py",
    "snapshot.py",
    "deep.py",
}
"""Where the sentence is only said of two and more."""


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (0, ("agent",), "0 agents"),
        (1, ("agent",), "1 agent"),
        (2, ("try", "tries"), "2 tries"),
        (1, ("turn is", "turns are"), "1 turn is"),
        (1200, ("token",), "1,200 tokens"),
    ],
)
def test_one_is_not_told_as_many(number: int, words: tuple[str, ...], told: str) -> None:
    assert counted(number, *words) == told


def test_no_sentence_counts_with_a_noun_that_fits_only_several() -> None:
    found = {
        f"{path.relative_to(HOUSE)}: {match[0]}"
        for path in HOUSE.rglob("*.py")
        if path.name not in ALWAYS_SEVERAL
        for match in BARE.finditer(path.read_text())
    }
    assert found == set()
