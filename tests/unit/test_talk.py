"""Whom a person is talking to, and how long that lasts (rule B4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.instants import CLOCK_SKEW
from heartbeat.rules.talk import Talk, says_deferred, talks
from heartbeat.task import Presence
from tests.support.items import NOW

QUIET = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)


def spoken(agent: str, at: datetime | None, key: str = "main") -> Presence:
    return Presence(agent, False, NOW, f"agent:{agent}:{key}", talked_at=at)


@pytest.mark.parametrize(
    ("ago", "lasts"),
    [
        (timedelta(0), True),
        (QUIET - INSTANT, True),
        (QUIET, False),
        (-CLOCK_SKEW, True),
        (-CLOCK_SKEW - INSTANT, False),
    ],
)
def test_B4_a_talk_lasts_until_quiet_after_talk_is_over(ago: timedelta, lasts: bool) -> None:
    assert ("coo" in talks([spoken("coo", NOW - ago)], QUIET, NOW)) is lasts


def test_B4_the_last_word_in_any_session_counts() -> None:
    said = [spoken("coo", NOW - 5 * MINUTE), spoken("coo", NOW - 2 * MINUTE, "feishu:direct:ou_1"), spoken("coo", None)]
    talk = Talk("coo", NOW - 2 * MINUTE, NOW + 8 * MINUTE)
    assert talks(said, QUIET, NOW) == talks(reversed(said), QUIET, NOW) == {"coo": talk}


def test_B4_where_nobody_tells_nobody_talks() -> None:
    assert talks([], QUIET, NOW) == talks([spoken("coo", None)], QUIET, NOW) == {}


def test_B4_a_deferral_is_told_in_words_that_stay_the_same_while_the_talk_goes_on() -> None:
    first, later = (talks([spoken("coo", NOW + minutes * MINUTE)], QUIET, NOW)["coo"] for minutes in (0, 4))
    assert first.why == later.why == "deferred: a person is talking to coo"
    assert first.told == "deferred: a person is talking to coo until 2026-11-21T04:10:00.000Z"
    assert says_deferred(first.why)
    assert not says_deferred("paused: moving house")


@given(
    st.lists(st.tuples(st.sampled_from(("coo", "writer")), st.none() | st.integers(-1000, 1000)), max_size=8),
    st.integers(1, 600),
)
def test_B4_every_talk_goes_on_now_and_is_the_newest_of_its_agent(
    said: list[tuple[str, int | None]], quiet: int
) -> None:
    length = quiet * MINUTE
    presence = [spoken(agent, None if ago is None else NOW - ago * MINUTE) for agent, ago in said]
    for agent, talk in talks(presence, length, NOW).items():
        assert NOW < talk.until == talk.at + length
        assert all(
            each.talked_at is None or each.talked_at <= talk.at or each.talked_at > NOW + CLOCK_SKEW
            for each in presence
            if each.agent == agent
        )
