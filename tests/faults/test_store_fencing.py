"""A process that is stopped while it has the database: who ends it, when, and what is left of its write (rule B1)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heartbeat.errors import StateError
from heartbeat.store.locks import Fenced
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Store
from heartbeat.store.rehearsal import rehearsal
from tests.support.child import Child, child
from tests.support.holders import HOLD, overstay
from tests.support.receipts import LOG_ENTRY, NOW, receipt

BUSY = 0.2

_WRITE = """
import os, signal, sys
from pathlib import Path
from heartbeat.deadline import Deadline
from heartbeat.store.locks import exclusive
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW, receipt

directory, where = Path(sys.argv[1]), sys.argv[2]
store = open_store(directory, NOW)
connection = store._connection

def stop():
    print("there", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

with exclusive(directory / "locks" / "coo.lock", purpose="tick", until=Deadline.after(60)):
    if where == "within a write":
        with store.transaction():
            store.add_receipt(receipt(66))
            stop()
    elif where == "before the lock of the database":
        with store._guard.writing(directory / "state.db", 1):
            stop()
    elif where == "within a commit":
        with store._guard.writing(directory / "state.db", 1):
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("UPDATE receipts SET pid = 66")
            stop()
    elif where == "within a look":
        rows = connection.execute("SELECT * FROM receipts")
        rows.fetchone()
        stop()
    elif where == "between two writes":
        stop()
print("went on")
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with open_store(tmp_path, NOW) as store:
        for number in range(3):
            store.add_receipt(receipt(number))
    return tmp_path


@contextmanager
def stopped(directory: Path, where: str) -> Iterator[Child]:
    with child(_WRITE, directory, where) as other:
        assert other.line() == "there"
        other.stopped()
        yield other


def actions(store: Store) -> list[str]:
    return [entry.action for entry in store.log()]


@pytest.mark.parametrize("where", ["within a write", "before the lock of the database", "within a commit"])
def test_B1_a_write_that_is_over_its_time_is_undone_with_its_process(directory: Path, where: str) -> None:
    told: list[Fenced] = []
    with stopped(directory, where) as other:
        overstay(directory / "state.write")
        with open_store(directory, NOW, busy_timeout=BUSY, on_fenced=told.append) as store:
            store.add_receipt(receipt(9))
            assert [each.id for each in store.receipts()] == ["r-9", "r-2", "r-1", "r-0"]
            assert {each.pid for each in store.receipts()} == {4711}
            assert actions(store) == ["fenced"]
            (entry,) = store.log()
        assert other.end() == -signal.SIGKILL
    (fenced,) = told
    assert (fenced.holder.pid, fenced.holder.purpose) == (other.pid, "writing its memory")
    assert entry.message == str(fenced)


@pytest.mark.parametrize("where", ["within a write", "within a commit"])
def test_B1_a_write_within_its_time_is_waited_for_and_its_process_named(directory: Path, where: str) -> None:
    with stopped(directory, where) as other:

        def write() -> None:
            with open_store(directory, NOW, busy_timeout=BUSY) as store:
                store.add_receipt(receipt(9))

        with pytest.raises(StateError, match=r"state\.db has been locked by another process") as locked:
            write()
        if where == "within a write":
            assert f"pid {other.pid} (writing its memory) since 2" in str(locked.value)
        assert f"fuser -v {directory / 'state.db'}" in locked.value.advice
        assert other.process.poll() is None
        other.process.send_signal(signal.SIGCONT)
        if where == "within a write":
            assert other.line() == "went on"
            write()


def test_B1_a_beat_that_is_over_its_time_holds_nobody_up_by_looking(directory: Path) -> None:
    """What a stopped look keeps others from is the commit."""
    with stopped(directory, "within a look") as other, open_store(directory, NOW, busy_timeout=BUSY) as store:
        with pytest.raises(StateError, match="locked by another process"):
            store.add_receipt(receipt(8))
        assert other.process.poll() is None, "within its time"
        overstay(directory / "locks" / "coo.lock")
        store.add_receipt(receipt(9))
        assert store.receipts(limit=1)[0].id == "r-9"
        assert other.end() == -signal.SIGKILL
        assert actions(store) == [], "its end came after the last word of this write"
        store.add_log([LOG_ENTRY])
        assert actions(store) == [LOG_ENTRY.action, "fenced"]


def test_B7_a_database_is_made_anew_although_a_stopped_beat_has_the_old_one_open(directory: Path) -> None:
    told: list[Fenced] = []
    with stopped(directory, "between two writes") as other:
        (directory / "state.db").write_bytes(b"rubbish")
        with pytest.raises(StateError, match="cannot be made anew while"):
            open_store(directory, NOW, busy_timeout=BUSY)
        assert other.process.poll() is None
        overstay(directory / "locks" / "coo.lock")
        with open_store(directory, NOW, busy_timeout=BUSY, on_fenced=told.append) as store:
            assert store.tombstone() is not None
            assert actions(store) == ["fenced"]
        assert [each.holder.purpose for each in told] == ["tick"]
        assert other.end() == -signal.SIGKILL


def test_B7_whoever_hangs_while_it_makes_the_database_anew_is_ended_too(directory: Path) -> None:
    told: list[Fenced] = []
    with child(HOLD, directory / "state.lock", 60, "plain") as other:
        assert other.line() == "held"
        other.process.send_signal(signal.SIGSTOP)
        other.stopped()
        with pytest.raises(StateError, match=f"state.lock is held by pid {other.pid}"):
            open_store(directory, NOW, busy_timeout=BUSY)
        overstay(directory / "state.lock")
        with open_store(directory, NOW, busy_timeout=BUSY, on_fenced=told.append) as store:
            assert len(store.receipts()) == 3
            assert actions(store) == ["fenced"]
        assert other.end() == -signal.SIGKILL
    assert [each.path.name for each in told] == ["state.lock"]


def test_B3_looking_ends_nobody(directory: Path) -> None:
    with stopped(directory, "within a commit") as other:
        overstay(directory / "state.write", directory / "locks" / "coo.lock")
        with pytest.raises(StateError, match="locked by another process"):
            open_store_read_only(directory, busy_timeout=BUSY)
        assert other.process.poll() is None
    with stopped(directory, "within a write") as other:
        overstay(directory / "state.write", directory / "locks" / "coo.lock")
        with open_store_read_only(directory, busy_timeout=BUSY) as store:
            assert len(store.receipts()) == 3
        with rehearsal(directory, busy_timeout=BUSY) as copy:
            assert copy is not None
            copy.add_receipt(receipt(7))
        assert other.process.poll() is None


def test_a_process_that_writes_twice_at_once_waits_for_itself_and_ends_nobody(directory: Path) -> None:
    with open_store(directory, NOW) as mine, open_store(directory, NOW, busy_timeout=BUSY) as other:
        with mine.transaction():
            overstay(directory / "state.write")
            with pytest.raises(StateError, match="it is this very process"):
                other.add_receipt(receipt(8))
        other.add_receipt(receipt(8))


def test_the_lock_of_the_writer_is_private_and_empty_when_nobody_writes(directory: Path) -> None:
    path = directory / "state.write"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b""
    with open_store(directory, NOW) as store, store.transaction():
        assert str(os.getpid()).encode() in path.read_bytes()
    assert path.read_bytes() == b""
