"""One JSON request to an address that is itself a secret: whoever knows a bot's address can write to its chat.

Errors are put in words here and not taken from the HTTP client, whose words show paths; neither the address beyond its
host nor what the server echoes of it is ever told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from heartbeat.deadline import Deadline
from heartbeat.notify.channels.base import ChannelError, Failure
from heartbeat.systems.base import FailureKind
from heartbeat.systems.http import HttpClient
from heartbeat.systems.http_error import HttpError
from heartbeat.systems.http_words import quote

for _name in ("httpx", "httpcore"):
    # They would log every address in full as soon as somebody turns logging on.
    logging.getLogger(_name).setLevel(logging.WARNING)

SECONDS = 15.0
"""How long one request may take."""
_MAX_ANSWER = 1024 * 1024
_PERMANENT = frozenset({FailureKind.AUTH, FailureKind.NOT_FOUND, FailureKind.REFUSED})
_SAID = ("msg", "message", "StatusMessage", "error", "detail", "errmsg")
_SHORTEST_PIECE = 8
"""Parts of an address that are shorter are words such as `hook`."""
_ADVICE = {
    FailureKind.UNREACHABLE: "check the address, and that it can be reached from this machine",
    FailureKind.TIMEOUT: "see whether the receiver is overloaded",
    FailureKind.AUTH: "check the address and the token",
    FailureKind.NOT_FOUND: "check the address: the receiver does not know it (any more)",
    FailureKind.REFUSED: "check the address, and what the receiver accepts",
    FailureKind.RATE_LIMITED: "it is tried again later",
    FailureKind.SERVER_ERROR: "look into the receiver's own log",
    FailureKind.BAD_OUTPUT: "check that the address is the receiver's and not a web page's or a proxy's",
}


class PostError(ChannelError):
    """A request that was not accepted; `answer` is the JSON object that came back, or empty."""

    answer: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where to post. `secrets` is what no message may hold."""

    origin: str
    path: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def shown(self) -> str:
        """The address without its secret part."""
        return f"{self.origin}/…" if len(self.path) > 1 else self.origin


def web_address(url: str, channel: str, *secrets: str) -> WebAddress:
    """A checked http(s) address. Raises ChannelError, permanent, without repeating what it was given."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        raise ChannelError(
            Failure.PERMANENT,
            f"channel {channel}: its address is no web address",
            advice="it begins with https:// and has no blanks in it",
        )
    shown_host = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    login = parts.netloc.rpartition("@")[0]
    pieces = (url, path, parts.path, parts.query, login, *parts.path.split("/"), *parts.query.split("&"))
    hidden = {*(piece for piece in pieces if len(piece) >= _SHORTEST_PIECE), *filter(None, secrets)}
    return WebAddress(origin, path, tuple(sorted(hidden, key=len, reverse=True)))


def post(address: WebAddress, document: Any, deadline: Deadline, *, token: str = "") -> Any:
    """Sends a JSON document once and returns the JSON answer of a success, None where the answer was not JSON.

    Redirects are not followed: neither message nor token goes elsewhere. Raises PostError.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with HttpClient(address.origin, deadline=deadline, headers=headers, max_bytes=_MAX_ANSWER) as client:
            return client.post(address.path, document).value
    except HttpError as error:
        if error.status is not None and 200 <= error.status < 300:
            return None
        failed = _failure(error, address)
    # Outside the handler, so that no traceback shows the client's own words.
    raise failed


def post_text(address: WebAddress, text: str, deadline: Deadline) -> str:
    """Sends plain text once and returns the text of a success, cut short. Under the same rules as `post`."""
    try:
        with HttpClient(address.origin, deadline=deadline, max_bytes=_MAX_ANSWER) as client:
            return quote(client.post_text(address.path, text), address.secrets)
    except HttpError as error:
        failed = _failure(error, address)
    raise failed


def _failure(error: HttpError, address: WebAddress) -> PostError:
    redirected = error.status is not None and 300 <= error.status < 400
    advice = "set the address to where the receiver really is" if redirected else _ADVICE.get(error.kind, "")
    failed = PostError(
        Failure.PERMANENT if redirected or error.kind in _PERMANENT else Failure.TRANSIENT,
        f"{address.shown} {_told(error, address, redirected)}",
        advice=advice,
        retry_after=error.retry_after,
        outcome_unknown=error.outcome_unknown,
    )
    failed.answer = error.body
    return failed


def _told(error: HttpError, address: WebAddress, redirected: bool) -> str:
    if redirected:
        return f"answered {error.status}, a redirect, which is not followed so that nothing secret goes elsewhere"
    if error.status is not None:
        said = next((text for key in _SAID if isinstance(text := error.body.get(key), str) and text.strip()), "")
        return f"answered {error.status}" + (f": {quote(said, address.secrets)}" if said else "")
    if error.kind is FailureKind.TIMEOUT:
        return "did not answer in time"
    # The client's own words name the path where they have a cause; the cause does not.
    reason = quote(str(error.__cause__ or error), address.secrets)
    return f"cannot be reached: {reason or type(error.__cause__).__name__}"
