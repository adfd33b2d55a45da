"""Asking OpenClaw and Multica which agents they have. All of it is I/O that only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from heartbeat.systems.base import Attempt, Deadline, FailureKind, TransportError
from heartbeat.systems.multica.agents import MulticaAgent
from heartbeat.systems.multica.agents import ways as multica_ways
from heartbeat.systems.openclaw.agents import OpenClawAgent, is_remote
from heartbeat.systems.openclaw.agents import ways as openclaw_ways

OPENCLAW = "OpenClaw"
MULTICA = "Multica"

PATIENCE = 90.0
"""Seconds for each system, divided among its ways. OpenClaw's command takes 8, and 46 on a crowded machine (contract
1.2, 5)."""

Agent_co = TypeVar("Agent_co", covariant=True)


class Answer(Protocol[Agent_co]):
    """Agents, and sentences about what of them could not be read."""

    @property
    def agents(self) -> Sequence[Agent_co]: ...

    @property
    def problems(self) -> Sequence[str]: ...


class Way(Protocol[Agent_co]):
    """One way to ask one system."""

    @property
    def name(self) -> str: ...

    def absent(self) -> str | None: ...

    def read(self, deadline: Deadline) -> Answer[Agent_co]: ...


@dataclass(frozen=True, slots=True)
class Look(Generic[Agent_co]):
    """What one system said. `transport` is None where nothing was read; `tried` says how each way ended."""

    system: str
    agents: tuple[Agent_co, ...] = ()
    transport: str | None = None
    tried: tuple[Attempt, ...] = ()
    problems: tuple[str, ...] = ()
    remote: bool = False
    """Its agents' workspaces are on another machine."""

    @property
    def read(self) -> bool:
        return self.transport is not None

    @property
    def failed(self) -> bool:
        """Something of it is here and could not be read. Nothing of it at all is no failure (rule S1a)."""
        return not self.read and any(attempt.kind is not FailureKind.NOT_CONFIGURED for attempt in self.tried)


@dataclass(frozen=True, slots=True)
class Found:
    """What both systems said."""

    openclaw: Look[OpenClawAgent]
    multica: Look[MulticaAgent]

    @property
    def looks(self) -> tuple[Look[OpenClawAgent], Look[MulticaAgent]]:
        return self.openclaw, self.multica


def nobody_asked() -> Found:
    """What is known where no system was asked."""
    return Found(Look(OPENCLAW), Look(MULTICA))


def discover(
    sources: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str],
    on_progress: Callable[[str], None],
    patience: float = PATIENCE,
) -> Found:
    """Both systems, asked by the roster's settings of its sources (an empty mapping where there is no roster yet).

    Never raises for what the outside does. Raises UsageError for settings that make no sense.
    """
    workboard = sources.get("workboard", {})
    on_progress("asking OpenClaw for its agents …")
    mine = look(OPENCLAW, openclaw_ways(workboard, environment), Deadline.after(patience))
    on_progress("asking Multica for its agents …")
    theirs = look(MULTICA, multica_ways(sources.get("multica", {}), environment), Deadline.after(patience))
    return Found(replace(mine, remote=is_remote(workboard, environment)), theirs)


def look(system: str, ways: Sequence[Way[Agent_co]], deadline: Deadline) -> Look[Agent_co]:
    """The first answer, best way first."""
    tried: list[Attempt] = []
    present: list[Way[Agent_co]] = []
    for way in ways:
        reason = way.absent()
        if reason is None:
            present.append(way)
        else:
            tried.append(Attempt(way.name, FailureKind.NOT_CONFIGURED, reason))
    for following, way in zip(range(len(present), 0, -1), present, strict=True):
        try:
            answer = way.read(deadline.at_most(deadline.left() / following))
        except TransportError as error:
            tried.append(Attempt(way.name, error.kind, str(error), error.advice))
            continue
        tried.append(Attempt(way.name, None, ""))
        return Look(system, tuple(answer.agents), way.name, tuple(tried), tuple(answer.problems))
    return Look(system, tried=tuple(tried))
