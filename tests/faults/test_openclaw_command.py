"""OpenClaw's command line at its worst (contract 1.2, 3; rules S1, S1a, S4)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.openclaw.cli import CommandTransport
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_openclaw import FakeOpenClaw, Manner, Reach

START = 1795226214382
SECRET = "command-secret-0123456789"


@pytest.fixture
def program(tmp_path: Path) -> FakeOpenClaw:
    board = FakeBoard(SteppingClock(START))
    board.create("写接口文档", agentId="coo")
    board.create("Second", agentId="architect", boardId="ops")
    return FakeOpenClaw(tmp_path, board)


def transport(program: FakeOpenClaw, environment: dict[str, str] | None = None, **fields: Any) -> CommandTransport:
    own = {**program.environment(program.directory), "OPENCLAW_GATEWAY_TOKEN": SECRET}
    return CommandTransport({**own, **(environment or {})}, **fields)


def fetch(program: FakeOpenClaw, seconds: float = 30.0, **fields: Any) -> Fetched:
    return transport(program, **fields).fetch(Deadline.after(seconds))


def fails(program: FakeOpenClaw, seconds: float = 30.0, **fields: Any) -> TransportError:
    with pytest.raises(TransportError) as caught:
        fetch(program, seconds, **fields)
    assert SECRET not in f"{caught.value} {caught.value.advice}"
    assert str(caught.value).isprintable()
    return caught.value


def commands(program: FakeOpenClaw) -> list[str]:
    return [" ".join(run["argv"][:2]) for run in program.runs()]


def test_the_gateway_is_asked_first_and_the_token_is_never_an_argument(program: FakeOpenClaw) -> None:
    fetched = fetch(program)
    assert [card["title"] for card in fetched.records] == ["写接口文档", "Second"]
    assert fetched.findings == ()
    methods = ["workboard.cards.list", "sessions.list", "sessions.list"]
    assert [run["argv"][:3] for run in program.runs()] == [["gateway", "call", method] for method in methods]
    assert all(SECRET not in str(run["argv"]) for run in program.runs())
    assert all(run["environment"] == {"OPENCLAW_GATEWAY_TOKEN": SECRET} for run in program.runs())
    assert int(program.runs()[0]["argv"][-1]) < 12_000, "its own time limit ends before ours"


def test_one_board_is_asked_for_by_either_way(program: FakeOpenClaw) -> None:
    assert [card["title"] for card in fetch(program, board="ops").records] == ["Second"]
    program.order(reach=Reach.DOWN)
    assert [card["title"] for card in fetch(program, board="ops").records] == ["Second"]


@pytest.mark.parametrize("reach", [Reach.DOWN, Reach.TIMEOUT, Reach.STARTING, Reach.NO_CREDENTIALS])
def test_where_the_gateway_is_out_of_reach_the_database_is_read_and_that_is_said(
    program: FakeOpenClaw, reach: Reach
) -> None:
    program.order(reach=reach)
    fetched = fetch(program)
    assert len(fetched.records) == 2
    assert [finding.code for finding in fetched.findings] == ["read-offline", "unknown-sessions"]
    assert fetched.extra == {}, "only a Gateway knows who has a run"
    assert commands(program) == ["gateway call", "workboard list"]


def test_a_wrong_token_is_told_and_not_hidden_by_the_database(program: FakeOpenClaw) -> None:
    program.order(reach=Reach.DENIED)
    error = fails(program)
    assert error.kind is FailureKind.AUTH
    assert "OPENCLAW_GATEWAY_TOKEN" in error.advice
    assert commands(program) == ["gateway call"]


@pytest.mark.parametrize(("reach", "runs"), [(Reach.UP, 1), (Reach.DOWN, 2)])
def test_a_disabled_plugin_is_told_with_the_command_that_enables_it(
    program: FakeOpenClaw, reach: Reach, runs: int
) -> None:
    program.order(plugin=False, reach=reach)
    error = fails(program)
    assert error.kind is FailureKind.REFUSED
    assert "openclaw plugins enable workboard" in error.advice
    assert len(program.runs()) == runs


@pytest.mark.parametrize("manner", [Manner.BANNER, Manner.LOG_AFTER, Manner.COLOURS, Manner.BOM, Manner.GRANDCHILD])
def test_S4_what_surrounds_the_json_is_tolerated(program: FakeOpenClaw, manner: Manner) -> None:
    program.order(manner=manner)
    began = time.monotonic()
    fetched = fetch(program)
    assert len(fetched.records) == 2
    assert time.monotonic() - began < 10
    told = [finding.code for finding in fetched.findings]
    assert told == (["tool-banner"] if manner in (Manner.BANNER, Manner.LOG_AFTER) else [])


@pytest.mark.parametrize(
    ("manner", "kind", "told"),
    [
        (Manner.NOTHING, FailureKind.BAD_OUTPUT, "printed nothing"),
        (Manner.GARBAGE, FailureKind.BAD_OUTPUT, "Segmentation fault"),
        (Manner.CUT, FailureKind.BAD_OUTPUT, "cut off"),
        (Manner.EXIT_1, FailureKind.BAD_OUTPUT, "exit code 1"),
        (Manner.CRASH, FailureKind.SERVER_ERROR, "Cannot find module"),
        (Manner.NO_NODE, FailureKind.NOT_INSTALLED, "node"),
        (Manner.LOCKED, FailureKind.SERVER_ERROR, "another OpenClaw process"),
    ],
)
@pytest.mark.parametrize("reach", [Reach.UP, Reach.DOWN])
def test_S1_every_fault_has_its_kind(
    program: FakeOpenClaw, manner: Manner, kind: FailureKind, told: str, reach: Reach
) -> None:
    program.order(manner=manner, reach=reach)
    error = fails(program)
    assert error.kind is kind, str(error)
    assert told in str(error)


@pytest.mark.parametrize(
    ("manner", "unknown"),
    [
        (Manner.NOTHING, True),
        (Manner.GARBAGE, True),
        (Manner.CUT, True),
        (Manner.EXIT_1, True),
        (Manner.CRASH, True),
        (Manner.FLOOD, True),
        (Manner.HANG, True),
        (Manner.NO_NODE, False),
    ],
)
def test_L4_after_an_answer_that_cannot_be_read_the_request_may_have_been_carried_out(
    program: FakeOpenClaw, manner: Manner, unknown: bool
) -> None:
    program.order(manner=manner)
    with pytest.raises(TransportError) as failed:
        transport(program, max_bytes=1_000_000).call("workboard.cards.list", {}, Deadline.after(2.0))
    assert failed.value.outcome_unknown is unknown
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize("manner", [Manner.HANG, Manner.IGNORE_SIGTERM])
def test_S4_a_program_that_hangs_is_killed_and_both_ways_got_their_share(program: FakeOpenClaw, manner: Manner) -> None:
    program.order(manner=manner)
    began = time.monotonic()
    error = fails(program, seconds=2.0)
    assert error.kind is FailureKind.TIMEOUT
    assert time.monotonic() - began < 8
    assert commands(program)[0] == "gateway call"
    assert manner is Manner.IGNORE_SIGTERM or commands(program)[1:] == ["workboard list"]
    for run in program.runs():
        with pytest.raises(ProcessLookupError):
            os.kill(run["pid"], 0)


def test_S4_a_flood_is_stopped(program: FakeOpenClaw) -> None:
    program.order(manner=Manner.FLOOD)
    assert fails(program, max_bytes=1_000_000).kind is FailureKind.TOO_LARGE


def test_S1a_without_the_program_there_is_nothing_to_talk_to(program: FakeOpenClaw) -> None:
    assert transport(program).absent() is None
    program.remove()
    assert "openclaw" in (transport(program).absent() or "")
    assert fails(program).kind is FailureKind.NOT_INSTALLED


def test_R4_a_program_that_repeats_the_token_does_not_bring_it_into_a_report(program: FakeOpenClaw) -> None:
    program.order(manner=Manner.TELLTALE)
    assert "no such token: [token]" in str(fails(program))
    program.order(manner=Manner.TELLTALE_BANNER)
    (finding,) = fetch(program).findings
    assert "using token [token]" in finding.message
    assert SECRET not in str(fetch(program))


def test_the_version_is_read_from_the_programs_own_line(program: FakeOpenClaw) -> None:
    assert transport(program).version(Deadline.after(10)) == "2026.9.6"


def test_the_rosters_address_and_token_reach_the_program_by_its_environment(program: FakeOpenClaw) -> None:
    program.order(reach=Reach.DOWN)
    fetch(program, environment={"MINE": SECRET}, url="ws://127.0.0.1:5", token_env="MINE")
    environment = program.runs()[0]["environment"]
    assert environment == {"OPENCLAW_GATEWAY_URL": "ws://127.0.0.1:5", "OPENCLAW_GATEWAY_TOKEN": SECRET}


@pytest.mark.parametrize("named", ["roster", "environment"])
def test_S2_the_database_of_this_machine_is_not_read_for_a_gateway_on_another(
    program: FakeOpenClaw, named: str
) -> None:
    program.order(reach=Reach.DOWN)
    url = "wss://gateway.test"
    by_roster = {"url": url} if named == "roster" else {"environment": {"OPENCLAW_GATEWAY_URL": url}}
    assert fails(program, **by_roster).kind is FailureKind.UNREACHABLE
    assert commands(program) == ["gateway call"]


def test_S3_fewer_cards_than_the_boards_count_is_told(program: FakeOpenClaw) -> None:
    program.order(around={"boards": [{"id": "default", "total": 5}, {"id": "ops", "total": 1}]})
    assert "2 cards of the 6" in fetch(program).problem
    assert fetch(program, board="ops").problem == ""
    listed = [run for run in program.runs() if run["argv"][2] == "workboard.cards.list"]
    assert len(listed) == 3
