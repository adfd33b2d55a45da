"""Workspaces with TODO files in a temporary folder: read and written by the real source and writer.

Agents and people change their lines as they would by `heartbeat note` and by hand, through the same edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from heartbeat.action import Operation, Voice, Write
from heartbeat.deadline import Deadline
from heartbeat.roster.model import Roster
from heartbeat.simulate.faults import ABSENT, PARTIAL, failure, write_failure
from heartbeat.simulate.world import World
from heartbeat.systems.base import Fetched, Translated
from heartbeat.systems.todo.files import Workspace
from heartbeat.systems.todo.items import SOURCE, owners_of
from heartbeat.systems.todo.source import FilesTransport, TodoSource
from heartbeat.systems.todo.writer import TodoWriter
from heartbeat.systems.writing import Look, Written
from heartbeat.task import Owner, OwnerKind, Ref, Status

_FILE = "TODO.md"
_PRIORITY: Mapping[str, str] = {"urgent": "🔺 ", "high": "⏫ ", "normal": "", "low": "🔽 "}
_LONG = 3600.0
"""Seconds: nothing here waits for anything."""


@dataclass(frozen=True, slots=True)
class _Files(FilesTransport):
    """The real transport, with faults. Nobody but us writes to these files, so they are read again only after a write:
    `changed` is filled by each."""

    world: World | None = None
    changed: set[str] = field(default_factory=lambda: {"everything"})
    known: list[Fetched] = field(default_factory=list)

    def absent(self) -> str | None:
        if self._fault() == ABSENT:
            return "nothing of it is to be found"
        return FilesTransport.absent(self)

    def fetch(self, deadline: Deadline) -> Fetched:
        kind = self._fault()
        if kind not in (None, PARTIAL):
            raise failure(SOURCE, kind)
        if self.changed:
            self.known[:] = [FilesTransport.fetch(self, deadline)]
            self.changed.clear()
        fetched = self.known[0]
        if kind == PARTIAL:
            return Fetched(fetched.records[::2], "half of the workspaces could not be read", fetched.findings)
        return fetched

    def _fault(self) -> str | None:
        return None if self.world is None else self.world.down.get(SOURCE)


@dataclass(frozen=True, slots=True)
class _Source(TodoSource):
    """The real source, which translates the same files once."""

    translated: list[tuple[Fetched, Translated]] = field(default_factory=list)

    def _translate(self, fetched: Fetched, now: datetime) -> Translated:
        if not self.translated or self.translated[0][0] is not fetched:
            self.translated[:] = [(fetched, TodoSource._translate(self, fetched, now))]
        return self.translated[0][1]


class VirtualLines:
    """The workspaces of `agents`, who have or will have lines; each lies in a directory of its own below `folder`."""

    def __init__(self, world: World, folder: Path, roster: Roster, agents: Iterable[str]) -> None:
        self._world = world
        self._folder = folder
        self._owners = owners_of(roster)
        self._numbers = 0
        workspaces = tuple(Workspace(folder / agent, (agent,)) for agent in dict.fromkeys(agents))
        for workspace in workspaces:
            workspace.root.mkdir(parents=True)
            (workspace.root / _FILE).write_text("# TODO\n\n", encoding="utf-8")
        self._transport = _Files(workspaces, (_FILE,), world=world)

    def source(self) -> TodoSource:
        return _Source(self._transport, self._owners)

    def writer(self) -> TodoWriter:
        """The real one. While the source is out of order its files cannot be reached either (see `look`)."""
        return _Writer(self._transport, self._owners, world=self._world, changed=self._transport.changed)

    def hands(self) -> TodoWriter:
        """For agents and people, who are at the files themselves."""
        return TodoWriter(self._transport, self._owners)

    def create(self, title: str, agent: str, *, status: str, priority: str) -> str:
        """A new line with a mark of its own; its ref's id."""
        self._numbers += 1
        mark, box = f"sim-{self._numbers}", "!" if status == "blocked" else " "
        self._transport.changed.add(agent)
        with (self._folder / agent / _FILE).open("a", encoding="utf-8") as file:
            file.write(f"- [{box}] {_PRIORITY[priority]}{title} 🆔 {mark}\n")
        return f"{agent}/{_FILE}#{mark}"

    def item_status(self, identity: str, now: datetime) -> Status | None:
        """What the line's box says."""
        look = self.hands().look(Ref(SOURCE, identity), _NO_ONE, Deadline.after(_LONG), now)
        return None if look.item is None else look.item.status

    def edit(self, identity: str, operation: Operation, **fields: Any) -> None:
        """An agent's or a person's own edit; the next look shows it as theirs (rule T2)."""
        now, deadline, hands = self._world.now, Deadline.after(_LONG), self.hands()
        ref = Ref(SOURCE, identity)
        write = Write(self._world.identifier(), ref, operation, voice=Voice.AGENT, **fields)
        self._transport.changed.add(identity)
        hands.apply(write, hands.look(ref, _NO_ONE, deadline, now), deadline, now)

    def delete(self, identity: str) -> None:
        """Strikes a line out of its file."""
        path, _, mark = identity.partition("#")
        self._transport.changed.add(identity)
        file = self._folder / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if mark not in line.split()), encoding="utf-8")


_NO_ONE = Owner(OwnerKind.NOBODY)


@dataclass(frozen=True, slots=True)
class _Writer(TodoWriter):
    """The real writer, with faults."""

    world: World | None = None
    changed: set[str] = field(default_factory=set)

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        self._refuse()
        return TodoWriter.look(self, ref, owner, deadline, now)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        self._refuse()
        self.changed.add(write.ref.id)
        return TodoWriter.apply(self, write, look, deadline, now)

    def _refuse(self) -> None:
        kind = None if self.world is None else self.world.down.get(SOURCE)
        if kind is not None:
            raise write_failure(SOURCE, kind)


@dataclass(frozen=True, slots=True)
class LinePiece:
    """Implements Piece: a task's line, in the hands of its agent and of people."""

    world: World
    lines: VirtualLines
    id: str

    @property
    def ref(self) -> Ref:
        return Ref(SOURCE, self.id)

    def take(self, agent: str, *, alone: bool = True) -> bool:
        status = self.lines.item_status(self.id, self.world.now)
        if status is Status.IN_PROGRESS:
            self.lines.edit(self.id, Operation.COMMENT, text="Going on with it.")
        elif status is Status.TODO:
            self.lines.edit(self.id, Operation.CLAIM)
        return status in (Status.TODO, Status.IN_PROGRESS)

    def is_with(self, agent: str) -> bool:
        return self.lines.item_status(self.id, self.world.now) is Status.IN_PROGRESS

    def breathe(self, agent: str) -> None:
        """A line knows no heartbeat of a worker."""

    def say(self, who: str, text: str) -> None:
        self.lines.edit(self.id, Operation.COMMENT, text=text)

    def finish(self, who: str) -> None:
        self.lines.edit(self.id, Operation.DONE)

    def move(self, status: str) -> None:
        self.lines.edit(self.id, Operation.MOVE, status=Status(status))

    def assign(self, agent: str) -> None:
        self.lines.edit(self.id, Operation.MOVE, status=Status.TODO)

    def clear_away(self) -> None:
        self.lines.delete(self.id)
