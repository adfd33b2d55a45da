"""`heartbeat abort`: stop a turn that heartbeat has started, and give its task back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.errors import Exit

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.dispatch.abort import Aborted

SCHEMA = "heartbeat.abort/1"

_PATIENCE = 60.0
"""Seconds that stopping a turn and giving its task back may take together."""


def abort(
    context: typer.Context,
    dispatch: Annotated[
        str, typer.Argument(metavar="DISPATCH", help="Its id, or the beginning of it; `heartbeat attempts` lists them.")
    ],
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why it is stopped.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Stop a turn and give its task back. Exit 1: it had ended already. 3: it may be running still."""
    from heartbeat.cli import attempts
    from heartbeat.cli.dispatch import context_of
    from heartbeat.dispatch import abort as rules

    session = Session(context, roster)
    by, said = operators.author(session, as_agent), operators.remark(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        meant = attempts.one(store.attempts(), dispatch)
        done = rules.abort(context_of(session, store, seconds=_PATIENCE, lenient=True), meant, by, said)
    now, told, advice = session.now(), _told(done, session), _advice(done, session)
    if json_output:
        from heartbeat.cli import documents

        documents.write(_document(done, now, told, advice))
    elif done.how in (rules.How.STOPPED, rules.How.CALLED_OFF):
        typer.echo(f"{told}; {advice}")
    if done.how is rules.How.ENDED:
        complain(told)
        raise typer.Exit(Exit.FOUND)
    if done.how is rules.How.UNSURE:
        complain(f"{told}; {advice}")
        raise typer.Exit(Exit.INCOMPLETE)


def _told(done: Aborted, session: Session) -> str:
    from heartbeat.cli import attempts
    from heartbeat.dispatch.abort import How

    attempt = done.attempt
    name = f"{attempt.id} ({attempt.agent} on {_name(done, session)})"
    match done.how:
        case How.STOPPED:
            return f"{name} is stopped{_left(done)}"
        case How.CALLED_OFF:
            return f"{name} is called off before its turn was asked for{_left(done)}"
        case How.ENDED:
            error = f": {attempt.error}" if attempt.error else ""
            return f"{name} has ended already: {attempts.standing(attempt, session.now())}{error}"
        case How.UNSURE:
            return f"{name} may be running still: {done.told}; nothing was changed"


def _left(done: Aborted) -> str:
    """What of giving the claim back is not done."""
    if not done.attempt.refs:
        return ""
    if not done.left:
        return ", and its task is given back"
    because = "; ".join(f"{entry.target}: {entry.error or entry.state.value}" for entry in done.left)
    return f"; its task is not given back everywhere yet ({because})"


def _advice(done: Aborted, session: Session) -> str:
    """What comes next, and how to keep that from happening."""
    from heartbeat.dispatch.abort import How

    attempt = done.attempt
    if done.how is How.UNSURE:
        return f"try again, or stop the session {attempt.session} at {attempt.engine.value} itself"
    if done.how is How.ENDED:
        return ""
    if not attempt.refs:
        return "it was about no task"
    agent = session.roster.agents.get(attempt.agent)
    if agent is None or agent.policy.dispatch == "none":
        return "nothing starts it again by itself: the roster says `dispatch: none`"
    hold = f"`heartbeat hold {_typed(done, session)} --for 2h --why …`"
    pause = f"`heartbeat pause {attempt.agent} --why …`"
    return f"the next beat of {attempt.agent} may start it again; {hold} or {pause} keeps it from that"


def _name(done: Aborted, session: Session) -> str:
    """What people call the task."""
    from heartbeat.cli.called import called

    names = called(session.state, map(str, done.attempt.refs))
    return next(iter(names.values()), done.attempt.task or done.attempt.title)


def _typed(done: Aborted, session: Session) -> str:
    import shlex

    from heartbeat.cli.terminal import clipped

    return shlex.quote(clipped(_name(done, session), 60))


def _document(done: Aborted, now: datetime, told: str, advice: str) -> dict[str, Any]:
    from heartbeat.cli import attempts
    from heartbeat.instants import to_text

    return {
        "schema": SCHEMA,
        "generated_at": to_text(now),
        "result": done.how.value,
        "message": told,
        "advice": advice,
        "attempt": attempts.document(done.attempt, now),
        "given_back": None if done.how.value in ("ended", "unsure") else not done.left,
    }
