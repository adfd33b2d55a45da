"""What the rules remember, in every store: clocks, windows, own writes, waits, incidents, rounds, holds, slots …"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import StateError
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
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import EntryState, Link, Store
from heartbeat.task import NOBODY, EvidenceKind, Owner, OwnerKind, Ref
from tests.support.receipts import (
    CARD,
    CLOCK,
    DAY,
    ENTRY,
    HOLD,
    INCIDENT,
    ISSUE,
    LINE,
    LOG_ENTRY,
    MINUTE,
    MISS,
    NOW,
    PAUSE,
    ROUNDS,
    ended,
    entry,
    receipt,
    remember,
    remembered,
)

SHANGHAI = timezone(timedelta(hours=8))
NAIVE = datetime(2026, 11, 21)  # noqa: DTZ001
ODD_TEXTS = ("", "任务 🫀", "a\x00b", "cut \ud83d emoji", "\ud83d\ude00 as two halves", "'; DROP TABLE clocks; --")
NOTHING: tuple[Any, ...] = ({}, {}, frozenset(), {}, (), {}, {}, (), (), (), (), (), {}, ())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MemoryStore() if request.param == "memory" else open_store(tmp_path / "state", NOW) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite", "sqlite without a file"])
def locked_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that was opened for looking."""
    if request.param == "memory":
        yield MemoryStore(read_only=True)
        return
    if request.param == "sqlite":
        open_store(tmp_path / "state", NOW).close()
    with open_store_read_only(tmp_path / "state") as store:
        yield store


def test_a_store_that_was_never_told_anything_remembers_nothing(store: Store) -> None:
    assert remembered(store) == NOTHING


def test_everything_outlives_the_process(tmp_path: Path) -> None:
    twin = MemoryStore()
    remember(twin)
    with open_store(tmp_path, NOW) as store:
        remember(store)
    for opened in (open_store(tmp_path, NOW), open_store_read_only(tmp_path)):
        with opened as store:
            assert remembered(store) == remembered(twin)
    assert all(remembered(twin)), "the comparison says something about each of them"


def test_T5_a_clock_comes_back_as_it_went_in_and_a_new_one_takes_its_place(store: Store) -> None:
    bare = Clock(ISSUE, "first seen", NOW, NOW)
    store.put_clocks([CLOCK, bare])
    assert store.clocks() == {CARD: CLOCK, ISSUE: bare}
    later = Clock(CARD, "second claim", NOW + DAY, NOW + DAY)
    store.put_clocks([replace(CLOCK, epoch="overtaken in the same call"), later])
    assert store.clocks() == {CARD: later, ISSUE: bare}, "nothing of the old one shines through"
    store.put_clocks([])
    store.drop_clocks([CARD, LINE])
    assert store.clocks() == {ISSUE: bare}


@pytest.mark.parametrize("kind", EvidenceKind)
def test_a_mark_may_be_of_any_kind(store: Store, kind: EvidenceKind) -> None:
    clock = replace(CLOCK, activity=Mark(NOW, kind, "e", LINE), progress=None, newest=(NOW, ""))
    store.put_clocks([clock])
    assert store.clocks() == {CARD: clock}


def test_T6_windows_of_a_source_come_earliest_first_and_are_replaced_as_a_whole(store: Store) -> None:
    early, late = Window(NOW - DAY, NOW - 60 * MINUTE), Window(NOW - MINUTE, NOW)
    store.put_windows("workboard", [late, early])
    store.put_windows("multica", iter([late]))
    assert store.windows() == {"workboard": (early, late), "multica": (late,)}
    grown = Window(late.began, NOW + MINUTE)
    store.put_windows("workboard", [early, grown])
    assert store.windows() == {"workboard": (early, grown), "multica": (late,)}
    store.put_windows("workboard", [grown])
    store.put_windows("multica", [])
    assert store.windows() == {"workboard": (grown,)}


def test_T6_two_windows_may_begin_alike(store: Store) -> None:
    short, long = Window(NOW, NOW), Window(NOW, NOW + MINUTE)
    store.put_windows("todo", [long, short, long])
    assert store.windows() == {"todo": (short, long, long)}


def test_T2_own_evidence_is_one_items_own_and_known_once(store: Store) -> None:
    store.note_own(CARD, ["e-1", "e-2"], NOW)
    store.note_own(CARD, iter(["e-2", "e-3", "e-3"]), NOW + DAY)
    store.note_own(ISSUE, ["e-1"], NOW)
    store.note_own(LINE, [], NOW)
    assert store.own() == {(CARD, "e-1"), (CARD, "e-2"), (CARD, "e-3"), (ISSUE, "e-1")}
    assert store.forget_before(NOW + MINUTE) == 3, "what was known kept its first date"
    assert store.own() == {(CARD, "e-3")}


def test_D4_waits_stand_as_they_were_last_noted(store: Store) -> None:
    store.note_waiting({(CARD, "BIZ-12"): NOW, (CARD, "BIZ-13"): NOW + MINUTE, (LINE, "BIZ-12"): NOW})
    store.note_waiting({(CARD, "BIZ-13"): NOW + MINUTE, (ISSUE, "BIZ-7"): NOW})
    assert store.waiting() == {(CARD, "BIZ-13"): NOW + MINUTE, (ISSUE, "BIZ-7"): NOW}
    store.note_waiting({})
    assert store.waiting() == {}


def test_L5_an_incident_comes_back_as_it_went_in_and_grows_under_its_id(store: Store) -> None:
    store.put_incident(INCIDENT)
    assert store.incidents() == (INCIDENT,)
    grown = replace(
        INCIDENT,
        stage=Stage.ENDED,
        ending=Ending.HANDED_OVER,
        ended_at=NOW + DAY,
        steps=(*INCIDENT.steps, StepTaken(Step.NOTIFY, NOW, StepOutcome.FAILED, "503")),
    )
    store.put_incident(grown)
    assert store.incidents() == (grown,)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("ending", [None, *Ending])
def test_an_incident_may_stand_anywhere_and_end_anyhow(store: Store, stage: Stage, ending: Ending | None) -> None:
    steps = tuple(StepTaken(step, NOW, outcome) for step in Step for outcome in StepOutcome)
    least = Incident("i", LINE, (), "", "", NOBODY, NOW, stage, steps=steps, ending=ending)
    store.put_incident(least)
    assert store.incidents() == (least,)
    assert bool(store.incidents(open_only=True)) == (stage is not Stage.ENDED)


def test_L3_incidents_come_newest_first_open_ones_always_ended_ones_since(store: Store) -> None:
    def opened(id_: str, days: int) -> Incident:
        return replace(INCIDENT, id=id_, opened_at=NOW + days * DAY)

    ancient, old, new, newer, same = (opened(*each) for each in (("a", -9), ("b", -2), ("d", 0), ("c", 1), ("e", 0)))
    old, newer = ended(old, NOW), ended(newer, NOW + 2 * DAY)
    for incident in (new, ancient, newer, old, same):
        store.put_incident(incident)
    assert store.incidents() == (newer, same, new, old, ancient), "of two at once the greater id first"
    assert store.incidents(since=NOW) == (newer, same, new, ancient)
    assert store.incidents(since=NOW - 2 * DAY) == (newer, same, new, old, ancient), "exactly at the instant counts"
    assert store.incidents(since=(NOW + 5 * DAY).astimezone(SHANGHAI)) == (same, new, ancient)
    assert store.incidents(open_only=True) == (same, new, ancient)
    assert store.incidents(open_only=True, since=NOW) == (same, new, ancient)


def test_I8_rounds_never_go_down_whatever_is_given(store: Store) -> None:
    store.put_rounds([ROUNDS, Rounds(ISSUE)])
    assert store.rounds() == {CARD: ROUNDS, ISSUE: Rounds(ISSUE)}
    store.put_rounds([Rounds(CARD, used=3, extra=0, idle=0), Rounds(ISSUE, used=-5, extra=-1), Rounds(LINE, used=-1)])
    assert store.rounds() == {
        CARD: Rounds(CARD, used=ROUNDS.used, extra=ROUNDS.extra),
        ISSUE: Rounds(ISSUE),
        LINE: Rounds(LINE),
    }, "the rest is as it was given"
    store.put_rounds([Rounds(CARD, used=42, extra=1), Rounds(CARD, used=2, extra=40, idle=7)])
    assert store.rounds()[CARD] == Rounds(CARD, used=42, extra=40, idle=7)


def test_T5_one_hold_stands_on_an_item(store: Store) -> None:
    store.put_hold(HOLD)
    longer = Hold(CARD, NOW, NOW + DAY, "longer")
    store.put_hold(longer)
    store.put_hold(replace(HOLD, ref=LINE))
    assert store.holds() == {CARD: longer, LINE: replace(HOLD, ref=LINE)}
    assert store.drop_hold(CARD)
    assert not store.drop_hold(CARD)
    assert not store.drop_hold(Ref(LINE.source, "another"))
    assert store.holds() == {LINE: replace(HOLD, ref=LINE)}


def test_one_pause_stands_on_an_agent_or_on_everybody(store: Store) -> None:
    everybody = Pause(EVERYBODY, NOW, None, "moving house")
    store.put_pause(PAUSE)
    store.put_pause(everybody)
    store.put_pause(replace(PAUSE, until=None))
    assert store.pauses() == (everybody, replace(PAUSE, until=None)), "by agent"
    assert not store.drop_pause("developer")
    assert store.drop_pause("coo")
    assert not store.drop_pause("coo")
    assert store.pauses() == (everybody,)


def test_I6_a_slot_is_taken_by_the_receipt_of_its_agent_and_by_no_other(store: Store) -> None:
    store.add_receipt(replace(receipt(1), slot=NOW))
    store.add_receipt(receipt(2))
    assert store.slot_taken("coo", NOW)
    assert not store.slot_taken("dev", NOW)
    assert not store.slot_taken("coo", NOW + timedelta(microseconds=1))
    assert not store.slot_taken("coo", receipt(2).started_at)
    store.note_misses([replace(MISS, first=NOW + MINUTE, last=NOW + MINUTE)])
    assert not store.slot_taken("coo", NOW + MINUTE), "what was missed is free"


def test_B2_the_last_slot_on_record_is_answered_or_missed_and_never_later_than_asked(store: Store) -> None:
    ask = store.last_slot
    assert ask("coo", NOW) is None
    store.add_receipt(replace(receipt(1), slot=NOW))
    store.add_receipt(replace(receipt(2), slot=None))
    store.add_receipt(replace(receipt(3, "dev"), slot=NOW + 9 * MINUTE))
    assert (ask("coo", NOW - timedelta(microseconds=1)), ask("coo", NOW), ask("coo", NOW + DAY)) == (None, NOW, NOW)
    store.note_misses([Miss("coo", NOW + 10 * MINUTE, NOW + 30 * MINUTE, 3, MissReason.COALESCED, NOW + DAY)])
    assert ask("coo", NOW + 9 * MINUTE) == NOW
    assert ask("coo", NOW + 10 * MINUTE) == NOW + 10 * MINUTE
    assert ask("coo", NOW + 20 * MINUTE) == NOW + 20 * MINUTE, "the miss goes on, and is on record up to here"
    assert ask("coo", NOW + DAY) == NOW + 30 * MINUTE
    store.add_receipt(replace(receipt(4), slot=NOW + 40 * MINUTE))
    store.add_receipt(replace(receipt(5), slot=NOW - 40 * MINUTE))
    assert ask("coo", NOW + DAY) == NOW + 40 * MINUTE, "what was recorded last need not be the latest"
    assert ask("dev", NOW + DAY) == NOW + 9 * MINUTE


def test_B2_misses_come_latest_first_by_agent_since_and_up_to_a_limit(store: Store) -> None:
    series = [replace(MISS, first=NOW + n * MINUTE, last=NOW + (n + 1) * MINUTE) for n in (0, 20, 10)]
    store.note_misses(series)
    store.note_misses([replace(MISS, agent="dev", first=NOW, last=NOW + 11 * MINUTE)])
    names = [(miss.agent, miss.last) for miss in store.misses()]
    assert names == [("coo", NOW + n * MINUTE) for n in (21, 11)] + [("dev", NOW + 11 * MINUTE), ("coo", NOW + MINUTE)]
    assert store.misses("dev")[0].count == 3
    assert [miss.last for miss in store.misses("coo", since=NOW + 11 * MINUTE)] == [NOW + n * MINUTE for n in (21, 11)]
    assert store.misses("coo", since=NOW + 22 * MINUTE) == ()
    assert store.misses(limit=1) == store.misses()[:1]
    assert store.misses(limit=0) == ()
    assert store.misses("nobody") == ()


def test_B2_a_miss_comes_back_as_it_went_in_and_one_that_begins_alike_takes_its_place(store: Store) -> None:
    store.note_misses([MISS])
    assert store.misses() == (MISS,)
    longer = replace(MISS, last=NOW, count=4, reason=MissReason.BUSY, noted_at=NOW + MINUTE)
    store.note_misses([longer, replace(MISS, agent="dev")])
    assert store.misses("coo") == (longer,)
    assert store.misses("dev") == (replace(MISS, agent="dev"),)


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_B8_foreign_text_is_kept_whatever_it_holds(store: Store, odd: str) -> None:
    ref = Ref(odd, odd)
    mark = Mark(NOW, EvidenceKind.COMMENT, odd, ref)
    clock = Clock(ref, odd, NOW, NOW, mark, mark, (NOW, odd), odd)
    incident = replace(
        INCIDENT,
        id=odd,
        ref=ref,
        refs=(ref, CARD),
        epoch=odd,
        title=odd,
        owner=Owner(OwnerKind.PERSON, odd),
        steps=(StepTaken(Step.BLOCK, NOW, StepOutcome.FAILED, odd),),
        why=odd,
    )
    hold, pause = Hold(ref, NOW, NOW, odd, odd), Pause(odd, NOW, NOW, odd, odd)
    store.put_clocks([clock])
    store.put_windows(odd, [Window(NOW, NOW)])
    store.note_own(ref, [odd], NOW)
    store.note_waiting({(ref, odd): NOW})
    store.put_incident(incident)
    store.put_rounds([Rounds(ref, used=1)])
    store.put_hold(hold)
    store.put_pause(pause)
    miss = Miss(odd, NOW, NOW, 1, MissReason.BUSY, NOW)
    store.note_misses([miss])
    assert (store.misses(odd), store.last_slot(odd, NOW)) == ((miss,), NOW)
    assert remembered(store)[:8] == (
        {ref: clock},
        {odd: (Window(NOW, NOW),)},
        {(ref, odd)},
        {(ref, odd): NOW},
        (incident,),
        {ref: Rounds(ref, used=1)},
        {ref: hold},
        (pause,),
    )
    assert store.drop_hold(ref)
    assert store.drop_pause(odd)
    store.drop_clocks([ref])
    assert store.clocks() == {}


def test_S8_times_of_any_zone_come_back_in_utc(store: Store) -> None:
    there = NOW.astimezone(SHANGHAI)
    mark = Mark(there, EvidenceKind.RUN, "r", CARD)
    store.put_clocks([Clock(CARD, "", there, there, mark, mark, (there, ""))])
    store.put_windows("workboard", [Window(there, there)])
    store.note_waiting({(CARD, "x"): there})
    store.put_incident(
        replace(
            INCIDENT,
            opened_at=there,
            steps=(StepTaken(Step.NUDGE, there, StepOutcome.DUE),),
            nudged_at=there,
            recovered_at=there,
            ended_at=there,
        )
    )
    store.put_rounds([Rounds(CARD, 0, 0, 0, there, there, there, there, there)])
    store.put_hold(Hold(CARD, there, there, ""))
    store.put_pause(Pause("coo", there, there, ""))
    store.note_misses([Miss("coo", there, there, 1, MissReason.COALESCED, there)])
    store.add_receipt(receipt(0, "dev"))
    store.add_receipt(replace(receipt(1, "dev"), slot=there))
    assert store.slot_taken("dev", there)
    assert store.slot_taken("dev", NOW)
    (miss,) = store.misses(since=there)
    clock, incident, rounds = store.clocks()[CARD], store.incidents()[0], store.rounds()[CARD]
    assert clock.activity
    assert clock.progress
    assert clock.newest
    hold, pause, window = store.holds()[CARD], store.pauses()[0], store.windows()["workboard"][0]
    times = (
        *(clock.began_at, clock.seen_at, clock.activity.at, clock.progress.at, clock.newest[0]),
        *(window.began, window.until, *store.waiting().values()),
        *(incident.opened_at, incident.steps[0].at, incident.nudged_at, incident.recovered_at, incident.ended_at),
        *(rounds.progress_at, rounds.turn_at, rounds.slot, rounds.warned_at, rounds.paused_at),
        *(hold.since, hold.until, pause.since, pause.until),
        *(miss.first, miss.last, miss.noted_at, store.last_slot("coo", there), store.last_slot("dev", there)),
    )
    assert {None if time is None else time.isoformat() for time in times} == {NOW.isoformat()}


WRITES: dict[str, Callable[[Store, datetime], Any]] = {
    "clocks": lambda store, at: store.put_clocks([CLOCK, replace(CLOCK, ref=LINE, began_at=at)]),
    "a mark": lambda store, at: store.put_clocks(
        [replace(CLOCK, activity=Mark(at, EvidenceKind.RUN, "r", CARD), progress=None)]
    ),
    "newest": lambda store, at: store.put_clocks([replace(CLOCK, newest=(at, "e"))]),
    "windows": lambda store, at: store.put_windows("todo", [Window(NOW, NOW), Window(NOW, at)]),
    "own": lambda store, at: store.note_own(CARD, ["e"], at),
    "waiting": lambda store, at: store.note_waiting({(CARD, "a"): NOW, (CARD, "b"): at}),
    "incident": lambda store, at: store.put_incident(replace(INCIDENT, nudged_at=at)),
    "a step": lambda store, at: store.put_incident(
        replace(INCIDENT, steps=(StepTaken(Step.NUDGE, at, StepOutcome.DUE),))
    ),
    "rounds": lambda store, at: store.put_rounds([ROUNDS, replace(ROUNDS, ref=LINE, slot=at)]),
    "hold": lambda store, at: store.put_hold(replace(HOLD, until=at)),
    "pause": lambda store, at: store.put_pause(replace(PAUSE, until=at)),
    "enqueue": lambda store, at: store.enqueue([ENTRY, entry(1, due_at=at)]),
    "claim": lambda store, at: store.claim_entry("k-1", at),
    "settle": lambda store, at: store.settle_entry("k-1", EntryState.DONE, at),
    "due again": lambda store, at: store.settle_entry("k-1", EntryState.PENDING, NOW, due_at=at),
    "log": lambda store, at: store.add_log([LOG_ENTRY, replace(LOG_ENTRY, at=at)]),
    "a miss": lambda store, at: store.note_misses([MISS, replace(MISS, first=at)]),
    "the end of a miss": lambda store, at: store.note_misses([replace(MISS, last=at)]),
    "when a miss was noted": lambda store, at: store.note_misses([replace(MISS, noted_at=at)]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_S8_a_time_without_a_zone_is_refused_and_nothing_is_kept(
    store: Store, write: Callable[[Store, datetime], Any]
) -> None:
    with pytest.raises(ValueError, match="time zone"):
        write(store, NAIVE)
    assert remembered(store) == NOTHING


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.incidents(since=NAIVE),
        lambda store: store.entries(due_by=NAIVE),
        lambda store: store.forget_before(NAIVE),
        lambda store: store.slot_taken("coo", NAIVE),
        lambda store: store.last_slot("coo", NAIVE),
        lambda store: store.misses(since=NAIVE),
    ],
)
def test_S8_a_question_with_a_time_without_a_zone_is_refused(store: Store, ask: Callable[[Store], Any]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        ask(store)


REFUSED: dict[str, Callable[[Store, datetime], Any]] = WRITES | {
    "no clocks": lambda store, at: store.put_clocks([]),
    "drop clocks": lambda store, at: store.drop_clocks([]),
    "no windows": lambda store, at: store.put_windows("todo", []),
    "no own": lambda store, at: store.note_own(CARD, [], at),
    "no waiting": lambda store, at: store.note_waiting({}),
    "no rounds": lambda store, at: store.put_rounds([]),
    "drop hold": lambda store, at: store.drop_hold(CARD),
    "drop pause": lambda store, at: store.drop_pause("coo"),
    "enqueue nothing": lambda store, at: store.enqueue([]),
    "log nothing": lambda store, at: store.add_log([]),
    "miss nothing": lambda store, at: store.note_misses([]),
    "forget": lambda store, at: store.forget_before(at),
}


@pytest.mark.parametrize("write", REFUSED.values(), ids=REFUSED)
def test_B3_a_store_for_looking_refuses_every_write(
    locked_store: Store, write: Callable[[Store, datetime], Any]
) -> None:
    with pytest.raises(StateError, match="for reading only") as refused:
        write(locked_store, NOW)
    assert refused.value.advice
    assert remembered(locked_store) == NOTHING, "and knows nothing yet"


def test_a_beat_is_kept_as_a_whole(store: Store) -> None:
    with store.transaction():
        remember(store)
        seen_inside = remembered(store)
    twin = MemoryStore()
    remember(twin)
    assert remembered(store) == seen_inside == remembered(twin)


def test_a_beat_that_breaks_off_is_not_kept_at_all(store: Store) -> None:
    remember(store)
    before = remembered(store)

    def beat() -> None:
        with store.transaction():
            store.put_clocks([replace(CLOCK, revision="8")])
            store.put_windows("workboard", [])
            store.note_own(LINE, ["e-9"], NOW)
            store.note_waiting({})
            store.put_incident(ended(INCIDENT, NOW))
            store.put_rounds([replace(ROUNDS, used=99), Rounds(LINE)])
            store.drop_hold(CARD)
            store.drop_pause("coo")
            store.enqueue([entry(9)])
            store.claim_entry(ENTRY.key, NOW)
            store.settle_entry("k-1", EntryState.DEAD, NOW)
            store.add_log([LOG_ENTRY])
            store.note_misses([replace(MISS, count=99), replace(MISS, agent="new")])
            store.drop_clocks([ISSUE])
            store.forget_before(NOW + 900 * DAY)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        beat()
    assert remembered(store) == before
    store.add_log([LOG_ENTRY])
    assert store.log()[-1].sequence == 3, "a number that was never given is free"


def test_retention_drops_what_ended_earlier_and_counts_it(store: Store) -> None:
    store.put_clocks([replace(CLOCK, seen_at=NOW - MINUTE), replace(CLOCK, ref=LINE, seen_at=NOW)])
    store.put_windows("todo", [Window(NOW - DAY, NOW - MINUTE), Window(NOW - MINUTE, NOW)])
    store.put_windows("multica", [Window(NOW - DAY, NOW - MINUTE)])
    store.note_own(Ref("todo", "gone"), ["old"], NOW - MINUTE)
    store.note_own(Ref("todo", "gone"), ["new"], NOW)
    store.note_waiting({(CARD, "BIZ-1"): NOW - 900 * DAY})
    old, new, still_open, undated = (
        replace(INCIDENT, id=str(number), opened_at=NOW - 900 * DAY) for number in range(4)
    )
    for incident in (ended(old, NOW - MINUTE), ended(new, NOW), still_open, replace(undated, stage=Stage.ENDED)):
        store.put_incident(incident)
    store.put_hold(replace(HOLD, until=NOW - MINUTE))
    store.put_hold(replace(HOLD, ref=LINE, until=NOW))
    store.put_pause(replace(PAUSE, until=NOW - MINUTE))
    store.put_pause(replace(PAUSE, agent="dev", until=NOW))
    store.put_pause(Pause("secretary", NOW - 900 * DAY, None, "for ever"))
    store.add_log([replace(LOG_ENTRY, at=NOW), replace(LOG_ENTRY, at=NOW - MINUTE)])
    store.note_misses([replace(MISS, last=NOW - MINUTE), replace(MISS, agent="dev", last=NOW)])
    store.remember_links([Link(CARD, ISSUE, "title", NOW - 900 * DAY)])
    assert store.forget_before(NOW) == 1 + 2 + 1 + 2 + 1 + 1 + 1 + 1
    assert set(store.clocks()) == {LINE}
    assert store.windows() == {"todo": (Window(NOW - MINUTE, NOW),)}
    assert store.own() == {(Ref("todo", "gone"), "new")}
    assert set(store.waiting()) == {(CARD, "BIZ-1")}
    assert {incident.id for incident in store.incidents()} == {"1", "2"}
    assert set(store.holds()) == {LINE}
    assert [pause.agent for pause in store.pauses()] == ["dev", "secretary"]
    assert [each.sequence for each in store.log()] == [1]
    assert [miss.agent for miss in store.misses()] == ["dev"], "it began earlier, and that does not count"
    assert len(store.links()) == 1
    assert store.forget_before(NOW) == 0


def test_T2_own_writes_on_an_item_that_has_a_clock_are_never_forgotten(store: Store) -> None:
    odd = Ref("todo", "cut \ud83d")
    for ref in (CARD, ISSUE, odd):
        store.note_own(ref, ["old", "older"], NOW - 900 * DAY)
    store.put_clocks([replace(CLOCK, seen_at=NOW), replace(CLOCK, ref=odd, seen_at=NOW)])
    assert store.forget_before(NOW) == 2, "those of the issue"
    assert store.own() == {(ref, id_) for ref in (CARD, odd) for id_ in ("old", "older")}
    store.put_clocks([replace(CLOCK, seen_at=NOW - MINUTE)])
    store.drop_clocks([odd])
    assert store.forget_before(NOW) == 1 + 4, "a clock that goes takes them along"
    assert store.own() == frozenset()


def test_T2_own_writes_on_what_stands_in_an_open_incident_are_never_forgotten(store: Store) -> None:
    odd = Ref("todo", "cut \ud83d")
    incident = replace(INCIDENT, ref=CARD, refs=(ISSUE, odd))
    store.put_incident(incident)
    for ref in (CARD, ISSUE, odd, LINE):
        store.note_own(ref, ["old"], NOW - 900 * DAY)
    assert store.forget_before(NOW) == 1, "the line's"
    assert store.own() == {(CARD, "old"), (ISSUE, "old"), (odd, "old")}
    store.put_incident(ended(incident, NOW))
    assert store.forget_before(NOW) == 3
    assert store.own() == frozenset()


def test_retention_leaves_unfinished_entries_and_those_that_ended_lately(store: Store) -> None:
    for state in EntryState:
        at = None if state in (EntryState.PENDING, EntryState.CLAIMED) else NOW
        long_ago = NOW - 900 * DAY
        store.enqueue([entry(0, key=f"{state} then", state=state, created_at=long_ago, finished_at=at and long_ago)])
        store.enqueue([entry(0, key=f"{state} now", state=state, created_at=long_ago, finished_at=at)])
        store.enqueue([entry(0, key=f"{state} undated", state=state, created_at=long_ago)])
    assert store.forget_before(NOW) == 8
    assert {each.key for each in store.entries()} == {
        *(f"{state} now" for state in EntryState),
        *(f"{state} {when}" for state in (EntryState.PENDING, EntryState.CLAIMED) for when in ("then", "undated")),
    }


@pytest.mark.parametrize(
    ("rounds", "stays"),
    [
        (Rounds(CARD, used=5), True),
        (Rounds(CARD, used=5, turn_at=NOW - MINUTE), False),
        (Rounds(CARD, used=5, turn_at=NOW), True),
        (Rounds(CARD, used=5, turn_at=NOW - DAY, slot=NOW), True),
        (Rounds(CARD, used=5, turn_at=NOW - DAY, paused_at=NOW), True),
        (Rounds(CARD, used=5, turn_at=NOW - DAY, warned_at=NOW + DAY), True),
        (Rounds(CARD, used=5, turn_at=NOW - DAY, progress_at=NOW), True),
        (Rounds(CARD, used=5, paused_at=NOW - MINUTE), False),
    ],
)
def test_C1_rounds_of_an_item_that_nothing_notes_go_by_their_newest_use(
    store: Store, rounds: Rounds, stays: bool
) -> None:
    store.put_rounds([rounds])
    assert store.forget_before(NOW) == (0 if stays else 1)
    assert bool(store.rounds()) is stays


def test_C1_an_item_that_is_still_there_keeps_its_rounds_however_old(store: Store) -> None:
    ancient = [Rounds(ref, used=50, turn_at=NOW - 900 * DAY) for ref in (CARD, ISSUE, LINE)]
    store.put_rounds(ancient)
    store.note_sightings([LINE], NOW)
    store.note_sightings([ISSUE], NOW - MINUTE)
    store.put_clocks([replace(CLOCK, seen_at=NOW)])
    assert store.forget_before(NOW) == 2, "the rounds of the issue with its sighting"
    assert set(store.rounds()) == {CARD, LINE}
    store.put_clocks([replace(CLOCK, seen_at=NOW - MINUTE)])
    assert store.forget_before(NOW) == 2
    assert set(store.rounds()) == {LINE}


def test_C1_rounds_that_were_used_lately_outlive_their_items_sighting(store: Store) -> None:
    store.put_rounds([Rounds(LINE, used=1, turn_at=NOW), Rounds(CARD, used=1)])
    store.note_sightings([LINE, CARD], NOW - MINUTE)
    assert store.forget_before(NOW) == 3, "both sightings, and the rounds that nothing else dates"
    assert set(store.rounds()) == {LINE}


def test_retention_is_one_of_many_writes_of_a_beat(store: Store) -> None:
    store.add_receipt(receipt(-5))
    with store.transaction():
        store.add_receipt(receipt(1))
        store.add_log([replace(LOG_ENTRY, at=NOW - MINUTE)])
        assert store.forget_before(NOW) == 2
    assert [one.id for one in store.receipts()] == ["r-1"]
