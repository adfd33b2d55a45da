"""What is claimed for a turn, and what is given back: everything that is ours, and nothing else (rules X5, L6, T7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Failure, Life, Outcome
from heartbeat.breaker import State
from heartbeat.deadline import Deadline
from heartbeat.dispatch.claims import finish_giving_back
from heartbeat.dispatch.context import opened
from heartbeat.dispatch.start import Result
from heartbeat.rules.dispatching import Reason, Skip
from heartbeat.store.port import EntryKind, EntryState
from heartbeat.task import Item, Owner, OwnerKind, Priority, Ref, Status
from tests.support import team as support
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Fail, StandInSpawner
from tests.support.scripted_source import item
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld

C1 = Ref("workboard", "c1")
POISON = Fail(Failure(Cause.TASK, "400"))


def line(name: str, owner: str, **changes: object) -> Item:
    """A TODO line of an agent."""
    return item(
        name, f"Water {name} today", source="todo", owner=Owner(OwnerKind.AGENT, owner), revision="1", **changes
    )


def team(folder: Path, *items: Item, engine: StandInSpawner | None = None) -> DispatchTeam:
    systems = [ScriptedSystem(*(each for each in items if each.ref.source == "workboard"))]
    if any(each.ref.source == "todo" for each in items):
        systems.append(ScriptedSystem(*(each for each in items if each.ref.source == "todo"), name="todo"))
    return DispatchTeam(ScriptedWorld(*systems), folder, (worker("a"), worker("b")), engine=engine or StandInSpawner())


@contextmanager
def hurried(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Beats with so little time."""
    with monkeypatch.context() as patch:
        patch.setattr(support, "Deadline", type("Hurried", (), {"after": lambda _: Deadline.after(seconds)}))
        yield


def test_L6_a_card_that_a_person_gave_the_agent_just_before_our_claim_is_not_given_back(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    board = group.world["workboard"]

    def reads_for_the_prompt() -> None:
        board.meanwhile = lambda: board.take(C1, "a", group.now)

    board.meanwhile = reads_for_the_prompt
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.CONFLICT
    assert group.engine.started == []
    assert group.status("c1") is Status.IN_PROGRESS
    assert group.claimant("c1") == "a"


def test_X5_of_two_records_the_one_that_was_claimed_goes_back_and_the_other_stays(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), line("c1", "a"))
    board, todo = group.world["workboard"], group.world["todo"]
    [ref] = todo.items
    for system, own in ((board, C1), (todo, ref)):
        system.change(own, group.now, title="Write the annual report")

    def reads_for_the_prompt() -> None:
        todo.meanwhile = lambda: todo.change(ref, group.now, status=Status.IN_PROGRESS)

    todo.meanwhile = reads_for_the_prompt
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.CONFLICT
    assert set(found.begun.attempt.refs) == {C1, ref}
    assert group.status("c1") is Status.TODO
    assert group.claimant("c1") == ""
    assert todo.items[ref].status is Status.IN_PROGRESS


def test_X5_a_record_that_joins_a_task_between_two_attempts_is_given_back_with_the_others(tmp_path: Path) -> None:
    failing = [Fail(Failure(Cause.COUNTS, "500")), POISON]
    title = "Write the annual report"
    group = team(tmp_path, card("c1", "a"), line("t9", "b"), engine=StandInSpawner(*failing))
    board, todo = group.world["workboard"], group.world["todo"]
    board.change(C1, group.now, title=title)
    group.dispatched("a")
    joined = line("t1", "a")
    todo.items[joined.ref] = replace(joined, title=title)
    found = group.dispatched("a")
    assert found.started is not None
    assert set(found.started.refs) == {C1, joined.ref}
    assert todo.items[joined.ref].status is Status.IN_PROGRESS
    group.dispatched("a")
    assert len(group.letters) == 1
    assert group.status("c1") is Status.TODO
    assert todo.items[joined.ref].status is Status.TODO


def test_F2_a_source_that_cannot_be_written_to_is_no_failure_of_the_engine(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "b"), line("t1", "a"))
    group.every = timedelta(seconds=5)
    for _ in range(4):
        group.world["todo"].fail_writes(Fault.DOWN)
        found = group.dispatched("a")
        assert found.begun is not None
        assert found.begun.result is Result.FAILED
    assert {each.outcome for each in group.attempts} == {Outcome.SPAWN_FAILED}
    assert all(each.state is State.CLOSED and not each.failures for each in group.store.breakers().values())
    assert group.dispatched("b").started is not None


def test_X1_a_task_that_cannot_be_claimed_does_not_keep_its_agent_from_the_next_and_is_told_once_a_day(
    tmp_path: Path,
) -> None:
    group = team(tmp_path, line("t1", "a", priority=Priority.URGENT), line("t2", "a"), card("c1", "b"))
    for _ in range(6):
        group.world["todo"].fail_writes(Fault.DOWN, *[None] * 8)
        group.dispatched("a")
        group.world["todo"]._faults.clear()
        group.world["todo"].change(Ref("todo", "t2"), group.now, status=Status.TODO)
    assert [each.order.attempt.task for each in group.engine.turns] == ["todo:t2"] * 6
    told = [each for each in group.messages("ops") if each.key.startswith("unclaimed/")]
    assert len(told) == 1
    assert "refused before anything happened" in str(told[0].payload["body"])


def test_X5_a_claim_that_was_given_up_cannot_be_tried_again_by_hand_when_its_turn_is_long_over(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.world["workboard"].fail_writes(Fault.UNSUPPORTED)
    group.dispatched("a")
    claims = [each for each in group.store.entries(kind=EntryKind.WRITE) if each.key.startswith("dispatch:claim:")]
    assert [each.state for each in claims] == [EntryState.DROPPED]
    assert group.dispatched("a").started is not None


def test_T7_what_a_run_kept_from_being_given_back_is_given_back_when_the_run_is_over(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(POISON))
    group.every = timedelta(minutes=1)
    group.dispatched("a")
    board = group.world["workboard"]
    board.active[C1] = True
    group.dispatched("a")
    assert group.letters != ()
    assert group.status("c1") is Status.IN_PROGRESS
    assert group.dispatched("a").started is None
    board.active.clear()
    group.dispatched("a")
    assert group.status("c1") is Status.TODO
    assert group.claimant("c1") == ""


def test_X5_what_could_not_be_given_back_stays_with_the_turn_that_has_the_card_by_then(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(POISON))
    group.dispatched("a")
    board = group.world["workboard"]
    board.active[C1] = True
    group.dispatched("a")
    [first] = group.attempts
    board.active.clear()
    group.store.add_attempt(replace(first, id="hb-later", number=2, life=Life.RUNNING, outcome=None, ended_at=None))
    context = opened(
        group.roster, {}, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means
    )
    finish_giving_back(context)
    assert group.status("c1") is Status.IN_PROGRESS
    assert group.claimant("c1") == "a"


def test_X1_a_beat_whose_time_is_over_starts_nobody_and_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = team(tmp_path, card("c1", "a"))
    with hurried(monkeypatch, 0.9):
        found = group.dispatched("a")
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.NO_TIME
    assert group.attempts == ()
    assert group.store.breakers() == {}
    assert group.dispatched("a").started is not None


def test_X1_a_beat_whose_time_ends_after_the_claim_gives_it_back_and_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = team(tmp_path, card("c1", "a"))
    board = group.world["workboard"]
    left = [10.0]
    monkeypatch.setattr(Deadline, "left", lambda self: left[0])

    def slow() -> None:
        board.meanwhile = lambda: left.__setitem__(0, 2.0)

    board.meanwhile = slow
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.FAILED
    assert "time was over" in found.told
    assert group.engine.orders == []
    assert [each.outcome for each in group.attempts] == [Outcome.ABORTED]
    assert not any(each.failures for each in group.store.breakers().values())
    left[0] = 60.0
    assert group.dispatched("a").started is not None
