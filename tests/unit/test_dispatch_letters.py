"""Dead letters while people and sources do as they like: none is lost, none outlives its task (rules F4, S2, S3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Failure, LetterState
from heartbeat.deadline import Deadline
from heartbeat.dispatch.context import opened
from heartbeat.dispatch.letters import bury, drop, retry
from heartbeat.rules.failover import Exhausted
from heartbeat.store.port import EntryState
from heartbeat.systems.base import Reading
from heartbeat.task import Ref, Status
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Fail, Hang, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

C1 = Ref("workboard", "c1")
NAMES = ("first", "second", "third")


@pytest.fixture
def group(tmp_path: Path) -> DispatchTeam:
    """A team with one dead letter, of the card c1."""
    world = ScriptedWorld(ScriptedSystem(card("c1", "a"), card("c2", "b")))
    found = DispatchTeam(world, tmp_path, (worker("a"), worker("b")), engine=StandInSpawner(), extra=dict(MANAGED))
    found.every = timedelta(seconds=10)
    set_all(found, Fail(REFUSED))
    while not found.letters:
        found.dispatched("a")
    set_all(found, Hang())
    return found


def set_all(group: DispatchTeam, act: Fail | Hang, names: Sequence[str] = NAMES) -> None:
    for name in names:
        group.engine.always(name, act)


def replay(group: DispatchTeam) -> str:
    """The dispatch id of the letter's replay, which runs."""
    group.pass_time(timedelta(minutes=6))
    group.dispatched("a")
    assert group.letters[0].state is LetterState.REPLAYING
    [dispatch] = group.engine.running
    return dispatch


def test_F4_a_letter_whose_task_was_closed_during_its_replay_is_done_with_when_that_turn_fails(
    group: DispatchTeam,
) -> None:
    dispatch = replay(group)
    group.world["workboard"].change(C1, group.now, status=Status.DONE)
    group.dispatched("b")
    assert group.letters[0].state is LetterState.REPLAYING, "its turn goes on"
    group.engine.finish(dispatch, Fail(REFUSED))
    group.dispatched("a")
    assert group.letters[0].state is LetterState.DROPPED
    assert group.letters[0].closed_at is not None


def test_F4_nobody_is_told_of_a_letter_whose_task_the_agent_had_finished_before_its_turn_failed(tmp_path: Path) -> None:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a")))
    group = DispatchTeam(world, tmp_path, (worker("a"),), engine=StandInSpawner(Hang()))
    group.dispatched("a")
    world["workboard"].change(C1, group.now, status=Status.DONE)
    group.engine.finish(group.attempts[0].id, Fail(Failure(Cause.TASK, "400")))
    group.dispatched("a")
    assert [each.state for each in group.letters] == [LetterState.DROPPED]
    assert [each for each in group.postbox.letters if "死信" in str(each)] == []
    assert {each.state for each in group.messages("ops")} == {EntryState.DROPPED}


def test_S3_a_letter_whose_card_comes_malformed_once_is_no_letter_of_finished_work(
    group: DispatchTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, read = group.world["workboard"], ScriptedSystem.read

    def garbled(self: ScriptedSystem, deadline: Deadline, now: object) -> Reading:
        reading = read(self, deadline, now)  # type: ignore[arg-type]
        items = tuple(each for each in reading.items if each.ref != C1)
        return replace(reading, items=items, report=replace(reading.report, items=len(items), unknown_ids=("c1",)))

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedSystem, "read", garbled)
        group.dispatched("a")
    assert group.letters[0].state is LetterState.WAITING
    del board.items[C1]
    group.dispatched("a")
    assert group.letters[0].state is LetterState.DROPPED


def test_F4_a_letter_that_a_person_dropped_stays_dropped_whatever_becomes_of_its_replay(group: DispatchTeam) -> None:
    dispatch = replay(group)
    drop(group.store, group.letters[0], "somebody", "not wanted", group.now)
    attempt = group.store.attempt(dispatch)
    assert attempt is not None
    context = opened(
        group.roster, {}, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means
    )
    again = bury(context, attempt, (attempt,), Exhausted(("nobody is left",)))
    assert [each.state for each in group.letters] == [LetterState.DROPPED, LetterState.WAITING]
    assert again.attempts == (dispatch,)


def test_M3_a_letter_knows_every_record_of_its_task_that_a_replay_was_about(group: DispatchTeam) -> None:
    dispatch = replay(group)
    attempt = group.store.attempt(dispatch)
    assert attempt is not None
    moved = replace(attempt, refs=(Ref("multica", "i1"), C1))
    context = opened(
        group.roster, {}, group.store, group.folder, lambda: group.now, Deadline.after(60), group.peers.means
    )
    letter = bury(context, moved, (moved,), Exhausted(("nobody is left",)))
    assert letter.id == group.letters[0].id
    assert set(letter.refs) == {C1, Ref("multica", "i1")}
    assert group.store.letters(refs=[Ref("multica", "i1")]) == (letter,)


def test_F4_a_letter_that_is_made_due_by_hand_is_replayed_once(group: DispatchTeam) -> None:
    for name in NAMES:
        group.store.drop_breaker(name)
    retry(group.store, group.letters[0], "somebody", group.now)
    for _ in range(3):
        group.dispatched("a")
    assert len([each for each in group.attempts if each.letter]) == 1
