"""How an attempt ends: once, with everything that hangs on it, in one transaction (rules X6, F2 to F4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from heartbeat.action import Level, Message
from heartbeat.attempt import Attempt, Cause, Failure, Life, Outcome, Usage
from heartbeat.breaker import EVENT_OF, Breaker, Event, State, hear
from heartbeat.dispatch.claims import back_entries, drop
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.hooks import hook_entries
from heartbeat.dispatch.letters import bury, delivered, put_back
from heartbeat.instants import to_text
from heartbeat.notices import harmless, say
from heartbeat.provider import breaker_of, breakers_for
from heartbeat.rules.failover import Exhausted, chain, choose
from heartbeat.rules.rounds import dispatched
from heartbeat.schedule.slots import current_slot
from heartbeat.task import NOBODY

_ERROR = 2000
"""Characters of an error that are kept."""


def settle(
    context: Context,
    attempt: Attempt,
    outcome: Outcome,
    *,
    failure: Failure | None = None,
    usage: Usage | None = None,
    model: str = "",
    exit_code: int | None = None,
    ended_at: datetime | None = None,
    back: bool = False,
) -> Attempt | None:
    """Ends an attempt; None where somebody else had ended it, or moved it on, meanwhile.

    The breakers hear of it, a chain that leads nowhere becomes a dead letter, hooks are put on record. What was claimed
    for a turn that never began is given back, unless the next attempt goes on with it; with `back`, at once, and
    whether or not it began. `ended_at` is when it ended by the engine's clock, which is
    never before it was accepted, nor after now. Raises StateError.
    """
    now = context.clock()
    ended = replace(
        attempt,
        life=Life.ENDED,
        ended_at=max(min(ended_at or now, now), attempt.accepted_at or attempt.planned_at),
        outcome=outcome,
        cause=failure.cause if failure is not None else None,
        error=failure.message[:_ERROR] if failure is not None else "",
        usage=usage or attempt.usage,
        model=model or attempt.model,
        exit_code=exit_code,
    )
    with context.store.transaction():
        if not context.store.advance_attempt(ended, attempt.life):
            return None
        told = f"{outcome.value}{': ' if ended.error else ''}{ended.error}"
        context.log(ended, "dispatch-ended", told, outcome=outcome.value, session=ended.session, model=ended.model)
        _tell_breakers(context, ended, failure, now)
        if outcome is Outcome.COMPLETED:
            delivered(context, ended)
        elif not _buried(context, ended, now):
            if not ended.was_turn:
                put_back(context, ended)
                drop(context, ended, ended.error or "the turn was not started")
            if back or not ended.was_turn:
                context.store.enqueue(back_entries(context, ended, waits=not back))
        if ended.was_turn and ended.refs:
            _count_round(context, ended, now)
            context.store.enqueue(hook_entries(context.roster, ended, now))
    return ended


def _count_round(context: Context, ended: Attempt, now: datetime) -> None:
    """A turn uses a round of its task wherever it left it; one that met a rate limit uses none (rules C1, C3)."""
    agent = context.roster.agents.get(ended.agent)
    if agent is None or ended.outcome is Outcome.RATE_LIMITED:
        return
    slot = current_slot(agent.policy, context.roster.timezone, ended.spawned_at or now)
    context.store.put_rounds(dispatched(ended, context.store.rounds(), slot=slot, now=now))


def chain_of(context: Context, attempt: Attempt) -> tuple[Attempt, ...]:
    """The attempts on this task that belong together (see rules/failover.py)."""
    store = context.store
    return chain(store.attempts(refs=attempt.refs), store.letters(refs=attempt.refs))


def _buried(context: Context, ended: Attempt, now: datetime) -> bool:
    """Whether this was the last that could be tried. A turn about no task (trial.py) leaves nothing to try again; as
    long as nobody knows who could be asked, whether this was the last is left open."""
    if not ended.refs or ended.cause in (None, Cause.ENGINE, Cause.NONE):
        return False
    tried = chain_of(context, ended)
    breakers = breakers_for(ended.agent, context.store.breakers())
    verdict = choose(context.failover_for(ended.engine), breakers, tried, now)
    if isinstance(verdict, Exhausted) and (verdict.poison or not context.trouble):
        bury(context, ended, tried, verdict)
        return True
    return False


def _tell_breakers(context: Context, ended: Attempt, failure: Failure | None, now: datetime) -> None:
    """The provider's breaker hears how it ended; the engine's own of what is the engine's."""
    cause = failure.cause if failure is not None else Cause.NONE
    event = Event.SUCCESS if ended.outcome is Outcome.COMPLETED else EVENT_OF[cause]
    began = ended.accepted_at or ended.planned_at
    why, retry_after = ended.error, failure.retry_after if failure is not None else None
    provider = breaker_of(ended.provider, ended.agent)
    tell_breaker(context, provider, event, now, dispatch=ended.id, why=why, retry_after=retry_after, began=began)
    if cause is Cause.ENGINE or not ended.was_turn:
        event = Event.FAILURE if cause is Cause.ENGINE else Event.ABANDONED
        tell_breaker(context, ended.engine.value, event, now, dispatch=ended.id, why=why, began=began)


def tell_breaker(
    context: Context,
    name: str,
    event: Event,
    now: datetime,
    *,
    dispatch: str,
    why: str = "",
    retry_after: float | None = None,
    began: datetime | None = None,
) -> None:
    """Keeps what a breaker becomes, and tells people once when it opens. Called inside a transaction."""
    rules = context.failover.rules
    before = context.store.breakers().get(name, Breaker(name))
    after = hear(before, event, now, rules, dispatch=dispatch, why=why, retry_after=retry_after, began=began)
    if after == before:
        return
    context.store.put_breaker(after)
    if after.state is State.OPEN and before.state is State.CLOSED:
        context.tell([_opened(after, event)])


def _opened(breaker: Breaker, event: Event) -> Message:
    name = harmless(breaker.provider)
    until = to_text(breaker.until) if breaker.until is not None else ""
    kind = "breaker_refused" if event is Event.REFUSED else "breaker"
    return Message(
        key=f"breaker/{breaker.provider}/{to_text(breaker.changed_at) if breaker.changed_at else ''}",
        to=("coo", "operator"),
        level=Level.WARNING,
        title=say("breaker_title", provider=name),
        body=say(kind, provider=name, because=harmless(breaker.why, 300), until=until),
        owner=NOBODY,
        creator=NOBODY,
    )
