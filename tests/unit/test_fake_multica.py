"""The fake server keeps the real one's rules (contract 3): what bumps what, and what starts an agent's run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_multica_records import ALICE, BOB, CODEX, CORE_SQUAD, REVIEWER, Json, RefusalError
from tests.support.fake_multica_state import MulticaState

Act = Callable[[MulticaState, Json], Any]


def state_with_issue(**fields: Any) -> tuple[MulticaState, Json]:
    state = MulticaState()
    given = {"assignee_type": "agent", "assignee_id": CODEX, "metadata": {"k": 1}, **fields}
    return state, state.add_issue("登录页报错", **given)


def commented(state: MulticaState, issue: Json) -> Json:
    return next(comment for comment in state.comments.values() if comment["issue_id"] == issue["id"])


BUMPS: dict[str, tuple[Act, tuple[int, bool, bool]]] = {
    "a new status": (lambda state, issue: state.update(issue, {"status": "blocked"}), (1, True, True)),
    "a new position": (lambda state, issue: state.update(issue, {"position": 9.5}), (1, True, False)),
    "the same status": (lambda state, issue: state.update(issue, {"status": " TODO "}), (0, False, False)),
    "a comment": (lambda state, issue: state.comment(issue, {"content": "/note x"}), (1, True, True)),
    "an edited comment": (
        lambda state, issue: state.edit_comment(commented(state, issue), {"content": "/note y"}),
        (1, False, True),
    ),
    "a deleted comment": (lambda state, issue: state.delete_comment(commented(state, issue)), (1, False, True)),
    "new metadata": (lambda state, issue: state.set_metadata(issue, "k", {"value": 2}), (1, True, True)),
    "the same metadata": (lambda state, issue: state.set_metadata(issue, "k", {"value": 1}), (0, True, False)),
    "metadata deleted": (lambda state, issue: state.delete_metadata(issue, "k"), (1, True, True)),
    "metadata deleted that was not there": (lambda state, issue: state.delete_metadata(issue, "n"), (0, True, False)),
}


@pytest.mark.parametrize("name", BUMPS)
def test_what_bumps_what(name: str) -> None:
    act, (revisions, updated, activity) = BUMPS[name]
    state, issue = state_with_issue()
    state.add_comment(issue["id"], "member", ALICE, "/note before")
    before = issue["revision"]
    state.pass_time(minutes=1)
    act(state, issue)
    assert issue["revision"] - before == revisions
    assert (issue["updated_at"] == state.now) is updated
    assert (issue["last_activity_at"] == state.now) is activity


def mention(kind: str, identity: str) -> str:
    return f"[@X](mention://{kind}/{identity}) please"


STARTS: dict[str, tuple[dict[str, Any], Act, list[str]]] = {
    "out of backlog": ({"status": "backlog"}, lambda s, i: s.update(i, {"status": "todo"}), [CODEX]),
    "out of backlog of a squad": (
        {"status": "backlog", "assignee_type": "squad", "assignee_id": CORE_SQUAD},
        lambda s, i: s.update(i, {"status": "in_progress"}),
        [CODEX],
    ),
    "out of backlog, suppressed": (
        {"status": "backlog"},
        lambda s, i: s.update(i, {"status": "todo", "suppress_run": True}),
        [],
    ),
    "from backlog to cancelled": ({"status": "backlog"}, lambda s, i: s.update(i, {"status": "cancelled"}), []),
    "any other move": ({"status": "in_progress"}, lambda s, i: s.update(i, {"status": "blocked"}), []),
    "reopened": ({"status": "done"}, lambda s, i: s.update(i, {"status": "todo"}), []),
    "assigned": (
        {"status": "done", "assignee_type": None, "assignee_id": None},
        lambda s, i: s.update(i, {"assignee_type": "agent", "assignee_id": REVIEWER}),
        [REVIEWER],
    ),
    "assigned in backlog": (
        {"status": "backlog", "assignee_type": None, "assignee_id": None},
        lambda s, i: s.update(i, {"assignee_type": "agent", "assignee_id": REVIEWER}),
        [],
    ),
    "a comment": ({"status": "done"}, lambda s, i: s.comment(i, {"content": "hello"}), [CODEX]),
    "a note": ({}, lambda s, i: s.comment(i, {"content": "/NOTE hello"}), []),
    "a word that begins like a note": ({}, lambda s, i: s.comment(i, {"content": "/notes hello"}), [CODEX]),
    "a suppressed comment": (
        {},
        lambda s, i: s.comment(i, {"content": "hello", "suppress_agent_ids": [CODEX]}),
        [],
    ),
    "an agent mentioned": ({}, lambda s, i: s.comment(i, {"content": mention("agent", REVIEWER)}), [REVIEWER]),
    "a squad mentioned": (
        {"assignee_id": REVIEWER},
        lambda s, i: s.comment(i, {"content": mention("squad", CORE_SQUAD)}),
        [CODEX],
    ),
    "a member mentioned": ({}, lambda s, i: s.comment(i, {"content": mention("member", BOB)}), []),
    "an issue mentioned": ({}, lambda s, i: s.comment(i, {"content": mention("issue", "x")}), [CODEX]),
    "an agent mentioned in a note": (
        {},
        lambda s, i: s.comment(i, {"content": "/note " + mention("agent", CODEX)}),
        [],
    ),
    "a comment by an agent": (
        {},
        lambda s, i: s.comment(i, {"content": "done"}, author_type="agent", author_id=CODEX),
        [],
    ),
    "metadata": ({}, lambda s, i: s.set_metadata(i, "k", {"value": 2}), []),
    "a rerun": ({}, lambda s, i: s.rerun(i), [CODEX]),
}


@pytest.mark.parametrize("name", STARTS)
def test_what_starts_an_agents_run(name: str) -> None:
    fields, act, started = STARTS[name]
    state, issue = state_with_issue(**fields)
    act(state, issue)
    assert [run["agent_id"] for run in state.runs.values() if run["status"] == "queued"] == started


def test_one_run_of_a_pair_waits_at_a_time_and_a_blocked_mention_says_so() -> None:
    state, issue = state_with_issue()
    state.agents[REVIEWER].update(permission_mode="private", owner_id=BOB)
    both = mention("agent", CODEX) + mention("agent", REVIEWER)
    outcomes = [state.comment(issue, {"content": both})["trigger_outcomes"] for _ in range(2)]
    assert [[outcome["status"] for outcome in pair] for pair in outcomes] == [
        ["queued", "blocked"],
        ["coalesced", "blocked"],
    ]
    assert len(state.runs) == 1


def test_replies_wake_whom_the_thread_belongs_to() -> None:
    state, issue = state_with_issue()
    from_agent = state.add_comment(issue["id"], "agent", REVIEWER, "ready")
    from_member = state.add_comment(issue["id"], "member", BOB, "hello")
    state.comment(issue, {"content": "thanks", "parent_id": from_member["id"]})
    assert state.runs == {}
    state.comment(issue, {"content": "thanks", "parent_id": from_agent["id"]})
    assert [run["agent_id"] for run in state.runs.values()] == [REVIEWER]


def test_an_edit_or_a_deletion_cancels_what_the_comment_had_started() -> None:
    state, issue = state_with_issue()
    state.comment(issue, {"content": "go"})
    state.edit_comment(commented(state, issue), {"content": "/note never mind"})
    assert [run["status"] for run in state.runs.values()] == ["cancelled"]


def test_the_end_of_a_stage_wakes_the_parents_agent_once() -> None:
    state, parent = state_with_issue(status="in_progress")
    children = [
        state.add_issue(f"Child {number}", parent_issue_id=parent["id"], stage=stage)
        for number, stage in enumerate((1, 1, 2))
    ]
    state.update(children[0], {"status": "done"})
    assert state.runs == {}
    state.update(children[1], {"status": "cancelled"})
    assert [run["issue_id"] for run in state.runs.values()] == [parent["id"]]
    assert commented(state, parent)["author_type"] == "system"


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (lambda s, i: s.update(i, {"status": "nosuch"}), 400),
        (lambda s, i: s.update(i, {"assignee_id": CODEX}), 400),
        (lambda s, i: s.update(i, {"status": "done", "expected_revision": 7}), 409),
        (lambda s, i: s.comment(i, {"content": "\0 "}), 400),
        (lambda s, i: s.set_metadata(i, "1bad", {"value": 1}), 400),
        (lambda s, i: s.set_metadata(i, "k", {"value": None}), 400),
        (lambda s, i: s.create({"title": " 登录页报错 "}), 409),
        (lambda s, i: s.find("FOO-1"), 404),
        (lambda s, i: s.list_issues({"sort": "colour"}), 400),
    ],
)
def test_what_the_server_refuses_changes_nothing(act: Act, status: int) -> None:
    state, issue = state_with_issue()
    before = dict(issue)
    with pytest.raises(RefusalError) as caught:
        act(state, issue)
    assert caught.value.status == status
    assert issue == before
    assert state.writes == []


def test_an_issue_outside_the_window_is_absent_from_lists_and_costs_402() -> None:
    state, issue = state_with_issue()
    state.outside_window.add(issue["id"])
    assert state.list_issues({})["total"] == 0
    with pytest.raises(RefusalError) as caught:
        state.find("acm-1")
    assert caught.value.status == 402


def test_an_answer_to_a_change_has_no_labels_and_an_old_server_no_revision() -> None:
    state, issue = state_with_issue()
    assert "labels" not in state.update(issue, {"status": "blocked"})
    assert "labels" in state.issue_json(issue)
    state.modern = False
    assert not {"revision", "status_category", "last_activity_at"} & set(state.issue_json(issue))
    assert "issue_revision" not in state.comment(issue, {"content": "/note x"})


def test_a_server_that_heeds_no_suppression_starts_runs_and_knows_no_stages() -> None:
    state, issue = state_with_issue(status="backlog")
    state.heeds_quiet = False
    assert "stage" not in state.issue_json(issue)
    state.update(issue, {"status": "todo", "suppress_run": True})
    assert state.started == [f"ACM-1 {CODEX}"]


def test_every_start_is_counted_also_where_a_run_was_waiting_already() -> None:
    state, issue = state_with_issue()
    for _ in range(2):
        state.comment(issue, {"content": "go"})
    assert len(state.runs) == 1
    assert state.started == [f"ACM-1 {CODEX}"] * 2
