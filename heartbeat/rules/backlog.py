"""The patrol's view: how much waits on the whole platform, where, and for whom. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from heartbeat.merge import status_at
from heartbeat.task import Owner, OwnerKind, Status, Task

ALARM_ABOVE = 5
"""More open todo items than this in one source is a backlog worth a warning."""

FIRST = 10
"""How many of a source's waiting items are listed."""


@dataclass(frozen=True, slots=True)
class SourceLoad:
    """One source's items: not started, being worked on, all that came (closed ones included), and the first to do."""

    source: str
    todo: int
    in_progress: int
    total: int
    alarm: bool
    first: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class OwnerLoad:
    """What one owner has in hand, counted in tasks."""

    owner: Owner
    known: bool
    todo: int
    in_progress: int
    blocked: int
    in_review: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The load of every source, and of every owner with open work, the busiest first."""

    sources: tuple[SourceLoad, ...]
    owners: tuple[OwnerLoad, ...]


def backlog(ordered: Sequence[Task], sources: Iterable[str], agents: Iterable[str], now: datetime) -> Backlog:
    """Count `ordered` tasks (in the order of work) by source and by owner; `agents` are the roster's ids."""
    known = frozenset(agents)
    loads = tuple(_source_load(source, ordered, now) for source in sources)
    counts: dict[Owner, Counter[Status]] = {}
    for task in ordered:
        if not task.closed:
            counts.setdefault(task.owner, Counter())[task.status] += 1
    owners = [
        OwnerLoad(
            owner,
            owner.kind is not OwnerKind.AGENT or owner.id in known,
            count[Status.TODO],
            count[Status.IN_PROGRESS],
            count[Status.BLOCKED],
            count[Status.IN_REVIEW],
            count[Status.UNKNOWN],
        )
        for owner, count in counts.items()
    ]
    owners.sort(key=lambda load: (-(load.todo + load.in_progress), load.owner.kind.value, load.owner.id))
    return Backlog(loads, tuple(owners))


def _source_load(source: str, ordered: Sequence[Task], now: datetime) -> SourceLoad:
    statuses: Counter[Status] = Counter()
    total = 0
    waiting: list[Task] = []
    for task in ordered:
        for item in task.items:
            if item.ref.source != source:
                continue
            total += 1
            if not item.archived:
                status = status_at(item, now)
                statuses[status] += 1
                if status is Status.TODO:
                    waiting.append(task)
    todo = statuses[Status.TODO]
    return SourceLoad(source, todo, statuses[Status.IN_PROGRESS], total, todo > ALARM_ABOVE, tuple(waiting[:FIRST]))
