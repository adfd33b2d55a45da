"""Does the whole team really beat: one round is awaited, every agent's next slot, and what came of it is told.

The clock and the waiting are the caller's. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from heartbeat.errors import Exit
from heartbeat.plural import counted
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import next_slot
from heartbeat.store.port import Receipt
from heartbeat.systems.base import ReadStatus
from heartbeat.watch.records import Records

SLACK = timedelta(seconds=60)
"""Beyond the grace: a scheduler that looks once a minute may begin that late."""

_POLL = 2.0
"""Seconds between two looks while somebody is due."""
_LONGEST_WAIT = 30.0
"""Seconds after which the clock is read again, however far the next slot is: it may be set meanwhile."""


_UNREAD = (ReadStatus.FAILED.value, ReadStatus.PARTIAL.value)
_DISABLED = ReadStatus.DISABLED.value
_MULTICA = "multica"


class Result(StrEnum):
    """What came of an agent's round."""

    BEAT = "beat"
    """A beat came in time, and read everything that may hold this agent's work."""
    GAP = "gap"
    """None came, it failed, or it did not read everything."""
    UNKNOWN = "unknown"
    """It could not be looked at, or was not waited for."""


@dataclass(frozen=True, slots=True)
class Round:
    """One agent's next slot, and what answered it. `problems` say what is wrong with a gap, or why nothing is known;
    `notes` what the beat did not read and holds nothing of this agent."""

    agent: str
    slot: datetime
    result: Result
    receipt: Receipt | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def read(self) -> Mapping[str, str]:
        """Name to status of every source, as the beat read them; empty where none came."""
        sources = () if self.receipt is None else self.receipt.sources
        return {str(source.get("name")): str(source.get("status")) for source in sources}


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of a round of several agents, in their order. `records` is the last look."""

    began_at: datetime
    ended_at: datetime
    until: datetime
    rounds: tuple[Round, ...]
    records: Records
    interrupted: bool = False

    @property
    def code(self) -> Exit:
        """A gap counts before what is not known, and that is never green (rule B5)."""
        results = {each.result for each in self.rounds}
        if Result.GAP in results:
            return Exit.FOUND
        return Exit.INCOMPLETE if Result.UNKNOWN in results else Exit.OK

    @property
    def unused(self) -> tuple[str, ...]:
        """The sources of which no beat found anything, so that nothing was read there."""
        told = [each.read for each in self.rounds if each.read]
        names = dict.fromkeys(name for read in told for name in read)
        return tuple(name for name in names if all(read.get(name, _DISABLED) == _DISABLED for read in told))

    @property
    def verdict(self) -> str:
        """The result in one line."""
        told = {
            result: [each.agent for each in self.rounds if each.result is result]
            for result in (Result.GAP, Result.UNKNOWN)
        }
        beaten = sum(each.result is Result.BEAT for each in self.rounds)
        parts = [f"{beaten} of {counted(len(self.rounds), 'agent')} beat"]
        parts += [f"{result.value}: {', '.join(agents)}" for result, agents in told.items() if agents]
        word = {Exit.OK: "OK", Exit.FOUND: "FOUND"}.get(self.code, "UNKNOWN")
        return f"{word}: {'; '.join(parts)}"


def slots(roster: Roster, agents: Sequence[Agent], now: datetime) -> Mapping[str, datetime]:
    """Each agent's next slot."""
    return {agent.id: next_slot(agent.policy, roster.timezone, now) for agent in agents}


def verify(
    roster: Roster,
    agents: Sequence[Agent],
    *,
    clock: Callable[[], datetime],
    wait: Callable[[float], None],
    look: Callable[[datetime], Records],
    grace: timedelta,
    timeout: timedelta | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Verified:
    """Waits until every agent's next slot was answered, or should have been. `wait` takes seconds; KeyboardInterrupt
    ends the waiting, and what is known by then is told."""
    began = clock()
    due = slots(roster, agents, began)
    last = max(due.values(), default=began)
    until = last + grace + SLACK if timeout is None else began + timeout
    answers: dict[str, Receipt] = {}
    now, interrupted = began, False
    records = look(now)
    try:
        while pending := [name for name in due if name not in answers and now < min(due[name] + grace + SLACK, until)]:
            wait(_pause(now, [due[name] for name in pending], until))
            now = clock()
            records = look(now)
            for name in pending:
                receipt = _answer(records, name, due[name])
                if receipt is not None:
                    answers[name] = receipt
                    say(f"{name}: {receipt.outcome}, {len(answers)} of {len(due)}")
    except KeyboardInterrupt:
        interrupted = True
    rounds = tuple(_round(agent, due[agent.id], answers.get(agent.id), records, now, grace) for agent in agents)
    return Verified(began, now, until, rounds, records, interrupted)


def _pause(now: datetime, slots: Sequence[datetime], until: datetime) -> float:
    """Seconds to the next look: until somebody is due, or a moment while somebody is."""
    ahead = min(slots) - now
    seconds = _POLL if ahead <= timedelta(0) else ahead.total_seconds()
    return max(0.0, min(seconds, _LONGEST_WAIT, (until - now).total_seconds()))


def _answer(records: Records, agent: str, slot: datetime) -> Receipt | None:
    """The receipt of the beat that answered this slot, or a later one."""
    receipts = records.record(agent).receipts
    return next((each for each in reversed(receipts) if each.slot is not None and each.slot >= slot), None)


def _round(
    agent: Agent, slot: datetime, receipt: Receipt | None, records: Records, now: datetime, grace: timedelta
) -> Round:
    if receipt is not None:
        problems, notes = tuple(_problems(agent, receipt)), tuple(_notes(agent, receipt))
        return Round(agent.id, slot, Result.GAP if problems else Result.BEAT, receipt, problems, notes)
    if records.trouble:
        return Round(agent.id, slot, Result.UNKNOWN, problems=(records.trouble,))
    if now < slot + grace:
        return Round(agent.id, slot, Result.UNKNOWN, problems=("its slot was not waited for",))
    return Round(agent.id, slot, Result.GAP, problems=("no beat answered its slot",))


def _problems(agent: Agent, receipt: Receipt) -> Iterator[str]:
    if receipt.outcome == "failed":
        yield f"the beat failed: {'; '.join(receipt.reasons) or 'without a reason on record'}"
    elif not receipt.sources:
        yield "the beat read no source"
    for source in receipt.sources:
        if source.get("status") in _UNREAD and _concerns(agent, source):
            yield _told(source)
        elif source.get("status") == _DISABLED and _is_bound(agent, str(source.get("name"))):
            yield (
                f"{source.get('name')} was not read: the roster gives {agent.id} an id there, and the beat found "
                f"nothing of it ({source.get('message') or source.get('kind')}); `heartbeat doctor --cron` tries it as "
                "beats do"
            )


def _notes(agent: Agent, receipt: Receipt) -> Iterator[str]:
    for source in receipt.sources:
        if source.get("status") in _UNREAD and not _concerns(agent, source):
            yield f"no part of {agent.id}'s: {_told(source)}"


def _told(source: Mapping[str, Any]) -> str:
    return f"{source.get('name')} {source.get('status')}: {source.get('message') or source.get('kind')}"


def _concerns(agent: Agent, source: Mapping[str, Any]) -> bool:
    """Whether what was not read may hold anything of this agent. One without a Multica id has no Multica source (rule
    R3); a source that keeps a part for each agent tells whose is missing."""
    whose = source.get("agents") or ()
    return (source.get("name") != _MULTICA or agent.multica_id is not None) and (not whose or agent.id in whose)


def _is_bound(agent: Agent, source: str) -> bool:
    """Whether the roster says that this agent has work there, so that nothing read is not nothing to do."""
    return source == _MULTICA and agent.multica_id is not None
