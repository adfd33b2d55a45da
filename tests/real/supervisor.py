"""Runs one command in a session of its own and sees to it that nothing of it outlives the tests.

    python supervisor.py ROOT LOG SECONDS COMMAND...

The first line on stdout is the command's process id. The supervisor ends when the command does, and ends the command
when its own stdin closes: on the word "stop" before that, `ROOT` is left alone; without it the tests have died, and
`ROOT`, the command's HOME, is removed too. After TERM the command has `SECONDS` until it is killed, and so have the
children that left its process group once it is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path


def main(arguments: list[str]) -> int:
    root, log, seconds, *command = arguments
    patience = float(seconds)
    with Path(log).open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    print(process.pid, flush=True)
    told: list[str] = []
    watcher = threading.Thread(target=_end_when_told, args=(process, patience, told), daemon=True)
    watcher.start()
    code = process.wait()
    _end_stragglers(root, patience)
    if told and told[0] != "stop":
        forget(Path(root))
    return code if code >= 0 else 128 - code


def _end_when_told(process: subprocess.Popen[bytes], patience: float, told: list[str]) -> None:
    told.append(sys.stdin.read().strip())
    _signal_group(process.pid, signal.SIGTERM)
    _signal_group(process.pid, signal.SIGCONT)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_stragglers(root: str, patience: float) -> None:
    """Ends what left the command's process group but still lives in its HOME; each gets a moment to go by itself."""
    until = time.monotonic() + patience
    while (left := _left(root)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gone_by = time.monotonic() + patience
    while left and any(processes_at_home(root)) and time.monotonic() < gone_by:
        time.sleep(0.05)


def _left(root: str) -> list[int]:
    """Looks twice before it says nobody: a process that is just becoming another program shows no environment."""
    found = list(processes_at_home(root))
    if not found:
        time.sleep(0.05)
        found = list(processes_at_home(root))
    return found


def processes_at_home(home: str) -> Iterator[int]:
    """Ids of other processes whose HOME is `home`; nothing where the system has no /proc."""
    wanted = b"HOME=" + os.fsencode(home)
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and wanted in environment.read_bytes().split(b"\0"):
                yield pid


def forget(root: Path) -> None:
    """Removes a HOME of OpenClaw and the lock files that it keeps in /tmp, named by its state database's path."""
    database = str((root / ".openclaw" / "state" / "openclaw.sqlite").resolve())
    digest = hashlib.sha256(database.encode()).hexdigest()[:8]
    for lock in Path(f"/tmp/openclaw-state-locks-{os.getuid()}").glob(f"*.{digest}.lock.sqlite"):
        lock.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
