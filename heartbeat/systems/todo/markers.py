"""What a task line says of itself besides its title: the habits of Obsidian Tasks and todo.txt (rule S9). Pure.

Everything here is matched, never evaluated. What stands in a code span or in an HTML comment is no marker.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache

from heartbeat.systems.todo.inline import Line
from heartbeat.task import Priority

_BY_EMOJI = {
    "🔺": Priority.URGENT,
    "⏫": Priority.HIGH,
    "🔼": Priority.NORMAL,
    "🔽": Priority.LOW,
    "⏬": Priority.LOW,
}
_BY_LETTER = {"A": Priority.URGENT, "B": Priority.HIGH, "C": Priority.NORMAL}
"""todo.txt knows (A) to (Z); from (D) on it is low."""
_BY_BANGS = {3: Priority.URGENT, 2: Priority.HIGH, 1: Priority.NORMAL}
_BY_NUMBER = {"0": Priority.URGENT, "1": Priority.HIGH, "2": Priority.NORMAL, "3": Priority.LOW}
_BY_WORD = {
    **dict.fromkeys(("p0", "urgent", "critical", "highest", "紧急", "最高"), Priority.URGENT),
    **dict.fromkeys(("p1", "high", "高"), Priority.HIGH),
    **dict.fromkeys(("p2", "medium", "normal", "中"), Priority.NORMAL),
    **dict.fromkeys(("p3", "low", "lowest", "低", "最低"), Priority.LOW),
}

_TICKET = r"[A-Za-z][A-Za-z0-9]{0,9}-[0-9]{1,9}(?![A-Za-z0-9_-])"
_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![A-Za-z0-9_-])"
_HEX = r"(?=[A-Fa-f]{0,32}[0-9])[0-9A-Fa-f]{8,32}(?![A-Za-z0-9_-])"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?![A-Za-z0-9_-])"
_NAME_WITH_DIGIT = rf"(?=[A-Za-z_-]{{0,63}}[0-9]){_NAME}"
_SURE = f"{_UUID}|{_TICKET}|{_HEX}"
_AND = r"(?: ?[,，、;；+&/] ?(?:and )?| (?:and|or) | ?(?:[和与及]|或者?) ?)"
"""`or` is taken for `and`: to wait for one too many is told, to start too early is not."""
_END = r"(?= ?(?:$|[^\w(（ ]))"
"""Nothing follows, or what follows is no word: `⛔ waiting for Ann` names nothing that could be waited for."""


def _item(target: str) -> str:
    return rf"(?:\[{{1,2}}(?:{target})\]{{1,2}}(?:\([^()\s]{{0,300}}\))?|`(?:{target})`|#?(?:{target}))"


def _list(first: str, further: str) -> str:
    return rf"{_item(first)}(?:{_AND}{_item(further)}){{0,50}}"


_SURE_LIST = f"(?:{_list(_SURE, _NAME_WITH_DIGIT)}{_END}|{_list(_SURE, _SURE)})"
_DIGIT_LIST = rf"{_list(_NAME_WITH_DIGIT, _NAME_WITH_DIGIT)}(?= ?(?:$|\W))"
_ANY_LIST = f"(?:{_list(_NAME, _NAME)}{_END}|{_DIGIT_LIST}|{_SURE_LIST})"
_WAITS_FOR = (
    r"(?:(?<![A-Za-z])(?<!not )(?<!not_)(?<!never )(?<!longer )(?<!n['’]t )(?:blocked[ _-]?by|depends?[ _-]?on)"
    r"|(?<![不无非])(?<!没有)(?:被?阻塞于|依赖于|依赖项?|前置(?:任务)?))"
)
_DEPENDS = rf"{_WAITS_FOR} ?(?:[:：]{{1,2}} ?(?P<named>{_ANY_LIST})|(?P<bare>{_SURE_LIST}))"
"""To compile it takes longer than to read a file without such a line: only `_waits` does."""
_DEPENDS_UNREAD = re.compile(
    rf"{_WAITS_FOR} ?[:：]{{1,2}} ?(?!无|没有|-|none|nothing|n/?a(?![A-Za-z]))[^\s:：]\S{{0,39}}", re.IGNORECASE
)
_DEPENDS_EMOJI = re.compile(rf"⛔\ufe0f? ?(?P<named>{_ANY_LIST})")
_NO_ENTRY = re.compile(r"⛔\ufe0f?")
_ONE_TARGET = re.compile(rf"{_item(_NAME)}")
_TARGET_NAME = re.compile(_NAME)
_NO_TARGET = frozenset(
    {"and", "or", "none", "nothing", "na", "n", "no", "nil", "tbd", "blocked", "waiting", "wait", "hold", "stop"}
)

_DIGIT = re.compile(r"[0-9]")

_ID = re.compile(r"🆔\ufe0f? ?(?P<id>[A-Za-z0-9_-]{1,64})")
_DATE = r"(?P<year>[0-9]{4})[-/.年](?P<month>[0-9]{1,2})[-/.月](?P<day>[0-9]{1,2})(?![0-9])日?"
_DUE = re.compile(
    rf"(?:[📅📆🗓]\ufe0f?|(?<![A-Za-z])(?:due|deadline) ?[:：]{{1,2}}|截止(?:日期|时间)? ?[:：]{{1,2}}) ?{_DATE}",
    re.IGNORECASE,
)
_DUE_UNREAD = re.compile(r"[📅📆🗓]\ufe0f? ?\S{0,40}|(?<![A-Za-z])due:[0-9]\S{0,40}", re.IGNORECASE)
_HISTORY = re.compile(r"[➕✅❌]\ufe0f? ?[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PRIORITY_EMOJI = re.compile(r"(?P<emoji>[🔺⏫🔼🔽⏬])\ufe0f?")
_IN_PROGRESS = re.compile(r"🚧\ufe0f?")

_PRIORITY_KEYED = re.compile(
    r"(?<![A-Za-z])(?:priority|prio|优先级) ?[:：=]{1,2} ?(?P<word>p[0-3]|urgent|critical|highest|high|medium|normal"
    r"|lowest|low|紧急|最高|最低|高|中|低)(?![A-Za-z0-9])|(?<![A-Za-z])pri:(?P<letter>[A-Za-z])(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PRIORITY_ANYWHERE = re.compile(
    r"[\[(（【][Pp](?P<number>[0-3])[\])）】](?!\()[:：]?|(?<![\w#&/])#[Pp](?P<tag>[0-3])(?![\w-])"
)
_PRIORITY_FIRST = (
    re.compile(r"^ *(?P<mark>(?P<wrap>\*\*|__|\*|_|`)[\[(（【]?P(?P<number>[0-3])[\])）】]?[:：]?(?P=wrap)[:：]?)"),
    re.compile(
        r"^ *(?:[*_~]{1,3}(?=[^ *_~]))?(?P<mark>P(?P<number>[0-3])(?![A-Za-z0-9./–_-])(?: ?[:：|、]| [-–—](?= ))? ?)"
    ),
    re.compile(r"^ *(?:[*_~]{1,3}(?=[^ *_~]))?(?P<mark>\((?P<letter>[A-Z])\) )"),
    re.compile(r"^ *(?P<mark>(?P<bangs>[!！]{1,3}))(?= )"),
)
_LEADING_AT_MOST = 8
_PRIORITY_LAST = (
    re.compile(r" (?P<mark>P(?P<number>[0-3])) *$"),
    re.compile(r" (?P<mark>(?P<bangs>[!！]{2,3})) *$"),
)
_TICKET_FIRST = re.compile(r"^ *[*_~]{0,3}[\[(（【#`]{0,2}(?P<ticket>[A-Z][A-Z0-9]{0,9}-[0-9]{1,9})(?![A-Za-z0-9_-])")
_CARD_ID = re.compile(rf"(?<![0-9A-Za-z_-])(?:{_UUID}|[0-9A-Fa-f]{{8,32}}(?![A-Za-z0-9_-]))")
_AT = r"(?<![A-Za-z0-9_.+/@＠-])[@＠]"
_STRANGER = re.compile(rf"{_AT}(?P<name>\w[\w-]{{0,63}})(?![\w(/-]|\.\w)")

_DEPENDS_HINTS = ("blocked", "depend", "阻塞", "依赖", "前置")
_DUE_HINTS = ("📅", "📆", "🗓", "due", "deadline", "截止")
_NUMBERED = ("p0", "p1", "p2", "p3")
"""Text in lower case, one of which is in every match: most lines have none, and need no pattern matched."""


@dataclass(frozen=True, slots=True)
class Markers:
    """What was found in one line. `title` is the text without what was understood; empty only where the text is."""

    title: str
    priority: Priority = Priority.NONE
    due: date | None = None
    id: str | None = None
    ticket: str | None = None
    """The identifier that the line begins with: it is that issue's line."""
    owner: str | None = None
    """The first known name after an @, as `fold` gives it."""
    strangers: tuple[str, ...] = ()
    """Other names after an @, where no known one stands."""
    depends_on: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    in_progress: bool = False
    blocked: bool = False
    """⛔ with nothing named that it waits for."""
    unread: tuple[str, ...] = ()
    """Markers that say nothing readable: `📅 tomorrow`, `due:2026-02-30`, `依赖：待定`. They stay in the title."""


def fold(name: str) -> str:
    """A name as it is compared: NFKC, without regard to case."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def owner_pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """What finds these names after an @; None for no names. The longest name wins, and Chinese text may follow at once:
    `@许言请看`."""
    spelled = {unicodedata.normalize("NFKC", name).strip() for name in names} - {""}
    if not spelled:
        return None
    alternatives = "|".join(re.escape(name) for name in sorted(spelled, key=lambda name: (-len(name), name)))
    return re.compile(
        rf"{_AT}(?P<name>{alternatives})(?![A-Za-z0-9_-]|\.[A-Za-z0-9])[:：,，]?",
        re.IGNORECASE,
    )


def read_markers(text: str, owners: re.Pattern[str] | None = None) -> Markers:
    """The markers of a task line's text, which is what follows its box. `owners` comes from `owner_pattern`."""
    line = Line(text)
    whole = line.title()
    depends_on, blocked = _dependencies(line)
    ids = line.take(_ID, "🆔")
    dues = line.take(_DUE, *_DUE_HINTS, accept=lambda found: _date(found) is not None)
    line.take(_HISTORY, "➕", "✅", "❌")
    in_progress = bool(line.take(_IN_PROGRESS, "🚧"))
    priorities = [_BY_EMOJI[found["emoji"]] for found in line.take(_PRIORITY_EMOJI, *_BY_EMOJI)]
    owner, strangers = _owner(line, owners)
    priorities += [_priority(found) for found in _priority_matches(line)]
    ticket = _TICKET_FIRST.search(line.masked)
    cards = [found.group().lower() for found in _CARD_ID.finditer(line.masked)]
    return Markers(
        title=line.title() or whole,
        priority=min(priorities, key=lambda priority: priority.rank, default=Priority.NONE),
        due=_date(dues[0]) if dues else None,
        id=ids[0]["id"] if ids else None,
        ticket=ticket["ticket"] if ticket else None,
        owner=owner,
        strangers=strangers,
        depends_on=depends_on,
        mentions=tuple(dict.fromkeys(([ticket["ticket"]] if ticket else []) + cards)),
        in_progress=in_progress,
        blocked=blocked,
        unread=tuple(
            found.group()
            for pattern, hints in ((_DEPENDS_UNREAD, _DEPENDS_HINTS), (_DUE_UNREAD, _DUE_HINTS))
            for found in line.find(pattern, *hints)
        ),
    )


def _dependencies(line: Line) -> tuple[tuple[str, ...], bool]:
    """What the line waits for, and whether it is blocked by what it does not name."""
    named = line.take(_waits(), accept=_names_something) if line.has(*_DEPENDS_HINTS) else []
    first = len(line.masked) - len(line.masked.lstrip())
    # `⛔ deploy` on its own is work that is blocked; `deploy ⛔ icons` waits for the line 🆔 icons.
    named += line.take(
        _DEPENDS_EMOJI,
        "⛔",
        accept=lambda found: any(found.start() > first or _DIGIT.search(target) for target in _targets(found)),
    )
    targets = tuple(dict.fromkeys(target for found in named for target in _targets(found)))
    return targets, bool(line.take(_NO_ENTRY, "⛔")) and not targets


@cache
def _waits() -> re.Pattern[str]:
    return re.compile(_DEPENDS, re.IGNORECASE)


def _names_something(found: re.Match[str]) -> bool:
    return bool(_targets(found))


def _targets(found: re.Match[str]) -> list[str]:
    groups = found.groupdict()
    listed = groups.get("named") or groups.get("bare") or ""
    names = [
        target.group()
        for item in _ONE_TARGET.finditer(listed)
        if (target := _TARGET_NAME.search(item.group())) is not None
    ]
    return [
        name.upper() if re.fullmatch(_TICKET, name) else name
        for name in names
        if name.lower() not in _NO_TARGET and not re.fullmatch(_DATE, name)
    ]


def _owner(line: Line, owners: re.Pattern[str] | None) -> tuple[str | None, tuple[str, ...]]:
    found = next(iter(line.find(owners, "@", "＠")), None) if owners is not None else None
    if found is None:
        return None, tuple(dict.fromkeys(stranger["name"] for stranger in line.find(_STRANGER, "@", "＠")))
    if not line.masked[: found.start()].strip() or not line.masked[found.end() :].strip():
        line.cut([found.span()])
    # In the midst of a sentence the name stays: "ask @coo about it" without it says something else.
    return fold(found["name"]), ()


def _priority_matches(line: Line) -> list[re.Match[str]]:
    found = line.take(_PRIORITY_KEYED, "pri", "优先级")
    while len(found) < _LEADING_AT_MOST and (
        leading := [mark for first in _PRIORITY_FIRST for mark in line.take(first)]
    ):
        found += leading
    found += line.take(_PRIORITY_ANYWHERE, *_NUMBERED)
    return found + [mark for last in _PRIORITY_LAST for mark in line.take(last)]


def _priority(found: re.Match[str]) -> Priority:
    groups = found.groupdict()
    if word := groups.get("word"):
        return _BY_WORD[word.lower()]
    if letter := groups.get("letter"):
        return _BY_LETTER.get(letter.upper(), Priority.LOW)
    if bangs := groups.get("bangs"):
        return _BY_BANGS[len(bangs)]
    return _BY_NUMBER[groups.get("number") or groups["tag"]]


def _date(found: re.Match[str]) -> date | None:
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None
