"""What heartbeat may do to the world, as plain data: writes to the sources, and messages. Pure.

An action has an idempotency key; its marker stands in whatever text the action leaves behind, so that an action whose
answer was lost can be looked for before it is repeated (rules L4, I4).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heartbeat.task import Owner, Ref, Status


class Operation(StrEnum):
    """What is done to one item. Each source does what is nearest to it, or says that it cannot."""

    COMMENT = "comment"
    """Says something on it; wakes nobody."""
    RECOVER = "recover"
    """Takes it from its worker, with a reason: back to todo, or to `status` (rule L2)."""
    BLOCK = "block"
    UNBLOCK = "unblock"
    """Back to todo; failures are forgotten, so that it can be claimed again (rule C2)."""
    ASSIGN = "assign"
    """Gives it to `agent`; taken from its worker first (rule L6)."""
    CLAIM = "claim"
    """Takes it for `agent` and sets it in progress; starts no run."""
    MOVE = "move"
    """Sets `status`; starts no run."""
    DONE = "done"
    """Finishes it, with outputs."""
    ATTACH = "attach"
    """Adds outputs."""
    CREATE = "create"
    """Makes a card for it (rule L2, TODO lines); `ref` names the line."""


class OutputType(StrEnum):
    CODE = "code"
    DOCUMENT = "document"
    DATA = "data"
    CONFIG = "config"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Output:
    """Something to show for a task: a file of the workspace (as given) or an address."""

    path: str
    type: OutputType = OutputType.OTHER
    note: str = ""


class Voice(StrEnum):
    """Who speaks in what is written: heartbeat's rules, whose writes never count (rule T2), or an agent or a person
    through heartbeat's commands, whose do."""

    RULE = "rule"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must still be true just before a write (rule L6); None means that it does not matter.

    `claimant` is the live claim's owner as roster id, "" for none. `idle_since`: no foreign activity after this
    instant, as the source tells time, but what is in `seen` (see Clock.newest), known when the write was planned.
    `no_run`: no active run, and that must be known (rule T7).
    """

    statuses: frozenset[Status] | None = None
    owner: Owner | None = None
    claimant: str | None = None
    began_at: datetime | None = None
    idle_since: datetime | None = None
    seen: str = ""
    revision: str | None = None
    """For a source that dates nothing: its item must still be the same (rule T9)."""
    no_run: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """One operation on one item. `text` comes without its marker."""

    key: str
    ref: Ref
    operation: Operation
    text: str = ""
    status: Status | None = None
    agent: str = ""
    outputs: tuple[Output, ...] = ()
    voice: Voice = Voice.RULE
    seconds: float | None = None
    """How long a claim lasts."""
    title: str = ""
    expect: Expectation = Expectation()

    @property
    def marker(self) -> str:
        return marker_of(self.key)


class Level(StrEnum):
    """How urgent a message is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return tuple(Level).index(self)


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell somebody. `to` holds roles: self, coo, creator, operator, or an agent id (rule L2, O3).

    `owner` and `creator` say who `self` and `creator` are. One message goes out once per `key` and recipient.
    """

    key: str
    to: tuple[str, ...]
    level: Level
    title: str
    body: str
    owner: Owner
    creator: Owner
    task: str = ""
    incident: str = ""


_MARKER = re.compile(r"\[(?P<voice>hb|via hb):(?P<digest>[0-9a-f]{12})\]\s*\Z")
_VOICES = {"hb": Voice.RULE, "via hb": Voice.AGENT}
_WORDS = {voice: word for word, voice in _VOICES.items()}


def marker_of(key: str) -> str:
    """The marker of an idempotency key: 12 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def signed(text: str, marker: str, voice: Voice = Voice.RULE) -> str:
    """The text with its marker at the end."""
    return f"{text.rstrip()} [{_WORDS[voice]}:{marker}]".lstrip()


def signature(text: str) -> tuple[Voice, str] | None:
    """Who speaks in a text that heartbeat wrote, and its marker; None for everybody else's text.

    Only the very end counts, so that a text that quotes ours and goes on is its author's own.
    """
    found = _MARKER.search(text)
    return (_VOICES[found["voice"]], found["digest"]) if found else None
