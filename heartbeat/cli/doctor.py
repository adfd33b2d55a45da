"""`heartbeat doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, progress
from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rich.table import Table

    from heartbeat.bare import Bare
    from heartbeat.doctor import Check, Examination
    from heartbeat.store.port import Store


def doctor(
    context: typer.Context,
    json_output: JsonOption = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="For each source with all its transports.")
    ] = 90.0,
    cron: Annotated[
        bool, typer.Option("--cron", help="Do it again in cron's bare environment, and say what is different there.")
    ] = False,
    accept_loss: Annotated[
        str | None,
        typer.Option(
            "--accept-loss", metavar="NAME", help="You, NAME, have seen that memory was lost: go on without it."
        ),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="This roster has taken the place of the one whose state this is.")
    ] = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Try every transport, check versions, files and state. Exit 1 when something in use does not work."""
    from heartbeat import doctor as examination
    from heartbeat.cli.health import watching_of
    from heartbeat.render import command_line

    session = Session(context, roster)
    if accept_loss is not None:
        _accept(session, accept_loss, json_output=json_output)
        return

    if adopt:
        _adopt(session, json_output=json_output)
        return

    def open_store() -> Store:
        from heartbeat.store.opening import open_store_read_only

        return open_store_read_only(session.state)

    found = examination.examine(
        session.roster,
        session.environment,
        session.state,
        open_store,
        launch=lambda: session.preparation().launch,
        watching=lambda: watching_of(session),
        command=command_line(session.roster_option()),
        patience=timeout,
        on_progress=progress,
        now=session.now(),
    )
    checks = found.checks
    bare = _under_cron(session, checks, timeout) if cron else None
    if json_output:
        _print_json(found, str(session.roster.path), str(session.state), bare)
    else:
        _print_table(found, session)
        if bare is not None:
            _print_bare(bare, session.roster.agents)
    if examination.worst((*checks, *(bare.differences if bare else ()))) is examination.Level.FAILED:
        raise typer.Exit(Exit.FOUND)


def _under_cron(session: Session, checks: Sequence[Check], timeout: float) -> Bare:
    from heartbeat.bare import examine_there, how_cron_starts

    start = how_cron_starts(session.roster, session.preparation().launch, session.environment)
    progress("trying it all again as cron would …")
    return examine_there(start, session.roster, checks, session.state, session.environment, patience=timeout)


def _accept(session: Session, name: str, *, json_output: bool) -> None:
    from heartbeat.store.port import LogEntry

    by = name.strip()
    if not by:
        raise UsageError("--accept-loss needs the name of the person who accepts it")
    now = session.now()
    with session.store(read_only=False) as store, store.transaction():
        lost = store.accept_tombstone(by, now)
        if lost is not None:
            store.add_log([LogEntry(now, "loss-accepted", f"accepted by {by}: {lost.reason}", details={"by": by})])
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        known = lost and {"at": to_text(lost.at), "reason": lost.reason, "quarantined": lost.quarantined}
        documents.write({"schema": "heartbeat.acceptance/1", "generated_at": to_text(now), "by": by, "lost": known})
        return
    typer.echo(f"accepted by {by}: {lost.reason}" if lost else "nothing was lost; nothing to accept")


def _adopt(session: Session, *, json_output: bool) -> None:
    from heartbeat.belonging import adopt

    now = session.now()
    with session.store(read_only=False, adopting=True) as store:
        before = adopt(store, session.roster, now)
    state, roster, was = str(session.state), str(session.roster.path), None if before is None else before.path
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        told = {"schema": "heartbeat.adoption/1", "generated_at": to_text(now), "state": state, "roster": roster}
        documents.write({**told, "was": was})
        return
    earlier = "no other roster was at home there" if was is None else f"it was the memory of {was}"
    typer.echo(f"{state} is the memory of {roster} from now on; {earlier}")


def _print_json(found: Examination, roster: str, state: str, bare: Bare | None) -> None:
    from heartbeat.cli import documents

    document: documents.Document = {"schema": "heartbeat.doctor/1", "roster": roster, "state": state}
    document |= documents.level(found.degradation)
    document["checks"] = _rows(found.checks)
    if bare is not None:
        document["cron"] = {
            "installed": bare.start.installed,
            "command": list(bare.start.argv),
            "checks": _rows(bare.checks),
            "differences": _rows(bare.differences),
        }
    documents.write(document)


def _rows(checks: Sequence[Check]) -> list[dict[str, str]]:
    return [
        {
            "area": check.area,
            "subject": check.subject,
            "level": check.level.value,
            "message": check.message,
            "advice": check.advice,
        }
        for check in checks
    ]


def _print_table(found: Examination, session: Session) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    out.print(tables.cell(f"roster {session.roster.path}", "dim"))
    out.print(tables.cell(f"state  {session.state}", "dim"))
    out.print(_table(found.checks, session.roster.agents))
    out.print()
    out.print(tables.level_line(found.degradation), soft_wrap=True)


def _print_bare(bare: Bare, team: Collection[str]) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    out.print()
    origin = "as the crontab has it" if bare.start.installed else "as `heartbeat cron install` would write it"
    out.print(tables.cell(f"Under cron ({origin})", "bold"))
    if bare.differences:
        out.print(_table(bare.differences, team))
    if bare.checks and not any(check.level.value in ("warning", "failed") for check in bare.differences):
        out.print(tables.cell("  what works here works there"))


def _table(checks: Sequence[Check], team: Collection[str]) -> Table:
    """Worst first; what is said of several agents once, with their names."""
    from heartbeat.cli import tables
    from heartbeat.doctor.summary import summary
    from heartbeat.plural import counted

    colours = {"ok": "green", "note": "dim", "warning": "yellow", "failed": "bold red"}
    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for remark in summary(checks, team):
        check, about = remark.check, remark.check.area
        told = tables.cell(check.message)
        if remark.is_shared:
            about = counted(len(remark.agents), "agent")
            told.append("\n").append_text(tables.cell(", ".join(remark.agents)))
        if check.advice:
            told.append("\n").append_text(tables.cell(check.advice, "dim"))
        level = tables.cell(check.level.value, colours[check.level.value])
        table.add_row("", tables.cell(about), tables.cell(check.subject), level, told)
    return table
