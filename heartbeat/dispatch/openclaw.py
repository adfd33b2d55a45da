"""The ways to start turns at OpenClaw: over its Gateway's WebSocket, else by its program (rule X2).

An id that was asked for in one way stays with it. Only who was turned away at the Gateway's door, on a first try, goes
on to the program: it may hold credentials that heartbeat does not, and nothing was asked for yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Order, Sighting, Spawner, StartError
from heartbeat.dispatch.command import CommandSpawner
from heartbeat.dispatch.command import build as build_command
from heartbeat.dispatch.gateway import GatewaySpawner
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.openclaw.gateway import GatewayTransport

_AUTO, _GATEWAY, _PROGRAM = "auto", "gateway", "cli"


def build(roster: Roster, environment: Mapping[str, str]) -> OpenClawSpawner:
    """By the settings of `sources.workboard`, and without one by what OpenClaw's own tools go by: its environment
    variables and openclaw.json. A board that is read from a file says nothing of where agents are started."""
    settings = roster.sources.get("workboard", {})
    wanted = settings.get("transport", _AUTO)
    reach = GatewayTransport(environment, url=settings.get("url"), token_env=settings.get("token_env"))
    return OpenClawSpawner(
        GatewaySpawner(reach),
        build_command(roster, environment),
        wanted if wanted in (_GATEWAY, _PROGRAM) else _AUTO,
    )


@dataclass(frozen=True, slots=True)
class OpenClawSpawner:
    """Implements Spawner. `wanted` is the way by which turns are started: `gateway`, `cli`, or `auto` for the best."""

    gateway: GatewaySpawner
    command: CommandSpawner
    wanted: str = _AUTO

    @property
    def engine(self) -> Engine:
        return Engine.OPENCLAW

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        """Raises StartError."""
        if self._is_programs(order.attempt):
            return self.command.start(order, deadline)
        way = self._way()
        try:
            return way.start(order, deadline)
        except StartError as error:
            if way is self.gateway and self._may_try_the_program(order.attempt, error):
                return self.command.start(order, deadline)
            raise

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        """Raises TransportError."""
        return self._taken_by(attempt).look(attempt, deadline)

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        """Raises TransportError."""
        return self._taken_by(attempt).abort(attempt, deadline)

    def forget(self, attempt: Attempt) -> None:
        """Removes what is kept here of a turn whose outcome was collected. Raises TransportError."""
        if self._is_programs(attempt):
            self.command.forget(attempt)

    def _way(self) -> Spawner:
        barred = {
            _GATEWAY: self.gateway.absent() if self.wanted != _PROGRAM else f"not with `transport: {_PROGRAM}`",
            _PROGRAM: self.command.absent() if self.wanted != _GATEWAY else f"not with `transport: {_GATEWAY}`",
        }
        if barred[_GATEWAY] is None:
            return self.gateway
        if barred[_PROGRAM] is None:
            return self.command
        told = "; ".join(f"{name}: {why}" for name, why in barred.items())
        raise StartError(
            Failure(Cause.ENGINE, f"there is no way to start a turn at OpenClaw ({told})", Outcome.SPAWN_FAILED),
            advice="say in `sources.workboard` where the Gateway is; `heartbeat doctor` shows what was looked for",
        )

    def _taken_by(self, attempt: Attempt) -> Spawner:
        """Who can tell of it. What a Gateway took is asked of a Gateway also where none is to be found any more: that
        it cannot be asked is no sign that the turn does not run."""
        if self._is_programs(attempt):
            return self.command
        without = self.wanted == _PROGRAM or (self.gateway.absent() is not None and self.command.absent() is None)
        return self.command if without and not attempt.run else self.gateway

    def _is_programs(self, attempt: Attempt) -> bool:
        return self.command.knows(attempt)

    def _may_try_the_program(self, attempt: Attempt, error: StartError) -> bool:
        turned_away = error.__cause__
        return (
            self.wanted == _AUTO
            and not error.unknown
            and attempt.tries <= 1
            and isinstance(turned_away, TransportError)
            and turned_away.kind is FailureKind.AUTH
            and self.command.absent() is None
        )
