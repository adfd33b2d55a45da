"""Finding what a name means among the items of a sweep: an alias, a full id, or the beginning of a card id. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from heartbeat.task import Item, Ref

_CARD_ID_PREFIX = re.compile(r"[0-9a-f]{8}[0-9a-f-]*")
_PREFIX = 8
"""Shorter beginnings of an id name nothing (rule M1a)."""


class Names:
    """An index from names to items. Built once per sweep; a lookup costs a dictionary access."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._exact: dict[str, list[Ref]] = {}
        self._by_prefix: dict[str, list[Ref]] = {}
        for item in items:
            names = {item.ref.id.casefold(), *(alias.casefold() for alias in item.aliases)}
            for name in names:
                self._exact.setdefault(name, []).append(item.ref)
            identifier = item.ref.id.casefold()
            if _CARD_ID_PREFIX.fullmatch(identifier):
                self._by_prefix.setdefault(identifier[:_PREFIX], []).append(item.ref)

    def find(self, name: str) -> tuple[Ref, ...]:
        """Every item that goes by this name, sorted; an exact name beats the beginning of an id."""
        folded = name.strip().casefold()
        exact = self._exact.get(folded)
        if exact:
            return tuple(sorted(exact))
        if not _CARD_ID_PREFIX.fullmatch(folded):
            return ()
        candidates = self._by_prefix.get(folded[:_PREFIX], ())
        return tuple(sorted(ref for ref in candidates if ref.id.casefold().startswith(folded)))
