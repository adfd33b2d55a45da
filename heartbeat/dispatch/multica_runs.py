"""The runs of a Multica issue, read, begun and cancelled, over the REST API or the multica command (contract 1.4, 2.3).
I/O only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.multica.answers import odd, path_of, record
from heartbeat.systems.multica.api import SNAPSHOT
from heartbeat.systems.multica.cli import CommandError, CommandTransport

if TYPE_CHECKING:
    from heartbeat.systems.http import HttpClient

Record = Mapping[str, Any]

_AT_WORK = {"working": True, "idle": False}
"""An agent's own status, as far as it tells whether it has a run (contract 2.4)."""


class Access(Protocol):
    """An open connection. Every call raises TransportError; one that changes something with `outcome_unknown` where it
    may have been carried out all the same."""

    def issue(self, identity: str) -> Record: ...

    def runs(self, identity: str) -> list[Record]:
        """Every run of the issue, whatever became of it, newest first."""
        ...

    def leader(self, squad: str) -> str | None:
        """The agent that leads a squad; None where this access cannot tell."""
        ...

    def at_work(self, agent: str) -> str:
        """What the agent has to do already, on whatever issue: in words, empty for nothing. Where that cannot be known
        it is an error."""
        ...

    def leave_backlog(self, identity: str, status: str) -> None:
        """The change of status that begins a run."""
        ...

    def rerun(self, identity: str) -> Record:
        """Begins a run; the run."""
        ...

    def cancel(self, run: str) -> Record:
        """Ends a run; the run as it is then."""
        ...


class ApiAccess:
    """Implements Access over REST."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def issue(self, identity: str) -> Record:
        return record(self._client.get(path_of(identity)).value, "the issue")

    def runs(self, identity: str) -> list[Record]:
        return _records(self._client.get(path_of(identity, "task-runs")).value, "the issue's runs")

    def leader(self, squad: str) -> str | None:
        squads = _records(self._client.get("/api/squads").value, "squads")
        return next((str(each.get("leader_id")) for each in squads if _same(each.get("id"), squad)), None)

    def at_work(self, agent: str) -> str:
        runs = _records(self._client.get(SNAPSHOT).value, "the runs of the workspace")
        busy = [each for each in runs if _same(each.get("agent_id"), agent) and is_active(each)]
        return f"run {busy[0].get('id')} is {busy[0].get('status')}" if busy else ""

    def leave_backlog(self, identity: str, status: str) -> None:
        self._client.put(path_of(identity), {"status": status})

    def rerun(self, identity: str) -> Record:
        return record(self._client.post(path_of(identity, "rerun"), {}).value, "a run", written=True)

    def cancel(self, run: str) -> Record:
        path = f"/api/tasks/{quote(run, safe='')}/cancel"
        return record(self._client.post(path, {}).value, "the cancelled run", written=True)


class CommandAccess:
    """Implements Access over the multica command, which lists neither the workspace's runs nor squads."""

    def __init__(self, transport: CommandTransport, deadline: Deadline, workspace: str | None) -> None:
        self._transport = transport
        self._deadline = deadline
        self._workspace = workspace

    def issue(self, identity: str) -> Record:
        return record(self._call(("issue", "get"), identity), "the issue")

    def runs(self, identity: str) -> list[Record]:
        return _records(self._call(("issue", "runs", "--full-id"), identity), "the issue's runs")

    def leader(self, squad: str) -> str | None:
        return None

    def at_work(self, agent: str) -> str:
        agents = _records(self._call(("agent", "list")), "agents")
        status = next((str(each.get("status")) for each in agents if _same(each.get("id"), agent)), "not listed")
        known = _AT_WORK.get(status)
        if known is None:
            raise TransportError(
                FailureKind.REFUSED,
                f"whether the agent {agent} has a run cannot be known from the multica command: it is {status}",
                advice="use the api transport, which lists the runs of the workspace",
            )
        return "the agent is at work" if known else ""

    def leave_backlog(self, identity: str, status: str) -> None:
        self._call(("issue", "status"), identity, status, writes=True)

    def rerun(self, identity: str) -> Record:
        return record(self._call(("issue", "rerun"), identity, writes=True), "a run", written=True)

    def cancel(self, run: str) -> Record:
        return record(self._call(("issue", "cancel-task"), run, writes=True), "the cancelled run", written=True)

    def _call(self, arguments: tuple[str, ...], *words: str, writes: bool = False) -> Any:
        value, _ = self._transport.call(
            arguments, self._deadline, words=words, workspace=self._workspace, writes=writes
        )
        return value


ENDED = frozenset({"completed", "failed", "cancelled"})
"""Every other state of a run, one that we do not know included, means that it goes on or is about to (rule T7)."""


def is_active(run: Record) -> bool:
    return str(run.get("status")) not in ENDED


def refusal_of(error: TransportError) -> tuple[int | None, str, str]:
    """The HTTP status of a refusal, and what the server says of it: its sentence and its code, as far as it told."""
    if isinstance(error, CommandError):
        return error.status, error.server_error, ""
    body = getattr(error, "body", None) or {}
    words = str(body.get("error") or ""), str(body.get("reason_code") or body.get("code") or "")
    return getattr(error, "status", None), *words


def _same(one: object, other: str) -> bool:
    return str(one).lower() == other.lower()


def _records(value: Any, what: str) -> list[Record]:
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    raise odd(what, "no list of them", False)
