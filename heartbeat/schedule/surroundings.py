"""What a scheduled command must be given, since a scheduler's own environment is bare (rule S1a). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch

_ENV = "/usr/bin/env"


def surroundings(launch: Launch, roster: Roster) -> tuple[tuple[str, str], ...]:
    """Names and values: PATH, and HEARTBEAT_HOME unless the roster's own `state:` says where the state is.

    Without either, the state directory follows HOME and XDG_STATE_HOME, which a scheduler may set to something else. A
    directory that the roster names is not written down a second time, so that it can be changed in one place.
    """
    home = () if launch.state == roster.state else (("HEARTBEAT_HOME", str(launch.state)),)
    return (("PATH", launch.path), *home)


def with_surroundings(launch: Launch, roster: Roster, argv: Sequence[str]) -> tuple[str, ...]:
    """The command in these surroundings, as an argument list that any scheduler can start."""
    return (_ENV, *(f"{name}={value}" for name, value in surroundings(launch, roster)), *argv)
