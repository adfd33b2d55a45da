"""The clock of this machine that nobody sets, the same for all its processes (rule B6)."""

from __future__ import annotations

import time

from heartbeat.attempt import Uptime
from heartbeat.store.holder import boot


def uptime() -> Uptime:
    """As it stands now. It rests while the machine is suspended."""
    return Uptime(boot(), time.monotonic())
