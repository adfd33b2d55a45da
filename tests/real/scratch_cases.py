"""The scratches' suite on a real OpenClaw, over the Gateway's WebSocket."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contract.scratch_suite import AGENTS, POLLED, SWITCHED_OFF, ScratchCase
from tests.real.gateway import GatewayFailedError, RealGateway
from tests.real.install import install_openclaw
from tests.real.listening_model import ListeningModel
from tests.real.rpc import GatewayConnection
from tests.real.turns import until
from tests.real.wiretap import Wiretap

ADMIN = ("operator.admin",)
EVERY = "6h"
"""So seldom that no test meets a poll of its own accord."""


def with_heartbeats(gateway: RealGateway, heartbeats: Mapping[str, str]) -> None:
    """Gives agents a `heartbeat` block, as an operator does, before the Gateway starts."""
    path = gateway.state_directory / "openclaw.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    for agent, every in heartbeats.items():
        configuration["agents"]["entries"][agent]["heartbeat"] = {"every": every, "target": "none"}
    path.write_text(json.dumps(configuration, indent=2), encoding="utf-8")


def monitors(connection: GatewayConnection) -> dict[str, dict[str, Any]]:
    """By agent."""
    jobs = connection.call("cron.list", {"includeDisabled": True, "limit": 200})["jobs"]
    keys = {str(job.get("declarationKey")): job for job in jobs}
    return {key.removeprefix("heartbeat:"): job for key, job in keys.items() if key.startswith("heartbeat:")}


def wait_for_monitors(gateway: RealGateway, agents: tuple[str, ...]) -> None:
    """The Gateway makes them a moment after it is ready."""
    with gateway.connect(scopes=ADMIN) as connection:
        until(lambda: set(monitors(connection)) == set(agents))


@cache
def _monitored() -> tuple[RealGateway | None, ListeningModel, Exception | None]:
    model = ListeningModel()
    atexit.register(model.close)
    try:
        gateway = RealGateway(install_openclaw(), AGENTS, model=model.url)
        atexit.register(gateway.close)
        with_heartbeats(gateway, {**dict.fromkeys(POLLED, EVERY), SWITCHED_OFF: "0m"})
        gateway.start()
        wait_for_monitors(gateway, (*POLLED, SWITCHED_OFF))
    except Exception as error:  # noqa: BLE001 - whatever it is, each test that needs the Gateway reports it
        return None, model, error
    return gateway, model, None


def monitored() -> tuple[RealGateway, ListeningModel]:
    """The Gateway with the suite's monitors, and the model of its agents; started when first asked for."""
    started, model, failure = _monitored()
    if started is None:
        raise GatewayFailedError("the Gateway with monitors could not be started") from failure
    return started, model


class RealScratchCase(ScratchCase):
    """Real scratches, empty at the beginning: each test gets monitors whose scratch was never written."""

    def __init__(
        self, folder: Path, wiretap: Wiretap, connection: GatewayConnection, environment: Mapping[str, str]
    ) -> None:
        super().__init__(folder)
        self.wiretap = wiretap
        self._connection = connection
        self._environment = environment
        self._before = dict[str, int]()
        self._happens: Callable[[], None] | None = None
        wiretap.rewrite = self._watch

    @property
    def transport(self) -> str:
        return "gateway"

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self._environment, "OPENCLAW_GATEWAY_PORT": str(self.wiretap.port)}

    def call(self, method: str, **parameters: Any) -> Any:
        return self._connection.call(method, parameters)

    def before_next_write(self, happens: Callable[[], None]) -> None:
        self._happens = happens

    def lose_next_answer(self) -> None:
        self.wiretap.loses = lambda method: method == "cron.scratch.set"

    @property
    def writes(self) -> int:
        return self.wiretap.methods.count("cron.scratch.set")

    def clear(self) -> None:
        """Takes every text away, and remembers the revisions, which nobody can set back."""
        for agent, job in monitors(self._connection).items():
            self.put(agent, None)
            self._before[agent] = int(self.call("cron.scratch.get", id=job["id"])["currentRevision"])

    def revision(self, agent: str) -> int:
        """Counted from the beginning of the test."""
        return super().revision(agent) - self._before[agent]

    def _watch(self, text: str) -> str:
        if self._happens is not None and json.loads(text)["method"] == "cron.scratch.set":
            happens, self._happens = self._happens, None
            happens()
        return text


@contextmanager
def gateway_case(directory: Path) -> Iterator[RealScratchCase]:
    gateway, _ = monitored()
    with Wiretap(gateway.url) as wiretap, gateway.connect(scopes=ADMIN) as connection:
        case = RealScratchCase(directory, wiretap, connection, gateway.environment)
        case.clear()
        yield case


CASES = (pytest.param(gateway_case, id="scratch-gateway-real", marks=pytest.mark.openclaw),)
