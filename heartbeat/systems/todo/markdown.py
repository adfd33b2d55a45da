"""A Markdown file to its task lines, as a CommonMark parser sees them (rule S9). Pure.

Only the block structure is parsed: what stands inside a line is of no interest here. Line numbers count from 1, byte
offsets from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from heartbeat.systems.todo.inline import without_annotations

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

MAXIMUM_DEPTH = 100
"""List levels that are read. Deeper ones are told in `TaskList.too_deep`, since the parser passes over them."""

_LEVELS = 2 * MAXIMUM_DEPTH  # the parser counts a list and its item as a level each

_LINE_END = re.compile(rb"\r\n|\r|\n")
_LINE_END_IN_TEXT = re.compile(r"\r\n|\r|\n")
_MARKERS = re.compile(r"[ \t]*(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)+(?=\[)")
_BOX = re.compile(r"\[([^\[\]\n]\ufe0f?)\](?=[ \t]|\Z)")

_NO_BOX_BUT_LIKE_ONE = re.compile(
    r"""[ \t\u3000\xa0]*
    (?:(?:[-+*•·–—‣◦●○]|[0-9]{1,9}[.)、．）])[ \t\u3000\xa0]*)*
    (?:\[[ \t\u3000\xa0xX✓✔√/!-]?\](?![\[(:])|［[\s xXｘＸ✓✔√/!-]?］|【[\s xXｘＸ✓✔√/!-]?】|[☐☑☒⬜])""",
    re.VERBOSE,
)
_BOX_IN_TABLE = re.compile(r"[ \t]*\|.*\[[ xX]\]")


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One task-list item, or one plain bullet where those are read. The line is `data[start:end]`, its end included."""

    line: int
    depth: int
    """How many list items it stands in; 0 for the outermost."""
    box: str | None
    """The character in the box; None for a plain bullet."""
    text: str
    """What follows the box on its line (where nothing does, the indented line below it), without space around."""
    headings: tuple[str, ...]
    """The headings that it stands under, outermost first."""
    start: int
    end: int
    box_offset: int | None
    """Where the box's character stands in the file, in bytes."""
    until: int = 0
    """The last line of its list item, with all that is indented below it."""


@dataclass(frozen=True, slots=True)
class TaskList:
    """What one file holds. The numbers and lines are for telling people what was not read as a task, and why."""

    tasks: tuple[TaskLine, ...] = ()
    lines: int = 0
    bullets: int = 0
    """Lines with list items, none of which is a task-list item."""
    near_misses: tuple[int, ...] = ()
    """Lines that look like a task to people but not to Markdown: `-[ ] a`, `- ［ ］ a`, a box in a table."""
    too_deep: int | None = None
    """The first line below which lists are nested deeper than `MAXIMUM_DEPTH`."""
    has_text: bool = False
    has_invalid_bytes: bool = False
    """The file is not all UTF-8; what is not is shown as U+FFFD. Edits work on bytes and keep it."""


def read_tasks(data: bytes, *, bullets: bool = False) -> TaskList:
    """The task lines of a file, in order. With `bullets`, plain list items too, save the notes below a task."""
    if not data:
        return TaskList()
    content = data.removeprefix(BYTE_ORDER_MARK)
    text = content.decode("utf-8", "replace")
    walk = _Walk(_LINE_END_IN_TEXT.split(text), line_spans(data), len(data) - len(content), bullets)
    walk.through(_parser().parse(text))
    return TaskList(
        tasks=tuple(walk.tasks),
        lines=len(walk.spans),
        bullets=len(walk.bullet_lines - {task.line for task in walk.tasks if task.box is not None}),
        near_misses=tuple(sorted(walk.near_misses)),
        too_deep=walk.too_deep,
        has_text=bool(text.strip()),
        has_invalid_bytes="\ufffd" in text and not _is_utf8(content),
    )


def line_spans(data: bytes) -> list[tuple[int, int]]:
    """Where each line begins and ends, its line ending included: CR LF, LF or a lone CR, as CommonMark counts."""
    ends = [found.end() for found in _LINE_END.finditer(data)]
    if not ends or ends[-1] < len(data):
        ends.append(len(data))
    return list(zip([0, *ends[:-1]], ends, strict=True))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": _LEVELS})
    return parser.disable(["inline", "text_join"], ignoreInvalid=True)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(slots=True)
class _Walk:
    """One pass over the parser's tokens. The parser counts lines from 0 and gives them as half-open ranges."""

    texts: list[str]
    spans: list[tuple[int, int]]
    mark: int
    """Bytes of the byte order mark, which stands before the first line's text."""
    plain_too: bool
    tasks: list[TaskLine] = field(default_factory=list)
    bullet_lines: set[int] = field(default_factory=set)
    near_misses: set[int] = field(default_factory=set)
    too_deep: int | None = None

    def through(self, tokens: list[Token]) -> None:
        headings: list[tuple[int, str]] = []
        open_items: list[bool] = []  # of each open list item, whether it is a task with a box
        quotes = 0
        for index, token in enumerate(tokens):
            match token.type:
                case "blockquote_open":
                    quotes += 1
                    self._note_depth(token)
                case "blockquote_close":
                    quotes -= 1
                case "heading_open" if token.level == 0:
                    level = int(token.tag[1:])
                    while headings and headings[-1][0] >= level:
                        headings.pop()
                    headings.append((level, " ".join(tokens[index + 1].content.split())))
                case "list_item_open":
                    self._note_depth(token)
                    path = tuple(text for _, text in headings)
                    open_items.append(quotes == 0 and self._item(tokens, index, path, open_items))
                case "list_item_close":
                    open_items.pop()
                case "inline" if quotes == 0:
                    self.near_misses.update(self._near_misses(token))
        self.near_misses -= {task.line for task in self.tasks if task.box is not None}

    def _item(self, tokens: list[Token], index: int, headings: tuple[str, ...], above: list[bool]) -> bool:
        """Note a list item; True where it is a task with a box."""
        first = _first_line(tokens[index])
        until = _last_line(tokens[index])
        self.bullet_lines.add(first + 1)
        paragraph = _leading_paragraph(tokens, index)
        if paragraph is None or _first_line(paragraph) != first:
            return False
        source = self.texts[first]
        start, end = self.spans[first]
        content = paragraph.content.split("\n")
        found = _BOX.match(content[0])
        prefix = _MARKERS.match(source)
        if found is not None and prefix is not None:
            column = prefix.end() + 1  # in bytes too: list markers are ASCII
            offset = start + column + (self.mark if first == 0 else 0)
            text = content[0][found.end() :].strip()
            if not without_annotations(text) and len(content) > 1 and self.texts[first + 1][:1] in (" ", "\t"):
                text = content[1].strip()
            self.tasks.append(TaskLine(first + 1, len(above), found[1], text, headings, start, end, offset, until))
            return True
        if self.plain_too and content[0].strip() and not any(above):
            text = content[0].strip()
            self.tasks.append(TaskLine(first + 1, len(above), None, text, headings, start, end, None, until))
        return False

    def _near_misses(self, token: Token) -> Iterator[int]:
        first, end = token.map or (0, 0)
        for number in range(first, min(end, len(self.texts))):
            text = self.texts[number]
            if _NO_BOX_BUT_LIKE_ONE.match(text) or _BOX_IN_TABLE.match(text):
                yield number + 1

    def _note_depth(self, token: Token) -> None:
        if token.level >= _LEVELS - 1 and self.too_deep is None:
            self.too_deep = _first_line(token) + 1


def _leading_paragraph(tokens: list[Token], index: int) -> Token | None:
    """The text of a list item whose first block is a paragraph, underlined or not; else None."""
    block = tokens[index + 1]
    underlined = block.type == "heading_open" and block.markup in ("-", "=")
    return tokens[index + 2] if block.type == "paragraph_open" or underlined else None


def _first_line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _last_line(token: Token) -> int:
    """Counted from 1: what the parser gives is where the next block begins, counted from 0."""
    return token.map[1] if token.map else 0
