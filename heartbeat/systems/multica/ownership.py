"""Which of an issue's changes are our own (rule T2). Pure.

Multica names a change by the revision that it leads to, and before 0.4.30 by nothing but the second in which it
happened. So ours are told from others' by counting: between two views of an issue there were as many changes as we
made, or somebody else was there too, and then no change is claimed. One sign of life too many delays a step; one too
few would take work from somebody who is at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from heartbeat.systems.multica.comments import Comments
from heartbeat.systems.multica.issues import change_id, revision_of
from heartbeat.task import Evidence, EvidenceKind

SAME_MOMENT = timedelta(seconds=2)
"""Within this of our own note a change counts as part of what the note is about; its time is told in whole seconds."""

_TOLD_BY_OTHER_MEANS = frozenset({"updated_at", "last_activity_at", "revision"})


@dataclass(frozen=True, slots=True)
class View:
    """An issue as it was at one instant: its record, and the ids of its comments."""

    record: Mapping[str, Any]
    comments: frozenset[str]


def revision_number(record: Mapping[str, Any]) -> int | None:
    """The revision as a number; None on servers that have none."""
    revision = record.get("revision")
    if isinstance(revision, bool) or not isinstance(revision, int | float | str):
        return None
    try:
        return int(revision)
    except (ValueError, OverflowError):
        return None


def own_changes(before: View, after: View, notes: frozenset[str], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Evidence ids of what led from one view to the other, where all of that was ours: these notes, and one change of
    these fields. Nothing where somebody else may have had a part in it."""
    made = len(notes) + bool(fields)
    first, last = revision_number(before.record), revision_number(after.record)
    if first is not None and last is not None:
        return tuple(change_id(str(number)) for number in range(first + 1, last + 1)) if last - first == made else ()
    was, became = revision_of(before.record), revision_of(after.record)
    alone = after.comments <= before.comments | notes and _unchanged(before.record, after.record, fields)
    # The same second as before names the earlier change too, and that one was not ours.
    return (change_id(became),) if made and alone and was != became else ()


def with_own_edit(evidence: tuple[Evidence, ...], comments: Comments) -> tuple[Evidence, ...]:
    """The evidence of a look, its last change marked as ours where it happened together with a note of ours that is
    the newest comment there is: what a write left whose answer was lost."""
    if not comments.evidence or not comments.evidence[-1].own:
        return evidence
    said = comments.evidence[-1].at
    if any(each.at >= said and not each.own for each in comments.evidence):
        return evidence
    return tuple(
        Evidence(each.ref, each.at, each.kind, each.id, own=True)
        if each.kind is EvidenceKind.EDITED and timedelta(0) <= each.at - said <= SAME_MOMENT
        else each
        for each in evidence
    )


def _unchanged(before: Mapping[str, Any], after: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Whether nothing but these fields differs, as far as both records tell."""
    ours = {*fields, "status_category"} if "status" in fields else {*fields}
    compared = before.keys() & after.keys() - _TOLD_BY_OTHER_MEANS - ours
    return all(before[name] == after[name] for name in compared)
