"""What is true of every breaker and every chain of attempts, whatever happens in whichever order (rules F1 to F4)."""

from __future__ import annotations

import ast
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import heartbeat.attempt
import heartbeat.breaker
import heartbeat.provider
import heartbeat.rules.failover
import heartbeat.rules.failures
from heartbeat.attempt import Attempt, Cause, Engine, Life, Outcome
from heartbeat.breaker import (
    EVENT_OF,
    LONGEST_COOLING,
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
from heartbeat.provider import Failover, Provider, Strategy
from heartbeat.rules.failover import Exhausted, Use, Wait, choose, letter_due, pause_before
from heartbeat.store.opening import open_store

BEGIN = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
RULES = Rules()
SECONDS = st.integers(min_value=0, max_value=2 * 3600).map(lambda seconds: timedelta(seconds=seconds))
DISPATCHES = st.sampled_from(["a", "b", "c", "d"])
LONGEST = 2 * max(RULES.open_for_at_most, LONGEST_COOLING)
"""Nobody is kept away for longer, though the clock be set back: by then whatever kept him away is over twice."""


class BreakerOverTime(RuleBasedStateMachine):
    """One breaker that several dispatches ask and tell, beside what each of them was allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker("sonnet")
        self.now = BEGIN
        self.prober = ""
        self.probed_at = BEGIN
        self.row = 0

    @rule(passes=SECONDS)
    def time_passes(self, passes: timedelta) -> None:
        self.now += passes

    @rule(back=st.sampled_from([timedelta(seconds=3), timedelta(minutes=20), timedelta(hours=5), timedelta(days=900)]))
    def the_clock_is_set_back(self, back: timedelta) -> None:
        self.now -= back

    @rule(dispatch=DISPATCHES)
    def somebody_asks(self, dispatch: str) -> None:
        before = self.breaker
        answer, self.breaker = ask(before, dispatch, self.now, RULES)
        if answer is Answer.PROBE:
            given_up = abs(self.now - self.probed_at) >= RULES.probe_for
            assert self.prober in ("", dispatch) or given_up, "two probes at a time"
            assert (self.breaker.state, self.breaker.probe) == (State.HALF_OPEN, dispatch)
            self.prober, self.probed_at = dispatch, self.now
        else:
            assert (answer is Answer.ALLOWED) == (
                state_at(before, self.now) is State.CLOSED and not is_cooling(before, self.now)
            )
            assert replace(self.breaker, cooled_until=None) == replace(before, cooled_until=None)
        if dispatch != before.probe:
            assert (answer is not Answer.REFUSED) == may_ask(before, self.now, RULES)

    @rule(
        dispatch=DISPATCHES,
        event=st.sampled_from(list(Event)),
        retry_after=st.none() | st.floats(min_value=-1, max_value=1e9),
    )
    def somebody_tells(self, dispatch: str, event: Event, retry_after: float | None) -> None:
        before, was = self.breaker, state_at(self.breaker, self.now)
        after = hear(before, event, self.now, RULES, dispatch=dispatch, why="no", retry_after=retry_after)
        self.breaker = after
        decides = was is State.CLOSED or (was is State.HALF_OPEN and dispatch == self.prober)
        if event is Event.LIMITED:
            self._is_neither_failure_nor_success(before, after)
        elif not decides:
            assert replace(after, cooled_until=None) == replace(before, cooled_until=None), "a late result counted"
        elif was is State.HALF_OPEN:
            wanted = {Event.SUCCESS: State.CLOSED, Event.ABANDONED: State.HALF_OPEN}.get(event, State.OPEN)
            assert after.state is wanted
        if was is State.CLOSED:
            self.row = {Event.SUCCESS: 0, Event.FAILURE: self.row + 1}.get(event, self.row)
            opens = event is Event.REFUSED or (event is Event.FAILURE and self.row >= RULES.open_after)
            assert (after.state is State.OPEN) == opens
        if after.state is State.OPEN and after != before and before.state is not State.OPEN:
            assert after.openings == before.openings + 1
            assert after.until is not None
            assert after.until - self.now == min(RULES.open_for * 2**before.openings, RULES.open_for_at_most)
        if after.state is not State.HALF_OPEN or not after.probe:
            self.prober = ""
        if after.state is State.CLOSED and was is not State.CLOSED:
            self.row = 0

    @invariant()
    def nobody_is_lost(self) -> None:
        """By waiting as told, the provider is asked again before long."""
        at = self.now
        for _ in range(4):
            told = available_at(self.breaker, at, RULES)
            if told is None:
                break
            assert told > at
            at = told
        assert ask(self.breaker, "somebody new", at, RULES)[0] is not Answer.REFUSED
        assert at - self.now <= LONGEST

    @invariant()
    def it_makes_sense(self) -> None:
        breaker = self.breaker
        assert (breaker.until is not None) == (breaker.state is State.OPEN)
        assert bool(breaker.probe) == (breaker.probe_at is not None)
        assert not breaker.probe or breaker.state is State.HALF_OPEN
        assert (breaker.openings > 0) == (breaker.state is not State.CLOSED)
        assert breaker.state is not State.CLOSED or breaker.failures < RULES.open_after

    def _is_neither_failure_nor_success(self, before: Breaker, after: Breaker) -> None:
        assert (after.failures, after.openings, after.until) == (before.failures, before.openings, before.until)
        assert after.state is before.state
        assert after.cooled_until is not None
        assert self.now < after.cooled_until <= self.now + LONGEST_COOLING


TestBreakerOverTime = BreakerOverTime.TestCase
TestBreakerOverTime.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)


def test_F2_of_a_hundred_who_ask_at_once_one_alone_gets_the_probe(tmp_path: Path) -> None:
    at = BEGIN + RULES.open_for
    opened = hear(Breaker("sonnet"), Event.REFUSED, BEGIN, RULES, dispatch="before")
    with open_store(tmp_path / "state", BEGIN) as store:
        store.put_breaker(opened)
    together = threading.Barrier(10)
    answers: list[tuple[Answer, str]] = []

    def asks(number: int) -> None:
        with open_store(tmp_path / "state", at) as store:
            together.wait(timeout=60)
            for dispatch in (f"hb-{number}-{turn}" for turn in range(10)):
                with store.transaction():
                    answer, asked = ask(store.breakers()["sonnet"], dispatch, at, RULES)
                    if answer is not Answer.REFUSED:
                        store.put_breaker(asked)
                answers.append((answer, dispatch))

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    probes = [dispatch for answer, dispatch in answers if answer is Answer.PROBE]
    assert len(answers) == 100
    assert len(probes) == 1
    with open_store(tmp_path / "state", at) as store:
        assert store.breakers()["sonnet"].probe == probes[0]


NAMES = ("sonnet", "opus", "haiku")
TEAMS = st.lists(
    st.builds(
        Provider,
        name=st.sampled_from(NAMES),
        priority=st.integers(1, 3),
        max_retries=st.integers(1, 3),
        enabled=st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda provider: provider.name,
).map(lambda providers: Failover(Strategy.MANAGED, tuple(providers)))
CAUSES = st.sampled_from(list(Cause))
PAIRS = st.lists(st.tuples(st.sampled_from((*NAMES, "gone")), CAUSES), max_size=12)


@st.composite
def breakers_of(draw: st.DrawFn) -> dict[str, Breaker]:
    """Breakers as some history of the last hour may have left them."""
    found = {}
    for name in NAMES:
        breaker, at = Breaker(name), BEGIN
        for _ in range(draw(st.integers(0, 5))):
            at += draw(st.integers(0, 600).map(lambda seconds: timedelta(seconds=seconds)))
            _, breaker = ask(breaker, "x", at, RULES)
            if draw(st.booleans()):
                breaker = hear(breaker, draw(st.sampled_from(list(Event))), at, RULES, dispatch="x")
        found[name] = breaker
    return found


def attempts(pairs: Sequence[tuple[str, Cause]]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            id=f"hb-{number}",
            task="card:1",
            refs=(),
            title="deploy",
            agent="coo",
            number=number,
            engine=Engine.OPENCLAW,
            provider=name,
            planned_at=BEGIN,
            life=Life.ENDED,
            outcome=Outcome.FAILED,
            cause=cause,
        )
        for number, (name, cause) in enumerate(pairs, start=1)
    )


AFTERWARDS = BEGIN + timedelta(hours=1)


@given(team=TEAMS, breakers=breakers_of(), pairs=PAIRS)
def test_every_choice_is_one_that_may_be_made(
    team: Failover, breakers: dict[str, Breaker], pairs: list[tuple[str, Cause]]
) -> None:
    chain = attempts(pairs)
    choice = choose(team, breakers, chain, AFTERWARDS)
    assert choice.reasons
    assert choice == choose(team, breakers, chain, AFTERWARDS)
    if any(cause is Cause.TASK for _, cause in pairs):
        assert isinstance(choice, Exhausted)
        assert choice.poison
    elif isinstance(choice, Use):
        mine = [cause for name, cause in pairs if name == choice.provider.name]
        assert choice.provider in team.enabled
        assert ask(breakers[choice.provider.name], "new", AFTERWARDS, RULES)[0] is not Answer.REFUSED
        assert Cause.REFUSES not in mine
        assert mine.count(Cause.COUNTS) <= choice.provider.max_retries
    elif isinstance(choice, Wait):
        assert AFTERWARDS < choice.until <= AFTERWARDS + LONGEST
    else:
        assert not choice.poison
        assert not team.enabled or any(cause in (Cause.COUNTS, Cause.REFUSES) for _, cause in pairs)


@given(team=TEAMS, breakers=breakers_of(), pairs=PAIRS, place=st.integers(0, 12), name=st.sampled_from(NAMES))
def test_F3_a_429_anywhere_in_a_chain_changes_nothing_about_who_has_tries_left(
    team: Failover, breakers: dict[str, Breaker], pairs: list[tuple[str, Cause]], place: int, name: str
) -> None:
    if not pairs:
        return
    place = min(place, len(pairs) - 1)
    limited = [*pairs[:place], (name, Cause.COOLS), *pairs[place:]]
    assert choose(team, breakers, attempts(limited), AFTERWARDS) == choose(team, breakers, attempts(pairs), AFTERWARDS)


@given(team=TEAMS, ends=st.lists(st.sampled_from([Cause.COUNTS, Cause.REFUSES, Cause.TASK]), min_size=20, max_size=20))
def test_F4_every_task_that_only_fails_becomes_a_dead_letter_after_all_had_their_tries(
    team: Failover, ends: list[Cause]
) -> None:
    breakers: dict[str, Breaker] = {}
    pairs: list[tuple[str, Cause]] = []
    at = BEGIN
    for cause in ends:
        choice = choose(team, breakers, attempts(pairs), at)
        if not isinstance(choice, Use):
            break
        name, dispatch = choice.provider.name, f"hb-{len(pairs)}"
        _, asked = ask(breakers.get(name, Breaker(name)), dispatch, at, RULES)
        breakers[name] = hear(asked, EVENT_OF[cause], at, RULES, dispatch=dispatch)
        pairs.append((name, cause))
        at += timedelta(seconds=30)
    choice = choose(team, breakers, attempts(pairs), at)
    assert isinstance(choice, Exhausted)
    assert len(pairs) <= sum(1 + provider.max_retries for provider in team.enabled)
    tried = [name for name, _ in pairs]
    assert tried == sorted(tried, key=tried.index), "nobody is asked again after the next one was"
    if not choice.poison:
        assert set(tried) == {provider.name for provider in team.enabled}


@given(st.integers(-3, 50), st.floats(allow_nan=False), st.none() | st.floats(allow_nan=False))
def test_F1_no_pause_is_shorter_than_a_second_or_longer_than_thirty(
    tries: int, chance: float, retry_after: float | None
) -> None:
    assert 1.0 <= pause_before(tries, chance, retry_after) <= 30.0


@given(st.integers(0, 20), st.integers(0, 20))
def test_F4_a_letter_waits_longer_the_more_replays_failed(fewer: int, more: int) -> None:
    assert letter_due(min(fewer, more), BEGIN) <= letter_due(max(fewer, more), BEGIN)


@pytest.mark.parametrize(
    "module",
    [
        heartbeat.attempt,
        heartbeat.breaker,
        heartbeat.provider,
        heartbeat.rules.failover,
        heartbeat.rules.failures,
    ],
    ids=lambda module: module.__name__,
)
def test_nothing_here_asks_for_the_time_or_for_chance(module: object) -> None:
    tree = ast.parse(Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8"))
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert not called & {"now", "utcnow", "today", "time", "monotonic", "random", "uuid4"}
    assert not imported & {"time", "random", "uuid", "os", "secrets"}
