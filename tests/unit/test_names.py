"""Rule M1a: what a name means among the items of a sweep."""

from __future__ import annotations

import pytest

from heartbeat.names import Names
from heartbeat.task import Item
from tests.support.items import card, issue, line

FULL = "c2fe13c7-4ff5-400d-976d-c69a6940dcf7"


def found(name: str, *items: Item) -> list[str]:
    refs = Names(items).find(name)
    assert list(refs) == sorted(refs)
    return [next(item.key for item in items if item.ref == ref) for ref in refs]


@pytest.mark.parametrize("name", ["BIZ-31", "biz-31", " BIZ-31 ", "0198f0a0-7777-7000-8000-000000000031"])
def test_M1_an_issue_goes_by_its_identifier_and_its_id(name: str) -> None:
    assert found(name, issue(31, "x"), issue(3, "y"), issue(310, "z")) == ["BIZ-31"]


@pytest.mark.parametrize("name", ["00abcdef-0000-4000-8000-000000000000", "00abcdef", "00ABCDEF", "00abcdef-0000-4"])
def test_M1_a_card_goes_by_its_id_and_by_eight_or_more_of_its_first_digits(name: str) -> None:
    assert found(name, card(0xABCDEF, "x"), card(0xABCDEE, "y")) == ["00abcdef"]


@pytest.mark.parametrize(
    "name", ["00abcde", "0", "", " ", "00abcdeg", "abcdef00", "00abcdef-1", "00abcdef0", "BIZ-", "%"]
)
def test_M1_less_than_eight_digits_or_other_digits_name_nothing(name: str) -> None:
    assert found(name, card(0xABCDEF, "x"), issue(1, "y")) == []


def test_M1_two_cards_that_begin_alike_are_both_found() -> None:
    twins = (card(7, "x"), line(1, "y", aliases=("00000007-1",)))
    assert found("00000007", *twins) == ["00000007"]
    assert found("0198f0a0", issue(1, "x"), issue(2, "y")) == ["BIZ-1", "BIZ-2"]


def test_M1_an_exact_name_beats_the_beginning_of_an_id() -> None:
    marked = line(5, "x", aliases=("00abcdef",))
    assert found("00abcdef", card(0xABCDEF, "y"), marked) == ["TODO.md:5"]


def test_M1_a_name_that_several_bear_finds_them_all_each_once() -> None:
    items = (line(1, "x", aliases=("a1", "A1")), line(2, "y", aliases=("a1",)), issue(3, "z"))
    assert found("a1", *items) == ["TODO.md:1", "TODO.md:2"]


def test_a_lookup_does_not_walk_through_all_items() -> None:
    """Twenty thousand lookups among twenty thousand cards: by a walk this would be four hundred million steps."""
    cards = [card(number, "x") for number in range(20_000)]
    names = Names(cards)
    assert all(names.find(f"{number:08x}") == (cards[number].ref,) for number in range(20_000))
