"""A system in memory that can be read and written to, and that fails when a test tells it to.

One `ScriptedSystem` fulfils both `Source` and `Writer` over the same items, so that the next look sees what the last
write did. A `ScriptedWorld` puts several of them in the place of the real ones: `Peers(world.source, world.writer)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from heartbeat.action import Operation, Output, Voice, Write, signature, signed
from heartbeat.deadline import Deadline
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, Probe, Reading, ReadStatus, SourceReport, TransportError
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import NOBODY, Evidence, EvidenceKind, Item, Owner, OwnerKind, Presence, Priority, Ref, Status

EVERYTHING = frozenset(Operation)

_STATUS: Mapping[Operation, Status] = {
    Operation.RECOVER: Status.TODO,
    Operation.BLOCK: Status.BLOCKED,
    Operation.UNBLOCK: Status.TODO,
    Operation.ASSIGN: Status.TODO,
    Operation.CLAIM: Status.IN_PROGRESS,
    Operation.DONE: Status.DONE,
}
"""What an operation makes of an item where the write does not name a status."""

_FREED = frozenset({Operation.RECOVER, Operation.BLOCK, Operation.UNBLOCK, Operation.ASSIGN, Operation.DONE})
"""Operations that end a claim."""


class Fault(StrEnum):
    """What goes wrong with one write."""

    LOST_BEFORE = "the request did not arrive, and it cannot be known"
    LOST_AFTER = "it took effect, and the answer did not arrive"
    HALF = "what it says arrived, what it changes did not, and the answer did not arrive either"
    MUTE = "what it changes arrived, what it says did not, and the answer did not arrive either"
    DOWN = "refused before anything happened"
    CONFLICT = "somebody else was quicker"
    UNSUPPORTED = "this version cannot do that"
    DIES_BEFORE = "our process dies just before the effect"
    DIES_AFTER = "our process dies just after the effect"


class Died(BaseException):
    """Stands for the death of our process: nothing but a test may catch it."""


class ScriptedSystem:
    """Items of one source. Tests read and change its fields freely.

    `claims`: whether a worker holds a claim, as on a board. `effects` holds every write that changed something, in
    order; `calls` every `look` and `apply`. A function in `meanwhile` runs once, just before the next look: what
    somebody else does between our judging and our writing.
    """

    def __init__(
        self,
        *items: Item,
        name: str = "workboard",
        operations: frozenset[Operation] = EVERYTHING,
        claims: bool | None = None,
    ) -> None:
        self.name = name
        self.items: dict[Ref, Item] = {item.ref: item for item in items}
        self.operations = operations
        self.claims = name == "workboard" if claims is None else claims
        self.texts: dict[Ref, list[str]] = {}
        self.outputs: dict[Ref, list[Output]] = {}
        self.claimants: dict[Ref, str] = {}
        self.claim_seconds: dict[Ref, float | None] = {}
        self.active: dict[Ref, bool | None] = {}
        self.evidence: list[Evidence] = []
        self.presence: tuple[Presence, ...] | None = ()
        self.effects: list[Write] = []
        self.calls: list[tuple[str, Ref]] = []
        self.reads = 0
        self.shared = False
        """Whether one read may serve other beats (rule S5)."""
        self.heard: list[frozenset[str]] = []
        """The agents that it was asked about anew, a set for each question (rule B4)."""
        self.deaf: Exception | None = None
        """While set, it cannot be asked that."""
        self.failure: TransportError | None = None
        """While set, nothing of it can be read or written."""
        self.meanwhile: Callable[[], object] | None = None
        self._faults: deque[Fault | None] = deque()
        self._looks_fail: deque[TransportError] = deque()
        self._events = 0

    # What a test tells it.

    def fail_writes(self, *faults: Fault | None) -> None:
        """The next writes go wrong, one each; None lets one pass."""
        self._faults.extend(faults)

    def fail_looks(self, *errors: TransportError) -> None:
        """The next looks fail, one each."""
        self._looks_fail.extend(errors)

    def change(self, ref: Ref, now: datetime, **fields: object) -> Item:
        """Somebody else changes an item."""
        item = replace(self.items[ref], **fields)  # type: ignore[arg-type]
        self.items[ref] = item
        kind = EvidenceKind.MOVED if "status" in fields else EvidenceKind.EDITED
        self._happened(ref, now, kind)
        return item

    def say(self, ref: Ref, text: str, now: datetime) -> None:
        """Somebody else comments."""
        self.texts.setdefault(ref, []).append(text)
        self._happened(ref, now, EvidenceKind.COMMENT)

    def take(self, ref: Ref, agent: str, now: datetime) -> None:
        """Somebody else starts to work on it."""
        self.change(ref, now, status=Status.IN_PROGRESS, started_at=now, owner=Owner(OwnerKind.AGENT, agent))
        if self.claims:
            self.claimants[ref] = agent

    # `Source`.

    @property
    def identity(self) -> str:
        return f"scripted:{self.name}"

    @property
    def shareable(self) -> bool:
        return self.shared

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        self.reads += 1
        if self.failure is not None:
            kind, message = self.failure.kind, str(self.failure)
            return Reading(SourceReport(self.name, ReadStatus.FAILED, "scripted", kind, message))
        items = tuple(self.items.values())
        report = SourceReport(self.name, ReadStatus.COMPLETE, "scripted", items=len(items), read_at=now)
        return Reading(report, items, tuple(self.evidence), presence=self.presence)

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return (Probe("scripted", ok=self.failure is None, configured=True, seconds=0.0),)

    def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
        self.heard.append(frozenset(agents))
        if self.deaf is not None:
            raise self.deaf
        return tuple(each for each in self.presence or () if each.agent in agents)

    # `Writer`.

    @property
    def source(self) -> str:
        return self.name

    def can(self, operation: Operation) -> bool:
        return operation in self.operations

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        self.calls.append(("look", ref))
        if self.meanwhile is not None:
            happening, self.meanwhile = self.meanwhile, None
            happening()
        if self.failure is not None:
            raise self.failure
        if self._looks_fail:
            raise self._looks_fail.popleft()
        return Look(
            self.items.get(ref),
            tuple(each for each in self.evidence if each.ref == ref),
            self.claimants.get(ref, ""),
            self.active.get(ref, False),
            frozenset(self.markers(ref)),
        )

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        self.calls.append(("apply", write.ref))
        if self.failure is not None:
            raise self.failure
        fault = self._faults.popleft() if self._faults else None
        if fault is Fault.CONFLICT:
            raise ConflictError(f"{write.ref}: {fault.value}")
        if fault is Fault.UNSUPPORTED or not self.can(write.operation):
            raise UnsupportedError(f"{self.name} cannot {write.operation.value}: {Fault.UNSUPPORTED.value}")
        if fault is Fault.DOWN:
            raise TransportError(FailureKind.UNREACHABLE, f"{self.name}: {fault.value}")
        if fault is Fault.LOST_BEFORE:
            raise _lost(self.name, fault)
        if fault is Fault.DIES_BEFORE:
            raise Died
        written = self._take_effect(write, look, now, says=fault is not Fault.MUTE, changes=fault is not Fault.HALF)
        if fault in (Fault.LOST_AFTER, Fault.HALF, Fault.MUTE):
            raise _lost(self.name, fault)
        if fault is Fault.DIES_AFTER:
            raise Died
        return written

    def markers(self, ref: Ref) -> Iterable[str]:
        """Markers of our texts that show on an item."""
        for text in self.texts.get(ref, ()):
            found = signature(text)
            if found is not None:
                yield found[1]

    # How a write takes effect.

    def _take_effect(self, write: Write, look: Look, now: datetime, *, says: bool, changes: bool) -> Written:
        """What the look does not show yet: what the write says, and what it changes."""
        if write.operation is Operation.CREATE:
            return self._create(write, now)
        item = self.items.get(write.ref)
        if item is None:
            raise ConflictError(f"{write.ref} is not there any more")
        self._refuse_a_second_claim(write, item)
        ids: list[str] = []
        if says and (write.text or write.outputs) and write.marker not in look.markers:
            ids += self._leave(write, now)
        if changes:
            ids += self._alter(write, item, now)
        if ids:
            self.effects.append(write)
        return Written(tuple(ids), "done" if ids else "was so already")

    def _leave(self, write: Write, now: datetime) -> Iterable[str]:
        self.texts.setdefault(write.ref, []).append(signed(write.text, write.marker, write.voice))
        yield self._happened(write.ref, now, EvidenceKind.COMMENT, own=write.voice is Voice.RULE)
        if write.outputs:
            self.outputs.setdefault(write.ref, []).extend(write.outputs)
            yield self._happened(write.ref, now, EvidenceKind.PROOF)

    def _alter(self, write: Write, item: Item, now: datetime) -> Iterable[str]:
        status = write.status or _STATUS.get(write.operation, item.status)
        owner = Owner(OwnerKind.AGENT, write.agent) if write.agent and _takes(write.operation) else item.owner
        changed = replace(item, status=status, raw_status=status.value, owner=owner)
        if write.operation is Operation.CLAIM and item.status is not Status.IN_PROGRESS:
            changed = replace(changed, started_at=now)
        if write.operation is Operation.CLAIM and self.claims and self.claimants.get(item.ref) != write.agent:
            self.claimants[item.ref] = write.agent
            self.claim_seconds[item.ref] = write.seconds
            yield self._happened(item.ref, now, EvidenceKind.CLAIMED)
        moved_away = write.operation is Operation.MOVE and status is not Status.IN_PROGRESS
        if moved_away or (write.operation in _FREED and write.operation is not Operation.UNBLOCK):
            self.claimants.pop(item.ref, None)
        if changed != item:
            self.items[item.ref] = changed
            yield self._happened(
                item.ref, now, EvidenceKind.MOVED if status is not item.status else EvidenceKind.EDITED
            )

    def _refuse_a_second_claim(self, write: Write, item: Item) -> None:
        if write.operation is not Operation.CLAIM:
            return
        holder = self.claimants.get(item.ref, "")
        working = item.owner.id if item.status is Status.IN_PROGRESS else ""
        for other in (holder, working):
            if other and other != write.agent:
                raise ConflictError(f"{item.key} already claimed by {other}.")

    def _create(self, write: Write, now: datetime) -> Written:
        ref = Ref(self.name, f"made-{write.marker}")
        if ref in self.items:
            return Written((), "was so already")
        owner = Owner(OwnerKind.AGENT, write.agent) if write.agent else NOBODY
        self.items[ref] = Item(ref, ref.id, write.title, Status.TODO, "todo", Priority.NORMAL, owner, created_at=now)
        self.texts.setdefault(ref, []).append(signed(write.text, write.marker, write.voice))
        self.effects.append(write)
        return Written((self._happened(ref, now, EvidenceKind.EDITED),), "created")

    def _happened(self, ref: Ref, now: datetime, kind: EvidenceKind, *, own: bool = False) -> str:
        self._events += 1
        event = f"{self.name}-event-{self._events}"
        self.evidence.append(Evidence(ref, now, kind, event, own))
        if ref in self.items:
            self.items[ref] = replace(self.items[ref], updated_at=now, revision=str(self._events))
        return event


class ScriptedWorld:
    """Several systems by name, as a beat and the verbs are given them."""

    def __init__(self, *systems: ScriptedSystem) -> None:
        self.systems = {system.name: system for system in systems}

    def __getitem__(self, name: str) -> ScriptedSystem:
        return self.systems[name]

    def source(self, name: str, roster: Roster, environment: Mapping[str, str]) -> ScriptedSystem:
        return self.systems[name]

    def writer(self, name: str, roster: Roster, environment: Mapping[str, str]) -> ScriptedSystem | None:
        return self.systems.get(name)

    @property
    def effects(self) -> list[Write]:
        """Every write that changed something, system by system."""
        return [write for system in self.systems.values() for write in system.effects]


def _takes(operation: Operation) -> bool:
    return operation in (Operation.CLAIM, Operation.ASSIGN)


def _lost(name: str, fault: Fault) -> TransportError:
    return TransportError(FailureKind.TIMEOUT, f"{name}: {fault.value}", outcome_unknown=True)
