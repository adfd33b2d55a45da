"""The budget of agent turns that a task may use in its life (rules C1 to C3), and how many of them led nowhere (T4).

Pure. A turn is only counted where one was seen: a beat that waited, was put off, met a rate limit or did not start an
agent leaves no turn behind, and so uses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from heartbeat.attempt import Attempt
from heartbeat.instants import to_text
from heartbeat.memory import Clock, Mark, Rounds
from heartbeat.policy import Charter, Policy
from heartbeat.task import Evidence, EvidenceKind, OwnerKind, Presence, Ref, Status, Task

_LIMITED = frozenset({Status.TODO, Status.IN_PROGRESS})
"""Statuses in which a turn may be begun on a task."""

TURNS = frozenset({EvidenceKind.RUN, EvidenceKind.ATTEMPT})
"""Evidence that an agent had a turn on the item itself (rule C1)."""


PAUSES = "rounds:exhausted:"
"""How the keys begin of the steps that pause a task (see Verdict.key)."""


class Spend(StrEnum):
    """How much of its budget a task has used (rule C2)."""

    WITHIN = "within"
    WARN = "warn"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A task whose budget asks for something now: a warning (WARN), or a pause (EXHAUSTED), each told once.

    `task` is its key. `hindrances` are plain sentences why it may not be paused at this moment; a pause with any is
    due again at the next look, and until then people can only be told. `key` stays the same for as long as one warning
    or one pause is due.
    """

    task: str
    spend: Spend
    rounds: Rounds
    limit: int
    hindrances: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        again = f":{to_text(self.rounds.paused_at)}" if self.rounds.paused_at else ""
        return f"rounds:{self.spend.value}:{self.task}:{self.limit}{again}"


def turn_of(
    task: Task,
    evidence: Iterable[Evidence],
    presence: Sequence[Presence],
    now: datetime,
    *,
    clocks: Mapping[Ref, Clock] | None = None,
    own: frozenset[tuple[Ref, str]] = frozenset(),
) -> datetime | None:
    """The newest agent turn on one task; `turns` does the same for many at the cost of one look at the evidence."""
    return turns((task,), evidence, presence, now, clocks=clocks, own=own).get(task.key)


def turns(
    tasks: Iterable[Task],
    evidence: Iterable[Evidence],
    presence: Sequence[Presence],
    now: datetime,
    *,
    clocks: Mapping[Ref, Clock] | None = None,
    own: frozenset[tuple[Ref, str]] = frozenset(),
) -> dict[str, datetime]:
    """When each task (by key) last had an agent turn, never after `now`; tasks without a turn are left out (rule C1).

    A turn is a run or an attempt on the item, an agent that was at it, or the owner's session: that counts from when
    the task's epoch began (`clocks`, else the item's own word), since what came before was other work. A turn that
    goes on is one turn, however many slots it lasts; what a source dates ahead of us counts when that time has come.
    """
    seen: dict[Ref, datetime] = {}
    for event in evidence:
        if event.kind in TURNS and event.at <= now and not (event.own or (event.ref, event.id) in own):
            seen[event.ref] = max(event.at, seen.get(event.ref, event.at))
    sessions: dict[str, datetime] = {}
    for turn in presence:
        at = turn.at
        if at is None or at > now:
            continue  # one that is not told when: a cron job's or a monitor's, which is no turn on a task
        if turn.ref is not None:
            seen[turn.ref] = max(at, seen.get(turn.ref, at))
        else:
            sessions[turn.agent] = max(at, sessions.get(turn.agent, at))
    found: dict[str, datetime] = {}
    for task in tasks:
        instants = [seen[ref] for ref in task.refs if ref in seen]
        session = sessions.get(task.owner.id) if task.owner.kind is OwnerKind.AGENT else None
        began = epoch_began(task, clocks or {})
        if session is not None and began is not None and began <= session:
            instants.append(session)
        if instants:
            found[task.key] = max(instants)
    return found


def epoch_began(task: Task, clocks: Mapping[Ref, Clock]) -> datetime | None:
    """When a task's epoch began: the last of its items to come in progress, by their clocks or their own word (T5)."""
    working = [item for item in task.items if item.status is Status.IN_PROGRESS]
    begins = [clocks[item.ref].began_at if item.ref in clocks else item.started_at for item in working]
    return _latest(begins)


def together(task: Task, known: Mapping[Ref, Rounds]) -> Rounds:
    """What is remembered of a task over all its refs, under its canonical one: the highest of everything (rule C1).

    `idle` is that of the row which saw the newest progress.
    """
    return _joined(task.ref, task.refs, known)


def _joined(ref: Ref, refs: Iterable[Ref], known: Mapping[Ref, Rounds]) -> Rounds:
    rows = [known[each] for each in refs if each in known]
    if not rows:
        return Rounds(ref)
    progress_at = _latest(row.progress_at for row in rows)
    return Rounds(
        ref=ref,
        used=max(row.used for row in rows),
        extra=max(row.extra for row in rows),
        idle=max(row.idle for row in rows if row.progress_at == progress_at),
        progress_at=progress_at,
        turn_at=_latest(row.turn_at for row in rows),
        slot=_latest(row.slot for row in rows),
        warned_at=_latest(row.warned_at for row in rows),
        paused_at=_latest(row.paused_at for row in rows),
    )


def counted(
    task: Task,
    known: Mapping[Ref, Rounds],
    *,
    turn_at: datetime | None,
    slot: datetime | None,
    progress: Mark | None,
    now: datetime,
    began_at: datetime | None = None,
) -> tuple[Rounds, ...]:
    """The rows that one look changes: the same count on every ref of the task, and nothing where nothing is new.

    A turn that is newer than the last one uses a round, at most one in the owner's `slot` (None: the owner has no
    slots, and uses none), and only while an agent's task is in progress. Progress newer than the last sets `idle` back,
    and so does a new epoch that began at `began_at`, since its worker did not cause the old one's idle rounds (T4, T5).
    What is dated after `now` has not happened yet, and what was counted while our clock ran ahead bars nothing.
    """
    if task.status is not Status.IN_PROGRESS or task.owner.kind is OwnerKind.PERSON:
        return ()
    before = together(task, known)
    progress_at = _by(now, before.progress_at)
    progressed = _newer(_by(now, progress.at if progress else None), progress_at)
    begun = _newer(_by(now, began_at), _latest((progress_at, progressed)))
    turn = _newer(_by(now, turn_at), _by(now, before.turn_at))
    new_slot = _newer(slot, _by(now, before.slot)) if turn else None
    if new_slot is None and not any(ref in known for ref in task.refs):
        return ()
    idle = 0 if progressed or begun else before.idle
    if new_slot is not None:
        idle = 0 if progressed and not begun else idle + 1
    after = replace(
        before,
        used=before.used + (new_slot is not None),
        idle=idle,
        progress_at=_latest((progress_at, progressed, begun)),
        turn_at=turn or before.turn_at,
        slot=new_slot or before.slot,
    )
    return _changed(task.refs, known, after)


def dispatched(
    attempt: Attempt, known: Mapping[Ref, Rounds], *, slot: datetime | None, now: datetime
) -> tuple[Rounds, ...]:
    """The rows that a turn changes which heartbeat began, and which ended by `now` (rule C1).

    A look counts what it sees of a task in progress; a turn may begin and end between two looks, and leave its task
    where it was. It uses a round in the owner's `slot` in which it began, at most one in a slot, unless a look has
    counted it already. What its slot has no room for is left to the next look.
    """
    began = attempt.spawned_at or attempt.accepted_at
    if began is None or not attempt.refs:
        return ()
    before = _joined(attempt.refs[0], attempt.refs, known)
    counted_at = _by(now, before.turn_at)
    if counted_at is not None and began < counted_at:
        return _changed(attempt.refs, known, replace(before, turn_at=now))
    new_slot = _newer(slot, _by(now, before.slot))
    if new_slot is None:
        return ()
    after = replace(before, used=before.used + 1, idle=before.idle + 1, turn_at=now, slot=new_slot)
    return _changed(attempt.refs, known, after)


def reported(
    task: Task,
    known: Mapping[Ref, Rounds],
    *,
    slot: datetime | None,
    progress: Mark | None,
    now: datetime,
    began_at: datetime | None = None,
) -> tuple[Rounds, ...]:
    """The rows that an agent's own word changes (`heartbeat round TASK`): a turn at this instant, by the same rules."""
    return counted(task, known, turn_at=now, slot=slot, progress=progress, now=now, began_at=began_at)


def limit_of(rounds: Rounds, policy: Policy) -> int:
    """How many rounds the task may use in its life: the policy's, and what was granted since."""
    return policy.max_rounds + rounds.extra


def spend(rounds: Rounds, policy: Policy) -> Spend:
    """Rule C2: from 80 % of the limit on it is worth a warning, at the limit it is spent."""
    limit = limit_of(rounds, policy)
    if rounds.used >= limit:
        return Spend.EXHAUSTED
    return Spend.WARN if 5 * rounds.used >= 4 * limit else Spend.WITHIN


def verdicts(
    tasks: Iterable[Task],
    known: Mapping[Ref, Rounds],
    presence: Sequence[Presence],
    *,
    charter: Charter,
    now: datetime,
    presence_unknown: frozenset[str] = frozenset(),
    clocks: Mapping[Ref, Clock] | None = None,
) -> tuple[Verdict, ...]:
    """The tasks to be warned about and to be paused now (rule C2), in the order given.

    A warning is due once. A pause is due once too, and again where a new epoch (`clocks`, else the item's own word)
    has used a further round: somebody took the task up again without granting any. A run that is active, or
    `presence_unknown` (names of sources that should know of runs and do not), hinders a pause. So does a task that has
    gone back to todo: nothing is there to be paused, and people are told that no turn is begun on it any more.
    """
    running = {turn.ref for turn in presence if turn.active and turn.ref is not None}
    busy = {turn.agent for turn in presence if turn.active and turn.ref is None}
    found = []
    for task in tasks:
        if task.status not in _LIMITED or task.owner.kind is OwnerKind.PERSON or _in_doubt(task):
            continue
        policy = charter.policy_for(task.owner.id)
        rounds = together(task, known)
        if policy is None or not rounds.used:
            continue
        level = spend(rounds, policy)
        if not _due(level, rounds, epoch_began(task, clocks or {})):
            continue
        if level is Spend.WARN and task.status is not Status.IN_PROGRESS:
            continue
        hindrances = _hindrances(task, running, busy, presence_unknown) if level is Spend.EXHAUSTED else ()
        found.append(Verdict(task.key, level, rounds, limit_of(rounds, policy), hindrances))
    return tuple(found)


def warned(task: Task, known: Mapping[Ref, Rounds], now: datetime) -> tuple[Rounds, ...]:
    """The rows after the warning was given."""
    return _changed(task.refs, known, replace(together(task, known), warned_at=now))


def paused(task: Task, known: Mapping[Ref, Rounds], now: datetime) -> tuple[Rounds, ...]:
    """The rows after the task was paused."""
    return _changed(task.refs, known, replace(together(task, known), paused_at=now))


def extended(task: Task, known: Mapping[Ref, Rounds], more: int, policy: Policy) -> tuple[Rounds, ...]:
    """The rows after `heartbeat rounds extend TASK more`: the pause is over, and the warning is given anew once 80 % of
    the new limit are reached; where they still are, it stands. Raises ValueError for less than one round."""
    if more < 1:
        raise ValueError(f"{more} rounds are no extension; grant one or more")
    before = together(task, known)
    after = replace(before, extra=before.extra + more, paused_at=None)
    if spend(after, policy) is Spend.WITHIN:
        after = replace(after, warned_at=None)
    return _changed(task.refs, known, after)


def _due(level: Spend, rounds: Rounds, began: datetime | None) -> bool:
    if level is Spend.WARN:
        return rounds.warned_at is None
    if level is Spend.EXHAUSTED:
        last = rounds.paused_at
        return last is None or (_newer(began, last) is not None and _newer(rounds.turn_at, last) is not None)
    return False


def _in_doubt(task: Task) -> bool:
    """Whether part of the task could not be read now or says something else: then nothing is done to it (S2, M4)."""
    return bool(task.stale or task.absent or task.split)


def _hindrances(task: Task, running: set[Ref], busy: set[str], presence_unknown: frozenset[str]) -> tuple[str, ...]:
    if task.status is not Status.IN_PROGRESS:
        return ("nobody is at it now; no further turn is begun",)
    if not running.isdisjoint(task.refs):
        return ("a run is active on it; it is paused between runs only",)
    if task.owner.kind is OwnerKind.AGENT and task.owner.id in busy:
        return (f"{task.owner.id} has an active run; a task is paused between runs only",)
    if presence_unknown:
        return (f"whether a run is active cannot be known: {', '.join(sorted(presence_unknown))} does not tell",)
    return ()


def _changed(refs: Iterable[Ref], known: Mapping[Ref, Rounds], after: Rounds) -> tuple[Rounds, ...]:
    """The row of every ref that it is news for."""
    rows = (replace(after, ref=ref) for ref in refs)
    return tuple(row for row in rows if known.get(row.ref) != row)


def _newer(instant: datetime | None, than: datetime | None) -> datetime | None:
    """The instant where it is later than the other (None: later than nothing), else None."""
    return instant if instant is not None and (than is None or instant > than) else None


def _by(now: datetime, instant: datetime | None) -> datetime | None:
    """The instant where it has come by now, else None."""
    return None if instant is None or instant > now else instant


def _latest(instants: Iterable[datetime | None]) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)
