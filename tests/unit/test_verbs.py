"""What each verb means from each status, who may use it, and what stands in its way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.action import Operation, Output, OutputType, Voice
from heartbeat.actions import entry_of
from heartbeat.errors import UsageError
from heartbeat.memory import EVERYBODY, Pause, Rounds
from heartbeat.merge import merge
from heartbeat.store.port import Entry, EntryState
from heartbeat.task import CLOSED, NOBODY, Item, Link, Owner, OwnerKind, Ref, Status, Task
from heartbeat.verbs.intents import in_order, plan_verb
from heartbeat.verbs.permission import refusals
from heartbeat.verbs.situation import Situation
from heartbeat.verbs.uses import latest_use, next_use, stands
from heartbeat.verbs.words import RULES, WHY_LIMIT, Command, Verb
from tests.support.items import ALICE, ARCHITECT, COO, NOW, SOURCES, card, issue, line
from tests.support.rosters import make_agent

POLICY = make_agent("coo", "high_frequency").policy
REPORT = Output("report.md", OutputType.DOCUMENT)


def command(verb: Verb, why: str = "因为", agent: str = "coo", **changes: Any) -> Command:
    return Command(verb, agent, why, **changes)


def task_of(*items: Item) -> Task:
    """One task of these items, whatever they say of each other."""
    links = [Link(items[0].ref, other.ref, "remembered") for other in items[1:]]
    (task,) = merge(items, sources=SOURCES, now=NOW, remembered=links).tasks
    return task


def situation(*items: Item, **changes: Any) -> Situation:
    return Situation(**{"task": task_of(*items), "now": NOW, "policy": POLICY, **changes})


def outcome(said: Command, seen: Situation) -> str:
    """What a verb comes to: the operations by item key, or that it is refused."""
    if refusals(said, seen):
        return "refused"
    written = [f"{write.operation.value}" for intent in plan_verb(said, seen, NOW) for write in intent.writes]
    return " ".join(written) or "already"


S = Status
TABLE = {
    Verb.START: {S.TODO: "claim", S.IN_PROGRESS: "already"},
    Verb.DONE: {S.IN_PROGRESS: "done", S.IN_REVIEW: "done"},
    Verb.REVIEW: {S.IN_PROGRESS: "move"},
    Verb.REJECT: {S.IN_PROGRESS: "move", S.IN_REVIEW: "move", S.BLOCKED: "move"},
    Verb.BLOCK: {S.TODO: "block", S.IN_PROGRESS: "block", S.IN_REVIEW: "block"},
    Verb.NOTE: dict.fromkeys(set(Status) - {S.UNKNOWN}, "comment"),
}
"""What is not in it is refused."""


@pytest.mark.parametrize(("verb", "status"), list(product(Verb, Status)))
@pytest.mark.parametrize("make", [card, issue], ids=["card", "issue"])
def test_every_verb_from_every_status(verb: Verb, status: Status, make: Any) -> None:
    expected = TABLE[verb].get(status, "refused")
    assert outcome(command(verb), situation(make(1, "写报告", status))) == expected


@pytest.mark.parametrize(("verb", "status"), list(product(Verb, sorted(set(Status) - {S.IN_REVIEW}))))
def test_every_verb_on_a_line_which_cannot_say_in_review(verb: Verb, status: Status) -> None:
    expected = TABLE[verb].get(status, "refused")
    if verb is Verb.REVIEW and expected == "move":
        expected = "comment"
    assert outcome(command(verb), situation(line(1, "写报告", status))) == expected


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (Verb.START, S.IN_PROGRESS),
        (Verb.DONE, S.DONE),
        (Verb.REVIEW, S.IN_REVIEW),
        (Verb.REJECT, S.TODO),
        (Verb.BLOCK, S.BLOCKED),
    ],
)
def test_a_verb_says_which_status_it_is_for(verb: Verb, status: Status) -> None:
    seen = situation(card(1, "写报告", S.TODO if verb is Verb.START else S.IN_PROGRESS))
    (intent,) = plan_verb(command(verb), seen, NOW)
    (write,) = intent.writes
    assert write.status is status
    assert write.voice is Voice.AGENT


def test_a_refusal_says_what_can_be_done_instead() -> None:
    (refusal,) = refusals(command(Verb.DONE), situation(card(1, "写报告", S.TODO)))
    assert refusal.reason == "00000001 is todo, and `done` is for what is in progress or in review"
    assert refusal.advice == "what can be done with it now: start, block, note"


def test_a_start_claims_for_the_agent_and_longer_than_its_runtime_limit() -> None:
    seen = situation(card(1, "写报告"))
    ((write,),) = [intent.writes for intent in plan_verb(command(Verb.START, ""), seen, NOW)]
    assert (write.agent, write.text) == ("coo", "")
    assert write.seconds is not None
    assert write.seconds >= POLICY.runtime_limit.total_seconds()


def test_an_unowned_task_is_taken_by_whoever_starts_it() -> None:
    assert outcome(command(Verb.START), situation(card(1, "写报告", owner=NOBODY))) == "claim"
    assert outcome(command(Verb.START), situation(card(1, "写报告", S.IN_PROGRESS, owner=NOBODY))) == "claim"


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("owner", [ARCHITECT, ALICE], ids=["agent", "person"])
def test_S6a_a_task_of_somebody_else_is_left_alone_by_every_verb_but_note(verb: Verb, owner: Owner) -> None:
    status = next(iter(TABLE[verb]))
    seen = situation(card(1, "写报告", status, owner=owner))
    found = refusals(command(verb), seen)
    assert bool(found) is (verb is not Verb.NOTE)
    assert all(owner.id in refusal.reason for refusal in found)


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.NOTE}))
def test_L6_a_record_that_another_agent_holds_keeps_the_whole_task(verb: Verb) -> None:
    status = next(iter(TABLE[verb]))
    (found,) = refusals(
        command(verb), situation(card(1, "写报告", status), issue(2, "写报告", status, owner=ARCHITECT))
    )
    assert "BIZ-2 (multica) of this task belongs to architect" in found.reason


@pytest.mark.parametrize("verb", Verb)
def test_whoever_answers_for_a_task_may_accept_and_reject_what_is_in_review(verb: Verb) -> None:
    seen = situation(card(1, "写报告", S.IN_REVIEW, owner=ARCHITECT), answers=True)
    assert (not refusals(command(verb), seen)) is (verb in (Verb.DONE, Verb.REJECT, Verb.NOTE))
    working = replace(seen, task=task_of(card(1, "写报告", S.IN_PROGRESS, owner=ARCHITECT)))
    assert (not refusals(command(verb), working)) is (verb is Verb.NOTE)


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.NOTE}))
@pytest.mark.parametrize("changes", [{"status": S.DONE}, {"status": S.CANCELLED}, {"archived": True}])
def test_a_closed_task_takes_notes_only(verb: Verb, changes: dict[str, Any]) -> None:
    seen = situation(replace(card(1, "写报告", S.IN_PROGRESS), **changes))
    (refusal,) = refusals(command(verb), seen)
    assert "nothing is left to do" in refusal.reason
    assert outcome(command(Verb.NOTE), seen) == "comment"


@pytest.mark.parametrize("verb", Verb)
def test_S2_nothing_is_done_to_what_could_not_be_read(verb: Verb) -> None:
    status = next(iter(TABLE[verb]))
    seen = situation(card(1, "写报告", status), issue(2, "写报告", status))
    assert not refusals(command(verb), seen)
    (refusal,) = refusals(command(verb), replace(seen, incomplete=frozenset({"multica"})))
    assert "multica could not be read completely" in refusal.reason
    assert not refusals(command(verb), replace(seen, incomplete=frozenset({"todo"})))
    stale = replace(seen.task, stale=(seen.task.refs[1],), status=S.UNKNOWN)
    absent = replace(seen.task, absent=(Ref("todo", "coo/TODO.md#1"),), status=S.UNKNOWN)
    for doubtful in (stale, absent):
        (refusal,) = refusals(command(verb), replace(seen, task=doubtful))
        assert "could not be read completely" in refusal.reason


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.NOTE}))
def test_M4_nothing_but_a_note_is_done_to_a_task_that_is_split(verb: Verb) -> None:
    (refusal,) = refusals(command(verb), situation(card(1, "写报告", S.DONE), issue(2, "写报告", S.IN_PROGRESS)))
    assert refusal.reason == "00000001 is split: 00000001 (workboard) is closed and BIZ-2 (multica) is open"
    seen = situation(card(1, "写报告", S.DONE), issue(2, "写报告", S.IN_PROGRESS))
    assert outcome(command(Verb.NOTE), seen) == "comment comment"


def test_C2_a_blocked_task_says_how_it_goes_on() -> None:
    item = card(1, "写报告", S.BLOCKED)
    (refusal,) = refusals(command(Verb.START), situation(item))
    assert "heartbeat reject 00000001 --why" in refusal.advice
    spent = Rounds(item.ref, used=POLICY.max_rounds, paused_at=NOW)
    (refusal,) = refusals(command(Verb.START), situation(item, rounds=spent))
    assert "heartbeat rounds extend 00000001 20" in refusal.advice


@pytest.mark.parametrize("verb", Verb)
def test_a_pause_holds_every_verb(verb: Verb) -> None:
    pause = Pause("coo", NOW, NOW + timedelta(hours=1), "发布窗口", "Vincent")
    (refusal,) = refusals(command(verb), situation(card(1, "写报告", next(iter(TABLE[verb]))), pause=pause))
    assert refusal.reason == "coo is paused until 2026-11-21T05:00:00.000Z: 发布窗口"
    assert refusal.advice.endswith("heartbeat resume coo")


def test_a_pause_of_everybody_is_ended_for_everybody() -> None:
    pause = Pause(EVERYBODY, NOW, None, "搬家", "Vincent")
    (refusal,) = refusals(command(Verb.START), situation(card(1, "写报告"), pause=pause))
    assert refusal.reason == "everybody is paused: 搬家"
    assert refusal.advice.endswith("heartbeat resume --all")


def test_D4_a_task_that_waits_is_not_started_but_one_in_progress_goes_on() -> None:
    waits = ("BIZ-3 is todo: 报价",)
    (refusal,) = refusals(command(Verb.START), situation(card(1, "写报告"), waits=waits))
    assert refusal.reason == "00000001 waits: BIZ-3 is todo: 报价"
    assert outcome(command(Verb.START), situation(card(1, "写报告", S.IN_PROGRESS), waits=waits)) == "already"
    assert outcome(command(Verb.BLOCK), situation(card(1, "写报告"), waits=waits)) == "block"


def test_C2_a_task_whose_rounds_are_used_up_is_not_started() -> None:
    spent = Rounds(card(1, "").ref, used=POLICY.max_rounds)
    (refusal,) = refusals(command(Verb.START), situation(card(1, "写报告"), rounds=spent))
    assert "has used 50 of 50 rounds" in refusal.reason
    assert "heartbeat rounds extend 00000001 20" in refusal.advice
    assert not refusals(command(Verb.START), situation(card(1, "写报告"), rounds=replace(spent, extra=20)))
    assert not refusals(command(Verb.START), situation(card(1, "写报告"), rounds=replace(spent, used=49)))


def test_work_that_needs_an_output_is_not_done_without_one() -> None:
    strict = replace(POLICY, require_output=True)
    seen = situation(card(1, "写报告", S.IN_PROGRESS), policy=strict)
    (refusal,) = refusals(command(Verb.DONE), seen)
    assert refusal.advice == "heartbeat done 00000001 --output FILE --type code|document|data|config|other"
    assert not refusals(command(Verb.DONE, outputs=(REPORT,)), seen)
    assert not refusals(command(Verb.DONE), replace(seen, shown=True))
    assert not refusals(command(Verb.REVIEW), seen)


def test_what_cannot_be_written_everywhere_is_not_begun_but_a_note_goes_where_it_can() -> None:
    def only_cards(source: str, operation: Operation) -> bool:
        return source == "workboard"

    items = card(1, "写报告", S.IN_PROGRESS), issue(2, "写报告", S.IN_PROGRESS)
    (refusal,) = refusals(command(Verb.DONE), situation(*items, capable=only_cards))
    assert refusal.reason == "heartbeat cannot write to BIZ-2 (multica): done"
    seen = situation(*items, capable=only_cards)
    assert not refusals(command(Verb.NOTE), seen)
    intents = plan_verb(command(Verb.NOTE), seen, NOW)
    assert [(len(intent.writes), intent.left) for intent in intents] == [(1, ""), (0, "cannot be written to")]
    (refusal,) = refusals(command(Verb.NOTE), replace(seen, capable=lambda source, operation: False))
    assert "heartbeat cannot write to 00000001 (workboard), BIZ-2 (multica)" in refusal.reason


def test_a_start_leaves_to_a_person_what_is_a_persons() -> None:
    seen = situation(card(1, "写报告"), issue(2, "写报告", owner=ALICE))
    claimed, left = plan_verb(command(Verb.START), seen, NOW)
    assert [write.operation for write in claimed.writes] == [Operation.CLAIM]
    assert (left.writes, left.left) == ((), "left to Alice")


def test_a_start_goes_on_with_what_is_not_in_progress_yet() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS), issue(2, "写报告"), line(3, "写报告", S.BLOCKED))
    assert not refusals(command(Verb.START), seen)
    intents = plan_verb(command(Verb.START), seen, NOW)
    assert [bool(intent.writes) for intent in intents] == [False, True, False]
    assert [intent.left for intent in intents] == ["in progress already", "", "left as it is: blocked"]


def test_outputs_of_a_review_and_of_a_note_are_attached_and_what_is_said_stands_once() -> None:
    items = card(1, "写报告", S.IN_PROGRESS), line(2, "写报告", S.IN_PROGRESS)
    review = command(Verb.REVIEW, outputs=(REPORT,))
    on_card, on_line = (intent.writes for intent in plan_verb(review, situation(*items), NOW))
    assert [(write.operation, bool(write.text), write.outputs) for write in on_card] == [
        (Operation.ATTACH, True, (REPORT,)),
        (Operation.MOVE, False, ()),
    ]
    assert [(write.operation, bool(write.text), write.outputs) for write in on_line] == [
        (Operation.ATTACH, True, (REPORT,))
    ]
    done = plan_verb(command(Verb.DONE, outputs=(REPORT,)), situation(*items), NOW)
    assert [[(write.operation, write.outputs) for write in intent.writes] for intent in done] == [
        [(Operation.DONE, (REPORT,))]
    ] * 2
    note = plan_verb(command(Verb.NOTE, outputs=(REPORT,)), situation(*items), NOW)
    assert [[write.operation for write in intent.writes] for intent in note] == [[Operation.ATTACH]] * 2


def test_L6_the_canonical_item_leads() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS), issue(2, "写报告", S.IN_PROGRESS), line(3, "写报告", S.TODO))
    planned = in_order(plan_verb(command(Verb.REVIEW, outputs=(REPORT,)), seen, NOW), seen.task)
    keys = [each.write.key for each in planned]
    assert [each.after for each in planned] == ["", keys[0], keys[1], keys[2], keys[1]]
    assert [each.write.ref.source for each in planned] == ["workboard", "workboard", "multica", "multica", "todo"]


def test_L6_what_was_seen_must_still_be_so() -> None:
    began = NOW - timedelta(hours=1)
    seen = situation(card(1, "写报告", S.IN_PROGRESS, started_at=began))
    ((done,),) = [intent.writes for intent in plan_verb(command(Verb.DONE), seen, NOW)]
    assert done.expect.statuses == frozenset({S.IN_PROGRESS, S.DONE})
    assert (done.expect.owner, done.expect.began_at) == (COO, began)
    ((start,),) = [intent.writes for intent in plan_verb(command(Verb.START), situation(card(1, "写报告")), NOW)]
    assert start.expect.statuses == frozenset({S.TODO})


def test_B8_a_command_that_is_advised_can_be_typed_whatever_the_task_is_called() -> None:
    (refusal,) = refusals(command(Verb.DONE), situation(replace(card(1, "写报告", S.DONE), key="a; rm -rf `b`\n")))
    assert refusal.advice == "to say something about it: heartbeat note 'a; rm -rf `b`' --why '…'"


def test_the_texts_are_the_agents_words() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS))
    texts = {verb: plan_verb(command(verb, "等财务"), seen, NOW)[0].writes[0].text for verb in set(Verb) - {Verb.START}}
    assert texts == {
        Verb.DONE: "coo：已完成。等财务",
        Verb.REVIEW: "coo：提交评审。等财务",
        Verb.REJECT: "coo：退回重做。原因：等财务",
        Verb.BLOCK: "coo：受阻。原因：等财务",
        Verb.NOTE: "coo：等财务",
    }
    assert plan_verb(command(Verb.NOTE, "{agent} {why}"), seen, NOW)[0].writes[0].text == "coo：{agent} {why}"


@pytest.mark.parametrize("verb", [Verb.REJECT, Verb.BLOCK, Verb.NOTE])
@pytest.mark.parametrize("why", ["", "  \n "])
def test_a_verb_that_others_must_understand_needs_a_reason(verb: Verb, why: str) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        Command(verb, "coo", why)


@pytest.mark.parametrize("verb", [Verb.START, Verb.REJECT, Verb.BLOCK])
def test_a_verb_that_shows_nothing_takes_no_output(verb: Verb) -> None:
    with pytest.raises(UsageError, match="takes no --output"):
        Command(verb, "coo", "因为", (REPORT,))


@pytest.mark.parametrize(
    "why", ["\x1b[31mred", "a\x00b", "\udc80", "字" * (WHY_LIMIT + 1), "🚀" * (WHY_LIMIT // 2 + 1)]
)
def test_B8_a_reason_is_text_of_a_length_that_fits(why: str) -> None:
    with pytest.raises(UsageError):
        Command(Verb.NOTE, "coo", why)


def test_the_longest_reason_fits_into_a_comment_of_a_board() -> None:
    for verb in Verb:
        seen = situation(card(1, "写报告", next(iter(TABLE[verb]))))
        said = command(verb, "🚀" * (WHY_LIMIT // 2), agent="a" * 64)
        for intent in plan_verb(said, replace(seen, task=task_of(card(1, "写报告", S.IN_PROGRESS))), NOW):
            for write in intent.writes:
                assert len(write.text.encode("utf-16-le")) // 2 <= 1900


# What the outbox knows of the same command.


def entries(said: Command, seen: Situation, state: EntryState = EntryState.DONE, **changes: Any) -> tuple[Entry, ...]:
    planned = in_order(plan_verb(said, seen, seen.now), seen.task)
    return tuple(replace(entry_of(each, COO, seen.now), state=state, **changes) for each in planned)


def test_L4_the_same_words_are_the_same_command_and_others_are_not() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS), issue(2, "写报告", S.IN_PROGRESS))
    said = command(Verb.NOTE, "一")
    known = entries(said, seen)
    assert latest_use(said, seen.task, known) == known
    assert latest_use(command(Verb.NOTE, " 一\n"), seen.task, known) == known
    others = [
        command(Verb.NOTE, "二"),
        command(Verb.BLOCK, "一"),
        command(Verb.NOTE, "一", agent="architect"),
        command(Verb.NOTE, "一", outputs=(REPORT,)),
    ]
    assert [latest_use(other, seen.task, known) for other in others] == [()] * 4
    assert latest_use(said, task_of(card(3, "写报告")), known) == ()


def test_L4_only_the_last_use_of_a_command_counts() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS))
    said = command(Verb.NOTE, "一")
    later = entries(said, replace(seen, now=NOW + timedelta(hours=1)))
    assert latest_use(said, seen.task, (*later, *entries(said, seen))) == later


def test_a_new_use_has_a_name_of_its_own_even_when_the_clock_stands_or_goes_back() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS))
    said = command(Verb.NOTE, "一")
    known = entries(said, seen)
    assert next_use((), NOW) == NOW
    for now in (NOW, NOW - timedelta(hours=1)):
        again = next_use(known, now)
        assert said.key(seen.task.ref, Operation.COMMENT, again) > known[0].key


def test_a_note_stands_for_one_beat() -> None:
    seen = situation(card(1, "写报告", S.IN_PROGRESS))
    said = command(Verb.NOTE, "还在等")
    known = entries(said, seen)
    assert stands(said, replace(seen, now=NOW + POLICY.every - timedelta(seconds=1)), known)
    assert not stands(said, replace(seen, now=NOW + POLICY.every), known)
    assert not stands(said, seen, entries(said, seen, EntryState.CONFLICT))
    assert not stands(said, seen, ())


@pytest.mark.parametrize(
    ("verb", "after"),
    [(Verb.DONE, S.DONE), (Verb.REVIEW, S.IN_REVIEW), (Verb.REJECT, S.TODO), (Verb.BLOCK, S.BLOCKED)],
)
def test_a_change_stands_as_long_as_it_shows_on_every_item(verb: Verb, after: Status) -> None:
    items = card(1, "写报告", S.IN_PROGRESS), issue(2, "写报告", S.IN_PROGRESS)
    said = command(verb)
    known = entries(said, situation(*items))
    assert not stands(said, situation(*items), known)
    changed = tuple(replace(item, status=after) for item in items)
    assert stands(said, situation(*changed), known)
    assert not stands(said, situation(changed[0], replace(changed[1], status=S.IN_PROGRESS)), known)


def test_a_review_of_a_line_stands_while_the_line_is_open() -> None:
    items = card(1, "写报告", S.IN_PROGRESS), line(2, "写报告", S.IN_PROGRESS)
    said = command(Verb.REVIEW, outputs=(REPORT,))
    known = entries(said, situation(*items))
    in_review = replace(items[0], status=S.IN_REVIEW)
    assert stands(said, situation(in_review, items[1]), known)
    assert not stands(said, situation(in_review, replace(items[1], status=S.DONE)), known)


# Properties.

owners = st.sampled_from([COO, ARCHITECT, ALICE, NOBODY])
statuses = st.sampled_from(Status)


@st.composite
def seen_tasks(draw: st.DrawFn) -> Situation:
    makers = draw(st.lists(st.sampled_from([card, issue, line]), min_size=1, max_size=3, unique=True))
    items = [
        make(number, "写一份报告", draw(statuses), owner=draw(owners), archived=draw(st.booleans()))
        for number, make in enumerate(makers, 1)
    ]
    return situation(
        *items,
        answers=draw(st.booleans()),
        shown=draw(st.booleans()),
        incomplete=draw(st.sampled_from([frozenset(), frozenset({"multica"})])),
    )


commands = st.builds(
    lambda verb, why, shows: Command(verb, "coo", why, (REPORT,) if shows and RULES[verb].takes_outputs else ()),
    st.sampled_from(Verb),
    st.sampled_from(["因为", "because"]),
    st.booleans(),
)


@given(commands, seen_tasks())
def test_what_is_allowed_writes_to_nothing_that_is_closed_or_somebody_elses(said: Command, seen: Situation) -> None:
    if refusals(said, seen):
        return
    intents = plan_verb(said, seen, NOW)
    assert intents
    task = seen.task
    assert said.verb is Verb.NOTE or not task.split
    assert task.status is not Status.UNKNOWN
    for intent in intents:
        assert bool(intent.writes) != bool(intent.left)
        if said.verb is Verb.NOTE:
            continue
        item = intent.item
        assert item.status not in CLOSED
        if item.owner.kind is OwnerKind.AGENT and item.owner != COO:
            assert seen.answers
            assert task.status is Status.IN_REVIEW


@given(commands, seen_tasks())
def test_every_write_is_named_once_and_waits_for_one_before_it_at_most(said: Command, seen: Situation) -> None:
    planned = in_order(plan_verb(said, seen, NOW), seen.task)
    keys = [each.write.key for each in planned]
    assert len(set(keys)) == len(keys)
    for number, each in enumerate(planned):
        assert (each.after == "") is (number == 0)
        assert each.after in {"", *keys[:number]}
        assert each.write.voice is Voice.AGENT
        assert each.write.outputs in ((), said.outputs)


@given(commands, seen_tasks())
def test_a_refusal_has_a_reason_in_one_line(said: Command, seen: Situation) -> None:
    for refusal in refusals(said, seen):
        assert refusal.reason.strip()
        assert "\n" not in refusal.reason
        assert refusal.advice.strip()
