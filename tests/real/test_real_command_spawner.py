"""Turns by way of the real `openclaw` program and a real Gateway (rule X2, contract 6.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Outcome
from heartbeat.dispatch.base import Going, Order, StartError
from heartbeat.dispatch.command import CommandSpawner
from tests.contract.spawner_suite import patience, tried_again
from tests.real.gateway import RealGateway
from tests.real.scripted_model import ScriptedModels
from tests.real.spawner_cases import with_models
from tests.support.command_spawner_cases import CommandCase
from tests.support.fake_models import Behaviour
from tests.support.gateway_spawner_cases import model_of

pytestmark = pytest.mark.openclaw


class RealCommandCase(CommandCase):
    def __init__(self, directory: Path, gateway: RealGateway, models: ScriptedModels) -> None:
        super().__init__(directory)
        self.secret = gateway.token
        self.models = models
        self.variables = gateway.environment

    def spawner(self, *, settle: float = 6.0, grace: float = 12.0, slack: float = 60.0) -> CommandSpawner:
        return CommandSpawner(environment=self.variables, runs=self.runs, settle=settle, grace=grace, slack=slack)

    def model(self, behaviour: Behaviour | str) -> str:
        return model_of(Behaviour(behaviour))

    def calls(self, order: Order) -> int:
        return self.models.calls(order.attempt.id)

    def let_go(self) -> None:
        self.models.let_go()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[RealCommandCase]:
    opened = RealCommandCase(tmp_path, *with_models())
    try:
        yield opened
    finally:
        opened.close()


def test_X2_the_real_program_is_left_to_itself_and_its_turn_is_collected_later(case: RealCommandCase) -> None:
    order = case.order(Behaviour.HELD)
    accepted = case.start(order)
    case.asked(order)
    assert accepted.session == f"agent:coo:{order.attempt.session}"
    assert case.look(order).going is Going.RUNNING
    assert case.start(tried_again(order)) == accepted
    case.let_go()
    seen = case.ended(order)
    assert (seen.outcome, seen.failure, seen.exit_code, seen.model) == (Outcome.COMPLETED, None, 0, order.model)
    assert None not in (seen.usage.input_tokens, seen.usage.output_tokens, seen.usage.cost_usd)
    assert case.calls(order) == 1


@pytest.mark.parametrize(("behaviour", "cause"), [(Behaviour.DENIED, Cause.REFUSES), (Behaviour.MALFORMED, Cause.TASK)])
def test_F3_the_real_program_tells_of_a_model_that_refuses(
    case: RealCommandCase, behaviour: Behaviour, cause: Cause
) -> None:
    order = case.order(behaviour)
    case.start(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.exit_code) == (Outcome.FAILED, 1)
    assert seen.failure is not None
    assert seen.failure.cause is cause


def test_F1_the_real_program_tells_of_a_turn_that_outlasts_its_time(case: RealCommandCase) -> None:
    order = case.order(Behaviour.HANGS, run_seconds=3.0)
    case.start(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.failure is not None and seen.failure.cause) == (Outcome.TIMED_OUT, Cause.COUNTS)


def test_F1_the_real_program_has_the_gateway_end_a_turn_that_is_aborted(case: RealCommandCase) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    assert case.spawner().abort(order.attempt, patience())
    assert case.look(order).outcome is Outcome.ABORTED
    again = replace(case.order(Behaviour.ANSWERS).attempt, session=order.attempt.session)
    after = Order(again, f"once more ({again.id})", again.model, 60.0)
    case.start(after)
    assert case.ended(after).outcome is Outcome.COMPLETED, "the session is free at once"


@pytest.mark.parametrize(
    ("variables", "agent", "cause"),
    [
        ({"OPENCLAW_GATEWAY_PORT": "9"}, "coo", Cause.ENGINE),
        ({"OPENCLAW_GATEWAY_TOKEN": "wrong"}, "coo", Cause.ENGINE),
        ({}, "ghost", Cause.TASK),
    ],
    ids=["no Gateway", "wrong token", "unknown agent"],
)
def test_F3_the_real_program_that_asked_for_nothing_leaves_an_id_that_may_be_asked_again(
    case: RealCommandCase, variables: dict[str, str], agent: str, cause: Cause
) -> None:
    order = case.order(Behaviour.ANSWERS)
    case.variables = {**case.variables, **variables}
    with pytest.raises(StartError) as refused:
        case.start(replace(order, attempt=replace(order.attempt, agent=agent)))
    assert (refused.value.failure.cause, refused.value.unknown) == (cause, False), str(refused.value)
    assert case.look(order).going is Going.UNKNOWN
    assert case.calls(order) == 0
