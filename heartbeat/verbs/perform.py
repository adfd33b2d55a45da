"""The room where a verb happens: look, find the task, judge, put it on record, write, look again.

What was promised to be written stands in the outbox before anything is; what cannot be finished now is finished by the
next beat, and a command that is repeated goes on where it stopped (rule L4, invariant I4). The clock is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from heartbeat.action import Operation
from heartbeat.actions import WriterBuilder, carry_out, entry_of
from heartbeat.deadline import Deadline
from heartbeat.errors import RefusedError, UsageError
from heartbeat.lookup import ambiguous, meant
from heartbeat.notices import harmless
from heartbeat.observation import Observation, observe, patience, ttl_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.rounds import together
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, Link, LogEntry, Store
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.registry import build_source, build_writer
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.systems.writing import Writer
from heartbeat.task import EvidenceKind, Owner, OwnerKind, Ref, Task
from heartbeat.verbs.intents import Intent, in_order, plan_verb
from heartbeat.verbs.outputs import checked_outputs
from heartbeat.verbs.permission import Refusal, paused, refusals
from heartbeat.verbs.situation import Situation
from heartbeat.verbs.uses import begun, holds_claim, latest_use, next_use, ref_of, shows_output, stands, unfinished
from heartbeat.verbs.words import Command

_SHOWN = 80
"""Characters of a name that is told back."""

_TURN = 20.0
"""Seconds to wait for another process that carries writes out."""

_PAUSE = 0.1

_SECOND_LOOK = 10.0
"""Seconds for the look after the writes, which is for others' sake."""

_OUTPUTS = frozenset({EvidenceKind.PROOF, EvidenceKind.ARTIFACT})


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item. `state` is `done`, `already` (nothing had to be written), `pending` (the next beat
    finishes it), `conflict` (somebody else was quicker) or `dead` (given up); `message` is for people."""

    ref: Ref
    key: str
    operation: Operation
    state: str
    message: str

    @property
    def ok(self) -> bool:
        return self.state in ("done", "already")


@dataclass(frozen=True, slots=True)
class Performance:
    """What became of a verb, item by item in source order."""

    observation: Observation
    task: Task
    command: Command
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.results)


def perform(
    roster: Roster,
    environment: Mapping[str, str],
    store: Store,
    cache: SnapshotCache,
    locks: Path,
    *,
    name: str,
    command: Command,
    clock: Callable[[], datetime],
    cwd: Path,
    deadline: Deadline | None = None,
    source: SourceBuilder = build_source,
    writer: WriterBuilder = build_writer,
    turn: float = _TURN,
) -> Performance:
    """Use a verb on the task that `name` means. `command.agent` may be empty: then it is the task's owner.

    `turn` is how many seconds to wait for another process that writes. Raises UsageError for a call that makes no
    sense, RefusedError for one that is not allowed now, StateError.
    """
    agents = list(roster.agents.values())
    if command.agent:
        agents = list(roster.chosen([command.agent]))
    until = deadline or patience([agent.policy for agent in agents])
    observation = observe(
        roster, environment, store, cache, now=clock(), deadline=until, at=None, fresh=True, build=source
    )
    task = the_task(observation, name, command.agent)
    agent = _who(roster, command, task)
    outputs = checked_outputs(command.outputs, agent.workspace, cwd)
    command = replace(command, agent=agent.id, outputs=outputs)
    writers = {ref.source: writer(ref.source, roster, environment) for ref in task.refs}
    room = _Room(roster, environment, store, observation, task, agent, command, writers)
    keys, left = room.put_on_record()
    busy = room.carry_out(keys, locks, clock, until, turn)
    results = room.results(keys, left, busy)
    room.look_again(results, cache, source, clock(), until)
    return Performance(observation, task, command, results)


def the_task(observation: Observation, name: str, agent: str = "") -> Task:
    """The one task that a name means; of several the agent's own, and of those the open one. Raises UsageError for none
    or several, and RefusedError for none where a source was not read completely."""
    found = meant((standing.task for standing in observation.assessment.standings), name, agent)
    if len(found) == 1:
        return found[0]
    if found:
        listed = [f"{task.key} ({harmless(task.items[0].key)} {harmless(task.title)})" for task in found]
        raise ambiguous(name[:_SHOWN], listed)
    unseen = ", ".join(sorted(observation.sweep.incomplete))
    if unseen:
        reason = f"no task called {name[:_SHOWN]!r} in what could be read; {unseen} could not be, completely"
        raise RefusedError(reason, advice="`heartbeat doctor` says why; then try again")
    raise UsageError(f"no task called {name[:_SHOWN]!r} in any source", advice="`heartbeat tasks --all` lists them")


def _who(roster: Roster, command: Command, task: Task) -> Agent:
    if command.agent:
        return roster.agents[command.agent]
    if task.owner.kind is OwnerKind.AGENT and task.owner.id in roster.agents:
        return roster.agents[task.owner.id]
    raise UsageError(
        f"{task.items[0].key} belongs to {task.owner.id or 'nobody'}, so that it is not clear who speaks",
        advice="say it with --as AGENT, or set HEARTBEAT_AGENT",
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """One verb on one task."""

    roster: Roster
    environment: Mapping[str, str]
    store: Store
    observation: Observation
    task: Task
    agent: Agent
    command: Command
    writers: Mapping[str, Writer | None]

    def put_on_record(self) -> tuple[tuple[str, ...], tuple[Result, ...]]:
        """The keys of what is to be written, and what needs no write. One transaction, so that of two equal commands
        at the same time the second one goes on with the first one's writes. Raises RefusedError."""
        now = self.observation.at
        with self.store.transaction():
            entries = [
                entry for source in self.writers for entry in self.store.entries(kind=EntryKind.WRITE, target=source)
            ]
            before = latest_use(self.command, self.task, entries)
            situation = self._situation(entries)
            if unfinished(before):
                self._refuse(paused(self.command, situation))
                return self._resumed(before, now), ()
            if stands(self.command, situation, before):
                return (), tuple(self._already(entry) for entry in before)
            self._refuse(refusals(self.command, situation))
            intents = plan_verb(self.command, situation, next_use(before, now))
            return self._recorded(intents, now), tuple(_left(intent) for intent in intents if intent.left)

    def carry_out(
        self, keys: Sequence[str], locks: Path, clock: Callable[[], datetime], until: Deadline, turn: float
    ) -> str:
        """Who carries writes out right now, where the turn did not come; a beat that does takes only seconds."""
        patient = until.at_most(turn)
        while keys:
            carried = carry_out(
                self.store,
                self.roster,
                self.environment,
                locks,
                clock=clock,
                deadline=until,
                build=lambda name, roster, environment: self.writers.get(name),
                only=frozenset(keys),
            )
            if not carried.busy or patient.left() < _PAUSE:
                return carried.busy
            time.sleep(_PAUSE)
        return ""

    def results(self, keys: Sequence[str], left: Sequence[Result], busy: str) -> tuple[Result, ...]:
        """In source order, whatever was written first."""
        entries = filter(None, (self.store.entry(key) for key in keys))
        found = [*left, *(self._result(entry, busy) for entry in entries)]
        order = {ref: number for number, ref in enumerate(self.task.refs)}
        return tuple(sorted(found, key=lambda result: order.get(result.ref, len(order))))

    def look_again(
        self, results: Sequence[Result], cache: SnapshotCache, build: SourceBuilder, now: datetime, until: Deadline
    ) -> None:
        """Reads what was written to once more, so that the snapshot which serves other commands shows it (rule S5)."""
        for name in dict.fromkeys(result.ref.source for result in results if result.state == "done"):
            try:
                source = build(name, self.roster, self.environment)
                if source.shareable:
                    cache.read(
                        source,
                        deadline=until.at_most(_SECOND_LOOK),
                        now=now,
                        ttl=ttl_of(self.roster),
                        fresh=True,
                        last_complete=self.store.last_complete(name),
                    )
            except Exception:  # noqa: BLE001, S112 - the writes are done and on record; the next beat reads anew
                continue

    # The parts of put_on_record.

    def _situation(self, entries: Sequence[Entry]) -> Situation:
        seen, judgement = self.observation, self.observation.judgement
        standing = next(each for each in seen.assessment.standings if each.task is self.task)
        me = Owner(OwnerKind.AGENT, self.agent.id)
        owner = self.roster.agents.get(self.task.owner.id) if self.task.owner.kind is OwnerKind.AGENT else None
        shown = any(each.ref in self.task.refs and each.kind in _OUTPUTS for each in judgement.scene.evidence)
        return Situation(
            task=self.task,
            now=seen.at,
            policy=self.agent.policy,
            waits=tuple(wait.reason for wait in standing.waits),
            incomplete=seen.sweep.incomplete,
            pause=judgement.memory.paused(self.agent.id, seen.at),
            rounds=together(self.task, judgement.memory.rounds),
            answers=self.agent.patrol or any(item.creator == me for item in self.task.items),
            shown=shown or shows_output(entries, self.task),
            owner_policy=owner.policy if owner else None,
            begun=begun(self.task, entries),
            capable=self._can,
        )

    def _can(self, source: str, operation: Operation) -> bool:
        writer = self.writers.get(source)
        return writer is not None and writer.can(operation)

    def _refuse(self, why: Sequence[Refusal]) -> None:
        if why:
            advice = "; ".join(dict.fromkeys(each.advice for each in why if each.advice))
            raise RefusedError("\n".join(each.reason for each in why), advice=advice)

    def _resumed(self, entries: Sequence[Entry], now: datetime) -> tuple[str, ...]:
        """What is left to do is due now, whatever pause was set after a failure; a claim that shows is at its end."""
        items = {item.ref: item for item in self.task.items}
        for entry in entries:
            if entry.state not in UNFINISHED:
                continue
            item = items.get(ref_of(entry))
            if entry.attempts and holds_claim(entry, item, self.agent.id):
                found = "found: an earlier attempt had taken effect"
                self.store.settle_entry(entry.key, EntryState.DONE, now, result=found)
            elif entry.state is EntryState.PENDING:
                self.store.settle_entry(entry.key, EntryState.PENDING, now, error=entry.error, due_at=now)
        return tuple(entry.key for entry in entries)

    def _recorded(self, intents: Sequence[Intent], now: datetime) -> tuple[str, ...]:
        """The writes in the outbox. The links that make the task one are kept too: closing one item must not set the
        others free (rule M4)."""
        planned = in_order(intents, self.task)
        links = (Link(each.first, each.second, each.via, now) for each in self.task.links if each.via != "remembered")
        self.store.remember_links(links)
        me = Owner(OwnerKind.AGENT, self.agent.id)
        self.store.enqueue(entry_of(each, me, now) for each in planned)
        if planned:
            message = f"{self.task.title}{': ' if self.command.why else ''}{self.command.why}"
            details = {"outputs": [output.path for output in self.command.outputs]} if self.command.outputs else {}
            action = f"verb-{self.command.verb}"
            self.store.add_log((LogEntry(now, action, message, self.agent.id, self.task.key, details=details),))
        return tuple(each.write.key for each in planned)

    # What is told of an entry.

    def _result(self, entry: Entry, busy: str) -> Result:
        if entry.state in UNFINISHED:
            return self._told(entry, "pending", _pending(entry, busy))
        return self._told(entry, entry.state.value, _MESSAGES[entry.state](entry))

    def _already(self, entry: Entry) -> Result:
        return self._told(entry, "already", "done already, by the same command")

    def _told(self, entry: Entry, state: str, message: str) -> Result:
        ref = ref_of(entry)
        key = next((item.key for item in self.task.items if item.ref == ref), str(ref))
        return Result(ref, key, Operation(entry.payload["write"]["operation"]), state, message)


def _left(intent: Intent) -> Result:
    return Result(intent.item.ref, intent.item.key, intent.operation, "already", intent.left)


def _pending(entry: Entry, busy: str) -> str:
    first = "what comes before it is not done yet" if entry.payload.get("after") else "the time was up"
    why = entry.error or (f"{busy} writes at the same time" if busy else first)
    return f"not done yet ({why}): the next beat goes on with it, and so does the same command"


_MESSAGES: Mapping[EntryState, Callable[[Entry], str]] = {
    EntryState.DONE: lambda entry: entry.result,
    EntryState.CONFLICT: lambda entry: f"not done: {entry.error}; look at it again and decide",
    EntryState.DEAD: lambda entry: f"given up: {entry.error}",
    EntryState.DROPPED: lambda entry: f"dropped by a person: {entry.error or entry.result}",
}
