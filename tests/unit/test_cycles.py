"""Rule D5: the sets of tasks that wait for each other, against brute force, and on graphs that are long or wide."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.rules.cycles import cycles

KEYS = st.sampled_from("abcdefg")
GRAPHS = st.dictionaries(KEYS, st.lists(KEYS, max_size=4))


def by_brute_force(edges: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Everything that reaches each other, found by following edges until nothing new comes."""
    reached = {key: {target for target in edges[key] if target in edges} for key in edges}
    changed = True
    while changed:
        changed = False
        for near in reached.values():
            further = {target for step in near for target in reached[step]}
            changed = changed or not further <= near
            near |= further
    rings = {
        tuple(sorted({key} | {other for other in reached[key] if key in reached[other]}))
        for key in edges
        if key in reached[key]
    }
    return sorted(ring for ring in rings if len(ring) > 1)


@given(GRAPHS)
def test_D5_the_sets_are_those_that_brute_force_finds(edges: dict[str, list[str]]) -> None:
    assert list(cycles(edges)) == by_brute_force(edges)


def test_D5_larger_graphs_agree_with_brute_force_too() -> None:
    found = 0
    for seed in range(300):
        chance = random.Random(seed)
        keys = [f"{number:02}" for number in range(chance.randint(10, 30))]
        edges = {key: chance.sample(keys, chance.choice((0, 1, 1, 2))) for key in keys}
        expected = by_brute_force(edges)
        assert list(cycles(edges)) == expected, f"graph {seed}"
        found += len(expected)
    assert found > 100


@given(GRAPHS, st.randoms())
def test_M3_no_order_of_keys_or_edges_changes_the_sets(edges: dict[str, list[str]], chance: random.Random) -> None:
    keys = list(edges)
    chance.shuffle(keys)
    turned = {key: chance.sample(edges[key], len(edges[key])) for key in keys}
    assert cycles(turned) == cycles(edges)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({}, ()),
        ({"a": []}, ()),
        ({"a": ["a"]}, ()),
        ({"a": ["b"]}, ()),
        ({"a": ["b"], "b": ["a"]}, (("a", "b"),)),
        ({"b": ["a", "a"], "a": ["b", "b"]}, (("a", "b"),)),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"], "e": []}, (("a", "b", "c"),)),
        ({"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["c"]}, (("a", "b"), ("c", "d"))),
        ({"a": ["b", "c"], "b": ["a"], "c": ["a"]}, (("a", "b", "c"),)),
    ],
)
def test_D5_each_set_is_named_once_and_nothing_else_is(
    edges: dict[str, list[str]], expected: tuple[tuple[str, ...], ...]
) -> None:
    assert cycles(edges) == expected


LENGTH = 50_000


def test_a_path_of_fifty_thousand_tasks_does_not_exhaust_the_stack() -> None:
    path = {f"{number:05}": [f"{number + 1:05}"] for number in range(LENGTH)}
    assert cycles(path) == ()


def test_a_ring_of_fifty_thousand_tasks_is_one_set() -> None:
    ring = {f"{number:05}": [f"{(number + 1) % LENGTH:05}"] for number in range(LENGTH)}
    (found,) = cycles(ring)
    assert len(found) == LENGTH


def test_a_task_that_fifty_thousand_wait_for_is_no_set() -> None:
    star = {f"{number:05}": ["hub"] for number in range(LENGTH)} | {"hub": ["00000"], "00000": []}
    assert cycles(star) == ()
