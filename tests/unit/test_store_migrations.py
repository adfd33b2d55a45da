"""How a database of an older heartbeat becomes one of this heartbeat."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from heartbeat.errors import StateError
from heartbeat.store import schema
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.schema import MIGRATIONS, Migration
from heartbeat.store.sqlite import SqliteStore
from tests.support.child import child
from tests.support.receipts import NOW, receipt

INCIDENTS = Migration(
    "incidents", ("CREATE TABLE incidents (id INTEGER PRIMARY KEY)", "CREATE INDEX by_id ON incidents (id)")
)
STEPS = Migration("steps", ("CREATE TABLE steps (id INTEGER)", "INSERT INTO steps SELECT pid FROM receipts"))
BROKEN = Migration("broken", ("CREATE TABLE half (id)", "CREATE TABLE receipts (id)"))
UNFITTING = Migration(
    "unfitting", ("CREATE TABLE unique_pids (pid UNIQUE)", "INSERT INTO unique_pids SELECT pid FROM receipts")
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A state directory as this heartbeat makes it."""
    with open_store(tmp_path, NOW) as store:
        store.add_receipt(receipt(1))
        store.add_receipt(receipt(2))
    return tmp_path


@pytest.fixture
def later(directory: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A later heartbeat, with two more migrations, comes upon that directory."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, INCIDENTS, STEPS))
    return monkeypatch


def facts(path: Path) -> tuple[int, set[str]]:
    connection = sqlite3.connect(path)
    try:
        return schema.version_of(connection), {name for kind, name in schema.objects_of(connection) if kind == "table"}
    finally:
        connection.close()


@pytest.mark.usefixtures("later")
def test_the_missing_steps_are_taken_in_order_and_everything_is_kept(directory: Path) -> None:
    with open_store(directory, NOW) as store:
        assert store.tombstone() is None
        assert store.receipts() == (receipt(2), receipt(1))
        assert isinstance(store, SqliteStore)
        assert store._execute("SELECT id FROM steps") == [(4711,), (4711,)]
    version, tables = facts(directory / "state.db")
    assert version == len(MIGRATIONS) + 2
    assert {"incidents", "steps", "receipts"} <= tables
    with open_store(directory, NOW) as store:
        assert isinstance(store, SqliteStore)
        assert store._execute("SELECT count(*) FROM steps") == [(2,)], "a step is taken once"


@pytest.mark.usefixtures("later")
def test_B3_looking_at_an_older_database_brings_only_a_copy_up_to_date(directory: Path) -> None:
    before = (directory / "state.db").read_bytes()
    names = sorted(path.name for path in directory.iterdir())
    with open_store_read_only(directory) as store:
        assert store.receipts() == (receipt(2), receipt(1))
        assert isinstance(store, SqliteStore)
        assert store._execute("SELECT count(*) FROM steps") == [(2,)]
        with pytest.raises(StateError, match="reading only"):
            store.add_receipt(receipt(3))
    assert (directory / "state.db").read_bytes() == before
    assert sorted(path.name for path in directory.iterdir()) == names


@pytest.mark.parametrize("step", [BROKEN, UNFITTING], ids=["a broken step", "a step that the data does not fit"])
def test_a_step_that_fails_changes_nothing_and_is_not_taken_for_damage(
    directory: Path, monkeypatch: pytest.MonkeyPatch, step: Migration
) -> None:
    before = (directory / "state.db").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*MIGRATIONS, INCIDENTS, step))
        with pytest.raises(StateError, match="could not be brought up to date") as refused:
            open_store(directory, NOW)
        assert refused.value.advice
    assert (directory / "state.db").read_bytes() == before
    with open_store(directory, NOW) as store:
        assert store.receipts() == (receipt(2), receipt(1))


def test_after_an_upgrade_the_older_heartbeat_refuses_the_database(directory: Path, later: pytest.MonkeyPatch) -> None:
    open_store(directory, NOW).close()
    later.undo()
    with pytest.raises(StateError, match="written by a newer heartbeat"):
        open_store(directory, NOW)


@pytest.mark.usefixtures("later")
def test_an_older_database_without_its_older_tables_is_damaged(directory: Path) -> None:
    with sqlite3.connect(directory / "state.db") as connection:
        connection.execute("DROP TABLE links")
    connection.close()
    with open_store(directory, NOW) as store:
        tombstone = store.tombstone()
        assert tombstone is not None
        assert "lacks table links" in tombstone.reason


_UPGRADE = """
import sys
from pathlib import Path
from heartbeat.store import schema
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW
from tests.unit.test_store_migrations import INCIDENTS, STEPS
schema.MIGRATIONS = (*schema.MIGRATIONS, INCIDENTS, STEPS)
print("ready")
input()
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    print(store._execute("SELECT count(*) FROM steps"), len(store.receipts()))
"""


def test_two_processes_that_upgrade_at_the_same_moment_take_each_step_once(directory: Path) -> None:
    with child(_UPGRADE, directory) as one, child(_UPGRADE, directory) as two:
        for each in (one, two):
            assert each.line() == "ready"
        for each in (one, two):
            each.go_on()
        assert [each.line() for each in (one, two)] == ["[(2,)] 2"] * 2


def test_each_released_step_says_what_it_adds() -> None:
    assert all(migration.adds and migration.statements for migration in MIGRATIONS)


@pytest.mark.parametrize("text", ["", "任务", "a\x00b", "\ud83d", "\ud83d\ude00", "\udcff.md"])
def test_any_text_goes_into_a_column_and_comes_back(text: str) -> None:
    assert schema.text(schema.bound(text)) == text
