"""The Gateways that a run of the tests shares: started when first asked for, stopped when Python ends.

One has the known board, which is filled once and only read afterwards. One is empty, and is left empty by every test.
"""

from __future__ import annotations

import atexit
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from tests.real.gateway import GatewayFailedError, RealGateway
from tests.real.install import install_openclaw
from tests.real.model import SilentModel
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


def changeable() -> RealGateway:
    """The Gateway with an empty board, whose agents' turns last until they are aborted."""
    started, failure = _empty()
    if started is None:
        raise GatewayFailedError("the empty Gateway could not be started") from failure
    return started


@cache
def silent_model() -> SilentModel:
    """The model of the Gateway with an empty board."""
    model = SilentModel()
    atexit.register(model.close)
    return model


@cache
def _empty() -> tuple[RealGateway | None, Exception | None]:
    try:
        gateway = RealGateway(install_openclaw(), model=silent_model().url)
        atexit.register(gateway.close)
        gateway.start()
    except Exception as error:  # noqa: BLE001 - whatever it is, each test that needs the Gateway reports it
        return None, error
    return gateway, None
