"""What the daemon's loop takes from outside: clocks, orders, the roster, the store, the world, and who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from heartbeat.beat import Tick
from heartbeat.daemon.clocks import Look
from heartbeat.daemon.orders import Orders
from heartbeat.daemon.roster_file import Signature
from heartbeat.daemon.supervisor import Supervisor
from heartbeat.deadline import Deadline
from heartbeat.peers import Peers
from heartbeat.roster.model import Roster
from heartbeat.store.port import LogEntry, Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.watch.ping import Pinger


@dataclass(frozen=True, slots=True)
class Loaded:
    """A roster, and the environment that it is used with."""

    roster: Roster
    environment: Mapping[str, str]


def _no_lines(done: Tick) -> Sequence[str]:
    return ()


def _no_show(line: str) -> None:
    """Where nobody reads."""


def _no_pings(loaded: Loaded) -> Pinger:
    """Where nobody rings when beats stop coming."""
    return Pinger("", lambda complaint: None)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loop uses, and whom it tells."""

    look: Callable[[], Look]
    orders: Orders
    load: Callable[[], Loaded]
    """Reads the roster anew. Raises UsageError, RosterError."""
    signature: Callable[[], Signature | None]
    """Of the roster's file."""
    open_store: Callable[[], AbstractContextManager[Store]]
    cache: SnapshotCache
    locks: Path
    renew: Callable[[Deadline], None]
    """Puts off the time at which another daemon may take our place (see beside.only_daemon). Called at every step."""
    supervisor: Supervisor
    say: Callable[[str], None]
    """A line about what goes well."""
    complain: Callable[[str], None]
    """A line about what does not."""
    report: Callable[[Tick], Sequence[str]] = _no_lines
    """The lines that a tick deserves."""
    show: Callable[[str], None] = _no_show
    """Puts out one of them, as it is."""
    pinger: Callable[[Loaded], Pinger] = _no_pings
    """The dead-man's pings of one sweep."""
    peers: Peers = field(default_factory=Peers)
    host: str = ""
    window: timedelta = timedelta(0)
    """How far beats are spread at most (see agenda.Jitter)."""
    before: Sequence[LogEntry] = ()
    """What happened before the loop began, for the log."""
    debug: bool = False
    """Whether to say where an error came from."""
