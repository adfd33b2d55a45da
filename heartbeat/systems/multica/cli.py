"""Multica over its own command (contract 1): for where the command is set up and the API is not ours to call.

Exit codes and the `[debug]` lines decide what happened; sentences are in the user's language and never do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.http_words import json_object
from heartbeat.systems.json_text import load_json, safe_excerpt
from heartbeat.systems.multica.api import PAGE_SIZE, needs_squads, page_of
from heartbeat.systems.multica.discovery import Connection, only_workspace
from heartbeat.systems.multica.paging import Page, read_every_page
from heartbeat.systems.process import Completed, find_executable, run
from heartbeat.task import Finding

TASK_VARIABLES = frozenset(
    {
        "MULTICA_AGENT_ID",
        "MULTICA_TASK_ID",
        "MULTICA_DAEMON_PORT",
        "MULTICA_TASK_CONFIG_ROOT",
        "MULTICA_QUICK_CREATE_TASK_ID",
        "MULTICA_QUICK_CREATE_ATTACHMENT_IDS",
    }
)
"""With one of these the command takes itself for an agent's run and wants that run's token (contract 1.1)."""

_ORDER = ("--sort", "created_at", "--direction", "asc")
_OPTIONAL_FLAGS = ("--full-id", "--direction", "--sort")
_VERSION_SECONDS = 10.0
_EXIT_KINDS = {
    2: FailureKind.UNREACHABLE,
    3: FailureKind.AUTH,
    4: FailureKind.NOT_FOUND,
    5: FailureKind.REFUSED,
}
_STATUS_KINDS = {
    401: FailureKind.AUTH,
    403: FailureKind.AUTH,
    404: FailureKind.NOT_FOUND,
    429: FailureKind.RATE_LIMITED,
}
_HTTP_STATUS = re.compile(r"^\[debug\] http: \S+ \S+ status=(\d{3})\b", re.MULTILINE)
_REFUSED_REQUEST = re.compile(r"^\[debug\] http: (\S+) \S+ status=(\d{3}) body=(.*)$", re.MULTILINE)
_BROKEN_REQUEST = re.compile(r"^\[debug\] network: op=\"(\S+) .*\bkind=(network_\w+)", re.MULTILINE)
_UNSENT = frozenset({"network_dns", "network_refused", "network_tls"})
_UNTOLD = frozenset({FailureKind.TIMEOUT, FailureKind.TOO_LARGE, FailureKind.BAD_OUTPUT})
"""Ways in which a call ends that do not tell what it had done before."""
_NETWORK_KIND = re.compile(r"^\[debug\] network: .*\bkind=(network_\w+)", re.MULTILINE)
_UNKNOWN_FLAG = re.compile(r"^(?:Error: )?unknown flag: (--[a-z-]+)\s*$", re.MULTILINE)
_NOT_JSON = re.compile(r"invalid character .* looking for|unexpected end of JSON input|: (?:unexpected )?EOF\s*$")
"""What Go's JSON reader says of an answer that is none; like `unknown flag`, it is not translated (contract 5)."""
_ADVICE = {
    FailureKind.UNREACHABLE: "run `multica auth status`; check the server's address",
    FailureKind.AUTH: "run `multica login`, or set MULTICA_TOKEN where heartbeat runs",
    FailureKind.NOT_FOUND: "check the workspace: `multica workspace list --full-id`",
    FailureKind.TIMEOUT: "see whether the server is overloaded, or set MULTICA_HTTP_TIMEOUT",
    FailureKind.RATE_LIMITED: "read less often",
    FailureKind.SERVER_ERROR: "look into the server's own log",
    FailureKind.BAD_OUTPUT: "run it by hand and look at what it prints",
    FailureKind.REFUSED: "run it by hand; an old version of the command may lack what is asked for",
}


@dataclass(frozen=True, slots=True)
class CommandTransport:
    """Implements Transport. `server_flag` and `workspace_flag` are the roster's values, passed as flags."""

    connection: Connection
    environment: Mapping[str, str] = field(repr=False)
    binary: str = "multica"
    server_flag: str | None = None
    workspace_flag: str | None = None
    name: str = "cli"

    def absent(self) -> str | None:
        """No such command, or one that was never set up (its own flags, environment and files are all it has)."""
        if find_executable(self.binary, self.environment) is None:
            return f"no program {self.binary} on the PATH"
        return self.connection.absent()

    def fetch(self, deadline: Deadline) -> Fetched:
        """Every issue of the workspace. Squads and active runs have no command of their own; the translation says what
        cannot be known without them. Raises TransportError where not even the first page came."""
        listing = _Listing(self, deadline, self.workspace(deadline))
        issues = read_every_page(listing.page, page_size=PAGE_SIZE)
        extra: dict[str, Any] = {"runs_problem": "the multica command cannot list the active runs"}
        if needs_squads(issues):
            extra["squads_problem"] = "the multica command cannot list squads"
        findings = [Finding("configuration", problem) for problem in self.connection.problems]
        findings += [Finding("tool-banner", f"`multica` printed around its JSON: {text}") for text in listing.banners]
        if listing.left_out:
            findings.append(
                Finding(
                    "old-multica",
                    f"this version of the multica command does not know {', '.join(listing.left_out)}; it was asked "
                    "without, and an update would make the reading surer",
                )
            )
        return Fetched(issues.rows, issues.problem, tuple(findings), extra)

    def version(self, deadline: Deadline) -> str | None:
        """The command's own version (the server's is not told); None where it cannot be had."""
        try:
            value, _ = self.call(("version",), deadline.at_most(_VERSION_SECONDS))
        except TransportError:
            return None  # what is wrong, if anything, the read that follows reports in full
        version = value.get("version") if isinstance(value, dict) else None
        return version if isinstance(version, str) and version else None

    def call(
        self,
        arguments: Sequence[str],
        deadline: Deadline,
        *,
        words: Sequence[str] = (),
        workspace: str | None = None,
        stdin: bytes | None = None,
        writes: bool = False,
    ) -> tuple[Any, str]:
        """The JSON that `multica … --output json` prints, and the banner around it.

        A server, workspace and profile of the roster go by flags, a token of the roster by the environment: arguments
        can be seen by every user of the machine. `words` come last, behind `--`, where nothing in them is a flag.
        Raises TransportError; for a call that `writes`, with `outcome_unknown` where it may have been carried out.
        """
        last = ("--", *words) if words else ()
        argv = [self.binary, *self._global_flags(workspace), *arguments, "--output", "json", *last]
        command = f"`multica {' '.join(takewhile(lambda argument: argument[:1] != '-', arguments))}`"
        try:
            completed = run(
                argv, deadline=deadline, environment=self._child_environment(), cwd=_safe_directory(), stdin=stdin
            )
            if completed.code == 0:
                return load_json(completed.stdout, what=command)
        except TransportError as error:
            error.outcome_unknown = writes and error.kind in _UNTOLD
            raise
        raise _failure(completed, command, self._secrets(), writes=writes)

    def workspace(self, deadline: Deadline) -> str | None:
        """The workspace to name: None where the command finds it by itself, else the only one there is. Raises
        TransportError where there are several."""
        if self.connection.workspace is not None:
            return None
        value, _ = self.call(("workspace", "list", "--full-id"), deadline)
        return only_workspace(value)

    def _global_flags(self, workspace: str | None) -> list[str]:
        flags = (
            ("--server-url", self.server_flag),
            ("--workspace-id", workspace or self.workspace_flag),
            ("--profile", self.connection.profile),
        )
        return [part for name, value in flags if value for part in (name, value)]

    def _child_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in self.environment.items() if name not in TASK_VARIABLES}
        token = {"MULTICA_TOKEN": self.connection.required_token().value} if self.connection.token_env else {}
        return {**inherited, **token, "MULTICA_DEBUG": "1"}

    def _secrets(self) -> tuple[str, ...]:
        return (self.connection.token.value,) if self.connection.token else ()


class _Listing:
    """`multica issue list`, page by page; learns on the way which flags the installed version lacks."""

    def __init__(self, transport: CommandTransport, deadline: Deadline, workspace: str | None) -> None:
        self._transport = transport
        self._deadline = deadline
        self._workspace = workspace
        self._paged = True
        self.left_out: list[str] = []
        self.banners: list[str] = []

    def page(self, offset: int) -> Page:
        while True:
            try:
                value, banner = self._transport.call(self._arguments(offset), self._deadline, workspace=self._workspace)
            except UnknownFlagError as error:
                self._leave_out(error)
                continue
            if banner and banner not in self.banners:
                self.banners.append(banner)
            page = page_of(value, "`multica issue list`")
            return page if self._paged else Page(page.rows, None)

    def _arguments(self, offset: int) -> tuple[str, ...]:
        order = () if {"--sort", "--direction"} & set(self.left_out) else _ORDER
        full = () if "--full-id" in self.left_out else ("--full-id",)
        place = ("--offset", str(offset)) if self._paged else ()
        return ("issue", "list", "--limit", str(PAGE_SIZE), *place, *order, *full)

    def _leave_out(self, error: UnknownFlagError) -> None:
        if error.flag in self.left_out:
            raise error
        if error.flag == "--offset":
            self._paged = False
        elif error.flag not in _OPTIONAL_FLAGS:
            raise error
        self.left_out.append(error.flag)


class UnknownFlagError(TransportError):
    """The installed version of the command does not know a flag; nothing was sent."""

    def __init__(self, command: str, flag: str) -> None:
        super().__init__(
            FailureKind.REFUSED,
            f"{command} does not know the flag {flag}",
            advice="update the multica command",
        )
        self.flag = flag


class CommandError(TransportError):
    """The command ended with an error. `status` and `server_error` are what the server answered, where it did."""

    status: int | None = None
    server_error: str = ""


def _failure(
    completed: Completed, command: str, secrets: tuple[str, ...], *, writes: bool = False
) -> UnknownFlagError | CommandError:
    """What an exit code above zero means (contract 1.2)."""
    said = completed.stderr
    flag = _UNKNOWN_FLAG.search(said)
    if flag and completed.code == 1:
        return UnknownFlagError(command, flag[1])
    for secret in secrets:
        said = said.replace(secret, "[hidden]")
    kind, told = _kind(completed.code, said)
    sentence = said.split("\n[debug] ", 1)[0]
    message = f"{command} ended with exit code {completed.code}{told}: {safe_excerpt(sentence, 300) or 'no word'}"
    error = CommandError(
        kind, message, advice=_ADVICE.get(kind, ""), outcome_unknown=writes and _may_have_landed(completed.code, said)
    )
    refused = _REFUSED_REQUEST.search(said)
    if refused:
        error.status = int(refused[2])
        error.server_error = str(json_object(refused[3].encode()).get("error") or "")
    return error


def _may_have_landed(code: int, said: str) -> bool:
    """Whether a write may have been carried out although the command failed. It reads before it writes, and where the
    reading failed nothing was written."""
    refused = _REFUSED_REQUEST.search(said)
    if refused:
        return refused[1] != "GET" and int(refused[2]) in (502, 504)
    broken = _BROKEN_REQUEST.search(said)
    if broken:
        return broken[1] != "GET" and broken[2] not in _UNSENT
    return code < 0 or code == 2 or _NOT_JSON.search(said) is not None


def _kind(code: int, said: str) -> tuple[FailureKind, str]:
    status = _HTTP_STATUS.search(said)
    if status:
        number = int(status[1])
        by_code = _EXIT_KINDS.get(code, FailureKind.SERVER_ERROR if number >= 500 else FailureKind.REFUSED)
        return _STATUS_KINDS.get(number, by_code), f" (HTTP {number})"
    network = _NETWORK_KIND.search(said)
    if network:
        late = network[1] == "network_timeout"
        return FailureKind.TIMEOUT if late else FailureKind.UNREACHABLE, f" ({network[1]})"
    if code < 0:
        return FailureKind.REFUSED, " (ended by a signal)"
    if _NOT_JSON.search(said):
        return FailureKind.BAD_OUTPUT, ""
    return _EXIT_KINDS.get(code, FailureKind.REFUSED), ""


def _safe_directory() -> Path:
    """A working directory that does not make the command think it works for an agent.

    It looks for `.multica/daemon_task_context.json` in the working directory and in every directory above, and the
    directories in which agents work have one (contract 1.1). The root has nothing above it.
    """
    root = Path("/")
    marker = root / ".multica" / "daemon_task_context.json"
    if marker.exists():
        raise TransportError(
            FailureKind.REFUSED,
            f"{marker} makes the multica command take every process of this machine for an agent's run",
            advice="remove that file, or use the api transport",
        )
    return root
