"""A queue of dead letters that grows is told once for each size, and never letter by letter (rules F4, O3)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import LetterState
from heartbeat.deadline import Deadline
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.letters import QUEUE, left_at, replaying
from heartbeat.dispatch.letters import drop as drop_letter
from heartbeat.dispatch.letters import retry as retry_letter
from heartbeat.provider import Failover
from heartbeat.rules.failover import LETTER_TRIES, letter_due
from heartbeat.store.port import EntryKind
from heartbeat.task import Ref
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Answer, Fail, Hang
from tests.support.items import NOW
from tests.support.receipts import LETTER
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

TEAM = 50
ONE_TRY = {
    **MANAGED,
    "providers": tuple({**each, "max_retries": 0} for each in MANAGED["providers"]),
    "failover": {"strategy": "managed", "open_after": 10_000},
    "limits": {"running": TEAM},
}
"""Every provider is asked once, and no breaker opens: each task comes to its dead letter."""


def crowd(folder: Path, size: int = TEAM) -> DispatchTeam:
    """So many agents with a task each, and providers that all fail."""
    names = [f"a{number:02}" for number in range(size)]
    world = ScriptedWorld(ScriptedSystem(*(card(f"c-{name}", name) for name in names)))
    group = DispatchTeam(world, folder, tuple(map(worker, names)), extra=ONE_TRY, every=timedelta(seconds=5))
    for name in ("first", "second", "third"):
        group.engine.always(name, Fail(REFUSED))
    return group


def told(group: DispatchTeam) -> list[str]:
    """The keys of the messages for the operator's channel that are about letters, and not those of a breaker."""
    found = group.store.entries(kind=EntryKind.MESSAGE)
    return [each.key for each in found if each.key.startswith(("letter/", "letters/"))]


def sizes(group: DispatchTeam, state: LetterState = LetterState.WAITING) -> list[int]:
    keys = [key.split("/") for key in told(group)]
    return [int(key[2]) for key in keys if key[0] == "letters" and key[1] == state.value]


def until(group: DispatchTeam, letters: int) -> None:
    for _ in range(40):
        if len(group.letters) >= letters:
            return
        group.show_runs()
        group.beat()
    raise AssertionError(f"{len(group.letters)} letters of {letters}")


def test_F4_fifty_tasks_without_a_provider_are_two_letters_and_then_one_message_a_size(tmp_path: Path) -> None:
    group = crowd(tmp_path)
    until(group, TEAM)
    assert sizes(group) == [3, 10, 30]
    assert len(told(group)) == 2 + 3
    first = group.store.entries(kind=EntryKind.MESSAGE)
    grown = next(each for each in first if each.key.startswith("letters/waiting/10/"))
    assert grown.payload["title"] == "今日已有 10 个任务进入死信"
    assert "到 30 个时再报" in grown.payload["body"]
    assert "connect ECONNREFUSED" in grown.payload["body"]


def test_F4_hours_of_it_leave_every_letter_to_a_person_and_that_is_told_by_size_too(tmp_path: Path) -> None:
    group = crowd(tmp_path, 12)
    until(group, 12)
    group.every = timedelta(minutes=5)
    for _ in range(80):
        group.show_runs()
        group.beat()
        if all(each.state is LetterState.EXHAUSTED for each in group.letters):
            break
    assert {each.tries for each in group.letters} == {LETTER_TRIES}
    assert sizes(group, LetterState.EXHAUSTED) == [3, 10]
    single = [key for key in told(group) if key.startswith("letter/") and "exhausted" in key]
    assert len(single) == 2
    levels = {each.payload["level"] for each in group.store.entries() if each.key.startswith("letters/exhausted")}
    assert levels == {"critical"}


def test_F4_a_queue_that_shrinks_and_grows_again_is_not_told_again_on_the_same_day(tmp_path: Path) -> None:
    group = crowd(tmp_path, 4)
    until(group, 3)
    before = told(group)
    letter = group.letters[0]
    with group.store.transaction():
        drop_letter(group.store, letter, "lin", "not wanted", group.now)
    assert Counter(sizes(group)) == {3: 1}
    until(group, 4)
    assert told(group) == before


@pytest.mark.parametrize("state", [LetterState.WAITING, LetterState.EXHAUSTED])
def test_F4_old_letters_do_not_silence_those_of_today(tmp_path: Path, state: LetterState) -> None:
    group = crowd(tmp_path, 2)
    long_ago = NOW - timedelta(days=2)
    for number in range(9):
        old = replace(LETTER, id=f"dl-{number}", refs=(Ref("multica", f"old-{number}"),), created_at=long_ago)
        group.store.put_letter(replace(old, state=state, tries=LETTER_TRIES, due_at=letter_due(LETTER_TRIES, long_ago)))
    until(group, 11)
    while not all(each.state is state for each in group.letters):
        group.show_runs()
        group.beat(every=timedelta(minutes=5))
    assert sizes(group, state) == []
    assert len([key for key in told(group) if key.startswith("letter/") and key.endswith(f"/{state.value}/ops")]) == 2


@pytest.mark.parametrize("tries", range(1, 9))
def test_F4_when_a_letter_was_left_for_a_person_is_known_from_when_it_would_be_due(tries: int) -> None:
    assert left_at(replace(LETTER, tries=tries, due_at=letter_due(tries, NOW))) == NOW


def test_the_sizes_that_are_told_grow_and_begin_above_one() -> None:
    assert list(QUEUE) == sorted(set(QUEUE))
    assert QUEUE[0] > 1


def test_F4_a_letter_that_is_tried_again_by_hand_is_due_at_once_and_has_its_tries_anew(tmp_path: Path) -> None:
    group = crowd(tmp_path, 1)
    until(group, 1)
    spent = replace(group.letters[0], state=LetterState.EXHAUSTED, tries=LETTER_TRIES)
    group.store.put_letter(spent)
    assert group.dispatched("a00").begun is None
    with group.store.transaction():
        again = retry_letter(group.store, spent, "lin", group.now)
    assert (again.state, again.tries, again.due_at) == (LetterState.WAITING, 0, group.now)
    group.engine.always("first", Answer())
    assert group.dispatched("a00").begun is not None
    group.dispatched("a00")
    assert group.letters[0].state is LetterState.REPLAYED
    entry = next(each for each in group.store.log() if each.action == "letter-retry")
    assert (entry.agent, entry.details["by"], entry.details["letter"]) == ("a00", "lin", spent.id)


def test_F4_a_letter_that_is_dropped_while_its_replay_is_being_reserved_stays_dropped(tmp_path: Path) -> None:
    group = crowd(tmp_path, 1)
    until(group, 1)
    [seen] = group.letters
    with group.store.transaction():
        drop_letter(group.store, seen, "lin", "not wanted", group.now)
    context = Context(group.roster, {}, group.store, tmp_path, lambda: group.now, Deadline.after(60), Failover())
    replaying(context, seen)
    assert group.letters[0].state is LetterState.DROPPED


def test_F4_a_letter_that_a_person_closed_stays_closed_whatever_its_replay_comes_to(tmp_path: Path) -> None:
    group = crowd(tmp_path, 1)
    until(group, 1)
    for name in ("first", "second", "third"):
        group.engine.always(name, Hang())
    group.pass_time(timedelta(minutes=6))
    found = group.dispatched("a00")
    assert found.started is not None
    with group.store.transaction():
        drop_letter(group.store, group.letters[0], "lin", "not wanted", group.now)
    group.engine.finish(found.started.id, Fail(REFUSED))
    group.dispatched("a00")
    assert group.letters[0].state is LetterState.DROPPED
