"""The three classes that every roster knows, with the defaults of rule R3, and who overrides whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heartbeat.roster.schema import PolicySection

_MINUTE = timedelta(minutes=1)

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "high_frequency": {
        "label": "高频 Agent",
        "every": 10 * _MINUTE,
        "suspect_after": 20 * _MINUTE,
        "recover_after": 30 * _MINUTE,
        "runtime_limit": 60 * _MINUTE,
        "dependency_wait": 60 * _MINUTE,
        "max_rounds": 50,
        "notify": ("coo",),
    },
    "developer": {
        "label": "开发 Agent",
        "every": 15 * _MINUTE,
        "suspect_after": 30 * _MINUTE,
        "recover_after": 45 * _MINUTE,
        "runtime_limit": 120 * _MINUTE,
        "dependency_wait": 120 * _MINUTE,
        "max_rounds": 100,
        "notify": ("coo", "creator"),
    },
    "business": {
        "label": "业务 Agent",
        "every": 15 * _MINUTE,
        "suspect_after": 30 * _MINUTE,
        "recover_after": 45 * _MINUTE,
        "runtime_limit": 90 * _MINUTE,
        "dependency_wait": 120 * _MINUTE,
        "max_rounds": 30,
        "notify": ("creator",),
    },
}

NEEDED = ("every", "suspect_after", "recover_after", "runtime_limit", "dependency_wait", "max_rounds", "notify")
"""What a class of another name must say itself."""

SETTINGS = (*NEEDED, "cron", "recovery", "dispatch", "require_output")
"""What a class says and an agent may say otherwise."""


def class_values(class_id: str, section: PolicySection | None) -> dict[str, Any]:
    """A class's settings: the built-in ones, if there are any, with what the roster says on top."""
    return {**BUILT_IN.get(class_id, {}), **_given(section)}


def agent_values(of_class: Mapping[str, Any], section: PolicySection) -> dict[str, Any]:
    """An agent's settings: its class's with its own on top. Its own `every` also replaces its class's `cron`."""
    own = _given(section)
    inherited = {name: value for name, value in of_class.items() if not (name == "cron" and "every" in own)}
    return {**inherited, **own}


def _given(section: PolicySection | None) -> dict[str, Any]:
    values = {name: getattr(section, name, None) for name in SETTINGS}
    return {name: value for name, value in values.items() if value is not None}
