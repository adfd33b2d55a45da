"""The automations' suite on the fake Gateway, over its WebSocket and by the fake program that asks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.automation_suite import AGENTS, AutomationCase
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_openclaw import FakeOpenClaw
from tests.support.openclaw_cases import NOW_MS


class FakeAutomationCase(AutomationCase):
    """A scheduler whose clock moves on at each look."""

    def __init__(self, folder: Path, gateway: FakeGateway, transport: str, environment: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.gateway = gateway
        self._transport = transport
        self._environment = environment

    @property
    def transport(self) -> str:
        return self._transport

    @property
    def environment(self) -> Mapping[str, str]:
        return self._environment

    def call(self, method: str, /, **parameters: Any) -> Any:
        return self.gateway.automations.methods[method].handle(parameters)

    def scopes(self) -> set[tuple[str, ...]]:
        asked = {tuple(greeting["scopes"]) for greeting in self.gateway.greetings}
        self.gateway.greetings.clear()
        return asked


def new_gateway() -> FakeGateway:
    return FakeGateway(FakeBoard(SteppingClock(NOW_MS)), agents=("main", *AGENTS))


@contextmanager
def gateway_case(directory: Path) -> Iterator[FakeAutomationCase]:
    with new_gateway() as gateway:
        yield FakeAutomationCase(directory, gateway, "gateway", {**gateway.environment(), "HOME": str(directory)})


@contextmanager
def program_case(directory: Path) -> Iterator[FakeAutomationCase]:
    gateway, program = new_gateway(), FakeOpenClaw(directory)
    with program.connected(gateway):
        yield FakeAutomationCase(directory, gateway, "cli", program.environment(directory))


CASES = (
    pytest.param(gateway_case, id="automations-gateway"),
    pytest.param(program_case, id="automations-cli"),
)
