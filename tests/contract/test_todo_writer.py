"""What writing to task lines promises beyond the writers' suite (rules S9, T2, T9, L2, L4, L6, B7, B8)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat.action import Operation, Output, OutputType, Voice, Write, marker_of, signature
from heartbeat.deadline import Deadline
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.todo import edit as editing
from heartbeat.systems.todo.inline import has_open_comment
from heartbeat.systems.todo.source import build as build_source
from heartbeat.systems.todo.writer import KEPT, LONGEST, build
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import NOBODY, EvidenceKind, Item, Owner, OwnerKind, Ref, Status
from tests.contract.suite import NOW
from tests.contract.writer_suite import OTHER, WORKER
from tests.support.rosters import make_agent, make_roster
from tests.support.todo_writer_cases import HEAD, TodoWriterCase, open_case

OWNER = Owner(OwnerKind.AGENT, WORKER)
TITLE = "写周报"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[TodoWriterCase]:
    with open_case(tmp_path) as opened:
        yield opened


def patience() -> Deadline:
    return Deadline.after(30.0)


def look(case: TodoWriterCase, ref: Ref) -> Look:
    return case.writer.look(ref, OWNER, patience(), NOW)


def apply(case: TodoWriterCase, write: Write, seen: Look | None = None) -> Written:
    return case.writer.apply(write, seen or look(case, write.ref), patience(), NOW)


def a_write(ref: Ref, operation: Operation, key: str = "key", **fields: Any) -> Write:
    return Write(key, ref, operation, **fields)


# Looking.


def test_S5_a_look_is_the_line_as_the_source_reads_it_now(case: TodoWriterCase) -> None:
    ref = case.work(f"{TITLE} ⏫ 📅 2026-12-01")
    seen = look(case, ref)
    assert seen.item == case.item(ref)
    assert (seen.claimant, seen.active, seen.markers) == ("", False, frozenset())
    case.change(ref, lambda line: line.replace("⏫", "🔺"))
    assert look(case, ref).item == case.item(ref) != seen.item


def test_T9_what_a_look_finds_is_told_apart_by_its_id_and_never_by_its_date(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    apply(case, a_write(ref, Operation.COMMENT, "ours", text="看一下"))
    apply(case, a_write(ref, Operation.COMMENT, "theirs", text="在做", voice=Voice.AGENT))
    seen = look(case, ref)
    assert seen.item is not None
    assert {(each.kind, each.id, each.own) for each in seen.evidence} == {
        (EvidenceKind.EDITED, seen.item.revision, False),
        (EvidenceKind.COMMENT, marker_of("ours"), True),
        (EvidenceKind.COMMENT, marker_of("theirs"), False),
    }
    assert all(each.at.year == 1970 for each in seen.evidence)


def test_L4_the_markers_of_all_voices_show_and_what_only_speaks_of_them_does_not(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    apply(case, a_write(ref, Operation.COMMENT, "ours", text="看一下"))
    apply(case, a_write(ref, Operation.COMMENT, "theirs", text="在做", voice=Voice.AGENT))
    case.change(
        ref,
        lambda line: (
            f"{line} `<!-- heartbeat: a [hb:000000000000] -->` <!-- b [hb:111111111111] -->"
            " <!-- heartbeat: [hb:222222222222] quoted --> [hb:333333333333]"
        ),
    )
    (found,) = [item.ref for item in case.read().items if item.title.startswith(TITLE)]
    assert look(case, found).markers == {marker_of("ours"), marker_of("theirs")}


def test_S2_a_line_that_is_gone_is_gone_and_one_that_cannot_be_seen_is_not(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    file = case.files[WORKER]
    file.write_text("# nothing\n", encoding="utf-8")
    assert look(case, ref) == Look(None, active=False)
    file.unlink()
    assert look(case, ref) == Look(None, active=False)
    file.symlink_to("/etc/hostname")
    with pytest.raises(TransportError, match="leaves the workspace"):
        look(case, ref)
    shutil.rmtree(file.parent)
    with pytest.raises(TransportError, match="is not there"):
        look(case, ref)


def test_S2_a_file_that_may_stand_where_nobody_can_look_is_not_taken_for_gone(tmp_path: Path) -> None:
    out_of_reach = "x" * 300 + "/TODO.md"
    writer = build({"files": ["TODO.md", out_of_reach]}, make_roster(make_agent("coo", workspace=tmp_path)), {})
    assert writer is not None
    with pytest.raises(TransportError, match="was not found, and") as failure:
        writer.look(Ref("todo", "coo/TODO.md#a"), OWNER, patience(), NOW)
    assert failure.value.kind is FailureKind.INCOMPLETE


@pytest.mark.parametrize(
    "name",
    ["nobody/TODO.md#a", "coo/../architect/TODO.md#a", "coo/HEARTBEAT.md#a", "coo//etc/passwd#a", "", "#", "coo"],
)
def test_B8_a_ref_leads_to_no_file_that_is_not_a_task_file(case: TodoWriterCase, name: str) -> None:
    (case.files[WORKER].parent / "HEARTBEAT.md").write_text("- [ ] a recurring check\n", encoding="utf-8")
    if name.startswith("coo/"):
        assert look(case, Ref("todo", name)).item is None
    else:
        with pytest.raises(TransportError, match="no such workspace"):
            look(case, Ref("todo", name))


def test_S9_a_setting_says_which_files_are_written_to(tmp_path: Path) -> None:
    roster = make_roster(make_agent("coo", workspace=tmp_path))
    file = tmp_path / "notes" / "工作 #1.md"
    file.parent.mkdir()
    file.write_text("- [/] a\n", encoding="utf-8")
    writer = build({"files": ["notes/*.md"]}, roster, {})
    other = build({}, roster, {})
    assert writer is not None
    assert other is not None
    (item,) = build_source({"files": ["notes/*.md"]}, roster, {}).read(patience(), NOW).items
    assert writer.look(item.ref, OWNER, patience(), NOW).item == item
    assert other.look(item.ref, OWNER, patience(), NOW).item is None


def test_without_any_workspace_there_is_nothing_to_write_to() -> None:
    assert build({}, make_roster(make_agent("coo", workspace=None)), {}) is None


# What each operation does to the line.


def test_S9_nothing_but_the_lines_own_bytes_changes(case: TodoWriterCase) -> None:
    case.waiting("before")
    ref = case.work(TITLE)
    case.waiting("after")
    apply(case, a_write(ref, Operation.BLOCK, text="等接口"))
    assert case.files[WORKER].read_bytes().decode() == (
        f"{HEAD}- [ ] before\r\n- [!] {TITLE} <!-- heartbeat: 等接口 [hb:{marker_of('key')}] -->\r\n- [ ] after\r\n"
    )


@pytest.mark.parametrize(
    ("operation", "fields", "box"),
    [
        (Operation.COMMENT, {}, "/"),
        (Operation.ATTACH, {}, "/"),
        (Operation.RECOVER, {}, "/"),
        (Operation.RECOVER, {"status": Status.TODO}, " "),
        (Operation.RECOVER, {"status": Status.BLOCKED}, "!"),
        (Operation.BLOCK, {}, "!"),
        (Operation.UNBLOCK, {}, "/"),
        (Operation.CLAIM, {}, "/"),
        (Operation.DONE, {}, "x"),
        (Operation.MOVE, {"status": Status.TODO}, " "),
        (Operation.MOVE, {"status": Status.IN_PROGRESS}, "/"),
        (Operation.MOVE, {"status": Status.BLOCKED}, "!"),
        (Operation.MOVE, {"status": Status.DONE}, "x"),
        (Operation.MOVE, {"status": Status.CANCELLED}, "-"),
    ],
)
@pytest.mark.parametrize("text", ["", "说明"])
def test_L2_what_becomes_of_a_line_in_progress(
    case: TodoWriterCase, operation: Operation, fields: dict[str, Any], box: str, text: str
) -> None:
    ref = case.work(TITLE)
    apply(case, a_write(ref, operation, text=text, **fields))
    says_something = operation in (Operation.COMMENT, Operation.RECOVER, Operation.BLOCK, Operation.ATTACH)
    assert case.line(ref).startswith(f"- [{box}] {TITLE}")
    assert len(case.texts(ref)) == (1 if text or says_something else 0)
    for said in case.texts(ref):
        assert said.startswith(text)
        assert signature(said) == (Voice.RULE, marker_of("key"))


@pytest.mark.parametrize("box", ["!", "⛔", "⛔\ufe0f"])
def test_C2_a_blocked_line_is_set_free(case: TodoWriterCase, box: str) -> None:
    ref = case.add(f"- [{box}] {TITLE}")
    apply(case, a_write(ref, Operation.UNBLOCK))
    assert case.line(ref) == f"- [ ] {TITLE}"


def test_L6_a_line_that_says_so_already_is_not_written_to(case: TodoWriterCase) -> None:
    ref = case.add(f"- [X] {TITLE}")
    before = case.files[WORKER].stat()
    assert apply(case, a_write(ref, Operation.DONE)).evidence_ids == ()
    after = case.files[WORKER].stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_outputs_are_listed_in_the_annotation(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    outputs = (Output("src/a.py", OutputType.CODE, "修复"), Output("https://example.test/x?a=1&b=2"))
    apply(case, a_write(ref, Operation.DONE, text="好了", outputs=outputs))
    assert case.texts(ref) == [
        f"好了 产出：src/a.py（code，修复）；https://example.test/x?a=1&b=2（other） [hb:{marker_of('key')}]"
    ]
    assert case.item(ref).status is Status.DONE


@pytest.mark.parametrize("operation", [Operation.ASSIGN, Operation.CREATE])
def test_what_a_line_cannot_do_is_said_beforehand_and_refused(case: TodoWriterCase, operation: Operation) -> None:
    ref = case.work(TITLE)
    assert not case.writer.can(operation)
    with pytest.raises(UnsupportedError):
        apply(case, a_write(ref, operation, text="x", agent=OTHER))
    assert case.line(ref) == f"- [/] {TITLE}"


@pytest.mark.parametrize("status", [Status.IN_REVIEW, Status.BACKLOG, Status.UNKNOWN, None])
def test_S9_a_box_does_not_say_what_no_reader_would_understand(case: TodoWriterCase, status: Status | None) -> None:
    ref = case.work(TITLE)
    with pytest.raises(UnsupportedError):
        apply(case, a_write(ref, Operation.MOVE, status=status))
    assert case.line(ref) == f"- [/] {TITLE}"


@pytest.mark.parametrize(
    ("line", "operation"),
    [(f"- [/] ⛔ {TITLE}", Operation.UNBLOCK), (f"- [ ] ⛔ {TITLE}", Operation.CLAIM)],
)
def test_L6_a_write_that_the_lines_own_markers_would_undo_is_refused(
    case: TodoWriterCase, line: str, operation: Operation
) -> None:
    ref = case.add(line)
    with pytest.raises(UnsupportedError, match="it would be blocked"):
        apply(case, a_write(ref, operation))
    assert case.line(ref) == line


def test_L6_open_work_is_not_made_of_what_stands_under_done(case: TodoWriterCase) -> None:
    file = case.files[WORKER]
    file.write_bytes(file.read_bytes() + "\r\n## 已完成\r\n\r\n".encode())
    ref = case.add(f"- [/] {TITLE}")
    with pytest.raises(UnsupportedError, match="not todo"):
        apply(case, a_write(ref, Operation.RECOVER, status=Status.TODO))


def test_S9_a_plain_bullet_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "TODO.md"
    file.write_text(f"- 🚧 {TITLE}\n", encoding="utf-8")
    roster = make_roster(make_agent("coo", workspace=tmp_path))
    writer = build({"bullets": True}, roster, {})
    assert writer is not None
    (item,) = build_source({"bullets": True}, roster, {}).read(patience(), NOW).items
    seen = writer.look(item.ref, OWNER, patience(), NOW)
    assert seen.item == item
    with pytest.raises(UnsupportedError, match="plain bullet"):
        writer.apply(a_write(item.ref, Operation.COMMENT, text="x"), seen, patience(), NOW)
    assert file.read_text(encoding="utf-8") == f"- 🚧 {TITLE}\n"


def test_S6a_nobody_claims_a_line_that_is_somebody_elses(case: TodoWriterCase) -> None:
    ref = case.waiting(f"{TITLE} @{OTHER}")
    with pytest.raises(UnsupportedError, match=f"belongs to {OTHER}"):
        apply(case, a_write(ref, Operation.CLAIM, agent=WORKER))
    apply(case, a_write(ref, Operation.CLAIM, agent=OTHER))
    assert case.item(ref).status is Status.IN_PROGRESS


# What counts, and what does not.


@pytest.mark.parametrize("operation", [Operation.COMMENT, Operation.RECOVER, Operation.ATTACH])
def test_T9_our_annotation_changes_neither_the_id_nor_the_content(case: TodoWriterCase, operation: Operation) -> None:
    ref = case.work(TITLE)
    before = case.item(ref)
    for number in range(KEPT + 2):
        written = apply(case, a_write(ref, operation, f"key {number}", text="看一下 @architect ⏫ 🆔 x BIZ-1"))
        assert written.evidence_ids == ()
        assert case.item(ref) == before


def test_T2_the_revision_that_our_change_of_the_box_left_is_ours(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    before = case.item(ref)
    written = apply(case, a_write(ref, Operation.BLOCK, text="停"))
    after = case.item(ref)
    assert after.revision != before.revision
    assert written.evidence_ids == (after.revision,)


@pytest.mark.parametrize("operation", [Operation.COMMENT, Operation.DONE])
def test_T2_what_an_agent_says_or_does_through_us_is_its_own_and_news(
    case: TodoWriterCase, operation: Operation
) -> None:
    ref = case.work(TITLE)
    before = case.item(ref)
    written = apply(case, a_write(ref, operation, text="写到一半", voice=Voice.AGENT))
    assert written.evidence_ids == ()
    assert case.item(ref).revision != before.revision
    assert signature(case.texts(ref)[-1]) == (Voice.AGENT, marker_of("key"))


def test_T2_when_ours_pushes_an_agents_words_out_that_change_is_ours(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    apply(case, a_write(ref, Operation.COMMENT, "agent", text="写到一半", voice=Voice.AGENT))
    for number in range(KEPT - 1):
        assert apply(case, a_write(ref, Operation.COMMENT, f"rule {number}", text="x")).evidence_ids == ()
    written = apply(case, a_write(ref, Operation.COMMENT, "last", text="x"))
    assert written.evidence_ids == (case.item(ref).revision,)


def test_T9_only_the_newest_annotations_stay_and_other_peoples_comments_all_do(case: TodoWriterCase) -> None:
    ref = case.work(f"{TITLE} <!-- mine --> <!-- heartbeat: by hand -->")
    for number in range(KEPT + 3):
        apply(case, a_write(ref, Operation.COMMENT, f"key {number}", text=f"第 {number} 次"))
    kept = [f"<!-- heartbeat: 第 {number} 次 [hb:{marker_of(f'key {number}')}] -->" for number in (3, 4, 5)]
    assert case.line(ref) == f"- [/] {TITLE} <!-- mine --> <!-- heartbeat: by hand --> {' '.join(kept)}"


@given(text=st.text(max_size=60), title=st.text(alphabet="ab `<!->[]*_@中\\", min_size=1, max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_B8_whatever_is_said_on_whatever_line_stays_a_comment_on_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, title: str
) -> None:
    with open_case(tmp_path_factory.mktemp("case")) as case:
        file = case.files[WORKER]
        file.write_bytes(f"- [/] x{title}\r\n- [ ] next\r\n".encode())
        items = case.read().items
        ref = items[0].ref
        if has_open_comment(title):
            with pytest.raises(TransportError, match="does not close"):
                apply(case, a_write(ref, Operation.RECOVER, text=text))
            assert file.read_bytes().decode() == f"- [/] x{title}\r\n- [ ] next\r\n"
            return
        apply(case, a_write(ref, Operation.RECOVER, text=text))
        assert case.read().items == items
        assert look(case, ref).markers == {marker_of("key")}


def test_a_long_text_is_cut_and_keeps_its_marker(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    apply(case, a_write(ref, Operation.COMMENT, text="很长" * LONGEST))
    (said,) = case.texts(ref)
    assert said == f"{('很长' * LONGEST)[: LONGEST - 1]}… [hb:{marker_of('key')}]"


# At least once, visible once; and never over somebody else's words.


@pytest.mark.parametrize("operation", sorted(TodoWriterCase.operations))
def test_L4_a_write_that_is_repeated_leaves_one_effect(case: TodoWriterCase, operation: Operation) -> None:
    ref = case.work(TITLE)
    write = a_write(ref, operation, text="一次", status=Status.TODO)
    first = apply(case, write)
    content = case.files[WORKER].read_bytes()
    again = apply(case, write)
    assert case.files[WORKER].read_bytes() == content
    assert {*first.evidence_ids} <= {*again.evidence_ids}, "what is ours is known after a lost answer too"


def test_L4_what_somebody_undid_after_us_is_not_done_again(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    write = a_write(ref, Operation.BLOCK, text="停")
    apply(case, write)
    case.change(ref, lambda line: line.replace("[!]", "[/]"))
    assert apply(case, write).evidence_ids == ()
    assert case.item(ref).status is Status.IN_PROGRESS


EDITS: list[Callable[[str], str]] = [
    lambda line: line.replace("[/]", "[x]"),
    lambda line: f"{line} 📅 2026-12-24",
    lambda line: f"{line} @{OTHER}",
    lambda line: f"{line} <!-- 在做 -->",
    lambda line: f"{line} <!-- heartbeat: 在做 [via hb:0123456789ab] -->",
    lambda line: line.replace(TITLE, "写月报"),
    lambda line: "",
]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("operation", [Operation.COMMENT, Operation.RECOVER, Operation.DONE])
def test_L6_a_line_that_somebody_changed_since_the_look_is_left_alone(
    case: TodoWriterCase, edit: Callable[[str], str], operation: Operation
) -> None:
    ref = case.work(TITLE)
    seen = look(case, ref)
    case.change(ref, edit)
    content = case.files[WORKER].read_bytes()
    with pytest.raises(ConflictError) as conflict:
        apply(case, a_write(ref, operation, text="x"), seen)
    assert conflict.value.advice
    assert case.files[WORKER].read_bytes() == content


def test_L6_a_write_to_what_the_look_did_not_find_is_a_conflict(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    with pytest.raises(ConflictError, match="not there any more"):
        apply(case, a_write(ref, Operation.COMMENT, text="x"), Look(None))


def test_S9_a_line_that_only_moved_is_found_again(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    seen = look(case, ref)
    file = case.files[WORKER]
    file.write_bytes("- [ ] 插队\r\n".encode() + file.read_bytes())
    apply(case, a_write(ref, Operation.BLOCK, text="停"), seen)
    assert file.read_bytes().startswith("- [ ] 插队\r\n# 待办".encode())
    assert case.item(ref).status is Status.BLOCKED


def test_L6_a_file_that_is_written_to_in_the_last_moment_is_a_conflict(
    case: TodoWriterCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = case.work(TITLE)
    file = case.files[WORKER]
    write = editing._write

    def late(folder: int, name: str, content: bytes, like: os.stat_result) -> None:
        write(folder, name, content, like)
        file.write_bytes(file.read_bytes() + b"- [ ] more\r\n")

    monkeypatch.setattr(editing, "_write", late)
    with pytest.raises(ConflictError, match="meanwhile"):
        apply(case, a_write(ref, Operation.BLOCK, text="停"))
    assert case.line(ref) == f"- [/] {TITLE}"
    assert file.read_bytes().endswith(b"- [ ] more\r\n")


def test_B7_a_file_that_may_not_be_written_is_a_failure_and_no_conflict(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    file = case.files[WORKER]
    file.chmod(0o444)
    with pytest.raises(TransportError, match="read-only") as refusal:
        apply(case, a_write(ref, Operation.BLOCK, text="停"))
    assert not isinstance(refusal.value, ConflictError)
    assert (refusal.value.outcome_unknown, bool(refusal.value.advice)) == (False, True)


def test_B7_an_unclosed_comment_is_a_failure_and_no_conflict(case: TodoWriterCase) -> None:
    ref = case.work(f"{TITLE} <!-- open")
    with pytest.raises(TransportError, match="does not close") as refusal:
        apply(case, a_write(ref, Operation.COMMENT, text="x"))
    assert not isinstance(refusal.value, ConflictError)
    assert "TODO.md:" in str(refusal.value)


def test_B7_a_change_that_may_not_outlast_a_power_failure_is_looked_for_before_it_is_repeated(
    case: TodoWriterCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = case.work(TITLE)
    write = a_write(ref, Operation.BLOCK, text="停")
    real = os.fsync

    def failing(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a descriptor, not a path
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(TransportError, match="power failure") as failure:
        apply(case, write)
    assert failure.value.outcome_unknown
    assert look(case, ref).markers == {write.marker}


def test_S4_nothing_is_written_after_the_deadline(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    seen = look(case, ref)
    with pytest.raises(TransportError) as failure:
        case.writer.apply(a_write(ref, Operation.BLOCK, text="停"), seen, Deadline.after(0.0), NOW)
    assert failure.value.kind is FailureKind.TIMEOUT
    assert case.line(ref) == f"- [/] {TITLE}"


def test_M3_two_lines_that_say_the_same_are_told_apart(case: TodoWriterCase) -> None:
    first, second = case.work(TITLE), case.work(TITLE)
    assert first != second
    apply(case, a_write(second, Operation.DONE))
    assert (case.item(first).status, case.item(second).status) == (Status.IN_PROGRESS, Status.DONE)


def test_T7_a_file_knows_of_no_runs_and_no_claims_whoever_is_asked_about(case: TodoWriterCase) -> None:
    ref = case.work(TITLE)
    for owner in (OWNER, NOBODY, Owner(OwnerKind.PERSON, "Alice")):
        seen = case.writer.look(ref, owner, patience(), NOW)
        assert (seen.active, seen.claimant) == (False, "")
        assert isinstance(seen.item, Item)
