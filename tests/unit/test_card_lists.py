"""The list of cards as every transport gives it: counted, asked for twice where it is short, honest (rule S3)."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.openclaw.cards import read_cards

ONE, TWO = {"id": "one"}, {"id": "two"}


class Answers:
    """Gives one answer after the other, raising the errors among them."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def __call__(self) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def listed(*cards: Any, total: int = 2) -> dict[str, Any]:
    return {"cards": list(cards), "boards": [{"id": "default", "total": total}]}


def test_S3_a_short_list_is_asked_for_once_more() -> None:
    fetched = read_cards(Answers(listed(ONE), listed(ONE, TWO)), None, "it")
    assert (fetched.records, fetched.problem) == ([ONE, TWO], "")


def test_S3_a_list_that_stays_short_keeps_what_came() -> None:
    fetched = read_cards(Answers(listed(ONE), listed(TWO)), None, "it")
    assert (fetched.records, fetched.problem) == ([TWO], "it gave 1 cards of the 2 that its boards count")


@pytest.mark.parametrize("again", [ONE, {"id": " one "}, {"id": "one", "title": "changed"}])
def test_S3_a_card_that_came_twice_does_not_stand_in_for_one_that_did_not_come(again: Any) -> None:
    fetched = read_cards(Answers(listed(ONE, again), listed(ONE, again)), None, "it")
    assert fetched.problem == "it gave 1 cards of the 2 that its boards count"


def test_S3_records_without_an_id_are_counted_each() -> None:
    assert read_cards(Answers(listed(None, {"id": []})), None, "it").problem == ""


def test_S3_a_second_question_that_fails_does_not_give_up_what_came_first() -> None:
    error = TransportError(FailureKind.TIMEOUT, "no answer")
    fetched = read_cards(Answers(listed(ONE), error), None, "it")
    assert fetched.records == [ONE]
    assert fetched.problem == "it gave 1 cards of the 2 that its boards count; asking again failed: no answer"


def test_a_first_question_that_fails_is_a_failure() -> None:
    with pytest.raises(TransportError, match="no answer"):
        read_cards(Answers(TransportError(FailureKind.TIMEOUT, "no answer")), None, "it")


def test_a_board_that_does_not_exist_is_told_with_those_that_do() -> None:
    (finding,) = read_cards(Answers(listed()), "opps", "it").findings
    assert finding.code == "unknown-board"
    assert finding.message == "it has no board 'opps', so no card was read; its boards: default"


@pytest.mark.parametrize(
    ("document", "board"),
    [
        (listed(total=0), None),
        (listed(total=0), "Default"),
        ({"cards": []}, "opps"),
        (listed({"id": "one", "metadata": {"automation": {"boardId": "opps"}}}), "opps"),
    ],
)
def test_a_board_that_may_exist_is_no_finding(document: Any, board: str | None) -> None:
    assert read_cards(Answers(document), board, "it").findings == ()
