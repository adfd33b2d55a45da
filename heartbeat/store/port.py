"""What a store keeps, as plain frozen data, and the protocol that every store fulfils.

Two stores fulfil it, and one suite proves both: `SqliteStore` for real work, `MemoryStore` for simulations and dry
runs. Foreign text may hold anything a Python string can, lone surrogates and NULs too, and comes back as it went in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from heartbeat.errors import StateError
from heartbeat.memory import Clock, Hold, Incident, Miss, Pause, Rounds, Window
from heartbeat.store.turns import Turns
from heartbeat.task import Ref

Outcome = Literal["done", "degraded", "failed", "skipped", "interrupted"]
"""`interrupted`: ended from outside before it was done. It answers no slot, and another beat takes its place."""

SIGHTING_REFRESH = timedelta(days=1)
"""How old `last seen` must be before it is written again: daily is enough for retention and keeps commits few."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one beat of one agent did (rules S10, B2). The mappings hold plain JSON values only.

    `sources`: one `{name, status, transport, kind, message, items, age_seconds, agents}` a source. `buckets`: items by
    where they went. `rejected`: records that could not be read, raw text kept. `slot`: the latest due instant at the
    beat's start, which it answers; None where the agent has none. `dispatch`: what was decided about starting work,
    `{decision, reason, told, task, dispatch, provider}`; empty where that was not asked. `level`: `L0` to `L3` (rule
    G1), and why; empty where it was not computed. `first`: the agent's first of all, and so never late: its slot may
    have come before anybody beat here. `rhythm`: what decided the agent's slots then (schedule/slots.py); empty in
    receipts of old.
    """

    id: str
    agent: str
    slot: datetime | None
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    degraded: bool
    sources: tuple[Mapping[str, Any], ...] = ()
    buckets: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[Mapping[str, Any], ...] = ()
    reasons: tuple[str, ...] = ()
    version: str = ""
    host: str = ""
    pid: int = 0
    dispatch: Mapping[str, Any] = field(default_factory=dict)
    level: str = ""
    level_reasons: tuple[str, ...] = ()
    first: bool = False
    rhythm: str = ""

    @property
    def late(self) -> timedelta | None:
        """How long after its slot the beat began (rule B2); None where it answers none, or is the agent's first."""
        return None if self.slot is None or self.first else self.started_at - self.slot


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose state this is: the roster that beat here last, by its path as it was given, and its agents, sorted."""

    path: str
    agents: tuple[str, ...]
    since: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """Two refs that were found to be one task, and how (rule M4). Undirected: `first` is always the smaller ref."""

    first: Ref
    second: Ref
    via: str
    made_at: datetime

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ValueError(f"{self.first} cannot be linked to itself")
        if self.second < self.first:
            smaller, larger = self.second, self.first
            object.__setattr__(self, "first", smaller)
            object.__setattr__(self, "second", larger)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What was known before is gone (rule B7): until an operator accepts that, the tool only observes."""

    at: datetime
    reason: str
    quarantined: str | None = None
    """Where the damaged database was put, if there was one."""


class EntryKind(StrEnum):
    """What waits in the outbox: a write to a source, a message to a channel, a message for an agent's next worklist, a
    command of the operator's that follows a turn."""

    WRITE = "write"
    MESSAGE = "message"
    INBOX = "inbox"
    HOOK = "hook"


class EntryState(StrEnum):
    """`claimed` is an attempt whose end is not known yet; found without its process, its outcome is unknown (I4)."""

    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    CONFLICT = "conflict"
    DEAD = "dead"
    DROPPED = "dropped"


UNFINISHED = frozenset({EntryState.PENDING, EntryState.CLAIMED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One effect on the world, on record before it happens (rule L4, invariant I4).

    `key` is its idempotency key. `target` is the source, the channel, or the agent. `payload` is plain JSON.
    `task` is the task's key; `incident` the incident's id; both may be empty. `result` says what came of it.
    """

    key: str
    kind: EntryKind
    target: str
    payload: Mapping[str, Any]
    created_at: datetime
    due_at: datetime
    task: str = ""
    incident: str = ""
    state: EntryState = EntryState.PENDING
    attempts: int = 0
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""
    result: str = ""

    @property
    def summary(self) -> str:
        """What it does, in a few words: the operation, or the title of a message; never a whole text."""
        write = self.payload.get("write")
        if isinstance(write, dict):
            return f"{str(write.get('operation', 'write')).replace('_', ' ')} on {self.target}"
        if self.kind is EntryKind.HOOK:
            return f"run {self.target} after a turn"
        title = str(self.payload.get("title", ""))
        return f"tell {self.target}: {title}" if title else f"tell {self.target}"

    def is_due(self, now: datetime) -> bool:
        """Whether its time has come. What was made later than now waits for no clock that was set back (rule B6)."""
        return self.due_at <= now or self.created_at > now


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that heartbeat decided or did. `action` is a stable word; `sequence` is the store's, 0 before."""

    at: datetime
    action: str
    message: str
    agent: str = ""
    task: str = ""
    incident: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    sequence: int = 0


class Store(Turns, Protocol):
    """The memory between beats. Times must be aware (ValueError otherwise) and come back in UTC.

    Every method may raise StateError: locked for too long, disk full, damaged. A store that was opened for looking
    raises it on every write. A store belongs to the thread that opened it.
    """

    @property
    def read_only(self) -> bool: ...

    def transaction(self) -> AbstractContextManager[None]:
        """Everything written inside is kept together or, on any exception, not at all; one commit (rule B2).

        Writes outside one commit by themselves. Does not nest: RuntimeError.
        """
        ...

    def add_receipt(self, receipt: Receipt) -> None:
        """Raises ValueError where the id is taken or the receipt holds what JSON cannot."""
        ...

    def receipts(self, agent: str | None = None, limit: int = 50, since: datetime | None = None) -> tuple[Receipt, ...]:
        """At most `limit` receipts, newest first, of one agent or of all, started at `since` or later.

        Newest is what was recorded last: a clock that once ran ahead cannot keep its receipt on top for years.
        """
        ...

    def last_receipt(self, agent: str) -> Receipt | None: ...

    def last_receipts(self) -> Mapping[str, Receipt]:
        """The newest receipt of each agent that has one, by agent id."""
        ...

    def last_beats(self) -> Mapping[str, Receipt]:
        """The newest receipt of each agent that was not interrupted, by agent id."""
        ...

    def began_between(self, since: datetime, until: datetime) -> bool:
        """Whether any beat on record began within, both ends included."""
        ...

    def belonging(self) -> Belonging | None:
        """Whose state this is; None where nobody has beaten since that is kept."""
        ...

    def note_belonging(self, belonging: Belonging) -> None:
        """In place of what was kept."""
        ...

    def slot_taken(self, agent: str, slot: datetime) -> bool:
        """Whether a receipt answers this very slot (invariant I6)."""
        ...

    def last_slot(self, agent: str, until: datetime) -> datetime | None:
        """The latest slot, not after `until`, that is on record: with a receipt, or within a miss (rule B2)."""
        ...

    def note_misses(self, misses: Iterable[Miss]) -> None:
        """Keeps each; one with the same agent and first slot is replaced."""
        ...

    def misses(
        self, agent: str | None = None, *, since: datetime | None = None, limit: int | None = None
    ) -> tuple[Miss, ...]:
        """The latest slots first; with `since` those whose last slot is not earlier."""
        ...

    def remember_links(self, links: Iterable[Link]) -> None:
        """Keeps those whose pair is new; a pair that is known keeps its first `via` and `made_at`."""
        ...

    def links(self) -> tuple[Link, ...]:
        """Every link, ordered by pair."""
        ...

    def note_sightings(self, refs: Iterable[Ref], at: datetime) -> None:
        """Starts the clock of refs never seen before (rules S8, T9); tells retention that the others still exist."""
        ...

    def first_seen(self, refs: Iterable[Ref]) -> Mapping[Ref, datetime]:
        """When those of `refs` that were ever noted were first seen."""
        ...

    def note_complete(self, source: str, identity: str, at: datetime) -> None:
        """Remembers that a source was read completely (rule S1a). `identity` says what was read; no secret."""
        ...

    def last_complete(self, source: str) -> datetime | None:
        """The latest complete read of a source under any identity; None where there never was one."""
        ...

    def tombstone(self) -> Tombstone | None:
        """What no operator has accepted yet (rule B7)."""
        ...

    def accept_tombstone(self, by: str, at: datetime) -> Tombstone | None:
        """The operator's word that work may go on; returns what was accepted, None where nothing stood."""
        ...

    def forget_before(self, instant: datetime) -> int:
        """Retention: drops receipts that started earlier, except each agent's newest, its newest that answers a slot,
        and the one with its latest slot, which need not be the same where a clock once ran ahead: forgotten, that slot
        could be answered again (invariant I6). Besides, refs last noted earlier; log entries, own writes, ended
        incidents, finished outbox entries and windows that ended earlier, holds and pauses that ran out earlier; misses
        whose last slot is earlier; clocks last seen earlier; dead letters closed earlier; and rounds when the newest of
        all that is known of their item is earlier: its turn, slot, progress, warning, pause, sighting and clock. Rounds
        that nothing dates stay. Own writes on a ref stay, however old, while it has a clock or stands in an open
        incident: its source still shows them, and forgotten they would be somebody else's (rule T2). Attempts of which
        every time is earlier go when they have ended, unless an open dead letter names them or is what they replayed.

        Returns how many rows went. `last seen` is refreshed daily, so keep at least two days. Links, complete reads,
        tombstones, breakers, open incidents, open dead letters, unfinished entries and unfinished attempts stay.
        """
        ...

    def clocks(self) -> Mapping[Ref, Clock]: ...

    def put_clocks(self, clocks: Iterable[Clock]) -> None:
        """Keeps each, in place of what was kept for its ref."""
        ...

    def drop_clocks(self, refs: Iterable[Ref]) -> None: ...

    def windows(self) -> Mapping[str, tuple[Window, ...]]:
        """Each source's windows, earliest first."""
        ...

    def put_windows(self, source: str, windows: Iterable[Window]) -> None:
        """All windows of a source, in place of those that were kept."""
        ...

    def note_own(self, ref: Ref, ids: Iterable[str], at: datetime) -> None:
        """Evidence that is our own writes (rule T2); known ids stay as they are."""
        ...

    def own(self) -> frozenset[tuple[Ref, str]]: ...

    def note_waiting(self, waiting: Mapping[tuple[Ref, str], datetime]) -> None:
        """All waits that stand (rule D4), in place of those that were kept."""
        ...

    def waiting(self) -> Mapping[tuple[Ref, str], datetime]: ...

    def put_incident(self, incident: Incident) -> None:
        """Keeps it, in place of what was kept under its id."""
        ...

    def incidents(self, *, open_only: bool = False, since: datetime | None = None) -> tuple[Incident, ...]:
        """Newest first by opening; with `since` the open ones and those opened at or after it."""
        ...

    def rounds(self) -> Mapping[Ref, Rounds]: ...

    def put_rounds(self, rounds: Iterable[Rounds]) -> None:
        """Keeps each; `used` and `extra` never go down, whatever is given (rule C1, invariant I8)."""
        ...

    def holds(self) -> Mapping[Ref, Hold]: ...

    def put_hold(self, hold: Hold) -> None: ...

    def drop_hold(self, ref: Ref) -> bool:
        """Whether there was one."""
        ...

    def pauses(self) -> tuple[Pause, ...]:
        """One an agent at most, by agent."""
        ...

    def put_pause(self, pause: Pause) -> None: ...

    def drop_pause(self, agent: str) -> bool:
        """Whether there was one."""
        ...

    def enqueue(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        """Keeps those whose key is new, and returns their keys; a key that is known stays as it is (rule L4)."""
        ...

    def entry(self, key: str) -> Entry | None: ...

    def entries(
        self,
        *,
        kind: EntryKind | None = None,
        states: frozenset[EntryState] | None = None,
        target: str | None = None,
        incident: str | None = None,
        due_by: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Entry, ...]:
        """Earliest created first; `due_by` leaves out those that are due later, `incident` those of other incidents
        and of none. An empty `incident` asks for those of none."""
        ...

    def claim_entry(self, key: str, at: datetime) -> Entry | None:
        """Sets an unfinished entry `claimed`, counts the attempt, and returns it as it was before the claim; None where
        it is finished or gone. Of two callers at once one gets a `pending` entry, the other a `claimed` one."""
        ...

    def settle_entry(
        self,
        key: str,
        state: EntryState,
        at: datetime,
        *,
        error: str = "",
        result: str = "",
        due_at: datetime | None = None,
    ) -> None:
        """How an attempt ended; PENDING with `due_at` to try again then. KeyError for an unknown key."""
        ...

    def add_log(self, entries: Iterable[LogEntry]) -> None: ...

    def log(
        self, *, after: int = 0, limit: int | None = None, agent: str | None = None, task: str | None = None
    ) -> tuple[LogEntry, ...]:
        """Entries with a greater sequence than `after`, the newest `limit` of them, oldest first."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def refuse_write(where: str) -> StateError:
    """What a store that was opened for looking raises on a write."""
    return StateError(
        f"{where} was opened for reading only and something tried to write to it; nothing was changed",
        advice="run the command without --dry-run, on a state directory that can be written",
    )
