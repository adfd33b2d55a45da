"""Rules S8 and B6: instants and durations as text."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.instants import (
    CLOCK_SKEW,
    exact_duration,
    format_duration,
    not_after,
    parse_duration,
    parse_instant,
    to_text,
)

MOMENT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
SECONDS = 1795233600
BEGIN = datetime(1980, 1, 1, tzinfo=UTC)
INSTANTS = st.timedeltas(timedelta(0), timedelta(days=80_000)).map(BEGIN.__add__)


@pytest.mark.parametrize(
    "value",
    [
        SECONDS,
        float(SECONDS),
        SECONDS * 1000,
        float(SECONDS * 1000),
        str(SECONDS),
        str(SECONDS * 1000),
        f" {SECONDS} ",
        "2026-11-21T04:00:00Z",
        "2026-11-21T04:00:00+00:00",
        "2026-11-21T04:00:00.000Z",
        "2026-11-21 04:00:00",
        "2026-11-21T04:00",
        "2026-11-21T12:00:00+08:00",
        "2026-11-20T23:00:00-05:00",
        "20261121T040000Z",
        "  2026-11-21T04:00:00Z\n",
    ],
)
def test_S8_every_way_to_write_an_instant_is_the_same_instant_in_utc(value: object) -> None:
    parsed = parse_instant(value)
    assert parsed == MOMENT
    assert parsed is not None
    assert parsed.tzinfo is UTC


def test_S8_a_text_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert parse_instant("2026-11-21T04:00:00") == MOMENT
        assert parse_instant(SECONDS) == MOMENT
    finally:
        monkeypatch.undo()
        time.tzset()


@given(INSTANTS)
def test_S8_milliseconds_and_seconds_are_told_apart(instant: datetime) -> None:
    whole = instant.replace(microsecond=0)
    seconds = int(whole.timestamp())
    assert parse_instant(seconds) == whole
    assert parse_instant(seconds * 1000) == whole


def test_S8_fractions_are_kept() -> None:
    assert parse_instant(SECONDS + 0.25) == MOMENT + timedelta(milliseconds=250)
    assert parse_instant(SECONDS * 1000 + 250) == MOMENT + timedelta(milliseconds=250)
    assert parse_instant("2026-11-21T04:00:00.123456Z") == MOMENT + timedelta(microseconds=123456)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "",
        "   ",
        "yesterday",
        "0",
        0,
        0.0,
        -1,
        -SECONDS,
        -SECONDS * 1000.0,
        f"-{SECONDS}",
        math.nan,
        math.inf,
        -math.inf,
        "nan",
        "inf",
        "1e12",
        1e300,
        10**18,
        10**400,
        -(10**400),
        "9" * 17,
        "9" * 5000,
        "2026-13-01T00:00:00Z",
        "2026-02-30",
        "2026-11-21T25:00:00Z",
        "2026-11-21T04:00:00Zzz",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "\ud800",
        "\x00",
        [],
        {},
        b"2026-11-21",
        object(),
    ],
)
def test_S8_what_holds_no_time_is_none_and_never_an_error(value: object) -> None:
    assert parse_instant(value) is None


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers()))
def test_S8_whatever_comes_is_an_aware_instant_or_none(value: object) -> None:
    parsed = parse_instant(value)
    assert parsed is None or parsed.utcoffset() == timedelta(0)


@given(st.text(alphabet="0123456789-:T.Z+ W", max_size=30))
def test_S8_text_that_is_nearly_an_instant_is_an_aware_instant_or_none(text: str) -> None:
    parsed = parse_instant(text)
    assert parsed is None or parsed.utcoffset() == timedelta(0)


@given(INSTANTS, st.integers(-14 * 60, 14 * 60))
def test_S8_text_and_instant_round_trip_to_the_millisecond(instant: datetime, minutes: int) -> None:
    whole = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    elsewhere = whole.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_instant(to_text(elsewhere)) == whole
    assert to_text(elsewhere) == to_text(whole)


def test_to_text_is_utc_with_whole_milliseconds_and_a_z() -> None:
    assert to_text(MOMENT) == "2026-11-21T04:00:00.000Z"
    shanghai = timezone(timedelta(hours=8))
    assert to_text(datetime(2026, 11, 21, 12, 0, 0, 5999, tzinfo=shanghai)) == "2026-11-21T04:00:00.005Z"


@pytest.mark.parametrize(
    ("ahead", "corrected"),
    [
        (timedelta(days=-3), False),
        (timedelta(0), False),
        (timedelta(minutes=5), False),
        (timedelta(minutes=5, microseconds=1), True),
        (timedelta(days=9000), True),
    ],
)
def test_S8_more_than_five_minutes_ahead_is_now_and_said_so(ahead: timedelta, corrected: bool) -> None:
    expected = (MOMENT, True) if corrected else (MOMENT + ahead, False)
    assert not_after(MOMENT + ahead, MOMENT) == expected
    assert timedelta(minutes=5) == CLOCK_SKEW


def test_S8_no_time_stays_no_time() -> None:
    assert not_after(None, MOMENT) == (None, False)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("20m", timedelta(minutes=20)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        (" 15M ", timedelta(minutes=15)),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "10",
        "m",
        "10 m",
        "10 minutes",
        "10min",
        "-5m",
        "+5m",
        "0m",
        "0s",
        "0h0m",
        "0.0000001s",
        "1:30",
        "1e3s",
        "nan",
        "infs",
        "1,5h",
        ".5h",
        "5.h",
        "１０m",
        "10ms",
        "1y",
        "P1D",
        "10m\n10",
        "9" * 400 + "w",
        "99999999999d",
    ],
)
def test_R1_zero_negative_and_junk_are_refused_with_the_text_and_the_mend(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.text(alphabet="0123456789.smhdw -", max_size=12))
def test_a_duration_is_above_zero_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) > timedelta(0)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=400), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=59, milliseconds=900), "1m"),
        (timedelta(seconds=60), "1m"),
        (timedelta(minutes=12, seconds=31), "12m"),
        (timedelta(minutes=59, seconds=59), "59m"),
        (timedelta(minutes=60), "1h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(hours=1, seconds=59), "1h"),
        (timedelta(hours=24), "1d"),
        (timedelta(days=3, hours=4, minutes=59), "3d4h"),
        (timedelta(days=400), "400d"),
        (-timedelta(minutes=5), "-5m"),
        (45, "45s"),
        (5400.0, "1h30m"),
    ],
)
def test_a_duration_is_shown_with_its_two_largest_units(duration: timedelta | float, text: str) -> None:
    assert format_duration(duration) == text


@given(
    st.integers(1, 59)
    | st.integers(1, 1439).map(lambda minutes: minutes * 60)
    | st.integers(1, 9999).map((3600).__mul__)
)
def test_what_two_units_can_say_round_trips(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == timedelta(seconds=seconds)


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=3000)))
def test_what_is_shown_is_never_more_than_it_is(duration: timedelta) -> None:
    shown = parse_duration(format_duration(duration))
    assert shown <= duration + timedelta(milliseconds=500)
    assert shown > duration * 0.5


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4), "1d2h3m4s"),
        (timedelta(days=90), "90d"),
        (timedelta(seconds=1, milliseconds=500), "1.5s"),
        (timedelta(milliseconds=50), "0.05s"),
        (-timedelta(seconds=61), "-1m1s"),
    ],
)
def test_a_duration_that_was_set_is_shown_to_its_last_digit(duration: timedelta, text: str) -> None:
    assert exact_duration(duration) == text


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=3000)))
def test_what_is_shown_of_a_setting_reads_back_as_itself(duration: timedelta) -> None:
    assert abs(parse_duration(exact_duration(duration)) - duration) <= timedelta(microseconds=1)
