"""The scenario that is played where none is named: an ordinary week of the user's own team.

Every agent gets the same few tasks, one after the other: one goes well, one falls silent, one goes round in circles,
one Multica issue gets stuck, one is a long quiet turn. The agents begin some minutes apart, so that what happens to one
does not happen to all at once. There is an hour without WorkBoard on the first day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import ceil

from heartbeat.roster.model import Agent, Roster
from heartbeat.simulate.scenario import (
    HOUR,
    MINUTE,
    Behaviour,
    Deed,
    Happening,
    Scenario,
    TaskPlan,
)
from heartbeat.simulate.scenario_file import ORIGINS

NAME = "an ordinary week"
DAYS = 7.0

_DAY = 24 * HOUR
_APART = 25 * MINUTE
_SPREAD = 12 * HOUR
"""However many the agents are, they all begin within this time."""
_OUTAGE = 10 * HOUR
_UNTIL_UNBLOCKED = 5 * HOUR


def ordinary_week(roster: Roster, days: float | None = None) -> Scenario:
    """The scenario for a roster, for so many days."""
    lasting = DAYS if days is None else days
    sources = [origin for origin in ORIGINS if origin in roster.sources]
    tasks: list[TaskPlan] = []
    happenings: list[Happening] = []
    apart = min(_APART, _SPREAD / max(1, len(roster.agents)))
    for number, agent in enumerate(roster.agents.values()):
        for task in _tasks(agent, number, number * apart, sources, ceil(lasting)):
            tasks.append(task)
            if task.origins == ("multica",) and task.behaviour is Behaviour.SILENT:
                happenings.append(Happening(task.appears + _UNTIL_UNBLOCKED, Deed.UNBLOCK, task=task.name))
    if "workboard" in sources:
        happenings.append(Happening(_OUTAGE, Deed.OUTAGE, source="workboard", lasts=HOUR))
    return Scenario(NAME, tuple(tasks), happenings=tuple(happenings), days=lasting)


def _tasks(agent: Agent, number: int, begin: timedelta, sources: list[str], days: int) -> Iterator[TaskPlan]:
    """The first day in full; later a good task every day, and every third day one that falls silent."""
    usable = [source for source in sources if source != "multica" or agent.multica_id]
    if not usable:
        return
    best = usable[0]

    def task(name: str, title: str, after: timedelta, behaviour: Behaviour, origin: str = best) -> TaskPlan:
        takes = 3 * HOUR if behaviour is Behaviour.SLOW else 90 * MINUTE
        return TaskPlan(
            f"{agent.id}-{name}",
            f"{title}（{agent.id}）",
            agent.id,
            origins=(origin,),
            appears=begin + after,
            behaviour=behaviour,
            takes=takes,
        )

    yield task("good", "整理会议纪要", timedelta(0), Behaviour.DILIGENT)
    yield task("silent", "季度对账", 2 * HOUR, Behaviour.SILENT)
    yield task("looping", "排查偶发错误", 6 * HOUR, Behaviour.LOOPING)
    if "multica" in usable:
        yield task("issue", "合同审核", 12 * HOUR, Behaviour.SILENT, "multica")
    yield task("slow", "长篇调研", 19 * HOUR, Behaviour.SLOW)
    for day in range(1, days):
        origin = "todo" if "todo" in usable and day % 2 else best
        yield task(f"good-{day + 1}", f"第 {day + 1} 天例行工作", day * _DAY, Behaviour.DILIGENT, origin)
        if (day + number) % 3 == 0:
            after = day * _DAY + 6 * HOUR
            yield task(f"silent-{day + 1}", f"第 {day + 1} 天客户跟进", after, Behaviour.SILENT)
