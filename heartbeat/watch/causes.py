"""Why beats do not come, as far as one look tells, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heartbeat.store.port import Receipt
from heartbeat.watch.health import Health
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
    NOBODY = "nobody"
    """Whatever started the beats does not start them any more."""


@dataclass(frozen=True, slots=True)
class Likely:
    """A cause with what it is known by: a process and its machine, since when nothing was heard, and where."""

    cause: Cause
    pid: int = 0
    host: str = ""
    since: datetime | None = None
    state: str = ""


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
    newest = max((each.last for each in team if each.last is not None), key=_began, default=None)
    if newest is None:
        return Likely(Cause.NOT_BEGUN, state=str(records.state))
    if agent.unanswered is not None and newest.started_at >= agent.unanswered:
        return Likely(Cause.ALONE, since=None if last is None else last.ended_at)
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


def _began(receipt: Receipt) -> datetime:
    return receipt.started_at


def told(found: Likely, agent: str, show: Callable[[datetime], str]) -> tuple[str, str]:
    """The cause and what to do about this agent, in English."""
    since = "" if found.since is None else f" since {show(found.since)}"
    facts = {"pid": found.pid, "host": found.host, "since": since, "agent": agent, "state": found.state}
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
    Cause.NOBODY: (
        "no process has beaten{since}: whatever starts the beats does not start them any more",
        "see what is on schedule (heartbeat cron show) and whether cron or the Gateway runs",
    ),
}
