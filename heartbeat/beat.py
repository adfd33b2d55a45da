"""The room where one beat happens: look, judge, plan, put it on record, act, tell, hand out the worklists.

`tick` is a scheduled beat: it takes the agents' locks, consumes their slots and leaves a receipt for each (rules B1 to
B3a, S10); `rehearse` shows the same and does nothing. The clock is read by the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from heartbeat.actions import Carried, WriterBuilder, carry_out
from heartbeat.deadline import Deadline
from heartbeat.errors import StateError
from heartbeat.notify.channels import open_channel
from heartbeat.notify.delivery import Delivered, Open, deliver
from heartbeat.notify.inbox import inbox
from heartbeat.observation import Observation, observe, patience
from heartbeat.plan import Acting, Plan, plan
from heartbeat.receipt import beat_receipt
from heartbeat.record import record_beats, record_failure, record_judgement
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.attention import Attention, attention, decides
from heartbeat.rules.backlog import Backlog, backlog
from heartbeat.schedule.slots import current_slot
from heartbeat.store.locks import Lock, try_exclusive
from heartbeat.store.port import Entry, Receipt, Store
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.registry import build_source, build_writer
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.worklist import Worklist, worklist

_TICK = timedelta(microseconds=1)
_INBOX = 20
"""Messages on top of one worklist; the others come with the next."""


@dataclass(frozen=True, slots=True)
class Peers:
    """How a beat reaches the world. A simulation puts a scripted world in its place."""

    source: SourceBuilder = build_source
    writer: WriterBuilder = build_writer
    channel: Open = open_channel
    pause: Callable[[float], None] = time.sleep
    """Waits, in seconds."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One agent's part in a tick: its worklist and receipt, or why it was skipped.

    `inbox` holds the messages that this worklist shows on top, `attention` what waits for this agent's decision.
    """

    agent: Agent
    worklist: Worklist | None
    receipt: Receipt | None
    skipped: str = ""
    inbox: tuple[Entry, ...] = ()
    attention: tuple[Attention, ...] = ()


@dataclass(frozen=True, slots=True)
class Patrol:
    """What a patrol agent sees besides its own work."""

    backlog: Backlog
    last_receipts: Mapping[str, Receipt]


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick of one or more agents: what was seen, what was planned, and what came of it."""

    observation: Observation | None
    beats: tuple[Beat, ...]
    plan: Plan = field(default_factory=Plan)
    carried: Carried = field(default_factory=Carried)
    delivered: Delivered | None = None


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
    peers: Peers | None = None,
    deadline: Deadline | None = None,
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
        room = _Room(roster, free, environment, store, locks, clock, peers or Peers())
        try:
            until = deadline or patience([agent.policy for agent in free])
            done = room.beat(started, until, cache, fresh=fresh)
        except BaseException as error:
            # An interrupt ends a beat as well as a fault does; a store that fails now must not hide why.
            with suppress(StateError):
                record_failure(store, roster, free, started, clock(), error)
            raise
        beats = {beat.agent.id: beat for beat in done.beats}
        every = tuple(beats.get(agent.id) or _skip(agent, taken[agent.id]) for agent in agents)
        return Tick(done.observation, every, done.plan, done.carried, done.delivered)


@dataclass(frozen=True, slots=True)
class _Room:
    """One beat of agents whose locks are held."""

    roster: Roster
    agents: Sequence[Agent]
    environment: Mapping[str, str]
    store: Store
    locks: Path
    clock: Callable[[], datetime]
    peers: Peers

    def beat(self, started: datetime, deadline: Deadline, cache: SnapshotCache, *, fresh: bool) -> Tick:
        observation = observe(
            self.roster,
            self.environment,
            self.store,
            cache,
            now=started,
            deadline=deadline,
            fresh=fresh,
            build=self.peers.source,
        )
        planned = plan(
            observation.judgement, acting(observation, [agent.id for agent in self.agents]), self.roster.charter()
        )
        record_judgement(self.store, observation, planned, started)
        carried = self._carry_out(deadline)
        delivered = deliver(
            self.store,
            self.roster,
            self.environment,
            now=self.clock(),
            deadline=deadline,
            clock=self.clock,
            open_channel=self.peers.channel,
            pause=self.peers.pause,
        )
        beats = tuple(self._beat(observation, agent, started) for agent in self.agents)
        shown = {beat.agent.id: beat.inbox for beat in beats}
        record_beats(self.store, self.roster, [beat.receipt for beat in beats if beat.receipt], shown, self.clock())
        return Tick(observation, beats, planned, carried, delivered)

    def _carry_out(self, deadline: Deadline) -> Carried:
        def allowed(entry: Entry) -> bool:
            now = self.clock()
            owner = str(entry.payload.get("owner", ["", ""])[1])
            return not any(
                pause.agent in (owner, "*") and (pause.until is None or now < pause.until)
                for pause in self.store.pauses()
            )

        return carry_out(
            self.store,
            self.roster,
            self.environment,
            self.locks,
            clock=self.clock,
            deadline=deadline,
            build=self.peers.writer,
            allowed=allowed,
        )

    def _beat(self, observation: Observation, agent: Agent, started: datetime) -> Beat:
        own = worklist(observation.assessment, agent.id, patrol=agent.patrol)
        receipt = beat_receipt(observation, agent, own, started, self.clock())
        return Beat(
            agent,
            own,
            receipt,
            inbox=inbox(self.store, agent.id, _INBOX),
            attention=_attention(observation, self.store, agent),
        )


def acting(observation: Observation, agents: Sequence[str]) -> Acting:
    """For whom a tick of these agents acts (rule L0)."""
    roster, judgement = observation.roster, observation.judgement
    beats = judgement.memory.beats
    silent = frozenset(
        agent.id
        for agent in roster.agents.values()
        if agent.id not in agents
        and (agent.id not in beats or beats[agent.id] < _slot_before(agent, roster, judgement.now))
    )
    patrol = any(roster.agents[agent].patrol for agent in agents)
    return Acting(frozenset(agents), patrol, silent)


def _slot_before(agent: Agent, roster: Roster, now: datetime) -> datetime:
    """The last slot but one: who left no receipt since has missed two (rule L0)."""
    current = current_slot(agent.policy, roster.timezone, now)
    return current_slot(agent.policy, roster.timezone, current - _TICK)


def rehearse(observation: Observation, agents: Sequence[Agent], store: Store) -> Tick:
    """The same beats without locks, slots, receipts, writes and messages: what `--dry-run` shows (rule B3)."""
    assessment = observation.assessment
    beats = tuple(
        Beat(
            agent,
            worklist(assessment, agent.id, patrol=agent.patrol),
            None,
            inbox=inbox(store, agent.id, _INBOX),
            attention=_attention(observation, store, agent),
        )
        for agent in agents
    )
    planned = plan(
        observation.judgement, acting(observation, [agent.id for agent in agents]), observation.roster.charter()
    )
    return Tick(observation, beats, planned)


def patrol(observation: Observation, store: Store) -> Patrol:
    """The whole platform's backlog, each owner's load and each agent's last receipt."""
    ordered = [standing.task for standing in observation.assessment.standings]
    load = backlog(ordered, observation.sweep.readings, observation.roster.agents, observation.at)
    return Patrol(load, store.last_receipts())


def _attention(observation: Observation, store: Store, agent: Agent) -> tuple[Attention, ...]:
    if agent.id not in decides(observation.roster.charter()):
        return ()
    tasks = (standing.task for standing in observation.assessment.standings)
    return attention(tasks, store.incidents(open_only=True), store.rounds())


def _skip(agent: Agent, lock: Lock) -> Beat:
    holder = f" ({lock.holder})" if lock.holder else ""
    return Beat(agent, None, None, f"another tick of {agent.id} is running{holder}; this one does nothing")
