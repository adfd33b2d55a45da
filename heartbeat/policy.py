"""The numbers and choices that the rules work with: what remains of a roster without its paths and addresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class ParentRule(StrEnum):
    """What a Multica parent issue means for its children (rule D2)."""

    STARTED = "started"
    STRICT = "strict"
    OFF = "off"


class Recovery(StrEnum):
    """How far the ladder may go by itself (rule R3a)."""

    OBSERVE = "observe"
    NOTIFY = "notify"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers an agent lives by: its class's, with the agent's own on top (rule R3)."""

    every: timedelta
    cron: str | None
    """A cron expression that replaces `every`, in the roster's time zone."""
    suspect_after: timedelta
    recover_after: timedelta
    runtime_limit: timedelta
    dependency_wait: timedelta
    max_rounds: int
    notify: tuple[str, ...]
    recovery: Recovery
    dispatch: str
    require_output: bool
