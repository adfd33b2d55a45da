"""Random boards: items of three sources that refer to, resemble and wait for each other."""

from __future__ import annotations

from hypothesis import strategies as st

from heartbeat.task import NOBODY, Item, Link, Priority, Status
from tests.support.items import ALICE, ARCHITECT, COO, card, explicit, issue, line

TITLES = st.sampled_from(
    ["登录页报错", "deploy the site", "deploy the sites", "修复", "write the weekly report", "", "🔥"]
)
STATUSES = st.sampled_from(list(Status))
OWNERS = st.sampled_from([COO, ARCHITECT, ALICE, NOBODY])
NUMBERS = st.integers(min_value=1, max_value=6)
NAMES = NUMBERS.map(lambda number: f"BIZ-{number}") | NUMBERS.map(lambda number: f"{number:08x}")


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """At most six items a source, each with its own id, in any order."""
    found: list[Item] = []
    for make in (card, issue, line):
        for number in draw(st.sets(NUMBERS, max_size=6)):
            found.append(
                make(
                    number,
                    draw(TITLES),
                    draw(STATUSES),
                    owner=draw(OWNERS),
                    priority=draw(st.sampled_from(list(Priority))),
                    archived=draw(st.booleans()),
                    mentions=tuple(draw(st.lists(NAMES, max_size=2))),
                    depends_on=explicit(*draw(st.lists(NAMES, max_size=2))),
                )
            )
    return draw(st.permutations(found))


@st.composite
def links(draw: st.DrawFn, among: list[Item]) -> list[Link]:
    """Links of earlier sweeps between items that are there."""
    if len(among) < 2:
        return []
    pairs = draw(st.lists(st.tuples(st.sampled_from(among), st.sampled_from(among)), max_size=4))
    return [Link(one.ref, other.ref, "title") for one, other in pairs if one.ref != other.ref]
