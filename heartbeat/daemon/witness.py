"""A second pair of eyes: it vouches for the loop only as long as the loop keeps what it promised.

The loop says how long its next step can take at most: a wait, or a beat with its deadline. While that holds, a thread
tells the supervisor that all is well, also during a beat that takes half an hour. A beat that does not end at its
deadline breaks the promise: the thread says so, vouches no more, and the supervisor ends and restarts us.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from heartbeat.daemon.supervisor import Supervisor
from heartbeat.instants import format_duration

GRACE = 60.0
"""Seconds that a step may take beyond its promise: what is put on record at the end of a beat has no deadline of its
own but those of the locks on the database."""

INTERVAL = 2.0
"""Seconds between two looks where the supervisor does not ask for more: whoever pressed Ctrl-C waits for a word."""

_EXTENSION = 5.0
"""An end that takes long asks for time so many intervals at once."""


class Witness:
    """Watches one loop, from `with` to its end. `stopping` names the order to stop, once there is one."""

    def __init__(
        self,
        supervisor: Supervisor,
        monotonic: Callable[[], float],
        stopping: Callable[[], str],
        say: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._monotonic = monotonic
        self._stopping = stopping
        self._say = say
        self._complain = complain
        self._promise = (monotonic() + GRACE, "the start")
        self._told_of_end = False
        self._broken = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)
        watchdog = supervisor.watchdog
        self.interval = INTERVAL if watchdog is None else min(INTERVAL, watchdog / 2)

    def promise(self, seconds: float, what: str) -> None:
        """From now on the loop does `what`, and that takes at most so long."""
        self._promise = (self._monotonic() + seconds + GRACE, what)

    def look(self) -> None:
        """One look: vouch, or say once what is stuck."""
        until, what = self._promise
        late = self._monotonic() - until
        if late < 0:
            if self._broken:
                self._broken = False
                self._complain("it goes on after all")
            if self._supervisor.watchdog is not None:
                self._supervisor.alive()
            if self._stopping():
                self._tell_of_end(what)
        elif not self._broken:
            self._broken = True
            watched = "; the supervisor is not told any more that all is well" if self._supervisor.watchdog else ""
            self._complain(f"{what} should have ended {format_duration(late + GRACE)} ago and goes on{watched}")

    def _tell_of_end(self, what: str) -> None:
        """An end that takes a while says what it waits for, and asks for the time."""
        self._supervisor.needs(_EXTENSION * self.interval)
        if not self._told_of_end:
            self._told_of_end = True
            self._say(f"{self._stopping()}: {what} ends first; once more, and it is broken off")

    def _watch(self) -> None:
        while not self._over.wait(self.interval):
            self.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
