"""Which of the processes that are written down in a folder run, and how they are ended: never one that only has the
number of another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.dispatch.folder import KEPT, RunFolder, idle_folders
from heartbeat.dispatch.supervise import BEGAN, CHILD, ORDER, RESULT, process_in
from heartbeat.store.holder import Process, process_of, state_of

PAUSE = 0.05
"""Seconds between two looks at what another process is about to do."""
_LONGEST_GRACE = 60.0


def sweep(runs: Path, wanted: Collection[str], *, older_than: timedelta = KEPT) -> int:
    """Removes the folders of turns that nobody waits for (`wanted` are the ids of all unfinished attempts), and where
    nothing runs any more; how many. Raises OSError."""
    count = 0
    for folder in idle_folders(runs, wanted, older_than=older_than):
        if any(lives(folder.read_json(name) or {}, folder, _LONGEST_GRACE) for name in (BEGAN, CHILD)):
            continue
        folder.remove()
        count += 1
    return count


def is_alive(process: Process) -> bool:
    """Whether this very process runs; one that only waits to be reaped does not."""
    return process_of(process.pid) == process and state_of(process.pid) not in "ZX"


def lives(told: Mapping[str, Any], folder: RunFolder, grace: float) -> bool:
    """Whether the process that was written down runs. Where the system does not tell which process is which, it counts
    as running for as long as it could."""
    process = process_in(told)
    if process is not None:
        return is_alive(process)
    if "pid" not in told or folder.has(RESULT):
        return False
    order = folder.read_json(ORDER) or {}
    return time.monotonic() < seconds_of(order, "begin_by") + seconds_of(order, "seconds") + grace


def seconds_of(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def signal_group(leader: Process, number: signal.Signals) -> None:
    if is_alive(leader):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)


def wait_for_end(process: Process, deadline: Deadline) -> None:
    while is_alive(process) and deadline.left() > 0:
        time.sleep(min(PAUSE, deadline.left()))
