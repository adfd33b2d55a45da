"""The spawners' suite on a real OpenClaw, over the Gateway's WebSocket."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from heartbeat.dispatch.base import Order
from tests.real.gateway import GatewayFailedError, RealGateway
from tests.real.install import install_openclaw
from tests.real.scripted_model import ScriptedModels
from tests.real.wiretap import Wiretap
from tests.support.fake_models import Behaviour
from tests.support.gateway_spawner_cases import GatewayCase


@cache
def _started() -> tuple[RealGateway | None, ScriptedModels, Exception | None]:
    models = ScriptedModels()
    atexit.register(models.close)
    try:
        gateway = RealGateway(install_openclaw())
        atexit.register(gateway.close)
        models.provide(gateway, default=Behaviour.HELD)
        gateway.start()
    except Exception as error:  # noqa: BLE001 - whatever it is, each test that needs the Gateway reports it
        return None, models, error
    return gateway, models, None


def with_models() -> tuple[RealGateway, ScriptedModels]:
    """The Gateway whose models behave as they are called; started when first asked for."""
    started, models, failure = _started()
    if started is None:
        raise GatewayFailedError("the Gateway with scripted models could not be started") from failure
    return started, models


class RealGatewayCase(GatewayCase):
    """The real one, with a wiretap before it that can lose an answer."""

    short = 8.0
    """On a crowded machine a turn needs six to come to its model."""

    def __init__(self, gateway: RealGateway, models: ScriptedModels, wiretap: Wiretap) -> None:
        super().__init__({**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)})
        self.gateway = gateway
        self.models = models
        self.wiretap = wiretap

    def calls(self, order: Order) -> int:
        return self.models.calls(order.attempt.id)

    def let_go(self) -> None:
        self.models.let_go()

    def lose_next_answer(self) -> None:
        self.wiretap.loses = lambda method: method == "agent"


@contextmanager
def gateway_case(_directory: Path) -> Iterator[RealGatewayCase]:
    gateway, models = with_models()
    with Wiretap(gateway.url) as wiretap:
        yield RealGatewayCase(gateway, models, wiretap)


CASES = (pytest.param(gateway_case, id="gateway-real", marks=pytest.mark.openclaw),)
