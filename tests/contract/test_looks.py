"""What a look tells whoever works on an item next: its description, and what was said on it (rules X4, T2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation, Voice, Write, signed
from heartbeat.systems.base import Deadline
from heartbeat.systems.multica.comments import NOTE, read_comments
from heartbeat.systems.openclaw.card import Card
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.writing import LATEST_SAID, LONGEST_NOTES, LONGEST_SAID, Look, Said, latest, shortened
from heartbeat.task import Owner, OwnerKind, Ref
from tests.contract.writer_suite import PATIENCE, WORKER, OpenWriterCase, WriterCase
from tests.real import writer_cases
from tests.support import multica_writer_cases, openclaw_writer_cases, todo_writer_cases
from tests.support.fake_multica_records import REVIEWER
from tests.support.items import NOW
from tests.support.multica_writer_cases import KINDS, OLD_COMMAND, MulticaWriterCase, OpenMulticaCase
from tests.support.openclaw_writer_cases import ROSTER, BoardWriterCase
from tests.support.todo_writer_cases import TodoWriterCase

BOARDS = [*openclaw_writer_cases.CASES, *writer_cases.CASES]
CASES: list[Any] = [*BOARDS, *multica_writer_cases.CASES, *todo_writer_cases.CASES]
OWNER = Owner(OwnerKind.AGENT, WORKER)
TITLE = "整理 Q3 客户反馈"
NOTES = "背景：去年的见 docs/2025.md\n\n## 验收标准\n\n- 有图表 <b>\n- `两页`"
MARKER = "0123456789ab"


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WriterCase]:
    opened: OpenWriterCase = request.param
    with opened(tmp_path) as case:
        yield case


def look(case: WriterCase, ref: Ref) -> Look:
    return case.writer.look(ref, OWNER, Deadline.after(PATIENCE), case.now)


def comment(case: WriterCase, ref: Ref, text: str, voice: Voice) -> None:
    write = Write(f"looks/{text}", ref, Operation.COMMENT, text, voice=voice)
    case.writer.apply(write, look(case, ref), Deadline.after(PATIENCE), case.now)


def test_an_item_on_which_nothing_stands_has_no_notes_and_no_words(case: WriterCase) -> None:
    seen = look(case, case.waiting(TITLE))
    assert (seen.notes, seen.said) == ("", ())


def test_T2_what_heartbeat_wrote_is_told_without_its_marker_and_as_whose_it_is(case: WriterCase) -> None:
    ref = case.work(TITLE)
    comment(case, ref, "heartbeat：任务超时，已自动恢复。", Voice.RULE)
    comment(case, ref, "coo：受阻。原因：缺数据", Voice.AGENT)
    first, second = look(case, ref).said
    assert (first.text, first.own, first.author) == ("heartbeat：任务超时，已自动恢复。", True, "heartbeat")
    assert (second.text, second.own) == ("coo：受阻。原因：缺数据", False)


def test_X4_what_others_said_is_told_oldest_first(case: WriterCase) -> None:
    if not case.has_claims:
        pytest.skip("a line has no comments of others")
    ref = case.work(TITLE)
    for number in range(3):
        case.comment_as_other(ref, f"第 {number} 条\n> 引用")
    said = look(case, ref).said
    assert [each.text for each in said] == [f"第 {number} 条\n> 引用" for number in range(3)]
    assert not any(each.own for each in said)
    times = [each.at for each in said if each.at is not None]
    assert len(times) == 3
    assert times == sorted(times)


def test_an_item_that_is_gone_has_no_words_either() -> None:
    assert (Look(None).notes, Look(None).said) == ("", ())


# What is kept.


def test_of_many_words_the_newest_are_kept_and_each_is_cut() -> None:
    said = [Said("a", NOW + timedelta(minutes=number % 7), f"{number}" + "x" * 5000) for number in range(50)]
    kept = latest([*said, Said("b", NOW, ""), Said("", None, "undated")])
    assert len(kept) == LATEST_SAID
    assert [each.at for each in kept] == sorted(each.at or NOW for each in kept)
    assert all(len(each.text) == LONGEST_SAID and each.text.endswith("x…") for each in kept)
    assert min(each.at for each in kept if each.at) == NOW + timedelta(minutes=4)


def test_words_without_a_time_come_first_and_keep_their_order() -> None:
    undated = [Said("", None, text) for text in "ba"]
    assert [each.text for each in latest([Said("", NOW, "c"), *undated])] == ["b", "a", "c"]


@pytest.mark.parametrize("length", [LONGEST_NOTES, LONGEST_NOTES + 1])
def test_a_description_is_cut_only_where_it_is_too_long(length: int) -> None:
    cut = shortened("  " + "长" * length + "\n")
    assert len(cut) == LONGEST_NOTES
    assert cut.endswith("…") == (length > LONGEST_NOTES)


@pytest.mark.parametrize(
    ("text", "author", "bare", "own"),
    [
        (signed("heartbeat：x", MARKER), "heartbeat", "heartbeat：x", True),
        (signed("coo：x", MARKER, Voice.AGENT) + " \n", "alice", "coo：x", False),
        (f"{signed('quoted', MARKER)} and more", "alice", f"quoted [hb:{MARKER}] and more", False),
        ("  plain ", "alice", "plain", False),
    ],
)
def test_T2_only_a_marker_at_the_very_end_is_ours(text: str, author: str, bare: str, own: bool) -> None:
    assert Said.of("alice", NOW, text) == Said(author, NOW, bare, own)


# WorkBoard.


@pytest.mark.parametrize("opened", BOARDS)
def test_X4_a_cards_notes_are_told_as_they_were_written(opened: Any, tmp_path: Path) -> None:
    with opened(tmp_path) as case:
        assert isinstance(case, BoardWriterCase)
        assert look(case, case.make(TITLE, agentId=WORKER, notes=NOTES)).notes == NOTES


def a_card(**changes: Any) -> Card:
    metadata = changes.pop("metadata", {})
    record = {
        "id": "3f2a1b4c-0000-4000-8000-000000000000",
        "title": TITLE,
        "status": "todo",
        "priority": "normal",
        "labels": [],
        "position": 1000,
        "createdAt": 1763600000000,
        "updatedAt": 1763600000000,
        "metadata": metadata,
        **changes,
    }
    return Card.read(record, Team.of(ROSTER), NOW)


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_X4_a_card_tells_what_earlier_attempts_left_too() -> None:
    second = 1763600001000
    read = a_card(
        metadata={
            "comments": [{"id": "c1", "body": "退回：缺来源", "createdAt": second + 4000}],
            "attempts": [
                {"id": "a1", "status": "failed", "startedAt": second, "endedAt": second + 1000, "error": "rate limit"},
                {"id": "a2", "status": "succeeded", "startedAt": second, "endedAt": second + 1500},
            ],
            "proof": [{"id": "p1", "status": "passed", "createdAt": second + 2000, "note": "12 tests"}],
            "workerLogs": [{"id": "w1", "level": "info", "createdAt": second + 3000, "message": "half done"}],
        }
    )
    assert read.remarks == (
        Said("attempt", at(second + 1000), "rate limit"),
        Said("proof", at(second + 2000), "12 tests"),
        Said("worker", at(second + 3000), "half done"),
        Said("", at(second + 4000), "退回：缺来源"),
    )


@pytest.mark.parametrize("odd", [None, {}, [None, 7, {"message": 7}, {"message": None}]])
def test_X4_an_odd_list_of_a_card_is_nobodys_word_and_no_obstacle(odd: object) -> None:
    read = a_card(notes=7, metadata={"workerLogs": odd})
    assert (read.description, read.remarks) == ("", ())


# Multica.


@pytest.mark.parametrize("kind", [*KINDS.values(), OLD_COMMAND], ids=[*KINDS, "old-command"])
def test_X4_an_issues_description_and_authors_are_told(kind: OpenMulticaCase, tmp_path: Path) -> None:
    with kind(tmp_path) as case:
        assert isinstance(case, MulticaWriterCase)
        ref = case.make(TITLE, "in_progress", description=f"{NOTES}\n")
        case.comment_as_other(ref, "请补充")
        seen = look(case, ref)
        assert seen.notes == NOTES
        assert [(each.author, each.text) for each in seen.said] == [(WORKER, "请补充")]


@pytest.mark.parametrize(
    ("fields", "author"),
    [
        ({"author_type": "agent", "author_id": REVIEWER.upper()}, WORKER),
        ({"author_type": "agent", "author_id": "0198F0A0-1111-7000-8000-000000000000"}, "agent 0198f0a0"),
        ({"author_type": "member", "author_id": REVIEWER}, f"member {REVIEWER[:8]}"),
        ({"author_type": "system", "author_id": "00000000-0000-0000-0000-000000000000"}, "system"),
        ({}, ""),
    ],
)
def test_X4_the_author_of_a_comment_is_told_as_far_as_it_is_known(fields: dict[str, str], author: str) -> None:
    row = {"id": "1", "content": "text", "created_at": "2026-11-21T03:00:00Z", **fields}
    read = read_comments([row], Ref("multica", "x"), NOW, {REVIEWER: WORKER})
    assert read.said == (Said(author, NOW - timedelta(hours=1), "text"),)


def test_X4_the_word_that_wakes_nobody_is_no_part_of_what_was_said_where_it_is_ours() -> None:
    ours = {"id": "1", "content": f"{NOTE} {signed('x', MARKER)}"}
    theirs = {"id": "2", "content": f"{NOTE} y"}
    odd = ({"id": "3", "content": 7}, {"id": "4"}, {"content": "without an id"})
    said = read_comments([ours, theirs, *odd], Ref("multica", "x"), NOW).said
    assert {each.text for each in said} == {"x", f"{NOTE} y"}


# TODO lines.


@pytest.mark.parametrize(
    ("below", "notes"),
    [
        ("  背景见 docs/a.md\n  第二行\n", "背景见 docs/a.md\n第二行"),
        ("\n  a paragraph\n\n  another\n", "a paragraph\n\nanother"),
        ("  - 有图表\n  - 两页\n    - 横排\n", "- 有图表\n- 两页\n  - 横排"),
        ("  - a note\n  - [ ] another task\n    - a note of the other\n", "- a note"),
        ("  - [ ] another task\n  - after it\n", ""),
        ("lazy continuation\n", "lazy continuation"),
        ("\nno part of the list\n", ""),
        ("- [ ] the next task\n  with notes\n", ""),
        ("  ```\n  - [ ] no task\n  ```\n", "```\n- [ ] no task\n```"),
        ("## heading\n", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_X4_what_is_indented_below_a_line_are_its_notes(below: str, notes: str, ending: str, tmp_path: Path) -> None:
    case = TodoWriterCase(tmp_path)
    text = f"# 待办\n\n- [ ] first\n- [ ] {TITLE}\n{below}"
    case.files[WORKER].write_bytes(text.replace("\n", ending).encode())
    ref = next(item.ref for item in case.read().items if item.title == TITLE)
    assert look(case, ref).notes == notes


def test_T9_an_annotation_of_a_line_leaves_its_notes_as_they_are(tmp_path: Path) -> None:
    case = TodoWriterCase(tmp_path)
    case.files[WORKER].write_bytes(f"- [/] {TITLE}\r\n  notes\r\n".encode())
    (ref,) = (item.ref for item in case.read().items if item.title == TITLE)
    comment(case, ref, "heartbeat：x", Voice.RULE)
    seen = look(case, ref)
    assert seen.notes == "notes"
    assert seen.said == (Said("heartbeat", None, "heartbeat：x", own=True),)


def test_a_comment_by_people_in_a_line_is_theirs_and_no_annotation(tmp_path: Path) -> None:
    case = TodoWriterCase(tmp_path)
    ref = case.work(TITLE)
    case.comment_as_other(ref, "for myself")
    assert look(case, ref).said == ()
