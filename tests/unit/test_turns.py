"""What the Gateway's records say of a turn (contract 6.2, 6.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.attempt import Cause, Outcome, Usage
from heartbeat.dispatch.base import Going
from heartbeat.dispatch.turns import (
    LastWord,
    Run,
    Transcript,
    is_pending,
    is_recent,
    last_word,
    lineage,
    runs_of,
    sighting,
    transcript,
)
from heartbeat.systems.base import FailureKind, TransportError

OURS = f"hb-{'0' * 31}1"
OTHER = f"hb-{'0' * 31}2"
RESUMED = "6d1472ad-e28e-4a5b-b09f-e351acea2d97"
INTERRUPTED = "Task execution process exited before restart."
NOTHING = LastWord()


def run(identifier: str = OURS, status: str = "running", at: float = 1000.0, error: str = "") -> Run:
    return Run("task-1", identifier, status, error, at, None if status == "running" else at + 500.0)


def cut_off(identifier: str = OURS, at: float = 1000.0) -> Run:
    return run(identifier, "cancelled", at, INTERRUPTED)


def answer(identifier: str = OURS, **fields: Any) -> dict[str, Any]:
    usage = {"input": 1000, "output": 10, "cacheRead": 200, "cacheWrite": 30, "cost": {"total": 0.25}}
    told = {"role": "assistant", "provider": "p", "model": "m", "stopReason": "stop", "usage": usage}
    return {**told, "content": [{"type": "text", "text": "好的"}], "__openclaw": {"runId": identifier}, **fields}


def asked(identifier: str = OURS) -> dict[str, Any]:
    return {"role": "user", "content": "继续", "idempotencyKey": f"{identifier}:user", "__openclaw": {}}


class TestLineage:
    def test_a_turn_that_is_not_on_record_has_none(self) -> None:
        assert lineage([run(OTHER)], OURS) == ()

    def test_what_else_happened_in_the_session_is_no_part_of_it(self) -> None:
        mine = run(OURS, "completed")
        assert lineage([run(OTHER, at=5000.0), run(RESUMED, at=6000.0), mine], OURS) == (mine,)

    def test_a_turn_that_was_cut_off_goes_on_in_the_one_that_the_gateway_began_next(self) -> None:
        mine, resumed = cut_off(), run(RESUMED, at=5000.0)
        earlier = run("of-somebody", "completed", at=10.0)
        assert lineage([resumed, mine, earlier], OURS) == (mine, resumed)

    def test_it_may_be_cut_off_more_than_once(self) -> None:
        line = (cut_off(), cut_off(RESUMED, 5000.0), run("third", at=9000.0))
        assert lineage([line[2], line[1], line[0], run("fourth", at=9999.0)], OURS) == line

    def test_another_turn_of_ours_is_never_its_continuation(self) -> None:
        mine = cut_off()
        assert lineage([mine, run(OTHER, at=5000.0)], OURS) == (mine,)

    def test_a_subagent_that_it_began_is_not_its_continuation(self) -> None:
        mine, resumed = cut_off(), run(RESUMED, at=5000.0)
        before = run("begun-before-the-restart", "completed", at=1400.0)
        elsewhere = replace(run("in-its-own-session", at=4000.0), session="agent:coo:subagent:1")
        assert lineage([mine, before, elsewhere, resumed], OURS) == (mine, resumed)

    def test_a_turn_that_somebody_stopped_is_over(self) -> None:
        mine = run(OURS, "cancelled", error="Cancelled by operator.")
        assert lineage([mine, run(RESUMED, at=5000.0)], OURS) == (mine,)


class TestLastWord:
    @pytest.mark.parametrize("status", ["timeout", "ok", "error"])
    def test_without_an_end_it_says_nothing(self, status: str) -> None:
        assert last_word({"runId": OURS, "status": status}) == LastWord()

    def test_the_model_that_answered_is_told_and_not_the_one_that_was_asked_for(self) -> None:
        receipt = {"requested": {"provider": "a", "model": "m"}, "effective": {"provider": "b", "model": "n/o"}}
        assert last_word({"status": "ok", "endedAt": 1, "terminalReceipt": receipt}) == LastWord(
            "completed", "", "b/n/o", ended_at=1.0
        )

    def test_a_turn_that_was_stopped_is_told_from_one_that_failed(self) -> None:
        assert last_word({"status": "error", "endedAt": 1, "stopReason": "rpc"}).status == "cancelled"
        assert last_word({"status": "error", "endedAt": 1, "error": "no"}) == LastWord("failed", "no", ended_at=1.0)

    def test_a_time_out_with_an_end_is_one(self) -> None:
        told = {"status": "timeout", "endedAt": 1, "error": "Request timed out", "timeoutPhase": "provider"}
        assert last_word({**told, "providerStarted": True}) == LastWord("timed_out", "Request timed out", ended_at=1.0)
        assert last_word({**told, "providerStarted": False}).began is False
        assert last_word({**told, "timeoutPhase": "queue"}).began is False


def test_the_last_word_says_when_a_turn_ended_also_before_the_list_of_tasks_does() -> None:
    word = last_word({"status": "ok", "endedAt": 1_700_000_000_000})
    for listed in (run(OURS, "running"), run(OURS, "completed")):
        assert sighting(listed, word, Transcript()).ended_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


class TestTranscript:
    def test_a_turn_of_several_steps_costs_what_they_cost_together(self) -> None:
        page = {"messages": [asked(), answer(stopReason="toolUse"), answer(), answer(OTHER)], "hasMore": False}
        assert transcript(page, [OURS]) == Transcript("p/m", Usage(2460, 20, 0.5))

    def test_a_turn_that_was_taken_up_again_costs_both_parts(self) -> None:
        page = {"messages": [asked(), answer(), answer(RESUMED, model="n")], "hasMore": True}
        assert transcript(page, [OURS, RESUMED]) == Transcript("p/n", Usage(2460, 20, 0.5))

    def test_what_reaches_back_beyond_the_page_is_not_known(self) -> None:
        page = {"messages": [answer()], "hasMore": True}
        assert transcript(page, [OURS]) == Transcript("p/m", Usage())

    def test_a_step_that_does_not_tell_what_it_cost_makes_the_sum_unknown(self) -> None:
        page = {"messages": [asked(), answer(), answer(usage={"output": 3})]}
        assert transcript(page, [OURS]).usage == Usage(None, 13, None)

    def test_a_model_without_a_price_costs_an_unknown_sum_and_not_nothing(self) -> None:
        page = {"messages": [asked(), answer(usage={"input": 5, "output": 1, "cost": {"total": 0}})]}
        assert transcript(page, [OURS]).usage == Usage(5, 1, None)

    def test_why_it_failed_is_what_was_said_last(self) -> None:
        said = [{"type": "text", "text": "⚠️ LLM request failed (model not found, HTTP 404)."}]
        page = {"messages": [asked(), answer(stopReason="error", content=said)]}
        assert transcript(page, [OURS]).error == "⚠️ LLM request failed (model not found, HTTP 404)."

    def test_without_any_answer_nothing_is_known(self) -> None:
        assert transcript({"messages": [asked()]}, [OURS]) == Transcript()


class TestSighting:
    def test_a_turn_that_completed_has_no_failure(self) -> None:
        seen = sighting(
            run(status="completed"), LastWord("completed", model="p/m"), Transcript("q/n", Usage(1, 2, 0.5))
        )
        assert (seen.going, seen.outcome, seen.failure) == (Going.ENDED, Outcome.COMPLETED, None)
        assert (seen.model, seen.usage) == ("p/m", Usage(1, 2, 0.5))

    @pytest.mark.parametrize(
        ("row", "word", "told", "outcome", "cause", "code"),
        [
            ("failed", LastWord("failed", "LLM request failed."), "(HTTP 401)", Outcome.FAILED, Cause.REFUSES, 401),
            ("failed", NOTHING, "⚠️ (model not found, HTTP 404).", Outcome.FAILED, Cause.REFUSES, 404),
            ("failed", LastWord("failed", "it broke (HTTP 503)"), "", Outcome.FAILED, Cause.COUNTS, 503),
            (
                "failed",
                LastWord("failed", "⚠️ Rate limit reached for requests; Retry-After: 2 seconds"),
                "",
                Outcome.RATE_LIMITED,
                Cause.COOLS,
                None,
            ),
            ("failed", NOTHING, "", Outcome.FAILED, Cause.COUNTS, None),
            ("timed_out", LastWord("timed_out", "Request timed out."), "", Outcome.TIMED_OUT, Cause.COUNTS, None),
            ("timed_out", LastWord("timed_out", "", "", False), "", Outcome.TIMED_OUT, Cause.ENGINE, None),
            ("cancelled", LastWord("cancelled"), "", Outcome.ABORTED, Cause.NONE, None),
        ],
    )
    def test_F3_each_end_has_its_outcome_and_its_cause(
        self, row: str, word: LastWord, told: str, outcome: Outcome, cause: Cause, code: int | None
    ) -> None:
        seen = sighting(run(status=row), word, Transcript(error=told))
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.outcome, seen.failure.cause) == (outcome, outcome, cause)
        assert seen.failure.code == code
        assert seen.failure.message

    def test_a_model_that_could_not_be_reached_is_listed_as_a_time_out_and_is_none(self) -> None:
        listed = run(status="timed_out", error="LLM request failed: network connection error.")
        for word in (NOTHING, LastWord("failed", "LLM request failed: network connection error.")):
            seen = sighting(listed, word, Transcript())
            assert (seen.outcome, seen.failure and seen.failure.cause) == (Outcome.FAILED, Cause.COUNTS)
        slow = replace(
            listed, error="Request timed out before a response was generated. Please try again, or increase `ag…"
        )
        assert sighting(slow, NOTHING, Transcript()).outcome is Outcome.TIMED_OUT

    def test_of_several_models_no_single_status_is_the_turns(self) -> None:
        text = "All models failed (2): a/m: HTTP 400 Invalid request (format) | b/m: HTTP 500 it broke (server_error)"
        seen = sighting(run(status="failed"), LastWord("failed", text), Transcript(error="(HTTP 404)"))
        assert seen.failure is not None
        assert seen.failure.cause is Cause.COUNTS

    def test_a_turn_that_a_restart_cut_off_for_good_is_lost_and_no_providers_failure(self) -> None:
        seen = sighting(cut_off(), NOTHING, Transcript("p/m", Usage(1, 2)))
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.cause) == (Outcome.LOST, Cause.ENGINE)
        assert (seen.model, seen.usage) == ("p/m", Usage(1, 2))


class TestRestarts:
    KEY = "agent:coo:hb-1"

    @pytest.mark.parametrize(
        ("row", "pending"),
        [
            ({"status": "running", "abortedLastRun": True, "hasActiveRun": False}, True),
            ({"status": "running", "abortedLastRun": False, "hasActiveRun": True}, False),
            ({"status": "killed", "abortedLastRun": True}, False),
        ],
    )
    def test_a_session_says_whether_its_turn_is_to_be_taken_up(self, row: dict[str, Any], pending: bool) -> None:
        other = {"key": "agent:coo:hb-2", "status": "running", "abortedLastRun": True}
        page = {"ts": 1, "sessions": [other, {"key": "agent:COO:hb-1", **row}]}
        assert is_pending(page, self.KEY) is pending
        assert is_pending({"sessions": []}, self.KEY) is False

    def test_a_gateway_that_has_just_come_up_may_not_have_said_so_yet(self) -> None:
        assert is_recent({"ts": 61_499, "sessions": []}, cut_off(), 60_000.0)
        assert not is_recent({"ts": 61_500, "sessions": []}, cut_off(), 60_000.0)
        assert is_recent({"sessions": []}, cut_off(), 60_000.0), "without its clock nobody can tell"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tasks", "runId", "status", "messages", "role", "usage", "cost", "__openclaw", "endedAt", "ts"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_a_gateway_answers_is_read_or_refused_as_unreadable(document: Any) -> None:
    for read in (runs_of, last_word, lambda page: transcript(page, [OURS]), lambda page: is_pending(page, "k")):
        try:
            read(document)
        except TransportError as refused:
            error = refused
        else:
            continue
        assert error.kind is FailureKind.BAD_OUTPUT


def test_tasks_that_are_no_turns_are_passed_over() -> None:
    page = {"tasks": [None, {"kind": "cron"}, {"runId": OURS, "taskId": "t", "status": "queued", "createdAt": 5}]}
    assert runs_of(page) == (Run("t", OURS, "queued", "", 5.0, None),)
