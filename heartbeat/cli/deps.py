"""`heartbeat deps`: what a task waits for and who waits for it, all the way; as a tree, Mermaid or JSON. Read-only."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.session import DebugOption, FreshOption, JsonOption, RosterOption, Session, StrictOption, finish
from heartbeat.cli.terminal import clipped
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from heartbeat.observation import Observation
    from heartbeat.rules.dependencies import Wait
    from heartbeat.worklist import Standing

_TITLE = 60
_REASON = 160
_LABEL = 48
_DEEPEST = 30
"""Deeper branches are not indented any further."""

_PLAIN = ("open", "cycle")
"""Gates that the state of the task waited for, or the mark of its ring, explains already."""

_HARMLESS = " -_.:/,+，。：、（）…"


class Format(StrEnum):
    """How dependencies are printed."""

    TREE = "tree"
    MERMAID = "mermaid"
    JSON = "json"


def deps(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Any name of a task; without one everything that waits.")
    ] = None,
    cycles: Annotated[bool, typer.Option("--cycles", help="Only tasks that wait for each other in a ring.")] = False,
    format_: Annotated[
        Format, typer.Option("--format", help="For people, for a diagram, or for machines.")
    ] = Format.TREE,
    json_output: JsonOption = False,
    fresh: FreshOption = False,
    strict: StrictOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What holds tasks back, and whom they hold back: unfinished work, whatever only a person can settle, rings."""
    session = Session(context, roster)
    if json_output and format_ is Format.MERMAID:
        raise UsageError("--json and --format mermaid do not go together", advice="use one of them")
    with session.store(read_only=True) as store:
        seen = session.observe(store, tuple(session.roster.agents.values()), fresh=fresh)
        named = operators.meant(seen, store, task) if task is not None else None
    if named is not None and named.task is None:
        raise UsageError(
            f"{named.called} is in no source that could be read, so what it waits for is not known",
            advice="`heartbeat doctor` says what is the matter with the sources",
        )
    graph = Graph.of(seen, None if named is None or named.task is None else named.task.key, only_cycles=cycles)
    if json_output or format_ is Format.JSON:
        from heartbeat.cli import documents

        documents.write(document(graph, seen))
    elif format_ is Format.MERMAID:
        for line in mermaid(graph):
            typer.echo(line)
    else:
        _print(graph)
    finish(seen, strict, unread=True)


@dataclass(frozen=True, slots=True)
class Graph:
    """Tasks that wait, and what they wait for. `root` is the key of the task that was asked about, None for all.

    `keys` are the tasks shown, in the order of work; `waiters` says by key who waits for a task. `rings` numbers the
    members of `cycles`, from 1.
    """

    root: str | None
    keys: tuple[str, ...]
    standings: Mapping[str, Standing]
    waiters: Mapping[str, tuple[str, ...]]
    cycles: tuple[tuple[str, ...], ...]
    rings: Mapping[str, int]
    only_rings: bool = False

    @classmethod
    def of(cls, seen: Observation, root: str | None, *, only_cycles: bool) -> Graph:
        standings = {standing.task.key: standing for standing in seen.assessment.standings}
        waiters: dict[str, list[str]] = {}
        for key, standing in standings.items():
            for blocker in dict.fromkeys(wait.blocker for wait in standing.waits if wait.blocker):
                waiters.setdefault(blocker, []).append(key)
        every = {key: tuple(waiting) for key, waiting in waiters.items()}
        shown = {key for key, standing in standings.items() if standing.waits} | every.keys()
        if root is not None:
            down = _reached(root, lambda key: _blockers(standings[key].waits) if key in standings else ())
            shown = down | _reached(root, lambda key: every.get(key, ()))
        cycles = tuple(ring for ring in seen.assessment.cycles if not shown.isdisjoint(ring))
        rings = {key: number for number, ring in enumerate(cycles, start=1) for key in ring}
        if only_cycles:
            shown = set(rings)
        return cls(root, tuple(key for key in standings if key in shown), standings, every, cycles, rings, only_cycles)

    def waits(self, key: str) -> tuple[Wait, ...]:
        return self.standings[key].waits

    def name(self, key: str) -> str:
        return clipped(self.standings[key].task.items[0].key, _TITLE)

    def title(self, key: str) -> str:
        return clipped(self.standings[key].task.title, _TITLE)


def _blockers(waits: Iterable[Wait]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(wait.blocker for wait in waits if wait.blocker))


def _reached(start: str, following: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything that can be reached from there, itself included."""
    reached, left = {start}, [start]
    while left:
        new = set(following(left.pop())) - reached
        reached |= new
        left += new
    return reached


# For people.

Branch = tuple[str | None, str]
"""The task at its end, None where there is none, and what to say of it."""


def _print(graph: Graph) -> None:
    for line in tree(graph):
        typer.echo(line)


def tree(graph: Graph) -> Iterator[str]:
    """Lines for a screen: below each task what it waits for, and below the task asked about also who waits for it."""
    if graph.root is not None and graph.root in graph.keys:
        yield _said(graph, graph.root)
        yield from _section(graph, "waits for", graph.root, _down)
        yield from _section(graph, "holds back", graph.root, _up)
    elif graph.root is not None:
        yield f"{_said(graph, graph.root)}: in no ring"
    else:
        yield from _forest(graph)
    for number, ring in enumerate(graph.cycles, start=1):
        yield f"ring {number}: {', '.join(map(graph.name, ring))} wait for each other, and none can start"


def _forest(graph: Graph) -> Iterator[str]:
    """First the tasks that nobody waits for, then what only rings lead to."""
    waiting = [key for key in graph.keys if graph.waits(key)]
    if not waiting:
        yield "No tasks wait for each other." if graph.only_rings else "Nothing waits."
        return
    shown = frozenset(graph.keys)
    tops = [key for key in waiting if shown.isdisjoint(graph.waiters.get(key, ()))]
    told: set[str] = set()
    for key in (*tops, *waiting):
        if key not in told:
            yield _said(graph, key)
            yield from _branches(graph, key, _down, told)


def _section(
    graph: Graph, heading: str, root: str, following: Callable[[Graph, str], Iterable[Branch]]
) -> Iterator[str]:
    lines = list(_branches(graph, root, following, set()))
    yield f"{heading}: {'' if lines else 'nothing'}".rstrip()
    yield from lines


def _branches(
    graph: Graph, root: str, following: Callable[[Graph, str], Iterable[Branch]], told: set[str]
) -> Iterator[str]:
    """Every task that is reached, each opened once; where a ring closes, and where a task was opened, it says so."""
    told.add(root)
    path: list[str] = [root]
    left: list[tuple[int, Branch]] = [(1, branch) for branch in reversed(tuple(following(graph, root)))]
    while left:
        depth, (key, said) = left.pop()
        del path[depth:]
        indent = "  " * min(depth, _DEEPEST)
        if key is None:
            yield f"{indent}{said}"
            continue
        below = tuple(following(graph, key))
        if key in path:
            yield f"{indent}{graph.name(key)}: the ring closes here"
        elif key in told and below:
            yield f"{indent}{said}, see above"
        else:
            yield f"{indent}{said}"
            told.add(key)
            path.append(key)
            left += [(depth + 1, branch) for branch in reversed(below)]


def _down(graph: Graph, key: str) -> Iterator[Branch]:
    for wait in graph.waits(key):
        if wait.blocker is None or wait.blocker not in graph.standings:
            yield None, f"{clipped(wait.target, _TITLE)}: {clipped(wait.reason, _REASON)}"
        elif graph.only_rings and wait.blocker not in graph.rings:
            continue
        else:
            because = "" if wait.gate.value in _PLAIN else f": {clipped(wait.reason, _REASON)}"
            yield wait.blocker, f"{_said(graph, wait.blocker)}{because}"


def _up(graph: Graph, key: str) -> Iterator[Branch]:
    for waiter in graph.waiters.get(key, ()):
        if not graph.only_rings or waiter in graph.rings:
            yield waiter, _said(graph, waiter)


def _said(graph: Graph, key: str) -> str:
    from heartbeat.cli.wording import owner_of

    standing = graph.standings[key]
    ring = f", in ring {graph.rings[key]}" if key in graph.rings else ""
    status = standing.task.status.value.replace("_", " ")
    return f"{graph.name(key)} {graph.title(key)} ({status}, {clipped(owner_of(standing.task.owner), _TITLE)}{ring})"


# For diagrams.


def mermaid(graph: Graph) -> Iterator[str]:
    """A Mermaid flowchart. Foreign text stands in labels only, reduced to letters, digits and plain punctuation."""
    yield "flowchart LR"
    yield "  %% an arrow leads from a task to what it waits for; what is dashed needs a look or a decision"
    number = {key: f"t{index}" for index, key in enumerate(graph.keys)}
    for key, node in number.items():
        yield f'  {node}["{_label(graph.name(key), graph.title(key))}"]'
    missing: dict[str, str] = {}
    for key, node in number.items():
        for wait in graph.waits(key):
            if wait.blocker is not None and wait.blocker in number:
                yield f"  {node} {_arrow(wait)} {number[wait.blocker]}"
            elif wait.blocker is None and not graph.only_rings:
                if wait.target not in missing:
                    missing[wait.target] = f"m{len(missing)}"
                    yield f'  {missing[wait.target]}(["{_label(wait.target)}"])'
                yield f"  {node} {_arrow(wait)} {missing[wait.target]}"
    members = ",".join(number[key] for key in graph.keys if key in graph.rings)
    if members:
        yield "  classDef ring stroke:#c00,stroke-width:2px"
        yield f"  class {members} ring"


def _arrow(wait: Wait) -> str:
    return "-->" if wait.gate.value in _PLAIN else f"-. {wait.gate.value} .->"


def _label(*texts: str) -> str:
    """Foreign text as a label: no quotes, brackets, entities or directives, so that it can only ever be read."""
    kept = "".join(
        character if unicodedata.category(character)[0] in "LNM" or character in _HARMLESS else " "
        for character in " ".join(texts)
    )
    return clipped(" ".join(kept.split()), _LABEL) or "?"


# For machines.


def document(graph: Graph, seen: Observation) -> dict[str, Any]:
    """`heartbeat.deps/1`."""
    from heartbeat.cli.documents import level
    from heartbeat.instants import to_text

    return {
        "schema": "heartbeat.deps/1",
        "generated_at": to_text(seen.at),
        "degraded": seen.sweep.degraded,
        **level(seen.degradation),
        "task": graph.root,
        "tasks": [_task(graph, key) for key in graph.keys],
        "cycles": [list(ring) for ring in graph.cycles],
    }


def _task(graph: Graph, key: str) -> dict[str, Any]:
    standing = graph.standings[key]
    return {
        "key": key,
        "name": standing.task.items[0].key,
        "title": standing.task.title,
        "status": standing.task.status.value,
        "state": standing.state.value,
        "owner": standing.task.owner.id or None,
        "owner_kind": standing.task.owner.kind.value,
        "waiting_on": [
            {"target": wait.target, "gate": wait.gate.value, "key": wait.blocker, "reason": wait.reason}
            for wait in standing.waits
        ],
        "holds_back": list(graph.waiters.get(key, ())),
        "in_cycle": key in graph.rings,
    }
