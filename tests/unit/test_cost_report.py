"""What turns cost by agent and calendar day, and the beats that asked no model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from heartbeat.attempt import Attempt, Outcome, Usage
from heartbeat.report.cost import Bill, Line, bill, left
from heartbeat.rules.budget import Budget, day_began, day_ends
from heartbeat.store.port import Receipt
from tests.support.receipts import attempt, over

ZONE = ZoneInfo("Asia/Shanghai")
MIDNIGHT = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
"""Where the 21st begins in Shanghai."""
SECOND = timedelta(seconds=1)
FIRST_DAY, LAST_DAY = date(2026, 11, 20), date(2026, 11, 21)


SOME = Usage(1000, 10, 0.01)


def turn(number: int, at: datetime, usage: Usage = SOME, **changes: Any) -> Attempt:
    """A turn that was accepted then, and completed."""
    begun = attempt(number, agent="a", accepted_at=at, planned_at=at - SECOND)
    return over(replace(begun, usage=usage), at + SECOND, **changes)


def beat(number: int, at: datetime, agent: str = "a", **dispatch: Any) -> Receipt:
    return Receipt(f"b-{number}", agent, None, at, at, "done", degraded=False, dispatch=dispatch)


def made(*attempts: Attempt, beats: tuple[Receipt, ...] = (), agents: tuple[str, ...] = ("a", "b")) -> Bill:
    return bill(agents, attempts, beats, FIRST_DAY, LAST_DAY, ZONE)


def line(found: Bill, agent: str, day: date) -> Line:
    return next(each for each in found.lines if (each.agent, each.day) == (agent, day))


def test_a_turn_counts_on_the_calendar_day_on_which_it_was_accepted() -> None:
    found = made(turn(1, MIDNIGHT - SECOND / 2), turn(2, MIDNIGHT), turn(3, MIDNIGHT + timedelta(hours=23)))
    assert line(found, "a", FIRST_DAY).turns == 1
    today = line(found, "a", LAST_DAY)
    assert (today.turns, today.input_tokens, today.output_tokens, today.cost_usd) == (2, 2000, 20, 0.02)
    assert [(each.agent, each.turns) for each in found.totals] == [("a", 3), ("b", 0)]
    assert found.total.turns == 3


def test_what_lies_outside_of_the_days_or_is_of_somebody_else_counts_nowhere() -> None:
    early, late = turn(1, MIDNIGHT - timedelta(days=1, seconds=1)), turn(2, MIDNIGHT + timedelta(days=1))
    stranger = replace(turn(3, MIDNIGHT), agent="c")
    beats = (beat(1, MIDNIGHT, "c"), beat(2, MIDNIGHT + timedelta(days=1)))
    assert made(early, late, stranger, beats=beats).total.is_empty


def test_what_a_turn_does_not_tell_is_counted_apart_and_is_not_nothing() -> None:
    found = made(turn(1, MIDNIGHT, Usage()), turn(2, MIDNIGHT, Usage(5, None, None)), turn(3, MIDNIGHT)).total
    assert (found.input_tokens, found.output_tokens, found.cost_usd) == (1005, 10, 0.01)
    assert (found.unknown_tokens, found.unknown_cost) == (1, 2)


def test_turns_are_counted_by_outcome_and_what_no_engine_took_is_no_turn() -> None:
    refused = over(attempt(4, agent="a", planned_at=MIDNIGHT), MIDNIGHT, Outcome.SPAWN_FAILED)
    running = attempt(5, agent="a", planned_at=MIDNIGHT, accepted_at=MIDNIGHT)
    planned = attempt(6, agent="a", planned_at=MIDNIGHT)
    failed = turn(7, MIDNIGHT, outcome=Outcome.FAILED)
    found = made(turn(1, MIDNIGHT), failed, refused, running, planned).total
    assert found.ended == {"completed": 1, "failed": 1, "running": 1}
    assert (found.turns, found.unasked) == (3, 1)


def test_beats_that_started_nothing_are_told_by_reason_and_cost_no_turn() -> None:
    beats = (
        beat(1, MIDNIGHT, decision="skip", reason="no_work"),
        beat(2, MIDNIGHT, decision="skip", reason="no_work"),
        beat(3, MIDNIGHT, decision="skip", reason="budget"),
        beat(4, MIDNIGHT, decision="start", reason=None, result="failed"),
        beat(5, MIDNIGHT, decision="start", reason=None, result="running"),
        beat(6, MIDNIGHT, decision="continue", reason=None, result="unknown"),
        beat(7, MIDNIGHT, decision="skip", reason="none"),
        beat(8, MIDNIGHT),
    )
    found = made(beats=beats).total
    assert dict(found.idle) == {"no_work": 2, "budget": 1, "failed": 1}
    assert (found.beats, found.started, found.without_turn, found.off) == (8, 2, 6, 2)
    assert (found.turns, found.input_tokens, found.cost_usd) == (0, 0, 0.0)


def test_what_is_left_of_the_day_never_goes_below_nothing() -> None:
    began, ends = day_began(MIDNIGHT, "Asia/Shanghai"), day_ends(MIDNIGHT, "Asia/Shanghai")
    turns = [turn(1, MIDNIGHT), turn(2, MIDNIGHT), turn(3, MIDNIGHT - SECOND)]
    found = left("a", turns, Budget(5, 1500, 0.05), began, ends)
    assert (found.turns, found.tokens, found.cost_usd) == (3, 0, 0.03)
    assert left("a", turns, Budget(), began, ends).turns is None
    assert left("b", turns, Budget(5), began, ends).turns == 5
