"""The store's twin in memory: simulations, dry runs, and the stand-in where there is no database yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self

from heartbeat.memory import Clock, Hold, Incident, Miss, Pause, Rounds, Window
from heartbeat.store.canonical import settled, utc
from heartbeat.store.contents import Contents, kept
from heartbeat.store.memory_turns import TurnsInMemory
from heartbeat.store.port import (
    SIGHTING_REFRESH,
    UNFINISHED,
    Belonging,
    Entry,
    EntryKind,
    EntryState,
    Link,
    LogEntry,
    Receipt,
    Tombstone,
    refuse_write,
)
from heartbeat.task import Ref


class MemoryStore(TurnsInMemory):
    """Fulfils `Store` and gives the same answers as SQLite, until the process ends."""

    def __init__(
        self, *, read_only: bool = False, tombstone: Tombstone | None = None, where: str = "the state in memory"
    ) -> None:
        self._read_only = read_only
        self._where = where
        self._contents = Contents(
            tombstone=None if tombstone is None else replace(tombstone, at=utc(tombstone.at)),
        )
        self._before: Contents | None = None

    @property
    def read_only(self) -> bool:
        return self._read_only

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._refuse_if_read_only()
        if self._before is not None:
            raise RuntimeError("a transaction is open already; they do not nest")
        self._before = self._contents.copy()
        try:
            yield
        except BaseException:
            self._contents = self._before
            raise
        finally:
            self._before = None

    def add_receipt(self, receipt: Receipt) -> None:
        self._refuse_if_read_only()
        recorded = settled(receipt)
        if recorded.id in self._contents.receipts:
            raise ValueError(f"receipt {recorded.id!r} is recorded already")
        self._contents.receipts[recorded.id] = recorded

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
        return self._contents.newest_receipts()

    def last_beats(self) -> Mapping[str, Receipt]:
        found: dict[str, Receipt] = {}
        for receipt in self._newest_first():
            if receipt.outcome != "interrupted":
                found.setdefault(receipt.agent, receipt)
        return found

    def began_between(self, since: datetime, until: datetime) -> bool:
        first, last = utc(since), utc(until)
        return any(first <= receipt.started_at <= last for receipt in self._newest_first())

    def belonging(self) -> Belonging | None:
        return self._contents.belonging

    def note_belonging(self, belonging: Belonging) -> None:
        self._refuse_if_read_only()
        self._contents.belonging = kept(belonging)

    def slot_taken(self, agent: str, slot: datetime) -> bool:
        asked = utc(slot)
        return any(receipt.agent == agent and receipt.slot == asked for receipt in self._contents.receipts.values())

    def last_slot(self, agent: str, until: datetime) -> datetime | None:
        limit = utc(until)
        answered = (
            receipt.slot
            for receipt in self._contents.receipts.values()
            if receipt.agent == agent and receipt.slot is not None and receipt.slot <= limit
        )
        return max((*answered, *self._missed(agent, limit)), default=None)

    def note_misses(self, misses: Iterable[Miss]) -> None:
        self._refuse_if_read_only()
        self._contents.misses |= {(miss.agent, miss.first): miss for miss in map(kept, misses)}

    def misses(
        self, agent: str | None = None, *, since: datetime | None = None, limit: int | None = None
    ) -> tuple[Miss, ...]:
        start = None if since is None else utc(since)
        found = [
            miss
            for miss in self._contents.misses.values()
            if (agent is None or miss.agent == agent) and (start is None or miss.last >= start)
        ]
        by_agent = sorted(found, key=lambda miss: (miss.agent, miss.first))
        newest = sorted(by_agent, key=lambda miss: miss.last, reverse=True)
        return tuple(newest[: None if limit is None else max(0, limit)])

    def remember_links(self, links: Iterable[Link]) -> None:
        self._refuse_if_read_only()
        new = [replace(link, made_at=utc(link.made_at)) for link in links]
        for link in new:
            self._contents.links.setdefault((link.first, link.second), link)

    def links(self) -> tuple[Link, ...]:
        return tuple(self._contents.links[pair] for pair in sorted(self._contents.links))

    def note_sightings(self, refs: Iterable[Ref], at: datetime) -> None:
        self._refuse_if_read_only()
        instant = utc(at)
        for ref in tuple(refs):
            first, last = self._contents.sightings.get(ref, (instant, instant))
            self._contents.sightings[ref] = (first, instant if instant - last >= SIGHTING_REFRESH else last)

    def first_seen(self, refs: Iterable[Ref]) -> Mapping[Ref, datetime]:
        known = self._contents.sightings
        return {ref: known[ref][0] for ref in refs if ref in known}

    def note_complete(self, source: str, identity: str, at: datetime) -> None:
        self._refuse_if_read_only()
        self._contents.completions[source, identity] = utc(at)

    def last_complete(self, source: str) -> datetime | None:
        return max((at for (name, _), at in self._contents.completions.items() if name == source), default=None)

    def tombstone(self) -> Tombstone | None:
        return self._contents.tombstone

    def accept_tombstone(self, by: str, at: datetime) -> Tombstone | None:
        self._refuse_if_read_only()
        utc(at)
        accepted, self._contents.tombstone = self._contents.tombstone, None
        return accepted

    def clocks(self) -> Mapping[Ref, Clock]:
        return dict(self._contents.clocks)

    def put_clocks(self, clocks: Iterable[Clock]) -> None:
        self._refuse_if_read_only()
        self._contents.clocks |= {clock.ref: clock for clock in map(kept, clocks)}

    def drop_clocks(self, refs: Iterable[Ref]) -> None:
        self._refuse_if_read_only()
        for ref in tuple(refs):
            self._contents.clocks.pop(ref, None)

    def windows(self) -> Mapping[str, tuple[Window, ...]]:
        return dict(self._contents.windows)

    def put_windows(self, source: str, windows: Iterable[Window]) -> None:
        self._refuse_if_read_only()
        given = sorted(map(kept, windows), key=lambda window: (window.began, window.until))
        self._contents.windows.pop(source, None)
        if given:
            self._contents.windows[source] = tuple(given)

    def note_own(self, ref: Ref, ids: Iterable[str], at: datetime) -> None:
        self._refuse_if_read_only()
        noted = utc(at)
        for id_ in tuple(ids):
            self._contents.own.setdefault((ref, id_), noted)

    def own(self) -> frozenset[tuple[Ref, str]]:
        return frozenset(self._contents.own)

    def note_waiting(self, waiting: Mapping[tuple[Ref, str], datetime]) -> None:
        self._refuse_if_read_only()
        self._contents.waiting = {wait: utc(since) for wait, since in waiting.items()}

    def waiting(self) -> Mapping[tuple[Ref, str], datetime]:
        return dict(self._contents.waiting)

    def put_incident(self, incident: Incident) -> None:
        self._refuse_if_read_only()
        self._contents.incidents[incident.id] = kept(incident)

    def incidents(self, *, open_only: bool = False, since: datetime | None = None) -> tuple[Incident, ...]:
        start = None if since is None else utc(since)
        found = [
            incident
            for incident in self._contents.incidents.values()
            if incident.open or (not open_only and (start is None or incident.opened_at >= start))
        ]
        return tuple(sorted(found, key=lambda incident: (incident.opened_at, incident.id), reverse=True))

    def rounds(self) -> Mapping[Ref, Rounds]:
        return dict(self._contents.rounds)

    def put_rounds(self, rounds: Iterable[Rounds]) -> None:
        self._refuse_if_read_only()
        for given in [kept(each) for each in rounds]:
            before = self._contents.rounds.get(given.ref, Rounds(given.ref))
            used, extra = max(before.used, given.used), max(before.extra, given.extra)
            self._contents.rounds[given.ref] = replace(given, used=used, extra=extra)

    def holds(self) -> Mapping[Ref, Hold]:
        return dict(self._contents.holds)

    def put_hold(self, hold: Hold) -> None:
        self._refuse_if_read_only()
        self._contents.holds[hold.ref] = kept(hold)

    def drop_hold(self, ref: Ref) -> bool:
        self._refuse_if_read_only()
        return self._contents.holds.pop(ref, None) is not None

    def pauses(self) -> tuple[Pause, ...]:
        return tuple(self._contents.pauses[agent] for agent in sorted(self._contents.pauses))

    def put_pause(self, pause: Pause) -> None:
        self._refuse_if_read_only()
        self._contents.pauses[pause.agent] = kept(pause)

    def drop_pause(self, agent: str) -> bool:
        self._refuse_if_read_only()
        return self._contents.pauses.pop(agent, None) is not None

    def enqueue(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        self._refuse_if_read_only()
        new: dict[str, Entry] = {}
        for entry in map(kept, entries):
            if entry.key not in self._contents.outbox:
                new.setdefault(entry.key, entry)
        self._contents.outbox |= new
        return tuple(new)

    def entry(self, key: str) -> Entry | None:
        return self._contents.outbox.get(key)

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
        due = None if due_by is None else utc(due_by)
        found = [
            entry
            for entry in self._contents.outbox.values()
            if (kind is None or entry.kind is kind)
            and (states is None or entry.state in states)
            and (target is None or entry.target == target)
            and (incident is None or entry.incident == incident)
            and (due is None or entry.due_at <= due)
        ]
        return tuple(sorted(found, key=lambda entry: entry.created_at)[: None if limit is None else max(0, limit)])

    def claim_entry(self, key: str, at: datetime) -> Entry | None:
        self._refuse_if_read_only()
        claimed_at = utc(at)
        found = self._contents.outbox.get(key)
        if found is None or found.state not in UNFINISHED:
            return None
        self._contents.outbox[key] = replace(
            found, state=EntryState.CLAIMED, attempts=found.attempts + 1, claimed_at=claimed_at
        )
        return found

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
        self._refuse_if_read_only()
        settled_at, again_at = utc(at), None if due_at is None else utc(due_at)
        if state is EntryState.CLAIMED:
            raise ValueError("an attempt begins as claimed and cannot end so")
        pending = state is EntryState.PENDING
        found = self._contents.outbox[key]
        self._contents.outbox[key] = replace(
            found,
            state=state,
            claimed_at=None if pending else found.claimed_at,
            finished_at=None if pending else settled_at,
            due_at=again_at or found.due_at,
            error=error,
            result=result,
        )

    def add_log(self, entries: Iterable[LogEntry]) -> None:
        self._refuse_if_read_only()
        for entry in [kept(each) for each in entries]:
            self._contents.logged += 1
            self._contents.log[self._contents.logged] = replace(entry, sequence=self._contents.logged)

    def log(
        self, *, after: int = 0, limit: int | None = None, agent: str | None = None, task: str | None = None
    ) -> tuple[LogEntry, ...]:
        found = [
            entry
            for entry in self._contents.log.values()
            if entry.sequence > after
            and (agent is None or entry.agent == agent)
            and (task is None or entry.task == task)
        ]
        return tuple(found if limit is None else found[max(0, len(found) - max(0, limit)) :])

    def forget_before(self, instant: datetime) -> int:
        self._refuse_if_read_only()
        return self._contents.forget_before(utc(instant))

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _missed(self, agent: str, limit: datetime) -> list[datetime]:
        """The latest slot, not after `limit`, of each miss of an agent."""
        return [
            min(miss.last, limit)
            for miss in self._contents.misses.values()
            if miss.agent == agent and miss.first <= limit
        ]

    def _newest_first(self) -> Iterator[Receipt]:
        return reversed(self._contents.receipts.values())

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise refuse_write(self._where)
