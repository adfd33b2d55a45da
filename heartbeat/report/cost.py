"""What turns have cost: by agent and calendar day in the roster's time zone, next to the beats that started none.

Pure. A turn counts on the day on which its engine accepted it, as it does for the budget (rules/budget.py); what a turn
does not tell is counted apart, and is not 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from math import fsum
from typing import TypeVar

from heartbeat.attempt import Attempt, Outcome
from heartbeat.rules.budget import Budget, Spent, spent
from heartbeat.rules.decisions import Reason
from heartbeat.store.port import Receipt

RUNNING = "running"
"""Stands among the outcomes for turns that have not ended."""

_DAY = timedelta(days=1)

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Line:
    """What one agent's turns cost on one day, or all of them together.

    `ended` counts turns by outcome, and those that go on as `running`. `beats` are all receipts; of those that started
    no turn `idle` counts the reasons, and `off` are those of agents that heartbeat starts nobody for, where nothing was
    decided. `unasked` counts attempts that no engine accepted: no model was asked.
    """

    agent: str
    day: date | None
    turns: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    unasked: int = 0
    beats: int = 0
    started: int = 0
    idle: Mapping[str, int] = field(default_factory=dict)
    off: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unknown_tokens: int = 0
    unknown_cost: int = 0

    @property
    def without_turn(self) -> int:
        """Beats that asked no model."""
        return self.beats - self.started

    @property
    def is_empty(self) -> bool:
        return not (self.turns or self.unasked or self.beats)


@dataclass(frozen=True, slots=True)
class Left:
    """What an agent has used today, and what its budget leaves; None where there is no limit."""

    agent: str
    spent: Spent
    turns: int | None
    tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Bill:
    """Lines by day and agent, the days in order; one total an agent, and one of all."""

    lines: tuple[Line, ...]
    totals: tuple[Line, ...]
    total: Line


def day_of(instant: datetime, zone: tzinfo) -> date:
    return instant.astimezone(zone).date()


def bill(
    agents: Sequence[str],
    attempts: Iterable[Attempt],
    receipts: Iterable[Receipt],
    first: date,
    last: date,
    zone: tzinfo,
) -> Bill:
    """The bill of these agents from the first day to the last, both included. A beat or a turn of another agent or day
    counts nowhere."""
    turns: dict[tuple[str, date], list[Attempt]] = {}
    beats: dict[tuple[str, date], list[Receipt]] = {}
    for attempt in attempts:
        day = day_of(attempt.accepted_at or attempt.planned_at, zone)
        if attempt.agent in agents and first <= day <= last:
            turns.setdefault((attempt.agent, day), []).append(attempt)
    for receipt in receipts:
        day = day_of(receipt.started_at, zone)
        if receipt.agent in agents and first <= day <= last:
            beats.setdefault((receipt.agent, day), []).append(receipt)
    days = [first + _DAY * number for number in range((last - first).days + 1)]
    lines = tuple(
        _line(agent, day, turns.get((agent, day), ()), beats.get((agent, day), ()))
        for day in days
        for agent in agents
        if (agent, day) in turns or (agent, day) in beats
    )
    totals = tuple(_line(agent, None, _all(turns, agent), _all(beats, agent)) for agent in agents)
    return Bill(lines, totals, _line("", None, _all(turns), _all(beats)))


def _all(found: Mapping[tuple[str, date], list[_Thing]], agent: str | None = None) -> list[_Thing]:
    return [each for (whose, _), some in found.items() if agent in (None, whose) for each in some]


def _line(agent: str, day: date | None, attempts: Iterable[Attempt], receipts: Iterable[Receipt]) -> Line:
    known = list(attempts)
    turns = [each for each in known if each.was_turn]
    ended = Counter(RUNNING if each.outcome is None else each.outcome.value for each in turns)
    beats = list(receipts)
    decided = [each for each in beats if each.dispatch.get("decision") and each.dispatch.get("reason") != Reason.NONE]
    started = [each for each in decided if _began(each)]
    idle = Counter(_why_none(each) for each in decided if not _began(each))
    usages = [each.usage for each in turns]
    costs = [each.cost_usd for each in usages if each.cost_usd is not None]
    return Line(
        agent=agent,
        day=day,
        turns=len(turns),
        ended={name: ended[name] for name in (*Outcome, RUNNING) if ended[name]},
        unasked=sum(1 for each in known if not each.was_turn and each.is_finished),
        beats=len(beats),
        started=len(started),
        idle=dict(idle.most_common()),
        off=len(beats) - len(decided),
        input_tokens=sum(each.input_tokens or 0 for each in usages),
        output_tokens=sum(each.output_tokens or 0 for each in usages),
        cost_usd=round(fsum(costs), 6),
        unknown_tokens=sum(1 for each in usages if each.input_tokens is None and each.output_tokens is None),
        unknown_cost=len(usages) - len(costs),
    )


def _began(receipt: Receipt) -> bool:
    """Whether the beat started a turn, or may have done so."""
    return receipt.dispatch.get("result") in ("running", "unknown")


def _why_none(receipt: Receipt) -> str:
    """The reason of a skip, else how far the start came."""
    return str(receipt.dispatch.get("reason") or receipt.dispatch.get("result") or "unknown")


def left(agent: str, attempts: Iterable[Attempt], budget: Budget, began: datetime, ends: datetime) -> Left:
    """What the agent's budget leaves of the day; never below zero."""
    used = spent((each for each in attempts if each.agent == agent), began, ends)
    return Left(
        agent,
        used,
        None if budget.turns_per_day is None else max(budget.turns_per_day - used.turns, 0),
        None if budget.tokens_per_day is None else max(budget.tokens_per_day - used.tokens, 0),
        None if budget.cost_per_day_usd is None else max(round(budget.cost_per_day_usd - used.cost_usd, 6), 0.0),
    )
