"""Receipts, times, and one record of everything else that a store keeps, for its tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome, Stopwatch, Uptime, Usage
from heartbeat.breaker import Breaker, State
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
from heartbeat.task import EvidenceKind, Owner, OwnerKind, Ref, Status

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
    dispatch={"decision": "skip", "reason": "breaker_open", "told": "没有人可问 \ud83d", "task": None},
    level="L2",
    level_reasons=("multica: timeout", "没有回答 🫀"),
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


ATTEMPT = Attempt(
    id="hb-00000000000000000000000000000001",
    task="workboard:c1",
    refs=(CARD, ISSUE),
    title="修好 \x1b[31mlogin\ud83d",
    agent="coo",
    number=3,
    engine=Engine.OPENCLAW,
    provider="anthropic",
    planned_at=NOW,
    model="anthropic/claude",
    session="hb-workboard-c1",
    life=Life.RUNNING,
    continued=True,
    before=((CARD, Status.TODO), (ISSUE, Status.IN_REVIEW)),
    letter="0a1b",
    run="run-7",
    tries=2,
    spawned_at=NOW + timedelta(seconds=1, microseconds=7),
    accepted_at=NOW + timedelta(seconds=2),
    deadline=NOW + 10 * MINUTE,
    stopwatch=Stopwatch(Uptime("8d1c0f", 86_400.25), 1.5),
    error="第一次没有连上",
)
BREAKER = Breaker(
    provider="anthropic",
    state=State.HALF_OPEN,
    failures=3,
    openings=2,
    until=NOW + 5 * MINUTE,
    probe="hb-00000000000000000000000000000001",
    probe_at=NOW + 6 * MINUTE,
    coolings=1,
    cooled_until=NOW + MINUTE,
    why="503: 忙 \ud83d",
    changed_at=NOW,
)
LETTER = DeadLetter(
    id="0a1b",
    task="workboard:c1",
    refs=(CARD, ISSUE),
    title="修好 \x1b[31mlogin\ud83d",
    agent="coo",
    created_at=NOW,
    due_at=NOW + 5 * MINUTE,
    error="anthropic: 503, zhipu: 401",
    attempts=("hb-a", "hb-b\ud83d"),
    tries=2,
    poison=True,
    state=LetterState.EXHAUSTED,
    payload={"prompt": "# 任务\n\x00\ud83d", "session": "hb-workboard-c1", "limits": [None, 0.5]},
)


def attempt(number: int, **changes: Any) -> Attempt:
    """The n-th attempt of a series: a minute later each, of its own agent on its own card, and only planned."""
    given: dict[str, Any] = {
        "id": f"hb-{number}",
        "task": f"workboard:c{number}",
        "refs": (Ref("workboard", f"c{number}"),),
        "title": "a title",
        "agent": f"agent-{number}",
        "number": 1,
        "engine": Engine.OPENCLAW,
        "provider": "native",
        "planned_at": NOW + number * MINUTE,
    }
    return Attempt(**(given | changes))


def over(attempt: Attempt, at: datetime, outcome: Outcome = Outcome.COMPLETED, **changes: Any) -> Attempt:
    """The attempt as it ended."""
    return replace(attempt, life=Life.ENDED, ended_at=at, outcome=outcome, **changes)


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
    store.add_attempt(ATTEMPT)
    store.add_attempt(
        over(
            attempt(2, agent="coo", refs=(LINE, CARD)),
            NOW + MINUTE,
            Outcome.FAILED,
            cause=Cause.COUNTS,
            exit_code=-9,
            usage=Usage(1200, 340, 0.0125),
        )
    )
    store.put_breaker(BREAKER)
    store.put_breaker(Breaker("openclaw"))
    store.put_letter(LETTER)
    store.put_letter(replace(LETTER, id="0c", state=LetterState.DROPPED, closed_at=NOW, poison=False))


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
        store.attempts(),
        store.breakers(),
        store.letters(),
    )
