"""How a database of an older heartbeat becomes one of this heartbeat."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt
from heartbeat.errors import StateError
from heartbeat.store import columns, schema
from heartbeat.store.attempts import _COLUMNS, _values
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Link, Receipt, Store
from heartbeat.store.schema import MIGRATIONS, Migration
from heartbeat.store.sqlite import _RECEIPT_COLUMNS, SqliteStore, _receipt_values
from tests.support.child import child
from tests.support.receipts import (
    ATTEMPT,
    BREAKER,
    CARD,
    ENTRY,
    INCIDENT,
    ISSUE,
    LETTER,
    LINE,
    LOG_ENTRY,
    MINUTE,
    MISS,
    NOW,
    ROUNDS,
    receipt,
    remember,
    remembered,
)

NOTES = Migration("notes", ("CREATE TABLE notes (id INTEGER PRIMARY KEY)", "CREATE INDEX by_id ON notes (id)"))
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
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, NOTES, STEPS))
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
    assert {"notes", "steps", "receipts"} <= tables
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
        patched.setattr(schema, "MIGRATIONS", (*MIGRATIONS, NOTES, step))
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
from tests.unit.test_store_migrations import NOTES, STEPS
schema.MIGRATIONS = (*schema.MIGRATIONS, NOTES, STEPS)
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


def add_receipt_as_then(store: Store, receipt: Receipt) -> None:
    """As the heartbeat of that database wrote one: into the columns that there were."""
    assert isinstance(store, SqliteStore)
    there = {name for _, name, *_ in store._execute("PRAGMA table_info(receipts)")}
    values = {
        name: value
        for name, value in zip(_RECEIPT_COLUMNS.split(", "), _receipt_values(receipt), strict=True)
        if name in there
    }
    columns, places = ", ".join(values), ", ".join("?" * len(values))
    store._change(f"INSERT INTO receipts ({columns}) VALUES ({places})", tuple(values.values()))  # noqa: S608


def without_turns(receipt: Receipt) -> Receipt:
    """What is left of a receipt from before there were turns."""
    return replace(receipt, dispatch={}, level="", level_reasons=())


@pytest.fixture
def first_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as the first heartbeat made and used it: receipts, links, sightings, complete reads."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", MIGRATIONS[:1])
        with open_store(tmp_path, NOW) as store:
            add_receipt_as_then(store, receipt(1))
            store.remember_links([Link(CARD, ISSUE, "title", NOW)])
            store.note_sightings([LINE], NOW)
            store.note_complete("todo", "t", NOW)
    version, tables = facts(tmp_path / "state.db")
    assert version == 1
    assert tables == {"receipts", "links", "sightings", "completions", "tombstones"}
    return tmp_path


def first_answers(store: Store) -> tuple[object, ...]:
    return store.receipts(), store.links(), store.first_seen([LINE]), store.last_complete("todo"), store.tombstone()


FIRST_ANSWERS = ((without_turns(receipt(1)),), (Link(CARD, ISSUE, "title", NOW),), {LINE: NOW}, NOW, None)


def test_a_database_of_the_first_version_keeps_everything_and_learns_to_remember(first_version: Path) -> None:
    twin = MemoryStore()
    nothing = remembered(twin)
    remember(twin)
    with open_store(first_version, NOW) as store:
        assert first_answers(store) == FIRST_ANSWERS
        assert remembered(store) == nothing
        remember(store)
    with open_store(first_version, NOW) as store:
        assert first_answers(store) == FIRST_ANSWERS
        assert remembered(store) == remembered(twin)
    assert facts(first_version / "state.db")[0] == len(MIGRATIONS)


def test_B3_looking_at_a_database_of_the_first_version_answers_that_nothing_is_remembered_yet(
    first_version: Path,
) -> None:
    before = (first_version / "state.db").read_bytes()
    with open_store_read_only(first_version) as store:
        assert first_answers(store) == FIRST_ANSWERS
        assert remembered(store) == remembered(MemoryStore())
        assert store.entry("any") is None
        with pytest.raises(StateError, match="reading only"):
            remember(store)
    assert (first_version / "state.db").read_bytes() == before
    assert facts(first_version / "state.db")[0] == 1


@pytest.fixture
def second_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as the heartbeat before the one that counts slots made it; receipts had slots already."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
        with open_store(tmp_path, NOW) as store:
            for number, slot in enumerate((NOW, NOW + 10 * MINUTE, NOW + 10 * MINUTE, None)):
                add_receipt_as_then(store, replace(receipt(number), slot=slot))
            store.put_rounds([ROUNDS])
            store.add_log([LOG_ENTRY])
    assert facts(tmp_path / "state.db")[0] == 2
    assert "misses" not in facts(tmp_path / "state.db")[1]
    return tmp_path


def test_I6_a_database_from_before_slots_counted_keeps_everything_and_knows_its_slots(second_version: Path) -> None:
    """Two receipts of one slot stood there: an older heartbeat gave every beat its slot."""
    with open_store(second_version, NOW) as store:
        assert [each.slot for each in store.receipts()] == [None, NOW + 10 * MINUTE, NOW + 10 * MINUTE, NOW]
        assert (store.rounds(), store.log()) == ({ROUNDS.ref: ROUNDS}, (replace(LOG_ENTRY, sequence=1),))
        assert store.misses() == ()
        assert store.slot_taken("coo", NOW)
        assert not store.slot_taken("coo", NOW + MINUTE)
        assert store.last_slot("coo", NOW + 60 * MINUTE) == NOW + 10 * MINUTE
        store.note_misses([MISS])
    with open_store(second_version, NOW) as store:
        assert store.misses() == (MISS,)
    assert facts(second_version / "state.db")[0] == len(MIGRATIONS)


def test_B3_looking_at_a_database_from_before_slots_counted_tells_its_slots_and_no_miss(second_version: Path) -> None:
    before = (second_version / "state.db").read_bytes()
    with open_store_read_only(second_version) as store:
        assert store.misses() == ()
        assert store.last_slot("coo", NOW + 60 * MINUTE) == NOW + 10 * MINUTE
        with pytest.raises(StateError, match="reading only"):
            store.note_misses([MISS])
    assert (second_version / "state.db").read_bytes() == before


@pytest.fixture
def third_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as the heartbeat before the one that starts turns made and used it."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", MIGRATIONS[:3])
        with open_store(tmp_path, NOW) as store:
            add_receipt_as_then(store, receipt(1))
            add_receipt_as_then(store, replace(receipt(2), slot=NOW))
            store.put_incident(INCIDENT)
            store.enqueue([ENTRY])
            store.note_misses([MISS])
    assert facts(tmp_path / "state.db")[0] == 3
    assert not {"attempts", "breakers", "letters"} & facts(tmp_path / "state.db")[1]
    return tmp_path


def third_answers(store: Store) -> tuple[object, ...]:
    return store.receipts(), store.incidents(), store.entries(), store.misses()


THIRD_ANSWERS = (
    (without_turns(replace(receipt(2), slot=NOW)), without_turns(receipt(1))),
    (INCIDENT,),
    (ENTRY,),
    (MISS,),
)


def test_X6_a_database_from_before_turns_keeps_everything_and_learns_to_start_them(third_version: Path) -> None:
    with open_store(third_version, NOW) as store:
        assert third_answers(store) == THIRD_ANSWERS
        assert (store.attempts(), store.breakers(), store.letters()) == ((), {}, ())
        assert store.add_attempt(ATTEMPT)
        store.put_breaker(BREAKER)
        store.put_letter(LETTER)
        store.add_receipt(receipt(3))
    with open_store(third_version, NOW) as store:
        assert (store.attempts(), store.breakers(), store.letters()) == ((ATTEMPT,), {"anthropic": BREAKER}, (LETTER,))
        assert store.last_receipt("coo") == receipt(3)
        assert not store.add_attempt(replace(ATTEMPT, id="another")), "the indexes came along"
    assert facts(third_version / "state.db")[0] == len(MIGRATIONS)


def test_B3_looking_at_a_database_from_before_turns_finds_none_and_changes_nothing(third_version: Path) -> None:
    before = (third_version / "state.db").read_bytes()
    with open_store_read_only(third_version) as store:
        assert third_answers(store) == THIRD_ANSWERS
        assert (store.attempts(refs=[CARD]), store.breakers(), store.letters()) == ((), {}, ())
        assert (store.attempt("any"), store.letter("any")) == (None, None)
        with pytest.raises(StateError, match="reading only"):
            store.add_attempt(ATTEMPT)
    assert (third_version / "state.db").read_bytes() == before


def test_the_heartbeat_before_turns_refuses_a_database_with_turns(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (directory / "state.db").read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[:3])
    for opened in (partial(open_store, directory, NOW), partial(open_store_read_only, directory)):
        with pytest.raises(StateError, match="written by a newer heartbeat"):
            opened()
    assert (directory / "state.db").read_bytes() == before


@pytest.fixture
def fourth_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as the heartbeat made it that went by the wall clock alone, with a turn that runs."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", MIGRATIONS[:4])
        with open_store(tmp_path, NOW) as store:
            add_attempt_as_then(store, WITHOUT_STOPWATCH)
    assert facts(tmp_path / "state.db")[0] == 4
    return tmp_path


WITHOUT_STOPWATCH = replace(ATTEMPT, stopwatch=None)


def add_attempt_as_then(store: Store, attempt: Attempt) -> None:
    """As the heartbeat of that database wrote one: into the columns that there were."""
    assert isinstance(store, SqliteStore)
    there = {name for _, name, *_ in store._execute("PRAGMA table_info(attempts)")}
    values = {name: value for name, value in zip(_COLUMNS.split(", "), _values(attempt), strict=True) if name in there}
    columns, places = ", ".join(values), ", ".join("?" * len(values))
    store._change(f"INSERT INTO attempts ({columns}) VALUES ({places})", tuple(values.values()))  # noqa: S608


def test_B6_a_turn_from_before_stopwatches_goes_on_and_is_given_one(fourth_version: Path) -> None:
    with open_store(fourth_version, NOW) as store:
        assert store.attempts(unfinished=True) == (WITHOUT_STOPWATCH,)
        assert store.advance_attempt(ATTEMPT, ATTEMPT.life)
    with open_store(fourth_version, NOW) as store:
        assert store.attempts() == (ATTEMPT,)
    assert facts(fourth_version / "state.db")[0] == len(MIGRATIONS)


def test_B3_looking_at_a_database_from_before_stopwatches_changes_nothing(fourth_version: Path) -> None:
    before = (fourth_version / "state.db").read_bytes()
    with open_store_read_only(fourth_version) as store:
        assert store.attempts(unfinished=True) == (WITHOUT_STOPWATCH,)
    assert (fourth_version / "state.db").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TABLE", "clocks"),
        ("TABLE", "outbox"),
        ("TABLE", "misses"),
        ("TABLE", "attempts"),
        ("TABLE", "attempt_refs"),
        ("TABLE", "breakers"),
        ("TABLE", "letters"),
        ("INDEX", "attempts_unfinished"),
        ("INDEX", "attempt_refs_unfinished"),
        ("TRIGGER", "attempt_ended"),
        ("TRIGGER", "attempt_forgotten"),
        ("", "sqlite_sequence"),
    ],
)
def test_a_database_of_this_version_without_a_part_of_its_own_is_damaged(directory: Path, kind: str, name: str) -> None:
    with sqlite3.connect(directory / "state.db") as connection:
        if kind:
            connection.execute(f"DROP {kind} {name}")
        else:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
    connection.close()
    with open_store(directory, NOW) as store:
        tombstone = store.tombstone()
        assert tombstone is not None
        assert name in tombstone.reason


def test_a_released_step_never_changes() -> None:
    """Databases that took it are out there; what is missing comes as another step."""
    digests = [hashlib.sha256("\n".join(migration.statements).encode()).hexdigest()[:16] for migration in MIGRATIONS]
    assert digests[:1] == ["1a33add7bc2de654"]


def test_each_released_step_says_what_it_adds() -> None:
    assert all(migration.adds and migration.statements for migration in MIGRATIONS)


@pytest.mark.parametrize("text", ["", "任务", "a\x00b", "\ud83d", "\ud83d\ude00", "\udcff.md"])
def test_any_text_goes_into_a_column_and_comes_back(text: str) -> None:
    assert columns.text(columns.bound(text)) == text
