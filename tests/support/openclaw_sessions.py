"""The sessions of a fake OpenClaw, listed as the real Gateway lists them (contract 7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PARAMETERS = frozenset(
    {
        "activeMinutes",
        "activeOnly",
        "agentId",
        "archived",
        "excludeCron",
        "excludeSubagents",
        "includeGlobal",
        "includeUnknown",
        "limit",
        "offset",
        "requireLastInteraction",
        "sortBy",
    }
)
"""Those that a client of ours might send; the schema of the real one is closed, too, and longer."""

DEFAULT_LIMIT = 100
_AGENT = re.compile(r"agent:([^:]+):")


@dataclass
class FakeSessions:
    """Scriptable sessions. `clock` gives epoch milliseconds, for the age of a session."""

    clock: Callable[[], int]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, key: str, *, active: bool = False, spoken_at: int | None = None, **fields: Any) -> None:
        """A session by its key, `agent:ID:…`. `spoken_at` is `lastInteractionAt`, absent where nobody ever spoke."""
        agent = _AGENT.match(key)
        now = self.clock()
        record = {
            "key": key,
            "kind": "direct",
            "classification": "main" if key.endswith(":main") else "custom",
            "agentId": agent.group(1) if agent else "main",
            "isMain": key.endswith(":main"),
            "isBackground": False,
            "updatedAt": max(now if active else 0, spoken_at or 0),
            "sessionId": f"0c9a1f3e-0000-4000-8000-{len(self.records):012x}",
            "status": "running" if active else "done",
            "hasActiveRun": active,
            **({} if spoken_at is None else {"lastInteractionAt": spoken_at}),
            **fields,
        }
        self.records[key] = record

    def drop(self, key: str) -> None:
        del self.records[key]

    def list(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The payload of `sessions.list`; raises ValueError with the real one's message for parameters that it
        refuses."""
        for name in parameters:
            if name not in PARAMETERS:
                raise ValueError(f"invalid sessions.list params: at root: unexpected property '{name}'")
        limit, offset = parameters.get("limit", DEFAULT_LIMIT), parameters.get("offset", 0)
        if limit < 1:
            raise ValueError("invalid sessions.list params: at /limit: must be >= 1")
        wanted = [record for record in self.records.values() if self._is_wanted(record, parameters)]
        wanted.sort(key=lambda record: (-record["updatedAt"], record["key"]))
        page = wanted[offset : offset + limit]
        following = offset + limit if offset + limit < len(wanted) else None
        return {
            "ts": self.clock(),
            "path": "(multiple)",
            "count": len(page),
            "totalCount": len(wanted),
            "limitApplied": limit,
            **({"offset": offset} if offset else {}),
            "nextOffset": following,
            "hasMore": following is not None,
            "owners": [],
            "defaults": {"modelProvider": "fake", "model": "m"},
            "sessions": page,
        }

    def _is_wanted(self, record: dict[str, Any], parameters: dict[str, Any]) -> bool:
        agent, minutes = parameters.get("agentId"), parameters.get("activeMinutes")
        return not (
            (agent is not None and record["agentId"].casefold() != agent.casefold())
            or (parameters.get("activeOnly") and not record["hasActiveRun"])
            or (parameters.get("requireLastInteraction") and "lastInteractionAt" not in record)
            or (parameters.get("excludeCron") and ":cron:" in record["key"])
            or (parameters.get("excludeSubagents") and ":subagent:" in record["key"])
            or (minutes is not None and record["updatedAt"] < self.clock() - minutes * 60_000)
        )
