"""A worklist as Markdown, for an agent to read. Foreign text stands in code spans, so that it stays data (rule B8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from heartbeat.beat import Beat, Patrol
from heartbeat.cli.deeds import DECIDE, letters
from heartbeat.cli.terminal import clipped
from heartbeat.cli.wording import (
    SECTIONS,
    Context,
    age_of,
    apart,
    bucket_line,
    context_of,
    explained,
    last_change,
    load_of,
    nothing_to_do,
    owner_of,
    told_of,
    turn_of,
)
from heartbeat.instants import to_text
from heartbeat.observation import Observation
from heartbeat.rules.degradation import MEANING, Degradation
from heartbeat.systems.base import ReadStatus
from heartbeat.task import Finding, Item, State
from heartbeat.worklist import Standing, Worklist

_Thing = TypeVar("_Thing")

_WIDTH = 1000
"""Columns of foreign text that a model is given of one title or reason."""


def worklist(observation: Observation, beat: Beat, patrol: Patrol | None, limit: int) -> str:
    """One agent's worklist; at most `limit` tasks a section (0: all), and what was left out is said."""
    return "\n".join(_lines(observation, beat, patrol, limit)) + "\n"


def code(text: str) -> str:
    """A code span that holds the text whatever backticks are in it; a very long one is cut, JSON has it whole."""
    shown = clipped(text, _WIDTH) or " "
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _lines(observation: Observation, beat: Beat, patrol: Patrol | None, limit: int) -> Iterator[str]:
    yield f"# Worklist of {beat.agent.id} at {to_text(observation.at)}"
    yield ""
    if beat.worklist is None:
        yield beat.skipped
        return
    yield from _notes(observation, beat.worklist)
    yield ""
    yield from _letters(beat)
    yield from _attention(beat)
    shown = False
    context = context_of(observation)
    for state, heading in SECTIONS:
        standings, closed = apart(beat.worklist.in_state(state))
        if standings or closed:
            shown = True
            yield f"## {heading} ({len(standings) + closed})"
            yield ""
            yield from _tasks(standings, limit, context, observation.at, numbered=state is State.READY)
            if closed:
                yield f"- {closed} more were closed when they were last read"
            yield ""
    if not shown:
        yield nothing_to_do(observation)
        yield ""
    yield from _findings((*beat.worklist.findings, *_source_findings(observation, beat)), limit)
    if patrol is not None:
        yield from _backlog(patrol, observation)
    yield bucket_line(beat.worklist.buckets)
    turn = turn_of(beat.turn, foreseen=beat.receipt is None)
    if turn:
        yield ""
        yield code(turn)


def _letters(beat: Beat) -> Iterator[str]:
    """What the agent must be told before anything else (rule L1)."""
    told = list(letters(beat))
    if told:
        yield f"## Messages ({len(told)})"
        yield ""
        for level, title, body in told:
            yield f"- {level}: {code(title)}"
            yield f"  - {code(body)}"
        yield ""


def _attention(beat: Beat) -> Iterator[str]:
    """What heartbeat stopped and somebody has to decide about (rule L2)."""
    if beat.attention:
        yield f"## Blocked by heartbeat: {DECIDE} ({len(beat.attention)})"
        yield ""
        for each in beat.attention:
            names = " = ".join(_named(item) for item in each.task.items)
            yield f"- {names} {code(each.task.title)} of {code(owner_of(each.task.owner))}: {each.reason}"
        yield ""


def _named(item: Item) -> str:
    """What people call it, and where to find it if the name does not tell."""
    place = f" in {code(item.location)}" if item.location and item.location != item.key else ""
    return f"{code(item.key)}{place}"


_NOTE = {ReadStatus.FAILED: "NOT READ", ReadStatus.PARTIAL: "READ IN PART"}


def _notes(observation: Observation, own: Worklist) -> Iterator[str]:
    """What to know before the list: alarms, sources that were not read, and what that means for the tasks."""
    for alarm in observation.alarms:
        yield f"- ALARM {alarm.code}: {code(alarm.message)}"
    yield f"- Level {_level(observation.degradation)}"
    for report in observation.sweep.reports:
        if report.status in _NOTE:
            yield f"- {_NOTE[report.status]}: {code(told_of(report))}"
    unused = [report.source for report in observation.sweep.reports if report.status is ReadStatus.DISABLED]
    if unused:
        yield f"- Not in use: {', '.join(code(name) for name in unused)}"
    if own.in_state(State.UNKNOWN):
        yield "- What stands under “Unknown” is not to be worked on until that is settled."


def _level(degradation: Degradation) -> str:
    """How far heartbeat can see and act (rule G1)."""
    meaning = f"{degradation.level.value}, {MEANING[degradation.level]}"
    reasons = "; ".join(map(code, degradation.reasons))
    return f"{meaning}: {reasons}" if reasons else meaning


def _tasks(
    standings: Sequence[Standing], limit: int, context: Context, now: datetime, *, numbered: bool
) -> Iterator[str]:
    for number, standing in enumerate(_first(standings, limit), start=1):
        subject = standing.task
        names = " = ".join(_named(item) for item in subject.items)
        due = f", due {subject.due.isoformat()}" if subject.due else ""
        marker = f"{number}." if numbered else "-"
        changed = f", {age}" if (age := last_change(standing, now)) else ""
        yield f"{marker} {names} {code(subject.title)} ({subject.priority.value}{due}{changed})"
        for reason in explained(standing, context):
            yield f"{' ' * len(marker)} - {code(reason)}"
    if limit and len(standings) > limit:
        yield f"- … and {len(standings) - limit} more: run with --limit 0"


def _findings(findings: Sequence[Finding], limit: int) -> Iterator[str]:
    if not findings:
        return
    yield f"## Findings ({len(findings)})"
    yield ""
    for found in _first(findings, limit):
        yield f"- {found.code}: {code(found.message)}"
    if limit and len(findings) > limit:
        yield f"- … and {len(findings) - limit} more: run with --limit 0"
    yield ""


def _source_findings(observation: Observation, beat: Beat) -> Iterator[Finding]:
    """What the sources found: all of it for a patrol agent, its own records and files for any other."""
    own = {ref for standing in (beat.worklist.standings if beat.worklist else ()) for ref in standing.task.refs}
    for report in observation.sweep.reports:
        for found in report.findings:
            files = found.message.startswith((f"{beat.agent.id}/", f"{beat.agent.id}:"))
            if beat.agent.patrol or files or not own.isdisjoint(found.refs):
                yield found


def _backlog(patrol: Patrol, observation: Observation) -> Iterator[str]:
    yield "## Backlog of the whole platform"
    yield ""
    for load in patrol.backlog.sources:
        alarm = " — BACKLOG ALARM" if load.alarm else ""
        yield f"- {load.source}: {load.todo} todo, {load.in_progress} in progress, {load.total} in all{alarm}"
        for subject in load.first:
            own = next(item for item in subject.items if item.ref.source == load.source)
            yield f"  - {code(own.key)} {code(owner_of(subject.owner))} {code(own.title)}"
    for owned in patrol.backlog.owners:
        foreign = "" if owned.known else " — NOT IN THE ROSTER: nobody is shown this work"
        yield f"- load of {code(owner_of(owned.owner))}: {load_of(owned)}{foreign}"
    for agent in observation.roster.agents:
        receipt = patrol.last_receipts.get(agent)
        yield f"- last beat of {agent}: {age_of(receipt.started_at, observation.at) if receipt else 'never'}"
    yield ""


def _first(things: Sequence[_Thing], limit: int) -> Iterable[_Thing]:
    return things[:limit] if limit else things
