"""How long a turn has gone on: by a clock that nobody sets, so that no step of the wall clock ends one (rules F1, B6).
Pure.

The time for which the machine was suspended does not count: the turn stood still with it, and so did the engine's own
timer. A machine that was started anew has another such clock. Only then the wall clock tells how long the turn has
gone on; and since it may be wrong, the least that must pass by the new clock before a turn is ended is the grace that
every turn has.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, Stopwatch, Uptime

_NOTHING = timedelta(0)


def lasted(attempt: Attempt, now: datetime, uptime: Uptime) -> timedelta:
    """How long it has gone on, as far as can be told."""
    watch = attempt.stopwatch
    if watch is not None and _goes(watch, uptime):
        return timedelta(seconds=watch.seconds + uptime.seconds - watch.at.seconds)
    known = timedelta(seconds=watch.seconds) if watch is not None else _NOTHING
    return max(now - (attempt.accepted_at or attempt.spawned_at or attempt.planned_at), known, _NOTHING)


def given(attempt: Attempt) -> timedelta | None:
    """How long it may go on; None where nobody has said that."""
    if attempt.deadline is None:
        return None
    return max(attempt.deadline - (attempt.accepted_at or attempt.planned_at), _NOTHING)


def over(attempt: Attempt, now: datetime, uptime: Uptime) -> timedelta | None:
    """By how much it has gone on for too long; None where it has not, or may go on for ever."""
    allowed = given(attempt)
    if allowed is None:
        return None
    late = lasted(attempt, now, uptime) - allowed
    return late if late > _NOTHING else None


def wound(attempt: Attempt, now: datetime, uptime: Uptime) -> Stopwatch:
    """The stopwatch that goes by now: its own, or after a new start of the machine another, to be kept from then on.

    That one begins at the turn's deadline at most: whatever the wall clock says, its grace is still to come.
    """
    watch = attempt.stopwatch
    if watch is not None and _goes(watch, uptime):
        return watch
    allowed, so_far = given(attempt), lasted(attempt, now, uptime)
    return Stopwatch(uptime, min(so_far, so_far if allowed is None else allowed) / timedelta(seconds=1))


def _goes(watch: Stopwatch, uptime: Uptime) -> bool:
    """Whether it was started by the clock that is shown now. Where the system does not tell one start of the machine
    from the next, a later one shows too little, and never too much."""
    return watch.at.boot == uptime.boot and watch.at.seconds <= uptime.seconds
