"""What the sentences of hand-written HEARTBEAT.md files mean: tables of phrases, and what is left of a line's numbers.

Every number of a line belongs to something: to a setting, to what heartbeat has built in, to the text's own structure
(ordinals, dates, ticket numbers), or to nothing that heartbeat knows. Lines come in NFKC. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

Value = timedelta | int

_UNITS = (
    (r"分钟|分|min(?:ute)?s?|m", 60),
    (r"小时|h(?:ours?|rs?)?", 3600),
    (r"秒钟?|s(?:ec(?:ond)?s?)?", 1),
    (r"天|d(?:ays?)?", 86400),
)
_UNIT = "|".join(pattern for pattern, _ in _UNITS)
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})(?![A-Za-z])", re.IGNORECASE)
_TIME = rf"(?P<time>(?:\d+(?:\.\d+)?\s*(?:{_UNIT})(?![A-Za-z])\s*)+)"
_COUNT = r"(?P<count>\d+)"

EVERY, SUSPECT, RECOVER = "every", "suspect_after", "recover_after"
RUNTIME, WAIT, ROUNDS = "runtime_limit", "dependency_wait", "max_rounds"
NOTIFY = "notify"


def _phrase(setting: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    pattern = pattern.replace("TIME", _TIME).replace("COUNT", _COUNT)
    return setting, re.compile(pattern, re.IGNORECASE)


_IDLE = r"超过?\s*TIME\s*(?:仍|还|都)?(?:无|没有|未见)[^,。;]{0,6}?(?:进展|更新|活动)"

_PHRASES = (
    _phrase(EVERY, r"心跳(?:触发)?(?:频率|间隔|周期)\W{0,6}(?:每隔?)?\s*TIME"),
    _phrase(EVERY, r"(?:每隔?)\s*TIME(?=[^|。]{0,6}心跳)"),
    _phrase(SUSPECT, _IDLE + r"(?=.*(?:疑似|告警))"),
    _phrase(RECOVER, _IDLE + r"(?=.*(?:重新调度|恢复|确认超时|释放))"),
    _phrase(WAIT, r"等待(?:超过)?(?:阈值|时间|上限)?\W{0,4}TIME"),
    _phrase(RUNTIME, r"超时\W{0,3}(?:阈值|上限)\W{0,4}TIME"),
    _phrase(RUNTIME, r"(?:单个?任务超时|运行满|运行时限|最长运行(?:时间)?|最大运行时间)\W{0,4}TIME"),
    _phrase(ROUNDS, r"限制值\W{0,4}COUNT\s*轮?"),
    _phrase(ROUNDS, r"(?:最大(?:对话)?轮次|轮次上限)\W{0,4}COUNT\s*轮?"),
    _phrase(ROUNDS, r"接近\s*COUNT\s*轮\s*上限"),
    _phrase(ROUNDS, r"(?:最大|最多|至多|不得超过)\s*COUNT\s*个?(?:对话)?轮"),
)

_SCRIPT_AGE = re.compile(r"\bage\s*>=?\s*(?P<count>\d+)")
"""What the scripts in these files compare a task's age in seconds with."""

_COLUMNS = (
    (EVERY, re.compile(r"频率|间隔|周期")),
    (RUNTIME, re.compile(r"单个?任务超时|运行时限|最长运行")),
    (ROUNDS, re.compile(r"最大(?:对话)?轮次|轮次上限")),
    (SUSPECT, re.compile(r"疑似|超时告警|告警阈值")),
    (RECOVER, re.compile(r"恢复等待|自动恢复")),
    (WAIT, re.compile(r"依赖等待|等待阈值")),
)
"""What the heading of a column, or the first cell of a row, says that its numbers are."""

_WARNING = re.compile(r"(?P<percent>\d+)\s*%(?:\W{0,2}(?P<count>\d+)\s*轮)?")
WARN_PERCENT = 80
"""At how much of its budget a task's rounds are warned of (rule C2)."""

_BUILT_IN: tuple[tuple[re.Pattern[str], int, str], ...] = (
    (re.compile(r"(\d+)\s*轮(?:无|没有?)(?:产出|进展)"), 3, "rounds without progress that count as a loop"),
    (re.compile(r"(?:积压|待办)[^,。;|]{0,4}(?:超过|>)\s*(\d+)\s*个?"), 5, "above so many a backlog is told"),
    (re.compile(r"\blen\(\w+\)\s*>\s*(\d+)"), 5, "above so many a backlog is told"),
    (re.compile(r"(\d+)\s*次失败"), 3, "recoveries after which a task is left to a person"),
)
"""Numbers that are no setting: what heartbeat always does, and what they are."""

_STRUCTURE = tuple(
    re.compile(pattern)
    for pattern in (
        r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        r"\b[A-Z][A-Z0-9]*-\d+(?:-\d+)*\b",
        r"\bv\d+(?:\.\d+)*\b",
        r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}:\d{2}(?::\d{2})?\b",
        r"\A\W*\d+(?:\.\d+)*\s*[.)、](?=\D|\Z)",
        r"\A#+\s*\d+(?:\.\d+)*",
        r"(?:第|步骤|规则|优先级|P|Phase\s*)\s*\d+\s*(?:次|步|轮心跳)?",
        r"\bL\d\b",
    )
)
_IDIOMS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bpython\d\b",
        r"\[:?\d*:?\d*\]",
        r"\bexit\(?\s*\d+\)?",
        r"\d?>&?\d?(?:/dev/null)?",
        r"%\d*[a-zA-Z]",
        r"-n\d+",
    )
)
"""Digits that scripts are full of, and that decide nothing: slices, exit codes, redirections."""

_DIGITS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that is the value of a setting."""

    setting: str
    value: Value


@dataclass(frozen=True, slots=True)
class Meant:
    """What a line's numbers mean. `warned` are percentages and rounds of a warning; `odd` are sentences about numbers
    that differ from what heartbeat always does; `left` are those that mean nothing to it."""

    quantities: tuple[Quantity, ...] = ()
    warned: tuple[tuple[int, int | None], ...] = ()
    odd: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def meaning(line: str, names: Iterable[str] = (), *, script: bool = False) -> Meant:
    """What the numbers of a line mean. The agent's own `names` may hold digits, and are no numbers."""
    rest = line
    for name in names:
        rest = rest.replace(name, " ") if any(map(str.isdigit, name)) else rest
    quantities: list[Quantity] = []
    odd: list[str] = []
    if script:
        ages = (timedelta(seconds=int(found["count"][:12])) for found in _SCRIPT_AGE.finditer(rest))
        quantities.extend(Quantity(SUSPECT, age) for age in ages)
        rest = _blanked(_SCRIPT_AGE, rest)
    else:
        for setting, pattern in _PHRASES:
            quantities.extend(Quantity(setting, _value(found)) for found in pattern.finditer(rest))
            rest = _blanked(pattern, rest)
    for built_in, usual, what in _BUILT_IN:
        numbers = (found[1] for found in built_in.finditer(rest) if int(found[1][:12]) != usual)
        odd.extend(f"{number} is not to be set: heartbeat has {usual} ({what})" for number in numbers)
        rest = _blanked(built_in, rest)
    warned = tuple(
        (int(found["percent"][:6]), int(found["count"][:12]) if found["count"] else None)
        for found in _WARNING.finditer(rest)
    )
    rest = _blanked(_WARNING, rest)
    for structure in (*_STRUCTURE, *(_IDIOMS if script else ())):
        rest = _blanked(structure, rest)
    return Meant(tuple(quantities), warned, tuple(odd), tuple(_DIGITS.findall(rest)))


def column(heading: str) -> str | None:
    """The setting that a table's column or row is about."""
    return next((setting for setting, pattern in _COLUMNS if pattern.search(heading)), None)


def cell(text: str, setting: str) -> Value | None:
    """The value of a setting in a table's cell: a time, or a bare number for rounds."""
    if setting == ROUNDS:
        found = re.match(r"\W*(\d{1,12})\s*轮?\W*\Z", text)
        return int(found[1]) if found else None
    found = re.search(_TIME, text, re.IGNORECASE)
    return duration(found["time"]) if found else None


def duration(text: str) -> timedelta:
    """`10 分钟`, `1h30m`, `1 小时 30 分钟` as a timedelta; capped, so that no number is too large to be told."""
    seconds = sum(float(number[:12]) * _seconds(unit) for number, unit in _PART.findall(text))
    return timedelta(seconds=min(seconds, 1e10))


def _value(found: re.Match[str]) -> Value:
    groups = found.groupdict()
    return duration(groups["time"]) if groups.get("time") else int(groups["count"][:12])


def _seconds(unit: str) -> int:
    return next(seconds for pattern, seconds in _UNITS if re.fullmatch(pattern, unit, re.IGNORECASE))


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: " " * len(found.group()), text)
