"""`heartbeat tick`: a beat, on record. `heartbeat worklist`: the same view for the agent itself, read-only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.scheduled import ScheduledOption, heard_or_not, lines, pings, scheduled
from heartbeat.cli.session import (
    AtOption,
    DebugOption,
    FreshOption,
    JsonOption,
    RosterOption,
    Session,
    StrictOption,
    complain,
    finish,
    instant,
    progress,
)
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from heartbeat.beat import Patrol, Tick
    from heartbeat.roster.model import Agent
    from heartbeat.store.port import Store


class Format(StrEnum):
    """How a worklist is printed for reading."""

    TABLE = "table"
    MD = "md"


AgentsArgument = Annotated[list[str] | None, typer.Argument(metavar="AGENT...", help="Agents of the roster.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every agent of the roster.")]
FormatOption = Annotated[Format, typer.Option("--format", help="For people (table) or for a model (md).")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="At most N tasks a section; 0 shows all. JSON has all.")
]


def tick(
    context: typer.Context,
    agents: AgentsArgument = None,
    all_agents: AllOption = False,
    due: Annotated[
        bool, typer.Option("--due", help="Only those whose slot has come; of all, where none is named.")
    ] = False,
    json_output: JsonOption = False,
    format_: FormatOption = Format.TABLE,
    for_scheduler: ScheduledOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing anywhere: no receipt, no slot.")] = False,
    fresh: FreshOption = False,
    strict: StrictOption = False,
    at: AtOption = None,
    limit: LimitOption = 50,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """One beat: read the three sources, merge, put it on record, print the worklist. Made for schedulers."""
    if for_scheduler and strict:
        raise UsageError(
            "--strict and --scheduled do not go together: one makes a failure of what the other makes none of",
            advice="leave --strict out; each line names the sources that were not read, and the receipt keeps it",
        )
    if all_agents and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    if at is not None and not dry_run:
        raise UsageError("--at judges another instant than now, and a beat is on record", advice="add --dry-run")
    if not (agents or all_agents or due):
        raise UsageError("no agent to beat for", advice="name one or more agents, or use --all or --due")
    moment = instant(at)
    with scheduled(for_scheduler):
        session = Session(context, roster)
        team = _team(session, agents, lenient=for_scheduler and due)
        with pings(session, for_scheduler and not dry_run) as ping, session.store(read_only=dry_run) as store:
            if dry_run:
                result = _rehearsal(session, team, store, moment, fresh=fresh, due=due)
            else:
                result = _beat(session, team, store, fresh=fresh, due=due)
            for fenced in result.fenced:
                complain(str(fenced))
            if for_scheduler and not dry_run and any(beat.receipt for beat in result.beats):
                session.keep_known()
            if for_scheduler:
                with heard_or_not():
                    single = not (all_agents or due)
                    _print_for_scheduler(result, session, store, json_output=json_output, single=single)
                ping.silent = not any(beat.receipt for beat in result.beats)
                ping.text = "\n".join(lines(result, session.now()))
            else:
                form = _Form(json_output, format_, limit, single=not (all_agents or due))
                _print(result, store, form, moment or session.now(), session.roster.timezone)
        if result.hooks_wait:
            _run_hooks(session)
        finish(result.observation, strict)


def _run_hooks(session: Session) -> None:
    """Last of all: whatever they do, everything of the beat is out by now."""
    from heartbeat.dispatch.hooks import run_hooks

    sys.stdout.flush()
    with session.store(read_only=False) as store:
        run_hooks(store, session.roster, session.environment, session.state / "locks", clock=session.now)


def _team(session: Session, names: list[str] | None, *, lenient: bool) -> Sequence[Agent]:
    """Who is meant. A schedule is older than the roster: with `lenient`, who has left it does not stop the others."""
    asked = list(dict.fromkeys(names or session.roster.agents))
    there = [name for name in asked if name in session.roster.agents]
    if not lenient or not there:
        return session.roster.chosen(asked)
    for name in asked:
        if name not in session.roster.agents:
            complain(f"{session.roster.path}: no agent called {name!r} any more; see `heartbeat cron diff`")
    return session.roster.chosen(there)


def worklist(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent of the roster.")],
    json_output: JsonOption = False,
    format_: FormatOption = Format.MD,
    fresh: FreshOption = False,
    strict: StrictOption = False,
    at: AtOption = None,
    limit: LimitOption = 50,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What an agent has to do now. Read-only: no receipt, no slot, no write; agents run this themselves."""
    from heartbeat import beat

    session = Session(context, roster)
    team = session.roster.chosen([agent])
    moment = instant(at)
    with session.store(read_only=True) as store:
        seen = beat.rehearse(session.observe(store, team, at=moment, fresh=fresh), team, store)
        result = beat.Tick(seen.observation, seen.beats)  # what a tick would do is not the agent's business
        form = _Form(json_output, format_, limit, single=True)
        _print(result, store, form, moment or session.now(), session.roster.timezone)
    finish(result.observation, strict)


def _beat(session: Session, team: Sequence[Agent], store: Store, *, fresh: bool, due: bool) -> Tick:
    from heartbeat import beat

    if not due:
        progress("reading the sources …")
    cache, locks = session.cache(read_only=False), session.state / "locks"
    return beat.tick(
        session.roster, team, session.environment, store, cache, locks, clock=session.now, fresh=fresh, only_due=due
    )


def _rehearsal(
    session: Session, team: Sequence[Agent], store: Store, at: datetime | None, *, fresh: bool, due: bool
) -> Tick:
    """What would be; with `due` for those who are due at the instant that is judged."""
    from heartbeat import beat

    resting: dict[str, datetime] = {}
    if due:
        team, resting = beat.who_is_due(session.roster, team, store, at or session.now())
        if not team:
            return beat.Tick(None, (), resting=resting)
    progress("reading the sources …")
    seen = beat.rehearse(session.observe(store, team, at=at, fresh=fresh), team, store, session.environment)
    return replace(seen, resting=resting)


def _print_for_scheduler(result: Tick, session: Session, store: Store, *, json_output: bool, single: bool) -> None:
    """For a log: nothing at all where nobody is due."""
    if not result.beats:
        return
    if json_output:
        _print_json(result, _patrols(result, store), single=single)
        return
    for line in lines(result, session.now()):
        typer.echo(line)


@dataclass(frozen=True)
class _Form:
    """How a tick is printed. `single`: one agent was asked for, and not whoever is due or all."""

    json_output: bool
    format_: Format
    limit: int
    single: bool


def _print(result: Tick, store: Store, form: _Form, now: datetime, zone: str) -> None:
    from heartbeat.cli.wording import resting

    patrols = _patrols(result, store)
    told_in = "UTC" if form.format_ is Format.MD else zone  # Markdown has one zone, and it is not the reader's
    waiting = resting(result.resting, bool(result.beats), now, told_in) if result.resting else ""
    if form.json_output:
        _print_json(result, patrols, single=form.single)
    elif form.format_ is Format.MD:
        _print_markdown(result, patrols, form.limit, waiting)
    else:
        _print_tables(result, patrols, form.limit, waiting)


def _patrols(result: Tick, store: Store) -> dict[str, Patrol]:
    from heartbeat.beat import patrol

    walking = [each.agent.id for each in result.beats if each.agent.patrol and each.worklist is not None]
    if result.observation is None or not walking:
        return {}
    seen = patrol(result.observation, store)
    return dict.fromkeys(walking, seen)


def _print_json(result: Tick, patrols: dict[str, Patrol], *, single: bool) -> None:
    from heartbeat.cli import documents

    if single and len(result.beats) == 1:
        beat = result.beats[0]
        documents.write(documents.tick_document(result, beat, patrols.get(beat.agent.id)))
    else:
        documents.write(documents.ticks_document(result, patrols))


def _print_markdown(result: Tick, patrols: dict[str, Patrol], limit: int, waiting: str) -> None:
    from heartbeat.cli import deeds, markdown

    for number, beat in enumerate(result.beats):
        if result.observation is None:
            typer.echo(beat.skipped)
        else:
            text = markdown.worklist(result.observation, beat, patrols.get(beat.agent.id), limit)
            typer.echo(text if number == 0 else f"\n{text}", nl=False)
    done = [*deeds.pauses(result), *deeds.deeds(result)]
    if done:
        typer.echo("\n".join(("", "## Actions", "", *(f"- {markdown.code(sentence)}" for sentence in done))))
    if waiting:
        typer.echo(f"\n{waiting}" if result.beats else waiting)


def _print_tables(result: Tick, patrols: dict[str, Patrol], limit: int, waiting: str) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    if result.observation is None:
        for beat in result.beats:
            out.print(tables.cell(beat.skipped))
    else:
        tables.print_sources(out, result.observation)
        for beat in result.beats:
            out.print()
            tables.print_beat(out, result.observation, beat, patrols.get(beat.agent.id), limit)
        tables.print_deeds(out, result)
    if waiting:
        if result.beats:
            out.print()
        out.print(tables.cell(waiting, "dim" if result.beats else ""))
