"""Whatever is told to both stores about the rules' memory, the outbox, the log and turns, they give the same answers.

A plain model keeps count beside them: rounds never go down (invariant I8), and each key of the outbox is kept once,
claimed while it is unfinished, and settled as it was last said (rule L4, invariant I4). No agent and no ref is ever in
two unfinished attempts, and an attempt goes on by the table alone (rules X5, X6).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from heartbeat.attempt import NEXT, Attempt, Cause, DeadLetter, Engine, LetterState, Life, Outcome, Usage
from heartbeat.breaker import Breaker, State
from heartbeat.memory import (
    Clock,
    Ending,
    Hold,
    Incident,
    Mark,
    Miss,
    MissReason,
    Pause,
    Rounds,
    Stage,
    Step,
    StepOutcome,
    StepTaken,
)
from heartbeat.memory import Window as Seen
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Store
from heartbeat.task import EvidenceKind, Owner, OwnerKind, Ref, Status
from tests.support.receipts import MINUTE, NOW, remembered

_texts = st.sampled_from(["", "a", "b", "\x00", "中", "\ud83d", "\ud83d\ude00", "𐀀", "\uffff"])
_refs = st.builds(Ref, st.sampled_from(["workboard", "todo", "\udcff"]), _texts)
_instants = st.integers(-60, 60).map(lambda minutes: NOW + minutes * MINUTE)
_counts = st.integers(-3, 60)
_marks = st.builds(Mark, _instants, st.sampled_from(EvidenceKind), _texts, _refs)
_clocks = st.builds(
    Clock,
    ref=_refs,
    epoch=_texts,
    began_at=_instants,
    seen_at=_instants,
    activity=st.none() | _marks,
    progress=st.none() | _marks,
    newest=st.none() | st.tuples(_instants, _texts),
    revision=st.none() | _texts,
)
_windows = st.builds(Seen, _instants, _instants)
_incidents = st.builds(
    Incident,
    id=_texts,
    ref=_refs,
    refs=st.lists(_refs, max_size=2).map(tuple),
    epoch=_texts,
    title=st.text(max_size=5),
    owner=st.builds(Owner, st.sampled_from(OwnerKind), _texts),
    opened_at=_instants,
    stage=st.sampled_from(Stage),
    number=st.integers(0, 4),
    steps=st.lists(
        st.builds(StepTaken, st.sampled_from(Step), _instants, st.sampled_from(StepOutcome), _texts), max_size=2
    ).map(tuple),
    nudged_at=st.none() | _instants,
    recovered_at=st.none() | _instants,
    ended_at=st.none() | _instants,
    ending=st.none() | st.sampled_from(Ending),
)
_rounds = st.builds(
    Rounds,
    ref=_refs,
    used=_counts,
    extra=_counts,
    idle=_counts,
    progress_at=st.none() | _instants,
    turn_at=st.none() | _instants,
    slot=st.none() | _instants,
    warned_at=st.none() | _instants,
    paused_at=st.none() | _instants,
)
_holds = st.builds(Hold, _refs, _instants, _instants, _texts, _texts)
_pauses = st.builds(Pause, _texts, _instants, st.none() | _instants, _texts, _texts)
_json = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=2)
_keys = st.sampled_from(["k", "l", "m\ud83d"])
_states = st.sampled_from(EntryState)
_entries = st.builds(
    Entry,
    key=_keys,
    kind=st.sampled_from(EntryKind),
    target=_texts,
    payload=_json,
    created_at=_instants,
    due_at=_instants,
    task=_texts,
    incident=_texts,
    state=st.just(EntryState.PENDING) | _states,
    attempts=st.integers(0, 3),
    claimed_at=st.none() | _instants,
    finished_at=st.none() | _instants,
)
_misses = st.builds(Miss, _texts, _instants, _instants, st.integers(1, 10_000), st.sampled_from(MissReason), _instants)
_log_entries = st.builds(LogEntry, _instants, _texts, _texts, _texts, _texts, _texts, _json, st.integers(0, 9))

_lives = st.sampled_from(Life)
_some_refs = st.lists(_refs, max_size=3).map(tuple)
_attempt_ids = st.sampled_from(["1", "2", "3", "4\ud83d"])
_whole = st.none() | st.integers(-1, 9)
_attempts = st.builds(
    Attempt,
    id=_attempt_ids,
    task=_texts,
    refs=_some_refs,
    title=_texts,
    agent=_texts,
    number=st.integers(1, 3),
    engine=st.sampled_from(Engine),
    provider=_texts,
    planned_at=_instants,
    life=st.just(Life.PLANNED) | _lives,
    continued=st.booleans(),
    before=st.lists(st.tuples(_refs, st.sampled_from(Status)), max_size=2).map(tuple),
    letter=_texts,
    tries=st.integers(0, 3),
    accepted_at=st.none() | _instants,
    deadline=st.none() | _instants,
    ended_at=st.none() | _instants,
    outcome=st.none() | st.sampled_from(Outcome),
    cause=st.none() | st.sampled_from(Cause),
    exit_code=_whole,
    usage=st.builds(Usage, _whole, _whole, st.none() | st.floats()),
)
_breakers = st.builds(
    Breaker,
    provider=_texts,
    state=st.sampled_from(State),
    failures=st.integers(0, 3),
    until=st.none() | _instants,
    probe=_texts,
    probe_at=st.none() | _instants,
    cooled_until=st.none() | _instants,
)
_letters = st.builds(
    DeadLetter,
    id=_texts,
    task=_texts,
    refs=_some_refs,
    title=_texts,
    agent=_texts,
    created_at=_instants,
    due_at=_instants,
    error=_texts,
    attempts=st.lists(_attempt_ids | _texts, max_size=2).map(tuple),
    tries=st.integers(0, 5),
    poison=st.booleans(),
    state=st.sampled_from(LetterState),
    closed_at=st.none() | _instants,
    payload=_json,
)


class RememberingTwins(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.sqlite: Store = open_store(Path(self.directory.name), NOW)
        self.memory: Store = MemoryStore()
        self.spent: dict[Ref, tuple[int, int]] = {}
        self.outbox: dict[str, Entry] = {}

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.sqlite.close()
            self.directory.cleanup()

    def both(self, do: Callable[[Store], Any]) -> Any:
        answers = []
        for store in (self.sqlite, self.memory):
            try:
                answers.append(do(store))
            except (ValueError, RuntimeError, KeyError) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(clocks=st.lists(_clocks, max_size=3), gone=st.lists(_refs, max_size=2))
    def tick(self, clocks: list[Clock], gone: list[Ref]) -> None:
        self.both(lambda store: store.put_clocks(clocks))
        self.both(lambda store: store.drop_clocks(gone))

    @rule(source=_texts, windows=st.lists(_windows, max_size=3))
    def see(self, source: str, windows: list[Seen]) -> None:
        self.both(lambda store: store.put_windows(source, windows))

    @rule(ref=_refs, ids=st.lists(_texts, max_size=3), at=_instants)
    def write(self, ref: Ref, ids: list[str], at: datetime) -> None:
        self.both(lambda store: store.note_own(ref, ids, at))

    @rule(waiting=st.dictionaries(st.tuples(_refs, _texts), _instants, max_size=3))
    def wait(self, waiting: dict[tuple[Ref, str], datetime]) -> None:
        self.both(lambda store: store.note_waiting(waiting))

    @rule(incident=_incidents, since=st.none() | _instants, open_only=st.booleans())
    def stall(self, incident: Incident, since: datetime | None, open_only: bool) -> None:
        self.both(lambda store: store.put_incident(incident))
        self.both(lambda store: store.incidents(open_only=open_only, since=since))

    @rule(rounds=st.lists(_rounds, max_size=3))
    def count(self, rounds: list[Rounds]) -> None:
        self.both(lambda store: store.put_rounds(rounds))
        for each in rounds:
            used, extra = self.spent.get(each.ref, (0, 0))
            self.spent[each.ref] = (max(used, each.used), max(extra, each.extra))

    @rule(hold=_holds, pause=_pauses, ref=_refs, agent=_texts)
    def declare(self, hold: Hold, pause: Pause, ref: Ref, agent: str) -> None:
        self.both(lambda store: store.put_hold(hold))
        self.both(lambda store: store.put_pause(pause))
        self.both(lambda store: (store.drop_hold(ref), store.drop_pause(agent)))

    @rule(entries=st.lists(_entries, max_size=3))
    def enqueue(self, entries: list[Entry]) -> None:
        new: dict[str, Entry] = {}
        for each in entries:
            if each.key not in self.outbox:
                new.setdefault(each.key, each)
        self.outbox |= new
        assert self.both(lambda store: store.enqueue(entries)) == tuple(new)

    @rule(key=_keys, at=_instants)
    def claim(self, key: str, at: datetime) -> None:
        known = self.outbox.get(key)
        expected = known if known is not None and known.state in UNFINISHED else None
        assert self.both(lambda store: store.claim_entry(key, at)) == expected
        if expected is not None:
            self.outbox[key] = replace(
                expected, state=EntryState.CLAIMED, attempts=expected.attempts + 1, claimed_at=at
            )

    @rule(key=_keys, state=_states, at=_instants, error=_texts, result=_texts, due_at=st.none() | _instants)
    def settle(
        self, key: str, state: EntryState, at: datetime, error: str, result: str, due_at: datetime | None
    ) -> None:
        said = self.both(lambda store: store.settle_entry(key, state, at, error=error, result=result, due_at=due_at))
        known = self.outbox.get(key)
        if state is EntryState.CLAIMED or known is None:
            assert said[0] is (ValueError if state is EntryState.CLAIMED else KeyError)
            return
        assert said is None
        pending = state is EntryState.PENDING
        self.outbox[key] = replace(
            known,
            state=state,
            claimed_at=None if pending else known.claimed_at,
            finished_at=None if pending else at,
            due_at=due_at or known.due_at,
            error=error,
            result=result,
        )

    @rule(
        kind=st.none() | st.sampled_from(EntryKind),
        states=st.none() | st.frozensets(_states),
        receiver=st.none() | _texts,
        incident=st.none() | _texts,
        due_by=st.none() | _instants,
        limit=st.none() | st.integers(-1, 3),
    )
    def ask(
        self,
        kind: EntryKind | None,
        states: frozenset[EntryState] | None,
        receiver: str | None,
        incident: str | None,
        due_by: datetime | None,
        limit: int | None,
    ) -> None:
        self.both(
            lambda store: store.entries(
                kind=kind, states=states, target=receiver, incident=incident, due_by=due_by, limit=limit
            )
        )

    @rule(
        entries=st.lists(_log_entries, max_size=3),
        after=st.integers(-1, 9),
        limit=st.none() | st.integers(-1, 3),
        agent=st.none() | _texts,
        task=st.none() | _texts,
    )
    def log(self, entries: list[LogEntry], after: int, limit: int | None, agent: str | None, task: str | None) -> None:
        self.both(lambda store: store.add_log(entries))
        self.both(lambda store: store.log(after=after, limit=limit, agent=agent, task=task))

    @rule(
        rounds=_rounds,
        incident=_incidents,
        entry=_entries,
        key=_keys,
        entries=st.lists(_log_entries, max_size=1),
        attempt=st.none() | _attempts,
        letter=_letters,
    )
    def break_off(
        self,
        rounds: Rounds,
        incident: Incident,
        entry: Entry,
        key: str,
        entries: list[LogEntry],
        attempt: Attempt | None,
        letter: DeadLetter,
    ) -> None:
        def beat(store: Store) -> None:
            with store.transaction():
                store.put_rounds([rounds])
                store.put_incident(incident)
                store.enqueue([entry])
                store.claim_entry(key, NOW)
                store.add_log(entries)
                if attempt is not None:
                    store.add_attempt(attempt)
                for each in store.attempts(unfinished=True):
                    store.advance_attempt(replace(each, life=Life.ENDED), each.life)
                store.put_letter(letter)
                store.forget_before(NOW)
                raise RuntimeError

        self.both(beat)

    @rule(
        misses=st.lists(_misses, max_size=3),
        agent=st.none() | _texts,
        since=st.none() | _instants,
        limit=st.none() | st.integers(-1, 3),
        until=_instants,
    )
    def miss(
        self, misses: list[Miss], agent: str | None, since: datetime | None, limit: int | None, until: datetime
    ) -> None:
        self.both(lambda store: store.note_misses(misses))
        self.both(lambda store: store.misses(agent, since=since, limit=limit))
        self.both(lambda store: store.last_slot(agent or "", until))

    @rule(refs=st.lists(_refs, max_size=3), at=_instants)
    def note(self, refs: list[Ref], at: datetime) -> None:
        self.both(lambda store: store.note_sightings(refs, at))

    @rule(attempt=_attempts)
    def start(self, attempt: Attempt) -> None:
        before = {each.id: each for each in self.memory.attempts()}
        added = self.both(lambda store: store.add_attempt(attempt))
        if added is True:
            assert attempt.id not in before
            assert len(self.memory.attempts()) == len(before) + 1
        elif added is False:
            taken = [each for each in before.values() if not each.is_finished]
            assert attempt.id in before or (
                not attempt.is_finished
                and any(each.agent == attempt.agent or {*each.refs} & {*attempt.refs} for each in taken)
            )

    @rule(id_=_attempt_ids, like=_attempts, life=_lives, believed=_lives, true=st.booleans(), same=st.booleans())
    def go_on(self, id_: str, like: Attempt, life: Life, believed: Life, true: bool, same: bool) -> None:
        known = self.memory.attempt(id_)
        assert self.both(lambda store: store.attempt(id_)) == known
        attempt = replace(like, id=id_, life=life)
        if known is not None and same:
            attempt = replace(attempt, agent=known.agent, refs=known.refs)
        before = known.life if known is not None and true else believed
        advanced = self.both(lambda store: store.advance_attempt(attempt, before))
        if advanced is True:
            assert known is not None
            assert known.life is before
            assert life is before or life in NEXT[before]
            assert (known.agent, known.refs) == (attempt.agent, attempt.refs)
            assert known.outcome is attempt.outcome or not known.is_finished
        else:
            assert self.memory.attempt(id_) == known

    @rule(
        refs=st.none() | st.lists(_refs, max_size=2),
        agent=st.none() | _texts,
        unfinished=st.booleans(),
        since=st.none() | _instants,
        limit=st.none() | st.integers(-1, 3),
    )
    def ask_for_turns(
        self, refs: list[Ref] | None, agent: str | None, unfinished: bool, since: datetime | None, limit: int | None
    ) -> None:
        self.both(lambda store: store.attempts(refs=refs, agent=agent, unfinished=unfinished, since=since, limit=limit))
        self.both(lambda store: store.letters(refs=refs, agent=agent, open_only=unfinished))

    @rule(breaker=_breakers, name=_texts)
    def trip(self, breaker: Breaker, name: str) -> None:
        self.both(lambda store: store.put_breaker(breaker))
        self.both(lambda store: store.drop_breaker(name))
        self.both(lambda store: list(store.breakers()))

    @rule(letter=_letters, id_=_texts)
    def give_up(self, letter: DeadLetter, id_: str) -> None:
        self.both(lambda store: store.put_letter(letter))
        self.both(lambda store: store.letter(id_))

    @rule(instant=_instants)
    def forget(self, instant: datetime) -> None:
        self.both(lambda store: store.forget_before(instant))
        left = self.memory.rounds()
        self.spent = {ref: spent for ref, spent in self.spent.items() if ref in left}
        self.outbox = {
            key: entry
            for key, entry in self.outbox.items()
            if entry.state in UNFINISHED or (entry.finished_at or entry.created_at) >= instant
        }

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = open_store(Path(self.directory.name), NOW)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "sqlite"):
            return
        self.both(remembered)
        assert {ref: (each.used, each.extra) for ref, each in self.sqlite.rounds().items()} == self.spent
        assert {entry.key: entry for entry in self.sqlite.entries()} == self.outbox
        taken = self.sqlite.attempts(unfinished=True)
        assert len({attempt.agent for attempt in taken}) == len(taken)
        refs = [ref for attempt in taken for ref in {*attempt.refs}]
        assert len({*refs}) == len(refs)


class RememberingTwinsForLong(RememberingTwins):
    """The same with more examples."""


RememberingTwins.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
RememberingTwinsForLong.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_twins_remember_alike = RememberingTwins.TestCase
test_the_twins_remember_alike_for_long = pytest.mark.slow(RememberingTwinsForLong.TestCase)
