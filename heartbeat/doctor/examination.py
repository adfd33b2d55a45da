"""Everything looked at, in one go, and the level that follows from it (rule G1). All I/O is in the parts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heartbeat import __version__
from heartbeat.doctor.agents import check_agent
from heartbeat.doctor.check import Check, Known, Level
from heartbeat.doctor.disk import check_disk, check_witness
from heartbeat.doctor.instructions import check_instructions
from heartbeat.doctor.people import check_people
from heartbeat.doctor.schedules import on_schedule
from heartbeat.doctor.sources import check_source
from heartbeat.doctor.state import check_state
from heartbeat.doctor.turns import check_turns, check_what_is_left
from heartbeat.roster.model import Roster
from heartbeat.rules.degradation import Degradation, level_of, needed
from heartbeat.schedule.launch import Launch
from heartbeat.sinks.survey import SOURCE
from heartbeat.store.port import Store
from heartbeat.systems.base import Deadline, ReadStatus
from heartbeat.systems.registry import source_order
from heartbeat.watch.overall import Watching


@dataclass(frozen=True, slots=True)
class Examination:
    """Every check, in the order in which to read them, and the level that follows from them (rule G1)."""

    checks: tuple[Check, ...]
    degradation: Degradation


def examine(
    roster: Roster,
    environment: Mapping[str, str],
    state: Path,
    open_store: Callable[[], Store],
    *,
    launch: Callable[[], Launch],
    watching: Callable[[], Watching],
    command: str,
    patience: float,
    on_progress: Callable[[str], None],
    now: datetime,
) -> Examination:
    """Tries everything. `patience` is seconds for each source; `command` is what to type for `heartbeat` with this
    roster; `launch` is how a scheduler starts it (raises UsageError), `watching` what a watchdog has left.
    """
    checks = [_program()]
    told = Known()
    checks.extend(check_state(state, roster, open_store, command, told, now))
    checks.extend(check_disk(state, told))
    on_progress("asking the schedulers …")
    scheduled = on_schedule(roster, launch, environment)
    checks.extend(check_witness(state, scheduled))
    versions: dict[str, str] = {}
    for name in source_order(roster):
        on_progress(f"trying {name} …")
        checks.extend(check_source(name, roster, environment, Deadline.after(patience), versions, told))
    if not any(check.level is Level.OK for check in checks if check.area in roster.sources):
        nothing = "nothing can be read: what there is to do is not known"
        checks.append(Check("sources", "all", Level.FAILED, nothing, "mend one of the sources above"))
    reading, remarks = check_instructions(
        roster, versions.get(SOURCE), environment, state, command, Deadline.after(patience)
    )
    checks.extend(reading)
    in_multica = any(each.name == "multica" and each.status != ReadStatus.DISABLED for each in told.sources)
    for agent in roster.agents.values():
        checks.extend(check_agent(agent, remarks.get(agent.id, ()), in_multica=in_multica))
    starts_turns = any(agent.policy.dispatch != "none" for agent in roster.agents.values())
    if starts_turns:
        on_progress("looking whether turns could be started …")
        checks.extend(check_turns(roster, environment, Deadline.after(patience)))
        checks.extend(check_what_is_left(told, now))
    checks.extend(check_people(roster, state, environment, scheduled, watching(), now))
    degradation = level_of(
        told.sources,
        told.breakers if starts_turns else (),
        now,
        state_problem=told.problem,
        memory_lost=told.lost,
        engines=needed(agent.policy.dispatch for agent in roster.agents.values()),
    )
    return Examination(tuple(checks), degradation)


def _program() -> Check:
    return Check("program", "heartbeat", Level.OK, f"{__version__} on Python {platform.python_version()}")
