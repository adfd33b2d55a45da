"""What is old enough to be forgotten, and whether the clock can be trusted that says so (rule B6).

A clock that runs months ahead for a beat would have everything forgotten. So only one that has held for half a day
decides: there is a beat on record that began by it yesterday.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from heartbeat.roster.model import Roster
from heartbeat.schedule.slots import current_slot
from heartbeat.store.port import Store

SHORTEST = timedelta(days=2)
"""When an item was last seen is written down once a day only: less would forget what is still there."""

HELD = timedelta(hours=12)
_LATELY = timedelta(days=2)


def limit_of(retention: timedelta, roster: Roster, now: datetime) -> datetime:
    """What is older than this may go. Nothing since an agent's slot of two days ago does: a clock that is put right by
    a day may show that slot once more, and it must not be answered again (invariant I6)."""
    slots = [current_slot(agent.policy, roster.timezone, now - _LATELY) for agent in roster.agents.values()]
    return min(now - max(retention, SHORTEST), *slots)


def clock_has_held(store: Store, roster: Roster, now: datetime) -> bool:
    """Whether a beat on record began between half a day and two days ago; where nobody beats as often as that, since
    the last slot that lies as far back. Where there is no beat on record, nothing speaks against it. Raises StateError.
    """
    until = now - HELD
    if store.began_between(now - _LATELY, until):
        return True
    slots = [current_slot(agent.policy, roster.timezone, until) for agent in roster.agents.values()]
    since = max(slots, default=until)
    return (since < now - _LATELY and store.began_between(since, until)) or not store.last_receipts()
