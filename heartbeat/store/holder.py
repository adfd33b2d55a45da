"""Who holds a lock: what the holder writes into the lock file, and how a reader knows the process again.

A number alone names no process: numbers are given again. Together with the boot, the namespace in which it counts and
the instant at which the kernel started it, it names one process for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.instants import format_duration, parse_instant, to_text

_SIZE = 1024
"""Bytes of a lock file that are read; ours are far fewer."""
_LONGEST_TEXT = 128
_LARGEST_PID = 2**31
_LARGEST_LIMIT = 1e12
"""Seconds; beyond that it is no instant of a clock that began with the boot."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine that can be told from all others, earlier and later ones too."""

    pid: int
    boot: str
    namespace: str
    started: int
    """Clock ticks since the boot, as the kernel tells it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lock, as far as the lock file tells."""

    pid: int
    purpose: str
    since: datetime | None = None
    host: str = ""
    process: Process | None = None
    """None where the system of the holder does not tell which process is which."""
    until: datetime | None = None
    """By when it meant to be done, by its wall clock: for people only."""
    limit: float | None = None
    """The same on the monotonic clock of its boot, which no step of the wall clock moves."""

    @property
    def overdue(self) -> timedelta | None:
        """How long it is over its time; None where it is not, has no limit, or its clock is not ours."""
        if self.limit is None or self.process is None or self.process.boot != boot():
            return None
        over = time.monotonic() - self.limit
        return timedelta(seconds=over) if over > 0 else None

    @property
    def name(self) -> str:
        """`pid 4711 (tick)`, with the host where that is another one."""
        where = f" on {self.host}" if self.host and self.host != socket.gethostname() else ""
        return f"pid {self.pid}{where} ({self.purpose})"

    @property
    def told_since(self) -> str:
        """` since` when it has it, or nothing where that is not known."""
        return f" since {to_text(self.since)}" if self.since is not None else ""

    def __str__(self) -> str:
        over = self.overdue
        late = f", {format_duration(over)} over its time" if over is not None else ""
        return f"{self.name}{self.told_since}{late}"


def boot() -> str:
    """Which start of this machine this is; empty where the system does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def this_process() -> Process | None:
    """Ourselves; None where the system does not tell which process is which."""
    return _ourselves(os.getpid())


@cache
def _ourselves(pid: int) -> Process | None:
    """We do not change, and every lock tells who we are; whoever we fork has another number, and asks anew."""
    return process_of(pid)


def process_of(pid: int) -> Process | None:
    """The process that has this number here and now; None where there is none, or no way to know."""
    started, this_boot = started_at(pid), boot()
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
    return Process(pid, this_boot, namespace, started) if started is not None and this_boot else None


def started_at(pid: int) -> int | None:
    """When the kernel started the process, in clock ticks since the boot; None where there is none."""
    fields = _status(pid)
    return int(fields[19]) if fields else None


def state_of(pid: int) -> str:
    """The kernel's letter for what a process does: `T` and `t` are stopped, `Z` and `X` gone; empty where none is."""
    fields = _status(pid)
    return fields[0] if fields else "X"


def user_of(pid: int) -> int | None:
    """As which user a process acts; None where there is none, or no way to know."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    users = next((line.split() for line in text.splitlines() if line.startswith("Uid:")), [])
    return int(users[2]) if len(users) > 2 else None


def groups_started_by(pid: int) -> tuple[int, ...]:
    """The process groups that children of a process lead: the commands that it has started (systems/process.py)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError, ValueError):
            found += [int(child) for child in path.read_text(encoding="ascii").split()]
    return tuple(child for child in found if _leads(child))


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except OSError:
        return False


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on. The second is the command's name, which may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > 19 else []


def describe(purpose: str, since: datetime, until: Deadline | None) -> bytes:
    """What this process writes into the lock file that it holds."""
    told: dict[str, Any] = {"pid": os.getpid(), "purpose": purpose[:_LONGEST_TEXT], "since": since.isoformat()}
    told["host"] = socket.gethostname()[:_LONGEST_TEXT]
    process = this_process()
    if process is not None:
        told |= {"boot": process.boot, "namespace": process.namespace, "started": process.started}
    if until is not None:
        left = until.at - time.monotonic()
        told |= {"limit": until.at, "until": (datetime.now(UTC) + timedelta(seconds=left)).isoformat()}
    return json.dumps(told).encode()


def read_holder(descriptor: int) -> Holder | None:
    """Whatever stands there is data: read up to a limit, printable characters kept, anything odd means not known."""
    try:
        told = json.loads(os.pread(descriptor, _SIZE, 0))
        pid = _within(int(told["pid"]), _LARGEST_PID)
        return Holder(
            int(pid),
            _printable(told["purpose"]),
            since=parse_instant(told.get("since")),
            host=_printable(told.get("host", "")),
            process=_process(int(pid), told),
            until=parse_instant(told.get("until")),
            limit=_within(float(told["limit"]), _LARGEST_LIMIT) if "limit" in told else None,
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None


def _process(pid: int, told: dict[str, Any]) -> Process | None:
    with contextlib.suppress(LookupError):
        return Process(pid, str(told["boot"]), str(told["namespace"]), int(told["started"]))
    return None


def _within(number: float, largest: float) -> float:
    if not 0 < number < largest:
        raise ValueError(f"{number} cannot be")
    return number


def _printable(text: object) -> str:
    return "".join(character for character in str(text) if character.isprintable())
