"""How an agent's beats stand, at exact boundaries (rules B2, B6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.instants import CLOCK_SKEW, to_text
from heartbeat.memory import Pause
from heartbeat.receipt import interruption_receipt
from heartbeat.store.opening import open_store
from heartbeat.store.port import Receipt
from heartbeat.watch.health import RECENT, Expected, Health, Interrupted, Record, Status, first_due, health, reason
from heartbeat.watch.records import read
from tests.support.watching import BEGIN, EVERY, GRACE, MINUTE, Den, member, receipt, without_anchor

TICK = timedelta(microseconds=1)
AGENT = without_anchor(member("coo"))
EXPECTED = Expected("coo", AGENT.policy, "UTC", GRACE)
NEXT = BEGIN + EVERY


def beat(at: datetime = BEGIN, **changes: Any) -> Receipt:
    return receipt(AGENT, at, **changes)


def stands(now: datetime, *receipts: Receipt, expected: Expected = EXPECTED, **record: Any) -> Health:
    return health(expected, Record(receipts, **record), now)


@pytest.mark.parametrize(
    ("now", "status"),
    [
        (BEGIN, Status.UP),
        (NEXT - TICK, Status.UP),
        (NEXT, Status.LATE),
        (NEXT + GRACE - TICK, Status.LATE),
        (NEXT + GRACE, Status.DOWN),
        (NEXT + timedelta(days=400), Status.DOWN),
    ],
)
def test_B2_a_due_slot_is_late_at_once_and_down_when_its_grace_is_over(now: datetime, status: Status) -> None:
    found = stands(now, beat())
    assert found.status is status
    assert found.unanswered == (None if status is Status.UP else NEXT)
    assert (found.due_at, found.expected_by) == (NEXT, NEXT + GRACE)


def test_an_interval_and_grace_after_the_slot_that_was_answered_last_it_is_down() -> None:
    beginning = beat(BEGIN + 3 * MINUTE)
    assert stands(BEGIN + EVERY + GRACE - TICK, beginning).status is Status.LATE
    assert stands(BEGIN + EVERY + GRACE, beginning).status is Status.DOWN


def test_how_long_it_is_missing_counts_from_the_slot() -> None:
    found = stands(NEXT + 35 * MINUTE, beat())
    assert found.missing == 35 * MINUTE
    assert reason(found, to_text) == "no receipt since the slot of 2026-11-21T04:10:00.000Z, for 35m"


def test_a_late_beat_answers_its_slot_and_its_lateness_is_told() -> None:
    found = stands(NEXT + 9 * MINUTE, beat(NEXT + 8 * MINUTE))
    assert (found.status, found.lateness, found.due_at) == (Status.UP, 8 * MINUTE, NEXT + EVERY)


def test_a_beat_without_a_slot_of_its_own_has_no_lateness() -> None:
    assert stands(BEGIN, beat(slot=None)).lateness is None


def test_who_never_beat_is_new_and_stays_new_while_nobody_knows_since_when_it_should() -> None:
    for now in (BEGIN, BEGIN + timedelta(days=90)):
        found = stands(now)
        assert (found.status, found.expected_by, found.unanswered) == (Status.NEW, None, None)
    assert reason(stands(BEGIN), to_text) == "it has never beaten"


def test_who_never_beat_is_down_an_interval_and_grace_after_it_was_first_known() -> None:
    expected = replace(EXPECTED, since=BEGIN + MINUTE)
    limit = BEGIN + MINUTE + EVERY + GRACE
    assert stands(limit - TICK, expected=expected).status is Status.NEW
    found = stands(limit, expected=expected)
    assert (found.status, found.expected_by) == (Status.DOWN, limit)
    assert reason(found, to_text) == "it has never beaten, and should have by 2026-11-21T04:16:00.000Z"


def test_who_rests_at_night_is_not_down_before_its_morning() -> None:
    office = Expected("coo", member("coo", cron="*/10 9-17 * * 1-5").policy, "Asia/Shanghai", GRACE)
    friday_evening = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    monday_morning = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    assert first_due(office, friday_evening) == monday_morning
    last = receipt(AGENT, datetime(2026, 11, 20, 9, 50, tzinfo=UTC))
    assert stands(monday_morning - TICK, last, expected=office).status is Status.UP
    assert stands(monday_morning, last, expected=office).status is Status.LATE
    assert stands(monday_morning + GRACE, last, expected=office).status is Status.DOWN


def test_B6_a_change_of_the_clock_makes_no_cron_agent_late() -> None:
    daily = Expected("coo", member("coo", cron="30 2 * * *").policy, "America/New_York", GRACE)
    before = receipt(AGENT, datetime(2026, 3, 7, 7, 30, tzinfo=UTC))
    skipped = datetime(2026, 3, 8, 7, 0, tzinfo=UTC)
    assert stands(skipped - TICK, before, expected=daily).status is Status.UP
    assert stands(skipped, before, expected=daily).unanswered == skipped


@pytest.mark.parametrize(
    ("outcomes", "status", "failures"),
    [
        (["failed"], Status.DEGRADED, 1),
        (["failed", "done"], Status.DEGRADED, 1),
        (["failed", "failed"], Status.FAILING, 2),
        (["failed", "failed", "failed", "done"], Status.FAILING, 3),
        (["done", "failed", "failed"], Status.UP, 0),
        (["degraded"], Status.DEGRADED, 0),
        (["degraded", "failed", "failed"], Status.DEGRADED, 0),
        (["skipped"], Status.UP, 0),
    ],
)
def test_failures_count_in_a_row_and_two_are_failing(outcomes: list[str], status: Status, failures: int) -> None:
    receipts = [
        beat(BEGIN - number * EVERY, outcome=outcome, degraded=outcome != "done" and outcome != "skipped")
        for number, outcome in enumerate(outcomes)
    ]
    found = stands(BEGIN + MINUTE, *receipts)
    assert (found.status, found.failures) == (status, failures)
    assert found.failing_since == (receipts[failures - 1].started_at if failures else None)


def test_one_failure_is_enough_where_the_next_beat_is_an_hour_away() -> None:
    for every, status in ((timedelta(minutes=59), Status.DEGRADED), (timedelta(hours=1), Status.FAILING)):
        slow = Expected("coo", without_anchor(member("coo", every)).policy, "UTC", GRACE)
        assert stands(BEGIN, beat(outcome="failed", degraded=True), expected=slow).status is status


def test_failing_counts_before_late_and_down_before_failing() -> None:
    failed = [
        beat(BEGIN - number * EVERY, outcome="failed", degraded=True, reasons=("disk full",)) for number in (0, 1)
    ]
    assert stands(NEXT, *failed).status is Status.FAILING
    assert stands(NEXT + GRACE, *failed).status is Status.DOWN
    assert reason(stands(NEXT, *failed), to_text) == "its last 2 beats failed: disk full"


def test_a_degraded_beat_tells_which_source_was_not_read() -> None:
    sources = (
        {"name": "workboard", "status": "complete"},
        {"name": "multica", "status": "failed", "kind": "timeout", "message": "no answer"},
    )
    found = stands(BEGIN, beat(outcome="degraded", degraded=True, sources=sources))
    assert reason(found, to_text) == "its last beat was degraded: multica failed: no answer"


def test_B6_a_receipt_in_the_future_answers_nothing() -> None:
    ahead, earlier = beat(BEGIN + timedelta(days=1)), beat(BEGIN)
    found = stands(NEXT + GRACE, ahead, earlier)
    assert (found.status, found.last, found.ahead) == (Status.DOWN, earlier, ahead)
    assert reason(found, to_text).endswith("; its newest receipt lies 23h45m in the future")
    alone = stands(NEXT + GRACE, ahead)
    assert (alone.status, alone.last, reason(alone, to_text)) == (
        Status.NEW,
        None,
        "it has not beaten since the clock was set back",
    )


def test_a_receipt_that_is_ahead_by_as_much_as_clocks_differ_counts() -> None:
    assert stands(BEGIN - CLOCK_SKEW, beat()).ahead is None
    assert stands(BEGIN - CLOCK_SKEW - TICK, beat()).ahead is not None


def test_B1_a_beat_under_way_has_until_its_own_deadline_and_grace() -> None:
    began = NEXT + MINUTE
    limit = began + EVERY / 2 + GRACE
    assert stands(limit - TICK, beat(), running=began).status is Status.LATE
    found = stands(limit, beat(), running=began)
    assert (found.status, found.expected_by) == (Status.DOWN, limit)
    told = reason(stands(NEXT + GRACE, beat(), running=began), to_text)
    assert told == "due for 5m; a beat has been under way since 2026-11-21T04:11:00.000Z"


def test_B1_a_beat_under_way_never_puts_it_off_beyond_an_interval_and_grace_of_its_slot() -> None:
    began = NEXT + 6 * MINUTE
    longer = Expected("coo", AGENT.policy, "UTC", timedelta(minutes=8))
    assert stands(began, beat(), running=began, expected=longer).expected_by == NEXT + EVERY + timedelta(minutes=8)


def test_a_beat_that_has_been_under_way_since_before_the_slot_is_no_excuse() -> None:
    assert stands(NEXT + GRACE, beat(), running=NEXT - TICK).status is Status.DOWN


def test_a_paused_agent_is_expected_to_beat_all_the_same() -> None:
    pause = Pause("coo", BEGIN, None, "holiday")
    found = stands(NEXT + GRACE, beat(), pause=pause, missed=3)
    assert (found.status, found.pause, found.missed) == (Status.DOWN, pause, 3)


def test_B2_a_beat_that_was_ended_from_outside_is_neither_a_failure_nor_a_beat(tmp_path: Path) -> None:
    """However often: it is waited for as if it had not begun."""
    den = Den(tmp_path, agents=(AGENT,))
    den.beat("coo")
    for _ in range(RECENT + 2):
        den.now += MINUTE
        den.beat("coo", outcome="interrupted", degraded=True, slot=None, sources=())
    found = health(EXPECTED, read(den.state, ["coo"], den.now).record("coo"), den.now)
    assert (found.status, found.failures) == (Status.LATE, 0)
    assert found.last is not None
    assert (found.last.outcome, found.unanswered) == ("done", NEXT)
    assert health(EXPECTED, read(den.state, ["coo"], NEXT).record("coo"), NEXT + GRACE).status is Status.DOWN


def test_whose_beats_have_all_been_ended_from_outside_is_not_said_never_to_have_beaten(tmp_path: Path) -> None:
    den = Den(tmp_path, agents=(AGENT,))
    told = "ended by SIGTERM before it was done; the next beat takes its place"
    for _ in range(3):
        den.beat("coo", outcome="interrupted", degraded=True, slot=None, sources=(), reasons=(told,))
        den.now += MINUTE
    record = read(den.state, ["coo"], den.now).record("coo")
    words = "none of its beats has come to its end: ended from outside 3 times since 2026-11-21T04:00:00.000Z, the last"
    new = health(EXPECTED, record, NEXT)
    assert (new.status, new.last) == (Status.NEW, None)
    assert reason(new, to_text).startswith(f"{words} by SIGTERM; its first is expected by ")
    down = health(EXPECTED, record, NEXT + GRACE)
    assert down.status is Status.DOWN
    assert reason(down, to_text) == f"{words} by SIGTERM, and should have by 2026-11-21T04:15:00.000Z"


def test_the_last_whole_beat_is_found_behind_any_number_that_were_ended_from_outside(tmp_path: Path) -> None:
    den = Den(tmp_path, agents=(AGENT,))
    den.beat("coo")
    broken_off = {"outcome": "interrupted", "degraded": True, "slot": None, "reasons": ("ended by its own program",)}
    with open_store(den.state, den.now) as store, store.transaction():
        for minute in range(1, 100 * RECENT + 2):
            store.add_receipt(beat(BEGIN + minute * MINUTE, **broken_off))
    den.now += timedelta(days=1)
    found = health(EXPECTED, read(den.state, ["coo"], den.now).record("coo"), den.now)
    assert (found.status, found.unanswered) == (Status.DOWN, NEXT)
    assert found.interrupted is not None
    assert (found.interrupted.count, found.interrupted.by) == (100 * RECENT, "something outside")
    assert "no receipt of a whole beat since the slot of" in reason(found, to_text)


def test_one_whole_beat_ends_the_row_of_those_that_were_ended_from_outside(tmp_path: Path) -> None:
    den = Den(tmp_path, agents=(AGENT,))
    den.beat("coo", outcome="interrupted", slot=None)
    den.now += MINUTE
    den.beat("coo")
    assert read(den.state, ["coo"], den.now).record("coo").interrupted is None


@pytest.mark.parametrize(
    ("error", "by"), [(SystemExit(143), "SIGTERM"), (SystemExit(7), "exit code 7"), (KeyboardInterrupt(), "Ctrl-C")]
)
def test_what_ended_a_beat_is_read_from_its_receipt(error: BaseException, by: str, tmp_path: Path) -> None:
    den = Den(tmp_path, agents=(AGENT,))
    last = interruption_receipt(den.roster, AGENT, BEGIN, BEGIN + MINUTE, error)
    assert Interrupted(1, BEGIN, last).words(to_text) == f"once since 2026-11-21T04:00:00.000Z, the last by {by}"
