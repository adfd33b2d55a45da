"""What besides the agents' own beats has to be well for them to come: the checks of `heartbeat health`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.instants import format_duration
from heartbeat.rules.degradation import Degradation, SourceState, level_of, unusable
from heartbeat.rules.unfinished import exhausted, overdue, overdue_told
from heartbeat.watch.health import BAD, Health, Status
from heartbeat.watch.processes import Doing, Held
from heartbeat.watch.records import Disk, Records, SourceRecord

UNREAD_FOR = timedelta(hours=1)
"""A source that nobody has read completely for so long is a failure, not a hiccup."""
OVERDUE_FOR = timedelta(hours=1)
"""An entry of the outbox that nobody has tried for so long after it was due."""

_MIB = 1024 * 1024
NO_ROOM = 16 * _MIB
"""Bytes below which the next commit or snapshot may fail."""
LITTLE_ROOM = 256 * _MIB
NO_FILES = 100
"""Files more that the disk must be able to hold."""


class Level(StrEnum):
    """How bad it is: `failed` makes `heartbeat health` exit 1."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: Level
    message: str
    advice: str = ""


Show = Callable[[datetime], str]
"""Writes an instant for whom the message is meant."""


def checks(records: Records, healths: Sequence[Health], show: Show) -> tuple[Check, ...]:
    """Everything but the agents, in the order in which to read it. Without a state that can be read only its disk is
    known."""
    if records.trouble or not records.exists:
        return tuple(_disk(records.disk))
    return (
        *_memory(records, show),
        *(check for source in records.sources for check in _source(source, records.at, show)),
        *_turns(records),
        *_outbox(records),
        *_disk(records.disk),
        *_clock(healths),
        *_locks(records.holders),
    )


def _memory(records: Records, show: Show) -> Iterator[Check]:
    database = records.database
    if records.lost is not None:
        told = f"{records.lost.reason} (noticed {show(records.lost.at)}): heartbeat only observes"
        advice = "put a backup back while no beat runs, or accept the loss: heartbeat doctor --accept-loss NAME"
        yield Check("state", Level.FAILED, told, advice)
    elif database is None or database.size is None:
        yield Check("state", Level.WARNING, f"there is no database in {records.state}", "the next beat makes one")
    else:
        version = "?" if database.version is None else str(database.version)
        yield Check("state", Level.OK, f"{database.path}, {_size(database.size)}, version {version}")
    if database is not None and database.aside:
        told = f"{len(database.aside)} damaged set aside: {database.aside[-1]}"
        yield Check("state", Level.WARNING, told, "look whether anything in it is missed, then remove it")


def _source(source: SourceRecord, now: datetime, show: Show) -> Iterator[Check]:
    name = f"source {source.name}"
    if not source.unread:
        yield Check(name, Level.OK, f"{source.status} at {show(source.at)}")
        return
    since = source.since or source.at
    complete = f"complete last at {show(source.complete_at)}" if source.complete_at else "never complete"
    told = f"{source.status} since {show(since)} ({format_duration(max(now - since, timedelta(0)))}), {complete}"
    level = Level.FAILED if now - since >= UNREAD_FOR else Level.WARNING
    yield Check(name, level, f"{told}: {source.message}" if source.message else told, "heartbeat doctor tells why")


def _turns(records: Records) -> Iterator[Check]:
    """What is left of turns that heartbeat started; nothing where nothing is."""
    late = overdue(records.turns, records.at)
    if late:
        advice = "see why no beat collects it (heartbeat attempts), or stop it (heartbeat abort)"
        yield Check("turns", Level.FAILED, overdue_told(late, records.at), advice)
    elif records.turns:
        yield Check("turns", Level.OK, f"{len(records.turns)} not ended")
    given_up = exhausted(records.letters)
    if given_up:
        which = "a dead letter is" if len(given_up) == 1 else f"{len(given_up)} dead letters are"
        advice = "heartbeat dlq list, then retry or drop them"
        yield Check("letters", Level.WARNING, f"{which} left for a person", advice)
    elif records.letters:
        yield Check("letters", Level.OK, f"{len(records.letters)} waiting, tried again by themselves")


def _outbox(records: Records) -> Iterator[Check]:
    outbox = records.outbox
    late = timedelta(0) if outbox.overdue_since is None else records.at - outbox.overdue_since
    if late >= OVERDUE_FOR:
        told = f"{outbox.waiting} waiting, the oldest of them due for {format_duration(late)}: nobody carries them out"
        yield Check("outbox", Level.FAILED, told, "beats do that: see why they do not come; heartbeat outbox list")
    else:
        yield Check("outbox", Level.OK, f"{outbox.waiting} waiting")
    if outbox.dead:
        told = f"{outbox.dead} given up"
        yield Check("outbox", Level.WARNING, told, "heartbeat outbox list, then retry or drop them")


def _disk(disk: Disk | None) -> Iterator[Check]:
    if disk is None:
        return
    room = f"{_size(disk.free)} free on the disk of {disk.path}"
    if disk.read_only:
        told = f"the disk of {disk.path} is mounted read-only: no beat can be put on record"
        yield Check("disk", Level.FAILED, told, "remount it for writing; `dmesg` may tell why it was not")
    elif no_room(disk):
        files = "" if disk.files is None else f", {disk.files} files more"
        yield Check("disk", Level.FAILED, f"{room}{files}: beats will fail", "make room there")
    else:
        little = disk.free < LITTLE_ROOM
        yield Check("disk", Level.WARNING if little else Level.OK, room, "make room there" if little else "")


def no_room(disk: Disk) -> bool:
    """Whether the next beat may fail for want of room."""
    return disk.free < NO_ROOM or (disk.files is not None and disk.files < NO_FILES)


def _clock(healths: Iterable[Health]) -> Iterator[Check]:
    ahead = [each.ahead.started_at - each.at for each in healths if each.ahead is not None]
    if ahead:
        told = f"{len(ahead)} newest receipts lie up to {format_duration(max(ahead))} in the future"
        yield Check("clock", Level.WARNING, told, "the clock was set back, or runs wrong: look at it (`timedatectl`)")


def _locks(holders: Iterable[Held]) -> Iterator[Check]:
    for each in holders:
        over, pid = each.overdue, each.holder.pid
        if each.doing is Doing.STOPPED:
            told = f"{each.holder} holds {each.name} and is stopped"
            yield Check("lock", Level.WARNING, told, f"let it go on (kill -CONT {pid}) or end it (kill -9 {pid})")
        elif over is not None:
            told = f"{each.holder} holds {each.name}"
            yield Check("lock", Level.WARNING, told, "the next beat that needs the lock ends it")


def level(records: Records, *, starts_turns: bool) -> Degradation:
    """How far heartbeat can see and act, by what the newest beat read and what stands in the store (rule G1).

    `starts_turns` says whether anybody in the roster is to be started: else no breaker is in anybody's way.
    """
    if records.trouble:
        return unusable(records.trouble)
    if not records.exists:
        return unusable(f"there is none in {records.state}")
    return level_of(
        [SourceState(each.name, each.status, each.kind, each.shown) for each in records.sources],
        records.breakers if starts_turns else (),
        records.at,
        memory_lost="" if records.lost is None else records.lost.reason,
    )


def failing(healths: Iterable[Health], found: Iterable[Check]) -> bool:
    """Whether something is down or failing. Being late alone is not."""
    return any(each.status in BAD for each in healths) or any(check.level is Level.FAILED for check in found)


def line(healths: Sequence[Health]) -> str:
    """How many agents stand how, in one line."""
    counts = {status: sum(each.status is status for each in healths) for status in Status}
    told = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"{len(healths)} agents: {told}" if told else "no agents"


def _size(size: int) -> str:
    for unit, number in (("GiB", 1024 * _MIB), ("MiB", _MIB), ("KiB", 1024)):
        if size >= number:
            return f"{size / number:.1f} {unit}"
    return f"{size} bytes"
