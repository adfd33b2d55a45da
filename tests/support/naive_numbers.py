"""Every number in a hand-written text, found without any knowledge of what it may mean.

Nothing here is shared with the code under test. Only what numbers the text itself is passed over: dates, versions,
tickets, ordinals, the numbers of headings and of list items; and in scripts slices, redirections and exit codes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

_DIGIT_OF = {"零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_PLACE_OF = {"十": 10, "百": 100, "千": 1000}
_SECONDS_OF = (
    ("毫秒", 0.001),
    ("ms", 0.001),
    ("分钟", 60),
    ("minutes", 60),
    ("min", 60),
    ("分", 60),
    ("个小时", 3600),
    ("个钟头", 3600),
    ("小时", 3600),
    ("钟头", 3600),
    ("h", 3600),
    ("m", 60),
    ("秒", 1),
    ("s", 1),
    ("天", 86400),
)
_PASSED_OVER = (
    r"\d{4}-\d{1,2}-\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2})?)?",
    r"\b[A-Z]+-\d+\b",
    r"\bv\d+(?:\.\d+)*\b",
    r"^[\s>|#(*-]*\d{1,3}(?:\.\d{1,2})*\s?[.)、](?!\d)",
    r"^[\s|]*#+ ?\d{1,3}(?:\.\d+)*\.?(?![\d.,万])(?! ?(?:[分小轮天秒毫个次%万]|[hm]))",
    r"第 ?\d+ ?(?:次|步|个|轮心跳)",
    r"(?:第|步骤) ?\d+(?![\d.,万]| ?(?:分|小时|个|轮|天|秒|毫|次|%|[hm]))",
)
_OF_SCRIPTS = (r"\[:?\d+\]", r"2>/dev/null", r"exit\(?\s*1\)?", r"python3", r"%[a-zA-Z]", r"\* ?60\b")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CHINESE = r"(?<![零一二两三四五六七八九十百千])[零一二两三四五六七八九十百千]+(?=个?半?(?:分钟|小时|秒|天|轮|刻钟))"
_EACH = r"每\s*(?:一\s*个?|个)?\s*(?=小时|钟头|分钟|刻钟)|每一\s*(?=个半)"
"""每一小时, 每个小时 and 每小时 are all of one."""
_AGENT_IDS = r"Agent ID\s*:\s*([^|\n]+)"


@dataclass(frozen=True)
class Found:
    """A number, UUID or id: the line that it is on, as it is written (in NFKC), and its value: seconds where a unit of
    time follows, and else the bare number. An id has no value."""

    line: int
    written: str
    seconds: float | None = None
    value: float | None = None


def numbers_in(text: str, start: int = 1, end: int = 10**9) -> list[Found]:
    """Everything between two lines, the last left out."""
    found: list[Found] = []
    script = False
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not start <= number < end:
            continue
        if line.lstrip().startswith("```"):
            script = not script and line.strip() != "```"
            continue
        found += _on_line(number, unicodedata.normalize("NFKC", line.replace("，", "、")).replace("**", ""), script)
    return found


def _on_line(number: int, line: str, script: bool) -> list[Found]:
    found = [Found(number, match) for match in re.findall(_UUID, line)]
    for match in re.finditer(_AGENT_IDS, line):
        found += [Found(number, word) for word in re.findall(r"[\w-]+", match[1])]
    rest = re.sub(_UUID, " ", line)
    rest = re.sub(_AGENT_IDS, " ", rest)
    rest = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", rest)
    for pattern in (*_PASSED_OVER, *(_OF_SCRIPTS if script else ())):
        rest = re.sub(pattern, " ", rest)
    if not script:
        rest = each_as_one(rest)
    for match in re.finditer(_CHINESE, rest):
        before, behind = rest[: match.start()], rest[match.end() :]
        if match.group() == "一" and (before.endswith((*"下上这",)) or (before.endswith("每") and behind[0] in "轮天")):
            continue  # 每一轮, 每一天, 下一轮
        found.append(_found(number, match.group(), _value_of(match.group()), rest[match.end() :]))
    for match in re.finditer(r"半个?小时", rest):
        if not rest[: match.start()].rstrip().endswith((*"个0123456789", *_DIGIT_OF, *_PLACE_OF)):
            found.append(Found(number, match.group(), 1800.0, 0.5))
    units = dict(_SECONDS_OF)
    one = rf"(\d+(?:\.\d+)?)\s*({'|'.join(units)})(?![A-Za-z])\s*"
    for match in list(re.finditer(rf"(?<![\d.])(?:{one}){{2,}}", rest)):
        parts = [(float(digits), units[unit]) for digits, unit in re.findall(one, match.group())]
        falls = all(before[1] > after[1] and after[0] < 60 for before, after in pairwise(parts))
        if falls:  # 1 小时 30 分钟 is one time
            found.append(Found(number, match.group().strip(), sum(digits * unit for digits, unit in parts)))
            rest = rest[: match.start()] + " " * len(match.group()) + rest[match.end() :]
    for match in re.finditer(r"\d+(?:[.:]\d+)*", rest):
        digits = match.group()
        value = float(digits) if re.fullmatch(r"\d+(?:\.\d+)?", digits) else None
        found.append(_found(number, digits, value, rest[match.end() :]))
    return found


def each_as_one(text: str) -> str:
    """The text with 每一小时, 每个小时 and 每小时 in digits."""
    return re.sub(_EACH, "每1 ", text)


def _found(line: int, written: str, value: float | None, behind: str) -> Found:
    """The number with the unit behind it."""
    if value is None:
        return Found(line, written)
    if behind.lstrip().startswith("万"):
        return Found(line, written, None, value * 10_000)
    if behind.lstrip().startswith("刻钟"):
        return Found(line, written, value * 900, value * 15)
    half = 0.5 if re.match(r"\s*个?半", behind) else 0.0
    behind = re.sub(r"^\s*个?半?", "", behind).lstrip() if half else behind.lstrip()
    for unit, seconds in _SECONDS_OF:
        if behind.startswith(unit) and not re.match(r"[A-Za-z]", behind[len(unit) :]):
            after = behind[len(unit) :]
            half = half or (0.5 if after.startswith("半") and value == int(value) else 0.0)
            return Found(line, written, (value + half) * seconds, value)
    return Found(line, written, None, value)


def _value_of(numeral: str) -> float:
    total = digit = 0
    for character in numeral:
        if character in _PLACE_OF:
            total += (digit or 1) * _PLACE_OF[character]
            digit = 0
        else:
            digit = _DIGIT_OF[character]
    return float(total + digit)
