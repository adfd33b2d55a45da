"""What people do, and what goes wrong, by the scenario: one function a deed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from heartbeat.attempt import LetterState
from heartbeat.dispatch.letters import retry
from heartbeat.instants import format_duration
from heartbeat.simulate.agents import ScriptedAgent
from heartbeat.simulate.board import VirtualBoard
from heartbeat.simulate.jobs import End, Job
from heartbeat.simulate.scenario import Deed, Happening
from heartbeat.simulate.world import PERSON, Kind, World
from heartbeat.store.port import Store


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a deed may touch."""

    world: World
    board: VirtualBoard
    jobs: Mapping[str, Job]
    agents: Mapping[str, ScriptedAgent]
    store: Store

    def perform(self, happening: Happening) -> None:
        """Does it, now; what is done to a task that was cleared away comes too late."""
        if happening.task and self.jobs[happening.task].cleared:
            told = f"comes too late to {happening.do.value} it: it is done and deleted"
            self.world.tell(Kind.PERSON, told, task=happening.task)
            return
        with self.world.acting(PERSON):
            _DEEDS[happening.do](self, happening)

    def later(self, happening: Happening, undo: Callable[[], object], told: str) -> None:
        """What ends again by itself."""

        def end() -> None:
            undo()
            self.world.tell(Kind.FAULT, told)

        if happening.lasts is not None:
            self.world.plan(self.world.now + happening.lasts, end)


def _comment(stage: Stage, happening: Happening) -> None:
    job = stage.jobs[happening.task]
    for piece in job.pieces:
        piece.say(PERSON, happening.text)
    stage.world.tell(Kind.PERSON, "comments", task=job.name, why=happening.text)


def _move(stage: Stage, happening: Happening) -> None:
    _set(stage, stage.jobs[happening.task], happening.to, f"moves it to {happening.to}")


def _close(stage: Stage, happening: Happening) -> None:
    job = stage.jobs[happening.task]
    for piece in job.pieces:
        piece.finish(PERSON)
    job.finish(stage.world.now)
    stage.world.tell(Kind.PERSON, "closes it", task=job.name)


def _unblock(stage: Stage, happening: Happening) -> None:
    _set(stage, stage.jobs[happening.task], "todo", "unblocks it")


def _assign(stage: Stage, happening: Happening) -> None:
    job = stage.jobs[happening.task]
    for piece in job.pieces:
        piece.assign(happening.to)
    job.free(End.OTHERWISE, stage.world.now)
    stage.world.tell(Kind.PERSON, f"gives it to {happening.to}", task=job.name)


def _set(stage: Stage, job: Job, status: str, told: str) -> None:
    for piece in job.pieces:
        piece.move(status)
    if status != "in_progress":
        job.free(End.OTHERWISE, stage.world.now)
    stage.world.tell(Kind.PERSON, told, task=job.name)


def _silence(stage: Stage, happening: Happening) -> None:
    agent = stage.agents[happening.agent]
    stage.world.tell(Kind.FAULT, "nothing is heard of it from now on", agent=agent.id)
    agent.fall_silent()
    stage.later(happening, agent.wake, f"{agent.id} is back")


def _wake(stage: Stage, happening: Happening) -> None:
    agent = stage.agents[happening.agent]
    stage.world.tell(Kind.PERSON, "sets it to work again", agent=agent.id)
    agent.wake()


def _outage(stage: Stage, happening: Happening) -> None:
    source, down = happening.source, stage.world.down
    down[source] = happening.kind
    long = _long(happening)
    stage.world.tell(Kind.FAULT, f"{source} is out of order{long}", why=happening.kind)
    stage.later(happening, lambda: down.pop(source, None), f"{source} is in order again")


def _gap(stage: Stage, happening: Happening) -> None:
    world = stage.world
    world.away = True
    world.tell(Kind.FAULT, f"heartbeat is not run{_long(happening)}")
    stage.later(happening, lambda: setattr(world, "away", False), "heartbeat is run again")


def _suspend(stage: Stage, happening: Happening) -> None:
    world = stage.world
    world.asleep = True
    world.tell(Kind.FAULT, f"the machine sleeps{_long(happening)}")
    stage.later(happening, lambda: setattr(world, "asleep", False), "the machine is awake again")


def _clock(stage: Stage, happening: Happening) -> None:
    clock = stage.world.clock
    way = "forward" if happening.by.total_seconds() > 0 else "back"
    stage.world.tell(Kind.FAULT, f"heartbeat's clock is set {way} by {format_duration(abs(happening.by))}")
    clock.ahead += happening.by

    def put_right() -> None:
        clock.ahead -= happening.by

    stage.later(happening, put_right, "heartbeat's clock is put right")


def _channels_down(stage: Stage, happening: Happening) -> None:
    world = stage.world
    world.silenced_channels = True
    world.tell(Kind.FAULT, f"no channel delivers{_long(happening)}")
    stage.later(happening, lambda: setattr(world, "silenced_channels", False), "the channels deliver again")


def _dispatch(stage: Stage, happening: Happening) -> None:
    count = stage.board.expire()
    stage.world.tell(Kind.FAULT, f"OpenClaw's dispatch blocks {count} cards whose claim ran out")


def _replay(stage: Stage, happening: Happening) -> None:
    """A person has dead letters tried again, as `heartbeat dlq retry` does: of one task, or all."""
    refs = frozenset(stage.jobs[happening.task].refs) if happening.task else None
    letters = stage.store.letters(refs=refs, open_only=True)
    for letter in letters:
        if letter.state is not LetterState.REPLAYING:
            retry(stage.store, letter, PERSON, stage.world.clock())
    told = f"has {len(letters)} dead letters tried again at once"
    stage.world.tell(Kind.PERSON, told, task=happening.task)


def _long(happening: Happening) -> str:
    return "" if happening.lasts is None else f" for {format_duration(happening.lasts)}"


_DEEDS: Mapping[Deed, Callable[[Stage, Happening], None]] = {
    Deed.COMMENT: _comment,
    Deed.MOVE: _move,
    Deed.CLOSE: _close,
    Deed.UNBLOCK: _unblock,
    Deed.ASSIGN: _assign,
    Deed.SILENCE: _silence,
    Deed.WAKE: _wake,
    Deed.OUTAGE: _outage,
    Deed.GAP: _gap,
    Deed.SUSPEND: _suspend,
    Deed.CLOCK: _clock,
    Deed.CHANNELS_DOWN: _channels_down,
    Deed.DISPATCH: _dispatch,
    Deed.REPLAY: _replay,
}
