"""The paths of issues, and answers that are what was asked for, or an error that says what came instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from heartbeat.systems.base import FailureKind, TransportError


def path_of(identity: str, part: str = "") -> str:
    """Of an issue, or of a part of it, below the server's address (contract 2.3)."""
    path = f"/api/issues/{quote(identity, safe='')}"
    return f"{path}/{part}" if part else path


def record(value: Any, what: str, *, written: bool = False) -> Mapping[str, Any]:
    """The answer where it is an object. Raises TransportError; with `written` its `outcome_unknown` says that the
    request may have been carried out."""
    if isinstance(value, Mapping):
        return value
    raise odd(what, "no object", written)


def odd(what: str, came: str, written: bool) -> TransportError:
    """What to raise where something else came than was asked for."""
    return TransportError(
        FailureKind.BAD_OUTPUT,
        f"Multica was asked for {what} and sent {came}",
        advice="check that the address is Multica's, and its version",
        outcome_unknown=written,
    )
