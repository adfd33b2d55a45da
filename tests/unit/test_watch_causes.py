"""Why beats do not come, as far as one look tells."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.instants import to_text
from heartbeat.receipt import interruption_receipt
from heartbeat.store.holder import Holder, boot, this_process
from heartbeat.store.opening import open_store
from heartbeat.watch.causes import Cause, Likely, likely, told
from heartbeat.watch.health import Expected, Health, Interrupted, Record, health
from heartbeat.watch.overall import NO_FILES, NO_ROOM
from heartbeat.watch.processes import Doing, Held
from heartbeat.watch.records import Disk, Records
from tests.support.watching import BEGIN, EVERY, GRACE, MINUTE, Den, member, receipt, without_anchor

COO, DEV = (without_anchor(member(name)) for name in ("coo", "dev"))
NOW = BEGIN + EVERY + GRACE
SINCE = BEGIN - timedelta(hours=1)


def stands(agent: Any, *beats: Any) -> Health:
    return health(Expected(agent.id, agent.policy, "UTC", GRACE, BEGIN - EVERY), Record(beats), NOW)


def holder(name: str, doing: Doing, pid: int = 4711, **changes: Any) -> Held:
    return Held(name, Holder(pid, "run", SINCE, "here", **changes), doing)


def cause(*holders: Held, beats: Any = None, others: Any = (), doing: Doing = Doing.GONE, **known: Any) -> Likely:
    coo = stands(COO, *(beats if beats is not None else [receipt(COO, BEGIN)]))
    records = Records(NOW, Path("/state"), exists=True, holders=holders, **known)
    return likely(coo, [coo, *others], records, lambda receipt: doing)


def test_a_stopped_holder_of_the_agents_own_lock_is_named() -> None:
    assert cause(holder("coo", Doing.STOPPED)) == Likely(Cause.STOPPED, 4711, "here", SINCE)


def test_a_holder_that_is_over_its_time_hangs() -> None:
    process = this_process()
    assert process is not None
    assert process.boot == boot()
    assert cause(holder("coo", Doing.RUNNING, process=process, limit=0.0)).cause is Cause.HANGS


def test_a_lock_of_another_agent_is_no_cause() -> None:
    assert cause(holder("dev", Doing.STOPPED)).cause is Cause.NOBODY


@pytest.mark.parametrize(
    ("doing", "found"),
    [
        (Doing.GONE, Cause.DAEMON_GONE),
        (Doing.RUNNING, Cause.DAEMON_SILENT),
        (Doing.STOPPED, Cause.STOPPED),
        (Doing.ELSEWHERE, Cause.ELSEWHERE),
    ],
)
def test_the_daemons_lock_tells_what_became_of_it(doing: Doing, found: Cause) -> None:
    assert cause(holder("_daemon", doing)).cause is found
    assert cause(holder("_daemon", doing), beats=[]).cause is found


def test_a_daemon_that_died_before_somebody_else_beat_is_no_cause() -> None:
    assert cause(holder("_daemon", Doing.GONE, pid=99)).cause is Cause.NOBODY


@pytest.mark.parametrize(
    ("doing", "found"),
    [
        (Doing.GONE, Cause.NOBODY),
        (Doing.RUNNING, Cause.NOBODY),
        (Doing.STOPPED, Cause.STOPPED),
        (Doing.ELSEWHERE, Cause.ELSEWHERE),
    ],
)
def test_who_beat_last_tells_where_no_lock_does(doing: Doing, found: Cause) -> None:
    told = cause(doing=doing)
    assert told.cause is found
    assert told.since == BEGIN + timedelta(seconds=2)


def test_an_agent_whose_slot_others_have_answered_is_alone() -> None:
    assert cause(others=[stands(DEV, receipt(DEV, BEGIN + EVERY))]).cause is Cause.ALONE
    assert cause(others=[stands(DEV, receipt(DEV, BEGIN + EVERY - timedelta(seconds=1)))]).cause is Cause.NOBODY


@pytest.mark.parametrize(
    ("free", "files", "read_only", "found"),
    [
        (NO_ROOM, NO_FILES, False, Cause.STOPPED),
        (NO_ROOM - 1, None, False, Cause.NO_DISK),
        (NO_ROOM, NO_FILES - 1, False, Cause.NO_DISK),
        (NO_ROOM, None, True, Cause.NO_DISK),
    ],
)
def test_a_disk_that_takes_nothing_comes_before_everything_else(
    free: int, files: int | None, read_only: bool, found: Cause
) -> None:
    disk = Disk(Path("/mnt"), free, files, read_only)
    likely = cause(holder("coo", Doing.STOPPED), disk=disk)
    assert likely.cause is found
    assert found is not Cause.NO_DISK or "/mnt" in told(likely, "coo", to_text)[0]


def test_a_daemon_that_ended_in_order_is_no_scheduler_that_fails() -> None:
    ended = BEGIN + timedelta(seconds=2)
    assert cause(daemon_ended=ended) == Likely(Cause.DAEMON_ENDED, since=ended)
    assert cause(daemon_ended=ended - timedelta(microseconds=1)).cause is Cause.NOBODY
    others = [stands(DEV, receipt(DEV, BEGIN + EVERY))]
    assert cause(daemon_ended=BEGIN + EVERY, others=others).cause is Cause.ALONE
    assert cause(holder("_daemon", Doing.GONE), daemon_ended=ended).cause is Cause.DAEMON_GONE


def test_where_nobody_ever_beat_nothing_was_begun() -> None:
    found = cause(beats=[])
    assert found == Likely(Cause.NOT_BEGUN, state="/state")
    assert "/state" in told(found, "coo", to_text)[0]


@pytest.mark.parametrize("which", Cause)
def test_every_cause_says_what_to_do(which: Cause) -> None:
    what, mend = told(Likely(which, 4711, "box", BEGIN, "/state"), "coo", to_text)
    assert what
    assert mend
    assert "{" not in what + mend


def broken_off(agent: Any, at: Any, *beats: Any) -> Health:
    reasons = ("ended by SIGTERM before it was done; the next beat takes its place",)
    last = receipt(agent, at, outcome="interrupted", slot=None, reasons=reasons)
    record = Record(beats, interrupted=Interrupted(50, BEGIN + EVERY, last))
    return health(Expected(agent.id, agent.policy, "UTC", GRACE, BEGIN - EVERY), record, NOW)


@pytest.mark.parametrize("beats", [(), (receipt(COO, BEGIN),)])
def test_beats_that_are_ended_before_they_are_done_are_no_beats_that_nobody_starts(beats: tuple[Any, ...]) -> None:
    records = Records(NOW, Path("/state"), exists=True)
    coo = broken_off(COO, NOW - GRACE, *beats)
    found = likely(coo, [coo], records, lambda receipt: Doing.GONE)
    assert found == Likely(Cause.INTERRUPTED, since=BEGIN + EVERY, count=50, by="SIGTERM")
    words = "beats are ended before they are done: 50 times since 2026-11-21T04:10:00.000Z, the last by SIGTERM"
    assert told(found, "coo", to_text)[0].startswith(words)


def test_an_agent_that_has_not_even_been_begun_is_told_what_ends_the_beats_of_the_others() -> None:
    records = Records(NOW, Path("/state"), exists=True)
    coo, dev = broken_off(COO, NOW - GRACE), stands(DEV)
    assert likely(dev, [coo, dev], records, lambda receipt: Doing.GONE).cause is Cause.INTERRUPTED
    team = [coo, dev, stands(member("ops"), receipt(member("ops"), NOW))]
    assert likely(dev, team, records, lambda receipt: Doing.GONE).cause is Cause.ALONE


def test_where_beats_are_not_even_begun_any_more_the_last_that_was_begun_is_told() -> None:
    coo = broken_off(COO, BEGIN - EVERY)
    found = likely(coo, [coo], Records(NOW, Path("/state"), exists=True), lambda receipt: Doing.GONE)
    assert found == Likely(Cause.NOBODY, since=BEGIN - EVERY + timedelta(seconds=2))


@pytest.mark.parametrize("whole", [0, 1])
def test_the_watchdog_tells_of_beats_that_are_ended_before_they_are_done(tmp_path: Path, whole: int) -> None:
    den = Den(tmp_path, agents=(COO,))
    den.look()
    for _ in range(whole):
        den.beat("coo")
    error = SystemExit(143)
    for _ in range(30):
        den.now += MINUTE
        with open_store(den.state, den.now) as store:
            store.add_receipt(interruption_receipt(den.roster, COO, den.now, den.now + MINUTE / 2, error))
        den.look()
    told = "\n".join(letter.body for letter in den.letters)
    assert "心跳没走完就被外部结束：自 11-21 12:01 起 " in told
    assert "最近一次由 SIGTERM 结束" in told
    assert "再没有进程心跳" not in told
    assert "从未有过心跳" not in told
