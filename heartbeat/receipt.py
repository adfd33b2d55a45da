"""What a beat's receipt says (rules S10, B2)."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from datetime import datetime

from heartbeat import __version__
from heartbeat.observation import Observation
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import current_slot
from heartbeat.store.port import Outcome, Receipt
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
    }


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
    )


def _raw(rejected: Rejected) -> dict[str, object]:
    return {"source": rejected.source, "id": rejected.id, "reason": rejected.reason, "raw": rejected.raw}
