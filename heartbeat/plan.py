"""What is to be written, said and noted: the data of a plan (see planner.py), and for whom it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from heartbeat.action import Message, Write
from heartbeat.memory import Incident, Rounds, Step
from heartbeat.rules.ladder import Climb


@dataclass(frozen=True, slots=True)
class Acting:
    """For whom this tick acts (rule L0): the agents that beat, and with a patrol among them also those that cannot."""

    agents: frozenset[str]
    patrol: bool = False
    silent: frozenset[str] = frozenset()
    """Agents of the roster without a receipt since their last two slots."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One write, and what it belongs to."""

    write: Write
    task: str
    incident: str = ""
    step: Step | None = None
    after: str = ""
    """The key of the write that must have been done before this one."""
    then: tuple[Message, ...] = ()
    """What is told once the step was carried out: all of its writes, and none with a conflict."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the log."""

    action: str
    message: str
    agent: str = ""
    task: str = ""
    incident: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. `incidents` are those whose state changed; `rounds` those that were warned of or paused.

    `climbs` says of every stalled task where it stands, whether or not this tick acts for it.
    """

    writes: tuple[Planned, ...] = ()
    messages: tuple[Message, ...] = ()
    nudges: tuple[Message, ...] = ()
    incidents: tuple[Incident, ...] = ()
    rounds: tuple[Rounds, ...] = ()
    notes: tuple[Note, ...] = ()
    climbs: Mapping[str, Climb] = field(default_factory=dict)


def joined(parts: Iterable[Plan], climbs: Mapping[str, Climb]) -> Plan:
    """All parts as one, in their order."""
    every = list(parts)
    return Plan(
        writes=tuple(each for part in every for each in part.writes),
        messages=tuple(each for part in every for each in part.messages),
        nudges=tuple(each for part in every for each in part.nudges),
        incidents=tuple(each for part in every for each in part.incidents),
        rounds=tuple(each for part in every for each in part.rounds),
        notes=tuple(each for part in every for each in part.notes),
        climbs=climbs,
    )
