"""`heartbeat log`: what heartbeat decided and did, in order, and as it happens. Read-only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.errors import StateError

if TYPE_CHECKING:
    from heartbeat.store.port import LogEntry, Store

POLL = 1.0
"""Seconds between two looks while following."""

wait: Callable[[float], None] = time.sleep
"""How following passes the time; tests put something else here."""


def log(
    context: typer.Context,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="Only what concerns this agent.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="Only what concerns this task.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most N, the newest.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens; Ctrl-C ends it.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What heartbeat decided and did, oldest first. With --follow and --json: one JSON object a line."""
    session = Session(context, roster)
    if agent is not None:
        session.roster.chosen([agent])
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        sought = _Sought(agent, _keys(session, store, task) if task is not None else None)
        newest = _newest(store)
        found = sought.entries(store, 0, limit)
    if follow:
        _print(session, found, json_output)
        _follow(session, sought, _after(newest, found), json_output)
    elif json_output:
        _print_document(session, found)
    elif found:
        _print(session, found, json_output=False)
    else:
        typer.echo("Nothing is on record yet." if agent is None and task is None else "Nothing of that is on record.")


@dataclass(frozen=True, slots=True)
class _Sought:
    """Which entries are wanted. `tasks` are the keys that a task may stand under; None for all."""

    agent: str | None
    tasks: tuple[str, ...] | None

    def entries(self, store: Store, after: int, limit: int | None) -> tuple[LogEntry, ...]:
        if self.tasks is None:
            return store.log(after=after, limit=limit, agent=self.agent)
        found = {
            entry.sequence: entry
            for task in self.tasks
            for entry in store.log(after=after, limit=limit, agent=self.agent, task=task)
        }
        ordered = tuple(found[sequence] for sequence in sorted(found))
        return ordered if limit is None else ordered[-limit:]


def _keys(session: Session, store: Store, task: str) -> tuple[str, ...]:
    """A key that stands in the log needs no source to be read."""
    return (task,) if store.log(task=task, limit=1) else operators.task_named(session, store, task).keys


def _newest(store: Store) -> int:
    return max((entry.sequence for entry in store.log(limit=1)), default=0)


def _after(newest: int, found: Sequence[LogEntry]) -> int:
    """Up to where everything has been looked at; what was added while looking counts as well."""
    return max(newest, found[-1].sequence if found else 0)


def _follow(session: Session, sought: _Sought, seen: int, json_output: bool) -> None:
    """Look again and again, each time at the store as it stands then; a store that fails now may answer later."""
    told = ""
    try:
        while True:
            wait(POLL)
            try:
                with session.store(read_only=True) as store:
                    newest = _newest(store)
                    if newest < seen:
                        complain("the log begins anew: the state was lost or replaced, see `heartbeat doctor`")
                        seen = 0
                    found = sought.entries(store, seen, None)
            except StateError as error:
                if str(error) != told:
                    complain(f"{error}; still following")
                told = str(error)
                continue
            told = ""
            seen = _after(max(newest, seen), found)
            _print(session, found, json_output)
    except KeyboardInterrupt:
        return


def _print_document(session: Session, found: Iterable[LogEntry]) -> None:
    from heartbeat.cli import documents
    from heartbeat.instants import to_text

    documents.write(
        {
            "schema": "heartbeat.log/1",
            "generated_at": to_text(session.now()),
            "entries": [document(entry) for entry in found],
        }
    )


def document(entry: LogEntry) -> dict[str, Any]:
    """One entry of `heartbeat.log/1`; a line of `heartbeat log --follow --json` has its schema besides."""
    from heartbeat.instants import to_text

    return {
        "sequence": entry.sequence,
        "at": to_text(entry.at),
        "action": entry.action,
        "message": entry.message,
        "agent": entry.agent or None,
        "task": entry.task or None,
        "incident": entry.incident or None,
        "details": dict(entry.details),
    }


def _print(session: Session, found: Sequence[LogEntry], json_output: bool) -> None:
    if not found:
        return
    if json_output:
        _print_lines(found)
    else:
        _print_table(found, session)


def _print_lines(found: Iterable[LogEntry]) -> None:
    """One JSON object a line, out at once: whoever follows reads them as they come."""
    from heartbeat.cli import printed

    for entry in found:
        printed.write_line({"schema": "heartbeat.log-entry/1", **document(entry)})
    printed.flush()


def _print_table(found: Sequence[LogEntry], session: Session) -> None:
    from heartbeat.cli import tables
    from heartbeat.cli.called import called

    zone, names = session.roster.timezone, called(session.state, (entry.task for entry in found))
    # The same widths at each look, so that what is followed stays in line.
    table = tables.grid(
        {"no_wrap": True}, {"no_wrap": True, "min_width": 18}, {"no_wrap": True, "min_width": 12}, {"overflow": "fold"}
    )
    for entry in found:
        said = tables.cell(entry.message)
        about = ", ".join(
            filter(None, (names.get(entry.task, entry.task), f"incident {entry.incident}" if entry.incident else ""))
        )
        if about:
            said.append("\n").append_text(tables.cell(about, "dim"))
        when = tables.cell(tables.local(entry.at, zone))
        table.add_row("", when, tables.cell(entry.action), tables.cell(entry.agent or "-"), said)
    tables.console().print(table)
    sys.stdout.flush()
