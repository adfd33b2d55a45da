"""A WorkBoard without a Gateway: OpenClaw's raw cards and the methods that agents, people and heartbeat use on them
(contract 1.1 to 1.4, sessions by contract 7).

The cards are read by the real translation and written to by the real writer; only the wire between is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from heartbeat.simulate.world import World
from heartbeat.systems.openclaw.gateway import refusal_of

Card = dict[str, Any]
Parameters = Mapping[str, Any]

PREFIX = "workboard.cards."
_CLAIM_SECONDS = 1800
_GRACE = 300_000
"""Milliseconds for which a running card stays claimed after its claim has expired."""
_EXPIRED = "Claim expired without a recent heartbeat."
_KEPT = {"events": 50, "comments": 50, "notifications": 20}
_CLAIMABLE = frozenset({"backlog", "todo", "ready"})


class _RefusedError(Exception):
    """What the Gateway would say."""

    def __init__(self, message: str, code: str = "workboard_error") -> None:
        super().__init__(message)
        self.code = code


MAIN = "main"
"""The session in which an agent's own turns take place."""


@dataclass(slots=True)
class _Session:
    """One session of an agent: when it was last spoken in, and until when its turn goes on."""

    agent: str
    last: datetime
    until: datetime


class VirtualBoard:
    """All cards of one OpenClaw, and its agents' sessions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cards: dict[str, Card] = {}
        self._sessions: dict[str, _Session] = {}
        self._stamp = 0

    def call(self, method: str, parameters: Parameters) -> dict[str, Any]:
        """What the Gateway answers, as a copy; raises GatewayError for what it refuses."""
        try:
            return copy.deepcopy(self.do(method, parameters))
        except _RefusedError as error:
            told = {"code": error.code, "message": str(error)}
            raise refusal_of(told, method, "the simulated Gateway", "the simulation") from error

    def do(self, method: str, parameters: Parameters) -> dict[str, Any]:
        """The same without a copy. Raises _RefusedError, and KeyError for a method that does not exist here."""
        if method == "sessions.list":
            return {"sessions": list(self._listed(parameters))}
        return _METHODS[method.removeprefix(PREFIX)](self, parameters)

    def record(self, identifier: str) -> Card | None:
        return self._cards.get(identifier)

    def delete(self, identifier: str) -> None:
        self._cards.pop(identifier, None)

    def turn(self, agent: str, until: datetime, session: str = MAIN) -> None:
        """An agent has a turn, from now until then; one that goes on already lasts no shorter for it."""
        key = f"agent:{agent}:{session}"
        known = self._sessions.get(key)
        self._sessions[key] = _Session(agent, self._world.now, max(until, known.until) if known else until)

    def end_turn(self, agent: str, session: str) -> None:
        """A turn ends, before its time or with it."""
        known = self._sessions.get(f"agent:{agent}:{session}")
        if known is not None:
            known.until = min(known.until, self._world.now)

    def has_turn(self, agent: str) -> bool:
        """Whether a turn of the agent shows now, in any session."""
        return any(each.agent == agent and self._world.now < each.until for each in self._sessions.values())

    def claim(self, identifier: str, agent: str, *, alone: bool = True) -> bool:
        """An agent takes a card; False where WorkBoard refuses. With `alone=False` its slot is not looked at."""
        try:
            self._take({"id": identifier, "ownerId": agent}, alone=alone)
        except _RefusedError:
            return False
        return True

    def is_held_by(self, identifier: str, agent: str) -> bool:
        """Whether an agent still has the card and works on it: by its claim, expired or not."""
        card = self._cards.get(identifier)
        if card is None or card["status"] != "running":
            return False
        claim = card["metadata"].get("claim")
        return bool(claim and claim["ownerId"] == agent)

    def forget_sessions(self, before: datetime) -> None:
        """OpenClaw archives what nobody has spoken in for long."""
        self._sessions = {key: each for key, each in self._sessions.items() if max(each.last, each.until) >= before}

    def expire(self) -> int:
        """OpenClaw's own dispatch: blocks running cards whose claim ran out (contract 1.4); how many it blocked."""
        stale = [card for card in self._cards.values() if card["status"] == "running" and self._is_over(card)]
        for card in stale:
            card["metadata"].pop("claim")
            self._fail(card, _EXPIRED)
            self._moved(card, "running")
        return len(stale)

    # Reading.

    def _list(self, parameters: Parameters) -> dict[str, Any]:
        cards = list(self._cards.values())
        return {"cards": cards, "boards": [{"id": "default", "total": len(cards)}]}

    def _runs(self, parameters: Parameters) -> dict[str, Any]:
        return {"card": self._find(parameters), "attempts": []}

    def _listed(self, parameters: Parameters) -> Iterator[dict[str, Any]]:
        minutes = parameters.get("activeMinutes")
        since = None if minutes is None else self._world.now - timedelta(minutes=minutes)
        for key, session in self._sessions.items():
            active = self._world.now < session.until
            if parameters.get("agentId", session.agent) != session.agent:
                continue
            if (active or not parameters.get("activeOnly")) and (since is None or session.last >= since):
                last = int(session.last.timestamp() * 1000)
                yield {"key": key, "agentId": session.agent, "hasActiveRun": active, "lastInteractionAt": last}

    # Writing.

    def _create(self, parameters: Parameters) -> dict[str, Any]:
        key = parameters.get("idempotencyKey")
        for known in self._cards.values():
            if key and known["metadata"]["automation"].get("idempotencyKey") == key:
                return {"card": known}
        now, status = self._time(), str(parameters.get("status", "todo"))
        card: Card = {
            "id": self._world.identifier(),
            "title": parameters["title"],
            "status": status,
            "priority": parameters.get("priority", "normal"),
            "labels": list(parameters.get("labels", ())),
            "position": 1000 * (len(self._cards) + 1),
            "createdAt": now,
            "updatedAt": now,
            "events": [{"id": self._world.identifier(), "kind": "created", "at": now, "toStatus": status}],
            "metadata": {"automation": {"idempotencyKey": key} if key else {}},
        }
        card |= {name: parameters[name] for name in ("notes", "agentId") if parameters.get(name)}
        self._cards[card["id"]] = card
        return {"card": card}

    def _move(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._compare(card, parameters)
        before = card["status"]
        self._set(card, parameters.get("status", before))
        return self._moved(card, before)

    def _update(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._compare(card, parameters)
        artifacts = parameters.get("patch", {}).get("metadata", {}).get("artifacts")
        if artifacts is not None:
            card["metadata"]["artifacts"] = [{"createdAt": self._time(), **each} for each in artifacts]
            return self._written(card, "artifact_added")
        return self._written(card, "edited")

    def _comment(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._say(card, parameters["body"])
        return self._written(card, "comment_added")

    def _claim(self, parameters: Parameters) -> dict[str, Any]:
        return self._take(parameters, alone=True)

    def _take(self, parameters: Parameters, *, alone: bool) -> dict[str, Any]:
        card, owner = self._find(parameters), str(parameters["ownerId"])
        if card["status"] == "blocked":
            raise _RefusedError("card is blocked; use workboard_unblock before claiming.")
        if self._holder(card):
            raise _RefusedError(f"card already claimed by {self._holder(card)}.")
        if alone and any(other is not card and self._uses_slot(other, owner) for other in self._cards.values()):
            raise _RefusedError(f"Owner {owner} already has active Workboard work.")
        now, seconds = self._time(), float(parameters.get("ttlSeconds", _CLAIM_SECONDS))
        times = {"claimedAt": now, "lastHeartbeatAt": now, "expiresAt": now + int(seconds * 1000)}
        card["metadata"]["claim"] = {"ownerId": owner, "token": "[redacted]", **times}
        before = card["status"]
        if before in _CLAIMABLE:
            self._set(card, "running")
        return self._moved(card, before, otherwise="claimed")

    def _heartbeat(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        claim, now = card["metadata"].get("claim"), self._time()
        if claim is None:
            raise _RefusedError("card is not claimed.")
        claim["expiresAt"] += now - claim["lastHeartbeatAt"]
        claim["lastHeartbeatAt"] = now
        return self._written(card, "heartbeat")

    def _release(self, parameters: Parameters) -> dict[str, Any]:
        card, owner = self._find(parameters), parameters.get("ownerId")
        claim = card["metadata"].get("claim")
        if claim is not None and owner not in (None, claim["ownerId"]):
            raise _RefusedError("claim owner does not match.")
        return self._freed(card, parameters.get("status"), otherwise="claimed" if claim else "edited")

    def _reclaim(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._say(card, parameters.get("reason") or "Workboard claim reclaimed.")
        back = parameters.get("status") or ("ready" if card["status"] == "running" else None)
        return self._freed(card, back, otherwise="comment_added")

    def _reassign(self, parameters: Parameters) -> dict[str, Any]:
        """Keeps the claim, as the real one does."""
        card = self._find(parameters)
        if parameters.get("agentId"):
            card["agentId"] = parameters["agentId"]
        card["metadata"].pop("failureCount", None)
        if parameters.get("reason"):
            self._say(card, parameters["reason"])
            return self._written(card, "comment_added")
        return self._written(card, "edited")

    def _block(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before, reason = card["status"], parameters.get("reason") or "Workboard card blocked."
        card["metadata"].pop("claim", None)
        self._fail(card, reason)
        self._say(card, reason)
        return self._moved(card, before, otherwise="comment_added")

    def _unblock(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before = card["status"]
        self._set(card, "todo")
        return self._moved(card, before)

    def _complete(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before = card["status"]
        card["metadata"].pop("claim", None)
        card["metadata"].pop("failureCount", None)
        self._set(card, "done")
        if parameters.get("summary"):
            self._say(card, parameters["summary"])
        return self._moved(card, before)

    # What the methods are made of.

    def _find(self, parameters: Parameters) -> Card:
        identifier = str(parameters.get("id", ""))
        if identifier not in self._cards:
            raise _RefusedError(f"card not found: {identifier}")
        return self._cards[identifier]

    def _compare(self, card: Card, parameters: Parameters) -> None:
        expected = parameters.get("expectedUpdatedAt", card["updatedAt"])
        if expected != card["updatedAt"]:
            raise _RefusedError(
                "Card changed while you were editing. Review the latest values and retry.", "workboard_conflict"
            )

    def _holder(self, card: Card) -> str:
        """Whose claim still holds, "" for nobody's."""
        claim = card["metadata"].get("claim")
        return "" if claim is None or self._is_over(card) else str(claim["ownerId"])

    def _is_over(self, card: Card) -> bool:
        claim = card["metadata"].get("claim")
        grace = _GRACE if card["status"] == "running" else 0
        return claim is not None and self._milliseconds() >= claim["expiresAt"] + grace

    def _uses_slot(self, card: Card, owner: str) -> bool:
        holder = self._holder(card)
        if (holder or card.get("agentId")) != owner:
            return False
        return card["status"] == "running" or bool(holder and card["status"] != "done")

    def _set(self, card: Card, status: str) -> None:
        card["status"] = status
        if status == "running":
            card.setdefault("startedAt", self._time())
        if status == "done":
            card.setdefault("completedAt", self._time())
        else:
            card.pop("completedAt", None)

    def _freed(self, card: Card, status: str | None, *, otherwise: str) -> dict[str, Any]:
        card["metadata"].pop("claim", None)
        before = card["status"]
        if status is not None:
            self._set(card, status)
        return self._moved(card, before, otherwise=otherwise)

    def _fail(self, card: Card, message: str) -> None:
        metadata = card["metadata"]
        metadata["failureCount"] = metadata.get("failureCount", 0) + 1
        self._append(metadata, "notifications", {"kind": "failed", "message": message})
        self._set(card, "blocked")

    def _say(self, card: Card, body: str) -> None:
        self._append(card["metadata"], "comments", {"body": body})

    def _append(self, record: dict[str, Any], name: str, entry: dict[str, Any]) -> None:
        entries = record.setdefault(name, [])
        entries.append({"id": self._world.identifier(), **entry, "createdAt": self._time()})
        del entries[: -_KEPT[name]]

    def _moved(self, card: Card, before: str, otherwise: str = "edited") -> dict[str, Any]:
        if card["status"] == before:
            return self._written(card, otherwise)
        return self._written(card, "moved", fromStatus=before, toStatus=card["status"])

    def _written(self, card: Card, kind: str, **extra: str) -> dict[str, Any]:
        """Every mutation moves `updatedAt` and leaves an event (contract 1.4)."""
        card["updatedAt"] = self._time()
        card["events"].append({"id": self._world.identifier(), "kind": kind, "at": card["updatedAt"], **extra})
        del card["events"][: -_KEPT["events"]]
        return {"card": card}

    def _milliseconds(self) -> int:
        return int(self._world.now.timestamp() * 1000)

    def _time(self) -> int:
        """Now in milliseconds; no two writes of the board share one."""
        self._stamp = max(self._stamp + 1, self._milliseconds())
        return self._stamp


_METHODS: Mapping[str, Callable[[VirtualBoard, Parameters], dict[str, Any]]] = {
    "list": VirtualBoard._list,
    "runs": VirtualBoard._runs,
    "create": VirtualBoard._create,
    "move": VirtualBoard._move,
    "update": VirtualBoard._update,
    "comment": VirtualBoard._comment,
    "claim": VirtualBoard._claim,
    "heartbeat": VirtualBoard._heartbeat,
    "release": VirtualBoard._release,
    "reclaim": VirtualBoard._reclaim,
    "reassign": VirtualBoard._reassign,
    "block": VirtualBoard._block,
    "unblock": VirtualBoard._unblock,
    "complete": VirtualBoard._complete,
}
