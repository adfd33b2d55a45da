"""The text of OpenClaw's own heartbeat: one monitor automation an agent, with a private scratch (contract 5).

From 2026.8 on OpenClaw reads this scratch, and not HEARTBEAT.md. Only agents with a `heartbeat` block of their own in
openclaw.json have a monitor, and where nobody has one, the ambient owner. Writes compare the scratch's revision first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.automations import SECONDS, Automations, open_automations
from heartbeat.systems.openclaw.cli import CommandTransport
from heartbeat.systems.openclaw.gateway import ADMIN, GatewayTransport
from heartbeat.systems.writing import ConflictError

SCRATCH_SINCE = (2026, 8)
"""From this OpenClaw version on the scratch is read, and HEARTBEAT.md no longer by itself (contract 5)."""

_KEY = "heartbeat:"
"""How the declaration keys of monitors begin; nobody but OpenClaw may make such a job (contract 4)."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """An agent's heartbeat monitor. `every` is the time between two polls, each of which is a turn of the model; None
    where the job does not say. Not `enabled`, nobody reads its scratch."""

    agent: str
    id: str
    enabled: bool
    every: timedelta | None


@dataclass(frozen=True, slots=True)
class Scratch:
    """A scratch as it is. `content` is None where there is none; `limit` is in bytes of UTF-8."""

    content: str | None
    revision: int
    limit: int


@dataclass(frozen=True, slots=True)
class Scratches:
    """All monitors of one Gateway, and their scratches, by an administrator's connection."""

    automations: Automations

    def monitors(self) -> dict[str, Monitor]:
        """By agent. Raises TransportError."""
        found = (_monitor(job) for job in self.automations.listed())
        return {monitor.agent: monitor for monitor in found if monitor is not None}

    def read(self, monitor: Monitor) -> Scratch:
        """The monitor's scratch. Raises TransportError."""
        return _scratch(self.automations.ask("cron.scratch.get", {"id": monitor.id}), "cron.scratch.get")

    def write(self, monitor: Monitor, content: str, revision: int) -> Scratch:
        """The scratch after it was replaced. Raises ConflictError where it is not at `revision` any more, and
        TransportError."""
        asked = {"id": monitor.id, "content": content, "expectedRevision": revision}
        payload = self.automations.ask("cron.scratch.set", asked)
        if isinstance(payload, Mapping) and payload.get("ok") is False and payload.get("reason") == "revision-conflict":
            raise ConflictError("somebody else changed the scratch meanwhile")
        return _scratch(payload, "cron.scratch.set")


@contextmanager
def open_scratches(
    settings: Mapping[str, Any], environment: Mapping[str, str], deadline: Deadline
) -> Iterator[Scratches]:
    """The scratches of the Gateway to which the roster's settings for the source `workboard` lead.

    No request takes longer than what the deadline leaves now. Raises TransportError where there is no way to the
    Gateway, or none for an administrator.
    """
    with open_automations(settings, environment, ADMIN, min(SECONDS, deadline.left())) as automations:
        yield Scratches(automations)


def installed_version(settings: Mapping[str, Any], environment: Mapping[str, str], deadline: Deadline) -> str | None:
    """OpenClaw's version: the Gateway's own word, else the command line's; None where neither can be asked."""
    wanted, url, token_env = settings.get("transport", "auto"), settings.get("url"), settings.get("token_env")
    ways: tuple[GatewayTransport | CommandTransport, ...] = (
        *((GatewayTransport(environment, url=url, token_env=token_env),) if wanted != "cli" else ()),
        *((CommandTransport(environment, settings.get("binary") or "openclaw"),) if wanted != "gateway" else ()),
    )
    for way in ways:
        if way.absent() is None:
            try:
                return way.version(deadline.at_most(deadline.left() / 2))
            except TransportError:
                continue  # whoever goes on without a version meets the same trouble, and tells it
    return None


def reads_scratch(version: str) -> bool:
    """Whether this OpenClaw reads the scratch, and HEARTBEAT.md only where something tells the agent to."""
    return version_numbers(version) >= SCRATCH_SINCE


def version_numbers(version: str) -> tuple[int, ...]:
    """`2026.9.6` as (2026, 9, 6); numbers only, so that a suffix does not matter."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _monitor(job: Mapping[str, Any]) -> Monitor | None:
    """The job as a monitor; None for every other automation."""
    key = job.get("declarationKey")
    if not isinstance(key, str) or not key.startswith(_KEY):
        return None
    schedule = job.get("schedule")
    told = schedule.get("everyMs") if isinstance(schedule, Mapping) else None
    every = timedelta(milliseconds=told) if isinstance(told, int) and told > 0 else None
    return Monitor(key.removeprefix(_KEY), job["id"], job.get("enabled") is True, every)


def _scratch(payload: Any, method: str) -> Scratch:
    told = payload if isinstance(payload, Mapping) else {}
    scratch, revision, limit = told.get("scratch"), told.get("currentRevision"), told.get("maxBytes")
    content = scratch.get("content") if isinstance(scratch, Mapping) else None
    shaped = scratch is None if content is None else isinstance(content, str)
    if not shaped or not isinstance(revision, int) or not isinstance(limit, int):
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"the Gateway answered {method} with something else: {safe_excerpt(repr(payload)[:500])}",
            advice="this version of OpenClaw may be newer than heartbeat knows",
            outcome_unknown=method == "cron.scratch.set",
        )
    return Scratch(content, revision, limit)
