"""Deadlines: how long a call may take, as a point on the monotonic clock (rule S4)."""

from __future__ import annotations

import time
from dataclasses import dataclass

LONGEST_BEAT = 900.0
"""Seconds that a beat may take at most, however seldom its agents are due: one that is stopped stands in the way of all
whom it shares a service or a daemon with (rule B1)."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock by which a call must have ended (rule S4)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that remain, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def at_most(self, seconds: float) -> Deadline:
        """The same deadline, or one `seconds` from now if that is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))
