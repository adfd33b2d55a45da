"""Whether what was rendered reaches the agents, by the way that the installed OpenClaw has (contract 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from heartbeat.doctor.check import Check, Level
from heartbeat.doctor.paths import is_directory
from heartbeat.errors import HeartbeatError
from heartbeat.render import plan_render, render_blocks
from heartbeat.roster.model import Roster
from heartbeat.sinks.reach import Remark
from heartbeat.sinks.survey import SOURCE, survey
from heartbeat.sinks.visit import Visit, visit
from heartbeat.systems.base import Deadline
from heartbeat.systems.openclaw.scratch import reads_scratch


def check_instructions(
    roster: Roster,
    version: str | None,
    environment: Mapping[str, str],
    state: Path,
    command: str,
    deadline: Deadline,
) -> tuple[Sequence[Check], Mapping[str, Sequence[Remark]]]:
    """What was rendered, and whether it reaches the agents: checks of all together, and remarks by agent.

    A template that is wrong is a check of its own, and then nothing can be compared. `version` is OpenClaw's.
    """
    everybody = tuple(roster.agents.values())
    team = [agent for agent in everybody if agent.workspace is not None and is_directory(agent.workspace)]
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
        remarks = survey(everybody, files, seen, version, environment, command=command, state=state)
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
