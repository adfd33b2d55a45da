"""What a command works with: the roster, the state directory, the clock, the environment, each made when first asked.

Commands take `RosterOption` and `DebugOption` too, so that `heartbeat tick coo --roster FILE` works as well as
`heartbeat --roster FILE tick coo`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from heartbeat.observation import Observation
    from heartbeat.roster.model import Agent, Roster
    from heartbeat.store.port import Store
    from heartbeat.systems.snapshot import SnapshotCache

RosterOption = Annotated[str | None, typer.Option("--roster", metavar="FILE", help="The roster to use.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Judge as of this instant, such as 2026-11-21T12:00+08:00."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Read the sources now, whatever was read lately.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 3 when a source was not read completely.")]


class Session:
    """One call of the command."""

    def __init__(self, context: typer.Context, roster_path: str | None = None) -> None:
        shared = context.obj if isinstance(context.obj, dict) else {}
        self._roster_path = roster_path or shared.get("roster")
        self.environment: Mapping[str, str] = dict(os.environ)
        self._roster: Roster | None = None

    @property
    def roster(self) -> Roster:
        """The roster, read once. Raises UsageError or RosterError."""
        if self._roster is None:
            from heartbeat.roster.load import load_roster
            from heartbeat.roster.locate import find_roster
            from heartbeat.systems.registry import plug_in_names

            path = find_roster(self._roster_path, self.environment, Path.cwd())
            self._roster = load_roster(path, self.environment, plug_in_sources=plug_in_names)
        return self._roster

    def roster_option(self) -> Path | None:
        """What an agent's shell must pass as --roster; None where every heartbeat command finds this roster itself."""
        from heartbeat.roster.locate import user_roster

        return None if self.roster.path == user_roster() else self.roster.path

    @property
    def state(self) -> Path:
        """The state directory: HEARTBEAT_HOME, the roster's `state`, else one for this roster in the user's home."""
        home = self.environment.get("HEARTBEAT_HOME")
        if home:
            return Path(home).expanduser().absolute()
        if self.roster.state is not None:
            return self.roster.state
        import hashlib

        from platformdirs import user_state_path

        digest = hashlib.sha256(str(self.roster.path.resolve()).encode()).hexdigest()[:12]
        return user_state_path("heartbeat", appauthor=False) / digest

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    @contextmanager
    def store(self, *, read_only: bool) -> Iterator[Store]:
        """The store of the state directory, closed at the end. Raises StateError."""
        from heartbeat.store.opening import open_store, open_store_read_only

        opened = open_store_read_only(self.state) if read_only else open_store(self.state, self.now())
        with opened as store:
            yield store

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

    print(f"heartbeat: {plain(message)}", file=sys.stderr)
