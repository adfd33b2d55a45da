"""What the fakes cannot prove of writing: a real run, the real command line, the real limits and refusals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from heartbeat.action import Operation, Output, Voice, Write, signature
from heartbeat.systems.base import Deadline, TransportError
from heartbeat.systems.writing import ConflictError, Look, Written
from heartbeat.task import Owner, OwnerKind, Presence, Ref, Status
from tests.contract.writer_suite import OTHER, WORKER
from tests.real.rpc import RpcError
from tests.real.session import changeable
from tests.real.turns import turn, until
from tests.real.writer_cases import RealBoardWriterCase, open_case

pytestmark = pytest.mark.openclaw

OWNER = Owner(OwnerKind.AGENT, WORKER)
PATIENCE = 120.0
TEXT = "heartbeat：任务超时，已自动恢复。"
EXECUTION = {
    "id": "e1",
    "kind": "agent-session",
    "mode": "autonomous",
    "status": "running",
    "sessionKey": f"agent:{WORKER}:hb-nobody",
    "runId": "run-1",
    "startedAt": 1795226000000,
    "updatedAt": 1795226000000,
}


@pytest.fixture
def case() -> Iterator[RealBoardWriterCase]:
    with open_case("gateway") as case:
        yield case


def look(case: RealBoardWriterCase, ref: Ref) -> Look:
    return case.writer.look(ref, OWNER, Deadline.after(PATIENCE), case.now)


def apply(case: RealBoardWriterCase, write: Write, seen: Look | None = None) -> Written:
    return case.writer.apply(write, seen or look(case, write.ref), Deadline.after(PATIENCE), case.now)


def recovery(ref: Ref, **fields: Any) -> Write:
    given = {"operation": Operation.RECOVER, "text": TEXT, "status": Status.TODO, **fields}
    return Write(key=f"real/{given['operation'].value}", ref=ref, **given)


def present(case: RealBoardWriterCase) -> dict[str, Presence]:
    reading = case.read()
    assert reading.report.message == ""
    assert reading.report.findings == ()
    assert reading.presence is not None
    return {presence.id: presence for presence in reading.presence}


def test_T7_a_real_run_is_seen_by_the_source_and_by_a_look_until_it_ends(case: RealBoardWriterCase) -> None:
    key = f"agent:{WORKER}:hb-{uuid.uuid4()}"
    ref = case.work("整理反馈")
    assert look(case, ref).active is False
    with turn(case.gateway, WORKER, key):
        until(lambda: present(case).get(key, Presence("", False, None, "")).active)
        seen = present(case)[key]
        assert seen.agent == WORKER
        assert seen.at is not None
        assert look(case, ref).active is True
        assert case.writer.look(ref, Owner(OwnerKind.AGENT, OTHER), Deadline.after(PATIENCE), case.now).active is False
    until(lambda: look(case, ref).active is False)
    ended = present(case)[key]
    assert (ended.active, ended.at) == (False, seen.at), "it was spoken with, and rests"


def test_L2_over_the_command_line_a_recovery_takes_effect_once_also_after_a_lost_answer() -> None:
    with open_case("cli") as case:
        ref = case.work("整理反馈")
        write = recovery(ref)
        seen = look(case, ref)
        assert (seen.claimant, seen.active, seen.markers) == (WORKER, False, frozenset())
        case.lose_next_answer()
        with pytest.raises(TransportError) as lost:
            apply(case, write, seen)
        assert lost.value.outcome_unknown, str(lost.value)
        written = apply(case, write)
        assert case.item(ref).status is Status.TODO
        assert [signature(text) for text in case.texts(ref)] == [(Voice.RULE, write.marker)]
        assert set(written.evidence_ids) <= case.signs(ref).keys()
        with pytest.raises(ConflictError, match="not there any more"):
            apply(case, replace(write, ref=Ref("workboard", str(uuid.uuid4()))), seen)


@pytest.mark.parametrize(
    ("operation", "begun", "fields"),
    [
        (Operation.COMMENT, "work", {}),
        (Operation.BLOCK, "work", {}),
        (Operation.RECOVER, "work", {}),
        (Operation.ASSIGN, "work", {"agent": OTHER}),
        (Operation.UNBLOCK, "blocked", {}),
        (Operation.DONE, "work", {}),
        (Operation.ATTACH, "work", {"outputs": (Output("a.md", note="长" * 300), Output("https://example.test/b"))}),
    ],
)
def test_the_longest_texts_are_taken(
    case: RealBoardWriterCase, operation: Operation, begun: str, fields: dict[str, Any]
) -> None:
    ref: Ref = getattr(case, begun)("整理反馈")
    write = recovery(ref, operation=operation, text="🚀很长的说明" * 1000, **fields)
    apply(case, write)
    assert signature(case.texts(ref)[-1]) == (Voice.RULE, write.marker)


def test_L2_a_card_is_made_with_the_longest_title_and_notes(case: RealBoardWriterCase) -> None:
    write = Write(
        key="real/create/" + "k" * 200,
        ref=case.origin(),
        operation=Operation.CREATE,
        text="🚀很长的说明" * 1000,
        title="写周报🚀" * 100,
        agent=WORKER,
    )
    notes = [apply(case, write, Look(None)).note for _ in range(2)]
    (item,) = case.read().items
    assert notes == [f"card {item.ref.id}"] * 2
    assert signature(case.record(item.ref)["notes"]) == (Voice.RULE, write.marker)


def test_L6_a_card_is_handed_over_without_what_would_take_its_new_owners_slot(case: RealBoardWriterCase) -> None:
    ref = case.work("整理反馈")
    case.call("update", id=ref.id, patch={"execution": EXECUTION})
    apply(case, recovery(ref, operation=Operation.ASSIGN, agent=OTHER, status=None))
    another = case.waiting("另一件事", OTHER)
    case.call("claim", id=another.id, ownerId=OTHER)
    record = case.record(ref)
    assert (record["agentId"], record["status"], record.get("execution")) == (OTHER, "todo", None)


def test_outputs_of_two_writes_and_somebody_elses_are_all_kept(case: RealBoardWriterCase) -> None:
    ref = case.work("整理反馈")
    case.call("artifact", id=ref.id, path="theirs.md")
    with pytest.raises(RpcError, match="UNIQUE constraint failed"):
        case.call("artifact", id=ref.id, path="theirs too.md")
    first = recovery(ref, operation=Operation.ATTACH, outputs=(Output("a.md"), Output("b.md")), text="")
    apply(case, first)
    apply(case, replace(first, key="real/second", outputs=(Output("https://example.test/c"),)))
    apply(case, first)
    assert list(case.outputs(ref)) == ["theirs.md", "a.md", "b.md", "https://example.test/c"]
    done = replace(first, key="real/done", operation=Operation.DONE, text=TEXT, outputs=(Output("d.md"),))
    apply(case, done)
    apply(case, done)
    assert list(case.outputs(ref))[-1] == "d.md"
    assert len(case.outputs(ref)) == 5


@pytest.mark.parametrize(
    ("busy", "told"),
    [
        (lambda case: case.work("a", OTHER), "the card is claimed by architect already"),
        (lambda case: (case.work("a"), case.waiting("b"))[1], "coo holds another card already"),
        (
            lambda case: case.make("a", agentId=WORKER, parents=[case.waiting("parent").id]),
            "waits for other cards that are not done",
        ),
    ],
)
def test_L6_real_refusals_are_told_in_words_for_a_person(case: RealBoardWriterCase, busy: Any, told: str) -> None:
    with pytest.raises(ConflictError, match=told):
        apply(case, recovery(busy(case), operation=Operation.CLAIM, agent=WORKER, status=None))


def test_the_scopes_are_to_read_and_to_write(case: RealBoardWriterCase) -> None:
    apply(case, recovery(case.work("a")))
    asked = {tuple(request["params"]["scopes"]) for request in case.wiretap.requests if request["method"] == "connect"}
    assert asked == {("operator.read", "operator.write")}
    assert changeable().token not in repr(case.writer)
