"""One zone for all that people read: the roster's, from the moment that it is read. JSON, Markdown for agents and the
lines of a log are in UTC.

Sentences of the rules tell their instants in UTC, since they stand in JSON and on record too; on the way to a screen
they are told in the zone of everything else there, and its name with them.
"""

from __future__ import annotations

import re
from datetime import datetime

_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""An instant as heartbeat itself writes one (instants.to_text)."""

_zone = ""
"""The zone of this call; empty while no roster was read, and for logs."""


def use(zone: str) -> None:
    """From now on everything is told in this zone; in UTC, as it stands, where it is empty."""
    global _zone  # one process is one call
    _zone = zone


def shown(text: str) -> str:
    """The text with its instants in the zone of this call."""
    return _INSTANT.sub(_local, text) if _zone and "Z" in text else text


def _local(found: re.Match[str]) -> str:
    from heartbeat.cli.wording import local

    try:
        return local(datetime.fromisoformat(found[0]), _zone)
    except (ValueError, OverflowError):  # the 31st of February, in somebody's title
        return found[0]
