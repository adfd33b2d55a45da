"""A source that says what a test tells it to say, and counts how often it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from heartbeat.systems.base import Deadline, FailureKind, Probe, Reading, ReadStatus, SourceReport
from heartbeat.task import NOBODY, Item, Priority, Ref, Status

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)

Answer = Reading | Exception | Callable[[Deadline, datetime], Reading]


class ScriptedSource:
    """Fulfils `Source`. Each read gives the next answer of the script, and the last one for ever after.

    A Reading is given as it is, with `read_at` filled in where it is complete or partial and tells none; an exception
    is raised; a function is called.
    """

    def __init__(
        self, *script: Answer, name: str = "workboard", identity: str = "ws://127.0.0.1:18789", shareable: bool = True
    ) -> None:
        self.name = name
        self.identity = identity
        self.shareable = shareable
        self.reads: list[datetime] = []
        """The present that each read was told."""
        self._script = script

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        answer = self._script[min(len(self.reads), len(self._script) - 1)]
        self.reads.append(now)
        if isinstance(answer, Exception):
            raise answer
        reading = answer(deadline, now) if callable(answer) else answer
        if reading.report.status in {ReadStatus.COMPLETE, ReadStatus.PARTIAL} and reading.report.read_at is None:
            return replace(reading, report=replace(reading.report, read_at=now))
        return reading

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return (Probe("scripted", ok=True, configured=True, seconds=0.0),)


def item(id_: str, title: str = "Write the report", *, source: str = "workboard", **changes: object) -> Item:
    """An open, unowned item; `changes` are fields of Item."""
    plain = Item(Ref(source, id_), id_, title, Status.TODO, "todo", Priority.NORMAL, NOBODY)
    return replace(plain, **changes)  # type: ignore[arg-type]


def complete(*items: Item, source: str = "workboard", **changes: object) -> Reading:
    """A complete reading of these items; `changes` are further fields of Reading."""
    report = SourceReport(source, ReadStatus.COMPLETE, transport="scripted", items=len(items))
    return replace(Reading(report, tuple(items)), **changes)  # type: ignore[arg-type]


def partial(*items: Item, source: str = "workboard", message: str = "page 2 did not come") -> Reading:
    report = SourceReport(
        source, ReadStatus.PARTIAL, "scripted", FailureKind.INCOMPLETE, message=message, items=len(items)
    )
    return Reading(report, tuple(items))


def failed(
    kind: FailureKind = FailureKind.UNREACHABLE, message: str = "nothing answers", *, source: str = "workboard"
) -> Reading:
    return Reading(SourceReport(source, ReadStatus.FAILED, "scripted", kind, message=message))


def disabled(*, source: str = "workboard", message: str = "no binary on PATH") -> Reading:
    return Reading(SourceReport(source, ReadStatus.DISABLED, kind=FailureKind.NOT_CONFIGURED, message=message))
