"""What an agent's turns cost in a day, and when that is as much as the roster allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.attempt import Attempt, Life, Usage
from heartbeat.rules.budget import Budget, Spent, budget_of, day_began, day_ends, over, spent
from tests.support.items import NOW, card
from tests.support.situations import attempt

CARD = card(1, "t").ref
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Pacific/Apia",
]


def turn(at: datetime | None = NOW, **usage: Any) -> Attempt:
    return attempt(1, CARD, accepted_at=at, usage=Usage(**usage))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# What was used.


def test_turns_tokens_and_dollars_are_added_up() -> None:
    turns = [
        turn(input_tokens=100, output_tokens=20, cost_usd=0.1),
        turn(input_tokens=5, output_tokens=0, cost_usd=0.2),
        turn(output_tokens=7, cost_usd=0.0),
    ]
    assert spent(turns, NOW - DAY) == Spent(turns=3, tokens=132, cost_usd=0.3)


def test_what_is_not_known_of_a_turn_is_counted_apart_and_is_not_0() -> None:
    assert spent([turn(), turn(cost_usd=0.5), turn(input_tokens=3)], NOW) == Spent(3, 3, 0.5, 2, 2)


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0])
def test_a_cost_that_makes_no_sense_is_not_known(cost: float) -> None:
    assert spent([turn(cost_usd=cost, input_tokens=-5)], NOW) == Spent(1, 0, 0.0, 1, 0)


def test_only_what_an_engine_accepted_was_a_turn_in_whatever_life_it_is() -> None:
    attempts = [replace(turn(), life=life) for life in Life] + [turn(None)]
    assert spent(attempts, NOW).turns == len(Life)


def test_the_day_begins_and_ends_at_its_instants() -> None:
    turns = [turn(NOW - TICK), turn(NOW), turn(NOW + DAY - TICK), turn(NOW + DAY)]
    assert spent(turns, NOW, NOW + DAY).turns == 2
    assert spent(turns, NOW).turns == 3


def test_instants_of_any_zone_are_compared_as_instants() -> None:
    there = NOW.astimezone(ZoneInfo("Asia/Shanghai"))
    assert spent([turn(there)], NOW, NOW + TICK).turns == 1
    assert spent([turn(NOW)], there, there + TICK).turns == 1


@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=20))
def test_the_sum_does_not_depend_on_the_order(costs: list[float]) -> None:
    turns = [turn(cost_usd=cost) for cost in costs]
    assert spent(turns, NOW) == spent(turns[::-1], NOW)


# Days.


@pytest.mark.parametrize(
    ("zone", "now", "began", "ends"),
    [
        ("UTC", "2026-11-21T04:00", "2026-11-21T00:00", "2026-11-22T00:00"),
        ("UTC", "2026-11-21T00:00", "2026-11-21T00:00", "2026-11-22T00:00"),
        ("Asia/Shanghai", "2026-11-21T15:59", "2026-11-20T16:00", "2026-11-21T16:00"),
        ("Asia/Shanghai", "2026-11-21T16:00", "2026-11-21T16:00", "2026-11-22T16:00"),
        # 23 and 25 hours.
        ("America/New_York", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        # Half an hour.
        ("Australia/Lord_Howe", "2026-10-03T20:00", "2026-10-03T13:30", "2026-10-04T13:00"),
        # Midnight is skipped: the day begins at one o'clock.
        ("Asia/Beirut", "2026-03-29T10:00", "2026-03-28T22:00", "2026-03-29T21:00"),
        ("America/Sao_Paulo", "2018-11-04T10:00", "2018-11-04T03:00", "2018-11-05T02:00"),
        # Midnight comes twice: the day begins with the first, and both are in it.
        ("America/Havana", "2026-11-01T04:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        # A day that did not exist.
        ("Pacific/Apia", "2011-12-30T09:00", "2011-12-29T10:00", "2011-12-30T10:00"),
    ],
)
def test_B6_a_day_is_a_calendar_day_of_the_roster_however_long_it_is(
    zone: str, now: str, began: str, ends: str
) -> None:
    assert day_began(instant(now), zone) == instant(began)
    assert day_ends(instant(now), zone) == instant(ends)


@given(
    st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1)).map(lambda each: each.replace(tzinfo=UTC)),  # noqa: DTZ001
    st.sampled_from(ZONES),
)
def test_B6_every_instant_lies_in_its_day_and_the_next_day_begins_where_it_ends(now: datetime, zone: str) -> None:
    began, ends = day_began(now, zone), day_ends(now, zone)
    assert began <= now < ends
    assert timedelta(hours=22) < ends - began < timedelta(hours=26)
    assert day_began(began, zone) == day_began(ends - TICK, zone) == began
    assert day_began(ends, zone) == ends


# Whether it is too much.


@pytest.mark.parametrize(
    ("used", "budget", "told"),
    [
        (Spent(turns=2), Budget(turns_per_day=3), ""),
        (Spent(turns=3), Budget(turns_per_day=3), "3 turns today, and the budget has 3 a day"),
        (Spent(turns=1), Budget(turns_per_day=1), "1 turn today, and the budget has 1 a day"),
        (Spent(tokens=99_999), Budget(tokens_per_day=100_000), ""),
        (
            Spent(tokens=100_000, unknown_tokens=2),
            Budget(tokens_per_day=100_000),
            "100,000 tokens today, and the budget has 100,000 a day (the tokens of 2 turns not known)",
        ),
        (Spent(cost_usd=0.999999), Budget(cost_per_day_usd=1.0), ""),
        (
            Spent(cost_usd=1.0, unknown_cost=1),
            Budget(cost_per_day_usd=1.0),
            "$1.00 today, and the budget has $1.00 a day (the cost of 1 turn not known)",
        ),
        (Spent(turns=10**6, tokens=10**9, cost_usd=10**6, unknown_cost=5), Budget(), ""),
        (Spent(turns=5, unknown_cost=5, unknown_tokens=5), Budget(tokens_per_day=1, cost_per_day_usd=0.01), ""),
    ],
)
def test_at_the_limit_is_over_and_what_is_not_known_stops_nobody(used: Spent, budget: Budget, told: str) -> None:
    assert over(used, budget) == told


def test_a_sum_of_fractions_reaches_the_limit_that_it_equals() -> None:
    assert over(spent([turn(cost_usd=0.1)] * 8, NOW), Budget(cost_per_day_usd=0.8))
    assert not over(spent([turn(cost_usd=0.1)] * 7, NOW), Budget(cost_per_day_usd=0.8))


def test_the_rosters_section_is_taken_as_it_is() -> None:
    settings = {"turns_per_day": 40, "cost_per_day_usd": 2.5, "tokens_per_day": None}
    assert budget_of(settings) == Budget(40, None, 2.5)
    assert budget_of({}) == Budget()
