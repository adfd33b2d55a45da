"""A scenario's YAML text, checked as strictly as a roster: every mistake at once, each with its line (rule R1)."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.dispatch.providers import failover_of
from heartbeat.errors import UsageError
from heartbeat.instants import format_duration, parse_duration, parse_instant
from heartbeat.policy import Recovery
from heartbeat.provider import MULTICA_NATIVE
from heartbeat.roster import fields
from heartbeat.roster.document import MAX_BYTES, Document, Mark, Mistake, Place, Problem, quoted, read_document
from heartbeat.roster.model import Roster
from heartbeat.simulate.faults import KINDS
from heartbeat.simulate.scenario import (
    EVERY,
    Again,
    AgentPlan,
    Behaviour,
    Condition,
    Deed,
    Happening,
    Outage,
    Scenario,
    TaskPlan,
)
from heartbeat.simulate.scheme import Dispatch

ORIGINS = ("workboard", "multica", "todo")
STATUSES = ("backlog", "todo", "in_progress", "blocked")
MOVES = ("backlog", "todo", "in_progress", "blocked", "done")
PRIORITIES = ("urgent", "high", "normal", "low")
MAX_TASKS = 20_000

Convert = Callable[[Any], Any]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


class ScenarioError(UsageError):
    """The scenario has mistakes. `problems` holds one `path:line:column: what, and the mend` each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_scenario(path: Path, roster: Roster) -> Scenario:
    """The scenario in `path`, for the agents and sources of this roster.

    Raises UsageError for a file that cannot be read, and ScenarioError.
    """
    document = read_document(_content(path))
    if not isinstance(document.data, dict) and not document.problems:
        message = "a scenario is a mapping with `tasks:`, and this is something else"
        document.problems.append(Problem(document.of_value(()), message))
    reader = _Reader(document, roster)
    scenario = reader.scenario(path.stem) if isinstance(document.data, dict) else None
    if scenario is None or document.problems:
        found = sorted(set(document.problems))
        raise ScenarioError(tuple(f"{path}:{each.mark.line}:{each.mark.column}: {each.message}" for each in found))
    return scenario


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"the scenario {path} is not a file", advice="name the file itself")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "docs/simulate.md shows one; without --scenario a built-in one is played"
        raise UsageError(f"the scenario {path} cannot be read: {reason}", advice=advice) from error


# What single values may be.


def _since_start(value: Any) -> timedelta:
    """A duration, or none at all."""
    return timedelta(0) if value in ("0", "0m", "0s", "0h") else fields.duration(value)


def _signed(value: Any) -> timedelta:
    """A duration that may be negative, as in -1h."""
    if isinstance(value, str) and value.startswith("-"):
        try:
            return -parse_duration(value[1:])
        except ValueError as error:
            raise Mistake(f"{quoted(value)} is no duration; write 1h or -1h") from error
    return fields.duration(value)


def _instant(value: Any) -> datetime:
    found = parse_instant(value) if isinstance(value, str) else None
    if found is None:
        raise Mistake("is no instant; write 2026-11-23T08:00+08:00")
    return found


def _as_word(value: Any) -> Any:
    """401 and 429 may be written as numbers."""
    return str(value) if type(value) is int else value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Mistake("must be a number from 0 to 1")
    return float(value)


def _choices(*words: str) -> Convert:
    """One or several of a few words, each once."""
    chosen = fields.choice(*words)

    def several(value: Any) -> tuple[str, ...]:
        listed = fields.as_list(value)
        if not isinstance(listed, list) or not listed:
            raise Mistake(f"must be one or several of {', '.join(words)}")
        return tuple(dict.fromkeys(map(chosen, listed)))

    return several


_TOP: Mapping[str, Convert] = {
    "version": fields.version,
    "name": fields.text,
    "start": _instant,
    "days": fields.amount,
    "recovery": lambda value: Recovery(fields.choice(*Recovery)(value)),
    "dispatch": fields.choice(*Dispatch),
}
_OUTAGE: Mapping[str, Convert] = {
    "from": _since_start,
    "until": fields.duration,
    "is": lambda value: Condition(fields.choice(*Condition)(_as_word(value))),
}
_MULTICA: Mapping[str, Convert] = {"revisions": fields.flag, "run": fields.duration}
_AGENT: Mapping[str, Convert] = {"takes_up": _share, "turn": fields.duration, "shows_turns": fields.flag}
_TASK: Mapping[str, Convert] = {
    "title": fields.text,
    "owner": fields.text,
    "origins": _choices(*ORIGINS),
    "status": fields.choice(*STATUSES),
    "priority": fields.choice(*PRIORITIES),
    "appears": _since_start,
    "since": _since_start,
    "behaviour": lambda value: Behaviour(fields.choice(*Behaviour)(value)),
    "takes": fields.duration,
    "says": fields.duration,
    "falls_silent": _since_start,
    "again": lambda value: Again(fields.choice(*Again)(value)),
    "heeds_nudge": fields.flag,
    "count": fields.count,
}
_HAPPENING: Mapping[str, Convert] = {
    "at": _since_start,
    "do": lambda value: Deed(fields.choice(*Deed)(value)),
    "task": fields.text,
    "agent": fields.text,
    "source": fields.choice(*ORIGINS, "sessions"),
    "kind": fields.choice(*KINDS),
    "to": fields.text,
    "text": fields.text,
    "by": _signed,
    "for": fields.duration,
}
_DEEDS: Mapping[Deed, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Deed.COMMENT: (("task",), ("text",)),
    Deed.MOVE: (("task", "to"), ()),
    Deed.CLOSE: (("task",), ()),
    Deed.UNBLOCK: (("task",), ()),
    Deed.ASSIGN: (("task", "to"), ()),
    Deed.SILENCE: (("agent",), ("for",)),
    Deed.WAKE: (("agent",), ()),
    Deed.OUTAGE: (("source", "for"), ("kind",)),
    Deed.GAP: (("for",), ()),
    Deed.SUSPEND: (("for",), ()),
    Deed.CLOCK: (("by",), ("for",)),
    Deed.CHANNELS_DOWN: (("for",), ()),
    Deed.DISPATCH: ((), ()),
    Deed.REPLAY: ((), ("task",)),
}
"""What each deed needs, and what it may have, besides `at` and `do`."""


class _Reader:
    """Reads one document, and collects its problems in it."""

    def __init__(self, document: Document, roster: Roster) -> None:
        self._document = document
        self._roster = roster

    def scenario(self, name: str) -> Scenario:
        parts = ("multica", "agents", "tasks", "providers", "events")
        top = self._values((), _TOP, needed=("version",), besides=parts)
        multica = self._values(("multica",), _MULTICA)
        tasks = tuple(task for each in self._names("tasks") for task in self._task(each))
        if self._document.get(("tasks",)) is None:
            message = "a scenario needs tasks; write at least one under `tasks:`, or `tasks: {}` where there is no work"
            self._problem(("tasks",), message)
        names = {task.name: task for task in tasks}
        top.pop("version", None)
        return Scenario(
            tasks=tasks,
            agents={each: self._agent(each) for each in self._names("agents")},
            outages=tuple(outage for each in self._names("providers") for outage in self._outages(each)),
            happenings=tuple(filter(None, (self._happening(place, names) for place in self._entries(("events",))))),
            **{"name": name, **top, **multica},
        )

    def _agent(self, name: str) -> AgentPlan:
        self._check_agent(("agents", name), name, at_key=True)
        return AgentPlan(**self._values(("agents", name), _AGENT))

    def _outages(self, name: str) -> Iterable[Outage]:
        """How one provider is, and when; of several at a time the first that is written counts."""
        section: Place = ("providers", name)
        known = (EVERY, MULTICA_NATIVE, *(each.name for each in failover_of(self._roster, {}).providers))
        if name not in known:
            near = fields.nearest(name, known)
            self._problem(section, f"there is no provider {quoted(name)} in the roster{near}", key=True)
        for place in self._entries(section):
            values = self._values(place, _OUTAGE, needed=("is",))
            begins, ends = values.get("from", timedelta(0)), values.get("until")
            if ends is not None and ends <= begins:
                self._problem((*place, "until"), "must be later than `from`")
            if "is" in values:
                yield Outage(name, values["is"], begins, ends)

    def _task(self, name: str) -> Iterable[TaskPlan]:
        place: Place = ("tasks", name)
        if not _NAME.fullmatch(name):
            self._problem(place, f"{quoted(name)} is no name for a task; use small letters, digits, - and _", key=True)
        values = self._values(place, _TASK, needed=("owner",))
        count = values.pop("count", 1)
        if count > MAX_TASKS:
            self._problem((*place, "count"), f"at most {MAX_TASKS} tasks alike")
            count = 1
        self._check_owner(place, values)
        task = TaskPlan(**{"name": name, "title": name, "owner": "", **values})
        if task.status == "backlog" and "todo" in task.origins:
            self._problem((*place, "status"), "a TODO line cannot be in the backlog")
        if task.status != "in_progress" and task.since:
            self._problem((*place, "since"), "only a task that is in_progress was taken up some time ago")
        if count == 1:
            return (task,)
        numbers = range(1, count + 1)
        return (replace(task, name=f"{name}-{number}", title=f"{task.title} {number}") for number in numbers)

    def _check_owner(self, place: Place, values: Mapping[str, Any]) -> None:
        owner = values.get("owner", "")
        if not owner or not self._check_agent((*place, "owner"), owner):
            return
        for origin in values.get("origins", ORIGINS[:1]):
            if origin not in self._roster.sources:
                self._problem((*place, "origins"), f"the roster does not read {origin}; add it to its `sources`")
            elif origin == "multica" and not self._roster.agents[owner].multica_id:
                self._problem((*place, "origins"), f"{owner} has no multica_id in the roster, so no issue can be its")

    def _happening(self, place: Place, tasks: Mapping[str, TaskPlan]) -> Happening | None:
        values = self._values(place, _HAPPENING, needed=("at", "do"))
        deed = values.get("do")
        if deed is None or "at" not in values:
            return None
        needed, allowed = _DEEDS[deed]
        given = set(self._document.get(place))
        for key in sorted(set(needed) - given):
            self._problem(place, f"`do: {deed}` needs `{key}`")
        for key in sorted(given - {"at", "do", *needed, *allowed}):
            if key in _HAPPENING:
                self._problem((*place, key), f"`do: {deed}` has no `{key}`", key=True)
        if "task" in values and values["task"] not in tasks:
            near = fields.nearest(values["task"], tuple(tasks))
            self._problem((*place, "task"), f"there is no task {quoted(values['task'])}{near}")
        if "agent" in values:
            self._check_agent((*place, "agent"), values["agent"])
        task = tasks.get(values.get("task", ""))
        if task is not None:
            self._check_deed(place, deed, values, task)
        if "source" in values and values["source"] != "sessions" and values["source"] not in self._roster.sources:
            self._problem((*place, "source"), f"the roster does not read {values['source']}")
        return Happening(**{"lasts" if key == "for" else key: value for key, value in values.items()})

    def _check_deed(self, place: Place, deed: Deed, values: Mapping[str, Any], task: TaskPlan) -> None:
        """What is done to a task, as far as it depends on the task."""
        if values["at"] < task.appears:
            message = f"{task.name} appears only {format_duration(task.appears)} after the start"
            self._problem((*place, "at"), message)
        to = values.get("to", "")
        if deed is Deed.ASSIGN and to and self._check_agent((*place, "to"), to):
            if "multica" in task.origins and not self._roster.agents[to].multica_id:
                self._problem((*place, "to"), f"{to} has no multica_id in the roster, so no issue can be its")
        elif deed is Deed.MOVE and to:
            known = MOVES[1:] if "todo" in task.origins else MOVES
            if to not in known:
                near = fields.nearest(to, known)
                self._problem((*place, "to"), f"{quoted(to)} is no status that {task.name} can have{near}")

    def _check_agent(self, place: Place, name: str, *, at_key: bool = False) -> bool:
        if name in self._roster.agents:
            return True
        near = fields.nearest(name, tuple(self._roster.agents))
        self._problem(place, f"there is no agent {quoted(name)} in the roster{near}", key=at_key)
        return False

    # The document's structure.

    def _values(
        self, place: Place, known: Mapping[str, Convert], *, needed: Iterable[str] = (), besides: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The values at a place that are right; what is wrong, unknown or missing goes to the problems."""
        found = self._document.get(place)
        if found is None and not needed:
            return {}
        if not isinstance(found, dict):
            self._problem(place, f"must be a mapping, not {fields.kind_of(found)}")
            return {}
        values: dict[str, Any] = {}
        allowed = (*known, *besides)
        for key, value in found.items():
            if key in known:
                try:
                    values[key] = known[key](value)
                except Mistake as mistake:
                    self._problem((*place, key), f"{key}: {mistake}")
            elif key not in allowed:
                self._problem((*place, key), f"unknown key {quoted(key)}{fields.nearest(key, allowed)}", key=True)
        for key in needed:
            if key not in found:
                self._problem(place, f"`{key}` is missing", key=True)
        return values

    def _names(self, section: str) -> tuple[str, ...]:
        found = self._document.get((section,))
        if found is None:
            return ()
        if not isinstance(found, dict):
            self._problem((section,), f"{section} must be a mapping of names, not {fields.kind_of(found)}")
            return ()
        return tuple(found)

    def _entries(self, section: Place) -> Iterable[Place]:
        found = self._document.get(section)
        if found is None:
            return ()
        if not isinstance(found, list):
            self._problem(section, f"{section[-1]} must be a list, not {fields.kind_of(found)}")
            return ()
        return ((*section, index) for index in range(len(found)))

    def _problem(self, place: Place, message: str, *, key: bool = False) -> None:
        if self._document.is_refused(place):
            return
        mark: Mark = self._document.of_key(place) if key else self._document.of_value(place)
        self._document.problems.append(Problem(mark, message))
