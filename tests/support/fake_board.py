"""WorkBoard's methods without a wire, with their exact refusals, as observed (contract 1.1 to 1.4).

A plain object with a clock of its own. `call` takes a method's name and parameters as the Gateway does; absent
optionals are omitted, never null; every mutation moves `updatedAt` on by at least one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.support.fake_cards import (
    CLAIM_SECONDS,
    EXPIRED,
    GRACE_MS,
    PRIORITIES,
    STATUSES,
    BoardError,
    Card,
    Cards,
    Parameters,
    SteppingClock,
    at_most,
    board_id,
    board_of,
    given,
    one_of,
    title_of,
    units,
)

__all__ = ["READS", "BoardError", "FakeBoard", "SteppingClock"]

READS = frozenset({"cards.list", "cards.stats", "cards.runs", "cards.diagnostics", "boards.list"})


class FakeBoard(Cards):
    """All cards of one OpenClaw, on any number of boards."""

    def call(self, method: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """A method by its name without `workboard.`; raises BoardError, and KeyError for a method that is not known."""
        result = _METHODS[method](self, parameters or {})
        return copy.deepcopy(result)

    @staticmethod
    def knows(method: str) -> bool:
        return method in _METHODS

    def create(self, title: str, **parameters: Any) -> Card:
        """A card by the short way that tests use."""
        card: Card = self.call("cards.create", {"title": title, **parameters})["card"]
        return card

    # Reads

    def _list(self, parameters: Parameters) -> dict[str, Any]:
        board = parameters.get("boardId")
        wanted = None if board is None else board_id(board)
        cards = [card for card in self._cards.values() if wanted is None or board_of(card) == wanted]
        cards.sort(key=lambda card: (STATUSES.index(card["status"]), card["position"], card["createdAt"]))
        return {"cards": cards, "boards": self._summaries(), "statuses": list(STATUSES)}

    def _boards(self, parameters: Parameters) -> dict[str, Any]:
        return {"boards": self._summaries()}

    def _summaries(self) -> list[dict[str, Any]]:
        names = sorted({"default", *map(board_of, self._cards.values())}, key=lambda name: (name != "default", name))
        return [self._summary(name) for name in names]

    def _summary(self, name: str) -> dict[str, Any]:
        cards = [card for card in self._cards.values() if name in ("all", board_of(card))]
        archived = sum("archivedAt" in card.get("metadata", {}) for card in cards)
        counts = {status: sum(card["status"] == status for card in cards) for status in sorted(STATUSES)}
        summary: dict[str, Any] = {
            "id": name,
            "total": len(cards),
            "active": len(cards) - archived,
            "archived": archived,
            "byStatus": {status: count for status, count in counts.items() if count},
        }
        if cards:
            summary["updatedAt"] = max(card["updatedAt"] for card in cards)
        return summary

    def _stats(self, parameters: Parameters) -> dict[str, Any]:
        board = parameters.get("boardId")
        summary = self._summary("all" if board is None else board_id(board))
        agents: dict[str, int] = {}
        for card in self._cards.values():
            if "agentId" in card and (board is None or board_of(card) == board_id(board)):
                agents[card["agentId"]] = agents.get(card["agentId"], 0) + 1
        return {**summary, "byAgent": agents}

    def _runs(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        return {"card": card, "attempts": card.get("metadata", {}).get("attempts", [])}

    def _diagnostics(self, parameters: Parameters) -> dict[str, Any]:
        return {"diagnostics": [], "count": 0}

    # Writes

    def _create(self, parameters: Parameters) -> dict[str, Any]:
        title = title_of(parameters.get("title"))
        board = board_id(parameters.get("boardId", "default"))
        if units(parameters.get("notes") or "") > 4000:
            raise BoardError("notes must be 4000 characters or fewer.")
        key = parameters.get("idempotencyKey")
        at_most("idempotency key", 160, key)
        for card in self._cards.values():
            same_key = card.get("metadata", {}).get("automation", {}).get("idempotencyKey") == key
            if key and same_key and board_of(card) == board:
                return {"card": card}
        parents = [self._find({"id": parent}) for parent in parameters.get("parents", ())]
        status = one_of("status", STATUSES, parameters.get("status", "todo"))
        now = self._clock()
        automation = {name: parameters[name] for name in _AUTOMATION if parameters.get(name) is not None}
        if parents:
            automation["createdByCardId"] = parents[0]["id"]
        card = {
            "id": self._identifier(),
            "title": title,
            "status": status,
            "priority": one_of("priority", PRIORITIES, parameters.get("priority", "normal")),
            "labels": list(parameters.get("labels", ())),
            "position": self._next_position(board, status),
            "createdAt": now,
            "updatedAt": now,
            **{name: parameters[name] for name in _OPTIONAL if parameters.get(name) is not None},
            "events": [{"id": self._identifier(), "kind": "created", "at": now, "toStatus": status}],
            "metadata": {
                "automation": {
                    **({"boardId": board} if board != "default" else {}),
                    **automation,
                    "workspaceAccess": {"unrestricted": False, "roots": ["/state/workspace"], "writable": True},
                }
            },
        }
        if status == "running":
            card["startedAt"] = now
        if status == "done":
            card["completedAt"] = now
        self._cards[card["id"]] = card
        for parent in parents:
            self._link_both(parent, card)
        return {"card": card}

    def _update(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._compare(card, parameters)
        patch = parameters.get("patch", parameters)
        before = card["status"]
        if "status" in patch:
            self._move_to(card, one_of("status", STATUSES, patch["status"]))
        if "title" in patch:
            card["title"] = title_of(patch["title"])
        if "priority" in patch:
            card["priority"] = one_of("priority", PRIORITIES, patch["priority"])
        card.update({name: patch[name] for name in (*_OPTIONAL, "labels") if patch.get(name) is not None})
        execution = patch.get("execution")
        if execution is not None:
            card["execution"] = execution
            attempt = {
                "id": execution.get("runId", execution["id"]),
                **given(execution, "status", "startedAt", "mode", "model", "sessionKey", "runId"),
            }
            card.setdefault("metadata", {}).setdefault("attempts", []).append(attempt)
            return self._written(card, "linked", sessionKey=execution.get("sessionKey", ""))
        artifacts = (patch.get("metadata") or {}).get("artifacts")
        if artifacts is not None:
            self._add_artifacts(card, artifacts, instead=True)
            return self._written(card, "artifact_added")
        return self._moved(card, before)

    def _move(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._compare(card, parameters)
        before = card["status"]
        if parameters.get("status") is not None:
            self._move_to(card, one_of("status", STATUSES, parameters["status"]))
        if parameters.get("position") is not None:
            card["position"] = parameters["position"]
        return self._moved(card, before)

    def _comment(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._add_comment(card, parameters.get("body"))
        return self._written(card, "comment_added")

    def _claim(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        owner = parameters.get("ownerId")
        if not isinstance(owner, str) or not owner.strip():
            raise BoardError("claim ownerId is required.")
        metadata = card.setdefault("metadata", {})
        if "archivedAt" in metadata:
            raise BoardError("card is archived.")
        if self._is_claimed(card):
            raise BoardError(f"card already claimed by {metadata['claim']['ownerId']}.")
        self._check_holds(card, "running")
        if any(other is not card and self._uses_slot(other, owner) for other in self._cards.values()):
            raise BoardError(f"Owner {owner} already has active Workboard work.")
        now = self._clock()
        seconds = parameters.get("ttlSeconds", CLAIM_SECONDS)
        times = {"claimedAt": now, "lastHeartbeatAt": now, "expiresAt": now + seconds * 1000}
        metadata["claim"] = {"ownerId": owner, "token": "[redacted]", **times}
        self._tokens[card["id"]] = token = self._identifier()
        before = card["status"]
        if before in ("backlog", "todo", "ready"):
            self._move_to(card, "running")
        written = self._moved(card, before) if card["status"] != before else self._written(card, "claimed")
        return {**written, "token": token}

    def _heartbeat(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        claim = card.get("metadata", {}).get("claim")
        if claim is None:
            raise BoardError("card is not claimed.")
        self._check_claimant(card, parameters)
        now = self._clock()
        claim["expiresAt"] += now - claim["lastHeartbeatAt"]
        claim["lastHeartbeatAt"] = now
        if parameters.get("note"):
            self._add_comment(card, parameters["note"])
        return self._written(card, "heartbeat")

    def _release(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        was_claimed = "claim" in card.get("metadata", {})
        if was_claimed:
            self._check_claimant(card, parameters)
        self._drop_claim(card)
        before = card["status"]
        if parameters.get("status") is not None:
            self._move_to(card, one_of("status", STATUSES, parameters["status"]))
        return self._moved(card, before, otherwise="claimed" if was_claimed else "edited")

    def _reclaim(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        at_most("reclaim reason", 1000, parameters.get("reason"))
        self._drop_claim(card)
        reason = parameters.get("reason") or "Workboard claim reclaimed."
        self._end_attempts(card, "stopped", reason)
        was_executing = card.pop("execution", None) is not None
        self._add_comment(card, reason)
        before = card["status"]
        target = parameters.get("status")
        if target is None and before == "running":
            target = "ready" if self._parents_done(card) else "todo"
        if target is not None:
            self._move_to(card, one_of("status", STATUSES, target))
        return self._moved(card, before, otherwise="linked" if was_executing else "comment_added")

    def _reassign(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        at_most("reassign reason", 1000, parameters.get("reason"))
        if parameters.get("agentId"):
            card["agentId"] = parameters["agentId"]
        card.setdefault("metadata", {}).pop("failureCount", None)
        before = card["status"]
        if parameters.get("status") is not None:
            self._move_to(card, one_of("status", STATUSES, parameters["status"]))
        if parameters.get("reason"):
            self._add_comment(card, parameters["reason"])
            return self._moved(card, before, otherwise="comment_added")
        return self._moved(card, before)

    def _block(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before, reason = card["status"], parameters.get("reason") or "Workboard card blocked."
        at_most("block reason", 2000, reason)
        self._fail(card, reason)
        self._add_comment(card, reason)
        return self._moved(card, before, otherwise="comment_added")

    def _unblock(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before = card["status"]
        self._move_to(card, "todo")
        return self._moved(card, before)

    def _promote(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        at_most("promote reason", 1000, parameters.get("reason"))
        before = card["status"]
        if parameters.get("force"):
            card["status"] = "ready"
        else:
            self._move_to(card, "ready")
        if parameters.get("reason"):
            self._add_comment(card, parameters["reason"])
        return self._moved(card, before)

    def _complete(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        before, summary = card["status"], parameters.get("summary")
        at_most("summary", 2000, summary)
        if card["status"] != "done":
            self._check_holds(card, "done")
        if parameters.get("artifacts"):
            self._add_artifacts(card, parameters["artifacts"])
        self._move_to(card, "done")
        self._drop_claim(card)
        metadata = card.setdefault("metadata", {})
        metadata.pop("failureCount", None)
        if summary:
            self._add_comment(card, summary)
            metadata.setdefault("automation", {})["summary"] = summary
        if parameters.get("proof"):
            self._append(card, "proof", parameters["proof"])
        self._append(card, "notifications", {"kind": "completed", "message": summary or "Workboard card completed."})
        return self._moved(card, before, otherwise="comment_added" if summary else "edited")

    def _link_dependency(self, parameters: Parameters) -> dict[str, Any]:
        if not parameters.get("parentId") or not parameters.get("childId"):
            raise BoardError("parentId and childId are required.")
        parent, child = self._find({"id": parameters["parentId"]}), self._find({"id": parameters["childId"]})
        if parent is child:
            raise BoardError("parent and child cards must differ.")
        if child["id"] in self._ancestors(parent):
            raise BoardError("dependency link would create a cycle.")
        if child["status"] == "done" and parent["status"] != "done":
            raise BoardError("terminal child cards cannot gain incomplete parent dependencies.")
        self._link_both(parent, child)
        return {"card": child}

    def _link(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        kind = parameters.get("type", "relates_to")
        if kind in ("parent", "child"):
            raise BoardError("parent and child dependency links must use linkDependency.")
        self._append(card, "links", {"type": kind, **given(parameters, "targetCardId", "url", "title")})
        return self._written(card, "link_added")

    def _proof(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        at_most("proof label", 160, parameters.get("label"))
        self._append(card, "proof", given(parameters, "status", "label", "command", "url", "note"))
        return self._written(card, "proof_added")

    def _artifact(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._add_artifacts(card, [parameters])  # the card's own id becomes the artifact's, so that a second one fails
        return self._written(card, "artifact_added")

    def _worker_log(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._append(card, "workerLogs", given(parameters, "level", "message", "sessionKey", "runId"))
        return self._written(card, "orchestration")

    def _archive(self, parameters: Parameters) -> dict[str, Any]:
        card = self._find(parameters)
        self._compare(card, parameters)
        metadata = card.setdefault("metadata", {})
        if parameters.get("archived", True):
            metadata["archivedAt"] = self._clock()
            return self._written(card, "archived")
        metadata.pop("archivedAt", None)
        return self._written(card, "unarchived")

    def _delete(self, parameters: Parameters) -> dict[str, Any]:
        if parameters.get("id") not in self._cards:
            return {"deleted": False}
        self._compare(self._find(parameters), parameters)
        del self._cards[parameters["id"]]
        return {"deleted": True}

    def _dispatch(self, parameters: Parameters) -> dict[str, Any]:
        """The passes over the data: promotes what is free, blocks what fell silent. Starts no worker."""
        if "maxStarts" in parameters:
            raise BoardError("maxStarts requires workboard.cards.dispatchWithOptions.")
        promoted, blocked = [], []
        for card in list(self._cards.values()):
            claim = card.get("metadata", {}).get("claim")
            has_parents = bool(self._parents(card))
            if card["status"] == "todo" and has_parents and self._parents_done(card):
                self._move_to(card, "ready")
                promoted.append(self._moved(card, "todo")["card"])
            elif card["status"] == "running" and claim and claim["expiresAt"] + GRACE_MS <= self._clock():
                self._fail(card, EXPIRED)
                blocked.append(self._moved(card, "running")["card"])
        passes = {"promoted": promoted, "reclaimed": [], "blocked": blocked, "orchestrated": []}
        return {**passes, "count": len(promoted) + len(blocked), "started": [], "startFailures": []}


_OPTIONAL = ("notes", "agentId", "sourceUrl", "sessionKey", "runId")
_AUTOMATION = ("idempotencyKey", "skills", "scheduledAt", "maxRuntimeSeconds", "maxRetries")
_METHODS: dict[str, Callable[[FakeBoard, Parameters], dict[str, Any]]] = {
    "cards.list": FakeBoard._list,
    "cards.stats": FakeBoard._stats,
    "cards.runs": FakeBoard._runs,
    "cards.diagnostics": FakeBoard._diagnostics,
    "boards.list": FakeBoard._boards,
    "cards.create": FakeBoard._create,
    "cards.update": FakeBoard._update,
    "cards.move": FakeBoard._move,
    "cards.comment": FakeBoard._comment,
    "cards.claim": FakeBoard._claim,
    "cards.heartbeat": FakeBoard._heartbeat,
    "cards.release": FakeBoard._release,
    "cards.reclaim": FakeBoard._reclaim,
    "cards.reassign": FakeBoard._reassign,
    "cards.block": FakeBoard._block,
    "cards.unblock": FakeBoard._unblock,
    "cards.promote": FakeBoard._promote,
    "cards.complete": FakeBoard._complete,
    "cards.linkDependency": FakeBoard._link_dependency,
    "cards.link": FakeBoard._link,
    "cards.proof": FakeBoard._proof,
    "cards.artifact": FakeBoard._artifact,
    "cards.workerLog": FakeBoard._worker_log,
    "cards.archive": FakeBoard._archive,
    "cards.delete": FakeBoard._delete,
    "cards.dispatch": FakeBoard._dispatch,
}
