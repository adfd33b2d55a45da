"""Many ticks at the same time over the same ready work: one turn a task, and never more than the roster allows (X5)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier, RLock, Thread
from typing import Any

import pytest

from heartbeat.attempt import Life, Outcome
from heartbeat.beat import tick
from heartbeat.deadline import Deadline
from heartbeat.peers import Peers
from heartbeat.store.opening import open_store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Ref, Status
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Hang, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

AT_ONCE = 20
NAMES = tuple(f"agent{number:02}" for number in range(AT_ONCE))


class GuardedSystem(ScriptedSystem):
    """A board that does one thing at a time, as the real one does."""

    def __init__(self, *items: Any) -> None:
        super().__init__(*items)
        self._guard = RLock()

    def read(self, *arguments: Any) -> Any:
        with self._guard:
            return super().read(*arguments)

    def look(self, *arguments: Any) -> Any:
        with self._guard:
            return super().look(*arguments)

    def apply(self, *arguments: Any) -> Any:
        with self._guard:
            return super().apply(*arguments)


def crowd(folder: Path, owners: tuple[str, ...], limit: int) -> DispatchTeam:
    """A board with a ready card for each owner, and an engine whose model does not answer."""
    system = GuardedSystem(*(card(f"card-{owner}", owner) for owner in owners))
    engine = StandInSpawner()
    engine.always("native", Hang())
    agents = tuple(worker(name) for name in NAMES)
    return DispatchTeam(ScriptedWorld(system), folder, agents, engine=engine, extra={"limits": {"running": limit}})


def at_once(group: DispatchTeam, who: Callable[[int], tuple[str, ...]]) -> None:
    """One tick in each of many threads, all begun together; each with a store of its own on the one database."""
    roster, wait = group.roster, threading.Event()
    gate, errors = Barrier(AT_ONCE), []
    made = group.peers
    peers = Peers(made.source, made.writer, made.channel, lambda seconds: bool(wait.wait(0.001)), made.spawner)  # type: ignore[arg-type, return-value]

    def beat(number: int) -> None:
        try:
            with open_store(group.folder / "state", group.now) as store:
                gate.wait(60)
                tick(
                    roster,
                    roster.chosen(who(number)),
                    {},
                    store,
                    SnapshotCache(group.folder / "snapshots", read_only=True),
                    group.folder / "locks",
                    clock=lambda: group.now,
                    fresh=True,
                    peers=peers,
                    deadline=Deadline.after(60),
                )
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [Thread(target=beat, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []


def set_back(group: DispatchTeam) -> None:
    """Everything is ready again for the next round: turns end, cards go back."""
    board = group.world["workboard"]
    for dispatch in group.engine.running:
        group.engine.finish(dispatch)
    group.pass_time(timedelta(minutes=1))
    with open_store(group.folder / "state", group.now) as store:
        for attempt in store.attempts(unfinished=True):
            ended = replace(attempt, life=Life.ENDED, ended_at=group.now, outcome=Outcome.COMPLETED)
            assert store.advance_attempt(ended, attempt.life)
    for ref in list(board.items):
        board.claimants.pop(ref, None)
        board.change(ref, group.now, status=Status.TODO)
    group.pass_time(timedelta(minutes=1))


def rounds(
    folder: Path, owners: tuple[str, ...], who: Callable[[int], tuple[str, ...]], limit: int, times: int
) -> None:
    group = crowd(folder, owners, limit)
    for number in range(times):
        before = len(group.engine.started)
        at_once(group, who)
        begun = [turn.order.attempt for turn in group.engine.turns][before:]
        tasks = Counter(attempt.task for attempt in begun)
        expected = min(limit, len(owners))
        assert len(begun) == expected, f"round {number}: {len(begun)} turns begun instead of {expected}"
        assert set(tasks.values()) == {1}
        assert group.engine.overlapping == []
        board = group.world["workboard"]
        claimed = {ref for ref in board.items if board.claimants.get(ref)}
        assert claimed == {Ref("workboard", attempt.task.removeprefix("workboard:")) for attempt in begun}
        set_back(group)


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_twenty_ticks_of_the_same_agents_at_once_start_one_turn_a_task(tmp_path: Path, times: int) -> None:
    owners = NAMES[:2]
    rounds(tmp_path, owners, lambda number: owners, limit=4, times=times)


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_twenty_agents_at_once_never_take_more_than_the_roster_allows(tmp_path: Path, times: int) -> None:
    rounds(tmp_path, NAMES, lambda number: (NAMES[number],), limit=4, times=times)
