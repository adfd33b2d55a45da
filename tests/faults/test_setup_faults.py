"""Set-up where files are broken, in the way, or change under its hands."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.setup import new_file, old_files
from heartbeat.setup.legacy import parse
from heartbeat.setup.new_file import create, refuse_existing
from heartbeat.setup.old_files import gather
from tests.support.command import tree
from tests.support.hand_written import CREW, in_one, write

BROKER = write(next(sheet for sheet in CREW if sheet.id == "broker"))

# Hand-written files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "gbk"])
def test_a_file_in_any_encoding_of_its_time_says_the_same(encoding: str, tmp_path: Path) -> None:
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path = tmp_path / "HEARTBEAT.md"
    path.write_bytes(mark + BROKER.encode(encoding, "ignore"))
    (file,) = gather(tmp_path).files
    expected = parse(str(path), BROKER.encode(encoding, "ignore").decode(encoding))[0][0]
    assert (file.said, file.checks, file.notes) == (expected.said, expected.checks, expected.notes)
    assert (file.name, file.class_id) == ("易安", "business")


@pytest.mark.parametrize(
    "text",
    [
        "# HEARTBEAT.md - 狗(gou)\n\n业务类代理，每 3 小时巡检。\n",
        "# heartbeat - 狗(gou)\n\nevery 3 hours ✅\n",
        "# HEARTBEAT.md - 龍馬(longma)\n\n業務類代理，每 3 小時巡檢，龘。\n",
    ],
)
def test_a_short_gb18030_file_is_read_whatever_its_words_are(text: str, tmp_path: Path) -> None:
    (tmp_path / "HEARTBEAT.md").write_bytes(text.encode("gb18030"))
    (file,) = gather(tmp_path).files
    assert file == replace(parse(file.path, text)[0][0], workspace=file.workspace)


@pytest.mark.parametrize(
    "content",
    [
        "# HEARTBEAT.md - Jörg(joerg)\n\nfür die Prüfung\n".encode("latin-1"),
        "# HEARTBEAT.md - 犬(inu)\n\n三時間ごとに見回りをする。\n".encode("shift-jis"),
        "# HEARTBEAT.md - 龍馬(longma)\n\n業務類代理，每三小時巡檢所有的任務。\n".encode("big5"),
        "# HEARTBEAT.md - 狗(gou)\n\n业务类代理，每 3 小时巡检。\n".encode()[:-3] + b"\n",
        "# HEARTBEAT.md - 狗(gou)\n\n心跳 \x01\x02\x03\x04\n".encode("gb18030"),
    ],
    ids=["latin-1", "shift-jis", "big5", "cut utf-8", "control characters"],
)
def test_text_in_another_encoding_is_not_taken_for_gb18030(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "HEARTBEAT.md").write_bytes(content)
    with pytest.raises(UsageError, match="neither UTF-8, UTF-16 nor GB18030 text"):
        gather(tmp_path)


def test_utf_8_that_lost_a_byte_is_never_taken_for_gb18030() -> None:
    whole = BROKER.encode()
    broken = [whole[:place] + whole[place + 1 :] for place, byte in enumerate(whole) if byte > 0x7F]
    assert len(broken) > 500
    assert not any(map(old_files._decoded, broken))
    bare = "业务类代理每三小时巡检一次积压任务"
    for length in range(1, len(bare)):
        assert old_files._decoded(bare[:length].encode() + b"\xe4\xb8") is None, length


def test_a_file_of_any_name_that_is_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "HEARTBEAT.md").write_text(BROKER, "utf-8")
    (tmp_path / "x.md").write_bytes("# HEARTBEAT.md - Jörg(joerg)\n".encode("latin-1"))
    (tmp_path / "y.md").write_text("# HEARTBEAT.md\n", "utf-8")
    (tmp_path / "README.md").write_text("# What this is\n", "utf-8")
    gathered = gather(tmp_path)
    assert {Path(each.path).name: each.why.partition(";")[0].partition(":")[0] for each in gathered.refused} == {
        "x.md": "neither UTF-8, UTF-16 nor GB18030 text",
        "y.md": "it names no agent",
    }
    assert gathered.others == 1
    (tmp_path / "HEARTBEAT.md").unlink()
    with pytest.raises(
        UsageError, match=r"x\.md:1: neither(.|\n)*y\.md:1: (.|\n)*1 other Markdown file has no such heading"
    ):
        gather(tmp_path)


def test_every_cut_of_a_file_is_read_or_refused_and_what_it_lost_is_told() -> None:
    whole = parse("f", BROKER)[0][0]
    checklist = BROKER.index("1. ✅")  # how long a list was before it was cut, nobody can tell
    for length in range(0, len(BROKER), 3):
        files, refused = parse("f", BROKER[:length])
        assert len(files) + len(refused) == 1
        for file in files:
            assert file.notes or length > checklist
            assert set(file.said) <= set(whole.said)


def test_bytes_that_are_no_text_and_things_that_are_no_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(BROKER, "utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "HEARTBEAT.md").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff\xff")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "HEARTBEAT.md")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "HEARTBEAT.md").symlink_to("nowhere")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "HEARTBEAT.md").write_bytes(b"# HEARTBEAT.md - x(y)\n\0\n")
    gathered = gather(tmp_path)
    assert [file.id for file in gathered.files] == ["broker"]
    assert {Path(each.path).parent.name: each.why for each in gathered.refused} == {
        "a": "neither UTF-8, UTF-16 nor GB18030 text; save it as UTF-8",
        "b": "no regular file",
        "c": "cannot be read: No such file or directory",
        "d": "neither UTF-8, UTF-16 nor GB18030 text; save it as UTF-8",
    }


def test_a_file_that_is_too_large_and_a_directory_with_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "HEARTBEAT.md").write_text(BROKER, "utf-8")
    monkeypatch.setattr(old_files, "MOST_BYTES", 100)
    with pytest.raises(UsageError, match="larger than 0 MiB"):
        gather(tmp_path)
    monkeypatch.setattr(old_files, "MOST_FILES", 0)
    with pytest.raises(UsageError, match="more than 0 Markdown files"):
        gather(tmp_path)


def test_a_place_with_none_of_these_files_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "HEARTBEAT.md").write_text("# HEARTBEAT.md\n\n# Keep this file empty to skip heartbeats\n")
    with pytest.raises(UsageError, match=r"no hand-written HEARTBEAT\.md was found(.|\n)*it names no agent"):
        gather(tmp_path)
    for place in (tmp_path / "nowhere", Path("/dev/null/x"), Path("a\0b")):
        with pytest.raises(UsageError, match="cannot be read"):
            gather(place)


def test_packages_hidden_directories_and_what_lies_too_deep_are_passed_over(tmp_path: Path) -> None:
    for place in ("node_modules/x", ".git", "a/b/c/d/e", "a/b/c/d"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "HEARTBEAT.md").write_text(BROKER, "utf-8")
    assert [file.path for file in gather(tmp_path).files] == [str(tmp_path / "a/b/c/d/HEARTBEAT.md")]


def test_links_to_workspaces_are_followed_and_nothing_is_met_twice(tmp_path: Path) -> None:
    """A workspace that is kept elsewhere, a link back to the top, and a second name of a file."""
    real, top = tmp_path / "real" / "broker", tmp_path / "openclaw"
    real.mkdir(parents=True)
    (real / "HEARTBEAT.md").write_text(BROKER, "utf-8")
    top.mkdir()
    (top / "workspace-broker").symlink_to(real)
    (top / "again").symlink_to(top)
    (top / "second.md").symlink_to(real / "HEARTBEAT.md")
    gathered = gather(top)
    assert [(file.path, file.workspace) for file in gathered.files] == [
        (str(top / "workspace-broker" / "HEARTBEAT.md"), str(top / "workspace-broker"))
    ]
    assert gathered.notes == ()
    (tmp_path / "real" / "x.md").symlink_to(real / "HEARTBEAT.md")
    assert [file.path for file in gather(tmp_path).files] == [str(real / "HEARTBEAT.md")], "its own path before a link"


def test_what_was_not_entered_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "HEARTBEAT.md").write_text(BROKER, "utf-8")
    for place in ("a/b/c/d/e", "a/b/c/d/f", "closed"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "a/b/c/link").symlink_to("nowhere")
    scan = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    deep, closed = gather(tmp_path).notes
    assert deep == f"{tmp_path}: 2 directories were not entered, more than 4 deep: {tmp_path}/a/b/c/d/e and 1 more"
    assert closed == f"{tmp_path}/closed: was not entered: Permission denied"
    monkeypatch.setattr(old_files, "MOST_DIRECTORIES", 3)
    with pytest.raises(UsageError, match="more than 3 directories"):
        gather(tmp_path)


def test_a_long_line_and_a_large_document_are_read_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "all.md"
    path.write_text(in_one() + "超过" + " 30" * 300_000 + "\n" + "|" * 100_000 + "\n" + "`" * 100_000, "utf-8")
    assert len(gather(path).files) == len(CREW)


@pytest.mark.parametrize(
    "line",
    ["1-" * 1900, "1 - " * 950, f"心跳频率{' ' * 3900}1", "1 分钟 " * 700, "超过 30 分钟无进展" * 300, "| " * 1900],
)
def test_a_line_of_the_same_again_and_again_takes_no_longer_than_its_length(line: str) -> None:
    started = time.process_time()
    files, _ = parse("f", f"# HEARTBEAT.md - 甲（a）\n{line}\n| a | b |\n|---|---|\n| 心跳频率 | {line} |\n")
    assert files
    assert time.process_time() - started < 3, "what backtracks takes a minute here"


@pytest.mark.parametrize("number", ["9" * 400, "0." + "3" * 300, "٣٠", "1e9"])
def test_numbers_that_nobody_means_are_no_error(number: str) -> None:
    files, _ = parse("f", BROKER.replace("15 分钟", f"{number} 分钟").replace("30 轮", f"{number} 轮"))
    assert files


# Writing a roster


def test_whatever_has_the_name_already_is_never_overwritten(tmp_path: Path) -> None:
    for name, make in (
        ("file", lambda path: path.write_text("mine")),
        ("directory", Path.mkdir),
        ("link", lambda path: path.symlink_to("nowhere")),
    ):
        path = tmp_path / name
        make(path)
        before = tree(tmp_path)
        for refuse in (refuse_existing, lambda path: create(path, b"new")):
            with pytest.raises(UsageError, match="exists already"):
                refuse(path)
        assert tree(tmp_path) == before


def test_a_file_that_comes_to_exist_meanwhile_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agents.yaml"
    real = os.link

    def link(source: Path, target: Path, **options: object) -> None:
        path.write_text("theirs")
        real(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UsageError, match="exists already"):
        create(path, b"ours")
    assert tree(tmp_path) == {"agents.yaml": b"theirs"}


def test_a_file_system_without_hard_links_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "link", link)
    create(tmp_path / "new" / "agents.yaml", b"text")
    assert tree(tmp_path) == {"new": None, "new/agents.yaml": b"text"}
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / "new" / "agents.yaml", b"other")


@pytest.mark.parametrize("step", ["fsync", "write"])
def test_a_full_disk_leaves_nothing_behind(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(new_file, "_take_place", full)
    with pytest.raises(CannotWriteError, match="No space left") as refused:
        create(tmp_path / "agents.yaml", b"text")
    assert "make room" in refused.value.advice
    assert tree(tmp_path) == {}


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(CannotWriteError):
        create(tmp_path / "x" / "agents.yaml", b"text")
    assert tree(tmp_path) == {"x": b"mine"}
