"""Whether a person spoke with an agent, or a program did (rule B4; contract 6.2, 7).

`lastInteractionAt` moves with either. That nobody but programs ever spoke in a session shows in its row: it was made
by a run and has no `chatType`, which `chat.send` and every channel set. Who spoke last where both do, only the history
tells: a message that came by `chat.send` names the clients it came through, one of a channel its sender, and one of the
`agent` method neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from heartbeat.instants import parse_instant
from heartbeat.systems.openclaw.shape import Malformed

HISTORY_METHOD = "chat.history"

_MESSAGES = 50, 200, 1000
"""How many of the newest are asked for, one after the other as far as that is needed; the last is the most that a
Gateway gives."""
_CHARACTERS = 100
"""What is said is nobody's business here; who said it, and when, is."""

_OURS = re.compile(r"agent:[^:]+:(?:explicit:)?hb-", re.IGNORECASE)
_MADE_BY_PROGRAMS = frozenset({"run", "cron"})
_SENDER = frozenset({"transport", "senderId", "senderName", "senderUsername", "senderIdentity"})
_A_PERSONS = "external_user"


def heard_last(
    hear: Callable[[Mapping[str, Any]], Any], key: str, *, since: datetime, otherwise: datetime
) -> datetime | None:
    """When a person last spoke in a session; None where nobody did since then.

    `hear` sends one `chat.history`; it is asked for more where programs have said more since then than came at first.
    Raises Malformed where what comes is no history, and what `hear` raises.
    """
    page: Any = None
    for number in _MESSAGES:
        page = hear({"sessionKey": key, "limit": number, "maxChars": _CHARACTERS})
        if not leaves_open(page, since):
            break
    return last_word(page, since=since, otherwise=otherwise)


def is_for_programs(key: str, record: Mapping[str, Any]) -> bool:
    """Whether nobody talks in this session: it is one of our own, or nothing but programs ever spoke there.

    A Gateway that does not tell how a session was made leaves that open.
    """
    made_by_program = record.get("createdVia") in _MADE_BY_PROGRAMS and not record.get("chatType")
    return made_by_program or _OURS.match(key) is not None


def last_word(page: Any, *, since: datetime, otherwise: datetime) -> datetime | None:
    """When a person last spoke, by the newest messages of a session; None where nobody did since then.

    What the page does not tell counts as a person's word, said at `otherwise`: too quiet is the lesser mistake. Raises
    Malformed where it is no history.
    """
    words = [said for message in _said(page) if (said := _persons_word(message, otherwise)) is not None]
    if words and max(words) >= since:
        return max(words)
    # A session without any message has just been begun anew.
    return None if _said(page) and not leaves_open(page, since) else otherwise


def leaves_open(page: Any, since: datetime) -> bool:
    """Whether older messages than came may hold a person's word: none of those that came does, there are more, and what
    came begins after that instant. Raises Malformed where it is no history."""
    said = _said(page)
    if page.get("hasMore") is not True or any(at < since for at in filter(None, map(_said_at, page["messages"]))):
        return False
    return not any((word := _persons_word(message, since)) is not None and word >= since for message in said)


def _said(page: Any) -> list[Mapping[str, Any]]:
    messages = page.get("messages") if isinstance(page, Mapping) else None
    if not isinstance(page, Mapping) or not isinstance(messages, list):
        raise Malformed("no list of messages")
    said = [*messages, *_pending(page)]
    if not all(isinstance(message, Mapping) for message in said):
        raise Malformed("a message is not an object")
    return said


def _persons_word(message: Mapping[str, Any], otherwise: datetime) -> datetime | None:
    """When a person said it; None where a program did."""
    return (_said_at(message) or otherwise) if _is_a_persons(message) else None


def _pending(page: Mapping[str, Any]) -> Iterator[Any]:
    """What was said to a running turn and is not part of the talk yet; OpenClaw also keeps there what a turn that was
    cut off never took up."""
    pending = page.get("pendingInputs")
    items = pending.get("items") if isinstance(pending, Mapping) else None
    for item in items if isinstance(items, list) else ():
        yield item.get("message") if isinstance(item, Mapping) else item


def _said_at(message: Mapping[str, Any]) -> datetime | None:
    return parse_instant(message.get("timestamp"))


def _is_a_persons(message: Mapping[str, Any]) -> bool:
    if message.get("role") != "user":
        return False
    provenance, marks = message.get("provenance"), message.get("__openclaw")
    if isinstance(provenance, Mapping) and provenance.get("kind", _A_PERSONS) != _A_PERSONS:
        return False  # another session of an agent, or OpenClaw itself
    if not isinstance(marks, Mapping):
        return True
    identity = marks.get("senderIdentity")
    if isinstance(identity, Mapping) and identity.get("senderKind") == "bot":
        return False
    return "senderIsOwner" not in marks or not _SENDER.isdisjoint(marks)
