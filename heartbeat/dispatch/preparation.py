"""What a turn is decided by and begun with: its agent's situation, the plan of its task, its prompt (rules X1, X4).

Nothing is written here, and no engine is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, Engine
from heartbeat.deadline import Deadline
from heartbeat.dispatch.claims import claimable, may_be_taken_over, ref_of
from heartbeat.dispatch.collect import Collected
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.start import Plan
from heartbeat.notify.inbox import inbox
from heartbeat.observation import Observation
from heartbeat.provider import breakers_for
from heartbeat.roster.model import Agent
from heartbeat.rules import rounds
from heartbeat.rules.budget import budget_of, day_began, day_ends, spent
from heartbeat.rules.dispatching import TOLD_BY, Continue, Reason, Situation, Skip, Start
from heartbeat.rules.talk import talks
from heartbeat.store.port import UNFINISHED, EntryKind
from heartbeat.systems.base import TransportError
from heartbeat.systems.writing import Look, Writer
from heartbeat.task import CLOSED, Ref, Task
from heartbeat.worklist import Standing, worklist

_LOOKS = 10.0
"""Seconds to spend on reading a task's own words for the prompt; without them the turn is started all the same."""

_DAY = timedelta(days=1)


def unfinished_writes(context: Context) -> list[Ref]:
    """What is about to be written to by somebody, whoever comes next."""
    entries = context.store.entries(kind=EntryKind.WRITE, states=UNFINISHED)
    return [ref_of(entry) for entry in entries if "write" in entry.payload and not may_be_taken_over(entry)]


def engine_of(agent: Agent) -> Engine:
    """Who runs this agent's turns: the roster's word, and OpenClaw where it lets heartbeat start none by itself."""
    return Engine.MULTICA if agent.policy.dispatch == Engine.MULTICA else Engine.OPENCLAW


def situation_of(
    context: Context,
    observation: Observation,
    agent: Agent,
    collected: Collected | None = None,
    touched: frozenset[Ref] = frozenset(),
) -> Situation:
    """Everything that the decision for one agent depends on, as it stands in the store and in what was seen."""
    store, roster, now = context.store, context.roster, context.clock()
    seen, scene = observation.judgement, observation.judgement.scene
    own = worklist(observation.assessment, agent.id).standings
    refs = {ref for standing in own for ref in standing.task.refs}
    began, ends = day_began(now, roster.timezone), day_ends(now, roster.timezone)
    today = store.attempts(agent=agent.id, since=began - _DAY)
    return Situation(
        now=now,
        agent=agent.id,
        policy=agent.policy,
        standings=own,
        memory=replace(seen.memory, holds=store.holds(), pauses=store.pauses(), rounds=store.rounds()),
        presence=scene.presence,
        in_use=scene.complete | scene.incomplete,
        incomplete=scene.incomplete,
        presence_unknown=scene.presence_unknown | scene.unheard.get(agent.id, frozenset()),
        unknown_ids=scene.unknown_ids,
        failover=context.failover_for(engine_of(agent)),
        breakers=breakers_for(agent.id, store.breakers()),
        unfinished=store.attempts(unfinished=True),
        attempts=store.attempts(refs=refs),
        letters=store.letters(refs=refs),
        talk=talks(scene.presence, roster.quiet_after_talk, now).get(agent.id),
        ended=_ended_since(collected, today, scene.read_at),
        touched=touched,
        spent=spent(today, began, ends),
        budget=budget_of(roster.extra.get("budget", {})),
        day_ends=ends,
        limit=context.running_limit,
    )


def _ended_since(
    collected: Collected | None, attempts: Sequence[Attempt], read_at: Mapping[str, datetime]
) -> frozenset[str]:
    """Names of the turns that have ended since what tells of them was read: what was seen of them is over. A snapshot
    may be older than what another beat has collected meanwhile."""
    late = [
        each
        for each in attempts
        if each.ended_at is not None
        and (seen_at := read_at.get(TOLD_BY[each.engine])) is not None
        and seen_at <= each.ended_at
    ]
    ended = (*(collected.ended if collected is not None else ()), *late)
    return frozenset(name for each in ended for name in (each.id, each.run, each.session) if name)


def plan_of(context: Context, agent: Agent, decision: Continue | Start) -> Plan | Skip:
    """The decision as it is carried out. Skip where none of the task's records can be taken for the agent."""
    from heartbeat.dispatch.prompt import session_key

    task, engine = decision.task, engine_of(agent)
    items = () if engine is Engine.MULTICA else claimable(task, _writers(context, task))
    if engine is Engine.OPENCLAW and not items:
        told = f"{task.items[0].key} cannot be claimed: none of its sources can be written to"
        return Skip(Reason.DEGRADED, told, passed=decision.passed)
    earlier = context.store.attempts(refs=task.refs)
    session = next((each.session for each in reversed(earlier) if each.session), "") or session_key(task)
    return Plan(
        task=task,
        agent=agent.id,
        engine=engine,
        session=session,
        items=items,
        continued=isinstance(decision, Continue),
        letter=decision.letter,
    )


def message_of(context: Context, observation: Observation, agent: Agent, plan: Plan) -> str:
    """The prompt (rule X4). Raises UsageError, ValueError."""
    from heartbeat.dispatch.prompt import Brief, nonce, prompt_of, prompt_template  # Jinja is slow to import

    task, memory = plan.task, observation.judgement.memory
    standing = next((each for each in observation.assessment.standings if each.task is task), None)
    used = rounds.together(task, memory.rounds)
    provider = next(iter(context.failover_for(plan.engine).enabled), None)
    letters = inbox(context.store, agent.id)
    brief = Brief(
        task=task,
        agent=agent,
        now=context.clock(),
        reasons=_reasons(standing),
        looks=_looks(context, task),
        attempts=context.store.attempts(refs=task.refs),
        continued=plan.continued,
        replayed=plan.letter is not None,
        operator=context.roster.operator.name,
        command=context.command,
        run=provider.run_deadline if provider is not None else None,
        rounds=used.used,
        limit=rounds.limit_of(used, agent.policy),
        letters=tuple(f"{each.payload.get('title', '')}: {each.payload.get('body', '')}" for each in letters),
    )
    return prompt_of(brief, nonce(), prompt_template())


def _reasons(standing: Standing | None) -> tuple[str, ...]:
    return standing.reasons if standing is not None else ()


def _writers(context: Context, task: Task) -> dict[str, Writer | None]:
    names = {ref.source for ref in task.refs} & context.roster.sources.keys()
    return {name: context.writer(name, context.roster, context.environment) for name in names}


def _looks(context: Context, task: Task) -> dict[Ref, Look]:
    """The task's own words. What cannot be read now the agent reads itself."""
    writers = _writers(context, task)
    deadline: Deadline = context.deadline.at_most(_LOOKS)
    found: dict[Ref, Look] = {}
    for item in task.items:
        writer = writers.get(item.ref.source)
        if writer is None or item.status in CLOSED:
            continue
        try:
            found[item.ref] = writer.look(item.ref, item.owner, deadline, context.clock())
        except TransportError:
            continue  # the prompt says where the words stand
    return found
