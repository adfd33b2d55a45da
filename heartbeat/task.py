"""What a task is: plain frozen data that every layer shares. No I/O, no clock, no rule.

An `Item` is one record of one source (a card, an issue, a TODO line). A `Task` (see merge.py) is one piece of work,
made of one or more items. Times are aware datetimes in UTC; a due date is a calendar date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Status(StrEnum):
    """Where an item stands, in one vocabulary for all sources (rule S6)."""

    BACKLOG = "backlog"
    TODO = "todo"
    IN_PROGRESS = "in_progress"
    IN_REVIEW = "in_review"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


CLOSED = frozenset({Status.DONE, Status.CANCELLED})


class Priority(StrEnum):
    """How urgent an item is (rule S7), most urgent first; Multica's `medium` is `normal`."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    NONE = "none"

    @property
    def rank(self) -> int:
        """0 for urgent up to 4 for none."""
        return _PRIORITY_RANK[self]


_PRIORITY_RANK = {priority: rank for rank, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The stable name of an item: its source and the id that survives a rename (card UUID, issue UUID, file+marker)."""

    source: str
    id: str

    def __str__(self) -> str:
        return f"{self.source}:{self.id}"


class OwnerKind(StrEnum):
    AGENT = "agent"
    PERSON = "person"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is to do it (rule S6a). `id` is the roster's id of an agent that it knows, else the source's own."""

    kind: OwnerKind
    id: str = ""


NOBODY = Owner(OwnerKind.NOBODY)


class DependencyKind(StrEnum):
    """What satisfies a dependency differs by where it was declared (rules D1 to D3)."""

    CARD = "card"  # a WorkBoard parent link: only done satisfies
    PARENT = "parent"  # a Multica parent issue: judged by the roster's dependencies.parent
    STAGE = "stage"  # a Multica sibling of a lower stage: done or cancelled satisfies
    EXPLICIT = "explicit"  # depends_on, blocked_by, a TODO marker: only done satisfies


@dataclass(frozen=True, slots=True)
class Dependency:
    """`target` is any name of the item waited for: an alias such as BIZ-12, a card id (prefix), a TODO marker."""

    kind: DependencyKind
    target: str


@dataclass(frozen=True, slots=True)
class Item:
    """One record of one source, translated. What cannot be known from the record is None or empty."""

    ref: Ref
    key: str
    """What people call it: BIZ-31, the first 8 characters of a card id, TODO.md:12."""
    title: str
    status: Status
    raw_status: str
    """The source's own word for the status."""
    priority: Priority
    owner: Owner
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    due: date | None = None
    not_before: datetime | None = None
    """Scheduled: counts as backlog until this instant (rule S6)."""
    archived: bool = False
    url: str | None = None
    location: str | None = None
    """Where a person finds it, if not by its key: workspace file and line."""
    revision: str | None = None
    """Changes whenever the record changes: updatedAt, revision, or a digest of the line."""
    aliases: tuple[str, ...] = ()
    """Names by which other items may refer to this one, besides its ref's id."""
    mentions: tuple[str, ...] = ()
    """Explicit references to items of other sources (rule M1a): identifiers, card ids of 8 or more hex digits."""
    depends_on: tuple[Dependency, ...] = ()
    parent: str | None = None
    """Multica: the parent issue's id, for stages (rule D1)."""
    stage: int | None = None
    creator: Owner = NOBODY
    """Who made it, where the source tells."""
    reclaimed: bool = False
    """The system itself took it from a worker that fell silent (rule T8)."""


class EvidenceKind(StrEnum):
    """What happened to an item, as far as rule T1 tells kinds apart."""

    MOVED = "moved"
    CLAIMED = "claimed"
    CLAIM_HEARTBEAT = "claim_heartbeat"
    COMMENT = "comment"
    PROOF = "proof"
    ARTIFACT = "artifact"
    ATTEMPT = "attempt"
    EDITED = "edited"
    LINKED = "linked"
    RUN = "run"
    SWEEP = "sweep"
    """The system's own housekeeping (dispatch, diagnostics, notifications): neither activity nor progress."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that happened to an item. `id` is the source's id of the event, so that it is counted once.

    `own` says that heartbeat's rules wrote it, as far as the record itself tells (rule T2).
    """

    ref: Ref
    at: datetime
    kind: EvidenceKind
    id: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """An agent's turn, as a source knows it (rules T1, T7, C1). Without `ref` it is not known what it works on.

    `at` is when the agent was last seen at it; `id` names the session or run. `talked_at` is when a person last spoke
    with the agent there, as far as the source tells a person from a program (rule B4).
    """

    agent: str
    active: bool
    at: datetime | None
    id: str
    ref: Ref | None = None
    talked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know. `code` is a stable word; `message` is a sentence; `refs` may be empty."""

    code: str
    message: str
    refs: tuple[Ref, ...] = ()


class State(StrEnum):
    """What a task is to the one who works it: the words of the worklist and of the JSON output."""

    READY = "ready"
    IN_PROGRESS = "in_progress"
    WAITING = "waiting"
    BLOCKED = "blocked"
    REVIEW = "review"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Link:
    """Two items that are one task, and how that is known: `reference`, `title`, or `remembered` (rules M1, M4)."""

    first: Ref
    second: Ref
    via: str


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: one item, or several of different sources that name the same work (rules M1 to M4).

    `items` stand in source order; the first is the canonical one. `absent` are refs that belong to the task and could
    not be read now. `split` means that some items are closed and some open.
    """

    items: tuple[Item, ...]
    status: Status
    priority: Priority
    owner: Owner
    due: date | None
    archived: bool = False
    split: bool = False
    links: tuple[Link, ...] = ()
    stale: tuple[Ref, ...] = ()
    absent: tuple[Ref, ...] = ()

    @property
    def ref(self) -> Ref:
        """The canonical ref (rule M3)."""
        return self.items[0].ref

    @property
    def key(self) -> str:
        """The canonical key, unique and stable: `source:id` (rule M3)."""
        return str(self.items[0].ref)

    @property
    def title(self) -> str:
        """The canonical item's title."""
        return self.items[0].title

    @property
    def refs(self) -> tuple[Ref, ...]:
        """All refs, in source order."""
        return tuple(item.ref for item in self.items)

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do: done, cancelled, or archived (rules S6, M4)."""
        return self.archived or self.status in CLOSED
