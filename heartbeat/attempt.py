"""What becomes of one agent turn that heartbeat starts: attempts, their life, and dead letters (rules X, F). Pure data.

An attempt is one turn with one provider. Its id is the dispatch id: the idempotency key with which it is started, so
that one id never makes two turns. Attempts of one task follow each other; those since the last that completed are its
chain, and a chain that leads nowhere becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from heartbeat.task import Ref, Status


class Engine(StrEnum):
    """Who runs the turn (rule X1)."""

    OPENCLAW = "openclaw"
    MULTICA = "multica"


class Life(StrEnum):
    """Where an attempt stands. Each is on record before the step that follows it is taken (invariant I4)."""

    PLANNED = "planned"
    """Its agent and its task are taken; nothing was done yet."""
    CLAIMED = "claimed"
    """The task's items are the agent's, in progress."""
    SPAWNING = "spawning"
    """The turn is being asked for; whether it began is not known."""
    RUNNING = "running"
    """The engine has accepted the turn."""
    ENDED = "ended"


UNFINISHED = frozenset(Life) - {Life.ENDED}
UNSPAWNED = frozenset({Life.PLANNED, Life.CLAIMED})
"""Nothing was asked of any engine: no turn can have begun."""


class Outcome(StrEnum):
    """How an attempt ended (rule X6)."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SPAWN_FAILED = "spawn_failed"
    RATE_LIMITED = "rate_limited"
    ABORTED = "aborted"
    """Somebody stopped it, or it was not wanted any more before it began."""
    LOST = "lost"
    """The engine took it and knows nothing of it any more."""


NEXT: Mapping[Life, frozenset[Life]] = {
    Life.PLANNED: frozenset({Life.CLAIMED, Life.ENDED}),
    Life.CLAIMED: frozenset({Life.SPAWNING, Life.ENDED}),
    Life.SPAWNING: frozenset({Life.RUNNING, Life.ENDED}),
    Life.RUNNING: frozenset({Life.ENDED}),
    Life.ENDED: frozenset(),
}
"""Every transition there is. A store refuses all others, so that an outcome is collected once (rule X6)."""


class Cause(StrEnum):
    """What a failure means for whoever was asked (rule F3)."""

    COUNTS = "counts"
    """Connect errors, time-outs, 5xx, answers that make no sense: a failure of the provider."""
    COOLS = "cools"
    """429: too many requests; no failure."""
    REFUSES = "refuses"
    """401, 402, 403: asking again is no use until a person does something."""
    TASK = "task"
    """400: the task's own fault; nobody would take it."""
    ENGINE = "engine"
    """The engine itself could not be asked; no provider had a part in it."""
    NONE = "none"
    """Nobody's failure: stopped, or not wanted any more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not succeed. `retry_after` is in seconds, where the answer asked for that much (rule F1)."""

    cause: Cause
    message: str
    outcome: Outcome = Outcome.FAILED
    retry_after: float | None = None
    code: int | None = None
    """The HTTP status, where one was told."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a turn cost, as far as its result tells; None is not known, which is not 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Uptime:
    """A clock that nobody sets: `seconds` since the machine was started, without those in which it was suspended.

    `boot` tells one start of the machine from the next; it is empty where the system does not.
    """

    boot: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """A turn had gone on for so many `seconds` when that clock showed `at` (see rules/lasting.py)."""

    at: Uptime
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One turn of one agent on one task with one provider (rule X6).

    `number` counts the task's attempts from 1. `session` is the session key without the agent's prefix (rule X3). `run`
    is the engine's name for the turn, where that is not the dispatch id. `tries` says how often it was asked for.
    `before` says what the task's items were before this chain of attempts took them: what a claim that is given back
    restores (rule X5). `deadline` is when the turn must have ended, by the wall clock as it was then: for people.
    What counts is the `stopwatch`, which runs from the request on. `letter` names the dead letter that it replays.
    `model` is the one that was asked for, and in the end the one that answered; empty for the engine's own choice.
    """

    id: str
    task: str
    refs: tuple[Ref, ...]
    title: str
    agent: str
    number: int
    engine: Engine
    provider: str
    planned_at: datetime
    model: str = ""
    session: str = ""
    life: Life = Life.PLANNED
    continued: bool = False
    """The task was in progress already (rule X1)."""
    before: tuple[tuple[Ref, Status], ...] = ()
    letter: str = ""
    run: str = ""
    tries: int = 0
    spawned_at: datetime | None = None
    accepted_at: datetime | None = None
    deadline: datetime | None = None
    stopwatch: Stopwatch | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    cause: Cause | None = None
    exit_code: int | None = None
    error: str = ""
    usage: Usage = field(default_factory=Usage)

    @property
    def is_finished(self) -> bool:
        return self.life is Life.ENDED

    @property
    def was_turn(self) -> bool:
        """Whether a model was, or may have been, asked: the engine took it, or nobody knows that it did not."""
        return self.accepted_at is not None


class LetterState(StrEnum):
    """Where a dead letter stands (rule F4)."""

    WAITING = "waiting"
    """It is replayed when it is due."""
    REPLAYING = "replaying"
    """A replay's turn has been started and has not ended."""
    EXHAUSTED = "exhausted"
    """All its tries are used: left for a person."""
    REPLAYED = "replayed"
    """A replay completed."""
    DROPPED = "dropped"
    """A person gave it up, or the task is over."""


OPEN_LETTERS = frozenset({LetterState.WAITING, LetterState.REPLAYING, LetterState.EXHAUSTED})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that no provider would do, with everything that is needed to try again (rule F4).

    `tries` counts the replays that failed; `due_at` is when the next is tried. `attempts` are ids, in order. `poison`
    says that the task itself is at fault. `payload` is plain JSON: engine and session as they were last used, and why
    nobody was left to ask; the prompt is made anew, of what the task is by then.
    """

    id: str
    task: str
    refs: tuple[Ref, ...]
    title: str
    agent: str
    created_at: datetime
    due_at: datetime
    error: str
    attempts: tuple[str, ...] = ()
    tries: int = 0
    poison: bool = False
    state: LetterState = LetterState.WAITING
    closed_at: datetime | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_LETTERS
