"""Rules F2 and F3: a breaker at every state, event and instant that matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from heartbeat.attempt import Cause
from heartbeat.breaker import (
    EVENT_OF,
    LONGEST_COOLING,
    TRANSITIONS,
    Answer,
    Breaker,
    Event,
    Rules,
    State,
    ask,
    available_at,
    hear,
    is_cooling,
    may_ask,
    state_at,
)

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
RULES = Rules()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)


def told(breaker: Breaker, *events: Event, at: datetime = NOW, dispatch: str = "a", **more: float) -> Breaker:
    for event in events:
        breaker = hear(breaker, event, at, RULES, dispatch=dispatch, why="it said no", **more)
    return breaker


CLOSED = Breaker("sonnet")
OPEN = told(CLOSED, Event.REFUSED)


def probed(breaker: Breaker, at: datetime, dispatch: str = "probe") -> Breaker:
    answer, asked = ask(breaker, dispatch, at, RULES)
    assert answer is Answer.PROBE
    return asked


def test_F2_the_third_failure_in_a_row_opens_it_for_five_minutes() -> None:
    twice = told(CLOSED, Event.FAILURE, Event.FAILURE)
    assert (twice.state, twice.failures) == (State.CLOSED, 2)
    assert ask(twice, "b", NOW, RULES) == (Answer.ALLOWED, twice)
    opened = told(twice, Event.FAILURE)
    assert opened == Breaker(
        "sonnet", State.OPEN, failures=3, openings=1, until=NOW + 5 * MINUTE, why="it said no", changed_at=NOW
    )
    assert ask(opened, "b", NOW, RULES) == (Answer.REFUSED, opened)


def test_F2_a_success_breaks_the_row() -> None:
    assert told(CLOSED, Event.FAILURE, Event.FAILURE, Event.SUCCESS) == CLOSED
    assert told(CLOSED, Event.FAILURE, Event.SUCCESS, Event.FAILURE, Event.FAILURE).state is State.CLOSED


def test_F2_it_is_half_open_at_the_very_instant_and_not_before() -> None:
    until = NOW + 5 * MINUTE
    assert state_at(OPEN, until - INSTANT) is State.OPEN
    assert state_at(OPEN, until) is State.HALF_OPEN
    assert available_at(OPEN, until - INSTANT, RULES) == until
    assert available_at(OPEN, until, RULES) is None


def test_F2_one_dispatch_alone_gets_the_probe_and_may_ask_again() -> None:
    at = NOW + 5 * MINUTE
    probing = probed(OPEN, at)
    assert (probing.state, probing.probe, probing.probe_at, probing.changed_at) == (State.HALF_OPEN, "probe", at, at)
    assert ask(probing, "other", at, RULES) == (Answer.REFUSED, probing)
    answer, again = ask(probing, "probe", at + MINUTE, RULES)
    assert answer is Answer.PROBE
    assert again == replace(probing, probe_at=at + MINUTE)
    assert not may_ask(probing, at, RULES)
    assert available_at(probing, at, RULES) == at + RULES.probe_for


def test_F2_a_good_probe_closes_it_and_forgets_everything() -> None:
    probing = probed(OPEN, NOW + 5 * MINUTE)
    closed = told(probing, Event.SUCCESS, at=NOW + 6 * MINUTE, dispatch="probe")
    assert closed == Breaker("sonnet", changed_at=NOW + 6 * MINUTE)


@pytest.mark.parametrize("event", [Event.FAILURE, Event.REFUSED])
def test_F2_each_bad_probe_doubles_the_time_up_to_an_hour(event: Event) -> None:
    breaker, at, waits = OPEN, NOW, []
    for _ in range(8):
        assert breaker.until is not None
        waits.append(breaker.until - at)
        at = breaker.until
        breaker = told(probed(breaker, at), event, at=at, dispatch="probe")
    assert waits == [minutes * MINUTE for minutes in (5, 10, 20, 40, 60, 60, 60, 60)]
    assert breaker.openings == 9


def test_F2_after_it_closed_the_doubling_begins_anew() -> None:
    again = told(probed(OPEN, NOW + 5 * MINUTE), Event.FAILURE, at=NOW + 6 * MINUTE, dispatch="probe")
    assert again.openings == 2
    closed = told(probed(again, NOW + 16 * MINUTE), Event.SUCCESS, at=NOW + 17 * MINUTE, dispatch="probe")
    assert told(closed, Event.REFUSED, at=NOW + 18 * MINUTE).until == NOW + 23 * MINUTE


def test_F2_a_lost_probe_is_free_again_after_its_time() -> None:
    at = NOW + 5 * MINUTE
    probing = probed(OPEN, at)
    assert ask(probing, "other", at + RULES.probe_for - INSTANT, RULES)[0] is Answer.REFUSED
    taken = probed(probing, at + RULES.probe_for, "other")
    assert taken.probe == "other"
    assert taken.changed_at == at, "it has been half-open all the time"


def test_F2_the_end_of_a_probe_that_was_given_up_and_replaced_is_late() -> None:
    at = NOW + 5 * MINUTE
    taken = probed(probed(OPEN, at), at + RULES.probe_for, "other")
    for event in (Event.SUCCESS, Event.FAILURE, Event.REFUSED, Event.ABANDONED):
        assert told(taken, event, at=at + RULES.probe_for, dispatch="probe") == taken


def test_F2_the_end_of_a_probe_that_nobody_replaced_counts_however_late_it_comes() -> None:
    probing = probed(OPEN, NOW + 5 * MINUTE)
    assert told(probing, Event.SUCCESS, at=NOW + timedelta(days=1), dispatch="probe").state is State.CLOSED


def test_F3_a_probe_that_says_nothing_leaves_the_probe_to_the_next() -> None:
    at = NOW + 5 * MINUTE
    freed = told(probed(OPEN, at), Event.ABANDONED, at=at, dispatch="probe")
    assert (freed.state, freed.probe, freed.probe_at, freed.openings) == (State.HALF_OPEN, "", None, 1)
    assert probed(freed, at, "other").probe == "other"


def test_F3_a_rate_limited_probe_cools_down_and_the_next_probes_after_it() -> None:
    at = NOW + 5 * MINUTE
    cooled = told(probed(OPEN, at), Event.LIMITED, at=at, dispatch="probe", retry_after=20)
    assert (cooled.state, cooled.probe, cooled.openings) == (State.HALF_OPEN, "", 1)
    assert ask(cooled, "other", at + 20 * SECOND - INSTANT, RULES)[0] is Answer.REFUSED
    assert ask(cooled, "other", at + 20 * SECOND, RULES)[0] is Answer.PROBE


@pytest.mark.parametrize("event", [Event.SUCCESS, Event.FAILURE, Event.REFUSED, Event.ABANDONED])
@pytest.mark.parametrize("after", [timedelta(0), 5 * MINUTE, timedelta(days=1)])
def test_F2_what_was_begun_before_it_opened_neither_closes_nor_doubles_it(event: Event, after: timedelta) -> None:
    assert told(OPEN, event, at=NOW + after, dispatch="old") == OPEN
    probing = probed(OPEN, NOW + 5 * MINUTE)
    assert told(probing, event, at=NOW + 5 * MINUTE + after, dispatch="old") == probing


def test_F2_who_has_no_dispatch_is_not_the_probe() -> None:
    freed = told(probed(OPEN, NOW + 5 * MINUTE), Event.ABANDONED, at=NOW + 5 * MINUTE, dispatch="probe")
    assert told(freed, Event.SUCCESS, at=NOW + 6 * MINUTE, dispatch="") == freed
    with pytest.raises(ValueError, match="dispatch id"):
        ask(freed, "", NOW + 6 * MINUTE, RULES)


def test_F2_what_was_begun_before_it_closed_counts_for_nothing_afterwards() -> None:
    closed = told(probed(OPEN, NOW + 5 * MINUTE), Event.SUCCESS, at=NOW + 6 * MINUTE, dispatch="probe")
    for event in (Event.FAILURE, Event.REFUSED, Event.SUCCESS):
        at = NOW + 7 * MINUTE
        assert hear(closed, event, at, RULES, dispatch="old", began=NOW) == closed
    counted = hear(closed, Event.FAILURE, NOW + 7 * MINUTE, RULES, dispatch="new", began=NOW + 6 * MINUTE)
    assert counted.failures == 1


def test_F3_401_and_402_open_at_once() -> None:
    assert (OPEN.state, OPEN.until, OPEN.openings, OPEN.why) == (State.OPEN, NOW + 5 * MINUTE, 1, "it said no")


def test_F3_429_never_counts_and_never_opens() -> None:
    breaker = told(CLOSED, Event.FAILURE, Event.FAILURE)
    at = NOW
    for _ in range(50):
        breaker = told(breaker, Event.LIMITED, at=at)
        assert (breaker.state, breaker.failures, breaker.openings) == (State.CLOSED, 2, 0)
        assert breaker.cooled_until is not None
        at = breaker.cooled_until


def test_F3_429_cools_for_thirty_seconds_doubling_to_ten_minutes() -> None:
    breaker, at, waits = CLOSED, NOW, []
    for _ in range(7):
        breaker = told(breaker, Event.LIMITED, at=at)
        assert breaker.cooled_until is not None
        waits.append((breaker.cooled_until - at).total_seconds())
        at = breaker.cooled_until
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert told(told(breaker, Event.SUCCESS, at=at), Event.LIMITED, at=at).cooled_until == at + 30 * SECOND


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(2.0, 2), (90.0, 90), (3600.0, 3600), (86400.0, 3600), (float("inf"), 3600), (0.0, 30), (-5.0, 30)],
)
def test_F3_retry_after_is_taken_at_its_word_for_an_hour_at_most(retry_after: float, seconds: int) -> None:
    cooled = told(CLOSED, Event.LIMITED, retry_after=retry_after)
    assert cooled.cooled_until == NOW + seconds * SECOND


def test_F3_a_retry_after_that_is_no_number_is_none() -> None:
    assert told(CLOSED, Event.LIMITED, retry_after=float("nan")).cooled_until == NOW + 30 * SECOND


def test_F3_a_burst_of_429s_is_one() -> None:
    burst = told(CLOSED, Event.LIMITED, Event.LIMITED, Event.LIMITED)
    assert (burst.coolings, burst.cooled_until) == (1, NOW + 30 * SECOND)
    longer = told(burst, Event.LIMITED, retry_after=300)
    assert longer.cooled_until == NOW + 5 * MINUTE
    assert told(longer, Event.LIMITED, retry_after=1).cooled_until == NOW + 5 * MINUTE


def test_F3_a_success_that_is_older_than_the_429_does_not_end_the_cooling() -> None:
    cooling = told(CLOSED, Event.FAILURE, Event.LIMITED, Event.SUCCESS)
    assert (cooling.failures, cooling.coolings, is_cooling(cooling, NOW)) == (0, 1, True)
    probing = told(probed(OPEN, NOW + 5 * MINUTE), Event.LIMITED, at=NOW + 5 * MINUTE, dispatch="old")
    closed = told(probing, Event.SUCCESS, at=NOW + 5 * MINUTE, dispatch="probe")
    assert closed.state is State.CLOSED
    assert is_cooling(closed, NOW + 5 * MINUTE)


def test_F3_a_429_is_heard_by_an_open_breaker_too() -> None:
    cooled = hear(OPEN, Event.LIMITED, NOW + 4 * MINUTE, RULES, dispatch="old", why="slow down", retry_after=600)
    assert (cooled.state, cooled.until, cooled.openings, cooled.why) == (State.OPEN, OPEN.until, 1, "it said no")
    for minutes in (4, 5):
        assert available_at(cooled, NOW + minutes * MINUTE, RULES) == NOW + 14 * MINUTE


def test_a_clock_that_was_set_back_does_not_lock_a_provider_out() -> None:
    for years in (1, 50):
        before = NOW - timedelta(days=365 * years)
        assert state_at(OPEN, before) is State.HALF_OPEN
        assert probed(OPEN, before).until is None
        probing = probed(OPEN, NOW + 5 * MINUTE)
        assert probed(probing, before, "other").probe == "other"
        cooled = told(CLOSED, Event.LIMITED, retry_after=3600)
        assert not is_cooling(cooled, before)
        answer, settled = ask(cooled, "a", before, RULES)
        assert (answer, settled.cooled_until) == (Answer.ALLOWED, None)


def test_a_clock_that_was_set_back_a_little_leaves_it_open_at_most_twice_as_long() -> None:
    assert state_at(OPEN, NOW - 2 * SECOND) is State.OPEN
    assert state_at(OPEN, NOW - 5 * MINUTE) is State.OPEN
    assert state_at(OPEN, NOW - 5 * MINUTE - INSTANT) is State.HALF_OPEN


def test_after_the_clock_was_set_back_failures_count_again_at_once() -> None:
    closed = told(probed(OPEN, NOW + 5 * MINUTE), Event.SUCCESS, at=NOW + 6 * MINUTE, dispatch="probe")
    before = NOW - timedelta(days=365)
    breaker = closed
    for _ in range(3):
        breaker = hear(breaker, Event.FAILURE, before, RULES, dispatch="a", began=before)
    assert state_at(breaker, before) is State.OPEN


def test_an_open_breaker_without_an_end_is_half_open_not_shut_for_ever() -> None:
    assert state_at(Breaker("sonnet", State.OPEN), NOW) is State.HALF_OPEN
    assert probed(Breaker("sonnet", State.OPEN), NOW).probe == "probe"


def test_a_roster_that_opens_for_longer_than_the_cap_is_taken_at_its_word() -> None:
    rules = Rules(open_after=1, open_for=timedelta(hours=3))
    opened = hear(CLOSED, Event.FAILURE, NOW, rules, dispatch="a")
    assert opened.until == NOW + timedelta(hours=3)
    probing = ask(opened, "p", NOW + timedelta(hours=3), rules)[1]
    again = hear(probing, Event.FAILURE, NOW + timedelta(hours=3), rules, dispatch="p")
    assert again.until == NOW + timedelta(hours=6)


def test_every_state_has_an_answer_to_every_event_and_every_cause_is_an_event() -> None:
    assert set(TRANSITIONS) == set(product(State, Event))
    assert set(EVENT_OF) == set(Cause)
    assert EVENT_OF[Cause.COOLS] is Event.LIMITED
    assert EVENT_OF[Cause.TASK] is EVENT_OF[Cause.ENGINE] is EVENT_OF[Cause.NONE] is Event.ABANDONED


def test_no_cooling_is_longer_than_what_counts_as_one() -> None:
    rules = replace(RULES, cool_for=timedelta(hours=5), cool_for_at_most=timedelta(hours=9))
    cooled = hear(CLOSED, Event.LIMITED, NOW, rules, dispatch="a")
    assert cooled.cooled_until == NOW + LONGEST_COOLING
    assert is_cooling(cooled, NOW)
