"""OpenClaw's own channels: the Gateway's `send`, and without a Gateway `openclaw message send` (contract 8).

The Gateway keeps a queue: a delivery that it has queued is its own to repeat, so that here it counts as sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.notify.channels.base import ChannelError, Failure
from heartbeat.notify.letter import MAX_BYTES, Letter, longest
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.http_words import hide
from heartbeat.systems.json_text import load_json, safe_excerpt
from heartbeat.systems.openclaw.discovery import GatewayAddress, find_gateway
from heartbeat.systems.openclaw.gateway import WRITE, GatewayClient, GatewayError
from heartbeat.systems.process import Completed, find_executable, run

QUEUED = "OUTBOUND_DELIVERY_QUEUED"

_CONNECT_SECONDS = 10.0
"""How long the Gateway is waited for; the rest is the command's, which takes 20 to 27 s (contract 8)."""
_LASTING = frozenset({FailureKind.AUTH, FailureKind.REFUSED, FailureKind.NOT_FOUND, FailureKind.NOT_INSTALLED})
_NOT_EXECUTABLE = frozenset({126, 127})
_BUSY = "another OpenClaw process"


@dataclass(frozen=True, slots=True)
class OpenclawChannel:
    """Implements Channel. `url`, `token_env` and `binary` are those of the roster's WorkBoard source."""

    channel: str
    target: str = field(repr=False)
    account: str | None
    environment: Mapping[str, str] = field(repr=False)
    url: str | None = None
    token_env: str | None = None
    binary: str = "openclaw"
    seconds: float = 60.0

    @property
    def address(self) -> str:
        return f"OpenClaw {self.channel}"

    def send(self, letter: Letter, deadline: Deadline) -> str:
        text = _text(letter)
        try:
            gateway = find_gateway(self.environment, url=self.url, token_env=self.token_env)
        except TransportError as error:
            raise self._failed(error) from error
        if gateway is None:
            return self._by_command(text, None, deadline)
        with GatewayClient(gateway, (WRITE,)) as client:
            try:
                client.connect(deadline.at_most(_CONNECT_SECONDS))
            except TransportError as error:
                if error.kind not in (FailureKind.UNREACHABLE, FailureKind.TIMEOUT):
                    raise self._failed(error) from error
                # Nothing was sent yet: the command cannot make it twice.
                return self._by_command(text, error, deadline)
            return self._by_gateway(client, gateway, text, letter.key, deadline)

    def _by_gateway(
        self, client: GatewayClient, gateway: GatewayAddress, text: str, key: str, deadline: Deadline
    ) -> str:
        params = {"to": self.target, "message": text, "channel": self.channel, "idempotencyKey": key}
        if self.account:
            params["accountId"] = self.account
        try:
            client.call("send", params, deadline)
        except GatewayError as error:
            if error.details.get("code") == QUEUED:
                return self._queued(str(error))
            # Without a code it is the connection that ended, not the request that was refused.
            raise self._failed(error, outcome_unknown=not error.code) from error
        except TransportError as error:
            raise self._failed(error, outcome_unknown=True) from error
        return f"by the Gateway at {gateway.shown}"

    def _by_command(self, text: str, before: TransportError | None, deadline: Deadline) -> str:
        environment = self._child_environment()
        if find_executable(self.binary, environment) is None:
            if before is not None:
                raise self._failed(before) from before
            raise ChannelError(
                Failure.PERMANENT,
                f"{self.address}: no Gateway is configured, and there is no program {self.binary} on the PATH",
                advice="start the Gateway or install openclaw; cron's PATH is shorter than a login shell's",
            )
        # With the equals sign a value that begins with a dash stays a value.
        argv = [self.binary, "message", "send", f"--channel={self.channel}", f"--target={self.target}"]
        argv += [f"--account={self.account}"] if self.account else []
        argv += [f"--message={text}", "--json"]
        try:
            completed = run(argv, deadline=deadline, environment=environment)
        except TransportError as error:
            started = error.kind not in (FailureKind.NOT_INSTALLED, FailureKind.REFUSED)
            raise self._told_without_arguments(error, outcome_unknown=started) from None
        return self._judged(completed)

    def _judged(self, completed: Completed) -> str:
        """What the command printed, as the outcome (contract 8)."""
        command = f"`{self.binary} message send`"
        if completed.code in _NOT_EXECUTABLE:
            raise self._error(Failure.PERMANENT, f"{command} cannot run: {completed.stderr}", advice="put node on PATH")
        try:
            document, _ = load_json(completed.stdout, what=command)
        except TransportError as error:
            message = f"{command} ended with exit code {completed.code} and printed no JSON: {completed.stderr}"
            raise self._error(Failure.TRANSIENT, message, advice="run it by hand", outcome_unknown=True) from error
        refused = isinstance(document, dict) and document.get("ok") is False
        if not refused and completed.code == 0:
            return f"by {command}"
        given = document.get("error") if refused else None
        reason: Mapping[str, Any] = given if isinstance(given, dict) else {}
        said = str(reason.get("message") or completed.stderr or f"exit code {completed.code}")
        details = reason.get("details")
        if QUEUED in (reason.get("code"), details.get("code") if isinstance(details, dict) else None):
            return self._queued(said)
        passing = _BUSY in said or reason.get("type") != "cli_error"
        kind = Failure.TRANSIENT if passing else Failure.PERMANENT
        unknown = not refused or reason.get("kind") == "timeout"
        advice = "`openclaw channels list` shows what is set up"
        raise self._error(kind, f"{command}: {said}", advice=advice, outcome_unknown=unknown)

    def _queued(self, said: str) -> str:
        return f"queued by OpenClaw, which goes on trying: {self._safe(said)}"

    def _failed(self, error: TransportError, *, outcome_unknown: bool = False) -> ChannelError:
        code = error.code if isinstance(error, GatewayError) else ""
        lasting = error.kind in _LASTING and code != "UNAVAILABLE" and not outcome_unknown
        return self._error(
            Failure.PERMANENT if lasting else Failure.TRANSIENT,
            str(error),
            advice=error.advice,
            retry_after=error.retry_after,
            outcome_unknown=outcome_unknown,
        )

    def _told_without_arguments(self, error: TransportError, *, outcome_unknown: bool) -> ChannelError:
        """In words of our own: those of the process module quote the command line, and with it the whole message."""
        told = {
            FailureKind.TIMEOUT: "did not end in time and was killed",
            FailureKind.TOO_LARGE: "printed far too much and was killed",
        }.get(error.kind, "could not be started")
        kind = Failure.TRANSIENT if outcome_unknown or error.kind is FailureKind.REFUSED else Failure.PERMANENT
        message = f"`{self.binary} message send` {told}"
        return self._error(kind, message, advice=error.advice, outcome_unknown=outcome_unknown)

    def _error(self, kind: Failure, message: str, **more: Any) -> ChannelError:
        return ChannelError(kind, f"{self.address}: {self._safe(message)}", **more)

    def _safe(self, text: str) -> str:
        token = self._child_environment().get("OPENCLAW_GATEWAY_TOKEN", "")
        return safe_excerpt(hide(text, (token,)) if token else text, 300)

    def _child_environment(self) -> dict[str, str]:
        environment = dict(self.environment)
        if self.url:
            environment["OPENCLAW_GATEWAY_URL"] = self.url
        if self.token_env and (token := environment.get(self.token_env)):
            environment["OPENCLAW_GATEWAY_TOKEN"] = token
        return environment


def build(name: str, settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> OpenclawChannel:
    """From `channel`, `target` and `account`; the Gateway is the one that the roster reads cards from."""
    board = roster.sources.get("workboard", {})
    return OpenclawChannel(
        channel=str(settings["channel"]),
        target=str(settings["target"]),
        account=settings.get("account"),
        environment=environment,
        url=board.get("url"),
        token_env=board.get("token_env"),
        binary=board.get("binary") or "openclaw",
    )


def _text(letter: Letter) -> str:
    text = f"{letter.heading}\n{letter.body}".rstrip()
    return longest(text, lambda part: len(json.dumps(part, ensure_ascii=False).encode()) <= MAX_BYTES)
