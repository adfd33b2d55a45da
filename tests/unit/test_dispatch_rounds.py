"""Every turn that heartbeat begins uses a round of its task, seen or not, and none uses two (rules C1 to C3)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome
from heartbeat.memory import Rounds
from heartbeat.rules.dispatching import Reason, Skip
from heartbeat.rules.rounds import dispatched
from heartbeat.task import Presence, Ref, Status
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Fail, StandInSpawner
from tests.support.items import NOW
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

C1, I1 = Ref("workboard", "c1"), Ref("multica", "i1")
MINUTE = timedelta(minutes=1)
SLOT = timedelta(minutes=10)


def team(folder: Path, *, rounds: int, **changes: object) -> DispatchTeam:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a")))
    return DispatchTeam(world, folder, (worker("a", max_rounds=rounds, **changes),), engine=StandInSpawner())


def put_back(group: DispatchTeam) -> None:
    """The agent's turn has ended, and has put its card back itself."""
    board = group.world["workboard"]
    board.claimants.pop(C1, None)
    if board.items[C1].status is not Status.TODO:
        board.change(C1, group.now, status=Status.TODO)


def used(group: DispatchTeam) -> int:
    row = group.store.rounds().get(C1)
    return row.used if row is not None else 0


def test_C1_turns_that_begin_and_end_between_two_looks_are_counted_and_end_with_the_budget(tmp_path: Path) -> None:
    group = team(tmp_path, rounds=5)
    for _ in range(12):
        found = group.dispatched("a")
        put_back(group)
    assert len(group.engine.started) == 5
    assert used(group) == 5
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.ROUNDS_EXHAUSTED


def test_C2_that_no_turn_is_begun_any_more_is_told_once_although_nobody_is_at_the_task(tmp_path: Path) -> None:
    group = team(tmp_path, rounds=2)
    for _ in range(12):
        group.dispatched("a")
        put_back(group)
    told = [each for each in group.messages("ops") if each.key.startswith("rounds:exhausted:")]
    told += [each for each in group.messages("a") if each.key.startswith("rounds:exhausted:")]
    assert len({each.key for each in told}) == len({(each.key, each.target) for each in told}) == 1
    assert group.status("c1") is Status.TODO, "nothing was there to be paused"


def test_C1_a_turn_that_a_look_has_counted_is_not_counted_again(tmp_path: Path) -> None:
    group = team(tmp_path, rounds=50)
    board = group.world["workboard"]
    for _ in range(5):
        group.beat("a")
        board.presence = (Presence("a", False, group.now + MINUTE, "agent:a:hb-c1"),)
    assert len(group.engine.started) == 5
    assert used(group) == 4, "the last one has not been collected"


def test_C3_a_turn_that_met_a_rate_limit_uses_no_round(tmp_path: Path) -> None:
    group = team(tmp_path, rounds=50)
    group.engine.always("native", Fail(Failure(Cause.COOLS, "429", Outcome.RATE_LIMITED)))
    for _ in range(4):
        group.dispatched("a")
    assert len(group.engine.started) >= 2
    assert used(group) == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, 1),
        (Rounds(C1, used=3, turn_at=NOW - MINUTE, slot=NOW - SLOT), 4),
        (Rounds(C1, used=3, turn_at=NOW + MINUTE, slot=NOW), 3),
        (Rounds(C1, used=3, turn_at=NOW - MINUTE, slot=NOW), 3),
        (Rounds(C1, used=3, turn_at=NOW + 99 * SLOT, slot=NOW + 99 * SLOT), 4),
    ],
    ids=["first", "new", "seen by a look", "its slot is used", "counted by a clock that ran ahead"],
)
def test_C1_one_round_a_turn_and_one_turn_a_slot(row: Rounds | None, expected: int) -> None:
    known = {} if row is None else {C1: row}
    rows = dispatched(attempt(NOW), known, slot=NOW, now=NOW + 2 * MINUTE)
    after = {**known, **{each.ref: each for each in rows}}
    assert after[C1].used == expected
    assert {each.used for each in rows} <= {expected}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=20))
def test_C1_the_count_is_monotone_at_most_one_a_slot_and_the_same_on_every_record(
    turns: list[tuple[int, int]],
) -> None:
    known: dict[Ref, Rounds] = {}
    clock, slots = NOW, set()
    for pause, lasts in turns:
        began = clock + pause * MINUTE
        clock = began + lasts * MINUTE
        slot = began - (began - NOW) % SLOT
        slots.add(slot)
        before = known.get(C1, Rounds(C1)).used
        rows = dispatched(attempt(began), known, slot=slot, now=clock)
        known.update((each.ref, each) for each in rows)
        after = known.get(C1, Rounds(C1)).used
        assert before <= after <= before + 1
        assert after <= len(slots)
        assert known.get(I1, Rounds(I1)).used == after


def attempt(began: object) -> Attempt:
    return Attempt(
        "hb-1",
        "workboard:c1",
        (C1, I1),
        "",
        "a",
        1,
        Engine.OPENCLAW,
        "native",
        NOW,
        spawned_at=began,  # type: ignore[arg-type]
    )
