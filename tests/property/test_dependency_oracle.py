"""Rules D1, D2, D3, D5 and S2 against a second, naive implementation of the same words, on thousands of small boards.

The oracle looks every name up by scanning the board, and finds cycles by following edges until nothing new is reached.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from heartbeat.policy import ParentRule
from heartbeat.rules.dependencies import Dependencies, Gate, Visibility, dependencies
from heartbeat.task import CLOSED, NOBODY, Dependency, DependencyKind, Item, Owner, Priority, Status, Task
from tests.support.items import ARCHITECT, COO, SOURCES, card, issue, line

BOARDS = 1500
STATUSES: tuple[Status, ...] = (*Status, Status.TODO, Status.TODO, Status.DONE, Status.IN_PROGRESS)
OPEN_FIRST = (Status.IN_PROGRESS, Status.BLOCKED, Status.IN_REVIEW, Status.TODO, Status.BACKLOG)

Verdict = tuple[str, Gate, str | None]


@dataclass(frozen=True)
class Board:
    tasks: tuple[Task, ...]
    incomplete: frozenset[str]
    malformed: frozenset[str]


class Maker:
    """One random board: up to nine tasks that wait for each other, for what is gone, and for what cannot be seen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = self.random.randint(2, 9)

    def board(self) -> Board:
        tasks = tuple(self.task(number) for number in range(1, self.count + 1))
        seen = self.random.random() < 0.6
        incomplete = frozenset() if seen else frozenset(self.random.sample(SOURCES, self.random.randint(1, 2)))
        malformed = frozenset(name for name in ("BIZ-70", full_card_id(80)) if self.random.random() < 0.3)
        return Board(tasks, incomplete, malformed)

    def task(self, number: int) -> Task:
        items = self.items(number, self.random.choice(("card", "issue", "issue", "line", "both")))
        owner = next((item.owner for item in items if item.owner != NOBODY), NOBODY)
        archived = all(item.archived for item in items)
        return Task(items, together([item.status for item in items]), Priority.NORMAL, owner, None, archived=archived)

    def items(self, number: int, kind: str) -> tuple[Item, ...]:
        if kind == "both":
            return self.card(number, archivable=False), self.issue(number)
        return ({"card": self.card, "issue": self.issue, "line": self.line}[kind](number),)

    def card(self, number: int, *, archivable: bool = True) -> Item:
        targets = [full_card_id(self.number()) for _ in range(self.few())]
        found = tuple(Dependency(DependencyKind.CARD, target) for target in targets)
        archived = archivable and self.random.random() < 0.25
        return card(number, "t", self.status(), owner=self.owner(), archived=archived, depends_on=found)

    def issue(self, number: int) -> Item:
        parent = issue_id(self.number()) if self.random.random() < 0.6 else None
        stage = self.random.choice((None, 1, 2, 3)) if parent else None
        above = (Dependency(DependencyKind.PARENT, parent),) if parent else ()
        found = (*above, *self.explicit())
        return issue(number, "t", self.status(), owner=self.owner(), parent=parent, stage=stage, depends_on=found)

    def line(self, number: int) -> Item:
        return line(number, "t", self.status(), owner=self.owner(), aliases=(f"m{number}",), depends_on=self.explicit())

    def explicit(self) -> tuple[Dependency, ...]:
        def name() -> str:
            number = self.number()
            spelled = (f"BIZ-{number}", f"biz-{number}", f"{number:08x}", full_card_id(number), f"m{number}", "BIZ-70")
            return self.random.choice((*spelled, f"{80:08x}"))

        return tuple(Dependency(DependencyKind.EXPLICIT, name()) for _ in range(self.few()))

    def number(self) -> int:
        return self.random.randint(1, self.count + 1)

    def few(self) -> int:
        return self.random.choice((0, 0, 1, 1, 2))

    def status(self) -> Status:
        return self.random.choice(STATUSES)

    def owner(self) -> Owner:
        return self.random.choice((COO, ARCHITECT, NOBODY))


def full_card_id(number: int) -> str:
    return card(number, "t").ref.id


def issue_id(number: int) -> str:
    return issue(number, "t").ref.id


def together(statuses: list[Status]) -> Status:
    """Rule M4 in its own words."""
    if Status.UNKNOWN in statuses:
        return Status.UNKNOWN
    for status in OPEN_FIRST:
        if status in statuses:
            return status
    return Status.DONE if Status.DONE in statuses else Status.CANCELLED


class Oracle:
    """The rules once more, with no index and no shared code."""

    def __init__(self, board: Board, rule: ParentRule) -> None:
        self.board = board
        self.rule = rule
        self.edges: set[tuple[str, str]] = set()

    def verdicts(self) -> dict[str, set[Verdict]]:
        found: dict[str, set[Verdict]] = {}
        for task in self.board.tasks:
            if task.archived or task.status in CLOSED:
                continue
            for item in task.items:
                for verdict in self.of_item(task, item):
                    found.setdefault(task.key, set()).add(verdict)
        rings = self.rings()
        return {key: {self.as_cycle(key, verdict, rings) for verdict in own} for key, own in found.items()}

    def of_item(self, task: Task, item: Item) -> list[Verdict]:
        found = [self.judge(task, kind.target, kind.kind) for kind in item.depends_on]
        if item.parent is not None and item.stage is not None:
            for other in self.board.tasks:
                for sibling in other.items:
                    same = sibling.ref.source == item.ref.source and sibling.parent == item.parent
                    if same and sibling.stage is not None and sibling.stage < item.stage:
                        found.append(self.judge(task, sibling.ref.id, DependencyKind.STAGE))
            if item.stage > 1 and "multica" in self.board.incomplete:
                found.append((item.parent, Gate.UNKNOWN, None))
        return [verdict for verdict in found if verdict is not None]

    def judge(self, task: Task, target: str, kind: DependencyKind) -> Verdict | None:
        if kind is DependencyKind.PARENT and self.rule is ParentRule.OFF:
            return None
        blockers = [other for other in self.board.tasks if any(self.is_named(item, target) for item in other.items)]
        if not blockers:
            gate = self.of_absent(target, kind)
            return (target, gate, None) if gate else None
        (blocker,) = blockers
        if blocker is task:
            return None
        gate = self.of_present(blocker, kind)
        if gate is None:
            return None
        self.edges.add((task.key, blocker.key))
        return target, gate, blocker.key

    @staticmethod
    def is_named(item: Item, target: str) -> bool:
        wanted = target.lower()
        if wanted in [name.lower() for name in (item.ref.id, *item.aliases)]:
            return True
        return item.ref.source == "workboard" and len(wanted) >= 8 and item.ref.id.startswith(wanted)

    def of_absent(self, target: str, kind: DependencyKind) -> Gate | None:
        begins_card_id = target[0] in "0123456789abcdef"
        for known in self.board.malformed:
            if known.lower() == target.lower() or (begins_card_id and known.startswith(target)):
                return Gate.UNKNOWN
        if kind is DependencyKind.CARD:
            places = {"workboard"}
        elif kind is DependencyKind.PARENT:
            places = {"multica"}
        elif target.lower().startswith("biz-"):
            places = {"multica", "todo"}
        elif target.startswith("m"):
            places = {"todo"}
        else:
            places = {"workboard", "multica"} if len(target) == 36 else {"workboard", "todo"}
        if places & self.board.incomplete:
            return Gate.UNKNOWN
        return None if kind is DependencyKind.PARENT else Gate.DANGLING

    def of_present(self, blocker: Task, kind: DependencyKind) -> Gate | None:
        if any(item.ref.source in self.board.incomplete for item in blocker.items):
            return Gate.UNKNOWN
        if kind is DependencyKind.PARENT and self.rule is ParentRule.STARTED:
            if blocker.owner == NOBODY:
                return None
            if blocker.status is Status.UNKNOWN:
                return Gate.UNKNOWN
            return Gate.OPEN if blocker.status in (Status.BACKLOG, Status.TODO) else None
        if blocker.status is Status.UNKNOWN:
            return Gate.UNKNOWN
        if blocker.status is Status.DONE:
            return None
        if kind is DependencyKind.PARENT:
            return Gate.OPEN
        if blocker.status is Status.CANCELLED:
            return None if kind is DependencyKind.STAGE else Gate.CANCELLED
        return Gate.ARCHIVED if blocker.archived else Gate.OPEN

    def rings(self) -> set[frozenset[str]]:
        reached = set(self.edges)
        while True:
            more = {(first, last) for first, middle in reached for start, last in self.edges if middle == start}
            if more <= reached:
                break
            reached |= more
        keys = {key for edge in reached for key in edge}
        mutual = {
            frozenset({one} | {other for other in keys if (one, other) in reached and (other, one) in reached})
            for one in keys
        }
        return {ring for ring in mutual if len(ring) > 1}

    @staticmethod
    def as_cycle(key: str, verdict: Verdict, rings: set[frozenset[str]]) -> Verdict:
        target, _, blocker = verdict
        return (target, Gate.CYCLE, blocker) if any({key, blocker} <= ring for ring in rings) else verdict


def told(result: Dependencies) -> dict[str, set[Verdict]]:
    return {key: {(wait.target, wait.gate, wait.blocker) for wait in waits} for key, waits in result.waits.items()}


@pytest.mark.parametrize("rule", list(ParentRule))
def test_D1_D2_D3_D5_S2_every_verdict_is_the_oracles(rule: ParentRule) -> None:
    gates: Counter[Gate] = Counter()
    rings = across = 0
    for seed in range(BOARDS):
        board = Maker(seed).board()
        oracle = Oracle(board, rule)
        expected = oracle.verdicts()
        result = dependencies(board.tasks, rule, Visibility(board.incomplete, board.malformed))
        assert told(result) == expected, f"board {seed} under {rule.value}"
        assert {frozenset(ring) for ring in result.cycles} == oracle.rings(), f"board {seed} under {rule.value}"
        assert len(result.cycles) == len(oracle.rings())
        gates.update(gate for verdicts in expected.values() for _, gate, _ in verdicts)
        rings += len(result.cycles)
        across += sum(is_elsewhere(key, blocker) for key, verdicts in expected.items() for _, _, blocker in verdicts)
    usual = set(Gate) - {Gate.AMBIGUOUS}
    assert {gate for gate in usual if gates[gate] > BOARDS / 50} == usual, "the boards must be worth the comparison"
    assert rings > BOARDS / 50
    assert across > BOARDS / 50


def is_elsewhere(key: str, blocker: str | None) -> bool:
    """Whether a task waits for one of another source."""
    return blocker is not None and key.partition(":")[0] != blocker.partition(":")[0]


@pytest.mark.parametrize("rule", list(ParentRule))
def test_D5_a_cycle_stops_its_members_and_those_that_wait_for_them_and_nobody_else(rule: ParentRule) -> None:
    followers = bystanders = 0
    for seed in range(BOARDS):
        board = Maker(seed).board()
        visibility = Visibility(board.incomplete, board.malformed)
        result = dependencies(board.tasks, rule, visibility)
        members = {key for ring in result.cycles for key in ring}
        stopped = members | waiting_for(members, result)
        in_cycle = {key for key, waits in result.waits.items() if any(wait.gate is Gate.CYCLE for wait in waits)}
        assert in_cycle == members, f"board {seed} under {rule.value}"
        freed = [finished(task) if task.key in stopped else task for task in board.tasks]
        after = dependencies(freed, rule, visibility)
        assert after.cycles == ()
        assert told(after) == {key: found for key, found in told(result).items() if key not in stopped}
        followers += len(stopped) - len(members)
        bystanders += len(after.waits) if members else 0
    assert followers > 5, "the boards must be worth the comparison"
    assert bystanders > BOARDS / 50


def waiting_for(keys: set[str], result: Dependencies) -> set[str]:
    """The tasks that wait for one of these, directly or through others."""
    found: set[str] = set()
    while True:
        more = {key for key, waits in result.waits.items() if any(wait.blocker in keys | found for wait in waits)}
        if more <= found:
            return found
        found |= more


def finished(task: Task) -> Task:
    return replace(task, items=tuple(replace(item, status=Status.DONE) for item in task.items), status=Status.DONE)


@pytest.mark.parametrize("rule", list(ParentRule))
def test_M3_the_order_of_the_tasks_changes_no_verdict(rule: ParentRule) -> None:
    for seed in range(200):
        board = Maker(seed).board()
        shuffled = list(board.tasks)
        random.Random(seed).shuffle(shuffled)
        visibility = Visibility(board.incomplete, board.malformed)
        one, other = dependencies(board.tasks, rule, visibility), dependencies(shuffled, rule, visibility)
        assert told(one) == told(other)
        assert one.cycles == other.cycles
        assert {(found.code, frozenset(found.refs)) for found in one.findings} == {
            (found.code, frozenset(found.refs)) for found in other.findings
        }


def test_S2_an_outage_only_ever_adds_waiting() -> None:
    for seed in range(500):
        board = Maker(seed).board()
        seen = dependencies(board.tasks, ParentRule.STARTED, Visibility(frozenset(), board.malformed))
        blind = dependencies(board.tasks, ParentRule.STARTED, Visibility(frozenset(SOURCES), board.malformed))
        assert seen.waits.keys() <= blind.waits.keys()
