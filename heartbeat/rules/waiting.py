"""Who is told that work waits in vain: for somebody, for a decision, or in a circle (rules D3 to D5, S2). Pure.

What a task waits for is judged in dependencies.py. Here is only for how long, and whom that concerns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from heartbeat.action import Level
from heartbeat.policy import Charter
from heartbeat.rules.dependencies import Gate, Wait
from heartbeat.task import Owner, OwnerKind, Ref, Status, Task

COO = "coo"
OPERATOR = "operator"
"""Roles, as notifications know them."""

RELEASED = frozenset({Status.TODO, Status.IN_PROGRESS, Status.IN_REVIEW, Status.BLOCKED})
"""Work that is meant to be done now: what is still in the backlog keeps nobody waiting."""

DECISIONS = frozenset({Gate.CANCELLED, Gate.ARCHIVED, Gate.DANGLING, Gate.AMBIGUOUS})
"""Waits that end only when somebody decides something (rule D3)."""

Since = Mapping[tuple[Ref, str], datetime]
"""Since when an item waits for a target, by (ref, target)."""


class NoticeKind(StrEnum):
    """What is told (rules D4, D3, D5)."""

    WAIT = "wait"
    DEAD_WAIT = "dead_wait"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits: its key, what people call it, its title (foreign text), and since when."""

    task: str
    name: str
    title: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a notice tells. `waiting` holds those that wait, the longest first; of a cycle, its members.

    `longest` is how long the first of them has waited. `target` is the name waited for as it was written down, `gate`
    and `reason` why it does not come; they are empty for a cycle. `stalled`: the blocker itself does not move.
    """

    waiting: tuple[Waiting, ...]
    longest: timedelta = timedelta(0)
    target: str = ""
    gate: Gate | None = None
    reason: str = ""
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that one or more people should be told. `task` is the key of the task that waits (of several the one
    that waits longest), `blocker` the key of the one waited for, where there is one.

    `to` holds roles and agent ids. A notice is told once to each of them for its `key`.
    """

    kind: NoticeKind
    task: str
    blocker: str | None
    to: tuple[str, ...]
    level: Level
    key: str
    facts: Facts


def since(
    tasks: Sequence[Task],
    waits: Mapping[str, Sequence[Wait]],
    remembered: Since,
    *,
    incomplete: frozenset[str],
    now: datetime,
) -> dict[tuple[Ref, str], datetime]:
    """Since when each open and released task waits for each of its targets, on every ref of the task (rule D4).

    `waits` is by task key, `remembered` what this gave last time. A wait begins when it is first seen, and ends when it
    is not seen any more. What cannot be seen now (a source in `incomplete`, a task of unknown status, a wait that may
    or may not stand) begins nothing and ends nothing (rule S2). Nothing has been waiting since later than `now`.
    """
    unseen = {ref for task in tasks if _in_doubt(task, incomplete) for ref in (*task.refs, *task.absent)}
    kept = {
        (ref, target): min(began, now)
        for (ref, target), began in remembered.items()
        if ref.source in incomplete or ref in unseen
    }
    for task in tasks:
        if task.closed or task.status not in RELEASED:
            continue
        for wait in waits.get(task.key, ()):
            known = [remembered[ref, wait.target] for ref in task.refs if (ref, wait.target) in remembered]
            if known or (wait.gate is not Gate.UNKNOWN and not _in_doubt(task, incomplete)):
                kept |= dict.fromkeys(((ref, wait.target) for ref in task.refs), min((*known, now)))
    return kept


def notices(
    tasks: Sequence[Task],
    waits: Mapping[str, Sequence[Wait]],
    cycles: Sequence[Sequence[str]],
    since: Since,
    *,
    charter: Charter,
    stalled: frozenset[str],
    incomplete: frozenset[str],
    now: datetime,
) -> tuple[Notice, ...]:
    """Everything that is worth telling at this look; by its key each is told once, or once a day (rules D3 to D5).

    `waits` and `stalled` go by task key, `cycles` holds the keys of each set, `since` is what the function of that name
    gave. Of a task whose source is in `incomplete`, or whose status is not known, nothing is told (rule S2).
    """
    seen = {task.key: task for task in tasks if not task.closed and not _in_doubt(task, incomplete)}
    released = [task for task in seen.values() if task.status in RELEASED]
    by_key = {task.key: task for task in tasks}
    return (
        *_waits(released, waits, since, by_key, charter, stalled, now),
        *(notice for task in released for notice in _decisions(task, waits.get(task.key, ()), since, charter, now)),
        *(_cycle([seen[key] for key in ring]) for ring in cycles if ring and all(key in seen for key in ring)),
    )


def _waits(
    released: Iterable[Task],
    waits: Mapping[str, Sequence[Wait]],
    since: Since,
    by_key: Mapping[str, Task],
    charter: Charter,
    stalled: frozenset[str],
    now: datetime,
) -> Iterable[Notice]:
    """Rule D4: one notice a blocker that somebody has waited for long enough, the same for all that day."""
    found: dict[str, list[tuple[datetime, Task, Wait]]] = {}
    for task in released:
        policy = charter.policy_for(task.owner.id)
        for wait in waits.get(task.key, ()):
            blocker, began = wait.blocker, since.get((task.ref, wait.target))
            if wait.gate is not Gate.OPEN or blocker is None or policy is None or began is None:
                continue
            if blocker in by_key and now - began >= policy.dependency_wait:
                found.setdefault(blocker, []).append((began, task, wait))
    day = now.astimezone(UTC).date().isoformat()
    for blocker, late in found.items():
        late.sort(key=lambda one: (one[0], one[1].key, one[2].target))
        began, first, wait = late[0]
        waiting: dict[str, Waiting] = {}
        for since_when, task, _ in late:
            waiting.setdefault(task.key, _named(task, since_when))
        is_stalled = blocker in stalled
        yield Notice(
            kind=NoticeKind.WAIT,
            task=first.key,
            blocker=blocker,
            to=_told(by_key[blocker].owner, charter, coo_too=is_stalled),
            level=Level.WARNING,
            key=f"wait:{blocker}:{day}",
            facts=Facts(
                waiting=tuple(waiting.values()),
                longest=now - began,
                target=wait.target,
                gate=Gate.OPEN,
                reason=wait.reason,
                stalled=is_stalled,
            ),
        )


def _decisions(task: Task, waits: Iterable[Wait], since: Since, charter: Charter, now: datetime) -> Iterable[Notice]:
    """Rule D3: what never comes by itself, once for each target and each reason.

    What is missing may have been written a moment after its source was read; so it must have been missing at two looks,
    at least a beat apart.
    """
    for wait in waits:
        began = since.get((task.ref, wait.target))
        if wait.gate not in DECISIONS or began is None:
            continue
        if wait.gate is Gate.DANGLING and now - began < charter.beat:
            continue
        yield Notice(
            kind=NoticeKind.DEAD_WAIT,
            task=task.key,
            blocker=wait.blocker,
            to=(COO,),
            level=Level.WARNING,
            key=f"dead-wait:{wait.gate.value}:{task.key}:{wait.target}",
            facts=Facts((_named(task, began),), now - began, wait.target, wait.gate, wait.reason),
        )


def _cycle(members: Sequence[Task]) -> Notice:
    """Rule D5: the same set has the same key, whoever names it first."""
    keys = sorted(task.key for task in members)
    digest = hashlib.sha256("\0".join(keys).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    waiting = tuple(_named(task, None) for task in members)
    return Notice(NoticeKind.CYCLE, keys[0], None, (COO,), Level.WARNING, f"cycle:{digest}", Facts(waiting))


def _told(owner: Owner, charter: Charter, *, coo_too: bool) -> tuple[str, ...]:
    """The owner of what is waited for: an agent of the roster by its id, a person as operator, the COO for the rest."""
    if owner.kind is OwnerKind.PERSON:
        first = OPERATOR
    else:
        first = owner.id if owner.kind is OwnerKind.AGENT and owner.id in charter.members else COO
    return tuple(dict.fromkeys((first, COO) if coo_too else (first,)))


def _named(task: Task, began: datetime | None) -> Waiting:
    return Waiting(task.key, task.items[0].key, task.title, began)


def _in_doubt(task: Task, incomplete: frozenset[str]) -> bool:
    """Whether part of the task could not be read now, so that nothing may be concluded of it (rule S2)."""
    unread = any(ref.source in incomplete for ref in task.refs)
    return unread or bool(task.stale or task.absent) or task.status is Status.UNKNOWN
