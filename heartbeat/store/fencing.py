"""Ending whoever holds a lock beyond its time, so that it can never act again: fencing (rule B1).

The kernel frees a lock when its holder dies. A holder that is stopped, frozen or hung does not die, and would keep an
agent from beating for ever. So every holder that means to be quick says by when it will be done; whoever needs the lock
after that ends it. Never ended: a holder within its time or without one, another user's, another machine's or
container's, and a process that only has the number of one that is gone.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from heartbeat.instants import format_duration
from heartbeat.store.holder import Holder, groups_started_by, started_at, state_of, this_process, user_of
from heartbeat.store.port import LogEntry

_GENTLE = 2.0
"""Seconds that a process which runs has to end by itself: it puts its beat on record as failed meanwhile."""
_HARD = 5.0
"""Seconds for the kernel to end it; longer only in an uninterruptible system call."""
_GONE = "that process is gone; one that it started may have the lock now"
_OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True, slots=True)
class Fenced:
    """A holder that was ended, since it was over its time. `signal` is what ended it; `stopped`: it could not go on."""

    path: Path
    holder: Holder
    at: datetime
    overdue: timedelta
    signal: signal.Signals
    stopped: bool

    def __str__(self) -> str:
        how = "was stopped" if self.stopped else "still ran"
        late = f"{format_duration(self.overdue)} over its time"
        had = f"{self.holder.name} had {self.path.name}{self.holder.told_since}"
        return f"{had}, {late}; it {how}, so it was ended ({self.signal.name})"


def fenced_entry(fenced: Fenced, agent: str = "") -> LogEntry:
    """What the log says of it."""
    holder = fenced.holder
    details = {"pid": holder.pid, "purpose": holder.purpose, "lock": fenced.path.name, "signal": fenced.signal.name}
    return LogEntry(fenced.at, "fenced", str(fenced), agent, details=details)


def end(path: Path, descriptor: int, holder: Holder, *, still: Callable[[], bool]) -> Fenced | str:
    """Ends a holder that is over its time; or says why it was left alone.

    `still` is asked last of all, when it is certain that nobody else has the holder's number: whether it is still this
    holder that is over its time.
    """
    reason = _not_ours(descriptor, holder)
    if reason:
        return reason
    try:
        # From here on the process is meant, whoever may get its number when it ends.
        handle = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return _GONE
    except (OSError, AttributeError) as error:
        return f"this system cannot name a process safely ({error})"
    try:
        return _end(path, handle, holder, still)
    finally:
        os.close(handle)


def _not_ours(descriptor: int, holder: Holder) -> str:
    """Why the holder is not for us to end, as far as the lock file tells; empty where it is."""
    us = this_process()
    file = os.fstat(descriptor)
    if us is None or holder.process is None:
        return "this system does not tell which process is which"
    if holder.process.boot != us.boot:
        return f"it runs on another machine{f', {holder.host}' if holder.host else ''}"
    if holder.process.namespace != us.namespace:
        return "it runs in another container"
    if holder.process == us:
        return "it is this very process"
    if file.st_uid != os.geteuid() or file.st_mode & _OTHERS_MAY_WRITE:
        return "somebody else may have written into the lock file"
    return ""


def _end(path: Path, handle: int, holder: Holder, still: Callable[[], bool]) -> Fenced | str:
    state = state_of(holder.pid)
    if holder.process is None or started_at(holder.pid) != holder.process.started or state in "ZX":
        return _GONE
    stopped = state in "Tt"
    ended = partial(Fenced, path, holder, datetime.now(UTC), holder.overdue or timedelta(0), stopped=stopped)
    try:
        if user_of(holder.pid) != os.geteuid():
            return "it belongs to another user"
        if not still():
            return "it has just gone on"
        if not stopped:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if _ended(handle, _GENTLE):
                return ended(signal=signal.SIGTERM)
        # A process that is stopped hears nothing else; let to go on, it would write first. So would what it started.
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        started = groups_started_by(holder.pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        for group in started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return _GONE
    except OSError as error:
        return f"it cannot be ended: {error.strerror or error}"
    if _ended(handle, _HARD):
        return ended(signal=signal.SIGKILL)
    return f"it does not die (state {state_of(holder.pid)}): it hangs in the kernel, look at its disk or mount"


def _ended(handle: int, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
