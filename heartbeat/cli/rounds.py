"""`heartbeat rounds`: what tasks have used of their budget, and more for one of them. `heartbeat round`: one told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat import plural
from heartbeat.cli import operators
from heartbeat.cli import zone as zones
from heartbeat.cli.operators import AsOption, DefaultCommandGroup, Named, TaskArgument
from heartbeat.cli.session import DebugOption, FreshOption, JsonOption, RosterOption, Session, finish
from heartbeat.errors import Exit, RefusedError
from heartbeat.task import NOBODY, Item, Owner, OwnerKind, Priority, Ref, Status, Task

if TYPE_CHECKING:
    from heartbeat.actions import Carried
    from heartbeat.cli.counted import Reported
    from heartbeat.memory import Rounds
    from heartbeat.observation import Observation
    from heartbeat.policy import Policy
    from heartbeat.store.port import Store
    from heartbeat.verbs.grant import Grant

app = typer.Typer(
    help="What tasks have used of their budget of agent turns, and more for one of them.",
    cls=DefaultCommandGroup,
    rich_markup_mode=None,
)

_MOST = 100_000


@app.callback()
def rounds() -> None:
    """What tasks have used of their budget of agent turns, and more for one of them."""


@dataclass(frozen=True, slots=True)
class Spending:
    """One task's line. `open` is None where no source shows the task now, `limit` where nobody's numbers apply."""

    key: str
    name: str
    title: str
    owner: Owner
    refs: tuple[Ref, ...]
    rounds: Rounds
    limit: int | None
    open: bool | None


@app.command("show")
def show(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Only this one; any name of it, such as BIZ-31.")
    ] = None,
    json_output: JsonOption = False,
    fresh: FreshOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Rounds used and allowed, per task; the default of this group. Read-only."""
    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        if task is None:
            seen = session.observe(store, tuple(session.roster.agents.values()), fresh=fresh)
            lines = tuple(_all(session, store, seen))
        else:
            named = operators.task_named(session, store, task, fresh=fresh)
            seen, lines = named.observation, (_one(session, store, named),)
    if json_output:
        from heartbeat.cli import counted, documents

        documents.write(counted.of_lines(seen, lines))
    else:
        _print(seen, lines, session.roster.timezone, single=task is not None)
    finish(seen, strict=False, unread=True)


@app.command("extend")
def extend(
    context: typer.Context,
    task: TaskArgument,
    more: Annotated[int, typer.Argument(metavar="N", min=1, max=_MOST, help="How many rounds are granted.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What they are for; stands on the task.")] = "",
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Grant a task more rounds; where heartbeat paused it, it is unblocked at once."""
    from heartbeat.verbs.grant import grant

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    with session.store(read_only=False) as store:
        named = operators.task_named(session, store, task, fresh=True)
        granted = grant(
            store,
            named.task or _stand_in(named),
            _policy(session, named),
            more=more,
            by=by,
            why=why,
            now=session.now(),
        )
        carried = _carry_out(session, store, granted) if granted.writes else None
    if json_output:
        from heartbeat.cli import counted, documents

        documents.write(counted.of_grant(session.now(), named, more, granted, carried))
    else:
        typer.echo(
            f"{named.called}: {more} more; {granted.rounds.used} of {plural.counted(granted.limit, 'round')} used"
        )
        for line in _told(granted, carried):
            typer.echo(zones.shown(line))
    finish(named.observation, strict=False)
    if carried is not None and carried.dead:
        raise typer.Exit(Exit.FOUND)


def report(
    context: typer.Context,
    task: TaskArgument,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Report one round of work on a task, where nothing else shows it. One counts in each slot of its owner at most."""
    session = Session(context, roster)
    by = operators.author(session, as_agent)
    with session.store(read_only=False) as store:
        named = operators.task_named(session, store, task)
        reported = _report(session, store, named, by)
    if json_output:
        from heartbeat.cli import counted, documents

        documents.write(counted.of_report(session.now(), named, reported))
    else:
        typer.echo(f"{named.called}: {_said(session, reported)}")
    finish(named.observation, strict=False)


def _said(session: Session, reported: Reported) -> str:
    used = f"{reported.used} of {plural.counted(reported.limit, 'round')} used"
    if reported.counted:
        return f"counted; {used}"
    return f"not counted, this slot (since {_local(session, reported.slot)}) has its round already; {used}"


def _report(session: Session, store: Store, named: Named, by: str) -> Reported:
    from heartbeat.cli.counted import Reported
    from heartbeat.rules import rounds as rules
    from heartbeat.schedule.slots import current_slot
    from heartbeat.store.port import LogEntry

    subject = _in_progress(named)
    owner = session.roster.agents.get(subject.owner.id)
    if by in session.roster.agents and by != subject.owner.id:
        raise RefusedError(
            f"{named.called} belongs to {subject.owner.id or 'nobody'}, not to {by}; nothing was counted",
            advice="an agent reports rounds of its own tasks",
        )
    if owner is None:
        raise RefusedError(
            f"{named.called} belongs to {subject.owner.id or 'nobody'}, who has no slots in {session.roster.path}; "
            "nothing was counted",
            advice="rounds are counted for the agents of the roster",
        )
    now = session.now()
    slot = current_slot(owner.policy, session.roster.timezone, now)
    clocks = named.observation.judgement.memory.clocks
    marks = [clock.progress for ref in subject.refs if (clock := clocks.get(ref)) and clock.progress]
    with store.transaction():
        known = store.rounds()
        before = rules.together(subject, known)
        rows = rules.reported(
            subject,
            known,
            slot=slot,
            progress=max(marks, key=lambda mark: mark.at, default=None),
            now=now,
            began_at=rules.epoch_began(subject, clocks),
        )
        store.put_rounds(rows)
        after = rules.together(subject, {**known, **{row.ref: row for row in rows}})
        counted = after.used > before.used
        if counted:
            message = f"{subject.title}: a round was reported by {by}, {after.used} used"
            store.add_log([LogEntry(now, "round-reported", message, owner.id, subject.key, "", {"by": by})])
    return Reported(counted, slot, after.used, rules.limit_of(after, owner.policy), by)


def _in_progress(named: Named) -> Task:
    if named.task is None:
        raise RefusedError(
            f"{named.called} is in no source that could be read, so whether it is in progress is not known; "
            "nothing was counted",
            advice="`heartbeat doctor` says what is the matter with the sources",
        )
    if named.task.status is not Status.IN_PROGRESS:
        status = named.task.status.value.replace("_", " ")
        raise RefusedError(
            f"{named.called} is {status}; nothing was counted",
            advice="rounds are counted while a task is in progress: claim it, or set it in progress, first",
        )
    return named.task


def _policy(session: Session, named: Named) -> Policy:
    policy = _numbers(session, named.owner)
    if policy is None:
        raise RefusedError(
            f"{named.called} belongs to {named.owner.id or 'nobody'}, whose rounds nobody counts; nothing was granted",
            advice=f"rounds are counted for the agents of {session.roster.path}, and with a patrol agent for others",
        )
    return policy


def _numbers(session: Session, owner: Owner) -> Policy | None:
    """Whose numbers apply to work of this owner; None for a person's."""
    return None if owner.kind is OwnerKind.PERSON else session.roster.charter().policy_for(owner.id)


def _stand_in(named: Named) -> Task:
    """A task that no source shows now, as far as memory knows it: its refs and whose it was."""
    items = tuple(
        Item(ref, str(ref), named.title, Status.UNKNOWN, "", Priority.NONE, named.owner) for ref in named.refs
    )
    return Task(items, Status.UNKNOWN, Priority.NONE, named.owner, None, stale=named.refs)


def _carry_out(session: Session, store: Store, granted: Grant) -> Carried:
    from heartbeat.actions import carry_out
    from heartbeat.observation import patience
    from heartbeat.systems.registry import build_writer

    return carry_out(
        store,
        session.roster,
        session.environment,
        session.state / "locks",
        clock=session.now,
        deadline=patience([agent.policy for agent in session.roster.agents.values()]),
        build=build_writer,
        only=frozenset(write.key for write in granted.writes),
    )


def _told(granted: Grant, carried: Carried | None) -> Iterator[str]:
    from heartbeat.cli.terminal import plain

    if granted.dropped:
        yield "  its pause was queued and is dropped: it had not been blocked yet"
    for name in granted.blocked:
        yield f"  {plain(name)} is blocked, and not for its rounds: unblock it there if it may go on"
    if carried is None:
        return
    if carried.busy:
        yield f"  queued, not unblocked yet: {plain(carried.busy)} carries writes out now; else the next beat does it"
        return
    told = set()
    for words, entries in (
        ("unblocked on {target}", carried.done),
        ("left as it is on {target}: {error}", carried.conflicts),
        ("not unblocked on {target} yet, the next beats try again: {error}", carried.later),
        ("could not be unblocked on {target}, do it there by hand: {error}", carried.dead),
    ):
        for entry in entries:
            told.add(entry.key)
            yield f"  {plain(words.format(target=entry.target, error=entry.error))}"
    for write in granted.writes:
        if write.key not in told:
            yield f"  not unblocked on {write.ref.source} yet: no time was left, the next beat does it"


def _all(session: Session, store: Store, seen: Observation) -> Iterator[Spending]:
    """Every task of which rounds are on record: those that are seen in the order of work, then those that are not."""
    known = store.rounds()
    shown: set[Ref] = set()
    for standing in seen.assessment.standings:
        subject = standing.task
        if any(ref in known for ref in subject.refs):
            shown |= {*subject.refs, *subject.absent}
            yield _line(session, known, subject, subject.title, seen=True)
    incidents = store.incidents()
    near = operators.relations(store, incidents)
    for refs in operators.joined(known.keys() - shown, near):
        if not refs.isdisjoint(shown):
            continue  # a record that is gone, of a task that has others
        told = next((each for each in incidents if not refs.isdisjoint(each.refs)), None)
        title, owner = (told.title, told.owner) if told else ("", NOBODY)
        named = Named(tuple(sorted(refs)), None, seen, title, owner)
        yield _line(session, known, _stand_in(named), title, seen=False)


def _one(session: Session, store: Store, named: Named) -> Spending:
    subject = named.task or _stand_in(named)
    return _line(session, store.rounds(), subject, named.title, seen=named.task is not None)


def _line(session: Session, known: Mapping[Ref, Rounds], subject: Task, title: str, *, seen: bool) -> Spending:
    from heartbeat.rules import rounds as rules

    spent = rules.together(subject, known)
    policy = _numbers(session, subject.owner)
    knows_whose = seen or bool(subject.owner.id)
    limit = rules.limit_of(spent, policy) if policy is not None and knows_whose else None
    still_open = not subject.closed if seen else None
    return Spending(subject.key, subject.items[0].key, title, subject.owner, subject.refs, spent, limit, still_open)


def _print(seen: Observation, lines: Sequence[Spending], zone: str, *, single: bool) -> None:
    from heartbeat.cli import tables, wording

    shown = lines if single else [line for line in lines if line.open is not False]
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, {"overflow": "fold"}, {"overflow": "fold"})
    for line in shown:
        spent = line.rounds
        of = f"{spent.used} of {line.limit}" if line.limit is not None else f"{spent.used}, limit not known"
        idle = f"{spent.idle} without progress" if spent.idle else ""
        table.add_row(
            "",
            tables.cell(line.name),
            tables.cell(wording.owner_of(line.owner)),
            tables.cell(of, "bold red" if line.limit is not None and spent.used >= line.limit else ""),
            tables.cell(idle),
            tables.cell("; ".join(_notes(line, zone)), "yellow"),
            tables.cell(line.title),
        )
    out = tables.console()
    if shown:
        out.print(table)
    else:
        out.print("No round is on record of any open task.")
    if len(lines) > len(shown):
        left = plural.counted(len(lines) - len(shown), "closed task is", "closed tasks are")
        out.print(tables.cell(f"  {left} not listed: --json has them", "dim"))


def _notes(line: Spending, zone: str) -> Iterator[str]:
    from heartbeat.cli import tables

    if line.rounds.paused_at is not None:
        yield f"paused {tables.local(line.rounds.paused_at, zone)}"
    elif line.rounds.warned_at is not None:
        yield f"warned {tables.local(line.rounds.warned_at, zone)}"
    if line.rounds.extra:
        yield f"{line.rounds.extra} granted"
    if line.open is None:
        yield "not shown by any source now"


def _local(session: Session, instant: datetime) -> str:
    from heartbeat.cli import tables

    return tables.local(instant, session.roster.timezone)
