"""Whether turns could be started: the engine answers, lets us in and knows agents and models. Starts none, writes
nothing, and costs nothing (rules X2, F1).

A model that the engine knows may still refuse to answer: only a turn shows that (trial.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from heartbeat.action import Operation
from heartbeat.attempt import Engine
from heartbeat.deadline import Deadline
from heartbeat.errors import HeartbeatError
from heartbeat.provider import Failover, Provider, Strategy
from heartbeat.roster.model import Agent, Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.registry import build_source, build_writer

CARDS = "workboard"
"""The source by whose settings OpenClaw is found."""

_SHOWN = 5
"""Models that are named where the one that was asked for is not among them."""


class Verdict(StrEnum):
    """What a look came to."""

    WORKS = "works"
    DOUBTFUL = "doubtful"
    """It may work, and cannot be known without a turn; or it works another way than it should."""
    FAILS = "fails"
    UNTESTED = "untested"
    """Nothing was found out, since something else that it needs fails."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: an engine, an agent, or a provider, by name."""

    subject: str
    verdict: Verdict
    told: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found out about an engine and its agents, and about each provider."""

    engine: tuple[Finding, ...] = ()
    providers: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.engine, *self.providers)


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of `models.list`. `available` is False where OpenClaw has no credentials for it."""

    name: str
    available: bool
    is_default: bool


def examine_openclaw(
    roster: Roster,
    environment: Mapping[str, str],
    failover: Failover,
    agents: Sequence[str],
    deadline: Deadline,
    *,
    providers: Sequence[Provider] | None = None,
) -> Readiness:
    """Looks at OpenClaw for these agents, of whom there is one at least. Models are those that the first of them that
    OpenClaw has may use. Raises nothing for what the outside is like."""
    wanted = failover.providers if providers is None else providers
    with ExitStack() as stack:
        try:
            way = _Ways(roster, environment, deadline, stack).best()
        except TransportError as error:
            unreached = Finding(Engine.OPENCLAW, Verdict.FAILS, str(error), error.advice)
            return Readiness((unreached,), tuple(_untested(each) for each in wanted))
        try:
            known = _agents(way, agents)
        except TransportError as error:
            failed = Finding(Engine.OPENCLAW, Verdict.FAILS, f"it does not tell its agents: {error}", error.advice)
            return Readiness((*way.findings, failed), tuple(_untested(each) for each in wanted))
        asked = next((agent for agent in agents if agent not in known.missing), None)
        models = None if asked is None else _models(way, asked)
        judged = tuple(_judged(each, failover.strategy, asked, models) for each in wanted)
        return Readiness((*way.findings, *known.findings), judged)


def examine_multica(
    roster: Roster, environment: Mapping[str, str], agents: Sequence[Agent], deadline: Deadline
) -> Readiness:
    """Looks at Multica, which runs its own agents with models of its own choice. Raises nothing for what it is like."""
    from heartbeat.dispatch.engines import build_spawner

    name = Engine.MULTICA
    try:
        if build_spawner(Engine.MULTICA, roster, environment) is None:
            told = "the roster has no Multica to start runs in, or reads a saved file in its place"
            return Readiness((Finding(name, Verdict.FAILS, told, "set up `sources.multica` with a live transport"),))
        probes = build_source(name, roster, environment).probe(deadline)
    except HeartbeatError as error:
        return Readiness((Finding(name, Verdict.FAILS, str(error), error.advice),))
    found = next((probe for probe in probes if probe.ok), None)
    if found is None:
        told = "; ".join(f"{probe.transport}: {probe.message}" for probe in probes)
        advice = next((probe.advice for probe in probes if probe.advice), "")
        return Readiness((Finding(name, Verdict.FAILS, f"it cannot be reached ({told})", advice),))
    reached = Finding(name, Verdict.WORKS, f"reached by {found.transport}; its models are its own choice")
    strangers = tuple(
        Finding(
            agent.id,
            Verdict.FAILS,
            "the roster does not say who it is in Multica",
            f"set multica_id for {agent.id}: `multica agent list --output json`",
        )
        for agent in agents
        if agent.multica_id is None
    )
    return Readiness((reached, *strangers))


def examine_claims(roster: Roster, environment: Mapping[str, str]) -> tuple[Finding, ...]:
    """Which sources hold tasks that heartbeat can take for an agent before its turn (rule X5): read from a file, or
    without a way to write, they start nobody."""
    found = []
    for name in roster.sources:
        try:
            writer = build_writer(name, roster, environment)
            why = "" if writer is not None and writer.can(Operation.CLAIM) else "it cannot be written to"
        except HeartbeatError as error:
            why = str(error)
        if why:
            transport = roster.sources[name].get("transport")
            told = f"it is read from a saved file (transport: {transport})" if transport == "file" else why
            found.append(
                Finding(
                    name,
                    Verdict.DOUBTFUL,
                    f"{told}: what stands in {name} alone cannot be claimed, and starts nobody",
                    "give it a transport that can write, where its tasks are to start agents",
                )
            )
    return tuple(found)


@dataclass(slots=True)
class _Way:
    """How OpenClaw is asked. `findings` tell how it was reached."""

    call: Callable[[str, Mapping[str, Any]], Any]
    findings: list[Finding] = field(default_factory=list)


class _Ways:
    """The Gateway's WebSocket, else OpenClaw's program: as turns are started (see openclaw.py)."""

    def __init__(self, roster: Roster, environment: Mapping[str, str], deadline: Deadline, stack: ExitStack) -> None:
        from heartbeat.systems.openclaw.cli import CommandTransport
        from heartbeat.systems.openclaw.gateway import GatewayTransport

        settings = roster.sources.get(CARDS, {})
        url, token_env = settings.get("url"), settings.get("token_env")
        self._wanted = settings.get("transport", "auto")
        self._gateway = GatewayTransport(environment, url=url, token_env=token_env)
        binary = settings.get("binary") or "openclaw"
        self._command = CommandTransport(environment, binary, url=url, token_env=token_env)
        self._deadline = deadline
        self._stack = stack

    def best(self) -> _Way:
        """Raises TransportError where there is none."""
        without = self._gateway.absent() if self._wanted != "cli" else "not with `transport: cli`"
        if without is None:
            try:
                return self._by_gateway()
            except TransportError as error:
                # Only who was turned away at the door goes on to the program, and only where both are allowed.
                if self._has_program() is not None or error.kind is not FailureKind.AUTH:
                    raise
                told = f"the Gateway turns heartbeat away ({error}); turns are started by the program `openclaw`"
                way = self._by_program()
                way.findings.insert(0, Finding(Engine.OPENCLAW, Verdict.DOUBTFUL, told, error.advice))
                return way
        lacking = self._has_program()
        if lacking is None:
            return self._by_program()
        raise TransportError(
            FailureKind.NOT_CONFIGURED,
            f"there is no way to start a turn at OpenClaw (gateway: {without}; cli: {lacking})",
            advice="say in `sources.workboard` where the Gateway is, or run where `openclaw` is on PATH",
        )

    def _has_program(self) -> str | None:
        """Why there is no program to start turns with."""
        return self._command.absent() if self._wanted != "gateway" else "not with `transport: gateway`"

    def _by_gateway(self) -> _Way:
        from heartbeat.systems.openclaw.gateway import READ, WRITE, GatewayClient, until_ready

        address, deadline = self._gateway.address(), self._deadline
        client = self._stack.enter_context(GatewayClient(address, (READ, WRITE)))
        client.connect(deadline)
        missing = sorted({READ, WRITE} - set(client.granted))
        where = f"the Gateway at {address.shown}"
        if missing:
            told = f"{where} lets heartbeat in without {' and '.join(missing)}: no turn can be started"
            raise TransportError(FailureKind.REFUSED, told, advice="give heartbeat a token with both scopes")
        version = f" ({client.server_version})" if client.server_version else ""
        told = f"{where}{version} lets heartbeat in, to read and to write"

        def call(method: str, parameters: Mapping[str, Any]) -> Any:
            return until_ready(lambda: client.call(method, parameters, deadline), deadline)

        return _Way(call, [Finding(Engine.OPENCLAW, Verdict.WORKS, told)])

    def _by_program(self) -> _Way:
        command, deadline = self._command, self._deadline
        told = f"by the program `{command.binary}`"
        return _Way(
            lambda method, parameters: command.call(method, parameters, deadline),
            [Finding(Engine.OPENCLAW, Verdict.WORKS, told)],
        )


@dataclass(frozen=True, slots=True)
class _Known:
    findings: tuple[Finding, ...]
    missing: frozenset[str]


def _agents(way: _Way, agents: Sequence[str]) -> _Known:
    """Raises TransportError."""
    from heartbeat.systems.openclaw.agents import METHOD, agents_of_gateway

    listed = {each.id.lower() for each in agents_of_gateway(way.call(METHOD, {})).agents}
    missing = [agent for agent in agents if agent.lower() not in listed]
    found = [agent for agent in agents if agent not in missing]
    findings = [Finding("agents", Verdict.WORKS, f"OpenClaw has {', '.join(found)}")] if found else []
    for agent in missing:
        advice = "add it there, or correct its id in the roster; `openclaw agents list` shows who there is"
        findings.append(Finding(agent, Verdict.FAILS, f"OpenClaw has no agent {agent}", advice))
    return _Known(tuple(findings), frozenset(missing))


def _models(way: _Way, agent: str) -> tuple[Model, ...] | str:
    """What the agent may use, or why that is not told."""
    try:
        return tuple(models_of(way.call("models.list", {"agentId": agent})))
    except TransportError as error:
        return str(error)


def models_of(page: Any) -> Iterator[Model]:
    """The entries of `models.list`: `{models: [{provider, id, available, tags}]}`. Raises TransportError for anything
    else."""
    entries = page.get("models") if isinstance(page, Mapping) else None
    if not isinstance(entries, list):
        told = safe_excerpt(repr(page)[:500])
        raise TransportError(FailureKind.BAD_OUTPUT, f"OpenClaw answered models.list with something else: {told}")
    for entry in entries:
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
            provider, tags = entry.get("provider"), entry.get("tags")
            yield Model(
                name=f"{provider}/{entry['id']}" if isinstance(provider, str) and provider else entry["id"],
                available=entry.get("available") is not False,
                is_default=isinstance(tags, list) and "default" in tags,
            )


def _untested(provider: Provider) -> Finding:
    return Finding(provider.name, Verdict.UNTESTED, "OpenClaw could not be asked about it")


def _judged(
    provider: Provider, strategy: Strategy, agent: str | None, models: tuple[Model, ...] | str | None
) -> Finding:
    """What OpenClaw's list of models says of a provider."""
    name = provider.name
    if models is None:
        return Finding(name, Verdict.UNTESTED, "OpenClaw has none of the agents to ask as")
    if isinstance(models, str):
        return Finding(name, Verdict.DOUBTFUL, f"OpenClaw does not tell its models: {models}")
    if strategy is Strategy.NATIVE:
        return _native(name, agent, models)
    found = _found(provider.model, models)
    if found is not None:
        return _credited(name, f"OpenClaw knows {found.name}", found)
    shown = ", ".join(sorted(each.name for each in models)[:_SHOWN]) + (", …" if len(models) > _SHOWN else "")
    listed = f"it has {shown}" if models else "it has none at all"
    prefix, slash, _ = provider.model.partition("/")
    if slash and any(each.name.startswith(f"{prefix}/") for each in models):
        told = f"OpenClaw does not list {provider.model} ({listed}); it would be asked for all the same"
        return Finding(name, Verdict.DOUBTFUL, told, _CORRECT)
    return Finding(name, Verdict.FAILS, f"OpenClaw has no model {provider.model} ({listed})", _CORRECT)


_CORRECT = "correct `model` in the roster's `providers`; `openclaw models list` names those there are"


def _found(wanted: str, models: tuple[Model, ...]) -> Model | None:
    """By its full name; without a provider it is one of the default model's provider."""
    default = next((each.name.partition("/")[0] for each in models if each.is_default), "")
    names = {wanted, f"{default}/{wanted}"} if "/" not in wanted else {wanted}
    return next((each for each in models if each.name in names), None)


def _native(name: str, agent: str | None, models: tuple[Model, ...]) -> Finding:
    default = next((each for each in models if each.is_default), None)
    if default is None:
        told = f"OpenClaw chooses, and does not say what {agent}'s own model is"
        return Finding(name, Verdict.DOUBTFUL, told, "set `agents.defaults.model` in its openclaw.json")
    return _credited(name, f"OpenClaw chooses; {agent}'s own model is {default.name}", default)


def _credited(name: str, told: str, model: Model) -> Finding:
    if model.available:
        return Finding(name, Verdict.WORKS, f"{told}, and has credentials for it")
    advice = f"give OpenClaw a key for {model.name.partition('/')[0]}: `openclaw models auth --help`"
    return Finding(name, Verdict.FAILS, f"{told}, and has no credentials for it", advice)
