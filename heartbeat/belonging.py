"""Whose memory a state directory is. Two teams in one undo each other's: one answers the other's slots, and takes what
it does not know itself for settled.

A state is a team's. The roster that beats there first is known by its path as it was given, and by its agents. At home
is that path, whatever it says by now, and every roster whose team is much the same: a copy, a release directory behind
a link, a part of the team in a workspace, a file that was moved. What is known changes by the known path alone, as long
as there is a file: otherwise a copy that beat once by hand would make a stranger of the roster that it was copied from.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.plural import counted
from heartbeat.roster.model import Roster
from heartbeat.store.port import Belonging, LogEntry, Store

LATELY = timedelta(days=2)
"""Whoever has beaten within it is one of those whose memory this is, where no roster is known yet."""


def stranger(store: Store, roster: Roster, now: datetime) -> StateError | None:
    """What is to be said where the state is another team's; None where it is this one's, or nobody's yet."""
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


def doubt(store: Store, roster: Roster, now: datetime) -> StateError | None:
    """What is to be said, and no more, where it is not known whose the state is, and at least half of those who have
    beaten there lately are not in this roster; None else.

    An older heartbeat did not keep whose it was, so that two rosters may share one state since then, on purpose: to
    refuse the second would end its beats for an upgrade.
    """
    if store.belonging() is not None:
        return None
    lately = _lately(store, now)
    others = sorted(lately.difference(roster.agents))
    if not others or 2 * len(others) < len(lately):
        return None
    return StateError(
        f"{roster.path}: {', '.join(others)} beat in this state too, and are not in this roster: two teams in one "
        "memory undo each other's work",
        advice="give one of the two rosters a directory of its own (`state:`); where this one has taken the other's "
        "place, `heartbeat doctor --adopt` says so once",
    )


def settle_in(store: Store, roster: Roster, now: datetime) -> None:
    """Before a beat: keeps whose state this is. Raises StateError where it is another team's.

    Where nobody is known yet, nobody is at home as long as agents that this roster lacks have beaten there lately.
    """
    refusal = stranger(store, roster, now)
    if refusal is not None:
        raise refusal
    known, own = store.belonging(), _as_known(roster, now)
    if known is None:
        if _lately(store, now) <= roster.agents.keys():
            store.note_belonging(own)
    elif _is_same_file(known, roster):
        if known.agents != own.agents:
            store.note_belonging(replace(own, path=known.path))
    elif not _is_there(Path(known.path)):
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


def _lately(store: Store, now: datetime) -> frozenset[str]:
    """Who has beaten lately. A receipt from far in the future tells nothing of that."""
    newest = store.last_receipts().items()
    return frozenset(agent for agent, receipt in newest if abs(now - receipt.started_at) <= LATELY)


def _is_home(known: Belonging, roster: Roster) -> bool:
    return _is_same_team(known.agents, roster.agents) or _is_same_file(known, roster)


def _is_same_team(known: Collection[str], own: Collection[str]) -> bool:
    """Whether they have at least half of the smaller one in common."""
    return 2 * len(set(known).intersection(own)) >= min(len(known), len(own))


def _is_same_file(known: Belonging, roster: Roster) -> bool:
    if known.path == str(roster.path):
        return True
    try:
        return roster.path.samefile(known.path)
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    """Whether there is such a file. What may not be looked at counts as there."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _side(instant: datetime, now: datetime) -> str:
    return "ago" if instant <= now else "from now"
