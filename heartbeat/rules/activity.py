"""Who moved last: the clocks of what is being worked on, by the signs of life of others than us (rules T1, T2, T5, T9).
Pure.

No clock but our own is trusted. What a source tells that it had not told at the last look is news, and news happened
between that look and this one. A time outside of that is wrong, and the news counts from this look: so a source whose
clock runs behind, ahead or backwards can neither make a stall nor hide one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from heartbeat.instants import to_text
from heartbeat.memory import Clock, Mark, Memory
from heartbeat.rules.windows import in_utc
from heartbeat.task import Evidence, EvidenceKind, Item, OwnerKind, Presence, Ref, Status

PROGRESS = frozenset(
    {
        EvidenceKind.MOVED,
        EvidenceKind.COMMENT,
        EvidenceKind.PROOF,
        EvidenceKind.ARTIFACT,
        EvidenceKind.EDITED,
        EvidenceKind.LINKED,
    }
)
"""Activity that changes what is known of a task (rule T1)."""

ACTIVITY = PROGRESS | {
    EvidenceKind.CLAIMED,
    EvidenceKind.CLAIM_HEARTBEAT,
    EvidenceKind.ATTEMPT,
    EvidenceKind.RUN,
}
"""Signs of life (rule T1). SWEEP, the system's own housekeeping, is none."""

STARTS = frozenset({EvidenceKind.CLAIMED, EvidenceKind.MOVED, EvidenceKind.RUN, EvidenceKind.ATTEMPT})
"""What may begin an epoch (rule T5)."""

NO_EPOCH = ""
"""The epoch of a clock whose item is not being worked on: it is watched for what others do, and begins anew when
somebody takes it up."""


def advance(
    items: Iterable[Item],
    evidence: Iterable[Evidence],
    presence: Sequence[Presence],
    memory: Memory,
    now: datetime,
    *,
    beside: Collection[Ref] = frozenset(),
    read_at: Mapping[str, datetime] | None = None,
    looked_at: Mapping[str, datetime] | None = None,
) -> dict[Ref, Clock]:
    """The clocks after a look at `now`, in place of `memory.clocks`; a ref that is not in it needs none any more.

    `items` are those that were seen now, and only those: the clock of an item that did not come stands still. A clock
    runs for an item in progress, and for one that its system took from a silent worker (rule T8); what belongs to an
    open incident (rule L3) and what is `beside`, one task with an item in progress (rule T1), is watched without an
    epoch. `read_at` tells for a source when its data was read, where that was before now;
    `looked_at` when it was last seen completely before that, without a gap since.
    """
    now = in_utc(now)
    watched = {ref for each in memory.incidents if each.open for ref in (each.ref, *each.refs)} | set(beside)
    seen: set[Ref] = set()
    ours: dict[Ref, Item] = {}
    for item in items:
        seen.add(item.ref)
        if is_running(item) or item.ref in watched:
            ours[item.ref] = item
    trails = _trails(evidence, ours, memory.own)
    clocks = {ref: clock for ref, clock in memory.clocks.items() if ref not in seen}
    for ref, item in ours.items():
        read = (read_at or {}).get(ref.source, now)
        look = _Look(item, trails.get(ref, _NO_TRAIL), _present(item, presence), min(in_utc(read), now), now)
        previous = memory.clocks.get(ref)
        if previous is None:
            clocks[ref] = _first(look, memory, (looked_at or {}).get(ref.source))
        else:
            clocks[ref] = _next(look, _not_ahead(previous, now), memory)
    return clocks


def epoch_of(began: datetime) -> str:
    """The name of the work that began at an instant, the same for whoever sees it (rule L1)."""
    return in_utc(began).isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_running(item: Item) -> bool:
    """Whether somebody has begun it and not ended it: in progress, or taken from a worker that fell silent (T8)."""
    if item.archived:
        return False
    return item.status is Status.IN_PROGRESS or (item.reclaimed and item.status is Status.BLOCKED)


@dataclass(frozen=True, slots=True)
class _Trail:
    """What was told of an item. `told` says whether there was anything, our own and the system's doings included;
    `own_starts` are the times of what we did ourselves and may begin an epoch."""

    foreign: tuple[Evidence, ...] = ()
    told: bool = False
    own_starts: frozenset[datetime] = frozenset()

    @property
    def newest(self) -> tuple[datetime, str] | None:
        """What a clock remembers of it: the latest instant as told, and the names of all that was told."""
        if not self.foreign:
            return None
        return max(each.at for each in self.foreign), " ".join(sorted({short_name(each) for each in self.foreign}))


_NO_TRAIL = _Trail()


@dataclass(frozen=True, slots=True)
class _Look:
    """All that one look says of one item. `read` is when its source was read, at the latest `now`."""

    item: Item
    trail: _Trail
    present: tuple[Presence, ...]
    read: datetime
    now: datetime

    @property
    def running(self) -> bool:
        return is_running(self.item)

    @property
    def started(self) -> datetime | None:
        """When the present work on it began, as its source tells; never after now (rule S8)."""
        return None if self.item.started_at is None else min(in_utc(self.item.started_at), self.now)


def _trails(evidence: Iterable[Evidence], ours: Collection[Ref], own: Collection[tuple[Ref, str]]) -> dict[Ref, _Trail]:
    by_ref: dict[Ref, list[Evidence]] = {}
    for each in evidence:
        if each.ref in ours:
            by_ref.setdefault(each.ref, []).append(replace(each, at=in_utc(each.at)))
    return {ref: _trail(told, own) for ref, told in by_ref.items()}


def _trail(told: Sequence[Evidence], own: Collection[tuple[Ref, str]]) -> _Trail:
    foreign: dict[str, Evidence] = {}
    own_starts: set[datetime] = set()
    for each in sorted(told, key=lambda evidence: (evidence.at, evidence.kind)):
        if each.own or (each.ref, each.id) in own:
            own_starts |= {each.at} if each.kind in STARTS else set()
        elif each.kind in ACTIVITY:
            foreign[each.id] = each
    return _Trail(tuple(foreign.values()), True, frozenset(own_starts))


def _present(item: Item, presence: Sequence[Presence]) -> tuple[Presence, ...]:
    """The turns that may be about an item: those that name it, and those of its owner that name nothing."""
    # What is only watched is told by what happens to it: its owner goes on with other work meanwhile.
    owner = item.owner.id if item.owner.kind is OwnerKind.AGENT and is_running(item) else None
    return tuple(each for each in presence if each.ref == item.ref or (each.ref is None and each.agent == owner))


def _not_ahead(clock: Clock, now: datetime) -> Clock:
    """The clock by a clock that may have been set back since: nothing that it remembers is later than now (rule B6)."""
    activity, progress = (
        replace(mark, at=now) if mark is not None and mark.at > now else mark
        for mark in (clock.activity, clock.progress)
    )
    began_at, seen_at = min(clock.began_at, now), min(clock.seen_at, now)
    return replace(clock, began_at=began_at, seen_at=seen_at, activity=activity, progress=progress)


def _first(look: _Look, memory: Memory, looked_at: datetime | None) -> Clock:
    """An item that was not in progress before, or never seen: what its source tells is taken at its word, as far as it
    belongs to the present epoch (rule T5), and as far as the last look, if there was one, does not speak against it."""
    item = look.item
    began = look.started or (_as_far_as_told(look) if memory.without else None) or look.now
    if looked_at is not None and began < in_utc(looked_at):
        began = look.now  # it was not in progress at that look: the source's clock runs behind
    told = [each for each in look.trail.foreign if each.at >= began or not look.running]
    marks = [_mark(each, min(each.at, look.now)) for each in told]
    if not look.trail.told and item.updated_at is not None and in_utc(item.updated_at) >= began:
        marks.append(_edited(item, min(in_utc(item.updated_at), look.now)))
    return Clock(
        ref=item.ref,
        epoch=epoch_of(began) if look.running else NO_EPOCH,
        began_at=min(began, look.now),
        seen_at=look.read,
        activity=_latest([*marks, *_turns(look, began, None)]),
        progress=_latest(mark for mark in marks if mark.kind in PROGRESS),
        newest=look.trail.newest,
        revision=item.revision,
    )


def _as_far_as_told(look: _Look) -> datetime | None:
    """Without memory: the earliest that is known of the work on an item which does not tell when it began (B5)."""
    told = [each.at for each in look.trail.foreign]
    dates = (look.item.updated_at, look.item.created_at)
    return min(told, default=None) or next((in_utc(date) for date in dates if date is not None), None)


def _next(look: _Look, previous: Clock, memory: Memory) -> Clock:
    """An item that has a clock: its news moves it, and a new claim or a new start begins a new epoch (rule T5)."""
    item, started = look.item, look.started
    news = _news(look, previous)
    if look.running and _began_anew(look, previous, news):
        began = look.now if started is None else _dated(started, previous, look)
        # What came before that start is the old worker's.
        news = [each for each in news if started is not None and each.at >= started]
        previous = replace(previous, epoch=epoch_of(began), began_at=began, activity=None, progress=None)
    elif not look.running:
        previous = replace(previous, epoch=NO_EPOCH)
    marks = [_mark(each, _dated(each.at, previous, look)) for each in news]
    if _was_edited(look, previous, memory):
        at = look.read if item.updated_at is None else in_utc(item.updated_at)
        marks.append(_edited(item, _dated(at, previous, look)))
    signs = [*marks, *_turns(look, previous.began_at, previous.activity), previous.activity]
    steps = [*(mark for mark in marks if mark.kind in PROGRESS), previous.progress]
    return replace(
        previous,
        seen_at=look.read,
        activity=_latest(mark for mark in signs if mark is not None),
        progress=_latest(mark for mark in steps if mark is not None),
        newest=look.trail.newest or previous.newest,
        revision=item.revision,
    )


def _news(look: _Look, previous: Clock) -> list[Evidence]:
    """What was not there at the last look, whatever times it has: a time ahead is taken as now at every look (rule S8),
    and a clock that is set back gives what is new a time before what is known."""
    known = frozenset(previous.newest[1].split()) if previous.newest is not None else frozenset()
    return [each for each in look.trail.foreign if short_name(each) not in known]


def short_name(evidence: Evidence) -> str:
    """A short name for an event of one item: 300 of them are remembered in 2.7 kB, and no two will be alike."""
    return hashlib.sha256(evidence.id.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _began_anew(look: _Look, previous: Clock, news: Sequence[Evidence]) -> bool:
    """Whether an item was claimed or started since the last look, or has come back to be worked on (rule T5).

    That its start is told as later than before is not enough: a start ahead of our clock is taken as now at every look
    (rule S8) and settles only when that time has come. So something must have happened that is a start.
    """
    if previous.epoch == NO_EPOCH:
        return True
    if look.started is None or look.started <= previous.began_at or epoch_of(look.started) == previous.epoch:
        return False
    if any(each.kind in STARTS for each in news):
        return True
    if look.started >= look.read:
        return False
    if look.started in look.trail.own_starts:
        return True
    if any(each.kind in STARTS for each in look.trail.foreign):
        return False
    return look.item.revision is None or look.item.revision != previous.revision


def _was_edited(look: _Look, previous: Clock, memory: Memory) -> bool:
    """Whether an item changed whose source tells no history: a TODO line (rule T9)."""
    if look.trail.told or previous.revision is None or look.item.revision in (None, previous.revision):
        return False
    return (look.item.ref, look.item.revision) not in memory.own


def _turns(look: _Look, began: datetime, known: Mark | None) -> Iterable[Mark]:
    """The agent's turns: an active one is a sign of life now, another one when it was last seen (rule T1)."""
    for each in look.present:
        if each.active:
            yield Mark(look.now, EvidenceKind.RUN, each.id, look.item.ref)
        elif each.at is not None:
            at = in_utc(each.at)
            ahead = at > look.now
            name = f"{each.id}@{to_text(at)}" if ahead else each.id
            # A time ahead of our clock would be now at every look: it counts once.
            if at >= began and not (ahead and known is not None and known.id == name):
                yield Mark(min(at, look.now), EvidenceKind.RUN, name, look.item.ref)


def _dated(told: datetime, previous: Clock, look: _Look) -> datetime:
    """When something happened that the last look did not show: as told, if that can be true, else now."""
    return told if previous.seen_at <= told <= look.now else look.now


def _mark(evidence: Evidence, at: datetime) -> Mark:
    return Mark(at, evidence.kind, evidence.id, evidence.ref)


def _edited(item: Item, at: datetime) -> Mark:
    return Mark(at, EvidenceKind.EDITED, item.revision or "", item.ref)


def _latest(marks: Iterable[Mark]) -> Mark | None:
    return max(marks, key=lambda mark: (mark.at, mark.kind, mark.id), default=None)
