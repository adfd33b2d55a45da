"""What became of a Multica run that ended, in the words of an attempt (contract 2.4, 3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heartbeat.attempt import Cause, Failure, Outcome, Usage
from heartbeat.dispatch.base import Going, Sighting
from heartbeat.rules.failures import read_failure
from heartbeat.systems.json_text import safe_excerpt

_TICK = 1e-10
"""US dollars in one tick of cost (contract 2.4)."""

_AGENT_ERROR = "agent_error."
REASONS: Mapping[str, tuple[Cause, Outcome]] = {
    "timeout": (Cause.ENGINE, Outcome.TIMED_OUT),
    "queued_expired": (Cause.ENGINE, Outcome.FAILED),
    "runtime_offline": (Cause.ENGINE, Outcome.LOST),
    "runtime_recovery": (Cause.ENGINE, Outcome.LOST),
    "runtime_reconnect_timeout": (Cause.ENGINE, Outcome.LOST),
    "runtime_cli_timeout": (Cause.ENGINE, Outcome.TIMED_OUT),
    "skill_bundle_unavailable": (Cause.ENGINE, Outcome.FAILED),
    "invalid_task_identity": (Cause.ENGINE, Outcome.FAILED),
    "issue_window_restricted": (Cause.REFUSES, Outcome.FAILED),
    "api_invalid_request": (Cause.TASK, Outcome.FAILED),
    "codex_semantic_inactivity": (Cause.COUNTS, Outcome.TIMED_OUT),
    "iteration_limit": (Cause.COUNTS, Outcome.FAILED),
    "agent_blocked": (Cause.COUNTS, Outcome.FAILED),
    f"{_AGENT_ERROR}provider_network": (Cause.COUNTS, Outcome.FAILED),
    f"{_AGENT_ERROR}provider_auth_or_access": (Cause.REFUSES, Outcome.FAILED),
}
"""Multica's words for why a run failed; of any other the error's own text has to tell (rule F3)."""


def sighting_of(run: Mapping[str, Any]) -> Sighting:
    """A run that is completed, failed or cancelled."""
    rows = run.get("usage")
    usage = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    seen = Sighting(Going.ENDED, model=_model(usage), usage=_usage(usage))
    status = run.get("status")
    if status == "completed":
        return replace(seen, outcome=Outcome.COMPLETED)
    if status == "cancelled":
        cancelled = Failure(Cause.NONE, "the run was cancelled in Multica", Outcome.ABORTED)
        return replace(seen, outcome=Outcome.ABORTED, failure=cancelled)
    failure = failure_of(run)
    return replace(seen, outcome=failure.outcome, failure=failure)


def failure_of(run: Mapping[str, Any]) -> Failure:
    """Why a run failed: Multica's own word for it where that is known, else what the error says."""
    reason = safe_excerpt(str(run.get("failure_reason") or ""), 80)
    words = str(run.get("error") or "")
    read = read_failure(words or reason.removeprefix(_AGENT_ERROR).replace("_", " "))
    told = f"{read.message} ({reason})" if reason and words else reason or read.message
    known = REASONS.get(reason)
    if known is None:
        return replace(read, message=told)
    cause, outcome = known
    return Failure(cause, told, outcome, retry_after=read.retry_after, code=read.code)


def _usage(rows: list[Mapping[str, Any]]) -> Usage:
    """The sum over all models; what one of them does not tell is not known. What was read counts whether it came from a
    cache or not."""
    if not rows:
        return Usage()
    read = [None if (own := _number(row.get("input_tokens"))) is None else own + sum(_cached(row)) for row in rows]
    written = [_number(row.get("output_tokens")) for row in rows]
    ticks = _sum([_number(row.get("cost_usd_ticks")) for row in rows])
    return Usage(_sum(read), _sum(written), None if ticks is None else ticks * _TICK)


def _cached(row: Mapping[str, Any]) -> list[int]:
    return [_number(row.get(name)) or 0 for name in ("cache_read_tokens", "cache_write_tokens")]


def _sum(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return None
    return int(value)


def _model(rows: list[Mapping[str, Any]]) -> str:
    """The model of the last usage; a run has several where it used several."""
    last = rows[-1] if rows else {}
    names = [str(last.get(name)) for name in ("provider", "model") if isinstance(last.get(name), str) and last[name]]
    return safe_excerpt("/".join(names), 200)
