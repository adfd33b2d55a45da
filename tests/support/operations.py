"""What the operators' commands are tried on: a state directory with incidents, entries and hostile text in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Expectation, Operation, Write
from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome, Usage
from heartbeat.deadline import Deadline
from heartbeat.memory import Ending, Incident, Rounds, Stage, Step, StepOutcome, StepTaken
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Entry, EntryKind, EntryState, Store
from heartbeat.systems.base import TransportError
from heartbeat.systems.writing import Look, Written
from heartbeat.task import Item, Owner, OwnerKind, Priority, Ref, Status
from heartbeat.written import encode_write

AT = "2026-11-21T04:00:00Z"
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

COO = Owner(OwnerKind.AGENT, "coo")
GOALS = Ref("multica", "0198f0a0-7777-7000-8000-000000000028")
"""BIZ-28 of the sample team: coo's, in progress."""

HOSTILE = "\x1b]0;owned\x07\x1b[31m红\u202e[x](http://evil)\r\n$(touch pwned) `rm -rf`\x00 @all"
"""A title that would set a window's name, turn text around and start a line of its own."""


@contextmanager
def remembering(team: Path) -> Iterator[Store]:
    """The team's store, for writing."""
    with open_store(team / "state", NOW) as store:
        yield store


@contextmanager
def looking(team: Path) -> Iterator[Store]:
    """The team's store, for looking."""
    with open_store_read_only(team / "state") as store:
        yield store


INCIDENT = Incident(
    id="1a2b3c4d",
    ref=GOALS,
    refs=(GOALS,),
    epoch="2026-11-21T02:00:00.000Z",
    title="季度运营目标拆解",
    owner=COO,
    opened_at=NOW - 50 * MINUTE,
    stage=Stage.RECOVERED,
    number=2,
    steps=(
        StepTaken(Step.NUDGE, NOW - 50 * MINUTE, StepOutcome.DONE),
        StepTaken(Step.RECOVER, NOW - 20 * MINUTE, StepOutcome.DUE, "waits for the outbox"),
    ),
    nudged_at=NOW - 49 * MINUTE,
    recovered_at=NOW - 20 * MINUTE,
)
ENDED = replace(
    INCIDENT,
    id="1a2bffff",
    title=HOSTILE,
    owner=Owner(OwnerKind.AGENT, "architect"),
    opened_at=NOW - 90 * MINUTE,
    stage=Stage.ENDED,
    number=1,
    ended_at=NOW - 70 * MINUTE,
    ending=Ending.PROGRESS,
    why="there is activity again",
)


LOGIN = Ref("multica", "0198f0a0-7777-7000-8000-000000000031")
"""BIZ-31 of the sample team: coo's, todo."""

TURN = Attempt(
    id="hb-0c0ffee00c0ffee00c0ffee00c0ffee0",
    task=str(LOGIN),
    refs=(LOGIN,),
    title="BIZ-31 登录页报错 500",
    agent="coo",
    number=2,
    engine=Engine.OPENCLAW,
    provider="second",
    planned_at=NOW - 4 * MINUTE,
    model="second/m",
    session="hb-multica-0198f0a0-0123456789ab",
    before=((LOGIN, Status.TODO),),
    run="hb-0c0ffee00c0ffee00c0ffee00c0ffee0",
    tries=1,
    letter="dl-0123456789ab",
)
"""The turn that goes on."""

FAILED = replace(
    TURN,
    id="hb-0badbadbadbadbadbadbadbadbadbadb",
    number=1,
    provider="first",
    model="first/m",
    run="",
    letter="",
    planned_at=NOW - 20 * MINUTE,
)
"""The one before it."""


def put_turns(store: Store) -> None:
    """A turn that failed, the dead letter that came of it, and the turn that replays that."""
    failed = _running(store, FAILED)
    ended = replace(
        failed,
        life=Life.ENDED,
        ended_at=NOW - 18 * MINUTE,
        outcome=Outcome.FAILED,
        cause=Cause.COUNTS,
        error=f"500 {HOSTILE}",
        usage=Usage(1200, 12, 0.00378),
    )
    assert store.advance_attempt(ended, failed.life)
    store.put_letter(
        DeadLetter(
            id=TURN.letter,
            task=TURN.task,
            refs=TURN.refs,
            title=TURN.title,
            agent=TURN.agent,
            created_at=NOW - 18 * MINUTE,
            due_at=NOW - 13 * MINUTE,
            error=ended.error,
            attempts=(FAILED.id,),
            state=LetterState.REPLAYING,
        )
    )
    _running(store, TURN)


def _running(store: Store, attempt: Attempt) -> Attempt:
    """The attempt on record, accepted a minute after it was planned."""
    assert store.add_attempt(attempt)
    at = attempt.planned_at + MINUTE
    claimed = replace(attempt, life=Life.CLAIMED)
    spawning = replace(claimed, life=Life.SPAWNING, spawned_at=at)
    running = replace(spawning, life=Life.RUNNING, accepted_at=at, deadline=at + 10 * MINUTE)
    for before, after in ((attempt, claimed), (claimed, spawning), (spawning, running)):
        assert store.advance_attempt(after, before.life)
    return running


def write_entry(key: str, ref: Ref = GOALS, operation: Operation = Operation.RECOVER, **changes: Any) -> Entry:
    """A write as it stands in the outbox. Its text is a secret that no command has to show."""
    write = Write(key, ref, operation, "s3cret-text", expect=Expectation())
    entry = Entry(
        key=key,
        kind=EntryKind.WRITE,
        target=ref.source,
        payload={"write": encode_write(write), "owner": ["agent", "coo"], "step": "", "after": ""},
        created_at=NOW - 10 * MINUTE,
        due_at=NOW - 10 * MINUTE,
        task=str(ref),
    )
    return replace(entry, **changes)


def message_entry(key: str, **changes: Any) -> Entry:
    """A message as it stands in the outbox."""
    payload = {"title": HOSTILE, "body": "s3cret-text", "level": "warning", "to": ["coo"]}
    entry = Entry(key, EntryKind.MESSAGE, "ops", payload, NOW - 9 * MINUTE, NOW - 9 * MINUTE)
    return replace(entry, **changes)


def settle(store: Store, key: str, state: EntryState, **told: Any) -> None:
    """An entry that was tried once and ended so."""
    store.claim_entry(key, NOW - 5 * MINUTE)
    store.settle_entry(key, state, NOW - 5 * MINUTE, **told)


def spent(**changes: Any) -> Rounds:
    """BIZ-28's rounds."""
    return replace(Rounds(GOALS, used=7, turn_at=NOW - 30 * MINUTE, slot=NOW - 30 * MINUTE), **changes)


def issues(team: Path, **statuses: str) -> None:
    """Gives issues of the sample team another status: BIZ_28="blocked"."""
    path = team / "multica.json"
    document = json.loads(path.read_text())
    for issue in document["issues"]:
        status = statuses.get(issue["identifier"].replace("-", "_"))
        if status is not None:
            issue["status"] = issue["status_category"] = status
    path.write_text(json.dumps(document))


def retitled(team: Path, name: str, **fields: Any) -> None:
    """Changes fields of one issue of the sample team."""
    path = team / "multica.json"
    document = json.loads(path.read_text())
    next(issue for issue in document["issues"] if issue["identifier"] == name).update(fields)
    path.write_text(json.dumps(document))


def lose_memory(team: Path) -> None:
    """The database is emptied by somebody else; the next opening for writing sets a tombstone."""
    with remembering(team):
        pass
    (team / "state" / "state.db").write_bytes(b"")


def cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may be read only; modes do not bind root, so that the question itself is answered so."""
    monkeypatch.setattr("heartbeat.store.opening.os.access", lambda *_: False)


@dataclass
class ScriptedWriter:
    """A writer of a source that holds one item, and does what it is told to, or fails."""

    item: Item
    error: TransportError | None = None
    applied: list[Write] = field(default_factory=list)
    source: str = "multica"

    def can(self, operation: Operation) -> bool:
        return True

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        return Look(self.item if ref == self.item.ref else None, active=False)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        if self.error is not None:
            raise self.error
        self.applied.append(write)
        self.item = replace(self.item, status=write.status or self.item.status)
        return Written(("e1",))

    def installed(self, monkeypatch: pytest.MonkeyPatch) -> ScriptedWriter:
        """Every command gets this writer for its source, and none for the others."""
        monkeypatch.setattr(
            "heartbeat.systems.registry.build_writer", lambda name, *_: self if name == self.source else None
        )
        return self


def goals(status: Status) -> Item:
    """BIZ-28 as its source would give it."""
    return Item(GOALS, "BIZ-28", "季度运营目标拆解", status, status.value, Priority.HIGH, COO)
