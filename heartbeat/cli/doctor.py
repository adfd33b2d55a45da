"""`heartbeat doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, progress
from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartbeat.doctor import Check
    from heartbeat.store.port import Store


def doctor(
    context: typer.Context,
    json_output: JsonOption = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="For each source with all its transports.")
    ] = 90.0,
    accept_loss: Annotated[
        str | None,
        typer.Option(
            "--accept-loss", metavar="NAME", help="You, NAME, have seen that memory was lost: go on without it."
        ),
    ] = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Try every transport, check versions, files and state. Exit 1 when something in use does not work."""
    from heartbeat import doctor as examination
    from heartbeat.render import command_line

    session = Session(context, roster)
    if accept_loss is not None:
        _accept(session, accept_loss)
        return

    def open_store() -> Store:
        from heartbeat.store.opening import open_store_read_only

        return open_store_read_only(session.state)

    checks = examination.examine(
        session.roster,
        session.environment,
        session.state,
        open_store,
        command=command_line(session.roster_option()),
        patience=timeout,
        on_progress=progress,
    )
    if json_output:
        _print_json(checks, str(session.roster.path), str(session.state))
    else:
        _print_table(checks, session)
    if examination.worst(checks) is examination.Level.FAILED:
        raise typer.Exit(Exit.FOUND)


def _accept(session: Session, name: str) -> None:
    if not name.strip():
        raise UsageError("--accept-loss needs the name of the person who accepts it")
    with session.store(read_only=False) as store:
        accepted = store.accept_tombstone(name.strip(), session.now())
    typer.echo(f"accepted by {name.strip()}: {accepted.reason}" if accepted else "nothing was lost; nothing to accept")


def _print_json(checks: Sequence[Check], roster: str, state: str) -> None:
    from heartbeat.cli import documents

    rows = [
        {
            "area": check.area,
            "subject": check.subject,
            "level": check.level.value,
            "message": check.message,
            "advice": check.advice,
        }
        for check in checks
    ]
    documents.write({"schema": "heartbeat.doctor/1", "roster": roster, "state": state, "checks": rows})


def _print_table(checks: Sequence[Check], session: Session) -> None:
    from heartbeat.cli import tables

    colours = {"ok": "green", "note": "dim", "warning": "yellow", "failed": "bold red"}
    out = tables.console()
    out.print(tables.cell(f"roster {session.roster.path}", "dim"))
    out.print(tables.cell(f"state  {session.state}", "dim"))
    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for check in checks:
        told = tables.cell(check.message)
        if check.advice:
            told.append("\n").append_text(tables.cell(check.advice, "dim"))
        level = tables.cell(check.level.value, colours[check.level.value])
        table.add_row("", tables.cell(check.area), tables.cell(check.subject), level, told)
    out.print(table)
