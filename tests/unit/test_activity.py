"""Rules T1, T2, T5 and T9: what moves a clock, when that was, and what does not move it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.memory import Clock, Incident, Mark, Memory, Stage
from heartbeat.rules.activity import ACTIVITY, NO_EPOCH, PROGRESS, advance, is_running
from heartbeat.task import Evidence, EvidenceKind, Item, Presence, Ref, Status
from tests.support.items import ARCHITECT, COO, card, issue, line

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
KINDS = list(EvidenceKind)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


CARD = card(1, "deploy the site", Status.IN_PROGRESS, owner=COO, started_at=at(0), revision="1")
ISSUE = issue(1, "deploy the site", Status.IN_PROGRESS, owner=COO, revision="1")
LINE = line(1, "deploy the site", Status.IN_PROGRESS, owner=COO, revision="aa")


def told(minutes: float, kind: EvidenceKind, identifier: str, item: Item = CARD, *, own: bool = False) -> Evidence:
    return Evidence(item.ref, at(minutes), kind, identifier, own)


def look(
    minutes: float,
    items: Iterable[Item],
    evidence: Iterable[Evidence] = (),
    before: dict[Ref, Clock] | None = None,
    presence: Sequence[Presence] = (),
    **memory: Any,
) -> dict[Ref, Clock]:
    return advance(items, evidence, presence, Memory(clocks=before or {}, **memory), at(minutes))


CLAIM = told(0, EvidenceKind.CLAIMED, "claim")
HEARTBEAT = told(5, EvidenceKind.CLAIM_HEARTBEAT, "beat-1")
COMMENT = told(8, EvidenceKind.COMMENT, "comment-1")


def the(clocks: dict[Ref, Clock], item: Item = CARD) -> Clock:
    return clocks[item.ref]


def last(clock: Clock) -> tuple[float, str] | None:
    """The activity, as minutes past noon and id."""
    mark = clock.activity
    return None if mark is None else ((mark.at - NOON) / timedelta(minutes=1), mark.id)


def test_T1_a_heartbeat_is_activity_and_no_progress() -> None:
    clock = the(look(10, [CARD], [CLAIM, HEARTBEAT]))
    assert clock.activity == Mark(at(5), EvidenceKind.CLAIM_HEARTBEAT, "beat-1", CARD.ref)
    assert clock.progress is None


def test_T1_a_comment_is_both() -> None:
    clock = the(look(10, [CARD], [CLAIM, HEARTBEAT, COMMENT]))
    assert clock.activity == clock.progress == Mark(at(8), EvidenceKind.COMMENT, "comment-1", CARD.ref)


@pytest.mark.parametrize("kind", KINDS)
def test_T1_what_counts_as_what(kind: EvidenceKind) -> None:
    clock = the(look(10, [CARD], [told(5, kind, "x")]))
    assert (clock.activity is not None) == (kind is not EvidenceKind.SWEEP)
    words = "moved comment proof artifact edited linked"
    assert (clock.progress is not None) == (kind.value in words.split())
    assert PROGRESS < ACTIVITY


def test_T2_own_evidence_counts_neither_by_its_mark_nor_by_our_record_of_it() -> None:
    first = look(10, [CARD], [CLAIM])
    signed = [CLAIM, told(15, EvidenceKind.COMMENT, "ours", own=True)]
    assert last(the(look(20, [CARD], signed, first))) == (0, "claim")
    unsigned = [CLAIM, told(15, EvidenceKind.MOVED, "ours")]
    kept = look(20, [CARD], unsigned, first, own=frozenset({(CARD.ref, "ours")}))
    assert last(the(kept)) == (0, "claim")


def test_T2_a_record_of_our_own_on_another_item_hides_nothing() -> None:
    kept = look(20, [CARD], [CLAIM, COMMENT], look(6, [CARD], [CLAIM]), own=frozenset({(ISSUE.ref, "comment-1")}))
    assert last(the(kept)) == (8, "comment-1")


def test_T2_somebody_elses_comment_after_our_own_resets_the_clock() -> None:
    evidence = [CLAIM, told(15, EvidenceKind.COMMENT, "ours", own=True), told(16, EvidenceKind.COMMENT, "theirs")]
    assert last(the(look(20, [CARD], evidence, look(10, [CARD], [CLAIM])))) == (16, "theirs")


def test_T2_our_write_on_a_record_that_tells_only_its_last_change_is_not_theirs() -> None:
    first = look(10, [ISSUE], [told(0, EvidenceKind.EDITED, "rev:1", ISSUE)])
    after = [told(15, EvidenceKind.EDITED, "rev:2", ISSUE)]
    kept = look(20, [replace(ISSUE, revision="2")], after, first, own=frozenset({(ISSUE.ref, "rev:2")}))
    assert the(kept, ISSUE).activity is None
    theirs = [told(25, EvidenceKind.EDITED, "rev:3", ISSUE)]
    assert last(the(look(30, [ISSUE], theirs, kept), ISSUE)) == (25, "rev:3")


def test_T1_what_is_not_in_progress_needs_no_clock() -> None:
    done, todo = replace(CARD, status=Status.DONE), replace(CARD, status=Status.TODO)
    before = look(10, [CARD], [CLAIM])
    for item in (done, todo, replace(CARD, archived=True)):
        assert look(20, [item], [CLAIM, COMMENT], before) == {}


def test_S2_the_clock_of_an_item_that_did_not_come_stands_still() -> None:
    before = look(10, [CARD], [CLAIM])
    assert look(20, [], [CLAIM, COMMENT], before) == before


def test_T8_what_its_system_took_from_a_silent_worker_keeps_its_clock_and_epoch() -> None:
    before = look(10, [CARD], [CLAIM])
    taken = replace(CARD, status=Status.BLOCKED, reclaimed=True)
    after = the(look(50, [taken], [told(40, EvidenceKind.SWEEP, "swept")], before))
    assert (after.epoch, last(after)) == (the(before).epoch, (0, "claim"))
    assert is_running(taken)
    assert not is_running(replace(taken, reclaimed=False))


def test_T5_an_epoch_begins_when_the_source_says_so() -> None:
    clock = the(look(10, [CARD], [CLAIM]))
    assert (clock.began_at, clock.epoch) == (at(0), "2026-11-21T12:00:00.000000Z")


def test_T5_without_a_told_beginning_an_epoch_begins_at_the_first_look() -> None:
    clock = the(look(10, [ISSUE], [told(5, EvidenceKind.EDITED, "rev:1", ISSUE)]), ISSUE)
    assert (clock.began_at, clock.activity) == (at(10), None)


def test_T5_a_new_claim_starts_a_new_clock_and_does_not_inherit_the_old_heartbeat() -> None:
    before = look(10, [CARD], [CLAIM, HEARTBEAT, COMMENT])
    anew = replace(CARD, started_at=at(30), revision="2")
    evidence = [HEARTBEAT, COMMENT, told(29, EvidenceKind.COMMENT, "old worker"), told(30, EvidenceKind.CLAIMED, "two")]
    clock = the(look(40, [anew], evidence, before))
    assert (clock.began_at, last(clock), clock.progress) == (at(30), (30, "two"), None)
    assert clock.epoch != the(before).epoch


def test_T5_a_claim_of_our_own_begins_an_epoch_without_activity() -> None:
    before = look(10, [CARD], [CLAIM, HEARTBEAT])
    anew = replace(CARD, started_at=at(30), revision="2")
    evidence = [HEARTBEAT, told(30, EvidenceKind.CLAIMED, "ours", own=True)]
    clock = the(look(40, [anew], evidence, before))
    assert (clock.began_at, clock.activity) == (at(30), None)


def test_B6_work_whose_beginning_a_clock_had_brought_back_is_the_same_when_the_clock_is_right_again() -> None:
    spoken = [told(5, EvidenceKind.COMMENT, "c")]
    clocks = look(10, [CARD], spoken)
    epoch = the(clocks).epoch
    clocks = look(-40, [replace(CARD, started_at=at(-40))], [told(-40, EvidenceKind.COMMENT, "c")], clocks)
    assert (the(clocks).began_at, the(clocks).epoch) == (at(-40), epoch)
    clocks = look(20, [replace(CARD, revision="2")], spoken, clocks)
    assert (last(the(clocks)), the(clocks).epoch) == ((-40, "c"), epoch)


def test_S8_a_beginning_ahead_of_our_clock_that_is_taken_as_now_is_no_new_one_because_the_record_changes() -> None:
    comment = told(2, EvidenceKind.COMMENT, "c")
    before = look(10, [replace(CARD, started_at=at(2))], [comment])
    for minutes in (20, 30):
        item = replace(CARD, started_at=at(minutes), revision=str(minutes))
        assert last(the(look(minutes, [item], [comment], before))) == (2, "c")


@pytest.mark.parametrize("started_at", [at(0), at(-30), None])
def test_T5_the_same_or_an_earlier_beginning_is_the_same_epoch(started_at: datetime | None) -> None:
    before = look(10, [CARD], [CLAIM, HEARTBEAT])
    clock = the(look(20, [replace(CARD, started_at=started_at, revision="2")], [HEARTBEAT], before))
    assert (clock.epoch, clock.began_at, last(clock)) == (the(before).epoch, at(0), (5, "beat-1"))


def test_T5_a_microsecond_later_is_another_epoch() -> None:
    before = look(10, [CARD], [CLAIM, HEARTBEAT])
    assert last(the(look(20, [replace(CARD, started_at=at(0) + TICK, revision="2")], [HEARTBEAT], before))) is None


def test_T5_a_run_that_starts_on_an_issue_begins_an_epoch_though_the_record_is_the_same() -> None:
    edit = told(5, EvidenceKind.EDITED, "rev:1", ISSUE)
    before = look(10, [ISSUE], [edit])
    running = replace(ISSUE, started_at=at(15))
    clock = the(look(20, [running], [edit, told(15, EvidenceKind.RUN, "run", ISSUE)], before), ISSUE)
    assert (clock.began_at, last(clock)) == (at(15), (15, "run"))


def test_T5_at_first_sight_what_is_older_than_the_epoch_does_not_count_into_it() -> None:
    old = told(-90, EvidenceKind.COMMENT, "old")
    assert the(look(10, [CARD], [old])).activity is None
    assert the(look(20, [CARD], [old], look(10, [CARD], [old]))).activity is None


def test_L3_what_an_open_incident_left_alone_is_watched_without_an_epoch() -> None:
    left = replace(CARD, status=Status.BLOCKED, revision="2")
    incident = Incident("1", CARD.ref, (CARD.ref,), "e", "t", COO, at(30), Stage.LEFT_ALONE)
    before = look(40, [left], [HEARTBEAT], look(10, [CARD], [CLAIM, HEARTBEAT]), incidents=(incident,))
    assert (the(before).epoch, last(the(before))) == (NO_EPOCH, (5, "beat-1"))
    swept = [HEARTBEAT, told(45, EvidenceKind.SWEEP, "swept"), told(46, EvidenceKind.COMMENT, "ours", own=True)]
    assert last(the(look(50, [left], swept, before, incidents=(incident,)))) == (5, "beat-1")
    spoken = [HEARTBEAT, told(45, EvidenceKind.COMMENT, "theirs")]
    assert last(the(look(50, [left], spoken, before, incidents=(incident,)))) == (45, "theirs")
    ended = replace(incident, stage=Stage.ENDED)
    assert look(50, [left], spoken, before, incidents=(ended,)) == {}


def test_T5_what_comes_back_into_progress_begins_anew() -> None:
    left = replace(ISSUE, status=Status.BLOCKED)
    incident = Incident("1", ISSUE.ref, (), "e", "t", COO, at(30), Stage.RECOVERED)
    edit = told(5, EvidenceKind.EDITED, "rev:1", ISSUE)
    first = look(10, [ISSUE], [edit])
    before = look(20, [left], [edit], first, incidents=(incident,))
    clock = the(look(30, [ISSUE], [edit], before, incidents=(incident,)), ISSUE)
    assert (clock.began_at, clock.activity) == (at(30), None)
    assert clock.epoch != the(first, ISSUE).epoch


def test_T1_an_item_beside_one_in_progress_is_watched_for_signs_of_life() -> None:
    aside = replace(ISSUE, status=Status.TODO)
    evidence = [told(7, EvidenceKind.COMMENT, "said on the issue", ISSUE)]
    clocks = advance([CARD, aside], evidence, (), Memory(), at(10), beside={CARD.ref, ISSUE.ref})
    assert (last(the(clocks, ISSUE)), the(clocks, ISSUE).epoch) == ((7, "said on the issue"), NO_EPOCH)
    assert ISSUE.ref not in advance([CARD, aside], evidence, (), Memory(), at(10))


@pytest.mark.parametrize(
    ("minutes", "dated"),
    [(15, 15), (10, 10), (9, 20), (-600, 20), (25, 20), (6000, 20)],
    ids=["between the looks", "at the last look", "just behind", "far behind", "just ahead", "far ahead"],
)
def test_T1_news_is_dated_as_told_where_that_can_be_true_and_else_by_the_look_that_saw_it(
    minutes: float, dated: float
) -> None:
    early = told(-700, EvidenceKind.CLAIMED, "claim")
    item = replace(CARD, started_at=at(-700))
    before = look(10, [item], [early])
    clock = the(look(20, [item], [early, told(minutes, EvidenceKind.COMMENT, "news")], before))
    assert last(clock) == (dated, "news")


def test_T1_at_first_sight_a_time_is_taken_as_told_and_never_after_now() -> None:
    assert last(the(look(10, [CARD], [COMMENT]))) == (8, "comment-1")
    assert last(the(look(10, [CARD], [told(14, EvidenceKind.COMMENT, "ahead")]))) == (10, "ahead")


def test_S8_a_time_ahead_that_is_taken_as_now_at_every_look_is_news_once() -> None:
    """Both were written by a clock that is an hour ahead; a source takes them as now until that hour is over."""

    def clamped(minutes: float) -> list[Evidence]:
        return [told(minutes, EvidenceKind.COMMENT, "one"), told(minutes, EvidenceKind.COMMENT, "two")]

    ahead = [replace(CARD, started_at=at(minutes)) for minutes in (10, 20, 30)]
    clocks = look(10, ahead[:1], clamped(10))
    began = the(clocks)
    for minutes, item in ((20, ahead[1]), (30, ahead[2])):
        clocks = look(minutes, [item], clamped(minutes), clocks)
        assert last(the(clocks)) == (10, "two")
        assert (the(clocks).epoch, the(clocks).began_at) == (began.epoch, began.began_at)


def test_B6_what_happens_while_our_clock_is_set_back_is_seen() -> None:
    """The clock goes back an hour: what was told before lies ahead now and is taken as now; what is new is too."""
    before = look(10, [CARD], [CLAIM, told(9, EvidenceKind.CLAIM_HEARTBEAT, "beat-1")])
    back = look(
        -40, [CARD], [told(-40, EvidenceKind.CLAIMED, "claim"), told(-40, EvidenceKind.COMMENT, "beat-1")], before
    )
    assert last(the(back)) == (-40, "beat-1")
    assert the(back).began_at == at(-40)
    still = look(
        -30, [CARD], [told(-30, EvidenceKind.CLAIMED, "claim"), told(-30, EvidenceKind.COMMENT, "beat-1")], back
    )
    assert last(the(still)) == (-40, "beat-1")
    news = [*(replace(each, at=at(-20)) for each in (CLAIM, HEARTBEAT)), told(-20, EvidenceKind.COMMENT, "news")]
    assert the(look(-20, [CARD], news, still)).activity.at == at(-20)


def test_B6_a_source_whose_own_clock_is_set_back_is_still_heard() -> None:
    before = look(10, [CARD], [CLAIM, HEARTBEAT])
    clock = the(look(20, [CARD], [CLAIM, HEARTBEAT, told(-45, EvidenceKind.COMMENT, "an hour back")], before))
    assert clock.activity is not None
    assert at(10) <= clock.activity.at <= at(20)


def test_T1_that_old_events_are_dropped_or_a_run_ends_is_no_news() -> None:
    evidence = [CLAIM, HEARTBEAT, told(6, EvidenceKind.RUN, "run")]
    before = look(10, [CARD], evidence)
    assert last(the(look(20, [CARD], evidence[1:2], before))) == (6, "run")
    assert last(the(look(20, [CARD], [], before))) == (6, "run")


def test_B6_a_mark_of_the_future_is_brought_back_to_now() -> None:
    running = Presence("coo", True, None, "session", CARD.ref)
    ahead = look(60, [CARD], [CLAIM], presence=[running])
    assert last(the(ahead)) == (60, "session")
    assert last(the(look(20, [CARD], [CLAIM], ahead))) == (20, "session")
    assert last(the(look(30, [CARD], [CLAIM], look(20, [CARD], [CLAIM], ahead)))) == (20, "session")


def test_T1_an_active_run_on_the_item_is_activity_now_and_no_progress() -> None:
    clock = the(look(30, [CARD], [CLAIM], presence=[Presence("architect", True, at(1), "run", CARD.ref)]))
    assert (last(clock), clock.progress) == ((30, "run"), None)


def test_T1_an_active_run_of_the_owner_on_nobody_knows_what_is_activity() -> None:
    presence = [Presence("coo", True, None, "run")]
    theirs = card(2, "another", Status.IN_PROGRESS, owner=ARCHITECT, started_at=at(0))
    clocks = look(30, [CARD, theirs], [CLAIM], presence=presence)
    assert (last(the(clocks)), last(the(clocks, theirs))) == ((30, "run"), None)


def test_T1_a_run_on_another_item_is_none_here() -> None:
    assert last(the(look(30, [CARD], [CLAIM], presence=[Presence("coo", True, None, "run", ISSUE.ref)]))) == (
        0,
        "claim",
    )


@pytest.mark.parametrize(("minutes", "expected"), [(20, (20, "s")), (-1, (0, "claim"))])
def test_T1_an_ended_turn_counts_when_it_was_and_into_its_own_epoch(
    minutes: float, expected: tuple[float, str]
) -> None:
    assert last(the(look(30, [CARD], [CLAIM], presence=[Presence("coo", False, at(minutes), "s")]))) == expected
    assert last(the(look(30, [CARD], [CLAIM], presence=[Presence("coo", False, None, "s")]))) == (0, "claim")


def test_S8_a_turn_that_ended_in_the_future_counts_once() -> None:
    presence = [Presence("coo", False, at(100), "s")]
    first = look(30, [CARD], [CLAIM], presence=presence)
    assert the(first).activity.at == at(30)
    assert the(look(40, [CARD], [CLAIM], first, presence=presence)).activity.at == at(30)


def test_T9_a_changed_line_is_progress_at_the_look_that_saw_it() -> None:
    before = look(10, [LINE])
    assert (the(before, LINE).began_at, the(before, LINE).activity) == (at(10), None)
    assert the(look(20, [LINE], (), before), LINE).activity is None
    changed = the(look(30, [replace(LINE, revision="bb")], (), before), LINE)
    assert changed.activity == changed.progress == Mark(at(30), EvidenceKind.EDITED, "bb", LINE.ref)


def test_T9_an_edit_of_our_own_is_none() -> None:
    before = look(10, [LINE])
    own = frozenset({(LINE.ref, "bb")})
    clock = the(look(30, [replace(LINE, revision="bb")], (), before, own=own), LINE)
    assert (clock.activity, clock.revision) == (None, "bb")


def test_T1_a_record_that_tells_a_change_and_no_history_counts_when_it_was_changed() -> None:
    plain = replace(CARD, updated_at=at(3))
    before = look(10, [plain])
    assert last(the(before)) == (3, "1")
    assert last(the(look(20, [replace(plain, updated_at=at(17), revision="2")], (), before))) == (17, "2")


def test_B5_without_memory_the_sources_are_taken_at_their_word() -> None:
    evidence = [told(-50, EvidenceKind.EDITED, "rev:1", ISSUE), told(-30, EvidenceKind.COMMENT, "c", ISSUE)]
    clock = the(look(10, [ISSUE], evidence, without=True), ISSUE)
    assert (clock.began_at, last(clock)) == (at(-50), (-30, "c"))
    silent = replace(ISSUE, updated_at=at(-70))
    assert the(look(10, [silent], without=True), ISSUE).began_at == at(-70)
    ours = [told(-20, EvidenceKind.COMMENT, "ours", ISSUE, own=True)]
    assert the(look(10, [replace(silent, created_at=at(-90))], ours, without=True), ISSUE).activity is None


def test_T6_a_snapshot_counts_for_the_instant_at_which_it_was_read() -> None:
    before = advance([CARD], [CLAIM], (), Memory(), at(10), read_at={"workboard": at(6)})
    assert the(before).seen_at == at(6)
    after = the(look(20, [CARD], [CLAIM, told(7, EvidenceKind.COMMENT, "unseen at ten")], before))
    assert last(after) == (7, "unseen at ten")
    changed = advance(
        [replace(LINE, revision="b")], (), (), Memory(clocks=look(0, [LINE])), at(20), read_at={"todo": at(15)}
    )
    assert last(the(changed, LINE)) == (15, "b")


def test_B6_times_in_any_zone_are_the_same_instants() -> None:
    zone = timezone(timedelta(hours=8))
    there = [replace(each, at=each.at.astimezone(zone)) for each in (CLAIM, HEARTBEAT, COMMENT)]
    clocks = look(10, [replace(CARD, started_at=at(0).astimezone(zone))], there)
    assert clocks == look(10, [CARD], [CLAIM, HEARTBEAT, COMMENT])
    assert the(clocks).activity.at.utcoffset() == timedelta(0)
    naive = [replace(each, at=each.at.replace(tzinfo=None)) for each in (CLAIM, HEARTBEAT, COMMENT)]
    assert look(10, [CARD], naive) == clocks


# What holds for any evidence.

minutes = st.integers(-200, 200)
items = st.sampled_from([CARD, ISSUE, LINE])
pieces = st.builds(
    lambda item, when, kind, name: told(when, kind, name, item),
    items,
    minutes,
    st.sampled_from(KINDS),
    st.sampled_from("abcdefgh"),
)
revisions = st.sampled_from(["1", "2", "3", None])
boards = st.tuples(
    st.builds(lambda revision, started: replace(CARD, revision=revision, started_at=at(started)), revisions, minutes),
    st.builds(lambda revision: replace(ISSUE, revision=revision), revisions),
)
presences = st.builds(
    Presence,
    st.sampled_from(["coo", "architect"]),
    st.booleans(),
    st.none() | minutes.map(at),
    st.just("session"),
    st.sampled_from([None, CARD.ref, ISSUE.ref]),
)
sights = st.tuples(minutes, boards, st.lists(pieces, max_size=8), st.lists(presences, max_size=2))


def seen(history: Iterable[tuple[int, Sequence[Item], Sequence[Evidence], Sequence[Presence]]]) -> dict[Ref, Clock]:
    clocks: dict[Ref, Clock] = {}
    for when, found, evidence, presence in history:
        clocks = look(when, found, evidence, clocks, presence)
    return clocks


@given(st.lists(sights, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_evidence_and_items_does_not_matter(history: Any, chance: Any) -> None:
    def mixed(things: Sequence[Any]) -> list[Any]:
        return chance.sample(list(things), len(things))

    shuffled = [(when, mixed(found), mixed(evidence), mixed(presence)) for when, found, evidence, presence in history]
    assert seen(shuffled) == seen(history)


@given(st.lists(sights, max_size=3), sights, st.lists(minutes, max_size=3), st.sampled_from(KINDS))
def test_T2_own_evidence_never_changes_any_clock(
    history: Any, sight: Any, times: list[int], kind: EvidenceKind
) -> None:
    before = seen(history)
    when, found, evidence, presence = sight
    evidence = [*evidence, *(told(0, EvidenceKind.SWEEP, "swept", item) for item in found)]
    # Half minutes: a start of ours at the very time at which work began is the one thing that tells an epoch.
    marked = [told(each + 0.5, kind, f"own {each}", item, own=True) for each in times for item in found]
    recorded = [told(each + 0.5, kind, f"noted {each}", item) for each in times for item in found]
    own = frozenset((each.ref, each.id) for each in recorded)
    with_own = look(when, found, [*marked, *evidence, *recorded], before, presence, own=own)
    assert with_own == look(when, found, evidence, before, presence, own=own)


@given(st.lists(sights, max_size=3), sights)
def test_the_same_look_again_changes_nothing(history: Any, sight: Any) -> None:
    once = seen([*history, sight])
    when, found, evidence, presence = sight
    again = look(when, found, evidence, once, presence)
    # Of two signs of life at one instant either may give the mark its name.
    assert {ref: _without_names(clock) for ref, clock in again.items()} == {
        ref: _without_names(clock) for ref, clock in once.items()
    }


def _without_names(clock: Clock) -> tuple[Clock, datetime | None, datetime | None]:
    activity, progress = clock.activity, clock.progress
    bare = replace(clock, activity=None, progress=None)
    return bare, activity.at if activity else None, progress.at if progress else None


@given(st.lists(sights, min_size=1, max_size=4))
def test_no_clock_remembers_anything_later_than_the_look(history: Any) -> None:
    now = at(history[-1][0])
    for clock in seen(history).values():
        marks = [mark.at for mark in (clock.activity, clock.progress) if mark is not None]
        assert max([clock.began_at, clock.seen_at, *marks]) <= now


@given(st.lists(sights, min_size=2, max_size=4))
def test_progress_is_never_later_than_activity_and_neither_is_before_the_epoch(history: Any) -> None:
    for clock in seen(sorted(history, key=lambda sight: sight[0])).values():
        if clock.progress is not None:
            assert clock.activity is not None
            assert clock.progress.at <= clock.activity.at


def test_T6_work_that_was_not_begun_at_the_last_look_has_not_begun_before_it_whatever_the_source_says() -> None:
    behind = replace(CARD, started_at=at(-80))
    clock = the(advance([behind], [], [], Memory(), at(10), looked_at={CARD.ref.source: at(5)}))
    assert clock.began_at == at(10)
    assert the(advance([behind], [], [], Memory(), at(10))).began_at == at(-80)
    on_time = replace(CARD, started_at=at(5))
    assert the(advance([on_time], [], [], Memory(), at(10), looked_at={CARD.ref.source: at(5)})).began_at == at(5)
