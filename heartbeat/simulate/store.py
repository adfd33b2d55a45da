"""The store in memory, made quick for weeks of beats: the same answers, without going through everything each time."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from datetime import datetime

from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import LogEntry, Receipt


class SimulatedStore(MemoryStore):
    """Also hands out the log as it grows: whoever reads `news` clears it."""

    def __init__(self) -> None:
        super().__init__()
        self.news: list[LogEntry] = []
        self._newest: dict[str, Receipt] = {}
        self._slots: dict[str, list[datetime]] = {}

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
