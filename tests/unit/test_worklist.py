"""What an agent is shown, and why: states, buckets, reasons, findings, the count (rules S2, S6, S6a, S10, M4, D4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from heartbeat.errors import ConservationError, Exit
from heartbeat.policy import ParentRule
from heartbeat.task import NOBODY, Finding, Item, Link, Owner, OwnerKind, Priority, State, Status
from heartbeat.worklist import Assessment, Bucket, Sight, Standing, Worklist, assess, worklist
from tests.support.items import ALICE, ARCHITECT, COO, NOW, SOURCES, card, explicit, issue, line

STRANGER = Owner(OwnerKind.AGENT, "not-in-the-roster")


def judged(
    *items: Item,
    stale: tuple[Item, ...] = (),
    incomplete: tuple[str, ...] = (),
    remembered: Iterable[Link] = (),
    rejected: int = 0,
) -> Assessment:
    sight = Sight(
        items,
        SOURCES,
        stale=stale,
        stale_since={item.ref.source: "12m ago" for item in stale},
        incomplete=frozenset(incomplete),
        rejected=rejected,
    )
    return assess(sight, now=NOW, parent_rule=ParentRule.STARTED, remembered=remembered)


def only(*items: Item) -> Standing:
    (standing,) = judged(*items).standings
    return standing


def shown(assessment: Assessment, agent: str = "coo") -> list[str]:
    return [standing.task.items[0].key for standing in worklist(assessment, agent).standings]


def found(assessment: Assessment | Worklist, code: str) -> list[Finding]:
    return [finding for finding in assessment.findings if finding.code == code]


@pytest.mark.parametrize(
    ("status", "state", "bucket"),
    [
        (Status.BACKLOG, State.WAITING, Bucket.DEFERRED),
        (Status.TODO, State.READY, Bucket.PRESENTED),
        (Status.IN_PROGRESS, State.IN_PROGRESS, Bucket.PRESENTED),
        (Status.IN_REVIEW, State.REVIEW, Bucket.PRESENTED),
        (Status.BLOCKED, State.BLOCKED, Bucket.PRESENTED),
        (Status.DONE, State.DONE, Bucket.CLOSED),
        (Status.CANCELLED, State.DONE, Bucket.CLOSED),
        (Status.UNKNOWN, State.UNKNOWN, Bucket.PRESENTED),
    ],
)
def test_S6_every_status_has_its_state_and_its_bucket(status: Status, state: State, bucket: Bucket) -> None:
    standing = only(issue(1, "a", status))
    assert (standing.state, standing.bucket) == (state, bucket)


def test_S6_a_status_that_is_not_known_is_shown_with_the_sources_own_word() -> None:
    standing = only(replace(issue(1, "a", Status.UNKNOWN), raw_status="fermenting"))
    assert standing.state is State.UNKNOWN
    assert any("fermenting" in reason for reason in standing.reasons)


def test_S6_scheduled_work_is_deferred_with_its_instant_and_ready_at_it() -> None:
    early = only(card(1, "a", not_before=NOW + timedelta(minutes=1)))
    assert (early.state, early.bucket) == (State.WAITING, Bucket.DEFERRED)
    assert early.reasons == ("scheduled for 2026-11-21T04:01:00.000Z",)
    assert only(card(1, "a", not_before=NOW)).state is State.READY


def test_S6_the_backlog_is_deferred_and_says_so() -> None:
    (reason,) = only(issue(1, "a", Status.BACKLOG)).reasons
    assert "backlog" in reason


@pytest.mark.parametrize("status", list(Status))
def test_S6_archived_cards_leave_the_worklist(status: Status) -> None:
    assessment = judged(card(1, "a", status, archived=True))
    (standing,) = assessment.standings
    assert standing.bucket is Bucket.CLOSED
    assert "archived" in standing.reasons
    assert shown(assessment) == []
    assert worklist(assessment, "coo").buckets["closed"] == 1


def test_M5_the_worklist_is_in_the_order_of_work() -> None:
    assessment = judged(
        line(1, "a", priority=Priority.URGENT), card(2, "b", Status.IN_PROGRESS), issue(3, "c", priority=Priority.HIGH)
    )
    assert shown(assessment) == ["TODO.md:1", "BIZ-3", "00000002"]


def test_worklist_gives_the_tasks_of_one_state_in_order() -> None:
    own = worklist(judged(issue(1, "a"), issue(2, "b", priority=Priority.HIGH), issue(3, "c", Status.BLOCKED)), "coo")
    assert [standing.task.items[0].key for standing in own.in_state(State.READY)] == ["BIZ-2", "BIZ-1"]
    assert own.in_state(State.REVIEW) == ()


def test_D4_what_waits_is_listed_as_waiting_with_what_it_waits_for() -> None:
    assessment = judged(issue(1, "a", owner=ARCHITECT), issue(2, "b", depends_on=explicit("BIZ-1")))
    (standing,) = worklist(assessment, "coo").standings
    assert (standing.state, standing.bucket) == (State.WAITING, Bucket.WAITING)
    assert any("BIZ-1" in reason for reason in standing.reasons)
    assert [wait.blocker for wait in standing.waits] == [str(issue(1, "a").ref)]


def test_D4_when_the_blocker_is_done_the_task_is_ready() -> None:
    assessment = judged(issue(1, "a", Status.DONE), issue(2, "b", depends_on=explicit("BIZ-1")))
    assert [standing.state for standing in worklist(assessment, "coo").standings] == [State.READY]


def test_D4_backlog_work_that_also_waits_says_both() -> None:
    standing = judged(issue(1, "a", Status.BACKLOG, depends_on=explicit("BIZ-404"))).standings[0]
    assert standing.bucket is Bucket.DEFERRED
    assert len(standing.reasons) == 2


@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.IN_REVIEW])
def test_D4_work_that_was_started_too_early_stays_where_it_is_and_is_a_finding(status: Status) -> None:
    assessment = judged(issue(1, "a"), issue(2, "b", status, depends_on=explicit("BIZ-1")))
    standing = next(standing for standing in assessment.standings if standing.waits)
    assert standing.bucket is Bucket.PRESENTED
    assert standing.state in (State.IN_PROGRESS, State.REVIEW)
    (finding,) = found(assessment, "started-too-early")
    assert "BIZ-2" in finding.message
    assert "BIZ-1" in finding.message
    assert finding.refs == (issue(2, "b").ref,)


@pytest.mark.parametrize("status", [Status.TODO, Status.BACKLOG, Status.BLOCKED, Status.DONE, Status.CANCELLED])
def test_D4_work_that_was_not_started_or_is_over_was_not_started_too_early(status: Status) -> None:
    assessment = judged(issue(1, "a"), issue(2, "b", status, depends_on=explicit("BIZ-1")))
    assert found(assessment, "started-too-early") == []


def test_S2_an_outage_accuses_nobody_of_having_started_too_early() -> None:
    begun = card(1, "a", Status.IN_PROGRESS, depends_on=explicit("BIZ-1"))
    blocker = issue(1, "b", Status.DONE)
    assert found(judged(begun, stale=(blocker,), incomplete=("multica",)), "started-too-early") == []
    assert found(judged(begun, incomplete=("multica",)), "started-too-early") == []


def test_D3_a_dangling_dependency_is_a_finding() -> None:
    assessment = judged(issue(2, "b", depends_on=explicit("BIZ-404")))
    (finding,) = found(assessment, "dangling-dependency")
    assert "BIZ-2" in finding.message
    assert "BIZ-404" in finding.message


def test_D3_a_dependency_that_two_tasks_answer_to_is_not_said_to_be_missing() -> None:
    items = (line(1, "a", aliases=("a1",)), line(2, "b", aliases=("a1",)), issue(3, "c", depends_on=explicit("a1")))
    (finding,) = [finding for finding in judged(*items).findings if issue(3, "c").ref in finding.refs]
    assert "a1" in finding.message
    assert "nothing to find" not in finding.message


def test_D5_a_cycle_is_a_finding_of_everyone_in_it_and_nobody_else() -> None:
    assessment = judged(
        issue(1, "a", depends_on=explicit("BIZ-2")),
        issue(2, "b", owner=ARCHITECT, depends_on=explicit("BIZ-1")),
        issue(3, "c", owner=STRANGER),
    )
    for agent in ("coo", "architect"):
        assert len(found(worklist(assessment, agent), "dependency-cycle")) == 1
    assert found(worklist(assessment, STRANGER.id), "dependency-cycle") == []
    assert assessment.cycles == (tuple(sorted((str(issue(1, "a").ref), str(issue(2, "b").ref)))),)


def test_M1_a_merged_task_is_presented_once_and_says_of_what_and_why() -> None:
    assessment = judged(card(1, "a", mentions=("BIZ-1",)), issue(1, "b"))
    (standing,) = assessment.standings
    assert standing.reasons == ("same task as BIZ-1 (explicit reference)",)
    assert worklist(assessment, "coo").buckets == {
        **dict.fromkeys((bucket.value for bucket in Bucket), 0),
        "presented": 1,
        "merged": 1,
    }


def test_M4_a_split_task_is_shown_with_a_finding_and_is_never_ready() -> None:
    assessment = judged(card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b"))
    (standing,) = worklist(assessment, "coo").standings
    assert standing.state is State.UNKNOWN
    assert standing.bucket is Bucket.PRESENTED
    assert any("00000001" in reason for reason in standing.reasons)
    (finding,) = found(assessment, "split")
    assert set(finding.refs) == {card(1, "a").ref, issue(1, "b").ref}


@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.BLOCKED, Status.IN_REVIEW, Status.BACKLOG])
def test_M4_a_split_task_whose_rest_is_under_way_keeps_its_state(status: Status) -> None:
    assessment = judged(card(1, "a", Status.CANCELLED, mentions=("BIZ-1",)), issue(1, "b", status))
    assert [standing.state for standing in assessment.standings] == [only(issue(1, "b", status)).state]
    assert len(found(assessment, "split")) == 1


def test_M4_closed_on_every_side_is_closed_and_no_split() -> None:
    assessment = judged(card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b", Status.CANCELLED))
    assert [standing.bucket for standing in assessment.standings] == [Bucket.CLOSED]
    assert found(assessment, "split") == []


def test_S2_an_outage_makes_no_split() -> None:
    """One side is done, and the other cannot be read: whether it is open is not known."""
    for status in (Status.DONE, Status.TODO):
        other = issue(1, "b", status)
        assessment = judged(card(1, "a", Status.DONE, mentions=("BIZ-1",)), stale=(other,), incomplete=("multica",))
        (standing,) = assessment.standings
        assert standing.state is State.UNKNOWN
        assert found(assessment, "split") == []
        assert not any("split" in reason for reason in standing.reasons)


def test_owners_that_differ_are_a_finding_and_one_of_them_has_the_task() -> None:
    assessment = judged(card(1, "a", mentions=("BIZ-1",)), issue(1, "b", owner=ARCHITECT))
    (finding,) = found(assessment, "owner-mismatch")
    assert "coo" in finding.message
    assert "architect" in finding.message
    assert shown(assessment) == ["00000001"]
    assert shown(assessment, "architect") == []


def test_one_owner_and_nobody_are_no_mismatch_and_a_closed_task_has_none() -> None:
    shared = judged(card(1, "a", mentions=("BIZ-1",)), issue(1, "b", owner=NOBODY))
    closed = judged(card(1, "a", Status.DONE, mentions=("BIZ-1",)), issue(1, "b", Status.DONE, owner=ARCHITECT))
    assert found(shared, "owner-mismatch") == []
    assert found(closed, "owner-mismatch") == []


@pytest.mark.parametrize("status", list(Status))
def test_S6a_a_persons_task_is_on_nobodys_worklist(status: Status) -> None:
    namesake = Owner(OwnerKind.PERSON, "coo")
    assessment = judged(issue(1, "a", status, owner=ALICE), card(2, "b", status, owner=namesake))
    for agent in ("coo", "architect", "Alice", ""):
        own = worklist(assessment, agent)
        assert own.standings == ()
        assert sum(own.buckets.values()) == 2
        assert own.buckets["presented"] == own.buckets["waiting"] == own.buckets["deferred"] == 0
    assert any("Alice" in reason for standing in assessment.standings for reason in standing.reasons)


def test_S10_unowned_work_and_other_agents_work_are_counted_apart_and_shown_to_none() -> None:
    items = [issue(1, "a"), issue(2, "b", owner=ARCHITECT), issue(3, "c", owner=NOBODY), issue(4, "d", owner=ALICE)]
    own = worklist(judged(*items), "coo")
    counted = {name: count for name, count in own.buckets.items() if count}
    assert counted == {"presented": 1, "other_agent": 2, "unowned": 1}
    assert [standing.task.owner for standing in own.standings] == [COO]


def test_S10_each_bucket_is_counted_as_its_agent_sees_it() -> None:
    items = [
        issue(1, "a"),
        issue(2, "b", depends_on=explicit("BIZ-1")),
        issue(3, "c", Status.BACKLOG),
        issue(4, "d", Status.DONE),
        card(5, "e", archived=True),
        card(6, "f", mentions=("BIZ-6",)),
        issue(6, "g"),
        issue(7, "h", Status.DONE, owner=ARCHITECT),
        card(8, "i", owner=ARCHITECT, mentions=("BIZ-8",)),
        issue(8, "j", owner=ARCHITECT),
        issue(9, "k", Status.BACKLOG, owner=NOBODY),
    ]
    assessment = judged(*items, rejected=2)
    assert worklist(assessment, "coo").buckets == {
        "presented": 2,
        "merged": 1,
        "waiting": 1,
        "deferred": 1,
        "closed": 3,
        "rejected": 2,
        "other_agent": 2,
        "unowned": 1,
    }
    assert worklist(assessment, "architect").buckets == {
        "presented": 1,
        "merged": 1,
        "waiting": 0,
        "deferred": 0,
        "closed": 3,
        "rejected": 2,
        "other_agent": 5,
        "unowned": 1,
    }
    assert assessment.items == len(items) + 2
    assert sum(assessment.counts.values()) == len(items) + 2


def test_S10_nothing_at_all_is_counted_as_nothing() -> None:
    own = worklist(judged(), "coo")
    assert (own.standings, own.findings) == ((), ())
    assert Counter(own.buckets).total() == 0
    assert list(own.buckets) == [bucket.value for bucket in Bucket]


def test_S10_two_items_of_one_ref_stop_the_beat_as_a_bug() -> None:
    with pytest.raises(ConservationError) as caught:
        judged(issue(1, "a"), issue(1, "another record of the same id"), card(2, "b"))
    assert caught.value.exit_code is Exit.BUG
    assert "3 items" in str(caught.value)
    assert caught.value.advice


def test_S10_an_item_that_is_fresh_and_stale_at_once_stops_the_beat_as_a_bug() -> None:
    with pytest.raises(ConservationError):
        judged(issue(1, "a"), stale=(issue(1, "a", Status.DONE),), incomplete=("multica",))


@pytest.mark.parametrize("status", [Status.TODO, Status.IN_PROGRESS, Status.DONE, Status.CANCELLED])
def test_S2_a_stale_item_is_unknown_and_tells_its_age(status: Status) -> None:
    assessment = judged(card(2, "b"), stale=(issue(1, "a", status),), incomplete=("multica",))
    standing = next(standing for standing in assessment.standings if standing.task.stale)
    assert (standing.state, standing.bucket) == (State.UNKNOWN, Bucket.PRESENTED)
    assert standing.reasons == (f"multica could not be read; 12m ago it said {status.value}",)


def test_S2_the_other_sources_go_on() -> None:
    assessment = judged(card(2, "b"), stale=(issue(1, "a"),), incomplete=("multica",))
    states = {standing.task.items[0].key: standing.state for standing in assessment.standings}
    assert states == {"00000002": State.READY, "BIZ-1": State.UNKNOWN}


def test_S2_what_waits_for_something_that_cannot_be_read_goes_on_waiting() -> None:
    assessment = judged(
        card(2, "b", depends_on=explicit("BIZ-1")), stale=(issue(1, "a", Status.DONE),), incomplete=("multica",)
    )
    standing = next(standing for standing in assessment.standings if standing.task.items[0].key == "00000002")
    assert (standing.state, standing.bucket) == (State.WAITING, Bucket.WAITING)


def test_S2_a_task_whose_other_half_cannot_be_read_is_unknown_and_names_it() -> None:
    link = Link(card(1, "a").ref, issue(1, "b").ref, "title")
    (standing,) = judged(card(1, "a"), incomplete=("multica",), remembered=[link]).standings
    assert standing.state is State.UNKNOWN
    assert any(str(issue(1, "b").ref) in reason for reason in standing.reasons)
    (seen,) = judged(card(1, "a"), remembered=[link]).standings
    assert seen.state is State.READY


def test_findings_are_given_to_those_whose_work_they_are_about() -> None:
    assessment = judged(
        issue(1, "a", depends_on=explicit("BIZ-404")),
        issue(2, "b", owner=ARCHITECT, depends_on=explicit("BIZ-405")),
        issue(3, "c", owner=ALICE, depends_on=explicit("BIZ-406")),
    )
    for agent, name in (("coo", "BIZ-404"), ("architect", "BIZ-405")):
        (finding,) = worklist(assessment, agent).findings
        assert name in finding.message
    assert len(found(assessment, "dangling-dependency")) == 3


def test_an_item_that_was_seen_first_long_ago_comes_before_a_newcomer() -> None:
    items = (line(1, "a"), line(2, "b"))
    first_seen = {items[0].ref: NOW, items[1].ref: NOW - timedelta(days=3)}
    assessment = assess(Sight(items, SOURCES), now=NOW, parent_rule=ParentRule.STARTED, first_seen=first_seen)
    assert shown(assessment) == ["TODO.md:2", "TODO.md:1"]
