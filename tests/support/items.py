"""Items built by hand for tests of the core."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from heartbeat.task import Dependency, DependencyKind, Item, Owner, OwnerKind, Priority, Ref, Status

SOURCES = ("workboard", "multica", "todo")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
COO = Owner(OwnerKind.AGENT, "coo")
ARCHITECT = Owner(OwnerKind.AGENT, "architect")
ALICE = Owner(OwnerKind.PERSON, "Alice")


def card(number: int, title: str, status: Status = Status.TODO, **changes: Any) -> Item:
    """A WorkBoard card whose id starts with `number` in eight hex digits."""
    identifier = f"{number:08x}-0000-4000-8000-000000000000"
    return _item(Ref("workboard", identifier), identifier[:8], title, status, **changes)


def issue(number: int, title: str, status: Status = Status.TODO, **changes: Any) -> Item:
    """A Multica issue called BIZ-`number`."""
    identifier = f"0198f0a0-7777-7000-8000-{number:012d}"
    changes.setdefault("aliases", (f"BIZ-{number}", identifier))
    return _item(Ref("multica", identifier), f"BIZ-{number}", title, status, **changes)


def line(number: int, title: str, status: Status = Status.TODO, **changes: Any) -> Item:
    """A line of the coo's TODO.md."""
    reference = Ref("todo", f"coo/TODO.md#{number:04x}")
    return _item(reference, f"TODO.md:{number}", title, status, location=f"TODO.md:{number}", **changes)


def explicit(*targets: str) -> tuple[Dependency, ...]:
    """Dependencies as a person writes them."""
    return tuple(Dependency(DependencyKind.EXPLICIT, target) for target in targets)


def parents(*targets: str) -> tuple[Dependency, ...]:
    """WorkBoard parent links."""
    return tuple(Dependency(DependencyKind.CARD, target) for target in targets)


def _item(reference: Ref, key: str, title: str, status: Status, **changes: Any) -> Item:
    fields: dict[str, Any] = {
        "ref": reference,
        "key": key,
        "title": title,
        "status": status,
        "raw_status": status.value,
        "priority": Priority.NORMAL,
        "owner": COO,
    }
    return Item(**{**fields, **changes})
