"""The commands that the roster wants to be run when a turn has ended (`on_complete`): no shell, at least once (X6).

A hook gets the facts in its environment and as JSON on its standard input. It stands in the outbox before it is run:
one whose process died is run again, and tells itself apart by HEARTBEAT_DISPATCH.

Hooks are run by whoever beat, when the beat is over: its receipts are on record, its messages are sent, its worklists
are handed out, and its locks are free. However long a hook takes, and whomever it ends, nothing of the beat waits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.action import Level, Message
from heartbeat.attempt import Attempt
from heartbeat.deadline import Deadline
from heartbeat.instants import to_text
from heartbeat.notices import harmless, say
from heartbeat.notify.roles import addressed
from heartbeat.roster.model import Roster
from heartbeat.store.locks import lease, try_exclusive
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Store
from heartbeat.systems.base import TransportError
from heartbeat.systems.process import run
from heartbeat.task import NOBODY

TRIES = 3
"""After so many failures a hook is given up and told."""

_LONGEST = 20.0
"""Seconds that one hook may take."""
TOGETHER = 30.0
"""Seconds for all hooks of one beat: the others are run by the next."""
_LEAST_TIME = 1.0
_RETRY = timedelta(minutes=1)
_OUTPUT = 1_000_000
"""Bytes that a hook may print; it has no reader."""
_COMPLAINT = 500

_DEADLY = "heartbeat ended each time while it ran"

_PREFIX = "HEARTBEAT_"


def hook_entries(roster: Roster, ended: Attempt, now: datetime) -> tuple[Entry, ...]:
    """One entry a command, in the roster's order."""
    commands: tuple[tuple[str, ...], ...] = tuple(roster.extra.get("on_complete", ()))
    facts = facts_of(ended)
    return tuple(
        Entry(
            key=f"hook:{ended.id}:{index}",
            kind=EntryKind.HOOK,
            target=argv[0],
            payload={"argv": list(argv), "facts": facts},
            created_at=now,
            due_at=now,
            task=ended.task,
        )
        for index, argv in enumerate(commands)
    )


def facts_of(ended: Attempt) -> dict[str, Any]:
    """What a hook is told, as plain JSON; what is not known is null."""
    return {
        "dispatch": ended.id,
        "task": ended.task,
        "title": ended.title,
        "agent": ended.agent,
        "attempt": ended.number,
        "engine": ended.engine.value,
        "provider": ended.provider,
        "model": ended.model,
        "session": ended.session,
        "outcome": ended.outcome.value if ended.outcome is not None else None,
        "error": ended.error,
        "started_at": to_text(ended.accepted_at) if ended.accepted_at is not None else None,
        "ended_at": to_text(ended.ended_at) if ended.ended_at is not None else None,
        "input_tokens": ended.usage.input_tokens,
        "output_tokens": ended.usage.output_tokens,
        "cost_usd": ended.usage.cost_usd,
    }


def is_due(store: Store, now: datetime) -> bool:
    """Whether any hook is to be run."""
    return any(entry.is_due(now) for entry in store.entries(kind=EntryKind.HOOK, states=UNFINISHED))


def run_hooks(
    store: Store,
    roster: Roster,
    environment: Mapping[str, str],
    locks: Path,
    *,
    clock: Callable[[], datetime],
    deadline: Deadline | None = None,
) -> tuple[Entry, ...]:
    """Runs what is due, oldest first, and gives back how each stands then; for TOGETHER seconds at most. One process at
    a time. Raises StateError."""
    if not is_due(store, clock()):
        return ()
    deadline = (deadline or Deadline.after(TOGETHER)).at_most(TOGETHER)
    with try_exclusive(locks / "_hooks.lock", purpose="running hooks", until=lease(deadline)) as lock:
        if not lock.held:
            return ()
        done = []
        for entry in store.entries(kind=EntryKind.HOOK, states=UNFINISHED):
            if _drop_removed(store, roster, entry, clock()):
                continue
            if deadline.left() < _LEAST_TIME:
                break
            if entry.is_due(clock()):
                done.append(_ran(store, roster, environment, entry, clock, deadline))
        return tuple(done)


def _drop_removed(store: Store, roster: Roster, entry: Entry, now: datetime) -> bool:
    """Whether the command is not in the roster any more: it is not run, whatever was queued."""
    wanted = {tuple(argv) for argv in roster.extra.get("on_complete", ())}
    if tuple(entry.payload.get("argv", ())) in wanted:
        return False
    store.settle_entry(entry.key, EntryState.DROPPED, now, error="the roster does not have this command any more")
    return True


def program_of(argv: Sequence[str], roster: Roster) -> str:
    """The program of a hook: what holds a slash lies where the roster does, everything else on the PATH."""
    return str(roster.path.parent / argv[0]) if "/" in argv[0] else argv[0]


def _ran(
    store: Store,
    roster: Roster,
    environment: Mapping[str, str],
    entry: Entry,
    clock: Callable[[], datetime],
    deadline: Deadline,
) -> Entry:
    before = store.claim_entry(entry.key, clock())
    if before is None:
        return entry
    attempts = before.attempts + 1
    # One that ends whoever runs it, by restarting a daemon for example, would do so at every beat.
    error = _DEADLY if attempts > TRIES else _failure(entry, environment, roster, deadline)
    now = clock()
    if not error:
        state, due = EntryState.DONE, None
    elif attempts < TRIES:
        state, due = EntryState.PENDING, now + _RETRY * attempts
    else:
        state, due = EntryState.DEAD, None
    with store.transaction():
        store.settle_entry(entry.key, state, now, error=error, result="" if error else "exit code 0", due_at=due)
        word = "hook-done" if not error else "hook-failed" if state is EntryState.DEAD else "hook-retry"
        store.add_log([LogEntry(now, word, f"{entry.target}: {error or 'exit code 0'}", task=entry.task)])
        if state is EntryState.DEAD:
            store.enqueue(addressed(_told(entry, min(attempts, TRIES), error), roster, now))
    return replace(entry, state=state, attempts=attempts, error=error)


def _failure(entry: Entry, environment: Mapping[str, str], roster: Roster, deadline: Deadline) -> str:
    """Why the hook failed; empty where it did not."""
    try:
        argv = [str(word) for word in entry.payload["argv"]]
        program = program_of(argv, roster)
        if "/" in program and not Path(program).exists():
            return f"no such file: {program}"
        facts: Mapping[str, Any] = entry.payload["facts"]
        told = {f"{_PREFIX}{name.upper()}": "" if value is None else _plain(value) for name, value in facts.items()}
        completed = run(
            [program, *argv[1:]],
            deadline=deadline.at_most(_LONGEST),
            environment={**environment, **told},
            cwd=roster.path.parent,
            stdin=json.dumps(facts, ensure_ascii=False).encode("utf-8", "surrogatepass"),
            max_bytes=_OUTPUT,
        )
    except (KeyError, TypeError, AttributeError) as error:
        return f"its record cannot be read ({error!r})"
    except TransportError as error:
        return str(error)
    if completed.code == 0:
        return ""
    complaint = " ".join(completed.stderr.split())[-_COMPLAINT:]
    return f"exit code {completed.code}{': ' if complaint else ''}{complaint}"


def _plain(value: object) -> str:
    """A fact as an environment can hold it: no NUL, nothing that is no text."""
    return str(value).encode("utf-8", "replace").decode().replace("\0", " ")


def _told(entry: Entry, attempts: int, error: str) -> Message:
    title = harmless(str(entry.payload.get("facts", {}).get("title") or entry.task))
    facts = {"title": title, "command": harmless(entry.target), "attempts": attempts, "because": harmless(error, 300)}
    return Message(
        key=f"undone/{entry.key}",
        to=("operator",),
        level=Level.WARNING,
        title=say("hook_title", command=harmless(entry.target)),
        body=say("hook", **facts),
        owner=NOBODY,
        creator=NOBODY,
        task=entry.task,
    )
