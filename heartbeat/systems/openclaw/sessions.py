"""Which agents have a run, when each was last seen at work, and when a person last spoke with it, by OpenClaw's
sessions (rules T1, T7, B4; contract 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from operator import itemgetter
from typing import Any

from heartbeat.instants import not_after, parse_instant
from heartbeat.policy import QUIET_AFTER_TALK
from heartbeat.systems.base import FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.shape import Malformed, text_or_none
from heartbeat.systems.openclaw.talks import heard_last, is_for_programs
from heartbeat.task import Finding, OwnerKind, Presence

SESSIONS_METHOD = "sessions.list"
EXTRA = "sessions"
"""The name under which the sessions stand in `Fetched.extra`."""
UNKNOWN_SESSIONS = "unknown-sessions"
UNKNOWN_TALK = "unknown-talk"

Ask = Callable[[Mapping[str, Any]], Any]
"""Sends one `sessions.list`, or one `chat.history`, with these parameters and returns its payload; raises
TransportError."""

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


Rank = Callable[[str], int | None]
"""The place of an agent, by its OpenClaw name, among those that are meant; None of one that is not."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Sessions in which somebody spoke lately, and why it is not known of some agents, by their OpenClaw names."""

    sessions: tuple[Session, ...]
    unheard: Mapping[str, TransportError | Malformed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """One session. `at` is when its agent was last spoken with, by whomever; None where it runs by itself.

    `for_programs` says that no person speaks there; `talked_at` is when one last did, as far as that matters (rule
    B4). `listed_at` is the Gateway's own time.
    """

    key: str
    agent: str
    active: bool
    at: datetime | None
    for_programs: bool = False
    talked_at: datetime | None = None
    listed_at: datetime | None = field(default=None, compare=False)


def with_sessions(fetched: Fetched, ask: Ask, hear: Ask | None = None, quiet: timedelta = QUIET_AFTER_TALK) -> Fetched:
    """The cards, and the sessions with them where they can be read; where not, a finding says why (rule T7).

    `hear` asks for the history of those where a person may have spoken within `quiet`, and of no other (rule B4). Never
    raises TransportError: without sessions the cards are as good as before, and nothing is recovered.
    """
    try:
        sessions = read_sessions(ask)
    except TransportError as error:
        message = f"which agents have a run is not known, so nothing is taken away: {error}"
        return replace(fetched, findings=(*fetched.findings, Finding(UNKNOWN_SESSIONS, message)))
    unheard: list[Finding] = []
    if hear is not None:
        sessions = tuple(_heard(session, hear, quiet, unheard) for session in sessions)
    return replace(fetched, extra={**fetched.extra, EXTRA: sessions}, findings=(*fetched.findings, *unheard[:1]))


def read_sessions(ask: Ask, agent: str | None = None) -> tuple[Session, ...]:
    """Every session with a run, and those that were spoken in during the last day; of one agent only, where one is
    named. Raises TransportError, also where an entry cannot be read: it may be the run that matters."""
    of_agent = {} if agent is None else {"agentId": agent}
    active = {session.key: replace(session, active=True) for session in _sessions(ask, {**_ACTIVE, **of_agent})}
    recent = {session.key: session for session in _sessions(ask, {**_RECENT, **of_agent})}
    sessions = recent | active  # one that ended between the two questions counts as active once more
    return tuple(sessions[key] for key in sorted(sessions))


def spoken_in(ask: Ask, hear: Ask, rank: Rank, quiet: timedelta) -> Spoken:
    """The sessions of the agents that are meant in which somebody spoke within `quiet`, with the person's last word:
    one question for all agents, and one for each session where that may have been a person, by the agents' places. A
    session that cannot be heard is left out, and its agent is told. Raises TransportError."""
    lately = {**_RECENT, "activeMinutes": ceil(quiet / timedelta(minutes=1)) + 1}
    meant = [(place, session) for session in _sessions(ask, lately) if (place := rank(session.agent)) is not None]
    sessions: list[Session] = []
    unheard: dict[str, TransportError | Malformed] = {}
    for _, session in sorted(meant, key=itemgetter(0)):
        try:
            sessions.append(_with_last_word(session, hear, quiet))
        except (TransportError, Malformed) as error:
            unheard.setdefault(session.agent, error)
    return Spoken(tuple(sessions), unheard)


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
            talked_at, _ = not_after(session.talked_at, now)
            told.append(Presence(owner.id, session.active, at, session.key, talked_at=talked_at))
    return tuple(told)


def _heard(session: Session, hear: Ask, quiet: timedelta, unheard: list[Finding]) -> Session:
    """As `_with_last_word`. What cannot be read counts as said by a person, and is told."""
    try:
        return _with_last_word(session, hear, quiet)
    except (TransportError, Malformed) as error:
        message = f"who spoke with {session.agent} is not known, so it counts as a person: {error}"
        unheard.append(Finding(UNKNOWN_TALK, message))
        return replace(session, talked_at=session.at)


def _with_last_word(session: Session, hear: Ask, quiet: timedelta) -> Session:
    """The session with the person's last word in it. Raises TransportError and Malformed."""
    if session.at is None or session.for_programs or _AGENT.match(session.key) is None:
        return session
    since = (session.listed_at or session.at) - quiet
    if session.at < since:
        return session
    return replace(session, talked_at=heard_last(hear, session.key, since=since, otherwise=session.at))


def _sessions(ask: Ask, parameters: Mapping[str, Any]) -> Iterator[Session]:
    return (_session(record, listed_at) for record, listed_at in _entries(ask, parameters))


def _entries(ask: Ask, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, datetime | None]]:
    """The entries of every page, and the Gateway's time when it made the page."""
    offset = 0
    for _ in range(_PAGES):
        page = ask({**parameters, "limit": _PAGE, **({"offset": offset} if offset else {})})
        entries = page.get("sessions") if isinstance(page, Mapping) else None
        if not isinstance(page, Mapping) or not isinstance(entries, list):
            raise _unreadable(f"no list of sessions: {safe_excerpt(repr(page)[:500])}")
        listed_at = parse_instant(page.get("ts"))
        yield from ((entry, listed_at) for entry in entries)
        if page.get("hasMore") is not True:
            return
        following = page.get("nextOffset")
        if not isinstance(following, int) or following <= offset:
            raise _unreadable(f"more sessions without a way to ask for them (nextOffset {following!r})")
        offset = following
    raise TransportError(FailureKind.TOO_LARGE, f"{SESSIONS_METHOD} gave more than {_PAGE * _PAGES:,} sessions")


def _session(record: Any, listed_at: datetime | None) -> Session:
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
    at = None if background else parse_instant(record.get("lastInteractionAt"))
    return Session(key, agent, active, at, for_programs=is_for_programs(key, record), listed_at=listed_at)


def _unreadable(what: str) -> TransportError:
    return TransportError(FailureKind.BAD_OUTPUT, f"{SESSIONS_METHOD} gave {what}")
