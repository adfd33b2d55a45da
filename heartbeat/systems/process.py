"""Child processes that cannot outstay their deadline, flood the memory or hold us by a pipe (rule S4).

The output goes into unnamed temporary files, so that a grandchild which left the process group and keeps its standard
output open is no reason to wait. The group of the child is killed as a whole.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from heartbeat.systems.base import Deadline, FailureKind, TransportError

MAX_BYTES = 256 * 1024 * 1024
"""The default cap on what a child may print (rule S4)."""

_STDERR_TAIL = 65_536
_SLICE = 0.05
"""Seconds between two looks at the size of the output."""
_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL, at most; they are taken from the end of the time that the child has, so that it
is gone at the deadline: whoever called us may end a moment later, and nobody would kill it then."""
_GRACE_SHARE = 0.2
_REAP = 5.0
"""Seconds to wait for the kernel to end a killed child; longer only in an uninterruptible system call."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A child that ended by itself. `code` is negative where a signal ended it; `stderr` is the end of what it said."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: str


_live: set[subprocess.Popen[bytes]] = set()
"""Children that a thread is waiting for. A thread that is left behind waits no more, and its child must end too."""
_starting = threading.Lock()
"""Held while a child comes into being: it runs before we know of it."""


def end_children() -> None:
    """Kill the process group of every child that still runs; for the end of the program, however it comes. Meanwhile
    no thread starts another one."""
    at_rest = _starting.acquire(timeout=_GRACE)
    try:
        for process in tuple(_live):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    finally:
        if at_rest:
            _starting.release()


def find_executable(name: str, environment: Mapping[str, str]) -> str | None:
    """The absolute path of the program `name` on the PATH of `environment`, or None. A path is checked as it is."""
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    return None if found is None else str(Path(found).absolute())


def run(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes | None = None,
    max_bytes: int = MAX_BYTES,
) -> Completed:
    """Runs a program to its end, without a shell, in a session of its own and with `LC_ALL=C.UTF-8`.

    A non-zero exit is returned, not raised. Raises TransportError: NOT_INSTALLED where the program cannot be found or
    started, TIMEOUT at the deadline, TOO_LARGE where either output stream grows beyond `max_bytes`, REFUSED where the
    machine does not let us (no room for temporary files, an argument that no program can take).
    """
    command = _command(argv)
    program = find_executable(argv[0], environment)
    if program is None:
        raise TransportError(
            FailureKind.NOT_INSTALLED,
            f"{argv[0]}: no such program on the PATH {environment.get('PATH', os.defpath)!r}",
            advice="install it, or give its absolute path; cron's PATH is shorter than a login shell's",
        )
    if deadline.left() <= 0:
        raise TransportError(FailureKind.TIMEOUT, f"no time was left to run `{command}`")
    with contextlib.ExitStack() as files:
        try:
            given, output, complaints = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin or b"")
            given.seek(0)
        except OSError as error:
            raise TransportError(
                FailureKind.REFUSED,
                f"no temporary file for the output of `{command}`: {error.strerror or error}",
                advice=f"make room in {tempfile.gettempdir()}, or set TMPDIR",
            ) from error
        grace = min(_GRACE, deadline.left() * _GRACE_SHARE)
        with _starting:
            process = _start(argv, program, environment, cwd, given, output, complaints)
            _live.add(process)
        try:
            code = _wait(process, command, Deadline(deadline.at - grace), (output, complaints), max_bytes)
        except BaseException:
            # Whatever ends the wait, an interrupt included, must not leave the child behind.
            _kill_group(process, grace)
            raise
        finally:
            _live.discard(process)
        return Completed(tuple(argv), code, _content(output), _tail(complaints))


def _command(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    return text if len(text) <= 200 else text[:199] + "…"


def _start(
    argv: Sequence[str],
    program: str,
    environment: Mapping[str, str],
    cwd: Path | None,
    given: IO[bytes],
    output: IO[bytes],
    complaints: IO[bytes],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [program, *argv[1:]],
            stdin=given,
            stdout=output,
            stderr=complaints,
            cwd=cwd,
            env={**environment, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    except ValueError as error:
        raise TransportError(FailureKind.REFUSED, f"`{_command(argv)}` cannot be run: {error}") from error
    except OSError as error:
        if cwd is not None and not cwd.is_dir():
            raise TransportError(
                FailureKind.NOT_FOUND, f"`{_command(argv)}` cannot be run in {cwd}: no such directory"
            ) from error
        raise TransportError(
            FailureKind.NOT_INSTALLED,
            f"{program} cannot be started: {error.strerror or error}",
            advice="check that the file is a program for this machine and that its interpreter is installed",
        ) from error


def _wait(
    process: subprocess.Popen[bytes],
    command: str,
    deadline: Deadline,
    streams: tuple[IO[bytes], IO[bytes]],
    max_bytes: int,
) -> int:
    code: int | None = None
    while code is None:
        left = deadline.left()
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(min(_SLICE, left))
        if any(_size(stream) > max_bytes for stream in streams):
            raise TransportError(
                FailureKind.TOO_LARGE,
                f"`{command}` printed more than {max_bytes:,} bytes and was stopped",
                advice="look at what it prints when run by hand",
            )
        if code is None and left <= 0:
            raise TransportError(
                FailureKind.TIMEOUT,
                f"`{command}` did not end in time and was killed",
                advice="run it by hand to see how long it takes; the machine may be crowded",
            )
    return code


def _kill_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, a moment to clean up, then SIGKILL: to the group, also where its leader is gone already."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _content(stream: IO[bytes]) -> bytes:
    """All that was written. The position is shared with whoever still holds the file, so it is read without moving."""
    size, chunks, offset = _size(stream), [], 0
    while offset < size:
        chunk = os.pread(stream.fileno(), size - offset, offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _tail(stream: IO[bytes]) -> str:
    size = _size(stream)
    start = max(0, size - _STDERR_TAIL)
    return os.pread(stream.fileno(), size - start, start).decode("utf-8", errors="replace")
