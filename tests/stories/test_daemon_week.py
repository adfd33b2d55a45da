"""A week of one daemon, twenty agents and every fault that there is: what was due is on record, each slot once (I6).

True time, the machine's clock and its sleeps are those of a `Machine`; the beats, the rules, the loop and the receipts
are real. The oracle knows when which agent was on the roster, and what true time each beat began at.
"""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from heartbeat.beat import Peers
from heartbeat.errors import RosterError, StateError
from heartbeat.memory import Miss
from heartbeat.policy import Policy, anchor_of
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.schedule import due, slots
from heartbeat.schedule.slots import current_slot
from heartbeat.store.opening import open_store
from heartbeat.store.port import Receipt
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus, TransportError
from heartbeat.task import Owner, OwnerKind
from tests.support.daemon_world import NOTHING, Machine, Postbox, Stage, with_agents
from tests.support.items import card
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import Died, Fault, ScriptedSystem, ScriptedWorld

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)
LATE = 8 * MINUTE
"""How late a beat may be at the most: the longest pause after failures, half a minute until a set clock is noticed, and
what beats, reads and the jitter take."""

BEGIN = {
    "America/New_York": datetime(2026, 10, 29, 4, 0, tzinfo=UTC),
    "Asia/Shanghai": datetime(2026, 11, 2, tzinfo=UTC),
}
"""In New York summer time ends on the fourth day of that week."""

EVERY = (30 * MINUTE, HOUR, HOUR, 30 * MINUTE, 2 * HOUR, 90 * MINUTE, 30 * MINUTE, 3 * HOUR)
CRONS = ("*/30 * * * *", "0 9-17 * * 1-5", "30 1 * * *", "15 */3 * * *")
FAULTS = ("down", "hanging", "partial", "locked", "full", "refused", "silent", "bug", "killed")
NOTICED = 120.0
"""Seconds until a roster that was saved is in use at the latest: half a minute, two seconds, and a beat in between."""
CHANCE = 0.01
"""Of each fault, at each beat."""


def team(count: int) -> tuple[Agent, ...]:
    """Agents of all rhythms; every third one at its own minute."""
    agents = []
    for number in range(count):
        name = f"agent-{number:02d}"
        if number % 5 == 4:
            agents.append(make_agent(name, cron=CRONS[number // 5 % len(CRONS)]))
            continue
        every = EVERY[number % len(EVERY)]
        anchor = anchor_of(name, every) if number % 7 == 0 else NOTHING
        agents.append(make_agent(name, every=every, anchor=anchor, patrol=number == 0, notify=("operator",)))
    return tuple(agents)


@dataclass(slots=True)
class Ledger:
    """What was put on record, in plain numbers.

    `slots` and `missed` are by agent; `begun` holds the true and the waking time of each agent's beats, and whether
    they answered a slot.
    """

    machine: Machine
    slots: dict[str, set[float]] = field(default_factory=dict)
    missed: dict[str, set[tuple[float, float]]] = field(default_factory=dict)
    begun: dict[str, list[tuple[float, float, bool]]] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    off: bool = False
    """Whether nothing is kept: what the test keeps must not be mistaken for a leak."""
    _receipts: list[Receipt] = field(default_factory=list)
    _misses: list[Miss] = field(default_factory=list)

    def noted(self, name: str, arguments: tuple[Any, ...]) -> None:
        """What the store is asked to do; it counts when the transaction is kept."""
        if self.off:
            return
        if name == "transaction":
            self._receipts.clear()
            self._misses.clear()
        elif name == "add_receipt":
            self._receipts.append(arguments[0])
        elif name == "note_misses":
            self._misses += arguments[0]
        elif name == "committed":
            self._keep()

    def _keep(self) -> None:
        for miss in self._misses:
            span = (miss.first.timestamp(), miss.last.timestamp())
            self.missed.setdefault(miss.agent, set()).add(span)
        for receipt in self._receipts:
            answers = receipt.slot is not None
            when = (self.machine.true.timestamp(), self.machine.awake, answers)
            self.begun.setdefault(receipt.agent, []).append(when)
            if receipt.slot is not None:
                slots = self.slots.setdefault(receipt.agent, set())
                if receipt.slot.timestamp() in slots:
                    self.doubled.append(f"{receipt.agent} {receipt.slot}")
                slots.add(receipt.slot.timestamp())
        self._receipts.clear()
        self._misses.clear()

    def answered(self, agent: str, slot: datetime) -> bool:
        at = slot.timestamp()
        missed = self.missed.get(agent, ())
        return at in self.slots.get(agent, ()) or any(first <= at <= last for first, last in missed)


@dataclass(slots=True)
class Trouble:
    """What goes wrong with a beat: drawn when the store is opened for it."""

    machine: Machine
    chance: random.Random
    system: ScriptedSystem
    postbox: Postbox
    ledger: Ledger
    kind: str = ""
    calm: bool = False
    immortal: bool = False
    """While nobody could start the daemon again."""
    dead: bool = False
    drawn: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.dead:
            raise Died
        if name == "open":
            self._draw()
        if (name, self.kind) == ("open", "locked"):
            raise StateError("the database is locked")
        if (name, self.kind) == ("add_receipt", "full"):
            raise StateError("the disk is full")
        if (name, self.kind) == ("remember_links", "bug"):
            raise KeyError("a bug")
        if (name, self.kind) == ("commit", "killed"):
            self.dead = True
            raise Died
        self.ledger.noted(name, arguments)

    def _draw(self) -> None:
        number = int(self.chance.random() / CHANCE)
        self.kind = FAULTS[number] if number < len(FAULTS) and not self.calm else ""
        if self.kind == "killed" and self.immortal:
            self.kind = "bug"
        self.drawn[self.kind] += 1
        self.postbox.down = self.kind == "silent"
        if self.kind == "refused":
            self.system.fail_writes(Fault.DOWN)

    def peers(self, peers: Peers) -> Peers:
        def build(name: str, roster: Roster, environment: Mapping[str, str]) -> Any:
            return TroubledSource(peers.source(name, roster, environment), self)

        return replace(peers, source=build)


@dataclass(frozen=True, slots=True)
class TroubledSource:
    """A source that takes some seconds, and fails as the trouble of the beat says."""

    source: Any
    trouble: Trouble

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        machine, kind = self.trouble.machine, self.trouble.kind
        machine.spend(self.trouble.chance.uniform(0.1, 8) * SECOND)
        if kind == "hanging":
            machine.spend(MINUTE)
            raise TransportError(FailureKind.TIMEOUT, "no answer in 60s")
        if kind == "down":
            raise TransportError(FailureKind.UNREACHABLE, "nothing answers")
        reading: Reading = self.source.read(deadline, now)
        if kind == "partial":
            report = replace(reading.report, status=ReadStatus.PARTIAL, kind=FailureKind.INCOMPLETE)
            return replace(reading, report=report, items=reading.items[:1])
        return reading


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant: as it truly is, and as the machine shows it."""

    true: datetime
    shown: datetime


@dataclass(frozen=True, slots=True)
class Stay:
    """A time in which an agent was on the roster with one rhythm; `until` None: to the end."""

    agent: Agent
    since: Instant
    until: Instant | None = None


class Week:
    """One run. `until` is how long it lasts; what happens in it is drawn by the seed."""

    def __init__(
        self, folder: Path, zone: str, seed: int, *, agents: int = 20, days: int = 7, retention: timedelta = 90 * DAY
    ) -> None:
        self.begin, self.zone, self.days, self.retention = BEGIN[zone], zone, days, retention
        self.end = self.begin + days * DAY
        self.chance = random.Random(seed)
        self.machine = Machine(self.begin)
        self.system = ScriptedSystem(*(card(n, f"Task {n}", owner=Owner(OwnerKind.AGENT, "agent-01")) for n in (1, 2)))
        self.ledger = Ledger(self.machine)
        self.team = team(agents)
        self.stage = Stage(self.machine, folder, self._roster(self.team), ScriptedWorld(self.system))
        self.stage.keep_ticks = False
        self.stage.window = 5 * SECOND
        self.trouble = Trouble(
            self.machine, random.Random(f"{seed} trouble"), self.system, self.stage.postbox, self.ledger
        )
        self.stage.trouble, self.stage.peers = self.trouble, self.trouble.peers
        self.stays = {agent.id: [Stay(agent, self.now)] for agent in self.team}
        self.set_back: list[tuple[datetime, timedelta]] = []
        self.told: Counter[str] = Counter()
        self.restarts = 0

    @property
    def now(self) -> Instant:
        return Instant(self.machine.true, self.machine.wall)

    def _roster(self, agents: tuple[Agent, ...]) -> Roster:
        return make_roster(
            *agents,
            timezone=self.zone,
            operator=Operator("Vincent", ("ops",)),
            channels={"ops": {"kind": "file", "path": "/nowhere", "min_level": "info"}},
            sources={"workboard": {}},
            extra={"retention": self.retention},
        )

    # What happens.

    def plan(self) -> None:
        """One disturbance in every half day, in a drawn order, and calm at the end."""
        deeds: list[Callable[[], None]] = [
            *(partial(self.sleep, hours * HOUR) for hours in (1, 3, 6)),
            *(partial(self.set_clock, by) for by in (HOUR, -HOUR, 5 * MINUTE, -5 * MINUTE)),
            self.a_day_ahead_and_back,
            self.misspell,
            self.another_team,
        ]
        self.chance.shuffle(deeds)
        room = (self.days * DAY - 6 * HOUR) / len(deeds)
        for number, deed in enumerate(deeds):
            self.machine.plan(self.begin + room * (number + self.chance.uniform(0.1, 0.5)), deed)
        for hours in range(2, self.days * 24, 5):
            self.machine.plan(self.begin + hours * HOUR, self.somebody_falls_silent)
        self.machine.plan(self.end - 4 * HOUR, self.calm_down)
        self.machine.plan(self.end, lambda: self.machine.order("SIGTERM"))

    def sleep(self, duration: timedelta) -> None:
        self.machine.sleep(duration)

    def set_clock(self, by: timedelta) -> None:
        self.machine.ahead += by
        if by < NOTHING:
            self.set_back.append((self.machine.true, -by))

    def a_day_ahead_and_back(self) -> None:
        self.set_clock(DAY)
        self.machine.plan(self.machine.true + 4 * HOUR, lambda: self.set_clock(-DAY))

    def misspell(self) -> None:
        """Somebody saves nonsense, and mends it two hours later."""
        good = self.stage.roster
        self.stage.change(RosterError(("agents.yaml:3:5: unknown key `evry`",)))
        self.trouble.immortal = True

        def mend() -> None:
            self.stage.change(good)
            self.trouble.immortal = False

        self.machine.plan(self.machine.true + 2 * HOUR, mend)

    def another_team(self) -> None:
        """One goes, one comes, one beats at another rhythm from now on; some read it at once."""
        gone, changed, *rest = self.team
        quicker = replace(changed, policy=replace(changed.policy, every=45 * MINUTE, anchor=15 * MINUTE))
        new = make_agent("newcomer", every=30 * MINUTE)
        self.stage.change(with_agents(self._roster(()), quicker, *rest, new))
        if self.chance.random() < 0.5:
            self.machine.order(reload=True)
        now = self.now
        self.stays[gone.id] = [replace(self.stays[gone.id][0], until=now)]
        self.stays[changed.id] = [replace(self.stays[changed.id][0], until=now), Stay(quicker, now)]
        self.stays[new.id] = [Stay(new, now)]

    def somebody_falls_silent(self) -> None:
        """A task is taken up and left, so that there is something to write and to tell."""
        for ref in self.system.items:
            self.system.take(ref, "agent-01", self.machine.wall)
        del self.system.evidence[:-20]

    def calm_down(self) -> None:
        self.trouble.calm = True

    # The run, and what must hold after it.

    def run(self) -> None:
        """Until the end. Whoever kills the daemon, another one is started a little later."""
        self.plan()
        while not self.machine.stopping:
            try:
                self.stage.daemon().run()
            except Died:
                self.restarts += 1
                self.trouble.dead = False
                self.machine.spend(self.chance.uniform(1, 60) * SECOND)
            self.told.update(line.partition(":")[0] for line in (*self.stage.said, *self.stage.complained))
            self.stage.said.clear()
            self.stage.complained.clear()

    def check(self) -> None:
        assert self.ledger.doubled == []
        for name, stays in self.stays.items():
            for stay in stays:
                self._check_slots(stay)
                self._check_life(stay)
            self._check_presence(name, stays)
        self._check_repetitions()

    def _beats(self, stay: Stay) -> list[tuple[float, float, bool]]:
        since = stay.since.true.timestamp() + NOTICED
        until = (stay.until.true if stay.until else self.machine.true).timestamp()
        return [each for each in self.ledger.begun[stay.agent.id] if since < each[0] <= until]

    def _check_slots(self, stay: Stay) -> None:
        """Every slot from the first to the last that the machine's clock showed is answered, or known as missed (I6).

        What lies around a change of the rhythm belongs to both, and to neither.
        """
        policy, leave = stay.agent.policy, max(stay.agent.policy.every, HOUR)
        first = stay.since.shown + leave
        last = stay.until.shown - leave if stay.until else self.machine.wall - LATE
        slot = current_slot(policy, self.zone, last)
        count = 0
        while slot >= first:
            assert self.ledger.answered(stay.agent.id, slot), f"{stay.agent.id} {policy.cron or policy.every} {slot}"
            slot = current_slot(policy, self.zone, slot - TICK)
            count += 1
        assert count or last - first < DAY

    def _check_life(self, stay: Stay) -> None:
        """From one beat to the next no more than `every` passes, sleep not counted. Where the clock was set back in
        between, it is no more than that from then on: what a clock that is nearly right has answered is answered."""
        if stay.agent.policy.cron is not None:
            return
        longest = (stay.agent.policy.every + LATE).total_seconds()
        for (earlier, awake, _), (later, then, _) in pairwise(self._beats(stay)):
            steps = [at.timestamp() - earlier for at, _ in self.set_back if earlier < at.timestamp() <= later]
            assert then - awake <= longest + max(steps, default=0), (
                f"{stay.agent.id} {datetime.fromtimestamp(later, UTC)}"
            )

    def _check_presence(self, name: str, stays: list[Stay]) -> None:
        """Nobody beats before it is on the roster, or after it was taken off."""
        true = [each for each, _, _ in self.ledger.begun[name]]
        since, until = stays[0].since, stays[-1].until
        assert 0 <= true[0] - since.true.timestamp() <= LATE.total_seconds()
        if until is not None:
            assert true[-1] - until.true.timestamp() <= NOTICED

    def _check_repetitions(self) -> None:
        """A beat without a slot is one that a clock that was set back repeats."""
        for name, beats in self.ledger.begun.items():
            for true, _, answers in beats:
                ends = (
                    at.timestamp() + (by + LATE).total_seconds() for at, by in self.set_back if at.timestamp() <= true
                )
                assert answers or any(true <= end for end in ends), f"{name} {datetime.fromtimestamp(true, UTC)}"


@pytest.fixture(autouse=True)
def _quick_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions are worked out once an instant: they are most of the work of a week."""
    next_slot = slots.next_slot

    @lru_cache(maxsize=64)
    def following(policy: Policy, timezone: str, current: datetime) -> datetime:
        return next_slot(policy, timezone, current)

    def remembered(policy: Policy, timezone: str, now: datetime) -> datetime:
        return following(policy, timezone, current_slot(policy, timezone, now))

    monkeypatch.setattr(slots, "_latest", lru_cache(maxsize=64)(slots._latest))
    monkeypatch.setattr(due, "next_slot", remembered)


@pytest.mark.parametrize(
    ("zone", "seed", "days"),
    [
        ("America/New_York", 5, 5),
        pytest.param("Asia/Shanghai", 2, 7, marks=pytest.mark.slow),
        *(pytest.param("America/New_York", seed, 7, marks=pytest.mark.slow) for seed in range(5, 16)),
    ],
)
def test_I6_a_week_of_faults_leaves_every_slot_on_record_and_no_slot_twice(
    tmp_path: Path, zone: str, seed: int, days: int
) -> None:
    week = Week(tmp_path, zone, seed, days=days)
    week.run()
    week.check()
    assert set(week.trouble.drawn) == {"", *FAULTS}
    assert week.restarts == week.trouble.drawn["killed"]
    for told in ("the machine slept", "the clock was set forward", "the clock was set back", "the roster is refused"):
        assert any(line.startswith(told) for line in week.told), told
    assert week.stage.postbox.letters > 0
    assert len(week.system.effects) > 0


BREATHING = 12_000
"""Blocks by which what is remembered of two days comes and goes: 20 a beat, and a leak adds up."""


def held() -> tuple[int, int]:
    """Blocks of memory that are in use, and descriptors that are open."""
    gc.collect()
    return sys.getallocatedblocks(), len(list(Path("/proc/self/fd").iterdir()))


def test_a_week_takes_no_more_memory_and_no_more_descriptors_than_two_days(tmp_path: Path) -> None:
    week = Week(tmp_path, "America/New_York", 3, retention=2 * DAY)
    week.ledger.off = True
    marks: list[tuple[int, int]] = []
    for day in (2.5, 3, 4, 5, 6, 6.9):
        week.machine.plan(week.begin + day * DAY, lambda: marks.append(held()))
    week.run()
    blocks, descriptors = zip(*marks, strict=True)
    assert max(blocks) - min(blocks) < BREATHING
    assert len(set(descriptors)) == 1


@pytest.mark.parametrize("seed", [4])
def test_I6_a_day_of_faults_on_a_real_database(tmp_path: Path, seed: int) -> None:
    week = Week(tmp_path, "Asia/Shanghai", seed, agents=5, days=1)
    week.stage.open_store = lambda: open_store(tmp_path / "state", week.machine.wall, busy_timeout=1.0)
    week.run()
    week.check()
    assert week.restarts == week.trouble.drawn["killed"]
