"""Who has to beat, what a beat answers, and what passed without one (rules B2, B6, invariant I6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.beat import Tick
from heartbeat.memory import Miss, MissReason
from heartbeat.policy import anchor_of
from heartbeat.record import record_beats, record_failure
from heartbeat.roster.model import Agent
from heartbeat.schedule.due import due, is_due, next_due, passed_over
from heartbeat.schedule.slots import Span, current_slot, next_slot
from heartbeat.store.locks import try_exclusive
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Receipt
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

MINUTE, SECOND, TICK = timedelta(minutes=1), timedelta(seconds=1), timedelta(microseconds=1)
EVERY = 10 * MINUTE
ANCHOR = 6 * MINUTE
SLOT = datetime(2026, 11, 21, 4, 6, tzinfo=UTC)
COO = make_agent("coo", "high_frequency", every=EVERY, anchor=ANCHOR, patrol=True, notify=("self",))
POLICY = COO.policy
ZONE = "UTC"


def test_B2_an_agent_that_never_beat_is_due() -> None:
    assert is_due(POLICY, ZONE, None, SLOT)
    assert next_due(POLICY, ZONE, None, SLOT - TICK) == SLOT - TICK


def test_B2_never_before_due_and_due_at_the_very_instant() -> None:
    last = SLOT - 4 * MINUTE
    assert not is_due(POLICY, ZONE, last, SLOT - TICK)
    assert next_due(POLICY, ZONE, last, SLOT - TICK) == SLOT
    assert is_due(POLICY, ZONE, last, SLOT)
    assert next_due(POLICY, ZONE, last, SLOT) == SLOT, "now, where the slot has come"


def test_B2_a_beat_at_the_instant_of_a_slot_answers_it() -> None:
    assert not is_due(POLICY, ZONE, SLOT, SLOT)
    assert not is_due(POLICY, ZONE, SLOT, SLOT + EVERY - TICK)
    assert is_due(POLICY, ZONE, SLOT - TICK, SLOT)
    assert next_due(POLICY, ZONE, SLOT, SLOT) == SLOT + EVERY


def test_B2_however_many_slots_passed_the_agent_is_due_once() -> None:
    now = SLOT + 100 * EVERY + MINUTE
    assert is_due(POLICY, ZONE, SLOT, now)
    assert not is_due(POLICY, ZONE, now, now + MINUTE)


@pytest.mark.parametrize("back", [TICK, 2 * SECOND, MINUTE])
def test_B6_a_clock_that_is_put_right_by_a_moment_makes_no_extra_beat(back: timedelta) -> None:
    now = SLOT - back
    assert not is_due(POLICY, ZONE, SLOT, now)
    assert next_due(POLICY, ZONE, SLOT, now) == SLOT + EVERY, "the slot that was answered already is not due again"
    assert is_due(POLICY, ZONE, SLOT, SLOT + EVERY)


@pytest.mark.parametrize("back", [2 * SECOND, 3 * MINUTE, EVERY - TICK])
def test_B6_a_clock_set_back_within_a_slot_makes_no_extra_beat(back: timedelta) -> None:
    last = SLOT + EVERY - TICK
    now = last - back
    assert not is_due(POLICY, ZONE, last, now)
    assert next_due(POLICY, ZONE, last, now) == SLOT + EVERY


@pytest.mark.parametrize(
    "back",
    [
        MINUTE + TICK,
        5 * MINUTE,
        timedelta(hours=1),
        timedelta(days=1),
        timedelta(days=365),
        timedelta(days=20_000),
    ],
)
def test_B6_a_clock_set_back_does_not_silence_an_agent_until_it_has_caught_up(back: timedelta) -> None:
    now = SLOT - back
    assert is_due(POLICY, ZONE, SLOT, now)
    assert next_due(POLICY, ZONE, SLOT, now) == now
    assert not is_due(POLICY, ZONE, now, now)


@given(
    st.integers(0, 10**9).map(lambda seconds: datetime(1995, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    st.sampled_from((EVERY, 15 * MINUTE, 90 * SECOND, timedelta(hours=36))),
)
def test_B2_whoever_is_not_due_is_at_the_next_due_instant_and_not_before(
    last: datetime, step: timedelta, every: timedelta
) -> None:
    policy = make_agent("w", every=every, anchor=anchor_of("w", every)).policy
    now = last + step
    then = next_due(policy, ZONE, last, now)
    assert then >= now
    assert is_due(policy, ZONE, last, then)
    assert is_due(policy, ZONE, last, now) == (then == now)
    assert then - now <= every + MINUTE, "after any step of the clock beats go on within their rhythm"
    if then > now:
        assert not is_due(policy, ZONE, last, then - TICK)


def test_due_names_those_in_the_order_of_the_roster() -> None:
    others = [replace(COO, id=name) for name in ("a", "b", "c")]
    last = {"a": SLOT, "b": SLOT - EVERY}
    assert [agent.id for agent in due(others, ZONE, last, SLOT + MINUTE)] == ["b", "c"]
    assert due([], ZONE, last, SLOT) == ()


def test_B2_a_time_zone_moves_the_slots_of_an_expression() -> None:
    nine = make_agent(cron="0 9 * * *").policy
    at = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
    assert is_due(nine, "Asia/Shanghai", at - MINUTE, at)
    assert not is_due(nine, "Asia/Shanghai", at - MINUTE, at - TICK)
    assert not is_due(nine, "America/New_York", at - MINUTE, at)


def test_B2_what_passed_is_what_lies_between_the_last_on_record_and_the_slot_that_is_answered() -> None:
    assert passed_over(POLICY, ZONE, None, SLOT) is None, "before its first beat an agent has missed nothing"
    assert passed_over(POLICY, ZONE, SLOT, SLOT + EVERY) is None
    assert passed_over(POLICY, ZONE, SLOT, SLOT) is None
    assert passed_over(POLICY, ZONE, SLOT, SLOT + 2 * EVERY) == Span(SLOT + EVERY, SLOT + EVERY, 1)
    assert passed_over(POLICY, ZONE, SLOT, SLOT + 4 * EVERY) == Span(SLOT + EVERY, SLOT + 3 * EVERY, 3)
    assert passed_over(POLICY, ZONE, SLOT, SLOT - EVERY) is None


# What stands on record.


class Record:
    """Beats of one agent, put on record one after another."""

    def __init__(self, agent: Agent = COO) -> None:
        self.agent = agent
        self.store = MemoryStore()
        self.count = 0

    def beat(self, started: datetime, *, took: timedelta = SECOND, stuck: datetime | None = None) -> Receipt:
        self.count += 1
        slot = current_slot(self.agent.policy, ZONE, started)
        receipt = Receipt(f"r{self.count}", self.agent.id, slot, started, started + took, "done", False)
        roster = make_roster(self.agent, timezone=ZONE)
        hung = {} if stuck is None else {self.agent.id: stuck}
        (kept,) = record_beats(self.store, roster, [receipt], {}, started + took, hung)
        assert kept.receipt == self.store.last_receipt(self.agent.id)
        assert kept.missed in (None, *self.store.misses())
        return kept.receipt

    def misses(self) -> list[tuple[datetime, datetime, int, MissReason]]:
        return [(miss.first, miss.last, miss.count, miss.reason) for miss in self.store.misses()]


def test_B2_the_first_beat_answers_its_slot_and_has_missed_nothing() -> None:
    record = Record()
    assert record.beat(SLOT + 3 * MINUTE).late == 3 * MINUTE
    assert record.misses() == []


def test_I6_a_second_beat_in_a_slot_answers_none() -> None:
    record = Record()
    assert record.beat(SLOT + MINUTE).slot == SLOT
    second = record.beat(SLOT + 2 * MINUTE)
    assert (second.slot, second.late) == (None, None)
    assert record.beat(SLOT + EVERY).slot == SLOT + EVERY
    assert record.misses() == []


def test_B2_a_beat_that_comes_late_runs_once_and_says_what_it_stands_for() -> None:
    record = Record()
    record.beat(SLOT)
    late = record.beat(SLOT + 4 * EVERY + 2 * MINUTE)
    assert (late.slot, late.late) == (SLOT + 4 * EVERY, 2 * MINUTE)
    assert record.misses() == [(SLOT + EVERY, SLOT + 3 * EVERY, 3, MissReason.COALESCED)]
    (miss,) = record.store.misses()
    assert miss.noted_at == late.ended_at


def test_B2_slots_that_came_while_the_beat_before_still_ran_are_told_apart() -> None:
    record = Record()
    record.beat(SLOT, took=25 * MINUTE)
    record.beat(SLOT + 3 * EVERY)
    assert record.misses() == [(SLOT + EVERY, SLOT + 2 * EVERY, 2, MissReason.BUSY)]


def test_B2_a_beat_that_ended_at_the_instant_of_the_slot_kept_it_from_nothing() -> None:
    record = Record()
    record.beat(SLOT, took=EVERY)
    record.beat(SLOT + 2 * EVERY)
    assert record.misses() == [(SLOT + EVERY, SLOT + EVERY, 1, MissReason.COALESCED)]


def test_B2_slots_that_a_hung_beat_kept_are_told_apart_from_those_before_it_began() -> None:
    record = Record()
    record.beat(SLOT)
    record.beat(SLOT + 3 * EVERY, stuck=SLOT + EVERY + SECOND)
    assert record.misses() == [(SLOT + EVERY, SLOT + 2 * EVERY, 2, MissReason.BUSY)]
    record.beat(SLOT + 9 * EVERY, stuck=SLOT + 8 * EVERY)
    assert record.misses()[0] == (SLOT + 4 * EVERY, SLOT + 8 * EVERY, 5, MissReason.COALESCED)


def test_I6_a_beat_by_hand_after_the_clock_was_set_back_doubles_no_slot_and_loses_none() -> None:
    record = Record()
    for number in range(4):
        record.beat(SLOT + number * EVERY)
    for number in (1, 2, 3):
        assert record.beat(SLOT + number * EVERY + MINUTE).slot is None, "the second time that this hour comes"
    assert record.beat(SLOT + 4 * EVERY).slot == SLOT + 4 * EVERY
    assert record.misses() == []


def test_B6_a_clock_that_ran_ahead_and_came_back_leaves_every_slot_on_record_once() -> None:
    record, ahead = Record(), timedelta(days=365)
    record.beat(SLOT)
    record.beat(SLOT + ahead)
    between = record.misses()
    assert [(first, last) for first, last, _, _ in between] == [(SLOT + EVERY, SLOT + ahead - EVERY)]
    assert record.beat(SLOT + EVERY).slot == SLOT + EVERY
    assert record.beat(SLOT + 4 * EVERY).slot == SLOT + 4 * EVERY
    assert record.misses() == between, "what was called missed already is not called so twice"


def test_B2_a_change_of_the_rhythm_misses_what_the_new_one_names() -> None:
    record = Record()
    record.beat(SLOT)
    record.agent = replace(COO, policy=replace(POLICY, every=15 * MINUTE, anchor=2 * MINUTE))
    assert record.beat(SLOT + 45 * MINUTE).slot == datetime(2026, 11, 21, 4, 47, tzinfo=UTC)
    (found,) = record.misses()
    assert found[:3] == (SLOT + 11 * MINUTE, SLOT + 26 * MINUTE, 2)
    record.agent = replace(COO, policy=replace(POLICY, cron="0 9 * * *", anchor=timedelta(0)))
    record.beat(datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC))
    assert record.misses()[0][:3] == (
        datetime(2026, 11, 21, 9, tzinfo=UTC),
        datetime(2026, 11, 22, 9, tzinfo=UTC),
        2,
    )


def test_B2_what_passed_is_known_although_no_receipt_with_a_slot_is_left() -> None:
    record = Record()
    record.beat(SLOT)
    record.beat(SLOT + MINUTE)
    record.store._contents.receipts.pop("r1")  # an older heartbeat's retention did that
    record.beat(SLOT + 3 * EVERY)
    assert record.misses() == [(SLOT + EVERY, SLOT + 2 * EVERY, 2, MissReason.COALESCED)]


def test_B2_a_beat_that_failed_answers_its_slot_and_tells_what_passed_before() -> None:
    record, roster = Record(), make_roster(COO, timezone=ZONE)
    record.beat(SLOT)
    started = SLOT + 3 * EVERY
    record_failure(record.store, roster, [COO], started, started + SECOND, RuntimeError("no luck"))
    last = record.store.last_receipt("coo")
    assert last is not None
    assert (last.slot, last.outcome) == (started, "failed")
    assert record.misses() == [(SLOT + EVERY, SLOT + 2 * EVERY, 2, MissReason.COALESCED)]
    record_failure(record.store, roster, [COO], started + SECOND, started + SECOND, RuntimeError("no luck"))
    again = record.store.last_receipt("coo")
    assert again is not None
    assert again.slot is None


# Beats.


def test_B2_only_those_whose_slot_has_come_beat_and_nothing_is_read_where_that_is_nobody(tmp_path: Path) -> None:
    board = ScriptedSystem(name="workboard")
    dev = make_agent("dev", "developer", every=15 * MINUTE, anchor=12 * MINUTE)
    team = Team(ScriptedWorld(board), tmp_path, agents=(COO, dev), now=SLOT + MINUTE)
    first = team.tick(only_due=True)
    assert [beat.agent.id for beat in first.beats] == ["coo", "dev"]
    assert first.resting == {}
    reads = counted(board)
    team.now = SLOT + 2 * MINUTE
    nobody = team.tick(only_due=True)
    assert (nobody.beats, nobody.observation, reads()) == ((), None, 0)
    assert nobody.resting == {"coo": SLOT + EVERY, "dev": SLOT + 6 * MINUTE}
    team.now = SLOT + 6 * MINUTE
    one = team.tick(only_due=True)
    assert [beat.agent.id for beat in one.beats] == ["dev"]
    assert one.resting == {"coo": SLOT + EVERY}
    assert reads() == 1
    assert [each.agent.id for each in team.tick("coo").beats] == ["coo"], "by hand nobody asks for the slot"


def counted(system: ScriptedSystem) -> Callable[[], int]:
    """How often it is read from now on."""
    read, reads = system.read, []

    def counting(*arguments: object) -> object:
        reads.append(1)
        return read(*arguments)  # type: ignore[arg-type]

    system.read = counting  # type: ignore[method-assign, assignment]
    return lambda: len(reads)


def test_B2_a_beat_tells_what_was_missed_before_it(tmp_path: Path) -> None:
    team = Team(ScriptedWorld(ScriptedSystem(name="workboard")), tmp_path, agents=(COO,), now=SLOT)
    assert told(team.tick(only_due=True)) is None
    team.now = SLOT + 3 * EVERY + MINUTE
    assert told(team.tick(only_due=True)) == Miss(
        "coo", SLOT + EVERY, SLOT + 2 * EVERY, 2, MissReason.COALESCED, team.now
    )
    team.now += MINUTE
    assert told(team.tick()) is None


def told(tick: Tick) -> Miss | None:
    (beat,) = tick.beats
    return beat.missed


def test_B2_whoever_another_tick_has_served_meanwhile_is_not_served_again(tmp_path: Path) -> None:
    """The slot was answered between the first look and the lock, which is given back at once: kept, it would run over
    its time while the others beat."""
    board = ScriptedSystem(name="workboard")
    dev = make_agent("dev", "developer", every=15 * MINUTE, anchor=12 * MINUTE)
    team = Team(ScriptedWorld(board), tmp_path, agents=(COO, dev), now=SLOT)
    other = Team(ScriptedWorld(ScriptedSystem(name="workboard")), tmp_path / "other", (COO,), SLOT, store=team.store)
    asked, free = [], []
    last, read = team.store.last_receipts, board.read

    def overtaken() -> object:
        asked.append(1)
        if len(asked) == 2:
            other.tick("coo")
        return last()

    def looking(*arguments: Any) -> Any:
        for name in ("coo", "dev"):
            with try_exclusive(tmp_path / f"{name}.lock") as lock:
                free.append(lock.held)
        return read(*arguments)

    team.store.last_receipts = overtaken  # type: ignore[method-assign, assignment]
    board.read = looking  # type: ignore[method-assign]
    tick = team.tick(only_due=True)
    assert [beat.agent.id for beat in tick.beats] == ["dev"]
    assert tick.resting == {"coo": SLOT + EVERY}
    assert [receipt.agent for receipt in team.store.receipts()] == ["dev", "coo"]
    assert free == [True, False]


def test_next_slot_and_is_due_agree_through_a_day() -> None:
    last, now, beats = SLOT, SLOT, 0
    while now < SLOT + timedelta(days=1):
        now += MINUTE
        if is_due(POLICY, ZONE, last, now):
            assert now == next_slot(POLICY, ZONE, last)
            last, beats = now, beats + 1
    assert beats == 144
