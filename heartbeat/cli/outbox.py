"""`heartbeat outbox`: what is to be written and told, and what was given up: look at it, try again, drop it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption, DefaultCommandGroup
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.cli.terminal import clipped
from heartbeat.errors import RefusedError, UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.store.port import Entry

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
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Make entries due now, also those that were given up; the next beat carries them out."""
    from heartbeat import entries
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
                entries.retry(store, entry, by, now)
            after = store.entries()
    if json_output:
        _write_changed(chosen, after, by, now)
        return
    for entry in chosen:
        typer.echo(f"{_id(entry)} {_shown(entry.summary)}: due now; the next beat carries it out")
    if not chosen:
        typer.echo("Nothing waits, and nothing was given up.")


@app.command("drop")
def drop(
    context: typer.Context,
    keys: KeysArgument = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why it is not wanted any more.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Give entries up for good: they are never carried out, and stay on record."""
    from heartbeat import entries
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
            for entry in chosen:
                entries.drop(store, entry, by, said, now)
            after = store.entries()
    if json_output:
        _write_changed(chosen, after, by, now)
        return
    for entry in chosen:
        begun = "; an attempt had begun, whether it took effect is not known"
        typer.echo(f"{_id(entry)} {_shown(entry.summary)}: dropped{begun * (entry.state is EntryState.CLAIMED)}")


def _write_changed(chosen: Iterable[Entry], after: Iterable[Entry], by: str, now: datetime) -> None:
    """`heartbeat.outbox/1` after a change: the entries that were meant, as they are from then on, and as they were."""
    from heartbeat.cli import documents
    from heartbeat.instants import to_text

    was = {entry.key: entry.state.value for entry in chosen}
    documents.write(
        {
            "schema": "heartbeat.outbox/1",
            "generated_at": to_text(now),
            "by": by,
            "entries": [{**document(entry), "was": was[entry.key]} for entry in after if entry.key in was],
        }
    )


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
            listed = ", ".join(f"{_id(entry)} {_shown(entry.summary)}" for entry in matches[:5])
            more = ", …" if len(matches) > 5 else ""
            raise UsageError(
                f"{clipped(key, _TITLE)!r} begins {len(matches)} entries: {listed}{more}; nothing was changed",
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
                f"{_id(entry)} {_shown(entry.summary)} is {entry.state.value}{when}"
                f"{f' ({_shown(because)})' if because else ''} and cannot be {done}; nothing was changed",
                advice=_ADVICE.get(entry.state.value, ""),
            )


_ADVICE = {
    "claimed": "an attempt is under way, or its process died: the next beat looks what came of it",
    "conflict": "somebody else had acted; the rules decide again at each beat",
}


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
        "what": entry.summary,
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
        said = tables.cell(_shown(entry.summary))
        for line in filter(None, (names.get(entry.task, entry.task), entry.error or entry.result, entry.key)):
            said.append("\n").append_text(tables.cell(line, "dim"))
        state = tables.cell(_state(entry, now), _COLOURS.get(entry.state.value, ""))
        tried = tables.cell(counted(entry.attempts, "try", "tries"))
        table.add_row(
            "", tables.cell(_id(entry)), state, tried, tables.cell(wording.age_of(entry.created_at, now)), said
        )
    out = tables.console()
    if len(found) > len(shown):
        left = counted(len(found) - len(shown), "earlier one is", "earlier ones are")
        out.print(tables.cell(f"  {left} not listed: --json has them", "dim"))
    out.print(table)


def _state(entry: Entry, now: datetime) -> str:
    from heartbeat.instants import format_duration

    if entry.state.value != "pending":
        return entry.state.value
    left = (entry.due_at - now).total_seconds()
    return f"due in {format_duration(left)}" if left >= 1 else "due now"
