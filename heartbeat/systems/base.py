"""What every source promises: the protocols, and the honest report that comes with every read (rules S1 to S4).

A source package has the same pieces: transports (I/O only, they raise `TransportError`), a pure translation from
record to `Item` and `Evidence`, and a factory that the registry calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from heartbeat.deadline import Deadline as Deadline
from heartbeat.errors import HeartbeatError
from heartbeat.task import Evidence, Finding, Item, Presence


class ReadStatus(StrEnum):
    """How much of a source was read (rules S1, S1a)."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    DISABLED = "disabled"


class FailureKind(StrEnum):
    """Why a read failed, in words that a script can branch on (rule S1)."""

    NOT_INSTALLED = "not_installed"
    NOT_CONFIGURED = "not_configured"
    UNREACHABLE = "unreachable"
    AUTH = "auth"
    TIMEOUT = "timeout"
    BAD_OUTPUT = "bad_output"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    INCOMPLETE = "incomplete"
    BUG = "bug"


class TransportError(HeartbeatError):
    """A transport could not do what was asked. `message` and `advice` are for the operator and hold no secret.

    `outcome_unknown` says that a write may have been carried out although no answer came: it must be looked for before
    it is repeated. `retry_after` is in seconds, where the other side said.
    """

    outcome_unknown: bool = False
    retry_after: float | None = None

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        advice: str = "",
        outcome_unknown: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.kind = kind
        self.outcome_unknown = outcome_unknown
        self.retry_after = retry_after


class PartlyHeardError(TransportError):
    """Of some agents it could not be heard who speaks with them: `unheard`, by id. `heard` is what was, of the others
    too."""

    def __init__(
        self, kind: FailureKind, message: str, *, heard: tuple[Presence, ...], unheard: frozenset[str]
    ) -> None:
        super().__init__(kind, message)
        self.heard = heard
        self.unheard = unheard


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transport that was tried or passed over, and how that ended; `kind` is None where it worked."""

    transport: str
    kind: FailureKind | None
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What was read of a source, and how. `items` counts the records that came, rejected ones included.

    `unknown_ids` names records that came malformed: they exist, and nothing else is known of them (rule S3). `agents`
    are those whose part of an incomplete read is missing, where the source keeps one for each agent; empty means that
    anybody's may be.
    """

    source: str
    status: ReadStatus
    transport: str | None = None
    kind: FailureKind | None = None
    message: str = ""
    advice: str = ""
    items: int = 0
    read_at: datetime | None = None
    findings: tuple[Finding, ...] = ()
    unknown_ids: tuple[str, ...] = ()
    tried: tuple[Attempt, ...] = ()
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be read; `raw` is its text, cut at 2,000 characters (rule S10)."""

    source: str
    id: str | None
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that one read of one source gave. `stale` items come from a complete read at `stale_at` (rule S2)."""

    report: SourceReport
    items: tuple[Item, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    stale: tuple[Item, ...] = ()
    stale_at: datetime | None = None
    presence: tuple[Presence, ...] | None = None
    """Who is at work, as far as this source can tell; None where it should tell and could not (rule T7). A source that
    never can gives an empty tuple and is not asked."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Raw records as a transport got them. `problem` is set where not every record came (rule S3), and `agents` where
    it is known whose they are that did not.

    `extra` carries what the translation needs besides the records (agents, squads, active runs), by name.
    """

    records: Sequence[Any]
    problem: str = ""
    findings: tuple[Finding, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Translated:
    """What the pure translation made of the records."""

    items: tuple[Item, ...]
    evidence: tuple[Evidence, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    findings: tuple[Finding, ...] = ()
    presence: tuple[Presence, ...] | None = None


class Transport(Protocol):
    """One way to reach one system."""

    @property
    def name(self) -> str: ...

    def absent(self) -> str | None:
        """Why there is nothing to talk to here (no binary, no address); None where it is worth trying. No I/O
        beyond the file system, never slow."""
        ...

    def fetch(self, deadline: Deadline) -> Fetched:
        """Every record there is; raises TransportError. Idempotent, writes nothing."""
        ...

    def version(self, deadline: Deadline) -> str | None:
        """The system's version where it tells one; raises TransportError."""
        ...


class Source(Protocol):
    """What the sweep reads. `read` never raises for what the outside does: it reports it."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str:
        """Text that changes when the source would read something else (address, board, files): names its snapshot.
        Holds no secret."""
        ...

    @property
    def shareable(self) -> bool:
        """Whether one read may serve other beats for a while (rule S5). Local files are cheaper to read again."""
        ...

    def read(self, deadline: Deadline, now: datetime) -> Reading: ...

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        """Every transport tried on its own, for `heartbeat doctor`."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A source that can tell anew, quickly and of a few agents, who speaks with them (rule B4). None has to."""

    def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
        """The sessions of these agents in which somebody spoke lately, heard in this order as far as time allows.

        Raises TransportError, as a PartlyHeardError where only some of them could not be heard.
        """
        ...


def heard(source: Source, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
    """What a source hears of these agents; nothing where it cannot be asked for that. Raises TransportError."""
    return source.hear(agents, deadline, now) if isinstance(source, Hearing) else ()


@dataclass(frozen=True, slots=True)
class Probe:
    """How one transport of one source answered when it was tried on its own."""

    transport: str
    ok: bool
    configured: bool
    seconds: float
    items: int | None = None
    version: str | None = None
    kind: FailureKind | None = None
    message: str = ""
    advice: str = ""


Translate = Callable[[Fetched, datetime], Translated]
"""Pure: raw records and the present to items, evidence and rejected records."""


@dataclass(frozen=True, slots=True)
class TransportedSource:
    """A source that can be reached in several ways, best first.

    With `automatic` the first transport that works is used and the report says which (rule S1a); otherwise there is
    exactly one transport, and its absence is a failure.
    """

    name: str
    identity: str
    transports: tuple[Transport, ...]
    translate: Translate
    automatic: bool
    required: bool = False
    shareable: bool = True

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        absent: list[Attempt] = []
        failed: list[Attempt] = []
        present = [transport for transport in self.transports if _is_present(transport, absent)]
        for index, transport in enumerate(present):
            last = index == len(present) - 1
            share = deadline if last else deadline.at_most(deadline.left() / 2)
            try:
                fetched = transport.fetch(share)
                translated = self.translate(fetched, now)
            except TransportError as error:
                failed.append(Attempt(transport.name, error.kind, str(error), error.advice))
                continue
            return self._reading(transport.name, fetched, translated, absent, failed, now)
        return Reading(self._failure(absent, failed) if failed else self._nothing_there(absent))

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return tuple(self._probe(transport, deadline) for transport in self.transports)

    def _reading(
        self,
        transport: str,
        fetched: Fetched,
        translated: Translated,
        absent: list[Attempt],
        failed: list[Attempt],
        now: datetime,
    ) -> Reading:
        unknown = tuple(rejected.id for rejected in translated.rejected if rejected.id is not None)
        nameless = sum(rejected.id is None for rejected in translated.rejected)
        problem = fetched.problem or (_unread(translated.rejected) if nameless else "")
        fallback = f"fell back to {transport} ({_told(failed)})" if failed else ""
        report = SourceReport(
            source=self.name,
            status=ReadStatus.PARTIAL if problem else ReadStatus.COMPLETE,
            transport=transport,
            kind=FailureKind.INCOMPLETE if problem else None,
            message="; ".join(filter(None, (problem, fallback))),
            items=len(translated.items) + len(translated.rejected),
            read_at=now,
            findings=fetched.findings + translated.findings,
            unknown_ids=unknown,
            tried=(*absent, *failed, Attempt(transport, None, "")),
            agents=() if nameless else fetched.agents,
        )
        return Reading(report, translated.items, translated.evidence, translated.rejected, presence=translated.presence)

    def _failure(self, absent: list[Attempt], failed: list[Attempt]) -> SourceReport:
        """Every transport that there is was tried; the best one's failure is the source's."""
        first = failed[0]
        return SourceReport(
            source=self.name,
            status=ReadStatus.FAILED,
            transport=first.transport,
            kind=first.kind,
            message=_told(failed),
            advice=first.advice,
            tried=(*absent, *failed),
        )

    def _nothing_there(self, absent: list[Attempt]) -> SourceReport:
        """Rule S1a: nothing to be found is no failure unless somebody asked for it."""
        optional = self.automatic and not self.required
        return SourceReport(
            source=self.name,
            status=ReadStatus.DISABLED if optional else ReadStatus.FAILED,
            kind=FailureKind.NOT_CONFIGURED,
            message=_told(absent),
            tried=tuple(absent),
        )

    def _probe(self, transport: Transport, deadline: Deadline) -> Probe:
        reason = transport.absent()
        if reason is not None:
            return Probe(transport.name, False, False, 0.0, kind=FailureKind.NOT_CONFIGURED, message=reason)
        began = time.monotonic()
        version: str | None = None
        try:
            version = transport.version(deadline)
            fetched = transport.fetch(deadline)
            translated = self.translate(fetched, datetime.now(UTC))
        except TransportError as error:
            seconds = time.monotonic() - began
            return Probe(transport.name, False, True, seconds, None, version, error.kind, str(error), error.advice)
        seconds = time.monotonic() - began
        items = len(translated.items) + len(translated.rejected)
        problem = "; ".join(filter(None, (fetched.problem, _unread(translated.rejected))))
        return Probe(transport.name, True, True, seconds, items, version, message=problem)


def _is_present(transport: Transport, absent: list[Attempt]) -> bool:
    reason = transport.absent()
    if reason is not None:
        absent.append(Attempt(transport.name, FailureKind.NOT_CONFIGURED, reason))
    return reason is None


def _unread(rejected: Sequence[Rejected]) -> str:
    """Which records could not be read, and where they are kept (rule S10)."""
    if not rejected:
        return ""
    names = ", ".join(dict.fromkeys(each.id or f"one without an id ({each.reason})" for each in rejected[:3]))
    more = " …" if len(rejected) > 3 else ""
    return f"{len(rejected)} unreadable: {names}{more} (`heartbeat receipts --json` keeps them)"


def _told(attempts: list[Attempt]) -> str:
    return "; ".join(f"{attempt.transport}: {attempt.message}" for attempt in attempts)


def cut(raw: object, limit: int = 2000) -> str:
    """A record's text for `Rejected.raw`, cut to `limit` characters."""
    text = raw if isinstance(raw, str) else repr(raw)
    return text if len(text) <= limit else text[: limit - 1] + "…"
