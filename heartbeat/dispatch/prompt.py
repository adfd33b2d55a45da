"""What an agent is told when heartbeat starts its turn: one task, everything known of it, how to report (rule X4).

Pure but for `nonce` and `prompt_template`. Outside the data block stand only sentences of the template's, words of the
roster's, and facts that no title, note or comment can shape: ids of strict patterns, statuses, dates, numbers. All else
is foreign, and stands inside (see foreign.py).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from heartbeat.attempt import Attempt, Outcome
from heartbeat.dispatch.foreign import HEAVIEST, Room, as_json
from heartbeat.instants import to_text
from heartbeat.merge import status_at
from heartbeat.policy import Recovery
from heartbeat.render.template import TemplateFile, default_template, fill, read_template
from heartbeat.render.values import as_data, in_chinese, warn_rounds
from heartbeat.roster.model import Agent
from heartbeat.systems.writing import Look, Said
from heartbeat.task import Item, Priority, Ref, Status, Task

FILE_NAME = "DISPATCH.md.j2"

SESSION_PREFIX = "hb-"
"""How a session of heartbeat's own begins: no person talks there (rule B4)."""

LONGEST_SESSION = 64

DATA = 9000
"""Bytes of foreign text that a prompt takes along; the rest can be read where it stands. A card's description and some
comments fit. What is first in `_document` is cut last."""


@dataclass(frozen=True, slots=True)
class Brief:
    """All that a prompt says. `reasons` are the standing's, `looks` the newest look at each item, `attempts` those of
    the task, oldest first, of which the ones that have ended are told. `continued`: the task was in progress already
    (rule X1); `replayed`: it comes out of a dead letter (rule F4).

    `operator` is the name of the person in charge, `command` the command line that finds the roster (see
    render.command_line). `run` is how long the turn may last; `rounds` are those the task has used, of `limit`.
    """

    task: Task
    agent: Agent
    now: datetime
    reasons: tuple[str, ...] = ()
    looks: Mapping[Ref, Look] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    continued: bool = False
    replayed: bool = False
    operator: str = ""
    command: str = "heartbeat"
    run: timedelta | None = None
    rounds: int = 0
    limit: int | None = None
    """None for the policy's own limit."""
    letters: tuple[str, ...] = ()
    """What waits in the agent's inbox: nobody else shows it to an agent that heartbeat starts (rule L1)."""

    @property
    def earlier(self) -> tuple[Attempt, ...]:
        """The attempts that have ended: the one that this prompt is for may be on record already."""
        return tuple(each for each in self.attempts if each.is_finished)

    @property
    def number(self) -> int:
        """Which attempt of the task this is, from 1."""
        return 1 + max((each.number for each in self.earlier), default=0)

    @property
    def round_limit(self) -> int:
        return self.agent.policy.max_rounds if self.limit is None else self.limit


def nonce() -> str:
    """What delimits one prompt's data block: 128 random bits in hexadecimal digits."""
    return secrets.token_hex(16)


def prompt_template() -> TemplateFile:
    """The template that comes with heartbeat. Raises UsageError where it is missing or cannot be read."""
    return read_template(default_template(FILE_NAME))


def prompt_of(brief: Brief, nonce: str, template: TemplateFile) -> str:
    """The text of the turn's message; ends with a newline. The same brief and nonce give the same text.

    Raises ValueError for a nonce that is none or a command that cannot stand in a code block, and UsageError
    (`path:line: what`) for a template that is wrong.
    """
    if "`" in brief.command or not brief.command.isprintable():
        raise ValueError(f"{brief.command!r} cannot stand in a code block")
    room = Room(nonce, DATA)
    return fill(template, {**_values(brief), "nonce": nonce, "data": as_json(_document(brief, room))})


def session_key(task: Task) -> str:
    """The session in which all turns on a task take place (rule X3): `hb-workboard-3f2a1b4c-0123456789ab`.

    It is made of the canonical ref alone, so that neither a new title nor another line number changes it. Where the
    canonical ref itself has changed (a line got a card), go on in the session of the last attempt. Lower case, letters,
    digits and hyphens, at most 64 characters; the last part is a digest of the whole ref.
    """
    digest = hashlib.sha256(task.key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    words = (_slug(task.ref.source, 16), _slug(task.ref.id, 8))
    return SESSION_PREFIX + "-".join(filter(None, (*words, digest)))


def _slug(text: str, most: int) -> str:
    return _NO_SLUG.sub("-", text.lower())[:most].strip("-")


_NO_SLUG = re.compile(r"[^a-z0-9]+")


# What stands outside the data block.

_STRICT = re.compile(
    r"[a-z][a-z0-9_]{0,31}:(?:"
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9a-f]{8,64}|[0-9]{1,20}"
    r"|[a-z0-9][a-z0-9_-]{0,63}/(?:TODO|AGENTS)\.md#[0-9a-f]{12})"
)
"""Refs that nobody can have written a sentence into: numbers, hexadecimal ids, unmarked lines of the usual files."""

_TICKET = re.compile(r"[A-Z]{1,10}-[0-9]{1,9}")
"""BIZ-31."""

PLACEHOLDER = "TASK"
"""Stands in the commands for a task whose every name is foreign; the data block has the name."""

_STATUS_WORDS: Mapping[Status, str] = {
    Status.BACKLOG: "待规划",
    Status.TODO: "待办",
    Status.IN_PROGRESS: "进行中",
    Status.IN_REVIEW: "评审中",
    Status.BLOCKED: "阻塞",
    Status.DONE: "完成",
    Status.CANCELLED: "已取消",
    Status.UNKNOWN: "未知",
}

_PRIORITY_WORDS: Mapping[Priority, str] = {
    Priority.URGENT: "紧急",
    Priority.HIGH: "高",
    Priority.NORMAL: "普通",
    Priority.LOW: "低",
    Priority.NONE: "未定",
}

_SOURCE_WORDS: Mapping[str, str] = {"workboard": "WorkBoard", "multica": "Multica", "todo": "待办文档"}

_OUTCOME_WORDS: Mapping[Outcome, str] = {
    Outcome.COMPLETED: "正常结束",
    Outcome.FAILED: "失败",
    Outcome.TIMED_OUT: "超时",
    Outcome.SPAWN_FAILED: "未能启动",
    Outcome.RATE_LIMITED: "被限流",
    Outcome.ABORTED: "被中止",
    Outcome.LOST: "失去联系",
}


def _values(brief: Brief) -> dict[str, Any]:
    agent, task, policy = brief.agent, brief.task, brief.agent.policy
    name = strict_name(task)
    return {
        "agent": {
            "id": agent.id,
            "name": as_data(agent.name) or agent.id,
            "class_label": as_data(agent.class_label),
            "checks": [text for text in map(as_data, agent.checks) if text],
        },
        "operator": as_data(brief.operator) or "负责人",
        "command": brief.command,
        "typed": shlex.quote(name) if name else PLACEHOLDER,
        "is_named": bool(name),
        "why": _why(brief),
        "number": brief.number,
        "priority": _PRIORITY_WORDS[task.priority],
        "due": task.due.isoformat() if task.due else "",
        "origins": "、".join(dict.fromkeys(_source_word(item.ref.source) for item in task.items)),
        "run": in_chinese(brief.run) if brief.run else "",
        "rounds": brief.rounds,
        "max_rounds": brief.round_limit,
        "warn_rounds": warn_rounds(brief.round_limit),
        "suspect_after": in_chinese(policy.suspect_after),
        "recover_after": in_chinese(policy.recover_after),
        "runtime_limit": in_chinese(policy.runtime_limit),
        "needs_output": policy.require_output,
        "has_inbox": bool(brief.letters),
        "recovers": policy.recovery is Recovery.ACT,
    }


def strict_name(task: Task) -> str:
    """A name of the task that `heartbeat` understands and no foreign text has shaped; empty where there is none."""
    refs = (str(ref) for ref in task.refs)
    strict = (name for name in refs if _STRICT.fullmatch(name))
    tickets = (item.key for item in task.items if item.ref.source == "multica" and _TICKET.fullmatch(item.key))
    return next(chain(strict, tickets), "")


def _source_word(source: str) -> str:
    return _SOURCE_WORDS.get(source) or as_data(source)


def _why(brief: Brief) -> str:
    last = brief.earlier[-1] if brief.earlier else None
    if brief.replayed:
        return "此前的尝试都没有成功，现在到了重试的时间"
    if last is not None and last.outcome is not None and last.outcome is not Outcome.COMPLETED:
        return f"上一次尝试{_OUTCOME_WORDS[last.outcome]}，再做一次"
    if brief.continued:
        return "任务已在进行中，而它的上一轮已经结束：接着做完"
    return "依赖已满足，它是你名下排在最前、现在可做的任务"


# What stands inside.

_ORIGINS = 6
_NAME = 200
_TITLE = 600
_NOTES = 5000
_MUST_HAVES = 10
_REASONS = 6
_ATTEMPTS = 4
_LETTERS = 5
_LINE = 300
_WORDS = 1500
"""Numbers of entries, and bytes of one."""


def _document(brief: Brief, room: Room) -> dict[str, Any]:
    """The data block. Keys are ours, values foreign or as good as foreign."""
    task = brief.task
    notes = tuple(_notes(task, brief.looks))
    return {
        "title": room.take(task.title, _TITLE),
        **({} if strict_name(task) else {"typed": _typed(task, room)}),
        "origins": [_origin(item, brief, room) for item in task.items[:_ORIGINS]],
        "must_haves": [room.take(line, _LINE) for line in _must_haves(notes)],
        "reasons": [room.take(each, _LINE) for each in brief.reasons[:_REASONS]],
        **({"inbox": [room.take(each, _WORDS) for each in brief.letters[:_LETTERS]]} if brief.letters else {}),
        "notes": [room.take(each, _NOTES) for each in notes],
        "attempts": [_attempt(each, room) for each in brief.earlier[-_ATTEMPTS:]],
        "said": _said(brief.looks, task.refs, room),
    }


def _typed(task: Task, room: Room) -> str:
    """The task's key, quoted for a shell; empty where it cannot be written down as it is."""
    names = (*map(str, task.refs), *(item.key for item in task.items))
    short = (name for name in names if len(name) <= _NAME and "\n" not in name and not name.startswith("-"))
    found = next((shlex.quote(name) for name in short if room.keeps(name)), "")
    return room.take(found, HEAVIEST * len(found))


def _origin(item: Item, brief: Brief, room: Room) -> dict[str, str]:
    facts = {
        "source": item.ref.source,
        "key": item.key,
        "title": item.title if item.title != brief.task.title else "",
        "place": item.location if item.location and item.location != item.key else "",
        "url": item.url or "",
    }
    taken = {name: room.take(text, _NAME) for name, text in facts.items() if text}
    return {**taken, "status_before_claim": _STATUS_WORDS[status_at(item, brief.now)]}


def _attempt(attempt: Attempt, room: Room) -> dict[str, Any]:
    ended = attempt.ended_at or attempt.planned_at
    outcome = _OUTCOME_WORDS[attempt.outcome] if attempt.outcome else "不明"
    error = room.take(attempt.error, _LINE)
    told = {"number": attempt.number, "at": to_text(ended), "outcome": outcome}
    return {**told, "error": error} if error else told


def _notes(task: Task, looks: Mapping[Ref, Look]) -> Iterator[str]:
    """The descriptions of the task's items, in source order; records of the same work often hold the same."""
    seen: set[str] = set()
    for ref in task.refs:
        text = looks[ref].notes.strip() if ref in looks else ""
        if text and text not in seen:
            seen.add(text)
            yield text


def _said(looks: Mapping[Ref, Look], refs: Iterable[Ref], room: Room) -> list[dict[str, str]]:
    """The newest words first as long as there is room; shown oldest first. The same words count once: a verb says them
    on every record of a task."""
    known = [each for ref in refs if ref in looks for each in looks[ref].said]
    known.sort(key=lambda each: each.at.timestamp() if each.at else float("-inf"))
    newest: dict[str, Said] = {}
    for each in reversed(known):
        newest.setdefault(each.text, each)
    shown: list[dict[str, str]] = []
    for each in newest.values():
        if room.is_full:
            break
        shown.append(_words(each, room))
    return shown[::-1]


def _words(said: Said, room: Room) -> dict[str, str]:
    told = {"at": to_text(said.at)} if said.at else {}
    author = room.take(said.author, _NAME)
    return {**told, **({"by": author} if author else {}), "text": room.take(said.text, _WORDS)}


_MUST = re.compile(
    r"[\s#*>_-]{0,10}(?:必要条件|必备条件|必须满足|验收标准|验收条件|完成标准|完成条件"
    r"|must[ -]haves?|acceptance criteria|definition of done)[\s*_]{0,5}(?:[:：](?P<rest>.*))?",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\s*(?:[-*+•·]|[0-9]{1,3}[.)、．）])?\s*(?:\[[ xX]\])?\s*")


def _must_haves(notes: Sequence[str]) -> list[str]:
    """What descriptions list as conditions of being done: below a line that says so, up to the next empty line after it
    or the next heading."""
    found: list[str] = []
    for text in notes:
        inside = False
        listed = False
        for line in text.splitlines():
            bare = unicodedata.normalize("NFKC", line[:1000])
            opened = _MUST.fullmatch(bare)
            if opened is not None:
                inside, listed = True, bool((opened["rest"] or "").strip())
                found += [opened["rest"].strip()] if listed else []
            elif inside and (line.lstrip().startswith("#") or (listed and not line.strip())):
                inside = False
            elif inside and line.strip():
                listed = True
                found.append(line[_end_of_bullet(line) :].strip())
    return [each for each in dict.fromkeys(found) if each][:_MUST_HAVES]


def _end_of_bullet(line: str) -> int:
    match = _BULLET.match(line)
    return match.end() if match else 0
