"""`heartbeat roster check|show`: is agents.yaml right, and what does it say once every default is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.instants import format_duration

if TYPE_CHECKING:
    from heartbeat.roster.model import Agent

app = typer.Typer(help="Check and show the roster.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(context: typer.Context, roster: RosterOption = None, debug: DebugOption = False) -> None:
    """Read the roster and report every mistake at once, each with its line. Exit 2 where there is one."""
    session = Session(context, roster)
    team = session.roster.agents
    classes = {agent.class_id for agent in team.values()}
    sources = ", ".join(session.roster.sources)
    typer.echo(f"{session.roster.path}: {len(team)} agents in {len(classes)} classes, sources {sources}: no mistakes")


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
        rhythm = policy.cron or f"every {format_duration(policy.every)}"
        limits = f"suspect {format_duration(policy.suspect_after)}, recover {format_duration(policy.recover_after)}"
        rounds = f"{policy.max_rounds} rounds"
        whom = f"tells {', '.join(policy.notify) or 'nobody'}"
        cells = (agent.id, agent.name, agent.class_id, f"{rhythm}, {limits}", rounds, whom)
        table.add_row("", *(tables.cell(text) for text in cells))
    out.print(table)


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
        "every": format_duration(policy.every),
        "cron": policy.cron,
        "suspect_after": format_duration(policy.suspect_after),
        "recover_after": format_duration(policy.recover_after),
        "runtime_limit": format_duration(policy.runtime_limit),
        "dependency_wait": format_duration(policy.dependency_wait),
        "max_rounds": policy.max_rounds,
        "notify": list(policy.notify),
        "backup": agent.backup,
        "recovery": policy.recovery.value,
        "dispatch": policy.dispatch,
        "require_output": policy.require_output,
    }
