"""What the fakes cannot prove: how heartbeat and a real OpenClaw get on with one another."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.task import NOBODY, DependencyKind, EvidenceKind, Item, Owner, OwnerKind, Priority, Status
from tests.real.gateway import RealGateway
from tests.real.rpc import RpcError
from tests.real.session import Shared
from tests.real.supervisor import processes_at_home
from tests.real.wiretap import Wiretap
from tests.support.openclaw_board import ARCHIVED, CLAIM_OWNER, TITLES, KnownBoard
from tests.support.real_openclaw_cases import closed_port, open_source

pytestmark = pytest.mark.openclaw

PATIENCE = 120.0
MANY = 500
FULL_NOTES = "说" * 4000
"""The longest notes that the Gateway takes, 12,000 bytes."""
USUAL_LIMIT = 1024 * 1024
"""A WebSocket client's own limit unless it is raised."""
STATED_LIMIT = 26_214_400
"""The Gateway's `policy.maxPayload`."""

Own = tuple[RealGateway, KnownBoard]


def read(transport: str, environment: Mapping[str, str], now: datetime | None = None) -> Reading:
    source = open_source(transport, environment)
    return source.read(Deadline.after(PATIENCE), now or datetime.now(UTC))


@pytest.fixture(scope="module")
def reading(common: Shared) -> Reading:
    return read("gateway", common.gateway.environment, common.filled_at)


@pytest.fixture(scope="module")
def items(common: Shared, reading: Reading) -> dict[str, Item]:
    """The known board's items by the name that the board gives them."""
    return {common.board.name_of(item.ref.id): item for item in reading.items}


def test_every_title_survives_byte_for_byte(items: dict[str, Item]) -> None:
    assert {name: item.title for name, item in items.items()} == TITLES


def test_S6_every_status_of_a_real_board_is_understood(items: dict[str, Item]) -> None:
    assert {name: (item.raw_status, item.status) for name, item in items.items()} == {
        "parent": ("todo", Status.TODO),
        "child": ("todo", Status.TODO),
        "finished": ("done", Status.DONE),
        "freed": ("todo", Status.TODO),
        "claimed": ("running", Status.IN_PROGRESS),
        "archived": ("done", Status.DONE),
        "archived_unfinished": ("todo", Status.TODO),
        "blocked": ("blocked", Status.BLOCKED),
        "scheduled": ("scheduled", Status.TODO),
        "review": ("review", Status.IN_REVIEW),
        "ready": ("ready", Status.TODO),
        "backlog": ("backlog", Status.BACKLOG),
        "triage": ("triage", Status.BACKLOG),
        "unowned": ("todo", Status.TODO),
        "stranger": ("todo", Status.TODO),
        "hostile": ("todo", Status.TODO),
        "longest": ("todo", Status.TODO),
    }


def test_S6_a_scheduled_card_waits_until_its_time(common: Shared, items: dict[str, Item]) -> None:
    waiting = {name: item.not_before for name, item in items.items() if item.not_before is not None}
    assert waiting == {"scheduled": datetime.fromtimestamp(common.board.scheduled_at / 1000, UTC)}


def test_S6_archived_cards_are_marked_whatever_their_status(items: dict[str, Item]) -> None:
    assert {name for name, item in items.items() if item.archived} == ARCHIVED


def test_S6a_a_claimed_card_belongs_to_its_claimant(items: dict[str, Item]) -> None:
    assert items["claimed"].owner == Owner(OwnerKind.AGENT, CLAIM_OWNER)
    assert items["parent"].owner == Owner(OwnerKind.AGENT, "architect")
    assert items["stranger"].owner == Owner(OwnerKind.AGENT, "trade-fair-team")
    assert items["unowned"].owner == NOBODY


def test_S7_priorities_are_understood(items: dict[str, Item]) -> None:
    told = {name: item.priority for name, item in items.items() if item.priority is not Priority.NORMAL}
    assert told == {
        "parent": Priority.HIGH,
        "child": Priority.URGENT,
        "claimed": Priority.HIGH,
        "scheduled": Priority.LOW,
        "backlog": Priority.LOW,
        "unowned": Priority.HIGH,
    }


def test_D1_only_parent_links_are_dependencies(common: Shared, items: dict[str, Item]) -> None:
    waiting = {name: item.depends_on for name, item in items.items() if item.depends_on}
    assert {name: [(on.kind, on.target) for on in targets] for name, targets in waiting.items()} == {
        "child": [(DependencyKind.CARD, common.board.ids["parent"])],
        "freed": [(DependencyKind.CARD, common.board.ids["finished"])],
    }


def test_M1_a_ticket_in_front_of_a_title_is_a_mention(items: dict[str, Item]) -> None:
    assert "BIZ-31" in items["child"].mentions
    assert "BIZ-12" in items["parent"].mentions
    assert items["child"].url == "https://multica.example/issues/BIZ-31"


def test_T1_a_worked_on_card_shows_its_signs_of_life(reading: Reading, items: dict[str, Item]) -> None:
    kinds = {evidence.kind for evidence in reading.evidence if evidence.ref == items["claimed"].ref}
    assert {EvidenceKind.MOVED, EvidenceKind.CLAIM_HEARTBEAT, EvidenceKind.COMMENT} <= kinds
    assert items["claimed"].started_at is not None


def test_the_revision_is_what_the_gateway_compares_writes_with(common: Shared, items: dict[str, Item]) -> None:
    cards = common.gateway.call("workboard.cards.list")["cards"]
    assert {item.ref.id: item.revision for item in items.values()} == {
        card["id"]: str(card["updatedAt"]) for card in cards
    }


def test_S1a_auto_takes_the_gateway_and_starts_no_program(common: Shared) -> None:
    environment = {**common.gateway.environment, "PATH": "/nonexistent"}
    reading = read("auto", environment, common.filled_at)
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.report.transport == "gateway"


def test_S1a_a_gateway_is_found_by_the_state_directory_alone(common: Shared, tmp_path: Path) -> None:
    state = tmp_path / ".openclaw"
    state.mkdir()
    gateway = common.gateway
    (state / "openclaw.json").write_text(
        f'{{ gateway: {{ port: {gateway.port}, auth: {{ token: "{gateway.token}" }} }}, /* JSON5 */ }}'
    )
    reading = read("gateway", {"HOME": str(tmp_path), "PATH": "/nonexistent"}, common.filled_at)
    assert reading.report.message == ""
    assert {item.title for item in reading.items} == common.board.titles


@pytest.mark.parametrize("transport", ["gateway", "cli"])
def test_S1_a_wrong_token_is_told_as_one_and_never_shown(common: Shared, transport: str) -> None:
    wrong = "wrong-token-0123456789"
    reading = read(transport, {**common.gateway.environment, "OPENCLAW_GATEWAY_TOKEN": wrong}, common.filled_at)
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.AUTH, reading.report.message
    assert "OPENCLAW_GATEWAY_TOKEN" in reading.report.advice
    assert wrong not in repr(reading)


def test_S5_a_board_of_500_cards_is_read_in_one_call(running: Own) -> None:
    gateway, board = running
    with Wiretap(gateway.url) as wiretap, many_cards(gateway) as titles:
        reading = read("gateway", {**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)})
        assert reading.report.message == ""
        assert {item.title for item in reading.items} == titles | board.titles
        assert len(reading.items) == MANY + len(board.titles)
        assert wiretap.connections == 1
        assert wiretap.methods == ["workboard.cards.list", "sessions.list", "sessions.list"]
        assert wiretap.largest_answer > USUAL_LIMIT


def test_S4_an_answer_beyond_the_stated_limit_is_read_whole_or_not_at_all(running: Own) -> None:
    gateway, board = running
    copies = STATED_LIMIT // len(FULL_NOTES.encode()) + 1
    with copied_cards(gateway, copies):
        total = len(board.titles) + copies
        assert len(gateway.call("workboard.cards.list")["cards"]) == total
        reading = read("gateway", gateway.environment)
    if reading.report.status is ReadStatus.COMPLETE:
        assert len(reading.items) == total
    else:
        assert reading.report.kind is FailureKind.TOO_LARGE
        assert reading.items == ()


def test_S1_a_gateway_that_is_starting_is_asked_again_until_it_is_ready(running: Own) -> None:
    gateway, board = running
    gateway.stop()
    gateway.launch()
    gateway.wait_until_listening()
    with Wiretap(gateway.url) as wiretap:
        reading = read("gateway", {**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)})
        refused = [answer["error"] for answer in wiretap.answers if not answer["ok"]]
    assert reading.report.message == ""
    assert {item.title for item in reading.items} == board.titles
    assert {error["message"] for error in refused} == {"gateway starting; retry shortly"}


def test_S2_a_stopped_gateway_is_unreachable_and_its_cards_are_read_from_the_database(running: Own) -> None:
    gateway, board = running
    now = datetime.now(UTC)
    online = read("gateway", gateway.environment, now)
    gateway.stop()
    assert list(processes_at_home(str(gateway.home))) == []

    failed = read("gateway", gateway.environment, now)
    assert failed.report.status is ReadStatus.FAILED
    assert failed.report.kind is FailureKind.UNREACHABLE
    assert failed.items == ()

    offline = read("auto", gateway.environment, now)
    assert offline.report.status is ReadStatus.COMPLETE, offline.report.message
    assert offline.report.transport == "cli"
    assert "fell back to cli" in offline.report.message
    assert [finding.code for finding in offline.report.findings] == ["read-offline", "unknown-sessions"]
    assert (online.presence, offline.presence) == ((), None)
    assert {item.title for item in offline.items} == board.titles
    assert sorted(offline.items, key=by_ref) == sorted(online.items, key=by_ref)
    assert set(offline.evidence) == set(online.evidence)


def test_S1_without_gateway_and_program_nothing_is_read(common: Shared) -> None:
    environment = {
        **common.gateway.environment,
        "OPENCLAW_GATEWAY_PORT": str(closed_port()),
        "PATH": "/nonexistent",
    }
    reading = read("auto", environment, common.filled_at)
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.UNREACHABLE
    assert [attempt.transport for attempt in reading.report.tried] == ["cli", "gateway"]


def by_ref(item: Item) -> str:
    return str(item.ref)


@contextmanager
def many_cards(gateway: RealGateway) -> Iterator[frozenset[str]]:
    """A board of 500 cards, a hundred of them with the longest notes, made last: each write reads the whole board."""
    titles = [f"第 {number} 号任务 task {number}" for number in range(MANY)]
    notes = [""] * (MANY - 100) + [FULL_NOTES] * 100
    cards = [{"title": title, "boardId": "bulk", "notes": text} for title, text in zip(titles, notes, strict=True)]
    gateway.connection.call_all("workboard.cards.create", cards)
    try:
        yield frozenset(titles)
    finally:
        with database(gateway) as cursor:
            cursor.execute("DELETE FROM workboard_cards WHERE board_id = 'bulk'")


@contextmanager
def copied_cards(gateway: RealGateway, copies: int) -> Iterator[None]:
    """So many copies of one card with the longest notes, written straight to the database: by RPC it takes minutes."""
    card = {"title": "原件", "boardId": "copies", "notes": FULL_NOTES}
    original = gateway.call("workboard.cards.create", card)["card"]["id"]
    with database(gateway) as cursor:
        names = [row[1] for row in cursor.execute("PRAGMA table_info(workboard_cards)")]
        kept = ", ".join(name for name in names if name != "id")
        cursor.executemany(
            f"INSERT INTO workboard_cards (id, {kept}) SELECT ?, {kept} FROM workboard_cards WHERE id = ?",  # noqa: S608
            [(str(uuid.uuid4()), original) for _ in range(copies - 1)],
        )
    try:
        yield
    finally:
        with database(gateway) as cursor:
            cursor.execute("DELETE FROM workboard_cards WHERE board_id = 'copies'")


@contextmanager
def database(gateway: RealGateway) -> Iterator[sqlite3.Cursor]:
    """One transaction on the board's own database; the Gateway notices such writes."""
    path = gateway.state_directory / "plugins" / "workboard" / "workboard.sqlite"
    with closing(sqlite3.connect(path, timeout=30.0)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection.cursor()


def test_the_tests_own_client_tells_a_refusal(common: Shared) -> None:
    with pytest.raises(RpcError, match="card not found: nobody"):
        common.gateway.call("workboard.cards.comment", {"id": "nobody", "body": "?"})
