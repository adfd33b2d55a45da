"""What the state directory stands on: room on its disk, and the note elsewhere that outlives it (rule B7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from heartbeat.doctor.check import Check, Known, Level
from heartbeat.doctor.paths import exists, is_directory
from heartbeat.doctor.schedules import Scheduled
from heartbeat.store import witness
from heartbeat.watch import overall
from heartbeat.watch.records import disk_of

_AREA = "state"


def check_disk(state: Path, known: Known) -> Iterator[Check]:
    """Whether the next beats can be put on record. Leaves in `known` what keeps them from it."""
    disk = disk_of(state)
    if disk is None:
        return
    found = overall.check_of(disk)
    level = Level(found.level.value)
    if level is Level.FAILED:
        known.problem = known.problem or found.message
    yield Check(_AREA, found.name, level, found.message, found.advice)


def check_witness(state: Path, scheduled: Scheduled) -> Iterator[Check]:
    """Whether a state directory that vanishes whole would be missed, where scheduled beats keep their memory in it."""
    if not scheduled.beats or witness.is_known(state):
        return
    note = witness.place(state)
    nearest = next(path for path in note.parents if exists(path))
    if not is_directory(nearest) or not os.access(nearest, os.W_OK | os.X_OK):
        told = (
            f"that scheduled beats use it cannot be noted in {note.parent} ({nearest} cannot be written): should the "
            "whole directory vanish, the next beat is a first one"
        )
        advice = "let this user write there, or set XDG_STATE_HOME where the scheduler runs"
        yield Check(_AREA, "note", Level.NOTE, told, advice)
