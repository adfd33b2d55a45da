"""What the processes do that the records name, as far as this machine tells.

Looks only: takes no lock, sends no signal.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from heartbeat.store.holder import Holder, boot, read_holder, started_at, state_of, this_process

DAEMON = "_daemon.lock"
LOCKS = "locks"

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LEEWAY = timedelta(seconds=2)
"""The kernel tells the boot in whole seconds."""


class Doing(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    """By SIGSTOP or a debugger: it does nothing, and holds what it holds."""
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """On another machine or in another container: nobody here can tell."""


@dataclass(frozen=True, slots=True)
class Held:
    """What stands in a lock file: who holds the lock, or held it when it was killed. `name` is the file's stem: an
    agent's id, `_daemon`, `_outbox`."""

    name: str
    holder: Holder
    doing: Doing

    @property
    def overdue(self) -> timedelta | None:
        """How long a living holder is over its time."""
        return self.holder.overdue if self.doing in (Doing.RUNNING, Doing.STOPPED) else None

    @property
    def at_work(self) -> datetime | None:
        """Since when a living holder that can go on, and is not over its time, has had the lock."""
        return self.holder.since if self.doing is Doing.RUNNING and self.holder.overdue is None else None


def held(state: Path) -> tuple[Held, ...]:
    """Everybody whom the lock files of a state directory name, by the files' names."""
    found = []
    for path in sorted((state / LOCKS).glob("*.lock")):
        holder = _holder(path)
        if holder is not None:
            found.append(Held(path.stem, holder, doing_of(holder)))
    return tuple(found)


def doing_of(holder: Holder) -> Doing:
    """What the holder of a lock does."""
    known = holder.process
    if known is None:
        return _here(holder.pid) if holder.host in ("", socket.gethostname()) else Doing.ELSEWHERE
    if known.boot != boot():
        return Doing.GONE if holder.host == socket.gethostname() else Doing.ELSEWHERE
    ours = this_process()
    if ours is None or ours.namespace != known.namespace:
        return Doing.ELSEWHERE
    return _here(holder.pid) if started_at(holder.pid) == known.started else Doing.GONE


def author(pid: int, host: str, wrote_at: datetime) -> Doing:
    """What the process does that wrote something on record at an instant; one that began later only has its number."""
    if host and host != socket.gethostname():
        return Doing.ELSEWHERE
    began = _began(pid)
    if began is not None and began > wrote_at + _LEEWAY:
        return Doing.GONE
    return _here(pid)


def _here(pid: int) -> Doing:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return Doing.GONE
    except PermissionError:
        pass  # it is there, and another user's
    state = state_of(pid) if Path("/proc/self/stat").exists() else ""
    if state and state in "ZX":
        return Doing.GONE
    return Doing.STOPPED if state and state in "Tt" else Doing.RUNNING


def _began(pid: int) -> datetime | None:
    """When a process began by the wall clock, where the system tells."""
    ticks = started_at(pid)
    if ticks is None:
        return None
    with suppress(OSError, ValueError, OverflowError):
        booted = next(int(line.split()[1]) for line in _lines(Path("/proc/stat")) if line.startswith("btime "))
        return datetime.fromtimestamp(booted + ticks / os.sysconf("SC_CLK_TCK"), UTC)
    return None


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file


def _holder(path: Path) -> Holder | None:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        return read_holder(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)
