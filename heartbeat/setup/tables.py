"""The tables of hand-written HEARTBEAT.md files: what each cell is about, by its row and by its column. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from heartbeat.setup import phrases
from heartbeat.setup.audience import Audience, audience
from heartbeat.setup.foreign import fold
from heartbeat.setup.segments import Line

Placed = tuple[Line, tuple[str, ...]]
"""A line and the headings that it stands under."""

_RULE = re.compile(r"[\s>]*\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?|[\s>]*\|\s*:?-{3,}:?\s*")
_VALUE = re.compile(r"(?:设置|设定|当前|本\s*Agent\s*的?)?(?:数?值|取值)|本\s*Agent|设置|设定|value", re.IGNORECASE)
"""The heading of the column with the values, where a row has several."""
_AGENTS = re.compile(r"agent|智能体|成员|角色|名称|姓名|\bids?\b", re.IGNORECASE)
"""The heading of a column with the names of agents."""
_EVERYBODY = re.compile(r"所有|全部|全员|全体|默认|统一|all\b|default", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, the setting that it is a value of, whom it is about (None for everybody), and what stands above it or
    before it. `tells` says that it names whom to tell."""

    text: str
    setting: str | None = None
    about: Audience | None = None
    heading: str = ""
    tells: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, as cells that are about something; None where it is to be read like any other line."""

    line: Line
    above: tuple[str, ...]
    cells: tuple[Cell, ...] | None = None


def rows(placed: Sequence[Placed], agent: str, name: str) -> Iterator[Row]:
    """Neighbouring lines with bars in them: a table where there is a rule among them, else just lines. `agent` and
    `name` are those of the agent that the file is about."""
    if not any(_is_rule(line.plain) for line, _ in placed):
        yield from (Row(line, above, _pair(_cells(line.plain))) for line, above in placed)
        return
    head: list[str] = []
    names = frozenset((fold(agent), fold(name), fold(f"{name} ({agent})"), fold(f"{agent} ({name})")))
    reader = _Reader(agent, names, sum(not _is_rule(line.plain) for line, _ in placed) - 1)
    for (line, above), following in zip_longest(placed, (line for line, _ in placed[1:])):
        if _is_rule(line.plain):
            continue
        cells = _cells(line.plain)
        if following is not None and _is_rule(following.plain):
            head = cells
            yield Row(line, above, tuple(map(Cell, head)))
        else:
            yield Row(line, above, reader.read(cells, head))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads rows below a head. `names` are all that the agent goes by, folded; `number` is how many rows there are."""

    agent: str
    names: frozenset[str]
    number: int

    def read(self, cells: list[str], head: list[str]) -> tuple[Cell, ...] | None:
        first = cells[0]
        about = audience(first)
        titles = dict(enumerate(head))
        settings = {index: phrases.column(title) for index, title in titles.items()}
        whose = {index: found for index, title in titles.items() if index and (found := audience(title))}
        key, tells = None if phrases.numbers(first) else phrases.column(first), "通知" in first
        if about is not None:
            return self._by_row(cells, titles, settings, about)
        if whose and (key is not None or tells):
            rest = (
                Cell(text, key if index in whose else None, whose.get(index), first, tells and index in whose)
                for index, text in enumerate(cells[1:], 1)
            )
            return (Cell(first), *rest)
        if key is not None or (tells and len(cells) > 1 and not any(settings.values())):
            return self._by_key(cells, titles, key, tells)
        if any(settings.values()):
            return self._by_column(cells, titles, settings)
        return None

    def _by_row(
        self, cells: list[str], titles: Mapping[int, str], settings: Mapping[int, str | None], about: Audience | None
    ) -> tuple[Cell, ...]:
        return (
            Cell(cells[0]),
            *(
                Cell(text, settings.get(index), about, titles.get(index, ""), "通知" in titles.get(index, ""))
                for index, text in enumerate(cells[1:], 1)
            ),
        )

    def _by_key(self, cells: list[str], titles: Mapping[int, str], key: str | None, tells: bool) -> tuple[Cell, ...]:
        """A row that is a setting and its value. Where several cells could be the value, the heading decides, else
        none is."""
        headings = {index: f"{titles.get(index, '')} {cells[0]}" for index in range(1, len(cells))}
        values = {
            index: found[0]
            for index, text in enumerate(cells[1:], 1)
            if key and (found := phrases.cell(text, key, headings[index])) is not None
        }
        marked = [index for index in values if _VALUE.fullmatch(titles.get(index, "").strip(" *`"))]
        chosen = marked[0] if len(marked) == 1 else min(values) if len(set(values.values())) == 1 else None
        return (
            Cell(cells[0]),
            *(
                Cell(text, key if index == chosen else None, None, headings[index], tells and index == 1)
                for index, text in enumerate(cells[1:], 1)
            ),
        )

    def _by_column(
        self, cells: list[str], titles: Mapping[int, str], settings: Mapping[int, str | None]
    ) -> tuple[Cell, ...]:
        """A row of values below their settings. A row that begins with somebody's name is theirs; of several rows
        that nobody's name tells apart none is anybody's."""
        about: Audience | None = None
        known = dict(settings)
        if settings.get(0) is None and not _EVERYBODY.search(cells[0]):
            called = fold(cells[0].strip(" `*/"))
            if called in self.names:
                about = Audience("", (self.agent,))
            elif called and _AGENTS.search(titles.get(0, "")):
                about = Audience("", (called,))
        if about is None and self.number > 1:
            known = {}
        return (
            *(() if known.get(0) else (Cell(cells[0]),)),
            *(
                Cell(text, known.get(index), about, titles.get(index, ""), "通知" in titles.get(index, ""))
                for index, text in enumerate(cells)
                if index or known.get(0)
            ),
        )


def _pair(cells: list[str]) -> tuple[Cell, ...] | None:
    """A setting and its value on a line of their own, without a table around them."""
    key = phrases.column(cells[0]) if len(cells) == 2 and not phrases.numbers(cells[0]) else None
    if key is None or not re.match(r"\W*[\d零一二两三四五六七八九十百半]", cells[1]):
        return None
    return Cell(cells[0]), Cell(cells[1], key, heading=cells[0])


def _cells(row: str) -> list[str]:
    bare = re.sub(r"\A[\s>]+", "", row).strip()
    return [cell.strip() for cell in bare.removeprefix("|").removesuffix("|").split("|")]


def _is_rule(row: str) -> bool:
    return _RULE.fullmatch(row) is not None
