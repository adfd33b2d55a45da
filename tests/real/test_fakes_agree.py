"""A fake is as good as the real system that it was checked against: here, record for record and refusal for refusal."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from heartbeat.systems.base import Deadline, Reading
from heartbeat.task import Item, Ref
from tests.real.gateway import RealGateway
from tests.real.rpc import GatewayConnection, RpcError
from tests.real.session import SCHEDULE_AHEAD, Shared, changeable
from tests.real.turns import turn, until
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.openclaw_board import Call, KnownBoard, fill
from tests.support.openclaw_sessions import FakeSessions
from tests.support.real_openclaw_cases import open_source

pytestmark = pytest.mark.openclaw

EARLIEST = 1_600_000_000_000
"""Greater numbers are times in epoch milliseconds; every other number on a board is small."""


@pytest.fixture(scope="module")
def fake() -> Iterator[tuple[FakeGateway, KnownBoard]]:
    now = int(time.time() * 1000)
    with FakeGateway(FakeBoard(SteppingClock(now - 60_000))) as gateway:
        with GatewayConnection(gateway.url, gateway.token) as connection:
            board = fill(connection.call, now + int(SCHEDULE_AHEAD.total_seconds() * 1000))
        yield gateway, board


def anonymous(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """A record without what differs between two runs: card ids become names, other ids and times become words."""
    if isinstance(value, Mapping):
        return {name: anonymous(entry, names, name) for name, entry in value.items()}
    if isinstance(value, list):
        return "paths" if key == "roots" else [anonymous(entry, names, key) for entry in value]
    if isinstance(value, str):
        return names.get(value, "an id" if key == "id" and len(value) == 36 else value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > EARLIEST:
        return "a time"
    return value


def differences(imitated: Any, real: Any, where: str = "") -> list[str]:
    """Where two records differ, a line each."""
    if isinstance(imitated, Mapping) and isinstance(real, Mapping):
        keys = sorted(imitated.keys() | real.keys())
        pairs = [(f"{where}.{key}", imitated.get(key, "(absent)"), real.get(key, "(absent)")) for key in keys]
    elif isinstance(imitated, list) and isinstance(real, list) and len(imitated) == len(real):
        pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(imitated, real, strict=True))]
    else:
        return [] if imitated == real else [f"{where}: the fake has {imitated!r}, the real one {real!r}"]
    return [line for name, ours, theirs in pairs for line in differences(ours, theirs, name)]


def list_of(call: Call, board: KnownBoard) -> dict[str, Any]:
    """The answer of cards.list, its cards by name."""
    names = {id_: name for name, id_ in board.ids.items()}
    answer = anonymous(call("workboard.cards.list", {}), names)
    return {**answer, "cards": {card["id"]: card for card in answer["cards"]}}


def test_a_fake_gives_the_same_records_as_the_real_one(common: Shared, fake: tuple[FakeGateway, KnownBoard]) -> None:
    gateway, board = fake
    with GatewayConnection(gateway.url, gateway.token) as connection:
        imitated = list_of(connection.call, board)
    real = list_of(common.gateway.call, common.board)
    told = differences(imitated, real)
    assert not told, "\n".join(told)


def test_a_fake_orders_its_list_as_the_real_one(common: Shared, fake: tuple[FakeGateway, KnownBoard]) -> None:
    gateway, board = fake
    with GatewayConnection(gateway.url, gateway.token) as connection:
        imitated = [board.name_of(card["id"]) for card in connection.call("workboard.cards.list")["cards"]]
    real = [common.board.name_of(card["id"]) for card in common.gateway.call("workboard.cards.list")["cards"]]
    assert imitated == real


def test_the_same_board_gives_the_same_items_on_fake_and_real(
    common: Shared, fake: tuple[FakeGateway, KnownBoard]
) -> None:
    gateway, board = fake
    imitated = open_source("gateway", gateway.environment()).read(Deadline.after(60.0), datetime.now(UTC))
    real = open_source("gateway", common.gateway.environment).read(Deadline.after(60.0), datetime.now(UTC))
    assert items_of(imitated, board) == items_of(real, common.board)
    assert evidence_of(imitated, board) == evidence_of(real, common.board)
    assert len(imitated.report.findings) == len(real.report.findings)


def items_of(reading: Reading, board: KnownBoard) -> dict[str, Item]:
    """Items by name, their times cut down to whether they are there."""
    epoch = datetime.fromtimestamp(0, UTC)
    return {
        board.name_of(item.ref.id): replace(
            item,
            ref=Ref(item.ref.source, board.name_of(item.ref.id)),
            key="",
            created_at=item.created_at and epoch,
            updated_at=item.updated_at and epoch,
            started_at=item.started_at and epoch,
            not_before=item.not_before and epoch,
            revision=item.revision and "changed",
            aliases=tuple(board.name_of(alias) for alias in item.aliases),
            depends_on=tuple(replace(on, target=board.name_of(on.target)) for on in item.depends_on),
        )
        for item in reading.items
    }


def evidence_of(reading: Reading, board: KnownBoard) -> list[tuple[str, str]]:
    """What happened to which card, however often the clock moved between."""
    return sorted((board.name_of(evidence.ref.id), evidence.kind) for evidence in reading.evidence)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("cards.comment", {"id": "nobody", "body": "hello"}),
    ("cards.comment", {"id": "{parent}", "body": " "}),
    ("cards.comment", {"id": "{parent}", "body": "x" * 2001}),
    ("cards.comment", {"body": "no id"}),
    ("cards.create", {}),
    ("cards.create", {"title": "x" * 181}),
    ("cards.create", {"title": "x", "status": "in_progress"}),
    ("cards.create", {"title": "x", "priority": "medium"}),
    ("cards.create", {"title": "x", "boardId": "../etc"}),
    ("cards.move", {"id": "{parent}", "status": "in_progress"}),
    ("cards.move", {"id": "{child}", "status": "running"}),
    ("cards.move", {"id": "{scheduled}", "status": "running"}),
    ("cards.move", {"id": "{parent}", "status": "todo", "expectedUpdatedAt": "soon"}),
    ("cards.claim", {"id": "{child}", "ownerId": "architect"}),
    ("cards.claim", {"id": "{claimed}", "ownerId": "architect"}),
    ("cards.claim", {"id": "{backlog}", "ownerId": "coo"}),
    ("cards.claim", {"id": "{archived_unfinished}", "ownerId": "architect"}),
    ("cards.claim", {"id": "{scheduled}", "ownerId": "architect"}),
    ("cards.claim", {"id": "{ready}"}),
    ("cards.heartbeat", {"id": "{ready}"}),
    ("cards.heartbeat", {"id": "{claimed}", "token": "wrong"}),
    ("cards.release", {"id": "{claimed}", "ownerId": "secretary"}),
    ("cards.linkDependency", {"parentId": "{child}", "childId": "{parent}"}),
    ("cards.linkDependency", {"parentId": "{parent}", "childId": "{parent}"}),
    ("cards.linkDependency", {"parentId": "{parent}"}),
    ("cards.link", {"id": "{parent}", "type": "child", "targetCardId": "{child}"}),
    ("cards.promote", {"id": "{child}"}),
    ("cards.complete", {"id": "{child}"}),
    ("cards.runs", {"id": "nobody"}),
    ("cards.get", {"id": "{parent}"}),
    ("cards.block", {"id": "{parent}", "reason": "x" * 2001}),
    ("cards.reclaim", {"id": "{parent}", "reason": "x" * 1001}),
    ("cards.reassign", {"id": "{parent}", "reason": "x" * 1001}),
    ("cards.promote", {"id": "{parent}", "reason": "x" * 1001}),
    ("cards.complete", {"id": "{parent}", "summary": "x" * 2001}),
    ("cards.artifact", {"id": "{parent}", "label": "no place"}),
    ("cards.artifact", {"id": "{parent}", "path": "a.md", "label": "x" * 161}),
    ("cards.proof", {"id": "{parent}", "label": "x" * 161}),
    ("cards.create", {"title": "x", "notes": "x" * 4001}),
    ("cards.create", {"title": "x", "idempotencyKey": "x" * 161}),
]
"""Requests that are refused and change nothing; `{name}` stands for a card of the known board."""


@pytest.mark.parametrize(("method", "params"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fake_refuses_in_the_words_of_the_real_one(
    common: Shared, fake: tuple[FakeGateway, KnownBoard], method: str, params: dict[str, Any]
) -> None:
    gateway, board = fake
    with GatewayConnection(gateway.url, gateway.token) as connection:
        imitated = refusal(connection.call, board, method, params)
    real = refusal(common.gateway.call, common.board, method, params)
    assert real is not None, "the real Gateway took it, and the shared board is changed"
    assert imitated == real


def refusal(call: Call, board: KnownBoard, method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error without card ids, or None where the request was taken."""
    named = {
        key: board.ids[value[1:-1]] if isinstance(value, str) and value.startswith("{") else value
        for key, value in params.items()
    }
    try:
        call(f"workboard.{method}", named)
    except RpcError as error:
        return {key: value for key, value in error.error.items() if value is not None}
    return None


CLAIM = ("cards.claim", {"ownerId": "worker", "ttlSeconds": 600})
EXECUTION = {
    "id": "e1",
    "kind": "agent-session",
    "mode": "autonomous",
    "status": "running",
    "model": "loopback/silent",
    "sessionKey": "agent:nobody:main",
    "runId": "run-1",
    "startedAt": EARLIEST + 1,
    "updatedAt": EARLIEST + 1,
}
EXECUTE = ("cards.update", {"patch": {"execution": EXECUTION}})


def attached(*names: str) -> tuple[str, dict[str, Any]]:
    """An update that sets the artifacts."""
    artifacts = [{"id": f"hb-0123456789ab-{name}", "path": f"{name}.md", "label": name} for name in names]
    return "cards.update", {"patch": {"metadata": {"artifacts": artifacts}}}


CHANGES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "claim and release": [CLAIM, ("cards.release", {})],
    "claim and release to todo": [CLAIM, ("cards.release", {"ownerId": "worker", "status": "todo"})],
    "claim and reclaim": [CLAIM, ("cards.reclaim", {"status": "todo", "reason": "no sign of life for 45 min"})],
    "claim and reclaim without words": [CLAIM, ("cards.reclaim", {})],
    "claim and hand over": [CLAIM, ("cards.reassign", {"agentId": "architect", "reason": "backup"})],
    "reclaim and hand over": [CLAIM, ("cards.reclaim", {}), ("cards.reassign", {"agentId": "coo"})],
    "claim, heartbeats, comment": [
        CLAIM,
        ("cards.heartbeat", {}),
        ("cards.heartbeat", {"note": "half done"}),
        ("cards.comment", {"body": "almost"}),
    ],
    "claim and complete": [
        CLAIM,
        ("cards.complete", {"summary": "done", "proof": {"status": "passed", "command": "make test"}}),
    ],
    "complete without words": [("cards.complete", {})],
    "claim a backlog card": [("cards.move", {"status": "backlog"}), CLAIM],
    "claim a card in review": [("cards.move", {"status": "review"}), CLAIM],
    "claim a blocked card": [("cards.block", {"reason": "waits"}), CLAIM],
    "block and unblock": [("cards.block", {"reason": "waits"}), ("cards.unblock", {})],
    "block twice": [("cards.block", {}), ("cards.block", {"reason": "still"})],
    "block a claimed card and reset": [
        CLAIM,
        ("cards.block", {"reason": "50 rounds used"}),
        ("cards.unblock", {}),
        ("cards.reassign", {"resetFailures": True}),
    ],
    "promote": [("cards.promote", {})],
    "promote with a reason": [("cards.promote", {"reason": "triaged"})],
    "move": [("cards.move", {"status": "running"}), ("cards.move", {"status": "review"})],
    "move where it is": [("cards.move", {"status": "todo"})],
    "reopen": [("cards.move", {"status": "done"}), ("cards.move", {"status": "todo"})],
    "update": [("cards.update", {"patch": {"title": "另一个题目", "priority": "low", "labels": ["a", "b"]}})],
    "update nothing": [("cards.update", {"patch": {"unknown": 1}})],
    "archive": [("cards.archive", {"archived": True})],
    "archive and back": [("cards.archive", {}), ("cards.archive", {"archived": False})],
    "proof and log": [
        ("cards.proof", {"status": "passed", "label": "tests"}),
        ("cards.workerLog", {"level": "info", "message": "started"}),
    ],
    "release what is not claimed": [("cards.release", {}), ("cards.release", {"ownerId": "worker", "status": "todo"})],
    "reclaim what is not claimed": [("cards.reclaim", {"status": "todo", "reason": "silent"})],
    "reassign with a reason and a status": [CLAIM, ("cards.reassign", {"status": "todo", "reason": "backup"})],
    "block and forget": [("cards.block", {"reason": "waits"}), ("cards.reassign", {"agentId": "architect"})],
    "unblock what is not blocked": [("cards.unblock", {})],
    "complete twice": [("cards.complete", {"summary": "done"}), ("cards.complete", {"summary": "done again"})],
    "complete with artifacts": [
        (
            "cards.complete",
            {"summary": "done", "artifacts": [{"path": "a.md"}, {"url": "https://x.test", "label": "b"}]},
        )
    ],
    "artifacts": [("cards.artifact", {"path": "a.md", "label": "A"}), ("cards.artifact", {"path": "b.md"})],
    "artifacts by update": [attached("1"), attached("1", "2"), attached("2"), attached("2", "2")],
    "an execution, reclaimed": [CLAIM, EXECUTE, ("cards.reclaim", {"status": "todo", "reason": "silent"})],
    "an execution, released, reclaimed": [
        CLAIM,
        EXECUTE,
        ("cards.release", {"ownerId": "worker", "status": "todo"}),
        ("cards.reclaim", {"status": "todo", "reason": "silent"}),
    ],
    "an execution, blocked": [CLAIM, EXECUTE, ("cards.block", {"reason": "50 rounds used"})],
    "an execution, given away": [EXECUTE, ("cards.reassign", {"agentId": "architect", "status": "todo"})],
    "a stale write": [("cards.move", {"status": "review", "expectedUpdatedAt": 1})],
}
"""What is done to a fresh card, step by step, by its operator."""


@pytest.mark.parametrize("steps", CHANGES.values(), ids=CHANGES.keys())
def test_a_fake_changes_cards_as_the_real_one(
    running: tuple[RealGateway, KnownBoard],
    fake: tuple[FakeGateway, KnownBoard],
    steps: list[tuple[str, dict[str, Any]]],
) -> None:
    with GatewayConnection(fake[0].url, fake[0].token) as connection:
        imitated = states_of(connection.call, steps)
    real = states_of(running[0].call, steps)
    told = differences(imitated, real)
    assert not told, "\n".join(told)


def states_of(call: Call, steps: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What each step on a card of its own answers, or its refusal; the card is deleted in the end."""
    card = call("workboard.cards.create", {"title": "草稿", "agentId": "worker", "boardId": "drafts"})["card"]
    names = {card["id"]: "the card"}
    states = [anonymous(card, names)]
    try:
        for method, params in steps:
            try:
                answer = call(f"workboard.{method}", {"id": card["id"], **params})
                states.append(anonymous({**answer, "token": "a token"} if "token" in answer else answer, names))
            except RpcError as error:
                states.append(anonymous(error.error, names))
        return states
    finally:
        call("workboard.cards.delete", {"id": card["id"]})


def test_both_refuse_a_wrong_token_alike(common: Shared, fake: tuple[FakeGateway, KnownBoard]) -> None:
    gateway, _ = fake
    assert denied(gateway.url) == denied(common.gateway.url)


def denied(url: str) -> dict[str, Any]:
    with pytest.raises(RpcError) as refused:
        GatewayConnection(url, "wrong")
    return dict(refused.value.error)


def test_both_greet_alike(common: Shared, fake: tuple[FakeGateway, KnownBoard]) -> None:
    gateway, _ = fake
    real: RealGateway = common.gateway
    with GatewayConnection(gateway.url, gateway.token) as imitated, real.connect() as connection:
        assert imitated.hello["type"] == connection.hello["type"]
        assert imitated.hello["protocol"] == connection.hello["protocol"]
        assert imitated.hello["auth"].items() <= connection.hello["auth"].items()
        assert imitated.hello["policy"].items() <= connection.hello["policy"].items()
        assert imitated.hello["server"]["version"] == connection.hello["server"]["version"]


def test_both_list_no_sessions_alike(common: Shared, fake: tuple[FakeGateway, KnownBoard]) -> None:
    gateway, _ = fake
    for params in (
        {},
        {"agentId": "coo"},
        {"activeOnly": True, "limit": 500},
        {"activeMinutes": 60, "excludeCron": True},
    ):
        with GatewayConnection(gateway.url, gateway.token) as connection:
            imitated = connection.call("sessions.list", params)
        real = common.gateway.call("sessions.list", params)
        differing = {"ts", "path", "defaults"}
        assert {name: imitated[name] for name in imitated.keys() - differing} == {
            name: real[name] for name in real.keys() - differing
        }


@pytest.mark.parametrize("params", [{"limit": 0}, {"allAgents": True}])
def test_both_refuse_sessions_in_the_same_words(
    common: Shared, fake: tuple[FakeGateway, KnownBoard], params: dict[str, Any]
) -> None:
    gateway, _ = fake
    with GatewayConnection(gateway.url, gateway.token) as connection, pytest.raises(RpcError) as imitated:
        connection.call("sessions.list", params)
    with pytest.raises(RpcError) as real:
        common.gateway.call("sessions.list", params)
    assert str(imitated.value) == str(real.value)


SESSION_FIELDS = frozenset(
    {"key", "agentId", "hasActiveRun", "status", "isBackground", "isMain", "kind", "classification"}
)


def test_a_fake_session_says_what_a_real_one_says_of_itself() -> None:
    gateway = changeable()
    key = f"agent:coo:hb-{uuid.uuid4()}"

    def active() -> list[dict[str, Any]]:
        listed = gateway.call("sessions.list", {"activeOnly": True, "agentId": "coo"})["sessions"]
        return [session for session in listed if session["key"] == key]

    with turn(gateway, "coo", key):
        until(lambda: [session.get("status") for session in active()] == ["running"])
        (real,) = active()
    sessions = FakeSessions(lambda: real["snapshotAt"])
    sessions.put(key, active=True, spoken_at=real["lastInteractionAt"])
    (imitated,) = sessions.list({"activeOnly": True, "agentId": "coo"})["sessions"]
    assert imitated.keys() <= real.keys()
    assert {name: imitated[name] for name in SESSION_FIELDS} == {name: real[name] for name in SESSION_FIELDS}
