"""What a source read, as plain JSON values and back: exact both ways, and nothing in it is ever executed.

Instants are ISO 8601 text with their zone, enumerations their values, tuples arrays; what is None or empty is left
out. The decoders raise KeyError, TypeError or ValueError for anything that the encoders did not make.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from sys import intern
from typing import Any

from heartbeat.systems.base import Attempt, FailureKind, ReadStatus, Rejected, SourceReport
from heartbeat.task import (
    NOBODY,
    Dependency,
    DependencyKind,
    Evidence,
    EvidenceKind,
    Finding,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Priority,
    Ref,
    Status,
)

Record = dict[str, Any]

_STATUSES = {status.value: status for status in Status}
_PRIORITIES = {priority.value: priority for priority in Priority}
_OWNER_KINDS = {kind.value: kind for kind in OwnerKind}
_EVIDENCE_KINDS = {kind.value: kind for kind in EvidenceKind}
"""Looked up 100,000 times a read; calling the enumeration is five times slower."""


def encode_item(item: Item) -> Record:
    record: Record = {
        "ref": _encode_ref(item.ref),
        "key": item.key,
        "title": item.title,
        "status": item.status.value,
        "raw_status": item.raw_status,
        "priority": item.priority.value,
        "owner": [item.owner.kind.value, item.owner.id],
        "created_at": _encode_instant(item.created_at),
        "updated_at": _encode_instant(item.updated_at),
        "started_at": _encode_instant(item.started_at),
        "due": None if item.due is None else item.due.isoformat(),
        "not_before": _encode_instant(item.not_before),
        "archived": item.archived or None,
        "url": item.url,
        "location": item.location,
        "revision": item.revision,
        "aliases": list(item.aliases) or None,
        "mentions": list(item.mentions) or None,
        "depends_on": [[dependency.kind.value, dependency.target] for dependency in item.depends_on] or None,
        "parent": item.parent,
        "stage": item.stage,
        "creator": None if item.creator == NOBODY else [item.creator.kind.value, item.creator.id],
        "reclaimed": item.reclaimed or None,
    }
    return _without_none(record)


def decode_item(record: Mapping[str, Any]) -> Item:
    owner_kind, owner_id = record["owner"]
    due = record.get("due")
    return Item(
        ref=_decode_ref(record["ref"]),
        key=record["key"],
        title=record["title"],
        status=_STATUSES[record["status"]],
        raw_status=intern(record["raw_status"]),
        priority=_PRIORITIES[record["priority"]],
        owner=Owner(_OWNER_KINDS[owner_kind], intern(owner_id)),
        created_at=_decode_instant(record.get("created_at")),
        updated_at=_decode_instant(record.get("updated_at")),
        started_at=_decode_instant(record.get("started_at")),
        due=None if due is None else date.fromisoformat(due),
        not_before=_decode_instant(record.get("not_before")),
        archived=record.get("archived", False),
        url=record.get("url"),
        location=record.get("location"),
        revision=record.get("revision"),
        aliases=tuple(record.get("aliases", ())),
        mentions=tuple(record.get("mentions", ())),
        depends_on=tuple(Dependency(DependencyKind(kind), target) for kind, target in record.get("depends_on", ())),
        parent=record.get("parent"),
        stage=record.get("stage"),
        creator=_decode_owner(record.get("creator")),
        reclaimed=record.get("reclaimed", False),
    )


def encode_evidence(evidence: Evidence) -> Record:
    record: Record = {
        "ref": _encode_ref(evidence.ref),
        "at": _encode_instant(evidence.at),
        "kind": evidence.kind.value,
        "id": evidence.id,
    }
    return {**record, "own": True} if evidence.own else record


def decode_evidence(record: Mapping[str, Any]) -> Evidence:
    return Evidence(
        _decode_ref(record["ref"]),
        _required_instant(record["at"]),
        _EVIDENCE_KINDS[record["kind"]],
        record["id"],
        record.get("own", False),
    )


def encode_presence(presence: Presence) -> Record:
    record: Record = {
        "agent": presence.agent,
        "active": presence.active,
        "at": _encode_instant(presence.at),
        "id": presence.id,
        "ref": None if presence.ref is None else _encode_ref(presence.ref),
        "talked_at": _encode_instant(presence.talked_at),
    }
    return _without_none(record)


def decode_presence(record: Mapping[str, Any]) -> Presence:
    ref = record.get("ref")
    return Presence(
        record["agent"],
        record["active"],
        _decode_instant(record.get("at")),
        record["id"],
        None if ref is None else _decode_ref(ref),
        _decode_instant(record.get("talked_at")),
    )


def encode_rejected(rejected: Rejected) -> Record:
    return _without_none({"source": rejected.source, "id": rejected.id, "reason": rejected.reason, "raw": rejected.raw})


def decode_rejected(record: Mapping[str, Any]) -> Rejected:
    return Rejected(record["source"], record.get("id"), record["reason"], record["raw"])


def encode_finding(finding: Finding) -> Record:
    return _without_none(
        {
            "code": finding.code,
            "message": finding.message,
            "refs": [_encode_ref(ref) for ref in finding.refs] or None,
        }
    )


def decode_finding(record: Mapping[str, Any]) -> Finding:
    return Finding(record["code"], record["message"], tuple(_decode_ref(ref) for ref in record.get("refs", ())))


def encode_report(report: SourceReport) -> Record:
    record: Record = {
        "source": report.source,
        "status": report.status.value,
        "transport": report.transport,
        "kind": None if report.kind is None else report.kind.value,
        "message": report.message or None,
        "advice": report.advice or None,
        "items": report.items,
        "read_at": _encode_instant(report.read_at),
        "findings": [encode_finding(finding) for finding in report.findings] or None,
        "unknown_ids": list(report.unknown_ids) or None,
        "tried": [_encode_attempt(attempt) for attempt in report.tried] or None,
        "agents": list(report.agents) or None,
    }
    return _without_none(record)


def decode_report(record: Mapping[str, Any]) -> SourceReport:
    return SourceReport(
        source=record["source"],
        status=ReadStatus(record["status"]),
        transport=record.get("transport"),
        kind=_decode_failure(record.get("kind")),
        message=record.get("message", ""),
        advice=record.get("advice", ""),
        items=record["items"],
        read_at=_decode_instant(record.get("read_at")),
        findings=tuple(decode_finding(finding) for finding in record.get("findings", ())),
        unknown_ids=tuple(record.get("unknown_ids", ())),
        tried=tuple(_decode_attempt(attempt) for attempt in record.get("tried", ())),
        agents=tuple(record.get("agents", ())),
    )


def _encode_attempt(attempt: Attempt) -> Record:
    return _without_none(
        {
            "transport": attempt.transport,
            "kind": None if attempt.kind is None else attempt.kind.value,
            "message": attempt.message,
            "advice": attempt.advice or None,
        }
    )


def _decode_attempt(record: Mapping[str, Any]) -> Attempt:
    return Attempt(
        record["transport"], _decode_failure(record.get("kind")), record["message"], record.get("advice", "")
    )


def _decode_failure(value: str | None) -> FailureKind | None:
    return None if value is None else FailureKind(value)


def _decode_owner(value: list[str] | None) -> Owner:
    if value is None:
        return NOBODY
    kind, id_ = value
    return Owner(_OWNER_KINDS[kind], intern(id_))


def _encode_ref(ref: Ref) -> list[str]:
    return [ref.source, ref.id]


def _decode_ref(value: list[str]) -> Ref:
    source, id_ = value
    return Ref(intern(source), id_)


def _encode_instant(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.isoformat()


def _decode_instant(value: str | None) -> datetime | None:
    return None if value is None else _required_instant(value)


def _required_instant(value: str) -> datetime:
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return instant


def _without_none(record: Record) -> Record:
    return {name: value for name, value in record.items() if value is not None}
