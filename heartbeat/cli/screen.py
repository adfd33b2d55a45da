"""Standard output as a screen: how wide it is, and tables that fit. Where there is no terminal it is always as wide."""

from __future__ import annotations

import re
import sys
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 140
NARROWEST = 60
"""Columns that everything is laid out for at least: on less, the terminal folds the lines itself."""
_READABLE = 24
"""Columns that a long text needs beside those that are not folded; where it has less, they are folded too."""
TERMINAL = 80
"""Columns that a terminal has at least."""


def console(narrowest: int = NARROWEST) -> Console:
    """Standard output; a fixed width where there is no terminal, so that logs are not folded at 80 columns."""
    stream = cast(IO[str], _Trimmed(sys.stdout))
    width, height = WIDTH_WITHOUT_TERMINAL, None
    if sys.stdout.isatty():
        size = Console().size
        width, height = max(size.width, narrowest), size.height
    return Console(file=stream, width=width, height=height, highlight=False, markup=False, emoji=False)


_BLANKS_AT_THE_END = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)
"""With what sets colours back: a table fills its last column within them."""


class _Trimmed:
    """A stream without the spaces that fill a table's last column: logs and diffs are better off without them, and a
    terminal that was made narrower since, or a copy of what it shows, too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_BLANKS_AT_THE_END.sub(lambda found: found[0].replace(" ", ""), text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        return self._stream.encoding


class _Grid(Table):
    """A table of which nothing is lost where it is narrow: what is never folded elsewhere is folded there. A screen
    that gives its columns a `min_width` knows itself what to leave out."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if all(column.min_width is None for column in self.columns) and not self._fits(console, options):
            for column in self.columns:
                column.no_wrap, column.overflow = False, "fold"
        yield from super().__rich_console__(console, options)

    def _fits(self, console: Console, options: ConsoleOptions) -> bool:
        """Whether the texts have room beside what is not folded."""
        needed = 0
        for column in self.columns:
            width = self._measure_column(console, options, column).maximum
            needed += width if column.no_wrap else min(width, _READABLE)
        return needed <= options.max_width


def grid(*columns: dict[str, Any]) -> Table:
    """An indented table without lines."""
    table = _Grid.grid(padding=(0, 2))
    table.add_column(width=0)
    for options in columns:
        table.add_column(**options)
    return table
