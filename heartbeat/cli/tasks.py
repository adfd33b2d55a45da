"""`heartbeat tasks`: every task of every source, filtered. Read-only."""

from __future__ import annotations

from collections.abc import Callable
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
)
from heartbeat.errors import UsageError
from heartbeat.task import OwnerKind, State, Status

if TYPE_CHECKING:
    from heartbeat.worklist import Standing

_WORDS = tuple(dict.fromkeys([*(status.value for status in Status), *(state.value for state in State)]))


def tasks(
    context: typer.Context,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's tasks.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="WORD", help="Only this status or state; may be given several times."),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="NAME", help="Only tasks with an item of this source.")
    ] = None,
    all_tasks: Annotated[bool, typer.Option("--all", help="Closed tasks too.")] = False,
    json_output: JsonOption = False,
    fresh: FreshOption = False,
    strict: StrictOption = False,
    at: AtOption = None,
    limit: Annotated[int, typer.Option("--limit", min=0, metavar="N", help="At most N tasks a section; 0: all.")] = 50,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Every task, merged and explained: the open ones, or what the filters ask for."""
    session = Session(context, roster)
    wanted = _filter(session, agent, status or [], source or [], all_tasks)
    moment = instant(at)
    with session.store(read_only=True) as store:
        seen = session.observe(store, tuple(session.roster.agents.values()), at=moment, fresh=fresh)
    standings = [standing for standing in seen.assessment.standings if wanted(standing)]
    if json_output:
        from heartbeat.cli import documents

        documents.write(documents.tasks_document(seen, standings, agent))
    else:
        from heartbeat.cli import tables, wording

        out = tables.console()
        words = wording.context_of(seen)
        tables.print_instant(out, seen)
        tables.print_sources(out, seen)
        for title, chosen in tables.by_state(standings):
            tables.print_tasks(out, title, chosen, words, seen.at, limit, with_owner=agent is None)
        if not standings:
            out.print()
            out.print(
                "No task matches." if (agent or status or source) else "No open task in any source that was read."
            )
        tables.print_findings(out, seen.assessment.findings, limit)
    finish(seen, strict)


def _filter(
    session: Session, agent: str | None, words: list[str], sources: list[str], everything: bool
) -> Callable[[Standing], bool]:
    if agent is not None:
        session.roster.chosen([agent])
    asked = {word for text in words for word in text.split(",") if word}
    unknown = sorted(asked - set(_WORDS))
    if unknown:
        raise UsageError(f"no status called {', '.join(unknown)}", advice=f"one of: {', '.join(_WORDS)}")
    strange = sorted(set(sources) - set(session.roster.sources))
    if strange:
        known = ", ".join(session.roster.sources)
        raise UsageError(f"the roster has no source called {', '.join(strange)}", advice=f"it has: {known}")

    def wanted(standing: Standing) -> bool:
        task = standing.task
        if agent is not None and (task.owner.kind is not OwnerKind.AGENT or task.owner.id != agent):
            return False
        if sources and not any(ref.source in sources for ref in task.refs):
            return False
        if asked:
            return task.status.value in asked or standing.state.value in asked
        return everything or standing.state is not State.DONE

    return wanted
