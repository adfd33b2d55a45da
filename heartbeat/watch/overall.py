"""What besides the agents' own beats has to be well for them to come: the checks of `heartbeat health`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.instants import format_duration
from heartbeat.plural import counted
from heartbeat.rules.degradation import Degradation, SourceState, level_of, needed, unusable
from heartbeat.rules.unfinished import exhausted, overdue, overdue_told
from heartbeat.watch.health import BAD, Health, Status
from heartbeat.watch.processes import Doing, Held
from heartbeat.watch.records import Disk, Records, SourceRecord

UNREAD_FOR = timedelta(hours=1)
"""A source that nobody has read completely for so long is a failure, not a hiccup."""
OVERDUE_FOR = timedelta(hours=1)
"""An entry of the outbox that nobody has tried for so long after it was due."""
WATCHED_WITHIN = timedelta(minutes=5)
"""A watchdog looks each minute."""

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


@dataclass(frozen=True, slots=True)
class Watching:
    """What the watchdog of this user on this machine has left: when it looked last, None where it never did, and at
    which state directory."""

    looked_at: datetime | None
    state: str = ""


Show = Callable[[datetime], str]
"""Writes an instant for whom the message is meant."""


def checks(
    records: Records, healths: Sequence[Health], show: Show, watching: Watching | None = None
) -> tuple[Check, ...]:
    """Everything but the agents, in the order in which to read it. Without a state that can be read only its disk and
    the watchdog are known; the latter where somebody has asked."""
    watchdog = () if watching is None else (_watchdog(watching, records, show),)
    if records.trouble or not records.exists:
        return (*_disk(records.disk), *watchdog)
    return (
        *at_home(records),
        *_memory(records, show),
        *(check for source in records.sources for check in _source(source, records.at, show)),
        *_turns(records),
        *_outbox(records),
        *_disk(records.disk),
        *_clock(healths),
        *_locks(records.holders),
        *watchdog,
    )


def at_home(records: Records) -> tuple[Check, ...]:
    """That the state is another team's, where it is: none of this roster's beats is let in."""
    found = records.stranger
    return () if found is None else (Check("state", Level.FAILED, str(found), found.advice),)


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
    late = overdue(records.turns, records.at, records.uptime)
    if late:
        advice = "see why no beat collects it (heartbeat attempts), or stop it (heartbeat abort)"
        yield Check("turns", Level.FAILED, overdue_told(late, records.at, records.uptime), advice)
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
    if disk is not None:
        yield check_of(disk)


def check_of(disk: Disk) -> Check:
    """Whether the disk takes what the next beats have to say."""
    room = f"{_size(disk.free)} free on the disk of {disk.path}"
    if disk.read_only:
        told = f"the disk of {disk.path} is mounted read-only: no beat can be put on record"
        return Check("disk", Level.FAILED, told, "remount it for writing; `dmesg` may tell why it was not")
    if no_room(disk):
        files = f", {disk.files} files more" if disk.files is not None and disk.files < NO_FILES else ""
        return Check("disk", Level.FAILED, f"{room}{files}: beats will fail", "make room there")
    little = disk.free < LITTLE_ROOM
    return Check("disk", Level.WARNING if little else Level.OK, room, "make room there" if little else "")


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


def _watchdog(watching: Watching, records: Records, show: Show) -> Check:
    """Whether somebody would tell. That nobody does here is never a failure: another machine may."""
    at, here = watching.looked_at, "for this user on this machine"
    if at is None:
        told = f"none has looked {here}: unless another one watches, nobody is told when beats stop"
        return Check("watchdog", Level.WARNING, told, "heartbeat cron show says whether one is on schedule")
    age = records.at - at
    if age > WATCHED_WITHIN:
        told = (
            f"looked last at {show(at)}, {format_duration(age)} ago, {here}: unless another one watches, nobody tells"
        )
        return Check("watchdog", Level.WARNING, told, "see whether it is on schedule (heartbeat cron show)")
    if watching.state != str(records.state):
        told = f"looked at {show(at)}, at {watching.state} and not at {records.state}"
        return Check("watchdog", Level.WARNING, told, "give both the same state directory: `state` in the roster")
    return Check("watchdog", Level.OK, f"looked at {show(at)}")


NOT_BEGUN = "`heartbeat tick --all` is the first beat; `heartbeat cron install` has them come by themselves"
"""What to do where nobody has ever beaten."""
_BEGUN = "`heartbeat receipts` says what ended them"


def unknown_yet(healths: Iterable[Health]) -> str:
    """Why nothing is known of a team whose first beat is to come."""
    if any(each.interrupted for each in healths):
        return f"no beat has come to its end yet, so that nothing is known: {_BEGUN}"
    return f"never beaten yet, so that nothing is known: {NOT_BEGUN}"


def not_begun(records: Records, healths: Iterable[Health]) -> bool:
    """Whether there is a state, and no beat has ever left anything in it. `healths` are the whole team's."""
    usable = records.exists and not records.trouble and records.lost is None
    return usable and not records.sources and all(each.last is None and each.ahead is None for each in healths)


def level(records: Records, *, dispatch: Collection[str]) -> Degradation:
    """How far heartbeat can see and act, by what the newest beat read and what stands in the store (rule G1). Before
    the first beat (`not_begun`) that is not known.

    `dispatch` is how the agents of the roster are to be started: where nobody is, no breaker is in anybody's way.
    """
    if records.trouble:
        return unusable(records.trouble)
    if records.stranger is not None:
        return unusable(str(records.stranger))
    if not records.exists:
        return unusable(f"there is none in {records.state}")
    return level_of(
        [SourceState(each.name, each.status, each.kind, each.shown) for each in records.sources],
        records.breakers if any(each != "none" for each in dispatch) else (),
        records.at,
        state_problem=_state_problem(records.disk),
        memory_lost="" if records.lost is None else records.lost.reason,
        engines=needed(dispatch),
    )


def _state_problem(disk: Disk | None) -> str:
    """What of its disk keeps the next beats from being put on record."""
    found = None if disk is None else check_of(disk)
    return found.message if found is not None and found.level is Level.FAILED else ""


def failing(healths: Iterable[Health], found: Iterable[Check]) -> bool:
    """Whether something is down or failing. Being late alone is not."""
    return any(each.status in BAD for each in healths) or any(check.level is Level.FAILED for check in found)


def line(healths: Sequence[Health]) -> str:
    """How many agents stand how, in one line."""
    counts = {status: sum(each.status is status for each in healths) for status in Status}
    told = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"{counted(len(healths), 'agent')}: {told}" if told else "no agents"


def _size(size: int) -> str:
    for unit, number in (("GiB", 1024 * _MIB), ("MiB", _MIB), ("KiB", 1024)):
        if size >= number:
            return f"{size / number:.1f} {unit}"
    return f"{size} bytes"
