"""How an agent's beats stand: computed from what is on record and one frozen now, never stored (rules B2, B6). Pure.

A due slot that no beat has answered is `late` at once and `down` when `grace` is over: an interval and `grace` after
the slot that was answered last. At the threshold counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from heartbeat.instants import CLOCK_SKEW, format_duration
from heartbeat.memory import Pause
from heartbeat.policy import Policy
from heartbeat.roster.model import rhythm_of
from heartbeat.schedule.slots import next_slot
from heartbeat.store.port import Receipt

GRACE = timedelta(minutes=5)
"""What a roster's `watchdog.grace` is unless it says otherwise."""

FAILURES = 2
"""So many beats in a row that failed are no accident any more."""
SLOW = timedelta(hours=1)
"""Where beats are this far apart, one failure is enough: the next beat comes too late to tell."""
RECENT = 8
"""Receipts of an agent that are looked at."""
_ENDED_BY = re.compile(r"\Aended by (.+?) before it was done")
"""What a receipt says first of a beat that was ended from outside."""


class Status(StrEnum):
    """`new`: it never beat, and need not have yet."""

    UP = "up"
    DEGRADED = "degraded"
    """The last beat did not read every source, or failed once."""
    LATE = "late"
    NEW = "new"
    FAILING = "failing"
    DOWN = "down"


BAD = frozenset({Status.FAILING, Status.DOWN})
GOOD = frozenset({Status.UP, Status.DEGRADED})
"""A beat came when it was due. `late` and `new` are neither good nor bad: nobody can tell yet."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of an agent. `since` is from when on, where that is known: nobody has missed a beat before."""

    agent: str
    policy: Policy
    timezone: str
    grace: timedelta = GRACE
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Beats in a row that were ended from outside, with none after them that came to its end: how many are on record,
    since when, and the last of them."""

    count: int
    since: datetime
    last: Receipt

    @property
    def by(self) -> str:
        """What ended the last one: the name of a signal, as a rule."""
        found = _ENDED_BY.match(self.last.reasons[0]) if self.last.reasons else None
        return "something outside" if found is None else found[1]

    def words(self, show: Callable[[datetime], str]) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{times} since {show(self.since)}, the last by {self.by}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is on record of an agent's beats.

    `receipts` are the newest that say how a beat went, newest first; `interrupted` are those after them that do not,
    for they were ended from outside. `running` is since when a beat of it has been under way. `missed` counts the slots
    of the last day that passed without a receipt and have been noted as such. `pause` is one that stands: beats come
    all the same. `forgotten` says that memory was lost: what is not on record may have been.
    """

    receipts: tuple[Receipt, ...] = ()
    running: datetime | None = None
    missed: int = 0
    pause: Pause | None = None
    forgotten: bool = False
    interrupted: Interrupted | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How one agent's beats stand at `at`.

    `last` is the newest receipt that does not lie in the future, `ahead` the newest where it does: the clock was set
    back. `unanswered` is the first due slot without a beat, `missing` for how long it has been waiting. `due_at` is
    the slot that is waited for, come or to come; None where nobody knows. `expected_by` is when the agent is down
    unless a beat comes. `failures` counts the newest receipts in a row that failed, `failing_since` is the start of
    the first of them. `lateness` is how long after its slot the last beat began.
    """

    agent: str
    status: Status
    at: datetime
    interval: timedelta
    last: Receipt | None = None
    ahead: Receipt | None = None
    unanswered: datetime | None = None
    due_at: datetime | None = None
    expected_by: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    lateness: timedelta | None = None
    running: datetime | None = None
    missed: int = 0
    pause: Pause | None = None
    forgotten: bool = False
    interrupted: Interrupted | None = None

    @property
    def missing(self) -> timedelta | None:
        return None if self.unanswered is None else self.at - self.unanswered


def health(expected: Expected, record: Record, now: datetime) -> Health:
    """How an agent's beats stand now."""
    interval = rhythm_of(expected.policy)
    newest = record.receipts[0] if record.receipts else None
    past = [receipt for receipt in record.receipts if receipt.started_at <= now + CLOCK_SKEW]
    last = past[0] if past else None
    failed = tuple(takewhile(lambda receipt: receipt.outcome == "failed", past))
    due_at = _due_at(expected, last, record.interrupted)
    unanswered = due_at if due_at is not None and due_at <= now else None
    expected_by = None if due_at is None else _expected_by(expected, due_at, interval, record.running)
    return Health(
        agent=expected.agent,
        status=_status(last, unanswered, expected_by, len(failed), interval, now),
        at=now,
        interval=interval,
        last=last,
        ahead=newest if newest is not last else None,
        unanswered=unanswered,
        due_at=due_at,
        expected_by=expected_by,
        failures=len(failed),
        failing_since=failed[-1].started_at if failed else None,
        lateness=None if last is None or last.late is None else max(last.late, timedelta(0)),
        running=record.running,
        missed=record.missed,
        pause=record.pause,
        forgotten=record.forgotten,
        interrupted=record.interrupted,
    )


def first_due(expected: Expected, since: datetime) -> datetime:
    """By when an agent that nobody had heard of before `since` has to beat, its grace apart: a whole interval later,
    or at its first slot where that is further away."""
    slot = next_slot(expected.policy, expected.timezone, since)
    return max(slot, since + rhythm_of(expected.policy))


def _due_at(expected: Expected, last: Receipt | None, interrupted: Interrupted | None) -> datetime | None:
    if last is not None:
        return next_slot(expected.policy, expected.timezone, last.started_at)
    # Whose beats are begun is to beat: since then at the latest.
    since = expected.since or (interrupted.since if interrupted else None)
    return None if since is None else first_due(expected, since)


def _expected_by(expected: Expected, due_at: datetime, interval: timedelta, running: datetime | None) -> datetime:
    """A beat that is under way since then has time until its own deadline (rule B1), yet never longer than until the
    next slot and `grace`."""
    until = due_at + expected.grace
    if running is None or running < due_at:
        return until
    own = running + expected.policy.every / 2 + expected.grace
    return min(max(until, own), due_at + interval + expected.grace)


def _status(
    last: Receipt | None,
    unanswered: datetime | None,
    expected_by: datetime | None,
    failures: int,
    interval: timedelta,
    now: datetime,
) -> Status:
    if unanswered is not None and expected_by is not None and expected_by <= now:
        return Status.DOWN
    if last is None:
        return Status.NEW
    if failures >= FAILURES or (failures and interval >= SLOW):
        return Status.FAILING
    if unanswered is not None:
        return Status.LATE
    return Status.DEGRADED if failures or last.degraded else Status.UP


def reason(found: Health, show: Callable[[datetime], str]) -> str:
    """Why it stands so, in one sentence for people. `show` writes an instant."""
    match found.status:
        case Status.DOWN if found.last is None:
            return f"{_never(found, show)}, and should have by {show(_by(found))}"
        case Status.DOWN:
            return (
                f"no receipt{' of a whole beat' if found.interrupted else ''} since the slot of {show(_due(found))}, "
                f"for {_for(found)}{_broken_off(found, show)}{_ahead(found)}"
            )
        case Status.NEW:
            until = f"; its first is expected by {show(found.expected_by)}" if found.expected_by else ""
            return f"{_never(found, show)}{until}"
        case Status.FAILING | Status.DEGRADED if found.failures:
            beats = "its last beat" if found.failures == 1 else f"its last {found.failures} beats"
            return f"{beats} failed: {said(found.last)}"
        case Status.LATE:
            under_way = f"; a beat has been under way since {show(found.running)}" if found.running else ""
            return f"due for {_for(found)}{under_way}{_broken_off(found, show)}{_ahead(found)}"
        case Status.DEGRADED:
            return f"its last beat was degraded: {said(found.last)}"
        case _:
            return "it beats"


def said(receipt: Receipt | None) -> str:
    """What a receipt tells of what went wrong."""
    if receipt is None:
        return ""
    broken = [
        f"{source.get('name')} {source.get('status')}: {source.get('message') or source.get('kind')}"
        for source in receipt.sources
        if source.get("status") in ("failed", "partial")
    ]
    told = broken or list(receipt.reasons)
    return "; ".join(map(str, told)) or "without a reason on record"


def _never(found: Health, show: Callable[[datetime], str]) -> str:
    if found.ahead:
        return "it has not beaten since the clock was set back"
    if found.interrupted:
        return f"none of its beats has come to its end: ended from outside {found.interrupted.words(show)}"
    return "nothing is known of its beats, since memory was lost" if found.forgotten else "it has never beaten"


def _by(found: Health) -> datetime:
    return found.expected_by or found.at


def _due(found: Health) -> datetime:
    return found.unanswered or found.at


def _for(found: Health) -> str:
    return format_duration(found.missing or timedelta(0))


def _broken_off(found: Health, show: Callable[[datetime], str]) -> str:
    return "" if found.interrupted is None else f"; ended from outside {found.interrupted.words(show)}"


def _ahead(found: Health) -> str:
    if found.ahead is None:
        return ""
    return f"; its newest receipt lies {format_duration(found.ahead.started_at - found.at)} in the future"
