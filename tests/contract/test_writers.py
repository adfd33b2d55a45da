"""The one suite for writing: every operation, every system, fake and real (rules L4, L6, T2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation, Output, OutputType, Voice, Write, signature
from heartbeat.systems.base import Deadline, TransportError
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import Owner, OwnerKind, Ref, Status
from tests.contract.writer_suite import OTHER, PATIENCE, WORKER, OpenWriterCase, WriterCase
from tests.real import writer_cases
from tests.support import multica_writer_cases, openclaw_writer_cases, todo_writer_cases

CASES: list[Any] = [
    *openclaw_writer_cases.CASES,
    *multica_writer_cases.CASES,
    *todo_writer_cases.CASES,
    *writer_cases.CASES,
]
OWNER = Owner(OwnerKind.AGENT, WORKER)
TEXT = "heartbeat：任务超时，已自动恢复。执行人 coo 已 45m 没有活动。"
TITLE = "整理 Q3 客户反馈"
OUTPUTS = (
    Output("docs/反馈.md", OutputType.DOCUMENT, "初稿"),
    Output("https://example.test/report?id=7", OutputType.DATA),
)
ON_AN_ITEM = tuple(operation for operation in Operation if operation is not Operation.CREATE)
TAKING = (Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN)
"""What takes an item from whoever has it, and must not take it from the wrong one."""

WITH_OUTPUTS = frozenset({Operation.DONE, Operation.ATTACH})


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WriterCase]:
    opened: OpenWriterCase = request.param
    with opened(tmp_path) as case:
        yield case


def begin(case: WriterCase, operation: Operation) -> Ref:
    """An item on which the operation has something to do."""
    if operation not in case.operations:
        pytest.skip("not an operation of this system")
    if operation is Operation.UNBLOCK:
        return case.blocked(TITLE)
    return case.waiting(TITLE) if operation is Operation.CLAIM else case.work(TITLE)


def write_of(case: WriterCase, operation: Operation, ref: Ref, **changes: Any) -> Write:
    targets = {Operation.RECOVER, Operation.MOVE}
    return replace(
        Write(
            key=f"suite/{operation.value}/{ref}",
            ref=ref,
            operation=operation,
            text=TEXT,
            status=case.status_after[operation] if operation in targets else None,
            agent={Operation.ASSIGN: OTHER, Operation.CLAIM: WORKER}.get(operation, ""),
            outputs=OUTPUTS if operation in WITH_OUTPUTS else (),
        ),
        **changes,
    )


def look(case: WriterCase, ref: Ref) -> Look:
    return case.writer.look(ref, OWNER, Deadline.after(PATIENCE), case.now)


def apply(case: WriterCase, write: Write, seen: Look) -> Written:
    return case.writer.apply(write, seen, Deadline.after(PATIENCE), case.now)


def carry_out(case: WriterCase, write: Write) -> Written:
    return apply(case, write, look(case, write.ref))


def shown(case: WriterCase, write: Write) -> int:
    """How often the write's text stands on the item."""
    return [signature(text) for text in case.texts(write.ref)].count((write.voice, write.marker))


def assert_one_effect(case: WriterCase, write: Write) -> None:
    item = case.item(write.ref)
    assert item.status is case.status_after[write.operation]
    if case.keeps_comments:
        assert shown(case, write) == 1
    if write.operation is Operation.ASSIGN:
        assert item.owner == Owner(OwnerKind.AGENT, OTHER)
    else:
        assert item.owner == OWNER
    if write.operation in WITH_OUTPUTS:
        assert sorted(case.outputs(write.ref)) == sorted(output.path for output in OUTPUTS)


@pytest.mark.parametrize("operation", ON_AN_ITEM)
def test_L4_an_operation_takes_effect_once_and_once_more_it_changes_nothing(
    case: WriterCase, operation: Operation
) -> None:
    ref = begin(case, operation)
    write = write_of(case, operation, ref)
    carry_out(case, write)
    assert_one_effect(case, write)
    seen = look(case, ref)
    assert write.marker in seen.markers
    apply(case, write, seen)
    assert_one_effect(case, write)


@pytest.mark.parametrize("operation", ON_AN_ITEM)
def test_L4_a_write_whose_answer_was_lost_is_repeated_and_leaves_one_effect(
    case: WriterCase, operation: Operation
) -> None:
    if not case.loses_answers:
        pytest.skip("there is no answer that could be lost")
    ref = begin(case, operation)
    write = write_of(case, operation, ref)
    seen = look(case, ref)
    case.lose_next_answer()
    with pytest.raises(TransportError) as lost:
        apply(case, write, seen)
    assert lost.value.outcome_unknown
    carry_out(case, write)
    assert_one_effect(case, write)


@pytest.mark.parametrize("operation", TAKING)
def test_L6_what_somebody_else_took_meanwhile_is_not_taken_from_them(case: WriterCase, operation: Operation) -> None:
    ref = begin(case, operation)
    write = write_of(case, operation, ref)
    seen = look(case, ref)
    case.take(ref)
    with pytest.raises(ConflictError) as refused:
        apply(case, write, seen)
    assert not refused.value.outcome_unknown
    item = case.item(ref)
    assert item.status is Status.IN_PROGRESS
    assert item.owner == Owner(OwnerKind.AGENT, OTHER)


@pytest.mark.parametrize("operation", ON_AN_ITEM)
def test_T2_what_a_rule_writes_is_told_as_ours_to_the_last_bit(case: WriterCase, operation: Operation) -> None:
    ref = begin(case, operation)
    case.comment_as_other(ref, "我在看")
    before = case.signs(ref)
    written = carry_out(case, write_of(case, operation, ref))
    after = case.signs(ref)
    assert [sign for sign in after.keys() - before.keys() if sign not in written.evidence_ids] == []
    assert not set(written.evidence_ids) & before.keys(), "what was there before is not ours"


def test_T2_what_somebody_else_says_after_us_is_not_ours(case: WriterCase) -> None:
    ref = begin(case, Operation.COMMENT)
    written = carry_out(case, write_of(case, Operation.COMMENT, ref))
    before = case.signs(ref)
    case.comment_as_other(ref, "收到，继续做")
    new = {sign: own for sign, own in case.signs(ref).items() if sign not in before}
    assert new
    assert not any(new.values())
    assert not new.keys() & set(written.evidence_ids)


@pytest.mark.parametrize("operation", [Operation.COMMENT, Operation.BLOCK])
def test_T2_what_an_agent_does_through_heartbeat_is_the_agents(case: WriterCase, operation: Operation) -> None:
    ref = begin(case, operation)
    before = case.signs(ref)
    write = write_of(case, operation, ref, voice=Voice.AGENT)
    carry_out(case, write)
    assert_one_effect(case, write)
    new = {sign: own for sign, own in case.signs(ref).items() if sign not in before}
    assert new
    assert not any(new.values())


def test_a_look_tells_what_must_be_known_before_a_write(case: WriterCase) -> None:
    ref = case.work(TITLE)
    seen = look(case, ref)
    assert seen.item is not None
    assert (seen.item.ref, seen.item.title, seen.item.status) == (ref, TITLE, Status.IN_PROGRESS)
    assert seen.item.owner == OWNER
    assert seen.claimant == (WORKER if case.has_claims else "")
    assert not seen.active, "no run is active, or it cannot be known"
    assert seen.markers == frozenset()
    assert seen.item.revision == case.item(ref).revision


def test_a_look_at_what_is_not_there_finds_nothing(case: WriterCase) -> None:
    ref = case.work(TITLE)
    absent = Ref(ref.source, f"{ref.id[:-1]}{'0' if ref.id[-1] != '0' else '1'}")
    assert look(case, absent).item is None


def test_a_writer_says_what_it_can_do_and_refuses_the_rest(case: WriterCase) -> None:
    can = frozenset(operation for operation in Operation if case.writer.can(operation))
    assert can == case.operations
    ref = case.work(TITLE)
    for operation in frozenset(ON_AN_ITEM) - can:
        write = Write(key="suite/no", ref=ref, operation=operation, text=TEXT, status=Status.TODO, agent=OTHER)
        with pytest.raises(UnsupportedError):
            carry_out(case, write)


def test_L2_a_card_is_made_once_for_what_it_is_made_for(case: WriterCase) -> None:
    if Operation.CREATE not in case.operations:
        pytest.skip("not an operation of this system")
    title = "写周报，从 TODO.md 转来"
    write = Write(
        key="suite/create", ref=case.origin(), operation=Operation.CREATE, text=TEXT, title=title, agent=WORKER
    )
    if case.loses_answers:
        case.lose_next_answer()
        with pytest.raises(TransportError) as lost:
            carry_out(case, write)
        assert lost.value.outcome_unknown
    carry_out(case, write)
    carry_out(case, write)
    (made,) = (item for item in case.read().items if item.title == title)
    assert (made.status, made.owner) == (Status.TODO, OWNER)
