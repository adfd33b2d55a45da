"""`heartbeat timeouts`: is any work stuck, and has any agent fallen silent? Read-only, for CI and for people."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from heartbeat.errors import Exit

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from heartbeat.observation import Observation
    from heartbeat.report.outlook import Next, Outlook
    from heartbeat.report.timeouts import Report, Sources, Timeout
    from heartbeat.roster.model import Agent
    from heartbeat.rules.stall import Level
    from heartbeat.store.port import Store
    from heartbeat.systems.base import SourceReport
    from heartbeat.worklist import Standing

SCHEMA = "heartbeat.timeouts/1"


class FailOn(StrEnum):
    """What makes the exit code 1."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    NEVER = "never"


def timeouts(
    context: typer.Context,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit 1 from this level on; silent agents count unless never.")
    ] = FailOn.CONFIRMED,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent and its tasks.")
    ] = None,
    json_output: JsonOption = False,
    fresh: FreshOption = False,
    at: AtOption = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Work that stands still, and agents that fell silent. Exit 0: none. 1: found. 3: it could not be known."""
    from heartbeat.report import timeouts as rules

    session = Session(context, roster)
    team = session.roster.chosen([agent]) if agent is not None else tuple(session.roster.agents.values())
    moment = instant(at)
    with session.store(read_only=True, on_record=True) as store:
        progress("reading the sources …")
        seen = look(session, store, at=moment, fresh=fresh)
        outlook = ahead(seen, store)
    beats = seen.judgement.memory.beats
    policies = {each.id: each.policy for each in team}
    report = rules.check(
        outlook,
        sources=_sources(seen, team[0] if agent is not None else None),
        silent=rules.silent_agents(policies, session.roster.timezone, beats, seen.at),
        agent=agent,
    )
    finish(seen, strict=False)
    failing = _levels(fail_on)
    code, verdict = rules.outcome(report, failing), rules.verdict(report, failing)
    if json_output:
        from heartbeat.cli import documents

        documents.write(_document(report, seen, agent, fail_on, code, verdict))
        if code is not Exit.OK:
            complain(verdict)
    else:
        _print(report, seen, verdict)
    raise typer.Exit(code)


def look(session: Session, store: Store, *, at: datetime | None, fresh: bool) -> Observation:
    """One look that changes nothing, and that judges by the sources alone where there is no memory (rules B3, B5)."""
    from heartbeat.observation import observe, patience

    return observe(
        session.roster,
        session.environment,
        store,
        session.cache(read_only=True),
        now=session.now(),
        deadline=patience([each.policy for each in session.roster.agents.values()]),
        at=at,
        fresh=fresh,
        alone=True,
    )


def ahead(seen: Observation, store: Store) -> Outlook:
    """What comes next for the tasks of a look."""
    from heartbeat.acting import acting
    from heartbeat.report.outlook import Outlook
    from heartbeat.store.port import UNFINISHED, EntryKind

    entries = store.entries(kind=EntryKind.WRITE, states=UNFINISHED)
    return Outlook(seen.judgement, seen.roster.charter(), acting(seen, ()), entries)


def _levels(fail_on: FailOn) -> frozenset[Level]:
    from heartbeat.rules.stall import Level

    return {
        FailOn.SUSPECTED: frozenset({Level.SUSPECTED, Level.CONFIRMED}),
        FailOn.CONFIRMED: frozenset({Level.CONFIRMED}),
        FailOn.NEVER: frozenset[Level](),
    }[fail_on]


def _sources(seen: Observation, agent: Agent | None) -> Sources:
    """How the sources were read that may hold work of those who were asked about."""
    from heartbeat.report.timeouts import Sources
    from heartbeat.systems.base import ReadStatus

    asked = [report for report in seen.sweep.reports if _may_concern(report, agent)]
    read = (ReadStatus.COMPLETE, ReadStatus.PARTIAL)
    blind = not any(report.status in read for report in asked)
    names = [report.source for report in asked if blind or report.source in seen.sweep.incomplete]
    malformed = {report.source: len(seen.sweep.readings[report.source].rejected) for report in asked}
    return Sources(tuple(names), {name: number for name, number in malformed.items() if number}, blind)


def _may_concern(report: SourceReport, agent: Agent | None) -> bool:
    """An agent without a Multica id has no Multica source (rule R3); where a task of its is an issue too, that issue is
    missed. A line of any workspace may name any agent."""
    return agent is None or report.source != "multica" or agent.multica_id is not None


# JSON.


def _document(
    report: Report, seen: Observation, agent: str | None, fail_on: FailOn, code: Exit, verdict: str
) -> dict[str, Any]:
    """`heartbeat.timeouts/1`."""
    from heartbeat.cli import documents
    from heartbeat.instants import to_text
    from heartbeat.rules.stall import Level

    standings = {standing.task.key: standing for standing in seen.judgement.standings}
    return {
        "schema": SCHEMA,
        "generated_at": to_text(report.now),
        "checked": report.checked,
        "suspected": report.count(Level.SUSPECTED),
        "confirmed": report.count(Level.CONFIRMED),
        "unknown_sources": list(report.sources.unread),
        "silent_agents": [
            {"agent": each.agent, "last_beat": to_text(each.last_beat), "missed_since": to_text(each.missed_since)}
            for each in report.silent
        ],
        "timeouts": [_timeout_document(each, standings[each.task.key]) for each in report.timeouts],
        "unknown_tasks": [
            {**_named(standings[each.task.key]), "reasons": list(each.reasons)} for each in report.unjudged
        ],
        "unwatched": [
            {
                "key": each.task.key,
                "title": each.task.title,
                "quiet_seconds": round(each.quiet.total_seconds(), 3),
                "idle_seconds": round(each.idle.total_seconds(), 3),
            }
            for each in report.unwatched
        ],
        "unreadable_records": dict(report.sources.malformed),
        "left_out": report.left_out,
        "memory": report.memory,
        "agent": agent,
        "fail_on": fail_on.value,
        "exit_code": int(code),
        "verdict": verdict,
        "degraded": seen.sweep.degraded,
        **documents.level(seen.degradation),
        "alarms": [documents.finding(alarm) for alarm in seen.alarms],
        "sources": documents.sources(seen),
    }


def _timeout_document(found: Timeout, standing: Standing) -> dict[str, Any]:
    return {
        **_named(standing),
        "state": found.stall.level.value,
        "idle_seconds": round(found.stall.idle.total_seconds(), 3),
        "quiet_seconds": round(found.stall.quiet.total_seconds(), 3),
        "runtime_seconds": round(found.stall.runtime.total_seconds(), 3),
        "suspect_after": found.policy.suspect_after.total_seconds(),
        "recover_after": found.policy.recover_after.total_seconds(),
        "incident": found.incident.id if found.incident else None,
        "stage": found.incident.stage.value if found.incident else None,
        "step": found.step.value if found.step else None,
        "next": next_document(found.next),
        "reasons": list(found.reasons),
    }


def next_document(following: Next) -> dict[str, Any]:
    """What comes next: `action`, `at`, `why`."""
    from heartbeat.instants import to_text

    at = None if following.at is None else to_text(following.at)
    return {"action": following.action, "at": at, "why": following.why}


def _named(standing: Standing) -> dict[str, Any]:
    from heartbeat.cli import documents

    told = documents.task(standing)
    return {name: told[name] for name in ("key", "title", "owner", "owner_kind", "refs")}


# Tables.


def _print(report: Report, seen: Observation, verdict: str) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    zone = seen.roster.timezone
    tables.print_instant(out, seen)
    _print_sources(out, report, seen)
    _print_timeouts(out, report, zone)
    _print_silent(out, report, zone)
    _print_unjudged(out, report)
    if report.unwatched:
        out.print(tables.cell(_unwatched_line(report), "yellow"), soft_wrap=True)
    if report.left_out:
        said = "in progress and not judged: owned by persons, or by strangers whom no patrol agent answers for"
        out.print(tables.cell(f"{report.left_out} more {said}", "dim"))
    if not report.memory:
        out.print(tables.cell("judged by the sources alone: no beat has left a memory to go by", "dim"))
    out.print(tables.cell(verdict, "bold"), soft_wrap=True)


def _print_sources(out: Console, report: Report, seen: Observation) -> None:
    """Only what went wrong: that all is well is not news."""
    from heartbeat.cli import tables, wording

    for alarm in seen.alarms:
        out.print(tables.cell(f"{alarm.code}: {alarm.message}", "bold red"), soft_wrap=True)
    for each in seen.sweep.reports:
        if each.source in report.sources.unread:
            out.print(tables.cell(wording.told_of(each), "yellow"), soft_wrap=True)


def _print_timeouts(out: Console, report: Report, zone: str) -> None:
    from heartbeat.cli import tables, wording
    from heartbeat.instants import format_duration
    from heartbeat.rules.stall import Level

    if not report.timeouts:
        return
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, {"overflow": "fold"})
    for found in report.timeouts:
        said = tables.cell(found.task.title)
        for line in (*found.reasons, following_line(found.next, report.now, zone)):
            said.append("\n").append_text(tables.cell(line, "dim"))
        table.add_row(
            "",
            tables.cell(found.stall.level.value, "bold red" if found.stall.level is Level.CONFIRMED else "yellow"),
            tables.cell(" = ".join(item.key for item in found.task.items)),
            tables.cell(wording.owner_of(found.task.owner)),
            tables.cell(f"idle {format_duration(found.stall.idle)}"),
            said,
        )
    out.print(tables.cell(f"Standing still ({len(report.timeouts)})", "bold"))
    out.print(table)
    out.print()


def following_line(following: Next, now: datetime, zone: str) -> str:
    """What comes next, in a sentence."""
    from heartbeat.cli import tables
    from heartbeat.instants import format_duration
    from heartbeat.report.outlook import NOTHING

    if following.action == NOTHING:
        return f"next: nothing by itself{f' ({following.why})' if following.why else ''}"
    action = following.action.replace("_", " ")
    why = f", {following.why}" if following.why else ""
    if following.at is None:
        return f"next: {action}, not before somebody decides{why}"
    if following.at <= now:
        return f"next: {action} with the next beat{why}"
    left = format_duration(following.at - now)
    return f"next: {action} from {tables.local(following.at, zone)} on, in {left}{why}"


def _unwatched_line(report: Report) -> str:
    """What the wall clock alone would suspect, and where to look further (rule T6)."""
    import shlex

    count = len(report.unwatched)
    subject, them = ("1 task was", "it") if count == 1 else (f"{count} tasks were", "them")
    said = f"{subject} quiet for longer than suspect_after by the clock, but heartbeat has not watched {them} so long"
    return f"{said}: heartbeat explain {shlex.quote(report.unwatched[0].task.items[0].key)}"


def _print_silent(out: Console, report: Report, zone: str) -> None:
    from heartbeat.cli import tables, wording

    if not report.silent:
        return
    table = tables.grid({"no_wrap": True}, {"overflow": "fold"})
    for each in report.silent:
        said = f"last beat {wording.age_of(each.last_beat, report.now)}, at {tables.local(each.last_beat, zone)}"
        table.add_row(
            "",
            tables.cell(each.agent, "bold red"),
            tables.cell(f"{said}; no receipt since the slot of {tables.local(each.missed_since, zone)}"),
        )
    out.print(tables.cell(f"Silent agents ({len(report.silent)})", "bold"))
    out.print(table)
    out.print()


def _print_unjudged(out: Console, report: Report) -> None:
    from heartbeat.cli import tables, wording

    if not report.unjudged:
        return
    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for each in report.unjudged:
        said = tables.cell(each.task.title).append("\n").append_text(tables.cell("; ".join(each.reasons), "dim"))
        names = " = ".join(item.key for item in each.task.items)
        table.add_row("", tables.cell(names), tables.cell(wording.owner_of(each.task.owner)), said)
    out.print(tables.cell(f"Not known ({len(report.unjudged)})", "bold"))
    out.print(table)
    out.print()
