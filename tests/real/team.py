"""A team that beats on a real board: its roster is a file, its store a database, and its reads and writes go over the
Gateway's WebSocket. Only the time may run ahead: a real card cannot be made older, so the team's clock is set forward.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.beat import Beat, Tick, tick
from heartbeat.deadline import Deadline
from heartbeat.memory import Incident
from heartbeat.peers import Peers
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Roster
from heartbeat.store.opening import open_store
from heartbeat.store.port import Entry, EntryKind, Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Ref
from tests.real.writer_cases import RealBoardWriterCase

PATIENCE = 60.0
"""Seconds for one beat. Half of a beat of a second, which is what a beat gets by itself, is too little to write in."""
CLAIM_SECONDS = 7 * 24 * 3600
"""How long a claim lasts: longer than any clock here runs ahead."""


@dataclass(slots=True)
class RealTeam:
    """All agents of a roster, in one state directory. `ahead` is how far their clock is before everybody else's."""

    case: RealBoardWriterCase
    roster: Roster
    folder: Path
    store: Store
    peers: Peers = field(default_factory=Peers)
    ahead: timedelta = timedelta(0)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def tick(self) -> Tick:
        """One beat of everybody."""
        return tick(
            self.roster,
            tuple(self.roster.agents.values()),
            {**self.case.gateway.environment, "OPENCLAW_GATEWAY_PORT": str(self.case.wiretap.port)},
            self.store,
            SnapshotCache(self.folder / "snapshots"),
            self.folder / "locks",
            clock=lambda: self.now,
            peers=self.peers,
            deadline=Deadline.after(PATIENCE),
        )

    def beat(self) -> Tick:
        """The next beat, for which nobody waits."""
        self.ahead += self.roster.shortest_every
        return self.tick()

    def beats(self, number: int) -> list[Tick]:
        return [self.beat() for _ in range(number)]

    def beat_in_real_time_until(self, told: Callable[[], bool], seconds: float = 40.0) -> Tick:
        """Beats by the wall clock, each at its time, until something shows; the last beat."""
        every = self.roster.shortest_every.total_seconds()
        began = time.monotonic()
        while True:
            due = time.monotonic() + every
            done = self.tick()
            if told():
                return done
            assert time.monotonic() - began < seconds, self.story()
            threading.Event().wait(max(0.0, due - time.monotonic()))

    def claim(self, ref: Ref, agent: str) -> None:
        self.case.call("claim", id=ref.id, ownerId=agent, ttlSeconds=CLAIM_SECONDS)

    def work(self, title: str, agent: str) -> Ref:
        """A card that an agent has claimed a moment ago."""
        ref = self.case.waiting(title, agent)
        self.claim(ref, agent)
        return ref

    def seize(self, ref: Ref, agent: str) -> None:
        """Somebody gives the card's claim to another agent."""
        self.case.call("release", id=ref.id)
        self.claim(ref, agent)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """The newest first."""
        return self.store.incidents()

    @property
    def newest(self) -> Incident:
        return self.incidents[0]

    def inbox(self, agent: str) -> list[Entry]:
        """Everything that was ever put on top of an agent's worklist, the oldest first."""
        return [each for each in self.store.entries(kind=EntryKind.INBOX) if each.target == agent]

    @property
    def operators_mail(self) -> list[dict[str, Any]]:
        """What the channel `ops` was given."""
        path = self.folder / "ops.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def story(self) -> str:
        """What was decided and done, a line each, for whoever looks at a failure."""
        return "\n".join(f"{each.at} {each.action} {each.message}" for each in self.store.log())


def beat_of(done: Tick, agent: str) -> Beat:
    return next(each for each in done.beats if each.agent.id == agent)


@contextmanager
def open_team(case: RealBoardWriterCase, folder: Path, roster: str) -> Iterator[RealTeam]:
    """The team of a roster, given as the text of its file, with a state directory of its own."""
    path = folder / "agents.yaml"
    path.write_text(roster, encoding="utf-8")
    (folder / "locks").mkdir()
    with open_store(folder / "state", datetime.now(UTC)) as store:
        yield RealTeam(case, load_roster(path, {}), folder, store)
