"""A read that hangs costs the daemon one thread, and not one a beat."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.daemon.readers import OneAtATime
from heartbeat.deadline import Deadline
from heartbeat.sweep import sweep
from heartbeat.systems.base import FailureKind, Reading, ReadStatus, TransportError
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.rosters import make_roster
from tests.support.scripted_source import ScriptedSource, complete, item

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
ROSTER = make_roster(sources={"workboard": {"timeout": 0.1}})


def readings() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-")]


def test_a_source_that_hangs_is_not_asked_again_before_it_has_come_back(tmp_path: Path) -> None:
    go_on, hanging = threading.Event(), threading.Event()

    def hangs(deadline: Deadline, now: datetime) -> Reading:
        hanging.set()
        assert go_on.wait(30)
        return complete()

    source = ScriptedSource(complete(item("one")), hangs, complete(), shareable=False)
    monotonic = 1000.0
    build = OneAtATime(lambda name, roster, environment: source, lambda: monotonic)
    cache = SnapshotCache(tmp_path)

    def look() -> Reading:
        seen = sweep(
            ROSTER, {}, cache, now=NOW, deadline=Deadline.after(30), ttl=timedelta(0), fresh=False, build=build
        )
        return seen.readings["workboard"]

    assert look().report.status is ReadStatus.COMPLETE
    assert look().report.kind is FailureKind.TIMEOUT
    assert hanging.is_set()
    monotonic += 720
    for _ in range(5):
        again = look()
        assert again.report.kind is FailureKind.TIMEOUT
        assert again.report.message.startswith("a read of it that began 12m ago has not come back")
        assert [stale.title for stale in again.stale] == ["Write the report"], "what it said last is shown"
    assert len(source.reads) == 2
    assert len(readings()) == 1
    go_on.set()
    for thread in readings():
        thread.join(30)
    assert look().report.status is ReadStatus.COMPLETE


def test_one_that_fails_is_asked_again_and_others_are_not_concerned() -> None:
    broken = ScriptedSource(RuntimeError("no"), complete())
    other = ScriptedSource(complete(source="todo"), name="todo")
    sources = {"workboard": broken, "todo": other}
    build = OneAtATime(lambda name, roster, environment: sources[name])
    with build.reading("todo"):
        with pytest.raises(RuntimeError):
            build("workboard", ROSTER, {}).read(Deadline.after(1), NOW)
        assert build("workboard", ROSTER, {}).read(Deadline.after(1), NOW).report.status is ReadStatus.COMPLETE
        with pytest.raises(TransportError, match="has not come back"):
            build("todo", ROSTER, {})
    watched = build("todo", ROSTER, {})
    assert (watched.name, watched.identity, watched.shareable) == ("todo", other.identity, True)
    assert watched.probe(Deadline.after(1))
