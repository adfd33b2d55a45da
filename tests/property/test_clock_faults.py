"""No false stall and no missed one (invariant I7, rules B6, T6): two years of beats in five time zones, with every
fault that a clock can have, against what truly happened.

The world keeps true time. The machine that heartbeat runs on shows its own, which is set forward and back, starts in
1970, or sleeps for days; each source dates its records by the machine's clock or by one of its own, right or wrong,
and writes them down in UTC, in local time with an offset, or as local time itself. The oracle knows only true time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from heartbeat.instants import not_after, parse_instant
from heartbeat.memory import Memory, Window
from heartbeat.policy import Charter, Member
from heartbeat.rules.activity import advance
from heartbeat.rules.stall import NOT_SETTLED, UNSEEN, Level, Stall, stalls
from heartbeat.rules.windows import GAP_BEATS, extended
from heartbeat.task import Evidence, EvidenceKind, Item, Priority, Ref, Status, Task
from tests.support.items import COO, card, issue, line
from tests.support.rosters import CLASS_POLICIES

CHANGING = ("America/New_York", "Australia/Lord_Howe")
"""One that changes by an hour and one that changes by half of one: for all others no other line is run."""
ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Europe/London")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BEAT = 10 * MINUTE
JITTER = MINUTE
GAP = GAP_BEATS * BEAT
POLICY = CLASS_POLICIES["high_frequency"]
CHARTER = Charter({"coo": Member("coo", POLICY)})
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = 24
NOTHING = timedelta(0)

PATIENCE = 2 * (BEAT + JITTER)
"""What a stall may be found later than its threshold: news counts from the look that shows it, one beat, and the
threshold is crossed between two looks, another."""

EVENTS_KEPT = 12
"""A record forgets its oldest events, as real ones do."""


def right(world: World) -> timedelta:
    return timedelta(0)


def the_machines(world: World) -> timedelta:
    return world.ahead


def an_hour_ahead(world: World) -> timedelta:
    return HOUR


def far_behind(world: World) -> timedelta:
    return -47 * MINUTE


A_LITTLE = 4 * MINUTE
"""So little cannot be told from the truth (rule S8), and a stall may be called by so much too early."""


def a_little_behind(world: World) -> timedelta:
    return -A_LITTLE


def as_local_text(instant: datetime, zone: ZoneInfo) -> datetime:
    read = parse_instant(instant.astimezone(zone).isoformat())
    assert read is not None
    return read


def as_text_without_a_zone(instant: datetime, zone: ZoneInfo) -> datetime:
    read = parse_instant(instant.replace(tzinfo=None).isoformat())
    assert read is not None
    return read


def as_local_time(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone)


Clockwork = Callable[["World"], timedelta]
Spelling = Callable[[datetime, ZoneInfo], datetime]


@dataclass
class Work:
    """One task and its agent. `heard` is when it last gave a sign of life, truly; `stopped`: it fell silent then."""

    item: Item
    clock: Clockwork
    spelling: Spelling
    history: bool = True
    """Whether the record tells what happened; else only that it changed."""
    last_only: bool = False
    """Whether it tells no more than its last change."""
    events: list[Evidence] = field(default_factory=list)
    claim: list[Evidence] = field(default_factory=list)
    heard: datetime = BEGIN
    stopped: bool = False
    next_event: datetime = BEGIN
    number: int = 0

    @property
    def task(self) -> Task:
        return Task((self.item,), self.item.status, Priority.NORMAL, COO, None)

    def happen(self, world: World, when: datetime, kind: EvidenceKind, *, own: bool = False) -> None:
        """Something is written to the record at a true time; `own` is heartbeat's doing."""
        self.number += 1
        at = when + self.clock(world)
        if kind is EvidenceKind.CLAIMED:
            self.item = replace(self.item, started_at=at)
        if self.history or not own:
            self.item = replace(self.item, revision=str(self.number))
        if self.history:
            name = f"rev:{self.number}" if self.last_only else f"{world.chance.getrandbits(64):016x}"
            marked = own and not self.last_only
            if own and not marked:
                world.own.add((self.item.ref, name))
            happened = Evidence(self.item.ref, at, kind, name, own=marked)
            if kind is EvidenceKind.CLAIMED:
                self.claim = [happened]
            else:
                self.events = [*([] if self.last_only else self.events[1 - EVENTS_KEPT :]), happened]
        if not own and kind is not EvidenceKind.SWEEP:
            self.heard = when

    def seen_by(self, world: World) -> tuple[Item, list[Evidence]]:
        """The record as its translation gives it: times too far ahead are now (rule S8), in the source's spelling."""

        def told(instant: datetime) -> datetime:
            corrected = not_after(instant, world.machine)[0]
            assert corrected is not None
            return self.spelling(corrected, world.zone)

        started = None if self.item.started_at is None else told(self.item.started_at)
        return replace(self.item, started_at=started), [
            replace(each, at=told(each.at)) for each in (*self.claim, *self.events)
        ]


@dataclass
class World:
    """True time, the machine's clock, the team, and heartbeat's memory. `looks` are the true times of whole looks,
    and by how much the machine's clock was ahead then."""

    zone: ZoneInfo
    chance: random.Random
    true: datetime = BEGIN
    ahead: timedelta = timedelta(0)
    """By how much the machine's clock is ahead of the truth."""
    works: list[Work] = field(default_factory=list)
    own: set[tuple[Ref, str]] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    looks: list[tuple[datetime, timedelta]] = field(default_factory=list)
    disturbed: datetime = BEGIN
    """When a clock or a look last failed, truly, or a look was late."""
    judged: int = 0
    found: int = 0
    """Verdicts that had to be `confirmed`."""
    early: int = 0
    """Verdicts that were at least `suspected`."""

    @property
    def machine(self) -> datetime:
        return self.true + self.ahead

    def live(self, until: datetime) -> None:
        """True time passes; agents that have not fallen silent work."""
        for work in self.works:
            while not work.stopped and work.next_event <= until:
                kinds = [EvidenceKind.COMMENT, EvidenceKind.CLAIM_HEARTBEAT, EvidenceKind.MOVED, EvidenceKind.CLAIMED]
                kind = self.chance.choices(kinds, (4, 4, 1, 1 if work.history and not work.last_only else 0))[0]
                work.happen(self, work.next_event, kind)
                work.next_event += self.chance.uniform(1, 17) * MINUTE
        self.true = until

    def look(self, *, complete: bool = True) -> dict[str, Stall]:
        """One sweep and its judgement, by the machine's clock in local time."""
        now = self.machine.astimezone(self.zone)
        items: list[Item] = []
        evidence: list[Evidence] = []
        if complete:
            for work in self.works:
                item, told = work.seen_by(self)
                items.append(item)
                evidence += told
            self.watch()
        own = frozenset(self.own)
        clocks = advance(items, evidence, (), replace(self.memory, own=own), now)
        self.memory = replace(self.memory, own=own, clocks=clocks)
        sources = frozenset(work.item.ref.source for work in self.works)
        return stalls(
            [work.task for work in self.works],
            incomplete=frozenset() if complete else sources,
            presence=(),
            presence_unknown=frozenset(),
            memory=self.memory,
            charter=CHARTER,
            now=now,
        )

    def watch(self, beat: timedelta = BEAT) -> None:
        """What a complete look leaves of itself, when nothing else is asked of it."""
        now, known = self.machine.astimezone(self.zone), self.memory.windows
        windows: dict[str, tuple[Window, ...]] = {
            source: extended(known.get(source, ()), now, beat)
            for source in sorted({work.item.ref.source for work in self.works})
        }
        self.memory = replace(self.memory, windows=windows)
        self.looks.append((self.true, self.ahead))

    def observed_since(self, instant: datetime) -> timedelta:
        """The oracle's idle time: what lies, truly, between looks that were at most three beats apart. A gap in which
        the clock was set back cannot be told from none, and is watched time too."""
        total, later = timedelta(0), None
        for when, ahead in reversed(self.looks):
            if later is not None:
                passed, shown = later[0] - when, later[0] + later[1] - when - ahead
                if passed <= GAP + 2 * JITTER or shown <= GAP < passed:
                    total += later[0] - max(when, instant)
            if when <= instant:
                break
            later = when, ahead
        return total

    def check(self, verdicts: dict[str, Stall], *, complete: bool) -> None:
        """The two promises, for every task, at one look."""
        for work in self.works:
            stall = verdicts[work.task.key]
            silence = self.true - work.heard + (A_LITTLE if work.clock is a_little_behind else NOTHING)
            told = f"{work.task.key} at {self.true} ({self.machine.astimezone(self.zone)}): {stall}"
            self.judged += 1
            if not complete:
                assert stall.level is Level.NONE, told
                assert stall.hindered_by(UNSEEN), told
                continue
            # No false stall.
            assert stall.idle <= self.observed_since(self.true - silence), told
            if silence < POLICY.suspect_after:
                assert stall.level is Level.NONE, told
            if stall.level is Level.CONFIRMED:
                assert silence >= POLICY.recover_after, told
            # No missed stall.
            waited = self.true - max(work.heard, self.disturbed)
            if waited >= POLICY.recover_after + PATIENCE:
                assert stall.level is Level.CONFIRMED, told
                self.found += 1
            elif waited >= POLICY.suspect_after + PATIENCE:
                assert stall.level is not Level.NONE, told
            self.early += stall.level is not Level.NONE


def team(world: World) -> list[Work]:
    cards = [card(number, f"card {number}", Status.IN_PROGRESS) for number in range(1, 6)]
    return [
        Work(cards[0], the_machines, as_local_time),
        Work(cards[1], right, as_local_text),
        Work(cards[2], an_hour_ahead, as_text_without_a_zone),
        Work(cards[3], far_behind, as_local_time),
        Work(cards[4], a_little_behind, as_local_text),
        Work(issue(1, "issue", Status.IN_PROGRESS), right, as_local_text, last_only=True),
        Work(issue(2, "issue two", Status.IN_PROGRESS), far_behind, as_local_text, last_only=True),
        Work(line(1, "line", Status.IN_PROGRESS), right, as_local_time, history=False),
    ]


STEPS = {
    "an hour ahead": HOUR,
    "an hour back": -HOUR,
    "a day ahead": timedelta(days=1),
    "a day back": -timedelta(days=1),
}
FAULTS = (*STEPS, "1970", "suspended", "outage", "late")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with the clock, or with the looks, for a while."""

    kind: str
    begin: datetime
    end: datetime


def changes_of_the_clock(zone: ZoneInfo) -> Iterator[datetime]:
    """When summer time begins and ends, found by asking for the offset of every half hour of the days on which it
    is another one in the evening."""
    for number in range(MONTHS * 30 + 11):
        day = BEGIN + number * timedelta(days=1)
        if day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset():
            offsets = [(day + half * HOUR / 2).astimezone(zone).utcoffset() for half in range(49)]
            yield day + next(half for half in range(49) if offsets[half] != offsets[0]) * HOUR / 2


def episodes(zone: ZoneInfo, chance: random.Random) -> list[tuple[datetime, list[str]]]:
    """When to watch closely, and what goes wrong then: every change of the clock, once as it is and once with a fault
    on top; every fault on its own, at any time; and two faults at once."""
    moments = [*changes_of_the_clock(zone)]
    planned: list[tuple[datetime, list[str]]] = [(moment, []) for moment in moments[::2]]
    planned += [(moment, [chance.choice(FAULTS)]) for moment in moments[1::2]]
    alone = [[kind] for kind in FAULTS]
    pairs = [[*chance.sample(FAULTS, 2)] for _ in range(6)]
    for number, kinds in enumerate([[], *alone, *pairs]):
        planned.append((BEGIN + timedelta(days=9 + 50 * number, hours=chance.uniform(0, 24)), kinds))
    return sorted(planned, key=lambda plan: plan[0])


def faults_around(moment: datetime, kinds: Sequence[str], chance: random.Random) -> list[Fault]:
    found = []
    for kind in kinds:
        begin = moment + chance.uniform(-0.5, 1.5) * HOUR
        length = timedelta(days=3) if kind == "suspended" else chance.uniform(0.3, 2.5) * HOUR
        found.append(Fault(kind, begin, begin + length))
    return found


def error_of(faults: Sequence[Fault], when: datetime) -> timedelta:
    """By how much the faults of a moment set the machine's clock."""
    total = timedelta(0)
    for fault in faults:
        if fault.begin <= when < fault.end:
            if fault.kind == "1970":
                return datetime(1970, 1, 1, tzinfo=UTC) - fault.begin
            total += STEPS.get(fault.kind, timedelta(0))
    return total


def watch_closely(world: World, moment: datetime, kinds: Sequence[str]) -> None:
    """Five hours and more around a moment, at every beat, with what goes wrong then; at last all are at work again."""
    chance = world.chance
    faults = faults_around(moment, kinds, chance)
    ends = max([moment + HOUR, *(fault.end for fault in faults)])
    silent = {id(work): moment + chance.uniform(-1, 3) * HOUR for work in world.works if chance.random() < 0.6}
    for number, work in enumerate(world.works):
        if number % 2 == len(world.looks) % 2:  # some fall silent only after the last fault
            silent[id(work)] = ends + chance.uniform(0, 1) * HOUR
    while world.true < ends + 2.5 * HOUR:
        then = world.true + BEAT + chance.uniform(-1, 1) * JITTER / 2
        late = [fault for fault in faults if fault.kind == "late" and fault.begin <= then < fault.end]
        if late and chance.random() < 0.5:
            then += chance.choice([1, 2, 3]) * BEAT
        asleep = [fault for fault in faults if fault.kind == "suspended" and fault.begin <= then < fault.end]
        if asleep:
            then = max(fault.end for fault in asleep)
        pass_time(world, then, silent, faults)
        gone = any(fault.kind == "outage" and fault.begin <= world.true < fault.end for fault in faults)
        last, ahead = world.looks[-1]
        verdicts = world.look(complete=not gone)
        if gone or world.true - last > BEAT + JITTER:
            world.disturbed = world.true
        # A gap in which the clock was set back cannot be told from none; but then nothing has been idle for long.
        if not gone and world.true - last > GAP and world.true + world.ahead - last - ahead > GAP:
            assert all(stall.hindered_by(NOT_SETTLED) for stall in verdicts.values())
        world.check(verdicts, complete=not gone)
        if not gone:
            write_something(world)
    for work in world.works:
        if work.stopped:
            work.stopped, work.next_event = False, world.true + MINUTE


def pass_time(world: World, until: datetime, silent: dict[int, datetime], faults: Sequence[Fault]) -> None:
    """From one look to the next, stopping where a clock is set, an agent falls silent, or we write something."""
    edges = [each for fault in faults for each in (fault.begin, fault.end)]
    stops = sorted({until, *(each for each in (*edges, *silent.values()) if world.true < each < until)})
    for stop in stops:
        world.live(stop)
        error = error_of(faults, stop)
        if error != world.ahead:
            world.ahead, world.disturbed = error, until
        for work in world.works:
            if id(work) in silent and silent[id(work)] <= stop and not work.stopped:
                work.stopped = True


def write_something(world: World) -> None:
    """Right after a look, heartbeat or the source's own housekeeping writes on what is silent."""
    for work in world.works:
        if work.stopped and world.chance.random() < 0.2:
            own = world.chance.random() < 0.7
            if own or (work.history and not work.last_only):
                kind = EvidenceKind.COMMENT if own else EvidenceKind.SWEEP
                work.happen(world, world.true, kind, own=own)


def let_pass(world: World, until: datetime) -> None:
    """Days on which nothing happens but work. They are seen as a whole, as by one beat that is as long as they are
    (that beats in a row are one window is proven elsewhere); only the last hours are told."""
    rest = until - 2 * HOUR - world.true
    if rest > BEAT:
        world.true += rest
        world.watch(rest)
        world.looks[:] = world.looks[-1:]
    world.look()
    for work in world.works:
        work.next_event = max(work.next_event, world.true)
    while world.true < until:
        world.live(world.true + BEAT)
        world.check(world.look(), complete=True)


@pytest.mark.parametrize(
    "zone_name", [*CHANGING, *(pytest.param(zone, marks=pytest.mark.slow) for zone in ZONES if zone not in CHANGING)]
)
def test_I7_no_false_stall_and_no_missed_one_in_two_years_of_clock_faults(zone_name: str) -> None:
    zone, chance = ZoneInfo(zone_name), random.Random(zone_name)
    world = World(zone, chance)
    world.works = team(world)
    for work in world.works:
        work.happen(world, BEGIN, EvidenceKind.CLAIMED if work.history and not work.last_only else EvidenceKind.MOVED)
    world.look()
    for moment, kinds in episodes(zone, chance):
        world.disturbed = max(world.disturbed, world.true)
        let_pass(world, moment - 1.5 * HOUR)
        watch_closely(world, moment, kinds)
    assert world.true - BEGIN > timedelta(days=30 * (MONTHS - 4))
    assert world.judged > 3000
    assert world.found > 300
    assert world.early > world.found


def test_the_changes_of_the_clock_are_found() -> None:
    found = {name: [*changes_of_the_clock(ZoneInfo(name))] for name in ZONES}
    assert [len(found[name]) for name in ZONES] == [0, 0, 4, 4, 4]
    assert found["Australia/Lord_Howe"][0] == datetime(2026, 4, 4, 15, tzinfo=UTC)
    assert found["Europe/London"][0] == datetime(2026, 3, 29, 1, tzinfo=UTC)
