"""Adding agents at the end of `agents:` in a roster's text, so that every byte that stands there stays. Pure.

Only a roster in the usual form is touched, with `agents:` as a block; in any other the lines are for a person to paste.
What comes out is read again: it must say what the old text said, and the new agents, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from heartbeat.roster.document import read_document

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MARK = "\ufeff"


class OddFormError(ValueError):
    """The text has a form that nothing is added to; the message says which."""


def indentation(text: str) -> str:
    """What the agents' ids are indented by. Raises OddFormError."""
    return " " * _shape(text)[2]


def inserted(text: str, lines: Sequence[str], expected: Sequence[str]) -> str:
    """The text with the lines at the end of `agents:`, which make the `expected` ids, in order. The text is a roster
    that reads without mistakes. Raises OddFormError."""
    rows, bound, indent = _shape(text)
    place = bound
    while place > 0 and _is_loose(rows[place - 1], indent):
        place -= 1
    newline = "\r\n" if rows[place - 1].endswith("\r\n") else "\n"
    before = "".join(rows[:place])
    if not before.endswith("\n"):
        before += newline
    mark = _MARK if text.startswith(_MARK) else ""
    new = mark + before + "".join(f"{line}{newline}" for line in lines) + "".join(rows[place:])
    _check(text, new, expected)
    return new


def _shape(text: str) -> tuple[list[str], int, int]:
    """The lines with their endings, the index of the first line behind `agents:`, and the column of the agents' ids."""
    bare = text.removeprefix(_MARK)
    if "\r" in bare.replace("\r\n", ""):
        raise OddFormError("some of its lines end with a carriage return alone")
    rows = bare.split("\n")
    rows = [f"{row}\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
    root = yaml.compose(bare, Loader=_LOADER)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise OddFormError("it is written in one pair of braces")
    keys = {key.value: (key, value) for key, value in root.value}
    key, agents = keys["agents"]
    if key.start_mark.column != 0 or not isinstance(agents, yaml.MappingNode) or agents.flow_style or not agents.value:
        raise OddFormError("`agents` is no block of lines of its own")
    first = agents.value[0][0].start_mark
    if rows[first.line][: first.column].strip(" ") or first.line <= key.start_mark.line:
        raise OddFormError("its first agent does not stand at the beginning of a line")
    below = [other.start_mark.line for other, _ in root.value if other.start_mark.line > key.start_mark.line]
    bound = min(below, default=len(rows))
    ends = (index for index in range(first.line, bound) if rows[index].startswith(("...", "---")))
    return rows, min(ends, default=bound), first.column


def _is_loose(row: str, indent: int) -> bool:
    """A line between two sections that belongs to the later one, if to any: blank, or a comment further to the left."""
    stripped = row.strip()
    return not stripped or (stripped.startswith("#") and len(row) - len(row.lstrip(" ")) < indent)


def _check(old: str, new: str, expected: Sequence[str]) -> None:
    before, after = read_document(old.encode()), read_document(new.encode())
    if after.problems or not isinstance(after.data, dict) or not isinstance(before.data, dict):
        raise OddFormError("with the new lines in it, it could not be read")
    agents = dict(after.data.get("agents") or {})
    added = [agents.pop(name, None) for name in expected]
    same = {**after.data, "agents": agents} == before.data and list(agents) == list(before.data["agents"])
    if not same or any(entry is None for entry in added):
        raise OddFormError("with the new lines in it, it would say something else than before")
