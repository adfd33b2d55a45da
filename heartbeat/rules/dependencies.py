"""What a task waits for (rules D1 to D3, D5, S2): unmet, dangling, unknown and cyclic dependencies, with reasons.

Pure. A dependency is judged on the task that its target belongs to; what cannot be known gates as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from heartbeat.names import Names
from heartbeat.policy import ParentRule
from heartbeat.rules.cycles import cycles
from heartbeat.task import NOBODY, Dependency, DependencyKind, Finding, Item, Ref, Status, Task
from heartbeat.titles import IDENTIFIER


class Gate(StrEnum):
    """Why a dependency holds its task back."""

    OPEN = "open"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"
    DANGLING = "dangling"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class Wait:
    """One dependency that is not satisfied. `blocker` is the key of the task waited for, where there is one."""

    target: str
    gate: Gate
    reason: str
    blocker: str | None = None


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What each task (by key) waits for; tasks that wait for nothing are not in `waits`."""

    waits: Mapping[str, tuple[Wait, ...]]
    cycles: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Visibility:
    """What of the sources could be seen: names of the incomplete ones, and ids of records that came malformed."""

    incomplete: frozenset[str] = frozenset()
    unknown_ids: frozenset[str] = frozenset()


def dependencies(tasks: Sequence[Task], parent_rule: ParentRule, visibility: Visibility) -> Dependencies:
    """Every open task's unsatisfied dependencies, with each cycle named once."""
    judge = _Judge(tasks, parent_rule, visibility)
    waits = {task.key: found for task in tasks if not task.closed and (found := judge.waits(task))}
    rings = cycles({key: [wait.blocker for wait in found if wait.blocker] for key, found in waits.items()})
    position = {key: index for index, ring in enumerate(rings) for key in ring}
    waits = {key: tuple(_marked(wait, key, position, judge) for wait in found) for key, found in waits.items()}
    findings = [*judge.findings(), *(_cycle_finding(ring, judge) for ring in rings)]
    return Dependencies(waits, rings, tuple(findings))


class _Judge:
    def __init__(self, tasks: Sequence[Task], parent_rule: ParentRule, visibility: Visibility) -> None:
        items = [item for task in tasks for item in task.items]
        self.task_of = {item.ref: task for task in tasks for item in task.items}
        self.by_key = {task.key: task for task in tasks}
        self._names = Names(items)
        self._parent_rule = parent_rule
        self._visibility = visibility
        self._unknown_ids = frozenset(name.casefold() for name in visibility.unknown_ids)
        self._stages = _lower_stages(items)

    def waits(self, task: Task) -> tuple[Wait, ...]:
        declared = [(item, dependency) for item in task.items for dependency in item.depends_on]
        declared += [(item, dependency) for item in task.items for dependency in self._stages(item)]
        found = {wait: None for item, dependency in declared if (wait := self._wait(task, item, dependency))}
        found |= {wait: None for item in task.items if (wait := self._unseen_siblings(item))}
        return tuple(found)

    def _wait(self, task: Task, item: Item, dependency: Dependency) -> Wait | None:
        if dependency.kind is DependencyKind.PARENT and self._parent_rule is ParentRule.OFF:
            return None
        target = dependency.target
        blockers = self._resolve(item, target)
        if not blockers:
            return self._missing(dependency)
        if len(blockers) > 1:
            return Wait(target, Gate.AMBIGUOUS, f"{target} names {len(blockers)} tasks; use a longer id")
        blocker = blockers[0]
        if blocker is task:
            return None
        return self._open(dependency, blocker)

    def _unseen_siblings(self, item: Item) -> Wait | None:
        """A stage is open when its lower siblings are closed, and those must all have been seen (rule S2)."""
        if item.parent is None or item.stage is None or item.stage <= _FIRST_STAGE:
            return None
        if item.ref.source not in self._visibility.incomplete:
            return None
        reason = f"{item.ref.source} was not read completely; there may be open siblings of a stage below {item.stage}"
        return Wait(item.parent, Gate.UNKNOWN, reason)

    def _resolve(self, item: Item, target: str) -> list[Task]:
        refs = self._names.find(target)
        near = [ref for ref in refs if _same_place(ref, item.ref)]
        found = {self.task_of[ref].key: self.task_of[ref] for ref in near or refs}
        return list(found.values())

    def _missing(self, dependency: Dependency) -> Wait | None:
        target = dependency.target
        if self._came_malformed(target.strip().casefold()):
            return Wait(target, Gate.UNKNOWN, f"{target} came as a record that could not be read")
        unseen = _possible_sources(dependency, self._visibility.incomplete) & self._visibility.incomplete
        if unseen:
            return Wait(target, Gate.UNKNOWN, f"{target} cannot be looked up: {', '.join(sorted(unseen))} was not read")
        if dependency.kind is DependencyKind.PARENT:
            return None
        return Wait(target, Gate.DANGLING, f"{target} does not exist in any source that was read")

    def _came_malformed(self, name: str) -> bool:
        if name in self._unknown_ids:
            return True
        return _CARD_ID.fullmatch(name) is not None and any(known.startswith(name) for known in self._unknown_ids)

    def _open(self, dependency: Dependency, blocker: Task) -> Wait | None:
        name, key, status = _called(dependency, blocker), blocker.key, blocker.status
        unread = sorted({ref.source for ref in blocker.refs} & self._visibility.incomplete)
        if unread:
            reason = f"{', '.join(unread)} was not read completely, so the status of {name} is not known"
            return Wait(dependency.target, Gate.UNKNOWN, reason, key)
        if dependency.kind is DependencyKind.PARENT and self._is_container(blocker):
            return None
        if status is Status.UNKNOWN:
            return Wait(dependency.target, Gate.UNKNOWN, f"the status of {name} is not known", key)
        if status is Status.DONE:
            return None
        if dependency.kind is DependencyKind.PARENT:
            return self._parent(dependency, blocker)
        if status is Status.CANCELLED:
            if dependency.kind is DependencyKind.STAGE:
                return None
            return Wait(dependency.target, Gate.CANCELLED, f"{name} was cancelled; somebody has to decide", key)
        if blocker.archived:
            return Wait(dependency.target, Gate.ARCHIVED, f"{name} was archived without being done", key)
        words = status.value.replace("_", " ")
        return Wait(dependency.target, Gate.OPEN, f"{name} is {words}", key)

    def _is_container(self, parent: Task) -> bool:
        """Under `started` an unassigned parent never gates, whatever its status is called (rule D2)."""
        return self._parent_rule is ParentRule.STARTED and parent.owner == NOBODY and not parent.absent

    def _parent(self, dependency: Dependency, blocker: Task) -> Wait | None:
        """Rule D2: under `strict` a parent must be done, under `started` it must have left backlog and todo."""
        name, status = blocker.items[0].key, blocker.status
        if self._parent_rule is ParentRule.STRICT:
            return Wait(
                dependency.target, Gate.OPEN, f"its parent {name} is {status.value.replace('_', ' ')}", blocker.key
            )
        if status not in (Status.BACKLOG, Status.TODO):
            return None
        return Wait(dependency.target, Gate.OPEN, f"its parent {name} has not been started", blocker.key)

    def findings(self) -> list[Finding]:
        """Where `dependencies.parent: strict` makes a deadlock: a parent ends after its children (rule D2)."""
        if self._parent_rule is not ParentRule.STRICT:
            return []
        children: dict[str, list[Ref]] = {}
        for task in self.by_key.values():
            for item in task.items:
                if item.parent is not None and not task.closed:
                    children.setdefault(item.parent.casefold(), []).append(item.ref)
        findings: list[Finding] = []
        for task in self.by_key.values():
            waiting = tuple(ref for item in task.items for ref in children.get(item.ref.id.casefold(), ()))
            if waiting and not task.closed:
                message = (
                    f"deadlock: {task.items[0].key} ends after its {len(waiting)} open children, and under "
                    "dependencies.parent: strict they wait for its end; use `started`"
                )
                findings.append(Finding("parent-deadlock", message, (task.ref, *waiting)))
        return findings

    def name(self, key: str) -> str:
        return self.by_key[key].items[0].key


def _lower_stages(items: Iterable[Item]) -> Callable[[Item], Sequence[Dependency]]:
    """A function that gives, for a staged issue, its siblings of lower stages as dependencies (rule D1)."""
    siblings: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for item in items:
        if item.parent is not None and item.stage is not None:
            siblings.setdefault((item.ref.source, item.parent), []).append((item.stage, item.ref.id))

    def lower(item: Item) -> Sequence[Dependency]:
        if item.parent is None or item.stage is None:
            return ()
        stage = item.stage
        earlier = sorted(sibling for sibling in siblings[item.ref.source, item.parent] if sibling[0] < stage)
        return [Dependency(DependencyKind.STAGE, identifier) for _, identifier in earlier]

    return lower


def _called(dependency: Dependency, blocker: Task) -> str:
    """What to call the blocker: by the name that was written down where people know it by that, else by its key."""
    return dependency.target if IDENTIFIER.fullmatch(dependency.target) else blocker.items[0].key


def _same_place(ref: Ref, other: Ref) -> bool:
    """Two TODO lines of one file: a marker such as 🆔 a1 is meant there first."""
    return ref.source == other.source and "#" in ref.id and ref.id.rpartition("#")[0] == other.id.rpartition("#")[0]


_FIRST_STAGE = 1
"""Multica counts stages from one (contract 3): nothing stands below the first."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CARD_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*", re.IGNORECASE)


def _possible_sources(dependency: Dependency, incomplete: frozenset[str]) -> frozenset[str]:
    """The sources in which a missing target might have stood. A TODO line's own marker may look like any name, and
    nobody knows what a plug-in's names look like."""
    if dependency.kind is DependencyKind.CARD:
        return frozenset({"workboard"})
    if dependency.kind in (DependencyKind.PARENT, DependencyKind.STAGE):
        return frozenset({"multica"})
    plug_ins = incomplete - {"workboard", "multica", "todo"}
    if _UUID.fullmatch(dependency.target):
        return plug_ins | {"workboard", "multica"}
    if IDENTIFIER.fullmatch(dependency.target):
        return plug_ins | {"multica", "todo"}
    return plug_ins | ({"workboard", "todo"} if _CARD_ID.fullmatch(dependency.target) else {"todo"})


def _marked(wait: Wait, key: str, position: Mapping[str, int], judge: _Judge) -> Wait:
    """The wait itself, or as part of a cycle where both ends stand in one (rule D5)."""
    if wait.blocker is None or key not in position or position.get(wait.blocker) != position[key]:
        return wait
    reason = f"{judge.name(wait.blocker)} waits for this task too, directly or through others"
    return Wait(wait.target, Gate.CYCLE, reason, wait.blocker)


def _cycle_finding(cycle: Sequence[str], judge: _Judge) -> Finding:
    names = ", ".join(judge.name(key) for key in cycle)
    message = f"these {len(cycle)} tasks wait for each other and none can start: {names}"
    return Finding("dependency-cycle", message, tuple(judge.by_key[key].ref for key in cycle))
