"""A team on a virtual clock: real beats, a real store, and a scripted world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.beat import Tick, tick
from heartbeat.deadline import Deadline
from heartbeat.memory import Incident
from heartbeat.notify.channels.base import Channel
from heartbeat.observation import Observation, observe
from heartbeat.peers import Peers
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Entry, EntryKind, Store
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.items import NOW
from tests.support.rosters import make_agent
from tests.support.scripted_writer import ScriptedWorld


@dataclass(slots=True)
class Postbox:
    """A channel that keeps what it is given."""

    letters: list[Any] = field(default_factory=list)
    address: str = "a postbox"
    seconds: float = 1.0

    def send(self, letter: Any, deadline: Deadline) -> str:
        self.letters.append(letter)
        return "kept"


@dataclass(slots=True)
class Team:
    """Agents, a world and a clock. `beat` moves the clock by one beat and ticks whoever is named."""

    world: ScriptedWorld
    folder: Path
    agents: tuple[Agent, ...] = ()
    now: datetime = NOW
    store: Store = field(default_factory=MemoryStore)
    every: timedelta = timedelta(minutes=10)
    postbox: Postbox = field(default_factory=Postbox)
    extra: Mapping[str, Any] = field(default_factory=dict)
    escalation: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = True
    """Whether every beat reads everything anew; else beats share what was read (rule S5)."""

    @property
    def roster(self) -> Roster:
        agents = self.agents or (make_agent("coo", "high_frequency", patrol=True, notify=("self",)),)
        return Roster(
            path=self.folder / "agents.yaml",
            timezone="UTC",
            operator=Operator("Vincent", ("ops",)),
            agents={agent.id: agent for agent in agents},
            sources={name: {} for name in self.world.systems},
            channels={"ops": {"kind": "file", "path": str(self.folder / "ops.log"), "min_level": "info"}},
            escalation=self.escalation,
            extra=self.extra,
        )

    def open_channel(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        return self.postbox  # type: ignore[return-value]

    @property
    def peers(self) -> Peers:
        return Peers(self.world.source, self.world.writer, self.open_channel, lambda seconds: None)

    def tick(self, *names: str, only_due: bool = False) -> Tick:
        roster = self.roster
        return tick(
            roster,
            roster.chosen(names or tuple(roster.agents)),
            {},
            self.store,
            SnapshotCache(self.folder / "snapshots", read_only=self.fresh),
            self.folder,
            clock=lambda: self.now,
            fresh=self.fresh,
            only_due=only_due,
            peers=self.peers,
            deadline=Deadline.after(60),
        )

    def observe(self) -> Observation:
        return observe(
            self.roster,
            {},
            self.store,
            SnapshotCache(self.folder / "snapshots", read_only=True),
            now=self.now,
            deadline=Deadline.after(60),
            fresh=True,
            build=self.world.source,
        )

    def pass_time(self, duration: timedelta) -> None:
        self.now += duration

    def beat(self, *names: str, every: timedelta | None = None) -> Tick:
        """The next beat."""
        self.pass_time(every or self.every)
        return self.tick(*names)

    def beats(self, number: int, *names: str) -> list[Tick]:
        return [self.beat(*names) for _ in range(number)]

    def beat_until(self, instant: datetime, *names: str) -> Iterable[Tick]:
        while self.now + self.every <= instant:
            yield self.beat(*names)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return self.store.incidents()

    def messages(self, target: str) -> list[Entry]:
        """Everything that was ever addressed to an agent's inbox or a channel."""
        return [
            entry
            for entry in self.store.entries()
            if entry.kind in (EntryKind.INBOX, EntryKind.MESSAGE) and entry.target == target
        ]


def with_policy(agent: Agent, **changes: Any) -> Agent:
    """The agent with other numbers."""
    return replace(agent, policy=replace(agent.policy, **changes))
