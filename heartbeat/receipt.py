"""What a beat's receipt says (rules S10, B2)."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from heartbeat import __version__
from heartbeat.actions import Carried
from heartbeat.observation import Observation
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import current_slot, rhythm_text
from heartbeat.store.port import Entry, Outcome, Receipt
from heartbeat.systems.base import Rejected, SourceReport
from heartbeat.worklist import Worklist


def beat_receipt(
    observation: Observation,
    agent: Agent,
    own: Worklist,
    started: datetime,
    ended: datetime,
    reasons: tuple[str, ...] = (),
    dispatch: Mapping[str, object] | None = None,
) -> Receipt:
    """The receipt of a beat that came to its end. `reasons` say what was done and what was left, `dispatch` what was
    decided about starting the agent (rule X1)."""
    seen = observation.sweep
    return _receipt(
        observation.roster,
        agent,
        started,
        ended,
        outcome="degraded" if seen.degraded else "done",
        sources=tuple(source_line(report, seen.age(report.source)) for report in seen.reports),
        buckets=own.buckets,
        rejected=tuple(_raw(rejected) for reading in seen.readings.values() for rejected in reading.rejected),
        reasons=reasons,
        dispatch=dispatch,
        level=observation.degradation.level.value,
        level_reasons=observation.degradation.reasons,
    )


def failure_receipt(roster: Roster, agent: Agent, started: datetime, ended: datetime, error: BaseException) -> Receipt:
    """The receipt of a beat that ended with an error."""
    reason = f"{type(error).__name__}: {error}"
    told = (reason,)
    return _receipt(roster, agent, started, ended, outcome="failed", reasons=told, level="L3", level_reasons=told)


def interruption_receipt(
    roster: Roster, agent: Agent, started: datetime, ended: datetime, error: BaseException
) -> Receipt:
    """The receipt of a beat that was ended from outside before it was done. It answers no slot: the next one does."""
    reason = f"ended by {_ender(error)} before it was done; the next beat takes its place"
    receipt = _receipt(roster, agent, started, ended, outcome="interrupted", reasons=(reason,))
    return replace(receipt, slot=None)


def _ender(error: BaseException) -> str:
    code = error.code if isinstance(error, SystemExit) else None
    if not isinstance(code, int):
        return "Ctrl-C" if isinstance(error, KeyboardInterrupt) else "its own program"
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}"


def source_line(report: SourceReport, age: float | None) -> dict[str, object]:
    """What a receipt keeps of a source's report."""
    return {
        "name": report.source,
        "status": report.status.value,
        "transport": report.transport,
        "kind": report.kind.value if report.kind else None,
        "message": report.message,
        "items": report.items,
        "age_seconds": age,
        "agents": list(report.agents),
    }


def extended(observation: Observation, own: Worklist) -> Iterator[str]:
    """The tasks whose runtime limit was extended, since there is progress: that is on record (rule T4)."""
    for standing in own.standings:
        stall = observation.judgement.stalls.get(standing.task.key)
        if stall is not None and stall.extended:
            yield f"{standing.task.items[0].key}: {stall.reasons[-1]}"


def done_for(agent: Agent, carried: Carried) -> Iterator[str]:
    """What this tick did to the agent's tasks."""
    for entry in (*carried.done, *carried.conflicts, *carried.later, *carried.dead):
        if entry.payload.get("owner", ["", ""])[1] == agent.id:
            yield told_of_write(entry)


def told_of_write(entry: Entry) -> str:
    """What a receipt says of a write."""
    operation = str(entry.payload.get("write", {}).get("operation", "write"))
    return f"{operation} {entry.task}: {entry.state.value}"


def _receipt(
    roster: Roster,
    agent: Agent,
    started: datetime,
    ended: datetime,
    *,
    outcome: Outcome,
    sources: tuple[Mapping[str, object], ...] = (),
    buckets: Mapping[str, int] | None = None,
    rejected: tuple[Mapping[str, object], ...] = (),
    reasons: tuple[str, ...] = (),
    dispatch: Mapping[str, object] | None = None,
    level: str = "",
    level_reasons: tuple[str, ...] = (),
) -> Receipt:
    return Receipt(
        id=uuid.uuid4().hex,
        agent=agent.id,
        slot=current_slot(agent.policy, roster.timezone, started),
        started_at=started,
        ended_at=ended,
        outcome=outcome,
        degraded=outcome != "done",
        sources=sources,
        buckets=dict(buckets or {}),
        rejected=rejected,
        reasons=reasons,
        version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
        dispatch=dict(dispatch or {}),
        level=level,
        level_reasons=level_reasons,
        rhythm=rhythm_text(agent.policy, roster.timezone),
    )


def _raw(rejected: Rejected) -> dict[str, object]:
    return {"source": rejected.source, "id": rejected.id, "reason": rejected.reason, "raw": rejected.raw}
