"""A Multica server on loopback: the routes of contract 2.3 over a `MulticaState`, and every way to break them."""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

from tests.support.fake_multica_records import Json, RefusalError
from tests.support.fake_multica_state import MulticaState

VERSION = "0.4.32"
WRITES = "writes"
"""Every method but GET."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONG = 60.0
"""How long a hanging answer would hang if nobody closed the server."""


@dataclass
class Request:
    """One request as a route sees it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json
    user: str = ""


@dataclass
class Response:
    """One answer: a JSON value or raw bytes."""

    status: int = 200
    value: Any = None
    content: bytes | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes:
        if self.content is not None:
            return self.content
        return (
            b""
            if self.status == 204
            else json.dumps(self.value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        )


@dataclass
class Fault:
    """Breaks the requests whose method and path match: all of them, or the first `times`; `method` may be WRITES.

    With `after` the request is carried out first and only its answer is lost.
    """

    break_answer: Callable[[_Handler], None]
    path: str = ""
    method: str | None = None
    times: int | None = None
    after: bool = False

    def applies(self, method: str, path: str) -> bool:
        wanted = method != "GET" if self.method == WRITES else self.method in {None, method}
        return self.times != 0 and wanted and re.search(self.path, path) is not None

    def use(self) -> None:
        if self.times is not None:
            self.times -= 1


def answers(status: int, body: Any = None, *, content_type: str | None = None, **headers: str) -> Any:
    """A fault that answers with this status and body; header names are written with underscores."""
    raw = body if isinstance(body, bytes) else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = content_type or ("text/html" if raw is not None else "application/json")
    return lambda handler: handler.send(Response(status, body, raw, kind, named))


def hangs(handler: _Handler) -> None:
    """A fault that never answers."""
    handler.server.closing.wait(_LONG)
    handler.close_connection = True


def resets(handler: _Handler) -> None:
    """A fault that resets the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.drop()


def drips(interval: float, *, head: bool = False) -> Callable[[_Handler], None]:
    """A fault that sends one byte of an endless answer every `interval` seconds; with `head` not even its headers."""

    def drip(handler: _Handler) -> None:
        start = b"HTTP/1.1 200 OK\r\nX-Slow: " if head else b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n["
        with suppress(OSError):
            handler.wfile.write(start)
            while not handler.server.closing.wait(interval):
                handler.wfile.write(b" ")
        handler.close_connection = True

    return drip


class FakeMultica:
    """The server; use it as a context manager. `requests` are lines such as `GET /api/issues?offset=0`."""

    def __init__(self, state: MulticaState | None = None) -> None:
        self.state = state or MulticaState()
        self.faults: list[Fault] = []
        self.before: Callable[[Request], None] | None = None
        """Called before each request is carried out: the place to change the state between two pages."""
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops answering; connections that are open are cut. May be called twice."""
        if self._server.closing.is_set():
            return
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def break_with(self, break_answer: Any, **where: Any) -> Fault:
        """Adds a fault: `answers(502, b"<html>")`, `hangs`, `resets`, `drips(0.01)`; `where` as in `Fault`."""
        fault = Fault(break_answer, **where)
        self.faults.append(fault)
        return fault

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            found = next((fault for fault in self.faults if fault.applies(method, path)), None)
            if found is not None:
                found.use()
            return found

    def answer(self, request: Request) -> Response:
        with self._lock:
            if self.before is not None:
                self.before(request)
            try:
                return self._authorised(request)
            except RefusalError as refusal:
                kind = "text/plain; charset=utf-8" if refusal.status == 401 else "application/json"
                return Response(refusal.status, refusal.body, content_type=kind)

    def _authorised(self, request: Request) -> Response:
        """Authentication, workspace, route: in the order in which the server checks them (contract 2.1)."""
        if (request.method, request.path) in _PUBLIC:
            return Response(value=_PUBLIC[request.method, request.path])
        if not request.path.startswith("/api/"):
            return _not_found()
        authorization = request.headers.get("authorization", "")
        if not authorization:
            raise RefusalError(401, "missing authorization")
        user = self.state.tokens.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise RefusalError(401, "invalid token")
        request.user = user
        if request.path not in _WITHOUT_WORKSPACE:
            self._check_workspace(request)
        for method, pattern, route in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                return route(self.state, request, *match.groups())
        known = any(re.fullmatch(pattern, request.path) for _, pattern, _ in _ROUTES)
        return Response(405, content=b"") if known else _not_found()

    def _check_workspace(self, request: Request) -> None:
        slug = request.query.get("workspace_slug") or request.headers.get("x-workspace-slug")
        identity = request.query.get("workspace_id") or request.headers.get("x-workspace-id")
        if not slug and not identity:
            raise RefusalError(400, "workspace_id or workspace_slug is required")
        if not slug and not _UUID.fullmatch(identity or ""):
            raise RefusalError(400, "invalid workspace_id")
        mine = {workspace["slug" if slug else "id"] for workspace in self.state.workspaces}
        if (slug or identity) not in mine:
            raise RefusalError(404, "workspace not found")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fake: FakeMultica) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what several tests are about; anything else is a mistake of the fake's."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the inherited name
        pass

    def _serve(self) -> None:
        fake = self.server.fake
        request = self._request()
        fake.requests.append(f"{self.command} {self.path}")
        fake.headers.append(request.headers)
        fault = fake.fault_for(self.command, request.path)
        if fault is None:
            self.send(fake.answer(request))
            return
        if fault.after:
            fake.answer(request)
        fault.break_answer(self)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(content) if content else {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(self.command, parts.path, query, headers, cast(Json, body))

    def send(self, response: Response) -> None:
        content = response.bytes()
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def drop(self) -> None:
        """Closes the connection without a further word."""
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()


def _not_found() -> Response:
    return Response(404, content=b"404 page not found\n", content_type="text/plain; charset=utf-8")


_PUBLIC: dict[tuple[str, str], Any] = {
    ("GET", "/health"): {"status": "ok"},
    ("GET", "/readyz"): {"status": "ok", "checks": {"db": "ok", "migrations": "ok"}},
    ("GET", "/api/config"): {"server_version": VERSION},
}
_ME = {"name": "Alice", "email": "alice@acme.test"}
_WITHOUT_WORKSPACE = frozenset({"/api/me", "/api/workspaces"})


def _comments(state: MulticaState, request: Request, reference: str) -> Response:
    rows, cut = state.comments_of(state.find(reference), request.query)
    return Response(value=rows, headers={"X-Comments-Truncated": "true"} if cut else {})


def _add_comment(state: MulticaState, request: Request, reference: str) -> Response:
    return Response(201, state.comment(state.find(reference), request.body, author_id=request.user))


def _comment_of(state: MulticaState, comment_id: str) -> Json:
    if comment_id not in state.comments:
        raise RefusalError(404, "comment not found")
    return state.comments[comment_id]


def _delete(state: MulticaState, request: Request, reference: str) -> Response:
    state.delete(state.find(reference))
    return Response(204)


def _delete_comment(state: MulticaState, request: Request, comment_id: str) -> Response:
    state.delete_comment(_comment_of(state, comment_id))
    return Response(204)


def _members(state: MulticaState, request: Request, workspace_id: str) -> Response:
    return Response(value=[{"id": f"membership-{user}", "user_id": user} for user in set(state.tokens.values())])


def _children(state: MulticaState, request: Request, reference: str) -> Response:
    rows = state.children(state.find(reference))
    return Response(value={"issues": [state.issue_json(row) for row in rows]})


def _agents(state: MulticaState, request: Request) -> Response:
    hidden = request.query.get("include_archived") != "true"
    shown = [agent for agent in state.agents.values() if not (hidden and agent["archived_at"])]
    return Response(value=[state.agent_json(agent) for agent in shown])


def _statuses(state: MulticaState, request: Request) -> Response:
    rows = [{"key": key, "name": key, "category": category} for key, category in state.statuses.items()]
    return Response(value={"statuses": rows, "total": len(rows)})


def _metadata(state: MulticaState, request: Request, reference: str) -> Response:
    return Response(value={"metadata": state.find(reference)["metadata"]})


_ISSUE = r"/api/issues/([^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("GET", "/api/me", lambda state, request: Response(value={"id": request.user, **_ME})),
    ("GET", "/api/workspaces", lambda state, request: Response(value=state.workspaces)),
    ("GET", "/api/workspaces/([^/]+)/members", _members),
    ("GET", "/api/agents", _agents),
    ("GET", "/api/squads", lambda state, request: Response(value=list(state.squads.values()))),
    ("GET", "/api/issue-statuses", _statuses),
    ("GET", "/api/agent-task-snapshot", lambda state, request: Response(value=state.snapshot())),
    ("POST", "/api/tasks/([^/]+)/cancel", lambda state, request, run: Response(value=state.cancel_run(run))),
    ("GET", "/api/issues", lambda state, request: Response(value=state.list_issues(request.query))),
    ("POST", "/api/issues", lambda state, request: Response(201, state.create(request.body))),
    ("POST", "/api/issues/query", lambda state, request: Response(value=state.list_issues(request.body))),
    ("GET", _ISSUE, lambda state, request, ref: Response(value=state.issue_json(state.find(ref)))),
    ("PUT", _ISSUE, lambda state, request, ref: Response(value=state.update(state.find(ref), request.body))),
    ("DELETE", _ISSUE, _delete),
    ("GET", f"{_ISSUE}/children", _children),
    ("GET", f"{_ISSUE}/comments", _comments),
    ("POST", f"{_ISSUE}/comments", _add_comment),
    ("GET", f"{_ISSUE}/metadata", _metadata),
    (
        "PUT",
        f"{_ISSUE}/metadata/([^/]+)",
        lambda state, request, ref, key: Response(value=state.set_metadata(state.find(ref), key, request.body)),
    ),
    (
        "DELETE",
        f"{_ISSUE}/metadata/([^/]+)",
        lambda state, request, ref, key: Response(value=state.delete_metadata(state.find(ref), key)),
    ),
    ("GET", f"{_ISSUE}/task-runs", lambda state, request, ref: Response(value=state.runs_of(state.find(ref)))),
    (
        "GET",
        f"{_ISSUE}/active-task",
        lambda state, request, ref: Response(value={"tasks": state.runs_of(state.find(ref), active=True)}),
    ),
    ("POST", f"{_ISSUE}/rerun", lambda state, request, ref: Response(202, state.rerun(state.find(ref)))),
    (
        "PUT",
        "/api/comments/([^/]+)",
        lambda state, request, comment: Response(value=state.edit_comment(_comment_of(state, comment), request.body)),
    ),
    ("DELETE", "/api/comments/([^/]+)", _delete_comment),
)
