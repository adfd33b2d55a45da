"""An issue's comments: what they tell, and how heartbeat's own are written and known again (rules T2, L4). Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from heartbeat.action import Output, Voice, signature, signed
from heartbeat.instants import not_after, parse_instant
from heartbeat.systems.writing import Said, latest
from heartbeat.task import Evidence, EvidenceKind, Ref

NOTE = "/note"
"""As a comment's first word the one dependable way to wake no agent, whatever else the text holds (contract 3)."""

_OUTPUTS = "📎"
_LINE = 300
_SHORT_ID = 8


@dataclass(frozen=True, slots=True)
class Comments:
    """An issue's comments, as evidence in order of time. `notes` maps the marker of each of ours to its comment; `said`
    is what the newest of them say."""

    ids: frozenset[str] = frozenset()
    evidence: tuple[Evidence, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    said: tuple[Said, ...] = field(default=(), repr=False)


def read_comments(
    rows: Iterable[Any], ref: Ref, now: datetime, agents: Mapping[str, str] = MappingProxyType({})
) -> Comments:
    """What the API's comments tell. One without an id cannot be told from another and is passed over. `agents` maps
    Multica agent UUIDs in lower case to roster ids.

    What the server itself says (that a stage has ended, say) is its own housekeeping; all else is somebody's word.
    """
    evidence: list[Evidence] = []
    notes: dict[str, str] = {}
    said: list[Said] = []
    for row in rows:
        if not isinstance(row, Mapping) or not row.get("id"):
            continue
        identity, ours = str(row["id"]), _signature(row.get("content"))
        if ours is not None:
            notes.setdefault(ours[1], identity)
        at, _ = not_after(parse_instant(row.get("created_at")), now)
        kind = EvidenceKind.SWEEP if row.get("author_type") == "system" else EvidenceKind.COMMENT
        own = ours is not None and ours[0] is Voice.RULE
        evidence.append(Evidence(ref, at or now, kind, identity, own))
        said.append(Said.of(_author(row, agents), at, _words(row.get("content"), ours is not None)))
    evidence.sort(key=lambda each: each.at)
    return Comments(frozenset(each.id for each in evidence), tuple(evidence), notes, latest(said))


def _author(row: Mapping[str, Any], agents: Mapping[str, str]) -> str:
    """A roster id where the roster has the agent, else the kind of author and the beginning of its id."""
    kind, identity = str(row.get("author_type") or ""), str(row.get("author_id") or "").lower()
    if kind == "agent" and identity in agents:
        return agents[identity]
    return kind if kind == "system" else f"{kind} {identity[:_SHORT_ID]}".strip()


def _words(content: object, is_note: bool) -> str:
    """What a comment says, without the word by which a note of ours wakes nobody."""
    text = content if isinstance(content, str) else ""
    return text.lstrip()[len(NOTE) :] if is_note else text


def note(text: str, marker: str, voice: Voice) -> str:
    """The text of a comment that wakes nobody and ends with its marker. What the server would strip is left out."""
    sent = signed(text.replace("\0", ""), marker, voice)
    return f"{NOTE} {sent}".encode("utf-8", "replace").decode("utf-8")


def with_outputs(text: str, outputs: Iterable[Output]) -> str:
    """The text, and below it a list of outputs: a file as code, so that nothing in its name
    means anything, and so is an address that holds brackets."""
    lines = [_output_line(output) for output in outputs]
    return "\n".join(filter(None, (text.rstrip(), _OUTPUTS, *lines))) if lines else text


def _output_line(output: Output) -> str:
    path = _one_line(output.path)
    shown = path if _is_bare(path) else f"`{path.replace('`', chr(39))}`"
    remark = _one_line(output.note)
    return f"- {shown} ({output.type.value})" + (f": {remark}" if remark else "")


def _is_bare(path: str) -> bool:
    """Whether it is an address in which nothing could end it, or mean something else in Markdown (rule B8)."""
    return (
        path.lower().startswith(("http://", "https://"))
        and not any(each in "[]()<>`" for each in path)
        and (path.isprintable() and not any(each.isspace() for each in path))
    )


def _one_line(text: str) -> str:
    kept = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)
    return " ".join(kept.split())[:_LINE]


def _signature(content: object) -> tuple[Voice, str] | None:
    """Whose note it is; None for whatever does not begin and end as ours do."""
    if not isinstance(content, str) or content.split(None, 1)[:1] != [NOTE]:
        return None
    return signature(content)
