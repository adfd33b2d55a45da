"""What a crontab line and an OnCalendar= name are exactly the agent's slots, or they are not written (rule B2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.policy import anchor_of
from heartbeat.schedule.rhythm import calendar, cron_fields, offsets_of
from heartbeat.schedule.slots import current_slot, next_slot
from tests.support.rosters import make_agent

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
UTC_ONLY = frozenset({timedelta(0)})
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

FIXED_ZONES = ("UTC", "Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Eucla", "Pacific/Marquesas")
CHANGING_ZONES = ("America/New_York", "Australia/Lord_Howe", "Europe/Berlin")

MINUTES = st.one_of(
    st.sampled_from([1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, *(60 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24))]),
    st.integers(1, 3 * 24 * 60),
)
SECONDS = st.one_of(st.sampled_from([1, 2, 5, 10, 15, 20, 30, 60]), st.integers(1, 200))
AGENTS = st.sampled_from(["coo", "secretary", "architect", "w", "x-1"])


def policy_of(every: timedelta, agent: str = "coo", cron: str | None = None):
    return make_agent(agent, every=every, anchor=anchor_of(agent, every), cron=cron).policy


def slots_of(policy, timezone: str, begin: datetime, end: datetime) -> set[datetime]:
    found, slot = set(), next_slot(policy, timezone, begin - timedelta(microseconds=1))
    while slot < end:
        found.add(slot)
        slot = next_slot(policy, timezone, slot)
    return found


def fired_by_cron(fields: str, zone: str, begin: datetime, end: datetime) -> set[datetime]:
    """The instants at which a cron in that zone, which has one offset, starts the line."""
    place = ZoneInfo(zone)
    walk = croniter(fields, begin.astimezone(place).replace(tzinfo=None) - timedelta(seconds=1))
    found = set()
    while (instant := walk.get_next(datetime).replace(tzinfo=place).astimezone(UTC)) < end:
        found.add(instant)
    return found


def elapsed(on_calendar: str, begin: datetime, end: datetime) -> set[datetime]:
    """The instants of an expression of the form that we write, by the book (systemd.time(7))."""
    form = re.fullmatch(r"\*-\*-\* ([0-9*/]+):([0-9*/]+):([0-9*/]+) UTC", on_calendar)
    assert form is not None, on_calendar
    hours, minutes, seconds = (_values(part, size) for part, size in zip(form.groups(), (24, 60, 60), strict=True))
    day, found = begin.replace(hour=0, minute=0, second=0, microsecond=0), set()
    while day < end:
        found |= {
            day + timedelta(hours=hour, minutes=minute, seconds=second)
            for hour in hours
            for minute in minutes
            for second in seconds
        }
        day += DAY
    return {instant for instant in found if begin <= instant < end}


def _values(part: str, size: int) -> range:
    if part == "*":
        return range(size)
    start, _, step = part.partition("/")
    return range(int(start), size, int(step)) if step else range(int(start), int(start) + 1)


@given(MINUTES, AGENTS, st.sampled_from(FIXED_ZONES))
def test_B2_a_crontab_line_names_exactly_the_slots_on_the_machines_clock(minutes: int, agent: str, zone: str) -> None:
    policy = policy_of(minutes * MINUTE, agent)
    fields = cron_fields(policy, UTC_ONLY, offsets_of(ZoneInfo(zone), NOW))
    if fields is not None:
        end = NOW + 2 * DAY
        assert fired_by_cron(fields, zone, NOW, end) == slots_of(policy, "UTC", NOW, end)


@given(st.one_of(MINUTES.map(lambda minutes: 60 * minutes), SECONDS), AGENTS)
def test_B2_an_on_calendar_names_exactly_the_slots_in_utc(seconds: int, agent: str) -> None:
    policy = policy_of(timedelta(seconds=seconds), agent)
    expression = calendar(policy)
    if expression is not None:
        end = NOW + max(timedelta(hours=3), 2 * min(policy.every, DAY))
        assert elapsed(expression, NOW, end) == slots_of(policy, "UTC", NOW, end)


@pytest.mark.parametrize(
    ("every", "anchor", "fields"),
    [
        (1, 0, "* * * * *"),
        (5, 1, "1-59/5 * * * *"),
        (10, 6, "6-59/10 * * * *"),
        (15, 7, "7-59/15 * * * *"),
        (15, 0, "*/15 * * * *"),
        (15, 22, "7-59/15 * * * *"),
        (60, 2, "2 * * * *"),
    ],
)
def test_rhythms_within_an_hour_are_said_to_cron(every: int, anchor: int, fields: str) -> None:
    policy = make_agent("coo", every=every * MINUTE, anchor=anchor * MINUTE).policy
    assert cron_fields(policy, UTC_ONLY, UTC_ONLY) == fields


@pytest.mark.parametrize(
    ("hours", "anchor", "fields"),
    [(2, 7, "7 */2 * * *"), (6, 67, "7 1-23/6 * * *"), (24, 605, "5 10 * * *"), (12, 720, "0 */12 * * *")],
)
def test_rhythms_within_a_day_are_said_to_cron(hours: int, anchor: int, fields: str) -> None:
    policy = make_agent("coo", every=timedelta(hours=hours), anchor=anchor * MINUTE).policy
    assert cron_fields(policy, UTC_ONLY, UTC_ONLY) == fields


@pytest.mark.parametrize("minutes", [7, 25, 45, 90, 36 * 60, 48 * 60, 7 * 24 * 60])
def test_what_neither_can_say_is_looked_for_each_minute(minutes: int) -> None:
    policy = policy_of(minutes * MINUTE)
    assert cron_fields(policy, UTC_ONLY, UTC_ONLY) is None
    assert calendar(policy) is None


@pytest.mark.parametrize("seconds", [90, 10, 45])
def test_cron_knows_no_seconds(seconds: int) -> None:
    assert cron_fields(policy_of(timedelta(seconds=seconds)), UTC_ONLY, UTC_ONLY) is None


def test_systemd_knows_seconds_that_fill_a_minute() -> None:
    assert calendar(make_agent("coo", every=timedelta(seconds=30), anchor=timedelta(seconds=7)).policy) == (
        "*-*-* *:*:07/30 UTC"
    )
    assert calendar(policy_of(timedelta(seconds=45))) is None
    assert calendar(policy_of(timedelta(seconds=90))) is None


@pytest.mark.parametrize("zone", CHANGING_ZONES)
def test_B2_hours_are_not_said_to_a_clock_that_changes(zone: str) -> None:
    offsets = offsets_of(ZoneInfo(zone), NOW)
    assert len(offsets) == 2
    assert cron_fields(policy_of(timedelta(hours=6)), UTC_ONLY, offsets) is None


def test_B2_minutes_are_said_where_the_change_is_a_multiple_of_them() -> None:
    quarter = make_agent("coo", every=15 * MINUTE, anchor=7 * MINUTE).policy
    assert cron_fields(quarter, UTC_ONLY, offsets_of(ZoneInfo("America/New_York"), NOW)) == "7-59/15 * * * *"
    assert cron_fields(quarter, UTC_ONLY, offsets_of(ZoneInfo("Australia/Lord_Howe"), NOW)) == "7-59/15 * * * *"
    twenty = make_agent("coo", every=20 * MINUTE, anchor=7 * MINUTE).policy
    assert cron_fields(twenty, UTC_ONLY, offsets_of(ZoneInfo("Australia/Lord_Howe"), NOW)) is None


@pytest.mark.parametrize(
    ("cron", "machine", "kept"),
    [
        ("*/10 8-20 * * 1-5", "Asia/Shanghai", True),
        ("*/10 8-20 * * 1-5", "Asia/Chongqing", True),
        ("*/10 8-20 * * 1-5", "UTC", False),
        ("0 9 * * mon", "Asia/Shanghai", False),
        ("0 9 * * 7", "Asia/Shanghai", False),
        ("0 9 1 * 1", "Asia/Shanghai", False),
        ("0 9 l * *", "Asia/Shanghai", False),
        ("0 22-6 * * *", "Asia/Shanghai", False),
        ("50-10/5 * * * *", "Asia/Shanghai", False),
        ("0 9 * 11-2 *", "Asia/Shanghai", False),
        ("0 9 * * 5-1", "Asia/Shanghai", False),
        ("5/15 * * * *", "Asia/Shanghai", False),
        ("5-59/15 6-22 * * 1-5", "Asia/Shanghai", True),
    ],
)
def test_a_cron_expression_is_given_to_cron_only_where_it_cannot_mean_anything_else(
    cron: str, machine: str, kept: bool
) -> None:
    policy = policy_of(15 * MINUTE, cron=cron)
    roster = offsets_of(ZoneInfo("Asia/Shanghai"), NOW)
    assert cron_fields(policy, roster, offsets_of(ZoneInfo(machine), NOW)) == (cron if kept else None)
    assert calendar(policy) is None


SIZES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def as_vixie(expression: str) -> tuple[frozenset[int], ...]:
    """What Debian's cron makes of five fields (entry.c): each bit from the low end up to the high one, by steps; of a
    range that goes round, none. Raises ValueError for what its crontab refuses."""
    fields = []
    for field, (low, high) in zip(expression.split(), SIZES, strict=True):
        bits: set[int] = set()
        for part in field.split(","):
            bounds, slash, step = part.partition("/")
            first, dash, last = bounds.partition("-")
            if bounds == "*":
                first, dash, last = str(low), "-", str(high)
            if slash and not dash:
                raise ValueError(f"a step behind a single number: {part}")
            bits.update(range(int(first), int(last or first) + 1, int(step or 1)))
        fields.append(frozenset(bits))
    return tuple(fields)


def parts(low: int, high: int) -> st.SearchStrategy[str]:
    """A field as somebody may write it, ranges that go round included."""
    value, step = st.integers(low, high), st.integers(1, high)
    part = st.one_of(
        st.just("*"),
        value.map(str),
        st.tuples(value, value).map(lambda both: f"{both[0]}-{both[1]}"),
        st.tuples(value, value, step).map(lambda all_: f"{all_[0]}-{all_[1]}/{all_[2]}"),
        st.tuples(st.just("*"), step).map(lambda both: f"*/{both[1]}"),
        st.tuples(value, step).map(lambda both: f"{both[0]}/{both[1]}"),
    )
    return st.lists(part, min_size=1, max_size=2).map(",".join)


@given(st.tuples(*(parts(low, high) for low, high in ((0, 59), (0, 23)))), st.sampled_from(["1-5", "5-1", "*", "0"]))
def test_B2_what_is_handed_to_cron_fires_there_when_the_roster_means_it(day: tuple[str, str], weekday: str) -> None:
    expression = f"{day[0]} {day[1]} * * {weekday}"
    begin = NOW.replace(hour=0) + DAY  # a Sunday
    end = begin + 2 * DAY
    try:
        policy = policy_of(15 * MINUTE, cron=expression)
        meant = fired_by_cron(expression, "UTC", begin, end)
    except (ValueError, KeyError):
        return  # the roster refuses it
    fields = cron_fields(policy, UTC_ONLY, UTC_ONLY)
    if fields is None:
        return
    minutes, hours, _, _, weekdays = as_vixie(fields)
    times = [(day, hour, minute) for day in range(2) for hour in sorted(hours) for minute in sorted(minutes)]
    instants = {begin + day * DAY + hour * 60 * MINUTE + minute * MINUTE for day, hour, minute in times}
    assert {each for each in instants if each.isoweekday() % 7 in weekdays} == meant


def test_a_cron_expression_is_not_given_to_a_clock_that_changes_even_if_it_is_the_rosters() -> None:
    offsets = offsets_of(ZoneInfo("Europe/Berlin"), NOW)
    assert cron_fields(policy_of(15 * MINUTE, cron="30 2 * * *"), offsets, offsets) is None


def test_the_oracle_of_these_tests_knows_a_slot() -> None:
    policy = make_agent("coo", every=15 * MINUTE, anchor=7 * MINUTE).policy
    assert current_slot(policy, "UTC", NOW) == NOW - 8 * MINUTE
    assert NOW + 7 * MINUTE in fired_by_cron("7-59/15 * * * *", "UTC", NOW, NOW + DAY)
    assert NOW + 7 * MINUTE in elapsed("*-*-* *:07/15:00 UTC", NOW, NOW + DAY)
