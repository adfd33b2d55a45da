"""What waits for a decision after heartbeat stopped it: told apart from other blocked work (rules L2, L3, C2). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heartbeat.memory import Incident, Rounds, Stage
from heartbeat.policy import Charter
from heartbeat.task import Ref, Status, Task

_COO = "coo"


@dataclass(frozen=True, slots=True)
class Attention:
    """A task that heartbeat blocked itself, and why. `incident` is empty where its rounds were used up."""

    task: Task
    reason: str
    incident: str = ""


def attention(
    tasks: Iterable[Task], incidents: Iterable[Incident], rounds: Mapping[Ref, Rounds]
) -> tuple[Attention, ...]:
    """Every blocked task of ours, in the order of the tasks: to be reassigned, split or unblocked."""
    open_incidents = {
        ref: incident
        for incident in incidents
        if incident.stage in (Stage.RECOVERED, Stage.LEFT_ALONE)
        for ref in incident.refs
    }
    found = []
    for task in tasks:
        if task.status is not Status.BLOCKED or task.closed:
            continue
        incident = next((open_incidents[ref] for ref in task.refs if ref in open_incidents), None)
        if incident is not None:
            often = f", the {incident.number}. time in a row" if incident.number > 1 else ""
            found.append(Attention(task, f"blocked by heartbeat after a stall{often}", incident.id))
        elif any((row := rounds.get(ref)) and row.paused_at for ref in task.refs):
            found.append(Attention(task, "paused by heartbeat: its rounds are used up"))
    return tuple(found)


def decides(charter: Charter) -> frozenset[str]:
    """Whose worklists show it: the COO's, or those of the patrol agents where there is no COO."""
    return frozenset({_COO}) if _COO in charter.members else frozenset(charter.patrols)
