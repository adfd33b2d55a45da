"""Beats that are stopped or killed in the middle: the next one goes on within its deadline, every slot has one receipt
or lies in a miss, and whoever is within its time is left alone (rules B1, B2, invariants I4, I6).

`Ctrl-Z`, a frozen container, a debugger and the OOM killer do these things to real beats.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

import heartbeat.sample
from heartbeat.deadline import Deadline
from heartbeat.memory import Miss, MissReason
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Receipt
from heartbeat.systems.base import FailureKind, ReadStatus
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.bombs import Bomb
from tests.support.child import Child, child
from tests.support.crash_child import (
    AGENTS,
    EVERY,
    LATER,
    MINUTE,
    Outcome,
    beat,
    copied,
    go_on,
    live,
    outcome,
    prepare,
)
from tests.support.holders import edit, heard, record
from tests.support.scripted_source import NOW as THEN
from tests.support.scripted_source import ScriptedSource, complete, item

# Beats on a virtual clock, stopped at any of their steps.


@dataclass(frozen=True)
class Stage:
    """A team just before a beat that does everything, what came of it undisturbed, and its steps."""

    folder: Path
    now: datetime
    outcome: Outcome
    steps: tuple[str, ...]

    def first(self, name: str) -> int:
        return self.steps.index(name)

    def last(self, name: str) -> int:
        return max(number for number, step in enumerate(self.steps) if step == name)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("stopped")
    now = prepare(folder / "team")
    calm, bomb = copied(folder / "team", folder / "calm"), Bomb()
    beat(calm, now, bomb=bomb)
    go_on(calm, now)
    return Stage(folder / "team", now, outcome(calm, now), tuple(bomb.steps))


_BEAT = """
import os, sys
from datetime import datetime
from pathlib import Path
from tests.support.bombs import Bomb
from tests.support.crash_child import beat
folder, now, index, number, agents = sys.argv[1:]
fuse = Bomb(int(index), lambda: os.kill(os.getpid(), int(number)), deadly=False)
beat(Path(folder), datetime.fromisoformat(now), agents.split(","), bomb=fuse)
print("done")
"""


@contextmanager
def struck(stage: Stage, folder: Path, index: int, number: signal.Signals, *agents: str) -> Iterator[Child]:
    """A process that beats, and that a signal strikes at a step of it."""
    names = ",".join(agents or AGENTS)
    with child(_BEAT, folder, stage.now.isoformat(), index, int(number), names) as other:
        if number is signal.SIGSTOP:
            other.stopped()
        else:
            assert other.end() == -number
        yield other


def overstay(stage: Stage, folder: Path, *names: str) -> None:
    """Time passes for the holders of these locks, and by their own clock they began when the beat did."""
    for name in names:
        edit(folder / name, limit=1.0, since=stage.now.isoformat())


def locks_of(folder: Path) -> list[str]:
    """The locks that somebody has, or had when it died."""
    return [str(path.relative_to(folder)) for path in sorted((folder / "locks").glob("*.lock")) if path.read_bytes()]


def on_record(folder: Path, now: datetime) -> tuple[list[Receipt], list[Miss], list[str]]:
    """The receipts and misses from `now` on, and what the log says besides."""
    with open_store(folder / "state", now) as store:
        receipts = list(store.receipts(limit=1000, since=now))
        return receipts, [*store.misses(since=now - EVERY)], [each.action for each in store.log()]


def assert_one_receipt_a_slot(folder: Path, now: datetime) -> None:
    with open_store(folder / "state", now) as store:
        slots = Counter((each.agent, each.slot) for each in store.receipts(limit=1000) if each.slot is not None)
    assert [slot for slot, count in slots.items() if count > 1] == []


STEPS = {
    "before anything is on record": ("first", "before a transaction"),
    "within the first transaction": ("first", "before the commit"),
    "amid a write": ("first", "amid an effect"),
    "before a letter": ("first", "before a letter"),
    "within the last transaction": ("last", "before the commit"),
}


@pytest.mark.parametrize(("which", "name"), STEPS.values(), ids=STEPS)
def test_B1_a_stopped_beat_that_is_over_its_time_is_ended_and_the_next_goes_on(
    stage: Stage, tmp_path: Path, which: str, name: str
) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    index = getattr(stage, which)(name)
    slot = stage.now.replace(minute=stage.now.minute // 10 * 10, second=0)
    with struck(stage, folder, index, signal.SIGSTOP) as other:
        overstay(stage, folder, *locks_of(folder))
        then = stage.now + 2 * EVERY + 5 * MINUTE
        deadline = Deadline.after(20)
        tick = beat(folder, then, only_due=True)
        assert deadline.left() > 0, "within the deadline of the beat"
        assert other.end() == -signal.SIGKILL
    assert {each.holder.pid for each in tick.fenced} == {other.pid}
    assert [each.agent.id for each in tick.beats] == list(AGENTS)
    receipts, misses, actions = on_record(folder, stage.now)
    assert sorted(each.agent for each in receipts) == sorted(AGENTS), "what was ended left none"
    assert {each.slot for each in receipts} == {slot + 2 * EVERY}
    assert {(miss.first, miss.last, miss.count, miss.reason) for miss in misses} == {
        (slot, slot + EVERY, 2, MissReason.BUSY)
    }
    assert sorted(miss.agent for miss in misses) == sorted(AGENTS)
    assert actions.count("fenced") == 1
    assert {beat.missed for beat in tick.beats} == set(misses)


@pytest.mark.parametrize(("which", "name"), STEPS.values(), ids=STEPS)
def test_I4_what_a_stopped_beat_had_begun_is_finished_by_the_next_and_happens_once(
    stage: Stage, tmp_path: Path, which: str, name: str
) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    with struck(stage, folder, getattr(stage, which)(name), signal.SIGSTOP) as other:
        overstay(stage, folder, *locks_of(folder))
        go_on(folder, stage.now)
        assert other.end() == -signal.SIGKILL
    assert outcome(folder, stage.now + LATER * EVERY) == stage.outcome
    assert_one_receipt_a_slot(folder, stage.now)


@pytest.mark.parametrize(("which", "name"), STEPS.values(), ids=STEPS)
def test_B2_after_kill_9_the_next_beat_tells_what_passed(stage: Stage, tmp_path: Path, which: str, name: str) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    slot = stage.now.replace(minute=stage.now.minute // 10 * 10, second=0)
    with struck(stage, folder, getattr(stage, which)(name), signal.SIGKILL):
        tick = beat(folder, stage.now + EVERY + MINUTE, only_due=True)
    assert tick.fenced == ()
    assert [each.agent.id for each in tick.beats] == list(AGENTS)
    receipts, misses, actions = on_record(folder, stage.now)
    assert {each.slot for each in receipts} == {slot + EVERY}
    assert {(miss.first, miss.last, miss.count, miss.reason) for miss in misses} == {
        (slot, slot, 1, MissReason.COALESCED)
    }
    assert "fenced" not in actions
    assert_one_receipt_a_slot(folder, stage.now)


def test_I6_a_beat_that_is_stopped_after_its_receipts_has_answered_its_slot(stage: Stage, tmp_path: Path) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    with struck(stage, folder, stage.last("after the commit"), signal.SIGSTOP) as other:
        overstay(stage, folder, *locks_of(folder))
        assert beat(folder, stage.now + MINUTE, only_due=True).beats == (), "nobody is due, and nobody is in the way"
        assert other.process.poll() is None
        tick = beat(folder, stage.now + EVERY, only_due=True)
        assert other.end() == -signal.SIGKILL
    assert len(tick.beats) == len(AGENTS)
    receipts, misses, _ = on_record(folder, stage.now)
    assert len(receipts) == 2 * len(AGENTS)
    assert misses == []
    assert_one_receipt_a_slot(folder, stage.now)


@pytest.mark.parametrize(("which", "name"), [("first", "before a transaction"), ("first", "before a letter")])
def test_B1_a_stopped_beat_within_its_time_is_left_alone_and_goes_on_where_it_was(
    stage: Stage, tmp_path: Path, which: str, name: str
) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    with struck(stage, folder, getattr(stage, which)(name), signal.SIGSTOP) as other:
        tick = beat(folder, stage.now + MINUTE, only_due=True)
        assert [(each.agent.id, each.receipt, each.worklist) for each in tick.beats] == [
            (agent, None, None) for agent in AGENTS
        ]
        assert all(f"pid {other.pid} (tick) since " in each.skipped for each in tick.beats)
        assert other.process.poll() is None
        other.process.send_signal(signal.SIGCONT)
        assert other.line() == "done"
        assert other.end() == 0
    go_on(folder, stage.now)
    assert outcome(folder, stage.now + LATER * EVERY) == stage.outcome
    assert_one_receipt_a_slot(folder, stage.now)


def test_B1_a_beat_of_others_frees_the_database_from_a_stopped_write(stage: Stage, tmp_path: Path) -> None:
    """The stopped one has no lock that this one needs but the database's, and its beat is within its time."""
    folder = copied(stage.folder, tmp_path / "team")
    at = stage.first("before the commit")
    with struck(stage, folder, at, signal.SIGSTOP, "writer") as other:
        overstay(stage, folder, "state/state.write")
        tick = beat(folder, stage.now + MINUTE, ("coo", "dev"), only_due=True)
        assert other.end() == -signal.SIGKILL
    assert [each.receipt is not None for each in tick.beats] == [True, True]
    assert tick.fenced == (), "the store did it"
    _, _, actions = on_record(folder, stage.now)
    assert actions.count("fenced") == 1


def test_B1_writes_that_a_stopped_beat_began_to_carry_out_are_carried_out_by_others(
    stage: Stage, tmp_path: Path
) -> None:
    folder = copied(stage.folder, tmp_path / "team")
    with struck(stage, folder, stage.first("before an effect"), signal.SIGSTOP, "writer") as other:
        within = beat(folder, stage.now + MINUTE, ("coo",))
        assert f"pid {other.pid} (carrying out writes)" in within.carried.busy
        assert other.process.poll() is None
        overstay(stage, folder, "locks/_outbox.lock")
        tick = beat(folder, stage.now + 2 * MINUTE, ("coo",))
        assert other.end() == -signal.SIGKILL
    assert tick.carried.done
    assert [each.holder.pid for each in tick.fenced] == [other.pid]
    live(folder, stage.now + EVERY)
    go_on(folder, stage.now)
    assert {ref: found[0] for ref, found in outcome(folder, stage.now + LATER * EVERY).statuses.items()} == {
        ref: found[0] for ref, found in stage.outcome.statuses.items()
    }


def test_whoever_acts_says_by_when_it_will_be_done(stage: Stage, tmp_path: Path) -> None:
    """The deadline of these beats is a minute, and their margin another."""
    folder = copied(stage.folder, tmp_path / "team")
    with struck(stage, folder, stage.first("before an effect"), signal.SIGSTOP) as other:
        names = ["_outbox", *AGENTS]
        left = [record(folder / "locks" / f"{name}.lock")["limit"] - time.monotonic() for name in names]
        assert all(60 < seconds <= 120 for seconds in left), dict(zip(names, left, strict=True))
        assert other.process.poll() is None


# Readers.

_READ = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from heartbeat.deadline import Deadline
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.scripted_source import NOW, ScriptedSource, complete, item

def answer(deadline, now):
    os.kill(os.getpid(), signal.SIGSTOP)
    return complete(item("old"))

cache = SnapshotCache(Path(sys.argv[1]))
reading = cache.read(ScriptedSource(answer), deadline=Deadline.after(30), now=NOW, ttl=timedelta(minutes=5))
print([one.key for one in reading.items])
"""


def test_S5_a_stopped_reader_costs_a_deadline_and_then_nobody_waits_for_it(tmp_path: Path) -> None:
    def ask(patience: float) -> tuple[ReadStatus, FailureKind | None, list[str], list[str], int]:
        source = ScriptedSource(complete(item("new")))
        reading = SnapshotCache(tmp_path).read(source, deadline=Deadline.after(patience), now=THEN, ttl=5 * MINUTE)
        report, codes = reading.report, [found.code for found in reading.report.findings]
        return report.status, report.kind, [one.key for one in reading.items], codes, len(source.reads)

    with child(_READ, tmp_path) as other:
        other.stopped()
        assert ask(0.05) == (ReadStatus.FAILED, FailureKind.TIMEOUT, [], [], 0)
        assert 20 < record(tmp_path / "workboard.lock")["limit"] - Deadline.after(0).at <= 35
        edit(tmp_path / "workboard.lock", limit=1.0)
        deadline = Deadline.after(20)
        for _ in range(2):
            assert ask(30) == (ReadStatus.COMPLETE, None, ["new"], ["snapshot-reader-hangs"], 1), "not shared"
        assert deadline.left() > 0
        assert other.process.poll() is None, "a reader harms nobody"
        assert not (tmp_path / "workboard.jsonl").exists(), "two must not write it at once"
        other.process.send_signal(signal.SIGCONT)
        assert other.line() == "['old']"
    assert ask(30) == (ReadStatus.COMPLETE, None, ["old"], [], 0)


# The command itself.

COMMAND = (sys.executable, "-m", "heartbeat")


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """The sample team, whose board is read by a program that does as the test says."""
    folder = Path(shutil.copytree(Path(heartbeat.sample.__file__).parent / "demo", tmp_path / "team"))
    roster = folder / "agents.yaml"
    text = roster.read_text().replace(
        "workboard: {transport: file, path: workboard.json}", "workboard: {transport: cli, timeout: 2s}"
    )
    roster.write_text(text)
    (folder / "bin").mkdir()
    return folder


def openclaw(team: Path, *commands: str) -> None:
    """What the program `openclaw` does; without commands there is none."""
    path = team / "bin" / "openclaw"
    path.unlink(missing_ok=True)
    if commands:
        path.write_text("\n".join(("#!/bin/sh", *commands, "")))
        path.chmod(0o755)


def environment(team: Path) -> Mapping[str, str]:
    return {"PATH": f"{team / 'bin'}:/usr/bin:/bin", "HOME": str(team)}


@contextmanager
def ticking(team: Path, *words: str) -> Iterator[Child]:
    command = [*COMMAND, "--roster", str(team / "agents.yaml"), "tick", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(team)
    ) as process:
        try:
            yield Child(process)
        finally:
            if process.poll() is None:
                process.kill()


def run(team: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--roster", str(team / "agents.yaml"), "tick", *words]
    return subprocess.run(command, env=environment(team), capture_output=True, text=True, check=False, timeout=60)


def receipts_of(team: Path) -> Counter[tuple[str, datetime | None]]:
    with open_store_read_only(team / "state") as store:
        return Counter((each.agent, each.slot) for each in store.receipts(limit=100))


def test_B1_a_tick_that_is_stopped_in_the_middle_of_a_read_is_ended_by_the_next_one(team: Path) -> None:
    openclaw(team, "kill -STOP $PPID")
    with ticking(team, "--due", "--scheduled") as first:
        first.stopped()
        openclaw(team)
        within = run(team, "--due", "--scheduled")
        assert (within.returncode, within.stderr) == (0, "")
        assert all(
            f"skipped: another tick of {name} is running (pid {first.pid} (tick) since" in within.stdout
            for name in ("coo", "architect", "costcodev")
        )
        assert first.process.poll() is None
        for path in (team / "state" / "locks").glob("*.lock"):
            edit(path, limit=1.0)
        after = run(team, "--due", "--scheduled")
        assert after.returncode == 0
        assert f"heartbeat: pid {first.pid} (tick) had coo.lock since 2" in after.stderr
        assert "over its time; it was stopped, so it was ended (SIGKILL)" in after.stderr
        assert first.end() == -signal.SIGKILL
    lines = after.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["coo", "architect", "costcodev"]
    assert all(" degraded: " in line for line in lines), "the reader that was stopped with it is passed by"
    assert all(count == 1 for count in receipts_of(team).values())
    assert {agent for agent, _ in receipts_of(team)} == {"coo", "architect", "costcodev"}


def test_B2_a_tick_that_is_killed_in_the_middle_of_a_read_is_followed_by_the_next_one(team: Path) -> None:
    openclaw(team, "kill -KILL $PPID")
    with ticking(team, "coo", "--scheduled") as first:
        assert first.end() == -signal.SIGKILL
    openclaw(team)
    after = run(team, "--due", "--scheduled", "coo")
    assert (after.returncode, after.stderr) == (0, "")
    assert after.stdout.split()[1:3] == ["coo", "degraded:"]
    assert list(receipts_of(team).values()) == [1]


def test_B5_a_tick_that_is_ended_for_being_slow_puts_that_on_record(team: Path) -> None:
    """It runs, so it is asked to end: its beat is on record as interrupted, and the next one has the agent."""
    fifo, roster = team / "asked", team / "agents.yaml"
    os.mkfifo(fifo)
    roster.write_text(roster.read_text().replace("timeout: 2s", "timeout: 60s"))
    openclaw(team, f"echo reading > {fifo}", "sleep 60")
    with ticking(team, "coo", "--scheduled") as first:
        assert heard(fifo) == "reading\n"
        openclaw(team)
        edit(team / "state" / "locks" / "coo.lock", limit=1.0)
        after = run(team, "coo", "--scheduled")
        assert "over its time; it still ran, so it was ended (SIGTERM)" in after.stderr
        assert first.end() == 128 + signal.SIGTERM
    assert after.returncode == 0
    with open_store_read_only(team / "state") as store:
        newest, before = store.receipts("coo")
    told = "ended by SIGTERM before it was done; the next beat takes its place"
    assert (before.outcome, before.reasons, before.slot) == ("interrupted", (told,), None)
    assert newest.outcome == "degraded"
    slots = [slot for slot in (newest.slot, before.slot) if slot is not None]
    assert len(slots) == len(set(slots))
