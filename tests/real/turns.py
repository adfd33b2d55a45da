"""Real turns of agents, as long as a test wants them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.real.gateway import RealGateway


@contextmanager
def turn(gateway: RealGateway, agent: str, key: str) -> Iterator[None]:
    """A turn of the agent's that lasts as long as the block: its model never answers."""
    run = str(uuid.uuid4())
    parameters = {"message": "继续", "idempotencyKey": run, "agentId": agent, "sessionKey": key, "timeout": 300}
    with gateway.connect() as connection:
        accepted = connection.call("agent", parameters)
        assert accepted["status"] == "accepted"
        try:
            yield
        finally:
            connection.call("chat.abort", {"sessionKey": key})  # only who began it may
            connection.call("agent.wait", {"runId": run, "timeoutMs": 30_000})


def until(told: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what the Gateway does on its own time."""
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
