"""What a store keeps, as plain frozen data, and the protocol that every store fulfils.

Two stores fulfil it, and one suite proves both: `SqliteStore` for real work, `MemoryStore` for simulations and dry
runs. Foreign text may hold anything a Python string can, lone surrogates and NULs too, and comes back as it went in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from heartbeat.errors import StateError
from heartbeat.task import Ref

Outcome = Literal["done", "degraded", "failed", "skipped"]

SIGHTING_REFRESH = timedelta(days=1)
"""How old `last seen` must be before it is written again: daily is enough for retention and keeps commits few."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one beat of one agent did (rules S10, B2). The mappings hold plain JSON values only.

    `sources`: one `{name, status, transport, kind, message, items, age_seconds}` a source. `buckets`: items by where
    they went. `rejected`: records that could not be read, raw text kept. `slot`: the latest due instant at the beat's
    start, which it answers; None where the agent has none.
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


class Store(Protocol):
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
        """Retention: drops receipts that started earlier, except each agent's newest, and refs last noted earlier.

        Returns how many rows went. `last seen` is refreshed daily, so keep at least two days. Links, complete reads
        and tombstones stay.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def utc(instant: datetime) -> datetime:
    """The same instant in UTC; raises ValueError for a time without a zone, which would be guessed as local."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.astimezone(UTC)


def settled(receipt: Receipt) -> Receipt:
    """The receipt as every store gives it back: times in UTC, plain JSON inside. Raises ValueError."""
    return replace(
        receipt,
        slot=None if receipt.slot is None else utc(receipt.slot),
        started_at=utc(receipt.started_at),
        ended_at=utc(receipt.ended_at),
        sources=tuple(from_json(to_json(receipt.sources))),
        buckets=from_json(to_json(receipt.buckets)),
        rejected=tuple(from_json(to_json(receipt.rejected))),
        reasons=tuple(receipt.reasons),
    )


def to_json(value: object) -> str:
    """Compact JSON text; mappings and tuples become objects and arrays. Raises ValueError for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except TypeError as error:
        raise ValueError(f"a receipt holds plain JSON only: {error}") from error


def from_json(text: str) -> Any:
    return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def refuse_write(where: str) -> StateError:
    """What a store that was opened for looking raises on a write."""
    return StateError(
        f"{where} was opened for reading only and something tried to write to it; nothing was changed",
        advice="run the command without --dry-run, on a state directory that can be written",
    )
