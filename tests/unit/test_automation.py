"""What OpenClaw's scheduler is told about an agent, and how that is compared with what it keeps."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.policy import anchor_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.automation import (
    beat_definition,
    declaration_of,
    definition_of,
    is_of_everybody,
    is_ours,
    is_switched_off,
    noted,
    patch_of,
    read_text,
    rosters_of,
    text_of,
    turn_definition,
)
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.slots import current_slot, next_slot
from tests.support.rosters import CLASS_POLICIES, make_agent, make_roster

ROSTER = Path("/srv/my team/agents.yaml")
LAUNCH = Launch(("/opt/heartbeat/bin/heartbeat",), ROSTER, Path("/srv/state"), "/opt/openclaw/bin:/usr/bin")
COO = make_agent("coo", "high_frequency", every=timedelta(minutes=10), anchor=timedelta(minutes=3))
TEAM = make_roster(COO, path=ROSTER, state=Path("/srv/state"))
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


SHANGHAI = frozenset({timedelta(hours=8)})
BERLIN = frozenset({timedelta(hours=1), timedelta(hours=2)})


def beat(
    agent: Agent = COO,
    roster: Roster = TEAM,
    *,
    everybody: bool = True,
    offsets: frozenset[timedelta] = SHANGHAI,
) -> dict[str, Any]:
    return dict(beat_definition(agent, roster, LAUNCH, everybody=everybody, offsets=offsets))


def turn(agent: Agent = COO, *, everybody: bool = True, offsets: frozenset[timedelta] = SHANGHAI) -> dict[str, Any]:
    return dict(turn_definition(agent, TEAM, LAUNCH, everybody=everybody, offsets=offsets))


def rhythmic(every: timedelta, anchor: timedelta = timedelta(0)) -> Agent:
    return make_agent("coo", every=every, anchor=anchor)


def at(expression: str, zone: str = "UTC") -> dict[str, Any]:
    return {"kind": "cron", "expr": expression, "tz": zone, "staggerMs": 0}


def words(definition: dict[str, Any]) -> list[str]:
    """What the command does, behind the program and its roster."""
    argv: list[str] = definition["payload"]["argv"]
    return argv[3:]


def job(definition: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The definition as the Gateway gives it back."""
    state = {"nextRunAtMs": 1795254180000}
    kept = {"id": "0e7c6399", "createdAtMs": 1, "updatedAtMs": 2, "state": state, "configRevision": "sha256:a"}
    return {**kept, **definition, **fields}


@pytest.mark.parametrize(
    ("every", "anchor", "expression"),
    [
        (timedelta(minutes=10), timedelta(minutes=3), "3-59/10 * * * *"),
        (timedelta(minutes=15), timedelta(minutes=7), "7-59/15 * * * *"),
        (timedelta(minutes=15), timedelta(0), "*/15 * * * *"),
        (timedelta(minutes=1), timedelta(0), "* * * * *"),
        (timedelta(hours=1), timedelta(minutes=41), "41 * * * *"),
        (timedelta(hours=6), timedelta(hours=2, minutes=5), "5 2-23/6 * * *"),
        (timedelta(days=1), timedelta(hours=22, minutes=1), "1 22 * * *"),
        (timedelta(seconds=20), timedelta(seconds=7), "7-59/20 * * * * *"),
        (timedelta(seconds=1), timedelta(0), "* * * * * *"),
    ],
)
def test_B2_slots_become_an_expression_in_utc(every: timedelta, anchor: timedelta, expression: str) -> None:
    agent = rhythmic(every, anchor)
    assert beat(agent)["schedule"] == turn(agent)["schedule"] == at(expression)
    assert words(beat(agent)) == ["tick", "coo", "--scheduled"]


@given(
    every=st.sampled_from([1, 2, 5, 12, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400]),
    name=st.text("abcdefgh", min_size=1, max_size=8),
    seconds=st.integers(0, 400 * 86_400),
)
def test_B2_every_expression_names_the_agents_own_slots(every: int, name: str, seconds: int) -> None:
    rhythm = timedelta(seconds=every)
    agent = rhythmic(rhythm, anchor_of(name, rhythm))
    expression = beat(agent)["schedule"]["expr"]
    now = NOW + timedelta(seconds=seconds)
    walk = croniter(expression, now, second_at_beginning=len(expression.split()) == 6)
    assert walk.get_next(datetime) == next_slot(agent.policy, "Asia/Shanghai", now)
    walk.set_current(now + timedelta(microseconds=1))
    assert walk.get_prev(datetime) == current_slot(agent.policy, "Asia/Shanghai", now)


@pytest.mark.parametrize(
    "every",
    [
        timedelta(minutes=45),
        timedelta(minutes=7),
        timedelta(hours=7),
        timedelta(hours=1, minutes=30),
        timedelta(seconds=90),
        timedelta(days=2),
    ],
)
def test_B2_what_no_expression_says_is_looked_for_each_minute(every: timedelta) -> None:
    definition = beat(rhythmic(every, timedelta(minutes=1)))
    assert definition["schedule"] == at("* * * * *")
    assert words(definition) == ["tick", "--due", "--scheduled", "coo"]
    interval = {"kind": "every", "everyMs": every / timedelta(milliseconds=1), "anchorMs": 60_000}
    assert turn(rhythmic(every, timedelta(minutes=1)))["schedule"] == interval


@pytest.mark.parametrize("every", [timedelta(seconds=8), timedelta(milliseconds=1500)])
def test_what_comes_more_often_than_somebody_looks_is_left_to_openclaws_interval(every: timedelta) -> None:
    definition = beat(rhythmic(every, timedelta(seconds=1)))
    assert definition["schedule"] == {
        "kind": "every",
        "everyMs": every / timedelta(milliseconds=1),
        "anchorMs": 1000,
    }
    assert words(definition) == ["tick", "coo", "--scheduled"]


@pytest.mark.parametrize(
    "cron",
    [
        "0 9-18 * * mon-fri",
        "*/10 * * * *",
        "5,35 8-20/2 * * 1-5",
        "0 0 1 JAN-mar *",
        "0 8 * * 7",
    ],
)
def test_the_rosters_own_expression_is_read_in_its_zone(cron: str) -> None:
    definition = beat(make_agent("coo", cron=cron))
    assert definition["schedule"] == at(cron, "Asia/Shanghai")
    assert words(definition) == ["tick", "coo", "--scheduled"]


@pytest.mark.parametrize(
    ("cron", "offsets"),
    [
        ("*/10 * * * *", BERLIN),
        ("0 9 L * *", SHANGHAI),
        ("0 9 * * fri#2", SHANGHAI),
        ("5/15 * * * *", SHANGHAI),
        ("0 9 1 * mon", SHANGHAI),
        ("0 9 ? * mon", SHANGHAI),
        ("0 22-6 * * *", SHANGHAI),
        ("0 9 * * fri-sun", SHANGHAI),
    ],
)
def test_B2_an_expression_that_openclaw_may_read_otherwise_is_looked_for_each_minute(
    cron: str, offsets: frozenset[timedelta]
) -> None:
    definition = beat(make_agent("coo", cron=cron), offsets=offsets)
    assert definition["schedule"] == at("* * * * *")
    assert words(definition) == ["tick", "--due", "--scheduled", "coo"]
    assert turn(make_agent("coo", cron=cron), offsets=offsets)["schedule"] == at(cron, "Asia/Shanghai")


def test_a_beat_is_a_command_with_everything_that_a_bare_environment_lacks() -> None:
    assert beat() == {
        "declarationKey": "hb:coo",
        "agentId": "coo",
        "name": "hb-coo",
        "description": "heartbeat: beats of coo, with the whole team (roster /srv/my team/agents.yaml)",
        "enabled": True,
        "schedule": {"kind": "cron", "expr": "3-59/10 * * * *", "tz": "UTC", "staggerMs": 0},
        "sessionTarget": "isolated",
        "wakeMode": "now",
        "payload": {
            "kind": "command",
            "argv": [
                "/opt/heartbeat/bin/heartbeat",
                "--roster",
                "/srv/my team/agents.yaml",
                "tick",
                "coo",
                "--scheduled",
            ],
            "cwd": "/srv/my team",
            "env": {"PATH": "/opt/openclaw/bin:/usr/bin"},
            "timeoutSeconds": 360,
        },
        "delivery": {"mode": "none"},
    }


def test_the_state_directory_is_pinned_where_the_roster_does_not_name_it() -> None:
    environment = beat(roster=make_roster(COO, path=ROSTER))["payload"]["env"]
    assert environment == {"PATH": "/opt/openclaw/bin:/usr/bin", "HEARTBEAT_HOME": "/srv/state"}


@pytest.mark.parametrize("class_id", sorted(CLASS_POLICIES))
def test_B1_the_gateway_waits_longer_than_a_beat_may_take(class_id: str) -> None:
    agent = make_agent("a", class_id)
    seconds = beat(agent)["payload"]["timeoutSeconds"]
    assert seconds == agent.policy.every.total_seconds() / 2 + 60
    daily = make_agent("a", class_id, every=timedelta(hours=24))
    assert beat(daily)["payload"]["timeoutSeconds"] == 15 * 60 + 60


def test_a_turn_has_the_key_of_the_beat_and_tells_the_agent_the_whole_command() -> None:
    definition = turn()
    assert definition["declarationKey"] == beat()["declarationKey"]
    assert (definition["sessionTarget"], definition["delivery"]) == ("isolated", {"mode": "none"})
    payload = definition["payload"]
    assert (payload["kind"], payload["lightContext"]) == ("agentTurn", True)
    (command,) = (line for line in payload["message"].splitlines() if line.startswith("/"))
    assert shlex.split(command) == [*LAUNCH.command("worklist", "coo", "--format", "md")]
    assert "HEARTBEAT.md" in payload["message"]


@pytest.mark.parametrize("definition", [beat(), turn(), beat(everybody=False)])
def test_what_the_gateway_gives_back_is_what_was_decided(definition: dict[str, Any]) -> None:
    returned = job(definition, scheduledToolPolicy={"version": 1, "mode": "trusted"}, failureAlert={"after": 3})
    assert text_of(definition_of(returned)) == text_of(definition)
    assert read_text(text_of(definition)) == definition
    assert patch_of(definition, definition_of(returned)) == {}


def test_what_is_the_operators_is_not_compared() -> None:
    definition = turn()
    tuned = {**definition["payload"], "model": "small", "thinking": "low", "timeoutSeconds": 90, "toolsAllow": ["exec"]}
    delivery = {"mode": "none", "failureDestination": {"mode": "webhook", "to": "https://example.test"}}
    returned = job(definition, payload=tuned, delivery=delivery, displayName="心跳", failureAlert={"after": 3})
    assert definition_of(returned) == definition


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "mine"),
        ("description", "心跳"),
        ("enabled", False),
        ("agentId", "architect"),
        ("schedule", {"kind": "cron", "expr": "0 * * * *", "tz": "UTC", "staggerMs": 300_000}),
        ("sessionTarget", "session:x"),
        ("wakeMode", "next-heartbeat"),
        ("delivery", {"mode": "announce", "channel": "last"}),
    ],
)
def test_every_decided_field_is_patched_alone(field: str, value: Any) -> None:
    wanted = beat()
    assert patch_of(wanted, definition_of(job({**wanted, field: value}))) == {field: wanted[field]}


@pytest.mark.parametrize(
    ("field", "value", "cleared"),
    [
        ("trigger", {"script": "json({fire: false})"}, None),
        ("pacing", {"min": "1h"}, None),
        ("sessionKey", "agent:coo:main", None),
        ("deleteAfterRun", True, False),
    ],
)
def test_what_would_silence_the_beats_is_cleared(field: str, value: Any, cleared: Any) -> None:
    wanted = beat()
    returned = job(wanted, **{field: value})
    assert definition_of(returned) != wanted
    assert patch_of(wanted, definition_of(returned)) == {field: cleared}
    assert definition_of(job(wanted, deleteAfterRun=False)) == wanted


def test_a_declaration_drops_leftovers_and_keeps_what_is_the_operators() -> None:
    wanted = turn()
    destination = {"mode": "webhook", "to": "https://example.test"}
    returned = job(
        wanted,
        payload={**wanted["payload"], "model": "small", "message": "old"},
        delivery={"mode": "none", "channel": "telegram", "to": "1", "failureDestination": destination},
        displayName="心跳",
        failureAlert={"after": 3},
    )
    assert declaration_of(wanted, returned) == {
        **wanted,
        "payload": {**wanted["payload"], "model": "small"},
        "delivery": {"mode": "none", "failureDestination": destination},
        "displayName": "心跳",
    }


def test_a_turns_settings_are_not_carried_into_a_beat() -> None:
    wanted = beat()
    returned = job(wanted, payload={**wanted["payload"], "toolsAllow": ["*"]})
    assert definition_of(returned) != wanted
    assert declaration_of(wanted, returned) == wanted
    tuned = {**turn()["payload"], "model": "small"}
    assert declaration_of(wanted, job(turn(), payload=tuned)) == wanted


def test_what_openclaw_switched_off_is_told_from_what_somebody_did() -> None:
    stop = {"autoDisabled": {"reason": "consecutive-failures", "atMs": 1, "consecutiveErrors": 10}}
    by_itself = definition_of(job(beat(), enabled=False, state=stop))
    by_hand = definition_of(job(beat(), enabled=False))
    assert by_itself["enabled"] == "switched off by OpenClaw after 10 consecutive-failures"
    assert (is_switched_off(by_itself), is_switched_off(by_hand)) == (False, True)
    assert patch_of(beat(), by_itself) == {"enabled": True}


def test_whether_everybody_is_meant_is_written_down() -> None:
    named, all_of_them = beat(everybody=False), beat()
    assert (is_of_everybody(named), is_of_everybody(all_of_them)) == (False, True)
    assert noted(named, everybody=True) == all_of_them
    assert noted(all_of_them, everybody=False) == named
    assert noted(named, everybody=False) == named
    assert noted({"name": "x"}, everybody=True) == {"name": "x"}
    assert noted({**named, "description": "mine"}, everybody=True) == {**named, "description": "mine"}


OTHER = Path("/srv/other/agents.yaml")


@pytest.mark.parametrize(
    ("record", "rosters"),
    [
        (beat(), {ROSTER}),
        (turn(), {ROSTER}),
        ({**beat(), "description": "mine"}, {ROSTER}),
        ({**turn(), "description": ""}, {ROSTER}),
        ({**beat(), "description": f"heartbeat: beats of coo (roster {OTHER})"}, {ROSTER, OTHER}),
        ({**beat(), "payload": {"kind": "command", "argv": ["heartbeat", "tick"]}}, {ROSTER}),
        ({"declarationKey": "hb:coo", "payload": {"kind": "command", "argv": ["/bin/true"]}}, set()),
        ({"declarationKey": "hb:coo", "payload": {"kind": "agentTurn", "message": "don't\n--roster"}}, set()),
        ({"declarationKey": "hb:coo", "payload": {"kind": "command", "argv": "--roster x"}}, set()),
        ({"declarationKey": "hb:coo", "payload": None, "description": None}, set()),
    ],
)
def test_an_automation_names_its_roster(record: dict[str, Any], rosters: set[Path]) -> None:
    assert rosters_of(record) == rosters


@pytest.mark.parametrize(
    ("key", "ours"),
    [("hb:coo", True), ("heartbeat:coo", False), ("skill-collection-review:coo", False), (None, False), (7, False)],
)
def test_our_keys_are_told_from_the_systems_own(key: Any, ours: bool) -> None:
    assert is_ours({"declarationKey": key}) is ours
