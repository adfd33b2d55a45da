"""An engine over the virtual clock: it takes turns as OpenClaw does, its providers are as the scenario says they are,
and in a turn that a model answers the scripted agent works (rules X2, X6, F3).

The turns of the usual scheme, which nobody but the clock starts, are taken and counted by the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.provider import Failover
from heartbeat.rules.failures import read_failure
from heartbeat.simulate.agents import ScriptedAgent
from heartbeat.simulate.board import VirtualBoard
from heartbeat.simulate.faults import PARTIAL, failure
from heartbeat.simulate.jobs import Job
from heartbeat.simulate.scenario import Condition, Scenario
from heartbeat.simulate.world import Kind, Starter, World
from heartbeat.task import Ref

_BOARD = "workboard"
"""The source that is the Gateway, too: while it is out of order nobody takes a turn."""

_RUN = timedelta(hours=48)
"""How long a turn may last that nobody gave a deadline: OpenClaw's own limit."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """How a bad turn ends: after how long at most, and with which words of OpenClaw's (contract 6.3)."""

    after: timedelta
    text: str
    timed_out: bool = False


COMPLAINTS: Mapping[Condition, Complaint] = {
    Condition.DOWN: Complaint(
        timedelta(seconds=83),
        "{model} request failed (provider internal error, HTTP 500). This is usually temporary — try again shortly.",
    ),
    Condition.UNAUTHORIZED: Complaint(
        timedelta(seconds=1),
        "Authentication failed (provider returned HTTP 401). Re-authenticate this provider.",
    ),
    Condition.LIMITED: Complaint(
        timedelta(seconds=143), "Rate limit reached for requests (HTTP 429); Retry-After: 30 seconds"
    ),
    Condition.HANGING: Complaint(timedelta.max, "Request timed out before a response was generated.", timed_out=True),
}
_TOO_LONG = Complaint(timedelta.max, "Request timed out: the turn was longer than it may be.", timed_out=True)


@dataclass(slots=True)
class Turn:
    """One turn that was taken. `ended` is how it ended, None as long as it goes on."""

    id: str
    agent: str
    job: Job | None
    session: str
    began: datetime
    until: datetime
    works: bool
    """Whether a model answers in it."""
    ends: Sighting
    ended: Sighting | None = None


@dataclass(slots=True)
class VirtualTurns:
    """Fulfils Spawner, for all agents of a team."""

    world: World
    board: VirtualBoard
    scenario: Scenario
    failover: Failover
    agents: Mapping[str, ScriptedAgent]
    jobs: Mapping[Ref, Job]
    turns: dict[str, Turn] = field(default_factory=dict)
    running: dict[str, Turn] = field(default_factory=dict)
    """By its id."""
    overlaps: list[str] = field(default_factory=list)
    """Agents and tasks that had two turns at once, which must never be (rule X5)."""

    @property
    def engine(self) -> Engine:
        return Engine.OPENCLAW

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        attempt = order.attempt
        if self._is_away():
            told = failure(_BOARD, self.world.down[_BOARD])
            raise StartError(Failure(Cause.ENGINE, f"the Gateway cannot be asked: {told}", Outcome.SPAWN_FAILED))
        if attempt.id not in self.turns:
            job = next((self.jobs[ref] for ref in attempt.refs if ref in self.jobs), None)
            model = order.model or attempt.provider
            condition = self.condition_of(attempt.provider)
            run = timedelta(seconds=order.run_seconds)
            self._begin(attempt.id, attempt.agent, job, attempt.session, condition, model, run, Starter.HEARTBEAT)
        return Accepted(run=attempt.id, session=f"agent:{attempt.agent}:{attempt.session}")

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        if self._is_away():
            raise failure(_BOARD, self.world.down[_BOARD])
        turn = self.turns.get(attempt.id)
        if turn is None:
            return Sighting(Going.UNKNOWN)
        return turn.ended or Sighting(Going.RUNNING)

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        if self._is_away():
            raise failure(_BOARD, self.world.down[_BOARD])
        turn = self.running.get(attempt.id)
        if turn is not None:
            stopped = Failure(Cause.NONE, "stopped by heartbeat", Outcome.ABORTED)
            turn.works = False
            self._end(turn, Sighting(Going.ENDED, Outcome.ABORTED, stopped))
        return True

    def forget(self, attempt: Attempt) -> None:
        """Nothing is kept but what the engine itself knows."""

    def of(self, agent: str) -> Turn | None:
        """The agent's turn that goes on, if one does."""
        return next((turn for turn in self.running.values() if turn.agent == agent), None)

    def on(self, job: Job) -> bool:
        """Whether a turn on a task goes on."""
        return any(turn.job is job for turn in self.running.values())

    def condition_of(self, provider: str) -> Condition:
        """How a provider is now."""
        return self.scenario.condition_of(provider, self.world.now - self.scenario.start)

    @property
    def somebody_answers(self) -> bool:
        """Whether any provider that may be asked is in order, and so is the engine."""
        return not self._is_away() and any(
            self.condition_of(each.name) is Condition.OK for each in self.failover.enabled
        )

    def take_scheduled(self, agent: str, choose: Callable[[], Job | None]) -> bool:
        """A turn by the clock alone: on what the agent has in hand, else on what it finds, else on nothing.

        False where the turn before goes on, which a schedule waits for. OpenClaw asks one provider after the other.
        """
        if self.of(agent) is not None:
            return False
        conditions = [self.condition_of(each.name) for each in self.failover.enabled]
        condition = next((each for each in conditions if each is Condition.OK), conditions[0])
        job = self.agents[agent].in_hand()
        if job is None and condition is Condition.OK:
            job = choose()
        name = f"scheduled-{len(self.turns) + 1}"
        model = self.failover.enabled[0].name
        self._begin(name, agent, job, "cron", condition, model, _RUN, Starter.SCHEDULE)
        return True

    def _begin(
        self,
        name: str,
        agent: str,
        job: Job | None,
        session: str,
        condition: Condition,
        model: str,
        run: timedelta,
        starter: Starter,
    ) -> None:
        scripted, now = self.agents[agent], self.world.now
        self._note_overlaps(agent, job)
        works = condition is Condition.OK
        with self.world.acting(agent):
            wanted = scripted.attend(job, able=works)
        complaint = COMPLAINTS.get(condition)
        if complaint is None and wanted > run:
            complaint = _TOO_LONG
        until = now + min(run, wanted if complaint is None else complaint.after)
        turn = Turn(name, agent, job, session, now, until, works, _ending(complaint, model))
        self.turns[name] = self.running[name] = turn
        if scripted.plan.shows_turns:
            self.board.turn(agent, until, session)
        self.world.count_turn(starter, idle=works and job is None)
        self.world.plan(until, lambda: self._end(turn, turn.ends))

    def _end(self, turn: Turn, sighting: Sighting) -> None:
        if turn.ended is not None:
            return
        turn.ended = sighting
        del self.running[turn.id]
        self.board.end_turn(turn.agent, turn.session)
        if turn.job is not None and turn.works:
            with self.world.acting(turn.agent):
                self.agents[turn.agent].depart(turn.job)

    def _note_overlaps(self, agent: str, job: Job | None) -> None:
        for other in self.running.values():
            if other.agent == agent:
                self._overlap(agent, f"has two turns at once: {agent}")
            if job is not None and other.job is job:
                self._overlap(job.name, "has two turns at once")

    def _overlap(self, whose: str, told: str) -> None:
        self.overlaps.append(whose)
        self.world.tell(Kind.FAULT, told, task=whose)

    def _is_away(self) -> bool:
        return self.world.down.get(_BOARD, PARTIAL) != PARTIAL


def _ending(complaint: Complaint | None, model: str) -> Sighting:
    if complaint is None:
        return Sighting(Going.ENDED, Outcome.COMPLETED, model=model, exit_code=0)
    told = read_failure(complaint.text.format(model=model), timed_out=complaint.timed_out)
    return Sighting(Going.ENDED, told.outcome, told, model)
