"""Rules T6 and B6: what was watched, through gaps, outages and clocks that are set forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.memory import Window
from heartbeat.rules.windows import GAP_BEATS, extended, in_utc, observed, settled

BEAT = timedelta(minutes=10)
TICK = timedelta(microseconds=1)
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def window(began: float, until: float) -> Window:
    return Window(at(began), at(until))


def looks(*minutes: float) -> tuple[Window, ...]:
    """The windows after complete looks at these minutes past noon, in this order."""
    windows: tuple[Window, ...] = ()
    for minute in minutes:
        windows = extended(windows, at(minute), BEAT)
    return windows


def test_T6_the_first_look_begins_a_window_of_no_length() -> None:
    assert looks(0) == (window(0, 0),)


def test_T6_looks_a_beat_apart_are_one_window() -> None:
    assert looks(0, 10, 20, 30) == (window(0, 30),)


def test_T6_exactly_three_beats_without_a_look_are_no_gap() -> None:
    assert looks(0, GAP_BEATS * 10) == (window(0, 30),)


def test_T6_a_microsecond_more_than_three_beats_is_a_gap() -> None:
    late = at(30) + TICK
    assert extended(looks(0), late, BEAT) == (window(0, 0), Window(late, late))


def test_T6_an_outage_lies_between_two_windows() -> None:
    assert looks(0, 10, 100, 110) == (window(0, 10), window(100, 110))


def test_B6_a_clock_that_jumps_ahead_begins_a_new_window() -> None:
    assert looks(0, 10, 80) == (window(0, 10), window(80, 80))


def test_B6_what_a_clock_saw_before_it_was_set_back_is_cut_off() -> None:
    assert looks(0, 10, 20, -1000) == (window(-1000, -1000),)
    assert looks(0, 10, 60, 70, 5) == (window(0, 5),)


def test_B6_a_jump_ahead_that_is_taken_back_is_a_gap_and_nothing_more() -> None:
    assert looks(0, 10, 20, 30 + 60, 40, 50) == (window(0, 20), window(40, 50))


def test_B6_an_outage_does_not_pass_for_watched_time_because_the_clock_was_set_back_after_it() -> None:
    """An hour ahead at noon; an outage of an hour; then the clock is right again, 20 minutes after the last look."""
    assert observed([looks(60, 70, 140, 90)], at(70), at(90)) == timedelta(0)


def test_B6_a_clock_at_1970_for_one_look_loses_what_came_before_and_sees_on() -> None:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    windows = extended(looks(0, 10), begin, BEAT)
    assert windows == (Window(begin, begin),)
    assert extended(windows, at(30), BEAT) == (Window(begin, begin), window(30, 30))


def test_the_same_look_twice_changes_nothing() -> None:
    assert looks(0, 10, 10) == looks(0, 10)


def test_T6_an_older_snapshot_than_the_last_look_takes_nothing_away_for_good() -> None:
    assert looks(0, 10, 8, 20) == looks(0, 10, 20)


def test_observed_without_a_source_is_no_time() -> None:
    assert observed([], at(0), at(60)) == timedelta(0)


def test_T6_observed_leaves_out_the_gap() -> None:
    assert observed([looks(0, 10, 100, 110)], at(5), at(115)) == timedelta(minutes=15)


def test_T6_observed_is_what_every_source_saw() -> None:
    one = (window(0, 30), window(50, 90))
    other = (window(10, 60), window(70, 80))
    assert observed([one, other], at(0), at(100)) == timedelta(minutes=20 + 10 + 10)
    assert observed([one, other, ()], at(0), at(100)) == timedelta(0)


def test_observed_since_the_future_is_no_time() -> None:
    assert observed([looks(0, 10)], at(20), at(10)) == timedelta(0)


def test_observed_does_not_look_beyond_now() -> None:
    assert observed([looks(0, 10, 20)], at(0), at(5)) == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("America/New_York", "2026-03-08T01:30-05:00", "2026-03-08T03:30-04:00"),
        ("America/New_York", "2026-11-01T00:30-04:00", "2026-11-01T01:30-05:00"),
        ("Australia/Lord_Howe", "2026-10-04T01:45+10:30", "2026-10-04T02:45+11:00"),
        ("Europe/London", "2026-10-25T01:45+01:00", "2026-10-25T01:45+00:00"),
    ],
)
def test_B6_watched_time_is_counted_in_utc_where_the_clocks_change(zone: str, before: str, after: str) -> None:
    since, now = (datetime.fromisoformat(text).astimezone(ZoneInfo(zone)) for text in (before, after))
    watched = (Window(in_utc(since) - BEAT, in_utc(now)),)
    true = in_utc(now) - in_utc(since)
    assert true != now - since, "inside one zone Python subtracts what the clocks on the wall show"
    assert observed([watched], since, now) == true
    assert extended((), now, BEAT)[0].until.utcoffset() == timedelta(0)


def test_S8_a_time_without_a_zone_is_utc() -> None:
    assert in_utc(NOON.replace(tzinfo=None)) == NOON


def test_T6_two_looks_exactly_one_beat_apart_settle() -> None:
    assert settled(looks(0, 10), at(10), BEAT)


def test_T6_two_looks_a_microsecond_less_than_a_beat_apart_do_not_settle() -> None:
    windows = extended(looks(0), at(10) - TICK, BEAT)
    assert not settled(windows, at(10) - TICK, BEAT)


def test_T6_a_source_that_was_never_seen_is_not_settled() -> None:
    assert not settled((), at(0), BEAT)


def test_T6_the_first_look_after_an_outage_does_not_settle_and_a_later_one_does() -> None:
    assert not settled(looks(0, 10, 100), at(100), BEAT)
    assert not settled(looks(0, 10, 100, 105), at(105), BEAT)
    assert settled(looks(0, 10, 100, 105, 110), at(110), BEAT)


def test_T6_a_source_out_of_sight_is_not_settled_any_more() -> None:
    assert settled(looks(0, 10), at(40), BEAT)
    assert not settled(looks(0, 10), at(40) + TICK, BEAT)


def test_B6_a_look_that_lies_in_the_future_settles_nothing() -> None:
    assert not settled(looks(0, 10), at(10) - TICK, BEAT)


instants = st.integers(-10_000, 10_000).map(at)
histories = st.lists(instants, max_size=12)
"""Complete looks as a clock showed them that may be set anywhere at any time."""


def windows_of(history: list[datetime]) -> tuple[Window, ...]:
    windows: tuple[Window, ...] = ()
    for instant in history:
        windows = extended(windows, instant, BEAT)
    return windows


@given(histories, instants)
def test_windows_stay_in_order_apart_and_in_the_past_whatever_the_clock_does(
    history: list[datetime], now: datetime
) -> None:
    windows = extended(windows_of(history), now, BEAT)
    assert all(each.began <= each.until for each in windows)
    assert all(one.until < later.began for one, later in pairwise(windows))
    assert windows[-1].until == now


@given(histories)
def test_a_clock_that_only_goes_forward_loses_no_look(history: list[datetime]) -> None:
    windows = windows_of(sorted(history))
    assert all(any(each.began <= instant <= each.until for each in windows) for instant in history)


@given(st.lists(histories, max_size=3), instants, instants)
def test_observed_is_never_negative_and_never_more_than_the_time(
    several: list[list[datetime]], since: datetime, now: datetime
) -> None:
    assert timedelta(0) <= observed([*map(windows_of, several)], since, now) <= max(now - since, timedelta(0))


@given(st.lists(histories, max_size=3), st.lists(instants, min_size=3, max_size=3))
def test_observed_adds_up_and_only_grows(several: list[list[datetime]], three: list[datetime]) -> None:
    first, second, third = sorted(three)
    windows = [*map(windows_of, several)]
    whole = observed(windows, first, third)
    assert observed(windows, first, second) + observed(windows, second, third) == whole
    assert observed(windows, first, second) <= whole
    assert observed(windows, second, third) <= whole


@given(st.lists(histories, min_size=1, max_size=3), instants, instants)
def test_one_more_source_never_adds_watched_time(several: list[list[datetime]], since: datetime, now: datetime) -> None:
    windows = [*map(windows_of, several)]
    assert observed(windows, since, now) <= observed(windows[:-1] or windows, since, now)


@given(histories, histories, instants, instants)
def test_observed_is_the_minutes_that_every_source_saw(
    one: list[datetime], other: list[datetime], since: datetime, now: datetime
) -> None:
    """By counting: all looks lie on whole minutes, so each minute is seen as a whole or not at all."""
    windows = [windows_of(one), windows_of(other)]

    def minutes(spans: tuple[Window, ...]) -> set[int]:
        return {
            minute
            for span in spans
            for minute in range(round((span.began - NOON) / BEAT * 10), round((span.until - NOON) / BEAT * 10))
        }

    both = minutes(windows[0]) & minutes(windows[1])
    within = range(round((since - NOON) / BEAT * 10), round((now - NOON) / BEAT * 10))
    assert observed(windows, since, now) == timedelta(minutes=len(both.intersection(within)))
