"""The real translation of cards, which is not asked again about a card that is done and has not changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from heartbeat.systems.base import Fetched, Translate, Translated
from heartbeat.task import Item


@dataclass(frozen=True, slots=True)
class Recalling:
    """Implements Translate. A done card gives an item and nothing else, the same at every look; over simulated weeks
    most cards are done, and to translate them is most of the work."""

    translate: Translate
    known: dict[tuple[str, int], Item] = field(default_factory=dict)

    def __call__(self, fetched: Fetched, now: datetime) -> Translated:
        done: list[Item] = []
        rest: list[Mapping[str, Any]] = []
        for record in fetched.records:
            item = self.known.get((record["id"], record["updatedAt"]))
            if item is None:
                rest.append(record)
            else:
                done.append(item)
        translated = self.translate(replace(fetched, records=rest), now)
        settled = {record["id"]: record["updatedAt"] for record in rest if record["status"] == "done"}
        for item in translated.items:
            if item.ref.id in settled:
                self.known[item.ref.id, settled[item.ref.id]] = item
        return replace(translated, items=(*done, *translated.items))
