"""A Gateway on an ephemeral loopback port: the real handshake, scopes, events and refusals around a `FakeBoard`
(contract 2.1), and switches for everything that can go wrong with it."""

from __future__ import annotations

import http
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Self

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.automation_rules import Refused
from tests.support.fake_automations import FakeAutomations
from tests.support.fake_board import READS, BoardError, FakeBoard
from tests.support.fake_turns import SCOPES as TURN_SCOPES
from tests.support.fake_turns import WRITES as TURN_WRITES
from tests.support.fake_turns import FakeTurns
from tests.support.openclaw_sessions import FakeSessions

VERSION = "2026.9.6"
PROTOCOL = 4
MAX_PAYLOAD = 26_214_400
_CLIENT_IDS = frozenset({"cli", "gateway-client", "webchat", "openclaw-tui", "openclaw-probe", "test"})
_CLIENT_MODES = frozenset({"webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"})
_CORE_READS = ("agents.list", "sessions.list", "chat.history")
_CONFLICT_ADVICE = "unauthorized: gateway token mismatch (provide gateway auth token)"


class Trouble(StrEnum):
    """What goes wrong; each holds until `trouble` is set to None."""

    STARTING = "starting"
    """UNAVAILABLE with retryAfterMs and close 1013, as many times as `starting_times` says."""
    RESTARTING = "restarting"
    """A shutdown event and close 1012 instead of an answer, as many times as `starting_times` says."""
    DEAF = "deaf"
    """The TCP connection is taken and nothing is ever answered."""
    SILENT = "silent"
    """The handshake succeeds; requests are never answered, events go on."""
    WEB_PAGE = "web page"
    """HTTP 502 with HTML instead of an upgrade."""
    NOT_JSON = "not json"
    NOT_UTF8 = "not utf-8"
    BINARY = "binary"
    EMPTY = "empty"
    CUT = "cut"
    """The answer is JSON that lacks its last character."""
    WRONG_SHAPE = "wrong shape"
    NO_CARDS = "no cards"
    HUGE = "huge"
    DROPPED = "dropped"
    """The connection is closed without a reason instead of an answer."""
    OTHER_PROTOCOL = "other protocol"
    TELLTALE = "telltale"
    """The refusal repeats the token."""
    SHORT = "short"
    """The list lacks its last card while the boards still count it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request after the handshake, or one that the command line sent."""

    method: str
    params: Any
    scopes: frozenset[str]
    ok: bool


@dataclass
class FakeGateway:
    """A context manager; `trouble` may be changed at any time."""

    board: FakeBoard
    token: str = "gateway-secret-0123456789"
    trouble: Trouble | None = None
    starting_times: int = 1_000_000
    plugin_enabled: bool = True
    agents: tuple[str, ...] = ("main", "coo", "architect")
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What `agents.list` tells of an agent besides its id: name, identity, workspace."""
    version: str = VERSION
    calls: list[Call] = field(default_factory=list)
    greetings: list[dict[str, Any]] = field(default_factory=list)
    losing: int = 0
    """That many writes from now the connection is lost after the write and before its answer; 0 for never."""
    meanwhile: Callable[[], None] | None = None
    """What somebody else does just before the next write is carried out."""
    after_read: Callable[[], None] | None = None
    """What happens once the next read has been answered."""
    grants: frozenset[str] | None = None
    """The most that anybody is granted; None for whatever is asked for."""
    sessions_refused: str = ""
    """Where it is set, `sessions.list` is refused with this message."""

    def __post_init__(self) -> None:
        self.sessions = FakeSessions(self.board.present)
        self.automations = FakeAutomations(self.board.present, lambda: self.agents)
        self.turns = FakeTurns(self.board.present, lambda: self.agents, self.sessions)
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._stopped = threading.Event()
        self._sequence = 0
        self._server: Server = serve(
            self._serve, "127.0.0.1", 0, process_request=self._before_upgrade, max_size=MAX_PAYLOAD, ping_interval=None
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-gateway")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on the port refuses connections."""
        self._stopped.set()
        self._server.shutdown()
        self._thread.join(timeout=10)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a client needs to find this Gateway and nothing else."""
        return {"OPENCLAW_GATEWAY_PORT": str(self.port), "OPENCLAW_GATEWAY_TOKEN": self.token}

    def writes(self) -> list[str]:
        """The calls that succeeded and were no reads."""
        return [call.method for call in self.calls if call.ok and self._writes(call.method)]

    def answer(
        self,
        method: str,
        params: Any,
        scopes: frozenset[str] = frozenset({"operator.admin"}),
        connection: object = None,
    ) -> tuple[dict[str, Any] | None, Any, bool]:
        """Carries out one request: the error or None, the payload, and whether the answer is to be lost."""
        writes = self._writes(method)
        with self._lock:
            if writes and self.meanwhile is not None:
                happens, self.meanwhile = self.meanwhile, None
                happens()
            error, payload = self._result(method, params, scopes, connection)
            self.calls.append(Call(method, params, scopes, error is None))
            counts = writes and error is None and self.losing > 0
            self.losing -= counts
            return error, payload, counts and self.losing == 0

    # HTTP

    def _before_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.trouble is Trouble.DEAF:
            self._stopped.wait(60)
        if self.trouble is Trouble.WEB_PAGE:
            headers = Headers({"Content-Type": "text/html", "Content-Length": "38"})
            return Response(502, "Bad Gateway", headers, b"<!doctype html><html>502 Bad Gateway\n\n")
        if request.path in ("/health", "/healthz"):
            return connection.respond(http.HTTPStatus.OK, '{"ok":true,"status":"live"}')
        if request.path == "/readyz":
            starting = self.trouble is Trouble.STARTING
            status = http.HTTPStatus.SERVICE_UNAVAILABLE if starting else http.HTTPStatus.OK
            failing = ["startup-sidecars"] if starting else []
            return connection.respond(status, json.dumps({"ready": not starting, "failing": failing}))
        return None

    # Handshake

    def _serve(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            payload = {"nonce": "3cbfdc77", "ts": 1795226098032, "capabilities": ["model-catalog-snapshot"]}
            _send(connection, {"type": "event", "event": "connect.challenge", "payload": payload})
            text = connection.recv()
            try:
                frame = json.loads(text)
            except ValueError:
                connection.close(1000)
                return
            scopes = self._greet(connection, frame)
            if scopes is not None:
                self._event(connection, "health", {"ok": True})
                for message in connection:
                    self._answer(connection, message, scopes)

    def _greet(self, connection: ServerConnection, frame: dict[str, Any]) -> frozenset[str] | None:
        """The granted scopes, or None where the connection was refused and closed."""
        params = frame.get("params", {})
        with self._lock:
            self.greetings.append(params)
        refused = self._refuse_greeting(frame, params)
        if refused is not None:
            error, code = refused
            _send(connection, {"type": "res", "id": frame.get("id"), "ok": False, "error": error})
            reason = "gateway starting" if error["code"] == "UNAVAILABLE" else error["message"]
            connection.close(code, reason)
            return None
        granted = [scope for scope in params.get("scopes", ()) if self.grants is None or scope in self.grants]
        payload = {
            "type": "hello-ok",
            "protocol": PROTOCOL,
            "server": {"version": self.version, "buildId": f"{self.version}-release", "connId": "524d0593"},
            "features": {"methods": ["health", "agents.list", "workboard.cards.list"], "events": ["health", "tick"]},
            "snapshot": {},
            "auth": {"method": "token", "role": "operator", "scopes": granted},
            "policy": {"maxPayload": MAX_PAYLOAD, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000},
        }
        _send(connection, {"type": "res", "id": frame["id"], "ok": True, "payload": payload})
        return frozenset(granted)

    def _refuse_greeting(self, frame: dict[str, Any], params: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
        if self._strikes(Trouble.STARTING):
            return _starting(), 1013
        if frame.get("method") != "connect":
            return _invalid("invalid handshake: first request must be connect"), 1008
        client = params.get("client")
        if not isinstance(client, dict):
            return _invalid("invalid connect params: must have required property 'client'"), 1008
        for name, allowed in (("id", _CLIENT_IDS), ("mode", _CLIENT_MODES)):
            if client.get(name) not in allowed:
                told = f"invalid connect params: at /client/{name}: must be equal to one of the allowed values"
                return _invalid(told), 1008
        expected = 5 if self.trouble is Trouble.OTHER_PROTOCOL else PROTOCOL
        lowest, highest = params.get("minProtocol", 0), params.get("maxProtocol", 0)
        if not lowest <= expected <= highest:
            details = {"code": "PROTOCOL_MISMATCH", "clientMinProtocol": lowest, "clientMaxProtocol": highest}
            details |= {"expectedProtocol": expected, "minimumProbeProtocol": 3}
            return _invalid("protocol mismatch", details), 1002
        token = params.get("auth", {}).get("token")
        if token is None:
            details = {"code": "DEVICE_IDENTITY_REQUIRED"}
            return {"code": "NOT_PAIRED", "message": "device identity required", "details": details}, 1008
        if token != self.token:
            details = {
                "code": "AUTH_TOKEN_MISMATCH",
                "authReason": "token_mismatch",
                "canRetryWithDeviceToken": False,
                "recommendedNextStep": "update_auth_credentials",
            }
            return _invalid(_CONFLICT_ADVICE, details), 1008
        return None

    # Requests

    def _answer(self, connection: ServerConnection, message: str | bytes, scopes: frozenset[str]) -> None:
        try:
            frame = json.loads(message)
        except ValueError:
            return
        if not isinstance(frame, dict) or set(frame) - {"type", "id", "method", "params"} or not frame.get("id"):
            _send(connection, {"type": "res", "ok": False, "error": _invalid("invalid request frame: at root")})
            return
        if self._garbles(connection, frame):
            return
        method, params = frame.get("method", ""), frame.get("params")
        self._event(connection, "tick", {"ts": 1795226098032})
        error, payload, lost = self.answer(method, params, scopes, connection)
        if lost:
            connection.close(1011)
            return
        response = {"ok": True, "payload": payload} if error is None else {"ok": False, "error": error}
        if error is None and self._is_board_method(method) and self._writes(method):
            self._event(connection, "plugin.workboard.changed", {"epoch": "e1", "revision": self._sequence})
        if self.trouble is Trouble.SHORT and method == "workboard.cards.list":
            payload["cards"] = payload["cards"][:-1]
        text = json.dumps({"type": "res", "id": frame["id"], **response}, ensure_ascii=False)
        connection.send(text[:-1] if self.trouble is Trouble.CUT else text)
        if method == "agent" and error is None and payload["status"] == "accepted":
            self.turns.listen(payload["runId"], partial(self._tell_end, connection, frame["id"]))
        if self.after_read is not None and not self._writes(method):
            happens, self.after_read = self.after_read, None
            happens()

    def _tell_end(self, connection: ServerConnection, identifier: str, final: dict[str, Any]) -> None:
        """The second response to the request that began a turn, for whoever is still there."""
        with suppress(ConnectionClosed):
            _send(connection, {"type": "res", "id": identifier, **final})

    def _result(
        self, method: str, params: Any, scopes: frozenset[str], connection: object
    ) -> tuple[dict[str, Any] | None, Any]:
        needed = self._needed(method)
        implied = scopes | ({"operator.read"} if "operator.write" in scopes else set())
        if needed is not None and needed not in implied and "operator.admin" not in scopes:
            details = {"code": "MISSING_SCOPE", "missingScope": needed, "requiredScopes": [needed]}
            return {"code": "FORBIDDEN", "message": f"missing scope: {needed}", "details": details}, None
        given = params if isinstance(params, dict) else {}
        if self._is_board_method(method):
            try:
                return None, self.board.call(method.removeprefix("workboard."), given)
            except BoardError as refusal:
                error: dict[str, Any] = {"code": refusal.code, "message": str(refusal)}
                return (error | {"details": refusal.details} if refusal.details else error), None
        if method in self.automations.methods or method in TURN_SCOPES:
            try:
                if method in TURN_SCOPES:
                    return None, self.turns.handle(method, given, scopes, connection)
                return None, self.automations.methods[method].handle(given)
            except Refused as refused:
                error = {"code": refused.code, "message": str(refused)}
                return (error | {"details": refused.details} if refused.details else error), None
        if method == "health":
            return None, {"ok": True, "durationMs": 5, "agents": [{"agentId": agent} for agent in self.agents]}
        if method == "agents.list":
            if given:
                told = f"invalid agents.list params: at root: unexpected property '{next(iter(given))}'"
                return _invalid(told), None
            usual = {"workspaceGit": False, "model": {"primary": "loopback/silent"}, "defaultPermissionMode": "full"}
            agents = [
                {"id": agent, "workspace": f"/state/workspace-{agent}", **usual, **self.told.get(agent, {})}
                for agent in self.agents
            ]
            around = {"ownership": "explicit", "selectionRequired": True, "mainKey": "main", "scope": "per-sender"}
            return None, {"defaultId": self.agents[0] if self.agents else "main", **around, "agents": agents}
        if method in ("sessions.list", "chat.history"):
            if self.sessions_refused and method == "sessions.list":
                return _invalid(self.sessions_refused), None
            try:
                return None, self.sessions.list(given) if method == "sessions.list" else self.sessions.history(given)
            except ValueError as refused:
                return _invalid(str(refused)), None
        return _invalid(f"unknown method: {method}"), None

    def _is_board_method(self, method: str) -> bool:
        name = method.removeprefix("workboard.")
        return self.plugin_enabled and name != method and self.board.knows(name)

    def _needed(self, method: str) -> str | None:
        """The scope that a method needs; an unknown one needs to be an administrator (contract 1.3)."""
        if method in self.automations.methods:
            return self.automations.methods[method].scope
        if method in TURN_SCOPES:
            return TURN_SCOPES[method]
        known = self._is_board_method(method) or method in ("health", *_CORE_READS)
        return _scope(method) if known else "operator.admin"

    def _writes(self, method: str) -> bool:
        """Whether it changes anything."""
        if method in TURN_SCOPES:
            return method in TURN_WRITES
        automation = self.automations.methods.get(method)
        return _scope(method) == "operator.write" if automation is None else automation.writes

    def _garbles(self, connection: ServerConnection, frame: dict[str, Any]) -> bool:
        """Whether a trouble took the place of the answer."""
        answer: dict[str, Any] = {"type": "res", "id": frame["id"], "ok": True}
        match self.trouble:
            case Trouble.SILENT:
                self._event(connection, "tick", {})
            case Trouble.RESTARTING if self._strikes(Trouble.RESTARTING):
                self._event(connection, "shutdown", {"reason": "gateway stopping"})
                connection.close(1012, "service restart")
            case Trouble.NOT_JSON:
                connection.send("<html>not a frame</html>")
            case Trouble.NOT_UTF8:
                connection.send(b'{"type":"\xff"}', text=True)
            case Trouble.BINARY:
                connection.send(b"\x00\x01\x02")
            case Trouble.EMPTY:
                connection.send("")
            case Trouble.WRONG_SHAPE:
                connection.send("[1, 2, 3]")
            case Trouble.NO_CARDS:
                _send(connection, {**answer, "payload": {"boards": []}})
            case Trouble.HUGE:
                connection.send('{"type":"res","payload":"' + "x" * MAX_PAYLOAD + '"}')
            case Trouble.DROPPED:
                connection.close(1011)
            case Trouble.TELLTALE:
                error = {"code": "INVALID_REQUEST", "message": f"no such token: {self.token}"}
                _send(connection, {**answer, "ok": False, "error": error})
            case _:
                return False
        return True

    def _strikes(self, trouble: Trouble) -> bool:
        with self._lock:
            if self.trouble is not trouble or self.starting_times <= 0:
                return False
            self.starting_times -= 1
            return True

    def _event(self, connection: ServerConnection, name: str, payload: dict[str, Any]) -> None:
        with self._lock:
            self._sequence += 1
            frame = {"type": "event", "event": name, "payload": payload, "seq": self._sequence}
        _send(connection, frame)


def _scope(method: str) -> str | None:
    if method == "health":
        return None
    if method in _CORE_READS or method.removeprefix("workboard.") in READS:
        return "operator.read"
    return "operator.write"


def _starting() -> dict[str, Any]:
    return {
        "code": "UNAVAILABLE",
        "message": "gateway starting; retry shortly",
        "retryable": True,
        "retryAfterMs": 500,
        "details": {"reason": "startup-sidecars"},
    }


def _invalid(message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"code": "INVALID_REQUEST", "message": message, **({"details": details} if details else {})}


def _send(connection: ServerConnection, frame: dict[str, Any]) -> None:
    connection.send(json.dumps(frame, ensure_ascii=False))
