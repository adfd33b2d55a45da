"""Cases of the contract suite on a real OpenClaw: over the Gateway's WebSocket, over its command line, and offline.

All share one Gateway, which starts when the first of them is opened. What cannot be made of a real Gateway (garbage,
an empty answer) is left to the fakes.
"""

from __future__ import annotations

import atexit
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from heartbeat.roster.model import Roster
from heartbeat.systems.base import Deadline, FailureKind, Probe, Reading, Source
from heartbeat.systems.openclaw.source import build
from tests.contract.suite import Case, Fault
from tests.real.gateway import AGENTS, RealGateway
from tests.real.session import Shared, shared
from tests.real.wiretap import Wiretap
from tests.support.rosters import make_agent, make_roster

TIMEOUT = 60.0
COMMAND_SECONDS = 120.0
"""For one read by the command line on a slow and busy machine."""


def settings(transport: str) -> dict[str, Any]:
    """The roster's settings of the source with one transport, or `auto`."""
    return {"transport": transport, "required": False, "timeout": TIMEOUT}


def team() -> Roster:
    """The roster with the agents that a RealGateway has."""
    return make_roster(*(make_agent(agent) for agent in AGENTS))


def open_source(transport: str, environment: Mapping[str, str]) -> Source:
    """The WorkBoard source over one transport, or `auto`."""
    return build(settings(transport), team(), environment)


@cache
def closed_port() -> int:
    """A port on loopback at which nothing answers, and which nobody else gets as long as Python runs."""
    held = socket.socket()
    atexit.register(held.close)
    held.bind(("127.0.0.1", 0))
    return int(held.getsockname()[1])


@dataclass
class Changes:
    """Tells what was written to a board, by the Gateway's own word: every change bumps `updatedAt` (contract 1.4)."""

    gateway: RealGateway
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self._now()

    def __call__(self) -> list[str]:
        now = self._now()
        return sorted(name for name in self.before.keys() | now.keys() if self.before.get(name) != now.get(name))

    def _now(self) -> dict[str, Any]:
        answer = self.gateway.call("workboard.cards.list")
        cards = {f"card {card['title']}": card for card in answer["cards"]}
        return {**cards, "boards": answer["boards"]}


@contextmanager
def open_gateway(_directory: Path) -> Iterator[Case]:
    """Over the WebSocket, with a wiretap between, which can be cut and can spoil the token on its way."""
    common = shared()
    gateway = common.gateway
    changes = Changes(gateway)
    with Wiretap(gateway.url) as wiretap:

        def gone() -> FailureKind:
            wiretap.close()
            return FailureKind.UNREACHABLE

        def denied() -> FailureKind:
            wiretap.rewrite = lambda frame: frame.replace(gateway.token, "0" * len(gateway.token))
            return FailureKind.AUTH

        def hanging() -> FailureKind:
            gateway.freeze()
            return FailureKind.TIMEOUT

        environment = {**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)}
        case = _case(open_source("gateway", environment), "gateway", common, changes)
        case.faults = {Fault.GONE: gone, Fault.DENIED: denied, Fault.HANGING: hanging}
        try:
            yield case
        finally:
            gateway.thaw()


@dataclass
class Rationed:
    """A source each of whose reads starts a program that takes seconds of CPU.

    Two reads and one probe are real; later ones give their results again in turn, so that the whole suite judges real
    results for the price of three.
    """

    source: Source
    now: datetime
    readings: list[Reading] = field(default_factory=list, repr=False)
    probes: list[tuple[Probe, ...]] = field(default_factory=list, repr=False)
    reads: int = 0

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def identity(self) -> str:
        return self.source.identity

    @property
    def shareable(self) -> bool:
        return self.source.shareable

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        del deadline  # the suite's patience is for one that may hang, and these are not broken
        assert now == self.now, "a reading is given again only for the same present"
        if len(self.readings) < 2:
            self.readings.append(self.source.read(Deadline.after(COMMAND_SECONDS), now))
            return self.readings[-1]
        self.reads += 1
        return self.readings[self.reads % 2]

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        del deadline
        if not self.probes:
            self.probes.append(self.source.probe(Deadline.after(COMMAND_SECONDS)))
        return self.probes[0]


@dataclass
class _Rations:
    """What lives as long as the tests: the source, and the board as it was before its first read."""

    source: Rationed
    changes: Changes


@cache
def _command_line() -> _Rations:
    common = shared()
    source = open_source("cli", common.gateway.environment)
    return _Rations(Rationed(source, common.filled_at), Changes(common.gateway))


@cache
def _offline() -> _Rations:
    common = shared()
    environment = {**common.gateway.environment, "OPENCLAW_GATEWAY_PORT": str(closed_port())}
    return _Rations(Rationed(open_source("cli", environment), common.filled_at), Changes(common.gateway))


@contextmanager
def open_command_line(_directory: Path) -> Iterator[Case]:
    """Over `openclaw gateway call`."""
    rations = _command_line()
    yield _case(rations.source, "cli", shared(), rations.changes)


@contextmanager
def open_offline(_directory: Path) -> Iterator[Case]:
    """Over `openclaw workboard list`, which reads the database itself: the Gateway seems to be down."""
    rations = _offline()
    yield _case(rations.source, "cli", shared(), rations.changes)


def _case(source: Source, transport: str, common: Shared, changes: Changes) -> Case:
    return Case(
        source=source,
        transport=transport,
        titles=common.board.titles,
        now=common.filled_at,
        secret=common.gateway.token,
        writes=changes,
    )


CASES = [
    pytest.param(open_gateway, id="workboard-gateway-real", marks=pytest.mark.openclaw),
    pytest.param(open_command_line, id="workboard-cli-real", marks=pytest.mark.openclaw),
    pytest.param(open_offline, id="workboard-cli-offline-real", marks=pytest.mark.openclaw),
]
