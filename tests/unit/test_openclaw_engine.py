"""Which way a turn goes to OpenClaw, and who is asked about it afterwards (rule X2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from heartbeat.attempt import Attempt, Cause, Engine, Failure
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.dispatch.openclaw import OpenClawSpawner, build
from heartbeat.systems.base import FailureKind, TransportError
from tests.support.rosters import make_agent, make_roster

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
ATTEMPT = Attempt("hb-1", "card:1", (), "对账", "coo", 1, Engine.OPENCLAW, "native", NOW, tries=1)
ORDER = Order(ATTEMPT, "继续", "", 600.0)
SOON = Deadline(1e12)


@dataclass
class Way:
    """Stands for either way."""

    missing: str | None = None
    taken: bool = False
    """Whether the id was used in this way."""
    refuses: StartError | None = None
    asked: list[str] = field(default_factory=list)

    def absent(self) -> str | None:
        return self.missing

    def knows(self, attempt: Attempt) -> bool:
        return self.taken

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        self.asked.append("start")
        if self.refuses is not None:
            raise self.refuses
        return Accepted("run")

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        self.asked.append("look")
        return Sighting(Going.RUNNING)

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        self.asked.append("abort")
        return True

    def forget(self, attempt: Attempt) -> None:
        self.asked.append("forget")


def engine(gateway: Way, program: Way, wanted: str = "auto") -> OpenClawSpawner:
    return OpenClawSpawner(cast(Any, gateway), cast(Any, program), wanted)


def refusal(kind: FailureKind, *, unknown: bool = False) -> StartError:
    error = StartError(Failure(Cause.ENGINE, "no"), unknown=unknown)
    error.__cause__ = TransportError(kind, "no")
    return error


@pytest.mark.parametrize(
    ("wanted", "no_gateway", "no_program", "way"),
    [
        ("auto", None, None, "gateway"),
        ("auto", "no address", None, "program"),
        ("auto", None, "no program", "gateway"),
        ("gateway", None, None, "gateway"),
        ("cli", None, None, "program"),
    ],
)
def test_X2_a_turn_takes_the_best_way_that_there_is(
    wanted: str, no_gateway: str | None, no_program: str | None, way: str
) -> None:
    ways = {"gateway": Way(no_gateway), "program": Way(no_program)}
    engine(ways["gateway"], ways["program"], wanted).start(ORDER, SOON)
    assert {name: each.asked for name, each in ways.items() if each.asked} == {way: ["start"]}


@pytest.mark.parametrize(("wanted", "told"), [("gateway", "not with `transport: gateway`"), ("auto", "no program")])
def test_F3_without_any_way_it_is_said_what_was_looked_for(wanted: str, told: str) -> None:
    with pytest.raises(StartError, match="no address") as refused:
        engine(Way("no address"), Way("no program"), wanted).start(ORDER, SOON)
    assert told in str(refused.value)
    assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
    assert "sources.workboard" in refused.value.advice


def test_X6_an_id_that_the_program_has_stays_with_it() -> None:
    gateway, program = Way(), Way(taken=True)
    spawner = engine(gateway, program)
    spawner.start(ORDER, SOON)
    spawner.look(ATTEMPT, SOON)
    spawner.abort(ATTEMPT, SOON)
    spawner.forget(ATTEMPT)
    assert (gateway.asked, program.asked) == ([], ["start", "look", "abort", "forget"])


def test_X2_who_is_turned_away_at_the_door_on_the_first_try_goes_by_the_program() -> None:
    gateway, program = Way(refuses=refusal(FailureKind.AUTH)), Way()
    assert engine(gateway, program).start(ORDER, SOON) == Accepted("run")
    assert (gateway.asked, program.asked) == (["start"], ["start"])


@pytest.mark.parametrize(
    ("kind", "unknown", "tries", "wanted", "no_program"),
    [
        (FailureKind.UNREACHABLE, False, 1, "auto", None),
        (FailureKind.REFUSED, False, 1, "auto", None),
        (FailureKind.AUTH, True, 1, "auto", None),
        (FailureKind.AUTH, False, 2, "auto", None),
        (FailureKind.AUTH, False, 1, "gateway", None),
        (FailureKind.AUTH, False, 1, "auto", "no program"),
    ],
)
def test_X6_nobody_else_goes_on_to_the_program(
    kind: FailureKind, unknown: bool, tries: int, wanted: str, no_program: str | None
) -> None:
    gateway, program = Way(refuses=refusal(kind, unknown=unknown)), Way(no_program)
    order = replace(ORDER, attempt=replace(ATTEMPT, tries=tries))
    with pytest.raises(StartError):
        engine(gateway, program, wanted).start(order, SOON)
    assert program.asked == []


@pytest.mark.parametrize(
    ("wanted", "no_gateway", "no_program", "run", "asked"),
    [
        ("auto", None, None, "hb-1", "gateway"),
        ("auto", None, None, "", "gateway"),
        ("cli", None, None, "", "program"),
        ("cli", None, None, "hb-1", "gateway"),
        ("auto", "no address", None, "", "program"),
        ("auto", "no address", None, "hb-1", "gateway"),
        ("auto", "no address", "no program", "", "gateway"),
    ],
)
def test_X6_what_a_gateway_took_is_asked_of_a_gateway(
    wanted: str, no_gateway: str | None, no_program: str | None, run: str, asked: str
) -> None:
    ways = {"gateway": Way(no_gateway), "program": Way(no_program)}
    engine(ways["gateway"], ways["program"], wanted).look(replace(ATTEMPT, run=run), SOON)
    assert {name for name, each in ways.items() if each.asked} == {asked}


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        ({}, "auto"),
        ({"workboard": {"transport": "cli", "binary": "claw"}}, "cli"),
        ({"workboard": {"transport": "file", "path": "/cards.json"}}, "auto"),
    ],
)
def test_it_is_built_as_the_roster_says_where_the_board_is(tmp_path: Path, sources: Any, wanted: str) -> None:
    environment = {"HOME": str(tmp_path), "OPENCLAW_GATEWAY_TOKEN": "hush-hush"}
    spawner = build(make_roster(make_agent("coo"), sources=sources, state=tmp_path), environment)
    assert (spawner.engine, spawner.wanted) == (Engine.OPENCLAW, wanted)
    assert spawner.command.binary == sources.get("workboard", {}).get("binary", "openclaw")
    assert spawner.gateway.absent() is None
    assert "hush-hush" not in repr(spawner)
