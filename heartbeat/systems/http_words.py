"""HTTP in words: addresses, bodies and Retry-After as a message or a decision needs them. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from heartbeat.systems.json_text import safe_excerpt

_LONGEST_WAIT = 7 * 86400.0
_ERROR_KEYS = ("error", "message", "detail", "title")
_QUOTED = 300


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: 0 for the past, at most a week, None where it makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
        return min(max(float(text), 0.0), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return min(max((moment - now).total_seconds(), 0.0), _LONGEST_WAIT)


def without_credentials(url: str) -> str:
    """An address as it may be shown: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split("?", 1)[0].rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_loopback(url: str) -> bool:
    """Whether a proxy would only be in the way."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def describe_body(content: bytes, secrets: tuple[str, ...]) -> str:
    """What a body says, for a message: its error text, or what kind of thing it is."""
    if not content.strip():
        return "an empty body"
    found: Any = json_object(content)
    if found:
        texts = [found.get(key) for key in _ERROR_KEYS]
        nested = [text.get("message") for text in texts if isinstance(text, dict)]
        said = [text.strip() for text in (*texts, *nested) if isinstance(text, str) and text.strip()]
        # A sentence tells more than a bare code; servers put either into any of these.
        text = next((text for text in said if " " in text), said[0] if said else "")
        return quote(text, secrets) or "a JSON object without an error text"
    text = content[:4096].decode("utf-8", "replace")
    return "an HTML page" if text.lstrip("\ufeff \t\r\n").startswith("<") else repr(quote(text, secrets))


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """The text without what authenticates us, in case the outside echoes it."""
    for secret in secrets:
        text = text.replace(secret, "[hidden]")
    return text


def quote(text: str, secrets: tuple[str, ...]) -> str:
    """Foreign text on one line, without control characters and secrets, cut to 300 characters (rule B8)."""
    return safe_excerpt(hide(text, secrets), _QUOTED)
