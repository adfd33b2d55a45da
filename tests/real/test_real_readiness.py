"""What can be known of providers without a turn, and by one short turn, on a real Gateway (rules X2, F1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Engine, Outcome
from heartbeat.breaker import State
from heartbeat.deadline import Deadline
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.engines import build_spawner
from heartbeat.dispatch.readiness import Readiness, Verdict, examine_openclaw
from heartbeat.dispatch.trial import SESSION, try_turn
from heartbeat.provider import Failover, Provider, Strategy
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.memory import MemoryStore
from tests.real.gateway import RealGateway
from tests.real.install import install_openclaw
from tests.real.scripted_model import ScriptedModels
from tests.real.spawner_cases import with_models
from tests.support.fake_models import Behaviour
from tests.support.gateway_spawner_cases import fake_case, model_of
from tests.support.rosters import make_agent

pytestmark = pytest.mark.openclaw

WORKING, UNKNOWN, STRANGE = model_of(Behaviour.ANSWERS), "nope/m", f"{model_of(Behaviour.ANSWERS)}-of-old"
DENIED = model_of(Behaviour.DENIED)
NAMES = {"working": WORKING, "unknown": UNKNOWN, "strange": STRANGE, "denied": DENIED}
MANAGED = Failover(Strategy.MANAGED, tuple(Provider(name, model) for name, model in NAMES.items()))


@dataclass(frozen=True, slots=True)
class Case:
    """An environment in which there is a Gateway."""

    environment: dict[str, str]

    @property
    def secret(self) -> str:
        return self.environment["OPENCLAW_GATEWAY_TOKEN"]


@pytest.fixture(params=["real", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """The real Gateway, and the fake one that stands for it everywhere else."""
    if request.param == "real":
        yield Case(dict(with_models()[0].environment))
        return
    with fake_case(tmp_path) as fake:
        yield Case(dict(fake.environment))


def roster(folder: Path, transport: str = "auto") -> Roster:
    agents = {name: make_agent(name, "high_frequency") for name in ("coo", "nobody")}
    return Roster(
        path=folder / "agents.yaml",
        timezone="UTC",
        operator=Operator("Vincent"),
        agents=agents,
        sources={"workboard": {"transport": transport}},
        state=folder / "state",
    )


def examined(case: Case, folder: Path, *agents: str, failover: Failover = MANAGED) -> Readiness:
    return examine_openclaw(roster(folder), case.environment, failover, agents, Deadline.after(60))


def test_models_agents_and_scopes_are_known_without_a_turn(case: Case, tmp_path: Path) -> None:
    found = examined(case, tmp_path, "coo", "nobody")
    verdicts = {each.subject: each.verdict for each in found.findings}
    assert verdicts == {
        "openclaw": Verdict.WORKS,
        "agents": Verdict.WORKS,
        "nobody": Verdict.FAILS,
        "working": Verdict.WORKS,
        "unknown": Verdict.FAILS,
        "strange": Verdict.DOUBTFUL,
        "denied": Verdict.WORKS,
    }, found
    assert case.secret not in repr(found)


def test_the_agents_own_model_is_told(case: Case, tmp_path: Path) -> None:
    [native] = examined(case, tmp_path, "coo", failover=Failover()).providers
    assert native.verdict is Verdict.WORKS
    assert native.told.startswith("OpenClaw chooses; coo's own model is ")


def test_without_a_websocket_the_program_is_asked(tmp_path: Path) -> None:
    environment = with_models()[0].environment
    found = examine_openclaw(roster(tmp_path, "cli"), environment, MANAGED, ["coo"], Deadline.after(60))
    assert {each.subject: each.verdict for each in found.findings} == {
        "openclaw": Verdict.WORKS,
        "agents": Verdict.WORKS,
        "working": Verdict.WORKS,
        "unknown": Verdict.FAILS,
        "strange": Verdict.DOUBTFUL,
        "denied": Verdict.WORKS,
    }, found


def test_where_no_agent_is_known_nothing_is_said_of_models(case: Case, tmp_path: Path) -> None:
    found = examined(case, tmp_path, "nobody")
    assert {each.verdict for each in found.providers} == {Verdict.UNTESTED}


def test_a_wrong_token_is_turned_away_and_not_shown(case: Case, tmp_path: Path) -> None:
    case.environment.update(OPENCLAW_GATEWAY_TOKEN="wr0ng-s3cret", PATH="")
    found = examined(case, tmp_path, "coo")
    [engine] = found.engine
    assert engine.verdict is Verdict.FAILS
    assert {each.verdict for each in found.providers} == {Verdict.UNTESTED}
    assert "wr0ng-s3cret" not in repr(found)


def test_a_turn_shows_who_answers_and_who_does_not(case: Case, tmp_path: Path) -> None:
    store = MemoryStore()
    context = Context(
        roster(tmp_path),
        case.environment,
        store,
        tmp_path,
        lambda: datetime.now(UTC),
        Deadline.after(90),
        MANAGED,
        spawner=build_spawner,
    )
    works = try_turn(context, "coo", MANAGED.providers[0], "lin").attempt
    assert (works.outcome, works.model, works.engine) == (Outcome.COMPLETED, WORKING, Engine.OPENCLAW)
    assert works.usage.input_tokens
    assert works.session.endswith(SESSION)
    fails = try_turn(replace(context, deadline=Deadline.after(90)), "coo", MANAGED.providers[3], "lin").attempt
    assert (fails.outcome, fails.cause) == (Outcome.FAILED, Cause.REFUSES), fails.error
    assert store.breakers()["denied"].state is State.OPEN
    assert [each.refs for each in store.attempts()] == [(), ()]
    assert store.letters() == ()


def test_a_model_that_may_not_be_used_or_has_no_key_is_found_by_its_list() -> None:
    """An allow-list leaves out of the list what is not on it; a key that is missing is told of (OpenClaw alone)."""
    models = ScriptedModels()
    gateway = RealGateway(install_openclaw())
    try:
        models.provide(gateway, default=Behaviour.ANSWERS)
        path = gateway.state_directory / "openclaw.json"
        configuration = json.loads(path.read_text())
        providers = configuration["models"]["providers"]
        providers["keyless"] = {**providers["answers"], "apiKey": "${NOT_SET_ANYWHERE}"}
        configuration["agents"]["defaults"]["models"] = {WORKING: {}, "keyless/m": {}}
        path.write_text(json.dumps(configuration))
        with gateway:
            listed = Failover(
                Strategy.MANAGED,
                (Provider("working", WORKING), Provider("keyless", "keyless/m"), Provider("barred", DENIED)),
            )
            found = examined(Case(gateway.environment), gateway.home, "coo", failover=listed)
            assert [each.verdict for each in found.providers] == [Verdict.WORKS, Verdict.FAILS, Verdict.FAILS]
            assert "no credentials" in found.providers[1].told
    finally:
        models.close()
