"""What every scheduler that can be installed to does (crontab, systemd, OpenClaw), and the words for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch


class Style(StrEnum):
    """How the beats are cut into jobs. A target that cannot do one raises UsageError and says which it can."""

    DUE = "due"
    """One job a minute: whoever is due beats."""
    EACH = "each"
    """One job an agent, at its own slots."""
    DAEMON = "daemon"
    """One process that stays."""
    TURN = "turn"
    """One job an agent that is a turn of the agent: it costs a model call at every beat."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be on schedule. `agents` are ids; empty means everybody that the roster has, also later."""

    roster: Roster
    launch: Launch
    style: Style
    agents: tuple[str, ...] = ()
    beats: bool = True
    watchdog: bool = True

    @property
    def chosen(self) -> tuple[str, ...]:
        """The ids that are meant today."""
        return self.agents or tuple(self.roster.agents)


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that a scheduler keeps for us: a block of a crontab, a unit file, an automation.

    `text` is all of it that we decide, in a form that can be compared and shown: equal text is nothing to do. `agent`
    is whose job it is, empty where it is everybody's. `stopped` is one that stands there and is switched off.
    """

    name: str
    text: str
    agent: str = ""
    stopped: bool = False


class Verb(StrEnum):
    """What becomes of a piece."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """One step from what is installed to what is wanted. `before` is None for ADD, `after` for REMOVE."""

    verb: Verb
    name: str
    before: Piece | None
    after: Piece | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a change. An `error` says why it did not happen; the changes after it were tried all the same."""

    change: Change
    error: str = ""
    advice: str = ""


class Target(Protocol):
    """A scheduler. Every method may raise UsageError (it is not there, it refuses) and CannotWriteError; what belongs
    to others is never read into a Piece and never changed."""

    name: str

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        """What this scheduler keeps for this roster (`launch.roster`) now, whatever style it was installed with."""
        ...

    def wanted(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        """What it should keep. With named agents, what is installed for others stays."""
        ...

    def without(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        """What is left after the order's agents are taken off; nothing where no agent is named."""
        ...

    def apply(self, changes: Sequence[Change]) -> tuple[Applied, ...]:
        """Carries them out, and reads back what stands there now where the scheduler may have decided otherwise."""
        ...


def changes(installed: Sequence[Piece], wanted: Sequence[Piece]) -> tuple[Change, ...]:
    """From what is to what should be, in the order of what should be; removals last. Pure."""
    before = {piece.name: piece for piece in installed}
    after = {piece.name: piece for piece in wanted}
    found = []
    for name, piece in after.items():
        standing = before.get(name)
        same = standing is not None and standing.text == piece.text
        verb = Verb.KEEP if same else Verb.ADD if standing is None else Verb.CHANGE
        found.append(Change(verb, name, standing, piece))
    found += [Change(Verb.REMOVE, name, piece, None) for name, piece in before.items() if name not in after]
    return tuple(found)
