"""The source `todo`: the task lists of every agent's workspace, read from the file system (rules S9, S1 to S2)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heartbeat.roster.model import Roster
from heartbeat.systems.base import (
    Deadline,
    FailureKind,
    Fetched,
    Probe,
    Reading,
    Translated,
    TransportedSource,
    TransportError,
)
from heartbeat.systems.todo.files import (
    DEFAULT_FILES,
    Workspace,
    checked_patterns,
    find_files,
    is_there,
    read_file,
    workspaces_of,
)
from heartbeat.systems.todo.items import SOURCE, Owners, TaskFile, holds_instructions, owners_of, translate
from heartbeat.systems.todo.markdown import TaskList, read_tasks

TRANSPORT = "files"

_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class FilesTransport:
    """Implements Transport. Its records are `TaskFile`s, one for each file that was read."""

    workspaces: tuple[Workspace, ...]
    patterns: tuple[str, ...]
    bullets: bool = False
    name: str = TRANSPORT

    def absent(self) -> str | None:
        return None if self.workspaces else "no agent of the roster has a workspace"

    def fetch(self, deadline: Deadline) -> Fetched:
        """Every file; what could not be read is named in `problem`. Raises TransportError where nothing could be."""
        reading = _Reading(self, deadline)
        missing: list[str] = []
        concerned: set[Workspace] = set()
        for workspace in _innermost_first(self.workspaces):
            problems = len(reading.problems)
            if is_there(workspace.root):
                reading.workspace(workspace)
                if len(reading.problems) > problems:
                    concerned.add(workspace)
            else:
                concerned.add(workspace)
                # It may be a disk that is not mounted: what stood there is not gone (rule S2).
                missing.append(f"{workspace.name}: the workspace {workspace.root} is not there")
        if len(missing) == len(self.workspaces):
            told = _listed([str(workspace.root) for workspace in self.workspaces])
            advice = "correct `workspaces` or `workspace` in the roster, or create the directories"
            raise TransportError(FailureKind.NOT_FOUND, f"no agent's workspace is there: {told}", advice=advice)
        reading.check_something_was_read()
        rank = {workspace.agents: rank for rank, workspace in enumerate(self.workspaces)}
        files = sorted(reading.files, key=lambda file: rank[file.agents])
        agents = tuple(agent for workspace in self.workspaces if workspace in concerned for agent in workspace.agents)
        return Fetched(files, _listed([*reading.problems, *missing], "; "), agents=agents)

    def version(self, deadline: Deadline) -> str | None:
        return None

    def parsed(self, workspace: Workspace, path: str, data: bytes) -> TaskFile:
        """What a file says that holds `data`. Raises TransportError BUG where the parser fails on it."""
        bullets = self.bullets and not holds_instructions(path)
        return TaskFile(workspace.agents, told_path(path), _parsed(data, bullets, f"{workspace.root / path}"))


def told_path(path: str) -> str:
    """A path as refs and people call it: a file name need not be UTF-8, and what is not cannot be printed or stored."""
    return os.fsencode(path).decode("utf-8", "replace")


def _innermost_first(workspaces: Sequence[Workspace]) -> list[Workspace]:
    """Where a workspace lies in another one, its files are its own agent's."""
    return sorted(workspaces, key=lambda workspace: -os.path.realpath(workspace.root).count(os.sep))


@dataclass(slots=True)
class _Reading:
    """One sweep through the workspaces."""

    transport: FilesTransport
    deadline: Deadline
    files: list[TaskFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    first_error: TransportError | None = None
    seen: set[tuple[int, int]] = field(default_factory=set)

    def workspace(self, workspace: Workspace) -> None:
        try:
            paths = find_files(workspace.root, self.transport.patterns, self.deadline, self.problems)
        except TransportError as error:
            self._failed(error)
            return
        for path in paths:
            try:
                self._file(workspace, path)
            except TransportError as error:
                self._failed(error)

    def _file(self, workspace: Workspace, path: str) -> None:
        if self.deadline.left() <= 0:
            raise TransportError(FailureKind.TIMEOUT, f"{workspace.root / path} was not read before the deadline")
        read = read_file(workspace.root, path)
        if read is None:
            return
        data, status = read
        identity = (status.st_dev, status.st_ino)
        if identity in self.seen:  # under another name, or in a workspace within a workspace
            return
        self.seen.add(identity)
        self.files.append(self.transport.parsed(workspace, path, data))

    def _failed(self, error: TransportError) -> None:
        self.first_error = self.first_error or error
        self.problems.append(str(error))

    def check_something_was_read(self) -> None:
        if self.problems and not self.files:
            kind = self.first_error.kind if self.first_error else FailureKind.AUTH
            advice = self.first_error.advice if self.first_error else "let heartbeat's user list it"
            raise TransportError(kind, _listed(self.problems, "; "), advice=advice)


def _parsed(data: bytes, bullets: bool, told: str) -> TaskList:
    try:
        return read_tasks(data, bullets=bullets)
    except Exception as error:
        # The parser is not ours. Where it fails on one file, the other agents' files are still to be read, and the
        # report names this one.
        reason = f"{type(error).__name__}: {error}"[:200]
        raise TransportError(
            FailureKind.BUG, f"{told} could not be parsed as Markdown ({reason})", advice="please report the file"
        ) from error


@dataclass(frozen=True, slots=True)
class TodoSource:
    """Implements Source."""

    transport: FilesTransport
    owners: Owners
    automatic: bool = True
    required: bool = False
    name: str = SOURCE
    shareable: bool = False

    @property
    def identity(self) -> str:
        what = {
            "files": self.transport.patterns,
            "bullets": self.transport.bullets,
            "workspaces": {workspace.name: str(workspace.root) for workspace in self.transport.workspaces},
        }
        return json.dumps(what, ensure_ascii=False, sort_keys=True)

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        source = TransportedSource(
            name=self.name,
            identity=self.identity,
            transports=(self.transport,),
            translate=self._translate,
            automatic=self.automatic,
            required=self.required,
            shareable=self.shareable,
        )
        return source.read(deadline, now)

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        """How many tasks there are, and what of them could not be read."""
        reason = self.transport.absent()
        if reason is not None:
            return (Probe(TRANSPORT, False, False, 0.0, kind=FailureKind.NOT_CONFIGURED, message=reason),)
        began = time.monotonic()
        try:
            fetched = self.transport.fetch(deadline)
        except TransportError as error:
            seconds = time.monotonic() - began
            return (Probe(TRANSPORT, False, True, seconds, None, None, error.kind, str(error), error.advice),)
        items = len(translate(fetched.records, self.owners).items)
        return (Probe(TRANSPORT, True, True, time.monotonic() - began, items, message=fetched.problem),)

    def _translate(self, fetched: Fetched, now: datetime) -> Translated:
        return translate(fetched.records, self.owners)


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> TodoSource:
    """The source with the roster's settings: `files` (names and globs), `bullets`, `required`, `transport`.

    Raises UsageError for a file setting that leads out of the workspace.
    """
    transport = FilesTransport(
        workspaces=workspaces_of(roster),
        patterns=checked_patterns(settings.get("files") or DEFAULT_FILES),
        bullets=bool(settings.get("bullets", False)),
    )
    return TodoSource(
        transport=transport,
        owners=owners_of(roster),
        automatic=settings.get("transport", "auto") == "auto",
        required=bool(settings.get("required", False)),
    )


def _listed(texts: Sequence[str], between: str = ", ") -> str:
    more = len(texts) - _NAMED_AT_MOST
    return between.join(texts[:_NAMED_AT_MOST]) + (f"{between}and {more} more" if more > 0 else "")
