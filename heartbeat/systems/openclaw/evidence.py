"""What happened to a card and when, from its events, comments, claim, attempts and proof (rule T1). Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from heartbeat.action import Voice, signature
from heartbeat.instants import parse_instant
from heartbeat.systems.openclaw.shape import listed, mapping
from heartbeat.task import Evidence, EvidenceKind, Ref

EVENTS: Mapping[str, EvidenceKind] = {
    "created": EvidenceKind.MOVED,
    "moved": EvidenceKind.MOVED,
    "claimed": EvidenceKind.CLAIM_HEARTBEAT,  # also written by a release; the claim itself tells when it began
    "heartbeat": EvidenceKind.CLAIM_HEARTBEAT,
    "comment_added": EvidenceKind.COMMENT,
    "proof_added": EvidenceKind.PROOF,
    "artifact_added": EvidenceKind.ARTIFACT,
    "edited": EvidenceKind.EDITED,
    "archived": EvidenceKind.EDITED,
    "unarchived": EvidenceKind.EDITED,
    "linked": EvidenceKind.LINKED,
    "link_added": EvidenceKind.LINKED,
    "orchestration": EvidenceKind.SWEEP,
    "dispatch": EvidenceKind.SWEEP,
    "diagnostic": EvidenceKind.SWEEP,
    "notification": EvidenceKind.SWEEP,
    "stale": EvidenceKind.SWEEP,
}
"""Kinds of events (contract 1.4). `attempt_…` and every unknown kind are ATTEMPT: activity that is not progress. An
unknown event may be a sign of life, and to recover a living worker is worse than to wait; but as progress it could
hide a looping worker for ever (rules T1, T4)."""

TAKEN_BY_DISPATCH = ("Claim expired", "Run exceeded the card max runtime")
"""How the notifications begin that OpenClaw's dispatch writes when it blocks the card of a worker that fell silent, or
ran too long (contract 1.4)."""

SAME_WRITE = timedelta(seconds=1)
"""A write stamps its comment a few milliseconds before its event (contract 1.1)."""


@dataclass(frozen=True, slots=True)
class Trail:
    """The history of one card. `unreadable` counts entries without a time or an id."""

    evidence: tuple[Evidence, ...] = ()
    last_start: datetime | None = None
    """The last move to running."""
    last_move: datetime | None = None
    unreadable: int = 0


def trail_of(record: Mapping[str, Any], metadata: Mapping[str, Any], ref: Ref) -> Trail:
    """Everything that the card itself tells; times are as told, also those ahead of now."""
    events = listed(record, "events")
    written, lost = _entries(ref, events, "at")
    written = _without_sweeps(sorted(written, key=lambda event: (event.at, event.id)), metadata)
    comments, lost_comments = _entries(ref, listed(metadata, "comments"), "createdAt", EvidenceKind.COMMENT)
    ours = _our_comments(listed(metadata, "comments"))
    comments = [replace(comment, own=True) if comment.id in ours else comment for comment in comments]
    written = _with_own(written, [comment.at for comment in comments if comment.own])
    proof, lost_proof = _entries(ref, listed(metadata, "proof"), "createdAt", EvidenceKind.PROOF)
    artifacts, lost_artifacts = _entries(ref, listed(metadata, "artifacts"), "createdAt", EvidenceKind.ARTIFACT)
    attempts = [tuple(_attempt(ref, entry)) for entry in listed(metadata, "attempts")]
    history = {
        *written,
        *(_by_its_write(comment, written) for comment in comments),
        *proof,
        *artifacts,
        *(evidence for attempt in attempts for evidence in attempt),
        *_claim(ref, mapping(metadata, "claim")),
        *_execution(ref, mapping(record, "execution")),
    }
    moves = [(event["at"], event.get("toStatus")) for event in events if _is_move(event)]
    return Trail(
        evidence=tuple(sorted(history, key=lambda evidence: (evidence.at, evidence.kind, evidence.id))),
        last_start=_latest(at for at, status in moves if status == "running"),
        last_move=_latest(at for at, _ in moves),
        unreadable=lost + lost_comments + lost_proof + lost_artifacts + attempts.count(()),
    )


def _is_move(event: Any) -> bool:
    return isinstance(event, Mapping) and EVENTS.get(str(event.get("kind"))) is EvidenceKind.MOVED and "at" in event


def _latest(values: Iterable[object]) -> datetime | None:
    return max(filter(None, map(parse_instant, values)), default=None)


def _entries(
    ref: Ref, entries: Sequence[Any], time: str, kind: EvidenceKind | None = None
) -> tuple[list[Evidence], int]:
    """The entries that have a time and an id, of one kind or each of its own; and how many have not."""
    told = [_entry(ref, entry, time, kind or _kind(entry)) for entry in entries]
    return [entry for entry in told if entry is not None], told.count(None)


def _kind(entry: Any) -> EvidenceKind:
    word = entry.get("kind") if isinstance(entry, Mapping) else None
    return EVENTS.get(word, EvidenceKind.ATTEMPT) if isinstance(word, str) else EvidenceKind.ATTEMPT


def _entry(ref: Ref, entry: Any, time: str, kind: EvidenceKind) -> Evidence | None:
    if not isinstance(entry, Mapping):
        return None
    at, identifier = parse_instant(entry.get(time)), entry.get("id")
    if at is None or not isinstance(identifier, str) or not identifier:
        return None
    return Evidence(ref, at, kind, identifier)


def _by_its_write(comment: Evidence, events: Sequence[Evidence]) -> Evidence:
    """A comment takes the kind of the heartbeat that wrote it: its note is activity, not progress (rule T1)."""
    index = bisect_left(events, comment.at, key=lambda event: event.at)
    if index < len(events):
        event = events[index]
        if event.kind is EvidenceKind.CLAIM_HEARTBEAT and event.at - comment.at <= SAME_WRITE:
            return replace(comment, kind=EvidenceKind.CLAIM_HEARTBEAT)
    return comment


def _our_comments(comments: Sequence[Any]) -> frozenset[str]:
    """Ids of what heartbeat's rules said (rule T2). What an agent said through heartbeat is that agent's."""
    return frozenset(
        str(comment.get("id"))
        for comment in comments
        if isinstance(comment, Mapping) and _voice(comment.get("body")) is Voice.RULE
    )


def _voice(body: object) -> Voice | None:
    signed = signature(body) if isinstance(body, str) else None
    return None if signed is None else signed[0]


def _with_own(events: list[Evidence], comments: Sequence[datetime]) -> list[Evidence]:
    """The events, with those that our own comments were written by marked as ours (rule T2).

    A comment, a reclaim, a block and a hand-over leave one event each, which follows their comment at once. Only that
    very event is ours: what somebody else does a moment later is a sign of life.
    """
    marked = list(events)
    for at in comments:
        index = bisect_left(events, at, key=lambda event: event.at)
        if index == len(events) or events[index].at - at > SAME_WRITE:
            continue
        if events[index].kind in (EvidenceKind.COMMENT, EvidenceKind.MOVED):
            marked[index] = replace(events[index], own=True)
    return marked


def _without_sweeps(events: Sequence[Evidence], metadata: Mapping[str, Any]) -> list[Evidence]:
    """The events, with the moves by which OpenClaw's own dispatch blocked the card as SWEEP (contract 1.4, rule T1)."""
    told = (
        parse_instant(entry.get("createdAt"))
        for entry in listed(metadata, "notifications")
        if isinstance(entry, Mapping) and str(entry.get("message")).startswith(TAKEN_BY_DISPATCH)
    )
    sweeps = [at for at in told if at is not None]
    return [
        replace(event, kind=EvidenceKind.SWEEP)
        if event.kind is EvidenceKind.MOVED and any(timedelta(0) <= event.at - at <= SAME_WRITE for at in sweeps)
        else event
        for event in events
    ]


def _attempt(ref: Ref, entry: Any) -> Iterator[Evidence]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        return
    for name in ("startedAt", "endedAt"):
        at = parse_instant(entry.get(name))
        if at is not None:
            yield Evidence(ref, at, EvidenceKind.ATTEMPT, f"attempt:{entry['id']}:{name}")


def _claim(ref: Ref, claim: Mapping[str, Any]) -> Iterator[Evidence]:
    claimed_at = parse_instant(claim.get("claimedAt"))
    heartbeat_at = parse_instant(claim.get("lastHeartbeatAt"))
    if claimed_at is not None:
        yield Evidence(ref, claimed_at, EvidenceKind.CLAIMED, f"claim:{claim['claimedAt']}")
    if heartbeat_at is not None and heartbeat_at != claimed_at:
        yield Evidence(ref, heartbeat_at, EvidenceKind.CLAIM_HEARTBEAT, f"claim-heartbeat:{claim['lastHeartbeatAt']}")


def _execution(ref: Ref, execution: Mapping[str, Any]) -> Iterator[Evidence]:
    at = parse_instant(execution.get("updatedAt"))
    if at is not None:
        yield Evidence(ref, at, EvidenceKind.ATTEMPT, f"execution:{execution['updatedAt']}")
