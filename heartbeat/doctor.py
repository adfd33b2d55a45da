"""What works and what does not, with what to do about it: every transport tried, versions, files, state.

`examine` does the I/O; each part gives `Check`s, the worst of which decides the exit code.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from heartbeat import __version__
from heartbeat.errors import HeartbeatError
from heartbeat.instants import format_duration, to_text
from heartbeat.render import DIFFERS, RenderResult, plan_render
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.port import Store
from heartbeat.systems.base import Deadline, Probe
from heartbeat.systems.registry import build_source, source_order

FILE_LIMIT = 5 * 1024
"""Bytes of HEARTBEAT.md or AGENTS.md from which on a model wastes context on them (template v2.0)."""

SCRATCH_SINCE = (2026, 8)
"""From this OpenClaw version on HEARTBEAT.md is no longer read by itself (contract 5)."""


class Level(StrEnum):
    """How bad it is: `failed` makes `heartbeat doctor` exit 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `area` groups them: program, state, a source's name, an agent's id."""

    area: str
    subject: str
    level: Level
    message: str
    advice: str = ""


def examine(
    roster: Roster,
    environment: Mapping[str, str],
    state: Path,
    open_store: Callable[[], Store],
    *,
    command: str,
    patience: float,
    on_progress: Callable[[str], None],
) -> tuple[Check, ...]:
    """Every check, in the order in which to read them.

    `patience` is seconds for each source; `command` is what to type for `heartbeat` with this roster.
    """
    checks = [_program(), *_state(state, open_store, command)]
    versions: dict[str, str] = {}
    for name in source_order(roster):
        on_progress(f"trying {name} …")
        checks.extend(_source(name, roster, environment, Deadline.after(patience), versions))
    if not any(check.level is Level.OK for check in checks if check.area in roster.sources):
        told = "nothing can be read: what there is to do is not known"
        checks.append(Check("sources", "all", Level.FAILED, told, "mend one of the sources above"))
    rendered, problem = _rendered(roster, command)
    checks.extend(problem)
    for agent in roster.agents.values():
        checks.extend(_agent(agent, roster, versions.get("workboard"), rendered.get(agent.id), command))
    return tuple(checks)


def _program() -> Check:
    return Check("program", "heartbeat", Level.OK, f"{__version__} on Python {platform.python_version()}")


def _state(state: Path, open_store: Callable[[], Store], command: str) -> Iterator[Check]:
    unwritable = _unwritable(state)
    if unwritable is not None:
        advice = "run the beats as a user who may write there, or name another directory: `state` in the roster"
        yield Check("state", "directory", Level.FAILED, f"{unwritable} cannot be written: every beat fails", advice)
    try:
        with open_store() as store:
            stone = store.tombstone()
            receipts = store.last_receipts()
    except HeartbeatError as error:
        yield Check("state", "store", Level.FAILED, str(error), error.advice)
        return
    if stone is not None:
        lost = f"{stone.reason} (noticed {to_text(stone.at)}); heartbeat only observes until somebody accepts that"
        kept = f"the damaged file is {stone.quarantined}; " if stone.quarantined else ""
        advice = f"{kept}put a backup back while no beat runs, or go on without: {command} doctor --accept-loss NAME"
        yield Check("state", "store", Level.FAILED, lost, advice)
    else:
        yield Check("state", "store", Level.OK, f"receipts of {len(receipts)} agents")


def _unwritable(state: Path) -> Path | None:
    """What stands in the way of writing state: the database, the directory, or its nearest parent that exists."""
    database = state / "state.db"
    if _exists(database) and not os.access(database, os.W_OK):
        return database
    nearest = next(path for path in (state, *state.parents) if _exists(path))
    return None if _is_directory(nearest) and os.access(nearest, os.W_OK | os.X_OK) else nearest


def _source(
    name: str, roster: Roster, environment: Mapping[str, str], deadline: Deadline, versions: dict[str, str]
) -> Iterator[Check]:
    try:
        probes = build_source(name, roster, environment).probe(deadline)
    except HeartbeatError as error:
        yield Check(name, "source", Level.FAILED, str(error), error.advice)
        return
    except Exception as error:  # noqa: BLE001 - a source of somebody else may raise anything; the other checks go on
        told = f"{type(error).__name__}: {error}"
        yield Check(name, "source", Level.FAILED, told, "a bug in this source: report it to its author")
        return
    explicit = roster.sources[name].get("transport", "auto") != "auto" or bool(roster.sources[name].get("required"))
    works = any(probe.ok for probe in probes)
    for probe in probes:
        if probe.version:
            versions.setdefault(name, probe.version)
        yield _transport(name, probe, needed=explicit or probe.configured, works=works)
    if not works and not any(probe.configured for probe in probes):
        level = Level.FAILED if explicit else Level.NOTE
        yield Check(name, "source", level, "not in use: nothing of it was found", _how_to_use(name))


def _transport(name: str, probe: Probe, *, needed: bool, works: bool) -> Check:
    if probe.ok:
        version = f" {probe.version}" if probe.version else ""
        partial = f"; {probe.message}" if probe.message else ""
        told = f"{probe.items} items in {format_duration_precise(probe.seconds)}{version}{partial}"
        return Check(name, probe.transport, Level.WARNING if partial else Level.OK, told)
    if not probe.configured:
        return Check(name, probe.transport, Level.NOTE, f"not set up: {probe.message}", probe.advice)
    kind = f"{probe.kind.value}: " if probe.kind else ""
    level = Level.WARNING if works or not needed else Level.FAILED
    return Check(name, probe.transport, level, f"{kind}{probe.message}", probe.advice)


def format_duration_precise(seconds: float) -> str:
    """Milliseconds below a second, tenths below ten, whole units above."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


_HOW = {
    "workboard": "set OPENCLAW_GATEWAY_PORT and OPENCLAW_GATEWAY_TOKEN, or run where `openclaw` is on PATH",
    "multica": "set MULTICA_SERVER_URL, MULTICA_TOKEN and MULTICA_WORKSPACE_ID, or run `multica login`",
    "todo": "give the agents a `workspace`, or the roster a `workspaces` directory",
}


def _how_to_use(name: str) -> str:
    return f"to use it: {_HOW[name]}" if name in _HOW else ""


def _rendered(roster: Roster, command: str) -> tuple[Mapping[str, RenderResult], Sequence[Check]]:
    """What rendering would change, by agent; a template that is wrong is a check of its own."""
    team = [agent for agent in roster.agents.values() if agent.workspace is not None and _is_directory(agent.workspace)]
    try:
        plans = plan_render(roster, team, command=command) if team else []
    except HeartbeatError as error:
        return {}, (Check("render", "template", Level.FAILED, str(error), error.advice),)
    return {plan.agent_id: plan for plan in plans}, ()


def _agent(
    agent: Agent, roster: Roster, openclaw: str | None, plan: RenderResult | None, command: str
) -> Iterator[Check]:
    if agent.multica_id is None and "multica" in roster.sources:
        yield Check(agent.id, "multica_id", Level.NOTE, "none: no Multica issue can be this agent's")
    if agent.workspace is None:
        yield Check(agent.id, "workspace", Level.NOTE, "none: no TODO file is read for this agent")
        return
    if not _is_directory(agent.workspace):
        advice = "correct `workspace` in the roster, create the directory, or run as a user who may look into it"
        told = f"{agent.workspace} does not exist, or this user may not look there"
        yield Check(agent.id, "workspace", Level.WARNING, told, advice)
        return
    if plan is not None and plan.differs:
        told = plan.problem or DIFFERS[plan.state.value]
        advice = plan.advice or f"{command} render {agent.id}"
        yield Check(agent.id, "HEARTBEAT.md", Level.WARNING, told, advice)
    for path in (agent.workspace / "HEARTBEAT.md", agent.workspace / "AGENTS.md"):
        size = _size(path)
        if size is not None and size > FILE_LIMIT:
            told = f"{size} bytes; over {FILE_LIMIT} a model spends context on it at every turn"
            advice = "keep core rules only; move the rest to docs/ and refer to it"
            yield Check(agent.id, path.name, Level.WARNING, told, advice)
    yield from _reads_heartbeat_file(agent, agent.workspace, openclaw, command)


def _reads_heartbeat_file(agent: Agent, workspace: Path, openclaw: str | None, command: str) -> Iterator[Check]:
    """OpenClaw from 2026.8 on reads HEARTBEAT.md only where AGENTS.md or a prompt tells the agent to (contract 5)."""
    if openclaw is None or version_numbers(openclaw) < SCRATCH_SINCE:
        return
    told = _text(workspace / "AGENTS.md")
    if re.search(r"HEARTBEAT\.md|heartbeat worklist", told):
        return
    message = f"OpenClaw {openclaw} does not read it by itself, and AGENTS.md does not mention it"
    advice = (
        f"add a line to AGENTS.md: at every heartbeat read HEARTBEAT.md and run `{command} worklist {agent.id}`; "
        "`openclaw doctor --fix` may remove the file: render again after it"
    )
    yield Check(agent.id, "HEARTBEAT.md", Level.WARNING, message, advice)


def version_numbers(version: str) -> tuple[int, ...]:
    """`2026.9.6` as (2026, 9, 6); numbers only, so that a suffix does not matter."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _exists(path: Path) -> bool:
    """False also where this user may not look: what stands in the way is the directory above it."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_directory(path: Path) -> bool:
    """False also where this user may not look."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def worst(checks: Iterable[Check]) -> Level:
    """The worst level there is."""
    order = list(Level)
    return max((check.level for check in checks), key=order.index, default=Level.OK)
