"""The one form in which every store gives back what it keeps: times in UTC, and plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from heartbeat.store.port import Receipt


def utc(instant: datetime) -> datetime:
    """The same instant in UTC; raises ValueError for a time without a zone, which would be guessed as local."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.astimezone(UTC)


def settled(receipt: Receipt) -> Receipt:
    """The receipt as every store gives it back: times in UTC, plain JSON inside. Raises ValueError."""
    return replace(
        receipt,
        slot=None if receipt.slot is None else utc(receipt.slot),
        started_at=utc(receipt.started_at),
        ended_at=utc(receipt.ended_at),
        sources=tuple(from_json(to_json(receipt.sources))),
        buckets=from_json(to_json(receipt.buckets)),
        rejected=tuple(from_json(to_json(receipt.rejected))),
        reasons=tuple(receipt.reasons),
        dispatch=from_json(to_json(receipt.dispatch)),
        level_reasons=tuple(receipt.level_reasons),
    )


def to_json(value: object) -> str:
    """Compact JSON text; mappings and tuples become objects and arrays. Raises ValueError for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except TypeError as error:
        raise ValueError(f"only plain JSON can be kept: {error}") from error


def from_json(text: str) -> Any:
    return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
