"""What OpenClaw's own scheduler is told: one automation an agent (contract 4). Pure.

A definition has the shape in which the Gateway keeps it, cut down to what heartbeat decides. The rest is the
operator's: the model, fallbacks, thinking, tools and time limit of a turn, a display name, who hears of failures.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Set
from datetime import timedelta
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from heartbeat.deadline import LONGEST_BEAT
from heartbeat.policy import Policy
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.rhythm import EACH_MINUTE, NAMES, cron_fields, goes_round
from heartbeat.schedule.surroundings import surroundings

Definition = Mapping[str, Any]
"""What heartbeat decides of one automation, as plain JSON data."""

PREFIX = "hb:"
"""How our declaration keys begin. `heartbeat:` is OpenClaw's own, and refused (contract 4)."""

_SHARE_OF_EVERY = 0.5
"""Of the time from beat to beat, what a beat may take at most (rule B1)."""
_GRACE = timedelta(minutes=1)
"""To start and to end in. The Gateway kills only what has outlived its own deadline, and itself."""

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_UTC = frozenset({timedelta(0)})

_DECIDED = (
    "declarationKey",
    "agentId",
    "name",
    "description",
    "enabled",
    "schedule",
    "sessionTarget",
    "wakeMode",
    "payload",
    "delivery",
    "trigger",
    "pacing",
    "sessionKey",
    "deleteAfterRun",
)
"""The last four are never wanted: a condition, a changing pace, somebody's session or an end would silence beats."""

_CLEARED: Mapping[str, Any] = {"trigger": None, "pacing": None, "sessionKey": None, "deleteAfterRun": False}
"""What `cron.update` takes to be rid of each of them."""

_OPERATORS: Mapping[str, frozenset[str]] = {
    "agentTurn": frozenset(
        {
            "model",
            "fallbacks",
            "thinking",
            "timeoutSeconds",
            "toolsAllow",
            "toolsAllowIsDefault",
            "allowUnsafeExternalContent",
        }
    ),
}
"""By kind of payload, what stays as the operator set it."""
_OPERATORS_DELIVERY = frozenset({"failureDestination"})

_STEP = r"\*(?:/\d+)?|V(?:-V(?:/\d+)?)?".replace("V", rf"(?:\d+|{NAMES})")
_PLAIN = re.compile(rf"(?:(?:{_STEP})(?:,(?:{_STEP}))*(?: |\Z)){{5}}", re.ASCII | re.IGNORECASE)
"""Five fields of values, ranges and steps. `5/15` is not among them, which OpenClaw refuses."""

_TEAM = ", with the whole team"
_DESCRIBED = re.compile(rf"(?P<team>{_TEAM})? \(roster (?P<path>/[^\n]*)\)\Z")


def key_of(agent: str) -> str:
    """The declaration key of an agent's automation. Beats and turns share it: an agent has one of them, never both."""
    return PREFIX + agent


def beat_definition(
    agent: Agent, roster: Roster, launch: Launch, *, everybody: bool, offsets: Set[timedelta]
) -> Definition:
    """The agent's beats at its slots: a command, which calls no model.

    Where OpenClaw cannot say the slots exactly the command looks each minute whether one has come. `everybody` is
    written down in the definition: it was installed with whoever else the roster has. `offsets` are those that the
    roster's time zone has from UTC in the course of the year.
    """
    schedule = _exact(agent.policy, roster.timezone, offsets)
    argv = launch.beat(agent.id)
    if schedule is None and agent.policy.every >= _MINUTE:
        schedule, argv = _at(EACH_MINUTE), launch.due((agent.id,))
    payload = {
        "kind": "command",
        "argv": list(argv),
        "cwd": str(launch.roster.parent),
        "env": dict(surroundings(launch, roster)),
        "timeoutSeconds": _patience(agent.policy),
    }
    return _definition(agent, launch, "beats", everybody, schedule or _about(agent.policy), payload)


def turn_definition(
    agent: Agent, roster: Roster, launch: Launch, *, everybody: bool, offsets: Set[timedelta]
) -> Definition:
    """One turn of the agent at each of its slots, in a session of its own: a model call every time."""
    command = shlex.join(launch.command("worklist", agent.id, "--format", "md"))
    message = (
        f"心跳。请运行下面的命令，按它列出的顺序推进你的任务：\n\n{command}\n\n"
        "命令无法运行时，改为阅读工作区里的 HEARTBEAT.md 并照做。没有任务就只回复 NO_REPLY，不要找别的事做。"
    )
    schedule = _exact(agent.policy, roster.timezone, offsets)
    if schedule is None and agent.policy.cron is not None:
        schedule = _at(agent.policy.cron, roster.timezone)
    payload = {"kind": "agentTurn", "message": message, "lightContext": True}
    return _definition(agent, launch, "turns", everybody, schedule or _about(agent.policy), payload)


def _definition(
    agent: Agent,
    launch: Launch,
    what: str,
    everybody: bool,
    schedule: Mapping[str, Any],
    payload: Mapping[str, Any],
) -> Definition:
    team = _TEAM if everybody else ""
    return {
        "declarationKey": key_of(agent.id),
        "agentId": agent.id,
        "name": f"hb-{agent.id}",
        "description": f"heartbeat: {what} of {agent.id}{team} (roster {launch.roster})",
        "enabled": True,
        "schedule": schedule,
        "sessionTarget": "isolated",
        "wakeMode": "now",
        "payload": payload,
        "delivery": {"mode": "none"},
    }


def _exact(policy: Policy, timezone: str, offsets: Set[timedelta]) -> Mapping[str, Any] | None:
    """OpenClaw's `schedule` that names exactly the slots (rule B2); None where there is none.

    Always an expression: of its own `every` OpenClaw counts the next run from the start of the last one, so that it
    comes later and later, and stays late for good after a break. `every` is said in UTC, which has no summer.
    """
    if policy.cron is not None:
        return _at(policy.cron, timezone) if _is_read_alike(policy.cron, offsets) else None
    expression = cron_fields(policy, _UTC, _UTC) or _fields_with_seconds(policy)
    return None if expression is None else _at(expression)


def _at(expression: str, timezone: str = "UTC") -> Mapping[str, Any]:
    """Without the five minutes over which OpenClaw scatters full hours."""
    return {"kind": "cron", "expr": expression, "tz": timezone, "staggerMs": 0}


def _about(policy: Policy) -> Mapping[str, Any]:
    """OpenClaw's own interval: it begins at a slot, falls behind, and never comes early."""
    return {"kind": "every", "everyMs": policy.every // _MILLISECOND, "anchorMs": policy.anchor // _MILLISECOND}


def _is_read_alike(cron: str, offsets: Set[timedelta]) -> bool:
    """Whether OpenClaw means by an expression what heartbeat means: where no clock is ever changed, where there are no
    letters but names, no range goes round (22-6), and days of month and of week are not both given."""
    _, _, day_of_month, _, day_of_week = cron.split()
    plain = _PLAIN.fullmatch(cron) is not None and "*" in (day_of_month, day_of_week)
    return plain and not goes_round(cron) and len(offsets) == 1


def _fields_with_seconds(policy: Policy) -> str | None:
    """Six fields, the first of which is the second, for what comes several times a minute."""
    every, anchor = policy.every, policy.anchor
    if every % _SECOND or anchor % _SECOND or _MINUTE % every:
        return None
    first, step = anchor // _SECOND, every // _SECOND
    seconds = "*" if step == 1 else f"{first}-59/{step}"
    return f"{seconds} * * * * *"


def _patience(policy: Policy) -> int:
    """Seconds that a beat may take before the Gateway kills it: its own deadline, and a minute."""
    own = min(policy.every * _SHARE_OF_EVERY, timedelta(seconds=LONGEST_BEAT))
    return ceil((own + _GRACE).total_seconds())


def definition_of(job: Mapping[str, Any]) -> Definition:
    """What heartbeat decides of an automation that the Gateway has. Where OpenClaw has switched it off by itself,
    `enabled` says so, in words."""
    found = {name: job[name] for name in _DECIDED if job.get(name) is not None}
    if found.get("deleteAfterRun") is False:
        del found["deleteAfterRun"]
    stopped = _stopped(job)
    if stopped:
        found["enabled"] = stopped
    payload, delivery = found.get("payload"), found.get("delivery")
    if isinstance(payload, Mapping):
        found["payload"] = {name: value for name, value in payload.items() if name not in _operators_of(payload)}
    if isinstance(delivery, Mapping):
        found["delivery"] = {name: value for name, value in delivery.items() if name not in _OPERATORS_DELIVERY}
    return found


def _stopped(job: Mapping[str, Any]) -> str:
    """How OpenClaw switched an automation off by itself, which it does after ten failures in a row (contract 4)."""
    state = job.get("state")
    stop = state.get("autoDisabled") if isinstance(state, Mapping) else None
    if job.get("enabled") is not False or not isinstance(stop, Mapping):
        return ""
    return f"switched off by OpenClaw after {stop.get('consecutiveErrors')} {stop.get('reason')}"


def _operators_of(payload: Mapping[str, Any]) -> frozenset[str]:
    return _OPERATORS.get(str(payload.get("kind")), frozenset())


def is_switched_off(definition: Definition) -> bool:
    """Whether somebody switched the automation off by hand."""
    return definition.get("enabled") is False


def is_of_everybody(definition: Definition) -> bool:
    """Whether it was installed for whoever the roster has, and not for agents that were named."""
    described = _DESCRIBED.search(str(definition.get("description")))
    return described is not None and described["team"] is not None


def noted(definition: Definition, everybody: bool) -> Definition:
    """The same, with the note whether it was installed for everybody; as it is where somebody else has described it."""
    described = _DESCRIBED.search(str(definition.get("description")))
    if described is None:
        return definition
    before, team = str(definition["description"])[: described.start()], _TEAM if everybody else ""
    return {**definition, "description": f"{before}{team} (roster {described['path']})"}


def is_turn(definition: Definition) -> bool:
    """Whether it is a turn of the agent, and not a beat."""
    payload = definition.get("payload")
    return isinstance(payload, Mapping) and payload.get("kind") == "agentTurn"


def agent_of(key: str) -> str:
    """The agent whose declaration key this is."""
    return key.removeprefix(PREFIX)


def text_of(definition: Definition) -> str:
    """A definition as text that is equal where the definitions are."""
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False)


def read_text(text: str) -> Definition:
    """The definition that `text_of` wrote."""
    definition: dict[str, Any] = json.loads(text)
    return definition


def patch_of(wanted: Definition, standing: Definition) -> Mapping[str, Any]:
    """What `cron.update` needs to be told so that `standing` becomes `wanted`."""
    changed = {name: value for name, value in wanted.items() if name in _PATCHED and standing.get(name) != value}
    cleared = {name: value for name, value in _CLEARED.items() if name in standing and name not in wanted}
    return {**changed, **cleared}


_PATCHED = frozenset(_DECIDED) - {"declarationKey"}
"""The key itself cannot be changed."""


def declaration_of(wanted: Definition, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `cron.add` needs to be told so that the automation `job` loses all that is left over in its payload and
    delivery, and keeps what the operator set."""
    declared = {**wanted, "payload": dict(wanted["payload"])}
    standing, given = job.get("payload"), job.get("delivery")
    if isinstance(standing, Mapping) and standing.get("kind") == wanted["payload"]["kind"]:
        kept = _operators_of(standing)
        declared["payload"] |= {name: value for name, value in standing.items() if name in kept}
    if isinstance(given, Mapping) and "delivery" in wanted:
        also = {name: value for name, value in given.items() if name in _OPERATORS_DELIVERY}
        declared["delivery"] = {**wanted["delivery"], **also}
    return {**declared, "displayName": job["displayName"]} if job.get("displayName") else declared


def is_ours(job: Mapping[str, Any]) -> bool:
    """Whether an automation has a key of the kind that heartbeat gives, whichever roster it is of."""
    key = job.get("declarationKey")
    return isinstance(key, str) and key.startswith(PREFIX)


def rosters_of(job: Mapping[str, Any]) -> frozenset[Path]:
    """The rosters that an automation of ours names: in its description, in its command, in its message.

    More than one only where somebody edited it. Roster and agent tell it from those of another roster on the same
    Gateway.
    """
    payload = job.get("payload")
    payload = payload if isinstance(payload, Mapping) else {}
    described = _DESCRIBED.search(str(job.get("description") or ""))
    named = [described["path"]] if described else []
    argv = payload.get("argv")
    words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
    for line in (words, *map(_split, str(payload.get("message") or "").splitlines())):
        named += [path for option, path in pairwise(line) if option == "--roster"]
    return frozenset(map(Path, named))


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []  # prose with an apostrophe in it
