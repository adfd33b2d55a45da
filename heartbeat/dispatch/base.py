"""What every engine that can start a turn promises (rules X2, X6). Nothing here waits for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from heartbeat.attempt import Attempt, Engine, Failure, Outcome, Usage
from heartbeat.deadline import Deadline
from heartbeat.errors import HeartbeatError
from heartbeat.roster.model import Roster


@dataclass(frozen=True, slots=True)
class Order:
    """One turn to be started. `message` is the prompt; `model` is empty for the engine's own choice.

    `run_seconds` is how long the turn may last; the engine is asked to end it then.
    """

    attempt: Attempt
    message: str
    model: str
    run_seconds: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The engine took the turn. `run` is its own name for it, `session` the session as it names that."""

    run: str
    session: str = ""


class StartError(HeartbeatError):
    """A turn was not accepted. `failure` says why, and what that means (rule F3).

    `unknown` says that the request may have arrived all the same: whoever asks again uses the same dispatch id, and
    gets the same turn.
    """

    def __init__(self, failure: Failure, *, unknown: bool = False, advice: str = "") -> None:
        super().__init__(failure.message, advice=advice)
        self.failure = failure
        self.unknown = unknown


class Going(StrEnum):
    """What an engine knows of a turn."""

    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"
    """It answered, and has never heard of it, or has forgotten it."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A turn as its engine shows it now. `outcome` and what follows are of one that ended; `failure` of one that ended
    badly. `model` is the one that answered, where the engine tells."""

    going: Going
    outcome: Outcome | None = None
    failure: Failure | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    exit_code: int | None = None
    ended_at: datetime | None = field(default=None, compare=False)
    """When the engine says that it ended, where it does; two looks may differ by milliseconds, as its records do."""


class Spawner(Protocol):
    """Starts turns at one engine, and tells what became of them. Its calls may be made from any process."""

    @property
    def engine(self) -> Engine: ...

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        """Asks for the turn, and returns as soon as it was accepted. `attempt.id` is the idempotency key: to ask twice
        makes one turn. Raises StartError."""
        ...

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        """What has become of a turn that was asked for. Raises TransportError where the engine cannot be asked."""
        ...

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        """Ends a turn; whether it is certain that it does not run any more. Raises TransportError."""
        ...

    def forget(self, attempt: Attempt) -> None:
        """The outcome is on record: what is kept of the turn on this machine may go. Raises TransportError."""
        ...


class SpawnerBuilder(Protocol):
    def __call__(self, engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner | None:
        """None where the roster has no such engine."""
        ...
