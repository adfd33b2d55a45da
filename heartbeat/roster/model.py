"""The roster as the rest of the program sees it: frozen, checked, every default filled in (rules R1 to R4).

Durations are timedeltas, paths are absolute, secrets are names of environment variables and never values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from heartbeat.errors import UsageError
from heartbeat.policy import QUIET_AFTER_TALK, Charter, Escalation, Member, ParentRule, Policy


@dataclass(frozen=True, slots=True)
class Operator:
    """The person in charge."""

    name: str = ""
    notify: tuple[str, ...] = ()
    """Names of channels."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One member of the team."""

    id: str
    name: str
    class_id: str
    class_label: str
    policy: Policy
    workspace: Path | None = None
    multica_id: str | None = None
    patrol: bool = False
    checks: tuple[str, ...] = ()
    backup: str | None = None
    template: Path | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """The whole of agents.yaml. `sources` holds each source's settings as checked plain data, paths made absolute."""

    path: Path
    timezone: str
    operator: Operator
    agents: Mapping[str, Agent]
    sources: Mapping[str, Mapping[str, Any]]
    parent_rule: ParentRule = ParentRule.STARTED
    state: Path | None = None
    template: Path | None = None
    escalation: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Checked settings of features that read them elsewhere: providers, budget, watchdog, retention and the like."""

    @property
    def shortest_every(self) -> timedelta:
        """The shortest `every` of all agents: the rhythm of the shared snapshot (rule S5)."""
        return min((agent.policy.every for agent in self.agents.values()), default=timedelta(minutes=10))

    @property
    def quiet_after_talk(self) -> timedelta:
        """How long a person's last word keeps heartbeat from an agent (rule B4)."""
        configured = self.extra.get("quiet_after_talk")
        return configured if isinstance(configured, timedelta) else QUIET_AFTER_TALK

    def by_multica_id(self) -> dict[str, str]:
        """Multica agent UUID (lower case) to agent id."""
        return {agent.multica_id.lower(): agent.id for agent in self.agents.values() if agent.multica_id}

    def chosen(self, names: Sequence[str]) -> tuple[Agent, ...]:
        """Agents by id, in the order asked; raises UsageError naming the ones that the roster does not have."""
        unknown = [name for name in names if name not in self.agents]
        if unknown:
            raise UsageError(
                f"{self.path}: no agent called {', '.join(repr(name) for name in unknown)}",
                advice=f"agents in this roster: {', '.join(self.agents)}",
            )
        return tuple(self.agents[name] for name in names)

    def charter(self) -> Charter:
        """What the rules need of all this."""
        rules = self.escalation
        return Charter(
            members={
                agent.id: Member(agent.id, agent.policy, agent.patrol, agent.backup, rhythm_of(agent.policy))
                for agent in self.agents.values()
            },
            escalation=Escalation(
                first=str(rules.get("first", "notify")),
                window=rules.get("window", timedelta(hours=24)),
                storm=int(rules.get("storm", 3)),
                recovery_status=str(self.extra.get("recovery_status", "blocked")),
            ),
            operator=self.operator.name,
            create_cards=bool(self.sources.get("todo", {}).get("create_cards", False)),
            quiet_after_talk=self.quiet_after_talk,
        )


def rhythm_of(policy: Policy) -> timedelta:
    """The longest time from one slot to the next: `every`, or what the cron expression in its place leaves (rule B2).

    With cron it is the usual gap between two slots, so that an agent that rests at night or over the weekend is not
    taken for one that looks every three days: its nights are time that nobody watched (rule T6).
    """
    return policy.every if policy.cron is None else _usual_gap(policy.cron)


_WEEK = (datetime(2026, 1, 5), datetime(2026, 1, 12))  # noqa: DTZ001 - the face of a clock, wherever it hangs
"""From a Monday to the next: any week serves."""

_DAY = timedelta(days=1)


@lru_cache(maxsize=256)
def _usual_gap(cron: str) -> timedelta:
    """The median of the gaps that touch one week (the longer of two), on the clock face: no zone is asked, and a change
    of the clock counts for nothing. An expression that does not come within the week (monthly, yearly) has the gap that
    the week lies in.

    The days that it names are walked apart from the times of day, which are the same on each of them.
    """
    minute, hour, *days_of = cron.split()
    begin, end = _WEEK
    times = [each for each in _around(f"{minute} {hour} * * *", begin, begin + _DAY) if begin <= each < begin + _DAY]
    days = _around(" ".join(("0 0", *days_of)), begin, end)
    overnight = times[0] - times[-1]
    within = [later - earlier for earlier, later in pairwise(times)]
    between = [later - earlier + overnight for earlier, later in pairwise(days)]
    gaps = sorted((*within * len(between), *between))
    return gaps[len(gaps) // 2]


def _around(cron: str, begin: datetime, end: datetime) -> list[datetime]:
    """From the last slot that is not after `begin` to the first that is not before `end`."""
    from croniter import croniter

    walk = croniter(cron, begin + timedelta(microseconds=1))
    slots: list[datetime] = [walk.get_prev(datetime)]
    while slots[-1] < end:
        slots.append(walk.get_next(datetime))
    return slots
