"""Processes that hold a lock of heartbeat's, and time that passes for them without anybody waiting."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any

from tests.support.child import PATIENCE

HOLD = """
import signal, sys
from pathlib import Path
from heartbeat.deadline import Deadline
from heartbeat.store.locks import exclusive
path, seconds, how = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
def say_goodbye(number, frame):
    print("goodbye", flush=True)
    raise SystemExit(0)
signal.signal(signal.SIGTERM, {"deaf": signal.SIG_IGN, "polite": say_goodbye}.get(how, signal.SIG_DFL))
with exclusive(path, purpose="tick", until=Deadline.after(seconds) if seconds else None) as lock:
    print("held")
    for line in sys.stdin:
        if line.strip() == "renew":
            lock.renew(Deadline.after(60))
            print("renewed")
"""
"""Arguments: the lock's path, by when it is to be done (in seconds from its begin; 0: no time is named), and how it
takes a SIGTERM: deaf, polite, or like anybody (`plain`)."""


def record(path: Path) -> dict[str, Any]:
    """What the holder says of itself."""
    told: dict[str, Any] = json.loads(path.read_bytes())
    return told


def edit(path: Path, **changes: Any) -> None:
    """Lets the holder have said something else; None takes it away."""
    told = record(path) | changes
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))


def overstay(*paths: Path) -> None:
    """Lets these holders' time be over, as if they had begun long ago."""
    for path in paths:
        edit(path, limit=1.0)


def heard(fifo: Path) -> str:
    """What some program writes into a named pipe; fails the test where nothing comes."""
    descriptor = os.open(fifo, os.O_RDWR)  # does not wait for a writer
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], "nothing was written"
        return os.read(descriptor, 65536).decode()
    finally:
        os.close(descriptor)
