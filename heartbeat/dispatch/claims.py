"""Taking a task's items for an agent before its turn is asked for, and giving them back where it never began (rule X5).

Both go through the outbox. A claim is carried out here and now or not at all: nobody may claim later, when the turn is
long forgotten. What is given back is carried out as often as it takes, unless somebody works there meanwhile.

An attempt that ends without a turn may be followed by the next one at once, which goes on with what was claimed. So its
giving back is put on record with its end, and waits: the next attempt takes it over, or whoever has the agent's lock
carries it out, be it the same process or, where that has died, the agent's next beat or the daemon's next look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from heartbeat.action import Expectation, Operation, Write
from heartbeat.actions import HINDERED, carry_out, entry_of
from heartbeat.attempt import Attempt
from heartbeat.dispatch.context import Context
from heartbeat.plan import Planned
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, Store
from heartbeat.systems.writing import Writer
from heartbeat.task import Item, Owner, OwnerKind, Ref, Status, Task

CLAIM = "dispatch:claim:"
"""How the keys of claims begin; nobody but the round that made them carries them out."""

GIVE_BACK = "dispatch:back:"
"""How the keys begin of what gives a claim back."""

_WAITS = timedelta(hours=1)
"""So long what an attempt without a turn gives back waits for somebody who has its agent's lock; then any beat does it.
Nobody needs that long from one attempt to the next."""
_TAKEN_OVER = "the next attempt went on with it"

_TO_BE_CLAIMED = frozenset({Status.TODO, Status.IN_PROGRESS})
_RUNTIMES = 2
"""A claim lasts so many times the runtime limit (rule X5 asks for once): while there is progress the limit is extended
(rule T4), and the board must not take the card away before our own ladder would."""
_TURN = 20.0
"""Seconds to wait for another process that carries writes out."""
_PAUSE = 0.1
_LEAST_TIME = 1.0
"""With less time than that no write is begun."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of claiming. `conflict` says that somebody else was quicker, `error` that a system could not be asked;
    both are empty where every item is the agent's."""

    conflict: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        return not (self.conflict or self.error)


def is_claim(entry: Entry) -> bool:
    """Whether it is one that only its own round may carry out."""
    return entry.key.startswith(CLAIM)


def ref_of(entry: Entry) -> Ref:
    """What a write in the outbox is about."""
    source, id_ = entry.payload["write"]["ref"]
    return Ref(source, id_)


def claimable(task: Task, writers: dict[str, Writer | None]) -> tuple[Item, ...]:
    """The task's items that can be taken for its agent: open ones, of sources that can be written to."""
    return tuple(
        item for item in task.items if item.status in _TO_BE_CLAIMED and _can_claim(writers.get(item.ref.source))
    )


def _can_claim(writer: Writer | None) -> bool:
    return writer is not None and writer.can(Operation.CLAIM)


def before(task: Task, chain: Sequence[Attempt] = ()) -> tuple[tuple[Ref, Status], ...]:
    """What giving back restores: where work had begun already, it goes back to todo, since it holds the agent's only
    slot (rule X1). What the chain so far has taken is restored as it says, also where it is no record of the task any
    more."""
    own = {item.ref: Status.TODO for item in task.items if item.status in _TO_BE_CLAIMED}
    return tuple((own | dict(chain[-1].before if chain else ())).items())


def take(context: Context, attempt: Attempt, items: Sequence[Item]) -> Taken:
    """Claims every item, each on a fresh look: still where it was, and no run on it (rules L6, T7)."""
    limit = context.roster.agents[attempt.agent].policy.runtime_limit
    owner = Owner(OwnerKind.AGENT, attempt.agent)
    now = context.clock()
    planned = [
        Planned(
            Write(
                key=f"{CLAIM}{attempt.id}:{item.ref}",
                ref=item.ref,
                operation=Operation.CLAIM,
                agent=attempt.agent,
                seconds=_RUNTIMES * limit / timedelta(seconds=1),
                expect=Expectation(statuses=frozenset({item.status}), owner=item.owner, no_run=True),
            ),
            attempt.task,
        )
        for item in items
    ]
    keys = context.store.enqueue([entry_of(each, owner, now) for each in planned])
    entries = carry(context, keys)
    if all(entry.state is EntryState.DONE for entry in entries):
        return Taken()
    drop(context, attempt, "the claim was not carried out in its own beat")
    conflicts = [entry.error for entry in entries if entry.state is EntryState.CONFLICT]
    if conflicts:
        return Taken(conflict="; ".join(conflicts))
    late = "this beat's time is over" if context.deadline.left() < _LEAST_TIME else "another process is writing"
    return Taken(error="; ".join(filter(None, (entry.error for entry in entries))) or late)


def carry(context: Context, keys: Iterable[str]) -> tuple[Entry, ...]:
    """Carries these entries out, waiting for whoever is writing; as they stand afterwards."""
    wanted = frozenset(keys)
    patient = context.deadline.at_most(_TURN)
    while wanted:
        carried = carry_out(
            context.store,
            context.roster,
            context.environment,
            context.locks,
            clock=context.clock,
            deadline=context.deadline,
            build=context.writer,
            only=wanted,
        )
        if not carried.busy or patient.left() < _PAUSE:
            break
        context.pause(_PAUSE)
    return tuple(entry for entry in map(context.store.entry, sorted(wanted)) if entry is not None)


_RETRIABLE = UNFINISHED | {EntryState.DEAD}


def drop(context: Context, attempt: Attempt, why: str) -> None:
    """Takes back the claims of an attempt that were not carried out, of which nobody knows, or that were given up: what
    has no beat any more is not to be tried again by hand either."""
    for ref in attempt.refs:
        entry = context.store.entry(f"{CLAIM}{attempt.id}:{ref}")
        if entry is not None and entry.state in _RETRIABLE:
            context.store.settle_entry(entry.key, EntryState.DROPPED, context.clock(), error=why)


def back_entries(context: Context, attempt: Attempt, *, waits: bool = False) -> tuple[Entry, ...]:
    """What gives an attempt's task back: the claim goes, the items are as they were (rule X5), unless a run is active.
    With `waits` the next attempt may take it over.

    Called where the attempt ends, inside the transaction that says so.
    """
    owner, now = Owner(OwnerKind.AGENT, attempt.agent), context.clock()
    planned = [
        Planned(
            Write(
                key=f"{GIVE_BACK}{attempt.id}:{ref}",
                ref=ref,
                operation=Operation.MOVE,
                status=status,
                agent=attempt.agent,
                expect=Expectation(statuses=frozenset({Status.IN_PROGRESS}), owner=owner, no_run=True),
            ),
            attempt.task,
        )
        for ref, status in attempt.before
        if _may_have(context, attempt, ref)
    ]
    entries = (entry_of(each, owner, now) for each in planned)
    return tuple(replace(entry, due_at=now + _WAITS) if waits else entry for entry in entries)


def _may_have(context: Context, attempt: Attempt, ref: Ref) -> bool:
    """Whether an attempt, or an earlier one of its chain, may have taken an item. A claim that was refused, or that was
    never asked for, took nothing: whoever has the item then has it by himself (rule L6), unless it went on with what an
    earlier attempt had taken."""
    store = context.store
    claim = store.entry(f"{CLAIM}{attempt.id}:{ref}")
    if claim is None or (claim.state is not EntryState.CONFLICT and claim.attempts > 0):
        return True
    earlier = [each for each in store.attempts(refs=[ref]) if each.number < attempt.number]
    before = store.entry(f"{GIVE_BACK}{earlier[-1].id}:{ref}") if earlier else None
    return before is not None and before.error == _TAKEN_OVER


def returned(context: Context, attempt: Attempt) -> tuple[Ref, ...]:
    """What of an attempt's task is on record to be given back, whoever comes next."""
    known = (context.store.entry(f"{GIVE_BACK}{attempt.id}:{ref}") for ref in attempt.refs)
    return tuple(ref_of(entry) for entry in known if entry is not None and not may_be_taken_over(entry))


def may_be_taken_over(entry: Entry) -> bool:
    """Whether it waits to give back what the next attempt may go on with: nothing of it was carried out yet."""
    waits = entry.due_at > entry.created_at and entry.state is EntryState.PENDING
    return entry.key.startswith(GIVE_BACK) and waits and not entry.attempts


def waiting_for_the_next(
    context: Context, refs: Collection[Ref], last: Attempt | None = None
) -> tuple[Entry, ...] | None:
    """What earlier attempts on these would give back, for the next one to take over; None where it cannot go on with
    all of that, since some of it is being given back just now. With `last` nothing is claimed anew, so that nothing of
    that attempt may have been given back either."""
    store = context.store
    if last is not None and any(_is_back(store, last, ref) for ref in last.refs):
        return None
    going = tuple(entry for entry in giving_back(store) if ref_of(entry) in refs)
    return going if all(map(may_be_taken_over, going)) else None


def take_over(context: Context, entries: Iterable[Entry]) -> None:
    """Keeps for an attempt what earlier ones would have given back. Called inside the transaction that adds it."""
    for entry in entries:
        context.store.settle_entry(entry.key, EntryState.DROPPED, context.clock(), error=_TAKEN_OVER)


def _is_back(store: Store, attempt: Attempt, ref: Ref) -> bool:
    entry = store.entry(f"{GIVE_BACK}{attempt.id}:{ref}")
    return entry is not None and entry.state is EntryState.DONE


def giving_back(store: Store) -> list[Entry]:
    """What is on record to be given back, and is not."""
    entries = store.entries(kind=EntryKind.WRITE, states=UNFINISHED)
    return [entry for entry in entries if entry.key.startswith(GIVE_BACK)]


def left_behind(store: Store) -> frozenset[str]:
    """Agents of whose attempts something waits to be given back."""
    return frozenset(_agent_of(entry) for entry in giving_back(store) if may_be_taken_over(entry))


def _agent_of(entry: Entry) -> str:
    return str(entry.payload["owner"][1])


def finish_giving_back(context: Context, held: Collection[str] = ()) -> None:
    """Carries out what gives claims back and is on record: of attempts that have ended just now, too. `held` are agents
    whose locks the caller has, and for whom no attempt follows: nothing of theirs waits any longer."""
    _take_up_hindered(context)
    backs = giving_back(context.store)
    _release(context, (entry for entry in backs if may_be_taken_over(entry) and _agent_of(entry) in held))
    carry(context, (entry.key for entry in backs))


def _release(context: Context, entries: Iterable[Entry]) -> None:
    """They are due now."""
    now = context.clock()
    with context.store.transaction():
        for entry in entries:
            if entry.due_at > now:
                context.store.settle_entry(entry.key, EntryState.PENDING, now, due_at=now)


def _take_up_hindered(context: Context) -> None:
    """What was not given back since a run was active is tried again, for as long as no later attempt has the item."""
    now, store = context.clock(), context.store
    with store.transaction():
        for entry in store.entries(kind=EntryKind.WRITE, states=frozenset({EntryState.CONFLICT})):
            if entry.key.startswith(GIVE_BACK) and entry.result == HINDERED:
                last = store.attempts(refs=[ref_of(entry)], limit=1)
                if last and entry.key.startswith(f"{GIVE_BACK}{last[0].id}:"):
                    store.settle_entry(entry.key, EntryState.PENDING, now, error=entry.error, due_at=now)


def give_back(context: Context, attempt: Attempt) -> tuple[Entry, ...]:
    """Puts it on record, and does it as far as it can be done now; the next beat goes on with the rest."""
    drop(context, attempt, "the turn was not started")
    entries = back_entries(context, attempt)
    context.store.enqueue(entries)
    known = [entry for entry in (context.store.entry(each.key) for each in entries) if entry is not None]
    _release(context, filter(may_be_taken_over, known))
    return carry(context, (entry.key for entry in entries))
