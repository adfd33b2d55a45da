"""Multica over its REST API: the best transport, one request for every hundred issues (contract 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.multica.discovery import Connection, Setting, only_workspace
from heartbeat.systems.multica.paging import Page, Rows, read_every_page
from heartbeat.task import Finding

if TYPE_CHECKING:
    from heartbeat.systems.http import HttpClient

PAGE_SIZE = 100
"""The server sends no more on one page, whatever is asked for (contract 2.3)."""

SNAPSHOT = "/api/agent-task-snapshot"
"""Every active run of the workspace (contract 2.3)."""

_VERSION_SECONDS = 5.0
_LIST: Mapping[str, str | int] = {"sort": "created_at", "direction": "asc", "limit": PAGE_SIZE}
"""Creation order: nobody can drag an issue to another place in it while it is read (contract 4)."""


@dataclass(frozen=True, slots=True)
class ApiTransport:
    """Implements Transport."""

    connection: Connection
    name: str = "api"

    def absent(self) -> str | None:
        return self.connection.absent()

    def fetch(self, deadline: Deadline) -> Fetched:
        """Every issue of the workspace, closed ones too (others wait for them), with squads and active runs.

        Raises TransportError where not even the first page came. Squads and runs are best effort: without them the
        issues are complete, and the translation says what cannot be known.
        """
        with self.open(deadline) as client:
            issues = read_every_page(lambda offset: _page(client, offset), page_size=PAGE_SIZE)
            extra: dict[str, Any] = {}
            if needs_squads(issues):
                extra |= _best_effort("squads", lambda: client.get("/api/squads").value)
            extra |= _best_effort("runs", lambda: client.get(SNAPSHOT).value)
        findings = tuple(Finding("configuration", problem) for problem in self.connection.problems)
        return Fetched(issues.rows, issues.problem, findings, extra)

    def version(self, deadline: Deadline) -> str | None:
        """The server's version, which only self-hosted ones tell (contract 2.1); None where it cannot be had."""
        try:
            with self._client(deadline.at_most(_VERSION_SECONDS), workspace=None) as client:
                value = client.get("/api/config").value
        except TransportError:
            return None  # what is wrong, if anything, the read that follows reports in full
        version = value.get("server_version") if isinstance(value, dict) else None
        return version if isinstance(version, str) and version else None

    def open(self, deadline: Deadline) -> HttpClient:
        """A client for the workspace, which the caller closes; asks which workspace there is if none is set.

        Raises TransportError.
        """
        if self.connection.workspace is not None:
            return self._client(deadline, self.connection.workspace.value)
        with self._client(deadline, workspace=None) as client:
            workspace = only_workspace(client.get("/api/workspaces").value)
        return self._client(deadline, workspace)

    def _client(self, deadline: Deadline, workspace: str | None) -> HttpClient:
        # Imported when it is used: httpx takes longer to import than the rest of a tick.
        from heartbeat.systems.http import HttpClient

        server, token = self.connection.required_server(), self.connection.required_token()
        headers = {"Authorization": f"Bearer {token.value}"}
        if workspace is not None:
            headers["X-Workspace-ID"] = workspace
        advice = _advice(server, token, self.connection.workspace)
        return HttpClient(server.value, deadline=deadline, headers=headers, advice=advice)


def _advice(server: Setting, token: Setting, workspace: Setting | None) -> dict[FailureKind, str]:
    """What to do, with the place where each setting came from."""
    place = f"the workspace comes from {workspace.origin}" if workspace else "no workspace is set"
    return {
        FailureKind.AUTH: f"the token comes from {token.origin}: renew it there (`multica login` makes one for 90 "
        "days), and see that its owner is a member of the workspace",
        FailureKind.UNREACHABLE: f"the address comes from {server.origin}: check it, and that the server runs",
        FailureKind.REFUSED: f"the server understood and will not; {place}",
        FailureKind.NOT_FOUND: f"the address comes from {server.origin}, and {place}: check both",
    }


def needs_squads(issues: Rows) -> bool:
    """Whether an issue is assigned to a squad, so that its leader must be known."""
    return any(isinstance(row, dict) and row.get("assignee_type") == "squad" for row in issues.rows)


def page_of(value: Any, what: str) -> Page:
    """The page in a list answer: `{"issues": […], "total": N}`, or a bare list as the oldest versions gave.

    Raises TransportError BAD_OUTPUT for any other shape.
    """
    if isinstance(value, list):
        return Page(value, None)
    rows = value.get("issues") if isinstance(value, Mapping) else None
    if not isinstance(rows, list):
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"{what} gave JSON without a list of issues",
            advice="check that the address is Multica's, and its version",
        )
    return Page(rows, _counted(value.get("total")))


def _counted(total: object) -> int | None:
    """A server's count, also as text or as a number that came through a float; None where it does not count."""
    if isinstance(total, bool) or not isinstance(total, int | float | str):
        return None
    text = str(int(total)) if isinstance(total, float) and total.is_integer() else str(total).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _page(client: HttpClient, offset: int) -> Page:
    return page_of(client.get("/api/issues", {**_LIST, "offset": offset}).value, "GET /api/issues")


def _best_effort(name: str, read: Callable[[], Any]) -> dict[str, Any]:
    """`name`, or `name_problem` with the reason why it could not be read."""
    try:
        value = read()
    except TransportError as error:
        return {f"{name}_problem": str(error)}
    return {name: value} if isinstance(value, list) else {f"{name}_problem": "the server sent no list"}
