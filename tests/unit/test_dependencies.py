"""Rules D1 to D3, D5 and S2 one by one; the reasons and findings that go with the verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat.merge import merge
from heartbeat.order import task_order
from heartbeat.policy import ParentRule
from heartbeat.rules.dependencies import Dependencies, Gate, Visibility, Wait, dependencies
from heartbeat.task import NOBODY, Dependency, DependencyKind, Item, Status
from tests.support.items import COO, NOW, SOURCES, card, explicit, issue, line, parents

OPEN = [Status.BACKLOG, Status.TODO, Status.IN_PROGRESS, Status.IN_REVIEW, Status.BLOCKED]


def judged(
    *items: Item,
    rule: ParentRule = ParentRule.STARTED,
    incomplete: tuple[str, ...] = (),
    unknown_ids: tuple[str, ...] = (),
) -> Dependencies:
    merged = merge(items, sources=SOURCES, now=NOW, incomplete=frozenset(incomplete))
    ordered = sorted(merged.tasks, key=task_order(SOURCES, {}))
    return dependencies(ordered, rule, Visibility(frozenset(incomplete), frozenset(unknown_ids)))


def waits_of(result: Dependencies, item: Item) -> tuple[Wait, ...]:
    return result.waits.get(str(item.ref), ())


def gates(result: Dependencies, item: Item) -> list[Gate]:
    return [wait.gate for wait in waits_of(result, item)]


def child(number: int, parent: Item, status: Status = Status.TODO, **changes: Any) -> Item:
    identifier = parent.ref.id
    depends_on = (Dependency(DependencyKind.PARENT, identifier),)
    return issue(number, f"part {number}", status, parent=identifier, depends_on=depends_on, **changes)


@pytest.mark.parametrize("status", [*OPEN, Status.CANCELLED])
def test_D1_a_card_waits_until_every_parent_card_is_done(status: Status) -> None:
    first, second = card(1, "a", Status.DONE), card(2, "b", status)
    waiting = card(3, "c", depends_on=parents(first.ref.id, second.ref.id))
    (wait,) = waits_of(judged(first, second, waiting), waiting)
    assert wait.target == second.ref.id
    assert wait.blocker == str(second.ref)
    assert second.key in wait.reason


def test_D1_parents_that_are_all_done_hold_nothing_back() -> None:
    first, second = card(1, "a", Status.DONE), card(2, "b", Status.DONE, archived=True)
    waiting = card(3, "c", depends_on=parents(first.ref.id, second.ref.id))
    assert judged(first, second, waiting).waits == {}


def test_D1_a_parent_card_that_is_gone_was_never_done() -> None:
    waiting = card(3, "c", depends_on=parents("0000dead-0000-4000-8000-000000000000"))
    assert gates(judged(waiting), waiting) == [Gate.DANGLING]


@pytest.mark.parametrize("status", OPEN)
def test_D1_a_stage_waits_for_every_open_sibling_of_a_lower_stage(status: Status) -> None:
    epic = issue(1, "epic", Status.IN_PROGRESS)
    first = issue(2, "a", status, parent=epic.ref.id, stage=1)
    second = issue(3, "b", Status.DONE, parent=epic.ref.id, stage=2)
    third = issue(4, "c", parent=epic.ref.id, stage=3)
    result = judged(epic, first, second, third)
    assert [wait.blocker for wait in waits_of(result, third)] == [str(first.ref)]


@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED])
def test_D1_a_closed_sibling_opens_the_next_stage_cancelled_too(status: Status) -> None:
    epic = issue(1, "epic")
    first = issue(2, "a", status, parent=epic.ref.id, stage=1)
    second = issue(3, "b", parent=epic.ref.id, stage=2)
    assert judged(epic, first, second).waits == {}


def test_D1_siblings_of_the_same_stage_of_none_and_of_another_parent_do_not_gate() -> None:
    epic, other = issue(1, "epic"), issue(9, "other epic")
    staged = issue(2, "a", parent=epic.ref.id, stage=2)
    same = issue(3, "b", parent=epic.ref.id, stage=2)
    unstaged = issue(4, "c", parent=epic.ref.id)
    elsewhere = issue(5, "d", parent=other.ref.id, stage=1)
    assert judged(epic, other, staged, same, unstaged, elsewhere).waits == {}


@pytest.mark.parametrize("rule", list(ParentRule))
def test_D1_stages_count_under_every_parent_rule(rule: ParentRule) -> None:
    epic = issue(1, "epic", Status.DONE)
    first = child(2, epic, stage=1)
    second = child(3, epic, stage=2)
    assert gates(judged(epic, first, second, rule=rule), second) == [Gate.OPEN]


def test_D1_a_reference_crosses_sources_in_every_direction() -> None:
    board, tracker, text = card(1, "a"), issue(2, "b"), line(3, "c", aliases=("a1",))
    by_card = issue(4, "d", depends_on=explicit("00000001"))
    by_identifier = line(5, "e", depends_on=explicit("biz-2"))
    by_marker = issue(6, "f", depends_on=explicit("a1"))
    result = judged(board, tracker, text, by_card, by_identifier, by_marker)
    assert [wait.blocker for wait in waits_of(result, by_card)] == [str(board.ref)]
    assert [wait.blocker for wait in waits_of(result, by_identifier)] == [str(tracker.ref)]
    assert [wait.blocker for wait in waits_of(result, by_marker)] == [str(text.ref)]


def test_D1_a_merged_blocker_is_done_when_all_of_it_is() -> None:
    half = (card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b", Status.IN_REVIEW))
    whole = (card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b", Status.DONE))
    waiting = line(2, "c", depends_on=explicit("BIZ-1"))
    assert gates(judged(*half, waiting), waiting) == [Gate.OPEN]
    assert judged(*whole, waiting).waits == {}


def test_D1_what_a_task_says_of_itself_does_not_hold_it_back() -> None:
    lonely = line(1, "a", aliases=("a1",), depends_on=explicit("a1"))
    merged = (card(1, "a", mentions=("BIZ-1",), depends_on=explicit("BIZ-1")), issue(1, "b"))
    assert judged(lonely).waits == {}
    assert judged(*merged).waits == {}


def test_D1_a_name_that_two_tasks_bear_gates_and_says_so() -> None:
    waiting = issue(3, "c", depends_on=explicit("a1"))
    result = judged(line(1, "a", aliases=("a1",)), line(2, "b", aliases=("a1",)), waiting)
    (wait,) = waits_of(result, waiting)
    assert wait.gate is Gate.AMBIGUOUS
    assert "2 tasks" in wait.reason


@pytest.mark.parametrize(
    ("rule", "waiting"),
    [
        (
            ParentRule.STARTED,
            {Status.BACKLOG, Status.TODO, Status.UNKNOWN},
        ),
        (ParentRule.STRICT, set(Status) - {Status.DONE}),
        (ParentRule.OFF, set()),
    ],
)
def test_D2_what_an_assigned_parent_means_for_its_children(rule: ParentRule, waiting: set[Status]) -> None:
    gating = set()
    for status in Status:
        epic = issue(1, "epic", status, owner=COO)
        part = child(2, epic)
        if gates(judged(epic, part, rule=rule), part):
            gating.add(status)
    assert gating == waiting


@pytest.mark.parametrize("status", list(Status))
def test_D2_an_unassigned_parent_is_a_container_and_never_gates(status: Status) -> None:
    epic = issue(1, "epic", status, owner=NOBODY)
    assert judged(epic, child(2, epic)).waits == {}


def test_D2_a_parent_that_is_gone_gates_nothing() -> None:
    part = child(2, issue(1, "never read"))
    assert judged(part).waits == {}


def test_D2_strict_names_the_deadlock_that_it_makes() -> None:
    epic = issue(1, "epic", Status.IN_PROGRESS)
    done, first, second = child(2, epic, Status.DONE), child(3, epic), child(4, epic)
    (finding,) = judged(epic, done, first, second, rule=ParentRule.STRICT).findings
    assert finding.code == "parent-deadlock"
    assert "BIZ-1" in finding.message
    assert "2 open children" in finding.message
    assert set(finding.refs) == {epic.ref, first.ref, second.ref}


@pytest.mark.parametrize("rule", [ParentRule.STARTED, ParentRule.OFF])
def test_D2_the_other_rules_make_no_deadlock(rule: ParentRule) -> None:
    epic = issue(1, "epic", Status.IN_PROGRESS)
    assert judged(epic, child(2, epic), rule=rule).findings == ()


@pytest.mark.parametrize(
    ("blocker", "gate"),
    [
        (issue(1, "a", Status.CANCELLED), Gate.CANCELLED),
        (issue(1, "a", Status.UNKNOWN), Gate.UNKNOWN),
        (issue(1, "a", Status.TODO, archived=True), Gate.ARCHIVED),
        (issue(1, "a", Status.IN_REVIEW), Gate.OPEN),
    ],
)
def test_D3_only_done_satisfies(blocker: Item, gate: Gate) -> None:
    waiting = line(2, "b", depends_on=explicit("BIZ-1"))
    (wait,) = waits_of(judged(blocker, waiting), waiting)
    assert wait.gate is gate
    assert "BIZ-1" in wait.reason


def test_D3_done_satisfies_also_when_it_is_archived() -> None:
    waiting = line(2, "b", depends_on=explicit("BIZ-1"))
    assert judged(issue(1, "a", Status.DONE, archived=True), waiting).waits == {}


def test_D3_what_is_missing_from_complete_sources_is_dangling_and_gates() -> None:
    waiting = line(2, "b", depends_on=explicit("BIZ-404", "ffffffff", "gone"))
    result = judged(waiting)
    assert gates(result, waiting) == [Gate.DANGLING] * 3
    assert all(wait.blocker is None for wait in waits_of(result, waiting))


@pytest.mark.parametrize("status", list(Status))
def test_S2_a_dependency_into_a_source_that_is_not_complete_is_unknown_and_gates(status: Status) -> None:
    waiting = line(2, "b", depends_on=explicit("BIZ-1"))
    result = judged(issue(1, "a", status), waiting, incomplete=("multica",))
    (wait,) = waits_of(result, waiting)
    assert wait.gate is Gate.UNKNOWN
    assert "multica" in wait.reason


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("BIZ-404", "multica"),
        ("fix-1", "todo"),
        ("ffffffff", "workboard"),
        ("deadbeef", "todo"),
        ("ffffffff-0000-4000-8000-000000000000", "workboard"),
        ("ffffffff-0000-4000-8000-000000000000", "multica"),
        ("a1", "todo"),
    ],
)
def test_S2_what_may_stand_in_a_source_that_was_not_read_is_unknown_and_not_dangling(target: str, source: str) -> None:
    waiting = issue(2, "b", depends_on=explicit(target))
    result = judged(waiting, incomplete=(source,))
    (wait,) = waits_of(result, waiting)
    assert wait.gate is Gate.UNKNOWN
    assert source in wait.reason


def test_S2_an_outage_elsewhere_leaves_a_dependency_alone() -> None:
    done, waiting = issue(1, "a", Status.DONE), issue(2, "b", depends_on=explicit("BIZ-1"))
    assert judged(done, waiting, incomplete=("workboard", "todo")).waits == {}


def test_S2_a_later_stage_waits_while_its_siblings_may_not_all_have_come() -> None:
    epic = issue(1, "epic", Status.IN_PROGRESS)
    first = issue(2, "a", parent=epic.ref.id, stage=1)
    second = issue(3, "b", parent=epic.ref.id, stage=2)
    result = judged(epic, first, second, incomplete=("multica",))
    assert waits_of(result, first) == ()
    assert Gate.UNKNOWN in gates(judged(second, incomplete=("multica",)), second)
    assert gates(judged(second), second) == []


def test_S2_a_parent_that_was_not_read_gates_its_children() -> None:
    epic = issue(1, "epic", owner=NOBODY)
    assert gates(judged(child(2, epic), incomplete=("multica",)), child(2, epic)) == [Gate.UNKNOWN]
    assert gates(judged(epic, child(2, epic), incomplete=("multica",)), child(2, epic)) == [Gate.UNKNOWN]
    assert judged(epic, child(2, epic), incomplete=("multica",), rule=ParentRule.OFF).waits == {}


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("BIZ-9", "BIZ-9"),
        ("biz-9", "BIZ-9"),
        ("0000abcd-0000-4000-8000-000000000000", "0000abcd-0000-4000-8000-000000000000"),
        ("0000abcd", "0000abcd-0000-4000-8000-000000000000"),
    ],
)
def test_S3_a_dependency_on_a_malformed_record_is_unknown(target: str, known: str) -> None:
    waiting = line(2, "b", depends_on=explicit(target))
    assert gates(judged(waiting, unknown_ids=(known,)), waiting) == [Gate.UNKNOWN]


def test_S3_only_the_named_record_is_unknown() -> None:
    waiting = line(2, "b", depends_on=explicit("BIZ-1", "BIZ-90"))
    result = judged(issue(1, "a", Status.DONE), waiting, unknown_ids=("BIZ-9",))
    assert [(wait.target, wait.gate) for wait in waits_of(result, waiting)] == [("BIZ-90", Gate.DANGLING)]


def test_D5_a_cycle_is_named_once_and_what_merely_waits_for_it_is_outside() -> None:
    first = issue(1, "a", depends_on=explicit("00000002"))
    second = card(2, "b", depends_on=explicit("a3"))
    third = line(3, "c", aliases=("a3",), depends_on=explicit("BIZ-1"))
    behind = line(4, "d", depends_on=explicit("BIZ-1"))
    free = line(5, "e")
    result = judged(first, second, third, behind, free)
    (ring,) = result.cycles
    assert set(ring) == {str(item.ref) for item in (first, second, third)}
    assert [gates(result, item) for item in (first, second, third)] == [[Gate.CYCLE]] * 3
    assert gates(result, behind) == [Gate.OPEN]
    assert waits_of(result, free) == ()
    (finding,) = result.findings
    assert finding.code == "dependency-cycle"
    assert all(name in finding.message for name in ("BIZ-1", "00000002", "TODO.md:3"))


@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED])
def test_D5_a_cycle_with_a_closed_member_is_none(status: Status) -> None:
    first = issue(1, "a", depends_on=explicit("BIZ-2"))
    second = issue(2, "b", status, depends_on=explicit("BIZ-1"))
    assert judged(first, second).cycles == ()


def test_D5_two_cycles_are_two_sets() -> None:
    items = [
        issue(number, "x", depends_on=explicit(f"BIZ-{other}")) for number, other in ((1, 2), (2, 1), (3, 4), (4, 3))
    ]
    result = judged(*items)
    assert len(result.cycles) == len(result.findings) == 2


def test_closed_and_archived_tasks_wait_for_nothing() -> None:
    closed = [
        issue(1, "a", Status.DONE, depends_on=explicit("BIZ-404")),
        issue(2, "b", Status.CANCELLED, depends_on=explicit("BIZ-404")),
        card(3, "c", archived=True, depends_on=explicit("BIZ-404")),
    ]
    assert judged(*closed).waits == {}


def test_the_same_dependency_written_twice_is_told_once() -> None:
    waiting = card(2, "b", mentions=("BIZ-2",), depends_on=explicit("BIZ-1", "BIZ-1"))
    result = judged(issue(1, "a"), waiting, issue(2, "c", depends_on=explicit("BIZ-1")))
    assert gates(result, waiting) == [Gate.OPEN]


def test_S2_a_name_that_a_plug_in_source_might_have_is_unknown_while_that_was_not_read() -> None:
    waiting = issue(1, "a", depends_on=explicit("JIRA-7"))
    for incomplete, gate in ((frozenset({"jira"}), Gate.UNKNOWN), (frozenset(), Gate.DANGLING)):
        tasks = merge([waiting], sources=(*SOURCES, "jira"), now=NOW).tasks
        (wait,) = dependencies(tasks, ParentRule.STARTED, Visibility(incomplete)).waits[tasks[0].key]
        assert wait.gate is gate
