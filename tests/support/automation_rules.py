"""How the real Gateway takes, refuses, completes and merges the definitions of automations (contract 4). Pure."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

Json = dict[str, Any]

RESERVED = ("heartbeat-task:", "heartbeat:", "skill-collection-review:")
SYSTEM = ("heartbeat:", "skill-collection-review:")
MOST = 200
"""Automations in one answer of `cron.list`, runs in one of `cron.runs`."""
LABEL = 200
_TOP_OF_THE_HOUR_MS = 300_000

LIST = frozenset(
    {
        "agentId",
        "compact",
        "enabled",
        "includeDeliveryPreviews",
        "includeDisabled",
        "lastRunStatus",
        "limit",
        "offset",
        "query",
        "scheduleKind",
        "sessionAgentId",
        "sessionKey",
        "sortBy",
        "sortDir",
        "trigger",
    }
)
_OPTIONAL = frozenset({"agentId", "sessionKey", "description", "enabled", "deleteAfterRun"})
_SHAPE = frozenset(
    {"name", "displayName", "schedule", "pacing", "trigger", "sessionTarget", "wakeMode", "payload", "delivery"}
)
ADD = _OPTIONAL | _SHAPE | {"declarationKey", "owner", "failureAlert"}
PATCH = _OPTIONAL | _SHAPE | {"failureAlert", "state"}
RUNS = frozenset({"agentId", "id", "jobId", "limit", "offset", "query", "runId", "scope", "sortDir", "status"})
_SCHEDULES: Mapping[str, frozenset[str]] = {
    "at": frozenset({"kind", "at"}),
    "every": frozenset({"kind", "everyMs", "anchorMs"}),
    "cron": frozenset({"kind", "expr", "tz", "staggerMs"}),
}
_PAYLOADS: Mapping[str, frozenset[str]] = {
    "systemEvent": frozenset({"kind", "text", "toolsAllow"}),
    "agentTurn": frozenset(
        {"kind", "message", "model", "fallbacks", "thinking", "timeoutSeconds", "lightContext", "toolsAllow"}
    ),
    "command": frozenset(
        {
            "kind",
            "argv",
            "cwd",
            "env",
            "input",
            "timeoutSeconds",
            "noOutputTimeoutSeconds",
            "outputMaxBytes",
            "toolsAllow",
        }
    ),
}
_NO_SCHEDULE = (
    "at /schedule: must have required property 'at'; at /schedule/kind: must be equal to constant; "
    "at /schedule: must have required property 'everyMs'; at /schedule: must have required property 'expr'; "
    "at /schedule: must have required property 'command'"
)
_NO_PAYLOAD = (
    "at /payload: must have required property 'text'; at /payload: unexpected property 'argv'; "
    "at /payload/kind: must be equal to constant"
)
FINDABLE = (
    "List automations and retry with a current job id. For cross-session management, use a fresh authenticated "
    "configured channel owner or Control UI administrator turn or the Automations page."
)
_NO_TIMEZONE = (
    "CronDate: Failed to convert date to timezone '{0}'. This may happen with invalid timezone names or dates. "
    "Original error: toTZ: Invalid timezone '{0}' or date. Please provide a valid IANA timezone (e.g., "
    "'America/New_York', 'Europe/Stockholm'). Original error: Invalid time zone specified: {0}"
)
_NO_ROUTE = (
    "last -> no route, will fail-closed: Channel is required (no configured channels detected). Run openclaw channels "
    "add to configure one, or pass --channel <channel> after enabling a channel. Use openclaw channels list --all to "
    "see available channel ids. Set delivery.channel explicitly or use a main session with a previous channel."
)
OWNERLESS = (
    "Error: Agent-less cron job has no resolvable owner. Pass --agent <id> when creating or editing the job, or set "
    "agents.defaults.systemAgent.agentId."
)


class Refused(Exception):  # noqa: N818 - what the real one says, not a mistake of the fake
    """A refusal in the real one's words."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def closed(params: Mapping[str, Any], allowed: frozenset[str], method: str) -> None:
    """Refuses what the method does not know."""
    for name in params:
        if name not in allowed:
            raise invalid(method, f"at root: unexpected property '{name}'")


def identified(params: Mapping[str, Any], allowed: frozenset[str], method: str) -> Any:
    """The id among the parameters; refuses what the method does not know besides."""
    name = "id" if "id" in params or "jobId" not in params else "jobId"
    if name not in params:
        told = "must have required property 'id'; must have required property 'jobId'; must match a schema in anyOf"
        raise invalid(method, told)
    for other in params:
        if other not in allowed | {name}:
            raise invalid(method, f"at root: unexpected property '{other}'; {other_id(name)}")
    return params[name]


def next_run(schedule: Mapping[str, Any], now: int) -> int:
    """When the schedule is due next after `now`, in epoch milliseconds; a cron expression may have seconds first."""
    if schedule["kind"] == "every":
        anchor, every = schedule["anchorMs"], schedule["everyMs"]
        return int(anchor if now < anchor else anchor + ((now - anchor) // every + 1) * every)
    zone = ZoneInfo(schedule.get("tz") or "UTC")
    at = datetime.fromtimestamp(now // 1000, UTC).astimezone(zone)
    walk = croniter(schedule["expr"], at, second_at_beginning=len(schedule["expr"].split()) == 6)
    found: datetime = walk.get_next(datetime)
    return round(found.timestamp() * 1000)


def invalid(method: str, told: str) -> Refused:
    return Refused("INVALID_REQUEST", f"invalid {method} params: {told}")


def other_id(name: str) -> str:
    other = "jobId" if name == "id" else "id"
    return f"must have required property '{other}'; at root: unexpected property '{name}'; must match a schema in anyOf"


def between(params: Mapping[str, Any], name: str, least: int, most: int | None, method: str) -> None:
    value = params.get(name)
    if value is not None and value < least:
        raise invalid(method, f"at /{name}: must be >= {least}")
    if value is not None and most is not None and value > most:
        raise invalid(method, f"at /{name}: must be <= {most}")


def normal(params: Json, *, defaults: bool = True) -> Json:
    wanted = copy.deepcopy({name: value for name, value in params.items() if value is not None or not defaults})
    for name in ("name", "description"):
        if isinstance(wanted.get(name), str):
            wanted[name] = wanted[name].strip()
    if defaults:
        wanted.setdefault("wakeMode", "now")
        kind = wanted["payload"].get("kind")
        wanted.setdefault("sessionTarget", "main" if kind == "systemEvent" else "isolated")
        if wanted["sessionTarget"] != "main":
            wanted.setdefault("delivery", {"mode": "announce"})
    return wanted


def check_shapes(job: Mapping[str, Any], method: str) -> None:
    schedule, payload = job["schedule"], job["payload"]
    allowed = _SCHEDULES.get(schedule.get("kind"))
    needed = {"every": "everyMs", "cron": "expr", "at": "at"}.get(schedule.get("kind"), "")
    if allowed is None or needed not in schedule or set(schedule) - allowed:
        raise invalid(method, _NO_SCHEDULE)
    known = _PAYLOADS.get(payload.get("kind"))
    content = {"command": "argv", "agentTurn": "message", "systemEvent": "text"}.get(payload.get("kind"), "")
    if known is None or not payload.get(content) or set(payload) - known:
        raise invalid(method, _NO_PAYLOAD)
    if job["sessionTarget"] == "main" and payload["kind"] != "systemEvent":
        raise invalid(method, 'main cron jobs require payload.kind="systemEvent" or "script"')
    if schedule["kind"] == "cron":
        _check_expression(schedule, method)


def _check_expression(schedule: Mapping[str, Any], method: str) -> None:
    minute = schedule["expr"].split()[-5]
    if minute.isdigit() and int(minute) > 59:
        raise invalid(method, f"CronPattern: Invalid value for minute: {minute}")
    try:
        ZoneInfo(schedule.get("tz") or "UTC")
    except (KeyError, ValueError, OSError):
        raise invalid(method, _NO_TIMEZONE.format(schedule["tz"])) from None


def patched(job: Json, patch: Json) -> Json:
    """The record with what the patch says; payload and delivery are merged, null takes a field away."""
    changed = copy.deepcopy(job)
    payload, delivery = patch.pop("payload", None), patch.pop("delivery", None)
    patch.pop("state", None)
    for name, value in patch.items():
        if value is None or (name == "description" and value == ""):
            changed.pop(name, None)
        else:
            changed[name] = value
    if "schedule" in patch:
        if changed["schedule"]["kind"] == "every":
            changed["schedule"].setdefault("anchorMs", job["updatedAtMs"])
        stagger(changed["schedule"], job["schedule"])
    if payload is not None:
        given = {name: value for name, value in payload.items() if value is not None}
        standing = changed["payload"]
        same = standing["kind"] == payload.get("kind")
        kept = standing if same else {name: standing[name] for name in ("toolsAllow",) if name in standing}
        merged = {**kept, **given}
        changed["payload"] = {name: value for name, value in merged.items() if payload.get(name, value) is not None}
    allow_tools(changed, job)
    if delivery is not None:
        merged = {**changed.get("delivery", {}), **delivery}
        changed["delivery"] = {name: value for name, value in merged.items() if value is not None}
    return changed


def allow_tools(job: Json, before: Mapping[str, Any]) -> None:
    """Where a model or a condition is at work: all tools, unless it was said otherwise."""
    payload = job["payload"]
    if payload["kind"] == "agentTurn" or "trigger" in job:
        standing = before.get("payload", {}).get("toolsAllow")
        payload.setdefault("toolsAllow", standing or ["*"])
        job["scheduledToolPolicy"] = {"version": 1, "mode": "trusted"}
    else:
        job.pop("scheduledToolPolicy", None)


def stagger(schedule: Json, before: Mapping[str, Any]) -> None:
    """Full hours are scattered over five minutes unless it was said otherwise."""
    if schedule["kind"] != "cron" or "staggerMs" in schedule:
        return
    if before.get("expr") == schedule["expr"]:
        if "staggerMs" in before:
            schedule["staggerMs"] = before["staggerMs"]
        return
    minute, hour = schedule["expr"].split()[-5:-3]
    if minute == "0" and hour.startswith("*"):
        schedule["staggerMs"] = _TOP_OF_THE_HOUR_MS


def forget_failures(job: Json) -> None:
    job["state"].pop("autoDisabled", None)
    job["state"] |= {"consecutiveErrors": 0, "scheduleErrorCount": 0}


def preview(job: Mapping[str, Any]) -> Json:
    if job.get("delivery", {}).get("mode") == "none":
        return {"label": "not requested", "detail": "not requested"}
    return {"label": "announce -> last", "detail": _NO_ROUTE}


def revision(job: Mapping[str, Any]) -> str:
    """Of what was decided, and nothing of what happened."""
    return digest({name: value for name, value in job.items() if name not in ("updatedAtMs", "state")})


def digest(value: Any) -> str:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return f"sha256:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
