"""Titles made comparable (rules M1b, M2). Pure text work."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from functools import lru_cache

MINIMUM_LETTERS = 8
MINIMUM_CJK = 4
"""A shorter title says too little to merge by (rule M1b)."""

SIMILARITY = 0.9
"""From this ratio on two titles are reported as nearly equal (rule M2)."""

_COMPARED = 300
"""Characters of a title that are compared."""

_BLOCK_LIMIT = 24
"""Near-equal titles are sought only among this many candidates at a time, so that a sweep stays linear."""

IDENTIFIER = re.compile(r"(?<![0-9A-Za-z])[A-Za-z][A-Za-z0-9]{0,9}-\d{1,9}(?![0-9A-Za-z])")
_HEX_ID = re.compile(r"(?<![0-9a-z-])[0-9a-f]{8}(?:-?[0-9a-f]{4}){0,3}(?:-?[0-9a-f]{1,12})?(?![0-9a-z])")
_UUID_LENGTH = 36
_COMMENT = re.compile(r"<!--(?:(?!<!--).)*?-->", re.DOTALL)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_LETTER = re.compile(r"[^\W\d_]")
_SPACE_AT_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")


def identifiers(title: str) -> frozenset[str]:
    """Every ticket identifier in a title, in capitals: {"BIZ-31"}."""
    return frozenset(found.group().upper() for found in IDENTIFIER.finditer(title))


@lru_cache(maxsize=262144)
def normalised(title: str) -> str:
    """NFKC, folded, without comments, ids, emoji and punctuation; words parted by one space, CJK unparted."""
    folded = unicodedata.normalize("NFKC", _COMMENT.sub(" ", title)).casefold()
    bare = _HEX_ID.sub(_without_id, IDENTIFIER.sub(" ", folded))
    kept = "".join(character if unicodedata.category(character)[0] in "LNM" else " " for character in bare)
    return _SPACE_AT_CJK.sub("", " ".join(kept.split()))


def _without_id(found: re.Match[str]) -> str:
    """Nothing for an id. Digits alone are a date or an order number (20261201), letters alone a word."""
    text = found.group()
    digits = sum(character.isdigit() for character in text)
    letters = sum(character.isalpha() for character in text)
    return " " if len(text) == _UUID_LENGTH or (digits and letters) else text


def tells_enough(normal: str) -> bool:
    """Whether a normalised title is long enough to be the same task by its words alone (rule M1b)."""
    cjk = len(_CJK_CHARACTER.findall(normal))
    return cjk >= MINIMUM_CJK or len(_LETTER.findall(normal)) - cjk >= MINIMUM_LETTERS


def nearly_equal(normals: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of different titles that are nearly the same, each once, in sorted order.

    Candidates share their first or their last six characters; blocks too large to compare are passed over.
    """
    blocks: dict[tuple[str, str], set[str]] = {}
    for normal in set(normals):
        blocks.setdefault(("head", normal[:6]), set()).add(normal)
        blocks.setdefault(("tail", normal[-6:]), set()).add(normal)
    seen: set[tuple[str, str]] = set()
    for block in blocks.values():
        if not 2 <= len(block) <= _BLOCK_LIMIT:
            continue
        ordered = sorted(block)
        for index, first in enumerate(ordered):
            for second in ordered[index + 1 :]:
                if (first, second) not in seen and _alike(first, second):
                    seen.add((first, second))
    yield from sorted(seen)


def _alike(first: str, second: str) -> bool:
    """Numbers must agree, and the beginnings be nearly the same: comparing costs the square of the length."""
    if re.sub(r"\D", "", first) != re.sub(r"\D", "", second):
        return False
    matcher = SequenceMatcher(None, first[:_COMPARED], second[:_COMPARED], autojunk=False)
    return matcher.quick_ratio() >= SIMILARITY and matcher.ratio() >= SIMILARITY
