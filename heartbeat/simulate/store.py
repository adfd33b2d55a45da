"""The store in memory, made quick for weeks of beats: the same answers, without going through everything each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import LogEntry, Receipt


class SimulatedStore(MemoryStore):
    """Also hands out the log as it grows: whoever reads `news` clears it."""

    def __init__(self) -> None:
        super().__init__()
        self.news: list[LogEntry] = []
        self._newest: dict[str, Receipt] = {}

    def add_log(self, entries: Iterable[LogEntry]) -> None:
        told = tuple(entries)
        super().add_log(told)
        self.news.extend(told)

    def add_receipt(self, receipt: Receipt) -> None:
        super().add_receipt(receipt)
        self._newest[receipt.agent] = receipt

    def last_receipts(self) -> Mapping[str, Receipt]:
        return dict(self._newest)
