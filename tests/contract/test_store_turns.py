"""Attempts, breakers and dead letters in every store (rules X5, X6, F2, F4)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any

import pytest

from heartbeat.attempt import NEXT, Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome, Usage
from heartbeat.breaker import Breaker, State
from heartbeat.errors import StateError
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Store
from heartbeat.store.sqlite import SqliteStore
from heartbeat.task import Ref, Status
from tests.support.child import child
from tests.support.receipts import (
    ATTEMPT,
    BREAKER,
    CARD,
    DAY,
    ISSUE,
    LETTER,
    LINE,
    LOG_ENTRY,
    MINUTE,
    NOW,
    attempt,
    over,
    receipt,
)

SHANGHAI = timezone(timedelta(hours=8))
NAIVE = datetime(2026, 11, 21)  # noqa: DTZ001
ODD_TEXTS = ("", "任务 🫀", "a\x00b", "cut \ud83d emoji", "\ud83d\ude00 as two halves", "'; DROP TABLE attempts; --")
STEPS = [(before, after) for before, after in product(Life, Life) if after is before or after in NEXT[before]]
NO_STEPS = sorted(set(product(Life, Life)) - set(STEPS))
OPEN = [LetterState.WAITING, LetterState.REPLAYING, LetterState.EXHAUSTED]
CLOSED = [LetterState.REPLAYED, LetterState.DROPPED]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MemoryStore() if request.param == "memory" else open_store(tmp_path / "state", NOW) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite", "sqlite without a file"])
def locked_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that was opened for looking."""
    if request.param == "memory":
        yield MemoryStore(read_only=True)
        return
    if request.param == "sqlite":
        open_store(tmp_path / "state", NOW).close()
    with open_store_read_only(tmp_path / "state") as store:
        yield store


def turns(store: Store) -> tuple[Any, ...]:
    return store.attempts(), store.breakers(), store.letters()


NOTHING: tuple[Any, ...] = ((), {}, ())


# Attempts.


def test_X6_an_attempt_comes_back_as_it_went_in(store: Store) -> None:
    ended = over(
        replace(ATTEMPT, id="hb-2", agent="dev", refs=(LINE,)),
        NOW + DAY,
        Outcome.RATE_LIMITED,
        cause=Cause.COOLS,
        exit_code=-9,
        usage=Usage(0, 340, 0.0125),
    )
    bare = attempt(3, agent="", refs=())
    for each in (ATTEMPT, ended, bare):
        assert store.add_attempt(each)
    assert store.attempts() == (ATTEMPT, ended, bare)
    assert [store.attempt(each.id) for each in (ended, bare)] == [ended, bare]
    assert store.attempt("no such") is None


def test_the_full_attempt_of_these_tests_leaves_nothing_at_its_default() -> None:
    """Or a column that is written and read wrongly could come back right."""
    ended = over(ATTEMPT, NOW, cause=Cause.NONE, exit_code=1, usage=Usage(1, 2, 0.5))
    least = attempt(0)
    assert [each.name for each in fields(Attempt) if getattr(ended, each.name) == getattr(least, each.name)] == [
        "engine",
        "planned_at",
    ]
    usage = (ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.cost_usd)
    assert len({None, *usage}) == 4


def test_an_attempt_may_stand_anywhere_and_end_anyhow(store: Store) -> None:
    ways = product(Engine, Life, [None, *Outcome], [None, Cause.TASK])
    given = tuple(
        attempt(number, engine=engine, life=life, outcome=outcome, cause=cause)
        for number, (engine, life, outcome, cause) in enumerate(ways)
    )
    for each in given:
        assert store.add_attempt(each)
        assert store.attempt(each.id) == each
    assert store.attempts() == given


def test_whatever_caused_it_and_whatever_was_before_is_kept(store: Store) -> None:
    given = tuple(
        attempt(number, cause=cause, before=((CARD, status), (CARD, status)))
        for number, (cause, status) in enumerate(product(Cause, Status))
    )
    for each in given:
        assert store.add_attempt(each)
        assert store.attempt(each.id) == each
    assert store.attempts() == given


def test_X6_an_id_is_known_once_whatever_became_of_it(store: Store) -> None:
    assert store.add_attempt(attempt(1))
    assert not store.add_attempt(attempt(2, id="hb-1"))
    assert store.advance_attempt(over(attempt(1), NOW), Life.PLANNED)
    assert not store.add_attempt(attempt(1))
    assert not store.add_attempt(over(attempt(1), NOW))
    assert store.attempts() == (over(attempt(1), NOW),)
    assert store.attempts(refs=attempt(2).refs) == (), "nothing of what was refused is found"
    assert store.add_attempt(attempt(2)), "nor in the way of anything"


@pytest.mark.parametrize("life", sorted(set(Life) - {Life.ENDED}))
def test_X5_an_agent_has_one_unfinished_attempt(store: Store, life: Life) -> None:
    assert store.add_attempt(attempt(1, agent="coo", life=life))
    assert not store.add_attempt(attempt(2, agent="coo"))
    assert store.add_attempt(over(attempt(3, agent="coo"), NOW)), "one that has ended takes no place"
    assert store.add_attempt(attempt(4, agent="Coo")), "and another is another"
    assert [each.id for each in store.attempts(unfinished=True)] == ["hb-1", "hb-4"]


@pytest.mark.parametrize("life", sorted(set(Life) - {Life.ENDED}))
@pytest.mark.parametrize("refs", [(CARD,), (LINE, CARD), (CARD, ISSUE), (ISSUE,), (ISSUE, LINE, ISSUE)])
def test_X5_a_ref_is_in_one_unfinished_attempt(store: Store, life: Life, refs: tuple[Ref, ...]) -> None:
    assert store.add_attempt(attempt(1, refs=(CARD, ISSUE), life=life))
    assert not store.add_attempt(attempt(2, refs=refs))
    assert store.attempts() == (attempt(1, refs=(CARD, ISSUE), life=life),)
    assert store.add_attempt(over(attempt(3, refs=refs), NOW)), "one that has ended takes none"
    assert store.add_attempt(attempt(4, refs=(LINE, Ref(CARD.source, ISSUE.id)))), "an id is one source's own"


def test_X5_what_was_taken_is_free_when_the_attempt_has_ended(store: Store) -> None:
    first = attempt(1, agent="coo", refs=(CARD, ISSUE, CARD))
    second = attempt(2, agent="coo", refs=(ISSUE, LINE))
    assert store.add_attempt(first)
    assert not store.add_attempt(second)
    assert store.advance_attempt(replace(first, life=Life.CLAIMED), Life.PLANNED)
    assert not store.add_attempt(second)
    assert store.advance_attempt(over(first, NOW), Life.CLAIMED)
    assert store.add_attempt(second)
    assert not store.add_attempt(attempt(3, refs=(LINE,)))
    assert store.add_attempt(attempt(4, refs=(CARD,)))


def test_X5_attempts_without_refs_are_not_in_each_others_way(store: Store) -> None:
    assert store.add_attempt(attempt(1, refs=()))
    assert store.add_attempt(attempt(2, refs=()))
    assert not store.add_attempt(attempt(3, refs=(), agent="agent-1"))
    assert store.attempts(refs=[CARD]) == ()


def test_X5_a_refused_attempt_inside_a_beat_leaves_the_rest_standing(store: Store) -> None:
    with store.transaction():
        assert store.add_attempt(attempt(1))
        assert not store.add_attempt(attempt(2, agent="agent-1"))
        assert not store.add_attempt(attempt(2, refs=attempt(1).refs))
        with pytest.raises(ValueError, match="does not become"):
            store.advance_attempt(replace(attempt(1), life=Life.RUNNING), Life.PLANNED)
        store.add_receipt(receipt(1))
    assert store.attempts() == (attempt(1),)
    assert len(store.receipts()) == 1


def test_attempts_come_in_the_order_in_which_they_were_added_whatever_the_clock_said(store: Store) -> None:
    """A clock that once ran ahead cannot make an old attempt the newest of its task for years (rule B2)."""
    series = [attempt(number, refs=(CARD,)) for number in (7, 90000, 1, 3)]
    for each in series:
        assert store.add_attempt(over(each, each.planned_at))
    assert [each.id for each in store.attempts()] == ["hb-7", "hb-90000", "hb-1", "hb-3"]
    assert [each.id for each in store.attempts(limit=2)] == ["hb-1", "hb-3"], "the newest, oldest first"
    assert store.attempts(limit=0) == store.attempts(limit=-1) == ()
    assert store.attempts(limit=10**30) == store.attempts()
    assert [each.id for each in store.attempts(refs=[CARD], limit=3)] == ["hb-90000", "hb-1", "hb-3"]


def test_attempts_are_asked_for_by_refs_agent_and_life(store: Store) -> None:
    one = over(attempt(1, agent="coo", refs=(CARD, ISSUE)), NOW)
    two = attempt(2, agent="coo", refs=(ISSUE, LINE))
    three = attempt(3, agent="dev", refs=(CARD,))
    four = over(attempt(4, agent="dev", refs=()), NOW)
    for each in (one, two, three, four):
        assert store.add_attempt(each)
    assert store.attempts(refs=[CARD]) == (one, three)
    assert store.attempts(refs=iter([LINE, CARD, LINE])) == (one, two, three), "each once"
    assert store.attempts(refs=[ISSUE, Ref("todo", ISSUE.id)]) == (one, two)
    assert store.attempts(refs=[]) == store.attempts(refs=[Ref("todo", "never")]) == ()
    assert store.attempts(agent="coo") == (one, two)
    assert store.attempts(agent="") == ()
    assert store.attempts(unfinished=True) == (two, three)
    assert store.attempts(refs=[CARD, ISSUE], agent="coo", unfinished=True) == (two,)
    assert store.attempts(refs=[CARD, LINE], limit=1) == (three,)
    assert store.attempts(refs=[CARD, LINE], agent="coo", limit=1) == (two,)


def test_attempts_of_more_refs_than_one_statement_takes_are_found_once_and_in_order(store: Store) -> None:
    refs = [Ref("todo", f"TODO.md#{number}") for number in range(1000)]
    wide = over(attempt(1, refs=(*refs[::7], *refs[:3])), NOW)
    narrow = over(attempt(2, refs=(refs[999],)), NOW)
    last = over(attempt(3, refs=(refs[0],)), NOW)
    for each in (wide, narrow, last):
        assert store.add_attempt(each)
    assert store.attempts(refs=reversed(refs)) == (wide, narrow, last)
    assert store.attempts(refs=refs, limit=2) == (narrow, last)
    assert store.attempts(refs=refs[1:2]) == (wide,)


def test_attempts_since_an_instant_are_those_that_had_not_ended_by_then(store: Store) -> None:
    """What a day's budget counts is among them, however long before midnight it was planned."""
    midnight = NOW + DAY
    yesterday = over(attempt(1, accepted_at=NOW), midnight - MINUTE)
    into_today = over(attempt(2, accepted_at=NOW), midnight)
    accepted_today = over(attempt(3, accepted_at=midnight), midnight - MINUTE)
    planned_today = over(attempt(4, planned_at=midnight), NOW)
    undated = replace(over(attempt(5), NOW), ended_at=None)
    running = attempt(6, life=Life.RUNNING)
    for each in (yesterday, into_today, accepted_today, planned_today, undated, running):
        assert store.add_attempt(each)
    expected = (into_today, accepted_today, planned_today, running)
    assert store.attempts(since=midnight) == store.attempts(since=midnight.astimezone(SHANGHAI)) == expected
    assert store.attempts(since=midnight, unfinished=True) == (running,)
    assert store.attempts(since=midnight, agent="agent-3") == (accepted_today,)
    assert store.attempts(since=NOW + 5 * MINUTE) == (
        yesterday,
        into_today,
        accepted_today,
        planned_today,
        *(
            undated,
            running,
        ),
    )


@pytest.mark.parametrize(("before", "after"), STEPS)
def test_X6_an_attempt_goes_on_by_the_table_alone(store: Store, before: Life, after: Life) -> None:
    first = attempt(1, life=before, outcome=Outcome.COMPLETED if before is Life.ENDED else None)
    assert store.add_attempt(first)
    later = replace(first, life=after, tries=2, error="503", deadline=NOW + DAY)
    assert store.advance_attempt(later, before)
    assert store.attempts() == (later,)
    assert store.attempts(refs=first.refs) == (later,)


@pytest.mark.parametrize(("before", "after"), NO_STEPS)
def test_X6_a_step_that_is_not_in_the_table_is_refused(store: Store, before: Life, after: Life) -> None:
    first = attempt(1, life=before)
    assert store.add_attempt(first)
    with pytest.raises(ValueError, match=f"{before.value} does not become {after.value}"):
        store.advance_attempt(replace(first, life=after), before)
    assert store.attempts() == (first,)


@pytest.mark.parametrize(("there", "believed"), [(a, b) for a, b in product(Life, Life) if a is not b])
def test_X6_whoever_believes_it_elsewhere_changes_nothing(store: Store, there: Life, believed: Life) -> None:
    first = attempt(1, life=there)
    assert store.add_attempt(first)
    assert not store.advance_attempt(replace(first, life=believed, error="mine"), believed)
    if believed is not Life.ENDED:
        assert not store.advance_attempt(over(first, NOW), believed)
    assert store.attempts() == (first,)


def test_X6_an_outcome_is_collected_once_and_stays(store: Store) -> None:
    assert store.add_attempt(ATTEMPT)
    done, lost = over(ATTEMPT, NOW), over(ATTEMPT, NOW + MINUTE, Outcome.LOST)
    assert store.advance_attempt(done, Life.RUNNING)
    assert not store.advance_attempt(lost, Life.RUNNING)
    assert not store.advance_attempt(done, Life.RUNNING), "not even with the same outcome"
    with pytest.raises(ValueError, match="has ended, and keeps its outcome"):
        store.advance_attempt(lost, Life.ENDED)
    told = replace(done, usage=Usage(1, 2, 0.5))
    assert store.advance_attempt(told, Life.ENDED), "what it cost may be told later"
    assert store.attempts() == (told,)


def test_X6_only_what_is_known_goes_on(store: Store) -> None:
    assert not store.advance_attempt(replace(attempt(1), life=Life.CLAIMED), Life.PLANNED)
    assert store.attempts() == ()


@pytest.mark.parametrize("change", [{"agent": "dev"}, {"refs": (CARD,)}, {"refs": (ISSUE, CARD)}, {"refs": ()}])
def test_X5_an_attempt_keeps_its_agent_and_its_refs(store: Store, change: dict[str, Any]) -> None:
    first = attempt(1, agent="coo", refs=(CARD, ISSUE))
    assert store.add_attempt(first)
    with pytest.raises(ValueError, match="keeps its agent and its refs"):
        store.advance_attempt(replace(first, life=Life.CLAIMED, **change), Life.PLANNED)
    assert store.attempts() == (first,)


@pytest.mark.parametrize(
    "change",
    [
        {"usage": Usage(cost_usd=float("nan"))},
        {"usage": Usage(cost_usd=float("inf"))},
        {"usage": Usage(cost_usd=-0.5)},
        {"usage": Usage(input_tokens=-1)},
        {"usage": Usage(output_tokens=2**63)},
        {"exit_code": -(2**63)},
        {"tries": -1},
        {"number": -1},
    ],
)
def test_a_number_that_would_come_back_as_another_is_refused(store: Store, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'hb-1' cannot have"):
        store.add_attempt(replace(attempt(1), **change))
    assert store.add_attempt(attempt(1))
    with pytest.raises(ValueError, match="'hb-1' cannot have"):
        store.advance_attempt(replace(attempt(1), **change), Life.PLANNED)
    assert store.attempts() == (attempt(1),)


def test_the_largest_numbers_are_kept(store: Store) -> None:
    largest = 2**63 - 1
    given = attempt(1, exit_code=-largest, tries=largest, usage=Usage(largest, 0, 0.0))
    assert store.add_attempt(given)
    assert store.attempts() == (given,)
    whole = replace(attempt(2), usage=Usage(cost_usd=3))
    assert store.add_attempt(whole)
    assert store.attempt("hb-2") == whole


# Breakers.


def test_F2_a_breaker_comes_back_as_it_went_in_and_a_new_one_takes_its_place(store: Store) -> None:
    assert store.breakers() == {}
    store.put_breaker(BREAKER)
    store.put_breaker(Breaker("Zhipu"))
    store.put_breaker(Breaker("openclaw", State.OPEN))
    assert list(store.breakers().items()) == [
        ("Zhipu", Breaker("Zhipu")),
        ("anthropic", BREAKER),
        ("openclaw", Breaker("openclaw", State.OPEN)),
    ]
    store.put_breaker(Breaker("anthropic"))
    assert store.breakers()["anthropic"] == Breaker("anthropic"), "nothing of the old one shines through"


@pytest.mark.parametrize("state", State)
def test_F2_a_breaker_may_be_in_any_state(store: Store, state: State) -> None:
    store.put_breaker(replace(BREAKER, state=state))
    assert store.breakers() == {"anthropic": replace(BREAKER, state=state)}


def test_F2_a_dropped_breaker_is_one_of_which_nothing_was_ever_told(store: Store) -> None:
    store.put_breaker(BREAKER)
    assert not store.drop_breaker("Anthropic")
    assert store.drop_breaker("anthropic")
    assert not store.drop_breaker("anthropic")
    assert store.breakers() == {}


# Dead letters.


def test_F4_a_letter_comes_back_as_it_went_in_and_keeps_its_place(store: Store) -> None:
    other = replace(LETTER, id="other", created_at=NOW - DAY, refs=(), attempts=(), payload={}, poison=False)
    store.put_letter(LETTER)
    store.put_letter(other)
    assert store.letters() == (LETTER, other)
    closed = replace(
        LETTER,
        task="todo:a",
        refs=(LINE,),
        title="another",
        agent="dev",
        created_at=NOW + DAY,
        due_at=NOW + DAY,
        error="",
        attempts=("hb-9",),
        tries=3,
        poison=False,
        state=LetterState.REPLAYED,
        closed_at=NOW + DAY,
        payload={"prompt": ""},
    )
    assert not [each.name for each in fields(DeadLetter) if getattr(closed, each.name) == getattr(LETTER, each.name)][
        1:
    ]
    store.put_letter(closed)
    assert store.letters() == (closed, other), "nothing of the old one shines through"
    assert store.letter(LETTER.id) == closed
    assert store.letter("no such") is None


def test_F4_letters_are_asked_for_by_refs_agent_and_whether_they_are_open(store: Store) -> None:
    one = replace(LETTER, id="1", refs=(CARD, ISSUE), agent="coo")
    two = replace(LETTER, id="2", refs=(ISSUE, LINE), agent="dev", state=LetterState.DROPPED, closed_at=NOW)
    three = replace(LETTER, id="3", refs=(), agent="coo", state=LetterState.WAITING)
    for each in (one, two, three):
        store.put_letter(each)
    assert store.letters(refs=[ISSUE]) == store.letters(refs=iter([LINE, CARD])) == (one, two)
    assert store.letters(refs=[]) == store.letters(refs=[Ref("todo", "never")]) == ()
    assert store.letters(agent="coo") == (one, three)
    assert store.letters(agent="") == ()
    assert store.letters(open_only=True) == (one, three)
    assert store.letters(refs=[LINE, CARD], agent="dev", open_only=True) == ()
    assert store.letters(refs=[CARD], agent="coo", open_only=True) == (one,)


@pytest.mark.parametrize("state", LetterState)
def test_F4_a_letter_may_be_in_any_state(store: Store, state: LetterState) -> None:
    letter = replace(LETTER, state=state)
    store.put_letter(letter)
    assert store.letters() == (letter,)
    assert bool(store.letters(open_only=True)) == letter.is_open == (state in OPEN)


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": NOW}, {"a": object()}, {"a": b"bytes"}])
def test_what_json_cannot_hold_is_refused_and_nothing_is_kept(store: Store, payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        store.put_letter(replace(LETTER, payload=payload))
    assert store.letters() == ()
    with pytest.raises(ValueError):
        store.add_receipt(receipt(1, dispatch=payload))
    assert store.receipts() == ()


def test_what_was_given_may_change_afterwards(store: Store) -> None:
    payload = {"limits": [1]}
    store.put_letter(replace(LETTER, payload=payload))
    store.add_receipt(receipt(1, dispatch=payload))
    payload["limits"].clear()
    assert store.letters()[0].payload == store.receipts()[0].dispatch == {"limits": [1]}


def test_a_receipt_without_turns_has_nothing_to_say_of_them(store: Store) -> None:
    store.add_receipt(receipt(1, dispatch={}, level="", level_reasons=()))
    found = store.receipts()[0]
    assert (found.dispatch, found.level, found.level_reasons) == ({}, "", ())


# All of them.


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_B8_foreign_text_is_kept_whatever_it_holds(store: Store, odd: str) -> None:
    ref = Ref(odd, odd)
    given = Attempt(
        id=odd,
        task=odd,
        refs=(ref, CARD),
        title=odd,
        agent=odd,
        number=1,
        engine=Engine.MULTICA,
        provider=odd,
        planned_at=NOW,
        model=odd,
        session=odd,
        before=((ref, Status.BACKLOG),),
        letter=odd,
        run=odd,
        error=odd,
    )
    letter = DeadLetter(odd, odd, (ref,), odd, odd, NOW, NOW, odd, (odd, odd), payload={odd: [odd]})
    breaker = Breaker(odd, probe=odd, why=odd)
    assert store.add_attempt(given)
    assert not store.add_attempt(replace(given, id="another", agent="another", refs=(LINE, ref)))
    store.put_letter(letter)
    store.put_breaker(breaker)
    assert turns(store) == ((given,), {odd: breaker}, (letter,))
    assert store.attempts(refs=[ref], agent=odd) == (given,)
    assert store.letters(refs=[ref], agent=odd) == (letter,)
    assert (store.attempt(odd), store.letter(odd)) == (given, letter)
    ended = over(given, NOW - DAY)
    assert store.advance_attempt(ended, Life.PLANNED)
    assert store.forget_before(NOW + DAY) == 0, "the letter names it"
    store.put_letter(replace(letter, state=LetterState.DROPPED, closed_at=NOW))
    assert store.forget_before(NOW + DAY) == 2
    assert store.drop_breaker(odd)
    assert turns(store) == NOTHING


def test_S8_times_of_any_zone_come_back_in_utc(store: Store) -> None:
    there = NOW.astimezone(SHANGHAI)
    times = dict.fromkeys(("planned_at", "spawned_at", "accepted_at", "deadline", "ended_at"), there)
    assert store.add_attempt(attempt(1, **times))
    assert store.advance_attempt(attempt(1, **times), Life.PLANNED)
    store.put_breaker(Breaker("p", until=there, probe_at=there, cooled_until=there, changed_at=there))
    store.put_letter(replace(LETTER, created_at=there, due_at=there, closed_at=there))
    found = [
        getattr(record, name.name)
        for record in (store.attempts()[0], store.breakers()["p"], store.letters()[0])
        for name in fields(record)
        if isinstance(getattr(record, name.name), datetime)
    ]
    assert len(found) == 5 + 4 + 3
    assert {time.isoformat() for time in found} == {NOW.isoformat()}


WRITES: dict[str, Callable[[Store, datetime], Any]] = {
    **{
        f"{name} of an attempt": lambda store, at, name=name: store.add_attempt(attempt(1, **{name: at}))  # type: ignore[misc]
        for name in ("planned_at", "spawned_at", "accepted_at", "deadline", "ended_at")
    },
    "advance": lambda store, at: store.advance_attempt(replace(attempt(1), deadline=at), Life.PLANNED),
    **{
        f"{name} of a breaker": lambda store, at, name=name: store.put_breaker(replace(BREAKER, **{name: at}))  # type: ignore[misc]
        for name in ("until", "probe_at", "cooled_until", "changed_at")
    },
    **{
        f"{name} of a letter": lambda store, at, name=name: store.put_letter(replace(LETTER, **{name: at}))  # type: ignore[misc]
        for name in ("created_at", "due_at", "closed_at")
    },
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_S8_a_time_without_a_zone_is_refused_and_nothing_is_kept(
    store: Store, write: Callable[[Store, datetime], Any]
) -> None:
    with pytest.raises(ValueError, match="time zone"):
        write(store, NAIVE)
    assert turns(store) == NOTHING


def test_S8_a_question_with_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="time zone"):
        store.attempts(since=NAIVE)


@pytest.mark.parametrize(
    "write",
    [*WRITES.values(), lambda store, at: store.drop_breaker("none")],
    ids=[*WRITES, "drop breaker"],
)
def test_B3_a_store_for_looking_refuses_every_write(
    locked_store: Store, write: Callable[[Store, datetime], Any]
) -> None:
    with pytest.raises(StateError, match="for reading only") as refused:
        write(locked_store, NOW)
    assert refused.value.advice
    assert turns(locked_store) == NOTHING


def test_a_beat_that_breaks_off_is_not_kept_at_all(store: Store) -> None:
    assert store.add_attempt(ATTEMPT)
    store.put_breaker(BREAKER)
    store.put_letter(LETTER)
    before = turns(store)

    def beat() -> None:
        with store.transaction():
            assert store.advance_attempt(over(ATTEMPT, NOW - 900 * DAY), Life.RUNNING)
            assert store.add_attempt(replace(ATTEMPT, id="next"))
            store.put_breaker(replace(BREAKER, failures=9))
            store.drop_breaker("anthropic")
            store.put_letter(replace(LETTER, state=LetterState.DROPPED, closed_at=NOW - 900 * DAY))
            assert store.forget_before(NOW + MINUTE) == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        beat()
    assert turns(store) == before
    assert not store.add_attempt(replace(ATTEMPT, id="next")), "its refs and its agent are taken as they were"
    assert store.advance_attempt(over(ATTEMPT, NOW), Life.RUNNING)
    assert store.add_attempt(replace(ATTEMPT, id="next"))


@pytest.mark.parametrize(
    "damaging",
    [
        lambda store: store.add_attempt(None),
        lambda store: store.put_breaker(None),
        lambda store: store.put_letter(None),
        lambda store: store.advance_attempt(None, Life.PLANNED),
    ],
)
def test_a_bug_of_the_caller_inside_a_beat_keeps_nothing(store: Store, damaging: Callable[[Store], Any]) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises((AttributeError, TypeError)))
        stack.enter_context(store.transaction())
        store.add_log([LOG_ENTRY])
        store.add_attempt(ATTEMPT)
        damaging(store)
    assert (store.log(), store.attempts()) == ((), ())


# Retention.


def test_retention_drops_attempts_that_ended_earlier_and_no_others(store: Store) -> None:
    old = NOW - MINUTE
    then = {"planned_at": NOW - 900 * DAY}
    for number, life in enumerate(Life):
        if life is not Life.ENDED:
            assert store.add_attempt(attempt(number, life=life, **then))
    for each in (
        over(attempt(10, **then), old),
        over(attempt(11, **then), NOW),
        replace(over(attempt(12, **then), old), ended_at=None),
        over(attempt(13, **then, accepted_at=NOW), old),
        over(attempt(14, planned_at=NOW), old),
    ):
        assert store.add_attempt(each)
    assert store.forget_before(NOW) == 2, "the rows that only help to find them do not count"
    assert [each.id for each in store.attempts()] == ["hb-0", "hb-1", "hb-2", "hb-3", "hb-11", "hb-13", "hb-14"]
    assert store.forget_before(NOW) == 0
    assert store.add_attempt(attempt(10)), "what was forgotten is in nobody's way"
    assert store.attempts(refs=attempt(10).refs) == (attempt(10),)


@pytest.mark.parametrize("state", LetterState)
def test_F4_retention_leaves_open_letters_and_the_attempts_that_belong_to_them(
    store: Store, state: LetterState
) -> None:
    then = NOW - 900 * DAY
    for id_, letter in (("named", ""), ("replayed it", "0a1b"), ("neither", "another")):
        assert store.add_attempt(over(attempt(1, id=id_, letter=letter, planned_at=then), then))
    closed_at = None if state in OPEN else NOW - MINUTE
    store.put_letter(
        replace(LETTER, attempts=("named", "gone"), created_at=then, due_at=then, state=state, closed_at=closed_at)
    )
    if state in OPEN:
        assert store.forget_before(NOW) == 1
        assert [each.id for each in store.attempts()] == ["named", "replayed it"]
        assert len(store.letters()) == 1
    else:
        assert store.forget_before(NOW) == 4
        assert turns(store) == NOTHING


def test_F4_retention_goes_by_the_closing_of_a_letter(store: Store) -> None:
    then = NOW - 900 * DAY
    for number, (created_at, closed_at) in enumerate([(then, NOW), (NOW, None), (then, None), (then, NOW - MINUTE)]):
        store.put_letter(
            replace(LETTER, id=str(number), state=LetterState.DROPPED, created_at=created_at, closed_at=closed_at)
        )
    assert store.forget_before(NOW) == 2
    assert [letter.id for letter in store.letters()] == ["0", "1"]


def test_F4_a_letter_that_was_closed_lately_keeps_no_attempts(store: Store) -> None:
    then = NOW - 900 * DAY
    assert store.add_attempt(over(attempt(1, id="named", planned_at=then), then))
    assert store.add_attempt(over(attempt(2, letter=LETTER.id, planned_at=then), then))
    store.put_letter(replace(LETTER, attempts=("named",), state=LetterState.REPLAYED, closed_at=NOW))
    assert store.forget_before(NOW) == 2
    assert (store.attempts(), len(store.letters())) == ((), 1)


def test_nothing_of_an_attempt_that_was_forgotten_is_left_to_the_next(store: Store) -> None:
    """A file gives the place of its newest row again."""
    assert store.add_attempt(over(attempt(1, refs=(CARD, ISSUE)), NOW))
    assert store.forget_before(NOW + DAY) == 1
    assert store.add_attempt(attempt(2, refs=(LINE,)))
    assert store.attempts(refs=[CARD, ISSUE]) == ()
    assert store.add_attempt(attempt(3, refs=(CARD,)))


def test_F2_retention_leaves_breakers(store: Store) -> None:
    store.put_breaker(replace(BREAKER, changed_at=NOW - 900 * DAY))
    assert store.forget_before(NOW) == 0
    assert len(store.breakers()) == 1


# The file, and many at once.


def test_the_file_finds_attempts_by_agent_and_ref_without_reading_all(tmp_path: Path) -> None:
    seen: list[str] = []
    with open_store(tmp_path, NOW) as store:
        assert isinstance(store, SqliteStore)
        store._connection.set_trace_callback(lambda statement: seen.append(statement))
        store.attempts(refs=[CARD, LINE], unfinished=True)
        store.attempts(agent="coo", since=NOW)
        store.attempts(unfinished=True)
        store.add_attempt(attempt(1))
        store._connection.set_trace_callback(None)
        asked = [statement for statement in seen if statement.startswith(("SELECT", "UPDATE", "DELETE"))]
        assert len(asked) == 4
        plans = [" ".join(row[-1] for row in store._execute(f"EXPLAIN QUERY PLAN {statement}")) for statement in asked]
    assert [plan.partition("LIST")[0].replace("COVERING ", "").strip() for plan in plans] == [
        "SEARCH attempts USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH attempts USING INDEX attempts_by_agent (agent=?)",
        "SCAN attempts USING INDEX attempts_unfinished USE TEMP B-TREE FOR ORDER BY",
        "SEARCH attempt_refs USING INDEX attempt_refs_unfinished (source=? AND id=?)",
    ]
    assert "SEARCH known USING COVERING INDEX attempt_refs_by_ref (source=? AND id=?)" in plans[0]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO attempts SELECT NULL, 'another', agent, refs, task, title, number, engine, provider, planned_at, "
        "model, session, life, continued, before, letter, run, tries, spawned_at, accepted_at, deadline, ended_at, "
        "outcome, cause, exit_code, error, input_tokens, output_tokens, cost_usd, boot, uptime, lasted FROM attempts",
        "INSERT INTO attempt_refs SELECT attempt + 1, source, id, unfinished FROM attempt_refs",
        "UPDATE attempts SET life = 'running'",
    ],
)
def test_X5_the_database_itself_lets_nothing_be_twice(tmp_path: Path, statement: str) -> None:
    """Also where a program writes to it that does not look first."""
    with open_store(tmp_path, NOW) as store:
        assert store.add_attempt(over(attempt(1, agent="coo", refs=(LINE,)), NOW))
        assert store.add_attempt(attempt(2, agent="coo", refs=(CARD,)))
    connection = sqlite3.connect(tmp_path / "state.db")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        connection.execute(statement)
    connection.close()


def test_X5_an_attempt_is_added_while_nobody_else_writes(tmp_path: Path) -> None:
    with open_store(tmp_path, NOW) as mine, open_store(tmp_path, NOW, busy_timeout=0.02) as other:
        with mine.transaction():
            assert mine.add_attempt(attempt(1))
            with pytest.raises(StateError, match="locked by another process"):
                other.add_attempt(attempt(2, agent="agent-1"))
        assert not other.add_attempt(attempt(2, agent="agent-1"))


def test_X6_nobody_advances_between_anothers_look_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, NOW, busy_timeout=0.02) as mine, open_store(tmp_path, NOW) as other:
        assert mine.add_attempt(ATTEMPT)
        look = other.attempt
        found: list[object] = []

        def look_and_be_slow(id_: str) -> Attempt | None:
            seen = look(id_)
            with pytest.raises(StateError, match="locked"):
                mine.advance_attempt(over(ATTEMPT, NOW, Outcome.LOST), Life.RUNNING)
            found.append(seen)
            return seen

        monkeypatch.setattr(other, "attempt", look_and_be_slow)
        assert other.advance_attempt(over(ATTEMPT, NOW), Life.RUNNING)
        assert found == [ATTEMPT]
        assert not mine.advance_attempt(over(ATTEMPT, NOW, Outcome.LOST), Life.RUNNING)
        assert mine.attempts() == (over(ATTEMPT, NOW),)


ROUNDS = 20

_PROCESS = """
import sys
from pathlib import Path
from heartbeat.store.opening import open_store
from tests.contract.test_store_turns import ROUNDS, contend
from tests.support.receipts import NOW
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    print("ready")
    for number in range(ROUNDS):
        input()
        print(*contend(store, number, sys.argv[2]))
"""


def contend(store: Store, number: int, who: str) -> tuple[str, str, str]:
    """One contender's part in one round: for one task, for one agent, and for the outcome of one turn."""
    task, agent = (CARD, LINE)[number % 2], f"by task {number}"
    by_ref = store.add_attempt(attempt(number, id=f"ref-{number}-{who}", agent=f"{agent} {who}", refs=(task, ISSUE)))
    by_agent = store.add_attempt(
        attempt(number, id=f"agent-{number}-{who}", agent=agent, refs=(Ref("todo", f"{number}-{who}"),))
    )
    turn = store.attempt(f"turn-{number}")
    assert turn is not None
    collected = store.advance_attempt(over(turn, NOW, error=who), Life.RUNNING)
    return tuple("yes" if each else "no" for each in (by_ref, by_agent, collected))  # type: ignore[return-value]


def prepare(store: Store, number: int) -> None:
    """What the last round left is over; another turn runs."""
    for each in store.attempts(unfinished=True):
        assert store.advance_attempt(over(each, NOW), each.life)
    assert store.add_attempt(attempt(number, id=f"turn-{number}", agent="the turn's", refs=(), life=Life.RUNNING))


def assert_one_won(store: Store, number: int, said: list[tuple[str, ...]]) -> None:
    assert [sorted(column, reverse=True) for column in zip(*said, strict=True)] == [
        ["yes", *["no"] * (len(said) - 1)]
    ] * 3
    kept = [each.id.rpartition("-")[0] for each in store.attempts(unfinished=True)]
    assert sorted(kept) == [f"agent-{number}", f"ref-{number}"]
    turn = store.attempt(f"turn-{number}")
    assert turn is not None
    assert turn.error == str([each[2] for each in said].index("yes")), "what stands is the winner's"


def test_X5_of_many_processes_that_want_a_task_an_agent_or_an_outcome_exactly_one_gets_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(open_store(tmp_path, NOW, busy_timeout=30))
        children = [stack.enter_context(child(_PROCESS, tmp_path, number)) for number in range(4)]
        for each in children:
            assert each.line() == "ready"
        for number in range(ROUNDS):
            prepare(store, number)
            for each in children:
                each.go_on()
            assert_one_won(store, number, [tuple(each.line().split()) for each in children])


def test_X5_of_many_threads_that_want_a_task_an_agent_or_an_outcome_exactly_one_gets_it(tmp_path: Path) -> None:
    contenders = 6
    said: list[tuple[str, ...]] = [()] * contenders
    barrier = Barrier(contenders + 1, timeout=30)

    def compete(who: int) -> None:
        # A barrier that is broken says that the test has failed already.
        with open_store(tmp_path, NOW, busy_timeout=30) as mine, suppress(BrokenBarrierError):
            for number in range(ROUNDS):
                barrier.wait()
                said[who] = contend(mine, number, str(who))
                barrier.wait()

    with open_store(tmp_path, NOW, busy_timeout=30) as store:
        threads = [Thread(target=compete, args=(who,)) for who in range(contenders)]
        for thread in threads:
            thread.start()
        try:
            for number in range(ROUNDS):
                prepare(store, number)
                barrier.wait()
                barrier.wait()
                assert_one_won(store, number, list(said))
        finally:
            barrier.abort()
            for thread in threads:
                thread.join(30)


_FAIL = """
import sys
from dataclasses import replace
from pathlib import Path
from heartbeat.breaker import Breaker
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    print("ready")
    input()
    for _ in range(15):
        with store.transaction():
            known = store.breakers().get("p", Breaker("p"))
            store.put_breaker(replace(known, failures=known.failures + 1))
    print("done")
"""


def test_F2_a_breaker_that_many_processes_change_loses_no_failure(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(open_store(tmp_path, NOW))
        children = [stack.enter_context(child(_FAIL, tmp_path)) for _ in range(3)]
        for each in children:
            assert each.line() == "ready"
        for each in children:
            each.go_on()
        assert [each.line() for each in children] == ["done"] * 3
        assert store.breakers() == {"p": Breaker("p", failures=45)}
