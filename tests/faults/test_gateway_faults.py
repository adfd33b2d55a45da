"""A Gateway that refuses, starts, stops, lies or says nothing (contract 2.1; rules S1, S4, R4)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.openclaw.discovery import GatewayAddress
from heartbeat.systems.openclaw.gateway import ADMIN, READ, WRITE, GatewayClient, GatewayError, GatewayTransport
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import MAX_PAYLOAD, VERSION, FakeGateway, Trouble

START = 1795226214382


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    board = FakeBoard(SteppingClock(START))
    board.create("写接口文档", agentId="coo")
    board.create("Second", agentId="architect", boardId="ops")
    with FakeGateway(board) as running:
        yield running


def address(gateway: FakeGateway, **changes: Any) -> GatewayAddress:
    fields = {"url": gateway.url, "token": gateway.token, "url_origin": "PORT", "token_origin": "MY_TOKEN"}
    return GatewayAddress(**{**fields, **changes})


def transport(gateway: FakeGateway, board: str | None = None, **environment: str) -> GatewayTransport:
    return GatewayTransport({**gateway.environment(), "HOME": "/nowhere", **environment}, board)


def fails(gateway: FakeGateway, seconds: float = 10.0, **environment: str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        transport(gateway, **environment).fetch(Deadline.after(seconds))
    assert gateway.token not in f"{caught.value} {caught.value.advice} {caught.value!r}"
    return caught.value


def test_cards_are_read_among_interleaved_events_with_the_scope_to_read_only(gateway: FakeGateway) -> None:
    fetched = transport(gateway).fetch(Deadline.after(10))
    assert [card["title"] for card in fetched.records] == ["写接口文档", "Second"]
    assert (fetched.problem, fetched.findings) == ("", ())
    assert {call.scopes for call in gateway.calls} == {frozenset({READ})}
    assert [call.method for call in gateway.calls] == ["workboard.cards.list", "sessions.list", "sessions.list"]
    assert len(gateway.greetings) == 1, "one connection for all"
    client = gateway.greetings[0]["client"]
    assert (client["id"], client["mode"]) == ("gateway-client", "backend")
    assert gateway.greetings[0]["role"] == "operator"


def test_one_board_is_read_where_one_is_named(gateway: FakeGateway) -> None:
    assert [card["title"] for card in transport(gateway, "OPS").fetch(Deadline.after(10)).records] == ["Second"]
    assert gateway.calls[0].params == {"boardId": "OPS"}


def test_the_version_comes_with_the_handshake(gateway: FakeGateway) -> None:
    assert transport(gateway).version(Deadline.after(10)) == VERSION
    assert gateway.calls == []


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.NOT_JSON, FailureKind.BAD_OUTPUT),
        (Trouble.NOT_UTF8, FailureKind.BAD_OUTPUT),
        (Trouble.BINARY, FailureKind.BAD_OUTPUT),
        (Trouble.EMPTY, FailureKind.BAD_OUTPUT),
        (Trouble.CUT, FailureKind.BAD_OUTPUT),
        (Trouble.WRONG_SHAPE, FailureKind.BAD_OUTPUT),
        (Trouble.NO_CARDS, FailureKind.BAD_OUTPUT),
        (Trouble.DROPPED, FailureKind.UNREACHABLE),
        (Trouble.WEB_PAGE, FailureKind.SERVER_ERROR),
        (Trouble.OTHER_PROTOCOL, FailureKind.REFUSED),
        (Trouble.TELLTALE, FailureKind.REFUSED),
    ],
)
def test_S1_every_trouble_has_its_kind_and_says_where(
    gateway: FakeGateway, trouble: Trouble, kind: FailureKind
) -> None:
    gateway.trouble = trouble
    error = fails(gateway)
    assert error.kind is kind, str(error)
    assert str(gateway.port) in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("trouble", [Trouble.DEAF, Trouble.SILENT])
def test_S4_a_gateway_that_never_answers_is_left_at_the_deadline(gateway: FakeGateway, trouble: Trouble) -> None:
    gateway.trouble = trouble
    began = time.monotonic()
    assert fails(gateway, seconds=0.5).kind is FailureKind.TIMEOUT
    assert time.monotonic() - began < 5


def test_S4_a_port_that_takes_connections_and_says_nothing_is_left_at_the_deadline() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        environment = {"OPENCLAW_GATEWAY_PORT": str(silent.getsockname()[1]), "OPENCLAW_GATEWAY_TOKEN": "t"}
        with pytest.raises(TransportError) as caught:
            GatewayTransport(environment).fetch(Deadline.after(0.5))
        assert caught.value.kind is FailureKind.TIMEOUT


def answering(content: bytes) -> tuple[socket.socket, threading.Thread]:
    """A server that answers one connection with these bytes and closes it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(content)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", FailureKind.BAD_OUTPUT),
        (b"SSH-2.0-OpenSSH_9.6\r\n", FailureKind.BAD_OUTPUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", FailureKind.BAD_OUTPUT),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", FailureKind.AUTH),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", FailureKind.SERVER_ERROR),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", FailureKind.BAD_OUTPUT),
    ],
)
def test_what_is_no_gateway_is_told_as_that_and_no_redirect_is_followed(content: bytes, kind: FailureKind) -> None:
    server, thread = answering(content)
    with closing(server):
        environment = {"OPENCLAW_GATEWAY_PORT": str(server.getsockname()[1]), "OPENCLAW_GATEWAY_TOKEN": "t"}
        with pytest.raises(TransportError) as caught:
            GatewayTransport(environment).fetch(Deadline.after(10))
        thread.join(timeout=5)
    assert caught.value.kind is kind, str(caught.value)


def test_a_stopped_gateway_is_unreachable_at_once_and_the_advice_names_the_setting(gateway: FakeGateway) -> None:
    gateway.stop()
    began = time.monotonic()
    error = fails(gateway)
    assert error.kind is FailureKind.UNREACHABLE
    assert "OPENCLAW_GATEWAY_PORT" in error.advice
    assert time.monotonic() - began < 5


def test_a_wrong_token_and_no_token_are_the_operators_to_mend_and_are_not_tried_again(gateway: FakeGateway) -> None:
    wrong = fails(gateway, OPENCLAW_GATEWAY_TOKEN="wrong-token")
    assert wrong.kind is FailureKind.AUTH
    assert "OPENCLAW_GATEWAY_TOKEN" in wrong.advice
    assert "wrong-token" not in f"{wrong} {wrong.advice}"
    none = fails(gateway, OPENCLAW_GATEWAY_TOKEN="")
    assert none.kind is FailureKind.AUTH
    assert "device identity required" in str(none)
    assert len(gateway.greetings) == 2


def test_another_protocol_is_named_with_both_versions_and_not_tried_again(gateway: FakeGateway) -> None:
    gateway.trouble = Trouble.OTHER_PROTOCOL
    error = fails(gateway)
    assert "protocol mismatch" in str(error)
    assert "4" in error.advice
    assert "5" in error.advice
    assert len(gateway.greetings) == 1


@pytest.mark.parametrize("trouble", [Trouble.STARTING, Trouble.RESTARTING])
def test_a_gateway_that_starts_or_restarts_is_asked_again_within_the_deadline(
    gateway: FakeGateway, trouble: Trouble
) -> None:
    gateway.trouble, gateway.starting_times = trouble, 1
    assert len(transport(gateway).fetch(Deadline.after(10)).records) == 2
    assert len(gateway.greetings) == 2


@pytest.mark.parametrize("trouble", [Trouble.STARTING, Trouble.RESTARTING])
def test_a_gateway_that_starts_for_ever_is_unreachable_before_the_deadline(
    gateway: FakeGateway, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []  # they take no time, and count

    def monotonic() -> float:
        return time.monotonic() + sum(pauses)

    monkeypatch.setattr("heartbeat.systems.openclaw.gateway.time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr("heartbeat.deadline.time", SimpleNamespace(monotonic=monotonic))
    gateway.trouble = trouble
    error = fails(gateway, seconds=9.0)
    assert error.kind is FailureKind.UNREACHABLE
    assert "start" in str(error)
    assert 0 < sum(pauses) < 9.0
    assert len(gateway.greetings) == len(pauses) + 1 < 40


def test_a_disabled_plugin_is_told_with_the_command_that_enables_it(gateway: FakeGateway) -> None:
    gateway.plugin_enabled = False
    error = fails(gateway)
    assert error.kind is FailureKind.REFUSED
    assert "openclaw plugins enable workboard" in error.advice


def test_S3_a_list_shorter_than_its_boards_count_is_read_again_once_and_then_partial(gateway: FakeGateway) -> None:
    gateway.trouble = Trouble.SHORT
    fetched = transport(gateway).fetch(Deadline.after(10))
    assert len(fetched.records) == 1
    assert "1 cards of the 2" in fetched.problem
    assert [call.method for call in gateway.calls].count("workboard.cards.list") == 2


def test_T7_sessions_that_cannot_be_read_cost_nothing_but_themselves(gateway: FakeGateway) -> None:
    gateway.sessions_refused = "invalid sessions.list params: at root: unexpected property 'activeOnly'"
    fetched = transport(gateway).fetch(Deadline.after(10))
    assert len(fetched.records) == 2
    assert fetched.extra == {}
    (finding,) = fetched.findings
    assert finding.code == "unknown-sessions"
    assert "unexpected property 'activeOnly'" in finding.message


def test_S4_an_answer_over_the_cap_is_refused_and_not_kept(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heartbeat.systems.openclaw.gateway.MAX_FRAME", MAX_PAYLOAD)
    gateway.trouble = Trouble.HUGE
    error = fails(gateway)
    assert error.kind is FailureKind.TOO_LARGE
    assert "26,214,400 bytes" in str(error)


def test_a_large_board_just_under_the_limit_of_a_frame_is_read(gateway: FakeGateway) -> None:
    listed = len(repr(gateway.board.call("cards.list"))) + 2000
    gateway.board.put({**gateway.board.create("large"), "id": "large", "notes": "x" * (MAX_PAYLOAD - listed)})
    assert len(transport(gateway).fetch(Deadline.after(30)).records) == 4


def test_no_time_left_means_no_connection(gateway: FakeGateway) -> None:
    assert fails(gateway, seconds=0.0).kind is FailureKind.TIMEOUT
    assert gateway.greetings == []


def test_R4_a_proxy_of_the_environment_is_not_used(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    assert len(transport(gateway).fetch(Deadline.after(10)).records) == 2


def test_one_connection_serves_many_calls_and_scopes_are_a_parameter(gateway: FakeGateway) -> None:
    deadline = Deadline.after(10)
    with GatewayClient(address(gateway), (READ, WRITE)) as client:
        card = client.call("workboard.cards.create", {"title": "Third", "agentId": "coo"}, deadline)["card"]
        client.call("workboard.cards.comment", {"id": card["id"], "body": "hello"}, deadline)
        agents = client.call("agents.list", {}, deadline)
    assert client.granted == (READ, WRITE)
    assert [agent["id"] for agent in agents["agents"]] == ["main", "coo", "architect"]
    assert gateway.writes() == ["workboard.cards.create", "workboard.cards.comment"]
    assert len(gateway.greetings) == 1


def test_a_connection_outlives_the_deadline_of_the_call_that_opened_it(gateway: FakeGateway) -> None:
    with GatewayClient(address(gateway)) as client:
        client.connect(Deadline.after(5))
        assert client._connection is not None
        assert client._connection.socket.gettimeout() is None


def test_a_refusal_of_the_board_keeps_its_words_code_and_details(gateway: FakeGateway) -> None:
    deadline = Deadline.after(10)
    with GatewayClient(address(gateway), (WRITE,)) as client:
        card = client.call("workboard.cards.create", {"title": "Third"}, deadline)["card"]
        stale = {"id": card["id"], "patch": {"priority": "low"}, "expectedUpdatedAt": 1}
        with pytest.raises(GatewayError) as conflict:
            client.call("workboard.cards.update", stale, deadline)
        with pytest.raises(GatewayError, match="card not found: nope") as missing:
            client.call("workboard.cards.move", {"id": "nope", "status": "todo"}, deadline)
        assert client.call("health", {}, deadline)["ok"] is True
    assert conflict.value.code == "workboard_conflict"
    assert conflict.value.details["card"]["id"] == card["id"]
    assert (missing.value.code, missing.value.kind) == ("workboard_error", FailureKind.REFUSED)


def test_a_missing_scope_is_named(gateway: FakeGateway) -> None:
    with GatewayClient(address(gateway)) as client, pytest.raises(GatewayError) as caught:
        client.call("workboard.cards.create", {"title": "x"}, Deadline.after(10))
    assert caught.value.kind is FailureKind.AUTH
    assert WRITE in caught.value.advice
    assert gateway.writes() == []


def test_core_methods_refuse_parameters_that_they_do_not_know(gateway: FakeGateway) -> None:
    with GatewayClient(address(gateway), (ADMIN,)) as client:
        with pytest.raises(GatewayError, match="unexpected property 'x'"):
            client.call("agents.list", {"x": 1}, Deadline.after(10))
        with pytest.raises(GatewayError, match=r"unknown method: workboard\.nope"):
            client.call("workboard.nope", {}, Deadline.after(10))


def test_after_a_timeout_the_next_call_opens_a_new_connection(gateway: FakeGateway) -> None:
    with GatewayClient(address(gateway)) as client:
        gateway.trouble = Trouble.SILENT
        with pytest.raises(TransportError) as caught:
            client.call("health", {}, Deadline.after(0.3))
        assert caught.value.kind is FailureKind.TIMEOUT
        gateway.trouble = None
        assert client.call("health", {}, Deadline.after(10))["ok"] is True
    assert len(gateway.greetings) == 2


def test_R4_neither_the_transport_nor_the_address_shows_the_token(gateway: FakeGateway) -> None:
    assert gateway.token not in repr(transport(gateway))
    assert gateway.token not in repr(address(gateway))


def test_a_setting_that_cannot_be_used_is_a_failure_and_no_absence(tmp_path: Path) -> None:
    broken = GatewayTransport({"HOME": str(tmp_path), "OPENCLAW_GATEWAY_PORT": "x"})
    assert broken.absent() is None
    with pytest.raises(TransportError, match="OPENCLAW_GATEWAY_PORT"):
        broken.fetch(Deadline.after(5))
    assert "no Gateway" in (GatewayTransport({"HOME": str(tmp_path)}).absent() or "")
