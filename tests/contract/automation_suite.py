"""What a case of the automations' suite says: how a Gateway with a scheduler is reached, watched and disturbed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.install.base import Applied, Change, Order, Style, changes
from heartbeat.install.openclaw import OpenclawTarget
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent, make_roster

AGENTS = ("coo", "architect", "secretary")
"""Whom every case's OpenClaw has. It has nobody called `nobody`."""
ROSTER = "agents.yaml"
OTHER_ROSTER = "others.yaml"
"""Files in the case's folder; nobody reads them."""

Json = dict[str, Any]


class AutomationCase(ABC):
    """One Gateway over one transport. It starts without automations but the system's. `folder` is a directory that is
    there for the roster, in which the commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What a client needs to find this Gateway."""

    @property
    @abstractmethod
    def transport(self) -> str: ...

    @abstractmethod
    def call(self, method: str, /, **parameters: Any) -> Any:
        """The payload of a request that somebody else sends, as an administrator."""

    @abstractmethod
    def scopes(self) -> set[tuple[str, ...]]:
        """The scopes that clients have asked for since the last look."""

    def team(self, *agents: Agent, name: str = ROSTER) -> Roster:
        """A roster for this Gateway: of all agents where none is given."""
        members = agents or tuple(map(member, AGENTS))
        sources = {"workboard": {"transport": self.transport}}
        return make_roster(*members, path=self.folder / name, state=self.folder / "state", sources=sources)

    def target(self, roster: Roster) -> OpenclawTarget:
        return OpenclawTarget(roster, self.environment)

    def planned(
        self, roster: Roster, *agents: str, style: Style = Style.EACH
    ) -> tuple[OpenclawTarget, tuple[Change, ...]]:
        """What an installation would change, and the target that has looked."""
        order = order_of(roster, *agents, style=style)
        target = self.target(roster)
        installed = target.installed(order.launch)
        return target, changes(installed, target.wanted(order, installed))

    def install(self, roster: Roster, *agents: str, style: Style = Style.EACH) -> tuple[Applied, ...]:
        target, planned = self.planned(roster, *agents, style=style)
        return target.apply(planned)

    def remove(self, roster: Roster, *agents: str) -> tuple[Applied, ...]:
        order, target = order_of(roster, *agents), self.target(roster)
        installed = target.installed(order.launch)
        return target.apply(changes(installed, target.without(order, installed)))

    def jobs(self) -> dict[str, Json]:
        """Everything that is not the system's, by declaration key (and agent, for the second one of a key)."""
        listed = self.call("cron.list", includeDisabled=True, limit=200)["jobs"]
        own = [job for job in listed if not str(job.get("declarationKey")).startswith(("heartbeat:", "skill-"))]
        return {str(job.get("declarationKey")): job for job in own}

    def job(self, agent: str) -> Json:
        return self.jobs()[f"hb:{agent}"]

    def edit(self, agent: str, **patch: Any) -> Json:
        """Somebody edits an agent's automation."""
        edited: Json = self.call("cron.update", id=self.job(agent)["id"], patch=patch)
        return edited

    def put(self, key: str, agent: str = "coo", **fields: Any) -> Json:
        """Somebody makes an automation by hand."""
        payload = {"kind": "command", "argv": ["/bin/true"], "timeoutSeconds": 60}
        schedule = {"kind": "cron", "expr": "5 4 * * *", "tz": "UTC", "staggerMs": 0}
        made = {"agentId": agent, "schedule": schedule, "payload": payload, "enabled": True}
        rest = {"sessionTarget": "isolated", "wakeMode": "now", "delivery": {"mode": "none"}}
        given = {"name": "by hand", **fields}
        added: Json = self.call("cron.add", declarationKey=key, **made, **rest, **given)["job"]
        return added


def member(agent: str, every: timedelta = timedelta(hours=6)) -> Agent:
    """An agent that beats so seldom that no test meets a beat."""
    return make_agent(agent, every=every, anchor=timedelta(minutes=7))


def order_of(roster: Roster, *agents: str, style: Style = Style.EACH, **fields: Any) -> Order:
    launch = Launch(("/bin/true",), roster.path, roster.path.parent / "state", "/opt/openclaw/bin:/usr/bin:/bin")
    return Order(roster, launch, style, agents, **fields)


OpenAutomationCase = Callable[[Path], AbstractContextManager[AutomationCase]]
"""Sets one up in a directory of its own and takes it down again."""
