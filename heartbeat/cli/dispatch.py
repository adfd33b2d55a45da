"""`heartbeat dispatch`: start an agent's turn on one task now, see what it would be, or wait for what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from heartbeat.cli import dispatched, operators
from heartbeat.cli.operators import TaskArgument
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain, finish, progress
from heartbeat.errors import Exit, RefusedError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.attempt import Attempt
    from heartbeat.dispatch.context import Context
    from heartbeat.dispatch.follow import Followed
    from heartbeat.dispatch.single import Asked, Room
    from heartbeat.observation import Observation
    from heartbeat.store.port import Store
    from heartbeat.task import Task

wait_for: Callable[[float], None] = time.sleep
"""How time passes between two looks at a turn; tests put something else here."""

_INTERRUPTED = 130
_PATIENCE = 120.0

_EXIT: Mapping[str, int] = {
    "planned": Exit.OK,
    "running": Exit.OK,
    "completed": Exit.OK,
    "unknown": Exit.INCOMPLETE,
}
"""What ends with another code than 1."""


def dispatch(
    context: typer.Context,
    task: TaskArgument,
    agent: Annotated[
        str, typer.Option("--as", "--agent", metavar="AGENT", help="Whose task is meant, and who is started.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and the prompt; change nothing anywhere.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is completed or given up; Ctrl-C leaves the turn running.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="With --wait: wait so long at most, such as 20m.")
    ] = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Start a turn on a task now, whatever comes first in the order of work. Exit 1: refused, failed, or given up."""
    session = Session(context, roster)
    if wait and dry_run:
        raise UsageError("--wait and --dry-run do not go together", advice="use one of them")
    if timeout is not None and not wait:
        raise UsageError("--timeout says how long --wait waits", advice="add --wait, or leave it out")
    length = operators.duration("--timeout", timeout) if timeout is not None else None
    if agent:
        session.roster.chosen([agent])
    until = session.now() + length if length is not None else None
    with session.store(read_only=dry_run) as store:
        operators.warn_of_loss(store)
        progress("reading the sources …")
        _Request(session, store, task, agent, json_output).run(dry_run=dry_run, wait=wait, until=until)


def context_of(session: Session, store: Store, *, seconds: float, lenient: bool = False) -> Context:
    """What turns are started, looked at and stopped with. Raises UsageError where the roster's providers cannot be
    read; with `lenient` that is told, and the usual numbers are gone by."""
    from heartbeat.deadline import Deadline
    from heartbeat.dispatch import engines
    from heartbeat.dispatch.context import Context, Means, opened
    from heartbeat.provider import Failover
    from heartbeat.systems import registry

    roster, environment, locks = session.roster, session.environment, session.state / "locks"
    deadline = Deadline.after(seconds)
    means = Means(registry.build_writer, engines.build_spawner, lambda seconds: wait_for(seconds))
    try:
        return opened(roster, environment, store, locks, session.now, deadline, means)
    except UsageError as error:
        if not lenient:
            raise
        complain(f"{error}; the usual numbers apply")
    usual = Failover()
    return Context(
        roster,
        environment,
        store,
        locks,
        session.now,
        deadline,
        usual,
        writer=means.writer,
        spawner=means.spawner,
        pause=means.pause,
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """One call, and what it has to tell."""

    session: Session
    store: Store
    name: str
    agent: str
    json_output: bool

    def run(self, *, dry_run: bool, wait: bool, until: datetime | None) -> None:
        from heartbeat.dispatch import single

        room = self._room(read_only=dry_run)
        try:
            begin = single.rehearse if dry_run else single.dispatch
            asked = begin(room, self._find, self.agent)
        except RefusedError as error:
            self._refused_early(error)
        current = self._followed(asked) if wait else None
        followed = self._follow(room, asked, current, until) if current is not None else None
        if current is not None and followed is None:
            told = dispatched.told_of_leaving(self.store.attempt(current.id) or current)
        else:
            told = dispatched.told_of(asked, followed, self.store)
        if self.json_output:
            self._write(told, asked)
        else:
            self._print(told, asked)
        finish(asked.observation, strict=False)
        self._end(told)

    def _room(self, *, read_only: bool) -> Room:
        from heartbeat.dispatch.single import Room

        context = context_of(self.session, self.store, seconds=_PATIENCE)
        return Room(context, self.session.cache(read_only=read_only), fenced=lambda fenced: complain(str(fenced)))

    def _find(self, seen: Observation) -> Task:
        from heartbeat.verbs.perform import the_task

        try:
            return the_task(seen, self.name, self.agent)
        except RefusedError as error:
            error.exit_code = Exit.INCOMPLETE  # it may well be in what was not read
            raise

    def _followed(self, asked: Asked) -> Attempt | None:
        """The turn to wait for: the one that was begun, or one of this very task that goes on already."""
        from heartbeat.dispatch.start import Result

        if asked.begun is not None:
            begun = asked.begun.result in (Result.RUNNING, Result.UNKNOWN)
            return asked.begun.attempt if begun else None
        own = asked.running
        return own if own is not None and not set(own.refs).isdisjoint(asked.task.refs) else None

    def _follow(self, room: Room, asked: Asked, current: Attempt, until: datetime | None) -> Followed | None:
        """What came of it; None where whoever waits has had enough."""
        from heartbeat.dispatch.follow import follow

        try:
            return follow(room, asked, current, until=until, tell=complain)
        except KeyboardInterrupt:
            complain(f"not waiting any more; the turn goes on: {dispatched.how_to_go_on(asked, current)}")
            return None

    def _refused_early(self, error: RefusedError) -> NoReturn:
        """Before anything of the task was known: nothing was begun."""
        from heartbeat.dispatch.single import LockedError
        from heartbeat.rules.dispatching import Reason

        if self.json_output:
            reason = Reason.BUSY.value if isinstance(error, LockedError) else None
            if error.exit_code == Exit.INCOMPLETE:
                reason = Reason.DEGRADED.value
            told = dispatched.Told("refused", reason=reason, error=str(error), advice=error.advice)
            self._write(told, None)
        raise error

    def _write(self, told: dispatched.Told, asked: Asked | None) -> None:
        from heartbeat.cli import documents

        documents.write(dispatched.document(told, asked, self.session.now(), self.name, self.agent))

    def _print(self, told: dispatched.Told, asked: Asked) -> None:
        if told.waited_out:
            complain("the time to wait is over")
        if told.status == "planned":
            dispatched.print_plan(asked)
        elif told.last is not None and told.status != "refused":
            dispatched.print_turn(told, asked)

    def _end(self, told: dispatched.Told) -> None:
        """With the exit code, and the reason where there is one to tell."""
        from heartbeat.rules.dispatching import Reason

        if told.left:
            raise typer.Exit(_INTERRUPTED)
        code = Exit.INCOMPLETE if told.waited_out else Exit(_EXIT.get(told.status, Exit.FOUND))
        if told.reason == Reason.DEGRADED.value:
            code = Exit.INCOMPLETE
        if told.status == "refused":
            error = RefusedError(told.error, advice=told.advice)
            error.exit_code = code
            raise error
        if code is not Exit.OK:
            raise typer.Exit(code)
