"""Who hears of what: roles become inboxes and channels, and nothing is addressed to nobody (rules L2, L3, O3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.action import Level, Message
from heartbeat.notify.roles import Recipient, addressed, findings, message_key, recipients, successors
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.port import EntryKind, EntryState
from heartbeat.task import NOBODY, Owner, OwnerKind
from tests.support.rosters import make_agent, make_coo, make_roster

NOW = datetime(2026, 11, 21, 4, 10, tzinfo=UTC)
WRITER = Owner(OwnerKind.AGENT, "writer")
PERSON = Owner(OwnerKind.PERSON, "Vincent")
STRANGER = Owner(OwnerKind.AGENT, "7d3c9a52-0000-4000-8000-000000000000")
CHANNELS: dict[str, dict[str, Any]] = {
    "feishu": {"kind": "feishu", "url_env": "HOOK", "min_level": "warning"},
    "ops": {"kind": "file", "path": "/log", "min_level": "info"},
    "phone": {"kind": "webhook", "url_env": "PHONE", "min_level": "critical"},
}


def roster(**changes: Any) -> Roster:
    fields = {"channels": CHANNELS, "operator": Operator("Vincent", ("feishu", "ops")), **changes}
    return make_roster(make_coo(), make_agent("writer"), make_agent("editor"), **fields)


def message(*to: str, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "key": "3f2a91bc/notify",
        "level": Level.WARNING,
        "title": "任务超时",
        "body": "任务「写周报」已 45m 没有活动。",
        "owner": WRITER,
        "creator": Owner(OwnerKind.AGENT, "editor"),
        "task": "workboard:1",
        "incident": "3f2a91bc",
        **changes,
    }
    return Message(to=to, **fields)


def names(found: Message, team: Roster) -> list[str]:
    return [f"{one.kind.value}:{one.name}" for one in recipients(found, team)]


@pytest.mark.parametrize(
    ("role", "changes", "expected"),
    [
        ("self", {}, ["inbox:writer"]),
        ("self", {"owner": PERSON}, ["message:feishu", "message:ops"]),
        ("self", {"owner": NOBODY}, ["inbox:coo"]),
        ("self", {"owner": STRANGER}, ["inbox:coo"]),
        ("coo", {}, ["inbox:coo"]),
        ("creator", {}, ["inbox:editor"]),
        ("creator", {"creator": PERSON}, ["message:feishu", "message:ops"]),
        ("creator", {"creator": NOBODY}, ["inbox:coo"]),
        ("creator", {"creator": STRANGER}, ["inbox:coo"]),
        ("operator", {}, ["message:feishu", "message:ops"]),
        ("editor", {}, ["inbox:editor"]),
        ("nobody-we-know", {}, ["inbox:coo"]),
        ("ops", {}, ["message:ops"]),
        ("phone", {}, []),
        ("phone", {"level": Level.CRITICAL}, ["message:phone"]),
    ],
)
def test_L2_each_role_has_its_recipients(role: str, changes: dict[str, Any], expected: list[str]) -> None:
    assert names(message(role, **changes), roster()) == expected


def test_L2_whoever_is_named_by_several_roles_hears_it_once() -> None:
    told = message("self", "coo", "creator", "operator", "ops", owner=Owner(OwnerKind.AGENT, "coo"), creator=NOBODY)
    assert names(told, roster()) == ["inbox:coo", "message:feishu", "message:ops"]


def test_O3_a_channel_hears_nothing_below_its_level() -> None:
    assert names(message("operator", level=Level.INFO), roster()) == ["message:ops"]


def test_O3_what_no_channel_of_the_operator_takes_goes_to_the_coo() -> None:
    only_phone = roster(operator=Operator("Vincent", ("phone",)))
    assert names(message("operator"), only_phone) == ["inbox:coo"]
    assert names(message("operator", level=Level.CRITICAL), only_phone) == ["message:phone"]


def test_L3_an_operator_without_channels_is_a_finding_and_the_coo_hears_instead() -> None:
    unreachable = roster(operator=Operator("Vincent"))
    assert names(message("operator"), unreachable) == ["inbox:coo"]
    (found,) = findings(unreachable)
    assert found.code == "operator-unreachable"
    assert "the inbox of coo" in found.message
    assert findings(roster()) == ()


def test_L2_without_a_coo_the_operator_hears_and_else_the_first_patrol_agent() -> None:
    without = make_roster(
        make_agent("writer"),
        make_agent("secretary", patrol=True),
        channels=CHANNELS,
        operator=Operator("Vincent", ("ops",)),
    )
    assert names(message("coo", "stranger"), without) == ["message:ops"]
    assert names(message("coo"), make_roster(make_agent("writer"), make_agent("x", patrol=True))) == ["inbox:x"]
    assert names(message("coo"), make_roster(make_agent("writer"))) == ["inbox:writer"]


def test_L4_an_entry_a_recipient_with_the_message_and_the_recipient_in_its_key() -> None:
    first, second = addressed(message("self", "ops"), roster(), NOW)
    assert (first.key, first.kind, first.target) == ("3f2a91bc/notify/writer", EntryKind.INBOX, "writer")
    assert (second.key, second.kind, second.target) == ("3f2a91bc/notify/ops", EntryKind.MESSAGE, "ops")
    for entry in (first, second):
        assert message_key(entry) == "3f2a91bc/notify"
        assert (entry.state, entry.created_at, entry.due_at) == (EntryState.PENDING, NOW, NOW)
        assert (entry.task, entry.incident) == ("workboard:1", "3f2a91bc")
        assert json.loads(json.dumps(entry.payload)) == {
            "title": "任务超时",
            "body": "任务「写周报」已 45m 没有活动。",
            "level": "warning",
            "task": "workboard:1",
            "incident": "3f2a91bc",
            "to": ["self", "ops"],
        }


def test_O3_the_next_channel_is_the_operators_next_and_the_last_is_the_coos_inbox() -> None:
    three = roster(operator=Operator("Vincent", ("feishu", "ops", "phone")))
    inbox = Recipient(EntryKind.INBOX, "coo")
    ops, phone = Recipient(EntryKind.MESSAGE, "ops"), Recipient(EntryKind.MESSAGE, "phone")
    assert successors(three, "feishu", Level.CRITICAL) == (ops, phone, inbox)
    assert successors(three, "feishu", Level.WARNING) == (ops, inbox)
    assert successors(three, "not-the-operators", Level.INFO) == (ops, inbox)


@given(
    to=st.lists(st.sampled_from(["self", "coo", "creator", "operator", "writer", "gone"]), min_size=1),
    level=st.sampled_from(list(Level)),
    owner=st.sampled_from([WRITER, PERSON, STRANGER, NOBODY]),
    creator=st.sampled_from([WRITER, PERSON, STRANGER, NOBODY]),
    notify=st.lists(st.sampled_from(sorted(CHANNELS)), unique=True),
    coo=st.booleans(),
)
def test_O3_every_message_to_a_role_reaches_somebody_and_nobody_twice(
    to: list[str], level: Level, owner: Owner, creator: Owner, notify: list[str], coo: bool
) -> None:
    agents = [make_agent("writer"), *([make_coo()] if coo else [])]
    team = make_roster(*agents, channels=CHANNELS, operator=Operator("Vincent", tuple(notify)))
    entries = addressed(message(*to, level=level, owner=owner, creator=creator), team, NOW)
    assert entries
    assert len({entry.key for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.target in (team.agents if entry.kind is EntryKind.INBOX else notify)
