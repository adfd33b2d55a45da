"""Small simulations for tests: a roster of a few agents, one scenario, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.policy import Recovery
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.simulate.run import Result, run
from heartbeat.simulate.scenario import Deed, Happening, Scenario, TaskPlan
from heartbeat.simulate.scheme import Scheme
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


def providers(*names: str, run: timedelta = 10 * MINUTE, **failover: Any) -> dict[str, Any]:
    """A roster's `extra` with these providers, in this order, and every place that there is for turns."""
    entries = tuple(
        {"name": name, "model": f"{name}/m", "priority": number, "max_retries": 1, "run_deadline": run}
        for number, name in enumerate(names, start=1)
    )
    return {
        "failover": {"strategy": "managed", **failover},
        "providers": entries,
        "limits": {"running": 100},
    }


def dispatched(*names: str, extra: Mapping[str, Any] | None = None, **changes: Any) -> Roster:
    """A team that heartbeat starts, with cards only and two providers."""
    team = roster(*agents(*names, dispatch="openclaw", **changes), sources=("workboard",))
    coo = team.agents["coo"]
    members = {**team.agents, "coo": replace(coo, policy=replace(coo.policy, dispatch="openclaw"))}
    return replace(team, agents=members, extra={**team.extra, **(extra or providers("first", "second"))})


def fifteen() -> Roster:
    """A team as large as the one that all this is for: five agents with a beat every 10 minutes, ten every 15."""
    quick = [f"quick-{number}" for number in range(1, 5)]
    rest = [
        make_agent(f"{of}-{number}", of, notify=("coo",), dispatch="openclaw")
        for of in ("developer", "business")
        for number in range(1, 6)
    ]
    team = dispatched(*quick)
    return replace(team, agents={**team.agents, **{agent.id: agent for agent in rest}})


def play(
    folder: Path,
    *tasks: TaskPlan,
    events: Iterable[Happening] = (),
    days: float = 1.0,
    seed: int = 0,
    team: Roster | None = None,
    scheme: Scheme = Scheme.BEATS,
    **changes: Any,
) -> Result:
    """One simulation, by default with `recovery: act`."""
    fields: dict[str, Any] = {"recovery": Recovery.ACT, **changes}
    scenario = Scenario("a test", tasks, happenings=tuple(events), days=days, **fields)
    return run(scenario, team or roster(), folder, seed=seed, scheme=scheme)


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
