"""WorkBoard through OpenClaw's command line: by way of the Gateway, and without one straight from the local database.
Which agents have a run, only a Gateway knows.

`openclaw gateway call` takes 2 to 5 s; the offline list 9 to 18 s, and 46 s on a crowded machine (contract 1.2), so
the deadline is divided between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

from heartbeat.policy import QUIET_AFTER_TALK
from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import load_json, safe_excerpt
from heartbeat.systems.openclaw.cards import LIST_METHOD, PLUGIN_ADVICE, list_parameters, read_cards
from heartbeat.systems.openclaw.discovery import is_loopback
from heartbeat.systems.openclaw.gateway import refusal_of
from heartbeat.systems.openclaw.sessions import (
    SESSIONS_METHOD,
    UNKNOWN_SESSIONS,
    Rank,
    Spoken,
    spoken_in,
    with_sessions,
)
from heartbeat.systems.openclaw.talks import HISTORY_METHOD
from heartbeat.systems.process import MAX_BYTES, Completed, find_executable, run
from heartbeat.task import Finding

_CALL_SHARE = 0.4
_CALL_SECONDS = 30.0
"""The call over the Gateway gets this share of the time and never more than these seconds."""
_START_SECONDS = 2.0
"""What the program itself takes to start and end; its own time limit is shorter than ours by this."""
_VERSION = re.compile(r"OpenClaw\s+v?(\d\S*)")
_NOT_EXECUTABLE = frozenset({126, 127})
_SESSIONS_SHARE = 0.5
"""Of the time that the cards have left, the sessions get no more than this."""
_UNCERTAIN = frozenset({FailureKind.TIMEOUT, FailureKind.BAD_OUTPUT, FailureKind.TOO_LARGE, FailureKind.SERVER_ERROR})
"""Failures after which a request may have been carried out all the same."""
_NOT_CONNECTED = "ECONNREFUSED"

Result = TypeVar("Result")


class _OutOfReachError(TransportError):
    """The program could not talk to the Gateway, which is no reason not to read the database."""


@dataclass(frozen=True, slots=True)
class CommandTransport:
    """Implements Transport over the `openclaw` program.

    `url` and `token_env` are the roster's; they reach the program by its environment, never by its arguments.
    """

    environment: Mapping[str, str] = field(repr=False)
    binary: str = "openclaw"
    board: str | None = None
    url: str | None = None
    token_env: str | None = None
    name: str = "cli"
    max_bytes: int = MAX_BYTES
    quiet: timedelta = QUIET_AFTER_TALK
    """How long ago a person's word may be to matter (rule B4)."""

    def absent(self) -> str | None:
        if find_executable(self.binary, self.environment) is not None:
            return None
        return f"no program {self.binary} on the PATH"

    def fetch(self, deadline: Deadline) -> Fetched:
        """Every card; raises TransportError. Nothing that the program says brings a token into a report (rule R4)."""
        fetched = self._discreet(lambda: self._fetch(deadline))
        told = (replace(finding, message=self._without_token(finding.message)) for finding in fetched.findings)
        return replace(fetched, findings=tuple(dict.fromkeys(told)))

    def talks(self, rank: Rank, deadline: Deadline) -> Spoken:
        """The sessions of the agents that are meant in which somebody spoke lately. Raises TransportError."""
        return self._discreet(
            lambda: spoken_in(
                lambda asked: self._call(SESSIONS_METHOD, asked, deadline, []),
                lambda asked: self._discreet(lambda: self._call(HISTORY_METHOD, asked, deadline, [])),
                rank,
                self.quiet,
            )
        )

    def call(self, method: str, parameters: Mapping[str, Any], deadline: Deadline) -> Any:
        """The payload of one request to the Gateway. Raises GatewayError for its refusal, TransportError for everything
        else: with `outcome_unknown` unless it is certain that the request never left."""
        try:
            return self._discreet(lambda: self._call(method, parameters, deadline, []))
        except TransportError as error:
            error.outcome_unknown = error.outcome_unknown or error.kind in _UNCERTAIN
            raise

    def printed(self, arguments: Sequence[str], deadline: Deadline) -> Any:
        """The JSON that `openclaw ARGUMENTS` prints, for commands that ask no Gateway. Raises TransportError."""
        return self._discreet(lambda: self._document(arguments, deadline, []))

    def _discreet(self, ask: Callable[[], Result]) -> Result:
        try:
            return ask()
        except TransportError as error:
            error.args = (self._without_token(str(error)),)
            raise

    def _fetch(self, deadline: Deadline) -> Fetched:
        call_deadline = deadline.at_most(min(_CALL_SECONDS, deadline.left() * _CALL_SHARE))
        if self._elsewhere():
            call_deadline = deadline
        findings: list[Finding] = []
        try:
            what = f"`{self.binary} gateway call {LIST_METHOD}`"
            parameters = list_parameters(self.board)
            fetched = read_cards(lambda: self._call(LIST_METHOD, parameters, call_deadline, findings), self.board, what)
            share = deadline.at_most(min(_CALL_SECONDS, deadline.left() * _SESSIONS_SHARE))
            # What surrounds the JSON was told with the cards.
            fetched = with_sessions(
                fetched,
                lambda asked: self._call(SESSIONS_METHOD, asked, share, []),
                lambda asked: self._call(HISTORY_METHOD, asked, share, []),
                self.quiet,
            )
        except TransportError as error:
            out_of_reach = isinstance(error, _OutOfReachError) or error.kind is FailureKind.TIMEOUT
            if self._elsewhere() or not out_of_reach or deadline.left() <= 0:
                raise
            fetched = self._offline(deadline, findings, error)
        return replace(fetched, findings=(*fetched.findings, *findings))

    def version(self, deadline: Deadline) -> str | None:
        completed = self._run(("--version",), deadline)
        found = _VERSION.search(completed.stdout.decode("utf-8", errors="replace"))
        return found.group(1) if found else None

    def _elsewhere(self) -> bool:
        """Whether the Gateway is on another machine, so that the database of this one is a different board."""
        url = self.url or self.environment.get("OPENCLAW_GATEWAY_URL", "").strip()
        return bool(url) and not is_loopback(url)

    def _call(self, method: str, parameters: Mapping[str, Any], deadline: Deadline, findings: list[Finding]) -> Any:
        given = json.dumps(parameters, separators=(",", ":"), allow_nan=False)
        milliseconds = max(1000, int((deadline.left() - _START_SECONDS) * 1000))
        arguments = ("gateway", "call", method, "--params", given, "--json", "--timeout", str(milliseconds))
        return self._document(arguments, deadline, findings)

    def _offline(self, deadline: Deadline, findings: list[Finding], error: TransportError) -> Fetched:
        arguments = ("workboard", "list", "--json", *(("--board", self.board) if self.board else ()))
        try:
            what = f"`{self.binary} workboard list`"
            fetched = read_cards(lambda: self._document(arguments, deadline, findings), self.board, what)
        except TransportError as offline_error:
            offline_error.args = (f"{offline_error}; before that: {error}",)
            raise
        findings.append(
            Finding("read-offline", f"the cards were read from the local database, without the Gateway: {error}")
        )
        findings.append(
            Finding(UNKNOWN_SESSIONS, "which agents have a run is not known without the Gateway; nothing is taken away")
        )
        return fetched

    def _document(self, arguments: Sequence[str], deadline: Deadline, findings: list[Finding]) -> Any:
        completed = self._run(arguments, deadline)
        what = f"`{self.binary} {' '.join(arguments[:3])}`"
        if completed.code in _NOT_EXECUTABLE:
            raise TransportError(
                FailureKind.NOT_INSTALLED,
                f"{what} cannot run: {_complaint(completed)}",
                advice="OpenClaw needs node on the PATH; cron's PATH is shorter than a login shell's",
            )
        try:
            document, banner = load_json(completed.stdout, what=what)
        except TransportError as error:
            if completed.code == 0:
                raise
            message = f"{what} ended with exit code {completed.code}: {_complaint(completed) or error}"
            raise TransportError(FailureKind.SERVER_ERROR, message, advice="run it by hand") from error
        # An answer of the Gateway's may say `ok: false` itself, as a scratch that was written meanwhile does.
        if isinstance(document, dict) and document.get("ok") is False and "error" in document:
            raise _failure(document, what, arguments[2], self.token_env or "OPENCLAW_GATEWAY_TOKEN")
        if completed.code != 0:
            raise TransportError(
                FailureKind.BAD_OUTPUT,
                f"{what} printed JSON and yet ended with exit code {completed.code}: {_complaint(completed)}",
                advice="run it by hand; what it printed is not trusted",
            )
        if banner:
            findings.append(Finding("tool-banner", f"{what} printed more than JSON: {banner}"))
        return document

    def _run(self, arguments: Sequence[str], deadline: Deadline) -> Completed:
        environment = self._child_environment()
        return run((self.binary, *arguments), deadline=deadline, environment=environment, max_bytes=self.max_bytes)

    def _without_token(self, text: str) -> str:
        token = self._child_environment().get("OPENCLAW_GATEWAY_TOKEN")
        return text.replace(token, "[token]") if token else text

    def _child_environment(self) -> dict[str, str]:
        environment = dict(self.environment)
        if self.url:
            environment["OPENCLAW_GATEWAY_URL"] = self.url
        token = environment.get(self.token_env, "") if self.token_env else ""
        if token:
            environment["OPENCLAW_GATEWAY_TOKEN"] = token
        return environment


def _complaint(completed: Completed) -> str:
    lines = [line for line in completed.stderr.splitlines() if line.strip()]
    return safe_excerpt(" / ".join(lines[:3]), 300)


def _failure(document: Mapping[str, Any], what: str, method: str, token_origin: str) -> TransportError:
    """The program's own error object (contract 3) as a TransportError."""
    error = document["error"] if isinstance(document.get("error"), dict) else {}
    message = safe_excerpt(str(error.get("message") or "no reason given"), 400)
    match error.get("type"):
        case "gateway_transport_error":
            kind = FailureKind.TIMEOUT if error.get("kind") == "timeout" else FailureKind.UNREACHABLE
            sent = _NOT_CONNECTED not in f"{message} {error.get('reason')}"
            return _OutOfReachError(kind, f"{what}: {message}", advice="start the Gateway", outcome_unknown=sent)
        case "gateway_request_error":
            refusal = refusal_of(error, method, f"the Gateway, asked by {what},", token_origin)
            if refusal.code == "UNAVAILABLE":
                retry_after = refusal.retry_after
                return _OutOfReachError(refusal.kind, str(refusal), advice=refusal.advice, retry_after=retry_after)
            return refusal
    if "requires credentials" in message:
        advice = f"set gateway.auth.token in openclaw.json, or {token_origin}"
        return _OutOfReachError(FailureKind.AUTH, f"{what}: {message}", advice=advice)
    if "plugin" in message and "disabled" in message:
        return TransportError(FailureKind.REFUSED, f"{what}: {message}", advice=PLUGIN_ADVICE)
    if message.startswith("unauthorized"):
        return TransportError(FailureKind.AUTH, f"{what}: {message}", advice=f"check the token ({token_origin})")
    if "another OpenClaw process" in message:
        advice = "two of its commands ran at once; the Gateway serves many readers, its command line does not"
        return TransportError(FailureKind.SERVER_ERROR, f"{what}: {message}", advice=advice)
    return TransportError(FailureKind.REFUSED, f"{what}: {message}", advice="run it by hand")
