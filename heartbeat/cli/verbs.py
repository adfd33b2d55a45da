"""`heartbeat start|done|review|reject|block|note`: what an agent says of its work, wherever the task has records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.action import Output, OutputType
from heartbeat.cli import zone
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, finish, progress
from heartbeat.errors import Exit, RefusedError, UsageError

if TYPE_CHECKING:
    from heartbeat.verbs.perform import Performance, Result
    from heartbeat.verbs.words import Command

SCHEMA = "heartbeat.verb/1"

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Its key (BIZ-31, TODO.md:12), the beginning of an id, or its title.")
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="What there is to say about it.")]
NeededWhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it stands on the task.")]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--output", metavar="FILE", help="A file of the workspace, or an address; may be given several times."
    ),
]
TypeOption = Annotated[OutputType, typer.Option("--type", help="What the outputs are.")]
AsOption = Annotated[
    str, typer.Option("--as", metavar="AGENT", help="Who speaks; else HEARTBEAT_AGENT, else the task's owner.")
]


def start(
    context: typer.Context,
    task: TaskArgument,
    why: WhyOption = "",
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Take a task: claimed and in progress, wherever it has records. Refused while it waits or is somebody else's."""
    _perform(context, roster, json_output, task, "start", agent, why)


def done(
    context: typer.Context,
    task: TaskArgument,
    why: WhyOption = "",
    output: OutputOption = None,
    type_: TypeOption = OutputType.OTHER,
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Finish a task everywhere, with what there is to show for it."""
    _perform(context, roster, json_output, task, "done", agent, why, _outputs(output, type_))


def review(
    context: typer.Context,
    task: TaskArgument,
    why: WhyOption = "",
    output: OutputOption = None,
    type_: TypeOption = OutputType.OTHER,
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Hand a task in for review."""
    _perform(context, roster, json_output, task, "review", agent, why, _outputs(output, type_))


def reject(
    context: typer.Context,
    task: TaskArgument,
    why: NeededWhyOption,
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Send a task back to todo; the reason tells the next attempt what to do better."""
    _perform(context, roster, json_output, task, "reject", agent, why)


def block(
    context: typer.Context,
    task: TaskArgument,
    why: NeededWhyOption,
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Say that a task cannot go on, and why."""
    _perform(context, roster, json_output, task, "block", agent, why)


def note(
    context: typer.Context,
    task: TaskArgument,
    why: NeededWhyOption,
    output: OutputOption = None,
    type_: TypeOption = OutputType.OTHER,
    agent: AsOption = "",
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Say something on a task. It counts as a sign of life, and wakes nobody."""
    _perform(context, roster, json_output, task, "note", agent, why, _outputs(output, type_))


def _outputs(paths: list[str] | None, kind: OutputType) -> tuple[Output, ...]:
    return tuple(Output(path, kind) for path in dict.fromkeys(paths or ()))


def _perform(
    context: typer.Context,
    roster: str | None,
    json_output: bool,
    name: str,
    verb: str,
    agent: str,
    why: str,
    outputs: tuple[Output, ...] = (),
) -> None:
    from heartbeat.verbs.perform import perform
    from heartbeat.verbs.words import Command, Verb

    session = Session(context, roster)
    command = Command(Verb(verb), agent or _from_environment(session), why, outputs)
    with session.store(read_only=False) as store:
        progress("reading the sources …")
        try:
            performance = perform(
                session.roster,
                session.environment,
                store,
                session.cache(read_only=False),
                session.state / "locks",
                name=name,
                command=command,
                clock=session.now,
                cwd=Path.cwd(),
            )
        except RefusedError as error:
            if json_output:
                _print_refused(name, command, error)
            raise
    if json_output:
        _print_json(performance)
    else:
        _print(performance)
    finish(performance.observation, strict=False)
    if not performance.ok:
        raise typer.Exit(Exit.FOUND)


def _from_environment(session: Session) -> str:
    """Who speaks, as the environment tells. Raises UsageError for somebody whom the roster does not have."""
    named = session.environment.get("HEARTBEAT_AGENT", "")
    if named and named not in session.roster.agents:
        raise UsageError(
            f"HEARTBEAT_AGENT names {named!r}, and {session.roster.path} has no such agent",
            advice=f"agents in this roster: {', '.join(session.roster.agents)}; or say it with --as AGENT",
        )
    return named


def _print(performance: Performance) -> None:
    from heartbeat.cli.terminal import plain

    task, command = performance.task, performance.command
    typer.echo(plain(f"{command.agent}: {command.verb} {task.items[0].key} {task.title}"))
    for result in performance.results:
        typer.echo("  " + plain(zone.shown(f"{result.ref.source} {result.key}: {_told(result)}")))


def _told(result: Result) -> str:
    if result.state == "already":
        return result.message
    if result.state == "done":
        return f"{result.operation}: done" + (f" ({result.message})" if result.message not in ("", "done") else "")
    return f"{result.operation}: {result.message}"


def _print_json(performance: Performance) -> None:
    from heartbeat.cli import documents

    documents.write(
        {
            "schema": SCHEMA,
            "verb": performance.command.verb.value,
            "task": performance.task.key,
            "agent": performance.command.agent,
            "results": [
                {
                    "ref": str(result.ref),
                    "key": result.key,
                    "operation": result.operation.value,
                    "state": result.state,
                    "message": result.message,
                }
                for result in performance.results
            ],
            "ok": performance.ok,
        }
    )


def _print_refused(name: str, command: Command, error: RefusedError) -> None:
    """Nothing was written; the reasons stand on stderr as well."""
    from heartbeat.cli import documents

    documents.write(
        {
            "schema": SCHEMA,
            "verb": command.verb.value,
            "task": name,
            "agent": command.agent or None,
            "results": [],
            "ok": False,
            "refused": str(error).splitlines(),
            "advice": error.advice,
        }
    )
