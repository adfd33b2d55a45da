"""`heartbeat providers list`, `reset` and `test` (rules F1 to F4, X2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from heartbeat.attempt import Life, Outcome
from heartbeat.breaker import Breaker, State
from heartbeat.dispatch.trial import MESSAGE, SESSION
from heartbeat.store.locks import exclusive
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_models import Behaviour
from tests.support.fake_openclaw import FakeOpenClaw
from tests.support.openclaw_cases import NOW_MS
from tests.support.operations import AT, HOSTILE, MINUTE, NOW, looking, lose_memory, put_turns, remembering

MANAGED = """
dispatch: openclaw
failover: {strategy: managed}
providers:
  - {name: first, model: good/m}
  - {name: second, model: denied/m, max_retries: 1}
  - {name: third, model: gone/m, enabled: false}
"""
OPEN = Breaker("first", State.OPEN, 3, 2, NOW + 4 * MINUTE, why=HOSTILE, changed_at=NOW - MINUTE)


@pytest.fixture
def managed(team: Path) -> Path:
    """The sample team, which heartbeat starts, with providers of its own."""
    roster = team / "agents.yaml"
    live = roster.read_text().replace("transport: file, path: workboard.json", "transport: gateway")
    roster.write_text(live + MANAGED)
    return team


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """Its models: one that answers, one that is denied, and one that nobody answers for."""
    with FakeGateway(FakeBoard(lambda: NOW_MS), agents=("coo", "architect", "costcodev")) as gateway:
        gateway.turns.models = {"good/m": Behaviour.ANSWERS, "denied/m": Behaviour.DENIED, "held/m": Behaviour.HELD}
        gateway.turns.default = "good/m"
        yield gateway


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat(*words, cwd=team)


def asked(team: Path, gateway: FakeGateway, *words: str) -> Result:
    return heartbeat("providers", "test", *words, cwd=team, PATH="", **gateway.environment())


def lines(done: Result) -> list[str]:
    return [" ".join(line.split()) for line in done.out.splitlines()]


def verdicts(document: Any) -> dict[str, str]:
    return {each["subject"]: each["verdict"] for each in (*document["checks"], *document["tests"])}


# list


def test_the_list_tells_each_providers_state_its_numbers_and_who_is_next(managed: Path) -> None:
    with remembering(managed) as store:
        store.put_breaker(OPEN)
        put_turns(store)
    told = lines(at_four(managed, "providers"))
    assert told[0] == "Providers, in the order in which they are asked (strategy managed)"
    assert told[1] == "first open for 4m good/m last day: 1 failed"
    assert told[2].startswith("nobody asks it until 2026-11-21 12:04:00 CST, then one turn tries it; it has opened 2")
    assert "second ready, next denied/m last day: 1 running" in told
    assert "1 retry, 30s to accept a turn, 10m for a turn" in told
    assert "third disabled gone/m last day: no turn" in told
    assert "Engines" in told


def test_B8_why_a_breaker_opened_is_foreign_text_and_moves_no_cursor(managed: Path) -> None:
    with remembering(managed) as store:
        store.put_breaker(OPEN)
    done = at_four(managed, "providers")
    assert "because: 红[x](http://evil)" in done.out
    assert not set(done.out) & {"\x1b", "\x07", "\u202e", "\x00"}


def test_native_says_that_openclaw_chooses_and_what_is_on_record_all_the_same(team: Path) -> None:
    with remembering(team) as store:
        store.put_breaker(OPEN)
    done = at_four(team, "providers", "list")
    assert "OpenClaw chooses them (strategy native)" in done.out
    assert "On record, and not in the roster now" in done.out
    assert "the roster lets heartbeat start nobody (`dispatch: none`)" in done.out
    document = at_four(team, "providers", "--json").json
    assert (document["strategy"], document["agents"], document["next"]) == ("native", [], "native")
    assert [each["name"] for each in document["left"]] == ["first"]


def test_where_nobody_can_be_asked_it_is_said_why(managed: Path) -> None:
    with remembering(managed) as store:
        store.put_breaker(OPEN)
        store.put_breaker(replace(OPEN, provider="second"))
    document = at_four(managed, "providers", "--json").json
    assert document["next"] is None
    assert "nobody can be asked now" in document["next_told"]
    assert document["next_told"] in at_four(managed, "providers").out
    first = document["providers"][0]
    assert (first["state"], first["until"], first["available_at"]) == ("open", *2 * ("2026-11-21T04:04:00.000Z",))


def test_the_list_writes_nothing(managed: Path) -> None:
    before = tree(managed)
    assert heartbeat("providers", cwd=managed).code == 0
    assert tree(managed) == before


def test_a_file_of_providers_that_cannot_be_read_is_a_usage_error_with_its_place(managed: Path) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().split("providers:")[0] + "providers: providers.json\n")
    (managed / "providers.json").write_text('[{"name": "a", "priority": "high"}]')
    done = heartbeat("providers", cwd=managed)
    assert done.code == 2
    assert f"{managed / 'providers.json'}:1:" in done.err


# reset


def test_F2_a_reset_closes_the_breaker_and_what_began_before_is_late(managed: Path) -> None:
    with remembering(managed) as store:
        store.put_breaker(OPEN)
        store.put_breaker(replace(Breaker("second"), coolings=2, cooled_until=NOW + MINUTE, failures=1))
    done = at_four(managed, "providers", "reset", "first", "second", "--as", "coo", "--why", "key renewed")
    assert lines(done) == [
        "first: reset, it is asked again from now on; it was open",
        "second: reset, it is asked again from now on; it was rate-limited, one failure on",
    ]
    with looking(managed) as store:
        assert store.breakers() == {name: Breaker(name, changed_at=NOW) for name in ("first", "second")}
        entries = [each for each in store.log() if each.action == "provider-reset"]
    assert [each.details["by"] for each in entries] == ["coo", "coo"]
    assert entries[0].details["why"] == "key renewed"
    assert entries[0].details["was"] == ["open"]


def test_a_reset_is_told_as_json(managed: Path) -> None:
    with remembering(managed) as store:
        store.put_breaker(OPEN)
    document = at_four(managed, "providers", "reset", "first", "second", "--as", "coo", "--json").json
    assert (document["schema"], document["by"]) == ("heartbeat.reset/1", "coo")
    first, second = document["breakers"]
    assert (first["name"], first["reset"], first["was"], first["because"]) == ("first", True, ["open"], HOSTILE)
    assert (second["name"], second["reset"], second["was"]) == ("second", False, [])


def test_a_reset_of_what_is_well_changes_nothing(managed: Path) -> None:
    assert at_four(managed, "providers", "reset", "first").out == "first: nothing to reset, it is asked as ever\n"
    with looking(managed) as store:
        assert not store.breakers()
        assert not store.log()
    assert at_four(managed, "providers", "reset", "--all").out.startswith("No breaker is on record")


def test_all_breakers_are_reset_the_engines_and_old_names_too(managed: Path) -> None:
    with remembering(managed) as store:
        for name in ("first", "openclaw", "of-old"):
            store.put_breaker(replace(OPEN, provider=name))
    assert len(lines(at_four(managed, "providers", "reset", "--all"))) == 3
    with looking(managed) as store:
        assert {each.state for each in store.breakers().values()} == {State.CLOSED}


def test_F2_what_an_engine_chooses_by_itself_is_reset_for_all_agents_or_for_one(managed: Path) -> None:
    names = ("multica-native/architect", "multica-native/coo")
    with remembering(managed) as store:
        for name in names:
            store.put_breaker(replace(OPEN, provider=name))
    assert at_four(managed, "providers", "reset", names[0]).out.startswith("multica-native/architect: reset")
    done = at_four(managed, "providers", "reset", "multica-native")
    assert [line.partition(":")[0] for line in lines(done)] == list(names)
    with looking(managed) as store:
        assert {each.state for each in store.breakers().values()} == {State.CLOSED}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("reset",), "nothing is named to be reset"),
        (("reset", "--all", "first"), "--all and names do not go together"),
        (("reset", "frist"), "no provider is called 'frist'; nothing was done"),
        (("reset", "frist"), "perhaps first; there are: first, second, third, native"),
        (("reset", "nope"), "\n  there are: first, second, third"),
        (("test",), "nothing is named to be tested"),
        (("test", "openclaw"), "no provider is called 'openclaw'"),
    ],
)
def test_a_wrong_call_says_what_there_is(managed: Path, words: tuple[str, ...], told: str) -> None:
    done = heartbeat("providers", *words, cwd=managed)
    assert done.code == 2
    assert told in done.err


def test_B7_lost_memory_is_never_passed_over(managed: Path) -> None:
    lose_memory(managed)
    assert "memory-lost" in heartbeat("providers", cwd=managed).err


# test


def test_X2_without_a_turn_no_model_is_asked_and_nothing_is_written(managed: Path, gateway: FakeGateway) -> None:
    before = tree(managed)
    done = asked(managed, gateway, "first", "second", "--json")
    assert done.code == 0, done.out
    assert verdicts(done.json) == dict.fromkeys(("openclaw", "agents", "first", "second"), "works")
    assert gateway.turns.requests == []
    assert gateway.writes() == []
    assert tree(managed) == before
    assert done.json["with_turn"] is False
    shown = asked(managed, gateway, "first").out
    assert "whether it answers is not tested" in shown


def test_a_model_that_openclaw_does_not_have_or_has_no_key_for_is_found(managed: Path, gateway: FakeGateway) -> None:
    gateway.turns.lacking.add("good/m")
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().replace("denied/m", "denied/other"))
    done = asked(managed, gateway, "first", "second", "third", "--json")
    assert done.code == 1
    found = {each["subject"]: each for each in done.json["tests"]}
    assert found["first"]["verdict"] == "fails"
    assert "has no credentials" in found["first"]["message"]
    assert found["second"]["verdict"] == "doubtful"
    assert "does not list denied/other (it has denied/m, good/m, held/m)" in found["second"]["message"]
    assert found["third"]["verdict"] == "fails"
    assert "no model gone/m" in found["third"]["message"]


def test_with_native_the_agents_own_model_is_looked_at(managed: Path, gateway: FakeGateway) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().replace("strategy: managed", "strategy: native"))
    done = asked(managed, gateway, "--all", "--json")
    [test] = done.json["tests"]
    assert (test["subject"], test["verdict"]) == ("native", "works")
    assert test["message"].startswith("OpenClaw chooses; coo's own model is good/m")


def test_an_agent_that_openclaw_does_not_have_fails(managed: Path, gateway: FakeGateway) -> None:
    gateway.agents = ("coo",)
    done = asked(managed, gateway, "first", "--json")
    assert done.code == 1
    assert verdicts(done.json)["architect"] == "fails"
    assert asked(managed, gateway, "first", "--agent", "coo").code == 0


@pytest.mark.parametrize("grants", [{"operator.read"}, {"operator.write"}])
def test_a_token_without_both_scopes_fails(managed: Path, gateway: FakeGateway, grants: set[str]) -> None:
    gateway.grants = frozenset(grants)
    done = asked(managed, gateway, "first")
    assert done.code == 1
    [missing] = {"operator.read", "operator.write"} - grants
    assert f"lets heartbeat in without {missing}: no turn can be started" in " ".join(lines(done))


def test_R4_a_wrong_token_fails_and_is_not_shown(managed: Path, gateway: FakeGateway) -> None:
    environment = {**gateway.environment(), "OPENCLAW_GATEWAY_TOKEN": "wr0ng-s3cret", "PATH": ""}
    done = heartbeat("providers", "test", "--all", "--json", cwd=managed, **environment)
    assert done.code == 1
    assert verdicts(done.json) == {"openclaw": "fails", "first": "untested", "second": "untested"}
    assert "wr0ng-s3cret" not in done.out + done.err


def test_who_is_turned_away_by_the_gateway_may_have_the_program_and_that_is_told(
    managed: Path, gateway: FakeGateway, tmp_path: Path
) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().replace("transport: gateway", "transport: auto"))
    program = FakeOpenClaw(tmp_path / "bin")
    environment = {**gateway.environment(), **program.environment(managed), "OPENCLAW_GATEWAY_TOKEN": "wr0ng-s3cret"}
    with program.connected(gateway):
        done = heartbeat("providers", "test", "first", "--json", cwd=managed, **environment)
    assert done.code == 0, done.out
    [away, by, agents] = done.json["checks"]
    assert (away["verdict"], by["verdict"], agents["verdict"]) == ("doubtful", "works", "works")
    assert "turns are started by the program `openclaw`" in away["message"]
    assert verdicts(done.json)["first"] == "works"


def test_a_gateway_that_is_not_there_fails(managed: Path, gateway: FakeGateway) -> None:
    gateway.stop()
    done = asked(managed, gateway, "first")
    assert done.code == 1
    assert "nothing answers at" in done.out


def test_a_real_turn_is_collected_and_told_and_stands_on_record(managed: Path, gateway: FakeGateway) -> None:
    gateway.turns.priced = 0.00378
    done = asked(managed, gateway, "first", "--turn")
    assert done.code == 0, done.out
    [line] = [line for line in lines(done) if line.startswith("first works")]
    assert "a turn of coo completed in" in line
    assert line.endswith("good/m, 1,200 tokens in, 12 tokens out, $0.0038")
    assert [named for _, named in gateway.turns.requests] == ["good/m"]
    [sent] = gateway.turns.messages
    assert (sent["message"], sent["sessionKey"]) == (MESSAGE, f"agent:coo:{SESSION}")
    with looking(managed) as store:
        [attempt] = store.attempts()
        assert (attempt.outcome, attempt.refs, attempt.provider) == (Outcome.COMPLETED, (), "first")
        assert store.letters() == ()
        assert store.entries() == ()


def test_F3_a_turn_that_is_refused_fails_its_provider_and_opens_its_breaker(
    managed: Path, gateway: FakeGateway
) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text() + "on_complete: [[touch, hooked]]\n")
    done = asked(managed, gateway, "--all", "--turn", "--agent", "architect", "--json")
    assert done.code == 1
    found = {each["subject"]: each for each in done.json["tests"]}
    assert (found["first"]["verdict"], found["second"]["verdict"]) == ("works", "fails")
    assert found["second"]["turn"]["outcome"] == "failed"
    assert found["second"]["turn"]["agent"] == "architect"
    with looking(managed) as store:
        assert store.breakers()["second"].state is State.OPEN
        assert store.letters() == ()
        hooks = [each for each in store.entries() if each.kind.value == "hook"]
    assert hooks == []


def test_F2_a_turn_that_works_closes_a_breaker_whose_time_is_over(managed: Path, gateway: FakeGateway) -> None:
    with remembering(managed) as store:
        store.put_breaker(replace(OPEN, until=NOW, changed_at=NOW - MINUTE))
    assert asked(managed, gateway, "first", "--turn").code == 0
    with looking(managed) as store:
        assert store.breakers()["first"].state is State.CLOSED


def test_F2_one_that_works_while_its_breaker_is_open_says_how_to_let_beats_ask_it(
    managed: Path, gateway: FakeGateway
) -> None:
    opened = replace(OPEN, until=NOW + timedelta(days=36500), changed_at=NOW)
    with remembering(managed) as store:
        store.put_breaker(opened)
    done = asked(managed, gateway, "first", "--turn", "--json")
    [test] = done.json["tests"]
    assert test["verdict"] == "works"
    assert test["advice"] == "beats do not ask it yet: `heartbeat providers reset first` lets them"
    with looking(managed) as store:
        assert store.breakers()["first"] == opened


def test_a_turn_that_does_not_end_is_stopped(
    managed: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().replace("good/m", "held/m"))
    monkeypatch.setattr("heartbeat.dispatch.trial._TO_STOP", 29.5)
    monkeypatch.setattr("heartbeat.cli.dispatch.wait_for", lambda seconds: None)
    done = asked(managed, gateway, "first", "--turn", "--timeout", "30", "--json")
    assert done.code == 1
    [test] = done.json["tests"]
    assert test["turn"]["outcome"] == "aborted"
    assert "it had not ended after" in test["message"]
    [run] = gateway.turns.runs.values()
    assert run.status == "cancelled"


def test_X5_an_agent_that_has_a_turn_or_is_being_served_gets_no_second_one(managed: Path, gateway: FakeGateway) -> None:
    with exclusive(managed / "state" / "locks" / "coo.lock"):
        served = asked(managed, gateway, "first", "--turn")
    assert served.code == 1
    assert "coo is being served by" in served.out
    with remembering(managed) as store:
        put_turns(store)
    busy = asked(managed, gateway, "first", "--turn")
    assert busy.code == 1
    assert "coo has a turn that has not ended" in busy.out
    assert gateway.turns.requests == []
    with looking(managed) as store:
        assert {each.life for each in store.attempts()} == {Life.RUNNING, Life.ENDED}


def test_with_multica_the_agents_that_it_runs_are_looked_at_too(managed: Path, gateway: FakeGateway) -> None:
    roster = managed / "agents.yaml"
    roster.write_text(roster.read_text().replace("class: developer", "class: developer, dispatch: multica", 1))
    done = asked(managed, gateway, "first", "--json")
    assert verdicts(done.json)["multica"] == "fails"
    assert "reads a saved file" in json.dumps(done.json["checks"])
