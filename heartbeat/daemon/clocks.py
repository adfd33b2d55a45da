"""What the clocks show, and what must have happened between two looks at them (rules B2, B6).

Beats are due by the wall clock, which people and programs set. Two clocks that nobody sets tell by how much: one that
rests while the machine is suspended, and one that does not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from heartbeat.instants import format_duration

TOLERANCE = timedelta(seconds=2)
"""Clocks that are kept right drift apart by less between two looks; a smaller step makes no beat late or early."""

STOOD_STILL = timedelta(seconds=10)
"""A pause that takes this much longer than asked for is worth a word: it makes beats late."""


@dataclass(frozen=True, slots=True)
class Look:
    """The three clocks at one instant.

    `awake` is in seconds since no particular time and rests while the machine is suspended; `elapsed` is like it and
    goes on. It is None where the system has no such clock.
    """

    wall: datetime
    awake: float
    elapsed: float | None


def look() -> Look:
    """The clocks of this machine."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    elapsed = None if boot is None else time.clock_gettime(boot)
    return Look(datetime.now(UTC), time.monotonic(), elapsed)


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between two looks besides the time that passed. Small ones are zero.

    `set_by` is by how much the wall clock was set, below zero for back; `slept` how long the machine was suspended,
    None where that cannot be told from a clock that was set forward; `stood` by how much longer than asked we waited.
    """

    set_by: timedelta = timedelta(0)
    slept: timedelta | None = timedelta(0)
    stood: timedelta = timedelta(0)

    @property
    def moved(self) -> bool:
        """Whether what was worked out by the wall clock holds no longer."""
        return bool(self.set_by) or bool(self.slept)

    def told(self) -> tuple[str, ...]:
        """One sentence for each thing that happened."""
        said = []
        if self.slept:
            said.append(f"the machine slept for {format_duration(self.slept)}")
        if self.set_by > timedelta(0):
            unsure = "" if self.slept is not None else ", or the machine slept for as long"
            said.append(f"the clock was set forward by {format_duration(self.set_by)}{unsure}")
        if self.set_by < timedelta(0):
            said.append(f"the clock was set back by {format_duration(-self.set_by)}")
        if self.stood:
            said.append(f"this process stood still for {format_duration(self.stood)}: stopped, or the machine crowded")
        return tuple(said)


def between(before: Look, after: Look, asked: float | None = None) -> Gap:
    """What happened from one look to the next; `asked` is how many seconds were to be waited, where that was all."""
    awake = after.awake - before.awake
    passed, slept = awake, None
    if before.elapsed is not None and after.elapsed is not None:
        passed = after.elapsed - before.elapsed
        slept = _sizeable(timedelta(seconds=passed - awake), TOLERANCE)
    set_by = _sizeable(after.wall - before.wall - timedelta(seconds=passed), TOLERANCE)
    stood = timedelta(0) if asked is None else timedelta(seconds=max(0.0, awake - asked))
    return Gap(set_by, slept, _sizeable(stood, STOOD_STILL))


def _sizeable(duration: timedelta, least: timedelta) -> timedelta:
    return duration if abs(duration) >= least else timedelta(0)
