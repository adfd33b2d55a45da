"""What a watchdog meets at night: a state that is locked, damaged, gone, or on a disk that hangs; a process that was
killed or stopped; no room for its own memory (rules B2, B7)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import StateError
from heartbeat.schedule.slots import next_slot
from heartbeat.store.locks import exclusive, try_exclusive
from heartbeat.store.opening import open_store
from heartbeat.store.port import LogEntry
from heartbeat.watch import notebook, watchdog
from heartbeat.watch.flips import MEMORY, STORE, Kind
from heartbeat.watch.notebook import Shelf
from heartbeat.watch.patience import within
from heartbeat.watch.processes import Doing, author, held
from heartbeat.watch.records import read
from heartbeat.watch.watchdog import Room, alone, watch
from tests.support.child import Child, child, mount_namespace, run
from tests.support.watching import BEGIN, EVERY, GRACE, MINUTE, Den, member

WRITING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("ready", flush=True)
input()
"""
"""A process in the middle of a write."""

HOLDING = """
import sys
from pathlib import Path
from heartbeat.deadline import Deadline
from heartbeat.store.locks import try_exclusive
until = Deadline.after(float(sys.argv[2])) if len(sys.argv) > 2 else None
with try_exclusive(Path(sys.argv[1]), purpose="tick", until=until) as lock:
    print("ready" if lock.held else "refused", flush=True)
    input()
"""
"""A process that has a lock, and says for how long where it is told to."""


@pytest.fixture
def den(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Den:
    """A team of two that has beaten, and a watchdog that does not wait long for a writer."""
    monkeypatch.setattr(watchdog, "read", partial(read, patience=0.2))
    found = Den(tmp_path)
    found.beat()
    found.minutes(12, "coo", "dev")
    return found


@pytest.fixture
def stopped_writer(den: Den) -> Iterator[Child]:
    """Somebody was stopped while it wrote into the database."""
    with child(WRITING, den.state / "state.db") as writer:
        assert writer.line() == "ready"
        os.kill(writer.pid, signal.SIGSTOP)
        yield writer
        os.kill(writer.pid, signal.SIGCONT)


def until_told(den: Den, *beating: str, most: int = 30) -> None:
    for _ in range(most):
        den.minutes(1, *beating)
        if den.letters:
            return
    pytest.fail("nobody was told")


def zeroed(path: Path) -> None:
    path.write_bytes(b"")


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 8192)


def other_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "kind", "told"),
    [
        (zeroed, Kind.LOST, "it is empty (0 bytes)"),
        (damaged, Kind.LOST, "is damaged"),
        (lambda path: path.unlink(), Kind.LOST, "vanished"),
        (newer, Kind.UNREADABLE, "was written by a newer heartbeat"),
        (other_program, Kind.UNREADABLE, "is a database of another program"),
    ],
)
def test_B7_a_database_that_is_not_what_it_was_is_told_for_what_it_is(
    den: Den, spoil: Any, kind: Kind, told: str
) -> None:
    spoil(den.state / "state.db")
    broke = den.now
    until_told(den)
    assert den.now - broke <= GRACE + 2 * MINUTE
    (letter,) = den.letters
    assert told in letter.body
    assert den.look().troubles[MEMORY if kind is Kind.LOST else STORE].kind is kind


def test_a_state_that_is_gone_altogether_is_told_and_not_taken_for_a_first_run(den: Den) -> None:
    den.state.rename(den.folder / "elsewhere")
    until_told(den)
    assert "状态数据库不见了" in den.letters[0].body
    assert str(den.state) in den.letters[0].body
    (den.folder / "elsewhere").rename(den.state)
    den.minutes(1)
    den.beat()
    den.minutes(2, "coo", "dev")
    assert "状态数据库又在了。" in den.letters[1].body


def test_a_writer_that_was_stopped_delays_no_look_and_is_told(den: Den, stopped_writer: Child) -> None:
    assert "has been locked by another process" in den.look().scene.records.trouble
    until_told(den, most=8)
    assert "状态用不了" in den.letters[0].body
    assert "agent/coo" not in den.look().alarms.standing


def test_when_the_writer_goes_on_that_is_told_and_the_beats_are_watched_again(den: Den) -> None:
    with child(WRITING, den.state / "state.db") as writer:
        assert writer.line() == "ready"
        until_told(den, most=8)
        writer.go_on()
        writer.end()
    den.beat()
    den.minutes(2, "coo", "dev")
    assert "状态又能用了。" in den.letters[1].body


def test_a_lock_for_a_minute_is_nothing_to_tell(den: Den) -> None:
    with child(WRITING, den.state / "state.db") as writer:
        assert writer.line() == "ready"
        den.minutes(2)
        writer.kill()
    den.beat()
    den.minutes(20, "coo", "dev")
    assert den.letters == []


def test_an_unfinished_write_of_somebody_who_was_killed_is_told_until_a_beat_undoes_it(den: Den) -> None:
    program = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_spill = 1")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN EXCLUSIVE")
for number in range(3000):
    connection.execute("INSERT INTO log (at, action, message, agent, task, incident, details) "
                       "VALUES ('2026', 'x', ?, '', '', '', '{}')", ("x" * 500,))
print("ready", flush=True)
input()
"""
    with child(program, den.state / "state.db") as writer:
        assert writer.line() == "ready"
        writer.kill()
    assert "unfinished write" in den.look().scene.records.trouble
    until_told(den, most=8)
    den.beat()
    den.minutes(1, "coo", "dev")
    assert den.letters[1].level.value == "info"


def test_whoever_replaces_the_database_and_was_stopped_delays_no_look(den: Den) -> None:
    with child(HOLDING, den.state / "state.lock") as holder:
        assert holder.line() == "ready"
        os.kill(holder.pid, signal.SIGSTOP)
        assert f"is held by pid {holder.pid}" in den.look().scene.records.trouble
        os.kill(holder.pid, signal.SIGCONT)


def test_a_disk_that_hangs_is_told_and_left_behind() -> None:
    never = threading.Event()
    try:
        with pytest.raises(StateError, match="the state did not answer within 0s"):
            within(0.05, "the state", never.wait)
    finally:
        never.set()


def test_what_a_look_raises_comes_through() -> None:
    def look() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        within(5, "the state", look)
    assert within(5, "the state", lambda: 7) == 7


def test_a_look_that_does_not_come_back_is_a_trouble_like_any_other(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(watchdog, "_LOOK", 0.1)

    def hang(*_: object, **more: object) -> Any:
        never.wait()
        raise AssertionError

    # The roster is read as before: only the state's disk hangs.
    monkeypatch.setattr(watchdog, "read", hang)
    try:
        until_told(den, most=8)
        assert "did not answer within" in den.letters[0].body
    finally:
        never.set()


@pytest.mark.parametrize("make", [lambda path: path.write_text("a file"), lambda path: path.mkdir()])
def test_a_state_that_is_no_state_raises_nothing(tmp_path: Path, make: Any) -> None:
    state = tmp_path / "state"
    make(state)
    records = read(state, ["coo"], BEGIN)
    assert records.agents.keys() <= {"coo"}
    assert not records.exists or records.trouble


def test_a_directory_where_the_database_belongs_is_a_trouble(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    assert "is not a file" in read(tmp_path, ["coo"], BEGIN).trouble


# Whom the lock files name.


def test_a_holder_is_running_then_stopped_then_gone(tmp_path: Path) -> None:
    def now() -> Doing:
        (found,) = held(tmp_path)
        assert found.name == "coo"
        return found.doing

    with child(HOLDING, tmp_path / "locks" / "coo.lock") as holder:
        assert holder.line() == "ready"
        assert now() is Doing.RUNNING
        os.kill(holder.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        assert now() is Doing.STOPPED
        os.kill(holder.pid, signal.SIGCONT)
        holder.kill()
        assert now() is Doing.GONE


def test_a_lock_that_was_let_go_names_nobody(tmp_path: Path) -> None:
    with exclusive(tmp_path / "locks" / "coo.lock"):
        assert [each.holder.pid for each in held(tmp_path)] == [os.getpid()]
    assert held(tmp_path) == ()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"pid": "x"}', b'{"pid": 99999999999, "purpose": "x"}', b"\xff" * 3000]
)
def test_whatever_stands_in_a_lock_file_is_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "coo.lock").write_bytes(content)
    assert [each.doing for each in held(tmp_path)] in ([], [Doing.GONE])


def test_a_fifo_among_the_locks_delays_nobody(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    os.mkfifo(tmp_path / "locks" / "coo.lock")
    assert held(tmp_path) == ()


def test_a_process_that_began_after_a_receipt_only_has_its_number() -> None:
    with child("print('ready', flush=True); input()") as other:
        assert other.line() == "ready"
        assert author(other.pid, "", BEGIN.replace(year=2200)) is Doing.RUNNING
        assert author(other.pid, "", BEGIN.replace(year=2000)) is Doing.GONE
        assert author(other.pid, "another-machine", BEGIN) is Doing.ELSEWHERE
        other.kill()
        assert author(other.pid, "", BEGIN.replace(year=2200)) is Doing.GONE


def test_B2_a_beat_that_hangs_alive_is_told_as_soon_as_one_that_never_came(tmp_path: Path) -> None:
    den = Den(tmp_path, (member("coo"),))
    den.beat()
    den.minutes(20, "coo")
    with open_store(den.state, den.now) as store:
        last = store.last_receipts()["coo"].started_at
    lock = den.state / "locks" / "coo.lock"
    with child(HOLDING, lock, 0.05) as hung:
        assert hung.line() == "ready"
        # It began its beat in time, and its own time is over long since.
        record = json.loads(lock.read_text())
        slot = next_slot(den.agent("coo").policy, "UTC", last)
        lock.write_text(json.dumps({**record, "since": slot.isoformat()}))
        threading.Event().wait(0.1)
        until_told(den)
        assert den.now - last <= EVERY + GRACE + timedelta(seconds=60)
        assert f"进程 {hung.pid} 已超时" in den.letters[0].body


def test_B1_a_beat_that_is_within_its_own_time_is_at_work(tmp_path: Path) -> None:
    with child(HOLDING, tmp_path / "locks" / "coo.lock", 600) as holder:
        assert holder.line() == "ready"
        (found,) = held(tmp_path)
        assert found.at_work == found.holder.since is not None


def test_a_daemon_that_ended_in_order_is_told_as_that(den: Den) -> None:
    with open_store(den.state, den.now) as store:
        store.add_log([LogEntry(den.now, "daemon-ended", "the daemon ends (SIGTERM) after 12 beats")])
    until_told(den)
    assert "正常结束，之后没有再启动" in den.letters[0].body
    assert "cron show" not in den.letters[0].body


def test_after_somebody_else_has_beaten_the_end_of_a_daemon_is_no_cause(den: Den) -> None:
    with open_store(den.state, den.now) as store:
        store.add_log([LogEntry(den.now, "daemon-ended", "the daemon ends (SIGTERM) after 12 beats")])
    den.minutes(12, "coo", "dev")
    until_told(den)
    assert "正常结束" not in den.letters[0].body
    assert "cron show" in den.letters[0].body


# Its disks.

MOUNTED = """
import subprocess, sys
from pathlib import Path
from tests.support.watching import Den

folder = Path(sys.argv[1])
for name, size in (("state", "32m"), ("notebooks", "1m")):
    (folder / name).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder / name)], check=True)
den = Den(folder, places=(folder / "notebooks" / "own", folder / "elsewhere"))
den.beat()
den.minutes(12, "coo", "dev")
what = sys.argv[2]
if what == "read-only":
    subprocess.run(["mount", "-o", "remount,ro", str(folder / "state")], check=True)
else:
    for name in ("state", "notebooks"):
        with (folder / name / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
found = den.minutes(14)
print(*[each.kept.parent.name for each in found])
print(len(den.letters))
print(*[letter.body.replace(chr(10), " ") for letter in den.letters])
"""
"""A team whose state is on a small disk of its own, and its watchdog's memory on another."""


@pytest.mark.parametrize(("what", "told"), [("read-only", "state: read-only"), ("full", "KiB free")])
def test_a_state_disk_that_is_read_only_or_full_is_told_once(tmp_path: Path, what: str, told: str) -> None:
    places, letters, bodies = run(MOUNTED, tmp_path, what, prefix=mount_namespace())
    assert bodies.count("状态目录所在的磁盘有问题") == 1
    assert told in bodies
    assert "磁盘写不进去" in bodies, "the likely cause of the beats that do not come"
    assert "cron show" not in bodies
    assert int(letters) <= 3
    # To remember elsewhere makes room for the next time.
    assert set(places.split()) == ({"own"} if what == "read-only" else {"own", "elsewhere"})


# Its own memory.


def test_a_notebook_that_is_spoilt_costs_one_repetition_and_is_said(den: Den) -> None:
    den.minutes(12)
    until = len(den.letters)
    assert until == 1
    (den.folder / "notebooks" / "team.json").write_text("{")
    found = den.minutes(1)[0]
    assert any("team.json" in note for note in found.notes)
    den.minutes(30)
    assert len(den.letters) == 2


def test_without_room_in_its_first_place_it_goes_on_in_the_next_and_tells_once(den: Den, tmp_path: Path) -> None:
    first, second = tmp_path / "notebooks", tmp_path / "memory"
    den.places = (first, second)
    for path in first.iterdir():
        path.unlink()
    first.rmdir()
    first.write_text("no directory")
    found = den.minutes(40)
    assert found[-1].kept == second / "team.json"
    assert len(den.letters) == 1


def test_without_room_anywhere_it_tells_twice_an_hour_and_says_why(den: Den, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    den.places = (tmp_path / "full", tmp_path / "full" / "too")
    found = den.minutes(90)
    assert all(each.kept is None for each in found)
    assert 2 <= len(den.letters) <= 3
    assert any("nothing can be remembered" in note for note in found[-1].notes)


def room(tmp_path: Path, *directories: Path, name: str = "team") -> Room:
    """A watchdog whose notebook may lie there."""
    return replace(Den(tmp_path).room, shelf=Shelf(directories or (tmp_path,), name))


def test_one_watchdog_runs_at_a_time(tmp_path: Path) -> None:
    same, another = room(tmp_path), room(tmp_path, name="other")
    with alone(same) as first, alone(room(tmp_path)) as second, alone(another) as other:
        assert (first, other) == ("", "")
        assert f"pid {os.getpid()}" in second


def test_a_watchdog_that_hangs_is_ended_by_its_successor(tmp_path: Path) -> None:
    watched = room(tmp_path)
    with child(HOLDING, *watched.shelf.locks, 0.05) as hung:
        assert hung.line() == "ready"
        os.kill(hung.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, hung.pid, os.WSTOPPED | os.WNOWAIT)
        threading.Event().wait(0.06)
        with alone(watched) as other:
            assert other == ""
        assert hung.process.wait(30) == -signal.SIGKILL


def test_what_is_raised_while_the_lock_is_held_comes_through(tmp_path: Path) -> None:
    def run() -> None:
        with alone(room(tmp_path, tmp_path, tmp_path / "second")):
            raise StateError("of the run itself")

    with pytest.raises(StateError, match="of the run itself"):
        run()
    with alone(room(tmp_path)) as other:
        assert other == ""


def test_a_home_that_hangs_delays_neither_the_lock_nor_the_look(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    never, there = threading.Event(), den.folder / "home"

    def hangs(real: Any) -> Any:
        def either(path: Path, *more: Any, **named: Any) -> Any:
            if there in path.parents:
                never.wait(30)
            return real(path, *more, **named)

        return either

    monkeypatch.setattr(notebook, "PATIENCE", 0.05)
    monkeypatch.setattr(watchdog, "PATIENCE", 0.05)
    monkeypatch.setattr(notebook, "_text", hangs(notebook._text))
    monkeypatch.setattr(notebook, "_replace", hangs(notebook._replace))

    @contextmanager
    def lock(path: Path, **named: Any) -> Iterator[Any]:
        with hangs(try_exclusive)(path, **named) as tried:
            yield tried

    monkeypatch.setattr(watchdog, "try_exclusive", lock)
    den.places = (there, den.folder / "memory")
    try:
        before = time.monotonic()
        with alone(den.room) as other:
            assert other == ""
            found = watch(den.room)
        assert time.monotonic() - before < 15
        assert found.kept == den.folder / "memory" / "team.json"
        assert any("did not answer within" in note for note in found.notes)
    finally:
        never.set()


def test_a_place_without_room_for_a_lock_keeps_nobody_from_watching(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    with alone(room(tmp_path, tmp_path / "full")) as other:
        assert other == ""


# A beat that is killed, and one that comes back.

LOOP = """
import sys
from datetime import datetime
from pathlib import Path
from heartbeat.beat import tick
from heartbeat.roster.load import load_roster
from heartbeat.store.locks import exclusive
from heartbeat.store.opening import open_store
from heartbeat.store.port import LogEntry
from heartbeat.systems.snapshot import SnapshotCache

team = Path(sys.argv[1])
roster = load_roster(team / "agents.yaml", {"HOME": str(team)})
with exclusive(team / "state" / "locks" / "_daemon.lock", purpose="run"):
    print("ready", flush=True)
    for line in sys.stdin:
        now = datetime.fromisoformat(line.strip())
        with open_store(team / "state", now) as store:
            cache = SnapshotCache(team / "state" / "snapshots", read_only=True)
            done = tick(roster, tuple(roster.agents.values()), {"HOME": str(team)}, store, cache,
                        team / "state" / "locks", clock=lambda: now, only_due=True)
        print(len(done.beats), flush=True)
"""
"""What a daemon does, minute by minute, on the clock that it is told: real beats of the sample team."""


def sample(tmp_path: Path) -> tuple[Path, Den]:
    """The sample team, and a watchdog over it."""
    import shutil

    import heartbeat.sample
    from heartbeat.roster.load import load_roster

    team = Path(shutil.copytree(Path(heartbeat.sample.__file__).parent / "demo", tmp_path / "team"))
    roster = load_roster(team / "agents.yaml", {"HOME": str(team)})
    den = Den(tmp_path / "team", tuple(roster.agents.values()))
    assert roster.state == den.state
    return team, den


def minute(den: Den, daemon: Child) -> None:
    den.now += MINUTE
    assert daemon.process.stdin is not None
    daemon.process.stdin.write(f"{den.now.isoformat()}\n".encode())
    daemon.process.stdin.flush()
    assert daemon.line().isdigit()
    den.look()


def test_B2_a_daemon_that_is_killed_is_told_within_interval_grace_and_a_minute_and_once_when_it_is_back(
    tmp_path: Path,
) -> None:
    team, den = sample(tmp_path)
    with child(LOOP, team) as daemon:
        assert daemon.line() == "ready"
        for _ in range(20):
            minute(den, daemon)
        assert den.letters == []
        daemon.kill()
        pid = daemon.pid
    killed = den.now
    until_told(den)
    shortest = min(agent.policy.every for agent in den.agents)
    assert den.now - killed <= shortest + GRACE + timedelta(seconds=60)
    assert den.titles == ["heartbeat 看门狗：coo（陆怀瑾）没有心跳"]
    assert f"守护进程 {pid} 已不在" in den.letters[0].body
    den.minutes(20)
    # The others' slots came later: all of them are one more message.
    assert den.titles[1:] == ["heartbeat 看门狗：没有任何 Agent 心跳"]
    with child(LOOP, team) as daemon:
        assert daemon.line() == "ready"
        minute(den, daemon)
        if den.now.minute in (0, 30):
            minute(den, daemon)
        assert den.titles[2:] == ["heartbeat 看门狗：2 处已恢复"]
        for _ in range(20):
            minute(den, daemon)
        daemon.kill()
    assert len(den.letters) == 3


def test_a_daemon_that_is_stopped_is_told_with_its_number(tmp_path: Path) -> None:
    team, den = sample(tmp_path)
    with child(LOOP, team) as daemon:
        assert daemon.line() == "ready"
        for _ in range(16):
            minute(den, daemon)
        os.kill(daemon.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED | os.WNOWAIT)
        until_told(den)
        assert f"进程 {daemon.pid} 被暂停" in den.letters[0].body
        assert f"kill -CONT {daemon.pid}" in den.letters[0].body
        os.kill(daemon.pid, signal.SIGCONT)


def test_a_store_that_is_closed_leaves_nothing_open_for_the_next_look(den: Den) -> None:
    with open_store(den.state, den.now):
        assert den.look().scene.records.trouble == ""
