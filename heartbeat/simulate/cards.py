"""The ways to a virtual WorkBoard: what heartbeat reads and writes it through, and a card in the hands of agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from heartbeat.simulate.board import PREFIX, VirtualBoard
from heartbeat.simulate.faults import ABSENT, PARTIAL, failure, write_failure
from heartbeat.simulate.world import World
from heartbeat.systems.base import Deadline, Fetched
from heartbeat.systems.openclaw.cards import read_cards
from heartbeat.systems.openclaw.connection import Connection, Ways
from heartbeat.systems.openclaw.sessions import with_sessions
from heartbeat.systems.openclaw.workboard import SOURCE
from heartbeat.task import Ref

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BoardTransport:
    """Implements Transport over a virtual board."""

    world: World
    board: VirtualBoard
    name: str = "simulated"

    def absent(self) -> str | None:
        return "nothing of it is to be found" if self.world.down.get(SOURCE) == ABSENT else None

    def fetch(self, deadline: Deadline) -> Fetched:
        fetched = read_cards(self._cards, None, "the simulated Gateway")
        return with_sessions(fetched, self._sessions)

    def version(self, deadline: Deadline) -> str | None:
        return None

    def _cards(self) -> Any:
        kind = self.world.down.get(SOURCE)
        if kind not in (None, PARTIAL):
            raise failure(SOURCE, kind)
        answer = self.board.do(f"{PREFIX}list", {})
        return {**answer, "cards": answer["cards"][::2]} if kind == PARTIAL else answer

    def _sessions(self, parameters: Parameters) -> Any:
        if "sessions" in self.world.down:
            raise write_failure("sessions", self.world.down["sessions"])
        return self.board.do("sessions.list", parameters)


@dataclass(frozen=True, slots=True)
class BoardWays(Ways):
    """The writer's way to a virtual board; there is no Gateway and no command behind it."""

    world: World
    board: VirtualBoard

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[Connection]:
        kind = self.world.down.get(SOURCE)
        if kind is not None:
            raise write_failure(SOURCE, kind)
        yield Connection(self._request)

    def _request(self, method: str, parameters: Parameters) -> Any:
        if method == "sessions.list" and "sessions" in self.world.down:
            raise write_failure("sessions", self.world.down["sessions"])
        return self.board.call(method, parameters)


@dataclass(frozen=True, slots=True)
class CardPiece:
    """Implements Piece: a task's card, in the hands of agents and people."""

    board: VirtualBoard
    id: str

    @property
    def ref(self) -> Ref:
        return Ref(SOURCE, self.id)

    def take(self, agent: str, *, alone: bool = True) -> bool:
        return self.board.claim(self.id, agent, alone=alone)

    def is_with(self, agent: str) -> bool:
        return self.board.is_held_by(self.id, agent)

    def breathe(self, agent: str) -> None:
        self.board.do(f"{PREFIX}heartbeat", {"id": self.id})

    def say(self, who: str, text: str) -> None:
        self.board.do(f"{PREFIX}comment", {"id": self.id, "body": text})

    def finish(self, who: str) -> None:
        self.board.do(f"{PREFIX}complete", {"id": self.id})

    def move(self, status: str) -> None:
        word = {"in_progress": "running", "in_review": "review"}.get(status, status)
        if word in ("todo", "backlog"):
            self.board.do(f"{PREFIX}release", {"id": self.id, "status": word})
        else:
            self.board.do(f"{PREFIX}move", {"id": self.id, "status": word})

    def assign(self, agent: str) -> None:
        self.board.do(f"{PREFIX}release", {"id": self.id, "status": "todo"})
        self.board.do(f"{PREFIX}reassign", {"id": self.id, "agentId": agent})

    def clear_away(self) -> None:
        self.board.delete(self.id)
