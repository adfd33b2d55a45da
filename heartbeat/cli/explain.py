"""`heartbeat explain`: why a task is where it is, what moved it last, and what happens next. Read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from heartbeat.cli.operators import TaskArgument
from heartbeat.cli.session import (
    AtOption,
    DebugOption,
    FreshOption,
    JsonOption,
    RosterOption,
    Session,
    complain,
    finish,
    instant,
    progress,
)
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from heartbeat.memory import Incident, Mark
    from heartbeat.observation import Observation
    from heartbeat.report.explain import Explanation, Records, Waiting
    from heartbeat.rules.dispatching import Decision
    from heartbeat.store.port import LogEntry, Store
    from heartbeat.task import Owner, Ref

_SHOWN = 8
"""Signs, entries and lines of the log on the screen; JSON has more."""

_TITLE = 72


def explain(
    context: typer.Context,
    task: TaskArgument,
    json_output: JsonOption = False,
    fresh: FreshOption = False,
    at: AtOption = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Why a task is where it is: its origins, what moved it, what it waits for, what was done, what comes next."""
    from heartbeat.cli import operators
    from heartbeat.cli.timeouts import ahead, look
    from heartbeat.report import explain as rules
    from heartbeat.report.timeouts import silent_agents

    session = Session(context, roster)
    moment = instant(at)
    with session.store(read_only=True, on_record=True) as store:
        progress("reading the sources …")
        seen = look(session, store, at=moment, fresh=fresh)
        named = operators.meant(seen, store, task)
        policies = {each.id: each.policy for each in session.roster.agents.values()}
        silent = silent_agents(policies, session.roster.timezone, seen.judgement.memory.beats, seen.at)
        told = rules.explain(
            ahead(seen, store),
            named.refs,
            title=named.title,
            owner=named.owner,
            records=_records(store, named.refs),
            findings=(
                *seen.assessment.findings,
                *(found for report in seen.sweep.reports for found in report.findings),
            ),
            silent={each.agent: each.missed_since for each in silent},
            decision=_decision(session, store, seen, named.owner),
        )
    if json_output:
        from heartbeat.cli import documents, explained

        documents.write(explained.document(told, seen))
    else:
        _print(told, seen)
    finish(seen, strict=False)


def _records(store: Store, refs: Sequence[Ref]) -> Records:
    from heartbeat.report.explain import NEWS, Records

    found: dict[int, LogEntry] = {}
    for ref in refs:
        found |= {entry.sequence: entry for entry in store.log(task=str(ref), limit=NEWS)}
    log = tuple(found[sequence] for sequence in sorted(found))
    turns = store.attempts(refs=refs), store.letters(refs=refs)
    return Records(store.links(), store.incidents(), store.entries(), log, *turns)


def _decision(session: Session, store: Store, seen: Observation, owner: Owner) -> Decision | None:
    """What the next beat of the task's agent would decide about a turn; None where it is no agent's of the roster."""
    from heartbeat.dispatch.context import opened
    from heartbeat.dispatch.foresight import would_decide
    from heartbeat.observation import patience
    from heartbeat.rules.dispatching import Reason, Skip
    from heartbeat.task import OwnerKind

    agent = session.roster.agents.get(owner.id) if owner.kind is OwnerKind.AGENT else None
    if agent is None:
        return None
    locks, deadline = session.state / "locks", patience([agent.policy])
    try:
        context = opened(session.roster, session.environment, store, locks, lambda: seen.at, deadline)
    except UsageError as error:
        complain(f"whom a beat would ask cannot be told: {error}")
        return Skip(Reason.DEGRADED, str(error))
    return would_decide(context, seen, agent)


def _print(told: Explanation, seen: Observation) -> None:
    from heartbeat.cli import tables, wording
    from heartbeat.cli.explained import items
    from heartbeat.cli.timeouts import following_line
    from heartbeat.systems.base import ReadStatus

    out = tables.console()
    zone = seen.roster.timezone
    tables.print_instant(out, seen)
    for alarm in seen.alarms:
        out.print(tables.cell(f"{alarm.code}: {alarm.message}", "bold red"), soft_wrap=True)
    for report in seen.sweep.reports:
        if report.status in (ReadStatus.FAILED, ReadStatus.PARTIAL):
            out.print(tables.cell(wording.told_of(report), "yellow"), soft_wrap=True)
    names = " = ".join(item.key for item in items(told)) or " = ".join(map(str, told.refs))
    out.print(tables.cell(names, "bold").append("  ").append_text(tables.cell(told.title)))
    out.print(tables.cell(following_line(told.next, seen.at, zone)))
    _print_origins(out, told, seen)
    _print_lines(out, "Why", ((each.about, tables.cell(each.message)) for each in told.reasons))
    _print_lines(out, "What moved it", _moves(told, seen, zone))
    _print_lines(out, "Waits for", ((each.wait.target, tables.cell(_waits(each, zone))) for each in told.waits))
    blocks = ((wording.owner_of(each.task.owner), tables.cell(each.task.title)) for each in told.blocks)
    _print_lines(out, "Waited for by", blocks)
    _print_lines(out, "Holds", _holds(told, zone))
    _print_lines(out, "Incidents", _incidents(told.records.incidents, zone))
    _print_lines(out, "Outbox", _outbox(told, zone))
    _print_lines(out, "Turns", _turns(told, seen, zone))
    log = told.records.log[-_SHOWN:]
    notes = ((tables.local(each.at, zone), tables.cell(f"{each.action}: {each.message}")) for each in log)
    _print_lines(out, "Log", notes)
    _print_lines(out, "Findings", ((each.code, tables.cell(each.message)) for each in told.findings))


def _print_lines(out: Console, heading: str, lines: Iterable[tuple[str, Text]]) -> None:
    """A section of two columns; nothing where there is nothing."""
    from heartbeat.cli import tables

    table = tables.grid({"no_wrap": True, "style": "dim"}, {"overflow": "fold"})
    for name, said in lines:
        table.add_row("", tables.cell(_cut(name)), said)
    _print_section(out, heading, table)


def _print_section(out: Console, heading: str, table: Table) -> None:
    from heartbeat.cli import tables

    if table.row_count:
        out.print()
        out.print(tables.cell(heading, "bold"))
        out.print(table)


def _cut(text: str) -> str:
    from heartbeat.cli.terminal import clipped

    return clipped(text, _TITLE)


def _print_origins(out: Console, told: Explanation, seen: Observation) -> None:
    from heartbeat.cli import tables, wording
    from heartbeat.cli.explained import items

    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, {"overflow": "fold"})
    stale = told.standing.task.stale if told.standing is not None else ()
    for item in items(told):
        age = wording.age_of(item.updated_at, seen.at) if item.updated_at else ""
        said = tables.cell(item.title)
        place = item.url or (item.location if item.location != item.key else "")
        for line in (place, f"changed {age}" if age else "", "of an earlier read" if item.ref in stale else ""):
            if line:
                said.append("\n").append_text(tables.cell(line, "dim"))
        status = item.status.value.replace("_", " ")
        word = item.raw_status.replace("_", " ")
        shown = status if word in ("", status) else f"{status} ({_cut(item.raw_status)})"
        owner = tables.cell(wording.owner_of(item.owner))
        table.add_row(
            "", tables.cell(item.ref.source, "dim"), tables.cell(_cut(item.key)), tables.cell(shown), owner, said
        )
    _print_section(out, "Origins", table)


def _moves(told: Explanation, seen: Observation, zone: str) -> Iterator[tuple[str, Text]]:
    from heartbeat.cli import tables
    from heartbeat.instants import format_duration

    stall = told.stall
    if stall is not None:
        idle, quiet = format_duration(stall.idle), format_duration(stall.quiet)
        wall = f", {quiet} by the wall clock" if quiet != idle else ""
        yield "idle", tables.cell(f"{idle} of watched time{wall}; running {format_duration(stall.runtime)}")
        for name, mark in (("sign of life", stall.activity), ("progress", stall.progress)):
            said = "none since it was begun" if mark is None else _marked(mark, seen.at, zone)
            yield name, tables.cell(said)
    for each in told.presence:
        yield "turn", tables.cell(f"{each.agent}: {'running now' if each.active else 'over'} ({each.id})")
    for sign in told.signs[:_SHOWN]:
        whose = "heartbeat itself, counts as nothing" if sign.own else f"counts as {sign.counts}"
        said = f"{sign.evidence.kind.value.replace('_', ' ')} on {sign.evidence.ref.source}, {whose}"
        yield tables.local(sign.evidence.at, zone), tables.cell(said)


def _marked(mark: Mark, now: datetime, zone: str) -> str:
    from heartbeat.cli import tables, wording

    kind = mark.kind.value.replace("_", " ")
    return f"{kind} on {mark.ref.source} {wording.age_of(mark.at, now)}, at {tables.local(mark.at, zone)}, not ours"


def _waits(each: Waiting, zone: str) -> str:
    from heartbeat.cli import tables

    since = f"; since {tables.local(each.since, zone)}" if each.since else ""
    told = f"; its owner is told from {tables.local(each.told_at, zone)} on" if each.told_at else ""
    return f"{each.wait.reason}{f': {each.title}' if each.title else ''}{since}{told}"


def _holds(told: Explanation, zone: str) -> Iterator[tuple[str, Text]]:
    from heartbeat.cli import tables
    from heartbeat.memory import EVERYBODY

    if told.hold is not None:
        by = f" by {told.hold.by}" if told.hold.by else ""
        yield "hold", tables.cell(f"until {tables.local(told.hold.until, zone)}{by}: {told.hold.why}")
    if told.pause is not None:
        until = f"until {tables.local(told.pause.until, zone)}" if told.pause.until else "until it is resumed"
        by = f" by {told.pause.by}" if told.pause.by else ""
        whom = "everybody" if told.pause.agent == EVERYBODY else told.pause.agent
        yield "pause", tables.cell(f"{whom} {until}{by}: {told.pause.why}")


def _incidents(found: Sequence[Incident], zone: str) -> Iterator[tuple[str, Text]]:
    from heartbeat.cli import tables
    from heartbeat.memory import Step

    for each in found:
        number = f", recovery {each.number}" if each.number else ""
        said = tables.cell(f"{each.stage.value.replace('_', ' ')}{number}, opened {tables.local(each.opened_at, zone)}")
        for taken in each.steps:
            detail = f": {taken.detail}" if taken.detail else ""
            # What is told has no outcome of its own: the outbox says what became of each message.
            outcome = "" if taken.step in (Step.NUDGE, Step.NOTIFY) else f" {taken.outcome.value}"
            line = f"{taken.step.value.replace('_', ' ')}{outcome} {tables.local(taken.at, zone)}{detail}"
            said.append("\n").append_text(tables.cell(line, "dim"))
        if each.nudged_at is not None:
            said.append("\n").append_text(tables.cell(f"nudge shown {tables.local(each.nudged_at, zone)}", "dim"))
        if each.ended_at is not None:
            word = each.ending.value.replace("_", " ") if each.ending else "ended"
            line = f"ended {tables.local(each.ended_at, zone)}: {word}{f', {each.why}' if each.why else ''}"
            said.append("\n").append_text(tables.cell(line, "dim"))
        yield each.id, said


def _turns(told: Explanation, seen: Observation, zone: str) -> Iterator[tuple[str, Text]]:
    from heartbeat.cli import attempts, tables

    for each in told.records.attempts[-_SHOWN:]:
        when = tables.local(each.accepted_at or each.planned_at, zone)
        said = tables.cell(f"{attempts.standing(each, seen.at)}, with {attempts.asked(each)}")
        detail = ", ".join(filter(None, (each.id[: attempts.SHORT], attempts.cost(each))))
        for line in (detail, each.error):
            if line:
                said.append("\n").append_text(tables.cell(line, "dim"))
        yield f"#{each.number} {when}", said


def _outbox(told: Explanation, zone: str) -> Iterator[tuple[str, Text]]:
    from heartbeat.cli import tables

    for entry in told.records.entries[-_SHOWN:]:
        because = entry.error or entry.result
        said = f"{entry.summary}{f': {because}' if because else ''}"
        yield f"{entry.state.value} {tables.local(entry.finished_at or entry.due_at, zone)}", tables.cell(said)
