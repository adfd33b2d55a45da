"""What the dead-man's switch hears of one look of the watchdog, and what its reader does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from heartbeat.errors import HeartbeatError
from heartbeat.instants import to_text
from heartbeat.schedule.launch import Launch
from heartbeat.watch.flips import BEATS, agent_of
from heartbeat.watch.health import Health
from heartbeat.watch.masking import tail
from heartbeat.watch.patience import within
from heartbeat.watch.ping import Run

if TYPE_CHECKING:
    from heartbeat.watch.watchdog import Room, Watched

_LOG_TAIL = 4_000
_LOG_PATIENCE = 2.0


def tell_switch(pinged: Run, found: Watched, room: Room) -> None:
    """The dead-man's switch hears of everything that people were told of, and of what they could not be told. While
    something is wrong that is not told yet, and where nobody can know yet, it hears nothing: what all is well means is
    left to its own patience, so that a notebook that does not outlive a run cannot keep it quiet."""
    tried = found.delivered
    untold = found.message is not None and (not found.reachable or bool(tried and tried.failed and not tried.sent))
    wrong = found.alarms.standing if found.kept is not None else found.troubles
    if not wrong and not untold:
        never = any(each.last is None for each in found.scene.healths)
        pinged.silent = bool(found.troubles) or (found.first and never)
        return
    pinged.failed = True
    lines = [found.sentences.get(key, key) for key in wrong]
    pinged.text = "\n".join((*lines, *found.notes, *_failed_beats(found.scene.healths), *_log(found, room)))


def first_look(found: Watched) -> Iterator[str]:
    """What to say where nothing was remembered and beats are missing: it may be so with every look."""
    if found.first and found.kept is not None and any(key == BEATS or agent_of(key) for key in found.troubles):
        yield (
            "beats are missing, and nothing is remembered of an earlier look: nobody is told before an interval and "
            f"grace are over; where this comes with every look, {found.kept} does not outlive one"
        )


def _failed_beats(healths: Iterable[Health]) -> Iterator[str]:
    for each in healths:
        if each.failures and each.last is not None:
            yield f"{each.agent} at {to_text(each.last.started_at)}: {'; '.join(each.last.reasons)}"


def _log(found: Watched, room: Room) -> Iterator[str]:
    """The end of what the beats said, where that can be read at once."""
    path = Launch((), room.path, found.scene.records.state, "").log
    try:
        text = within(_LOG_PATIENCE, str(path), lambda: _end_of(path))
    except (HeartbeatError, OSError):
        return
    if text.strip():
        yield f"--- {path}"
        yield tail(text, _LOG_TAIL)


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _LOG_TAIL))
        return file.read(_LOG_TAIL).decode("utf-8", "replace")
