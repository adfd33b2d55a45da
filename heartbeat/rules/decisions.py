"""What a decision about an agent's turn may be, and how it stands on record (rule X1). Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from heartbeat.attempt import DeadLetter
from heartbeat.instants import to_text
from heartbeat.provider import Provider
from heartbeat.rules.failover import Exhausted
from heartbeat.task import Task


class Reason(StrEnum):
    """Why no turn is started, or not on this task: stable words for receipts and JSON."""

    NONE = "none"
    """The roster does not let heartbeat start turns."""
    OBSERVING = "observing"
    """Memory was lost, and nobody has accepted that yet (rule B7)."""
    PAUSED = "paused"
    BUSY = "busy"
    """A turn of the agent goes on, or the task is somebody else's at this moment (rule X5)."""
    NO_WORK = "no_work"
    TALKING = "talking"
    """A person talks to the agent (rule B4)."""
    DEGRADED = "degraded"
    """Something could not be read that must be known first (rules G1, S2, T7)."""
    LIMIT = "limit"
    """As many turns go on as the roster allows at once."""
    NO_TIME = "no_time"
    """The beat's own time was over before its turn came."""
    BUDGET = "budget"
    CHANGED = "changed"
    """It was written to since it was read; the next look tells what it is now."""
    HELD = "held"
    """A declared long operation (rule T5)."""
    WAITING = "waiting"
    """It depends on something that is not done (rule D4)."""
    ROUNDS_EXHAUSTED = "rounds_exhausted"
    DEAD_LETTER = "dead_letter"
    """No provider would do it; it is tried again later, or left for a person (rule F4)."""
    BREAKER_OPEN = "breaker_open"
    """Nobody can be asked now (rules F2, F3)."""
    ENGINE = "engine"
    """The engine does not start turns for tasks like this one."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A better placed task for which nothing is started. `until` is when that may change by itself.

    `give_up` is set where its chain of attempts has come to an end that nobody has drawn the conclusion from: the task
    is a dead letter from now on (rule F4).
    """

    task: Task
    reason: Reason
    told: str
    until: datetime | None = None
    give_up: Exhausted | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """The agent's task in progress, whose turn has ended, gets its next one. `letter` is the one it is a replay of."""

    task: Task
    told: str
    provider: Provider
    letter: DeadLetter | None = None
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """A task that was not in progress gets its first turn, or as a replay of `letter` its first one again."""

    task: Task
    told: str
    provider: Provider
    letter: DeadLetter | None = None
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    """No turn is started. `until` is the earliest instant at which that may change by itself, where one is known."""

    reason: Reason
    told: str
    until: datetime | None = None
    passed: tuple[Passed, ...] = ()


Decision: TypeAlias = Continue | Start | Skip


def record_of(decision: Decision) -> dict[str, Any]:
    """The decision as plain JSON, for a receipt; what there is nothing to say of is null.

    `decision` is `continue`, `start` or `skip`; `reason` and `until` are a skip's, `task`, `provider` and `letter` the
    others'. `passed` holds `{task, reason, told, until}` of at most 20 tasks, and `passed_over` counts them all.
    """
    record: dict[str, Any] = {"decision": _NAMES[type(decision)], "told": decision.told}
    if isinstance(decision, Skip):
        record |= {"reason": decision.reason.value, "until": _stamp(decision.until)}
        record |= {"task": None, "provider": None, "letter": None}
    else:
        letter = None if decision.letter is None else decision.letter.id
        record |= {"reason": None, "until": None}
        record |= {"task": decision.task.key, "provider": decision.provider.name, "letter": letter}
    passed = [
        {"task": each.task.key, "reason": each.reason.value, "told": each.told, "until": _stamp(each.until)}
        for each in decision.passed[:_SHOWN]
    ]
    return {**record, "passed": passed, "passed_over": len(decision.passed)}


_SHOWN = 20
"""Tasks that were passed over, in one receipt: an agent may have hundreds that wait."""

_NAMES: Mapping[type, str] = {Continue: "continue", Start: "start", Skip: "skip"}


def _stamp(instant: datetime | None) -> str | None:
    return None if instant is None else to_text(instant)
