"""What a shell offers for the words behind `heartbeat`: names of the roster, and of what earlier beats left behind.

It answers at each press of a key: it reads files and asks no source, takes no lock, writes nothing, and says nothing
where something is wrong, since that would land in the line that somebody types. The shells put what is offered into a
line, or into code of their own (zsh evaluates it), so that nothing but letters, digits and `._-` is offered (rule B8).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from heartbeat.cli.operators import DefaultCommandGroup

MOST = 200
"""What is offered at once; more is no help."""

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_ITEMS = 5000
"""How many items of a snapshot are looked at, the first ones: the answer must come within a moment."""
_BUSY = 0.2
"""Seconds to wait for a store that somebody writes to."""
_SOURCES = ("workboard", "multica", "todo")


@dataclass(frozen=True, slots=True)
class Offered:
    """One word, in the form in which the shells' adapters want it. A help text would be foreign text."""

    value: str
    type: str = "plain"
    help: str | None = None


class Known:
    """What can be known from files, each found when it is first asked for. Everything may raise anything."""

    def __init__(self, context: Any) -> None:
        self._context = context

    @cached_property
    def _named(self) -> str | None:
        """What `--roster` says, behind the command or in front of it."""
        context = self._context
        while context is not None:
            named = context.params.get("roster") or context.params.get("roster_path")
            if named:
                return str(named)
            context = context.parent
        return None

    def section(self, name: str) -> dict[str, Any]:
        """A mapping at the top of the roster, as it is written: unchecked, so that a roster with mistakes serves."""
        from heartbeat.roster.document import MAX_BYTES, read_document
        from heartbeat.roster.locate import find_roster

        path = find_roster(self._named, os.environ, Path.cwd())
        if not path.is_file():
            return {}  # a FIFO would keep the shell waiting
        with path.open("rb") as file:
            found = read_document(file.read(MAX_BYTES + 1)).get((name,))
        return found if isinstance(found, dict) else {}

    @cached_property
    def state(self) -> Path:
        """The state directory."""
        from heartbeat.cli.session import Session

        return Session(self._context, self._named, lenient=True).state


Names = Callable[[Known], Iterable[str]]


def agents(known: Known) -> Iterator[str]:
    """Of the roster, those that are enabled."""
    for name, settings in known.section("agents").items():
        if not (isinstance(settings, dict) and settings.get("enabled") is False):
            yield name


def channels(known: Known) -> Iterable[str]:
    return known.section("channels")


def sources(known: Known) -> Iterable[str]:
    return known.section("sources") or _SOURCES


def statuses(known: Known) -> Iterator[str]:
    """Words of `heartbeat tasks --status`."""
    from heartbeat.task import State, Status

    yield from (each.value for each in (*Status, *State))


def tasks(known: Known) -> Iterator[str]:
    """Open tasks, as the last complete reads showed them."""
    from heartbeat.systems.snapshot_file import peek_items
    from heartbeat.task import CLOSED

    for path in sorted((known.state / "snapshots").glob("*.jsonl")):
        yield from (item.key for item in peek_items(path, _ITEMS) if item.status not in CLOSED and not item.archived)


def incidents(known: Known) -> Iterator[str]:
    """Those that are open, the newest first."""
    from heartbeat.store.opening import open_store_read_only

    with open_store_read_only(known.state, busy_timeout=_BUSY) as store:
        yield from (incident.id for incident in store.incidents(open_only=True))


def entries(known: Known) -> Iterator[str]:
    """Ids of what waits in the outbox, and of what was given up."""
    from heartbeat.action import marker_of
    from heartbeat.store.opening import open_store_read_only
    from heartbeat.store.port import UNFINISHED, EntryState

    with open_store_read_only(known.state, busy_timeout=_BUSY) as store:
        yield from (marker_of(entry.key) for entry in store.entries(states=UNFINISHED | {EntryState.DEAD}))


_BY_METAVAR: dict[str, Names] = {
    "AGENT": agents,
    "TASK": tasks,
    "CHANNEL": channels,
    "INCIDENT": incidents,
    "KEY": entries,
}
"""What stands for a metavar, without the brackets and dots around it."""

_BY_OPTION: dict[str, Names] = {"--source": sources, "--status": statuses, "--agents": agents}
_LISTS = frozenset({"--agents"})
"""Options that take several names with commas between them."""


def offer(command: Any) -> None:
    """Give every parameter of a command, at whatever depth, the names that it takes."""
    for below in getattr(command, "commands", {}).values():
        offer(below)
    if isinstance(command, DefaultCommandGroup):
        command.shell_complete = partial(_of_group, command)  # type: ignore[method-assign]
    for parameter in command.params:
        found = _names_of(parameter)
        if found is not None:
            parameter.shell_complete = partial(_complete, parameter, found)


def _names_of(parameter: Any) -> Names | None:
    by_option = next((names for option, names in _BY_OPTION.items() if option in parameter.opts), None)
    return by_option or _BY_METAVAR.get((parameter.metavar or "").strip("[]."))


def _complete(parameter: Any, names: Names, context: Any, incomplete: str) -> list[Offered]:
    """The names that begin like this; those that were given already are not offered again."""
    before, separator, last = incomplete.rpartition(",") if _LISTS & set(parameter.opts) else ("", "", incomplete)
    given = context.params.get(parameter.name) if parameter.nargs == -1 or parameter.multiple else ()
    taken = {*(given or ()), *before.split(",")}
    wanted = last.casefold()
    found = dict.fromkeys(
        name
        for name in _known(names, context)
        if name.casefold().startswith(wanted) and name not in taken and _HARMLESS.fullmatch(name)
    )
    return [Offered(f"{before}{separator}{name}") for name in list(found)[:MOST]]


def _known(names: Names, context: Any) -> list[str]:
    """Nothing where anything goes wrong, and not a word about it."""
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            return [name for name in names(Known(context)) if isinstance(name, str)]
    except Exception:  # noqa: BLE001 - whatever it is, somebody is typing, and the command itself will tell
        return []


def _of_group(group: DefaultCommandGroup, context: Any, incomplete: str) -> list[Any]:
    """Its commands, and what its first command takes: `heartbeat rounds BIZ-31`."""
    offered: list[Any] = type(group).shell_complete(group, context, incomplete)
    first = next(iter(group.commands.values()))
    for parameter in first.params:
        if parameter.param_type_name == "argument" and not incomplete.startswith("-"):
            offered += parameter.shell_complete(context, incomplete)
    return offered


def mend_bash_words(environment: MutableMapping[str, str]) -> None:
    """bash takes `--agent=coo` for three words; the equals sign is taken out, as if a space stood there."""
    words = environment.get("COMP_WORDS", "").split("\n")
    at = environment.get("COMP_CWORD", "")
    if not at.isdecimal() or "=" not in words:
        return
    current = int(at)
    kept: list[str] = []
    for number, word in enumerate(words):
        if word == "=" and kept and kept[-1].startswith("--"):
            if number == int(at):
                kept.append("")  # the cursor stands right behind it
            else:
                current -= number < int(at)
            continue
        kept.append(word)
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(kept), str(current)
