"""Counts in words: `1 agent`, `3 agents`. Pure, and for every layer."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun, thousands apart: `0 tries`, `1 try`, `1,200 tokens`. `many` if an `s` will not do."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
