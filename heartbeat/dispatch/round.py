"""The round of dispatch within a beat: collect what ended, decide for each agent, start its turn (rules X1 to X6).

Called by whoever holds the agents' locks. Nothing that an engine or a source does ends the round; it is told instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heartbeat.action import Level, Message
from heartbeat.attempt import Attempt, Engine, Outcome
from heartbeat.dispatch.claims import finish_giving_back, give_back, returned
from heartbeat.dispatch.collect import Collected, abandoned, collect
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
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, LogEntry, Store
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
    hooks: tuple[Entry, ...] = ()
    obstacle: str = ""
    """Why nobody can be started at all."""

    @property
    def is_going_on(self) -> bool:
        """Whether a turn is known to run, or may do so."""
        started = any(each.started is not None for each in self.dispatched.values())
        return started or bool(self.collected.running or self.collected.unseen)


def play(
    context: Context, observation: Observation, agents: Sequence[Agent], touched: Collection[Ref] = frozenset()
) -> Round:
    """Collects for everybody, and starts what is due for these agents, whose locks the caller holds. Raises StateError.

    `touched` are the refs that this beat has written to already.
    """
    with abandoned(context) as nobodys:
        collected = collect(context, {*nobodys, *(agent.id for agent in agents)})
    given_back = [ref for each in collected.ended for ref in returned(context, each)]
    finish_giving_back(context)
    _forget_finished(context, observation)
    table = _Table(context, observation, collected, {*touched, *given_back})
    dispatched = {agent.id: table.serve(agent) for agent in agents}
    for orphan in collected.orphans:
        taken = dispatched.get(orphan.agent)
        if taken is None or taken.started is None or set(orphan.refs).isdisjoint(taken.started.refs):
            give_back(context, orphan)
    _clear_away(context)
    return Round(collected, dispatched)


def _clear_away(context: Context) -> None:
    """Breakers of providers that the roster does not have any more, and what ended turns have left in files."""
    providers = {*OWN_CHOICE, *(each.name for each in context.failover.providers)}
    known = {*Engine, *(breaker_of(name, agent) for name in providers for agent in context.roster.agents)}
    with context.store.transaction():
        for name in context.store.breakers().keys() - known:
            context.store.drop_breaker(name)
    runs = runs_directory(context.roster, context.environment)
    try:
        sweep(runs, frozenset(each.id for each in context.store.attempts(unfinished=True)))
    except OSError as error:
        told = f"{runs} could not be cleared: {error.strerror or error}"
        context.store.add_log([LogEntry(context.clock(), "runs-kept", told)])


def follow(context: Context) -> Collected:
    """Between two beats: collects what has ended, and does what hangs on it. Nothing is started. Raises StateError."""
    collected = collect(context, ())
    finish_giving_back(context)
    return collected


def goes_on(collected: Collected) -> tuple[str, ...]:
    """The agents whose turn ended badly: they get the next attempt at once where somebody watches (rule F1)."""
    bad = (each.agent for each in collected.ended if each.was_turn and each.outcome not in _NOT_FOLLOWED)
    return tuple(dict.fromkeys(bad))


_NOT_FOLLOWED = frozenset({Outcome.COMPLETED, Outcome.ABORTED})
"""What is done waits for the next slot, and so does what somebody stopped."""


def unable(agents: Sequence[Agent], why: str) -> Round:
    """The round of a roster whose providers cannot be read: nobody is started, and nothing else waits for that."""
    skips = {agent.id: Dispatched(agent.id, Skip(Reason.DEGRADED, why)) for agent in agents}
    return Round(dispatched=skips, obstacle=why)


def is_idle(roster: Roster, store: Store) -> bool:
    """Whether heartbeat has nothing to do with turns: the roster lets it start none, and none is left over."""
    if any(agent.policy.dispatch != "none" for agent in roster.agents.values()):
        return False
    return not (store.attempts(unfinished=True) or store.entries(kind=EntryKind.HOOK, states=UNFINISHED, limit=1))


def _forget_finished(context: Context, observation: Observation) -> None:
    """Dead letters of tasks that are done with are no work for anybody."""
    tasks = (standing.task for standing in observation.assessment.standings)
    scene = observation.judgement.scene
    withdraw_settled(
        context, [ref for task in tasks if not task.closed for ref in task.refs], scene.complete, scene.unknown_ids
    )


class _Table:
    """Serves one agent after the other; what one takes is not there for the next."""

    def __init__(self, context: Context, observation: Observation, collected: Collected, touched: set[Ref]) -> None:
        self._context = context
        self._observation = observation
        self._collected = collected
        self._touched = touched | set(unfinished_writes(context))

    def serve(self, agent: Agent) -> Dispatched:
        served = Dispatched(agent.id, Skip(Reason.NO_WORK, "nothing is ready"))
        for _ in range(_CANDIDATES):
            decision = decide(self.situation(agent))
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
