"""The one Gateway that a run of the tests shares: started when first asked for, stopped when Python ends.

Its board is filled once and only read afterwards; a test that wants to change something takes a Gateway of its own.
"""

from __future__ import annotations

import atexit
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from tests.real.gateway import GatewayFailedError, RealGateway
from tests.real.install import install_openclaw
from tests.support.openclaw_board import KnownBoard, fill

SCHEDULE_AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shared:
    """A running Gateway with the known board. `filled_at` is later than every time on it."""

    gateway: RealGateway
    board: KnownBoard
    filled_at: datetime


def fill_now(gateway: RealGateway) -> KnownBoard:
    """Fills the known board by the machine's own clock, as a real Gateway's records are."""
    return fill(gateway.call, int((time.time() + SCHEDULE_AHEAD.total_seconds()) * 1000))


def shared() -> Shared:
    """The shared Gateway. Where it cannot be started every test says so, and only the first one waits for it."""
    started, failure = _started()
    if started is None:
        raise GatewayFailedError("the shared Gateway could not be started") from failure
    return started


@cache
def _started() -> tuple[Shared | None, Exception | None]:
    try:
        gateway = RealGateway(install_openclaw())
        atexit.register(gateway.close)
        gateway.start()
        board = fill_now(gateway)
    except Exception as error:  # noqa: BLE001 - whatever it is, each test that needs the Gateway reports it
        return None, error
    return Shared(gateway, board, datetime.now(UTC)), None
