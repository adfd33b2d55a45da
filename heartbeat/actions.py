"""Carrying writes out through the outbox: at least once, visible once (rules L4, L6, S5, invariant I4).

Every write is on record before it happens. One process at a time carries writes out (a kernel lock, freed by death), so
that a write found `claimed` belongs to a process that died: whether it took effect is looked for, by its marker and by
the state of the item, before anything is repeated. Before each write its item is read anew and its precondition judged
again; what does not hold any more is a conflict, and the rules decide again in the next beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from heartbeat.action import Expectation, Level, Message, Operation, Voice, Write
from heartbeat.deadline import Deadline
from heartbeat.landing import assumed_own, expected_of, has_landed, shows
from heartbeat.memory import Incident, Step, StepOutcome
from heartbeat.notices import harmless, say
from heartbeat.notify.roles import addressed
from heartbeat.plan import Planned
from heartbeat.plural import counted
from heartbeat.roster.model import Roster
from heartbeat.rules.precondition import objections
from heartbeat.rules.rounds import PAUSES
from heartbeat.store.fencing import fenced_entry
from heartbeat.store.locks import Fenced, lease, try_exclusive
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Store
from heartbeat.systems.base import TransportError
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Writer
from heartbeat.task import NOBODY, Owner, OwnerKind, Ref
from heartbeat.written import decode_write, encode_write

_FIRST_RETRY = timedelta(minutes=1)
_LONGEST_RETRY = timedelta(hours=1)
TRIES = 8
"""After so many attempts a write is given up and told (rule L4)."""

BOARD = "workboard"
"""Where a card is made for work that stands elsewhere (rule L2)."""

_LEAST_TIME = 1.0
"""Seconds that must be left for another write to be begun."""

WriterBuilder = Callable[[str, Roster, Mapping[str, str]], "Writer | None"]


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of the writes of one tick."""

    done: tuple[Entry, ...] = ()
    conflicts: tuple[Entry, ...] = ()
    later: tuple[Entry, ...] = ()
    dead: tuple[Entry, ...] = ()
    busy: str = ""
    """Who carries writes out right now, where somebody else does."""
    fenced: tuple[Fenced, ...] = ()
    """Who did so beyond its time, and was ended (rule B1)."""


@dataclass(slots=True)
class _Sorted:
    by_state: dict[EntryState, list[Entry]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.by_state.setdefault(entry.state, []).append(entry)

    def of(self, state: EntryState) -> tuple[Entry, ...]:
        return tuple(self.by_state.get(state, ()))


def entry_of(planned: Planned, owner: Owner, now: datetime, then: Iterable[Entry] = ()) -> Entry:
    """A planned write as it stands in the outbox; `then` are messages that are sent once its step was carried out."""
    payload = {
        "write": encode_write(planned.write),
        "owner": [owner.kind.value, owner.id],
        "step": planned.step.value if planned.step else "",
        "after": planned.after,
        "then": [[entry.kind.value, entry.key, entry.target, dict(entry.payload)] for entry in then],
    }
    return Entry(
        key=planned.write.key,
        kind=EntryKind.WRITE,
        target=planned.write.ref.source,
        payload=payload,
        created_at=now,
        due_at=now,
        task=planned.task,
        incident=planned.incident,
    )


def carry_out(
    store: Store,
    roster: Roster,
    environment: Mapping[str, str],
    locks: Path,
    *,
    clock: Callable[[], datetime],
    deadline: Deadline,
    build: WriterBuilder,
    only: frozenset[str] | None = None,
    allowed: Callable[[Entry], bool] = lambda entry: True,
    withdrawn: Callable[[Entry], str] = lambda entry: "",
) -> Carried:
    """Every write that is due, oldest first; with `only`, those keys. `allowed` holds back what a pause forbids, and
    `withdrawn` gives the reason why a write that was planned is not wanted any more.

    What does not fit into the deadline stays for the next beat. Raises StateError.
    """
    with try_exclusive(locks / "_outbox.lock", purpose="carrying out writes", until=lease(deadline)) as lock:
        fenced = (lock.fenced,) if lock.fenced else ()
        if fenced:
            store.add_log(map(fenced_entry, fenced))
        if not lock.held:
            return Carried(busy=lock.told_of_holder, fenced=fenced)
        hand = _Hand(store, roster, environment, clock, deadline, build)
        sorted_ = _Sorted()
        for entry in store.entries(kind=EntryKind.WRITE, states=UNFINISHED):
            if not entry.is_due(clock()) or (only is not None and entry.key not in only) or not allowed(entry):
                continue
            if deadline.left() < _LEAST_TIME:
                break
            if hand.comes_later(entry):
                continue
            reason = withdrawn(entry)
            sorted_.add(hand.withdraw(entry, reason) if reason else hand.carry(entry))
        return Carried(
            sorted_.of(EntryState.DONE),
            sorted_.of(EntryState.CONFLICT),
            sorted_.of(EntryState.PENDING),
            sorted_.of(EntryState.DEAD),
            fenced=fenced,
        )


class _Hand:
    """Carries out one write after another."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        environment: Mapping[str, str],
        clock: Callable[[], datetime],
        deadline: Deadline,
        build: WriterBuilder,
    ) -> None:
        self._store = store
        self._roster = roster
        self._environment = environment
        self._clock = clock
        self._deadline = deadline
        self._build = build
        self._writers: dict[str, Writer | None] = {}

    def comes_later(self, entry: Entry) -> bool:
        """Whether another write has to be done first, and is not yet."""
        first = self._store.entry(str(entry.payload.get("after") or ""))
        return first is not None and first.state in UNFINISHED

    def withdraw(self, entry: Entry, reason: str) -> Entry:
        """It is not carried out any more; the rules decide again."""
        return self._settle(entry, EntryState.CONFLICT, error=reason)

    def carry(self, entry: Entry) -> Entry:
        before = self._store.claim_entry(entry.key, self._clock())
        if before is None:
            return replace(entry, state=EntryState.DONE)
        attempts = before.attempts + 1
        first = self._store.entry(str(entry.payload.get("after") or ""))
        if first is not None and first.state is not EntryState.DONE:
            return self._settle(entry, EntryState.CONFLICT, error=f"{first.key} came to nothing: {first.error}")
        try:
            write = decode_write(entry.key, entry.payload["write"])
            owner = Owner(OwnerKind(entry.payload["owner"][0]), entry.payload["owner"][1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            return self._settle(entry, EntryState.DEAD, error=f"its record cannot be read ({error})")
        try:
            result = self._attempt(write, owner, repeated=before.attempts > 0)
        except _RunError as error:
            return self._settle(entry, EntryState.CONFLICT, error=str(error), result=HINDERED)
        except ConflictError as error:
            return self._settle(entry, EntryState.CONFLICT, error=str(error))
        except UnsupportedError as error:
            return self._settle(entry, EntryState.DEAD, error=str(error))
        except TransportError as error:
            if attempts >= TRIES:
                return self._settle(entry, EntryState.DEAD, error=str(error))
            return self._settle(entry, EntryState.PENDING, error=str(error), due_at=self._later(attempts, error))
        return self._settle(entry, EntryState.DONE, result=result)

    def _attempt(self, write: Write, owner: Owner, *, repeated: bool) -> str:
        writer = self._writer(BOARD if write.operation is Operation.CREATE else write.ref.source)
        if writer is None or not writer.can(write.operation):
            raise UnsupportedError(f"{write.ref.source} cannot {write.operation.value} through this transport")
        if write.operation is Operation.CREATE:
            # What is made is not there yet, and its idempotency key keeps it from being made twice (contract 1.3).
            return writer.apply(write, Look(None), self._deadline, self._clock()).note or "done"
        look = writer.look(write.ref, owner, self._deadline, self._clock())
        if look.item is None:
            raise ConflictError(f"{write.ref} is not there any more")
        landed = repeated and has_landed(write, look)
        expect = expected_of(write, look) if repeated else write.expect
        judged = partial(
            objections,
            item=look.item,
            evidence=look.evidence,
            claimant=look.claimant,
            active=look.active,
            own=self._store.own(),
        )
        changed, runs = judged(replace(expect, no_run=False)), judged(Expectation(no_run=expect.no_run))
        if landed and (changed or runs) and shows(write, look.item):
            self._own(write, assumed_own(write, look))
            return "found: an earlier attempt had taken effect"
        if changed:
            raise ConflictError("; ".join((*changed, *runs)))
        if runs:
            raise _RunError("; ".join(runs))
        written = writer.apply(write, look, self._deadline, self._clock())
        # The writer tells only what it did now; what the attempt that nobody answered for had done is ours as well.
        self._own(write, (*written.evidence_ids, *(assumed_own(write, look) if repeated else ())))
        return written.note or "done"

    def _own(self, write: Write, ids: Iterable[str]) -> None:
        """Writes of the rules never count as anybody's sign of life; an agent's own, through us, do (rule T2)."""
        ids = tuple(ids)
        if write.voice is Voice.RULE and ids:
            self._store.note_own(write.ref, ids, self._clock())

    def _writer(self, source: str) -> Writer | None:
        if source not in self._writers:
            self._writers[source] = (
                self._build(source, self._roster, self._environment) if source in self._roster.sources else None
            )
        return self._writers[source]

    def _later(self, attempts: int, error: TransportError) -> datetime:
        wait: timedelta = min(_FIRST_RETRY * 2 ** (attempts - 1), _LONGEST_RETRY)
        floor = timedelta(seconds=error.retry_after or 0.0)
        return self._clock() + max(wait, min(floor, _LONGEST_RETRY))

    def _settle(
        self, entry: Entry, state: EntryState, *, error: str = "", result: str = "", due_at: datetime | None = None
    ) -> Entry:
        now = self._clock()
        with self._store.transaction():
            self._store.settle_entry(entry.key, state, now, error=error, result=result, due_at=due_at)
            ended = replace(entry, state=state, result=result)
            if state is not EntryState.PENDING and settle_step(self._store, ended, error):
                self._store.enqueue(_then(entry, now))
            if state is EntryState.DONE and entry.key.startswith(PAUSES):
                ref = Ref(*entry.payload["write"]["ref"])
                known = self._store.rounds()
                self._store.put_rounds([replace(known[ref], paused_at=now)] if ref in known else [])
                used = counted(known[ref].used, "round is", "rounds are") if ref in known else "the rounds are"
                self._store.add_log((LogEntry(now, "rounds-exhausted", f"{used} used up", "", entry.task),))
            if state is EntryState.DEAD:
                self._store.enqueue(_undone(entry, error, self._roster, now))
            word = {EntryState.PENDING: "retry"}.get(state, state.value)
            operation = str(entry.payload.get("write", {}).get("operation", ""))
            details = {"key": entry.key, "operation": operation, "target": entry.target}
            message = f"{operation} on {entry.target}: {error or result}"
            _, whose = entry.payload.get("owner") or ("", "")
            whose = whose if whose in self._roster.agents else ""
            self._store.add_log((LogEntry(now, f"write-{word}", message, whose, entry.task, entry.incident, details),))
        return replace(entry, state=state, error=error, result=result)


class _RunError(ConflictError):
    """Nothing but a run stands against it: a run that is active, or of which nothing can be known (rule T7)."""


HINDERED = "hindered by a run"
"""What came of a write that a run kept from happening."""

_OUTCOMES = {
    EntryState.DONE: StepOutcome.DONE,
    EntryState.CONFLICT: StepOutcome.CONFLICT,
    EntryState.DEAD: StepOutcome.FAILED,
    EntryState.DROPPED: StepOutcome.FAILED,
}
_WORST_FIRST = (
    StepOutcome.CONFLICT,
    StepOutcome.HINDERED,
    StepOutcome.FAILED,
    StepOutcome.DUE,
    StepOutcome.DONE,
)


def _outcome(entry: Entry) -> StepOutcome:
    if entry.state in UNFINISHED:
        return StepOutcome.DUE
    return StepOutcome.HINDERED if entry.result == HINDERED else _OUTCOMES[entry.state]


def settle_step(store: Store, entry: Entry, error: str) -> bool:
    """Puts how a write ended onto its incident's step; a step of several writes is as good as its worst (rule L5).

    Whether that was the last of the step's writes, and any of them was carried out: then it is told.
    """
    step, outcome = entry.payload.get("step"), _outcome(entry)
    if not entry.incident or not step:
        return outcome is StepOutcome.DONE
    siblings = [
        _outcome(other)
        for other in store.entries(kind=EntryKind.WRITE, incident=entry.incident)
        if other.payload.get("step") == step and other.key != entry.key
    ]
    outcomes = (outcome, *siblings)
    incident = next((each for each in store.incidents() if each.id == entry.incident), None)
    taken = incident.taken(Step(step)) if incident is not None else None
    if incident is not None and taken is not None:
        worst = min(outcomes, key=_WORST_FIRST.index)
        store.put_incident(_with_outcome(incident, Step(step), worst, error or taken.detail))
    return StepOutcome.DUE not in outcomes and StepOutcome.DONE in outcomes


def _then(entry: Entry, now: datetime) -> Iterator[Entry]:
    """The messages that were waiting for the step."""
    for kind, key, target, payload in entry.payload.get("then", ()):
        yield Entry(key, EntryKind(kind), target, payload, now, now, task=entry.task, incident=entry.incident)


def _undone(entry: Entry, error: str, roster: Roster, now: datetime) -> tuple[Entry, ...]:
    """Nothing that was given up stays unsaid."""
    write = entry.payload.get("write", {})
    facts = {
        "title": harmless(str(write.get("title") or entry.task)),
        "name": harmless(entry.task),
        "operation": write.get("operation", ""),
        "attempts": entry.attempts,
        "because": harmless(error, 300),
    }
    message = Message(
        key=f"undone/{entry.key}",
        to=("coo", "operator"),
        level=Level.WARNING,
        title=say("undone_title", **facts),
        body=say("undone", **facts),
        owner=NOBODY,
        creator=NOBODY,
        task=entry.task,
        incident=entry.incident,
    )
    return addressed(message, roster, now)


def _with_outcome(incident: Incident, step: Step, outcome: StepOutcome, detail: str) -> Incident:
    steps = tuple(
        replace(taken, outcome=outcome, detail=detail) if taken.step is step else taken for taken in incident.steps
    )
    return replace(incident, steps=steps)
