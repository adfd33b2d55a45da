"""A team whose beats start turns: real beats and a real store over a scripted world and a stand-in engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, Failure, Uptime
from heartbeat.dispatch.base import Spawner
from heartbeat.dispatch.hooks import run_hooks
from heartbeat.dispatch.round import Dispatched
from heartbeat.peers import Peers
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.port import Entry
from heartbeat.task import Item, Owner, OwnerKind, Presence, Ref, Status
from tests.support.engines import StandInSpawner
from tests.support.items import NOW
from tests.support.rosters import make_agent
from tests.support.scripted_source import item
from tests.support.team import Team

MANAGED: Mapping[str, Any] = {
    "failover": {"strategy": "managed", "open_after": 3},
    "providers": tuple(
        {
            "name": name,
            "model": f"{name}/m",
            "priority": number,
            "max_retries": 3,
            "timeout": timedelta(seconds=30),
            "run_deadline": timedelta(minutes=10),
            "enabled": True,
        }
        for number, name in enumerate(("first", "second", "third"), start=1)
    ),
}
"""Three providers, as a roster's `extra` holds them."""

REFUSED = Failure(Cause.COUNTS, "connect ECONNREFUSED")
"""What a provider's failure is that counts."""


def worker(name: str, **changes: Any) -> Agent:
    """An agent that heartbeat starts."""
    agent = make_agent(name, "high_frequency")
    return replace(agent, policy=replace(agent.policy, dispatch="openclaw", **changes))


def card(name: str, owner: str, status: Status = Status.TODO, **changes: Any) -> Item:
    """A card of an agent."""
    began = {"started_at": NOW} if status is Status.IN_PROGRESS else {}
    known = {"created_at": NOW - timedelta(days=1), "updated_at": NOW, "revision": "0", **began, **changes}
    title = known.pop("title", f"Work on {name}")
    return item(name, title, owner=Owner(OwnerKind.AGENT, owner), status=status, **known)


@dataclass(slots=True)
class DispatchTeam(Team):
    """`engine` stands for OpenClaw. Agents with a running turn show on the board as the real ones do."""

    engine: StandInSpawner = field(default_factory=StandInSpawner)
    pauses: list[float] = field(default_factory=list)
    boot: str = "the first boot"
    unlived: timedelta = timedelta(0)
    """What of the wall clock's way did not pass by the one that nobody sets."""

    @property
    def peers(self) -> Peers:
        def spawner(engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner:
            return self.engine

        return Peers(
            self.world.source,
            self.world.writer,
            self.open_channel,
            self.pauses.append,
            spawner=spawner,
            chance=lambda: 0.0,
            uptime=self.uptime,
        )

    def uptime(self) -> Uptime:
        """What the machine's other clock shows, that nobody sets."""
        return Uptime(self.boot, 1_000 + (self.now - NOW - self.unlived).total_seconds())

    def set_clock(self, by: timedelta) -> None:
        """Somebody sets the wall clock; a suspended machine's goes forward, too, in no time of its own."""
        self.now += by
        self.unlived += by

    def start_anew(self, down: timedelta, set_by: timedelta = timedelta(0)) -> None:
        """The machine is off for so long, and comes up again; its wall clock may be wrong then."""
        self.now += down + set_by
        self.boot, self.unlived = f"after {self.boot}", self.now - NOW + timedelta(seconds=970)

    def show_runs(self) -> None:
        """The board tells of the turns that go on, as the next look reads it."""
        board = self.world["workboard"]
        orders = [turn.order.attempt for turn in self.engine.turns if turn.dispatch in self.engine.running]
        board.presence = tuple(
            Presence(each.agent, True, self.now, f"agent:{each.agent}:{each.session}") for each in orders
        )

    def dispatched(self, agent: str) -> Dispatched:
        """The next beat of an agent, and what it did about starting it."""
        self.show_runs()
        done = self.beat(agent).round.dispatched[agent]
        self.run_hooks()
        return done

    def run_hooks(self) -> tuple[Entry, ...]:
        """What whoever beat does last."""
        return run_hooks(self.store, self.roster, {}, self.folder, clock=lambda: self.now)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.store.attempts()

    @property
    def letters(self) -> tuple[DeadLetter, ...]:
        return self.store.letters()

    def status(self, name: str) -> Status:
        return self.world["workboard"].items[Ref("workboard", name)].status

    def claimant(self, name: str) -> str:
        return self.world["workboard"].claimants.get(Ref("workboard", name), "")
