"""What `heartbeat doctor` and `heartbeat health` say of agents that heartbeat starts (rules X2, X6, F2, F4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from heartbeat.attempt import DeadLetter, LetterState
from heartbeat.breaker import Breaker, State
from heartbeat.rules.unfinished import OVERDUE, STUCK, overdue
from heartbeat.task import Ref
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard
from tests.support.fake_gateway import FakeGateway
from tests.support.openclaw_cases import NOW_MS
from tests.support.operations import AT, FAILED, MINUTE, NOW, put_turns, remembering
from tests.support.receipts import attempt, over

LETTER = DeadLetter(
    "dl-1", "multica:x", (Ref("multica", "x"),), "title", "coo", NOW, NOW, "why", state=LetterState.EXHAUSTED
)


@pytest.fixture
def started(team: Path) -> Path:
    """The sample team, which heartbeat starts; its board is the Gateway's."""
    roster = team / "agents.yaml"
    live = roster.read_text().replace("transport: file, path: workboard.json", "transport: gateway")
    roster.write_text(f"{live}dispatch: openclaw\n")
    return team


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(FakeBoard(lambda: NOW_MS), agents=("coo", "architect", "costcodev")) as gateway:
        yield gateway


def doctor(team: Path, gateway: FakeGateway) -> Result:
    return heartbeat("doctor", "--json", cwd=team, PATH="", **gateway.environment())


def turns(done: Result) -> dict[str, dict[str, Any]]:
    return {each["subject"]: each for each in done.json["checks"] if each["area"] == "turns"}


def test_nothing_is_said_of_turns_where_nobody_is_started(team: Path) -> None:
    assert turns(heartbeat("doctor", "--json", cwd=team)) == {}


def test_X2_what_turns_need_is_looked_at_and_nothing_is_started_or_written(started: Path, gateway: FakeGateway) -> None:
    before = tree(started)
    found = turns(doctor(started, gateway))
    levels = {subject: each["level"] for subject, each in found.items()}
    assert levels == {"openclaw": "ok", "agents": "ok", "native": "ok", "multica": "warning"}
    assert "cannot be claimed" in found["multica"]["message"]
    assert gateway.turns.requests == []
    assert gateway.writes() == []
    assert tree(started) == before


def test_a_gateway_that_lets_heartbeat_only_read_fails(started: Path, gateway: FakeGateway) -> None:
    gateway.grants = frozenset({"operator.read"})
    done = doctor(started, gateway)
    assert done.code == 1
    found = turns(done)
    assert found["openclaw"]["level"] == "failed"
    assert "without operator.write" in found["openclaw"]["message"]
    assert "native" not in found, "what could not be looked at is no failure of its own"


def test_models_that_openclaw_does_not_have_fail_and_disabled_ones_are_not_asked_about(
    started: Path, gateway: FakeGateway
) -> None:
    roster = started / "agents.yaml"
    providers = "[{name: a, model: nope/m}, {name: b, model: also/m, enabled: false}]"
    roster.write_text(f"{roster.read_text()}failover: {{strategy: managed}}\nproviders: {providers}\n")
    done = doctor(started, gateway)
    assert done.code == 1
    found = turns(done)
    assert found["a"]["level"] == "failed"
    assert "openclaw models list" in found["a"]["advice"]
    assert "b" not in found


def test_a_file_of_providers_that_cannot_be_read_fails_and_the_rest_is_looked_at(
    started: Path, gateway: FakeGateway
) -> None:
    roster = started / "agents.yaml"
    roster.write_text(f"{roster.read_text()}providers: gone.json\n")
    done = doctor(started, gateway)
    assert done.code == 1
    found = turns(done)
    assert "gone.json cannot be read" in found["providers"]["message"]
    assert found["providers"]["message"].endswith("nobody is started")
    assert {each["area"] for each in done.json["checks"]} >= {"program", "state", "workboard", "coo"}


def test_a_saved_multica_starts_nobody_there(started: Path, gateway: FakeGateway) -> None:
    roster = started / "agents.yaml"
    roster.write_text(roster.read_text().replace("dispatch: openclaw", "dispatch: multica"))
    found = turns(doctor(started, gateway))
    assert found["multica"]["level"] == "failed"
    assert "reads a saved file" in found["multica"]["message"]
    assert "openclaw" not in found


def test_breakers_letters_and_turns_that_should_have_ended_are_told_with_what_to_do(
    started: Path, gateway: FakeGateway
) -> None:
    with remembering(started) as store:
        store.put_breaker(Breaker("native", State.OPEN, until=NOW + timedelta(days=900), why="503", changed_at=NOW))
        put_turns(store)
        store.put_letter(LETTER)
    with freeze_time(AT):
        found = turns(doctor(started, gateway))
    assert found["letters"]["message"] == "a dead letter is left for a person"
    with freeze_time("2026-11-21T05:00:00Z"):
        late = turns(doctor(started, gateway))
    assert late["overdue"]["level"] == "failed"
    assert "a turn of coo has not ended, 53m past its deadline" in late["overdue"]["message"]
    assert "heartbeat abort" in late["overdue"]["advice"]
    assert "heartbeat dlq" in late["letters"]["advice"]
    assert "overdue" not in found


def test_F2_an_open_breaker_is_a_warning_and_says_how_to_close_it(started: Path, gateway: FakeGateway) -> None:
    with remembering(started) as store:
        store.put_breaker(Breaker("first", State.OPEN, until=NOW + 4 * MINUTE, why="503", changed_at=NOW))
        store.put_breaker(Breaker("second", cooled_until=NOW + MINUTE))
    with freeze_time(AT):
        found = turns(doctor(started, gateway))
    assert found["first"]["level"] == "warning"
    assert found["first"]["message"] == "its breaker is open until 2026-11-21T04:04:00.000Z: 503"
    assert "`heartbeat providers reset first`" in found["first"]["advice"]
    assert (found["second"]["level"], found["second"]["message"][:12]) == ("note", "rate-limited")


# health


def health(team: Path, at: str = AT) -> Result:
    with freeze_time(at):
        return heartbeat("health", "--json", cwd=team)


def checks(done: Result, name: str) -> list[tuple[str, str]]:
    return [(each["level"], each["message"]) for each in done.json["checks"] if each["name"] == name]


@pytest.fixture
def beating(team: Path) -> Path:
    """The sample team right after a beat of everybody, with a turn that runs and a letter that nobody tries again."""
    with freeze_time(AT):
        assert heartbeat("tick", "--all", cwd=team).code == 0
    with remembering(team) as store:
        put_turns(store)
    return team


def test_X6_a_turn_that_should_have_ended_fails_the_health_and_one_that_goes_on_does_not(beating: Path) -> None:
    well = health(beating)
    assert well.code == 0
    assert checks(well, "turns") == [("ok", "1 not ended")]
    assert checks(well, "letters") == [("ok", "1 waiting, tried again by themselves")]
    assert well.json["turns"] == {"unfinished": 1, "overdue": [], "letters": 1, "exhausted": []}
    late = health(beating, "2026-11-21T04:22:00Z")
    assert late.code == 1
    [(level, message)] = checks(late, "turns")
    assert level == "failed"
    assert message.startswith("a turn of coo has not ended, 15m past its deadline")
    assert len(late.json["turns"]["overdue"]) == 1
    assert "turns" in late.json["verdict"]


def test_F4_a_letter_that_is_left_for_a_person_is_a_warning(beating: Path) -> None:
    with remembering(beating) as store:
        store.put_letter(LETTER)
    done = health(beating)
    assert done.code == 0
    assert checks(done, "letters") == [("warning", "a dead letter is left for a person")]
    assert done.json["turns"]["exhausted"] == [LETTER.id]


def test_without_turns_nothing_is_said_of_them(team: Path) -> None:
    with freeze_time(AT):
        assert heartbeat("tick", "--all", cwd=team).code == 0
    done = health(team)
    assert not checks(done, "turns")
    assert not checks(done, "letters")


# What is overdue


@pytest.mark.parametrize(("later", "late"), [(OVERDUE, True), (OVERDUE - timedelta(microseconds=1), False)])
def test_a_turn_is_overdue_a_while_after_its_deadline(later: timedelta, late: bool) -> None:
    running = replace(attempt(1), accepted_at=NOW, deadline=NOW)
    assert bool(overdue([running], NOW + later)) is late


@pytest.mark.parametrize(("later", "late"), [(STUCK, True), (STUCK - timedelta(microseconds=1), False)])
def test_one_that_was_never_asked_for_is_overdue_after_an_hour(later: timedelta, late: bool) -> None:
    assert bool(overdue([replace(FAILED, planned_at=NOW)], NOW + later)) is late


def test_one_that_has_ended_is_never_overdue_and_the_oldest_comes_first() -> None:
    first, second = replace(attempt(1), deadline=NOW), replace(attempt(2), deadline=NOW - MINUTE)
    ended = over(replace(attempt(3), deadline=NOW - timedelta(days=1)), NOW)
    assert overdue([first, ended, second], NOW + timedelta(days=1)) == (second, first)


def test_X6_a_hook_that_is_not_there_is_told_and_none_is_run(started: Path, gateway: FakeGateway) -> None:
    roster = started / "agents.yaml"
    there = started / "there.sh"
    there.write_text("#!/bin/sh\ntouch ran\n")
    there.chmod(0o755)
    roster.write_text(roster.read_text() + "on_complete: [[./nope.sh], [./there.sh]]\n")
    told = turns(doctor(started, gateway))["hooks"]
    assert told["level"] == "warning"
    assert str(started / "nope.sh") in told["message"]
    assert "there.sh" not in told["message"]
    assert not (started / "ran").exists()
