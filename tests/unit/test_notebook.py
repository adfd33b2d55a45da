"""What the watchdog remembers, and where (rule B7)."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.watch.flips import Alarm, Alarms, Kind
from heartbeat.watch.notebook import Notebook, Post, Seen, Shelf, places
from tests.support.watching import BEGIN, MINUTE

BOOK = Notebook(
    number=7,
    state="/state",
    beaten=True,
    seen={"coo": Seen(BEGIN, "600+60")},
    alarms=Alarms(
        {"agent/coo": Alarm(Kind.DOWN, BEGIN, BEGIN + MINUTE, BEGIN + 2 * MINUTE, "receipt-1")},
        {"agent/coo": BEGIN, "store": BEGIN},
        BEGIN + 3 * MINUTE,
        BEGIN - MINUTE,
    ),
    posts=(Post("k", "critical", "题", "文\n二", BEGIN, ("ops",), ("feishu",)),),
    not_before={"ops": BEGIN + timedelta(hours=1)},
    team={"timezone": "UTC"},
)


def shelf(*directories: Path) -> Shelf:
    return Shelf(directories, "team")


def test_it_comes_back_as_it_went(tmp_path: Path) -> None:
    kept = shelf(tmp_path)
    assert kept.write(BOOK) == (tmp_path / "team.json", ())
    found, problems = shelf(tmp_path).read()
    assert (found, problems) == (replace(BOOK, number=1), ())


def test_the_number_goes_on_from_what_was_read(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        kept = shelf(tmp_path)
        kept.read()
        kept.write(BOOK)
        assert shelf(tmp_path).read()[0].number == number


def test_without_one_it_is_empty(tmp_path: Path) -> None:
    assert shelf(tmp_path / "none").read() == (Notebook(), ())


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    shelf(tmp_path / "new").write(BOOK)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "team.json").stat().st_mode & 0o777 == 0o600


def test_where_the_first_place_cannot_be_written_the_next_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("a file where a directory should be")
    path, problems = shelf(tmp_path / "first", tmp_path / "second").write(BOOK)
    assert path == tmp_path / "second" / "team.json"
    assert len(problems) == 1
    assert "first" in problems[0]


def test_where_no_place_can_be_written_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path, problems = shelf(tmp_path / "file", tmp_path / "file" / "below").write(BOOK)
    assert path is None
    assert len(problems) == 2


def test_what_was_written_last_counts_wherever_it_lies_and_the_others_go(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shelf(first).write(BOOK)
    aside = first.rename(tmp_path / "aside")
    first.write_text("")
    away = shelf(first, second)
    away.read()
    away.write(replace(BOOK, state="/later"))
    away.write(replace(BOOK, state="/latest"))
    first.unlink()
    aside.rename(first)
    both = shelf(first, second)
    assert both.read()[0].state == "/latest"
    both.write(replace(BOOK, state="/back"))
    assert not (second / "team.json").exists()
    assert shelf(first, second).read()[0].state == "/back"


GOOD = json.dumps({"format": 1})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"format": 99}', GOOD.encode(), b"\xff\xfe", b"[" * 100_000, b'"text"', b"7"],
)
def test_one_that_cannot_be_read_is_begun_anew_and_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "team.json").write_bytes(content)
    found, problems = shelf(tmp_path).read()
    assert found == Notebook()
    assert len(problems) == 1
    assert str(tmp_path / "team.json") in problems[0]


def test_every_cut_of_one_is_told_from_a_whole_one(tmp_path: Path) -> None:
    shelf(tmp_path).write(BOOK)
    whole = (tmp_path / "team.json").read_bytes()
    for length in range(0, len(whole), 17):
        (tmp_path / "team.json").write_bytes(whole[:length])
        assert shelf(tmp_path).read()[0] == Notebook()


def test_a_link_a_directory_and_a_fifo_are_not_read(tmp_path: Path) -> None:
    shelf(tmp_path / "real").write(BOOK)
    for name, make in (
        ("link", lambda path: path.symlink_to(tmp_path / "real" / "team.json")),
        ("directory", lambda path: path.mkdir()),
        ("fifo", lambda path: os.mkfifo(path)),
    ):
        (tmp_path / name).mkdir()
        make(tmp_path / name / "team.json")
        assert shelf(tmp_path / name).read()[0] == Notebook()


def test_a_directory_that_others_may_write_is_not_taken(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    path, problems = shelf(open_to_all, tmp_path / "own").write(BOOK)
    assert path == tmp_path / "own" / "team.json"
    assert "not ours alone" in problems[0]


def test_no_half_written_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = shelf(tmp_path)
    kept.write(BOOK)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heartbeat.watch.notebook.os.fsync", full)
    path, problems = kept.write(replace(BOOK, state="/lost"))
    assert path is None
    assert problems == (f"{tmp_path / 'team.json'}: No space left on device",)
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["team.json"]
    assert shelf(tmp_path).read()[0].state == "/state"


def test_it_lies_apart_from_every_rosters_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = places({"XDG_RUNTIME_DIR": str(tmp_path / "run")})
    assert found[0] == tmp_path / "state" / "heartbeat" / "watchdog"
    assert found[1].parent == tmp_path / "run"
    assert len(set(found)) == len(found) >= 3
    assert all(path.is_absolute() for path in places({"XDG_RUNTIME_DIR": "not/absolute"}))
