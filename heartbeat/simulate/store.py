"""The store in memory, made quick for weeks of beats: the same answers, without going through everything each time."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from heartbeat.attempt import Attempt, Life
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Receipt
from heartbeat.task import Ref


class SimulatedStore(MemoryStore):
    """Also hands out the log as it grows: whoever reads `news` clears it.

    A transaction that fails takes nothing back: what fails in a simulation ends it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.news: list[LogEntry] = []
        self._newest: dict[str, Receipt] = {}
        self._slots: dict[str, list[datetime]] = {}
        self._places: dict[str, int] = {}
        self._of_agent: dict[str, list[str]] = {}
        self._of_ref: dict[Ref, list[str]] = {}
        self._going: dict[str, None] = {}
        self._open: dict[str, None] = {}
        self._nested = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._nested:
            raise RuntimeError("a transaction is open already; they do not nest")
        self._nested = True
        try:
            yield
        finally:
            self._nested = False

    # Attempts, by what they are asked for.

    def add_attempt(self, attempt: Attempt) -> bool:
        if not super().add_attempt(attempt):
            return False
        self._places[attempt.id] = len(self._places)
        self._of_agent.setdefault(attempt.agent, []).append(attempt.id)
        for ref in attempt.refs:
            self._of_ref.setdefault(ref, []).append(attempt.id)
        if not attempt.is_finished:
            self._going[attempt.id] = None
        return True

    def advance_attempt(self, attempt: Attempt, before: Life) -> bool:
        done = super().advance_attempt(attempt, before)
        if done and attempt.is_finished:
            self._going.pop(attempt.id, None)
        return done

    def attempts(
        self,
        *,
        refs: Iterable[Ref] | None = None,
        agent: str | None = None,
        unfinished: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Attempt, ...]:
        asked = None if refs is None else frozenset(refs)
        if unfinished:
            names = set(self._going)
        elif asked is not None:
            names = {name for ref in asked for name in self._of_ref.get(ref, ())}
        elif agent is not None:
            names = set(self._of_agent.get(agent, ()))
        else:
            names = set(self._places)
        known = self._contents.attempts
        whole = self._contents
        try:
            # The rest of the question is answered by the store itself, over the few that can be meant.
            few = {name: known[name] for name in sorted(names, key=self._places.__getitem__)}
            self._contents = replace(whole, attempts=few)
            return super().attempts(refs=asked, agent=agent, unfinished=unfinished, since=since, limit=limit)
        finally:
            self._contents = whole

    # The outbox, whose entries are done with for the most part.

    def enqueue(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        new = super().enqueue(entries)
        self._open |= dict.fromkeys(key for key in new if self._contents.outbox[key].state in UNFINISHED)
        return new

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
        super().settle_entry(key, state, at, error=error, result=result, due_at=due_at)
        if state in UNFINISHED:
            self._open[key] = None
        else:
            self._open.pop(key, None)

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
        whole = self._contents
        if states is not None and states <= UNFINISHED:
            self._contents = replace(whole, outbox={key: whole.outbox[key] for key in self._open})
        try:
            return super().entries(
                kind=kind, states=states, target=target, incident=incident, due_by=due_by, limit=limit
            )
        finally:
            self._contents = whole

    # Receipts.

    def add_log(self, entries: Iterable[LogEntry]) -> None:
        told = tuple(entries)
        super().add_log(told)
        self.news.extend(told)

    def add_receipt(self, receipt: Receipt) -> None:
        super().add_receipt(receipt)
        self._newest[receipt.agent] = receipt
        if receipt.slot is not None:
            insort(self._slots.setdefault(receipt.agent, []), receipt.slot)

    def slot_taken(self, agent: str, slot: datetime) -> bool:
        return self._answered(agent, slot) == slot

    def last_slot(self, agent: str, until: datetime) -> datetime | None:
        answered = self._answered(agent, until)
        missed = max(self._missed(agent, until), default=None)
        return max((each for each in (answered, missed) if each is not None), default=None)

    def _answered(self, agent: str, until: datetime) -> datetime | None:
        slots = self._slots.get(agent, [])
        place = bisect_right(slots, until)
        return slots[place - 1] if place else None

    def last_receipts(self) -> Mapping[str, Receipt]:
        return dict(self._newest)

    def last_beats(self) -> Mapping[str, Receipt]:
        return dict(self._newest)  # nobody ends a simulated beat
