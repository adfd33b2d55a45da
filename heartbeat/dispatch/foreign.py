"""Foreign text on its way into a prompt: cleaned, cut, and written as JSON, so that it stays data (rules B8, X4). Pure.

What is foreign stands in one block between two lines that bear a random nonce. It is JSON: no text in it can begin a
line of its own, nor end the block, nor hold the nonce, nor spell a control word of a model's own format.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

NONCE = re.compile(r"[0-9a-f]{32}")

_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")
"""Of terminals; without their first character they would be left as rubbish."""

_DROPPED = frozenset({"Cc", "Cf", "Cs", "Cn", "Co"})
"""Unicode categories that show nothing of their own: controls, direction marks, zero widths, tags, surrogates."""

_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
"""Letters, marks and variation selectors that show nothing either, and can carry a hidden message."""

_BLANKS = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r" ?\n(?: ?\n)+ ?")
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e"})
"""Angle brackets, by which models tell roles and tools apart; as escapes they are still the same JSON."""

_GONE = "…"


class Room:
    """So many bytes of a prompt, given away piece by piece: what comes first is cut last.

    Every text that is taken is inert; `nonce` is what none of them may hold. Raises ValueError for a nonce that is not
    32 hexadecimal digits.
    """

    def __init__(self, nonce: str, size: int) -> None:
        if not NONCE.fullmatch(nonce):
            raise ValueError("a nonce is 32 hexadecimal digits in lower case")
        self._nonce = nonce
        self._left = size

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    def take(self, text: str, most: int) -> str:
        """The text, inert, in at most `most` bytes of JSON, and no more than are left."""
        shown = inert(text, self._nonce, max(0, min(most, self._left)))
        self._left -= weight(shown)
        return shown

    def keeps(self, text: str) -> bool:
        """Whether the text is inert as it is."""
        return inert(text, self._nonce, len(text) * HEAVIEST) == text


HEAVIEST = 6
"""Bytes of JSON that one character takes at most: an escaped bracket."""


def inert(text: str, nonce: str, size: int) -> str:
    """The text without what does not show, without the nonce, and cut to so many bytes of JSON; an ellipsis tells where
    something is missing. Lines stay, white space within them becomes single spaces."""
    # What lies far beyond the limit is not looked at: a text of megabytes costs no more than one that fits.
    seen = _SEQUENCES.sub("", text[: 4 * size + len(nonce)])
    shown = "".join(filter(None, map(_shown, seen.replace("\r\n", "\n").replace("\r", "\n"))))
    tidy = _EMPTY_LINES.sub("\n\n", _BLANKS.sub(" ", shown)).strip()
    bare = re.sub(re.escape(nonce), _GONE, tidy, flags=re.IGNORECASE)
    return _cut(bare, size, complete=len(text) <= 4 * size + len(nonce))


def weight(text: str) -> int:
    """Bytes that the text takes as JSON, its quotes left out."""
    return len(_written(text).encode()) - 2


def as_json(document: Mapping[str, Any]) -> str:
    """The document as JSON for people and models to read: foreign text in it never begins a line."""
    return json.dumps(document, ensure_ascii=False, indent=1).translate(_ESCAPES)


def _written(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    if category in _DROPPED or character in _INVISIBLE:
        return ""
    return " " if category[0] == "Z" else character


def _cut(text: str, size: int, *, complete: bool) -> str:
    if complete and weight(text) <= size:
        return text
    room = size - weight(_GONE)
    kept = 0
    for character in text:
        room -= weight(character)
        if room < 0:
            break
        kept += 1
    return text[:kept].rstrip() + _GONE if size >= weight(_GONE) else ""
