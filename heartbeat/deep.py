"""Deep health: whether what was rendered still stands where the agents read it. Asks the Gateway, writes nothing.

What could not be looked at is never a failure by itself: health that asks others must not be down with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heartbeat.doctor.paths import is_directory
from heartbeat.errors import HeartbeatError
from heartbeat.render import plan_render, render_blocks
from heartbeat.roster.model import Agent, Roster
from heartbeat.sinks.reach import Remark
from heartbeat.sinks.survey import SOURCE, expects_openclaw, survey
from heartbeat.sinks.visit import Visit, visit
from heartbeat.systems.base import Deadline
from heartbeat.systems.openclaw.scratch import reads_scratch
from heartbeat.watch.overall import Check, Level
from heartbeat.watch.patience import HangsError, within

SECONDS = 10.0
"""For all of it: the command line of OpenClaw takes 2 to 5 for one scratch (contract 3)."""

NAME = "instructions"
"""How the rows are called; those of one agent with its id behind."""

_FAILURES = frozenset({"scratch-differs", "scratch-overwritten", "two-texts", "file-taken"})
"""Serious remarks that mean that an agent is told something else than the roster says."""

_ADVICE = "`heartbeat render --all --check` takes as long as it needs"


@dataclass(frozen=True, slots=True)
class Deep:
    """What came of it. `version` is OpenClaw's, None where it was not found out."""

    version: str | None
    rows: tuple[Check, ...]


def look(
    roster: Roster,
    team: Sequence[Agent],
    environment: Mapping[str, str],
    state: Path,
    *,
    command: str,
) -> Deep:
    """Compares the scratches and files of these agents with what the roster gives. Raises nothing for what it finds.

    `command` is what to type for `heartbeat` with this roster.
    """
    deadline = Deadline.after(SECONDS)
    try:
        return within(SECONDS, NAME, lambda: _compared(roster, team, environment, state, command, deadline), _ADVICE)
    except HangsError as error:
        return Deep(None, (_unknown(str(error), error.advice),))
    except HeartbeatError as error:
        return Deep(None, (Check(NAME, Level.FAILED, str(error), error.advice),))


def _compared(
    roster: Roster, team: Sequence[Agent], environment: Mapping[str, str], state: Path, command: str, deadline: Deadline
) -> Deep:
    housed = [agent for agent in team if agent.workspace is not None and is_directory(agent.workspace)]
    files = {plan.agent_id: plan for plan in plan_render(roster, housed, command=command)} if housed else {}
    if not expects_openclaw(roster):
        return _told(team, survey(team, files, None, None, environment, command=command, state=state), None)
    blocks = render_blocks(roster, team, command=command)
    with visit(list(blocks), blocks, roster.sources[SOURCE], environment, deadline) as seen:
        remarks = survey(team, files, seen, seen.version, environment, command=command, state=state)
    return _told(team, remarks, seen)


def _told(team: Sequence[Agent], remarks: Mapping[str, Sequence[Remark]], seen: Visit | None) -> Deep:
    rows = [row for agent in team for row in _rows(agent.id, remarks.get(agent.id, ()))]
    rows += _unread(seen)
    if not rows:
        rows = [
            Check(NAME, Level.OK, f"what there is for {_whose(team)} to read is as the roster and the template give it")
        ]
    return Deep(None if seen is None else seen.version, tuple(rows))


def _whose(team: Sequence[Agent]) -> str:
    return f"all {len(team)} agents" if len(team) > 1 else " and ".join(agent.id for agent in team) or "nobody"


def _rows(agent: str, remarks: Sequence[Remark]) -> Iterator[Check]:
    for remark in remarks:
        if remark.serious:
            level = Level.FAILED if remark.code in _FAILURES else Level.WARNING
            yield Check(f"{NAME} {agent}", level, f"{remark.subject}: {remark.message}", remark.advice)


def _unread(seen: Visit | None) -> Iterator[Check]:
    """What could not be looked at, each reason once. An OpenClaw that keeps no scratch, and none at all, are no
    reason."""
    if seen is None or seen.nothing_is_there or (seen.version is not None and not reads_scratch(seen.version)):
        return
    for problem, advice in dict.fromkeys((each.problem, each.advice) for each in seen.results if each.is_unread):
        yield _unknown(problem, advice)


def _unknown(problem: str, advice: str) -> Check:
    return Check(NAME, Level.WARNING, f"not known: {problem}", advice)
