"""What a case of the scratches' suite says: how a Gateway with monitors is reached, watched and disturbed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.render import render_agent, render_blocks
from heartbeat.roster.model import Roster
from heartbeat.sinks.scratch import ScratchResult
from heartbeat.sinks.visit import ScratchWritten, Visit, visit
from tests.support.rosters import make_agent, make_roster

POLLED = ("coo", "architect")
"""Whose monitor is on, every six hours."""
SWITCHED_OFF = "secretary"
"""Whose heartbeat is `0m`: there is a monitor, and it is off."""
UNMONITORED = "designer"
"""Who has no `heartbeat` block: there is no monitor."""
AGENTS = (*POLLED, SWITCHED_OFF, UNMONITORED)

Json = dict[str, Any]


class ScratchCase(ABC):
    """One Gateway over one transport, with the monitors above and nothing in their scratches. `folder` is a directory
    for state."""

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
    def call(self, method: str, **parameters: Any) -> Any:
        """The payload of a request that somebody else sends, as an administrator."""

    @abstractmethod
    def before_next_write(self, happens: Callable[[], None]) -> None:
        """What somebody else does just before our next write is carried out. Once."""

    @abstractmethod
    def lose_next_answer(self) -> None:
        """The connection is lost after our next write, before its answer."""

    @property
    @abstractmethod
    def writes(self) -> int:
        """How many writes of ours the Gateway was asked for so far."""

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def roster(self, **policy: Any) -> Roster:
        """All agents; a policy that differs renders another text."""
        agents = (make_agent(agent, **policy) for agent in AGENTS)
        return make_roster(
            *agents, path=self.folder / "agents.yaml", sources={"workboard": {"transport": self.transport}}
        )

    def text(self, agent: str, **policy: Any) -> str:
        """What the roster gives."""
        roster = self.roster(**policy)
        return render_agent(roster, roster.agents[agent])

    @contextmanager
    def visit(self, *agents: str, force: bool = False, **policy: Any) -> Iterator[Visit]:
        roster = self.roster(**policy)
        blocks = render_blocks(roster, roster.chosen(agents))
        settings, patience = roster.sources["workboard"], Deadline.after(120)
        with visit(agents, blocks, settings, self.environment, patience, force=force) as seen:
            yield seen

    def plan(self, agent: str, *, force: bool = False, **policy: Any) -> ScratchResult:
        with self.visit(agent, force=force, **policy) as seen:
            return seen.results[0]

    def render(self, agent: str, *, force: bool = False, **policy: Any) -> ScratchWritten:
        """Looks and writes; raises CannotWriteError."""
        with self.visit(agent, force=force, **policy) as seen:
            return seen.write(seen.results[0], self.state, force=force)

    def monitor(self, agent: str) -> Json:
        jobs = self.call("cron.list", includeDisabled=True, limit=200)["jobs"]
        found: Json = next(job for job in jobs if job.get("declarationKey") == f"heartbeat:{agent}")
        return found

    def scratch(self, agent: str) -> Json:
        answer: Json = self.call("cron.scratch.get", id=self.monitor(agent)["id"])
        return answer

    def content(self, agent: str) -> str | None:
        scratch = self.scratch(agent)["scratch"]
        return None if scratch is None else str(scratch["content"])

    def revision(self, agent: str) -> int:
        return int(self.scratch(agent)["currentRevision"])

    def put(self, agent: str, content: str | None) -> None:
        """Somebody else writes the scratch, whatever is in it."""
        assert self.call("cron.scratch.set", id=self.monitor(agent)["id"], content=content)["ok"]


OpenScratchCase = Callable[[Path], AbstractContextManager[ScratchCase]]
"""Sets one up in a directory of its own and takes it down again."""
