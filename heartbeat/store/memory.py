"""The store's twin in memory: simulations, dry runs, and the stand-in where there is no database yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from heartbeat.store.port import (
    SIGHTING_REFRESH,
    Link,
    Receipt,
    Tombstone,
    refuse_write,
    settled,
    utc,
)
from heartbeat.task import Ref


@dataclass(slots=True)
class _Memory:
    receipts: dict[str, Receipt] = field(default_factory=dict)
    """By id, in the order in which they were recorded."""
    links: dict[tuple[Ref, Ref], Link] = field(default_factory=dict)
    sightings: dict[Ref, tuple[datetime, datetime]] = field(default_factory=dict)
    """First seen, last seen."""
    completions: dict[tuple[str, str], datetime] = field(default_factory=dict)
    tombstone: Tombstone | None = None

    def copy(self) -> _Memory:
        return _Memory(
            dict(self.receipts), dict(self.links), dict(self.sightings), dict(self.completions), self.tombstone
        )


class MemoryStore:
    """Fulfils `Store` and gives the same answers as SQLite, until the process ends."""

    def __init__(
        self, *, read_only: bool = False, tombstone: Tombstone | None = None, where: str = "the state in memory"
    ) -> None:
        self._read_only = read_only
        self._where = where
        self._memory = _Memory(
            tombstone=None if tombstone is None else replace(tombstone, at=utc(tombstone.at)),
        )
        self._before: _Memory | None = None

    @property
    def read_only(self) -> bool:
        return self._read_only

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._refuse_if_read_only()
        if self._before is not None:
            raise RuntimeError("a transaction is open already; they do not nest")
        self._before = self._memory.copy()
        try:
            yield
        except BaseException:
            self._memory = self._before
            raise
        finally:
            self._before = None

    def add_receipt(self, receipt: Receipt) -> None:
        self._refuse_if_read_only()
        kept = settled(receipt)
        if kept.id in self._memory.receipts:
            raise ValueError(f"receipt {kept.id!r} is recorded already")
        self._memory.receipts[kept.id] = kept

    def receipts(self, agent: str | None = None, limit: int = 50, since: datetime | None = None) -> tuple[Receipt, ...]:
        start = None if since is None else utc(since)
        found = [
            receipt
            for receipt in self._newest_first()
            if (agent is None or receipt.agent == agent) and (start is None or receipt.started_at >= start)
        ]
        return tuple(found[: max(0, limit)])

    def last_receipt(self, agent: str) -> Receipt | None:
        return next((receipt for receipt in self._newest_first() if receipt.agent == agent), None)

    def last_receipts(self) -> Mapping[str, Receipt]:
        return {receipt.agent: receipt for receipt in self._memory.receipts.values()}

    def remember_links(self, links: Iterable[Link]) -> None:
        self._refuse_if_read_only()
        new = [replace(link, made_at=utc(link.made_at)) for link in links]
        for link in new:
            self._memory.links.setdefault((link.first, link.second), link)

    def links(self) -> tuple[Link, ...]:
        return tuple(self._memory.links[pair] for pair in sorted(self._memory.links))

    def note_sightings(self, refs: Iterable[Ref], at: datetime) -> None:
        self._refuse_if_read_only()
        instant = utc(at)
        for ref in tuple(refs):
            first, last = self._memory.sightings.get(ref, (instant, instant))
            self._memory.sightings[ref] = (first, instant if instant - last >= SIGHTING_REFRESH else last)

    def first_seen(self, refs: Iterable[Ref]) -> Mapping[Ref, datetime]:
        known = self._memory.sightings
        return {ref: known[ref][0] for ref in refs if ref in known}

    def note_complete(self, source: str, identity: str, at: datetime) -> None:
        self._refuse_if_read_only()
        self._memory.completions[source, identity] = utc(at)

    def last_complete(self, source: str) -> datetime | None:
        return max((at for (name, _), at in self._memory.completions.items() if name == source), default=None)

    def tombstone(self) -> Tombstone | None:
        return self._memory.tombstone

    def accept_tombstone(self, by: str, at: datetime) -> Tombstone | None:
        self._refuse_if_read_only()
        utc(at)
        accepted, self._memory.tombstone = self._memory.tombstone, None
        return accepted

    def forget_before(self, instant: datetime) -> int:
        self._refuse_if_read_only()
        limit = utc(instant)
        newest = {receipt.id for receipt in self.last_receipts().values()}
        receipts = {
            id_: kept for id_, kept in self._memory.receipts.items() if kept.started_at >= limit or id_ in newest
        }
        sightings = {ref: seen for ref, seen in self._memory.sightings.items() if seen[1] >= limit}
        gone = len(self._memory.receipts) - len(receipts) + len(self._memory.sightings) - len(sightings)
        self._memory.receipts, self._memory.sightings = receipts, sightings
        return gone

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _newest_first(self) -> Iterator[Receipt]:
        return reversed(self._memory.receipts.values())

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise refuse_write(self._where)
