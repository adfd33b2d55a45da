"""One task that a person names: whose it is, what speaks against its turn, and its start (rules X1, X2, X5).

Everything that a beat asks is asked here, too, but for the order of work and the roster's `dispatch: none`: a person's
word stands in their place. So it does for a dead letter that is not due, or that was left for a person (rule F4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from heartbeat.attempt import Attempt
from heartbeat.deadline import Deadline
from heartbeat.dispatch.claims import finish_giving_back
from heartbeat.dispatch.collect import Collected, collect
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.hooks import run_hooks
from heartbeat.dispatch.preparation import engine_of, message_of, plan_of, situation_of, unfinished_writes
from heartbeat.dispatch.round import give_up
from heartbeat.dispatch.start import Begun, Plan, start
from heartbeat.errors import RefusedError, UsageError
from heartbeat.observation import Observation, observe, patience
from heartbeat.provider import Provider
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.dispatching import Decision, Reason, Skip, decide
from heartbeat.store.fencing import Fenced, fenced_entry
from heartbeat.store.locks import lease, try_exclusive
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.registry import build_source
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Owner, OwnerKind, State, Task
from heartbeat.worklist import Standing

Find = Callable[[Observation], Task]
"""Which task is meant, in what was seen. Raises UsageError for none or several, RefusedError where it is not known."""


class LockedError(RefusedError):
    """Somebody else is at the agent: a beat of it, or another command."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a request is carried out with. The deadline of `context` is renewed by each request."""

    context: Context
    cache: SnapshotCache
    source: SourceBuilder = build_source
    fenced: Callable[[Fenced], None] = field(default=lambda fenced: None)
    """Told of whoever was over its time with the agent's lock, and was ended."""

    def look(self, *, fresh: bool) -> Observation:
        """Raises StateError, UsageError."""
        context = self.context
        return observe(
            context.roster,
            context.environment,
            context.store,
            self.cache,
            now=context.clock(),
            deadline=context.deadline,
            fresh=fresh,
            build=self.source,
        )

    def patient(self, agent: Agent | None = None) -> Room:
        """With as much time as a beat has."""
        policies = (
            [agent.policy] if agent is not None else [each.policy for each in self.context.roster.agents.values()]
        )
        return replace(self, context=replace(self.context, deadline=patience(policies)))


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a request, or would come of it.

    `plan` and `message` are of a turn that can be asked for. `begun` is what came of asking. `running` is the attempt
    that has not ended and stands in the way: the task's own, or another one of its agent.
    """

    observation: Observation
    task: Task
    agent: Agent
    decision: Decision
    plan: Plan | None = None
    message: str = ""
    begun: Begun | None = None
    running: Attempt | None = None

    @property
    def provider(self) -> Provider | None:
        """Who is asked first."""
        return None if isinstance(self.decision, Skip) else self.decision.provider

    @property
    def refused(self) -> Skip | None:
        """Why nothing is started."""
        return self.decision if isinstance(self.decision, Skip) and self.begun is None else None


def rehearse(room: Room, find: Find, agent: str = "") -> Asked:
    """What `dispatch` would do, as far as it stands on record: nothing is written, and no engine is asked.

    Raises UsageError, RefusedError, StateError.
    """
    seen = room.patient().look(fresh=True)
    return _prepared(room.patient(), seen, find, agent, Collected())


def dispatch(room: Room, find: Find, agent: str = "") -> Asked:
    """Starts a turn on the task that `find` means, and does not wait for its end.

    `agent` is the task's owner where it is empty. Under the agent's own lock, like a beat: what ended is collected
    first, and everything is read anew. Raises LockedError where somebody else has that lock, RefusedError for a task
    of somebody else, UsageError, StateError.
    """
    who = _who(room, find, agent)
    room = room.patient(who)
    context = room.context
    lock_file = context.locks / f"{who.id}.lock"
    with try_exclusive(lock_file, purpose="dispatch", until=lease(context.deadline)) as lock:
        if lock.fenced is not None:
            context.store.add_log([fenced_entry(lock.fenced, who.id)])
            room.fenced(lock.fenced)
        if not lock.held:
            raise LockedError(
                f"{who.id} is being served by {lock.told_of_holder}; one at a time starts its turns",
                advice="try again when that is done; `heartbeat attempts` shows what it has begun",
            )
        collected = collect(context, {who.id})
        finish_giving_back(context, {who.id})
        asked = _prepared(room, room.look(fresh=True), find, who.id, collected)
        give_up(context, asked.decision.passed)
        if asked.plan is not None:
            asked = _started(context, asked, asked.plan)
    hooks(context)
    return asked


def hooks(context: Context) -> None:
    """Runs what the roster wants to be run for turns that have ended, as a beat does."""
    run_hooks(
        context.store,
        context.roster,
        context.environment,
        context.locks,
        clock=context.clock,
        deadline=context.deadline,
    )


def _who(room: Room, find: Find, agent: str) -> Agent:
    """Whose lock to take. Where the task is not to be found in what was read lately, everything is read anew."""
    roster = room.context.roster
    if agent:
        return roster.chosen([agent])[0]
    hurried = room.patient()
    try:
        task = find(hurried.look(fresh=False))
    except (UsageError, RefusedError):
        task = find(hurried.look(fresh=True))
    return owner_of(roster, task)


def owner_of(roster: Roster, task: Task, agent: str = "") -> Agent:
    """Whom a turn on the task is for. Raises RefusedError where it is not the agent's, or no agent's of the roster."""
    name, owner = task.items[0].key, task.owner
    if owner.kind is OwnerKind.AGENT and owner.id in roster.agents and agent in ("", owner.id):
        return roster.agents[owner.id]
    if owner.kind is OwnerKind.NOBODY:
        taker = agent or "AGENT"
        raise RefusedError(
            f"{name} belongs to nobody, so that there is nobody to start",
            advice=f"give it an owner where it stands; or `heartbeat start {name} --as {taker}` takes it for an agent",
        )
    whom = f"{owner.id} (a person)" if owner.kind is OwnerKind.PERSON else owner.id
    told = f"not to {agent}" if agent else f"whom {roster.path} does not have"
    advice = "hand it over where it stands first" + ("" if not agent else f", or leave out `--as {agent}`")
    raise RefusedError(f"{name} belongs to {whom}, {told}", advice=advice)


def _prepared(room: Room, seen: Observation, find: Find, name: str, collected: Collected) -> Asked:
    """Everything but the start itself. Writes nothing."""
    context = room.context
    task = find(seen)
    agent = owner_of(context.roster, task, name)
    standing = next(each for each in seen.assessment.standings if each.task is task)
    decision = _decision(context, seen, agent, standing, collected)
    asked = Asked(seen, task, agent, decision, running=_in_the_way(context, task, agent))
    if isinstance(decision, Skip):
        return asked
    plan = plan_of(context, agent, decision)
    if isinstance(plan, Skip):
        return replace(asked, decision=plan)
    try:
        message = message_of(context, seen, agent, plan)
    except (UsageError, ValueError) as error:
        return replace(asked, decision=Skip(Reason.DEGRADED, f"the prompt cannot be made: {error}"))
    return replace(asked, plan=plan, message=message)


def _started(context: Context, asked: Asked, plan: Plan) -> Asked:
    begun = start(context, plan, asked.message)
    if isinstance(begun, Skip):
        return replace(asked, decision=begun, running=_in_the_way(context, asked.task, asked.agent))
    return replace(asked, begun=begun)


def _decision(context: Context, seen: Observation, agent: Agent, standing: Standing, collected: Collected) -> Decision:
    """The beat's own decision, for this task alone."""
    not_open = _not_open(standing)
    if not_open is not None:
        return not_open
    touched = frozenset(unfinished_writes(context))
    situation = situation_of(context, seen, agent, collected, touched)
    policy = replace(agent.policy, dispatch=engine_of(agent).value)
    return decide(replace(situation, policy=policy, named=standing.task))


def _not_open(standing: Standing) -> Skip | None:
    """Why a task is nothing to begin or to go on with, whoever could be asked."""
    task, state = standing.task, standing.state
    if state in (State.READY, State.IN_PROGRESS):
        return None
    name, why = task.items[0].key, "; ".join(standing.reasons)
    because = f": {why}" if why else ""
    if state is State.UNKNOWN:
        return Skip(Reason.DEGRADED, f"{name}: what it is now is not known{because}")
    if state is State.WAITING:
        waits = "; ".join(wait.reason for wait in standing.waits)
        return Skip(Reason.WAITING, f"{name} is not ready: {waits or why or 'it is planned for later'}")
    status = "archived" if task.archived else task.status.value.replace("_", " ")
    return Skip(Reason.NO_WORK, f"{name} is {status}, and a turn is for what is todo or in progress{because}")


def _in_the_way(context: Context, task: Task, agent: Agent) -> Attempt | None:
    """A turn on the task that has not ended, else one of its agent."""
    found = context.store.attempts(unfinished=True)
    own = (each for each in found if not set(each.refs).isdisjoint(task.refs))
    return next(own, next((each for each in found if each.agent == agent.id), None))


def same(task: Task, agent: Agent) -> Find:
    """Finds a task again that was found before, whatever became of its records since."""

    def find(seen: Observation) -> Task:
        tasks = [each.task for each in seen.assessment.standings if not set(each.task.refs).isdisjoint(task.refs)]
        own = [each for each in tasks if each.owner == Owner(OwnerKind.AGENT, agent.id)]
        if not tasks:
            raise RefusedError(
                f"{task.items[0].key} is not to be seen any more", advice="`heartbeat doctor` tells what was not read"
            )
        return (own or tasks)[0]

    return find


def renewed(room: Room, seconds: float) -> Room:
    """With so much time from now on."""
    return replace(room, context=replace(room.context, deadline=Deadline.after(seconds)))
