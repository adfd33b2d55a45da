"""YAML text to plain data in which every key and value knows its line and column (rule R1).

What YAML allows and a roster does not need is refused: anchors and aliases (they make bombs), tags (they name types),
duplicate keys (the last would win in silence), keys that are no text, more than one document, depth, size. Plain
scalars mean what they look like: `true` and `false`, `null`, decimal numbers; all else is text, so that `off`, `no`,
`1:30`, `007` and dates stay as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_PROBLEMS = 1000
"""A text with so many is something else than a roster; reading stops."""

Place = tuple[str | int, ...]
"""The way to a value: keys and list positions, from the top."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in the text, both counted from 1; columns count characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: where it stands, what it is and how to mend it."""

    mark: Mark
    message: str


class Mistake(ValueError):  # noqa: N818 - a ValueError, as pydantic wants it, that says what kind of error it is
    """What is wrong with a value: a sentence that tells the mend, to be read after the value's name."""


@dataclass(slots=True)
class Document:
    """`data` is None where there is no structure to speak of; then `problems` says why.

    `refused` holds the places whose value was not taken (an alias, a tagged value): nothing is known of them, and
    nothing that is wrong there or below is news.
    """

    data: Any = None
    keys: dict[Place, Mark] = field(default_factory=dict)
    values: dict[Place, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[Place] = field(default_factory=set)

    def of_value(self, place: Place) -> Mark:
        """Where the value at `place` stands; where there is none, its key's or its nearest container's position."""
        return self._nearest(place, self.values, self.keys)

    def of_key(self, place: Place) -> Mark:
        """Where the key of `place` stands; a list item has none, so it is the item's own position."""
        return self._nearest(place, self.keys, self.values)

    def get(self, place: Place) -> Any:
        """The value at `place`, or None."""
        found = self.data
        for step in place:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def is_refused(self, place: Place) -> bool:
        """Whether the value at `place`, or one that it lies in, was not taken."""
        return any(place[:length] in self.refused for length in range(len(place) + 1))

    def _nearest(self, place: Place, first: dict[Place, Mark], second: dict[Place, Mark]) -> Mark:
        if mark := first.get(place) or second.get(place):
            return mark
        for length in range(len(place) - 1, 0, -1):
            if mark := self.keys.get(place[:length]) or self.values.get(place[:length]):
                return mark
        return self.values.get((), Mark(1, 1))


def quoted(text: object, limit: int = 60) -> str:
    """A word of the roster for a message: on one line, in backticks, without control characters, cut."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(text))
    return f"`{shown if len(shown) <= limit else shown[: limit - 1] + '…'}`"


def read_document(content: bytes) -> Document:
    """Every problem of the text at once, as far as it can be read; never raises for what is in it."""
    document = Document()
    text = _decode(content, document)
    if text is None or _refuse_characters(text, document):
        return document
    events = yaml.parse(text, Loader=_LOADER)
    try:
        document.data = _Reader(document, events).read()
    except _GiveUp:
        document.data = None
    except yaml.YAMLError as error:
        document.data = None
        document.problems.append(_explain(error, text))
    return document


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML built without libyaml has only the slow one; they read alike."""


class _GiveUp(Exception):  # noqa: N818 - it ends the reading and never leaves this module
    """There is no point in reading on; the problem is on record."""


class _Reader:
    """Builds plain data out of parse events. `place` is None where a value is read but belongs nowhere."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self._document = document
        self._events = events

    def read(self) -> Any:
        data: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(event, "a second document begins here; a roster is one document, remove the `---`")
                    break
            elif isinstance(event, yaml.NodeEvent):
                data = self._node(event, (), 1)
        return data

    def _node(self, event: Any, place: Place | None, depth: int) -> Any:
        if place is not None:
            self._document.values[place] = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            alias = quoted(f"*{event.anchor}")
            self._problem(event, f"aliases are refused; write the value of {alias} out here")
            self._refuse(place)
            return None
        if event.anchor is not None:
            anchor = quoted(f"&{event.anchor}")
            self._problem(event, f"anchors are refused; remove {anchor} and write the value out where it is needed")
        if event.tag is not None:
            self._problem(event, f"tags are refused; remove {quoted(_written_tag(event.tag))}")
            self._refuse(place)
        if isinstance(event, yaml.ScalarEvent):
            return _resolve(event.value) if event.implicit[0] else event.value
        if depth > MAX_DEPTH:
            self._problem(event, f"nested deeper than {MAX_DEPTH} levels; a roster needs five")
            raise _GiveUp
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._mapping(place, depth)

    def _sequence(self, place: Place | None, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, None if place is None else (*place, len(items)), depth + 1))
        return items

    def _mapping(self, place: Place | None, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, mapping, place, depth)
            if key is None:
                self._node(next(self._events), None, depth + 1)
                continue
            below = None if place is None else (*place, key)
            if below is not None:
                self._document.keys[below] = _mark(event)
            mapping[key] = self._node(next(self._events), below, depth + 1)
        return mapping

    def _key(self, event: Any, mapping: dict[str, Any], place: Place | None, depth: int) -> str | None:
        """The key, or None where its value cannot be kept."""
        known = len(self._document.problems)
        key = self._node(event, None, depth + 1)
        if len(self._document.problems) > known:
            return None
        if not isinstance(key, str):
            mend = f'; write "{event.value}" in quotes' if isinstance(event, yaml.ScalarEvent) and event.value else ""
            self._problem(event, f"a key must be text{mend}")
            return None
        if key in mapping:
            first = None if place is None else self._document.keys.get((*place, key))
            where = f", first on line {first.line}" if first else ""
            self._problem(event, f"{quoted(key)} is written twice{where}; keep one")
            return None
        return key

    def _refuse(self, place: Place | None) -> None:
        if place is not None:
            self._document.refused.add(place)

    def _problem(self, event: Any, message: str) -> None:
        self._document.problems.append(Problem(_mark(event), message))
        if len(self._document.problems) >= MAX_PROBLEMS:
            raise _GiveUp


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _written_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!", 1)


_SCALARS: dict[str, bool | None] = {
    **dict.fromkeys(("", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}", re.ASCII)


def _resolve(text: str) -> str | int | float | bool | None:
    """What a plain scalar means: YAML 1.2's core schema, less its odd numbers, and `~` is a path, not nothing."""
    if text in _SCALARS:
        return _SCALARS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _decode(content: bytes, document: Document) -> str | None:
    if len(content) > MAX_BYTES:
        document.problems.append(Problem(Mark(1, 1), "larger than 1 MiB; this is no roster"))
        return None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        document.problems.append(Problem(Mark(1, 1), "UTF-16 text; save the file as UTF-8"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")  # from the error: without the byte order mark
        mark = _mark_at(before, len(before))
        document.problems.append(
            Problem(mark, f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8")
        )
        return None


_BREAK = re.compile(r"\r\n|\r|\n")

_REFUSED_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML forbids, and the line breaks that YAML knows and editors do not count: lines would not agree."""


def _refuse_characters(text: str, document: Document) -> bool:
    found = _REFUSED_CHARACTER.search(text)
    if found is None:
        return False
    more = sum(1 for _ in _REFUSED_CHARACTER.finditer(text)) - 1
    rest = f" (and {more} more like it)" if more else ""
    message = f"the invisible character U+{ord(found.group()):04X} has no place in a roster; remove it{rest}"
    document.problems.append(Problem(_mark_at(text, found.start()), message))
    return True


def _mark_at(text: str, index: int) -> Mark:
    breaks = list(_BREAK.finditer(text, 0, index))
    return Mark(len(breaks) + 1, index - (breaks[-1].end() if breaks else 0) + 1)


def _explain(error: yaml.YAMLError, text: str) -> Problem:
    """The parser's complaint in words that say how to mend it."""
    end, begin = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    complaint = str(getattr(error, "problem", None) or "the text cannot be read")
    context = str(getattr(error, "context", None) or "")
    mark = begin if "could not find expected ':'" in complaint else end or begin
    if mark is None:
        return Problem(Mark(1, 1), f"not YAML: {complaint}")
    lines = [*_BREAK.split(text), ""]
    line = lines[min(mark.line, len(lines) - 1)]
    above = lines[mark.line - 1] if 0 < mark.line < len(lines) else ""
    opened = f" on line {begin.line + 1}, column {begin.column + 1}," if begin is not None else ""
    message = _mend(complaint, context, (above, line), line[mark.column : mark.column + 1], opened)
    return Problem(Mark(mark.line + 1, mark.column + 1), message)


_NO_SPACE = re.compile(r"\s*[\w-]+:[^\s/]")


def _mend(complaint: str, context: str, lines: tuple[str, str], character: str, opened: str) -> str:
    above, line = lines
    if character == "\t" or "tab character" in complaint:
        return "a tab indents this line; YAML wants spaces"
    if "cannot start any token" in complaint:
        return f"a value must not begin with {quoted(character)}; put it in quotes"
    if "flow" in context:
        if "${" in line:
            return 'inside { } and [ ] a reference needs quotes: write "${NAME}"'
        return f"the bracket opened{opened} is not closed, or a comma is missing"
    if "quoted scalar" in context:
        return f"the text in quotes that begins{opened} cannot be read ({complaint}); check its closing quote"
    if "mapping values are not allowed" in complaint:
        if _NO_SPACE.match(above):
            return "the key on the line above has no space after its `:`; add one"
        return "a `: ` stands where no key can be; put the value in quotes, or mend the indentation"
    if "could not find expected ':'" in complaint:
        return "this line has no `: ` after its key, or does not fit the indentation of its neighbours"
    if "did not find expected key" in complaint or "block collection" in context or "block mapping" in context:
        return "this line does not fit the indentation of the lines above"
    return f"not YAML: {complaint}"
