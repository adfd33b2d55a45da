"""By which clock anything is forgotten (rule B6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heartbeat.record import record_beats
from heartbeat.retention import clock_has_held, limit_of
from heartbeat.roster.model import Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import LogEntry
from tests.support.items import NOW
from tests.support.receipts import RECEIPT
from tests.support.rosters import make_agent, make_roster

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
YEAR = 365 * DAY


class Life:
    """A team that beats each hour and keeps 90 days."""

    def __init__(self, **policy: Any) -> None:
        self.store = MemoryStore()
        self.count = 0
        agent = make_agent("coo", "high_frequency", **{"every": HOUR, **policy})
        self.roster: Roster = make_roster(agent, timezone="UTC", extra={"retention": 90 * DAY})

    def beat(self, at: datetime) -> None:
        self.count += 1
        self.store.add_log([LogEntry(at, "beat", str(self.count))])
        told = replace(RECEIPT, id=f"r{self.count}", slot=None, started_at=at, ended_at=at)
        record_beats(self.store, self.roster, [told], {}, at)

    @property
    def remembered(self) -> int:
        return len(self.store.log())


def test_B6_a_clock_that_runs_a_year_ahead_for_some_beats_forgets_nothing() -> None:
    life = Life()
    for hour in range(48):
        life.beat(NOW + hour * HOUR)
    for hour in range(12):
        life.beat(NOW + 2 * DAY + YEAR + hour * HOUR)
    assert life.remembered == 60
    life.beat(NOW + 2 * DAY + 12 * HOUR)
    assert life.remembered == 61
    for hour in range(12, 14):
        life.beat(NOW + 2 * DAY + YEAR + hour * HOUR)
    assert life.remembered == 14, "by now it has held for half a day"


def test_B6_a_clock_that_falls_back_to_its_beginning_forgets_nothing() -> None:
    life = Life()
    for hour in range(48):
        life.beat(NOW + hour * HOUR)
    life.beat(datetime(1970, 1, 1, tzinfo=UTC))
    assert life.remembered == 49


def test_after_a_machine_was_off_for_months_nothing_is_forgotten_before_half_a_day_has_passed() -> None:
    life = Life()
    life.beat(NOW)
    for hour in range(12):
        life.beat(NOW + 100 * DAY + hour * HOUR)
    assert life.remembered == 13
    life.beat(NOW + 100 * DAY + 12 * HOUR)
    assert life.remembered == 13


@pytest.mark.parametrize("policy", [{"cron": "0 4 * * 1", "anchor": 0 * DAY}, {"every": 7 * DAY, "anchor": 4 * DAY}])
def test_who_beats_once_a_week_forgets_too(policy: dict[str, Any]) -> None:
    life, monday = Life(**policy), datetime(2026, 11, 23, 4, 0, 5, tzinfo=UTC)
    for week in range(30):
        life.beat(monday + week * 7 * DAY)
    assert life.remembered == 13
    assert not clock_has_held(life.store, life.roster, monday + 5 * YEAR)


def test_I6_the_slot_of_friday_is_remembered_over_the_weekend_however_short_the_retention() -> None:
    life, friday = Life(cron="0 9-17 * * 1-5", anchor=0 * DAY), datetime(2026, 11, 20, 17, 0, 5, tzinfo=UTC)
    life.roster = replace(life.roster, extra={"retention": HOUR})
    for hour in range(-48, 1):
        life.beat(friday + hour * HOUR)
    for hour in range(1, 60):
        assert limit_of(HOUR, life.roster, friday + hour * HOUR) <= friday
    life.beat(friday + 64 * HOUR)
    assert [receipt.started_at for receipt in life.store.receipts()] == [friday + 64 * HOUR, friday]


def test_where_no_beat_is_on_record_nothing_speaks_against_the_clock() -> None:
    life = Life()
    assert clock_has_held(life.store, life.roster, NOW)
