"""The comment by which a schedule is known as ours, and what it says of itself. Pure.

# heartbeat schedule of "/etc/heartbeat/agents.yaml"; style: due; agents: everybody, also later; with watchdog
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

_EVERYBODY = "everybody, also later"
"""With a comma, which no list of ids has: somebody may be called everybody."""
_NOTE = re.compile(
    r'# heartbeat schedule of (?P<roster>"(?:[^"\\]|\\.)*")'
    r"(?:; style: (?P<style>due|each|daemon); agents: (?P<agents>everybody, also later|[a-z0-9_-]+(?: [a-z0-9_-]+)*))?"
    r"(?P<watchdog>; with watchdog)?"
)


@dataclass(frozen=True, slots=True)
class Note:
    """`style` is empty where no beat is on schedule; `agents` are ids, empty for everybody. `roster` is a path."""

    roster: str
    style: str = ""
    agents: tuple[str, ...] = ()
    watchdog: bool = False

    def __str__(self) -> str:
        beats = f"; style: {self.style}; agents: {' '.join(self.agents) or _EVERYBODY}" if self.style else ""
        guarded = "; with watchdog" if self.watchdog else ""
        return f"# heartbeat schedule of {json.dumps(self.roster, ensure_ascii=False)}{beats}{guarded}"


def read_note(line: str) -> Note | None:
    """What a line says; None for a line that is no note of ours."""
    found = _NOTE.fullmatch(line.rstrip("\r\n"))
    if found is None:
        return None
    try:
        roster = json.loads(found["roster"])
    except ValueError:
        return None
    agents = () if found["agents"] in (None, _EVERYBODY) else tuple(found["agents"].split(" "))
    return Note(roster, found["style"] or "", agents, found["watchdog"] is not None)


def id_of(roster: Path) -> str:
    """Eight digits by which a roster's schedule is told from another's."""
    return hashlib.sha256(str(roster).encode("utf-8", "surrogateescape")).hexdigest()[:8]
