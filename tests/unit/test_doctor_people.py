"""Who would hear of an alarm, and who would notice that nobody tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.doctor.check import Check, Level
from heartbeat.doctor.people import check_people
from heartbeat.doctor.schedules import Scheduled, on_schedule
from heartbeat.errors import UsageError
from heartbeat.roster.model import Operator
from heartbeat.schedule.launch import Launch
from heartbeat.watch.overall import WATCHED_WITHIN, Watching
from tests.support.rosters import make_agent, make_roster
from tests.support.watching import BEGIN

STATE = Path("/team/state")
FEISHU = {"kind": "feishu", "url_env": "FEISHU"}
HOOK = {"kind": "webhook", "url_env": "HOOK"}
SET = {"FEISHU": "https://open.feishu.cn/x", "HOOK": "https://hook.example/x"}
NEVER = Watching(None)
BOTH = Scheduled(("crontab",), ("crontab",))


def log(path: str) -> dict[str, Any]:
    return {"kind": "file", "path": path}


def told(
    channels: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    notify: tuple[str, ...] | None = None,
    watchdog: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = SET,
    scheduled: Scheduled = BOTH,
    watching: Watching = NEVER,
) -> list[Check]:
    known = {"feishu": FEISHU} if channels is None else channels
    roster = make_roster(
        make_agent("coo"),
        channels=known,
        operator=Operator("lin", tuple(known) if notify is None else notify),
        extra={"watchdog": watchdog or {}},
    )
    return list(check_people(roster, STATE, environment, scheduled, watching, BEGIN))


def of(subject: str, checks: list[Check]) -> list[tuple[Level, str]]:
    return [(check.level, check.message) for check in checks if check.subject == subject]


def test_a_channel_that_leads_to_people_is_well() -> None:
    assert of("alarms", told()) == [(Level.OK, "told by feishu (feishu)")]
    assert of("alarms", told({"feishu": FEISHU, "ops": log("/var/log/told.log")})) == [
        (Level.OK, "told by feishu (feishu)")
    ]


def test_files_alone_reach_nobody() -> None:
    checks = told({"ops": log("/var/log/told.log"), "more": log("/var/log/more.log")})
    assert of("alarms", checks) == [
        (Level.WARNING, "all that hears of an alarm is a file (ops, more), which reaches nobody by itself")
    ]
    assert of("ops", checks) == []


def test_a_file_in_the_state_directory_goes_down_with_what_it_tells_of() -> None:
    for path in ("/team/state/told.log", "/team/state/log/told.log", "/team/elsewhere/../state/told.log"):
        ((level, message),) = of("ops", told({"ops": log(path), "feishu": FEISHU}))
        assert level is Level.FAILED
        assert "lies in the state directory" in message
    assert of("ops", told({"ops": log("/team/state2/told.log")})) == []


def test_no_channel_at_all_tells_nobody() -> None:
    assert of("alarms", told({})) == [(Level.WARNING, "no channel leads to anybody: when beats stop, nobody is told")]
    assert of("alarms", told({"feishu": FEISHU}, notify=()))[0][0] is Level.WARNING


def test_whom_the_watchdog_is_to_tell_counts_and_not_the_operator_alone() -> None:
    channels = {"ops": log("/var/log/told.log"), "hook": HOOK}
    checks = told(channels, notify=("ops",), watchdog={"notify": ("hook",)})
    assert of("alarms", checks) == [(Level.OK, "told by hook (webhook)")]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_R4_a_variable_that_is_named_and_not_set_is_told_and_never_a_value(value: str | None) -> None:
    environment = {} if value is None else {"FEISHU": value, "HC": value}
    checks = told(watchdog={"ping_url_env": "HC"}, environment=environment)
    assert of("feishu", checks) == [
        (Level.WARNING, "it takes what it needs from FEISHU, which is not set: nothing can be sent")
    ]
    assert of("ping", checks) == [
        (Level.WARNING, "watchdog.ping_url_env names HC, which is not set: nothing is pinged")
    ]


def test_both_pings_are_looked_at_and_a_ping_that_is_set_is_well() -> None:
    settings = {"ping_url_env": "HC", "beats_ping_url_env": "HB"}
    ((_, message),) = of("ping", told(watchdog=settings, environment={**SET, "HC": "https://hc.example/1"}))
    assert message.startswith("watchdog.beats_ping_url_env names HB")
    assert not any("hc.example" in check.message for check in told(watchdog=settings))


@pytest.mark.parametrize(
    ("scheduled", "level", "words"),
    [
        (Scheduled(), Level.WARNING, "neither beats nor a watchdog are on schedule"),
        (Scheduled(("crontab",)), Level.WARNING, "none is on schedule beside the beats (crontab)"),
        (Scheduled(unknown=("systemd-user: no bus",)), Level.NOTE, "is not known: systemd-user: no bus"),
        (Scheduled(("openclaw",), ("crontab",)), Level.OK, "on schedule: crontab"),
        (BOTH, Level.NOTE, "it ends together with the beats"),
    ],
)
def test_whether_a_watchdog_is_on_schedule(scheduled: Scheduled, level: Level, words: str) -> None:
    ((found, message),) = of("watchdog", told(scheduled=scheduled))
    assert found is level
    assert words in message


def test_schedulers_that_cannot_be_asked_are_not_known_and_end_nothing() -> None:
    def launch() -> Launch:
        raise UsageError("the program is not to be found")

    asked = on_schedule(make_roster(make_agent("coo")), launch, {})
    assert asked == Scheduled(unknown=("the program is not to be found",))


def test_a_ping_rings_where_watchdog_and_beats_end_together() -> None:
    checks = told(watchdog={"ping_url_env": "HC"}, environment={**SET, "HC": "https://hc.example/1"})
    assert of("watchdog", checks) == [(Level.OK, "on schedule: crontab")]


def test_a_watchdog_that_looked_just_now_is_there_however_it_is_started() -> None:
    looked = Watching(BEGIN - WATCHED_WITHIN, str(STATE))
    assert of("watchdog", told(scheduled=Scheduled(), watching=looked)) == [(Level.OK, "looked 5m ago")]
    for other in (Watching(BEGIN - WATCHED_WITHIN - timedelta(seconds=1), str(STATE)), Watching(BEGIN, "/elsewhere")):
        assert of("watchdog", told(scheduled=Scheduled(), watching=other))[0][0] is Level.WARNING
