"""Rule B2: which instant a beat answers, through two years and every change of the clock in three time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.policy import Policy, anchor_of
from heartbeat.schedule.slots import MOST_COUNTED, Span, current_slot, next_slot, slots_between
from tests.support.rosters import make_agent

MINUTE = timedelta(minutes=1)
ZONES = ("America/New_York", "Australia/Lord_Howe", "Asia/Shanghai")
CRONS = (
    "*/10 * * * *",
    "*/15 8-20 * * 1-5",
    "7 * * * *",
    "*/20 * * * *",
    "30 1 * * *",
    "30 2 * * *",
    "45 1,2 * * *",
    "0-59/20 0-6 * * *",
    "0 0 1 * *",
    "30 1 1 11 *",
    "0 9 * * mon",
)
EVERY = (timedelta(minutes=10), timedelta(minutes=15), timedelta(minutes=7), timedelta(hours=36), timedelta(seconds=90))

BEGIN = datetime(2025, 12, 1, tzinfo=UTC)
CHANGES = {
    "America/New_York": (
        datetime(2026, 3, 8, 7, tzinfo=UTC),
        datetime(2026, 11, 1, 6, tzinfo=UTC),
        datetime(2027, 3, 14, 7, tzinfo=UTC),
        datetime(2027, 11, 7, 6, tzinfo=UTC),
    ),
    "Australia/Lord_Howe": (
        datetime(2026, 4, 4, 15, tzinfo=UTC),
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2027, 4, 3, 15, tzinfo=UTC),
        datetime(2027, 10, 2, 15, 30, tzinfo=UTC),
    ),
    "Asia/Shanghai": (),
}

ANCHORS = {"coo": (6, 10), "architect": (4, 2), "costcodev": (2, 4), "secretary": (2, 7), "w": (4, 1)}
"""Minutes for `every` of 10 and of 15 minutes."""

anywhere = st.timedeltas(timedelta(0), timedelta(days=730)).map(BEGIN.__add__)
at_a_change = st.builds(
    lambda change, ahead: change + ahead,
    st.sampled_from([change for changes in CHANGES.values() for change in changes]),
    st.timedeltas(timedelta(hours=-4), timedelta(hours=4)),
)
instants = anywhere | at_a_change
zones = st.sampled_from(ZONES)


@cache
def policy_of(**rhythm: Any) -> Policy:
    return make_agent(**rhythm).policy


def by_every(every: timedelta, now: datetime, zone: str = "UTC") -> datetime:
    return current_slot(policy_of(every=every, cron=None), zone, now)


def by_cron(cron: str, zone: str, now: datetime) -> datetime:
    return current_slot(policy_of(cron=cron), zone, now)


def minutes(begin: datetime, end: datetime, step: timedelta = MINUTE) -> list[datetime]:
    return [begin + number * step for number in range((end - begin) // step)]


def test_the_changes_of_the_clock_are_where_this_file_says() -> None:
    for zone, changes in CHANGES.items():
        offsets = [
            moment.astimezone(ZoneInfo(zone)).utcoffset()
            for moment in minutes(BEGIN, BEGIN + 730 * 1440 * MINUTE, 30 * MINUTE)
        ]
        assert sum(one != other for one, other in pairwise(offsets)) == len(changes)
        for change in changes:
            before, after = change - MINUTE, change
            assert before.astimezone(ZoneInfo(zone)).utcoffset() != after.astimezone(ZoneInfo(zone)).utcoffset()


@given(st.sampled_from(EVERY), zones, instants, instants)
def test_B2_every_is_never_early_never_back_and_one_instant_a_slot(
    every: timedelta, zone: str, one: datetime, other: datetime
) -> None:
    slot = by_every(every, one, zone)
    assert slot <= one < slot + every
    assert slot.utcoffset() == timedelta(0)
    assert by_every(every, slot, zone) == slot
    assert by_every(every, slot + every - timedelta(microseconds=1), zone) == slot
    assert by_every(every, slot + every, zone) == slot + every
    assert (by_every(every, one, zone) <= by_every(every, other, zone)) or one > other


@given(st.sampled_from(EVERY), instants)
def test_B2_the_time_zone_has_no_say_in_every(every: timedelta, now: datetime) -> None:
    assert {by_every(every, now.astimezone(ZoneInfo(zone)), zone) for zone in ZONES} == {by_every(every, now)}


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("every", EVERY[:3])
def test_B2_a_change_of_the_clock_neither_loses_nor_doubles_a_slot_of_every(zone: str, every: timedelta) -> None:
    for change in CHANGES[zone]:
        asked = minutes(change - timedelta(hours=4), change + timedelta(hours=4))
        slots = sorted({by_every(every, now.astimezone(ZoneInfo(zone)), zone) for now in asked})
        assert {later - earlier for earlier, later in pairwise(slots)} == {every}


@given(st.sampled_from(CRONS), zones, instants, instants, st.floats(0, 1))
def test_B2_cron_is_never_early_never_back_and_one_instant_a_slot(
    cron: str, zone: str, one: datetime, other: datetime, share: float
) -> None:
    slot = by_cron(cron, zone, one)
    assert slot <= one
    assert slot.utcoffset() == timedelta(0)
    assert by_cron(cron, zone, slot) == slot
    assert by_cron(cron, zone, slot + (one - slot) * share) == slot
    assert by_cron(cron, zone, slot - timedelta(microseconds=1)) < slot
    first, second = sorted((one, other))
    assert by_cron(cron, zone, first) <= by_cron(cron, zone, second)


@given(st.sampled_from(CRONS), zones, anywhere)
def test_B2_a_cron_slot_reads_so_on_the_wall_away_from_a_change(cron: str, zone: str, now: datetime) -> None:
    slot = by_cron(cron, zone, now)
    if any(abs(slot - change) < timedelta(hours=2) for change in CHANGES[zone]):
        return
    wall = slot.astimezone(ZoneInfo(zone))
    minute, hour = (numbers(field, last) for field, last in zip(cron.split(), (59, 23), strict=False))
    assert wall.minute in minute
    assert wall.hour in hour
    assert (wall.second, wall.microsecond) == (0, 0)


def numbers(field: str, last: int) -> set[int]:
    """What a field of a cron expression means, for the forms that are used here."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = ("0", "-", str(last)) if span == "*" else span.partition("-")
        found |= set(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def expected(cron: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """The slots of every minute from `begin` to `end`, found by looking at each minute's wall clock.

    A time of day that the clock shows twice counts the first time; one that it skips counts at the change. A rhythm
    (a minute or hour field that starts with a star) counts whenever the wall clock shows it.
    """
    minute, hour = (numbers(field, last) for field, last in zip(cron.split(), (59, 23), strict=False))
    once = not any(field.startswith("*") for field in cron.split()[:2])
    found: list[datetime] = []
    shown: datetime | None = None
    for moment in minutes(begin, end):
        local = moment.astimezone(ZoneInfo(zone))
        wall = local.replace(tzinfo=None, fold=0)
        walls = [wall]
        if once and shown is not None:
            skipped = max(0, (wall - shown) // MINUTE - 1)
            walls += [shown + (number + 1) * MINUTE for number in range(skipped)]
        due = any(face.minute in minute and face.hour in hour for face in walls)
        if due and not (once and local.fold):
            found.append(moment)
        shown = wall
    return found


@pytest.mark.parametrize(
    "cron", [*CRONS[:8], "15 2 * * *", "*/7 * * * *", "33-57/6 1 * * *", "*/15 2 * * *", "10 2,3 * * *"]
)
@pytest.mark.parametrize("zone", ZONES)
def test_B2_cron_around_a_change_is_what_a_look_at_each_minute_gives(zone: str, cron: str) -> None:
    daily = " ".join((*cron.split()[:2], "*", "*", "*"))
    for change in (CHANGES[zone] or (datetime(2026, 3, 8, 7, tzinfo=UTC),))[:2]:
        slots = expected(daily, zone, change - timedelta(hours=30), change + timedelta(hours=5))
        for now in minutes(change - timedelta(hours=4), change + timedelta(hours=5), 5 * MINUTE):
            assert by_cron(daily, zone, now) == max(slot for slot in slots if slot <= now), now


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["30 1 * * *", "30 2 * * *", "45 1 * * *", "15 2 * * *", "0 3 * * *", "0 0 * * *"])
def test_B2_a_daily_beat_comes_once_on_every_day_of_two_years(zone: str, cron: str) -> None:
    asked = [BEGIN + number * timedelta(hours=8) for number in range(3 * 730)]
    slots = {by_cron(cron, zone, now) for now in asked}
    days = sorted(slot.astimezone(ZoneInfo(zone)).date() for slot in slots)
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]
    assert len(days) >= 730
    assert days[1] == date(2025, 12, 1) or days[0] == date(2025, 12, 1)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "slot"),
    [
        ("30 1 * * *", "America/New_York", "2026-11-01T06:45", "2026-11-01T05:30"),
        ("30 2 * * *", "America/New_York", "2026-03-08T07:05", "2026-03-08T07:00"),
        ("*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T15:05", "2026-04-04T14:40"),
        ("0 9 * * *", "Asia/Shanghai", "2026-11-21T01:00", "2026-11-21T01:00"),
        ("0 9 * * *", "Asia/Shanghai", "2026-11-21T00:59:59.999999", "2026-11-20T01:00"),
        ("0 0 29 2 *", "Asia/Shanghai", "2026-11-21T00:00", "2024-02-28T16:00"),
    ],
)
def test_B2_slots_worth_knowing_by_heart(cron: str, zone: str, now: str, slot: str) -> None:
    asked, due = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, slot))
    assert by_cron(cron, zone, asked) == due


def test_B2_without_anchors_agents_that_share_a_rhythm_share_their_slots() -> None:
    now = datetime(2026, 11, 21, 4, 7, 31, tzinfo=UTC)
    assert by_every(timedelta(minutes=10), now) == datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
    assert by_cron("*/10 * * * *", "Asia/Shanghai", now) == by_every(timedelta(minutes=10), now)


# Anchors.

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
rhythms = st.sampled_from(
    (*EVERY, timedelta(minutes=2), timedelta(hours=24), timedelta(seconds=2), timedelta(seconds=61))
)


@given(names, rhythms)
def test_B2_an_anchor_is_within_every_never_zero_and_in_whole_minutes_where_every_is(
    name: str, every: timedelta
) -> None:
    anchor = anchor_of(name, every)
    assert timedelta(0) < anchor < every
    assert anchor % (MINUTE if every % MINUTE == timedelta(0) else timedelta(seconds=1)) == timedelta(0)


@pytest.mark.parametrize("every", [MINUTE, timedelta(seconds=1)])
def test_B2_a_rhythm_with_one_place_only_has_no_anchor(every: timedelta) -> None:
    assert {anchor_of(name, every) for name in ("coo", "architect")} == {timedelta(0)}


def test_B2_anchors_are_the_same_on_every_machine_and_at_every_time() -> None:
    """Written down once: schedules that were installed by another version rely on them."""
    anchors = {(name, every): anchor_of(name, every * MINUTE) // MINUTE for name in ANCHORS for every in (10, 15)}
    assert anchors == {(name, every): ANCHORS[name][every == 15] for name in ANCHORS for every in (10, 15)}
    assert anchor_of("coo", timedelta(seconds=90)) == timedelta(seconds=57)


@pytest.mark.parametrize("every", [10, 15, 60, 24 * 60])
def test_B2_a_thousand_agents_are_spread_over_all_places(every: int) -> None:
    count = 1000
    places = [anchor_of(f"agent-{number}", every * MINUTE) // MINUTE for number in range(count)]
    fullest = max(places.count(place) for place in set(places))
    fair = count / (every - 1)
    assert set(places) <= set(range(1, every))
    assert len(set(places)) >= min(every - 1, count) * (1 if every <= 60 else 0.4)
    assert fullest <= 2 * fair + 6


@given(names, st.sampled_from(EVERY), zones, instants)
def test_B2_an_anchor_moves_the_slots_and_nothing_else(name: str, every: timedelta, zone: str, now: datetime) -> None:
    anchor = anchor_of(name, every)
    policy = make_agent(name, every=every, cron=None, anchor=anchor).policy
    slot = current_slot(policy, zone, now)
    assert slot <= now < slot + every
    assert (slot - anchor - datetime(1970, 1, 1, tzinfo=UTC)) % every == timedelta(0)
    assert slot == by_every(every, now - anchor, zone) + anchor


# The next slot, and those between.

TICK = timedelta(microseconds=1)
policies = st.sampled_from(CRONS).map(lambda cron: make_agent(cron=cron).policy) | st.builds(
    lambda name, every: make_agent(name, every=every, cron=None, anchor=anchor_of(name, every)).policy,
    names,
    st.sampled_from(EVERY),
)


@given(policies, zones, instants)
def test_B2_the_next_slot_is_a_slot_and_there_is_none_before_it(policy: Policy, zone: str, now: datetime) -> None:
    following = next_slot(policy, zone, now)
    assert following > now
    assert following.utcoffset() == timedelta(0)
    assert current_slot(policy, zone, following) == following
    assert current_slot(policy, zone, following - TICK) == current_slot(policy, zone, now)


@given(policies, zones, instants)
def test_B2_the_next_slot_after_a_slot_is_another_one(policy: Policy, zone: str, now: datetime) -> None:
    slot = current_slot(policy, zone, now)
    assert next_slot(policy, zone, slot - TICK) == slot
    assert next_slot(policy, zone, slot) == next_slot(policy, zone, now)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", CRONS)
def test_B2_going_from_slot_to_slot_meets_every_slot_around_a_change(zone: str, cron: str) -> None:
    policy = make_agent(cron=cron).policy
    for change in (CHANGES[zone] or (datetime(2026, 3, 8, 7, tzinfo=UTC),))[:2]:
        begin, end = change - timedelta(hours=4), change + timedelta(hours=5)
        looked_at = {current_slot(policy, zone, now) for now in minutes(begin, end)}
        walked = [current_slot(policy, zone, begin)]
        while (following := next_slot(policy, zone, walked[-1])) < end:
            walked.append(following)
        assert walked == sorted(looked_at)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "slot"),
    [
        ("10,16 * * * *", "UTC", "2026-11-21T04:01", "2026-11-21T04:10"),
        ("30 1 * * *", "America/New_York", "2026-11-01T05:30", "2026-11-02T06:30"),
        ("30 2 * * *", "America/New_York", "2026-03-08T06:59", "2026-03-08T07:00"),
        ("0 0 29 2 *", "Asia/Shanghai", "2026-11-21T00:00", "2028-02-28T16:00"),
        ("59 23 31 12 *", "Asia/Shanghai", "2026-12-31T15:59", "2027-12-31T15:59"),
    ],
)
def test_B2_next_slots_worth_knowing_by_heart(cron: str, zone: str, now: str, slot: str) -> None:
    asked, due = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, slot))
    assert next_slot(make_agent(cron=cron).policy, zone, asked) == due


@given(policies, zones, instants, st.timedeltas(timedelta(0), timedelta(hours=4)))
def test_B2_the_slots_between_are_those_that_one_meets_on_the_way(
    policy: Policy, zone: str, after: datetime, length: timedelta
) -> None:
    before = after + length
    walked: list[datetime] = []
    slot = next_slot(policy, zone, after)
    while slot < before:
        walked.append(slot)
        slot = next_slot(policy, zone, slot)
    expected = Span(walked[0], walked[-1], len(walked)) if walked else None
    assert slots_between(policy, zone, after, before) == expected


def test_B2_the_ends_are_not_between() -> None:
    policy = make_agent(every=10 * MINUTE, cron=None).policy
    at = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
    assert slots_between(policy, "UTC", at, at + 10 * MINUTE) is None
    assert slots_between(policy, "UTC", at, at + 10 * MINUTE + TICK) == Span(at + 10 * MINUTE, at + 10 * MINUTE, 1)
    assert slots_between(policy, "UTC", at - TICK, at + TICK) == Span(at, at, 1)
    assert slots_between(policy, "UTC", at, at) is None
    assert slots_between(policy, "UTC", at, at - 30 * MINUTE) is None


def test_B2_ages_are_counted_exactly_for_every_and_up_to_a_limit_for_cron() -> None:
    begin, end = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    exact = slots_between(make_agent(every=10 * MINUTE, cron=None).policy, "UTC", begin, end)
    assert exact == Span(begin + 10 * MINUTE, end - 10 * MINUTE, 10 * 365 * 144 + 3 * 144 - 1)
    counted = slots_between(make_agent(cron="*/10 * * * *").policy, "UTC", begin, end)
    assert counted == Span(begin + 10 * MINUTE, end - 10 * MINUTE, MOST_COUNTED)
