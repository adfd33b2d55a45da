"""What every source must do over every transport, fake or real. A case says how one of them is set up and broken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from heartbeat.systems.base import FailureKind, Source

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


class Fault(StrEnum):
    """Ways in which a source can fail as a whole."""

    GONE = "gone"
    """Nothing answers: server stopped, binary missing, file deleted."""
    DENIED = "denied"
    """It answers, and refuses us: wrong token, no permission."""
    GARBAGE = "garbage"
    """It answers with something that is not what was asked for."""
    HANGING = "hanging"
    """It never answers."""
    EMPTY = "empty"
    """It answers with nothing at all: an empty body, an empty stdout with exit 0."""


@dataclass
class Case:
    """One source over one transport, filled with known work and ready to be read."""

    source: Source
    transport: str
    titles: frozenset[str]
    """The title of every item that a complete read must give."""
    now: datetime = NOW
    """The present that the reader is told; a real system's records carry real times."""
    secret: str | None = None
    """A credential in use; it must never show in a report."""
    writes: Callable[[], list[str]] = field(default=list)
    """Calls that changed something at the outside system since the case was opened."""
    faults: dict[Fault, Callable[[], FailureKind]] = field(default_factory=dict)
    """How to break it; each returns the kind of failure that must be reported then."""


OpenCase = Callable[[Path], AbstractContextManager[Case]]
"""Opens a case in a directory of its own; leaving it stops whatever it started."""
