"""When a source was seen, and how much of a stretch of time that was: idle time is watched time (rules T6, B6). Pure.

Instants may stand in any zone; they are compared and subtracted in UTC, since subtraction inside one zone is wrong
where its clocks change (rule B6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from heartbeat.memory import Window

GAP_BEATS = 3
"""A source that was not seen completely for longer than this many beats was not seen in between (rule T6). A tick that
is late, or one that is missed, is no gap; an outage, a suspended machine and a clock that was set forward are."""


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC; one without a zone is UTC already (rule S8)."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def extended(windows: Sequence[Window], now: datetime, beat: timedelta) -> tuple[Window, ...]:
    """A source's windows, earliest first, after a complete look at it at `now`.

    The last window grows up to now, or a new one begins after a gap. What lies after now was seen by a clock that has
    been set back since, and is cut off: nothing can have been watched there yet. Where a whole window is cut off, how
    long it was since the one before is not known, and that counts as a gap.
    """
    now = in_utc(now)
    past = [Window(in_utc(window.began), min(in_utc(window.until), now)) for window in windows]
    past = [window for window in past if window.began <= now]
    patience = GAP_BEATS * beat if len(past) == len(windows) else timedelta(0)
    if past and now - past[-1].until <= patience:
        return (*past[:-1], Window(past[-1].began, now))
    return (*past, Window(now, now))


def observed(windows_by_source: Sequence[Sequence[Window]], since: datetime, now: datetime) -> timedelta:
    """How much of the time from `since` to `now` lies in a window of every one of the sources (rule T6).

    Never negative, never more than the time itself; zero where no source is given.
    """
    stretch = Window(in_utc(since), in_utc(now))
    if not windows_by_source or stretch.until <= stretch.began:
        return timedelta(0)
    seen: Iterable[Window] = (stretch,)
    for windows in windows_by_source:
        seen = _both(tuple(seen), windows)
    return sum((window.until - window.began for window in seen), timedelta(0))


def settled(windows: Sequence[Window], now: datetime, beat: timedelta) -> bool:
    """Whether a source was seen completely twice, at least one beat apart, since it was last out of sight (rule T6).

    The last window must reach the present look; a look that was served by a snapshot reaches a little less far.
    """
    if not windows:
        return False
    last, now = windows[-1], in_utc(now)
    return timedelta(0) <= now - last.until <= GAP_BEATS * beat and last.until - last.began >= beat


def _both(ours: Sequence[Window], theirs: Sequence[Window]) -> Iterable[Window]:
    """What lies in a window of either side; each side is in order and without overlaps."""
    here = there = 0
    while here < len(ours) and there < len(theirs):
        one, other = ours[here], theirs[there]
        began, until = max(one.began, other.began), min(one.until, other.until)
        if began < until:
            yield Window(began, until)
        if one.until <= other.until:
            here += 1
        else:
            there += 1
