"""Single values as YAML, on one line. Pure.

What comes from outside is data: it stands plain only where it reads back as itself, else in quotes, with what is not
printable escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

from heartbeat.instants import format_duration, parse_duration
from heartbeat.roster.document import read_document
from heartbeat.roster.fields import MAX_TEXT
from heartbeat.setup.legacy import Said


@lru_cache(maxsize=4096)
def scalar(text: str) -> str:
    """A text as YAML, on one line: plain where it reads back as itself wherever it may stand, else in quotes."""
    if _reads_back(text, f"a: {text}\n", {"a": text}) and _reads_back(text, f"[{text}, b]\n", [text, "b"]):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else _escape(character) for character in quoted)


def path_scalar(path: str, home: str) -> str | None:
    """An absolute path as the roster's settings take it, below `home` with `~`; None where they cannot take it."""
    if not path.startswith("/") or path != path.strip() or not path.isprintable():
        return None
    shown = path
    if home not in ("", "/") and path.startswith(f"{home.rstrip('/')}/"):
        shown = f"~{path[len(home.rstrip('/')) :]}"
    shown = shown.replace("${", "$${")
    return scalar(shown) if len(shown) <= MAX_TEXT else None


def written(value: Said) -> str:
    """A setting's value as YAML."""
    if isinstance(value, timedelta):
        return _time(value)
    return flow(value) if isinstance(value, tuple) else str(value)


def _time(value: timedelta) -> str:
    """A time that reads back as exactly itself: the short form leaves small units away."""
    short = format_duration(value)
    if value >= timedelta(seconds=1) and parse_duration(short) == value:
        return short
    return f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"


def _reads_back(text: str, line: str, wanted: object) -> bool:
    if not text.isprintable() or text != text.strip() or "#" in text:
        return False
    document = read_document(line.encode("utf-8", "replace"))
    return not document.problems and document.data == wanted


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def flow(values: Iterable[str]) -> str:
    return f"[{', '.join(map(scalar, values))}]"
