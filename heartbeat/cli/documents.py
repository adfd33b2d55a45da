"""The JSON that commands print: an interface with a name and a version, described in docs/json.md.

Changes are additive: keys are added, never renamed or removed, within one version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from heartbeat.beat import Beat, Patrol, Tick
from heartbeat.cli.deeds import deeds, letters, pauses
from heartbeat.cli.printed import Document as Document
from heartbeat.cli.printed import write as write
from heartbeat.instants import to_text
from heartbeat.memory import Miss
from heartbeat.observation import Observation
from heartbeat.rules.backlog import SourceLoad
from heartbeat.rules.degradation import Degradation
from heartbeat.rules.dependencies import Wait
from heartbeat.store.port import Receipt
from heartbeat.task import Finding, Item, Task
from heartbeat.worklist import Bucket, Standing


def tasks_document(observation: Observation, standings: Iterable[Standing], agent: str | None) -> Document:
    """`heartbeat.tasks/1`."""
    counts: Counter[str] = Counter()
    for (_, bucket), count in observation.assessment.counts.items():
        counts[bucket.value] += count
    return {
        "schema": "heartbeat.tasks/1",
        **_frame(observation),
        **({"agent": agent} if agent else {}),
        "sources": sources(observation),
        "tasks": [task(standing) for standing in standings],
        "buckets": {bucket.value: counts[bucket.value] for bucket in Bucket},
        "findings": [finding(found) for found in observation.assessment.findings],
    }


def tick_document(tick: Tick, beat: Beat, patrol: Patrol | None) -> Document:
    """`heartbeat.tick/1`: one agent's beat."""
    if tick.observation is None:
        return {"schema": "heartbeat.tick/1", "agent": beat.agent.id, "skipped": beat.skipped}
    document = {"schema": "heartbeat.tick/1", **_frame(tick.observation), "agent": beat.agent.id}
    body = {"sources": sources(tick.observation), **_beat(beat, patrol, tick.observation)}
    return {**document, **body, "actions": [*pauses(tick), *deeds(tick)]}


def ticks_document(tick: Tick, patrols: Mapping[str, Patrol]) -> Document:
    """`heartbeat.ticks/1`: the beats of several agents over one look at the sources."""
    beats = [
        {"agent": beat.agent.id, **_beat(beat, patrols.get(beat.agent.id), tick.observation)} for beat in tick.beats
    ]
    waiting = sorted(tick.resting.items(), key=lambda each: (each[1], each[0]))
    resting = [{"agent": agent, "next_due": to_text(at)} for agent, at in waiting]
    if tick.observation is None:
        return {"schema": "heartbeat.ticks/1", "ticks": beats, "resting": resting}
    return {
        "schema": "heartbeat.ticks/1",
        **_frame(tick.observation),
        "sources": sources(tick.observation),
        "ticks": beats,
        "resting": resting,
        "actions": [*pauses(tick), *deeds(tick)],
    }


def receipts_document(receipts: Iterable[Receipt], misses: Iterable[Miss], generated_at: str) -> Document:
    """`heartbeat.receipts/1`, newest first."""
    return {
        "schema": "heartbeat.receipts/1",
        "generated_at": generated_at,
        "receipts": [receipt_document(receipt) for receipt in receipts],
        "misses": [miss_document(miss) for miss in misses],
    }


def miss_document(miss: Miss) -> Document:
    """Slots of an agent that passed without a receipt, from one beat to the next."""
    return {
        "agent": miss.agent,
        "first": to_text(miss.first),
        "last": to_text(miss.last),
        "count": miss.count,
        "reason": miss.reason.value,
        "noted_at": to_text(miss.noted_at),
    }


def _frame(observation: Observation) -> Document:
    alarms = [finding(alarm) for alarm in observation.alarms]
    degraded = {"degraded": observation.sweep.degraded, **level(observation.degradation)}
    return {"generated_at": to_text(observation.at), **degraded, "alarms": alarms}


def level(degradation: Degradation) -> Document:
    """How far heartbeat can see and act, and why not further (rule G1)."""
    return {"level": degradation.level.value, "level_reasons": list(degradation.reasons)}


def _beat(beat: Beat, patrol: Patrol | None, observation: Observation | None) -> Document:
    if beat.worklist is None or observation is None:
        return {"skipped": beat.skipped}
    document: Document = {
        "messages": [
            {"level": level, "title": title, "body": body, "task": entry.task or None, "key": entry.key}
            for entry, (level, title, body) in zip(beat.inbox, letters(beat), strict=True)
        ],
        "attention": [
            {"key": each.task.key, "title": each.task.title, "reason": each.reason, "incident": each.incident or None}
            for each in beat.attention
        ],
        "tasks": [_worked(standing, observation) for standing in beat.worklist.standings],
        "buckets": dict(beat.worklist.buckets),
        "findings": [finding(found) for found in beat.worklist.findings],
    }
    if patrol is not None:
        document["backlog"] = backlog(patrol)
    document["dispatch"] = dict(beat.turn.record) if beat.turn else None
    document["receipt"] = receipt_document(beat.receipt) if beat.receipt else None
    document["missed"] = miss_document(beat.missed) if beat.missed else None
    return document


def sources(observation: Observation) -> list[Document]:
    """One entry a source, in source order."""
    entries = []
    for report in observation.sweep.reports:
        age = observation.sweep.age(report.source)
        entry: Document = {"name": report.source, "status": report.status.value, "transport": report.transport}
        if report.kind is not None:
            entry["kind"] = report.kind.value
        if report.message:
            entry["message"] = report.message
        if report.advice:
            entry["advice"] = report.advice
        entry["items"] = report.items
        entry["age_seconds"] = None if age is None else round(age, 3)
        entry["findings"] = [finding(found) for found in report.findings]
        entries.append(entry)
    return entries


def _worked(standing: Standing, observation: Observation) -> Document:
    """A task of a worklist, with its stall where somebody has begun it."""
    stall = observation.judgement.stalls.get(standing.task.key)
    if stall is None:
        return task(standing)
    told = {
        "level": stall.level.value,
        "idle_seconds": round(stall.idle.total_seconds(), 3),
        "runtime_seconds": round(stall.runtime.total_seconds(), 3),
        "reasons": list(stall.reasons),
    }
    return {**task(standing), "stall": told}


def task(standing: Standing) -> Document:
    """One task with what it is made of and why it stands where it stands."""
    subject: Task = standing.task
    document: Document = {
        "key": subject.key,
        "title": subject.title,
        "status": subject.status.value,
        "priority": subject.priority.value,
        "owner": subject.owner.id or None,
        "owner_kind": subject.owner.kind.value,
    }
    if subject.due is not None:
        document["due"] = subject.due.isoformat()
    document["state"] = standing.state.value
    document["refs"] = [_ref(item, item.ref in subject.stale) for item in subject.items]
    document["waiting_on"] = [_wait(wait) for wait in standing.waits]
    document["reasons"] = list(standing.reasons)
    return document


def _ref(item: Item, stale: bool) -> Document:
    document: Document = {
        "source": item.ref.source,
        "id": item.ref.id,
        "key": item.key,
        "status": item.status.value,
        "raw_status": item.raw_status,
    }
    if item.url is not None:
        document["url"] = item.url
    if item.location is not None:
        document["location"] = item.location
    if item.archived:
        document["archived"] = True
    if stale:
        document["stale"] = True
    return document


def _wait(wait: Wait) -> Document:
    return {"target": wait.target, "gate": wait.gate.value, "key": wait.blocker, "reason": wait.reason}


def finding(found: Finding) -> Document:
    """What a person should know, with the refs it is about."""
    return {"code": found.code, "message": found.message, "refs": [str(ref) for ref in found.refs]}


def backlog(patrol: Patrol) -> Document:
    """The whole platform's backlog, for patrol agents."""
    return {
        "sources": [_source_load(load) for load in patrol.backlog.sources],
        "owners": [
            {
                "owner": load.owner.id or None,
                "owner_kind": load.owner.kind.value,
                "in_roster": load.known,
                "todo": load.todo,
                "in_progress": load.in_progress,
                "blocked": load.blocked,
                "in_review": load.in_review,
                "unknown": load.unknown,
            }
            for load in patrol.backlog.owners
        ],
        "last_receipts": {agent: to_text(receipt.started_at) for agent, receipt in patrol.last_receipts.items()},
    }


def _source_load(load: SourceLoad) -> Document:
    return {
        "source": load.source,
        "todo": load.todo,
        "in_progress": load.in_progress,
        "total": load.total,
        "alarm": load.alarm,
        "first": [subject.key for subject in load.first],
    }


def receipt_document(receipt: Receipt) -> Document:
    """One receipt as it stands in the store."""
    return {
        "id": receipt.id,
        "agent": receipt.agent,
        "slot": None if receipt.slot is None else to_text(receipt.slot),
        "late_seconds": None if receipt.late is None else round(receipt.late.total_seconds(), 3),
        "started_at": to_text(receipt.started_at),
        "ended_at": to_text(receipt.ended_at),
        "outcome": receipt.outcome,
        "degraded": receipt.degraded,
        "level": receipt.level or None,
        "level_reasons": list(receipt.level_reasons),
        "sources": [dict(source) for source in receipt.sources],
        "buckets": dict(receipt.buckets),
        "rejected": [dict(rejected) for rejected in receipt.rejected],
        "reasons": list(receipt.reasons),
        "dispatch": dict(receipt.dispatch) or None,
        "version": receipt.version,
        "host": receipt.host,
        "pid": receipt.pid,
    }
