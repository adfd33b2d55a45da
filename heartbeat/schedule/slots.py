"""The instants at which an agent is due (rule B2): a slot is (agent, UTC instant), the same for everybody who asks."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from heartbeat.policy import Policy

if TYPE_CHECKING:
    from croniter import croniter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_FAR = timedelta(days=366 * 8 + 1)
"""No expression leaves out more: the 29th of February is the rarest day, and 1896 to 1904 lies behind us."""

MOST_COUNTED = 10_000
"""More slots that passed are not counted one by one: years of them would keep the next beat waiting."""


@dataclass(frozen=True, slots=True)
class Span:
    """Slots from the first to the last. `count` is exact up to `MOST_COUNTED`, and at least that beyond."""

    first: datetime
    last: datetime
    count: int


def current_slot(policy: Policy, timezone: str, now: datetime) -> datetime:
    """The latest slot that is not after `now`, in UTC.

    `every` counts from the epoch and the agent's anchor; a `cron` expression is read in the roster's time zone and
    turned into UTC at once.
    """
    now = now.astimezone(UTC)
    if policy.cron is None:
        return now - (now - _EPOCH - policy.anchor) % policy.every
    from zoneinfo import ZoneInfo

    return _latest(policy.cron, ZoneInfo(timezone), now)


def next_slot(policy: Policy, timezone: str, now: datetime) -> datetime:
    """The earliest slot after `now`, in UTC: the instant at which `current_slot` becomes another one."""
    now = now.astimezone(UTC)
    current = current_slot(policy, timezone, now)
    if policy.cron is None:
        return current + policy.every
    usual = _next_by_the_clock_face(policy.cron, timezone, now)
    if current_slot(policy, timezone, usual) == usual and current_slot(policy, timezone, usual - _TICK) <= now:
        return usual
    before, step = now, _MINUTE
    while (slot := current_slot(policy, timezone, before + step)) <= now:
        if step > 2 * _FAR:
            raise ValueError(f"cron {policy.cron!r} names no instant after {now.isoformat()}")
        before, step = before + step, step * 2
    # It is a slot, and need not be the first: there may be others between `before` and it.
    while (earlier := current_slot(policy, timezone, slot - _TICK)) > now:
        middle = before + (slot - before) / 2
        found = current_slot(policy, timezone, middle)
        if found > now:
            slot = found
        else:
            before, slot = middle, earlier
    return slot


def rhythm_text(policy: Policy, timezone: str) -> str:
    """What decides an agent's slots, as one text."""
    if policy.cron is not None:
        return f"cron {timezone} {policy.cron}"
    return f"every {policy.every // _TICK} {policy.anchor // _TICK}"


def by_rhythm(text: str, policy: Policy, timezone: str) -> tuple[Policy, str]:
    """A policy and a time zone with the slots of an earlier `rhythm_text`; these very ones where the text tells none
    that there can be."""
    kind, _, rest = text.partition(" ")
    first, _, second = rest.partition(" ")
    if kind == "every" and first.isdecimal() and second.isdecimal() and int(first):
        return replace(policy, every=int(first) * _TICK, anchor=int(second) * _TICK, cron=None), timezone
    if kind == "cron" and _is_zone(first) and _is_expression(second):
        return replace(policy, cron=second), first
    return policy, timezone


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


def _is_expression(cron: str) -> bool:
    from croniter import croniter

    return bool(croniter.is_valid(cron))


def slots_between(policy: Policy, timezone: str, after: datetime, before: datetime) -> Span | None:
    """The slots later than `after` and earlier than `before`; None where there are none."""
    last = current_slot(policy, timezone, before - _TICK)
    if last <= after:
        return None
    first = next_slot(policy, timezone, after)
    if policy.cron is None:
        return Span(first, last, (last - first) // policy.every + 1)
    count, slot = 1, last
    while slot > first and count < MOST_COUNTED:
        slot = current_slot(policy, timezone, slot - _TICK)
        count += 1
    return Span(first, last, count)


def _next_by_the_clock_face(cron: str, timezone: str, now: datetime) -> datetime:
    """What the expression names next with the offset that is in force now: a guess, right where no clock changes."""
    from zoneinfo import ZoneInfo

    offset = _offset(ZoneInfo(timezone), now)
    wall: datetime = _walk(cron, now.replace(tzinfo=None) + offset).get_next(datetime)
    return max((wall - offset).replace(tzinfo=UTC), now + _TICK)


def _latest(cron: str, zone: tzinfo, now: datetime) -> datetime:
    """The latest instant up to `now` that the expression names.

    croniter is asked in wall time only. Where the offset changes it walks back by the clock face, so that half past
    one after the change would be followed by an earlier slot than quarter to two before it.
    """
    once = _names_times_of_day(cron)
    until = now
    while True:
        offset = _offset(zone, until)
        wall: datetime = _walk(cron, until.replace(tzinfo=None) + offset + _TICK).get_prev(datetime)
        slot = (wall - offset).replace(tzinfo=UTC)
        change = _last_change(zone, slot - _DAY, until)
        if change is None:
            return slot
        step = offset - _offset(zone, change - _TICK)
        repeated = -step if once and step < timedelta(0) else timedelta(0)
        if slot >= change + repeated:
            return slot
        if once and change - step <= slot < change:
            return change
        until = change - _TICK


def _walk(cron: str, start: datetime) -> croniter:
    """A walk along an expression from a wall time. Reading the expression is what takes long, so it is done once."""
    walk = copy(_read(cron))
    walk.set_current(start, force=True)
    return walk


@lru_cache(maxsize=256)
def _read(cron: str) -> croniter:
    from croniter import croniter

    return croniter(cron, datetime(2026, 1, 1))  # noqa: DTZ001 - the face of a clock


def _names_times_of_day(cron: str) -> bool:
    """Whether the expression means times on the clock face rather than a rhythm, by the test that cron itself uses.

    A time of day that happens twice is due the first time only, and one that is skipped is due at the change; a
    rhythm simply goes on (rule B2).
    """
    return not any(field.startswith("*") for field in cron.split()[:2])


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _last_change(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """The first instant of the offset that is in force at `until`, if it came into force after `after`."""
    offset = _offset(zone, until)
    late = until
    while late > after:
        early = max(late - _DAY, after)
        if _offset(zone, early) != offset:
            return _boundary(zone, early, late)
        late = early
    return None


def _boundary(zone: tzinfo, early: datetime, late: datetime) -> datetime:
    """The whole second at which the offset of `late` begins; it is another one at `early`."""
    offset = _offset(zone, late)
    low, high = int(early.timestamp()), int(late.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)
