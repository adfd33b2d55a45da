"""`heartbeat outbox`: what is to be written and told, and what was given up: look at it, try again, drop it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption, DefaultCommandGroup
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.cli.terminal import clipped
from heartbeat.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.store.port import Entry, Store

app = typer.Typer(
    help="What is to be written and told, and what was given up.", cls=DefaultCommandGroup, rich_markup_mode=None
)

KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY...", help="Ids or keys as `heartbeat outbox list` shows them, or their beginnings."),
]

_TITLE = 60
_LISTED = 50
_COLOURS = {"dead": "bold red", "conflict": "yellow", "claimed": "yellow", "dropped": "dim", "done": "dim"}


@app.callback()
def outbox() -> None:
    """What is to be written and told, and what was given up."""


@app.command("list")
def list_(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="What is finished too.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What waits, and what was given up; the default of this group. Earliest first. Read-only."""
    from heartbeat.store.port import UNFINISHED, EntryState

    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        found = store.entries(states=None if everything else UNFINISHED | {EntryState.DEAD})
        lost = store.tombstone()
        operators.warn_of_loss(store)
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        documents.write(
            {
                "schema": "heartbeat.outbox/1",
                "generated_at": to_text(session.now()),
                "entries": [document(entry) for entry in found],
            }
        )
    elif found:
        _print(found, session)
    elif lost is None:
        typer.echo("The outbox is empty." if everything else "Nothing waits, and nothing was given up.")


@app.command("retry")
def retry(
    context: typer.Context,
    keys: KeysArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that waits for later or was given up.")] = False,
    as_agent: AsOption = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Make entries due now, also those that were given up; the next beat carries them out."""
    from heartbeat.store.port import EntryState

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    if everything and keys:
        raise UsageError("--all and keys do not go together", advice="use one of them")
    if not everything and not keys:
        raise UsageError(
            "nothing is named to be tried again", advice="name keys, or use --all; `heartbeat outbox` lists"
        )
    may = frozenset({EntryState.PENDING, EntryState.DEAD})
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        now = session.now()
        with store.transaction():
            known = store.entries()
            chosen = [each for each in known if each.state in may] if everything else _meant(known, keys or ())
            _refuse(chosen, may, "tried again")
            for entry in chosen:
                store.settle_entry(entry.key, EntryState.PENDING, now, error=entry.error, due_at=now)
                _log(store, entry, "outbox-retry", f"{what(entry)}: to be tried again, by {by}", {"by": by}, now)
    for entry in chosen:
        typer.echo(f"{_id(entry)} {_shown(what(entry))}: due now; the next beat carries it out")
    if not chosen:
        typer.echo("Nothing waits, and nothing was given up.")


@app.command("drop")
def drop(
    context: typer.Context,
    keys: KeysArgument = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why it is not wanted any more.")] = None,
    as_agent: AsOption = None,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Give entries up for good: they are never carried out, and stay on record."""
    from heartbeat.actions import settle_step
    from heartbeat.store.port import UNFINISHED, EntryState

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    if not keys:
        raise UsageError("nothing is named to be dropped", advice="name keys; `heartbeat outbox` lists them")
    said = operators.reason(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        now = session.now()
        with store.transaction():
            chosen = _meant(store.entries(), keys)
            _refuse(chosen, UNFINISHED | {EntryState.DEAD}, "dropped")
            error = f"dropped by {by}: {said}"
            for entry in chosen:
                store.settle_entry(entry.key, EntryState.DROPPED, now, error=error)
                settle_step(store, replace(entry, state=EntryState.DROPPED), error)
                details = {"by": by, "why": said}
                _log(store, entry, "outbox-dropped", f"{what(entry)}: {error}", details, now)
    for entry in chosen:
        begun = "; an attempt had begun, whether it took effect is not known"
        typer.echo(f"{_id(entry)} {_shown(what(entry))}: dropped{begun * (entry.state is EntryState.CLAIMED)}")


def _meant(known: Sequence[Entry], keys: Iterable[str]) -> list[Entry]:
    """Each key's one entry, without repetition. Raises UsageError for a key that means none or several."""
    chosen: dict[str, Entry] = {}
    for key in keys:
        matches = _matches(known, key.strip())
        if not matches:
            raise UsageError(
                f"no entry's id or key begins with {clipped(key, _TITLE)!r}; nothing was changed",
                advice="`heartbeat outbox list --all` lists them",
            )
        if len(matches) > 1:
            listed = ", ".join(f"{_id(entry)} {_shown(what(entry))}" for entry in matches[:5])
            raise UsageError(
                f"{clipped(key, _TITLE)!r} begins {len(matches)} entries: {listed}{', …' if len(matches) > 5 else ''}; "
                "nothing was changed",
                advice="write more of it",
            )
        chosen[matches[0].key] = matches[0]
    return list(chosen.values())


def _matches(known: Sequence[Entry], key: str) -> list[Entry]:
    exact = [entry for entry in known if key in (entry.key, _id(entry))]
    return exact or [entry for entry in known if key and (entry.key.startswith(key) or _id(entry).startswith(key))]


def _refuse(chosen: Iterable[Entry], may: frozenset[Any], done: str) -> None:
    from heartbeat.instants import to_text

    for entry in chosen:
        if entry.state not in may:
            since = entry.finished_at or entry.claimed_at
            when = f" since {to_text(since)}" if since else ""
            because = entry.error or entry.result
            raise RefusedError(
                f"{_id(entry)} {_shown(what(entry))} is {entry.state.value}{when}"
                f"{f' ({_shown(because)})' if because else ''} and cannot be {done}; nothing was changed",
                advice=_ADVICE.get(entry.state.value, ""),
            )


_ADVICE = {
    "claimed": "an attempt is under way, or its process died: the next beat looks what came of it",
    "conflict": "somebody else had acted; the rules decide again at each beat",
}


def _log(store: Store, entry: Entry, action: str, message: str, details: dict[str, Any], now: datetime) -> None:
    from heartbeat.store.port import LogEntry

    store.add_log([LogEntry(now, action, message, "", entry.task, entry.incident, {**details, "key": entry.key})])


def what(entry: Entry) -> str:
    """What it does, in a few words: the operation, or the title of a message; never a whole text."""
    write = entry.payload.get("write")
    if isinstance(write, dict):
        return f"{str(write.get('operation', 'write')).replace('_', ' ')} on {entry.target}"
    if entry.kind == "hook":
        return f"run {entry.target} after a turn"
    title = str(entry.payload.get("title", ""))
    return f"tell {entry.target}: {title}" if title else f"tell {entry.target}"


def document(entry: Entry) -> dict[str, Any]:
    """One entry of `heartbeat.outbox/1`: everything but the text that is to be written or sent."""
    from heartbeat.instants import to_text

    def text(instant: datetime | None) -> str | None:
        return None if instant is None else to_text(instant)

    return {
        "id": _id(entry),
        "key": entry.key,
        "kind": entry.kind.value,
        "target": entry.target,
        "what": what(entry),
        "task": entry.task or None,
        "incident": entry.incident or None,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "created_at": text(entry.created_at),
        "due_at": text(entry.due_at),
        "claimed_at": text(entry.claimed_at),
        "finished_at": text(entry.finished_at),
        "error": entry.error,
        "result": entry.result,
    }


def _id(entry: Entry) -> str:
    """The marker that the entry's text bears wherever it is written: short, and safe to type."""
    from heartbeat.action import marker_of

    return marker_of(entry.key)


def _shown(text: str) -> str:
    return clipped(text, _TITLE)


def _print(found: Sequence[Entry], session: Session) -> None:
    from heartbeat.cli import tables, wording
    from heartbeat.cli.called import called

    now = session.now()
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, {"overflow": "fold"})
    shown = found[-_LISTED:]
    names = called(session.state, (entry.task for entry in shown))
    for entry in shown:
        said = tables.cell(_shown(what(entry)))
        for line in filter(None, (names.get(entry.task, entry.task), entry.error or entry.result, entry.key)):
            said.append("\n").append_text(tables.cell(line, "dim"))
        state = tables.cell(_state(entry, now), _COLOURS.get(entry.state.value, ""))
        tried = tables.cell(f"{entry.attempts} tries" if entry.attempts != 1 else "1 try")
        table.add_row(
            "", tables.cell(_id(entry)), state, tried, tables.cell(wording.age_of(entry.created_at, now)), said
        )
    out = tables.console()
    if len(found) > len(shown):
        out.print(tables.cell(f"  {len(found) - len(shown)} earlier ones are not listed: --json has them", "dim"))
    out.print(table)


def _state(entry: Entry, now: datetime) -> str:
    from heartbeat.instants import format_duration

    if entry.state.value != "pending":
        return entry.state.value
    left = (entry.due_at - now).total_seconds()
    return f"due in {format_duration(left)}" if left >= 1 else "due now"
