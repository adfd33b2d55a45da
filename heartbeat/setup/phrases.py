"""What the sentences of hand-written HEARTBEAT.md files mean: tables of phrases, and what is left of a line's numbers.

Every number of a line belongs to something: to a setting, to what heartbeat has built in, to the text's own structure
(ordinals, dates, ticket numbers), or to nothing that heartbeat knows. What could be meant in two ways is taken in none.
Lines come in NFKC. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from heartbeat.setup.numerals import in_digits

Value = timedelta | int

_UNITS = (
    (r"天|d(?:ays?)?", 86400),
    (r"个?(?:小时|钟头)|h(?:ours?|rs?)?", 3600),
    (r"分钟|分|min(?:ute)?s?|m", 60),
    (r"秒钟?|s(?:ec(?:ond)?s?)?", 1),
    (r"毫秒|ms|milliseconds?", 0.001),
)
"""From the largest, as people put them one behind the other."""
_UNIT = rf"(?>(?:{'|'.join(pattern for pattern, _ in _UNITS)})(?![A-Za-z]))"
_NUMBER = r"(?<![\d.])(?<!\d,)(?<![:=]-)(?>\d{1,12}(?:\.\d{1,6})?)(?!\d|[.]\d)"
"""No number that stands in another one, and none that nobody means."""
_PART = re.compile(rf"({_NUMBER})\s*({_UNIT})", re.IGNORECASE)
_PARTS = [rf"\s*(?:{pattern})(?![A-Za-z])\s*" for pattern, _ in _UNITS]
_TIMES = "|".join(
    f"{_NUMBER}{part}" + "".join(rf"(?:(?>[0-5]?\d)(?!\d|[.]\d){each})?" for each in _PARTS[index + 1 :])
    for index, part in enumerate(_PARTS)
)
_TIME = rf"(?P<time>(?>{_TIMES}))(?!\d+(?:\.\d+)?\s*{_UNIT})"
_COUNT = (
    rf"(?<![\d.])(?<!\d,)(?<![:=]-)(?P<count>(?>\d{{1,15}}))(?!\d|[.,]\d|,?\s\d|\s*(?:{_UNIT}|[%百千万亿]|[kKwW]\b))"
)
_ROUND = r"\s*(?:个?(?:对话)?轮次?|(?!\s*\w))(?!次?\s*后?(?:重试|失败|无|没))"

_TO = r"(?:-+>?|~|–|—|=>|→|⇒|±|/|到|至|或者?|改为|改成|变为|变成|调整为|to|or)\s*+(?:(?:约|每|为)\s*+)?"
_AMOUNT = rf"{_NUMBER}\s*+(?:(?:{_UNIT}|个?轮|%)\s*+)?"
_ALTERNATIVES = re.compile(
    rf"{_AMOUNT}(?:{_TO}{_AMOUNT}){{0,6}}{_TO}{_NUMBER}\s*+(?:{_UNIT}|个?(?:对话)?轮|%)", re.IGNORECASE
)
"""Several numbers where a setting has one: a range, an old value and a new one, either of two."""

EVERY, SUSPECT, RECOVER = "every", "suspect_after", "recover_after"
RUNTIME, WAIT, ROUNDS = "runtime_limit", "dependency_wait", "max_rounds"
NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class _Phrase:
    """How a setting is told. It counts only where `kind` stands in the line or in a heading above; else the number may
    be something else's, too."""

    setting: str
    pattern: re.Pattern[str]
    kind: re.Pattern[str] | None = None


def _phrase(setting: str, pattern: str, kind: str = "") -> _Phrase:
    for word, meant in (("TIME", _TIME), ("COUNT", _COUNT), ("ROUND", _ROUND), ("OFTEN", _OFTEN)):
        pattern = pattern.replace(word, meant)
    return _Phrase(setting, re.compile(pattern, re.IGNORECASE), re.compile(kind, re.IGNORECASE) if kind else None)


_SUSPECTED, _RECOVERED = r"疑似|告警", r"重新调度|恢复|确认超时|释放"
_STILL = r"\s*(?:以上|以后|后)?\s*(?:仍|还|都|内)?(?:无|没有?|未见?)[^,。;|\d]{0,6}?(?:进展|更新|活动)"
_IDLE = rf"(?:(?:超过?|达到?|>=?|≥)\s*)?TIME{_STILL}"


def _first_of(these: str, others: str) -> str:
    """Behind the phrase, one of these words, and none of the others before it."""
    return rf"(?=(?:(?!{others}).)*?(?:{these}))"


_SEVERAL = "两二三四五六七八九十几数多"
_OFTEN = rf"[^,、。;|\d{_SEVERAL}]{{0,6}}(?:[2-9]|\d{{2,}}|[{_SEVERAL}]+)\s*次(?!后|失败|无|没|重试)"
"""Behind a time: not once in it, but several times."""

_PHRASES = (
    _phrase(EVERY, r"心跳(?:触发)?(?:频率|间隔|周期)\W{0,6}(?:每隔?)?\s*TIME(?!OFTEN)"),
    _phrase(
        EVERY,
        r"每隔?\s*TIME(?=(?:(?:自动|定时)?(?:触发|执行|进行|做|跑|运行|唤醒|发送?))?\s*(?:(?:1|一)\s*次)?\s*的?(?:完整)?"
        r"心跳(?!结果|报告|汇报|日志|记录|摘要|数据|统计|情况|状态))",
    ),
    _phrase(EVERY, r"heart\s?beats?\s+(?:interval|frequency|period|every)\W{0,4}(?:every\s+)?TIME"),
    _phrase(EVERY, r"\bbeats?\s+every\s+TIME"),
    _phrase(SUSPECT, _IDLE + _first_of(_SUSPECTED, _RECOVERED)),
    _phrase(RECOVER, _IDLE + _first_of(_RECOVERED, _SUSPECTED)),
    _phrase(SUSPECT, rf"(?:{_SUSPECTED})[^,。;|\d]{{0,8}}{_IDLE}"),
    _phrase(RECOVER, rf"(?:{_RECOVERED})[^,。;|\d]{{0,8}}{_IDLE}"),
    _phrase(
        SUSPECT,
        r"(?:疑似(?:超时|停滞)|超时告警)(?:阈值|时间)?(?:\W{0,4}超过?)?\W{0,4}TIME"
        r"(?!\s*[以之]?后?[再就则]?(?:自动)?(?:重新|恢复|释放|重试|再))",
    ),
    _phrase(WAIT, r"等待(?:超过)?(?:阈值|上限)\W{0,4}TIME"),
    _phrase(WAIT, r"依赖[^,、。;:|\d]{0,8}等待?(?:超过|时间)?\W{0,4}TIME(?!\s*后?\s*(?:重试|再试|重新|再))"),
    _phrase(WAIT, r"等待超过\s*TIME", r"依赖"),
    _phrase(
        RUNTIME, r"超时\W{0,3}(?:阈值|上限|时间)\W{0,4}TIME", r"运行时限|运行时间|最长运行|单个?任务|in_progress|进行中"
    ),
    _phrase(RUNTIME, r"(?:单个?任务超时|运行满|运行时限|最长运行(?:时间)?|最大运行时间)(?:时间|阈值)?\W{0,4}TIME"),
    _phrase(ROUNDS, r"限制值\W{0,4}COUNTROUND"),
    _phrase(ROUNDS, r"(?:最大(?:对话)?轮次|轮次(?:的)?(?:上限|限制|不超过|最多))(?:为|是)?\W{0,4}COUNTROUND"),
    _phrase(ROUNDS, r"接近\s*COUNT\s*轮\s*上限"),
    _phrase(
        ROUNDS,
        r"(?<!每天)(?<!每日)(?<!每周)(?<!小时)(?<!分钟)(?<!重试)(?<!恢复)(?<!尝试)"
        r"(?:最大|最多|至多|不得超过|不超过)\s*COUNT\s*个?(?:对话)?轮(?!次?\s*(?:重试|失败|无|没))",
    ),
    _phrase(ROUNDS, r"\bmax(?:imum)?\s+rounds\W{0,4}COUNT(?!\s*\w)"),
)

_SCRIPT_AGE = re.compile(r"\bage\s*>=?\s*(?P<count>(?>\d+))(?:\s*\*\s*(?P<times>(?>\d+)))?(?!\s*[*/+.\d_-])")
"""What the scripts in these files compare a task's age in seconds with."""

_COLUMNS = (
    (EVERY, re.compile(r"(?:心跳|触发|\A\W*)(?:频率|间隔|周期)|\bheart\s?beat (?:interval|frequency)", re.IGNORECASE)),
    (RUNTIME, re.compile(r"单个?任务超时|运行时限|最长运行|最大运行时间")),
    (ROUNDS, re.compile(r"最大(?:对话)?轮次|轮次上限|轮次限制|\bmax(?:imum)? rounds", re.IGNORECASE)),
    (SUSPECT, re.compile(r"疑似|超时告警|告警阈值")),
    (RECOVER, re.compile(r"恢复等待|自动恢复|\A\W*恢复\W*\Z")),
    (WAIT, re.compile(r"依赖等待|等待阈值|等待上限")),
)
"""What the heading of a column, or the first cell of a row, says that its numbers are."""

_WARNING = re.compile(rf"(?P<percent>{_NUMBER})\s*%(?:\W{{0,2}}(?P<count>\d+)\s*轮)?")
_OF_ROUNDS = re.compile(r"轮|\brounds?\b", re.IGNORECASE)
"""What a line or its headings are about where a percentage is one of the rounds."""
WARN_PERCENT = 80
"""At how much of its budget a task's rounds are warned of (rule C2)."""

_BUILT_IN: tuple[tuple[re.Pattern[str], int, str], ...] = (
    (re.compile(rf"({_NUMBER})\s*轮(?:无|没有?)(?:产出|进展)"), 3, "rounds without progress that count as a loop"),
    (
        re.compile(rf"(?:积压|待办)[^,。;|\d]{{0,4}}(?:超过|>)\s*({_NUMBER})\s*个?"),
        5,
        "above so many a backlog is told",
    ),
    (re.compile(r"\blen\(\w+\)\s*>\s*(\d+)"), 5, "above so many a backlog is told"),
    (re.compile(rf"({_NUMBER})\s*次失败"), 3, "recoveries after which a task is left to a person"),
)
"""Numbers that are no setting: what heartbeat always does, and what they are."""

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
UUID = re.compile(rf"(?<![0-9A-Za-z-])(?:{_UUID})(?![0-9A-Za-z-])")

_DATE = r"\b\d{4}(?P<between>[-/.])\d{1,2}(?P=between)\d{1,2}(?!\d)"
_ORDINALS = tuple(
    re.compile(rf"{pattern}(?!\s*(?:{_UNIT}|[个次轮%]))")
    for pattern in (
        r"\A[\s>|*#(\[-]*\d{1,3}(?:\.\d{1,2})*\s*[.)、](?=\D|\Z)",
        r"\A#+\s*\d{1,3}(?:\.\d{1,2})*(?![\d.,])",
    )
)
"""What numbers an item or a heading. Never where a unit follows."""
_STRUCTURE = (
    re.compile(rf"{_DATE}(?:[T\s]+\d{{1,2}}:\d{{2}}(?::\d{{2}})?)?"),
    *(
        re.compile(rf"{pattern}(?!\s*(?:{_UNIT}|[个次轮%]))")
        for pattern in (
            r"\b[A-Z][A-Z0-9]*-\d+(?:-\d+)*\b",
            r"\bv\d+(?:\.\d+)*\b",
            r"第\s*(?>\d+)(?:\s*(?:[次步个](?![次步个])|轮心跳))?(?![.,]\d)",
            r"(?:步骤|规则|优先级|(?<![A-Za-z])P|Phase\s*)\s*(?>\d+)(?![.,]\d)",
            r"\bL\d\b",
        )
    ),
)
"""What numbers things in a text: dates, tickets, versions, steps. Never where a unit follows."""
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

_DIGITS = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that is the value of a setting."""

    setting: str
    value: Value


@dataclass(frozen=True, slots=True)
class Meant:
    """What a line's numbers mean. `warned` are percentages and rounds of a warning; `odd` are sentences about numbers
    that differ from what heartbeat always does, or may mean several things; `left` are those that mean nothing to it.
    """

    quantities: tuple[Quantity, ...] = ()
    warned: tuple[tuple[int, int | None], ...] = ()
    odd: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def meaning(line: str, names: Iterable[str] = (), *, script: bool = False, above: Sequence[str] = ()) -> Meant:
    """What the numbers of a line mean, below its headings. The agent's own `names` may hold digits, and are no
    numbers; one that is nothing but digits is one all the same."""
    rest = _blanked(UUID, line)
    rest = rest if script else in_digits(rest)
    for ordinal in _ORDINALS:
        rest = _blanked(ordinal, rest)
    quantities: list[Quantity] = []
    odd: list[str] = []
    context = " ".join((*above, rest))
    if script:
        for found in _SCRIPT_AGE.finditer(rest):
            seconds = int(found["count"][:10]) * int((found["times"] or "1")[:6])
            quantities.append(Quantity(SUSPECT, timedelta(seconds=seconds)))
        rest = _blanked(_SCRIPT_AGE, rest)
    else:
        odd += (
            f"{found.group()}: several values where one is meant; none is taken over"
            for found in _ALTERNATIVES.finditer(rest)
        )
        rest = _blanked(_ALTERNATIVES, rest)
        for phrase in _PHRASES:
            for found in phrase.pattern.finditer(rest):
                if phrase.kind is None or phrase.kind.search(context):
                    quantities.append(Quantity(phrase.setting, _value(found)))
                elif phrase.setting == RUNTIME:
                    odd.append(_either(found["time"].strip()))
                else:
                    continue
                rest = rest[: found.start()] + " " * len(found.group()) + rest[found.end() :]
    for built_in, usual, what in _BUILT_IN:
        numbers = (found[1] for found in built_in.finditer(rest) if float(found[1][:12]) != usual)
        odd.extend(f"{number} is not to be set: heartbeat has {usual} ({what})" for number in numbers)
        rest = _blanked(built_in, rest)
    warned: tuple[tuple[int, int | None], ...] = ()
    if _OF_ROUNDS.search(context):
        whole = [found for found in _WARNING.finditer(rest) if found["percent"].isdecimal()]
        warned = tuple((int(found["percent"][:6]), _rounds(found["count"])) for found in whole)
        for found in whole:
            rest = rest[: found.start()] + " " * len(found.group()) + rest[found.end() :]
    for structure in (*_STRUCTURE, *(_IDIOMS if script else ()), *map(_named, names)):
        rest = _blanked(structure, rest)
    return Meant(tuple(quantities), warned, tuple(odd), tuple(_DIGITS.findall(rest)))


def numbers(text: str) -> tuple[str, ...]:
    """Every number and every UUID in a text, whatever it may mean."""
    return (*(found.group() for found in UUID.finditer(text)), *_DIGITS.findall(in_digits(_blanked(UUID, text))))


def column(heading: str) -> str | None:
    """The setting that a table's column or row is about."""
    return next((setting for setting, pattern in _COLUMNS if pattern.search(heading)), None)


_UNIT_OF_COLUMN = re.compile(rf"[(/]\s*(?:单位\W?)?\s*({_UNIT})\s*\)?\W*\Z", re.IGNORECASE)


def cell(text: str, setting: str, heading: str = "") -> tuple[Value, str] | None:
    """The value of a setting in a table's cell, and the rest of the text: a single time, a bare number for rounds, or
    one of the unit that the column's heading ends with."""
    digits = in_digits(text)
    if setting == ROUNDS:
        found = re.fullmatch(r"\W*(?<!-)(\d{1,12})\s*轮?\W*", digits)
        return (int(found[1]), "") if found else None
    unit = _UNIT_OF_COLUMN.search(heading)
    if unit and re.fullmatch(r"[\s*`]*\d+(?:\.\d+)?[\s*`]*", digits):
        digits = f"{digits.strip(' *`')}{unit[1]}"
    times = list(re.finditer(_TIME, digits, re.IGNORECASE))
    if len(times) != 1 or _ALTERNATIVES.search(digits) or re.match(_OFTEN, digits[times[0].end() :]):
        return None
    return duration(times[0]["time"]), digits[: times[0].start()] + " " + digits[times[0].end() :]


def duration(text: str) -> timedelta:
    """`10 分钟`, `1h30m`, `1 小时 30 分钟` as a timedelta; capped, so that no number is too large to be told."""
    seconds = sum(float(number[:12]) * _seconds(unit) for number, unit in _PART.findall(text))
    return timedelta(seconds=min(seconds, 1e10))


def _value(found: re.Match[str]) -> Value:
    groups = found.groupdict()
    return duration(groups["time"]) if groups.get("time") else int(groups["count"][:12])


def _rounds(count: str | None) -> int | None:
    return int(count[:12]) if count else None


def _either(time: str) -> str:
    return f"{time}: {RUNTIME} or {SUSPECT}? Which one is meant is not said, and neither is taken over"


def _seconds(unit: str) -> float:
    return next(seconds for pattern, seconds in _UNITS if re.fullmatch(pattern, unit, re.IGNORECASE))


def _named(name: str) -> re.Pattern[str]:
    """The name as a word of its own, where it holds a digit and something else; a mere number never is a name."""
    is_telling = any(map(str.isdigit, name)) and not all(map(str.isdigit, name))
    return re.compile(rf"(?<![0-9A-Za-z_-]){re.escape(name)}(?![0-9A-Za-z_-])" if is_telling else r"(?!)")


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: " " * len(found.group()), text)
