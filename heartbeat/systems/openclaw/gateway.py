"""The Gateway's WebSocket, spoken directly: one handshake, then requests and responses matched by id (contract 2.1)."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from heartbeat import __version__
from heartbeat.policy import QUIET_AFTER_TALK
from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import load_json, safe_excerpt
from heartbeat.systems.openclaw.cards import LIST_METHOD, PLUGIN_ADVICE, list_parameters, read_cards
from heartbeat.systems.openclaw.discovery import GatewayAddress, find_gateway
from heartbeat.systems.openclaw.sessions import SESSIONS_METHOD, Rank, Spoken, spoken_in, with_sessions
from heartbeat.systems.openclaw.talks import HISTORY_METHOD

if TYPE_CHECKING:  # imported where a Gateway is dialled: most beats of a team with another transport never do
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import ClientConnection

READ = "operator.read"
WRITE = "operator.write"
ADMIN = "operator.admin"

PROTOCOL = 4
MAX_FRAME = 256 * 1024 * 1024
"""The cap of rule S4. The server holds requests to 25 MiB (`policy.maxPayload`, contract 2.1), and not its answers: a
board of 2,100 cards with full notes comes as one frame of 29 MB."""

_PATIENCE = 10.0
"""Seconds for which a Gateway that says "not yet" is asked again; a start takes about two (contract 2.1)."""
_SESSIONS_SHARE = 0.5
"""Of the time that the cards have left, the sessions get no more than this."""
_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
_CLOSE = 1.0
_NOT_YET_CLOSES = frozenset({1012, 1013})

Answer = TypeVar("Answer")


class GatewayError(TransportError):
    """The Gateway's own refusal of a request. `code`, `said` (its message) and `details` are its words, for callers
    that branch on them; without a code it did not answer: it was starting or stopping.

    `retry_after` is in seconds where the Gateway asks to be asked again, else None.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        advice: str = "",
        code: str = "",
        said: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message, advice=advice)
        self.code = code
        self.said = said
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after


class GatewayClient:
    """One connection, opened at the first call. A context manager; not for several threads at once.

    With the shared token on loopback exactly the `scopes` asked for are granted (contract 2.1).
    """

    def __init__(self, address: GatewayAddress, scopes: tuple[str, ...] = (READ,)) -> None:
        self._address = address
        self._scopes = scopes
        self._stack = ExitStack()
        self._connection: ClientConnection | None = None
        self._requests = 0
        self.server_version: str | None = None
        self.granted: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection = None
        self._stack.close()

    def connect(self, deadline: Deadline) -> None:
        """Opens the connection, asking again while the Gateway starts. Raises TransportError."""
        if self._connection is None:
            until_ready(lambda: self._open(deadline), deadline)

    def call(self, method: str, params: Mapping[str, Any], deadline: Deadline) -> Any:
        """The payload of the response. Raises GatewayError for a refusal and TransportError for everything else.

        Never asks twice: after a lost connection or a timeout it is not known whether a write was carried out.
        """
        self.connect(deadline)
        return self._request(method, params, deadline)

    def _open(self, deadline: Deadline) -> None:
        try:
            self._connection = self._stack.enter_context(self._dialled(deadline))
            self._greet(deadline)
        except BaseException:
            self.close()
            raise

    def _dialled(self, deadline: Deadline) -> ClientConnection:
        shown, parts = self._address.shown, urlsplit(self._address.url)
        if deadline.left() <= 0:
            raise TransportError(FailureKind.TIMEOUT, f"no time was left to reach the Gateway at {shown}")
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        try:
            # A socket of our own: no proxy stands between, and no redirect can lead the token elsewhere.
            plain = socket.create_connection((parts.hostname or "", port), timeout=deadline.left())
            plain.settimeout(None)
        except TimeoutError as error:
            raise _no_answer(shown) from error
        except OSError as error:
            raise TransportError(
                FailureKind.UNREACHABLE,
                f"nothing answers at {shown} ({error.strerror or error})",
                advice=f"start the Gateway, or correct its address ({self._address.url_origin})",
            ) from error
        with ExitStack() as abandoned:
            abandoned.callback(plain.close)
            connection = self._upgraded(plain, deadline)
            abandoned.pop_all()
        return connection

    def _upgraded(self, plain: socket.socket, deadline: Deadline) -> ClientConnection:
        from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
        from websockets.sync.client import connect

        shown = self._address.shown
        try:
            return connect(
                self._address.url,
                sock=plain,
                proxy=None,
                compression=None,
                user_agent_header=f"heartbeat/{__version__}",
                open_timeout=deadline.left(),
                close_timeout=_CLOSE,
                ping_interval=None,
                max_size=MAX_FRAME,
            )
        except TimeoutError as error:
            raise _no_answer(shown) from error
        except InvalidStatus as error:
            raise _not_a_gateway(shown, error.response.status_code) from error
        except (InvalidHandshake, EOFError, ValueError) as error:
            # ValueError: a redirect, which is never followed
            raise _not_a_gateway(shown, None) from error
        except (WebSocketException, OSError) as error:
            raise TransportError(
                FailureKind.UNREACHABLE,
                f"no connection to the Gateway at {shown}: {safe_excerpt(str(error))}",
                advice=f"check the address ({self._address.url_origin}) and, for wss, the certificate",
            ) from error

    def _greet(self, deadline: Deadline) -> None:
        params: dict[str, Any] = {
            "minProtocol": PROTOCOL,
            "maxProtocol": PROTOCOL,
            "client": {"id": "gateway-client", "version": __version__, "platform": sys.platform, "mode": "backend"},
            "role": "operator",
            "scopes": list(self._scopes),
        }
        if self._address.token is not None:
            params["auth"] = {"token": self._address.token}
        hello = self._request("connect", params, deadline)
        server = hello.get("server") if isinstance(hello, dict) else None
        if not isinstance(hello, dict) or hello.get("type") != "hello-ok" or not isinstance(server, dict):
            shape = safe_excerpt(repr(hello)[:500])
            raise self._without_token(self._bad_output(f"a greeting of an unknown shape: {shape}"))
        version = server.get("version")
        self.server_version = version if isinstance(version, str) else None
        granted = hello.get("auth", {}).get("scopes", ()) if isinstance(hello.get("auth"), dict) else ()
        self.granted = tuple(scope for scope in granted if isinstance(scope, str))

    def _request(self, method: str, params: Mapping[str, Any], deadline: Deadline) -> Any:
        from websockets.exceptions import ConnectionClosed

        self._requests += 1
        identifier = str(self._requests)
        frame = {"type": "req", "id": identifier, "method": method, "params": params}
        connection = self._connection
        if connection is None:
            raise RuntimeError("a request needs an open connection")
        try:
            connection.send(json.dumps(frame, allow_nan=False))
            while True:
                if deadline.left() <= 0:
                    raise TimeoutError
                response = self._response(connection.recv(timeout=deadline.left()), identifier)
                if response is not None:
                    break
        except TimeoutError as error:
            self.close()  # a late response must not be taken for the answer to another request
            raise TransportError(
                FailureKind.TIMEOUT, f"the Gateway at {self._address.shown} did not answer {method} in time"
            ) from error
        except ConnectionClosed as error:
            self.close()
            raise self._without_token(self._closed(method, error)) from error
        except TransportError as error:
            self.close()
            raise self._without_token(error) from error.__cause__
        if response.get("ok") is True:
            return response.get("payload")
        raise self._without_token(self._refusal(method, response.get("error")))

    def _response(self, text: str | bytes, identifier: str) -> dict[str, Any] | None:
        """The frame, if it is the response that is waited for; events and other responses are passed over."""
        if isinstance(text, bytes):
            raise self._bad_output("a binary frame")
        frame, banner = load_json(text, what=f"the Gateway at {self._address.shown}")
        if banner or not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise self._bad_output(f"a frame of an unknown shape: {safe_excerpt(text[:500])}")
        return frame if frame["type"] == "res" and frame.get("id") == identifier else None

    def _bad_output(self, what: str) -> TransportError:
        return TransportError(
            FailureKind.BAD_OUTPUT,
            f"the Gateway at {self._address.shown} sent {what}",
            advice=f"check that an OpenClaw Gateway answers there ({self._address.url_origin})",
        )

    def _closed(self, method: str, closed: ConnectionClosed) -> TransportError:
        ours = closed.sent is not None and not closed.rcvd_then_sent
        frame = closed.sent if ours else closed.rcvd
        code, reason = (frame.code, safe_excerpt(frame.reason)) if frame else (1006, "")
        where = f"the Gateway at {self._address.shown}"
        if code == 1009:
            return TransportError(
                FailureKind.TOO_LARGE, f"{where} answered {method} with more than {MAX_FRAME:,} bytes"
            )
        if code in _NOT_YET_CLOSES:
            return GatewayError(
                FailureKind.UNREACHABLE,
                f"{where} is starting or stopping ({code} {reason})".rstrip(),
                advice="try again in a minute",
                retry_after=_PAUSE,
            )
        if ours:
            return self._bad_output(f"what no WebSocket may send ({code} {reason})".rstrip())
        kind = FailureKind.REFUSED if code in (1002, 1008) else FailureKind.UNREACHABLE
        return TransportError(kind, f"{where} closed the connection during {method} ({code} {reason})".rstrip())

    def _refusal(self, method: str, error: Any) -> TransportError:
        if not isinstance(error, dict):
            return self._bad_output(f"a refusal of {method} without a reason")
        return refusal_of(error, method, f"the Gateway at {self._address.shown}", self._address.token_origin)

    def _without_token(self, error: TransportError) -> TransportError:
        """The same error; a server that repeats the token does not bring it into a report (rule R4)."""
        if self._address.token:
            error.args = (str(error).replace(self._address.token, "[token]"),)
        return error


def refusal_of(error: Mapping[str, Any], method: str, where: str, token_origin: str) -> GatewayError:
    """A `{code, message, details}` of the Gateway as an error with its kind and what to do (contract 1.3, 2.1)."""
    code = error.get("code") if isinstance(error.get("code"), str) else ""
    details = error["details"] if isinstance(error.get("details"), dict) else {}
    message = safe_excerpt(str(error.get("message") or "no reason given"), 400)
    kind, advice = _judged(str(code), details, message, token_origin)
    return GatewayError(
        kind,
        f"{where} refused {method}: {message}",
        advice=advice,
        code=str(code),
        said=message,
        details=details,
        retry_after=_retry_after(error) if code == "UNAVAILABLE" else None,
    )


def _judged(code: str, details: Mapping[str, Any], message: str, token_origin: str) -> tuple[FailureKind, str]:
    detail = details.get("code")
    if detail == "PROTOCOL_MISMATCH":
        expected = details.get("expectedProtocol")
        return FailureKind.REFUSED, f"heartbeat speaks protocol {PROTOCOL}, this Gateway {expected}: update one of them"
    if detail == "MISSING_SCOPE":
        # To those who are not administrators an unknown method looks like a missing scope (contract 1.3).
        unknown = details.get("missingScope") == ADMIN
        return (
            (FailureKind.REFUSED, PLUGIN_ADVICE)
            if unknown
            else (FailureKind.AUTH, f"grant {details.get('missingScope')}")
        )
    if code == "NOT_PAIRED" or (isinstance(detail, str) and detail.startswith(("AUTH_", "DEVICE_"))):
        return (
            FailureKind.AUTH,
            f"give the Gateway's own token (gateway.auth.token of its openclaw.json) as {token_origin}",
        )
    if message.startswith("unauthorized"):
        return FailureKind.AUTH, f"check the token ({token_origin})"
    if message.startswith("unknown method: workboard."):
        return FailureKind.REFUSED, PLUGIN_ADVICE
    if code == "UNAVAILABLE":
        return FailureKind.UNREACHABLE, "try again in a minute"
    return FailureKind.REFUSED, ""


def _retry_after(error: Mapping[str, Any]) -> float | None:
    milliseconds = error.get("retryAfterMs")
    if isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool):
        return min(max(milliseconds / 1000, 0.05), _LONGEST_PAUSE)
    return _PAUSE if error.get("retryable") is True else None


def _no_answer(shown: str) -> TransportError:
    return TransportError(FailureKind.TIMEOUT, f"the Gateway at {shown} did not answer in time")


def _not_a_gateway(shown: str, status: int | None) -> TransportError:
    told = f"HTTP {status}" if status else "no WebSocket handshake"
    if status in (401, 403):
        return TransportError(FailureKind.AUTH, f"{shown} refuses us ({told})", advice="a proxy stands before it")
    kind = FailureKind.SERVER_ERROR if status is not None and status >= 500 else FailureKind.BAD_OUTPUT
    return TransportError(kind, f"{shown} is no OpenClaw Gateway ({told})", advice="check the address and its port")


def until_ready(ask: Callable[[], Answer], deadline: Deadline) -> Answer:
    """Asks again while the Gateway itself asks for it (starting, restarting), for ten seconds at most. Only for what
    may safely be asked twice."""
    patience = deadline.at_most(_PATIENCE)
    while True:
        try:
            return ask()
        except GatewayError as error:
            if error.retry_after is None or error.retry_after >= patience.left():
                raise
            time.sleep(error.retry_after)


@dataclass(frozen=True, slots=True)
class GatewayTransport:
    """Implements Transport: cards and sessions over the WebSocket, with the scope to read and no other."""

    environment: Mapping[str, str] = field(repr=False)
    board: str | None = None
    url: str | None = None
    token_env: str | None = None
    name: str = "gateway"
    quiet: timedelta = QUIET_AFTER_TALK
    """How long ago a person's word may be to matter (rule B4)."""

    def absent(self) -> str | None:
        try:
            found = self._find()
        except TransportError:
            return None  # something is configured; the read tells what is wrong with it
        if found is not None:
            return None
        return "no Gateway is configured (no OPENCLAW_GATEWAY_URL, _PORT or _TOKEN, no gateway in openclaw.json)"

    def fetch(self, deadline: Deadline) -> Fetched:
        address = self.address()
        with GatewayClient(address) as client:

            def cards() -> Any:
                return client.call(LIST_METHOD, list_parameters(self.board), deadline)

            def sessions(parameters: Mapping[str, Any]) -> Any:
                return client.call(SESSIONS_METHOD, parameters, share)

            def history(parameters: Mapping[str, Any]) -> Any:
                return client.call(HISTORY_METHOD, parameters, share)

            where = f"the Gateway at {address.shown}"
            fetched = read_cards(lambda: until_ready(cards, deadline), self.board, where)
            share = deadline.at_most(deadline.left() * _SESSIONS_SHARE)
            return with_sessions(fetched, sessions, history, self.quiet)

    def talks(self, rank: Rank, deadline: Deadline) -> Spoken:
        """The sessions of the agents that are meant in which somebody spoke lately. Raises TransportError."""
        with GatewayClient(self.address()) as client:
            return spoken_in(
                lambda parameters: client.call(SESSIONS_METHOD, parameters, deadline),
                lambda parameters: client.call(HISTORY_METHOD, parameters, deadline),
                rank,
                self.quiet,
            )

    def version(self, deadline: Deadline) -> str | None:
        with GatewayClient(self.address()) as client:
            client.connect(deadline)
            return client.server_version

    def _find(self) -> GatewayAddress | None:
        return find_gateway(self.environment, url=self.url, token_env=self.token_env)

    def address(self) -> GatewayAddress:
        """Where the Gateway is; raises TransportError where it is nowhere to be found."""
        address = self._find()
        if address is None:
            raise TransportError(FailureKind.REFUSED, self.absent() or "the Gateway's address has gone meanwhile")
        return address
