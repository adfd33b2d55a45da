"""A real executable called `openclaw` for tests, with the outputs of the real one (contract 1.2, 3), verbatim.

What it does stands in fake_openclaw_program.py. It reads its orders from a JSON file beside it at every run and keeps a
record of its arguments, so that a test may change its mind and look back.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.support import ready_programs
from tests.support.fake_board import FakeBoard
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_openclaw_program import VERSION_LINE as VERSION_LINE

_ALONE = {"hang", "ignore sigterm", "grandchild", "flood"}
"""Manners in which the program is ended by its signals, and must be the very process that was started."""


class Reach(StrEnum):
    """How the program gets on with the Gateway."""

    UP = "up"
    DOWN = "down"
    TIMEOUT = "timeout"
    DENIED = "denied"
    STARTING = "starting"
    NO_CREDENTIALS = "no credentials"


class Manner(StrEnum):
    """How the program behaves when it prints a list."""

    PLAIN = "plain"
    HANG = "hang"
    IGNORE_SIGTERM = "ignore sigterm"
    GRANDCHILD = "grandchild"
    """A grandchild in a session of its own keeps standard output open for a minute."""
    NOTHING = "nothing"
    EXIT_1 = "exit 1"
    """The list, and exit code 1."""
    BANNER = "banner"
    LOG_AFTER = "log after"
    COLOURS = "colours"
    BOM = "bom"
    GARBAGE = "garbage"
    CUT = "cut"
    FLOOD = "flood"
    CRASH = "crash"
    """Node's own complaint on stderr and exit code 1."""
    NO_NODE = "no node"
    LOCKED = "locked"
    TELLTALE = "telltale"
    """A complaint that repeats the token, and exit code 1."""
    TELLTALE_BANNER = "telltale banner"


class _Relay(socketserver.ThreadingTCPServer):
    """Hands the program's requests to a fake Gateway, one a connection, as lines of JSON."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, gateway: FakeGateway) -> None:
        super().__init__(("127.0.0.1", 0), _RelayHandler)
        self.gateway = gateway


class _RelayHandler(socketserver.StreamRequestHandler):
    server: _Relay

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        error, payload, lost = self.server.gateway.answer(request["method"], request["params"])
        if not lost:
            text = json.dumps({"error": error, "payload": payload}, ensure_ascii=False)
            self.wfile.write(text.encode("utf-8", "surrogatepass") + b"\n")


class FakeOpenClaw:
    """The program in a directory of its own, ready to be put on a PATH.

    It lists the cards that a board has when it is made, and the sessions that it is ordered to list; while it is
    `connected` to a fake Gateway it asks that for everything.
    """

    def __init__(self, directory: Path, board: FakeBoard | None = None) -> None:
        self.directory = directory / "openclaw-bin"
        self.directory.mkdir(parents=True)
        self.program = self.directory / "openclaw"
        self._alone: bool | None = None
        self._orders: dict[str, Any] = {
            "reach": Reach.UP,
            "manner": Manner.PLAIN,
            "plugin": True,
            "cards": [],
            "around": {},
            "sessions": [],
            "messages": {},
            "ts": 0,
            "relay": 0,
            "only": "",
        }
        listed = board.call("cards.list") if board is not None else {"cards": []}
        self.order(cards=listed.pop("cards"), around=listed)

    def order(self, **orders: Any) -> None:
        """Changes how it behaves from the next run on: reach, manner, plugin, cards, around, sessions, messages (by
        session key) and the Gateway's time `ts`; `only` names the one method of the Gateway for which `reach` holds."""
        self._orders |= orders
        if self._alone is not (alone := self._orders["manner"] in _ALONE):
            ready_programs.write(self.program, "fake_openclaw_program", alone=alone)
            self._alone = alone
        text = json.dumps(self._orders)
        (self.directory / "orders.json").write_text(text, encoding="utf-8")

    @contextmanager
    def connected(self, gateway: FakeGateway) -> Iterator[None]:
        """As long as it lasts, every `gateway call` is answered by this Gateway's methods, which need not listen."""
        with _Relay(gateway) as relay:
            thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01}, name="fake-relay")
            thread.start()
            self.order(relay=relay.server_address[1])
            try:
                yield
            finally:
                self.order(relay=0)
                relay.shutdown()
                thread.join(timeout=10)

    def environment(self, home: Path) -> dict[str, str]:
        """An environment in which nothing but this program is to be found (and what its script runs)."""
        return {"PATH": f"{self.directory}{os.pathsep}{os.defpath}", "HOME": str(home)}

    def runs(self) -> list[dict[str, Any]]:
        """Every run so far: `argv`, `environment` (OPENCLAW_… only), `pid`."""
        record = self.directory / "calls.jsonl"
        if not record.exists():
            return []
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]

    def writes(self) -> list[str]:
        """Runs that would have changed something."""
        cards = ("workboard.cards.list", "workboard.cards.runs")
        reads = (*cards, "sessions.list", "chat.history", "agents.list", "models.list")
        lists = (["workboard", "list"], ["agents", "list"])
        harmless = (["--version"], *lists, *(["gateway", "call", method] for method in reads))
        return [
            " ".join(run["argv"])
            for run in self.runs()
            if not any(run["argv"][: len(words)] == words for words in harmless)
        ]

    def remove(self) -> None:
        """Uninstalls the program."""
        self.program.unlink()
