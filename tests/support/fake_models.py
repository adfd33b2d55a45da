"""What the models behind an OpenClaw do with whatever they are asked, and how OpenClaw tells of those that refuse
(contract 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    """What a fake model does with whatever it is asked."""

    ANSWERS = "answers"
    HELD = "held"
    """It answers when it is let go."""
    HANGS = "hangs"
    DENIED = "denied"
    """401"""
    MALFORMED = "malformed"
    """400"""
    UNKNOWN_MODEL = "unknown model"
    """404"""
    FAILING = "failing"
    """500, tried again for more than a minute."""
    LIMITED = "limited"
    """429, tried again for more than two."""
    GONE = "gone"
    """Nothing listens there; tried again for more than a minute."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """How a model's refusal is told: by the final frame and `agent.wait`, and in the transcript; after how long; and
    what the list of tasks calls it."""

    told: str
    line: str
    milliseconds: int = 0
    listed_as: str = "failed"


COMPLAINTS: Mapping[Behaviour, Complaint] = {
    Behaviour.DENIED: Complaint(
        "Authentication failed (provider returned HTTP 401). Your provider token may have expired — try the request "
        "again in a moment. If the failure persists, re-authenticate this provider.",
        "⚠️ LLM request failed (authentication failed, HTTP 401). Re-authenticate the provider and try again.",
    ),
    Behaviour.MALFORMED: Complaint(
        "LLM request failed: provider rejected the request schema or tool payload.",
        "⚠️ LLM request failed (request format rejected, HTTP 400).",
    ),
    Behaviour.UNKNOWN_MODEL: Complaint(
        "The selected model was not found by the provider. Check the model id or choose a different model.",
        "⚠️ LLM request failed (model not found, HTTP 404).",
    ),
    Behaviour.FAILING: Complaint(
        "⚠️ fake/failing request failed (provider internal error, HTTP 500). This is usually temporary — try again "
        "shortly.",
        "⚠️ LLM request failed (provider internal error, HTTP 500).",
        82_000,
    ),
    Behaviour.LIMITED: Complaint(
        "⚠️ Rate limit reached for requests; Retry-After: 2 seconds",
        "⚠️ Rate limit reached for requests; Retry-After: 2 seconds",
        143_000,
    ),
    Behaviour.GONE: Complaint(
        "LLM request failed: network connection error.",
        "⚠️ LLM request failed (network connection error).",
        88_000,
        "timed_out",
    ),
}
