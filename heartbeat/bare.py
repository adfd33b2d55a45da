"""What works in the bare environment that cron gives: the doctor once more, there, and what is different from here.

cron starts a job with HOME, LOGNAME, USER, SHELL and a short PATH, in the home directory, without a terminal. What the
shell of the person who set heartbeat up has besides is not there (rule S1a), unless the schedule says so.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heartbeat.doctor import Check, Level
from heartbeat.errors import Exit, HeartbeatError, UsageError
from heartbeat.install.crontab import CrontabTarget
from heartbeat.install.launching import unset_variables
from heartbeat.install.standing import AbsentError
from heartbeat.roster.environment import read_environment
from heartbeat.roster.model import Roster
from heartbeat.schedule.crontab import LOGGED
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.surroundings import with_surroundings
from heartbeat.systems.base import Deadline, TransportError
from heartbeat.systems.json_text import load_json, safe_excerpt
from heartbeat.systems.process import find_executable, run

AREA = "cron"

CRON_PATH = "/usr/bin:/bin"
"""What cron gives a job that says nothing of PATH."""

_SCHEMA = "heartbeat.doctor/"
_START_SECONDS = 30.0
"""For the program to start and to look at everything that is no source."""
_SHORT = 300
_ENV = "/usr/bin/env"
_LEVELS = tuple(Level)
_WORSE = _LEVELS.index(Level.NOTE)
"""What is no worse than this there is not told."""

_TOOLS: Mapping[str, tuple[str, str]] = {"workboard": ("openclaw", "OPENCLAW_"), "multica": ("multica", "MULTICA_")}
"""A source's program, and how the variables begin that it looks for by itself."""


@dataclass(frozen=True, slots=True)
class Start:
    """How cron starts heartbeat: `argv` up to the command's own words, and where that is known from.

    `installed` is false where nothing of this roster stands in the crontab, and it is what would be written there.
    """

    argv: tuple[str, ...]
    installed: bool
    remarks: tuple[Check, ...] = ()

    @property
    def variables(self) -> Mapping[str, str]:
        """What the schedule puts into the environment."""
        words = self.argv[1:] if self.argv[0] == _ENV else ()
        given: dict[str, str] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                break
            given[name] = value
        return given

    @property
    def environment_file(self) -> Path | None:
        """The file that `--env-file` names."""
        named = next((at for at, word in enumerate(self.argv) if word == "--env-file"), None)
        return None if named is None else Path(self.argv[named + 1])


@dataclass(frozen=True, slots=True)
class Bare:
    """What the doctor says there, and what is different from here; the worst of `differences` decides the exit code."""

    start: Start
    checks: tuple[Check, ...]
    differences: tuple[Check, ...]


def cron_environment() -> dict[str, str]:
    """What cron gives to every job of this user. Raises UsageError for a user without an entry in the password file."""
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise UsageError(
            f"uid {os.getuid()} has no entry in the password file, so that cron could not run anything for it",
            advice="run the beats as a user who has one",
        ) from error
    return {"HOME": user.pw_dir, "LOGNAME": user.pw_name, "USER": user.pw_name, "SHELL": "/bin/sh", "PATH": CRON_PATH}


def how_cron_starts(roster: Roster, launch: Launch, environment: Mapping[str, str]) -> Start:
    """As the crontab has it, else as `heartbeat cron install` would write it now."""
    proposed = with_surroundings(launch, roster, launch.command())
    try:
        pieces = CrontabTarget(roster, launch, environment).installed(launch)
    except AbsentError as error:
        return Start(proposed, False, (Check(AREA, "crontab", Level.NOTE, str(error), error.advice),))
    except HeartbeatError as error:
        told = f"what stands there is not known, so this is what would be written now: {error}"
        return Start(proposed, False, (Check(AREA, "crontab", Level.WARNING, told, error.advice),))
    found = next((argv for piece in pieces for argv in _started(piece.text)), None)
    if found is not None:
        return Start(found, True)
    told = "nothing of this roster stands there; this is what would be written now"
    return Start(proposed, False, (Check(AREA, "crontab", Level.NOTE, told, "`heartbeat cron install` writes it"),))


def _started(block: str) -> Iterator[tuple[str, ...]]:
    """The commands of a block, without the words that say what to do."""
    for line in block.splitlines():
        fields = line.split(None, 5)
        if line.startswith("#") or len(fields) < 6:
            continue
        try:
            words = shlex.split(fields[5].replace("\\%", "%"))  # cron itself takes this backslash away
        except ValueError:
            continue
        words = words[words.index(LOGGED) + 1 :] if LOGGED in words else words
        named = next((at for at, word in enumerate(words) if word == "--roster"), None)
        if named is not None and len(words) > named + 1:
            after = named + (4 if words[named + 2 : named + 3] == ["--env-file"] else 2)
            if len(words) >= after:
                yield tuple(words[:after])


def examine_there(
    start: Start,
    roster: Roster,
    here: Sequence[Check],
    state: Path,
    environment: Mapping[str, str],
    *,
    patience: float,
) -> Bare:
    """The doctor in cron's environment, started as cron starts it, and the differences from `here`.

    `state` and `environment` are ours; `patience` is seconds for each source. Raises UsageError.
    """
    given = cron_environment()
    told, failure = _doctor(start, given, patience, len(roster.sources))
    if failure is not None:
        return Bare(start, (), (*start.remarks, failure))
    there = tuple(_checks(told))
    values = _values(start)
    differences = (
        *start.remarks,
        *_other_state(str(state), str(told.get("state")), roster, environment),
        *compare(here, there, roster, environment, {**values, **given, **start.variables}),
        *_unset(roster, {**values, **given, **start.variables}),
    )
    return Bare(start, there, differences)


def _unset(roster: Roster, bare: Mapping[str, str]) -> Iterator[Check]:
    """What the doctor does not miss, here or there: it pings nobody."""
    names = unset_variables(roster, bare)
    if names:
        told = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not set there, so that nothing is pinged or "
        file = "put it into the environment file (--env-file), and `heartbeat cron install` names that file"
        yield Check(AREA, "variables", Level.WARNING, f"{told}told by it", file)


def _values(start: Start) -> Mapping[str, str]:
    """Of the environment file; one that cannot be read ended the doctor already."""
    try:
        return {} if start.environment_file is None else read_environment(start.environment_file).values
    except UsageError:
        return {}


def _doctor(
    start: Start, given: Mapping[str, str], patience: float, sources: int
) -> tuple[Mapping[str, Any], Check | None]:
    """The document of `doctor --json` there, or why there is none."""
    argv = (*start.argv, "doctor", "--json", "--timeout", f"{patience:g}")
    bare = (_ENV, "-i", *(f"{name}={value}" for name, value in given.items()), *argv)
    deadline = Deadline.after(_START_SECONDS + patience * (sources + 1))
    try:
        done = run(bare, deadline=deadline, environment=given, cwd=Path(given["HOME"]))
        if done.code not in (Exit.OK, Exit.FOUND):
            return {}, _not_started(start, f"exit {done.code}: {safe_excerpt(done.stderr, _SHORT) or 'not a word'}")
        document, _ = load_json(done.stdout, what="`heartbeat doctor --json` under cron")
    except TransportError as error:
        return {}, _not_started(start, str(error))
    if isinstance(document, Mapping) and str(document.get("schema", "")).startswith(_SCHEMA):
        return document, None
    return {}, _not_started(start, "what it printed is no report of the doctor")


def _not_started(start: Start, because: str) -> Check:
    advice = (
        "`heartbeat cron install` writes the schedule anew, for the program and the roster of today"
        if start.installed
        else "install heartbeat so that it runs from every directory, and put what the roster takes from the "
        "environment into an environment file (--env-file)"
    )
    return Check(AREA, "program", Level.FAILED, f"the doctor does not come to its end there: {because}", advice)


def _checks(document: Mapping[str, Any]) -> Iterator[Check]:
    rows = document.get("checks")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row.get("level") in set(Level):
            texts = (str(row.get(name, "")) for name in ("message", "advice"))
            yield Check(str(row.get("area")), str(row.get("subject")), Level(row["level"]), *texts)


def _other_state(here: str, there: str, roster: Roster, environment: Mapping[str, str]) -> Iterator[Check]:
    if here == there:
        return
    told = f"another state directory under cron: {there}, here {here}; you would not see what the beats do"
    advice = "name it in the roster (`state:`), so that all share one"
    if environment.get("HEARTBEAT_HOME"):
        advice = "HEARTBEAT_HOME decides it here, and not there: name that directory in the roster (`state:`)"
    elif roster.state is not None:
        advice = "the roster's `state:` means another directory there (`~` is another home): write the whole path"
    yield Check(AREA, "state", Level.FAILED, told, advice)


def compare(
    here: Sequence[Check],
    there: Sequence[Check],
    roster: Roster,
    environment: Mapping[str, str],
    bare: Mapping[str, str],
) -> tuple[Check, ...]:
    """What is worse there than here, or otherwise, in the doctor's order. Pure but for looking for programs.

    `environment` is what we have, `bare` what a job has, its environment file included.
    """
    found: list[Check] = []
    for source in roster.sources:
        found += _of_source(source, here, there, tuple(_reasons(source, roster, environment, bare)))
    before = _worst_of(here)
    for key, after in _worst_of(there).items():
        if after.area in (*roster.sources, "sources"):
            continue
        known = before.get(key)
        if _rank(after) > max(_rank(known), _WORSE):
            instead = f" (here: {known.message})" if known is not None else ""
            found.append(replace(after, message=f"under cron: {after.message}{instead}"))
        elif key == ("program", "heartbeat") and known is not None and known.message != after.message:
            told = f"under cron it is {after.message}, here {known.message}"
            found.append(replace(after, level=Level.WARNING, message=told, advice="`heartbeat cron install` mends it"))
    return tuple(found)


def _worst_of(checks: Sequence[Check]) -> dict[tuple[str, str], Check]:
    worst: dict[tuple[str, str], Check] = {}
    for check in checks:
        key = (check.area, check.subject)
        if key not in worst or _rank(check) > _rank(worst[key]):
            worst[key] = check
    return worst


def _rank(check: Check | None) -> int:
    return -1 if check is None else _LEVELS.index(check.level)


def _of_source(
    source: str, here: Sequence[Check], there: Sequence[Check], reasons: Sequence[_Reason]
) -> Iterator[Check]:
    """By which transport a source works here, by which there, and why they differ."""
    ours, theirs = ([c.subject for c in checks if c.area == source and c.level is Level.OK] for checks in (here, there))
    if ours[:1] == theirs[:1]:
        return
    if not ours:
        yield Check(source, "transport", Level.NOTE, f"works under cron by {theirs[0]}, and not here")
        return
    said = [f"{c.subject}: {c.message}" for c in there if c.area == source and c.subject not in theirs]
    because = "; ".join([each.said for each in reasons] or said) or "nothing of it was found"
    advice = "; ".join(dict.fromkeys(each.advice for each in reasons))
    if theirs:
        told = f"works here by {ours[0]}, under cron by {theirs[0]}: {because}"
        yield Check(source, "transport", Level.WARNING, told, advice)
    else:
        yield Check(source, "transport", Level.FAILED, f"works here by {ours[0]}, not under cron: {because}", advice)


@dataclass(frozen=True, slots=True)
class _Reason:
    """Something that we have and a job has not; never with a value."""

    said: str
    advice: str


def _reasons(source: str, roster: Roster, environment: Mapping[str, str], bare: Mapping[str, str]) -> Iterator[_Reason]:
    settings = roster.sources[source]
    tool, prefix = _TOOLS.get(source, ("", ""))
    program = str(settings.get("binary") or tool)
    where = find_executable(program, environment) if program else None
    if where is not None and find_executable(program, bare) is None:
        again = "`heartbeat cron install`, where it is found, writes its directory into PATH"
        yield _Reason(f"PATH lacks {program} (here it is {where})", again)
    named = {str(value) for key, value in settings.items() if str(key).endswith("_env")}
    lost = [
        name
        for name, value in environment.items()
        if value.strip() and not bare.get(name, "").strip() and (name in named or (prefix and name.startswith(prefix)))
    ]
    if lost:
        names = ", ".join(sorted(lost))
        file = "put it into the environment file (--env-file), and `heartbeat cron install` names that file"
        yield _Reason(f"{names} {'is' if len(lost) == 1 else 'are'} not set", file)
    home = environment.get("HOME", "")
    if home and home != bare["HOME"]:
        yield _Reason(f"HOME is {bare['HOME']} there, and {home} here", "set things up as the user whose job it is")
