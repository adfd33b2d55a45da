"""What `openclaw agent --json` left behind, in the words of an attempt (contract 6.1, 6.3). Pure.

Its exit code is 0 for a completed turn alone. A turn that ran out of its time or was stopped is a document too, with
`status: timeout`; a failure is `ok: false`, with a `runId` where the Gateway had taken the turn.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from heartbeat.attempt import Cause, Failure, Outcome, Usage
from heartbeat.dispatch.base import Going, Sighting
from heartbeat.dispatch.supervise import How
from heartbeat.rules.failures import read_failure
from heartbeat.systems.base import TransportError
from heartbeat.systems.http_words import hide
from heartbeat.systems.json_text import load_json, safe_excerpt

_NOT_EXECUTABLE = frozenset({126, 127})
_STOPPED = frozenset({-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT})
_LOST_CONNECTION = "may still be running this turn"
"""The program's own warning that it lost sight of what it asked for."""
_NEVER_CONNECTED = "ECONNREFUSED"
_UNCONFIRMED = ("was not confirmed aborted", "failed to abort Gateway run")
_COMPLETED = frozenset({"ok", "completed"})
_START_IT = "start the Gateway: `openclaw gateway run`"


@dataclass(frozen=True, slots=True)
class Judged:
    """A call that ended. `taken`: the Gateway had begun the turn; where not, `maybe` says that it may have all the
    same. `over`: it is certain that no turn of this call goes on."""

    sighting: Sighting
    taken: bool = True
    maybe: bool = False
    over: bool = True
    advice: str = ""


def judge(
    result: Mapping[str, Any], output: bytes, errors: str, binary: str, *, secrets: tuple[str, ...] = ()
) -> Judged:
    """`result` is what the process that watched wrote (supervise.py); `errors` the end of what was said on stderr."""
    how, code = str(result.get("how")), result.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else None
    said, lost = hide(errors, secrets), _LOST_CONNECTION in errors and _NEVER_CONNECTED not in errors
    confirmed = not result.get("killed") and not any(words in errors for words in _UNCONFIRMED)
    document = _document(output)
    judged = _told(document, lost, secrets) if document is not None else _untold(how, code, said, lost, binary)
    if how == How.UNSTARTABLE:
        told = f"`{binary} agent` cannot be started: {safe_excerpt(str(result.get('message')), 300)}"
        return Judged(_ended(Outcome.SPAWN_FAILED, Failure(Cause.ENGINE, told)), taken=False)
    ending = _ending(how, binary)
    if document is None and ending is not None:
        judged = Judged(ending, over=confirmed)
    return replace(judged, sighting=replace(judged.sighting, exit_code=code), over=judged.over and not lost)


def _told(document: Mapping[str, Any], lost: bool, secrets: tuple[str, ...]) -> Judged:
    """The program's own word."""
    if document.get("ok") is False:
        return _failed(document, lost, secrets)
    status, meta = str(document.get("status")), _object(document, "result", "meta")
    sighting = Sighting(Going.ENDED, model=_model(meta), usage=_usage(meta))
    if status in _COMPLETED:
        return Judged(replace(sighting, outcome=Outcome.COMPLETED))
    if "rpc" in (document.get("stopReason"), meta.get("stopReason")):
        stopped = Failure(Cause.NONE, "the turn was stopped", Outcome.ABORTED)
        return Judged(replace(sighting, outcome=Outcome.ABORTED, failure=stopped))
    words = hide(_words(document, meta), secrets)
    failure = read_failure(words, timed_out=status == "timeout")
    if status == "in_flight":
        failure = Failure(Cause.ENGINE, "the Gateway says that this turn is being run already", Outcome.LOST)
    over = status != "in_flight"
    return Judged(replace(sighting, outcome=failure.outcome, failure=failure), over=over)


def _failed(document: Mapping[str, Any], lost: bool, secrets: tuple[str, ...]) -> Judged:
    error = document.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    failure = read_failure(hide(str(message or "no reason was given"), secrets))
    if document.get("runId"):
        return Judged(_ended(failure.outcome, failure))
    # No model had a part in it: the request was refused, or never arrived.
    if failure.cause is not Cause.TASK:
        failure = replace(failure, cause=Cause.ENGINE, outcome=Outcome.LOST if lost else Outcome.SPAWN_FAILED)
    advice = _START_IT if _NEVER_CONNECTED in failure.message else ""
    outcome = Outcome.LOST if lost else Outcome.SPAWN_FAILED
    return Judged(_ended(outcome, failure), taken=False, maybe=lost, over=not lost, advice=advice)


def _untold(how: str, code: int | None, said: str, lost: bool, binary: str) -> Judged:
    """It ended without a document that can be read."""
    lines = " / ".join([line for line in said.splitlines() if line.strip()][-3:])
    words = f": {safe_excerpt(lines, 300)}" if lines else ""
    if code in _NOT_EXECUTABLE:
        failure = Failure(Cause.ENGINE, f"`{binary} agent` cannot run{words}")
        advice = "OpenClaw needs node on the PATH; cron's PATH is shorter than a login shell's"
        return Judged(_ended(Outcome.SPAWN_FAILED, failure), taken=False, advice=advice)
    if code in _STOPPED:
        stopped = Failure(Cause.NONE, f"`{binary} agent` was told to end{words}", Outcome.ABORTED)
        return Judged(_ended(Outcome.ABORTED, stopped), over=not any(each in said for each in _UNCONFIRMED))
    ended = "and nobody saw it end" if code is None else f"and ended with exit code {code}"
    told = f"`{binary} agent` told no result, {ended}{words}; whether the turn goes on is not known"
    return Judged(_ended(Outcome.LOST, Failure(Cause.ENGINE, told, Outcome.LOST)), over=False)


def _ended(outcome: Outcome, failure: Failure) -> Sighting:
    return Sighting(Going.ENDED, outcome, replace(failure, outcome=outcome))


def _ending(how: str, binary: str) -> Sighting | None:
    """What it means that we ended it; None where it ended by itself."""
    told = f"`{binary} agent`"
    match how:
        case How.LATE:
            return _ended(Outcome.TIMED_OUT, Failure(Cause.COUNTS, f"{told} did not end in time and was ended"))
        case How.STOPPED:
            return _ended(Outcome.ABORTED, Failure(Cause.NONE, "the turn was stopped"))
        case How.FLOODED:
            flood = Failure(Cause.ENGINE, f"{told} printed far more than a result and was ended")
            return _ended(Outcome.FAILED, flood)
    return None


def _document(output: bytes) -> Mapping[str, Any] | None:
    """The program's document; None where it is not there, or not whole."""
    try:
        value, _ = load_json(output, what="openclaw agent")
    except TransportError:
        return None
    return value if isinstance(value, Mapping) and ("status" in value or value.get("ok") is False) else None


def _words(document: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Why it ended badly, in the document's words."""
    payloads = _object(document, "result").get("payloads")
    texts = [each.get("text") for each in payloads if isinstance(each, Mapping)] if isinstance(payloads, list) else []
    error = _object(meta, "error").get("message")
    found = (text for text in (error, *texts, document.get("summary")) if isinstance(text, str) and text.strip())
    return next(found, "no reason was given")


def _model(meta: Mapping[str, Any]) -> str:
    """The model that answered, after OpenClaw's own fallbacks."""
    trace, agent = _object(meta, "executionTrace"), _object(meta, "agentMeta")
    for source, provider, model in ((trace, "winnerProvider", "winnerModel"), (agent, "provider", "model")):
        names = (source.get(provider), source.get(model))
        if all(isinstance(name, str) and name for name in names):
            return safe_excerpt("/".join(str(name) for name in names), 200)
    return ""


def _usage(meta: Mapping[str, Any]) -> Usage:
    """What the turn read counts whether it came from a cache or not. OpenClaw says 0 for what a model without a price
    costs."""
    usage = _object(meta, "agentMeta", "usage")
    read = [_amount(usage.get(name)) for name in ("input", "cacheRead", "cacheWrite")]
    costs = (_amount(_object(meta, "agentMeta").get("costUsd")), _amount(_object(usage, "cost").get("total")))
    return Usage(
        input_tokens=None if read[0] is None else int(sum(filter(None, read))),
        output_tokens=_whole(usage.get("output")),
        cost_usd=next(filter(None, costs), None),
    )


def _whole(value: object) -> int | None:
    amount = _amount(value)
    return None if amount is None else int(amount)


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return float(value)


def _object(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """What stands there by these names one within the other; empty where it is no object."""
    for name in names:
        found = value.get(name)
        if not isinstance(found, Mapping):
            return {}
        value = found
    return value
