"""The order of work (rule M5): priority, due date, source order, age, key. Total, so that any shuffle sorts back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

from heartbeat.task import Item, Ref, Task

_NO_DUE = date.max
_NO_AGE = datetime.max.replace(tzinfo=UTC)
_NUMBER = re.compile(r"(\d+)")

SortKey = tuple[object, ...]


def item_order(sources: Sequence[str]) -> Callable[[Item], SortKey]:
    """A key that puts items in source order, unknown sources last by name, then by id (rule M3)."""
    rank = {source: index for index, source in enumerate(sources)}

    def key(item: Item) -> SortKey:
        return (rank.get(item.ref.source, len(rank)), item.ref.source, item.ref.id)

    return key


def task_order(sources: Sequence[str], first_seen: Mapping[Ref, datetime]) -> Callable[[Task], SortKey]:
    """A key that puts tasks in the order of work; `first_seen` dates what has no time of its own (rule S8)."""
    rank = {source: index for index, source in enumerate(sources)}

    def key(task: Task) -> SortKey:
        item = task.items[0]
        age = item.created_at or item.started_at or first_seen.get(item.ref) or _NO_AGE
        return (
            task.priority.rank,
            task.due or _NO_DUE,
            rank.get(item.ref.source, len(rank)),
            item.ref.source,
            age,
            _by_line(item.location or ""),
            task.key,
        )

    return key


def _by_line(location: str) -> tuple[tuple[int, str], ...]:
    """TODO.md:9 before TODO.md:10: lines of one file keep the order that their author gave them."""
    parts = _NUMBER.split(location)
    return tuple(_numeric(part) if index % 2 else (0, part) for index, part in enumerate(parts) if part)


def _numeric(digits: str) -> tuple[int, str]:
    """Sorts as the number does, however long it is: by its length without leading zeros, then digit by digit."""
    bare = digits.lstrip("0")
    return len(bare) + 1, bare
