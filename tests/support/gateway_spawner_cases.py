"""The spawners' suite on the fake Gateway, over its WebSocket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from heartbeat.dispatch.base import Order
from heartbeat.dispatch.gateway import GatewaySpawner
from heartbeat.systems.openclaw.gateway import GatewayTransport
from tests.contract.spawner_suite import SpawnerCase
from tests.support.fake_board import FakeBoard
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_models import Behaviour
from tests.support.openclaw_cases import NOW_MS

PRICE = 0.00378
"""US dollars: 1,200 tokens at 3 and 12 at 15 a million."""


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def __call__(self) -> int:
        return self.milliseconds

    def pass_by(self, seconds: float) -> None:
        self.milliseconds += int(seconds * 1000)


def model_of(behaviour: Behaviour) -> str:
    """`provider/model`, of a provider whose models behave so."""
    return f"{behaviour.value.replace(' ', '-')}/m"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nothing answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


class GatewayCase(SpawnerCase):
    """A Gateway, fake or real, whose address is in an environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.secret = environment["OPENCLAW_GATEWAY_TOKEN"]

    def spawner(self) -> GatewaySpawner:
        return GatewaySpawner(GatewayTransport(dict(self.environment)))

    def model(self, behaviour: Behaviour) -> str:
        return model_of(behaviour)

    @contextmanager
    def gone(self) -> Iterator[None]:
        there = self.environment["OPENCLAW_GATEWAY_PORT"]
        with closed_port() as port:
            self.environment["OPENCLAW_GATEWAY_PORT"] = str(port)
            try:
                yield
            finally:
                self.environment["OPENCLAW_GATEWAY_PORT"] = there


class FakeGatewayCase(GatewayCase):
    """The fake one. Its clock stands still."""

    def __init__(self, gateway: FakeGateway, clock: Clock, folder: Path) -> None:
        super().__init__({**gateway.environment(), "HOME": str(folder)})
        self.gateway = gateway
        self.clock = clock

    def calls(self, order: Order) -> int:
        return [run for run, _ in self.gateway.turns.requests].count(order.attempt.id)

    def let_go(self) -> None:
        self.gateway.turns.let_go()

    def lose_next_answer(self) -> None:
        self.gateway.losing = 2  # the first write sets the model

    def outlast(self, seconds: float) -> None:
        self.clock.pass_by(seconds)


@contextmanager
def fake_case(folder: Path) -> Iterator[FakeGatewayCase]:
    clock = Clock(NOW_MS)
    with FakeGateway(FakeBoard(clock)) as gateway:
        gateway.turns.models = {model_of(behaviour): behaviour for behaviour in Behaviour}
        gateway.turns.priced = PRICE
        yield FakeGatewayCase(gateway, clock, folder)


CASES = (pytest.param(fake_case, id="gateway"),)
