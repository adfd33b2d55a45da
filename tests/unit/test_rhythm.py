"""How long it usually is between two beats of an agent, by `every` or by cron (rules B2, T6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from heartbeat.policy import Charter, Member
from heartbeat.roster.model import rhythm_of
from heartbeat.schedule.slots import current_slot
from tests.support.rosters import CLASS_POLICIES, make_agent, make_roster

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINUTE = timedelta(minutes=1)
RHYTHMS = {
    "* * * * *": MINUTE,
    "*/10 * * * *": 10 * MINUTE,
    "*/7 * * * *": 7 * MINUTE,
    "0,5 * * * *": 55 * MINUTE,
    "0 * * * *": HOUR,
    "7 */5 * * *": 5 * HOUR,
    "0 9,18 * * *": 15 * HOUR,
    "30 1 * * *": DAY,
    "0 9 * * mon-fri": DAY,
    "*/10 9-17 * * 1-5": 10 * MINUTE,
    "0 9 * * mon": 7 * DAY,
    "30 8 * * wed": 7 * DAY,
    "0 9,10 * * sun": 6 * DAY + 23 * HOUR,
}


@pytest.mark.parametrize("cron", RHYTHMS)
def test_B2_the_rhythm_of_a_cron_expression_is_its_usual_gap_and_not_the_classes_every(cron: str) -> None:
    assert rhythm_of(make_agent(cron=cron).policy) == RHYTHMS[cron]


@pytest.mark.parametrize(
    "cron", [cron for cron in RHYTHMS if cron not in ("* * * * *", "*/7 * * * *", "0 9,10 * * sun")]
)
def test_B2_most_of_the_gaps_between_the_slots_of_four_weeks_are_no_longer_than_the_rhythm(cron: str) -> None:
    policy = make_agent(cron=cron).policy
    end = datetime(2026, 6, 15, tzinfo=UTC)
    slots = [current_slot(policy, "Asia/Shanghai", end)]
    while slots[-1] > end - 28 * DAY:
        slots.append(current_slot(policy, "Asia/Shanghai", slots[-1] - timedelta(microseconds=1)))
    gaps = [later - earlier for later, earlier in pairwise(slots)]
    assert 2 * sum(gap <= rhythm_of(policy) for gap in gaps) >= len(gaps)
    assert rhythm_of(policy) in gaps


@pytest.mark.parametrize(("cron", "at_least"), [("0 9 1 * *", 28 * DAY), ("0 0 29 2 *", 4 * 365 * DAY)])
def test_B2_an_expression_that_does_not_come_every_week_has_the_gap_between_two_of_its_days(
    cron: str, at_least: timedelta
) -> None:
    assert at_least <= rhythm_of(make_agent(cron=cron).policy) <= 1.2 * at_least


def test_an_agent_without_cron_has_its_every_as_its_rhythm() -> None:
    charter = make_roster(make_agent("one", every=12 * MINUTE), make_agent("two", cron="0 * * * *")).charter()
    assert {member.id: member.rhythm for member in charter.members.values()} == {"one": 12 * MINUTE, "two": HOUR}
    assert charter.beat == 12 * MINUTE


def test_a_member_of_whom_nothing_else_is_said_has_its_every_as_its_rhythm() -> None:
    policy = CLASS_POLICIES["business"]
    assert Member("writer", policy).rhythm == policy.every
    assert Charter({"writer": Member("writer", policy, rhythm=HOUR)}).beat == HOUR
    assert Charter({}).beat == 10 * MINUTE
