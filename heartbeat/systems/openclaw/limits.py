"""How long WorkBoard lets a text be, in UTF-16 units as JavaScript counts (contract 1.1), and cutting to that. Pure."""

from __future__ import annotations

from heartbeat.action import Write, signed

COMMENT = 2000
"""Also the reason of a `block` and the summary of a `complete`."""
REASON = 1000
"""Of `reclaim` and `reassign`, although it becomes a comment."""
TITLE = 180
LABEL = 160
KEY = 160
"""An idempotency key."""
NOTES = 4000


def marked(write: Write, limit: int, text: str) -> str:
    """A text that leaves the write's marker, cut so that the marker stays."""
    room = limit - units(signed("", write.marker, write.voice)) - 1
    return signed(cut(text, room), write.marker, write.voice)


def cut(text: str, limit: int) -> str:
    """The text, with at most so many units, and without halves of characters."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) <= 2 * limit:
        return encoded.decode("utf-16-le", "ignore")
    return encoded[: 2 * (limit - 1)].decode("utf-16-le", "ignore") + "…"


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
