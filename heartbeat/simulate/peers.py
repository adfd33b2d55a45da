"""The simulated world in the place of the real one: sources, writers and channels, as a beat asks for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from heartbeat.action import Operation, Write
from heartbeat.attempt import Engine, Uptime
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Spawner
from heartbeat.dispatch.context import DISPATCH, Means, new_id
from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.notify.letter import Letter
from heartbeat.peers import Peers
from heartbeat.roster.model import Roster
from heartbeat.simulate.world import HEARTBEAT, Kind, World
from heartbeat.systems.base import Probe, Reading, ReadStatus, Source, heard
from heartbeat.systems.multica.issues import SOURCE
from heartbeat.systems.writing import Look, Writer, Written
from heartbeat.task import Owner, Presence, Ref

Landed = Callable[[Write, str], None]
"""Called with every write that took effect, and what its writer said of it."""


@dataclass(slots=True)
class RememberingSource:
    """Implements Source: the real one behind it, and in place of the snapshot on the disk the last complete reading."""

    source: Source
    _last: Reading | None = None

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def identity(self) -> str:
        return f"{self.source.name} simulated"

    @property
    def shareable(self) -> bool:
        return self.source.shareable

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        reading = self.source.read(deadline, now)
        if reading.report.status is ReadStatus.COMPLETE:
            self._last = reading
            return reading
        if self._last is None:
            return reading
        came = {item.ref for item in reading.items}
        stale = tuple(item for item in self._last.items if item.ref not in came)
        return replace(reading, stale=stale, stale_at=self._last.report.read_at)

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return ()

    def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
        return heard(self.source, agents, deadline, now)


@dataclass(frozen=True, slots=True)
class WatchedWriter:
    """Implements Writer: the real one behind it. What is done through it is done by heartbeat."""

    writer: Writer
    world: World
    landed: Landed

    @property
    def source(self) -> str:
        return self.writer.source

    def can(self, operation: Operation) -> bool:
        return self.writer.can(operation)

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        return self.writer.look(ref, owner, deadline, now)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        with self.world.acting(HEARTBEAT):
            written = self.writer.apply(write, look, deadline, now)
        self.landed(write, written.note)
        return written


@dataclass(frozen=True, slots=True)
class Postbox:
    """Implements Channel: keeps every letter."""

    name: str
    world: World
    letters: list[tuple[str, Letter]]
    seconds: float = 1.0

    @property
    def address(self) -> str:
        return f"the postbox of {self.name}"

    def send(self, letter: Letter, deadline: Deadline) -> str:
        if self.world.silenced_channels:
            raise ChannelError(Failure.TRANSIENT, f"channel {self.name} is down in this simulation")
        self.letters.append((self.name, letter))
        self.world.tell(
            Kind.MESSAGE, f"to {self.name}, {letter.level.value}: {letter.heading}", task=letter.task, why=letter.body
        )
        return ""


@dataclass(frozen=True, slots=True)
class _Peers(Peers):
    """With dispatch ids that are the same in every repetition."""

    identify: Callable[[], str] = new_id

    @property
    def means(self) -> Means:
        return Means(self.writer, self.spawner, self.pause, self.chance, self.identify, self.uptime)


@dataclass(slots=True)
class SimulatedPeers:
    """What stands behind each name of the roster. `letters` are (channel, letter), in the order of sending."""

    world: World
    sources: Mapping[str, RememberingSource]
    writers: Mapping[str, WatchedWriter]
    turns: Spawner
    runs: Spawner
    letters: list[tuple[str, Letter]] = field(default_factory=list)

    def peers(self) -> Peers:
        names = self.world.chance("turns")
        return _Peers(
            self._source,
            self._writer,
            self._channel,
            self.world.clock.pause,
            spawner=self._spawner,
            chance=self.world.chance("jitter").random,
            uptime=self._uptime,
            identify=lambda: f"{DISPATCH}{names.getrandbits(128):032x}",
        )

    def _uptime(self) -> Uptime:
        """Whatever heartbeat's own clock shows, turns last as long as they truly do."""
        return Uptime("simulated", self.world.now.timestamp())

    def _source(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Source:
        return self.sources[name]

    def _writer(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Writer | None:
        return self.writers.get(name)

    def _spawner(self, engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner | None:
        if engine is Engine.MULTICA and SOURCE not in roster.sources:
            return None
        return self.runs if engine is Engine.MULTICA else self.turns

    def _channel(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        return Postbox(name, self.world, self.letters)
