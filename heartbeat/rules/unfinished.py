"""What is left of turns that somebody has to look at: those that should have ended, and dead letters that nobody tries
again (rules X6, F4). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, DeadLetter, LetterState, Life, Uptime
from heartbeat.instants import format_duration
from heartbeat.rules.lasting import over

OVERDUE = timedelta(minutes=15)
"""So long after its deadline a turn should have been collected, or stopped, by some beat."""
STUCK = timedelta(hours=1)
"""So long after it was planned an attempt should have been asked for, or called off."""


def overdue(attempts: Iterable[Attempt], now: datetime, uptime: Uptime | None = None) -> tuple[Attempt, ...]:
    """Those that should have ended, the one that is due for longest first. `uptime` is the machine's own clock, that
    nobody sets; without it the wall clock counts."""
    late = [(by, each) for each in attempts if (by := _late(each, now, uptime)) is not None]
    return tuple(each for _, each in sorted(late, key=lambda found: found[0], reverse=True))


def exhausted(letters: Iterable[DeadLetter]) -> tuple[DeadLetter, ...]:
    """Those that are left for a person."""
    return tuple(each for each in letters if each.state is LetterState.EXHAUSTED)


def overdue_told(late: tuple[Attempt, ...], now: datetime, uptime: Uptime | None = None) -> str:
    """How many, whose, and for how long. `late` is not empty."""
    first = late[0]
    by = format_duration(_past(first, now, uptime) or timedelta(0))
    agents = ", ".join(dict.fromkeys(each.agent for each in late))
    if len(late) == 1:
        since = "past its deadline" if first.deadline is not None else "since it was planned"
        return f"a turn of {agents} has not ended, {by} {since}: {agents} is started on nothing else meanwhile"
    return f"{len(late)} turns of {agents} have not ended, the oldest for {by} too long: nothing else is started there"


def _late(attempt: Attempt, now: datetime, uptime: Uptime | None) -> timedelta | None:
    """By how much somebody should have seen to it; None where all is well."""
    past = None if attempt.is_finished else _past(attempt, now, uptime)
    allowed = STUCK if attempt.deadline is None else OVERDUE
    return past - allowed if past is not None and past >= allowed else None


def _past(attempt: Attempt, now: datetime, uptime: Uptime | None) -> timedelta | None:
    """For how long it is past its deadline, or has not been asked for. A turn that its engine ends by itself may go on
    for ever."""
    if attempt.deadline is not None:
        return now - attempt.deadline if uptime is None else over(attempt, now, uptime)
    return None if attempt.life is Life.RUNNING else now - attempt.planned_at
