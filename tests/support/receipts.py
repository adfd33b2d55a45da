"""Receipts, times, and one record of everything else that a store keeps, for its tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from heartbeat.memory import (
    EVERYBODY,
    Clock,
    Ending,
    Hold,
    Incident,
    Mark,
    Miss,
    MissReason,
    Pause,
    Rounds,
    Stage,
    Step,
    StepOutcome,
    StepTaken,
    Window,
)
from heartbeat.store.port import Entry, EntryKind, EntryState, LogEntry, Receipt, Store
from heartbeat.task import EvidenceKind, Owner, OwnerKind, Ref

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
CARD, ISSUE, LINE = Ref("workboard", "c1"), Ref("multica", "i1"), Ref("todo", "TODO.md#a")

RECEIPT = Receipt(
    id="r-1",
    agent="coo",
    slot=NOW,
    started_at=NOW + timedelta(seconds=3, microseconds=7),
    ended_at=NOW + timedelta(seconds=9),
    outcome="degraded",
    degraded=True,
    sources=(
        {"name": "workboard", "status": "complete", "transport": "gateway", "items": 3, "age_seconds": 0.25},
        {"name": "multica", "status": "failed", "kind": "timeout", "message": "没有回答 🫀", "items": 0},
    ),
    buckets={"presented": 2, "waiting": 1},
    rejected=({"source": "todo", "id": None, "reason": "no title", "raw": "- [ ] \x00\x1b[31m\ud83d"},),
    reasons=("no_work", "multica: timeout"),
    version="0.1.0",
    host="巴比伦",
    pid=4711,
)


def receipt(number: int, agent: str = "coo", **changes: Any) -> Receipt:
    """The n-th receipt of a series: a minute later each."""
    return replace(
        RECEIPT,
        id=f"r-{number}",
        agent=agent,
        slot=None,
        started_at=NOW + number * MINUTE,
        ended_at=NOW + number * MINUTE,
        **changes,
    )


CLOCK = Clock(
    ref=CARD,
    epoch="2026-11-21T03:00:00Z",
    began_at=NOW - 60 * MINUTE,
    seen_at=NOW,
    activity=Mark(NOW - 2 * MINUTE, EvidenceKind.CLAIM_HEARTBEAT, "e-9", CARD),
    progress=Mark(NOW - timedelta(minutes=7, microseconds=1), EvidenceKind.COMMENT, "评论\x00\ud83d", ISSUE),
    newest=(NOW + MINUTE, "e-9"),
    revision="7",
)

INCIDENT = Incident(
    id="0a1b2c3d",
    ref=CARD,
    refs=(CARD, ISSUE),
    epoch="2026-11-21T03:00:00Z",
    title="修好 \x1b[31mlogin\ud83d",
    owner=Owner(OwnerKind.AGENT, "developer"),
    opened_at=NOW,
    stage=Stage.RECOVERED,
    number=2,
    steps=(
        StepTaken(Step.NUDGE, NOW, StepOutcome.DONE),
        StepTaken(Step.RECOVER, NOW + 15 * MINUTE, StepOutcome.CONFLICT, "somebody else 动过"),
    ),
    nudged_at=NOW + MINUTE,
    recovered_at=NOW + 15 * MINUTE,
    why="idle for 45 minutes",
    storm=4,
)

ROUNDS = Rounds(
    ref=CARD,
    used=41,
    extra=20,
    idle=3,
    progress_at=NOW - 50 * MINUTE,
    turn_at=NOW - MINUTE,
    slot=NOW,
    warned_at=NOW - 20 * MINUTE,
    paused_at=NOW - 10 * MINUTE,
)

MISS = Miss("coo", NOW - 30 * MINUTE, NOW - 10 * MINUTE, 3, MissReason.COALESCED, NOW)

HOLD = Hold(CARD, NOW, NOW + 90 * MINUTE, "a long build 🏗", "lin")
PAUSE = Pause("coo", NOW, NOW + DAY, "holiday", "lin")
ENTRY = Entry(
    key="0a1b2c3d/recover/workboard:c1",
    kind=EntryKind.WRITE,
    target="workboard",
    payload={"operation": "recover", "text": "\ud83d", "outputs": [{"path": "a.md"}], "seconds": None},
    created_at=NOW,
    due_at=NOW,
    task="workboard:c1",
    incident="0a1b2c3d",
)
LOG_ENTRY = LogEntry(NOW, "incident.opened", "没有动静", "coo", "workboard:c1", "0a1b2c3d", {"idle": 2700.5})


def entry(number: int, **changes: Any) -> Entry:
    """The n-th outbox entry of a series: a minute later each."""
    at = NOW + number * MINUTE
    given: dict[str, Any] = {"key": f"k-{number}", "created_at": at, "due_at": at}
    return replace(ENTRY, **(given | changes))


def ended(incident: Incident, at: datetime, ending: Ending = Ending.PROGRESS) -> Incident:
    return replace(incident, stage=Stage.ENDED, ended_at=at, ending=ending)


def remember(store: Store) -> None:
    """Something of everything that the rules remember, of the outbox, and of the log."""
    store.put_clocks([CLOCK, Clock(ISSUE, "first seen", NOW, NOW)])
    store.put_windows("workboard", [Window(NOW - DAY, NOW - 60 * MINUTE), Window(NOW - MINUTE, NOW)])
    store.note_own(CARD, ["e-1", "e-2"], NOW)
    store.note_waiting({(CARD, "BIZ-12"): NOW})
    store.put_incident(INCIDENT)
    store.put_incident(ended(replace(INCIDENT, id="ffffffff", opened_at=NOW - DAY), NOW))
    store.put_rounds([ROUNDS])
    store.put_hold(HOLD)
    store.put_pause(PAUSE)
    store.put_pause(Pause(EVERYBODY, NOW, None, "moving house"))
    store.enqueue([ENTRY, entry(1), entry(2)])
    store.claim_entry("k-1", NOW + MINUTE)
    store.settle_entry("k-2", EntryState.DONE, NOW + MINUTE, result="card 7")
    store.add_log([LOG_ENTRY, replace(LOG_ENTRY, agent="dev")])
    store.note_misses([MISS, replace(MISS, agent="dev", reason=MissReason.BUSY)])


def remembered(store: Store) -> tuple[Any, ...]:
    """The answers to every question that `remember` touches."""
    return (
        store.clocks(),
        store.windows(),
        store.own(),
        store.waiting(),
        store.incidents(),
        store.rounds(),
        store.holds(),
        store.pauses(),
        store.entries(),
        store.log(),
        store.misses(),
    )
