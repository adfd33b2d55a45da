"""What is WorkBoard's own, beyond the contract suite: all transports tell the same story of the same board."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import UsageError
from heartbeat.systems.base import (
    Deadline,
    FailureKind,
    Hearing,
    PartlyHeardError,
    Reading,
    ReadStatus,
    Source,
    TransportError,
)
from heartbeat.systems.openclaw.source import build
from heartbeat.task import DependencyKind, EvidenceKind, Item, Owner, OwnerKind, Priority, Status
from tests.contract.suite import NOW
from tests.support import openclaw_board
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_openclaw import FakeOpenClaw, Reach
from tests.support.openclaw_cases import HOUR, NOW_MS, filled_board, team
from tests.support.openclaw_sessions import FakeSessions

TRANSPORTS = ("gateway", "cli", "offline", "file")
Open = Callable[..., Reading]


Prepare = Callable[[FakeSessions], None]


@dataclass
class House:
    """Opens one board over any transport and reads it."""

    directory: Path
    stack: ExitStack
    prepare: Prepare = field(default=lambda sessions: None)
    """Puts sessions where the transport knows any."""

    def read(self, work: FakeBoard, transport: str, **settings: Any) -> Reading:
        return self.source(work, transport, **settings).read(Deadline.after(60), NOW)

    def source(self, work: FakeBoard, transport: str, **settings: Any) -> Source:
        environment: Mapping[str, str] = {"HOME": str(self.directory)}
        if transport == "gateway":
            gateway = self.stack.enter_context(FakeGateway(work))
            self.prepare(gateway.sessions)
            environment = {**environment, **gateway.environment()}
        elif transport == "file":
            path = self.directory / "cards.json"
            path.write_text(json.dumps(work.call("cards.list")), encoding="utf-8")
            settings["path"] = str(path)
        else:
            program = FakeOpenClaw(self.directory, work)
            program.order(reach=Reach.UP if transport == "cli" else Reach.DOWN)
            sessions = FakeSessions(work.present)
            self.prepare(sessions)
            listed = {"sessions": list(sessions.records.values()), "messages": sessions.messages}
            program.order(**listed, ts=work.present())
            environment = program.environment(self.directory)
        name = "cli" if transport == "offline" else transport
        return build({"transport": name, **settings}, team(), environment)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


def by_title(reading: Reading) -> dict[str, Item]:
    assert reading.report.status is ReadStatus.COMPLETE, reading.report.message
    return {item.title: item for item in reading.items}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_S6_S6a_D1_the_known_board_is_told_the_same_by_every_transport(house: House, transport: str) -> None:
    items = by_title(house.read(filled_board(), transport))
    spec, implementation = items["Write the API spec"], items["Implement the API"]
    assert (spec.status, spec.priority, spec.mentions) == (Status.TODO, Priority.HIGH, ("BIZ-12",))
    assert [(edge.kind, edge.target) for edge in implementation.depends_on] == [(DependencyKind.CARD, spec.ref.id)]
    assert spec.depends_on == ()
    claimed = items["Fix stale worker heartbeat"]
    assert (claimed.status, claimed.raw_status) == (Status.IN_PROGRESS, "running")
    assert claimed.owner == Owner(OwnerKind.AGENT, "coo")
    assert claimed.started_at is not None
    chinese = items["[BIZ-31] 写接口文档"]
    assert (chinese.mentions, chinese.priority) == (("BIZ-31",), Priority.URGENT)
    assert chinese.url == "https://multica.test/issue/BIZ-31"
    assert items["Waiting for the vendor"].status is Status.BLOCKED
    waiting = items["Publish the release notes"]
    assert (waiting.status, waiting.not_before) == (Status.TODO, NOW + timedelta(hours=1))
    assert waiting.owner.kind is OwnerKind.NOBODY
    assert (items["Old experiment"].archived, items["Old experiment"].status) == (True, Status.BACKLOG)
    assert (items["Already shipped"].status, items["Already shipped"].archived) == (Status.DONE, False)


def test_M3_items_and_evidence_are_equal_over_all_transports(house: House, tmp_path: Path) -> None:
    readings = []
    for transport in TRANSPORTS:
        house.directory = tmp_path / transport
        house.directory.mkdir()
        readings.append(house.read(filled_board(), transport))
    assert all(reading.items == readings[0].items for reading in readings)
    assert all(reading.evidence == readings[0].evidence for reading in readings)
    told = [finding.code for finding in readings[TRANSPORTS.index("offline")].report.findings]
    assert told == ["read-offline", "unknown-sessions"]
    assert readings[0].report.findings == ()


def test_T1_the_story_of_a_claimed_card_is_told_by_kind(house: House) -> None:
    reading = house.read(filled_board(), "gateway")
    claimed = by_title(reading)["Fix stale worker heartbeat"]
    kinds = [evidence.kind for evidence in reading.evidence if evidence.ref == claimed.ref]
    assert kinds.count(EvidenceKind.MOVED) == 2, "made, and moved to running by the claim"
    assert kinds.count(EvidenceKind.CLAIMED) == 1
    assert kinds.count(EvidenceKind.COMMENT) == 2, "the comment and its event; the note is none"
    assert kinds.count(EvidenceKind.CLAIM_HEARTBEAT) == 3, "the heartbeat, its event and its note"


def busy_day(sessions: FakeSessions) -> None:
    """A worker in a run, one who was spoken to a while ago, a job, and a session of nobody on the roster."""
    sessions.put("agent:coo:hb-1", active=True, spoken_at=NOW_MS - HOUR // 2)
    sessions.put("agent:architect:main", spoken_at=NOW_MS - HOUR // 4)
    sessions.put("agent:writer:cron:job-1:run:2", active=True, spoken_at=NOW_MS - HOUR // 60)
    sessions.put("agent:stranger:main", active=True)


@pytest.mark.parametrize("transport", ["gateway", "cli"])
def test_T7_who_has_a_run_is_told_with_the_cards(house: House, transport: str) -> None:
    house.prepare = busy_day
    reading = house.read(filled_board(), transport)
    assert reading.report.findings == ()
    assert reading.presence is not None
    told = {presence.id: (presence.agent, presence.active, presence.at) for presence in reading.presence}
    assert told == {
        "agent:architect:main": ("architect", False, NOW - timedelta(minutes=15)),
        "agent:coo:hb-1": ("coo", True, NOW - timedelta(minutes=30)),
        "agent:stranger:main": ("stranger", True, None),
        "agent:writer:cron:job-1:run:2": ("writer", True, None),
    }


def conversations(sessions: FakeSessions) -> None:
    """A person with coo, a program with architect, both with writer, and heartbeat's own dispatch."""
    minute = HOUR // 60
    sessions.talk("agent:coo:main", NOW_MS - 2 * minute)
    sessions.turn("agent:architect:main", NOW_MS - minute)
    sessions.talk("agent:writer:feishu:direct:ou_1", NOW_MS - 5 * minute, senderId="ou_1", senderIsOwner=True)
    sessions.turn("agent:writer:feishu:direct:ou_1", NOW_MS - 4 * minute)
    sessions.talk("agent:secretary:explicit:hb-5b40becb", NOW_MS - minute)
    sessions.talk("agent:coo:long-ago", NOW_MS - HOUR)


@pytest.mark.parametrize("transport", ["gateway", "cli"])
def test_B4_when_a_person_last_spoke_is_told_with_the_cards(house: House, transport: str) -> None:
    house.prepare = conversations
    reading = house.read(FakeBoard(SteppingClock(NOW_MS)), transport)
    assert reading.report.findings == ()
    assert reading.presence is not None
    assert {each.id: each.talked_at for each in reading.presence if each.talked_at} == {
        "agent:coo:main": NOW - timedelta(minutes=2),
        "agent:writer:feishu:direct:ou_1": NOW - timedelta(minutes=5),
    }
    assert {each.agent for each in reading.presence} == {"coo", "architect", "writer", "secretary"}


@pytest.mark.parametrize("transport", ["gateway", "cli"])
def test_B4_who_talks_with_a_few_agents_can_be_asked_anew_without_reading_the_cards(
    house: House, transport: str
) -> None:
    house.prepare = conversations
    source = house.source(FakeBoard(SteppingClock(NOW_MS)), transport)
    assert isinstance(source, Hearing)
    said = source.hear(["coo", "writer"], Deadline.after(60), NOW)
    assert {(each.agent, each.id, each.talked_at) for each in said if each.talked_at} == {
        ("coo", "agent:coo:main", NOW - timedelta(minutes=2)),
        ("writer", "agent:writer:feishu:direct:ou_1", NOW - timedelta(minutes=5)),
    }
    assert [each.agent for each in source.hear(["architect"], Deadline.after(60), NOW)] == ["architect"]


@pytest.mark.parametrize("unheard", ["coo", "writer"])
def test_B4_whom_nobody_could_hear_counts_as_nobodys_partner_and_is_named(
    house: House, monkeypatch: pytest.MonkeyPatch, unheard: str
) -> None:
    history = FakeSessions.history

    def broken(sessions: FakeSessions, parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters["sessionKey"].startswith(f"agent:{unheard}:"):
            raise ValueError("no answer for you")
        return history(sessions, parameters)

    monkeypatch.setattr(FakeSessions, "history", broken)
    house.prepare = conversations
    source = house.source(FakeBoard(SteppingClock(NOW_MS)), "gateway")
    assert isinstance(source, Hearing)
    with pytest.raises(PartlyHeardError, match="no answer for you") as raised:
        source.hear(["coo", "writer"], Deadline.after(60), NOW)
    assert raised.value.unheard == {unheard}
    assert {each.agent for each in raised.value.heard if each.talked_at} == {"coo", "writer"} - {unheard}


@pytest.mark.parametrize("agents", [("coo", "writer"), ("writer", "coo")])
def test_B4_whoever_is_named_first_is_heard_first(house: House, agents: tuple[str, str]) -> None:
    with FakeGateway(FakeBoard(SteppingClock(NOW_MS))) as gateway:
        conversations(gateway.sessions)
        environment = {"HOME": str(house.directory), **gateway.environment()}
        source = build({"transport": "gateway"}, team(), environment)
        assert isinstance(source, Hearing)
        source.hear(agents, Deadline.after(60), NOW)
        keys = [str(call.params["sessionKey"]) for call in gateway.calls if call.method == "chat.history"]
        assert [key.split(":")[1] for key in keys] == list(agents)


def test_B4_two_hundred_agents_are_asked_about_at_once(house: House) -> None:
    with FakeGateway(FakeBoard(SteppingClock(NOW_MS))) as gateway:
        conversations(gateway.sessions)
        environment = {"HOME": str(house.directory), **gateway.environment()}
        source = build({"transport": "gateway"}, team(), environment)
        assert isinstance(source, Hearing)
        source.hear([f"agent-{number}" for number in range(200)] + ["coo"], Deadline.after(60), NOW)
        assert [call.method for call in gateway.calls] == ["sessions.list", "chat.history"]


def test_B4_where_no_gateway_is_there_who_talks_is_not_known(house: House) -> None:
    source = build({"transport": "auto"}, team(), {"HOME": str(house.directory), "PATH": ""})
    assert isinstance(source, Hearing)
    with pytest.raises(TransportError, match="there is no way to the Gateway"):
        source.hear(["coo"], Deadline.after(60), NOW)


def test_B4_where_nobody_spoke_lately_nothing_is_asked_for_any_agent(house: House) -> None:
    board = FakeBoard(SteppingClock(NOW_MS))
    with FakeGateway(board) as gateway:
        busy_day(gateway.sessions)
        gateway.sessions.talk("agent:coo:main", NOW_MS - HOUR // 4)
        environment = {"HOME": str(house.directory), **gateway.environment()}
        build({"transport": "gateway"}, team(), environment).read(Deadline.after(60), NOW)
        assert [call.method for call in gateway.calls] == ["workboard.cards.list", "sessions.list", "sessions.list"]


def test_B4_how_long_a_talk_matters_is_the_rosters_word(house: House) -> None:
    board = FakeBoard(SteppingClock(NOW_MS))
    patient = replace(team(), extra={"quiet_after_talk": timedelta(hours=2)})
    with FakeGateway(board) as gateway:
        gateway.sessions.talk("agent:coo:main", NOW_MS - HOUR)
        environment = {"HOME": str(house.directory), **gateway.environment()}
        reading = build({"transport": "gateway"}, patient, environment).read(Deadline.after(60), NOW)
        assert [each.talked_at for each in reading.presence or ()] == [NOW - timedelta(hours=1)]


@pytest.mark.parametrize(("transport", "codes"), [("offline", ["read-offline", "unknown-sessions"]), ("file", [])])
def test_T7_without_a_gateway_nobody_is_known_to_be_at_rest(house: House, transport: str, codes: list[str]) -> None:
    house.prepare = busy_day
    reading = house.read(filled_board(), transport)
    assert reading.presence is None
    assert [finding.code for finding in reading.report.findings] == codes


def test_T5_a_reclaimed_and_claimed_again_card_starts_a_new_clock(house: House) -> None:
    board = FakeBoard(clock := SteppingClock(NOW_MS - 3 * HOUR))
    card = board.create("long story", agentId="coo")
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo"})
    board.call("cards.reclaim", {"id": card["id"], "reason": "silent", "status": "todo"})
    clock.advance(2 * HOUR)
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo", "ttlSeconds": 7200})
    item = by_title(house.read(board, "gateway"))["long story"]
    assert item.started_at is not None
    assert NOW - item.started_at < timedelta(hours=1, minutes=1)


def test_T8_what_openclaws_dispatch_blocked_is_a_finding(house: House) -> None:
    board = FakeBoard(clock := SteppingClock(NOW_MS - 3 * HOUR))
    card = board.create("gone quiet", agentId="coo")
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo", "ttlSeconds": 60})
    clock.advance(HOUR)
    assert [blocked["id"] for blocked in board.call("cards.dispatch")["blocked"]] == [card["id"]]
    reading = house.read(board, "gateway")
    assert [finding.code for finding in reading.report.findings] == ["claim-expired-blocked"]
    assert by_title(reading)["gone quiet"].reclaimed
    assert EvidenceKind.SWEEP in {evidence.kind for evidence in reading.evidence}


def test_S6a_a_claim_that_ran_out_gives_the_card_back_to_its_agent(house: House) -> None:
    board = FakeBoard(clock := SteppingClock(NOW_MS - 3 * HOUR))
    card = board.create("borrowed", agentId="architect", status="review")
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo", "ttlSeconds": 3600})
    clock.advance(HOUR)
    assert by_title(house.read(board, "gateway"))["borrowed"].owner == Owner(OwnerKind.AGENT, "architect")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_five_hundred_cards_come_in_one_call(house: House, transport: str) -> None:
    board = FakeBoard(SteppingClock(NOW_MS - 2 * HOUR))
    for number in range(500):
        board.create(f"卡片 {number}", agentId="coo", notes="x" * 500)
    assert len(by_title(house.read(board, transport))) == 500


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_only_the_board_that_the_roster_names_is_read(house: House, transport: str) -> None:
    assert set(by_title(house.read(filled_board(), transport, board="Release"))) == {"Publish the release notes"}


def test_S3_a_malformed_card_is_rejected_by_name_and_the_read_is_complete_but_for_it(house: House) -> None:
    board = filled_board()
    board.put({**board.create("broken"), "metadata": {"links": "all", "automation": {}}, "id": "broken-1"})
    reading = house.read(board, "file")
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.report.unknown_ids == ("broken-1",)
    assert reading.report.items == len(reading.items) + 1


def test_S3_a_card_without_an_id_makes_the_read_partial(house: House, tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps([{"title": "nameless"}, filled_board().create("fine")]))
    source = build({"transport": "file", "path": path}, team(), {"HOME": str(tmp_path)})
    reading = source.read(Deadline.after(10), NOW)
    assert (reading.report.status, reading.report.kind) == (ReadStatus.PARTIAL, FailureKind.INCOMPLETE)
    assert [item.title for item in reading.items] == ["fine"]


def test_the_known_board_of_the_real_gateway_can_be_filled_into_the_fake_and_is_read_whole(house: House) -> None:
    board = FakeBoard(SteppingClock(NOW_MS - HOUR))
    known = openclaw_board.fill(
        lambda method, params: board.call(method.removeprefix("workboard."), dict(params)), NOW_MS + HOUR
    )
    assert frozenset(by_title(house.read(board, "gateway"))) == known.titles


def test_S1a_auto_takes_the_gateway_then_the_program_then_the_file(tmp_path: Path) -> None:
    board = filled_board()
    program = FakeOpenClaw(tmp_path, board)
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(board.call("cards.list")))
    with FakeGateway(board) as gateway:
        environment = {**program.environment(tmp_path), **gateway.environment()}
        source = build({"transport": "auto", "path": path}, team(), environment)
        assert source.read(Deadline.after(30), NOW).report.transport == "gateway"
        gateway.stop()
        second = source.read(Deadline.after(30), NOW).report
        assert (second.transport, second.status) == ("cli", ReadStatus.COMPLETE)
        assert "gateway" in second.message
        program.remove()
        third = source.read(Deadline.after(30), NOW).report
        assert (third.transport, third.status) == ("file", ReadStatus.COMPLETE)


def test_S1a_auto_where_nothing_of_openclaw_is_found_is_disabled_and_says_what_was_sought(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    report = build({"transport": "auto"}, team(), environment).read(Deadline.after(5), NOW).report
    assert report.status is ReadStatus.DISABLED
    assert "OPENCLAW_GATEWAY_URL" in report.message
    assert "openclaw" in report.message
    required = build({"required": True}, team(), environment).read(Deadline.after(5), NOW).report
    assert required.status is ReadStatus.FAILED


def test_S5_the_identity_changes_with_what_would_be_read_and_holds_no_secret(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "OPENCLAW_GATEWAY_TOKEN": "hunter2"}
    variants = [
        build({}, team(), environment),
        build({"board": "ops"}, team(), environment),
        build({"url": "ws://h.test:1"}, team(), environment),
        build({"transport": "cli"}, team(), environment),
        build({"path": tmp_path / "cards.json"}, team(), environment),
        build({}, team(), {**environment, "OPENCLAW_GATEWAY_PORT": "5"}),
        build({}, team(), {**environment, "OPENCLAW_GATEWAY_URL": "ws://u:hunter2@h.test/?t=hunter2"}),
        build({}, team(), {**environment, "OPENCLAW_STATE_DIR": "/elsewhere"}),
    ]
    assert len({source.identity for source in variants}) == len(variants)
    assert all("hunter2" not in source.identity + repr(source) for source in variants)


def test_S5_only_a_saved_file_is_read_anew_by_every_beat(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    assert not build({"transport": "file", "path": path}, team(), {}).shareable
    assert build({"transport": "auto", "path": path}, team(), {}).shareable


@pytest.mark.parametrize("settings", [{"transport": "file"}, {"transport": "carrier pigeon"}])
def test_a_transport_that_cannot_be_made_is_the_rosters_mistake(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="transport"):
        build(settings, team(), {})


def test_B8_hostile_titles_do_not_change_what_is_decided(house: House) -> None:
    board = FakeBoard(SteppingClock(NOW_MS - HOUR))
    board.create("plain", agentId="coo", priority="high")
    plain = by_title(house.read(board, "file"))["plain"]
    other = FakeBoard(SteppingClock(NOW_MS - HOUR))
    other.create(openclaw_board.HOSTILE, agentId="coo", priority="high")
    hostile = by_title(house.read(other, "file"))[openclaw_board.HOSTILE]
    assert replace(hostile, title="") == replace(plain, title="")
