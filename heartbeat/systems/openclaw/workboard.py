"""A card as an `Item` and its `Evidence`. Pure (contract 1.1, 1.4; rules S3, S6, S6a, S7, S8, M1, D1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from heartbeat.instants import not_after, parse_instant, to_text
from heartbeat.systems.base import Fetched, Rejected, Translated, cut
from heartbeat.systems.openclaw.evidence import SAME_WRITE, TAKEN_BY_DISPATCH, Trail, trail_of
from heartbeat.systems.openclaw.owners import Team, owner_of
from heartbeat.systems.openclaw.references import mentions_of
from heartbeat.systems.openclaw.sessions import EXTRA, presences
from heartbeat.systems.openclaw.shape import Malformed, listed, mapping, text_or_none
from heartbeat.task import CLOSED, Dependency, DependencyKind, Evidence, Finding, Item, Priority, Ref, Status

SOURCE = "workboard"

STATUSES: Mapping[str, Status] = {
    "triage": Status.BACKLOG,
    "backlog": Status.BACKLOG,
    "todo": Status.TODO,
    "scheduled": Status.BACKLOG,
    "ready": Status.TODO,
    "running": Status.IN_PROGRESS,
    "in_progress": Status.IN_PROGRESS,
    "review": Status.IN_REVIEW,
    "in_review": Status.IN_REVIEW,
    "blocked": Status.BLOCKED,
    "done": Status.DONE,
}
"""Rule S6. `in_progress` and `in_review` are an older shape; `scheduled` with a time is todo from then on."""

PRIORITIES: Mapping[str, Priority] = {
    "urgent": Priority.URGENT,
    "high": Priority.HIGH,
    "normal": Priority.NORMAL,
    "medium": Priority.NORMAL,
    "low": Priority.LOW,
    "none": Priority.NONE,
}

_DEPENDENCY_LISTS = ("dependsOn", "depends_on", "parents")
"""Lists of an older shape, and of the compact cards that OpenClaw's tools give (contract 3)."""

_KEY = 8
_LONGER_KEYS = (13, 18, 23)
_LONGEST_ID = 256
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Card:
    """One card, translated."""

    item: Item
    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    unreadable: int


def translate(fetched: Fetched, now: datetime, *, team: Team) -> Translated:
    """Every record as an item or a rejection; of records with one id the newest stays (rules S3, S10)."""
    cards: dict[str, _Card] = {}
    rejected: list[Rejected] = []
    repeated: dict[str, int] = {}
    for record in fetched.records:
        identifier: str | None = None
        try:
            identifier = _identifier(record)
            card = _card(record, identifier, now, team)
        except Malformed as error:
            rejected.append(Rejected(SOURCE, identifier, str(error), cut(record)))
            continue
        earlier = cards.get(identifier)
        if earlier is not None:
            repeated[identifier] = repeated.get(identifier, 1) + 1
            card = max(earlier, card, key=_recency)
        cards[identifier] = card
    keys = _shortest_keys(cards)
    sessions = fetched.extra.get(EXTRA)
    return Translated(
        items=tuple(
            card.item if card.item.key == keys[identifier] else replace(card.item, key=keys[identifier])
            for identifier, card in cards.items()
        ),
        evidence=tuple(evidence for card in cards.values() for evidence in card.evidence),
        rejected=tuple(rejected),
        findings=(
            *(finding for card in cards.values() for finding in card.findings),
            *(_repeated(identifier, count) for identifier, count in repeated.items()),
            *_unknown_statuses(card.item for card in cards.values()),
            *_unreadable(card for card in cards.values() if card.unreadable),
        ),
        presence=None if sessions is None else presences(sessions, team, now),
    )


def _shortest_keys(identifiers: Iterable[str]) -> Mapping[str, str]:
    """What people call each card: the first 8 characters of its id, or as many as tell it from every other card."""
    keys = {identifier: identifier[:_KEY] for identifier in identifiers}
    for length in (*_LONGER_KEYS, _LONGEST_ID):
        counts = Counter(keys.values())
        if len(counts) == len(keys):
            break
        keys = {name: name[:length] if counts[key] > 1 else key for name, key in keys.items()}
    return keys


def _identifier(record: Any) -> str:
    if not isinstance(record, Mapping):
        raise Malformed("the record is not an object")
    identifier = record.get("id")
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not identifier.strip():
        raise Malformed("the record has no id")
    identifier = identifier.strip()
    if len(identifier) > _LONGEST_ID or not identifier.isprintable():
        raise Malformed("the record's id is no id")
    return identifier


def _card(record: Mapping[str, Any], identifier: str, now: datetime, team: Team) -> _Card:
    ref = Ref(SOURCE, identifier)
    metadata = mapping(record, "metadata")
    automation = mapping(metadata, "automation")
    claim = mapping(metadata, "claim")
    key = identifier[:_KEY]
    title = text_or_none(record, "title")
    word = record.get("status")
    raw_status = word if isinstance(word, str) else "" if word is None else str(word)
    folded = raw_status.strip().casefold()
    status = STATUSES.get(folded, Status.UNKNOWN)
    scheduled_at = _instant(automation, "scheduledAt")
    not_before = scheduled_at if scheduled_at and (scheduled_at > now or folded == "scheduled") else None
    if folded == "scheduled" and scheduled_at is not None:
        status = Status.TODO
    archived = _instant(metadata, "archivedAt") is not None
    is_open = status not in CLOSED and not archived
    trail = trail_of(record, metadata, ref) if is_open else Trail()
    times = _Times(now)
    created_at = times.told(_first(record, "createdAt", "created_at"))
    started_at = times.latest(
        parse_instant(_first(record, "startedAt", "started_at")),
        parse_instant(claim.get("claimedAt")),
        trail.last_start if status is Status.IN_PROGRESS else None,
    )
    updated_at = times.told(_first(record, "updatedAt", "updated_at")) or started_at
    evidence = tuple(replace(entry, at=times.checked(entry.at)) for entry in trail.evidence)
    owner, claim_is_live = owner_of(record, claim, running=status is Status.IN_PROGRESS, now=now, team=team)
    item = Item(
        ref=ref,
        key=key,
        title=title or key,
        status=status,
        raw_status=raw_status,
        priority=_priority(record),
        owner=owner,
        created_at=created_at,
        updated_at=updated_at,
        started_at=started_at,
        not_before=not_before,
        archived=archived,
        url=_url(record),
        revision=_revision(record),
        aliases=(identifier,),
        mentions=mentions_of(record, title or "", identifier),
        depends_on=_dependencies(record, metadata),
        reclaimed=is_open and status is Status.BLOCKED and _was_reclaimed(metadata, trail.last_move),
    )
    findings: list[Finding] = []
    if title is None:
        findings.append(Finding("untitled", f"card {key} has no title", (ref,)))
    if times.ahead is not None:
        message = f"card {key} has a time ahead of this machine's clock ({to_text(times.ahead)}); it is taken as now"
        findings.append(Finding("clock-skew", message, (ref,)))
    if is_open:
        findings.extend(_slot_findings(item, record, claim, claim_is_live))
    return _Card(item, evidence, tuple(findings), trail.unreadable)


class _Times:
    """Reads a card's times and remembers the furthest one that lies more than five minutes ahead (rule S8)."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.ahead: datetime | None = None

    def checked(self, instant: datetime) -> datetime:
        corrected, was_ahead = not_after(instant, self._now)
        if was_ahead and (self.ahead is None or instant > self.ahead):
            self.ahead = instant
        return corrected or instant

    def told(self, value: object) -> datetime | None:
        instant = parse_instant(value)
        return None if instant is None else self.checked(instant)

    def latest(self, *instants: datetime | None) -> datetime | None:
        known = [self.checked(instant) for instant in instants if instant is not None]
        return max(known, default=None)


def _instant(record: Mapping[str, Any], name: str) -> datetime | None:
    """A time that decides whether the card is work at all: one that cannot be read must not be guessed."""
    value = record.get(name)
    instant = parse_instant(value)
    if value is not None and instant is None:
        raise Malformed(f"{name} is no time")
    return instant


def _first(record: Mapping[str, Any], *names: str) -> object:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _priority(record: Mapping[str, Any]) -> Priority:
    word = record.get("priority")
    return PRIORITIES.get(word.strip().casefold(), Priority.NONE) if isinstance(word, str) else Priority.NONE


def _url(record: Mapping[str, Any]) -> str | None:
    url = record.get("sourceUrl")
    if not isinstance(url, str) or not url.strip().isprintable():
        return None
    try:
        parts = urlsplit(url.strip())
        return url.strip() if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def _revision(record: Mapping[str, Any]) -> str | None:
    value = _first(record, "updatedAt", "updated_at")
    return None if value is None else str(value)


def _dependencies(record: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[Dependency, ...]:
    """Parent links, and the lists of other shapes. Links of other types are decoration (contract, trap 6)."""
    links = [mapping({"link": link}, "link") for link in listed(metadata, "links")]
    targets = [_target(link.get("targetCardId"), "a parent link") for link in links if link.get("type") == "parent"]
    for name in _DEPENDENCY_LISTS:
        entries = listed(record, name)
        targets += [_target(entry.get("id") if isinstance(entry, Mapping) else entry, name) for entry in entries]
    return tuple(Dependency(DependencyKind.CARD, target) for target in dict.fromkeys(targets))


def _target(value: object, where: str) -> str:
    """A dependency whose target cannot be read must not vanish: the card would look free to start."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"{where} names no card")
    return value.strip()


def _slot_findings(
    item: Item,
    record: Mapping[str, Any],
    claim: Mapping[str, Any],
    claim_is_live: bool,
) -> Iterable[Finding]:
    """A running card that nobody holds, and a card that OpenClaw's dispatch blocked for its silence (rule T8)."""
    if item.status is Status.IN_PROGRESS and not claim_is_live:
        execution = record.get("execution")
        executing = isinstance(execution, Mapping) and execution.get("status") == "running"
        if claim:
            message = f"card {item.key} is running, but its claim has expired; it still holds its agent's only slot"
            yield Finding("claim-expired", message, (item.ref,))
        elif not executing:
            message = f"card {item.key} is running without a claim; it holds its agent's only slot"
            yield Finding("running-without-claim", message, (item.ref,))
    if item.reclaimed:
        message = f"OpenClaw blocked card {item.key} because its worker fell silent"
        yield Finding("claim-expired-blocked", message, (item.ref,))


def _was_reclaimed(metadata: Mapping[str, Any], last_move: datetime | None) -> bool:
    """Whether OpenClaw's own dispatch blocked the card for its worker's silence, and nobody has moved it since."""
    return any(_is_expiry(notification, last_move) for notification in listed(metadata, "notifications"))


def _is_expiry(notification: Any, last_move: datetime | None) -> bool:
    """Whether a notification tells of the expired claim for which the card's last move was made."""
    if not isinstance(notification, Mapping) or not str(notification.get("message")).startswith(TAKEN_BY_DISPATCH):
        return False
    told = parse_instant(notification.get("createdAt"))
    return told is not None and last_move is not None and abs(last_move - told) <= SAME_WRITE


def _recency(card: _Card) -> tuple[datetime, str]:
    return card.item.updated_at or _LONG_AGO, repr(card.item)


def _repeated(identifier: str, count: int) -> Finding:
    message = f"card {identifier[:_KEY]} came {count} times in one answer; the newest record was kept"
    return Finding("repeated-record", message, (Ref(SOURCE, identifier),))


def _unknown_statuses(items: Iterable[Item]) -> Iterable[Finding]:
    by_word: dict[str, list[Ref]] = {}
    for item in items:
        if item.status is Status.UNKNOWN:
            by_word.setdefault(item.raw_status, []).append(item.ref)
    for word, refs in sorted(by_word.items()):
        yield Finding(
            "unknown-status", f"status {word!r} is not known; such cards are shown and left alone", tuple(refs)
        )


def _unreadable(cards: Iterable[_Card]) -> Iterable[Finding]:
    affected = tuple(cards)
    if affected:
        total = sum(card.unreadable for card in affected)
        refs = tuple(card.item.ref for card in affected)
        yield Finding("unreadable-history", f"{total} events, comments or attempts of cards could not be read", refs)
