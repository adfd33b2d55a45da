"""Turns that go on while nobody is due: collected between the beats (rule F1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heartbeat.attempt import Attempt
from heartbeat.daemon.surroundings import Loaded
from heartbeat.deadline import Deadline
from heartbeat.dispatch.context import Means, opened_anyway
from heartbeat.dispatch.hooks import run_hooks
from heartbeat.dispatch.round import follow, goes_on, is_idle, is_left_over
from heartbeat.store.port import Store


@dataclass(frozen=True, slots=True)
class Followed:
    """`again` are the agents whose turns ended badly, `runs` whether any turn goes on, `told` a line for each end."""

    again: tuple[str, ...] = ()
    runs: bool = False
    told: tuple[str, ...] = ()


def followed(
    loaded: Loaded, store: Store, locks: Path, clock: Callable[[], datetime], deadline: Deadline, means: Means
) -> Followed:
    """Collects what has ended. Raises StateError."""
    if is_idle(loaded.roster, store) or not is_left_over(store):
        return Followed()
    context = opened_anyway(loaded.roster, loaded.environment, store, locks, clock, deadline, means)
    collected = follow(context)
    again = goes_on(collected)
    if not again:
        run_hooks(store, loaded.roster, loaded.environment, locks, clock=clock, deadline=deadline)
    return Followed(again, bool(collected.running or collected.unseen), tuple(map(_told, collected.ended)))


def _told(ended: Attempt) -> str:
    outcome = ended.outcome.value.replace("_", " ") if ended.outcome is not None else "ended"
    return (
        f"attempt {ended.number} of {ended.agent} on {ended.task} {outcome}{': ' if ended.error else ''}{ended.error}"
    )
