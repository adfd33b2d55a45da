"""Writing to task lines: the box, and an annotation behind the text (rules S9, T9, L2, L4, L6).

A line has no comments, no claims and no history. What is said on it stands in HTML comments at its end, the newest
three of ours; whether a write took effect is seen by the marker that each of them carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import dedent
from typing import Any

from heartbeat.action import Operation, Output, Voice, Write, signature, signed
from heartbeat.deadline import Deadline
from heartbeat.errors import CannotWriteError
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.todo.edit import (
    EditRefusedError,
    LineChangedError,
    NotDurableError,
    annotate,
    edit_line,
    harmless,
    keep_annotations,
    set_box,
)
from heartbeat.systems.todo.files import Workspace, find_files, is_there, read_file
from heartbeat.systems.todo.inline import annotated_text, annotation_spans
from heartbeat.systems.todo.items import SOURCE, Owners, items_by_line
from heartbeat.systems.todo.markdown import TaskLine, line_spans
from heartbeat.systems.todo.source import FilesTransport, told_path
from heartbeat.systems.todo.source import build as build_source
from heartbeat.systems.writing import ConflictError, Look, Said, UnsupportedError, Written, latest, shortened
from heartbeat.task import Evidence, EvidenceKind, Item, Owner, OwnerKind, Ref, Status

KEPT = 3
"""Annotations of ours that stay on a line; older ones go when a newer one comes."""

LONGEST = 1000
"""Characters of an annotation, its marker left out: a task line is for people to read."""

BOXES: Mapping[Status, str] = {
    Status.TODO: " ",
    Status.IN_PROGRESS: "/",
    Status.BLOCKED: "!",
    Status.DONE: "x",
    Status.CANCELLED: "-",
}
"""What a box can say (rule S9)."""

_STATUS: Mapping[Operation, Status] = {
    Operation.BLOCK: Status.BLOCKED,
    Operation.UNBLOCK: Status.TODO,
    Operation.CLAIM: Status.IN_PROGRESS,
    Operation.DONE: Status.DONE,
}
"""What these make of a line, whatever the write's own status."""

_SAYS_SOMETHING = frozenset({Operation.COMMENT, Operation.RECOVER, Operation.BLOCK, Operation.ATTACH})
"""Operations that leave an annotation in any case; the others leave one where the write has a text or outputs."""

_POSSIBLE = frozenset({*_STATUS, *_SAYS_SOMETHING, Operation.MOVE})

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""A file does not tell when a line was written: what a look finds on it is dated so early that it is no news to
anybody, and is told apart by its id alone (rule T9)."""

_OUTPUTS = "产出：{listed}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an item stands now: its workspace's file as it was read, its line in it, and the last line that is
    indented below it and belongs to no other task."""

    workspace: Workspace
    path: str
    data: bytes
    task: TaskLine
    item: Item
    until: int

    @property
    def line(self) -> bytes:
        return self.data[self.task.start : self.task.end]

    @property
    def told(self) -> str:
        return f"{self.workspace.root / self.path}:{self.task.line}"

    @property
    def notes(self) -> str:
        """What stands below the line, as far as it is no task of its own."""
        below = b"".join(self.data[start:end] for start, end in line_spans(self.data)[self.task.line : self.until])
        return shortened(dedent(below.decode("utf-8", "replace").replace("\r\n", "\n")))

    @property
    def said(self) -> tuple[Said, ...]:
        """What heartbeat's annotations say, in their order: a line tells neither when nor who."""
        return latest(Said.of("", None, text) for text in self._annotations())

    def signatures(self) -> tuple[tuple[Voice, str], ...]:
        """Who speaks in each of heartbeat's annotations on the line, and its marker."""
        said = (signature(text) for text in self._annotations())
        return tuple(found for found in said if found is not None)

    def _annotations(self) -> Iterator[str]:
        text = self.line.decode("utf-8", "replace")
        return (annotated_text(text[start:end]) for start, end in annotation_spans(text))


@dataclass(frozen=True, slots=True)
class TodoWriter:
    """Implements Writer."""

    transport: FilesTransport
    owners: Owners
    source: str = SOURCE

    def can(self, operation: Operation) -> bool:
        return operation in _POSSIBLE

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        """The line as it stands in its file now. A file knows of no claims and no runs: others must be asked too.

        Raises TransportError where the file cannot be read, so that a line which may be there is not taken for gone.
        """
        place = self._find(ref, deadline)
        if place is None:
            return Look(None, active=False)
        signatures = place.signatures()
        evidence = [Evidence(ref, _NEVER, EvidenceKind.EDITED, place.item.revision or "")]
        evidence += [
            Evidence(ref, _NEVER, EvidenceKind.COMMENT, marker, own=voice is Voice.RULE) for voice, marker in signatures
        ]
        markers = frozenset(marker for _, marker in signatures)
        return Look(place.item, tuple(evidence), "", False, markers, place.notes, place.said)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        """Box and annotation change together or not at all, so that the annotation's marker tells of both."""
        status = _status_after(write, look)
        place = self._find(write.ref, deadline)
        if look.item is None or place is None:
            raise ConflictError(f"{write.ref} is not there any more", advice="read again and decide")
        _check_claim(write, place)
        if write.marker in {marker for _, marker in place.signatures()}:
            ours = status is not None and place.item.status is status
            return _written(write, place.item.revision if ours else None, "it had been written before")
        if place.item.revision != look.item.revision:
            raise ConflictError(f"{place.told}: the line has changed since it was read", advice="read again and decide")
        line = _changed(write, status, place)
        if line == place.line:
            return Written(note=f"{place.told} says so already")
        revision = self._revision_after(write, status, place, line)
        if deadline.left() <= 0:
            raise TransportError(FailureKind.TIMEOUT, f"{place.told} was not changed: the deadline has passed")
        _replace(place, line)
        return _written(write, revision if revision != place.item.revision else None, f"{place.told} was changed")

    def _find(self, ref: Ref, deadline: Deadline) -> _Place | None:
        """The line that the ref names, looked for in the one file that it can stand in; None where it is gone."""
        name, _, _ = ref.id.rpartition("#")
        agent, _, path = name.partition("/")
        workspace = next((each for each in self.transport.workspaces if each.agents[0] == agent), None)
        if ref.source != SOURCE or workspace is None:
            raise TransportError(
                FailureKind.NOT_FOUND, f"{ref}: no such workspace", advice="check the roster's workspaces"
            )
        if not is_there(workspace.root):
            # It may be a disk that is not mounted: what stood there is not gone (rule S2).
            raise TransportError(
                FailureKind.NOT_FOUND,
                f"{workspace.name}: the workspace {workspace.root} is not there",
                advice="mount or create it, or correct the roster's workspaces",
            )
        problems: list[str] = []
        for found in find_files(workspace.root, self.transport.patterns, deadline, problems):
            if told_path(found) == path and (read := read_file(workspace.root, found)) is not None:
                return self._place(workspace, found, read[0], ref)
        if problems:
            raise TransportError(
                FailureKind.INCOMPLETE,
                f"{path} was not found, and {'; '.join(problems)}",
                advice="let heartbeat's user look there",
            )
        return None

    def _place(self, workspace: Workspace, path: str, data: bytes, ref: Ref) -> _Place | None:
        file = self.transport.parsed(workspace, path, data)
        pairs = ((task, item) for task, item in items_by_line(file, self.owners) if item.ref == ref)
        tasks = file.content.tasks
        places = (_Place(workspace, path, data, task, item, _last_below(task, tasks)) for task, item in pairs)
        return next(places, None)

    def _revision_after(self, write: Write, status: Status | None, place: _Place, line: bytes) -> str | None:
        """What the item's revision will be. Raises UnsupportedError where the line would still not say `status`."""
        edited = place.data[: place.task.start] + line + place.data[place.task.end :]
        after = self._place(place.workspace, place.path, edited, write.ref)
        if after is None or after.task.line != place.task.line:
            raise UnsupportedError(f"{place.told}: the change would make another task of the line")
        if status is not None and after.item.status is not status:
            raise UnsupportedError(
                f"{place.told}: with its box changed it would be {after.item.status.value.replace('_', ' ')}, "
                f"not {status.value.replace('_', ' ')}",
                advice="a marker (🚧, ⛔) or the heading above says otherwise: change the line by hand",
            )
        return after.item.revision


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> TodoWriter | None:
    """The writer for the source with the same settings; None where no agent has a workspace. Raises UsageError."""
    source = build_source(settings, roster, environment)
    return TodoWriter(source.transport, source.owners) if source.transport.workspaces else None


def _last_below(task: TaskLine, tasks: Iterable[TaskLine]) -> int:
    """The last line of the task's list item before another task in it."""
    within = (other.line - 1 for other in tasks if task.line < other.line <= task.until)
    return min(within, default=task.until)


def _status_after(write: Write, look: Look) -> Status | None:
    """What the line's box is to say, None where it stays. Raises UnsupportedError for what a line cannot do or say."""
    if write.operation not in _POSSIBLE:
        raise UnsupportedError(f"a TODO line cannot {write.operation.value.replace('_', ' ')}")
    status = _STATUS.get(write.operation)
    if write.operation in (Operation.RECOVER, Operation.MOVE):
        status = write.status
        if status is None and write.operation is Operation.MOVE:
            raise UnsupportedError(f"{write.ref}: a move needs a status to move to")
    if write.operation is Operation.UNBLOCK and look.item is not None and look.item.status is not Status.BLOCKED:
        return None
    if status is not None and status not in BOXES:
        raise UnsupportedError(
            f"the box of a TODO line cannot say {status.value.replace('_', ' ')}",
            advice=f"it can say {', '.join(known.value.replace('_', ' ') for known in BOXES)}",
        )
    return status


def _check_claim(write: Write, place: _Place) -> None:
    """A line says whose it is by its @agent or its workspace, and neither is ours to change."""
    owner = place.item.owner
    if write.operation is Operation.CLAIM and write.agent and owner != Owner(OwnerKind.AGENT, write.agent):
        raise UnsupportedError(
            f"{place.told} belongs to {owner.id or 'nobody'}, so that {write.agent} cannot claim it",
            advice=f"write @{write.agent} at the end of the line",
        )


def _changed(write: Write, status: Status | None, place: _Place) -> bytes:
    """The line after the write. Raises UnsupportedError, and TransportError where the line would swallow it."""
    if place.task.box is None:
        raise UnsupportedError(f"{place.told}: a plain bullet cannot be written to", advice="write it as `- [ ] …`")
    line = place.line
    try:
        if status is not None and place.item.status is not status:
            line = set_box(line, BOXES[status])
        if write.text.strip() or write.outputs or write.operation in _SAYS_SOMETHING:
            line = keep_annotations(annotate(line, _said(write)), KEPT)
    except EditRefusedError as error:
        raise TransportError(FailureKind.REFUSED, f"{place.told}: {error}", advice=error.advice) from error
    return line


def _said(write: Write) -> str:
    """The annotation's text with its marker at the very end."""
    parts = [write.text, _OUTPUTS.format(listed="；".join(map(_output, write.outputs))) if write.outputs else ""]
    text = harmless(" ".join(filter(None, parts)))
    return signed(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…", write.marker, write.voice)


def _output(output: Output) -> str:
    return f"{output.path}（{output.type.value}{'，' + output.note if output.note else ''}）"


def _replace(place: _Place, line: bytes) -> None:
    try:
        edit_line(place.workspace.root, place.path, place.task.line, place.line, lambda before: line)
    except LineChangedError as error:
        raise ConflictError(str(error), advice=error.advice) from error
    except NotDurableError as error:
        raise TransportError(FailureKind.SERVER_ERROR, str(error), advice=error.advice, outcome_unknown=True) from error
    except CannotWriteError as error:
        raise TransportError(FailureKind.REFUSED, str(error), advice=error.advice) from error


def _written(write: Write, revision: str | None, note: str) -> Written:
    """An agent's own words through us are not ours: they count (rule T2)."""
    own = () if revision is None or write.voice is not Voice.RULE else (revision,)
    return Written(own, note)
