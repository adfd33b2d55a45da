"""Five minutes of a real cron: every due slot has its receipt, none has two, and the table is as it was afterwards.

Three teams of one user share the table, beside a job of somebody else: one beats by one job a minute, in another each
agent has its own, and its directory has a name that cron and the shell both have opinions about. From the third the
beats are taken out of the table after the first minute, and put back when its watchdog has told so.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.instants import parse_instant
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
GRACE = timedelta(seconds=30)
UNTIL_STARTED = 20.0
"""Seconds after a full minute until which cron has started what was due."""
SLOW = timedelta(seconds=20)
"""What a busy machine may take from cron's minute to the line that a watchdog writes."""
WATCHED = f"""\
operator: {{name: Vincent, notify: [ops]}}
channels: {{ops: {{kind: file, path: told.log, min_level: info}}}}
watchdog: {{grace: {GRACE.seconds}s}}
"""


class Minutes:
    """What there is to look at when the minutes are over."""

    def __init__(self, folder: Path, found: Room) -> None:
        self.room = found
        self.folder = folder
        self.marks = folder / "marks"
        self.before = f"SHELL=/bin/bash\n# \udcff mine\r\n* * * * * date +\\%s >>{self.marks}\n".encode(
            "utf-8", "surrogateescape"
        )
        self.rosters = {
            "due": team(folder / "plain", AGENTS),
            "each": team(folder / "it's 100% $HOME \\\\", AGENTS, "watchdog: {notify: []}"),
        }
        self.watched = team(folder / "watched", {"first": "every: 1m"}, WATCHED)
        self.after: bytes | None = None

    def pass_by(self) -> None:
        """Install, wait, remove."""
        self.room.put_table(self.before)
        for style, roster in (*self.rosters.items(), ("due", self.watched)):
            self._install(style, roster)
        assert len(find_blocks(self.room.table or b"")) == 3
        begin = datetime.now(UTC).replace(second=0, microsecond=0)
        last = begin + MINUTES * MINUTE
        self._fall_silent(begin + MINUTE, last)
        _wait_until(last + timedelta(seconds=5))
        waited = time.monotonic() + SETTLED
        while time.monotonic() < waited and not all(_has_beaten(roster, last) for roster in self.rosters.values()):
            time.sleep(1)
        # Good news keeps out of the minutes :00 and :30, so that it may come a minute later.
        _wait_for(lambda: len(told_of(self.watched)) >= 2, last + MINUTE + timedelta(seconds=SETTLED))
        for roster in (*self.rosters.values(), self.watched):
            done = self.room.heartbeat("cron", "remove", "--roster", str(roster))
            assert done.returncode == 0, done.stderr
        self.after = self.room.table

    def apart(self, roster: Path) -> Path:
        """Where this team's watchdog keeps what is its own."""
        return self.folder / "apart" / str([*self.rosters.values(), self.watched].index(roster))

    def _install(self, style: str, roster: Path) -> None:
        """With everything of the watchdog's in a directory of its own, also when cron starts it."""
        file = roster.parent / "cron.env"
        file.write_text(f"XDG_STATE_HOME={self.apart(roster)}\n")
        file.chmod(0o600)
        words = ("cron", "install", f"--{style}", "--roster", str(roster))
        done = self.room.heartbeat("--env-file", str(file), *words)
        assert done.returncode == 0, done.stderr

    def _fall_silent(self, first: datetime, last: datetime) -> None:
        """Takes the beats of one team out of the table when they have come once, until that was told."""
        _wait_until(first + timedelta(seconds=UNTIL_STARTED))
        whole = self.room.table or b""
        (beats,) = [
            line
            for line in whole.splitlines(keepends=True)
            if str(self.watched).encode() in line and b" tick " in line and not line.startswith(b"#")
        ]
        self.room.put_table(whole.replace(beats, b""))
        _wait_for(lambda: bool(told_of(self.watched)), last - MINUTE)
        self.room.put_table(whole)


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


def _wait_for(done: Callable[[], bool], until: datetime) -> None:
    while not done() and datetime.now(UTC) < until:
        time.sleep(1)


def told_of(roster: Path) -> list[dict[str, Any]]:
    """What this team's operator was told, oldest first."""
    path = roster.parent / "told.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


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


def test_the_watchdog_ran_and_found_nothing(roster: Path, passed: Minutes) -> None:
    (log,) = passed.apart(roster).rglob("watchdog.log")
    assert "Traceback" not in log.read_text()
    assert "No such command" not in log.read_text()


def test_B2_beats_that_are_taken_out_of_the_table_are_told_within_interval_and_grace_and_a_minute(
    passed: Minutes,
) -> None:
    wrong, *_ = told_of(passed.watched)
    assert (wrong["level"], wrong["title"]) == ("critical", "heartbeat 看门狗：first 没有心跳")
    before = [receipt for receipt in receipts_of(passed.watched) if receipt.started_at < parse(wrong["at"])]
    assert before[-1].slot is not None
    assert parse(wrong["at"]) - before[-1].slot <= MINUTE + GRACE + MINUTE + SLOW
    assert "heartbeat cron show" in wrong["body"]
    assert str(passed.watched) in wrong["body"]


def test_B2_that_they_are_back_is_told_once(passed: Minutes) -> None:
    wrong, back = told_of(passed.watched)
    assert (back["level"], back["title"]) == ("info", "heartbeat 看门狗：first 已恢复")
    again = [receipt for receipt in receipts_of(passed.watched) if receipt.started_at > parse(wrong["at"])]
    assert parse(back["at"]) > again[0].ended_at
    assert parse(back["at"]) - again[0].ended_at <= 2 * MINUTE + SLOW


def parse(text: str) -> datetime:
    """An instant as a line of the file has it."""
    found = parse_instant(text)
    assert found is not None
    return found


def test_the_job_of_somebody_else_went_on(passed: Minutes) -> None:
    assert MINUTES - 1 <= len(passed.marks.read_text().splitlines()) <= MINUTES + 2


def test_the_table_is_byte_for_byte_as_it_was(passed: Minutes) -> None:
    assert passed.after == passed.before
