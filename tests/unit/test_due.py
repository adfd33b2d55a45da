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
from heartbeat.policy import Policy, anchor_of
from heartbeat.record import record_beats, record_failure
from heartbeat.roster.model import Agent
from heartbeat.schedule.due import due, is_due, next_due, passed_over
from heartbeat.schedule.slots import Span, by_rhythm, current_slot, next_slot, rhythm_text
from heartbeat.store.locks import try_exclusive
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Receipt
from tests.support.daemon_world import TroubledStore
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
TICK = timedelta(microseconds=1)
COALESCED = MissReason.COALESCED
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
        receipt = replace(receipt, rhythm=rhythm_text(self.agent.policy, ZONE))
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
    assert record.beat(SLOT + 3 * MINUTE).slot == SLOT
    assert record.misses() == []


def test_B2_the_first_beat_is_not_late_for_a_slot_from_before_anybody_beat_here() -> None:
    record = Record()
    first = record.beat(SLOT + 9 * MINUTE)
    assert (first.first, first.late) == (True, None)
    second = record.beat(SLOT + EVERY + MINUTE)
    assert (second.first, second.late) == (False, MINUTE)


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


def test_B2_slots_between_those_that_were_answered_while_the_clock_ran_ahead_by_another_rhythm_are_missed() -> None:
    record = Record(replace(COO, policy=replace(POLICY, every=HOUR, anchor=timedelta(0))))
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    for hour in (24 + 4, 24 + 5, 24 + 6, 24 + 7, 7, 8):
        record.beat(midnight + hour * HOUR)
    assert record.misses() == []
    record.agent = replace(COO, policy=replace(POLICY, every=45 * MINUTE, anchor=15 * MINUTE))
    for quarters in range(37, 116, 3):
        assert record.beat(midnight + quarters * 15 * MINUTE) == record.store.last_receipt("coo")
    record.beat(midnight + timedelta(hours=24 + 7, minutes=55))
    assert record.misses() == [
        (midnight + timedelta(hours=24 + 5, minutes=30), midnight + timedelta(hours=24 + 6, minutes=15), 2, COALESCED)
    ], "seven o'clock was answered the day before, and tells nothing of what came before it"


def test_B2_a_slot_that_was_answered_while_the_clock_ran_ahead_is_not_counted_among_those_missed_around_it() -> None:
    record = Record()
    record.beat(SLOT + 3 * EVERY)
    record.beat(SLOT)
    late = record.beat(SLOT + 6 * EVERY)
    assert late.slot == SLOT + 6 * EVERY
    assert record.misses() == [(SLOT + EVERY, SLOT + 5 * EVERY, 4, COALESCED)]


def test_B2_a_beat_whose_slot_was_answered_while_the_clock_ran_ahead_tells_what_passed_before_it() -> None:
    record = Record()
    record.beat(SLOT + 3 * EVERY)
    record.beat(SLOT)
    again = record.beat(SLOT + 3 * EVERY + MINUTE)
    assert (again.slot, again.late) == (None, None)
    assert record.misses() == [(SLOT + EVERY, SLOT + 2 * EVERY, 2, COALESCED)]


RHYTHMS = ((10, 0), (10, 6), (15, 0), (45, 15), (60, 0))
"""`every` and anchor, in minutes."""


@given(st.lists(st.tuples(st.integers(-600, 300), st.sampled_from(RHYTHMS)), min_size=2, max_size=12))
def test_I6_however_clock_and_rhythm_are_changed_no_slot_passes_without_a_record_and_none_is_answered_twice(
    steps: list[tuple[int, tuple[int, int]]],
) -> None:
    record, before = Record(), SLOT
    record.beat(before)
    for step, (every, anchor) in steps:
        now, policy = before + step * MINUTE, replace(POLICY, every=every * MINUTE, anchor=anchor * MINUTE)
        unknown = {slot for slot in passed(policy, before, now) if not is_on_record(record, slot)}
        same, noted = record.agent.policy == policy, sum(count for _, _, count, _ in record.misses())
        record.agent = replace(COO, policy=policy)
        record.beat(now)
        answered = [receipt.slot for receipt in record.store.receipts() if receipt.slot is not None]
        assert len(answered) == len(set(answered))
        newly = sum(count for _, _, count, _ in record.misses()) - noted
        if same:
            assert all(is_on_record(record, slot) for slot in passed(policy, before, now))
            assert newly == len(unknown)
        else:
            assert newly <= len(unknown)
        before = now


def passed(policy: Policy, before: datetime, now: datetime) -> list[datetime]:
    """The slots between two beats, one by one."""
    slots, slot = [], current_slot(policy, ZONE, now) - policy.every
    while slot > before:
        slots.append(slot)
        slot -= policy.every
    return slots


def is_on_record(record: Record, slot: datetime) -> bool:
    missed = any(miss.first <= slot <= miss.last for miss in record.store.misses())
    return missed or record.store.slot_taken("coo", slot)


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


def test_B2_a_quicker_rhythm_has_missed_nothing_from_before_it_was_set() -> None:
    record = Record(replace(COO, policy=replace(POLICY, every=24 * HOUR, anchor=4 * HOUR)))
    record.beat(datetime(2026, 11, 21, 4, 0, 2, tzinfo=UTC))
    record.agent = COO
    assert record.beat(SLOT + 12 * HOUR).slot == SLOT + 12 * HOUR
    assert record.misses() == []
    record.beat(SLOT + 12 * HOUR + 2 * EVERY)
    assert [each[2] for each in record.misses()] == [1], "from now on by the new one"


def test_B2_a_slower_rhythm_has_missed_nothing_that_only_the_quicker_one_named() -> None:
    record = Record()
    record.beat(SLOT)
    record.agent = replace(COO, policy=replace(POLICY, cron="0 9 * * *", anchor=timedelta(0)))
    record.beat(datetime(2026, 11, 21, 9, 0, 1, tzinfo=UTC))
    assert record.misses() == []


def test_B2_from_the_first_slot_on_that_the_earlier_rhythm_missed_the_new_one_counts() -> None:
    record = Record(replace(COO, policy=replace(POLICY, every=HOUR)))
    record.beat(SLOT)
    record.agent = COO
    record.beat(SLOT + 3 * HOUR + MINUTE)
    assert record.misses()[0][:3] == (SLOT + HOUR, SLOT + 3 * HOUR - EVERY, 12)


@pytest.mark.parametrize("text", ["", "every 0 0", "every x 1", "cron Nowhere/Land * * * * *", "cron UTC 1 2", "?"])
def test_a_rhythm_that_cannot_be_read_is_the_present_one(text: str) -> None:
    assert by_rhythm(text, POLICY, ZONE) == (POLICY, ZONE)


@pytest.mark.parametrize("policy", [POLICY, replace(POLICY, cron="*/7 8-20 * * 1-5", anchor=timedelta(0))])
def test_a_rhythm_is_read_as_it_was_written(policy: Policy) -> None:
    other = replace(POLICY, every=3 * MINUTE, anchor=MINUTE)
    now = SLOT + timedelta(days=3, seconds=17)
    read, zone = by_rhythm(rhythm_text(policy, "Asia/Shanghai"), other, ZONE)
    assert current_slot(read, zone, now) == current_slot(policy, "Asia/Shanghai", now)


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


@pytest.mark.parametrize(
    ("error", "ender"), [(SystemExit(143), "SIGTERM"), (SystemExit(129), "SIGHUP"), (KeyboardInterrupt(), "Ctrl-C")]
)
def test_B2_a_beat_that_was_ended_from_outside_leaves_its_slot_open(error: BaseException, ender: str) -> None:
    record, roster = Record(), make_roster(COO, timezone=ZONE)
    record.beat(SLOT)
    started = SLOT + 2 * EVERY + MINUTE
    record_failure(record.store, roster, [COO], started, started + SECOND, error)
    last = record.store.last_receipt("coo")
    assert last is not None
    assert (last.slot, last.outcome, last.degraded, last.level) == (None, "interrupted", True, "")
    assert last.reasons == (f"ended by {ender} before it was done; the next beat takes its place",)
    assert record.misses() == []
    assert is_due(POLICY, ZONE, record.store.last_beats()["coo"].started_at, started + MINUTE)
    answer = record.beat(started + MINUTE)
    assert (answer.slot, answer.late) == (SLOT + 2 * EVERY, 2 * MINUTE)
    assert record.misses() == [(SLOT + EVERY, SLOT + EVERY, 1, MissReason.COALESCED)]
    assert not is_due(POLICY, ZONE, record.store.last_beats()["coo"].started_at, started + 2 * MINUTE)


def test_I6_a_beat_that_is_ended_time_and_again_is_tried_again_and_answers_once() -> None:
    record, roster = Record(), make_roster(COO, timezone=ZONE)
    for minute in range(5):
        started = SLOT + minute * MINUTE
        assert "coo" not in record.store.last_beats()
        record_failure(record.store, roster, [COO], started, started + SECOND, SystemExit(143))
    assert record.beat(SLOT + 6 * MINUTE).first
    assert [each.slot for each in record.store.receipts("coo")] == [SLOT, *[None] * 5]


# Beats.


def test_B2_the_tick_after_one_that_was_ended_answers_its_slot(tmp_path: Path) -> None:
    board = ScriptedSystem(name="workboard")
    team = Team(ScriptedWorld(board), tmp_path, agents=(COO,), now=SLOT)
    kept = team.store

    def ended(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "remember_links":
            raise SystemExit(143)

    team.store = TroubledStore(kept, ended)  # type: ignore[assignment]
    with pytest.raises(SystemExit):
        team.tick(only_due=True)
    team.store = kept
    team.pass_time(MINUTE)
    assert [beat.receipt and beat.receipt.slot for beat in team.tick(only_due=True).beats] == [SLOT]
    assert team.tick(only_due=True).beats == ()
    assert [each.outcome for each in kept.receipts()] == ["done", "interrupted"]


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
    last, read = team.store.last_beats, board.read

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

    team.store.last_beats = overtaken  # type: ignore[method-assign, assignment]
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
