"""What the Gateway's records say of one turn: its entry in the list of tasks, its last word, its transcript. Pure.

A Gateway that was restarted during a turn takes it up again by itself, under a new name in the same session (contract
6.2): the turn is then over when that one is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heartbeat.attempt import Cause, Failure, Outcome, Usage
from heartbeat.dispatch.base import Going, Sighting
from heartbeat.instants import parse_instant
from heartbeat.rules.failures import read_failure
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt

_OURS = re.compile(r"hb-[0-9a-f]{32}")
"""How the turns that heartbeat starts are called: one of these never continues another."""
_GOES_ON = frozenset({"queued", "running"})
_INTERRUPTED = "Task execution process exited before restart."
_TIMED_OUT = "Request timed out"
_HTTP_STATUS = re.compile(r"\bHTTP ([1-5][0-9]{2})\b")
_SEVERAL_MODELS = "All models failed"
_NOT_BEGUN = frozenset({"queue", "gateway_draining", "preflight"})
"""Where a turn's time ran out before any model was asked."""
_WORDS = 400


@dataclass(frozen=True, slots=True)
class Run:
    """One entry of `tasks.list`. Times are in milliseconds, by the Gateway's clock."""

    task: str
    id: str
    status: str
    error: str = ""
    created_at: float = 0.0
    ended_at: float | None = None
    session: str = ""
    """Where it runs; a subagent's turn is listed with the session that asked for it, and runs in its own."""

    @property
    def goes_on(self) -> bool:
        return self.status in _GOES_ON

    @property
    def was_interrupted(self) -> bool:
        """Whether it died with its Gateway, which may take it up again."""
        return self.status == "cancelled" and self.error == _INTERRUPTED


@dataclass(frozen=True, slots=True)
class LastWord:
    """What `agent.wait` says. It remembers only since the Gateway was started; `status` is empty where it knows
    nothing, and nothing where the turn goes on."""

    status: str = ""
    error: str = ""
    model: str = ""
    began: bool = True
    """Whether a model was asked."""
    ended_at: float | None = None
    """In milliseconds, by the Gateway's clock."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a session's history holds of a turn: which model answered last, what it cost, and the line that says why it
    failed."""

    model: str = ""
    usage: Usage = field(default_factory=Usage)
    error: str = ""


def runs_of(page: Any) -> tuple[Run, ...]:
    """The entries of one page of `tasks.list` that are turns. Raises TransportError for anything else than a page."""
    entries = page.get("tasks") if isinstance(page, Mapping) else None
    if not isinstance(entries, list):
        raise _unreadable("tasks.list", page)
    return tuple(run for run in map(_run, entries) if run is not None)


def lineage(runs: Iterable[Run], dispatch: str) -> tuple[Run, ...]:
    """The turn by its dispatch id, and those with which the Gateway took it up again, the oldest first; empty where it
    is not among them."""
    by_age = sorted(runs, key=lambda run: run.created_at)
    found = next((run for run in by_age if run.id == dispatch), None)
    if found is None:
        return ()
    line = [found]
    for run in by_age:
        if _continues(run, line[-1]):
            line.append(run)
    return tuple(line)


def _continues(run: Run, last: Run) -> bool:
    """Whether a Gateway that was restarted took up one turn by another."""
    restarted_at = last.created_at if last.ended_at is None else last.ended_at
    is_later = run is not last and run.created_at >= restarted_at and run.session == last.session
    return last.was_interrupted and is_later and _OURS.fullmatch(run.id) is None


def last_word(answer: Any) -> LastWord:
    """The answer of `agent.wait`. A "timeout" without an end is said of a turn that goes on and of one that was never
    heard of. Raises TransportError where it is no such answer."""
    status = answer.get("status") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(status, str):
        raise _unreadable("agent.wait", answer)
    if answer.get("endedAt") is None:
        return LastWord()
    if status == "error" and answer.get("stopReason") == "rpc":
        status = "cancelled"
    receipt = answer.get("terminalReceipt")
    effective = receipt.get("effective") if isinstance(receipt, Mapping) else None
    began = answer.get("providerStarted") is not False and answer.get("timeoutPhase") not in _NOT_BEGUN
    return LastWord(
        _STATUS.get(status, status),
        _text(answer.get("error")),
        _model(effective),
        began,
        _number(answer.get("endedAt")),
    )


_STATUS: Mapping[str, str] = {"ok": "completed", "error": "failed", "timeout": "timed_out"}
"""The words of `agent.wait` in those of `tasks.list`."""


def transcript(page: Any, line: Sequence[str]) -> Transcript:
    """What a page of `chat.history` holds of a turn, by all its names, its own first. Where the page does not reach
    back to the turn's beginning, what it cost is not known."""
    messages = page.get("messages") if isinstance(page, Mapping) else None
    if not isinstance(messages, list):
        raise _unreadable("chat.history", page)
    said = [message for message in messages if isinstance(message, Mapping)]
    answers = [each for each in said if each.get("role") == "assistant" and _run_of(each) in line]
    whole = page.get("hasMore") is not True or any(each.get("idempotencyKey") == f"{line[0]}:user" for each in said)
    errors = [_said(each) or _text(each.get("errorMessage")) for each in answers if each.get("stopReason") == "error"]
    models = [model for model in map(_model, answers) if model]
    return Transcript(
        model=models[-1] if models else "",
        usage=_total([each.get("usage") for each in answers]) if whole and answers else Usage(),
        error=errors[-1] if errors else "",
    )


def is_pending(page: Any, key: str) -> bool:
    """Whether `sessions.list` says of a session that its turn, which a restart cut off, is still to be taken up."""
    row = next((each for each in _sessions(page) if str(each.get("key")).lower() == key), {})
    return row.get("status") == "running" and row.get("abortedLastRun") is True


def is_recent(page: Any, interrupted: Run, milliseconds: float) -> bool:
    """Whether a turn was cut off so short a time ago, by the Gateway's own clock."""
    _sessions(page)
    now = _number(page.get("ts"))
    return now is None or interrupted.ended_at is None or now - interrupted.ended_at < milliseconds


def sighting(run: Run, word: LastWord, told: Transcript) -> Sighting:
    """A turn that has ended. Where `agent.wait` remembers it, that counts: the list of tasks cuts its texts, and calls
    it a time-out when a model could not be reached."""
    text = word.error or run.error or told.error
    status = word.status or run.status
    if status == "timed_out" and not word.status and not text.startswith(_TIMED_OUT):
        status = "failed"
    outcome, failure = _ending(run, status, text, word, told)
    ended_at = parse_instant(word.ended_at or run.ended_at)
    model = word.model or told.model
    return Sighting(Going.ENDED, outcome, failure, model=model, usage=told.usage, ended_at=ended_at)


def _ending(run: Run, status: str, text: str, word: LastWord, told: Transcript) -> tuple[Outcome, Failure | None]:
    if status == "completed":
        return Outcome.COMPLETED, None
    if run.was_interrupted:
        lost = "the Gateway was restarted during the turn and did not take it up again"
        return Outcome.LOST, Failure(Cause.ENGINE, lost, Outcome.LOST)
    if status == "cancelled":
        return Outcome.ABORTED, Failure(Cause.NONE, text or "it was stopped", Outcome.ABORTED)
    if status == "timed_out" and not word.began:
        waited = f"its time was over before any model was asked: {text}".removesuffix(": ")
        return Outcome.TIMED_OUT, Failure(Cause.ENGINE, waited, Outcome.TIMED_OUT)
    failure = read_failure(
        text or "the turn failed, and OpenClaw does not say why",
        code=_http_status(text, told.error),
        timed_out=status == "timed_out",
    )
    return failure.outcome, failure


def _http_status(text: str, error: str) -> int | None:
    """The one HTTP status that is told; a text about several models tells of each what it met."""
    if text.startswith(_SEVERAL_MODELS):
        return None
    found = _HTTP_STATUS.search(text) or _HTTP_STATUS.search(error)
    return int(found.group(1)) if found else None


def _sessions(page: Any) -> list[Mapping[str, Any]]:
    entries = page.get("sessions") if isinstance(page, Mapping) else None
    if not isinstance(entries, list):
        raise _unreadable("sessions.list", page)
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _run(entry: Any) -> Run | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("runId"), str):
        return None
    return Run(
        task=_text(entry.get("taskId")) or _text(entry.get("id")),
        id=entry["runId"],
        status=_text(entry.get("status")),
        error=_text(entry.get("error")),
        created_at=_number(entry.get("createdAt")) or 0.0,
        ended_at=_number(entry.get("endedAt")),
        session=_text(entry.get("childSessionKey")) or _text(entry.get("sessionKey")),
    )


def _run_of(message: Mapping[str, Any]) -> Any:
    marks = message.get("__openclaw")
    return marks.get("runId") if isinstance(marks, Mapping) else None


def _model(record: Any) -> str:
    """`provider/model`, as a turn may be asked to use it."""
    if not isinstance(record, Mapping):
        return ""
    return "/".join(filter(None, (_text(record.get("provider")), _text(record.get("model")))))


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    parts: Iterator[Any] = (part.get("text") for part in content or () if isinstance(part, Mapping))
    return _text(content) or safe_excerpt(" ".join(part for part in parts if isinstance(part, str)), _WORDS)


def _total(told: Sequence[Any]) -> Usage:
    """What several answers cost together; not known where one of them does not tell. OpenClaw says 0 for what a model
    without a price costs."""
    usages = [usage if isinstance(usage, Mapping) else {} for usage in told]
    read = [[_number(usage.get(name)) for name in ("input", "cacheRead", "cacheWrite")] for usage in usages]
    written = [_number(usage.get("output")) for usage in usages]
    costs = [_number(cost.get("total")) if isinstance(cost := usage.get("cost"), Mapping) else None for usage in usages]
    cost = _sum(costs)
    return Usage(
        input_tokens=_whole(_sum([None if each[0] is None else sum(filter(None, each)) for each in read])),
        output_tokens=_whole(_sum(written)),
        cost_usd=cost or None,
    )


def _sum(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    """A number that is not below zero."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    return safe_excerpt(value, _WORDS) if isinstance(value, str) else ""


def _unreadable(method: str, answer: Any) -> TransportError:
    told = safe_excerpt(repr(answer)[:500])
    return TransportError(FailureKind.BAD_OUTPUT, f"the Gateway answered {method} with something else: {told}")
