"""Who a hand-written HEARTBEAT.md is about, by its heading and the lines below it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from heartbeat.setup.audience import class_of_label
from heartbeat.setup.foreign import clean
from heartbeat.setup.segments import Line, Segment

PLACEHOLDER = re.compile(r"[\[<{]|\byour_", re.IGNORECASE)
"""What stands in a template where an agent's file has a name."""

_HEAD = 12
"""Lines among which a file says who it is about."""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_NAMED = re.compile(r"(?P<name>[^()]*?)\s*\((?P<id>[^()]+)\)")
_AGENT_ID = re.compile(r"(?:OpenClaw\s+)?Agent\s+ID\s*:\s*`?(?P<id>[^`|\s]+)", re.IGNORECASE)
_AGENT_UUID = re.compile(r"(?:Multica\s+)?Agent\s+UUID\s*:\s*`?(?P<uuid>[^`|\s]+)", re.IGNORECASE)
_LABEL = re.compile(r"分类\s*:\s*(?P<label>[^|]+)")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know, and the line that it is about."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Who:
    """The agent, and the class that the file says; None where it says none that is known. `notes` are about the head of
    the file."""

    id: str
    name: str
    multica_id: str = ""
    class_id: str | None = None
    notes: tuple[Note, ...] = ()


def identify(segment: Segment) -> Who | str:
    """Who the file is about, or why that cannot be told."""
    title = _NAMED.match(segment.title)
    head = [line for line in segment.lines[:_HEAD] if not line.code]
    stated = next(((line, found) for line in head if (found := _AGENT_ID.search(line.plain))), None)
    if PLACEHOLDER.match(segment.title) or (stated and PLACEHOLDER.search(stated[1]["id"])):
        return "it is a template with placeholders, and about no agent"
    written = stated[1]["id"] if stated else title["id"].strip() if title else ""
    if not written:
        return "it names no agent: its heading has no `NAME(id)`, and no line says `OpenClaw Agent ID`"
    folded = written.lower()
    if not _ID.fullmatch(folded):
        return f"{clean(written, 80)!r} is no agent's id: 1 to 64 of a-z, 0-9, - and _"
    notes: list[Note] = []
    if stated and title and title["id"].strip().lower() != folded:
        told = f"the id here is {folded}, the heading says {clean(title['id'], 80)}; this one counts"
        notes.append(Note(stated[0].number, told))
    if folded != written:
        notes.append(Note(segment.number, f"the id is written {clean(written, 80)}; {folded} counts"))
    name = title["name"] if title else segment.title.removesuffix("的心跳配置")
    return Who(folded, clean(name, 80) or folded, _uuid(head, notes), _class(segment.lines, notes), tuple(notes))


def _uuid(head: Sequence[Line], notes: list[Note]) -> str:
    for line in head:
        found = _AGENT_UUID.search(line.plain)
        if found is None:
            continue
        folded = found["uuid"].lower()
        if _UUID.fullmatch(folded):
            return folded
        notes.append(Note(line.number, f"{clean(found['uuid'], 80)!r} is no UUID and is left out"))
    return ""


def _class(lines: Sequence[Line], notes: list[Note]) -> str | None:
    for line in lines:
        found = _LABEL.search(line.plain) if not line.code else None
        if found:
            class_id = class_of_label(found["label"])
            if class_id is None:
                told = f"the class {clean(found['label'], 60)!r} is none that heartbeat knows"
                notes.append(Note(line.number, told))
            return class_id
    return None
