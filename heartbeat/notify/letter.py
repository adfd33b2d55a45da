"""What a channel is given to send: one message, or one digest of many, as text that any channel can carry. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heartbeat.action import Level, marker_of
from heartbeat.notify import wording
from heartbeat.notify.roles import level_of
from heartbeat.store.port import Entry

MAX_BYTES = 20_000
"""The largest request that a channel over the net makes (rule O3); Feishu refuses more than 20 KB."""

SCHEMA = "heartbeat.message/1"

_BODY_BYTES = 14_000
"""How much text a body holds at most, so that it mostly still fits when it is wrapped in a channel's own JSON."""
_TITLE = 200
_LINE_TITLE = 120


@dataclass(frozen=True, slots=True)
class Letter:
    """One sending. `key` is its idempotency key; `keys` are those of the messages that it names, most urgent first.

    `count` is how many messages it stands for. With `repeat` it may have arrived before, by an attempt whose end is
    not known. `to` are the roles that it is meant for.
    """

    key: str
    level: Level
    title: str
    body: str
    keys: tuple[str, ...]
    count: int = 1
    task: str = ""
    incident: str = ""
    to: tuple[str, ...] = ()
    repeat: bool = False

    @property
    def heading(self) -> str:
        """The title for people, who cannot compare keys."""
        return wording.repeated(self.title) if self.repeat else self.title


def letter_for(entries: Sequence[Entry], *, repeat: bool = False, key: str = "") -> Letter:
    """One entry as it is, several as a digest. With `key` a letter that went out before goes out under its own key."""
    return _single(entries[0], repeat, key) if len(entries) == 1 else _digest(entries, repeat, key)


def urgency(entry: Entry) -> tuple[Any, ...]:
    """The order in which messages are told: the most urgent first, the oldest first among equals."""
    return (-level_of(entry).rank, entry.created_at, entry.key)


def document(letter: Letter) -> dict[str, Any]:
    """The letter as `heartbeat.message/1`, plain JSON for machines."""
    return {
        "schema": SCHEMA,
        "key": letter.key,
        "level": letter.level.value,
        "title": letter.title,
        "body": letter.body,
        "task": letter.task,
        "incident": letter.incident,
        "to": list(letter.to),
        "count": letter.count,
        "keys": list(letter.keys),
        "repeat": letter.repeat,
    }


def wire_size(value: Any) -> int:
    """How many bytes a value takes as JSON in a request."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def longest(text: str, fits: Callable[[str], bool]) -> str:
    """The text, or the longest beginning of it with an ellipsis that fits; at least the ellipsis."""
    if fits(text):
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(text[:middle] + "…"):
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def clean(text: str) -> str:
    """Text as every channel can carry it: no lone surrogates, no control characters but line ends and tabs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(_carried(character) for character in lines).strip()


def one_line(text: str, limit: int = _TITLE) -> str:
    """Clean text on one line, cut to `limit` characters."""
    line = " ".join(clean(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _single(entry: Entry, repeat: bool, key: str) -> Letter:
    payload = entry.payload
    body = clean(str(payload.get("body", "")))
    return Letter(
        key=key or clean(entry.key),
        level=level_of(entry),
        title=one_line(str(payload.get("title", ""))) or one_line(entry.key),
        body=longest(body, lambda text: len(text.encode()) <= _BODY_BYTES),
        keys=(clean(entry.key),),
        task=clean(entry.task),
        incident=clean(entry.incident),
        to=_roles(payload),
        repeat=repeat,
    )


def _digest(entries: Sequence[Entry], repeat: bool, key: str) -> Letter:
    ordered = sorted(entries, key=urgency)
    lines = [wording.digest_head()]
    listed: list[str] = []
    room = _BODY_BYTES - len(lines[0].encode())
    for entry in ordered:
        title = one_line(str(entry.payload.get("title", "")), _LINE_TITLE)
        line = wording.digest_line(level_of(entry), title, one_line(entry.key, _LINE_TITLE))
        room -= len(line.encode()) + 1
        if room < 0:
            break
        lines.append(line)
        listed.append(clean(entry.key))
    levels = [level_of(entry) for entry in ordered]
    return Letter(
        key=key or digest_key(entries),
        level=levels[0],
        title=wording.digest_title(levels),
        body="\n".join(lines),
        keys=tuple(listed),
        count=len(ordered),
        to=tuple(dict.fromkeys(role for entry in ordered for role in _roles(entry.payload))),
        repeat=repeat,
    )


def digest_key(entries: Sequence[Entry]) -> str:
    """The same for the same messages, in whatever order, so that a digest sent again after a crash keeps its key."""
    return f"digest/{marker_of(chr(10).join(sorted(entry.key for entry in entries)))}"


def _roles(payload: Mapping[str, Any]) -> tuple[str, ...]:
    roles = payload.get("to", ())
    return tuple(str(role) for role in roles) if isinstance(roles, list | tuple) else ()


def _carried(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    return "�" if category == "Cs" else "" if category == "Cc" else character
