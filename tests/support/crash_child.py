"""A team whose world, memory and letters all lie in files, so that a beat may die anywhere and another process goes on.

`prepare` leads it to a beat in which everything is due at once: a task of two origins to be recovered, one to be handed
over, one to be blocked for good, one to be paused, one to be warned of, one that waits too long; `beat` is that beat
and every later one, and `outcome` says what came of all of it. Run as a program it forks children that
live through one beat and die where they are told: children that need not import anything first.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.action import signature
from heartbeat.beat import Tick, tick
from heartbeat.cli.main import _stop
from heartbeat.deadline import Deadline
from heartbeat.memory import Rounds
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.opening import open_store
from heartbeat.store.port import EntryState
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.systems.writing import Written
from heartbeat.task import Owner, OwnerKind, Ref, Status
from tests.support.bombs import Bomb, BombedStore, bombed_peers
from tests.support.items import NOW, card, explicit, issue
from tests.support.rosters import make_agent
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld

MINUTE = timedelta(minutes=1)
EVERY = 10 * MINUTE
BEGIN = NOW + 3 * MINUTE
"""Off the full and the half hour, when letters wait."""
AGENTS = ("coo", "writer", "second", "dev")
BUSY, WARNED, PAUSED = ("coo", "operator"), 40, 50
LATER = 2
"""Beats after the one in question, until everything has come to rest."""

TEAM = (
    make_agent("coo", "high_frequency", patrol=True, notify=("self",)),
    make_agent("writer", "high_frequency", notify=BUSY, backup="second"),
    make_agent("second", "high_frequency", notify=("coo",)),
    make_agent("dev", "high_frequency", notify=BUSY),
)
WRITER, SECOND, DEV = (Owner(OwnerKind.AGENT, agent) for agent in AGENTS[1:])

BOTH = card(1, "Reconcile the ledger", owner=WRITER, mentions=("BIZ-1",))
ITS_ISSUE = issue(1, "Reconcile the ledger", owner=WRITER)
OFTEN = card(2, "Order new chairs", owner=WRITER)
TWICE = card(3, "Answer the auditors", owner=WRITER)
SPENT = card(4, "Tune the importer", Status.IN_PROGRESS, owner=DEV, started_at=BEGIN)
NEARLY = card(5, "Write the handbook", Status.IN_PROGRESS, owner=DEV, started_at=BEGIN)
WAITED_FOR = issue(9, "Sign the contract", owner=SECOND)
WAITING = card(6, "Print the contract", owner=DEV, depends_on=explicit("BIZ-9"))


@dataclass(slots=True)
class Clock:
    """Goes on by a moment whenever it is read, so that nothing happens at one and the same instant by accident."""

    at: datetime
    moment: timedelta = timedelta(milliseconds=50)

    def __call__(self) -> datetime:
        now, self.at = self.at, self.at + self.moment
        return now

    def pause(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left in the end: everything that must not depend on where somebody died."""

    statuses: dict[Ref, tuple[Status, str, str]] = field(default_factory=dict)
    """Status, owner and claimant of every item."""
    markers: dict[Ref, Counter[str]] = field(default_factory=dict)
    """How often each of our texts stands on an item."""
    outbox: dict[str, EntryState] = field(default_factory=dict)
    incidents: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    rounds: dict[Ref, tuple[int, int, bool, bool]] = field(default_factory=dict)
    letters: frozenset[str] = frozenset()


def roster(folder: Path) -> Roster:
    return Roster(
        path=folder / "agents.yaml",
        timezone="UTC",
        operator=Operator("Vincent", ("ops",)),
        agents={agent.id: agent for agent in TEAM},
        sources={"workboard": {}, "multica": {}},
        channels={"ops": {"kind": "file", "path": str(folder / "ops.log"), "min_level": "info"}},
    )


_LOADED: dict[Path, tuple[os.stat_result, ScriptedWorld]] = {}
"""The last world of each folder, and the file that it came from."""


def load(folder: Path) -> ScriptedWorld:
    """The world in the folder. Whoever changes it saves it."""
    path = folder / "world"
    status = path.stat()
    if path not in _LOADED or _LOADED[path][0] != status:
        _LOADED.clear()
        _LOADED[path] = status, pickle.loads(path.read_bytes())  # noqa: S301 - written by this very module
    return _LOADED[path][1]


def save(folder: Path, world: ScriptedWorld) -> None:
    new, path = folder / f"world.{os.getpid()}", folder / "world"
    new.write_bytes(pickle.dumps(world))
    new.replace(path)
    _LOADED.clear()
    _LOADED[path] = path.stat(), world


def letters(folder: Path) -> Counter[str]:
    """The keys of the letters that arrived, and how often."""
    path = folder / "letters"
    return Counter(path.read_text().splitlines() if path.exists() else ())


def post(folder: Path) -> Callable[[str], None]:
    def sent(key: str) -> None:
        with (folder / "letters").open("a") as file:
            file.write(f"{key}\n")

    return sent


class FiledSystem:
    """One system of a world that lies in a file: what one process does to it, every other finds."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._faults: list[Fault] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(load(self._folder)[self._name], name)

    def fail_writes(self, *faults: Fault) -> None:
        self._faults += faults

    def apply(self, *arguments: Any) -> Written:
        world = load(self._folder)
        world[self._name].fail_writes(*self._faults)
        self._faults.clear()
        try:
            return world[self._name].apply(*arguments)
        finally:
            save(self._folder, world)


def filed(folder: Path) -> ScriptedWorld:
    """The world in the folder, read anew whenever it is used."""
    return ScriptedWorld(*(FiledSystem(folder, name) for name in load(folder).systems))  # type: ignore[arg-type]


def beat(
    folder: Path,
    now: datetime,
    agents: Iterable[str] = AGENTS,
    *,
    bomb: Bomb | None = None,
    durable: bool = False,
    only_due: bool = False,
) -> Tick:
    """One tick at `now` on what lies in the folder. Only with `durable` does the store wait for the disk, which is
    nothing that the death of a process can show."""
    bomb, clock, staff = bomb or Bomb(), Clock(now), roster(folder)
    with open_store(folder / "state", now) as store:
        if not durable:
            store._connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]
        return tick(
            staff,
            staff.chosen(tuple(agents)),
            {},
            BombedStore(store, bomb),  # type: ignore[arg-type]
            SnapshotCache(folder / "snapshots", read_only=True),
            folder / "locks",
            clock=clock,
            fresh=True,
            only_due=only_due,
            peers=bombed_peers(filed(folder), post(folder), bomb, clock.pause),
            deadline=Deadline.after(60),
        )


def live(folder: Path, now: datetime) -> None:
    """What the others do between two beats: two tasks get on, if slowly."""
    world = load(folder)
    for item in (SPENT, NEARLY):
        world["workboard"].say(item.ref, "getting on", now - MINUTE)
    save(folder, world)


def prepare(folder: Path, agents: Callable[[int], Iterable[str]] = lambda minute: AGENTS) -> datetime:
    """Leads a new team to the instant of the beat in which everything is due, and returns it.

    `agents` says who beats at a minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    board = ScriptedSystem(BOTH, OFTEN, TWICE, SPENT, NEARLY, name="workboard")
    issues = ScriptedSystem(ITS_ISSUE, WAITED_FOR, name="multica", claims=False)
    save(folder, ScriptedWorld(board, issues))
    taken = {0: [(OFTEN, "writer")], 50: [(OFTEN, "writer"), (TWICE, "writer")]}
    taken[100] = [(OFTEN, "second"), (TWICE, "writer"), (BOTH, "writer"), (ITS_ISSUE, "writer")]
    for minute in range(0, 140, 10):
        now = BEGIN + minute * MINUTE
        world = load(folder)
        for item, agent in taken.get(minute, ()):
            world[item.ref.source].take(item.ref, agent, now)
        if minute == 80:
            world["workboard"].items[WAITING.ref] = WAITING
        save(folder, world)
        live(folder, now)
        beat(folder, now, agents(minute))
    now = BEGIN + 140 * MINUTE
    with open_store(folder / "state", now) as store:
        for item, used in ((NEARLY, WARNED), (SPENT, PAUSED)):
            store.put_rounds([Rounds(item.ref, used=used, progress_at=now - EVERY)])
    live(folder, now)
    return now


def copied(folder: Path, to: Path) -> Path:
    """The same team once more, to be led another way."""
    return Path(shutil.copytree(folder, to))


def go_on(folder: Path, now: datetime) -> None:
    """The beats after the one at `now`, undisturbed."""
    for number in range(1, LATER + 1):
        then = now + number * EVERY
        live(folder, then)
        beat(folder, then)


def outcome(folder: Path, now: datetime) -> Outcome:
    world = load(folder)
    items = [(system, item) for system in world.systems.values() for item in system.items.values()]
    with open_store(folder / "state", now) as store:
        return Outcome(
            statuses={
                item.ref: (item.status, item.owner.id, system.claimants.get(item.ref, "")) for system, item in items
            },
            markers={ref: found for system, item in items if (found := _markers(system, ref := item.ref))},
            outbox={entry.key: entry.state for entry in store.entries()},
            incidents={
                each.id: (
                    each.ref,
                    each.stage,
                    each.number,
                    each.ending,
                    tuple((taken.step, taken.outcome) for taken in each.steps),
                )
                for each in store.incidents()
            },
            rounds={
                row.ref: (row.used, row.extra, row.warned_at is not None, row.paused_at is not None)
                for row in store.rounds().values()
            },
            letters=frozenset(letters(folder)),
        )


def _markers(system: ScriptedSystem, ref: Ref) -> Counter[str]:
    return Counter(found[1] for text in system.texts.get(ref, ()) if (found := signature(text)) is not None)


def main() -> None:
    """Answers each line `FOLDER INSTANT HOW INDEX AGENTS [AGENTS]` with the exit codes of the children it forked for
    it, one for each group of agents, all at once. HOW is kill, term or run."""
    print("ready", flush=True)
    for line in sys.stdin:
        folder, instant, how, index, *groups = line.split()
        now = datetime.fromisoformat(instant)
        children = [_fork(Path(folder), now, how, int(index), group.split(",")) for group in groups]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(*codes, flush=True)


def _fork(folder: Path, now: datetime, how: str, index: int, agents: Iterable[str]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(_life(folder, now, how, index, agents))
    return child


def _life(folder: Path, now: datetime, how: str, index: int, agents: Iterable[str]) -> int:
    number = {"kill": signal.SIGKILL, "term": signal.SIGTERM}.get(how)
    bomb = Bomb() if number is None else Bomb(index, lambda: os.kill(os.getpid(), number))
    signal.signal(signal.SIGTERM, _stop)
    try:
        beat(folder, now, agents, bomb=bomb, durable=True)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is, it must not get into the loop of the parent
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    main()
