"""What a person or a supervisor wants of the daemon: stop, or read the roster anew. Signals, and their stand-in."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Protocol, Self

_STOP = (signal.SIGTERM, signal.SIGINT)
_MOST_SIGNALS = 4096


class Orders(Protocol):
    """What the loop asks for between its steps."""

    @property
    def stopping(self) -> str:
        """Which order to stop came, or the empty text."""
        ...

    def take_reload(self) -> bool:
        """Whether a reload was asked for since the last time this was asked."""
        ...

    def wait(self, seconds: float) -> None:
        """Until an order comes, at most so long."""
        ...


class Signals:
    """Implements Orders, from `with` to its end and in the main thread only.

    SIGTERM and SIGINT stop, and the running beat comes to its end; the second of them ends everything at once, by
    SystemExit. SIGHUP reloads, but where it comes because the terminal that we talk to is gone, it stops; where it was
    ignored before, as nohup has it, it never does.
    """

    def __init__(self) -> None:
        self._stopping = ""
        self._reload = False
        self._terminal = _has_terminal()

    @property
    def stopping(self) -> str:
        return self._stopping

    def take_reload(self) -> bool:
        asked, self._reload = self._reload, False
        return asked

    def wait(self, seconds: float) -> None:
        # A signal between the loop's last question and this wait has left its byte here: the wait ends at once.
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        if ready:
            os.read(self._reader, _MOST_SIGNALS)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            raise SystemExit(128 + number)
        self._stopping = signal.Signals(number).name

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._terminal and not _has_terminal():
            self._stop(number, frame)
        else:
            self._reload = True

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._stop) for number in _STOP}
        self._terminal = self._terminal and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
