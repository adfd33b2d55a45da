"""`heartbeat demo`: the main job on a packaged sample. No network, no OpenClaw, no Multica; always the same output."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from heartbeat.cli.session import DebugOption
from heartbeat.errors import CannotWriteError

INSTANT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
"""When the sample's story takes place."""


def demo(
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="Keep the sample here, to try commands on it.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """See the main job at once: three sources of a sample team, merged into one worklist."""
    from heartbeat import beat, observation
    from heartbeat.cli import tables
    from heartbeat.roster.load import load_roster
    from heartbeat.store.memory import MemoryStore
    from heartbeat.systems.snapshot import SnapshotCache

    with ExitStack() as stack:
        home = into or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heartbeat-demo-")))
        _unpack(home)
        roster = load_roster(home / "agents.yaml", {})
        team = roster.chosen(["coo"])
        store = stack.enter_context(MemoryStore())
        cache = SnapshotCache(home / "state" / "snapshots", read_only=True)
        deadline = observation.patience([agent.policy for agent in team])
        seen = observation.observe(roster, {}, store, cache, now=INSTANT, deadline=deadline)
        result = beat.rehearse(seen, team, store)
        out = tables.console()
        out.print(tables.cell("The worklist of coo, one of the three agents of a sample team, from three sources:"))
        out.print()
        tables.print_sources(out, seen)
        for each in result.beats:
            out.print()
            tables.print_beat(out, seen, each, beat.patrol(seen, store), limit=50)
    _say_how_to_go_on(into)


def _unpack(home: Path) -> None:
    """Copy the packaged sample; refuses a directory that holds something else."""
    from importlib.resources import as_file, files

    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise CannotWriteError(f"{home} is not an empty directory", advice="name one that does not exist yet")
    from shutil import copytree

    with as_file(files("heartbeat.sample") / "demo") as packaged:
        try:
            copytree(packaged, home, dirs_exist_ok=True)
        except OSError as error:
            raise CannotWriteError(f"{home}: {error.strerror or error}", advice="name another directory") from error


def _say_how_to_go_on(into: Path | None) -> None:
    typer.echo("")
    if into is None:
        typer.echo("Keep the sample and try the commands on it: heartbeat demo --into sample")
        return
    roster = shlex.quote(str(into / "agents.yaml"))
    typer.echo("Try next:")
    for words in ("worklist costcodev", "tasks --json", "tick --all", "receipts", "render --all --stdout"):
        typer.echo(f"  heartbeat --roster {roster} {words}")
