"""The Multica cases of the writers' suite: API and command, over a present-day server and over an old one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation
from heartbeat.systems.base import Deadline, Source
from heartbeat.systems.multica.source import build as build_source
from heartbeat.systems.multica.writer import IssueWriter
from heartbeat.systems.multica.writer import build as build_writer
from heartbeat.task import Item, Ref
from tests.contract.writer_suite import OTHER, PATIENCE, WORKER, OpenWriterCase, WriterCase
from tests.support import fake_multica_cli
from tests.support.fake_multica_records import CODEX, REVIEWER, Json
from tests.support.fake_multica_server import WRITES, FakeMultica, Request, resets
from tests.support.fake_multica_state import MulticaState
from tests.support.multica_cases import environment
from tests.support.rosters import make_agent, make_roster

AGENTS = {WORKER: REVIEWER, OTHER: CODEX}
ROSTER = make_roster(*(make_agent(agent, "developer", multica_id=uuid) for agent, uuid in AGENTS.items()))

_OUTPUT = re.compile(r"^- (?:`([^`]+)`|(\S+)) \(\w+\)", re.MULTILINE)


class MulticaWriterCase(WriterCase):
    """A fake server whose clock moves on by a second at each change."""

    operations = frozenset(Operation) - {Operation.CREATE}
    has_claims = True
    loses_answers = True

    def __init__(self, server: FakeMultica, directory: Path, transport: str) -> None:
        self.server = server
        self.transport = transport
        variables = environment(server, directory)
        settings = {"transport": transport}
        writer = build_writer(settings, ROSTER, variables)
        assert writer is not None
        self._writer = writer
        self._source = build_source(settings, ROSTER, variables)
        self._witness = build_source({"transport": "api"}, ROSTER, variables)
        server.before = self._time_goes_on

    @property
    def state(self) -> MulticaState:
        return self.server.state

    @property
    def writer(self) -> IssueWriter:
        return self._writer

    @property
    def source(self) -> Source:
        return self._source

    @property
    def now(self) -> datetime:
        return self.state.now

    def work(self, title: str, agent: str = WORKER) -> Ref:
        return self.make(title, "in_progress", agent)

    def waiting(self, title: str, agent: str = WORKER) -> Ref:
        return self.make(title, "todo", agent)

    def blocked(self, title: str, agent: str = WORKER) -> Ref:
        return self.make(title, "blocked", agent)

    def make(self, title: str, status: str, agent: str = WORKER, **fields: Any) -> Ref:
        given = {"assignee_type": "agent", "assignee_id": AGENTS[agent], "status": status, **fields}
        return Ref("multica", self.state.add_issue(title, **given)["id"])

    def comment_as_other(self, ref: Ref, text: str) -> None:
        self.state.pass_time(seconds=1)
        self.state.comment(self.record(ref), {"content": text}, author_type="agent", author_id=REVIEWER)

    def take(self, ref: Ref, agent: str = OTHER) -> None:
        self.edit(ref, status="in_progress", assignee_type="agent", assignee_id=AGENTS[agent], suppress_run=True)

    def edit(self, ref: Ref, **fields: Any) -> None:
        """Somebody else changes the issue."""
        self.state.pass_time(seconds=1)
        self.state.update(self.record(ref), fields)

    def item(self, ref: Ref) -> Item:
        """As the API gives it, whoever wrote it: the command's own reading is a matter of the sources' suite."""
        reading = self._witness.read(Deadline.after(PATIENCE), self.now)
        return next(item for item in reading.items if item.ref == ref)

    def texts(self, ref: Ref) -> Sequence[str]:
        return [comment["content"] for comment in self.state.comments.values() if comment["issue_id"] == ref.id]

    def outputs(self, ref: Ref) -> Sequence[str]:
        return [file or address for text in self.texts(ref) for file, address in _OUTPUT.findall(text)]

    def lose_next_answer(self) -> None:
        self.server.break_with(resets, method=WRITES, times=1, after=True)

    def record(self, ref: Ref) -> Json:
        return self.state.issues[ref.id]

    def _time_goes_on(self, request: Request) -> None:
        if request.method != "GET":
            self.state.pass_time(seconds=1)


@contextmanager
def open_case(
    directory: Path, *, transport: str, modern: bool = True, heeds_quiet: bool = True, **command: Any
) -> Iterator[MulticaWriterCase]:
    """A case of its own; `command` says how the multica command behaves."""
    fake_multica_cli.install(directory / "bin", **command)
    with FakeMultica(MulticaState(modern=modern, heeds_quiet=heeds_quiet)) as server:
        yield MulticaWriterCase(server, directory, transport)


OpenMulticaCase = Callable[[Path], AbstractContextManager[MulticaWriterCase]]

KINDS: dict[str, OpenMulticaCase] = {
    "api": partial(open_case, transport="api"),
    "api-without-revisions": partial(open_case, transport="api", modern=False),
    "cli": partial(open_case, transport="cli"),
    "cli-without-revisions": partial(open_case, transport="cli", modern=False),
}
OLD_COMMAND: OpenMulticaCase = partial(
    open_case, transport="cli", modern=False, version="0.3.28", lacks=["--no-start", "--full"]
)
"""Cannot give an issue to another agent without waking it, and so is no case of the suite."""


def _param(name: str, opened: OpenWriterCase) -> Any:
    return pytest.param(opened, id=f"multica-{name}")


CASES = tuple(_param(name, KINDS[name]) for name in ("api", "api-without-revisions", "cli"))
