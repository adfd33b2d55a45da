"""Which work stands still, and why nothing may be done about it yet (rules T3 to T8, S2, S6a). Pure.

The verdict is about the work; whether heartbeat may act on it is another question, answered by the hindrances. Idle
time is what was watched (rule T6), so that what happened out of sight is held against nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.instants import exact_duration, format_duration, to_text
from heartbeat.memory import Clock, Hold, Mark, Memory
from heartbeat.policy import Charter, Policy
from heartbeat.rules.activity import NO_EPOCH, epoch_of, is_running
from heartbeat.rules.windows import in_utc, observed, settled
from heartbeat.task import OwnerKind, Presence, Ref, Status, Task

STALLED_ROUNDS = 3
"""Rounds in a row without progress that make a task over its runtime limit a stalled one (rule T4)."""


class Level(StrEnum):
    """How sure it is that nobody works on a task any more (rule T3)."""

    NONE = "none"
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why nothing may be written to a task now. `code` is one of `HINDRANCES`; `message` is a sentence."""

    code: str
    message: str


UNSEEN = "unseen"
HELD = "held"
RUN_ACTIVE = "run-active"
RUN_UNKNOWN = "run-unknown"
NOT_SETTLED = "not-settled"

HINDRANCES = (UNSEEN, HELD, RUN_ACTIVE, RUN_UNKNOWN, NOT_SETTLED)
"""Rules S2, T5, T7, T7 and T6, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The verdict on one task. `task` is its key; `epoch` names the present work on it.

    `idle` is the time that was watched since the last sign of life, `quiet` the same by the wall clock; `runtime` is
    the time that was watched since the work began. `activity` and `progress` are the newest of the epoch. `looping`
    says that it is confirmed by rule T4 alone; `extended` that it is over its runtime limit, and alive and not looping.
    `reasons` has at least one sentence.
    """

    task: str
    level: Level
    idle: timedelta
    quiet: timedelta
    runtime: timedelta
    activity: Mark | None
    progress: Mark | None
    epoch: str
    looping: bool = False
    extended: bool = False
    hindrances: tuple[Hindrance, ...] = ()
    reasons: tuple[str, ...] = ()

    def hindered_by(self, *codes: str) -> tuple[Hindrance, ...]:
        """Its hindrances with one of these codes."""
        return tuple(each for each in self.hindrances if each.code in codes)


def stalls(
    tasks: Iterable[Task],
    *,
    incomplete: frozenset[str],
    presence: Sequence[Presence],
    presence_unknown: frozenset[str],
    memory: Memory,
    charter: Charter,
    now: datetime,
    presence_known: bool = True,
    unknown_ids: frozenset[str] = frozenset(),
) -> dict[str, Stall]:
    """The verdicts by task key, for every open task that somebody has begun.

    `memory.clocks` and `memory.windows` are those after this look (see activity.advance and windows.extended).
    `incomplete` are the sources not seen completely, `unknown_ids` the records that came malformed. `presence_unknown`
    are sources that should tell who is at work and did not; `presence_known` is False where no source can.

    Left out are tasks of persons (rule S6a), and tasks for which the roster gives no numbers: of nobody or of a
    stranger, where there is no patrol agent.
    """
    now = in_utc(now)
    found: dict[str, Stall] = {}
    for task in tasks:
        if task.owner.kind is OwnerKind.PERSON or task.closed or not _is_begun(task, memory.clocks):
            continue
        policy = charter.policy_for(task.owner.id)
        if policy is None:
            continue
        unseen = tuple(_unseen(task, incomplete, unknown_ids))
        hindrances = (
            *unseen,
            *_held(task, memory, now),
            *_runs(task, presence, presence_unknown, presence_known),
            *_unsettled(task, memory, charter.beat, now),
        )
        found[task.key] = _verdict(_Times.of(task, memory, now), task, policy, memory, hindrances)
    return found


def _is_begun(task: Task, clocks: Mapping[Ref, Clock]) -> bool:
    """Whether the task is being worked on, or was when it was last seen."""
    if task.status in (Status.IN_PROGRESS, Status.BLOCKED):
        return any(map(is_running, task.items))
    if task.status is not Status.UNKNOWN:
        return False
    known = (clocks.get(ref) for ref in (*task.refs, *task.absent))
    return any(map(is_running, task.items)) or any(clock is not None and clock.epoch != NO_EPOCH for clock in known)


@dataclass(frozen=True, slots=True)
class _Times:
    """How long, by the clocks of all items of a task."""

    epoch: str
    idle: timedelta
    quiet: timedelta
    runtime: timedelta
    activity: Mark | None
    progress: Mark | None

    @classmethod
    def of(cls, task: Task, memory: Memory, now: datetime) -> _Times:
        known = [clock for ref in (*task.refs, *task.absent) if (clock := memory.clocks.get(ref)) is not None]
        began, epoch = _begin(task, known, now)
        activity = _latest((clock.activity for clock in known), began)
        last = began if activity is None else activity.at
        idle, runtime = max(now - last, timedelta(0)), max(now - began, timedelta(0))
        if not memory.without:
            windows = [memory.windows.get(source, ()) for source in _sources(task)]
            idle, runtime = observed(windows, last, now), observed(windows, began, now)
        quiet = max(now - _not_before_its_time(task, last, now), idle)
        return cls(epoch, idle, quiet, runtime, activity, _latest((clock.progress for clock in known), began))


def _not_before_its_time(task: Task, instant: datetime, now: datetime) -> datetime:
    """An instant that a clock of 1970 may have put down: nothing happened on a task before there was one."""
    dates = (date for item in task.items for date in (item.created_at, item.started_at) if date is not None)
    return max([instant, *(born for born in map(in_utc, dates) if born <= now)])


def _begin(task: Task, clocks: Iterable[Clock], now: datetime) -> tuple[datetime, str]:
    """When the present work on a task began, and its name: the newest epoch over its items (rule T5)."""
    running = [clock for clock in clocks if clock.epoch != NO_EPOCH]
    if running:
        newest = max(running, key=lambda clock: clock.began_at)
        return newest.began_at, newest.epoch
    told = [date for item in task.items if is_running(item) for date in (item.started_at or item.updated_at,) if date]
    began = min(max(map(in_utc, told), default=now), now)
    return began, epoch_of(began)


def _latest(marks: Iterable[Mark | None], began: datetime) -> Mark | None:
    """The newest mark of the present epoch."""
    counted = [mark for mark in marks if mark is not None and mark.at >= began]
    return max(counted, key=lambda mark: mark.at, default=None)


def _sources(task: Task) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ref.source for ref in (*task.refs, *task.absent)))


def _verdict(times: _Times, task: Task, policy: Policy, memory: Memory, hindrances: tuple[Hindrance, ...]) -> Stall:
    by_code = {each.code: each for each in hindrances}
    over = times.runtime >= policy.runtime_limit
    rounds = max((memory.rounds[ref].idle for ref in task.refs if ref in memory.rounds), default=0)
    looping = extended = False
    reasons: list[str] = []
    if UNSEEN in by_code:
        level = Level.NONE
        reasons.append(f"not judged: {by_code[UNSEEN].message}")
    elif any(item.reclaimed and is_running(item) for item in task.items):
        level = Level.CONFIRMED
        reasons.append("its own system took it from a worker that fell silent: the claim ran out without a heartbeat")
    elif HELD in by_code:
        level = Level.NONE
        reasons.append(by_code[HELD].message)
    else:
        level = _by_idle(times.idle, policy)
        reasons.append(_IDLE[level].format(idle=format_duration(times.idle), **_limits(policy)))
        looping = over and rounds >= STALLED_ROUNDS and level is not Level.CONFIRMED
        extended = over and rounds < STALLED_ROUNDS and level is Level.NONE
        if looping:
            level = Level.CONFIRMED
        if looping or extended:
            sentence = _LOOPING if looping else _EXTENDED
            ran, limit = format_duration(times.runtime), exact_duration(policy.runtime_limit)
            reasons.append(sentence.format(ran=ran, limit=limit, rounds=_rounds(rounds)))
    return Stall(
        task=task.key,
        level=level,
        idle=times.idle,
        quiet=times.quiet,
        runtime=times.runtime,
        activity=times.activity,
        progress=times.progress,
        epoch=times.epoch,
        looping=looping,
        extended=extended,
        hindrances=hindrances,
        reasons=(*reasons, *_sight(times, memory)),
    )


def _by_idle(idle: timedelta, policy: Policy) -> Level:
    """Rule T3; at the threshold counts."""
    if idle >= policy.recover_after:
        return Level.CONFIRMED
    return Level.SUSPECTED if idle >= policy.suspect_after else Level.NONE


_IDLE: Mapping[Level, str] = {
    Level.NONE: "last sign of life {idle} ago, suspected from {suspect} on",
    Level.SUSPECTED: "no sign of life for {idle}: suspected from {suspect} on, confirmed from {recover} on",
    Level.CONFIRMED: "no sign of life for {idle}: confirmed from {recover} on",
}
_LOOPING = "running for {ran}, over its limit of {limit}, and {rounds} in a row made no progress"
_EXTENDED = "running for {ran}, over its limit of {limit}: extended, since only {rounds} in a row made no progress"


def _limits(policy: Policy) -> Mapping[str, str]:
    return {"suspect": exact_duration(policy.suspect_after), "recover": exact_duration(policy.recover_after)}


def _rounds(number: int) -> str:
    return f"{number} round" if number == 1 else f"{number} rounds"


def _sight(times: _Times, memory: Memory) -> Iterable[str]:
    """What limits the verdict: time out of sight does not count, and without memory all of it does (rules T6, B5)."""
    if memory.without:
        yield "judged by the sources alone: there is no memory to go by"
    elif times.quiet > times.idle and (hidden := format_duration(times.quiet - times.idle)) != "0s":
        yield f"by the wall clock it was {format_duration(times.quiet)}; {hidden} of that could not be seen"


def _unseen(task: Task, incomplete: frozenset[str], unknown_ids: frozenset[str]) -> Iterable[Hindrance]:
    """An item that is not seen now may have moved: an outage is not silence (rules S2, S3, M4)."""
    missing = [str(ref) for ref in (*task.stale, *task.absent)]
    missing += [str(ref) for ref in task.refs if ref.id in unknown_ids and ref not in task.stale]
    if missing:
        yield Hindrance(UNSEEN, f"{', '.join(missing)} could not be read now")
    partial = [source for source in _sources(task) if source in incomplete]
    if partial and not missing:
        yield Hindrance(UNSEEN, f"{' and '.join(partial)} could not be read completely")
    strange = [item for item in task.items if item.status is Status.UNKNOWN and item.ref not in task.stale]
    if strange and not (missing or partial):
        told = ", ".join(f"{item.key}: {item.raw_status!r}" for item in strange)
        yield Hindrance(UNSEEN, f"its status is not one that heartbeat knows ({told})")


def _held(task: Task, memory: Memory, now: datetime) -> Iterable[Hindrance]:
    """A declared long operation (rule T5)."""
    holds: list[Hold] = [memory.holds[ref] for ref in task.refs if ref in memory.holds]
    standing = [hold for hold in holds if now < hold.until]
    if standing:
        longest = max(standing, key=lambda hold: hold.until)
        yield Hindrance(HELD, f"held until {to_text(longest.until)}: {longest.why or 'no reason given'}")


def _runs(
    task: Task, presence: Sequence[Presence], presence_unknown: frozenset[str], presence_known: bool
) -> Iterable[Hindrance]:
    """An agent may work for hours without touching card or issue (rule T7)."""
    owners = {owner.id for owner in (task.owner, *(item.owner for item in task.items)) if owner.kind is OwnerKind.AGENT}
    refs = frozenset(task.refs)
    for each in presence:
        if each.active and (each.ref in refs or (each.ref is None and each.agent in owners)):
            yield Hindrance(RUN_ACTIVE, f"a turn of {each.agent} is running ({each.id})")
            break
    if presence_unknown:
        names = " and ".join(sorted(presence_unknown))
        yield Hindrance(RUN_UNKNOWN, f"whether a turn is running is not known: {names} did not tell")
    elif not presence_known:
        yield Hindrance(RUN_UNKNOWN, "whether a turn is running is not known: no source tells that")


def _unsettled(task: Task, memory: Memory, beat: timedelta, now: datetime) -> Iterable[Hindrance]:
    """One look is not enough to act on (rules T6, B6)."""
    new = [source for source in _sources(task) if not settled(memory.windows.get(source, ()), now, beat)]
    if new:
        least = format_duration(beat)
        yield Hindrance(
            NOT_SETTLED, f"{' and '.join(new)} was not yet seen twice, {least} apart, since it was last out of sight"
        )
