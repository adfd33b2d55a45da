"""The text of one line as markers are sought in it: without comments, and with code spans hidden. Pure, linear."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import Enum, auto

ANNOTATION_OPEN = "<!-- heartbeat:"
"""How our own annotation of a line begins (rule T9). It ends like every HTML comment."""

_HIDDEN = "\ue000"  # a private-use character: no marker contains it
_OPENING = re.compile(r"`+|<!--")
_BACKTICKS = re.compile(r"`+")
_PARTED_STOP = re.compile(r" ([,，;；.。](?= |$))")
_REPEATED_COMMA = re.compile(r"([,，;；、])(?: ?[,，;；、])+")
_BARE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMPHASIS = ("*", "**", "***", "_", "__", "___", "~~")
_BRACKETS = {"(": ")", "（": "）", "[": "]", "【": "】"}


class Line:
    """A text from which markers are taken out one kind after the other.

    `plain` is what remains. `masked` is equally long and has code spans hidden, save those that hold a bare name:
    people write `BIZ-12` so, and mean the task. Patterns are matched against `masked`.
    """

    def __init__(self, text: str) -> None:
        self.plain, self.masked = _without_comments(" ".join(text.split()))
        self._lower = self.masked.lower()
        self._changed = False

    def has(self, *hints: str) -> bool:
        """Whether one of the hints (text in lower case) stands in the line."""
        return any(hint in self._lower for hint in hints)

    def find(self, pattern: re.Pattern[str], *hints: str) -> Iterator[re.Match[str]]:
        """Every match. Nothing is searched where hints are given and the line has none of them."""
        if hints and not self.has(*hints):
            return iter(())
        return pattern.finditer(self.masked)

    def take(
        self, pattern: re.Pattern[str], *hints: str, accept: Callable[[re.Match[str]], bool] | None = None
    ) -> list[re.Match[str]]:
        """Take every accepted match out (its group `mark`, where the pattern has one, else all of it)."""
        found = [match for match in self.find(pattern, *hints) if accept is None or accept(match)]
        group: str | int = "mark" if "mark" in pattern.groupindex else 0
        self.cut([match.span(group) for match in found])
        return found

    def title(self) -> str:
        """What remains, tidied up where something was taken out; may be empty."""
        remains = " ".join(self.plain.split())
        if not self._changed:
            return remains
        remains = _REPEATED_COMMA.sub(r"\1", _PARTED_STOP.sub(r"\1", remains))
        return remains.strip(" ,，;；、|·–—").lstrip(":：- ")

    def cut(self, spans: list[tuple[int, int]]) -> None:
        """Take these ranges out, which stand in order and apart, with brackets that then enclose nothing."""
        if not spans:
            return
        self._changed = True
        kept = []
        position = 0
        for start, end in (self._with_brackets(*span) for span in spans):
            kept.append((position, max(position, start)))
            position = max(position, end)
        kept.append((position, len(self.plain)))
        # Words stay apart; an asterisk stays at the word that it emphasises.
        gap = "" if self.masked[: kept[0][1]].strip(" ") in _EMPHASIS else " "
        self.plain = _joined(self.plain, kept, gap)
        self.masked = _joined(self.masked, kept, gap)

    def _with_brackets(self, start: int, end: int) -> tuple[int, int]:
        """Brackets that would be left with nothing in them go too."""
        before = start - 1 if self.masked[start - 1 : start] != " " else start - 2
        after = end if self.masked[end : end + 1] != " " else end + 1
        if before < 0 or self.masked[after : after + 1] != _BRACKETS.get(self.masked[before], "none"):
            return start, end
        return before, after + 1


def _joined(text: str, kept: list[tuple[int, int]], gap: str) -> str:
    (_, first_end), *rest = kept
    return text[:first_end] + gap + " ".join(text[start:end] for start, end in rest)


def without_annotations(text: str, keep: Callable[[str], bool] = lambda said: False) -> str:
    """The text as it was before heartbeat annotated it: white space collapsed, other comments kept (rule T9).

    Annotations of whose text `keep` says so stay.
    """
    pieces = []
    position = 0
    if ANNOTATION_OPEN in text:
        for start, end in annotation_spans(text):
            if not keep(annotated_text(text[start:end])):
                pieces.append(text[position:start])
                position = end
    pieces.append(text[position:])
    return " ".join(" ".join(pieces).split())


def annotation_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Where heartbeat's annotations stand in a line, as ranges of it, first to last. What stands in a code span is only
    spoken of."""
    return tuple(
        (start, end)
        for kind, start, end in _pieces(text)
        if kind is _Piece.COMMENT and text.startswith(ANNOTATION_OPEN, start)
    )


def annotated_text(comment: str) -> str:
    """What an annotation says: the comment without its delimiters."""
    return comment.removeprefix(ANNOTATION_OPEN).removesuffix("-->").strip()


def has_open_comment(text: str) -> bool:
    """Whether a comment begins in the text and does not end there."""
    return any(kind is _Piece.OPEN_COMMENT for kind, _, _ in _pieces(text))


class _Piece(Enum):
    TEXT = auto()
    CODE = auto()
    COMMENT = auto()
    OPEN_COMMENT = auto()
    """The beginning of a comment that does not end: it counts as text."""


def _without_comments(text: str) -> tuple[str, str]:
    """The text without HTML comments, and the same with code spans hidden."""
    plain: list[str] = []
    masked: list[str] = []
    for kind, start, end in _pieces(text):
        piece = " " if kind is _Piece.COMMENT else text[start:end]
        plain.append(piece)
        bare = kind is not _Piece.CODE or _BARE_NAME.fullmatch(piece.strip("`").strip()) is not None
        masked.append(piece if bare else _HIDDEN * len(piece))
    return "".join(plain), "".join(masked)


def _pieces(text: str) -> Iterator[tuple[_Piece, int, int]]:
    """The text cut into pieces that follow on one another.

    What opens first wins, as CommonMark has it: a comment in a code span is code, a backtick in a comment is nothing.
    """
    runs: dict[int, list[int]] = {}
    for run in _BACKTICKS.finditer(text):
        runs.setdefault(len(run[0]), []).append(run.start())
    position = 0
    comments = True
    while (found := _OPENING.search(text, position)) is not None:
        start, end = found.span()
        yield _Piece.TEXT, position, start
        if found[0] == "<!--":
            close = _comment_end(text, start) if comments else -1
            comments = close >= 0
            position = close if comments else end
            yield _Piece.COMMENT if comments else _Piece.OPEN_COMMENT, start, position
            continue
        same = runs[end - start]
        index = bisect_left(same, end)
        closed = index < len(same)
        position = same[index] + (end - start) if closed else end
        yield _Piece.CODE if closed else _Piece.TEXT, start, position
    yield _Piece.TEXT, position, len(text)


def _comment_end(text: str, start: int) -> int:
    """The offset after the comment that begins at `start`; -1 where it does not end."""
    for short in ("<!-->", "<!--->"):
        if text.startswith(short, start):
            return start + len(short)
    end = text.find("-->", start + len("<!--"))
    return end + len("-->") if end >= 0 else -1
