"""What an agent says of its work, and what that means for every record of it: start, done, review, reject, block, note.

Pure. `RULES` is the whole of it: from which statuses a verb may be used, and what it does to each item; `plan_verb` is
what is written. When a verb is refused stands in permission.py, the room where it happens is perform.py.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from heartbeat.action import Expectation, Operation, Output, Voice, Write
from heartbeat.errors import UsageError
from heartbeat.instants import parse_instant, to_text
from heartbeat.memory import Pause, Rounds
from heartbeat.merge import status_at
from heartbeat.notices import say
from heartbeat.plan import Planned
from heartbeat.policy import Policy
from heartbeat.store.port import UNFINISHED, Entry, EntryState
from heartbeat.task import CLOSED, NOBODY, Item, Owner, OwnerKind, Ref, Status, Task
from heartbeat.written import decode_write

WHY_LIMIT = 1500
"""UTF-16 units of a reason: with its marker it fits into a board's comment of 2,000 (contract 1.1)."""

_RUNTIMES_OF_A_CLAIM = 2
"""A claim lasts so many times the runtime limit (rule X5 asks for once): while there is progress the limit is extended
(rule T4), and the board must not take the card away before our own ladder would."""

_MOMENT = timedelta(milliseconds=1)


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
        return f"{self._stem(ref, operation)}/{to_text(at)}"

    def used_at(self, entry: Entry, refs: Iterable[Ref]) -> str:
        """When this very command was used on one of these items, as its key tells; empty for another entry."""
        if not entry.key.startswith(f"verb/{self.verb}/"):
            return ""
        stem, _, at = entry.key.rpartition("/")
        return at if any(stem == self._stem(ref, _operation_of(entry)) for ref in refs) else ""

    def _stem(self, ref: Ref, operation: Operation) -> str:
        return f"verb/{self.verb}/{ref}/{operation}/{self.digest}"


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
    """All that counts when a verb is used on a task. `incomplete` are sources that were not read completely.

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


@dataclass(frozen=True, slots=True)
class Intent:
    """What a verb means for one item: writes, in their order, or (`left`) why there is none."""

    item: Item
    operation: Operation
    writes: tuple[Write, ...] = ()
    left: str = ""


def plan_verb(command: Command, situation: Situation, at: datetime) -> tuple[Intent, ...]:
    """What the verb, used at an instant, does to each item of the task, in source order. Where it may not be used
    (`permission.refusals`) that means nothing."""
    intents = []
    for item in _concerned(command, situation):
        left = _left_alone(command, situation, item)
        writes = () if left else tuple(_writes(command, situation, item, at))
        intents.append(Intent(item, _operation(command, item), writes, left))
    return tuple(intents)


def in_order(intents: Iterable[Intent], task: Task) -> tuple[Planned, ...]:
    """The writes of all items. The first item leads: where that comes to nothing, since somebody else was quicker, the
    others are left alone (rule L6). Of one item's own writes each waits for the one before."""
    planned: list[Planned] = []
    leader = ""
    for intent in intents:
        after = leader
        for write in intent.writes:
            planned.append(Planned(write, task.key, after=after))
            after = write.key
        leader = leader or after
    return tuple(planned)


# What is written.


def _concerned(command: Command, situation: Situation) -> Sequence[Item]:
    """What is open; a note goes to what is closed too, but not to what was put away while something is left."""
    if not command.rule.anybody:
        return situation.open_items
    return [item for item in situation.task.items if not item.archived] or situation.task.items


def _operation(command: Command, item: Item) -> Operation:
    """What the verb does to this item."""
    speechless = command.rule.reached in SPEECHLESS.get(item.ref.source, ())
    operation = Operation.COMMENT if speechless else command.rule.operation
    return Operation.ATTACH if operation is Operation.COMMENT and command.outputs else operation


def _left_alone(command: Command, situation: Situation, item: Item) -> str:
    """Why nothing is written to this item; empty where something is."""
    status = situation.status(item)
    if command.rule.anybody and not situation.capable(item.ref.source, _operation(command, item)):
        return "cannot be written to"
    if command.verb is Verb.START:
        if item.owner.kind is OwnerKind.PERSON:
            return f"left to {item.owner.id}"
        if status is Status.IN_PROGRESS and item.owner == NOBODY:
            return ""
    if status in command.rule.on_items:
        return ""
    return f"{word(status)} already" if status is command.rule.reached else f"left as it is: {word(status)}"


def _writes(command: Command, situation: Situation, item: Item, at: datetime) -> Iterator[Write]:
    """Outputs go with what finishes a task; elsewhere they are attached first, and the words with them."""
    operation = _operation(command, item)
    write = Write(
        key=command.key(item.ref, operation, at),
        ref=item.ref,
        operation=operation,
        text=_text(command),
        status=command.rule.reached if operation not in _ONLY_SAYING else None,
        outputs=command.outputs,
        voice=Voice.AGENT,
        expect=Expectation() if command.rule.anybody else _expectation(command, item),
    )
    if operation is Operation.CLAIM:
        seconds = situation.policy.runtime_limit.total_seconds() * _RUNTIMES_OF_A_CLAIM
        yield replace(write, agent=command.agent, seconds=round(seconds))
    elif operation is Operation.MOVE and command.outputs:
        key = command.key(item.ref, Operation.ATTACH, at)
        yield replace(write, key=key, operation=Operation.ATTACH, status=None)
        yield replace(write, text="", outputs=())
    else:
        yield write


_ONLY_SAYING = frozenset({Operation.COMMENT, Operation.ATTACH})


def _expectation(command: Command, item: Item) -> Expectation:
    """What was seen must still be so: the same status, the same owner, the same stretch of work (rule L6).

    A write that was cut short in the middle may have changed the status already, and goes on from there; a claim must
    not, or it would be somebody else's. One that takes the item from its worker may have changed the owner too.
    """
    statuses = {item.status}
    if command.verb is not Verb.START and command.rule.reached is not None:
        statuses.add(command.rule.reached)
    freed = command.verb is Verb.REJECT and item.started_at is not None
    return Expectation(frozenset(statuses), None if freed else item.owner, began_at=item.started_at)


def _text(command: Command) -> str:
    """A start says nothing unless the agent does: that it began shows anyway."""
    why = command.why.strip()
    if command.verb is Verb.START and not why:
        return ""
    return say(f"verb_{command.verb}", agent=command.agent, why=why).strip()


# What the outbox knows of the same command.


def latest_use(command: Command, task: Task, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """What the outbox has of this very command on this task, of the last time that it was used; oldest first."""
    uses: dict[str, list[Entry]] = {}
    for entry in entries:
        at = command.used_at(entry, task.refs)
        if at:
            uses.setdefault(at, []).append(entry)
    return tuple(uses[max(uses)]) if uses else ()


def begun(task: Task, entries: Iterable[Entry]) -> Begun | None:
    """The last verb that the outbox has unfinished writes of for this task, whoever used it."""
    uses: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.key.startswith("verb/") and ref_of(entry) in task.refs:
            stem, _, at = entry.key.rpartition("/")
            uses.setdefault((at, stem.split("/")[1], stem.rpartition("/")[2]), []).append(entry)
    left = [use for use, written in uses.items() if unfinished(written) and use[1] in set(Verb)]
    if not left:
        return None
    at, verb, digest = max(left)
    written = uses[at, verb, digest]
    sources = tuple(dict.fromkeys(ref_of(entry).source for entry in written if entry.state in UNFINISHED))
    agent = str(written[0].payload["owner"][1])
    return Begun(Verb(verb), agent, at, sources, _said_again(Verb(verb), agent, digest, written))


def _said_again(verb: Verb, agent: str, digest: str, entries: Sequence[Entry]) -> Command | None:
    """The command that these writes came from; None where it cannot be told with certainty."""
    writes = [entry.payload["write"] for entry in entries]
    text = next((str(write["text"]) for write in writes if write.get("text")), "")
    why = text.removeprefix(say(f"verb_{verb}", agent=agent, why="").strip()).strip()
    outputs: tuple[Output, ...] = ()
    for entry, write in zip(entries, writes, strict=True):
        if write.get("outputs"):
            outputs = decode_write(entry.key, write).outputs
            break
    try:
        command = Command(verb, agent, why, outputs)
    except UsageError:
        return None
    return command if command.digest == digest else None


def next_use(before: Sequence[Entry], now: datetime) -> datetime:
    """The instant that names a new use of a command: now, and later than the last one even where the clock is not."""
    told = [parse_instant(entry.key.rpartition("/")[2]) for entry in before]
    return max([now, *(at + _MOMENT for at in told if at is not None)])


def unfinished(entries: Sequence[Entry]) -> bool:
    """Whether a command was begun and is not at its end: to repeat it means to go on with it."""
    return any(entry.state in UNFINISHED for entry in entries)


def stands(command: Command, situation: Situation, entries: Sequence[Entry]) -> bool:
    """Whether a command that was carried out still holds, so that to repeat it would say nothing new.

    A note holds for one beat: an agent that says the same again later means that it is still so. A start holds as long
    as the plan finds the task in progress and the agent's.
    """
    if command.verb is Verb.START or not entries or any(entry.state is not EntryState.DONE for entry in entries):
        return False
    if command.rule.reached is None:
        return situation.now - max(entry.created_at for entry in entries) < situation.policy.every
    only_told = {ref_of(entry) for entry in entries if _operation_of(entry) in _ONLY_SAYING}
    only_told -= {ref_of(entry) for entry in entries if _operation_of(entry) not in _ONLY_SAYING}
    return all(
        item.archived or _shows(command, situation.status(item)) or (item.ref in only_told and item.status in OPEN)
        for item in situation.task.items
    )


def _shows(command: Command, status: Status) -> bool:
    return status is command.rule.reached or (command.verb is Verb.DONE and status is Status.CANCELLED)


def shows_output(entries: Iterable[Entry], task: Task) -> bool:
    """Whether something to show for the task was handed in with an earlier verb."""
    return any(
        entry.key.startswith("verb/")
        and entry.state is EntryState.DONE
        and entry.payload["write"].get("outputs")
        and ref_of(entry) in task.refs
        for entry in entries
    )


def holds_claim(entry: Entry, item: Item | None, agent: str) -> bool:
    """Whether a claim whose answer was lost shows on the item: it leaves no marker where nothing was said with it."""
    if item is None or _operation_of(entry) is not Operation.CLAIM:
        return False
    return item.status is Status.IN_PROGRESS and item.owner == Owner(OwnerKind.AGENT, agent)


def ref_of(entry: Entry) -> Ref:
    """The item that a verb's entry is about."""
    return Ref(*entry.payload["write"]["ref"])


def _operation_of(entry: Entry) -> Operation:
    return Operation(entry.payload["write"]["operation"])


def word(status: Status) -> str:
    """A status as people read it."""
    return status.value.replace("_", " ")
