"""The WorkBoard cases of the writers' suite: the fake Gateway, and the fake program that asks it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Source
from heartbeat.systems.openclaw.source import build as build_source
from heartbeat.systems.openclaw.writer import BoardWriter
from heartbeat.systems.openclaw.writer import build as build_writer
from heartbeat.task import Ref
from tests.contract.writer_suite import OTHER, WORKER, WriterCase
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_openclaw import FakeOpenClaw
from tests.support.openclaw_cases import HOUR, NOW_MS
from tests.support.rosters import make_agent, make_roster

ROSTER: Roster = make_roster(make_agent(WORKER), make_agent(OTHER, "developer"))
Json = dict[str, Any]


class BoardWriterCase(WriterCase):
    """WorkBoard behind any Gateway, whose methods `call` reaches past everything that is tested."""

    operations = frozenset(Operation)
    has_claims = True
    loses_answers = True

    def __init__(self, transport: str, environment: Mapping[str, str]) -> None:
        settings = {"transport": transport}
        writer = build_writer(settings, ROSTER, environment)
        assert writer is not None
        self._writer = writer
        self._source = build_source(settings, ROSTER, environment)

    @abstractmethod
    def call(self, method: str, **parameters: Any) -> Json:
        """The payload of `workboard.cards.METHOD`, sent by somebody else."""

    @property
    def writer(self) -> BoardWriter:
        return self._writer

    @property
    def source(self) -> Source:
        return self._source

    def work(self, title: str, agent: str = WORKER) -> Ref:
        ref = self.waiting(title, agent)
        self.call("claim", id=ref.id, ownerId=agent)
        return ref

    def waiting(self, title: str, agent: str = WORKER) -> Ref:
        return self.make(title, agentId=agent)

    def blocked(self, title: str, agent: str = WORKER) -> Ref:
        ref = self.waiting(title, agent)
        self.call("block", id=ref.id, reason="等供应商回复")
        return ref

    def make(self, title: str, **fields: Any) -> Ref:
        return Ref("workboard", self.call("create", title=title, **fields)["card"]["id"])

    def comment_as_other(self, ref: Ref, text: str) -> None:
        self.call("comment", id=ref.id, body=text)

    def take(self, ref: Ref, agent: str = OTHER) -> None:
        self.call("release", id=ref.id)
        self.call("claim", id=ref.id, ownerId=agent)

    def texts(self, ref: Ref) -> Sequence[str]:
        return [comment["body"] for comment in self.metadata(ref).get("comments", ())]

    def outputs(self, ref: Ref) -> Sequence[str]:
        return [artifact.get("path") or artifact["url"] for artifact in self.metadata(ref).get("artifacts", ())]

    def record(self, ref: Ref) -> Json:
        card: Json = self.call("runs", id=ref.id)["card"]
        return card

    def metadata(self, ref: Ref) -> Json:
        metadata: Json = self.record(ref).get("metadata", {})
        return metadata


class FakeBoardWriterCase(BoardWriterCase):
    """A board whose clock moves on at each look."""

    def __init__(self, gateway: FakeGateway, transport: str, environment: Mapping[str, str]) -> None:
        super().__init__(transport, environment)
        self.gateway = gateway

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.gateway.board.present() / 1000, UTC)

    def call(self, method: str, **parameters: Any) -> Json:
        return self.gateway.board.call(f"cards.{method}", parameters)

    def lose_next_answer(self) -> None:
        self.gateway.losing = 1


def new_gateway() -> FakeGateway:
    return FakeGateway(FakeBoard(SteppingClock(NOW_MS - HOUR)))


@contextmanager
def gateway_case(directory: Path) -> Iterator[FakeBoardWriterCase]:
    with new_gateway() as gateway:
        yield FakeBoardWriterCase(gateway, "gateway", {**gateway.environment(), "HOME": str(directory)})


@contextmanager
def program_case(directory: Path) -> Iterator[FakeBoardWriterCase]:
    gateway, program = new_gateway(), FakeOpenClaw(directory)
    with program.connected(gateway):
        yield FakeBoardWriterCase(gateway, "cli", program.environment(directory))


CASES = (
    pytest.param(gateway_case, id="workboard-gateway"),
    pytest.param(program_case, id="workboard-cli"),
)
