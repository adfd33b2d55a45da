"""`heartbeat verify`: waits for one whole round of beats and says who did not beat. Read-only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain, progress
from heartbeat.errors import Exit, UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.verify import Round, Verified

SCHEMA = "heartbeat.verify/1"

wait = time.sleep
"""Waits, in seconds."""


def verify(
    context: typer.Context,
    agents: Annotated[list[str] | None, typer.Argument(metavar="AGENT...", help="Agents of the roster.")] = None,
    all_agents: Annotated[
        bool, typer.Option("--all", help="Every agent of the roster: what no name means too.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout", metavar="DURATION", help="Wait so long at most, such as 20m; else for every next slot."
        ),
    ] = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Wait until each agent's next slot was answered. Exit 0: all beat and read everything. 1: a gap. 3: not known."""
    from heartbeat import verify as rounds
    from heartbeat.watch.judgement import grace_of
    from heartbeat.watch.records import read

    session = Session(context, roster)
    if all_agents and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    team = session.roster.chosen(list(dict.fromkeys(agents or session.roster.agents)))
    state, names = session.state, tuple(session.roster.agents)
    longest = _duration(timeout)
    due = rounds.slots(session.roster, team, session.now())
    if due:
        last = _local(session, max(due.values()))
        progress(f"waiting for {counted(len(due), 'agent')}, the last slot is at {last}; Ctrl-C ends it")
    found = rounds.verify(
        session.roster,
        team,
        clock=session.now,
        wait=wait,
        look=lambda now: read(state, names, now, beats_only=True),
        grace=grace_of(session.roster),
        timeout=longest,
        say=progress,
    )
    causes = _causes(session, found)
    if json_output:
        from heartbeat.cli import documents

        documents.write(_document(found, causes))
        if found.code is not Exit.OK:
            complain(found.verdict)
    else:
        _print(session, found, causes)
    raise typer.Exit(found.code)


def _duration(text: str | None) -> timedelta | None:
    from heartbeat.instants import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}", advice="write 90s, 20m or 1h30m") from error


def _local(session: Session, instant: datetime) -> str:
    from heartbeat.cli.health import local_in

    return local_in(session.roster.timezone)(instant)


def _causes(session: Session, found: Verified) -> dict[str, tuple[str, str]]:
    """Why those who did not beat may not have, and what to do, by agent."""
    from heartbeat.cli.health import causes_of, healths_of, local_in

    missing = {each.agent for each in found.rounds if each.receipt is None and each.result.value == "gap"}
    team = healths_of(session, found.records, found.ended_at)
    return dict(causes_of(missing, team, found.records, local_in(session.roster.timezone)))


def _document(found: Verified, causes: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """`heartbeat.verify/1`."""
    from heartbeat.instants import to_text

    return {
        "schema": SCHEMA,
        "generated_at": to_text(found.ended_at),
        "began_at": to_text(found.began_at),
        "until": to_text(found.until),
        "interrupted": found.interrupted,
        "exit_code": int(found.code),
        "verdict": found.verdict,
        "state": str(found.records.state),
        "unused": list(found.unused),
        "agents": [_round_document(each, causes.get(each.agent)) for each in found.rounds],
    }


def _round_document(found: Round, cause: tuple[str, str] | None) -> dict[str, Any]:
    from heartbeat.instants import to_text

    receipt = found.receipt
    late = None if receipt is None else receipt.late
    return {
        "agent": found.agent,
        "slot": to_text(found.slot),
        "result": found.result.value,
        "problems": list(found.problems),
        "cause": "" if cause is None else cause[0],
        "advice": "" if cause is None else cause[1],
        "receipt": None if receipt is None else receipt.id,
        "beat_at": None if receipt is None else to_text(receipt.started_at),
        "outcome": None if receipt is None else receipt.outcome,
        "lateness_seconds": None if late is None else round(late.total_seconds(), 3),
        "host": None if receipt is None else receipt.host,
        "pid": None if receipt is None else receipt.pid,
        "sources": dict(found.read),
        "notes": list(found.notes),
    }


_COLOURS = {"beat": "green", "gap": "bold red", "unknown": "yellow"}


def _print(session: Session, found: Verified, causes: dict[str, tuple[str, str]]) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, {"overflow": "fold"})
    for each in found.rounds:
        said = tables.cell(_beat(each) if each.receipt is not None else "")
        for note in (*each.problems, *causes.get(each.agent, ()), *each.notes, *_read(each)):
            said.append("\n" if said.plain else "").append_text(tables.cell(note, "dim"))
        result = tables.cell(each.result.value, _COLOURS[each.result.value])
        table.add_row("", tables.cell(each.agent), result, tables.cell(_local(session, each.slot), "dim"), said)
    out.print(table)
    if found.records.trouble:
        out.print(tables.cell(f"{found.records.trouble}; {found.records.advice}", "bold red"), soft_wrap=True)
    if found.interrupted:
        out.print(tables.cell("interrupted: the others were not waited for", "yellow"))
    out.print()
    if found.unused:
        told = f"not used: {', '.join(found.unused)} (nothing found; `heartbeat doctor --cron` tries it as beats do)"
        out.print(tables.cell(told, "dim"), soft_wrap=True)
    out.print(tables.cell(found.verdict, "bold"), soft_wrap=True)


def _read(found: Round) -> Iterator[str]:
    """Which sources the beat read, by how much of them."""
    names: dict[str, list[str]] = {}
    for name, status in found.read.items():
        names.setdefault(status, []).append(name)
    if names:
        yield "; ".join(f"{_WORDS.get(status, status)}: {', '.join(sources)}" for status, sources in names.items())


_WORDS = {"complete": "read", "disabled": "not in use"}


def _beat(found: Round) -> str:
    """By whom the slot was answered, and how late."""
    from heartbeat.instants import format_duration

    receipt = found.receipt
    if receipt is None:
        return ""
    late = "" if receipt.late is None else f", {format_duration(max(receipt.late, timedelta(0)))} after its slot"
    return f"{receipt.outcome} by pid {receipt.pid} on {receipt.host}{late}"
