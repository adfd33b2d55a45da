"""What a simulation is given: who works how, which tasks there are, and what happens when. Plain data.

Times are durations since the start of the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from heartbeat.policy import Recovery

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

START = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
"""A Monday; where a scenario names no other instant."""


class Behaviour(StrEnum):
    """How an agent works on a task."""

    DILIGENT = "diligent"
    """Comments now and then, and finishes."""
    SILENT = "silent"
    """Falls silent after a while, and takes no turn at all until somebody or something sets it to work again."""
    LOOPING = "looping"
    """Takes its turns and renews its claim, and gets nowhere."""
    SLOW = "slow"
    """Works in one long turn without a word, and finishes."""


class Again(StrEnum):
    """How a task goes that was taken from its worker and is taken up again."""

    FINISH = "finish"
    """Well."""
    REPEAT = "repeat"
    """As before."""
    LEAVE = "leave"
    """Nobody takes it up."""


class Deed(StrEnum):
    """What can happen at an instant."""

    COMMENT = "comment"
    MOVE = "move"
    CLOSE = "close"
    UNBLOCK = "unblock"
    ASSIGN = "assign"
    SILENCE = "silence"
    WAKE = "wake"
    OUTAGE = "outage"
    GAP = "gap"
    SUSPEND = "suspend"
    CLOCK = "clock"
    CHANNELS_DOWN = "channels_down"
    DISPATCH = "dispatch"
    REPLAY = "replay"


class Condition(StrEnum):
    """How a provider answers the turns that begin while it is so."""

    OK = "ok"
    DOWN = "down"
    """An internal error (HTTP 500)."""
    UNAUTHORIZED = "401"
    LIMITED = "429"
    HANGING = "hanging"
    """Never; the turn goes on until its deadline."""


EVERY = "all"
"""Stands for every provider."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch in which a provider, or `all`, does not answer as it should; without an end it lasts."""

    provider: str
    condition: Condition
    begins: timedelta = timedelta(0)
    ends: timedelta | None = None

    def covers(self, provider: str, since_start: timedelta) -> bool:
        during = self.begins <= since_start and (self.ends is None or since_start < self.ends)
        return during and self.provider in (provider, EVERY)


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task. Of several `origins` each has a record of it; the card's title then names the issue (rule M1).

    `status` is what it is when it appears; one that is `in_progress` was taken up `since` ago. `says` is the time
    between two comments, `takes` the time until it is done, `falls_silent` that until a silent worker is.
    """

    name: str
    title: str
    owner: str
    origins: tuple[str, ...] = ("workboard",)
    status: str = "todo"
    priority: str = "normal"
    appears: timedelta = timedelta(0)
    since: timedelta = timedelta(0)
    behaviour: Behaviour = Behaviour.DILIGENT
    takes: timedelta = 2 * HOUR
    says: timedelta = 20 * MINUTE
    falls_silent: timedelta = 30 * MINUTE
    again: Again = Again.FINISH
    heeds_nudge: bool = False
    """Whether the nudge on top of its worklist sets a silent worker to work again."""


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """How an agent goes about things."""

    takes_up: float = 1.0
    """How likely it takes up a ready task at a beat at which it has nothing in hand."""
    turn: timedelta = 3 * MINUTE
    shows_turns: bool = True
    """Whether its turns show in OpenClaw's sessions."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens `at`. Which of the other fields count depends on what is done; see scenario_file.py."""

    at: timedelta
    do: Deed
    task: str = ""
    agent: str = ""
    source: str = ""
    kind: str = "unreachable"
    to: str = ""
    text: str = "How is it going?"
    by: timedelta = timedelta(0)
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole simulation but for its roster and its seed. `recovery` and `dispatch` replace the roster's, where they
    are given. `outages` are of the providers."""

    name: str
    tasks: tuple[TaskPlan, ...]
    agents: Mapping[str, AgentPlan] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()
    start: datetime = START
    days: float = 1.0
    recovery: Recovery | None = None
    dispatch: str | None = None
    outages: tuple[Outage, ...] = ()
    revisions: bool = True
    """Whether the Multica server is one of 0.4.30 or later, which numbers an issue's changes."""
    run: timedelta = 6 * MINUTE
    """How long a Multica run lasts."""

    def plan_of(self, agent: str) -> AgentPlan:
        return self.agents.get(agent, AgentPlan())

    def condition_of(self, provider: str, since_start: timedelta) -> Condition:
        """How a provider is at an instant; of several outages at a time the first that is written counts."""
        found = (each.condition for each in self.outages if each.covers(provider, since_start))
        return next(found, Condition.OK)
