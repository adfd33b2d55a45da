"""What the rules say of everything at one instant: who is stalled, whose rounds are spent, what waits too long. Pure.

It takes what was seen and what is remembered, and gives back verdicts together with what is to be remembered from now
on; nothing is decided here about what to do (see planner.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from heartbeat.memory import Memory, Rounds
from heartbeat.policy import Charter
from heartbeat.rules import activity, rounds, stall, waiting, windows
from heartbeat.task import Evidence, Presence, Ref, Status, Task
from heartbeat.worklist import Assessment, Standing


@dataclass(frozen=True, slots=True)
class Scene:
    """What one look at all sources saw, besides the items: the evidence, who is at work, and what was not seen."""

    evidence: tuple[Evidence, ...]
    presence: tuple[Presence, ...]
    presence_unknown: frozenset[str]
    """Sources that should know who is at work and do not (rule T7)."""
    presence_known: bool
    """Whether any source can tell at all."""
    complete: frozenset[str]
    """Sources that were read completely, and when they were: a snapshot counts for the instant it was read at."""
    read_at: Mapping[str, datetime]
    incomplete: frozenset[str]
    unknown_ids: frozenset[str] = frozenset()
    unheard: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By agent the sources that could not tell anew, just before it mattered, who speaks with it (rule B4)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of one look. `memory` is what is remembered from now on; `before` what was."""

    now: datetime
    scene: Scene
    standings: tuple[Standing, ...]
    tasks: Mapping[str, Task]
    task_of: Mapping[Ref, Task]
    memory: Memory
    before: Memory
    stalls: Mapping[str, stall.Stall]
    spending: tuple[rounds.Verdict, ...]
    notices: tuple[waiting.Notice, ...]


def judge(
    assessment: Assessment,
    scene: Scene,
    memory: Memory,
    charter: Charter,
    *,
    slots: Mapping[str, datetime],
    now: datetime,
) -> Judgement:
    """Every rule over every task. `slots` are the agents' current slots (rule C1: one round a slot at most)."""
    standings = assessment.standings
    tasks = [standing.task for standing in standings]
    open_tasks = [task for task in tasks if not task.closed]
    looked = _looked(scene, memory, charter, now)
    clocks = activity.advance(
        (item for task in tasks for item in task.items if item.ref not in task.stale),
        scene.evidence,
        scene.presence,
        looked,
        now,
        beside=frozenset(ref for task in open_tasks if _is_begun(task) for ref in task.refs),
        read_at=scene.read_at,
        looked_at=_looked_at(memory, looked),
    )
    clocked = replace(looked, clocks=clocks)
    known = replace(clocked, rounds=_counted(open_tasks, scene, clocked, slots, now))
    waits = {standing.task.key: standing.waits for standing in standings if standing.waits}
    since = waiting.since(open_tasks, waits, known.waiting, incomplete=scene.incomplete, now=now)
    known = replace(known, waiting=since)
    stalls = stall.stalls(
        open_tasks,
        incomplete=scene.incomplete,
        presence=scene.presence,
        presence_unknown=scene.presence_unknown,
        presence_known=scene.presence_known,
        unknown_ids=scene.unknown_ids,
        memory=known,
        charter=charter,
        now=now,
    )
    stuck = frozenset(key for key, each in stalls.items() if each.level is not stall.Level.NONE)
    notices = waiting.notices(
        open_tasks,
        waits,
        assessment.cycles,
        since,
        charter=charter,
        stalled=stuck,
        incomplete=scene.incomplete,
        now=now,
    )
    return Judgement(
        now=now,
        scene=scene,
        standings=standings,
        tasks={task.key: task for task in tasks},
        task_of={ref: task for task in tasks for ref in task.refs},
        memory=known,
        before=memory,
        stalls=stalls,
        spending=rounds.verdicts(
            open_tasks,
            known.rounds,
            scene.presence,
            charter=charter,
            now=now,
            presence_unknown=scene.presence_unknown,
            clocks=known.clocks,
        ),
        notices=notices,
    )


def _looked_at(before: Memory, after: Memory) -> Mapping[str, datetime]:
    """When each source was last seen completely, where that and this look are in one window (rule T6)."""
    return {
        source: before.windows[source][-1].until
        for source, seen in after.windows.items()
        if before.windows.get(source) and seen and seen[-1].began <= before.windows[source][-1].until < seen[-1].until
    }


def _is_begun(task: Task) -> bool:
    return len(task.items) > 1 and any(activity.is_running(item) for item in task.items)


def _looked(scene: Scene, memory: Memory, charter: Charter, now: datetime) -> Memory:
    """The windows after this look: those of the sources that were read completely grow (rule T6)."""
    grown = {
        source: windows.extended(memory.windows.get(source, ()), min(scene.read_at.get(source, now), now), charter.beat)
        for source in scene.complete
    }
    return replace(memory, windows={**memory.windows, **grown})


def _counted(
    tasks: Sequence[Task], scene: Scene, memory: Memory, slots: Mapping[str, datetime], now: datetime
) -> Mapping[Ref, Rounds]:
    """The round ledger after this look (rules C1, T4)."""
    known = dict(memory.rounds)
    working = [task for task in tasks if task.status is Status.IN_PROGRESS]
    turns = rounds.turns(working, scene.evidence, scene.presence, now, clocks=memory.clocks, own=memory.own)
    for task in working:
        marks = [clock.progress for ref in task.refs if (clock := memory.clocks.get(ref)) and clock.progress]
        rows = rounds.counted(
            task,
            known,
            turn_at=turns.get(task.key),
            slot=slots.get(task.owner.id),
            progress=max(marks, key=lambda mark: mark.at, default=None),
            began_at=rounds.epoch_began(task, memory.clocks),
            now=now,
        )
        known.update((row.ref, row) for row in rows)
    return known
