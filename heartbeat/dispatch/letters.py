"""Dead letters: what no provider would do is kept with all that is needed to try again (rule F4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from heartbeat.action import Level, Message
from heartbeat.attempt import Attempt, DeadLetter, LetterState
from heartbeat.dispatch.claims import back_entries
from heartbeat.dispatch.context import Context
from heartbeat.instants import to_text
from heartbeat.notices import harmless, say
from heartbeat.rules.failover import LETTER_TRIES, Exhausted, letter_due
from heartbeat.store.port import LogEntry
from heartbeat.task import NOBODY, Owner, OwnerKind, Ref

_BECAUSE = 300
"""Characters of an error that are told; the letter keeps the whole."""


def bury(context: Context, attempt: Attempt, chain: Sequence[Attempt], verdict: Exhausted) -> DeadLetter:
    """Makes the dead letter of a task whose attempts have led nowhere, or puts the one that was being replayed back.

    Gives the claim back as well. Called inside the transaction that ends the last attempt.
    """
    now = context.clock()
    replayed = context.store.letter(attempt.letter) if attempt.letter else None
    error = attempt.error or "; ".join(verdict.reasons)
    if replayed is None:
        letter = DeadLetter(
            id=_letter_id(attempt.id),
            task=attempt.task,
            refs=attempt.refs,
            title=attempt.title,
            agent=attempt.agent,
            created_at=now,
            due_at=letter_due(0, now),
            error=error,
            attempts=tuple(each.id for each in chain),
            poison=verdict.poison,
            payload={"session": attempt.session, "engine": attempt.engine.value, "reasons": list(verdict.reasons)},
        )
    else:
        letter = _tried_again(replayed, chain, error, verdict.poison, now)
    context.store.put_letter(letter)
    context.store.enqueue(back_entries(context, attempt))
    context.log(attempt, "dead-letter", f"{error} ({letter.state.value})", letter=letter.id, tries=letter.tries)
    context.tell([_told(letter)] if replayed is None or letter.state is LetterState.EXHAUSTED else [])
    return letter


def replaying(context: Context, letter: DeadLetter) -> None:
    """A replay was reserved: nobody starts another."""
    context.store.put_letter(replace(letter, state=LetterState.REPLAYING))


def put_back(context: Context, attempt: Attempt) -> None:
    """A replay that never came to ask anybody was no try: the letter waits as before."""
    letter = context.store.letter(attempt.letter) if attempt.letter else None
    if letter is not None and letter.state is LetterState.REPLAYING:
        context.store.put_letter(replace(letter, state=LetterState.WAITING))


def delivered(context: Context, attempt: Attempt) -> None:
    """A turn completed: the letter that it replayed, and any other of the same task, is done with."""
    for letter in context.store.letters(refs=attempt.refs, open_only=True):
        _close(context, letter, LetterState.REPLAYED, f"attempt {attempt.number} completed")


def withdraw_settled(context: Context, open_refs: Iterable[Ref], read: frozenset[str]) -> None:
    """Letters whose task is over, by what was completely read, are dropped: nobody replays finished work."""
    wanted = frozenset(open_refs)
    for letter in context.store.letters(open_only=True):
        seen = all(ref.source in read for ref in letter.refs)
        if seen and letter.state is not LetterState.REPLAYING and wanted.isdisjoint(letter.refs):
            with context.store.transaction():
                _close(context, letter, LetterState.DROPPED, "the task is over")


def _close(context: Context, letter: DeadLetter, state: LetterState, why: str) -> None:
    now = context.clock()
    context.store.put_letter(replace(letter, state=state, closed_at=now))
    context.store.add_log(
        [LogEntry(now, f"letter-{state.value}", why, letter.agent, letter.task, details={"letter": letter.id})]
    )


def _letter_id(dispatch: str) -> str:
    return f"dl-{hashlib.sha256(dispatch.encode()).hexdigest()[:12]}"


def _tried_again(letter: DeadLetter, chain: Sequence[Attempt], error: str, poison: bool, now: datetime) -> DeadLetter:
    tries = letter.tries + 1
    return replace(
        letter,
        tries=tries,
        due_at=letter_due(tries, now),
        state=LetterState.EXHAUSTED if tries >= LETTER_TRIES else LetterState.WAITING,
        attempts=tuple(dict.fromkeys((*letter.attempts, *(each.id for each in chain)))),
        error=error,
        poison=poison,
    )


def _told(letter: DeadLetter) -> Message:
    kind = "letter_exhausted" if letter.state is LetterState.EXHAUSTED else "poison" if letter.poison else "letter"
    title = harmless(letter.title)
    facts = {
        "title": title,
        "name": harmless(letter.task),
        "owner": harmless(letter.agent),
        "because": harmless(letter.error, _BECAUSE),
        "due": to_text(letter.due_at),
        "tries": letter.tries,
        "letter": letter.id,
    }
    return Message(
        key=f"letter/{letter.id}/{letter.state.value}",
        to=("coo", "operator"),
        level=Level.CRITICAL if letter.state is LetterState.EXHAUSTED else Level.WARNING,
        title=say(f"{kind}_title", title=title),
        body=say(kind, **facts),
        owner=Owner(OwnerKind.AGENT, letter.agent),
        creator=NOBODY,
        task=letter.task,
    )
