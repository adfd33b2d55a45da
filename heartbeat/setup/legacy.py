"""A hand-written HEARTBEAT.md as facts: who, which class, which numbers, whom to tell, which checks. Pure.

Nothing is lost in silence. What a file says twice in different ways, and every number that is no setting of
heartbeat's, becomes a note with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from itertools import zip_longest

from heartbeat.instants import format_duration
from heartbeat.setup import phrases
from heartbeat.setup.audience import Audience, audience, listeners
from heartbeat.setup.foreign import clean
from heartbeat.setup.identity import PLACEHOLDER, Note, Who, identify
from heartbeat.setup.segments import LONGEST_LINE, Line, Segment, headings, segments

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

_OTHER_ID = re.compile(r"agentId['\"]?\s*\)?\s*={1,2}\s*['\"]?(?P<id>[\w-]+)")
_OTHER_UUID = re.compile(r"assignee(?:-id)?[\s=]+(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_OURS = "<!-- heartbeat:begin"

_CHECKS = re.compile(r"(?:执行|检查|保障|自检|巡检|专属)清单|每次心跳必须检查|专属检查")
_ITEM = re.compile(r"\s*(?:\d+\s*[.)、]|[-*+])\s+(?P<text>.+)")
_TICKS = re.compile(r"\A(?:\[[ xX]\]|[✅☑✔️\s])+")
_COMMON = (
    "全任务源检查",
    "三源检查",
    "进行中任务超时检测",
    "超时检测",
    "依赖检查",
    "轮次计数器更新",
    "轮次检查",
    "轮次计数",
)
"""How the checks begin that every agent has; heartbeat does them, or its template says them."""
_PATROL = re.compile(r"(?:全平台|全局|全队)\S{0,4}积压")
"""A check that only somebody who sees the whole team's backlog can do."""


class Rank(IntEnum):
    """How surely a line speaks of this very agent; where two lines differ, the surer one counts, then the first."""

    PROSE = 0
    NAMED = 1
    CLASS = 2
    SCRIPT = 3


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
        refused.append(Refused(path, 1, "it has no heading `# HEARTBEAT.md - NAME(id)`, as files of this kind have"))
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


_Placed = tuple[Line, tuple[str, ...]]
"""A line and the headings that it stands under."""


class _Reader:
    """Goes through the lines of one file, once."""

    def __init__(self, segment: Segment, who: Who) -> None:
        self._segment = segment
        self._who = who
        self._notes = list(who.notes)
        self._told: list[_Told] = []
        self._warned: list[tuple[int, int, int | None]] = []
        self._others: list[int] = []
        self._checks: list[str] = []
        self._has_checks = False

    def read(self) -> None:
        rows: list[_Placed] = []
        for line, above in headings(self._segment.lines):
            self._compare(line)
            if not line.code and "|" in line.plain:
                rows.append((line, above))
                continue
            self._table(rows)
            rows = []
            self._line(line, above)
        self._table(rows)

    def result(self, path: str) -> HandWritten:
        chosen = self._chosen()
        self._check_warnings(chosen)
        said = {setting: told.value for setting, told in chosen.items()}
        if self._others:
            self._notes.append(Note(self._others[0], _other_classes(self._others)))
        lacking = [setting for setting in TOLD_BY_ALL if setting not in said]
        lacking += [] if self._has_checks else ["checks"]
        if lacking:
            told = f"says nothing of {', '.join(lacking)}: the class decides"
            self._notes.append(Note(self._segment.lines[-1].number, told))
        if self._segment.open_at is not None:
            cut = "this block of code is not closed: the file may have been cut off"
            self._notes.append(Note(self._segment.open_at, cut))
        return HandWritten(
            path,
            self._segment.number,
            self._who.id,
            self._who.name,
            self._who.multica_id,
            self._who.class_id,
            said,
            {setting: told.line for setting, told in chosen.items()},
            tuple(dict.fromkeys(self._checks)),
            any(_PATROL.search(check) for check in self._checks),
            tuple(sorted(self._notes, key=lambda note: note.line)),
        )

    def _compare(self, line: Line) -> None:
        """Ids that the scripts use against those of the head."""
        for found in _OTHER_ID.finditer(line.plain):
            if found["id"].lower() != self._who.id:
                self._note(line, f"speaks of the agent {clean(found['id'], 80)}, the file is about {self._who.id}")
        for found in _OTHER_UUID.finditer(line.plain):
            other, mine = found["uuid"].lower(), self._who.multica_id
            if other != mine:
                counts = f"{mine} counts" if mine else "none counts: the head of the file has no UUID"
                self._note(line, f"asks Multica for {other}; {counts}")

    # Lines

    def _line(self, line: Line, above: tuple[str, ...]) -> None:
        in_list = any(_CHECKS.search(heading) for heading in above) and not line.code
        item = _ITEM.fullmatch(line.written[:LONGEST_LINE]) if in_list else None
        self._has_checks = self._has_checks or item is not None
        text = clean(_TICKS.sub("", item["text"].replace("**", "")), 400) if item else ""
        if text and not _is_common(text):
            self._checks.append(text)
            return
        about = audience(re.sub(r"\A\s*(?:\d+[.)]|[-*+])\s*", "", line.plain)) if not line.code else None
        rank = self._rank(about)
        if rank is None:
            self._others.append(line.number)
            return
        plain = line.plain
        if about is not None:
            plain = re.sub(r"\A[^:|]*[:|]\s*(?=每)", "心跳频率:", plain)
        meant = phrases.meaning(plain, (self._who.name, self._who.id), script=line.script)
        for quantity in meant.quantities:
            self._tell(quantity.setting, quantity.value, line, Rank.SCRIPT if line.script else rank)
        self._warned += [(line.number, percent, rounds) for percent, rounds in meant.warned]
        for told in meant.odd:
            self._note(line, told)
        if meant.left:
            self._note(line, f"{', '.join(meant.left[:5])}: heartbeat has no setting for it: {clean(line.plain, 80)}")
        whom = () if line.script else _own(listeners(plain), self._who.id)
        if whom:
            self._tell(phrases.NOTIFY, whom, line, rank)

    def _rank(self, about: Audience | None) -> Rank | None:
        """How surely a line about somebody speaks of this agent; None where it speaks of others."""
        if about is None:
            return Rank.PROSE
        if about.names(self._who.id):
            return Rank.NAMED
        return Rank.CLASS if about.class_id == self._who.class_id else None

    # Tables

    def _table(self, rows: list[_Placed]) -> None:
        """Neighbouring lines with bars in them: a table where there is a rule among them, else just lines."""
        if not any(_is_rule(row.plain) for row, _ in rows):
            for row, above in rows:
                self._line(row, above)
            return
        head: list[str] = []
        for (row, _), following in zip_longest(rows, (row for row, _ in rows[1:])):
            if following is not None and _is_rule(following.plain):
                head = _cells(row.plain)
            elif not _is_rule(row.plain):
                self._row(row, _cells(row.plain), head)

    def _row(self, row: Line, cells: list[str], head: list[str]) -> None:
        about = audience(cells[0]) if cells else None
        by_column = {index: audience(text) for index, text in enumerate(head) if index and audience(text)}
        setting = phrases.column(cells[0]) if cells else None
        if about is not None:
            named = {index: phrases.column(text) for index, text in enumerate(head) if index}
            self._cells(row, cells, {index: (name, about) for index, name in named.items()})
        elif by_column and setting is not None:
            self._cells(row, cells, {index: (setting, whose) for index, whose in by_column.items()})
        elif by_column and "通知" in cells[0]:
            mine = {index: whose for index, whose in by_column.items() if self._rank(whose) is not None}
            for index, whose in mine.items():
                told = cells[index] if index < len(cells) else ""
                self._hear(row, f"告警通知 {told}", self._rank(whose))
        else:
            self._line(row, ())

    def _cells(self, row: Line, cells: list[str], columns: Mapping[int, tuple[str | None, Audience | None]]) -> None:
        for index, (setting, about) in columns.items():
            rank = self._rank(about)
            text = cells[index] if index < len(cells) else ""
            if rank is None:
                self._others.append(row.number)
                continue
            value = phrases.cell(text, setting) if setting else None
            if setting and value is not None:
                self._tell(setting, value, row, rank)
            elif left := phrases.meaning(text, (self._who.name, self._who.id)).left:
                self._note(row, f"{', '.join(left[:5])}: heartbeat has no setting for it: {clean(text, 80)}")
            self._hear(row, text, rank)

    def _hear(self, row: Line, text: str, rank: Rank | None) -> None:
        whom = _own(listeners(text), self._who.id)
        if whom and rank is not None:
            self._tell(phrases.NOTIFY, whom, row, rank)

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
            if rounds is None or limit is None or not isinstance(limit.value, int):
                continue
            if abs(rounds * 100 - limit.value * percent) >= 100:
                told = f"{rounds} rounds are not {percent} % of the {limit.value} on line {limit.line}, which count"
                self._notes.append(Note(line, told))

    def _note(self, line: Line, message: str) -> None:
        self._notes.append(Note(line.number, message))


def shown(value: Said) -> str:
    """A value as the roster writes it."""
    if isinstance(value, timedelta):
        return format_duration(value)
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def _own(names: tuple[str, ...], agent: str) -> tuple[str, ...]:
    """The names, the agent's own as `self`."""
    return tuple(dict.fromkeys("self" if name.lower() == agent else name for name in names))


def _is_common(check: str) -> bool:
    folded = check.replace(" ", "")
    return folded.startswith(_COMMON) or bool(PLACEHOLDER.match(folded))


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def _is_rule(row: str) -> bool:
    return re.fullmatch(r"[\s|:-]*-{3,}[\s|:-]*", row) is not None


def _other_classes(lines: list[int]) -> str:
    shown_lines = ", ".join(map(str, sorted(set(lines))[:10]))
    return f"speaks of other classes (lines {shown_lines}); their numbers are not this agent's"
