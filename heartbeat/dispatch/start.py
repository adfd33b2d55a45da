"""One turn from the decision to its acceptance: reserved, claimed, asked for, and given back where nobody takes it.

Each step is on record before the next is taken, so that a process which dies anywhere leaves an attempt that the next
beat of its agent can finish (rules X2, X5, X6). Called by whoever holds the agent's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, Failure, Life, Outcome, Stopwatch
from heartbeat.breaker import Answer, Breaker, Event, ask, available_at, may_ask
from heartbeat.dispatch.base import Order, StartError
from heartbeat.dispatch.claims import before, give_back, take, take_over, waiting_for_the_next
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.letters import bury, replaying
from heartbeat.dispatch.settle import chain_of, settle, tell_breaker
from heartbeat.errors import HeartbeatError, StateError
from heartbeat.plural import counted
from heartbeat.provider import Provider, breaker_of, breakers_for
from heartbeat.rules.dispatching import Reason, Skip
from heartbeat.rules.failover import Exhausted, Wait, chain, choose, may_try_again, pause_before
from heartbeat.task import Item, Task

_LEAST_TIME = 3.0
"""Seconds that must be left for a turn to be asked for."""


class Result(StrEnum):
    """How far a start came."""

    RUNNING = "running"
    UNKNOWN = "unknown"
    """Asked for, and no answer came: the next beat finds out."""
    FAILED = "failed"
    """Nobody took it; the task is as it was, and the next beat tries again."""
    DEAD_LETTER = "dead_letter"
    CONFLICT = "conflict"
    """Somebody else was quicker with the task."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What came of a start. `attempts` are all that it made, the last one as it stands now."""

    result: Result
    attempts: tuple[Attempt, ...]
    told: str = ""

    @property
    def attempt(self) -> Attempt:
        return self.attempts[-1]

    @property
    def is_unclaimed(self) -> bool:
        """Whether the task could not be taken, and nothing was asked of the engine: another task may be."""
        failed = self.result in (Result.CONFLICT, Result.FAILED)
        return failed and len(self.attempts) == 1 and self.attempt.spawned_at is None


@dataclass(frozen=True, slots=True)
class Plan:
    """One task that an agent is to be started on. `items` are those to be claimed; none where the engine does that."""

    task: Task
    agent: str
    engine: Engine
    session: str
    items: tuple[Item, ...]
    continued: bool = False
    letter: DeadLetter | None = None


def start(context: Context, plan: Plan, message: str) -> Begun | Skip:
    """Starts the turn with the first provider that takes it. Skip: nothing was begun. Raises StateError."""
    if context.deadline.left() < _LEAST_TIME:
        return Skip(Reason.NO_TIME, "this beat's time is over; the next one decides anew")
    reserved = reserve(context, plan)
    if isinstance(reserved, Skip):
        return reserved
    try:
        taken = take(context, reserved, plan.items)
    except HeartbeatError as error:
        _call_off(context, reserved, str(error))
        raise
    if not taken.ok:
        outcome = Outcome.ABORTED if taken.conflict else Outcome.SPAWN_FAILED
        ended = _call_off(context, reserved, taken.conflict or taken.error, outcome)
        return Begun(Result.CONFLICT if taken.conflict else Result.FAILED, (ended,), ended.error)
    return _asked(context, plan, reserved, message)


def reserve(context: Context, plan: Plan, last: Attempt | None = None) -> Attempt | Skip:
    """Takes the agent, the task, a place among the running turns and a provider, all in one transaction. `last` is the
    attempt before it, where this one goes on with what that one had claimed."""
    store, now = context.store, context.clock()
    limit, refs = context.running_limit, plan.task.refs
    with store.transaction():
        running = store.attempts(unfinished=True)
        if len(running) >= limit:
            running_now = counted(len(running), "turn is", "turns are")
            return Skip(Reason.LIMIT, f"{running_now} running, and {limit} may at once (limits.running)")
        waiting = waiting_for_the_next(context, refs, last)
        if waiting is None:
            return Skip(Reason.CHANGED, f"{plan.task.items[0].key} is being given back just now")
        earlier, breakers = store.attempts(refs=refs), breakers_for(plan.agent, store.breakers())
        tried = chain(earlier, store.letters(refs=refs))
        rules = context.failover.rules
        engine = breakers.get(plan.engine.value, Breaker(plan.engine.value))
        if not may_ask(engine, now, rules):
            told = f"{plan.engine.value} could not be asked lately: {engine.why}"
            return Skip(Reason.BREAKER_OPEN, told, available_at(engine, now, rules))
        choice = choose(context.failover_for(plan.engine), breakers, tried, now)
        if isinstance(choice, Wait):
            return Skip(Reason.BREAKER_OPEN, "; ".join(choice.reasons), choice.until)
        if isinstance(choice, Exhausted):
            if tried:
                bury(context, tried[-1], tried, choice)
            return Skip(Reason.DEAD_LETTER if tried else Reason.BREAKER_OPEN, "; ".join(choice.reasons))
        attempt = Attempt(
            id=context.identify(),
            task=plan.task.key,
            refs=refs,
            title=plan.task.title,
            agent=plan.agent,
            number=1 + max((each.number for each in earlier), default=0),
            engine=plan.engine,
            provider=choice.provider.name,
            planned_at=now,
            model=choice.provider.model,
            session=plan.session,
            continued=plan.continued,
            before=before(plan.task, tried),
            letter=plan.letter.id if plan.letter is not None else "",
        )
        if not store.add_attempt(attempt):
            return Skip(Reason.BUSY, f"{plan.agent} or {plan.task.items[0].key} has another turn that has not ended")
        take_over(context, waiting)
        named = breaker_of(attempt.provider, attempt.agent)
        for known in (engine, breakers.get(attempt.provider, Breaker(named))):
            answer, asked = ask(known, attempt.id, now, rules)
            if answer is not Answer.ALLOWED or asked != known:
                store.put_breaker(asked)
        if plan.letter is not None:
            replaying(context, plan.letter)
        context.log(attempt, "dispatch-planned", "; ".join(choice.reasons), session=attempt.session)
    return attempt


def _asked(context: Context, plan: Plan, attempt: Attempt, message: str) -> Begun:
    """Goes through the providers until one takes the turn, or none is left to ask now."""
    made: list[Attempt] = []
    while True:
        if context.deadline.left() < _LEAST_TIME:
            made.append(_call_off(context, attempt, "the beat's time was over before the turn could be asked for"))
            return Begun(Result.FAILED, tuple(made), made[-1].error)
        current = _advanced(context, attempt, life=Life.CLAIMED)
        current, error = spawn(context, current, message)
        made.append(current)
        if current.life is Life.RUNNING:
            return Begun(Result.RUNNING, tuple(made))
        if current.life is Life.SPAWNING:
            return Begun(Result.UNKNOWN, tuple(made), str(error or ""))
        letter = next(iter(context.store.letters(refs=plan.task.refs, open_only=True)), None)
        if letter is not None and current.id in letter.attempts:
            give_back(context, current)
            return Begun(Result.DEAD_LETTER, tuple(made), current.error)
        following = None if current.cause is Cause.ENGINE else _next(context, plan, current, error)
        if following is None:
            give_back(context, current)
            return Begun(Result.FAILED, tuple(made), current.error)
        attempt = following


def _next(context: Context, plan: Plan, last: Attempt, error: StartError | None) -> Attempt | None:
    """The next attempt of the chain, after the pause that its provider is due; None where nobody can be asked now."""
    tried = chain_of(context, last)
    again = sum(1 for each in tried if each.provider == last.provider)
    breakers = breakers_for(plan.agent, context.store.breakers())
    choice = choose(context.failover_for(plan.engine), breakers, tried, context.clock())
    if isinstance(choice, Wait | Exhausted):
        return None
    if choice.provider.name == last.provider:
        if not may_try_again(again, error.failure.retry_after if error else None):
            return None
        wait = pause_before(again, context.chance(), error.failure.retry_after if error else None)
        if context.deadline.left() < wait + _LEAST_TIME:
            return None
        context.pause(wait)
    reserved = reserve(context, plan, last)
    return None if isinstance(reserved, Skip) else reserved


def spawn(context: Context, attempt: Attempt, message: str) -> tuple[Attempt, StartError | None]:
    """Asks the engine for the turn, again and again under the same id where no answer came (rules F1, X2).

    The attempt as it stands then: RUNNING, SPAWNING where nobody knows, or ENDED.
    """
    provider = context.failover_for(attempt.engine).named(attempt.provider) or Provider(attempt.provider)
    spawner = context.engine(attempt.engine)
    watch = Stopwatch(context.uptime())
    attempt = _advanced(context, attempt, life=Life.SPAWNING, spawned_at=context.clock(), stopwatch=watch, tries=1)
    if spawner is None:
        failure = Failure(Cause.ENGINE, f"the roster has no source {attempt.engine.value} to start turns with")
        return _failed(context, attempt, failure), None
    unknown = False
    while True:
        order = Order(attempt, message, attempt.model, provider.run_deadline.total_seconds())
        try:
            accepted = spawner.start(order, context.deadline.at_most(provider.timeout.total_seconds()))
        except StartError as error:
            wait = pause_before(attempt.tries, context.chance(), error.failure.retry_after)
            # A request that may have arrived stays possible, whatever is heard of the later ones.
            unknown = unknown or error.unknown
            same = unknown or error.failure.cause is Cause.ENGINE
            allowed = attempt.tries <= provider.max_retries and may_try_again(attempt.tries, error.failure.retry_after)
            if same and allowed and context.deadline.left() > wait + _LEAST_TIME:
                context.log(attempt, "dispatch-retry", str(error), tries=attempt.tries)
                attempt = _advanced(context, attempt, tries=attempt.tries + 1)
                context.pause(wait)
                continue
            if unknown:
                context.log(attempt, "dispatch-unknown", str(error), tries=attempt.tries)
                return attempt, error
            return _failed(context, attempt, error.failure), error
        return _running(context, attempt, accepted.run, accepted.session), None


def _running(context: Context, attempt: Attempt, run: str, session: str) -> Attempt:
    now = context.clock()
    running = replace(
        attempt,
        life=Life.RUNNING,
        run=run,
        session=attempt.session or session,
        accepted_at=now,
        deadline=context.deadline_of(attempt, now),
        stopwatch=Stopwatch(context.uptime()),
    )
    with context.store.transaction():
        kept = context.store.advance_attempt(running, attempt.life)
        tell_breaker(context, attempt.engine.value, Event.SUCCESS, now, dispatch=attempt.id)
        if kept:
            context.log(running, "dispatch-started", f"{running.agent} works on {running.task}", session=session)
    if not kept:
        raise _taken_over(attempt)
    return running


def _failed(context: Context, attempt: Attempt, failure: Failure) -> Attempt:
    outcome = Outcome.RATE_LIMITED if failure.cause is Cause.COOLS else Outcome.SPAWN_FAILED
    ended = settle(context, attempt, outcome, failure=failure)
    return ended or context.store.attempt(attempt.id) or attempt


def _call_off(context: Context, attempt: Attempt, why: str, outcome: Outcome = Outcome.ABORTED) -> Attempt:
    """Nothing was asked of any engine, so none is blamed: the attempt ends, and what was claimed already goes back."""
    ended = settle(context, attempt, outcome, failure=Failure(Cause.NONE, why, outcome))
    give_back(context, attempt)
    return ended or attempt


def _advanced(context: Context, attempt: Attempt, **changes: object) -> Attempt:
    """The attempt moved on, and on record; raises StateError where somebody else has moved it meanwhile."""
    moved: Attempt = replace(attempt, **changes)  # type: ignore[arg-type]
    if not context.store.advance_attempt(moved, attempt.life):
        raise _taken_over(attempt)
    return moved


def _taken_over(attempt: Attempt) -> StateError:
    """Nobody else moves an attempt on before it runs, so this is a lock that does not hold."""
    return StateError(
        f"dispatch {attempt.id} of {attempt.agent} was changed by another process while its turn was being started",
        advice="keep heartbeat's state on a local disk: its locks do not work where it is now",
    )
