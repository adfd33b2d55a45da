"""What a round of dispatch works with: the roster, the store, the ways to the world, and a clock."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from heartbeat.action import Message
from heartbeat.actions import WriterBuilder
from heartbeat.attempt import Attempt, Engine, Uptime
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Spawner, SpawnerBuilder
from heartbeat.dispatch.engines import build_spawner
from heartbeat.dispatch.providers import failover_of, rules_of
from heartbeat.dispatch.uptime import uptime
from heartbeat.errors import UsageError
from heartbeat.notify.roles import addressed
from heartbeat.provider import MULTICA_NATIVE, RUN_DEADLINE, Failover, Provider, Strategy
from heartbeat.render.values import command_line
from heartbeat.roster.model import Roster
from heartbeat.store.port import LogEntry, Store
from heartbeat.systems.registry import build_writer

DISPATCH = "hb-"
"""How every dispatch id begins."""


RUNNING_AT_ONCE = 4
"""Turns of the whole team at a time, where the roster says nothing else (rule X5)."""


def new_id() -> str:
    """A dispatch id: it names one turn for ever."""
    return f"{DISPATCH}{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Means:
    """How the world is reached. `pause` waits, in seconds; `chance` gives a number from 0 up to 1, for jitter;
    `identify` gives a new dispatch id; `uptime` shows a clock that nobody sets."""

    writer: WriterBuilder = build_writer
    spawner: SpawnerBuilder = build_spawner
    pause: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    identify: Callable[[], str] = new_id
    uptime: Callable[[], Uptime] = uptime


@dataclass(frozen=True, slots=True)
class Context:
    """`pause` waits, in seconds; `chance` gives a number from 0 up to 1, for jitter; `identify` a new dispatch id.
    `uptime` shows a clock that nobody sets: how long turns go on is told by that, and by `clock` everything else.

    `command` is how heartbeat is called in what agents are told.
    """

    roster: Roster
    environment: Mapping[str, str]
    store: Store
    locks: Path
    clock: Callable[[], datetime]
    deadline: Deadline
    failover: Failover
    writer: WriterBuilder = build_writer
    spawner: SpawnerBuilder = build_spawner
    pause: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    identify: Callable[[], str] = new_id
    uptime: Callable[[], Uptime] = uptime
    command: str = "heartbeat"
    trouble: str = ""
    """Why nobody can be started: the roster's providers cannot be read, for example. What runs is collected all the
    same, and who is asked next is decided when that is mended."""

    def engine(self, engine: Engine) -> Spawner | None:
        """The way to an engine; None where the roster has none."""
        return self.spawner(engine, self.roster, self.environment)

    def failover_for(self, engine: Engine) -> Failover:
        """Who is asked, in which order: with Multica that is Multica itself, which has its own way with models."""
        if engine is Engine.OPENCLAW:
            return self.failover
        first = next(iter(self.failover.enabled), Provider(MULTICA_NATIVE))
        alone = replace(first, name=MULTICA_NATIVE, model="", enabled=True)
        return Failover(Strategy.NATIVE, (alone,), self.failover.rules)

    def deadline_of(self, attempt: Attempt, accepted: datetime) -> datetime | None:
        """When a turn that was accepted then must have ended. A Multica run may last for hours and is ended by Multica:
        None."""
        if attempt.engine is Engine.MULTICA:
            return None
        provider = self.failover_for(attempt.engine).named(attempt.provider)
        return accepted + (provider.run_deadline if provider is not None else RUN_DEADLINE)

    @property
    def running_limit(self) -> int:
        """How many turns may go on at once, of all agents (rule X5)."""
        return int(self.roster.extra.get("limits", {}).get("running", RUNNING_AT_ONCE))

    def log(self, attempt: Attempt, action: str, message: str, **details: Any) -> None:
        """One line of the log about an attempt."""
        about = {"dispatch": attempt.id, "provider": attempt.provider, "number": attempt.number, **details}
        self.store.add_log(
            [LogEntry(self.clock(), action, message, agent=attempt.agent, task=attempt.task, details=about)]
        )

    def tell(self, messages: Iterable[Message]) -> None:
        """Puts messages into the outbox; each goes out once (rule L4)."""
        now = self.clock()
        self.store.enqueue(entry for message in messages for entry in addressed(message, self.roster, now))


def opened(
    roster: Roster,
    environment: Mapping[str, str],
    store: Store,
    locks: Path,
    clock: Callable[[], datetime],
    deadline: Deadline,
    means: Means | None = None,
) -> Context:
    """A context by the roster. Raises UsageError where its providers cannot be read, or its path not be told."""
    failover, command = failover_of(roster, environment), command_line(roster.path)
    return replace(_by(roster, environment, store, locks, clock, deadline, means, failover), command=command)


def opened_anyway(
    roster: Roster,
    environment: Mapping[str, str],
    store: Store,
    locks: Path,
    clock: Callable[[], datetime],
    deadline: Deadline,
    means: Means | None = None,
) -> Context:
    """A context by the roster; one with `trouble`, in which nobody is started, where there is no other."""
    try:
        return opened(roster, environment, store, locks, clock, deadline, means)
    except UsageError as error:
        nobody = Failover(providers=(), rules=rules_of(roster))
        return replace(_by(roster, environment, store, locks, clock, deadline, means, nobody), trouble=str(error))


def _by(
    roster: Roster,
    environment: Mapping[str, str],
    store: Store,
    locks: Path,
    clock: Callable[[], datetime],
    deadline: Deadline,
    means: Means | None,
    failover: Failover,
) -> Context:
    means = means or Means()
    return Context(
        roster,
        environment,
        store,
        locks,
        clock,
        deadline,
        failover,
        writer=means.writer,
        spawner=means.spawner,
        pause=means.pause,
        chance=means.chance,
        identify=means.identify,
        uptime=means.uptime,
    )
