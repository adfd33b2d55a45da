"""Situations of one agent, for the decision whether a turn is started: real standings, and everything else in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from heartbeat.attempt import Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome
from heartbeat.policy import ParentRule, Policy
from heartbeat.rules.dispatching import Situation
from heartbeat.task import Item, Presence, Ref
from heartbeat.worklist import Sight, Standing, assess, worklist
from tests.support.items import NOW, SOURCES
from tests.support.rosters import CLASS_POLICIES

OPENCLAW: Policy = replace(CLASS_POLICIES["high_frequency"], dispatch="openclaw")
MULTICA: Policy = replace(OPENCLAW, dispatch="multica")
NONE: Policy = replace(OPENCLAW, dispatch="none")
MINUTE = timedelta(minutes=1)


def standings(items: Sequence[Item], incomplete: Sequence[str] = (), agent: str = "coo") -> tuple[Standing, ...]:
    """The agent's standings in the order of work, as a beat makes them."""
    assessment = assess(
        Sight(tuple(items), SOURCES, incomplete=frozenset(incomplete)), now=NOW, parent_rule=ParentRule.STARTED
    )
    return worklist(assessment, agent).standings


def situation(*items: Item, **changes: Any) -> Situation:
    """All sources read, nobody at work, nothing in the way. Keywords are fields of Situation."""
    fields: dict[str, Any] = {
        "now": NOW,
        "agent": "coo",
        "policy": OPENCLAW,
        "standings": standings(items, changes.get("incomplete", ())),
        "in_use": frozenset(SOURCES),
    }
    for name in ("in_use", "incomplete", "presence_unknown", "unknown_ids", "touched", "ended"):
        if name in changes:
            changes[name] = frozenset(changes[name])
    return Situation(**{**fields, **changes})


def attempt(number: int, *refs: Ref, agent: str = "coo", **changes: Any) -> Attempt:
    """An attempt that goes on."""
    fields: dict[str, Any] = {
        "id": f"hb-{number:032x}",
        "task": str(refs[0]) if refs else "workboard:gone",
        "refs": refs,
        "title": "",
        "agent": agent,
        "number": number,
        "engine": Engine.OPENCLAW,
        "provider": "native",
        "planned_at": NOW - MINUTE,
        "life": Life.RUNNING,
        "accepted_at": NOW - MINUTE,
    }
    return Attempt(**{**fields, **changes})


def failed(number: int, *refs: Ref, cause: Cause = Cause.COUNTS, **changes: Any) -> Attempt:
    """An attempt that ended badly."""
    ended = {"life": Life.ENDED, "outcome": Outcome.FAILED, "ended_at": NOW - MINUTE, "cause": cause}
    return attempt(number, *refs, **{**ended, **changes})


def letter(number: int, *refs: Ref, due: datetime = NOW, **changes: Any) -> DeadLetter:
    """A dead letter that waits."""
    fields: dict[str, Any] = {
        "id": f"letter-{number}",
        "task": str(refs[0]),
        "refs": refs,
        "title": "",
        "agent": "coo",
        "created_at": NOW - 5 * MINUTE,
        "due_at": due,
        "error": "",
        "state": LetterState.WAITING,
    }
    return DeadLetter(**{**fields, **changes})


def at_work(agent: str = "coo", ref: Ref | None = None, name: str = "agent:coo:main") -> Presence:
    """A turn that goes on."""
    return Presence(agent, True, NOW, name, ref)
