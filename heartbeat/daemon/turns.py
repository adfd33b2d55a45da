"""Turns that go on while nobody is due: collected between the beats (rule F1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from heartbeat.deadline import Deadline
from heartbeat.dispatch.context import Means, opened
from heartbeat.dispatch.round import follow, goes_on, is_idle
from heartbeat.roster.model import Roster
from heartbeat.store.port import Store


class Loaded(Protocol):
    """A roster, and the environment that it is used with."""

    @property
    def roster(self) -> Roster: ...
    @property
    def environment(self) -> Mapping[str, str]: ...


def followed(
    loaded: Loaded, store: Store, locks: Path, clock: Callable[[], datetime], deadline: Deadline, means: Means
) -> tuple[tuple[str, ...], bool]:
    """The agents whose turns ended badly, and whether any turn goes on. Raises StateError, UsageError."""
    if is_idle(loaded.roster, store) or not store.attempts(unfinished=True):
        return (), False
    context = opened(loaded.roster, loaded.environment, store, locks, clock, deadline, means)
    collected = follow(context)
    return goes_on(collected), bool(collected.running or collected.unseen)
