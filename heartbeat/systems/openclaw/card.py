"""One card as it is at an instant, as far as a write cares: who holds it, what hangs on it, what of it is ours. Pure.

`Item` says what a card is to everybody; this says what only WorkBoard's own methods need to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heartbeat.action import signature
from heartbeat.instants import parse_instant
from heartbeat.systems.base import FailureKind, Fetched, TransportError
from heartbeat.systems.openclaw.evidence import trail_of
from heartbeat.systems.openclaw.owners import Team, is_live
from heartbeat.systems.openclaw.shape import Malformed, listed, mapping, text_or_none
from heartbeat.systems.openclaw.workboard import translate
from heartbeat.systems.writing import Said, latest, shortened
from heartbeat.task import Evidence, Item, Status

_ARTIFACT = re.compile(r"hb-([0-9a-f]{12})-[0-9]+")

_REMARKS = (
    ("comments", "", "body", "createdAt"),
    ("attempts", "attempt", "error", "endedAt"),
    ("proof", "proof", "note", "createdAt"),
    ("workerLogs", "worker", "message", "createdAt"),
)
"""Lists of a card in which somebody says something: whom it counts as, the text, and when."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card's record and what it says. `claimant` is the live claim's owner as roster id, "" for nobody."""

    record: Mapping[str, Any] = field(repr=False)
    item: Item
    evidence: tuple[Evidence, ...]
    """As the source gives it: nothing of a card that is closed."""
    signs: frozenset[str]
    """Ids of everything that ever happened to it, closed or not, as evidence names them."""
    claimant: str

    @classmethod
    def read(cls, record: Mapping[str, Any], team: Team, now: datetime) -> Card:
        """Raises TransportError BAD_OUTPUT where the record cannot be read."""
        translated = translate(Fetched([record]), now, team=team)
        if translated.rejected:
            raise _unreadable(translated.rejected[0].reason)
        item = translated.items[0]
        try:
            metadata = mapping(record, "metadata")
            signs = frozenset(each.id for each in trail_of(record, metadata, item.ref).evidence)
            claim = mapping(metadata, "claim")
            owner = text_or_none(claim, "ownerId")
            text_or_none(record, "agentId")
        except Malformed as error:
            raise _unreadable(str(error)) from error
        held = owner is not None and is_live(claim, item.status is Status.IN_PROGRESS, now)
        return cls(record, item, translated.evidence, signs, team.owner(owner or "").id if held else "")

    @property
    def claim_owner(self) -> str:
        """Who stands in the claim, expired or not, in the card's own words; "" without a claim."""
        owner = mapping(self._metadata, "claim").get("ownerId")
        return owner if isinstance(owner, str) else ""

    @property
    def agent(self) -> str:
        """Whom it is assigned to, in the card's own words."""
        return text_or_none(self.record, "agentId") or ""

    @property
    def updated_at(self) -> object:
        """What `expectedUpdatedAt` is compared with."""
        return self.record.get("updatedAt")

    @property
    def failures(self) -> bool:
        """Whether failures are counted against it."""
        return bool(self._metadata.get("failureCount"))

    @property
    def is_executing(self) -> bool:
        """Whether a run of OpenClaw's own is on it, by the card's word."""
        return mapping(self.record, "execution").get("status") == "running"

    @property
    def has_remains(self) -> bool:
        """Whether an execution or an open attempt hangs on it. Only a reclaim or a block ends those; a card that is
        given away with an execution takes the only slot of whoever gets it."""
        attempts = listed(self._metadata, "attempts")
        opened = any(isinstance(each, Mapping) and each.get("status") == "running" for each in attempts)
        return opened or self.is_executing

    @property
    def artifacts(self) -> Sequence[Any]:
        return listed(self._metadata, "artifacts")

    @property
    def said(self) -> frozenset[str]:
        """Markers of what heartbeat said on it, whoever's voice."""
        return frozenset(marker for _, marker in self._signed())

    @property
    def attached(self) -> frozenset[str]:
        """Markers of what heartbeat attached to it."""
        return frozenset(self._attached())

    @property
    def events(self) -> tuple[str, ...]:
        """Ids of its events, the last one being that of the last write."""
        return tuple(str(each.get("id")) for each in listed(self.record, "events") if isinstance(each, Mapping))

    @property
    def description(self) -> str:
        notes = self.record.get("notes")
        return shortened(notes) if isinstance(notes, str) else ""

    @property
    def remarks(self) -> tuple[Said, ...]:
        """What was said on it, and what its earlier attempts left: WorkBoard keeps no authors (contract 1.1)."""
        return latest(
            Said.of(author, parse_instant(entry.get(dated)), entry[text])
            for name, author, text, dated in _REMARKS
            for entry in self._entries(name)
            if isinstance(entry, Mapping) and isinstance(entry.get(text), str)
        )

    def comments_of(self, marker: str) -> frozenset[str]:
        """Ids of the comments that bear a marker."""
        return frozenset(str(identifier) for identifier, found in self._signed() if found == marker)

    def _signed(self) -> Iterator[tuple[object, str]]:
        for comment in listed(self._metadata, "comments"):
            body = comment.get("body") if isinstance(comment, Mapping) else None
            signed = signature(body) if isinstance(body, str) else None
            if signed is not None:
                yield comment.get("id"), signed[1]

    def _attached(self) -> Iterator[str]:
        for artifact in self.artifacts:
            identifier = artifact.get("id") if isinstance(artifact, Mapping) else None
            found = _ARTIFACT.fullmatch(identifier) if isinstance(identifier, str) else None
            if found is not None:
                yield found.group(1)

    def _entries(self, name: str) -> Sequence[Any]:
        """A list of the card's; what is none is nobody's word, and no reason not to write to the card."""
        entries = self._metadata.get(name)
        return entries if isinstance(entries, list) else ()

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return mapping(self.record, "metadata")


def _unreadable(reason: str) -> TransportError:
    return TransportError(
        FailureKind.BAD_OUTPUT,
        f"the card cannot be read: {reason}",
        advice="look at it in OpenClaw; until it can be read nothing is written to it",
    )


def artifact_id(marker: str, number: int) -> str:
    """The id of an output that a write attaches, so that it is attached once."""
    return f"hb-{marker}-{number}"
