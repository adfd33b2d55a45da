"""`heartbeat watchdog` from the outside: its exit codes, its lines, its own state, its pings (B2, B3, B5)."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from freezegun import freeze_time

from heartbeat.install.launching import prepare
from heartbeat.roster.load import load_roster
from heartbeat.store.locks import exclusive
from tests.cli.test_json_documents import keys, names
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_channels import FakeReceiver, says

BEGIN = datetime(2026, 11, 21, 4, 6, tzinfo=UTC)
OWN = Path(".local/state/heartbeat/watchdog")


def at(minute: int, *words: str, team: Path, **environment: str) -> Result:
    """One call so many minutes after the beats of 04:06."""
    with freeze_time(BEGIN + timedelta(minutes=minute)):
        return heartbeat(*words, cwd=team, **environment)


@pytest.fixture
def team(team: Path) -> Path:
    """The sample team with a channel, beaten at 04:06, under a watchdog since 04:05."""
    roster = team / "agents.yaml"
    text = roster.read_text().replace("operator: {name: Vincent}", "operator: {name: Vincent, notify: [ops]}")
    roster.write_text(text + "channels:\n  ops: {kind: file, path: told.log}\nwatchdog: {ping_url_env: HC_URL}\n")
    at(-1, "watchdog", "--scheduled", team=team)
    assert at(0, "tick", "--all", team=team).code == 0
    return team


def told(team: Path) -> list[dict[str, Any]]:
    path = team / "told.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def looks(team: Path, first: int, last: int, **environment: str) -> list[Result]:
    """A scheduled look every other minute, which is as seldom as still counts as watching."""
    return [at(minute, "watchdog", "--scheduled", team=team, **environment) for minute in range(first, last + 1, 2)]


def test_B5_a_scheduled_look_exits_0_and_says_a_line(team: Path) -> None:
    done = at(1, "watchdog", "--scheduled", team=team, HC_URL="")
    assert done.code == 0
    assert done.out == "2026-11-21T04:07:00Z watchdog: 3 agents: 3 up\n"


def test_B2_missing_beats_are_told_through_its_own_way_once_and_once_when_they_are_back(team: Path) -> None:
    done = looks(team, 1, 29)
    assert {each.code for each in done} == {0}
    titles = [each["title"] for each in told(team)]
    assert titles[-1] == "heartbeat 看门狗：没有任何 Agent 心跳"
    assert len(titles) <= 2
    assert any("told ops" in each.out for each in done)
    assert "no receipt since the slot of" in done[-1].out
    at(31, "tick", "--all", team=team)
    looks(team, 32, 33)
    assert told(team)[-1]["level"] == "info"
    assert len(told(team)) == len(titles) + 1
    with sqlite3.connect(team / "state" / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM outbox WHERE target = 'ops'").fetchone() == (0,)
    connection.close()


def test_B5_by_hand_it_exits_1_where_something_is_wrong_and_3_where_nobody_can_tell(team: Path) -> None:
    assert at(1, "watchdog", team=team).code == 0
    done = at(30, "watchdog", team=team)
    assert done.code == 1
    assert "Wrong (1)" in done.out
    with sqlite3.connect(team / "state" / "state.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    assert at(31, "watchdog", team=team).code == 3
    assert at(31, "watchdog", "--scheduled", team=team).code == 0


def test_it_lies_apart_from_the_state_that_it_watches(team: Path) -> None:
    before = tree(team / "state")
    looks(team, 1, 21)
    assert tree(team / "state") == before
    names_of_own = {path.suffix for path in (team / OWN).iterdir()}
    assert names_of_own == {".json", ".lock"}


def test_B3_a_dry_run_changes_nothing_anywhere(team: Path) -> None:
    looks(team, 1, 8)
    before = tree(team)
    for minute in (9, 10):
        done = at(minute, "watchdog", "--dry-run", team=team)
        assert done.code in (0, 1)
    assert tree(team) == before


def test_a_roster_that_breaks_is_told_and_the_beats_are_watched_all_the_same(team: Path) -> None:
    looks(team, 1, 2)
    (team / "agents.yaml").write_text("agents: [nonsense]\n")
    done = looks(team, 3, 23)
    assert {each.code for each in done} == {0}
    said = "\n".join(each["body"] for each in told(team))
    assert "名册有错" in said
    assert "agents.yaml:1:" in said
    assert "没有任何 Agent 心跳" in said
    assert at(31, "health", team=team).code == 2


def test_a_roster_that_is_gone_is_told_too(team: Path) -> None:
    roster = team / "agents.yaml"
    named = str(roster)
    for minute in range(1, 10):
        if minute == 3:
            roster.unlink()
        assert at(minute, "watchdog", "--scheduled", "--roster", named, team=team).code == 0
    assert "there is no roster" in told(team)[0]["body"]


def test_without_a_roster_and_the_memory_of_one_a_scheduler_still_sees_0_and_a_person_2(tmp_path: Path) -> None:
    (tmp_path / "agents.yaml").write_text("agents: 7\n")
    by_hand = heartbeat("watchdog", cwd=tmp_path)
    assert by_hand.code == 2
    scheduled = heartbeat("watchdog", "--scheduled", cwd=tmp_path)
    assert (scheduled.code, scheduled.err) == (0, by_hand.err)
    assert "agents.yaml:1:9" in scheduled.err


def test_an_environment_file_that_is_gone_does_not_blind_it(team: Path) -> None:
    file = team / "secrets.env"
    file.write_text("X=1\n")
    words = ("--env-file", str(file), "watchdog", "--scheduled")
    assert at(1, *words, team=team).code == 0
    file.unlink()
    for minute in range(2, 9):
        assert at(minute, *words, team=team).code == 0
    assert "there is no environment file" in told(team)[0]["body"]


def test_a_second_one_at_the_same_time_says_so_and_does_nothing(team: Path) -> None:
    (lock,) = (team / OWN).glob("*.lock")
    with exclusive(lock):
        done = at(1, "watchdog", "--scheduled", team=team)
    assert (done.code, done.out) == (0, "")
    assert "another watchdog is running" in done.err


def test_where_nothing_can_be_remembered_it_ends_with_73(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (team / "full").write_text("")
    monkeypatch.setattr("heartbeat.watch.notebook.places", lambda environment: (team / "full",))
    done = at(1, "watchdog", "--scheduled", team=team)
    assert done.code == 73
    assert "the watchdog can remember nothing" in done.err


def test_nobody_to_tell_is_said_by_hand_and_where_there_is_something_to_tell(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace(", notify: [ops]", ""))
    assert "nobody can be told" in at(1, "watchdog", team=team).err
    done = looks(team, 2, 26)
    assert "nobody can be told" not in done[0].err
    assert "nobody can be told" in done[-1].err


def test_the_switch_hears_a_start_and_a_success_while_all_is_well(team: Path) -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        looks(team, 1, 3, HC_URL=f"{receiver.origin}/check-0123456789")
        paths = [urlsplit(request.path).path for request in receiver.requests]
    assert paths == ["/check-0123456789/start", "/check-0123456789"] * 2


def test_the_switch_hears_of_what_is_wrong_with_the_end_of_the_log(team: Path) -> None:
    log = team / "state" / "log" / "beats.log"
    log.parent.mkdir()
    log.write_text("older line\n" * 2000 + "last line: TOKEN=hunter2hunter2\n")
    with FakeReceiver(says(200, b"OK")) as receiver:
        done = looks(team, 1, 25, HC_URL=f"{receiver.origin}/check-0123456789")
        failed = [request for request in receiver.requests if urlsplit(request.path).path.endswith("/fail")]
    body = failed[-1].body.decode()
    assert "nobody beats: no receipt since the slot of" in body
    assert body.endswith("last line: TOKEN=[hidden]")
    assert len(failed[-1].body) <= 10_000
    assert not any("check-0123456789" in each.out + each.err for each in done)


def test_a_switch_that_cannot_be_reached_is_said_and_fails_nothing(team: Path) -> None:
    done = at(1, "watchdog", "--scheduled", team=team, HC_URL="http://127.0.0.1:9/check-0123456789")
    assert done.code == 0
    assert "dead-man's ping (watchdog.ping_url_env: HC_URL) not sent" in done.err
    assert "0123456789" not in done.err


def test_every_key_of_its_document_is_described(team: Path) -> None:
    found: set[str] = set()
    for minute in range(1, 31, 2):
        document = at(minute, "watchdog", "--json", team=team).json
        found |= set(keys(document))
    assert {"flips", "troubles", "message", "title", "old"} <= found
    assert found <= names("heartbeat.watchdog/1") | {"schema"}


def test_a_scheduled_beat_is_pinged_when_somebody_was_due_and_else_not(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("{ping_url_env: HC_URL}", "{beats_ping_url_env: HC_BEATS}"))
    with FakeReceiver(says(200, b"OK")) as receiver:
        url = f"{receiver.origin}/beats-0123456789"

        def beat(minute: int, *words: str) -> Result:
            return at(minute, "tick", *words, team=team, HC_BEATS=url)

        assert beat(1, "--due", "--scheduled").out == ""
        assert receiver.requests == []
        assert beat(10, "--due", "--scheduled").code == 0
        (ping,) = receiver.requests
        assert urlsplit(ping.path).path == "/beats-0123456789"
        assert "coo done" in ping.body.decode()
        beat(20, "--due")
        beat(30, "--all", "--dry-run", "--scheduled")
        assert len(receiver.requests) == 1


def test_a_scheduled_beat_that_fails_rings_at_once(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("{ping_url_env: HC_URL}", "{beats_ping_url_env: HC_BEATS}"))
    with sqlite3.connect(team / "state" / "state.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with FakeReceiver(says(200, b"OK")) as receiver:
        done = at(10, "tick", "--due", "--scheduled", team=team, HC_BEATS=f"{receiver.origin}/beats-0123456789")
        (ping,) = receiver.requests
    assert done.code == 4
    assert urlsplit(ping.path).path == "/beats-0123456789/fail"
    assert "was written by a newer heartbeat" in ping.body.decode()


# Apart from what is watched.


def beginning(tmp_path: Path, **environment: str) -> Path:
    """A roster as `init` writes it, with its state where `init` puts that."""
    done = heartbeat("init", "--empty", cwd=tmp_path, **environment)
    assert done.code == 0, done.err
    return tmp_path / "agents.yaml"


def test_what_the_watchdog_keeps_is_not_below_the_state_that_init_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    path = beginning(tmp_path)
    roster = load_roster(path, {"HOME": str(tmp_path)})
    assert roster.state is not None
    assert at(0, "tick", "--all", team=tmp_path).code == 0
    document = at(1, "watchdog", "--json", team=tmp_path).json
    assert document["state"] == str(roster.state)
    log = prepare(roster, roster.state, {"PATH": "/bin"}, None).launch.watchdog_log
    for own in (Path(document["notebook"]), log):
        assert not own.is_relative_to(roster.state)
        assert own.is_relative_to(tmp_path / ".local" / "state")


def test_the_whole_state_of_an_inited_roster_may_go_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = beginning(tmp_path)
    with_agent(path, state=None)
    state = load_roster(path, {"HOME": str(tmp_path)}).state
    assert_removal_is_told(tmp_path, Path(str(state)))


def test_a_state_that_holds_the_old_place_of_the_notebook_has_it_moved_out(tmp_path: Path) -> None:
    path = beginning(tmp_path)
    state = tmp_path / ".local" / "state" / "heartbeat"
    with_agent(path, state=state)
    old = state / "watchdog"
    old.mkdir(parents=True, mode=0o700)
    assert_removal_is_told(tmp_path, state)
    assert not list(state.glob("**/*.json"))


def with_agent(path: Path, *, state: Path | None) -> None:
    text = path.read_text()
    if state is not None:
        text = re.sub(r"(?m)^state:.*$", f"state: {state}", text)
    text = re.sub(r"(?m)^( +path:).*$|(?<=kind: file, path: )[^}]*", r"\1 told.log", text)
    text = re.sub(r"(?ms)^agents:.*", "", text)
    path.write_text(text + "agents:\n  coo: {class: high_frequency}\n")


def assert_removal_is_told(folder: Path, state: Path) -> None:
    assert at(0, "tick", "--all", team=folder).code == 0
    for minute in range(1, 4):
        assert at(minute, "watchdog", "--scheduled", team=folder).code == 0
    shutil.rmtree(state)
    done = [at(minute, "watchdog", "--scheduled", team=folder) for minute in range(4, 12)]
    assert "there is no database in" in done[0].out
    assert "状态数据库不见了" in told(folder)[0]["body"]
    assert not state.exists(), "nothing of the watchdog's is kept there"
    assert at(12, "watchdog", team=folder).code == 3
