"""Whether what heartbeat remembers can be read and written, and whether all of it is there (rule B7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from heartbeat.belonging import doubt, stranger
from heartbeat.doctor.check import Check, Known, Level
from heartbeat.doctor.paths import exists, is_directory
from heartbeat.errors import HeartbeatError
from heartbeat.instants import to_text
from heartbeat.plural import counted
from heartbeat.roster.model import Roster
from heartbeat.store.port import Store


def check_state(
    state: Path, roster: Roster, open_store: Callable[[], Store], command: str, known: Known, now: datetime
) -> Iterator[Check]:
    """Leaves in `known` what stands on record of turns, and what is wrong with the state."""
    unwritable = _unwritable(state)
    if unwritable is not None:
        known.problem = f"{unwritable} cannot be written"
        advice = "run the beats as a user who may write there, or name another directory: `state` in the roster"
        yield Check("state", "directory", Level.FAILED, f"{unwritable} cannot be written: every beat fails", advice)
    try:
        with open_store() as store:
            stone, foreign = store.tombstone(), stranger(store, roster, now)
            unclear = doubt(store, roster, now)
            receipts = store.last_receipts()
            known.breakers = tuple(store.breakers().values())
            known.attempts = store.attempts(unfinished=True)
            known.letters = store.letters(open_only=True)
    except HeartbeatError as error:
        known.problem = str(error)
        yield Check("state", "store", Level.FAILED, str(error), error.advice)
        return
    if foreign is not None:
        known.problem = str(foreign)
        yield Check("state", "roster", Level.FAILED, str(foreign), foreign.advice)
    if unclear is not None:
        yield Check("state", "roster", Level.WARNING, str(unclear), unclear.advice)
    if stone is not None:
        known.lost = stone.reason
        lost = f"{stone.reason} (noticed {to_text(stone.at)}); heartbeat only observes until somebody accepts that"
        kept = f"the damaged file is {stone.quarantined}; " if stone.quarantined else ""
        advice = f"{kept}put a backup back while no beat runs, or go on without: {command} doctor --accept-loss NAME"
        yield Check("state", "store", Level.FAILED, lost, advice)
    else:
        yield Check("state", "store", Level.OK, f"receipts of {counted(len(receipts), 'agent')}")


def _unwritable(state: Path) -> Path | None:
    """What stands in the way of writing state: the database, the directory, or its nearest parent that exists."""
    database = state / "state.db"
    if exists(database) and not os.access(database, os.W_OK):
        return database
    nearest = next(path for path in (state, *state.parents) if exists(path))
    return None if is_directory(nearest) and os.access(nearest, os.W_OK | os.X_OK) else nearest
