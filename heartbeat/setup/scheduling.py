"""Whether the schedules that are installed beat for new agents too, and what to run where they do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heartbeat.install.base import Style
from heartbeat.install.install import Installed, option_of

_OF_EVERYBODY = frozenset({Style.DUE, Style.DAEMON})
"""Styles in which one job finds out at each beat whom the roster has."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """One target with beats on schedule. `words` are those of the command that puts new agents on it; empty where it
    beats for them by itself. `problem` says why a target's schedule is not known."""

    target: str
    words: tuple[str, ...] = ()
    problem: str = ""


def coverage(installed: Iterable[Installed], agents: Sequence[str]) -> tuple[Coverage, ...]:
    """For each target that has beats on schedule, or could not be asked: what becomes of these new agents there."""
    found = []
    for each in installed:
        standing, name = each.standing, each.target.name
        if each.problem and not each.absent:
            found.append(Coverage(name, problem=each.problem))
        elif standing.style is None:
            continue
        elif standing.agents:
            found.append(Coverage(name, ("cron", "install", *agents, "--target", *option_of(name).split())))
        elif standing.style in _OF_EVERYBODY:
            found.append(Coverage(name))
        else:
            found.append(Coverage(name, ("cron", "install", "--target", *option_of(name).split())))
    return tuple(found)
