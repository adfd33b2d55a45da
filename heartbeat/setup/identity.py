"""Who a hand-written HEARTBEAT.md is about, by its heading and the lines below it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heartbeat.setup.audience import class_of_label
from heartbeat.setup.foreign import clean
from heartbeat.setup.phrases import UUID
from heartbeat.setup.segments import Line, Segment

PLACEHOLDER = re.compile(r"[\[<{]|\byour_", re.IGNORECASE)
"""What stands in a template where an agent's file has a name."""

HEAD = 12
"""Lines among which a file says who it is about."""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_NAMED = re.compile(r"(?P<name>[^()]*?)\s*\((?P<id>[^()]+)\)")
_AGENT_ID = re.compile(
    r"(?<!Multica )(?<!Multica)(?:OpenClaw\s+)?Agent\s+ID\s*:\s*`?(?P<id>[^`|\s,、/;]+)"
    r"(?P<more>(?:`?\s*(?:[,、/;]|和|与|and)\s*`?[\w-]+(?![\w]*:))*)",
    re.IGNORECASE,
)
_AGENT_UUID = re.compile(
    r"(?:(?:Multica\s+)?Agent\s+UUID|Multica\s+(?:Agent\s+)?(?:UUID|ID)|(?:\A[\W]*|[|(,;]\s*)(?:UUID|Agent\s+ID))"
    r"\s*:\s*`?(?P<uuid>[^`|\s,、;)]+)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?P<what>分类|类别|类型|class|category)\s*:\s*(?P<label>[^|]+)", re.IGNORECASE)


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
    head = [line for line in segment.lines[:HEAD] if not line.code]
    stated = [(line, found) for line in head for found in _AGENT_ID.finditer(line.plain) if not UUID.match(found["id"])]
    if PLACEHOLDER.match(segment.title) or any(PLACEHOLDER.search(found["id"]) for _, found in stated[:1]):
        return "it is a template with placeholders, and about no agent"
    written = stated[0][1]["id"] if stated else title["id"].strip() if title else ""
    if not written:
        return "it names no agent: its heading has no `NAME(id)`, and no line says `OpenClaw Agent ID`"
    folded = written.lower()
    if not _ID.fullmatch(folded):
        return f"{clean(written, 80)!r} is no agent's id: 1 to 64 of a-z, 0-9, - and _"
    notes: list[Note] = []
    if stated and title and title["id"].strip().lower() != folded:
        told = f"the id here is {folded}, the heading says {clean(title['id'], 80)}; this one counts"
        notes.append(Note(stated[0][0].number, told))
    notes += _other_ids(stated, folded)
    if folded != written:
        notes.append(Note(segment.number, f"the id is written {clean(written, 80)}; {folded} counts"))
    name = title["name"] if title else segment.title.removesuffix("的心跳配置")
    return Who(folded, clean(name, 80) or folded, _uuid(head, notes), _class(segment.lines, notes), tuple(notes))


def without_identity(line: Line, segment: Segment, who: Who) -> str:
    """A line of the head without what was read of it here: what is left may hold numbers that mean something."""
    plain = line.plain
    if line.number == segment.number:
        named = _NAMED.match(segment.title)
        return segment.title[named.end() :] if named and named["id"].strip().lower() == who.id else segment.title
    if line.number >= segment.number + HEAD:
        return plain
    plain = _AGENT_UUID.sub(" ", plain)
    return _AGENT_ID.sub(" ", plain)


def uuid_of(text: str) -> str | None:
    """A UUID as Multica writes it, from one in capitals or without its hyphens; None where the text is none."""
    if not UUID.fullmatch(text):
        return None
    bare = text.lower().replace("-", "")
    return "-".join((bare[:8], bare[8:12], bare[12:16], bare[16:20], bare[20:]))


def _other_ids(stated: Sequence[tuple[Line, re.Match[str]]], agent: str) -> Iterator[Note]:
    """Ids that the head names besides the one that counts."""
    for index, (line, found) in enumerate(stated):
        words = re.findall(r"[\w-]+", re.sub(r"\band\b|和|与", " ", found["more"]))
        for word in words if index == 0 else (found["id"], *words):
            if word.lower() != agent:
                yield Note(line.number, f"the id here is {clean(word, 80)}, too; {agent} counts")


def _uuid(head: Sequence[Line], notes: list[Note]) -> str:
    """The first UUID that the head gives as the agent's; the reader notes every other one."""
    chosen = ""
    for line in head:
        for found in _AGENT_UUID.finditer(line.plain):
            uuid = uuid_of(found["uuid"])
            chosen = chosen or uuid or ""
            if uuid is None and not _is_an_id(found):
                notes.append(Note(line.number, f"{clean(found['uuid'], 80)!r} is no UUID and is left out"))
    return chosen


def _is_an_id(found: re.Match[str]) -> bool:
    """`Agent ID: coo` and not a UUID that is mistyped."""
    return (
        re.search(r"Agent\s+ID\s*:", found.group(), re.IGNORECASE) is not None
        and "multica" not in found.group().lower()
    )


def _class(lines: Sequence[Line], notes: list[Note]) -> str | None:
    """The first class that is named: `分类` anywhere, the other words for it in the head."""
    first: tuple[Line, str | None] | None = None
    for index, line in enumerate(lines):
        found = _LABEL.search(line.plain) if not line.code else None
        if found is None or (index >= HEAD and found["what"] != "分类"):
            continue
        class_id = class_of_label(found["label"])
        if class_id is None and (first is None or index < HEAD):
            notes.append(Note(line.number, f"the class {clean(found['label'], 60)!r} is none that heartbeat knows"))
        elif first is not None and class_id is not None and class_id != first[1]:
            notes.append(
                Note(line.number, f"the class is {class_id} here, {first[1]} on line {first[0].number}, which counts")
            )
        first = first or ((line, class_id) if class_id else None)
    return first[1] if first else None
