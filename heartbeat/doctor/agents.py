"""What is wrong with one agent: who it is elsewhere, where it works, and what it reads there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from heartbeat.doctor.check import Check, Level
from heartbeat.doctor.paths import is_directory, size_of
from heartbeat.roster.model import Agent
from heartbeat.sinks.reach import Remark

FILE_LIMIT = 5 * 1024
"""Bytes of HEARTBEAT.md or AGENTS.md from which on a model wastes context on them (template v2.0)."""


def check_agent(agent: Agent, remarks: Sequence[Remark], *, in_multica: bool) -> Iterator[Check]:
    """`remarks` say what keeps its instructions from it (see sinks/reach.py); `in_multica` that issues are read."""
    if agent.multica_id is None and in_multica:
        yield Check(agent.id, "multica_id", Level.NOTE, "none: no Multica issue can be this agent's")
    if agent.workspace is None:
        yield Check(agent.id, "workspace", Level.NOTE, "none: no TODO file is read for this agent")
    elif not is_directory(agent.workspace):
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
        size = size_of(path)
        if size is not None and size > FILE_LIMIT:
            told = f"{size} bytes; over {FILE_LIMIT} a model spends context on it at every turn"
            advice = "keep core rules only; move the rest to docs/ and refer to it"
            yield Check(agent.id, path.name, Level.WARNING, told, advice)
