"""The `heartbeat` command: what it is made of, and what becomes of its errors.

Everything heavy is imported inside the commands, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Annotated

import typer

from heartbeat import __version__
from heartbeat.cli import demo, doctor, receipts, render, roster, tasks, tick
from heartbeat.errors import Exit, HeartbeatError

app = typer.Typer(
    name="heartbeat",
    help="Keeps a team of AI agents on OpenClaw working: one roster, one template, one worklist from three sources.",
    epilog="Exit codes: 0 done, 1 found something you asked to fail on, 2 wrong call or roster, 3 --strict and a "
    "source was not complete, 4 own state unusable, 70 a bug, 73 cannot write.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(roster.app, name="roster")
for command in (tick.tick, tick.worklist, tasks.tasks, render.render, doctor.doctor, receipts.receipts, demo.demo):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"heartbeat {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    roster_path: Annotated[
        str | None,
        typer.Option("--roster", metavar="FILE", help="The roster; else HEARTBEAT_ROSTER, ./agents.yaml, user config."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of every command."""
    context.obj = {"roster": roster_path, "debug": debug}


def main() -> None:
    """Run the command and end with its exit code; an error is told on stderr, without a traceback unless --debug."""
    # One call makes up to millions of objects without cycles and ends; the collector would walk them again and again.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its number; that is no reason to stop half-way.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except HeartbeatError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FOUND)
    except Exception as error:
        if _debugging():
            raise
        _say(f"heartbeat: a bug: {type(error).__name__}: {error}")
        _say("  run the same command with --debug and report what it prints")
        sys.exit(Exit.BUG)


def _tell(error: HeartbeatError) -> None:
    if _debugging():
        import traceback

        traceback.print_exception(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        _say(f"heartbeat: {line}")
    if error.advice:
        _say(f"  {error.advice}")


def _debugging() -> bool:
    return "--debug" in sys.argv[1:] or os.environ.get("HEARTBEAT_DEBUG", "") not in ("", "0")


def _say(line: str) -> None:
    from heartbeat.cli.terminal import plain

    print(plain(line), file=sys.stderr)
