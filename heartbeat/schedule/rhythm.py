"""An agent's slots as cron and systemd say them; None where they cannot, and somebody has to look each minute. Pure.

What is said here names exactly the slots of heartbeat/schedule/slots.py, on a clock that is given by the offsets that
it has from UTC in the course of the year.
"""

from __future__ import annotations

import re
from collections.abc import Set
from datetime import datetime, timedelta, tzinfo

from heartbeat.policy import Policy

EACH_MINUTE = "* * * * *"
CALENDAR_EACH_MINUTE = "*-*-* *:*:00"

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LOOKED_AHEAD = timedelta(days=2 * 366)

_STEP = r"\*(?:/\d+)?|\d+(?:-\d+(?:/\d+)?)?"
_PLAIN = re.compile(rf"(?:(?:{_STEP})(?:,(?:{_STEP}))*(?: |\Z)){{5}}", re.ASCII)
"""No names, which some crons take alone only, none of the letters that croniter knows and cron does not, and no step
behind a single number (`5/15`), which crontab refuses."""

NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
_RANGE = re.compile(r"(\w+)-(\w+)")


def offsets_of(zone: tzinfo, now: datetime) -> frozenset[timedelta]:
    """Every offset from UTC that a zone has in the next two years, looked at once a day."""
    days = range(_LOOKED_AHEAD // _DAY)
    return frozenset((now + day * _DAY).astimezone(zone).utcoffset() or timedelta(0) for day in days)


def cron_fields(policy: Policy, roster_offsets: Set[timedelta], machine_offsets: Set[timedelta]) -> str | None:
    """The five fields of a crontab that name the agent's slots, where cron goes by the machine's clock.

    `7-59/15` and `*/5` rather than lists: Debian's cron, cronie, vixie's and busybox read them alike.
    """
    if policy.cron is not None:
        return _same_expression(policy.cron, roster_offsets, machine_offsets)
    every, unit = policy.every, _MINUTE
    shifts = {(policy.anchor + offset) % every for offset in machine_offsets}
    if len(shifts) != 1 or every % unit or next(iter(shifts)) % unit:
        return None
    (shift,) = shifts
    minute, hour = shift % _HOUR // unit, shift // _HOUR
    if every <= _HOUR and _HOUR % every == timedelta(0):
        return f"{_field(minute, every // unit, 60)} * * * *"
    if every % _HOUR == timedelta(0) and _DAY % every == timedelta(0):
        return f"{minute} {_field(hour, every // _HOUR, 24)} * * *"
    return None


def _same_expression(cron: str, roster_offsets: Set[timedelta], machine_offsets: Set[timedelta]) -> str | None:
    """The expression itself, where both clocks show the same all year and cron cannot read it in another way.

    Where the clock is changed crons differ in what becomes of the hour that is skipped or repeated. Where day of month
    and day of week are both given they differ in what `*/2` means. A range that goes round (`22-6`) is taken by crontab
    and never fires.
    """
    _, _, day_of_month, _, day_of_week = cron.split()
    same = len(machine_offsets) == 1 and machine_offsets == roster_offsets
    plain = _PLAIN.fullmatch(cron) is not None and "7" not in day_of_week and not goes_round(cron)
    return cron if same and plain and "*" in (day_of_month, day_of_week) else None


def goes_round(cron: str) -> bool:
    """Whether a range of an expression ends before it begins, or where (`22-6`, `fri-mon`, `0-0`), of which everybody
    who reads expressions makes something else."""
    return any(_place(first) >= _place(last) for first, last in _RANGE.findall(cron))


def _place(value: str) -> int:
    """Where a value stands in its field; only those of one field can be compared."""
    return int(value) if value.isdigit() else NAMES.find(value.lower())


def _field(start: int, step: int, size: int) -> str:
    if step == size:
        return str(start)
    if step == 1:
        return "*"
    return f"*/{step}" if start == 0 else f"{start}-{size - 1}/{step}"


def calendar(policy: Policy) -> str | None:
    """The OnCalendar= of systemd that names the agent's slots. It is in UTC, whatever the machine's clock shows."""
    if policy.cron is not None:
        return None
    every, anchor = policy.every, policy.anchor % policy.every
    if every % _SECOND or anchor % _SECOND:
        return None
    second, minute, hour = anchor % _MINUTE // _SECOND, anchor % _HOUR // _MINUTE, anchor // _HOUR
    if every <= _MINUTE:
        return None if _MINUTE % every else f"*-*-* *:*:{_repeated(second, every // _SECOND, 60)} UTC"
    if every <= _HOUR:
        minutes = _repeated(minute, every // _MINUTE, 60)
        return None if _HOUR % every or every % _MINUTE else f"*-*-* *:{minutes}:{second:02} UTC"
    hours = _repeated(hour, every // _HOUR, 24)
    return None if _DAY % every or every % _HOUR else f"*-*-* {hours}:{minute:02}:{second:02} UTC"


def _repeated(start: int, step: int, size: int) -> str:
    if step == size:
        return f"{start:02}"
    return "*" if step == 1 else f"{start:02}/{step}"
