"""Strongly connected sets of a graph (rule D5): Tarjan's walk, with a stack of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def cycles(edges: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The sets of two or more keys that reach each other, each sorted, in sorted order.

    Keys that have no entry of their own are leaves; a key that points at itself makes no set.
    """
    walk = _Walk(edges)
    for root in sorted(edges):
        walk.visit(root)
    return tuple(sorted(walk.found))


class _Walk:
    def __init__(self, edges: Mapping[str, Sequence[str]]) -> None:
        self.found: list[tuple[str, ...]] = []
        self._edges = edges
        self._index: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._path: list[str] = []
        self._on_path: set[str] = set()

    def visit(self, root: str) -> None:
        if root in self._index:
            return
        work = [self._enter(root)]
        while work:
            key, following = work[-1]
            step = self._next_unvisited(key, following)
            if step is not None:
                work.append(self._enter(step))
                continue
            work.pop()
            if work:
                parent = work[-1][0]
                self._low[parent] = min(self._low[parent], self._low[key])
            if self._low[key] == self._index[key]:
                self._collect(key)

    def _enter(self, key: str) -> tuple[str, Iterator[str]]:
        self._index[key] = self._low[key] = len(self._index)
        self._path.append(key)
        self._on_path.add(key)
        return key, iter(self._edges[key])

    def _next_unvisited(self, key: str, following: Iterator[str]) -> str | None:
        for neighbour in following:
            if neighbour not in self._edges:
                continue
            if neighbour not in self._index:
                return neighbour
            if neighbour in self._on_path:
                self._low[key] = min(self._low[key], self._index[neighbour])
        return None

    def _collect(self, root: str) -> None:
        members: list[str] = []
        while not members or members[-1] != root:
            members.append(self._path.pop())
            self._on_path.discard(members[-1])
        if len(members) > 1:
            self.found.append(tuple(sorted(members)))
