"""What is left of turns that somebody has to look at: those that should have ended, and dead letters that nobody tries
again (rules X6, F4). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, DeadLetter, LetterState
from heartbeat.instants import format_duration

OVERDUE = timedelta(minutes=15)
"""So long after its deadline a turn should have been collected, or stopped, by some beat."""
STUCK = timedelta(hours=1)
"""So long after it was planned an attempt should have been asked for, or called off."""


def overdue(attempts: Iterable[Attempt], now: datetime) -> tuple[Attempt, ...]:
    """Those that should have ended, the one that is due for longest first."""
    late = [each for each in attempts if not each.is_finished and now >= _until(each)]
    return tuple(sorted(late, key=_until))


def exhausted(letters: Iterable[DeadLetter]) -> tuple[DeadLetter, ...]:
    """Those that are left for a person."""
    return tuple(each for each in letters if each.state is LetterState.EXHAUSTED)


def overdue_told(late: tuple[Attempt, ...], now: datetime) -> str:
    """How many, whose, and for how long. `late` is not empty."""
    first = late[0]
    by = format_duration(now - (first.deadline or first.planned_at))
    agents = ", ".join(dict.fromkeys(each.agent for each in late))
    if len(late) == 1:
        since = "past its deadline" if first.deadline is not None else "since it was planned"
        return f"a turn of {agents} has not ended, {by} {since}: {agents} is started on nothing else meanwhile"
    return f"{len(late)} turns of {agents} have not ended, the oldest for {by} too long: nothing else is started there"


def _until(attempt: Attempt) -> datetime:
    return attempt.planned_at + STUCK if attempt.deadline is None else attempt.deadline + OVERDUE
