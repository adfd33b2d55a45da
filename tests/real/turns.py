"""Real turns of agents, as long as a test wants them, and what people say to them."""

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


ADMINISTRATOR = ("operator.read", "operator.write", "operator.admin")


def say(gateway: RealGateway, key: str, words: str = "你在做什么？") -> None:
    """A person says something by `chat.send`, and the agent answers."""
    _until_answered(gateway, "chat.send", {"sessionKey": key, "message": words})


def take_turn(gateway: RealGateway, agent: str, key: str) -> None:
    """A program has the agent take a turn by the method `agent`."""
    _until_answered(gateway, "agent", {"message": "继续", "agentId": agent, "sessionKey": key})


def _until_answered(gateway: RealGateway, method: str, parameters: dict[str, str]) -> None:
    run = str(uuid.uuid4())
    with gateway.connect() as connection:
        connection.call(method, {**parameters, "idempotencyKey": run})
        ended = connection.call("agent.wait", {"runId": run, "timeoutMs": 50_000})
        assert ended["status"] == "ok", ended


@contextmanager
def sessions_of(gateway: RealGateway, *keys: str) -> Iterator[None]:
    """Sessions that a test makes, forgotten in the end: who talks to an agent keeps others from it."""
    try:
        yield
    finally:
        with gateway.connect(scopes=ADMINISTRATOR) as connection:
            for key in keys:
                connection.call("sessions.delete", {"key": key, "deleteTranscript": True})


def until(told: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what the Gateway does on its own time."""
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
