"""What besides the beats themselves has to be well, at exact boundaries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.instants import to_text
from heartbeat.store.holder import Holder
from heartbeat.store.port import Tombstone
from heartbeat.watch.health import Expected, Health, Record, Status, health
from heartbeat.watch.overall import (
    LITTLE_ROOM,
    NO_FILES,
    NO_ROOM,
    OVERDUE_FOR,
    UNREAD_FOR,
    WATCHED_WITHIN,
    Check,
    Level,
    Watching,
    checks,
    failing,
    level,
    line,
)
from heartbeat.watch.processes import Doing, Held
from heartbeat.watch.records import Database, Disk, OutboxRecord, Records, SourceRecord
from tests.support.watching import BEGIN, EVERY, GRACE, member, receipt, without_anchor

STATE = Path("/state")
DISK = Disk(STATE, LITTLE_ROOM, 10**6, read_only=False)
RECORDS = Records(BEGIN, STATE, exists=True, database=Database(STATE / "state.db", 130_000, 3), disk=DISK)
TICK = timedelta(microseconds=1)
AGENT = without_anchor(member("coo"))


def found(name: str, *healths: Health, **changes: Any) -> list[Check]:
    return [check for check in checks(replace(RECORDS, **changes), healths, to_text) if check.name == name]


def levels(name: str, **changes: Any) -> list[Level]:
    return [check.level for check in found(name, **changes)]


def stands(now: timedelta = timedelta(0), **changes: Any) -> Health:
    return health(Expected("coo", AGENT.policy, "UTC", GRACE), Record((receipt(AGENT, BEGIN, **changes),)), BEGIN + now)


def test_all_is_well() -> None:
    told = checks(RECORDS, [stands()], to_text)
    assert {check.level for check in told} == {Level.OK}
    assert [check.name for check in told] == ["state", "outbox", "disk"]
    assert told[0].message == "/state/state.db, 127.0 KiB, version 3"
    assert not failing([stands()], told)


@pytest.mark.parametrize(
    ("free", "files", "read_only", "level"),
    [
        (LITTLE_ROOM, None, False, Level.OK),
        (LITTLE_ROOM - 1, None, False, Level.WARNING),
        (NO_ROOM, 10**6, False, Level.WARNING),
        (NO_ROOM - 1, 10**6, False, Level.FAILED),
        (LITTLE_ROOM, NO_FILES, False, Level.OK),
        (LITTLE_ROOM, NO_FILES - 1, False, Level.FAILED),
        (LITTLE_ROOM, 10**6, True, Level.FAILED),
    ],
)
def test_the_disk_has_room_for_the_next_beats(free: int, files: int | None, read_only: bool, level: Level) -> None:
    assert levels("disk", disk=Disk(STATE, free, files, read_only)) == [level]


@pytest.mark.parametrize(
    "disk", [Disk(STATE, 0, None, False), Disk(STATE, 10**12, 0, False), Disk(STATE, 10**12, None, True)]
)
def test_G1_a_disk_that_takes_no_receipt_is_a_state_that_cannot_be_used(disk: Disk) -> None:
    sources = (SourceRecord("todo", "complete", BEGIN),)
    well = replace(RECORDS, sources=sources)
    assert level(well, dispatch=()).level == "L0"
    found = level(replace(well, disk=disk), dispatch=())
    assert found.level == "L3"
    assert found.reasons[0].startswith("the state cannot be used: ")


def test_a_disk_of_which_nobody_can_tell_is_passed_over() -> None:
    assert levels("disk", disk=None) == []


def source(since: timedelta, status: str = "failed", **changes: Any) -> SourceRecord:
    return replace(SourceRecord("multica", status, BEGIN, "no answer", BEGIN - since, BEGIN - since), **changes)


def test_a_source_that_has_not_been_read_for_an_hour_is_a_failure() -> None:
    assert levels("source multica", sources=(source(UNREAD_FOR - TICK),)) == [Level.WARNING]
    (check,) = found("source multica", sources=(source(UNREAD_FOR),))
    assert check.level is Level.FAILED
    assert check.message == (
        "failed since 2026-11-21T03:00:00.000Z (1h), complete last at 2026-11-21T03:00:00.000Z: no answer"
    )
    (never,) = found("source multica", sources=(source(UNREAD_FOR, complete_at=None),))
    assert "never complete" in never.message


@pytest.mark.parametrize("status", ["complete", "disabled"])
def test_a_source_that_was_read_or_is_not_in_use_is_well(status: str) -> None:
    assert levels("source multica", sources=(source(UNREAD_FOR * 9, status),)) == [Level.OK]


def test_an_outbox_that_nobody_carries_out_for_an_hour_is_a_failure() -> None:
    def waiting(since: timedelta) -> OutboxRecord:
        return OutboxRecord(3, BEGIN - since, 0)

    assert levels("outbox", outbox=waiting(OVERDUE_FOR - TICK)) == [Level.OK]
    assert levels("outbox", outbox=waiting(OVERDUE_FOR)) == [Level.FAILED]
    assert levels("outbox", outbox=OutboxRecord(3, None, 0)) == [Level.OK]
    assert levels("outbox", outbox=OutboxRecord(0, None, 2)) == [Level.OK, Level.WARNING]


def test_B7_memory_that_was_lost_is_a_failure_until_somebody_accepts_it() -> None:
    (check,) = found("state", lost=Tombstone(BEGIN, "state.db vanished"))
    assert check.level is Level.FAILED
    assert "heartbeat doctor --accept-loss NAME" in check.advice


def test_what_was_set_aside_is_named() -> None:
    database = Database(STATE / "state.db", 5, None, ("state.db.corrupt-1", "state.db.corrupt-2"))
    assert [check.level for check in found("state", database=database)] == [Level.OK, Level.WARNING]
    assert "state.db.corrupt-2" in found("state", database=database)[1].message


def test_receipts_from_the_future_are_told() -> None:
    assert found("clock", stands()) == []
    (check,) = found("clock", stands(-timedelta(hours=2)))
    assert "2h in the future" in check.message


def test_who_holds_a_lock_and_is_stopped_is_told_with_what_to_do() -> None:
    stopped = Held("coo", Holder(4711, "tick", BEGIN), Doing.STOPPED)
    (check,) = found("lock", holders=(stopped, Held("dev", Holder(4712, "tick", BEGIN), Doing.RUNNING)))
    assert check.level is Level.WARNING
    assert "kill -CONT 4711" in check.advice


def watchdog(watching: Watching, **changes: Any) -> Check:
    return checks(replace(RECORDS, **changes), [], to_text, watching)[-1]


def test_when_the_watchdog_looked_is_told_and_that_it_stopped_is_a_warning() -> None:
    well = watchdog(Watching(BEGIN - WATCHED_WITHIN, "/state"))
    assert (well.name, well.level) == ("watchdog", Level.OK)
    stale = watchdog(Watching(BEGIN - WATCHED_WITHIN - TICK, "/state"))
    assert (stale.level, "5m ago" in stale.message) == (Level.WARNING, True)
    assert watchdog(Watching(BEGIN + WATCHED_WITHIN, "/state")).level is Level.OK


def test_no_watchdog_is_a_warning_that_leaves_room_for_one_elsewhere() -> None:
    none = watchdog(Watching(None))
    assert none.level is Level.WARNING
    assert "unless another one watches" in none.message
    assert "heartbeat cron show" in none.advice
    assert not failing([], [none])


def test_a_watchdog_that_looks_elsewhere_is_a_warning() -> None:
    other = watchdog(Watching(BEGIN, "/typo"))
    assert (other.level, "/typo and not at /state" in other.message) == (Level.WARNING, True)


@pytest.mark.parametrize("changes", [{"trouble": "locked"}, {"exists": False}])
def test_the_watchdog_is_told_of_without_a_state_too(changes: dict[str, Any]) -> None:
    assert watchdog(Watching(BEGIN, "/state"), **changes).level is Level.OK


@pytest.mark.parametrize("changes", [{"trouble": "locked"}, {"exists": False}])
def test_without_a_state_that_can_be_read_only_its_disk_is_known(changes: dict[str, Any]) -> None:
    assert [check.name for check in checks(replace(RECORDS, **changes), [], to_text)] == ["disk"]


def test_being_late_is_no_failure_and_being_down_is() -> None:
    late, down = stands(EVERY), stands(EVERY + GRACE)
    assert (late.status, down.status) == (Status.LATE, Status.DOWN)
    assert not failing([late], [])
    assert failing([down], [])
    assert not failing([late], [Check("disk", Level.WARNING, "")])
    assert failing([], [Check("disk", Level.FAILED, "")])


def test_the_agents_in_one_line() -> None:
    assert line([stands(), stands(EVERY), stands(EVERY)]) == "3 agents: 1 up, 2 late"
    assert line([]) == "no agents"
