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

HISTORY_PARAMETERS = frozenset({"sessionKey", "agentId", "limit", "maxChars"})
DEFAULT_LIMIT = 100
CUT = "\n...(truncated)..."
_AGENT = re.compile(r"agent:([^:]+):")


@dataclass
class FakeSessions:
    """Scriptable sessions. `clock` gives epoch milliseconds, for the age of a session."""

    clock: Callable[[], int]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By session key, the oldest first."""
    pending: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What was said and waits for a turn, by session key."""

    def put(self, key: str, *, active: bool = False, spoken_at: int | None = None, **fields: Any) -> None:
        """A session by its key, `agent:ID:…`, as a run makes it. `spoken_at` is `lastInteractionAt`, absent where
        nobody ever spoke."""
        agent = _AGENT.match(key)
        now = self.clock()
        record = {
            "key": key,
            "kind": "direct",
            "classification": "main" if key.endswith(":main") else "custom",
            "createdVia": "run",
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

    def talk(self, key: str, at: int, text: str = "你在做什么？", **marks: Any) -> None:
        """A person says something by `chat.send`, and the agent answers; with `marks`, as a channel brings it."""
        known = self.records.get(key, {"createdVia": "operator"})
        kept = {name: known[name] for name in ("createdVia", "lastActivityAt") if name in known}
        self.put(key, spoken_at=at, chatType="direct", **kept)
        marks = marks or {"transport": {"clients": [{"id": "gateway-client", "mode": "backend"}]}}
        self._said(key, at, text, marks)

    def turn(self, key: str, at: int, text: str = "继续") -> None:
        """A program has the agent take a turn by the method `agent`."""
        known = self.records.get(key, {})
        kept = {name: known[name] for name in ("createdVia", "chatType") if name in known}
        self.put(key, spoken_at=at, lastActivityAt=at, **kept)
        self._said(key, at, text, {"senderIsOwner": False})

    def turn_begins(self, key: str, at: int, text: str, mark: str) -> None:
        """What a program had said by the method `agent`, while the agent has not ended its turn."""
        known = self.records.get(key, {})
        kept = {
            name: known[name] for name in ("createdVia", "chatType", "lastActivityAt", "lastRunId") if name in known
        }
        self.put(key, active=True, spoken_at=at, **kept)
        self.add(key, {"role": "user", "content": text, "timestamp": at, "idempotencyKey": mark, "__openclaw": {}})

    def turn_ends(self, key: str, at: int, status: str, run: str) -> None:
        ended = {"status": status, "hasActiveRun": False, "endedAt": at, "updatedAt": at, "lastRunId": run}
        self.records[key] |= {**ended, "abortedLastRun": status == "killed"}
        if status == "done":
            self.records[key]["lastActivityAt"] = at

    def add(self, key: str, message: dict[str, Any]) -> None:
        """One message, with its number."""
        said = self.messages.setdefault(key, [])
        marks = {"senderIsOwner": False} if message["role"] == "user" else {}
        said.append({**message, "__openclaw": {**marks, **message["__openclaw"], "seq": len(said) + 1}})

    def wait(self, key: str, at: int, text: str = "停一下", **marks: Any) -> None:
        """Something is said while a turn runs, and waits; or waited for a turn that was cut off."""
        message = {"role": "user", "content": text, "timestamp": at, "__openclaw": marks}
        waiting = self.pending.setdefault(key, [])
        waiting.append({"id": f"pending-{len(waiting)}", "acceptedAt": at, "state": "queued", "message": message})

    def _said(self, key: str, at: int, text: str, marks: dict[str, Any]) -> None:
        said = self.messages.setdefault(key, [])
        said.append({"role": "user", "content": text, "timestamp": at, "__openclaw": {**marks, "seq": len(said) + 1}})
        answer = [{"type": "text", "text": "好的"}]
        own = {"runId": f"run-{len(said)}", "seq": len(said) + 1}
        said.append({"role": "assistant", "content": answer, "timestamp": at, "__openclaw": own})

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

    def history(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The payload of `chat.history`; raises ValueError with the real one's message for what it refuses."""
        refused = "invalid chat.history params: "
        for name in parameters:
            if name not in HISTORY_PARAMETERS:
                raise ValueError(f"{refused}at root: unexpected property '{name}'")
        if "sessionKey" not in parameters:
            raise ValueError(f"{refused}must have required property 'sessionKey'")
        key, limit = parameters["sessionKey"], parameters.get("limit", DEFAULT_LIMIT)
        if limit < 1:
            raise ValueError(f"{refused}at /limit: must be >= 1")
        said, pending = self.messages.get(key, []), self.pending.get(key, [])
        return {
            "sessionKey": key,
            "messages": [_cut(message, parameters.get("maxChars")) for message in said[-limit:]],
            "pendingInputs": {"items": pending, "total": len(pending)},
            "hasMore": len(said) > limit,
            "totalMessages": len(said),
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


def _cut(message: dict[str, Any], characters: int | None) -> dict[str, Any]:
    text = message["content"]
    if characters is None or not isinstance(text, str) or len(text) <= characters:
        return message
    marks = {**message["__openclaw"], "truncated": True, "reason": "display-cap"}
    return {**message, "content": text[:characters] + CUT, "__openclaw": marks}
