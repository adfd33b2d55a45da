"""What a tick did, or what it would do, in plain sentences for a screen and a log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from heartbeat.beat import Beat, Tick
from heartbeat.cli.wording import collected_of
from heartbeat.memory import EVERYBODY
from heartbeat.notify.roles import level_of
from heartbeat.plural import counted
from heartbeat.store.port import Entry

DECIDE = "reassign, split or unblock"
"""What a COO can do with a task that heartbeat blocked (rule L2)."""


def deeds(tick: Tick) -> Iterator[str]:
    """One sentence an action, in the order: what is put off, writes, messages; of a rehearsal what would be done."""
    if tick.observation is None:
        return
    yield from (beat.deferred for beat in tick.beats if beat.deferred)
    names = {key: task.items[0].key for key, task in tick.observation.judgement.tasks.items()}
    rehearsed = all(beat.receipt is None for beat in tick.beats)
    if rehearsed:
        for planned in tick.plan.writes:
            name = names.get(planned.task, planned.task)
            yield f"would {_words(planned.write.operation.value)} {name} on {planned.write.ref.source}"
        then = {message.key: message for planned in tick.plan.writes for message in planned.then}
        for message in (*tick.plan.nudges, *tick.plan.messages, *then.values()):
            yield f"would tell {', '.join(message.to)}: {message.title}"
        return
    carried = tick.carried
    if carried.busy:
        yield f"writes are left to {carried.busy}, which carries them out now"
    for word, entries in (
        ("done", carried.done),
        ("conflict", carried.conflicts),
        ("to be tried again", carried.later),
        ("given up", carried.dead),
    ):
        for entry in entries:
            yield f"{_what(entry)} {names.get(entry.task, entry.task)} on {entry.target}: {_ending(word, entry)}"
    for attempt in tick.round.collected.ended:
        yield collected_of(replace(attempt, task=names.get(attempt.task, attempt.task)))
    for attempt, why in tick.round.collected.unseen:
        yield f"dispatch: attempt {attempt.number} of {attempt.agent} could not be looked at: {why}"
    if tick.delivered is not None:
        if tick.delivered.sent:
            yield f"{counted(tick.delivered.sent, 'message')} sent"
        yield from tick.delivered.notes


def letters(beat: Beat) -> Iterator[tuple[str, str, str]]:
    """Level, title and text of each message on top of a worklist."""
    for entry in beat.inbox:
        yield level_of(entry).value, str(entry.payload.get("title", "")), str(entry.payload.get("body", ""))


def pauses(tick: Tick) -> Iterator[str]:
    """The pauses that stand for the agents of this tick."""
    if tick.observation is None:
        return
    memory, now = tick.observation.judgement.memory, tick.observation.at
    told = set()
    for beat in tick.beats:
        pause = memory.paused(beat.agent.id, now)
        if pause is not None and pause not in told:
            told.add(pause)
            everybody = pause.agent == EVERYBODY
            whom, end = ("everybody", "--all") if everybody else (pause.agent, pause.agent)
            stands = f"{whom} is paused ({pause.why}): no step is taken and nothing dispatched"
            yield f"{stands}; `heartbeat resume {end}` ends it"


def _what(entry: Entry) -> str:
    write = entry.payload.get("write")
    return _words(str(write.get("operation", "write"))) if isinstance(write, dict) else "write"


def _ending(word: str, entry: Entry) -> str:
    said = entry.error or entry.result
    return word if said in ("", "done") else f"{word} ({said})"


def _words(operation: str) -> str:
    return operation.replace("_", " ")
