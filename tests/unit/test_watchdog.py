"""One watchdog over a team, minute by minute: who is told what, when, and how often."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from heartbeat.errors import RosterError, UsageError
from heartbeat.notify.channels.base import ChannelError, Failure
from heartbeat.schedule.slots import next_slot
from heartbeat.store.opening import open_store
from heartbeat.watch import delivery, ping
from heartbeat.watch.flips import AWAKE_WITHIN, MEMORY, Kind, agent_key
from heartbeat.watch.health import Status
from heartbeat.watch.notebook import POSTS
from heartbeat.watch.processes import Doing
from tests.support.command import tree
from tests.support.fake_channels import FakeReceiver, ScriptedChannel, says
from tests.support.watching import EVERY, GRACE, MINUTE, Den, member

DOWN = ChannelError(Failure.TRANSIENT, "ops: down", advice="wait")
REFUSES = ChannelError(Failure.PERMANENT, "ops: the address is gone")
BOUND = EVERY + GRACE + timedelta(seconds=60)
"""Within this much of the last beat's slot people hear of its silence."""


@pytest.fixture
def den(tmp_path: Path) -> Den:
    """Two agents that have beaten for a while, and a watchdog that has looked on."""
    found = Den(tmp_path)
    found.beat()
    found.minutes(20, "coo", "dev")
    assert found.letters == []
    return found


def silence(den: Den, *beating: str) -> timedelta:
    """Lets the others fall silent until a message comes; how long after the last beat of them that was."""
    with open_store(den.state, den.now) as store:
        last = max(receipt.started_at for agent, receipt in store.last_receipts().items() if agent not in beating)
    while not den.letters:
        den.minutes(1, *beating)
        assert den.now - last <= 2 * BOUND, "nobody was ever told"
    return den.now - last


def test_B2_a_silent_agent_is_told_within_interval_and_grace_and_a_minute(den: Den) -> None:
    assert silence(den, "coo") <= BOUND
    (letter,) = den.letters
    assert letter.title == "heartbeat 看门狗：dev 没有心跳"
    assert letter.level.value == "critical"
    assert "只有它没有" in letter.body
    assert "coo" not in letter.body.replace("agents", "")


def test_it_is_told_once_and_once_more_when_it_is_back(den: Den) -> None:
    silence(den, "coo")
    den.minutes(30, "coo")
    assert len(den.letters) == 1
    den.beat("dev")
    den.minutes(1, "coo", "dev")
    assert den.titles[1:] == ["heartbeat 看门狗：dev 已恢复"]
    assert den.letters[1].level.value == "info"
    den.minutes(30, "coo", "dev")
    assert len(den.letters) == 2


@pytest.mark.parametrize("names", [("coo",), ("coo", "dev")])
def test_who_beats_each_minute_right_after_the_look_is_told_to_be_back(tmp_path: Path, names: tuple[str, ...]) -> None:
    den = Den(tmp_path, tuple(member(name, MINUTE) for name in names))
    den.beat()
    den.minutes(8, *names)
    den.minutes(8)
    (wrong,) = den.titles
    for _ in range(10):  # cron starts both in the same second, and the look is quicker
        den.minutes(1)
        den.beat()
    assert len(den.letters) == 2
    back = den.letters[1]
    assert (back.level.value, "恢复" in back.title) == ("info", True)
    assert "coo" in back.body
    assert wrong != back.title


def test_everybody_at_once_is_one_message_although_their_slots_lie_apart(tmp_path: Path) -> None:
    names = [f"a{number:02}" for number in range(30)]
    den = Den(tmp_path, tuple(member(name) for name in names))
    den.beat()
    den.minutes(12, *names)
    last = den.now
    den.minutes(30)
    (letter,) = den.letters
    assert letter.title == "heartbeat 看门狗：没有任何 Agent 心跳"
    assert letter.body.count("可能的原因") == 1
    assert "定时任务不在了" in letter.body
    assert den.look().scene.at - last == 30 * MINUTE


def test_everybodys_beats_are_told_to_be_back_once_and_the_rest_has_until_its_next_slot(tmp_path: Path) -> None:
    names = [f"a{number:02}" for number in range(8)]
    den = Den(tmp_path, tuple(member(name) for name in names))
    den.beat()
    den.minutes(12, *names)
    den.minutes(30)
    den.minutes(20, *names)  # each at its own slot, one after the other
    assert den.titles == ["heartbeat 看门狗：没有任何 Agent 心跳", "heartbeat 看门狗：心跳已恢复"]
    assert "又有心跳了：a0" in den.letters[1].body


def test_who_stays_away_when_the_others_are_back_is_told_by_name(tmp_path: Path) -> None:
    names = [f"a{number:02}" for number in range(8)]
    den = Den(tmp_path, tuple(member(name) for name in names))
    den.beat()
    den.minutes(12, *names)
    den.minutes(30)
    den.minutes(20, *names[1:])
    assert den.titles[2:] == ["heartbeat 看门狗：a00 没有心跳"]


def test_one_that_had_been_down_before_does_not_hide_that_all_fall_silent(tmp_path: Path) -> None:
    names = [f"a{number:02}" for number in range(8)]
    den = Den(tmp_path, tuple(member(name) for name in names))
    den.beat()
    den.minutes(30, *names[1:])
    assert den.titles == ["heartbeat 看门狗：a00 没有心跳"]
    den.minutes(30)
    assert den.titles[1:] == ["heartbeat 看门狗：没有任何 Agent 心跳"]


def test_a_reminder_comes_after_a_day_in_which_nothing_changed(den: Den) -> None:
    silence(den, "coo")
    told_at = den.now
    den.now = told_at + timedelta(days=1) - 2 * MINUTE
    den.beat("coo")
    den.minutes(1, "coo")
    assert len(den.letters) == 1
    den.minutes(1, "coo")
    assert den.titles[1:] == ["heartbeat 看门狗：仍有 1 处异常（每日提醒）"]
    assert den.letters[1].level.value == "critical"


def test_new_agents_are_told_only_an_interval_and_grace_after_they_were_first_seen(tmp_path: Path) -> None:
    den = Den(tmp_path)
    den.look()
    for _ in range(14):
        den.minutes(1)
        assert den.letters == []
    den.minutes(1)
    (letter,) = den.letters
    assert letter.title == "heartbeat 看门狗：2 个 Agent 没有心跳"
    assert letter.body.count("从未有过心跳") == 3
    assert str(den.state) in letter.body
    assert [flip.new for flip in den.minutes(1)[0].flips] == []


def test_first_install_on_a_team_that_is_down_waits_as_long(den: Den, tmp_path: Path) -> None:
    den.minutes(600, look=False)
    (tmp_path / "notebooks" / "team.json").unlink()
    den.look()
    den.minutes(14)
    assert den.letters == []
    den.minutes(1)
    assert den.titles == ["heartbeat 看门狗：没有任何 Agent 心跳"]


def test_who_left_the_roster_or_was_disabled_is_no_alarm(den: Den) -> None:
    den.agents = den.agents[:1]
    den.minutes(60, "coo")
    assert den.letters == []


def test_who_leaves_the_roster_while_it_is_down_is_dropped_without_a_word(den: Den) -> None:
    silence(den, "coo")
    dev = den.agents[1]
    den.agents = den.agents[:1]
    assert den.minutes(2, "coo")[-1].alarms.standing == {}
    den.agents = (*den.agents, dev)
    den.minutes(14, "coo")
    assert len(den.letters) == 1
    den.minutes(2, "coo")
    assert den.titles[1:] == ["heartbeat 看门狗：dev 没有心跳"]


def test_another_rhythm_is_expected_from_the_moment_on_at_which_it_was_set(den: Den) -> None:
    den.change("dev", every=timedelta(hours=8))
    den.minutes(30, "coo")
    assert den.letters == []
    den.change("dev")
    den.minutes(14, "coo")
    assert den.letters == []
    den.minutes(2, "coo")
    assert den.titles == ["heartbeat 看门狗：dev 没有心跳"]


def test_beats_that_move_to_another_state_directory_are_expected_there_from_then_on(den: Den) -> None:
    den.state_name = "moved"
    found = den.minutes(14)
    assert den.letters == []
    assert all(each.troubles == {} for each in found)
    den.minutes(2)
    assert den.titles == ["heartbeat 看门狗：2 个 Agent 没有心跳"]
    assert "moved" in den.letters[0].body


@pytest.mark.parametrize("change", ["rhythm", "clock"])
def test_nobody_is_told_to_be_back_without_a_beat_whatever_roster_and_clock_say(den: Den, change: str) -> None:
    silence(den, "coo")
    if change == "rhythm":
        den.change("dev", every=timedelta(hours=8))
    else:
        den.now -= timedelta(minutes=25)
    den.beat("coo")
    assert den.minutes(1, "coo")[-1].scene.healths[1].status is Status.UP
    assert len(den.letters) == 1
    den.beat("dev")
    den.minutes(2, "coo")
    assert den.titles[1:] == ["heartbeat 看门狗：dev 已恢复"]


def test_beats_that_fail_are_told_and_that_they_succeed_again(den: Den) -> None:
    den.beat("dev", outcome="failed", degraded=True, reasons=("StateError: 磁盘满 TOKEN=hunter2hunter2",))
    den.minutes(1, "coo")
    assert den.letters == []
    den.beat("dev", outcome="failed", degraded=True, reasons=("StateError: 磁盘满 TOKEN=hunter2hunter2",))
    den.minutes(1, "coo")
    (letter,) = den.letters
    assert letter.title == "heartbeat 看门狗：1 处异常"
    assert "dev：最近 2 次心跳失败。StateError: 磁盘满 TOKEN=[hidden]" in letter.body
    den.beat("dev")
    den.minutes(1, "coo")
    assert den.letters[1].title == "heartbeat 看门狗：dev 已恢复"
    assert "心跳又成功了" in den.letters[1].body


def test_B6_after_three_days_asleep_nobody_is_told_before_the_beats_had_their_grace(den: Den) -> None:
    den.now += timedelta(days=3)
    assert den.look().flips == ()
    den.minutes(2)
    den.beat()
    den.minutes(60, "coo", "dev")
    assert den.letters == []


def test_B6_after_a_sleep_silence_is_told_when_the_next_slot_and_grace_are_over(den: Den) -> None:
    den.now += timedelta(days=3)
    awake = den.now
    den.look()
    slot = min(next_slot(agent.policy, "UTC", awake) for agent in den.agents)
    while not den.letters:
        den.minutes(1)
    assert den.titles == ["heartbeat 看门狗：没有任何 Agent 心跳"]
    assert slot + GRACE <= den.now <= slot + GRACE + MINUTE


def test_B6_schedulers_that_make_up_for_nothing_after_a_sleep_are_given_until_each_agents_slot(den: Den) -> None:
    for _ in range(5):
        den.minutes(40, look=False)
        den.look()
        den.minutes(15, "coo", "dev")
    assert den.letters == []


def test_who_is_due_once_a_day_is_told_an_hour_after_the_machine_slept_through_its_slot(tmp_path: Path) -> None:
    den = Den(tmp_path, (member("coo", cron="0 18 * * *"), member("dev")))  # 18:00 in Shanghai is 10:00 in UTC
    den.look()
    den.minutes(1)
    den.beat()
    den.minutes(5, "dev")
    den.now += timedelta(hours=12)
    den.beat("dev")
    den.look()
    awake = den.now
    while not den.letters:
        den.minutes(1, "dev")
    assert den.titles == ["heartbeat 看门狗：coo 没有心跳"]
    assert den.now - awake == timedelta(hours=1) + GRACE


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=1), -timedelta(hours=1), -timedelta(days=1)])
def test_B6_a_step_of_the_clock_alone_tells_nobody(den: Den, step: timedelta) -> None:
    den.now += step
    den.look()
    den.minutes(1)
    den.beat()  # every beat is due at once after a step, either way
    den.minutes(60, "coo", "dev")
    assert den.letters == []


def test_a_daemon_that_is_stopped_is_named_with_what_to_do(den: Den) -> None:
    den.doing = Doing.STOPPED
    silence(den)
    assert "进程 4711 被暂停" in den.letters[0].body
    assert "kill -CONT 4711" in den.letters[0].body


def test_beats_that_came_from_another_machine_point_there(den: Den) -> None:
    den.doing = Doing.ELSEWHERE
    silence(den)
    assert "心跳原来在 elsewhere 上运行" in den.letters[0].body


def test_a_roster_that_breaks_is_told_and_the_beats_are_watched_with_the_last_good_one(den: Den) -> None:
    def broken() -> Any:
        raise RosterError(("agents.yaml:4:2: agents.coo: no", "agents.yaml:5:2: agents.dev: no"))

    den.load = broken
    found = den.minutes(4, "coo", "dev")[-1]
    assert [trouble.kind for trouble in found.troubles.values()] == [Kind.ROSTER]
    assert den.letters == []
    den.minutes(2, "coo", "dev")
    assert den.titles == ["heartbeat 看门狗：1 处异常"]
    assert "名册有错" in den.letters[0].body
    assert "agents.yaml:4:2: agents.coo: no; agents.yaml:5:2" in den.letters[0].body
    den.minutes(20, "coo")
    assert "heartbeat 看门狗：dev 没有心跳" in den.titles
    den.load = None
    den.minutes(1, "coo")
    assert "名册已改好。" in den.letters[-1].body


def test_a_bug_that_a_roster_brings_to_light_does_not_blind_it(den: Den) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    den.load = broken
    den.minutes(6, "coo", "dev")
    assert "ZeroDivisionError" in den.letters[0].body


def test_without_a_roster_and_the_memory_of_one_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    den = Den(tmp_path)

    def missing() -> Any:
        raise UsageError("there is no roster")

    den.load = missing
    with pytest.raises(UsageError, match="there is no roster"):
        den.look()


def test_what_is_kept_of_the_roster_holds_no_secret(tmp_path: Path) -> None:
    den = Den(tmp_path, environment={"HOOK": "https://hooks.example/s3cret-path", "TOKEN": "s3cret-token"})
    den.settings = {"ping_url_env": "NOT_SET"}
    den.look()
    text = (tmp_path / "notebooks" / "team.json").read_text()
    assert "s3cret" not in text
    assert json.loads(text)["team"]["watchdog"]["ping_url_env"] == "NOT_SET"


def test_a_variable_for_the_ping_that_is_not_set_is_said(tmp_path: Path) -> None:
    den = Den(tmp_path, settings={"ping_url_env": "NOT_SET"})
    assert any("NOT_SET" in note for note in den.look().notes)


def test_B3_a_rehearsal_remembers_nothing_and_tells_nobody(den: Den) -> None:
    message = None
    while message is None:
        den.now += MINUTE
        den.beat("coo")
        before = tree(den.folder)
        message = (found := den.look(dry_run=True)).message
        assert (found.delivered, den.letters, tree(den.folder)) == (None, [], before)
        assert den.look().message == message
    assert den.titles == [message.title]


def test_it_writes_nothing_into_what_it_watches(den: Den) -> None:
    before = tree(den.state)
    den.minutes(40)
    assert len(den.letters) >= 1
    assert tree(den.state) == before


# How people are told.


def quiet(tmp_path: Path, **channels: ScriptedChannel) -> Den:
    """A team of one that has fallen silent and these channels, all of them the operator's, tried a first time."""
    den = Den(tmp_path, (member("coo"),), channels=channels, operator=tuple(channels))
    den.beat()
    while not den.letters:
        den.minutes(1)
    return den


def test_O3_every_channel_that_is_meant_is_told_once(tmp_path: Path) -> None:
    feishu, ops = ScriptedChannel(), ScriptedChannel()
    den = quiet(tmp_path, feishu=feishu, ops=ops)
    den.minutes(30)
    assert (len(feishu.letters), len(ops.letters)) == (1, 1)


def test_O3_what_a_channel_does_not_take_is_tried_at_every_run_until_it_does(tmp_path: Path) -> None:
    ops = ScriptedChannel(DOWN, DOWN, DOWN, None)
    den = quiet(tmp_path, ops=ops)
    assert den.minutes(3)[-1].waiting == 0
    assert [letter.repeat for letter in ops.letters] == [False] * 4
    assert len({letter.key for letter in ops.letters}) == 1
    den.minutes(10)
    assert len(ops.letters) == 4


@pytest.mark.parametrize("error", [DOWN, REFUSES])
def test_O3_the_operators_next_channel_is_told_at_once_where_one_refuses(tmp_path: Path, error: ChannelError) -> None:
    feishu, ops = ScriptedChannel(error), ScriptedChannel()
    den = Den(tmp_path, (member("coo"),), channels={"feishu": feishu, "ops": ops}, operator=("feishu", "ops"))
    den.settings = {"notify": ("feishu",)}
    den.beat()
    while not ops.letters:
        den.minutes(1)
    den.minutes(6)
    assert (len(ops.letters), len(feishu.letters)) == (1, 7)
    # For an hour it is still tried where it was meant to go; the others know by then.
    den.now += timedelta(minutes=55)
    assert den.look().waiting == 0


def test_O3_where_those_that_are_meant_take_it_no_other_channel_hears(tmp_path: Path) -> None:
    feishu, ops = ScriptedChannel(), ScriptedChannel()
    den = Den(tmp_path, (member("coo"),), channels={"feishu": feishu, "ops": ops}, operator=("feishu", "ops"))
    den.settings = {"notify": ("feishu",)}
    den.beat()
    den.minutes(25)
    assert (len(feishu.letters), len(ops.letters)) == (1, 0)


def test_B6_a_clock_that_was_set_back_puts_no_message_off(tmp_path: Path) -> None:
    ops = ScriptedChannel(ChannelError(Failure.TRANSIENT, "slow down", retry_after=600), None)
    den = quiet(tmp_path, ops=ops)
    den.now -= timedelta(days=1)
    den.look()
    assert len(ops.letters) == 2


def test_an_agent_is_no_way_out_and_the_operator_is_told_instead(tmp_path: Path) -> None:
    den = Den(tmp_path, (member("coo"),), settings={"notify": ("coo",)})
    den.beat()
    den.minutes(40)
    assert len(den.letters) == 1


def test_nobody_to_tell_is_known(tmp_path: Path) -> None:
    den = Den(tmp_path, (member("coo"),), operator=())
    den.beat()
    found = den.minutes(40)[-1]
    assert (found.reachable, found.waiting) == (False, 1)


def test_what_waited_while_a_channel_was_down_comes_as_one_message(tmp_path: Path) -> None:
    ops = ScriptedChannel(*[DOWN] * 20, None)
    den = Den(tmp_path, channels={"ops": ops})
    den.beat()
    den.minutes(10, "coo", "dev")
    while not ops.letters:
        den.minutes(1, "coo")
    den.minutes(5, "coo")
    den.beat("dev")
    while len(ops.letters) < 21:
        den.minutes(1, "coo", "dev")
    assert {letter.title for letter in ops.letters[:6]} == {"heartbeat 看门狗：dev 没有心跳"}
    last = ops.letters[-1]
    assert (last.title, last.count, last.level.value) == ("heartbeat 看门狗：共 2 条消息", 2, "critical")
    assert last.body.index("dev 已恢复") < last.body.index("dev 没有心跳"), "what is so now comes first"
    assert re.match(r"【11-21 12:\d\d】heartbeat 看门狗：dev 已恢复\n", last.body)
    assert den.look().waiting == 0


def test_after_a_night_without_a_channel_what_stands_now_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    ops = ScriptedChannel(*[DOWN] * 3000)
    den = Den(tmp_path, (member("coo", MINUTE), member("dev"), member("pat")), channels={"ops": ops})
    den.beat()
    den.minutes(8, "coo", "dev", "pat")
    for _ in range(54):  # nine hours in which one agent comes and goes, and another one has gone
        den.looks = 0
        den.minutes(7, "dev")
        den.minutes(3, "coo", "dev")
    den.minutes(6, "dev")
    assert {agent_key("coo"), agent_key("pat")} <= den.look().alarms.standing.keys()
    waiting, _ = den.shelf.read()
    assert len(waiting.posts) == POSTS
    ops._script = (None,)
    assert den.minutes(1, "dev")[-1].waiting == 0
    body = ops.letters[-1].body
    newest = waiting.posts[-1]
    assert body.startswith("【")
    assert body.index(newest.title) < 100
    assert newest.body in body
    assert "pat：11-21 12:" in body, "that has been wrong for longest, and is wrong still"
    left = int(re.search(r"另有 (\d+) 条更早的消息未列出。$", body)[1])  # type: ignore[index]
    assert left + body.count("【") == ops.letters[-1].count == sum(1 + post.earlier for post in waiting.posts) > POSTS
    assert len(body.encode()) <= 14_000


def test_I4_an_attempt_that_ended_without_an_answer_is_repeated_as_a_repetition(tmp_path: Path) -> None:
    lost = ChannelError(Failure.TRANSIENT, "no answer", outcome_unknown=True)
    ops = ScriptedChannel(lost, DOWN, None)
    den = quiet(tmp_path, ops=ops)
    den.minutes(2)
    assert [letter.repeat for letter in ops.letters] == [False, True, True]
    assert len({letter.key for letter in ops.letters}) == 1


def test_I4_a_death_while_sending_is_at_most_one_repetition(tmp_path: Path) -> None:
    ops = ScriptedChannel(KeyboardInterrupt(), None)
    den = Den(tmp_path, (member("coo"),), channels={"ops": ops})
    den.beat()
    den.minutes(14)
    with pytest.raises(KeyboardInterrupt):
        den.minutes(30)
    den.minutes(5)
    assert [letter.repeat for letter in ops.letters] == [False, True]


def test_a_bug_in_one_channel_keeps_no_other_from_being_tried(tmp_path: Path) -> None:
    bad, ops = ScriptedChannel(ZeroDivisionError("https://secret")), ScriptedChannel()
    den = Den(tmp_path, (member("coo"),), channels={"bad": bad, "ops": ops}, operator=("bad", "ops"))
    den.beat()
    notes = [note for found in den.minutes(20) for note in found.notes]
    assert len(ops.letters) == 1
    assert any(note.startswith("bad: a bug: ZeroDivisionError") for note in notes)
    assert not any("secret" in note for note in notes)


def test_O3_retry_after_is_kept_and_never_for_more_than_an_hour(tmp_path: Path) -> None:
    busy = ChannelError(Failure.TRANSIENT, "slow down", retry_after=10 * 86400)
    ops = ScriptedChannel(busy, None)
    den = quiet(tmp_path, ops=ops)
    den.minutes(59)
    assert len(ops.letters) == 1
    den.minutes(1)
    assert len(ops.letters) == 2


def test_O3_good_news_does_not_go_out_on_the_full_and_the_half_hour(den: Den) -> None:
    silence(den, "coo")
    while (den.now + MINUTE).minute not in (0, 30):
        den.minutes(1, "coo")
    den.beat("dev")
    den.minutes(1, "coo", "dev")
    assert len(den.letters) == 1
    den.minutes(1, "coo", "dev")
    assert den.titles[1:] == ["heartbeat 看门狗：dev 已恢复"]


def test_a_message_that_nobody_takes_in_three_days_is_given_up_and_that_is_said(tmp_path: Path) -> None:
    ops = ScriptedChannel(DOWN)
    den = quiet(tmp_path, ops=ops)
    den.now += timedelta(days=3)
    found = den.look()
    assert any("given up" in note for note in found.notes)


# Somebody begins anew.


def begun_anew(den: Den, *, beating: bool = True) -> None:
    """All of the state is gone between two looks, and the next beat makes another one."""
    shutil.rmtree(den.state)
    den.now += MINUTE
    if beating:
        den.beat()


def test_another_memory_where_there_was_one_is_told_at_once_and_once(den: Den) -> None:
    begun_anew(den)
    found = den.look()
    assert [trouble.kind for trouble in found.troubles.values()] == [Kind.REPLACED]
    (letter,) = den.letters
    assert (letter.title, letter.level.value) == ("heartbeat 看门狗：1 处异常", "critical")
    assert f"状态目录 {den.state} 里换了一份新的记忆" in letter.body
    assert "put a backup back" in found.sentences[MEMORY]
    for each in den.minutes(40, "coo", "dev"):
        assert (each.troubles, each.alarms.standing) == ({}, {})
    assert len(den.letters) == 1


def test_after_that_everybody_has_an_interval_for_the_first_beat(den: Den) -> None:
    begun_anew(den, beating=False)
    with open_store(den.state, den.now):
        pass  # somebody has only looked after it
    assert [flip.new for flip in den.look().flips] == [Kind.REPLACED]
    den.minutes(14)
    assert len(den.letters) == 1
    den.minutes(1)
    assert den.titles[1:] == ["heartbeat 看门狗：2 个 Agent 没有心跳"]


def test_B6_after_a_sleep_another_memory_is_told_too_a_grace_later(den: Den) -> None:
    begun_anew(den, beating=False)
    den.now += timedelta(hours=3)
    den.beat()
    assert den.look().flips == ()
    den.minutes(6, "coo", "dev")
    assert den.titles == ["heartbeat 看门狗：1 处异常"]
    den.minutes(30, "coo", "dev")
    assert len(den.letters) == 1


def test_memory_that_moves_its_marker_with_it_is_the_same(den: Den) -> None:
    aside = den.state.rename(den.folder / "aside")
    shutil.copytree(aside, den.state)
    den.minutes(20, "coo", "dev")
    assert den.letters == []


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"heartbeat has kept its memory since yesterday.\n"])
def test_a_marker_that_tells_nothing_is_no_other_memory(den: Den, text: bytes) -> None:
    marker = den.state / "state.marker"
    before = marker.read_bytes()
    marker.write_bytes(text)
    den.minutes(3, "coo", "dev")
    marker.write_bytes(before)
    den.minutes(3, "coo", "dev")
    assert den.letters == []


# The dead-man's switch.


@pytest.fixture
def switched(tmp_path: Path) -> Iterator[tuple[Den, FakeReceiver]]:
    """Two agents under a watchdog with a switch."""
    with FakeReceiver(says(200, b"OK")) as receiver:
        den = Den(tmp_path, settings={"ping_url_env": "HC"}, environment={"HC": f"{receiver.origin}/check-0123456789"})
        yield den, receiver


def ends(receiver: FakeReceiver) -> list[str]:
    """How the runs ended, as the switch was told."""
    paths = [urlsplit(request.path).path.removeprefix("/check-0123456789") or "well" for request in receiver.requests]
    receiver.requests.clear()
    return [path for path in paths if path != "/start"]


def test_the_switch_hears_nothing_good_while_beats_are_known_to_be_missing(
    switched: tuple[Den, FakeReceiver],
) -> None:
    den, receiver = switched
    den.beat()
    den.minutes(12, "coo", "dev")
    assert ends(receiver) == ["well"] * 12
    found = den.minutes(30)
    wrong = next(number for number, each in enumerate(found) if each.troubles)
    told = next(number for number, each in enumerate(found) if each.alarms.standing)
    assert ends(receiver) == ["well"] * wrong + ["/fail"] * (30 - told)


def test_a_first_install_on_a_team_that_is_down_tells_the_switch_nothing_good(
    switched: tuple[Den, FakeReceiver],
) -> None:
    den, receiver = switched
    den.beat()
    den.minutes(120, look=False)
    den.look()
    den.minutes(14)
    assert ends(receiver) == []
    den.minutes(2)
    assert ends(receiver) == ["/fail"] * 2


def test_a_notebook_that_does_not_outlive_a_run_cannot_keep_the_switch_quiet(
    switched: tuple[Den, FakeReceiver],
) -> None:
    den, receiver = switched
    den.beat()
    den.minutes(120, look=False)
    for _ in range(3):
        shutil.rmtree(den.folder / "notebooks", ignore_errors=True)
        (found,) = den.minutes(1)
        assert any("nothing is remembered of an earlier look" in note for note in found.notes)
        assert str(den.folder / "notebooks") in found.notes[-1]
    assert (ends(receiver), den.letters) == ([], [])


def test_a_first_look_at_a_team_that_never_beat_knows_nothing_good(switched: tuple[Den, FakeReceiver]) -> None:
    den, receiver = switched
    first, second = den.minutes(2)
    assert ends(receiver) == ["well"]
    assert first.notes == second.notes == ()


# What hangs.


@pytest.fixture
def without_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that never answers; the watchdog's patience is short."""
    never = threading.Event()

    def hangs(*about: object, **more: object) -> object:
        never.wait(30)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr(ping, "SECONDS", 0.3)
    yield
    never.set()


@pytest.mark.usefixtures("without_names")
def test_a_name_server_that_hangs_costs_a_look_two_patiences_at_most(tmp_path: Path) -> None:
    url = "https://hc.example.org/ping/abcdef-123456"
    den = Den(tmp_path, settings={"ping_url_env": "HC"}, environment={"HC": url})
    den.beat()
    before = time.monotonic()
    found = den.look()
    assert time.monotonic() - before < 10
    (note,) = found.notes
    assert "https://hc.example.org/… did not answer" in note
    assert "abcdef" not in note


def test_a_channel_that_hangs_is_left_behind_and_the_next_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    class Hanging(ScriptedChannel):
        seconds = 0.1

        def send(self, letter: Any, deadline: Any) -> str:
            self.letters.append(letter)
            never.wait(30)
            return ""

    feishu, ops = Hanging(), ScriptedChannel()
    den = Den(tmp_path, (member("coo"),), channels={"feishu": feishu, "ops": ops}, operator=("feishu", "ops"))
    den.beat()
    before = time.monotonic()
    while not ops.letters:
        found = den.minutes(1)[0]
    assert time.monotonic() - before < 20
    assert found.delivered is not None
    assert (found.delivered.sent, found.delivered.failed) == (["ops"], ["feishu"])
    assert any(note.startswith("feishu: the channel feishu did not answer within") for note in found.notes)
    den.minutes(1)
    assert [letter.repeat for letter in feishu.letters] == [False, True], "it may have arrived"
    never.set()


def test_a_run_that_took_long_is_no_sleep(tmp_path: Path) -> None:
    gap = AWAKE_WITHIN + timedelta(seconds=30)

    def play(took: float) -> Den:
        den = Den(tmp_path / str(took))
        den.folder.mkdir()
        # Each look reads the stopwatch at its begin and when everything has been told.
        ticking = iter(value for number in range(10_000) for value in (number * 1000.0, number * 1000.0 + took))
        den.stopwatch = lambda: next(ticking)
        den.beat()
        den.look()
        awake = den.look().alarms.awake_since
        den.now += gap
        assert (den.look().alarms.awake_since == awake) is (took >= 30)
        return den

    play(5)
    play(45)


def test_what_one_channel_may_take_leaves_time_for_the_last_ping() -> None:
    assert delivery._TO_TELL < 1
    assert ping._TO_TELL < 1
