"""One turn of a fake Gateway, and its row in the list of tasks (contract 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_models import Behaviour


@dataclass
class FakeRun:
    """One turn. Times are epoch milliseconds; `final` is the frame that ends it."""

    id: str
    agent: str
    key: str
    message: str
    provider: str
    model: str
    behaviour: Behaviour
    began_at: int
    ends_at: int | None
    until: int | None
    begun_by: object
    status: str = "running"
    listed_as: str = ""
    """Its status in the list of tasks, where that differs."""
    error: str = ""
    ended_at: int | None = None
    forgotten: bool = False
    """Whether the Gateway was restarted since, so that only its lasting records know of it."""
    final: dict[str, Any] | None = None
    listeners: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    """Who is still connected and waits for the final frame."""


def task_of(run: FakeRun) -> str:
    return f"task-of-{run.id}"


def row_of(run: FakeRun) -> dict[str, Any]:
    ended = {} if run.ended_at is None else {"endedAt": run.ended_at, "terminalSummary": _cut(run.error) or "completed"}
    return {
        "id": task_of(run),
        "taskId": task_of(run),
        "kind": "cli",
        "runtime": "cli",
        "status": run.listed_as or run.status,
        "execution": {"state": "running" if run.ended_at is None else "finished"},
        "title": run.message[:80],
        "agentId": run.agent,
        "sessionKey": run.key,
        "childSessionKey": run.key,
        "ownerKey": run.key,
        "hasTranscript": True,
        "runId": run.id,
        "sourceId": run.id,
        "createdAt": run.began_at,
        "startedAt": run.began_at,
        "updatedAt": run.ended_at or run.began_at,
        "deliveryStatus": "not_applicable",
        **ended,
        **({"error": _cut(run.error)} if run.error else {}),
    }


def _cut(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:119]}…"
