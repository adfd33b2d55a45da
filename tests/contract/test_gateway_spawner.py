"""Turns over the Gateway's WebSocket, on the fake one and the real one: the suite, and what this way alone has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.attempt import Usage
from heartbeat.dispatch.base import Going
from tests.contract.spawner_suite import OpenSpawnerCase, SpawnerCase, SpawnerSuite, patience
from tests.real import spawner_cases
from tests.support import gateway_spawner_cases
from tests.support.fake_models import Behaviour

CASES: list[Any] = [*gateway_spawner_cases.CASES, *spawner_cases.CASES]


class TestTurnsOverTheGateway(SpawnerSuite):
    @pytest.fixture(params=CASES)
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SpawnerCase]:
        opened: OpenSpawnerCase = request.param
        with opened(tmp_path) as case:
            yield case

    def test_X6_which_model_answered_and_what_it_cost_is_told(self, case: SpawnerCase) -> None:
        order = case.order(Behaviour.ANSWERS)
        accepted = case.start(order)
        assert accepted.run == order.attempt.id
        assert accepted.session == f"agent:coo:{order.attempt.session}"
        seen = case.ended(order)
        assert seen.going is Going.ENDED
        assert seen.model == order.model
        assert (seen.usage.input_tokens, seen.usage.output_tokens) == (1200, 12)
        assert seen.usage.cost_usd == pytest.approx(gateway_spawner_cases.PRICE)

    def test_X3_two_turns_of_one_task_share_a_session_and_are_told_apart(self, case: SpawnerCase) -> None:
        first, second = case.order(Behaviour.MALFORMED), case.order(Behaviour.ANSWERS)
        second = replace(second, attempt=replace(second.attempt, session=first.attempt.session))
        case.start(first)
        failed = case.ended(first)
        case.start(second)
        ended = case.ended(second)
        assert ended.failure is None
        assert ended.usage != Usage()
        assert case.look(first) == failed
        # The session as its acceptance named it, which is what is on record from then on.
        named = replace(first.attempt, session=f"agent:coo:{first.attempt.session}")
        assert case.spawner().look(named, patience()) == failed
