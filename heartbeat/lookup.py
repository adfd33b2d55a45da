"""Which task somebody means: by any ref, key, alias, the beginning of an id, or the title. Pure.

`find` gives every task that a name may mean, `meant` those that are left where it is clear whose, and which is open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from heartbeat.errors import UsageError
from heartbeat.task import Owner, OwnerKind, Task
from heartbeat.titles import normalised

_SHORTEST_PREFIX = 4
_ID_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{3,}")
_LISTED = 8
"""How many tasks an ambiguous name lists."""


def find(tasks: Iterable[Task], name: str) -> tuple[Task, ...]:
    """Every task that the name may mean, in the given order: of the closest kind of match only; open ones first.

    Kinds, closest first: a key (`source:id`) or full id, what people call it (BIZ-31, TODO.md:12) or an alias, the
    beginning of an id (4 or more hexadecimal digits), the whole title, a part of the title.
    """
    every: Sequence[Task] = tuple(tasks)
    wanted = name.strip().casefold()
    if not wanted:
        return ()
    for matches in _kinds(wanted):
        found = [task for task in every if matches(task)]
        if found:
            return tuple(sorted(found, key=lambda task: task.closed))
    return ()


def meant(tasks: Iterable[Task], name: str, agent: str = "") -> tuple[Task, ...]:
    """Of those that the name may mean the agent's own, where there are any, and of those the open ones."""
    found = find(tasks, name)
    found = tuple(task for task in found if task.owner == Owner(OwnerKind.AGENT, agent)) or found
    return tuple(task for task in found if not task.closed) or found


def ambiguous(name: str, listed: Sequence[str]) -> UsageError:
    """What to raise for a name that means several, each of them named; all of it as it may be shown."""
    more = f"; and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return UsageError(
        f"{name!r} may mean {len(listed)} tasks: {'; '.join(listed[:_LISTED])}{more}",
        advice="name one of them by its key, such as workboard:… or BIZ-31",
    )


def _kinds(wanted: str) -> Iterator[Callable[[Task], bool]]:
    title = normalised(wanted)
    yield lambda task: any(wanted in (str(ref).casefold(), ref.id.casefold()) for ref in task.refs)
    yield lambda task: any(
        wanted == item.key.casefold() or wanted in (alias.casefold() for alias in item.aliases) for item in task.items
    )
    if _ID_PREFIX.fullmatch(wanted) and len(wanted) >= _SHORTEST_PREFIX:
        yield lambda task: any(ref.id.casefold().startswith(wanted) for ref in task.refs)
    if title:
        yield lambda task: any(normalised(item.title) == title for item in task.items)
        yield lambda task: any(title in normalised(item.title) for item in task.items)
