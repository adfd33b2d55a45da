"""Whether a write whose answer was lost had taken effect, and what of it shows is ours (rules L4, T2, I4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from heartbeat.action import Expectation, Operation, Voice, Write
from heartbeat.systems.writing import Look
from heartbeat.task import EvidenceKind, Item, Status

_MOVES: Mapping[Operation, Status] = {
    Operation.RECOVER: Status.TODO,
    Operation.BLOCK: Status.BLOCKED,
    Operation.UNBLOCK: Status.TODO,
    Operation.ASSIGN: Status.TODO,
    Operation.CLAIM: Status.IN_PROGRESS,
    Operation.DONE: Status.DONE,
}
"""Where an operation puts its item when the write names no status."""

_FREES = frozenset({Operation.RECOVER, Operation.BLOCK, Operation.ASSIGN})
"""Operations that take the item from its worker before they say so."""


def target_of(write: Write) -> Status | None:
    """The status that the write gives its item; None where it gives none."""
    return write.status or _MOVES.get(write.operation)


def shows(write: Write, item: Item) -> bool:
    """Whether the item has the status that the write was to give it."""
    target = target_of(write)
    return target is None or item.status is target


def has_landed(write: Write, look: Look) -> bool:
    """Whether an earlier attempt left its mark. A claim may leave no text: then it is told by who holds the item."""
    if write.marker in look.markers:
        return True
    if write.operation is not Operation.CLAIM or look.item is None or look.item.status is not Status.IN_PROGRESS:
        return False
    return (look.claimant or look.item.owner.id) == write.agent


def expected_of(write: Write, look: Look) -> Expectation:
    """What must hold for a repeated write. One that takes an item from its worker does that first and says so last:
    where it is free already and where it should be, our own attempt may have stopped in between."""
    item = look.item
    half_done = write.operation in _FREES and write.voice is Voice.RULE and item is not None
    if not half_done or item is None or look.claimant or not shows(write, item):
        return write.expect
    return replace(
        write.expect, statuses=None, owner=None, claimant=None, began_at=None, idle_since=None, seen="", revision=None
    )


def assumed_own(write: Write, look: Look) -> tuple[str, ...]:
    """Ids of the evidence that is ours, as far as nobody wrote anything after our own text; before that text was left,
    what took the item from its worker.

    A single move that came with our text or after it, to where the write moves its item, is ours too: taken for
    somebody else's it would end what is to be left alone (rule L3).
    """
    brought = _brought(write, look)
    ours = [each.at for each in look.evidence if each.own]
    if not ours or write.marker not in look.markers:
        return brought
    last = max(ours)
    told = tuple(each.id for each in look.evidence if each.own)
    others = [each for each in look.evidence if not each.own]
    moves = [each for each in others if each.kind is EvidenceKind.MOVED and each.at >= last]
    moved = len(moves) == 1 and look.item is not None and look.item.status is target_of(write)
    mine = {EvidenceKind.EDITED, EvidenceKind.MOVED} if moved else {EvidenceKind.EDITED}
    if any(each.at > last and each.kind not in mine for each in others):
        return told
    edits = tuple(each.id for each in others if each.kind is EvidenceKind.EDITED and each.at >= last)
    return (*told, *edits, *(tuple(each.id for each in moves if moved) or brought))


def _brought(write: Write, look: Look) -> tuple[str, ...]:
    """The move that brought the item where the write puts it, where it stood elsewhere when that was decided."""
    item, before = look.item, write.expect.statuses
    if write.operation not in _FREES or item is None or before is None or item.status in before:
        return ()
    since = write.expect.idle_since
    moves = [each for each in look.evidence if each.kind is EvidenceKind.MOVED and not each.own]
    moves = [each for each in moves if since is None or each.at > since]
    last = max(moves, key=lambda each: each.at, default=None)
    return (last.id,) if last is not None and shows(write, item) else ()
