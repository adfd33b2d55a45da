"""The fake board keeps WorkBoard's rules, word for word (contract 1.3, 1.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_board import BoardError, FakeBoard, SteppingClock

START = 1795226214382


def new_board() -> tuple[FakeBoard, SteppingClock]:
    clock = SteppingClock(START)
    return FakeBoard(clock), clock


def refusal(board: FakeBoard, method: str, **parameters: Any) -> str:
    with pytest.raises(BoardError) as caught:
        board.call(f"cards.{method}", parameters)
    return str(caught.value)


REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
    ("card not found: nope", "move", {"id": "nope", "status": "todo"}),
    ("id is required.", "comment", {"body": "x"}),
    ("title is required.", "create", {}),
    ("title must be 180 characters or fewer.", "create", {"title": "长" * 179 + "🚀"}),
    ("priority must be one of: low, normal, high, urgent.", "create", {"title": "t", "priority": "P0"}),
    ("board id must match [a-z0-9][a-z0-9._-]{0,79}.", "list", {"boardId": "no good!"}),
    ("parentId and childId are required.", "linkDependency", {"parentId": "x"}),
]


@pytest.mark.parametrize(("message", "method", "parameters"), REFUSALS)
def test_refusals_of_what_is_not_there(message: str, method: str, parameters: dict[str, Any]) -> None:
    assert refusal(new_board()[0], method, **parameters) == message


OF_A_CARD: list[tuple[str, str, dict[str, Any]]] = [
    ("comment body is required.", "comment", {"body": "  "}),
    ("comment body must be 2000 characters or fewer (got 2001).", "comment", {"body": "x" * 2001}),
    (
        "status must be one of: triage, backlog, todo, scheduled, ready, running, review, blocked, done.",
        "move",
        {"status": "nope"},
    ),
    ("expectedUpdatedAt must be a finite number.", "update", {"patch": {}, "expectedUpdatedAt": "x"}),
    ("Card changed while you were editing. Review the latest values and retry.", "move", {"expectedUpdatedAt": 5}),
    ("claim ownerId is required.", "claim", {}),
    ("card already claimed by coo.", "claim", {"ownerId": "coo"}),
    ("claim owner does not match.", "release", {"ownerId": "x"}),
    ("claim token does not match.", "heartbeat", {"token": "x"}),
    ("parent and child dependency links must use linkDependency.", "link", {"type": "parent"}),
]


@pytest.mark.parametrize(("message", "method", "parameters"), OF_A_CARD)
def test_refusals_on_a_claimed_card(message: str, method: str, parameters: dict[str, Any]) -> None:
    board, _ = new_board()
    card = board.create("a", agentId="coo")
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo"})
    assert refusal(board, method, id=card["id"], **parameters) == message


def test_one_active_card_an_owner_and_a_running_card_without_a_claim_takes_the_slot_too() -> None:
    board, _ = new_board()
    running, second = board.create("a", agentId="coo", status="running"), board.create("b", agentId="architect")
    assert refusal(board, "claim", id=second["id"], ownerId="coo") == "Owner coo already has active Workboard work."
    board.call("cards.archive", {"id": running["id"]})
    assert board.call("cards.claim", {"id": second["id"], "ownerId": "coo"})["card"]["status"] == "running"


@pytest.mark.parametrize("status", ["ready", "running", "review", "done"])
def test_an_open_parent_holds_the_child_and_done_lets_it_go_only_by_dispatch(status: str) -> None:
    board, _ = new_board()
    parent = board.create("parent")
    child = board.create("child", parents=[parent["id"]])
    assert refusal(board, "move", id=child["id"], status=status) == "card dependencies are not done."
    board.call("cards.complete", {"id": parent["id"]})
    cards = {card["title"]: card for card in board.call("cards.list")["cards"]}
    assert cards["child"]["status"] == "todo"
    assert [card["title"] for card in board.call("cards.dispatch")["promoted"]] == ["child"]


def test_dependencies_stand_on_both_sides_and_make_no_cycle() -> None:
    board, _ = new_board()
    first, second, third = (board.create(title) for title in "abc")
    board.call("cards.linkDependency", {"parentId": first["id"], "childId": second["id"]})
    board.call("cards.linkDependency", {"parentId": second["id"], "childId": third["id"]})
    links = {card["title"]: card["metadata"]["links"] for card in board.call("cards.list")["cards"]}
    assert [(link["type"], link["targetCardId"]) for link in links["b"]] == [
        ("parent", first["id"]),
        ("child", third["id"]),
    ]
    cycle = refusal(board, "linkDependency", parentId=third["id"], childId=first["id"])
    assert cycle == "dependency link would create a cycle."
    same = refusal(board, "linkDependency", parentId=first["id"], childId=first["id"])
    assert same == "parent and child cards must differ."


WRITES: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("move", lambda card: {"id": card, "status": "todo"}),
    ("update", lambda card: {"id": card, "patch": {"bogus": 1}}),
    ("release", lambda card: {"id": card}),
    ("comment", lambda card: {"id": card, "body": "x"}),
    ("block", lambda card: {"id": card, "reason": "x"}),
    ("reassign", lambda card: {"id": card, "agentId": "y", "reason": "x"}),
]


@pytest.mark.parametrize(("method", "parameters"), WRITES)
def test_every_write_moves_the_update_time_even_where_the_clock_stands(
    method: str, parameters: Callable[[str], dict[str, Any]]
) -> None:
    board = FakeBoard(lambda: START)
    card = board.create("a")
    after = board.call(f"cards.{method}", parameters(card["id"]))["card"]
    assert after["updatedAt"] == card["updatedAt"] + 1
    assert after["events"][-1]["at"] == after["updatedAt"]
    assert board.call("cards.list")["cards"][0]["updatedAt"] == after["updatedAt"]


def test_a_reclaim_takes_the_claim_keeps_the_start_and_leaves_one_comment() -> None:
    board, _ = new_board()
    card = board.create("a", agentId="coo")
    claimed = board.call("cards.claim", {"id": card["id"], "ownerId": "coo"})["card"]
    after = board.call("cards.reclaim", {"id": card["id"], "reason": "silent", "status": "todo"})["card"]
    assert (after["status"], after["startedAt"]) == ("todo", claimed["startedAt"])
    assert "claim" not in after["metadata"]
    assert [comment["body"] for comment in after["metadata"]["comments"]] == ["silent"]
    assert after["events"][-1]["kind"] == "moved"


def test_block_counts_a_failure_reassign_forgets_it_and_keeps_the_claim() -> None:
    board, _ = new_board()
    card = board.create("a", agentId="coo")
    blocked = board.call("cards.block", {"id": card["id"], "reason": "x"})["card"]
    assert blocked["metadata"]["failureCount"] == 1
    assert board.call("cards.unblock", {"id": card["id"]})["card"]["metadata"]["failureCount"] == 1
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo"})
    after = board.call("cards.reassign", {"id": card["id"], "agentId": "architect"})["card"]
    assert "failureCount" not in after["metadata"]
    assert after["metadata"]["claim"]["ownerId"] == "coo"


def test_the_token_of_a_claim_is_told_once_and_never_again() -> None:
    board, _ = new_board()
    card = board.create("a", agentId="coo")
    token = board.call("cards.claim", {"id": card["id"], "ownerId": "coo"})["token"]
    assert token not in str(board.call("cards.list"))
    board.call("cards.heartbeat", {"id": card["id"], "token": token})


def test_an_expired_claim_is_blocked_by_dispatch_five_minutes_later_and_not_before() -> None:
    board, clock = new_board()
    card = board.create("a", agentId="coo")
    board.call("cards.claim", {"id": card["id"], "ownerId": "coo", "ttlSeconds": 60})
    clock.advance(300_000)
    assert board.call("cards.dispatch")["blocked"] == []
    clock.advance(60_000)
    (blocked,) = board.call("cards.dispatch")["blocked"]
    assert blocked["metadata"]["notifications"][-1]["message"] == "Claim expired without a recent heartbeat."


def test_the_list_is_ordered_by_status_then_position_and_counts_archived_cards() -> None:
    board, _ = new_board()
    for title, status in (("d", "done"), ("t1", "todo"), ("r", "review"), ("t2", "todo")):
        board.create(title, status=status, priority="urgent" if title == "t2" else "low")
    board.call("cards.archive", {"id": board.call("cards.list")["cards"][0]["id"]})
    listed = board.call("cards.list")
    assert [card["title"] for card in listed["cards"]] == ["t1", "t2", "r", "d"]
    assert [(entry["id"], entry["total"], entry["archived"]) for entry in listed["boards"]] == [("default", 4, 1)]
    assert board.call("cards.list", {"boardId": "nothere"})["cards"] == []


def test_what_is_absent_is_left_out_and_the_answer_is_a_copy() -> None:
    board, _ = new_board()
    card = board.create("a")
    assert not {"agentId", "notes", "startedAt", "completedAt"} & set(card)
    card["title"] = "changed outside"
    assert board.call("cards.list")["cards"][0]["title"] == "a"


def test_the_same_idempotency_key_gives_the_same_card() -> None:
    board, _ = new_board()
    first, again = board.create("a", idempotencyKey="k"), board.create("b", idempotencyKey="k")
    assert first == again
