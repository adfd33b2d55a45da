"""What the daemon does next: stop, reload, beat, or wait and for how long. Pure: clocks and orders are arguments.

When an agent is due is decided by its receipts, which only the store knows, and others may beat for it too. So the
agenda is no more than a note of when each agent is to be asked for again; whoever is not on it is asked for at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from heartbeat.beat import Tick
from heartbeat.instants import to_text
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.due import next_due

LONGEST_WAIT = 30.0
"""Seconds. Waiting counts by a clock that rests while the machine is suspended, and a wall clock may be set: looking
up this often is how either is noticed."""

SHORTEST_WAIT = 0.001
"""Seconds: clocks differ in how finely they count."""

LOOK_AT_TURNS = 15.0
"""Seconds between two looks at running turns, so that one that ended badly gets its next attempt at once (rule F1)."""

ASK_AGAIN = timedelta(seconds=30)
"""After how long an agent is asked for again that another process was beating for."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds without a try after beats that failed: a full disk or a locked database is not hammered."""

DEFAULT_JITTER = timedelta(seconds=5)
_SHARE_OF_EVERY = 4
"""The jitter is at most this part of the shortest `every`."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more is begun."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The roster is read anew."""


@dataclass(frozen=True, slots=True)
class Beat:
    """These are asked for; who of them is due, the store decides."""

    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """Turns are running: it is time to see what became of them (rule F1)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due for so long, or it is time to look at the clocks."""

    seconds: float


Step = End | Reload | Beat | Follow | Wait


@dataclass(frozen=True, slots=True)
class Moment:
    """What the next step depends on besides the agenda. `held` is for how many seconds yet no beat is tried, since the
    last ones failed."""

    now: datetime
    stopping: bool = False
    reload: bool = False
    held: float = 0.0
    turns: float | None = None
    """In how many seconds running turns are looked at; None where none is known to run."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """How long after its due instant a beat begins: chance, but the same whenever it is asked for one instant.

    `salt` sets machines apart that share a roster, so that they do not all call the same systems in the same second.
    """

    window: timedelta
    salt: str

    def after(self, due: datetime) -> timedelta:
        """From zero up to, not including, the window."""
        drawn = hashlib.sha256(f"{self.salt}\0{to_text(due)}".encode()).digest()[:8]
        return self.window * (int.from_bytes(drawn) / 2**64)


def jitter(window: timedelta, roster: Roster, host: str) -> Jitter:
    """The jitter for a roster on a machine: never so long that a frequent beat would come noticeably late."""
    return Jitter(min(window, roster.shortest_every / _SHARE_OF_EVERY), f"{host}\0{roster.path}")


def next_step(moment: Moment, agents: Sequence[Agent], agenda: Mapping[str, datetime], spread: Jitter) -> Step:
    """`agenda` holds, by agent id, when an agent is to be asked for next.

    One beat serves everybody whose time has come when it begins, those included who became due while the first of them
    was held back by the jitter.
    """
    if moment.stopping:
        return End()
    if moment.reload:
        return Reload()
    known = [agenda[agent.id] for agent in agents if agent.id in agenda]
    begins = [due + spread.after(due) for due in set(known)]
    if len(known) < len(agents):
        begins.append(moment.now)
    left = (min(begins) - moment.now).total_seconds() if begins else LONGEST_WAIT
    left = max(left, moment.held)
    if left > 0:
        turns = LONGEST_WAIT if moment.turns is None else max(moment.turns, moment.held)
        return Follow() if turns <= 0 else Wait(min(max(min(left, turns), SHORTEST_WAIT), LONGEST_WAIT))
    return Beat(tuple(agent for agent in agents if agenda.get(agent.id, moment.now) <= moment.now))


def after_tick(
    agenda: Mapping[str, datetime], asked: Iterable[Agent], done: Tick, timezone: str, now: datetime
) -> dict[str, datetime]:
    """The agenda after a tick of these agents that ended now. Who was skipped is asked for again after a while."""
    after = {**agenda, **{agent.id: now + ASK_AGAIN for agent in asked}, **done.resting}
    for beat in done.beats:
        if beat.receipt is not None:
            after[beat.agent.id] = next_due(beat.agent.policy, timezone, beat.receipt.started_at, now)
    return after


def pause_after(failures: int) -> float:
    """Seconds without a try after so many beats in a row that failed."""
    return 0.0 if failures < 1 else min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
