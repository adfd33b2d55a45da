"""What outlives a state directory: a note elsewhere that scheduled beats used it (rule B7).

`state.marker` tells a lost database from a first run as long as its directory is there. A directory that was deleted,
or lies on a disk that is not mounted, takes the marker along; then this tells. Only scheduled beats leave one: who
tries things by hand may throw away what came of it.

A note is a file of its own for each state directory, in the user's state directory under `heartbeat-known`, which is
never inside what it tells of. Where none can be kept, a directory that vanishes whole is a first run; `doctor` says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from datetime import datetime
from pathlib import Path

from heartbeat.instants import to_text

FOLDER = "heartbeat-known"

_NOTE = """{directory}
Scheduled beats have kept their memory there since {since}.
If it is gone while this file is here, heartbeat takes it for lost and only observes until told otherwise.
Delete this file together with that directory, and the next beat there is a first one.
"""


def place(directory: Path) -> Path:
    """Where the note about a state directory is, or would be."""
    from platformdirs import user_state_path

    named = hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:12]
    return user_state_path("heartbeat", appauthor=False).with_name(FOLDER) / named


def is_known(directory: Path) -> bool:
    """Whether scheduled beats used this state directory, as far as can be seen."""
    try:
        return place(directory).is_file()
    except OSError:
        return False


def remember(directory: Path, since: datetime) -> Path:
    """Leaves the note, where there is none yet, and returns its place. Raises OSError where it cannot be kept."""
    note = place(directory)
    if note.is_file():
        return note
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), note.open("x", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_NOTE.format(directory=os.path.realpath(directory), since=to_text(since)))
    return note
