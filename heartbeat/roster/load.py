"""agents.yaml to a Roster: read, check everything at once, fill in every default (rules R1 to R4).

Whether the files that it names exist is left to those who use them: a missing template must not stop a tick.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartbeat.errors import RosterError, UsageError
from heartbeat.plural import counted
from heartbeat.policy import ParentRule, Policy, Recovery, anchor_of
from heartbeat.roster.classes import agent_values, class_values
from heartbeat.roster.document import MAX_BYTES, Document, Mark, Problem, read_document
from heartbeat.roster.model import Agent, Operator, Roster

if TYPE_CHECKING:
    from heartbeat.roster.schema import AgentSection, TopSection, WatchdogSection
    from heartbeat.roster.sections import Parts

MAX_TOLD = 100
"""More mistakes than this are counted, not told."""

_NEW_ROSTER = "run `heartbeat init` to write one, or `heartbeat demo` to see one at work"


def _no_plug_ins() -> Iterable[str]:
    return ()


def load_roster(
    path: Path,
    environment: Mapping[str, str],
    plug_in_sources: Callable[[], Iterable[str]] = _no_plug_ins,
) -> Roster:
    """The roster in `path`, checked and complete.

    `plug_in_sources` tells the names of installed sources that are not built in; it is asked only where the roster
    names one. Raises UsageError for a file that cannot be read and RosterError, with every mistake that the roster
    has, each as `path:line:column: what, and the mend`.
    """
    return roster_of(path, _content(path), environment, plug_in_sources)


def roster_of(
    path: Path,
    content: bytes,
    environment: Mapping[str, str],
    plug_in_sources: Callable[[], Iterable[str]] = _no_plug_ins,
) -> Roster:
    """The roster that `content` would be if it stood in `path`, which need not exist. Raises RosterError."""
    document = read_document(content)
    if document.data is None and not document.problems:
        document.problems.append(Problem(Mark(1, 1), f"the roster is empty; {_NEW_ROSTER}"))
    if not isinstance(document.data, dict):
        if not document.problems:
            message = "a roster is a mapping of settings such as `agents:`, and this is something else"
            document.problems.append(Problem(document.of_value(()), message))
        raise _error(path, [*document.problems, *_full_width(content)])
    try:
        return _checked(path, document, environment, plug_in_sources)
    except _MistakesError as error:
        raise _error(path, [*error.problems, *_full_width(content)]) from None


def _checked(
    path: Path, document: Document, environment: Mapping[str, str], plug_in_sources: Callable[[], Iterable[str]]
) -> Roster:
    from heartbeat.roster.check import cross_check
    from heartbeat.roster.expansion import Expansion
    from heartbeat.roster.sections import Notes, check_sections

    absolute = _absolute(path)
    notes = Notes(document)
    parts = check_sections(document, notes, Expansion(environment, absolute.parent), plug_in_sources)
    cross_check(document, parts, notes)
    problems = [*document.problems, *notes.problems]
    if problems or parts.top is None:
        raise _MistakesError(problems)
    return _resolved(absolute, parts, parts.top)


class _MistakesError(Exception):
    """What was found wrong, before it is put into words for a person."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)


_FULL_WIDTH_COLON = re.compile(r"(?:^|[{,，]|- )\s*[A-Za-z_][\w-]*\s*(：)")
_LONGEST_LINE = 400
"""Characters of a line that are looked at; nobody writes longer ones by hand."""
_MEANT = {"：": "`: ` (a colon and a space)", "，": "`, `", "\u3000": "ordinary spaces"}


def _full_width(content: bytes) -> Iterator[Problem]:
    """Where a Chinese keyboard wrote punctuation that YAML does not know; told only beside other mistakes."""
    for number, whole in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        line = whole[:_LONGEST_LINE].split(" #")[0]
        columns = {found.start(1) for found in _FULL_WIDTH_COLON.finditer(line)}
        if "[" in line or "{" in line:
            columns |= {column for column, character in enumerate(line) if character == "，"}
        if line.lstrip(" ").startswith("\u3000"):
            columns.add(line.index("\u3000"))
        for column in sorted(columns):
            character = line[column]
            shown = "a full-width space" if character == "\u3000" else f"the full-width {character}"
            message = f"{shown} is no YAML punctuation; write {_MEANT[character]}"
            yield Problem(Mark(number, column + 1), message)


def _absolute(path: Path) -> Path:
    """The path without `..`: it goes into rendered files and identities, where one roster needs one spelling.

    Links are followed only where a `..` asks for it: a link to the release in use must outlive that release.
    """
    absolute = path.absolute()
    return absolute.parent.resolve() / absolute.name if ".." in absolute.parts else absolute


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"the roster {path} is not a file", advice="name the file itself, usually agents.yaml")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no roster {path}", advice=_NEW_ROSTER) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the roster {path} cannot be read: {reason}", advice="check the path and its owner"
        ) from error


def _error(path: Path, problems: Iterable[Problem]) -> RosterError:
    found = sorted(set(problems))
    told = [f"{path}:{problem.mark.line}:{problem.mark.column}: {problem.message}" for problem in found[:MAX_TOLD]]
    if len(found) > MAX_TOLD:
        told.append(f"{path}: and {counted(len(found) - MAX_TOLD, 'more mistake')}")
    return RosterError(tuple(told))


def _resolved(path: Path, parts: Parts, top: TopSection) -> Roster:
    team = {name: _agent(name, section, parts, top) for name, section in parts.agents.items() if section is not None}
    disabled = tuple(name for name, section in parts.agents.items() if section is not None and not section.enabled)
    return Roster(
        path=path,
        timezone=top.timezone,
        operator=Operator(top.operator.name, _once(top.operator.notify)),
        agents={name: agent for name, agent in team.items() if name not in disabled},
        sources={name: settings for name, settings in parts.sources.items() if settings is not None},
        parent_rule=ParentRule(top.dependencies.parent),
        state=top.state,
        template=top.template,
        escalation=dict(top.escalation),
        channels={name: settings for name, settings in parts.channels.items() if settings is not None},
        extra={
            "recovery_status": top.recovery_status,
            "quiet_after_talk": top.quiet_after_talk,
            "retention": top.retention,
            "snapshot_ttl": top.snapshot_ttl,
            "providers": parts.providers,
            "failover": dict(top.failover),
            "budget": dict(top.budget),
            "limits": dict(top.limits),
            "watchdog": _watchdog(top.watchdog),
            "on_complete": top.on_complete,
            "disabled_agents": disabled,
        },
    )


def _agent(name: str, section: AgentSection, parts: Parts, top: TopSection) -> Agent:
    of_class = parts.classes.get(section.class_id)
    inherited = class_values(section.class_id, of_class)
    values = agent_values(inherited, section)
    label = (of_class.label if of_class else None) or inherited.get("label") or section.class_id
    return Agent(
        id=name,
        name=section.name or name,
        class_id=section.class_id,
        class_label=label,
        policy=_policy(name, values, top),
        workspace=section.workspace or _workspace(name, top.workspaces),
        multica_id=section.multica_id,
        patrol=section.patrol,
        checks=_once((*(section.checks or ()), *((of_class.checks if of_class else None) or ()))),
        backup=section.backup,
        template=section.template,
    )


def _policy(name: str, values: Mapping[str, Any], top: TopSection) -> Policy:
    def durations(key: str) -> timedelta:
        duration: timedelta = values[key]
        return duration

    return Policy(
        every=durations("every"),
        cron=values.get("cron"),
        suspect_after=durations("suspect_after"),
        recover_after=durations("recover_after"),
        runtime_limit=durations("runtime_limit"),
        dependency_wait=durations("dependency_wait"),
        max_rounds=values["max_rounds"],
        notify=_once(values["notify"]),
        recovery=Recovery(values.get("recovery") or top.recovery or "notify"),
        dispatch=values.get("dispatch") or top.dispatch or "none",
        require_output=bool(values.get("require_output", top.require_output)),
        anchor=timedelta(0) if values.get("cron") else anchor_of(name, durations("every")),
    )


def _workspace(name: str, pattern: Path | None) -> Path | None:
    """`{id}` in the pattern stands for the agent's id; without it the agent's directory lies in that directory."""
    if pattern is None:
        return None
    text = str(pattern)
    return Path(text.replace("{id}", name)) if "{id}" in text else pattern / name


def _watchdog(section: WatchdogSection) -> dict[str, Any]:
    from heartbeat.roster.schema import settings_of

    return {**settings_of(section), "notify": _once(section.notify)}


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
