"""When a watchdog speaks, at exact boundaries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from heartbeat.watch.flips import (
    AWAKE_WITHIN,
    NONE,
    REMIND_AFTER,
    Alarms,
    Flip,
    Kind,
    Trouble,
    agent_key,
    agent_of,
    awake,
    turn,
    without_memory,
)
from tests.support.watching import BEGIN, GRACE, MINUTE

TICK = timedelta(microseconds=1)
COO, DEV = agent_key("coo"), agent_key("dev")
DAY = timedelta(days=1)


@dataclass
class Ear:
    """Looks one after the other, remembering as the watchdog does."""

    alarms: Alarms = NONE
    heard: list[Flip] = field(default_factory=list)

    def look(
        self,
        now: datetime,
        troubles: Mapping[str, Trouble] | None = None,
        well: Collection[str] = (),
        unknown: Collection[str] = (),
    ) -> tuple[Flip, ...]:
        self.alarms, flips = turn(self.alarms, troubles or {}, well, unknown, now, GRACE)
        self.heard += flips
        return flips

    def awake(self, until: datetime) -> Ear:
        """Has looked every minute for long enough."""
        now = until - GRACE - 5 * MINUTE
        while now <= until - MINUTE:
            self.look(now)
            now += MINUTE
        return self


def test_B6_a_look_that_took_long_is_no_gap_and_one_that_did_not_is() -> None:
    took, gap = timedelta(seconds=70), AWAKE_WITHIN + timedelta(seconds=70)
    slow = Alarms({}, {}, BEGIN, BEGIN - DAY, took)
    assert awake(slow, BEGIN + gap) == BEGIN - DAY
    assert awake(slow, BEGIN + gap + TICK) == BEGIN + gap + TICK
    assert awake(replace(slow, took=timedelta(0)), BEGIN + gap) == BEGIN + gap
    assert awake(replace(slow, took=-took), BEGIN + AWAKE_WITHIN) == BEGIN - DAY
    assert awake(slow, BEGIN - TICK) == BEGIN - TICK, "a clock that was set back"


def down(since: datetime = BEGIN - GRACE, tell_at: datetime | None = BEGIN) -> Trouble:
    return Trouble(Kind.DOWN, since, tell_at)


def test_a_trouble_is_told_from_its_time_on_and_once() -> None:
    ear = Ear().awake(BEGIN)
    assert ear.look(BEGIN - TICK, {COO: down()}) == ()
    assert ear.look(BEGIN, {COO: down()}) == (Flip(COO, None, Kind.DOWN, BEGIN - GRACE),)
    for minute in range(1, 60):
        assert ear.look(BEGIN + minute * MINUTE, {COO: down()}) == ()


def test_that_it_is_well_again_is_told_once() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    assert ear.look(BEGIN + MINUTE, well=[COO]) == (Flip(COO, Kind.DOWN, None, BEGIN - GRACE),)
    assert ear.look(BEGIN + 2 * MINUTE, well=[COO]) == ()


def test_what_was_never_told_is_not_told_to_be_well_either() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN - MINUTE, {COO: down()})
    assert ear.look(BEGIN, well=[COO]) == ()


def test_a_trouble_without_a_time_is_told_when_it_has_lasted_grace() -> None:
    ear = Ear().awake(BEGIN)
    locked = {"store": Trouble(Kind.UNREADABLE, BEGIN)}
    for minute in range(5):
        assert ear.look(BEGIN + minute * MINUTE, locked) == ()
    assert [flip.new for flip in ear.look(BEGIN + GRACE, locked)] == [Kind.UNREADABLE]


def test_one_that_comes_and_goes_begins_to_last_anew() -> None:
    ear = Ear().awake(BEGIN)
    locked = {"store": Trouble(Kind.UNREADABLE, BEGIN)}
    for minute in range(12):
        assert ear.look(BEGIN + minute * MINUTE, locked if minute % 4 else {}, well=["store"]) == ()


def test_whoever_begins_to_watch_waits_one_grace() -> None:
    ear = Ear()
    for minute in range(5):
        assert ear.look(BEGIN + minute * MINUTE, {COO: down(BEGIN - DAY, BEGIN - DAY)}) == ()
    assert len(ear.look(BEGIN + GRACE, {COO: down(BEGIN - DAY, BEGIN - DAY)})) == 1


@pytest.mark.parametrize("gap", [AWAKE_WITHIN + TICK, 3 * DAY, -TICK, -DAY])
def test_B6_after_a_sleep_or_a_step_of_the_clock_there_is_one_more_grace(gap: timedelta) -> None:
    ear = Ear().awake(BEGIN)
    awake = BEGIN - MINUTE + gap
    due = {COO: down(tell_at=awake - MINUTE)}
    for minute in range(5):
        assert ear.look(awake + minute * MINUTE, due) == ()
    assert len(ear.look(awake + GRACE, due)) == 1


def test_a_gap_of_two_minutes_is_no_sleep() -> None:
    ear = Ear().awake(BEGIN)
    assert len(ear.look(BEGIN - MINUTE + AWAKE_WITHIN, {COO: down()})) == 1


@pytest.mark.parametrize("apart", [3, 5, 15])
def test_whoever_looks_seldom_tells_at_its_second_look(apart: int) -> None:
    ear, now, looks = Ear(), BEGIN, 0
    for _ in range(5):
        ear.look(now)
        now += apart * MINUTE
    while not ear.heard and looks < 9:
        looks += 1
        ear.look(now, {COO: down()})
        now += apart * MINUTE
    assert looks == (3 if apart == 3 else 2)


def test_an_alarm_stands_through_a_sleep() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    assert ear.look(BEGIN + 2 * timedelta(hours=1), {COO: down()}) == ()
    assert ear.look(BEGIN + 2 * timedelta(hours=1) + MINUTE, well=[COO])[0].new is None


def test_of_what_nobody_can_tell_nothing_is_told_and_its_alarm_stands() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    assert ear.look(BEGIN + MINUTE, unknown=[COO, DEV]) == ()
    assert set(ear.alarms.standing) == {COO}
    assert ear.look(BEGIN + 2 * MINUTE, {COO: down()}) == ()


def test_what_exists_no_more_is_dropped_without_a_word() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    assert ear.look(BEGIN + MINUTE, well=[DEV]) == ()
    assert ear.alarms.standing == {}


def test_another_kind_of_trouble_is_told_as_a_change() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    failing = {COO: Trouble(Kind.FAILING, BEGIN, BEGIN + MINUTE)}
    assert ear.look(BEGIN + MINUTE, failing) == (Flip(COO, Kind.DOWN, Kind.FAILING, BEGIN),)
    assert ear.look(BEGIN + 2 * MINUTE, failing) == ()
    assert ear.alarms.standing[COO].opened_at == BEGIN


def test_what_still_stands_a_day_later_is_told_again_all_at_once() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    both = {COO: down(), DEV: down(tell_at=BEGIN + MINUTE)}
    assert [flip.key for flip in ear.look(BEGIN + MINUTE, both)] == [DEV]
    minute, heard = BEGIN + 2 * MINUTE, []
    while minute < BEGIN + REMIND_AFTER:
        heard += ear.look(minute, both)
        minute += MINUTE
    assert heard == []
    again = ear.look(BEGIN + REMIND_AFTER, both)
    assert [(flip.key, flip.reminder) for flip in again] == [(COO, True), (DEV, True)]
    assert ear.look(BEGIN + REMIND_AFTER + 2 * MINUTE, both) == ()
    assert len(ear.look(BEGIN + 2 * REMIND_AFTER, both)) == 2


def test_of_what_nobody_can_tell_there_is_no_reminder_and_the_next_one_is_a_day_later() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    locked = {"store": Trouble(Kind.UNREADABLE, BEGIN, BEGIN)}
    ear.look(BEGIN + MINUTE, locked, unknown=[COO])
    assert [flip.key for flip in ear.look(BEGIN + REMIND_AFTER, locked, unknown=[COO])] == ["store"]
    assert ear.look(BEGIN + REMIND_AFTER + MINUTE, locked, unknown=[COO]) == ()
    assert set(ear.alarms.standing) == {COO, "store"}


def test_B6_a_clock_that_was_set_back_puts_no_reminder_off_for_years() -> None:
    ear = Ear().awake(BEGIN)
    ear.look(BEGIN, {COO: down()})
    back = BEGIN - 365 * DAY
    ear.look(back, {COO: down()})
    assert len(ear.look(back + REMIND_AFTER, {COO: down()})) == 1


def test_without_memory_everything_is_told_twice_an_hour() -> None:
    troubles = {COO: down(), DEV: down(tell_at=BEGIN + DAY), "disk": Trouble(Kind.DISK, BEGIN)}
    hour = [BEGIN + minute * MINUTE for minute in range(60)]
    told = [[flip.key for flip in without_memory(troubles, now)] for now in hour]
    assert [keys for keys in told if keys] == [[COO, "disk"], [COO, "disk"]]


def test_a_key_knows_its_agent() -> None:
    assert (agent_of(COO), agent_of("store")) == ("coo", None)
