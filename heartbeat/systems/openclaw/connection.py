"""How a write reaches the Gateway: over its WebSocket, else by `openclaw gateway call` (contract 1.3, 2.1, 3).

Never by `openclaw workboard`: that writes to the database without the Gateway, past its holds and its locks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.cli import CommandTransport
from heartbeat.systems.openclaw.gateway import READ, WRITE, GatewayClient, GatewayError, GatewayTransport
from heartbeat.systems.openclaw.sessions import SESSIONS_METHOD, is_active
from heartbeat.systems.writing import ConflictError

_CARDS = "workboard.cards."
_DIAL_SHARE = 0.5
"""Of the time that is left, the WebSocket gets no more than this where the command line stands by."""

_CONFLICTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"Card changed while you were editing"), "somebody else changed the card meanwhile", ""),
    (re.compile(r"claim (?:owner|token) does not match\."), "somebody else claimed the card meanwhile", ""),
    (re.compile(r"card already claimed by (?P<who>.+)\.\Z"), "the card is claimed by {who} already", ""),
    (
        re.compile(r"Owner (?P<who>.+) already has active Workboard work\."),
        "{who} holds another card already, and WorkBoard lets an agent hold one",
        "finish, release or hand over the other card first",
    ),
    (re.compile(r"card dependencies are not done\."), "the card waits for other cards that are not done", ""),
    (re.compile(r"card is scheduled for later\."), "the card is scheduled for later", ""),
    (re.compile(r"card is archived\."), "the card is archived", "take it out of the archive first"),
    (re.compile(r"card is blocked;"), "the card is blocked", "unblock it first"),
    (re.compile(r"card exhausted its retry budget\."), "the card has used up its retries", "unblock it first"),
    (re.compile(r"card not found: "), "the card is not there any more", ""),
)
"""Refusals that mean that the card is not as it was thought to be (contract 1.3), in words for a person."""


class _Requests(Protocol):
    """Sends one request. Raises GatewayError for a refusal, TransportError with `outcome_unknown` for a lost answer."""

    def __call__(self, method: str, parameters: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """The Gateway, within one deadline. Cards go in and out as the raw records that the Gateway gives."""

    requests: _Requests

    def card(self, identifier: str) -> Mapping[str, Any] | None:
        """The card as it is now; None where there is none. Raises TransportError.

        By `cards.runs`: there is no method for one card, and this one answers with one (contract 1.3).
        """
        try:
            return _card_of(self._read(f"{_CARDS}runs", {"id": identifier}), "runs")
        except GatewayError as error:
            if error.said.startswith("card not found: "):
                return None
            raise

    def has_run(self, agent: str) -> bool:
        """Whether a run of the agent's goes on or is queued. Raises TransportError."""
        return is_active(lambda parameters: self._read(SESSIONS_METHOD, parameters), agent)

    def write(self, method: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The card after `workboard.cards.METHOD`. Raises ConflictError where the card is not as it was thought to be,
        and TransportError."""
        try:
            return _card_of(self.requests(f"{_CARDS}{method}", parameters), method)
        except GatewayError as error:
            conflict = _conflict(error)
            if conflict is None:
                raise
            raise conflict from error

    def _read(self, method: str, parameters: Mapping[str, Any]) -> Any:
        try:
            return self.requests(method, parameters)
        except TransportError as error:
            error.outcome_unknown = False  # nothing was to be carried out
            raise


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to the Gateway that the roster allows, best first."""

    socket: GatewayTransport | None
    command: CommandTransport | None

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[Connection]:
        """A connection for a few requests. Raises TransportError where there is no way.

        What could not even connect over one way has written nothing, and may go the other; once connected it stays.
        """
        command = self.command if self.command is not None and self.command.absent() is None else None
        with ExitStack() as stack:
            try:
                connection = self._by_socket(stack, deadline, command is None)
            except TransportError:
                if command is None:
                    raise
                connection = Connection(lambda method, parameters: command.call(method, parameters, deadline))
            yield connection

    def _by_socket(self, stack: ExitStack, deadline: Deadline, is_last: bool) -> Connection:
        if self.socket is None or self.socket.absent() is not None:
            told = (way.absent() for way in (self.socket, self.command) if way is not None)
            raise TransportError(FailureKind.NOT_CONFIGURED, "; ".join(filter(None, told)) or "no way to the Gateway")
        client = stack.enter_context(GatewayClient(self.socket.address(), (READ, WRITE)))
        client.connect(deadline if is_last else deadline.at_most(deadline.left() * _DIAL_SHARE))
        return Connection(lambda method, parameters: _over_socket(client, method, parameters, deadline))


def _over_socket(client: GatewayClient, method: str, parameters: Mapping[str, Any], deadline: Deadline) -> Any:
    try:
        return client.call(method, parameters, deadline)
    except TransportError as error:
        error.outcome_unknown = not (isinstance(error, GatewayError) and error.code)
        raise


def _card_of(payload: Any, method: str) -> Mapping[str, Any]:
    card = payload.get("card") if isinstance(payload, Mapping) else None
    if not isinstance(card, Mapping):
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"the Gateway answered {_CARDS}{method} without a card: {safe_excerpt(repr(payload)[:500])}",
            outcome_unknown=method != "runs",
        )
    return card


def _conflict(error: GatewayError) -> ConflictError | None:
    for pattern, told, advice in _CONFLICTS:
        found = pattern.search(error.said)
        if found is not None:
            return ConflictError(told.format(**found.groupdict()), advice=advice)
    return ConflictError(error.said) if error.code == "workboard_conflict" else None
