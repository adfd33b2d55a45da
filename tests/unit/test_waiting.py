"""Who is told that work waits in vain, and since when it does (rules D3 to D5, S2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings

from heartbeat.memory import Memory
from heartbeat.policy import ParentRule
from heartbeat.rules.dependencies import Gate, Wait
from heartbeat.rules.waiting import RELEASED, Notice, NoticeKind, Waiting, notices, since
from heartbeat.task import CLOSED, NOBODY, Item, Owner, OwnerKind, Priority, Ref, Status, Task
from heartbeat.worklist import Sight, assess
from tests.property.strategies import items
from tests.support.items import ALICE, ARCHITECT, COO, NOW, SOURCES, card, explicit, issue, line
from tests.support.rosters import make_agent, make_coo, make_roster

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
CHARTER = make_roster(make_coo(), make_agent("architect", "developer"), make_agent("writer")).charter()
WRITER = Owner(OwnerKind.AGENT, "writer")
STRANGER = Owner(OwnerKind.AGENT, "c0ffee00")


def task_of(*items: Item, **changes: Any) -> Task:
    fields = {"status": items[0].status, "owner": items[0].owner, **changes}
    return Task(items, priority=Priority.NORMAL, due=None, **fields)


BLOCKER = task_of(issue(1, "设计接口", owner=ARCHITECT))
WAITER = task_of(issue(2, "实现接口", owner=WRITER))
CARD = card(2, "实现接口", owner=WRITER)
REF = WAITER.ref
OPEN = Wait("BIZ-1", Gate.OPEN, "BIZ-1 is todo", BLOCKER.key)


def began(
    task: Task,
    *waits: Wait,
    remembered: Mapping[tuple[Ref, str], datetime] | None = None,
    incomplete: frozenset[str] = frozenset(),
    now: datetime = NOW,
) -> dict[tuple[Ref, str], datetime]:
    return since([task], {task.key: waits} if waits else {}, remembered or {}, incomplete=incomplete, now=now)


def told(
    tasks: Sequence[Task],
    waits: Mapping[str, Sequence[Wait]],
    *,
    waited: timedelta = 2 * HOUR,
    now: datetime = NOW,
    cycles: Sequence[Sequence[str]] = (),
    **changes: Any,
) -> tuple[Notice, ...]:
    """The notices where every wait has stood for so long."""
    stood = {(task.ref, wait.target): now - waited for task in tasks for wait in waits.get(task.key, ())}
    stood = changes.pop("since", stood)
    facts = {"charter": CHARTER, "stalled": frozenset(), "incomplete": frozenset(), **changes}
    return notices(tasks, waits, cycles, stood, now=now, **facts)


# Since when.


@pytest.mark.parametrize("status", list(Status))
def test_D4_a_wait_begins_when_it_is_first_seen_on_released_work(status: Status) -> None:
    expected = {(REF, "BIZ-1"): NOW} if status in RELEASED else {}
    assert began(task_of(WAITER.items[0], status=status), OPEN) == expected


def test_D4_neither_the_backlog_nor_closed_work_keeps_anybody_waiting() -> None:
    assert set(Status) - RELEASED == {Status.BACKLOG, Status.UNKNOWN, *CLOSED}
    known = {(REF, "BIZ-1"): NOW - HOUR}
    assert began(task_of(WAITER.items[0], status=Status.BACKLOG), OPEN, remembered=known) == {}
    assert began(task_of(WAITER.items[0], archived=True), OPEN, remembered=known) == {}


def test_D4_a_wait_keeps_its_beginning_while_it_stands_whatever_its_gate_becomes() -> None:
    known = {(REF, "BIZ-1"): NOW - HOUR}
    for gate in Gate:
        assert began(WAITER, replace(OPEN, gate=gate), remembered=known) == known


def test_D4_a_wait_that_is_over_is_forgotten_and_begins_anew() -> None:
    known = {(REF, "BIZ-1"): NOW - HOUR}
    assert began(WAITER, remembered=known) == {}
    assert began(WAITER, replace(OPEN, target="BIZ-9"), remembered=known) == {(REF, "BIZ-9"): NOW}


def test_D4_every_ref_of_a_task_remembers_and_the_earliest_counts() -> None:
    both = task_of(CARD, WAITER.items[0])
    known = {(REF, "BIZ-1"): NOW - HOUR, (CARD.ref, "BIZ-1"): NOW - MINUTE}
    assert began(both, OPEN, remembered=known) == dict.fromkeys(known, NOW - HOUR)
    assert began(task_of(CARD), OPEN, remembered=began(both, OPEN, remembered=known)) == {
        (CARD.ref, "BIZ-1"): NOW - HOUR
    }


def test_S2_an_unknown_wait_begins_nothing_and_ends_nothing() -> None:
    unknown = replace(OPEN, gate=Gate.UNKNOWN)
    known = {(REF, "BIZ-1"): NOW - HOUR}
    assert began(WAITER, unknown) == {}
    assert began(WAITER, unknown, remembered=known) == known


@pytest.mark.parametrize(
    "task",
    [
        WAITER,
        task_of(WAITER.items[0], status=Status.UNKNOWN),
        task_of(WAITER.items[0], stale=(REF,), status=Status.UNKNOWN),
        task_of(CARD, absent=(REF,), status=Status.UNKNOWN),
    ],
)
def test_S2_an_outage_of_the_tasks_own_source_begins_nothing_and_ends_nothing(task: Task) -> None:
    known = {(REF, "BIZ-1"): NOW - HOUR}
    blind = frozenset({"multica"})
    assert began(task, remembered=known, incomplete=blind) == known
    assert began(task, replace(OPEN, target="BIZ-9"), remembered=known, incomplete=blind) == known
    assert since([], {}, known, incomplete=blind, now=NOW) == known
    assert since([], {}, known, incomplete=frozenset({"workboard"}), now=NOW) == {}


def test_S2_one_unread_part_of_a_task_keeps_the_waits_of_all_its_parts() -> None:
    both = task_of(CARD, WAITER.items[0], absent=(Ref("todo", "coo/TODO.md#a"),), status=Status.UNKNOWN)
    known = {(ref, "BIZ-1"): NOW - HOUR for ref in (*both.refs, *both.absent)}
    assert began(both, remembered=known) == known


def test_B6_nothing_has_been_waiting_since_later_than_now() -> None:
    ahead = {(REF, "BIZ-1"): NOW + 24 * HOUR}
    assert began(WAITER, OPEN, remembered=ahead) == {(REF, "BIZ-1"): NOW}
    assert began(WAITER, remembered=ahead, incomplete=frozenset({"multica"})) == {(REF, "BIZ-1"): NOW}


@given(items())
@settings(max_examples=60)
def test_D4_what_is_given_back_gives_the_same_again(found: list[Item]) -> None:
    assessment = assess(Sight(tuple(found), SOURCES), now=NOW, parent_rule=ParentRule.STARTED)
    tasks = [standing.task for standing in assessment.standings]
    waits = {standing.task.key: standing.waits for standing in assessment.standings if standing.waits}
    first = since(tasks, waits, Memory().waiting, incomplete=frozenset(), now=NOW)
    assert since(tasks, waits, first, incomplete=frozenset(), now=NOW + HOUR) == first
    everything = frozenset(SOURCES)
    assert since(tasks, {}, first, incomplete=everything, now=NOW + HOUR) == first
    told_of = notices(
        tasks, waits, assessment.cycles, first, charter=CHARTER, stalled=frozenset(), incomplete=frozenset(), now=NOW
    )
    assert len({(notice.key, notice.to) for notice in told_of}) == len(told_of)
    assert (
        notices(
            tasks, waits, assessment.cycles, first, charter=CHARTER, stalled=frozenset(), incomplete=everything, now=NOW
        )
        == ()
    )


# D4: the owner of what is waited for.


@pytest.mark.parametrize(
    ("owner", "limit"), [(WRITER, 2 * HOUR), (COO, HOUR), (NOBODY, HOUR), (STRANGER, HOUR), (ALICE, HOUR)]
)
def test_D4_the_limit_is_the_waiting_owners_and_at_the_limit_counts(owner: Owner, limit: timedelta) -> None:
    """Work of nobody and of strangers goes by the numbers of the patrol, which acts for it (rule L0)."""
    waiter = task_of(replace(WAITER.items[0], owner=owner))
    waits = {waiter.key: (OPEN,)}
    assert told([BLOCKER, waiter], waits, waited=limit - TICK) == ()
    (notice,) = told([BLOCKER, waiter], waits, waited=limit)
    assert (notice.kind, notice.task, notice.blocker) == (NoticeKind.WAIT, waiter.key, BLOCKER.key)
    assert notice.facts.longest == limit


def test_D4_a_wait_whose_beginning_nobody_remembers_is_not_told() -> None:
    assert told([BLOCKER, WAITER], {WAITER.key: (OPEN,)}, since={}) == ()


def test_D4_without_anybody_whose_numbers_count_nothing_is_told() -> None:
    charter = make_roster(make_agent("architect")).charter()
    assert told([BLOCKER, WAITER], {WAITER.key: (OPEN,)}, charter=charter) == ()


@pytest.mark.parametrize(
    ("owner", "stalled", "to"),
    [
        (ARCHITECT, False, ("architect",)),
        (ARCHITECT, True, ("architect", "coo")),
        (COO, True, ("coo",)),
        (NOBODY, False, ("coo",)),
        (NOBODY, True, ("coo",)),
        (STRANGER, False, ("coo",)),
        (ALICE, False, ("operator",)),
        (ALICE, True, ("operator", "coo")),
    ],
)
def test_D4_the_blockers_owner_is_told_and_the_coo_too_where_it_is_stalled(
    owner: Owner, stalled: bool, to: tuple[str, ...]
) -> None:
    blocker = task_of(replace(BLOCKER.items[0], owner=owner))
    stuck = frozenset({blocker.key}) if stalled else frozenset()
    (notice,) = told([blocker, WAITER], {WAITER.key: (OPEN,)}, stalled=stuck)
    assert notice.to == to
    assert notice.facts.stalled is stalled


def test_D4_one_notice_names_everybody_who_waits_for_a_blocker_the_longest_first() -> None:
    late = task_of(issue(3, "联调", owner=COO))
    early = task_of(issue(4, "压测", owner=COO))
    soon = task_of(issue(5, "发布", owner=COO))
    waits = {task.key: (OPEN,) for task in (WAITER, late, early, soon)}
    stood = {
        (WAITER.ref, "BIZ-1"): NOW - 3 * HOUR,
        (late.ref, "BIZ-1"): NOW - 2 * HOUR,
        (early.ref, "BIZ-1"): NOW - 5 * HOUR,
        (soon.ref, "BIZ-1"): NOW - HOUR + TICK,
    }
    (notice,) = told([BLOCKER, WAITER, late, early, soon], waits, since=stood)
    assert notice.task == early.key
    assert notice.facts.longest == 5 * HOUR
    assert [(one.name, one.title, NOW - (one.since or NOW)) for one in notice.facts.waiting] == [
        ("BIZ-4", "压测", 5 * HOUR),
        ("BIZ-2", "实现接口", 3 * HOUR),
        ("BIZ-3", "联调", 2 * HOUR),
    ]


def test_D4_a_task_that_waits_for_a_blocker_by_two_names_is_named_once() -> None:
    other = replace(OPEN, target=BLOCKER.ref.id)
    stood = {(REF, OPEN.target): NOW - 2 * HOUR, (REF, other.target): NOW - 3 * HOUR}
    (notice,) = told([BLOCKER, WAITER], {WAITER.key: (OPEN, other)}, since=stood)
    assert notice.facts.waiting == (Waiting(WAITER.key, "BIZ-2", "实现接口", NOW - 3 * HOUR),)
    assert notice.facts.target == other.target


def test_D4_a_blocker_is_told_of_once_a_day_by_utc() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    waits = {WAITER.key: (OPEN,)}

    def key(now: datetime) -> str:
        (notice,) = told([BLOCKER, WAITER], waits, now=now)
        return notice.key

    assert key(midnight - timedelta(hours=24)) == key(midnight - TICK)
    assert key(midnight - TICK) != key(midnight)
    shanghai = timezone(timedelta(hours=8))
    assert key(midnight.astimezone(shanghai)) == key(midnight)
    assert key((midnight - TICK).astimezone(shanghai)) == key(midnight - TICK)


def test_D4_each_blocker_has_a_notice_of_its_own() -> None:
    second = task_of(issue(9, "画图标", owner=COO))
    waits = {WAITER.key: (OPEN, Wait("BIZ-9", Gate.OPEN, "BIZ-9 is todo", second.key))}
    found = told([BLOCKER, second, WAITER], waits)
    assert [(notice.blocker, notice.to) for notice in found] == [
        (BLOCKER.key, ("architect",)),
        (second.key, ("coo",)),
    ]
    assert len({notice.key for notice in found}) == 2


# D3: what never comes by itself.

DECIDED = [Gate.CANCELLED, Gate.ARCHIVED, Gate.DANGLING, Gate.AMBIGUOUS]


@pytest.mark.parametrize("gate", DECIDED)
def test_D3_what_never_comes_by_itself_is_told_to_the_coo_once_for_each_target(gate: Gate) -> None:
    wait = Wait("BIZ-1", gate, "why")
    (notice,) = told([WAITER], {WAITER.key: (wait,)})
    assert (notice.kind, notice.task, notice.to) == (NoticeKind.DEAD_WAIT, WAITER.key, ("coo",))
    assert (notice.facts.target, notice.facts.gate, notice.facts.reason) == ("BIZ-1", gate, "why")
    (again,) = told([WAITER], {WAITER.key: (wait,)}, now=NOW + timedelta(days=30))
    assert again.key == notice.key
    others = told([WAITER], {WAITER.key: (replace(wait, target="BIZ-7"), wait)})
    assert len({other.key for other in others}) == 2


@pytest.mark.parametrize(
    ("gate", "waited", "count"),
    [
        *((gate, timedelta(0), 1) for gate in DECIDED if gate is not Gate.DANGLING),
        (Gate.DANGLING, 10 * MINUTE - TICK, 0),
        (Gate.DANGLING, 10 * MINUTE, 1),
    ],
)
def test_D3_what_is_missing_must_be_missing_for_a_beat_and_the_rest_is_told_at_once(
    gate: Gate, waited: timedelta, count: int
) -> None:
    """The sources are read one after the other: what one names may have been made after the other was read."""
    assert len(told([WAITER], {WAITER.key: (Wait("BIZ-1", gate, "why"),)}, waited=waited)) == count


@pytest.mark.parametrize("gate", [Gate.UNKNOWN, Gate.CYCLE])
def test_S2_D5_what_is_unknown_or_part_of_a_cycle_is_told_to_no_owner(gate: Gate) -> None:
    assert told([BLOCKER, WAITER], {WAITER.key: (replace(OPEN, gate=gate),)}, waited=timedelta(days=9)) == ()


@pytest.mark.parametrize("wait", [OPEN, Wait("BIZ-1", Gate.CANCELLED, "why", BLOCKER.key)])
def test_S2_of_a_task_that_cannot_be_seen_completely_nothing_is_told(wait: Wait) -> None:
    def count(task: Task, incomplete: frozenset[str] = frozenset()) -> int:
        return len(told([BLOCKER, task], {task.key: (wait,)}, incomplete=incomplete))

    assert count(WAITER) == 1
    assert count(WAITER, frozenset({"multica"})) == 0
    assert count(WAITER, frozenset({"workboard"})) == 1
    assert count(task_of(CARD, WAITER.items[0]), frozenset({"multica"})) == 0
    assert count(task_of(WAITER.items[0], stale=(REF,))) == 0
    assert count(task_of(WAITER.items[0], absent=(CARD.ref,))) == 0
    assert count(task_of(WAITER.items[0], status=Status.UNKNOWN)) == 0


@pytest.mark.parametrize("status", [Status.BACKLOG, Status.DONE, Status.CANCELLED])
@pytest.mark.parametrize("wait", [OPEN, Wait("BIZ-1", Gate.CANCELLED, "why", BLOCKER.key)])
def test_D4_work_that_is_not_released_or_is_over_troubles_nobody(status: Status, wait: Wait) -> None:
    task = task_of(replace(WAITER.items[0], status=status))
    assert told([BLOCKER, task], {task.key: (wait,)}) == ()


# D5: cycles.


def test_D5_a_cycle_is_told_to_the_coo_once_whoever_names_it_first() -> None:
    ring = [task_of(issue(number, f"环 {number}", owner=ARCHITECT)) for number in (1, 2, 3)]
    keys = [task.key for task in ring]
    (notice,) = told(ring, {}, cycles=[keys])
    assert (notice.kind, notice.task, notice.blocker, notice.to) == (NoticeKind.CYCLE, min(keys), None, ("coo",))
    assert [one.name for one in notice.facts.waiting] == ["BIZ-1", "BIZ-2", "BIZ-3"]
    (turned,) = told(ring, {}, cycles=[keys[::-1]], now=NOW + timedelta(days=3))
    assert turned.key == notice.key
    (smaller,) = told(ring, {}, cycles=[keys[:2]])
    assert smaller.key != notice.key


def test_D5_each_cycle_is_told_on_its_own_and_one_that_cannot_be_seen_is_not() -> None:
    first = [task_of(issue(number, "a", owner=ARCHITECT)) for number in (1, 2)]
    second = [task_of(issue(3, "a", owner=ARCHITECT)), task_of(line(4, "a", owner=ARCHITECT))]
    rings = [[task.key for task in first], [task.key for task in second]]
    assert len({notice.key for notice in told([*first, *second], {}, cycles=rings)}) == 2
    (left,) = told([*first, *second], {}, cycles=rings, incomplete=frozenset({"todo"}))
    assert left.task == first[0].key
    assert told([*first, *second], {}, cycles=rings, incomplete=frozenset({"multica"})) == ()


def test_D3_D4_D5_from_the_board_to_the_notices() -> None:
    board = (
        issue(1, "设计接口", owner=ARCHITECT),
        issue(2, "实现接口", owner=WRITER, depends_on=explicit("BIZ-1")),
        issue(3, "旧方案", Status.CANCELLED, owner=COO),
        issue(4, "迁移数据", owner=WRITER, depends_on=explicit("BIZ-3", "BIZ-99")),
        issue(5, "甲方", owner=WRITER, depends_on=explicit("BIZ-6")),
        issue(6, "乙方", owner=WRITER, depends_on=explicit("BIZ-5")),
        issue(7, "收尾", owner=WRITER, depends_on=explicit("BIZ-6")),
    )

    def look(now: datetime, remembered: Mapping[tuple[Ref, str], datetime]) -> tuple[Any, tuple[Notice, ...]]:
        seen = assess(Sight(board, SOURCES), now=now, parent_rule=ParentRule.STARTED)
        tasks = [standing.task for standing in seen.standings]
        waits = {standing.task.key: standing.waits for standing in seen.standings}
        kept = since(tasks, waits, remembered, incomplete=frozenset(), now=now)
        found = notices(
            tasks, waits, seen.cycles, kept, charter=CHARTER, stalled=frozenset(), incomplete=frozenset(), now=now
        )
        return kept, found

    def words(found: Sequence[Notice]) -> list[tuple[str, tuple[str, ...], list[str]]]:
        return [(str(one.kind), one.to, [each.name for each in one.facts.waiting]) for one in found]

    kept, first = look(NOW, {})
    assert words(first) == [("dead_wait", ("coo",), ["BIZ-4"]), ("cycle", ("coo",), ["BIZ-5", "BIZ-6"])]
    _, later = look(NOW + 2 * HOUR, kept)
    assert words(later) == [
        ("wait", ("architect",), ["BIZ-2"]),
        ("wait", ("writer",), ["BIZ-7"]),
        ("dead_wait", ("coo",), ["BIZ-4"]),
        ("dead_wait", ("coo",), ["BIZ-4"]),
        ("cycle", ("coo",), ["BIZ-5", "BIZ-6"]),
    ]
    assert {one.key for one in first} < {one.key for one in later}
