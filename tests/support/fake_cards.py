"""The cards of a fake WorkBoard and the rules that guard them: holds, claims, slots, locks (contract 1.1, 1.4)."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from typing import Any

STATUSES = ("triage", "backlog", "todo", "scheduled", "ready", "running", "review", "blocked", "done")
PRIORITIES = ("low", "normal", "high", "urgent")
CLAIM_SECONDS = 1800
GRACE_MS = 300_000
EXPIRED = "Claim expired without a recent heartbeat."

Card = dict[str, Any]
Parameters = dict[str, Any]

_LIMITS = {"comments": 50, "links": 50, "proof": 40, "artifacts": 40, "workerLogs": 40, "notifications": 20}


class BoardError(Exception):
    """A refusal with the code, the message and the details of the real one."""

    def __init__(self, message: str, code: str = "workboard_error", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class SteppingClock:
    """Epoch milliseconds that move on by one step at each look, so that no two writes share a time."""

    def __init__(self, start: int, step: int = 10) -> None:
        self.now = start
        self._step = step

    def __call__(self) -> int:
        self.now += self._step
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


class Cards:
    """The records, and everything about them that does not depend on the method."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._cards: dict[str, Card] = {}
        self._tokens: dict[str, str] = {}
        self._ids = 0

    def present(self) -> int:
        """Now, by the board's own clock."""
        return self._clock()

    def put(self, card: Card) -> None:
        """A card as it is, past all rules: for shapes that the rules would not make."""
        self._cards[str(card["id"])] = card

    def _find(self, parameters: Parameters) -> Card:
        identifier = parameters.get("id")
        if not isinstance(identifier, str) or not identifier.strip():
            raise BoardError("id is required.")
        if identifier not in self._cards:
            raise BoardError(f"card not found: {identifier}")
        return self._cards[identifier]

    def _compare(self, card: Card, parameters: Parameters) -> None:
        if "expectedUpdatedAt" not in parameters:
            return
        expected = parameters["expectedUpdatedAt"]
        if isinstance(expected, bool) or not isinstance(expected, int | float) or not math.isfinite(expected):
            raise BoardError("expectedUpdatedAt must be a finite number.")
        if expected != card["updatedAt"]:
            raise BoardError(
                "Card changed while you were editing. Review the latest values and retry.",
                "workboard_conflict",
                {"type": "workboard_card_conflict", "card": copy.deepcopy(card)},
            )

    def _move_to(self, card: Card, status: str) -> None:
        if status != card["status"]:
            self._check_holds(card, status)
        card["status"] = status
        if status == "running":
            card.setdefault("startedAt", self._clock())
        if status == "done":
            card.setdefault("completedAt", self._clock())
        else:
            card.pop("completedAt", None)

    def _check_holds(self, card: Card, status: str) -> None:
        if status in ("ready", "running", "review", "done") and not self._parents_done(card):
            raise BoardError("card dependencies are not done.")
        scheduled = card.get("metadata", {}).get("automation", {}).get("scheduledAt", 0)
        is_scheduled = card["status"] == "scheduled" or scheduled > self._clock()
        if status in ("ready", "running", "review") and is_scheduled:
            raise BoardError("card is scheduled for later.")

    def _parents(self, card: Card) -> list[str]:
        links = card.get("metadata", {}).get("links", ())
        return [link["targetCardId"] for link in links if link["type"] == "parent"]

    def _parents_done(self, card: Card) -> bool:
        return all(self._cards.get(parent, {}).get("status") == "done" for parent in self._parents(card))

    def _ancestors(self, card: Card) -> set[str]:
        found: set[str] = set()
        waiting = [card["id"]]
        while waiting:
            identifier = waiting.pop()
            if identifier not in found and identifier in self._cards:
                found.add(identifier)
                waiting += self._parents(self._cards[identifier])
        return found

    def _is_claimed(self, card: Card) -> bool:
        claim = card.get("metadata", {}).get("claim")
        grace = GRACE_MS if card["status"] == "running" else 0
        return claim is not None and self._clock() < claim["expiresAt"] + grace

    def _uses_slot(self, card: Card, owner: str) -> bool:
        metadata = card.get("metadata", {})
        is_claimed = self._is_claimed(card)
        holder = metadata["claim"]["ownerId"] if is_claimed else card.get("agentId", "workboard-dispatcher")
        if "archivedAt" in metadata or holder != owner:
            return False
        executing = card.get("execution", {}).get("status") == "running"
        return card["status"] == "running" or (card["status"] != "done" and is_claimed) or executing

    def _check_claimant(self, card: Card, parameters: Parameters) -> None:
        if "token" in parameters and parameters["token"] != self._tokens.get(card["id"]):
            raise BoardError("claim token does not match.")
        if "ownerId" in parameters and parameters["ownerId"] != card["metadata"]["claim"]["ownerId"]:
            raise BoardError("claim owner does not match.")

    def _drop_claim(self, card: Card) -> None:
        card.get("metadata", {}).pop("claim", None)
        self._tokens.pop(card["id"], None)

    def _fail(self, card: Card, message: str) -> None:
        self._drop_claim(card)
        self._end_attempts(card, "blocked", message)
        metadata = card.setdefault("metadata", {})
        metadata["failureCount"] = metadata.get("failureCount", 0) + 1
        of_run = given(card.get("execution", {}), "sessionKey", "runId")
        self._append(card, "notifications", {"kind": "failed", "message": message, **of_run})
        if "execution" in card:
            card["execution"] |= {"status": "blocked", "updatedAt": self._clock()}
        card["status"] = "blocked"

    def _end_attempts(self, card: Card, status: str, error: str | None = None) -> None:
        for attempt in card.get("metadata", {}).get("attempts", ()):
            if attempt["status"] == "running":
                attempt.update({"status": status, "endedAt": self._clock(), **({"error": error} if error else {})})

    def _add_comment(self, card: Card, body: Any) -> None:
        if not isinstance(body, str) or not body.strip():
            raise BoardError("comment body is required.")
        if units(body) > 2000:
            raise BoardError(f"comment body must be 2000 characters or fewer (got {units(body)}).")
        self._append(card, "comments", {"body": body})

    def _append(self, card: Card, name: str, entry: dict[str, Any]) -> None:
        entries = card.setdefault("metadata", {}).setdefault(name, [])
        now = self._clock()
        if name == "notifications":
            entry = {**entry, "sequence": now * 1000}
        entries.append({"id": self._identifier(), **entry, "createdAt": now})
        del entries[: -_LIMITS[name]]

    def _add_artifacts(self, card: Card, artifacts: list[Any], *, instead: bool = False) -> None:
        """Adds artifacts, or puts them in place of those that are there. No two in the world may share an id."""
        now = self._clock()
        new = [self._artifact_of(entry, now) for entry in artifacts]
        kept = [] if instead else card.get("metadata", {}).get("artifacts", [])
        taken = [entry["id"] for other in self._cards.values() if other is not card for entry in _artifacts(other)]
        ids = [entry["id"] for entry in (*kept, *new)]
        if len(set(ids)) < len(ids) or set(ids) & set(taken):
            raise BoardError("UNIQUE constraint failed: workboard_card_artifacts.id")
        card.setdefault("metadata", {})["artifacts"] = [*kept, *new][-_LIMITS["artifacts"] :]

    def _artifact_of(self, entry: Any, now: int) -> dict[str, Any]:
        artifact = given(entry, "label", "path", "url", "mimeType")
        if not {"path", "url"} & set(artifact):
            raise BoardError("artifact url or path is required.")
        at_most("artifact label", 160, artifact.get("label"))
        return {"id": entry.get("id") or self._identifier(), "createdAt": entry.get("createdAt", now), **artifact}

    def _link_both(self, parent: Card, child: Card) -> None:
        for card, kind, target in ((parent, "child", child), (child, "parent", parent)):
            self._append(card, "links", {"type": kind, "targetCardId": target["id"]})
            self._written(card, "link_added")

    def _moved(self, card: Card, before: str, otherwise: str = "edited") -> dict[str, Any]:
        if card["status"] == before:
            return self._written(card, otherwise)
        return self._written(card, "moved", fromStatus=before, toStatus=card["status"])

    def _written(self, card: Card, kind: str, **extra: str) -> dict[str, Any]:
        card["updatedAt"] = max(self._clock(), card["updatedAt"] + 1)
        event = {"id": self._identifier(), "kind": kind, "at": card["updatedAt"], **extra}
        card["events"] = [*card.get("events", ()), event][-50:]
        return {"card": card}

    def _next_position(self, board: str, status: str) -> int:
        taken = (
            card["position"] for card in self._cards.values() if board_of(card) == board and card["status"] == status
        )
        return max(taken, default=0) + 1000

    def _identifier(self) -> str:
        self._ids += 1
        return f"{self._ids * 2654435761 % 2**32:08x}-0000-4000-8000-{self._ids:012x}"


def _artifacts(card: Card) -> list[dict[str, Any]]:
    artifacts: list[dict[str, Any]] = card.get("metadata", {}).get("artifacts", [])
    return artifacts


def at_most(name: str, limit: int, value: Any) -> None:
    """Refuses a text that is too long, in the words of the real one."""
    if isinstance(value, str) and units(value) > limit:
        raise BoardError(f"{name} must be {limit} characters or fewer (got {units(value)}).")


def title_of(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BoardError("title is required.")
    if units(value.strip()) > 180:
        raise BoardError("title must be 180 characters or fewer.")
    return value.strip()


def one_of(name: str, words: tuple[str, ...], value: Any) -> str:
    if value not in words:
        raise BoardError(f"{name} must be one of: {', '.join(words)}.")
    return str(value)


def board_id(value: Any) -> str:
    folded = str(value).strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", folded):
        raise BoardError("board id must match [a-z0-9][a-z0-9._-]{0,79}.")
    return folded


def board_of(card: Card) -> str:
    return str(card.get("metadata", {}).get("automation", {}).get("boardId", "default"))


def given(parameters: Parameters, *names: str) -> dict[str, Any]:
    return {name: parameters[name] for name in names if parameters.get(name) is not None}


def units(text: str) -> int:
    """The length of a text as JavaScript counts it, which is how the limits are meant."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2
