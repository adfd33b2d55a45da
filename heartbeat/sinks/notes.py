"""That heartbeat wrote an agent's scratch: a note an agent in the state directory, the revision that came of it (B7).

OpenClaw lets an agent rewrite its scratch, and a model that does so drops our markers. Without a note such a text
cannot be told from one that was never ours. A note is replaced as a whole, and one that cannot be read counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from heartbeat.render.replace import replace_file

FOLDER = "scratches"
"""The folder in the state directory."""

_LARGEST = 4096


@dataclass(frozen=True, slots=True)
class Note:
    """The revision of the scratch in which our block stood when heartbeat wrote or compared it last, and the note's own
    place."""

    revision: int
    path: Path


def note_path(state: Path, agent: str) -> Path:
    """Where the note about an agent's scratch is, or would be."""
    return state / FOLDER / f"{agent}.json"


def keep_note(state: Path, agent: str, revision: int) -> None:
    """Puts the note on the disk, where it does not stand there already. Raises OSError."""
    note = Note(revision, note_path(state, agent))
    if read_note(state, agent) == note:
        return
    note.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(note.path, f"{json.dumps({'revision': revision})}\n".encode())


def read_note(state: Path, agent: str) -> Note | None:
    """None where there is none, or none that can be read."""
    path = note_path(state, agent)
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_LARGEST))
        return Note(int(told["revision"]), path)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_notes(state: Path, agents: Iterable[str]) -> Mapping[str, Note]:
    """Agent id to note, of those that have one."""
    found = {agent: read_note(state, agent) for agent in agents}
    return {agent: note for agent, note in found.items() if note is not None}
