"""Whom a line of a hand-written HEARTBEAT.md is about, and whom it says to tell. Lines come in NFKC. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CLASSES = {"高频": "high_frequency", "开发": "developer", "业务": "business"}
"""How these files call the built-in classes."""

_AUDIENCE = re.compile(
    rf"\A\W*(?P<label>{'|'.join(CLASSES)})\s*(?:Agent|智能体|类)?\s*(?:\((?P<ids>[^()]*)\))?[\s*]*(?:版|类)?\s*(?=[:|]|\Z)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a row or a line of a list is about."""

    class_id: str
    ids: tuple[str, ...]

    def names(self, agent: str) -> bool:
        return agent in self.ids


def audience(text: str) -> Audience | None:
    """The class, and the agents by name, that a text begins with; None where it is about nobody in particular."""
    found = _AUDIENCE.match(text)
    if found is None:
        return None
    ids = tuple(part.strip().lower() for part in re.split(r"[/,、\s]+", found["ids"] or "") if part.strip())
    return Audience(CLASSES[found["label"]], ids)


def class_of_label(label: str) -> str | None:
    """The class that a file says it belongs to."""
    stripped = label.strip(" `*").lower()
    words = {**CLASSES, **{class_id: class_id for class_id in CLASSES.values()}, "high": "high_frequency"}
    return next((class_id for word, class_id in words.items() if stripped.startswith(word)), None)


_OCCASION = re.compile(r"release|释放|评论|blocked|上限|暂停|超限|重新调度|恢复|告警", re.IGNORECASE)
_TOLD = re.compile(r"通知\s*(?:对象\W*)?(?P<whom>[^|。;,，；]+)")
_BUILT_IN_LISTENER = re.compile(r"依赖")
_AND = re.compile(r"[+、/&]|和|与|及|\band\b")
_ROLES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"自己|\A自我"), "self"),
    (re.compile(r"创建者|创建人|发起人|creator", re.IGNORECASE), "creator"),
    (re.compile(r"负责人|操作员|operator", re.IGNORECASE), "operator"),
    (re.compile(r"COO", re.IGNORECASE), "coo"),
)


def listeners(line: str) -> tuple[str, ...]:
    """Who is told when work stands still or runs out, by a line that says so: roles, `coo`, or names as written. Lines
    about other occasions, and about a blocker's owner (which heartbeat always tells), name nobody."""
    if not _OCCASION.search(line) or re.search(r"第\s*[\d一二三]+\s*次", line):
        return ()
    return tuple(dict.fromkeys(name for found in _TOLD.finditer(line) for name in _names(found["whom"])))


def _names(whom: str) -> Iterator[str]:
    for part in _AND.split(whom):
        word = part.strip(" `*()\"'“”→")
        if not word or _BUILT_IN_LISTENER.search(word):
            continue
        yield next((role for pattern, role in _ROLES if pattern.search(part)), word)
