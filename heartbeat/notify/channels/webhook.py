"""Any receiver of JSON: one POST of `heartbeat.message/1`, with a bearer token where the roster names one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.notify.channels.base import address_of, optional_secret
from heartbeat.notify.channels.web import SECONDS, WebAddress, post, web_address
from heartbeat.notify.letter import MAX_BYTES, Letter, document, longest, wire_size
from heartbeat.roster.model import Roster


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Implements Channel. Every 2xx is a success, whatever stands in the answer."""

    web: WebAddress
    token: str = field(repr=False)
    seconds: float = SECONDS

    @property
    def address(self) -> str:
        return self.web.shown

    def send(self, letter: Letter, deadline: Deadline) -> str:
        post(self.web, _fitted(letter), deadline, token=self.token)
        return ""


def build(name: str, settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> WebhookChannel:
    """From `url` or `url_env` and, where the receiver asks for one, `token_env`. Raises ChannelError."""
    url = address_of(environment, settings, name)
    token = optional_secret(environment, settings, "token", name)
    return WebhookChannel(web_address(url, name, token), token)


def _fitted(letter: Letter) -> dict[str, Any]:
    """The document in at most 20 KB: keys beyond a quarter of that are left out, then the body's end."""
    keys: list[str] = []
    room = MAX_BYTES // 4
    for key in letter.keys:
        room -= len(key.encode("utf-8", "replace")) + 3
        if room < 0:
            break
        keys.append(key)
    lean = replace(letter, keys=tuple(keys))
    body = longest(letter.body, lambda text: wire_size(document(replace(lean, body=text))) <= MAX_BYTES)
    return document(replace(lean, body=body))
