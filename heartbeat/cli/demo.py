"""`heartbeat demo`: the main job on a packaged sample, and cases on a virtual clock. No network, no OpenClaw, no
Multica, no waiting; always the same output."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption
from heartbeat.errors import CannotWriteError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from heartbeat.simulate.run import Result

INSTANT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
"""When the sample's story takes place."""


_TEXT = 100
"""Columns of a paragraph, however wide the screen is."""

_US = "heartbeat: "
"""How the timeline begins what heartbeat does."""


def demo(
    case: Annotated[
        str | None, typer.Argument(metavar="[CASE]", help="Play one case only: `stall` or `failover`.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="Keep the sample here, to try commands on it.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """See at once what it does: three sources merged into one worklist, then two cases on a virtual clock."""
    from heartbeat.cli import tables

    out = tables.console()
    if case is not None:
        if into is not None:
            raise UsageError("a case is played, and nothing of it can be kept", advice="leave out CASE or --into")
        _play(out, case)
        return
    _show_worklist(out, into)
    if into is None:
        from heartbeat.simulate.cases import CASES

        for name in CASES:
            out.print()
            _play(out, name)
    _say_how_to_go_on(into)


def _show_worklist(out: Console, into: Path | None) -> None:
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
        out.print(tables.cell("The worklist of coo, one of the three agents of a sample team, from three sources:"))
        out.print()
        tables.print_sources(out, seen)
        for each in result.beats:
            out.print()
            tables.print_beat(out, seen, each, beat.patrol(seen, store), limit=50)


def _play(out: Console, name: str) -> None:
    """One case: what there is to see, what happens at which minute and why, and what it comes to."""
    from rich.padding import Padding

    from heartbeat.cli.tables import cell, grid
    from heartbeat.simulate.cases import CASES, play_case

    if name not in CASES:
        raise UsageError(f"there is no case {name!r}", advice=f"known cases: {', '.join(CASES)}")
    case = CASES[name]
    result = play_case(case)
    out.print(cell(case.title, "bold"))
    out.print(Padding(cell(case.before), (0, 2)), width=_TEXT)
    out.print()
    table = grid({"justify": "right", "no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    table.add_row("", cell("minute", "dim"), cell("who", "dim"), cell("what, and why", "dim"))
    told = ""
    for who, what, why, colour, minute in _rows(result):
        said = cell(what, colour)
        if why and why != told:
            said.append("\n").append_text(cell(why, "dim"))
        told = why
        table.add_row("", cell(minute), cell(who), said)
    out.print(table)
    out.print()
    out.print(Padding(cell(case.after), (0, 2)), width=_TEXT)


def _rows(result: Result) -> Iterator[tuple[str, str, str, str, int]]:
    """Who, what, why, the colour and the minute. What is written on tasks and to people is in the team's language and
    long: here it is only told that it is written."""
    from heartbeat.simulate.world import Kind

    for moment in result.timeline:
        ours, message = moment.what.startswith(_US), moment.kind is Kind.MESSAGE
        what = f"tells {moment.what.removeprefix('to ')}" if message else moment.what.removeprefix(_US)
        if what in _UNTOLD:
            continue
        who = "heartbeat" if ours or message else moment.agent
        why = "" if message or moment.kind is Kind.WRITE else moment.why
        minute = int((moment.at - result.started).total_seconds() // 60)
        yield who, what, why, _COLOURS.get(moment.kind.value, ""), minute


_UNTOLD = frozenset({"the incident is over"})
"""What a newcomer need not see: the line before it says as much."""

_COLOURS = {"fault": "red", "write": "yellow", "message": "yellow"}


def _unpack(home: Path) -> None:
    """Copy the packaged sample, whole or not at all; refuses a directory that holds something else."""
    from importlib.resources import as_file, files

    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise CannotWriteError(f"{home} is not an empty directory", advice="name one that does not exist yet")
    there = home.exists()
    with as_file(files("heartbeat.sample") / "demo") as packaged:
        try:
            _copy(packaged, home)
        except BaseException as error:
            _take_away(home, keep=there)
            if not isinstance(error, OSError):
                raise
            told = f"{error.filename or home}: cannot be written: {error.strerror or error}; nothing was kept"
            raise CannotWriteError(told, advice=_NO_PLACE) from error


_NO_PLACE = "make room there, or name a directory on another disk in which you may write"


def _copy(source: Path, target: Path) -> None:
    """A directory with all that is in it, none of which is there yet. Raises OSError at the first that fails."""
    target.mkdir(parents=True, exist_ok=True)
    for each in sorted(source.iterdir()):
        if each.is_dir():
            _copy(each, target / each.name)
        else:
            (target / each.name).write_bytes(each.read_bytes())


def _take_away(home: Path, *, keep: bool) -> None:
    """What was copied; the directory itself too unless it was there before."""
    from shutil import rmtree

    with suppress(OSError):
        for each in sorted(home.iterdir()):
            rmtree(each, ignore_errors=True) if each.is_dir() else each.unlink()
        if not keep:
            home.rmdir()


def _say_how_to_go_on(into: Path | None) -> None:
    typer.echo("")
    if into is None:
        typer.echo("Keep the sample and try the commands on it: heartbeat demo --into sample")
        typer.echo(
            "See one case again: heartbeat demo stall, heartbeat demo failover. Play your own: heartbeat simulate"
        )
        return
    roster = shlex.quote(str(into / "agents.yaml"))
    typer.echo("Try next:")
    for words in ("worklist costcodev", "tasks --json", "tick --all", "receipts", "render --all --stdout"):
        typer.echo(f"  heartbeat --roster {roster} {words}")
