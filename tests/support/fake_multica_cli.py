"""A stand-in for the multica command (contract 1), which talks to a server over HTTP as the real one does.

`install` puts an executable into a directory. It imports nothing but the standard library, since it runs as a program
of its own, and of that neither dataclasses nor typing, since it does so hundreds of times. A file beside it says how
it behaves, another keeps what it was called with. What the real command can do besides is not known here and fails
loudly: an unknown word, an unknown flag.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BEHAVIOUR = "multica.behaviour.json"
CALLS = "multica.calls.jsonl"
VERSION = "0.4.32"

_GLOBAL_FLAGS = {
    "server-url": True,
    "workspace-id": True,
    "profile": True,
    "debug": False,
    "help": False,
    "version": False,
}
_TASK_VARIABLES = ("MULTICA_AGENT_ID", "MULTICA_TASK_ID", "MULTICA_DAEMON_PORT")
_SENTENCES = {
    "auth": ("Authentication is required.", "需要登录。"),
    "forbidden": ("You have no permission to do this.", "没有权限。"),
    "not_found": ("The resource was not found.", "未找到资源。"),
    "conflict": ("The request is in conflict with something.", "请求冲突。"),
    "rate_limited": ("Too many requests.", "请求过多。"),
    "server": ("The server has a problem.", "服务器错误。"),
    "unknown": ("Something went wrong.", "出错了。"),
    "network": ("The server cannot be reached.", "无法连接服务器。"),
    "timeout": ("The server did not answer in time.", "请求超时。"),
    "invalid": ("Invalid request: ", "请求无效："),
    "conflict_with": ("Request conflict: ", "请求冲突："),
}
"""English and Chinese; the wording is ours, since nothing may depend on it."""
_STATUS_SENTENCES = {401: ("auth", 3), 403: ("forbidden", 3), 404: ("not_found", 4), 429: ("rate_limited", 1)}


def install(directory: Path, **behaviour: Any) -> Path:
    """Writes the command `multica` into `directory` and gives its path.

    `version`: what it says it is. `lacks`: flags that an old version does not know. `bare_list`: `issue list` prints
    the list alone, as before 0.2.0. `prints`: print this and end with 0, whatever is asked. `banner`: print this line
    first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "multica"
    from tests.support import ready_programs

    ready_programs.write(program, "fake_multica_cli")
    behave(program, **behaviour)
    return program


def behave(program: Path, **behaviour: Any) -> None:
    """Changes how an installed command behaves from now on; keywords as for `install`."""
    program.with_name(BEHAVIOUR).write_text(json.dumps(behaviour), "utf-8")


def calls(program: Path) -> list[dict[str, Any]]:
    """What the command was called with so far: `argv`, `cwd`, and `environment` (its MULTICA_* and locale parts)."""
    log = program.with_name(CALLS)
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


class Failure(Exception):  # noqa: N818 - an exit code with its text, not a mistake of this program
    """Ends the command: exit code, text for stderr, and the `[debug]` lines that follow it in debug mode."""

    def __init__(self, code: int, text: str, debug: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.debug = debug


class Flags:
    """Parsed arguments: flags by name without dashes, and the words around them."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.words: list[str] = []

    def last(self, name: str, default: str = "") -> str:
        return self.values.get(name, [default])[-1]

    def given(self, name: str) -> bool:
        return name in self.values


class Context:
    """Where to, as whom: flags first, then the environment, then the configuration file."""

    def __init__(self, flags: Flags, environment: Mapping[str, str], behaviour: dict[str, Any]) -> None:
        self.flags = flags
        self.environment = environment
        self.behaviour = behaviour
        configured = self._configuration()
        self.server = _server_url(
            self.flags.last("server-url") or self._variable("MULTICA_SERVER_URL") or configured.get("server_url", "")
        )
        self.workspace = (
            self.flags.last("workspace-id")
            or self._variable("MULTICA_WORKSPACE_ID")
            or configured.get("workspace_id", "")
        )
        self.token = self._variable("MULTICA_TOKEN") or configured.get("token", "")

    @property
    def json(self) -> bool:
        return self.flags.last("output") == "json"

    @property
    def debug(self) -> bool:
        variable = self.environment.get("MULTICA_DEBUG", "").lower()
        return self.flags.given("debug") or variable not in {"", "0", "false", "no", "off"}

    def call(self, chain: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request; fails with the exit codes and texts of contract 1.2."""
        self._check()
        asked = {name: value for name, value in query.items() if value not in ("", None)}
        target = f"{path}?{urlencode(sorted(asked.items()))}" if asked else path
        status, content = self._send(method, target, body)
        if status >= 400:
            raise self._refused(chain, method, path, status, content.decode("utf-8", "replace"))
        try:
            return json.loads(content) if status != 204 else None
        except ValueError:
            text = content.decode("utf-8", "replace").lstrip()
            reason = f"invalid character '{text[0]}' looking for beginning of value" if text else "EOF"
            raise Failure(1, f"{chain}: {reason}") from None

    def say(self, name: str) -> str:
        locale = next((self.environment[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if self._variable(key)), "")
        return _SENTENCES[name][locale.startswith("zh")]

    def _variable(self, name: str) -> str:
        return self.environment.get(name, "").strip()

    def _configuration(self) -> dict[str, str]:
        profile = self.flags.last("profile")
        folder = Path(self.environment.get("HOME", "/nowhere")) / ".multica"
        path = folder / "profiles" / profile / "config.json" if profile else folder / "config.json"
        try:
            value = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _check(self) -> None:
        """The task-context trap, then the address."""
        if self._in_task() and not self._variable("MULTICA_TOKEN").startswith("mat_"):
            raise Failure(1, "agent execution context requires MULTICA_TOKEN to be a task-scoped mat_ token")
        if not self.server:
            raise Failure(1, "No server configured. Run 'multica setup' first.")

    def _in_task(self) -> bool:
        if any(self._variable(name) for name in _TASK_VARIABLES):
            return True
        here = Path.cwd()
        for folder in (here, *here.parents):
            try:
                marker = json.loads((folder / ".multica" / "daemon_task_context.json").read_text("utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(marker, dict) and marker.get("managed_by") == "multica-daemon-task":
                return True
        return False

    def _send(self, method: str, target: str, body: Any) -> tuple[int, bytes]:
        parts = urlsplit(self.server)
        headers = {"X-Client-Platform": "cli", "X-Client-Version": self.behaviour.get("version", VERSION)}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.workspace:
            headers["X-Workspace-ID"] = self.workspace
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers["Content-Length"] = str(len(content))
        lines = [f"{method} {parts.path}{target} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
        request = "\r\n".join((*lines, "", "")).encode() + content
        try:
            return _exchange((parts.hostname or "", parts.port or 80), request, self._timeout())
        except TimeoutError as error:
            raise self._network(method, target, "timeout", "network_timeout", error) from None
        except ConnectionRefusedError as error:
            raise self._network(method, target, "network", "network_refused", error) from None
        except (OSError, ValueError) as error:
            kind = "network_dns" if isinstance(error, socket.gaierror) else "network_offline"
            raise self._network(method, target, "network", kind, error) from None

    def _network(self, method: str, target: str, sentence: str, kind: str, error: Exception) -> Failure:
        return Failure(2, self.say(sentence), f'[debug] network: op="{method} {target}" kind={kind} cause={error}')

    def _timeout(self) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m)?", self._variable("MULTICA_HTTP_TIMEOUT"))
        return float(match[1]) * (60 if match[2] == "m" else 1) if match else 30.0

    def _refused(self, chain: str, method: str, path: str, status: int, body: str) -> Failure:
        debug = f"[debug] {chain}: {method} {path} returned {status}: {body.strip()}\n"
        debug += f"[debug] http: {method} {path} status={status} body={body.strip()[:4096]}"
        told = _server_text(body)
        if status in {400, 422}:
            return Failure(5, self.say("invalid") + told, debug)
        if status == 409:
            return Failure(1, self.say("conflict_with") + told if told else self.say("conflict"), debug)
        sentence, code = _STATUS_SENTENCES.get(status, ("server" if status >= 500 else "unknown", 1))
        return Failure(code, self.say(sentence), debug)


def _exchange(address: tuple[str, int], request: bytes, timeout: float) -> tuple[int, bytes]:
    """Status and body of the answer. A few lines of its own, since http.client takes longer to import than the rest."""
    with socket.create_connection(address, timeout) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            answer = stream.read()
    head, _, content = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("there was no answer")
    length = re.search(rb"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
    if length and len(content) < int(length[1]):
        raise ConnectionResetError("the answer was cut off")
    return int(head.split(None, 2)[1]), content


def _server_url(text: str) -> str:
    match = re.fullmatch(r"(ws|http)(s?)://([^/?#]+)([^?#]*).*", text.strip())
    if not match:
        return text.strip()
    path = match[4].rstrip("/")
    return f"http{match[2]}://{match[3]}{'' if path == '/ws' else path}"


def _server_text(body: str) -> str:
    """The first of the usual keys that holds prose, else a bare code."""
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return ""
    texts = [value[key] for key in ("error", "message", "detail", "title") if isinstance(value.get(key), str)]
    return next((text for text in texts if " " in text), texts[0] if texts else "")


def render_json(value: Any) -> str:
    """As Go prints it: keys sorted, two blanks, `< > &` and the two line separators escaped, whole floats as ints."""
    text = json.dumps(_plain_numbers(value), indent=2, sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain_numbers(member) for member in value]
    if isinstance(value, dict):
        return {key: _plain_numbers(member) for key, member in value.items()}
    return value


def show(context: Context, value: Any) -> None:
    """The value as JSON, or a table of its rows; what the table looks like is nobody's business."""
    if context.json:
        print(render_json(value))
        return
    for row in value if isinstance(value, list) else [value]:
        print("  ".join(str(member) for member in row.values()) if isinstance(row, dict) else row)


def resolve(context: Context, reference: str) -> Any:
    """The issue that a key or a full UUID names; every issue command begins with this request."""
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[A-Za-z0-9]+-\d+", reference):
        short = re.fullmatch(r"[0-9a-fA-F]{4,}", reference)
        reason = "looks like a short UUID" if short else "is not a recognized issue"
        raise Failure(1, f'resolve issue: issue ref "{reference}" {reason} reference')
    return context.call("resolve issue", "GET", f"/api/issues/{quote(reference)}")


def resolve_assignee(context: Context, assignee: str) -> dict[str, str]:
    """Three requests to find out whom an id belongs to. Whatever fails here ends with 1 (contract 1.2)."""
    known: dict[str, str] = {}
    for kind, path, query in (
        ("member", f"/api/workspaces/{context.workspace}/members", {}),
        ("agent", "/api/agents", {"workspace_id": context.workspace}),
        ("squad", "/api/squads", {}),
    ):
        try:
            rows = context.call("resolve assignee", "GET", path, **query)
        except Failure as failure:
            raise Failure(1, f"resolve assignee: {failure.text}", failure.debug) from None
        known |= {row.get("user_id") or row["id"]: kind for row in rows}
    if assignee not in known:
        raise Failure(1, f'resolve assignee: no member, agent, or squad found with ID "{assignee}"')
    return {"assignee_type": known[assignee], "assignee_id": assignee}


def issue_list(context: Context, words: list[str]) -> None:
    flags = context.flags
    sort, direction = flags.last("sort"), flags.last("direction")
    valid = ("position", "title", "created_at", "start_date", "due_date", "priority")
    if sort and sort not in valid:
        raise Failure(1, f'invalid --sort "{sort}"; valid values: {", ".join(valid)}')
    if not context.workspace:
        raise Failure(1, "workspace_id is required: use --workspace-id flag, set MULTICA_WORKSPACE_ID env")
    assignee = flags.last("assignee-id")
    if assignee:
        resolve_assignee(context, assignee)
    limit, offset = int(flags.last("limit", "50")), int(flags.last("offset", "0"))
    answer = context.call(
        "list issues",
        "GET",
        "/api/issues",
        workspace_id=context.workspace,
        limit=limit or None,
        offset=offset or None,
        status=flags.last("status"),
        priority=flags.last("priority"),
        assignee_id=assignee,
        sort=sort,
        direction=direction,
    )
    rows = answer["issues"]
    if not context.json or context.behaviour.get("bare_list"):
        show(context, rows)
        return
    more = offset + len(rows) < answer["total"]
    show(
        context,
        {"issues": rows, "total": answer["total"], "limit": limit, "offset": offset, "has_more": more},
    )


def issue_get(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    context.flags.values.setdefault("output", ["json"])
    show(context, context.call("get issue", "GET", f"/api/issues/{issue['id']}"))


def issue_status(context: Context, words: list[str]) -> None:
    status = words[1].strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,31}", status):
        raise Failure(1, f'invalid status "{words[1]}"; a status key is 1-32 characters of a-z, 0-9 and _')
    issue = resolve(context, words[0])
    body = {"status": status, **({"suppress_run": True} if context.flags.given("no-start") else {})}
    changed = context.call("update issue", "PUT", f"/api/issues/{issue['id']}", body)
    print(f"Issue {issue['identifier']} status changed to {status}.", file=sys.stderr)
    if context.json:
        show(context, changed)


def issue_update(context: Context, words: list[str]) -> None:
    flags = context.flags
    issue = resolve(context, words[0])
    body: dict[str, Any] = {name: flags.last(name) for name in ("title", "status", "priority") if flags.given(name)}
    if flags.given("assignee-id"):
        body |= resolve_assignee(context, flags.last("assignee-id"))
    if not body:
        raise Failure(1, "no fields to update; use flags like --title, --status, --priority, --assignee, etc.")
    if flags.given("no-start"):
        body["suppress_run"] = True
    flags.values.setdefault("output", ["json"])
    changed = context.call("update issue", "PUT", f"/api/issues/{issue['id']}", body)
    show(context, changed)


def comment_add(context: Context, words: list[str]) -> None:
    content = _comment_content(context.flags)
    issue = resolve(context, words[0])
    body = {
        "content": content,
        **({"parent_id": context.flags.last("parent")} if context.flags.given("parent") else {}),
    }
    context.flags.values.setdefault("output", ["json"])
    added = context.call("add comment", "POST", f"/api/issues/{issue['id']}/comments", body)
    print(f"Comment added to issue {issue['identifier']}.", file=sys.stderr)
    show(context, added)


def _comment_content(flags: Flags) -> str:
    if flags.given("content-stdin"):
        # One final line end goes, whatever else is there stays.
        content = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
        if not content:
            raise Failure(1, "stdin content for --content-stdin is empty")
        return content
    if not flags.given("content"):
        raise Failure(1, "--content, --content-stdin, or --content-file is required")
    escapes = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
    return re.sub(r"\\[nrt\\]", lambda match: escapes[match[0]], flags.last("content"))


def comment_list(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    flags = context.flags
    plain = any(flags.given(name) for name in ("full", "since", "roots-only"))
    rows = context.call(
        "list comments",
        "GET",
        f"/api/issues/{issue['id']}/comments",
        since=flags.last("since"),
        roots_only="true" if flags.given("roots-only") else None,
        fold=None if plain else "true",
    )
    show(context, rows)


def metadata_list(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    try:
        answer = context.call("list metadata", "GET", f"/api/issues/{issue['id']}/metadata")
    except Failure as failure:
        if failure.code != 4:
            raise
        answer = {"metadata": {}}
    show(context, answer["metadata"])


def metadata_get(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    metadata = context.call("get metadata", "GET", f"/api/issues/{issue['id']}/metadata")["metadata"]
    key = context.flags.last("key")
    if key not in metadata:
        raise Failure(1, f'key "{key}" not found on issue')
    context.flags.values.setdefault("output", ["json"])
    show(context, metadata[key])


def metadata_set(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    key, body = context.flags.last("key"), {"value": _metadata_value(context.flags)}
    answer = context.call("set metadata", "PUT", f"/api/issues/{issue['id']}/metadata/{quote(key)}", body)
    show(context, answer["metadata"])


def _metadata_value(flags: Flags) -> Any:
    """Without a type the value is a JSON scalar where it looks like one; null is none and stays text."""
    text, kind = flags.last("value"), flags.last("type")
    if kind == "string":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, bool) and kind in {"", "bool"}:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and kind in {"", "number"}:
        return value
    if isinstance(value, str) and not kind:
        return value
    if kind:
        raise Failure(1, f'invalid {kind} value "{text}"')
    return text


def metadata_delete(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    path = f"/api/issues/{issue['id']}/metadata"
    context.call("delete metadata", "DELETE", f"{path}/{quote(context.flags.last('key'))}")
    show(context, context.call("list metadata", "GET", path)["metadata"])


def issue_runs(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    show(context, context.call("list runs", "GET", f"/api/issues/{issue['id']}/task-runs"))


def issue_rerun(context: Context, words: list[str]) -> None:
    issue = resolve(context, words[0])
    context.flags.values.setdefault("output", ["json"])
    show(context, context.call("rerun issue", "POST", f"/api/issues/{issue['id']}/rerun", {}))


def cancel_task(context: Context, words: list[str]) -> None:
    """Takes a run's whole UUID, and resolves nothing."""
    context.flags.values.setdefault("output", ["json"])
    show(context, context.call("cancel task", "POST", f"/api/tasks/{words[0]}/cancel", {}))


def agent_list(context: Context, words: list[str]) -> None:
    archived = "true" if context.flags.given("include-archived") else None
    rows = context.call("list agents", "GET", "/api/agents", workspace_id=context.workspace, include_archived=archived)
    show(context, rows)


def workspace_list(context: Context, words: list[str]) -> None:
    rows = context.call("list workspaces", "GET", "/api/workspaces")
    show(context, [{name: row[name] for name in ("id", "name", "slug")} for row in rows])


def auth_status(context: Context, words: list[str]) -> None:
    """Says it all on stderr and always ends with 0."""
    if not context.token:
        print("Not authenticated. Run 'multica login' to authenticate.", file=sys.stderr)
        return
    try:
        user = context.call("me", "GET", "/api/me")
    except Failure as failure:
        said = failure.debug.splitlines()[0].removeprefix("[debug] me: ") if failure.debug else failure.text
        print(f"Token is invalid or expired: {said}\nRun 'multica login' to re-authenticate.", file=sys.stderr)
        return
    name = f"{user['name']} ({user['email']})"
    print(f"Server:  {context.server}\nUser:    {name}\nToken:   {context.token[:12]}...", file=sys.stderr)


def version(context: Context, words: list[str]) -> None:
    number = context.behaviour.get("version", VERSION)
    if context.json:
        built = {"commit": "1cc46b2", "date": "2026-08-22T03:27:39Z", "go": "go1.27.3", "os": "linux", "arch": "amd64"}
        show(context, {"version": number, **built})
    else:
        print(f"multica {number} (commit: 1cc46b2, built: 2026-08-22T03:27:39Z)\ngo: go1.27.3, os/arch: linux/amd64")


class Command:
    """How many words it takes, which flags (with a value or without), and what it does."""

    def __init__(self, run: Callable[[Context, list[str]], None], words: int, flags: Mapping[str, bool]) -> None:
        self.run = run
        self.words = words
        self.flags = flags


_OUTPUT = {"output": True}
_LIST_FLAGS = dict.fromkeys(
    ("status", "priority", "assignee-id", "limit", "offset", "sort", "direction"),
    True,
)
_UPDATE_FLAGS = dict.fromkeys(("title", "status", "priority", "assignee-id"), True)
_COMMENT_FLAGS = {"content": True, "content-file": True, "parent": True, "attachment": True, "content-stdin": False}
COMMANDS: dict[tuple[str, ...], Command] = {
    ("issue", "list"): Command(issue_list, 0, {**_LIST_FLAGS, "full-id": False, **_OUTPUT}),
    ("issue", "get"): Command(issue_get, 1, _OUTPUT),
    ("issue", "status"): Command(issue_status, 2, {"no-start": False, **_OUTPUT}),
    ("issue", "update"): Command(issue_update, 1, {**_UPDATE_FLAGS, "no-start": False, **_OUTPUT}),
    ("issue", "runs"): Command(issue_runs, 1, {"full-id": False, **_OUTPUT}),
    ("issue", "rerun"): Command(issue_rerun, 1, _OUTPUT),
    ("issue", "cancel-task"): Command(cancel_task, 1, {"issue": True, **_OUTPUT}),
    ("issue", "comment", "add"): Command(comment_add, 1, {**_COMMENT_FLAGS, **_OUTPUT}),
    ("issue", "comment", "list"): Command(
        comment_list, 1, {"full": False, "roots-only": False, "since": True, **_OUTPUT}
    ),
    ("issue", "metadata", "list"): Command(metadata_list, 1, _OUTPUT),
    ("issue", "metadata", "get"): Command(metadata_get, 1, {"key": True, **_OUTPUT}),
    ("issue", "metadata", "set"): Command(metadata_set, 1, {"key": True, "value": True, "type": True, **_OUTPUT}),
    ("issue", "metadata", "delete"): Command(metadata_delete, 1, {"key": True, **_OUTPUT}),
    ("agent", "list"): Command(agent_list, 0, {"include-archived": False, **_OUTPUT}),
    ("workspace", "list"): Command(workspace_list, 0, {"full-id": False, **_OUTPUT}),
    ("auth", "status"): Command(auth_status, 0, {}),
    ("version",): Command(version, 0, _OUTPUT),
}
_GROUPS = {path[:length] for path in COMMANDS for length in range(1, len(path))}


def find_command(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The longest path of commands or groups at the front, global flags skipped, and the other arguments."""
    path: tuple[str, ...] = ()
    rest: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if argument.startswith("-"):
            rest.append(argument)
            name, equals, _ = argument.lstrip("-").partition("=")
            if pending and not equals and _GLOBAL_FLAGS.get(name, False):
                rest.append(pending.pop(0))
        elif (*path, argument) in COMMANDS or (*path, argument) in _GROUPS:
            path = (*path, argument)
            if path in COMMANDS:
                return path, rest + pending
        else:
            return path, [*rest, argument, *pending]
    return path, rest


def parse(arguments: Sequence[str], known: Mapping[str, bool]) -> Flags:
    """Flags and words as cobra reads them: anywhere, `--name value` or `--name=value`, until a bare `--`."""
    flags = Flags()
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if argument == "--":
            flags.words += pending
            break
        if not argument.startswith("--"):
            flags.words.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        if name not in known:
            raise Failure(1, f"unknown flag: --{name}")
        if known[name] and not equals:
            if not pending:
                raise Failure(1, f"flag needs an argument: --{name}")
            value = pending.pop(0)
        flags.values.setdefault(name, []).append(value)
    return flags


def execute(arguments: Sequence[str], environment: Mapping[str, str], behaviour: dict[str, Any]) -> int:
    """Carries out one call and gives its exit code."""
    path, rest = find_command(arguments)
    command = COMMANDS.get(path)
    context = None
    try:
        if command is None:
            flags = parse(rest, _GLOBAL_FLAGS)
            if flags.given("version"):
                version(Context(flags, environment, behaviour), [])
                return 0
            if flags.words and not path:
                raise Failure(1, f'unknown command "{flags.words[0]}" for "multica"')
            print(f"Usage:\n  multica {' '.join((*path, '[command]'))}")
            return 0
        lacks = {flag.removeprefix("--") for flag in behaviour.get("lacks", ())}
        known = {name: takes for name, takes in {**command.flags, **_GLOBAL_FLAGS}.items() if name not in lacks}
        context = Context(parse(rest, known), environment, behaviour)
        if len(context.flags.words) != command.words:
            print(f"Usage:\n  multica {' '.join(path)} [flags]")
            raise Failure(1, f"Error: accepts {command.words} arg, received {len(context.flags.words)}\n")
        command.run(context, context.flags.words)
    except Failure as failure:
        print(failure.text, file=sys.stderr)
        if failure.debug and context is not None and context.debug:
            print(f"\n{failure.debug}", file=sys.stderr)
        return failure.code
    return 0


def main() -> int:
    here = Path(sys.argv[0]).resolve()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    behaviour = json.loads(here.with_name(BEHAVIOUR).read_text("utf-8"))
    told = {name: value for name, value in os.environ.items() if name.startswith(("MULTICA_", "LC_", "LANG"))}
    with here.with_name(CALLS).open("a", encoding="utf-8") as log:
        log.write(json.dumps({"argv": sys.argv[1:], "cwd": str(Path.cwd()), "environment": told}) + "\n")
    if "prints" in behaviour:
        sys.stdout.write(behaviour["prints"])
        return 0
    if "banner" in behaviour:
        print(behaviour["banner"])
    return execute(sys.argv[1:], os.environ, behaviour)
