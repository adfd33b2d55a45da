"""Small simulations for tests: a roster of a few agents, one scenario, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.policy import Recovery
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.simulate.run import Result, run
from heartbeat.simulate.scenario import Deed, Happening, Scenario, TaskPlan
from heartbeat.simulate.world import Kind, Moment
from tests.support.rosters import make_agent, make_roster

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ALL_SOURCES = ("workboard", "multica", "todo")
OPS = {"ops": {"kind": "file", "path": "/nowhere/ops.log", "min_level": "info"}}


def uuid_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-00000000000a"


def agents(*names: str, **changes: Any) -> tuple[Agent, ...]:
    """A coo, and high-frequency agents of these names, each with a Multica id."""
    coo = make_agent("coo", "high_frequency", patrol=True, notify=("self",), multica_id=uuid_of(1))
    rest = (
        make_agent(name, "high_frequency", **{"notify": ("coo",), "multica_id": uuid_of(number), **changes})
        for number, name in enumerate(names, start=2)
    )
    return (coo, *rest)


def roster(*team: Agent, sources: Iterable[str] = ALL_SOURCES, **changes: Any) -> Roster:
    fields: dict[str, Any] = {
        "timezone": "UTC",
        "operator": Operator("Vincent", ("ops",)),
        "sources": {name: {} for name in sources},
        "channels": OPS,
        **changes,
    }
    return make_roster(*(team or agents("writer")), **fields)


def play(
    folder: Path,
    *tasks: TaskPlan,
    events: Iterable[Happening] = (),
    days: float = 1.0,
    seed: int = 0,
    team: Roster | None = None,
    **changes: Any,
) -> Result:
    """One simulation, by default with `recovery: act`."""
    fields: dict[str, Any] = {"recovery": Recovery.ACT, **changes}
    scenario = Scenario("a test", tasks, happenings=tuple(events), days=days, **fields)
    return run(scenario, team or roster(), folder, seed=seed)


def outage(source: str, at: timedelta, lasts: timedelta, kind: str = "unreachable") -> Happening:
    return Happening(at, Deed.OUTAGE, source=source, kind=kind, lasts=lasts)


def told(result: Result, *kinds: Kind, task: str | None = None) -> list[Moment]:
    """What the timeline tells, of these kinds and of one task."""
    return [
        moment
        for moment in result.timeline
        if (not kinds or moment.kind in kinds) and (task is None or moment.task == task)
    ]


def after_start(result: Result, moment: Moment) -> timedelta:
    return moment.at - result.started
