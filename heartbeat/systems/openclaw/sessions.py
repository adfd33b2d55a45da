"""Which agents have a run, and when each was last seen at work, by OpenClaw's sessions (rules T1, T7; contract 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from heartbeat.instants import not_after, parse_instant
from heartbeat.systems.base import FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.shape import Malformed, text_or_none
from heartbeat.task import Finding, OwnerKind, Presence

SESSIONS_METHOD = "sessions.list"
EXTRA = "sessions"
"""The name under which the sessions stand in `Fetched.extra`."""
UNKNOWN_SESSIONS = "unknown-sessions"

Ask = Callable[[Mapping[str, Any]], Any]
"""Sends one `sessions.list` with these parameters and returns its payload; raises TransportError."""

_PAGE = 500
_PAGES = 20
_DAY = 24 * 60
"""Minutes. An agent that was last seen a day ago is silent by any limit that a roster may set."""

_ACTIVE: Mapping[str, Any] = {"activeOnly": True, "archived": "all", "includeGlobal": True, "includeUnknown": True}
"""Sessions with a run that goes on or is queued, however long ago they were written to: a list by age would lose the
run that has worked for hours without a word."""

_RECENT: Mapping[str, Any] = {
    "activeMinutes": _DAY,
    "requireLastInteraction": True,
    "excludeCron": True,
    "excludeSubagents": True,
}
"""Sessions in which somebody spoke with an agent lately."""

_BACKGROUND = re.compile(r":(?:cron|heartbeat|subagent)(?::|\Z)")
_AGENT = re.compile(r"agent:([^:]+):")


@dataclass(frozen=True, slots=True)
class Session:
    """One session. `at` is when its agent was last spoken with; None where it runs by itself."""

    key: str
    agent: str
    active: bool
    at: datetime | None


def with_sessions(fetched: Fetched, ask: Ask) -> Fetched:
    """The cards, and the sessions with them where they can be read; where not, a finding says why (rule T7).

    Never raises TransportError: without sessions the cards are as good as before, and nothing is recovered.
    """
    try:
        sessions = read_sessions(ask)
    except TransportError as error:
        message = f"which agents have a run is not known, so nothing is taken away: {error}"
        return replace(fetched, findings=(*fetched.findings, Finding(UNKNOWN_SESSIONS, message)))
    return replace(fetched, extra={**fetched.extra, EXTRA: sessions})


def read_sessions(ask: Ask, agent: str | None = None) -> tuple[Session, ...]:
    """Every session with a run, and those that were spoken in during the last day; of one agent only, where one is
    named. Raises TransportError, also where an entry cannot be read: it may be the run that matters."""
    of_agent = {} if agent is None else {"agentId": agent}
    active = {session.key: replace(session, active=True) for session in _sessions(ask, {**_ACTIVE, **of_agent})}
    recent = {session.key: session for session in _sessions(ask, {**_RECENT, **of_agent})}
    sessions = recent | active  # one that ended between the two questions counts as active once more
    return tuple(sessions[key] for key in sorted(sessions))


def is_active(ask: Ask, agent: str) -> bool:
    """Whether a run of the agent's goes on or is queued. Raises TransportError."""
    return next(_sessions(ask, {**_ACTIVE, "agentId": agent}), None) is not None


def presences(sessions: Iterable[Session], team: Team, now: datetime) -> tuple[Presence, ...]:
    """The sessions as the rules see them: agents by their roster ids, times not ahead of now. Pure."""
    told = []
    for session in sessions:
        owner = team.owner(session.agent)
        if owner.kind is OwnerKind.AGENT:
            at, _ = not_after(session.at, now)
            told.append(Presence(owner.id, session.active, at, session.key))
    return tuple(told)


def _sessions(ask: Ask, parameters: Mapping[str, Any]) -> Iterator[Session]:
    return map(_session, _entries(ask, parameters))


def _entries(ask: Ask, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """The entries of every page."""
    offset = 0
    for _ in range(_PAGES):
        page = ask({**parameters, "limit": _PAGE, **({"offset": offset} if offset else {})})
        entries = page.get("sessions") if isinstance(page, Mapping) else None
        if not isinstance(page, Mapping) or not isinstance(entries, list):
            raise _unreadable(f"no list of sessions: {safe_excerpt(repr(page)[:500])}")
        yield from entries
        if page.get("hasMore") is not True:
            return
        following = page.get("nextOffset")
        if not isinstance(following, int) or following <= offset:
            raise _unreadable(f"more sessions without a way to ask for them (nextOffset {following!r})")
        offset = following
    raise TransportError(FailureKind.TOO_LARGE, f"{SESSIONS_METHOD} gave more than {_PAGE * _PAGES:,} sessions")


def _session(record: Any) -> Session:
    """Cron jobs, heartbeat monitors and subagents count where they run (rule T7), and their times do not count.

    Their turns are no sign that the agent works on a task: a monitor's turn every ten minutes would hide every stall.
    """
    try:
        if not isinstance(record, Mapping):
            raise Malformed("an entry is not an object")
        key = text_or_none(record, "key")
        if key is None:
            raise Malformed("an entry has no key")
        named = _AGENT.match(key)
        agent = text_or_none(record, "agentId") or (named.group(1) if named else "")
        running = record.get("hasActiveRun")
        active = running if isinstance(running, bool) else record.get("status") == "running"
    except Malformed as error:
        raise _unreadable(f"sessions that cannot be read: {error}") from error
    background = record.get("isBackground") is True or _BACKGROUND.search(key) is not None
    return Session(key, agent, active, None if background else parse_instant(record.get("lastInteractionAt")))


def _unreadable(what: str) -> TransportError:
    return TransportError(FailureKind.BAD_OUTPUT, f"{SESSIONS_METHOD} gave {what}")
