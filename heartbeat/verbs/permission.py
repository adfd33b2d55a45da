"""When a verb may not be used, why, and what to do instead (rules S2, S6a, M4, D4, C2, L6). Pure.

What is not known is not written to; what is somebody else's is left alone; the rest is the verb's own table.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from heartbeat.action import OutputType
from heartbeat.instants import to_text
from heartbeat.rules.rounds import Spend, limit_of, spend
from heartbeat.task import CLOSED, NOBODY, Owner, OwnerKind, Status
from heartbeat.verbs.words import RULES, Command, Situation, Verb, plan_verb, word


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a verb may not be used now, and what to do instead."""

    reason: str
    advice: str = ""


def refusals(command: Command, situation: Situation) -> tuple[Refusal, ...]:
    """Why the verb may not be used; nothing where it may. Where the task is not known as it is, that alone (S2, M4)."""
    unknown = tuple(_not_known(situation))
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
    reason = f"{command.agent} is paused{until}: {pause.why or 'no reason given'}"
    return (Refusal(reason, f"whoever paused it ends that: heartbeat resume {command.agent}"),)


def _not_known(situation: Situation) -> Iterator[Refusal]:
    task, name = situation.task, situation.name
    sources = sorted({ref.source for ref in (*task.refs, *task.absent)} & situation.incomplete)
    if sources or task.stale or task.absent:
        told = ", ".join(sources) or ", ".join(str(ref) for ref in (*task.stale, *task.absent))
        reason = f"{name}: {told} could not be read completely, so that nobody knows what it says now"
        yield Refusal(reason, "`heartbeat doctor` says why; then try again")
    elif task.status is Status.UNKNOWN:
        words = ", ".join(repr(item.raw_status) for item in task.items if item.status is Status.UNKNOWN)
        yield Refusal(f"{name} has the status {words}, which heartbeat does not know", "set it to one that it knows")
    elif task.split:
        closed = ", ".join(item.key for item in task.items if item.status in CLOSED)
        others = ", ".join(item.key for item in situation.open_items)
        yield Refusal(f"{name} is split: {closed} is closed and {others} is open", "settle which is true at its origin")


def _forbidden(command: Command, situation: Situation) -> Iterator[Refusal]:
    task, name = situation.task, situation.name
    if task.closed and not command.rule.anybody:
        status = "archived" if task.archived else word(task.status)
        yield Refusal(f"{name} is {status}: nothing is left to do", _may_be_said(situation))
        return
    others = list(_others(command, situation))
    yield from others
    if not others and not task.closed and task.status not in command.rule.on_tasks:
        possible = [verb for verb, rule in RULES.items() if task.status in rule.on_tasks]
        reason = f"{name} is {word(task.status)}, and `{command.verb}` is for what is {_any(command.rule.on_tasks)}"
        yield Refusal(reason, f"what can be done with it now: {', '.join(possible)}")


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
            reason = f"{name} has used {situation.rounds.used} of {limit_of(situation.rounds, policy)} rounds"
            yield Refusal(
                reason, f"whoever is in charge may grant more: heartbeat rounds extend {_typed(situation)} 20"
            )
    if command.verb is Verb.DONE and policy.require_output and not (command.outputs or situation.shown):
        reason = f"{name} has nothing to show yet, and work of {command.agent} is done only with an output"
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
