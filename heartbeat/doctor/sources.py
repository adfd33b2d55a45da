"""Every transport of a source, tried; and what a beat would find there (rules S1, S1a)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from heartbeat.doctor.check import Check, Known, Level
from heartbeat.errors import HeartbeatError
from heartbeat.instants import format_duration
from heartbeat.plural import counted
from heartbeat.roster.model import Roster
from heartbeat.rules.degradation import SourceState
from heartbeat.systems.base import Deadline, FailureKind, Probe, ReadStatus
from heartbeat.systems.registry import build_source

_HOW = {
    "workboard": "set OPENCLAW_GATEWAY_PORT and OPENCLAW_GATEWAY_TOKEN, or run where `openclaw` is on PATH",
    "multica": "set MULTICA_SERVER_URL, MULTICA_TOKEN and MULTICA_WORKSPACE_ID, or run `multica login`",
    "todo": "give the agents a `workspace`, or the roster a `workspaces` directory",
}


def check_source(
    name: str,
    roster: Roster,
    environment: Mapping[str, str],
    deadline: Deadline,
    versions: dict[str, str],
    known: Known,
) -> Iterator[Check]:
    """Raises nothing that a source raises. Leaves in `versions` the source's, and in `known` what a beat would find."""
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
        told = f"{counted(probe.items or 0, 'item')} in {format_duration_precise(probe.seconds)}{version}{partial}"
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


def _how_to_use(name: str) -> str:
    return f"to use it: {_HOW[name]}" if name in _HOW else ""
