"""Looking at a disk that may hang: a look that does not come back is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from heartbeat.errors import StateError
from heartbeat.instants import format_duration

_Found = TypeVar("_Found")


def within(seconds: float, what: str, look: Callable[[], _Found]) -> _Found:
    """What `look` returns or raises, if it does so in time. Raises StateError otherwise, which names `what`.

    It runs in a thread that does not keep the program from ending: a read from a dead network mount can be neither
    awaited nor interrupted. It must change nothing, since it may come back at any time.
    """
    found: list[_Found] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(look())
        except BaseException as error:  # noqa: BLE001 - raised again below, where somebody waits for it
            failed.append(error)

    thread = threading.Thread(target=work, name=f"looking at {what}", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if failed:
        raise failed[0]
    if not found:
        raise StateError(
            f"{what} did not answer within {format_duration(seconds)}",
            advice="its disk or network mount hangs: look at `mount` and `dmesg`",
        )
    return found[0]
