"""Writing to WorkBoard, beyond the suite: which calls are made, who may act in between, what a person is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation, Output, OutputType, Voice, Write, signature, signed
from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.openclaw.writer import build
from heartbeat.systems.registry import build_writer
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import NOBODY, Owner, OwnerKind, Ref, Status
from tests.contract.writer_suite import OTHER, PATIENCE, WORKER
from tests.support.fake_cards import units
from tests.support.fake_gateway import Trouble
from tests.support.fake_openclaw import FakeOpenClaw, Reach
from tests.support.openclaw_writer_cases import ROSTER, FakeBoardWriterCase, gateway_case, new_gateway

OWNER = Owner(OwnerKind.AGENT, WORKER)
MINUTE = 60_000
EXECUTION = {
    "id": "e1",
    "kind": "agent-session",
    "mode": "autonomous",
    "status": "running",
    "sessionKey": "agent:coo:main",
    "runId": "run-1",
    "startedAt": 1795226000000,
    "updatedAt": 1795226000000,
}
ALL: dict[Operation, dict[str, Any]] = {
    Operation.COMMENT: {},
    Operation.RECOVER: {"status": Status.TODO},
    Operation.BLOCK: {},
    Operation.UNBLOCK: {},
    Operation.ASSIGN: {"agent": OTHER},
    Operation.CLAIM: {"agent": WORKER},
    Operation.MOVE: {"status": Status.TODO},
    Operation.DONE: {"outputs": (Output("a.md"),)},
    Operation.ATTACH: {"outputs": (Output("a.md"), Output("b.md", note="B"))},
}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[FakeBoardWriterCase]:
    with gateway_case(tmp_path) as case:
        yield case


def write_to(ref: Ref, operation: Operation, **fields: Any) -> Write:
    return Write(
        key=f"k/{operation.value}", ref=ref, operation=operation, **{"text": "超时", **ALL[operation], **fields}
    )


def look(case: FakeBoardWriterCase, ref: Ref, owner: Owner = OWNER) -> Look:
    return case.writer.look(ref, owner, Deadline.after(PATIENCE), case.now)


def apply(case: FakeBoardWriterCase, write: Write, seen: Look | None = None) -> Written:
    return case.writer.apply(write, seen or look(case, write.ref), Deadline.after(PATIENCE), case.now)


def methods(case: FakeBoardWriterCase) -> list[str]:
    """What was written through the Gateway; what a test does itself goes past it."""
    return [method.removeprefix("workboard.cards.") for method in case.gateway.writes()]


def shown(case: FakeBoardWriterCase, write: Write) -> int:
    return [signature(text) for text in case.texts(write.ref)].count((write.voice, write.marker))


# Which calls


@pytest.mark.parametrize(
    ("operation", "begun", "calls"),
    [
        (Operation.COMMENT, "work", ["comment"]),
        (Operation.RECOVER, "work", ["release", "reclaim"]),
        (Operation.BLOCK, "work", ["block"]),
        (Operation.BLOCK, "blocked", ["comment"]),
        (Operation.UNBLOCK, "blocked", ["unblock", "reassign"]),
        (Operation.ASSIGN, "work", ["release", "reassign"]),
        (Operation.ASSIGN, "waiting", ["reassign"]),
        (Operation.CLAIM, "waiting", ["claim", "comment"]),
        (Operation.MOVE, "work", ["release", "comment"]),
        (Operation.MOVE, "waiting", ["comment"]),
        (Operation.DONE, "work", ["complete"]),
        (Operation.ATTACH, "work", ["update", "comment"]),
    ],
)
def test_L2_each_operation_is_the_fewest_calls_and_the_last_one_leaves_the_marker(
    case: FakeBoardWriterCase, operation: Operation, begun: str, calls: list[str]
) -> None:
    ref: Ref = getattr(case, begun)("整理反馈")
    write = write_to(ref, operation)
    apply(case, write)
    assert methods(case) == calls
    assert shown(case, write) == 1
    last = case.gateway.calls[-1]
    assert write.marker in str(last.params)
    apply(case, write)
    assert methods(case) == calls, "once more it is not written to"


def test_the_scopes_are_to_read_and_to_write_and_no_more(case: FakeBoardWriterCase) -> None:
    apply(case, write_to(case.work("a"), Operation.RECOVER))
    assert {call.scopes for call in case.gateway.calls} == {frozenset({"operator.read", "operator.write"})}


SEVERAL_CALLS = {
    Operation.RECOVER: 2,
    Operation.UNBLOCK: 2,
    Operation.ASSIGN: 3,
    Operation.CLAIM: 2,
    Operation.MOVE: 3,
    Operation.ATTACH: 2,
}
"""How many calls an operation takes on a card that is claimed and executed (CLAIM: waiting, UNBLOCK: blocked)."""


@pytest.mark.parametrize(
    ("operation", "lost"), [(operation, n) for operation, calls in SEVERAL_CALLS.items() for n in range(1, calls + 1)]
)
def test_L4_whichever_answer_is_lost_in_the_end_everything_is_done_once(
    case: FakeBoardWriterCase, operation: Operation, lost: int
) -> None:
    begin = {Operation.UNBLOCK: case.blocked, Operation.CLAIM: case.waiting}.get(operation, case.work)
    ref = begin("整理反馈")
    if begin == case.work:
        case.call("update", id=ref.id, patch={"execution": EXECUTION})
    write = write_to(ref, operation)
    case.gateway.losing = lost
    with pytest.raises(TransportError) as failed:
        apply(case, write)
    assert failed.value.outcome_unknown
    assert len(methods(case)) == lost
    apply(case, write)
    assert SEVERAL_CALLS[operation] <= len(methods(case)) <= SEVERAL_CALLS[operation] + 1
    record = case.record(ref)
    assert shown(case, write) == 1
    assert ("claim" in record["metadata"]) == (operation in (Operation.CLAIM, Operation.ATTACH))
    assert len(record["metadata"].get("artifacts", ())) == len(write.outputs)
    assert case.item(ref).owner.id == (OTHER if operation is Operation.ASSIGN else WORKER)
    assert "failureCount" not in record["metadata"]


# What a card holds


def test_L2_a_running_card_without_a_claim_is_recovered_too(case: FakeBoardWriterCase) -> None:
    ref = case.make("a", agentId=WORKER, status="running")
    apply(case, write_to(ref, Operation.RECOVER))
    assert methods(case) == ["reclaim"]
    assert case.item(ref).status is Status.TODO


def test_T8_a_card_that_openclaw_blocked_for_silence_goes_back_to_todo(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    case.call("claim", id=ref.id, ownerId=WORKER, ttlSeconds=60)
    case.gateway.board._clock.advance(20 * MINUTE)  # type: ignore[attr-defined]
    case.call("dispatch")
    seen = look(case, ref)
    assert seen.item is not None
    assert seen.item.reclaimed
    assert seen.claimant == ""
    apply(case, write_to(ref, Operation.RECOVER))
    assert case.item(ref).status is Status.TODO
    assert not case.item(ref).reclaimed


def test_L3_a_recovery_may_block(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    apply(case, write_to(ref, Operation.RECOVER, status=Status.BLOCKED))
    assert case.item(ref).status is Status.BLOCKED
    assert "claim" not in case.metadata(ref)


def test_an_expired_claim_is_taken_by_name_too(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    case.call("claim", id=ref.id, ownerId=WORKER, ttlSeconds=60)
    case.gateway.board._clock.advance(20 * MINUTE)  # type: ignore[attr-defined]
    assert look(case, ref).claimant == ""
    apply(case, write_to(ref, Operation.RECOVER))
    assert methods(case) == ["release", "reclaim"]
    assert "claim" not in case.metadata(ref)


def test_a_claimants_name_is_the_rosters_and_is_released_in_the_cards_own_words(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    case.call("claim", id=ref.id, ownerId="agent:COO:main")
    assert look(case, ref).claimant == WORKER
    apply(case, write_to(ref, Operation.RECOVER))
    assert case.item(ref).status is Status.TODO


def test_L6_a_card_is_handed_over_without_what_would_take_its_new_owners_slot(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    case.call("update", id=ref.id, patch={"execution": EXECUTION})
    apply(case, write_to(ref, Operation.ASSIGN))
    assert methods(case) == ["release", "reclaim", "reassign"]
    record = case.record(ref)
    assert (record["agentId"], record["status"]) == (OTHER, "todo")
    assert [attempt["status"] for attempt in record["metadata"]["attempts"]] == ["stopped"]
    another = case.waiting("b", OTHER)
    case.call("claim", id=another.id, ownerId=OTHER)


def test_L6_the_little_comment_of_a_reclaim_in_between_is_signed_and_is_not_taken_for_the_end(
    case: FakeBoardWriterCase,
) -> None:
    ref = case.work("a")
    case.call("update", id=ref.id, patch={"execution": EXECUTION})
    write = write_to(ref, Operation.ASSIGN)
    case.gateway.losing = 2
    with pytest.raises(TransportError):
        apply(case, write)
    (between,) = case.texts(ref)
    voice, marker = signature(between) or (None, "")
    assert voice is Voice.RULE
    assert marker != write.marker
    assert write.marker not in look(case, ref).markers
    apply(case, write)
    assert case.record(ref)["agentId"] == OTHER


def test_an_attempt_that_was_left_open_is_ended_where_its_card_is_given_away(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    case.call("update", id=ref.id, patch={"execution": EXECUTION})
    case.call("update", id=ref.id, patch={"execution": {**EXECUTION, "status": "idle", "runId": "run-2"}})
    assert [attempt["status"] for attempt in case.metadata(ref)["attempts"]] == ["running", "idle"]
    apply(case, write_to(ref, Operation.ASSIGN))
    assert case.metadata(ref)["attempts"][0]["status"] == "stopped"


def test_C2_an_unblocked_card_forgets_its_failures_and_can_be_claimed_again(case: FakeBoardWriterCase) -> None:
    ref = case.blocked("a")
    case.call("block", id=ref.id, reason="again")
    assert case.metadata(ref)["failureCount"] == 2
    apply(case, write_to(ref, Operation.UNBLOCK))
    assert "failureCount" not in case.metadata(ref)
    assert case.record(ref)["agentId"] == WORKER
    apply(case, write_to(ref, Operation.CLAIM))
    assert case.item(ref).status is Status.IN_PROGRESS


def test_C2_unblocking_without_a_word_leaves_no_comment(case: FakeBoardWriterCase) -> None:
    ref = case.blocked("a")
    before = case.texts(ref)
    apply(case, write_to(ref, Operation.UNBLOCK, text=""))
    assert case.texts(ref) == before
    assert "failureCount" not in case.metadata(ref)
    apply(case, write_to(ref, Operation.UNBLOCK, text=""))
    assert methods(case) == ["unblock", "reassign"]


def test_C2_a_card_that_is_blocked_already_counts_no_second_failure(case: FakeBoardWriterCase) -> None:
    ref = case.blocked("a")
    apply(case, write_to(ref, Operation.BLOCK))
    assert case.metadata(ref)["failureCount"] == 1


def test_a_claim_lasts_as_long_as_it_is_told_to(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    apply(case, write_to(ref, Operation.CLAIM, seconds=5400.0))
    claim = case.metadata(ref)["claim"]
    assert claim["expiresAt"] - claim["claimedAt"] == 5_400_000
    assert look(case, ref).claimant == WORKER


def test_a_card_in_review_is_claimed_and_set_in_progress(case: FakeBoardWriterCase) -> None:
    ref = case.make("a", agentId=WORKER, status="review")
    apply(case, write_to(ref, Operation.CLAIM, text=""))
    assert methods(case) == ["claim", "move"]
    assert case.item(ref).status is Status.IN_PROGRESS


def test_a_card_that_is_ready_is_to_do_and_is_not_moved(case: FakeBoardWriterCase) -> None:
    ref = case.make("a", agentId=WORKER, status="ready")
    apply(case, write_to(ref, Operation.MOVE, text=""))
    assert case.record(ref)["status"] == "ready"
    assert methods(case) == []


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.UNKNOWN])
def test_what_workboard_has_no_word_for_is_refused_and_nothing_is_done(
    case: FakeBoardWriterCase, status: Status
) -> None:
    ref = case.work("a")
    for operation in (Operation.MOVE, Operation.RECOVER):
        with pytest.raises(UnsupportedError):
            apply(case, write_to(ref, operation, status=status))
    assert methods(case) == []


def test_outputs_are_added_to_those_that_are_there_whoever_attached_them(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    case.call("artifact", id=ref.id, path="theirs.md", label="theirs")
    case.call("proof", id=ref.id, status="passed", label="tests")
    first = write_to(ref, Operation.ATTACH, outputs=(Output("src/a.py", OutputType.CODE, "长" * 300),), text="")
    second = replace(first, key="another", outputs=(Output("HTTPS://example.test/x", OutputType.DATA),))
    apply(case, first)
    apply(case, second)
    artifacts = case.metadata(ref)["artifacts"]
    assert [artifact.get("path", artifact.get("url")) for artifact in artifacts] == [
        "theirs.md",
        "src/a.py",
        "HTTPS://example.test/x",
    ]
    assert artifacts[1]["label"].startswith("code: 长长")
    assert units(artifacts[1]["label"]) == 160
    assert artifacts[2]["label"] == "data"
    assert "url" in artifacts[2]
    assert len(case.metadata(ref)["proof"]) == 1
    assert {first.marker, second.marker} <= look(case, ref).markers


def test_a_card_that_others_write_to_gets_its_outputs_all_the_same(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    write = write_to(ref, Operation.ATTACH)
    case.gateway.meanwhile = lambda: case.comment_as_other(ref, "改了一处")
    apply(case, write)
    assert list(case.outputs(ref)) == ["a.md", "b.md"]


# Who acts in between


@pytest.mark.parametrize("operation", [Operation.RECOVER, Operation.ASSIGN, Operation.MOVE])
def test_L6_whoever_claims_the_card_in_the_last_moment_keeps_it(
    case: FakeBoardWriterCase, operation: Operation
) -> None:
    ref = case.work("a")
    write = write_to(ref, operation)
    seen = look(case, ref)
    case.gateway.meanwhile = lambda: case.take(ref)
    with pytest.raises(ConflictError, match="somebody else claimed the card meanwhile"):
        apply(case, write, seen)
    assert case.metadata(ref)["claim"]["ownerId"] == OTHER
    assert case.record(ref)["status"] == "running"
    assert shown(case, write) == 0


@pytest.mark.parametrize("operation", [Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN, Operation.MOVE])
@pytest.mark.parametrize("life", ["heartbeat", "comment"])
def test_L6_a_sign_of_life_after_the_look_stops_a_rule(
    case: FakeBoardWriterCase, operation: Operation, life: str
) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.call(life, id=ref.id, **({"body": "还在做"} if life == "comment" else {}))
    with pytest.raises(ConflictError, match="somebody else changed card"):
        apply(case, write_to(ref, operation), seen)
    assert methods(case) == []


@pytest.mark.parametrize("operation", [Operation.BLOCK, Operation.MOVE, Operation.DONE])
def test_what_somebody_asks_for_is_done_although_a_heartbeat_came_in(
    case: FakeBoardWriterCase, operation: Operation
) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.call("heartbeat", id=ref.id)
    write = write_to(ref, operation, voice=Voice.AGENT)
    apply(case, write, seen)
    assert shown(case, write) == 1


def test_what_somebody_asks_for_is_not_done_to_a_card_that_was_moved_meanwhile(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.call("move", id=ref.id, status="review")
    with pytest.raises(ConflictError, match="is review now"):
        apply(case, write_to(ref, Operation.DONE, voice=Voice.AGENT), seen)
    assert methods(case) == []


@pytest.mark.parametrize("operation", [Operation.BLOCK, Operation.MOVE])
def test_L6_what_somebody_asks_for_is_not_done_to_a_card_that_another_claimed_meanwhile(
    case: FakeBoardWriterCase, operation: Operation
) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.take(ref)
    with pytest.raises(ConflictError, match="is claimed by"):
        apply(case, write_to(ref, operation, voice=Voice.AGENT), seen)
    assert methods(case) == []
    assert case.metadata(ref)["claim"]["ownerId"] == OTHER


def test_L6_a_move_is_refused_where_the_card_changes_in_the_last_moment(case: FakeBoardWriterCase) -> None:
    ref = case.waiting("a")
    case.gateway.meanwhile = lambda: case.comment_as_other(ref, "等等")
    with pytest.raises(ConflictError, match="somebody else changed the card meanwhile"):
        apply(case, write_to(ref, Operation.MOVE, status=Status.IN_REVIEW))
    assert case.record(ref)["status"] == "todo"


def test_T2_what_somebody_says_in_the_very_moment_of_our_write_is_theirs(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    write = write_to(ref, Operation.BLOCK)
    before = case.signs(ref)
    case.gateway.meanwhile = lambda: case.comment_as_other(ref, "我还在做")
    written = apply(case, write)
    assert "somebody else" in written.note
    metadata = case.metadata(ref)
    (theirs,) = [comment["id"] for comment in metadata["comments"] if comment["body"] == "我还在做"]
    (ours,) = [comment["id"] for comment in metadata["comments"] if signature(comment["body"])]
    new = case.signs(ref).keys() - before.keys()
    assert theirs not in written.evidence_ids
    assert ours in written.evidence_ids
    assert len(new - set(written.evidence_ids)) == 2, "their comment and its event"


@pytest.mark.parametrize("operation", list(ALL))
def test_a_card_that_was_deleted_is_a_conflict(case: FakeBoardWriterCase, operation: Operation) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.call("delete", id=ref.id)
    assert look(case, ref) == Look(None)
    for each in (seen, Look(None)):
        with pytest.raises(ConflictError, match="not there"):
            apply(case, write_to(ref, operation), each)


Setting = Callable[[FakeBoardWriterCase], Ref]


def held_by_another(case: FakeBoardWriterCase) -> Ref:
    return case.work("a", OTHER)


def with_a_full_slot(case: FakeBoardWriterCase) -> Ref:
    case.work("the other one")
    return case.waiting("a")


def with_an_open_parent(case: FakeBoardWriterCase) -> Ref:
    parent = case.waiting("parent", OTHER)
    return case.make("a", agentId=WORKER, parents=[parent.id])


def archived(case: FakeBoardWriterCase) -> Ref:
    ref = case.waiting("a")
    case.call("archive", id=ref.id)
    return ref


@pytest.mark.parametrize(
    ("begin", "operation", "told", "advice"),
    [
        (held_by_another, Operation.CLAIM, "the card is claimed by architect already", ""),
        (with_a_full_slot, Operation.CLAIM, "coo holds another card already", "hand over the other card first"),
        (with_an_open_parent, Operation.CLAIM, "waits for other cards that are not done", ""),
        (with_an_open_parent, Operation.DONE, "waits for other cards that are not done", ""),
        (archived, Operation.CLAIM, "the card is archived", "out of the archive"),
        (lambda case: case.blocked("a"), Operation.CLAIM, "is blocked", "set it back to todo first"),
        (lambda case: case.make("a", status="done"), Operation.CLAIM, "is done", "set it back to todo first"),
    ],
)
def test_L6_what_workboard_does_not_let_us_do_is_told_in_words_for_a_person(
    case: FakeBoardWriterCase, begin: Setting, operation: Operation, told: str, advice: str
) -> None:
    ref = begin(case)
    write = write_to(ref, operation)
    with pytest.raises(ConflictError) as refused:
        apply(case, write)
    assert told in str(refused.value)
    assert advice in refused.value.advice
    assert not refused.value.outcome_unknown
    assert shown(case, write) == 0


# What a look tells


def test_T7_a_run_of_the_owners_is_seen_and_the_card_of_somebody_at_rest_is_free(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    assert look(case, ref).active is False
    case.gateway.sessions.put(f"agent:{OTHER}:main", active=True)
    assert look(case, ref).active is False
    case.gateway.sessions.put(f"agent:{WORKER}:cron:job", active=True)
    assert look(case, ref).active is True
    assert look(case, ref, NOBODY).active is False


def test_T7_an_execution_on_the_card_is_a_run_whatever_the_sessions_say(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    case.call("update", id=ref.id, patch={"execution": EXECUTION})
    case.gateway.sessions_refused = "no"
    assert look(case, ref).active is True


def test_T7_where_sessions_cannot_be_read_it_is_not_known(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    case.gateway.sessions_refused = "missing scope: operator.sessions"
    seen = look(case, ref)
    assert seen.active is None
    assert seen.item is not None


def test_a_look_reads_one_card_and_not_the_board(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    look(case, ref)
    assert [call.method for call in case.gateway.calls] == ["workboard.cards.runs", "sessions.list"]
    assert len(case.gateway.greetings) == 1


def test_L4_markers_of_every_voice_show(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    case.comment_as_other(ref, signed("一", "0123456789ab"))
    case.comment_as_other(ref, signed("二", "ba9876543210", Voice.AGENT))
    case.comment_as_other(ref, "[hb:aaaaaaaaaaaa] 是什么？")
    assert look(case, ref).markers == {"0123456789ab", "ba9876543210"}


def test_a_card_that_cannot_be_read_is_not_written_to(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    case.gateway.board.put({**case.record(ref), "metadata": {"links": "all"}})
    for attempt in (lambda: look(case, ref), lambda: apply(case, write_to(ref, Operation.COMMENT), seen)):
        with pytest.raises(TransportError, match="the card cannot be read: links is not a list") as refused:
            attempt()
        assert refused.value.kind is FailureKind.BAD_OUTPUT
        assert not refused.value.outcome_unknown
    assert methods(case) == []


@pytest.mark.parametrize("operation", [Operation.COMMENT, Operation.BLOCK])
def test_T2_without_any_memory_the_cards_own_record_tells_what_is_ours(
    case: FakeBoardWriterCase, operation: Operation
) -> None:
    ref = case.work("a")
    before = case.signs(ref)
    apply(case, write_to(ref, operation))
    new = {sign: own for sign, own in case.signs(ref).items() if sign not in before}
    assert len(new) == 2
    assert all(new.values())


# Texts


@pytest.mark.parametrize(
    ("operation", "begun", "limit"),
    [
        (Operation.COMMENT, "work", 2000),
        (Operation.BLOCK, "work", 2000),
        (Operation.DONE, "work", 2000),
        (Operation.RECOVER, "work", 1000),
        (Operation.ASSIGN, "work", 1000),
        (Operation.UNBLOCK, "blocked", 1000),
    ],
)
@pytest.mark.parametrize("text", ["很长的说明" * 500, "🚀" * 1500, "x" * 990 + "🚀" * 600])
def test_a_text_that_is_too_long_is_cut_and_keeps_its_marker(
    case: FakeBoardWriterCase, operation: Operation, begun: str, limit: int, text: str
) -> None:
    ref: Ref = getattr(case, begun)("a")
    write = write_to(ref, operation, text=text)
    apply(case, write)
    left = case.texts(ref)[-1]
    assert limit - 2 <= units(left) <= limit
    assert signature(left) == (Voice.RULE, write.marker)
    assert "…" in left
    left.encode()


def test_B8_half_a_character_in_a_text_does_not_stop_it(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    write = write_to(ref, Operation.COMMENT, text="半\ud83d个")
    apply(case, write)
    assert shown(case, write) == 1
    assert case.texts(ref)[-1].startswith("半个 [hb:")


# Making a card


def test_L2_a_card_for_a_line_names_it_and_belongs_to_its_agent(case: FakeBoardWriterCase) -> None:
    write = Write(
        key="create/" + "k" * 300,
        ref=case.origin(),
        operation=Operation.CREATE,
        text="TODO 行超时",
        title="写" * 300,
        agent=WORKER,
    )
    assert case.writer.look(write.ref, OWNER, Deadline.after(PATIENCE), case.now) == Look(None)
    written = apply(case, write, Look(None))
    (item,) = case.read().items
    record = case.record(item.ref)
    assert written.note == f"card {item.ref.id}"
    assert units(record["title"]) == 180
    assert (record["agentId"], record["status"]) == (WORKER, "todo")
    assert record["notes"].startswith(f"{write.ref}\n\nTODO 行超时 [hb:")
    assert signature(record["notes"]) == (Voice.RULE, write.marker)
    assert set(written.evidence_ids) == {record["events"][0]["id"]}
    assert apply(case, write, Look(None)).note == written.note
    assert len(case.read().items) == 1


def test_a_card_is_made_on_the_rosters_board(tmp_path: Path) -> None:
    with new_gateway() as gateway:
        writer = build({"board": "ops"}, ROSTER, {**gateway.environment(), "HOME": str(tmp_path)})
        assert writer is not None
        write = Write(key="k", ref=Ref("todo", "x"), operation=Operation.CREATE, title="写周报")
        now = FakeBoardWriterCase(gateway, "gateway", gateway.environment()).now
        writer.apply(write, Look(None), Deadline.after(PATIENCE), now)
        (card,) = gateway.board.call("cards.list", {"boardId": "ops"})["cards"]
        assert card["title"] == "写周报"
        assert "agentId" not in card


# Ways to the Gateway


def test_a_saved_file_is_not_written_to_and_the_registry_knows_this_writer(tmp_path: Path) -> None:
    assert build({"transport": "file", "path": tmp_path / "cards.json"}, ROSTER, {}) is None
    roster = replace(ROSTER, sources={"workboard": {"transport": "gateway"}})
    built = build_writer("workboard", roster, {})
    assert built is not None
    assert built.source == "workboard"
    assert build_writer("tickets", roster, {}) is None


def test_S1a_auto_takes_the_gateway_and_the_program_where_the_gateway_is_not_to_be_reached(tmp_path: Path) -> None:
    program = FakeOpenClaw(tmp_path)
    with new_gateway() as gateway, program.connected(gateway):
        environment = {**program.environment(tmp_path), **gateway.environment()}
        case = FakeBoardWriterCase(gateway, "auto", environment)
        ref = case.work("a")
        apply(case, write_to(ref, Operation.COMMENT))
        assert program.runs() == []
        gateway.stop()
        write = write_to(ref, Operation.RECOVER)
        apply(case, write)
        assert shown(case, write) == 1
        called = [run["argv"][:3] for run in program.runs()]
        assert all(words[:2] == ["gateway", "call"] for words in called), "never past the Gateway"
        assert gateway.token not in str([run["argv"] for run in program.runs()])


def test_L4_once_connected_a_lost_answer_is_not_tried_by_another_way(tmp_path: Path) -> None:
    program = FakeOpenClaw(tmp_path)
    with new_gateway() as gateway, program.connected(gateway):
        case = FakeBoardWriterCase(gateway, "auto", {**program.environment(tmp_path), **gateway.environment()})
        write = write_to(case.work("a"), Operation.COMMENT)
        seen = look(case, write.ref)
        gateway.losing = 1
        with pytest.raises(TransportError) as lost:
            apply(case, write, seen)
        assert lost.value.outcome_unknown
        assert program.runs() == []


def test_without_a_way_it_is_said_what_was_sought(tmp_path: Path) -> None:
    for transport, told in (("auto", "OPENCLAW_GATEWAY_URL"), ("cli", "no program openclaw"), ("gateway", "_PORT")):
        writer = build({"transport": transport}, ROSTER, {"HOME": str(tmp_path), "PATH": str(tmp_path)})
        assert writer is not None
        with new_gateway() as gateway:
            now = FakeBoardWriterCase(gateway, "gateway", gateway.environment()).now
        with pytest.raises(TransportError, match=told) as refused:
            writer.look(Ref("workboard", "x"), OWNER, Deadline.after(PATIENCE), now)
        assert refused.value.kind is FailureKind.NOT_CONFIGURED
        assert not refused.value.outcome_unknown


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.NOT_JSON, FailureKind.BAD_OUTPUT),
        (Trouble.SILENT, FailureKind.TIMEOUT),
        (Trouble.DROPPED, FailureKind.UNREACHABLE),
        (Trouble.RESTARTING, FailureKind.UNREACHABLE),
        (Trouble.TELLTALE, FailureKind.REFUSED),
    ],
)
def test_S1_a_look_that_fails_says_why_and_has_written_nothing(
    case: FakeBoardWriterCase, trouble: Trouble, kind: FailureKind
) -> None:
    ref = case.work("a")
    case.gateway.trouble = trouble
    with pytest.raises(TransportError) as failed:
        case.writer.look(ref, OWNER, Deadline.after(1.0), case.now)
    assert failed.value.kind is kind
    assert not failed.value.outcome_unknown
    assert case.gateway.token not in str(failed.value)


@pytest.mark.parametrize(
    ("trouble", "unknown"),
    [
        (Trouble.NOT_JSON, True),
        (Trouble.SILENT, True),
        (Trouble.DROPPED, True),
        (Trouble.RESTARTING, True),
        (Trouble.WRONG_SHAPE, True),
        (Trouble.TELLTALE, False),
    ],
)
def test_L4_whether_a_write_may_have_happened_is_said(
    case: FakeBoardWriterCase, trouble: Trouble, unknown: bool
) -> None:
    ref = case.work("a")
    seen = look(case, ref)

    def breaks() -> None:
        case.gateway.trouble = trouble

    case.gateway.after_read = breaks
    with pytest.raises(TransportError) as failed:
        case.writer.apply(write_to(ref, Operation.COMMENT), seen, Deadline.after(1.0), case.now)
    assert failed.value.outcome_unknown is unknown


@pytest.mark.parametrize(
    ("reach", "unknown"),
    [(Reach.DOWN, False), (Reach.TIMEOUT, True), (Reach.DENIED, False), (Reach.STARTING, False)],
)
def test_L4_the_program_says_too_whether_a_write_may_have_happened(tmp_path: Path, reach: Reach, unknown: bool) -> None:
    program, gateway = FakeOpenClaw(tmp_path), new_gateway()
    with program.connected(gateway):
        case = FakeBoardWriterCase(gateway, "cli", program.environment(tmp_path))
        write = write_to(case.work("a"), Operation.COMMENT)
        seen = look(case, write.ref)
        program.order(reach=reach, only="workboard.cards.comment")
        with pytest.raises(TransportError) as failed:
            apply(case, write, seen)
        assert failed.value.outcome_unknown is unknown
        program.order(reach=Reach.UP)
        apply(case, write)
        assert shown(case, write) == 1


def test_a_deadline_that_has_passed_writes_nothing(case: FakeBoardWriterCase) -> None:
    ref = case.work("a")
    seen = look(case, ref)
    with pytest.raises(TransportError) as late:
        case.writer.apply(write_to(ref, Operation.BLOCK), seen, Deadline.after(0), case.now)
    assert late.value.kind is FailureKind.TIMEOUT
    assert methods(case) == []
