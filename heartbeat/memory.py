"""What is remembered between beats, as the rules see it: plain frozen data (rules T2, T5, T6, L1 to L5, C1 to C3).

The store keeps it; the rules take it as an argument and give back what it becomes. Instants are aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from heartbeat.task import EvidenceKind, Owner, Ref


@dataclass(frozen=True, slots=True)
class Mark:
    """What moved a clock. `at` is when it happened as far as we can tell: never after we first saw it, and never
    before we last looked without seeing it."""

    at: datetime
    kind: EvidenceKind
    id: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class Clock:
    """What is remembered of one item while it is in progress, or while it is left alone (rules T1, T5, L3).

    An epoch begins at a claim or a move to running; `epoch` names it, `began_at` is its instant. `activity` and
    `progress` are the newest foreign ones of the epoch, None where there was none since it began. `newest` is what was
    seen of it at the last look: the latest instant as told, and short names of all foreign evidence; what is not among
    them is news. `revision` is the item's at the last look.
    """

    ref: Ref
    epoch: str
    began_at: datetime
    seen_at: datetime
    activity: Mark | None = None
    progress: Mark | None = None
    newest: tuple[datetime, str] | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which a source was seen completely, without a gap (rule T6)."""

    began: datetime
    until: datetime


class MissReason(StrEnum):
    """Why a slot has no receipt of its own (rule B2)."""

    COALESCED = "coalesced"
    """Nobody beat at its time; the next beat ran in its place."""
    BUSY = "busy"
    """The beat before it was still running."""


@dataclass(frozen=True, slots=True)
class Miss:
    """Slots of one agent that passed without a receipt, from one beat to the next: a scheduler's misfires (rule B2).

    `first` and `last` are slots too; `count` is how many there are, at least: beyond ten thousand nobody counts. Those
    in between that were answered before, while a clock ran ahead, are not counted.
    """

    agent: str
    first: datetime
    last: datetime
    count: int
    reason: MissReason
    noted_at: datetime


class Step(StrEnum):
    """One rung of the ladder (rules L1 to L3)."""

    NUDGE = "nudge"
    NOTIFY = "notify"
    RECOVER = "recover"
    HAND_OVER = "hand_over"
    BLOCK = "block"


class StepOutcome(StrEnum):
    """How a step ended. `conflict`: somebody else had acted meanwhile, and nothing was done (rule L6)."""

    DUE = "due"
    DONE = "done"
    CONFLICT = "conflict"
    HINDERED = "hindered"
    """A run was active, or that could not be known, when it was to be carried out (rule T7)."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One step of an incident; there is one row for each (incident, step)."""

    step: Step
    at: datetime
    outcome: StepOutcome
    detail: str = ""


class Stage(StrEnum):
    """Where an incident stands (rules L1 to L3, L5)."""

    SUSPECTED = "suspected"
    TOLD = "told"
    """Confirmed, and somebody was told, since heartbeat may not act: by the roster, or a run is active or unknown."""
    RECOVERED = "recovered"
    LEFT_ALONE = "left_alone"
    """The end of the ladder: blocked, and nothing more until somebody changes it."""
    ENDED = "ended"


class Ending(StrEnum):
    """Why an incident ended (rule L5)."""

    PROGRESS = "progress"
    DONE = "done"
    VANISHED = "vanished"
    HANDED_OVER = "handed_over"
    """Somebody else has it now: a new claim, another owner, or back in todo by our recovery."""
    GIVEN_UP = "given_up"
    """Its recovery could not be carried out; the silence goes on, and is taken up anew."""
    RESOLVED = "resolved"
    """A person said so (`heartbeat resolve`)."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One stall of one task in one epoch. `id` is made from ref and epoch, so that it is the same for whoever sees it.

    `number` counts the task's recoveries within the window, this one included; 0 while it has not come so far.
    `nudged_at` is when the nudge was shown to its owner by a receipt, or put where nobody can show it (rule T6).
    `storm` is how many were due in the storm that it is held in, 0 where it is in none.
    """

    id: str
    ref: Ref
    refs: tuple[Ref, ...]
    epoch: str
    title: str
    owner: Owner
    opened_at: datetime
    stage: Stage
    number: int = 0
    steps: tuple[StepTaken, ...] = ()
    nudged_at: datetime | None = None
    recovered_at: datetime | None = None
    ended_at: datetime | None = None
    ending: Ending | None = None
    why: str = ""
    storm: int = 0

    @property
    def open(self) -> bool:
        return self.stage is not Stage.ENDED

    def taken(self, step: Step) -> StepTaken | None:
        """The row of a step, None where it was not taken."""
        return next((taken for taken in self.steps if taken.step is step), None)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The agent turns spent on one item (rules C1 to C3, T4). `used` never goes down.

    `idle` counts the rounds in a row without progress; `progress_at` is the progress up to which it counts. `turn_at`
    is the newest turn counted; `slot` the slot it was counted for. `extra` was granted by `heartbeat rounds extend`.
    """

    ref: Ref
    used: int = 0
    extra: int = 0
    idle: int = 0
    progress_at: datetime | None = None
    turn_at: datetime | None = None
    slot: datetime | None = None
    warned_at: datetime | None = None
    paused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A declared long operation: stall rules rest until then (rule T5)."""

    ref: Ref
    since: datetime
    until: datetime
    why: str
    by: str = ""


EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Pause:
    """No step and no dispatch for an agent, or for EVERYBODY; receipts go on. `until` None: until it is resumed."""

    agent: str
    since: datetime
    until: datetime | None
    why: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that the rules remember. `own` holds (ref, evidence id) of what we wrote ourselves (rule T2).

    `incidents` holds all that the store keeps: a spell that a person resolved long ago must not open again. `beats` is
    each agent's last receipt.
    `without` says that there is no memory to go by (rule B5); `observing` that it was lost and nobody has accepted
    that yet (rule B7).
    """

    clocks: Mapping[Ref, Clock] = field(default_factory=dict)
    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    own: frozenset[tuple[Ref, str]] = frozenset()
    incidents: tuple[Incident, ...] = ()
    rounds: Mapping[Ref, Rounds] = field(default_factory=dict)
    holds: Mapping[Ref, Hold] = field(default_factory=dict)
    pauses: tuple[Pause, ...] = ()
    beats: Mapping[str, datetime] = field(default_factory=dict)
    waiting: Mapping[tuple[Ref, str], datetime] = field(default_factory=dict)
    """Since when an item waits for a target: (ref, target) to instant (rule D4)."""
    without: bool = False
    observing: bool = False

    def paused(self, agent: str, now: datetime) -> Pause | None:
        """The pause that stands for an agent, if any."""
        standing = (pause for pause in self.pauses if pause.agent in (agent, EVERYBODY))
        return next((pause for pause in standing if pause.until is None or now < pause.until), None)
