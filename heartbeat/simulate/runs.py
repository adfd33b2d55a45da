"""Multica's runs as turns: heartbeat's own way to begin them, over a virtual workspace, and the scripted agents that
work in them (rule X1, contract 3).

A run of an agent that heartbeat starts so is a turn of its model, whoever began it; a run of any other agent is only
Multica's way to wake it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.provider import MULTICA_NATIVE
from heartbeat.simulate.agents import ScriptedAgent
from heartbeat.simulate.faults import ABSENT, PARTIAL, failure
from heartbeat.simulate.issues import Course, VirtualMultica
from heartbeat.simulate.jobs import Job
from heartbeat.simulate.scenario import Condition, Scenario
from heartbeat.simulate.turns import COMPLAINTS
from heartbeat.simulate.world import HEARTBEAT, Kind, Starter, World
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.http_error import HttpError
from heartbeat.systems.multica.access import IssueGoneError
from heartbeat.systems.multica.issues import SOURCE
from heartbeat.task import Ref

_IDLE = timedelta(minutes=30)
"""A run from which nothing is heard for so long is ended by the agent's machine; it has no other limit (contract 3)."""

_REASONS: Mapping[Condition, str] = {Condition.UNAUTHORIZED: "agent_error.provider_auth_or_access"}
"""Multica's own word for why a run failed, where it has one that says more than the text."""

Record = Mapping[str, Any]


@dataclass(slots=True)
class VirtualRuns:
    """Implements the Channel and the Access of heartbeat's way to Multica's runs, and Worker. `driven` are the agents
    that heartbeat starts so; their providers are whatever Multica chooses, called `multica-native`, or `all`."""

    world: World
    multica: VirtualMultica
    scenario: Scenario
    agents: Mapping[str, ScriptedAgent]
    jobs: Mapping[Ref, Job]
    driven: Collection[str]
    name: str = "simulated"
    overlaps: list[str] = field(default_factory=list)
    """Agents and issues for which heartbeat began a run while another went on, which must never be (rule X5)."""

    # What goes on.

    @property
    def somebody_answers(self) -> bool:
        """Whether a run that begins now would lead anywhere."""
        return not self._is_away() and self._condition() is Condition.OK

    def of(self, agent: str) -> bool:
        """Whether a run of an agent goes on."""
        return any(self.multica.agent_of(run) == agent for run in self.multica.runs())

    def on(self, job: Job) -> bool:
        """Whether a run on a task goes on."""
        return any(Ref(SOURCE, run["issue_id"]) in job.refs for run in self.multica.runs())

    # Worker.

    def begin(self, agent: str, issue: str) -> Course | None:
        """A run of an agent begins: what becomes of it. None for whoever is not started in this way."""
        if agent not in self.driven:
            return None
        condition, job = self._condition(), self.jobs.get(Ref(SOURCE, issue))
        works = condition is Condition.OK
        starter = Starter.HEARTBEAT if self.world.actor == HEARTBEAT else Starter.OTHERS
        with self.world.acting(agent):
            wanted = self.agents[agent].attend(job, able=works)
        self.world.count_turn(starter, idle=works and job is None)
        complaint = COMPLAINTS.get(condition)
        if complaint is None:
            return Course(wanted)
        told = complaint.text.format(model=MULTICA_NATIVE)
        return Course(min(complaint.after, _IDLE), told, _REASONS.get(condition, ""))

    def end(self, agent: str, issue: str) -> None:
        """It ended, and a model had answered in it."""
        job = self.jobs.get(Ref(SOURCE, issue))
        if job is not None:
            with self.world.acting(agent):
                self.agents[agent].depart(job)

    # Channel.

    def absent(self) -> str | None:
        return "nothing of it is to be found" if self.world.down.get(SOURCE) == ABSENT else None

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[VirtualRuns]:
        if self._is_away():
            raise failure(SOURCE, self.world.down[SOURCE])
        yield self

    # Access.

    def issue(self, identity: str) -> Record:
        try:
            return copy.deepcopy(self.multica.issue(identity))
        except IssueGoneError as error:
            raise _gone() from error

    def runs(self, identity: str) -> list[Record]:
        self.issue(identity)
        return [*copy.deepcopy(self.multica.runs_of(identity))]

    def leader(self, squad: str) -> str | None:
        return None

    def at_work(self, agent: str) -> str:
        busy = next((run for run in self.multica.runs() if run["agent_id"] == agent), None)
        return f"run {busy['id']} is {busy['status']}" if busy is not None else ""

    def leave_backlog(self, identity: str, status: str) -> None:
        self._note_overlaps(identity)
        with self.world.acting(HEARTBEAT):
            self.multica.change(identity, {"status": status}, quiet=False)

    def rerun(self, identity: str) -> Record:
        self._note_overlaps(identity)
        with self.world.acting(HEARTBEAT):
            return copy.deepcopy(self.multica.rerun(identity))

    def cancel(self, run: str) -> Record:
        found = self.multica.cancel(run)
        if found is None:
            raise HttpError(FailureKind.NOT_FOUND, "task not found", status=404, body={"error": "task not found"})
        return copy.deepcopy(found)

    # Within

    def _condition(self) -> Condition:
        return self.scenario.condition_of(MULTICA_NATIVE, self.world.now - self.scenario.start)

    def _is_away(self) -> bool:
        return self.world.down.get(SOURCE, PARTIAL) != PARTIAL

    def _note_overlaps(self, identity: str) -> None:
        owner = str(self.multica.issue(identity)["assignee_id"])
        for run in self.multica.runs():
            if run["issue_id"] == identity or run["agent_id"] == owner:
                agent = self.multica.agent_of(run)
                self.overlaps.append(agent)
                self.world.tell(Kind.FAULT, f"has two runs at once: {agent}", task=agent)


def _gone() -> TransportError:
    return HttpError(FailureKind.NOT_FOUND, "issue not found", status=404, body={"error": "issue not found"})
