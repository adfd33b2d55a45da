"""The patrol's view: load by source and by owner, and when it is worth an alarm (rules S6, S6a; see also D4)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from heartbeat.merge import merge
from heartbeat.order import task_order
from heartbeat.rules.backlog import Backlog, OwnerLoad, SourceLoad, backlog
from heartbeat.task import NOBODY, Item, Owner, OwnerKind, Priority, Status
from tests.support.items import ALICE, ARCHITECT, COO, NOW, SOURCES, card, issue, line

STRANGER = Owner(OwnerKind.AGENT, "c0ffee00-0000-4000-8000-000000000000")


def loaded(*items: Item, agents: tuple[str, ...] = ("coo", "architect")) -> Backlog:
    tasks = sorted(merge(items, sources=SOURCES, now=NOW).tasks, key=task_order(SOURCES, {}))
    return backlog(tasks, SOURCES, agents, NOW)


def source(result: Backlog, name: str) -> SourceLoad:
    (load,) = [load for load in result.sources if load.source == name]
    return load


def owner(result: Backlog, who: Owner) -> OwnerLoad:
    (load,) = [load for load in result.owners if load.owner == who]
    return load


def test_every_source_tells_todo_in_progress_and_total_in_source_order() -> None:
    statuses = [Status.TODO, Status.TODO, *Status]
    result = loaded(*[card(number, "x", status) for number, status in enumerate(statuses)], issue(1, "y"))
    assert [load.source for load in result.sources] == list(SOURCES)
    board = source(result, "workboard")
    assert (board.todo, board.in_progress, board.total) == (3, 1, 10)
    assert (source(result, "multica").todo, source(result, "multica").total) == (1, 1)
    assert source(result, "todo") == SourceLoad("todo", 0, 0, 0, False, ())


@pytest.mark.parametrize(("count", "alarm"), [(0, False), (5, False), (6, True), (60, True)])
def test_more_than_five_todo_in_one_source_is_an_alarm(count: int, alarm: bool) -> None:
    result = loaded(*[issue(number, f"task number {number}") for number in range(count)])
    assert source(result, "multica").alarm is alarm
    assert not source(result, "workboard").alarm


def test_five_todo_in_each_source_are_no_alarm_though_they_are_fifteen() -> None:
    items = [make(number, f"{make.__name__} {number}") for make in (card, issue, line) for number in range(5)]
    assert [load.alarm for load in loaded(*items).sources] == [False, False, False]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.TODO])
def test_only_todo_counts_towards_the_alarm(status: Status) -> None:
    load = source(loaded(*[issue(number, "x", status) for number in range(9)]), "multica")
    assert (load.todo, load.alarm, load.first, load.total) == (0, False, (), 9)


def test_the_first_ten_are_the_first_ten_in_the_order_of_work() -> None:
    items = [issue(number, "x", priority=Priority.LOW) for number in range(1, 14)]
    urgent = issue(99, "y", priority=Priority.URGENT)
    begun = issue(98, "z", Status.IN_PROGRESS, priority=Priority.URGENT)
    load = source(loaded(*items, urgent, begun), "multica")
    assert [task.items[0].key for task in load.first] == ["BIZ-99", *(f"BIZ-{number}" for number in range(1, 10))]
    assert load.todo == 14


def test_S6_archived_cards_are_in_the_total_and_nowhere_else() -> None:
    load = source(loaded(*[card(number, "x", archived=True) for number in range(7)]), "workboard")
    assert (load.todo, load.in_progress, load.total, load.alarm, load.first) == (0, 0, 7, False, ())


def test_S6_scheduled_cards_count_from_their_instant_on() -> None:
    later = [card(number, f"later {number}", not_before=NOW + timedelta(seconds=1)) for number in range(6)]
    due = [card(number + 6, f"due {number}", not_before=NOW) for number in range(6)]
    load = source(loaded(*later), "workboard")
    assert (load.todo, load.alarm, load.first) == (0, False, ())
    assert source(loaded(*later, *due), "workboard").todo == 6


def test_a_merged_task_counts_once_in_each_of_its_sources_and_once_for_its_owner() -> None:
    result = loaded(card(1, "a", mentions=("BIZ-1",)), issue(1, "b", Status.BACKLOG))
    assert (source(result, "workboard").todo, source(result, "multica").todo) == (1, 0)
    assert (source(result, "workboard").total, source(result, "multica").total) == (1, 1)
    assert owner(result, COO).todo == 1


def test_load_is_told_per_owner_by_what_is_open() -> None:
    statuses = [Status.TODO, Status.TODO, Status.IN_PROGRESS, Status.BLOCKED, Status.IN_REVIEW, Status.DONE]
    items = [issue(number, "x", status) for number, status in enumerate(statuses)]
    load = owner(loaded(*items), COO)
    assert (load.todo, load.in_progress, load.blocked, load.in_review) == (2, 1, 1, 1)


def test_agents_that_the_roster_does_not_know_are_told_apart() -> None:
    result = loaded(
        issue(1, "a"), issue(2, "b", owner=STRANGER), issue(3, "c", owner=ALICE), issue(4, "d", owner=NOBODY)
    )
    known = {load.owner: load.known for load in result.owners}
    assert known == {COO: True, STRANGER: False, ALICE: True, NOBODY: True}


def test_a_person_with_the_name_of_an_agent_is_not_that_agent() -> None:
    namesake = Owner(OwnerKind.PERSON, "coo")
    result = loaded(issue(1, "a"), issue(2, "b", owner=namesake))
    assert owner(result, COO).todo == owner(result, namesake).todo == 1


def test_the_busiest_owner_comes_first_and_the_order_is_stable() -> None:
    items = [issue(1, "a", owner=ARCHITECT), issue(2, "b", Status.IN_PROGRESS, owner=ARCHITECT), issue(3, "c")]
    result = loaded(*items, issue(4, "d", owner=STRANGER))
    assert [load.owner for load in result.owners] == [ARCHITECT, STRANGER, COO]
    assert result == loaded(*reversed(items), issue(4, "d", owner=STRANGER))


def test_who_has_only_closed_work_has_no_load() -> None:
    assert loaded(issue(1, "a", Status.DONE), card(2, "b", archived=True, owner=ARCHITECT)).owners == ()


def test_nothing_at_all_is_an_empty_backlog() -> None:
    result = loaded()
    assert result.owners == ()
    assert [(load.todo, load.total, load.alarm) for load in result.sources] == [(0, 0, False)] * 3
