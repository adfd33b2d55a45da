"""Why beats do not come, as far as one look tells, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heartbeat.store.port import Receipt
from heartbeat.watch.health import GRACE, Health, Interrupted
from heartbeat.watch.overall import no_room
from heartbeat.watch.processes import DAEMON, Doing, Held
from heartbeat.watch.records import Records


class Cause(StrEnum):
    """What is likely."""

    STOPPED = "stopped"
    """The process that should beat is stopped, and holds what others need."""
    HANGS = "hangs"
    """A beat is over its time and does not end."""
    DAEMON_GONE = "daemon_gone"
    DAEMON_SILENT = "daemon_silent"
    """The daemon lives, and does not beat."""
    ELSEWHERE = "elsewhere"
    """Beats came from another machine."""
    NOT_BEGUN = "not_begun"
    """Nobody has ever beaten here."""
    ALONE = "alone"
    """Others beat, this agent does not."""
    NO_DISK = "no_disk"
    """The state's disk takes nothing: whoever beats cannot put it on record."""
    DAEMON_ENDED = "daemon_ended"
    """The daemon ended in order, and nobody has beaten since."""
    INTERRUPTED = "interrupted"
    """Beats are begun, and ended from outside before they are done."""
    NOBODY = "nobody"
    """Whatever started the beats does not start them any more."""


@dataclass(frozen=True, slots=True)
class Likely:
    """A cause with what it is known by: a process and its machine, since when nothing was heard, and where; of beats
    that were ended from outside how many there were and what ended the last one."""

    cause: Cause
    pid: int = 0
    host: str = ""
    since: datetime | None = None
    state: str = ""
    count: int = 0
    by: str = ""


Author = Callable[[Receipt], Doing]
"""What the process does now that left a receipt."""


def likely(agent: Health, team: Sequence[Health], records: Records, author: Author) -> Likely:
    """Why an agent that is down does not beat."""
    if records.disk is not None and (records.disk.read_only or no_room(records.disk)):
        return Likely(Cause.NO_DISK, state=str(records.disk.path))
    holder = next((each for each in records.holders if each.name == agent.agent), None)
    last = agent.last
    for each in filter(None, (holder, records.daemon)):
        found = _held(each, last)
        if found is not None:
            return found
    if agent.interrupted is not None and _goes_on(agent, agent.interrupted):
        return _broken_off(agent.interrupted)
    newest = _latest(each.last for each in team)
    if newest is not None and agent.unanswered is not None and newest.started_at >= agent.unanswered:
        return Likely(Cause.ALONE, since=None if last is None else last.ended_at)
    broken_off = max(
        (each.interrupted for each in team if each.interrupted is not None),
        key=lambda each: _began(each.last),
        default=None,
    )
    if broken_off is not None and (newest is None or broken_off.last.started_at > newest.started_at):
        if _goes_on(agent, broken_off):
            return _broken_off(broken_off)
        newest = broken_off.last
    if newest is None:
        return Likely(Cause.NOT_BEGUN, state=str(records.state))
    if records.daemon_ended is not None and records.daemon_ended >= newest.ended_at:
        return Likely(Cause.DAEMON_ENDED, since=records.daemon_ended)
    match author(newest):
        case Doing.ELSEWHERE:
            return Likely(Cause.ELSEWHERE, newest.pid, newest.host, newest.ended_at)
        case Doing.STOPPED:
            return Likely(Cause.STOPPED, newest.pid, newest.host, newest.ended_at)
        case _:
            return Likely(Cause.NOBODY, since=newest.ended_at)


def _held(held: Held, last: Receipt | None) -> Likely | None:
    """What a lock tells: the agent's own, or the daemon's as long as nobody else has beaten since it was taken."""
    pid, host, since = held.holder.pid, held.holder.host, held.holder.since
    if held.doing is Doing.STOPPED:
        return Likely(Cause.STOPPED, pid, host, since)
    if held.overdue is not None:
        return Likely(Cause.HANGS, pid, host, since)
    if f"{held.name}.lock" != DAEMON or (
        last is not None and last.pid != pid and since is not None and last.started_at > since
    ):
        return None
    if held.doing is Doing.GONE:
        return Likely(Cause.DAEMON_GONE, pid, host, None if last is None else last.ended_at)
    if held.doing is Doing.RUNNING:
        return Likely(Cause.DAEMON_SILENT, pid, host, None if last is None else last.ended_at)
    return Likely(Cause.ELSEWHERE, pid, host, None if last is None else last.ended_at)


def _goes_on(agent: Health, interrupted: Interrupted) -> bool:
    """Whether beats are still begun, as far as that can be seen: where none has been for more than an interval, it is
    not their end that is amiss."""
    return agent.at - interrupted.last.ended_at <= agent.interval + GRACE


def _broken_off(interrupted: Interrupted) -> Likely:
    return Likely(Cause.INTERRUPTED, since=interrupted.since, count=interrupted.count, by=interrupted.by)


def _latest(receipts: Iterable[Receipt | None]) -> Receipt | None:
    return max(filter(None, receipts), key=_began, default=None)


def _began(receipt: Receipt) -> datetime:
    return receipt.started_at


def told(found: Likely, agent: str, show: Callable[[datetime], str]) -> tuple[str, str]:
    """The cause and what to do about this agent, in English."""
    since = "" if found.since is None else f" since {show(found.since)}"
    times = "once" if found.count == 1 else f"{found.count} times"
    facts = {
        "pid": found.pid,
        "host": found.host,
        "since": since,
        "agent": agent,
        "state": found.state,
        "times": times,
        "by": found.by,
    }
    what, mend = _WORDS[found.cause]
    return what.format(**facts), mend.format(**facts)


_WORDS: dict[Cause, tuple[str, str]] = {
    Cause.STOPPED: (
        "process {pid} is stopped and holds what the beats need",
        "let it go on (kill -CONT {pid}) or end it (kill -9 {pid})",
    ),
    Cause.HANGS: ("a beat hangs: process {pid} is over its time{since}", "the next beat ends it; else kill -9 {pid}"),
    Cause.DAEMON_GONE: (
        "the daemon (process {pid}) is gone without a word: killed, or crashed",
        "start it again: heartbeat run, or `systemctl restart` of its unit",
    ),
    Cause.DAEMON_SILENT: (
        "the daemon (process {pid}) lives and does not beat{since}",
        "look into its log, then restart it",
    ),
    Cause.ELSEWHERE: ("beats came from {host}, and none has come{since}", "look at that machine"),
    Cause.NOT_BEGUN: (
        "nothing has ever beaten on {state}",
        "put the beats on schedule (heartbeat cron install), or name the state directory that they use",
    ),
    Cause.ALONE: (
        "others beat and this agent does not{since}",
        "see whether it is on schedule (heartbeat cron show), then try: heartbeat tick {agent}",
    ),
    Cause.NO_DISK: (
        "the disk of {state} takes nothing, read-only or full: no beat can be put on record",
        "make room there, or mount it for writing (`dmesg` may tell why it is not)",
    ),
    Cause.DAEMON_ENDED: (
        "the daemon was ended in order{since} and not started again",
        "start it again: heartbeat run, or `systemctl start` of its unit",
    ),
    Cause.INTERRUPTED: (
        "beats are ended before they are done: {times}{since}, the last by {by}: a time limit of the scheduler, or "
        "the machine",
        "give a beat more time where it is started (TimeoutStartSec of its unit, the job's own timeout, `timeout`), or "
        "see what takes so long: heartbeat tick {agent}",
    ),
    Cause.NOBODY: (
        "no process has beaten{since}: whatever starts the beats does not start them any more",
        "see what is on schedule (heartbeat cron show) and whether cron or the Gateway runs",
    ),
}
