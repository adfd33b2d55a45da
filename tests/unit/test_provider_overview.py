"""How providers stand, in words and numbers (rules F1 to F3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from heartbeat.attempt import Attempt, Cause, Engine, Outcome
from heartbeat.breaker import Breaker, State
from heartbeat.instants import to_text
from heartbeat.provider import MULTICA_NATIVE, NATIVE, Failover, Provider, Strategy
from heartbeat.report.providers import (
    Overview,
    Shut,
    Standing,
    ended_told,
    explained,
    last_told,
    limits_told,
    overview,
    shut_for,
    state_told,
)
from tests.support.items import NOW
from tests.support.receipts import attempt, over

MINUTE = timedelta(minutes=1)
FIRST, SECOND = Provider("first", "first/m", 1), Provider("second", "second/m", 2)
THIRD = Provider("third", "third/m", 3, enabled=False)
MANAGED = Failover(Strategy.MANAGED, (FIRST, SECOND, THIRD))
OPEN = Breaker("first", State.OPEN, 3, 1, NOW + 5 * MINUTE, why="503", changed_at=NOW)


def seen(*breakers: Breaker, attempts: tuple[Attempt, ...] = (), **changes: Any) -> Overview:
    given: dict[str, Any] = {"failover": MANAGED, "engines": (Engine.OPENCLAW,), "now": NOW, **changes}
    known = {each.provider: each for each in breakers}
    return overview(given["failover"], given["engines"], known, attempts, given["now"])


def standing(breaker: Breaker, now: timedelta = timedelta()) -> Standing:
    return next(each for each in seen(breaker, now=NOW + now).providers if each.name == breaker.provider)


@pytest.mark.parametrize(
    ("breaker", "later", "told"),
    [
        (Breaker("first"), timedelta(), "ready"),
        (replace(Breaker("first"), failures=2, why="503"), timedelta(), "ready"),
        (OPEN, timedelta(), "open for 5m"),
        (OPEN, 5 * MINUTE, "to be tried"),
        (replace(OPEN, state=State.HALF_OPEN, until=None, probe="hb-1", probe_at=NOW), MINUTE, "on trial"),
        (replace(OPEN, state=State.HALF_OPEN, until=None, probe="hb-1", probe_at=NOW), 16 * MINUTE, "to be tried"),
        (replace(Breaker("first"), cooled_until=NOW + MINUTE), timedelta(), "cools down for 1m"),
        (replace(Breaker("first"), cooled_until=NOW + MINUTE), MINUTE, "ready"),
        (Breaker("third"), timedelta(), "disabled"),
    ],
)
def test_a_breaker_is_told_in_two_or_three_words(breaker: Breaker, later: timedelta, told: str) -> None:
    assert state_told(standing(breaker, later), NOW + later) == told


def test_what_stands_behind_the_state_is_told_with_times_and_without_foreign_text() -> None:
    told = " ".join(explained(standing(replace(OPEN, why="SECRET")), MANAGED.rules, to_text))
    assert told == (f"nobody asks it until {to_text(NOW + 5 * MINUTE)}, then one turn tries it; it has opened once")
    twice = replace(OPEN, openings=2, state=State.HALF_OPEN, until=None, probe="hb-1", probe_at=NOW)
    assert explained(standing(twice), MANAGED.rules, to_text) == (
        f"half-open since {to_text(NOW)}: it was open (2 times in a row), and hb-1 tries it: that decides whether "
        "it is asked again",
    )
    over_by_itself = explained(standing(OPEN, 6 * MINUTE), MANAGED.rules, to_text)
    assert over_by_itself[0].startswith(
        f"half-open since {to_text(NOW + 5 * MINUTE)}: it was open (once), and the next"
    )
    counting = replace(Breaker("first"), failures=2)
    assert explained(standing(counting), MANAGED.rules, to_text) == ("closed; 2 failures in a row, at 3 it opens",)
    assert explained(standing(Breaker("first")), MANAGED.rules, to_text) == ()


def test_F1_who_is_asked_next_is_the_first_that_may_be() -> None:
    assert [each.name for each in seen().providers if each.next] == ["first"]
    assert [each.name for each in seen(OPEN).providers if each.next] == ["second"]
    nobody = seen(OPEN, replace(OPEN, provider="second"))
    assert not [each for each in nobody.providers if each.next]
    assert nobody.next.startswith("nobody can be asked now: first: its breaker is open for 5m; second: ")


def test_the_last_day_is_counted_by_outcome_and_older_attempts_are_not() -> None:
    day = timedelta(days=1)
    attempts = (
        over(attempt(1, provider="first"), NOW - day - timedelta(microseconds=1)),
        over(attempt(2, provider="first"), NOW - day),
        over(attempt(3, provider="first"), NOW, Outcome.TIMED_OUT, cause=Cause.COUNTS),
        over(attempt(4, provider="second"), NOW, Outcome.FAILED),
        attempt(5, provider="first"),
    )
    first, second, _ = seen(attempts=attempts).providers
    assert ended_told(first) == "1 completed, 1 timed out, 1 running"
    assert ended_told(second) == "1 failed"
    [engine] = seen(attempts=attempts).engines
    assert (engine.name, engine.provider, ended_told(engine)) == (
        "openclaw",
        None,
        "1 completed, 1 failed, 1 timed out, 1 running",
    )


def test_engines_are_shown_where_they_are_used_or_on_record_and_what_nobody_has_any_more_is_left() -> None:
    assert [each.name for each in seen(engines=()).engines] == []
    assert [each.name for each in seen(Breaker("multica"), engines=()).engines] == ["multica"]
    left = seen(Breaker("gone"), OPEN, Breaker("openclaw"))
    assert [each.name for each in left.left] == ["gone"]


def test_multicas_own_choice_is_a_provider_where_agents_are_started_there() -> None:
    names = [each.name for each in seen(engines=(Engine.OPENCLAW, Engine.MULTICA)).providers]
    assert names == ["first", "second", "third", MULTICA_NATIVE]
    alone = seen(failover=Failover(), engines=(Engine.OPENCLAW,))
    assert [each.name for each in alone.providers] == [NATIVE]


@pytest.mark.parametrize(("retries", "told"), [(0, "no retry"), (1, "1 retry"), (3, "3 retries")])
def test_how_often_and_how_long_it_is_asked(retries: int, told: str) -> None:
    assert limits_told(replace(FIRST, max_retries=retries)) == f"{told}, 30s to accept a turn, 10m for a turn"


NATIVE_OPEN = replace(OPEN, provider="native/coo")


def native(*breakers: Breaker, **agents: Engine) -> Overview:
    known = {each.provider: each for each in breakers}
    return overview(Failover(), frozenset(agents.values()), known, (), NOW, agents)


def test_F2_who_is_next_with_native_is_asked_of_each_agents_own_breaker() -> None:
    agents = {"coo": Engine.OPENCLAW, "architect": Engine.OPENCLAW}
    one = native(NATIVE_OPEN, **agents)
    assert [(each.name, each.next, each.shut) for each in one.providers] == [
        ("native", True, ("coo",)),
        ("native/coo", False, ()),
    ]
    assert state_told(one.providers[0], NOW) == "ready for 1 of 2 agents"
    assert explained(one.providers[0], MANAGED.rules, to_text) == ("not for coo: their own breakers stand below",)
    nobody = native(NATIVE_OPEN, replace(NATIVE_OPEN, provider="native/architect"), **agents)
    assert not any(each.next for each in nobody.providers)
    assert state_told(nobody.providers[0], NOW) == "shut for every agent"
    assert nobody.next == "nobody can be asked now: native: its breaker is open for 5m"


def test_with_multica_its_own_choice_is_next_for_those_whom_it_runs() -> None:
    found = native(replace(OPEN, provider="multica-native/coo"), coo=Engine.MULTICA, architect=Engine.MULTICA)
    told = {each.name: (each.next, each.shut) for each in found.providers}
    assert told[MULTICA_NATIVE] == (True, ("coo",))
    assert told["multica-native/coo"] == (False, ())


def test_the_last_turn_is_told_with_its_time() -> None:
    late, early = NOW - 18 * MINUTE, NOW - 30 * MINUTE
    attempts = (
        over(attempt(2, provider="first"), late, Outcome.FAILED, cause=Cause.COUNTS),
        over(attempt(1, provider="first"), early),
    )
    first = next(each for each in seen(attempts=attempts).providers if each.name == "first")
    assert last_told(first, NOW, to_text) == f"last turn: failed 18m ago, {to_text(late)}"
    assert last_told(standing(OPEN), NOW, to_text) == ""


@pytest.mark.parametrize(
    ("breakers", "until"),
    [
        ((), None),
        ((OPEN,), None),
        ((OPEN, replace(OPEN, provider="second", until=NOW + 9 * MINUTE)), NOW + 5 * MINUTE),
        ((replace(OPEN, provider="openclaw", until=NOW + 7 * MINUTE),), NOW + 7 * MINUTE),
        ((replace(OPEN, provider="multica"),), None),
    ],
)
def test_F2_nobody_can_be_asked_before_the_first_breaker_lets_a_probe_through(
    breakers: tuple[Breaker, ...], until: datetime | None
) -> None:
    known = {each.provider: each for each in breakers}
    found = shut_for("coo", Engine.OPENCLAW, MANAGED, known, NOW)
    assert (found.until if found else None) == until
    assert (found is None) == (until is None)


def test_where_no_provider_is_enabled_nobody_knows_when_one_can_be_asked() -> None:
    off = Failover(Strategy.MANAGED, (THIRD,))
    assert shut_for("coo", Engine.OPENCLAW, off, {}, NOW) == Shut(None, ("no provider is enabled",))
