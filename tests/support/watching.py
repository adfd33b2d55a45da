"""A watchdog and what it watches, on a virtual clock: a real store, a real notebook, channels that keep what comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from heartbeat.notify.channels.base import Channel
from heartbeat.notify.letter import Letter
from heartbeat.policy import anchor_of
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.schedule.slots import current_slot
from heartbeat.store.opening import open_store
from heartbeat.store.port import Receipt
from heartbeat.watch.notebook import Shelf
from heartbeat.watch.processes import Doing
from heartbeat.watch.watchdog import Room, Watched, watch
from tests.support.fake_channels import ScriptedChannel
from tests.support.rosters import make_agent

BEGIN = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERY = timedelta(minutes=10)
GRACE = timedelta(minutes=5)

_numbers = count(1)


def receipt(agent: Agent, at: datetime, timezone: str = "UTC", **changes: Any) -> Receipt:
    """The receipt of a beat that began at an instant and took two seconds."""
    given: dict[str, Any] = {
        "id": f"receipt-{next(_numbers)}",
        "agent": agent.id,
        "slot": current_slot(agent.policy, timezone, at),
        "started_at": at,
        "ended_at": at + timedelta(seconds=2),
        "outcome": "done",
        "degraded": False,
        "sources": ({"name": "todo", "status": "complete", "transport": "files", "items": 1},),
        "host": "elsewhere",
        "pid": 4711,
        **changes,
    }
    return Receipt(**given)


def member(name: str = "coo", every: timedelta = EVERY, **changes: Any) -> Agent:
    """An agent with its slots where a roster would put them, or on a cron expression."""
    anchor = timedelta(0) if changes.get("cron") else anchor_of(name, every)
    return make_agent(name, "high_frequency", every=every, anchor=anchor, **changes)


@dataclass
class Den:
    """`folder` holds the beats' state and the watchdog's notebook, each in a directory of its own. `now` is the clock;
    `channels` are by name; the roster can be spoilt by setting `load`."""

    folder: Path
    agents: tuple[Agent, ...] = field(default_factory=lambda: (member("coo"), member("dev")))
    now: datetime = BEGIN
    channels: Mapping[str, ScriptedChannel] = field(default_factory=lambda: {"ops": ScriptedChannel()})
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    load: Callable[[], Roster] | None = None
    places: tuple[Path, ...] = ()
    doing: Doing = Doing.GONE
    operator: tuple[str, ...] = ("ops",)
    looks: int = 0
    state_name: str = "state"
    stopwatch: Callable[[], float] = time.monotonic

    @property
    def state(self) -> Path:
        return self.folder / self.state_name

    @property
    def roster(self) -> Roster:
        return Roster(
            path=self.folder / "agents.yaml",
            timezone="Asia/Shanghai",
            operator=Operator("Vincent", self.operator),
            agents={agent.id: agent for agent in self.agents},
            sources={},
            state=self.state,
            channels={name: {"kind": "file", "path": "/nowhere", "min_level": "info"} for name in self.channels},
            extra={"watchdog": {"grace": GRACE, "notify": ("operator",), **self.settings}},
        )

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.places or (self.folder / "notebooks",), "team")

    @property
    def room(self) -> Room:
        return Room(
            path=self.folder / "agents.yaml",
            load=self.load or (lambda: self.roster),
            state_of=lambda roster: self.state,
            environment=self.environment,
            shelf=self.shelf,
            clock=lambda: self.now,
            open_channel=self._open,
            author=lambda pid, host, at: self.doing,
            stopwatch=self.stopwatch,
        )

    @property
    def letters(self) -> list[Letter]:
        """Everything that any channel was given, by channel."""
        return [letter for channel in self.channels.values() for letter in channel.letters]

    @property
    def titles(self) -> list[str]:
        return [letter.title for letter in self.letters]

    def agent(self, name: str) -> Agent:
        return next(agent for agent in self.agents if agent.id == name)

    def change(self, name: str, **changes: Any) -> None:
        """Gives an agent other settings."""
        self.agents = tuple(member(name, **changes) if agent.id == name else agent for agent in self.agents)

    def beat(self, *names: str, **changes: Any) -> None:
        """Beats of these agents, of all where none is named, put on record at the clock's instant."""
        with open_store(self.state, self.now) as store:
            for name in names or [agent.id for agent in self.agents]:
                store.add_receipt(receipt(self.agent(name), self.now, **changes))

    def look(self, *, dry_run: bool = False) -> Watched:
        self.looks += 1
        assert self.looks < 1000, "time passes, and what is waited for does not happen"
        return watch(self.room, dry_run=dry_run)

    def minutes(self, number: int, *beating: str, look: bool = True) -> list[Watched]:
        """So many minutes, one look at the end of each. Whoever is named beats at each of its slots."""
        found = []
        for _ in range(number):
            before, self.now = self.now, self.now + MINUTE
            for name in beating:
                if current_slot(self.agent(name).policy, "UTC", self.now) > before:
                    self.beat(name)
            found += [self.look()] if look else []
        return found

    def _open(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        return self.channels[name]


def without_anchor(agent: Agent) -> Agent:
    """Slots on the full multiples of its rhythm, for boundaries that can be read."""
    return replace(agent, policy=replace(agent.policy, anchor=timedelta(0)))
