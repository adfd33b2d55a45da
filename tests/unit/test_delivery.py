"""Messages on their way out: limits, storms, crowded minutes, retries, the next channel, and crashes (rules O3, I4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.action import Level
from heartbeat.deadline import Deadline
from heartbeat.notify import batches
from heartbeat.notify.batches import ABANDONED, ATTEMPTS, LIMITS, STORM, next_minute, wait_after, wait_for_room
from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.notify.delivery import ACTION, Delivered, deliver
from heartbeat.notify.inbox import inbox, shown
from heartbeat.notify.letter import letter_for
from heartbeat.notify.roles import Recipient, entry_for
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Entry, EntryKind, EntryState, LogEntry
from tests.support.fake_channels import ScriptedChannel
from tests.support.rosters import make_agent, make_coo, make_roster

NOW = datetime(2026, 11, 21, 4, 10, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
DOWN = ChannelError(Failure.TRANSIENT, "https://bot.test/… cannot be reached: refused", advice="check the address")
LATE = ChannelError(Failure.TRANSIENT, "https://bot.test/… did not answer in time", outcome_unknown=True)
WRONG = ChannelError(Failure.PERMANENT, "https://bot.test/… answered 404", advice="check the address")


class Killed(BaseException):
    """The process ends here."""


def channels(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {"kind": "file", "path": f"/{name}", "min_level": "info"} for name in names}


@dataclass
class World:
    """A store, channels that do as their scripts say, and a clock that only tests move."""

    script: dict[str, ScriptedChannel] = field(default_factory=lambda: {"ops": ScriptedChannel()})
    at: datetime = NOW
    store: MemoryStore = field(default_factory=MemoryStore)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.roster = make_roster(
            make_coo(), make_agent("writer"), channels=channels(*self.script), operator=Operator("V", (*self.script,))
        )

    def put(self, *names: str, target: str = "ops", level: Level = Level.WARNING, **changes: Any) -> None:
        kind = EntryKind.MESSAGE if target in self.script else EntryKind.INBOX
        for name in names:
            payload = {"title": f"标题 {name}", "body": f"正文 {name}", "level": level.value, "to": ["operator"]}
            entry = entry_for(Recipient(kind, target), name, payload, self.at, task=f"workboard:{name}", incident=name)
            self.store.enqueue([replace(entry, **changes)])

    def deliver(self, seconds: float = 60.0, open_channel: Any = None) -> Delivered:
        return deliver(
            self.store,
            self.roster,
            {},
            now=self.at,
            deadline=Deadline.after(seconds),
            clock=lambda: self.at,
            open_channel=open_channel or self.open,
            pause=self.pause,
        )

    def open(self, name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        if name not in roster.channels:
            raise ChannelError(Failure.PERMANENT, f"the roster has no channel {name} any more")
        return self.script[name]

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += timedelta(seconds=seconds)

    def entry(self, key: str) -> Entry:
        found = self.store.entry(key)
        assert found is not None
        return found

    def states(self, target: str = "ops") -> dict[str, str]:
        return {entry.key: entry.state.value for entry in self.store.entries(target=target)}

    def log(self) -> list[LogEntry]:
        return [entry for entry in self.store.log() if entry.action == ACTION]

    @property
    def ops(self) -> list[str]:
        """The keys of the letters that the channel `ops` was given."""
        return [letter.key for letter in self.script["ops"].letters]


@pytest.fixture
def world() -> World:
    return World()


# One by one


def test_O3_what_is_due_is_sent_settled_and_logged(world: World) -> None:
    world.put("a", "b")
    world.put("later", due_at=NOW + SECOND)
    done = world.deliver()
    assert (done.sent, done.failed, done.digested, done.left) == (2, 0, 0, 0)
    assert world.states() == {"a/ops": "done", "b/ops": "done", "later/ops": "pending"}
    assert world.entry("a/ops").result == "sent to scripted"
    assert world.entry("a/ops").attempts == 1
    (letter, _) = world.script["ops"].letters
    assert (letter.key, letter.title, letter.body, letter.task) == ("a/ops", "标题 a", "正文 a", "workboard:a")
    first, _ = world.log()
    assert (first.at, first.task, first.incident) == (NOW, "workboard:a", "a")
    assert first.message == "ops: sent to scripted"
    assert {name: first.details[name] for name in ("channel", "outcome", "key", "attempt")} == {
        "channel": "ops",
        "outcome": "sent",
        "key": "a/ops",
        "attempt": 1,
    }


def test_O3_the_most_urgent_goes_first_and_inboxes_are_left_alone(world: World) -> None:
    world.put("info", level=Level.INFO)
    world.put("warning")
    world.put("critical", level=Level.CRITICAL)
    world.put("nudge", target="writer", level=Level.CRITICAL)
    world.deliver()
    assert world.ops == ["critical/ops", "warning/ops", "info/ops"]
    assert world.entry("nudge/writer").state is EntryState.PENDING


def test_O3_nothing_due_opens_no_channel(world: World) -> None:
    def refuse(*given: Any) -> Channel:
        raise AssertionError("opened")

    assert world.deliver(open_channel=refuse) == Delivered()
    assert world.log() == []


def test_O3_without_time_nothing_is_begun(world: World) -> None:
    world.put("a")
    done = world.deliver(seconds=0)
    assert (done.sent, done.left) == (0, 1)
    assert world.entry("a/ops").attempts == 0
    assert world.ops == []


# Storms


def test_O3_500_alerts_at_once_are_one_digest() -> None:
    world = World()
    world.put(*(f"i{number:03}" for number in range(498)))
    world.put("hot1", "hot2", level=Level.CRITICAL)
    done = world.deliver()
    (letter,) = world.script["ops"].letters
    assert (done.sent, done.digested, done.left) == (500, 500, 0)
    assert letter.count == 500
    assert letter.level is Level.CRITICAL
    assert letter.title == "heartbeat 通知汇总：共 500 条（严重 2，警告 498）"
    lines = letter.body.splitlines()
    assert lines[1:4] == [
        "[严重] 标题 hot1 · hot1/ops",
        "[严重] 标题 hot2 · hot2/ops",
        "[警告] 标题 i000 · i000/ops",
    ]
    assert 13_000 < len(letter.body.encode()) <= 14_000
    assert len(lines) - 1 == len(letter.keys) < 500
    assert letter.keys[:3] == ("hot1/ops", "hot2/ops", "i000/ops")
    assert set(world.states().values()) == {"done"}
    (logged,) = world.log()
    assert logged.details["messages"] == 500
    assert world.entry("i400/ops").result == "sent to scripted, in a digest of 500"


@pytest.mark.parametrize(("count", "letters"), [(STORM, STORM), (STORM + 1, 1)])
def test_O3_a_storm_begins_above_five(world: World, count: int, letters: int) -> None:
    world.put(*(f"i{number}" for number in range(count)))
    assert world.deliver().sent == count
    assert len(world.ops) == letters


def test_O3_each_channel_has_storms_of_its_own() -> None:
    world = World(script={"ops": ScriptedChannel(), "feishu": ScriptedChannel()})
    world.put(*(f"i{number}" for number in range(STORM + 1)))
    world.put("a", "b", target="feishu")
    world.deliver()
    assert (len(world.script["ops"].letters), len(world.script["feishu"].letters)) == (1, 2)


@given(st.lists(st.tuples(st.text(max_size=300), st.sampled_from(list(Level))), min_size=2, max_size=300))
def test_O3_a_digest_of_anything_fits_and_counts_all(messages: list[tuple[str, Level]]) -> None:
    entries = [
        Entry(f"k{n}/ops", EntryKind.MESSAGE, "ops", {"title": title, "level": level.value}, NOW, NOW)
        for n, (title, level) in enumerate(messages)
    ]
    letter = letter_for(entries)
    assert letter.count == len(entries)
    assert len(letter.body.encode()) <= 14_000
    assert len(letter.body.splitlines()) == len(letter.keys) + 1
    assert letter.key == letter_for(entries[::-1]).key
    ranks = [next(entry for entry in entries if entry.key == key).payload["level"] for key in letter.keys]
    assert ranks == sorted(ranks, key=lambda level: -Level(level).rank)


@pytest.mark.parametrize(
    "payload", [{}, {"title": None, "level": 7, "to": "x"}, {"title": "\ud83d\x00\x1b[31m", "body": "\r\n"}]
)
def test_O3_a_payload_of_any_shape_is_sent(world: World, payload: dict[str, Any]) -> None:
    world.put("odd", payload=payload, task="todo:\udc80")
    assert world.deliver().sent == 1
    (letter,) = world.script["ops"].letters
    assert letter.level is Level.WARNING
    assert letter.title
    assert "\x1b" not in letter.title
    json.dumps([letter.title, letter.body, letter.task], ensure_ascii=False).encode()


# Crowded minutes


@pytest.mark.parametrize("minute", [0, 30])
def test_O3_on_the_full_and_the_half_hour_only_the_critical_goes(world: World, minute: int) -> None:
    world.at = NOW.replace(minute=minute, second=59)
    world.put("calm")
    world.put("hot", level=Level.CRITICAL)
    done = world.deliver()
    assert (done.sent, done.left) == (1, 1)
    assert world.ops == ["hot/ops"]
    calm = world.entry("calm/ops")
    assert (calm.state, calm.attempts) == (EntryState.PENDING, 0)
    assert calm.due_at == NOW.replace(minute=minute + 1, second=0)
    world.at = calm.due_at
    assert world.deliver().sent == 1


@pytest.mark.parametrize("minute", [1, 29, 31, 59])
def test_O3_every_other_minute_is_quiet(world: World, minute: int) -> None:
    world.at = NOW.replace(minute=minute)
    world.put("calm")
    assert world.deliver().sent == 1


def test_O3_what_waits_for_the_next_minute_is_no_part_of_a_storm(world: World) -> None:
    world.at = NOW.replace(minute=30)
    world.put(*(f"i{number}" for number in range(100)))
    world.put("hot", level=Level.CRITICAL)
    world.deliver()
    assert world.ops == ["hot/ops"]
    world.at += MINUTE
    world.deliver()
    assert len(world.ops) == 2


def test_O3_the_next_minute_also_ends_a_day() -> None:
    assert next_minute(datetime(2026, 12, 31, 23, 59, 59, 9, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


# Limits


def test_O3_five_a_second_and_the_sixth_waits_a_moment(world: World) -> None:
    for number in range(STORM):
        world.put(f"i{number}")
        world.deliver()
    world.put("sixth")
    assert world.deliver().sent == 1
    assert world.pauses == [1.0]
    assert world.ops[-1] == "sixth/ops"


def test_O3_no_room_within_the_minute_leaves_it_for_later(world: World) -> None:
    for number in range(100):
        world.put(f"i{number}")
        world.deliver()
        world.at += SECOND / 4
    assert world.pauses == []
    world.put("too many")
    done = world.deliver()
    assert (done.sent, done.left) == (0, 1)
    assert world.pauses == []
    entry = world.entry("too many/ops")
    assert (entry.state, entry.attempts) == (EntryState.PENDING, 0)
    assert entry.due_at == NOW + MINUTE
    world.at = entry.due_at
    assert world.deliver().sent == 1


def test_O3_limits_count_what_other_processes_sent_and_not_what_other_channels_did(world: World) -> None:
    world.store.add_log(
        LogEntry(at=NOW - SECOND / 2, action=ACTION, message="", details={"channel": name})
        for name in ("ops",) * 3 + ("feishu",) * 200
    )
    world.put("a", "b", "c")
    assert world.deliver().sent == 3
    assert world.pauses == [0.5]


def test_O3_a_busy_log_hides_no_sending_from_the_limit_of_a_minute(world: World) -> None:
    sendings = [
        LogEntry(at=NOW - 50 * SECOND, action=ACTION, message="", details={"channel": "ops"}) for _ in range(100)
    ]
    noise = [LogEntry(at=NOW - 40 * SECOND, action="beat", message="") for _ in range(3_000)]
    world.store.add_log([*sendings, *noise])
    world.put("too many")
    done = world.deliver()
    assert (done.sent, done.left) == (0, 1)
    assert world.entry("too many/ops").due_at == NOW + 10 * SECOND


def test_O3_the_log_is_read_no_further_back_than_the_limits_reach(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    read = MemoryStore.log

    def log(store: MemoryStore, *, limit: int | None = None, **narrower: Any) -> tuple[LogEntry, ...]:
        asked.append(limit)
        return read(store, limit=limit, **narrower)

    monkeypatch.setattr(MemoryStore, "log", log)
    world.store.add_log(LogEntry(at=NOW - MINUTE, action="beat", message="") for _ in range(3_000))
    world.put("a")
    assert world.deliver().sent == 1
    assert asked == [500]


def test_O3_a_pause_that_the_deadline_does_not_allow_is_not_taken(world: World) -> None:
    for number in range(STORM):
        world.put(f"i{number}")
    world.put("sixth", due_at=NOW + timedelta(milliseconds=1))
    world.deliver()
    world.at += timedelta(milliseconds=1)
    done = world.deliver(seconds=1.5)
    assert (done.sent, done.left) == (0, 1)
    assert world.pauses == []
    assert world.entry("sixth/ops").due_at == NOW + SECOND


@given(st.lists(st.floats(0, 400), max_size=400))
def test_O3_whoever_waits_as_told_never_exceeds_a_limit(arrivals: list[float]) -> None:
    sent: list[datetime] = []
    at = NOW
    for arrival in sorted(arrivals):
        at = max(at, NOW + timedelta(seconds=arrival))
        at += wait_for_room(sent, at)
        sent.append(at)
    for count, span in LIMITS:
        assert all(later - earlier >= span for earlier, later in zip(sent, sent[count:], strict=False))


def test_O3_sendings_ahead_of_a_clock_that_was_put_back_hold_nobody_up() -> None:
    assert wait_for_room([NOW + timedelta(hours=1)] * 500, NOW) == timedelta(0)


# Retries


def test_O3_the_waits_double_from_a_minute_to_an_hour_eight_attempts_in_all() -> None:
    minutes = [(wait or timedelta(0)) / MINUTE for wait in map(wait_after, range(1, ATTEMPTS))]
    assert minutes == [1, 2, 4, 8, 16, 32, 60]
    assert wait_after(ATTEMPTS) is None


def test_O3_what_fails_for_a_while_is_tried_eight_times_and_then_told_to_the_coo() -> None:
    world = World(script={"ops": ScriptedChannel(DOWN)})
    world.put("a")
    for attempt in range(1, ATTEMPTS):
        assert world.deliver().failed == 1
        entry = world.entry("a/ops")
        assert (entry.state, entry.attempts) == (EntryState.PENDING, attempt)
        assert entry.due_at == world.at + (wait_after(attempt) or timedelta(0))
        assert entry.error == "https://bot.test/… cannot be reached: refused; check the address"
        assert entry.result == ""
        assert world.deliver() == Delivered()
        world.at = entry.due_at
        if world.at.minute in (0, 30):
            world.at += MINUTE
    done = world.deliver()
    assert (done.failed, done.dead) == (1, 1)
    assert world.entry("a/ops").state is EntryState.DEAD
    assert len(world.ops) == ATTEMPTS
    told = world.entry("a/coo")
    assert (told.kind, told.state) == (EntryKind.INBOX, EntryState.PENDING)
    assert told.payload["title"] == "（未能经 ops 送达）标题 a"
    assert told.payload["body"] == "正文 a"
    assert world.log()[-1].details["outcome"] == "dead"
    assert "given up, told the inbox of coo" in world.log()[-1].message
    assert world.deliver() == Delivered()


@pytest.mark.parametrize(("seconds", "wait"), [(5, 60), (90, 90), (7200, 7200)])
def test_O3_retry_after_is_the_least_that_is_waited(seconds: int, wait: int) -> None:
    limited = ChannelError(Failure.TRANSIENT, "answered 429", retry_after=seconds)
    world = World(script={"ops": ScriptedChannel(limited)})
    world.put("a")
    world.deliver()
    assert world.entry("a/ops").due_at == NOW + timedelta(seconds=wait)


def test_O3_a_channel_that_just_failed_is_left_alone_and_the_others_keep_their_attempts() -> None:
    world = World(script={"ops": ScriptedChannel(DOWN), "feishu": ScriptedChannel()})
    world.put("a", "b", "c")
    world.put("d", target="feishu")
    done = world.deliver()
    assert (done.sent, done.failed, done.left) == (1, 1, 2)
    assert len(world.ops) == 1
    assert [world.entry(f"{name}/ops").attempts for name in "abc"] == [1, 0, 0]
    assert {world.entry(f"{name}/ops").due_at for name in "abc"} == {NOW + MINUTE}


def test_O3_one_message_that_always_fails_holds_up_no_other() -> None:
    def poison(letter: Any) -> None:
        if letter.key == "poison/ops":
            raise DOWN

    world = World(script={"ops": ScriptedChannel(poison)})
    world.put("poison")
    world.at += SECOND
    world.put("a", "b")
    world.deliver()
    world.at += 2 * MINUTE
    assert world.deliver().sent == 2
    assert world.states() == {"poison/ops": "pending", "a/ops": "done", "b/ops": "done"}


def test_O3_a_failed_digest_leaves_every_message_with_its_own_count() -> None:
    world = World(script={"ops": ScriptedChannel(DOWN, None)})
    world.put(*(f"i{number}" for number in range(9)))
    done = world.deliver()
    assert (done.sent, done.failed, done.digested) == (0, 9, 9)
    assert {entry.due_at for entry in world.store.entries(target="ops")} == {NOW + MINUTE}
    world.at += MINUTE
    assert world.deliver().sent == 9
    assert len(world.ops) == 2


def test_O3_a_bug_in_a_channel_is_told_without_its_words_and_stops_nothing() -> None:
    world = World(script={"ops": ScriptedChannel(ValueError("secret-token")), "feishu": ScriptedChannel()})
    world.put("a")
    world.put("b", target="feishu")
    done = world.deliver()
    assert (done.sent, done.failed) == (1, 1)
    assert "a bug in channel ops: ValueError" in world.entry("a/ops").error
    assert "secret-token" not in f"{done} {world.entry('a/ops')} {world.log()}"


# The next channel


def test_O3_what_cannot_be_delivered_goes_to_the_next_channel_at_once_and_once() -> None:
    world = World(script={"feishu": ScriptedChannel(WRONG), "ops": ScriptedChannel()})
    world.put("a", target="feishu")
    done = world.deliver()
    assert (done.sent, done.failed, done.dead) == (1, 1, 1)
    assert world.entry("a/feishu").state is EntryState.DEAD
    assert world.entry("a/ops").state is EntryState.DONE
    assert world.script["ops"].letters[0].title == "（未能经 feishu 送达）标题 a"
    assert world.store.entry("a/coo") is None
    assert world.deliver() == Delivered()


def test_O3_a_message_that_the_next_channel_already_has_is_not_told_twice() -> None:
    world = World(script={"feishu": ScriptedChannel(WRONG), "ops": ScriptedChannel()})
    world.put("a", target="feishu")
    world.put("a", target="ops")
    world.deliver()
    assert world.ops == ["a/ops"]
    assert world.store.entry("a/coo") is None
    assert "given up, others were told" in " ".join(entry.message for entry in world.log())


def test_O3_when_every_channel_fails_the_coo_hears_and_nothing_goes_round() -> None:
    world = World(script={name: ScriptedChannel(WRONG) for name in ("feishu", "ops", "mail")})
    for target in ("feishu", "ops", "mail"):
        world.put("a", target=target)
    for _ in range(3):
        world.deliver()
    assert [len(channel.letters) for channel in world.script.values()] == [1, 1, 1]
    (told,) = inbox(world.store, "coo")
    assert told.key == "a/coo"


def test_O3_a_message_visits_every_channel_in_order_before_the_inbox() -> None:
    world = World(script={name: ScriptedChannel(WRONG) for name in ("feishu", "ops", "mail")})
    world.put("a", target="mail")
    done = world.deliver()
    assert (done.sent, done.dead) == (0, 3)
    assert [entry.details["channel"] for entry in world.log()] == ["mail", "feishu", "ops"]
    (told,) = inbox(world.store, "coo")
    assert told.payload["title"] == "（未能经 ops 送达）（未能经 feishu 送达）（未能经 mail 送达）标题 a"


def test_O3_a_storm_that_dies_is_one_message_in_the_inbox_and_one_digest_on_a_channel() -> None:
    world = World(script={"ops": ScriptedChannel(WRONG)})
    world.put(*(f"i{number}" for number in range(50)))
    world.deliver()
    (told,) = inbox(world.store, "coo")
    assert told.payload["title"] == "（未能经 ops 送达）heartbeat 通知汇总：共 50 条（警告 50）"
    assert "i49/ops" in told.payload["body"]

    world = World(script={"feishu": ScriptedChannel(WRONG), "ops": ScriptedChannel()})
    world.put(*(f"i{number}" for number in range(50)), target="feishu")
    assert world.deliver().sent == 50
    assert len(world.ops) == 1


def test_O3_a_channel_that_left_the_roster_hands_on_what_was_meant_for_it(world: World) -> None:
    world.put("a")
    world.store.enqueue([replace(world.entry("a/ops"), key="b/gone", target="gone")])
    assert world.deliver().sent == 2
    assert world.entry("b/gone").state is EntryState.DEAD
    assert world.entry("b/ops").state is EntryState.DONE


# Crashes and lost answers


def test_I4_killed_between_claim_and_settle_it_is_sent_once_more_under_the_same_key() -> None:
    world = World(script={"ops": ScriptedChannel(Killed(), None)})
    world.put("a")
    with pytest.raises(Killed):
        world.deliver()
    assert world.entry("a/ops").state is EntryState.CLAIMED
    world.at = NOW + ABANDONED - SECOND
    assert world.deliver() == Delivered()
    world.at = NOW + ABANDONED
    done = world.deliver()
    assert done.sent == 1
    assert world.ops == ["a/ops", "a/ops"]
    assert [letter.repeat for letter in world.script["ops"].letters] == [False, True]
    assert "may have arrived before" in world.entry("a/ops").result
    assert done.notes
    assert world.deliver() == Delivered()


def test_I4_a_digest_that_died_goes_out_again_as_the_digest_that_it_was() -> None:
    world = World(script={"ops": ScriptedChannel(Killed(), None)})
    world.put(*(f"i{number}" for number in range(9)))
    with pytest.raises(Killed):
        world.deliver()
    world.at = NOW + ABANDONED
    world.put("fresh")
    assert world.deliver().sent == 10
    first, *others = world.script["ops"].letters
    assert sorted((letter.key, letter.count) for letter in others) == sorted([(first.key, 9), ("fresh/ops", 1)])
    assert set(world.states().values()) == {"done"}


def test_I4_a_lost_answer_is_repeated_under_the_same_key_however_many_are_new() -> None:
    world = World(script={"ops": ScriptedChannel(LATE, None)})
    world.put(*(f"i{number}" for number in range(9)))
    world.deliver()
    (lost,) = world.script["ops"].letters
    world.at += MINUTE
    world.put(*(f"new{number}" for number in range(7)))
    assert world.deliver().sent == 16
    _, *others = world.script["ops"].letters
    assert {(letter.key == lost.key, letter.count, letter.repeat) for letter in others} == {
        (True, 9, True),
        (False, 7, False),
    }


def test_I4_a_letter_that_may_have_arrived_waits_together_however_often_its_parts_were_tried() -> None:
    world = World(script={"ops": ScriptedChannel(DOWN, LATE, None)})
    world.put("old")
    world.deliver()
    world.at += MINUTE
    world.put(*(f"i{number}" for number in range(6)))
    world.deliver()
    assert {entry.due_at for entry in world.store.entries(target="ops")} == {world.at + 2 * MINUTE}
    world.at += 2 * MINUTE
    world.deliver()
    assert world.ops[1] == world.ops[2]
    assert world.script["ops"].letters[2].count == 7


def test_I4_a_lost_answer_is_remembered_over_a_crowded_minute_and_a_refusal() -> None:
    world = World(script={"ops": ScriptedChannel(LATE, DOWN, None)}, at=NOW.replace(minute=29, second=30))
    world.put("a")
    world.deliver()
    world.at += MINUTE
    assert world.deliver().left == 1
    world.at = world.entry("a/ops").due_at
    assert world.deliver().failed == 1
    world.at = world.entry("a/ops").due_at
    assert world.deliver().sent == 1
    assert [letter.repeat for letter in world.script["ops"].letters] == [False, True, True]
    assert "may have arrived before" in world.entry("a/ops").result


def test_I4_a_claim_from_ahead_of_a_clock_that_was_put_back_is_not_waited_for() -> None:
    world = World(script={"ops": ScriptedChannel(Killed(), None)})
    world.put("a", due_at=NOW - timedelta(days=2))
    with pytest.raises(Killed):
        world.deliver()
    world.at = NOW - timedelta(days=1)
    assert world.deliver().sent == 1


def test_I4_two_processes_at_once_send_it_once() -> None:
    world = World()
    rival: list[Delivered] = []

    def meanwhile(name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
        if not rival:
            rival.append(world.deliver())
        return world.open(name, roster, environment)

    world.put("a", "b")
    done = world.deliver(open_channel=meanwhile)
    assert sorted(world.ops) == ["a/ops", "b/ops"]
    assert done.sent + rival[0].sent == 2
    assert set(world.states().values()) == {"done"}


def test_I4_an_abandoned_claim_is_taken_over_by_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(script={"ops": ScriptedChannel(Killed(), None)})
    world.put("a")
    with pytest.raises(Killed):
        world.deliver()
    world.at = NOW + ABANDONED
    claim: Callable[..., Any] = world.store.claim_entry
    # Another process takes it over between our look and our claim.
    taken = iter([True])

    def late(key: str, at: datetime) -> Entry | None:
        if next(taken, False):
            claim(key, at)
        found: Entry | None = claim(key, at)
        return found

    monkeypatch.setattr(world.store, "claim_entry", late)
    assert world.deliver() == Delivered()
    assert world.ops == ["a/ops"]
    assert world.entry("a/ops").state is EntryState.CLAIMED


def test_I4_every_claim_is_on_record_before_the_effect(world: World) -> None:
    seen: list[str] = []
    world.script["ops"] = ScriptedChannel(lambda letter: seen.append(world.entry(letter.key).state.value))
    world.put("a", "b")
    world.deliver()
    assert seen == ["claimed", "claimed"]


def test_a_batch_without_what_others_took_has_a_key_of_its_own_unless_it_may_have_arrived() -> None:
    entries = [entry_for(Recipient(EntryKind.MESSAGE, "ops"), f"k{n}", {}, NOW) for n in range(8)]
    fresh = batches.sort_out(entries, NOW).batches[0]
    assert fresh.only(entries) is fresh
    assert fresh.only(entries[:3]).letter.key != fresh.letter.key
    assert fresh.only(entries[:3]).letter.count == 3
    lost = [replace(entry, result=batches.perhaps(fresh.letter)) for entry in entries]
    again = batches.sort_out(lost, NOW).batches[0]
    assert again.letter.key == fresh.letter.key
    assert again.only(lost[:3]).letter.key == fresh.letter.key


# Inboxes


def test_L1_an_inbox_shows_the_most_urgent_first_and_then_the_newest(world: World) -> None:
    for number, level in enumerate([Level.INFO, Level.CRITICAL, Level.WARNING, Level.CRITICAL, Level.INFO]):
        world.at = NOW + number * MINUTE
        world.put(f"i{number}", target="writer", level=level)
    world.put("other", target="coo")
    assert [entry.incident for entry in inbox(world.store, "writer", 10)] == ["i3", "i1", "i2", "i4", "i0"]
    assert [entry.incident for entry in inbox(world.store, "writer", 2)] == ["i3", "i1"]
    assert inbox(world.store, "nobody") == ()


def test_L1_what_a_receipt_showed_is_delivered_together_with_the_receipt(world: World) -> None:
    world.put("a", "b", target="writer")

    def killed() -> None:
        with world.store.transaction():
            shown(world.store, ["a/writer"], "r-1", NOW)
            raise Killed

    with pytest.raises(Killed):
        killed()
    assert len(inbox(world.store, "writer")) == 2
    with world.store.transaction():
        shown(world.store, ["a/writer", "unknown/writer"], "r-2", NOW)
    (left,) = inbox(world.store, "writer")
    assert left.key == "b/writer"
    shown(world.store, ["a/writer"], "r-3", NOW + MINUTE)
    entry = world.entry("a/writer")
    assert (entry.state, entry.finished_at, entry.result) == (EntryState.DONE, NOW, "on the worklist of receipt r-2")
