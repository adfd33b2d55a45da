"""Names that come from outside, made fit for a line of text and comparable. Pure."""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""They build emoji and Indic letters, and hide nothing."""
_SEPARATORS = re.compile(r"[\s_.·・-]+")
_BOTH = re.compile(r"(?P<outer>.+?)\s*\((?P<inner>[^()]+)\)")


def clean(text: str, limit: int = 200) -> str:
    """The text on one line, without control, direction and other invisible characters, cut to `limit` characters."""
    kept = (
        " " if character.isspace() else character
        for character in text[: 4 * limit]
        if character.isprintable() or character.isspace() or character in _JOINERS
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def fold(name: str) -> str:
    """A name for comparison: NFKC, without case, every separator one space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", clean(name)).casefold())
    return _SEPARATORS.sub(" ", folded).strip()


def readings(name: str) -> frozenset[str]:
    """What a name may be compared by: all of it, and both parts of `陆怀瑾 (coo)`."""
    whole = fold(name)
    both = _BOTH.fullmatch(whole)
    parts = (both["outer"], both["inner"]) if both else ()
    return frozenset(filter(None, (whole, *map(str.strip, parts))))
