"""Cases of the contract suite for WorkBoard: the fake Gateway, the fake program with and without it, a saved file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind
from heartbeat.systems.openclaw.source import build
from tests.contract.suite import NOW, Case, Fault
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_openclaw import FakeOpenClaw, Manner, Reach
from tests.support.rosters import make_agent, make_coo, make_roster

NOW_MS = int(NOW.timestamp() * 1000)
HOUR = 3_600_000

TITLES = frozenset(
    {
        "Write the API spec",
        "Implement the API",
        "Fix stale worker heartbeat",
        "[BIZ-31] 写接口文档",
        "Waiting for the vendor",
        "Publish the release notes",
        "Old experiment",
        "Already shipped",
    }
)


def team() -> Roster:
    return make_roster(make_coo(), make_agent("architect", "developer"), make_agent("writer"))


def filled_board() -> FakeBoard:
    """Linked, claimed, blocked, scheduled, archived, finished and Chinese work, all of it in the past two hours."""
    board = FakeBoard(SteppingClock(NOW_MS - 2 * HOUR))
    spec = board.create("Write the API spec", agentId="architect", priority="high", labels=["api", "BIZ-12"])
    board.create("Implement the API", agentId="coo", parents=[spec["id"]])
    claimed = board.create("Fix stale worker heartbeat", agentId="coo", notes="see the log")
    board.call("cards.claim", {"id": claimed["id"], "ownerId": "coo", "ttlSeconds": 10_800})
    board.call("cards.heartbeat", {"id": claimed["id"], "note": "round 3/50"})
    board.call("cards.comment", {"id": claimed["id"], "body": "found the cause"})
    board.create(
        "[BIZ-31] 写接口文档", agentId="writer", priority="urgent", sourceUrl="https://multica.test/issue/BIZ-31"
    )
    waiting = board.create("Waiting for the vendor", agentId="writer")
    board.call("cards.block", {"id": waiting["id"], "reason": "no answer yet"})
    board.create("Publish the release notes", status="scheduled", scheduledAt=NOW_MS + HOUR, boardId="release")
    old = board.create("Old experiment", status="backlog", priority="low")
    board.call("cards.archive", {"id": old["id"]})
    shipped = board.create("Already shipped", agentId="architect")
    board.call("cards.complete", {"id": shipped["id"], "summary": "shipped"})
    return board


@contextmanager
def gateway_case(directory: Path) -> Iterator[Case]:
    with FakeGateway(filled_board()) as gateway:
        environment = {**gateway.environment(), "HOME": str(directory)}

        def trouble(kind: Trouble, expected: FailureKind) -> FailureKind:
            gateway.trouble = kind
            return expected

        def stop() -> FailureKind:
            gateway.stop()
            return FailureKind.UNREACHABLE

        def change_token() -> FailureKind:
            gateway.token = "another-secret"
            return FailureKind.AUTH

        yield Case(
            source=build({"transport": "gateway"}, team(), environment),
            transport="gateway",
            titles=TITLES,
            secret=environment["OPENCLAW_GATEWAY_TOKEN"],
            writes=gateway.writes,
            faults={
                Fault.GONE: stop,
                Fault.DENIED: change_token,
                Fault.GARBAGE: lambda: trouble(Trouble.NOT_JSON, FailureKind.BAD_OUTPUT),
                Fault.HANGING: lambda: trouble(Trouble.SILENT, FailureKind.TIMEOUT),
                Fault.EMPTY: lambda: trouble(Trouble.EMPTY, FailureKind.BAD_OUTPUT),
            },
        )


def _program_case(directory: Path, reach: Reach, settings: Mapping[str, Any]) -> Case:
    program = FakeOpenClaw(directory, filled_board())
    program.order(reach=reach)
    secret = "program-secret-0123456789"
    environment = {**program.environment(directory), "OPENCLAW_GATEWAY_TOKEN": secret}

    def order(expected: FailureKind, **orders: Any) -> FailureKind:
        program.order(**orders)
        return expected

    def remove() -> FailureKind:
        program.remove()
        return FailureKind.NOT_CONFIGURED

    return Case(
        source=build(settings, team(), environment),
        transport="cli",
        titles=TITLES,
        secret=secret,
        writes=program.writes,
        faults={
            Fault.GONE: remove,
            Fault.DENIED: lambda: order(FailureKind.AUTH, reach=Reach.DENIED),
            Fault.GARBAGE: lambda: order(FailureKind.BAD_OUTPUT, manner=Manner.GARBAGE),
            Fault.HANGING: lambda: order(FailureKind.TIMEOUT, manner=Manner.HANG),
            Fault.EMPTY: lambda: order(FailureKind.BAD_OUTPUT, manner=Manner.NOTHING),
        },
    )


@contextmanager
def program_case(directory: Path) -> Iterator[Case]:
    yield _program_case(directory, Reach.UP, {"transport": "cli"})


@contextmanager
def offline_case(directory: Path) -> Iterator[Case]:
    case = _program_case(directory, Reach.DOWN, {"transport": "cli"})
    del case.faults[Fault.DENIED]  # nobody is asked for permission to read a local file
    yield case


@contextmanager
def file_case(directory: Path) -> Iterator[Case]:
    path = directory / "cards.json"
    path.write_text(json.dumps(filled_board().call("cards.list"), indent=2, ensure_ascii=False), encoding="utf-8")

    def replaced(content: bytes) -> FailureKind:
        path.write_bytes(content)
        return FailureKind.BAD_OUTPUT

    def removed() -> FailureKind:
        path.unlink()
        return FailureKind.NOT_FOUND

    yield Case(
        source=build({"transport": "file", "path": path}, team(), {"HOME": str(directory)}),
        transport="file",
        titles=TITLES,
        faults={
            Fault.GONE: removed,
            Fault.GARBAGE: lambda: replaced(b"<html>502 Bad Gateway</html>"),
            Fault.EMPTY: lambda: replaced(b""),
        },
    )


CASES = [
    pytest.param(gateway_case, id="workboard-gateway"),
    pytest.param(program_case, id="workboard-cli"),
    pytest.param(offline_case, id="workboard-cli-offline"),
    pytest.param(file_case, id="workboard-file"),
]
