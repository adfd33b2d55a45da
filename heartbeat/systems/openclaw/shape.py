"""Reading the optional fields of a card: absent and null are the same, any other type is an error (contract 1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Malformed(Exception):  # noqa: N818 - says what a record is; it never leaves the translation
    """A record that cannot be read. The message names what is wrong with it."""


def mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`, empty where there is none."""
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Malformed(f"{name} is not an object")
    return value


def listed(record: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list under `name`, empty where there is none."""
    value = record.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Malformed(f"{name} is not a list")
    return value


def text_or_none(record: Mapping[str, Any], name: str) -> str | None:
    """The text under `name`; None where it is absent, null or blank."""
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Malformed(f"{name} is not text")
    return value.strip() or None
