"""What an agent may say of its work: start, done, review, reject, block, note. `RULES` is the whole of it.

Pure, as are its neighbours: intents.py says what a verb means for every record of a task, permission.py when it is
refused, uses.py what the outbox knows of it. The room where it happens is perform.py.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heartbeat.action import Operation, Output
from heartbeat.errors import UsageError
from heartbeat.instants import to_text
from heartbeat.task import CLOSED, Ref, Status

WHY_LIMIT = 1500
"""UTF-16 units of a reason: with its marker it fits into a board's comment of 2,000 (contract 1.1)."""


class Verb(StrEnum):
    START = "start"
    DONE = "done"
    REVIEW = "review"
    REJECT = "reject"
    BLOCK = "block"
    NOTE = "note"


OPEN = frozenset(Status) - CLOSED - {Status.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Rule:
    """One verb. It may be used on a task whose status is in `on_tasks`, and writes to those of its items that are in
    `on_items`; an item that is `reached` already is left as it is, and so is any other.

    A verb is for the task's owner. `others` are the statuses in which whoever answers for it may use the verb too: a
    patrol agent, and whoever made the task. With `anybody` all agents may, whatever the task's status.
    """

    on_tasks: frozenset[Status]
    on_items: frozenset[Status]
    operation: Operation
    reached: Status | None
    needs_why: bool = False
    takes_outputs: bool = False
    others: frozenset[Status] = frozenset()
    anybody: bool = False


RULES: Mapping[Verb, Rule] = {
    Verb.START: Rule(
        on_tasks=frozenset({Status.TODO, Status.IN_PROGRESS}),
        on_items=frozenset({Status.TODO}),
        operation=Operation.CLAIM,
        reached=Status.IN_PROGRESS,
    ),
    Verb.DONE: Rule(
        on_tasks=frozenset({Status.IN_PROGRESS, Status.IN_REVIEW}),
        on_items=OPEN,
        operation=Operation.DONE,
        reached=Status.DONE,
        takes_outputs=True,
        others=frozenset({Status.IN_REVIEW}),
    ),
    Verb.REVIEW: Rule(
        on_tasks=frozenset({Status.IN_PROGRESS}),
        on_items=OPEN - {Status.IN_REVIEW},
        operation=Operation.MOVE,
        reached=Status.IN_REVIEW,
        takes_outputs=True,
    ),
    Verb.REJECT: Rule(
        on_tasks=frozenset({Status.IN_PROGRESS, Status.IN_REVIEW, Status.BLOCKED}),
        on_items=frozenset({Status.IN_PROGRESS, Status.IN_REVIEW, Status.BLOCKED}),
        operation=Operation.MOVE,
        reached=Status.TODO,
        needs_why=True,
        others=frozenset({Status.IN_REVIEW, Status.BLOCKED}),
    ),
    Verb.BLOCK: Rule(
        on_tasks=frozenset({Status.TODO, Status.IN_PROGRESS, Status.IN_REVIEW}),
        on_items=OPEN - {Status.BLOCKED},
        operation=Operation.BLOCK,
        reached=Status.BLOCKED,
        needs_why=True,
    ),
    Verb.NOTE: Rule(
        on_tasks=frozenset(Status) - {Status.UNKNOWN},
        on_items=frozenset(Status),
        operation=Operation.COMMENT,
        reached=None,
        needs_why=True,
        takes_outputs=True,
        anybody=True,
    ),
}

SPEECHLESS: Mapping[str, frozenset[Status]] = {"todo": frozenset({Status.IN_REVIEW})}
"""Statuses that a source has no word for: a box can be ticked, but not half. It is told by a comment instead."""

ONLY_SAYING = frozenset({Operation.COMMENT, Operation.ATTACH})
"""Operations that change no status."""


@dataclass(frozen=True, slots=True)
class Command:
    """A verb with all that was said with it. `agent` is a roster id."""

    verb: Verb
    agent: str
    why: str = ""
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        """Raises UsageError for what nobody could read on a task."""
        rule = RULES[self.verb]
        if rule.needs_why and not self.why.strip():
            raise UsageError(f"`{self.verb}` needs a reason", advice=f"heartbeat {self.verb} TASK --why '…'")
        if self.outputs and not rule.takes_outputs:
            raise UsageError(f"`{self.verb}` takes no --output", advice="done, review and note do")
        if any(unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t" for each in self.why):
            raise UsageError("--why holds control characters or is not UTF-8", advice="write it as plain text")
        if len(self.why.encode("utf-16-le")) // 2 > WHY_LIMIT:
            raise UsageError(
                f"--why is longer than {WHY_LIMIT} characters",
                advice="say the main thing, and put the rest into a file that you name with --output",
            )

    @property
    def rule(self) -> Rule:
        return RULES[self.verb]

    @property
    def digest(self) -> str:
        """The same for the same words of the same agent: 12 hexadecimal digits."""
        outputs = [[each.path, each.type.value, each.note] for each in self.outputs]
        said = json.dumps([self.agent, self.why.strip(), outputs], ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def key(self, ref: Ref, operation: Operation, at: datetime) -> str:
        """The idempotency key of what it does to one item, used at an instant (rule L4)."""
        return f"{self.stem(ref, operation)}/{to_text(at)}"

    def stem(self, ref: Ref, operation: Operation) -> str:
        """What its keys for one item begin with, whenever it is used."""
        return f"verb/{self.verb}/{ref}/{operation}/{self.digest}"


def word(status: Status) -> str:
    """A status as people read it."""
    return status.value.replace("_", " ")
