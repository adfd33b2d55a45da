"""What a simulation comes to, in numbers: what heartbeat did, and how that compares with what was truly so."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.policy import Policy
from heartbeat.simulate.jobs import End, Job, Spell, Truth

PATIENCE_BEATS = 3
"""A task that died so late that heartbeat cannot have been done with it yet is not missed, but open: after the
threshold that applies to it, this many beats are allowed for the nudge and the looks that rule T6 asks for."""


@dataclass(slots=True)
class Dead:
    """The stretches in which a task was truly dead, by what came of them.

    `missed` were not ended by heartbeat or anybody although there was time for it; `told` of them were at least told
    of. `open` began too late to tell. `waited` are the times until heartbeat recovered them, shortest first.
    """

    recovered: int = 0
    woken: int = 0
    otherwise: int = 0
    missed: int = 0
    told: int = 0
    open: int = 0
    waited: tuple[timedelta, ...] = ()
    missed_tasks: tuple[str, ...] = ()

    @property
    def all(self) -> int:
        return self.recovered + self.woken + self.otherwise + self.missed + self.open

    @property
    def typical(self) -> timedelta | None:
        """The median time until a recovery."""
        return statistics.median_low(self.waited) if self.waited else None

    @property
    def longest(self) -> timedelta | None:
        return max(self.waited, default=None)


@dataclass(slots=True)
class TurnCounts:
    """The turns of models, and what came of them. `started` is by who started them (see Starter), `idle` those in which
    there was nothing to do.

    `skipped` are beats of agents that heartbeat starts in which it started none, by reason; `attempts` are by outcome,
    `running` for those that have not ended; `letters` by where they stand. `overlaps` names agents and tasks with two
    turns at once, `neglected` ready tasks that were left lying: both must be empty.
    """

    started: Mapping[str, int] = field(default_factory=dict)
    idle: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    letters: Mapping[str, int] = field(default_factory=dict)
    replays: int = 0
    """Attempts that were made of a dead letter."""
    overlaps: tuple[str, ...] = ()
    neglected: tuple[str, ...] = ()

    @property
    def all(self) -> int:
        return sum(self.started.values())


@dataclass(slots=True)
class Counts:
    """The summary. `false_alarms` are names of tasks, once for each incident that opened while somebody worked."""

    beats: int = 0
    degraded_beats: int = 0
    writes: Mapping[str, int] = field(default_factory=dict)
    """By operation."""
    conflicts: int = 0
    """Writes that were not made since somebody else had acted."""
    comments: int = 0
    """Texts that heartbeat left on tasks."""
    nudges: int = 0
    messages: Mapping[str, int] = field(default_factory=dict)
    """By channel, and `inbox of AGENT` for what stood on top of a worklist; nudges not counted."""
    incidents: Mapping[str, int] = field(default_factory=dict)
    """By ending; `open` for those that have not ended."""
    recoveries: int = 0
    storms: int = 0
    false_alarms: tuple[str, ...] = ()
    wrong_recoveries: tuple[str, ...] = ()
    """Tasks that were taken from somebody who worked."""
    dead: Dead = field(default_factory=Dead)
    runs: Mapping[str, int] = field(default_factory=dict)
    """Multica runs by who started them."""
    runs_by_us: int = 0
    turns: TurnCounts = field(default_factory=TurnCounts)
    tasks: Mapping[str, int] = field(default_factory=dict)
    """By what they truly are at the end."""

    @property
    def turns_per_task(self) -> float | None:
        """Turns for each task that was finished; None where none was."""
        finished = self.tasks.get(Truth.DONE.value, 0)
        return self.turns.all / finished if finished else None


def dead_stretches(jobs: Iterable[Job], policies: Mapping[str, Policy], told: Iterable[str], ended: datetime) -> Dead:
    """What came of every dead stretch. `policies` are by agent, `told` names the tasks that somebody was told of."""
    by_end: Counter[str] = Counter()
    waited: list[timedelta] = []
    missed: list[str] = []
    for job in jobs:
        for spell in job.spells:
            if spell.end is End.RECOVERED and spell.ended is not None:
                waited.append(spell.ended - spell.began)
            if spell.end is not None:
                by_end[spell.end.name.lower()] += 1
            elif ended - spell.began < patience(spell, policies[spell.agent]):
                by_end["open"] += 1
            else:
                missed.append(job.name)
    known = set(told)
    return Dead(
        recovered=by_end["recovered"],
        woken=by_end["woken"],
        otherwise=by_end["otherwise"],
        open=by_end["open"],
        missed=len(missed),
        told=sum(name in known for name in missed),
        waited=tuple(sorted(waited)),
        missed_tasks=tuple(missed),
    )


def patience(spell: Spell, policy: Policy) -> timedelta:
    """How long heartbeat may take over a dead task before it counts as missed."""
    threshold = policy.runtime_limit if spell.looping else policy.recover_after
    return threshold + PATIENCE_BEATS * policy.every + (policy.recover_after - policy.suspect_after)


def truths(jobs: Iterable[Job]) -> dict[str, int]:
    """How many tasks are what, at the end."""
    counted = Counter(job.truth for job in jobs)
    return {truth.value: counted[truth] for truth in Truth if counted[truth]}
