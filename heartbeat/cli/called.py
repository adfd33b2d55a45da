"""What people call the records that stand in memory by their ids: BIZ-31, the beginning of a card's id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

_BY_PLACE = frozenset({"todo"})
"""Sources whose key says where a line stood when it was read: its ref is the surer name."""


def called(state: Path, refs: Iterable[str]) -> Mapping[str, str]:
    """By ref (`source:id`), as far as the last complete reads in this state directory tell. Asks no source."""
    from heartbeat.systems.snapshot_file import find_keys
    from heartbeat.task import Ref

    wanted = {
        Ref(source, id_): text
        for text in refs
        for source, colon, id_ in (text.partition(":"),)
        if colon and id_ and source not in _BY_PLACE
    }
    found: dict[str, str] = {}
    for path in sorted((state / "snapshots").glob("*.jsonl")) if wanted else ():
        found |= {wanted[ref]: key for ref, key in find_keys(path, wanted).items() if key}
    return found
