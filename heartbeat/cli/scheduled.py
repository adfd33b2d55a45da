"""What a command does differently when a scheduler runs it: its exit code, and its output (rule B5).

Schedulers count failures: ten in a row switch an OpenClaw automation off, cron mails each. So what a later beat may
find mended is told on stderr and is no failure; whether beats come at all is for the watchdog to see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import complain
from heartbeat.cli.terminal import forget_output, plain
from heartbeat.errors import Exit, HeartbeatError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from heartbeat.beat import Beat, Tick
    from heartbeat.cli.session import Session
    from heartbeat.memory import Miss
    from heartbeat.store.port import Receipt
    from heartbeat.watch.ping import Run

ScheduledOption = Annotated[
    bool,
    typer.Option("--scheduled", help="For schedulers: a line an agent, and exit 0 for everything but 4, 70 and 73."),
]

_FAILURES = frozenset({Exit.STATE, Exit.BUG, Exit.CANNOT_WRITE})
"""What a scheduled command reports as a failure."""


@contextmanager
def scheduled(wanted: bool) -> Iterator[None]:
    """Around all that a command does. Where a scheduler runs it, any other error is told and ends with exit code 0, and
    nobody has to read what it prints."""
    if not wanted:
        yield
        return
    try:
        with heard_or_not():
            yield
    except HeartbeatError as error:
        if error.exit_code not in _FAILURES:
            error.exit_code = Exit.OK
        raise


@contextmanager
def heard_or_not() -> Iterator[None]:
    """Around what is printed: a reader that went away is no failure."""
    try:
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        forget_output()


@contextmanager
def pings(session: Session, wanted: bool) -> Iterator[Run]:
    """Around a scheduled beat: a dead-man's switch hears how it ended, where the roster names one (docs/watchdog.md).

    Its begin is not told, since who is due is known only then.
    """
    from heartbeat.watch.ping import BEATS, Run, pinger_for

    if not wanted:
        yield Run()
        return
    with pinger_for(session.roster, BEATS, session.environment, complain).run(start=False) as run:
        yield run


def lines(tick: Tick, now: datetime) -> Iterator[str]:
    """One line an agent: those that beat first, then those that were skipped, and why. None for who is not due."""
    beats = [beat for beat in tick.beats if beat.worklist is not None]
    for beat in beats:
        told = [
            _counts(beat, blind=_blind(tick)),
            *_standing(beat),
            *_level(tick),
            *_troubles(tick),
            *_deeds(tick, beat, first=beat is beats[0]),
        ]
        yield _line(beat, tick.observation.at if tick.observation else now, _outcome(beat), told)
    for beat in tick.beats:
        if beat.worklist is None:
            yield _line(beat, now, "skipped", [beat.skipped])


def seconds(instant: datetime) -> str:
    """An instant as it stands in a log: UTC, whole seconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def missed(miss: Miss) -> str:
    """`missed 3 slots, 2026-11-21T03:36:00Z to 2026-11-21T03:56:00Z (coalesced)`."""
    slots = counted(miss.count, "slot")
    until = f" to {seconds(miss.last)}" if miss.last != miss.first else ""
    return f"missed {slots}, {seconds(miss.first)}{until} ({miss.reason.value})"


def lateness(receipt: Receipt) -> str:
    """`3m late`; empty for a beat that came within a minute of its slot, or that answers none."""
    from heartbeat.instants import format_duration

    late = receipt.late
    return f"{format_duration(late)} late" if late is not None and late.total_seconds() > _LATE else ""


_LATE = 60.0
"""Seconds: a scheduler that knows no shorter time than a minute is not late within it."""

ANSWERED = "its slot was answered before"
"""What is said of a beat without a slot."""


def _line(beat: Beat, at: datetime, outcome: str, told: list[str]) -> str:
    return plain(f"{seconds(at)} {beat.agent.id} {outcome}: {'; '.join(filter(None, told))}")


def _outcome(beat: Beat) -> str:
    return beat.receipt.outcome if beat.receipt is not None else "dry-run"


def _blind(tick: Tick) -> bool:
    return tick.observation is not None and tick.observation.sweep.blind


def _counts(beat: Beat, *, blind: bool) -> str:
    from heartbeat.cli.wording import SECTIONS, apart

    if beat.worklist is None:
        return ""
    counts = [(len(apart(beat.worklist.in_state(state))[0]), title) for state, title in SECTIONS]
    told = [f"{count} {title.lower()}" for count, title in counts if count]
    return ", ".join(told) or ("what there is to do is not known" if blind else "nothing to do")


def _standing(beat: Beat) -> Iterator[str]:
    """How the beat stands to its slots."""
    if beat.receipt is not None:
        yield lateness(beat.receipt)
        yield "" if beat.receipt.slot is not None else ANSWERED
    if beat.missed is not None:
        yield missed(beat.missed)


def _level(tick: Tick) -> Iterator[str]:
    """How far heartbeat can see and act; why not further stands in the receipt (rule G1)."""
    from heartbeat.rules.degradation import MEANING, Level

    level = Level.L0 if tick.observation is None else tick.observation.degradation.level
    if level is not Level.L0:
        yield f"level {level.value}, {MEANING[level]}"


def _troubles(tick: Tick) -> Iterator[str]:
    """Sources that were not read completely; what to do about them stands in the receipt and in `doctor`."""
    from heartbeat.systems.base import ReadStatus

    for report in tick.observation.sweep.reports if tick.observation is not None else ():
        if report.status in (ReadStatus.FAILED, ReadStatus.PARTIAL):
            yield f"{report.source} {report.status.value}{f' ({report.kind.value})' if report.kind else ''}"


def _deeds(tick: Tick, beat: Beat, *, first: bool) -> Iterator[str]:
    """What was done for the agent and what was put off; what was done for everybody stands in the first line."""
    named = _named(tick)
    for reason in beat.receipt.reasons if beat.receipt is not None else ():
        yield named.get(reason, reason)
    yield from _turns(tick, beat, first=first)
    if beat.inbox:
        yield f"{counted(len(beat.inbox), 'message')} on top"
    yield beat.deferred if beat.receipt is None else ""  # a receipt's reasons have it
    if first and tick.carried.busy:
        yield f"writes are left to {tick.carried.busy}"
    if first and tick.delivered is not None:
        sent = tick.delivered.sent
        yield f"{counted(sent, 'message')} sent" if sent else ""
        yield from tick.delivered.notes


def _turns(tick: Tick, beat: Beat, *, first: bool) -> Iterator[str]:
    """What was done about starting the agent; what ended, of whichever agent, stands in the first line."""
    from heartbeat.cli.wording import collected_of, turn_of

    names = {} if tick.observation is None else tick.observation.judgement.tasks
    for attempt in tick.round.collected.ended if first else ():
        task = names[attempt.task].items[0].key if attempt.task in names else attempt.task
        yield collected_of(replace(attempt, task=task))
    yield turn_of(beat.turn, foreseen=beat.receipt is None)


def _named(tick: Tick) -> dict[str, str]:
    """What a receipt says of writes, with the name by which people know the task."""
    from heartbeat.receipt import told_of_write

    names = {} if tick.observation is None else tick.observation.judgement.tasks
    carried = tick.carried
    found = {}
    for entry in (*carried.done, *carried.conflicts, *carried.later, *carried.dead):
        said = told_of_write(entry)
        if entry.task in names:
            found[said] = said.replace(entry.task, names[entry.task].items[0].key)
    return found
