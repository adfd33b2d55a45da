"""Whose memory a state directory is. Two teams in one undo each other's: one answers the other's slots, and takes what
it does not know itself for settled.

A roster is known by its path as it was given, and by its team. So a release directory behind a link, several paths of
one file, a roster that was moved or renamed, and one whose agents come and go all stay at home.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.plural import counted
from heartbeat.roster.model import Roster
from heartbeat.store.port import Belonging, LogEntry, Store


def stranger(store: Store, roster: Roster, now: datetime) -> StateError | None:
    """What is to be said where the state is another roster's; None where it is this one's, or nobody's yet."""
    known = store.belonging()
    if known is None or _is_home(known, roster):
        return None
    last = max((receipt.started_at for receipt in store.last_receipts().values()), default=None)
    beaten = "" if last is None else f", its last beat {format_duration(abs(now - last))} {_side(last, now)}"
    team = counted(len(known.agents), "agent")
    return StateError(
        f"{roster.path}: this state is the memory of another roster, {known.path} ({team}{beaten}), and two teams in "
        "one memory undo each other's work",
        advice="give this roster a directory of its own (`state:`); where it has taken the other's place, "
        "`heartbeat doctor --adopt` says so once",
    )


def settle_in(store: Store, roster: Roster, now: datetime) -> None:
    """Before a beat: this roster is at home here from now on. Raises StateError where another one is."""
    refusal = stranger(store, roster, now)
    if refusal is not None:
        raise refusal
    known, own = store.belonging(), _as_known(roster, now)
    if known is None or known.agents != own.agents or not _is_same_file(known, roster):
        store.note_belonging(own)


def adopt(store: Store, roster: Roster, now: datetime) -> Belonging | None:
    """The operator's word that this roster has taken the place of the one that was at home here, which is returned;
    None where that is this one, or nobody."""
    known = store.belonging()
    with store.transaction():
        store.note_belonging(_as_known(roster, now))
        if known is None or known.path == str(roster.path):
            return None
        store.add_log([LogEntry(now, "state-adopted", f"{roster.path} has taken the place of {known.path}")])
    return known


def _as_known(roster: Roster, now: datetime) -> Belonging:
    return Belonging(str(roster.path), tuple(sorted(roster.agents)), now)


def _is_home(known: Belonging, roster: Roster) -> bool:
    """Whether it is the same roster as far as can be told: a path that is gone was moved, and a copy with the same
    agents is a copy."""
    same_team = known.agents == tuple(sorted(roster.agents))
    return same_team or _is_same_file(known, roster) or not _is_there(Path(known.path))


def _is_same_file(known: Belonging, roster: Roster) -> bool:
    if known.path == str(roster.path):
        return True
    try:
        return roster.path.samefile(known.path)
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    """What may not be looked at counts as there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _side(instant: datetime, now: datetime) -> str:
    return "ago" if instant <= now else "from now"
