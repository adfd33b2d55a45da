"""Receipts and times for tests of the store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from heartbeat.store.port import Receipt

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

RECEIPT = Receipt(
    id="r-1",
    agent="coo",
    slot=NOW,
    started_at=NOW + timedelta(seconds=3, microseconds=7),
    ended_at=NOW + timedelta(seconds=9),
    outcome="degraded",
    degraded=True,
    sources=(
        {"name": "workboard", "status": "complete", "transport": "gateway", "items": 3, "age_seconds": 0.25},
        {"name": "multica", "status": "failed", "kind": "timeout", "message": "没有回答 🫀", "items": 0},
    ),
    buckets={"presented": 2, "waiting": 1},
    rejected=({"source": "todo", "id": None, "reason": "no title", "raw": "- [ ] \x00\x1b[31m\ud83d"},),
    reasons=("no_work", "multica: timeout"),
    version="0.1.0",
    host="巴比伦",
    pid=4711,
)


def receipt(number: int, agent: str = "coo", **changes: Any) -> Receipt:
    """The n-th receipt of a series: a minute later each."""
    return replace(
        RECEIPT,
        id=f"r-{number}",
        agent=agent,
        slot=None,
        started_at=NOW + number * MINUTE,
        ended_at=NOW + number * MINUTE,
        **changes,
    )
