"""What this machine says about itself: who uses it, its time zone, and where state goes. Only reads."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from heartbeat.setup.foreign import clean

NOBODY = "operator"
"""What the person in charge is called where the machine knows no name."""


def operator_name(environment: Mapping[str, str]) -> str:
    """The full name of the user whose account this is, else the account's name."""
    try:
        account = pwd.getpwuid(os.getuid())
        names = (account.pw_gecos.split(",")[0], account.pw_name)
    except KeyError:
        names = ("", "")
    found = (*names, environment.get("USER", ""), environment.get("LOGNAME", ""))
    return next((clean(name, 80) for name in found if clean(name, 80) not in ("", "root")), NOBODY)


def time_zone(environment: Mapping[str, str], etc: Path = Path("/etc")) -> tuple[str, str]:
    """An IANA name and where it was found; UTC where nothing tells."""
    for name, origin in _zones(environment, etc):
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
        return name, origin
    return "UTC", "nothing on this machine names a zone"


def _zones(environment: Mapping[str, str], etc: Path) -> Iterator[tuple[str, str]]:
    named = environment.get("TZ", "").strip().removeprefix(":")
    if named and not named.startswith("/"):
        yield named, "TZ"
    try:
        target = str((etc / "localtime").readlink())
        if "zoneinfo/" in target:
            yield target.partition("zoneinfo/")[2], str(etc / "localtime")
    except OSError:
        pass  # no link: the next place may tell
    try:
        yield (etc / "timezone").read_text("utf-8").split("\n", 1)[0].strip(), str(etc / "timezone")
    except (OSError, ValueError):
        return


def state_directory(roster: Path) -> Path:
    """Where a new roster's state goes: `state` in heartbeat's own directory, or a directory beside that where another
    roster has it already. Never the own directory itself: what the watchdog keeps there must not be part of what it
    watches."""
    from platformdirs import user_state_path

    base = user_state_path("heartbeat", appauthor=False)
    if not any((directory / "state.db").exists() for directory in (base, base / "state")):
        return base / "state"
    return base / hashlib.sha256(str(roster.resolve()).encode()).hexdigest()[:12]


def usual_workspaces(environment: Mapping[str, str]) -> str:
    """Where OpenClaw puts the workspaces of several agents unless it is told otherwise (contract 5); `{id}` is the
    agent's id."""
    from heartbeat.systems.openclaw.discovery import state_directory as openclaw_directory

    return str(openclaw_directory(environment) / "workspace-{id}")
