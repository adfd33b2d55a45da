"""What a verb means for every record of a task: what is written to which, and what is left alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from heartbeat.action import Expectation, Operation, Voice, Write
from heartbeat.notices import say
from heartbeat.plan import Planned
from heartbeat.task import NOBODY, Item, OwnerKind, Status, Task
from heartbeat.verbs.situation import Situation
from heartbeat.verbs.words import ONLY_SAYING, SPEECHLESS, Command, Verb, word

_RUNTIMES_OF_A_CLAIM = 2
"""A claim lasts so many times the runtime limit (rule X5 asks for once): while there is progress the limit is extended
(rule T4), and the board must not take the card away before our own ladder would."""


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
        status=command.rule.reached if operation not in ONLY_SAYING else None,
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
