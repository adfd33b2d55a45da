"""Who makes the agents of a simulation work: what may be tried on the command line, and is quick to import."""

from __future__ import annotations

from enum import StrEnum


class Scheme(StrEnum):
    """Who makes the agents work."""

    BEATS = "beats"
    """heartbeat's beats, as the roster says: they start turns, or only hand out worklists."""
    TURNS = "turns"
    """The usual scheme, without heartbeat: at each of its slots every agent is given a turn, in which it looks for work
    itself."""


class Dispatch(StrEnum):
    """What `dispatch` can be in a simulation (rule X1)."""

    NONE = "none"
    OPENCLAW = "openclaw"
    MULTICA = "multica"
