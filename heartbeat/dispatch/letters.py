"""Dead letters: what no provider would do is kept with all that is needed to try again (rule F4).

People hear of the first ones one by one. From the third of a day on it is a queue that grows, most likely for one
reason, and that is told when it has come to 3, 10, 30 and so on, each once a day (rule O3).
"""

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
from heartbeat.rules.budget import day_began
from heartbeat.rules.failover import LETTER_TRIES, Exhausted, letter_due
from heartbeat.store.port import EntryState, LogEntry, Store
from heartbeat.task import NOBODY, Owner, OwnerKind, Ref

QUEUE = (3, 10, 30, 100, 300, 1000)
"""So many letters of one day are told as a queue; below the first each is told by itself."""

_BECAUSE = 300
"""Characters of an error that are told; the letter keeps the whole."""


def bury(context: Context, attempt: Attempt, chain: Sequence[Attempt], verdict: Exhausted) -> DeadLetter:
    """Makes the dead letter of a task whose attempts have led nowhere, or puts the one that was being replayed back.

    Gives the claim back as well. Called inside the transaction that ends the last attempt.
    """
    now = context.clock()
    replayed = context.store.letter(attempt.letter) if attempt.letter else None
    replayed = replayed if replayed is not None and replayed.is_open else None
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
            state=_resting(0, verdict.poison),
            payload={"session": attempt.session, "engine": attempt.engine.value, "reasons": list(verdict.reasons)},
        )
    else:
        letter = _tried_again(replayed, chain, error, verdict.poison, now)
    context.store.put_letter(letter)
    context.store.enqueue(back_entries(context, attempt))
    context.log(attempt, "dead-letter", f"{error} ({letter.state.value})", letter=letter.id, tries=letter.tries)
    if replayed is None or letter.state is LetterState.EXHAUSTED:
        context.tell(_messages(context, letter, now))
    return letter


def replaying(context: Context, letter: DeadLetter) -> None:
    """A replay was reserved: nobody starts another. One that a person has closed meanwhile stays closed."""
    now = context.store.letter(letter.id)
    if now is not None and now.is_open:
        context.store.put_letter(replace(now, state=LetterState.REPLAYING))


def put_back(context: Context, attempt: Attempt) -> None:
    """A replay that never came to ask anybody was no try: the letter waits, or is left for a person, as before."""
    letter = context.store.letter(attempt.letter) if attempt.letter else None
    if letter is not None and letter.state is LetterState.REPLAYING:
        context.store.put_letter(replace(letter, state=_resting(letter.tries, letter.poison)))


def delivered(context: Context, attempt: Attempt) -> None:
    """A turn completed: the letter that it replayed, and any other of the same task, is done with."""
    for letter in context.store.letters(refs=attempt.refs, open_only=True):
        _close(context, letter, LetterState.REPLAYED, f"attempt {attempt.number} completed")


def withdraw_settled(
    context: Context, open_refs: Iterable[Ref], read: frozenset[str], unknown_ids: frozenset[str] = frozenset()
) -> None:
    """Letters whose task is over, by what was completely read, are dropped: nobody replays finished work.

    `read` are the sources, `unknown_ids` records of theirs that came malformed: what became of those is not known. A
    letter whose replay goes on waits for its end.
    """
    wanted = frozenset(open_refs)
    going = {each.letter for each in context.store.attempts(unfinished=True)}
    for letter in context.store.letters(open_only=True):
        seen = all(ref.source in read and ref.id not in unknown_ids for ref in letter.refs)
        if seen and letter.id not in going and wanted.isdisjoint(letter.refs):
            with context.store.transaction():
                _close(context, letter, LetterState.DROPPED, "the task is over")


def retry(store: Store, letter: DeadLetter, by: str, now: datetime) -> DeadLetter:
    """The letter is due at once; one whose tries are used gets them anew, and what was refused counts as mended. Called
    inside a transaction, for a letter that waits or was left for a person."""
    tries = 0 if letter.state is LetterState.EXHAUSTED else letter.tries
    due = replace(letter, state=LetterState.WAITING, tries=tries, due_at=now, poison=False)
    store.put_letter(due)
    store.add_log([_entry(letter, "letter-retry", f"due at once, by {by}", now, by=by)])
    return due


def drop(store: Store, letter: DeadLetter, by: str, why: str, now: datetime) -> None:
    """A person gives the letter up. Called inside a transaction."""
    store.put_letter(replace(letter, state=LetterState.DROPPED, closed_at=now))
    store.add_log([_entry(letter, "letter-dropped", f"dropped by {by}: {why}", now, by=by, why=why)])


def left_at(letter: DeadLetter) -> datetime:
    """When an exhausted letter was left for a person: it was put off once more then."""
    return letter.due_at - (letter_due(letter.tries, letter.due_at) - letter.due_at)


def _close(context: Context, letter: DeadLetter, state: LetterState, why: str) -> None:
    """What nobody was told of it yet is told nobody any more."""
    now = context.clock()
    context.store.put_letter(replace(letter, state=state, closed_at=now))
    for entry in context.store.entries(states=frozenset({EntryState.PENDING})):
        if entry.key.startswith(_key_of(letter)):
            context.store.settle_entry(entry.key, EntryState.DROPPED, now, error=why)
    context.store.add_log([_entry(letter, f"letter-{state.value}", why, now)])


def _entry(letter: DeadLetter, action: str, message: str, now: datetime, **details: str) -> LogEntry:
    return LogEntry(now, action, message, letter.agent, letter.task, details={"letter": letter.id, **details})


def _letter_id(dispatch: str) -> str:
    return f"dl-{hashlib.sha256(dispatch.encode()).hexdigest()[:12]}"


def _tried_again(letter: DeadLetter, chain: Sequence[Attempt], error: str, poison: bool, now: datetime) -> DeadLetter:
    tries = letter.tries + 1
    return replace(
        letter,
        refs=tuple(dict.fromkeys((*letter.refs, *(ref for each in chain for ref in each.refs)))),
        tries=tries,
        due_at=letter_due(tries, now),
        state=_resting(tries, poison),
        attempts=tuple(dict.fromkeys((*letter.attempts, *(each.id for each in chain)))),
        error=error,
        poison=poison,
    )


def _resting(tries: int, poison: bool) -> LetterState:
    """Where a letter stands between two replays, of which so many failed. What was refused for the task's own sake is
    not tried again before a person has looked at it (rule F3)."""
    return LetterState.EXHAUSTED if poison or tries >= LETTER_TRIES else LetterState.WAITING


def _messages(context: Context, letter: DeadLetter, now: datetime) -> tuple[Message, ...]:
    """What people are told of a letter that was made, or left for a person, just now; it is on record already."""
    began = day_began(now, context.roster.timezone)
    known = context.store.letters(open_only=True)
    if letter.state is LetterState.EXHAUSTED:
        of_today = [each for each in known if each.state is LetterState.EXHAUSTED and left_at(each) >= began]
    else:
        of_today = [each for each in known if each.state is not LetterState.EXHAUSTED and each.created_at >= began]
    if len(of_today) < QUEUE[0]:
        return (_told(letter),)
    return (_grown(letter, len(of_today), len(known), began),) if len(of_today) in QUEUE else ()


def _grown(letter: DeadLetter, count: int, known: int, began: datetime) -> Message:
    """A queue that came to one of the sizes at which it is told; the letter is the newest in it."""
    exhausted = letter.state is LetterState.EXHAUSTED
    kind = "queue_exhausted" if exhausted else "queue"
    later = next((step for step in QUEUE if step > count), 0)
    facts = {
        "count": count,
        "known": known,
        "title": harmless(letter.title),
        "because": harmless(letter.error, _BECAUSE),
        "later": say("queue_later", step=later) if later else "",
    }
    return Message(
        key=f"letters/{letter.state.value}/{count}/{to_text(began)}",
        to=("coo", "operator"),
        level=Level.CRITICAL if exhausted else Level.WARNING,
        title=say(f"{kind}_title", count=count),
        body=say(kind, **facts),
        owner=NOBODY,
        creator=NOBODY,
    )


def _key_of(letter: DeadLetter) -> str:
    """How the keys of what is told of it begin."""
    return f"letter/{letter.id}/"


def _told(letter: DeadLetter) -> Message:
    kind = "poison" if letter.poison else "letter_exhausted" if letter.state is LetterState.EXHAUSTED else "letter"
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
        key=f"{_key_of(letter)}{letter.state.value}",
        to=("coo", "operator"),
        level=Level.CRITICAL if letter.state is LetterState.EXHAUSTED else Level.WARNING,
        title=say(f"{kind}_title", title=title),
        body=say(kind, **facts),
        owner=Owner(OwnerKind.AGENT, letter.agent),
        creator=NOBODY,
        task=letter.task,
    )
