"""One task as it truly stands, whatever the records say: who works on it, and whether anybody does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from heartbeat.simulate.scenario import Again, Behaviour, TaskPlan
from heartbeat.task import Ref


class Piece(Protocol):
    """A task's record in one source, as agents and people handle it."""

    @property
    def ref(self) -> Ref: ...

    def take(self, agent: str, *, alone: bool = True) -> bool:
        """An agent begins to work on it; False where the source does not let it. `alone=False`: though it has other
        work in hand."""
        ...

    def is_with(self, agent: str) -> bool:
        """Whether it is still in progress and the agent's."""
        ...

    def breathe(self, agent: str) -> None:
        """The worker renews its claim."""
        ...

    def say(self, who: str, text: str) -> None: ...

    def finish(self, who: str) -> None: ...

    def move(self, status: str) -> None:
        """By hand, in heartbeat's words for a status."""
        ...

    def assign(self, agent: str) -> None:
        """By hand: to another agent, to begin anew."""
        ...

    def clear_away(self) -> None:
        """By hand: what is done and done with is deleted."""
        ...


class Truth(StrEnum):
    """What is truly so."""

    OPEN = "open"
    """Nobody has it."""
    WORKED = "worked on"
    DEAD = "dead"
    """Somebody has it, and nobody works on it, or gets anywhere."""
    DONE = "done"


class End(StrEnum):
    """How a dead stretch ended."""

    RECOVERED = "recovered"
    """By heartbeat's write."""
    WOKEN = "woken"
    """Its worker came back: by a nudge, a run, a person, or by itself."""
    OTHERWISE = "otherwise"
    """Somebody else took it away."""


@dataclass(slots=True)
class Spell:
    """A stretch in which a task was dead."""

    agent: str
    looping: bool
    began: datetime
    ended: datetime | None = None
    end: End | None = None


@dataclass(slots=True)
class Job:
    """One task of the scenario."""

    plan: TaskPlan
    pieces: tuple[Piece, ...]
    truth: Truth = Truth.OPEN
    worker: str = ""
    taken: int = 0
    revived: bool = False
    """Its worker came back; it does not fall silent on it again."""
    taken_at: datetime | None = None
    said_at: datetime | None = None
    done_at: datetime | None = None
    cleared: bool = False
    """Its records are deleted."""
    spells: list[Spell] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def refs(self) -> Sequence[Ref]:
        return tuple(piece.ref for piece in self.pieces)

    @property
    def behaviour(self) -> Behaviour:
        """How it is worked on this time."""
        well = self.revived or (self.taken > 1 and self.plan.again is Again.FINISH)
        return Behaviour.DILIGENT if well else self.plan.behaviour

    @property
    def is_shunned(self) -> bool:
        """Whether nobody takes it up any more."""
        return self.taken > 0 and self.plan.again is Again.LEAVE

    def begin(self, agent: str, now: datetime) -> None:
        """An agent has taken it up."""
        self.truth, self.worker, self.taken, self.revived = Truth.WORKED, agent, self.taken + 1, False
        self.taken_at = self.said_at = now
        if self.behaviour is Behaviour.LOOPING:
            self.die(now, looping=True)

    def die(self, now: datetime, *, looping: bool = False) -> None:
        """From now on nobody works on it."""
        self.truth = Truth.DEAD
        self.spells.append(Spell(self.worker, looping, now))

    def revive(self, now: datetime) -> None:
        """Its worker goes on."""
        self._end(End.WOKEN, now)
        self.truth, self.revived, self.said_at = Truth.WORKED, True, now

    def go_on(self, now: datetime) -> None:
        """Its worker's turns lead somewhere again."""
        self._end(End.WOKEN, now)
        self.truth = Truth.WORKED

    def free(self, end: End, now: datetime) -> None:
        """It was taken from its worker."""
        self._end(end, now)
        if self.truth is not Truth.DONE:
            self.truth, self.worker = Truth.OPEN, ""

    def finish(self, now: datetime) -> None:
        self._end(End.WOKEN, now)
        self.truth, self.done_at = Truth.DONE, now

    @property
    def is_looping(self) -> bool:
        return self.truth is Truth.DEAD and self.spells[-1].looping

    @property
    def is_silent(self) -> bool:
        return self.truth is Truth.DEAD and not self.spells[-1].looping

    def worked_for(self, now: datetime) -> timedelta:
        """How long its worker has had it."""
        return timedelta(0) if self.taken_at is None else now - self.taken_at

    def _end(self, end: End, now: datetime) -> None:
        if self.truth is Truth.DEAD:
            self.spells[-1].ended, self.spells[-1].end = now, end
