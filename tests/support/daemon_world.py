"""A daemon on virtual clocks: real beats and a real loop, in a world where a week passes in seconds.

True time passes only while somebody waits, or while a source is read. The machine's own clock may be set, and the
machine may sleep; what is planned happens when its time has come, whoever is waiting.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.attempt import Uptime
from heartbeat.beat import Tick
from heartbeat.daemon.clocks import Look
from heartbeat.daemon.loop import Daemon
from heartbeat.daemon.roster_file import Signature
from heartbeat.daemon.supervisor import Supervisor
from heartbeat.daemon.surroundings import Loaded, Surroundings
from heartbeat.deadline import Deadline
from heartbeat.errors import HeartbeatError
from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.peers import Peers
from heartbeat.roster.model import Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.watch.ping import Pinger
from tests.support.scripted_writer import ScriptedWorld

SECOND = timedelta(seconds=1)
NOTHING = timedelta(0)


@dataclass(slots=True)
class Machine:
    """True time, the clocks that the machine shows, and what is to happen when. Implements Orders."""

    true: datetime
    ahead: timedelta = NOTHING
    """By how much the wall clock is ahead of the truth."""
    awake: float = 1_000.0
    elapsed: float = 1_000.0
    stopping: str = ""
    reload: bool = False
    waits: int = 0
    _plan: list[tuple[datetime, int, Callable[[], object]]] = field(default_factory=list)
    _planned: int = 0
    _woken: bool = False

    @property
    def wall(self) -> datetime:
        return self.true + self.ahead

    def look(self) -> Look:
        return Look(self.wall, self.awake, self.elapsed)

    def plan(self, at: datetime, happening: Callable[[], object]) -> None:
        """Something happens at a true time; what is planned for one instant happens in the order of planning."""
        self._planned += 1
        heapq.heappush(self._plan, (at, self._planned, happening))

    def spend(self, duration: timedelta) -> None:
        """Time passes while something is done; what was to happen meanwhile happens at the next wait."""
        self.true += duration
        self.awake += duration.total_seconds()
        self.elapsed += duration.total_seconds()

    def sleep(self, duration: timedelta) -> None:
        """The machine is suspended."""
        self.true += duration
        self.elapsed += duration.total_seconds()

    def order(self, stop: str = "", *, reload: bool = False) -> None:
        """What a signal does."""
        self.stopping = self.stopping or stop
        self.reload = self.reload or reload
        self._woken = True

    # `Orders`.

    def take_reload(self) -> bool:
        asked, self.reload = self.reload, False
        return asked

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 30.0
        self.waits += 1
        end = self.awake + seconds
        while not self._woken and self._plan:
            at, _, happening = self._plan[0]
            if (at - self.true).total_seconds() > end - self.awake:
                break
            self.spend(max(NOTHING, at - self.true))
            heapq.heappop(self._plan)
            happening()
        if not self._woken:
            self.spend(timedelta(seconds=max(0.0, end - self.awake)))
        self._woken = False


class TroubledStore:
    """The store behind it; `trouble` is told of every method before it is called, and may raise. It is told of each
    transaction's beginning, of its end (`commit`), and when it is kept (`committed`)."""

    def __init__(self, store: Any, trouble: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._store = store
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._trouble(name, arguments)
            return found(*arguments, **named)

        return call

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._trouble("transaction", ())
        with self._store.transaction():
            yield
            self._trouble("commit", ())
        self._trouble("committed", ())


@dataclass(slots=True)
class Postbox:
    """A channel that keeps how many letters it was given, or is down."""

    letters: int = 0
    down: bool = False
    address: str = "a postbox"
    seconds: float = 1.0

    def send(self, letter: Any, deadline: Deadline) -> str:
        if self.down:
            raise ChannelError(Failure.TRANSIENT, "the channel is down")
        self.letters += 1
        return "kept"


def _no_trouble(name: str, arguments: tuple[Any, ...]) -> None:
    """All goes well."""


@dataclass(slots=True)
class Stage:
    """A daemon's surroundings, all of them at hand. Put another roster into `roster` and change `version`, and the file
    is another one."""

    machine: Machine
    folder: Path
    roster: Roster | HeartbeatError
    world: ScriptedWorld
    store: Store = field(default_factory=MemoryStore)
    open_store: Callable[[], AbstractContextManager[Store]] | None = None
    trouble: Callable[[str, tuple[Any, ...]], None] = _no_trouble
    postbox: Postbox = field(default_factory=Postbox)
    version: int = 0
    renewed: int = 0
    said: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    complained: list[str] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    keep_ticks: bool = True
    window: timedelta = NOTHING
    debug: bool = False
    supervisor: Supervisor | None = None
    pinger: Callable[[Loaded], Pinger] = lambda loaded: Pinger("", lambda complaint: None)
    peers: Callable[[Peers], Peers] = lambda peers: peers

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        self.trouble("open", ())
        if self.open_store is not None:
            with self.open_store() as store:
                yield TroubledStore(store, self.trouble)  # type: ignore[misc]
        else:
            yield TroubledStore(self.store, self.trouble)  # type: ignore[misc]

    def _load(self) -> Loaded:
        if isinstance(self.roster, HeartbeatError):
            raise self.roster
        return Loaded(self.roster, {})

    def _signature(self) -> Signature:
        return (0, 0, self.version, 0)

    def _channel(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        return self.postbox  # type: ignore[return-value]

    def _report(self, done: Tick) -> tuple[str, ...]:
        if not self.keep_ticks:
            return ()
        self.ticks.append(done)
        return tuple(f"{beat.agent.id} {beat.receipt.outcome if beat.receipt else 'skipped'}" for beat in done.beats)

    def daemon(self, *names: str) -> Daemon:
        """A daemon that is about to run."""
        peers = Peers(
            self.world.source,
            self.world.writer,
            self._channel,
            self._pause,
            uptime=lambda: Uptime("this boot", self.machine.awake),
        )
        around = Surroundings(
            look=self.machine.look,
            orders=self.machine,
            load=self._load,
            signature=self._signature,
            open_store=self._opened,
            cache=SnapshotCache(self.folder / "snapshots", read_only=True),
            locks=self.folder / "locks",
            renew=self._renew,
            supervisor=self.supervisor or Supervisor("", None, self.complained.append),
            say=self.said.append,
            complain=self.complained.append,
            report=self._report,
            show=self.shown.append,
            pinger=self.pinger,
            peers=self.peers(peers),
            host="here",
            window=self.window,
            debug=self.debug,
        )
        return Daemon(around, names)

    def _renew(self, until: Deadline) -> None:
        self.renewed += 1

    def _pause(self, seconds: float) -> None:
        self.machine.spend(timedelta(seconds=seconds))

    def run(self, until: timedelta, *names: str) -> Daemon:
        """Runs a daemon for so long, true time, and then ends it by an order."""
        self.machine.stopping = ""
        self.machine.plan(self.machine.true + until, lambda: self.machine.order("SIGTERM"))
        daemon = self.daemon(*names)
        daemon.run()
        return daemon

    def change(self, roster: Roster | HeartbeatError) -> None:
        """Somebody saves another roster."""
        self.roster = roster
        self.version += 1

    def slots(self, agent: str) -> list[datetime | None]:
        """The slots of an agent's receipts, oldest first."""
        return [receipt.slot for receipt in reversed(self.store.receipts(agent, limit=100_000))]


def with_agents(roster: Roster, *agents: Any) -> Roster:
    """The roster with these agents instead."""
    return replace(roster, agents={agent.id: agent for agent in agents})
