"""What a column of the database holds, and back: instants, foreign text, numbers, JSON, refs.

Instants are text of one width (`2026-11-21T04:00:00.000000+00:00`), so that they compare as they sort. Foreign text
goes through `bound` and comes back through `text`, whatever it holds. What a column cannot have got from here is
damage, and raises TypeError or ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from heartbeat.store.canonical import from_json, to_json, utc
from heartbeat.task import Ref


def stamp(instant: datetime) -> str:
    """An instant as a column holds it."""
    return utc(instant).isoformat(timespec="microseconds")


def instant(value: str) -> datetime:
    """A column's instant; raises ValueError where it is none, which means damage."""
    return utc(datetime.fromisoformat(value))


def stamp_if_any(instant: datetime | None) -> str | None:
    return None if instant is None else stamp(instant)


def instant_if_any(value: str | None) -> datetime | None:
    return None if value is None else instant(value)


def bound(value: str) -> str | bytes:
    """Text as SQLite can take it: what UTF-8 cannot hold (lone surrogates of cut emoji, odd file names) as bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def text(value: object) -> str:
    """The inverse of `bound`; raises TypeError or ValueError for what it never gave, which means damage."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    raise TypeError(f"{type(value).__name__} where a text belongs")


def bound_if_any(value: str | None) -> str | bytes | None:
    return None if value is None else bound(value)


def text_if_any(value: object) -> str | None:
    return None if value is None else text(value)


def number(value: object) -> int:
    """A column's number; raises TypeError where it is none: SQLite keeps a text where it cannot read a number."""
    if isinstance(value, int):
        return value
    raise TypeError(f"{type(value).__name__} where a number belongs")


def number_if_any(value: object) -> int | None:
    return None if value is None else number(value)


def real_if_any(value: object) -> float | None:
    """A column's measure; raises TypeError where it is none."""
    if value is None or isinstance(value, float):
        return value
    raise TypeError(f"{type(value).__name__} where a measure belongs")


def flag(value: object) -> bool:
    """A column's yes or no; raises TypeError or ValueError where it is neither."""
    if number(value) not in (0, 1):
        raise ValueError(f"{value} where yes or no belongs")
    return bool(value)


def json_array(value: object) -> list[Any]:
    """A column's JSON array; raises TypeError or ValueError where it is none."""
    found = from_json(text(value))
    if isinstance(found, list):
        return found
    raise TypeError(f"{type(found).__name__} where an array belongs")


def json_object(value: object) -> dict[str, Any]:
    """A column's JSON object; raises TypeError or ValueError where it is none."""
    found = from_json(text(value))
    if isinstance(found, dict):
        return found
    raise TypeError(f"{type(found).__name__} where an object belongs")


def ref_values(ref: Ref) -> tuple[str | bytes, str | bytes]:
    """A ref as the columns `source` and `id` hold it."""
    return bound(ref.source), bound(ref.id)


def ref_of(source: object, id_: object) -> Ref:
    """The inverse of `ref_values`."""
    return Ref(text(source), text(id_))


def refs_json(refs: Iterable[Ref]) -> str:
    """Several refs as one column holds them, in their order."""
    return to_json([[ref.source, ref.id] for ref in refs])


def refs_of(value: object) -> tuple[Ref, ...]:
    """The inverse of `refs_json`; raises TypeError or ValueError where a column holds no refs."""
    return tuple(ref_of(source, id_) for source, id_ in json_array(value))
