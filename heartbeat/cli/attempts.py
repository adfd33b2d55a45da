"""`heartbeat attempts`: the turns that heartbeat has started: what runs, what came of the others, and what they cost.

Read-only, and by what is on record: the engines are not asked, since only a beat collects what has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.errors import UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from rich.text import Text

    from heartbeat.attempt import Attempt, DeadLetter
    from heartbeat.store.port import Store
    from heartbeat.task import Ref

SCHEMA = "heartbeat.attempts/1"

SHORT = 11
"""Characters of a dispatch id that people are shown: enough to tell it from the others, and to type."""

_ERROR = 300
_NAME = 24
_TITLE = 72
_SHORTEST_PREFIX = 4


def attempts(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK|TURN]", help="Of this task alone, by any name of it; or one turn in full, hb-…"),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only of this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most N, the newest.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All that are on record.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """The turns that heartbeat has started, the newest last: running or how they ended, with whom, at what cost."""
    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        single = _by_id(store, task) if task is not None else None
        refs = _refs(session, store, task) if task is not None and single is None else None
        limited = None if everything else limit + 1
        found = store.attempts(refs=refs, agent=agent, limit=limited) if single is None else (single,)
    if agent is not None and not found:
        session.roster.chosen([agent])
    cut = not everything and len(found) > limit
    shown = found[-limit:] if cut else found
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        now = session.now()
        told = {"generated_at": to_text(now), "attempts": [document(each, now) for each in shown]}
        documents.write({"schema": SCHEMA, **told})
    elif single is not None:
        _print_one(single, session)
    elif shown:
        _print(shown, session, cut=cut)
    else:
        whose = f" of {agent}" if agent else ""
        typer.echo(f"heartbeat has started no turn{whose}{' on that task' if task else ''} yet.")


def _refs(session: Session, store: Store, text: str) -> frozenset[Ref]:
    """The refs of the task that is meant. What stands on the attempts themselves needs no source to be read."""
    from heartbeat.cli.called import called

    known = store.attempts()
    names = called(session.state, {str(ref) for each in known for ref in each.refs})
    wanted = text.strip().casefold()
    groups: list[set[Ref]] = []
    for each in known:
        if _is_called(each, wanted, names):
            near = [group for group in groups if not group.isdisjoint(each.refs)]
            groups = [group for group in groups if group not in near]
            groups.append(set(each.refs).union(*near))
    if len(groups) == 1:
        return frozenset(groups[0])
    return frozenset(operators.task_named(session, store, text).refs)


def _is_called(attempt: Attempt, wanted: str, names: Mapping[str, str]) -> bool:
    if not wanted:
        return False
    full = {name for ref in attempt.refs for name in (str(ref), ref.id, names.get(str(ref), ""))}
    if wanted in {name.casefold() for name in (*full, attempt.title)}:
        return True
    long = len(wanted) >= _SHORTEST_PREFIX
    return long and any(ref.id.casefold().startswith(wanted) for ref in attempt.refs)


def document(attempt: Attempt, now: datetime) -> dict[str, Any]:
    """One attempt, in every document that has some."""
    from heartbeat.instants import to_text

    def text(instant: datetime | None) -> str | None:
        return None if instant is None else to_text(instant)

    return {
        "dispatch": attempt.id,
        "task": attempt.task,
        "refs": [str(ref) for ref in attempt.refs],
        "title": attempt.title,
        "agent": attempt.agent,
        "attempt": attempt.number,
        "engine": attempt.engine.value,
        "provider": attempt.provider,
        "model": attempt.model or None,
        "session_key": attempt.session or None,
        "run": attempt.run or None,
        "life": attempt.life.value,
        "outcome": attempt.outcome.value if attempt.outcome is not None else None,
        "cause": attempt.cause.value if attempt.cause is not None else None,
        "error": attempt.error or None,
        "exit_code": attempt.exit_code,
        "continued": attempt.continued,
        "letter": attempt.letter or None,
        "tries": attempt.tries,
        "planned_at": text(attempt.planned_at),
        "spawned_at": text(attempt.spawned_at),
        "accepted_at": text(attempt.accepted_at),
        "deadline": text(attempt.deadline),
        "ended_at": text(attempt.ended_at),
        "seconds": _seconds(attempt, now),
        "input_tokens": attempt.usage.input_tokens,
        "output_tokens": attempt.usage.output_tokens,
        "cost_usd": attempt.usage.cost_usd,
    }


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter in short, in the documents that are about its task."""
    from heartbeat.instants import to_text

    return {
        "id": letter.id,
        "state": letter.state.value,
        "created_at": to_text(letter.created_at),
        "due_at": to_text(letter.due_at),
        "tries": letter.tries,
        "poison": letter.poison,
        "error": letter.error,
    }


def _seconds(attempt: Attempt, now: datetime) -> float | None:
    """How long the turn lasted, or has lasted until now; None where none was accepted."""
    if attempt.accepted_at is None:
        return None
    return round(max(((attempt.ended_at or now) - attempt.accepted_at).total_seconds(), 0.0), 3)


def standing(attempt: Attempt, now: datetime) -> str:
    """`running for 3m`, `completed in 2m`, `spawn failed`."""
    from heartbeat.instants import format_duration

    seconds = _seconds(attempt, now)
    if attempt.outcome is None:
        lasting = f" for {format_duration(seconds)}" if seconds is not None else ""
        return f"{attempt.life.value}{lasting}"
    lasting = f" in {format_duration(seconds)}" if seconds is not None else ""
    return f"{attempt.outcome.value.replace('_', ' ')}{lasting}"


def asked(attempt: Attempt) -> str:
    """`first (first/m)`: who answers for the model, and the model where it is known."""
    return f"{attempt.provider} ({attempt.model})" if attempt.model else attempt.provider


def cost(attempt: Attempt) -> str:
    """`1,212 tokens, $0.0038`; what is not known is left out."""
    usage = attempt.usage
    counts = [each for each in (usage.input_tokens, usage.output_tokens) if each is not None]
    tokens = counted(sum(counts), "token") if counts else ""
    dollars = f"${usage.cost_usd:,.4f}" if usage.cost_usd is not None else ""
    return ", ".join(filter(None, (tokens, dollars)))


def colour(attempt: Attempt) -> str:
    """How its standing is shown."""
    from heartbeat.attempt import Outcome

    if attempt.outcome is None:
        return "bold"
    return {Outcome.COMPLETED: "green", Outcome.ABORTED: "dim"}.get(attempt.outcome, "yellow")


def said(attempt: Attempt) -> Text:
    """What it cost, and the error in short, below each other."""
    from heartbeat.cli import tables
    from heartbeat.cli.terminal import clipped

    lines = [line for line in (cost(attempt), clipped(attempt.error, _ERROR)) if line]
    text = tables.cell(lines[0] if lines else "")
    for line in lines[1:]:
        text.append("\n").append_text(tables.cell(line, "dim"))
    return text


_WIDE, _MIDDLE = 130, 100
"""Columns from which a row has the time and the model, and from which it has the provider."""
_LEAST = 16
"""Columns that what a turn cost, or why it failed, has at least."""


def _print(found: Sequence[Attempt], session: Session, *, cut: bool) -> None:
    """One line a turn: why it failed, else what it cost, is cut where the terminal ends."""
    from heartbeat.cli import tables
    from heartbeat.cli.called import called
    from heartbeat.cli.terminal import clipped, columns

    names = called(session.state, {str(ref) for each in found for ref in each.refs})
    out = tables.console(tables.TERMINAL)
    rows = [_row(each, session, names, out.width) for each in found]
    widths = [max(columns(row[place].plain) for row in rows) for place in range(len(rows[0]))]
    left = max(out.width - sum(widths) - 2 * (len(widths) + 1), _LEAST)
    fixed: list[dict[str, Any]] = [{"no_wrap": True, "min_width": width} for width in widths]
    table = tables.grid(*fixed, {"no_wrap": True})
    for each, row in zip(found, rows, strict=True):
        table.add_row("", *row, tables.cell(clipped(each.error or cost(each), left)))
    if cut:
        out.print(tables.cell("  … and earlier ones: --all shows them", "dim"))
    out.print(table)
    if any(each.error for each in found):
        out.print(tables.cell(f"  heartbeat attempts {found[-1].id[:SHORT]} shows one with its whole error", "dim"))


def _row(each: Attempt, session: Session, names: Mapping[str, str], width: int) -> list[Text]:
    """What stands before the cost: of a narrow terminal the age for the time, and nothing of who was asked."""
    from heartbeat.cli import tables, wording
    from heartbeat.cli.terminal import clipped

    now, began = session.now(), each.accepted_at or each.planned_at
    when = tables.local(began, session.roster.timezone) if width >= _WIDE else wording.age_of(began, now)
    name = next((names[key] for key in map(str, each.refs) if key in names), each.task or each.title)
    row = [
        tables.cell(each.id[:SHORT], "dim"),
        tables.cell(when),
        tables.cell(each.agent),
        tables.cell(f"{clipped(name, _NAME if width >= _MIDDLE else _NAME // 2)} #{each.number}"),
        tables.cell(standing(each, now), colour(each)),
    ]
    if width >= _MIDDLE:
        row.append(tables.cell(asked(each) if width >= _WIDE else each.provider))
    return row


def _print_one(attempt: Attempt, session: Session) -> None:
    """One turn with everything, the error whole."""
    from heartbeat.cli import tables
    from heartbeat.cli.terminal import clipped

    def at(instant: datetime | None) -> str:
        return "" if instant is None else tables.local(instant, session.roster.timezone)

    facts = (
        ("turn", f"{attempt.id}, attempt {attempt.number}{', of a task in progress' * attempt.continued}"),
        ("task", f"{attempt.task} {clipped(attempt.title, _TITLE)}".strip()),
        ("agent", f"{attempt.agent}, at {attempt.engine.value}"),
        ("asked", asked(attempt)),
        ("state", standing(attempt, session.now())),
        ("planned", at(attempt.planned_at)),
        ("accepted", at(attempt.accepted_at)),
        ("deadline", at(attempt.deadline) if attempt.outcome is None else ""),
        ("ended", at(attempt.ended_at)),
        ("cost", cost(attempt)),
        ("session", attempt.session),
        ("run", attempt.run),
        ("replays", attempt.letter),
        ("error", attempt.error),
        ("exit code", "" if attempt.exit_code is None else str(attempt.exit_code)),
    )
    table = tables.grid({"no_wrap": True, "style": "dim"}, {"overflow": "fold"})
    for name, told in facts:
        if told:
            table.add_row("", tables.cell(name), tables.whole(told))
    tables.console(tables.TERMINAL).print(table)


def _by_id(store: Store, text: str) -> Attempt | None:
    """The one turn whose id begins so; None where it is no beginning of one alone, and means a task."""
    wanted = text.strip().lower()
    if not wanted.startswith("hb-"):
        return None
    found = [each for each in store.attempts() if each.id.startswith(wanted)]
    return found[0] if len(found) == 1 else None


def one(known: Sequence[Attempt], text: str) -> Attempt:
    """The attempt that somebody means by the beginning of its id. Raises UsageError."""
    from heartbeat.dispatch.abort import meant

    if not known:
        raise UsageError("heartbeat has started no turn yet", advice="`heartbeat dispatch TASK` starts one")
    return meant(known, text)
