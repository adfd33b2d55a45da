"""`heartbeat roster check|show|sync`: is agents.yaml right, what does it say with every default filled in, and are its
agents those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain, progress
from heartbeat.errors import Exit, HeartbeatError, StateError
from heartbeat.instants import exact_duration
from heartbeat.plural import counted

if TYPE_CHECKING:
    from heartbeat.roster.model import Agent
    from heartbeat.setup.scheduling import Coverage
    from heartbeat.setup.sync import Comparison, Written

app = typer.Typer(help="Check and show the roster.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    context: typer.Context, json_output: JsonOption = False, roster: RosterOption = None, debug: DebugOption = False
) -> None:
    """Read the roster and report every mistake at once, each with its line. Exit 2 where there is one."""
    from heartbeat.dispatch.providers import failover_of

    session = Session(context, roster)
    team = session.roster.agents
    classes = {agent.class_id for agent in team.values()}
    failover_of(session.roster, session.environment)
    if json_output:
        from heartbeat.cli import documents

        found = {"agents": list(team), "classes": sorted(classes), "sources": list(session.roster.sources)}
        documents.write({"schema": "heartbeat.check/1", "path": str(session.roster.path), **found})
        return
    size = f"{counted(len(team), 'agent')} in {counted(len(classes), 'class', 'classes')}"
    sources = ", ".join(session.roster.sources)
    typer.echo(f"{session.roster.path}: {size}, sources {sources}: no mistakes")


@app.command()
def show(
    context: typer.Context,
    agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="One agent in full; default: the team.")
    ] = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """The team, or one agent with every setting that applies to it."""
    session = Session(context, roster)
    if agent is None:
        _show_team(session, json_output)
        return
    (one,) = session.roster.chosen([agent])
    settings = _settings(one)
    from heartbeat.cli import tables

    if json_output:
        from heartbeat.cli import documents

        documents.write({"schema": "heartbeat.roster/1", "path": str(session.roster.path), "agents": [settings]})
        return
    table = tables.grid({"style": "dim"}, {"overflow": "fold"})
    for name, value in settings.items():
        shown = "; ".join(value) if isinstance(value, list) else value
        table.add_row("", tables.cell(name), tables.cell("-" if shown in (None, "") else shown))
    tables.console().print(table)


def _show_team(session: Session, json_output: bool) -> None:
    team = session.roster.agents.values()
    if json_output:
        from heartbeat.cli import documents

        path = str(session.roster.path)
        agents = [_settings(agent) for agent in team]
        documents.write({"schema": "heartbeat.roster/1", "path": path, "agents": agents})
        return
    from heartbeat.cli import tables

    out = tables.console()
    out.print(tables.cell(str(session.roster.path), "dim"))
    table = tables.grid({}, {}, {}, {}, {}, {})
    for agent in team:
        policy = agent.policy
        rhythm = policy.cron or f"every {exact_duration(policy.every)}"
        limits = f"suspect {exact_duration(policy.suspect_after)}, recover {exact_duration(policy.recover_after)}"
        rounds = counted(policy.max_rounds, "round")
        whom = f"tells {', '.join(policy.notify) or 'nobody'}"
        cells = (agent.id, agent.name, agent.class_id, f"{rhythm}, {limits}", rounds, whom)
        table.add_row("", *(tables.cell(text) for text in cells))
    out.print(table)


@app.command()
def sync(
    context: typer.Context,
    write: Annotated[
        bool, typer.Option("--write", help="Add the agents that are missing; every other byte of the file stays.")
    ] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Compare the roster with the agents that there are. Exit 1 where they differ, 3 where that is not known."""
    from heartbeat.setup.sync import add, look

    session = Session(context, roster)
    knew_multica = _knew_multica(session)
    compared = look(session.roster.path, session.environment, progress, knew_multica=knew_multica)
    written = add(compared, session.environment) if write else None
    covered = _coverage(session, compared) if written and written.backup else ()
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.cli.setups import sync_document

        documents.write(sync_document(compared, written, covered))
    else:
        _tell_sync(compared, written, covered)
    left = compared.drift if written is None else written.left
    if not left.in_step:
        raise typer.Exit(Exit.FOUND)
    if left.unknown:
        complain(f"{' and '.join(left.unknown)} could not be asked, so the rest is not known")
        raise typer.Exit(Exit.INCOMPLETE)


def _knew_multica(session: Session) -> bool:
    """Whether a beat of this roster ever read Multica: not to find it now is then a failure (rule S1a). Where the state
    cannot be read, one may have."""
    try:
        with session.store(read_only=True) as store:
            return store.last_complete("multica") is not None
    except StateError:
        return True


def _coverage(session: Session, compared: Comparison) -> tuple[Coverage, ...]:
    """Whether the schedules beat for the new agents too; where that cannot be found out, why."""
    from heartbeat.install.install import look, targets
    from heartbeat.setup.scheduling import Coverage, coverage

    added = [draft.id for draft in compared.drift.missing]
    if not added:
        return ()
    try:
        launch = session.preparation().launch
        seen = [look(target, launch) for target in targets(session.roster, launch, session.environment)]
    except HeartbeatError as error:
        return (Coverage("a schedule", problem=str(error)),)
    return coverage(seen, added)


def _tell_sync(compared: Comparison, written: Written | None, covered: tuple[Coverage, ...]) -> None:
    from heartbeat.cli.setups import sync_lines
    from heartbeat.cli.terminal import plain

    for line in sync_lines(compared, written, covered):
        indent = len(line) - len(line.lstrip(" "))
        typer.echo(" " * indent + plain(line[indent:]))


def _settings(agent: Agent) -> dict[str, Any]:
    policy = agent.policy
    return {
        "id": agent.id,
        "name": agent.name,
        "class": agent.class_id,
        "label": agent.class_label,
        "multica_id": agent.multica_id,
        "workspace": str(agent.workspace) if agent.workspace else None,
        "patrol": agent.patrol,
        "checks": list(agent.checks),
        "every": exact_duration(policy.every),
        "cron": policy.cron,
        "suspect_after": exact_duration(policy.suspect_after),
        "recover_after": exact_duration(policy.recover_after),
        "runtime_limit": exact_duration(policy.runtime_limit),
        "dependency_wait": exact_duration(policy.dependency_wait),
        "max_rounds": policy.max_rounds,
        "notify": list(policy.notify),
        "backup": agent.backup,
        "recovery": policy.recovery.value,
        "dispatch": policy.dispatch,
        "require_output": policy.require_output,
    }
