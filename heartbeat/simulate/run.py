"""Plays a scenario: the real beats of every agent at its slots, on a virtual clock, without waiting for anything.

The rules, the actions, the delivery of messages and the store are those of real work; only sources, writers, channels
and the clock are simulated. Nothing outside `folder` is read or written, and nothing but chance by the seed differs
between two runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from heartbeat.action import Operation
from heartbeat.beat import Beat, Tick, tick
from heartbeat.deadline import Deadline
from heartbeat.memory import Incident, Step, StepOutcome
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.ladder import Situation
from heartbeat.schedule.slots import current_slot
from heartbeat.simulate.jobs import Job, Truth
from heartbeat.simulate.scenario import Scenario
from heartbeat.simulate.store import SimulatedStore
from heartbeat.simulate.tally import Counts, dead_stretches, truths
from heartbeat.simulate.team import SimulatedTeam, simulated
from heartbeat.simulate.world import HEARTBEAT, Clock, Kind, Moment, World
from heartbeat.store.port import Entry, EntryKind, EntryState, LogEntry
from heartbeat.systems.base import ReadStatus
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Ref

_TICK = timedelta(microseconds=1)
_PATIENCE = 3600.0
"""Seconds of real time that a beat may take: a slow machine must not change what happens."""

_KEPT = timedelta(days=1)
"""How long what is done stays in the lists, at least."""
_LATENESS = timedelta(seconds=1)
"""How long after its slot a beat begins."""
_OFTEN = 100
_STORM = "storm/"
"""How the key of the one alarm begins that stands for many (rule T6)."""

_TOLD_OTHERWISE = frozenset({"notify", "write-done", "step-nudge", "step-recover", "step-hand-over", "step-block"})
"""Entries of the log that the timeline tells in other words: by the letter, the write, or what opened the incident."""

Progress = Callable[[datetime], None]
"""Told now and then how far the simulation has come."""


@dataclass(frozen=True, slots=True)
class Result:
    """What happened, in order, and what it comes to."""

    scenario: str
    seed: int
    started: datetime
    ended: datetime
    agents: tuple[str, ...]
    timeline: tuple[Moment, ...]
    counts: Counts


def run(
    scenario: Scenario,
    roster: Roster,
    folder: Path,
    *,
    seed: int = 0,
    days: float | None = None,
    progress: Progress = lambda instant: None,
) -> Result:
    """The whole simulation. `folder` must be empty and the caller's to throw away; `days` replaces the scenario's.

    Raises whatever a beat raises: a simulation that ends so has found a bug.
    """
    lasting = scenario if days is None else replace(scenario, days=days)
    return _Play(lasting, simulated(roster, scenario), folder, seed, progress).play()


@dataclass(slots=True)
class _Noted:
    """What is counted on the way, since nobody can tell afterwards."""

    beats: int = 0
    degraded: int = 0
    opened: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Incident id to its task's name, and whether somebody worked on the task when it opened."""
    told: set[str] = field(default_factory=set)
    statuses: dict[str, tuple[ReadStatus, str]] = field(default_factory=dict)


class _Play:
    def __init__(self, scenario: Scenario, roster: Roster, folder: Path, seed: int, progress: Progress) -> None:
        self._scenario = scenario
        self._roster = roster
        self._progress = progress
        self._folder = folder
        self._seed = seed
        earliest = min((task.appears - task.since for task in scenario.tasks), default=timedelta(0))
        self._world = World(Clock(scenario.start + min(earliest, timedelta(0))), seed)
        self._team = SimulatedTeam(roster, scenario, self._world, folder)
        self._store = SimulatedStore()
        self._cache = SnapshotCache(folder / "snapshots", read_only=True)
        self._peers = self._team.peers.peers()
        self._noted = _Noted()

    def play(self) -> Result:
        start, end = self._scenario.start, self._scenario.start + timedelta(days=self._scenario.days)
        self._world.go_to(start)
        cleared = start
        for number, (instant, agents) in enumerate(slots(self._roster, start, end)):
            self._world.go_to(instant + _LATENESS)
            if number % _OFTEN == 0:
                self._progress(instant)
            if instant - cleared >= _KEPT:
                self._team.clear_away(cleared)
                cleared = instant
            if not self._world.asleep:
                self._beat(agents)
        self._world.go_to(end)
        return Result(
            scenario=self._scenario.name,
            seed=self._seed,
            started=start,
            ended=end,
            agents=tuple(self._roster.agents),
            timeline=tuple(self._world.moments),
            counts=self._counts(end),
        )

    def _beat(self, agents: tuple[Agent, ...]) -> None:
        """heartbeat first, then the agents with what it handed out."""
        shown: Mapping[str, Beat] = {}
        self._team.settle()
        if not self._world.away:
            before = {name: job.truth for name, job in self._team.jobs.items()}
            moments = len(self._world.moments)
            done = tick(
                self._roster,
                agents,
                {},
                self._store,
                self._cache,
                self._folder / "locks",
                clock=self._world.clock,
                fresh=True,
                peers=self._peers,
                deadline=Deadline.after(_PATIENCE),
            )
            acts = self._world.moments[moments:]
            del self._world.moments[moments:]
            self._note(done, before, acts)
            shown = {beat.agent.id: beat for beat in done.beats}
        for agent in agents:
            self._team.agents[agent.id].beat(shown.get(agent.id))

    # What a tick leaves on the timeline.

    def _note(self, done: Tick, before: Mapping[str, Truth], acts: list[Moment]) -> None:
        """What was seen and judged first, then what was done about it."""
        for beat in done.beats:
            self._noted.beats += beat.receipt is not None
            self._noted.degraded += beat.receipt is not None and beat.receipt.degraded
        self._note_sources(done)
        for incident in done.plan.incidents:
            self._note_incident(incident, before)
        if any(message.key.startswith(_STORM) for message in done.plan.messages):
            held = (key for key, climb in done.plan.climbs.items() if climb.situation is Situation.HELD)
            self._noted.told.update(map(self._team.name_of, held))
        for entry in self._store.news:
            if not _is_outcome(entry):
                self._note_log(entry, done)
        self._world.moments += acts
        for entry in self._store.news:
            if _is_outcome(entry):
                self._note_log(entry, done)
        self._store.news.clear()

    def _note_sources(self, done: Tick) -> None:
        for report in done.observation.sweep.reports if done.observation else ():
            status = (report.status, report.kind.value if report.kind else "")
            known = self._noted.statuses.get(report.source, (ReadStatus.COMPLETE, ""))
            if status[0] is not ReadStatus.DISABLED and status != known:
                self._noted.statuses[report.source] = status
                self._world.tell(
                    Kind.SOURCE, f"heartbeat: {report.source} is {report.status.value}", why=report.message
                )

    def _note_incident(self, incident: Incident, before: Mapping[str, Truth]) -> None:
        job = self._job(incident.refs)
        name = job.name if job else incident.title
        if incident.id not in self._noted.opened:
            worked = job is not None and before.get(job.name) is Truth.WORKED
            self._noted.opened[incident.id] = (name, worked)
        if incident.taken(Step.NOTIFY) is not None:
            self._noted.told.add(name)

    def _note_log(self, entry: LogEntry, done: Tick) -> None:
        if entry.action in _TOLD_OTHERWISE and not _is_failed_letter(entry):
            return
        self._world.tell(
            _KINDS.get(entry.action.partition("-")[0], Kind.STEP),
            f"heartbeat: {_WORDS.get(entry.action, entry.action.replace('-', ' '))}",
            task=self._team.name_of(entry.task) if entry.task else "",
            agent=entry.agent,
            why=self._why(entry, done),
        )

    def _why(self, entry: LogEntry, done: Tick) -> str:
        """For what opens or climbs, the verdict's own reasons; for the rest, the log's words."""
        seen = done.observation
        if seen is not None and entry.action.startswith(("incident-opened", "step-")):
            stall = seen.judgement.stalls.get(entry.task)
            climb = done.plan.climbs.get(entry.task)
            waits = climb.waits if climb is not None else ()
            if stall is not None:
                return "; ".join((*stall.reasons, *waits))
        return entry.message.partition(": ")[2] or entry.message

    def _job(self, refs: Iterable[Ref]) -> Job | None:
        return next((self._team.by_ref[ref] for ref in refs if ref in self._team.by_ref), None)

    # The numbers.

    def _counts(self, end: datetime) -> Counts:
        noted, world = self._noted, self._world
        incidents = self._store.incidents()
        effects = Counter(operation.value for operation, _ in self._team.effects)
        policies = {name: agent.policy for name, agent in self._roster.agents.items()}
        entries = self._store.entries()
        nudges = [entry for entry in entries if "/nudge/" in entry.key]
        told = [entry for entry in entries if entry.kind is not EntryKind.WRITE and "/nudge/" not in entry.key]
        return Counts(
            beats=noted.beats,
            degraded_beats=noted.degraded,
            writes=dict(sorted(effects.items())),
            conflicts=sum(entry.state is EntryState.CONFLICT for entry in entries),
            comments=sum(operation in _SPEAKING for operation, _ in self._team.effects),
            nudges=len(nudges),
            messages=dict(sorted(Counter(map(_told_to, told)).items())),
            incidents=dict(sorted(Counter(each.ending.value if each.ending else "open" for each in incidents).items())),
            recoveries=sum(map(_is_recovered, incidents)),
            storms=len({entry.key.rpartition("/")[0] for entry in told if entry.key.startswith(_STORM)}),
            false_alarms=tuple(name for name, worked in noted.opened.values() if worked),
            wrong_recoveries=tuple(self._team.wrongly_taken),
            dead=dead_stretches(self._team.jobs.values(), policies, noted.told, end),
            runs=dict(sorted(world.runs.items())),
            runs_by_us=world.runs.get(HEARTBEAT, 0),
            tasks=truths(self._team.jobs.values()),
        )


_KINDS: Mapping[str, Kind] = {"incident": Kind.INCIDENT, "write": Kind.WRITE, "notify": Kind.MESSAGE}

_SPEAKING = frozenset({Operation.COMMENT, Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN, Operation.CREATE})
"""Operations that leave a text."""

_WORDS: Mapping[str, str] = {
    "incident-opened": "suspects a stall",
    "incident-ended": "the incident is over",
    "step-notify": "tells of it, since it may not act",
    "write-conflict": "lets it be, since somebody acted meanwhile",
    "write-retry": "could not do it, and will try again",
    "write-dead": "gives it up",
    "rounds-warned": "warns of the rounds used",
    "rounds-exhausted": "pauses it, its rounds being used up",
    "notify": "could not deliver",
}
"""What the log's actions are in a story."""


def _is_recovered(incident: Incident) -> bool:
    taken = incident.taken(Step.BLOCK) or incident.taken(Step.RECOVER)
    return taken is not None and taken.outcome is StepOutcome.DONE


def _is_outcome(entry: LogEntry) -> bool:
    return entry.action == "notify" or entry.action.startswith("write-")


def _is_failed_letter(entry: LogEntry) -> bool:
    return entry.action == "notify" and entry.details.get("outcome") not in ("sent", None)


def _told_to(entry: Entry) -> str:
    return f"inbox of {entry.target}" if entry.kind is EntryKind.INBOX else entry.target


def slots(roster: Roster, start: datetime, end: datetime) -> Iterator[tuple[datetime, tuple[Agent, ...]]]:
    """Every instant from `start` up to, not including, `end` at which somebody is due, with whoever is (rule B2)."""
    due: dict[datetime, list[Agent]] = {}
    for agent in roster.agents.values():
        slot = current_slot(agent.policy, roster.timezone, end - _TICK)
        while slot >= start:
            due.setdefault(slot, []).append(agent)
            slot = current_slot(agent.policy, roster.timezone, slot - _TICK)
    for instant in sorted(due):
        yield instant, tuple(due[instant])
