"""`heartbeat incidents`: stalls on record, with every step taken. `heartbeat resolve`: somebody says one is over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.errors import RefusedError, UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.memory import Incident, StepTaken
    from heartbeat.store.port import Store

_TITLE = 60


def incidents(
    context: typer.Context,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only of this agent's tasks.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="At most N, the newest; 0 shows all. JSON has all.")
    ] = 50,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Every stall on record: whose task, what was done about it, and how it ended. Newest first. Read-only."""
    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        found = store.incidents(open_only=open_only)
        lost = store.tombstone()
        operators.warn_of_loss(store)
    if agent is not None:
        chosen = tuple(incident for incident in found if incident.owner.id == agent)
        if not chosen:
            session.roster.chosen([agent])
        found = chosen
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        documents.write(
            {
                "schema": "heartbeat.incidents/1",
                "generated_at": to_text(session.now()),
                "incidents": [document(incident) for incident in found],
            }
        )
        return
    if found:
        _print(found, session, limit)
    elif lost is None:
        whose = f" of {agent}" if agent else ""
        typer.echo(f"No {'open ' if open_only else ''}incident{whose}.")


def resolve(
    context: typer.Context,
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id, or the beginning of it.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What was done about it.")],
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Say that an incident is over: nothing more is done about it, and what is still queued for it is dropped."""
    session = Session(context, roster)
    by, said = operators.author(session, as_agent), operators.reason(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        now = session.now()
        with store.transaction():
            found = _meant(store.incidents(), incident)
            _refuse_ended(found, session.roster.timezone)
            dropped = _drop_queued(store, found.id, f"{found.id} was resolved by {by}", now)
            ended = _end(store, found.id, by, said, now)
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        told = {"generated_at": to_text(now), "by": by, "dropped": dropped, "incident": document(ended)}
        documents.write({"schema": "heartbeat.resolve/1", **told})
        return
    from heartbeat.cli.terminal import clipped

    queued = f"; {counted(dropped, 'queued step')} dropped" if dropped else ""
    typer.echo(f"{found.id} {clipped(found.title, _TITLE)}: resolved by {by}{queued}")


def _meant(known: Sequence[Incident], text: str) -> Incident:
    from heartbeat.cli.terminal import clipped

    wanted = text.strip().casefold()
    exact = [incident for incident in known if incident.id == wanted]
    matches = exact or [incident for incident in known if wanted and incident.id.startswith(wanted)]
    if not matches:
        raise UsageError(
            f"no incident's id begins with {clipped(text, _TITLE)!r}", advice="`heartbeat incidents` lists them"
        )
    if len(matches) > 1:
        listed = "; ".join(f"{each.id} {clipped(each.title, _TITLE)}" for each in matches)
        raise UsageError(f"{wanted!r} begins {len(matches)} ids: {listed}", advice="write more of it")
    return matches[0]


def _refuse_ended(incident: Incident, zone: str) -> None:
    if incident.open:
        return
    from heartbeat.cli import tables

    when = tables.local(incident.ended_at, zone) if incident.ended_at else "earlier"
    raise RefusedError(
        f"{incident.id} is over since {when}: {_ending(incident)}",
        advice="nothing was changed; `heartbeat incidents --open` lists those that are not over",
    )


def _drop_queued(store: Store, incident: str, said: str, now: datetime) -> int:
    """Writes and nudges of the incident that nobody has begun; what is being carried out right now is left."""
    from heartbeat.entries import give_up
    from heartbeat.store.port import EntryKind, EntryState

    pending = frozenset({EntryState.PENDING})
    queued = [
        entry
        for entry in store.entries(states=pending)
        if entry.incident == incident and entry.kind in (EntryKind.WRITE, EntryKind.INBOX)
    ]
    for entry in queued:
        give_up(store, entry, said, now)
    return len(queued)


def _end(store: Store, incident: str, by: str, said: str, now: datetime) -> Incident:
    """The incident after its end."""
    from heartbeat.memory import Ending, Stage
    from heartbeat.store.port import LogEntry

    before = next(each for each in store.incidents() if each.id == incident)
    why = f"{said} ({by})"
    ended = replace(before, stage=Stage.ENDED, ended_at=now, ending=Ending.RESOLVED, why=why)
    store.put_incident(ended)
    store.add_log(
        [
            LogEntry(
                now,
                "incident-resolved",
                f"{before.title}: resolved by {by}: {said}",
                before.owner.id,
                str(before.ref),
                incident,
                {"by": by, "why": said},
            )
        ]
    )
    return ended


def document(incident: Incident) -> dict[str, Any]:
    """One incident of `heartbeat.incidents/1`."""
    from heartbeat.instants import to_text

    def text(instant: datetime | None) -> str | None:
        return None if instant is None else to_text(instant)

    return {
        "id": incident.id,
        "stage": incident.stage.value,
        "number": incident.number,
        "key": str(incident.ref),
        "refs": [str(ref) for ref in incident.refs],
        "title": incident.title,
        "owner": incident.owner.id or None,
        "owner_kind": incident.owner.kind.value,
        "epoch": incident.epoch,
        "opened_at": text(incident.opened_at),
        "nudged_at": text(incident.nudged_at),
        "recovered_at": text(incident.recovered_at),
        "steps": [
            {"step": taken.step.value, "at": text(taken.at), "outcome": taken.outcome.value, "detail": taken.detail}
            for taken in incident.steps
        ],
        "ended_at": text(incident.ended_at),
        "ending": incident.ending.value if incident.ending else None,
        "why": incident.why,
    }


def _print(found: Sequence[Incident], session: Session, limit: int) -> None:
    from heartbeat.cli import tables, wording
    from heartbeat.cli.called import called

    out = tables.console()
    zone, now = session.roster.timezone, session.now()
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, {"overflow": "fold"})
    shown = found[:limit] if limit else found
    names = called(session.state, _refs_told(shown))
    for incident in shown:
        said = tables.cell(incident.title)
        for line in _history(incident, zone, names):
            said.append("\n").append_text(tables.cell(_by_name(line, names), "dim"))
        table.add_row(
            "",
            tables.cell(incident.id),
            tables.cell(_stage(incident), "" if incident.open else "dim"),
            tables.cell(wording.owner_of(incident.owner)),
            tables.cell(wording.age_of(incident.opened_at, now)),
            said,
        )
    out.print(table)
    if limit and len(found) > limit:
        out.print(tables.cell(f"  … and {len(found) - limit} more: --limit 0 shows all", "dim"))


def _refs_told(found: Iterable[Incident]) -> Iterator[str]:
    """Every task that their lines name: their own, and those that steps and reasons tell of."""
    for incident in found:
        yield from map(str, incident.refs)
        for text in (incident.why, *(taken.detail for taken in incident.steps)):
            yield from _REF.findall(text)


_REF = re.compile(r"\b[a-z][a-z0-9-]*:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
"""A ref whose id is a UUID: nobody knows a task by that."""


def _stage(incident: Incident) -> str:
    word = incident.stage.value.replace("_", " ")
    return f"{word}, recovery {incident.number}" if incident.number > 1 else word


def _history(incident: Incident, zone: str, names: Mapping[str, str]) -> Iterable[str]:
    """What it is about, and everything that happened, in order; of an open one also what it waits for."""
    from heartbeat.cli import tables

    yield " = ".join(names.get(text, text) for text in map(str, incident.refs))
    yield f"opened {tables.local(incident.opened_at, zone)}"
    for taken in incident.steps:
        yield f"{_step(taken)} {tables.local(taken.at, zone)}{f': {taken.detail}' if taken.detail else ''}"
    if incident.open and incident.why:
        yield incident.why
    if incident.ended_at is not None:
        yield f"ended {tables.local(incident.ended_at, zone)}: {_ending(incident)}"


def _by_name(line: str, names: Mapping[str, str]) -> str:
    """The line with tasks as people call them: steps and reasons were put on record with their refs."""
    for ref, name in names.items():
        line = line.replace(ref, name)
    return line


def _step(taken: StepTaken) -> str:
    return f"{taken.step.value.replace('_', ' ')} {taken.outcome.value}"


def _ending(incident: Incident) -> str:
    word = incident.ending.value.replace("_", " ") if incident.ending else "ended"
    return f"{word}, {incident.why}" if incident.why else word
