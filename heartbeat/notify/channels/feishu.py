"""A Feishu group's custom bot: a rich-text message, signed where the bot asks for it.

The bot refuses with HTTP 200 and a `code` that is not 0. A message is at most 20 KB, and the text parts of a rich-text
message are plain text, so that no title can mention anybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.notify.channels.base import ChannelError, Failure, address_of, optional_secret
from heartbeat.notify.channels.web import SECONDS, PostError, WebAddress, post, web_address
from heartbeat.notify.letter import MAX_BYTES, Letter, longest, wire_size
from heartbeat.roster.model import Roster
from heartbeat.systems.http_words import quote

_ADVICE = {
    9499: "the bot did not understand the message; check that the address is a custom bot's",
    19001: "the address is no bot's any more; copy it anew from the group's settings",
    19002: "the bot did not understand the message; check that the address is a custom bot's",
    19021: "check the bot's signing secret and this machine's clock",
    19022: "add this machine's address to the bot's allow-list",
    19024: "add a keyword that every message has, such as heartbeat or 任务, or use the signature instead",
}
"""Refusals that time does not mend, and what does."""
_LIMITS = frozenset({11232, 99991400})
_LIMIT_WORDS = ("frequency", "too many", "rate limit")


@dataclass(frozen=True, slots=True)
class FeishuChannel:
    """Implements Channel."""

    web: WebAddress
    secret: str = field(repr=False)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: float = SECONDS

    @property
    def address(self) -> str:
        return self.web.shown

    def send(self, letter: Letter, deadline: Deadline) -> str:
        signed = self._signed()

        def request(body: str) -> dict[str, Any]:
            return {**signed, "msg_type": "post", "content": _rich_text(letter.heading, body)}

        body = longest(letter.body, lambda text: wire_size(request(text)) <= MAX_BYTES)
        try:
            answer = post(self.web, request(body), deadline)
        except PostError as error:
            if _is_limit(error.answer):
                error.kind = Failure.TRANSIENT
            raise
        self._check(answer)
        return ""

    def _signed(self) -> dict[str, str]:
        if not self.secret:
            return {}
        timestamp = str(int(self.clock().timestamp()))
        return {"timestamp": timestamp, "sign": signature(timestamp, self.secret)}

    def _check(self, answer: Any) -> None:
        codes = [answer[key] for key in ("code", "StatusCode") if key in answer] if isinstance(answer, dict) else []
        if not codes:
            raise ChannelError(
                Failure.TRANSIENT,
                f"{self.address} answered 200, but not as Feishu does",
                advice="check that the address is a custom bot's, and that no proxy answers in its place",
                outcome_unknown=True,
            )
        code = next((code for code in codes if code != 0), 0)
        if code == 0:
            return
        said = next((text for key in ("msg", "StatusMessage") if isinstance(text := answer.get(key), str) and text), "")
        known = code if isinstance(code, int) and not _is_limit(answer) else None
        shown = code if isinstance(code, int) else "that is no number"
        reason = quote(said, self.web.secrets) or "no reason given"
        raise ChannelError(
            Failure.PERMANENT if known in _ADVICE else Failure.TRANSIENT,
            f"{self.address} refused the message with a code {shown}: {reason}",
            advice=_ADVICE.get(known or 0, "it is tried again later"),
        )


def build(name: str, settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> FeishuChannel:
    """From `url` or `url_env` and, where the bot checks signatures, `secret_env`. Raises ChannelError."""
    url = address_of(environment, settings, name)
    secret = optional_secret(environment, settings, "secret", name)
    return FeishuChannel(web_address(url, name, secret), secret)


def signature(timestamp: str, secret: str) -> str:
    """What a bot that checks signatures wants: the HMAC-SHA256 of nothing, under `timestamp` and secret as the key."""
    digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _rich_text(title: str, body: str) -> dict[str, Any]:
    """One paragraph a line; blank lines are left out, and there is at least one paragraph."""
    lines = [line for line in body.split("\n") if line.strip()] or [title]
    paragraphs = [[{"tag": "text", "text": line}] for line in lines]
    return {"post": {"zh_cn": {"title": title, "content": paragraphs}}}


def _is_limit(answer: Mapping[str, Any]) -> bool:
    """Whether the bot is only asked too often. Some codes mean that and other things too; their words tell."""
    said = str(answer.get("msg") or answer.get("StatusMessage") or "").lower()
    return answer.get("code") in _LIMITS or any(word in said for word in _LIMIT_WORDS)
