"""What may happen to the state database, and how each of it ends (rules B3, B7)."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import Exit, StateError
from heartbeat.store import opening, schema, witness
from heartbeat.store.locks import Lock, shared, try_exclusive
from heartbeat.store.opening import never_used, open_store, open_store_read_only
from heartbeat.store.port import Link, Store
from heartbeat.store.sqlite import SqliteStore
from heartbeat.task import Ref
from tests.support.child import child, mount_namespace, run
from tests.support.receipts import ATTEMPT, MINUTE, NOW, over, receipt, remember, remembered

LATER = NOW + timedelta(hours=1)
QUARANTINED = "state.db.corrupt-20261121T050000Z"
REFS = tuple(Ref("todo", f"TODO.md#{number}") for number in range(60))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def filled(directory: Path) -> Path:
    """A state directory with a history of several pages."""
    with open_store(directory, NOW) as store, store.transaction():
        for number in range(30):
            store.add_receipt(receipt(number, ("coo", "dev")[number % 2]))
        store.note_sightings(REFS, NOW)
        store.remember_links([Link(ref, Ref("multica", ref.id), "title", NOW) for ref in REFS])
        store.note_complete("todo", "TODO.md", NOW)
        remember(store)
    return directory


def answers(store: Store) -> tuple[object, ...]:
    return (
        store.receipts(limit=1000),
        store.last_receipts(),
        store.links(),
        store.first_seen(REFS),
        store.last_complete("todo"),
        *remembered(store),
    )


def everything(directory: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, time of change and mode of every file, and of the directory itself."""
    return {
        path.name: (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in (directory, *directory.iterdir())
    }


def edit(path: Path, change: Callable[[bytearray], object]) -> bytes:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return bytes(content)


def assert_mourned(directory: Path, content: bytes | None, why: str) -> None:
    """Opening makes a new database with a tombstone, and keeps the old content beside it."""
    with open_store(directory, LATER) as store:
        tombstone = store.tombstone()
        assert tombstone is not None, "never taken for a first run"
        assert tombstone.at == LATER
        assert why in tombstone.reason
        assert store.receipts() == ()
        if content is None:
            assert tombstone.quarantined is None
        else:
            assert tombstone.quarantined == str(directory / QUARANTINED)
            assert (directory / QUARANTINED).read_bytes() == content
        store.add_receipt(receipt(99))
    with open_store(directory, LATER) as store:
        assert store.tombstone() == tombstone, "it stands until somebody accepts it"
        assert store.last_receipt("coo") == receipt(99)
        store.accept_tombstone("lin", LATER)
    with open_store(directory, LATER) as store:
        assert store.tombstone() is None


def test_a_first_run_makes_a_private_directory_and_database_and_mourns_nothing(directory: Path) -> None:
    with open_store(directory, NOW) as store:
        assert store.tombstone() is None
        assert {path.name for path in directory.iterdir()} == {"state.db", "state.marker", "state.lock"}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "state.db").stat().st_mode & 0o777 == 0o600
    with open_store(directory, NOW) as store:
        assert store.tombstone() is None


def test_every_commit_is_on_disk_before_it_counts(directory: Path) -> None:
    with open_store(directory, NOW) as store:
        assert isinstance(store, SqliteStore)
        settings = {
            name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version")
        }
    assert settings == {
        "journal_mode": "delete",
        "synchronous": 2,
        "foreign_keys": 1,
        "application_id": schema.APPLICATION_ID,
        "user_version": len(schema.MIGRATIONS),
    }


def test_B7_an_emptied_database_is_never_taken_for_a_first_run(filled: Path) -> None:
    (filled / "state.db").write_bytes(b"")
    assert_mourned(filled, b"", "0 bytes")


def test_B7_an_empty_file_is_mourned_even_where_nothing_else_is_left(directory: Path) -> None:
    directory.mkdir()
    (directory / "state.db").touch()
    assert_mourned(directory, b"", "0 bytes")


@pytest.mark.parametrize("content", [b"hello\n", b"SQLite format 3\x00", bytes(8192), b"\xff" * 5000])
def test_B7_what_is_no_database_is_set_aside(filled: Path, content: bytes) -> None:
    (filled / "state.db").write_bytes(content)
    assert_mourned(filled, content, "damaged")


@pytest.mark.parametrize("keep", [1, 15, 16, 40, 99, 100, 511, 4095, 4096, 4097, 0.25, 0.5, -4096, -4095, -1])
def test_B7_a_truncated_database_is_set_aside(filled: Path, keep: float) -> None:
    size = (filled / "state.db").stat().st_size
    kept = int(keep * size) if isinstance(keep, float) else int(keep) % size
    os.truncate(filled / "state.db", kept)
    content = (filled / "state.db").read_bytes()
    assert 0 < len(content) < size
    assert_mourned(filled, content, "damaged")


def test_B7_no_flipped_bit_is_taken_for_a_first_run_or_ends_in_a_crash(filled: Path) -> None:
    sound = (filled / "state.db").read_bytes()
    with open_store(filled, NOW) as store:
        good = answers(store)
    chance = random.Random(20261121)
    places = [*range(0, 112, 3), *chance.sample(range(len(sound)), 150)]
    ends = set()
    for place in places:
        edit(filled / "state.db", lambda content, place=place: _flip(content, place, chance))  # type: ignore[misc]
        ends.add(_end_of(filled, good))
        for file in filled.glob("state.db*"):
            file.unlink()
        (filled / "state.db").write_bytes(sound)
    assert ends == {"harmless", "refused", "mourned", "mourned at the next opening", "a text differs"}


def _flip(content: bytearray, place: int, chance: random.Random) -> None:
    content[place] ^= 1 << chance.randrange(8)


def _end_of(directory: Path, good: tuple[object, ...], *, again: bool = False) -> str:
    try:
        with open_store(directory, LATER) as store:
            if store.tombstone() is not None:
                return "mourned at the next opening" if again else "mourned"
            found = answers(store)
            if found == good:
                return "harmless"
            assert [len(some) for some in found[:3]] == [len(some) for some in good[:3]]  # type: ignore[arg-type]
            return "a text differs"
    except StateError as error:
        if not error.advice:
            return "left without advice"
        return "refused" if again else _end_of(directory, good, again=True)


def test_B7_keys_out_of_order_would_hide_rows_and_are_damage(filled: Path) -> None:
    def misplace(content: bytearray) -> None:
        place = content.index(b"todoTODO.md#172026-")
        content[place : place + 12] = b"todozODO.md#"

    content = edit(filled / "state.db", misplace)
    assert_mourned(filled, content, "order for sightings")


def test_B7_a_database_that_vanished_is_mourned(filled: Path) -> None:
    (filled / "state.db").unlink()
    assert_mourned(filled, None, "vanished")


def test_B7_a_directory_that_was_deleted_as_a_whole_is_a_first_run(filled: Path) -> None:
    shutil.rmtree(filled)
    with open_store(filled, NOW) as store:
        assert store.tombstone() is None


def test_B7_what_was_set_aside_is_never_overwritten(filled: Path) -> None:
    contents = [b"first", b"second", b"third"]
    for content in contents:
        (filled / "state.db").write_bytes(content)
        open_store(filled, LATER).close()
    names = [QUARANTINED, QUARANTINED + "-2", QUARANTINED + "-3"]
    assert [(filled / name).read_bytes() for name in names] == contents


def test_B7_the_journal_of_a_damaged_database_goes_with_it(filled: Path) -> None:
    """Left behind, SQLite would play it back into the new database."""
    (filled / "state.db").write_bytes(b"")
    (filled / "state.db-journal").write_bytes(b"old pages")
    open_store(filled, LATER).close()
    assert (filled / f"{QUARANTINED}-journal").read_bytes() == b"old pages"
    assert not (filled / "state.db-journal").exists()


def test_B7_a_directory_that_vanished_whole_is_mourned_where_scheduled_beats_used_it(filled: Path) -> None:
    witness.remember(filled, NOW)
    shutil.rmtree(filled)
    with open_store_read_only(filled) as store:
        standing = store.tombstone()
        assert standing is not None
        assert "vanished" in standing.reason
        assert f"as {witness.place(filled)} tells" in standing.reason, "who meant it has to delete that too"
    assert not filled.exists(), "looking makes nothing"
    assert not never_used(filled)
    with open_store(filled, LATER) as store:
        assert store.tombstone() is not None
        assert store.accept_tombstone("ops", LATER)
    with open_store(filled, LATER) as store:
        assert store.tombstone() is None, "once is enough"


def test_B7_a_directory_that_only_hands_used_may_be_thrown_away(filled: Path) -> None:
    shutil.rmtree(filled)
    with open_store(filled, LATER) as store:
        assert store.tombstone() is None


def test_B7_what_is_known_of_a_directory_goes_by_where_it_is(filled: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(filled)
    note = witness.remember(alias, NOW)
    assert witness.is_known(filled)
    assert not witness.is_known(tmp_path / "other")
    assert str(filled) in note.read_text("utf-8")
    before = note.read_bytes()
    assert witness.remember(filled, LATER) == note
    assert note.read_bytes() == before, "the first date stays"


def test_B7_a_note_that_cannot_be_kept_leaves_a_first_run_a_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        witness.remember(tmp_path / "state", NOW)
    assert never_used(tmp_path / "state")


def test_B7_the_journal_of_a_vanished_database_does_not_spoil_the_new_one(filled: Path) -> None:
    _kill_in_the_middle_of_a_write(filled)
    assert (filled / "state.db-journal").stat().st_size > 512
    (filled / "state.db").unlink()
    with open_store(filled, LATER) as store:
        assert store.tombstone() is not None
        assert store.receipts() == ()
    with open_store(filled, LATER) as store:
        assert store.receipts() == ()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_B7_a_crash_while_setting_aside_still_ends_with_a_tombstone(
    filled: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    (filled / "state.db").write_bytes(b"")
    (filled / "state.db-journal").write_bytes(b"old pages")
    rename = Path.rename
    steps = iter(range(1, 10))

    def crashing(self: Path, target: Path) -> Path:
        if next(steps) == step:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crashing)
        with pytest.raises(KeyboardInterrupt):
            open_store(filled, LATER)
    with open_store(filled, LATER) as store:
        assert store.tombstone() is not None
        store.add_receipt(receipt(1))
    assert (filled / QUARANTINED).read_bytes() == b""
    assert not (filled / "state.db-journal").exists()
    assert [path.read_bytes() for path in filled.glob("*-journal")] == [b"old pages"]


def test_a_crash_during_the_first_run_leaves_a_first_run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crashing)
        with pytest.raises(KeyboardInterrupt):
            open_store(directory, NOW)
    (directory / "state.db.new").write_bytes(b"half")
    with open_store(directory, NOW) as store:
        assert store.tombstone() is None
    assert not (directory / "state.db.new").exists()


def test_B7_a_damaged_database_that_is_in_use_is_not_pulled_away(filled: Path) -> None:
    content = edit(filled / "state.db", lambda content: content.__setitem__(slice(4000), bytes(4000)))
    with (
        shared(filled / "state.lock"),
        pytest.raises(StateError, match=r"is damaged.* cannot be made anew while another process uses it"),
    ):
        open_store(filled, LATER, busy_timeout=0.05)
    assert (filled / "state.db").read_bytes() == content
    assert_mourned(filled, content, "damaged")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every database were too large to be checked at each opening."""
    monkeypatch.setattr(opening, "CHECKED_UP_TO", 0)


@pytest.mark.usefixtures("unchecked")
def test_B7_damage_that_shows_in_use_ends_the_command_and_is_mourned_at_the_next(filled: Path) -> None:
    path = filled / "state.db"
    with open_store(filled, NOW) as store:
        assert isinstance(store, SqliteStore)
        ((page,),) = store._execute("SELECT rootpage FROM sqlite_master WHERE name = 'links'")
        ((page_size,),) = store._execute("PRAGMA page_size")
    content = edit(
        path, lambda content: content.__setitem__(slice((page - 1) * page_size, page * page_size), b"\xaa" * page_size)
    )
    with open_store(filled, LATER) as store:
        assert store.tombstone() is None
        with pytest.raises(StateError, match=r"state\.db is damaged") as damaged:
            store.links()
        assert "run the command again" in damaged.value.advice
        assert damaged.value.exit_code is Exit.STATE
    assert (filled / "state.db.suspect").exists()
    assert_mourned(filled, content, "damaged")
    assert not (filled / "state.db.suspect").exists()


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("receipts", "UPDATE receipts SET sources = '[{' WHERE id = 'r-7'"),
        ("receipts", "UPDATE receipts SET sources = 7 WHERE id = 'r-7'"),
        ("receipts", "UPDATE receipts SET agent = x'ff' WHERE id = 'r-7'"),
        ("receipts", "UPDATE receipts SET slot = 'noon' WHERE id = 'r-7'"),
        ("links", "UPDATE links SET via = 7"),
        ("links", "UPDATE links SET second_source = first_source, second_id = first_id"),
        ("sightings", "UPDATE sightings SET first_seen = x'00'"),
        ("completions", "UPDATE completions SET at = 'never'"),
        ("clocks", "UPDATE clocks SET seen_at = 'noon'"),
        ("clocks", "UPDATE clocks SET activity = '[1]'"),
        ("clocks", "UPDATE clocks SET activity = replace(activity, 'claim_heartbeat', 'applause')"),
        ("clocks", "UPDATE clocks SET progress = x'ff'"),
        ("clocks", "UPDATE clocks SET newest_id = NULL"),
        ("windows", "UPDATE windows SET until = 'never'"),
        ("windows", "UPDATE windows SET position = 'first' WHERE position = 0"),
        ("own", "UPDATE own SET evidence = 7 WHERE evidence = 'e-1'"),
        ("waiting", "UPDATE waiting SET since = 'long'"),
        ("incidents", "UPDATE incidents SET stage = 'forgotten'"),
        ("incidents", "UPDATE incidents SET refs = '[[1,2]]'"),
        ("incidents", "UPDATE incidents SET steps = '[[\"nudge\"]]'"),
        ("incidents", "UPDATE incidents SET number = 'two'"),
        ("incidents", "UPDATE incidents SET ending = '' WHERE ending IS NOT NULL"),
        ("incidents", "UPDATE incidents SET owner_kind = 'cat'"),
        ("rounds", "UPDATE rounds SET used = 'many'"),
        ("rounds", "UPDATE rounds SET slot = 'noon'"),
        ("holds", "UPDATE holds SET until = 'never'"),
        ("pauses", "UPDATE pauses SET author = 7"),
        ("outbox", "UPDATE outbox SET payload = '[]'"),
        ("outbox", "UPDATE outbox SET state = 'lost'"),
        ("outbox", "UPDATE outbox SET kind = 7"),
        ("outbox", "UPDATE outbox SET attempts = 1.5"),
        ("outbox", "UPDATE outbox SET finished_at = 'never'"),
        ("log", "UPDATE log SET details = 'null'"),
        ("log", "UPDATE log SET at = 7"),
        ("misses", "UPDATE misses SET reason = 'laziness'"),
        ("misses", "UPDATE misses SET count = 'many'"),
        ("misses", "UPDATE misses SET last = 'noon'"),
        ("misses", "UPDATE misses SET agent = 7 WHERE agent = 'dev'"),
        ("receipts", "UPDATE receipts SET dispatch = '[]' WHERE id = 'r-7'"),
        ("receipts", "UPDATE receipts SET level = 2 WHERE id = 'r-7'"),
        ("receipts", "UPDATE receipts SET level_reasons = '{}' WHERE id = 'r-7'"),
        ("attempts", "UPDATE attempts SET engine = 'steam'"),
        ("attempts", "UPDATE attempts SET life = 'afterlife' WHERE life = 'running'"),
        ("attempts", "UPDATE attempts SET outcome = 'glory' WHERE life = 'ended'"),
        ("attempts", "UPDATE attempts SET cause = '' WHERE life = 'ended'"),
        ("attempts", "UPDATE attempts SET refs = '{}'"),
        ("attempts", "UPDATE attempts SET refs = '[[1,2]]'"),
        ("attempts", 'UPDATE attempts SET before = \'[["todo","a","asleep"]]\''),
        ("attempts", "UPDATE attempts SET before = '[['"),
        ("attempts", "UPDATE attempts SET planned_at = 'noon'"),
        ("attempts", "UPDATE attempts SET deadline = 'never'"),
        ("attempts", "UPDATE attempts SET continued = 2"),
        ("attempts", "UPDATE attempts SET number = 'third'"),
        ("attempts", "UPDATE attempts SET exit_code = 'bad'"),
        ("attempts", "UPDATE attempts SET input_tokens = 1.5"),
        ("attempts", "UPDATE attempts SET cost_usd = 'a lot'"),
        ("attempts", "UPDATE attempts SET session = x'ff'"),
        ("breakers", "UPDATE breakers SET state = 'ajar'"),
        ("breakers", "UPDATE breakers SET failures = 'many'"),
        ("breakers", "UPDATE breakers SET until = 'soon'"),
        ("breakers", "UPDATE breakers SET probe = 7"),
        ("letters", "UPDATE letters SET state = 'lost'"),
        ("letters", "UPDATE letters SET payload = '[]'"),
        ("letters", "UPDATE letters SET attempts = '[7]'"),
        ("letters", "UPDATE letters SET refs = '7'"),
        ("letters", "UPDATE letters SET poison = 'yes'"),
        ("letters", "UPDATE letters SET due_at = 'soon'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_B7_a_row_that_we_never_wrote_is_damage_although_sqlite_finds_nothing(
    filled: Path, table: str, change: str
) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute(change)
    connection.close()
    content = (filled / "state.db").read_bytes()
    with open_store(filled, LATER) as store, pytest.raises(StateError, match=table):
        answers(store)
    assert_mourned(filled, content, table)


@pytest.mark.usefixtures("unchecked")
def test_B7_a_slot_that_we_never_wrote_is_damage_to_whoever_asks_for_it(filled: Path) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("UPDATE receipts SET slot = '2026-11-21T03:59 at noon' WHERE agent = 'coo'")
    connection.close()
    with open_store(filled, LATER) as store, pytest.raises(StateError, match="receipts"):
        store.last_slot("coo", LATER)


@pytest.mark.usefixtures("unchecked")
def test_B7_a_thorough_look_decodes_what_no_question_asks_for(filled: Path) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("UPDATE own SET at = 'never'")
    connection.close()
    content = (filled / "state.db").read_bytes()
    with open_store(filled, LATER) as store:
        assert store.own()
    (filled / "state.db.suspect").write_text("something showed")
    assert_mourned(filled, content, "own")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM attempt_refs WHERE source = 'multica'",
        "UPDATE attempt_refs SET unfinished = 0",
        "UPDATE attempt_refs SET unfinished = 2 WHERE unfinished = 0",
        "UPDATE attempt_refs SET id = 'another' WHERE source = 'multica'",
        "INSERT INTO attempt_refs VALUES (99, 'todo', 'a', 1)",
    ],
)
def test_X5_a_thorough_look_finds_refs_of_attempts_that_two_could_have(filled: Path, change: str) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute(change)
    connection.close()
    content = (filled / "state.db").read_bytes()
    with open_store(filled, LATER) as store:
        assert len(store.attempts()) == 2, "no other question asks for that"
    (filled / "state.db.suspect").write_text("something showed")
    assert_mourned(filled, content, "attempt_refs")


def test_X6_an_attempt_that_cannot_be_read_is_not_advanced(filled: Path) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("UPDATE attempts SET before = '[' WHERE life = 'running'")
    connection.close()
    with open_store(filled, NOW) as store:
        with pytest.raises(StateError, match="attempts"):
            store.advance_attempt(over(ATTEMPT, NOW), ATTEMPT.life)
        assert isinstance(store, SqliteStore)
        assert store._execute("SELECT life FROM attempts WHERE id = ?", (ATTEMPT.id,)) == [("running",)]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "table",
    [
        *("clocks", "windows", "own", "waiting", "incidents", "rounds", "holds", "pauses", "outbox", "log", "misses"),
        *("attempts", "breakers", "letters"),
    ],
)
def test_B7_a_spoiled_page_of_any_table_ends_the_command_and_is_mourned_at_the_next(filled: Path, table: str) -> None:
    with open_store(filled, NOW) as store:
        assert isinstance(store, SqliteStore)
        ((page,),) = store._execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        ((page_size,),) = store._execute("PRAGMA page_size")
    spoiled = slice((page - 1) * page_size, page * page_size)
    content = edit(filled / "state.db", lambda content: content.__setitem__(spoiled, b"\xaa" * page_size))
    with open_store(filled, LATER) as store, pytest.raises(StateError, match=r"state\.db is damaged") as damaged:
        remembered(store)
    assert damaged.value.advice
    assert_mourned(filled, content, "damaged")


def test_a_disk_that_spoils_every_new_database_is_told_at_last(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(path: Path, *arguments: object) -> None:
        path.write_bytes(b"rubbish")

    spoil(filled / "state.db")
    monkeypatch.setattr(opening, "_make", spoil)
    with pytest.raises(StateError, match="unusable again each of 3 times") as refused:
        open_store(filled, LATER)
    assert "dmesg" in refused.value.advice


def test_a_false_alarm_is_looked_into_and_costs_nothing(filled: Path) -> None:
    (filled / "state.db.suspect").write_text("a disk that was away for a moment")
    with open_store(filled, LATER) as store:
        assert store.tombstone() is None
        assert len(store.receipts()) == 30
    assert not (filled / "state.db.suspect").exists()


def test_I4_an_entry_that_cannot_be_read_is_not_claimed(filled: Path) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("UPDATE outbox SET payload = '[' WHERE key = 'k-1'")
    connection.close()
    with open_store(filled, NOW) as store:
        with pytest.raises(StateError, match="outbox"):
            store.claim_entry("k-1", NOW)
        assert isinstance(store, SqliteStore)
        assert store._execute("SELECT attempts FROM outbox WHERE key = 'k-1'") == [(1,)]


def test_a_beat_that_meets_a_damaged_row_is_undone_as_a_whole(filled: Path) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("UPDATE links SET made_at = 'never'")
    connection.close()
    with open_store(filled, NOW) as store:

        def beat() -> None:
            with store.transaction():
                store.add_receipt(receipt(77))
                store.links()

        with pytest.raises(StateError, match="links"):
            beat()
        assert receipt(77) not in store.receipts()


@pytest.mark.parametrize("opened", [lambda at: open_store(at, NOW), open_store_read_only])
def test_a_database_of_a_newer_heartbeat_is_left_alone(filled: Path, opened: Callable[[Path], Store]) -> None:
    with sqlite3.connect(filled / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = everything(filled)
    with pytest.raises(StateError, match="written by a newer heartbeat") as refused:
        opened(filled)
    assert "upgrade" in refused.value.advice
    assert everything(filled) == before


@pytest.mark.parametrize("opened", [lambda at: open_store(at, NOW), open_store_read_only])
def test_a_database_of_another_program_is_left_alone(directory: Path, opened: Callable[[Path], Store]) -> None:
    directory.mkdir()
    with sqlite3.connect(directory / "state.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    before = (directory / "state.db").read_bytes()
    with pytest.raises(StateError, match="another program"):
        opened(directory)
    assert (directory / "state.db").read_bytes() == before


@pytest.mark.parametrize("opened", [lambda at: open_store(at, NOW), open_store_read_only])
def test_something_else_in_the_databases_place_is_left_alone(directory: Path, opened: Callable[[Path], Store]) -> None:
    (directory / "state.db").mkdir(parents=True)
    with pytest.raises(StateError, match="is not a file"):
        opened(directory)
    assert (directory / "state.db").is_dir()


def test_a_state_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="state") as refused:
        open_store(tmp_path / "state", NOW)
    assert refused.value.advice


_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held")
input()
connection.execute("ROLLBACK")
print("freed")
input()
"""


def test_a_database_locked_by_another_process_is_told_and_works_again_afterwards(filled: Path) -> None:
    path = filled / "state.db"
    with open_store(filled, NOW, busy_timeout=0.05) as store, child(_HOLD, path, "BEGIN EXCLUSIVE") as holder:
        assert holder.line() == "held"
        for use in (
            lambda: store.receipts(),
            lambda: store.add_receipt(receipt(50)),
            lambda: open_store(filled, NOW, busy_timeout=0.05),
            lambda: open_store_read_only(filled, busy_timeout=0.05),
        ):
            with pytest.raises(StateError, match="locked by another process") as locked:
                use()
            assert str(path) in str(locked.value)
            assert f"fuser -v {path}" in locked.value.advice
        holder.go_on()
        assert holder.line() == "freed"
        store.add_receipt(receipt(50))
        assert store.last_receipt("coo") == receipt(50)
        assert store.tombstone() is None


def test_a_writer_waits_for_the_other_one_to_finish(filled: Path) -> None:
    with (
        open_store(filled, NOW, busy_timeout=30) as store,
        child(_HOLD, filled / "state.db", "BEGIN IMMEDIATE") as holder,
    ):
        assert holder.line() == "held"
        assert len(store.receipts()) == 30, "who only reads need not wait"
        holder.go_on()
        store.add_receipt(receipt(50))
    with open_store(filled, NOW) as store:
        assert store.last_receipt("coo") == receipt(50)


def test_a_beat_has_the_database_to_itself_from_its_start_to_its_end(filled: Path) -> None:
    """Taken only at its first write, the lock could be lost between what a beat reads and what it writes."""
    with open_store(filled, NOW) as mine, open_store(filled, NOW, busy_timeout=0.02) as other:
        with mine.transaction():
            assert len(mine.receipts()) == 30
            with pytest.raises(StateError, match="locked by another process"):
                other.add_receipt(receipt(50))
            assert len(other.receipts()) == 30
        other.add_receipt(receipt(50))


_WRITE_AND_WAIT = """
import sys
from pathlib import Path
from heartbeat.store.opening import open_store
from heartbeat.task import Ref
from tests.support.receipts import NOW, receipt
store = open_store(Path(sys.argv[1]), NOW)
store._connection.execute("PRAGMA cache_size = 1")  # pages go to the file long before the commit
with store.transaction():
    for number in range(1000, 1400):
        store.add_receipt(receipt(number))
    store.note_sightings([Ref("todo", str(number)) for number in range(2000)], NOW)
    print("in the middle")
    input()
"""


def _kill_in_the_middle_of_a_write(directory: Path) -> None:
    with child(_WRITE_AND_WAIT, directory) as writer:
        assert writer.line() == "in the middle"
        writer.kill()


def test_a_beat_killed_in_the_middle_of_its_transaction_never_was(filled: Path) -> None:
    with open_store(filled, NOW) as store:
        good = answers(store)
    sound = (filled / "state.db").read_bytes()
    _kill_in_the_middle_of_a_write(filled)
    assert (filled / "state.db").read_bytes() != sound, "the kill came while the file was being changed"
    with open_store(filled, LATER) as store:
        assert store.tombstone() is None
        assert answers(store) == good
        store.add_receipt(receipt(50))


def test_B3_looking_does_not_repair_what_a_killed_beat_left_and_says_so(filled: Path) -> None:
    _kill_in_the_middle_of_a_write(filled)
    before = everything(filled)
    with pytest.raises(StateError, match="unfinished write of a heartbeat that was killed") as refused:
        open_store_read_only(filled)
    assert "heartbeat tick" in refused.value.advice
    assert everything(filled) == before


def test_B3_looking_changes_no_byte_and_makes_no_file(filled: Path) -> None:
    with open_store(filled, NOW) as store:
        good = answers(store)
    before = everything(filled)
    with open_store_read_only(filled) as store:
        assert store.read_only
        assert answers(store) == good
        with pytest.raises(StateError, match="reading only"):
            store.add_receipt(receipt(50))
    assert everything(filled) == before


def test_B3_looking_where_nothing_is_yet_shows_an_empty_store_and_leaves_nothing(directory: Path) -> None:
    with open_store_read_only(directory) as store:
        assert store.receipts() == ()
        assert store.tombstone() is None
    assert not directory.exists()


def test_B3_looking_at_a_database_that_lost_its_lock_file_makes_none(filled: Path) -> None:
    (filled / "state.lock").unlink()
    with open_store_read_only(filled) as store:
        assert len(store.receipts()) == 30
    assert not (filled / "state.lock").exists()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_bytes(b"rubbish" * 1000), "damaged"),
        (lambda path: os.truncate(path, 9000), "damaged"),
        (lambda path: path.unlink(), "vanished"),
    ],
)
def test_B7_looking_at_lost_memory_mourns_it_and_changes_nothing(
    filled: Path, harm: Callable[[Path], object], why: str
) -> None:
    harm(filled / "state.db")
    before = everything(filled)
    with open_store_read_only(filled) as store:
        tombstone = store.tombstone()
        assert tombstone is not None
        assert why in tombstone.reason
        assert store.receipts() == ()
        with pytest.raises(StateError):
            store.accept_tombstone("lin", NOW)
    assert everything(filled) == before


def test_a_store_being_looked_at_does_not_stop_a_beat(filled: Path) -> None:
    with open_store_read_only(filled) as viewer, open_store(filled, NOW) as store:
        store.add_receipt(receipt(50))
        assert viewer.last_receipt("coo") == receipt(50)


_ON_A_SMALL_DISK = """
import os, shutil, subprocess, sys
from pathlib import Path
from heartbeat.errors import StateError
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW, receipt
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
directory = Path(disk, "state")
kept = 0
with open_store(directory, NOW) as store:
    try:
        for number in range(10000):
            store.add_receipt(receipt(number, reasons=("x" * 1000,)))
            kept = number + 1
    except StateError as error:
        print(error)
        print(error.advice)
with open_store(directory, NOW) as store:
    print(kept > 5, len(store.receipts(limit=99999)) == kept, store.tombstone())
other = Path(disk, "other")
filler = os.open(Path(disk, "filler"), os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError:
    pass
try:
    open_store(other, NOW)
except StateError as error:
    print(error)
print(sorted(path.name for path in other.iterdir()) if other.exists() else [])
os.truncate(filler, 0)
shutil.rmtree(directory)
with open_store(other, NOW) as store:
    print(store.tombstone())
"""


def test_a_full_disk_ends_the_write_and_loses_nothing(tmp_path: Path) -> None:
    said = run(_ON_A_SMALL_DISK, tmp_path, prefix=mount_namespace())
    assert "state.db" in said[0]
    assert "does not fit on its disk" in said[0]
    assert "free some space" in said[1]
    assert said[2] == "True True None"
    assert "other" in said[3]
    assert "state.db" not in said[4].replace("state.db.new", ""), "no half database is left behind"
    assert said[5] == "None", "a first run that found no space is a first run when there is some"


def test_a_database_that_may_not_grow_undoes_the_whole_beat(filled: Path) -> None:
    with open_store(filled, NOW) as store:
        assert isinstance(store, SqliteStore)
        good = answers(store)
        ((pages,),) = store._execute("PRAGMA page_count")
        store._execute(f"PRAGMA max_page_count = {pages}")

        def beat() -> None:
            with store.transaction():
                for number in range(100, 400):
                    store.add_receipt(receipt(number))

        with pytest.raises(StateError, match="does not fit on its disk") as full:
            beat()
        assert "free some space" in full.value.advice
        assert answers(store) == good
        store._execute("PRAGMA max_page_count = 100000")
        beat()
        assert len(store.receipts(limit=1000)) == 330


_ON_A_LIMITED_FILE = """
import resource, sys
from pathlib import Path
from heartbeat.errors import StateError
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW, receipt
with open_store(Path(sys.argv[1]), NOW) as store:
    limit = Path(sys.argv[1], "state.db").stat().st_size + 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with store.transaction():
            for number in range(100, 500):
                store.add_receipt(receipt(number))
    except StateError as error:
        print(error)
    print(len(store.receipts(limit=1000)))
"""


def test_a_file_size_limit_undoes_the_whole_beat(filled: Path) -> None:
    told, kept = run(_ON_A_LIMITED_FILE, filled)
    assert str(filled / "state.db") in told
    assert kept == "30"
    with open_store(filled, NOW) as store:
        assert store.tombstone() is None
        assert len(store.receipts()) == 30


_ON_A_READ_ONLY_MOUNT = """
import subprocess, sys
from pathlib import Path
from heartbeat.errors import StateError
from heartbeat.store.opening import never_used, open_store, open_store_read_only
from tests.support.receipts import NOW
directory = Path(sys.argv[1])
subprocess.run(["mount", "--bind", directory, directory], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
for at in (directory, directory / "new"):
    try:
        open_store(at, NOW)
    except StateError as error:
        print(error, "|", error.advice)
with open_store_read_only(directory) as store:
    print(len(store.receipts()), store.tombstone())
"""


def test_a_read_only_mount_refuses_beats_and_can_be_looked_at(filled: Path) -> None:
    said = run(_ON_A_READ_ONLY_MOUNT, filled, prefix=mount_namespace())
    for refusal in said[:2]:
        assert str(filled) in refusal
        assert "Read-only file system" in refusal
        assert refusal.partition("|")[2].strip()
    assert said[2] == "30 None"


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind root; the read-only mount is the test for root")
def test_a_directory_without_write_permission_refuses_beats_and_can_be_looked_at(filled: Path) -> None:
    filled.chmod(0o500)
    (filled / "state.db").chmod(0o400)
    try:
        with pytest.raises(StateError) as refused:
            open_store(filled, NOW)
        assert refused.value.advice
        with open_store_read_only(filled) as store:
            assert len(store.receipts()) == 30
    finally:
        filled.chmod(0o700)


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
def failing_mkdir(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    number: int = request.param

    def fail(self: Path, *arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", fail)
    return number


def test_whatever_the_file_system_says_is_told_with_the_path_and_what_to_do(
    directory: Path, failing_mkdir: int
) -> None:
    with pytest.raises(StateError) as refused:
        open_store(directory, NOW)
    assert str(directory) in str(refused.value)
    assert os.strerror(failing_mkdir) in str(refused.value)
    assert refused.value.advice


_FIRST_RUN = """
import sys
from pathlib import Path
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW, receipt
print("ready")
input()
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    for number in range(5):
        store.add_receipt(receipt(int(sys.argv[2]) + number))
    print(store.tombstone())
"""


def test_first_runs_at_the_same_moment_make_one_database_and_lose_nothing(directory: Path) -> None:
    with child(_FIRST_RUN, directory, 100) as one, child(_FIRST_RUN, directory, 200) as two:
        for each in (one, two):
            assert each.line() == "ready"
        for each in (one, two):
            each.go_on()
        assert [each.line() for each in (one, two)] == ["None", "None"]
        assert [each.end() for each in (one, two)] == [0, 0]
    with open_store(directory, NOW) as store:
        assert len(store.receipts()) == 10
        assert store.tombstone() is None
    assert not list(directory.glob("*.corrupt*"))


def test_a_first_run_that_another_one_overtakes_goes_on_beside_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has made the database and works with it for longer than anybody waits."""
    with ExitStack() as others, monkeypatch.context() as patched:

        def overtaken(*arguments: Any, **named: Any) -> AbstractContextManager[Lock]:
            patched.undo()
            others.enter_context(open_store(directory, NOW))
            return try_exclusive(*arguments, **named)

        patched.setattr(opening, "try_exclusive", overtaken)
        with open_store(directory, NOW, busy_timeout=5) as store:
            store.add_receipt(receipt(1))
            assert store.tombstone() is None


def test_a_database_renamed_while_in_use_does_not_swallow_receipts(filled: Path) -> None:
    with open_store(filled, NOW) as store:
        (filled / "state.db").rename(filled / "moved.db")
        with pytest.raises(StateError, match="moved or deleted") as moved:
            store.add_receipt(receipt(50))
        assert moved.value.advice


def test_the_time_of_a_loss_that_was_only_looked_at_is_when_the_file_last_changed(filled: Path) -> None:
    (filled / "state.db").write_bytes(b"")
    os.utime(filled / "state.db", (NOW.timestamp(), NOW.timestamp()))
    with open_store_read_only(filled) as store:
        tombstone = store.tombstone()
        assert tombstone is not None
        assert abs(tombstone.at - NOW) < MINUTE
