"""`heartbeat render`: every agent's HEARTBEAT.md from the roster and one template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, RosterOption, Session, complain
from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartbeat.render import RenderResult


def render(
    context: typer.Context,
    agents: Annotated[list[str] | None, typer.Argument(metavar="AGENT...", help="Agents of the roster.")] = None,
    all_agents: Annotated[bool, typer.Option("--all", help="Every agent of the roster.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write DIR/AGENT/HEARTBEAT.md, not the workspaces.")
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the texts and write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 and name the files that differ.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that heartbeat did not write; a backup is kept.")
    ] = False,
    template: Annotated[Path | None, typer.Option("--template", metavar="FILE", help="A template of your own.")] = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Write HEARTBEAT.md into each agent's workspace. Text outside our markers is kept."""
    from heartbeat.render import command_line, plan_render, render_agent

    session = Session(context, roster)
    if bool(agents) == all_agents:
        raise UsageError(
            "name the agents to render, or use --all" if not agents else "--all and names: use one of them"
        )
    if sum((stdout, check)) > 1 or (stdout and (diff or out is not None)):
        raise UsageError("--stdout goes with neither --check, --diff nor --out", advice="use one of them")
    team = session.roster.chosen(list(session.roster.agents) if all_agents else list(dict.fromkeys(agents or [])))
    command = command_line(session.roster_option())
    if stdout:
        for agent in team:
            typer.echo(render_agent(session.roster, agent, template=template, command=command), nl=False)
        return
    plans = plan_render(session.roster, team, template=template, command=command, out=out, force=force)
    for plan in plans:
        for warning in plan.warnings:
            complain(warning)
    if diff:
        for plan in plans:
            if plan.problem:
                complain(f"{plan.problem}{f' — {plan.advice}' if plan.advice else ''}")
            typer.echo(plan.diff, nl=False)
    if check:
        _check(plans)
    elif not diff:
        _write(plans)


def _check(plans: Sequence[RenderResult]) -> None:
    from heartbeat.render import DIFFERS

    differing = [plan for plan in plans if plan.differs]
    for plan in differing:
        typer.echo(plan.problem or f"{plan.path}: {DIFFERS[plan.state.value]}")
    if differing:
        complain(f"{len(differing)} of {len(plans)} files differ from what the roster and the template give")
        raise typer.Exit(Exit.FOUND)
    typer.echo(f"{len(plans)} files are as the roster and the template give them")


def _write(plans: Sequence[RenderResult]) -> None:
    """Write what can be written; one refused file does not stop the others, and the exit code says so."""
    from heartbeat.errors import CannotWriteError
    from heartbeat.render import write

    refused = 0
    done: list[str] = []
    for plan in plans:
        try:
            written = write(plan)
        except CannotWriteError as error:
            refused += 1
            complain(f"{error}{f' — {error.advice}' if error.advice else ''}")
            continue
        kept = f", the old file is {written.backup}" if written.backup else ""
        done.append(
            f"{plan.path}: {_DONE[plan.state.value] if written.changed else 'unchanged'}, {plan.size} bytes{kept}"
        )
    # Said when all is done: whoever reads our output may stop reading before that.
    for line in done:
        typer.echo(line)
    if refused:
        complain(f"{refused} of {len(plans)} files were not written")
        raise typer.Exit(Exit.CANNOT_WRITE)


_DONE = {
    "created": "created",
    "updated": "updated",
    "drifted": "replaced (it was edited by hand inside the block)",
    "foreign": "replaced (heartbeat had not written it)",
}
