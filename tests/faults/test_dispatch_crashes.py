"""Whoever dies while a turn is started or collected, at whatever step: one turn a dispatch id, one outcome, and the
next beats go on (rules X2, X5, X6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from heartbeat.attempt import Engine, LetterState, Life, Outcome
from heartbeat.beat import Peers, tick
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Spawner
from heartbeat.roster.model import Roster
from heartbeat.store.opening import open_store
from heartbeat.store.port import Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Status
from tests.support.bombs import Bomb, BombedStore, bombed_peers
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Fail, Hang, StandInSpawner
from tests.support.scripted_writer import Died, ScriptedSystem, ScriptedWorld


@dataclass(slots=True)
class Scene:
    """A team over a database, and an engine that tells a bomb of what it does."""

    group: DispatchTeam

    def beat(self, bomb: Bomb | None = None) -> None:
        """One beat; with a bomb, one that may not end."""
        group, fuse = self.group, bomb or Bomb()
        group.engine.at = lambda step, dispatch: fuse.step(step)
        group.show_runs()
        group.pass_time(group.every)
        group.store.close()
        with open_store(group.folder / "state", group.now) as store, suppress(Died):
            self._tick(fuse, store)
        group.engine.at = None
        group.store = open_store(group.folder / "state", group.now)

    def _tick(self, bomb: Bomb, store: Store) -> None:
        group, roster = self.group, self.group.roster

        def spawner(engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner:
            return group.engine

        peers: Peers = replace(bombed_peers(group.world, lambda key: None, bomb), spawner=spawner, chance=lambda: 0.0)
        tick(
            roster,
            roster.chosen(["a"]),
            {},
            BombedStore(store, bomb),  # type: ignore[arg-type]
            SnapshotCache(group.folder / "snapshots", read_only=True),
            group.folder / "locks",
            clock=lambda: group.now,
            fresh=True,
            peers=peers,
            deadline=Deadline.after(60),
        )

    def outcomes(self) -> Counter[str]:
        """How often the end of each dispatch id was put on record."""
        entries = self.group.store.log()
        return Counter(str(entry.details["dispatch"]) for entry in entries if entry.action == "dispatch-ended")


def scene(folder: Path, status: Status = Status.TODO, **extra: object) -> Scene:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a", status)))
    engine = StandInSpawner()
    for name in ("native", "first", "second", "third"):
        engine.always(name, Hang())
    folder.mkdir(parents=True, exist_ok=True)
    group = DispatchTeam(world, folder, (worker("a"),), engine=engine, extra=extra)
    group.store = open_store(folder / "state", group.now)
    return Scene(group)


def steps_of(folder: Path, prepare: Callable[[Scene], None], every: bool, **extra: object) -> list[int]:
    """The steps of an undisturbed beat after `prepare`. Between the end of one and the beginning of the next nothing is
    kept anywhere: who dies at the one leaves what who dies at the other leaves, and only `every` names both."""
    play = scene(folder, **extra)
    prepare(play)
    bomb = Bomb()
    play.beat(bomb)
    follows = [False, *(before.startswith("after") for before in bomb.steps)]
    return [
        number for number, name in enumerate(bomb.steps) if every or not (follows[number] and name.startswith("before"))
    ]


def nothing(play: Scene) -> None:
    """The task is ready."""


def running(play: Scene) -> None:
    """The turn runs, and has ended by the next beat."""
    play.beat()
    [dispatch] = play.group.engine.running
    play.group.engine.finish(dispatch)


def failing(play: Scene) -> None:
    """The turn ran on the last provider, and has ended badly by the next beat."""
    play.beat()
    [dispatch] = play.group.engine.running
    play.group.engine.finish(dispatch, Fail(REFUSED))


EVERY_STEP = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
ONLY_ONE = {**MANAGED, "providers": ({**MANAGED["providers"][0], "max_retries": 0},)}


@EVERY_STEP
def test_X6_whoever_dies_while_a_turn_is_started_leaves_one_turn_and_one_outcome(tmp_path: Path, every: bool) -> None:
    for step in steps_of(tmp_path / "calm", nothing, every):
        play = scene(tmp_path / str(step))
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert len(group.engine.running) == 1, f"step {step}"
        assert group.engine.overlapping == []
        assert group.status("c1") is Status.IN_PROGRESS
        [dispatch] = group.engine.running
        group.engine.finish(dispatch)
        play.beat()
        assert group.store.attempt(dispatch).outcome is Outcome.COMPLETED, f"step {step}"  # type: ignore[union-attr]
        assert play.outcomes()[dispatch] == 1
        assert max(play.outcomes().values()) == 1
        assert [turn.dispatch for turn in group.engine.turns if turn.ended].count(dispatch) == 1
        completed = [each for each in group.attempts if each.outcome is Outcome.COMPLETED]
        assert len(completed) == 1, f"step {step}: more than one turn before the first was collected"
        group.store.close()


@EVERY_STEP
def test_X6_whoever_dies_while_a_turn_is_collected_leaves_its_outcome_on_record_once(
    tmp_path: Path, every: bool
) -> None:
    for step in steps_of(tmp_path / "calm", running, every):
        play = scene(tmp_path / str(step))
        running(play)
        [first] = [each.id for each in play.group.attempts]
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert group.store.attempt(first).outcome is Outcome.COMPLETED, f"step {step}"  # type: ignore[union-attr]
        assert play.outcomes()[first] == 1
        assert group.engine.overlapping == []
        assert len(group.engine.running) == 1, f"step {step}: the task goes on with its next turn"
        group.store.close()


@EVERY_STEP
def test_F4_whoever_dies_while_a_dead_letter_is_made_leaves_one_letter_and_the_card_as_it_was(
    tmp_path: Path, every: bool
) -> None:
    for step in steps_of(tmp_path / "calm", failing, every, **ONLY_ONE):
        play = scene(tmp_path / str(step), **ONLY_ONE)
        failing(play)
        play.beat(Bomb(step))
        group = play.group
        group.every = group.every / 10
        play.beat()
        [letter] = group.letters
        assert letter.state is LetterState.WAITING, f"step {step}"
        assert letter.tries == 0
        assert len(letter.attempts) == 1
        assert group.status("c1") is Status.TODO, f"step {step}"
        assert group.claimant("c1") == ""
        assert all(each.life is Life.ENDED for each in group.attempts)
        told = [entry for entry in group.store.entries() if entry.key.startswith("letter/")]
        assert len({entry.key for entry in told}) == len(told)
        group.store.close()


@pytest.mark.parametrize("step", ["asked", "begun"])
def test_X2_a_request_that_was_under_way_when_its_process_died_makes_one_turn(tmp_path: Path, step: str) -> None:
    play = scene(tmp_path)
    names: list[str] = []
    bomb = Bomb()
    play.beat(bomb)
    names = bomb.steps
    again = scene(tmp_path / "again")
    again.beat(Bomb(names.index(step)))
    assert len(again.group.engine.started) == (1 if step == "begun" else 0)
    [attempt] = again.group.attempts
    assert attempt.life is Life.SPAWNING
    again.beat()
    assert len(again.group.engine.started) == 1
    assert len(again.group.engine.running) == 1
