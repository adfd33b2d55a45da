"""Turns over the Gateway's WebSocket: begun by `agent`, followed by its list of tasks, stopped by `tasks.cancel`
(contract 6.2). Nothing here waits for a model.

The list of tasks is the Gateway's only lasting memory of turns, so it is asked first, always: `agent.wait` and the
keys of `agent` are forgotten within minutes, and to send a key again then would spoil what is on record. Which model
answers is set on the session, by whoever may write; only administrators may say it with the request itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.dispatch.turns import (
    Run,
    Transcript,
    is_pending,
    is_recent,
    last_word,
    lineage,
    runs_of,
    sighting,
    transcript,
)
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.agents import METHOD as AGENTS_METHOD
from heartbeat.systems.openclaw.agents import agents_of_gateway
from heartbeat.systems.openclaw.discovery import GatewayAddress
from heartbeat.systems.openclaw.gateway import READ, WRITE, GatewayClient, GatewayError, until_ready
from heartbeat.systems.openclaw.sessions import SESSIONS_METHOD, read_sessions
from heartbeat.systems.openclaw.talks import HISTORY_METHOD

_SCOPES = (READ, WRITE)

_INVALID = "INVALID_REQUEST"
_NO_AGENT = "Unknown agent id"
_STOPPED = "stopped by heartbeat"
_LISTED_AFTER = 0.5
"""Seconds after which a turn that was accepted is listed; some 50 ms are usual."""
_TAKEN = frozenset({"accepted", "in_flight", "ok", "timeout", "error"})
"""What `agent` says of a turn that it has begun, be it just now, before, or long ago."""
_TASKS_PAGE, _TASKS_PAGES = 500, 10
_MESSAGES, _CHARACTERS = 500, 400
_SESSIONS = 500
_TAKEN_UP_WITHIN = 60_000.0
"""Milliseconds after its start within which a Gateway begins to take up what it left unfinished; it needs a few
seconds."""


class Reach(Protocol):
    """Where the Gateway is; raises TransportError where it is nowhere to be found."""

    def absent(self) -> str | None: ...

    def address(self) -> GatewayAddress: ...


def key_of(attempt: Attempt) -> str:
    """The session as the Gateway names it, in lower case (rule X3); an attempt that was accepted has it already."""
    named = attempt.session.lower()
    return named if named.startswith("agent:") else f"agent:{attempt.agent.lower()}:{named}"


@dataclass(frozen=True, slots=True)
class GatewaySpawner:
    """Implements Spawner. Each call is one connection, with the least that it may."""

    reach: Reach

    @property
    def engine(self) -> Engine:
        return Engine.OPENCLAW

    def absent(self) -> str | None:
        """Why there is no Gateway to ask; None where it is worth trying."""
        return self.reach.absent()

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        """Returns when the Gateway says "accepted", and leaves: the turn goes on. Raises StartError."""
        try:
            with self._open(deadline) as gateway:
                known = gateway.runs(order.attempt)
                if lineage(known, order.attempt.id):
                    return Accepted(order.attempt.id, key_of(order.attempt))
                if order.model or known:
                    gateway.set_model(order)
                return gateway.ask(order)
        except TransportError as error:
            raise _refused(error) from error

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        """One that the Gateway takes up again after a restart goes on. Raises TransportError."""
        with self._open(deadline) as gateway:
            seen = gateway.seen(attempt)
            if seen.going is Going.UNKNOWN:
                # What was accepted a moment ago is in no list yet.
                time.sleep(min(_LISTED_AFTER, deadline.left()))
                seen = gateway.seen(attempt)
            return seen

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        """By `tasks.cancel`: `chat.abort` is for who began the turn on the same connection, and for administrators.

        A turn that a Gateway has yet to take up after a restart does not run; it will not be taken up where the next
        turn of its session has begun by then. Raises TransportError.
        """
        with self._open(deadline) as gateway:
            for run in gateway.line(attempt):
                if run.goes_on:
                    gateway.read("tasks.cancel", {"taskId": run.task, "reason": _STOPPED})
            line = gateway.line(attempt)
            return not line[-1].goes_on if line else not gateway.is_active(attempt)

    def forget(self, attempt: Attempt) -> None:
        """Nothing is kept here of a turn; what the Gateway keeps is its own."""

    @contextmanager
    def _open(self, deadline: Deadline) -> Iterator[_Gateway]:
        address = self.reach.address()
        with GatewayClient(address, _SCOPES) as client:
            client.connect(deadline)
            yield _Gateway(client, address.shown, deadline)


@dataclass(frozen=True, slots=True)
class _Gateway:
    """An open connection, within one deadline."""

    client: GatewayClient
    shown: str
    deadline: Deadline

    def read(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """For what may safely be asked twice."""
        return until_ready(lambda: self.client.call(method, parameters, self.deadline), self.deadline)

    def set_model(self, order: Order) -> None:
        """Sets the model of the turn's session, which keeps it from then on; or leaves that to OpenClaw again."""
        try:
            self.client.call(
                "sessions.patch", {"key": key_of(order.attempt), "model": order.model or None}, self.deadline
            )
        except GatewayError as error:
            if error.code == "UNAVAILABLE" and not self._has_agent(order.attempt.agent):
                raise _RefusedError(
                    Cause.TASK, f"the Gateway at {self.shown} has no agent {order.attempt.agent}"
                ) from error
            if error.code == _INVALID:
                raise _RefusedError(Cause.REFUSES, str(error)) from error
            raise

    def _has_agent(self, agent: str) -> bool:
        listed = agents_of_gateway(self.read(AGENTS_METHOD, {})).agents
        return agent.lower() in {each.id.lower() for each in listed}

    def ask(self, order: Order) -> Accepted:
        parameters = {
            "message": order.message,
            "agentId": order.attempt.agent,
            "sessionKey": key_of(order.attempt),
            "idempotencyKey": order.attempt.id,
            "timeout": max(1, math.ceil(order.run_seconds)),
            "deliver": False,
        }
        try:
            answer = self.client.call("agent", parameters, self.deadline)
        except TransportError as error:
            error.outcome_unknown = not (isinstance(error, GatewayError) and error.code)
            if isinstance(error, GatewayError) and error.code == _INVALID and error.kind is not FailureKind.AUTH:
                raise _RefusedError(Cause.TASK, str(error)) from error
            raise
        if not isinstance(answer, Mapping) or answer.get("status") not in _TAKEN:
            told = safe_excerpt(repr(answer)[:500])
            message = f"the Gateway at {self.shown} answered agent with something else: {told}"
            raise TransportError(FailureKind.BAD_OUTPUT, message, outcome_unknown=True)
        run, session = answer.get("runId"), answer.get("sessionKey")
        return Accepted(
            run if isinstance(run, str) and run else order.attempt.id,
            session if isinstance(session, str) and session else key_of(order.attempt),
        )

    def line(self, attempt: Attempt) -> tuple[Run, ...]:
        """The turn and what the Gateway made of it after restarts; empty where it has no record of it."""
        return lineage(self.runs(attempt), attempt.id)

    def runs(self, attempt: Attempt) -> tuple[Run, ...]:
        """Every turn of the attempt's session that is on record; an agent that OpenClaw does not have has none."""
        asked: dict[str, Any] = {"sessionKey": key_of(attempt), "agentId": attempt.agent, "limit": _TASKS_PAGE}
        runs: list[Run] = []
        for _ in range(_TASKS_PAGES):
            try:
                page = self.read("tasks.list", asked)
            except GatewayError as error:
                if error.said.startswith(_NO_AGENT):
                    return ()
                raise
            runs.extend(runs_of(page))
            following = page.get("nextCursor")
            if not isinstance(following, str):
                return tuple(runs)
            asked["cursor"] = following
        told = f"the Gateway at {self.shown} gave more than {_TASKS_PAGE * _TASKS_PAGES:,} tasks of one session"
        raise TransportError(FailureKind.TOO_LARGE, told)

    def wait(self, run: str) -> Any:
        """What is known of a turn's end, at once."""
        return self.read("agent.wait", {"runId": run, "timeoutMs": 0})

    def transcript(self, attempt: Attempt, line: tuple[Run, ...]) -> Transcript:
        """What a turn cost. A Gateway that refuses to show the session tells all the same how the turn ended: then
        that is not known."""
        names = [run.id for run in line] or [attempt.id]
        asked = {"sessionKey": key_of(attempt), "limit": _MESSAGES, "maxChars": _CHARACTERS}
        try:
            return transcript(self.read(HISTORY_METHOD, asked), names)
        except GatewayError as error:
            if not error.code:
                raise
            return Transcript()

    def seen(self, attempt: Attempt) -> Sighting:
        """The turn as the Gateway's records show it at this moment."""
        line = self.line(attempt)
        last = line[-1] if line else Run("", attempt.id, "")
        if last.was_interrupted and self.may_take_up(attempt, last):
            return Sighting(Going.RUNNING)
        word = last_word(self.wait(last.id))
        if last.goes_on and not word.status:
            return Sighting(Going.RUNNING)  # the list of tasks learns of an end a moment after the turn's last word
        if not line and not word.status:
            return Sighting(Going.UNKNOWN)
        return sighting(last, word, self.transcript(attempt, line))

    def may_take_up(self, attempt: Attempt, interrupted: Run) -> bool:
        """Whether the Gateway, which was restarted, may still go on with a turn: it says so, or has just come up. It
        takes up one after the other, so that this may take long."""
        page = self.read(SESSIONS_METHOD, {"agentId": attempt.agent, "limit": _SESSIONS})
        return is_pending(page, key_of(attempt)) or is_recent(page, interrupted, _TAKEN_UP_WITHIN)

    def is_active(self, attempt: Attempt) -> bool:
        """Whether anything goes on in the attempt's session."""
        sessions = read_sessions(partial(self.read, SESSIONS_METHOD), attempt.agent)
        return any(each.active and each.key.lower() == key_of(attempt) for each in sessions)


class _RefusedError(TransportError):
    """A refusal whose meaning is known where it was met."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(FailureKind.REFUSED, message)
        self.cause = cause


def _refused(error: TransportError) -> StartError:
    """What the Gateway did not begin, or may have begun without our hearing of it.

    Whether it can be reached, lets us in and can begin a turn just now is the engine's business; a turn that it calls
    invalid stays invalid whoever answers (rule F3).
    """
    cause = error.cause if isinstance(error, _RefusedError) else Cause.ENGINE
    failure = Failure(cause, str(error), Outcome.SPAWN_FAILED, retry_after=error.retry_after)
    return StartError(failure, unknown=error.outcome_unknown, advice=error.advice or _ADVICE.get(cause, ""))


_ADVICE: Mapping[Cause, str] = {
    Cause.TASK: "see whether `openclaw agents list` has this agent",
    Cause.REFUSES: "correct the model in the roster's `providers`; `openclaw models list` names those there are",
    Cause.ENGINE: "try again in a minute; `heartbeat doctor` tells how the Gateway can be reached",
}
