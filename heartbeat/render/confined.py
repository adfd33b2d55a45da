"""Running a function that may never end, or ask for all memory, in a forked child with hard limits.

A template is a program: nested loops, macros that call themselves, `"x" * 10**10`. No check inside the interpreter
stops all of these, a process of its own does. The child inherits everything by the fork, so that nothing is imported
or pickled on the way in; it answers with JSON and never returns into the caller's code.
"""

from __future__ import annotations

import json
import math
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from heartbeat.errors import HeartbeatError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: seconds of wall time, bytes of memory on top of what it starts with, bytes of answer."""

    seconds: float = 10.0
    memory: int = 256 * 1024 * 1024
    answer: int = 8 * 1024 * 1024


class LimitError(HeartbeatError):
    """The child used up a limit and was ended; the message names the limit."""


def run_confined(work: Callable[[], Any], limits: Limits) -> Any:
    """What `work` returns (JSON data), computed in a child process under `limits`.

    `work` handles its own errors and returns them as data: one that escapes is a bug, and raises HeartbeatError here.
    Raises LimitError when a limit was hit.
    """
    reading, writing = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = 0
    try:
        try:
            # No signal may come between the child's birth and our knowing of it: nobody would end it.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            child = os.fork()
            if child == 0:
                _answer(work, limits, (reading, writing), mask)
        finally:
            os.close(writing)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raw = _read(reading, limits)
    except BaseException:
        # Whatever ends the wait (a limit, Ctrl-C), the child must not outlive it.
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise
    finally:
        os.close(reading)
    _, status = os.waitpid(child, 0)
    return _decode(raw, status, limits)


_OUT_OF_MEMORY = 3
_ESCAPED = 4


def _answer(work: Callable[[], Any], limits: Limits, ends: tuple[int, int], mask: Iterable[int]) -> NoReturn:
    """The child's whole life. It must leave by `os._exit`: the caller's clean-up code is not the child's to run."""
    code = _ESCAPED
    reading, writing = ends
    try:
        os.close(reading)
        _confine(limits)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        answer = json.dumps(work()).encode("ascii")
        with open(writing, "wb", closefd=False) as pipe:
            pipe.write(answer)
        code = 0
    except MemoryError:
        code = _OUT_OF_MEMORY
    except BaseException as error:  # noqa: BLE001 - past the fork nobody else can report it
        with suppress(OSError):
            os.write(writing, f"{type(error).__name__}: {error}".encode(errors="replace")[:2000])
    finally:
        os._exit(code)


def _confine(limits: Limits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, math.ceil(limits.seconds) + 1)
    present = _address_space()
    if present is not None:
        _lower(resource.RLIMIT_AS, present + limits.memory)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    ceiling = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (ceiling, ceiling))


def _address_space() -> int | None:
    """Bytes of address space in use; None where the system does not tell (then time alone limits the child)."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _read(reading: int, limits: Limits) -> bytes:
    until = time.monotonic() + limits.seconds
    chunks: list[bytes] = []
    size = 0
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            raise LimitError(f"did not finish within {limits.seconds:g} s")
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
        if size > limits.answer:
            raise LimitError(f"gave more than {limits.answer} bytes")


def _decode(raw: bytes, status: int, limits: Limits) -> Any:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return json.loads(raw)
    if code == _OUT_OF_MEMORY:
        raise LimitError(f"needs more than {limits.memory // (1024 * 1024)} MiB of memory")
    if code == -signal.SIGXCPU:
        raise LimitError(f"did not finish within {limits.seconds:g} s")
    if code < 0:
        raise LimitError(f"crashed the process that rendered it (signal {-code})")
    raise HeartbeatError(f"rendering failed in its child process: {raw.decode(errors='replace')}")
