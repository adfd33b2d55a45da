"""Who would hear of an alarm: the way from a beat that does not come to a person."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.doctor.check import Check, Level
from heartbeat.doctor.schedules import Scheduled
from heartbeat.instants import format_duration
from heartbeat.roster.model import Roster
from heartbeat.watch.delivery import routes
from heartbeat.watch.overall import WATCHED_WITHIN, Watching
from heartbeat.watch.ping import BEATS, WATCHDOG

AREA = "people"


def check_people(
    roster: Roster,
    state: Path,
    environment: Mapping[str, str],
    scheduled: Scheduled,
    watching: Watching,
    now: datetime,
) -> Iterator[Check]:
    """Whom the watchdog would tell, whether one looks, and who would notice that it does not. Nothing is sent.

    `watching` is what the watchdog of this user on this machine has left.
    """
    yield from _channels(roster, state, environment)
    yield from _pings(roster, environment)
    yield from _watchdog(roster, state, scheduled, watching, now)


def _channels(roster: Roster, state: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether an alarm leads to anybody (rule O3). A file is one more thing to look at, and tells nobody."""
    ways = routes(roster)
    names = (*ways.meant, *ways.others)
    files = {name: Path(roster.channels[name]["path"]) for name in names if roster.channels[name]["kind"] == "file"}
    for name in names:
        for variable in _unset(roster.channels[name], environment):
            told = f"it takes what it needs from {variable}, which is not set: nothing can be sent"
            yield Check(AREA, name, Level.WARNING, told, _SET)
    for name, path in files.items():
        if _is_below(path, state):
            told = f"its file {path} lies in the state directory: the disk that an alarm is about takes the alarm along"
            yield Check(
                AREA, name, Level.FAILED, told, f"give channels.{name} a `path` elsewhere, best on another disk"
            )
    if not names:
        told = "no channel leads to anybody: when beats stop, nobody is told"
        yield Check(AREA, "alarms", Level.WARNING, told, _ADD)
    elif len(files) == len(names):
        told = f"all that hears of an alarm is a file ({', '.join(files)}), which reaches nobody by itself"
        yield Check(AREA, "alarms", Level.WARNING, told, _ADD)
    else:
        meant = ", ".join(f"{name} ({roster.channels[name]['kind']})" for name in names if name not in files)
        yield Check(AREA, "alarms", Level.OK, f"told by {meant}")


_SET = "set it where the scheduler runs: a line in the environment file (docs/cron.md)"
_ADD = (
    "add a channel of another kind to `operator.notify` (docs/notify.md), and try it: `heartbeat notify test CHANNEL`"
)


def _unset(settings: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of variables that a channel's settings lead to and that are not there (rule R4)."""
    named = (str(value) for key, value in settings.items() if str(key).endswith("_env") and value)
    return tuple(name for name in named if not environment.get(name, "").strip())


def _pings(roster: Roster, environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether the addresses of the dead-man's switch are there where the roster takes them from (rule R4)."""
    settings = roster.extra.get("watchdog", {})
    for key in (WATCHDOG, BEATS):
        variable = settings.get(f"{key}_env")
        if variable and not environment.get(str(variable), "").strip():
            told = f"watchdog.{key}_env names {variable}, which is not set: nothing is pinged"
            yield Check(AREA, "ping", Level.WARNING, told, _SET)


def _watchdog(roster: Roster, state: Path, scheduled: Scheduled, watching: Watching, now: datetime) -> Iterator[Check]:
    age = None if watching.looked_at is None else max(now - watching.looked_at, timedelta(0))
    if age is not None and age <= WATCHED_WITHIN and watching.state == str(state):
        yield from _alone(roster, scheduled, f"looked {format_duration(age)} ago")
    elif scheduled.watchdog:
        yield from _alone(roster, scheduled, f"on schedule: {', '.join(scheduled.watchdog)}")
    elif scheduled.unknown:
        told = f"whether one is on schedule is not known: {'; '.join(scheduled.unknown)}"
        yield Check(AREA, "watchdog", Level.NOTE, told, "`heartbeat cron show` asks again")
    elif scheduled.beats:
        told = f"none is on schedule beside the beats ({', '.join(scheduled.beats)}): when they stop, nobody is told"
        yield Check(AREA, "watchdog", Level.WARNING, told, "`heartbeat cron install --watchdog` adds one")
    else:
        told = "neither beats nor a watchdog are on schedule on this machine: when beats stop, nobody here tells"
        yield Check(AREA, "watchdog", Level.WARNING, told, "`heartbeat cron install` puts both on schedule")


def _alone(roster: Roster, scheduled: Scheduled, told: str) -> Iterator[Check]:
    """A watchdog that is there. What ends together with the beats cannot tell that they ended."""
    pinged = any(
        roster.extra.get("watchdog", {}).get(f"{key}{suffix}") for key in (WATCHDOG, BEATS) for suffix in _KEYS
    )
    if scheduled.watchdog and set(scheduled.watchdog) == set(scheduled.beats) and not pinged:
        shared = (
            f"{told}; it ends together with the beats, by the same scheduler and machine, and nothing else rings then"
        )
        advice = (
            "a ping to a service elsewhere (docs/watchdog.md, dead-man's switch), or another scheduler for one of both"
        )
        yield Check(AREA, "watchdog", Level.NOTE, shared, advice)
    else:
        yield Check(AREA, "watchdog", Level.OK, told)


_KEYS = ("", "_env")


def _is_below(path: Path, directory: Path) -> bool:
    """Also by a link on the way there, as far as it can be followed."""
    real = [Path(os.path.realpath(each)) for each in (path, directory)]
    return real[0].is_relative_to(real[1])
