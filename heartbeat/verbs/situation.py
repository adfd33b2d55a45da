"""All that counts when a verb is used on a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from heartbeat.action import Operation
from heartbeat.memory import Pause, Rounds
from heartbeat.merge import status_at
from heartbeat.policy import Policy
from heartbeat.task import CLOSED, Item, Status, Task
from heartbeat.verbs.words import Command, Verb


@dataclass(frozen=True, slots=True)
class Begun:
    """A verb that was begun on a task and is not finished. `command` is it, where its words are still known."""

    verb: Verb
    agent: str
    at: str
    sources: tuple[str, ...]
    command: Command | None


@dataclass(frozen=True, slots=True)
class Situation:
    """`incomplete` are sources that were not read completely.

    `waits` says in words what it waits for. `answers` says that the agent answers for other agents' tasks too, or made
    this one. `shown` says that some output of it is known already. `capable` says whether a source can be written to
    in such a way.
    """

    task: Task
    now: datetime
    policy: Policy
    waits: tuple[str, ...] = ()
    incomplete: frozenset[str] = frozenset()
    pause: Pause | None = None
    rounds: Rounds | None = None
    answers: bool = False
    shown: bool = False
    owner_policy: Policy | None = None
    """The policy of the task's owner, where that is an agent of the roster: it says what its work needs to be done."""
    begun: Begun | None = None
    capable: Callable[[str, Operation], bool] = lambda source, operation: True

    @property
    def name(self) -> str:
        """What people call the task, in one line: it is foreign text (rule B8)."""
        return "".join(character for character in self.task.items[0].key if character.isprintable())

    @property
    def open_items(self) -> tuple[Item, ...]:
        return tuple(item for item in self.task.items if not item.archived and self.status(item) not in CLOSED)

    def status(self, item: Item) -> Status:
        return status_at(item, self.now)
