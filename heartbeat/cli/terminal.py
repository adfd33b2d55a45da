"""Text on its way to a terminal: foreign characters that would move the cursor or hide text are made visible (B8)."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from contextlib import suppress

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands, such as a window title
    r"|\x1b[P^_X][^\x1b]*(?:\x1b\\)?"  # other strings
    r"|\x1b[ -/]*[0-~]"
)
_JOINERS = {"\u200c", "\u200d"}
"""Zero-width joiners build emoji and Indic letters; they hide nothing."""


_MARKS_PER_COLUMN = 4


def plain(text: str) -> str:
    """One line of printable text: escape sequences and invisible or direction-changing characters removed."""
    if text.isascii() and text.isprintable():
        return text
    bare = _SEQUENCES.sub("", text)
    return "".join(_shown(character) for character in bare).strip()


def _shown(character: str) -> str:
    if character in "\t\n\r\v\f\u2028\u2029\x85":
        return " "
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Co", "Cn"):
        return ""
    if category == "Cf" and character not in _JOINERS:
        return ""
    return character


def clipped(text: str, width: int) -> str:
    """Plain text of at most `width` columns, wide (CJK) characters counting two; an ellipsis tells that it was cut."""
    whole = plain(text)
    shown = whole[: _MARKS_PER_COLUMN * width]  # combining marks take no column, however many there are
    used = 0
    for index, character in enumerate(shown):
        used += columns(character)
        if used > width:
            return _fit(shown[:index], width) + "…"
    return shown if len(shown) == len(whole) else shown[:-1] + "…"


def _fit(text: str, width: int) -> str:
    """Room for the ellipsis: drop from the end until one column is free."""
    while text and columns(text) > width - 1:
        text = text[:-1]
    return text


def columns(text: str) -> int:
    """How many terminal columns the text takes."""
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else 0 if unicodedata.combining(character) else 1
        for character in text
    )


def forget_output() -> None:
    """For output that cannot be written: whatever is still buffered is not tried, and fails, again at the end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
            continue
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
