"""Tables for people: aligned, few colours, and the same text without a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from heartbeat.beat import Beat, Patrol, Tick
from heartbeat.cli import zone as zones
from heartbeat.cli.deeds import DECIDE, deeds, letters, pauses
from heartbeat.cli.scheduled import ANSWERED, lateness, missed
from heartbeat.cli.screen import TERMINAL as TERMINAL
from heartbeat.cli.screen import console as console
from heartbeat.cli.screen import grid as grid
from heartbeat.cli.terminal import clipped, plain
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
    short_message,
    turn_of,
)
from heartbeat.cli.wording import local as local
from heartbeat.instants import exact_duration, format_duration
from heartbeat.memory import Miss, MissReason
from heartbeat.observation import Observation
from heartbeat.plural import counted
from heartbeat.rules.backlog import ALARM_ABOVE, FIRST, OwnerLoad
from heartbeat.rules.decisions import Reason
from heartbeat.rules.degradation import Degradation, Level
from heartbeat.store.port import Receipt
from heartbeat.systems.base import ReadStatus, SourceReport
from heartbeat.task import Finding, OwnerKind, Priority, State
from heartbeat.worklist import Standing

_WIDEST = 1000
_SHORT = 72

_COLOUR = {
    ReadStatus.COMPLETE: "green",
    ReadStatus.PARTIAL: "yellow",
    ReadStatus.FAILED: "bold red",
    ReadStatus.DISABLED: "dim",
}
_DEGRADATION_COLOUR = {Level.L0: "dim", Level.L1: "yellow", Level.L2: "bold yellow", Level.L3: "bold red"}
_LEVEL_COLOUR = {"critical": "bold red", "warning": "yellow"}
_PRIORITY_COLOUR = {Priority.URGENT: "bold red", Priority.HIGH: "yellow"}


def cell(text: object, style: str = "") -> Text:
    """Foreign text as a cell, its instants in the roster's zone: one line, nothing in it is markup or an escape
    sequence (rule B8); cut when very long."""
    return Text(clipped(zones.shown(str(text)), _WIDEST), style=style)


def whole(text: object, style: str = "") -> Text:
    """As `cell`, and never cut: where a screen is about this text."""
    return Text(plain(zones.shown(str(text))), style=style)


def print_instant(out: Console, observation: Observation) -> None:
    """Which instant was judged, where it is another than now (`--at`)."""
    if observation.at != observation.sweep.now:
        out.print(cell(f"judged as of {local(observation.at, observation.roster.timezone)}", "dim"))


def print_beat(out: Console, observation: Observation, beat: Beat, patrol: Patrol | None, limit: int) -> None:
    """One agent's worklist, findings, backlog for a patrol agent, and the count of everything."""
    policy = beat.agent.policy
    rhythm = policy.cron or f"every {exact_duration(policy.every)}"
    heading = f"{beat.agent.id} {beat.agent.name} · {local(observation.at, observation.roster.timezone)} · {rhythm}"
    out.print(cell(heading, "bold"))
    if beat.worklist is None:
        out.print(cell(beat.skipped))
        return
    _print_letters(out, beat)
    _print_attention(out, beat)
    context = context_of(observation)
    shown = [state for state, _ in SECTIONS if beat.worklist.in_state(state)]
    for state, title in SECTIONS:
        standings = beat.worklist.in_state(state)
        if standings:
            print_tasks(out, title, standings, context, observation.at, limit, with_owner=False)
    if not shown:
        out.print()
        out.print(nothing_to_do(observation))
    print_findings(out, beat.worklist.findings, limit)
    if patrol is not None:
        print_backlog(out, patrol, observation)
    out.print()
    receipt = f" · receipt {beat.receipt.id[:8]}" if beat.receipt else " · no receipt"
    out.print(cell(bucket_line(beat.worklist.buckets) + receipt, "dim"))
    turn = turn_of(beat.turn, foreseen=beat.receipt is None)
    if turn:
        out.print(cell(turn, "" if beat.turn is not None and beat.turn.started is not None else "dim"))
    if beat.receipt is not None and beat.receipt.slot is None:
        out.print(cell(f"{ANSWERED}: this beat is one more and counts for none", "dim"))
    if beat.missed is not None:
        out.print(cell(missed(beat.missed), "yellow"))


def _print_letters(out: Console, beat: Beat) -> None:
    told = list(letters(beat))
    if not told:
        return
    table = grid({"no_wrap": True}, {"overflow": "fold"})
    for level, title, body in told:
        said = cell(title, _LEVEL_COLOUR.get(level, ""))
        table.add_row("", cell(level, "dim"), said.append("\n").append_text(cell(body, "dim")))
    out.print()
    out.print(cell(f"Messages ({len(told)})", "bold"))
    out.print(table)


def _print_attention(out: Console, beat: Beat) -> None:
    if not beat.attention:
        return
    table = grid({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for each in beat.attention:
        said = cell(each.task.title).append("\n").append_text(cell(each.reason, "dim"))
        table.add_row("", cell(" = ".join(item.key for item in each.task.items)), cell(owner_of(each.task.owner)), said)
    out.print()
    out.print(cell(f"Blocked by heartbeat: {DECIDE} ({len(beat.attention)})", "bold"))
    out.print(table)


def print_deeds(out: Console, tick: Tick) -> None:
    """What was done beyond looking; nothing where nothing was."""
    done = [*pauses(tick), *deeds(tick)]
    if done:
        out.print()
        out.print(cell(f"Actions ({len(done)})", "bold"))
        for sentence in done:
            out.print(cell(f"  {sentence}"))


def print_sources(out: Console, observation: Observation) -> None:
    """What was read, how, and what could not be read."""
    table = grid({}, {}, {}, {"justify": "right"}, {"overflow": "fold"})
    for report in observation.sweep.reports:
        age = observation.sweep.age(report.source)
        table.add_row(
            "",
            cell(report.source),
            cell(report.status.value, _COLOUR[report.status]),
            cell(report.transport or "-"),
            cell(counted(report.items, "item")),
            _told(report, age),
        )
    for alarm in observation.alarms:
        out.print(cell(f"{alarm.code}: {alarm.message}", "bold red"))
    out.print(cell("Sources", "bold"))
    out.print(table)
    out.print(level_line(observation.degradation), soft_wrap=True)
    print_findings(out, [found for report in observation.sweep.reports for found in report.findings], 20)


def level_line(degradation: Degradation) -> Text:
    """How far heartbeat can see and act, and why not further (rule G1)."""
    return cell(f"Level {degradation.told}", _DEGRADATION_COLOUR[degradation.level])


def _told(report: SourceReport, age: float | None) -> Text:
    when = "" if age is None or age < 1 else f"read {format_duration(age)} ago"
    kind = report.kind.value if report.kind and report.status is not ReadStatus.DISABLED else ""
    parts = [part for part in (when, ": ".join(filter(None, (kind, short_message(report)))), report.advice) if part]
    return cell("; ".join(parts))


def print_tasks(
    out: Console,
    title: str,
    standings: Sequence[Standing],
    context: Context,
    now: datetime,
    limit: int,
    *,
    with_owner: bool,
) -> None:
    """One section of a worklist: priority, names, owner on request, title with its reasons below, due date."""
    standings, closed = apart(standings)
    fixed: dict[str, Any] = {"no_wrap": True}
    table = grid(fixed, fixed, *([fixed] if with_owner else []), {"overflow": "fold"}, fixed)
    for standing in standings[:limit] if limit else standings:
        subject = standing.task
        names = " = ".join(item.key for item in subject.items)
        said = cell(subject.title)
        for reason in explained(standing, context):
            said.append("\n").append_text(cell(reason, "dim"))
        table.add_row(
            "",
            cell(subject.priority.value, _PRIORITY_COLOUR.get(subject.priority, "")),
            cell(names),
            *([cell(owner_of(subject.owner))] if with_owner else []),
            said,
            cell(_when(standing, now)),
        )
    out.print()
    out.print(cell(f"{title} ({len(standings) + closed})", "bold"))
    out.print(table)
    if closed:
        out.print(cell(f"  {closed} more were closed when they were last read", "dim"))
    if limit and len(standings) > limit:
        out.print(cell(f"  … and {len(standings) - limit} more: --limit 0 shows all", "dim"))


def _when(standing: Standing, now: datetime) -> str:
    """When it is due, and for work in progress when it last changed."""
    due = standing.task.due
    return ", ".join(filter(None, (f"due {due.isoformat()}" if due else "", last_change(standing, now))))


def print_findings(out: Console, findings: Sequence[Finding], limit: int) -> None:
    """What a person should know; nothing where there is nothing."""
    if not findings:
        return
    table = grid({"no_wrap": True, "style": "yellow"}, {"overflow": "fold"})
    for found in findings[:limit] if limit else findings:
        table.add_row("", cell(found.code), cell(found.message))
    out.print()
    out.print(cell(f"Findings ({len(findings)})", "bold"))
    out.print(table)
    if limit and len(findings) > limit:
        out.print(cell(f"  … and {len(findings) - limit} more: --json shows all", "dim"))


def print_backlog(out: Console, patrol: Patrol, observation: Observation) -> None:
    """The whole platform: every source's load and first items, every owner's load, every agent's last beat."""
    out.print()
    out.print(cell("Backlog of the whole platform", "bold"))
    table = grid({}, {"justify": "right"}, {"justify": "right"}, {"justify": "right"}, {})
    for load in patrol.backlog.sources:
        alarm = cell(f"backlog alarm: more than {ALARM_ABOVE} to do", "bold red") if load.alarm else cell("")
        counts = (f"{load.todo} todo", f"{load.in_progress} in progress", f"{load.total} in all")
        table.add_row("", cell(load.source), *(cell(count) for count in counts), alarm)
    out.print(table)
    listed = grid({"no_wrap": True}, {"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for load in patrol.backlog.sources:
        for subject in load.first:
            own = next(item for item in subject.items if item.ref.source == load.source)
            listed.add_row(
                "",
                cell(load.source, "dim"),
                cell(own.key),
                cell(owner_of(subject.owner)),
                cell(clipped(own.title, _SHORT)),
            )
    if listed.row_count:
        out.print(cell(f"  to do, the first {FIRST} of each source", "dim"))
        out.print(listed)
    _print_load(out, patrol, observation)


def _print_load(out: Console, patrol: Patrol, observation: Observation) -> None:
    """One row an agent of the roster, with its last beat, then one for everybody else who has open work."""
    loads = {load.owner.id: load for load in patrol.backlog.owners if _in_team(load)}
    table = grid({"no_wrap": True}, {"overflow": "fold"}, {"overflow": "fold"})
    for agent in observation.roster.agents:
        load, receipt = loads.get(agent), patrol.last_receipts.get(agent)
        seen = age_of(receipt.started_at, observation.at) if receipt else "never"
        beat = cell(f"last beat {seen}", "" if receipt else "yellow")
        table.add_row("", cell(agent), cell(load_of(load) if load else "nothing"), beat)
    for load in patrol.backlog.owners:
        if not _in_team(load):
            warning = "" if load.known else "not in the roster: nobody is shown this work"
            table.add_row("", cell(owner_of(load.owner)), cell(load_of(load)), cell(warning, "yellow"))
    out.print(cell("  load", "dim"))
    out.print(table)


def _in_team(load: OwnerLoad) -> bool:
    return load.known and load.owner.kind is OwnerKind.AGENT


def _slot_of(receipt: Receipt) -> str:
    """What a receipt says of its slot."""
    if receipt.outcome == "interrupted":
        return "its slot is still open"
    return "one more in its slot" if receipt.slot is None else lateness(receipt)


def print_receipts(out: Console, receipts: Iterable[Receipt], misses: Iterable[Miss], zone: str) -> None:
    """Receipts, newest first, and among them the slots that passed without one."""
    table = grid({}, {}, {}, {}, {"overflow": "fold"}, {"overflow": "fold"})
    left = sorted(misses, key=lambda miss: miss.last, reverse=True)
    for receipt in receipts:
        while left and left[0].last > receipt.started_at:
            table.add_row("", *_missed(left.pop(0), zone))
        troubled = [
            f"{source.get('name')}: {source.get('kind') or source.get('status')}"
            for source in receipt.sources
            if source.get("status") in ("failed", "partial")
        ]
        level = receipt.level if receipt.level not in ("", Level.L0) else ""
        told = _dispatched(receipt)
        took = (receipt.ended_at - receipt.started_at).total_seconds()
        came = f"{receipt.outcome} in {took:.1f}s"
        late = _slot_of(receipt)
        table.add_row(
            "",
            cell(receipt.id[:8]),
            cell(receipt.agent),
            cell(local(receipt.started_at, zone)),
            cell(f"{came}, {late}" if late else came, "" if receipt.outcome == "done" else "yellow"),
            cell(bucket_line(receipt.buckets)),
            cell("; ".join(filter(None, (level, *troubled, *receipt.reasons, told))), "yellow"),
        )
    for miss in left:
        table.add_row("", *_missed(miss, zone))
    out.print(table)


def _dispatched(receipt: Receipt) -> str:
    """What the beat decided about a turn; nothing where the roster lets heartbeat start none."""
    decision = str(receipt.dispatch.get("decision") or "")
    if not decision or receipt.dispatch.get("reason") == Reason.NONE:
        return ""
    return f"{decision}: {receipt.dispatch.get('told') or ''}"


_WHY_MISSED = {
    MissReason.COALESCED: "nobody beat then; the next beat ran in their place",
    MissReason.BUSY: "the beat before was still running",
}


def _missed(miss: Miss, zone: str) -> Iterable[Text]:
    """The cells of a row about slots that passed."""
    slots = counted(miss.count, "slot")
    last = f"to {local(miss.last, zone)}: " if miss.last != miss.first else ""
    yield from (cell("-"), cell(miss.agent), cell(local(miss.first, zone)), cell(f"missed {slots}", "yellow"))
    yield from (cell(f"{last}{_WHY_MISSED[miss.reason]}"), cell(""))


def by_state(standings: Sequence[Standing]) -> Iterable[tuple[str, Sequence[Standing]]]:
    """Non-empty sections for a list of tasks of many owners, closed ones last."""
    for state, title in (*SECTIONS, (State.DONE, "Closed")):
        chosen = [standing for standing in standings if standing.state is state]
        if chosen:
            yield title, chosen
