"""A week of one daemon, twenty agents and every fault that there is: what was due is on record, each slot once (I6).

True time, the machine's clock and its sleeps are those of a `Machine`; the beats, the rules, the loop and the receipts
are real. The oracle knows when which agent was on the roster, and what true time each beat began at.
"""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import pytest

from heartbeat.errors import RosterError, StateError
from heartbeat.memory import Miss
from heartbeat.peers import Peers
from heartbeat.policy import Policy, anchor_of
from heartbeat.roster.model import Agent, Operator, Roster
from heartbeat.schedule import due, slots
from heartbeat.schedule.slots import current_slot, rhythm_text
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

AUTUMN, SPRING = datetime(2026, 10, 29, 4, 0, tzinfo=UTC), datetime(2026, 3, 5, 5, 0, tzinfo=UTC)
"""In New York summer time ends, or begins, on the fourth day of these weeks."""
BEGIN = {"America/New_York": AUTUMN, "Asia/Shanghai": datetime(2026, 11, 2, tzinfo=UTC)}

EVERY = (30 * MINUTE, HOUR, HOUR, 30 * MINUTE, 2 * HOUR, 90 * MINUTE, 30 * MINUTE, 3 * HOUR)
CRONS = ("*/30 * * * *", "0 9-17 * * 1-5", "30 1 * * *", "15 */3 * * *")
DAILY = ("*/30 * * * *", "0 9-17 * * *", "30 1,2 * * *", "15 */3 * * *")
"""Without those who rest for days: what is remembered of them is remembered for longer. In New York half past one comes
twice in autumn, and half past two never in spring."""
FAULTS = ("down", "hanging", "partial", "locked", "full", "refused", "silent", "bug", "killed")
NOTICED = 120.0
"""Waking seconds until a saved roster is in use at the latest: half a minute, two seconds, and a beat in between."""
CHANCE = 0.01
"""Of each fault, at each beat; they come in turns, so that each comes whatever the seed."""


def team(count: int, crons: tuple[str, ...] = CRONS) -> tuple[Agent, ...]:
    """Agents of all rhythms; every third one at its own minute."""
    agents = []
    for number in range(count):
        name = f"agent-{number:02d}"
        if number % 5 == 4:
            agents.append(make_agent(name, cron=crons[number // 5 % len(crons)]))
            continue
        every = EVERY[number % len(EVERY)]
        anchor = anchor_of(name, every) if number % 7 == 0 else NOTHING
        agents.append(make_agent(name, every=every, anchor=anchor, patrol=number == 0, notify=("operator",)))
    return tuple(agents)


@dataclass(frozen=True, slots=True)
class Begun:
    """A beat: the true and the waking time when it was put on record, what the clock showed when it began, by which
    rhythm it came, and whether it answered a slot."""

    true: float
    awake: float
    shown: datetime
    rhythm: str
    answers: bool


@dataclass(slots=True)
class Ledger:
    """What was put on record, in plain numbers, in a file: what the test keeps must not be mistaken for a leak.

    `slots`, `missed` and `begun` are by agent. They are there once the file was read.
    """

    machine: Machine
    file: IO[str]
    slots: dict[str, set[float]] = field(default_factory=dict)
    missed: dict[str, set[tuple[float, float]]] = field(default_factory=dict)
    begun: dict[str, list[Begun]] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    _receipts: list[Receipt] = field(default_factory=list)
    _misses: list[Miss] = field(default_factory=list)

    def noted(self, name: str, arguments: tuple[Any, ...]) -> None:
        """What the store is asked to do; it counts when the transaction is kept."""
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
            print(miss.agent, miss.first.timestamp(), miss.last.timestamp(), file=self.file)
        for receipt in self._receipts:
            slot = None if receipt.slot is None else receipt.slot.timestamp()
            shown, true = receipt.started_at.isoformat(), self.machine.true.timestamp()
            print(receipt.agent, true, self.machine.awake, slot, shown, receipt.rhythm, file=self.file)
        self._receipts.clear()
        self._misses.clear()

    def read(self) -> None:
        """What the file says, once the run is over."""
        self.file.seek(0)
        for line in self.file:
            agent, *told = line.split(maxsplit=5)
            if len(told) == 2:
                self.missed.setdefault(agent, set()).add((float(told[0]), float(told[1])))
                continue
            true, awake, slot, shown, rhythm = told
            beat = Begun(float(true), float(awake), datetime.fromisoformat(shown), rhythm.rstrip(), slot != "None")
            self.begun.setdefault(agent, []).append(beat)
            if slot != "None":
                slots = self.slots.setdefault(agent, set())
                if float(slot) in slots:
                    self.doubled.append(f"{agent} {datetime.fromtimestamp(float(slot), UTC)}")
                slots.add(float(slot))

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
    """How often each came. A death counts when it comes: not every time that the store is opened anything is kept."""
    deck: list[str] = field(default_factory=list)
    """What comes next, the last first: none comes again before all have come."""

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
            self.drawn[self.deck.pop()] += 1
            raise Died
        self.ledger.noted(name, arguments)

    def _draw(self) -> None:
        if not self.deck:
            self.deck = self.chance.sample(FAULTS, len(FAULTS))
        strikes = self.chance.random() < CHANCE * len(FAULTS) and not self.calm
        self.kind = self.deck[-1] if strikes else ""
        if self.kind == "killed" and self.immortal:
            self.kind = ""
        if self.kind != "killed":
            self.drawn[self.deck.pop() if self.kind else ""] += 1
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
    """One instant: as it truly is, as the machine shows it, and how long the machine has been awake."""

    true: datetime
    shown: datetime
    awake: float


@dataclass(frozen=True, slots=True)
class Stay:
    """A time in which an agent was on the roster with one rhythm; `until` None: to the end."""

    agent: Agent
    since: Instant
    until: Instant | None = None


class Week:
    """One run. `until` is how long it lasts; what happens in it is drawn by the seed."""

    def __init__(
        self,
        folder: Path,
        zone: str,
        seed: int,
        *,
        agents: int = 20,
        days: float = 7,
        retention: timedelta = 90 * DAY,
        begin: datetime | None = None,
        crons: tuple[str, ...] = CRONS,
    ) -> None:
        self.begin, self.zone, self.days, self.retention = begin or BEGIN[zone], zone, days, retention
        self.end = self.begin + days * DAY
        self.chance = random.Random(seed)
        self.machine = Machine(self.begin)
        self.system = ScriptedSystem(*(card(n, f"Task {n}", owner=Owner(OwnerKind.AGENT, "agent-01")) for n in (1, 2)))
        self.ledger = Ledger(self.machine, (folder / "ledger").open("x+", encoding="utf-8"))
        self.team = team(agents, crons)
        self.stage = Stage(self.machine, folder, self._roster(self.team), ScriptedWorld(self.system))
        self.stage.keep_ticks = False
        self.stage.window = 5 * SECOND
        self.trouble = Trouble(
            self.machine, random.Random(f"{seed} trouble"), self.system, self.stage.postbox, self.ledger
        )
        self.stage.trouble, self.stage.peers = self.trouble, self.trouble.peers
        self.stays = {agent.id: [Stay(agent, self.now)] for agent in self.team}
        self.set_back: list[Instant] = []
        """When the clock was set back, and what it showed before."""
        self.told: Counter[str] = Counter()
        self.restarts = 0

    @property
    def now(self) -> Instant:
        return Instant(self.machine.true, self.machine.wall, self.machine.awake)

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
        for hours in range(2, int(self.days * 24), 5):
            self.machine.plan(self.begin + hours * HOUR, self.somebody_falls_silent)
        self.machine.plan(self.end - 4 * HOUR, self.calm_down)
        self.machine.plan(self.end, lambda: self.machine.order("SIGTERM"))

    def sleep(self, duration: timedelta) -> None:
        self.machine.sleep(duration)

    def set_clock(self, by: timedelta) -> None:
        if by < NOTHING:
            self.set_back.append(self.now)
        self.machine.ahead += by

    def a_day_ahead_and_back(self) -> None:
        self.set_clock(DAY)
        self.machine.plan(self.machine.true + 4 * HOUR, lambda: self.set_clock(-DAY))

    def misspell(self) -> None:
        """Somebody saves nonsense, and mends it two hours later, unless another roster was saved meanwhile."""
        good, nonsense = self.stage.roster, RosterError(("agents.yaml:3:5: unknown key `evry`",))
        self.stage.change(nonsense)
        self.trouble.immortal = True

        def mend() -> None:
            if self.stage.roster is nonsense:
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
        """Until the end; then the ledger is read."""
        with self.ledger.file:
            self._run()
            self.ledger.read()

    def _run(self) -> None:
        """Whoever kills the daemon, another one is started a little later."""
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

    def measure(self, *days: float) -> list[tuple[int, int]]:
        """What is held at these times of the run, once it is over (see `held`)."""
        marks: list[tuple[int, int]] = []
        for day in days:
            self.machine.plan(self.begin + day * DAY, lambda: marks.append(held(self._rows())))
        return marks

    def _rows(self) -> int:
        """How many records the store keeps in memory: a clock that ran ahead has more of them forgotten than two days'
        retention does, and they come to be as many again."""
        if self.stage.open_store is not None:
            return 0
        contents = self.stage.store._contents  # type: ignore[attr-defined]
        kept = (getattr(contents, each.name) for each in fields(contents))
        return sum(len(records) for records in kept if isinstance(records, dict))

    def check(self) -> None:
        assert self.ledger.doubled == []
        for name, stays in self.stays.items():
            for stay in stays:
                self._check_slots(stay)
                self._check_life(stay)
            self._check_presence(name, stays)
        self._check_repetitions()

    def _beats(self, stay: Stay) -> list[Begun]:
        since = stay.since.awake + NOTICED
        until = stay.until.awake if stay.until else self.machine.awake
        return [each for each in self.ledger.begun[stay.agent.id] if since < each.awake <= until]

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
        for earlier, later in pairwise(self._beats(stay)):
            set_back = [each.true.timestamp() for each in self.set_back]
            steps = [at - earlier.true for at in set_back if earlier.true < at <= later.true]
            assert later.awake - earlier.awake <= longest + max(steps, default=0), f"{stay.agent.id} {later.shown}"

    def _check_presence(self, name: str, stays: list[Stay]) -> None:
        """Nobody beats before it is on the roster, or after it was taken off; sleep, in which nobody notices that, is
        not counted."""
        awake = [each.awake for each in self.ledger.begun[name]]
        since, until = stays[0].since, stays[-1].until
        assert 0 <= awake[0] - since.awake <= LATE.total_seconds()
        if until is not None:
            assert awake[-1] - until.awake <= NOTICED

    def _check_repetitions(self) -> None:
        """A beat without a slot is one that a clock that was set back repeats: it showed that slot before.

        How long it takes until the clock has caught up does not tell: it may be set again meanwhile.
        """
        for name, beats in self.ledger.begun.items():
            policies = {rhythm_text(stay.agent.policy, self.zone): stay.agent.policy for stay in self.stays[name]}
            for beat in beats:
                slot = current_slot(policies[beat.rhythm], self.zone, beat.shown)
                shown = [each.shown for each in self.set_back if each.true.timestamp() <= beat.true]
                repeats = slot.timestamp() in self.ledger.slots[name] and any(slot <= until for until in shown)
                assert beat.answers or repeats, f"{name} {beat.shown}"


SEEDS = range(20)
ROUND = (0, 5, 10)
"""Those that `make test-week` takes; `make test-slow` takes all."""


def each_seed(*before: Any) -> list[Any]:
    """One case a seed, the round ones for `make test-week`."""
    return [
        pytest.param(*before, seed, marks=pytest.mark.week if seed in ROUND else pytest.mark.slow) for seed in SEEDS
    ]


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
        ("America/New_York", 0, 5),
        pytest.param("Asia/Shanghai", 0, 7, marks=pytest.mark.slow),
        *(pytest.param("America/New_York", seed, 7, marks=pytest.mark.slow) for seed in SEEDS),
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


BLOCKS_A_ROW = 30
"""What a record in memory takes, with its texts and times."""

BREATHING = 2_000
"""Blocks by which the rest comes and goes; two that are kept for every receipt of the days measured are more."""


def held(rows: int) -> tuple[int, int]:
    """Blocks of memory that are in use besides those of so many records, and descriptors that are open."""
    gc.collect()
    return sys.getallocatedblocks() - rows * BLOCKS_A_ROW, len(list(Path("/proc/self/fd").iterdir()))


def is_flat(marks: Sequence[tuple[int, int]]) -> bool:
    """Whether neither memory nor descriptors grow from the first mark on."""
    blocks, descriptors = zip(*marks, strict=True)
    return max(blocks) - blocks[0] < BREATHING and len(set(descriptors)) == 1


@pytest.mark.parametrize(
    ("begin", "seed"),
    [*each_seed(SPRING), *each_seed(AUTUMN)],
    ids=[f"summer time {word}, {seed}" for word in ("begins", "ends") for seed in SEEDS],
)
def test_I6_a_week_of_twenty_agents_leaves_every_slot_on_record_once_and_holds_no_more_than_two_days_did(
    tmp_path: Path, begin: datetime, seed: int
) -> None:
    zone = "America/New_York"
    week = Week(tmp_path, zone, seed, retention=2 * DAY, begin=begin, crons=DAILY)
    assert begin.astimezone(ZoneInfo(zone)).utcoffset() != week.end.astimezone(ZoneInfo(zone)).utcoffset()
    marks = week.measure(2.6, 3.6, 4.6, 5.6, 6.6)
    week.run()
    assert len(marks) == 5
    assert is_flat(marks), marks
    week.check()
    assert len(week.stays) == 21, "twenty, and the one who comes for the one who goes"
    assert set(week.trouble.drawn) == {"", *FAULTS}
    assert week.restarts == week.trouble.drawn["killed"] > 0


@pytest.mark.parametrize("seed", each_seed())
def test_I6_three_days_of_twenty_agents_on_a_real_database_leave_every_slot_on_record_once_and_hold_no_more_each_day(
    tmp_path: Path, seed: int
) -> None:
    week = Week(tmp_path, "America/New_York", seed, days=3, begin=AUTUMN + 2 * DAY, crons=DAILY)
    week.stage.open_store = lambda: open_store(tmp_path / "state", week.machine.wall, busy_timeout=1.0)
    marks = week.measure(0.6, 1.2, 1.8, 2.4, 2.95)
    week.run()
    assert len(marks) == 5
    assert is_flat(marks), marks
    week.check()
    assert set(week.trouble.drawn) == {"", *FAULTS}
    assert week.restarts == week.trouble.drawn["killed"] > 0


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS[1:])])
def test_I6_a_day_of_faults_on_a_real_database(tmp_path: Path, seed: int) -> None:
    week = Week(tmp_path, "Asia/Shanghai", seed, agents=5, days=1)
    week.stage.open_store = lambda: open_store(tmp_path / "state", week.machine.wall, busy_timeout=1.0)
    week.run()
    week.check()
    assert week.restarts == week.trouble.drawn["killed"]
