"""Which agents a Multica workspace has: asked of the API, else of the multica command (contract 1.4, 2.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.multica.api import ApiTransport
from heartbeat.systems.multica.cli import CommandTransport
from heartbeat.systems.multica.discovery import discover
from heartbeat.systems.multica.source import live_transports

_PATH = "/api/agents"
"""Without those that were archived, and without private ones of others (contract 2.3)."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MulticaAgent:
    """One agent: its UUID in lower case, and the name that people gave it, which is foreign text."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class MulticaAgents:
    """Every agent in Multica's order. `problems` are sentences about what could not be read."""

    agents: tuple[MulticaAgent, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverApi:
    """Asks the server."""

    transport: ApiTransport
    name: str = "api"

    def absent(self) -> str | None:
        """Why there is nothing to ask; None where it is worth trying."""
        return self.transport.absent()

    def read(self, deadline: Deadline) -> MulticaAgents:
        """Raises TransportError."""
        with self.transport.open(deadline) as client:
            return agents_of(client.get(_PATH).value, "the Multica server")


@dataclass(frozen=True, slots=True)
class ByCommand:
    """Asks the `multica` command."""

    transport: CommandTransport
    name: str = "cli"

    def absent(self) -> str | None:
        """Why there is nothing to ask; None where it is worth trying."""
        return self.transport.absent()

    def read(self, deadline: Deadline) -> MulticaAgents:
        """Raises TransportError."""
        workspace = self.transport.workspace(deadline)
        value, _ = self.transport.call(("agent", "list"), deadline, workspace=workspace)
        return agents_of(value, "`multica agent list`")


Way = OverApi | ByCommand


def ways(settings: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Way, ...]:
    """The ways to ask, best first, by the roster's settings for Multica (checked plain data; empty for none). A roster
    that reads saved issues has no Multica to ask. Raises UsageError for a profile name that is no plain name."""
    api, command = live_transports(settings, discover(settings, environment), environment)
    match settings.get("transport", "auto"):
        case "file":
            return ()
        case "api":
            return (OverApi(api),)
        case "cli":
            return (ByCommand(command),)
    return (OverApi(api), ByCommand(command))


def agents_of(value: Any, what: str) -> MulticaAgents:
    """A list of `{id, name, archived_at, …}`. Raises TransportError BAD_OUTPUT for anything else; `what` sent it."""
    if not isinstance(value, list):
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"{what} gave no list of agents: {safe_excerpt(repr(value)[:500])}",
            advice="check that the address is Multica's, and its version",
        )
    found: dict[str, MulticaAgent] = {}
    problems: list[str] = []
    for record in value:
        identity = record.get("id") if isinstance(record, Mapping) else None
        folded = identity.strip().lower() if isinstance(identity, str) else ""
        if not isinstance(record, Mapping) or not _UUID.fullmatch(folded):
            problems.append(f"an agent without a UUID: {safe_excerpt(repr(record)[:300])}")
        elif not record.get("archived_at"):
            name = record.get("name")
            found.setdefault(folded, MulticaAgent(folded, name.strip() if isinstance(name, str) else ""))
    return MulticaAgents(tuple(found.values()), tuple(problems))
