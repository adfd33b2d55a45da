"""What an operation means for an issue: a note, a status, an assignee (rule L2, contract 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heartbeat.action import Operation, Write
from heartbeat.systems.multica.comments import note, with_outputs
from heartbeat.systems.multica.issues import status_of
from heartbeat.systems.writing import UnsupportedError
from heartbeat.task import CLOSED, Item, Owner, OwnerKind, Status

OPERATIONS = frozenset(Operation) - {Operation.CREATE}

_STATUSES = {
    Operation.RECOVER: Status.BLOCKED,
    Operation.BLOCK: Status.BLOCKED,
    Operation.UNBLOCK: Status.TODO,
    Operation.CLAIM: Status.IN_PROGRESS,
    Operation.DONE: Status.DONE,
}
"""The status that an operation gives where the write names none; the others leave it as it is."""
_NAMING_STATUS = frozenset({Operation.RECOVER, Operation.MOVE, Operation.ASSIGN})
_ALWAYS_NOTED = frozenset({Operation.COMMENT, Operation.RECOVER, Operation.BLOCK, Operation.DONE, Operation.ATTACH})
"""Whoever finds these must find the reason, and we our marker, whatever the text; the others say only what they have
to say."""
_TAKEN_FROM = frozenset({Status.IN_PROGRESS, Status.BLOCKED})
_HANDED = frozenset({Operation.CLAIM, Operation.ASSIGN})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be true of an issue; None leaves it as it is. `assignee` is an agent's Multica UUID."""

    marker: str
    note: str | None
    status: Status | None
    assignee: str | None

    def missing(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The API's fields that are not yet as they are to be. A custom status counts as its category (rule S6)."""
        fields: dict[str, str] = {}
        if self.status is not None and status_of(record)[1] is not self.status:
            fields["status"] = self.status.value
        assignee = str(record.get("assignee_id") or "").lower()
        if self.assignee is not None and (record.get("assignee_type") != "agent" or assignee != self.assignee.lower()):
            fields |= {"assignee_type": "agent", "assignee_id": self.assignee}
        return fields


def order_of(write: Write, item: Item, uuids: Mapping[str, str]) -> Order:
    """What a write asks of an issue; `uuids` maps roster ids to Multica UUIDs.

    A new worker finds the issue in todo, whoever had it: it is taken from its worker first (rule L6). Raises
    UnsupportedError for an operation, a status or an agent that Multica does not know.
    """
    if write.operation not in OPERATIONS:
        raise UnsupportedError(f"Multica cannot {write.operation.value} for heartbeat")
    status = _STATUSES.get(write.operation)
    if write.operation in _NAMING_STATUS and write.status is not None:
        status = write.status
    elif write.operation is Operation.ASSIGN and item.status in _TAKEN_FROM:
        status = Status.TODO
    if status is Status.UNKNOWN or (write.operation is Operation.MOVE and status is None):
        raise UnsupportedError(f"{item.key} is to be moved to no status that there is")
    text = with_outputs(write.text, write.outputs)
    noted = bool(text.strip()) or write.operation in _ALWAYS_NOTED
    return Order(
        marker=write.marker,
        note=note(text, write.marker, write.voice) if noted else None,
        status=status,
        assignee=_assignee(write.agent, item, uuids) if write.operation in _HANDED else None,
    )


def is_assigned(record: Mapping[str, Any]) -> bool:
    """Whether there is somebody whom a write could wake: an agent, or a squad with its leader."""
    return record.get("assignee_type") in ("agent", "squad")


def starts_run(record: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Whether setting these fields starts a run unless the server is told not to (contract 3, what starts a run)."""
    before = status_of(record)[1]
    after = Status(fields["status"]) if "status" in fields else before
    leaves_backlog = before in (Status.BACKLOG, Status.UNKNOWN) and after not in (Status.BACKLOG, *CLOSED)
    if "assignee_id" in fields:
        return after is not Status.BACKLOG
    return "status" in fields and leaves_backlog and is_assigned(record)


def _assignee(agent: str, item: Item, uuids: Mapping[str, str]) -> str | None:
    """The UUID to assign; None where the issue is the agent's already, also through the squad that it leads."""
    if not agent or item.owner == Owner(OwnerKind.AGENT, agent):
        return None
    uuid = uuids.get(agent) or (agent if _UUID.fullmatch(agent) else None)
    if uuid is None:
        raise UnsupportedError(
            f"{item.key} cannot be given to {agent}: the roster does not say who that is in Multica",
            advice=f"set multica_id for {agent}: `multica agent list --output json` shows it",
        )
    return uuid
