"""What is on schedule for the roster on this machine, asked of every scheduler that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from heartbeat.errors import HeartbeatError
from heartbeat.install.install import look, targets
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Names of the schedulers that have beats, and that have a watchdog. `unknown` says of others why they could not be
    asked."""

    beats: tuple[str, ...] = ()
    watchdog: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def on_schedule(roster: Roster, launch: Callable[[], Launch], environment: Mapping[str, str]) -> Scheduled:
    """Raises nothing: what cannot be asked is said."""
    try:
        start = launch()
        seen = [look(target, start) for target in targets(roster, start, environment)]
    except HeartbeatError as error:
        return Scheduled(unknown=(str(error),))
    return Scheduled(
        tuple(each.target.name for each in seen if each.standing.style is not None),
        tuple(each.target.name for each in seen if each.standing.watchdog),
        tuple(f"{each.target.name}: {each.problem}" for each in seen if each.problem and not each.absent),
    )
