"""One look at everything: read, merge, remember, judge. Writes nothing to the store.

What a tick does with it stands in beat.py; the commands that only look use it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.deadline import LONGEST_BEAT
from heartbeat.judge import Judgement, Scene, judge
from heartbeat.memory import Memory
from heartbeat.policy import Policy
from heartbeat.roster.model import Roster
from heartbeat.rules.degradation import Degradation, SourceState, level_of, needed
from heartbeat.schedule.slots import current_slot
from heartbeat.store.port import Store, Tombstone
from heartbeat.sweep import SourceBuilder, Sweep, sweep
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.systems.registry import build_source
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Finding, Item, Link, Ref
from heartbeat.worklist import Assessment, assess

_SHARE_OF_EVERY = 0.5
"""A tick may take half of the shortest `every` of its agents (rule B1)."""

_TELL_OF_RUNS = frozenset({"workboard", "multica"})
"""Sources that should know who is at work (rule T7). A TODO file cannot, and a plug-in need not."""


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
    judgement: Judgement
    degradation: Degradation = field(default_factory=Degradation)
    """How far heartbeat could see and act at that look (rule G1)."""


def ttl_of(roster: Roster) -> timedelta:
    """How long a snapshot serves other beats (rule S5)."""
    configured = roster.extra.get("snapshot_ttl")
    return configured if isinstance(configured, timedelta) else roster.shortest_every / 2


def patience(policies: Sequence[Policy]) -> Deadline:
    """The total deadline of a tick of these agents (rule B1), a quarter of an hour at most."""
    shortest = min((policy.every.total_seconds() for policy in policies), default=600.0)
    return Deadline.after(min(shortest * _SHARE_OF_EVERY, LONGEST_BEAT))


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
    alone: bool = False,
    build: SourceBuilder = build_source,
) -> Observation:
    """Look at everything and judge it as of `at` (default: now). With `alone`, a store that remembers nothing yet is no
    memory, and stalls are judged by the sources alone (rule B5); a beat begins to remember instead (rule T6).

    Raises StateError, UsageError, ConservationError.
    """
    seen = sweep(
        roster,
        environment,
        cache,
        now=now,
        deadline=deadline,
        ttl=ttl_of(roster),
        fresh=fresh,
        last_complete={name: store.last_complete(name) for name in roster.sources},
        build=build,
    )
    instant = at or now
    sight = seen.sight()
    undated = tuple(item.ref for item in (*sight.items, *sight.stale) if _undated(item))
    assessment = assess(
        sight,
        now=instant,
        parent_rule=roster.parent_rule,
        remembered=(Link(link.first, link.second, "remembered") for link in store.links()),
        first_seen=store.first_seen(undated) if undated else {},
    )
    judgement = judge(
        assessment,
        scene_of(seen),
        remember(store, roster, instant, alone=alone),
        roster.charter(),
        slots={agent.id: current_slot(agent.policy, roster.timezone, instant) for agent in roster.agents.values()},
        now=instant,
    )
    alarms = tuple(_alarms(seen, store.tombstone()))
    degradation = degradation_of(seen, roster, store, now)
    return Observation(roster, seen, instant, assessment, alarms, undated, judgement, degradation)


def remember(store: Store, roster: Roster, now: datetime, *, alone: bool = False) -> Memory:
    """What the rules remember. A store without receipts and clocks has nothing to go by (rule B5, see `observe`)."""
    beats = {agent: receipt.started_at for agent, receipt in store.last_beats().items()}
    clocks = store.clocks()
    return Memory(
        clocks=clocks,
        windows=store.windows(),
        own=store.own(),
        incidents=store.incidents(),
        rounds=store.rounds(),
        holds=store.holds(),
        pauses=store.pauses(),
        beats=beats,
        waiting=store.waiting(),
        without=alone and not beats and not clocks,
        observing=store.tombstone() is not None,
    )


def scene_of(seen: Sweep) -> Scene:
    """What the rules need of a sweep besides its items. A plug-in need not know who is at work."""
    readings = seen.readings
    in_use = {name: each for name, each in readings.items() if each.report.status is not ReadStatus.DISABLED}
    complete = {name: each for name, each in in_use.items() if each.report.status is ReadStatus.COMPLETE}
    return Scene(
        evidence=tuple(evidence for each in readings.values() for evidence in each.evidence),
        presence=tuple(presence for each in readings.values() for presence in each.presence or ()),
        presence_unknown=frozenset(name for name in _TELL_OF_RUNS & in_use.keys() if in_use[name].presence is None),
        presence_known=any(each.presence is not None for each in in_use.values()),
        complete=frozenset(complete),
        read_at={name: each.report.read_at for name, each in complete.items() if each.report.read_at is not None},
        incomplete=seen.incomplete,
        unknown_ids=frozenset(name for report in seen.reports for name in report.unknown_ids),
    )


def degradation_of(seen: Sweep, roster: Roster, store: Store, now: datetime) -> Degradation:
    """The level by what a sweep saw and what stands in the store now (rule G1)."""
    lost = store.tombstone()
    starts_turns = any(agent.policy.dispatch != "none" for agent in roster.agents.values())
    silent = [name for name, reading in seen.readings.items() if reading.presence is None]
    return level_of(
        [source_state(reading, seen.now) for reading in seen.readings.values()],
        # Of those who are asked for turns; where the roster has nobody started they are in nobody's way.
        store.breakers().values() if starts_turns else (),
        now,
        memory_lost="" if lost is None else lost.reason,
        engines=needed((agent.policy.dispatch for agent in roster.agents.values()), silent),
    )


def source_state(reading: Reading, now: datetime) -> SourceState:
    """What a reading means for the level (rule G1)."""
    report = reading.report
    absent = (None, FailureKind.NOT_CONFIGURED)
    return SourceState(
        name=report.source,
        status=report.status.value,
        kind=report.kind.value if report.kind else "",
        shown=None if reading.stale_at is None else max(now - reading.stale_at, timedelta(0)),
        instead_of=tuple(attempt.transport for attempt in report.tried if attempt.kind not in absent),
    )


def _alarms(seen: Sweep, tombstone: Tombstone | None) -> Iterable[Finding]:
    if seen.blind:
        names = ", ".join(seen.readings) or "none in the roster"
        yield Finding("nothing-read", f"no source was read ({names}): what there is to do is not known; run the doctor")
    if tombstone is not None:
        kept = f"; the damaged file is {tombstone.quarantined}" if tombstone.quarantined else ""
        yield Finding("memory-lost", f"{tombstone.reason}{kept}; until somebody accepts that heartbeat only observes")


def _undated(item: Item) -> bool:
    return item.created_at is None and item.started_at is None
