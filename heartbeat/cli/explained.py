"""`heartbeat.explain/1`, the JSON of `heartbeat explain`; described in docs/json.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heartbeat.cli import attempts, documents, incidents, log, outbox
from heartbeat.cli.timeouts import next_document
from heartbeat.instants import to_text
from heartbeat.memory import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from heartbeat.memory import Clock, Mark
    from heartbeat.observation import Observation
    from heartbeat.report.explain import Explanation, Sign, Waiting
    from heartbeat.task import Item

SCHEMA = "heartbeat.explain/1"


def document(told: Explanation, seen: Observation) -> dict[str, Any]:
    """All that `heartbeat explain` knows of a task, as `heartbeat.explain/1`."""
    return {
        "schema": SCHEMA,
        "generated_at": _text(seen.at),
        "degraded": seen.sweep.degraded,
        **documents.level(seen.degradation),
        "memory": not seen.judgement.memory.without,
        "alarms": [documents.finding(alarm) for alarm in seen.alarms],
        "sources": documents.sources(seen),
        "title": told.title,
        "owner": told.owner.id or None,
        "owner_kind": told.owner.kind.value,
        "task": documents.task(told.standing) if told.standing is not None else None,
        "refs": [str(ref) for ref in told.refs],
        "origins": [_origin(item, told) for item in items(told)],
        "links": [
            {"first": str(each.first), "second": str(each.second), "via": each.via, "made_at": _text(each.made_at)}
            for each in told.bonds
        ],
        "reasons": [{"rule": each.rule, "about": each.about, "message": each.message} for each in told.reasons],
        "stall": _stall(told),
        "clocks": [_clock(clock) for clock in told.clocks],
        "signs": [_sign(sign) for sign in told.signs],
        "presence": [
            {
                "agent": each.agent,
                "active": each.active,
                "at": _text(each.at),
                "id": each.id,
                "talked_at": _text(each.talked_at),
            }
            for each in told.presence
        ],
        "waiting_on": [_waiting(each) for each in told.waits],
        "waited_for_by": [
            {"key": each.task.key, "title": each.task.title, "owner": each.task.owner.id or None}
            for each in told.blocks
        ],
        "rounds": _rounds(told),
        "hold": None
        if told.hold is None
        else {
            "since": _text(told.hold.since),
            "until": _text(told.hold.until),
            "why": told.hold.why,
            "by": told.hold.by or None,
        },
        "pause": None
        if told.pause is None
        else {
            "agent": None if told.pause.agent == EVERYBODY else told.pause.agent,
            "since": _text(told.pause.since),
            "until": _text(told.pause.until),
            "why": told.pause.why,
            "by": told.pause.by or None,
        },
        "turn": None
        if told.turn is None
        else {
            "decision": told.turn.decision,
            "reason": told.turn.reason or None,
            "told": told.turn.told,
            "provider": told.turn.provider or None,
            "until": _text(told.turn.until),
        },
        "attempts": [attempts.document(each, seen.at) for each in told.records.attempts],
        "dead_letter": None if told.letter is None else attempts.letter_document(told.letter),
        "incidents": [incidents.document(each) for each in told.records.incidents],
        "outbox": [outbox.document(each) for each in told.records.entries],
        "log": [log.document(each) for each in told.records.log],
        "findings": [documents.finding(each) for each in told.findings],
        "next": next_document(told.next),
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else to_text(instant)


def items(told: Explanation) -> Sequence[Item]:
    """The task's origins; none where no source shows it any more."""
    return told.standing.task.items if told.standing is not None else ()


def _origin(item: Item, told: Explanation) -> dict[str, Any]:
    """One origin: where it is, and everything that it says of itself."""
    stale = told.standing is not None and item.ref in told.standing.task.stale
    return {
        "ref": str(item.ref),
        "source": item.ref.source,
        "key": item.key,
        "title": item.title,
        "status": item.status.value,
        "raw_status": item.raw_status,
        "priority": item.priority.value,
        "owner": item.owner.id or None,
        "owner_kind": item.owner.kind.value,
        "creator": item.creator.id or None,
        "due": item.due.isoformat() if item.due else None,
        "created_at": _text(item.created_at),
        "updated_at": _text(item.updated_at),
        "started_at": _text(item.started_at),
        "not_before": _text(item.not_before),
        "url": item.url,
        "location": item.location,
        "archived": item.archived,
        "reclaimed": item.reclaimed,
        "stale": stale,
    }


def _stall(told: Explanation) -> dict[str, Any] | None:
    if told.stall is None:
        return None
    stall, policy = told.stall, told.policy
    return {
        "level": stall.level.value,
        "idle_seconds": round(stall.idle.total_seconds(), 3),
        "quiet_seconds": round(stall.quiet.total_seconds(), 3),
        "runtime_seconds": round(stall.runtime.total_seconds(), 3),
        "suspect_after": policy.suspect_after.total_seconds() if policy else None,
        "recover_after": policy.recover_after.total_seconds() if policy else None,
        "runtime_limit": policy.runtime_limit.total_seconds() if policy else None,
        "epoch": stall.epoch,
        "activity": _mark(stall.activity),
        "progress": _mark(stall.progress),
        "looping": stall.looping,
        "extended": stall.extended,
        "hindrances": [{"code": each.code, "message": each.message} for each in stall.hindrances],
        "reasons": list(stall.reasons),
    }


def _clock(clock: Clock) -> dict[str, Any]:
    return {
        "ref": str(clock.ref),
        "epoch": clock.epoch or None,
        "began_at": _text(clock.began_at),
        "seen_at": _text(clock.seen_at),
        "activity": _mark(clock.activity),
        "progress": _mark(clock.progress),
    }


def _mark(mark: Mark | None) -> dict[str, Any] | None:
    """What moved a clock. It is never our own write (rule T2)."""
    if mark is None:
        return None
    return {"at": _text(mark.at), "kind": mark.kind.value, "id": mark.id, "ref": str(mark.ref), "own": False}


def _sign(sign: Sign) -> dict[str, Any]:
    each = sign.evidence
    return {
        "at": _text(each.at),
        "kind": each.kind.value,
        "id": each.id,
        "ref": str(each.ref),
        "own": sign.own,
        "counts": sign.counts,
    }


def _waiting(each: Waiting) -> dict[str, Any]:
    return {
        "target": each.wait.target,
        "gate": each.wait.gate.value,
        "key": each.wait.blocker,
        "title": each.title or None,
        "owner": each.owner.id or None,
        "reason": each.wait.reason,
        "since": _text(each.since),
        "told_at": _text(each.told_at),
    }


def _rounds(told: Explanation) -> dict[str, Any] | None:
    if told.rounds is None:
        return None
    row = told.rounds
    return {
        "used": row.used,
        "limit": told.limit,
        "granted": row.extra,
        "idle": row.idle,
        "last_round_at": _text(row.turn_at),
        "progress_at": _text(row.progress_at),
        "warned_at": _text(row.warned_at),
        "paused_at": _text(row.paused_at),
    }
