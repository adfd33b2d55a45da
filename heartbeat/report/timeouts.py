"""What stands still, for whoever has to decide between red and green (rules T3, B2, B5, S2, L1 to L3). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.errors import Exit
from heartbeat.memory import Incident, Step
from heartbeat.policy import Policy
from heartbeat.report.outlook import Next, Outlook
from heartbeat.rules.activity import is_running
from heartbeat.rules.stall import HELD, UNSEEN, Level, Stall
from heartbeat.schedule.slots import current_slot, next_slot
from heartbeat.task import OwnerKind, Status, Task

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timeout:
    """A task that stands still. `incident` is the open one on record, and `step` the last that was taken of it."""

    task: Task
    stall: Stall
    policy: Policy
    incident: Incident | None
    step: Step | None
    next: Next
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A task of which it is not known whether anybody works on it (rule S2)."""

    task: Task
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A task that was quiet for `suspect_after` by the wall clock, of which less was watched (rule T6): it may stand
    still, and nobody can say so yet.

    `quiet` is since the last sign of life; where none was seen, since its records say they last changed.
    """

    task: Task
    quiet: timedelta
    idle: timedelta


@dataclass(frozen=True, slots=True)
class SilentAgent:
    """An agent that beat once and has left no receipt since its last two slots (rules B2, L0)."""

    agent: str
    last_beat: datetime
    missed_since: datetime
    """The first slot without a receipt."""


@dataclass(frozen=True, slots=True)
class Sources:
    """How the sources of those who were asked about were read. `unread` names those not read completely, `malformed`
    counts by source the records that came and could not be read, `blind` says that nothing at all was read."""

    unread: tuple[str, ...] = ()
    malformed: Mapping[str, int] = field(default_factory=dict)
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What stands still. `checked` counts the tasks that were judged, `left_out` those in progress that are nobody's
    business here: a person's, or a stranger's where no patrol agent answers for strangers."""

    now: datetime
    checked: int
    timeouts: tuple[Timeout, ...]
    unjudged: tuple[Unjudged, ...]
    silent: tuple[SilentAgent, ...]
    sources: Sources
    left_out: int = 0
    memory: bool = True
    """Whether there is anything to go by besides what the sources tell (rule B5)."""
    memory_lost: bool = False
    """Memory was lost and nobody has accepted that: who fell silent is not known (rule B7)."""
    unwatched: tuple[Unwatched, ...] = ()
    """The longest quiet first."""

    def count(self, level: Level) -> int:
        return sum(each.stall.level is level for each in self.timeouts)


def check(outlook: Outlook, *, sources: Sources, silent: Sequence[SilentAgent], agent: str | None = None) -> Report:
    """What stands still of all tasks, or of one agent's; the worst and longest stand first."""
    judgement, charter = outlook.judgement, outlook.charter
    found: list[Timeout] = []
    unjudged: list[Unjudged] = []
    unwatched: list[Unwatched] = []
    checked = left_out = 0
    for task in judgement.tasks.values():
        if task.closed or (agent is not None and not _is_owned(task, agent)):
            continue
        stall, policy = judgement.stalls.get(task.key), charter.policy_for(task.owner.id)
        doubt = _doubt(task, stall)
        if doubt:
            unjudged.append(Unjudged(task, doubt))
        elif stall is None or policy is None:
            left_out += any(map(is_running, task.items))
        else:
            checked += 1
            found += [_timeout(task, stall, policy, outlook)] if stall.level is not Level.NONE else []
            quiet = _quiet(task, stall, judgement.now)
            if _is_calm(stall) and stall.idle < policy.suspect_after <= quiet:
                unwatched.append(Unwatched(task, quiet, stall.idle))
    found.sort(key=lambda each: (each.stall.level is not Level.CONFIRMED, -each.stall.idle, each.task.key))
    unwatched.sort(key=lambda each: (-each.quiet, each.task.key))
    return Report(
        now=judgement.now,
        checked=checked,
        timeouts=tuple(found),
        unjudged=tuple(unjudged),
        silent=tuple(each for each in silent if agent is None or each.agent == agent),
        sources=sources,
        left_out=left_out,
        memory=not judgement.memory.without,
        memory_lost=judgement.memory.observing,
        unwatched=tuple(unwatched),
    )


def outcome(report: Report, failing: Collection[Level]) -> Exit:
    """The exit code (rule B5): what was found counts before what could not be known, and that is never green.

    `failing` are the levels that count as found; agents that fell silent do too. Where it is empty nothing does.
    """
    if failing and (report.silent or any(map(report.count, failing))):
        return Exit.FOUND
    return Exit.INCOMPLETE if any(_gaps(report)) else Exit.OK


def verdict(report: Report, failing: Collection[Level]) -> str:
    """The result in one line that can stand in a log by itself."""
    code = outcome(report, failing)
    confirmed, suspected = report.count(Level.CONFIRMED), report.count(Level.SUSPECTED)
    found = [f"{_number(report.checked, 'task')} in progress checked: {confirmed} confirmed, {suspected} suspected"]
    if report.silent:
        found.append(f"silent: {', '.join(each.agent for each in report.silent)}")
    gaps = list(_gaps(report))
    parts = [*gaps, *found] if code is Exit.INCOMPLETE else [*found, *gaps]
    calm = "NOTED" if confirmed or suspected or report.silent else "OK"
    word = {Exit.FOUND: "FOUND", Exit.INCOMPLETE: "UNKNOWN"}.get(code, calm)
    return f"{word}: {'; '.join(parts)}"


def _gaps(report: Report) -> Iterator[str]:
    """Why this was no complete check (rule B5)."""
    sources = report.sources
    if sources.blind:
        yield "no source was read"
    elif sources.unread:
        yield f"not read completely: {', '.join(sources.unread)}"
    for source, number in sources.malformed.items():
        yield f"{_number(number, 'record')} of {source} could not be read"
    if report.unjudged:
        yield f"{_number(len(report.unjudged), 'task')} could not be judged"
    if report.memory_lost:
        yield "memory was lost and nobody has accepted that, so who fell silent is not known"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _is_owned(task: Task, agent: str) -> bool:
    return task.owner.kind is OwnerKind.AGENT and task.owner.id == agent


def _doubt(task: Task, stall: Stall | None) -> tuple[str, ...]:
    """Why it cannot be said whether a task stands still; empty where it can."""
    if task.owner.kind is OwnerKind.PERSON:
        return ()
    if stall is not None:
        return tuple(each.message for each in stall.hindered_by(UNSEEN))
    strange = [item for item in task.items if item.status is Status.UNKNOWN and item.ref not in task.stale]
    return tuple(f"{item.key}: status {item.raw_status!r} is not known to heartbeat" for item in strange)


def _is_calm(stall: Stall) -> bool:
    """Not suspected, and neither out of sight nor declared to be quiet."""
    return stall.level is Level.NONE and not stall.hindered_by(UNSEEN, HELD)


def _quiet(task: Task, stall: Stall, now: datetime) -> timedelta:
    """By the wall clock. A clock that began with the first look knows nothing of the time before: the records do."""
    changes = [item.updated_at for item in task.items if item.updated_at is not None]
    if stall.activity is not None or not changes:
        return stall.quiet
    return max(stall.quiet, now - max(changes))


def _timeout(task: Task, stall: Stall, policy: Policy, outlook: Outlook) -> Timeout:
    incident, climbed = outlook.open_incident(task), outlook.climbs.get(task.key)
    following = outlook.next_step(task)
    waits = climbed.waits if climbed is not None else ()
    hindrances = (each.message for each in stall.hindrances)
    told = dict.fromkeys((*stall.reasons, *waits, *hindrances))
    step = incident.steps[-1].step if incident is not None and incident.steps else None
    return Timeout(task, stall, policy, incident, step, following, tuple(told))


def silent_agents(
    agents: Mapping[str, Policy], timezone: str, beats: Mapping[str, datetime], now: datetime
) -> tuple[SilentAgent, ...]:
    """Who beat once and has left no receipt since the last slot but one (rules B2, L0), in the order given.

    `beats` holds when each agent's last beat began; without one nobody knows yet when an agent is due.
    """
    found = []
    for agent, policy in agents.items():
        last = beats.get(agent)
        if last is None:
            continue
        before = current_slot(policy, timezone, current_slot(policy, timezone, now) - _MICROSECOND)
        if last < before:
            found.append(SilentAgent(agent, last, next_slot(policy, timezone, last)))
    return tuple(found)
