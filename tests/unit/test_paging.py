"""Rule S3: every page is read, and a doubtful list is never passed off as a whole one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.multica.paging import SPARE_ROWS, Page, Rows, read_every_page

CAP = 100


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"issue-{number:05}"} for number in range(first, first + count)]


def ids(result: Rows) -> list[str]:
    return [row["id"] for row in result.rows]


class Listing:
    """An honest list of rows; `before` may change it ahead of the n-th request (from 0)."""

    def __init__(self, count: int, before: Callable[[Listing, int], None] | None = None) -> None:
        self.rows = rows(count)
        self.before = before
        self.offsets: list[int] = []

    def page(self, offset: int) -> Page:
        if self.before is not None:
            self.before(self, len(self.offsets))
        self.offsets.append(offset)
        return Page(self.rows[offset : offset + CAP], len(self.rows))


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 145, 199, 200, 345])
def test_S3_every_row_of_a_list_of_any_length_is_read(count: int) -> None:
    listing = Listing(count)
    result = read_every_page(listing.page, page_size=CAP)
    assert result.problem == ""
    assert ids(result) == [row["id"] for row in listing.rows]


def test_S3_rows_that_came_are_counted_and_not_the_limit_that_was_asked_for() -> None:
    listing = Listing(145)
    read_every_page(listing.page, page_size=500)
    assert listing.offsets == [0, 99, 144]


def delete_the_first_before_page(number: int) -> Callable[[Listing, int], None]:
    def delete(listing: Listing, request: int) -> None:
        if request == number:
            del listing.rows[0]

    return delete


def test_S3_a_row_that_slips_through_a_page_shift_is_found_by_the_second_reading() -> None:
    listing = Listing(145, delete_the_first_before_page(1))
    result = read_every_page(listing.page, page_size=CAP)
    assert result.problem == ""
    assert ids(result) == [row["id"] for row in rows(144, first=1)]
    assert listing.offsets.count(0) == 2


def test_S3_a_shift_that_keeps_the_total_is_noticed_all_the_same() -> None:
    def swap(listing: Listing, request: int) -> None:
        if request == 1:
            del listing.rows[3]
            listing.rows += rows(1, first=500)

    result = read_every_page(Listing(145, swap).page, page_size=CAP)
    assert result.problem == ""
    assert {"issue-00099", "issue-00100", "issue-00500"} <= set(ids(result))


def test_S3_a_list_that_shifts_at_every_reading_is_partial_and_keeps_all_that_came() -> None:
    def shift(listing: Listing, request: int) -> None:
        if listing.offsets and listing.offsets[-1] == 0:
            del listing.rows[0]

    result = read_every_page(Listing(145, shift).page, page_size=CAP)
    assert "the list shifted while it was read" in result.problem
    assert "read twice" in result.problem
    assert len(ids(result)) == len(set(ids(result))) >= 143


def test_S3_a_total_that_changes_between_pages_is_read_again_once() -> None:
    def grow(listing: Listing, request: int) -> None:
        if request == 1:
            listing.rows += rows(1, first=145)

    listing = Listing(145, grow)
    result = read_every_page(listing.page, page_size=CAP)
    assert result.problem == ""
    assert len(result.rows) == 146
    assert listing.offsets.count(0) == 2


@pytest.mark.parametrize("told", [40, 100, 144, 146, 10_000])
def test_S3_a_lying_total_is_read_again_once_and_then_partial(told: int) -> None:
    whole = rows(145)
    asked: list[int] = []

    def page(offset: int) -> Page:
        asked.append(offset)
        return Page(whole[offset : offset + CAP], told)

    result = read_every_page(page, page_size=CAP)
    assert ids(result) == [row["id"] for row in whole]
    assert f"145 rows came and the server counts {told}" in result.problem
    assert asked.count(0) == 2


def test_S3_a_server_that_counts_its_page_as_the_whole_loses_nothing() -> None:
    whole = rows(145)

    def page(offset: int) -> Page:
        part = whole[offset : offset + 50]
        return Page(part, len(part))

    result = read_every_page(page, page_size=CAP)
    assert ids(result) == [row["id"] for row in whole]
    assert result.problem


def test_S3_a_page_that_is_repeated_is_read_again_once_and_then_partial() -> None:
    whole, asked = rows(145), []

    def page(offset: int) -> Page:
        asked.append(offset)
        return Page(whole[:CAP], 145)

    result = read_every_page(page, page_size=CAP)
    assert asked == [0, 99, 0, 99]
    assert len(result.rows) == CAP
    assert result.problem


def test_S3_a_row_that_comes_again_on_a_later_page_is_a_reason_to_read_again() -> None:
    whole, asked = rows(145), []

    def page(offset: int) -> Page:
        asked.append(offset)
        part = whole[offset : offset + CAP]
        return Page([*part, whole[3]] if len(asked) == 2 else part, 145)

    result = read_every_page(page, page_size=CAP)
    assert result.problem == ""
    assert asked == [0, 99, 0, 99, 144]


def test_S3_of_two_doubtful_readings_everything_is_kept_in_its_later_form() -> None:
    readings = [
        [{"id": "a", "title": "old"}, {"id": "b", "title": "old"}],
        [{"id": "b", "title": "new"}, {"id": "c", "title": "new"}],
    ]
    asked: list[int] = []

    def page(offset: int) -> Page:
        asked.append(offset)
        return Page(readings[asked.count(0) - 1][offset:], 9)

    result = read_every_page(page, page_size=CAP)
    assert [(row["id"], row["title"]) for row in result.rows] == [("a", "old"), ("b", "new"), ("c", "new")]
    assert "read twice; 3 different rows came" in result.problem


def test_S3_a_list_without_an_end_is_left() -> None:
    def page(offset: int) -> Page:
        return Page(rows(CAP, first=offset), 145)

    result = read_every_page(page, page_size=CAP)
    assert "the list does not end" in result.problem
    assert len(result.rows) <= 145 + SPARE_ROWS + CAP


def test_S3_an_empty_page_of_a_list_that_is_not_empty_is_partial() -> None:
    result = read_every_page(lambda offset: Page([], 7), page_size=CAP)
    assert result == Rows((), "0 rows came and the server counts 7 (read twice; 0 different rows came)")


def fails_at(offset_that_fails: int, error: TransportError) -> Callable[[int], Page]:
    whole = rows(345)

    def page(offset: int) -> Page:
        if offset == offset_that_fails:
            raise error
        return Page(whole[offset : offset + CAP], len(whole))

    return page


def test_S3_what_came_before_the_deadline_is_kept_and_counted() -> None:
    late = TransportError(FailureKind.TIMEOUT, "no answer in time")
    result = read_every_page(fails_at(198, late), page_size=CAP)
    assert len(result.rows) == 199
    assert result.problem == "199 of 345 rows were read, then: no answer in time"


def test_a_failure_of_the_very_first_page_is_a_failure_of_the_whole() -> None:
    with pytest.raises(TransportError, match="no answer"):
        read_every_page(fails_at(0, TransportError(FailureKind.TIMEOUT, "no answer")), page_size=CAP)


def test_a_failure_of_the_second_reading_keeps_the_first() -> None:
    asked: list[int] = []

    def page(offset: int) -> Page:
        asked.append(offset)
        if asked.count(0) == 2:
            raise TransportError(FailureKind.SERVER_ERROR, "500")
        return Page(rows(10)[offset:], 11)

    result = read_every_page(page, page_size=CAP)
    assert len(result.rows) == 10
    assert result.problem == "10 rows came and the server counts 11; reading again failed: 500"


@pytest.mark.parametrize(("count", "whole"), [(0, True), (99, True), (100, False), (180, False)])
def test_a_bare_list_is_one_page_and_a_full_one_is_partial(count: int, whole: bool) -> None:
    result = read_every_page(lambda offset: Page(rows(count), None), page_size=CAP)
    assert len(result.rows) == count
    assert (result.problem == "") is whole


def test_rows_without_an_id_are_kept_and_told_apart_by_their_text() -> None:
    odd: list[Any] = [{"title": "a"}, {"title": "b"}, None, "text", {"id": None, "title": "c"}]
    result = read_every_page(lambda offset: Page(odd[offset:], len(odd)), page_size=CAP)
    assert result.problem == ""
    assert list(result.rows) == odd


def test_ids_as_numbers_are_ids() -> None:
    twice = [{"id": 7, "title": "old"}, {"id": "7", "title": "new"}]
    result = read_every_page(lambda offset: Page(twice[offset:], 2), page_size=CAP)
    assert len(result.rows) == 1
    assert "came twice" in result.problem


STABLE = tuple(f"stable-{number}" for number in range(12))


class Restless:
    """A server whose list changes before any request and whose answers may be bent, as drawn; stable rows stay."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.list = list(STABLE)
        self.created = 0
        self.restless = data.draw(st.booleans(), "changes")
        self.bent = data.draw(st.booleans(), "bends")
        self.lie = data.draw(st.none() | st.integers(0, 30), "lies about the total")
        self.requests = 0

    def page(self, offset: int) -> Page:
        self.requests += 1
        for _ in range(self.data.draw(st.integers(0, 3)) if self.restless else 0):
            self._change()
        cap = self.data.draw(st.integers(2, 6), "page size")
        part = self.list[offset : offset + cap]
        if self.bent and part:
            part = self._bend(part)
        total = len(self.list) if self.lie is None else self.lie
        return Page([{"id": row} for row in part], total)

    def _change(self) -> None:
        passing = [row for row in self.list if row not in STABLE]
        if passing and self.data.draw(st.booleans(), "delete"):
            self.list.remove(self.data.draw(st.sampled_from(passing)))
            return
        self.created += 1
        self.list.insert(self.data.draw(st.integers(0, len(self.list)), "insert at"), f"passing-{self.created}")

    def _bend(self, part: list[str]) -> list[str]:
        how = self.data.draw(st.sampled_from(["not", "repeat a row", "repeat from the start", "shorten"]))
        if how == "repeat a row":
            return [*part, self.data.draw(st.sampled_from(part))]
        if how == "repeat from the start":
            return self.list[: len(part)]
        return part[: max(2, len(part) - 1)] if how == "shorten" else part


@given(st.data())
def test_S3_whatever_a_server_does_no_row_is_lost_in_silence(data: st.DataObject) -> None:
    server = Restless(data)
    result = read_every_page(server.page, page_size=CAP)
    found = ids(result)
    assert len(found) == len(set(found))
    assert server.requests < 200
    if not result.problem:
        assert set(STABLE) <= set(found)
