"""From what the sources gave to what each agent is shown: merged, gated, ordered, counted (rules M, D, S6a, S10).

Pure: `assess` judges every item once for the whole team, `worklist` cuts out one agent's part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from heartbeat.errors import ConservationError
from heartbeat.instants import to_text
from heartbeat.merge import merge
from heartbeat.order import task_order
from heartbeat.policy import ParentRule
from heartbeat.rules.dependencies import Gate, Visibility, Wait, dependencies
from heartbeat.task import NOBODY, Finding, Item, Link, Owner, OwnerKind, Ref, State, Status, Task


class Bucket(StrEnum):
    """Where an item ended up in a beat; each is in exactly one (rule S10)."""

    PRESENTED = "presented"
    MERGED = "merged"
    WAITING = "waiting"
    DEFERRED = "deferred"
    CLOSED = "closed"
    REJECTED = "rejected"
    OTHER_AGENT = "other_agent"
    UNOWNED = "unowned"


_STATE_OF = {
    Status.BACKLOG: State.WAITING,
    Status.TODO: State.READY,
    Status.IN_PROGRESS: State.IN_PROGRESS,
    Status.IN_REVIEW: State.REVIEW,
    Status.BLOCKED: State.BLOCKED,
    Status.DONE: State.DONE,
    Status.CANCELLED: State.DONE,
    Status.UNKNOWN: State.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Sight:
    """What one sweep saw: fresh items, items of an earlier read, and what could not be seen."""

    items: tuple[Item, ...]
    sources: tuple[str, ...]
    """All sources in source order, also those that gave nothing."""
    stale: tuple[Item, ...] = ()
    stale_since: Mapping[str, str] = field(default_factory=dict)
    """For a source with stale items, how old they are in words."""
    incomplete: frozenset[str] = frozenset()
    unknown_ids: frozenset[str] = frozenset()
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A task, what it is to its owner, and why."""

    task: Task
    state: State
    bucket: Bucket
    waits: tuple[Wait, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """The whole team's work in the order of work. `counts` has every item once, by its task's owner and bucket."""

    standings: tuple[Standing, ...]
    links: tuple[Link, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[tuple[Owner, Bucket], int]
    cycles: tuple[tuple[str, ...], ...]
    items: int


@dataclass(frozen=True, slots=True)
class Worklist:
    """One agent's part. `buckets` counts every item of the sweep as this agent sees it."""

    agent: str
    standings: tuple[Standing, ...]
    findings: tuple[Finding, ...]
    buckets: Mapping[str, int]

    def in_state(self, state: State) -> tuple[Standing, ...]:
        """The tasks in one state, in the order of work."""
        return tuple(standing for standing in self.standings if standing.state is state)


def assess(
    sight: Sight,
    *,
    now: datetime,
    parent_rule: ParentRule,
    remembered: Iterable[Link] = (),
    first_seen: Mapping[Ref, datetime] | None = None,
) -> Assessment:
    """Judge every item once. Raises ConservationError when an item would be in no bucket or in two (rule S10)."""
    stale = frozenset(item.ref for item in sight.stale)
    everything = (*sight.items, *sight.stale)
    merged = merge(
        everything,
        sources=sight.sources,
        now=now,
        remembered=remembered,
        stale=stale,
        incomplete=sight.incomplete,
        unknown_ids=sight.unknown_ids,
    )
    ordered = sorted(merged.tasks, key=task_order(sight.sources, first_seen or {}))
    waiting = dependencies(ordered, parent_rule, Visibility(sight.incomplete, sight.unknown_ids))
    standings = tuple(_standing(task, waiting.waits.get(task.key, ()), sight, now) for task in ordered)
    counts = _count(standings, sight.rejected)
    _conserve(standings, counts, len(everything), sight.rejected)
    return Assessment(
        standings=standings,
        links=merged.links,
        findings=(*merged.findings, *waiting.findings, *_findings(standings)),
        counts=counts,
        cycles=waiting.cycles,
        items=len(everything) + sight.rejected,
    )


def worklist(assessment: Assessment, agent: str, *, patrol: bool = False) -> Worklist:
    """What one agent is shown: its open tasks in the order of work, and findings: about them, or with `patrol` all."""
    own = Owner(OwnerKind.AGENT, agent)
    standings = tuple(
        standing
        for standing in assessment.standings
        if standing.task.owner == own and standing.bucket is not Bucket.CLOSED
    )
    refs = {ref for standing in standings for ref in standing.task.refs}
    findings = tuple(finding for finding in assessment.findings if patrol or not refs.isdisjoint(finding.refs))
    buckets: Counter[str] = Counter()
    for (owner, bucket), count in assessment.counts.items():
        buckets[_as_seen_by(own, owner, bucket)] += count
    return Worklist(agent, standings, findings, {bucket.value: buckets[bucket.value] for bucket in Bucket})


def _as_seen_by(own: Owner, owner: Owner, bucket: Bucket) -> str:
    if owner == own or bucket in (Bucket.CLOSED, Bucket.REJECTED):
        return bucket.value
    return (Bucket.UNOWNED if owner == NOBODY else Bucket.OTHER_AGENT).value


def _standing(task: Task, waits: tuple[Wait, ...], sight: Sight, now: datetime) -> Standing:
    state = State.DONE if task.archived else _STATE_OF[task.status]
    bucket = {State.DONE: Bucket.CLOSED, State.WAITING: Bucket.DEFERRED}.get(state, Bucket.PRESENTED)
    if state is State.READY and task.split:
        state = State.UNKNOWN
    elif state is State.READY and waits:
        state, bucket = State.WAITING, Bucket.WAITING
    return Standing(task, state, bucket, waits, tuple(_reasons(task, state, bucket, waits, sight, now)))


def _reasons(
    task: Task, state: State, bucket: Bucket, waits: Sequence[Wait], sight: Sight, now: datetime
) -> Iterable[str]:
    yield from (f"same task as {_key_of(task, link.second)} ({_VIA[link.via]})" for link in task.links)
    if task.archived:
        yield "archived"
    for source in sorted({ref.source for ref in task.stale}):
        said = ", ".join(item.raw_status for item in task.items if item.ref in task.stale and item.ref.source == source)
        yield f"{source} could not be read; {sight.stale_since.get(source, 'earlier')} it said {said}"
    for ref in task.absent:
        yield f"belongs to {ref}, which could not be read"
    if task.split:
        closed = [item.key for item in task.items if item.status.value in ("done", "cancelled")]
        yield f"split: {', '.join(closed)} is closed and the rest is open; settle which is true"
    if state is State.UNKNOWN and not (task.stale or task.absent or task.split):
        words = ", ".join(item.raw_status for item in task.items if item.status is Status.UNKNOWN)
        yield f"status {words!r} is not known to heartbeat: shown, never acted on"
    if bucket is Bucket.DEFERRED:
        yield _deferral(task, now)
    if task.owner.kind is OwnerKind.PERSON:
        yield f"owned by a person: {task.owner.id}"
    yield from (wait.reason for wait in waits if state not in (State.DONE,))


_VIA = {"reference": "explicit reference", "title": "equal title", "remembered": "linked earlier"}


def _key_of(task: Task, ref: Ref) -> str:
    return next((item.key for item in task.items if item.ref == ref), str(ref))


def _deferral(task: Task, now: datetime) -> str:
    scheduled = [item.not_before for item in task.items if item.not_before is not None and item.not_before > now]
    return f"scheduled for {to_text(min(scheduled))}" if scheduled else "in the backlog: not released for work yet"


def _findings(standings: Iterable[Standing]) -> Iterable[Finding]:
    for standing in standings:
        task = standing.task
        name = task.items[0].key
        if task.split:
            yield Finding("split", f"{name}: some of its records are closed and some open", task.refs)
        # An outage makes waits unknown; that is no reason to say that somebody did wrong.
        known = [wait.reason for wait in standing.waits if wait.gate is not Gate.UNKNOWN]
        if standing.state in (State.IN_PROGRESS, State.REVIEW) and known:
            message = f"{name} was started while it waits: {'; '.join(known)}"
            yield Finding("started-too-early", message, task.refs)
        owners = {item.owner for item in task.items if item.owner != NOBODY}
        if len(owners) > 1 and standing.bucket is not Bucket.CLOSED:
            told = ", ".join(f"{item.key}: {item.owner.id or 'nobody'}" for item in task.items)
            yield Finding("owner-mismatch", f"{name} has different owners ({told}); {task.owner.id} has it", task.refs)
        for gate, code in _DEPENDENCY_FINDINGS:
            reasons = [wait.reason for wait in standing.waits if wait.gate is gate]
            if reasons:
                yield Finding(code, f"{name} waits in vain: {'; '.join(reasons)}", task.refs)


_DEPENDENCY_FINDINGS = (
    (Gate.DANGLING, "dangling-dependency"),
    (Gate.AMBIGUOUS, "ambiguous-dependency"),
    (Gate.CANCELLED, "cancelled-dependency"),
    (Gate.ARCHIVED, "archived-dependency"),
)
"""Waits that end only when a person decides something (rule D3)."""


def _count(standings: Iterable[Standing], rejected: int) -> Mapping[tuple[Owner, Bucket], int]:
    counts: Counter[tuple[Owner, Bucket]] = Counter()
    for standing in standings:
        counts[standing.task.owner, standing.bucket] += 1
        if len(standing.task.items) > 1:
            counts[standing.task.owner, Bucket.MERGED] += len(standing.task.items) - 1
    if rejected:
        counts[NOBODY, Bucket.REJECTED] += rejected
    return counts


def _conserve(
    standings: Sequence[Standing], counts: Mapping[tuple[Owner, Bucket], int], items: int, rejected: int
) -> None:
    refs = {ref for standing in standings for ref in standing.task.refs}
    counted = sum(counts.values())
    if counted != items + rejected or len(refs) != items:
        raise ConservationError(
            f"{items} items and {rejected} rejected records came in, {counted} ({len(refs)} distinct) accounted for",
            advice="this is a bug in heartbeat: nothing was acted on; please report it with the output of "
            "`heartbeat tasks --json`",
        )
