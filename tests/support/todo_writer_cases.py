"""The TODO case of the writers' suite: two workspaces in a temporary directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from heartbeat.action import Operation
from heartbeat.roster.model import Roster
from heartbeat.systems.todo.inline import annotated_text, annotation_spans
from heartbeat.systems.todo.source import TodoSource
from heartbeat.systems.todo.source import build as build_source
from heartbeat.systems.todo.writer import TodoWriter
from heartbeat.systems.todo.writer import build as build_writer
from heartbeat.task import Ref, Status
from tests.contract.suite import NOW
from tests.contract.writer_suite import OTHER, STATUS_AFTER, WORKER, WriterCase
from tests.support.rosters import make_agent, make_roster

HEAD = "# 待办\r\n\r\n- [x] 已经做完的\r\n"


class TodoWriterCase(WriterCase):
    """Files with CR LF line endings, in which somebody else edits too."""

    operations = frozenset(Operation) - {Operation.ASSIGN, Operation.CREATE}
    status_after: ClassVar[Mapping[Operation, Status]] = {**STATUS_AFTER, Operation.MOVE: Status.CANCELLED}

    def __init__(self, directory: Path) -> None:
        self.files = {agent: directory / agent / "TODO.md" for agent in (WORKER, OTHER)}
        for file in self.files.values():
            file.parent.mkdir(parents=True)
            file.write_bytes(HEAD.encode())
        self.roster: Roster = make_roster(
            *(make_agent(agent, "developer", workspace=file.parent) for agent, file in self.files.items())
        )
        writer = build_writer({}, self.roster, {})
        assert writer is not None
        self._writer = writer
        self._source = build_source({}, self.roster, {})

    @property
    def writer(self) -> TodoWriter:
        return self._writer

    @property
    def source(self) -> TodoSource:
        return self._source

    @property
    def now(self) -> datetime:
        return NOW

    def work(self, title: str, agent: str = WORKER) -> Ref:
        return self.add(f"- [/] {title}", agent)

    def waiting(self, title: str, agent: str = WORKER) -> Ref:
        return self.add(f"- [ ] {title}", agent)

    def blocked(self, title: str, agent: str = WORKER) -> Ref:
        return self.add(f"- [!] {title}", agent)

    def add(self, line: str, agent: str = WORKER) -> Ref:
        """Appends a task line, and gives its ref."""
        file = self.files[agent]
        file.write_bytes(file.read_bytes() + f"{line}\r\n".encode())
        number = len(file.read_bytes().splitlines())
        place = f"{file.name}:{number}"
        (ref,) = (
            item.ref
            for item in self.read().items
            if item.ref.id.startswith(f"{agent}/") and (item.location or "").endswith(place)
        )
        return ref

    def comment_as_other(self, ref: Ref, text: str) -> None:
        self.change(ref, lambda line: f"{line} <!-- {text} -->")

    def take(self, ref: Ref, agent: str = OTHER) -> None:
        self.change(ref, lambda line: f"{line.replace('[ ]', '[/]')} @{agent}")

    def change(self, ref: Ref, edit: Callable[[str], str]) -> None:
        """Somebody else edits the line, which is given without its ending."""
        file, number = self.place(ref)
        lines = file.read_bytes().decode().split("\r\n")
        lines[number - 1] = edit(lines[number - 1])
        file.write_bytes("\r\n".join(lines).encode())

    def line(self, ref: Ref) -> str:
        """The item's line without its ending."""
        file, number = self.place(ref)
        return file.read_bytes().decode().split("\r\n")[number - 1]

    def place(self, ref: Ref) -> tuple[Path, int]:
        """The item's file and line, from 1."""
        agent = ref.id.partition("/")[0]
        location = self.item(ref).location or ""
        return self.files[agent], int(location.rpartition(":")[2])

    def texts(self, ref: Ref) -> Sequence[str]:
        line = self.line(ref)
        return [annotated_text(line[start:end]) for start, end in annotation_spans(line)]

    def outputs(self, ref: Ref) -> Sequence[str]:
        listed = [text.partition("产出：")[2] for text in self.texts(ref) if "产出：" in text]
        return [output.partition("（")[0] for text in listed for output in text.split("；")]

    def signs(self, ref: Ref) -> Mapping[str, bool]:
        return {self.item(ref).revision or "": False}


@contextmanager
def open_case(directory: Path) -> Iterator[TodoWriterCase]:
    yield TodoWriterCase(directory / "workspaces")


CASES: tuple[Any, ...] = (pytest.param(open_case, id="todo-files"),)
