"""Launches and orders for tests of schedules, with paths that are nobody's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heartbeat.install.base import Order, Style
from heartbeat.policy import anchor_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.launch import Launch
from tests.support.rosters import make_agent, make_roster

ROSTER = Path("/etc/heartbeat/agents.yaml")
STATE = Path("/var/lib/heartbeat")
"""Nothing is made there: tests that write put a directory of their own in its place."""


def anchored(agent: Agent) -> Agent:
    """With the anchor that a roster gives it."""
    policy = agent.policy
    return replace(agent, policy=replace(policy, anchor=anchor_of(agent.id, policy.every)))


def team(*agents: Agent, **changes: object) -> Roster:
    """A roster of these agents (coo and writer where none is given), which names its state directory."""
    chosen = agents or (make_agent("coo", "high_frequency", patrol=True), make_agent("writer"))
    return make_roster(*map(anchored, chosen), **{"path": ROSTER, "state": STATE, **changes})


def make_launch(state: Path | None = None, environment_file: Path | None = None, roster: Path = ROSTER) -> Launch:
    path = "/usr/local/bin:/usr/bin:/bin"
    return Launch(("/usr/local/bin/heartbeat",), roster, state or STATE, path, environment_file)


def order(
    roster: Roster | None = None,
    style: Style = Style.DUE,
    agents: Sequence[str] = (),
    *,
    launch: Launch | None = None,
    beats: bool = True,
    watchdog: bool = True,
) -> Order:
    return Order(roster or team(), launch or make_launch(), style, tuple(agents), beats, watchdog)
