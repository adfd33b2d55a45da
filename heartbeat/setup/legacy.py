"""A hand-written HEARTBEAT.md as facts: who, which class, which numbers, whom to tell, which checks. Pure.

Nothing is lost in silence. What a file says twice in different ways, and every number that is no setting of
heartbeat's, becomes a note with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from heartbeat.instants import exact_duration
from heartbeat.setup import phrases
from heartbeat.setup.audience import Audience, audience, listeners
from heartbeat.setup.checklist import LONGEST, Check, checklist
from heartbeat.setup.foreign import clean
from heartbeat.setup.identity import Note, Who, identify, uuid_of, without_identity
from heartbeat.setup.segments import LONGEST_LINE, Line, Segment, headings, segments
from heartbeat.setup.tables import Cell, Placed, rows

Said = timedelta | int | tuple[str, ...]

TOLD_BY_ALL = (
    phrases.EVERY,
    phrases.SUSPECT,
    phrases.RECOVER,
    phrases.WAIT,
    phrases.ROUNDS,
    phrases.NOTIFY,
)
"""What every file of this kind says; one that lacks some may have been cut off."""

MOST = timedelta(days=3660)
"""The longest time that a roster takes."""

NO_HEADING = "it has no heading `# HEARTBEAT.md - NAME(id)`, as files of this kind have"
"""Why a text of another kind is refused."""

_OTHER_ID = re.compile(r"agentId['\"]?\s*\)?\s*={1,2}\s*['\"]?(?P<id>[\w-]+)")
_ASKED_UUID = re.compile(r"assignee(?:-id)?[\s=]+(?P<uuid>[0-9a-fA-F-]{32,36})")
_OURS = "<!-- heartbeat:begin"

_PATROL = re.compile(r"(?:全平台|全局|全队)\S{0,4}积压")
"""A check that only somebody who sees the whole team's backlog can do."""


class Rank(IntEnum):
    """How surely a line speaks of this very agent; where two lines differ, the surer one counts, then the first."""

    PROSE = 0
    NAMED = 1
    CLASS = 2
    SCRIPT = 3
    QUOTED = 4


@dataclass(frozen=True, slots=True)
class HandWritten:
    """What one file says. `said` holds times, a number of rounds, and whom to tell, by the roster's names of them:
    roles, `coo`, or names as they were written. `class_id` is None where the file names no class that is known."""

    path: str
    line: int
    id: str
    name: str
    multica_id: str = ""
    class_id: str | None = None
    said: Mapping[str, Said] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    patrol: bool = False
    notes: tuple[Note, ...] = ()
    workspace: str = ""
    """The directory that the file lies in, where that is an agent's workspace."""

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A file, or part of one, that is none of this kind, and why."""

    path: str
    line: int
    why: str


def parse(path: str, text: str) -> tuple[tuple[HandWritten, ...], tuple[Refused, ...]]:
    """Every hand-written file in a text. `path` is only for messages."""
    if _OURS in text:
        return (), (Refused(path, 1, "heartbeat wrote it: its numbers come from a roster, which is what to copy"),)
    found: list[HandWritten] = []
    refused: list[Refused] = []
    parts = segments(text)
    for part in parts:
        read = _read(path, part)
        (found if isinstance(read, HandWritten) else refused).append(read)  # type: ignore[arg-type]
    if not parts:
        refused.append(Refused(path, 1, NO_HEADING))
    return tuple(found), tuple(refused)


def _read(path: str, segment: Segment) -> HandWritten | Refused:
    who = identify(segment)
    if isinstance(who, str):
        return Refused(path, segment.number, who)
    reader = _Reader(segment, who)
    reader.read()
    return reader.result(path)


@dataclass(frozen=True, slots=True)
class _Told:
    setting: str
    value: Said
    line: int
    rank: Rank


class _Reader:
    """Goes through the lines of one file, once."""

    def __init__(self, segment: Segment, who: Who) -> None:
        self._segment = segment
        self._who = who
        self._names = (who.name, who.id, f"{who.name}({who.id})", f"{who.name} ({who.id})")
        self._notes = list(who.notes)
        self._told: list[_Told] = []
        self._warned: list[tuple[int, int, int | None]] = []
        self._others: list[int] = []
        self._items: Mapping[int, Check] = {}

    def read(self) -> None:
        placed = tuple(headings(self._segment.lines))
        self._items = checklist(placed)
        taken = {number for item in self._items.values() for number in item.lines if item.text}
        table: list[Placed] = []
        for line, above in placed:
            self._compare(line)
            self._unread(line)
            if not line.code and "|" in line.plain and line.number not in self._items:
                table.append((line, above))
                continue
            self._table(table)
            table = []
            if line.number not in taken:
                self._line(line, above)
        self._table(table)

    def result(self, path: str) -> HandWritten:
        chosen = self._chosen()
        self._check_warnings(chosen)
        said = {setting: told.value for setting, told in chosen.items()}
        if self._others:
            self._notes.append(Note(self._others[0], _other_lines(self._others)))
        self._notes += self._lacking(said)
        if self._segment.open_at is not None:
            cut = "this block of code is not closed: the file may have been cut off"
            self._notes.append(Note(self._segment.open_at, cut))
        checks = tuple(dict.fromkeys(item.text for item in self._items.values() if item.text))
        return HandWritten(
            path,
            self._segment.number,
            self._who.id,
            self._who.name,
            self._who.multica_id,
            self._who.class_id,
            said,
            {setting: told.line for setting, told in chosen.items()},
            checks,
            any(_PATROL.search(check) for check in checks),
            tuple(sorted(dict.fromkeys(self._notes), key=lambda note: note.line)),
        )

    def _lacking(self, said: Mapping[str, Said]) -> Iterator[Note]:
        """What no value was found for, which is not to say that the file has none."""
        lacking = [setting for setting in TOLD_BY_ALL if setting not in said]
        lacking += [] if self._items else ["checks"]
        if lacking and phrases.RUNTIME not in said:
            lacking.append(phrases.RUNTIME)
        if lacking:
            told = f"no value was read for {', '.join(lacking)}: the class decides"
            yield Note(self._segment.lines[-1].number, told)
        if self._who.class_id is None:
            told = "no class was read: what the agent is called decides"
            yield Note(self._segment.number, told)

    def _compare(self, line: Line) -> None:
        """Ids and UUIDs anywhere in the file against those of the head."""
        for found in _OTHER_ID.finditer(line.plain):
            if found["id"].lower() != self._who.id:
                self._note(line, f"speaks of the agent {clean(found['id'], 80)}, the file is about {self._who.id}")
        mine = self._who.multica_id
        asked = {uuid_of(found["uuid"]) for found in _ASKED_UUID.finditer(line.plain)}
        for found in phrases.UUID.finditer(line.plain):
            other = uuid_of(found.group())
            if other == mine:
                continue
            counts = f"{mine} counts" if mine else "none counts: the head of the file has no UUID"
            self._note(line, f"{'asks Multica for' if other in asked else 'names the UUID'} {other}; {counts}")

    def _unread(self, line: Line) -> None:
        """What of a line no reader sees, or nobody reads to the end."""
        if phrases.numbers(line.hidden):
            self._note(line, f"struck out or in a comment, and not taken over: {clean(line.hidden, LONGEST_LINE)}")
        if len(line.written) > LONGEST_LINE:
            self._note(line, f"longer than {LONGEST_LINE} characters; what is behind them was not read")

    # Lines

    def _line(self, line: Line, above: tuple[str, ...]) -> None:
        item = self._items.get(line.number)
        if item is not None and item.lost:
            self._note(line, f"a check is cut, as it is longer than {LONGEST} characters; not taken over: {item.lost}")
        if item is not None and item.text and not item.begins_common:
            return
        about = audience(re.sub(r"\A\s*(?:\d+[.)]|[-*+])\s*", "", line.plain)) if not line.code else None
        rank = self._rank(about)
        if rank is None:
            self._others.append(line.number)
            return
        if rank is Rank.PROSE and line.plain.lstrip().startswith(">"):
            rank = Rank.QUOTED
        plain = without_identity(line, self._segment, self._who)
        if about is not None:
            plain = re.sub(r"\A([^:|]*[:|])\s*(?=每)", r"\1心跳频率:", plain)
        plain = _OTHER_ID.sub(" ", plain)
        is_kept = item is not None and bool(item.text)
        self._numbers(line, plain, Rank.SCRIPT if line.script else rank, above, about, is_kept=is_kept)
        if not line.script:
            self._hear(line, plain, rank)

    def _rank(self, about: Audience | None) -> Rank | None:
        """How surely a line about somebody speaks of this agent; None where it speaks of others."""
        if about is None:
            return Rank.PROSE
        if about.names(self._who.id):
            return Rank.NAMED
        return Rank.CLASS if about.class_id == self._who.class_id else None

    def _numbers(
        self,
        line: Line,
        text: str,
        rank: Rank,
        above: tuple[str, ...],
        about: Audience | None,
        *,
        is_kept: bool = False,
    ) -> None:
        """Everything that the numbers of a text mean. What is left is noted, unless the roster has the text itself
        (`is_kept`)."""
        names = (*self._names, *(about.ids if about else ()))
        meant = phrases.meaning(text, names, script=line.script, above=above)
        for quantity in meant.quantities:
            self._tell(quantity.setting, quantity.value, line, rank)
        self._warned += [(line.number, percent, rounds) for percent, rounds in meant.warned]
        for told in meant.odd:
            self._note(line, told)
        if meant.left and not is_kept:
            left = ", ".join(dict.fromkeys(meant.left))
            self._note(line, f"{left}: not understood as a setting, and not taken over: {clean(line.plain, 80)}")

    def _hear(self, line: Line, text: str, rank: Rank) -> None:
        whom = _own(listeners(text), self._who.id)
        if whom:
            self._tell(phrases.NOTIFY, whom, line, rank)

    # Tables

    def _table(self, placed: list[Placed]) -> None:
        for row in rows(placed, self._who.id, self._who.name):
            if row.cells is None:
                self._line(row.line, row.above)
            for cell in row.cells or ():
                self._cell(row.line, row.above, cell)

    def _cell(self, line: Line, above: tuple[str, ...], cell: Cell) -> None:
        rank = self._rank(cell.about)
        if rank is None:
            self._others.append(line.number)
            return
        found = phrases.cell(cell.text, cell.setting, cell.heading) if cell.setting else None
        if found is not None and cell.setting:
            self._tell(cell.setting, found[0], line, rank)
        rest = cell.text if found is None else found[1]
        self._numbers(line, rest, rank, (*above, cell.heading), cell.about or audience(cell.text))
        names_whom = cell.tells and not phrases.numbers(cell.text)
        self._hear(line, f"告警通知 {cell.text}" if names_whom else cell.text, rank)

    # What came of it

    def _tell(self, setting: str, value: Said, line: Line, rank: Rank) -> None:
        if (isinstance(value, timedelta) and not timedelta(0) < value <= MOST) or value == 0:
            self._note(line, f"{setting} of {shown(value)} is none that can be used")
            return
        self._told.append(_Told(setting, value, line.number, rank))

    def _chosen(self) -> dict[str, _Told]:
        """The surest value of each setting; every line that says otherwise is noted."""
        chosen: dict[str, _Told] = {}
        for told in sorted(self._told, key=lambda each: (each.rank, each.line)):
            first = chosen.setdefault(told.setting, told)
            if told.value != first.value:
                says = f"{told.setting} {shown(told.value)} here, {shown(first.value)} on line {first.line}"
                self._notes.append(Note(told.line, f"{says}; line {first.line} counts"))
        return chosen

    def _check_warnings(self, chosen: Mapping[str, _Told]) -> None:
        limit = chosen.get(phrases.ROUNDS)
        for line, percent, rounds in self._warned:
            if percent != phrases.WARN_PERCENT:
                told = f"{percent} % is not to be set: heartbeat warns at {phrases.WARN_PERCENT} %"
                self._notes.append(Note(line, told))
            if rounds is None:
                continue
            if limit is None or not isinstance(limit.value, int):
                self._notes.append(Note(line, f"{rounds} rounds are {percent} % of a limit that was not read"))
                continue
            if abs(rounds * 100 - limit.value * percent) >= 100:
                told = f"{rounds} rounds are not {percent} % of the {limit.value} on line {limit.line}, which count"
                self._notes.append(Note(line, told))

    def _note(self, line: Line, message: str) -> None:
        self._notes.append(Note(line.number, message))


def shown(value: Said) -> str:
    """A value as the roster writes it."""
    if isinstance(value, timedelta):
        return exact_duration(value)
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def _own(names: tuple[str, ...], agent: str) -> tuple[str, ...]:
    """The names, the agent's own as `self`."""
    return tuple(dict.fromkeys("self" if name.lower() == agent else name for name in names))


def _other_lines(lines: list[int]) -> str:
    """The lines, neighbours as `7-9`."""
    runs: list[list[int]] = []
    for line in sorted(set(lines)):
        if runs and runs[-1][1] == line - 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"speaks of others (lines {told}); their numbers are not this agent's"
