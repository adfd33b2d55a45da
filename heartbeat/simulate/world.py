"""What everything in a simulation shares: the time, what is to happen, chance, and the record of what happened."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random

HEARTBEAT = "heartbeat"
"""Who acts while one of our own writes is carried out."""
PERSON = "a person"


class Kind(StrEnum):
    """What sort of thing happened: by an agent, by a person, by misfortune, or in heartbeat. A `run` is one of
    Multica's, a `turn` one of a model that heartbeat starts."""

    WORK = "work"
    PERSON = "person"
    FAULT = "fault"
    RUN = "run"
    TURN = "turn"
    SOURCE = "source"
    INCIDENT = "incident"
    STEP = "step"
    WRITE = "write"
    MESSAGE = "message"


class Starter(StrEnum):
    """What makes a model take a turn."""

    HEARTBEAT = "heartbeat"
    """A beat, since there is work."""
    SCHEDULE = "schedule"
    """The clock, whether or not there is work."""
    OTHERS = "others"
    """Whoever else: the agents that heartbeat only hands worklists to."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline. `task` is its name in the scenario; `why` may be empty."""

    at: datetime
    kind: Kind
    what: str
    task: str = ""
    agent: str = ""
    why: str = ""


@dataclass(slots=True)
class Clock:
    """The time as it truly is. Called, it tells what heartbeat's own machine shows, which may be wrong."""

    now: datetime
    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return self.now + self.ahead

    def pause(self, seconds: float) -> None:
        """What heartbeat waits passes at once."""
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class World:
    """One simulated world. With one seed and one scenario everything in it happens in the same way."""

    clock: Clock
    seed: int
    moments: list[Moment] = field(default_factory=list)
    actor: str = PERSON
    """Who is acting right now."""
    down: dict[str, str] = field(default_factory=dict)
    """How each source, or `sessions`, that is out of order fails."""
    silenced_channels: bool = False
    asleep: bool = False
    """The whole machine rests: agents too."""
    away: bool = False
    """heartbeat is not run."""
    runs: dict[str, int] = field(default_factory=dict)
    """How many Multica runs were started, by who started them."""
    turns: dict[str, int] = field(default_factory=dict)
    """How many turns of a model were started, by what started them: see Starter."""
    idle_turns: int = 0
    """Those of them in which there was nothing to do."""
    _names: Random = field(init=False)
    _agenda: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _planned: int = 0

    def __post_init__(self) -> None:
        self._names = self.chance("names")

    @property
    def now(self) -> datetime:
        return self.clock.now

    def chance(self, of: str) -> Random:
        """A source of chance of its own, so that who is added elsewhere changes nothing here."""
        return Random(f"{self.seed}/{of}")  # noqa: S311 - a simulation has to be repeatable

    def identifier(self) -> str:
        """A new UUID, the same one in every repetition."""
        return str(uuid.UUID(int=self._names.getrandbits(128), version=4))

    def tell(self, kind: Kind, what: str, *, task: str = "", agent: str = "", why: str = "") -> None:
        """Puts something on the timeline, now."""
        self.moments.append(Moment(self.now, kind, what, task, agent, why))

    def plan(self, at: datetime, happening: Callable[[], None]) -> None:
        """Something happens at an instant; what is planned for one instant happens in the order of planning."""
        self._planned += 1
        heapq.heappush(self._agenda, (at, self._planned, happening))

    def go_to(self, instant: datetime) -> None:
        """Lets the time pass up to an instant, and with it everything that was to happen by then."""
        while self._agenda and self._agenda[0][0] <= instant:
            at, _, happening = heapq.heappop(self._agenda)
            self.clock.now = max(self.clock.now, at)
            happening()
        self.clock.now = max(self.clock.now, instant)

    @contextmanager
    def acting(self, actor: str) -> Iterator[None]:
        """Everything inside is done by this one."""
        before, self.actor = self.actor, actor
        try:
            yield
        finally:
            self.actor = before

    def count_turn(self, starter: Starter, *, idle: bool = False) -> None:
        """A turn of a model has begun."""
        self.turns[starter.value] = self.turns.get(starter.value, 0) + 1
        self.idle_turns += idle

    def count_run(self, agent: str, task: str, why: str) -> None:
        """An agent run was started."""
        self.runs[self.actor] = self.runs.get(self.actor, 0) + 1
        self.tell(Kind.RUN, f"a Multica run of {agent} begins", task=task, agent=agent, why=f"{self.actor} {why}")
