"""The automations' suite on a real OpenClaw, over the Gateway's WebSocket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.automation_suite import AutomationCase
from tests.real.gateway import RealGateway
from tests.real.rpc import GatewayConnection
from tests.real.session import changeable
from tests.real.wiretap import Wiretap

ADMIN = ("operator.admin",)


class RealAutomationCase(AutomationCase):
    """A real scheduler, which is left without any automation but the system's in the end."""

    def __init__(
        self, folder: Path, gateway: RealGateway, wiretap: Wiretap, connection: GatewayConnection, transport: str
    ) -> None:
        super().__init__(folder)
        self.gateway = gateway
        self.wiretap = wiretap
        self._connection = connection
        self._transport = transport

    @property
    def transport(self) -> str:
        return self._transport

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self.gateway.environment, "OPENCLAW_GATEWAY_PORT": str(self.wiretap.port)}

    def call(self, method: str, /, **parameters: Any) -> Any:
        return self._connection.call(method, parameters)

    def scopes(self) -> set[tuple[str, ...]]:
        greetings = [request for request in self.wiretap.requests if request["method"] == "connect"]
        self.wiretap.requests.clear()
        return {tuple(greeting["params"]["scopes"]) for greeting in greetings}

    def clear(self) -> None:
        """Takes every automation away that is not the system's."""
        for job in self.call("cron.list", includeDisabled=True, limit=200)["jobs"]:
            if not str(job.get("declarationKey")).startswith(("heartbeat:", "skill-")):
                self.call("cron.remove", id=job["id"])


@contextmanager
def open_case(folder: Path, transport: str) -> Iterator[RealAutomationCase]:
    gateway = changeable()
    with Wiretap(gateway.url) as wiretap, gateway.connect(scopes=ADMIN) as connection:
        case = RealAutomationCase(folder, gateway, wiretap, connection, transport)
        try:
            yield case
        finally:
            case.clear()


@contextmanager
def gateway_case(directory: Path) -> Iterator[RealAutomationCase]:
    with open_case(directory, "gateway") as case:
        yield case


CASES = (pytest.param(gateway_case, id="automations-gateway-real", marks=pytest.mark.openclaw),)
