"""Turns over a real Gateway: what the suite leaves out (rules X2, X6, F1, F3; contract 6.2, 6.3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.attempt import Cause, Outcome
from heartbeat.dispatch.base import Going, Order, StartError
from heartbeat.dispatch.gateway import key_of
from heartbeat.systems.openclaw.gateway import READ, WRITE
from tests.contract.spawner_suite import SpawnerCase, patience, tried_again
from tests.real.gateway import RealGateway
from tests.real.install import install_openclaw
from tests.real.rpc import RpcError
from tests.real.scripted_model import ScriptedModels
from tests.real.spawner_cases import RealGatewayCase, gateway_case
from tests.real.turns import until
from tests.real.wiretap import Wiretap
from tests.support.fake_models import Behaviour
from tests.support.gateway_spawner_cases import FakeGatewayCase, fake_case, model_of

pytestmark = pytest.mark.openclaw


@pytest.fixture
def case(tmp_path: Path) -> Iterator[RealGatewayCase]:
    with gateway_case(tmp_path) as case:
        yield case


@pytest.fixture
def imitated(tmp_path: Path) -> Iterator[FakeGatewayCase]:
    with fake_case(tmp_path) as case:
        yield case


def native(order: Order) -> Order:
    """The order, with the model left to OpenClaw."""
    return replace(order, model="", attempt=replace(order.attempt, model=""))


def in_session_of(order: Order, other: Order) -> Order:
    return replace(order, attempt=replace(order.attempt, session=other.attempt.session))


def refused(case: SpawnerCase, order: Order) -> StartError:
    with pytest.raises(StartError) as told:
        case.start(order)
    return told.value


def test_X2_a_turn_needs_to_read_and_to_write_and_the_agents_own_model_is_asked(case: RealGatewayCase) -> None:
    order = native(case.order())
    case.start(order)
    case.asked(order)
    assert case.look(order).going is Going.RUNNING
    case.let_go()
    seen = case.ended(order)
    assert (seen.outcome, seen.model) == (Outcome.COMPLETED, model_of(Behaviour.HELD))
    greetings = [each for each in case.wiretap.requests if each["method"] == "connect"]
    assert {tuple(each["params"]["scopes"]) for each in greetings} == {(READ, WRITE)}
    assert "sessions.patch" not in case.wiretap.methods
    assert [each["params"] for each in case.wiretap.requests if each["method"] == "agent"] == [
        {
            "message": order.message,
            "agentId": "coo",
            "sessionKey": key_of(order.attempt),
            "idempotencyKey": order.attempt.id,
            "timeout": 300,
            "deliver": False,
        }
    ]


def test_F1_a_model_that_was_set_for_one_turn_is_openclaws_own_again_for_the_next(case: RealGatewayCase) -> None:
    managed = case.order(Behaviour.MALFORMED)
    case.start(managed)
    assert case.ended(managed).model == model_of(Behaviour.MALFORMED)
    later = native(in_session_of(case.order(), managed))
    case.start(later)
    case.asked(later)
    case.let_go()
    assert case.ended(later).model == model_of(Behaviour.HELD)


def test_F3_what_cannot_begin_is_refused_alike_by_both(case: RealGatewayCase, imitated: FakeGatewayCase) -> None:
    for each in (case, imitated):
        order = each.order()
        unknown = refused(each, replace(order, model="nope/m"))
        assert (unknown.failure.cause, unknown.unknown) == (Cause.REFUSES, False)
        assert str(unknown).endswith('Unknown provider "nope". Use /models to list providers.')
        each.agent = "ghost"
        for ghost in (each.order(), native(each.order())):
            nobody = refused(each, ghost)
            assert (nobody.failure.cause, nobody.unknown) == (Cause.TASK, False), nobody
            assert "ghost" in str(nobody)
        assert each.calls(order) == 0


SHAPES: dict[str, frozenset[str]] = {
    "wait": frozenset({"runId", "status", "endedAt", "error", "stopReason", "timeoutPhase"}),
    "task": frozenset({"kind", "runtime", "status", "agentId", "sessionKey", "runId", "sourceId", "deliveryStatus"}),
    "answer": frozenset({"role", "provider", "model", "stopReason"}),
}


def records(case: RealGatewayCase | FakeGatewayCase, order: Order) -> dict[str, dict[str, Any]]:
    """What a Gateway has on record of one turn."""

    def call(method: str, **parameters: Any) -> Any:
        if isinstance(case, RealGatewayCase):
            return case.gateway.call(method, parameters)
        error, payload, _ = case.gateway.answer(method, parameters)
        assert error is None, error
        return payload

    key = key_of(order.attempt)
    (task,) = call("tasks.list", sessionKey=key)["tasks"]
    said = call("chat.history", sessionKey=key, limit=10)["messages"]
    answers = [each for each in said if each["role"] == "assistant"]
    (asked,) = [each for each in said if each["role"] == "user"]
    assert asked["idempotencyKey"] == f"{order.attempt.id}:user"
    told = {"wait": call("agent.wait", runId=order.attempt.id, timeoutMs=0), "task": task}
    return {**told, **({"answer": answers[0]} if answers else {})}


@pytest.mark.parametrize(
    ("behaviour", "stopped"),
    [
        (Behaviour.ANSWERS, False),
        (Behaviour.MALFORMED, False),
        (Behaviour.UNKNOWN_MODEL, False),
        (Behaviour.HANGS, False),
        (Behaviour.HANGS, True),
    ],
    ids=["answers", "400", "404", "times out", "is stopped"],
)
def test_a_fake_gateway_keeps_the_records_that_a_real_one_keeps(
    case: RealGatewayCase, imitated: FakeGatewayCase, behaviour: Behaviour, stopped: bool
) -> None:
    kept = []
    for each in (case, imitated):
        order = each.order(behaviour, run_seconds=each.short)
        each.start(order)
        if stopped:
            each.asked(order)
            each.spawner().abort(order.attempt, patience())
        each.outlast(each.short + 1.0)
        each.ended(order)
        kept.append(
            json.loads(
                json.dumps(records(each, order))
                .replace(order.attempt.id, "ID")
                .replace(order.attempt.session, "SESSION")
            )
        )
    real, fake = kept
    assert real.keys() == fake.keys()
    for record, names in SHAPES.items():
        if record not in real:
            continue
        mine, theirs = fake[record], real[record]
        assert mine.keys() <= theirs.keys(), record
        told = {name: theirs.get(name) for name in names - {"endedAt"}}
        assert {name: mine.get(name) for name in told} == told, record
        assert ("endedAt" in mine) is ("endedAt" in theirs), record


def test_both_refuse_to_stop_by_chat_abort_what_another_connection_began(
    case: RealGatewayCase, imitated: FakeGatewayCase
) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    parameters = {"sessionKey": key_of(order.attempt), "runId": order.attempt.id}
    with pytest.raises(RpcError, match="unauthorized"):
        case.gateway.call("chat.abort", parameters)
    assert case.spawner().abort(order.attempt, patience())
    order = imitated.order(Behaviour.HANGS)
    imitated.start(order)
    parameters = {"sessionKey": key_of(order.attempt), "runId": order.attempt.id}
    error, _, _ = imitated.gateway.answer("chat.abort", parameters, frozenset({READ, WRITE}), "another")
    assert error is not None
    assert error["message"] == "unauthorized"


@pytest.fixture
def restartable() -> Iterator[RealGatewayCase]:
    """A Gateway of a test's own."""
    with closing(ScriptedModels()) as models, RealGateway(install_openclaw()) as gateway:
        gateway.stop()
        models.provide(gateway, default=Behaviour.HELD)
        gateway.start()
        with Wiretap(gateway.url) as wiretap:
            yield RealGatewayCase(gateway, models, wiretap)


@pytest.mark.slow
def test_X6_after_a_restart_a_turn_is_followed_into_the_one_that_continues_it(restartable: RealGatewayCase) -> None:
    case = restartable
    answered, held = case.order(Behaviour.ANSWERS), case.order(Behaviour.HELD)
    case.start(answered)
    before = case.ended(answered)
    case.start(held)
    case.asked(held)
    case.gateway.stop()
    case.gateway.start()
    assert case.look(answered) == before
    assert case.look(held).going is Going.RUNNING
    assert case.start(tried_again(answered)).run == answered.attempt.id
    assert case.start(tried_again(held)).run == held.attempt.id
    until(lambda: case.calls(held) == 2, 60.0)
    case.let_go()
    seen = case.ended(held)
    assert (seen.outcome, seen.model) == (Outcome.COMPLETED, model_of(Behaviour.HELD))
    assert case.wiretap.methods.count("agent") == 2
    assert (case.calls(answered), case.calls(held)) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "outcome", "cause"),
    [
        (Behaviour.GONE, Outcome.FAILED, Cause.COUNTS),
        (Behaviour.FAILING, Outcome.FAILED, Cause.COUNTS),
        (Behaviour.LIMITED, Outcome.RATE_LIMITED, Cause.COOLS),
    ],
    ids=str,
)
def test_F3_what_openclaw_tries_again_for_minutes_is_told_when_it_gives_up(
    case: RealGatewayCase, imitated: FakeGatewayCase, behaviour: Behaviour, outcome: Outcome, cause: Cause
) -> None:
    kept = []
    for each in (case, imitated):
        order = each.order(behaviour)
        each.start(order)
        assert each.look(order).going is Going.RUNNING
        each.outlast(200.0)
        seen = each.ended(order, seconds=300.0)
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.cause) == (outcome, cause)
        kept.append((records(each, order)["task"]["status"], seen.failure.retry_after))
    assert kept[0] == kept[1]
