"""Real child processes for tests: they say a line when they are ready, go on when told, and can be killed."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds that a test waits for an event that takes milliseconds."""


class Child:
    """A Python program whose standard output and input are the test's means of timing."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._unread = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line it prints; fails the test where none comes."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                assert selector.select(PATIENCE), "the child says nothing"
                more = os.read(self.process.stdout.fileno(), 65536)
                assert more, f"the child ended early, having said {self._unread!r}"
                self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def go_on(self) -> None:
        """Lets its next `input()` return."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stopped(self) -> None:
        """Wait until a signal has stopped it; fails the test where it ends instead."""
        too_long = threading.Timer(PATIENCE, self.process.kill)
        too_long.start()
        try:
            seen = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        finally:
            too_long.cancel()
        assert seen is not None
        assert seen.si_code == os.CLD_STOPPED, "it ended instead"

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self.process.wait(PATIENCE)


@contextmanager
def child(program: str, *arguments: object, prefix: Sequence[str] = ()) -> Iterator[Child]:
    """Runs a Python program (text) with arguments; whatever is left of it at the end is killed."""
    command = [*prefix, sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        started = Child(process)
        try:
            yield started
        finally:
            if process.poll() is None:
                started.kill()


def run(program: str, *arguments: object, prefix: Sequence[str] = ()) -> list[str]:
    """Runs a Python program to its end, which must be a good one; the lines it printed."""
    command = [*prefix, sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@cache
def _mount_namespace() -> tuple[str, ...] | None:
    tool = shutil.which("unshare")
    if tool is None:
        return None
    for prefix in ((tool, "--mount"), (tool, "--user", "--map-root-user", "--mount")):
        probe = [*prefix, "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0:
            return prefix
    return None


def mount_namespace() -> tuple[str, ...]:
    """The command prefix under which a child may mount file systems that nobody else sees; skips without one."""
    prefix = _mount_namespace()
    if prefix is None:
        import pytest  # which takes as long as all that a child needs, and children import this module

        pytest.skip("this machine lets nobody make a mount namespace")
    return prefix
