"""How heartbeat is started by somebody else, found out from the call that runs now (rule S1a).

What is found here is written into schedules: absolute paths of what is there at this moment, and never a secret.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from heartbeat.errors import RosterError, UsageError
from heartbeat.install.account import warning_to_root
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.surroundings import surroundings
from heartbeat.systems.base import Deadline, TransportError
from heartbeat.systems.process import run

STANDARD_PATH = ("/usr/local/bin", "/usr/bin", "/bin")

_INTERPRETER_OF_TOOLS = "node"
_BINARIES = {"workboard": "openclaw", "multica": "multica"}
_REHEARSAL_SECONDS = 30.0

_VARIABLES_OF_TOOLS = (
    "OPENCLAW_STATE_DIR",
    "OPENCLAW_GATEWAY_URL",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_TOKEN",
    "MULTICA_SERVER_URL",
    "MULTICA_WORKSPACE_ID",
    "MULTICA_TOKEN",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
)
"""What the sources look for in the environment by themselves."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How to start heartbeat for a roster, and sentences about what may go wrong with it."""

    launch: Launch
    warnings: tuple[str, ...] = ()


def prepare(
    roster: Roster,
    state: Path,
    environment: Mapping[str, str],
    environment_file: Path | None,
    *,
    interpreter: str | None = None,
) -> Preparation:
    """The launch for this roster and state directory, with the program that runs now and the tools that are found now.

    Raises UsageError where the program is not to be found any more, and for paths that no schedule can hold.
    """
    warnings: list[str] = []
    launch = Launch(
        program=_program(sys.executable if interpreter is None else interpreter),
        roster=roster.path,
        state=state,
        path=_path(roster, environment, warnings),
        environment_file=environment_file,
        apart=_apart(roster.path, state),
    )
    if "=" in launch.program[0]:
        raise UsageError(
            f"the program {launch.program[0]!r} has a = in its path, which `env` would take for an assignment",
            advice="install heartbeat in another directory",
        )
    for what, text in _written(launch):
        if not _can_be_written(text):
            raise UsageError(
                f"{what} {text!r} holds characters that a schedule cannot hold: control characters, or no UTF-8",
                advice="give it another name",
            )
    return Preparation(launch, tuple(warnings))


def _apart(roster: Path, state: Path) -> Path:
    """Beside what the watchdog remembers, which is not in the state directory either, wherever that is."""
    from platformdirs import user_state_path

    name = hashlib.sha256(str(roster.resolve()).encode()).hexdigest()[:12]
    base = user_state_path("heartbeat", appauthor=False)
    own = base / "watchdog"
    below = own.is_relative_to(os.path.normpath(state)) or own.resolve().is_relative_to(state.resolve())
    return (base.with_name("heartbeat-watchdog") if below else own) / name


def bare_environment(
    launch: Launch, roster: Roster, file_values: Mapping[str, str], user_name: str = ""
) -> dict[str, str]:
    """What a scheduled command of this user (or our own) finds in its environment: what cron gives everybody, what the
    schedule says, and the environment file for the rest."""
    try:
        user = pwd.getpwnam(user_name) if user_name else pwd.getpwuid(os.getuid())
    except KeyError as error:
        who = user_name or f"uid {os.getuid()}"
        raise UsageError(
            f"{who} has no entry in the password file, so that no scheduler could start anything for it",
            advice="run it as a user who has one, or let `heartbeat run` stay in the foreground",
        ) from error
    given = {"HOME": user.pw_dir, "LOGNAME": user.pw_name, "USER": user.pw_name, "SHELL": "/bin/sh"}
    return {**file_values, **given, **dict(surroundings(launch, roster))}


def rehearse(launch: Launch, roster: Roster, environment: Mapping[str, str], user_name: str = "") -> tuple[str, ...]:
    """Start the program, and read the roster, as cron would; sentences about what is different from here, where
    `environment` is ours. `user_name` is whom the schedule names, where it names anybody.

    Raises UsageError where a scheduled beat could not even begin.
    """
    from heartbeat.roster.environment import read_environment

    file = launch.environment_file
    values = {} if file is None else read_environment(file).values
    bare = bare_environment(launch, roster, values, user_name)
    try_start(launch, bare)
    lost = _left_behind(roster, environment, values)
    as_root = () if user_name else warning_to_root(roster.path)
    return (
        *as_root,
        *_read_again(roster, bare),
        *(f"{each} {file or 'an environment file (--env-file)'}" for each in lost),
    )


def try_start(launch: Launch, environment: Mapping[str, str]) -> None:
    """Start the program from another directory and let it say its version. Raises UsageError where it does not."""
    argv = (*launch.program, "--version")
    try:
        done = run(argv, deadline=Deadline.after(_REHEARSAL_SECONDS), environment=environment, cwd=Path("/"))
    except TransportError as error:
        raise UsageError(f"a scheduler could not start heartbeat: {error}", advice=error.advice) from error
    if done.code != 0:
        said = (done.stderr.strip().splitlines() or [f"exit {done.code}"])[-1]
        raise UsageError(
            f"a scheduler could not start `{' '.join(argv)}`: {said}",
            advice="install heartbeat (`pip install .`), so that it runs from every directory",
        )


def _program(interpreter: str) -> tuple[str, ...]:
    """The command beside the interpreter, so that a virtual environment is used as it is; else the interpreter."""
    own = Path(interpreter)
    if not own.is_absolute() or not os.access(own, os.X_OK):
        raise UsageError(
            f"the Python that runs heartbeat is not to be found at {interpreter or '(nowhere)'}",
            advice="install heartbeat anew, and call it by the installed command",
        )
    command = own.with_name("heartbeat")
    if command.is_file() and os.access(command, os.X_OK):
        return (str(command),)
    return (str(own), "-m", "heartbeat")


def _path(roster: Roster, environment: Mapping[str, str], warnings: list[str]) -> str:
    """PATH for a bare environment: where the tools are found now and the usual places, in the order of our own."""
    own = [Path(entry) for entry in environment.get("PATH", os.defpath).split(os.pathsep)]
    names = [str(roster.sources.get(source, {}).get("binary") or name) for source, name in _BINARIES.items()]
    found: set[Path] = set()
    for name in ("heartbeat", *names, _INTERPRETER_OF_TOOLS):
        where = None if os.sep in name else shutil.which(name, path=os.pathsep.join(map(str, own)))
        if where is None:
            continue
        directory = Path(where).parent
        if directory.is_absolute():
            found.add(directory)
            warnings.extend(_suspicious(name, directory, roster))
        else:
            warnings.append(
                f"{name} is found by a relative entry of PATH ({directory}), which means another directory to a "
                "scheduler: left out"
            )
    ordered = [str(directory) for directory in own if directory in found or str(directory) in STANDARD_PATH]
    return os.pathsep.join(dict.fromkeys((*ordered, *STANDARD_PATH)))


def _suspicious(name: str, directory: Path, roster: Roster) -> Iterator[str]:
    """Where somebody else could put a program of this name."""
    try:
        mode = directory.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH:
        yield f"{name} is found in {directory}, which everybody can write to, and so decide what the beats run"
    for agent in roster.agents.values():
        if agent.workspace is not None and directory.is_relative_to(agent.workspace):
            yield f"{name} is found in {directory}, in the workspace of {agent.id}, who so decides what the beats run"


def _written(launch: Launch) -> Iterator[tuple[str, str]]:
    yield from (("the program", word) for word in launch.program)
    yield "the roster's path", str(launch.roster)
    yield "the state directory", str(launch.state)
    yield "the PATH", launch.path
    if launch.environment_file is not None:
        yield "the environment file's path", str(launch.environment_file)


def _can_be_written(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not any(
        character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029" for character in text
    )


def _read_again(roster: Roster, environment: Mapping[str, str]) -> Iterator[str]:
    from heartbeat.roster.load import load_roster
    from heartbeat.systems.registry import plug_in_names

    try:
        seen = load_roster(roster.path, environment, plug_in_sources=plug_in_names)
    except RosterError as error:
        raise UsageError(
            f"with the environment of a scheduler the roster has mistakes:\n{error}",
            advice="put what it takes from the environment into a file of NAME=value lines (--env-file)",
        ) from error
    different = [each.name for each in fields(roster) if getattr(seen, each.name) != getattr(roster, each.name)]
    if different:
        yield (
            f"with the environment of a scheduler (HOME={environment['HOME']}) the roster means something else: "
            f"{', '.join(different)}; write its paths in full, or name what it needs in an environment file"
        )


def _left_behind(roster: Roster, environment: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    """What is set here and would not be for a scheduled beat; never a value."""
    used = dict.fromkeys((*_VARIABLES_OF_TOOLS, *_named_in((roster.sources, roster.channels, roster.extra))))
    lost = [name for name in used if environment.get(name, "").strip() and name not in values]
    if lost:
        yield f"set here, and not for a scheduled beat: {', '.join(lost)}; put what it needs into"
    nowhere = unset_variables(roster, {**environment, **values})
    if nowhere:
        yield f"set nowhere, so that nothing is pinged or told by it: {', '.join(nowhere)}; put it into"


def unset_variables(roster: Roster, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Variables from which the roster takes addresses of people and of dead-man's switches, and that are not set there:
    nobody misses them until something is to be told."""
    named = _named_in((roster.channels, roster.extra.get("watchdog", {})))
    return tuple(name for name in dict.fromkeys(named) if not environment.get(name, "").strip())


def _named_in(value: Any) -> Iterator[str]:
    """Names of variables in settings: what stands under keys that end in `_env`."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            if isinstance(below, str) and str(key).endswith("_env"):
                yield below
            else:
                yield from _named_in(below)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _named_in(each)
