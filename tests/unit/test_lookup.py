"""Which task a name means, and what is said where it means several."""

from __future__ import annotations

from heartbeat.lookup import ambiguous, find, meant
from heartbeat.merge import merge
from heartbeat.task import Item, Status, Task
from tests.support.items import ARCHITECT, COO, NOW, SOURCES, card, issue

OWN = card(1, "报价：第一版", owner=ARCHITECT)
DONE = issue(2, "报价：第二版", Status.DONE, owner=COO)
OPEN = issue(3, "报价：第三版", owner=COO)


def tasks(*items: Item) -> tuple[Task, ...]:
    return merge(items, sources=SOURCES, now=NOW).tasks


def refs(found: tuple[Task, ...]) -> list[str]:
    return [task.items[0].key for task in found]


def test_a_title_in_part_may_mean_several_and_the_closed_ones_come_last() -> None:
    assert set(refs(find(tasks(OWN, DONE, OPEN), "报价"))) == {"00000001", "BIZ-2", "BIZ-3"}
    assert refs(find(tasks(OWN, DONE, OPEN), "报价"))[-1] == "BIZ-2"


def test_of_several_the_agents_own_is_meant_and_of_those_the_open_one() -> None:
    every = tasks(OWN, DONE, OPEN)
    assert refs(meant(every, "报价", "architect")) == ["00000001"]
    assert refs(meant(every, "报价", "coo")) == ["BIZ-3"]
    assert set(refs(meant(every, "报价"))) == {"00000001", "BIZ-3"}
    assert set(refs(meant(every, "报价", "somebody else"))) == {"00000001", "BIZ-3"}


def test_a_closed_task_is_meant_where_no_open_one_is() -> None:
    assert refs(meant(tasks(OWN, DONE), "BIZ-2", "architect")) == ["BIZ-2"]
    assert meant(tasks(OWN, DONE), "BIZ-99") == ()


def test_of_very_many_that_a_name_may_mean_eight_are_named() -> None:
    told = ambiguous("报价", [f"BIZ-{number}" for number in range(11)])
    assert str(told).startswith("'报价' may mean 11 tasks: BIZ-0; BIZ-1; ")
    assert str(told).endswith("BIZ-7; and 3 more")
    assert "by its key" in told.advice
