"""A loopback WebSocket proxy in front of a Gateway: counts what a client asks, and can change it on the way."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

_SENDABLE = frozenset(range(1000, 1015)) - {1004, 1005, 1006}
"""Closing codes that may stand in a frame; the others mean that none came."""


class Wiretap:
    """A context manager; entered, it listens on `port` and passes everything on, the closing code too."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._open: list[ClientConnection] = []
        self.connections = 0
        self.requests: list[dict[str, Any]] = []
        """Every request frame that a client sent, in order."""
        self.answers: list[dict[str, Any]] = []
        """Every response frame that the Gateway sent, in order."""
        self.largest_answer = 0
        """The largest response, in bytes."""
        self.rewrite: Callable[[str], str] = str
        """Changes a client's frame on the way."""
        self.loses: Callable[[str], bool] | None = None
        """Of which method the next answer is lost: the connection is cut instead of passing it on. Once."""
        self._server: Server = serve(
            self._handle, "127.0.0.1", 0, max_size=None, compression=None, ping_interval=None, close_timeout=1.0
        )
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._closed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def methods(self) -> list[str]:
        """The methods that clients called, handshakes left out."""
        return [request["method"] for request in self.requests if request["method"] != "connect"]

    def close(self) -> None:
        """Stops listening and cuts every connection."""
        if self._closed:
            return
        self._closed = True
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                connection.close()
        self._thread.join(timeout=10.0)

    def _handle(self, client: ServerConnection) -> None:
        with contextlib.ExitStack() as stack:
            try:
                gateway = stack.enter_context(self._dial())
            except (OSError, WebSocketException):
                client.close_socket()
                return
            with self._lock:
                self.connections += 1
                self._open.append(gateway)
            asked: dict[str, str] = {}
            back = threading.Thread(target=self._pass_back, args=(gateway, client, asked), daemon=True)
            back.start()
            with contextlib.suppress(ConnectionClosed):
                for frame in client:
                    text = self.rewrite(_text(frame))
                    request = json.loads(text)
                    self.requests.append(request)
                    asked[request["id"]] = request["method"]
                    gateway.send(text)
            gateway.close()
            back.join(timeout=10.0)

    def _dial(self) -> ClientConnection:
        return connect(
            self._upstream,
            max_size=None,
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=1.0,
            proxy=None,
        )

    def _pass_back(self, gateway: ClientConnection, client: ServerConnection, asked: dict[str, str]) -> None:
        """`asked` holds each request's method by its id."""
        try:
            for frame in gateway:
                text = _text(frame)
                message = json.loads(text)
                if message["type"] == "res":
                    self.answers.append(message)
                    self.largest_answer = max(self.largest_answer, len(text.encode()))
                    if self.loses is not None and self.loses(asked.get(message["id"], "")):
                        self.loses = None
                        client.close_socket()
                        return
                client.send(text)
        except ConnectionClosed:
            pass
        if gateway.close_code in _SENDABLE:
            client.close(gateway.close_code, gateway.close_reason or "")
        else:
            client.close_socket()


def _text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode()
