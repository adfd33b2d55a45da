"""Rosters built by hand for tests: the defaults of rule R3, any field replaced by keyword."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.policy import Policy, Recovery
from heartbeat.roster.model import Agent, Operator, Roster

CLASS_LABELS = {"high_frequency": "高频 Agent", "developer": "开发 Agent", "business": "业务 Agent"}

_SHARED: dict[str, Any] = {"cron": None, "recovery": Recovery.ACT, "dispatch": "none", "require_output": False}

CLASS_POLICIES = {
    "high_frequency": Policy(
        every=timedelta(minutes=10),
        suspect_after=timedelta(minutes=20),
        recover_after=timedelta(minutes=30),
        runtime_limit=timedelta(minutes=60),
        dependency_wait=timedelta(hours=1),
        max_rounds=50,
        notify=("coo",),
        **_SHARED,
    ),
    "developer": Policy(
        every=timedelta(minutes=15),
        suspect_after=timedelta(minutes=30),
        recover_after=timedelta(minutes=45),
        runtime_limit=timedelta(minutes=120),
        dependency_wait=timedelta(hours=2),
        max_rounds=100,
        notify=("coo", "creator"),
        **_SHARED,
    ),
    "business": Policy(
        every=timedelta(minutes=15),
        suspect_after=timedelta(minutes=30),
        recover_after=timedelta(minutes=45),
        runtime_limit=timedelta(minutes=90),
        dependency_wait=timedelta(hours=2),
        max_rounds=30,
        notify=("creator",),
        **_SHARED,
    ),
}


def make_agent(id: str = "writer", class_id: str = "business", **changes: Any) -> Agent:  # noqa: A002 - the field's name
    """An agent of a class. Keywords are fields of `Agent` or of its `Policy`; a policy field goes to the policy."""
    of_policy = {name: changes.pop(name) for name in tuple(changes) if name in Policy.__slots__}
    fields: dict[str, Any] = {
        "name": id,
        "class_label": CLASS_LABELS.get(class_id, class_id),
        "policy": replace(CLASS_POLICIES.get(class_id, CLASS_POLICIES["business"]), **of_policy),
        **changes,
    }
    return Agent(id=id, class_id=class_id, **fields)


def make_coo(**changes: Any) -> Agent:
    """The team's watcher: patrols, and is told about itself by itself."""
    fields: dict[str, Any] = {
        "name": "陆怀瑾",
        "multica_id": "1c38b437-b54d-4784-bda3-29ce4c8a6722",
        "patrol": True,
        "notify": ("self",),
        "checks": ("资源负载均衡检查", "风险识别与预警"),
        **changes,
    }
    return make_agent("coo", "high_frequency", **fields)


def make_roster(*agents: Agent, **changes: Any) -> Roster:
    """A roster of these agents (a COO alone where none is given). Keywords are fields of `Roster`."""
    fields: dict[str, Any] = {
        "path": Path("/rosters/agents.yaml"),
        "timezone": "Asia/Shanghai",
        "operator": Operator(name="Vincent"),
        "sources": {"workboard": {}, "multica": {}, "todo": {}},
        **changes,
    }
    return Roster(agents={agent.id: agent for agent in agents or (make_coo(),)}, **fields)
