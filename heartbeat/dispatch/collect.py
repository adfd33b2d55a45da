"""Finding out what became of turns: by any later beat, once each, also after a crash (rules X2, X6, F1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from heartbeat.action import Level, Message
from heartbeat.attempt import UNSPAWNED, Attempt, Cause, Failure, Life, Outcome
from heartbeat.dispatch.base import Going, Sighting
from heartbeat.dispatch.claims import left_behind
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.settle import settle
from heartbeat.instants import exact_duration, format_duration
from heartbeat.notices import harmless, say
from heartbeat.rules.lasting import lasted, over, wound
from heartbeat.store.locks import lease, try_exclusive
from heartbeat.systems.base import TransportError
from heartbeat.task import NOBODY, Owner, OwnerKind

GRACE = timedelta(minutes=2)
"""The engine ends a turn at its deadline by itself; so long after that heartbeat does."""

_LOOK = 20.0
"""Seconds that one look at a turn may take: an engine that hangs must not use up the time of the whole beat."""

_LISTED_WITHIN = timedelta(seconds=15)
"""An engine that accepted a turn a moment ago may not list it yet."""

_LEAST_TIME = 1.0


@dataclass(frozen=True, slots=True)
class Collected:
    """`ended` are attempts that ended now, `running` those that go on. `unseen` says of which nothing could be learned,
    and why, by dispatch id."""

    ended: tuple[Attempt, ...] = ()
    running: tuple[Attempt, ...] = ()
    unseen: tuple[tuple[Attempt, str], ...] = ()


@contextmanager
def abandoned(context: Context) -> Iterator[frozenset[str]]:
    """Agents that the roster does not have any more, with turns of which nobody knows whether they began, or that never
    began. Their locks are held meanwhile: by themselves they never beat again."""
    names = {each.agent for each in context.store.attempts(unfinished=True) if each.life is not Life.RUNNING}
    with unattended(context, (names | left_behind(context.store)) - context.roster.agents.keys()) as free:
        yield free


@contextmanager
def unattended(context: Context, names: Collection[str]) -> Iterator[frozenset[str]]:
    """Those of these agents at whom nobody is; their locks are held meanwhile."""
    with ExitStack() as stack:
        locks = {
            name: stack.enter_context(
                try_exclusive(context.locks / f"{name}.lock", purpose="collecting", until=lease(context.deadline))
            )
            for name in sorted(names)
        }
        yield frozenset(name for name, lock in locks.items() if lock.held)


def collect(context: Context, held: Collection[str]) -> Collected:
    """Looks at every attempt that has not ended. `held` are the agents whose locks the caller has: only theirs may be
    looked at before they run, since nobody else can be starting them. Raises StateError."""
    ended: list[Attempt] = []
    running: list[Attempt] = []
    unseen: list[tuple[Attempt, str]] = []
    for attempt in context.store.attempts(unfinished=True):
        if attempt.life is not Life.RUNNING and attempt.agent not in held:
            running.append(attempt)
            continue
        if attempt.life in UNSPAWNED:
            _orphaned(context, attempt)
            continue
        try:
            found = look(context, attempt)
        except TransportError as error:
            unseen.append((attempt, str(error)))
            continue
        (ended if found.is_finished else running).append(found)
    return Collected(tuple(ended), tuple(running), tuple(unseen))


def look(context: Context, attempt: Attempt) -> Attempt:
    """One attempt that was asked for, as it is now; collected where it has ended. Raises TransportError, StateError."""
    spawner = context.engine(attempt.engine)
    if spawner is None:
        failure = Failure(Cause.NONE, f"the roster has no source {attempt.engine.value} any more", Outcome.LOST)
        return _settled(context, attempt, Outcome.LOST, failure)
    if context.deadline.left() < _LEAST_TIME:
        return attempt
    seen = spawner.look(attempt, context.deadline.at_most(_LOOK))
    if seen.going is Going.RUNNING:
        return _overdue(context, _known_to_run(context, attempt))
    if seen.going is Going.ENDED:
        return _collected(context, _known_to_run(context, attempt, keep=False), seen)
    if attempt.life is Life.SPAWNING:
        # Mostly our own end: whoever asked was killed. Three of those are no reason to keep away from the engine.
        failure = Failure(Cause.NONE, "the request for the turn never arrived", Outcome.SPAWN_FAILED)
        return _settled(context, attempt, Outcome.SPAWN_FAILED, failure)
    if attempt.accepted_at is not None and _lasted(context, attempt) < _LISTED_WITHIN:
        return attempt
    failure = Failure(Cause.ENGINE, f"{attempt.engine.value} knows nothing of this turn any more", Outcome.LOST)
    return _settled(context, attempt, Outcome.LOST, failure)


def _orphaned(context: Context, attempt: Attempt) -> None:
    """Its beat ended before it asked for the turn: nothing was begun."""
    failure = Failure(Cause.NONE, "the beat that planned it ended before it asked for the turn", Outcome.ABORTED)
    settle(context, attempt, Outcome.ABORTED, failure=failure)


def _known_to_run(context: Context, attempt: Attempt, *, keep: bool = True) -> Attempt:
    """An attempt whose acceptance nobody heard, as one that was accepted; on record with `keep`."""
    if attempt.life is not Life.SPAWNING:
        return attempt
    accepted = attempt.spawned_at or context.clock()
    known = replace(attempt, accepted_at=accepted, deadline=context.deadline_of(attempt, accepted))
    if not keep:
        return known
    running = replace(known, life=Life.RUNNING)
    if context.store.advance_attempt(running, attempt.life):
        context.log(running, "dispatch-found", "the turn had been accepted although no answer came")
        return running
    return context.store.attempt(attempt.id) or running


def _collected(context: Context, attempt: Attempt, seen: Sighting) -> Attempt:
    outcome = seen.outcome or Outcome.COMPLETED
    ended = settle(
        context,
        attempt,
        outcome,
        failure=_ours(context, attempt, seen.failure),
        usage=seen.usage,
        model=seen.model,
        exit_code=seen.exit_code,
        ended_at=seen.ended_at,
    )
    if ended is not None:
        clear_away(context, ended)
    return ended or context.store.attempt(attempt.id) or attempt


def _ours(context: Context, attempt: Attempt, failure: Failure | None) -> Failure | None:
    """A time-out in the words of whoever set the time: it is the roster's, and no setting of OpenClaw's."""
    provider = context.failover_for(attempt.engine).named(attempt.provider)
    if failure is None or failure.outcome is not Outcome.TIMED_OUT or provider is None or attempt.deadline is None:
        return failure
    told = f"no end within {exact_duration(provider.run_deadline)} (run_deadline of {provider.name})"
    return replace(failure, message=f"{told}: {failure.message}")


def clear_away(context: Context, ended: Attempt) -> None:
    """Removes what a collected turn left on this machine; what cannot be removed now goes with the next sweep."""
    spawner = context.engine(ended.engine)
    try:
        if spawner is not None:
            spawner.forget(ended)
    except TransportError as error:
        context.log(ended, "dispatch-kept", f"what this turn left on this machine could not be removed: {error}")


def _overdue(context: Context, attempt: Attempt) -> Attempt:
    """A turn that its engine did not end at its deadline is stopped before anything else is begun (rule F1). A wall
    clock that was set, or a machine that slept, ends none (rule B6)."""
    spawner = context.engine(attempt.engine)
    if attempt.deadline is None or spawner is None:
        return attempt
    attempt = _wound(context, attempt)
    late = over(attempt, context.clock(), context.uptime())
    if attempt.is_finished or late is None or late < GRACE:
        return attempt
    told = format_duration(_lasted(context, attempt))
    if not spawner.abort(attempt, context.deadline.at_most(_LOOK)):
        return _unstoppable(context, attempt, f"past its deadline: it has run for {told} and could not be stopped")
    failure = Failure(Cause.COUNTS, f"stopped after {told}, past its deadline", Outcome.TIMED_OUT)
    return _settled(context, attempt, Outcome.TIMED_OUT, failure)


def _lasted(context: Context, attempt: Attempt) -> timedelta:
    return lasted(attempt, context.clock(), context.uptime())


def _wound(context: Context, attempt: Attempt) -> Attempt:
    """The attempt with a stopwatch that goes, which is on record: after a new start of the machine it is another."""
    watch = wound(attempt, context.clock(), context.uptime())
    if watch == attempt.stopwatch:
        return attempt
    known = replace(attempt, stopwatch=watch)
    return known if context.store.advance_attempt(known, attempt.life) else context.store.attempt(attempt.id) or known


def _unstoppable(context: Context, attempt: Attempt, told: str) -> Attempt:
    """Said once, to people too; to stop it is tried again at every look."""
    if attempt.error:
        return attempt
    known, title = replace(attempt, error=told), harmless(attempt.title)
    facts = {"title": title, "owner": harmless(attempt.agent), "because": harmless(told, 300), "dispatch": attempt.id}
    with context.store.transaction():
        if not context.store.advance_attempt(known, attempt.life):
            return context.store.attempt(attempt.id) or attempt
        context.log(known, "dispatch-overdue", told)
        context.tell(
            [
                Message(
                    key=f"overdue/{attempt.id}",
                    to=("coo", "operator"),
                    level=Level.WARNING,
                    title=say("overdue_title", title=title),
                    body=say("overdue", **facts),
                    owner=Owner(OwnerKind.AGENT, attempt.agent),
                    creator=NOBODY,
                    task=attempt.task,
                )
            ]
        )
    return known


def _settled(context: Context, attempt: Attempt, outcome: Outcome, failure: Failure) -> Attempt:
    return settle(context, attempt, outcome, failure=failure) or context.store.attempt(attempt.id) or attempt
