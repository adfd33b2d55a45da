"""What a state directory tells of the beats, read once, without writing anything and without waiting long.

Whatever cannot be read is data: a `Records` with `trouble`. Nothing here asks a source.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from heartbeat.attempt import Attempt, DeadLetter, Uptime
from heartbeat.belonging import stranger
from heartbeat.breaker import Breaker
from heartbeat.dispatch.uptime import uptime
from heartbeat.errors import StateError
from heartbeat.instants import CLOCK_SKEW, parse_instant
from heartbeat.memory import Memory
from heartbeat.roster.model import Roster
from heartbeat.store.opening import DATABASE, MARKER, open_store_read_only
from heartbeat.store.port import UNFINISHED, EntryState, Receipt, Store, Tombstone
from heartbeat.watch.health import RECENT, Interrupted, Record
from heartbeat.watch.processes import DAEMON, Held, held

PATIENCE = 5.0
"""Seconds that a look waits for somebody who is writing."""

DAY = timedelta(days=1)
_VERSION = slice(60, 64)
"""Where SQLite's header keeps `user_version`, big-endian."""
_BEGAN = re.compile(r" since (\S+)\.$", re.MULTILINE)
"""What the marker tells of when it was made."""
_LARGEST_MARKER = 4096
_LOGGED = 200
"""Entries of the log that are looked at for the end of a daemon."""
DAEMON_ENDED = "daemon-ended"
"""What the log calls the orderly end of a daemon."""
_RUN_OF_READS = 200
"""Receipts that are looked at for how long a source has not been complete."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """How a source was read lately. `status` is the newest receipt's, read at `at`. `since` is when the first of the
    beats in a row began that did not read it completely; `complete_at` is when it was complete last."""

    name: str
    status: str
    at: datetime
    message: str = ""
    since: datetime | None = None
    complete_at: datetime | None = None
    kind: str = ""
    """Why it was not read completely, as a FailureKind."""
    shown: timedelta | None = None
    """How old the earlier read was that stood in for it."""

    @property
    def unread(self) -> bool:
        return self.status in ("failed", "partial")


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """What waits in the outbox. `overdue_since` is when the entry was due that has been due for longest."""

    waiting: int = 0
    overdue_since: datetime | None = None
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of the state directory. `files` is how many more it can hold, None where it does not count."""

    path: Path
    free: int
    files: int | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Database:
    """The file itself. `version` is None where its header cannot be read."""

    path: Path
    size: int | None = None
    version: int | None = None
    aside: tuple[str, ...] = ()
    """Names of the damaged ones that were set aside."""


@dataclass(frozen=True, slots=True)
class Records:
    """What the state directory told at `at`. With `trouble` nothing is known but what is not None; `advice` is what to
    do. `exists` says whether there is a database, or something that belongs to one, or word of one that is gone.
    `memory` is since when there has been one, by the marker beside it; `daemon_ended` when a daemon ended in order
    last, as far as the log's newest entries tell. Both are None where that is not known."""

    at: datetime
    state: Path
    exists: bool = False
    trouble: str = ""
    advice: str = ""
    stranger: StateError | None = None
    """That the state is another team's, where it was asked for a roster: none of its beats is let in."""
    lost: Tombstone | None = None
    memory: datetime | None = None
    daemon_ended: datetime | None = None
    agents: Mapping[str, Record] = field(default_factory=dict)
    sources: tuple[SourceRecord, ...] = ()
    breakers: tuple[Breaker, ...] = ()
    turns: tuple[Attempt, ...] = ()
    """Attempts that have not ended."""
    uptime: Uptime | None = None
    """What the clock showed then that nobody sets."""
    letters: tuple[DeadLetter, ...] = ()
    """Dead letters that are open."""
    outbox: OutboxRecord = OutboxRecord()
    holders: tuple[Held, ...] = ()
    database: Database | None = None
    disk: Disk | None = None

    def record(self, agent: str) -> Record:
        return self.agents.get(agent, Record())

    @property
    def daemon(self) -> Held | None:
        """Who holds the daemon's lock, or held it when it was killed."""
        return next((each for each in self.holders if f"{each.name}.lock" == DAEMON), None)


def read(
    state: Path,
    agents: Iterable[str],
    now: datetime,
    *,
    roster: Roster | None = None,
    patience: float = PATIENCE,
    beats_only: bool = False,
) -> Records:
    """One look; with `beats_only` neither at what beats said of sources and providers, nor at turns and the outbox.
    With a `roster` whether the state is its own (belonging.py). Raises nothing for what the directory is like."""
    names = tuple(agents)
    disk = disk_of(state)
    try:
        holders, database = held(state), _database(state)
        exists = database is not None or (state / MARKER).exists()
        with open_store_read_only(state, busy_timeout=patience) as store:
            lost = store.tombstone()
            records = Records(
                at=now,
                state=state,
                exists=exists or lost is not None,
                stranger=None if roster is None else stranger(store, roster, now),
                lost=lost,
                memory=_memory_since(state / MARKER),
                daemon_ended=_daemon_ended(store),
                agents=_agents(store, names, {each.name: each for each in holders}, now),
                sources=() if beats_only else _sources(store),
                breakers=() if beats_only else tuple(store.breakers().values()),
                turns=() if beats_only else store.attempts(unfinished=True),
                uptime=uptime(),
                letters=() if beats_only else store.letters(open_only=True),
                outbox=OutboxRecord() if beats_only else _outbox(store, now),
                holders=holders,
                database=database,
                disk=disk,
            )
    except StateError as error:
        return Records(now, state, exists=True, trouble=str(error), advice=error.advice, disk=disk)
    except OSError as error:
        where = error.filename or state
        advice = "check the directory, its owner and its disk"
        return Records(now, state, exists=True, trouble=f"{where}: {error.strerror or error}", advice=advice, disk=disk)
    return records


def _agents(store: Store, names: Iterable[str], holders: Mapping[str, Held], now: datetime) -> Mapping[str, Record]:
    missed: dict[str, int] = {}
    for miss in store.misses(since=now - DAY):
        missed[miss.agent] = missed.get(miss.agent, 0) + miss.count
    memory, lost = Memory(pauses=store.pauses()), store.tombstone() is not None
    last = store.last_beats()
    return {
        name: Record(
            receipts=_receipts(store, name, now, last.get(name)),
            running=holders[name].at_work if name in holders else None,
            missed=missed.get(name, 0),
            pause=memory.paused(name, now),
            forgotten=lost,
            interrupted=_interrupted(store, name),
        )
        for name in names
    }


def _receipts(store: Store, agent: str, now: datetime, last: Receipt | None) -> tuple[Receipt, ...]:
    """The newest; more of them where they all lie in the future, so that one is found from before the clock was set
    back. `last` is the newest, however many were ended from outside after it."""
    newest = store.receipts(agent, RECENT)
    found = _whole(newest)
    if len(found) < len(newest):
        found = _whole(store.receipts(agent, 100 * RECENT))[:RECENT]
    if not found and last is not None:
        found = (last,)
    if len(found) == RECENT and all(receipt.started_at > now + CLOCK_SKEW for receipt in found):
        every = _whole(store.receipts(agent, 100 * RECENT))
        past = (receipt for receipt in every if receipt.started_at <= now + CLOCK_SKEW)
        found = (found[0], *islice(past, RECENT))
    return found


def _whole(receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Those that say how a beat went: one that was ended from outside is no beat, and the next took its place."""
    return tuple(receipt for receipt in receipts if receipt.outcome != "interrupted")


def _interrupted(store: Store, agent: str) -> Interrupted | None:
    """Those that were ended from outside since the last one that was not, as far back as is looked."""
    last = store.last_receipt(agent)
    if last is None or last.outcome != "interrupted":
        return None
    row = tuple(takewhile(lambda receipt: receipt.outcome == "interrupted", store.receipts(agent, 100 * RECENT)))
    return Interrupted(len(row), min(receipt.started_at for receipt in row), last)


def _sources(store: Store) -> tuple[SourceRecord, ...]:
    """The sources of the newest receipt that tells of any, in its order."""
    receipts = [receipt for receipt in store.receipts(limit=_RUN_OF_READS) if receipt.sources]
    if not receipts:
        return ()
    newest = receipts[0]
    return tuple(
        _source(str(source.get("name")), source, newest, receipts, store.last_complete(str(source.get("name"))))
        for source in newest.sources
    )


def _source(
    name: str, told: Mapping[str, Any], newest: Receipt, receipts: Iterable[Receipt], complete_at: datetime | None
) -> SourceRecord:
    age = told.get("age_seconds")
    found = SourceRecord(
        name,
        str(told.get("status")),
        newest.started_at,
        str(told.get("message") or ""),
        complete_at=complete_at,
        kind=str(told.get("kind") or ""),
        shown=timedelta(seconds=age) if isinstance(age, int | float) and told.get("status") == "failed" else None,
    )
    if not found.unread:
        return found
    since = newest.started_at
    for receipt in receipts:
        status = next((each.get("status") for each in receipt.sources if each.get("name") == name), None)
        if status is not None and status not in ("failed", "partial"):
            break
        since = min(since, receipt.started_at)
    return replace(found, since=since)


def _outbox(store: Store, now: datetime) -> OutboxRecord:
    waiting = store.entries(states=UNFINISHED)
    overdue = [entry.due_at for entry in waiting if entry.due_at <= now]
    dead = store.entries(states=frozenset({EntryState.DEAD}))
    return OutboxRecord(len(waiting), min(overdue, default=None), len(dead))


def _daemon_ended(store: Store) -> datetime | None:
    ends = [entry.at for entry in store.log(limit=_LOGGED) if entry.action == DAEMON_ENDED]
    return ends[-1] if ends else None


def _memory_since(marker: Path) -> datetime | None:
    try:
        with marker.open(encoding="utf-8", errors="replace") as file:
            found = _BEGAN.search(file.read(_LARGEST_MARKER))
    except OSError:
        return None
    return None if found is None else parse_instant(found[1])


def _database(state: Path) -> Database | None:
    """The file, or what is left of one; None where there is neither."""
    path = state / DATABASE
    aside = tuple(
        sorted(each.name for each in state.glob(f"{DATABASE}.corrupt-*") if not each.name.endswith("-journal"))
    )
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Database(path, aside=aside) if aside else None
    return Database(path, status.st_size, _version(path) if stat.S_ISREG(status.st_mode) else None, aside)


def _version(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            header = file.read(_VERSION.stop)
    except OSError:
        return None
    return int.from_bytes(header[_VERSION]) if len(header) == _VERSION.stop else None


def disk_of(state: Path) -> Disk | None:
    """The file system that the directory is on, or will be; None where nobody can tell."""
    for path in chain((state,), state.parents):
        try:
            found = os.statvfs(path)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        files = found.f_favail if found.f_files else None
        return Disk(path, found.f_bavail * found.f_frsize, files, bool(found.f_flag & os.ST_RDONLY))
    return None
