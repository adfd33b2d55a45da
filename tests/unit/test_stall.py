"""Rules T3 to T8, S2, S6a and B5: which verdict, exactly from when, and what stands in the way of acting on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.memory import Clock, Hold, Mark, Memory, Rounds, Window
from heartbeat.policy import Charter, Member
from heartbeat.rules.stall import HINDRANCES, STALLED_ROUNDS, Hindrance, Level, Stall, stalls
from heartbeat.task import NOBODY, EvidenceKind, Item, Owner, OwnerKind, Presence, Priority, Ref, Status, Task
from tests.support.items import ALICE, COO, card, issue, line
from tests.support.rosters import CLASS_POLICIES

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
POLICY = CLASS_POLICIES["high_frequency"]
CHARTER = Charter({"coo": Member("coo", POLICY, patrol=True), "writer": Member("writer", CLASS_POLICIES["business"])})
ALWAYS = (Window(NOON - timedelta(days=30), NOON),)

CARD = card(1, "deploy the site", Status.IN_PROGRESS)
ISSUE = issue(1, "deploy the site", Status.IN_PROGRESS)
LINE = line(1, "deploy the site", Status.IN_PROGRESS)


def ago(minutes: float, less: timedelta = timedelta(0)) -> datetime:
    return NOON - minutes * MINUTE + less


def mark(item: Item, when: datetime, kind: EvidenceKind = EvidenceKind.COMMENT) -> Mark:
    return Mark(when, kind, "m", item.ref)


def clock(
    item: Item, *, began: datetime, active: datetime | None = None, progress: datetime | None = None, epoch: str = "e"
) -> Clock:
    marks = [None if when is None else mark(item, when) for when in (active or progress, progress)]
    return Clock(item.ref, epoch, began, NOON, marks[0], marks[1])


def task_of(*items: Item, status: Status = Status.IN_PROGRESS, owner: Owner = COO, **changes: Any) -> Task:
    return Task(items, status, Priority.NORMAL, owner, None, **changes)


def verdicts(
    tasks: Sequence[Task],
    *clocks: Clock,
    presence: Sequence[Presence] = (),
    charter: Charter = CHARTER,
    now: datetime = NOON,
    incomplete: Sequence[str] = (),
    presence_unknown: Sequence[str] = (),
    presence_known: bool = True,
    unknown_ids: Sequence[str] = (),
    windows: tuple[Window, ...] | dict[str, tuple[Window, ...]] = ALWAYS,
    **memory: Any,
) -> dict[str, Stall]:
    each_its_own = isinstance(windows, dict)
    memory["windows"] = windows if each_its_own else dict.fromkeys(("workboard", "multica", "todo"), windows)
    return stalls(
        tasks,
        incomplete=frozenset(incomplete),
        presence=presence,
        presence_unknown=frozenset(presence_unknown),
        presence_known=presence_known,
        unknown_ids=frozenset(unknown_ids),
        memory=Memory(clocks={each.ref: each for each in clocks}, **memory),
        charter=charter,
        now=now,
    )


def verdict(task: Task, *clocks: Clock, **changes: Any) -> Stall:
    return verdicts([task], *clocks, **changes)[task.key]


def idle(minutes: float, less: timedelta = timedelta(0), **changes: Any) -> Stall:
    """A card that was claimed 50 minutes ago and last heard of so many minutes ago."""
    return verdict(task_of(CARD), clock(CARD, began=ago(50), active=ago(minutes, less)), **changes)


@pytest.mark.parametrize(
    ("minutes", "level"), [(0, Level.NONE), (20, Level.SUSPECTED), (30, Level.CONFIRMED), (49, Level.CONFIRMED)]
)
def test_T3_at_the_threshold_counts(minutes: int, level: Level) -> None:
    stall = idle(minutes)
    assert (stall.level, stall.idle, stall.quiet) == (level, minutes * MINUTE, minutes * MINUTE)


def test_T3_idle_for_a_microsecond_less_than_suspect_after_is_not_suspected() -> None:
    assert idle(20, TICK).level is Level.NONE


def test_T3_idle_for_a_microsecond_less_than_recover_after_is_only_suspected() -> None:
    assert idle(30, TICK).level is Level.SUSPECTED


def test_T3_without_any_sign_of_life_idle_counts_from_the_beginning() -> None:
    assert verdict(task_of(CARD), clock(CARD, began=ago(20))).level is Level.SUSPECTED
    stall = verdict(task_of(CARD), clock(CARD, began=ago(20, TICK)))
    assert (stall.level, stall.activity) == (Level.NONE, None)


def test_T3_the_numbers_are_those_of_the_owner() -> None:
    theirs = Owner(OwnerKind.AGENT, "writer")
    last = clock(CARD, began=ago(50), active=ago(30, TICK))
    assert verdict(task_of(CARD, owner=theirs), last).level is Level.NONE
    assert verdict(task_of(CARD, owner=theirs), clock(CARD, began=ago(50), active=ago(30))).level is Level.SUSPECTED


@pytest.mark.parametrize("owner", [NOBODY, Owner(OwnerKind.AGENT, "stranger")])
def test_L0_work_of_nobody_and_of_strangers_is_judged_by_the_patrols_numbers(owner: Owner) -> None:
    assert verdict(task_of(CARD, owner=owner), clock(CARD, began=ago(20))).level is Level.SUSPECTED
    assert verdicts([task_of(CARD, owner=owner)], clock(CARD, began=ago(20)), charter=Charter({})) == {}


def test_T1_a_sign_of_life_on_any_item_of_the_task_counts() -> None:
    task = task_of(CARD, ISSUE)
    silent, heard = clock(CARD, began=ago(50), active=ago(40)), clock(ISSUE, began=ago(49), active=ago(5))
    assert verdict(task, silent, heard).idle == 5 * MINUTE
    beside = clock(ISSUE, began=ago(3), active=ago(5), epoch="")
    assert verdict(task, silent, beside).idle == 5 * MINUTE


def test_T5_the_newest_epoch_of_all_items_counts_and_inherits_nothing() -> None:
    old, new = clock(CARD, began=ago(90), active=ago(60), epoch="old"), clock(ISSUE, began=ago(25), epoch="new")
    stall = verdict(task_of(CARD, ISSUE), old, new)
    assert (stall.epoch, stall.idle, stall.activity) == ("new", 25 * MINUTE, None)


def test_T6_idle_time_leaves_out_what_could_not_be_seen() -> None:
    windows = (Window(ago(300), ago(200)), Window(ago(10), NOON))
    stall = verdict(task_of(CARD), clock(CARD, began=ago(300), active=ago(205)), windows=windows)
    assert (stall.idle, stall.quiet, stall.level) == (15 * MINUTE, 205 * MINUTE, Level.NONE)
    assert (stall.runtime, stall.extended) == (110 * MINUTE, True)
    assert "by the wall clock it was 3h25m; 3h10m of that could not be seen" in stall.reasons


def test_T6_time_counts_only_where_every_source_of_the_task_was_seen() -> None:
    windows = {"workboard": ALWAYS, "multica": (Window(ago(12), NOON),)}
    clocks = (clock(CARD, began=ago(100)), clock(ISSUE, began=ago(100)))
    assert verdict(task_of(CARD, ISSUE), *clocks, windows=windows).idle == 12 * MINUTE
    assert verdict(task_of(CARD), *clocks, windows=windows).idle == 100 * MINUTE


def test_T6_right_after_installing_nothing_is_stalled_however_old_it_is() -> None:
    first = (Window(NOON, NOON),)
    stall = verdict(task_of(CARD), clock(CARD, began=ago(9000)), windows=first)
    assert (stall.level, codes(stall)) == (Level.NONE, ["not-settled"])


def codes(stall: Stall) -> list[str]:
    return [each.code for each in stall.hindrances]


@pytest.mark.parametrize(("length", "expected"), [(10 * MINUTE, []), (10 * MINUTE - TICK, ["not-settled"])])
def test_T6_two_looks_a_beat_apart_are_needed_to_act(length: timedelta, expected: list[str]) -> None:
    windows = (Window(ago(200), ago(100)), Window(NOON - length, NOON))
    stall = verdict(task_of(CARD), clock(CARD, began=ago(200)), windows=windows)
    assert (stall.level, codes(stall)) == (Level.CONFIRMED, expected)


def test_T6_every_source_of_the_task_must_have_been_seen_twice() -> None:
    windows = {"workboard": ALWAYS, "multica": (Window(NOON, NOON),)}
    clocks = (clock(CARD, began=ago(100)), clock(ISSUE, began=ago(100)))
    assert codes(verdict(task_of(CARD, ISSUE), *clocks, windows=windows)) == ["not-settled"]
    assert codes(verdict(task_of(CARD), *clocks, windows=windows)) == []


def looping(
    idle_rounds: int, ran: datetime, *, active: datetime = NOON, task: Task | None = None, **changes: Any
) -> Stall:
    rounds = {CARD.ref: Rounds(CARD.ref, used=9, idle=idle_rounds)}
    last = clock(CARD, began=ran, active=active, progress=ago(59))
    return verdict(task or task_of(CARD), last, rounds=rounds, **changes)


def test_T4_three_idle_rounds_over_the_runtime_limit_are_a_looping_worker_even_while_it_heartbeats() -> None:
    stall = looping(STALLED_ROUNDS, ago(60))
    assert (stall.level, stall.looping, stall.extended, stall.idle) == (Level.CONFIRMED, True, False, timedelta(0))
    assert stall.progress == mark(CARD, ago(59))
    assert stall.reasons[-1] == "running for 1h, over its limit of 1h, and 3 rounds in a row made no progress"


def test_T4_a_microsecond_before_the_runtime_limit_it_is_no_loop() -> None:
    stall = looping(STALLED_ROUNDS, ago(60, TICK))
    assert (stall.level, stall.looping, stall.extended) == (Level.NONE, False, False)


def test_T4_with_progress_the_limit_is_extended_and_that_is_said() -> None:
    stall = looping(STALLED_ROUNDS - 1, ago(600))
    assert (stall.level, stall.looping, stall.extended) == (Level.NONE, False, True)
    assert "extended, since only 2 rounds in a row made no progress" in stall.reasons[-1]
    assert "only 1 round in a row" in looping(1, ago(600)).reasons[-1]


def test_T4_the_most_idle_item_of_the_task_counts() -> None:
    rounds = {CARD.ref: Rounds(CARD.ref, idle=0), ISSUE.ref: Rounds(ISSUE.ref, idle=3)}
    clocks = (clock(CARD, began=ago(70), active=NOON), clock(ISSUE, began=ago(70)))
    assert verdict(task_of(CARD, ISSUE), *clocks, rounds=rounds).looping


def test_T4_running_time_out_of_sight_does_not_count() -> None:
    windows = (Window(ago(200), ago(150)), Window(ago(10, TICK), NOON))
    assert looping(3, ago(200), windows=windows).level is Level.NONE
    assert looping(3, ago(200), windows=(windows[0], Window(ago(10), NOON))).looping


def test_T4_a_silent_worker_is_confirmed_for_its_silence_not_as_a_loop() -> None:
    assert not looping(3, ago(90), active=ago(30)).looping
    suspected = looping(3, ago(90), active=ago(25))
    assert (suspected.level, suspected.looping) == (Level.CONFIRMED, True)


@pytest.mark.parametrize(("until", "held"), [(NOON + TICK, True), (NOON, False)])
def test_T5_a_hold_suspends_both_rules_until_it_is_over(until: datetime, held: bool) -> None:
    holds = {CARD.ref: Hold(CARD.ref, ago(100), until, "a long build")}
    for stall in (idle(40, holds=holds), looping(3, ago(60), holds=holds)):
        assert stall.level is (Level.NONE if held else Level.CONFIRMED)
        assert codes(stall) == (["held"] if held else [])
        assert not stall.looping or not held
    if held:
        assert idle(40, holds=holds).reasons == ("held until 2026-11-21T12:00:00.000Z: a long build",)


def test_T5_a_hold_on_any_item_holds_the_task() -> None:
    holds = {ISSUE.ref: Hold(ISSUE.ref, ago(100), NOON + MINUTE, "")}
    clocks = (clock(CARD, began=ago(100)), clock(ISSUE, began=ago(100)))
    assert verdict(task_of(CARD, ISSUE), *clocks, holds=holds).level is Level.NONE
    assert verdict(task_of(CARD), *clocks, holds=holds).level is Level.CONFIRMED


RUNS = {
    "on the card": (Presence("architect", True, None, "r", CARD.ref), ["run-active"]),
    "of the owner, on who knows what": (Presence("coo", True, None, "r"), ["run-active"]),
    "of the owner, on something else": (Presence("coo", True, None, "r", LINE.ref), []),
    "of somebody else": (Presence("architect", True, None, "r"), []),
    "that has ended": (Presence("coo", False, ago(1), "r", CARD.ref), []),
}


@pytest.mark.parametrize("case", RUNS)
def test_T7_an_active_run_stands_in_the_way_and_the_level_is_what_it_is(case: str) -> None:
    presence, expected = RUNS[case]
    stall = idle(30, presence=[presence])
    assert (stall.level, codes(stall)) == (Level.CONFIRMED, expected)


def test_T7_a_run_of_the_owner_of_any_item_counts() -> None:
    theirs = replace(ISSUE, owner=Owner(OwnerKind.AGENT, "writer"))
    clocks = (clock(CARD, began=ago(100)), clock(ISSUE, began=ago(100)))
    stall = verdict(task_of(CARD, theirs), *clocks, presence=[Presence("writer", True, None, "r")])
    assert codes(stall) == ["run-active"]


def test_T7_that_runs_cannot_be_known_stands_in_the_way_too() -> None:
    unknown = Hindrance("run-unknown", "whether a turn is running is not known: multica and workboard did not tell")
    assert idle(30, presence_unknown=["workboard", "multica"]).hindrances == (unknown,)
    assert codes(idle(30, presence_known=False)) == ["run-unknown"]
    presence = [Presence("coo", True, None, "r")]
    assert codes(idle(30, presence=presence, presence_unknown=["multica"])) == ["run-active", "run-unknown"]


TAKEN = replace(CARD, status=Status.BLOCKED, reclaimed=True, updated_at=ago(7), started_at=ago(50))


def test_T8_a_card_that_its_own_system_took_from_a_silent_worker_is_confirmed() -> None:
    stall = verdict(task_of(TAKEN, status=Status.BLOCKED), clock(CARD, began=ago(50), active=ago(1)))
    assert (stall.level, stall.epoch, stall.looping) == (Level.CONFIRMED, "e", False)
    assert "the claim ran out without a heartbeat" in stall.reasons[0]


def test_T8_counts_also_where_an_issue_of_the_task_is_still_in_progress() -> None:
    task = task_of(TAKEN, ISSUE)
    assert verdict(task, clock(CARD, began=ago(50)), clock(ISSUE, began=ago(50), active=NOON)).level is Level.CONFIRMED


def test_T8_without_a_clock_the_epoch_is_told_by_the_card() -> None:
    assert verdict(task_of(TAKEN, status=Status.BLOCKED)).epoch == "2026-11-21T11:10:00.000000Z"
    undated = replace(TAKEN, started_at=None)
    assert verdict(task_of(undated, status=Status.BLOCKED)).epoch == "2026-11-21T11:53:00.000000Z"


def test_T8_is_confirmed_during_a_hold_but_nothing_is_written() -> None:
    holds = {CARD.ref: Hold(CARD.ref, ago(100), NOON + MINUTE, "")}
    stall = verdict(task_of(TAKEN, status=Status.BLOCKED), holds=holds)
    assert (stall.level, codes(stall)) == (Level.CONFIRMED, ["held"])


def test_other_blocked_work_and_work_not_begun_is_not_judged() -> None:
    blocked = replace(CARD, status=Status.BLOCKED)
    for status in (Status.BACKLOG, Status.TODO, Status.IN_REVIEW, Status.BLOCKED, Status.DONE, Status.CANCELLED):
        item = replace(blocked, status=status)
        assert verdicts([task_of(item, status=status)], clock(item, began=ago(100), epoch="")) == {}
    assert verdicts([task_of(CARD, archived=True)], clock(CARD, began=ago(100))) == {}
    review = task_of(replace(TAKEN, status=Status.IN_REVIEW), status=Status.IN_REVIEW)
    assert verdicts([review], clock(CARD, began=ago(100))) == {}


def test_S6a_the_work_of_a_person_is_never_called_stalled() -> None:
    assert verdicts([task_of(CARD, owner=ALICE)], clock(CARD, began=ago(100))) == {}


OUT_OF_SIGHT: dict[str, tuple[Task, dict[str, Any], str]] = {
    "its source is incomplete": (
        task_of(CARD),
        {"incomplete": ["workboard"]},
        "workboard could not be read completely",
    ),
    "the other source is incomplete": (
        task_of(CARD, ISSUE),
        {"incomplete": ["multica"]},
        "multica could not be read completely",
    ),
    "it is an earlier read's": (
        task_of(CARD, status=Status.UNKNOWN, stale=(CARD.ref,)),
        {"incomplete": ["workboard"]},
        f"{CARD.ref} could not be read now",
    ),
    "an item of it did not come": (
        task_of(CARD, status=Status.UNKNOWN, absent=(ISSUE.ref,)),
        {"incomplete": ["multica"]},
        f"{ISSUE.ref} could not be read now",
    ),
    "its record came malformed": (
        task_of(CARD),
        {"unknown_ids": [CARD.ref.id]},
        f"{CARD.ref} could not be read now",
    ),
    "a status is not known": (
        task_of(CARD, replace(ISSUE, status=Status.UNKNOWN, raw_status="paused"), status=Status.UNKNOWN),
        {},
        "its status is not one that heartbeat knows (BIZ-1: 'paused')",
    ),
}


@pytest.mark.parametrize("case", OUT_OF_SIGHT)
def test_S2_what_was_not_seen_is_never_called_stalled(case: str) -> None:
    task, sight, message = OUT_OF_SIGHT[case]
    stall = verdict(task, clock(CARD, began=ago(100)), clock(ISSUE, began=ago(100)), **sight)
    assert (stall.level, stall.hindrances[0]) == (Level.NONE, Hindrance("unseen", message))
    assert stall.reasons[0] == f"not judged: {message}"
    assert stall.epoch == "e"


def test_S2_a_card_that_its_system_took_is_not_judged_out_of_sight_either() -> None:
    assert verdict(task_of(TAKEN, status=Status.BLOCKED), incomplete=["workboard"]).level is Level.NONE


def test_S2_work_that_was_in_progress_when_it_was_last_seen_keeps_its_place() -> None:
    strange = replace(CARD, status=Status.UNKNOWN, raw_status="odd")
    known = clock(CARD, began=ago(100))
    assert verdict(task_of(strange, status=Status.UNKNOWN), known).level is Level.NONE
    assert verdicts([task_of(strange, status=Status.UNKNOWN)]) == {}
    assert verdicts([task_of(strange, status=Status.UNKNOWN)], replace(known, epoch="")) == {}


def test_T9_a_line_that_nobody_touches_is_stalled_like_everything_else() -> None:
    assert verdict(task_of(LINE), clock(LINE, began=ago(30))).level is Level.CONFIRMED


def test_B5_without_memory_the_wall_clock_counts_and_that_is_said_and_nothing_may_be_written() -> None:
    stall = idle(30, without=True, windows={})
    assert (stall.level, stall.idle, stall.quiet, stall.runtime) == (
        Level.CONFIRMED,
        30 * MINUTE,
        30 * MINUTE,
        50 * MINUTE,
    )
    assert "judged by the sources alone: there is no memory to go by" in stall.reasons
    assert codes(stall) == ["not-settled"]


def test_hindrances_come_in_one_order_and_each_says_what_it_is() -> None:
    holds = {CARD.ref: Hold(CARD.ref, ago(100), NOON + MINUTE, "")}
    stall = idle(
        40,
        incomplete=["workboard"],
        holds=holds,
        presence=[Presence("coo", True, None, "r")],
        presence_unknown=["multica"],
        windows=(),
    )
    assert tuple(codes(stall)) == HINDRANCES
    assert all(each.message for each in stall.hindrances)
    assert stall.hindered_by("held", "run-active") == stall.hindrances[1:3]


def test_B6_a_clock_that_runs_ahead_of_now_makes_no_negative_time() -> None:
    stall = verdict(task_of(CARD), clock(CARD, began=NOON + MINUTE, active=NOON + 2 * MINUTE))
    assert (stall.idle, stall.quiet, stall.runtime, stall.level) == (
        timedelta(0),
        timedelta(0),
        timedelta(0),
        Level.NONE,
    )


def test_B6_a_mark_of_a_clock_of_1970_is_not_told_as_decades_of_silence() -> None:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    windows = (Window(begin, begin + 15 * MINUTE), Window(ago(10), NOON))
    born = replace(CARD, created_at=ago(120), started_at=ago(90))
    stall = verdict(task_of(born), clock(born, began=begin, active=begin), windows=windows)
    assert (stall.idle, stall.quiet, stall.level) == (25 * MINUTE, 90 * MINUTE, Level.SUSPECTED)


@given(
    st.timedeltas(timedelta(0), timedelta(hours=3)),
    st.timedeltas(timedelta(0), timedelta(hours=3)),
    st.integers(0, 5),
)
def test_T3_T4_the_level_follows_from_three_numbers(silence: timedelta, ran: timedelta, rounds: int) -> None:
    silence = min(silence, ran)
    last = clock(CARD, began=NOON - ran, active=NOON - silence)
    stall = verdict(task_of(CARD), last, rounds={CARD.ref: Rounds(CARD.ref, idle=rounds)})
    loop = ran >= timedelta(hours=1) and rounds >= 3
    if silence >= timedelta(minutes=30) or loop:
        assert stall.level is Level.CONFIRMED
    else:
        assert stall.level is (Level.SUSPECTED if silence >= timedelta(minutes=20) else Level.NONE)
    assert stall.reasons
    assert not (stall.looping and stall.extended)


@given(st.lists(st.tuples(st.integers(-300, 0), st.integers(0, 60)), max_size=5), st.integers(0, 300))
def test_T6_watched_idle_time_is_never_more_than_quiet_time(spans: list[tuple[int, int]], minutes: int) -> None:
    edges = sorted(ago(-began) + length * MINUTE for began, length in spans)
    windows = tuple(Window(one, other) for one, other in zip(edges[::2], edges[1::2], strict=False))
    stall = verdict(task_of(CARD), clock(CARD, began=ago(minutes)), windows=windows)
    assert timedelta(0) <= stall.idle <= stall.quiet == minutes * MINUTE


def test_every_task_is_judged_on_its_own() -> None:
    other = card(2, "write the report", Status.IN_PROGRESS)
    judged = verdicts(
        [task_of(CARD), task_of(other)], clock(CARD, began=ago(100)), clock(other, began=ago(100), active=ago(1))
    )
    assert {key: each.level for key, each in judged.items()} == {
        str(CARD.ref): Level.CONFIRMED,
        str(Ref("workboard", other.ref.id)): Level.NONE,
    }
    assert all(key == each.task for key, each in judged.items())
