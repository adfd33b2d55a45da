"""Words that the table and the Markdown form share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from heartbeat.attempt import Attempt
from heartbeat.cli.terminal import clipped
from heartbeat.dispatch.round import Dispatched
from heartbeat.instants import format_duration
from heartbeat.observation import Observation
from heartbeat.plural import counted
from heartbeat.rules.backlog import OwnerLoad
from heartbeat.rules.stall import Level, Stall
from heartbeat.systems.base import ReadStatus, SourceReport
from heartbeat.task import CLOSED, Owner, OwnerKind, State
from heartbeat.worklist import Standing

SECTIONS = (
    (State.IN_PROGRESS, "In progress"),
    (State.READY, "Ready"),
    (State.BLOCKED, "Blocked"),
    (State.REVIEW, "In review"),
    (State.WAITING, "Waiting"),
    (State.UNKNOWN, "Unknown"),
)
"""The parts of a worklist in the order in which they are worth reading."""


_NEXT = 3
"""Agents that are named of those who are not due."""
_UUID_LENGTH = 36
_TITLE = 60
_ERROR = 200


def age_of(then: datetime, now: datetime) -> str:
    """`3m ago`, or `just now`; an instant ahead of now is just now."""
    seconds = (now - then).total_seconds()
    return "just now" if seconds < 1 else f"{format_duration(seconds)} ago"


def resting(due: Mapping[str, datetime], others: bool, now: datetime, zone: str) -> str:
    """Who is not due yet, and when; `others` did beat. The next one first."""
    waiting = sorted(due.items(), key=lambda each: (each[1], each[0]))
    told = [
        f"{agent} at {local(at, zone)} (in {format_duration(max(at - now, timedelta(0)))})" for agent, at in waiting
    ]
    more = [f"{len(told) - _NEXT} more, --json has all"] if len(told) > _NEXT else []
    return f"{'Not due yet' if others else 'Nobody is due. Next'}: {', '.join([*told[:_NEXT], *more])}"


def local(instant: datetime, zone: str) -> str:
    """An instant as the roster's people read it."""
    return instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def owner_of(owner: Owner) -> str:
    """Who owns a task, for people."""
    if owner.kind is OwnerKind.NOBODY:
        return "nobody"
    known = owner.id[:8] if len(owner.id) == _UUID_LENGTH else owner.id
    return f"{known} (a person)" if owner.kind is OwnerKind.PERSON else owner.id


@dataclass(frozen=True, slots=True)
class Context:
    """What a task's reasons are told with: titles of the tasks that others wait for (people do not know a card by its
    id), and what stands still, both by task key."""

    titles: Mapping[str, str]
    stalls: Mapping[str, Stall]


def context_of(observation: Observation) -> Context:
    """The context of one look."""
    standings = observation.assessment.standings
    blockers = {wait.blocker for standing in standings for wait in standing.waits}
    titles = {standing.task.key: standing.task.title for standing in standings if standing.task.key in blockers}
    stuck = {key: each for key, each in observation.judgement.stalls.items() if each.level is not Level.NONE}
    return Context(titles, stuck)


def explained(standing: Standing, context: Context) -> Iterator[str]:
    """The reasons, with the title of what is waited for, and that the task stands still where it does."""
    stall = context.stalls.get(standing.task.key)
    if stall is not None:
        yield f"stalled ({stall.level.value}): {stall.reasons[0]}"
    blockers = {wait.reason: wait.blocker for wait in standing.waits}
    for reason in standing.reasons:
        title = context.titles.get(blockers.get(reason) or "")
        yield f"{reason}: {clipped(title, _TITLE)}" if title else reason


def told_of(report: SourceReport) -> str:
    """How a source was read, with what to do about it."""
    kind = f" ({report.kind.value})" if report.kind else ""
    advice = f" — {report.advice}" if report.advice else ""
    return f"{report.source} {report.status.value}{kind}: {report.message}{advice}"


def nothing_to_do(observation: Observation) -> str:
    """What an empty worklist means; it means nothing while no source was read."""
    if observation.sweep.blind:
        return "What there is to do is not known: no source was read."
    return "Nothing to do: no open task of this agent in any source that was read."


def apart(standings: Sequence[Standing]) -> tuple[Sequence[Standing], int]:
    """Without the tasks that were closed when they were last read, and how many of those there are.

    While their source cannot be read they are unknown like the others; to list them would bury the open ones.
    """
    shown = [standing for standing in standings if not _was_closed(standing)]
    return shown, len(standings) - len(shown)


def _was_closed(standing: Standing) -> bool:
    task = standing.task
    return bool(task.stale) and all(item.status in CLOSED or item.archived for item in task.items)


def last_change(standing: Standing, now: datetime) -> str:
    """For work in progress, how long ago its newest record changed; empty where no record tells."""
    changes = [item.updated_at for item in standing.task.items if item.updated_at is not None]
    if standing.state is not State.IN_PROGRESS or not changes:
        return ""
    return f"changed {age_of(max(changes), now)}"


def short_message(report: SourceReport) -> str:
    """What to say of a source in one glance; why nothing of it was found is the doctor's business."""
    return "not in use" if report.status is ReadStatus.DISABLED else report.message


def turn_of(turn: Dispatched | None, *, foreseen: bool) -> str:
    """What a beat did about starting the agent, in a line; nothing where the roster does not let it. With `foreseen`
    what it would do."""
    from heartbeat.rules.dispatching import Reason, Skip

    if turn is None:
        return ""
    decision, begun = turn.decision, turn.begun
    if isinstance(decision, Skip):
        said = "nothing would be started" if foreseen else "nothing started"
        return "" if decision.reason is Reason.NONE else f"dispatch: {said}: {decision.reason.value}, {decision.told}"
    name = decision.task.items[0].key
    if begun is None:
        return f"dispatch: would start {name} with {_provider(decision.provider.name, decision.provider.model)}"
    last = begun.attempt
    who, told = _provider(last.provider, last.model), f": {begun.told}" if begun.told else ""
    if turn.started is None:
        return f"dispatch: {name} was not started with {who}: {begun.result.value.replace('_', ' ')}{told}"
    word = "started" if begun.result.value == "running" else "may have started"
    return f"dispatch: {word} {name} with {who}, {last.id}{told}"


def _provider(name: str, model: str) -> str:
    return f"{name} ({model})" if model else name


def collected_of(attempt: Attempt) -> str:
    """A turn that a beat found to have ended."""
    outcome = attempt.outcome.value.replace("_", " ") if attempt.outcome is not None else "ended"
    error = f": {clipped(attempt.error, _ERROR)}" if attempt.error else ""
    return f"dispatch: attempt {attempt.number} of {attempt.agent} on {attempt.task} {outcome}{error}"


def bucket_line(buckets: Mapping[str, int]) -> str:
    """Where every item of the sweep went (rule S10)."""
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in buckets.items() if count)
    return f"{counted(sum(buckets.values()), 'item')}: {told}" if told else "0 items"


def load_of(load: OwnerLoad) -> str:
    """What an owner has in hand, without the zeros."""
    counts = (
        (load.todo, "todo"),
        (load.in_progress, "in progress"),
        (load.blocked, "blocked"),
        (load.in_review, "in review"),
        (load.unknown, "unknown"),
    )
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing released for work"
