"""The room where one beat happens: read, merge, judge, put on record, hand out the worklists.

`observe` only looks; `tick` is a scheduled beat: it takes the agents' locks, consumes their slots and leaves a receipt
for each (rules B1 to B3a, S10). The clock is read by the caller.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from heartbeat import __version__
from heartbeat.errors import StateError, UsageError
from heartbeat.policy import Policy
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.backlog import Backlog, backlog
from heartbeat.schedule.slots import current_slot
from heartbeat.store.locks import Lock, try_exclusive
from heartbeat.store.port import Link as RememberedLink
from heartbeat.store.port import Outcome, Receipt, Store, Tombstone
from heartbeat.sweep import Sweep, sweep
from heartbeat.systems.base import Deadline, ReadStatus, Rejected, SourceReport
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Finding, Item, Link, Ref
from heartbeat.worklist import Assessment, Worklist, assess, worklist

_SHARE_OF_EVERY = 0.5
"""A tick may take half of the shortest `every` of its agents (rule B1)."""


_SHORTEST_RETENTION = timedelta(days=2)
"""When an item was last seen is refreshed once a day only."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at all sources gave. `at` is the instant it was judged for, `sweep.now` when it was read."""

    roster: Roster
    sweep: Sweep
    at: datetime
    assessment: Assessment
    alarms: tuple[Finding, ...]
    """What everybody must know before anything else: no source was read, memory was lost (rules S2, B7)."""
    undated: tuple[Ref, ...]
    """Items whose source tells no time; the store dates them by first sight (rules S8, T9)."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One agent's part in a tick: its worklist and receipt, or why it was skipped."""

    agent: Agent
    worklist: Worklist | None
    receipt: Receipt | None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Patrol:
    """What a patrol agent sees besides its own work."""

    backlog: Backlog
    last_receipts: Mapping[str, Receipt]


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick of one or more agents."""

    observation: Observation | None
    beats: tuple[Beat, ...]


def ttl_of(roster: Roster) -> timedelta:
    """How long a snapshot serves other beats (rule S5)."""
    configured = roster.extra.get("snapshot_ttl")
    return configured if isinstance(configured, timedelta) else roster.shortest_every / 2


def patience(policies: Sequence[Policy]) -> Deadline:
    """The total deadline of a tick of these agents (rule B1)."""
    shortest = min((policy.every.total_seconds() for policy in policies), default=600.0)
    return Deadline.after(shortest * _SHARE_OF_EVERY)


def observe(
    roster: Roster,
    environment: Mapping[str, str],
    store: Store,
    cache: SnapshotCache,
    *,
    now: datetime,
    deadline: Deadline,
    at: datetime | None = None,
    fresh: bool = False,
) -> Observation:
    """Look at everything and judge it as of `at` (default: now). Writes nothing to the store."""
    seen = sweep(
        roster,
        environment,
        cache,
        now=now,
        deadline=deadline,
        ttl=ttl_of(roster),
        fresh=fresh,
        last_complete={name: store.last_complete(name) for name in roster.sources},
    )
    sight = seen.sight()
    undated = tuple(item.ref for item in (*sight.items, *sight.stale) if _undated(item))
    assessment = assess(
        sight,
        now=at or now,
        parent_rule=roster.parent_rule,
        remembered=(Link(link.first, link.second, "remembered") for link in store.links()),
        first_seen=store.first_seen(undated) if undated else {},
    )
    alarms = tuple(_alarms(seen, store.tombstone()))
    return Observation(roster, seen, at or now, assessment, alarms, undated)


def _alarms(seen: Sweep, tombstone: Tombstone | None) -> Iterable[Finding]:
    if seen.blind:
        names = ", ".join(seen.readings) or "none in the roster"
        yield Finding("nothing-read", f"no source was read ({names}): what there is to do is not known; run the doctor")
    if tombstone is not None:
        kept = f"; the damaged file is {tombstone.quarantined}" if tombstone.quarantined else ""
        yield Finding("memory-lost", f"{tombstone.reason}{kept}; until somebody accepts that heartbeat only observes")


def _undated(item: Item) -> bool:
    return item.created_at is None and item.started_at is None


def chosen(roster: Roster, agents: Sequence[str]) -> tuple[Agent, ...]:
    """The roster's agents by id, in the order asked; raises UsageError naming the ones it does not have."""
    unknown = [name for name in agents if name not in roster.agents]
    if unknown:
        raise UsageError(
            f"{roster.path}: no agent called {', '.join(repr(name) for name in unknown)}",
            advice=f"agents in this roster: {', '.join(roster.agents)}",
        )
    return tuple(roster.agents[name] for name in agents)


def tick(
    roster: Roster,
    agents: Sequence[Agent],
    environment: Mapping[str, str],
    store: Store,
    cache: SnapshotCache,
    locks: Path,
    *,
    clock: Callable[[], datetime],
    fresh: bool = False,
) -> Tick:
    """One scheduled beat of each agent over one shared sweep. An agent that is beating already is skipped (rule B1)."""
    started = clock()
    with ExitStack() as held:
        taken = {
            agent.id: held.enter_context(try_exclusive(locks / f"{agent.id}.lock", purpose="tick")) for agent in agents
        }
        free = [agent for agent in agents if taken[agent.id].held]
        if not free:
            return Tick(None, tuple(_skip(agent, taken[agent.id]) for agent in agents))
        try:
            observation = observe(
                roster,
                environment,
                store,
                cache,
                now=started,
                deadline=patience([agent.policy for agent in free]),
                fresh=fresh,
            )
            ended = clock()
            beats = {agent.id: _beat(observation, agent, started, ended) for agent in free}
            _record(store, observation, [beat.receipt for beat in beats.values() if beat.receipt], started)
        except BaseException as error:
            # An interrupt ends a beat as well as a fault does; a store that fails now must not hide why.
            with suppress(StateError):
                _record_failure(store, roster, free, started, clock(), error)
            raise
        return Tick(observation, tuple(beats.get(agent.id) or _skip(agent, taken[agent.id]) for agent in agents))


def rehearse(observation: Observation, agents: Sequence[Agent]) -> Tick:
    """The same beats without locks, slots and receipts: what `--dry-run` shows (rule B3)."""
    assessment = observation.assessment
    beats = tuple(Beat(agent, worklist(assessment, agent.id, patrol=agent.patrol), None) for agent in agents)
    return Tick(observation, beats)


def patrol(observation: Observation, store: Store) -> Patrol:
    """The whole platform's backlog, each owner's load and each agent's last receipt."""
    ordered = [standing.task for standing in observation.assessment.standings]
    load = backlog(ordered, observation.sweep.readings, observation.roster.agents, observation.at)
    return Patrol(load, store.last_receipts())


def _skip(agent: Agent, lock: Lock) -> Beat:
    holder = f" ({lock.holder})" if lock.holder else ""
    return Beat(agent, None, None, f"another tick of {agent.id} is running{holder}; this one does nothing")


def _beat(observation: Observation, agent: Agent, started: datetime, ended: datetime) -> Beat:
    own = worklist(observation.assessment, agent.id, patrol=agent.patrol)
    seen = observation.sweep
    receipt = _receipt(
        observation.roster,
        agent,
        started,
        ended,
        outcome="degraded" if seen.degraded else "done",
        sources=tuple(source_line(report, seen.age(report.source)) for report in seen.reports),
        buckets=own.buckets,
        rejected=tuple(_raw(rejected) for reading in seen.readings.values() for rejected in reading.rejected),
    )
    return Beat(agent, own, receipt)


def _receipt(
    roster: Roster,
    agent: Agent,
    started: datetime,
    ended: datetime,
    *,
    outcome: Outcome,
    sources: tuple[Mapping[str, object], ...] = (),
    buckets: Mapping[str, int] | None = None,
    rejected: tuple[Mapping[str, object], ...] = (),
    reasons: tuple[str, ...] = (),
) -> Receipt:
    return Receipt(
        id=uuid.uuid4().hex,
        agent=agent.id,
        slot=current_slot(agent.policy, roster.timezone, started),
        started_at=started,
        ended_at=ended,
        outcome=outcome,
        degraded=outcome != "done",
        sources=sources,
        buckets=dict(buckets or {}),
        rejected=rejected,
        reasons=reasons,
        version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def source_line(report: SourceReport, age: float | None) -> dict[str, object]:
    """What a receipt keeps of a source's report."""
    return {
        "name": report.source,
        "status": report.status.value,
        "transport": report.transport,
        "kind": report.kind.value if report.kind else None,
        "message": report.message,
        "items": report.items,
        "age_seconds": age,
    }


def _raw(rejected: Rejected) -> dict[str, object]:
    return {"source": rejected.source, "id": rejected.id, "reason": rejected.reason, "raw": rejected.raw}


def _record(store: Store, observation: Observation, receipts: Sequence[Receipt], at: datetime) -> None:
    """Everything that a beat leaves behind, in one transaction."""
    links = [
        RememberedLink(link.first, link.second, link.via, at)
        for link in observation.assessment.links
        if link.via != "remembered"
    ]
    seen = observation.sweep
    with store.transaction():
        for report in seen.reports:
            if report.status is ReadStatus.COMPLETE and report.source in seen.identities:
                store.note_complete(report.source, seen.identities[report.source], report.read_at or at)
        store.remember_links(links)
        if observation.undated:
            store.note_sightings(observation.undated, at)
        for receipt in receipts:
            store.add_receipt(receipt)
        retention = observation.roster.extra.get("retention")
        if isinstance(retention, timedelta):
            store.forget_before(at - max(retention, _SHORTEST_RETENTION))


def _record_failure(
    store: Store, roster: Roster, agents: Sequence[Agent], started: datetime, ended: datetime, error: BaseException
) -> None:
    """A beat that failed is on record too; the failure itself goes on to the caller."""
    reason = f"{type(error).__name__}: {error}"
    with store.transaction():
        for agent in agents:
            store.add_receipt(_receipt(roster, agent, started, ended, outcome="failed", reasons=(reason,)))
