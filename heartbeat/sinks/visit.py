"""One visit to the Gateway: every agent's scratch is read, and some are written, each compared before (rule B7)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heartbeat.durable import sync_directory
from heartbeat.errors import CannotWriteError
from heartbeat.render import RenderState
from heartbeat.render.replace import advice_for
from heartbeat.sinks.notes import keep_note, note_path
from heartbeat.sinks.scratch import ScratchResult, plan_scratch, unread, without_monitor
from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.openclaw.scratch import (
    SCRATCH_SINCE,
    Monitor,
    Scratches,
    installed_version,
    open_scratches,
    reads_scratch,
)
from heartbeat.systems.writing import ConflictError

BACKUPS = "scratch-backups"
"""The folder in the state directory for what a forced write replaced."""

_AGAIN = "run the command again: it looks before it writes"


@dataclass(frozen=True, slots=True)
class ScratchWritten:
    """What a write did: nothing where `changed` is false. `result` is the plan that was carried out in the end."""

    result: ScratchResult
    changed: bool
    backup: Path | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """The plans, one an agent, in the order asked; the connection stays open for writing.

    `version` is OpenClaw's, None where it could not be found out. `failure` is what kept us from all of them.
    """

    results: tuple[ScratchResult, ...]
    version: str | None
    scratches: Scratches | None = None
    failure: TransportError | None = None

    @property
    def nothing_is_there(self) -> bool:
        """Whether nothing on this machine leads to an OpenClaw."""
        return self.failure is not None and self.failure.kind is FailureKind.NOT_CONFIGURED

    def write(self, result: ScratchResult, state: Path, *, force: bool = False) -> ScratchWritten:
        """Carry out one plan. Where somebody else wrote meanwhile, look once more and decide again.

        `state` is the directory for backups and for the note that it was written; where the note cannot be kept, the
        result warns of it. Raises CannotWriteError where the plan, or the new one, refuses it, and where OpenClaw does.
        """
        monitor = result.monitor
        if result.problem or result.after is None or monitor is None or self.scratches is None:
            raise CannotWriteError(result.problem, advice=result.advice)
        try:
            try:
                return _carry_out(result, self.scratches, monitor, state)
            except ConflictError:
                again = _plan(self.scratches, monitor, result.agent_id, result.block, force)
                if again.problem:
                    raise CannotWriteError(again.problem, advice=again.advice) from None
                return _carry_out(again, self.scratches, monitor, state)
        except TransportError as error:
            outcome = "it is not known whether it was written" if error.outcome_unknown else "not written"
            raise CannotWriteError(f"{result.place}: {outcome}: {error}", advice=error.advice or _AGAIN) from error


@contextmanager
def visit(
    agents: Sequence[str],
    blocks: Mapping[str, str],
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    deadline: Deadline,
    *,
    force: bool = False,
    version: str | None = None,
) -> Iterator[Visit]:
    """Look at the scratches of these agents. Raises nothing for what the outside does: it is told in each result.

    `blocks` holds each agent's block, `settings` are the roster's for the source `workboard`, `version` is OpenClaw's
    where it is known already. The deadline bounds the reading.
    """
    known = version or installed_version(settings, environment, deadline)
    with ExitStack() as stack:
        try:
            if known is not None and not reads_scratch(known):
                raise _too_old(known)
            scratches = stack.enter_context(open_scratches(settings, environment, deadline))
            monitors = scratches.monitors()
        except TransportError as error:
            problem = f"the monitor scratches could not be read: {error}"
            seen = Visit(tuple(unread(name, problem, error.advice) for name in agents), known, failure=error)
        else:
            looks = (_look(scratches, monitors.get(name), name, blocks[name], deadline, force) for name in agents)
            seen = Visit(tuple(looks), known, scratches)
        yield seen


def _too_old(version: str) -> TransportError:
    return TransportError(
        FailureKind.REFUSED,
        f"OpenClaw {version} keeps none: they came with {'.'.join(map(str, SCRATCH_SINCE))}",
        advice="use --sink file: that version reads HEARTBEAT.md by itself",
    )


def _look(
    scratches: Scratches, monitor: Monitor | None, agent: str, block: str, deadline: Deadline, force: bool
) -> ScratchResult:
    if monitor is None:
        return without_monitor(agent)
    if deadline.left() <= 0:
        return unread(
            agent, "no time was left to read every monitor scratch", "try again when the machine is less busy"
        )
    try:
        return _plan(scratches, monitor, agent, block, force)
    except TransportError as error:
        return unread(agent, f"monitor scratch of {agent}: could not be read: {error}", error.advice)


def _plan(scratches: Scratches, monitor: Monitor, agent: str, block: str, force: bool) -> ScratchResult:
    return plan_scratch(agent, block, monitor, scratches.read(monitor), force=force)


def _carry_out(result: ScratchResult, scratches: Scratches, monitor: Monitor, state: Path) -> ScratchWritten:
    if result.state is RenderState.UNCHANGED or result.after is None:
        return ScratchWritten(_noted(result, result.revision, state), changed=False)
    backup = _keep(result, state) if result.backup else None
    there = scratches.write(monitor, result.after, result.revision)
    return ScratchWritten(_noted(result, there.revision, state), changed=True, backup=backup)


def _noted(result: ScratchResult, revision: int, state: Path) -> ScratchResult:
    """The scratch is written by now, whatever becomes of the note."""
    try:
        keep_note(state, result.agent_id, revision)
    except OSError as error:
        told = (
            f"{result.place}: that heartbeat wrote it cannot be noted in {note_path(state, result.agent_id)} "
            f"({error.strerror or error}), and nobody is told when the agent rewrites it; {advice_for(error)}"
        )
        return replace(result, warnings=(*result.warnings, told))
    return result


def _keep(result: ScratchResult, state: Path) -> Path:
    """The scratch as it was, in a new file of the state directory, on the disk before anything is replaced."""
    folder = state / BACKUPS
    content = (result.before or "").encode("utf-8", "surrogatepass")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 0
        while True:
            path = folder / f"{result.agent_id}-r{result.revision}{f'.{number}' if number else ''}.md"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                number += 1
                continue
            break
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(folder)
    except OSError as error:
        raise CannotWriteError(
            f"{folder}: the old {result.place} cannot be kept: {error.strerror or error}; nothing was replaced",
            advice=advice_for(error),
        ) from error
    return path
