"""Cases of the writers' suite on a real OpenClaw, over the Gateway's WebSocket.

Over the command line each call starts a program that takes seconds; what is different there is in test_real_writer.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.real.gateway import RealGateway
from tests.real.session import changeable
from tests.real.wiretap import Wiretap
from tests.support.fake_board import READS
from tests.support.openclaw_writer_cases import BoardWriterCase, Json


def is_write(method: str) -> bool:
    return method.startswith("workboard.cards.") and method.removeprefix("workboard.") not in READS


class RealBoardWriterCase(BoardWriterCase):
    """A real board, which is left empty in the end. A wiretap stands before the Gateway and can lose an answer."""

    def __init__(self, gateway: RealGateway, wiretap: Wiretap, transport: str) -> None:
        super().__init__(transport, {**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)})
        self.gateway = gateway
        self.wiretap = wiretap

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def call(self, method: str, **parameters: Any) -> Json:
        return self.gateway.call(f"workboard.cards.{method}", parameters)

    def lose_next_answer(self) -> None:
        self.wiretap.loses = is_write

    def clear(self) -> None:
        """Takes every card away."""
        for card in self.gateway.call("workboard.cards.list")["cards"]:
            self.gateway.call("workboard.cards.delete", {"id": card["id"]})


@contextmanager
def open_case(transport: str) -> Iterator[RealBoardWriterCase]:
    gateway = changeable()
    with Wiretap(gateway.url) as wiretap:
        case = RealBoardWriterCase(gateway, wiretap, transport)
        try:
            yield case
        finally:
            case.clear()


@contextmanager
def gateway_case(_directory: Path) -> Iterator[RealBoardWriterCase]:
    with open_case("gateway") as case:
        yield case


CASES = (pytest.param(gateway_case, id="workboard-gateway-real", marks=pytest.mark.openclaw),)
