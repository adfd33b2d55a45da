"""The JSON document of one call, on its way to stdout: whole, and one at most unless it is a stream of lines."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

_begun = False
"""Whether anything of this call's JSON was written, or tried: after that, whatever follows would make it unreadable."""


def begin() -> None:
    """A call begins: nothing is printed yet."""
    global _begun
    _begun = False


def has_begun() -> bool:
    """Whether the call's document has been printed, or begun."""
    return _begun


def write(document: Document) -> None:
    """One JSON document on stdout: UTF-8, two spaces, lone surrogates escaped."""
    _write(document, indent=2)


def write_line(document: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, on stdout, for streams of them; whoever writes the last one flushes."""
    _write(document, indent=None)


def flush() -> None:
    """Everything that was written, out at once."""
    sys.stdout.buffer.flush()


def _write(document: Mapping[str, Any], indent: int | None) -> None:
    global _begun
    try:
        data = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:
        data = json.dumps(document, indent=indent).encode()
    _begun = True
    sys.stdout.flush()
    left = memoryview(data + b"\n")
    while left:  # without Python's buffer (PYTHONUNBUFFERED) a write may take a part, and say so
        taken = sys.stdout.buffer.write(left)
        if taken is None:
            raise BlockingIOError(errno.EAGAIN, "whoever reads it is too slow for a pipe that does not wait")
        left = left[taken:]
    if indent is not None:
        flush()
