"""What every source that can be written to promises (rules L4, L6, T2). A source without a writer is only told about.

A writer looks, and does one thing. It decides nothing: what must hold before a write is judged by its caller on the
look that it just took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from heartbeat.action import Operation, Voice, Write, signature, signed
from heartbeat.deadline import Deadline
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.task import Evidence, Item, Owner, Ref


class ConflictError(TransportError):
    """Somebody else acted meanwhile, and the write was refused or would undo it: read again, decide again (rule L6)."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(FailureKind.REFUSED, message, advice=advice)


class UnsupportedError(TransportError):
    """This source, transport or version cannot do that."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(FailureKind.REFUSED, message, advice=advice)


LONGEST_NOTES = 8000
"""Characters of a description that a look keeps: twice what a card can hold (contract 1.1)."""

LATEST_SAID = 20
LONGEST_SAID = 2000
"""How much of what was said a look keeps: so many of the newest, and so many characters of each."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something that somebody said on an item. All of it is foreign text (rule B8).

    `author` is a roster id where the roster has the agent, else what the source tells of who it was; empty where it
    tells nothing. `at` is None where it is not dated. `own`: heartbeat's rules said it (rule T2).
    """

    author: str
    at: datetime | None
    text: str
    own: bool = False

    @classmethod
    def of(cls, author: str, at: datetime | None, text: str) -> Said:
        """What a text says, without the marker by which heartbeat knows its own."""
        found = signature(text)
        if found is None:
            return cls(author, at, text.strip())
        voice, marker = found
        own = voice is Voice.RULE
        bare = text.rstrip().removesuffix(signed("", marker, voice)).strip()
        return cls("heartbeat" if own else author, at, bare, own)


_UNDATED = datetime.min.replace(tzinfo=UTC)


def latest(said: Iterable[Said]) -> tuple[Said, ...]:
    """The newest of what was said, oldest first, each cut; what says nothing is left out. What is not dated counts as
    older than all that is, and keeps its order."""
    ordered = sorted((each for each in said if each.text), key=lambda each: each.at or _UNDATED)
    return tuple(replace(each, text=shortened(each.text, LONGEST_SAID)) for each in ordered[-LATEST_SAID:])


def shortened(text: str, limit: int = LONGEST_NOTES) -> str:
    """The text without space around it; an ellipsis tells that it was cut."""
    bare = text.strip()
    return bare if len(bare) <= limit else bare[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Look:
    """One item as it is at this instant, read for a write.

    `item` is None where it is gone. `claimant` is who holds a live claim, as roster id where the roster has one, "" for
    nobody. `active` says whether a run is active on it, or on anything by its owner; None where that cannot be known
    (rule T7). `markers` are those of our writes that show on it, whoever's voice. `notes` is its description, `said`
    what people, agents and heartbeat said on it, newest last (see `latest`): what its next worker has to read.
    """

    item: Item | None
    evidence: tuple[Evidence, ...] = ()
    claimant: str = ""
    active: bool | None = None
    markers: frozenset[str] = frozenset()
    notes: str = ""
    said: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind: ids of the evidence that is ours (rule T2), and what to tell a person."""

    evidence_ids: tuple[str, ...] = ()
    note: str = ""


class Writer(Protocol):
    """Writes to one source. Both calls may raise TransportError, with `outcome_unknown` where the answer was lost."""

    @property
    def source(self) -> str: ...

    def can(self, operation: Operation) -> bool:
        """Whether the source knows such an operation at all."""
        ...

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        """Reads the item anew, never from a snapshot. `owner` is whose runs count."""
        ...

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        """Carries out the part of the write that the look does not show yet, and checks that it took effect.

        To call it again after a lost answer, with a new look, leaves one effect. Raises ConflictError where somebody
        else was quicker, UnsupportedError where the source cannot do it.
        """
        ...


WriterFactory = Callable[[Mapping[str, Any], Roster, Mapping[str, str]], "Writer | None"]
"""Settings, roster, environment; None where the roster's transport only reads (a saved file)."""
