"""One issue, read and changed, over the REST API or the multica command (contract 1.4, 2.3). I/O only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.multica.answers import odd, path_of, record
from heartbeat.systems.multica.api import SNAPSHOT
from heartbeat.systems.multica.cli import CommandError, CommandTransport, UnknownFlagError

if TYPE_CHECKING:
    from heartbeat.systems.http import HttpClient

_GONE = "issue not found"
"""What the server says of an issue that is not there; any other 404 may be a wrong address or workspace."""
_CONFLICT = "revision_conflict"
_QUIET = "--no-start"


class IssueGoneError(TransportError):
    """There is no such issue (any more)."""


class RevisionConflictError(TransportError):
    """The issue has another revision than the one that the change was bound to; nothing was changed."""


_AT_WORK = {"working": True, "idle": False}
"""An agent's own status, as far as it tells whether it has a run. An agent whose machine is offline may well have one:
Multica waits three hours for it to come back (contract 3, timeouts)."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs as the API sends them; None where they could not be read. `at_work` says whether the agent that was asked
    about has a run anywhere, where the workspace's runs cannot be had."""

    of_issue: list[Any] | None
    of_workspace: list[Any] | None = None
    at_work: bool | None = None


class Access(Protocol):
    """An open connection. Every call raises TransportError, IssueGoneError where the issue is not there."""

    @property
    def binds(self) -> bool:
        """Whether a change can be bound to a revision, where the server has them."""
        ...

    def issue(self, identity: str) -> Mapping[str, Any]: ...

    def comments(self, identity: str) -> list[Any]:
        """Oldest first; of very many, the newest."""
        ...

    def squads(self) -> list[Any] | None:
        """None where this access cannot list them."""
        ...

    def runs(self, identity: str, agent: str | None) -> Runs:
        """The issue's runs, and those of the agent with this UUID. Best effort: what cannot be read is None."""
        ...

    def add_comment(self, identity: str, text: str) -> Mapping[str, Any]: ...

    def change(self, identity: str, fields: Mapping[str, str], revision: int | None) -> Mapping[str, Any]:
        """Sets fields without starting a run, bound to `revision` if this access binds; the issue as it is then.
        Raises RevisionConflictError."""
        ...

    def can_be_quiet(self) -> bool:
        """Whether it can be told to start no run."""
        ...


class ApiAccess:
    """Implements Access over REST."""

    binds = True

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def issue(self, identity: str) -> Mapping[str, Any]:
        return record(self._get(path_of(identity)), "the issue")

    def comments(self, identity: str) -> list[Any]:
        return _rows(self._get(path_of(identity, "comments")), "comments")

    def squads(self) -> list[Any]:
        return _rows(self._client.get("/api/squads").value, "squads")

    def runs(self, identity: str, agent: str | None) -> Runs:
        """Two questions: the workspace's runs leave out what one may not see, the issue's know nothing of others."""
        of_issue = _best_effort(lambda: record(self._get(path_of(identity, "active-task")), "runs").get("tasks"))
        return Runs(of_issue, _best_effort(lambda: self._client.get(SNAPSHOT).value))

    def add_comment(self, identity: str, text: str) -> Mapping[str, Any]:
        try:
            answer = self._client.post(path_of(identity, "comments"), {"content": text})
        except TransportError as error:
            _refine(error)
        return record(answer.value, "the comment", written=True)

    def change(self, identity: str, fields: Mapping[str, str], revision: int | None) -> Mapping[str, Any]:
        bound = {} if revision is None else {"expected_revision": revision}
        try:
            answer = self._client.put(path_of(identity), {**fields, "suppress_run": True, **bound})
        except TransportError as error:
            _refine(error)
        return record(answer.value, "the changed issue", written=True)

    def can_be_quiet(self) -> bool:
        return True

    def _get(self, path: str) -> Any:
        try:
            return self._client.get(path).value
        except TransportError as error:
            _refine(error)


class CommandAccess:
    """Implements Access over the multica command.

    It lists the runs of one issue, but neither the workspace's nor squads, and binds no change to a revision.
    """

    binds = False

    def __init__(self, transport: CommandTransport, deadline: Deadline, workspace: str | None) -> None:
        self._transport = transport
        self._deadline = deadline
        self._workspace = workspace

    def issue(self, identity: str) -> Mapping[str, Any]:
        return record(self._read(("issue", "get"), identity), "the issue")

    def comments(self, identity: str) -> list[Any]:
        try:
            value = self._read(("issue", "comment", "list", "--full"), identity)
        except UnknownFlagError:  # before 0.3.29 every list was a full one
            value = self._read(("issue", "comment", "list"), identity)
        return _rows(value, "comments")

    def squads(self) -> None:
        return None

    def runs(self, identity: str, agent: str | None) -> Runs:
        of_issue = _best_effort(lambda: self._read(("issue", "runs"), identity))
        if agent is None:
            return Runs(of_issue)
        agents = _best_effort(lambda: self._call(("agent", "list"))) or []
        found = (row for row in agents if isinstance(row, Mapping) and str(row.get("id")).lower() == agent.lower())
        return Runs(of_issue, at_work=next((_AT_WORK.get(str(row.get("status"))) for row in found), None))

    def add_comment(self, identity: str, text: str) -> Mapping[str, Any]:
        value = self._write(("issue", "comment", "add", "--content-stdin"), identity, stdin=text.encode())
        return record(value, "the comment", written=True)

    def change(self, identity: str, fields: Mapping[str, str], revision: int | None) -> Mapping[str, Any]:
        flags = (("--status", fields.get("status")), ("--assignee-id", fields.get("assignee_id")))
        arguments = ("issue", "update", *(part for flag, value in flags if value for part in (flag, value)))
        try:
            value = self._write((*arguments, _QUIET), identity)
        except UnknownFlagError as error:
            if error.flag != _QUIET:
                raise
            value = self._write(arguments, identity)
        return record(value, "the changed issue", written=True)

    def can_be_quiet(self) -> bool:
        """Asks the command itself: called without an issue it fails in any case and sends nothing, but it reads its
        flags first. Versions before 0.4.26 do not know this one."""
        try:
            self._call(("issue", "update", _QUIET))
        except UnknownFlagError:
            return False
        except CommandError:
            return True
        return True

    def _read(self, arguments: tuple[str, ...], identity: str) -> Any:
        try:
            return self._call(arguments, identity)
        except CommandError as error:
            _refine(error)

    def _write(self, arguments: tuple[str, ...], identity: str, stdin: bytes | None = None) -> Any:
        try:
            return self._call(arguments, identity, stdin=stdin, writes=True)
        except CommandError as error:
            _refine(error)

    def _call(self, arguments: tuple[str, ...], *words: str, stdin: bytes | None = None, writes: bool = False) -> Any:
        value, _ = self._transport.call(
            arguments, self._deadline, words=words, workspace=self._workspace, stdin=stdin, writes=writes
        )
        return value


def _refine(error: TransportError) -> NoReturn:
    """Raises what the server's own words make of an error."""
    if isinstance(error, CommandError):
        status, said, code = error.status, error.server_error, ""
    else:
        body = getattr(error, "body", {})
        status, said, code = getattr(error, "status", None), str(body.get("error") or ""), str(body.get("code") or "")
    if status == 404 and said == _GONE:
        raise IssueGoneError(FailureKind.NOT_FOUND, str(error), advice=error.advice) from error
    if status == 409 and code == _CONFLICT:
        raise RevisionConflictError(FailureKind.REFUSED, str(error), advice=error.advice) from error
    raise error


def _rows(value: Any, what: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise odd(what, "no list", False)


def _best_effort(read: Callable[[], Any]) -> list[Any] | None:
    """A list, or None: what cannot be read counts as not known, which holds back whoever needs it (rule T7)."""
    try:
        value = read()
    except IssueGoneError:
        raise
    except TransportError:
        return None
    return value if isinstance(value, list) else None
