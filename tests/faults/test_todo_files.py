"""Workspaces that are broken, hostile, or written to while they are read (rules S2, S4, S9, B7, B8)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import CannotWriteError
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.systems.todo import edit as edit_module
from heartbeat.systems.todo import files as files_module
from heartbeat.systems.todo import source as source_module
from heartbeat.systems.todo.edit import EditRefusedError, edit_line, set_box
from heartbeat.systems.todo.source import build
from tests.contract.suite import NOW
from tests.support.rosters import make_agent, make_roster

tick = partial(set_box, character="x")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with one good file, GOOD.md, beside whatever a test puts at TODO.md."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "GOOD.md").write_text("- [ ] good\n", encoding="utf-8")
    return root


def read(root: Path, *, seconds: float = 30.0, **settings: Any) -> Reading:
    roster = make_roster(make_agent("coo", workspace=root))
    return build({"files": ["TODO.md", "GOOD.md"], **settings}, roster, {}).read(Deadline.after(seconds), NOW)


def put_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(os.path.relpath(path))


BAD_ENTRIES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a socket": put_socket,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link out of the workspace": lambda path: path.symlink_to("/etc/hostname"),
    "a relative link out of it": lambda path: path.symlink_to("../outside.md"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere.md"),
    "a link to itself": lambda path: path.symlink_to("TODO.md"),
    "a link to our own output": lambda path: path.symlink_to("HEARTBEAT.md"),
}


@pytest.mark.parametrize("name", list(BAD_ENTRIES))
def test_S9_what_is_no_file_of_the_workspace_is_refused_by_name_and_the_rest_is_read(
    workspace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    (workspace.parent / "outside.md").write_text("- [ ] outside\n", encoding="utf-8")
    (workspace / "HEARTBEAT.md").write_text("- [ ] a check\n", encoding="utf-8")
    BAD_ENTRIES[name](workspace / "TODO.md")
    reading = read(workspace)
    assert [item.title for item in reading.items] == ["good"]
    assert (reading.report.status, reading.report.kind) == (ReadStatus.PARTIAL, FailureKind.INCOMPLETE)
    assert str(workspace / "TODO.md") in reading.report.message


@pytest.mark.parametrize("name", list(BAD_ENTRIES))
def test_S9_what_is_no_file_of_the_workspace_is_never_edited(
    workspace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    outside = workspace.parent / "outside.md"
    outside.write_text("- [ ] outside\n", encoding="utf-8")
    (workspace / "HEARTBEAT.md").write_text("- [ ] outside\n", encoding="utf-8")
    BAD_ENTRIES[name](workspace / "TODO.md")
    with pytest.raises(EditRefusedError):
        edit_line(workspace, "TODO.md", 1, b"- [ ] outside\n", tick)
    assert outside.read_text(encoding="utf-8") == "- [ ] outside\n"


def test_S9_a_folder_that_links_out_of_the_workspace_leads_nowhere(workspace: Path) -> None:
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "TODO.md").write_text("- [ ] outside\n", encoding="utf-8")
    (workspace / "docs").symlink_to(outside)
    for pattern in ("docs/TODO.md", "docs/*.md", "*/TODO.md"):
        reading = read(workspace, files=["GOOD.md", pattern])
        assert [item.title for item in reading.items] == ["good"]
        assert reading.report.status is ReadStatus.PARTIAL
    everywhere = read(workspace, files=["**/*.md"])
    assert [item.title for item in everywhere.items] == ["good"]
    assert everywhere.report.status is ReadStatus.COMPLETE, "** does not follow links to folders"


def test_S9_links_in_a_circle_are_not_followed_for_ever(workspace: Path) -> None:
    (workspace / "a").mkdir()
    (workspace / "a/b").symlink_to("..")
    (workspace / "loop").symlink_to("loop")
    reading = read(workspace, files=["**/*.md", "*/*/*.md"])
    assert [item.title for item in reading.items] == ["good"]
    assert reading.report.status is ReadStatus.COMPLETE


def test_S9_a_file_swapped_for_a_fifo_after_the_look_does_not_hang(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")
    look = files_module._check_regular

    def look_and_swap(status: os.stat_result, told: Path) -> None:
        look(status, told)
        if told == path and path.is_file():
            path.unlink()
            os.mkfifo(path)

    monkeypatch.setattr(files_module, "_check_regular", look_and_swap)
    reading = read(workspace)
    assert reading.report.status is ReadStatus.PARTIAL
    assert "not a regular file" in reading.report.message


def test_S9_a_folder_swapped_for_a_link_after_the_look_is_not_followed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "TODO.md").write_text("- [ ] outside\n", encoding="utf-8")
    (workspace / "docs").mkdir()
    (workspace / "docs/TODO.md").write_text("- [ ] inside\n", encoding="utf-8")
    resolve = os.path.realpath

    def resolve_and_swap(path: Any, **options: Any) -> Any:
        resolved = resolve(path, **options)
        if str(resolved).endswith("docs/TODO.md"):
            (workspace / "docs").rename(workspace / "moved")
            (workspace / "docs").symlink_to(outside)
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
    reading = read(workspace, files=["GOOD.md", "docs/TODO.md"])
    assert [item.title for item in reading.items] == ["good"]
    assert reading.report.status is ReadStatus.PARTIAL
    assert "became a link" in reading.report.message


def failing_open(path_end: str, number: int) -> Callable[..., int]:
    """os.open, save that files whose name ends so cannot be opened."""
    original = os.open

    def attempt(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(path_end):
            raise OSError(number, os.strerror(number))
        return original(path, flags, *arguments, **options)

    return attempt


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, FailureKind.AUTH), (errno.EIO, FailureKind.UNREACHABLE), (errno.ESTALE, FailureKind.UNREACHABLE)],
)
def test_S2_an_unreadable_file_is_an_outage_and_not_an_empty_list(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: FailureKind
) -> None:
    (workspace / "TODO.md").write_text("- [ ] a\n", encoding="utf-8")
    monkeypatch.setattr(os, "open", failing_open("TODO.md", number))
    partial_reading = read(workspace)
    assert [item.title for item in partial_reading.items] == ["good"]
    assert partial_reading.report.status is ReadStatus.PARTIAL
    assert f"{workspace / 'TODO.md'}: {os.strerror(number)}" in partial_reading.report.message
    alone = read(workspace, files=["TODO.md"])
    assert (alone.report.status, alone.report.kind, alone.items) == (ReadStatus.FAILED, kind, ())
    assert alone.report.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("pattern", ["TODO.md", "*.md", "**/TODO.md", "docs/TODO.md"])
def test_S2_a_workspace_that_may_not_be_entered_is_an_outage(workspace: Path, pattern: str) -> None:
    workspace.chmod(0)
    try:
        assert read(workspace, files=[pattern]).report.status is ReadStatus.FAILED
    finally:
        workspace.chmod(0o700)


@pytest.mark.parametrize("pattern", ["**/*.md", "docs/*.md"])
def test_S2_a_folder_that_cannot_be_listed_is_an_outage(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    (workspace / "docs").mkdir()
    original = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).rstrip("/").endswith("docs"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    reading = read(workspace, files=["GOOD.md", pattern])
    assert [item.title for item in reading.items] == ["good"]
    assert reading.report.status is ReadStatus.PARTIAL
    assert "docs" in reading.report.message


def test_S2_a_file_that_cannot_be_looked_at_is_an_outage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path.name == "TODO.md":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return original(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert read(workspace).report.status is ReadStatus.PARTIAL


def test_S3_whose_part_is_missing_is_told_where_only_some_workspaces_could_not_be_read(tmp_path: Path) -> None:
    agents = [make_agent(name, workspace=tmp_path / name) for name in ("coo", "dev", "ops")]
    for name in ("coo", "ops"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "TODO.md").write_text("- [ ] one\n")
    (tmp_path / "ops" / "TODO.md").write_bytes(b"\xff\xfe-\x00 \x00")
    source = build({}, make_roster(*agents, path=tmp_path / "agents.yaml"), {})
    report = source.read(Deadline.after(30), NOW).report
    assert (report.status, report.agents) == (ReadStatus.PARTIAL, ("dev", "ops"))
    (tmp_path / "dev").mkdir()
    (tmp_path / "ops" / "TODO.md").write_text("- [ ] one\n")
    report = source.read(Deadline.after(30), NOW).report
    assert (report.status, report.agents) == (ReadStatus.COMPLETE, ())


def test_S4_at_the_deadline_what_was_read_is_kept_and_the_rest_is_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "TODO.md").write_text("- [ ] a\n", encoding="utf-8")
    left = iter([30.0, 30.0, 30.0])  # for each of the two names, and for the first file
    monkeypatch.setattr(Deadline, "left", lambda deadline: next(left, 0.0))
    reading = read(workspace)
    assert [item.title for item in reading.items] == ["a"]
    assert reading.report.status is ReadStatus.PARTIAL
    assert f"{workspace / 'GOOD.md'} was not read before the deadline" in reading.report.message


def test_S4_nothing_read_before_the_deadline_is_a_timeout(workspace: Path) -> None:
    reading = read(workspace, seconds=0.0)
    assert (reading.report.status, reading.report.kind) == (ReadStatus.FAILED, FailureKind.TIMEOUT)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"\xff\xfe-\x00 \x00", FailureKind.BAD_OUTPUT, "UTF-16"),
        (b"\n" * (files_module.MAXIMUM_LINES + 1), FailureKind.TOO_LARGE, "lines"),
        (b"\r" * (files_module.MAXIMUM_LINES + 1), FailureKind.TOO_LARGE, "lines"),
    ],
)
def test_S9_a_file_that_is_no_list_for_people_is_refused(
    workspace: Path, content: bytes, kind: FailureKind, words: str
) -> None:
    (workspace / "TODO.md").write_bytes(content)
    assert read(workspace).report.status is ReadStatus.PARTIAL
    alone = read(workspace, files=["TODO.md"]).report
    assert (alone.status, alone.kind) == (ReadStatus.FAILED, kind)
    assert words in alone.message


def test_S9_a_file_beyond_the_limit_is_refused_unread(workspace: Path) -> None:
    with (workspace / "TODO.md").open("wb") as file:
        file.truncate(files_module.MAXIMUM_BYTES + 1)
    report = read(workspace, files=["TODO.md"]).report
    assert (report.status, report.kind) == (ReadStatus.FAILED, FailureKind.TOO_LARGE)
    assert "16 MiB" in report.message
    assert report.advice


def test_S9_a_file_that_grows_while_it_is_read_is_read_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")
    looks = []
    same = files_module.unchanged

    def write_meanwhile(before: os.stat_result, after: os.stat_result) -> bool:
        looks.append(after)
        if len(looks) == 1:
            with path.open("a", encoding="utf-8") as file:
                file.write("- [ ] b\n")
            return same(before, path.stat())
        return same(before, after)

    monkeypatch.setattr(files_module, "unchanged", write_meanwhile)
    reading = read(workspace, files=["TODO.md"])
    assert [item.title for item in reading.items] == ["a", "b"]


def test_S9_a_file_that_never_stands_still_is_an_outage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "TODO.md").write_text("- [ ] a\n", encoding="utf-8")
    monkeypatch.setattr(files_module, "unchanged", lambda before, after: False)
    report = read(workspace, files=["TODO.md"]).report
    assert (report.status, report.kind) == (ReadStatus.FAILED, FailureKind.INCOMPLETE)


def test_S2_a_file_on_which_the_parser_fails_hides_no_other(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "TODO.md").write_text("- [ ] a\n", encoding="utf-8")
    original = source_module.read_tasks

    def fail(data: bytes, *, bullets: bool) -> Any:
        if b"good" in data:
            return original(data, bullets=bullets)
        raise IndexError("string index out of range")

    monkeypatch.setattr(source_module, "read_tasks", fail)
    reading = read(workspace)
    assert [item.title for item in reading.items] == ["good"]
    assert "IndexError: string index out of range" in reading.report.message


def test_B8_file_names_that_are_no_utf8_can_be_stored_and_printed(workspace: Path) -> None:
    try:
        (workspace / os.fsdecode(b"caf\xe9.txt")).write_text("- [ ] a 🆔 x\n", encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes no such names")
    (item,) = read(workspace, files=["*.txt"]).items
    assert item.ref.id.encode().decode() == "coo/caf�.txt#x"


def test_S9_a_task_edited_between_our_reading_and_our_renaming_is_left_alone(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")
    write = edit_module._write

    def write_meanwhile(*arguments: Any) -> None:
        write(*arguments)
        path.write_text("- [ ] a\n- [ ] b\n", encoding="utf-8")

    monkeypatch.setattr(edit_module, "_write", write_meanwhile)
    with pytest.raises(EditRefusedError, match="meanwhile"):
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    assert path.read_text(encoding="utf-8") == "- [ ] a\n- [ ] b\n"
    assert sorted(entry.name for entry in workspace.iterdir()) == ["GOOD.md", "TODO.md"]


@pytest.mark.parametrize("call", ["fsync", "rename", "open", "fchmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_B7_whatever_fails_while_writing_leaves_the_file_as_it_was(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing_open(".tmp", number) if call == "open" else fail)
    with pytest.raises(CannotWriteError, match=os.strerror(number)) as refusal:
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    assert not isinstance(refusal.value, EditRefusedError)
    assert refusal.value.advice
    assert path.read_text(encoding="utf-8") == "- [ ] a\n"
    assert sorted(entry.name for entry in workspace.iterdir()) == ["GOOD.md", "TODO.md"]


@pytest.mark.parametrize(
    ("number", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)], ids=errno.errorcode.get
)
def test_B7_a_folder_that_cannot_be_synced_is_told_where_it_matters(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if fails:
        with pytest.raises(CannotWriteError, match="power failure"):
            edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    else:
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    assert path.read_text(encoding="utf-8") == "- [x] a\n"
    assert len(calls) == 2


def test_S9_a_read_only_file_and_one_with_two_names_are_not_replaced(workspace: Path) -> None:
    path = workspace / "TODO.md"
    path.write_text("- [ ] a\n", encoding="utf-8")
    path.chmod(0o444)
    with pytest.raises(EditRefusedError, match="read-only"):
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    path.chmod(0o644)
    os.link(path, workspace / "twin.md")
    with pytest.raises(EditRefusedError, match="2 names"):
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    assert path.read_text(encoding="utf-8") == "- [ ] a\n"


def test_S9_a_file_that_is_gone_is_not_made_anew(workspace: Path) -> None:
    with pytest.raises(EditRefusedError, match="gone"):
        edit_line(workspace, "TODO.md", 1, b"- [ ] a\n", tick)
    assert not (workspace / "TODO.md").exists()
