"""Writing to WorkBoard: each operation by the narrowest calls there are, each carried out once (rules L2, L4, L6, C2).

WorkBoard compares before it writes in two places only: `move` and `update` refuse a card that has changed, `release`
refuses another claim owner. Everything else (comment, block, reclaim, reassign) is taken from anybody at any time
(contract 1.4). So a card is read again just before, compared with the look on which it was decided, taken from its
worker by `release`, and looked at again in what the last call returns.

Of several calls the last one leaves the marker: who finds it knows that the whole write is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from heartbeat.action import Operation, Output, Voice, Write, marker_of, signed
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.openclaw.card import Card, artifact_id
from heartbeat.systems.openclaw.cli import CommandTransport
from heartbeat.systems.openclaw.connection import Connection, Ways
from heartbeat.systems.openclaw.gateway import GatewayTransport
from heartbeat.systems.openclaw.limits import COMMENT, KEY, LABEL, NOTES, REASON, TITLE, cut, marked, units
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.workboard import SOURCE
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import Owner, OwnerKind, Ref, Status

WORDS: Mapping[Status, str] = {
    Status.BACKLOG: "backlog",
    Status.TODO: "todo",
    Status.IN_PROGRESS: "running",
    Status.IN_REVIEW: "review",
    Status.BLOCKED: "blocked",
    Status.DONE: "done",
}
"""What WorkBoard calls a status (rule S6); it knows no cancelled cards."""

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_TRIES = 3
"""How often outputs are added to a card that others write to at the same time."""

_UNWAITING = frozenset({Status.BLOCKED, Status.DONE, Status.CANCELLED})


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> BoardWriter | None:
    """The writer by the source's settings; None for a saved file, which nobody reads back."""
    wanted = settings.get("transport", "auto")
    if wanted not in ("auto", "gateway", "cli"):
        return None
    board, url, token_env = settings.get("board"), settings.get("url"), settings.get("token_env")
    binary = settings.get("binary") or "openclaw"
    ways = Ways(
        GatewayTransport(environment, board, url, token_env) if wanted != "cli" else None,
        CommandTransport(environment, binary, board, url, token_env) if wanted != "gateway" else None,
    )
    return BoardWriter(ways, Team.of(roster), board)


class BoardWriter:
    """Implements Writer. Each call has a connection of its own."""

    source = SOURCE

    def __init__(self, ways: Ways, team: Team, board: str | None = None) -> None:
        self._ways = ways
        self._team = team
        self._board = board

    def can(self, operation: Operation) -> bool:
        return operation is Operation.CREATE or operation in _OPERATIONS

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        """The card as it is now. Raises TransportError. A ref of another source, as a CREATE names it, is no card."""
        if ref.source != SOURCE:
            return Look(None)
        with self._ways.open(deadline) as connection:
            record = connection.card(ref.id)
            if record is None:
                return Look(None)
            card = Card.read(record, self._team, now)
            active = self._active(connection, card, owner)
        return Look(
            item=card.item,
            evidence=card.evidence,
            claimant=card.claimant,
            active=active,
            markers=card.said | card.attached,
            notes=card.description,
            said=card.remarks,
        )

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        """Carries out what the card does not show yet. Raises ConflictError, UnsupportedError, TransportError."""
        with self._ways.open(deadline) as connection:
            if write.operation is Operation.CREATE:
                return self._create(connection, write, now)
            carry = _OPERATIONS.get(write.operation)
            if carry is None or write.ref.source != SOURCE:
                raise UnsupportedError(f"WorkBoard cannot {write.operation.value} {write.ref}")
            hand = _Hand(connection, write, self._team, now)
            _compare(hand.card, look, write)
            carry(hand)
            return hand.written()

    def _active(self, connection: Connection, card: Card, owner: Owner) -> bool | None:
        if card.is_executing:
            return True
        if owner.kind is not OwnerKind.AGENT:
            return False
        try:
            return connection.has_run(owner.id)
        except TransportError:
            return None  # the look says that it cannot be known, and whoever needs to know refuses (rule T7)

    def _create(self, connection: Connection, write: Write, now: datetime) -> Written:
        """A card for what the write names; OpenClaw gives the same card again for the same key (contract 1.3)."""
        key = write.key if units(write.key) <= KEY else sha256(write.key.encode("utf-8", "surrogatepass")).hexdigest()
        parameters = {
            "title": cut(write.title, TITLE),
            "notes": marked(write, NOTES, f"{write.ref}\n\n{write.text}"),
            "status": _word(write.status or Status.TODO),
            "agentId": write.agent,
            "boardId": self._board,
            "idempotencyKey": key,
        }
        given = {name: value for name, value in parameters.items() if value}
        card = Card.read(connection.write("create", given), self._team, now)
        ids = tuple(sorted(card.signs)) if write.voice is Voice.RULE else ()
        return Written(ids, f"card {card.item.ref.id}")


class _Hand:
    """Carries out one write, call by call. `card` is as the last call left it."""

    def __init__(self, connection: Connection, write: Write, team: Team, now: datetime) -> None:
        self._connection = connection
        self._team = team
        self._now = now
        self._ours: set[str] = set()
        self._disturbed = False
        self.write = write
        self.card = self.read()

    def read(self) -> Card:
        """The card as it is now; raises ConflictError where it is gone."""
        record = self._connection.card(self.write.ref.id)
        if record is None:
            raise ConflictError(f"{self.write.ref} is not there any more")
        return Card.read(record, self._team, self._now)

    @property
    def is_said(self) -> bool:
        """Whether the write's text stands on the card, so that the whole write is done."""
        return self.write.marker in self.card.said

    def is_at(self, status: Status) -> bool:
        return self.card.item.status is status

    def reason(self, limit: int) -> str:
        return marked(self.write, limit, self.write.text)

    def call(self, method: str, **parameters: Any) -> None:
        """One write; `card` is what it returned, and what is new on it is ours."""
        before = self.card
        record = self._connection.write(method, {"id": self.write.ref.id, **parameters})
        try:
            self.card = Card.read(record, self._team, self._now)
        except TransportError as error:
            error.outcome_unknown = True
            raise
        new = self.card.signs - before.signs
        if len(set(self.card.events) - set(before.events)) > 1:
            # Somebody else wrote between the two looks. Only what is certainly ours is called ours (rule T2).
            self._disturbed = True
            new &= {self.card.events[-1]} | self.card.comments_of(self.write.marker)
        self._ours |= new

    def check(self, holds: bool, told: str) -> None:
        """Raises TransportError where a call was answered and its effect does not show."""
        if not holds:
            raise TransportError(
                FailureKind.SERVER_ERROR,
                f"card {self.card.item.key} {told} although OpenClaw answered that it was written",
                advice="look at the card in OpenClaw",
                outcome_unknown=True,
            )

    def say(self) -> None:
        """Leaves the write's text, once."""
        if not self.is_said:
            self.call("comment", body=self.reason(COMMENT))
            self.check(self.is_said, "does not show the comment")

    def say_if_anything(self) -> None:
        if self.write.text:
            self.say()

    def free(self, status: Status) -> None:
        """Takes the card from its worker and sets its status, refused where somebody else holds it now (rule L6)."""
        word = WORDS[status]
        if self.card.claim_owner:
            self.call("release", ownerId=self.card.claim_owner, status=word)
        elif not self.is_at(status):
            self.call("move", status=word, expectedUpdatedAt=self.card.updated_at)
        if self.card.has_remains:
            between = signed("", marker_of(f"{self.write.key} reclaim"), self.write.voice)
            self.call("reclaim", status=word, reason=between)
        self.check(not self.card.claim_owner, "is still claimed")

    def written(self) -> Written:
        ids = tuple(sorted(self._ours)) if self.write.voice is Voice.RULE else ()
        return Written(ids, "somebody else wrote to the card at the same time" if self._disturbed else "")


def _compare(card: Card, look: Look, write: Write) -> None:
    """Raises ConflictError where the card is not as it was when the write was decided (rule L6).

    What a rule decided it decided on every detail; what somebody asked for must not fail because a heartbeat came in.
    """
    if look.item is None:
        raise ConflictError(f"{write.ref} was not there when it was decided")
    if write.operation in _HARMLESS:
        return
    if card.claimant != look.claimant:
        raise ConflictError(f"card {card.item.key} is claimed by {card.claimant or 'nobody'} now")
    if write.voice is Voice.RULE and card.item.revision != look.item.revision:
        raise ConflictError(f"somebody else changed card {card.item.key} meanwhile")
    if card.item.status is not look.item.status:
        raise ConflictError(f"card {card.item.key} is {card.item.raw_status} now")


def _comment(hand: _Hand) -> None:
    hand.say()


def _recover(hand: _Hand) -> None:
    """Taken from its worker by name, then one reclaim with the reason, which ends what hangs on the card (rule L2)."""
    if hand.is_said:
        return
    status = hand.write.status or Status.TODO
    word = _word(status)
    if hand.card.claim_owner:
        hand.call("release", ownerId=hand.card.claim_owner, status=word)
    hand.call("reclaim", status=word, reason=hand.reason(REASON))
    hand.check(hand.is_at(status), f"is {hand.card.item.raw_status}")
    hand.check(not hand.card.claim_owner and hand.is_said, "still has its claim, or no reason,")


def _block(hand: _Hand) -> None:
    """A card that is blocked already is not blocked again: that would count as one more failure."""
    if hand.is_at(Status.BLOCKED):
        hand.say()
    elif not hand.is_said:
        hand.call("block", reason=hand.reason(COMMENT))
        hand.check(hand.is_at(Status.BLOCKED) and hand.is_said, "is not blocked")


def _unblock(hand: _Hand) -> None:
    """Back to todo, and its failures forgotten: a card may run out of retries (rule C2)."""
    if hand.is_at(Status.BLOCKED):
        hand.call("unblock")
        hand.check(not hand.is_at(Status.BLOCKED), "is still blocked")
    if (hand.write.text and not hand.is_said) or hand.card.failures:
        _reassign(hand, hand.card.agent)


def _assign(hand: _Hand) -> None:
    if not hand.write.agent:
        raise UnsupportedError("no agent to give the card to")
    if hand.is_said and hand.card.agent == hand.write.agent and not hand.card.claim_owner:
        return
    if hand.card.claim_owner or hand.is_at(Status.IN_PROGRESS) or hand.card.has_remains:
        hand.free(Status.TODO)
    if hand.card.agent != hand.write.agent or not hand.is_said:
        _reassign(hand, hand.write.agent)
    hand.check(hand.card.agent == hand.write.agent, f"belongs to {hand.card.agent or 'nobody'}")


def _reassign(hand: _Hand, agent: str) -> None:
    parameters: dict[str, Any] = {"resetFailures": True, **({"agentId": agent} if agent else {})}
    if hand.write.text and not hand.is_said:
        parameters["reason"] = hand.reason(REASON)
    hand.call("reassign", **parameters)
    hand.check(not hand.card.failures, "still counts its failures")


def _claim(hand: _Hand) -> None:
    agent, card = hand.write.agent, hand.card
    if card.claimant.casefold() != agent.casefold():
        if card.item.status in _UNWAITING:
            raise ConflictError(f"card {card.item.key} is {card.item.raw_status}", advice="set it back to todo first")
        lasting = {} if hand.write.seconds is None else {"ttlSeconds": hand.write.seconds}
        hand.call("claim", ownerId=agent, **lasting)
        hand.check(hand.card.claimant.casefold() == agent.casefold(), "is not claimed")
    if not hand.is_at(Status.IN_PROGRESS):
        hand.call("move", status=WORDS[Status.IN_PROGRESS], expectedUpdatedAt=hand.card.updated_at)
    hand.say_if_anything()


def _move(hand: _Hand) -> None:
    status = hand.write.status
    if status is None:
        raise UnsupportedError("no status to move the card to")
    word = _word(status)
    if status is not Status.IN_PROGRESS:
        # A claim that stays on a card in review holds its agent's only slot (contract 1.4).
        hand.free(status)
    elif not hand.is_at(status):
        hand.call("move", status=word, expectedUpdatedAt=hand.card.updated_at)
    hand.check(hand.is_at(status), f"is {hand.card.item.raw_status}")
    hand.say_if_anything()


def _done(hand: _Hand) -> None:
    if hand.is_at(Status.DONE) and hand.is_said:
        return
    parameters: dict[str, Any] = {"summary": hand.reason(COMMENT)}
    if artifacts := _artifacts(hand):
        parameters["artifacts"] = artifacts
    hand.call("complete", **parameters)
    hand.check(hand.is_at(Status.DONE) and hand.is_said, f"is {hand.card.item.raw_status}")


def _attach(hand: _Hand) -> None:
    """All outputs in one update that refuses a card that has changed, and is then tried again on the card as it is.

    `cards.artifact` gives an artifact the id of its card, and so takes one a card and no second.
    """
    for attempt in range(1, _TRIES + 1):
        artifacts = _artifacts(hand)
        if not artifacts:
            break
        patch = {"metadata": {"artifacts": [*hand.card.artifacts, *artifacts]}}
        try:
            hand.call("update", patch=patch, expectedUpdatedAt=hand.card.updated_at)
        except ConflictError:
            if attempt == _TRIES:
                raise
            hand.card = hand.read()
            continue
        hand.check(not _artifacts(hand), "does not show its outputs")
        break
    hand.say_if_anything()


def _artifacts(hand: _Hand) -> list[dict[str, Any]]:
    """The write's outputs that are not on the card yet, as WorkBoard keeps them (contract 1.1)."""
    there = {each.get("id") for each in hand.card.artifacts if isinstance(each, Mapping)}
    marker = hand.write.marker
    named = ((artifact_id(marker, number), output) for number, output in enumerate(hand.write.outputs, 1))
    return [_artifact(identifier, output) for identifier, output in named if identifier not in there]


def _artifact(identifier: str, output: Output) -> dict[str, Any]:
    label = f"{output.type.value}: {output.note}" if output.note else output.type.value
    place = "url" if _ADDRESS.fullmatch(output.path) else "path"
    return {"id": identifier, "label": cut(label, LABEL), place: output.path}


_HARMLESS = frozenset({Operation.COMMENT, Operation.ATTACH, Operation.CLAIM})
"""What takes nothing from anybody, or is refused by OpenClaw itself."""

_OPERATIONS: Mapping[Operation, Callable[[_Hand], None]] = {
    Operation.COMMENT: _comment,
    Operation.RECOVER: _recover,
    Operation.BLOCK: _block,
    Operation.UNBLOCK: _unblock,
    Operation.ASSIGN: _assign,
    Operation.CLAIM: _claim,
    Operation.MOVE: _move,
    Operation.DONE: _done,
    Operation.ATTACH: _attach,
}


def _word(status: Status) -> str:
    word = WORDS.get(status)
    if word is None:
        raise UnsupportedError(f"WorkBoard knows no status {status.value}", advice="archive the card in OpenClaw")
    return word
