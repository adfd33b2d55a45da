"""Whether a turn is started, on which task, and why not (rule X1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from heartbeat.attempt import Cause, LetterState
from heartbeat.breaker import Breaker, State
from heartbeat.memory import Hold, Memory, Pause, Rounds
from heartbeat.provider import Failover, Provider, Strategy
from heartbeat.rules.budget import Budget, Spent
from heartbeat.rules.dispatching import Continue, Reason, Skip, Start, decide, record_of
from heartbeat.rules.talk import Talk
from heartbeat.task import Item, Presence, Priority, Status
from tests.support.items import ALICE, ARCHITECT, NOW, card, explicit, issue, line
from tests.support.situations import (
    MINUTE,
    MULTICA,
    NONE,
    OPENCLAW,
    at_work,
    attempt,
    failed,
    letter,
    situation,
)

HIGH = card(1, "first", priority=Priority.HIGH)
LOW = card(2, "second", priority=Priority.LOW)
WORKED = card(3, "third", Status.IN_PROGRESS, priority=Priority.LOW)
ISSUE = issue(7, "an issue", priority=Priority.LOW)
LINE = line(4, "a line of a file", priority=Priority.LOW)
LATER = NOW + 5 * MINUTE
OPEN = Breaker("native", State.OPEN, until=LATER, changed_at=NOW - MINUTE)
COOLING = Breaker("native", cooled_until=LATER)


def decided(*items: Item, **changes: Any) -> Continue | Start | Skip:
    return decide(situation(*items, **changes))


def started(*items: Item, **changes: Any) -> str:
    """The key of the item that is started or continued; empty for none."""
    found = decided(*items, **changes)
    return "" if isinstance(found, Skip) else found.task.items[0].key


def passed(*items: Item, **changes: Any) -> list[tuple[str, Reason]]:
    return [(each.task.items[0].key, each.reason) for each in decided(*items, **changes).passed]


# What stands against any turn, the strongest reason first.

AGAINST: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.NONE, {"policy": NONE}),
    (Reason.OBSERVING, {"memory": Memory(observing=True)}),
    (Reason.PAUSED, {"memory": Memory(pauses=(Pause("coo", NOW, None, "moving"),))}),
    (Reason.BUSY, {"unfinished": (attempt(1, ISSUE.ref),)}),
    (Reason.NO_WORK, {"standings": ()}),
    (Reason.TALKING, {"talk": Talk("coo", NOW, LATER)}),
    (Reason.BUSY, {"presence": (at_work(),)}),
    (Reason.DEGRADED, {"presence_unknown": frozenset({"workboard"})}),
    (Reason.BREAKER_OPEN, {"breakers": {"openclaw": replace(OPEN, provider="openclaw")}}),
    (Reason.LIMIT, {"limit": 0}),
    (Reason.BUDGET, {"spent": Spent(turns=3), "budget": Budget(turns_per_day=3)}),
    (Reason.HELD, {}),
]
"""Each with what makes it hold; the last is that of the one task there is."""


@pytest.mark.parametrize("place", range(len(AGAINST)))
def test_X1_the_first_reason_that_holds_is_the_one_on_record(place: int) -> None:
    changes: dict[str, Any] = {}
    for _, more in reversed(AGAINST[place:]):
        memory = replace(changes.get("memory", held(HIGH)), **set_in(more.get("memory")))
        changes |= {**more, "memory": memory}
    found = decided(HIGH, **changes)
    assert isinstance(found, Skip)
    assert found.reason is AGAINST[place][0], found.told


@pytest.mark.parametrize(("reason", "changes"), AGAINST[:-1])
def test_X1_each_of_them_alone_is_enough(reason: Reason, changes: dict[str, Any]) -> None:
    assert isinstance(decided(HIGH), Start)
    found = decided(HIGH, **changes)
    assert isinstance(found, Skip)
    assert found.reason is reason


def set_in(memory: Memory | None) -> dict[str, Any]:
    """What a memory has that an empty one has not."""
    empty, names = Memory(), ("observing", "pauses", "holds")
    return {name: getattr(memory, name) for name in names if memory and getattr(memory, name) != getattr(empty, name)}


def held(*items: Item, minutes: int = 40, why: str = "a build") -> Memory:
    until = NOW + minutes * MINUTE
    return Memory(holds={item.ref: Hold(item.ref, NOW - MINUTE, until, why, "coo") for item in items})


def test_X1_the_default_starts_nothing() -> None:
    assert decided(HIGH, WORKED, policy=NONE) == Skip(Reason.NONE, "dispatch: none in the roster")


@pytest.mark.parametrize(
    "item",
    [
        card(1, "t", Status.BLOCKED),
        card(1, "t", Status.IN_REVIEW),
        card(1, "t", Status.BACKLOG),
        card(1, "t", Status.DONE),
        card(1, "t", Status.CANCELLED),
        card(1, "t", Status.UNKNOWN),
        card(1, "t", archived=True),
        card(1, "t", not_before=NOW + MINUTE),
        card(1, "t", owner=ARCHITECT),
        card(1, "t", owner=ALICE),
    ],
    ids=lambda item: f"{item.status.value}-{item.owner.id}-{item.archived}",
)
def test_X1_what_is_not_ready_is_no_work(item: Item) -> None:
    found = decided(item)
    assert isinstance(found, Skip)
    assert (found.reason, found.told) == (Reason.NO_WORK, "nothing is ready")


# What is started.


def test_X1_the_best_ready_task_is_started() -> None:
    found = decided(LOW, HIGH, ISSUE)
    assert isinstance(found, Start)
    assert (found.task.items[0].key, found.letter, found.provider.name, found.passed) == (HIGH.key, None, "native", ())
    assert found.told == "00000001 is first in the order of work (high); native is asked for try 1 of 4"
    assert started(LOW, ISSUE, replace(LINE, priority=Priority.URGENT, due=date(2026, 12, 1))) == "TODO.md:4"


def test_X1_the_task_in_progress_is_continued_before_anything_is_started() -> None:
    found = decided(HIGH, WORKED)
    assert isinstance(found, Continue)
    assert found.task.items[0].key == WORKED.key
    assert found.told == "00000003 is in progress and its turn has ended; native is asked for try 1 of 4"


def test_X1_of_two_in_progress_the_better_placed_one_is_continued() -> None:
    urgent = issue(9, "urgent", Status.IN_PROGRESS, priority=Priority.URGENT)
    assert started(WORKED, urgent) == started(urgent, WORKED) == "BIZ-9"


def test_X1_a_due_dead_letter_comes_after_the_task_in_progress_and_before_what_is_ready() -> None:
    letters = (letter(1, LOW.ref), letter(2, ISSUE.ref, due=NOW - MINUTE))
    found = decided(HIGH, LOW, ISSUE, letters=letters)
    assert isinstance(found, Start)
    assert (found.task.ref, found.letter) == (ISSUE.ref, letters[1])
    assert "as a replay of dead letter letter-2" in found.told
    assert started(HIGH, LOW, ISSUE, letters=letters[:1]) == LOW.key
    assert isinstance(decided(HIGH, LOW, WORKED, letters=letters), Continue)


def test_F4_a_dead_letter_that_is_not_due_keeps_its_task_back_and_no_other() -> None:
    waiting = letter(1, HIGH.ref, due=LATER)
    assert started(HIGH, LOW, letters=[waiting]) == LOW.key
    assert passed(HIGH, LOW, letters=[waiting]) == [(HIGH.key, Reason.DEAD_LETTER)]
    alone = decided(HIGH, letters=[waiting])
    assert alone == Skip(Reason.DEAD_LETTER, "00000001: dead letter letter-1 is tried again later", LATER, alone.passed)


def test_F4_an_exhausted_letter_is_left_for_a_person() -> None:
    found = decided(HIGH, letters=[letter(1, HIGH.ref, state=LetterState.EXHAUSTED, tries=5, due=NOW - MINUTE)])
    assert isinstance(found, Skip)
    assert (found.reason, found.until) == (Reason.DEAD_LETTER, None)
    assert "dead letter letter-1 is left for a person: it failed 5 more times" in found.told


def test_F4_a_closed_letter_is_in_nobodys_way() -> None:
    for state in (LetterState.REPLAYED, LetterState.DROPPED):
        assert started(HIGH, LOW, letters=[letter(1, HIGH.ref, state=state, due=LATER, closed_at=NOW)]) == HIGH.key


def test_F4_a_replay_whose_process_died_is_taken_up_again() -> None:
    begun = letter(1, LOW.ref, state=LetterState.REPLAYING, due=LATER)
    found = decided(HIGH, LOW, letters=[begun])
    assert isinstance(found, Start)
    assert (found.task.ref, found.letter) == (LOW.ref, begun)
    on = decided(WORKED, letters=[letter(1, WORKED.ref, state=LetterState.REPLAYING, due=LATER)])
    assert isinstance(on, Continue)
    assert on.letter is not None


# Which tasks are passed over.


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (Reason.DEGRADED, {"unknown_ids": {HIGH.ref.id}}),
        (Reason.BUSY, {"unfinished": [attempt(1, HIGH.ref, agent="architect")]}),
        (Reason.BUSY, {"presence": [at_work("architect", HIGH.ref)]}),
        (Reason.CHANGED, {"touched": {HIGH.ref}}),
        (Reason.HELD, {"memory": held(HIGH)}),
        (Reason.ROUNDS_EXHAUSTED, {"memory": Memory(rounds={HIGH.ref: Rounds(HIGH.ref, used=50)})}),
        (Reason.DEAD_LETTER, {"letters": [letter(1, HIGH.ref, due=LATER)]}),
    ],
)
def test_X1_what_stands_against_the_best_task_passes_it_over_for_the_next(
    reason: Reason, changes: dict[str, Any]
) -> None:
    assert passed(HIGH, LOW, **changes) == [(HIGH.key, reason)]
    assert started(HIGH, LOW, **changes) == LOW.key
    alone = decided(HIGH, **changes)
    assert isinstance(alone, Skip)
    assert (alone.reason, [each.reason for each in alone.passed]) == (reason, [reason])
    assert alone.told == f"{HIGH.key}: {alone.passed[0].told}"


def test_D4_what_waits_for_another_task_is_passed_over_and_said() -> None:
    waiting = replace(HIGH, depends_on=explicit("BIZ-7"))
    assert passed(waiting, replace(ISSUE, owner=ARCHITECT), LOW) == [(HIGH.key, Reason.WAITING)]
    alone = decided(waiting, replace(ISSUE, owner=ARCHITECT))
    assert isinstance(alone, Skip)
    assert (alone.reason, len(alone.passed)) == (Reason.WAITING, 1)


def test_C1_the_last_round_may_be_used_and_granted_ones_count() -> None:
    def row(**changes: Any) -> Memory:
        return Memory(rounds={HIGH.ref: Rounds(HIGH.ref, **changes)})

    assert started(HIGH, memory=row(used=49)) == HIGH.key
    assert decided(HIGH, memory=row(used=50)).told == "00000001: 50 rounds of 50 are used"
    assert started(HIGH, memory=row(used=50, extra=1)) == HIGH.key


def test_T5_a_hold_stands_up_to_its_end() -> None:
    found = decided(HIGH, memory=held(HIGH))
    assert isinstance(found, Skip)
    assert (found.reason, found.until) == (Reason.HELD, NOW + 40 * MINUTE)
    assert found.told == "00000001: held until 2026-11-21T04:40:00.000Z: a build"
    assert started(HIGH, memory=held(HIGH, minutes=0)) == HIGH.key


def test_M4_a_split_task_in_progress_waits_for_somebody_to_settle_it() -> None:
    one = issue(7, "the same", Status.DONE, mentions=("00000003",))
    other = card(3, "the same", Status.IN_PROGRESS)
    found = decided(one, other, LINE)
    assert isinstance(found, Start)
    assert [each.reason for each in found.passed] == [Reason.WAITING]


def test_X5_a_task_is_recognised_by_any_of_its_origins() -> None:
    twin = replace(ISSUE, mentions=(HIGH.key,), priority=Priority.HIGH)
    for changes in (
        {"unfinished": [attempt(1, ISSUE.ref, agent="architect")]},
        {"touched": {ISSUE.ref}},
        {"memory": held(ISSUE)},
        {"letters": [letter(1, ISSUE.ref, due=LATER)]},
    ):
        assert started(HIGH, twin, LOW, **changes) == LOW.key, changes


# An agent with a task in progress.


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (Reason.CHANGED, {"touched": {WORKED.ref}}),
        (Reason.HELD, {"memory": held(WORKED)}),
        (
            Reason.BREAKER_OPEN,
            {"breakers": {"native": COOLING}, "attempts": [failed(1, WORKED.ref, cause=Cause.COOLS)]},
        ),
    ],
)
def test_X1_where_the_task_in_progress_rests_so_does_its_agent(reason: Reason, changes: dict[str, Any]) -> None:
    found = decided(WORKED, HIGH, LINE, **changes)
    assert isinstance(found, Skip)
    assert found.reason is reason
    assert found.told.startswith(WORKED.key)


def test_X1_a_card_that_cannot_go_on_still_holds_the_only_slot_on_the_board() -> None:
    spent = Memory(rounds={WORKED.ref: Rounds(WORKED.ref, used=50)})
    assert passed(WORKED, HIGH, LINE, memory=spent) == [
        (WORKED.key, Reason.ROUNDS_EXHAUSTED),
        (HIGH.key, Reason.BUSY),
    ]
    assert started(WORKED, HIGH, LINE, memory=spent) == LINE.key
    alone = decided(WORKED, HIGH, memory=spent)
    assert isinstance(alone, Skip)
    assert alone.reason is Reason.ROUNDS_EXHAUSTED
    assert "00000003 is in progress and holds the agent's only slot" in alone.passed[1].told


def test_X1_an_issue_that_cannot_go_on_holds_no_slot() -> None:
    worked = replace(ISSUE, status=Status.IN_PROGRESS)
    spent = Memory(rounds={worked.ref: Rounds(worked.ref, used=50)})
    assert started(worked, HIGH, memory=spent) == HIGH.key


def test_D4_a_task_begun_too_early_lets_what_it_waits_for_go_first() -> None:
    worked = replace(ISSUE, status=Status.IN_PROGRESS, depends_on=explicit(LOW.key))
    found = decided(worked, LOW)
    assert isinstance(found, Start)
    assert (found.task.ref, [each.reason for each in found.passed]) == (LOW.ref, [Reason.WAITING])


# Who is at work.


@pytest.mark.parametrize("item", [HIGH, WORKED])
def test_X1_where_runs_are_not_known_nothing_is_started_and_nothing_continued(item: Item) -> None:
    found = decided(item, presence_unknown={"workboard"})
    assert isinstance(found, Skip)
    assert found.reason is Reason.DEGRADED
    assert found.told == "whether a turn is running cannot be known: workboard did not tell"


def test_X1_an_engine_whose_source_is_not_used_cannot_be_known() -> None:
    found = decided(LINE, in_use={"multica", "todo"})
    assert isinstance(found, Skip)
    assert (found.reason, found.told) == (
        Reason.DEGRADED,
        "whether a turn is running cannot be known: workboard is not in use",
    )


def test_T7_runs_that_another_source_does_not_tell_of_keep_back_its_own_tasks_only() -> None:
    urgent = replace(ISSUE, priority=Priority.URGENT)
    assert passed(urgent, HIGH, presence_unknown={"multica"}) == [("BIZ-7", Reason.DEGRADED)]
    assert started(urgent, HIGH, presence_unknown={"multica"}) == HIGH.key


def test_X1_a_turn_of_another_agent_is_no_hindrance() -> None:
    assert started(HIGH, presence=[at_work("architect")]) == HIGH.key
    assert started(HIGH, presence=[Presence("coo", False, NOW, "agent:coo:main")]) == HIGH.key


@pytest.mark.parametrize("name", ["hb-card-1", "agent:coo:hb-card-1"])
def test_X1_a_turn_that_ended_after_the_look_goes_on_no_more(name: str) -> None:
    seen = at_work(name="agent:coo:hb-card-1")
    assert isinstance(decided(WORKED, presence=[seen]), Skip)
    assert started(WORKED, presence=[seen], ended={name}) == WORKED.key
    assert isinstance(decided(WORKED, presence=[seen], ended={"card-1"}), Skip)
    assert isinstance(decided(WORKED, presence=[seen, at_work()], ended={name}), Skip)


# What could not be read.


def test_G1_nothing_is_started_through_a_source_that_is_not_complete_and_others_go_on() -> None:
    urgent = replace(ISSUE, priority=Priority.URGENT)
    assert passed(urgent, LOW, incomplete={"multica"}) == [("BIZ-7", Reason.DEGRADED)]
    assert started(urgent, LOW, incomplete={"multica"}) == LOW.key


def test_G1_nothing_known_to_be_ready_is_not_nothing_to_do() -> None:
    found = decided(incomplete={"multica"})
    assert isinstance(found, Skip)
    assert (found.reason, found.told) == (
        Reason.DEGRADED,
        "nothing is known to be ready: multica could not be read completely",
    )
    blind = decided(in_use=())
    assert isinstance(blind, Skip)
    assert (blind.reason, blind.told) == (Reason.DEGRADED, "nothing is known to be ready: no source was read")


def test_S2_what_is_only_shown_from_an_earlier_read_is_never_started() -> None:
    seen = situation(HIGH)
    (placed,) = seen.standings
    stale = replace(placed, task=replace(placed.task, stale=(HIGH.ref,)))
    absent = replace(placed, task=replace(placed.task, absent=(ISSUE.ref,)))
    for each in (stale, absent):
        found = decide(replace(seen, standings=(each,)))
        assert isinstance(found, Skip)
        assert found.reason is Reason.DEGRADED


# Whom to ask.

TWO = Failover(Strategy.MANAGED, (Provider("alpha", max_retries=0), Provider("beta", max_retries=0, priority=2)))


def test_F1_the_provider_of_the_next_attempt_comes_with_the_decision() -> None:
    assert decided(HIGH, failover=TWO).provider.name == "alpha"  # type: ignore[union-attr]
    found = decided(WORKED, failover=TWO, attempts=[failed(1, WORKED.ref, provider="alpha")])
    assert isinstance(found, Continue)
    assert (found.provider.name, found.told.count("alpha failed 1 time of 1")) == ("beta", 1)


def test_F2_where_nobody_can_be_asked_a_new_task_stays_what_it_is() -> None:
    found = decided(HIGH, breakers={"native": OPEN})
    assert isinstance(found, Skip)
    assert (found.reason, found.until) == (Reason.BREAKER_OPEN, LATER)
    assert found.passed[0].give_up is None


def test_F4_a_chain_that_has_come_to_its_end_is_given_up_and_the_next_task_goes_on() -> None:
    attempts = [failed(1, HIGH.ref, provider="alpha"), failed(2, HIGH.ref, provider="beta")]
    found = decided(HIGH, LOW, failover=TWO, attempts=attempts)
    assert isinstance(found, Start)
    assert found.task.ref == LOW.ref
    assert found.passed[0].reason is Reason.DEAD_LETTER
    assert found.passed[0].give_up is not None
    assert not found.passed[0].give_up.poison


def test_F4_poison_is_given_up_at_once() -> None:
    found = decided(HIGH, attempts=[failed(1, HIGH.ref, cause=Cause.TASK)])
    assert found.passed[0].give_up is not None
    assert found.passed[0].give_up.poison


def test_F4_a_letter_that_answers_for_a_chain_begins_a_new_one() -> None:
    attempts = [failed(1, HIGH.ref, provider="alpha"), failed(2, HIGH.ref, provider="beta")]
    due = letter(1, HIGH.ref, attempts=(attempts[0].id, attempts[1].id))
    found = decided(HIGH, failover=TWO, attempts=attempts, letters=[due])
    assert isinstance(found, Start)
    assert (found.provider.name, found.letter) == ("alpha", due)


def test_F2_a_failover_without_anybody_starts_nothing() -> None:
    found = decided(HIGH, failover=Failover(providers=(Provider("native", enabled=False),)))
    assert isinstance(found, Skip)
    assert (found.reason, found.told) == (Reason.BREAKER_OPEN, "00000001: no provider is enabled")


# The other engine, limits and budgets.


def test_X1_multica_starts_turns_for_its_own_issues_only() -> None:
    assert started(HIGH, ISSUE, policy=MULTICA) == "BIZ-7"
    assert passed(HIGH, ISSUE, policy=MULTICA) == [(HIGH.key, Reason.ENGINE)]
    alone = decided(HIGH, LINE, policy=MULTICA)
    assert isinstance(alone, Skip)
    assert (alone.reason, alone.told) == (Reason.ENGINE, "00000001: multica runs its own issues only")
    twin = replace(ISSUE, mentions=(HIGH.key,))
    assert started(HIGH, twin, policy=MULTICA) == HIGH.key
    known = decided(ISSUE, policy=MULTICA, presence_unknown={"multica"})
    assert isinstance(known, Skip)
    assert known.reason is Reason.DEGRADED


@pytest.mark.parametrize(("running", "limit", "starts"), [(3, 4, True), (4, 4, False), (5, 4, False), (0, 1, True)])
def test_X5_the_turns_of_all_agents_count_against_the_limit(running: int, limit: int, starts: bool) -> None:
    others = [attempt(number, card(90 + number, "x").ref, agent=f"agent-{number}") for number in range(running)]
    assert bool(started(HIGH, unfinished=others, limit=limit)) is starts


def test_B4_a_talk_defers_and_says_until_when() -> None:
    talk = Talk("coo", NOW, LATER)
    assert decided(HIGH, talk=talk) == Skip(Reason.TALKING, talk.told, LATER)


def test_a_pause_of_everybody_is_one_of_this_agent_and_ends() -> None:
    pause = Pause("*", NOW - MINUTE, LATER, "moving house")
    assert decided(HIGH, memory=Memory(pauses=(pause,))) == Skip(Reason.PAUSED, "paused: moving house", LATER)
    assert started(HIGH, memory=Memory(pauses=(replace(pause, until=NOW),))) == HIGH.key
    assert started(HIGH, memory=Memory(pauses=(replace(pause, agent="writer"),))) == HIGH.key


def test_a_budget_is_over_until_the_day_is() -> None:
    found = decided(HIGH, spent=Spent(turns=3), budget=Budget(turns_per_day=3), day_ends=LATER)
    assert found == Skip(Reason.BUDGET, "3 turns today, and the budget has 3 a day", LATER)


# What is on record of it.


def test_a_decision_is_plain_json_for_the_receipt() -> None:
    spent = Memory(rounds={WORKED.ref: Rounds(WORKED.ref, used=50)})
    assert record_of(decided(WORKED, LINE, memory=spent)) == {
        "decision": "start",
        "told": "TODO.md:4 is first in the order of work (low); native is asked for try 1 of 4",
        "reason": None,
        "until": None,
        "task": str(LINE.ref),
        "provider": "native",
        "letter": None,
        "passed": [
            {
                "task": str(WORKED.ref),
                "reason": "rounds_exhausted",
                "told": "50 rounds of 50 are used",
                "until": None,
            }
        ],
        "passed_over": 1,
    }
    assert record_of(decided(WORKED, letters=[letter(1, WORKED.ref)]))["letter"] == "letter-1"
    skipped = record_of(decided(HIGH, talk=Talk("coo", NOW, LATER)))
    assert (skipped["decision"], skipped["reason"], skipped["until"], skipped["task"]) == (
        "skip",
        "talking",
        "2026-11-21T04:05:00.000Z",
        None,
    )


def test_a_receipt_names_the_first_twenty_that_were_passed_over_and_counts_all() -> None:
    items = [card(number, f"task {number}") for number in range(1, 31)]
    record = record_of(decided(*items, touched={item.ref for item in items}))
    assert (len(record["passed"]), record["passed_over"]) == (20, 30)


def test_the_earliest_change_by_itself_is_told() -> None:
    memory = Memory(
        holds={
            HIGH.ref: Hold(HIGH.ref, NOW, NOW + timedelta(hours=2), "long"),
            LOW.ref: Hold(LOW.ref, NOW, NOW + timedelta(hours=1), "short"),
        }
    )
    found = decided(HIGH, LOW, memory=memory)
    assert isinstance(found, Skip)
    assert (found.until, found.told.split(":")[0]) == (NOW + timedelta(hours=1), HIGH.key)


def test_an_agent_without_tasks_and_with_the_default_policy_says_so_first() -> None:
    assert decided(policy=OPENCLAW) == Skip(Reason.NO_WORK, "nothing is ready")


def test_X1_what_is_not_released_for_work_is_never_started_in_the_place_of_what_is() -> None:
    for status in (Status.BACKLOG, Status.BLOCKED, Status.IN_REVIEW, Status.UNKNOWN):
        found = decided(replace(HIGH, status=status), LOW)
        assert isinstance(found, Start)
        assert (found.task.ref, found.passed) == (LOW.ref, ()), status


def test_X1_of_several_reasons_that_of_a_task_that_could_have_been_started_is_told() -> None:
    waiting = replace(HIGH, depends_on=explicit("BIZ-7"))
    found = decided(waiting, replace(ISSUE, owner=ARCHITECT), LOW, touched={LOW.ref})
    assert isinstance(found, Skip)
    assert [each.reason for each in found.passed] == [Reason.WAITING, Reason.CHANGED]
    assert (found.reason, found.told) == (Reason.CHANGED, "00000002: it was written to since it was read")
