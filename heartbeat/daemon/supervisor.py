"""What systemd is told about the daemon: the protocol of sd_notify(3), which is one datagram of NAME=value lines.

Without a supervisor (no NOTIFY_SOCKET) nothing is said and nothing fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""What is meant for this very process. Children must not inherit it: they would speak in our name."""

_PATIENCE = 1.0
"""Seconds that a datagram may wait for a supervisor that does not read; what is said again soon may get lost."""

_MICROSECONDS = 1_000_000


class Supervisor:
    """The one who started us and wants to hear from us. Threads may share it.

    `watchdog` is after how many seconds without a word it takes us for hung; None where it does not watch.
    """

    def __init__(self, address: str, watchdog: float | None, complain: Callable[[str], None]) -> None:
        self.watchdog = watchdog
        self._complain = complain
        self._complained = False
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(_PATIENCE)

    @classmethod
    def of(cls, environment: Mapping[str, str], complain: Callable[[str], None]) -> Supervisor:
        """The one that the environment names; `complain` is told once where it cannot be reached."""
        microseconds, whom = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        ours = whom in ("", str(os.getpid()))
        watchdog = int(microseconds) / _MICROSECONDS if microseconds.isdecimal() and ours else None
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog or None, complain)

    @property
    def listens(self) -> bool:
        """Whether there is one at all."""
        return self._socket is not None

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._tell("READY=1")

    def reloading(self, awake: float) -> None:
        """A reload begins; `awake` is the monotonic clock in seconds."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(awake * _MICROSECONDS)}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; said only when it is something else than before."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def alive(self) -> None:
        """All is well; to be said more often than every `watchdog` seconds."""
        self._tell("WATCHDOG=1")

    def needs(self, seconds: float) -> None:
        """The end takes so much longer."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def close(self) -> None:
        """Nothing more is said."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except (OSError, ValueError) as error:
            if not self._complained:
                self._complained = True
                reason = getattr(error, "strerror", None) or error
                self._complain(f"systemd cannot be told how things are (NOTIFY_SOCKET): {reason}")
