"""Instants and durations as text (rules S8, B6): parse, check, print. Pure: the present is always an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)

CLOCK_SKEW = timedelta(minutes=5)
"""A time further ahead than this is taken as now and reported (rule S8)."""

_MILLISECONDS_FROM = 100_000_000_000
"""Numbers from here on are milliseconds: as seconds this is the year 5138, as milliseconds March 1973."""


def parse_duration(text: str) -> timedelta:
    """`90s`, `20m`, `1h30m`, `2d` or `1w` as a timedelta; raises ValueError for anything else, zero included."""
    folded = text.strip().lower()
    if not _DURATION.fullmatch(folded):
        raise ValueError(f"{text!r} is not a duration; write 90s, 20m, 1h30m or 2d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(folded))
    try:
        duration = timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than heartbeat can count") from error
    if duration <= timedelta(0):
        raise ValueError(f"{text!r} is no time at all; write a duration above zero")
    return duration


def format_duration(duration: timedelta | float) -> str:
    """A duration (or seconds) as people write it, with its two largest units: `45s`, `12m`, `1h30m`, `3d4h`."""
    seconds = round(duration.total_seconds() if isinstance(duration, timedelta) else duration)
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 60:
        return f"{seconds}s"
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    first = next(index for index, (_, size) in enumerate(units) if seconds >= size)
    name, size = units[first]
    text = f"{seconds // size}{name}"
    below, below_size = units[first + 1]
    rest = seconds % size // below_size
    return f"{text}{rest}{below}" if rest and below != "s" else text


def exact_duration(duration: timedelta) -> str:
    """A duration that somebody has set, as it is written in a roster and to the last digit: `90s` is `1m30s`. What was
    measured is told by `format_duration`."""
    if duration < timedelta(0):
        return "-" + exact_duration(-duration)
    whole, parts = duration // timedelta(seconds=1), []
    fraction = f"{duration.microseconds:06}".rstrip("0")
    for name in ("d", "h", "m"):
        count, whole = divmod(whole, _UNITS[name])
        parts.append(f"{count}{name}" if count else "")
    parts.append(f"{whole}.{fraction}s" if fraction else f"{whole}s" if whole else "")
    return "".join(parts) or "0s"


def parse_instant(value: object) -> datetime | None:
    """An aware UTC datetime from ISO 8601 text or epoch seconds or milliseconds; None where there is no time in it.

    Text without a zone is UTC; milliseconds and seconds are told apart by size (rule S8).
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _from_epoch(value)
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    if re.fullmatch(r"\d{9,17}(\.\d+)?", text, re.ASCII):
        return _from_epoch(float(text))
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_epoch(number: float) -> datetime | None:
    if not number > 0:
        return None
    try:
        seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def not_after(instant: datetime | None, now: datetime) -> tuple[datetime | None, bool]:
    """The instant, or now where it lies more than five minutes ahead; and whether it was corrected (rule S8)."""
    if instant is not None and instant - now > CLOCK_SKEW:
        return now, True
    return instant, False


def to_text(instant: datetime) -> str:
    """ISO 8601 in UTC with whole milliseconds and a Z, the one form that the JSON output uses."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
