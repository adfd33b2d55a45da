"""What the watchdog remembers, and where (rule B7)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.watch import notebook
from heartbeat.watch.flips import Alarm, Alarms, Kind
from heartbeat.watch.notebook import POSTS, Notebook, Post, Seen, Shelf, places, with_post
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
        timedelta(seconds=70),
    ),
    memory=BEGIN - MINUTE,
    posts=(Post("k", "critical", "题", "文\n二", BEGIN, ("ops",), ("feishu",), ("agent/coo",), 3),),
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
    assert found[1] == tmp_path / "state" / "heartbeat-watchdog"
    assert found[2].parent == tmp_path / "run"
    assert len(set(found)) == len(found) >= 3
    assert all(path.is_absolute() for path in places({"XDG_RUNTIME_DIR": "not/absolute"}))


# Apart from what is watched.


def test_nothing_is_written_below_what_is_watched(tmp_path: Path) -> None:
    state = tmp_path / "heartbeat"
    kept = shelf(state / "watchdog", tmp_path / "heartbeat-watchdog")
    kept.keep_apart(state)
    assert kept.write(BOOK)[0] == tmp_path / "heartbeat-watchdog" / "team.json"
    assert kept.locks == (tmp_path / "heartbeat-watchdog" / "team.lock",)
    assert not state.exists()


@pytest.mark.parametrize("watched", ["heartbeat/watchdog", "heartbeat/../heartbeat", "heartbeat/watchdog/."])
def test_below_is_below_however_it_is_written(tmp_path: Path, watched: str) -> None:
    kept = shelf(tmp_path / "heartbeat" / "watchdog", tmp_path / "beside")
    kept.keep_apart(tmp_path / watched)
    assert kept.locks == (tmp_path / "beside" / "team.lock",)


def test_a_link_to_it_is_below_too(tmp_path: Path) -> None:
    (tmp_path / "heartbeat").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "heartbeat")
    kept = shelf(tmp_path / "heartbeat" / "watchdog", tmp_path / "beside")
    kept.keep_apart(tmp_path / "state")
    assert kept.write(BOOK)[0] == tmp_path / "beside" / "team.json"


def test_where_what_is_watched_holds_every_place_one_is_better_than_none(tmp_path: Path) -> None:
    kept = shelf(tmp_path / "first", tmp_path / "second")
    kept.keep_apart(tmp_path)
    assert kept.write(BOOK)[0] == tmp_path / "first" / "team.json"


def test_what_is_only_called_alike_is_not_below(tmp_path: Path) -> None:
    kept = shelf(tmp_path / "heartbeat" / "watchdog", tmp_path / "heartbeat-watchdog")
    kept.keep_apart(tmp_path / "heartbeat" / "state")
    assert kept.write(BOOK)[0] == tmp_path / "heartbeat" / "watchdog" / "team.json"


def test_one_that_lay_in_what_is_watched_is_read_and_moves_out(tmp_path: Path) -> None:
    state = tmp_path / "heartbeat"
    shelf(state / "watchdog").write(BOOK)
    kept = shelf(state / "watchdog", tmp_path / "heartbeat-watchdog")
    kept.keep_apart(state)
    assert kept.read()[0] == replace(BOOK, number=1)
    kept.write(replace(BOOK, state="/moved"))
    assert not (state / "watchdog" / "team.json").exists()
    assert shelf(tmp_path / "heartbeat-watchdog").read()[0].state == "/moved"


# A place that hangs.


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in which nothing that is asked for comes back."""
    never, there = threading.Event(), tmp_path / "hangs"

    def wait(real: object) -> object:
        def either(path: Path, *more: object) -> object:
            if there in path.parents:
                never.wait(30)
            return real(path, *more)  # type: ignore[operator]

        return either

    monkeypatch.setattr(notebook, "PATIENCE", 0.05)
    monkeypatch.setattr(notebook, "_text", wait(notebook._text))
    monkeypatch.setattr(notebook, "_replace", wait(notebook._replace))
    yield there
    never.set()


def test_a_place_that_does_not_answer_is_passed_over_and_asked_once(hanging: Path, tmp_path: Path) -> None:
    shelf(tmp_path / "second").write(BOOK)
    before = threading.active_count()
    kept = shelf(hanging, tmp_path / "second")
    found, problems = kept.read()
    assert (found.state, len(problems)) == ("/state", 1)
    assert f"{hanging / 'team.json'} did not answer within" in problems[0]
    assert kept.locks == (tmp_path / "second" / "team.lock",)
    path, problems = kept.write(replace(found, state="/later"))
    assert (path, len(problems)) == (tmp_path / "second" / "team.json", 1)
    assert threading.active_count() == before + 1


# Many messages.


def post(number: int, *about: str, body: str = "") -> Post:
    return Post(f"k{number}", "critical", f"title {number}", body or f"body {number}", BEGIN, about=about)


def with_all(posts: list[Post], *standing: str) -> tuple[Post, ...]:
    kept: tuple[Post, ...] = ()
    for each in posts:
        kept = with_post(kept, each, standing)
    return kept


def test_so_many_messages_are_kept_and_of_the_older_ones_the_number() -> None:
    kept = with_all([post(number) for number in range(2725)])
    assert [each.key for each in kept] == [f"k{number}" for number in range(2725 - POSTS, 2725)]
    assert sum(1 + each.earlier for each in kept) == 2725
    assert kept[0].earlier == 2725 - POSTS


def test_the_newest_word_on_what_stands_is_kept_however_old_it_is() -> None:
    posts = [post(0, "agent/dev"), post(1, "agent/coo"), post(2, "agent/coo"), *(post(n) for n in range(3, 300))]
    kept = with_all(posts, "agent/dev", "agent/coo")
    assert [each.key for each in kept][:3] == ["k0", "k2", f"k{300 - POSTS + 2}"]
    assert sum(1 + each.earlier for each in kept) == 300


def test_a_notebook_full_of_the_largest_messages_can_be_read_again(tmp_path: Path) -> None:
    large = [post(number, body="没有心跳" * 20_000) for number in range(200)]
    kept = shelf(tmp_path)
    assert kept.write(replace(BOOK, posts=with_all(large)))[0] == tmp_path / "team.json"
    found, problems = shelf(tmp_path).read()
    assert problems == ()
    assert found.posts[-1] == replace(large[-1], earlier=found.posts[-1].earlier)
    assert sum(1 + each.earlier for each in found.posts) == 200
    assert found.alarms == BOOK.alarms


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = shelf(tmp_path)
    kept.write(BOOK)
    monkeypatch.setattr(notebook, "_LARGEST", 2000)
    path, problems = kept.write(replace(BOOK, team={"x": "y" * 2000}))
    assert path is None
    assert "2000 can be read again" in problems[0]
    assert shelf(tmp_path).read()[0].team == BOOK.team


def test_one_that_is_too_large_is_begun_anew_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf(tmp_path).write(BOOK)
    monkeypatch.setattr(notebook, "_LARGEST", 100)
    found, problems = shelf(tmp_path).read()
    assert (found, len(problems)) == (Notebook(), 1)


def test_one_from_before_there_was_so_much_to_remember_is_read(tmp_path: Path) -> None:
    shelf(tmp_path).write(BOOK)
    told = json.loads((tmp_path / "team.json").read_text())
    del told["took"], told["memory"], told["posts"][0]["about"], told["posts"][0]["earlier"]
    (tmp_path / "team.json").write_text(json.dumps(told))
    found, problems = shelf(tmp_path).read()
    assert problems == ()
    assert found.memory is None
    assert found.alarms == replace(BOOK.alarms, took=timedelta(0))
    assert found.posts == (replace(BOOK.posts[0], about=(), earlier=0),)
