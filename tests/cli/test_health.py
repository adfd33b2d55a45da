"""`heartbeat health` from the outside: what it shows, what it exits with, and that nothing is written (B2, B3, B5)."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests.support.command import Result, heartbeat, tree


def at(minute: str, *words: str, team: Path, **environment: str) -> Result:
    with freeze_time(f"2026-11-21T{minute}:00Z"):
        return heartbeat(*words, cwd=team, **environment)


@pytest.fixture
def beaten(team: Path) -> Path:
    """The sample team after a beat of everybody at 04:06, whose roster is old."""
    then = datetime.fromisoformat("2026-11-20T00:00:00Z").timestamp()
    os.utime(team / "agents.yaml", (then, then))
    assert at("04:06", "tick", "--all", team=team).code == 0
    return team


def statuses(done: Result) -> dict[str, str]:
    return {each["agent"]: each["status"] for each in done.json["agents"]}


def test_a_team_that_beats_is_healthy(beaten: Path) -> None:
    done = at("04:07", "health", team=beaten)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "OK: 3 agents: 3 up"
    assert "state.db" in done.out


def test_G1_a_full_disk_is_told_in_the_verdict_and_the_level(beaten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 1000, 900, 900, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    done = at("04:07", "health", team=beaten)
    assert done.code == 1
    level, verdict = done.out.splitlines()[-2:]
    assert level.startswith("Level L3 ")
    assert "0 bytes free on the disk of" in level
    assert verdict == "FOUND: 3 agents: 3 up; failed: disk"
    document = at("05:00", "health", "--json", team=beaten).json
    assert document["level"] == "L3"
    assert document["verdict"] == "FOUND: 3 agents: 3 down: coo, architect, costcodev; failed: disk"


def test_being_late_alone_is_no_failure(beaten: Path) -> None:
    done = at("04:17", "health", "--json", team=beaten)
    assert done.code == 0
    assert statuses(done) == {"coo": "late", "architect": "up", "costcodev": "up"} or "late" in statuses(done).values()
    assert "down" not in statuses(done).values()


def test_B2_no_receipt_since_a_slot_and_its_grace_is_1_with_the_cause_and_what_to_do(beaten: Path) -> None:
    done = at("05:00", "health", team=beaten)
    assert done.code == 1
    assert "no receipt since the slot of" in done.out
    assert "heartbeat cron show" in done.out
    assert done.out.splitlines()[-1] == "FOUND: 3 agents: 3 down: coo, architect, costcodev"
    document = at("05:00", "health", "--json", team=beaten)
    assert document.code == document.json["exit_code"] == 1
    assert document.err == "heartbeat: FOUND: 3 agents: 3 down: coo, architect, costcodev\n"
    coo = document.json["agents"][0]
    assert coo["last_beat"] == "2026-11-21T04:06:00.000Z"
    assert coo["missing_seconds"] > 0
    assert coo["cause"].startswith("no process has beaten since")


def test_of_one_agent_only_that_one_counts(beaten: Path) -> None:
    assert at("05:00", "tick", "coo", team=beaten).code == 0
    assert at("05:01", "health", "coo", team=beaten).code == 0
    done = at("05:01", "health", "architect", team=beaten)
    assert done.code == 1
    assert "others beat and this agent does not" in done.out
    assert "heartbeat tick architect" in done.out
    assert "coo" not in done.out.replace("coo,", "")
    assert at("05:01", "health", "nobody", team=beaten).code == 2


def test_B5_a_state_that_does_not_exist_is_said_and_never_green(beaten: Path) -> None:
    done = at("04:07", "health", team=beaten, HEARTBEAT_HOME=str(beaten / "typo"))
    assert done.code == 3
    assert f"there is no state in {beaten / 'typo'}" in done.out
    assert not (beaten / "typo").exists()
    document = at("04:07", "health", "--json", team=beaten, HEARTBEAT_HOME=str(beaten / "typo"))
    assert (document.code, document.json["state"]["exists"]) == (3, False)


def test_B5_a_state_that_cannot_be_read_is_3(beaten: Path) -> None:
    with sqlite3.connect(beaten / "state" / "state.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    done = at("04:07", "health", team=beaten)
    assert done.code == 3
    assert "was written by a newer heartbeat" in done.out
    assert "upgrade heartbeat here too" in done.out
    assert done.out.splitlines()[-1].startswith("UNKNOWN: ")


def test_B7_memory_that_was_lost_is_1(beaten: Path) -> None:
    (beaten / "state" / "state.db").write_bytes(b"")
    assert at("04:07", "health", team=beaten).code == 1
    at("04:08", "tick", "--all", team=beaten)
    done = at("04:09", "health", team=beaten)
    assert (done.code, "heartbeat only observes" in done.out) == (1, True)
    assert at("04:10", "doctor", "--accept-loss", "lin", team=beaten).code == 0
    assert at("04:10", "health", team=beaten).code == 0


def test_who_never_beat_although_the_roster_has_long_known_it_is_down(beaten: Path) -> None:
    roster = beaten / "agents.yaml"
    roster.write_text(roster.read_text() + "  late: {class: business}\n")
    now = roster.stat().st_mtime
    with freeze_time(datetime.fromtimestamp(now + 60).astimezone()):
        assert statuses(heartbeat("health", "late", "--json", cwd=beaten))["late"] == "new"
    with freeze_time(datetime.fromtimestamp(now + 3600).astimezone()):
        done = heartbeat("health", "late", cwd=beaten)
    assert done.code == 1
    assert "it has never beaten, and should have by" in done.out


def test_what_is_paused_is_expected_to_beat_and_that_it_is_paused_is_shown(beaten: Path) -> None:
    assert at("04:07", "pause", "coo", "--for", "3h", "--why", "搬家", team=beaten).code == 0
    done = at("05:00", "health", "coo", team=beaten)
    assert done.code == 1
    assert "paused: 搬家; beats come all the same" in done.out


def test_slots_that_were_missed_are_counted(beaten: Path) -> None:
    at("05:00", "tick", "--all", team=beaten)
    done = at("05:01", "health", "--json", team=beaten)
    assert {each["agent"]: each["missed_slots"] for each in done.json["agents"]}["coo"] >= 4
    assert "in the last day" in at("05:01", "health", team=beaten).out


def test_B3_looking_changes_nothing(beaten: Path) -> None:
    before = tree(beaten)
    for words in (["health"], ["health", "coo", "--json"]):
        at("05:00", *words, team=beaten)
    assert tree(beaten) == before


def test_B8_what_a_beat_said_moves_no_cursor(beaten: Path) -> None:
    document = beaten / "multica.json"
    document.write_text("\x1b]0;owned\x07 not json \x1b[2J")
    at("05:00", "tick", "--all", team=beaten)
    done = at("05:01", "health", team=beaten)
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "degraded" in done.out


def row(done: Result, name: str) -> dict[str, str]:
    return next(check for check in done.json["checks"] if check["name"] == name)


def test_when_the_watchdog_looked_last_is_shown_and_none_is_a_warning_and_no_failure(beaten: Path) -> None:
    none = at("04:07", "health", "--json", team=beaten)
    assert (none.code, row(none, "watchdog")["level"]) == (0, "warning")
    assert "unless another one watches" in row(none, "watchdog")["message"]
    assert at("04:07", "watchdog", "--scheduled", team=beaten).code == 0
    fresh = at("04:08", "health", "--json", team=beaten)
    assert row(fresh, "watchdog") == {
        "name": "watchdog",
        "level": "ok",
        "message": "looked at 2026-11-21T04:07:00.000Z",
        "advice": "",
    }
    stale = at("04:13", "health", "--json", team=beaten)
    assert (stale.code, row(stale, "watchdog")["level"]) == (0, "warning")
    assert "6m ago" in row(stale, "watchdog")["message"]
    assert "watchdog" not in at("04:13", "health", "coo", team=beaten).out


def test_a_watchdog_over_another_state_directory_is_shown(beaten: Path) -> None:
    at("04:07", "watchdog", "--scheduled", team=beaten, HEARTBEAT_HOME=str(beaten / "typo"))
    message = row(at("04:08", "health", "--json", team=beaten), "watchdog")["message"]
    assert f"at {beaten / 'typo'} and not at {beaten / 'state'}" in message


def test_B7_after_a_loss_nobody_is_said_to_have_never_beaten_and_the_loss_comes_first(beaten: Path) -> None:
    database = beaten / "state" / "state.db"
    database.unlink()
    noticed = datetime.fromisoformat("2026-11-21T04:20:00Z").timestamp()
    os.utime(beaten / "state", (noticed, noticed))
    done = at("04:21", "health", team=beaten)
    assert done.code == 1
    assert "never beaten" not in done.out
    told = " ".join(done.out.split())
    assert "nothing is known of its beats, since memory was lost" in told
    assert told.index("vanished") < told.index("architect")
    assert done.out.count("  state  failed") == 1
    assert set(statuses(at("04:21", "health", "--json", team=beaten)).values()) == {"new"}
