"""The roster as the rest of the program sees it: frozen, checked, every default filled in (rules R1 to R4).

Durations are timedeltas, paths are absolute, secrets are names of environment variables and never values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.errors import UsageError
from heartbeat.policy import Charter, Escalation, Member, ParentRule, Policy


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
                agent.id: Member(agent.id, agent.policy, agent.patrol, agent.backup) for agent in self.agents.values()
            },
            escalation=Escalation(
                first=str(rules.get("first", "notify")),
                window=rules.get("window", timedelta(hours=24)),
                storm=int(rules.get("storm", 3)),
                recovery_status=str(self.extra.get("recovery_status", "blocked")),
            ),
            operator=self.operator.name,
            create_cards=bool(self.sources.get("todo", {}).get("create_cards", False)),
        )
