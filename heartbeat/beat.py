"""The room where one beat happens: look, judge, plan, put it on record, act, tell, hand out the worklists.

`tick` is a scheduled beat: it takes the agents' locks, consumes their slots and leaves a receipt for each (rules B1 to
B3a, S10); `rehearse` shows the same and does nothing. The clock is read by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from heartbeat.acting import acting, slot_before
from heartbeat.actions import Carried, carry_out
from heartbeat.belonging import settle_in
from heartbeat.deadline import Deadline
from heartbeat.dispatch.claims import ref_of
from heartbeat.dispatch.context import opened_anyway
from heartbeat.dispatch.foresight import foreseen
from heartbeat.dispatch.hooks import is_due
from heartbeat.dispatch.round import Dispatched, Round, is_idle, play
from heartbeat.errors import StateError
from heartbeat.hearing import Ear
from heartbeat.memory import Miss
from heartbeat.notify.delivery import Delivered, deliver
from heartbeat.notify.inbox import inbox, is_nudge, lately_shown
from heartbeat.observation import Observation, degradation_of, observe, patience, ttl_of
from heartbeat.peers import Peers
from heartbeat.plan import Plan
from heartbeat.planner import plan
from heartbeat.receipt import beat_receipt, done_for, extended
from heartbeat.record import record_beats, record_failure, record_judgement
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.attention import Attention, attention, decides
from heartbeat.rules.backlog import Backlog, backlog
from heartbeat.rules.degradation import Level
from heartbeat.rules.talk import Talk, talks
from heartbeat.schedule.due import due, next_due
from heartbeat.store.fencing import fenced_entry
from heartbeat.store.holder import Process
from heartbeat.store.locks import Fenced, Lock, lease, try_exclusive
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, Receipt, Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.withdrawal import may_be_written, withdrawn
from heartbeat.worklist import Worklist, worklist

_INBOX = 20
"""Messages on top of one worklist; the others come with the next."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One agent's part in a tick: its worklist and receipt, or why it was skipped.

    `inbox` holds the messages that this worklist shows on top, `attention` what waits for this agent's decision.
    `deferred` says why nudges for this agent wait, where they do (rule B4). `missed` are the slots that passed before
    this one without a beat (rule B2).
    """

    agent: Agent
    worklist: Worklist | None
    receipt: Receipt | None
    skipped: str = ""
    inbox: tuple[Entry, ...] = ()
    attention: tuple[Attention, ...] = ()
    deferred: str = ""
    missed: Miss | None = None
    turn: Dispatched | None = None
    """What was decided about starting the agent, and what came of it (of a rehearsal: what would be decided); None
    where the roster lets nobody be started."""


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
    round: Round = field(default_factory=Round)
    """What it did about agents' turns (rules X1 to X6)."""
    hooks_wait: bool = False
    """Whether the caller has hooks to run, when everything else is done."""
    resting: Mapping[str, datetime] = field(default_factory=dict)
    """Who was asked for and is not due yet, and when it is; by agent id."""
    fenced: tuple[Fenced, ...] = ()
    """Who was in the way beyond its time, and was ended; on record already (rule B1)."""


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
    only_due: bool = False,
    peers: Peers | None = None,
    deadline: Deadline | None = None,
) -> Tick:
    """One scheduled beat of each agent over one shared sweep. An agent that is beating already is skipped (rule B1);
    with `only_due` so is one whose slot is answered already, and nothing is read where that is everybody (rule B2).

    A beat that is over its own deadline, and is still there, is ended: its agent beats now (fencing.py). The hooks of
    turns that have ended are left to the caller, who has handed everything out by then (dispatch/hooks.py).

    Raises StateError, also where the state is another roster's (belonging.py).
    """
    started = clock()
    settle_in(store, roster, started)
    if only_due:
        agents, resting = who_is_due(roster, agents, store, started)
        if not agents:
            return Tick(None, (), resting=resting)
    else:
        resting = {}
    with ExitStack() as held:
        until = deadline or patience([agent.policy for agent in agents])
        claims = {agent.id: held.enter_context(ExitStack()) for agent in agents}
        taken = {
            agent: claim.enter_context(try_exclusive(locks / f"{agent}.lock", purpose="tick", until=lease(until)))
            for agent, claim in claims.items()
        }
        ended = {agent: lock.fenced for agent, lock in taken.items() if lock.fenced is not None}
        if ended:
            store.add_log(fenced_entry(fenced, agent) for agent, fenced in ended.items())
        free: Sequence[Agent] = [agent for agent in agents if taken[agent.id].held]
        if only_due:
            # Another tick may have answered a slot while this one came to the lock.
            free, answered = who_is_due(roster, free, store, started)
            resting |= answered
            agents = [agent for agent in agents if agent.id not in answered]
            for name in answered:
                claims[name].close()
        if not free:
            skipped = tuple(_skip(agent, taken[agent.id]) for agent in agents)
            return Tick(None, skipped, resting=resting, fenced=tuple(ended.values()))
        stuck = dict(_stuck(taken, {fenced.holder.process for fenced in ended.values()}))
        room = _Room(roster, free, environment, store, locks, clock, peers or Peers(), stuck)
        try:
            until = deadline or patience([agent.policy for agent in free])
            for agent in free:
                taken[agent.id].renew(lease(until))
            done = room.beat(started, until, cache, fresh=fresh)
        except BaseException as error:
            # An interrupt ends a beat as well as a fault does; a store that fails now must not hide why.
            with suppress(StateError):
                record_failure(store, roster, free, started, clock(), error, stuck)
            raise
        beats = {beat.agent.id: beat for beat in done.beats}
        every = tuple(beats.get(agent.id) or _skip(agent, taken[agent.id]) for agent in agents)
        return replace(done, beats=every, resting=resting, fenced=(*ended.values(), *done.carried.fenced))


def _stuck(taken: Mapping[str, Lock], ended: Collection[Process | None]) -> Iterator[tuple[str, datetime]]:
    """Since when a beat hung that had to be ended, by agent id: it may have had more agents than one."""
    for agent, lock in taken.items():
        if lock.left_by is not None and lock.left_by.process in ended and lock.left_by.since is not None:
            yield agent, lock.left_by.since


def who_is_due(
    roster: Roster, agents: Sequence[Agent], store: Store, now: datetime
) -> tuple[Sequence[Agent], dict[str, datetime]]:
    """Those whose slot has come, and when the others are due, by agent id (rule B2)."""
    last = {agent: receipt.started_at for agent, receipt in store.last_beats().items()}
    ready = due(agents, roster.timezone, last, now)
    names = {agent.id for agent in ready}
    resting = {
        agent.id: next_due(agent.policy, roster.timezone, last.get(agent.id), now)
        for agent in agents
        if agent.id not in names
    }
    return ready, resting


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
    stuck: Mapping[str, datetime]
    """Since when the beat hung that had to be ended first, by agent id."""

    def beat(self, started: datetime, deadline: Deadline, cache: SnapshotCache, *, fresh: bool) -> Tick:
        observation = observe(
            self.roster,
            self.environment,
            self.store,
            cache,
            now=started,
            deadline=deadline,
            fresh=fresh or self._turns_changed(started),
            build=self.peers.source,
        )
        ear = Ear(self.environment, self.store, self.clock, deadline, self.peers.source)
        observation, planned = self._planned(observation, ear)
        record_judgement(self.store, observation, planned, started)
        carried = self._carry_out(observation, deadline)
        dispatched = self._dispatch(observation, deadline, carried, ear)
        # A breaker that opened just now shows in this beat's own level (rule G1).
        level = degradation_of(observation.sweep, self.roster, self.store, self.clock())
        if dispatched.obstacle:
            level = replace(level, level=max(level.level, Level.L2), reasons=(*level.reasons, dispatched.obstacle))
        observation = replace(observation, degradation=level)
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
        observation = ear.listened(observation, self._nudges_wait_for())
        beats = tuple(self._beat(observation, planned, agent, started, carried, dispatched) for agent in self.agents)
        shown = {beat.agent.id: beat.inbox for beat in beats}
        receipts = [beat.receipt for beat in beats if beat.receipt]
        kept = record_beats(self.store, self.roster, receipts, shown, self.clock(), self.stuck)
        beats = tuple(
            replace(beat, receipt=each.receipt, missed=each.missed) for beat, each in zip(beats, kept, strict=True)
        )
        waits = is_due(self.store, self.clock())
        return Tick(observation, beats, planned, carried, delivered, dispatched, hooks_wait=waits)

    def _planned(self, observation: Observation, ear: Ear) -> tuple[Observation, Plan]:
        """What is to be done, by what persons say now wherever anybody is about to be nudged (rule B4)."""
        planned = self._plan(observation)
        nudged = {message.owner.id for message in planned.nudges}
        heard = ear.listened(observation, nudged | self._nudges_wait_for())
        return (observation, planned) if heard is observation else (heard, self._plan(heard))

    def _plan(self, observation: Observation) -> Plan:
        own = [agent.id for agent in self.agents]
        return plan(observation.judgement, acting(observation, own), self.roster.charter())

    def _nudges_wait_for(self) -> set[str]:
        """Those of these agents that have a nudge in the inbox."""
        own = {agent.id for agent in self.agents}
        waiting = self.store.entries(kind=EntryKind.INBOX, states=UNFINISHED)
        return {entry.target for entry in waiting if entry.target in own and is_nudge(entry)}

    def _turns_changed(self, now: datetime) -> bool:
        """Whether a snapshot may be older than what turns of these agents have done: then everything is read anew, or
        the round would stumble over heartbeat's own claims."""
        if is_idle(self.roster, self.store):
            return False
        since = now - ttl_of(self.roster)
        return any(self.store.attempts(agent=agent.id, since=since) for agent in self.agents)

    def _dispatch(self, observation: Observation, deadline: Deadline, carried: Carried, ear: Ear) -> Round:
        """What ended is collected, and whoever has ready work is started (rules X1 to X6)."""
        if is_idle(self.roster, self.store):
            return Round()
        context = opened_anyway(
            self.roster, self.environment, self.store, self.locks, self.clock, deadline, self.peers.means
        )
        written = (*carried.done, *carried.conflicts, *carried.later, *carried.dead)
        return play(context, observation, self.agents, {ref_of(entry) for entry in written}, ear.listened)

    def _carry_out(self, observation: Observation, deadline: Deadline) -> Carried:
        return carry_out(
            self.store,
            self.roster,
            self.environment,
            self.locks,
            clock=self.clock,
            deadline=deadline,
            build=self.peers.writer,
            allowed=lambda entry: may_be_written(entry, self.store, self.clock()),
            withdrawn=lambda entry: withdrawn(entry, observation, self.store, self.clock()),
        )

    def _beat(
        self,
        observation: Observation,
        planned: Plan,
        agent: Agent,
        started: datetime,
        carried: Carried,
        dispatched: Round,
    ) -> Beat:
        own = worklist(observation.assessment, agent.id, patrol=agent.patrol)
        talk = _talk_with(observation, agent)
        deferred = _deferred(talk, inbox(self.store, agent.id), planned, own)
        reasons = (*extended(observation, own), *done_for(agent, carried), *filter(None, (deferred,)))
        turn = dispatched.dispatched.get(agent.id)
        record = turn.record if turn is not None else {}
        receipt = beat_receipt(observation, agent, own, started, self.clock(), reasons, record)
        return Beat(
            agent,
            own,
            receipt,
            inbox=inbox(self.store, agent.id, _INBOX, nudges=talk is None),
            attention=_attention(observation, self.store, agent),
            deferred=deferred,
            turn=turn,
        )


def _talk_with(observation: Observation, agent: Agent) -> Talk | None:
    """The talk of a person with the agent that goes on, as far as any source can tell (rule B4)."""
    judgement = observation.judgement
    return talks(judgement.scene.presence, observation.roster.quiet_after_talk, judgement.now).get(agent.id)


def _deferred(talk: Talk | None, letters: Sequence[Entry], planned: Plan, own: Worklist) -> str:
    """Why nudges for an agent wait: some of its inbox, and some that are not even taken. Empty where none does."""
    if talk is None:
        return ""
    climbs = [planned.climbs.get(standing.task.key) for standing in own.standings]
    untaken = any(climb is not None and talk.told in climb.waits for climb in climbs)
    return talk.told if untaken or any(map(is_nudge, letters)) else ""


def rehearse(
    observation: Observation,
    agents: Sequence[Agent],
    store: Store,
    environment: Mapping[str, str] | None = None,
    peers: Peers | None = None,
) -> Tick:
    """The same beats without locks, slots, receipts, writes and messages: what `--dry-run` shows (rule B3).

    What the last beats have shown is shown again for two slots: their output may have gone to a log. With the
    `environment`, which the roster's providers may need, also whom the beats would start.
    """
    assessment, roster = observation.assessment, observation.roster
    planned = plan(observation.judgement, acting(observation, [agent.id for agent in agents]), roster.charter())
    written = {each.write.ref for each in planned.writes}
    means = peers.means if peers is not None else None
    turns = Round() if environment is None else foreseen(observation, agents, store, environment, means, written)
    beats = []
    for agent in agents:
        since = slot_before(agent, roster, observation.at)
        own = worklist(assessment, agent.id, patrol=agent.patrol)
        talk, waiting = _talk_with(observation, agent), inbox(store, agent.id)
        letters = (*waiting, *lately_shown(store, agent.id, since))
        shown = [entry for entry in letters if talk is None or not is_nudge(entry)]
        deferred = _deferred(talk, waiting, planned, own)
        decisions = _attention(observation, store, agent)
        turn = turns.dispatched.get(agent.id)
        beats.append(
            Beat(agent, own, None, inbox=tuple(shown[:_INBOX]), attention=decisions, deferred=deferred, turn=turn)
        )
    return Tick(observation, tuple(beats), planned, round=turns)


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
    holder = f" ({lock.told_of_holder})" if lock.holder else ""
    return Beat(agent, None, None, f"another tick of {agent.id} is running{holder}; this one does nothing")
