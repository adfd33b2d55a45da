"""Which roster is meant: `--roster`, HEARTBEAT_ROSTER, ./agents.yaml, the user's configuration, in this order."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from heartbeat.errors import UsageError

FILE_NAME = "agents.yaml"
VARIABLE = "HEARTBEAT_ROSTER"


def find_roster(explicit: str | None, environment: Mapping[str, str], cwd: Path) -> Path:
    """The roster's path. What is named is taken at its word: where it is missing, no other place is tried.

    Raises UsageError that names the places looked at and says what to do.
    """
    for origin, named in (("--roster", explicit), (VARIABLE, environment.get(VARIABLE))):
        if named:
            return _named(origin, named, environment, cwd)
    places = (cwd / FILE_NAME, user_roster())
    for place in places:
        if _mode(place) is not None:
            return place
    looked = ", ".join(str(place) for place in places)
    raise UsageError(
        f"no roster was found: --roster and {VARIABLE} are not given, and there is no {looked}",
        advice="run `heartbeat init` to write one, or `heartbeat demo` to see one at work",
    )


def meant_roster(explicit: str | None, environment: Mapping[str, str], cwd: Path) -> Path:
    """The path that `find_roster` would look at first, whether there is anything or not: a schedule can be taken off
    without its roster. Raises UsageError for a name that is no path."""
    from heartbeat.roster.expansion import expand_home

    named = explicit or environment.get(VARIABLE)
    if not named:
        places = (cwd / FILE_NAME, user_roster())
        return next((place for place in places if _mode(place) is not None), places[0])
    try:
        path = cwd / expand_home(named, environment)
        return path / FILE_NAME if path.is_dir() else path
    except ValueError as error:
        raise UsageError(f"the roster {named!r}: {error}", advice="name the roster by its full path") from error


def user_roster() -> Path:
    """Where the user's own roster lies: agents.yaml in heartbeat's configuration directory."""
    from platformdirs import user_config_path

    return user_config_path("heartbeat", appauthor=False) / FILE_NAME


def _named(origin: str, named: str, environment: Mapping[str, str], cwd: Path) -> Path:
    from heartbeat.roster.expansion import expand_home

    try:
        path = cwd / expand_home(named, environment)
        mode = _mode(path)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}", advice="name the roster by its full path") from error
    if mode is None:
        raise UsageError(f"there is no roster {path} ({origin})", advice=f"mend {origin}, or leave it out")
    if stat.S_ISDIR(mode):
        inside = path / FILE_NAME
        mend = f"name the file: {inside}" if _mode(inside) is not None else "name the file, usually agents.yaml"
        raise UsageError(f"{path} ({origin}) is a directory", advice=mend)
    return path


def _mode(path: Path) -> int | None:
    """The kind of thing that is there, or None. What may not be looked at counts as there: reading it tells why."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return 0
