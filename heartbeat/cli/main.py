"""The `heartbeat` command: what it is made of, and what becomes of its errors.

Everything heavy is imported inside the commands, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from heartbeat import __version__
from heartbeat.cli import (
    abort,
    attempts,
    cost,
    cron,
    demo,
    deps,
    dispatch,
    dlq,
    doctor,
    explain,
    health,
    incidents,
    init,
    log,
    notify,
    outbox,
    pauses,
    providers,
    receipts,
    render,
    roster,
    rounds,
    run,
    session,
    simulate,
    tasks,
    tick,
    timeouts,
    verbs,
    verify,
    watchdog,
)
from heartbeat.cli import gc as retention
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
app.command()(init.init)
app.add_typer(roster.app, name="roster")
for command in (tick.tick, tick.worklist, tasks.tasks, render.render, doctor.doctor, receipts.receipts, demo.demo):
    app.command()(command)
app.command()(simulate.simulate)
app.add_typer(cron.app, name="cron")
app.add_typer(rounds.app, name="rounds")
app.add_typer(outbox.app, name="outbox")
app.command("round")(rounds.report)
for operation in (incidents.incidents, incidents.resolve, pauses.hold, pauses.pause, pauses.resume, log.log, deps.deps):
    app.command()(operation)
for turn in (dispatch.dispatch, attempts.attempts, abort.abort):
    app.command()(turn)
app.add_typer(providers.app, name="providers")
app.add_typer(dlq.app, name="dlq")
app.command()(cost.cost)
app.command()(retention.gc)
for question in (timeouts.timeouts, explain.explain, health.health):
    app.command()(question)
app.add_typer(notify.app, name="notify")
app.command()(watchdog.watchdog)
app.command()(run.run)
app.command()(verify.verify)
for verb in verbs.COMMANDS:
    app.command()(verb)


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
    environment_file: Annotated[
        str | None, typer.Option("--env-file", metavar="FILE", help=session.ENVIRONMENT_FILE_HELP)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of every command."""
    context.obj = {"roster": roster_path, "environment_file": environment_file}


def application() -> Any:
    """The command with all that belongs to it, ready to be called."""
    built = typer.main.get_command(app)
    session.accept_environment_file(built)
    if "_HEARTBEAT_COMPLETE" in os.environ:
        from heartbeat.cli import completion

        completion.mend_bash_words(os.environ)
        completion.offer(built)
    return built


def main() -> None:
    """Run the command and end with its exit code; an error is told on stderr, without a traceback unless --debug."""
    # One call makes up to millions of objects without cycles and ends; the collector would walk them again and again.
    gc.disable()
    _prepare_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        application()()
    except SystemExit as end:
        _end(end)
    except HeartbeatError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OUTPUT_FAILED:
            _bug(error)
        _say(f"heartbeat: the output could not be written: {error.strerror}")
        _say("  make room where it goes; what the command did is done, `heartbeat receipts` shows beats")
        from heartbeat.cli.terminal import forget_output

        forget_output()
        sys.exit(Exit.CANNOT_WRITE)
    except Exception as error:  # noqa: BLE001 - told as a bug, with exit code 70; --debug raises it
        _bug(error)
    finally:
        if "heartbeat.systems.process" in sys.modules:
            from heartbeat.systems.process import end_children

            end_children()


def _end(end: SystemExit) -> NoReturn:
    """The end of a command. Where whoever read its output has gone (`| head`), that is nobody's mistake: not a word,
    and the code of a command that a broken pipe ended, unless it had come to its own."""
    if isinstance(end.__context__, BrokenPipeError):
        end.code = _BROKEN_PIPE
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        from heartbeat.cli.terminal import forget_output

        forget_output()
    raise end


_BROKEN_PIPE = 128 + signal.SIGPIPE

_OUTPUT_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _prepare_streams() -> None:
    """Output that is closed goes nowhere, and a terminal that cannot show a character shows its number."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - open for the rest of the program
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _bug(error: Exception) -> NoReturn:
    if _debugging():
        raise error
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
        _say(error.advice, indent="  ")


def _debugging() -> bool:
    return "--debug" in sys.argv[1:] or os.environ.get("HEARTBEAT_DEBUG", "") not in ("", "0")


def _say(line: str, indent: str = "") -> None:
    from heartbeat.cli.terminal import plain

    with suppress(OSError):  # where nobody hears, the exit code still tells
        print(f"{indent}{plain(line)}", file=sys.stderr, flush=True)
