"""The lists of checks in a hand-written HEARTBEAT.md: which are the agent's own, and which every agent has. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heartbeat.setup.foreign import clean
from heartbeat.setup.identity import PLACEHOLDER
from heartbeat.setup.segments import LONGEST_LINE, Line

LONGEST = 400
"""Characters of a check that come into the roster."""

_HEADING = re.compile(r"(?:执行|检查|保障|自检|巡检|专属)清单|每次心跳必须检查|专属检查")
_ITEM = re.compile(r"\s*(?:\d+\s*[.)、]|[-*+])\s+(?P<text>.+)")
_CONTINUED = re.compile(r"\s+(?P<text>[^\s#>|`~-].*)")
_TICKS = re.compile(r"\A(?:\[[ xX]\]|[✅☑✔️\s])+")

_BRACKET = r"(?:\((?:跨平台|全平台|阈值[^()]*)\))?"
_COMMON = tuple(
    re.compile(rf"(?:{name}){_BRACKET}(?:[:,—-]+{behind})?{_BRACKET}[。.]?", re.IGNORECASE)
    for name, behind in (
        (
            "全任务源检查|三源检查",
            r"(?:WorkBoard|Multica|Issues?|待办|文档|卡片|三处|三个?来源|都要?看|都要?检查|全部检查|[+、,/&和与及])+",
        ),
        ("(?:进行中任务)?超时检测", r"检查(?:in_progress|进行中)的?任务是否超时"),
        ("依赖检查", r"新?任务?认领前检查(?:所有)?(?:依赖|depends_on)?"),
        ("轮次计数器更新|轮次检查|轮次计数", r"当前任务是否接近[\d,]+轮上限"),
    )
)
"""The checks that every agent has, as these files word them; heartbeat does them, or its template says them."""
_COMMON_NAME = re.compile(r"全任务源检查|三源检查|(?:进行中任务)?超时检测|依赖检查|轮次(?:计数器?更新|检查|计数)")


@dataclass(frozen=True, slots=True)
class Check:
    """An item of such a list. `text` is empty where it is one that every agent has. `begins_common` says that its words
    begin like one of these, so that its numbers may be settings. `lost` is what was too long; `lines` are the
    numbers of the lines that continue the item."""

    text: str
    begins_common: bool
    lost: str = ""
    lines: tuple[int, ...] = ()


def checklist(placed: Iterable[tuple[Line, tuple[str, ...]]]) -> Mapping[int, Check]:
    """Every item of the lists, by the number of its first line; lines come with the headings that they stand under."""
    parts: dict[int, list[str]] = {}
    more: dict[int, list[int]] = {}
    current: int | None = None
    for line, above in placed:
        in_list = not line.code and any(_HEADING.search(heading) for heading in above)
        written = line.plain if line.hidden else line.written[:LONGEST_LINE]
        item = _ITEM.fullmatch(written) if in_list else None
        continued = _CONTINUED.fullmatch(written) if in_list else None
        if item:
            current = line.number
            parts[current], more[current] = [item["text"]], []
        elif continued and current is not None:
            parts[current].append(continued["text"])
            more[current].append(line.number)
        else:
            current = None
    return {number: _check(texts, more[number]) for number, texts in parts.items()}


def _check(texts: list[str], lines: list[int]) -> Check:
    whole = clean(_TICKS.sub("", " ".join(texts).replace("**", "")), 100 * LONGEST)
    folded = unicodedata.normalize("NFKC", whole).replace(" ", "")
    if any(common.fullmatch(folded) for common in _COMMON) or PLACEHOLDER.match(folded) or not whole:
        return Check("", True)
    kept = clean(whole, LONGEST)
    lost = "" if kept == whole else whole[LONGEST - 1 :]
    return Check(kept, bool(_COMMON_NAME.match(folded)), lost, tuple(lines))
