"""Whether an agent's turn is started now, and on which task: continue, start, or skip with a reason (rule X1). Pure.

Everything is an argument. The decision goes by statuses, owners, refs, instants and numbers, never by foreign text: a
title can make nobody start anything. Each answer tells which better placed tasks were passed over, and why.

An agent works on one task at a time. Where its task in progress rests for a while (held, just changed, its providers
not to be asked), so does the agent. Where it cannot be gone on with at all (it waits for another task, its rounds are
spent, its source is out of sight), the next task is looked at; but a card in progress holds its agent's only slot on
the board (contract 1.4), so that no other card can be claimed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from heartbeat.attempt import Attempt, DeadLetter, Engine, LetterState
from heartbeat.breaker import Breaker, available_at
from heartbeat.instants import format_duration, to_text
from heartbeat.memory import Hold, Memory
from heartbeat.plural import counted
from heartbeat.policy import Policy
from heartbeat.provider import Failover
from heartbeat.rules import rounds
from heartbeat.rules.budget import Budget, Spent, over
from heartbeat.rules.decisions import Continue as Continue
from heartbeat.rules.decisions import Decision as Decision
from heartbeat.rules.decisions import Passed as Passed
from heartbeat.rules.decisions import Reason as Reason
from heartbeat.rules.decisions import Skip as Skip
from heartbeat.rules.decisions import Start as Start
from heartbeat.rules.decisions import record_of as record_of
from heartbeat.rules.dependencies import Wait as Dependency
from heartbeat.rules.failover import Exhausted, Use, Wait, chain, choose, is_due
from heartbeat.rules.talk import Talk
from heartbeat.task import Item, Presence, Ref, State, Status, Task

CARDS = "workboard"
"""The source whose items are cards."""

TOLD_BY: Mapping[Engine, str] = {Engine.OPENCLAW: CARDS, Engine.MULTICA: "multica"}
"""The source that tells which turns go on at an engine (rule T7)."""


_RESTS = frozenset({Reason.CHANGED, Reason.HELD, Reason.BREAKER_OPEN})
"""Reasons for which an agent rests with its task in progress instead of beginning another."""


class Placed(Protocol):
    """A task and what it is to its agent: a Standing of the worklist."""

    @property
    def task(self) -> Task: ...
    @property
    def state(self) -> State: ...
    @property
    def waits(self) -> Sequence[Dependency]: ...


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the decision for one agent depends on.

    `standings` are the agent's own, in the order of work. `in_use` are the sources that were asked, `incomplete` those
    not read completely, `presence_unknown` those that should tell who is at work and did not, `unknown_ids` records
    that came malformed. `unfinished` are the attempts of all agents; `attempts` and `letters` those of these tasks,
    oldest first, the finished and the closed ones included. `ended` are session keys, or engines' names of turns, that
    ended after the look. `touched` are the refs that were written to after it, or are about to be. `day_ends` is when
    the budget is whole again.
    """

    now: datetime
    agent: str
    policy: Policy
    standings: Sequence[Placed]
    memory: Memory = field(default_factory=Memory)
    presence: Sequence[Presence] = ()
    in_use: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()
    presence_unknown: frozenset[str] = frozenset()
    unknown_ids: frozenset[str] = frozenset()
    failover: Failover = field(default_factory=Failover)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    """By the name of a provider, or of an engine."""
    unfinished: Sequence[Attempt] = ()
    attempts: Sequence[Attempt] = ()
    letters: Sequence[DeadLetter] = ()
    talk: Talk | None = None
    ended: frozenset[str] = frozenset()
    touched: frozenset[Ref] = frozenset()
    spent: Spent = field(default_factory=Spent)
    budget: Budget = field(default_factory=Budget)
    day_ends: datetime | None = None
    limit: int = 4
    """How many turns may go on at once, of all agents."""
    named: Task | None = None
    """The one of these tasks that a person asked for: no other is considered, and its dead letter need not be due."""


def decide(situation: Situation) -> Decision:
    """What is started for the agent now. Total: there is an answer to every situation, and always the same one."""
    return _resting(situation) or _Choice(situation).made()


def _resting(situation: Situation) -> Skip | None:
    """Why nothing is started for this agent whatever its tasks are; the first reason that holds."""
    return next(_reasons_to_rest(situation), None)


def _reasons_to_rest(situation: Situation) -> Iterator[Skip]:
    agent, now, policy = situation.agent, situation.now, situation.policy
    if policy.dispatch not in set(Engine):
        yield Skip(Reason.NONE, f"dispatch: {policy.dispatch} in the roster")
        return
    if situation.memory.observing:
        yield Skip(Reason.OBSERVING, "memory was lost: heartbeat only observes until somebody accepts that")
    pause = situation.memory.paused(agent, now)
    if pause is not None:
        yield Skip(Reason.PAUSED, f"paused: {pause.why}", pause.until)
    own = next((each for each in situation.unfinished if each.agent == agent), None)
    if own is not None:
        yield Skip(Reason.BUSY, f"its turn {own.id} is {own.life.value}")
    if not any(each.state in _WORK for each in situation.standings):
        yield _nothing(situation)
    if situation.talk is not None:
        yield Skip(Reason.TALKING, situation.talk.told, situation.talk.until)
    active = next((each for each in _active(situation) if each.agent == agent), None)
    if active is not None:
        yield Skip(Reason.BUSY, f"a turn of {agent} is running ({active.id})")
    engine = Engine(policy.dispatch)
    yield from _engine(situation, engine)
    if len(situation.unfinished) >= situation.limit:
        running = counted(len(situation.unfinished), "turn is", "turns are")
        yield Skip(Reason.LIMIT, f"{running} running, and the limit is {situation.limit}")
    exceeded = over(situation.spent, situation.budget)
    if exceeded:
        yield Skip(Reason.BUDGET, exceeded, situation.day_ends)


_WORK = frozenset({State.READY, State.IN_PROGRESS})


def _nothing(situation: Situation) -> Skip:
    """There is nothing to do, as far as was seen; what was not read may hold some (rule S2)."""
    passed = tuple(_waiting(each) for each in situation.standings if each.state is State.WAITING and each.waits)
    if situation.incomplete or not situation.in_use:
        unread = " and ".join(sorted(situation.incomplete)) or "no source"
        verb = "was read" if not situation.incomplete else "could not be read completely"
        return Skip(Reason.DEGRADED, f"nothing is known to be ready: {unread} {verb}", passed=passed)
    if passed:
        return Skip(Reason.WAITING, "everything there is to do waits for something else", passed=passed)
    return Skip(Reason.NO_WORK, "nothing is ready")


def _engine(situation: Situation, engine: Engine) -> Iterator[Skip]:
    """Whether turns can be started there, and it is known which go on."""
    source = TOLD_BY[engine]
    if source not in situation.in_use:
        told = f"whether a turn is running cannot be known: {source} is not in use"
        yield Skip(Reason.DEGRADED, told)
    elif source in situation.presence_unknown:
        yield Skip(Reason.DEGRADED, f"whether a turn is running cannot be known: {source} did not tell")
    breaker = situation.breakers.get(engine.value)
    until = None if breaker is None else available_at(breaker, situation.now, situation.failover.rules)
    if until is not None:
        left = format_duration(until - situation.now)
        yield Skip(Reason.BREAKER_OPEN, f"{engine.value} cannot be asked for {left}: it failed too often", until)


def _active(situation: Situation) -> Iterator[Presence]:
    """The turns that go on, without those that have ended since they were seen."""
    for each in situation.presence:
        over = any(each.id == name or each.id.endswith(f":{name}") for name in situation.ended)
        if each.active and not over:
            yield each


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A task that may be the one. `rank` is the order in which tasks are considered (rule X1)."""

    placed: Placed
    rank: tuple[int, datetime, int]
    letter: DeadLetter | None

    @property
    def task(self) -> Task:
        return self.placed.task

    @property
    def goes_on(self) -> bool:
        return self.placed.state is State.IN_PROGRESS


class _Choice:
    """The choice among the agent's tasks, once nothing speaks against a turn."""

    def __init__(self, situation: Situation) -> None:
        self._seen = situation
        self._engine = Engine(situation.policy.dispatch)
        self._running = {ref for attempt in situation.unfinished for ref in attempt.refs}
        self._at_work = {each.ref for each in _active(situation) if each.ref is not None}
        self._attempts = _by_ref(situation.attempts)
        self._letters = _by_ref(situation.letters)
        self._card = _card_in_progress(situation)

    def made(self) -> Decision:
        """The first that nothing stands against. Where there is none, what is told is why the agent rests, else why the
        best placed task that does not merely wait for another got nothing."""
        passed: list[Passed] = []
        for candidate in self._candidates():
            found = self._against(candidate) or self._asked(candidate)
            if isinstance(found, Use):
                return self._turn(candidate, found, tuple(passed))
            passed.append(found)
            if candidate.goes_on and found.reason in _RESTS:
                return _skip(found, passed)
        able = (each for each in passed if each.reason is not Reason.WAITING)
        return _skip(next(able, passed[0]), passed)

    def _candidates(self) -> Sequence[_Candidate]:
        """First what is in progress, then dead letters that are due, the one due for longest first, then what is ready;
        each in the order of work. What waits for another task stands where it would if it did not."""
        found = []
        named = self._seen.named
        for place, placed in enumerate(self._seen.standings):
            if named is not None and placed.task.key != named.key:
                continue
            letter = self._letter(placed.task)
            if placed.state is State.IN_PROGRESS:
                found.append(_Candidate(placed, (0, self._seen.now, place), letter))
            elif placed.state is State.READY and letter is not None and self._may_replay(letter):
                found.append(_Candidate(placed, (1, letter.due_at, place), letter))
            elif placed.state is State.READY or (placed.state is State.WAITING and placed.waits):
                found.append(_Candidate(placed, (2, self._seen.now, place), letter))
        return sorted(found, key=lambda each: each.rank)

    def _letter(self, task: Task) -> DeadLetter | None:
        """The task's open dead letter; of several, which there should not be, the oldest."""
        return next((letter for letter in _of(task, self._letters) if letter.is_open), None)

    def _may_replay(self, letter: DeadLetter) -> bool:
        """A letter that is due, or that a person asks for, or one whose replay somebody began and did not end."""
        wanted = self._seen.named is not None or letter.state is LetterState.REPLAYING
        return wanted or is_due(letter, self._seen.now)

    def _against(self, candidate: _Candidate) -> Passed | None:
        """Why this task gets no turn, whoever could be asked; the first reason that holds."""
        return next(self._objections(candidate), None)

    def _objections(self, candidate: _Candidate) -> Iterator[Passed]:
        seen, task, letter = self._seen, candidate.task, candidate.letter
        refs = frozenset(task.refs)
        unread = sorted({ref.source for ref in refs} & seen.incomplete)
        if unread:
            yield Passed(task, Reason.DEGRADED, f"{' and '.join(unread)} could not be read completely")
        strange = [str(ref) for ref in task.refs if ref.id in seen.unknown_ids]
        if task.stale or task.absent or strange or task.status is Status.UNKNOWN:
            yield Passed(task, Reason.DEGRADED, "not all of its records could be read")
        silent = sorted({ref.source for ref in refs} & seen.presence_unknown)
        if silent:
            told = f"whether a run is active on it cannot be known: {' and '.join(silent)} did not tell"
            yield Passed(task, Reason.DEGRADED, told)
        if not refs.isdisjoint(self._running):
            yield Passed(task, Reason.BUSY, "another agent's turn has it")
        if not refs.isdisjoint(self._at_work):
            yield Passed(task, Reason.BUSY, "a run is active on it")
        if letter is not None and not self._may_replay(letter):
            yield _resting_letter(task, letter)
        if not refs.isdisjoint(seen.touched):
            yield Passed(task, Reason.CHANGED, "it was written to since it was read")
        if self._engine is Engine.MULTICA and TOLD_BY[self._engine] not in {ref.source for ref in refs}:
            yield Passed(task, Reason.ENGINE, "multica runs its own issues only")
        if task.split:
            yield Passed(
                task, Reason.WAITING, "some of its records are closed and some open: somebody has to settle that"
            )
        if candidate.placed.waits:
            yield _waiting(candidate.placed)
        hold = self._hold(task)
        if hold is not None:
            told = f"held until {to_text(hold.until)}: {hold.why or 'no reason given'}"
            yield Passed(task, Reason.HELD, told, hold.until)
        row = rounds.together(task, seen.memory.rounds)
        if rounds.spend(row, seen.policy) is rounds.Spend.EXHAUSTED:
            told = f"{counted(row.used, 'round')} of {rounds.limit_of(row, seen.policy)} are used"
            yield Passed(task, Reason.ROUNDS_EXHAUSTED, told)
        if self._card is not None and not refs & {self._card.ref} and any(ref.source == CARDS for ref in refs):
            yield Passed(task, Reason.BUSY, f"{self._card.key} is in progress and holds the agent's only slot")

    def _hold(self, task: Task) -> Hold | None:
        """The hold on it that lasts longest, of those that still stand (rule T5)."""
        holds = (self._seen.memory.holds[ref] for ref in task.refs if ref in self._seen.memory.holds)
        standing = [hold for hold in holds if self._seen.now < hold.until]
        return max(standing, key=lambda hold: hold.until, default=None)

    def _asked(self, candidate: _Candidate) -> Use | Passed:
        """Who is asked for a turn on it, or why nobody is (rules F1, F2)."""
        task, seen = candidate.task, self._seen
        before = chain(_of(task, self._attempts), _of(task, self._letters))
        found = choose(seen.failover, seen.breakers, before, seen.now)
        match found:
            case Use():
                return found
            case Wait():
                return Passed(task, Reason.BREAKER_OPEN, "; ".join(found.reasons), found.until)
            case Exhausted() if before:
                return Passed(task, Reason.DEAD_LETTER, "; ".join(found.reasons), give_up=found)
            case Exhausted():
                return Passed(task, Reason.BREAKER_OPEN, "; ".join(found.reasons))

    def _turn(self, candidate: _Candidate, use: Use, passed: tuple[Passed, ...]) -> Continue | Start:
        task, letter = candidate.task, candidate.letter
        who = "; ".join(use.reasons)
        replayed = "" if letter is None else f", as a replay of dead letter {letter.id}"
        if candidate.goes_on:
            told = f"{_name(task)} is in progress and its turn has ended{replayed}; {who}"
            return Continue(task, told, use.provider, letter, passed)
        due = f", due {task.due.isoformat()}" if task.due else ""
        first = "was asked for by name" if self._seen.named is not None else "is first in the order of work"
        rank = replayed or f" {first} ({task.priority.value}{due})"
        return Start(task, f"{_name(task)}{rank}; {who}", use.provider, letter, passed)


def _skip(decisive: Passed, passed: Sequence[Passed]) -> Skip:
    """Nothing can be started, and of all reasons this one is told."""
    until = min((each.until for each in passed if each.until is not None), default=None)
    return Skip(decisive.reason, f"{_name(decisive.task)}: {decisive.told}", until, tuple(passed))


def _waiting(placed: Placed) -> Passed:
    return Passed(placed.task, Reason.WAITING, "; ".join(wait.reason for wait in placed.waits))


def _resting_letter(task: Task, letter: DeadLetter) -> Passed:
    if letter.state is LetterState.EXHAUSTED:
        why = "the task itself was refused" if letter.poison else f"it failed {counted(letter.tries, 'more time')}"
        told = f"dead letter {letter.id} is left for a person: {why}"
        return Passed(task, Reason.DEAD_LETTER, told)
    return Passed(task, Reason.DEAD_LETTER, f"dead letter {letter.id} is tried again later", letter.due_at)


def _card_in_progress(situation: Situation) -> Item | None:
    """The card that holds the agent's slot on the board (contract 1.4), whether or not its task can go on."""
    cards = (item for placed in situation.standings for item in placed.task.items if item.ref.source == CARDS)
    return next((item for item in cards if item.status is Status.IN_PROGRESS and not item.archived), None)


_Thing = TypeVar("_Thing", Attempt, DeadLetter)


def _by_ref(things: Sequence[_Thing]) -> Mapping[Ref, Sequence[tuple[int, _Thing]]]:
    """By each of their refs, with their places."""
    found: dict[Ref, list[tuple[int, _Thing]]] = {}
    for place, thing in enumerate(things):
        for ref in thing.refs:
            found.setdefault(ref, []).append((place, thing))
    return found


def _of(task: Task, things: Mapping[Ref, Sequence[tuple[int, _Thing]]]) -> tuple[_Thing, ...]:
    """Those that share a ref with the task, each once, in their order."""
    found = {place: thing for ref in task.refs for place, thing in things.get(ref, ())}
    return tuple(found[place] for place in sorted(found))


def _name(task: Task) -> str:
    """What people call it; never its title, which is foreign."""
    return task.items[0].key
