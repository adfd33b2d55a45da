"""A source that hangs for ever is left behind by every beat; here it is left behind once.

A beat that gives up on a read leaves its thread behind, which ends with the process. The daemon's process does not end:
without this, a file system that answers no more would cost it a thread a beat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from heartbeat.instants import format_duration
from heartbeat.roster.model import Roster
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.base import Deadline, FailureKind, Probe, Reading, Source, TransportError, heard
from heartbeat.task import Presence


class OneAtATime:
    """Builds sources (it is a `SourceBuilder`) that refuse to be read while an earlier read of the same name hangs.

    Raises TransportError for such a one, so that the sweep reports it as failed at once, and shows what it said last.
    """

    def __init__(self, build: SourceBuilder, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._build = build
        self._monotonic = monotonic
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Source:
        self._refuse(name)
        return _Watched(self._build(name, roster, environment), self)

    def _refuse(self, name: str) -> None:
        with self._lock:
            began = self._began.get(name)
        if began is not None:
            since = format_duration(self._monotonic() - began)
            raise TransportError(
                FailureKind.TIMEOUT,
                f"a read of it that began {since} ago has not come back; it is not read again before that",
                advice="see whether what it reads hangs (a file system, a plug-in); restarting the daemon lets it go",
            )

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """One read, from its beginning to its end."""
        with self._lock:
            self._began[name] = self._monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._began.pop(name, None)


@dataclass(frozen=True, slots=True)
class _Watched:
    """Implements Source: the real one behind it."""

    source: Source
    readers: OneAtATime

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def identity(self) -> str:
        return self.source.identity

    @property
    def shareable(self) -> bool:
        return self.source.shareable

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        with self.readers.reading(self.name):
            return self.source.read(deadline, now)

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return self.source.probe(deadline)

    def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
        with self.readers.reading(self.name):
            return heard(self.source, agents, deadline, now)
