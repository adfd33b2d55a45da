"""Items of all sources become tasks: one task, many origins (rules M1 to M4). Pure and deterministic.

Three kinds of evidence join items, the surest first: an explicit reference, a link made in an earlier sweep, an equal
title of the same owner. Each kind joins whole groups, and joins nothing where a group would then hold two items of
one source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from heartbeat.names import Names
from heartbeat.order import item_order
from heartbeat.task import CLOSED, NOBODY, Finding, Item, Link, Ref, Status, Task
from heartbeat.titles import IDENTIFIER, identifiers, nearly_equal, normalised, tells_enough

_STRENGTH = (Status.IN_PROGRESS, Status.BLOCKED, Status.IN_REVIEW, Status.TODO, Status.BACKLOG)
"""Which status a task has when its open items differ: the first of these that one of them has (rule M4)."""

_SIMILAR_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Merged:
    """Tasks in no particular order of work (see order.py), the links that made them, and what is worth knowing."""

    tasks: tuple[Task, ...]
    links: tuple[Link, ...]
    findings: tuple[Finding, ...]


def merge(
    items: Iterable[Item],
    *,
    sources: Sequence[str],
    now: datetime,
    remembered: Iterable[Link] = (),
    stale: frozenset[Ref] = frozenset(),
    incomplete: frozenset[str] = frozenset(),
    unknown_ids: frozenset[str] = frozenset(),
) -> Merged:
    """Every item in exactly one task.

    `sources` is the source order. `stale` items come from an earlier read: their status is unknown now. `incomplete`
    names the sources that were not read completely, and `unknown_ids` records that came malformed, so that an absent
    item is not taken for gone (rules S2, S3).
    """
    arrange = item_order(sources)
    by_ref = {item.ref: item for item in sorted(items, key=arrange)}
    groups = _Groups(by_ref)
    links = tuple(remembered)
    findings = [
        *groups.join(_references(by_ref), "reference"),
        *groups.join(_remembered(links, by_ref), "remembered"),
        *groups.join(_equal_titles(by_ref, groups), "title"),
    ]
    absent = _absent(links, by_ref, incomplete, unknown_ids)
    tasks = tuple(
        _task(tuple(by_ref[ref] for ref in group), now, stale, absent, groups.links_of(group)) for group in groups.all()
    )
    findings += _duplicates(by_ref.values(), groups)
    findings += _similar(tasks)
    findings += _same_ticket(tasks)
    return Merged(tasks, tuple(link for task in tasks for link in task.links), tuple(findings))


def status_at(item: Item, now: datetime) -> Status:
    """The item's status at an instant: what is scheduled for later is backlog until then (rule S6)."""
    if item.status is Status.TODO and item.not_before is not None and now < item.not_before:
        return Status.BACKLOG
    return item.status


class _Groups:
    """Items that belong together so far, as disjoint groups; the first ref of a group leads it."""

    def __init__(self, by_ref: Mapping[Ref, Item]) -> None:
        self._rank = {ref: rank for rank, ref in enumerate(by_ref)}
        self._leader = {ref: ref for ref in by_ref}
        self._members: dict[Ref, tuple[Ref, ...]] = {ref: (ref,) for ref in by_ref}
        self._links: dict[Ref, tuple[Link, ...]] = {}

    def all(self) -> Iterable[tuple[Ref, ...]]:
        return self._members.values()

    def leader(self, ref: Ref) -> Ref:
        return self._leader[ref]

    def members(self, ref: Ref) -> tuple[Ref, ...]:
        return self._members[self._leader[ref]]

    def links_of(self, group: tuple[Ref, ...]) -> tuple[Link, ...]:
        return self._links.get(group[0], ())

    def join(self, pairs: Iterable[tuple[Ref, Ref]], via: str) -> list[Finding]:
        """Join the groups that the pairs connect; what would hold two items of one source stays apart (rule M2)."""
        neighbours: dict[Ref, set[Ref]] = {}
        for first, second in pairs:
            if first not in self._leader or second not in self._leader:
                continue
            one, other = self._leader[first], self._leader[second]
            if one != other:
                neighbours.setdefault(one, set()).add(other)
                neighbours.setdefault(other, set()).add(one)
        findings: list[Finding] = []
        done: set[Ref] = set()
        for start in sorted(neighbours, key=self._rank.__getitem__):
            if start in done:
                continue
            leaders = _reachable(start, neighbours)
            done |= leaders
            finding = self._unite(leaders, via)
            if finding is not None:
                findings.append(finding)
        return findings

    def _unite(self, leaders: set[Ref], via: str) -> Finding | None:
        ordered = sorted(leaders, key=self._rank.__getitem__)
        refs = tuple(sorted((ref for leader in ordered for ref in self._members[leader]), key=self._rank.__getitem__))
        crowded = sorted(source for source, count in Counter(ref.source for ref in refs).items() if count > 1)
        if crowded:
            reason = {"reference": "their references", "remembered": "earlier links", "title": "their titles"}[via]
            message = f"not merged: by {reason} these would be one task with several {', '.join(crowded)} items"
            return Finding("ambiguous", message, refs)
        links = tuple(link for leader in ordered for link in self._links.pop(leader, ()))
        links += tuple(Link(ordered[0], leader, via) for leader in ordered[1:])
        for leader in ordered:
            del self._members[leader]
        self._members[refs[0]] = refs
        self._links[refs[0]] = links
        for ref in refs:
            self._leader[ref] = refs[0]
        return None


def _reachable(start: Ref, neighbours: Mapping[Ref, set[Ref]]) -> set[Ref]:
    found, frontier = {start}, [start]
    while frontier:
        for neighbour in neighbours[frontier.pop()] - found:
            found.add(neighbour)
            frontier.append(neighbour)
    return found


def _references(by_ref: Mapping[Ref, Item]) -> Iterable[tuple[Ref, Ref]]:
    """Pairs joined by an explicit reference to an item of another source (rule M1a)."""
    names = Names(by_ref.values())
    for item in by_ref.values():
        for mention in item.mentions:
            others = [ref for ref in names.find(mention) if ref.source != item.ref.source]
            yield from ((item.ref, other) for other in others)


def _equal_titles(by_ref: Mapping[Ref, Item], groups: _Groups) -> Iterable[tuple[Ref, Ref]]:
    """Pairs of open items of different sources with the same owner and an equal title (rule M1b).

    Titles that carry different ticket identifiers are different tasks, however alike their words are.
    """
    for alike in _by_title(by_ref.values()).values():
        identities = {names for item in alike if (names := _identifiers(groups.members(item.ref), by_ref))}
        if len(alike) < 2 or not _agree(identities):
            continue
        first = alike[0]
        if len({item.ref.source for item in alike}) > 1:
            yield from ((first.ref, other.ref) for other in alike[1:])


def _agree(identities: Iterable[frozenset[str]]) -> bool:
    """Whether each names what the next one names as well: GPT-4 in both titles, and BIZ-9 besides as one's own."""
    ordered = sorted(identities, key=len)
    return all(fewer <= more for fewer, more in pairwise(ordered))


def _by_title(items: Iterable[Item]) -> dict[tuple[object, str], list[Item]]:
    alike: dict[tuple[object, str], list[Item]] = {}
    for item in items:
        if item.status in CLOSED or item.archived:
            continue
        normal = normalised(item.title)
        if tells_enough(normal):
            alike.setdefault((item.owner, normal), []).append(item)
    return alike


def _identifiers(refs: Iterable[Ref], by_ref: Mapping[Ref, Item]) -> frozenset[str]:
    members = [by_ref[ref] for ref in refs]
    named = {name for item in members for name in identifiers(item.title)}
    return frozenset(named | {name for item in members for alias in item.aliases for name in identifiers(alias)})


def _remembered(links: Iterable[Link], by_ref: Mapping[Ref, Item]) -> Iterable[tuple[Ref, Ref]]:
    """The pairs of earlier links, also those that held together by an item that is not there now (rule M4)."""
    around: dict[Ref, Ref] = {}
    for link in links:
        yield link.first, link.second
        for here, there in ((link.first, link.second), (link.second, link.first)):
            if here in by_ref and there not in by_ref:
                yield around.setdefault(there, here), here


def _absent(
    links: Iterable[Link], by_ref: Mapping[Ref, Item], incomplete: frozenset[str], unknown_ids: frozenset[str]
) -> Mapping[Ref, tuple[Ref, ...]]:
    """For each present item, the refs once linked to it that an incomplete source may merely not have shown, or whose
    record came malformed."""
    absent: dict[Ref, set[Ref]] = {}
    for link in links:
        for here, there in ((link.first, link.second), (link.second, link.first)):
            unseen = there.source in incomplete or there.id in unknown_ids
            if here in by_ref and there not in by_ref and unseen:
                absent.setdefault(here, set()).add(there)
    return {ref: tuple(sorted(others)) for ref, others in absent.items()}


def _task(
    items: tuple[Item, ...],
    now: datetime,
    stale: frozenset[Ref],
    absent: Mapping[Ref, tuple[Ref, ...]],
    links: tuple[Link, ...],
) -> Task:
    living = [item for item in items if not item.archived] or list(items)
    statuses = [Status.UNKNOWN if item.ref in stale else status_at(item, now) for item in living]
    missing = tuple(sorted({ref for item in items for ref in absent.get(item.ref, ())}))
    opened = [status for status in statuses if status not in CLOSED and status is not Status.UNKNOWN]
    closed = [status for status in statuses if status in CLOSED]
    return Task(
        items=items,
        status=Status.UNKNOWN if missing else _combined(statuses),
        priority=min((item.priority for item in living), key=lambda priority: priority.rank),
        owner=next((item.owner for item in living if item.owner != NOBODY), NOBODY),
        due=min((item.due for item in living if item.due is not None), default=None),
        archived=all(item.archived for item in items) and not missing,
        split=bool(opened and closed),
        links=links,
        stale=tuple(item.ref for item in items if item.ref in stale),
        absent=missing,
    )


def _combined(statuses: Sequence[Status]) -> Status:
    """One status for several items (rule M4)."""
    if Status.UNKNOWN in statuses:
        return Status.UNKNOWN
    for status in _STRENGTH:
        if status in statuses:
            return status
    return Status.DONE if Status.DONE in statuses else Status.CANCELLED


def _duplicates(items: Iterable[Item], groups: _Groups) -> list[Finding]:
    """Open items of one source, one owner and one title: reported, never merged (rule M2)."""
    findings: list[Finding] = []
    for alike in _by_title(items).values():
        by_source: dict[str, list[Ref]] = {}
        for item in alike:
            by_source.setdefault(item.ref.source, []).append(item.ref)
        for source, refs in by_source.items():
            if len(refs) > 1:
                findings.append(Finding("duplicate?", f"{len(refs)} {source} items have the same title", tuple(refs)))
    return findings


def _similar(tasks: Iterable[Task]) -> list[Finding]:
    """Open tasks of different sources and nearly equal titles: reported, never merged (rule M2)."""
    by_owner: dict[object, dict[str, list[Task]]] = {}
    for task in tasks:
        normal = normalised(task.title)
        if not task.closed and tells_enough(normal):
            by_owner.setdefault(task.owner, {}).setdefault(normal, []).append(task)
    findings: list[Finding] = []
    for titles in by_owner.values():
        for one, other in nearly_equal(titles):
            refs = tuple(task.ref for task in (*titles[one], *titles[other]))
            if len({ref.source for ref in refs}) > 1:
                findings.append(Finding("similar?", "nearly the same title, not merged", refs))
    return findings[:_SIMILAR_SHOWN]


def _same_ticket(tasks: Iterable[Task]) -> list[Finding]:
    """Open tasks that name one ticket which no source has: reported, never merged, for nothing says what it is."""
    naming: dict[str, list[Task]] = {}
    known: set[str] = set()
    for task in tasks:
        known |= {alias.upper() for item in task.items for alias in item.aliases}
        if not task.closed:
            named = {mention.upper() for item in task.items for mention in item.mentions}
            for name in named:
                if IDENTIFIER.fullmatch(name):
                    naming.setdefault(name, []).append(task)
    return [
        Finding(
            "same-ticket?", f"they name {name}, which no source shows: not merged", tuple(task.ref for task in named)
        )
        for name, named in sorted(naming.items())
        if len(named) > 1 and name not in known
    ]
