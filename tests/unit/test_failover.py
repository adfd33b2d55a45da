"""Rules F1, F2 and F4: who is next, after which pause, and when to give up."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome
from heartbeat.breaker import EVENT_OF, Breaker, Event, Rules, ask, hear
from heartbeat.provider import NATIVE, Failover, Provider, Strategy
from heartbeat.rules.failover import (
    LETTER_TRIES,
    LONGEST_PAUSE,
    MAX_TRIES,
    Exhausted,
    Use,
    Wait,
    chain,
    choose,
    is_due,
    letter_due,
    may_try_again,
    pause_before,
)
from heartbeat.task import Ref

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SONNET, OPUS, HAIKU = (
    Provider(name, name, priority) for priority, name in enumerate(("sonnet", "opus", "haiku"), start=1)
)
TEAM = Failover(Strategy.MANAGED, (SONNET, OPUS, HAIKU))
ALONE = Failover()
COUNTS, COOLS, REFUSES, TASK, ENGINE, NONE = (
    Cause.COUNTS,
    Cause.COOLS,
    Cause.REFUSES,
    Cause.TASK,
    Cause.ENGINE,
    Cause.NONE,
)


def attempt(number: int, provider: str, cause: Cause | None, outcome: Outcome = Outcome.FAILED) -> Attempt:
    return Attempt(
        id=f"hb-{number}",
        task="card:1",
        refs=(Ref("workboard", "1"),),
        title="deploy",
        agent="coo",
        number=number,
        engine=Engine.OPENCLAW,
        provider=provider,
        planned_at=NOW + number * MINUTE,
        life=Life.ENDED,
        outcome=outcome,
        cause=cause,
    )


def tried(*pairs: tuple[str, Cause]) -> tuple[Attempt, ...]:
    return tuple(attempt(number, name, cause) for number, (name, cause) in enumerate(pairs, start=1))


def opened(name: str, at: datetime = NOW) -> Breaker:
    return hear(Breaker(name), Event.REFUSED, at, Rules(), dispatch="other")


def cooling(name: str, seconds: float = 60) -> Breaker:
    return hear(Breaker(name), Event.LIMITED, NOW, Rules(), dispatch="other", retry_after=seconds)


def by_name(*breakers: Breaker) -> dict[str, Breaker]:
    return {breaker.provider: breaker for breaker in breakers}


def used(choice: Use | Wait | Exhausted) -> str:
    assert isinstance(choice, Use), choice
    return choice.provider.name


def letter(state: LetterState = LetterState.WAITING, attempts: tuple[str, ...] = (), tries: int = 0) -> DeadLetter:
    return DeadLetter(
        "dl-1", "card:1", (), "deploy", "coo", NOW, letter_due(tries, NOW), "no", attempts, tries, state=state
    )


def test_F1_the_first_by_priority_is_asked_first_whatever_the_order_they_are_written_in() -> None:
    for providers in ((SONNET, OPUS, HAIKU), (HAIKU, OPUS, SONNET)):
        choice = choose(Failover(Strategy.MANAGED, providers), {}, (), NOW)
        assert choice == Use(SONNET, ("sonnet is asked for try 1 of 4",))


def test_F1_a_disabled_provider_is_never_asked() -> None:
    team = Failover(Strategy.MANAGED, (replace(SONNET, enabled=False), OPUS))
    assert used(choose(team, {}, (), NOW)) == "opus"
    assert used(choose(team, {}, tried(("sonnet", COUNTS)), NOW)) == "opus"


def test_F1_the_same_provider_is_asked_until_its_retries_are_used_and_then_the_next() -> None:
    failed = tuple(attempt(number, "sonnet", COUNTS) for number in range(1, 5))
    assert [used(choose(TEAM, {}, failed[:tries], NOW)) for tries in range(5)] == ["sonnet"] * 4 + ["opus"]
    few = Failover(Strategy.MANAGED, (replace(SONNET, max_retries=1), OPUS))
    assert [used(choose(few, {}, failed[:tries], NOW)) for tries in range(3)] == ["sonnet", "sonnet", "opus"]


def test_F1_whoever_had_the_last_attempt_goes_on_though_a_better_one_is_back() -> None:
    breakers = by_name(opened("sonnet"))
    assert used(choose(TEAM, breakers, (), NOW)) == "opus"
    assert used(choose(TEAM, breakers, tried(("opus", COUNTS)), NOW + 5 * MINUTE)) == "opus"
    spent = tried(*[("opus", COUNTS)] * 4)
    assert used(choose(TEAM, breakers, spent, NOW + 5 * MINUTE)) == "sonnet"


def test_F1_a_provider_that_left_the_roster_is_passed_over() -> None:
    assert used(choose(TEAM, {}, tried(("gone", COUNTS)), NOW)) == "sonnet"


def test_F2_an_open_breaker_is_passed_over_and_said_so() -> None:
    choice = choose(TEAM, by_name(opened("sonnet"), cooling("opus", 90)), (), NOW)
    assert choice == Use(
        HAIKU,
        ("sonnet: its breaker is open for 5m", "opus cools down for 1m", "haiku is asked for try 1 of 4"),
    )


def test_F2_a_half_open_breaker_is_asked_as_its_probe_and_one_that_is_being_probed_is_not() -> None:
    at = NOW + 5 * MINUTE
    half_open = opened("sonnet")
    choice = choose(TEAM, by_name(half_open), (), at)
    assert choice == Use(SONNET, ("sonnet is asked for try 1 of 4, as the probe of its breaker",))
    probing = ask(half_open, "other", at, Rules())[1]
    choice = choose(TEAM, by_name(probing), (), at)
    assert choice == Use(OPUS, ("sonnet is being probed by another dispatch", "opus is asked for try 1 of 4"))


def test_F3_429s_use_no_retries() -> None:
    limited = tried(*[("sonnet", COOLS)] * 20, ("sonnet", COUNTS))
    assert choose(TEAM, {}, limited, NOW) == Use(SONNET, ("sonnet is asked for try 2 of 4",))


def test_F3_while_one_cools_down_the_next_is_asked() -> None:
    assert used(choose(TEAM, by_name(cooling("sonnet")), tried(("sonnet", COOLS)), NOW)) == "opus"


def test_F3_who_refused_is_not_asked_again_for_this_task_though_the_breaker_is_half_open() -> None:
    at = NOW + 10 * MINUTE
    assert used(choose(TEAM, by_name(opened("sonnet")), tried(("sonnet", REFUSES)), at)) == "opus"
    choice = choose(ALONE, by_name(opened(NATIVE)), tried((NATIVE, REFUSES)), at)
    assert choice == Exhausted(("native refused us: a person has to look at it",))


@pytest.mark.parametrize("earlier", [(), (("sonnet", COUNTS),), (("sonnet", COOLS), ("opus", COUNTS))])
def test_F3_400_is_never_retried_by_anybody(earlier: tuple[tuple[str, Cause], ...]) -> None:
    choice = choose(TEAM, {}, tried(*earlier, ("haiku", TASK)), NOW)
    assert choice == Exhausted(("the task itself was refused: nobody would take it",), poison=True)


@pytest.mark.parametrize("cause", [ENGINE, NONE])
def test_what_is_nobodys_failure_uses_no_retries(cause: Cause) -> None:
    assert choose(ALONE, {}, tried(*[(NATIVE, cause)] * 9), NOW) == Use(
        ALONE.providers[0], ("native is asked for try 1 of 4",)
    )


def test_turns_that_the_engine_lost_come_to_an_end() -> None:
    lost = tuple(replace(each, accepted_at=NOW) for each in tried(*[(NATIVE, ENGINE)] * 4))
    assert used(choose(ALONE, {}, lost[:3], NOW)) == NATIVE
    assert isinstance(choose(ALONE, {}, lost, NOW), Exhausted)


def test_what_somebody_stopped_is_no_failure_and_what_ended_without_a_cause_is_one() -> None:
    stopped = tuple(attempt(number, NATIVE, None, Outcome.ABORTED) for number in range(1, 9))
    lost = tuple(attempt(number, NATIVE, None, Outcome.LOST) for number in range(1, 5))
    assert used(choose(ALONE, {}, stopped, NOW)) == NATIVE
    assert isinstance(choose(ALONE, {}, lost, NOW), Exhausted)


def test_F4_a_task_that_nobody_has_tried_waits_for_the_first_that_can_be_asked() -> None:
    breakers = by_name(opened("sonnet"), opened("opus", NOW - MINUTE), cooling("haiku", 600))
    assert choose(TEAM, breakers, (), NOW) == Wait(
        NOW + 4 * MINUTE,
        (
            "sonnet: its breaker is open for 5m",
            "opus: its breaker is open for 4m",
            "haiku cools down for 10m",
        ),
    )


def test_F4_a_chain_of_429s_waits_and_never_becomes_a_dead_letter() -> None:
    breakers = by_name(cooling("sonnet", 300), cooling("opus", 120), cooling("haiku", 200))
    choice = choose(TEAM, breakers, tried(("sonnet", COOLS), ("opus", COOLS), ("haiku", COOLS)), NOW)
    assert isinstance(choice, Wait)
    assert choice.until == NOW + 2 * MINUTE


@pytest.mark.parametrize("cause", [COOLS, ENGINE, NONE])
def test_F4_a_chain_without_a_failure_waits_for_an_open_breaker_too(cause: Cause) -> None:
    choice = choose(ALONE, by_name(opened(NATIVE)), tried((NATIVE, cause)), NOW)
    assert choice == Wait(NOW + 5 * MINUTE, ("native: its breaker is open for 5m",))


def test_F4_a_chain_with_a_failure_waits_only_for_who_merely_cools_and_has_not_failed() -> None:
    failed = tried(("sonnet", COUNTS), ("sonnet", COUNTS), ("sonnet", COUNTS))
    shut = (opened("sonnet"), opened("opus"))
    waits = choose(TEAM, by_name(*shut, cooling("haiku")), failed, NOW)
    assert isinstance(waits, Wait)
    assert waits.until == NOW + MINUTE
    assert isinstance(choose(TEAM, by_name(*shut, opened("haiku")), failed, NOW), Exhausted)
    assert isinstance(
        choose(TEAM, by_name(*shut, cooling("haiku")), (*failed, *tried(("haiku", COUNTS))), NOW), Exhausted
    )


def test_F4_a_probe_of_somebody_else_is_not_waited_for_by_a_chain_with_a_failure() -> None:
    probing = ask(opened("haiku"), "other", NOW + 5 * MINUTE, Rules())[1]
    breakers = by_name(opened("sonnet", NOW + 5 * MINUTE), opened("opus", NOW + 5 * MINUTE), probing)
    assert isinstance(choose(TEAM, breakers, tried(("sonnet", COUNTS)), NOW + 5 * MINUTE), Exhausted)
    assert isinstance(choose(TEAM, breakers, (), NOW + 5 * MINUTE), Wait)


def test_F4_nobody_enabled_is_told_as_such() -> None:
    nobody = Failover(Strategy.MANAGED, (replace(SONNET, enabled=False),))
    assert choose(nobody, {}, (), NOW) == Exhausted(("no provider is enabled",))


def played(team: Failover, cause: Cause) -> tuple[list[str], Use | Wait | Exhausted]:
    """One task whose every attempt ends like this, and the breakers hear of each, five seconds apart."""
    breakers: dict[str, Breaker] = {}
    attempts: list[Attempt] = []
    at = NOW
    while len(attempts) < 100:
        choice = choose(team, breakers, attempts, at)
        if not isinstance(choice, Use):
            return [each.provider for each in attempts], choice
        name, dispatch = choice.provider.name, f"hb-{len(attempts)}"
        _, asked = ask(breakers.get(name, Breaker(name)), dispatch, at, team.rules)
        breakers[name] = hear(asked, EVENT_OF[cause], at, team.rules, dispatch=dispatch)
        attempts.append(attempt(len(attempts) + 1, name, cause))
        at += timedelta(seconds=5)
    raise AssertionError("it has no end")


def test_F1_three_providers_that_all_fail_are_each_asked_in_order_and_then_it_is_a_dead_letter() -> None:
    asked, end = played(TEAM, COUNTS)
    assert asked == ["sonnet"] * 3 + ["opus"] * 3 + ["haiku"] * 3, "the third failure in a row opens a breaker"
    assert isinstance(end, Exhausted)
    assert not end.poison
    patient = replace(TEAM, rules=Rules(open_after=100))
    asked, end = played(patient, COUNTS)
    assert asked == ["sonnet"] * 4 + ["opus"] * 4 + ["haiku"] * 4, "one try and three retries each"
    assert end == Exhausted(
        ("haiku failed 4 times of 4", "sonnet failed 4 times of 4", "opus failed 4 times of 4"),
    )


def test_F3_three_providers_that_all_refuse_are_each_asked_once() -> None:
    asked, end = played(TEAM, REFUSES)
    assert asked == ["sonnet", "opus", "haiku"]
    assert isinstance(end, Exhausted)


def test_F3_three_providers_that_all_limit_us_are_each_asked_once_and_then_waited_for() -> None:
    asked, end = played(TEAM, COOLS)
    assert asked == ["sonnet", "opus", "haiku"]
    assert isinstance(end, Wait)
    assert end.until == NOW + timedelta(seconds=30)


def test_F3_a_task_that_is_refused_is_asked_of_one_provider_once() -> None:
    asked, end = played(TEAM, TASK)
    assert asked == ["sonnet"]
    assert isinstance(end, Exhausted)
    assert end.poison


def test_a_chain_begins_after_the_last_attempt_that_completed() -> None:
    first, second, third = tried(("sonnet", COUNTS), ("sonnet", COUNTS), ("sonnet", COUNTS))
    done = replace(second, cause=None, outcome=Outcome.COMPLETED)
    assert chain((first, done, third)) == (third,)
    assert chain((first, done)) == ()
    assert chain((first, second, third)) == (first, second, third)
    assert chain(()) == ()


def test_a_chain_begins_after_what_a_dead_letter_answers_for() -> None:
    first, second, third = tried(("sonnet", COUNTS), ("sonnet", COUNTS), ("sonnet", COUNTS))
    for state in LetterState:
        assert chain((first, second, third), [letter(state, ("hb-1", "hb-2"))]) == (third,)
    assert chain((first, second, third), [letter(attempts=("hb-3",))]) == ()


def test_a_replay_is_a_chain_of_its_own_until_its_letter_names_it_or_is_closed() -> None:
    first, *replays = tried(("sonnet", COUNTS), ("sonnet", COUNTS), ("sonnet", COUNTS))
    replays = [replace(each, letter="dl-1") for each in replays]
    going = letter(LetterState.REPLAYING, ("hb-1",), tries=1)
    assert chain((first, *replays), [going]) == tuple(replays)
    assert chain((first, *replays), [replace(going, attempts=("hb-1", "hb-2", "hb-3"))]) == ()
    assert chain((first, *replays), [replace(going, state=LetterState.DROPPED)]) == ()


def test_a_chain_asks_no_clock() -> None:
    first, second = tried(("sonnet", COUNTS), ("sonnet", COUNTS))
    back = replace(second, planned_at=NOW - timedelta(days=9))
    assert chain((first, back), [letter(attempts=("hb-1",))]) == (back,)


def test_F1_pauses_are_one_two_four_seconds_and_at_most_a_quarter_more() -> None:
    assert [pause_before(tries, 0.0) for tries in (1, 2, 3, 4, 9)] == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert [pause_before(tries, 1.0) for tries in (1, 2, 3)] == [1.25, 2.5, 5.0]
    assert MAX_TRIES == 4


def test_F1_retry_after_is_a_floor_and_nothing_longer_than_thirty_seconds_is_waited() -> None:
    assert pause_before(1, 0.0, 0.5) == 1.0
    assert pause_before(1, 0.0, 20.0) == 20.0
    assert pause_before(1, 0.0, 3600.0) == LONGEST_PAUSE == 30.0
    assert pause_before(1, 0.0, -3.0) == pause_before(1, 0.0, math.nan) == 1.0
    assert pause_before(0, -1.0) == 1.0
    assert pause_before(1, 7.0) == 1.25


def test_F1_a_turn_is_asked_for_four_times_and_not_at_once_where_a_longer_pause_is_asked_for() -> None:
    assert [may_try_again(tries) for tries in (1, 2, 3, 4)] == [True, True, True, False]
    assert may_try_again(1, LONGEST_PAUSE)
    assert not may_try_again(1, LONGEST_PAUSE + 0.1)
    assert may_try_again(1, math.nan)


def test_F4_a_dead_letter_is_due_after_five_minutes_doubling_to_six_hours() -> None:
    waits = [(letter_due(tries, NOW) - NOW) / MINUTE for tries in range(10)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]
    assert letter_due(10**6, NOW) == NOW + timedelta(hours=6)
    assert LETTER_TRIES == 5


def test_F4_a_letter_is_due_at_the_very_instant_while_it_waits() -> None:
    waiting = letter()
    assert is_due(waiting, NOW + 5 * MINUTE)
    assert not is_due(waiting, NOW + 5 * MINUTE - timedelta(microseconds=1))
    for state in set(LetterState) - {LetterState.WAITING}:
        assert not is_due(letter(state), NOW + timedelta(days=1))


def test_F4_a_letter_of_a_clock_that_was_set_back_is_due() -> None:
    assert is_due(letter(), NOW - timedelta(days=365))
