"""The budget of agent turns, and the rounds that led nowhere (rules C1 to C3, T4, T5, invariant I8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.memory import Clock, Mark, Rounds
from heartbeat.policy import Policy
from heartbeat.rules.rounds import (
    Spend,
    Verdict,
    counted,
    epoch_began,
    extended,
    limit_of,
    paused,
    reported,
    spend,
    together,
    turn_of,
    turns,
    verdicts,
    warned,
)
from heartbeat.task import (
    NOBODY,
    Evidence,
    EvidenceKind,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Priority,
    Ref,
    Status,
    Task,
)
from tests.support.items import ALICE, COO, NOW, card, issue, line
from tests.support.rosters import CLASS_POLICIES, make_agent, make_coo, make_roster

MINUTE = timedelta(minutes=1)
BEAT = timedelta(minutes=15)
TICK = timedelta(microseconds=1)
CHARTER = make_roster(make_coo(), make_agent("writer")).charter()
WRITER = Owner(OwnerKind.AGENT, "writer")
BUSINESS = CLASS_POLICIES["business"]


def task_of(*items: Item, **changes: object) -> Task:
    fields = {"status": items[0].status, "owner": items[0].owner, **changes}
    return Task(items, priority=Priority.NORMAL, due=None, **fields)  # type: ignore[arg-type]


CARD = card(1, "接入支付", Status.IN_PROGRESS, owner=WRITER)
ISSUE = issue(1, "接入支付", Status.IN_PROGRESS, owner=WRITER)
TASK = task_of(CARD)
BOTH = task_of(CARD, ISSUE)


def known(*rows: Rounds) -> dict[Ref, Rounds]:
    return {row.ref: row for row in rows}


def policy(max_rounds: int) -> Policy:
    return replace(BUSINESS, max_rounds=max_rounds)


def mark(at: datetime, ref: Ref = CARD.ref) -> Mark:
    return Mark(at, EvidenceKind.COMMENT, "c", ref)


def event(at: datetime, kind: EvidenceKind = EvidenceKind.RUN, ref: Ref = CARD.ref, own: bool = False) -> Evidence:
    return Evidence(ref, at, kind, f"{kind.value}:{at.isoformat()}", own)


class Ledger:
    """One task's rows over a number of looks."""

    def __init__(self, task: Task = TASK, *rows: Rounds) -> None:
        self.task = task
        self.rows = known(*rows)

    def look(
        self,
        now: datetime,
        turn_at: datetime | None,
        slot: datetime | None,
        progress: datetime | None = None,
        began_at: datetime | None = None,
    ) -> Rounds:
        told = None if progress is None else mark(progress)
        changed = counted(self.task, self.rows, turn_at=turn_at, slot=slot, progress=told, now=now, began_at=began_at)
        self.rows |= known(*changed)
        return together(self.task, self.rows)


# What a turn is.


@pytest.mark.parametrize("kind", list(EvidenceKind))
def test_C1_only_runs_and_attempts_are_turns(kind: EvidenceKind) -> None:
    at = NOW - MINUTE
    expected = at if kind in (EvidenceKind.RUN, EvidenceKind.ATTEMPT) else None
    assert turn_of(TASK, [event(at, kind)], [], NOW) == expected


def test_C1_the_newest_turn_on_any_ref_counts_and_other_items_turns_do_not() -> None:
    evidence = [
        event(NOW - 9 * MINUTE),
        event(NOW - 3 * MINUTE, EvidenceKind.ATTEMPT, ISSUE.ref),
        event(NOW - MINUTE, ref=Ref("workboard", "another")),
    ]
    assert turn_of(BOTH, evidence, [], NOW) == NOW - 3 * MINUTE
    assert turn_of(TASK, evidence, [], NOW) == NOW - 9 * MINUTE
    assert turns([BOTH, task_of(line(7, "x"))], evidence, [], NOW) == {BOTH.key: NOW - 3 * MINUTE}


def test_T2_what_we_wrote_ourselves_is_no_turn() -> None:
    at = NOW - MINUTE
    assert turn_of(TASK, [event(at, EvidenceKind.ATTEMPT, own=True)], [], NOW) is None
    found = event(at, EvidenceKind.ATTEMPT)
    assert turn_of(TASK, [found], [], NOW, own=frozenset({(found.ref, found.id)})) is None
    assert turn_of(TASK, [found], [], NOW, own=frozenset({(ISSUE.ref, found.id)})) == at


def test_C1_what_a_source_dates_ahead_of_us_counts_when_its_time_has_come() -> None:
    assert turn_of(TASK, [event(NOW + TICK)], [], NOW) is None
    assert turn_of(TASK, [event(NOW)], [], NOW) == NOW
    assert turn_of(TASK, [], [Presence("writer", False, NOW + TICK, "s", CARD.ref)], NOW) is None


@pytest.mark.parametrize("ref", [CARD.ref, None])
def test_C1_a_run_that_goes_on_is_one_turn_from_when_it_began(ref: Ref | None) -> None:
    clocks = {CARD.ref: Clock(CARD.ref, "e", NOW - timedelta(hours=5), NOW)}
    for at in (NOW, NOW - timedelta(hours=3)):
        for later in (timedelta(0), timedelta(minutes=30)):
            running = Presence("writer", True, at, "run", ref)
            assert turn_of(TASK, [], [running], NOW + later, clocks=clocks) == at
    assert turn_of(TASK, [], [Presence("writer", True, None, "cron", ref)], NOW, clocks=clocks) is None


def test_C1_the_owners_session_counts_from_when_the_task_was_begun_and_nobody_elses_does() -> None:
    began = NOW - timedelta(hours=1)
    clocks = {CARD.ref: Clock(CARD.ref, "e", began, NOW)}

    def seen(agent: str, at: datetime | None) -> datetime | None:
        return turn_of(TASK, [], [Presence(agent, False, at, "session")], NOW, clocks=clocks)

    assert seen("writer", began) == began
    assert seen("writer", began - TICK) is None
    assert seen("writer", None) is None
    assert seen("coo", NOW - MINUTE) is None
    assert turn_of(TASK, [], [Presence("writer", False, NOW - MINUTE, "session")], NOW) is None, "begun: who knows"


def test_C1_a_session_of_a_persons_namesake_is_no_turn_on_the_persons_task() -> None:
    task = task_of(replace(CARD, owner=Owner(OwnerKind.PERSON, "writer")))
    assert turn_of(task, [], [Presence("writer", True, NOW, "run")], NOW) is None


def test_T5_an_epoch_begins_when_the_last_of_the_items_comes_in_progress() -> None:
    early, late = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    begun = task_of(replace(CARD, started_at=early), replace(ISSUE, started_at=late))
    assert epoch_began(begun, {}) == late
    assert epoch_began(begun, {CARD.ref: Clock(CARD.ref, "e", NOW, NOW)}) == NOW
    assert epoch_began(task_of(CARD, replace(ISSUE, started_at=late, status=Status.TODO)), {}) is None


# Counting.


def test_C1_a_turn_uses_one_round_and_only_once() -> None:
    ledger = Ledger()
    first = ledger.look(NOW, NOW - MINUTE, NOW)
    assert (first.used, first.turn_at, first.slot, first.idle) == (1, NOW - MINUTE, NOW, 1)
    assert ledger.look(NOW + BEAT, NOW - MINUTE, NOW + BEAT) == first, "the same turn again, in the next slot"


def test_C1_there_is_at_most_one_round_in_a_slot() -> None:
    ledger = Ledger()
    ledger.look(NOW, NOW, NOW)
    for minute in range(1, 15):
        later = NOW + minute * MINUTE
        assert ledger.look(later, later, NOW).used == 1
    assert ledger.look(NOW + BEAT, NOW + BEAT, NOW + BEAT).used == 2


def test_C1_a_turn_in_a_slot_that_has_its_round_is_not_saved_up_for_the_next() -> None:
    ledger = Ledger()
    ledger.look(NOW, NOW, NOW)
    ledger.look(NOW + 9 * MINUTE, NOW + 8 * MINUTE, NOW)
    assert ledger.look(NOW + BEAT, NOW + 8 * MINUTE, NOW + BEAT).used == 1


def test_C1_C3_no_turn_no_round_waiting_deferred_and_rate_limited_beats_use_none() -> None:
    ledger = Ledger()
    for beat in range(20):
        at = NOW + beat * BEAT
        assert ledger.look(at, None, at) == Rounds(CARD.ref)
    assert ledger.rows == {}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.IN_PROGRESS])
def test_C1_only_a_task_in_progress_uses_rounds(status: Status) -> None:
    assert counted(task_of(CARD, status=status), {}, turn_at=NOW, slot=NOW, progress=None, now=NOW) == ()


def test_C1_a_persons_task_uses_no_rounds_and_neither_does_an_owner_without_slots() -> None:
    persons = task_of(replace(CARD, owner=ALICE))
    assert counted(persons, {}, turn_at=NOW, slot=NOW, progress=None, now=NOW) == ()
    assert counted(TASK, {}, turn_at=NOW, slot=None, progress=None, now=NOW) == ()
    row = Rounds(CARD.ref, used=3, turn_at=NOW - BEAT, slot=NOW - BEAT)
    (after,) = counted(TASK, known(row), turn_at=NOW, slot=None, progress=None, now=NOW)
    assert (after.used, after.slot) == (3, NOW - BEAT)


def test_C1_all_refs_of_a_task_have_the_same_count_the_highest_of_them() -> None:
    rows = (
        Rounds(CARD.ref, used=4, extra=5),
        Rounds(ISSUE.ref, used=9, extra=20, turn_at=NOW - BEAT, slot=NOW - BEAT),
    )
    changed = counted(BOTH, known(*rows), turn_at=NOW, slot=NOW, progress=None, now=NOW)
    assert [(row.ref, row.used, row.extra, row.slot) for row in changed] == [
        (CARD.ref, 10, 20, NOW),
        (ISSUE.ref, 10, 20, NOW),
    ]


def test_C1_an_item_that_joins_a_task_takes_over_its_count_without_a_turn() -> None:
    row = Rounds(CARD.ref, used=4, turn_at=NOW, slot=NOW)
    assert counted(BOTH, known(row), turn_at=None, slot=NOW, progress=None, now=NOW) == (replace(row, ref=ISSUE.ref),)


def test_C1_nothing_new_changes_no_row() -> None:
    row = Rounds(CARD.ref, used=4, turn_at=NOW, slot=NOW, progress_at=NOW, warned_at=NOW)
    assert counted(TASK, known(row), turn_at=NOW, slot=NOW + BEAT, progress=mark(NOW), now=NOW + BEAT) == ()


def test_B6_what_was_counted_while_our_clock_ran_ahead_does_not_end_the_counting() -> None:
    ahead = NOW + timedelta(days=3650)
    ledger = Ledger(TASK, Rounds(CARD.ref, used=7, idle=2, progress_at=ahead, turn_at=ahead, slot=ahead))
    assert ledger.look(NOW, NOW, NOW).used == 8
    assert ledger.look(NOW + BEAT, NOW + BEAT, NOW + BEAT, progress=NOW + BEAT).idle == 0


# Rounds that led nowhere.


def test_T4_idle_counts_the_rounds_in_a_row_without_progress() -> None:
    ledger = Ledger()
    idle = [ledger.look(NOW + beat * BEAT, NOW + beat * BEAT, NOW + beat * BEAT).idle for beat in range(4)]
    assert idle == [1, 2, 3, 4]


def test_T4_progress_sets_idle_back_and_older_progress_does_not() -> None:
    ledger = Ledger()
    for beat in range(3):
        ledger.look(NOW + beat * BEAT, NOW + beat * BEAT, NOW + beat * BEAT)
    written = NOW + 2 * BEAT + MINUTE
    at = NOW + 3 * BEAT
    assert ledger.look(at, at, at, progress=written).idle == 0, "a round with progress is no idle one"
    assert ledger.look(at + BEAT, at + BEAT, at + BEAT, progress=written).idle == 1


def test_T4_progress_between_two_rounds_sets_idle_back_without_using_one() -> None:
    ledger = Ledger()
    ledger.look(NOW, NOW, NOW)
    after = ledger.look(NOW + MINUTE, NOW, NOW, progress=NOW + MINUTE)
    assert (after.used, after.idle, after.progress_at) == (1, 0, NOW + MINUTE)


def test_T5_a_new_worker_does_not_inherit_idle_rounds() -> None:
    row = Rounds(CARD.ref, used=8, idle=5, progress_at=NOW - 8 * BEAT, turn_at=NOW - BEAT, slot=NOW - BEAT)
    ledger = Ledger(TASK, row)
    first = ledger.look(NOW, NOW, NOW, progress=NOW - 8 * BEAT, began_at=NOW - MINUTE)
    assert (first.used, first.idle) == (9, 1)
    assert ledger.look(NOW + BEAT, NOW + BEAT, NOW + BEAT, began_at=NOW - MINUTE).idle == 2


def test_T4_of_rows_that_disagree_the_one_that_saw_the_newest_progress_tells_idle() -> None:
    rows = Rounds(CARD.ref, used=9, idle=6, progress_at=NOW - BEAT), Rounds(ISSUE.ref, used=2, idle=1, progress_at=NOW)
    assert together(BOTH, known(*rows)).idle == 1
    assert together(BOTH, known(rows[0], replace(rows[1], progress_at=NOW - BEAT))).idle == 6


# What an agent reports itself.


def test_C1_a_reported_round_and_a_seen_one_are_one_in_the_same_slot() -> None:
    ledger = Ledger()
    ledger.rows |= known(*reported(TASK, {}, slot=NOW, progress=None, now=NOW + MINUTE))
    assert together(TASK, ledger.rows).used == 1
    assert ledger.look(NOW + 2 * MINUTE, NOW + 2 * MINUTE, NOW).used == 1
    assert reported(TASK, ledger.rows, slot=NOW, progress=None, now=NOW + 3 * MINUTE)[0].used == 1
    assert reported(TASK, ledger.rows, slot=NOW + BEAT, progress=None, now=NOW + BEAT)[0].used == 2


def test_C1_a_round_is_reported_of_work_in_progress_only() -> None:
    assert reported(task_of(card(1, "x", Status.TODO)), {}, slot=NOW, progress=None, now=NOW) == ()


# The budget.


@pytest.mark.parametrize(
    ("used", "limit", "expected"),
    [
        (0, 50, Spend.WITHIN),
        (39, 50, Spend.WITHIN),
        (40, 50, Spend.WARN),
        (49, 50, Spend.WARN),
        (50, 50, Spend.EXHAUSTED),
        (51, 50, Spend.EXHAUSTED),
        (23, 30, Spend.WITHIN),
        (24, 30, Spend.WARN),
        (2, 3, Spend.WITHIN),  # 80 % of three is 2.4
        (3, 3, Spend.EXHAUSTED),
        (5, 7, Spend.WITHIN),
        (6, 7, Spend.WARN),
        (1, 1, Spend.EXHAUSTED),
    ],
)
def test_C2_at_eighty_per_cent_it_is_a_warning_and_at_the_limit_it_is_spent(
    used: int, limit: int, expected: Spend
) -> None:
    assert spend(Rounds(CARD.ref, used=used), policy(limit)) is expected
    assert spend(Rounds(CARD.ref, used=used, extra=limit - 1), policy(1)) is expected


def judged(task: Task, row: Rounds, *presence: Presence, **keywords: object) -> tuple[Verdict, ...]:
    return verdicts([task], known(row), presence, charter=CHARTER, now=NOW, **keywords)  # type: ignore[arg-type]


def test_C2_a_warning_is_due_once() -> None:
    row = Rounds(CARD.ref, used=24)
    (verdict,) = judged(TASK, row)
    assert (verdict.task, verdict.spend, verdict.limit, verdict.hindrances) == (TASK.key, Spend.WARN, 30, ())
    (stamped,) = warned(TASK, known(row), NOW)
    assert stamped.warned_at == NOW
    assert judged(TASK, stamped) == ()
    assert judged(TASK, replace(stamped, used=29)) == ()
    assert judged(TASK, Rounds(CARD.ref, used=23)) == ()


def test_C2_a_pause_is_due_once_and_whether_or_not_a_warning_was_given() -> None:
    row = Rounds(CARD.ref, used=30)
    assert [verdict.spend for verdict in judged(TASK, row)] == [Spend.EXHAUSTED]
    assert [verdict.spend for verdict in judged(TASK, replace(row, warned_at=NOW))] == [Spend.EXHAUSTED]
    (stamped,) = paused(TASK, known(row), NOW)
    assert judged(TASK, stamped) == ()
    assert judged(TASK, replace(stamped, used=31, turn_at=NOW + MINUTE)) == (), "it was never taken up anew"


def test_C2_a_task_that_is_taken_up_again_without_more_rounds_is_paused_again_after_its_next_round() -> None:
    row = Rounds(CARD.ref, used=30, paused_at=NOW, turn_at=NOW - MINUTE)
    clocks = {CARD.ref: Clock(CARD.ref, "e2", NOW + MINUTE, NOW + MINUTE)}
    assert judged(TASK, row, clocks=clocks) == ()
    (again,) = judged(TASK, replace(row, turn_at=NOW + 2 * MINUTE), clocks=clocks)
    (first,) = judged(TASK, replace(row, paused_at=None))
    assert again.spend is Spend.EXHAUSTED
    assert again.key != first.key


def test_C2_a_pause_waits_for_the_run_to_end_and_says_so() -> None:
    row = Rounds(CARD.ref, used=30)
    elsewhere = Presence("writer", True, NOW, "run", Ref("multica", "other"))
    for presence in (Presence("writer", True, NOW, "run", CARD.ref), Presence("writer", True, NOW, "session")):
        (verdict,) = judged(TASK, row, presence)
        assert len(verdict.hindrances) == 1
        assert "run" in verdict.hindrances[0]
    for idle in (elsewhere, Presence("coo", True, NOW, "session"), Presence("writer", False, NOW, "s", CARD.ref)):
        assert judged(TASK, row, idle)[0].hindrances == ()


def test_C2_a_pause_waits_where_nobody_can_know_of_runs() -> None:
    (verdict,) = judged(TASK, Rounds(CARD.ref, used=30), presence_unknown=frozenset({"workboard"}))
    assert "workboard" in verdict.hindrances[0]


def test_C2_a_warning_waits_for_nothing() -> None:
    (verdict,) = judged(TASK, Rounds(CARD.ref, used=24), Presence("writer", True, NOW, "run", CARD.ref))
    assert verdict.hindrances == ()


def test_L4_a_hindered_pause_keeps_its_key_while_more_rounds_are_used() -> None:
    busy = Presence("writer", True, NOW, "run", CARD.ref)
    keys = {judged(TASK, Rounds(CARD.ref, used=used), busy)[0].key for used in (30, 31, 32)}
    assert len(keys) == 1
    warning = judged(TASK, Rounds(CARD.ref, used=24))[0].key
    extension = judged(TASK, Rounds(CARD.ref, used=50, extra=20))[0].key
    assert len({*keys, warning, extension}) == 3


@pytest.mark.parametrize("doubt", [{"stale": (CARD.ref,)}, {"absent": (ISSUE.ref,)}, {"split": True}])
def test_S2_a_task_of_which_a_part_cannot_be_seen_is_left_alone(doubt: dict[str, object]) -> None:
    assert judged(task_of(CARD, **doubt), Rounds(CARD.ref, used=30)) == ()


def test_C2_only_agents_work_in_progress_is_paused() -> None:
    row = Rounds(CARD.ref, used=30)
    assert judged(task_of(CARD, status=Status.BLOCKED), row) == ()
    assert judged(task_of(CARD, owner=ALICE), row) == ()
    assert judged(task_of(CARD, owner=NOBODY), replace(row, used=50))[0].limit == 50, "by the patrol's numbers (L0)"
    assert judged(task_of(CARD, owner=COO), row) == ()
    lonely = make_roster(make_agent("writer")).charter()
    assert verdicts([task_of(CARD, owner=COO)], known(row), [], charter=lonely, now=NOW) == ()


def test_C2_an_extension_ends_the_pause_and_the_warning_comes_anew() -> None:
    row = Rounds(CARD.ref, used=30, warned_at=NOW - BEAT, paused_at=NOW)
    (after,) = extended(TASK, known(row), 20, BUSINESS)
    assert (after.used, after.extra, limit_of(after, BUSINESS)) == (30, 20, 50)
    assert (after.warned_at, after.paused_at) == (None, None)
    assert judged(TASK, after) == ()
    assert judged(TASK, replace(after, used=40))[0].spend is Spend.WARN


def test_C2_after_a_small_extension_the_warning_that_was_given_stands() -> None:
    row = Rounds(CARD.ref, used=30, warned_at=NOW - BEAT, paused_at=NOW)
    (after,) = extended(TASK, known(row), 1, BUSINESS)
    assert (after.warned_at, after.paused_at) == (NOW - BEAT, None)
    assert judged(TASK, after) == ()
    assert judged(TASK, replace(after, used=31))[0].spend is Spend.EXHAUSTED


@pytest.mark.parametrize("more", [0, -1])
def test_C2_an_extension_grants_at_least_one_round(more: int) -> None:
    with pytest.raises(ValueError, match="no extension"):
        extended(TASK, {}, more, BUSINESS)


# Whatever happens.

MINUTES = st.integers(min_value=-2000, max_value=2000)
INSTANTS = MINUTES.map(lambda minute: NOW + minute * MINUTE)
LOOKS = st.lists(
    st.tuples(
        INSTANTS, st.none() | INSTANTS, st.none() | INSTANTS, st.none() | INSTANTS, st.sampled_from([TASK, BOTH])
    ),
    max_size=30,
)


def walked(looks: Iterable[tuple[datetime, datetime | None, datetime | None, datetime | None, Task]]) -> list[Rounds]:
    """The rows after each look; each look sees one of two tasks that share an item."""
    rows: dict[Ref, Rounds] = {}
    seen = []
    for now, turn_at, progress, began_at, task in looks:
        slot = now - (now - NOW) % BEAT
        told = None if progress is None else mark(progress)
        before = dict(rows)
        changed = counted(task, rows, turn_at=turn_at, slot=slot, progress=told, now=now, began_at=began_at)
        rows |= known(*changed)
        for ref, row in before.items():
            assert rows[ref].used >= row.used
            assert rows[ref].extra >= row.extra
        if changed:
            assert len({(rows[ref].used, rows[ref].idle) for ref in task.refs}) == 1
            assert all(0 <= rows[ref].idle <= rows[ref].used for ref in task.refs)
        seen.append(together(BOTH, rows))
    return seen


@given(LOOKS)
@settings(max_examples=200)
def test_I8_rounds_never_go_down_and_never_by_more_than_one_a_look_whatever_the_clock_does(
    looks: list[tuple[datetime, datetime | None, datetime | None, datetime | None, Task]],
) -> None:
    used = [0, *(row.used for row in walked(looks))]
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(used))


@given(LOOKS)
@settings(max_examples=200)
def test_C1_over_any_looks_there_are_no_more_rounds_than_slots_nor_than_turns(
    looks: list[tuple[datetime, datetime | None, datetime | None, datetime | None, Task]],
) -> None:
    looks = sorted(looks, key=lambda look: look[0])
    rows = walked(looks)
    slots = {now - (now - NOW) % BEAT for now, *_ in looks}
    newest = {turn for now, turn, *_ in looks if turn is not None and turn <= now}
    used = rows[-1].used if rows else 0
    assert used <= len(slots)
    assert used <= len(newest)
