"""Holders of a lock that are over their time: ended, so that they can never act again; and who is left alone (B1)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from heartbeat.deadline import Deadline
from heartbeat.errors import StateError
from heartbeat.store import fencing, holder
from heartbeat.store.fencing import Fenced, fenced_entry
from heartbeat.store.locks import Lock, exclusive, fence_overdue, lease, shared, try_exclusive
from tests.support.child import PATIENCE, child
from tests.support.holders import HOLD, edit, overstay, record

SOON, OVER, NEVER = 60.0, -300.0, 0.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "coo.lock"


def tried(path: Path, deadline: Deadline | None = None, **options: Any) -> Lock:
    with try_exclusive(path, deadline, **options) as lock:
        return lock


def test_B1_a_stopped_holder_that_is_over_its_time_is_ended_and_never_writes_again(path: Path) -> None:
    with child(HOLD, path, OVER, "polite") as other:
        assert other.line() == "held"
        other.process.send_signal(signal.SIGSTOP)
        other.stopped()
        lock = tried(path)
        assert lock.held
        assert lock.fenced is not None
        assert (lock.fenced.signal, lock.fenced.stopped) == (signal.SIGKILL, True)
        assert (lock.fenced.holder.pid, lock.fenced.holder.purpose) == (other.pid, "tick")
        assert other.end() == -signal.SIGKILL


STARTER = (
    """
import subprocess, sys
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
"""
    + HOLD
)


def test_B1_what_a_stopped_holder_has_started_is_ended_with_it(path: Path) -> None:
    """Else a command that it began writes after somebody else has taken its place."""
    with child(STARTER, path, OVER, "plain") as other:
        started = os.pidfd_open(int(other.line()))
        try:
            assert other.line() == "held"
            other.process.send_signal(signal.SIGSTOP)
            other.stopped()
            assert tried(path).held
            waiting = select.poll()
            waiting.register(started, select.POLLIN)
            assert waiting.poll(PATIENCE * 1000)
        finally:
            os.close(started)


def test_B1_one_that_is_merely_slow_is_asked_first_and_can_put_its_end_on_record(path: Path) -> None:
    with child(HOLD, path, OVER, "polite") as other:
        assert other.line() == "held"
        lock = tried(path)
        assert lock.held
        assert lock.fenced is not None
        assert (lock.fenced.signal, lock.fenced.stopped) == (signal.SIGTERM, False)
        assert other.line() == "goodbye"
        assert other.end() == 0


def test_B1_one_that_does_not_listen_is_ended_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "_GENTLE", 0.05)
    with child(HOLD, path, OVER, "deaf") as other:
        assert other.line() == "held"
        lock = tried(path)
        assert lock.held
        assert lock.fenced is not None
        assert (lock.fenced.signal, lock.fenced.stopped) == (signal.SIGKILL, False)
        assert other.end() == -signal.SIGKILL


@pytest.mark.parametrize("seconds", [SOON, NEVER])
def test_B1_a_holder_within_its_time_or_without_one_is_left_alone_although_it_is_stopped(
    path: Path, seconds: float
) -> None:
    with child(HOLD, path, seconds, "plain") as other:
        assert other.line() == "held"
        other.process.send_signal(signal.SIGSTOP)
        other.stopped()
        lock = tried(path, Deadline.after(0.02))
        assert (lock.held, lock.fenced, lock.obstacle) == (False, None, "")
        assert lock.holder is not None
        assert lock.holder.pid == other.pid
        assert other.process.poll() is None
        assert fence_overdue([path]) == ()
        other.process.send_signal(signal.SIGCONT)


def test_whoever_waits_ends_it_at_the_moment_when_its_time_is_over(path: Path) -> None:
    with child(HOLD, path, 0.1, "plain") as other:
        assert other.line() == "held"
        lock = tried(path, Deadline.after(30))
        assert lock.held
        assert lock.fenced is not None
        assert other.end() == -signal.SIGTERM


def test_a_holder_that_goes_on_puts_its_time_off(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        before = record(path)
        assert other.process.stdin is not None
        other.process.stdin.write(b"renew\n")
        other.process.stdin.flush()
        assert other.line() == "renewed"
        after = record(path)
        assert after["limit"] > time.monotonic() > before["limit"]
        assert {name: after[name] for name in ("pid", "since", "started")} == {
            name: before[name] for name in ("pid", "since", "started")
        }
        assert not tried(path).held
        assert other.process.poll() is None


def test_only_a_holder_can_put_its_time_off(path: Path) -> None:
    with exclusive(path) as mine:
        other = tried(path)
        with pytest.raises(ValueError, match="not held"):
            other.renew(Deadline.after(60))
        mine.renew(Deadline.after(60))
        seen = tried(path).holder
        assert seen is not None
        assert seen.until is not None
        assert seen.overdue is None
    with pytest.raises(ValueError, match="not held"):
        mine.renew(Deadline.after(60))
    assert path.read_bytes() == b""


def test_a_disk_that_takes_nothing_makes_a_holder_that_nobody_knows_and_nobody_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with exclusive(path, until=Deadline.after(OVER)) as mine:
        monkeypatch.setattr("os.pwrite", full)
        mine.renew(Deadline.after(60))
        assert tried(path).holder is None


def test_B6_no_step_of_the_wall_clock_ends_anybody(path: Path) -> None:
    """The time that is told to people is not the one that is judged by."""
    with child(HOLD, path, SOON, "plain") as other:
        assert other.line() == "held"
        edit(path, until="1970-01-01T00:00:00Z", since="1970-01-01T00:00:00Z")
        assert not tried(path).held
        assert other.process.poll() is None


def test_a_number_that_was_given_to_another_process_protects_that_one(path: Path) -> None:
    """The holder died, what it started has the lock, and its number names somebody else by now."""
    with child(HOLD, path, OVER, "plain") as other, child("input()") as bystander:
        assert other.line() == "held"
        edit(path, pid=bystander.pid, started=record(path)["started"] - 500)
        lock = tried(path)
        assert (lock.held, lock.fenced) == (False, None)
        assert "that process is gone" in lock.obstacle
        assert bystander.process.poll() is None
        edit(path, pid=4_000_001)
        assert "that process is gone" in tried(path).obstacle


_LEAVES_A_CHILD = """
import os, sys
from pathlib import Path
from heartbeat.deadline import Deadline
from heartbeat.store.locks import try_exclusive
held = try_exclusive(Path(sys.argv[1]), purpose="tick", until=Deadline.after(-300))
held.__enter__()
print("held")
input()
if os.fork() == 0:
    print("inherited")
    input()
os._exit(0)
"""


def test_a_lock_that_a_dead_holder_left_to_its_child_is_told_and_nobody_is_ended(path: Path) -> None:
    with child(_LEAVES_A_CHILD, path) as other:
        assert other.line() == "held"
        other.go_on()
        assert other.line() == "inherited"
        assert other.end() == 0
        lock = tried(path)
        assert not lock.held
        assert "that process is gone; one that it started may have the lock now" in lock.told_of_holder
        other.go_on()
        assert tried(path, Deadline.after(30)).held


ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "another boot or machine": ({"boot": "b0071d", "host": "babylon"}, ""),
    "another container": ({"namespace": "pid:[1]"}, "it runs in another container"),
    "a system that does not tell": ({"started": None}, ""),
}


@pytest.mark.parametrize(("changes", "told"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_whoever_is_out_of_reach_is_named_and_left_alone(path: Path, changes: dict[str, Any], told: str) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        edit(path, **changes)
        lock = tried(path)
        assert (lock.held, lock.fenced) == (False, None)
        assert lock.obstacle == told
        assert lock.holder is not None
        assert f"pid {other.pid}" in lock.told_of_holder
        assert ("on babylon" in lock.told_of_holder) == ("host" in changes)
        assert other.process.poll() is None
        with pytest.raises(StateError, match=f"pid {other.pid}") as refused, exclusive(path):
            pass
        assert f"fuser -v {path}" in refused.value.advice


_ANOTHER_USER = HOLD.replace('print("held")', 'import os; os.setuid(65534); print("held")')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_users_process_is_left_alone(path: Path) -> None:
    with child(_ANOTHER_USER, path, OVER, "plain") as other:
        assert other.line() == "held"
        lock = tried(path)
        assert (lock.held, lock.obstacle) == (False, "it belongs to another user")
        assert "cannot be ended from here: it belongs to another user" in lock.told_of_holder
        assert other.process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_somebody_else_may_have_written_ends_nobody(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        os.chown(path, 65534, -1)
        assert "somebody else may have written" in tried(path).obstacle
        os.chown(path, 0, -1)
        path.chmod(0o666)
        assert "somebody else may have written" in tried(path).obstacle
        assert other.process.poll() is None


def test_a_process_never_ends_itself(path: Path) -> None:
    with exclusive(path, until=Deadline.after(OVER)):
        lock = tried(path)
        assert (lock.held, lock.obstacle) == (False, "it is this very process")
        assert fence_overdue([path]) == ()


def without_handles(pid: int) -> NoReturn:
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_a_kernel_without_handles_for_processes_ends_nobody_by_number(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pidfd_open", without_handles)
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        assert "cannot name a process safely" in tried(path).obstacle
        assert other.process.poll() is None


def test_a_system_that_tells_no_boot_has_no_holders_that_are_over_their_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "_BOOT", path.with_name("nothing"))
    monkeypatch.setattr(holder, "_ourselves", holder.process_of)
    with exclusive(path, until=Deadline.after(OVER), purpose="tick"):
        assert "boot" not in record(path)
        lock = tried(path)
        assert lock.holder is not None
        assert (lock.holder.overdue, lock.obstacle) == (None, "")
        assert lock.holder.until is not None


HOSTILE: tuple[dict[str, Any], ...] = (
    {"limit": float("nan")},
    {"limit": float("-inf")},
    {"limit": -1e300},
    {"limit": 0},
    {"limit": "soon"},
    {"limit": []},
    {"pid": 10**400},
    {"pid": -1},
    {"pid": 0},
    {"pid": True, "limit": None},
    {"started": "x"},
    {"started": 10**400, "boot": "x"},
    {"purpose": {"a": ["\x1b[31m"]}, "limit": None},
    {"since": [], "limit": None},
)


@pytest.mark.parametrize("changes", HOSTILE, ids=str)
def test_whatever_stands_in_the_file_ends_nobody_and_breaks_nothing(path: Path, changes: dict[str, Any]) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        edit(path, **changes)
        lock = tried(path)
        assert (lock.held, lock.fenced) == (False, None)
        assert "\x1b" not in lock.told_of_holder
        assert fence_overdue([path]) == ()
        assert other.process.poll() is None


def test_a_record_that_is_cut_at_any_byte_ends_nobody(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        whole = path.read_bytes()
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            lock = tried(path)
            assert (lock.held, lock.fenced, lock.holder) == (False, None, None)
        assert other.process.poll() is None


def test_a_holder_that_goes_on_at_the_last_moment_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        state = fencing.state_of

        def meanwhile(pid: int) -> str:
            edit(path, limit=time.monotonic() + 60)
            return state(pid)

        monkeypatch.setattr(fencing, "state_of", meanwhile)
        lock = tried(path)
        assert (lock.held, lock.fenced) == (False, None)
        assert other.process.poll() is None


def test_without_fencing_nobody_is_ended_and_nobody_waited_for(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        deadline = Deadline.after(60)
        lock = tried(path, deadline, fence=False)
        assert not lock.held
        assert lock.holder is not None
        assert lock.holder.overdue is not None
        assert deadline.left() > 0
        assert other.process.poll() is None


def test_sharing_ends_whoever_is_over_its_time_and_looking_does_not(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        with pytest.raises(StateError, match="over its time"), shared(path, Deadline.after(0.02), make=False):
            pass
        assert other.process.poll() is None
        with shared(path) as lock:
            assert lock.held
            assert lock.fenced is not None
        assert other.end() == -signal.SIGTERM


def test_a_sweep_ends_those_that_are_over_their_time_and_passes_over_the_rest(tmp_path: Path) -> None:
    late, timely, dead, absent = (tmp_path / f"{name}.lock" for name in ("late", "timely", "dead", "absent"))
    with child(HOLD, dead, OVER, "plain") as killed:
        killed.line()
        killed.kill()
    with child(HOLD, late, OVER, "plain") as one, child(HOLD, timely, SOON, "plain") as other:
        assert (one.line(), other.line()) == ("held", "held")
        (ended,) = fence_overdue([absent, dead, late, timely])
        assert (ended.path, ended.holder.pid) == (late, one.pid)
        assert other.process.poll() is None
        assert not absent.exists()
    assert "limit" in record(dead), "what the dead leave behind is nobody's business"


def test_a_sweep_leaves_alone_whoever_has_no_lock_any_more(tmp_path: Path) -> None:
    """A record that its writer could not clear."""
    with child(HOLD, tmp_path / "a.lock", SOON, "plain") as other:
        assert other.line() == "held"
        (tmp_path / "b.lock").write_text(json.dumps(record(tmp_path / "a.lock") | {"limit": 1.0}))
        (tmp_path / "b.lock").chmod(0o600)
        assert fence_overdue([tmp_path / "b.lock"]) == ()
        assert other.process.poll() is None
        with (tmp_path / "b.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_two_who_find_it_at_once_end_it_once_and_one_of_them_gets_it(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other, child(_TRY, path) as first, child(_TRY, path) as second:
        assert other.line() == "held"
        for each in (first, second):
            assert each.line() == "ready"
        for each in (first, second):
            each.go_on()
        held = {each.line() for each in (first, second)}
        assert held == {"True", "False"}
        assert other.end() == -signal.SIGTERM


_TRY = """
import sys
from pathlib import Path
from heartbeat.store.locks import try_exclusive
print("ready")
input()
with try_exclusive(Path(sys.argv[1])) as lock:
    print(lock.held)
    input()
"""


def test_what_was_done_is_told_to_people_and_to_the_log(path: Path) -> None:
    with child(HOLD, path, OVER, "plain") as other:
        assert other.line() == "held"
        other.process.send_signal(signal.SIGSTOP)
        other.stopped()
        fenced = tried(path).fenced
    assert isinstance(fenced, Fenced)
    told = str(fenced)
    assert told.startswith(f"pid {other.pid} (tick) had coo.lock since 2")
    assert told.endswith("Z, 5m over its time; it was stopped, so it was ended (SIGKILL)")
    entry = fenced_entry(fenced, "coo")
    assert (entry.action, entry.agent, entry.message, entry.at) == ("fenced", "coo", told, fenced.at)
    assert entry.details == {"pid": other.pid, "purpose": "tick", "lock": "coo.lock", "signal": "SIGKILL"}


def test_a_program_that_a_holder_started_is_not_ended_with_it(path: Path) -> None:
    starts = HOLD.replace('print("held")', "STARTED")
    program = "import subprocess\n" + starts.replace(
        "STARTED",
        'inner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE); print("held", inner.pid)',
    )
    with child(program, path, OVER, "plain") as other:
        _, inner = other.line().split()
        handle = os.pidfd_open(int(inner))
        try:
            assert tried(path).held
            assert other.end() == -signal.SIGTERM
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


@pytest.mark.parametrize(
    ("left", "more"), [(300.0, 60.0), (60.0, 60.0), (30.0, 30.0), (5.0, 10.0), (0.0, 10.0), (-100.0, 10.0)]
)
def test_a_lease_ends_before_the_next_slot_and_is_never_over_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, left: float, more: float
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    assert lease(Deadline(1000.0 + left)).at == 1000.0 + max(left, 0.0) + more


def test_stopping_and_going_on_by_hand_within_the_time_costs_nothing(path: Path) -> None:
    """What Ctrl-Z and `fg` do to a beat at a terminal."""
    with child(HOLD, path, SOON, "plain") as other:
        assert other.line() == "held"
        other.process.send_signal(signal.SIGSTOP)
        other.stopped()
        assert not tried(path).held
        other.process.send_signal(signal.SIGCONT)
        assert other.process.stdin is not None
        other.process.stdin.write(b"renew\n")
        other.process.stdin.flush()
        assert other.line() == "renewed"


def test_overstaying_is_what_the_tests_say_it_is(path: Path) -> None:
    """The short cut of these tests, against the clock itself."""
    with exclusive(path, until=Deadline.after(SOON)):
        overstay(path)
        seen = tried(path).holder
        assert seen is not None
        assert seen.overdue is not None
        assert abs(seen.overdue.total_seconds() - (time.monotonic() - 1.0)) < 5
