"""The scratches of a fake Gateway's monitors (`cron.scratch.*`), kept, compared and refused as by the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_automations import ADMIN, FakeAutomations, Json, Method, Refused, identified
from tests.support.fake_gateway import FakeGateway

LIMIT = 262_144
"""Bytes of UTF-8."""
SIX_HOURS = 6 * 3600 * 1000


@dataclass
class FakeScratches:
    """By the id of a job: its text (None where it was taken away), how often it was written, and when last."""

    automations: FakeAutomations
    kept: dict[str, tuple[str | None, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.automations.methods |= {
            "cron.scratch.get": Method(ADMIN, self.get),
            "cron.scratch.set": Method(ADMIN, self.set, writes=True),
        }

    def monitor(self, agent: str, *, enabled: bool = True, every_ms: int = SIX_HOURS) -> Json:
        """The system gives the agent a monitor."""
        return self.automations.put(
            declarationKey=f"heartbeat:{agent}",
            name=f"heartbeat-{agent}",
            displayName=f"Heartbeat ({agent})",
            agentId=agent,
            enabled=enabled,
            schedule={"kind": "every", "everyMs": every_ms, "anchorMs": 512_228},
            sessionTarget="main",
            wakeMode="next-heartbeat",
            payload={"kind": "heartbeat"},
        )

    def get(self, params: Json) -> Json:
        identifier = identified(params, frozenset(), "cron.scratch.get")
        self.automations.find(identifier)
        return self._shown(identifier)

    def set(self, params: Json) -> Json:
        identifier = identified(params, frozenset({"content", "expectedRevision"}), "cron.scratch.set")
        content, expected = params.get("content"), params.get("expectedRevision")
        if expected is not None and expected < 0:
            told = "at /expectedRevision: must be >= 0; must have required property 'jobId'; "
            raise _invalid(f"{told}at root: unexpected property 'id'; must match a schema in anyOf")
        self.automations.find(identifier)
        size = len((content or "").encode())
        if size > LIMIT:
            raise _invalid(f"cron scratch exceeds {LIMIT} bytes ({size} bytes provided)")
        _, revision, _ = self.kept.get(identifier, (None, 0, 0))
        if expected is not None and expected != revision:
            return {"ok": False, "reason": "revision-conflict", "currentRevision": revision}
        if content is not None or revision > 0:
            self.kept[identifier] = (content, revision + 1, self.automations.present())
        return {"ok": True, **self._shown(identifier)}

    def _shown(self, identifier: str) -> dict[str, Any]:
        content, revision, at = self.kept.get(identifier, (None, 0, 0))
        scratch = None if content is None else {"content": content, "revision": revision, "updatedAtMs": at}
        return {"scratch": scratch, "currentRevision": revision, "maxBytes": LIMIT}


def plug_in(gateway: FakeGateway, *agents: str) -> FakeScratches:
    """Scratches for a fake Gateway, with a monitor for each of these agents."""
    scratches = FakeScratches(gateway.automations)
    for agent in agents:
        scratches.monitor(agent)
    return scratches


def _invalid(told: str) -> Refused:
    return Refused("INVALID_REQUEST", f"invalid cron.scratch.set params: {told}")
