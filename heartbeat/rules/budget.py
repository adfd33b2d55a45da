"""What an agent's turns have cost today, and whether that is as much as the roster allows. Pure.

A day is a calendar day in the roster's time zone, however many hours the clocks there give it. Turns are counted by
when the engine accepted them. What is not known of a turn is not 0 (see attempt.Usage): it is counted apart and told,
and stops nobody, since it might be nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import fsum, isfinite
from typing import Any

from heartbeat.attempt import Attempt
from heartbeat.rules.windows import in_utc

_DAY = timedelta(days=1)
_SCALE = 6
"""Digits of a dollar that count: sums of binary fractions are off by less."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one agent may use in a day; None is without a limit."""

    turns_per_day: int | None = None
    tokens_per_day: int | None = None
    cost_per_day_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used. `tokens` are those of requests and answers; `unknown_tokens` and `unknown_cost` count the turns
    that have not told, or not yet."""

    turns: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    unknown_cost: int = 0
    unknown_tokens: int = 0


def budget_of(settings: Mapping[str, Any]) -> Budget:
    """The roster's `budget` section, as it stands in `Roster.extra`."""
    return Budget(
        turns_per_day=settings.get("turns_per_day"),
        tokens_per_day=settings.get("tokens_per_day"),
        cost_per_day_usd=settings.get("cost_per_day_usd"),
    )


def spent(attempts: Iterable[Attempt], since: datetime, until: datetime | None = None) -> Spent:
    """What those attempts used that an engine accepted from `since` on and before `until`: the end of the day, since
    what a clock that ran ahead has dated later belongs to another one."""
    begin, end = in_utc(since), None if until is None else in_utc(until)
    turns = [
        attempt
        for attempt in attempts
        if attempt.accepted_at is not None
        and begin <= in_utc(attempt.accepted_at)
        and (end is None or in_utc(attempt.accepted_at) < end)
    ]
    tokens = [_tokens(attempt) for attempt in turns]
    costs = [_cost(attempt) for attempt in turns]
    return Spent(
        turns=len(turns),
        tokens=sum(each for each in tokens if each is not None),
        cost_usd=round(fsum(each for each in costs if each is not None), _SCALE),
        unknown_cost=costs.count(None),
        unknown_tokens=tokens.count(None),
    )


def day_began(now: datetime, timezone: str) -> datetime:
    """The first instant of the calendar day that `now` lies in, in UTC."""
    zone = _zone(timezone)
    return _midnight(in_utc(now).astimezone(zone).date(), zone)


def day_ends(now: datetime, timezone: str) -> datetime:
    """The first instant of the next calendar day, in UTC."""
    zone = _zone(timezone)
    return _midnight(in_utc(now).astimezone(zone).date() + _DAY, zone)


def over(spent: Spent, budget: Budget) -> str:
    """Why no further turn may be started today, or nothing. At the limit is over: a further turn would exceed it."""
    if budget.turns_per_day is not None and spent.turns >= budget.turns_per_day:
        return f"{_turns(spent.turns)} today, and the budget has {budget.turns_per_day} a day"
    if budget.tokens_per_day is not None and spent.tokens >= budget.tokens_per_day:
        told = f"{spent.tokens:,} tokens today, and the budget has {budget.tokens_per_day:,} a day"
        return told + _unknown(spent.unknown_tokens, "tokens")
    if budget.cost_per_day_usd is not None and spent.cost_usd >= round(budget.cost_per_day_usd, _SCALE):
        told = f"${spent.cost_usd:,.2f} today, and the budget has ${budget.cost_per_day_usd:,.2f} a day"
        return told + _unknown(spent.unknown_cost, "cost")
    return ""


def _turns(number: int) -> str:
    return f"{number} turn" if number == 1 else f"{number} turns"


def _unknown(number: int, what: str) -> str:
    return f" (the {what} of {_turns(number)} not known)" if number else ""


def _tokens(attempt: Attempt) -> int | None:
    """Those that are known of it; None where neither count is."""
    told = [each for each in (attempt.usage.input_tokens, attempt.usage.output_tokens) if each is not None]
    return sum(max(each, 0) for each in told) if told else None


def _cost(attempt: Attempt) -> float | None:
    cost = attempt.usage.cost_usd
    return cost if cost is not None and isfinite(cost) and cost >= 0 else None


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The first instant of a day there. Read with the offset from before any change of the clocks (fold 0), a midnight
    that they skip is the instant at which they do, and of one that they go through twice it is the first (rule B6)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone, fold=0).astimezone(UTC)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
