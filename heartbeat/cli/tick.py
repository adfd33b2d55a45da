"""`heartbeat tick`: a beat, on record. `heartbeat worklist`: the same view for the agent itself, read-only."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import (
    AtOption,
    DebugOption,
    FreshOption,
    JsonOption,
    RosterOption,
    Session,
    StrictOption,
    finish,
    instant,
    progress,
)
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from heartbeat.beat import Patrol, Tick
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
    json_output: JsonOption = False,
    format_: FormatOption = Format.TABLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing anywhere: no receipt, no slot.")] = False,
    fresh: FreshOption = False,
    strict: StrictOption = False,
    at: AtOption = None,
    limit: LimitOption = 50,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """One beat: read the three sources, merge, put it on record, print the worklist. Made for schedulers."""
    from heartbeat import beat

    session = Session(context, roster)
    named = _named(session, agents, all_agents)
    if at is not None and not dry_run:
        raise UsageError("--at judges another instant than now, and a beat is on record", advice="add --dry-run")
    if not named:
        raise UsageError("no agent to beat for", advice="name one or more agents, or use --all")
    moment = instant(at)
    team = session.roster.chosen(named)
    with session.store(read_only=dry_run) as store:
        progress("reading the sources …")
        if dry_run:
            result = beat.rehearse(session.observe(store, team, at=moment, fresh=fresh), team, store)
        else:
            cache, locks = session.cache(read_only=False), session.state / "locks"
            result = beat.tick(
                session.roster, team, session.environment, store, cache, locks, clock=session.now, fresh=fresh
            )
        _print(result, store, json_output=json_output, format_=format_, limit=limit, single=not all_agents)
    finish(result.observation, strict)


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
        _print(result, store, json_output=json_output, format_=format_, limit=limit, single=True)
    finish(result.observation, strict)


def _named(session: Session, agents: list[str] | None, everybody: bool) -> list[str]:
    if everybody and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    return list(session.roster.agents) if everybody else list(dict.fromkeys(agents or []))


def _print(result: Tick, store: Store, *, json_output: bool, format_: Format, limit: int, single: bool) -> None:
    patrols = _patrols(result, store)
    if json_output:
        _print_json(result, patrols, single=single)
    elif format_ is Format.MD:
        _print_markdown(result, patrols, limit)
    else:
        _print_tables(result, patrols, limit)


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


def _print_markdown(result: Tick, patrols: dict[str, Patrol], limit: int) -> None:
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


def _print_tables(result: Tick, patrols: dict[str, Patrol], limit: int) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    if result.observation is None:
        for beat in result.beats:
            out.print(tables.cell(beat.skipped))
        return
    tables.print_sources(out, result.observation)
    for beat in result.beats:
        out.print()
        tables.print_beat(out, result.observation, beat, patrols.get(beat.agent.id), limit)
    tables.print_deeds(out, result)
