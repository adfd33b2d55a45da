"""What waits for an agent's next worklist (rules L1, O3): read it, and mark as delivered what a receipt shows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from heartbeat.memory import Step
from heartbeat.notify.roles import level_of
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, Store


def inbox(store: Store, agent: str, limit: int | None = None, *, nudges: bool = True) -> tuple[Entry, ...]:
    """At most `limit` messages that the agent has not been shown: the most urgent first, the newest first among equals.

    Without `nudges` those stay where they are (rule B4). Raises StateError.
    """
    waiting = store.entries(kind=EntryKind.INBOX, states=UNFINISHED, target=agent)
    waiting = tuple(entry for entry in waiting if nudges or not is_nudge(entry))
    ordered = sorted(waiting, key=lambda entry: (-level_of(entry).rank, -entry.created_at.timestamp()))
    return tuple(ordered[:limit])


def is_nudge(entry: Entry) -> bool:
    """Whether it is the nudge of its incident (rule L1), and no other message about it."""
    return entry.kind is EntryKind.INBOX and entry.key.startswith(f"{entry.incident}/{Step.NUDGE.value}/")


def lately_shown(store: Store, agent: str, since: datetime, limit: int | None = None) -> tuple[Entry, ...]:
    """At most `limit` messages that a receipt has shown since then, in the same order.

    A scheduler's log may be all that has seen that worklist, so an agent's own look at its work shows them again.
    Raises StateError.
    """
    done = store.entries(kind=EntryKind.INBOX, states=frozenset({EntryState.DONE}), target=agent)
    late = [entry for entry in done if entry.finished_at is not None and entry.finished_at >= since]
    ordered = sorted(late, key=lambda entry: (-level_of(entry).rank, -entry.created_at.timestamp()))
    return tuple(ordered[:limit])


def shown(store: Store, keys: Iterable[str], receipt_id: str, at: datetime) -> None:
    """The messages stood on the worklist that the receipt is about. Keys that are unknown or settled are passed over.

    Opens no transaction of its own: call it in the one that keeps the receipt, so that both are kept or neither.
    Raises StateError.
    """
    for key in keys:
        entry = store.entry(key)
        if entry is not None and entry.state in UNFINISHED:
            store.settle_entry(key, EntryState.DONE, at, result=f"on the worklist of receipt {receipt_id}")
