"""Plays a scenario: the real beats of every agent at its slots, on a virtual clock, without waiting for anything.

The rules, the actions, the delivery of messages, the dispatch of turns and the store are those of real work; only
sources, writers, channels, the engine and the clock are simulated. Nothing outside `folder` is read or written, and
nothing but chance by the seed differs between two runs.

By the usual scheme there are no beats: each slot is a turn of its agent. The same world counts those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from heartbeat.action import Operation
from heartbeat.beat import Beat, rehearse, tick
from heartbeat.deadline import Deadline
from heartbeat.memory import Incident, Step, StepOutcome
from heartbeat.observation import observe
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.dispatching import Reason
from heartbeat.schedule.slots import current_slot
from heartbeat.simulate.scenario import Scenario
from heartbeat.simulate.scheme import Scheme
from heartbeat.simulate.store import SimulatedStore
from heartbeat.simulate.story import STORM, Story
from heartbeat.simulate.tally import Counts, TurnCounts, dead_stretches, truths
from heartbeat.simulate.team import SimulatedTeam, simulated
from heartbeat.simulate.world import HEARTBEAT, Clock, Moment, World
from heartbeat.store.port import Entry, EntryKind, EntryState
from heartbeat.systems.snapshot import SnapshotCache

_TICK = timedelta(microseconds=1)
_PATIENCE = 3600.0
"""Seconds of real time that a beat may take: a slow machine must not change what happens."""

_KEPT = timedelta(days=1)
"""How long what is done stays in the lists, at least."""
_LATENESS = timedelta(seconds=1)
"""How long after its slot a beat begins."""
_OFTEN = 100
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
    scheme: Scheme
    timeline: tuple[Moment, ...]
    counts: Counts


def run(
    scenario: Scenario,
    roster: Roster,
    folder: Path,
    *,
    seed: int = 0,
    days: float | None = None,
    scheme: Scheme = Scheme.BEATS,
    progress: Progress = lambda instant: None,
) -> Result:
    """The whole simulation. `folder` must be empty and the caller's to throw away; `days` replaces the scenario's.

    Raises UsageError for a roster whose providers cannot be read, and whatever a beat raises: a simulation that ends so
    has found a bug.
    """
    lasting = scenario if days is None else replace(scenario, days=days)
    # What is kept of turns in files, too, belongs to the simulation alone.
    played = replace(simulated(roster, scenario), state=folder / "state")
    return _Play(lasting, played, folder, seed, scheme, progress).play()


class _Play:
    def __init__(
        self, scenario: Scenario, roster: Roster, folder: Path, seed: int, scheme: Scheme, progress: Progress
    ) -> None:
        self._scenario = scenario
        self._roster = roster
        self._progress = progress
        self._folder = folder
        self._seed = seed
        self._scheme = scheme
        earliest = min((task.appears - task.since for task in scenario.tasks), default=timedelta(0))
        self._world = World(Clock(scenario.start + min(earliest, timedelta(0))), seed)
        self._store = SimulatedStore()
        self._team = SimulatedTeam(roster, scenario, self._world, folder, self._store, scheme)
        self._cache = SnapshotCache(folder / "snapshots", read_only=True)
        self._peers = self._team.peers.peers()
        self._story = Story(self._team, self._store)
        self._skipped: Counter[str] = Counter()

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
            if self._world.asleep:
                continue
            if self._scheme is Scheme.TURNS:
                self._take_turns(agents)
            else:
                self._beat(agents)
        self._world.go_to(end)
        return Result(
            scenario=self._scenario.name,
            seed=self._seed,
            started=start,
            ended=end,
            agents=tuple(self._roster.agents),
            scheme=self._scheme,
            timeline=tuple(self._world.moments),
            counts=self._counts(end),
        )

    def _beat(self, agents: tuple[Agent, ...]) -> None:
        """heartbeat first, then the agents with what it handed out."""
        shown: Mapping[str, Beat] = {}
        self._team.settle()
        if not self._world.away:
            before = {name for name, job in self._team.jobs.items() if self._team.is_worked_on(job)}
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
            self._story.note(done, before, acts)
            shown = {beat.agent.id: beat for beat in done.beats}
        for agent in agents:
            if not self._team.agents[agent.id].driven:
                self._team.agents[agent.id].beat(shown.get(agent.id))

    def _take_turns(self, agents: tuple[Agent, ...]) -> None:
        """The usual scheme: whoever's slot it is has a turn, and looks in it for something to do."""
        self._team.settle()
        seen = observe(
            self._roster,
            {},
            self._store,
            self._cache,
            now=self._world.clock(),
            deadline=Deadline.after(_PATIENCE),
            fresh=True,
            build=self._peers.source,
        )
        for beat in rehearse(seen, agents, self._store).beats:
            scripted = self._team.agents[beat.agent.id]
            if not self._team.turns.take_scheduled(scripted.id, partial(scripted.next_of, beat)):
                self._skipped[Reason.BUSY.value] += 1

    # The numbers.

    def _counts(self, end: datetime) -> Counts:
        noted, world = self._story, self._world
        incidents = self._store.incidents()
        effects = Counter(operation.value for operation, _ in self._team.effects)
        policies = {name: agent.policy for name, agent in self._roster.agents.items()}
        entries = self._store.entries()
        nudges = [entry for entry in entries if "/nudge/" in entry.key]
        told = [entry for entry in entries if entry.kind in _TELLING and "/nudge/" not in entry.key]
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
            storms=len({entry.key.rpartition("/")[0] for entry in told if entry.key.startswith(STORM)}),
            false_alarms=tuple(name for name, worked in noted.opened.values() if worked),
            wrong_recoveries=tuple(self._team.wrongly_taken),
            dead=dead_stretches(self._team.jobs.values(), policies, noted.told, end),
            runs=dict(sorted(world.runs.items())),
            runs_by_us=world.runs.get(HEARTBEAT, 0),
            turns=self._turn_counts(),
            tasks=truths(self._team.jobs.values()),
        )

    def _turn_counts(self) -> TurnCounts:
        attempts, world = self._store.attempts(), self._world
        outcomes = Counter(each.outcome.value if each.outcome else "running" for each in attempts)
        return TurnCounts(
            started=dict(sorted(world.turns.items())),
            idle=world.idle_turns,
            skipped=dict(sorted((self._skipped + self._story.skipped).items())),
            attempts=dict(sorted(outcomes.items())),
            letters=dict(sorted(Counter(each.state.value for each in self._store.letters()).items())),
            replays=sum(bool(each.letter) for each in attempts),
            overlaps=(*self._team.turns.overlaps, *self._team.runs.overlaps),
            neglected=tuple(self._story.neglect.found),
        )


_TELLING = frozenset({EntryKind.MESSAGE, EntryKind.INBOX})

_SPEAKING = frozenset({Operation.COMMENT, Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN, Operation.CREATE})
"""Operations that leave a text."""


def _is_recovered(incident: Incident) -> bool:
    taken = incident.taken(Step.BLOCK) or incident.taken(Step.RECOVER)
    return taken is not None and taken.outcome is StepOutcome.DONE


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
