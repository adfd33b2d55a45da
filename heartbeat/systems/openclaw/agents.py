"""Which agents OpenClaw has and where their workspaces are: asked of the Gateway, else of OpenClaw's command, else read
from its configuration (contract 2.2, 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.discovery import is_loopback, read_configuration, state_directory

if TYPE_CHECKING:
    from heartbeat.systems.openclaw.cli import CommandTransport
    from heartbeat.systems.openclaw.gateway import GatewayTransport

METHOD = "agents.list"
OWN = frozenset({"main"})
"""Agents that OpenClaw has for itself: they take messages and hand them on (contract 5)."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII | re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class OpenClawAgent:
    """One agent as OpenClaw tells of it. `identity` is the name that it goes by in talks. `workspace` is a path on the
    machine where OpenClaw runs, empty where it is not told. All of it is foreign text."""

    id: str
    name: str = ""
    identity: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class OpenClawAgents:
    """Every agent in OpenClaw's order. `problems` are sentences about what could not be read."""

    agents: tuple[OpenClawAgent, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverGateway:
    """Asks the Gateway over its WebSocket, with the scope to read and no other."""

    transport: GatewayTransport
    name: str = "gateway"

    def absent(self) -> str | None:
        """Why there is no Gateway to ask; None where it is worth trying."""
        return self.transport.absent()

    def read(self, deadline: Deadline) -> OpenClawAgents:
        """Raises TransportError."""
        # Imported when it is used: the library takes longer to import than a file to read.
        from heartbeat.systems.openclaw.gateway import GatewayClient, until_ready

        with GatewayClient(self.transport.address()) as client:
            return agents_of_gateway(until_ready(lambda: client.call(METHOD, {}, deadline), deadline))


@dataclass(frozen=True, slots=True)
class ByCommand:
    """Asks the `openclaw` command, which reads its own configuration and needs no Gateway (8 s, contract 5). Where the
    Gateway is on another machine, the command asks that one."""

    transport: CommandTransport
    remote: bool = False
    name: str = "cli"

    def absent(self) -> str | None:
        """Why there is no command to ask; None where it is worth trying."""
        return self.transport.absent()

    def read(self, deadline: Deadline) -> OpenClawAgents:
        """Raises TransportError."""
        if self.remote:
            return agents_of_gateway(self.transport.call(METHOD, {}, deadline))
        return agents_of_command(self.transport.printed(("agents", "list", "--json"), deadline))


@dataclass(frozen=True, slots=True)
class InConfiguration:
    """Reads openclaw.json of this machine."""

    environment: Mapping[str, str] = field(repr=False)
    name: str = "file"

    @property
    def path(self) -> Path:
        return state_directory(self.environment) / "openclaw.json"

    def absent(self) -> str | None:
        """Why there is no file to read; None where it is worth trying."""
        return None if self.path.exists() else f"no {self.path}"

    def read(self, deadline: Deadline) -> OpenClawAgents:
        """Raises TransportError."""
        configuration = read_configuration(self.path)
        if configuration is None:
            raise TransportError(FailureKind.BAD_OUTPUT, f"{self.path} holds no settings")
        return agents_of_configuration(configuration, self.environment)


Way = OverGateway | ByCommand | InConfiguration


def ways(settings: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Way, ...]:
    """The ways to ask, best first, by the roster's settings for WorkBoard (checked plain data; empty for none).

    A roster that reads saved cards has no OpenClaw to ask. Where the Gateway is on another machine, the configuration
    of this one is about other agents.
    """
    from heartbeat.systems.openclaw.cli import CommandTransport
    from heartbeat.systems.openclaw.gateway import GatewayTransport

    url, token_env = settings.get("url"), settings.get("token_env")
    remote = is_remote(settings, environment)
    gateway = OverGateway(GatewayTransport(environment, None, url, token_env))
    command = ByCommand(
        CommandTransport(environment, settings.get("binary") or "openclaw", None, url, token_env), remote
    )
    local: tuple[Way, ...] = () if remote else (InConfiguration(environment),)
    match settings.get("transport", "auto"):
        case "file":
            return ()
        case "gateway":
            return (gateway,)
        case "cli":
            return (command, *local)
    return (gateway, command, *local)


def is_remote(settings: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether the Gateway is said to be on another machine, where its workspaces are too."""
    url = settings.get("url") or environment.get("OPENCLAW_GATEWAY_URL", "").strip()
    return bool(url) and not is_loopback(url)


def agents_of_gateway(payload: Any) -> OpenClawAgents:
    """The payload of `agents.list`: `{agents: [{id, name?, identity?: {name}, workspace}]}`. Raises TransportError."""
    records = payload.get("agents") if isinstance(payload, Mapping) else None
    if not isinstance(records, list):
        raise _no_list("the Gateway", payload)
    return _agents(records, lambda record: _text(_mapping(record.get("identity")).get("name")))


def agents_of_command(printed: Any) -> OpenClawAgents:
    """What `openclaw agents list --json` prints: a list of `{id, name?, identityName?, workspace}`. Raises
    TransportError."""
    if not isinstance(printed, list):
        raise _no_list("`openclaw agents list`", printed)
    return _agents(printed, lambda record: _text(record.get("identityName")))


def agents_of_configuration(configuration: Mapping[str, Any], environment: Mapping[str, str]) -> OpenClawAgents:
    """The agents that openclaw.json names, with their workspaces as OpenClaw derives them: the agent's own, else the
    default one for an only agent, else a directory named by its id (contract 5)."""
    section = _mapping(configuration.get("agents"))
    entries = tuple(_entries(section))
    if not entries and "entries" not in section and "list" not in section:
        entries = (("main", {}),)  # OpenClaw has this agent where none is configured
    places = _Workspaces(_mapping(section.get("defaults")), _heir(section, entries), environment)
    told = [
        {**entry, "id": name.lower() if _ID.fullmatch(name) else name, "workspace": places.of(name.lower(), entry)}
        for name, entry in entries
    ]
    found = _agents(told, lambda record: _text(_mapping(record.get("identity")).get("name")))
    included = "$include" in configuration or "$include" in section
    problems = ("parts of openclaw.json are kept in other files, which are not read here",) if included else ()
    return OpenClawAgents(found.agents, (*found.problems, *problems, *places.problems))


class _Workspaces:
    """Where each agent of a configuration works. `heir` is the agent that has the default workspace itself."""

    def __init__(self, defaults: Mapping[str, Any], heir: str, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._default = _text(defaults.get("workspace"))
        self._heir = heir
        self.problems: list[str] = []

    def of(self, agent: str, entry: Mapping[str, Any]) -> str:
        own = _text(entry.get("workspace"))
        if own:
            return self._resolved(own, f"the workspace of {agent}")
        if self._default:
            base = self._resolved(self._default, "agents.defaults.workspace")
            return str(Path(base, agent)) if base and agent != self._heir else base
        state = state_directory(self._environment)
        if agent != self._heir:
            return str(state / f"workspace-{agent}")
        named = self._environment.get("OPENCLAW_WORKSPACE_DIR", "").strip()
        return named or str(state / "workspace")

    def _resolved(self, text: str, what: str) -> str:
        """An absolute path, or nothing where it depends on what is not known here."""
        missing = [name for name in _REFERENCE.findall(text) if not self._environment.get(name)]
        if missing:
            self._tell(f"{what} in openclaw.json needs {', '.join(missing)}, which is not set here")
            return ""
        path = _REFERENCE.sub(lambda found: self._environment[found.group(1)], text)
        if path == "~" or path.startswith("~/"):
            path = str(Path(self._environment.get("HOME") or Path.home()) / path[2:])
        if not path.startswith("/"):
            self._tell(f"{what} in openclaw.json is no absolute path, and means the Gateway's own directory")
            return ""
        return path

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _entries(section: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Ids and settings of either form: `entries` by id, or the older `list`."""
    entries, listed = section.get("entries"), section.get("list")
    if isinstance(entries, Mapping):
        yield from ((str(name), entry) for name, entry in entries.items() if isinstance(entry, Mapping))
    elif isinstance(listed, list):
        yield from ((_text(entry.get("id")), entry) for entry in listed if isinstance(entry, Mapping))


def _heir(section: Mapping[str, Any], entries: tuple[tuple[str, Mapping[str, Any]], ...]) -> str:
    """The only agent, or the one that an older configuration marks as default."""
    marked = [name for name, entry in entries if entry.get("default") is True]
    if section.get("ownership") != "explicit" and len(marked) == 1:
        return marked[0].lower()
    return entries[0][0].lower() if len(entries) == 1 else ""


def _agents(records: Iterable[Any], identity: Callable[[Mapping[str, Any]], str]) -> OpenClawAgents:
    found: dict[str, OpenClawAgent] = {}
    problems: list[str] = []
    for record in records:
        name = _text(record.get("id")) if isinstance(record, Mapping) else ""
        if not name:
            problems.append(f"an agent without an id: {safe_excerpt(repr(record)[:300])}")
        elif name in found:
            problems.append(f"two agents have the id {safe_excerpt(name)!r}; the first counts")
        else:
            workspace = record.get("workspace")
            place = workspace if isinstance(workspace, str) else ""
            found[name] = OpenClawAgent(name, _text(record.get("name")), identity(record), place)
    return OpenClawAgents(tuple(found.values()), tuple(problems))


def _no_list(what: str, came: Any) -> TransportError:
    return TransportError(
        FailureKind.BAD_OUTPUT, f"{what} gave no list of agents: {safe_excerpt(repr(came)[:500])}", advice="update it"
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
