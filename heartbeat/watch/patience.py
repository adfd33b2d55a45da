"""Asking what may hang, a disk or the network: what does not come back is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from heartbeat.errors import StateError
from heartbeat.instants import format_duration

_Found = TypeVar("_Found")

DISK_HANGS = "its disk or network mount hangs: look at `mount` and `dmesg`"


class HangsError(StateError):
    """Nothing came back in time. What was asked for may still happen."""


class Asked(Generic[_Found]):
    """Something that was asked for and may never come back.

    It is done in a thread that does not keep the program from ending: a read from a dead network mount can be neither
    awaited nor interrupted, and a name server that does not answer holds its caller for as long as it likes. It must do
    no harm whenever it comes back. `what` is how an error names it.
    """

    def __init__(self, seconds: float, what: str, look: Callable[[], _Found], advice: str = DISK_HANGS) -> None:
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._what, self._advice = what, advice
        self._found: list[_Found] = []
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, args=(look,), name=f"asking {what}", daemon=True)
        self._thread.start()

    def answer(self) -> _Found:
        """What came back, or what was raised, within the seconds from the asking on. Raises HangsError otherwise."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._failed:
            raise self._failed[0]
        if not self._found:
            told = f"{self._what} did not answer within {format_duration(self._seconds)}"
            raise HangsError(told, advice=self._advice)
        return self._found[0]

    def _work(self, look: Callable[[], _Found]) -> None:
        try:
            self._found.append(look())
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            self._failed.append(error)


def within(seconds: float, what: str, look: Callable[[], _Found], advice: str = DISK_HANGS) -> _Found:
    """What `look` returns or raises, if it does so in time. Raises HangsError otherwise, which names `what`."""
    return Asked(seconds, what, look, advice).answer()
