"""What the watchdog says: every sentence, real full-width punctuation, nothing foreign that could do harm."""

from __future__ import annotations

import re
from dataclasses import replace
from string import Formatter

import pytest
from syrupy.assertion import SnapshotAssertion

from heartbeat.action import Level
from heartbeat.watch import wording
from heartbeat.watch.causes import Cause, Likely
from heartbeat.watch.flips import BEATS, DISK, MEMORY, ROSTER, STORE, Flip, Kind, agent_key
from heartbeat.watch.health import Expected, Health, Interrupted, Record, health
from heartbeat.watch.wording import CAUSES, LISTED, TEXTS, Setting, Subject, Told, message
from tests.support.watching import BEGIN, EVERY, GRACE, MINUTE, member, receipt, without_anchor

AGENT = without_anchor(member("coo"))
SETTING = Setting("/etc/heartbeat/agents.yaml", "/var/lib/heartbeat", "Asia/Shanghai", ("s3cret-value",))
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;:!?()]|[,;:!?()][\u4e00-\u9fff]")


def stands(*outcomes: str, reasons: tuple[str, ...] = ()) -> Health:
    beats = tuple(
        receipt(AGENT, BEGIN - number * EVERY, outcome=outcome, degraded=outcome != "done", reasons=reasons, sources=())
        for number, outcome in enumerate(outcomes)
    )
    return health(Expected("coo", AGENT.policy, "UTC", GRACE, BEGIN - EVERY), Record(beats), BEGIN + EVERY + GRACE)


def subject(name: str = "coo（陆怀瑾）", found: Health | None = None, **changes: object) -> Subject:
    told = Subject(name, found or stands("done"), "每 10m 一次", Likely(Cause.NOBODY, since=BEGIN))
    return replace(told, **changes)  # type: ignore[arg-type]


def tell(*flips: Flip, **subjects: Subject) -> Told:
    named = {
        agent_key(name) if name not in (BEATS, STORE, MEMORY, ROSTER, DISK) else name: each
        for name, each in subjects.items()
    }
    return message(flips, named, SETTING)


def flip(key: str, old: Kind | None = None, new: Kind | None = None) -> Flip:
    return Flip(key, old, new, BEGIN + EVERY)


def test_every_sentence_has_full_width_punctuation() -> None:
    for text in (*TEXTS.values(), *(part for pair in CAUSES.values() for part in pair)):
        bare = re.sub(r"\{\w+\}", "", text)
        assert not HALF_WIDTH.search(bare), text


def test_every_kind_and_every_cause_has_its_sentence() -> None:
    assert {kind.value for kind in Kind} <= set(TEXTS)
    assert set(CAUSES) == set(Cause)
    for kind in Kind:
        assert f"back_{kind.value}" in TEXTS or kind in (Kind.DOWN, Kind.NEVER)


def test_one_silent_agent(snapshot: SnapshotAssertion) -> None:
    told = tell(flip(agent_key("coo"), new=Kind.DOWN), coo=subject())
    assert (told.level, told.title) == (Level.CRITICAL, "heartbeat 看门狗：coo（陆怀瑾）没有心跳")
    assert told.body == snapshot


def test_everything_at_once(snapshot: SnapshotAssertion) -> None:
    flips = [
        flip(BEATS, new=Kind.SILENCE),
        flip(agent_key("a"), new=Kind.NEVER),
        flip(agent_key("b"), new=Kind.FAILING),
        flip(STORE, new=Kind.UNREADABLE),
        flip(MEMORY, new=Kind.LOST),
        flip(ROSTER, new=Kind.ROSTER),
        flip(DISK, new=Kind.DISK),
        flip(agent_key("c"), old=Kind.DOWN),
        flip(agent_key("d"), old=Kind.FAILING),
    ]
    told = tell(
        *flips,
        beats=subject("心跳", missing=("coo", "dev"), cause=Likely(Cause.DAEMON_GONE, 4711)),
        a=subject("a", stands(), cause=None),
        b=subject("b", stands("failed", "failed", reasons=("StateError: 磁盘满",)), cause=None),
        store=subject("状态数据库", trouble="locked by pid 7", cause=None),
        memory=subject("记忆", trouble="state.db vanished", cause=None),
        roster=subject("名册", trouble="agents.yaml:4:2: no", cause=None),
        disk=subject("磁盘", trouble="/var: read-only", cause=None),
        c=subject("c", cause=None),
        d=subject("d", cause=None),
    )
    assert (told.level, told.title) == (Level.CRITICAL, "heartbeat 看门狗：7 处异常，2 处已恢复")
    assert told.body == snapshot


@pytest.mark.parametrize("kind", [Kind.UNREADABLE, Kind.MISSING, Kind.LOST, Kind.REPLACED, Kind.ROSTER, Kind.DISK])
def test_what_is_no_agent_is_told_to_be_well_again_at_level_info(kind: Kind) -> None:
    told = tell(flip(STORE, old=kind), store=Subject("状态数据库"))
    assert told.level is Level.INFO
    assert TEXTS[f"back_{kind.value}"] in told.body


def test_both_paths_stand_in_every_message() -> None:
    for told in (
        tell(flip(STORE, old=Kind.DISK), store=Subject("x")),
        tell(flip(agent_key("c"), new=Kind.DOWN), c=subject()),
    ):
        assert "名册 /etc/heartbeat/agents.yaml" in told.body
        assert "状态目录 /var/lib/heartbeat" in told.body


def test_another_memory_is_told_with_where_and_what_to_do() -> None:
    told = tell(flip(MEMORY, new=Kind.REPLACED), memory=Subject("记忆", state="/var/lib/heartbeat"))
    assert told.level is Level.CRITICAL
    assert "状态目录 /var/lib/heartbeat 里换了一份新的记忆" in told.body
    assert "放回备份" in told.body


def test_a_reminder_says_that_it_is_one() -> None:
    told = tell(flip(agent_key("coo"), Kind.DOWN, Kind.DOWN), coo=subject())
    assert (told.title, told.level) == ("heartbeat 看门狗：仍有 1 处异常（每日提醒）", Level.CRITICAL)


def test_many_agents_are_counted_and_those_beyond_twenty_only_named() -> None:
    names = [f"a{number:03}" for number in range(50)]
    told = tell(*(flip(agent_key(name), new=Kind.DOWN) for name in names), **{name: subject(name) for name in names})
    assert told.title == "heartbeat 看门狗：50 个 Agent 没有心跳"
    assert f"a{LISTED - 1:03}：" in told.body
    assert f"a{LISTED:03}：" not in told.body
    assert "另有 30 个：a020、" in told.body
    assert told.body.count("可能的原因") == 1


def test_B8_what_a_beat_said_stands_in_one_line_cut_and_without_secrets() -> None:
    reasons = ("\x1b[31mboom\r\n第二行 s3cret-value " + "x" * 5000,)
    told = tell(
        flip(agent_key("coo"), new=Kind.FAILING),
        coo=subject(found=stands("failed", "failed", reasons=reasons), cause=None),
    )
    assert "s3cret-value" not in told.body
    assert "boom 第二行 [hidden]" in told.body
    assert len(told.body.splitlines()) == 2
    assert len(told.body) < 600


def test_every_placeholder_of_every_sentence_is_known() -> None:
    known = {"who", "slot", "missing", "last", "rhythm", "by", "count", "said", "trouble", "state", "names", "since"}
    known |= {"cause", "mend", "roster", "zone", "back", "interval", "cron", "agent", "name", "at", "title"}
    for text in TEXTS.values():
        assert {field for _, field, _, _ in Formatter().parse(text) if field} <= known


def test_how_often_an_agent_beats_is_told_as_the_roster_says_it() -> None:
    assert wording.rhythm_words(None, 15 * MINUTE) == "每 15m 一次"
    assert wording.rhythm_words("*/5 9-17 * * *", EVERY) == "cron */5 9-17 * * *"
    assert wording.agent_name("coo", "coo") == "coo"
    assert wording.agent_name("coo", "陆怀瑾") == "coo（陆怀瑾）"


def test_who_has_only_beats_that_were_ended_from_outside_is_not_said_never_to_have_beaten() -> None:
    last = receipt(
        member("coo"), BEGIN, outcome="interrupted", slot=None, reasons=("ended by SIGTERM before it was done",)
    )
    found = replace(stands(), last=None, interrupted=Interrupted(3, BEGIN, last))
    cause = Likely(Cause.INTERRUPTED, since=BEGIN, count=3, by="SIGTERM")
    told = tell(flip(agent_key("coo"), new=Kind.NEVER), coo=subject(found=found, cause=cause))
    assert "从未有过心跳" not in told.body
    assert "：还没有一次心跳走完，最迟 " in told.body
    assert "自 11-21 12:00 起 3 次，最近一次由 SIGTERM 结束" in told.body
