"""`heartbeat hold`: a declared long operation. `heartbeat pause`, `heartbeat resume`: no step for an agent or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption, Named, TaskArgument
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, finish
from heartbeat.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from heartbeat.memory import Hold, Pause
    from heartbeat.store.port import Store
    from heartbeat.task import Ref

AgentsArgument = Annotated[list[str] | None, typer.Argument(metavar="AGENT...", help="Agents of the roster.")]


def hold(
    context: typer.Context,
    task: TaskArgument,
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long it may take, such as 40m; counts from now.")
    ] = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="What takes so long.")] = None,
    end: Annotated[bool, typer.Option("--end", help="It is over: lift the hold.")] = False,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Declare a long operation on a task: until it is over nobody takes its silence for a stall."""
    session = Session(context, roster)
    by = operators.author(session, as_agent)
    if end and length is not None:
        raise UsageError("--end and --for do not go together", advice="use one of them")
    if length is None and not end:
        raise UsageError("nothing says how long the hold stands", advice="add --for 40m, or --end to lift one")
    lasting = operators.duration("--for", length) if length is not None else None
    said = operators.reason(why) if lasting is not None else operators.remark(why)
    with session.store(read_only=False) as store:
        named = operators.task_named(session, store, task)
        if lasting is None:
            ended = _end_hold(store, named, by, said, session.now())
            standing, told = None, f"{named.called}: {'held no longer' if ended else 'no hold stands on it'}"
        else:
            ended, standing = False, _begin_hold(session, store, named, lasting, by, said)
            until = _local(session, standing.until)
            told = f"{named.called}: held until {until}; `heartbeat hold {named.typed} --end` lifts it"
    if json_output:
        _print_hold(session, named, standing, ended=ended)
    else:
        typer.echo(told)
    finish(named.observation, strict=False)


def _print_hold(session: Session, named: Named, standing: Hold | None, *, ended: bool) -> None:
    from heartbeat.cli import documents
    from heartbeat.instants import to_text

    documents.write(
        {
            "schema": "heartbeat.hold/1",
            "generated_at": to_text(session.now()),
            "key": named.keys[0],
            "title": named.title,
            "refs": list(named.keys),
            "hold": None if standing is None else _hold_document(standing),
            "ended": ended,
        }
    )


def _begin_hold(session: Session, store: Store, named: Named, lasting: timedelta, by: str, why: str) -> Hold:
    from heartbeat.memory import Hold
    from heartbeat.store.port import LogEntry

    if named.task is not None and named.task.closed:
        raise RefusedError(f"{named.called} is closed; there is nothing to hold")
    now = session.now()
    until = _later("--for", now, lasting)
    when = _local(session, until)
    with store.transaction():
        for ref in named.refs:
            store.put_hold(Hold(ref, now, until, why, by))
        message = f"{named.title or named.refs[0]}: held until {when} by {by}: {why}"
        details = {"by": by, "why": why, "until": until.isoformat()}
        store.add_log([LogEntry(now, "hold-begun", message, named.owner.id, str(named.refs[0]), "", details)])
    return Hold(named.refs[0], now, until, why, by)


def _end_hold(store: Store, named: Named, by: str, why: str, now: datetime) -> bool:
    """Whether one stood."""
    from heartbeat.store.port import LogEntry

    with store.transaction():
        standing = [hold for hold in store.holds().values() if hold.ref in named.refs and now < hold.until]
        for ref in named.refs:
            store.drop_hold(ref)
        if standing:
            message = f"{named.title or named.refs[0]}: hold ended by {by}{f': {why}' if why else ''}"
            details = {"by": by, "why": why}
            store.add_log([LogEntry(now, "hold-ended", message, named.owner.id, str(named.refs[0]), "", details)])
    return bool(standing)


def pause(
    context: typer.Context,
    agents: AgentsArgument = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody.")] = False,
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long, such as 2h; else until it is resumed.")
    ] = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why they are paused.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """No step is taken and nothing dispatched for these agents; receipts go on. Without agents: list what stands."""
    session = Session(context, roster)
    names = _whom(session, agents, everybody)
    if not names:
        if length is not None or why is not None:
            raise UsageError("nobody is named to be paused", advice="name one or more agents, or use --all")
        _list(session, json_output)
        return
    by, said = operators.author(session, as_agent), operators.reason(why)
    lasting = operators.duration("--for", length) if length is not None else None
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        done = _pause(session, store, names, lasting, by, said)
        _tell(session, store, done, json_output)


def _pause(
    session: Session, store: Store, names: Sequence[str], lasting: timedelta | None, by: str, why: str
) -> list[_Done]:
    from heartbeat.memory import EVERYBODY, Pause
    from heartbeat.store.port import LogEntry

    now = session.now()
    until = None if lasting is None else _later("--for", now, lasting)
    when = f"until {_local(session, until)}" if until else "until resumed"
    done = []
    with store.transaction():
        before = {standing.agent for standing in store.pauses() if _stands(standing, now)}
        for name in names:
            store.put_pause(Pause(name, now, until, why, by))
            whom = _called(name)
            details = {"by": by, "why": why, "until": until.isoformat() if until else None}
            agent = "" if name == EVERYBODY else name
            store.add_log([LogEntry(now, "paused", f"{whom} paused {when} by {by}: {why}", agent, details=details)])
            instead = ", in place of an earlier pause" if name in before else ""
            done.append(_Done(name, "replaced" if instead else "paused", f"paused {when}{instead}"))
    return done


def resume(
    context: typer.Context,
    agents: AgentsArgument = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every pause that stands.")] = False,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why they may go on.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """End pauses: of these agents, or with --all every one that stands."""
    session = Session(context, roster)
    if everybody and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    if not everybody and not agents:
        raise UsageError(
            "nobody is named to be resumed", advice="name one or more agents, or use --all; `heartbeat pause` lists"
        )
    by, said = operators.author(session, as_agent), operators.remark(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        done = _resume(session, store, None if everybody else tuple(dict.fromkeys(agents or ())), by, said)
        _tell(session, store, done, json_output)


def _resume(session: Session, store: Store, names: Sequence[str] | None, by: str, why: str) -> list[_Done]:
    from heartbeat.memory import EVERYBODY
    from heartbeat.store.port import LogEntry

    now = session.now()
    with store.transaction():
        standing = {pause.agent: pause for pause in store.pauses()}
        if names is None:
            names = tuple(standing)
        else:
            session.roster.chosen([name for name in names if name not in standing])
        stood = [name for name in names if name in standing and _stands(standing[name], now)]
        for name in names:
            store.drop_pause(name)
        for name in stood:
            message = f"{_called(name)} resumed by {by}{f': {why}' if why else ''}"
            agent = "" if name == EVERYBODY else name
            store.add_log([LogEntry(now, "resumed", message, agent, details={"by": by, "why": why})])
        all_paused = EVERYBODY not in names and EVERYBODY in standing and _stands(standing[EVERYBODY], now)
    still = "; everybody is paused still: `heartbeat resume --all`" if all_paused else ""
    changes = {True: ("resumed", f"resumed{still}"), False: ("none", f"was not paused{still}")}
    return [_Done(name, *changes[name in stood]) for name in names]


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of one agent (or everybody): `paused`, `replaced`, `resumed`, `none`; and in words."""

    agent: str
    change: str
    told: str


def _tell(session: Session, store: Store, done: Sequence[_Done], json_output: bool) -> None:
    if json_output:
        pauses, holds = _standing(store, session.now())
        _print_json(pauses, holds, session.now(), done)
        return
    for each in done:
        typer.echo(f"{_called(each.agent)}: {each.told}")
    if not done:
        typer.echo("nobody is paused")


def _whom(session: Session, agents: Sequence[str] | None, everybody: bool) -> tuple[str, ...]:
    from heartbeat.memory import EVERYBODY

    if everybody and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    if everybody:
        return (EVERYBODY,)
    return tuple(agent.id for agent in session.roster.chosen(tuple(dict.fromkeys(agents or ()))))


def _called(name: str) -> str:
    from heartbeat.cli.terminal import plain
    from heartbeat.memory import EVERYBODY

    return "everybody" if name == EVERYBODY else plain(name)


def _stands(standing: Pause, now: datetime) -> bool:
    return standing.until is None or now < standing.until


def _later(option: str, now: datetime, lasting: timedelta) -> datetime:
    try:
        return now + lasting
    except OverflowError:
        raise UsageError(f"{option}: longer than heartbeat can count", advice="write 40m, 2h or 3d") from None


def _local(session: Session, instant: datetime) -> str:
    from heartbeat.cli import tables

    return tables.local(instant, session.roster.timezone)


def _list(session: Session, json_output: bool) -> None:
    now = session.now()
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        pauses, holds = _standing(store, now)
    if json_output:
        _print_json(pauses, holds, now)
    else:
        _print(session, pauses, holds)


def _standing(store: Store, now: datetime) -> tuple[list[Pause], list[tuple[tuple[Ref, ...], Hold]]]:
    """What stands: pauses, and holds by task."""
    pauses = [standing for standing in store.pauses() if _stands(standing, now)]
    return pauses, _together(hold for hold in store.holds().values() if now < hold.until)


def _together(holds: Iterable[Hold]) -> list[tuple[tuple[Ref, ...], Hold]]:
    """Holds with their refs: a task has one on each of its refs, put there at once. Those that end first come first."""
    by_word: dict[tuple[object, ...], list[Hold]] = {}
    for each in sorted(holds, key=lambda hold: (hold.until, hold.ref)):
        by_word.setdefault((each.until, each.since, each.by, each.why), []).append(each)
    return [(tuple(hold.ref for hold in group), group[0]) for group in by_word.values()]


def _print_json(
    pauses: Sequence[Pause],
    holds: Sequence[tuple[tuple[Ref, ...], Hold]],
    now: datetime,
    done: Sequence[_Done] | None = None,
) -> None:
    """What stands; and after a change, what was changed."""
    from heartbeat.cli import documents
    from heartbeat.instants import to_text

    document: documents.Document = {
        "schema": "heartbeat.pauses/1",
        "generated_at": to_text(now),
        "pauses": [
            {
                "agent": _agent(each.agent),
                "since": to_text(each.since),
                "until": None if each.until is None else to_text(each.until),
                "why": each.why,
                "by": each.by,
            }
            for each in pauses
        ],
        "holds": [{"refs": [str(ref) for ref in refs], **_hold_document(each)} for refs, each in holds],
    }
    if done is not None:
        document["changed"] = [{"agent": _agent(each.agent), "change": each.change} for each in done]
    documents.write(document)


def _agent(name: str) -> str | None:
    """Null for everybody."""
    from heartbeat.memory import EVERYBODY

    return None if name == EVERYBODY else name


def _hold_document(each: Hold) -> dict[str, str]:
    from heartbeat.instants import to_text

    return {"since": to_text(each.since), "until": to_text(each.until), "why": each.why, "by": each.by}


def _print(session: Session, pauses: Sequence[Pause], holds: Sequence[tuple[tuple[Ref, ...], Hold]]) -> None:
    from heartbeat.cli import tables

    if not pauses and not holds:
        typer.echo("Nobody is paused, and no hold stands.")
        return
    fixed: dict[str, Any] = {"no_wrap": True}
    out = tables.console()
    for title, rows in (
        ("Paused", [(_called(each.agent), each.until, each.by, each.why) for each in pauses]),
        ("Held", [(" = ".join(map(str, refs)), each.until, each.by, each.why) for refs, each in holds]),
    ):
        if not rows:
            continue
        table = tables.grid({"overflow": "fold"}, fixed, fixed, {"overflow": "fold"})
        for name, until, by, why in rows:
            when = f"until {_local(session, until)}" if until else "until resumed"
            table.add_row("", *(tables.cell(text) for text in (name, when, f"by {by}", why)))
        out.print(tables.cell(title, "bold"))
        out.print(table)
