"""Every due slot has a receipt or lies in a miss, and no slot has two, whatever schedulers, clocks and crashes do
(invariant I6, rules B2, B6).

A scheduler asks every minute, as `heartbeat tick --due` does from cron. It asks twice, or not at all while the machine
is down; the clock is set back and forth; beats die at any of their steps. What stands on record in the end is compared
with the slots that the rhythm names, one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat.beat import tick
from heartbeat.deadline import Deadline
from heartbeat.memory import Miss
from heartbeat.policy import anchor_of
from heartbeat.roster.model import Agent
from heartbeat.schedule.slots import current_slot, next_slot
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import Store
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.bombs import Bomb, BombedStore
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import Died, ScriptedSystem, ScriptedWorld

MINUTE = timedelta(minutes=1)
ZONE = "America/New_York"


def agent(name: str, **policy: Any) -> Agent:
    anchor = timedelta(0) if policy.get("cron") else anchor_of(name, policy["every"])
    return make_agent(name, anchor=anchor, **policy)


TEAM = (
    agent("coo", every=10 * MINUTE),
    agent("often", every=4 * MINUTE),
    agent("office", cron="*/15 8-20 * * *"),
    agent("nightly", cron="30 1,2 * * *"),
)
LONGEST = {"coo": 10 * MINUTE, "often": 4 * MINUTE}
"""The rhythm of those who have one through day and night."""

BEGIN = (
    datetime(2026, 11, 21, 4, 7, 31, tzinfo=UTC),
    datetime(2026, 3, 8, 6, 20, tzinfo=UTC),
    datetime(2026, 11, 1, 4, 50, tzinfo=UTC),
    datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC),
)

STEPS = (
    *(timedelta(seconds=1), timedelta(minutes=3), timedelta(minutes=5), timedelta(minutes=6)),
    *(timedelta(hours=1), timedelta(hours=7), timedelta(days=1), timedelta(days=20)),
)


@dataclass(frozen=True, slots=True)
class Down:
    """Nobody asks for so long, and time goes on."""

    minutes: int


@dataclass(frozen=True, slots=True)
class Step:
    """The clock is set."""

    by: timedelta


@dataclass(frozen=True, slots=True)
class Ask:
    """The scheduler asks once a minute, for so long; `twice` in each; the beat dies at this step, if it gets there."""

    minutes: int
    twice: bool = False
    dies_at: int | None = None


events = st.lists(
    st.one_of(
        st.builds(Ask, st.integers(1, 12)),
        st.builds(Ask, st.just(1), twice=st.booleans(), dies_at=st.none() | st.integers(0, 12)),
        st.builds(Down, st.integers(1, 300)),
        st.builds(Step, st.sampled_from((*STEPS, *(-step for step in STEPS)))),
    ),
    min_size=1,
    max_size=9,
)


@dataclass
class Life:
    """What happens to a machine, and what heartbeat makes of it."""

    now: datetime
    folder: Path
    store: Store = field(default_factory=MemoryStore)
    passed: timedelta = timedelta(0)
    """True time, which no step moves."""
    beats: dict[str, list[timedelta]] = field(default_factory=dict)
    """When each agent beat, in true time; empty again whenever nobody asked or a beat died."""
    steps: list[timedelta] = field(default_factory=list)
    """When the clock was set, in true time."""

    def live(self, event: Down | Step | Ask) -> None:
        match event:
            case Down(minutes):
                self._pass(minutes * MINUTE)
                self.beats.clear()
            case Step(by):
                self.now += by
                self.steps.append(self.passed)
            case Ask(minutes, twice, dies_at):
                for _ in range(minutes):
                    for _ in range(1 + twice):
                        self._ask(dies_at)
                    self._pass(MINUTE)

    def _pass(self, duration: timedelta) -> None:
        self.now += duration
        self.passed += duration

    def _ask(self, dies_at: int | None) -> None:
        world, bomb = ScriptedWorld(ScriptedSystem(name="workboard")), Bomb(dies_at)
        roster = make_roster(*TEAM, timezone=ZONE, sources={"workboard": {}})
        try:
            done = tick(
                roster,
                TEAM,
                {},
                BombedStore(self.store, bomb),  # type: ignore[arg-type]
                SnapshotCache(self.folder / "snapshots", read_only=True),
                self.folder / "locks",
                clock=lambda: self.now,
                fresh=True,
                only_due=True,
                peers=_peers(world),
                deadline=Deadline.after(60),
            )
        except Died:
            self.beats.clear()
            return
        for beat in done.beats:
            assert beat.receipt is not None
            assert beat.receipt.started_at == self.now
            self.beats.setdefault(beat.agent.id, []).append(self.passed)


def _peers(world: ScriptedWorld) -> Any:
    from heartbeat.peers import Peers

    return Peers(world.source, world.writer, lambda *arguments: None, lambda seconds: None)  # type: ignore[arg-type, return-value]


def slots_of(each: Agent, first: datetime, last: datetime) -> Iterator[datetime]:
    slot = first
    while slot <= last:
        yield slot
        slot = next_slot(each.policy, ZONE, slot)


def _lies_in(slot: datetime, miss: Miss) -> bool:
    return miss.first <= slot <= miss.last


def assert_on_record(life: Life) -> None:
    for each in TEAM:
        receipts = life.store.receipts(each.id, limit=10**6)
        answered = Counter(receipt.slot for receipt in receipts if receipt.slot is not None)
        assert [slot for slot, count in answered.items() if count > 1] == [], "a slot has one receipt"
        for receipt in receipts:
            if receipt.slot is not None:
                assert receipt.slot == current_slot(each.policy, ZONE, receipt.started_at), "never before due"
        if not answered:
            continue
        misses = life.store.misses(each.id)
        counted = {miss.first: [*slots_of(each, miss.first, miss.last)] for miss in misses if miss.count < 5_000}
        for miss in misses:
            assert miss.first <= miss.last
            assert miss.first not in counted or counted[miss.first][-1] == miss.last
            spans = counted.get(miss.first, [])
            others = [other for other in misses if other != miss]
            sure = [
                slot for slot in spans if slot not in answered and not any(_lies_in(slot, other) for other in others)
            ]
            assert not spans or len(sure) <= miss.count <= len(spans), "those that a clock ahead answered do not count"
        began = next(receipt.slot for receipt in reversed(receipts) if receipt.slot is not None)
        latest = max(answered)
        lost = [
            slot
            for slot in slots_of(each, began, latest)
            if slot not in answered and not any(_lies_in(slot, miss) for miss in misses)
        ]
        assert lost == [], f"{each.id}: neither a receipt nor a miss"


def assert_beats_go_on(life: Life) -> None:
    """While somebody asks every minute nobody waits longer than their rhythm and a minute, counted from their last beat
    and from the last step of the clock."""
    for name, every in LONGEST.items():
        for one, other in pairwise(life.beats.get(name, ())):
            since = max((step for step in (one, *life.steps) if step <= other), default=one)
            assert other - max(one, since) <= every + 2 * MINUTE, name


@given(st.sampled_from(BEGIN), events)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_I6_every_slot_has_a_receipt_or_lies_in_a_miss_and_none_has_two(
    tmp_path_factory: Any, begin: datetime, happens: list[Down | Step | Ask]
) -> None:
    life = Life(begin, tmp_path_factory.mktemp("life"))
    for event in (Ask(1), *happens, Ask(1)):
        life.live(event)
        assert_beats_go_on(life)
    assert_on_record(life)


def test_I6_a_day_with_everything_in_it(tmp_path: Path) -> None:
    """One that is known to meet every kind of trouble; the misses are those that it must have."""
    life = Life(BEGIN[0], tmp_path)
    day: tuple[Down | Step | Ask, ...] = (
        *(Ask(30), Down(47), Ask(5, twice=True), Step(-timedelta(hours=1)), Ask(70), Step(timedelta(days=1))),
        *(Ask(20), Step(-timedelta(days=1)), Ask(20), Ask(1, dies_at=1), Ask(15), Step(-3 * MINUTE), Ask(25)),
        *(Down(300), Ask(1, dies_at=3), Ask(1, dies_at=4), Ask(30)),
    )
    for event in day:
        life.live(event)
        assert_beats_go_on(life)
    assert_on_record(life)
    counts = sorted(miss.count for miss in life.store.misses("coo"))
    assert counts == [3, 143], "the time when nobody asked, and the day that the clock jumped over"
    without = [receipt for receipt in life.store.receipts("coo", limit=10**6) if receipt.slot is None]
    assert len(without) >= 4, "the hour that came twice was answered the first time"
