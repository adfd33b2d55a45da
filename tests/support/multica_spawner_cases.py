"""Multica as a case of the spawners' suite: a fake server whose agents' machines do what the issue's title says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from heartbeat.attempt import Engine
from heartbeat.dispatch.base import Order
from heartbeat.dispatch.folder import RunFolder
from heartbeat.dispatch.multica import MulticaSpawner, build
from heartbeat.task import Ref
from tests.contract.spawner_suite import SpawnerCase
from tests.support import fake_multica_cli
from tests.support.fake_models import Behaviour
from tests.support.fake_multica_records import ACTIVE_RUNS, CODEX, REVIEWER, TOKEN, Json
from tests.support.fake_multica_server import WRITES, FakeMultica, Request, answers, resets
from tests.support.fake_multica_state import MulticaState
from tests.support.gateway_spawner_cases import closed_port
from tests.support.multica_cases import environment
from tests.support.rosters import make_agent, make_roster

ROSTER = make_roster(
    make_agent("coo", multica_id=CODEX.upper()), make_agent("dev", multica_id=REVIEWER), make_agent("nobody")
)
USAGE = {
    "provider": "anthropic",
    "model": "claude-sonnet-4-6",
    "input_tokens": 1200,
    "output_tokens": 845,
    "cache_read_tokens": 90211,
    "cache_write_tokens": 4100,
    "cost_usd_ticks": 412000000,
}
ENDS: dict[Behaviour, Json] = {
    Behaviour.ANSWERS: {"status": "completed", "result": {"pr_url": "", "output": "done"}, "usage": [USAGE]},
    Behaviour.DENIED: {
        "status": "failed",
        "error": "claude: API Error: 401 unauthorized",
        "failure_reason": "agent_error.provider_auth_or_access",
    },
    Behaviour.MALFORMED: {
        "status": "failed",
        "error": "claude: API Error: 400 invalid request",
        "failure_reason": "api_invalid_request",
    },
}


class MulticaSpawnerCase(SpawnerCase):
    """Every order has an issue of its own; `dev` has those of every other order, since an agent does one at a time."""

    engine = Engine.MULTICA
    secret = TOKEN

    def __init__(self, server: FakeMultica, directory: Path, transport: str) -> None:
        self.server = server
        self.transport = transport
        self.runs = directory / "state" / "runs"
        self.now = datetime(2026, 11, 21, 4, tzinfo=UTC).timestamp()
        self._environment = environment(server, directory)
        self._behaviours: dict[str, Behaviour] = {}
        self._free = ["coo", "dev"]
        self._let_go = False
        server.before = self._machines_work

    @property
    def state(self) -> MulticaState:
        return self.server.state

    def spawner(self) -> MulticaSpawner:
        roster = replace(ROSTER, sources={"multica": {"transport": self.transport}})
        built = build(roster, self._environment, self.runs, clock=lambda: self.now)
        assert built is not None
        return built

    def model(self, behaviour: Behaviour) -> str:
        return ""

    def calls(self, order: Order) -> int:
        self._machines_work()
        return len([run for run in self.runs_of(order) if run["started_at"] is not None])

    def let_go(self) -> None:
        self._let_go = True

    @contextmanager
    def gone(self) -> Iterator[None]:
        there = self._environment["MULTICA_SERVER_URL"]
        with closed_port() as port:
            self._environment["MULTICA_SERVER_URL"] = f"http://127.0.0.1:{port}"
            yield
        self._environment["MULTICA_SERVER_URL"] = there

    def lose_next_answer(self) -> None:
        """And the first look for what came of it fails, too."""
        self.server.break_with(resets, method=WRITES, times=1, after=True)
        lost = answers(500, {"error": "failed to list"})  # nobody asks again on a 500
        looks = self.server.break_with(lost, method="GET", path="task-runs", times=0)

        def lose(request: Request) -> None:
            self._machines_work()
            if request.method != "GET":
                looks.times = 1

        self.server.before = lose

    def order(
        self,
        behaviour: Behaviour = Behaviour.ANSWERS,
        *,
        run_seconds: float = 300.0,
        status: str = "todo",
        agent: str = "",
        **fields: Any,
    ) -> Order:
        agent = agent or self._free[0]
        self._free = [*self._free[1:], self._free[0]]
        assigned = {"assignee_type": "agent", "assignee_id": {"coo": CODEX, "dev": REVIEWER}[agent], **fields}
        issue = self.state.add_issue("对账", status=status, **assigned)
        self._behaviours[issue["id"]] = behaviour
        order = super().order(behaviour, run_seconds=run_seconds)
        refs = (*order.attempt.refs, Ref("multica", issue["id"]))
        return replace(order, attempt=replace(order.attempt, refs=refs, agent=agent))

    def issue(self, order: Order) -> Json:
        return self.state.issues[order.attempt.refs[-1].id]

    def runs_of(self, order: Order) -> list[Json]:
        return [run for run in self.state.runs.values() if run["issue_id"] == order.attempt.refs[-1].id]

    def folder(self, order: Order) -> RunFolder:
        return RunFolder(self.runs, order.attempt.id)

    def _machines_work(self, request: Request | None = None) -> None:
        """Every queued run begins, and ends where its model has answered."""
        for run in self.state.runs.values():
            behaviour = self._behaviours.get(run["issue_id"], Behaviour.HANGS)
            if run["status"] == "queued":
                run.update(status="running", dispatched_at=self.state.now, started_at=self.state.now)
            if behaviour is Behaviour.HELD and self._let_go:
                behaviour = Behaviour.ANSWERS
            if run["status"] in ACTIVE_RUNS and behaviour in ENDS:
                run.update(completed_at=self.state.now, **ENDS[behaviour])


@contextmanager
def open_case(directory: Path, *, transport: str, modern: bool = True) -> Iterator[MulticaSpawnerCase]:
    fake_multica_cli.install(directory / "bin")
    with FakeMultica(MulticaState(modern=modern)) as server:
        yield MulticaSpawnerCase(server, directory, transport)


OpenMulticaSpawnerCase = Callable[[Path], AbstractContextManager[MulticaSpawnerCase]]

KINDS: dict[str, OpenMulticaSpawnerCase] = {
    "api": partial(open_case, transport="api"),
    "cli": partial(open_case, transport="cli"),
}
