"""A small process of our own that watches over one command: it outlives whoever started it, ends the command at its
deadline or when told to, and leaves a result behind (rule X2).

    python -P -m heartbeat.dispatch.supervise FOLDER BEGIN_BY

FOLDER holds `order.json`: `argv`, `seconds` (how long the command may take), `grace` (seconds from SIGTERM to SIGKILL)
and `max_bytes` (of each output). BEGIN_BY is the instant of the monotonic clock after which it does not begin any more.
It writes `began` (who it is; whoever writes that first is the only one that ever starts the command), `child` (who the
command is), `output`, `errors` and in the end `result.json`. The file `stop` tells it to end the command. What it does
it says on standard output, for as long as anybody listens: `began`, `ended`, or why neither.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from heartbeat.dispatch.folder import RunFolder
from heartbeat.store.holder import Process, process_of

ORDER, BEGAN, CHILD, OUTPUT, ERRORS, STOP, RESULT, LOG = (
    "order.json",
    "began",
    "child",
    "output",
    "errors",
    "stop",
    "result.json",
    "supervisor.log",
)
_SLICE = 0.5
"""Seconds between two looks at how much was printed and whether it is to stop; the command's end is seen at once."""
_REAP = 5.0
"""Seconds for the kernel to end a killed process; longer only in an uninterruptible system call."""


class How(StrEnum):
    """How a command came to its end."""

    ENDED = "ended"
    LATE = "late"
    STOPPED = "stopped"
    FLOODED = "flooded"
    UNSTARTABLE = "unstartable"
    """It never began."""


class Said(StrEnum):
    """What a supervisor says on its standard output."""

    BEGAN = "began"
    ENDED = "ended"
    TAKEN = "taken"
    """Another one had begun before."""
    EXPIRED = "expired"
    """It came too late to begin, or the folder is gone."""


def identity(pid: int) -> dict[str, Any]:
    """A process as it is written down; the number alone where the system does not tell which process is which."""
    process = process_of(pid)
    if process is None:
        return {"pid": pid}
    return {"pid": pid, "boot": process.boot, "namespace": process.namespace, "started": process.started}


def process_in(told: Mapping[str, Any]) -> Process | None:
    """The process that was written down, if it can be told from all others."""
    try:
        return Process(int(told["pid"]), str(told["boot"]), str(told["namespace"]), int(told["started"]))
    except (LookupError, ValueError, TypeError):
        return None


def main() -> None:
    """Leaves the process tree of whoever called it, and watches."""
    folder, begin_by = Path(sys.argv[1]), float(sys.argv[2])
    if os.fork():
        os._exit(0)
    # Neither the end of the caller's session nor whoever ends the caller and what it started may reach us any more.
    os.setsid()
    supervise(RunFolder(folder.parent, folder.name), begin_by)


def supervise(folder: RunFolder, begin_by: float) -> None:
    """Begins, if nobody has begun before, and watches the command to its end. Raises OSError."""
    if time.monotonic() > begin_by:
        return _say(Said.EXPIRED)
    try:
        order = folder.read_json(ORDER)
        first = order is not None and folder.put_new(BEGAN, identity(os.getpid()))
    except FileNotFoundError:  # somebody made sure that it never begins, and took the folder away
        return _say(Said.EXPIRED)
    if not first or order is None:
        return _say(Said.TAKEN if order is not None else Said.EXPIRED)
    with _Signals() as signals:
        folder.put_json(RESULT, _carried_out(folder, order, signals))
    return _say(Said.ENDED)


def _carried_out(folder: RunFolder, order: Mapping[str, Any], signals: _Signals) -> dict[str, Any]:
    if folder.has(STOP):
        return {"how": How.STOPPED, "code": None, "killed": False}
    with _opened(folder, OUTPUT) as output, _opened(folder, ERRORS) as errors:
        try:
            process = _start(folder, order["argv"], output, errors)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return {"how": How.UNSTARTABLE, "code": None, "killed": False, "message": str(error)}
        try:
            _say(Said.BEGAN)
            how = _watch(folder, process, order, signals)
        except BaseException:
            # Whatever it was: a command that nobody watches over must not go on.
            end_group(process, 0.0)
            raise
        killed = how is not How.ENDED and end_group(process, float(order["grace"]))
    return {"how": how, "code": process.poll(), "killed": killed}


def _start(folder: RunFolder, argv: Sequence[str], output: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Who the command is stands written down before it does anything: it can be found should we be gone."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        preexec_fn=lambda: folder.put_json(CHILD, identity(os.getpid())),
    )


def _watch(folder: RunFolder, process: subprocess.Popen[bytes], order: Mapping[str, Any], signals: _Signals) -> How:
    deadline = time.monotonic() + float(order["seconds"])
    largest = int(order["max_bytes"])
    with _Ending(process, signals) as ending:
        while True:
            ending.wait(min(_SLICE, deadline - time.monotonic()))
            if process.poll() is not None:
                return How.ENDED
            if signals.received or folder.has(STOP):
                return How.STOPPED
            if folder.size(OUTPUT) > largest or folder.size(ERRORS) > largest:
                return How.FLOODED
            if time.monotonic() >= deadline:
                return How.LATE


def end_group(process: subprocess.Popen[bytes], grace: float) -> bool:
    """SIGTERM, time to clean up, SIGKILL, to the whole group; whether it took the last."""
    _signal(process.pid, signal.SIGTERM)
    try:
        process.wait(grace)
        killed = False
    except subprocess.TimeoutExpired:
        killed = True
    # What it left behind in its group goes too.
    _signal(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAP)
    return killed


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Signals:
    """Whether we were told to end, by the system for example; wakes whoever waits."""

    def __init__(self) -> None:
        self.received = False
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()

    def __enter__(self) -> _Signals:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *unused: object) -> None:
        """The last thing we do is to write the result; nothing may come between any more."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self.reader)
        os.close(self._writer)

    def _receive(self, number: int, frame: object) -> None:
        self.received = True


class _Ending:
    """Waits for the end of a process, or for a signal to us, without asking again and again."""

    def __init__(self, process: subprocess.Popen[bytes], signals: _Signals) -> None:
        self._poll = select.poll()
        self._poll.register(signals.reader, select.POLLIN)
        self._handle: int | None = None
        # Where a process has no handle, its end is seen at the next slice.
        with suppress(OSError, AttributeError):
            self._handle = os.pidfd_open(process.pid)
            self._poll.register(self._handle, select.POLLIN)

    def __enter__(self) -> _Ending:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def wait(self, seconds: float) -> None:
        self._poll.poll(max(0.0, seconds) * 1000)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    return reader, writer


def _opened(folder: RunFolder, name: str) -> IO[bytes]:
    descriptor = os.open(folder.path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return open(descriptor, "ab")  # noqa: PTH123 - a descriptor, closed by the caller


def _say(word: Said) -> None:
    # Whoever listened may have left long ago.
    with suppress(OSError):
        os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    main()
