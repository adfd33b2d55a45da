"""Entries of the outbox in a person's hands: tried again, or given up. What dispatch/letters.py is to letters."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from heartbeat.actions import settle_step
from heartbeat.store.port import Entry, EntryState, LogEntry, Store


def retry(store: Store, entry: Entry, by: str, now: datetime) -> None:
    """The entry is due at once. Called inside a transaction, for one that waits or was given up."""
    store.settle_entry(entry.key, EntryState.PENDING, now, error=entry.error, due_at=now)
    store.add_log([_entry(entry, "outbox-retry", f"to be tried again, by {by}", now, by=by)])


def drop(store: Store, entry: Entry, by: str, why: str, now: datetime) -> None:
    """A person gives the entry up. Called inside a transaction, for one that is not at its end."""
    said = f"dropped by {by}: {why}"
    give_up(store, entry, said, now)
    store.add_log([_entry(entry, "outbox-dropped", said, now, by=by, why=why)])


def give_up(store: Store, entry: Entry, said: str, now: datetime) -> None:
    """The entry is never carried out, and the step that it is part of ends without it."""
    store.settle_entry(entry.key, EntryState.DROPPED, now, error=said)
    settle_step(store, replace(entry, state=EntryState.DROPPED), said)


def _entry(entry: Entry, action: str, message: str, now: datetime, **details: str) -> LogEntry:
    told = f"{entry.summary}: {message}"
    return LogEntry(now, action, told, "", entry.task, entry.incident, {**details, "key": entry.key})
