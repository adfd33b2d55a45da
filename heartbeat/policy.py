"""The numbers and choices that the rules work with: what remains of a roster without its paths and addresses. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)

QUIET_AFTER_TALK = timedelta(minutes=10)
"""Where the roster says nothing else (rule B4)."""


class ParentRule(StrEnum):
    """What a Multica parent issue means for its children (rule D2)."""

    STARTED = "started"
    STRICT = "strict"
    OFF = "off"


class Recovery(StrEnum):
    """How far the ladder may go by itself (rule R3a)."""

    OBSERVE = "observe"
    NOTIFY = "notify"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers an agent lives by: its class's, with the agent's own on top (rule R3)."""

    every: timedelta
    cron: str | None
    """A cron expression that replaces `every`, in the roster's time zone."""
    suspect_after: timedelta
    recover_after: timedelta
    runtime_limit: timedelta
    dependency_wait: timedelta
    max_rounds: int
    notify: tuple[str, ...]
    recovery: Recovery
    dispatch: str
    require_output: bool
    anchor: timedelta = timedelta(0)
    """How far this agent's slots lie behind the multiples of `every`, so that a team does not beat at once (rule B2).
    A cron expression has none: it says itself when."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """How the ladder is climbed (rules L2, L3, T6)."""

    first: str = "notify"
    """`silent`: the first recovery of a task within the window is told to nobody."""
    window: timedelta = timedelta(hours=24)
    storm: int = 3
    """More recoveries than this due in one sweep are one alarm instead."""
    recovery_status: str = "blocked"
    """What a recovered Multica issue becomes: `blocked` or `todo`."""


@dataclass(frozen=True, slots=True)
class Member:
    """One agent as the rules see it."""

    id: str
    policy: Policy
    patrol: bool = False
    backup: str | None = None
    rhythm: timedelta = timedelta(0)
    """How long it is at most from one beat to the next: `every` unless something else is given."""

    def __post_init__(self) -> None:
        if not self.rhythm:
            object.__setattr__(self, "rhythm", self.policy.every)


@dataclass(frozen=True, slots=True)
class Charter:
    """The roster as the rules see it: who lives by which numbers, and who hears of what."""

    members: Mapping[str, Member]
    escalation: Escalation = field(default_factory=Escalation)
    operator: str = ""
    """The name of the person in charge."""
    create_cards: bool = False
    """Whether a recovered TODO line becomes a card (rule L2)."""
    quiet_after_talk: timedelta = QUIET_AFTER_TALK
    """For how long after a person's last word an agent is not nudged (rule B4)."""

    @property
    def beat(self) -> timedelta:
        """The shortest rhythm: how long a look at the sources stays the present, since anybody's beat looks at them
        for all (rules T6, B6)."""
        return min((member.rhythm for member in self.members.values()), default=timedelta(minutes=10))

    @property
    def patrols(self) -> tuple[str, ...]:
        """Ids of the agents that also act for others (rule L0), in roster order."""
        return tuple(member.id for member in self.members.values() if member.patrol)

    def policy_for(self, agent: str) -> Policy | None:
        """The numbers for work of `agent`; for work of nobody, or of an agent that the roster does not have, those of
        the first patrol agent, which acts for it (rule L0). None where there is no patrol agent either."""
        member = self.members.get(agent)
        if member is None:
            member = next((self.members[name] for name in self.patrols), None)
        return None if member is None else member.policy


def anchor_of(agent: str, every: timedelta) -> timedelta:
    """How far an agent's slots lie behind the multiples of `every`: the same everywhere and always, and spread over the
    team. Whole minutes where `every` is a number of them, since a crontab knows no others, and never 0, where the herd
    of everybody else's jobs is.
    """
    chance = int.from_bytes(hashlib.sha256(agent.encode()).digest()[:8])
    unit = _MINUTE if every % _MINUTE == timedelta(0) else _SECOND
    places = every // unit
    return unit * (1 + chance % (places - 1)) if places > 1 else timedelta(0)
