"""One thing that the doctor looked at, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from heartbeat.attempt import Attempt, DeadLetter
from heartbeat.breaker import Breaker
from heartbeat.rules.degradation import SourceState


class Level(StrEnum):
    """How bad it is: `failed` makes `heartbeat doctor` exit 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `area` groups them: program, state, a source's name, an agent's id."""

    area: str
    subject: str
    level: Level
    message: str
    advice: str = ""


def worst(checks: Iterable[Check]) -> Level:
    """The worst level there is."""
    order = list(Level)
    return max((check.level for check in checks), key=order.index, default=Level.OK)


@dataclass(slots=True)
class Known:
    """What the checks found besides, for the level and for checks that come later. `problem` is what is wrong with the
    state, `lost` why memory was lost."""

    sources: list[SourceState] = field(default_factory=list)
    breakers: tuple[Breaker, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    problem: str = ""
    lost: str = ""
