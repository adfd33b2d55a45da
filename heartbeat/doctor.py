"""What works and what does not, with what to do about it: every transport tried, versions, files, state.

`examine` does the I/O; each part gives `Check`s, the worst of which decides the exit code.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from heartbeat import __version__
from heartbeat.attempt import Attempt, DeadLetter, Engine
from heartbeat.breaker import Breaker, State, is_cooling, state_at
from heartbeat.dispatch.hooks import program_of
from heartbeat.dispatch.providers import failover_of
from heartbeat.dispatch.readiness import Finding, Verdict, examine_claims, examine_multica, examine_openclaw
from heartbeat.errors import HeartbeatError
from heartbeat.instants import format_duration, to_text
from heartbeat.render import plan_render, render_blocks
from heartbeat.roster.model import Agent, Roster
from heartbeat.rules.degradation import Degradation, SourceState, level_of
from heartbeat.rules.unfinished import exhausted, overdue, overdue_told
from heartbeat.sinks.reach import Remark
from heartbeat.sinks.survey import SOURCE, survey
from heartbeat.sinks.visit import Visit, visit
from heartbeat.store.port import Store
from heartbeat.systems.base import Deadline, FailureKind, Probe, ReadStatus
from heartbeat.systems.openclaw.scratch import reads_scratch
from heartbeat.systems.process import find_executable
from heartbeat.systems.registry import build_source, source_order

FILE_LIMIT = 5 * 1024
"""Bytes of HEARTBEAT.md or AGENTS.md from which on a model wastes context on them (template v2.0)."""


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


@dataclass(frozen=True, slots=True)
class Examination:
    """Every check, in the order in which to read them, and the level that follows from them (rule G1)."""

    checks: tuple[Check, ...]
    degradation: Degradation


def examine(
    roster: Roster,
    environment: Mapping[str, str],
    state: Path,
    open_store: Callable[[], Store],
    *,
    command: str,
    patience: float,
    on_progress: Callable[[str], None],
    now: datetime,
) -> Examination:
    """Tries everything. `patience` is seconds for each source; `command` is what to type for `heartbeat` with this
    roster.
    """
    checks = [_program()]
    told = _Known()
    checks.extend(_state(state, open_store, command, told))
    versions: dict[str, str] = {}
    for name in source_order(roster):
        on_progress(f"trying {name} …")
        checks.extend(_source(name, roster, environment, Deadline.after(patience), versions, told))
    if not any(check.level is Level.OK for check in checks if check.area in roster.sources):
        nothing = "nothing can be read: what there is to do is not known"
        checks.append(Check("sources", "all", Level.FAILED, nothing, "mend one of the sources above"))
    reading, remarks = _instructions(roster, versions.get(SOURCE), environment, command, Deadline.after(patience))
    checks.extend(reading)
    for agent in roster.agents.values():
        checks.extend(_agent(agent, roster, remarks.get(agent.id, ())))
    starts_turns = any(agent.policy.dispatch != "none" for agent in roster.agents.values())
    if starts_turns:
        on_progress("looking whether turns could be started …")
        checks.extend(_turns(roster, environment, Deadline.after(patience)))
        checks.extend(_left_of_turns(told, now))
    degradation = level_of(
        told.sources,
        told.breakers if starts_turns else (),
        now,
        state_problem=told.problem,
        memory_lost=told.lost,
    )
    return Examination(tuple(checks), degradation)


@dataclass(slots=True)
class _Known:
    """What the checks found that the level depends on."""

    sources: list[SourceState] = field(default_factory=list)
    breakers: tuple[Breaker, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    problem: str = ""
    lost: str = ""


def _program() -> Check:
    return Check("program", "heartbeat", Level.OK, f"{__version__} on Python {platform.python_version()}")


def _state(state: Path, open_store: Callable[[], Store], command: str, known: _Known) -> Iterator[Check]:
    unwritable = _unwritable(state)
    if unwritable is not None:
        known.problem = f"{unwritable} cannot be written"
        advice = "run the beats as a user who may write there, or name another directory: `state` in the roster"
        yield Check("state", "directory", Level.FAILED, f"{unwritable} cannot be written: every beat fails", advice)
    try:
        with open_store() as store:
            stone = store.tombstone()
            receipts = store.last_receipts()
            known.breakers = tuple(store.breakers().values())
            known.attempts = store.attempts(unfinished=True)
            known.letters = store.letters(open_only=True)
    except HeartbeatError as error:
        known.problem = str(error)
        yield Check("state", "store", Level.FAILED, str(error), error.advice)
        return
    if stone is not None:
        known.lost = stone.reason
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
    name: str,
    roster: Roster,
    environment: Mapping[str, str],
    deadline: Deadline,
    versions: dict[str, str],
    known: _Known,
) -> Iterator[Check]:
    try:
        probes = build_source(name, roster, environment).probe(deadline)
    except HeartbeatError as error:
        known.sources.append(SourceState(name, ReadStatus.FAILED))
        yield Check(name, "source", Level.FAILED, str(error), error.advice)
        return
    except Exception as error:  # noqa: BLE001 - a source of somebody else may raise anything; the other checks go on
        known.sources.append(SourceState(name, ReadStatus.FAILED, FailureKind.BUG))
        told = f"{type(error).__name__}: {error}"
        yield Check(name, "source", Level.FAILED, told, "a bug in this source: report it to its author")
        return
    explicit = roster.sources[name].get("transport", "auto") != "auto" or bool(roster.sources[name].get("required"))
    works = any(probe.ok for probe in probes)
    known.sources.append(_source_state(name, probes, explicit=explicit))
    for probe in probes:
        if probe.version:
            versions.setdefault(name, probe.version)
        yield _transport(name, probe, needed=explicit or probe.configured, works=works)
    if not works and not any(probe.configured for probe in probes):
        level = Level.FAILED if explicit else Level.NOTE
        yield Check(name, "source", level, "not in use: nothing of it was found", _how_to_use(name))


def _source_state(name: str, probes: Sequence[Probe], *, explicit: bool) -> SourceState:
    """What a beat would find: the first transport that works is read, the best one's failure is the source's."""
    broken = [probe for probe in probes if probe.configured and not probe.ok]
    first = next((probe for probe in probes if probe.ok), None)
    if first is not None:
        status = ReadStatus.PARTIAL if first.message else ReadStatus.COMPLETE
        before = probes[: probes.index(first)]
        return SourceState(name, status, instead_of=tuple(each.transport for each in before if each in broken))
    if broken:
        return SourceState(name, ReadStatus.FAILED, broken[0].kind or "")
    if explicit:
        return SourceState(name, ReadStatus.FAILED, FailureKind.NOT_CONFIGURED)
    return SourceState(name, ReadStatus.DISABLED)


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


def _instructions(
    roster: Roster, version: str | None, environment: Mapping[str, str], command: str, deadline: Deadline
) -> tuple[Sequence[Check], Mapping[str, Sequence[Remark]]]:
    """What was rendered, and whether it reaches the agents: checks of all together, and remarks by agent.

    A template that is wrong is a check of its own, and then nothing can be compared. `version` is OpenClaw's.
    """
    everybody = tuple(roster.agents.values())
    team = [agent for agent in everybody if agent.workspace is not None and _is_directory(agent.workspace)]
    try:
        files = {plan.agent_id: plan for plan in plan_render(roster, team, command=command)} if team else {}
        asked = version is not None and reads_scratch(version)
        blocks = render_blocks(roster, everybody, command=command) if asked else {}
    except HeartbeatError as error:
        return (Check("render", "template", Level.FAILED, str(error), error.advice),), {}
    with ExitStack() as stack:
        seen = None
        if asked:
            settings = roster.sources[SOURCE]
            looking = visit(list(blocks), blocks, settings, environment, deadline, version=version)
            seen = stack.enter_context(looking)
        remarks = survey(everybody, files, seen, version, environment, command=command)
    return tuple(_read_by_openclaw(version, seen)), remarks


def _read_by_openclaw(version: str | None, seen: Visit | None) -> Iterator[Check]:
    """Which text the installed OpenClaw reads (contract 5)."""
    if version is None:
        return
    if not reads_scratch(version):
        yield Check("openclaw", "heartbeat", Level.OK, f"{version} reads HEARTBEAT.md of each workspace")
        return
    polled = {} if seen is None else {each.agent_id: each.rhythm for each in seen.results if each.rhythm}
    turns = ", ".join(f"{agent}: {rhythm}" for agent, rhythm in polled.items())
    told = f"{version} reads the scratch of each agent's monitor ({turns or 'nobody of the roster is polled'})"
    if seen is not None and seen.failure is not None:
        told = f"{version} reads the scratch of each agent's monitor"
    yield Check("openclaw", "heartbeat", Level.OK, f"{told}, and HEARTBEAT.md only where AGENTS.md says so")
    if seen is not None:
        for problem, advice in dict.fromkeys((each.problem, each.advice) for each in seen.results if each.is_unread):
            yield Check("openclaw", "heartbeat", Level.NOTE, problem, advice)


_OF_VERDICT = {Verdict.WORKS: Level.OK, Verdict.DOUBTFUL: Level.WARNING, Verdict.FAILS: Level.FAILED}


def _turns(roster: Roster, environment: Mapping[str, str], deadline: Deadline) -> Iterator[Check]:
    """Whether turns could be started, where some agent is to be (rules X2, F1). No model is asked."""
    of_engine = {
        engine: [each for each in roster.agents.values() if each.policy.dispatch == engine] for engine in Engine
    }
    found: list[Finding] = []
    try:
        failover = failover_of(roster, environment)
    except HeartbeatError as error:
        told = f"{error}: nobody is started"
        yield Check(_TURNS, "providers", Level.FAILED, told, error.advice or "correct it; beats go on without turns")
    else:
        at_openclaw = [each.id for each in of_engine[Engine.OPENCLAW]]
        if at_openclaw:
            seen = examine_openclaw(roster, environment, failover, at_openclaw, deadline, providers=failover.enabled)
            found += seen.findings
    if of_engine[Engine.MULTICA]:
        found += examine_multica(roster, environment, of_engine[Engine.MULTICA], deadline).findings
    if of_engine[Engine.OPENCLAW]:
        found += examine_claims(roster, environment)
    yield from _hooks(roster, environment)
    for each in found:
        if each.verdict is not Verdict.UNTESTED:
            yield Check(_TURNS, each.subject, _OF_VERDICT[each.verdict], each.told, each.advice)


def _hooks(roster: Roster, environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether the commands of `on_complete` are there to be run; none of them is."""
    commands = {tuple(argv) for argv in roster.extra.get("on_complete", ())}
    for program in sorted({program_of(argv, roster) for argv in commands}):
        if find_executable(program, environment) is None:
            told = f"on_complete: {program} is no program that can be run"
            advice = "a name with a slash is looked for where the roster lies, any other on the PATH"
            yield Check(_TURNS, "hooks", Level.WARNING, told, advice)


def _left_of_turns(known: _Known, now: datetime) -> Iterator[Check]:
    """What stands on record that keeps turns from being started, or waits for a person (rules F2, F4, X6)."""
    for breaker in known.breakers:
        name = breaker.provider
        if state_at(breaker, now) is not State.CLOSED:
            until = "" if breaker.until is None else f" until {to_text(breaker.until)}"
            state = "open" if state_at(breaker, now) is State.OPEN else "on trial"
            because = f": {breaker.why}" if breaker.why else ""
            advice = f"mend it, then `heartbeat providers reset {name}`; `heartbeat providers test {name}` tries it"
            yield Check(_TURNS, name, Level.WARNING, f"its breaker is {state}{until}{because}", advice)
        elif is_cooling(breaker, now) and breaker.cooled_until is not None:
            told = f"rate-limited until {to_text(breaker.cooled_until)}"
            yield Check(_TURNS, name, Level.NOTE, told, "nothing: it is asked again then")
    late = overdue(known.attempts, now)
    if late:
        advice = "`heartbeat attempts` shows them, `heartbeat abort` stops one"
        yield Check(_TURNS, "overdue", Level.FAILED, overdue_told(late, now), advice)
    given_up = exhausted(known.letters)
    if given_up:
        which = "a dead letter is" if len(given_up) == 1 else f"{len(given_up)} dead letters are"
        advice = "`heartbeat dlq` lists them; retry them, or drop them"
        yield Check(_TURNS, "letters", Level.WARNING, f"{which} left for a person", advice)


_TURNS = "turns"
"""The area of what concerns the starting of agents."""


def _agent(agent: Agent, roster: Roster, remarks: Sequence[Remark]) -> Iterator[Check]:
    if agent.multica_id is None and "multica" in roster.sources:
        yield Check(agent.id, "multica_id", Level.NOTE, "none: no Multica issue can be this agent's")
    if agent.workspace is None:
        yield Check(agent.id, "workspace", Level.NOTE, "none: no TODO file is read for this agent")
    elif not _is_directory(agent.workspace):
        advice = "correct `workspace` in the roster, create the directory, or run as a user who may look into it"
        told = f"{agent.workspace} does not exist, or this user may not look there"
        yield Check(agent.id, "workspace", Level.WARNING, told, advice)
    for remark in remarks:
        level = Level.WARNING if remark.serious else Level.NOTE
        yield Check(agent.id, remark.subject, level, remark.message, remark.advice)
    if agent.workspace is not None:
        yield from _sizes(agent, agent.workspace)


def _sizes(agent: Agent, workspace: Path) -> Iterator[Check]:
    for path in (workspace / "HEARTBEAT.md", workspace / "AGENTS.md"):
        size = _size(path)
        if size is not None and size > FILE_LIMIT:
            told = f"{size} bytes; over {FILE_LIMIT} a model spends context on it at every turn"
            advice = "keep core rules only; move the rest to docs/ and refer to it"
            yield Check(agent.id, path.name, Level.WARNING, told, advice)


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


def worst(checks: Iterable[Check]) -> Level:
    """The worst level there is."""
    order = list(Level)
    return max((check.level for check in checks), key=order.index, default=Level.OK)
