"""What an operation means for an issue, and when that would start a run: contract 3, on the fake server's own table."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat.action import Operation, Output, OutputType, Voice, Write, signature
from heartbeat.systems.multica.comments import note, read_comments, with_outputs
from heartbeat.systems.multica.orders import Order, order_of, starts_run
from heartbeat.systems.writing import UnsupportedError
from heartbeat.task import EvidenceKind, Item, Owner, OwnerKind, Priority, Ref, Status
from tests.contract.suite import NOW
from tests.support.fake_multica_records import ALICE, CATEGORIES, CODEX, CORE_SQUAD, REVIEWER
from tests.support.fake_multica_state import MulticaState

REF = Ref("multica", "0198f0a0-7777-7000-8000-000000000001")
UUIDS = {"architect": CODEX}
ASSIGNEES: tuple[tuple[Any, Any], ...] = ((None, None), ("member", ALICE), ("agent", REVIEWER), ("squad", CORE_SQUAD))


def issue(status: Status = Status.IN_PROGRESS, owner: str = REVIEWER) -> Item:
    return Item(REF, "ACM-1", "登录页报错", status, status.value, Priority.NONE, Owner(OwnerKind.AGENT, owner))


def order(operation: Operation, at: Status = Status.IN_PROGRESS, **fields: Any) -> Order:
    return order_of(Write("key", REF, operation, **fields), issue(at), UUIDS)


@pytest.mark.parametrize("assignee", ASSIGNEES)
@pytest.mark.parametrize("before", CATEGORIES)
def test_what_starts_a_run_is_known_as_the_server_knows_it(before: str, assignee: tuple[Any, Any]) -> None:
    changes: list[dict[str, str]] = [{"status": after} for after in CATEGORIES if after != before]
    changes += [{**change, "assignee_type": "agent", "assignee_id": CODEX} for change in ({}, *changes)]
    for change in changes:
        state = MulticaState()
        kind, identity = assignee
        made = state.add_issue("Task", status=before, assignee_type=kind, assignee_id=identity)
        told = starts_run(state.issue_json(made), change)
        state.update(made, change)
        # Told once too often is a change that is refused; told once too seldom is an agent woken.
        assert told is bool(state.started), change


def test_a_status_that_nobody_knows_may_be_one_of_the_backlogs() -> None:
    assert starts_run({"status": "qa", "assignee_type": "agent", "assignee_id": CODEX}, {"status": "todo"})


@pytest.mark.parametrize(
    ("operation", "fields", "status"),
    [
        (Operation.COMMENT, {"status": Status.DONE}, None),
        (Operation.RECOVER, {}, Status.BLOCKED),
        (Operation.RECOVER, {"status": Status.TODO}, Status.TODO),
        (Operation.BLOCK, {}, Status.BLOCKED),
        (Operation.UNBLOCK, {}, Status.TODO),
        (Operation.CLAIM, {}, Status.IN_PROGRESS),
        (Operation.MOVE, {"status": Status.IN_REVIEW}, Status.IN_REVIEW),
        (Operation.DONE, {}, Status.DONE),
        (Operation.ATTACH, {}, None),
        (Operation.ASSIGN, {"agent": "architect"}, Status.TODO),
        (Operation.ASSIGN, {"agent": "architect", "status": Status.BACKLOG}, Status.BACKLOG),
    ],
)
def test_L2_each_operation_has_its_status(operation: Operation, fields: dict[str, Any], status: Status | None) -> None:
    assert order(operation, **fields).status is status


@pytest.mark.parametrize("status", [Status.BACKLOG, Status.TODO, Status.IN_REVIEW, Status.DONE])
def test_L6_an_issue_that_nobody_works_at_keeps_its_status_when_it_is_given_away(status: Status) -> None:
    assert order(Operation.ASSIGN, status, agent="architect").status is None


def test_only_claiming_and_assigning_change_hands_and_not_to_whoever_has_it() -> None:
    assert order(Operation.ASSIGN, agent="architect").assignee == CODEX
    assert order(Operation.CLAIM, agent=CODEX).assignee == CODEX
    assert order(Operation.CLAIM, agent=REVIEWER).assignee is None
    assert order(Operation.DONE, agent="architect").assignee is None


@pytest.mark.parametrize(
    "write",
    [
        Write("key", REF, Operation.CREATE),
        Write("key", REF, Operation.MOVE),
        Write("key", REF, Operation.MOVE, status=Status.UNKNOWN),
        Write("key", REF, Operation.ASSIGN, agent="nobody"),
    ],
)
def test_what_multica_does_not_know_is_unsupported(write: Write) -> None:
    with pytest.raises(UnsupportedError):
        order_of(write, issue(), UUIDS)


@pytest.mark.parametrize("operation", [Operation.CLAIM, Operation.UNBLOCK])
def test_what_needs_no_words_leaves_no_note_without_them(operation: Operation) -> None:
    assert order(operation).note is None
    assert (order(operation, text="x").note or "").startswith("/note x ")


def test_what_takes_work_away_leaves_its_marker_even_without_words() -> None:
    assert signature(order(Operation.RECOVER).note or "") == (Voice.RULE, order(Operation.RECOVER).marker)


@pytest.mark.parametrize("text", ["看一下", "", " /note x", "a\0b\ud800", "@all [X](mention://agent/x)\n\n"])
def test_a_note_begins_as_one_and_ends_with_its_marker(text: str) -> None:
    sent = note(text, "0123456789ab", Voice.AGENT)
    assert sent.split()[0] == "/note"
    assert signature(sent) == (Voice.AGENT, "0123456789ab")
    assert "\0" not in sent
    sent.encode("utf-8")


def test_outputs_are_lines_of_their_own() -> None:
    listed = with_outputs("done", (Output("a b.md", OutputType.DOCUMENT), Output("`x`\u2028y", note="why\r\nnot")))
    assert listed == "done\n📎\n- `a b.md` (document)\n- `'x' y` (other): why not"
    assert with_outputs("done ", ()) == "done "


def test_comments_come_in_order_of_time_and_odd_ones_do_not_stop_the_reading() -> None:
    rows: list[Any] = [
        {"id": "b", "content": "later", "created_at": "2026-11-21T03:00:00+00:00", "author_type": "agent"},
        {"id": "a", "content": None, "created_at": "2026-11-21T10:59:00+08:00"},
        {"id": "c", "content": note("x", "0123456789ab", Voice.RULE), "created_at": "2026-11-21T03:01:00Z"},
        {"id": "d", "content": "x [hb:0123456789ab]", "created_at": "no time"},
        {"id": None},
        None,
        "text",
    ]
    comments = read_comments(rows, REF, NOW)
    assert [(each.id, each.own) for each in comments.evidence] == [
        ("a", False),
        ("b", False),
        ("c", True),
        ("d", False),
    ]
    assert comments.evidence[-1].at == NOW
    assert comments.notes == {"0123456789ab": "c"}
    assert {each.kind for each in comments.evidence} == {EvidenceKind.COMMENT}
