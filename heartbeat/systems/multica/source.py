"""The Multica source: the roster's settings made into transports and their translation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Fetched, Source, Transport, TransportedSource
from heartbeat.systems.multica.api import ApiTransport, page_of
from heartbeat.systems.multica.cli import CommandTransport
from heartbeat.systems.multica.discovery import Connection, discover
from heartbeat.systems.multica.issues import SOURCE, translate
from heartbeat.systems.saved_file import SavedFile

TRANSPORTS = ("api", "cli", "file")
"""Best first; `auto` is the first of them that works."""


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> Source:
    """The source that the roster's `sources.multica` describes.

    Settings, all optional: `transport` (auto, api, cli or file), `path` (a saved JSON document), `server_url`,
    `workspace_id`, `token_env`, `profile`, `binary` (multica), `required`. Raises UsageError where they contradict.
    """
    chosen = chosen_transport(settings)
    path = settings.get("path")
    connection = discover(settings, environment)
    api, command = live_transports(settings, connection, environment)
    transports: dict[str, Transport] = {"api": api, "cli": command}
    if path:
        transports["file"] = SavedFile(Path(path), "Multica issues", saved_issues)
    agents = roster.by_multica_id()
    return TransportedSource(
        name=SOURCE,
        identity=_identity(chosen, connection, command.binary, path, agents),
        transports=tuple(transports.values()) if chosen == "auto" else (transports[chosen],),
        translate=partial(translate, agents=agents),
        automatic=chosen == "auto",
        required=bool(settings.get("required")),
        shareable=chosen != "file",
    )


def chosen_transport(settings: Mapping[str, Any]) -> str:
    """`auto`, or the one transport that the roster asks for; raises UsageError where that makes no sense."""
    chosen = str(settings.get("transport") or "auto")
    if chosen not in ("auto", *TRANSPORTS):
        raise UsageError(
            f"sources.multica.transport: {chosen!r} is not known", advice=f"write auto, {', '.join(TRANSPORTS)}"
        )
    if chosen == "file" and not settings.get("path"):
        raise UsageError("sources.multica: the file transport needs a path", advice="add path: to the saved JSON")
    return chosen


def live_transports(
    settings: Mapping[str, Any], connection: Connection, environment: Mapping[str, str]
) -> tuple[ApiTransport, CommandTransport]:
    """The two ways to a Multica that lives, best first."""
    server, workspace = connection.server, connection.workspace
    command = CommandTransport(
        connection,
        environment,
        str(settings.get("binary") or "multica"),
        server_flag=server.value if server and settings.get("server_url") else None,
        workspace_flag=workspace.value if workspace and settings.get("workspace_id") else None,
    )
    return ApiTransport(connection), command


def saved_issues(document: Any) -> Fetched:
    """The issues in a saved document: `{"issues": […]}` as both transports print it, or a bare list.

    Squads and active runs may stand beside them as `squads` and `runs`. A document that counts more issues than it
    holds is one page of several, and said to be. Raises TransportError BAD_OUTPUT for any other shape.
    """
    page = page_of(document, "the saved file")
    extra = {name: document[name] for name in ("squads", "runs") if isinstance(document, dict) and name in document}
    short = page.total is not None and page.total != len(page.rows)
    problem = f"the file holds {len(page.rows)} of {page.total} issues" if short else ""
    return Fetched(page.rows, problem, extra=extra)


def _identity(chosen: str, connection: Connection, binary: str, path: object, agents: Mapping[str, str]) -> str:
    """Names what is read, and for whom: issues of the same server are other items where the roster knows other agents.
    The token is not part of it."""
    known = hashlib.sha256(repr(sorted(agents.items())).encode()).hexdigest()[:12]
    parts = {
        "transport": chosen,
        "server": connection.server.value if connection.server else "",
        "workspace": connection.workspace.value if connection.workspace else "",
        "profile": connection.profile or "",
        "token_env": connection.token_env or "",
        "binary": binary if chosen in ("auto", "cli") else "",
        "path": str(path or ""),
        "agents": known,
    }
    return " ".join((SOURCE, *(f"{name}={value}" for name, value in parts.items() if value)))
