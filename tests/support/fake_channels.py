"""Receivers of messages on loopback: a Feishu bot, any web hook, a Gateway that sends, a command, a package."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from heartbeat.deadline import Deadline
from heartbeat.notify.letter import Letter

HOOK = "/open-apis/bot/v2/hook/5f6c1e0a-secret-of-the-bot"


@dataclass(frozen=True)
class Request:
    """One POST as it came: header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Respond = Callable[["Answering", Request], None]


class Answering(BaseHTTPRequestHandler):
    """The server's side of one connection, with the few ways in which a test answers."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
        receiver: FakeReceiver = self.server.receiver  # type: ignore[attr-defined]
        receiver.requests.append(request)
        receiver.respond(self, request)

    def answer(self, status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing on stderr."""


def says(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> Respond:
    """Always the same answer."""
    return lambda handler, request: handler.answer(status, body, **headers)


def hangs(handler: Answering, request: Request) -> None:
    """The request is read, and nothing ever comes back."""
    handler.server.receiver.stopping.wait(30)  # type: ignore[attr-defined]


def resets(handler: Answering, request: Request) -> None:
    """The request is read, and the connection is reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class FakeReceiver:
    """An HTTP server that keeps every POST; a context manager. `respond` may be changed at any time."""

    def __init__(self, respond: Respond | None = None) -> None:
        self.respond = respond or says(200, {"ok": True})
        self.requests: list[Request] = []
        self.stopping = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self._server.receiver = self  # type: ignore[attr-defined]
        self._server.handle_error = lambda *about: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


class FakeBot(FakeReceiver):
    """A Feishu custom bot: checks address, shape, size and, where it has a secret, the signature; refuses with 200."""

    def __init__(self, clock: Callable[[], datetime], secret: str = "") -> None:
        super().__init__(self._as_feishu)
        self._clock = clock
        self._secret = secret

    @property
    def url(self) -> str:
        return self.origin + HOOK

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Title and body of every message that came."""
        posts = [request.json["content"]["post"]["zh_cn"] for request in self.requests]
        return [(post["title"], "\n".join(part["text"] for line in post["content"] for part in line)) for post in posts]

    def _as_feishu(self, handler: Answering, request: Request) -> None:
        if request.path != HOOK:
            handler.answer(200, {"code": 19001, "msg": "param invalid: incoming webhook access token invalid"})
        elif len(request.body) > 20 * 1024 or request.json.get("msg_type") not in ("text", "post"):
            handler.answer(200, {"code": 9499, "msg": "Bad Request", "data": {}})
        elif self._secret and not self._signed(request.json):
            said = "sign match fail or timestamp is not within one hour from current time"
            handler.answer(200, {"code": 19021, "msg": said, "data": {}})
        else:
            handler.answer(200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"})

    def _signed(self, message: dict[str, Any]) -> bool:
        timestamp = str(message.get("timestamp", "0"))
        if abs(self._clock() - datetime.fromtimestamp(int(timestamp), self._clock().tzinfo)) > timedelta(hours=1):
            return False
        key = timestamp + "\n" + self._secret
        expected = base64.b64encode(hmac.new(key.encode(), digestmod=hashlib.sha256).digest()).decode()
        return message.get("sign") == expected


@dataclass
class FakeSender:
    """A Gateway that knows `send` and nothing else, with the refusals of the real one (contract 8).

    `reply` is what it answers: a payload, or an error object; "drop" closes the connection after the request was read.
    """

    reply: dict[str, Any] | str = field(default_factory=lambda: {"runId": "k", "messageId": "m1"})
    token: str = "gateway-secret-0123456789"
    sent: list[dict[str, Any]] = field(default_factory=list)
    scopes: list[list[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = serve(self._serve, "127.0.0.1", 0, ping_interval=None)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)

    def environment(self) -> dict[str, str]:
        return {"OPENCLAW_GATEWAY_PORT": str(self.port), "OPENCLAW_GATEWAY_TOKEN": self.token}

    def _serve(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            greeting = json.loads(connection.recv())
            if greeting["params"].get("auth", {}).get("token") != self.token:
                error = {"code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch"}
                error["details"] = {"code": "AUTH_TOKEN_MISMATCH"}  # type: ignore[assignment]
                _frame(connection, greeting["id"], error=error)
                connection.close(1008)
                return
            self.scopes.append(greeting["params"]["scopes"])
            hello = {"type": "hello-ok", "protocol": 4, "server": {"version": "2026.9.6"}}
            _frame(connection, greeting["id"], {**hello, "auth": {"scopes": greeting["params"]["scopes"]}})
            for text in connection:
                self._answer(connection, json.loads(text))

    def _answer(self, connection: ServerConnection, frame: dict[str, Any]) -> None:
        params = frame["params"]
        missing = next((name for name in ("to", "message", "idempotencyKey") if not params.get(name)), None)
        if missing:
            said = f"invalid send params: must have required property '{missing}'"
            _frame(connection, frame["id"], error={"code": "INVALID_REQUEST", "message": said})
            return
        self.sent.append(params)
        if self.reply == "drop":
            connection.close(1011)
        elif isinstance(self.reply, dict) and "code" in self.reply:
            _frame(connection, frame["id"], error=self.reply)
        else:
            _frame(connection, frame["id"], self.reply)


def _frame(connection: ServerConnection, identifier: str, payload: Any = None, error: Any = None) -> None:
    result = {"ok": True, "payload": payload} if error is None else {"ok": False, "error": error}
    connection.send(json.dumps({"type": "res", "id": identifier, **result}))


QUEUED = {
    "code": "UNAVAILABLE",
    "message": 'OutboundDeliveryError: Telegram bot token missing for account "default" (set channels.telegram.accounts'
    ".default.botToken/tokenFile or TELEGRAM_BOT_TOKEN for default).",
    "details": {"code": "OUTBOUND_DELIVERY_QUEUED"},
}
UNSUPPORTED = {"code": "INVALID_REQUEST", "message": "unsupported channel: feishu"}


def openclaw_command(directory: Path, document: Any, code: int = 0) -> dict[str, str]:
    """A program `openclaw` that keeps its arguments in `arguments.json` and prints a document; returns its PATH."""
    directory.mkdir(exist_ok=True)
    program = directory / "openclaw"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        f"pathlib.Path({str(directory / 'arguments.json')!r}).write_text(json.dumps(sys.argv[1:]))\n"
        f"print({json.dumps(document)!r})\nsys.exit({code})\n"
    )
    program.chmod(0o755)
    return {"PATH": str(directory)}


def apprise_package(outcome: bool | Exception | threading.Event, sent: list[dict[str, Any]]) -> ModuleType:
    """A stand-in for the package `apprise`: knows `json://` and `tgram://`, and ends as told; waits for an event."""

    class Apprise:
        def __init__(self) -> None:
            self.urls: list[str] = []

        def add(self, url: str) -> bool:
            known = url.startswith(("json://", "tgram://"))
            self.urls.extend([url] if known else [])
            return known

        def __len__(self) -> int:
            return len(self.urls)

        def notify(self, **message: Any) -> bool:
            sent.append(message)
            if isinstance(outcome, threading.Event):
                outcome.wait(30)
                return True
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    package = ModuleType("apprise")
    package.Apprise = Apprise  # type: ignore[attr-defined]
    return package


class ScriptedChannel:
    """Implements Channel: keeps every letter, and does what the script says next; the last entry for ever after.

    None delivers, an exception is raised (one that ends the process too), a function is called.
    """

    address = "scripted"
    seconds = 5.0

    def __init__(self, *script: BaseException | Callable[[Letter], None] | None) -> None:
        self.letters: list[Letter] = []
        self._script = script or (None,)

    def send(self, letter: Letter, deadline: Deadline) -> str:
        step = self._script[min(len(self.letters), len(self._script) - 1)]
        self.letters.append(letter)
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step(letter)
        return ""
