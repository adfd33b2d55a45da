"""Rules M1 to M4: which items are one task, and what the task then is."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from heartbeat.merge import Merged, merge
from heartbeat.task import NOBODY, Item, Link, Priority, Ref, Status, Task
from tests.support.items import ALICE, ARCHITECT, COO, NOW, SOURCES, card, issue, line


def merged(*items: Item, **options: object) -> Merged:
    return merge(items, sources=SOURCES, now=NOW, **options)  # type: ignore[arg-type]


def groups(result: Merged) -> set[tuple[str, ...]]:
    return {tuple(item.key for item in task.items) for task in result.tasks}


def codes(result: Merged) -> list[str]:
    return [finding.code for finding in result.findings]


def only(result: Merged) -> Task:
    (task,) = result.tasks
    return task


def test_M1_a_ticket_id_in_front_of_a_title_is_a_reference() -> None:
    result = merged(
        card(1, "BIZ-31 sign in", mentions=("BIZ-31",)), issue(31, "log in"), line(4, "x", mentions=("biz-31",))
    )
    assert groups(result) == {("00000001", "BIZ-31", "TODO.md:4")}


def test_M1_a_card_id_or_its_first_eight_digits_is_a_reference() -> None:
    full = line(1, "a", mentions=("00000001-0000-4000-8000-000000000000",))
    short = issue(7, "b", mentions=("00000001",))
    assert groups(merged(card(1, "c"), full, short)) == {("00000001", "BIZ-7", "TODO.md:1")}


def test_M1_a_reference_to_nothing_that_exists_joins_nothing() -> None:
    assert len(merged(card(1, "BIZ-99 x", mentions=("BIZ-99",)), issue(31, "y")).tasks) == 2


def test_M1_an_equal_title_of_one_owner_joins_open_items_of_different_sources() -> None:
    assert groups(merged(card(1, "登录页报错!"), line(3, "登录页报错"))) == {("00000001", "TODO.md:3")}


@pytest.mark.parametrize(
    "other",
    [
        line(3, "登录页报错", owner=ARCHITECT),
        line(3, "登录页报错", Status.DONE),
        line(3, "登录页报错", archived=True),
        line(3, "登录页报错了"),
        issue(9, "BIZ-8 登录页报错"),
    ],
)
def test_M1_another_owner_a_closed_item_or_another_ticket_id_does_not_join_by_title(other: Item) -> None:
    assert len(merged(card(1, "BIZ-7 登录页报错"), other).tasks) == 2


def test_M1_a_title_that_says_too_little_joins_nothing() -> None:
    assert len(merged(card(1, "修复"), line(3, "修复")).tasks) == 2


def test_M2_two_items_of_one_source_are_never_one_task_and_the_group_is_left_apart() -> None:
    result = merged(card(1, "a", mentions=("BIZ-1",)), card(2, "b", mentions=("BIZ-1",)), issue(1, "c"))
    assert len(result.tasks) == 3
    assert codes(result) == ["ambiguous"]
    assert len(result.findings[0].refs) == 3


def test_M2_a_namesake_does_not_undo_an_explicit_reference() -> None:
    result = merged(
        card(1, "BIZ-1 deploy the site", mentions=("BIZ-1",)), issue(1, "deploy the site"), card(2, "deploy the site")
    )
    assert ("00000001", "BIZ-1") in groups(result)
    assert "ambiguous" in codes(result)


def test_M2_equal_titles_in_one_source_are_reported_and_kept_apart() -> None:
    result = merged(card(1, "deploy the site"), card(2, "deploy the site"))
    assert len(result.tasks) == 2
    assert codes(result) == ["duplicate?"]


def test_M2_nearly_equal_titles_are_reported_and_kept_apart() -> None:
    result = merged(card(1, "review the login flow"), issue(1, "review the login flows"))
    assert len(result.tasks) == 2
    assert codes(result) == ["similar?"]


def test_M3_the_canonical_item_is_the_best_by_source_order() -> None:
    task = only(merged(line(1, "登录页报错"), card(1, "登录页报错")))
    assert task.ref.source == "workboard"
    assert task.key == f"workboard:{task.ref.id}"


@pytest.mark.parametrize(
    ("statuses", "combined"),
    [
        ((Status.TODO, Status.IN_PROGRESS), Status.IN_PROGRESS),
        ((Status.BLOCKED, Status.IN_PROGRESS), Status.IN_PROGRESS),
        ((Status.IN_REVIEW, Status.BLOCKED), Status.BLOCKED),
        ((Status.TODO, Status.IN_REVIEW), Status.IN_REVIEW),
        ((Status.BACKLOG, Status.TODO), Status.TODO),
        ((Status.BACKLOG, Status.BACKLOG), Status.BACKLOG),
        ((Status.UNKNOWN, Status.IN_PROGRESS), Status.UNKNOWN),
        ((Status.UNKNOWN, Status.DONE), Status.UNKNOWN),
        ((Status.DONE, Status.DONE), Status.DONE),
        ((Status.DONE, Status.CANCELLED), Status.DONE),
        ((Status.CANCELLED, Status.CANCELLED), Status.CANCELLED),
    ],
)
def test_M4_the_strongest_open_status_wins_and_done_needs_all(
    statuses: tuple[Status, Status], combined: Status
) -> None:
    first, second = statuses
    task = only(merged(card(1, "a", first, mentions=("BIZ-1",)), issue(1, "b", second)))
    assert task.status is combined


def test_M4_some_closed_and_some_open_is_split() -> None:
    task = only(merged(card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b", Status.TODO)))
    assert task.split
    assert task.status is Status.TODO


def test_M4_an_archived_item_has_no_say_while_another_is_there() -> None:
    task = only(merged(card(1, "a", archived=True, mentions=("BIZ-1",)), issue(1, "b", Status.IN_PROGRESS)))
    assert (task.status, task.split, task.archived) == (Status.IN_PROGRESS, False, False)


def test_M4_priority_is_the_highest_and_due_the_earliest() -> None:
    task = only(
        merged(
            card(1, "a", priority=Priority.LOW, due=date(2026, 12, 2), mentions=("BIZ-1",)),
            issue(1, "b", priority=Priority.URGENT, due=date(2026, 12, 1)),
        )
    )
    assert (task.priority, task.due) == (Priority.URGENT, date(2026, 12, 1))


def test_M4_a_link_once_made_holds_when_one_side_closes_or_is_renamed() -> None:
    before = merged(card(1, "登录页报错"), line(3, "登录页报错"))
    after = merged(card(1, "登录页报错", Status.DONE), line(3, "修好登录页"), remembered=before.links)
    assert only(after).split


def test_S2_an_item_linked_to_one_that_could_not_be_read_is_unknown() -> None:
    link = Link(card(1, "a").ref, issue(1, "b").ref, "title")
    blind = merged(issue(1, "b"), remembered=[link], incomplete=frozenset({"workboard"}))
    assert only(blind).status is Status.UNKNOWN
    assert only(blind).absent == (card(1, "a").ref,)
    seen = merged(issue(1, "b"), remembered=[link])
    assert only(seen).status is Status.TODO


def test_S2_a_stale_item_makes_its_task_unknown_even_if_it_was_done() -> None:
    old = card(1, "a", Status.DONE)
    assert only(merged(old, stale=frozenset({old.ref}))).status is Status.UNKNOWN


def test_S6_scheduled_work_is_backlog_until_its_instant() -> None:
    later = card(1, "a", not_before=NOW + timedelta(seconds=1))
    due = card(2, "b", not_before=NOW)
    assert {task.status for task in merged(later).tasks} == {Status.BACKLOG}
    assert {task.status for task in merged(due).tasks} == {Status.TODO}


def test_S6a_the_owner_is_the_first_that_any_item_names() -> None:
    assert only(merged(card(1, "a", owner=NOBODY, mentions=("BIZ-1",)), issue(1, "b", owner=ALICE))).owner == ALICE
    assert only(merged(card(1, "a", owner=COO, mentions=("BIZ-1",)), issue(1, "b", owner=ALICE))).owner == COO


def test_a_link_to_an_item_that_is_not_there_is_ignored() -> None:
    gone = Link(Ref("workboard", "gone"), issue(1, "b").ref, "title")
    assert only(merged(issue(1, "b"), remembered=[gone])).status is Status.TODO


def test_two_tasks_that_name_a_ticket_nobody_has_are_reported_and_kept_apart() -> None:
    result = merged(card(1, "BIZ-99 one", mentions=("BIZ-99",)), line(1, "BIZ-99 two", mentions=("BIZ-99",)))
    assert len(result.tasks) == 2
    assert codes(result) == ["same-ticket?"]
    with_issue = merged(*(item for task in result.tasks for item in task.items), issue(99, "three"))
    assert codes(with_issue) == []


def test_M1_dates_and_order_numbers_in_a_title_tell_tasks_apart() -> None:
    for one, other in (("整理日报 20260701", "整理日报 20260702"), ("Refund order 12345678", "Refund order 87654321")):
        assert len(merged(card(1, one), line(1, other)).tasks) == 2


def test_M1_a_word_that_looks_like_a_ticket_does_not_part_equal_titles() -> None:
    title = "Evaluate GPT-4 for summaries"
    assert groups(merged(card(1, title), issue(9, title))) == {("00000001", "BIZ-9")}


def test_S3_an_item_linked_to_a_record_that_came_malformed_is_unknown() -> None:
    link = Link(card(1, "a").ref, issue(1, "b").ref, "title")
    task = only(merged(card(1, "a", Status.DONE), remembered=[link], unknown_ids=frozenset({link.second.id})))
    assert task.status is Status.UNKNOWN


def test_M4_links_hold_also_where_the_item_between_them_is_gone() -> None:
    between = card(1, "a").ref
    links = [Link(between, issue(1, "b").ref, "title"), Link(between, line(1, "c").ref, "title")]
    assert groups(merged(issue(1, "b"), line(1, "c"), remembered=links)) == {("BIZ-1", "TODO.md:1")}
