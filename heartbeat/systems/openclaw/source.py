"""The WorkBoard source: its transports, best first, and its translation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from heartbeat.systems.base import (
    Deadline,
    FailureKind,
    PartlyHeardError,
    Source,
    Transport,
    TransportedSource,
    TransportError,
)
from heartbeat.systems.openclaw.cards import saved_cards
from heartbeat.systems.openclaw.cli import CommandTransport
from heartbeat.systems.openclaw.discovery import shown_url, state_directory
from heartbeat.systems.openclaw.gateway import GatewayTransport
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.sessions import Spoken, presences
from heartbeat.systems.openclaw.workboard import SOURCE, translate
from heartbeat.systems.saved_file import SavedFile
from heartbeat.task import Presence


@dataclass(frozen=True, slots=True)
class WorkBoard(TransportedSource):
    """Implements Source and Hearing: cards, and who is at work and in talk."""

    team: Team = field(default_factory=lambda: Team({}))

    def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
        """The sessions of these agents in which somebody spoke lately, by the first way to the Gateway that works.
        Raises TransportError, as a PartlyHeardError where only some of them could not be heard."""
        places = {agent: place for place, agent in enumerate(agents)}
        ways = [each for each in self.transports if isinstance(each, GatewayTransport | CommandTransport)]
        present = [way for way in ways if way.absent() is None]
        failed = TransportError(FailureKind.NOT_CONFIGURED, "there is no way to the Gateway")
        for index, way in enumerate(present):
            share = deadline if index == len(present) - 1 else deadline.at_most(deadline.left() / 2)
            try:
                found = way.talks(lambda name: places.get(self.team.owner(name).id), share)
            except TransportError as error:
                failed = error
                continue
            return self._told(found, now)
        raise failed

    def _told(self, found: Spoken, now: datetime) -> tuple[Presence, ...]:
        said = presences(found.sessions, self.team, now)
        if not found.unheard:
            return said
        error = next(iter(found.unheard.values()))
        raise PartlyHeardError(
            error.kind if isinstance(error, TransportError) else FailureKind.BAD_OUTPUT,
            str(error),
            heard=said,
            unheard=frozenset(self.team.owner(name).id for name in found.unheard),
        )


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> Source:
    """The source by the roster's settings (checked plain data): transport (auto, gateway, cli, file), path, board,
    required, url, token_env (the name of a variable), binary. Raises UsageError where `file` comes without a path."""
    wanted, team = settings.get("transport", "auto"), Team.of(roster)
    transports = _transports(settings, environment, roster.quiet_after_talk)
    if wanted != "auto" and wanted not in transports:
        raise UsageError(
            f"sources.workboard: no transport {wanted!r} with these settings",
            advice="take auto, gateway or cli, or file together with a path",
        )
    return WorkBoard(
        name=SOURCE,
        identity=_identity(settings, environment),
        transports=tuple(transports.values()) if wanted == "auto" else (transports[wanted],),
        translate=partial(translate, team=team),
        team=team,
        automatic=wanted == "auto",
        required=bool(settings.get("required", False)),
        shareable=wanted != "file",
    )


def _transports(settings: Mapping[str, Any], environment: Mapping[str, str], quiet: timedelta) -> dict[str, Transport]:
    """By name, best first; `file` only where a path is given."""
    board, url, token_env = settings.get("board"), settings.get("url"), settings.get("token_env")
    transports: dict[str, Transport] = {
        "gateway": GatewayTransport(environment, board, url, token_env, quiet=quiet),
        "cli": CommandTransport(environment, settings.get("binary") or "openclaw", board, url, token_env, quiet=quiet),
    }
    if settings.get("path"):
        transports["file"] = SavedFile(Path(settings["path"]), "WorkBoard cards", saved_cards(board))
    return transports


def _identity(settings: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    address = settings.get("url") or environment.get("OPENCLAW_GATEWAY_URL", "").strip()
    parts = {
        "transport": settings.get("transport", "auto"),
        "address": shown_url(address) if address else "",
        "port": environment.get("OPENCLAW_GATEWAY_PORT", "").strip(),
        "state": str(state_directory(environment)),
        "board": settings.get("board"),
        "path": settings.get("path"),
        "binary": settings.get("binary"),
    }
    return f"{SOURCE} " + " ".join(f"{name}={value}" for name, value in parts.items() if value)
