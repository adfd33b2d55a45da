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
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from heartbeat import __version__
from heartbeat.cli import failure, parsers, printed, session, zone
from heartbeat.errors import Exit, HeartbeatError

app = typer.Typer(
    name="heartbeat",
    help="Keeps a team of AI agents on OpenClaw working: one roster, one template, one worklist from three sources.",
    epilog="Exit codes: 0 done, 1 found something you asked to fail on, 2 wrong call or roster, 3 --strict and a "
    "source was not complete, 4 own state unusable, 70 a bug, 73 cannot write, 130 Ctrl-C, 141 nobody reads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "init": "init.init",
    "tick": "tick.tick",
    "worklist": "tick.worklist",
    "tasks": "tasks.tasks",
    "render": "render.render",
    "doctor": "doctor.doctor",
    "receipts": "receipts.receipts",
    "demo": "demo.demo",
    "simulate": "simulate.simulate",
    "round": "rounds.report",
    "incidents": "incidents.incidents",
    "resolve": "incidents.resolve",
    "hold": "pauses.hold",
    "pause": "pauses.pause",
    "resume": "pauses.resume",
    "log": "log.log",
    "deps": "deps.deps",
    "dispatch": "dispatch.dispatch",
    "attempts": "attempts.attempts",
    "abort": "abort.abort",
    "cost": "cost.cost",
    "gc": "gc.gc",
    "timeouts": "timeouts.timeouts",
    "explain": "explain.explain",
    "health": "health.health",
    "watchdog": "watchdog.watchdog",
    "run": "run.run",
    "verify": "verify.verify",
    "start": "verbs.start",
    "done": "verbs.done",
    "review": "verbs.review",
    "reject": "verbs.reject",
    "block": "verbs.block",
    "note": "verbs.note",
    "roster": "roster.app",
    "cron": "cron.app",
    "rounds": "rounds.app",
    "outbox": "outbox.app",
    "providers": "providers.app",
    "dlq": "dlq.app",
    "notify": "notify.app",
}
"""Each command's name, and the module beside this one with what it is made of: a function, or a group of its own. In
the order of the help; imported when the command is called."""


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
    if "_HEARTBEAT_COMPLETE" not in os.environ:
        return parsers.group_of(app, COMMANDS)
    from heartbeat.cli import completion

    completion.mend_bash_words(os.environ)
    return parsers.group_of(app, COMMANDS, completion.offer)


def main() -> None:
    """Run the command and end with its exit code; an error is told on stderr, without a traceback unless --debug."""
    # One call makes up to millions of objects without cycles and ends; the collector would walk them again and again.
    gc.disable()
    _prepare_streams()
    printed.begin()
    zone.use("")
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: whoever started us wants us to outlive it
        signal.signal(signal.SIGHUP, _stop)
    try:
        ended = application()(prog_name="heartbeat", standalone_mode=False)
        raise SystemExit(ended if isinstance(ended, int) else Exit.OK)
    except SystemExit as end:
        _end(end)
    except _MiscalledError as error:
        _miscalled(error)
    except HeartbeatError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        _say("heartbeat: the input ended")
        sys.exit(Exit.USAGE)
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

_MiscalledError: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""What the parser raises for a wrong call. Typer brings the parser along, and gives its errors no other name."""

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


def _miscalled(error: Any) -> NoReturn:
    """A wrong call, told as the parser tells it."""
    with suppress(OSError):
        error.show()
    path = getattr(getattr(error, "ctx", None), "command_path", "heartbeat")
    _tell_programs(error, error.exit_code, error.format_message(), f"`{path} --help` shows how it is called")
    sys.exit(error.exit_code)


def _bug(error: Exception) -> NoReturn:
    told = f"a bug: {type(error).__name__}: {error}"
    advice = "run the same command with --debug and report what it prints"
    if _debugging():
        _tell_programs(error, Exit.BUG, told, advice)
        raise error
    _say(f"heartbeat: {told}")
    _say(advice, indent="  ")
    _tell_programs(error, Exit.BUG, told, advice)
    sys.exit(Exit.BUG)


def _tell(error: HeartbeatError) -> None:
    if _debugging():
        import traceback

        traceback.print_exception(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        _say(f"heartbeat: {line}")
    if error.advice:
        _say(error.advice, indent="  ")
    _tell_programs(error, error.exit_code, str(error) or type(error).__name__, error.advice)


def _tell_programs(error: Exception, code: int, message: str, advice: str) -> None:
    """The error as JSON, where `--json` asked for a document and none was printed."""
    with suppress(OSError):  # where nobody reads, the exit code still tells
        failure.tell(error, code, sys.argv[1:], datetime.now(UTC), message=message, advice=advice)


def _debugging() -> bool:
    return "--debug" in sys.argv[1:] or os.environ.get("HEARTBEAT_DEBUG", "") not in ("", "0")


def _say(line: str, indent: str = "") -> None:
    from heartbeat.cli.terminal import plain

    with suppress(OSError):  # where nobody hears, the exit code still tells
        print(f"{indent}{plain(zone.shown(line))}", file=sys.stderr, flush=True)
