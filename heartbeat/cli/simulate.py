"""`heartbeat simulate`: the same rules over a virtual clock and scripted sources, to see what they would do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, progress
from heartbeat.plural import counted
from heartbeat.policy import Recovery
from heartbeat.simulate.scheme import Dispatch, Scheme

if TYPE_CHECKING:
    from rich.console import Console

    from heartbeat.simulate.run import Result
    from heartbeat.simulate.scenario import Scenario
    from heartbeat.simulate.tally import Counts, TurnCounts

_WHY = 160
_NAMED = 10


def simulate(
    context: typer.Context,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="What happens; else an ordinary week of the team.")
    ] = None,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0.01, max=366, metavar="N", help="How long; else the scenario's, or 7."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other chances.")] = 0,
    recovery: Annotated[
        Recovery | None, typer.Option("--recovery", help="Try another `recovery` than the roster's.")
    ] = None,
    dispatch: Annotated[
        Dispatch | None, typer.Option("--dispatch", help="Try another `dispatch` than the roster's.")
    ] = None,
    scheme: Annotated[
        Scheme, typer.Option("--scheme", help="`turns`: the usual scheme, to compare: a turn for every slot, no beats.")
    ] = Scheme.BEATS,
    summary: Annotated[bool, typer.Option("--summary", help="Leave the timeline out.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="The first N lines of the timeline; 0 shows all.")
    ] = 200,
    example: Annotated[
        bool, typer.Option("--example", help="Print a scenario to begin with, and play nothing.")
    ] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Play a scenario with your roster's numbers: what would be done, missed, or done wrongly. Touches nothing real."""
    if example:
        from importlib.resources import files

        typer.echo((files("heartbeat.sample") / "scenario.yaml").read_text(encoding="utf-8"), nl=False)
        return
    from dataclasses import replace

    from heartbeat.simulate.run import run

    session = Session(context, roster)
    played = _scenario(session, scenario, days)
    if recovery is not None:
        played = replace(played, recovery=recovery)
    if dispatch is not None:
        played = replace(played, dispatch=dispatch.value)
    with tempfile.TemporaryDirectory(prefix="heartbeat-simulate-") as folder:
        result = run(
            played, session.roster, Path(folder), seed=seed, days=days, scheme=scheme, progress=_told(played.start)
        )
    if json_output:
        from heartbeat.cli import documents

        documents.write(document(result))
        return
    from heartbeat.cli import tables

    out = tables.console()
    if not summary:
        _print_timeline(out, result, session.roster.timezone, limit)
    _print_summary(out, result)


def _scenario(session: Session, path: Path | None, days: float | None) -> Scenario:
    if path is None:
        from heartbeat.simulate.ordinary import ordinary_week

        return ordinary_week(session.roster, days)
    from heartbeat.simulate.scenario_file import load_scenario

    return load_scenario(path, session.roster)


def _told(start: datetime) -> Any:
    """Tells people at a terminal once for every simulated day."""
    days: set[int] = set()

    def tell(instant: datetime) -> None:
        day = (instant - start).days + 1
        if day not in days:
            days.add(day)
            progress(f"day {day} …")

    return tell


def document(result: Result) -> dict[str, Any]:
    """`heartbeat.simulate/1`."""
    from heartbeat.instants import to_text

    return {
        "schema": "heartbeat.simulate/1",
        "scenario": result.scenario,
        "seed": result.seed,
        "started_at": to_text(result.started),
        "ended_at": to_text(result.ended),
        "scheme": result.scheme.value,
        "agents": list(result.agents),
        "counts": _counts(result.counts),
        "timeline": [
            {
                "at": to_text(moment.at),
                "kind": moment.kind.value,
                "what": moment.what,
                "task": moment.task or None,
                "agent": moment.agent or None,
                "why": moment.why,
            }
            for moment in result.timeline
        ],
    }


def _counts(counts: Counts) -> dict[str, Any]:
    dead = counts.dead
    return {
        "beats": counts.beats,
        "degraded_beats": counts.degraded_beats,
        "writes": dict(counts.writes),
        "conflicts": counts.conflicts,
        "comments": counts.comments,
        "nudges": counts.nudges,
        "messages": dict(counts.messages),
        "incidents": dict(counts.incidents),
        "recoveries": counts.recoveries,
        "storms": counts.storms,
        "false_alarms": list(counts.false_alarms),
        "wrong_recoveries": list(counts.wrong_recoveries),
        "dead": {
            "all": dead.all,
            "recovered": dead.recovered,
            "woken": dead.woken,
            "otherwise": dead.otherwise,
            "open": dead.open,
            "missed": list(dead.missed_tasks),
            "missed_but_told": dead.told,
            "typical_seconds": None if dead.typical is None else dead.typical.total_seconds(),
            "longest_seconds": None if dead.longest is None else dead.longest.total_seconds(),
        },
        "runs": dict(counts.runs),
        "runs_by_us": counts.runs_by_us,
        "turns": _turns(counts),
        "tasks": dict(counts.tasks),
    }


def _turns(counts: Counts) -> dict[str, Any]:
    turns = counts.turns
    return {
        "all": turns.all,
        "started": dict(turns.started),
        "idle": turns.idle,
        "for_each_task": counts.turns_per_task,
        "skipped": dict(turns.skipped),
        "attempts": dict(turns.attempts),
        "letters": dict(turns.letters),
        "replays": turns.replays,
        "overlaps": list(turns.overlaps),
        "neglected": list(turns.neglected),
    }


def _print_timeline(out: Console, result: Result, zone: str, limit: int) -> None:
    from zoneinfo import ZoneInfo

    from heartbeat.cli.tables import cell, grid
    from heartbeat.cli.terminal import clipped
    from heartbeat.simulate.world import Kind

    colours = {Kind.FAULT: "red", Kind.SOURCE: "red", Kind.WRITE: "yellow", Kind.MESSAGE: "yellow", Kind.RUN: "yellow"}
    table = grid({"no_wrap": True}, {"overflow": "fold", "max_width": 28}, {"overflow": "fold"})
    moments = result.timeline[:limit] if limit else result.timeline
    for moment in moments:
        local = moment.at.astimezone(ZoneInfo(zone)).strftime("%a %d %H:%M")
        said = cell(moment.what, colours.get(moment.kind, ""))
        if moment.why:
            said.append("\n").append_text(cell(clipped(moment.why, _WHY), "dim"))
        table.add_row("", cell(local, "dim"), cell(moment.task or moment.agent), said)
    out.print(cell(f"{result.scenario} · seed {result.seed} · {zone}", "bold"))
    out.print(table)
    if len(moments) < len(result.timeline):
        more = counted(len(result.timeline) - len(moments), "more line")
        out.print(cell(f"  … and {more}: --limit 0 shows all", "dim"))
    out.print()


def _print_summary(out: Console, result: Result) -> None:
    from heartbeat.cli.tables import cell, grid
    from heartbeat.instants import format_duration

    length = format_duration(result.ended - result.started)
    head = f"Summary: {length}, {counted(len(result.agents), 'agent')}, seed {result.seed}"
    table = grid({"no_wrap": True}, {"overflow": "fold"})
    for name, told, colour in _lines(result.counts):
        table.add_row("", cell(name), cell(told, colour))
    out.print(cell(head, "bold"))
    out.print(table)


def _lines(counts: Counts) -> list[tuple[str, str, str]]:
    """Name, value and colour of every line of the summary; what should be zero is red where it is not."""
    from heartbeat.instants import format_duration

    dead = counts.dead
    ends = (
        (dead.recovered, "recovered"),
        (dead.woken, "came back"),
        (dead.otherwise, "taken away by others"),
        (dead.open, "still open"),
    )
    waited = ""
    if dead.typical is not None and dead.longest is not None:
        waited = f"; recovered after {format_duration(dead.typical)}, at the latest {format_duration(dead.longest)}"
    recoveries = counted(counts.recoveries, "recovery", "recoveries")
    conflicts = counted(counts.conflicts, "conflict")
    missed = _named(dead.missed_tasks) + (f"; somebody was told of {dead.told}" if dead.missed else "")
    return [
        ("beats", f"{counts.beats}, degraded {counts.degraded_beats}", ""),
        ("tasks", _listed(counts.tasks), ""),
        ("truly dead", f"{dead.all}: {', '.join(f'{n} {word}' for n, word in ends if n) or 'none'}{waited}", ""),
        ("missed", missed, "red" if dead.missed else ""),
        ("false alarms", _named(counts.false_alarms), "yellow" if counts.false_alarms else ""),
        ("wrongly taken", _named(counts.wrong_recoveries), "red" if counts.wrong_recoveries else ""),
        ("incidents", f"{_listed(counts.incidents)}; {recoveries}, {counted(counts.nudges, 'nudge')}", ""),
        ("storms", str(counts.storms), "yellow" if counts.storms else ""),
        ("writes", f"{_listed(counts.writes)}; {counted(counts.comments, 'comment')}, {conflicts}", ""),
        ("messages", _listed(counts.messages), ""),
        ("agent runs", f"{counts.runs_by_us} by heartbeat; {_listed(counts.runs)}", "red" if counts.runs_by_us else ""),
        ("model turns", _told_of_turns(counts), ""),
        *_lines_of_dispatch(counts.turns),
    ]


def _told_of_turns(counts: Counts) -> str:
    """How many, by whom, for nothing, and for each task that was finished."""
    turns, each = counts.turns, counts.turns_per_task
    starters = {f"by {name}": count for name, count in turns.started.items()}
    told = f"{turns.all}: {_listed(starters)}; {turns.idle} with nothing to do" if turns.all else "0"
    return f"{told}; {each:.1f} for each finished task" if each is not None else told


def _lines_of_dispatch(turns: TurnCounts) -> Iterator[tuple[str, str, str]]:
    """Only where there is something to tell of turns that were started, or were not."""
    if turns.skipped:
        yield "beats without one", _listed(turns.skipped), ""
    if turns.attempts:
        yield "attempts", _listed(turns.attempts), ""
    if turns.letters:
        yield "dead letters", f"{_listed(turns.letters)}; {turns.replays} attempts were replays", ""
    if turns.attempts or turns.overlaps:
        yield "two turns at once", _named(turns.overlaps), "red" if turns.overlaps else ""
    if turns.skipped or turns.neglected:
        yield "left lying", _named(turns.neglected), "red" if turns.neglected else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "none"


def _named(names: tuple[str, ...]) -> str:
    if not names:
        return "0"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)}: {', '.join(names[:_NAMED])}{more}"
