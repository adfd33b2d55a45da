"""Turns over a Gateway that refuses, restarts, forgets or talks nonsense (rules X2, X6, F3; contract 2.1, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Outcome, Usage
from heartbeat.deadline import Deadline
from heartbeat.dispatch import gateway as over_gateway
from heartbeat.dispatch.base import Going, Order, StartError
from heartbeat.systems.base import TransportError
from heartbeat.systems.openclaw.gateway import ADMIN, READ, WRITE, GatewayClient, GatewayTransport
from tests.contract.spawner_suite import patience, tried_again
from tests.support.fake_gateway import Trouble
from tests.support.fake_models import Behaviour
from tests.support.gateway_spawner_cases import FakeGatewayCase, fake_case, model_of

WITHOUT_SENSE = [
    Trouble.NOT_JSON,
    Trouble.NOT_UTF8,
    Trouble.BINARY,
    Trouble.EMPTY,
    Trouble.CUT,
    Trouble.WRONG_SHAPE,
    Trouble.DROPPED,
    Trouble.WEB_PAGE,
    Trouble.OTHER_PROTOCOL,
    Trouble.TELLTALE,
]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[FakeGatewayCase]:
    with fake_case(tmp_path) as case:
        yield case


def native(case: FakeGatewayCase, order: Order | None = None) -> Order:
    """An order that leaves the model to OpenClaw."""
    order = order or case.order()
    return replace(order, model="", attempt=replace(order.attempt, model=""))


def methods(case: FakeGatewayCase) -> list[str]:
    return [call.method for call in case.gateway.calls]


class TestWhatIsAsked:
    def test_R4_no_more_is_asked_for_than_to_read_and_to_write(self, case: FakeGatewayCase) -> None:
        for order in (case.order(Behaviour.HANGS), native(case)):
            case.start(order)
            case.look(order)
            case.spawner().abort(order.attempt, patience())
        scopes = {tuple(greeting["scopes"]) for greeting in case.gateway.greetings}
        assert scopes == {(READ, WRITE)}

    def test_X2_the_turn_is_asked_for_by_its_id_in_its_session_and_for_its_time(self, case: FakeGatewayCase) -> None:
        order = native(case, case.order(run_seconds=599.2))
        case.start(order)
        assert case.gateway.turns.messages == [
            {
                "message": order.message,
                "agentId": "coo",
                "sessionKey": f"agent:coo:{order.attempt.session}",
                "idempotencyKey": order.attempt.id,
                "timeout": 600,
                "deliver": False,
            }
        ]

    def test_F1_a_named_model_answers_although_openclaw_has_another_and_a_fallback(self, case: FakeGatewayCase) -> None:
        case.gateway.turns.fallback = model_of(Behaviour.ANSWERS)
        order = case.order(Behaviour.MALFORMED)
        case.start(order)
        assert case.ended(order).model == model_of(Behaviour.MALFORMED)
        assert case.calls(order) == 1

    def test_F1_native_leaves_the_model_and_what_follows_it_to_openclaw(self, case: FakeGatewayCase) -> None:
        turns = case.gateway.turns
        turns.default, turns.fallback = model_of(Behaviour.DENIED), model_of(Behaviour.ANSWERS)
        order = native(case)
        case.start(order)
        seen = case.ended(order)
        assert (seen.outcome, seen.model) == (Outcome.COMPLETED, model_of(Behaviour.ANSWERS))
        assert case.calls(order) == 2
        assert "sessions.patch" not in methods(case)

    def test_F1_a_session_that_had_a_model_set_is_openclaws_again_when_models_are(self, case: FakeGatewayCase) -> None:
        managed = case.order(Behaviour.MALFORMED)
        case.start(managed)
        case.ended(managed)
        later = native(case)
        later = replace(later, attempt=replace(later.attempt, session=managed.attempt.session))
        case.start(later)
        assert case.ended(later).model == case.gateway.turns.default

    def test_the_second_response_to_one_request_disturbs_no_later_one(self, case: FakeGatewayCase) -> None:
        order = native(case)
        parameters = {"message": "继续", "agentId": "coo", "sessionKey": "agent:coo:hb-1", "idempotencyKey": "hb-1"}
        with GatewayClient(GatewayTransport(case.environment).address(), (READ, WRITE)) as client:
            assert client.call("agent", parameters, patience())["status"] == "accepted"
            assert client.call("agent.wait", {"runId": "hb-1", "timeoutMs": 0}, patience())["status"] == "ok"
            assert client.call("health", {}, patience())["ok"]
        assert case.look(order).going is Going.UNKNOWN

    def test_X3_an_agent_whose_name_has_capitals_has_its_sessions_in_lower_case(self, case: FakeGatewayCase) -> None:
        order = case.order()
        named = replace(order.attempt, agent="COO", session="HB-1")
        assert over_gateway.key_of(named) == over_gateway.key_of(replace(named, session="agent:COO:hb-1"))


class TestRefusals:
    def test_F3_an_agent_that_openclaw_does_not_have_is_the_tasks_fault(self, case: FakeGatewayCase) -> None:
        case.agent = "ghost"
        for order in (case.order(), native(case)):
            with pytest.raises(StartError, match="ghost") as refused:
                case.start(order)
            assert (refused.value.failure.cause, refused.value.unknown) == (Cause.TASK, False)
            assert "openclaw agents list" in refused.value.advice

    def test_F3_a_provider_that_openclaw_does_not_know_refuses(self, case: FakeGatewayCase) -> None:
        order = replace(case.order(), model="nope/m")
        with pytest.raises(StartError, match='Unknown provider "nope"') as refused:
            case.start(order)
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.REFUSES, False)
        assert "providers" in refused.value.advice
        assert case.look(order).going is Going.UNKNOWN

    def test_F3_a_token_that_is_wrong_is_the_engines_failure_and_is_not_repeated(self, case: FakeGatewayCase) -> None:
        case.environment["OPENCLAW_GATEWAY_TOKEN"] = "wrong-0123456789"
        with pytest.raises(StartError) as refused:
            case.start(case.order())
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
        assert "wrong-0123456789" not in str(refused.value)
        assert "OPENCLAW_GATEWAY_TOKEN" in refused.value.advice

    def test_F3_scopes_that_are_not_granted_are_the_engines_failure(self, case: FakeGatewayCase) -> None:
        case.gateway.grants = frozenset({READ})
        with pytest.raises(StartError, match=f"missing scope: {WRITE}") as refused:
            case.start(native(case))
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)

    def test_no_model_is_ever_named_with_the_request_itself(self, case: FakeGatewayCase) -> None:
        case.start(case.order())
        (sent,) = case.gateway.turns.messages
        assert not {"model", "provider"} & sent.keys()
        assert all(ADMIN not in call.scopes for call in case.gateway.calls)


class TestTrouble:
    @pytest.mark.parametrize("trouble", WITHOUT_SENSE)
    def test_F3_a_gateway_that_talks_nonsense_is_no_providers_failure(
        self, case: FakeGatewayCase, trouble: Trouble
    ) -> None:
        order = case.order()
        case.gateway.trouble = trouble
        with pytest.raises(StartError) as refused:
            case.start(order)
        with pytest.raises(TransportError):
            case.look(order)
        with pytest.raises(TransportError):
            case.spawner().abort(order.attempt, patience())
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
        assert case.secret not in str(refused.value)
        case.gateway.trouble = None
        assert case.look(order).going is Going.UNKNOWN

    def test_S4_a_gateway_that_says_nothing_is_left_at_the_deadline(self, case: FakeGatewayCase) -> None:
        case.gateway.trouble = Trouble.SILENT
        order = case.order()
        with pytest.raises(StartError, match="did not answer") as late:
            case.spawner().start(order, Deadline.after(0.3))
        assert (late.value.failure.cause, late.value.unknown) == (Cause.ENGINE, False)
        with pytest.raises(TransportError, match="did not answer"):
            case.spawner().look(order.attempt, Deadline.after(0.3))

    def test_a_gateway_that_starts_is_waited_for(self, case: FakeGatewayCase) -> None:
        case.gateway.trouble, case.gateway.starting_times = Trouble.STARTING, 1
        order = case.order()
        case.start(order)
        assert case.ended(order).outcome is Outcome.COMPLETED

    def test_X6_an_answer_that_makes_no_sense_leaves_it_open_whether_the_turn_began(
        self, case: FakeGatewayCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order, turns = native(case), case.gateway.turns
        really = turns.handle

        def mumbled(method: str, *rest: object) -> object:
            payload = really(method, *rest)  # type: ignore[arg-type]
            return {"status": "?"} if method == "agent" else payload

        monkeypatch.setattr(turns, "handle", mumbled)
        with pytest.raises(StartError, match="answered agent with something else") as unclear:
            case.start(order)
        assert (unclear.value.failure.cause, unclear.value.unknown) == (Cause.ENGINE, True)
        monkeypatch.undo()
        assert case.ended(order).outcome is Outcome.COMPLETED

    def test_X6_a_session_that_may_not_be_read_hides_what_the_turn_cost_and_not_its_end(
        self, case: FakeGatewayCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hidden(_parameters: object) -> object:
            raise ValueError("session not found")

        order = case.order()
        case.start(order)
        monkeypatch.setattr(case.gateway.sessions, "history", hidden)
        seen = case.ended(order)
        assert (seen.outcome, seen.usage) == (Outcome.COMPLETED, Usage())
        assert seen.model == order.model, "as agent.wait tells"

    def test_a_session_with_very_many_turns_is_read_page_by_page_and_to_its_end(
        self, case: FakeGatewayCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(over_gateway, "_TASKS_PAGE", 2)
        first = case.order(Behaviour.MALFORMED)
        orders = [first]
        for _ in range(4):
            another = case.order()
            orders.append(replace(another, attempt=replace(another.attempt, session=first.attempt.session)))
        for order in orders:
            case.start(order)
        assert case.ended(first).outcome is Outcome.FAILED
        monkeypatch.setattr(over_gateway, "_TASKS_PAGES", 2)
        with pytest.raises(TransportError, match="more than 4 tasks"):
            case.look(first)


class TestRestarts:
    def test_X6_what_ended_before_a_restart_is_told_after_it(self, case: FakeGatewayCase) -> None:
        answered, failed = case.order(), case.order(Behaviour.DENIED)
        before = []
        for order in (answered, failed):
            case.start(order)
            before.append(case.ended(order))
        case.gateway.turns.restart()
        after = [case.look(order) for order in (answered, failed)]
        assert [seen.outcome for seen in after] == [Outcome.COMPLETED, Outcome.FAILED]
        assert after[0] == before[0]
        assert after[1].failure is not None
        assert (after[1].failure.cause, after[1].failure.code) == (Cause.REFUSES, 401)

    def test_X6_no_id_is_ever_sent_again_after_the_gateway_has_forgotten_it(self, case: FakeGatewayCase) -> None:
        order = case.order()
        first = case.start(order)
        before = case.ended(order)
        for seconds in (601.0, 0.0):
            case.outlast(seconds)
            if not seconds:
                case.gateway.turns.restart()
            assert case.start(tried_again(order)).run == first.run
            assert case.look(order) == before
        assert methods(case).count("agent") == 1
        assert case.calls(order) == 1

    def test_X6_a_turn_that_the_gateway_takes_up_again_goes_on_under_its_new_name(self, case: FakeGatewayCase) -> None:
        order, turns = case.order(Behaviour.HELD), case.gateway.turns
        case.start(order)
        case.outlast(1.0)
        turns.restart()
        assert case.look(order).going is Going.RUNNING, "it is to be taken up"
        case.outlast(300.0)
        assert case.look(order).going is Going.RUNNING, "it takes up one after the other"
        turns.take_up(order.attempt.id)
        assert case.look(order).going is Going.RUNNING
        assert case.start(tried_again(order)).run == order.attempt.id
        turns.let_go()
        seen = case.look(order)
        assert (seen.outcome, seen.model) == (Outcome.COMPLETED, model_of(Behaviour.HELD))
        assert seen.usage.input_tokens == 1200
        assert methods(case).count("agent") == 1

    def test_F1_what_was_taken_up_again_is_stopped_with_the_turn(self, case: FakeGatewayCase) -> None:
        order, turns = case.order(Behaviour.HANGS), case.gateway.turns
        case.start(order)
        case.outlast(1.0)
        turns.restart()
        resumed = turns.take_up(order.attempt.id)
        assert case.spawner().abort(order.attempt, patience())
        assert turns.runs[resumed].status == "cancelled"
        assert case.look(order).outcome is Outcome.ABORTED

    def test_X6_a_turn_that_is_not_taken_up_is_lost_when_the_gateway_says_nothing_of_it(
        self, case: FakeGatewayCase
    ) -> None:
        order = case.order(Behaviour.HANGS)
        case.start(order)
        case.gateway.turns.restart()
        session = case.gateway.sessions.records[over_gateway.key_of(order.attempt)]
        session |= {"status": "killed"}
        assert case.look(order).going is Going.RUNNING, "it has only just come up"
        case.outlast(61.0)
        seen = case.look(order)
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.cause) == (Outcome.LOST, Cause.ENGINE)

    def test_F1_a_turn_that_waits_to_be_taken_up_does_not_run(self, case: FakeGatewayCase) -> None:
        order = case.order(Behaviour.HANGS)
        case.start(order)
        case.gateway.turns.restart()
        assert case.spawner().abort(order.attempt, patience())

    @pytest.mark.parametrize(
        ("behaviour", "outcome", "cause", "seconds"),
        [
            (Behaviour.GONE, Outcome.FAILED, Cause.COUNTS, 90.0),
            (Behaviour.FAILING, Outcome.FAILED, Cause.COUNTS, 90.0),
            (Behaviour.LIMITED, Outcome.RATE_LIMITED, Cause.COOLS, 150.0),
        ],
    )
    def test_F3_what_openclaw_tries_again_for_long_is_told_when_it_gives_up(
        self, case: FakeGatewayCase, behaviour: Behaviour, outcome: Outcome, cause: Cause, seconds: float
    ) -> None:
        order = case.order(behaviour)
        case.start(order)
        assert case.look(order).going is Going.RUNNING
        case.outlast(seconds)
        seen = case.look(order)
        case.gateway.turns.restart()
        later = case.look(order)
        for each in (seen, later):
            assert each.failure is not None
            assert (each.outcome, each.failure.cause) == (outcome, cause)
            assert each.failure.retry_after == (2.0 if behaviour is Behaviour.LIMITED else None)
