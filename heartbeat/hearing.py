"""Whether a person talks to somebody right now, asked anew just before that matters (rule B4).

A look at all sources serves every beat for a while, and a talk begins within that while. So before an agent is nudged
or started, the sources that know of talks are asked once more, for those few agents only and with little time. Where
that is too short for all of them, whoever is about to be started is heard first, and it is nobody's lot to be last
every time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zlib import crc32

from heartbeat.deadline import Deadline
from heartbeat.errors import HeartbeatError
from heartbeat.observation import Observation
from heartbeat.roster.model import Roster
from heartbeat.store.port import LogEntry, Store
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.base import PartlyHeardError, heard
from heartbeat.task import Presence

YOUNG = timedelta(seconds=20)
"""What was heard so lately is not asked again: most beats are over by then."""

_PATIENCE = 15.0
"""Seconds for one question."""


@dataclass(slots=True)
class Ear:
    """Hears for one beat. What cannot be heard is not known, and is judged as it was (rules B4, T7): a nudge goes by
    what the look had seen, and no turn is begun where it cannot be known who is at work."""

    environment: Mapping[str, str]
    store: Store
    clock: Callable[[], datetime]
    deadline: Deadline
    build: SourceBuilder
    _asked: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When each source was asked about each agent."""
    _said: list[Presence] = field(default_factory=list)
    _unheard: set[str] = field(default_factory=set)
    """The sources that could not be asked."""
    _missed: dict[str, frozenset[str]] = field(default_factory=dict)
    """By agent the sources that could be asked, and not about that one."""

    def listened(self, observation: Observation, agents: Collection[str], first: str = "") -> Observation:
        """The observation with what persons said to these agents up to now; the same one where nothing is new.

        `first` is the one that it matters most of. Nobody is asked where there are no agents, or where the look itself
        is as young as that. Raises StateError.
        """
        for name in self._tellers(observation):
            about = {agent for agent in agents if not self._is_young(self._asked.get((name, agent)))}
            if about:
                self._ask(observation.roster, name, _in_turn(about, first, self.clock()))
        scene = observation.judgement.scene
        said = tuple(each for each in self._said if each not in scene.presence)
        if not said and self._unheard <= scene.presence_unknown and self._missed == scene.unheard:
            return observation
        scene = replace(
            scene,
            presence=(*scene.presence, *said),
            presence_unknown=scene.presence_unknown | self._unheard,
            unheard=dict(self._missed),
        )
        return replace(observation, judgement=replace(observation.judgement, scene=scene))

    def _tellers(self, observation: Observation) -> Iterator[str]:
        """The sources whose look told of sessions, and is no longer young."""
        for name, reading in observation.sweep.readings.items():
            if reading.presence is not None and not self._is_young(reading.report.read_at):
                yield name

    def _is_young(self, at: datetime | None) -> bool:
        return at is not None and abs(self.clock() - at) < YOUNG

    def _ask(self, roster: Roster, name: str, agents: Sequence[str]) -> None:
        now = self.clock()
        self._asked |= {(name, agent): now for agent in agents}
        try:
            source = self.build(name, roster, self.environment)
            self._said += heard(source, agents, self.deadline.at_most(_PATIENCE), now)
        except PartlyHeardError as error:
            self._said += error.heard
            self._missed |= {agent: self._missed.get(agent, frozenset()) | {name} for agent in error.unheard}
            self._tell(now, name, error.unheard, str(error))
        except Exception as error:  # noqa: BLE001 - a source of somebody else may raise anything; it is told
            self._unheard.add(name)
            told = str(error) if isinstance(error, HeartbeatError) else f"{type(error).__name__}: {error}"
            self._tell(now, name, agents, told)

    def _tell(self, now: datetime, name: str, agents: Iterable[str], why: str) -> None:
        who = ", ".join(sorted(agents))
        message = f"whether a person is talking to {who} could not be asked anew of {name}: {why}"
        self.store.add_log([LogEntry(now, "talk-unknown", message)])


def _in_turn(agents: Iterable[str], first: str, now: datetime) -> tuple[str, ...]:
    """`first` before the others, and these in another order at another time."""
    return tuple(sorted(agents, key=lambda agent: (agent != first, crc32(f"{agent} {now.timestamp()}".encode()))))
