"""Ready work of agents that heartbeat starts, left lying although it could have been begun: what must never be (X1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.breaker import Rules
from heartbeat.policy import Policy
from heartbeat.rules.dispatching import Reason
from heartbeat.rules.failover import LETTER_TRIES, letter_due
from heartbeat.simulate.jobs import Job, Truth
from heartbeat.simulate.scenario import START

WILLED = frozenset({Reason.PAUSED, Reason.OBSERVING, Reason.BUDGET, Reason.LIMIT, Reason.TALKING, Reason.HELD})
"""Reasons for a beat without a turn that people have given; who is not started for them is not neglected."""

BEATS = 3
"""Beats that may pass on top of the longest wait that failover itself makes."""


def patience(policy: Policy, rules: Rules) -> timedelta:
    """How long a ready task may wait with providers in order: until the breakers that opened before have closed, a dead
    letter of it is due, and a few beats have passed."""
    letter = letter_due(LETTER_TRIES - 1, START) - START
    return rules.open_for_at_most + letter + BEATS * policy.every


@dataclass(slots=True)
class Neglect:
    """Watches all tasks. `found` names those that waited for too long, each once."""

    rules: Rules
    since: dict[str, datetime] = field(default_factory=dict)
    """By task: since when it waits though its agent has nothing else to do and somebody would answer."""
    found: dict[str, timedelta] = field(default_factory=dict)

    def note(self, policy: Policy, ready: Iterable[Job], left: Iterable[Job], now: datetime) -> None:
        """After a beat of one agent that had no turn and got none. `ready` are its tasks that it could work on; `left`
        those of them that wait for a person, which are not neglected."""
        excused = {job.name for job in left}
        for job in ready:
            if job.truth is not Truth.OPEN or job.name in excused:
                self.since.pop(job.name, None)
                continue
            waited = now - self.since.setdefault(job.name, now)
            if waited > patience(policy, self.rules):
                self.found[job.name] = waited

    def begin_anew(self, jobs: Iterable[Job]) -> None:
        """Of these tasks nobody can say that they were left lying: their agent works, or nobody could be asked."""
        for job in jobs:
            self.since.pop(job.name, None)
