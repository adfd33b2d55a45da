"""The virtual WorkBoard and the virtual Multica behave as the real ones were seen to (contracts 1.3, 1.4 and 3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heartbeat.simulate.board import VirtualBoard
from heartbeat.simulate.issues import VirtualMultica
from heartbeat.simulate.world import HEARTBEAT, Clock, World
from heartbeat.systems.multica.access import IssueGoneError, RevisionConflictError
from heartbeat.systems.openclaw.gateway import GatewayError

START = datetime(2026, 11, 23, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WRITER, OTHER = "00000002-0000-4000-8000-00000000000a", "00000003-0000-4000-8000-00000000000a"


@pytest.fixture
def world() -> World:
    return World(Clock(START), seed=0)


@pytest.fixture
def board(world: World) -> VirtualBoard:
    return VirtualBoard(world)


def card(board: VirtualBoard, **fields: Any) -> str:
    made = board.call("workboard.cards.create", {"title": "Reconcile", "agentId": "writer", **fields})
    return str(made["card"]["id"])


def call(board: VirtualBoard, method: str, identifier: str, **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = board.call(f"workboard.cards.{method}", {"id": identifier, **parameters})["card"]
    return found


# WorkBoard.


def test_every_mutation_moves_the_card_on_and_leaves_an_event(board: VirtualBoard) -> None:
    identifier = card(board)
    seen = [call(board, "runs", identifier)["updatedAt"]]
    for method, parameters in (
        ("comment", {"body": "hello"}),
        ("claim", {"ownerId": "writer"}),
        ("heartbeat", {}),
        ("release", {"ownerId": "writer", "status": "todo"}),
        ("reclaim", {"status": "todo", "reason": "why"}),
        ("reassign", {"agentId": "second"}),
        ("block", {"reason": "why"}),
        ("unblock", {}),
        ("move", {"status": "review"}),
        ("complete", {}),
    ):
        after = call(board, method, identifier, **parameters)
        assert after["updatedAt"] > seen[-1], method
        assert after["events"][-1]["at"] == after["updatedAt"], method
        seen.append(after["updatedAt"])


def test_a_read_changes_nothing_and_gives_a_copy(board: VirtualBoard) -> None:
    identifier = card(board)
    before = call(board, "runs", identifier)
    before["title"] = "mine"
    assert call(board, "runs", identifier)["title"] == "Reconcile"


def test_a_claim_sets_the_card_running_and_holds_the_only_slot(board: VirtualBoard) -> None:
    first, second = card(board), card(board)
    claimed = call(board, "claim", first, ownerId="writer")
    assert (claimed["status"], claimed["metadata"]["claim"]["ownerId"]) == ("running", "writer")
    with pytest.raises(GatewayError, match=r"Owner writer already has active Workboard work\."):
        call(board, "claim", second, ownerId="writer")
    with pytest.raises(GatewayError, match=r"card already claimed by writer\."):
        call(board, "claim", first, ownerId="second")


def test_a_claim_holds_until_five_minutes_after_it_has_expired(world: World, board: VirtualBoard) -> None:
    identifier = card(board)
    call(board, "claim", identifier, ownerId="writer")
    world.go_to(START + 35 * MINUTE - timedelta(seconds=1))
    assert board.expire() == 0
    world.go_to(START + 35 * MINUTE + timedelta(seconds=1))
    assert board.expire() == 1
    blocked = call(board, "runs", identifier)
    assert blocked["status"] == "blocked"
    assert "claim" not in blocked["metadata"]
    assert blocked["metadata"]["notifications"][-1]["message"] == "Claim expired without a recent heartbeat."


def test_a_heartbeat_renews_the_claim(world: World, board: VirtualBoard) -> None:
    identifier = card(board)
    call(board, "claim", identifier, ownerId="writer")
    world.go_to(START + 20 * MINUTE)
    call(board, "heartbeat", identifier)
    world.go_to(START + 45 * MINUTE)
    assert board.expire() == 0


def test_release_refuses_another_owner_and_reclaim_refuses_nobody(board: VirtualBoard) -> None:
    identifier = card(board)
    call(board, "claim", identifier, ownerId="writer")
    with pytest.raises(GatewayError, match=r"claim owner does not match\."):
        call(board, "release", identifier, ownerId="second")
    after = call(board, "reclaim", identifier, status="todo", reason="because")
    assert after["status"] == "todo"
    assert "claim" not in after["metadata"]
    assert after["metadata"]["comments"][-1]["body"] == "because"


def test_reassign_keeps_the_claim_and_forgets_failures(board: VirtualBoard) -> None:
    identifier = card(board)
    call(board, "block", identifier, reason="no")
    call(board, "unblock", identifier)
    call(board, "claim", identifier, ownerId="writer")
    after = call(board, "reassign", identifier, agentId="second", resetFailures=True)
    assert after["metadata"]["claim"]["ownerId"] == "writer"
    assert "failureCount" not in after["metadata"]


def test_block_counts_a_failure_and_ends_the_claim(board: VirtualBoard) -> None:
    identifier = card(board)
    call(board, "claim", identifier, ownerId="writer")
    after = call(board, "block", identifier, reason="no")
    assert (after["status"], after["metadata"]["failureCount"]) == ("blocked", 1)
    assert "claim" not in after["metadata"]
    with pytest.raises(GatewayError, match="card is blocked; use workboard_unblock before claiming"):
        call(board, "claim", identifier, ownerId="writer")


def test_move_compares_and_refuses_a_card_that_has_changed(board: VirtualBoard) -> None:
    identifier = card(board)
    stale = call(board, "runs", identifier)["updatedAt"]
    call(board, "comment", identifier, body="hello")
    with pytest.raises(GatewayError, match="Card changed while you were editing") as caught:
        call(board, "move", identifier, status="review", expectedUpdatedAt=stale)
    assert caught.value.code == "workboard_conflict"


def test_a_card_that_is_not_there_is_refused_in_the_real_words(board: VirtualBoard) -> None:
    with pytest.raises(GatewayError) as caught:
        call(board, "runs", "nope")
    assert caught.value.said == "card not found: nope"


def test_create_gives_the_same_card_for_the_same_key(board: VirtualBoard) -> None:
    assert card(board, idempotencyKey="k") == card(board, idempotencyKey="k") != card(board)


def test_a_turn_shows_as_active_while_it_goes_on(world: World, board: VirtualBoard) -> None:
    board.turn("writer", START + 3 * MINUTE)

    def active() -> list[str]:
        listed = board.call("sessions.list", {"activeOnly": True})["sessions"]
        return [session["agentId"] for session in listed]

    assert active() == ["writer"]
    world.go_to(START + 3 * MINUTE)
    assert active() == []
    (session,) = board.call("sessions.list", {})["sessions"]
    assert session["lastInteractionAt"] == int(START.timestamp() * 1000)


# Multica.


def multica(world: World, *, revisions: bool = True) -> VirtualMultica:
    return VirtualMultica(world, {WRITER: "writer", OTHER: "other"}, revisions=revisions, run=6 * MINUTE)


def issue_of(made: VirtualMultica, status: str = "todo") -> str:
    return made.create("Reconcile", WRITER, status=status, priority="normal")


def test_a_comment_and_a_real_change_bump_the_issue_and_a_change_to_the_same_does_not(world: World) -> None:
    made = multica(world)
    identity = issue_of(made)
    world.go_to(START + MINUTE)
    made.comment(identity, "/note hello", ("member", "somebody"))
    assert (made.issue(identity)["revision"], made.issue(identity)["updated_at"]) == (2, "2026-11-23T00:01:00Z")
    made.change(identity, {"status": "in_progress"}, quiet=True)
    assert made.issue(identity)["revision"] == 3
    world.go_to(START + 2 * MINUTE)
    made.change(identity, {"status": "in_progress"}, quiet=True)
    assert (made.issue(identity)["revision"], made.issue(identity)["updated_at"]) == (3, "2026-11-23T00:01:00Z")


def test_an_old_server_tells_no_revision(world: World) -> None:
    made = multica(world, revisions=False)
    identity = issue_of(made)
    comment = made.comment(identity, "/note hello", ("member", "somebody"))
    assert "revision" not in made.issue(identity)
    assert "last_activity_at" not in made.issue(identity)
    assert "issue_revision" not in comment


@pytest.mark.parametrize(
    ("author", "content", "runs"),
    [
        (("member", "somebody"), "how is it going?", 1),
        (("member", "somebody"), "/note how is it going?", 0),
        (("member", "somebody"), "/notes are no note", 1),
        (("agent", WRITER), "I am at it", 0),
    ],
)
def test_what_a_comment_starts(world: World, author: tuple[str, str], content: str, runs: int) -> None:
    made = multica(world)
    made.comment(issue_of(made), content, author)
    assert len(made.runs()) == runs
    assert sum(world.runs.values()) == runs


@pytest.mark.parametrize(
    ("before", "fields", "quiet", "runs"),
    [
        ("backlog", {"status": "todo"}, False, 1),
        ("backlog", {"status": "todo"}, True, 0),
        ("backlog", {"status": "cancelled"}, False, 0),
        ("blocked", {"status": "todo"}, False, 0),
        ("todo", {"status": "in_progress"}, False, 0),
        ("todo", {"assignee_id": OTHER}, False, 1),
        ("todo", {"assignee_id": OTHER}, True, 0),
        ("backlog", {"assignee_id": OTHER}, False, 0),
    ],
)
def test_what_a_change_starts(world: World, before: str, fields: dict[str, str], quiet: bool, runs: int) -> None:
    made = multica(world)
    made.change(issue_of(made, before), fields, quiet=quiet)
    assert len(made.runs()) == runs


def test_a_run_is_counted_for_who_started_it(world: World) -> None:
    made = multica(world)
    with world.acting(HEARTBEAT):
        made.comment(issue_of(made), "without a note", ("member", "heartbeat"))
    assert world.runs == {HEARTBEAT: 1}


def test_runs_of_one_issue_follow_each_other_and_leave_a_comment(world: World) -> None:
    made = multica(world)
    identity = issue_of(made)
    for _ in range(3):
        made.comment(identity, "and?", ("member", "somebody"))
    assert [run["status"] for run in made.runs()] == ["running", "queued"]
    world.go_to(START + 6 * MINUTE)
    assert made.comments(identity)[-1]["author_type"] == "agent"
    assert [run["status"] for run in made.runs()] == ["running"]
    world.go_to(START + 12 * MINUTE)
    assert made.runs() == []
    assert made.worked_on == [(identity, "writer")] * 2


def test_a_change_is_bound_to_the_revision_that_it_names(world: World) -> None:
    made = multica(world)
    identity = issue_of(made)
    made.comment(identity, "/note hello", ("member", "somebody"))
    with pytest.raises(RevisionConflictError):
        made.change(identity, {"status": "blocked"}, quiet=True, expected=1)
    made.change(identity, {"status": "blocked"}, quiet=True, expected=2)


def test_a_deleted_issue_is_gone(world: World) -> None:
    made = multica(world)
    identity = issue_of(made)
    made.delete(identity)
    with pytest.raises(IssueGoneError):
        made.issue(identity)
