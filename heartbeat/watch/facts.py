"""What the watchdog keeps of the last good roster, so that beats are watched and people told while it is broken. Pure.

Names of variables are kept and no secret: as the roster itself has them (rule R4).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.policy import Policy, Recovery
from heartbeat.roster.model import Agent, Operator, Roster

_GATEWAY = ("url", "token_env", "binary")
"""What a channel through OpenClaw takes from the source `workboard`."""


def encode(roster: Roster, state: Path) -> dict[str, Any]:
    """Plain JSON of what has to outlast the roster; `state` is the directory that its beats use."""
    board = roster.sources.get("workboard", {})
    return {
        "roster": str(roster.path),
        "state": str(state),
        "timezone": roster.timezone,
        "operator": {"name": roster.operator.name, "notify": list(roster.operator.notify)},
        "agents": {agent.id: _encode_agent(agent) for agent in roster.agents.values()},
        "channels": {name: _plain(settings) for name, settings in roster.channels.items()},
        "gateway": {key: board[key] for key in _GATEWAY if board.get(key)},
        "watchdog": _plain(roster.extra.get("watchdog", {})),
    }


def decode(path: Path, facts: Mapping[str, Any]) -> Roster:
    """A roster with which to watch and to tell, and nothing else. Raises ValueError, TypeError or LookupError for what
    `encode` never made."""
    watchdog = dict(facts["watchdog"])
    watchdog["grace"] = timedelta(seconds=float(watchdog["grace"]))
    watchdog["notify"] = tuple(map(str, watchdog["notify"]))
    operator = facts["operator"]
    return Roster(
        path=path,
        timezone=str(facts["timezone"]),
        operator=Operator(str(operator["name"]), tuple(map(str, operator["notify"]))),
        agents={str(name): _decode_agent(str(name), told) for name, told in facts["agents"].items()},
        sources={"workboard": dict(facts["gateway"])},
        state=Path(facts["state"]),
        channels={str(name): dict(settings) for name, settings in facts["channels"].items()},
        extra={"watchdog": watchdog},
    )


def rhythm(policy: Policy, timezone: str) -> str:
    """What decides an agent's slots, as one text: another one means that other beats are expected from now on."""
    if policy.cron is not None:
        return f"{policy.cron} {timezone}"
    return f"{policy.every.total_seconds():g}+{policy.anchor.total_seconds():g}"


def _encode_agent(agent: Agent) -> dict[str, Any]:
    policy = agent.policy
    return {
        "name": agent.name,
        "patrol": agent.patrol,
        "every": policy.every.total_seconds(),
        "anchor": policy.anchor.total_seconds(),
        "cron": policy.cron,
    }


def _decode_agent(name: str, told: Mapping[str, Any]) -> Agent:
    every = timedelta(seconds=float(told["every"]))
    if every <= timedelta(0):
        raise ValueError(f"{name} beats every {every}")
    policy = Policy(
        every=every,
        cron=None if told["cron"] is None else str(told["cron"]),
        anchor=timedelta(seconds=float(told["anchor"])),
        # Nothing below matters to whoever only watches the beats.
        suspect_after=every,
        recover_after=every,
        runtime_limit=every,
        dependency_wait=every,
        max_rounds=1,
        notify=(),
        recovery=Recovery.OBSERVE,
        dispatch="none",
        require_output=False,
    )
    return Agent(name, str(told["name"]), "", "", policy, patrol=bool(told["patrol"]))


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _value(value) for key, value in settings.items()}


def _value(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple | list):
        return [_value(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
