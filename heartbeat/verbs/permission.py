"""When a verb may not be used, why, and what to do instead (rules S2, S6a, M4, D4, C2, L6). Pure.

What is not known is not written to; what is somebody else's is left alone; the rest is the verb's own table.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from heartbeat.action import OutputType
from heartbeat.instants import to_text
from heartbeat.memory import EVERYBODY
from heartbeat.plural import counted
from heartbeat.rules.rounds import Spend, limit_of, spend
from heartbeat.task import CLOSED, NOBODY, Item, Owner, OwnerKind, Status
from heartbeat.verbs.intents import plan_verb
from heartbeat.verbs.situation import Begun, Situation
from heartbeat.verbs.words import RULES, Command, Verb, word


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a verb may not be used now, and what to do instead."""

    reason: str
    advice: str = ""


def refusals(command: Command, situation: Situation) -> tuple[Refusal, ...]:
    """Why the verb may not be used; nothing where it may. Where the task is not known as it is, that alone (S2, M4)."""
    unknown = tuple(_not_known(command, situation))
    if unknown:
        return unknown
    return (
        paused(command, situation)
        or tuple(_forbidden(command, situation))
        or tuple(_in_the_way(command, situation))
        or tuple(_unwritable(command, situation))
    )


def paused(command: Command, situation: Situation) -> tuple[Refusal, ...]:
    """Nothing is done in the name of an agent that is paused, also nothing that was begun before."""
    pause = situation.pause
    if pause is None:
        return ()
    until = f" until {to_text(pause.until)}" if pause.until else ""
    everybody = pause.agent == EVERYBODY
    whom, end = ("everybody", "--all") if everybody else (command.agent, command.agent)
    reason = f"{whom} is paused{until}: {pause.why or 'no reason given'}"
    return (Refusal(reason, f"whoever paused {'them' if everybody else 'it'} ends that: heartbeat resume {end}"),)


def _not_known(command: Command, situation: Situation) -> Iterator[Refusal]:
    task, name = situation.task, situation.name
    sources = sorted({ref.source for ref in (*task.refs, *task.absent)} & situation.incomplete)
    if sources or task.stale or task.absent:
        told = ", ".join(sources) or ", ".join(str(ref) for ref in (*task.stale, *task.absent))
        reason = f"{name}: {told} could not be read completely, so that nobody knows what it says now"
        yield Refusal(reason, "`heartbeat doctor` says why; then try again")
    elif task.status is Status.UNKNOWN:
        words = ", ".join(repr(item.raw_status) for item in task.items if item.status is Status.UNKNOWN)
        yield Refusal(f"{name} has the status {words}, which heartbeat does not know", "set it to one that it knows")
    elif task.split and not command.rule.anybody:
        yield _half_done(situation.begun, situation) if situation.begun else _split(situation)


def _split(situation: Situation) -> Refusal:
    closed = ", ".join(_record(item) for item in situation.task.items if item.status in CLOSED)
    others = ", ".join(_record(item) for item in situation.open_items)
    return Refusal(
        f"{situation.name} is split: {closed} is closed and {others} is open", "settle which is true at its origin"
    )


def _half_done(begun: Begun, situation: Situation) -> Refusal:
    """The records differ because our own writes are not all carried out yet: that settles itself."""
    records = ", ".join(_record(item) for item in situation.open_items)
    where = ", ".join(begun.sources)
    reason = f"{situation.name}: `{begun.verb}` of {begun.at} is not finished on {where}; {records} is open still"
    again = _again(begun, situation)
    return Refusal(reason, f"repeat it, or wait for the next beat: {again}")


def _again(begun: Begun, situation: Situation) -> str:
    """The command as it is typed once more."""
    words = ["heartbeat", begun.verb.value, situation.name, "--as", begun.agent]
    said = begun.command
    if said is None or not said.why.isprintable():
        return f"{shlex.join(words)}, with the same words"
    words += ["--why", said.why] if said.why else []
    for output in said.outputs:
        words += ["--output", output.path]
    words += ["--type", said.outputs[0].type.value] if said.outputs else []
    return shlex.join(words)


def _record(item: Item) -> str:
    """A record in one line: its key is foreign text (rule B8)."""
    key = "".join(character for character in item.key if character.isprintable())
    return f"{key} ({item.ref.source})"


def _forbidden(command: Command, situation: Situation) -> Iterator[Refusal]:
    task, name = situation.task, situation.name
    if task.closed and not command.rule.anybody:
        status = "archived" if task.archived else word(task.status)
        yield Refusal(f"{name} is {status}: nothing is left to do", _may_be_said(situation))
        return
    others = list(_others(command, situation))
    yield from others
    spent = situation.rounds is not None and situation.rounds.paused_at is not None
    if command.verb is Verb.REJECT and task.status is Status.BLOCKED and spent:
        yield Refusal(f"{name} is paused: its rounds are used up", _way_out(situation))
        return
    if not others and not task.closed and task.status not in command.rule.on_tasks:
        possible = [verb for verb, rule in RULES.items() if task.status in rule.on_tasks]
        reason = f"{name} is {word(task.status)}, and `{command.verb}` is for what is {_any(command.rule.on_tasks)}"
        advice = f"what can be done with it now: {', '.join(possible)}"
        yield Refusal(reason, f"{_way_out(situation)}; {advice}" if task.status is Status.BLOCKED else advice)


def _way_out(situation: Situation) -> str:
    """How a blocked task goes on: whoever is in charge decides that, and no agent for itself (rule C2)."""
    if situation.rounds is not None and situation.rounds.paused_at is not None:
        return f"its rounds are used up; whoever is in charge may grant more: {_extending(situation)}"
    return f"once that is settled, `heartbeat reject {_typed(situation)} --why '…'` sets it back to todo"


def _extending(situation: Situation) -> str:
    return f"heartbeat rounds extend {_typed(situation)} 20"


def _others(command: Command, situation: Situation) -> Iterator[Refusal]:
    """Work of somebody else is left alone, but for what anybody may say, and what whoever answers for it may."""
    rule, task, name = command.rule, situation.task, situation.name
    if rule.anybody or (situation.answers and task.status in rule.others):
        return
    mine = Owner(OwnerKind.AGENT, command.agent)
    if task.owner not in (mine, NOBODY):
        kind = "the person " if task.owner.kind is OwnerKind.PERSON else ""
        yield Refusal(f"{name} belongs to {kind}{task.owner.id}, not to {command.agent}", _may_be_said(situation))
        return
    for item in situation.open_items:
        if item.owner.kind is OwnerKind.AGENT and item.owner != mine:
            reason = f"{item.key} ({item.ref.source}) of this task belongs to {item.owner.id}, not to {command.agent}"
            yield Refusal(reason, "settle first whose the task is: set the same owner everywhere")


def _in_the_way(command: Command, situation: Situation) -> Iterator[Refusal]:
    """What has to happen before this may."""
    name, policy = situation.name, situation.policy
    begins = any(intent.writes for intent in plan_verb(command, situation, situation.now))
    if command.verb is Verb.START and begins:
        if situation.waits:
            yield Refusal(f"{name} waits: {'; '.join(situation.waits)}", "take the next task of the worklist")
        if situation.rounds is not None and spend(situation.rounds, policy) is Spend.EXHAUSTED:
            limit = counted(limit_of(situation.rounds, policy), "round")
            reason = f"{name} has used {situation.rounds.used} of {limit}"
            yield Refusal(reason, f"whoever is in charge may grant more: {_extending(situation)}")
    required = (situation.owner_policy or policy).require_output
    if command.verb is Verb.DONE and required and not (command.outputs or situation.shown):
        worker = situation.task.owner.id if situation.owner_policy else command.agent
        reason = f"{name} has nothing to show yet, and work of {worker} is done only with an output"
        yield Refusal(reason, f"heartbeat done {_typed(situation)} --output FILE --type {'|'.join(OutputType)}")


def _unwritable(command: Command, situation: Situation) -> Iterator[Refusal]:
    """Where nothing can be written. What is half done is worse than not begun; a note may leave somebody out."""
    intents = plan_verb(command, situation, situation.now)
    written = [write for intent in intents for write in intent.writes]
    if command.rule.anybody and written:
        return
    dumb = [
        intent
        for intent in intents
        if any(not situation.capable(write.ref.source, write.operation) for write in intent.writes)
        or command.rule.anybody
    ]
    if dumb:
        told = ", ".join(f"{intent.item.key} ({intent.item.ref.source})" for intent in dumb)
        cannot = ", ".join(dict.fromkeys(intent.operation.value for intent in dumb))
        advice = "its source is a saved file or has no writer; say it there, or change `sources` in the roster"
        yield Refusal(f"heartbeat cannot write to {told}: {cannot}", advice)


def _may_be_said(situation: Situation) -> str:
    return f"to say something about it: heartbeat note {_typed(situation)} --why '…'"


def _typed(situation: Situation) -> str:
    """The task's name as it is typed into a shell."""
    return shlex.quote(situation.name)


def _any(statuses: Iterable[Status]) -> str:
    wanted = frozenset(statuses)
    return " or ".join(word(status) for status in Status if status in wanted)
