"""Schedules as people and programs read them: what was changed, what is on schedule, when the next beats are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from heartbeat.install.base import Applied, Change, Piece, Verb
from heartbeat.install.install import NAMES, Installed, difference, is_change
from heartbeat.instants import exact_duration, to_text
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import next_slot

if TYPE_CHECKING:
    from heartbeat.cli.targets import Schedules

_NEXT = 3
_DONE = {Verb.ADD: "added", Verb.CHANGE: "changed", Verb.REMOVE: "removed", Verb.KEEP: "kept"}


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one target: the changes, and what came of them; `applied` is empty where nothing was done."""

    target: str
    changes: tuple[Change, ...]
    applied: tuple[Applied, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything is not as it should be."""
        return any(map(is_change, self.changes))


def diff_lines(steps: Sequence[Step]) -> Iterator[str]:
    """A unified diff of all that differs."""
    for step in steps:
        yield from difference(step.target, step.changes)


def done_lines(steps: Sequence[Step]) -> Iterator[str]:
    """What was done, a line a piece."""
    for step in steps:
        if not step.differs:
            there = len(step.changes)
            yield f"{step.target}: nothing changed" + ("" if there else ", and nothing is on schedule")
        for applied in step.applied:
            change = applied.change
            if is_change(change):
                said = f"not {_DONE[change.verb]}: {applied.error}" if applied.error else _DONE[change.verb]
                yield f"{step.target}: {change.name}: {said}"


def hints(steps: Sequence[Step]) -> Iterator[str]:
    """What is left to do, each thing once."""
    advice = (applied.advice for step in steps for applied in step.applied)
    yield from dict.fromkeys(filter(None, advice))


def failed(steps: Sequence[Step]) -> bool:
    """Whether a change was not carried out, or not to its end."""
    return any(applied.error for step in steps for applied in step.applied)


def standing_line(seen: Installed, *, differs: bool) -> str:
    """What one target keeps, and whether it would be written otherwise today."""
    name, standing = f"{seen.target.name:<15}", seen.standing
    if seen.absent:
        return f"{name} not found here"
    if seen.problem:
        return f"{name} not known: {seen.problem}"
    if not seen.pieces:
        return f"{name} nothing"
    parts = [] if standing.style is None else [standing.style.value, ", ".join(standing.agents) or "everybody"]
    parts += ["watchdog"] if standing.watchdog else []
    parts += ["differs from what would be written now (`heartbeat cron diff`)"] if differs else []
    return f"{name} {'; '.join(parts) or 'something that is not to be understood'}"


def agent_lines(known: Schedules, looked: Sequence[Installed]) -> Iterator[str]:
    """Each agent's rhythm and next slots, in the roster's zone; or why it has none."""
    roster = known.roster
    width = max(map(len, roster.agents), default=0)
    rhythms = {agent.id: _rhythm(agent) for agent in roster.agents.values()}
    room = max(map(len, rhythms.values()), default=0)
    for number, agent in enumerate(roster.agents.values()):
        if number == 0:
            yield ""
        slots = _clocks(_slots(agent, roster, known.now), roster.timezone)
        yield f"{agent.id:<{width}}  {rhythms[agent.id]:<{room}}  {_resting(agent.id, known, looked) or slots}"


def _resting(agent: str, known: Schedules, looked: Sequence[Installed]) -> str:
    """Why an agent has no next slot by what was looked at; nothing where somebody beats for it."""
    if known.daemon is not None or any(agent in each.beating(known.roster) for each in looked):
        return ""
    if any(piece.agent == agent and piece.stopped for each in looked for piece in each.pieces):
        return "switched off"
    unknown = [each.target.name for each in looked if each.unknown]
    if unknown:
        return f"not known: on no schedule, unless on that of {' or '.join(unknown)}"
    return "on no schedule" if len(looked) == len(NAMES) else "not on this schedule"


def _clocks(slots: Iterator[datetime], timezone: str) -> str:
    """Slots one behind the other; the day where it is another than of the one before, and so the zone."""
    from zoneinfo import ZoneInfo

    told, day, zone = [], "", ""
    for slot in slots:
        local = slot.astimezone(ZoneInfo(timezone))
        parts = (f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}", f"{local:%Z}")
        shown = (parts[0] if parts[0] != day else "", parts[1], parts[2] if parts[2] != zone else "")
        told.append(" ".join(filter(None, shown)))
        day, _, zone = parts
    return "  ".join(told)


def document(
    command: str,
    known: Schedules,
    *,
    seen: Sequence[tuple[Installed, bool]] = (),
    steps: Sequence[Step] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """`heartbeat.schedule/1`."""
    launch, roster, looked = known.launch, known.roster, [each for each, _ in seen]
    return {
        "schema": "heartbeat.schedule/1",
        "generated_at": to_text(known.now),
        "command": command,
        "roster": str(launch.roster),
        "launch": {
            "program": list(launch.program),
            "path": launch.path,
            "state": str(launch.state),
            "environment_file": None if launch.environment_file is None else str(launch.environment_file),
            "log": str(launch.log),
            "watchdog_log": str(launch.watchdog_log),
        },
        "targets": [_target(each, differs) for each, differs in seen],
        "agents": [_agent(agent, known, looked) for agent in roster.agents.values()],
        "differs": any(step.differs for step in steps) or any(differs for _, differs in seen),
        "changes": [_change(step, change, number) for step in steps for number, change in enumerate(step.changes)],
        "notes": list(notes),
    }


def _target(seen: Installed, differs: bool) -> dict[str, Any]:
    standing = seen.standing
    return {
        "name": seen.target.name,
        "present": not seen.absent,
        "style": None if standing.style is None else standing.style.value,
        "everybody": standing.style is not None and not standing.agents,
        "agents": list(standing.agents),
        "watchdog": standing.watchdog,
        "differs": differs,
        "pieces": [_piece(piece) for piece in seen.pieces],
        "problem": seen.problem or None,
    }


def _piece(piece: Piece) -> dict[str, Any]:
    return {"name": piece.name, "agent": piece.agent or None, "text": piece.text}


def _agent(agent: Agent, known: Schedules, looked: Sequence[Installed]) -> dict[str, Any]:
    rests = bool(looked) and bool(_resting(agent.id, known, looked))
    return {
        "id": agent.id,
        "every": exact_duration(agent.policy.every),
        "cron": agent.policy.cron,
        "targets": [each.target.name for each in looked if agent.id in each.beating(known.roster)],
        "next": [] if rests else [to_text(slot) for slot in _slots(agent, known.roster, known.now)],
    }


def _change(step: Step, change: Change, number: int) -> dict[str, Any]:
    applied = step.applied[number] if number < len(step.applied) else None
    piece = change.after or change.before
    return {
        "target": step.target,
        "verb": change.verb.value,
        "name": change.name,
        "agent": (piece.agent or None) if piece else None,
        "before": None if change.before is None else change.before.text,
        "after": None if change.after is None else change.after.text,
        "done": applied is not None and not applied.error,
        "error": (applied.error or None) if applied else None,
        "advice": (applied.advice or None) if applied else None,
    }


def _rhythm(agent: Agent) -> str:
    return f"cron {agent.policy.cron}" if agent.policy.cron else f"every {exact_duration(agent.policy.every)}"


def _slots(agent: Agent, roster: Roster, now: datetime) -> Iterator[datetime]:
    slot = now
    for _ in range(_NEXT):
        slot = next_slot(agent.policy, roster.timezone, slot)
        yield slot
