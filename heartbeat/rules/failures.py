"""What an engine's or a provider's complaint means for whoever was asked (rule F3, contract 6.3). Pure.

Complaints are foreign text: they are matched, never run, and told on one line with what looks like a secret left out.
Whatever is not known counts as a failure of the provider, since asking somebody else is right for most of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from heartbeat.attempt import Cause, Failure, Outcome

LONGEST_TEXT = 20_000
"""Characters of a complaint that are looked at."""

LONGEST_MESSAGE = 600
"""Characters of a complaint that are kept."""

LONGEST_WAIT = 7 * 86400.0
"""Seconds; nobody means a longer one."""

OUTCOME_OF: Mapping[Cause, Outcome] = {
    Cause.COUNTS: Outcome.FAILED,
    Cause.COOLS: Outcome.RATE_LIMITED,
    Cause.REFUSES: Outcome.FAILED,
    Cause.TASK: Outcome.FAILED,
    Cause.ENGINE: Outcome.FAILED,
    Cause.NONE: Outcome.ABORTED,
}

REASONS: Mapping[str, Cause | None] = {
    "auth": Cause.REFUSES,
    "auth_permanent": Cause.REFUSES,
    "billing": Cause.REFUSES,
    "model_not_found": Cause.REFUSES,
    "rate_limit": Cause.COOLS,
    "context_overflow": Cause.TASK,
    "overloaded": Cause.COUNTS,
    "server_error": Cause.COUNTS,
    "timeout": Cause.COUNTS,
    "tls_certificate": Cause.COUNTS,
    "session_expired": Cause.COUNTS,
    "empty_response": Cause.COUNTS,
    "format": None,
    "no_error_details": None,
    "unclassified": None,
    "unknown": None,
}
"""OpenClaw's own words for why one model failed. None: the complaint itself has to say (`format` stands for a 400 and
for an empty reply alike)."""

STATUSES: Mapping[int, Cause] = {
    **dict.fromkeys((400, 413, 414, 422), Cause.TASK),
    **dict.fromkeys((401, 402, 403, 404, 410), Cause.REFUSES),
    429: Cause.COOLS,
}
"""HTTP statuses that are no failure of the provider; every other one counts. A 404 is a model or an address that does
not exist: asking again is no use until a person does something."""


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


ENGINE_SAYS: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (_any_of(r"cancelled by operator", r"\Aaborted\Z", r"operation was aborted"), Cause.NONE),
    (
        _any_of(
            r"gateway not reachable",
            r"gateway (?:is )?(?:draining|closed|restarting|shutting down)",
            r"gateway (?:agent call )?connection closed",
            r"gateway auth",
            r"process exited before restart",
            r"interrupted by a gateway restart",
            r"overrides are not authorized",
            r"missing scope",
            r"pairing required",
            r"session patch failed",
            r"device (?:token|identity|signature)",
            r"\Aunauthorized\Z",
        ),
        Cause.ENGINE,
    ),
    (
        _any_of(
            r"invalid [\w.]+ params",
            r"unknown agent",
            r"session agent resolution",
            r"session (?:history|transcript)",
        ),
        Cause.TASK,
    ),
)
"""What OpenClaw says of itself and of what it was asked for, before any model was; none of it has an HTTP status."""

PROVIDER_SAYS: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (
        _any_of(
            r"context[ _](?:overflow|length|window)",
            r"maximum context",
            r"(?:prompt|input|request|payload) (?:is )?too (?:large|long)",
            r"rejected the request schema",
            r"request format rejected",
            r"llm request rejected",
            r"invalid[ _]request",
            r"content[ _](?:policy|filter)",
        ),
        Cause.TASK,
    ),
    (
        _any_of(
            r"authentication (?:failed|refresh failed|is missing)",
            r"couldn.t sign in",
            r"(?:incorrect|invalid|expired|missing|no) api[ _-]?key",
            r"\bunauthorized\b",
            r"\bforbidden\b",
            r"billing error",
            r"payment required",
            r"insufficient[ _](?:credits?|balance|quota|funds)",
            r"exceeded your current quota",
            r"(?:run )?out of credits",
            r"disabled after a provider auth/billing failure",
            r"model (?:was )?not found",
            r"model [^|]{0,80}?(?:does not exist|is unavailable from the provider)",
            r"unknown (?:model|provider)",
            r"model not allowed",
            r"model override [^|]{0,200}? is not allowed",
        ),
        Cause.REFUSES,
    ),
    (
        _any_of(r"rate[ _-]?limit", r"too many requests", r"resource[ _]exhausted"),
        Cause.COOLS,
    ),
)
"""What a provider's complaint says where neither OpenClaw's word for it nor an HTTP status is told; the first wins."""

_ALL_FAILED = re.compile(r"all models failed \((\d{1,3})\):\s*", re.IGNORECASE)
_NEXT_MODEL = re.compile(r"\s\|\s(?=[^\s/|]{1,100}/[^\s|]{1,200}: )")
_MODEL = re.compile(r"\A[^\s/|]{1,100}/[^\s|]{1,200}: ")
_REASON = re.compile(rf"\(({'|'.join(REASONS)})\)(?=\s*(?:\||\Z))")
_TAIL = re.compile(r"\n\[openclaw\]")
_STATUS = (
    re.compile(r"\A\W{0,8}([45]\d\d)\b(?![.,:]?\d| ?(?:ms|s|seconds|tokens|bytes|[KMG]i?B)\b)"),
    re.compile(r"\bHTTP[ /:]{0,2}([45]\d\d)\b", re.IGNORECASE),
    re.compile(r"\b(?:status|error)(?: code)?[ :=]{1,3}([45]\d\d)\b", re.IGNORECASE),
)
_TIMED_OUT = _any_of(r"timed out before a response was generated", r"llm (?:idle timeout|request timed out)")

_UNITS: Mapping[str, float] = {"ms": 0.001, "mi": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LENGTH = r"\d{1,9}(?:\.\d{1,9})?(?: ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b)?"
_COMPOUND = r"\d{1,9}h(?:\d{1,9}m)?(?:\d{1,9}(?:\.\d{1,9})?s)?|\d{1,9}m\d{1,9}(?:\.\d{1,9})?s"
_WAIT = re.compile(
    rf"(?:retry[ _-]after|try again in|retry in)[\"':= ]{{0,4}}(?:about )?({_COMPOUND}|{_LENGTH})", re.IGNORECASE
)
_PART = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)", re.IGNORECASE)

_SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[a-z]|AIza)[-_]?[A-Za-z0-9_*.-]{12,}"),
    re.compile(r"(?<=bearer )[^\s\"',]{6,}", re.IGNORECASE),
    re.compile(
        r"(?<=[?&\"' ])((?:api[_-]?)?key|(?:access_|auth_)?token|secret|password)([\"']?[=:] ?[\"']?)[^\s&\"',)]{6,}",
        re.IGNORECASE,
    ),
)


def read_failure(text: str, *, code: int | None = None, timed_out: bool = False) -> Failure:
    """What a complaint means.

    `code` is the HTTP status, where the engine tells it apart from the text; other numbers (an exit code) are left
    aside. `timed_out` says that the engine ended the turn at its deadline: it counts as a failure, unless the text says
    that it was spent waiting for a rate limit. Where several models were asked, the task is at fault only if all of
    them say so, they refuse only if all do, and cool down only if all do; anything else counts.
    """
    looked_at = text[:LONGEST_TEXT]
    status = code if code is not None and 100 <= code <= 599 else None
    parts = _models(looked_at)
    if parts:
        causes = {_cause_of(part, None) for part in parts}
        cause = causes.pop() if len(causes) == 1 else Cause.COUNTS
        statuses = {_status(part) for part in parts}
        status = status or (statuses.pop() if len(statuses) == 1 else None)
    else:
        status = status or _status(looked_at)
        cause = (None if status else _engine_says(looked_at)) or _cause_of(looked_at, status)
    if timed_out and cause is not Cause.COOLS:
        cause = Cause.COUNTS
    outcome = OUTCOME_OF[cause]
    if cause is Cause.COUNTS and (timed_out or _TIMED_OUT.search(looked_at)):
        outcome = Outcome.TIMED_OUT
    waits = [wait for part in parts or (looked_at,) if (wait := retry_after(part)) is not None]
    return Failure(
        cause=cause,
        message=_told(looked_at, timed_out),
        outcome=outcome,
        retry_after=min(waits, default=None),
        code=status,
    )


def retry_after(text: str) -> float | None:
    """Seconds that a complaint asks to wait for, None where it names no time."""
    found = _WAIT.search(text[:LONGEST_TEXT])
    if found is None:
        return None
    seconds = sum(float(number) * _unit(unit.lower()) for number, unit in _PART.findall(found[1]))
    return min(seconds, LONGEST_WAIT)


def _unit(name: str) -> float:
    if name.startswith("millisecond"):
        return _UNITS["ms"]
    return _UNITS.get(name[:2]) or _UNITS.get(name[:1], 1.0)


def _models(text: str) -> tuple[str, ...]:
    """What each model said, where the text is OpenClaw's list of them; one that was cut off said nothing."""
    found = _ALL_FAILED.search(text)
    if found is None:
        return ()
    listed = _TAIL.split(text[found.end() :])[0].strip()
    parts = [_own_words(part) for part in _NEXT_MODEL.split(listed) if part]
    number = max(int(found[1]), 1)
    return tuple((parts + [""] * number)[:number])


def _own_words(part: str) -> str:
    """One model's complaint, without its name and without the summary that follows the last one's reason."""
    words = _MODEL.sub("", part)
    reason = _REASON.search(words)
    return words if reason is None else words[: reason.end()]


def _cause_of(words: str, status: int | None) -> Cause:
    """Of one model's complaint: OpenClaw's reason, else the HTTP status, else the words."""
    reason = _REASON.search(words)
    if reason is not None and (known := REASONS[reason[1]]) is not None:
        return known
    told = status or _status(words)
    if told is not None:
        return STATUSES.get(told, Cause.COUNTS)
    return next((cause for pattern, cause in PROVIDER_SAYS if pattern.search(words)), Cause.COUNTS)


def _engine_says(text: str) -> Cause | None:
    return next((cause for pattern, cause in ENGINE_SAYS if pattern.search(text.strip())), None)


def _status(words: str) -> int | None:
    for pattern in _STATUS:
        found = pattern.search(words)
        if found is not None:
            return int(found[1])
    return None


def _told(text: str, timed_out: bool) -> str:
    """The complaint on one line, without control and direction characters and without what looks like a secret."""
    plain = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    for pattern in _SECRETS:
        plain = pattern.sub(lambda found: f"{found[1]}{found[2]}…" if found.lastindex else "…", plain)
    words = " ".join(plain.split())
    if not words:
        return "it did not end in time" if timed_out else "no reason was given"
    return words if len(words) <= LONGEST_MESSAGE else words[: LONGEST_MESSAGE - 1] + "…"
