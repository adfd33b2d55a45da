"""For whom a tick acts: those that beat, and with a patrol among them whoever is silent (rule L0)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from heartbeat.instants import CLOCK_SKEW
from heartbeat.observation import Observation
from heartbeat.plan import Acting
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import current_slot

_TICK = timedelta(microseconds=1)


def acting(observation: Observation, agents: Sequence[str]) -> Acting:
    """For whom a tick of these agents acts (rule L0)."""
    roster, judgement = observation.roster, observation.judgement
    beats = judgement.memory.beats
    silent = frozenset(
        agent.id
        for agent in roster.agents.values()
        if agent.id not in agents
        and (
            agent.id not in beats
            or not slot_before(agent, roster, judgement.now) <= beats[agent.id] <= judgement.now + CLOCK_SKEW
        )
    )
    patrol = any(roster.agents[agent].patrol for agent in agents)
    return Acting(frozenset(agents), patrol, silent)


def slot_before(agent: Agent, roster: Roster, now: datetime) -> datetime:
    """The last slot but one: who left no receipt since has missed two (rule L0)."""
    current = current_slot(agent.policy, roster.timezone, now)
    return current_slot(agent.policy, roster.timezone, current - _TICK)
