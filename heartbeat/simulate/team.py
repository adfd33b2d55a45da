"""Sets a scenario up: the systems, the agents, the tasks with their records, and the plan of what happens when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from heartbeat.action import Operation, Write
from heartbeat.attempt import Engine
from heartbeat.dispatch.claims import CLAIM, GIVE_BACK
from heartbeat.dispatch.multica import MulticaSpawner
from heartbeat.dispatch.providers import failover_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.simulate.agents import ScriptedAgent
from heartbeat.simulate.board import VirtualBoard
from heartbeat.simulate.cards import BoardTransport, BoardWays, CardPiece
from heartbeat.simulate.happenings import Stage
from heartbeat.simulate.issues import IssueChannel, IssuePiece, IssueTransport, VirtualMultica
from heartbeat.simulate.jobs import End, Job, Piece, Truth
from heartbeat.simulate.lines import LinePiece, VirtualLines
from heartbeat.simulate.peers import Landed, RememberingSource, SimulatedPeers, WatchedWriter
from heartbeat.simulate.recall import Recalling
from heartbeat.simulate.runs import VirtualRuns
from heartbeat.simulate.scenario import EVERY, Condition, Scenario, TaskPlan
from heartbeat.simulate.scheme import Scheme
from heartbeat.simulate.turns import VirtualTurns
from heartbeat.simulate.world import Kind, World
from heartbeat.store.port import Store
from heartbeat.systems.base import Source, TransportedSource
from heartbeat.systems.multica import issues as multica_issues
from heartbeat.systems.multica.writer import IssueWriter
from heartbeat.systems.openclaw import workboard
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.writer import BoardWriter
from heartbeat.systems.registry import BUILT_IN
from heartbeat.systems.writing import Writer
from heartbeat.task import Ref, Status

_TAKEN_FROM = frozenset({Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN})
"""Operations that end a worker's hold."""

_WORDS: Mapping[Operation, str] = {
    Operation.COMMENT: "comments",
    Operation.RECOVER: "takes it from its worker",
    Operation.BLOCK: "blocks it",
    Operation.UNBLOCK: "unblocks it",
    Operation.ASSIGN: "gives it to {agent}",
    Operation.CLAIM: "claims it for {agent}",
    Operation.MOVE: "moves it",
    Operation.DONE: "closes it",
    Operation.ATTACH: "attaches outputs to it",
    Operation.CREATE: "makes a card of it",
}

_CONDITIONS: Mapping[Condition, str] = {
    Condition.OK: "is in order",
    Condition.DOWN: "answers with HTTP 500 from now on",
    Condition.UNAUTHORIZED: "answers with HTTP 401 from now on",
    Condition.LIMITED: "answers with HTTP 429 from now on",
    Condition.HANGING: "does not answer from now on",
}

_BUDGET = "rounds:"
"""How the key of a write begins that is made for the rounds used (rule C2)."""


@dataclass(slots=True)
class SimulatedTeam:
    """A scenario at work. `roster` is the user's, with the simulated sources only."""

    roster: Roster
    scenario: Scenario
    world: World
    folder: Path
    store: Store
    scheme: Scheme = Scheme.BEATS
    jobs: dict[str, Job] = field(default_factory=dict)
    by_ref: dict[Ref, Job] = field(default_factory=dict)
    agents: dict[str, ScriptedAgent] = field(default_factory=dict)
    effects: list[tuple[Operation, str]] = field(default_factory=list)
    """Every write of ours that took effect, as (operation, source)."""
    wrongly_taken: list[str] = field(default_factory=list)
    """Tasks that we took from somebody who worked on them; not those that had used up their rounds."""
    board: VirtualBoard = field(init=False)
    multica: VirtualMultica = field(init=False)
    lines: VirtualLines = field(init=False)
    turns: VirtualTurns = field(init=False)
    runs: VirtualRuns = field(init=False)
    peers: SimulatedPeers = field(init=False)

    def __post_init__(self) -> None:
        world, scenario = self.world, self.scenario
        self.board = VirtualBoard(world)
        self.multica = VirtualMultica(
            world, self.roster.by_multica_id(), revisions=scenario.revisions, run=scenario.run
        )
        with_lines = (task.owner for task in scenario.tasks if "todo" in task.origins)
        self.lines = VirtualLines(world, self.folder / "workspaces", self.roster, with_lines)
        for name in self.roster.agents:
            plan, chance = scenario.plan_of(name), world.chance(name)
            driven = self.scheme is Scheme.TURNS or self.engine_of(name) is not None
            self.agents[name] = ScriptedAgent(name, plan, world, self.board, self.by_ref, chance, driven=driven)
        failover = failover_of(self.roster, {})
        self.turns = VirtualTurns(world, self.board, scenario, failover, self.agents, self.by_ref)
        in_runs = [name for name in self.roster.agents if self.engine_of(name) is Engine.MULTICA]
        beats = self.scheme is Scheme.BEATS
        self.runs = VirtualRuns(world, self.multica, scenario, self.agents, self.by_ref, in_runs if beats else ())
        self.multica.worker = self.runs
        self._plan_everything()
        self.peers = self._peers(self._landed)

    def settle(self) -> None:
        """What runs that have ended mean for who works on what."""
        for issue, agent in self.multica.worked_on:
            job = self.by_ref.get(Ref(multica_issues.SOURCE, issue))
            if job is not None and agent in self.agents:
                self.agents[agent].run(job)
        self.multica.worked_on.clear()

    def clear_away(self, until: datetime) -> None:
        """What was done before an instant is deleted, as people do, so that lists do not grow for ever."""
        for job in self.jobs.values():
            if not job.cleared and job.done_at is not None and job.done_at < until:
                for piece in job.pieces:
                    piece.clear_away()
                job.cleared = True

    def engine_of(self, agent: str) -> Engine | None:
        """By which engine heartbeat starts the agent's turns; None where it starts none."""
        dispatch = self.roster.agents[agent].policy.dispatch
        return Engine(dispatch) if dispatch in set(Engine) else None

    def may_be_started(self, agent: str) -> bool:
        """Whether a turn of the agent could be begun now, and would lead somewhere: none goes on, somebody answers."""
        if self.engine_of(agent) is Engine.MULTICA:
            return self.runs.somebody_answers and not self.runs.of(agent)
        return self.turns.somebody_answers and self.turns.of(agent) is None

    def can_be_started_on(self, agent: str, job: Job) -> bool:
        """Whether the agent's engine runs such a task at all: Multica runs its own issues only."""
        return self.engine_of(agent) is Engine.OPENCLAW or any(ref.source == multica_issues.SOURCE for ref in job.refs)

    def has_turn(self, job: Job) -> bool:
        """Whether a turn on a task goes on."""
        return self.turns.on(job) or self.runs.on(job)

    def is_worked_on(self, job: Job) -> bool:
        """Whether somebody truly works on a task; one whose turns are started for it does so between two of them."""
        if job.truth is not Truth.WORKED:
            return False
        agent = self.agents[job.worker]
        if not agent.driven or self.has_turn(job):
            return True
        patience = self.roster.agents[job.worker].policy.suspect_after
        return agent.at_work is not None and self.world.now - agent.at_work < patience

    def name_of(self, key: str) -> str:
        """What the scenario calls a task, by the key or title that heartbeat has for it."""
        source, _, identity = key.partition(":")
        job = self.by_ref.get(Ref(source, identity))
        return job.name if job is not None else key

    # The tasks.

    def _plan_everything(self) -> None:
        start = self.scenario.start
        stage = Stage(self.world, self.board, self.jobs, self.agents, self.store)
        for plan in self.scenario.tasks:
            began = start + plan.appears - (plan.since if plan.status == "in_progress" else timedelta(0))
            self.world.plan(began, partial(self._appear, plan))
        for happening in self.scenario.happenings:
            self.world.plan(start + happening.at, partial(stage.perform, happening))
        for outage in self.scenario.outages:
            who = "every provider" if outage.provider == EVERY else f"provider {outage.provider}"
            told = partial(self.world.tell, Kind.FAULT)
            self.world.plan(start + outage.begins, partial(told, f"{who} {_CONDITIONS[outage.condition]}"))
            if outage.ends is not None:
                self.world.plan(start + outage.ends, partial(told, f"{who} answers as before"))

    def _appear(self, plan: TaskPlan) -> None:
        job = Job(plan, self._pieces(plan))
        self.jobs[plan.name] = job
        self.by_ref |= dict.fromkeys(job.refs, job)
        if plan.status == "in_progress":
            self.agents[plan.owner].begin(job, alone=False)
        else:
            self.world.tell(Kind.WORK, f"there is a new task of {plan.owner}", task=plan.name, agent=plan.owner)

    def _pieces(self, plan: TaskPlan) -> tuple[Piece, ...]:
        """The records, best source first. An issue comes into being first, so that the others can name it."""
        status = "todo" if plan.status == "in_progress" else plan.status
        found: dict[str, Piece] = {}
        title = plan.title
        if "multica" in plan.origins:
            uuids = {agent: uuid for uuid, agent in self.roster.by_multica_id().items()}
            identity = self.multica.create(title, uuids[plan.owner], status=status, priority=plan.priority)
            found["multica"] = IssuePiece(self.multica, identity, uuids)
            title = f"{self.multica.issue(identity)['identifier']} {title}"
        if "workboard" in plan.origins:
            card = {"title": title, "status": status, "priority": plan.priority, "agentId": plan.owner}
            made = self.board.do("workboard.cards.create", card)["card"]
            found["workboard"] = CardPiece(self.board, made["id"])
        if "todo" in plan.origins:
            line = self.lines.create(title, plan.owner, status=status, priority=plan.priority)
            found["todo"] = LinePiece(self.world, self.lines, line)
        return tuple(found[source] for source in BUILT_IN if source in found)

    # heartbeat's hands.

    def _landed(self, write: Write, note: str) -> None:
        """A write of ours took effect."""
        self.effects.append((write.operation, write.ref.source))
        job = self.by_ref.get(write.ref)
        if not write.key.startswith(CLAIM):  # told by the turn that it is for
            self.world.tell(
                Kind.WRITE,
                f"heartbeat: {_told(write)} ({write.ref.source})",
                task=job.name if job else str(write.ref),
                agent=write.agent,
                why=write.text,
            )
        if job is None:
            return
        if write.operation is Operation.CREATE:
            self._adopt(job)
        elif write.key.startswith(GIVE_BACK):
            if self.has_turn(job):
                self.wrongly_taken.append(job.name)
            job.free(End.RECOVERED, self.world.now)
        elif write.operation in _TAKEN_FROM and job.truth is not Truth.DONE:
            if self.is_worked_on(job) and not write.key.startswith(_BUDGET):
                self.wrongly_taken.append(job.name)
            job.free(End.RECOVERED, self.world.now)

    def _adopt(self, job: Job) -> None:
        """The card that was made for a line is a record of the same task."""
        known = {piece.ref.id for other in self.jobs.values() for piece in other.pieces}
        for card in self.board.do("workboard.cards.list", {})["cards"]:
            if card["id"] not in known and str(card.get("notes", "")).startswith(str(job.pieces[0].ref)):
                piece = CardPiece(self.board, card["id"])
                job.pieces = (piece, *job.pieces)
                self.by_ref[piece.ref] = job

    def _peers(self, landed: Landed) -> SimulatedPeers:
        team, agents = Team.of(self.roster), self.roster.by_multica_id()
        cards = TransportedSource(
            workboard.SOURCE,
            "simulated",
            (BoardTransport(self.world, self.board),),
            Recalling(partial(workboard.translate, team=team)),
            automatic=True,
        )
        issues = TransportedSource(
            multica_issues.SOURCE,
            "simulated",
            (IssueTransport(self.world, self.multica),),
            partial(multica_issues.translate, agents=agents),
            automatic=True,
        )
        sources: Mapping[str, Source] = {"workboard": cards, "multica": issues, "todo": self.lines.source()}
        writers: Mapping[str, Writer] = {
            "workboard": BoardWriter(BoardWays(None, None, self.world, self.board), team),
            "multica": IssueWriter((IssueChannel(self.world, self.multica),), agents),
            "todo": self.lines.writer(),
        }
        return SimulatedPeers(
            self.world,
            {name: RememberingSource(source) for name, source in sources.items()},
            {name: WatchedWriter(writer, self.world, landed) for name, writer in writers.items()},
            self.turns,
            MulticaSpawner(
                (self.runs,),
                {agent: uuid for uuid, agent in agents.items()},
                self.folder / "runs",
                clock=lambda: self.world.now.timestamp(),
            ),
        )


def simulated(roster: Roster, scenario: Scenario) -> Roster:
    """The roster as it is simulated: plug-in sources are left out, and no setting leads to a real file or address."""
    sources = {
        name: {key: value for key, value in settings.items() if key in _KEPT_SETTINGS}
        for name, settings in roster.sources.items()
        if name in BUILT_IN
    }
    agents: Mapping[str, Agent] = roster.agents
    if scenario.recovery is not None:
        agents = {
            name: replace(agent, policy=replace(agent.policy, recovery=scenario.recovery))
            for name, agent in roster.agents.items()
        }
    if scenario.dispatch is not None:
        agents = {name: _dispatched(agent, scenario.dispatch) for name, agent in agents.items()}
    extra = {key: value for key, value in roster.extra.items() if key not in _LEFT_OUT}
    return replace(roster, sources=sources, agents=agents, extra=extra)


def _dispatched(agent: Agent, wanted: str) -> Agent:
    """With the scenario's word on who starts it. Whom Multica does not know it cannot start: so the roster's stands."""
    if wanted == Engine.MULTICA and not agent.multica_id:
        return agent
    return replace(agent, policy=replace(agent.policy, dispatch=wanted))


def _told(write: Write) -> str:
    if write.key.startswith(GIVE_BACK):
        return "gives it back" if write.status is Status.TODO else "puts it back as it was"
    return _WORDS[write.operation].format(agent=write.agent)


_LEFT_OUT = frozenset({"retention", "on_complete"})
"""What the roster forgets after a while is still to be counted at the end, and no command of anybody's is run."""

_KEPT_SETTINGS = frozenset({"create_cards", "required"})
