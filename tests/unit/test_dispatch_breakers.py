"""Whose failures keep whom from work: a provider's everybody, an engine's own choice its agent alone (rules F2, F3)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.attempt import Attempt, Cause, Failure
from heartbeat.breaker import Breaker, State
from heartbeat.dispatch.base import Order
from heartbeat.provider import MULTICA_NATIVE, NATIVE, Failover, breaker_of, breakers_for
from heartbeat.report.providers import overview
from heartbeat.rules.dispatching import Reason, Skip
from tests.support.dispatching import MANAGED, DispatchTeam, card, worker
from tests.support.engines import Act, Answer, Fail, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

NO_MODEL = Fail(Failure(Cause.REFUSES, "404 the model does not exist"))


class Misconfigured(StandInSpawner):
    """An OpenClaw in which the model of the agent `a` does not exist."""

    def _next(self, state: object, order: Order) -> Act:
        return NO_MODEL if order.attempt.agent == "a" else Answer()


def team(folder: Path, **extra: object) -> DispatchTeam:
    cards = [card(f"{name}{number}", name) for name in ("a", "b") for number in range(20)]
    world = ScriptedWorld(ScriptedSystem(*cards))
    return DispatchTeam(world, folder, (worker("a"), worker("b")), engine=Misconfigured(), extra=extra)


def turns(group: DispatchTeam, agent: str) -> list[Attempt]:
    return [each for each in group.attempts if each.agent == agent]


def test_F2_an_agent_whose_own_model_does_not_exist_keeps_nobody_else_from_work(tmp_path: Path) -> None:
    group = team(tmp_path)
    kept: list[Reason] = []
    for _ in range(12):
        group.show_runs()
        decision = group.beat("a", "b").round.dispatched["b"].decision
        kept += [decision.reason] if isinstance(decision, Skip) else []
    assert Reason.BREAKER_OPEN not in kept
    assert len(turns(group, "b")) >= 9
    assert len(turns(group, "a")) < 6, "its own breaker keeps it from asking in vain"
    breakers = group.store.breakers()
    assert breakers["native/a"].state is not State.CLOSED
    assert "native/b" not in breakers
    told = [each for each in group.messages("ops") if each.key.startswith("breaker/")]
    assert {each.key.split("/202")[0] for each in told} == {"breaker/native/a"}


def test_F2_a_provider_that_heartbeat_names_is_everybodys(tmp_path: Path) -> None:
    group = team(tmp_path, **{**MANAGED, "providers": MANAGED["providers"][:1]})
    group.every = timedelta(seconds=10)
    for _ in range(2):
        group.dispatched("a")
    found = group.dispatched("b")
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.BREAKER_OPEN
    assert group.store.breakers()["first"].state is State.OPEN


def test_the_breakers_of_agents_that_the_roster_does_not_have_any_more_are_cleared_away(tmp_path: Path) -> None:
    group = team(tmp_path)
    for name in ("native", "native/gone", "native/a", "multica-native/b", "openclaw", "unheard-of"):
        group.store.put_breaker(Breaker(name, failures=1))
    group.dispatched("b")
    assert set(group.store.breakers()) == {"native/a", "multica-native/b", "openclaw"}


@pytest.mark.parametrize(
    ("provider", "name"),
    [(NATIVE, "native/a"), (MULTICA_NATIVE, "multica-native/a"), ("first", "first"), ("openclaw", "openclaw")],
)
def test_which_breaker_hears_of_an_agents_turn(provider: str, name: str) -> None:
    assert breaker_of(provider, "a") == name
    breaker = Breaker(name, failures=2)
    assert breakers_for("a", {name: breaker})[provider] is breaker
    assert (provider in breakers_for("b", {name: breaker})) is (provider == name)


def test_each_agents_own_breaker_is_listed_with_the_providers(tmp_path: Path) -> None:
    group = team(tmp_path)
    for _ in range(2):
        group.dispatched("a")
    seen = overview(Failover(), (), group.store.breakers(), group.attempts, group.now)
    assert [each.name for each in seen.providers] == ["native", "native/a"]
    assert seen.left == ()
    assert sum(seen.providers[0].ended.values()) == sum(seen.providers[1].ended.values()) >= 1
