"""What the outbox knows of verbs: when one was used, whether it is at its end, and whether it still holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from heartbeat.action import Operation, Output
from heartbeat.errors import UsageError
from heartbeat.instants import parse_instant
from heartbeat.notices import say
from heartbeat.store.port import UNFINISHED, Entry, EntryState
from heartbeat.task import Item, Owner, OwnerKind, Ref, Status, Task
from heartbeat.verbs.situation import Begun, Situation
from heartbeat.verbs.words import ONLY_SAYING, OPEN, Command, Verb
from heartbeat.written import decode_write

_MOMENT = timedelta(milliseconds=1)


def latest_use(command: Command, task: Task, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """What the outbox has of this very command on this task, of the last time that it was used; oldest first."""
    uses: dict[str, list[Entry]] = {}
    for entry in entries:
        at = _used_at(command, entry, task.refs)
        if at:
            uses.setdefault(at, []).append(entry)
    return tuple(uses[max(uses)]) if uses else ()


def _used_at(command: Command, entry: Entry, refs: Iterable[Ref]) -> str:
    """When this very command was used on one of these items, as its key tells; empty for another entry."""
    if not entry.key.startswith(f"verb/{command.verb}/"):
        return ""
    stem, _, at = entry.key.rpartition("/")
    return at if any(stem == command.stem(ref, _operation_of(entry)) for ref in refs) else ""


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
    only_told = {ref_of(entry) for entry in entries if _operation_of(entry) in ONLY_SAYING}
    only_told -= {ref_of(entry) for entry in entries if _operation_of(entry) not in ONLY_SAYING}
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
