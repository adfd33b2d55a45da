"""Five minutes of a real cron: every due slot has its receipt, none has two, and the table is as it was afterwards.

Two teams of one user share the table, beside a job of somebody else: one beats by one job a minute, in the other each
agent has its own, and its directory has a name that cron and the shell both have opinions about.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.roster.load import load_roster
from heartbeat.schedule.crontab import find_blocks
from heartbeat.schedule.slots import current_slot, slots_between
from heartbeat.store.opening import open_store_read_only
from heartbeat.store.port import Receipt
from tests.real_cron.room import Room, room, team

pytestmark = pytest.mark.cron

MINUTES = 5
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
AGENTS = {"first": "every: 1m", "second": "every: 1m", "other": "every: 2m", "fifth": 'every: 1m, cron: "*/5 * * * *"'}
SETTLED = 50.0
"""Seconds after the last minute until which its beats must have ended, on a machine that is busy with other tests."""


class Minutes:
    """What there is to look at when the minutes are over."""

    def __init__(self, folder: Path, found: Room) -> None:
        self.room = found
        self.marks = folder / "marks"
        self.before = f"SHELL=/bin/bash\n# \udcff mine\r\n* * * * * date +\\%s >>{self.marks}\n".encode(
            "utf-8", "surrogateescape"
        )
        self.rosters = {
            "due": team(folder / "plain", AGENTS),
            "each": team(folder / "it's 100% $HOME \\\\", AGENTS, "watchdog: {notify: []}"),
        }
        self.after: bytes | None = None

    def pass_by(self) -> None:
        """Install, wait, remove."""
        self.room.put_table(self.before)
        for style, roster in self.rosters.items():
            apart = str(roster.parent / "apart")
            done = self.room.heartbeat("cron", "install", f"--{style}", "--roster", str(roster), XDG_STATE_HOME=apart)
            assert done.returncode == 0, done.stderr
        assert len(find_blocks(self.room.table or b"")) == 2
        last = datetime.now(UTC).replace(second=0, microsecond=0) + MINUTES * MINUTE
        _wait_until(last + timedelta(seconds=5))
        waited = time.monotonic() + SETTLED
        while time.monotonic() < waited and not all(_has_beaten(roster, last) for roster in self.rosters.values()):
            time.sleep(1)
        for roster in self.rosters.values():
            done = self.room.heartbeat("cron", "remove", "--roster", str(roster))
            assert done.returncode == 0, done.stderr
        self.after = self.room.table


def _has_beaten(roster: Path, last: datetime) -> bool:
    """Whether the beats of the last minute have ended, to the line in the log."""
    receipts = receipts_of(roster)
    slots = {receipt.agent: receipt.slot for receipt in receipts}
    return slots.get("first") == slots.get("second") == last and len(receipts) == len(log_of(roster))


def log_of(roster: Path) -> list[str]:
    """What the beats have said, line by line."""
    return (roster.parent / "state" / "log" / "beats.log").read_text().splitlines()


def _wait_until(instant: datetime) -> None:
    while (left := (instant - datetime.now(UTC)).total_seconds()) > 0:
        time.sleep(min(left, 5))


def receipts_of(roster: Path) -> list[Receipt]:
    """Every receipt of the team, oldest first."""
    with open_store_read_only(roster.parent / "state") as store:
        return sorted(store.receipts(), key=lambda receipt: receipt.started_at)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minutes]:
    with room() as found:
        minutes = Minutes(tmp_path_factory.mktemp("cron"), found)
        minutes.pass_by()
        yield minutes


@pytest.fixture(params=["due", "each"])
def roster(request: pytest.FixtureRequest, passed: Minutes) -> Path:
    return passed.rosters[request.param]


def test_B2_every_due_slot_has_a_receipt_or_a_miss_and_never_two(roster: Path, passed: Minutes) -> None:
    loaded = load_roster(roster, {})
    receipts = receipts_of(roster)
    with open_store_read_only(roster.parent / "state") as store:
        misses = list(store.misses())
    for agent in loaded.agents.values():
        own = [receipt for receipt in receipts if receipt.agent == agent.id]
        answered = [receipt.slot for receipt in own if receipt.slot is not None]
        assert own
        assert [slot for slot, number in Counter(answered).items() if number > 1] == []
        assert len(own) == len(answered), "a beat that answers no slot"
        missed = [
            slot
            for miss in misses
            if miss.agent == agent.id
            for slot in _slots(agent.policy, loaded.timezone, miss.first - TICK, miss.last + TICK)
        ]
        due = _slots(agent.policy, loaded.timezone, answered[0] - TICK, answered[-1] + TICK)
        assert sorted(set(answered) | set(missed)) == due
        assert not set(answered) & set(missed)


def _slots(policy, timezone: str, after: datetime, before: datetime) -> list[datetime]:
    span = slots_between(policy, timezone, after, before)
    if span is None:
        return []
    found, slot = [span.last], span.last
    while slot > span.first:
        slot = current_slot(policy, timezone, slot - TICK)
        found.append(slot)
    return sorted(found)


def test_B2_no_beat_began_before_its_slot_and_hardly_one_much_later(roster: Path) -> None:
    for receipt in receipts_of(roster):
        assert receipt.slot is not None
        if receipt.slot > receipts_of(roster)[0].started_at:
            assert timedelta(0) <= receipt.started_at - receipt.slot < MINUTE


def test_nearly_every_minute_had_its_beats(roster: Path) -> None:
    beats = Counter(receipt.agent for receipt in receipts_of(roster))
    assert beats["first"] >= MINUTES - 1
    assert beats["second"] >= MINUTES - 1
    assert MINUTES // 2 <= beats["other"] <= MINUTES // 2 + 2
    assert 1 <= beats["fifth"] <= 2


def test_the_log_has_a_line_for_each_beat_and_nothing_else(roster: Path) -> None:
    lines = log_of(roster)
    told = Counter(line.split()[1] for line in lines)
    assert told == Counter(receipt.agent for receipt in receipts_of(roster)), "\n".join(lines)
    assert all(" done: 1 ready" in line for line in lines), "\n".join(lines)


def test_the_watchdog_ran_and_found_nothing(roster: Path) -> None:
    (log,) = (roster.parent / "apart").rglob("watchdog.log")
    assert "Traceback" not in log.read_text()
    assert "No such command" not in log.read_text()


def test_the_job_of_somebody_else_went_on(passed: Minutes) -> None:
    assert MINUTES - 1 <= len(passed.marks.read_text().splitlines()) <= MINUTES + 2


def test_the_table_is_byte_for_byte_as_it_was(passed: Minutes) -> None:
    assert passed.after == passed.before
