"""Entries of the outbox that a person tries again, or gives up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heartbeat.entries import drop, give_up, retry
from heartbeat.memory import Incident, Stage, Step, StepOutcome, StepTaken
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Entry, EntryKind, EntryState, LogEntry
from heartbeat.task import Owner, OwnerKind, Ref

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=7)
CARD = Ref("workboard", "c1")
STEP = StepTaken(Step.RECOVER, NOW, StepOutcome.DUE)
INCIDENT = Incident(
    "i1", CARD, (CARD,), "e1", "报价", Owner(OwnerKind.AGENT, "coo"), NOW, Stage.SUSPECTED, steps=(STEP,)
)


def waiting(**changes: Any) -> Entry:
    payload = {"step": "recover", "write": {"operation": "add_label", "ref": [CARD.source, CARD.id]}}
    fields: dict[str, Any] = {
        "key": "k1",
        "kind": EntryKind.WRITE,
        "target": "workboard",
        "payload": payload,
        "created_at": NOW,
        "due_at": NOW + timedelta(hours=1),
        "task": str(CARD),
        "incident": "i1",
        "error": "503",
    }
    return Entry(**{**fields, **changes})


@pytest.fixture
def store() -> MemoryStore:
    kept = MemoryStore()
    kept.put_incident(INCIDENT)
    kept.enqueue([waiting()])
    return kept


def known(store: MemoryStore) -> Entry:
    entry = store.entry("k1")
    assert entry is not None
    return entry


def told(store: MemoryStore) -> LogEntry:
    (entry,) = store.log()
    return entry


def outcome(store: MemoryStore) -> tuple[StepOutcome, str]:
    (taken,) = store.incidents()[0].steps
    return taken.outcome, taken.detail


def test_what_is_tried_again_is_due_at_once_and_keeps_why_it_failed(store: MemoryStore) -> None:
    retry(store, known(store), "vincent", LATER)
    after = known(store)
    assert (after.state, after.due_at, after.error) == (EntryState.PENDING, LATER, "503")
    assert told(store).action == "outbox-retry"
    assert told(store).message == "add label on workboard: to be tried again, by vincent"
    assert (told(store).incident, told(store).details) == ("i1", {"by": "vincent", "key": "k1"})
    assert outcome(store) == (StepOutcome.DUE, "")


def test_L5_what_is_dropped_ends_and_its_step_with_it(store: MemoryStore) -> None:
    drop(store, known(store), "vincent", "做过了", LATER)
    said = "dropped by vincent: 做过了"
    assert (known(store).state, known(store).error, known(store).finished_at) == (EntryState.DROPPED, said, LATER)
    assert outcome(store) == (StepOutcome.FAILED, said)
    assert (told(store).action, told(store).message) == ("outbox-dropped", f"add label on workboard: {said}")
    assert told(store).details == {"by": "vincent", "why": "做过了", "key": "k1"}


def test_what_is_given_up_is_no_deed_of_its_own(store: MemoryStore) -> None:
    give_up(store, known(store), "resolved", LATER)
    assert (known(store).state, outcome(store)) == (EntryState.DROPPED, (StepOutcome.FAILED, "resolved"))
    assert store.log() == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "add label on workboard"),
        ({"kind": EntryKind.HOOK, "target": "notify.sh", "payload": {}}, "run notify.sh after a turn"),
        ({"kind": EntryKind.INBOX, "target": "coo", "payload": {"title": "停滞"}}, "tell coo: 停滞"),
        ({"kind": EntryKind.MESSAGE, "target": "feishu", "payload": {}}, "tell feishu"),
    ],
)
def test_an_entry_says_in_a_few_words_what_it_does(changes: dict[str, Any], told: str) -> None:
    assert waiting(**changes).summary == told
