"""A write as the outbox keeps it: plain JSON and back, exact both ways."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from heartbeat.action import Expectation, Operation, Output, OutputType, Voice, Write
from heartbeat.task import Owner, OwnerKind, Ref, Status


def encode_write(write: Write) -> dict[str, Any]:
    """Plain JSON; what is empty is left out."""
    record = {
        "ref": [write.ref.source, write.ref.id],
        "operation": write.operation.value,
        "text": write.text,
        "status": write.status.value if write.status else None,
        "agent": write.agent,
        "outputs": [[output.path, output.type.value, output.note] for output in write.outputs],
        "voice": write.voice.value,
        "seconds": write.seconds,
        "title": write.title,
        "expect": _encode_expectation(write.expect),
    }
    return {name: value for name, value in record.items() if value not in (None, "", [], {})}


def decode_write(key: str, record: Mapping[str, Any]) -> Write:
    """Raises KeyError, TypeError or ValueError for what `encode_write` never made."""
    source, identifier = record["ref"]
    status = record.get("status")
    return Write(
        key=key,
        ref=Ref(source, identifier),
        operation=Operation(record["operation"]),
        text=record.get("text", ""),
        status=None if status is None else Status(status),
        agent=record.get("agent", ""),
        outputs=tuple(Output(path, OutputType(kind), note) for path, kind, note in record.get("outputs", ())),
        voice=Voice(record["voice"]),
        seconds=record.get("seconds"),
        title=record.get("title", ""),
        expect=_decode_expectation(record.get("expect", {})),
    )


def _encode_expectation(expect: Expectation) -> dict[str, Any]:
    record = {
        "statuses": None if expect.statuses is None else sorted(status.value for status in expect.statuses),
        "owner": None if expect.owner is None else [expect.owner.kind.value, expect.owner.id],
        "claimant": expect.claimant,
        "began_at": expect.began_at.isoformat() if expect.began_at else None,
        "idle_since": expect.idle_since.isoformat() if expect.idle_since else None,
        "seen": expect.seen or None,
        "revision": expect.revision,
        "no_run": expect.no_run or None,
    }
    return {name: value for name, value in record.items() if value is not None}


def _decode_expectation(record: Mapping[str, Any]) -> Expectation:
    statuses, owner = record.get("statuses"), record.get("owner")
    return Expectation(
        statuses=None if statuses is None else frozenset(Status(status) for status in statuses),
        owner=None if owner is None else Owner(OwnerKind(owner[0]), owner[1]),
        claimant=record.get("claimant"),
        began_at=_instant(record.get("began_at")),
        idle_since=_instant(record.get("idle_since")),
        seen=record.get("seen", ""),
        revision=record.get("revision"),
        no_run=record.get("no_run", False),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
