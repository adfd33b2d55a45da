"""Whatever systems, people, agents, clocks and deaths do: what must hold after every beat (I1 to I8, S2, T6, L3, D).

A small company on three sources. Hypothesis plays everybody; heartbeat really beats, on a store in memory and scripted
systems. Everything is judged by an oracle of its own, in true time: what somebody really did and when, what a source
really showed, and what really arrived.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from heartbeat.action import Operation, signature
from heartbeat.beat import Tick, tick
from heartbeat.deadline import Deadline
from heartbeat.instants import not_after
from heartbeat.memory import EVERYBODY, Ending, Hold, Pause, Stage, Step, StepOutcome
from heartbeat.peers import Peers
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import UNFINISHED, Entry, EntryKind
from heartbeat.systems.base import FailureKind, Reading, ReadStatus, SourceReport, TransportError
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.systems.writing import Look, Written
from heartbeat.task import (
    EvidenceKind,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Ref,
    State,
    Status,
)
from tests.support.bombs import Bomb, BombedStore, bombed_peers
from tests.support.items import ALICE, NOW, card, explicit, issue, line
from tests.support.rosters import make_agent
from tests.support.scripted_writer import Died, Fault, ScriptedSystem, ScriptedWorld

MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE
BEAT = 10 * MINUTE
GAP = 3 * BEAT
MAX_ROUNDS = 5
START = NOW + 3 * MINUTE

TEAM = (
    make_agent("coo", "high_frequency", patrol=True, notify=("self",), max_rounds=MAX_ROUNDS),
    make_agent("writer", "high_frequency", notify=("coo", "operator"), backup="second", max_rounds=MAX_ROUNDS),
    make_agent("second", "high_frequency", notify=("creator",), max_rounds=MAX_ROUNDS),
)
POLICY = TEAM[0].policy
PATIENCE = POLICY.recover_after - POLICY.suspect_after
AGENTS = tuple(agent.id for agent in TEAM)
WRITER, SECOND = Owner(OwnerKind.AGENT, "writer"), Owner(OwnerKind.AGENT, "second")
STORM = 3

TWO_ORIGINS = frozenset({card(1, "").ref, issue(1, "").ref})
"""One task; every other item is a task of its own, by its title."""
GATED = card(5, "").ref
GATE = issue(3, "").ref


def everything() -> list[ScriptedSystem]:
    old = START - 3 * HOUR
    running = {"status": Status.IN_PROGRESS, "started_at": old, "updated_at": old}
    board = Flaky(
        card(1, "Reconcile the ledger", owner=WRITER, mentions=("BIZ-1",)),
        card(2, "Order new chairs", owner=WRITER, **running),
        card(3, "Answer the auditors", owner=SECOND, **running),
        card(4, "Plan the party"),
        card(5, "Print the contract", owner=SECOND, depends_on=explicit("BIZ-3")),
        name="workboard",
    )
    issues = Flaky(
        issue(1, "Reconcile the ledger", owner=WRITER),
        issue(2, "Translate the website", owner=SECOND, **running),
        issue(3, "Sign the contract", owner=WRITER),
        issue(4, "Choose a lawyer", Status.IN_PROGRESS, owner=ALICE),
        name="multica",
    )
    lines = Undated(
        line(1, "Water the plants", owner=WRITER),
        line(2, "Clean the fridge", Status.IN_PROGRESS, owner=SECOND),
        name="todo",
    )
    return [board, issues, lines]


class Flaky(ScriptedSystem):
    """A system that can also be read in part, and that tells its past by its own clock, as translations pass it on."""

    def __init__(self, *items: Item, name: str) -> None:
        super().__init__(*items, name=name)
        self.hidden: frozenset[Ref] | None = None
        """What a partial read does not show; None where reads are whole."""
        for item in items:
            if item.status is Status.IN_PROGRESS and self.claims:
                self.claimants[item.ref] = item.owner.id

    @property
    def whole(self) -> bool:
        return self.failure is None and self.hidden is None

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        reading = super().read(deadline, now)
        if self.failure is not None:
            return reading
        hidden = self.hidden or frozenset()
        items = tuple(_as_told(item, now) for item in reading.items if item.ref not in hidden)
        told = tuple(replace(each, at=_ahead(each.at, now)) for each in reading.evidence if each.ref not in hidden)
        presence = None if self.presence is None else tuple(self.presence)
        report = replace(reading.report, items=len(items))
        if self.hidden is not None:
            message = "the second page did not come"
            report = SourceReport(
                self.name, ReadStatus.PARTIAL, "scripted", FailureKind.INCOMPLETE, message, items=len(items)
            )
        return Reading(report, items, told, presence=presence)

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        look = super().look(ref, owner, deadline, now)
        told = tuple(replace(each, at=_ahead(each.at, now)) for each in look.evidence)
        return replace(look, item=None if look.item is None else _as_told(look.item, now), evidence=told)


class Undated(Flaky):
    """A system without dates and history, like a TODO file; what we leave on a line does not change the line."""

    def __init__(self, *items: Item, name: str) -> None:
        super().__init__(*items, name=name)
        self.lines = {item.ref: 1 for item in items}
        """How often somebody else has changed each line."""

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        reading = super().read(deadline, now)
        return replace(reading, items=tuple(map(self._bare, reading.items)), evidence=())

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        look = super().look(ref, owner, deadline, now)
        return replace(look, item=None if look.item is None else self._bare(look.item), evidence=())

    def apply(self, write: Any, look: Look, deadline: Deadline, now: datetime) -> Written:
        super().apply(write, look, deadline, now)
        return Written((self._bare(self.items[write.ref]).revision or "",))

    def touch(self, ref: Ref) -> None:
        self.lines[ref] += 1

    def _bare(self, item: Item) -> Item:
        return replace(item, updated_at=None, started_at=None, revision=f"{self.lines[item.ref]}-{item.status}")


def _ahead(instant: datetime, now: datetime) -> datetime:
    corrected = not_after(instant, now)[0]
    assert corrected is not None
    return corrected


def _as_told(item: Item, now: datetime) -> Item:
    return replace(item, started_at=None if item.started_at is None else _ahead(item.started_at, now))


class Company(RuleBasedStateMachine):
    """`true` is the time that really is, `ahead` by how much heartbeat's clock is ahead of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = ScriptedWorld(*everything())
        self.store = MemoryStore()
        self.true, self.ahead = START, timedelta(0)
        self.letters: Counter[str] = Counter()
        self.deaths = 0
        self.beats = 0
        self.heard: dict[Ref, datetime] = {}
        """When somebody else last gave a sign of life on an item, truly."""
        self.touched: set[Ref] = set()
        """What others changed since the last beat."""
        self.looks: defaultdict[str, int] = defaultdict(int)
        """How often each source was seen whole."""
        self.runs: dict[str, list[tuple[datetime, datetime]]] = {}
        """Since when each source has been seen without a gap: (true time, by heartbeat's clock) of the whole looks."""
        self.nudged: dict[str, datetime] = {}
        """When the owner was shown the nudge of an incident, truly."""
        self.opened: dict[str, datetime] = {}
        """When an incident was first on record, truly."""
        self.beaten: dict[str, datetime] = {}
        """When each agent last beat, truly."""
        self.spent: dict[Ref, int] = {}
        self.left_alone: dict[Ref, str] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    # What everybody may refer to.

    def system(self, ref: Ref) -> Flaky:
        return self.world.systems[ref.source]  # type: ignore[return-value]

    @property
    def now(self) -> datetime:
        return self.true + self.ahead

    def told(self, source: str) -> datetime:
        """The time by a system's clock: Multica's is right, the others run where heartbeat runs."""
        return self.true if source == "multica" else self.now

    def refs(self) -> list[Ref]:
        return sorted(ref for system in self.world.systems.values() for ref in system.items)

    def pick(self, data: st.DataObject, *statuses: Status) -> Ref | None:
        found = [ref for ref in self.refs() if not statuses or self.system(ref).items[ref].status in statuses]
        return data.draw(st.sampled_from(found), "item") if found else None

    def sign(self, ref: Ref) -> None:
        self.heard[ref] = self.true
        self.touched.add(ref)
        system = self.system(ref)
        if isinstance(system, Undated):
            system.touch(ref)

    # Sources.

    @rule(data=st.data(), name=st.sampled_from(["workboard", "multica", "todo"]), down=st.booleans())
    def a_source_goes_down_or_is_read_in_part(self, data: st.DataObject, name: str, down: bool) -> None:
        system = self.world.systems[name]
        if down:
            system.failure = TransportError(FailureKind.UNREACHABLE, f"{name} is down")
        else:
            shown = sorted(system.items)
            hidden = data.draw(st.sets(st.sampled_from(shown), max_size=2), "hidden") if shown else ()
            system.hidden = frozenset(hidden)  # type: ignore[attr-defined]

    @rule()
    def all_sources_come_back(self) -> None:
        for system in self.world.systems.values():
            system.failure = None
            system.hidden = None  # type: ignore[attr-defined]

    @rule(fault=st.sampled_from([Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.HALF, Fault.DOWN, Fault.CONFLICT]))
    def the_next_write_goes_wrong(self, fault: Fault) -> None:
        for system in self.world.systems.values():
            system.fail_writes(fault)

    # People.

    @rule(data=st.data())
    def somebody_comments(self, data: st.DataObject) -> None:
        ref = self.pick(data)
        if ref is not None:
            self.system(ref).say(ref, "what about this?", self.told(ref.source))
            self.sign(ref)

    @rule(data=st.data(), status=st.sampled_from([each for each in Status if each is not Status.UNKNOWN]))
    def somebody_moves_it(self, data: st.DataObject, status: Status) -> None:
        ref = self.pick(data)
        if ref is not None:
            started = {"started_at": self.told(ref.source)} if status is Status.IN_PROGRESS else {}
            self.system(ref).change(ref, self.told(ref.source), status=status, raw_status=status.value, **started)
            self.system(ref).claimants.pop(ref, None)
            self.sign(ref)

    @rule(data=st.data(), archived=st.booleans())
    def somebody_archives_it_or_takes_it_out(self, data: st.DataObject, archived: bool) -> None:
        ref = self.pick(data)
        if ref is not None:
            self.system(ref).change(ref, self.told(ref.source), archived=archived)
            self.sign(ref)

    @rule(data=st.data())
    def somebody_deletes_it(self, data: st.DataObject) -> None:
        ref = self.pick(data, Status.DONE, Status.CANCELLED, Status.IN_PROGRESS)
        if ref is not None and len(self.refs()) > 6:
            del self.system(ref).items[ref]
            self.system(ref).claimants.pop(ref, None)

    # Agents.

    @rule(data=st.data(), agent=st.sampled_from(AGENTS))
    def an_agent_takes_it(self, data: st.DataObject, agent: str) -> None:
        ref = self.pick(data, Status.TODO, Status.BLOCKED)
        if ref is not None and self.system(ref).items[ref].owner != ALICE:
            self.system(ref).take(ref, agent, self.told(ref.source))
            self.sign(ref)

    @rule(data=st.data())
    def an_agent_sends_a_heartbeat_and_then_falls_silent(self, data: st.DataObject) -> None:
        ref = self.pick(data, Status.IN_PROGRESS)
        if ref is not None:
            self.system(ref)._happened(ref, self.told(ref.source), EvidenceKind.CLAIM_HEARTBEAT)
            self.sign(ref)

    @rule(data=st.data())
    def an_agent_finishes_it(self, data: st.DataObject) -> None:
        ref = self.pick(data, Status.IN_PROGRESS)
        if ref is not None:
            self.system(ref).change(ref, self.told(ref.source), status=Status.DONE, raw_status="done")
            self.system(ref).claimants.pop(ref, None)
            self.sign(ref)

    @rule(data=st.data(), turns=st.integers(2, 8))
    def an_agent_runs_in_circles(self, data: st.DataObject, turns: int) -> None:
        ref = self.pick(data, Status.IN_PROGRESS)
        for _ in range(turns if ref is not None and ref.source != "todo" else 0):
            assert ref is not None
            if ref in self.system(ref).items and self.system(ref).items[ref].status is Status.IN_PROGRESS:
                self.system(ref)._happened(ref, self.told(ref.source), EvidenceKind.RUN)
                self.sign(ref)
            self.beat()

    @rule(data=st.data(), agent=st.sampled_from(["writer", "second"]), times=st.integers(2, 4))
    def an_agent_takes_it_and_falls_silent_again_and_again(self, data: st.DataObject, agent: str, times: int) -> None:
        ref = self.pick(data, Status.TODO, Status.IN_PROGRESS)
        for _ in range(times):
            system = self.system(ref) if ref is not None else None
            if ref is None or system is None or ref not in system.items or system.items[ref].owner == ALICE:
                return
            if system.items[ref].status is Status.TODO:
                system.take(ref, agent, self.told(ref.source))
                self.sign(ref)
            for _ in range(5):
                self.beat()

    @rule(agent=st.sampled_from(AGENTS), active=st.sampled_from([True, False, None]))
    def who_is_at_work(self, agent: str, active: bool | None) -> None:
        """An agent's run begins, or has ended, or the board does not tell any more."""
        board = self.world["workboard"]
        session = f"agent:{agent}:main"
        board.presence = (
            None if active is None else (Presence(agent, active, self.told("workboard") - MINUTE, session),)
        )

    # Operators.

    @rule(agent=st.sampled_from([*AGENTS, EVERYBODY]))
    def somebody_pauses(self, agent: str) -> None:
        self.store.put_pause(Pause(agent, self.now, self.now + HOUR, "a migration"))

    @rule(data=st.data())
    def somebody_holds(self, data: st.DataObject) -> None:
        ref = self.pick(data, Status.IN_PROGRESS)
        if ref is not None:
            self.store.put_hold(Hold(ref, self.now, self.now + 40 * MINUTE, "a long build"))

    # Clocks.

    @rule(step=st.sampled_from([HOUR, -HOUR, 24 * HOUR, -24 * HOUR]))
    def somebody_sets_the_clock(self, step: timedelta) -> None:
        self.ahead += step

    @rule(hours=st.sampled_from([1, 5, 49]))
    def nobody_beats_for_hours(self, hours: int) -> None:
        self.true += hours * HOUR
        self.beat()

    # Beats.

    @rule(apart=st.lists(st.sampled_from([1, 10, 14, 25]), min_size=1, max_size=5))
    def beats_come_early_and_late(self, apart: list[int]) -> None:
        for minutes in apart:
            self.true += minutes * MINUTE - BEAT
            self.beat()

    @rule(number=st.integers(2, 7))
    def several_beats(self, number: int) -> None:
        for _ in range(number):
            self.beat()

    @rule(who=st.sets(st.sampled_from(AGENTS), min_size=1), number=st.integers(1, 4))
    def only_some_beat(self, who: set[str], number: int) -> None:
        for _ in range(number):
            self.beat(tuple(agent for agent in AGENTS if agent in who))

    @rule(step=st.integers(0, 90))
    def a_beat_dies(self, step: int) -> None:
        bomb = Bomb(step)
        before = self.deaths
        try:
            self.beat(bomb=bomb)
        except Died:
            self.deaths += 1
        assert self.deaths - before == bomb.dead

    def beat(self, agents: tuple[str, ...] = AGENTS, *, bomb: Bomb | None = None) -> None:
        self.true += BEAT
        bomb = bomb or Bomb()
        scene = Scene(self)
        try:
            done = tick(
                roster := self.roster(),
                roster.chosen(agents),
                {},
                BombedStore(self.store, bomb),  # type: ignore[arg-type]
                SnapshotCache(Path(self.folder.name) / "snapshots", read_only=True),
                Path(self.folder.name) / "locks",
                clock=lambda: self.now,
                fresh=True,
                peers=self.peers(bomb),
                deadline=Deadline.after(60),
            )
        finally:
            self.beats += 1
            self.see()
            scene.check_writes()
            self.touched.clear()
            self.remember_what_is_left_alone()
        scene.check(done, agents)

    def peers(self, bomb: Bomb) -> Peers:
        return bombed_peers(self.world, lambda key: self.letters.update([key]), bomb)

    def roster(self) -> Roster:
        return Roster(
            path=Path(self.folder.name) / "agents.yaml",
            timezone="UTC",
            operator=Operator("Vincent", ("ops",)),
            agents={agent.id: agent for agent in TEAM},
            sources={name: {} for name in self.world.systems},
            channels={"ops": {"kind": "file", "path": "ops.log", "min_level": "info"}},
            escalation={"storm": STORM},
        )

    def see(self) -> None:
        """What a look at this instant adds to how long each source has been in sight."""
        for name, system in self.world.systems.items():
            if system.whole:  # type: ignore[attr-defined]
                self.looks[name] += 1
                run = self.runs.setdefault(name, [])
                if run and self.now - run[-1][1] > GAP:
                    run.clear()
                run.append((self.true, self.now))

    def remember_what_is_left_alone(self) -> None:
        self.left_alone = {
            ref: incident.id
            for incident in self.store.incidents(open_only=True)
            if incident.stage is Stage.LEFT_ALONE
            and (block := incident.taken(Step.BLOCK)) is not None
            and block.outcome is StepOutcome.DONE
            for ref in incident.refs
        }

    # What must always hold.

    @invariant()
    def I4_every_text_of_ours_stands_once_and_a_letter_arrives_twice_at_most_where_somebody_died(self) -> None:
        for system in self.world.systems.values():
            for ref, texts in system.texts.items():
                ours = Counter(found for text in texts if (found := signature(text)) is not None)
                assert all(count == 1 for count in ours.values()), (ref, ours)
        assert sum(count - 1 for count in self.letters.values()) <= self.deaths, self.letters

    @invariant()
    def I8_the_rounds_of_a_task_never_go_down(self) -> None:
        for ref, row in self.store.rounds().items():
            assert row.used >= self.spent.get(ref, 0), ref
            self.spent[ref] = row.used


class Scene:
    """The world as a beat found it, and what the beat may make of it."""

    def __init__(self, company: Company) -> None:
        self.company = company
        systems = company.world.systems
        self.items = {ref: item for system in systems.values() for ref, item in system.items.items()}
        self.shown = {
            ref
            for system in systems.values()
            if system.failure is None
            for ref in system.items
            if ref not in (system.hidden or ())  # type: ignore[attr-defined]
        }
        self.whole = frozenset(name for name, system in systems.items() if system.whole)  # type: ignore[attr-defined]
        self.known = {entry.key for entry in company.store.entries()}
        self.under_way = {entry.key for entry in company.store.entries(kind=EntryKind.WRITE, states=UNFINISHED)}
        self.incidents = {each.id: each for each in company.store.incidents()}
        self.receipts = {agent: len(company.store.receipts(agent, 10_000)) for agent in AGENTS}

    def check(self, done: Tick, agents: Iterable[str]) -> None:
        """What a beat that came to its end must leave."""
        company = self.company
        for agent in agents:
            assert len(company.store.receipts(agent, 10_000)) == self.receipts[agent] + 1, "I6: a receipt each"
        for beat in done.beats:
            assert beat.receipt is not None
            assert beat.worklist is not None
            assert sum(beat.receipt.buckets.values()) == len(self.shown), "I1: every item is in one bucket"
            assert beat.receipt.degraded == (len(self.whole) < 3)
            company.beaten[beat.agent.id] = company.true
            for entry in beat.inbox:
                company.nudged.setdefault(entry.incident, company.true)
            ready = {ref for each in beat.worklist.in_state(State.READY) for ref in each.task.refs}
            self.check_presented(beat.agent.id, ready)

    def check_presented(self, agent: str, ready: set[Ref]) -> None:
        """I3, and D: what nothing keeps waiting is on its owner's worklist, and what waits is not."""
        for ref in sorted(self.shown):
            item = self.items[ref]
            if ref.source not in self.whole or ref in TWO_ORIGINS or item.owner.id != agent:
                continue
            is_open = item.status is Status.TODO and not item.archived
            if ref == GATED:
                gate = self.items.get(GATE)
                satisfied = GATE in self.shown and gate is not None and gate.status is Status.DONE
                assert (is_open and satisfied) or ref not in ready, f"D: {ref} waits for {gate}"
            elif is_open:
                assert ref in ready, f"I3: {item}"
            else:
                assert ref not in ready, item

    def check_writes(self) -> None:
        """What was decided in this beat; also in one that died on the way."""
        company = self.company
        new = [entry for entry in company.store.entries() if entry.key not in self.known]
        writes = [entry for entry in new if entry.kind is EntryKind.WRITE]
        for incident in company.store.incidents():
            company.opened.setdefault(incident.id, company.true)
        for entry in writes:
            self.check_write(entry)
        for entry in new:
            for source in () if self.tells_of_a_write(entry) else self.sources_of(entry):
                assert source in self.whole, f"S2: {source} was not complete, and {entry.key}"
        recovered = {entry.incident for entry in writes if entry.payload["step"] in ("recover", "block")}
        assert len(recovered) <= STORM, f"T6: {recovered}"
        for incident in company.store.incidents():
            before = self.incidents.get(incident.id)
            if before is not None and before.open and not incident.open:
                seen = self.shown if incident.ending is not Ending.VANISHED else frozenset()
                assert all(ref in seen or ref.source in self.whole for ref in incident.refs), f"S2: {incident}"

    def tells_of_a_write(self, entry: Entry) -> bool:
        """Whether a message says what came of a write that was decided in an earlier beat, from a look at its item."""
        message = entry.key.rpartition("/")[0]
        return entry.kind is not EntryKind.WRITE and any(
            key in message or key.startswith((f"{message}/", f"{entry.incident or None}/")) for key in self.under_way
        )

    def sources_of(self, entry: Entry) -> set[str]:
        """The sources that what was decided is about: those of the task, and of all that is its incident's."""
        incident = next((each for each in self.company.store.incidents() if each.id == entry.incident), None)
        refs = set(incident.refs) if incident is not None else set()
        if entry.kind is EntryKind.WRITE:
            refs.add(self.ref_of(entry))
        elif entry.task:
            source, _, name = entry.task.partition(":")
            refs.add(Ref(source, name))
        return {ref.source for ref in refs}

    @staticmethod
    def ref_of(entry: Entry) -> Ref:
        return Ref(*entry.payload["write"]["ref"])

    def check_write(self, entry: Entry) -> None:
        company, ref = self.company, self.ref_of(entry)
        told = f"{entry.key} at {company.true}, {company.now} by the clock"
        item = self.items[ref]
        assert item.owner != ALICE, f"S6a: {told}"
        assert company.looks[ref.source] >= (3 if entry.payload["step"] else 2), f"T6: {told}"
        if ref in company.left_alone and ref not in company.touched:
            raise AssertionError(f"L3: {told}")
        owner = entry.payload["owner"][1] if ref in TWO_ORIGINS else item.owner.id
        assert not any(
            pause.agent in (owner, EVERYBODY) and (pause.until is None or company.now < pause.until)
            for pause in company.store.pauses()
        ), f"paused: {told}"
        operation = Operation(entry.payload["write"]["operation"])
        step = entry.payload["step"]
        if step not in ("recover", "block"):
            return
        assert operation in (Operation.RECOVER, Operation.BLOCK)
        incident = next(each for each in company.store.incidents() if each.id == entry.incident)
        if not self.is_looping(incident.refs):
            for one in incident.refs:
                silence = company.true - company.heard.get(one, START)
                assert silence >= POLICY.recover_after, f"I7: {told}, heard {silence} ago"
        # An owner who beats is shown the nudge; one who does not has had as long to come and look (rules L0, T6).
        nudged = company.nudged.get(entry.incident) or company.opened[entry.incident]
        assert company.true - nudged >= PATIENCE, f"T6: {told}"
        if entry.incident not in company.nudged and owner in AGENTS:
            assert company.true - company.beaten.get(owner, START) >= BEAT, f"I7: {owner} was not shown it: {told}"
        seen_since, _ = company.runs[ref.source][0]
        assert company.true - seen_since >= BEAT, f"T6: {told}"

    def is_looping(self, refs: Iterable[Ref]) -> bool:
        rounds = self.company.store.rounds()
        return any(ref in rounds and rounds[ref].idle >= 3 for ref in refs)


_ANY = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

TestInvariants = Company.TestCase
TestInvariants.settings = settings(
    max_examples=18, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=_ANY
)


class LongRun(Company):
    """The same for minutes, and every time another one."""


TestInvariantsAtLength = pytest.mark.slow(LongRun.TestCase)
TestInvariantsAtLength.settings = settings(
    max_examples=1000, stateful_step_count=50, deadline=None, suppress_health_check=_ANY
)
