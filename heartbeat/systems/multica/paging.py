"""Reading a long list page by page without losing a row in silence (rule S3). Pure but for the pages it asks for.

The list is in an order in which rows keep their places (by creation), but it may change between two pages. So each
page is asked for from the last row that is already known: where that row does not come first, the list has shifted
and rows may have slipped through. The end is where a page has nothing but that row; the server's own total is only
compared with what came, since a total can be wrong in either direction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from heartbeat.systems.base import TransportError


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that came, and how many there are in all by the server's count; None where it does not count."""

    rows: Sequence[Any]
    total: int | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Every row that came, each id once, and why they may not be all; `problem` is empty where they are all."""

    rows: tuple[Any, ...]
    problem: str = ""


ReadPage = Callable[[int], Page]
"""The page that begins at an offset; raises TransportError."""

SPARE_ROWS = 1_000
"""How far a list may grow beyond the server's count while it is read, before it is taken for endless."""
MOST_ROWS = 1_000_000
"""Where reading ends in any case, also if the server's count runs ahead of us."""


def read_every_page(read_page: ReadPage, *, page_size: int) -> Rows:
    """Every row of the list, read a second time where the first pass raises doubt, and honest where doubt remains.

    `page_size` is the number of rows asked for; a list without a total is one page only, and a full one is doubtful.
    Raises TransportError where not even the first page came.
    """
    first = _scan(read_page, page_size)
    if not first.problem:
        return Rows(tuple(first.rows.values()))
    if first.final:
        return Rows(tuple(first.rows.values()), first.problem)
    try:
        second = _scan(read_page, page_size)
    except TransportError as error:
        return Rows(tuple(first.rows.values()), f"{first.problem}; reading again failed: {error}")
    if not second.problem:
        return Rows(tuple(second.rows.values()))
    both = first.rows | second.rows
    return Rows(tuple(both.values()), f"{second.problem} (read twice; {len(both)} different rows came)")


@dataclass(slots=True)
class _Pass:
    """One pass over the list. `final` says that a second one would not help."""

    rows: dict[str, Any]
    problem: str = ""
    final: bool = False


def _scan(read_page: ReadPage, page_size: int) -> _Pass:
    page = read_page(0)
    rows = {_identity(row): row for row in page.rows}
    if page.total is None:
        full = len(page.rows) >= page_size
        return _Pass(rows, f"one page of {len(rows)} rows came and the rest cannot be asked for" if full else "", full)
    offset = len(page.rows)
    totals = {page.total}
    if len(rows) < offset:
        return _Pass(rows, f"a row came twice in one page of {offset}")
    while offset:
        try:
            page = read_page(offset - 1)
        except TransportError as error:
            return _Pass(rows, f"{len(rows)} of {max(totals)} rows were read, then: {error}", final=True)
        if page.total is None:
            return _Pass(rows, f"the server stopped counting after {len(rows)} rows")
        totals.add(page.total)
        came = {_identity(row): row for row in page.rows}
        if not page.rows or next(iter(came)) != next(reversed(rows)):
            return _Pass(rows | came, f"the list shifted while it was read, after {len(rows)} of {page.total} rows")
        if len(came) < len(page.rows) or sum(identity in rows for identity in came) > 1:
            return _Pass(rows | came, f"rows came again on a later page, after {len(rows)} of {page.total} rows")
        rows |= came
        offset += len(page.rows) - 1
        if len(page.rows) == 1:
            break
        if offset > min(max(totals) + SPARE_ROWS, MOST_ROWS):
            return _Pass(rows, f"the list does not end: {offset} rows came and the server counts {max(totals)}")
    if totals != {len(rows)}:
        counted = " and then ".join(str(total) for total in sorted(totals))
        return _Pass(rows, f"{len(rows)} rows came and the server counts {counted}")
    return _Pass(rows)


def _identity(row: Any) -> str:
    """What tells a row from another: its id, else all of its text."""
    if isinstance(row, dict) and isinstance(row.get("id"), str | int) and str(row["id"]).strip():
        return f"id:{str(row['id']).strip()}"
    return "text:" + json.dumps(row, sort_keys=True, ensure_ascii=False, default=repr)
