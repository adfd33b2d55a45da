"""`heartbeat log`: what was decided and done, and as it happens (rules B7, B8)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.cli import log as command
from heartbeat.errors import StateError
from heartbeat.store.port import LogEntry
from tests.support.command import heartbeat, tree
from tests.support.operations import (
    AT,
    GOALS,
    HOSTILE,
    MINUTE,
    NOW,
    cannot_write,
    looking,
    lose_memory,
    remembering,
)


def entry(message: str, minute: int = 0, **changes: object) -> LogEntry:
    return LogEntry(NOW + minute * MINUTE, "step-recover", message, **changes)  # type: ignore[arg-type]


@pytest.fixture
def logged(team: Path) -> Path:
    with remembering(team) as store:
        store.add_log(
            [
                entry("first", agent="coo", task=str(GOALS), incident="1a2b3c4d", details={"number": 2}),
                entry("second", 1, agent="architect"),
                entry("third", 2),
            ]
        )
    return team


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """What happens while the follower waits, one step a wait; then somebody presses Ctrl-C."""

    def script(*given: Callable[[], object]) -> list[float]:
        left, waited = list(given), []

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(command, "wait", wait)
        return waited

    return script


def appended(team: Path, *entries: LogEntry) -> Callable[[], None]:
    def append() -> None:
        with remembering(team) as store:
            store.add_log(entries)

    return append


def messages(out: str) -> list[str]:
    return [json.loads(line)["message"] for line in out.splitlines()]


def test_without_state_nothing_is_on_record_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    assert heartbeat("log", cwd=team).out == "Nothing is on record yet.\n"
    assert heartbeat("log", "--agent", "coo", cwd=team).out == "Nothing of that is on record.\n"
    assert heartbeat("log", "--json", cwd=team).json["entries"] == []
    assert tree(team) == before


def test_the_log_is_told_in_order(logged: Path) -> None:
    lines = [" ".join(line.split()) for line in heartbeat("log", cwd=logged).out.splitlines()]
    assert lines == [
        "2026-11-21 12:00:00 CST step-recover coo first",
        f"{GOALS}, incident 1a2b3c4d",
        "2026-11-21 12:01:00 CST step-recover architect second",
        "2026-11-21 12:02:00 CST step-recover - third",
    ]


def test_the_document_has_everything(logged: Path) -> None:
    with freeze_time(AT):
        document = heartbeat("log", "--limit", "3", "--json", cwd=logged).json
    assert (document["schema"], document["generated_at"]) == ("heartbeat.log/1", "2026-11-21T04:00:00.000Z")
    assert document["entries"][0] == {
        "sequence": 1,
        "at": "2026-11-21T04:00:00.000Z",
        "action": "step-recover",
        "message": "first",
        "agent": "coo",
        "task": str(GOALS),
        "incident": "1a2b3c4d",
        "details": {"number": 2},
    }
    assert document["entries"][2]["agent"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--limit", "2"], ["second", "third"]),
        (["--agent", "coo"], ["first"]),
        (["--agent", "costcodev"], []),
        (["--task", str(GOALS)], ["first"]),
        (["--task", "BIZ-28"], ["first"]),
        (["--task", "BIZ-28", "--agent", "architect"], []),
        (["--task", "BIZ-31"], []),
    ],
)
def test_entries_are_chosen_by_agent_task_and_number(logged: Path, words: list[str], told: list[str]) -> None:
    document = heartbeat("log", *words, "--json", cwd=logged).json
    assert [each["message"] for each in document["entries"]] == told


def test_what_a_merged_task_did_under_any_of_its_names_is_told_in_order(team: Path) -> None:
    task = next(each for each in heartbeat("tasks", "--json", cwd=team).json["tasks"] if len(each["refs"]) == 2)
    card, issue = (f"{ref['source']}:{ref['id']}" for ref in task["refs"])
    with remembering(team) as store:
        store.add_log([entry("a", task=issue), entry("b", task=card), entry("c", task=issue), entry("d")])
    document = heartbeat("log", "--task", "登录页报错 500", "--limit", "2", "--json", cwd=team).json
    assert [each["message"] for each in document["entries"]] == ["b", "c"]


def test_a_key_that_is_on_record_needs_no_source(logged: Path) -> None:
    (logged / "multica.json").write_text("")
    shutil.rmtree(logged / "state" / "snapshots", ignore_errors=True)
    assert "first" in heartbeat("log", "--task", str(GOALS), cwd=logged).out


@pytest.mark.parametrize("words", [["--agent", "stranger"], ["--task", "BIZ-99"], ["--limit", "0"]])
def test_a_wrong_call_is_a_mistake(logged: Path, words: list[str]) -> None:
    assert heartbeat("log", *words, cwd=logged).code == 2


def test_following_tells_what_comes_once_and_ends_cleanly(logged: Path, steps: Callable[..., list[float]]) -> None:
    waited = steps(
        appended(logged, entry("fourth", 3, agent="coo"), entry("fifth", 4)),
        lambda: None,
        appended(logged, entry("sixth", 5, agent="coo")),
    )
    done = heartbeat("log", "--follow", "--json", "--limit", "1", cwd=logged)
    assert (done.code, done.err) == (0, "")
    assert messages(done.out) == ["third", "fourth", "fifth", "sixth"]
    assert {json.loads(line)["schema"] for line in done.out.splitlines()} == {"heartbeat.log-entry/1"}
    assert waited == [command.POLL] * 4


def test_following_one_agent_passes_over_the_others(logged: Path, steps: Callable[..., list[float]]) -> None:
    steps(appended(logged, entry("fourth", agent="architect")), appended(logged, entry("fifth", agent="coo")))
    done = heartbeat("log", "--follow", "--json", "--agent", "coo", cwd=logged)
    assert messages(done.out) == ["first", "fifth"]


def test_following_on_a_screen_keeps_its_columns(logged: Path, steps: Callable[..., list[float]]) -> None:
    steps(appended(logged, entry("fourth", agent="coo")))
    lines = heartbeat("log", "--follow", cwd=logged).out.splitlines()
    assert len({line.index(word) for line, word in zip((lines[0], lines[-1]), ("first", "fourth"), strict=True)}) == 1


def test_following_begins_before_there_is_any_state(team: Path, steps: Callable[..., list[float]]) -> None:
    steps(lambda: None, appended(team, entry("first")))
    done = heartbeat("log", "--follow", "--json", cwd=team)
    assert messages(done.out) == ["first"]


def test_following_writes_nothing(logged: Path, steps: Callable[..., list[float]]) -> None:
    before = tree(logged)
    steps(lambda: None)
    heartbeat("log", "--follow", cwd=logged)
    assert tree(logged) == before


def test_B7_a_follower_tells_of_lost_memory_and_follows_what_comes_after(
    logged: Path, steps: Callable[..., list[float]]
) -> None:
    steps(lambda: lose_memory(logged), appended(logged, entry("after")))
    done = heartbeat("log", "--follow", "--json", cwd=logged)
    assert messages(done.out) == ["first", "second", "third", "after"]
    assert done.err.count("the log begins anew") == 1


def test_a_store_that_fails_for_a_while_is_told_once_and_followed_on(
    logged: Path, steps: Callable[..., list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heartbeat.store import opening

    working = opening.open_store_read_only

    def broken(*_: object, **__: object) -> None:
        raise StateError("the disk is away")

    def mend() -> None:
        monkeypatch.setattr(opening, "open_store_read_only", working)
        appended(logged, entry("fourth"))()

    steps(lambda: monkeypatch.setattr(opening, "open_store_read_only", broken), lambda: None, mend)
    done = heartbeat("log", "--follow", "--json", cwd=logged)
    assert messages(done.out)[-1] == "fourth"
    assert done.err == "heartbeat: the disk is away; still following\n"


def test_B7_lost_memory_is_told(logged: Path) -> None:
    lose_memory(logged)
    done = heartbeat("log", cwd=logged)
    assert (done.code, "memory-lost" in done.err, "first" in done.out) == (0, True, False)


def test_the_log_of_a_directory_that_cannot_be_written_is_shown(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cannot_write(monkeypatch)
    assert "first" in heartbeat("log", cwd=logged).out


def test_B8_hostile_text_moves_no_cursor_and_its_json_is_one_line(
    team: Path, steps: Callable[..., list[float]]
) -> None:
    with remembering(team) as store:
        store.add_log([entry(f"{HOSTILE}\ud800", details={"title": HOSTILE})])
    out = heartbeat("log", cwd=team).out
    assert not set("\x1b\x07\x00\r\u202e") & set(out)
    assert len(out.splitlines()) == 1
    steps()
    assert messages(heartbeat("log", "--follow", "--json", cwd=team).out) == [f"{HOSTILE}\ud800"]
    with looking(team) as store:
        assert len(store.log()) == 1


def test_a_multica_task_is_called_by_its_identifier_once_a_beat_has_read_it(team: Path) -> None:
    with remembering(team) as store:
        store.add_log([LogEntry(NOW, "incident-opened", "stalled", "coo", str(GOALS))])
    assert str(GOALS) in heartbeat("log", cwd=team).out
    assert heartbeat("tick", "--all", cwd=team).code == 0
    shown = heartbeat("log", cwd=team).out
    assert "BIZ-28" in shown
    assert str(GOALS) not in shown
    assert heartbeat("log", "--json", cwd=team).json["entries"][0]["task"] == str(GOALS)
