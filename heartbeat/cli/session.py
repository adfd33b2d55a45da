"""What a command works with: the roster, the state directory, the clock, the environment, each made when first asked.

Commands take `RosterOption` and `DebugOption` too, so that `heartbeat tick coo --roster FILE` works as well as
`heartbeat --roster FILE tick coo`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperOption

from heartbeat.cli import zone
from heartbeat.errors import Exit, RosterError, UsageError

if TYPE_CHECKING:
    from heartbeat.install.launching import Preparation
    from heartbeat.observation import Observation
    from heartbeat.roster.model import Agent, Roster
    from heartbeat.store.port import Store
    from heartbeat.systems.snapshot import SnapshotCache

RosterOption = Annotated[str | None, typer.Option("--roster", metavar="FILE", help="The roster to use.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Judge as of 2026-11-21T12:00+08:00; without a zone it is UTC."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Read the sources now, whatever was read lately.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 3 when a source was not read completely.")]


_ENVIRONMENT_FILE = "environment_file"
"""Where `--env-file` stands in what the commands share."""
ENVIRONMENT_FILE_HELP = "NAME=value lines for what the environment lacks; else HEARTBEAT_ENV_FILE, user config."


def accept_environment_file(command: Any) -> None:
    """Give `--env-file` to the command where it takes `--roster`, and to every one below it."""
    for below in getattr(command, "commands", {}).values():
        accept_environment_file(below)
    at = next((n for n, parameter in enumerate(command.params, start=1) if "--roster" in parameter.opts), None)
    if at is None:
        return
    option = TyperOption(
        param_decls=[_ENVIRONMENT_FILE, "--env-file"],
        metavar="FILE",
        help=ENVIRONMENT_FILE_HELP,
        expose_value=False,
        callback=note_environment_file,
    )
    command.params.insert(at, option)


def note_environment_file(context: Any, parameter: Any, value: str | None) -> str | None:
    """Keep what `--env-file` names for the session of the command; the one next to the command wins."""
    if value is not None:
        context.ensure_object(dict)[_ENVIRONMENT_FILE] = value
    return value


_added: dict[str, str] = {}
"""What an environment file has put into this process's environment; read again, it may say something else."""


def _environment(explicit: str | None) -> tuple[Path | None, Mapping[str, str]]:
    """The environment file in use, and the environment with its values where it lacks the name. Raises UsageError.

    They go into the process's own environment too: libraries look there, for a proxy for example.
    """
    from heartbeat.roster.environment import find_environment, read_environment

    own = {name: value for name, value in os.environ.items() if _added.get(name) != value}
    path = find_environment(explicit, own, Path.cwd())
    read = None if path is None else read_environment(path)
    # Only now: a file that cannot be read must not take away what it gave before.
    for name in os.environ.keys() - own.keys():
        del os.environ[name]
    _added.clear()
    if path is None or read is None:
        return None, own
    _added.update({name: value for name, value in read.values.items() if name not in own})
    os.environ.update(_added)
    if "--scheduled" not in sys.argv[1:]:  # a log with a line each minute would say little else
        for warning in read.warnings:
            complain(warning)
    return path, {**read.values, **own}


class Session:
    """One call of the command."""

    def __init__(self, context: typer.Context, roster_path: str | None = None, *, lenient: bool = False) -> None:
        """`lenient` goes on without an environment file that cannot be read: `environment_trouble` says why."""
        shared = context.obj if isinstance(context.obj, dict) else {}
        self.roster_path: str | None = roster_path or shared.get("roster")
        """What `--roster` says, if anything."""
        self.environment_trouble: UsageError | None = None
        try:
            self.environment_file, self.environment = _environment(shared.get(_ENVIRONMENT_FILE))
        except UsageError as error:
            if not lenient:
                raise
            self.environment_file, self.environment, self.environment_trouble = None, dict(os.environ), error
        self._roster: Roster | None = None
        self._state: Path | None = None
        self._told_of_nothing = False
        self._told_of_stranger = False

    @property
    def roster(self) -> Roster:
        """The roster, read once. Raises UsageError or RosterError."""
        if self._roster is None:
            from heartbeat.roster.load import load_roster
            from heartbeat.roster.locate import find_roster
            from heartbeat.systems.registry import plug_in_names

            path = find_roster(self.roster_path, self.environment, Path.cwd())
            self._roster = load_roster(path, self.environment, plug_in_sources=plug_in_names)
            zone.use("" if "--scheduled" in sys.argv[1:] else self._roster.timezone)
        return self._roster

    def roster_option(self) -> Path | None:
        """What an agent's shell must pass as --roster; None where every heartbeat command finds this roster itself."""
        from heartbeat.roster.locate import user_roster

        return None if self.roster.path == user_roster() else self.roster.path

    @property
    def state(self) -> Path:
        """The state directory: HEARTBEAT_HOME, the roster's `state`, else one for this roster in the user's home.
        Worked out once: a link on the way to the roster may lead elsewhere a moment later."""
        if self._state is None:
            home = self.environment.get("HEARTBEAT_HOME")
            self._state = Path(home).expanduser().absolute() if home else state_of(self.roster)
        return self._state

    @property
    def names_state(self) -> bool:
        """Whether the roster or the environment says where the state is."""
        return bool(self.environment.get("HEARTBEAT_HOME")) or self.roster.state is not None

    def preparation(self) -> Preparation:
        """How a scheduler has to start heartbeat for this roster, and what to warn of. Raises UsageError."""
        from heartbeat.install.launching import prepare

        return prepare(self.roster, self.state, self.environment, self.environment_file)

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    @contextmanager
    def store(self, *, read_only: bool, on_record: bool = False, adopting: bool = False) -> Iterator[Store]:
        """The store of the state directory, closed at the end. Raises StateError; unless `adopting`, also where
        another roster's state is opened for writing.

        With `on_record`, for commands that show what is on record, it is told once where no beat ever was: a wrong
        state directory looks like a quiet team.
        """
        if on_record:
            self._tell_of_nothing()
        from heartbeat.store.opening import open_store, open_store_read_only

        def told(fenced: object) -> None:
            complain(str(fenced))

        opened = open_store_read_only(self.state) if read_only else open_store(self.state, self.now(), on_fenced=told)
        with opened as store:
            if not adopting:
                self._keep_out(store, read_only=read_only)
            yield store

    def _keep_out(self, store: Store, *, read_only: bool) -> None:
        """Who only looks into another roster's state is told so once; nobody writes to it. Raises StateError. Where it
        is not known whose it is, it is told too, but no line each minute for a log."""
        from heartbeat.belonging import doubt, stranger

        try:
            refusal = stranger(store, self.roster, self.now())
            found = refusal or doubt(store, self.roster, self.now())
        except (UsageError, RosterError):
            return  # with HEARTBEAT_HOME there are commands that need no roster; the others say what is wrong with it
        if refusal is not None and not read_only:
            raise refusal
        if found is not None and not self._told_of_stranger and (read_only or "--scheduled" not in sys.argv[1:]):
            self._told_of_stranger = True
            complain(f"{found}; {found.advice}")

    def keep_known(self) -> None:
        """Note outside of the state directory that scheduled beats use it, so that its loss is no first run (rule B7).

        Where that cannot be noted the beat goes on; `doctor` tells.
        """
        from heartbeat.store.witness import remember

        with contextlib.suppress(OSError):
            remember(self.state, self.now())

    def _tell_of_nothing(self) -> None:
        from heartbeat.store.opening import never_used

        if self._told_of_nothing or not never_used(self.state):
            return
        self._told_of_nothing = True
        complain(
            f"no beat was ever recorded in {self.state}; if beats run, they keep their state elsewhere: name that "
            "directory in the roster (`state:`), or in HEARTBEAT_HOME"
        )

    def cache(self, *, read_only: bool) -> SnapshotCache:
        """The shared snapshots of the state directory."""
        from heartbeat.systems.snapshot import SnapshotCache

        return SnapshotCache(self.state / "snapshots", read_only=read_only)

    def observe(
        self, store: Store, team: Sequence[Agent], *, at: datetime | None = None, fresh: bool = False
    ) -> Observation:
        """One look for the commands that only look: nothing is written, locks and snapshots included (rule B3)."""
        from heartbeat.observation import observe, patience

        deadline = patience([agent.policy for agent in team])
        cache = self.cache(read_only=True)
        return observe(
            self.roster, self.environment, store, cache, now=self.now(), deadline=deadline, at=at, fresh=fresh
        )


def state_of(roster: Roster) -> Path:
    """Where a roster's state is, HEARTBEAT_HOME apart."""
    if roster.state is not None:
        return roster.state
    from platformdirs import user_state_path

    return user_state_path("heartbeat", appauthor=False) / name_of(roster.path)


def name_of(roster: Path) -> str:
    """A short name for a roster's path, the same wherever it is asked for."""
    import hashlib

    return hashlib.sha256(str(roster.resolve()).encode()).hexdigest()[:12]


def finish(observation: Observation | None, strict: bool, *, unread: bool = False) -> None:
    """Say alarms on stderr, where a scheduler's mail or log looks; with `strict` exit 3 for what was not read.

    What was not read is named with `strict`, and with `unread`: for commands whose own output does not tell it.
    """
    if observation is None:
        return
    for alarm in observation.alarms:
        complain(f"{alarm.code}: {alarm.message}; see `heartbeat doctor`")
    if not observation.sweep.degraded:
        return
    if strict or unread:
        from heartbeat.cli.wording import told_of
        from heartbeat.systems.base import ReadStatus

        for report in observation.sweep.reports:
            if report.status in (ReadStatus.FAILED, ReadStatus.PARTIAL):
                complain(told_of(report))
    if strict:
        raise typer.Exit(Exit.INCOMPLETE)


def instant(text: str | None) -> datetime | None:
    """`--at` as an aware datetime; text without a zone is UTC. Raises UsageError."""
    if text is None:
        return None
    from heartbeat.instants import parse_instant

    parsed = parse_instant(text)
    if parsed is None:
        raise UsageError(
            f"--at {text!r} is no instant", advice="write 2026-11-21T12:00+08:00, 2026-11-21T04:00Z or epoch seconds"
        )
    return parsed


def progress(message: str) -> None:
    """A line on stderr about work that takes a while, for people at a terminal only."""
    if sys.stderr.isatty():
        from heartbeat.cli.terminal import plain

        print(plain(message), file=sys.stderr)


def complain(message: str) -> None:
    """A line on stderr that a person or a log should see."""
    from heartbeat.cli.terminal import plain

    print(f"heartbeat: {plain(zone.shown(message))}", file=sys.stderr)
