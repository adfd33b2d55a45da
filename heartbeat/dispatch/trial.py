"""One short real turn with one provider, to see whether it answers. It costs what a turn costs, and is on record like
any other: its agent has no other turn meanwhile, and the provider's breaker hears how it ended (rules X5, F2).

It is about no task: nothing is claimed, nothing is a dead letter, and no hook is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from heartbeat.attempt import Attempt, Engine, Life
from heartbeat.breaker import Answer, Breaker, ask
from heartbeat.dispatch.abort import How, abort
from heartbeat.dispatch.collect import look
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.start import spawn
from heartbeat.errors import RefusedError
from heartbeat.instants import format_duration
from heartbeat.provider import Provider, breaker_of
from heartbeat.store.locks import lease, try_exclusive
from heartbeat.systems.base import TransportError

SESSION = "hb-providers-test"
"""One of an agent's own, for all such turns: nobody talks there, and no task is worked on."""

TASK = "providers:test"
"""Stands in the place of a task's key on record."""

MESSAGE = (
    "This is heartbeat asking whether you can be reached. Answer with the one word OK. Use no tools, look at nothing, "
    "and do nothing else."
)

_POLL = 1.0
_TO_STOP = 20.0
"""Seconds that are kept for stopping a turn that does not end."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The turn as it ended, or as it stands where `told` says why that is not known."""

    attempt: Attempt
    told: str = ""


def try_turn(context: Context, agent: str, provider: Provider, by: str) -> Tried:
    """Asks for the turn and waits for its end, until the context's deadline; then it is stopped.

    Raises RefusedError where the agent has a turn already or is being served, StateError.
    """
    lock_file = context.locks / f"{agent}.lock"
    with try_exclusive(lock_file, purpose="providers test", until=lease(context.deadline)) as lock:
        if not lock.held:
            raise RefusedError(
                f"{agent} is being served by {lock.told_of_holder}; one at a time starts its turns",
                advice="try again when that is done, or name another agent: --agent",
            )
        attempt, error = spawn(context, _reserved(context, agent, provider, by), MESSAGE)
    if attempt.life is Life.SPAWNING:
        told = f"no answer came, and whether it began is not known: {error}"
        return Tried(attempt, f"{told}; the next beat of {agent} finds out")
    return _ended(context, attempt, by)


def _reserved(context: Context, agent: str, provider: Provider, by: str) -> Attempt:
    now, store = context.clock(), context.store
    attempt = Attempt(
        id=context.identify(),
        task=TASK,
        refs=(),
        title=f"heartbeat providers test {provider.name}",
        agent=agent,
        number=1,
        engine=Engine.OPENCLAW,
        provider=provider.name,
        planned_at=now,
        model=provider.model,
        session=SESSION,
    )
    with store.transaction():
        if not store.add_attempt(attempt):
            raise RefusedError(
                f"{agent} has a turn that has not ended, and gets no second one",
                advice="wait for its end (`heartbeat attempts`), or name another agent: --agent",
            )
        # A breaker that lets nobody through does not stop a person's test, and does not hear of it either.
        named = breaker_of(provider.name, agent)
        known = store.breakers().get(named, Breaker(named))
        answer, asked = ask(known, attempt.id, now, context.failover.rules)
        if answer is Answer.PROBE:
            store.put_breaker(asked)
        claimed = replace(attempt, life=Life.CLAIMED)
        store.advance_attempt(claimed, Life.PLANNED)
        context.log(attempt, "dispatch-planned", f"a test of {provider.name}, by {by}", session=SESSION, by=by)
    return claimed


def _ended(context: Context, attempt: Attempt, by: str) -> Tried:
    told = ""
    while not attempt.is_finished and context.deadline.left() > _TO_STOP:
        try:
            attempt = look(context, attempt)
            told = ""
        except TransportError as error:
            told = str(error)
        if not attempt.is_finished:
            context.pause(_POLL)
    if attempt.is_finished:
        return Tried(attempt)
    lasted = format_duration(context.clock() - (attempt.accepted_at or attempt.planned_at))
    stopped = abort(context, attempt, by, f"it had not ended after {lasted}")
    if stopped.how is How.UNSURE:
        return Tried(stopped.attempt, f"it has not ended, and cannot be stopped: {stopped.told or told}")
    return Tried(stopped.attempt)
