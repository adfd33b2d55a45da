"""Rules M3 and M5: the order of work, criterion by criterion, and that it is total."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.merge import merge
from heartbeat.order import item_order, task_order
from heartbeat.task import Item, Priority, Ref
from tests.support.items import NOW, SOURCES, card, issue, line


def keys(*items: Item, **options: Any) -> list[str]:
    tasks = list(merge(items, sources=SOURCES, now=NOW).tasks)
    random.Random(7).shuffle(tasks)
    return [task.items[0].key for task in sorted(tasks, key=task_order(SOURCES, options.get("first_seen", {})))]


def test_M5_priority_comes_first() -> None:
    backwards = list(reversed(Priority))
    items = [issue(number, "x", priority=priority) for number, priority in enumerate(backwards)]
    assert keys(*items) == ["BIZ-4", "BIZ-3", "BIZ-2", "BIZ-1", "BIZ-0"]
    assert [items[number].priority.value for number in (4, 3, 2, 1, 0)] == ["urgent", "high", "normal", "low", "none"]


def test_M5_then_the_due_date_and_what_is_never_due_comes_last() -> None:
    assert keys(
        card(1, "x"),
        line(2, "x", due=date(2026, 12, 2)),
        issue(3, "x", due=date(2026, 12, 1)),
        card(4, "x", due=date(2025, 1, 1)),
    ) == ["00000004", "BIZ-3", "TODO.md:2", "00000001"]


def test_M5_then_the_source_order_of_the_roster() -> None:
    old, older = NOW - timedelta(days=1), NOW - timedelta(days=2)
    assert keys(line(1, "x", created_at=older), issue(2, "x", created_at=old), card(3, "x", created_at=NOW)) == [
        "00000003",
        "BIZ-2",
        "TODO.md:1",
    ]


def test_M5_then_age_the_oldest_first() -> None:
    assert keys(
        issue(1, "x", created_at=NOW),
        issue(2, "x", created_at=NOW - timedelta(days=1)),
        issue(3, "x", created_at=NOW + timedelta(days=1)),
    ) == ["BIZ-2", "BIZ-1", "BIZ-3"]


def test_S8_what_was_never_dated_counts_from_its_start_and_else_from_first_sight() -> None:
    started = card(1, "x", started_at=NOW - timedelta(hours=2))
    seen = card(2, "x")
    created = card(3, "x", created_at=NOW - timedelta(hours=1), started_at=NOW - timedelta(days=9))
    never = card(4, "x")
    first_seen = {seen.ref: NOW - timedelta(minutes=90), created.ref: NOW - timedelta(days=99)}
    assert keys(never, created, seen, started, first_seen=first_seen) == [
        "00000001",
        "00000002",
        "00000003",
        "00000004",
    ]


def test_M5_then_the_key_so_that_no_two_tasks_are_equal() -> None:
    assert keys(*[card(number, "x", created_at=NOW) for number in (3, 1, 2)]) == ["00000001", "00000002", "00000003"]


def test_M5_lines_of_one_file_keep_the_order_of_their_author() -> None:
    lines = [replace(line(number, "x"), ref=Ref("todo", f"coo/TODO.md#{999 - number}")) for number in (100, 9, 10, 1)]
    assert keys(*lines) == ["TODO.md:1", "TODO.md:9", "TODO.md:10", "TODO.md:100"]


@pytest.mark.parametrize(
    "location",
    [
        "",
        "²",
        "5²6.md:3",
        "٣.md:1",
        "½",
        "x" * 10_000,
        "9" * 6_000,
        "TODO.md:" + "9" * 6_000,
        "\ud800:1",
        "\x00",
        "0",
        ":",
    ],
)
def test_M5_no_location_upsets_the_order(location: str) -> None:
    items = [card(1, "x", location=location), card(2, "x", location="TODO.md:2"), card(3, "x")]
    assert sorted(keys(*items)) == ["00000001", "00000002", "00000003"]


@given(st.lists(st.text(alphabet="TODO.md:/0123456789²٣a", max_size=12), min_size=2, max_size=6))
def test_M5_any_shuffle_sorts_back(locations: list[str]) -> None:
    tasks = [
        task
        for number, location in enumerate(locations)
        for task in merge([card(number, "x", location=location)], sources=SOURCES, now=NOW).tasks
    ]
    order = task_order(SOURCES, {})
    backwards = list(reversed(tasks))
    assert sorted(backwards, key=order) == sorted(tasks, key=order)
    assert len({order(task) for task in tasks}) == len(tasks)


def test_M3_items_stand_in_source_order_and_a_source_nobody_ordered_comes_last() -> None:
    foreign = [replace(card(3, "x"), ref=Ref("zulip", "1")), replace(card(4, "x"), ref=Ref("asana", "1"))]
    found = sorted([*foreign, line(1, "x"), issue(1, "x"), card(2, "x"), card(1, "x")], key=item_order(SOURCES))
    assert [item.ref.source for item in found] == ["workboard", "workboard", "multica", "todo", "asana", "zulip"]
    assert found[0].ref < found[1].ref


def test_M3_the_roster_may_order_the_sources_otherwise() -> None:
    order = item_order(("todo", "workboard"))
    found = sorted([issue(1, "x"), card(1, "x"), line(1, "x")], key=order)
    assert [item.ref.source for item in found] == ["todo", "workboard", "multica"]
