"""The round of dispatch within a beat: collect what ended, decide for each agent, start its turn (rules X1 to X6).

Called by whoever holds the agents' locks. Nothing that an engine or a source does ends the round; it is told instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from heartbeat.action import Level, Message
from heartbeat.attempt import Attempt, Engine, Outcome
from heartbeat.dispatch.claims import finish_giving_back, give_back, giving_back, left_behind, returned
from heartbeat.dispatch.collect import Collected, abandoned, collect, unattended
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.folder import runs_directory
from heartbeat.dispatch.letters import bury, withdraw_settled
from heartbeat.dispatch.preparation import message_of, plan_of, situation_of, unfinished_writes
from heartbeat.dispatch.settle import chain_of
from heartbeat.dispatch.start import Begun, Result, start
from heartbeat.dispatch.watched import sweep
from heartbeat.errors import UsageError
from heartbeat.notices import harmless, say
from heartbeat.observation import Observation
from heartbeat.provider import OWN_CHOICE, breaker_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.budget import day_began
from heartbeat.rules.dispatching import Continue, Decision, Passed, Reason, Situation, Skip, Start, decide, record_of
from heartbeat.store.port import UNFINISHED, EntryKind, LogEntry, Store
from heartbeat.task import NOBODY, Owner, OwnerKind, Ref

_CANDIDATES = 3
"""Tasks that are tried for one agent in one round, where somebody else is always quicker."""

_UNCLAIMED = 3
"""So many times in a row, and people are told that a task cannot be taken."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a round did for one agent: the decision, and what came of it where a turn was to be started."""

    agent: str
    decision: Decision
    begun: Begun | None = None

    @property
    def started(self) -> Attempt | None:
        """The attempt whose turn goes on now, or may do so."""
        if self.begun is not None and self.begun.result in (Result.RUNNING, Result.UNKNOWN):
            return self.begun.attempt
        return None

    @property
    def told(self) -> str:
        """One line for people: what was decided, and how far it came."""
        if self.begun is None or self.begun.result is Result.RUNNING:
            return self.decision.told
        told = f"{self.decision.told}; {self.begun.result.value.replace('_', ' ')}: {self.begun.told}"
        if self.begun.result is Result.CONFLICT:
            return f"{told}: somebody changed it since it was read, and the next beat looks again"
        return told

    @property
    def record(self) -> Mapping[str, Any]:
        """For the receipt: the decision (see rules/dispatching.py), `result`, `dispatch` and `error`."""
        decided = record_of(self.decision)
        if self.begun is None:
            return {**decided, "result": None, "dispatch": None, "error": None}
        last, told = self.begun.attempt, self.begun.told or None
        result = self.begun.result.value
        return {**decided, "result": result, "dispatch": last.id, "error": told, "provider": last.provider}


@dataclass(frozen=True, slots=True)
class Round:
    """One round: what was collected, and what was done, by agent id."""

    collected: Collected = field(default_factory=Collected)
    dispatched: Mapping[str, Dispatched] = field(default_factory=dict)
    obstacle: str = ""
    """Why nobody can be started at all."""

    @property
    def is_going_on(self) -> bool:
        """Whether a turn is known to run, or may do so."""
        started = any(each.started is not None for each in self.dispatched.values())
        return started or bool(self.collected.running or self.collected.unseen)


Listen = Callable[[Observation, Collection[str], str], Observation]
"""What was seen, with what persons say to these agents now (rule B4); the last is the one to hear first."""


def _as_seen(observation: Observation, agents: Collection[str], first: str) -> Observation:
    return observation


def _heard(listen: Listen, agents: Collection[str], observation: Observation, first: str) -> Observation:
    """One question is for all who may be started in this round; `first` is about to be."""
    policies = {name: observation.roster.agents[name].policy for name in agents}
    return listen(observation, [name for name, policy in policies.items() if policy.dispatch in set(Engine)], first)


def play(
    context: Context,
    observation: Observation,
    agents: Sequence[Agent],
    touched: Collection[Ref] = frozenset(),
    listen: Listen = _as_seen,
) -> Round:
    """Collects for everybody, and starts what is due for these agents, whose locks the caller holds. Raises StateError.

    `touched` are the refs that this beat has written to already; `listen` hears whether a person is talking, just
    before somebody would be started. Where nobody can be started at all (`trouble`), what runs is collected and settled
    all the same.
    """
    own = frozenset(agent.id for agent in agents)
    with abandoned(context) as nobodys:
        collected = collect(context, own | nobodys)
        given_back = [ref for each in collected.ended for ref in returned(context, each)]
        finish_giving_back(context, nobodys)
    _forget_finished(context, observation)
    table = _Table(context, observation, collected, {*touched, *given_back}, partial(_heard, listen, own))
    dispatched = {agent.id: table.serve(agent) for agent in agents} if not context.trouble else nobody(context, agents)
    finish_giving_back(context, own)
    _clear_away(context)
    return Round(collected, dispatched, obstacle=context.trouble)


def _clear_away(context: Context) -> None:
    """Breakers of providers that the roster does not have any more, and what ended turns have left in files."""
    if not context.trouble:
        _forget_providers(context)
    runs = runs_directory(context.roster, context.environment)
    try:
        sweep(runs, frozenset(each.id for each in context.store.attempts(unfinished=True)))
    except OSError as error:
        told = f"{runs} could not be cleared: {error.strerror or error}"
        context.store.add_log([LogEntry(context.clock(), "runs-kept", told)])


def _forget_providers(context: Context) -> None:
    providers = {*OWN_CHOICE, *(each.name for each in context.failover.providers)}
    known = {*Engine, *(breaker_of(name, agent) for name in providers for agent in context.roster.agents)}
    with context.store.transaction():
        for name in context.store.breakers().keys() - known:
            context.store.drop_breaker(name)


def follow(context: Context) -> Collected:
    """Between two beats: collects what has ended, and does what hangs on it, also for those who died before they could.
    Nothing is started. Raises StateError."""
    collected = collect(context, ())
    with unattended(context, left_behind(context.store)) as nobodys:
        finish_giving_back(context, nobodys)
    return collected


def goes_on(collected: Collected) -> tuple[str, ...]:
    """The agents whose turn ended badly: they get the next attempt at once where somebody watches (rule F1)."""
    bad = (each.agent for each in collected.ended if each.was_turn and each.outcome not in _NOT_FOLLOWED)
    return tuple(dict.fromkeys(bad))


_NOT_FOLLOWED = frozenset({Outcome.COMPLETED, Outcome.ABORTED})
"""What is done waits for the next slot, and so does what somebody stopped."""


def nobody(context: Context, agents: Sequence[Agent]) -> dict[str, Dispatched]:
    """What is done for agents where nobody can be started: nothing, for the reason of that, which is on record."""
    return {agent.id: Dispatched(agent.id, _unable(context, agent)) for agent in agents}


def _unable(context: Context, agent: Agent) -> Skip:
    if agent.policy.dispatch not in set(Engine):
        return Skip(Reason.NONE, f"dispatch: {agent.policy.dispatch} in the roster")
    return Skip(Reason.DEGRADED, context.trouble)


def is_idle(roster: Roster, store: Store) -> bool:
    """Whether heartbeat has nothing to do with turns: the roster lets it start none, and none is left over."""
    if any(agent.policy.dispatch != "none" for agent in roster.agents.values()):
        return False
    return not (is_left_over(store) or store.entries(kind=EntryKind.HOOK, states=UNFINISHED, limit=1))


def is_left_over(store: Store) -> bool:
    """Whether a turn has not ended, or something of one that never began is still to be given back."""
    return bool(store.attempts(unfinished=True) or giving_back(store))


def _forget_finished(context: Context, observation: Observation) -> None:
    """Dead letters of tasks that are done with are no work for anybody."""
    tasks = (standing.task for standing in observation.assessment.standings)
    scene = observation.judgement.scene
    withdraw_settled(
        context, [ref for task in tasks if not task.closed for ref in task.refs], scene.complete, scene.unknown_ids
    )


class _Table:
    """Serves one agent after the other; what one takes is not there for the next."""

    def __init__(
        self,
        context: Context,
        observation: Observation,
        collected: Collected,
        touched: set[Ref],
        listen: Callable[[Observation, str], Observation],
    ) -> None:
        self._context = context
        self._listen = listen
        self._observation = observation
        self._collected = collected
        self._touched = touched | set(unfinished_writes(context))

    def serve(self, agent: Agent) -> Dispatched:
        served = Dispatched(agent.id, Skip(Reason.NO_WORK, "nothing is ready"))
        for _ in range(_CANDIDATES):
            decision = self._decided(agent)
            give_up(self._context, decision.passed)
            if isinstance(decision, Skip):
                self._tell(agent, decision)
                return served if served.begun is not None else Dispatched(agent.id, decision)
            served = self._start(agent, decision)
            if served.begun is None or not served.begun.is_unclaimed:
                return served
            self._tell_unclaimed(agent, served.begun.attempt)
            self._touched |= set(decision.task.refs)
        return served

    def _decided(self, agent: Agent) -> Decision:
        """Nobody is started by what was known of talks a while ago (rule B4)."""
        decision = decide(self.situation(agent))
        if isinstance(decision, Skip):
            return decision
        before, self._observation = self._observation, self._listen(self._observation, agent.id)
        return decision if self._observation is before else decide(self.situation(agent))

    def situation(self, agent: Agent) -> Situation:
        return situation_of(self._context, self._observation, agent, self._collected, frozenset(self._touched))

    def _start(self, agent: Agent, decision: Continue | Start) -> Dispatched:
        context, task = self._context, decision.task
        plan = plan_of(context, agent, decision)
        if isinstance(plan, Skip):
            return Dispatched(agent.id, plan)
        try:
            message = message_of(context, self._observation, agent, plan)
        except (UsageError, ValueError) as error:
            told = f"the prompt cannot be made: {error}"
            return Dispatched(agent.id, Skip(Reason.DEGRADED, told, passed=decision.passed))
        begun = start(context, plan, message)
        if isinstance(begun, Skip):
            return Dispatched(agent.id, replace(begun, passed=decision.passed))
        self._touched |= set(task.refs) if begun.result is not Result.RUNNING else set()
        return Dispatched(agent.id, decision, begun)

    def _tell_unclaimed(self, agent: Agent, attempt: Attempt) -> None:
        """A task that cannot be taken time and again is told once a day; what somebody else took is no such task."""
        context = self._context
        lately = context.store.attempts(refs=attempt.refs, limit=_UNCLAIMED)
        if len(lately) < _UNCLAIMED or any(each.outcome is not Outcome.SPAWN_FAILED or each.tries for each in lately):
            return
        began = day_began(context.clock(), context.roster.timezone)
        name, title = harmless(agent.id), harmless(attempt.title)
        facts = {"title": title, "name": harmless(attempt.task), "owner": name, "because": harmless(attempt.error, 300)}
        context.tell(
            [
                Message(
                    key=f"unclaimed/{attempt.task}/{began.date().isoformat()}",
                    to=("coo", "operator"),
                    level=Level.WARNING,
                    title=say("unclaimed_title", title=title),
                    body=say("unclaimed", **facts),
                    owner=Owner(OwnerKind.AGENT, agent.id),
                    creator=NOBODY,
                    task=attempt.task,
                )
            ]
        )

    def _tell(self, agent: Agent, skip: Skip) -> None:
        """A budget that is used up is told once a day."""
        if skip.reason is not Reason.BUDGET:
            return
        context = self._context
        name, zone = harmless(agent.id), context.roster.timezone
        began = day_began(context.clock(), zone)
        context.tell(
            [
                Message(
                    key=f"budget/{agent.id}/{began.date().isoformat()}",
                    to=("coo", "operator"),
                    level=Level.WARNING,
                    title=say("budget_title", agent=name),
                    body=say("budget", agent=name, because=harmless(skip.told, 300), timezone=zone),
                    owner=Owner(OwnerKind.AGENT, agent.id),
                    creator=NOBODY,
                )
            ]
        )


def give_up(context: Context, passed: Sequence[Passed]) -> None:
    """Chains that have come to an end that nobody has drawn the conclusion from, by a roster that changed."""
    for each in passed:
        attempts = context.store.attempts(refs=each.task.refs)
        if each.give_up is None or not attempts:
            continue
        last = attempts[-1]
        with context.store.transaction():
            bury(context, last, chain_of(context, last), each.give_up)
        give_back(context, last)
