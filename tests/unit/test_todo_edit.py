"""Changing one line of a task list and no other byte (rules S9, T9, B7)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat.errors import CannotWriteError, Exit
from heartbeat.systems.todo.edit import (
    EditRefusedError,
    LineChangedError,
    annotate,
    edit_line,
    keep_annotations,
    set_box,
)
from heartbeat.systems.todo.inline import without_annotations
from heartbeat.systems.todo.markdown import line_spans, read_tasks
from tests.support.markdown_texts import files

tick = partial(set_box, character="x")


def write(root: Path, data: bytes, name: str = "TODO.md") -> Path:
    path = root / name
    path.write_bytes(data)
    return path


def edit(root: Path, data: bytes, number: int, change: Callable[[bytes], bytes] = tick) -> bytes:
    """The file's bytes after an edit of the given line, as it stands in `data`."""
    path = write(root, data)
    start, end = line_spans(data)[number - 1]
    edit_line(root, "TODO.md", number, data[start:end], change)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [
        (b"- [ ] a\n- [ ] b\n", 2, b"- [ ] a\n- [x] b\n"),
        (b"- [ ] a\r\n- [ ] b\r\n", 1, b"- [x] a\r\n- [ ] b\r\n"),
        (b"- [ ] a\r- [ ] b", 2, b"- [ ] a\r- [x] b"),
        (b"\xef\xbb\xbf- [ ] a", 1, b"\xef\xbb\xbf- [x] a"),
        (b"1.\t[/] \xe4\xb8\xad\xff\n", 1, b"1.\t[x] \xe4\xb8\xad\xff\n"),
        ("- [🚧] a\n".encode(), 1, b"- [x] a\n"),
        (b"- [\x00] a\n", 1, b"- [x] a\n"),
        (b"- [ ] [ ] a\n", 1, b"- [x] [ ] a\n"),
        (b"- 2) [ ] a\n", 1, b"- 2) [x] a\n"),
        (b"```\n- [ ] no\n```\n   + [ ] yes   \n", 4, b"```\n- [ ] no\n```\n   + [x] yes   \n"),
    ],
)
def test_S9_a_box_is_ticked_and_nothing_else_changes(tmp_path: Path, before: bytes, number: int, after: bytes) -> None:
    assert edit(tmp_path, before, number) == after


@given(files(), st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_S9_an_edit_changes_one_lines_bytes_in_any_file(tmp_path: Path, data: bytes, draws: st.DataObject) -> None:
    tasks = read_tasks(data).tasks
    if not tasks or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return  # the second is UTF-16, which is refused
    task = draws.draw(st.sampled_from(tasks))
    line = data[task.start : task.end]
    change = draws.draw(st.sampled_from([tick, partial(set_box, character="⛔"), partial(annotate, text="seen")]))
    if b"<!--" in line and change.func is annotate:
        return
    changed = edit(tmp_path, data, task.line, change)
    assert changed == data[: task.start] + change(line) + data[task.end :]
    assert changed[: task.start] == data[: task.start]
    assert changed[len(changed) - len(data) + task.end :] == data[task.end :]
    assert [(one.line, one.text) for one in read_tasks(changed).tasks if one.line != task.line] == [
        (one.line, one.text) for one in tasks if one.line != task.line
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["TODO.md"]


@pytest.mark.parametrize(
    ("line", "annotated"),
    [
        (b"- [ ] a\n", b"- [ ] a <!-- heartbeat: seen -->\n"),
        (b"- [ ] a", b"- [ ] a <!-- heartbeat: seen -->"),
        (b"- [ ] a  \r\n", b"- [ ] a <!-- heartbeat: seen -->  \r\n"),
        (b"- [ ] a <!-- b -->\r", b"- [ ] a <!-- b --> <!-- heartbeat: seen -->\r"),
        (b"- [ ] `<!--`\n", b"- [ ] `<!--` <!-- heartbeat: seen -->\n"),
    ],
)
def test_T9_an_annotation_stands_at_the_end_of_its_line_once(line: bytes, annotated: bytes) -> None:
    assert annotate(line, "seen") == annotated
    assert annotate(annotated, "seen") == annotated
    assert annotate(annotated, "again") != annotated


SIGNED = "<!-- heartbeat: {} [hb:0123456789ab] -->"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"- [ ] a {SIGNED.format(1)} {SIGNED.format(2)} {SIGNED.format(3)}\n",
            f"- [ ] a {SIGNED.format(2)} {SIGNED.format(3)}\n",
        ),
        (
            f"- [ ] a {SIGNED.format(1)} b {SIGNED.format(2)}  {SIGNED.format(3)}  \r\n",
            f"- [ ] a b {SIGNED.format(2)}  {SIGNED.format(3)}  \r\n",
        ),
        (f"- [ ] {SIGNED.format(1)} {SIGNED.format(2)}", f"- [ ] {SIGNED.format(1)} {SIGNED.format(2)}"),
        (
            f"- [ ] `{SIGNED.format(1)}` {SIGNED.format(2)} {SIGNED.format(3)}",
            f"- [ ] `{SIGNED.format(1)}` {SIGNED.format(2)} {SIGNED.format(3)}",
        ),
        (
            f"- [ ] <!-- heartbeat: 1 --> {SIGNED.format(2)} {SIGNED.format(3)}",
            f"- [ ] <!-- heartbeat: 1 --> {SIGNED.format(2)} {SIGNED.format(3)}",
        ),
        ("- [ ] a\n", "- [ ] a\n"),
    ],
)
def test_T9_old_annotations_go_and_what_we_did_not_sign_stays(before: str, after: str) -> None:
    raw = b"\xff" + before.encode()
    assert keep_annotations(raw, 2) == b"\xff" + after.encode()


@given(st.text())
def test_B8_no_text_gets_out_of_an_annotation(text: str) -> None:
    annotated = annotate(b"- [ ] a `b\n", text).decode()
    assert annotated.count("-->") == annotated.count("<!--") == 1
    assert "--" not in annotated.removesuffix(" -->\n").partition("<!--")[2]
    assert annotated.count("\n") == 1
    assert len(line_spans(annotated.encode())) == 1
    assert annotated.count("`") == 1
    assert without_annotations(annotated) == "- [ ] a `b"


def test_T9_an_open_comment_would_swallow_an_annotation() -> None:
    with pytest.raises(EditRefusedError, match="does not close"):
        annotate(b"- [ ] a <!-- b\n", "seen")


@pytest.mark.parametrize("line", [b"a\n", b"-[ ] a\n", b"> - [ ] a\n", b"- [xx xx xx] a\n", b""])
def test_S9_a_line_without_a_box_cannot_be_ticked(line: bytes) -> None:
    with pytest.raises(EditRefusedError):
        set_box(line, "x")


@pytest.mark.parametrize("character", ["", "xx", "[", "]", "\n", "\x1b"])
def test_S9_not_everything_stands_in_a_box(character: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a box"):
        set_box(b"- [ ] a\n", character)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, b"- [ ] a"), (1, b"- [x] a\n"), (2, b"- [ ] a\n"), (0, b"- [ ] b\n"), (3, b""), (-1, b"- [ ] b\n")],
)
def test_S9_a_line_that_changed_since_it_was_read_is_left_alone(tmp_path: Path, number: int, expected: bytes) -> None:
    path = write(tmp_path, b"- [ ] a\n- [ ] b\n")
    with pytest.raises(LineChangedError, match="changed since it was read") as refusal:
        edit_line(tmp_path, "TODO.md", number, expected, tick)
    assert refusal.value.exit_code is Exit.CANNOT_WRITE
    assert f"{path}:{number}" in str(refusal.value)
    assert path.read_bytes() == b"- [ ] a\n- [ ] b\n"


@pytest.mark.parametrize("data", [b"```\n- [ ] a\n```\n", b"<!--\n- [ ] a\n-->\n", b"text\n- a\n"])
def test_S9_a_line_that_is_no_task_any_more_is_left_alone(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EditRefusedError, match="is not a task"):
        edit(tmp_path, data, 2, lambda line: line.replace(b"a", b"b"))
    assert (tmp_path / "TODO.md").read_bytes() == data


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line + b"- [ ] more\n",
        lambda line: line.rstrip(),
        lambda line: line.rstrip() + b"\r\n",
        lambda line: b"",
        lambda line: b"<!-- " + line,
        lambda line: b"```\n",
        lambda line: b"  " + line,
        lambda line: b"plain text\n",
    ],
)
def test_S9_a_change_that_would_touch_more_than_its_line_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    data = b"- [ ] a\n- [ ] b\n- [ ] c\n"
    with pytest.raises(EditRefusedError, match="the change would") as refusal:
        edit(tmp_path, data, 2, change)
    assert not isinstance(refusal.value, LineChangedError)
    assert (tmp_path / "TODO.md").read_bytes() == data


def test_S9_no_change_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, b"- [x] a\n")
    before = path.stat()
    assert edit_line(tmp_path, "TODO.md", 1, b"- [x] a\n", tick) == b"- [x] a\n"
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o4755])
def test_S9_the_mode_and_the_owner_stay(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, b"- [ ] a\n")
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    path.chmod(mode)
    before = path.stat()
    edit_line(tmp_path, "TODO.md", 1, b"- [ ] a\n", tick)
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == mode
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_S9_the_new_line_is_returned_and_a_link_within_the_workspace_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    write(tmp_path / "docs", b"- [ ] a\n")
    (tmp_path / "TODO.md").symlink_to("docs/TODO.md")
    assert edit_line(tmp_path, "TODO.md", 1, b"- [ ] a\n", tick) == b"- [x] a\n"
    assert (tmp_path / "TODO.md").is_symlink()
    assert (tmp_path / "docs/TODO.md").read_bytes() == b"- [x] a\n"


def test_an_edit_refusal_is_one_of_ours() -> None:
    assert issubclass(EditRefusedError, CannotWriteError)
