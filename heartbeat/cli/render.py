"""`heartbeat render`: every agent's instructions from the roster and one template, into whatever its agent reads."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.errors import UsageError
from heartbeat.sinks import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from heartbeat.cli.rendered import Outcome
    from heartbeat.render import RenderResult
    from heartbeat.roster.model import Agent
    from heartbeat.sinks.reach import Remark
    from heartbeat.sinks.scratch import ScratchResult
    from heartbeat.sinks.visit import Visit

PATIENCE = 30.0
AGENT_PATIENCE = 10.0
"""Seconds to look at scratches, and more for each of them: the command line takes 2 to 5 for one (contract 3)."""


def render(
    context: typer.Context,
    agents: Annotated[list[str] | None, typer.Argument(metavar="AGENT...", help="Agents of the roster.")] = None,
    all_agents: Annotated[bool, typer.Option("--all", help="Every agent of the roster.")] = False,
    sink: Annotated[
        list[Sink] | None,
        typer.Option(
            "--sink",
            help="file: HEARTBEAT.md (the default). scratch: what OpenClaw from 2026.8 on reads at its own heartbeat. "
            "prompt: print the text for one agent's turn. May be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write DIR/AGENT/HEARTBEAT.md, not the workspaces.")
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the texts and write nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 and name what differs.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what heartbeat did not write; a backup is kept.")
    ] = False,
    template: Annotated[Path | None, typer.Option("--template", metavar="FILE", help="A template of your own.")] = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Write each agent's instructions where it reads them. Text outside our markers is kept."""
    from heartbeat.cli.rendered import Doing, Outcome, Report, complaints, document, exit_code, lines
    from heartbeat.render import command_line, plan_render, render_agent, render_blocks

    session = Session(context, roster)
    sinks = tuple(dict.fromkeys(sink or [Sink.FILE]))
    if bool(agents) == all_agents:
        raise UsageError(
            "name the agents to render, or use --all" if not agents else "--all and names: use one of them"
        )
    if stdout and (check or diff or dry_run or json_output or out is not None or sinks != (Sink.FILE,)):
        raise UsageError("--stdout goes with no other way of showing or placing the text", advice="use one of them")
    if out is not None and Sink.FILE not in sinks:
        raise UsageError("--out is for files", advice="leave it out, or add --sink file")
    team = session.roster.chosen(list(session.roster.agents) if all_agents else list(dict.fromkeys(agents or [])))
    command = command_line(session.roster_option())
    if Sink.PROMPT in sinks:
        if sinks != (Sink.PROMPT,) or len(team) != 1 or check or diff or dry_run or force:
            raise UsageError(
                "--sink prompt prints one agent's text and writes nothing: it goes with no other sink, and not with "
                "--check, --diff, --dry-run or --force"
            )
        _print_prompt(session, team[0], template, command, json_output)
        return
    if stdout:
        for agent in team:
            typer.echo(render_agent(session.roster, agent, template=template, command=command), nl=False)
        return
    with ExitStack() as stack:
        files: list[RenderResult] = []
        if Sink.FILE in sinks:
            files = plan_render(session.roster, team, template=template, command=command, out=out, force=force)
        seen = None
        if Sink.SCRATCH in sinks:
            blocks = render_blocks(session.roster, team, template=template, command=command)
            seen = stack.enter_context(_visit(session, team, blocks, force))
        plans: list[RenderResult | ScratchResult] = [*files, *(seen.results if seen else ())]
        if check or diff or dry_run:
            outcomes = tuple(Outcome(plan) for plan in plans)
        else:
            outcomes = tuple(_write(plan, seen, session.state, force) for plan in plans)
    doing = Doing.CHECK if check else Doing.DRY_RUN if dry_run else Doing.DIFF if diff else Doing.WRITE
    version = seen.version if seen else None
    remarks: Mapping[str, Sequence[Remark]] = {}
    if check and out is None:
        version, remarks = _survey(session, team, files, seen, template, command)
    report = Report(doing, sinks, outcomes, remarks, version, diff)
    if json_output:
        from heartbeat.cli import documents

        documents.write(document(report, str(session.roster.path)))
    else:
        for line in lines(report):
            typer.echo(line)
    for complaint in complaints(report):
        complain(complaint)
    if code := exit_code(report):
        raise typer.Exit(code)


def _visit(
    session: Session, team: Sequence[Agent], blocks: Mapping[str, str], force: bool = False
) -> AbstractContextManager[Visit]:
    from heartbeat.deadline import Deadline
    from heartbeat.sinks.visit import visit

    return visit(
        [agent.id for agent in team],
        blocks,
        session.roster.sources.get("workboard", {}),
        session.environment,
        Deadline.after(PATIENCE + AGENT_PATIENCE * len(team)),
        force=force,
    )


def _write(plan: RenderResult | ScratchResult, seen: Visit | None, state: Path, force: bool) -> Outcome:
    """One refusal does not stop the others."""
    from heartbeat.cli.rendered import Outcome
    from heartbeat.errors import CannotWriteError
    from heartbeat.render import RenderResult, write

    try:
        if isinstance(plan, RenderResult):
            put = write(plan)
            return Outcome(plan, changed=put.changed, backup=put.backup)
        if seen is None:
            raise AssertionError("a scratch is planned in a visit")
        written = seen.write(plan, state, force=force)
        return Outcome(written.result, changed=written.changed, backup=written.backup)
    except CannotWriteError as error:
        return Outcome(plan, error=str(error), advice=error.advice)


def _survey(
    session: Session,
    team: Sequence[Agent],
    files: Sequence[RenderResult],
    seen: Visit | None,
    template: Path | None,
    command: str,
) -> tuple[str | None, Mapping[str, Sequence[Remark]]]:
    """OpenClaw's version, and whether what was rendered reaches the agents. The scratches are looked at also where only
    the files were asked for: the two must not say different things."""
    from heartbeat.render import render_blocks
    from heartbeat.sinks.survey import expects_openclaw, survey

    with ExitStack() as stack:
        if seen is None and expects_openclaw(session.roster):
            blocks = render_blocks(session.roster, team, template=template, command=command)
            seen = stack.enter_context(_visit(session, team, blocks))
            if seen.failure is not None and not seen.nothing_is_there:
                complain(f"{seen.failure} (the files were checked; whether OpenClaw has another text is not known)")
        version = seen.version if seen else None
        by_agent = {plan.agent_id: plan for plan in files}
        return version, survey(team, by_agent, seen, version, session.environment, command=command, state=session.state)


def _print_prompt(session: Session, agent: Agent, template: Path | None, command: str, in_json: bool) -> None:
    from heartbeat.sinks.prompt import prompt_text

    text = prompt_text(session.roster, agent, template=template, command=command)
    if not in_json:
        typer.echo(text, nl=False)
        return
    from heartbeat.cli import documents
    from heartbeat.cli.rendered import prompt_document

    documents.write(prompt_document(agent.id, text, str(session.roster.path)))
