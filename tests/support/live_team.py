"""A team on the fake Gateway, the fake Multica server and real TODO files, through the real transports and writers.

The fakes and the command share one clock, which `beat` moves on; everything else is as an operator would have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from heartbeat.action import signature
from heartbeat.cli.session import Session
from tests.support.command import Result, heartbeat
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_multica_records import CODEX, REVIEWER
from tests.support.fake_multica_server import FakeMultica
from tests.support.fake_multica_state import MulticaState
from tests.support.items import NOW
from tests.support.multica_cases import environment

BEAT = timedelta(minutes=10)
CARD, ISSUE, LINE = "Reconcile the ledger", "Translate the website", "Water the plants"

_ROSTER = f"""version: 1
timezone: UTC
operator: {{name: Vincent, notify: [ops]}}
state: state
workspaces: workspaces
channels:
  ops: {{kind: file, path: ops.log, min_level: info}}
sources:
  workboard: {{transport: gateway}}
  multica: {{transport: api}}
  todo: {{files: [TODO.md]}}
agents:
  coo: {{class: high_frequency, multica_id: {REVIEWER}, notify: [self], patrol: true, recovery: act}}
  architect: {{class: high_frequency, multica_id: {CODEX}, notify: [coo, operator], recovery: act}}
"""


@dataclass(slots=True)
class LiveTeam:
    """A card, an issue and a line, each in progress since the beginning, and nobody at work on them."""

    folder: Path
    gateway: FakeGateway
    multica: FakeMultica
    now: datetime
    card: str
    issue: str

    @property
    def environment(self) -> dict[str, str]:
        return {**environment(self.multica, self.folder), **self.gateway.environment()}

    @property
    def requests(self) -> list[str]:
        """What reached the systems: the Gateway's methods, and Multica's requests."""
        return [*(call.method for call in self.gateway.calls), *self.multica.requests]

    def command(self, *words: str) -> Result:
        with patch.object(Session, "now", lambda session: self.now):
            return heartbeat(*words, cwd=self.folder, **self.environment)

    def pass_time(self, duration: timedelta) -> None:
        self.now += duration
        self.multica.state.now = self.now
        clock = self.gateway.board._clock
        assert isinstance(clock, SteppingClock)
        clock.now = int(self.now.timestamp() * 1000)

    def beat(self) -> Result:
        self.pass_time(BEAT)
        return self.command("tick", "--all", "--json", "--fresh")

    def statuses(self) -> tuple[str, str, str]:
        """Of the card, the issue and the line, in their systems' own words."""
        card = self.gateway.board.call("cards.runs", {"id": self.card})["card"]
        return card["status"], self.multica.state.issues[self.issue]["status"], self.line

    @property
    def line(self) -> str:
        text = (self.folder / "workspaces" / "architect" / "TODO.md").read_text()
        return next(line for line in text.splitlines() if LINE in line)

    def markers(self) -> list[str]:
        """Those of our texts that stand on the card and on the issue."""
        card = self.gateway.board.call("cards.runs", {"id": self.card})["card"]
        texts = [comment["body"] for comment in card.get("metadata", {}).get("comments", ())]
        texts += [each["content"] for each in self.multica.state.comments.values() if each["issue_id"] == self.issue]
        return [found[1] for text in texts if (found := signature(text)) is not None]


@contextmanager
def live_team(folder: Path) -> Iterator[LiveTeam]:
    workspace = folder / "workspaces" / "architect"
    workspace.mkdir(parents=True)
    (folder / "workspaces" / "coo").mkdir()
    (folder / "agents.yaml").write_text(_ROSTER)
    (workspace / "TODO.md").write_text(f"# This week\n\n- [/] {LINE}\n- [ ] Feed the cat\n")
    board = FakeBoard(SteppingClock(int(NOW.timestamp() * 1000)))
    state = MulticaState()
    state.now = NOW
    with FakeGateway(board) as gateway, FakeMultica(state) as multica:
        card = board.create(CARD, agentId="architect")["id"]
        board.call("cards.claim", {"id": card, "ownerId": "architect"})
        issue = state.add_issue(ISSUE, status="in_progress", assignee_type="agent", assignee_id=CODEX)["id"]
        team = LiveTeam(folder, gateway, multica, NOW, card, issue)
        team.pass_time(timedelta(minutes=3))
        yield team
