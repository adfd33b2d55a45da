"""Whose change it was, when all that is told is that there was one (rule T2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.systems.multica.comments import Comments
from heartbeat.systems.multica.ownership import View, own_changes, revision_number, with_own_edit
from heartbeat.task import Evidence, EvidenceKind, Ref
from tests.support.fake_multica_records import CODEX, Json
from tests.support.fake_multica_state import MulticaState

REF = Ref("multica", "i")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACTS = ("note", "status", "say", "retitle", "edit a comment", "metadata")
OURS = ("note", "status")


@given(modern=st.booleans(), acts=st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 3)), max_size=5))
def test_T2_a_change_is_ours_exactly_where_nobody_else_had_a_part_in_it(
    modern: bool, acts: list[tuple[str, int]]
) -> None:
    """We write a note, then a status, at most once each; others do what they like, whenever."""
    state = MulticaState(modern=modern)
    issue = state.add_issue("Task", status="in_progress", assignee_type="agent", assignee_id=CODEX)
    state.add_comment(issue["id"], "agent", CODEX, "before")
    before = view(state, issue)
    notes: set[str] = set()
    fields: dict[str, str] = {}
    foreign = False
    for act, seconds in acts:
        state.pass_time(seconds=seconds)
        if act == "note" and not notes:
            notes.add(state.comment(issue, {"content": "/note x"})["id"])
        elif act == "status" and not fields:
            fields = {"status": "blocked"}
            state.update(issue, fields)
        elif act not in OURS:
            # What an old server leaves no trace of, nobody can know.
            foreign = others(state, issue, act) or foreign
    ids = own_changes(before, view(state, issue), frozenset(notes), fields)
    if foreign or not (notes or fields):
        assert ids == ()
    elif modern:
        assert ids == tuple(f"rev:{2 + number}" for number in range(len(notes) + len(fields)))
    else:
        assert ids == (f"rev:{view(state, issue).record['updated_at']}",)


def others(state: MulticaState, issue: Json, act: str) -> bool:
    """Does it, and says whether it can be seen."""
    if act == "say":
        state.comment(issue, {"content": "hello"}, author_type="agent", author_id=CODEX)
    elif act == "retitle":
        state.update(issue, {"title": issue["title"] + "!"})
    elif act == "metadata":
        state.set_metadata(issue, "n", {"value": issue["revision"]})
    else:
        comment = next(iter(state.comments.values()))
        state.edit_comment(comment, {"content": comment["content"] + "!"})
        return state.modern
    return True


def view(state: MulticaState, issue: Json) -> View:
    return View(state.issue_json(issue), frozenset(state.comments))


def record(**fields: Any) -> dict[str, Any]:
    return {"status": "todo", "updated_at": "2026-11-21T12:00:00Z", **fields}


def test_T2_the_second_of_an_earlier_change_is_not_claimed() -> None:
    before, after = View(record(), frozenset()), View(record(status="blocked"), frozenset())
    assert own_changes(before, after, frozenset(), {"status": "blocked"}) == ()


@pytest.mark.parametrize(
    ("revision", "number"), [(7, 7), ("7", 7), (7.0, 7), (None, None), (True, None), ("x", None), (float("inf"), None)]
)
def test_a_revision_is_a_whole_number_or_none(revision: Any, number: int | None) -> None:
    assert revision_number({"revision": revision}) == number


def comment(seconds: float, own: bool) -> Evidence:
    return Evidence(REF, NOON + timedelta(seconds=seconds), EvidenceKind.COMMENT, f"c{seconds}", own)


def edit(seconds: float) -> Evidence:
    return Evidence(REF, NOON + timedelta(seconds=seconds), EvidenceKind.EDITED, "rev:7")


@pytest.mark.parametrize(
    ("comments", "edited", "own"),
    [
        ((comment(0, True),), 0.0, True),
        ((comment(0, True),), 2.0, True),
        ((comment(0, True),), 2.1, False),
        ((comment(0, True),), -0.1, False),
        ((comment(-5, False), comment(0, True)), 0.5, True),
        ((comment(0, False), comment(0, True)), 0.5, False),
        ((comment(0, True), comment(1, False)), 1.0, False),
        ((comment(0, False),), 0.0, False),
        ((), 0.0, False),
    ],
)
def test_L4_the_last_change_is_ours_where_it_came_with_our_note_and_nothing_came_after(
    comments: tuple[Evidence, ...], edited: float, own: bool
) -> None:
    seen = with_own_edit((*comments, edit(edited)), Comments(evidence=comments))
    assert [each.own for each in seen] == [*(each.own for each in comments), own]
