"""What a scripted agent does: at its beats, a turn for what it has in hand, else it takes up the next ready task; or,
where turns are started for it, what there is to do in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from heartbeat.beat import Beat
from heartbeat.simulate.board import VirtualBoard
from heartbeat.simulate.jobs import End, Job, Truth
from heartbeat.simulate.scenario import AgentPlan, Behaviour
from heartbeat.simulate.world import Kind, Starter, World
from heartbeat.task import Ref, State


@dataclass(slots=True)
class ScriptedAgent:
    """One agent of the team. `jobs` maps every record in the world to its task.

    With `driven` it does nothing by itself: all its work is done in turns that are started for it.
    """

    id: str
    plan: AgentPlan
    world: World
    board: VirtualBoard
    jobs: Mapping[Ref, Job]
    chance: Random
    mine: list[Job] = field(default_factory=list)
    muted: bool = False
    """It takes no turns, by the scenario's word."""
    driven: bool = False
    at_work: datetime | None = None
    """When a turn that was started for it last ended well."""

    def beat(self, shown: Beat | None) -> None:
        """One beat of its own. `shown` is what heartbeat handed out, None where heartbeat was not run."""
        self._let_go()
        if self.muted:
            return
        self._heed(shown)
        if any(job.is_silent for job in self.mine):
            return
        with self.world.acting(self.id):
            worked = tuple(self.mine)
            for job in worked:
                self._work(job)
            if shown is not None and not self.mine:
                self._take_next(shown)
            if worked or self.mine:
                self._count_turn()
                self._show_turn()

    def begin(self, job: Job, *, alone: bool = True) -> bool:
        """Takes up a task; whether its sources let it."""
        if not job.pieces[0].take(self.id, alone=alone):
            return False
        for piece in job.pieces[1:]:
            piece.take(self.id, alone=alone)
        job.begin(self.id, self.world.now)
        self.mine.append(job)
        self._tell(job, "takes it up" if job.taken == 1 else "takes it up again")
        if job.is_looping:
            self._tell(job, "goes round in circles from now on")
        elif self.driven:
            pass
        elif job.behaviour is Behaviour.SILENT:
            self._later(job, job.plan.falls_silent, self._die)
        elif job.behaviour is Behaviour.SLOW:
            self._later(job, job.plan.takes, self._finish)
        return True

    def attend(self, job: Job | None, *, able: bool) -> timedelta:
        """A turn that was started for it begins; how long it would last. `able`: whether a model answers in it.

        What the turn is for is its own already, or becomes so now.
        """
        self._let_go()
        if job is not None and job not in self.mine:
            for piece in job.pieces:
                if not piece.is_with(self.id):
                    piece.take(self.id, alone=False)
            job.begin(self.id, self.world.now)
            self.mine.append(job)
            self._tell(job, "works on it" if job.taken == 1 else "works on it again")
        if job is None:
            return self.plan.turn
        if not able and job.truth is Truth.WORKED:
            job.die(self.world.now)
        elif able and job.is_silent and not self._stays_silent(job):
            job.go_on(self.world.now)
        if job.behaviour is Behaviour.SLOW:
            return max(self.plan.turn, job.plan.takes - job.worked_for(self.world.now))
        return self.plan.turn

    def depart(self, job: Job) -> None:
        """A turn ends in which a model has answered: what it did in it is done now."""
        self.at_work = self.world.now
        self._let_go()
        if job not in self.mine:
            return
        if self._stays_silent(job):
            if job.truth is Truth.WORKED:
                self._die(job)
        elif job.behaviour is not Behaviour.SLOW:
            self._work(job)
        elif job.worked_for(self.world.now) >= job.plan.takes:
            self._finish(job)

    def in_hand(self) -> Job | None:
        """What it goes on with, where it has something."""
        self._let_go()
        return next(iter(self.mine), None)

    def next_of(self, shown: Beat | None) -> Job | None:
        """What it would take up next of what it is shown."""
        return next(self._ready(shown), None) if shown is not None else None

    def _stays_silent(self, job: Job) -> bool:
        """Whether nothing comes of its turns any more: their models answer, and nothing is done."""
        if self.muted:
            return True
        return job.behaviour is Behaviour.SILENT and job.worked_for(self.world.now) >= job.plan.falls_silent

    def fall_silent(self) -> None:
        """From now on nothing is heard of it."""
        self.muted = True
        for job in self.mine:
            if job.truth is Truth.WORKED and not self.driven:
                self._die(job)

    def wake(self) -> None:
        """It goes on with what it still has."""
        self.muted = False
        self._let_go()
        for job in self.mine:
            if job.is_silent and not self.driven:
                self._revive(job, "comes back")

    def run(self, job: Job) -> None:
        """A Multica run of its own has ended on a task: it is at work on it again."""
        if job in self.mine and job.is_silent and not self.muted:
            self._revive(job, "comes back through its run")

    def _later(self, job: Job, after: timedelta, does: Callable[[Job], None]) -> None:
        """In the midst of its work, unless it is not its work any more by then."""
        attempt = job.taken

        def now() -> None:
            if job in self.mine and job.truth is Truth.WORKED and job.taken == attempt and not job.revived:
                self._let_go()
                if job in self.mine:
                    with self.world.acting(self.id):
                        does(job)

        self.world.plan(self.world.now + after, now)

    def _let_go(self) -> None:
        """What was closed, taken away or handed over is not its any more."""
        for job in tuple(self.mine):
            # A line that is recovered is annotated and stays as it is (rule L2); its worker takes it up anew as well.
            if job.truth is not Truth.OPEN and job.pieces[0].is_with(self.id):
                continue
            self.mine.remove(job)
            if job.worker == self.id and job.truth is not Truth.DONE:
                job.free(End.OTHERWISE, self.world.now)

    def _heed(self, shown: Beat | None) -> None:
        nudged = {entry.task for entry in shown.inbox if entry.incident} if shown is not None else set()
        for job in self.mine:
            if job.truth is Truth.DEAD and job.plan.heeds_nudge and not nudged.isdisjoint(map(str, job.refs)):
                self._revive(job, "heeds the nudge")

    def _revive(self, job: Job, how: str) -> None:
        job.revive(self.world.now)
        self._tell(job, how)
        with self.world.acting(self.id):
            self._say(job)
            self._show_turn()

    def _work(self, job: Job) -> None:
        """One turn on one task."""
        now = self.world.now
        if job.behaviour is Behaviour.SLOW:
            return
        if not job.is_looping and job.worked_for(now) >= job.plan.takes:
            self._finish(job)
            return
        if not job.is_looping and job.said_at is not None and now - job.said_at >= job.plan.says:
            self._say(job)
        for piece in job.pieces:
            piece.breathe(self.id)

    def _finish(self, job: Job) -> None:
        job.finish(self.world.now)
        for piece in job.pieces:
            piece.finish(self.id)
        self.mine.remove(job)
        self._tell(job, "finishes it")

    def _say(self, job: Job) -> None:
        job.said_at = self.world.now
        for piece in job.pieces:
            piece.say(self.id, f"Going on, {job.taken}. attempt.")

    def _die(self, job: Job) -> None:
        job.die(self.world.now)
        self._tell(job, "falls silent")

    def _take_next(self, shown: Beat) -> None:
        for job in self._ready(shown):
            if self.chance.random() >= self.plan.takes_up:
                return
            if self.begin(job):
                return

    def _ready(self, shown: Beat) -> Iterator[Job]:
        """What of its worklist nobody works on, in the order of work: ready, or left in progress."""
        if shown.worklist is None:
            return
        for standing in (*shown.worklist.in_state(State.READY), *shown.worklist.in_state(State.IN_PROGRESS)):
            job = next((self.jobs[ref] for ref in standing.task.refs if ref in self.jobs), None)
            if job is not None and job.truth is Truth.OPEN and not job.is_shunned:
                yield job

    def _count_turn(self) -> None:
        """Whoever made it work; a long turn that goes on is one."""
        if not self.board.has_turn(self.id):
            self.world.count_turn(Starter.OTHERS)

    def _show_turn(self) -> None:
        if self.plan.shows_turns:
            self.board.turn(self.id, max((self._turn_ends(job) for job in self.mine), default=self._soon()))

    def _turn_ends(self, job: Job) -> datetime:
        """A slow worker's turn goes on until it is done."""
        if job.behaviour is Behaviour.SLOW and job.taken_at is not None:
            return max(self._soon(), job.taken_at + job.plan.takes)
        return self._soon()

    def _soon(self) -> datetime:
        return self.world.now + self.plan.turn

    def _tell(self, job: Job, what: str) -> None:
        self.world.tell(Kind.WORK, what, task=job.name, agent=self.id)
