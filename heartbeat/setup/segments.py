"""Cutting a text into the hand-written HEARTBEAT.md files that it holds: one, or many one after the other, as they are,
in code fences, or in the hunks of a diff. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

LONGEST_LINE = 4000
"""Characters of a line that are looked at; nobody writes longer ones by hand."""

_TITLE = re.compile(r"#\s+HEARTBEAT(?:\.md)?(?=\W|\Z)[\s:·–—-]*(?P<rest>.*)", re.IGNORECASE)
_HUNK = re.compile(r"(?:@@ .*@@|diff --git |--- (?:a/|/dev/null)|\+\+\+ b/)")
_FENCE = re.compile(r"\s*(?:\\)?(?P<run>`{3,}|~{3,})\s*(?P<info>[^`]*)")
_BREAK = re.compile(r"\r\n|\r|\n")
_COMMENT, _COMMENT_END = "<!--", "-->"
_STRUCK = re.compile(r"~~(?!~).+?~~|<(?P<tag>del|s|strike)>.*?</(?P=tag)>", re.IGNORECASE)
_SCRIPTS = frozenset({"bash", "sh", "shell", "zsh", "console", "python", "python3", "py"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number in the whole text, as it was written, and in NFKC without emphasis. `script` says that it
    stands in a block of code of a language that runs; `code` in any block. `hidden` is what a reader does not see or
    sees struck out: it is no part of `plain`."""

    number: int
    written: str
    plain: str
    code: bool = False
    script: bool = False
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """The lines of one file. `title` is what its first heading says after the file's name. `open_at` is the number of
    the line that opens a block of code which nothing closes."""

    title: str
    lines: tuple[Line, ...]
    open_at: int | None = None

    @property
    def number(self) -> int:
        """Where it begins."""
        return self.lines[0].number


def segments(text: str) -> tuple[Segment, ...]:
    """Every file in the text, in order: each begins with a heading that says HEARTBEAT.md."""
    written = _BREAK.split(text.removeprefix("\ufeff"))
    if any(line.startswith("+") and _TITLE.match(line[1:]) for line in written):
        written = [line.removeprefix("+") for line in written]
    starts = list(_titles(written))
    many = len(starts) > 1
    return tuple(_segment(written, start, end, many=many) for start, end in pairwise((*starts, len(written))))


def _titles(written: list[str]) -> Iterator[int]:
    """The indices of titles. In a block of code a title is its first line, and the block is no script: further down it
    would be somebody's comment."""
    opened: str | None = None
    first = script = False
    for index, line in enumerate(written):
        fence = _FENCE.fullmatch(line[:LONGEST_LINE])
        if fence is not None:
            script = _language(fence["info"]) in _SCRIPTS
            opened = fence["run"] if opened is None else None if _closes(fence, opened) else opened
            first = True
        elif line.strip():
            if _TITLE.match(_plain(line)) and (opened is None or (first and not script)):
                yield index
            first = False


def _language(info: str) -> str:
    return (info.split() or [""])[0].lower()


def _segment(written: list[str], start: int, end: int, *, many: bool) -> Segment:
    outer = _outer_fence(written, start)
    last = _last_bare_fence(written, start, end)
    lines: list[Line] = []
    inner: tuple[str, str] | None = None
    open_at: int | None = None
    commented = False
    for index in range(start, end):
        line, plain = written[index], _plain(written[index])
        fence = _FENCE.fullmatch(line[:LONGEST_LINE])
        if inner is None and index > start and _ends(line, plain, fence, outer, many=many, last=index == last):
            break
        if fence and inner is None:
            inner, open_at = (fence["run"], fence["info"].strip()), index + 1
        elif fence and inner is not None and _closes(fence, inner[0]):
            inner, open_at = None, None
        elif inner is not None:
            lines.append(Line(index + 1, line, plain, code=True, script=_language(inner[1]) in _SCRIPTS))
            continue
        seen, hidden, commented = (plain, "", commented) if fence else _seen(plain, commented)
        lines.append(Line(index + 1, line, seen, code=bool(fence), hidden=hidden))
    title = _TITLE.match(lines[0].plain)
    return Segment(title["rest"].strip() if title else "", tuple(lines), open_at)


def _ends(line: str, plain: str, fence: re.Match[str] | None, outer: str | None, *, many: bool, last: bool) -> bool:
    """Whether a line outside of code ends the file: the fence around it, a diff's next hunk, or a heading of the
    document that holds many.

    A fence of three back-quotes is what the file itself uses: it closes the one around the file only where none is left
    (`last`) to close what it would open.
    """
    if fence and outer and not line.lstrip().startswith("\\") and _closes(fence, outer):
        return last or outer != "```"
    return bool(_HUNK.match(line)) or (many and plain.startswith("# "))


def _last_bare_fence(written: list[str], start: int, end: int) -> int:
    """The index of the last fence that may close something; -1 where there is none."""
    fences = ((index, _FENCE.fullmatch(written[index][:LONGEST_LINE])) for index in range(start, end))
    return max((index for index, fence in fences if fence and not fence["info"].strip()), default=-1)


def _outer_fence(written: list[str], start: int) -> str | None:
    """The fence that opens right above a title."""
    above = next((written[index] for index in range(start - 1, -1, -1) if written[index].strip()), "")
    fence = _FENCE.fullmatch(above[:LONGEST_LINE])
    return fence["run"] if fence else None


def _closes(fence: re.Match[str], opened: str) -> bool:
    return fence["run"].startswith(opened) and not fence["info"].strip()


def _plain(line: str) -> str:
    """The line in NFKC, which makes a comma of `，`: a space behind it keeps `3，100` from being a number."""
    return unicodedata.normalize("NFKC", line[:LONGEST_LINE].replace("，", "， ")).replace("**", "").rstrip()


def _seen(plain: str, commented: bool) -> tuple[str, str, bool]:
    """What of a line is seen, what is not, and whether a comment is still open behind it."""
    seen: list[str] = []
    hidden: list[str] = []
    rest = plain
    while rest:
        mark = _COMMENT_END if commented else _COMMENT
        before, found, rest = rest.partition(mark)
        (hidden if commented else seen).append(before)
        commented = commented != bool(found)
    shown = "".join(seen)
    hidden += (found.group() for found in _STRUCK.finditer(shown))
    return _STRUCK.sub("", shown).rstrip(), " ".join(filter(None, map(str.strip, hidden))), commented


def headings(lines: tuple[Line, ...]) -> Iterator[tuple[Line, tuple[str, ...]]]:
    """Each line with the headings that it stands under, the outermost first."""
    above: dict[int, str] = {}
    for line in lines:
        found = re.match(r"(#{1,6})\s+(.*)", line.plain) if not line.code else None
        if found:
            level = len(found[1])
            above = {depth: text for depth, text in above.items() if depth < level} | {level: found[2]}
        yield line, tuple(above[depth] for depth in sorted(above))
