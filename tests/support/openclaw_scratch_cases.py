"""The scratches' suite on the fake Gateway, over its WebSocket and by the fake program that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.scratch_suite import AGENTS, POLLED, SWITCHED_OFF, ScratchCase
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_openclaw import FakeOpenClaw
from tests.support.fake_scratch import FakeScratches, plug_in
from tests.support.openclaw_cases import NOW_MS


class FakeScratchCase(ScratchCase):
    """Scratches whose clock moves on at each look."""

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

    def call(self, method: str, **parameters: Any) -> Any:
        return self.gateway.automations.methods[method].handle(parameters)

    def before_next_write(self, happens: Callable[[], None]) -> None:
        self.gateway.meanwhile = happens

    def lose_next_answer(self) -> None:
        self.gateway.losing = 1

    @property
    def writes(self) -> int:
        return len(self.gateway.writes())


def new_gateway() -> FakeGateway:
    """One with the suite's monitors."""
    gateway = FakeGateway(FakeBoard(SteppingClock(NOW_MS)), agents=AGENTS)
    scratches: FakeScratches = plug_in(gateway, *POLLED)
    scratches.monitor(SWITCHED_OFF, enabled=False)
    return gateway


@contextmanager
def gateway_case(directory: Path) -> Iterator[FakeScratchCase]:
    with new_gateway() as gateway:
        yield FakeScratchCase(directory, gateway, "gateway", {**gateway.environment(), "HOME": str(directory)})


@contextmanager
def program_case(directory: Path) -> Iterator[FakeScratchCase]:
    gateway, program = new_gateway(), FakeOpenClaw(directory)
    with program.connected(gateway):
        yield FakeScratchCase(directory, gateway, "cli", program.environment(directory))


CASES = (pytest.param(gateway_case, id="scratch-gateway"), pytest.param(program_case, id="scratch-cli"))
