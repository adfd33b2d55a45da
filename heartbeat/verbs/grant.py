"""More rounds for a task, by a person's word (rule C2): on record, and as writes that resume what heartbeat paused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from heartbeat.action import Expectation, Operation, Voice, Write
from heartbeat.actions import entry_of
from heartbeat.entries import give_up
from heartbeat.memory import Rounds
from heartbeat.notices import harmless, say
from heartbeat.plan import Planned
from heartbeat.plural import counted
from heartbeat.policy import Policy
from heartbeat.rules import rounds
from heartbeat.store.port import Entry, EntryKind, EntryState, LogEntry, Store
from heartbeat.task import Ref, Status, Task
from heartbeat.written import decode_write


@dataclass(frozen=True, slots=True)
class Grant:
    """What was put on record. `writes` stand in the outbox and resume the task. `dropped` counts pauses that had not
    been carried out; `blocked` are the names of items that are blocked for another reason, and stay so."""

    rounds: Rounds
    limit: int
    writes: tuple[Write, ...] = ()
    dropped: int = 0
    blocked: tuple[str, ...] = ()


def grant(store: Store, task: Task, policy: Policy, *, more: int, by: str, why: str, now: datetime) -> Grant:
    """Grants `more` rounds in one transaction. Raises ValueError for less than one, and StateError.

    A pause that is queued is dropped; one that was carried out is taken back by a write, to be carried out afterwards.
    What a person blocked, or the ladder, stays blocked.
    """
    with store.transaction():
        known = store.rounds()
        paused = rounds.together(task, known).paused_at is not None
        rows = rounds.extended(task, known, more, policy)
        store.put_rounds(rows)
        after = rounds.together(task, {**known, **{row.ref: row for row in rows}})
        limit = rounds.limit_of(after, policy)
        pauses = _pauses(store, (*task.refs, *task.absent)) if paused else {}
        dropped = _drop_queued(store, pauses.values(), f"{by} granted {counted(more, 'more round')}", now)
        text = say("rounds_extend", by=harmless(by), more=more, used=after.used, limit=limit, why=harmless(why, 200))
        writes = tuple(_resuming(task, pauses, f"rounds/extend/{after.extra}", text))
        store.enqueue(entry_of(Planned(write, task.key), task.owner, now) for write in writes)
        message = f"{task.title or task.key}: {counted(more, 'more round')} by {by}, {after.used} of {limit} used"
        details = {"by": by, "more": more, "limit": limit, "why": why}
        store.add_log([LogEntry(now, "rounds-extended", message, task.owner.id, task.key, "", details)])
    resumed = {write.ref for write in writes}
    blocked = tuple(item.key for item in task.items if item.status is Status.BLOCKED and item.ref not in resumed)
    return Grant(after, limit, writes, dropped, blocked)


def _pauses(store: Store, refs: Iterable[Ref]) -> dict[Ref, Entry]:
    """The newest write by which each ref was to be paused when its rounds were used up."""
    wanted, found = frozenset(refs), {}
    for entry in store.entries(kind=EntryKind.WRITE):
        if entry.key.startswith(rounds.PAUSES):
            write = _write_of(entry)
            if write is not None and write.operation is Operation.BLOCK and write.ref in wanted:
                found[write.ref] = entry
    return found


def _write_of(entry: Entry) -> Write | None:
    """None for a record that cannot be read; whoever carries writes out tells of it."""
    try:
        return decode_write(entry.key, entry.payload["write"])
    except (KeyError, TypeError, ValueError):
        return None


def _drop_queued(store: Store, pauses: Iterable[Entry], said: str, now: datetime) -> int:
    """A pause that is queued still would stop the task right after it was resumed."""
    queued = [entry for entry in pauses if entry.state is EntryState.PENDING]
    for entry in queued:
        give_up(store, entry, said, now)
    return len(queued)


def _resuming(task: Task, pauses: Mapping[Ref, Entry], key: str, text: str) -> Iterator[Write]:
    """One unblocking for each ref that was paused and is blocked, or that cannot be seen now.

    Just before the write the item is read anew, and must be blocked then.
    """
    seen = {item.ref: item for item in task.items if item.ref not in task.stale}
    for ref in (*task.refs, *task.absent):
        pause, item = pauses.get(ref), seen.get(ref)
        if pause is None or pause.state not in (EntryState.DONE, EntryState.CLAIMED):
            continue
        if item is not None and item.status is not Status.BLOCKED:
            continue
        yield Write(
            key=f"{key}/{ref}",
            ref=ref,
            operation=Operation.UNBLOCK,
            text=text,
            status=Status.TODO,
            voice=Voice.AGENT,
            expect=Expectation(statuses=frozenset({Status.BLOCKED})),
        )
