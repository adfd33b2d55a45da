"""`heartbeat gc`: retention now, and what it would forget (rules B3, B7)."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.store import schema
from heartbeat.store.port import LogEntry
from heartbeat.store.rehearsal import rehearsal
from tests.support.command import heartbeat, tree
from tests.support.operations import AT, NOW, cannot_write, looking, lose_memory, remembering, spent
from tests.support.receipts import receipt

DAY = timedelta(days=1)


@pytest.fixture
def old(team: Path) -> Path:
    """Three entries of the log: 91 days old, exactly 90 days old, and new."""
    with remembering(team) as store:
        store.add_log(LogEntry(NOW - days * DAY, "x", f"{days} days") for days in (91, 90, 0))
    return team


def left(team: Path) -> list[str]:
    with looking(team) as store:
        return [entry.message for entry in store.log()]


def test_what_is_older_than_the_retention_is_forgotten(old: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("gc", cwd=old)
    assert (done.code, done.out) == (
        0,
        "1 row forgotten: all that is older than 90d (before 2026-08-23 12:00:00 CST)\n",
    )
    assert left(old) == ["90 days", "0 days"]


def test_B3_a_rehearsal_counts_the_same_and_changes_no_byte(old: Path) -> None:
    before = tree(old)
    with freeze_time(AT):
        done = heartbeat("gc", "--dry-run", cwd=old)
        assert done.out.startswith("1 row would be forgotten: all that is older than 90d ")
        assert tree(old) == before
        document = heartbeat("gc", "--dry-run", "--json", cwd=old).json
        assert heartbeat("gc", "--json", cwd=old).json == document | {"dry_run": False}
    assert document == {
        "schema": "heartbeat.gc/1",
        "generated_at": "2026-11-21T04:00:00.000Z",
        "dry_run": True,
        "retention": "90d",
        "before": "2026-08-23T04:00:00.000Z",
        "clock_held": True,
        "rows": 1,
        "quarantined": [],
        "notebooks": [],
    }


def test_B6_a_clock_that_may_be_wrong_forgets_nothing_and_says_so(old: Path) -> None:
    with remembering(old) as store:
        store.add_receipt(receipt(1))
    with freeze_time(NOW + 400 * DAY):
        for arguments in (["gc", "--dry-run"], ["gc"]):
            done = heartbeat(*arguments, cwd=old)
            assert done.code == 0
            assert "no beat is on record that began between half a day and two days ago" in done.out
            assert "(it shows 2027-12-26 12:00:00 CST)" in done.out
        document = heartbeat("gc", "--json", cwd=old).json
    assert (document["clock_held"], document["rows"]) == (False, 0)
    assert len(left(old)) == 3
    with freeze_time(NOW + DAY):
        assert heartbeat("gc", cwd=old).out.startswith("2 rows forgotten")


def test_B3_without_state_a_rehearsal_makes_none(team: Path) -> None:
    before = tree(team)
    assert heartbeat("gc", "--dry-run", cwd=team).out.startswith("0 rows would be forgotten")
    assert tree(team) == before
    assert heartbeat("gc", cwd=team).out.startswith("0 rows forgotten")


@pytest.mark.parametrize(
    ("written", "kept", "rows"), [("30d", "30d", 2), ("200d", "200d", 0), ("1h", "2d", 2), ("91d", "91d", 0)]
)
def test_the_roster_says_how_long_and_two_days_are_the_least(old: Path, written: str, kept: str, rows: int) -> None:
    roster = old / "agents.yaml"
    roster.write_text(roster.read_text().replace("state: state", f"state: state\nretention: {written}"))
    with freeze_time(AT):
        document = heartbeat("gc", "--dry-run", "--json", cwd=old).json
    assert (document["rows"], document["retention"]) == (rows, kept)


def test_B7_old_databases_that_were_set_aside_are_told_and_left(old: Path) -> None:
    for name in ("20260101T000000Z", "20261120T000000Z", "20260101T000000Z-journal", "x"):
        path = old / "state" / f"state.db.corrupt-{name}"
        path.write_bytes(b"damaged")
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    with freeze_time(AT):
        done = heartbeat("gc", cwd=old)
        document = heartbeat("gc", "--json", cwd=old).json
    told = [line for line in done.out.splitlines() if "was set aside" in line]
    assert len(told) == 2
    assert "state.db.corrupt-20260101T000000Z (7 bytes) was set aside 324d4h ago; delete it when" in told[0]
    assert [Path(each["path"]).name for each in document["quarantined"]] == [
        "state.db.corrupt-20260101T000000Z",
        "state.db.corrupt-20260101T000000Z-journal",
    ]
    assert document["quarantined"][0]["since"] == "2026-01-01T00:00:00.000Z"
    assert len(list((old / "state").glob("state.db.corrupt-*"))) == 4


def test_B7_lost_memory_is_told(old: Path) -> None:
    lose_memory(old)
    rehearsed = heartbeat("gc", "--dry-run", cwd=old)
    assert (rehearsed.code, "memory-lost" in rehearsed.err) == (0, True)
    assert rehearsed.out.startswith("0 rows would be forgotten")
    done = heartbeat("gc", cwd=old)
    assert (done.code, "memory-lost" in done.err) == (0, True)


def test_where_the_state_cannot_be_written_it_is_only_rehearsed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cannot_write(monkeypatch)
    before = tree(old)
    with freeze_time(AT):
        assert heartbeat("gc", "--dry-run", cwd=old).out.startswith("1 row ")
        assert heartbeat("gc", cwd=old).code == 4
    assert tree(old) == before


def test_a_copy_takes_writes_and_the_file_none(old: Path) -> None:
    before = tree(old)
    with rehearsal(old / "state") as copy:
        assert copy is not None
        copy.put_rounds([spent()])
        assert len(copy.rounds()) == 1
        assert copy.forget_before(NOW) == 3
    assert tree(old) == before
    with rehearsal(old / "nowhere") as none:
        assert none is None


def test_a_database_of_an_older_heartbeat_is_rehearsed_as_it_would_become(team: Path) -> None:
    state = team / "state"
    state.mkdir()
    connection = sqlite3.connect(state / "state.db", isolation_level=None)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    schema.migrate(connection, schema.MIGRATIONS[:1])
    connection.close()
    before = tree(team)
    assert heartbeat("gc", "--dry-run", cwd=team).out.startswith("0 rows would be forgotten")
    assert tree(team) == before


def test_notebooks_of_rosters_that_are_gone_are_forgotten_and_no_others(old: Path, tmp_path: Path) -> None:
    """None that was written to lately, whose roster or state is there, or that is no notebook."""
    shelf, there, gone = tmp_path / "kept" / "heartbeat" / "watchdog", str(old), str(tmp_path / "gone")
    shelf.mkdir(parents=True, mode=0o700)
    books = {
        "abandoned": {"state": gone, "team": {"roster": f"{gone}.yaml"}},
        "of-old": {"state": gone, "team": {}},
        "roster": {"state": gone, "team": {"roster": str(old / "agents.yaml")}},
        "state": {"state": there, "team": {"roster": gone}},
        "lately": {"state": gone, "team": {"roster": gone}},
        "other": {"state": gone},
        "empty": {},
    }
    for name, book in books.items():
        path = shelf / f"{name}.json"
        path.write_text(json.dumps(book))
        written = NOW - (1 if name == "lately" else 91) * DAY
        os.utime(path, (written.timestamp(), written.timestamp()))
        path.with_suffix(".lock").touch()
        path.with_suffix("").mkdir()
    (shelf / "of-old" / "watchdog.log").touch()
    with freeze_time(AT):
        rehearsed = heartbeat("gc", "--dry-run", "--json", cwd=old, XDG_STATE_HOME=str(tmp_path / "kept")).json
        assert rehearsed["notebooks"] == [str(shelf / "abandoned.json"), str(shelf / "of-old.json")]
        assert len(list(shelf.glob("*.json"))) == len(books)
        done = heartbeat("gc", cwd=old, XDG_STATE_HOME=str(tmp_path / "kept"))
    assert done.out.count("forgotten: what a watchdog remembered of a roster that is gone") == 2
    assert {path.stem for path in shelf.glob("*.json")} == books.keys() - {"abandoned", "of-old"}
    assert not (shelf / "abandoned").exists()
    assert not (shelf / "abandoned.lock").exists()
    assert (shelf / "of-old" / "watchdog.log").exists(), "a log is its reader's"
