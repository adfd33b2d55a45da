"""Kernel locks between real processes (rule B1): one holder, freed by death, never by a file's content."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heartbeat.errors import StateError
from heartbeat.store.locks import exclusive, shared, try_exclusive
from heartbeat.systems.base import Deadline
from tests.support.child import child, mount_namespace, run

_HOLD = """
import sys
from pathlib import Path
from heartbeat.store import locks
with getattr(locks, sys.argv[2])(Path(sys.argv[1]), **({"purpose": sys.argv[3]} if len(sys.argv) > 3 else {})) as lock:
    print(lock.held)
    input()
print("freed")
input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "coo.lock"


def test_B1_a_second_process_does_not_get_it_and_learns_who_has_it(path: Path) -> None:
    with child(_HOLD, path, "exclusive", "tick coo") as holder:
        assert holder.line() == "True"
        written = path.read_bytes()
        with try_exclusive(path) as lock:
            assert not lock.held
            assert lock.holder is not None
            assert (lock.holder.pid, lock.holder.purpose) == (holder.pid, "tick coo")
            assert lock.holder.since is not None
            assert (lock.holder.until, lock.holder.overdue, lock.obstacle) == (None, None, "")
            assert path.read_bytes() == written, "looking does not touch the file"
        with pytest.raises(StateError, match=rf"pid {holder.pid} \(tick coo\) since 2") as refused, exclusive(path):
            pass
        assert str(path) in str(refused.value)
        assert refused.value.advice
        holder.go_on()
        assert holder.line() == "freed"
        with try_exclusive(path) as lock:
            assert lock.held


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_B1_death_frees_it(path: Path, number: signal.Signals) -> None:
    with child(_HOLD, path, "exclusive") as holder:
        assert holder.line() == "True"
        holder.process.send_signal(number)
        holder.process.wait(30)
        with try_exclusive(path) as lock:
            assert lock.held


def test_B1_a_stopped_holder_that_named_no_time_still_holds_it(path: Path) -> None:
    with child(_HOLD, path, "exclusive") as holder:
        assert holder.line() == "True"
        holder.process.send_signal(signal.SIGSTOP)
        with try_exclusive(path, Deadline.after(0.05)) as lock:
            assert not lock.held
        holder.process.send_signal(signal.SIGCONT)


def test_whoever_waits_gets_it_when_it_is_freed(path: Path) -> None:
    with child(_HOLD, path, "exclusive") as holder:
        assert holder.line() == "True"
        holder.go_on()
        with exclusive(path, Deadline.after(30)) as lock:
            assert lock.held


def test_waiting_ends_at_the_deadline_and_sleeps_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = 100.0
    naps: list[float] = []

    def nap(seconds: float) -> None:
        nonlocal present
        naps.append(seconds)
        present += seconds

    monkeypatch.setattr("time.monotonic", lambda: present)
    monkeypatch.setattr("time.sleep", nap)
    with exclusive(path), try_exclusive(path, Deadline(101.0)) as lock:
        assert not lock.held
    assert present == pytest.approx(101.0)
    assert max(naps) <= 0.05
    assert len(naps) < 40, "no busy loop"


def test_a_killed_holder_is_not_named_once_somebody_else_has_it(path: Path) -> None:
    with child(_HOLD, path, "exclusive", "the dead one") as holder:
        holder.line()
        holder.kill()
    assert b"the dead one" in path.read_bytes()
    with exclusive(path, purpose="the living one") as mine, try_exclusive(path) as lock:
        assert mine.left_by is not None
        assert (mine.left_by.pid, mine.left_by.purpose) == (holder.pid, "the dead one")
        assert lock.holder is not None
        assert (lock.holder.pid, lock.holder.purpose) == (os.getpid(), "the living one")


def test_the_file_is_private_and_stays_when_the_lock_is_freed(path: Path) -> None:
    with exclusive(path):
        inode = path.stat().st_ino
    with exclusive(path) as lock:
        assert lock.left_by is None, "whoever gives it back leaves no word"
    assert path.stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "content",
    [b"", b"4711\n", b"[]", b'{"pid":"x","purpose":1}', b"\xff\xfe", b"[" * 900, b'{"pid":1}', b"x" * 10_000_000],
)
def test_whatever_stands_in_the_file_never_decides_who_has_it(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with try_exclusive(path) as lock:
        assert lock.held
        path.write_bytes(content)
        with try_exclusive(path) as second:
            assert not second.held
            assert second.holder is None


def test_B8_what_a_holder_calls_itself_cannot_play_with_the_terminal(path: Path) -> None:
    with exclusive(path, purpose="tick \x1b[31m\ncoo" + "x" * 5000), try_exclusive(path) as lock:
        assert lock.holder is not None
        assert lock.holder.purpose.startswith("tick [31mcoox")
        assert len(str(lock.holder)) < 300


def test_an_error_inside_frees_it(path: Path) -> None:
    def fail() -> None:
        with exclusive(path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with try_exclusive(path) as lock:
        assert lock.held


def test_a_program_that_is_started_meanwhile_does_not_inherit_it(path: Path) -> None:
    sleeper = [sys.executable, "-c", "input()"]
    with exclusive(path):
        started = subprocess.Popen(sleeper, stdin=subprocess.PIPE, close_fds=False)
    with started, try_exclusive(path) as lock:
        assert lock.held
        started.communicate(b"\n", timeout=30)


def test_a_full_disk_costs_the_holders_name_and_not_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with exclusive(path), try_exclusive(path) as lock:
        assert not lock.held
        assert lock.holder is None


def test_shared_holders_share_and_keep_the_exclusive_ones_out(path: Path) -> None:
    with child(_HOLD, path, "shared") as other, shared(path) as mine:
        assert other.line() == "True"
        assert mine.held
        with try_exclusive(path) as lock:
            assert not lock.held
        other.go_on()
        assert other.line() == "freed"
        with try_exclusive(path) as lock:
            assert not lock.held, "mine is still there"
    with exclusive(path), pytest.raises(StateError, match="held by"), shared(path, Deadline.after(0.02)):
        pass


def test_B3_sharing_without_making_makes_nothing(path: Path) -> None:
    with shared(path, make=False) as lock:
        assert not lock.held
    assert not path.parent.exists()
    with exclusive(path):
        pass
    before = path.stat()
    with shared(path, make=False) as lock:
        assert lock.held
        with try_exclusive(path) as other:
            assert not other.held
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_symlink_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "target").write_text("precious")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(StateError), exclusive(path):
        pass
    assert (tmp_path / "target").read_text() == "precious"


def test_a_file_system_without_locks_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StateError, match="cannot lock") as refused, exclusive(path):
        pass
    assert "local disk" in refused.value.advice


_ON_A_READ_ONLY_MOUNT = """
import subprocess, sys
from pathlib import Path
from heartbeat.errors import StateError
from heartbeat.store.locks import exclusive, shared
directory = Path(sys.argv[1])
with exclusive(directory / "old.lock"):
    pass
subprocess.run(["mount", "--bind", directory, directory], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
try:
    with exclusive(directory / "new.lock"):
        pass
except StateError as error:
    print(error)
with shared(directory / "old.lock", make=False) as lock:
    print(lock.held)
"""


def test_a_read_only_mount_is_told_and_can_still_be_shared(tmp_path: Path) -> None:
    told, held = run(_ON_A_READ_ONLY_MOUNT, tmp_path, prefix=mount_namespace())
    assert "new.lock cannot be opened: Read-only file system" in told
    assert held == "True"


_CONTEND = """
import sys
from pathlib import Path
from heartbeat.store.locks import exclusive
from heartbeat.systems.base import Deadline
counter = Path(sys.argv[1]).with_name("counter")
print("ready")
input()
for _ in range(20):
    with exclusive(Path(sys.argv[1]), Deadline.after(60)):
        counter.write_text(str(int(counter.read_text()) + 1))
print("done")
"""


def test_B1_only_one_at_a_time_is_ever_inside(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("counter").write_text("0")
    with child(_CONTEND, path) as one, child(_CONTEND, path) as two, child(_CONTEND, path) as three:
        every = (one, two, three)
        for each in every:
            assert each.line() == "ready"
        for each in every:
            each.go_on()
        for each in every:
            assert each.line() == "done"
    assert path.with_name("counter").read_text() == "60"
