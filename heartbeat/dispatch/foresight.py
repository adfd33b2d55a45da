"""What a round of dispatch would decide, as it stands now. Nothing is asked of an engine, and nothing is written.

Turns that have ended and were not collected count as running: only a beat finds out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from heartbeat.attempt import Attempt
from heartbeat.dispatch.context import Context, Means, opened_anyway
from heartbeat.dispatch.preparation import engine_of, plan_of, situation_of, unfinished_writes
from heartbeat.dispatch.round import Dispatched, Round, is_idle, nobody
from heartbeat.observation import Observation, patience
from heartbeat.roster.model import Agent
from heartbeat.rules.dispatching import Continue, Decision, Skip, Start, decide
from heartbeat.store.port import Store
from heartbeat.task import Ref


def foresee(
    context: Context, observation: Observation, agents: Sequence[Agent], touched: Collection[Ref] = frozenset()
) -> Round:
    """The decisions of the next round of these agents, in this order; none where nobody is started at all.

    `touched` are the refs that the beat would write to before. Raises StateError.
    """
    if is_idle(context.roster, context.store):
        return Round()
    taken: list[Attempt] = []
    held = frozenset((*touched, *unfinished_writes(context)))
    dispatched = {}
    for agent in agents:
        decision = _decision(context, observation, agent, held, taken)
        if not isinstance(decision, Skip):
            taken.append(_would_be(context, agent, decision))
        dispatched[agent.id] = Dispatched(agent.id, decision)
    return Round(dispatched=dispatched)


def would_decide(context: Context, observation: Observation, agent: Agent) -> Decision:
    """What the next beat of one agent would decide, also of one whom the roster does not let it start."""
    return _decision(context, observation, agent, frozenset(unfinished_writes(context)), ())


def _decision(
    context: Context, observation: Observation, agent: Agent, held: frozenset[Ref], taken: Sequence[Attempt]
) -> Decision:
    situation = situation_of(context, observation, agent, touched=held)
    decision = decide(replace(situation, unfinished=(*situation.unfinished, *taken)))
    if isinstance(decision, Skip):
        return decision
    plan = plan_of(context, agent, decision)
    return plan if isinstance(plan, Skip) else decision


def _would_be(context: Context, agent: Agent, decision: Continue | Start) -> Attempt:
    """A turn that would go on by the time the next agent is looked at (rule X5)."""
    task = decision.task
    return Attempt(
        id="",
        task=task.key,
        refs=task.refs,
        title=task.title,
        agent=agent.id,
        number=1,
        engine=engine_of(agent),
        provider=decision.provider.name,
        planned_at=context.clock(),
    )


def foreseen(
    observation: Observation,
    agents: Sequence[Agent],
    store: Store,
    environment: Mapping[str, str],
    means: Means | None,
    written: Collection[Ref],
) -> Round:
    """Whom a beat at this instant would start; nobody where the roster's providers cannot be read."""
    roster = observation.roster
    if is_idle(roster, store):
        return Round()
    deadline = patience([agent.policy for agent in agents])
    nowhere = Path()  # nothing is locked
    context = opened_anyway(roster, environment, store, nowhere, lambda: observation.at, deadline, means)
    if context.trouble:
        return Round(dispatched=nobody(context, agents), obstacle=context.trouble)
    return foresee(context, observation, agents, written)
