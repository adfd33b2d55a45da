"""What holds for every board (I1, M2, M3, M4, M5): properties of the merge and of the worklist."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.merge import merge
from heartbeat.order import task_order
from heartbeat.policy import ParentRule
from heartbeat.task import Item, State, Status
from heartbeat.worklist import Sight, assess, worklist
from tests.property.strategies import items, links
from tests.support.items import NOW, SOURCES

RULES = st.sampled_from(list(ParentRule))


@given(items(), st.data())
def test_I1_every_item_is_in_exactly_one_task(found: list[Item], data: st.DataObject) -> None:
    result = merge(found, sources=SOURCES, now=NOW, remembered=data.draw(links(found)))
    counted = Counter(item.ref for task in result.tasks for item in task.items)
    assert counted == Counter(item.ref for item in found)


@given(items(), st.data())
def test_M2_no_task_holds_two_items_of_one_source(found: list[Item], data: st.DataObject) -> None:
    for task in merge(found, sources=SOURCES, now=NOW, remembered=data.draw(links(found))).tasks:
        sources = [item.ref.source for item in task.items]
        assert len(set(sources)) == len(sources)


@given(items(), st.data())
def test_M3_any_order_of_items_gives_the_same_tasks_findings_and_order(found: list[Item], data: st.DataObject) -> None:
    remembered = data.draw(links(found))
    shuffled = data.draw(st.permutations(found))
    order = task_order(SOURCES, {})
    one = merge(found, sources=SOURCES, now=NOW, remembered=remembered)
    other = merge(shuffled, sources=SOURCES, now=NOW, remembered=list(reversed(remembered)))
    assert sorted(one.tasks, key=order) == sorted(other.tasks, key=order)
    assert set(one.findings) == set(other.findings)


@given(items())
def test_M3_merging_again_with_the_links_of_the_first_time_changes_nothing(found: list[Item]) -> None:
    first = merge(found, sources=SOURCES, now=NOW)
    second = merge(found, sources=SOURCES, now=NOW, remembered=first.links)
    assert {task.refs for task in first.tasks} == {task.refs for task in second.tasks}
    assert {(task.key, task.status) for task in first.tasks} == {(task.key, task.status) for task in second.tasks}


@given(items(), st.data())
def test_M4_closing_one_side_never_sets_the_other_free(found: list[Item], data: st.DataObject) -> None:
    first = merge(found, sources=SOURCES, now=NOW)
    closed = data.draw(st.sets(st.sampled_from(found), max_size=3)) if found else set()
    later = [replace(item, status=Status.DONE) if item in closed else item for item in found]
    second = merge(later, sources=SOURCES, now=NOW, remembered=first.links)
    together = {frozenset(task.refs) for task in second.tasks}
    for task in first.tasks:
        assert any(set(task.refs) <= group for group in together)


@given(items(), RULES, st.sets(st.sampled_from(SOURCES)), st.integers(min_value=0, max_value=3))
@settings(max_examples=150)
def test_S10_every_item_is_counted_once_for_every_agent(
    found: list[Item], rule: ParentRule, incomplete: set[str], rejected: int
) -> None:
    stale = tuple(item for item in found if item.ref.source in incomplete)
    fresh = tuple(item for item in found if item.ref.source not in incomplete)
    sight = Sight(fresh, SOURCES, stale=stale, incomplete=frozenset(incomplete), rejected=rejected)
    assessment = assess(sight, now=NOW, parent_rule=rule)
    for agent in ("coo", "architect", "nobody-in-particular"):
        assert sum(worklist(assessment, agent).buckets.values()) == len(found) + rejected


@given(items(), RULES, st.sets(st.sampled_from(SOURCES), min_size=1))
@settings(max_examples=150)
def test_S2_nothing_of_an_unread_source_is_ready_or_closed(
    found: list[Item], rule: ParentRule, incomplete: set[str]
) -> None:
    stale = tuple(item for item in found if item.ref.source in incomplete)
    fresh = tuple(item for item in found if item.ref.source not in incomplete)
    sight = Sight(fresh, SOURCES, stale=stale, incomplete=frozenset(incomplete))
    for standing in assess(sight, now=NOW, parent_rule=rule).standings:
        if any(ref.source in incomplete for ref in standing.task.refs) and not standing.task.archived:
            living = [item for item in standing.task.items if not item.archived]
            if any(item.ref.source in incomplete for item in living):
                assert standing.state is State.UNKNOWN


@given(items(), RULES)
@settings(max_examples=150)
def test_D4_what_waits_is_never_ready_and_what_is_ready_waits_for_nothing(found: list[Item], rule: ParentRule) -> None:
    for standing in assess(Sight(tuple(found), SOURCES), now=NOW, parent_rule=rule).standings:
        if standing.state is State.READY:
            assert standing.waits == ()
            assert not standing.task.split
            assert standing.task.status is Status.TODO


@given(items())
def test_M5_the_order_of_work_is_total(found: list[Item]) -> None:
    order = task_order(SOURCES, {})
    tasks = merge(found, sources=SOURCES, now=NOW).tasks
    assert len({order(task) for task in tasks}) == len(tasks)
