"""`heartbeat receipts`: what beats left behind, and which slots passed without one. Read-only."""

from __future__ import annotations

from typing import Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain


def receipts(
    context: typer.Context,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's receipts.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most N, the newest.")] = 20,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Who beat when, what was read, where every item went, and which slots were missed. Newest first."""
    session = Session(context, roster)
    if agent is not None:
        session.roster.chosen([agent])
    with session.store(read_only=True, on_record=True) as store:
        found = store.receipts(agent, limit)
        # Those that lie among the receipts that are shown.
        since = min((receipt.started_at for receipt in found), default=None) if len(found) == limit else None
        misses = store.misses(agent, since=since, limit=limit)
        lost = store.tombstone()
    if lost is not None:
        complain(f"memory-lost: {lost.reason}; what is listed may not be all, see `heartbeat doctor`")
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        documents.write(documents.receipts_document(found, misses, to_text(session.now())))
        return
    from heartbeat.cli import tables

    out = tables.console()
    if not found and lost is None:
        whose = f" of {agent}" if agent else ""
        out.print(tables.cell(f"No receipt{whose} yet in {session.state}: `heartbeat tick` writes one for each beat."))
        return
    tables.print_receipts(out, found, misses, session.roster.timezone)
