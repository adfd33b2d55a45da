"""`heartbeat dlq`: tasks that no provider would do: look at them, try again, give them up (rule F4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli import letters as screen
from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption, DefaultCommandGroup
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain, progress
from heartbeat.cli.terminal import clipped
from heartbeat.errors import Exit, HeartbeatError, RefusedError, UsageError

if TYPE_CHECKING:
    from heartbeat.attempt import Attempt, DeadLetter, LetterState
    from heartbeat.observation import Observation
    from heartbeat.store.port import Store
    from heartbeat.task import Task

app = typer.Typer(help="Dead letters: tasks that no provider would do.", cls=DefaultCommandGroup, rich_markup_mode=None)

LettersArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="LETTER...", help="Ids as `heartbeat dlq list` shows them, or their beginnings."),
]

_TITLE = 60
_PATIENCE = 120.0


@app.callback()
def dlq() -> None:
    """Dead letters: tasks that no provider would do."""


@app.command("list")
def list_(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that are done with, too.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Dead letters that are open, the oldest first; the default of this group. Read-only."""
    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        found = store.letters(open_only=not everything)
        lost = store.tombstone()
        operators.warn_of_loss(store)
    if json_output:
        from heartbeat.cli import documents
        from heartbeat.instants import to_text

        now = session.now()
        letters = [screen.document(each, now) for each in found]
        documents.write({"schema": "heartbeat.dlq/1", "generated_at": to_text(now), "letters": letters})
    elif found:
        screen.print_letters(found, session)
    elif lost is None:
        typer.echo("There never was a dead letter." if everything else "No dead letter is open.")


@app.command("show")
def show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="Its id, or the beginning.")],
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """One dead letter with everything: the task as it is now, each attempt, what was kept to try again. Read-only."""
    session = Session(context, roster)
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        [found] = _meant(store.letters(), [letter])
        tried = screen.attempts_of(store, found)
        replay = screen.replayed_by(session, found, store.breakers()) if found.is_open else ""
        seen = _look(session, store)
    if json_output:
        from heartbeat.cli import documents

        documents.write(screen.letter_document(found, tried, screen.task_of(seen, found), session, replay))
    else:
        screen.print_letter(found, tried, screen.task_of(seen, found), session, replay)


@app.command("retry")
def retry(
    context: typer.Context,
    letters: LettersArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one that waits or was left for a person.")] = False,
    now_at_once: Annotated[
        bool, typer.Option("--now", help="Start the turn here and now, not with the agent's next beat.")
    ] = False,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Make dead letters due at once; those whose tries are used get them anew. The agent's next beat replays them."""
    from heartbeat.attempt import LetterState
    from heartbeat.dispatch import letters as queue

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    _one_of(letters, everything, "nothing is named to be tried again")
    may = frozenset({LetterState.WAITING, LetterState.EXHAUSTED})
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        seen = _look(session, store)
        with store.transaction():
            known = store.letters()
            chosen = [each for each in known if each.state in may] if everything else _meant(known, letters or ())
            _refuse(chosen, may, "tried again")
            over = [each for each in chosen if _is_over(seen, each)]
            if over and not everything:
                raise _over(over[0], seen)
            due = [queue.retry(store, each, by, session.now()) for each in chosen if each not in over]
        left = "left as it is, its task is over; the next beat drops it"
        done = [screen.Changed(each, "left", left) for each in over]
        done += [_made_due(session, store, each, now_at_once=now_at_once) for each in due]
    if json_output:
        from heartbeat.cli import documents

        documents.write(screen.changes_document(done, by, session.now()))
    else:
        _tell(done)
        if not chosen:
            typer.echo("No dead letter waits, and none was left for a person.")
    if any(each.begun is False for each in done):
        raise typer.Exit(Exit.FOUND)


@app.command("drop")
def drop(
    context: typer.Context,
    letters: LettersArgument = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why it is not wanted any more.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Close dead letters for good. Their tasks stay where they are: close those, too, or beats start them anew."""
    from heartbeat.attempt import OPEN_LETTERS, LetterState
    from heartbeat.dispatch import letters as queue

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    if not letters:
        raise UsageError("nothing is named to be dropped", advice="name letters; `heartbeat dlq` lists them")
    said = operators.reason(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        with store.transaction():
            chosen = _meant(store.letters(), letters)
            _refuse(chosen, OPEN_LETTERS, "dropped")
            for each in chosen:
                queue.drop(store, each, by, said, session.now())
            dropped = {each.id: each for each in store.letters()}
    going = "; its turn goes on (`heartbeat abort` stops it)"
    done = [
        screen.Changed(dropped.get(each.id, each), "dropped", f"dropped{going * (each.state is LetterState.REPLAYING)}")
        for each in chosen
    ]
    if json_output:
        from heartbeat.cli import documents

        documents.write(screen.changes_document(done, by, session.now()))
        return
    _tell(done)
    typer.echo("The tasks stay as they are: one that is open and ready is started anew; close it if it is not wanted.")


def _tell(done: Iterable[screen.Changed]) -> None:
    for each in done:
        told = "due now" if each.begun is False else each.told  # why no turn was begun stands on stderr
        typer.echo(f"{each.letter.id} {screen.named(each.letter)}: {told}")


def _one_of(names: Sequence[str] | None, everything: bool, nothing: str) -> None:
    if everything and names:
        raise UsageError("--all and letters do not go together", advice="use one of them")
    if not everything and not names:
        raise UsageError(nothing, advice="name letters, or use --all; `heartbeat dlq` lists them")


def _meant(known: Sequence[DeadLetter], names: Iterable[str]) -> list[DeadLetter]:
    """Each name's one letter, without repetition. Raises UsageError for a name that means none or several."""
    chosen: dict[str, DeadLetter] = {}
    for name in names:
        wanted = name.strip().lower()
        begun = (wanted, f"dl-{wanted}")
        matches = [each for each in known if wanted and (each.id in begun or each.id.startswith(begun))]
        matches = [each for each in matches if each.id in begun] or matches
        if not matches:
            raise UsageError(
                f"no dead letter's id begins with {clipped(name, _TITLE)!r}; nothing was changed",
                advice="`heartbeat dlq list --all` lists them",
            )
        if len(matches) > 1:
            listed = ", ".join(f"{each.id} {screen.named(each)}" for each in matches[:5])
            more = ", …" if len(matches) > 5 else ""
            raise UsageError(
                f"{clipped(name, _TITLE)!r} begins {len(matches)} ids: {listed}{more}; nothing was changed",
                advice="write more of it",
            )
        chosen[matches[0].id] = matches[0]
    return list(chosen.values())


def _refuse(chosen: Iterable[DeadLetter], may: frozenset[LetterState], done: str) -> None:
    from heartbeat.instants import to_text

    for each in chosen:
        if each.state not in may:
            since = f" since {to_text(each.closed_at)}" if each.closed_at is not None else ""
            raise RefusedError(
                f"{each.id} {screen.named(each)} is {each.state.value}{since} and cannot be {done}; "
                "nothing was changed",
                advice=_ADVICE.get(each.state.value, ""),
            )


_ADVICE: Mapping[str, str] = {
    "replaying": "its turn goes on: `heartbeat attempts` shows it, `heartbeat abort` stops it",
    "replayed": "its task was done by a later turn",
    "dropped": "its task is a task like any other now: `heartbeat dispatch TASK` starts its turn",
}


# The task as it is now.


def _look(session: Session, store: Store) -> Observation | None:
    """What the sources show; None where that cannot be known, which is told and stops nothing."""
    progress("reading the sources …")
    try:
        return session.observe(store, tuple(session.roster.agents.values()))
    except HeartbeatError as error:
        complain(f"what the tasks are now is not known: {error}")
        return None


def _is_over(seen: Observation | None, letter: DeadLetter) -> bool:
    return screen.task_of(seen, letter).over


def _over(letter: DeadLetter, seen: Observation | None) -> RefusedError:
    told = screen.task_of(seen, letter).told
    return RefusedError(
        f"{letter.id} {screen.named(letter)} is not tried again: {told}; nothing was changed",
        advice="open the task again where it stands, if it is to be done after all",
    )


# Replaying.


def _made_due(session: Session, store: Store, letter: DeadLetter, *, now_at_once: bool) -> screen.Changed:
    """A letter that is due now; with `now_at_once` its turn was asked for, too."""
    if now_at_once:
        return _replay(session, store, letter)
    by_whom = screen.replayed_by(session, letter, store.breakers())
    return screen.Changed(letter, "due", f"due now; replayed by {by_whom}")


def _replay(session: Session, store: Store, letter: DeadLetter) -> screen.Changed:
    """Its turn, here and now. What speaks against it is told on stderr, and the letter stays due."""
    from heartbeat.cli.dispatch import context_of
    from heartbeat.dispatch.single import Room, dispatch
    from heartbeat.dispatch.start import Result

    def find(seen: Observation) -> Task:
        found = screen.task_of(seen, letter)
        if found.task is None:
            raise RefusedError(f"its task is not to be seen: {found.told}", advice="`heartbeat doctor`")
        return found.task

    def failed(why: str, attempt: Attempt | None = None) -> screen.Changed:
        complain(f"{letter.id}: {why}")
        return screen.Changed(_now(store, letter), "due", f"due now; {why}", False, attempt)

    room = Room(
        context_of(session, store, seconds=_PATIENCE),
        session.cache(read_only=False),
        fenced=lambda fenced: complain(str(fenced)),
    )
    try:
        asked = dispatch(room, find, letter.agent)
    except RefusedError as error:
        return failed(f"no turn was begun: {error}")
    begun = asked.begun
    if begun is None:
        told = asked.refused.told if asked.refused is not None else "nothing is to be started"
        return failed(f"no turn was begun: {told}; it stays due")
    last = begun.attempt
    if begun.result not in (Result.RUNNING, Result.UNKNOWN):
        return failed(begun.told or last.error, last)
    told = f"due now; {last.id} with {last.provider}: {begun.result.value.replace('_', ' ')}"
    return screen.Changed(_now(store, letter), "due", told, True, last)


def _now(store: Store, letter: DeadLetter) -> DeadLetter:
    return store.letter(letter.id) or letter
