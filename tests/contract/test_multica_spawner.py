"""Multica runs in place of turns: the spawners' suite, and what is peculiar to a system that takes no idempotency key
(rules X1, X2, X6, contract 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.attempt import Cause, Outcome, Usage
from heartbeat.dispatch.base import Going, Order, Sighting, StartError
from heartbeat.dispatch.multica import build
from heartbeat.dispatch.multica_outcome import REASONS, failure_of
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.task import Ref
from tests.contract.spawner_suite import SpawnerCase, SpawnerSuite, patience, tried_again
from tests.support.fake_models import Behaviour
from tests.support.fake_multica_records import CODEX, CORE_SQUAD, REVIEWER
from tests.support.fake_multica_server import WRITES, Request, answers, hangs, resets
from tests.support.multica_spawner_cases import KINDS, ROSTER, MulticaSpawnerCase


class TestRunsInMultica(SpawnerSuite):
    @pytest.fixture(params=KINDS)
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SpawnerCase]:
        with KINDS[request.param](tmp_path) as opened:
            yield opened

    def test_F1_a_turn_that_outlasts_its_time_is_ended_by_the_engine(self, case: SpawnerCase) -> None:
        """Multica is told no limit; whoever dispatched it ends it."""
        order = case.order(Behaviour.HANGS, run_seconds=0.0)
        case.start(order)
        assert case.look(order).going is Going.RUNNING
        assert case.spawner().abort(order.attempt, patience())

    @pytest.mark.parametrize(
        ("behaviour", "cause", "code"),
        [(Behaviour.DENIED, Cause.REFUSES, 401), (Behaviour.MALFORMED, Cause.TASK, 400)],
        ids=["401", "400"],
    )
    def test_F3_a_model_that_refuses_is_told_with_what_that_means(
        self, case: SpawnerCase, behaviour: Behaviour, cause: Cause, code: int
    ) -> None:
        order = case.order(behaviour)
        case.start(order)
        seen = case.ended(order)
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.cause, seen.failure.code) == (Outcome.FAILED, cause, code)


@pytest.fixture(params=["api", pytest.param("cli", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MulticaSpawnerCase]:
    with KINDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def api(tmp_path: Path) -> Iterator[MulticaSpawnerCase]:
    with KINDS["api"](tmp_path) as opened:
        yield opened


def refused(case: MulticaSpawnerCase, order: Order) -> StartError:
    with pytest.raises(StartError) as error:
        case.start(order)
    return error.value


@pytest.mark.parametrize("status", ["todo", "in_progress", "in_review", "blocked", "done"])
def test_X1_an_issue_out_of_the_backlog_is_run_again_and_nothing_else_of_it_is_changed(
    case: MulticaSpawnerCase, status: str
) -> None:
    order = case.order(Behaviour.HANGS, status=status)
    before = dict(case.issue(order))
    accepted = case.start(order)
    assert [run["id"] for run in case.runs_of(order)] == [accepted.run]
    assert case.issue(order) == before
    assert case.state.writes == ["POST ACM-1 rerun"]


def test_X1_an_issue_leaves_the_backlog_and_that_begins_the_run(case: MulticaSpawnerCase) -> None:
    order = case.order(Behaviour.HANGS, status="backlog")
    accepted = case.start(order)
    assert [run["id"] for run in case.runs_of(order)] == [accepted.run]
    assert case.issue(order)["status"] == "todo"
    assert case.state.writes == ['PUT ACM-1 {"status": "todo"}'], "one write, and no claim"
    assert case.start(tried_again(order)) == accepted


@pytest.mark.parametrize(
    "status", ["queued", "dispatched", "running", "waiting_local_directory", "deferred", "new one"]
)
def test_X2_nothing_is_begun_while_a_run_goes_on_or_waits(api: MulticaSpawnerCase, status: str) -> None:
    order = api.order()
    api.server.before = None
    api.state.add_run(api.issue(order)["id"], REVIEWER, status)
    error = refused(api, order)
    assert (error.failure.cause, error.unknown) == (Cause.NONE, False)
    assert status in str(error)
    assert api.state.writes == []
    assert api.look(order) == Sighting(Going.UNKNOWN), "it is not taken for ours"


def test_X5_nothing_is_begun_while_the_agent_is_at_work_on_another_issue(case: MulticaSpawnerCase) -> None:
    other, order = case.order(Behaviour.HANGS, agent="coo"), case.order(agent="coo")
    case.start(other)
    error = refused(case, order)
    assert (error.failure.cause, error.failure.outcome) == (Cause.NONE, Outcome.ABORTED)
    assert case.runs_of(order) == []


def test_an_issue_that_is_another_agents_by_now_is_left_to_it(api: MulticaSpawnerCase) -> None:
    order = api.order(agent="coo")
    for assignee in ({"assignee_id": REVIEWER}, {"assignee_type": None, "assignee_id": None}):
        api.issue(order).update(assignee)
        assert refused(api, order).failure.cause is Cause.NONE
    assert api.state.writes == []


def test_S6a_an_issue_of_a_squad_is_its_leaders(api: MulticaSpawnerCase) -> None:
    of_squad: dict[str, Any] = {"assignee_type": "squad", "assignee_id": CORE_SQUAD}
    led, order = api.order(agent="coo", **of_squad), api.order(agent="dev", **of_squad)
    assert refused(api, order).failure.cause is Cause.NONE
    api.start(led)
    assert api.runs_of(led)[0]["agent_id"] == CODEX


def test_X6_where_the_answer_was_lost_the_run_that_it_began_is_found_at_once(case: MulticaSpawnerCase) -> None:
    for status in ("todo", "backlog"):
        order = case.order(Behaviour.ANSWERS, status=status)
        case.server.break_with(resets, method=WRITES, times=1, after=True)
        accepted = case.start(order)
        assert [run["id"] for run in case.runs_of(order)] == [accepted.run]
        assert case.ended(order).outcome is Outcome.COMPLETED


def test_X6_a_request_that_never_arrived_is_waited_for_a_while_and_may_be_sent_again(api: MulticaSpawnerCase) -> None:
    order = api.order()
    api.server.break_with(resets, method=WRITES, times=1)
    error = refused(api, order)
    assert error.unknown
    assert error.failure.cause is Cause.ENGINE
    assert api.look(order) == Sighting(Going.RUNNING), "it may still arrive"
    assert not api.spawner().abort(order.attempt, patience())
    api.now += 61
    assert api.look(order) == Sighting(Going.UNKNOWN)
    assert api.spawner().abort(order.attempt, patience())
    api.start(tried_again(order))
    assert len(api.runs_of(order)) == 1


def test_X6_a_clock_that_was_set_back_does_not_make_it_wait_for_ever(api: MulticaSpawnerCase) -> None:
    order = api.order()
    api.server.break_with(resets, method=WRITES, times=1)
    refused(api, order)
    api.now -= 3600
    assert api.look(order) == Sighting(Going.UNKNOWN)


def test_X6_runs_that_were_there_before_are_never_taken_for_ours(api: MulticaSpawnerCase) -> None:
    order = api.order(Behaviour.HELD)
    identity = api.issue(order)["id"]
    earlier = api.state.add_run(identity, CODEX, "failed")
    other = api.state.add_run(identity, REVIEWER, "completed")
    api.lose_next_answer()
    assert refused(api, order).unknown
    (ours,) = [run for run in api.runs_of(order) if run["id"] not in (earlier["id"], other["id"])]
    api.server.faults.clear()
    assert api.start(tried_again(order)).run == ours["id"]
    assert len(api.runs_of(order)) == 3


def test_X6_multicas_own_try_to_do_an_earlier_run_again_is_not_ours(api: MulticaSpawnerCase) -> None:
    order = api.order()
    identity = api.issue(order)["id"]
    earlier = api.state.add_run(identity, CODEX, "failed")
    api.server.break_with(resets, method=WRITES, times=1)
    refused(api, order)
    api.state.add_run(identity, CODEX, "failed", parent_task_id=earlier["id"])
    api.now += 61
    assert api.look(order) == Sighting(Going.UNKNOWN)


def test_X6_in_doubt_a_run_that_somebody_else_began_counts_as_ours_and_no_second_is_begun(
    api: MulticaSpawnerCase,
) -> None:
    order = api.order(Behaviour.HELD)
    api.server.break_with(resets, method=WRITES, times=1)
    refused(api, order)
    theirs = api.state.add_run(api.issue(order)["id"], CODEX, "queued", kind="comment")
    assert api.start(tried_again(order)).run == theirs["id"]
    assert len(api.runs_of(order)) == 1


def test_a_run_that_multica_tries_again_is_as_its_last_try_is(api: MulticaSpawnerCase) -> None:
    order = api.order(Behaviour.HANGS)
    accepted = api.start(order)
    order = replace(order, attempt=replace(order.attempt, run=accepted.run))
    run = api.state.runs[accepted.run]
    api.look(order)
    run.update(status="failed", failure_reason="timeout", completed_at=api.state.now)
    assert api.look(order).outcome is Outcome.TIMED_OUT
    again = api.state.add_run(run["issue_id"], CODEX, "running", parent_task_id=run["id"], attempt=2)
    assert api.look(order).going is Going.RUNNING
    again.update(status="completed", completed_at=api.state.now)
    assert api.look(order).outcome is Outcome.COMPLETED


def test_what_a_run_cost_counts_in_whole_dollars_and_with_what_came_from_a_cache(case: MulticaSpawnerCase) -> None:
    order = case.order()
    case.start(order)
    usage = Usage(input_tokens=95511, output_tokens=845, cost_usd=412000000 * 1e-10)
    assert case.ended(order) == Sighting(
        Going.ENDED, Outcome.COMPLETED, model="anthropic/claude-sonnet-4-6", usage=usage
    )


@pytest.mark.parametrize(
    ("rows", "usage"),
    [
        (None, Usage()),
        ([], Usage()),
        ([{"model": "m", "input_tokens": 1, "output_tokens": 2}], Usage(1, 2, None)),
        (
            [{"input_tokens": 1, "output_tokens": 2, "cost_usd_ticks": 10**10}, {"output_tokens": 3}],
            Usage(None, 5, None),
        ),
        ([{"input_tokens": True, "output_tokens": -1, "cost_usd_ticks": "x"}, "odd"], Usage()),
    ],
)
def test_what_is_not_told_of_a_cost_is_not_known(api: MulticaSpawnerCase, rows: Any, usage: Usage) -> None:
    order = api.order(Behaviour.HANGS)
    run = api.state.runs[api.start(order).run]
    run.update(status="completed", usage=rows)
    assert api.look(order).usage == usage


@pytest.mark.parametrize(("reason", "expected"), REASONS.items())
def test_F3_multicas_words_for_a_failure_say_who_is_to_blame(reason: str, expected: tuple[Cause, Outcome]) -> None:
    failure = failure_of({"failure_reason": reason, "error": "something\x1b[31m went wrong"})
    assert (failure.cause, failure.outcome) == expected
    assert reason in failure.message
    assert "\x1b" not in failure.message


@pytest.mark.parametrize(
    ("run", "cause", "outcome"),
    [
        ({"failure_reason": "agent_error.provider_rate_limit"}, Cause.COOLS, Outcome.RATE_LIMITED),
        ({"failure_reason": "agent_error.other", "error": "429 Too Many Requests"}, Cause.COOLS, Outcome.RATE_LIMITED),
        ({"failure_reason": None, "error": "HTTP 402 payment required"}, Cause.REFUSES, Outcome.FAILED),
        ({"error": "nobody knows"}, Cause.COUNTS, Outcome.FAILED),
        ({}, Cause.COUNTS, Outcome.FAILED),
    ],
)
def test_F3_of_a_reason_that_is_not_known_the_text_decides(run: Any, cause: Cause, outcome: Outcome) -> None:
    failure = failure_of(run)
    assert (failure.cause, failure.outcome) == (cause, outcome)
    assert failure.message


@pytest.mark.parametrize(
    ("status", "body", "cause", "unknown"),
    [
        (400, {"error": "issue is not assigned to an agent or squad"}, Cause.NONE, False),
        (400, {"error": "invalid request body"}, Cause.TASK, False),
        (401, {"error": "invalid token"}, Cause.ENGINE, False),
        (402, {"error": "issue_outside_creation_window", "message": "It is too old."}, Cause.REFUSES, False),
        (403, {"error": "You may not.", "reason_code": "invocation_not_allowed"}, Cause.REFUSES, False),
        (404, {"error": "issue not found"}, Cause.NONE, False),
        (404, {"error": "workspace not found"}, Cause.ENGINE, False),
        (409, {"error": "The target status was archived."}, Cause.NONE, False),
        (429, {"error": "too many requests"}, Cause.ENGINE, False),
        (500, {"error": "failed to enqueue"}, Cause.ENGINE, False),
        (502, b"<html>", Cause.ENGINE, True),
    ],
)
def test_F3_a_refusal_to_begin_a_run_says_whose_matter_it_is(
    api: MulticaSpawnerCase, status: int, body: Any, cause: Cause, unknown: bool
) -> None:
    order = api.order()
    api.server.break_with(answers(status, body, Retry_After="7"), method=WRITES)
    error = refused(api, order)
    assert (error.failure.cause, error.unknown) == (cause, unknown)
    assert error.failure.code == status
    assert error.failure.retry_after == 7
    assert api.folder(order).exists() is unknown


def test_an_agent_that_we_may_not_run_is_told_with_the_servers_reason(case: MulticaSpawnerCase) -> None:
    """To leave the backlog wakes nobody then, and says nothing: a rerun does."""
    for status in ("todo", "backlog"):
        order = case.order(agent="coo", status=status)
        case.state.agents[CODEX].update(permission_mode="private", owner_id="somebody else")
        error = refused(case, order)
        assert error.failure.cause is Cause.REFUSES
        if case.transport == "api":
            assert "invocation_not_allowed" in str(error)
        assert case.runs_of(order) == []


@pytest.mark.parametrize("body", [[], {}, {"id": None}])
def test_an_answer_that_is_no_run_leaves_the_run_to_be_found(api: MulticaSpawnerCase, body: Any) -> None:
    order = api.order()
    api.server.break_with(answers(202, body), method=WRITES, after=True)
    assert api.start(order).run == api.runs_of(order)[0]["id"]


def test_X6_an_issue_that_left_the_backlog_and_whose_run_could_not_be_seen_is_in_doubt(
    api: MulticaSpawnerCase,
) -> None:
    order = api.order(Behaviour.HELD, status="backlog")
    work = api.server.before

    def fail_to_list(request: Request) -> None:
        assert work is not None
        work(request)
        if request.method == "PUT":
            api.server.break_with(answers(500, {"error": "failed to list"}), path="task-runs")

    api.server.before = fail_to_list
    error = refused(api, order)
    assert (error.failure.cause, error.unknown) == (Cause.ENGINE, True)
    api.server.before, api.server.faults[:] = work, []
    (run,) = api.runs_of(order)
    assert api.look(order).going is Going.RUNNING
    assert api.start(tried_again(order)).run == run["id"]
    assert len(api.runs_of(order)) == 1


def test_an_agent_or_a_task_that_multica_does_not_know_is_not_for_multica(api: MulticaSpawnerCase) -> None:
    order = api.order()
    for attempt in (
        replace(order.attempt, agent="nobody"),
        replace(order.attempt, refs=(Ref("workboard", "1"),)),
    ):
        error = refused(api, replace(order, attempt=attempt))
        assert error.failure.cause is Cause.TASK
        assert error.advice
    assert api.server.requests == []


def test_an_issue_that_was_deleted_has_no_run_any_more(case: MulticaSpawnerCase) -> None:
    order = case.order(Behaviour.HANGS)
    accepted = case.start(order)
    case.state.delete(case.issue(order))
    attempt = replace(order.attempt, run=accepted.run)
    assert case.spawner().look(attempt, patience()) == Sighting(Going.UNKNOWN)
    assert case.spawner().abort(attempt, patience())
    assert refused(case, order).failure.cause is Cause.NONE


def test_a_run_that_ends_while_it_is_cancelled_stays_as_it_ended(api: MulticaSpawnerCase) -> None:
    order = api.order(Behaviour.HANGS)
    run = api.state.runs[api.start(order).run]

    def finish(request: Request) -> None:
        if request.path.endswith("/cancel"):
            run.update(status="completed")

    api.server.before = finish
    assert api.spawner().abort(order.attempt, patience())
    assert api.look(order).outcome is Outcome.COMPLETED


def test_S4_a_server_that_hangs_is_not_waited_for_beyond_the_deadline(api: MulticaSpawnerCase) -> None:
    from heartbeat.deadline import Deadline

    order = api.order()
    api.server.break_with(hangs, method=WRITES)
    with pytest.raises(StartError) as late:
        api.spawner().start(order, Deadline.after(0.5))
    assert late.value.unknown
    api.server.break_with(hangs, method="GET")
    with pytest.raises(TransportError) as looked:
        api.spawner().look(order.attempt, Deadline.after(0.3))
    assert looked.value.kind is FailureKind.TIMEOUT


def test_without_an_api_the_command_is_asked_and_a_request_goes_one_way_only(
    api: MulticaSpawnerCase,
) -> None:
    order = api.order()
    roster = replace(ROSTER, sources={"multica": {"transport": "auto"}})
    built = build(roster, api._environment, api.runs)
    assert built is not None
    api.server.break_with(resets, path="/api/issues/[^/]+$", method="GET", times=3)
    assert built.start(order, patience()).run
    assert len(api.runs_of(order)) == 1


def test_a_roster_without_a_multica_that_lives_starts_nothing_there() -> None:
    assert build(replace(ROSTER, sources={}), {}) is None
    saved = {"multica": {"transport": "file", "path": "/x.json"}}
    assert build(replace(ROSTER, sources=saved), {}) is None


def test_forgetting_removes_what_was_on_record(api: MulticaSpawnerCase) -> None:
    order = api.order()
    api.start(order)
    assert api.folder(order).exists()
    api.spawner().forget(order.attempt)
    assert not api.folder(order).exists()
