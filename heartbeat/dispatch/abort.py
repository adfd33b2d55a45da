"""Stopping a turn by hand: at its engine, on record, and with the claim given back (rules X5, X6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from heartbeat.attempt import UNSPAWNED, Attempt, Cause, Failure, Life, Outcome
from heartbeat.dispatch.base import Going, Sighting
from heartbeat.dispatch.claims import give_back
from heartbeat.dispatch.collect import clear_away, look
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.settle import settle
from heartbeat.errors import RefusedError, UsageError
from heartbeat.store.locks import lease, try_exclusive
from heartbeat.store.port import Entry, EntryState
from heartbeat.systems.base import TransportError


class How(StrEnum):
    """What came of an abort."""

    STOPPED = "stopped"
    """The turn was running, and does not any more."""
    CALLED_OFF = "called_off"
    """It had not been asked for."""
    ENDED = "ended"
    """It had ended by itself."""
    UNSURE = "unsure"
    """It may be running still: nothing was changed."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """`attempt` as it stands then; `told` says why it is not sure; `left` are the writes that give the claim back and
    are not carried out yet."""

    how: How
    attempt: Attempt
    told: str = ""
    left: tuple[Entry, ...] = ()


def meant(known: Sequence[Attempt], text: str) -> Attempt:
    """The attempt whose id begins so; of several the one that has not ended. Raises UsageError for none or several."""
    wanted = text.strip().lower()
    found = [each for each in known if wanted and (each.id.startswith(wanted) or each.id.startswith(f"hb-{wanted}"))]
    found = [each for each in found if each.id == wanted] or found
    found = [each for each in found if not each.is_finished] or found
    if len(found) == 1:
        return found[0]
    advice = "`heartbeat attempts` lists them"
    if not found:
        raise UsageError(f"no dispatch's id begins with {text[:80]!r}", advice=advice)
    listed = "; ".join(f"{each.id} ({each.agent})" for each in found[:8])
    raise UsageError(f"{text[:80]!r} begins {len(found)} ids: {listed}", advice="write more of it")


def abort(context: Context, attempt: Attempt, by: str, why: str = "") -> Aborted:
    """Ends the turn, wherever it stands. `by` says who wants that.

    Before it runs, its agent's lock is needed: RefusedError where somebody who has it is starting it just now. Raises
    StateError.
    """
    said = f"stopped by {by}{f': {why}' if why else ''}"
    if attempt.is_finished:
        return Aborted(How.ENDED, attempt)
    if attempt.life is Life.RUNNING:
        return _stop(context, attempt, said)
    lock_file = context.locks / f"{attempt.agent}.lock"
    with try_exclusive(lock_file, purpose="abort", until=lease(context.deadline)) as lock:
        if not lock.held:
            raise RefusedError(
                f"{attempt.id} is being started just now: {attempt.agent} is served by {lock.told_of_holder}",
                advice="try again in a moment, when it runs or has failed",
            )
        now = context.store.attempt(attempt.id) or attempt
        if now.is_finished:
            return Aborted(How.ENDED, now)
        return _call_off(context, now, said) if now.life in UNSPAWNED else _stop(context, now, said)


def _call_off(context: Context, attempt: Attempt, said: str) -> Aborted:
    """Nothing was asked of the engine."""
    failure = Failure(Cause.NONE, said, Outcome.ABORTED)
    ended = settle(context, attempt, Outcome.ABORTED, failure=failure, back=True)
    if ended is None:
        return _overtaken(context, attempt)
    return Aborted(How.CALLED_OFF, ended, left=_given_back(context, ended))


def _stop(context: Context, attempt: Attempt, said: str) -> Aborted:
    """A turn that may run. One that has ended meanwhile is collected as it ended."""
    try:
        found = look(context, attempt)
        if found.is_finished:
            left = () if found.was_turn else _given_back(context, found)
            return Aborted(How.ENDED, found, left=left)
        spawner = context.engine(found.engine)
        if spawner is None or not spawner.abort(found, context.deadline):
            return Aborted(How.UNSURE, found, f"{found.engine.value} does not say that it has ended")
        seen = spawner.look(found, context.deadline)
    except TransportError as error:
        return Aborted(How.UNSURE, context.store.attempt(attempt.id) or attempt, str(error))
    return _recorded(context, found, seen, said)


def _recorded(context: Context, attempt: Attempt, seen: Sighting, said: str) -> Aborted:
    """It does not run any more. It may have come to its own end just before it was to be stopped."""
    if seen.going is Going.ENDED and seen.outcome is Outcome.COMPLETED:
        ended = settle(
            context, attempt, Outcome.COMPLETED, usage=seen.usage, model=seen.model, exit_code=seen.exit_code
        )
        if ended is None:
            return _overtaken(context, attempt)
        clear_away(context, ended)
        return Aborted(How.ENDED, ended)
    failure = Failure(Cause.NONE, said, Outcome.ABORTED)
    ended = settle(
        context,
        attempt,
        Outcome.ABORTED,
        failure=failure,
        usage=seen.usage,
        model=seen.model,
        exit_code=seen.exit_code,
        back=True,
    )
    if ended is None:
        return _overtaken(context, attempt)
    clear_away(context, ended)
    return Aborted(How.STOPPED, ended, left=_given_back(context, ended))


def _overtaken(context: Context, attempt: Attempt) -> Aborted:
    """Somebody else, a beat for example, had it on record first."""
    return Aborted(How.ENDED, context.store.attempt(attempt.id) or attempt)


def _given_back(context: Context, attempt: Attempt) -> tuple[Entry, ...]:
    return tuple(entry for entry in give_back(context, attempt) if entry.state is not EntryState.DONE)
