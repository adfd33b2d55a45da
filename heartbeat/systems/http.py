"""JSON over HTTP with one deadline for all of it. The only module that imports httpx.

A client serves one operation: a deadline, a server, a set of headers. What goes wrong becomes an `HttpError` with the
kind that the report needs; neither the Authorization header nor a token that a server echoes is ever shown.
"""

from __future__ import annotations

import math
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx

from heartbeat.instants import format_duration
from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.http_error import HttpError
from heartbeat.systems.http_words import (
    describe_body,
    is_loopback,
    json_object,
    parse_retry_after,
    quote,
    without_credentials,
)
from heartbeat.systems.json_text import load_json, safe_excerpt

MAX_BYTES = 256 * 1024 * 1024
"""How much of one answer is read, decompressed (rule S4)."""
TRIES = 3
"""How often a read is asked for at most."""

_ERROR_BYTES = 64 * 1024
_CONNECT_SECONDS = 10.0
_BACKOFF = (0.5, 1.5)
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_STATUS_KINDS = {
    401: FailureKind.AUTH,
    403: FailureKind.AUTH,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    429: FailureKind.RATE_LIMITED,
}
_ADVICE = {
    FailureKind.UNREACHABLE: "check the address, and that the server runs and can be reached from this machine",
    FailureKind.AUTH: "check the token, and what its owner may see",
    FailureKind.NOT_FOUND: "check the address and the workspace",
    FailureKind.TIMEOUT: "see whether the server is overloaded, or give the read more time",
    FailureKind.RATE_LIMITED: "read less often",
    FailureKind.SERVER_ERROR: "look into the server's own log",
    FailureKind.BAD_OUTPUT: "check that the address is the API's and not a web page's or a proxy's",
    FailureKind.TOO_LARGE: "check that the address is the API's",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its JSON value (None for 204) and its headers, names in lower case."""

    status: int
    value: Any
    headers: Mapping[str, str]


class HttpClient:
    """Talks JSON to one server until one deadline; use it as a context manager.

    `advice` replaces the usual advice for a kind of failure. `transport` and `pause` are for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        advice: Mapping[FailureKind, str] | None = None,
        max_bytes: int = MAX_BYTES,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._deadline = deadline
        self._advice = {**_ADVICE, **(advice or {})}
        self._max_bytes = max_bytes
        self._pause = pause
        self._secrets = _secrets(headers or {})
        self._sockets: list[socket.socket] = []
        _check_headers(headers or {})
        try:
            self._client = httpx.Client(
                headers=dict(headers or {}),
                transport=transport,
                follow_redirects=False,
                trust_env=not is_loopback(self._base_url),
                verify=_tls_context(self._base_url),
            )
        except (ValueError, ImportError, OSError) as error:
            # A proxy variable with an unknown scheme, SOCKS without its package, a certificate file that is not there.
            raise HttpError(
                FailureKind.UNREACHABLE,
                f"cannot prepare the connection to {self._shown(self._base_url)}: {safe_excerpt(str(error), 300)}",
                advice="check the proxy and certificate variables of the environment",
            ) from error

    def __repr__(self) -> str:
        return f"HttpClient({self._shown(self._base_url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Answer:
        """Read `path`; asked again, at most three times, where the failure is likely to pass. Raises HttpError."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._once("GET", path, parameters, None, attempt)
            except HttpError as error:
                wait = self._wait_before_retry(error, attempt)
                if wait is None:
                    raise
            self._pause(wait)
        raise AssertionError("the last attempt returns or raises")

    def post(self, path: str, body: Any = None) -> Answer:
        """Write once, never repeated. Raises HttpError; see its `outcome_unknown`."""
        return self._once("POST", path, None, body, 1)

    def put(self, path: str, body: Any = None) -> Answer:
        """Write once, never repeated. Raises HttpError; see its `outcome_unknown`."""
        return self._once("PUT", path, None, body, 1)

    def post_text(self, path: str, text: str) -> str:
        """Sends plain text once, never repeated; the text of a success, whatever it is. Raises HttpError."""
        plain = {"content": text.encode("utf-8", "replace"), "headers": {"Content-Type": "text/plain; charset=utf-8"}}
        _, content = self._exchange("POST", path, plain)
        return content.decode("utf-8", "replace")

    def delete(self, path: str) -> Answer:
        """Write once, never repeated. Raises HttpError; see its `outcome_unknown`."""
        return self._once("DELETE", path, None, None, 1)

    def _wait_before_retry(self, error: HttpError, attempt: int) -> float | None:
        """Seconds to wait, Retry-After being the least; None where it is not worth it or does not fit."""
        if not error.retryable or attempt == TRIES:
            return None
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads the load, keeps no secret
        wait = max(_BACKOFF[attempt - 1] * jitter, error.retry_after or 0.0)
        return wait if wait < self._deadline.left() else None

    def _once(
        self, method: str, path: str, parameters: Mapping[str, str | int] | None, body: Any, attempt: int
    ) -> Answer:
        carried = {"params": parameters, "json": body}
        response, content = self._exchange(method, path, carried, f" (try {attempt})" if attempt > 1 else "")
        value = self._value(response, content, f"{method} {self._shown(self._base_url + path)}")
        return Answer(response.status_code, value, _lower(response.headers))

    def _exchange(
        self, method: str, path: str, request: Mapping[str, Any], again: str = ""
    ) -> tuple[httpx.Response, bytes]:
        """One request, with httpx's own keywords for what it carries, and its answer where that is a success."""
        url = self._base_url + path
        what = f"{method} {self._shown(url)}"
        left = self._deadline.left()
        if left <= 0:
            raise self._error(FailureKind.TIMEOUT, f"{what}: no time was left to ask{again}")
        sent = False

        def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal sent
            sent = sent or event.endswith("send_request_headers.started")
            self._remember_socket(event, info)

        watch = _Watch(left, self._sockets)
        try:
            with (
                watch,
                self._client.stream(
                    method,
                    url,
                    **request,
                    timeout=httpx.Timeout(left, connect=min(left, _CONNECT_SECONDS)),
                    extensions={"trace": trace},
                ) as response,
            ):
                content = self._read(response, what)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, UnicodeError) as error:
            raise self._broken(error, what + again, method, sent) from error
        if watch.fired:
            raise self._late(what + again, method, sent)
        if response.is_success:
            return response, content
        raise self._refused(response, content, what, again)

    def _read(self, response: httpx.Response, what: str) -> bytes:
        """The body, decompressed; of an error answer no more than it takes to quote it."""
        limit = self._max_bytes if response.is_success else _ERROR_BYTES
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                if not response.is_success:
                    break
                raise self._error(
                    FailureKind.TOO_LARGE,
                    f"{what} answered with more than {limit // (1024 * 1024)} MiB",
                    status=response.status_code,
                )
        return b"".join(chunks)

    def _value(self, response: httpx.Response, content: bytes, what: str) -> Any:
        if response.status_code == 204:
            return None
        try:
            value, around = load_json(content, what=what)
        except TransportError as error:
            # Its excerpt may cut a secret in half, where it would no longer be recognised.
            echoed = any(secret.encode() in content for secret in self._secrets)
            reason = f"{what} answered with a page that quotes our credentials" if echoed else str(error)
        else:
            if not around:
                return value
            reason = f"{what} answered with more than JSON"
        raise self._error(
            FailureKind.BAD_OUTPUT,
            f"{reason} (HTTP {response.status_code})",
            status=response.status_code,
            outcome_unknown=response.request.method != "GET",
        )

    def _refused(self, response: httpx.Response, content: bytes, what: str, again: str) -> HttpError:
        status = response.status_code
        if status < 400:
            return self._redirected(response, what)
        kind = _STATUS_KINDS.get(status, FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED)
        wait = parse_retry_after(response.headers.get("retry-after"), _date_of(response))
        told = f"{what} answered {status}: {describe_body(content, self._secrets)}"
        if wait:
            told += f"; it asks to wait {format_duration(math.ceil(wait))}"
        return self._error(
            kind,
            told + again,
            status=status,
            body=json_object(content),
            retry_after=wait,
            retryable=status in _RETRIED_STATUSES,
            outcome_unknown=status in {502, 504} and response.request.method != "GET",
        )

    def _redirected(self, response: httpx.Response, what: str) -> HttpError:
        target = response.headers.get("location", "")
        place = self._shown(target) if target else "nowhere"
        return self._error(
            FailureKind.BAD_OUTPUT,
            f"{what} answered {response.status_code} and points to {place}; redirects are not followed, so that the "
            "token goes nowhere else",
            status=response.status_code,
            advice="set the server's address to where the API really is",
        )

    def _broken(self, error: Exception, what: str, method: str, sent: bool) -> HttpError:
        if self._deadline.left() <= 0 or isinstance(error, httpx.TimeoutException):
            return self._late(what, method, sent)
        if isinstance(error, httpx.DecodingError):
            return self._error(
                FailureKind.BAD_OUTPUT,
                f"{what} answered with a body that cannot be decompressed",
                outcome_unknown=method != "GET",
            )
        reason = quote(str(error), self._secrets)
        return self._error(
            FailureKind.UNREACHABLE,
            f"{what}: {reason or type(error).__name__}",
            retryable=isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            and not isinstance(error, httpx.ConnectError),
            outcome_unknown=sent and method != "GET",
        )

    def _late(self, what: str, method: str, sent: bool) -> HttpError:
        return self._error(
            FailureKind.TIMEOUT, f"{what} did not answer in time", outcome_unknown=sent and method != "GET"
        )

    def _error(self, kind: FailureKind, message: str, *, advice: str = "", **details: Any) -> HttpError:
        return HttpError(kind, message, advice=advice or self._advice.get(kind, ""), **details)

    def _shown(self, url: str) -> str:
        return quote(without_credentials(url), self._secrets)

    def _remember_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Note each new connection's socket, as httpcore's trace tells of it, for the watch to cut."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"].get_extra_info("socket")
            if isinstance(connection, socket.socket):
                self._sockets.append(connection)


class _Watch:
    """Cuts the connections when time is up.

    httpx limits the wait for each piece of an answer and not their sum; a server that sends one byte now and then
    would hold us for ever. A shut-down socket ends whatever read is waiting on it.
    """

    def __init__(self, seconds: float, sockets: list[socket.socket]) -> None:
        self.fired = False
        self._sockets = sockets
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.fired = True
        for connection in list(self._sockets):
            with suppress(OSError):
                # Not SSLSocket's own shutdown: it would take the TLS state away under the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _tls_context(url: str) -> ssl.SSLContext:
    """Trusts what SSL_CERT_FILE names, on loopback too; without TLS nothing is loaded, and nobody trusted."""
    return httpx.create_ssl_context() if url.lower().startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value):
            kind = FailureKind.AUTH if name.lower() == "authorization" else FailureKind.REFUSED
            raise HttpError(
                kind,
                f"the value for the header {name} holds characters that a header cannot carry",
                advice="look for blanks, line ends or foreign characters around the value where it is set",
            )


def _secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    values = [value for name, value in headers.items() if name.lower() in {"authorization", "cookie"}]
    return tuple(part for value in values for part in (value, value.partition(" ")[2]) if len(part) >= 4)


def _date_of(response: httpx.Response) -> datetime:
    """The present by the server's own clock where it tells one: a date in Retry-After was made by that clock."""
    try:
        told = parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return datetime.now(UTC)
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
