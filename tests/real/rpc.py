"""A small WebSocket client for a Gateway, for tests alone.

It shares nothing with the product's client, so that it can fill boards, and judge, independently of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from websockets.protocol import State
from websockets.sync.client import connect

READ_AND_WRITE = ("operator.read", "operator.write")
IN_FLIGHT = 64
"""Requests that wait at once. With some 256 the Gateway refuses more: `UNAVAILABLE`, "The server is busy."."""


class RpcError(Exception):
    """The Gateway refused a request. `error` is what it said."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('code')}: {error.get('message')}")
        self.method = method
        self.code = str(error.get("code"))
        self.error = error


class GatewayConnection:
    """One connection, past its handshake. Raises RpcError, OSError, TimeoutError or a WebSocket exception."""

    def __init__(self, url: str, token: str, *, scopes: Sequence[str] = READ_AND_WRITE, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._last = 0
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(
            connect(
                url,
                max_size=None,
                compression=None,
                open_timeout=min(5.0, seconds),
                close_timeout=1.0,
                # Events that nobody reads in between tests must not stop the reading: answers to pings would stop
                # with it, and the Gateway ends the connection of whoever reads too slowly.
                max_queue=None,
                ping_interval=None,
                proxy=None,
            )
        )
        try:
            self.hello = self.call(
                "connect",
                {
                    "minProtocol": 4,
                    "maxProtocol": 4,
                    "client": {"id": "gateway-client", "version": "0.1", "platform": "linux", "mode": "backend"},
                    "role": "operator",
                    "scopes": list(scopes),
                    "auth": {"token": token},
                },
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    @property
    def is_open(self) -> bool:
        return self._socket.protocol.state is State.OPEN

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The payload of the answer to one request."""
        return self.call_all(method, [params or {}])[0]

    def call_all(self, method: str, all_params: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The payloads of many requests, in order; a few are sent ahead of their answers."""
        until = time.monotonic() + self._seconds
        ids: list[str] = []
        answers: dict[str, dict[str, Any]] = {}
        while len(answers) < len(all_params):
            while len(ids) < len(all_params) and len(ids) - len(answers) < IN_FLIGHT:
                ids.append(self._send(method, all_params[len(ids)]))
            frame = json.loads(self._socket.recv(timeout=max(0.0, until - time.monotonic())))
            if frame["type"] != "res" or frame["id"] not in ids:
                continue
            if not frame["ok"]:
                raise RpcError(method, frame["error"])
            answers[frame["id"]] = frame["payload"]
        return [answers[id_] for id_ in ids]

    def _send(self, method: str, params: Mapping[str, Any]) -> str:
        self._last += 1
        request = {"type": "req", "id": str(self._last), "method": method, "params": dict(params)}
        self._socket.send(json.dumps(request))
        return str(self._last)
