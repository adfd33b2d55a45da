"""What the daemon says of itself: at once to whoever listens, and on record as soon as the store can be used."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from heartbeat.errors import HeartbeatError
from heartbeat.plural import counted
from heartbeat.roster.model import Agent
from heartbeat.store.port import LogEntry, Store

_NOTES_KEPT = 100
"""Entries for the log that wait until the store can be used."""

_NAMED = 3
"""More agents than this are counted, not named."""


class Journal:
    """Of one run. `say` takes a line about what goes well, `complain` one about what does not; `now` reads the wall
    clock. `before` is for the log, and happened earlier. With `debug`, errors are told with where they came from."""

    def __init__(
        self,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        now: Callable[[], datetime],
        *,
        before: Sequence[LogEntry] = (),
        debug: bool,
    ) -> None:
        self._say = say
        self._complain = complain
        self._now = now
        self._debug = debug
        self._notes: deque[LogEntry] = deque(before, maxlen=_NOTES_KEPT)

    def tell(self, sentence: str, action: str) -> None:
        """Something went well."""
        self._say(sentence)
        self.note(action, sentence)

    def warn(self, sentence: str, action: str) -> None:
        """Something did not."""
        self._complain(sentence)
        self.note(action, sentence)

    def note(self, action: str, sentence: str) -> None:
        """For the log alone, at the next time that the store is open."""
        self._notes.append(LogEntry(self._now(), action, sentence))

    def put(self, store: Store) -> None:
        """What waits, on record. Raises StateError, and then it waits on."""
        if self._notes:
            store.add_log(self._notes)
            self._notes.clear()

    def trace(self, error: Exception) -> None:
        """Where an error came from, for who asked for it."""
        if self._debug:
            for block in traceback.format_exception(error):
                for line in block.splitlines():
                    self._complain(line)


def named(agents: Sequence[Agent]) -> str:
    """Agents in a sentence: a few by name, many by number."""
    return ", ".join(agent.id for agent in agents) if len(agents) <= _NAMED else counted(len(agents), "agent")


def told_of(error: Exception) -> str:
    """What happened. Whatever is no error of heartbeat's own is a bug."""
    if isinstance(error, HeartbeatError):
        return str(error) or type(error).__name__
    return f"a bug: {type(error).__name__}: {error}"


def advice_on(error: Exception) -> str:
    """What to do about it."""
    if isinstance(error, HeartbeatError):
        return error.advice
    return "start the daemon with --debug and report what it prints"
