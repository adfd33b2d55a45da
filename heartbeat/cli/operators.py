"""What the operators' commands share: who gives them, which task they mean, and a word where memory was lost."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from heartbeat.cli.session import Session, complain, progress
from heartbeat.cli.terminal import clipped
from heartbeat.errors import UsageError
from heartbeat.task import NOBODY, Owner, Ref, Task

if TYPE_CHECKING:
    from heartbeat.memory import Incident
    from heartbeat.observation import Observation
    from heartbeat.store.port import Store

AsOption = Annotated[
    str | None,
    typer.Option("--as", metavar="AGENT", help="The agent that you are; else HEARTBEAT_AGENT, else your user name."),
]
TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Any name of a task: BIZ-31, an id or its beginning, a title.")
]

_TITLE = 60
_NEAREST = 3
_COMPARED = 5000
"""Names that are compared to suggest the nearest: enough for a team, and it stays quick."""
_SHORTEST_PREFIX = 4
_LONGEST_REASON = 500


class DefaultCommandGroup(TyperGroup):
    """A group whose first command is meant where none is named: `heartbeat rounds BIZ-31`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        named = named or (ctx.resilient_parsing and not args)  # a shell asks what may stand here
        first = next(iter(self.commands))
        return super().parse_args(ctx, args if named else [first, *args])


@dataclass(frozen=True, slots=True)
class Named:
    """The task that somebody named. `task` is None where no source shows it now and only memory knows its refs."""

    refs: tuple[Ref, ...]
    task: Task | None
    observation: Observation
    title: str
    owner: Owner

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that it may stand under in the log and the outbox."""
        return tuple(map(str, self.refs))

    @property
    def called(self) -> str:
        """What to call it on a screen: the name that people use, and its title."""
        return f"{clipped(self._name, _TITLE)} {clipped(self.title, _TITLE)}".rstrip()

    @property
    def typed(self) -> str:
        """Its name as it is typed into a shell."""
        return shlex.quote(clipped(self._name, _TITLE))

    @property
    def _name(self) -> str:
        return self.task.items[0].key if self.task else str(self.refs[0])


def author(session: Session, agent: str | None) -> str:
    """Who gives the command: `--as`, HEARTBEAT_AGENT, or the user's name. Raises UsageError for a stranger."""
    if agent is not None:
        return session.roster.chosen([agent])[0].id
    told = session.environment.get("HEARTBEAT_AGENT", "")
    if not told:
        return _user()
    if told not in session.roster.agents:
        known = ", ".join(session.roster.agents)
        raise UsageError(
            f"HEARTBEAT_AGENT names {clipped(told, _TITLE)!r}, which {session.roster.path} does not have",
            advice=f"set it to one of: {known}",
        )
    return told


def _user() -> str:
    import getpass
    import os

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def reason(why: str | None) -> str:
    """`--why` as one line; raises UsageError where it says nothing."""
    said = remark(why)
    if not said:
        raise UsageError("nothing says why", advice="add --why 'a few words for whoever reads this later'")
    return said


def remark(why: str | None) -> str:
    """`--why` as one line where it may be left out."""
    return clipped(why or "", _LONGEST_REASON)


def duration(option: str, text: str) -> timedelta:
    """A duration given on the command line. Raises UsageError."""
    from heartbeat.instants import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def warn_of_loss(store: Store) -> None:
    """Lost memory is never passed over in silence (rule B7)."""
    lost = store.tombstone()
    if lost is not None:
        complain(f"memory-lost: {lost.reason}; what is on record may not be all, see `heartbeat doctor`")


def task_named(session: Session, store: Store, text: str, *, fresh: bool = False) -> Named:
    """The one task that a name means, of several the one that is open: as the sources show it, else as memory knows it.

    Raises UsageError where it means none (with the nearest names) or several (with their keys).
    """
    progress("reading the sources …")
    seen = session.observe(store, tuple(session.roster.agents.values()), fresh=fresh)
    return meant(seen, store, text)


def meant(seen: Observation, store: Store, text: str) -> Named:
    """`task_named` over a look that was taken already."""
    from heartbeat import lookup

    tasks = [standing.task for standing in seen.assessment.standings]
    found = lookup.meant(tasks, text)
    if len(found) > 1:
        raise lookup.ambiguous(clipped(text, _TITLE), [f"{task.key} ({_label(task)})" for task in found])
    if found:
        return _seen(seen, found[0])
    incidents = store.incidents()
    groups = _remembered(store, incidents, text)
    if len(groups) > 1:
        raise lookup.ambiguous(clipped(text, _TITLE), [" = ".join(map(str, refs)) for refs in groups])
    if groups:
        return _recalled(seen, tasks, incidents, groups[0])
    raise _none(seen, tasks, text)


def _recalled(seen: Observation, tasks: Iterable[Task], incidents: Iterable[Incident], refs: frozenset[Ref]) -> Named:
    """What memory knows by a name: the task that its other records show, else what an incident said of it."""
    shown = [task for task in tasks if not refs.isdisjoint(task.refs)]
    if len(shown) == 1:
        return _seen(seen, shown[0])
    told = next((each for each in incidents if not refs.isdisjoint(each.refs)), None)
    return Named(tuple(sorted(refs)), None, seen, told.title if told else "", told.owner if told else NOBODY)


def _seen(seen: Observation, task: Task) -> Named:
    return Named((*task.refs, *task.absent), task, seen, task.title, task.owner)


def _none(seen: Observation, tasks: Iterable[Task], text: str) -> UsageError:
    unread = sorted(seen.sweep.incomplete)
    blind = f"; {', '.join(unread)} could not be read" if unread else ""
    nearest = _nearest(tasks, text)
    near = f"the nearest: {'; '.join(nearest)}; " if nearest else ""
    return UsageError(
        f"no task is called {clipped(text, _TITLE)!r}{blind}", advice=f"{near}`heartbeat tasks --all` lists every task"
    )


def _nearest(tasks: Iterable[Task], text: str) -> list[str]:
    from difflib import get_close_matches

    labels: dict[str, str] = {}
    for task in tasks:
        if len(labels) >= _COMPARED:
            break
        for item in task.items:
            labels.setdefault(item.key.casefold()[:_TITLE], _label(task))
            labels.setdefault(item.title.casefold()[:_TITLE], _label(task))
    matches = get_close_matches(text.strip().casefold()[:_TITLE], labels, n=_NEAREST, cutoff=0.5)
    return list(dict.fromkeys(labels[match] for match in matches))


def _label(task: Task) -> str:
    return f"{clipped(task.items[0].key, _TITLE)} {clipped(task.title, _TITLE)}"


def _remembered(store: Store, incidents: Iterable[Incident], text: str) -> list[frozenset[Ref]]:
    """The refs that memory knows by this name, those of one task together."""
    wanted = text.strip().casefold()
    known = {*store.rounds(), *store.holds(), *store.clocks(), *(ref for each in incidents for ref in each.refs)}
    chosen = {ref for ref in known if wanted in (str(ref).casefold(), ref.id.casefold())}
    if not chosen and len(wanted) >= _SHORTEST_PREFIX:
        chosen = {ref for ref in known if ref.id.casefold().startswith(wanted)}
    return list(joined(chosen, relations(store, incidents)))


def relations(store: Store, incidents: Iterable[Incident]) -> Mapping[Ref, set[Ref]]:
    """Which refs are one task as far as memory goes: by links (rule M4), and by incidents."""
    near: dict[Ref, set[Ref]] = {}
    together = [(link.first, link.second) for link in store.links()]
    together += [(each.ref, ref) for each in incidents for ref in each.refs if ref != each.ref]
    for first, second in together:
        near.setdefault(first, set()).add(second)
        near.setdefault(second, set()).add(first)
    return near


def joined(refs: Iterable[Ref], near: Mapping[Ref, set[Ref]]) -> Iterator[frozenset[Ref]]:
    """The refs with everything that belongs to them, one set a task, in sorted order."""
    seen: set[Ref] = set()
    for start in sorted(refs):
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            following = near.get(waiting.pop(), set()) - group
            group |= following
            waiting += following
        seen |= group
        yield frozenset(group)
