"""What a template is given: an agent of the roster as plain data, safe to stand in Markdown (rules R3, B8). Pure.

Values are text, numbers, booleans, lists and dicts of these, so that a template can reach nothing else. `KNOWN` names
and explains each of them.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.errors import UsageError
from heartbeat.instants import exact_duration
from heartbeat.policy import Recovery
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.attention import decides
from heartbeat.rules.backlog import ALARM_ABOVE, FIRST
from heartbeat.rules.stall import STALLED_ROUNDS

Values = Mapping[str, Any]

CAPABLE_OF = Recovery.ACT
"""How far this version goes by itself (rule R3a): no file may promise more."""

REPEAT_WINDOW = timedelta(hours=24)
"""Recoveries of one task within this time climb the ladder (rule L3), unless the roster says another."""

KNOWN: Mapping[str, str] = {
    "agent": "id, name, class_id, class_label, multica_id (empty where there is none), patrol (true or false), backup "
    "(a name, or empty), checks (a list of text: its own, then its class's)",
    "command": "the command line that finds this roster: `heartbeat`, or `heartbeat --roster PATH`",
    "every": "the rhythm: `10 分钟`; empty where `cron` is set",
    "cron": "the cron expression that replaces `every`; empty where there is none",
    "timezone": "the roster's time zone, in which `cron` is read",
    "suspect_after": "idle time that makes a task suspected: `20 分钟`",
    "recover_after": "idle time that makes it confirmed: `30 分钟`",
    "runtime_limit": "running time after which lack of progress counts: `60 分钟`",
    "stalled_rounds": "rounds without progress that count as stalled beyond `runtime_limit`: 3",
    "dependency_wait": "how long a dependency is waited for in silence, short: `1h`",
    "max_rounds": "the round budget of a task: 50",
    "warn_rounds": "80 % of `max_rounds`, rounded up: 40",
    "notify": "who is told, in order: `COO + 创建者`",
    "coo": "COO; the operator where the team has no agent `coo`",
    "operator": "the person in charge: the roster's name, or 负责人",
    "decides": "true for whom worklists show what heartbeat blocked: the COO, else the patrol agents",
    "recovery": "how far heartbeat goes by itself: observe, notify or act",
    "recovery_status": "the status that a recovered Multica issue gets: blocked or todo",
    "first_silent": "true where the first time-out of a task raises no alarm (`escalation.first: silent`)",
    "repeat_window": "recoveries within this time climb the ladder: `24 小时`",
    "parent_rule": "what a Multica parent issue means: started, strict or off",
    "sources": "names of the sources that are read for this agent, in order of priority",
    "todo_files": "the files of the workspace that are read for tasks",
    "backlog_alarm": "more open items than this in one source are a backlog: 5",
    "backlog_first": "how many of them are listed: 10",
    "template": "name and digest of the template file",
    "heartbeat_version": "the version of this tool",
}


def values_of(roster: Roster, agent: Agent, *, command: str = "heartbeat") -> dict[str, Any]:
    """Everything that `KNOWN` names but `template` and `heartbeat_version`, which the renderer adds."""
    policy = agent.policy
    return {
        "agent": {
            "id": agent.id,
            "name": as_data(agent.name) or agent.id,
            "class_id": as_data(agent.class_id),
            "class_label": as_data(agent.class_label),
            "multica_id": as_data(agent.multica_id or ""),
            "patrol": agent.patrol,
            "backup": _name_of(roster, agent.backup) if agent.backup else "",
            "checks": [text for text in map(as_data, agent.checks) if text],
        },
        "command": command,
        "every": "" if policy.cron else in_chinese(policy.every),
        "cron": as_data(policy.cron or ""),
        "timezone": as_data(roster.timezone),
        "suspect_after": in_chinese(policy.suspect_after),
        "recover_after": in_chinese(policy.recover_after),
        "runtime_limit": in_chinese(policy.runtime_limit),
        "stalled_rounds": STALLED_ROUNDS,
        "dependency_wait": exact_duration(policy.dependency_wait),
        "max_rounds": policy.max_rounds,
        "warn_rounds": warn_rounds(policy.max_rounds),
        "notify": notify_phrase(roster, agent),
        "coo": "COO" if "coo" in roster.agents else _operator_name(roster),
        "operator": _operator_name(roster),
        "decides": agent.id in decides(roster.charter()),
        "recovery": _allowed(policy.recovery).value,
        "recovery_status": as_data(str(roster.extra.get("recovery_status", "blocked"))),
        "first_silent": roster.escalation.get("first") == "silent",
        "repeat_window": in_chinese(roster.escalation.get("window", REPEAT_WINDOW)),
        "parent_rule": roster.parent_rule.value,
        "sources": _sources(roster, agent),
        "todo_files": [as_data(str(name)) for name in _todo_files(roster)],
        "backlog_alarm": ALARM_ABOVE,
        "backlog_first": FIRST,
    }


def command_line(roster_path: Path | None) -> str:
    """The command that an agent's shell needs: with `--roster` where the roster is not found by itself.

    Raises UsageError for a path that cannot stand inside a Markdown code span.
    """
    if roster_path is None:
        return "heartbeat"
    path = str(roster_path)
    if "`" in path or any(unicodedata.category(character) in _UNSEEN for character in path):
        raise UsageError(
            f"the roster's path {path!r} holds a backtick or a control character and cannot be written into a file",
            advice="move the roster, or name it in HEARTBEAT_ROSTER",
        )
    return f"heartbeat --roster {shlex.quote(path)}"


def _allowed(recovery: Recovery) -> Recovery:
    """The roster's word, or as much of it as this version can do."""
    steps = list(Recovery)
    return min(recovery, CAPABLE_OF, key=steps.index)


def warn_rounds(max_rounds: int) -> int:
    """80 % of the round budget, rounded up, in whole numbers (rule C2): 40 of 50, 24 of 30."""
    return -(-max_rounds * 4 // 5)


def in_chinese(duration: timedelta) -> str:
    """A duration as the team writes it: `45 分钟`, `120 分钟`, `24 小时`; others by their two largest units."""
    seconds = round(duration.total_seconds())
    if seconds <= 7200 and seconds % 60 == 0:
        return f"{seconds // 60} 分钟"
    if seconds <= 172800 and seconds % 3600 == 0:
        return f"{seconds // 3600} 小时"
    parts: list[str] = []
    for name, size in _UNITS:
        if seconds >= size or parts:
            parts.append(f"{seconds // size} {name}" if seconds >= size else "")
            seconds %= size
    return " ".join(filter(None, parts[:2]))


_UNITS = (("天", 86400), ("小时", 3600), ("分钟", 60), ("秒", 1))


def notify_phrase(roster: Roster, agent: Agent) -> str:
    """Who hears of this agent's trouble: `COO + 创建者`, `COO（自我监控）`."""
    return " + ".join(_target_name(roster, agent, target) for target in agent.policy.notify) or "无人（只留记录）"


def _target_name(roster: Roster, agent: Agent, target: str) -> str:
    if target in ("self", agent.id):
        return f"{_title(agent)}（自我监控）"
    if target in _ROLES:
        return _ROLES[target](roster)
    return _name_of(roster, target)


_ROLES: Mapping[str, Callable[[Roster], str]] = {
    "coo": lambda roster: "COO",
    "creator": lambda roster: "创建者",
    "operator": lambda roster: _operator_name(roster),
}


def _title(agent: Agent) -> str:
    return "COO" if agent.id == "coo" else as_data(agent.name) or agent.id


def _operator_name(roster: Roster) -> str:
    return as_data(roster.operator.name) or "负责人"


def _name_of(roster: Roster, target: str) -> str:
    """An agent's name with its id; a channel is called by its own name."""
    agent = roster.agents.get(target)
    return as_data(target) if agent is None else f"{as_data(agent.name)}（{agent.id}）"


def _sources(roster: Roster, agent: Agent) -> list[str]:
    known = [name for name in ("workboard", "multica", "todo") if name in roster.sources]
    plugged_in = sorted(as_data(name) for name in roster.sources if name not in known)
    return [name for name in (*known, *plugged_in) if name != "multica" or agent.multica_id]


def _todo_files(roster: Roster) -> tuple[Any, ...]:
    return tuple(roster.sources.get("todo", {}).get("files", ())) or ("TODO.md", "AGENTS.md")


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
"""Unicode categories that show nothing of their own: controls, direction marks, zero widths, surrogates."""

_HARMLESS = str.maketrans("`<>[]|", "｀＜＞［］｜")
"""Code spans, HTML comments (our own markers too), links, task boxes and table cells, by their full-width twins."""

_BLOCK_START = re.compile(r"\A(?:(?:#{1,6}|[-+*=_]+|\d{1,9}[.)])(?=\s|\Z)|~{3,})", re.ASCII)
"""What would begin a heading, list, rule or fence at the start of a line."""

_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def as_data(text: str) -> str:
    """Text from the roster on one line, as Markdown that says nothing but itself (rule B8).

    White space becomes single spaces, invisible characters go, and what has a meaning in Markdown or HTML becomes its
    full-width twin: backslashes would not help inside a code span or against a plain search for a marker.
    """
    spaced = "".join(" " if character.isspace() else character for character in text)
    seen = "".join(character for character in spaced if unicodedata.category(character) not in _UNSEEN)
    flat = " ".join(seen.split()).translate(_HARMLESS)
    return _BLOCK_START.sub(lambda match: match.group().translate(_FULL_WIDTH), flat)
