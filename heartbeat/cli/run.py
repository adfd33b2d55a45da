"""`heartbeat run`: the daemon. All beats of a roster in one process that stays, until it is told to stop."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, RosterOption, Session, complain
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from heartbeat.beat import Tick
    from heartbeat.roster.model import Agent, Roster
    from heartbeat.store.port import Store

_STDOUT, _STDERR = 1, 2
_HOUR = 3600.0


def run(
    context: typer.Context,
    agents: Annotated[
        list[str] | None, typer.Option("--agents", metavar="A,B", help="Only these; else all that the roster has.")
    ] = None,
    jitter: Annotated[
        str, typer.Option("--jitter", metavar="DURATION", help="Beats begin up to so much after their slot; 0s: at it.")
    ] = "5s",
    beside: Annotated[
        bool, typer.Option("--beside", help="Run even where crontab, systemd or OpenClaw has these beats on schedule.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print when each agent is due next, and end. Changes nothing.")
    ] = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """The daemon: beats whoever is due, until SIGTERM or Ctrl-C; SIGHUP reads the roster anew. Made for systemd."""
    from heartbeat.daemon.supervisor import VARIABLES

    told = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    session = Session(context, roster)
    names = [name.strip() for each in agents or () for name in each.split(",")]
    if not all(names):
        raise UsageError("--agents has an empty name", advice="write --agents coo,architect, or leave it out")
    team = _team(session.roster, names, lenient=bool(told))
    window = _window(jitter)
    if dry_run:
        _print_agenda(session, team)
        try:
            _look_beside(session, names, beside)
        except UsageError as refusal:
            complain(f"without --dry-run it would be refused: {refusal}; {refusal.advice}")
        return
    debug = debug or bool(context.find_root().params.get("debug"))
    _stay(context, session, names, window, told, beside=beside, debug=debug)


def _team(roster: Roster, names: Sequence[str], *, lenient: bool) -> Sequence[Agent]:
    """Who is meant. A unit is older than the roster: with `lenient`, who has left it is named and does not stop the
    others, as after a reload. At a terminal it is a slip of the pen."""
    from heartbeat.daemon.roster_file import chosen

    if not lenient:
        return roster.chosen(list(dict.fromkeys(names)) or list(roster.agents))
    for name in names:
        if name not in roster.agents:
            complain(f"{roster.path}: no agent called {name!r}")
    return chosen(roster, names)


def _window(text: str) -> timedelta:
    from heartbeat.instants import parse_duration

    if text.strip() in ("0", "0s", "0m"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--jitter: {error}", advice="write 5s, or 0s for none") from error


def _look_beside(
    session: Session, names: Sequence[str], allowed: bool, before_each: Callable[[], None] = lambda: None
) -> None:
    """Raises UsageError where another schedule has beats of these agents; what cannot be known is said. Before each
    scheduler is asked, which may take its time, `before_each` is called."""
    if allowed:
        return
    from heartbeat.daemon.beside import beside
    from heartbeat.install.install import targets

    try:
        launch = session.preparation().launch
    except UsageError as error:
        complain(f"whether these beats are on schedule somewhere is not known: {error}")
        return
    every = targets(session.roster, launch, session.environment)
    for note in beside(session.roster, launch, every, names, session.environment, before_each):
        complain(note)


def _print_agenda(session: Session, team: Sequence[Agent]) -> None:
    """When each agent is due next, the soonest first."""
    from heartbeat.beat import who_is_due
    from heartbeat.cli import tables
    from heartbeat.daemon.roster_file import rhythm
    from heartbeat.instants import format_duration

    now = session.now()
    with session.store(read_only=True) as store:
        ready, resting = who_is_due(session.roster, team, store, now)
        last = store.last_receipts()
    due = dict.fromkeys((agent.id for agent in ready), now) | resting
    table = tables.grid(*({"no_wrap": True},) * 4)
    for agent in sorted(team, key=lambda each: (due[each.id], each.id)):
        before = last.get(agent.id)
        when = "now" if due[agent.id] == now else tables.local(due[agent.id], session.roster.timezone)
        soon = "" if due[agent.id] == now else f"in {format_duration(due[agent.id] - now)}"
        beaten = tables.local(before.started_at, session.roster.timezone) if before else "never"
        cells = (agent.id, rhythm(agent.policy), f"last {beaten}", f"next {when} {soon}".rstrip())
        table.add_row("", *map(tables.cell, cells))
    tables.console().print(table)


def _stay(
    context: typer.Context,
    session: Session,
    names: Sequence[str],
    window: timedelta,
    told: dict[str, str],
    *,
    beside: bool,
    debug: bool,
) -> None:
    import socket

    from heartbeat.daemon.beside import only_daemon, take_time
    from heartbeat.daemon.clocks import look
    from heartbeat.daemon.loop import Daemon
    from heartbeat.daemon.orders import Signals
    from heartbeat.daemon.roster_file import signature_of
    from heartbeat.daemon.supervisor import Supervisor
    from heartbeat.daemon.surroundings import Loaded, Surroundings
    from heartbeat.store.fencing import fenced_entry
    from heartbeat.watch.ping import BEATS, pinger_for

    # What other commands may leave behind for the end of the process would pile up here.
    gc.enable()
    path, state = session.roster.path, session.state
    _refuse_foreign(session)
    out, err = _Log(_STDOUT), _Log(_STDERR)
    seldom = _Seldom(err.said, lambda: look().awake)

    def load() -> Loaded:
        anew = Session(context, str(path))
        if anew.state != state and not (anew.names_state or session.names_state):
            err.said(
                f"{path} leads to another place now, where a new start would begin a memory of its own, {anew.state}; "
                f"this daemon goes on with {state}: name that one in the roster (`state:`)"
            )
        elif anew.state != state:
            raise UsageError(
                f"{path} names another state directory now: {anew.state} instead of {state}",
                advice="restart the daemon, so that no beat is lost between the two",
            )
        return Loaded(anew.roster, anew.environment)

    with (
        closing(Supervisor.of(told, err.said)) as supervisor,
        Signals() as orders,
        only_daemon(state / "locks", "daemon") as lock,
    ):
        if lock.fenced is not None:
            err.said(str(lock.fenced))
        _look_beside(session, names, beside, partial(take_time, supervisor, lock))
        around = Surroundings(
            look=look,
            orders=orders,
            load=load,
            signature=lambda: signature_of(path),
            open_store=_Kept(session),
            cache=session.cache(read_only=False),
            locks=state / "locks",
            renew=lock.renew,
            supervisor=supervisor,
            say=out.said,
            complain=err.said,
            report=_Reporter(session, err),
            show=out.put,
            pinger=lambda loaded: pinger_for(loaded.roster, BEATS, loaded.environment, seldom),
            host=socket.gethostname(),
            window=window,
            before=() if lock.fenced is None else (fenced_entry(lock.fenced),),
            debug=debug,
        )
        Daemon(around, names).run()


def _refuse_foreign(session: Session) -> None:
    """Raises StateError where the state is another roster's: no beat would ever come of it."""
    from heartbeat.belonging import stranger
    from heartbeat.store.opening import open_store_read_only

    with open_store_read_only(session.state) as store:
        refusal = stranger(store, session.roster, session.now())
    if refusal is not None:
        raise refusal


class _Kept:
    """The store for each beat. One that is gone although this process has used it is a loss, and no first run (B7)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._used = False

    @contextmanager
    def __call__(self) -> Iterator[Store]:
        from heartbeat.errors import StateError
        from heartbeat.store.opening import never_used

        if self._used and never_used(self._session.state):
            raise StateError(
                f"everything in {self._session.state} is gone, which this daemon has used until now: nobody beats",
                advice="put the directory or a backup of it back; to go on without memory, start the daemon anew",
            )
        with self._session.store(read_only=False) as store:
            if not self._used:
                self._session.keep_known()
            self._used = True
            yield store


class _Reporter:
    """The lines of a tick. What everybody must know goes where errors go, once for as long as it stands."""

    def __init__(self, session: Session, err: _Log) -> None:
        self._session = session
        self._err = err
        self._standing: frozenset[str] = frozenset()

    def __call__(self, done: Tick) -> list[str]:
        from heartbeat.cli.scheduled import lines

        for fenced in done.fenced:
            self._err.said(str(fenced))
        if done.observation is not None:
            alarms = {f"{alarm.code}: {alarm.message}" for alarm in done.observation.alarms}
            for alarm in sorted(alarms - self._standing):
                self._err.said(f"{alarm}; see `heartbeat doctor`")
            self._standing = frozenset(alarms)
        return list(lines(done, self._session.now()))


class _Seldom:
    """Sentences that would come with every beat, each of them once an hour."""

    def __init__(self, say: Callable[[str], None], awake: Callable[[], float]) -> None:
        self._say = say
        self._awake = awake
        self._said: dict[str, float] = {}

    def __call__(self, sentence: str) -> None:
        now = self._awake()
        self._said = {each: at for each, at in self._said.items() if now - at < _HOUR}
        if sentence not in self._said:
            self._said[sentence] = now
            self._say(sentence)


class _Log:
    """Lines out at once, to a descriptor. A log that cannot be written must not stop the beats: its lines are lost, and
    how many those were is said as soon as it can be written again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0

    def said(self, sentence: str) -> None:
        """The daemon's own words, with the time."""
        from datetime import UTC, datetime

        from heartbeat.cli.scheduled import seconds
        from heartbeat.cli.terminal import plain

        self.put(f"{seconds(datetime.now(UTC))} daemon: {plain(sentence)}")

    def put(self, line: str) -> None:
        """A line as it is."""
        lost = f"({self._lost} lines before this one could not be written)\n" if self._lost else ""
        left = f"{lost}{line}\n".encode(errors="backslashreplace")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            self._lost = 0
        except OSError:
            self._lost += 1
